package courses

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
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

// What a published version can do to somebody, as publications have it: nothing, lock
// a part, or hide one; "" in those of programs of before, of which it is not known.
const (
	gatesNone = "none"
	gatesLock = "lock"
	gatesHide = "hide"
)

// gatesOf returns what rules and schedules of a publication can do.
func gatesOf(e *coursespb.CoursePublished) string {
	gates := gatesNone
	note := func(rule *releasepb.Rule) {
		switch {
		case rule == nil || gates == gatesHide:
		case release.Compile(rule).CanHide():
			gates = gatesHide
		default:
			gates = gatesLock
		}
	}
	note(e.GetRelease())
	for _, it := range e.GetItems() {
		note(it.GetRelease())
		if gates == gatesNone && it.GetSchedule().GetAvailableFrom() != nil {
			gates = gatesLock
		}
	}
	return gates
}

// patience bounds how long learning is waited for where nothing that was published
// closes anything.
const patience = 2 * time.Second

// checkOpen refuses a lesson that is not open to the caller, a hidden one as one
// that there is not. Learning is asked; while it does not answer nobody is let in
// but staff, unless the version has nothing that closes anything: then all that could
// is a deadline of their own, which holds again once learning answers. A version that
// learning has not heard of yet closes nothing.
func (s *Service) checkOpen(ctx context.Context, courseID, lessonID, gates string) error {
	asked, stop := ctx, func() {}
	if gates == gatesNone {
		asked, stop = context.WithTimeout(ctx, patience)
	}
	defer stop()
	res, err := s.learning.CheckItems(asked, &learningpb.CheckItemsRequest{
		CourseId: courseID, AccountId: auth.From(ctx).Account, ItemIds: []string{lessonID},
	})
	if err == nil && (len(res.GetItems()) == 0 || res.GetItems()[0].GetState() == "open") {
		return nil
	}
	if gates == gatesNone && err != nil && ctx.Err() == nil && (asked.Err() != nil || fault.Is(fault.FromStatus(err), fault.Unavailable)) {
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

// leaveOut takes out of an outline what is hidden from the caller. Learning is asked
// only where something can be; deadlines hide nothing.
func (s *Service) leaveOut(ctx context.Context, courseID string, o *outline) error {
	if o.gates == gatesNone || o.gates == gatesLock {
		return nil
	}
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
