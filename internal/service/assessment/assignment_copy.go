package assessment

import (
	"context"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// copiedAssignment is what an assignment is in another course, before it is stored
// there.
type copiedAssignment struct {
	from     assignment
	courseID string
	settings *assessmentpb.AssignmentSettings
}

// planAssignmentCopy returns what the draft of an assignment is in another course: with
// the files that its instructions name, and without groups. It asks media: never in a
// transaction.
func (s *Service) planAssignmentCopy(ctx context.Context, courseID, assignmentID, to string) (*copiedAssignment, error) {
	a, err := readAssignment(ctx, s.db, courseID, assignmentID, "")
	if err != nil {
		return nil, err
	}
	c := &copiedAssignment{from: a, courseID: to}
	if c.settings, err = a.settings(); err != nil || to == courseID {
		return c, err
	}
	if c.settings.GetGroup() != nil {
		c.settings.Group.GroupIds = nil
	}
	called, err := s.copyPictures(ctx, courseID, to, question.MediaIn(c.settings.GetInstructions()))
	c.settings.Instructions = question.RenameMedia(c.settings.GetInstructions(), called)
	return c, err
}

// storeAssignmentCopy adds a copy.
func (s *Service) storeAssignmentCopy(ctx context.Context, tx *pg.Tx, c *copiedAssignment, assignmentID, title string) (assignment, error) {
	a := assignment{ID: assignmentID, CourseID: c.courseID, Title: orElse(title, c.from.Title)}
	if err := s.insertAssignment(ctx, tx, &a, c.settings, c.from.ID); err != nil {
		return assignment{}, err
	}
	return a, audit.Record(ctx, tx, audit.Entry{Action: "assignment.copied", Object: a.ID, Course: a.CourseID, After: map[string]any{"from": c.from.ID, "from_course": c.from.CourseID}})
}

// makeAssignmentCopy makes the assignment of a course that was copied. It is published
// as the other one was.
func (s *Service) makeAssignmentCopy(ctx context.Context, c *activityToCopy) error {
	plan, err := s.planAssignmentCopy(ctx, c.FromCourseID, c.FromID, c.CourseID)
	if err != nil {
		return err
	}
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		mine, err := c.done(ctx, tx)
		if err != nil || !mine {
			return err
		}
		a, err := s.storeAssignmentCopy(ctx, tx, plan, c.ID, "")
		if err != nil || plan.from.Version == 0 {
			return err
		}
		if _, err := s.publishAssignment(ctx, tx, &a, ""); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE assignment SET version = $2, published_revision = revision WHERE id = $1`, a.ID, a.Version)
		return err
	})
}
