package notify

import (
	"context"
	"time"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// gradePosted tells a student that a grade is posted: once for an item and a day,
// however often it changes. Which grade it is they see in the gradebook alone. That one
// is hidden again is told to nobody.
func (s *Service) gradePosted(ctx context.Context, tx *pg.Tx, e *gradespb.GradePosted) error {
	if e.GetPercent() == "" {
		return nil
	}
	c, err := readCourse(ctx, tx, e.GetCourseId())
	if err != nil {
		return err
	}
	who, err := s.people(ctx, tx, e.GetAccountId())
	if err != nil {
		return err
	}
	return s.notify(ctx, tx, note{
		to: who[e.GetAccountId()], kind: gradePosted, about: e.GetItemId() + " " + e.GetChangedAt().AsTime().Format(time.DateOnly),
		courseID: c.CourseID, facts: facts{Course: c.Title, Item: e.GetTitle()},
	})
}
