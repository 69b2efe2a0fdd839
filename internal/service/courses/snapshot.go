package courses

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/pg"
)

// snapshot is a course as it is at a moment, the draft or a published version:
// what it is called, and which content each of its items has. Contents never
// change, so that they can be read later, some at a time.
type snapshot struct {
	Landing

	courseID string
	origin   string // the course that it was first exported of
	parts    []part // parents before children, siblings in their order
}

// part is an item in a snapshot.
type part struct {
	ID        string
	ParentID  string
	Kind      string
	VersionID int64
	Title     string
}

// leaves returns how many parts are no modules.
func leaves(parts []part) (n int) {
	for _, p := range parts {
		if p.Kind != "module" {
			n++
		}
	}
	return n
}

const (
	draftParts = `
		SELECT i.id, i.parent_id, i.kind, i.version_id, v.title
		FROM item i JOIN item_version v ON v.id = i.version_id WHERE i.course_id = $1 AND $2 = 0 ORDER BY i.position, i.id`
	publishedParts = `
		SELECT i.item_id AS id, i.parent_id, i.kind, i.version_id, v.title
		FROM publication_item i JOIN item_version v ON v.id = i.version_id WHERE i.course_id = $1 AND i.number = $2 ORDER BY i.position`
)

// readSnapshot returns a course's published version, or with 0 its draft.
func readSnapshot(ctx context.Context, db pg.Querier, courseID string, version int32) (snapshot, error) {
	snap := snapshot{courseID: courseID}
	landing, items, absent := `SELECT `+landingColumns+` FROM course WHERE id = $1 AND $2 = 0`, draftParts, error(auth.ErrHidden)
	if version > 0 {
		landing, items, absent = `SELECT `+landingColumns+` FROM publication WHERE course_id = $1 AND number = $2`, publishedParts, ErrVersionNotFound
	}
	rows, err := db.Query(ctx, landing, courseID, version)
	if err != nil {
		return snap, err
	}
	if snap.Landing, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Landing]); pg.NoRows(err) {
		return snap, absent
	} else if err != nil {
		return snap, err
	}
	if err := db.QueryRow(ctx, `SELECT coalesce((SELECT origin_id FROM course_origin WHERE course_id = $1), $1)`, courseID).Scan(&snap.origin); err != nil {
		return snap, err
	}
	if rows, err = db.Query(ctx, items, courseID, version); err != nil {
		return snap, err
	}
	parts, err := pgx.CollectRows(rows, pgx.RowToStructByName[part])
	snap.parts = inOrder(parts)
	return snap, err
}

// inOrder puts parts, whose siblings are in their order, so that each comes right
// behind its parent and what is in the siblings before it.
func inOrder(parts []part) []part {
	children := map[string][]part{}
	for _, p := range parts {
		children[p.ParentID] = append(children[p.ParentID], p)
	}
	out := make([]part, 0, len(parts))
	var add func(parentID string)
	add = func(parentID string) {
		for _, p := range children[parentID] {
			out = append(out, p)
			add(p.ID)
		}
	}
	add("")
	return out
}

// only returns the modules named, and what is in them, in the
// order of the names; nil when one is none of the snapshot, or within another.
func (snap snapshot) only(moduleIDs []string) []part {
	var out []part
	for _, moduleID := range moduleIDs {
		from := len(out)
		in := map[string]bool{moduleID: true}
		for _, p := range snap.parts {
			if p.ID == moduleID && p.Kind == "module" {
				p.ParentID = ""
				out = append(out, p)
			} else if in[p.ParentID] {
				in[p.ID] = true
				if slices.Contains(moduleIDs, p.ID) {
					return nil
				}
				out = append(out, p)
			}
		}
		if from == len(out) {
			return nil
		}
	}
	return out
}

// versions returns the contents that parts have.
func versions(parts []part) []int64 {
	ids := make([]int64, len(parts))
	for i, p := range parts {
		ids[i] = p.VersionID
	}
	return ids
}

// fewer is how many contents are looked at together: of the largest lessons these
// are 32 MiB.
const fewer = 32

// readContents returns contents by their ids.
func readContents(ctx context.Context, db pg.Querier, ids []int64) (map[int64]content, error) {
	rows, err := db.Query(ctx, `SELECT id, title, preview, body, settings, activity_ref FROM item_version WHERE id = ANY($1)`, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[int64]content, len(ids))
	type row struct {
		ID int64
		content
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
	for _, r := range list {
		out[r.ID] = r.content
	}
	return out, err
}

// mediaOf returns the files that a snapshot's parts show, and its own, each once.
func (snap snapshot) mediaOf(ctx context.Context, db pg.Querier, parts []part, own bool) ([]string, error) {
	rows, err := db.Query(ctx, `
		SELECT DISTINCT b.value->>'media_id' FROM item_version v, jsonb_array_elements(v.body) b
		WHERE v.id = ANY($1) AND b.value->>'media_id' <> ''`, versions(parts))
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	if own {
		for _, mediaID := range []string{snap.CoverMediaID, snap.PromoVideoMediaID} {
			if mediaID != "" {
				ids = append(ids, mediaID)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// readSettings returns what is said of the parts, by the ids of their contents,
// of those of which something is.
func readSettings(ctx context.Context, db pg.Querier, parts []part) (map[int64]settings, error) {
	rows, err := db.Query(ctx, `SELECT id, settings FROM item_version WHERE id = ANY($1) AND settings <> '{}'`, versions(parts))
	if err != nil {
		return nil, err
	}
	out := map[int64]settings{}
	var one int64
	var said settings
	_, err = pgx.ForEachRow(rows, []any{&one, &said}, func() error {
		out[one] = said
		said = settings{}
		return nil
	})
	return out, err
}

// earliest returns the first of all dates that a course names; zero for none.
func (snap snapshot) earliest(said map[int64]settings) time.Time {
	var first time.Time
	look := func(t time.Time) time.Time {
		if first.IsZero() || t.Before(first) {
			first = t
		}
		return t
	}
	r := refs{date: look, keep: true}
	r.rule(snap.Release.M, "", "")
	for _, s := range said {
		r.settings(s, "")
	}
	return first
}
