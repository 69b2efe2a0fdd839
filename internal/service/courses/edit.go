package courses

import (
	"context"
	"time"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
)

// Two editors never overwrite each other. Who sends If-Match is held to it. Who
// does not may change what they alone have changed lately, or what nobody has
// changed since it was made: whatever they have read before, it was that. What
// somebody else has changed within the last hour they can't have meant to
// overwrite unseen, so that they are asked for If-Match. What was read more than
// an hour ago is not known here; a course that wants to be sure of that too sets
// require_etag.
const fresh = time.Hour

// etagRequired is told to who has to bring If-Match; current is what it has to name
// once they have looked at it.
func etagRequired(current string) error {
	return &fault.Error{
		Kind: fault.Precondition, Code: "etag.required", Etag: current,
		Message: "Somebody else works on this too: say which version your change is based on.",
		Fields:  []fault.Field{{Path: "If-Match", Code: "etag.required", Hint: `Read it, and send its ETag. The current version is "` + current + `".`}},
	}
}

// matchItem holds a change of a locked item to If-Match; content says that it is
// one of what the item shows, and not of its place alone.
func (s *Service) matchItem(ctx context.Context, tx *pg.Tx, courseID string, it item, content bool) error {
	current := etag(it.Revision)
	if rpc.IfMatch(ctx) != "" {
		return rpc.Match(ctx, current)
	}
	var (
		strict bool
		editor string
		at     *time.Time
	)
	err := tx.QueryRow(ctx, `SELECT c.require_etag, i.edited_by, i.edited_at FROM item i, course c WHERE i.id = $1 AND c.id = $2`, it.ID, courseID).
		Scan(&strict, &editor, &at)
	if err != nil {
		return err
	}
	if strict || content && at != nil && editor != auth.From(ctx).Account && s.now().Sub(*at) < fresh {
		return etagRequired(current)
	}
	return nil
}

// matchLanding is the same for the landing page of a locked course.
func (s *Service) matchLanding(ctx context.Context, c course) error {
	if rpc.IfMatch(ctx) != "" {
		return rpc.Match(ctx, etag(c.Revision))
	}
	if c.RequireEtag || c.EditedAt != nil && c.EditedBy != auth.From(ctx).Account && s.now().Sub(*c.EditedAt) < fresh {
		return etagRequired(etag(c.Revision))
	}
	return nil
}

// requireEtag says whether each change of a locked course has to bring If-Match,
// and returns the course as it is then.
func (s *Service) requireEtag(ctx context.Context, tx *pg.Tx, c course, on bool) (course, error) {
	if c.ArchivedAt != nil {
		return course{}, ErrArchived
	}
	c.RequireEtag, c.Revision = on, c.Revision+1
	if _, err := tx.Exec(ctx, `UPDATE course SET require_etag = $2, revision = $3 WHERE id = $1`, c.ID, on, c.Revision); err != nil {
		return course{}, err
	}
	return c, audit.Record(ctx, tx, audit.Entry{
		Action: "course.etag_rule_set", Object: c.ID, Course: c.ID,
		Before: map[string]any{"require_etag": !on}, After: map[string]any{"require_etag": on},
	})
}
