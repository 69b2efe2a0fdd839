package courses

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// archive puts a course away, or takes it out of the archive.
func (s *Service) archive(ctx context.Context, req proto.Message, courseID string, away, closed bool, reason string) (*coursespb.Course, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Course, error) {
		c, err := lockDraft(ctx, tx, courseID, false)
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, etag(c.Revision)); err != nil {
			return nil, err
		}
		if (c.ArchivedAt != nil) == away && c.Closed == closed {
			return draftCourse(c), nil
		}
		was := map[string]any{"archived": c.ArchivedAt != nil, "closed": c.Closed}
		var events []proto.Message
		if away && c.Published {
			c.Published, c.Sequence = false, c.Sequence+1
			events = append(events, &coursespb.CourseUnpublished{CourseId: c.ID, Sequence: c.Sequence})
		}
		c.Sequence++
		events = append(events, &coursespb.CourseArchived{CourseId: c.ID, Archived: away, Closed: closed, Sequence: c.Sequence})
		now := s.now()
		if _, err := tx.Exec(ctx, `
			UPDATE course SET archived_at = CASE WHEN $2 THEN coalesce(archived_at, $3) END, closed = $4, published = $5, sequence = $6, revision = revision + 1
			WHERE id = $1`, c.ID, away, now, closed, c.Published, c.Sequence); err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `UPDATE draft SET archived = $2 WHERE course_id = $1`, c.ID, away); err != nil {
			return nil, err
		}
		after := map[string]any{"archived": away, "closed": closed}
		entry := audit.Entry{Action: "course.archived", Object: c.ID, Course: c.ID, Reason: reason, Before: was, After: after}
		if !away {
			entry = audit.Entry{Action: "course.unarchived", Object: c.ID, Course: c.ID, Before: was, After: after}
		}
		if err := audit.Record(ctx, tx, entry); err != nil {
			return nil, err
		}
		if c, err = readCourse(ctx, tx, draftOf+`WHERE c.id = $1`, c.ID); err != nil {
			return nil, err
		}
		return draftCourse(c), bus.Publish(ctx, tx, events...)
	})
}
