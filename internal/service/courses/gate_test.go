package courses_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

func (f *fakeLearning) CheckItems(_ context.Context, req *learningpb.CheckItemsRequest) (*learningpb.CheckItemsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.checks++
	if f.away {
		return nil, &fault.Error{Kind: fault.Unavailable, Code: "database.unavailable", Message: "Away.", Retry: time.Second}
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
	must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: course, LessonId: hidden, Settings: &coursespb.ItemSettings{Release: later("hide")}}))
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

// later is a rule that opens after all tests, and locks or hides until then.
func later(closed string) *releasepb.Rule {
	return &releasepb.Rule{WhenClosed: closed, Condition: &releasepb.Rule_Date{Date: &releasepb.DateCondition{
		From: timestamppb.New(time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC)),
	}}}
}

// While learning is away a version in which nothing closes anything is read as ever;
// of all others nobody is told what they may not see.
func TestReadWhileLearningIsAway(t *testing.T) {
	t.Parallel()
	f := setup(t)
	moment := &releasepb.Moment{When: &releasepb.Moment_At{At: timestamppb.New(time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC))}}
	type what struct{ outline, lesson bool }
	for name, c := range map[string]struct {
		whole  *releasepb.Rule
		module *coursespb.ItemSettings
		lesson *coursespb.ItemSettings
		reads  what
	}{
		"no rule":          {reads: what{true, true}},
		"due":              {lesson: &coursespb.ItemSettings{Schedule: &releasepb.Schedule{Due: moment}}, reads: what{true, true}},
		"a lesson waits":   {lesson: &coursespb.ItemSettings{Schedule: &releasepb.Schedule{AvailableFrom: moment}}, reads: what{outline: true}},
		"a lesson locks":   {lesson: &coursespb.ItemSettings{Release: later("lock")}, reads: what{outline: true}},
		"a module locks":   {module: &coursespb.ItemSettings{Release: later("")}, reads: what{outline: true}},
		"a module hides":   {module: &coursespb.ItemSettings{Release: later("hide")}},
		"the course locks": {whole: later("lock"), reads: what{outline: true}},
		"the course hides": {whole: later("hide")},
		"a part of a rule does": {lesson: &coursespb.ItemSettings{Release: &releasepb.Rule{Condition: &releasepb.Rule_All{All: &releasepb.Rules{
			Rules: []*releasepb.Rule{later("lock"), later("hide")},
		}}}}},
	} {
		course := f.course()
		m := f.module(course, "m")
		l, other := f.lesson(course, m, "l"), f.lesson(course, m, "other")
		if c.whole != nil {
			must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: course, Release: c.whole}))
		}
		if c.module != nil {
			must(f.UpdateModule(f.teacher, &coursespb.UpdateModuleRequest{CourseId: course, ModuleId: m, Settings: c.module}))
		}
		if c.lesson != nil {
			must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: course, LessonId: other, Settings: c.lesson}))
		}
		f.publish(course)
		reads := func(when string, want what) {
			t.Helper()
			_, outline := f.GetOutline(f.learner, &coursespb.GetOutlineRequest{CourseId: course})
			_, lesson := f.GetLesson(f.learner, &coursespb.GetLessonRequest{CourseId: course, LessonId: l})
			for _, one := range []struct {
				of   string
				want bool
				err  error
			}{{"outline", want.outline, outline}, {"lesson", want.lesson, lesson}} {
				if one.want && one.err == nil {
					continue
				}
				if e, ok := errors.AsType[*fault.Error](one.err); one.want || !ok || e.Kind != fault.Unavailable || e.Retry != time.Second {
					t.Errorf("%s, %s: %s: %v", name, when, one.of, one.err)
				}
			}
		}
		f.learning.answer(false, nil)
		reads("answers", what{true, true})
		f.learning.answer(true, nil)
		reads("away", c.reads)

		// Of a version of before nothing is known.
		if _, err := f.db.Exec(t.Context(), `UPDATE publication SET gates = NULL WHERE course_id = $1`, course); err != nil {
			t.Fatal(err)
		}
		reads("of before", what{})
	}
}

// What somebody has by a deadline of their own is asked for all the same, and the
// version of their cohort is theirs.
func TestGatesOfWhatIsSeen(t *testing.T) {
	t.Parallel()
	f := setup(t)
	course := f.course()
	l := f.lesson(course, f.module(course, "m"), "l")
	f.publish(course)
	read := func() error {
		_, err := f.GetLesson(f.learner, &coursespb.GetLessonRequest{CourseId: course, LessonId: l})
		return err
	}
	f.learning.answer(false, map[string]*learningpb.ItemState{l: {ItemId: l, State: "locked"}})
	tells(t, "a deadline of one's own", read(), fault.Forbidden, "lesson.locked")

	cohort := id.New("cohort")
	must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: course, LessonId: l, Settings: &coursespb.ItemSettings{Release: later("hide")}}))
	f.publish(course)
	f.hearCohort(course, cohort, f.learnerID)
	f.learning.answer(true, nil)
	tells(t, "the newest", read(), fault.Unavailable, "database.unavailable")
	must(f.PinCohort(f.teacher, &coursespb.PinCohortRequest{CourseId: course, CohortId: cohort, Version: 1}))
	if err := read(); err != nil {
		t.Errorf("the version of the cohort: %v", err)
	}
}

// hearCohort has somebody be in a cohort of a course.
func (f *fixture) hearCohort(course, cohort, account string) {
	f.t.Helper()
	if err := f.db.InTx(f.t.Context(), func(tx *pg.Tx) error {
		tx.Exempt("a copy")
		if err := courses.CohortChanged(f.own, f.t.Context(), tx, &accesspb.CohortChanged{CohortId: cohort, CourseId: course, Version: 1}); err != nil {
			return err
		}
		return courses.CohortMembershipChanged(f.own, f.t.Context(), tx, &accesspb.CohortMembershipChanged{CohortId: cohort, CourseId: course, AccountId: account, Version: 1})
	}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fakeLearning) answer(away bool, states map[string]*learningpb.ItemState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away, f.states = away, states
}
