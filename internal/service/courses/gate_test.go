package courses_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

func (f *fakeLearning) CheckItems(_ context.Context, req *learningpb.CheckItemsRequest) (*learningpb.CheckItemsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.checks++
	if f.away {
		return nil, fault.New(fault.Unavailable, "database.unavailable", "Away.")
	}
	out := &learningpb.CheckItemsResponse{}
	for itemID, state := range f.states {
		named := len(req.GetItemIds()) == 0 || req.GetItemIds()[0] == itemID
		if named && (!req.GetHiddenOnly() || state.GetState() == "hidden") {
			out.Items = append(out.Items, state)
		}
	}
	return out, nil
}

func TestLessonsThatAreNotOpen(t *testing.T) {
	t.Parallel()
	f := setup(t)
	course := f.course()
	m, n := f.module(course, "One"), f.module(course, "Two")
	open, locked, hidden, inside := f.lesson(course, m, "Open"), f.lesson(course, m, "Locked"), f.lesson(course, m, "Hidden"), f.lesson(course, n, "Inside")
	preview := must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: course, ModuleId: m, Title: "Preview", Preview: true})).GetId()
	f.publish(course)
	opens := time.Date(2026, 5, 3, 7, 0, 0, 0, time.UTC)
	f.learning.states = map[string]*learningpb.ItemState{
		open:    {ItemId: open, State: "open"},
		locked:  {ItemId: locked, State: "locked", Reasons: []string{"Complete “Open” first."}, OpensAt: timestamppb.New(opens)},
		hidden:  {ItemId: hidden, State: "hidden"},
		preview: {ItemId: preview, State: "hidden"},
		n:       {ItemId: n, State: "hidden"},
		inside:  {ItemId: inside, State: "hidden"},
	}
	read := func(ctx context.Context, lesson string) error {
		_, err := f.GetLesson(ctx, &coursespb.GetLessonRequest{CourseId: course, LessonId: lesson, View: "published"})
		return err
	}
	titles := func(ctx context.Context) []string {
		var out []string
		for _, module := range must(f.GetOutline(ctx, &coursespb.GetOutlineRequest{CourseId: course, View: "published"})).GetModules() {
			out = append(out, module.GetTitle())
			for _, l := range module.GetLessons() {
				out = append(out, l.GetTitle())
			}
		}
		return out
	}
	for lesson, code := range map[string]string{open: "", locked: "lesson.locked", hidden: "lesson.not_found", inside: "lesson.not_found", preview: ""} {
		err := read(f.learner, lesson)
		if err == nil && code == "" {
			continue
		}
		if fault.CodeOf(err) != code {
			t.Errorf("%v, want %q", err, code)
		}
		if code == "lesson.locked" {
			same(t, "", told(err), []fault.Field{
				{Path: "lesson_id", Code: "lesson.locked", Hint: "Complete “Open” first."},
				{Path: "opens_at", Code: "lesson.opens_at", Hint: "2026-05-03T07:00:00Z"},
			})
		}
	}
	same(t, "", titles(f.learner), []string{"One", "Open", "Locked"})
	same(t, "", titles(f.teacher), []string{"One", "Open", "Locked", "Hidden", "Preview", "Two", "Inside"})
	o, err := f.GetOutline(f.learner, &coursespb.GetOutlineRequest{CourseId: course})
	if err != nil {
		t.Fatal(err)
	}
	var items []string
	for _, i := range o.GetItems() {
		items = append(items, i.GetTitle())
	}
	same(t, "in order", items, []string{"One", "Open", "Locked"})

	// Staff and readers of previews do not depend on learning; others do.
	f.learning.mu.Lock()
	f.learning.away = true
	f.learning.checks = 0
	f.learning.mu.Unlock()
	for _, lesson := range []string{open, locked, hidden} {
		if err := read(f.teacher, lesson); err != nil {
			t.Errorf("staff: %v", err)
		}
		if err := read(f.learner, lesson); !fault.Is(err, fault.Unavailable) {
			t.Errorf("while learning is away: %v", err)
		}
	}
	for _, ctx := range []context.Context{f.learner, f.outsider, f.stranger} {
		if err := read(ctx, preview); err != nil {
			t.Errorf("a preview: %v", err)
		}
	}
	if f.learning.checks != 3 {
		t.Errorf("asked %d times, want 3", f.learning.checks)
	}
	if _, err := f.GetOutline(f.learner, &coursespb.GetOutlineRequest{CourseId: course}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("outline while learning is away: %v", err)
	}
}

// told are the fields of an error.
func told(err error) []fault.Field {
	if e, ok := errors.AsType[*fault.Error](err); ok {
		return e.Fields
	}
	return nil
}
