package courses

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
)

// newItem is an item to add to a draft, with its first content.
type newItem struct {
	item
	content
}

// itemWriter adds many items to a draft that is locked, in few statements. Parents
// come before their children.
type itemWriter struct {
	s        *Service
	tx       *pg.Tx
	courseID string
	waiting  []newItem
	bodies   []string // of those that wait, as JSON
	size     int
}

// What is written together.
const (
	writeItems = 500
	writeBytes = 8 << 20
)

// add adds an item.
func (w *itemWriter) add(ctx context.Context, n newItem) error {
	if n.Body == nil {
		n.Body = []block{}
	}
	body, err := json.Marshal(n.Body)
	if err != nil {
		return err
	}
	w.waiting, w.bodies, w.size = append(w.waiting, n), append(w.bodies, string(body)), w.size+len(body)
	if len(w.waiting) >= writeItems || w.size >= writeBytes {
		return w.flush(ctx)
	}
	return nil
}

// flush writes what waits.
func (w *itemWriter) flush(ctx context.Context) error {
	n := len(w.waiting)
	if n == 0 {
		return nil
	}
	ids, parents, kinds, titles := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	positions, previews := make([]int64, n), make([]bool, n)
	settings, refs, plays, hashes := make([]string, n), make([]string, n), make([]string, n), make([][]byte, n)
	for i, it := range w.waiting {
		ids[i], parents[i], kinds[i], positions[i] = it.ID, it.ParentID, it.Kind, it.Position
		titles[i], previews[i], refs[i] = it.Title, it.Preview, it.ActivityRef
		said, err := it.Settings.MarshalJSON()
		if err != nil {
			return err
		}
		files, err := json.Marshal(playable(it.Body))
		if err != nil {
			return err
		}
		settings[i], plays[i] = string(said), string(files)
		if hashes[i], err = it.hash(it.Kind); err != nil {
			return err
		}
	}
	_, err := w.tx.Exec(ctx, `
		WITH given AS (
			SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::boolean[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bytea[])
				AS g (id, parent_id, kind, position, title, preview, body, settings, activity_ref, plays, hash)),
		made AS (
			INSERT INTO item_version (item_id, title, preview, body, settings, activity_ref, playable_media_ids, hash, number, author_id, created_at)
			SELECT id, title, preview, body::jsonb, settings::jsonb, activity_ref, ARRAY(SELECT jsonb_array_elements_text(plays::jsonb)), hash, 1, $13, $14
			FROM given RETURNING id, item_id)
		INSERT INTO item (id, course_id, parent_id, kind, position, version_id)
		SELECT g.id, $1, g.parent_id, g.kind, g.position, m.id FROM given g JOIN made m ON m.item_id = g.id`,
		w.courseID, ids, parents, kinds, positions, titles, previews, w.bodies, settings, refs, plays, hashes, auth.From(ctx).Account, w.s.now())
	w.waiting, w.bodies, w.size = nil, nil, 0
	return err
}

// insertCourse adds a course with what it is called and how it looks.
func (s *Service) insertCourse(ctx context.Context, tx *pg.Tx, courseID, ownerID string, l Landing) error {
	at := s.now()
	if _, err := tx.Exec(ctx, `
		INSERT INTO course (id, owner_id, title, subtitle, description, language, level, category, tags, outcomes, cover_media_id,
			time_zone, audience, faq, promo_video_media_id, release, grading, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`,
		courseID, ownerID, l.Title, l.Subtitle, l.Description, l.Language, l.Level, l.Category, l.Tags, l.Outcomes, l.CoverMediaID,
		l.TimeZone, l.Audience, l.FAQ, l.PromoVideoMediaID, l.Release, l.Grading, at); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO draft (course_id, owner_id, changed_at) VALUES ($1, $2, $3)`, courseID, ownerID, at)
	return err
}

// insertOrigin notes what a course was made of.
func insertOrigin(ctx context.Context, tx *pg.Tx, courseID, originID, source, madeOf string) error {
	_, err := tx.Exec(ctx, `INSERT INTO course_origin (course_id, origin_id, source, made_of) VALUES ($1, $2, $3, $4)`, courseID, originID, source, madeOf)
	return err
}

// newIDs returns a new id for each part, by its own.
func newIDs(parts []part) map[string]string {
	ids := make(map[string]string, len(parts))
	for _, p := range parts {
		ids[p.ID] = id.New(localKind(p.Kind))
	}
	return ids
}

// copyParts adds copies of parts to a draft, as refs has them there. at gives the
// position of one that stands at the top.
func (s *Service) copyParts(ctx context.Context, tx *pg.Tx, courseID string, parts []part, r refs, at func(n int) int64) error {
	w := &itemWriter{s: s, tx: tx, courseID: courseID}
	batches, err := batched(ctx, tx, parts)
	if err != nil {
		return err
	}
	place := map[string]int{}
	for _, batch := range batches {
		read, err := readContents(ctx, tx, versions(batch))
		if err != nil {
			return err
		}
		for _, p := range batch {
			n := place[p.ParentID]
			place[p.ParentID]++
			it := item{ID: r.items[p.ID], ParentID: r.items[p.ParentID], Kind: p.Kind, Position: int64(n+1) * gap}
			if p.ParentID == "" {
				it.Position = at(n)
			}
			if err := w.add(ctx, newItem{it, r.content(p.ID, read[p.VersionID])}); err != nil {
				return err
			}
		}
	}
	return w.flush(ctx)
}

// batched divides parts into those whose contents are read together: by their
// number, and by their size as the database keeps it, which is some times smaller.
func batched(ctx context.Context, db pg.Querier, parts []part) ([][]part, error) {
	rows, err := db.Query(ctx, `SELECT id, pg_column_size(body) FROM item_version WHERE id = ANY($1)`, versions(parts))
	if err != nil {
		return nil, err
	}
	sizes := make(map[int64]int, len(parts))
	var versionID int64
	var size int
	if _, err := pgx.ForEachRow(rows, []any{&versionID, &size}, func() error {
		sizes[versionID] = size
		return nil
	}); err != nil {
		return nil, err
	}
	var out [][]part
	from, sum := 0, 0
	for i, p := range parts {
		sum += sizes[p.VersionID]
		if i+1-from >= writeItems || sum >= writeBytes/2 || i == len(parts)-1 {
			out = append(out, slices.Clone(parts[from:i+1]))
			from, sum = i+1, 0
		}
	}
	return out, nil
}
