package media

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// captionsRead is how many captions are in memory while they are sent, and how
// many when it is only told which there are.
const (
	captionsRead      = 10
	captionsDescribed = 1000
)

// sentCaption is captions of a file that is the place-th of those asked for.
type sentCaption struct {
	caption

	Place  int32
	Size   int64
	SHA256 string `db:"sha256"`
}

// ReadCaptions implements mediapb.LibraryServiceServer.
func (r *server) ReadCaptions(req *mediapb.ReadCaptionsRequest, stream grpc.ServerStreamingServer[mediapb.ReadCaptionsResponse]) error {
	content, most := "c.content", captionsRead
	if req.GetDescribeOnly() {
		content, most = "''", captionsDescribed
	}
	for place, language := int32(0), ""; ; {
		rows, err := r.media.db.Query(stream.Context(), `
			SELECT f.place::int AS place, c.media_id, c.language, c.label, c.main, `+content+` AS content,
				octet_length(c.content)::bigint AS size, encode(sha256(convert_to(c.content, 'UTF8')), 'hex') AS sha256
			FROM unnest($1::text[]) WITH ORDINALITY AS f (id, place)
			JOIN media m ON m.id = f.id AND m.course_id = $2 AND (m.deleted_at IS NULL OR m.held)
			JOIN caption c ON c.media_id = m.id
			WHERE (f.place, c.language) > ($3, $4 COLLATE "C") ORDER BY f.place, c.language LIMIT $5`,
			req.GetMediaIds(), req.GetCourseId(), place, language, most)
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[sentCaption])
		if err != nil {
			return err
		}
		for _, c := range found {
			if err := stream.Send(&mediapb.ReadCaptionsResponse{
				MediaId: c.MediaID, Language: c.Language, Label: c.Label, Main: c.Main, Size: c.Size, Sha256: c.SHA256, Content: c.Content,
			}); err != nil {
				return err
			}
			place, language = c.Place, c.Language
		}
		if len(found) < most {
			return nil
		}
	}
}

// ImportCaptions implements mediapb.LibraryServiceServer. The number of statements
// does not depend on that of the captions.
func (r *server) ImportCaptions(ctx context.Context, req *mediapb.ImportCaptionsRequest) (*mediapb.ImportCaptionsResponse, error) {
	list, err := importedCaptions(req.GetCaptions())
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, r.media.db, req, func(tx *pg.Tx) (*mediapb.ImportCaptionsResponse, error) {
		files, err := r.media.setCaptions(ctx, tx, req.GetCourseId(), list)
		if err != nil {
			return nil, err
		}
		return &mediapb.ImportCaptionsResponse{Captions: int32(len(list))}, //nolint:gosec // at most 200
			audit.Record(ctx, tx, audit.Entry{
				Action: "media.captions_imported", Object: req.GetCourseId(), Course: req.GetCourseId(),
				After: map[string]any{"files": files, "captions": len(list)},
			})
	})
}

// importedCaptions returns captions that a service brings as they are kept.
func importedCaptions(given []*mediapb.ImportedCaption) ([]caption, error) {
	list := make([]caption, len(given))
	there, mains := map[[2]string]bool{}, map[string]bool{}
	for i, g := range given {
		at := fmt.Sprintf("captions[%d].", i)
		c, err := newCaption(at, caption{MediaID: g.GetMediaId(), Language: g.GetLanguage(), Label: g.GetLabel(), Main: g.GetMain(), Content: g.GetContent()})
		switch {
		case err != nil:
			return nil, err
		case there[[2]string{c.MediaID, c.Language}]:
			return nil, badCaption(at+"language", "caption.twice", "A file has captions once in a language.")
		case c.Main && mains[c.MediaID]:
			return nil, badCaption(at+"main", "caption.main_twice", "Of the captions of a file one is shown where a viewer has chosen none.")
		}
		there[[2]string{c.MediaID, c.Language}] = true
		mains[c.MediaID] = mains[c.MediaID] || c.Main
		list[i] = c
	}
	return list, nil
}

// setCaptions sets captions of files of a course, none of which is there twice,
// and returns how many files these are.
func (s *Service) setCaptions(ctx context.Context, tx *pg.Tx, course string, list []caption) (int, error) {
	var mains []string
	ids := map[string]bool{}
	media, languages, labels, contents := make([]string, len(list)), make([]string, len(list)), make([]string, len(list)), make([]string, len(list))
	main := make([]bool, len(list))
	for i, c := range list {
		ids[c.MediaID] = true
		if c.Main {
			mains = append(mains, c.MediaID)
		}
		media[i], languages[i], labels[i], main[i], contents[i] = c.MediaID, c.Language, c.Label, c.Main, c.Content
	}
	rows, err := tx.Query(ctx, `
		SELECT `+columns+` FROM media WHERE id = ANY ($1) AND course_id = $2 AND deleted_at IS NULL
		ORDER BY id FOR NO KEY UPDATE`, media, course)
	if err != nil {
		return 0, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[file])
	if err != nil {
		return 0, err
	}
	if len(found) < len(ids) {
		return 0, ErrNotFound
	}
	for _, f := range found {
		if k := kindOf(f.ContentType); k != kindVideo && k != kindAudio {
			return 0, ErrNoCaptions
		}
	}
	if _, err := tx.Exec(ctx, `UPDATE caption SET main = false WHERE media_id = ANY ($1) AND main`, mains); err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO caption AS c (media_id, language, label, main, content, created_at)
		SELECT *, $6 FROM unnest($1::text[], $2::text[], $3::text[], $4::bool[], $5::text[])
		ON CONFLICT ON CONSTRAINT caption_pkey DO UPDATE
		SET label = excluded.label, main = excluded.main, content = excluded.content, revision = c.revision + 1`,
		media, languages, labels, main, contents, s.utc()); err != nil {
		return 0, err
	}
	var full bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM caption WHERE media_id = ANY ($1) GROUP BY media_id HAVING count(*) > $2)`, media, maxCaptions).Scan(&full); err != nil {
		return 0, err
	}
	if full {
		return 0, ErrTooManyCaptions
	}
	return len(ids), nil
}
