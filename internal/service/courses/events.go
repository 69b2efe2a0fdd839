package courses

import (
	"context"
	"fmt"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// Handlers returns what the service does on others' events. They may come
// twice, late and in any order: each keeps the newest it has heard.
func (s *Service) Handlers() []bus.Handler {
	return []bus.Handler{
		bus.On(s.courseOwnerChanged),
		bus.Copy(s.cohortChanged),
		bus.Copy(s.cohortMembershipChanged),
	}
}

// courseOwnerChanged notes the owner, and tells a published course anew: whoever
// keeps a course keeps its owner.
func (s *Service) courseOwnerChanged(ctx context.Context, tx *pg.Tx, event *accesspb.CourseOwnerChanged) error {
	var published bool
	err := tx.QueryRow(ctx, `
		UPDATE course SET owner_id = $2, owner_version = $3, revision = revision + 1, sequence = sequence + CASE WHEN published THEN 1 ELSE 0 END
		WHERE id = $1 AND owner_version < $3 RETURNING published`, event.GetCourseId(), event.GetOwnerId(), event.GetVersion()).Scan(&published)
	if pg.NoRows(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("course owner changed: %w", err)
	}
	if _, err := tx.Exec(ctx, `UPDATE draft SET owner_id = $2 WHERE course_id = $1`, event.GetCourseId(), event.GetOwnerId()); err != nil {
		return fmt.Errorf("course owner changed: %w", err)
	}
	if err := audit.Record(ctx, tx, audit.Entry{
		Action: "course.owner_changed", Object: event.GetCourseId(), Course: event.GetCourseId(), Person: event.GetOwnerId(),
		Before: map[string]any{"owner_id": event.GetPreviousOwnerId()}, After: map[string]any{"owner_id": event.GetOwnerId()},
	}); err != nil {
		return err
	}
	if !published {
		return nil
	}
	c, err := readCourse(ctx, tx, publishedOf, event.GetCourseId(), 0, "")
	if err != nil {
		return fmt.Errorf("course owner changed: %w", err)
	}
	told, err := publishedEvent(ctx, tx, c)
	if err != nil {
		return err
	}
	return bus.Publish(ctx, tx, told)
}
