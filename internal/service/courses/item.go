package courses

import (
	"bytes"
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/pg"
)

// item is a module, a lesson, a quiz or an assignment of a draft.
type item struct {
	ID        string `json:"-"`
	Kind      string `json:"-"`
	ParentID  string `json:"parent_id,omitempty"` // the module that it is in, "" at the top
	Position  int64  `json:"position"`
	Revision  int64  `json:"revision"`
	VersionID int64  `json:"version_id"`
}

// lockItem returns an item of a draft and keeps others from changing it until
// tx ends; absent is the error when there is none. The kind "activity" is a quiz
// or an assignment, "" is any.
func lockItem(ctx context.Context, tx *pg.Tx, courseID, kind, itemID string, absent error) (item, error) {
	rows, err := tx.Query(ctx, `
		SELECT id, kind, parent_id, position, revision, version_id FROM item
		WHERE id = $1 AND course_id = $2 AND ($3 IN ('', kind) OR $3 = 'activity' AND kind IN ('quiz', 'assignment'))
		FOR NO KEY UPDATE`, itemID, courseID, kind)
	if err != nil {
		return item{}, err
	}
	it, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[item])
	if pg.NoRows(err) {
		return item{}, absent
	}
	return it, err
}

// content is what an item has to show, and what is said of it besides.
type content struct {
	Title       string
	Preview     bool
	Body        []block
	Settings    settings
	ActivityRef string
}

// insertVersion gives an item a content, and returns the row of it: one that is
// there already when the item has had the same before. The item is locked, or
// new. html is that of the blocks.
func (s *Service) insertVersion(ctx context.Context, tx *pg.Tx, it item, c content, html []string) (versionID int64, err error) {
	if c.Body == nil {
		c.Body = []block{}
	}
	hash, err := c.hash(it.Kind)
	if err != nil {
		return 0, err
	}
	err = tx.QueryRow(ctx, `
		WITH made AS (
			INSERT INTO item_version (item_id, title, preview, body, settings, activity_ref, playable_media_ids, hash, number, author_id, created_at)
			SELECT $1, $2, $3, $4, $5, $6, $7, $8, coalesce(max(number), 0) + 1, $9, $10 FROM item_version WHERE item_id = $1
			ON CONFLICT (item_id, hash) DO NOTHING RETURNING id)
		SELECT id FROM made UNION ALL SELECT id FROM item_version WHERE item_id = $1 AND hash = $8`,
		it.ID, c.Title, c.Preview, c.Body, c.Settings, c.ActivityRef, playable(c.Body), hash, auth.From(ctx).Account, s.now()).Scan(&versionID)
	if err != nil || len(c.Body) == 0 {
		return versionID, err
	}
	return versionID, keepRendering(ctx, tx, versionID, html)
}

// readVersion is a statement of its own, after the item is locked: joined to
// the locked row it would still be the version of before the wait.
func readVersion(ctx context.Context, tx pg.Querier, versionID int64) (content, error) {
	rows, err := tx.Query(ctx, `SELECT title, preview, body, settings, activity_ref FROM item_version WHERE id = $1`, versionID)
	if err != nil {
		return content{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[content])
}

// replace gives an item another content than it has; the same changes nothing.
func (s *Service) replace(ctx context.Context, tx *pg.Tx, it *item, was, next content, html []string) error {
	before, err := was.hash(it.Kind)
	if err != nil {
		return err
	}
	after, err := next.hash(it.Kind)
	if err != nil || bytes.Equal(before, after) {
		return err
	}
	it.VersionID, err = s.insertVersion(ctx, tx, *it, next, html)
	return err
}

// insertItem puts a new item at the end of its siblings. The course is locked.
func insertItem(ctx context.Context, tx *pg.Tx, courseID string, it item) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO item (id, course_id, parent_id, kind, version_id, position)
		SELECT $1, $2, $3, $4, $5, coalesce(max(position), 0) + $6 FROM item WHERE course_id = $2 AND parent_id = $3`,
		it.ID, courseID, it.ParentID, it.Kind, it.VersionID, gap)
	return err
}

// updateItem writes what may have changed of an item, as its next revision.
func (s *Service) updateItem(ctx context.Context, tx *pg.Tx, it *item) error {
	it.Revision++
	_, err := tx.Exec(ctx, `
		UPDATE item SET parent_id = $2, position = $3, version_id = $4, revision = $5,
			edited_by = CASE WHEN version_id = $4 THEN edited_by ELSE $6 END, edited_at = CASE WHEN version_id = $4 THEN edited_at ELSE $7 END
		WHERE id = $1`,
		it.ID, it.ParentID, it.Position, it.VersionID, it.Revision, auth.From(ctx).Account, s.now())
	return err
}

// checkRoom refuses another item of a kind in a draft that has as many as can be:
// modules, or lessons and activities together. The course is locked.
func checkRoom(ctx context.Context, tx *pg.Tx, courseID, kind string) error {
	var n int
	err := tx.QueryRow(ctx, `SELECT count(*) FROM item WHERE course_id = $1 AND (kind = 'module') = $2`, courseID, kind == "module").Scan(&n)
	switch {
	case err != nil:
		return err
	case kind == "module" && n >= MaxModules:
		return ErrTooManyModules
	case kind != "module" && n >= MaxLessons:
		return ErrTooManyLessons
	}
	return nil
}

// placeOf returns how many siblings come before an item.
func placeOf(ctx context.Context, tx pg.Querier, courseID, itemID string) (place int32, err error) {
	err = tx.QueryRow(ctx, `
		SELECT count(s.id) FROM item i
		LEFT JOIN item s ON s.course_id = i.course_id AND s.parent_id = i.parent_id AND (s.position, s.id) < (i.position, i.id)
		WHERE i.course_id = $1 AND i.id = $2`, courseID, itemID).Scan(&place)
	return place, err
}

// gap between new siblings: an item can be moved thirty times to the same place
// before the siblings have to be numbered again.
const gap = int64(1) << 32

// positionAt returns the position of an item that is to come after n of its
// siblings, at the end when there are fewer. The course is locked. Only when
// there is no gap left at that place the siblings get new positions.
func positionAt(ctx context.Context, tx *pg.Tx, courseID, parentID, itemID string, n int) (int64, error) {
	for {
		before, after, err := neighbours(ctx, tx, courseID, parentID, itemID, n)
		if err != nil {
			return 0, err
		}
		switch {
		case after == math.MaxInt64 && before == math.MinInt64:
			return gap, nil
		case after == math.MaxInt64:
			return before + gap, nil
		case before == math.MinInt64:
			return after - gap, nil
		case after-before > 1:
			return before + (after-before)/2, nil
		}
		if _, err := tx.Exec(ctx, `
			UPDATE item SET position = s.place * $4
			FROM (
				SELECT id, row_number() OVER (ORDER BY position, id) AS place
				FROM item WHERE course_id = $1 AND parent_id = $2 AND id <> $3) s
			WHERE item.id = s.id`, courseID, parentID, itemID, gap); err != nil {
			return 0, err
		}
	}
}

// neighbours returns the positions of the n-th sibling and of that after it,
// the least and the largest number where there is none.
func neighbours(ctx context.Context, tx *pg.Tx, courseID, parentID, itemID string, n int) (before, after int64, err error) {
	const (
		least   = int64(math.MinInt64)
		largest = int64(math.MaxInt64)
	)
	// An index of at most maxSiblings entries is walked, no page is skipped.
	err = tx.QueryRow(ctx, `
		WITH s AS (
			SELECT position, row_number() OVER (ORDER BY position, id) AS place
			FROM item WHERE course_id = $1 AND parent_id = $2 AND id <> $3 ORDER BY position, id LIMIT $4 + 1)
		SELECT coalesce(max(position) FILTER (WHERE place <= $4), $5), coalesce(min(position) FILTER (WHERE place > $4), $6) FROM s`,
		courseID, parentID, itemID, n, least, largest).Scan(&before, &after)
	return before, after, err
}
