package courses

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// seesAll reports whether the caller is staff, to whom nothing is closed: who has
// a role by which they see all files of a course or how far its learners are.
func seesAll(ctx context.Context) (bool, error) {
	for _, permission := range []string{"course.edit", "progress.list", "media.read"} {
		if has, err := auth.Has(ctx, permission); err != nil || has {
			return has, err
		}
	}
	return false, nil
}

// checkOpen refuses a lesson that is not open to the caller, a hidden one as one
// that there is not. Learning is asked; while it does not answer nobody is let in
// but staff. A version that learning has not heard of yet closes nothing.
func (s *Service) checkOpen(ctx context.Context, courseID, lessonID string) error {
	res, err := s.learning.CheckItems(ctx, &learningpb.CheckItemsRequest{
		CourseId: courseID, AccountId: auth.From(ctx).Account, ItemIds: []string{lessonID},
	})
	if err == nil && (len(res.GetItems()) == 0 || res.GetItems()[0].GetState() == "open") {
		return nil
	}
	// Asked last: most who read lessons are learners, and to them they are open.
	if all, staffErr := seesAll(ctx); staffErr != nil || all {
		return staffErr
	}
	if err != nil {
		return fmt.Errorf("ask what is open: %w", err)
	}
	item := res.GetItems()[0]
	if item.GetState() == "hidden" {
		return ErrLessonNotFound
	}
	locked := &fault.Error{Kind: ErrLessonLocked.Kind, Code: ErrLessonLocked.Code, Message: ErrLessonLocked.Message}
	for _, reason := range item.GetReasons() {
		locked.Fields = append(locked.Fields, fault.Field{Path: "lesson_id", Code: locked.Code, Hint: reason})
	}
	if at := item.GetOpensAt(); at != nil {
		locked.Fields = append(locked.Fields, fault.Field{Path: "opens_at", Code: "lesson.opens_at", Hint: at.AsTime().Format(time.RFC3339)})
	}
	return locked
}

// leaveOut takes out of an outline what is hidden from the caller.
func (s *Service) leaveOut(ctx context.Context, courseID string, o *outline) error {
	res, err := s.learning.CheckItems(ctx, &learningpb.CheckItemsRequest{CourseId: courseID, AccountId: auth.From(ctx).Account, HiddenOnly: true})
	if err == nil && len(res.GetItems()) == 0 {
		return nil
	}
	if all, staffErr := seesAll(ctx); staffErr != nil || all {
		return staffErr
	}
	if err != nil {
		return fmt.Errorf("ask what is hidden: %w", err)
	}
	hidden := map[string]bool{}
	for _, item := range res.GetItems() {
		hidden[item.GetItemId()] = true
	}
	o.items = slices.DeleteFunc(o.items, func(e entry) bool { return hidden[e.ID] })
	o.modules = slices.DeleteFunc(o.modules, func(m *outlineModule) bool { return hidden[m.ID] })
	for _, m := range o.modules {
		m.lessons = slices.DeleteFunc(m.lessons, func(l entry) bool { return hidden[l.ID] })
	}
	return nil
}
