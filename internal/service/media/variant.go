package media

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
)

// variant is something that was made of an object for showing it.
type variant struct {
	ObjectID    string
	Name        string
	Stored      string
	ContentType string
	Size        int64
	SHA256      string
	Width       int
	Height      int
	Page        int
	Words       string
}

// part is a variant that was made and is not stored yet: content, or a file.
type part struct {
	variant
	content []byte
	path    string
}

// storedAs returns the id of a variant's object. Each run of each object has a
// prefix of its own, so that a run that is late writes over nothing, and what is
// at an address never changes. In a bucket that is a folder no name is a folder of
// another, hence the ending.
func storedAs(objectID, run, name string) string { return objectID + ".parts/" + run + "/" + name }

// keep stores what was made. As with uploads each object is named in a row before
// it is stored, so that whatever happens it is either a variant or swept.
func (s *Service) keep(ctx context.Context, t *task, parts []part) error {
	names := make([]string, len(parts))
	for i := range parts {
		p := &parts[i]
		p.ObjectID, p.Stored = t.ObjectID, storedAs(t.ObjectID, t.worker, p.Name)
		names[i] = p.Stored
	}
	if _, err := s.db.Exec(ctx, `INSERT INTO upload (id, started_at) SELECT unnest($1::text[]), $2`, names, s.utc()); err != nil {
		return err
	}
	for i := range parts {
		if err := s.put(ctx, &parts[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) put(ctx context.Context, p *part) error {
	var in io.Reader = bytes.NewReader(p.content)
	if p.path != "" {
		f, err := os.Open(p.path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	counted := &counter{r: in, hash: sha256.New(), max: 1 << 40}
	if err := s.bucket.Put(ctx, object(p.Stored), counted, p.ContentType); err != nil {
		return err
	}
	p.Size, p.SHA256, p.content = counted.size, hex.EncodeToString(counted.hash.Sum(nil)), nil
	return nil
}

// adopt makes what was made the object's, in place of what an earlier run made.
func (s *Service) adopt(ctx context.Context, tx *pg.Tx, t *task, res *result) error {
	names := make([]string, len(res.parts))
	for i, p := range res.parts {
		names[i] = p.Stored
	}
	tag, err := tx.Exec(ctx, `DELETE FROM upload WHERE id = ANY ($1) AND NOT abandoned`, names)
	if err != nil {
		return err
	}
	if int(tag.RowsAffected()) != len(names) {
		return errSwept
	}
	if err := s.abandon(ctx, tx, `DELETE FROM variant WHERE object_id = $1`, t.ObjectID); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO asset (object_id, kind, width, height, duration_ms) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT ON CONSTRAINT asset_pkey DO UPDATE
		SET kind = excluded.kind, width = excluded.width, height = excluded.height, duration_ms = excluded.duration_ms`,
		t.ObjectID, res.kind, res.width, res.height, res.duration.Milliseconds()); err != nil {
		return err
	}
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"variant"},
		[]string{"object_id", "name", "stored", "content_type", "size", "sha256", "width", "height", "page", "words"},
		pgx.CopyFromSlice(len(res.parts), func(i int) ([]any, error) {
			p := res.parts[i]
			return []any{t.ObjectID, p.Name, p.Stored, p.ContentType, p.Size, p.SHA256, p.Width, p.Height, p.Page, p.Words}, nil
		}))
	return err
}

// abandon leaves the objects of variants that a statement deletes to the sweep.
func (s *Service) abandon(ctx context.Context, q pg.Querier, deletes string, args ...any) error {
	_, err := q.Exec(ctx, `WITH gone AS (`+deletes+` RETURNING stored)
		INSERT INTO upload (id, started_at, abandoned) SELECT stored, now(), true FROM gone`, args...)
	return err
}

// sweepVariants leaves to the sweep what was made of objects that no file has any
// more.
func (s *Service) sweepVariants(ctx context.Context) error {
	const orphan = `NOT EXISTS (SELECT FROM media WHERE ` + ofObject + ` = `
	for {
		rows, err := s.db.Query(ctx, `SELECT object_id FROM asset WHERE `+orphan+`asset.object_id) LIMIT 100`)
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil || len(ids) == 0 {
			return err
		}
		if err := s.abandon(ctx, s.db, `DELETE FROM variant WHERE object_id = ANY ($1)`, ids); err != nil {
			return err
		}
		if _, err := s.db.Exec(ctx, `DELETE FROM asset WHERE object_id = ANY ($1)`, ids); err != nil {
			return err
		}
	}
}
