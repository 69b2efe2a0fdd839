package media

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// binned is how long a deleted file can be restored.
const binned = 30 * 24 * time.Hour

// DeleteMedia implements mediapb.LibraryServiceServer.
func (r *server) DeleteMedia(ctx context.Context, req *mediapb.DeleteMediaRequest) (*emptypb.Empty, error) {
	s, gone := r.media, ""
	out, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		f, version, err := lockFile(ctx, tx, req.GetCourseId(), req.GetMediaId())
		if err == nil && f.Purpose != purposeLibrary {
			err = ErrNotFound
		}
		if err != nil {
			return nil, err
		}
		if req.GetPermanently() {
			if f.Held {
				return nil, ErrHeld
			}
			if gone, err = s.purge(ctx, tx, f, version); err != nil {
				return nil, err
			}
			return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{Action: "media.purged", Object: f.ID, Course: f.CourseID, Before: map[string]any{"size": f.Size, "sha256": f.SHA256}})
		}
		if f.DeletedAt != nil {
			return nil, ErrNotFound
		}
		if _, err := tx.Exec(ctx, `UPDATE media SET deleted_at = $2, library_version = $3 WHERE id = $1`, f.ID, s.utc(), version+1); err != nil {
			return nil, err
		}
		if err := bus.Publish(ctx, tx, &mediapb.MediaDeleted{MediaId: f.ID, CourseId: f.CourseID, Version: version + 1}); err != nil {
			return nil, err
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{Action: "media.deleted", Object: f.ID, Course: f.CourseID})
	})
	if err == nil && gone != "" {
		s.discardLater(ctx, gone)
	}
	return out, err
}

// RestoreMedia implements mediapb.LibraryServiceServer.
func (r *server) RestoreMedia(ctx context.Context, req *mediapb.RestoreMediaRequest) (*mediapb.Media, error) {
	s := r.media
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*mediapb.Media, error) {
		f, version, err := lockFile(ctx, tx, req.GetCourseId(), req.GetMediaId())
		if err != nil {
			return nil, err
		}
		if f.Purpose != purposeLibrary {
			return nil, ErrNotFound
		}
		if f.DeletedAt == nil {
			return s.describe(f, auth.From(ctx).Account), nil
		}
		if !f.Held && !s.utc().Before(f.DeletedAt.Add(binned)) {
			return nil, ErrNotFound // the sweep is about to come
		}
		if _, err := tx.Exec(ctx, `UPDATE media SET deleted_at = NULL, library_version = $2 WHERE id = $1`, f.ID, version+1); err != nil {
			return nil, err
		}
		f.DeletedAt = nil
		if err := bus.Publish(ctx, tx, &mediapb.MediaDeleted{MediaId: f.ID, CourseId: f.CourseID, Restored: true, Version: version + 1}); err != nil {
			return nil, err
		}
		return s.describe(f, auth.From(ctx).Account), audit.Record(ctx, tx, audit.Entry{Action: "media.restored", Object: f.ID, Course: f.CourseID})
	})
}

// lockFile locks a file and all that share its object, in the order of their ids,
// and returns it, deleted or not, with its version. While they are locked nobody
// copies one of them, and of two that are purged the second sees that the first
// is gone.
func lockFile(ctx context.Context, tx *pg.Tx, course, mediaID string) (file, int64, error) {
	_, err := tx.Exec(ctx, `
		SELECT id FROM media WHERE coalesce(object_id, id) = (SELECT coalesce(object_id, id) FROM media WHERE id = $1)
		ORDER BY id FOR UPDATE`, mediaID)
	if err != nil {
		return file{}, 0, err
	}
	rows, err := tx.Query(ctx, `SELECT `+columns+` FROM media WHERE id = $1 AND course_id = $2`, mediaID, course)
	if err != nil {
		return file{}, 0, err
	}
	f, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[file])
	if pg.NoRows(err) {
		return file{}, 0, ErrNotFound
	}
	if err != nil {
		return file{}, 0, err
	}
	var version int64
	return f, version, tx.QueryRow(ctx, `SELECT library_version FROM media WHERE id = $1`, mediaID).Scan(&version)
}

// purge deletes a file that is locked by [lockFile]. It returns the id of its
// object when nothing has it any more: it is then named among the uploads that are
// swept, so that it goes even when the process dies.
func (s *Service) purge(ctx context.Context, tx *pg.Tx, f file, version int64) (gone string, err error) {
	if _, err := tx.Exec(ctx, `DELETE FROM media WHERE id = $1`, f.ID); err != nil {
		return "", err
	}
	if err := s.settleFile(ctx, tx, f, room{Used: -f.Size}); err != nil {
		return "", err
	}
	var shared bool
	// In a statement of its own, which sees copies that were made before the lock.
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM media WHERE coalesce(object_id, id) = $1)`, f.ObjectID).Scan(&shared); err != nil {
		return "", err
	}
	if !shared {
		gone = f.ObjectID
		_, err := tx.Exec(ctx, `INSERT INTO upload (id, started_at, abandoned) VALUES ($1, $2, true)`, gone, s.utc())
		if err != nil {
			return "", err
		}
	}
	if f.Purpose != purposeLibrary { // of which nobody was told
		return gone, nil
	}
	return gone, bus.Publish(ctx, tx, &mediapb.MediaDeleted{MediaId: f.ID, CourseId: f.CourseID, Gone: true, Version: version + 1})
}

// discardLater deletes an object now, and leaves it to the sweep when that fails.
func (s *Service) discardLater(ctx context.Context, objectID string) {
	if err := s.discard(ctx, objectID); err != nil {
		s.log.WarnContext(ctx, "media: an object that nothing has any more is left to the sweep", "object", objectID, "error", err.Error())
	}
}

// purgeAll purges files that a statement names by their ids and courses, each in
// a transaction of its own, when due still says so under the lock.
func (s *Service) purgeAll(ctx context.Context, due func(file) bool, sql string, args ...any) (int, error) {
	rows, err := s.db.Query(ctx, sql, args...)
	if err != nil {
		return 0, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ ID, CourseID string }])
	if err != nil {
		return 0, err
	}
	n := 0
	for _, at := range found {
		var gone string
		purged := false
		err := s.db.InTx(ctx, func(tx *pg.Tx) error {
			gone, purged = "", false
			f, version, err := lockFile(ctx, tx, at.CourseID, at.ID)
			if err != nil || !due(f) {
				return err
			}
			if gone, err = s.purge(ctx, tx, f, version); err != nil {
				return err
			}
			purged = true
			return audit.Record(ctx, tx, audit.Entry{Action: "media.purged", Object: f.ID, Course: f.CourseID, Before: map[string]any{"size": f.Size, "sha256": f.SHA256}})
		})
		if err != nil && err != error(ErrNotFound) { //nolint:errorlint // as lockFile returns it
			return n, err
		}
		if gone != "" {
			s.discardLater(ctx, gone)
		}
		if purged {
			n++
		}
	}
	return n, nil
}

// purgeBin purges what was deleted long enough ago.
func (s *Service) purgeBin(ctx context.Context) (int, error) {
	before := s.utc().Add(-binned)
	return s.purgeAll(ctx, func(f file) bool { return f.DeletedAt != nil && !f.DeletedAt.After(before) && !f.Held },
		`SELECT id, course_id FROM media WHERE deleted_at <= $1 AND NOT held ORDER BY deleted_at LIMIT $2`, before, sweepBatch)
}

// DeleteCourseMedia implements mediapb.LibraryServiceServer.
func (r *server) DeleteCourseMedia(ctx context.Context, req *mediapb.DeleteCourseMediaRequest) (*mediapb.DeleteCourseMediaResponse, error) {
	const most = 1000
	ids := append([]string{}, req.GetMediaIds()...)
	n, err := r.media.purgeAll(ctx, func(file) bool { return true },
		`SELECT id, course_id FROM media WHERE course_id = $1 AND (cardinality($2::text[]) = 0 OR id = ANY ($2)) ORDER BY id LIMIT $3`,
		req.GetCourseId(), ids, most)
	if err != nil {
		return nil, err
	}
	res := &mediapb.DeleteCourseMediaResponse{Deleted: int32(n)} //nolint:gosec // at most a thousand
	err = r.media.db.QueryRow(ctx, `SELECT EXISTS (SELECT FROM media WHERE course_id = $1 AND (cardinality($2::text[]) = 0 OR id = ANY ($2)))`,
		req.GetCourseId(), ids).Scan(&res.Left)
	return res, err
}
