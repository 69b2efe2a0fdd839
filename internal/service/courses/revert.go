package courses

import (
	"context"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// checkRevert refuses to go back to a version that there is not, and to let go of
// changes of the draft that nobody has said to let go of.
func checkRevert(ctx context.Context, tx *pg.Tx, c course, p publishing) error {
	var one int
	err := tx.QueryRow(ctx, `SELECT 1 FROM publication WHERE course_id = $1 AND number = $2`, c.ID, p.revertTo).Scan(&one)
	switch {
	case pg.NoRows(err):
		return ErrVersionNotFound
	case err != nil:
		return err
	case c.Changed && !p.discard:
		return ErrUnpublished
	default:
		return nil
	}
}

// landingColumns are those that a course and a publication both have: what is
// published of the course itself.
const landingColumns = `title, subtitle, description, language, level, category, tags, outcomes, cover_media_id, time_zone, audience, faq, promo_video_media_id, release, grading`

// revertDraft makes the draft what a version was, in statements whose number does
// not depend on its size. What the draft had stays among the versions of its items,
// those that leave it in the trigger's history. The course, its items and its
// draft are locked.
func (s *Service) revertDraft(ctx context.Context, tx *pg.Tx, courseID string, number int32) error {
	account, now := auth.From(ctx).Account, s.now()
	for _, step := range []struct {
		sql  string
		args []any
	}{
		{`UPDATE course SET (` + landingColumns + `) = (SELECT ` + landingColumns + ` FROM publication WHERE course_id = $1 AND number = $2),
			edited_by = $3, edited_at = $4
		WHERE id = $1`, []any{courseID, number, account, now}},
		{`DELETE FROM item i WHERE i.course_id = $1
			AND NOT EXISTS (SELECT FROM publication_item p WHERE p.course_id = $1 AND p.number = $2 AND p.item_id = i.id)`, []any{courseID, number}},
		// The places as a publication has them, so that what is in the same place is
		// seen to be.
		{`UPDATE item i SET position = n.at
		FROM (SELECT id, row_number() OVER (PARTITION BY parent_id ORDER BY position, id) * $2::bigint AS at FROM item WHERE course_id = $1) n
		WHERE i.id = n.id AND i.position <> n.at`, []any{courseID, gap}},
		{`UPDATE item i SET parent_id = p.parent_id, position = (p.position + 1) * $3::bigint, version_id = p.version_id, revision = i.revision + 1,
			edited_by = CASE WHEN i.version_id = p.version_id THEN i.edited_by ELSE $4 END,
			edited_at = CASE WHEN i.version_id = p.version_id THEN i.edited_at ELSE $5 END
		FROM publication_item p
		WHERE p.course_id = $1 AND p.number = $2 AND i.id = p.item_id
			AND (i.parent_id, i.version_id, i.position) <> (p.parent_id, p.version_id, (p.position + 1) * $3::bigint)`, []any{courseID, number, gap, account, now}},
		// Those that come back go on counting where they left, so that an ETag of
		// before names nothing they have now.
		{`INSERT INTO item (id, course_id, parent_id, kind, position, version_id, revision)
		SELECT p.item_id, $1, p.parent_id, p.kind, (p.position + 1) * $3::bigint, p.version_id, coalesce(r.revision, 0) + 1
		FROM publication_item p
		LEFT JOIN LATERAL (SELECT max(revision) AS revision FROM item_revision WHERE item_id = p.item_id) r ON true
		WHERE p.course_id = $1 AND p.number = $2 AND NOT EXISTS (SELECT FROM item i WHERE i.id = p.item_id)`, []any{courseID, number, gap}},
	} {
		if _, err := tx.Exec(ctx, step.sql, step.args...); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, `UPDATE draft SET changes = changes + 1, changed_at = greatest(changed_at, $2) WHERE course_id = $1`, courseID, now)
	return err
}

// revertItem gives an item of the draft a content that it had.
func (s *Service) revertItem(ctx context.Context, req *coursespb.RevertItemRequest) (*coursespb.ItemContent, error) {
	courseID, itemID := req.GetCourseId(), req.GetItemId()
	if open, err := s.changesSettings(ctx, courseID, itemID, req.GetNumber()); err != nil {
		return nil, err
	} else if open {
		if err := editsAll(ctx); err != nil {
			return nil, err
		}
	}
	out, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.ItemContent, error) {
		if err := lockCourse(ctx, tx, courseID); err != nil {
			return nil, err
		}
		var kind string
		err := tx.QueryRow(ctx, `SELECT kind FROM item WHERE course_id = $1 AND id = $2`, courseID, itemID).Scan(&kind)
		if pg.NoRows(err) {
			return nil, ErrItemNotFound
		}
		if err != nil {
			return nil, err
		}
		it, err := lockItem(ctx, tx, courseID, kind, itemID, ErrItemNotFound)
		if err != nil {
			return nil, err
		}
		if err := s.matchItem(ctx, tx, courseID, it, true); err != nil {
			return nil, err
		}
		v, err := readItemVersion(ctx, tx, itemID, int64(req.GetNumber()))
		if err != nil {
			return nil, err
		}
		if v.ID != it.VersionID {
			was := it
			it.VersionID = v.ID
			if err := s.updateItem(ctx, tx, &it); err != nil {
				return nil, err
			}
			if err := checkReleases(ctx, tx, courseID); err != nil {
				return nil, err
			}
			if err := s.touch(ctx, tx, courseID, audit.Entry{
				Action: "item.reverted", Object: it.ID, Before: was, After: map[string]any{"item": it, "from": req.GetNumber()},
			}); err != nil {
				return nil, err
			}
		}
		return itemContent(ctx, tx, courseID, itemID, versionRef{versionID: it.VersionID})
	})
	if err != nil {
		return nil, err
	}
	return s.completed(ctx, out)
}

// changesSettings reports whether a content would change whether anybody may read
// the item, or what is said of it besides, which only who may edit all of the
// course decides.
func (s *Service) changesSettings(ctx context.Context, courseID, itemID string, number int32) (bool, error) {
	v, err := readItemVersion(ctx, s.db, itemID, int64(number))
	if err != nil {
		return false, err
	}
	var changes bool
	err = s.db.QueryRow(ctx, `
		SELECT v.preview <> o.preview OR v.settings <> o.settings FROM item i JOIN item_version v ON v.id = i.version_id, item_version o
		WHERE i.course_id = $1 AND i.id = $2 AND o.id = $3`, courseID, itemID, v.ID).Scan(&changes)
	if pg.NoRows(err) {
		return false, ErrItemNotFound
	}
	return changes, err
}
