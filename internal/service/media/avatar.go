package media

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/blob"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

const (
	maxAvatar = 5 << 20 // bytes of an upload; the edge has the same
	// An account may begin so many uploads in so long: each may cost some seconds
	// of a processor.
	maxTries = 20
	triesFor = time.Hour
)

// Errors of avatars.
var (
	ErrAvatarNotFound = fault.New(fault.NotFound, "avatar.not_found", "There is no such picture.")
	ErrAvatarTooLarge = fault.New(fault.TooLarge, "avatar.too_large", "A picture of a profile has at most %d MiB.", maxAvatar>>20)
)

// avatar is the picture of a profile.
type avatar struct {
	ID        string
	Size      int
	CreatedAt time.Time
}

// uploadAvatar takes in a picture and makes it the caller's. As with files the
// object is named in a row before it is stored, so that whatever happens it is
// either somebody's avatar or swept.
func (s *Service) uploadAvatar(ctx context.Context, in io.Reader) (*mediapb.Avatar, error) {
	account := auth.From(ctx).Account
	if err := s.countTry(ctx, account); err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(in, maxAvatar+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxAvatar {
		return nil, ErrAvatarTooLarge
	}
	picture, err := s.square(ctx, content)
	if err != nil {
		return nil, err
	}
	a := avatar{ID: id.New("avatar"), Size: len(picture), CreatedAt: s.utc()}
	if _, err := s.db.Exec(ctx, `INSERT INTO upload (id, started_at) VALUES ($1, $2)`, a.ID, a.CreatedAt); err != nil {
		return nil, fmt.Errorf("media: begin upload: %w", err)
	}
	if err := s.bucket.Put(ctx, object(a.ID), bytes.NewReader(picture), "image/jpeg"); err != nil {
		return nil, errors.Join(err, s.discard(ctx, a.ID))
	}
	// The request as one message, with the hash in place of the bytes.
	hash := sha256.Sum256(content)
	var before string
	out, err := idempotency.Do(ctx, s.db, &mediapb.UploadAvatarRequest{Chunk: hash[:]}, func(tx *pg.Tx) (*mediapb.Avatar, error) {
		tag, err := tx.Exec(ctx, `DELETE FROM upload WHERE id = $1 AND NOT abandoned`, a.ID)
		if err != nil {
			return nil, err
		}
		if tag.RowsAffected() == 0 {
			return nil, errSwept
		}
		if before, err = s.setAvatar(ctx, tx, account, a); err != nil {
			return nil, err
		}
		return toAvatar(a), audit.Record(ctx, tx, audit.Entry{Action: "avatar.changed", Object: a.ID, Person: account})
	})
	if err != nil {
		return nil, errors.Join(err, s.discard(ctx, a.ID))
	}
	if out.GetId() != a.ID { // a repetition: the first upload counts
		before = a.ID
	}
	s.forget(ctx, before)
	return out, nil
}

// countTry refuses an upload when the account has begun enough of them.
func (s *Service) countTry(ctx context.Context, account string) error {
	var tries int
	var since time.Time
	err := s.db.QueryRow(ctx, `
		INSERT INTO avatar AS a (account_id, tries, tries_since) VALUES ($1, 1, $2)
		ON CONFLICT ON CONSTRAINT avatar_pkey DO UPDATE SET
			tries = CASE WHEN a.tries_since > $3 THEN least(a.tries + 1, $4) ELSE 1 END,
			tries_since = CASE WHEN a.tries_since > $3 THEN a.tries_since ELSE excluded.tries_since END
		RETURNING tries, tries_since`, account, s.utc(), s.utc().Add(-triesFor), maxTries+1).Scan(&tries, &since)
	if err != nil {
		return fmt.Errorf("media: count uploads: %w", err)
	}
	if tries <= maxTries {
		return nil
	}
	return &fault.Error{
		Kind: fault.Exhausted, Code: "avatar.rate", Retry: max(triesFor-s.utc().Sub(since), time.Second),
		Message: "You have uploaded many pictures. Come back when Retry-After says.",
	}
}

// square writes a picture anew. At most four are read at the same time, which
// have together no more pixels than the largest may have.
func (s *Service) square(ctx context.Context, content []byte) ([]byte, error) {
	f, pixels, err := pictureFormat(content)
	if err != nil {
		return nil, err
	}
	weight := max(pixels, maxPixels/4)
	if err := s.pixels.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	defer s.pixels.Release(weight)
	return square(f, content)
}

// setAvatar makes a the account's avatar, or leaves it none when a is nothing.
// It returns the one before, which is left to the sweep until it is forgotten.
func (s *Service) setAvatar(ctx context.Context, tx *pg.Tx, account string, a avatar) (before string, err error) {
	var version int64
	err = tx.QueryRow(ctx, `SELECT coalesce(id, ''), version FROM avatar WHERE account_id = $1 FOR UPDATE`, account).Scan(&before, &version)
	if err != nil && !pg.NoRows(err) {
		return "", err
	}
	if a == (avatar{}) && before == "" {
		return "", nil
	}
	version++
	_, err = tx.Exec(ctx, `
		UPDATE avatar SET id = nullif($2, ''), size = nullif($3, 0), created_at = CASE WHEN $2 <> '' THEN $4::timestamptz END, version = $5
		WHERE account_id = $1`, account, a.ID, a.Size, a.CreatedAt, version)
	if err != nil {
		return "", err
	}
	if before != "" {
		_, err := tx.Exec(ctx, `INSERT INTO upload (id, started_at, abandoned) VALUES ($1, $2, true)`, before, s.utc())
		if err != nil {
			return "", err
		}
	}
	return before, bus.Publish(ctx, tx, &mediapb.AvatarChanged{AccountId: account, AvatarId: a.ID, Version: version})
}

// forget deletes the object of an avatar that is nobody's any more.
func (s *Service) forget(ctx context.Context, avatarID string) {
	if avatarID == "" {
		return
	}
	if err := s.discard(ctx, avatarID); err != nil {
		s.log.WarnContext(ctx, "media: an avatar that is nobody's any more is left to the sweep", "avatar", avatarID, "error", err.Error())
	}
}

// DeleteAvatar implements mediapb.AvatarServiceServer.
func (r *server) DeleteAvatar(ctx context.Context, req *mediapb.DeleteAvatarRequest) (*emptypb.Empty, error) {
	account := auth.From(ctx).Account
	var before string
	out, err := idempotency.Do(ctx, r.media.db, req, func(tx *pg.Tx) (_ *emptypb.Empty, err error) {
		before, err = r.media.setAvatar(ctx, tx, account, avatar{})
		if err != nil || before == "" {
			return &emptypb.Empty{}, err
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{Action: "avatar.deleted", Object: before, Person: account})
	})
	if err != nil {
		return nil, err
	}
	r.media.forget(ctx, before)
	return out, nil
}

// UploadAvatar implements mediapb.AvatarServiceServer.
func (r *server) UploadAvatar(stream mediapb.AvatarService_UploadAvatarServer) error {
	out, err := r.media.uploadAvatar(stream.Context(), newChunks(stream, nil))
	if err != nil {
		return err
	}
	return stream.SendAndClose(out)
}

// DownloadAvatar implements mediapb.AvatarServiceServer.
func (r *server) DownloadAvatar(req *mediapb.DownloadAvatarRequest, stream mediapb.AvatarService_DownloadAvatarServer) error {
	ctx := stream.Context()
	a, err := r.media.avatarByID(ctx, req.GetAvatarId())
	if err != nil {
		return err
	}
	content, err := r.media.contentOf(ctx, a)
	if errors.Is(err, blob.ErrNotFound) {
		// Replaced meanwhile, or else not the caller's mistake.
		if _, err := r.media.avatarByID(ctx, a.ID); err != nil {
			return err
		}
		return fmt.Errorf("media: %s has lost its object: %s", a.ID, err.Error())
	}
	if err != nil {
		return err
	}
	if err := stream.Send(&mediapb.DownloadAvatarResponse{Avatar: toAvatar(a)}); err != nil {
		return err
	}
	for len(content) > 0 {
		n := min(chunkSize, len(content))
		if err := stream.Send(&mediapb.DownloadAvatarResponse{Chunk: content[:n]}); err != nil {
			return err
		}
		content = content[n:]
	}
	return nil
}

func (s *Service) avatarByID(ctx context.Context, avatarID string) (avatar, error) {
	rows, err := s.db.Query(ctx, `SELECT id, size, created_at FROM avatar WHERE id = $1`, avatarID)
	if err != nil {
		return avatar{}, err
	}
	a, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[avatar])
	if pg.NoRows(err) {
		return avatar{}, ErrAvatarNotFound
	}
	return a, err
}

// contentOf returns the bytes of an avatar, which are few.
func (s *Service) contentOf(ctx context.Context, a avatar) ([]byte, error) {
	r, err := s.bucket.Open(ctx, object(a.ID), 0, int64(a.Size)+1)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	if len(content) != a.Size {
		return nil, fmt.Errorf("media: the object of %s is not as long as it was: %d bytes", a.ID, len(content))
	}
	return content, nil
}

func toAvatar(a avatar) *mediapb.Avatar {
	return &mediapb.Avatar{Id: a.ID, Url: "/v1/avatars/" + a.ID, CreatedAt: timestamppb.New(a.CreatedAt)}
}
