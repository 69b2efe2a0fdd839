package courses_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// within makes a module in another.
func (f *fixture) within(course, parent, title string) string {
	f.t.Helper()
	return must(f.CreateModule(f.teacher, &coursespb.CreateModuleRequest{CourseId: course, ParentId: parent, Title: title})).GetId()
}

func (f *fixture) activity(course, module, kind, title string) string {
	f.t.Helper()
	return must(f.CreateActivity(f.teacher, &coursespb.CreateActivityRequest{CourseId: course, ModuleId: module, Kind: kind, Title: title, ActivityRef: "ref-" + title})).GetId()
}

// tree returns the titles of a course with what is in each, such as "a(1 b(q))".
func (f *fixture) tree(course, view string) string {
	f.t.Helper()
	var out strings.Builder
	depth := int32(0)
	next := map[string]int32{}
	for i, it := range must(f.GetOutline(f.teacher, &coursespb.GetOutlineRequest{CourseId: course, View: view})).GetItems() {
		for ; depth > it.GetDepth(); depth-- {
			out.WriteString(")")
		}
		if depth < it.GetDepth() {
			out.WriteString("(")
			depth++
		} else if i > 0 {
			out.WriteString(" ")
		}
		out.WriteString(it.GetTitle())
		if it.GetPosition() != next[it.GetParentId()] {
			f.t.Errorf("%s is at %d, want %d", it.GetTitle(), it.GetPosition(), next[it.GetParentId()])
		}
		next[it.GetParentId()]++
	}
	return out.String() + strings.Repeat(")", int(depth))
}

func TestTree(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	a := f.module(courseID, "a")
	one := f.lesson(courseID, a, "1")
	b := f.within(courseID, a, "b")
	quiz := f.activity(courseID, b, "quiz", "q")
	c := f.within(courseID, b, "c")
	f.activity(courseID, c, "assignment", "w")
	two := f.lesson(courseID, a, "2")
	d := f.module(courseID, "d")
	e := f.within(courseID, d, "e")
	if got := f.tree(courseID, ""); got != "a(1 b(q c(w)) 2) d(e)" {
		t.Fatalf("made: %s", got)
	}
	_, err := f.CreateModule(f.teacher, &coursespb.CreateModuleRequest{CourseId: courseID, ParentId: c, Title: "x"})
	tells(t, "a fourth level", err, fault.Invalid, "item.too_deep")
	_, err = f.CreateModule(f.teacher, &coursespb.CreateModuleRequest{CourseId: courseID, ParentId: id.New("module"), Title: "x"})
	tells(t, "in no module", err, fault.NotFound, "module.not_found")

	move := func(item, parent string, position int32) error {
		_, err := f.MoveItem(f.teacher, &coursespb.MoveItemRequest{CourseId: courseID, ItemId: item, ParentId: parent, Position: position})
		return err
	}
	for what, at := range map[string]struct {
		item, parent, code string
		kind               fault.Kind
	}{
		"into itself":            {a, a, "item.in_itself", fault.Invalid},
		"into what is in it":     {a, c, "item.in_itself", fault.Invalid},
		"too deep with its own":  {b, e, "item.too_deep", fault.Invalid},
		"a lesson to the top":    {one, "", "item.needs_module", fault.Invalid},
		"no item":                {id.New("lesson"), a, "item.not_found", fault.NotFound},
		"into no module":         {one, id.New("module"), "module.not_found", fault.NotFound},
		"an activity to the top": {quiz, "", "item.needs_module", fault.Invalid},
	} {
		tells(t, what, move(at.item, at.parent, 0), at.kind, at.code)
	}
	for _, step := range []struct {
		item, parent string
		position     int32
		want         string
	}{
		{two, a, 0, "a(2 1 b(q c(w))) d(e)"},
		{quiz, a, 1, "a(2 q 1 b(c(w))) d(e)"},
		{b, d, 0, "a(2 q 1) d(b(c(w)) e)"},
		{d, "", 0, "d(b(c(w)) e) a(2 q 1)"},
		{e, "", 1, "d(b(c(w))) e a(2 q 1)"},
		{one, c, 9999, "d(b(c(w 1))) e a(2 q)"},
	} {
		if err := move(step.item, step.parent, step.position); err != nil {
			t.Fatal(step, err)
		}
		if got := f.tree(courseID, ""); got != step.want {
			t.Fatalf("moved: %s, want %s", got, step.want)
		}
	}
	// The parent of a module by its own RPC.
	m := must(f.UpdateModule(f.teacher, &coursespb.UpdateModuleRequest{CourseId: courseID, ModuleId: e, ParentId: &a}))
	if m.GetParentId() != a || m.GetPosition() != 2 || f.tree(courseID, "") != "d(b(c(w 1))) a(2 q e)" {
		t.Errorf("moved: %v %s", m, f.tree(courseID, ""))
	}
	_, err = f.UpdateModule(f.teacher, &coursespb.UpdateModuleRequest{CourseId: courseID, ModuleId: d, ParentId: &e})
	tells(t, "too deep", err, fault.Invalid, "item.too_deep")
	_, err = f.MoveItem(rpc.WithIfMatch(f.teacher, "99"), &coursespb.MoveItemRequest{CourseId: courseID, ItemId: e, Position: 0})
	tells(t, "stale", err, fault.Precondition, "etag.stale")

	f.publish(courseID)
	must(f.DeleteModule(f.teacher, &coursespb.DeleteModuleRequest{CourseId: courseID, ModuleId: d}))
	if got := f.tree(courseID, ""); got != "a(2 q e)" {
		t.Errorf("deleted: %s", got)
	}
	if got := f.tree(courseID, "published"); got != "d(b(c(w 1))) a(2 q e)" {
		t.Errorf("published: %s", got)
	}
	var left int
	if err := f.db.QueryRow(t.Context(), `SELECT count(*) FROM item WHERE course_id = $1`, courseID).Scan(&left); err != nil || left != 4 {
		t.Errorf("%d items left: %v", left, err)
	}
	event, _ := f.events()[0].(*coursespb.CoursePublished)
	var told []string
	for _, it := range event.GetItems() {
		told = append(told, it.GetKind()+" "+it.GetTitle()+" "+it.GetActivityRef())
	}
	if got := strings.Join(told, ","); got != "module d ,module b ,module c ,assignment w ref-w,lesson 1 ,module a ,lesson 2 ,quiz q ref-q,module e " {
		t.Errorf("event: %s", got)
	}
}

// Two moves that make a circle together: one is refused.
func TestMovesRace(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	for range 5 {
		a, b := f.module(courseID, "a"), f.module(courseID, "b")
		errs := make([]error, 2)
		var wg sync.WaitGroup
		for i, pair := range [][2]string{{a, b}, {b, a}} {
			wg.Go(func() {
				_, errs[i] = f.MoveItem(f.teacher, &coursespb.MoveItemRequest{CourseId: courseID, ItemId: pair[0], ParentId: pair[1]})
			})
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("both moves: %v, %v", errs[0], errs[1])
		}
	}
	if got := strings.Count(f.tree(courseID, ""), "("); got != 5 {
		t.Errorf("the tree is %s", f.tree(courseID, ""))
	}
}

func TestActivities(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	got := must(f.CreateActivity(f.teacher, &coursespb.CreateActivityRequest{
		CourseId: courseID, ModuleId: moduleID, Kind: "quiz", Title: " Q ", ActivityRef: "quiz_1", Settings: &coursespb.ItemSettings{Required: new(true), Minutes: new(int32(0))},
	}))
	want := &coursespb.Activity{
		Id: got.GetId(), CourseId: courseID, ModuleId: moduleID, Kind: "quiz", ActivityRef: "quiz_1", Title: "Q", UpdatedAt: got.GetUpdatedAt(),
		ContentHash: got.GetContentHash(), ContentVersion: 1, Etag: "1",
	}
	same(t, "CreateActivity", want, got)
	get := &coursespb.GetActivityRequest{CourseId: courseID, ActivityId: got.GetId()}
	same(t, "GetActivity", want, must(f.GetActivity(f.teacher, get)))
	_, err := f.GetActivity(f.learner, get)
	tells(t, "a learner", err, fault.Forbidden, "auth.forbidden")
	changed := must(f.UpdateActivity(f.teacher, &coursespb.UpdateActivityRequest{CourseId: courseID, ActivityId: got.GetId(), ActivityRef: new("quiz_2"), Title: new("R")}))
	if changed.GetActivityRef() != "quiz_2" || changed.GetTitle() != "R" || changed.GetContentVersion() != 2 || changed.GetEtag() != "2" {
		t.Errorf("changed: %v", changed)
	}
	_, err = f.UpdateActivity(rpc.WithIfMatch(f.teacher, "1"), &coursespb.UpdateActivityRequest{CourseId: courseID, ActivityId: got.GetId(), Title: new("R")})
	tells(t, "stale", err, fault.Precondition, "etag.stale")
	f.publish(courseID) // a course of a quiz alone
	must(f.DeleteActivity(f.teacher, &coursespb.DeleteActivityRequest{CourseId: courseID, ActivityId: got.GetId()}))
	_, err = f.GetActivity(f.teacher, get)
	tells(t, "deleted", err, fault.NotFound, "activity.not_found")
	_, err = f.CreateActivity(f.teacher, &coursespb.CreateActivityRequest{CourseId: courseID, ModuleId: id.New("module"), Kind: "quiz", Title: "x"})
	tells(t, "no module", err, fault.NotFound, "module.not_found")
	_, err = f.CreateActivity(f.teacher, &coursespb.CreateActivityRequest{CourseId: courseID, ModuleId: moduleID, Kind: "poll", Title: "x"})
	tells(t, "no such kind", err, fault.Invalid, "request.invalid")
}

func completed(item string) *releasepb.Rule {
	return &releasepb.Rule{Condition: &releasepb.Rule_Completed{Completed: &releasepb.CompletedCondition{ItemId: item}}}
}

func at(when time.Time) *releasepb.Moment {
	return &releasepb.Moment{When: &releasepb.Moment_At{At: timestamppb.New(when)}}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	first := f.lesson(courseID, moduleID, "first")
	set := &coursespb.ItemSettings{
		Release: completed(first), Required: new(false), Minutes: new(int32(20)),
		Completion: &releasepb.Completion{Requirements: []*releasepb.Requirement{{Kind: "manual", Self: true}}},
		Schedule:   &releasepb.Schedule{AvailableFrom: at(start), Due: at(start.Add(time.Hour))},
	}
	l := must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: courseID, ModuleId: moduleID, Title: "second", Settings: set}))
	same(t, "settings", set, l.GetSettings())
	same(t, "absent ones stay", set, must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: l.GetId(), Title: new("2nd")})).GetSettings())

	f.publish(courseID)
	event, _ := f.events()[0].(*coursespb.CoursePublished)
	same(t, "the event", &coursespb.PublishedItem{
		Id: l.GetId(), ParentId: moduleID, Kind: "lesson", Title: "2nd", Release: set.GetRelease(), Completion: set.GetCompletion(), Schedule: set.GetSchedule(), Minutes: 20,
	}, event.GetItems()[2])
	o := must(f.GetOutline(f.learner, &coursespb.GetOutlineRequest{CourseId: courseID})).GetItems()[2]
	same(t, "the outline", &coursespb.OutlineItem{
		Id: l.GetId(), ParentId: moduleID, Kind: "lesson", Title: "2nd", Depth: 1, Position: 1, Minutes: 20, HasRelease: true,
		Schedule: set.GetSchedule(), UpdatedAt: o.GetUpdatedAt(),
	}, o)

	update := func(set *coursespb.ItemSettings) (*coursespb.Lesson, error) {
		return f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: l.GetId(), Settings: set})
	}
	cleared := must(update(&coursespb.ItemSettings{Clear: []string{"release", "completion", "schedule"}, Required: new(true), Minutes: new(int32(0))}))
	if cleared.GetSettings() != nil {
		t.Errorf("cleared: %v", cleared.GetSettings())
	}
	same(t, "as it was", set, must(update(set)).GetSettings())

	for what, bad := range map[string]struct {
		set  *coursespb.ItemSettings
		want string
	}{
		"dates the wrong way": {&coursespb.ItemSettings{Schedule: &releasepb.Schedule{Due: at(start), Until: at(start.Add(-1))}}, "settings.schedule.until schedule.order"},
		"no bound":            {&coursespb.ItemSettings{Release: &releasepb.Rule{Condition: &releasepb.Rule_Score{Score: &releasepb.ScoreCondition{ItemId: first}}}}, "settings.release.score score.empty"},
		"scored, a lesson":    {&coursespb.ItemSettings{Completion: &releasepb.Completion{Requirements: []*releasepb.Requirement{{Kind: "scored", MinPercent: "50"}}}}, "settings.completion.requirements[0].kind string.in"},
	} {
		_, err := update(bad.set)
		tells(t, what, err, fault.Invalid, "release.invalid")
		if got := fmt.Sprint(fields(err)); got != "["+bad.want+"]" {
			t.Errorf("%s: %s, want %s", what, got, bad.want)
		}
	}
	_, err := f.UpdateModule(f.teacher, &coursespb.UpdateModuleRequest{CourseId: courseID, ModuleId: moduleID, Settings: &coursespb.ItemSettings{Completion: viewed()}})
	tells(t, "completion of a module", err, fault.Invalid, "release.invalid")
}

// What can never open is refused, with the way to why.
func TestReleasesThatNeverOpen(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID, other := f.module(courseID, "m"), f.module(courseID, "o")
	a, b := f.lesson(courseID, moduleID, "a"), f.lesson(courseID, moduleID, "b")
	release := func(lesson string, rule *releasepb.Rule) error {
		_, err := f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: lesson, Settings: &coursespb.ItemSettings{Release: rule}})
		return err
	}
	if err := release(b, completed(a)); err != nil {
		t.Fatal(err)
	}
	err := release(a, completed(b))
	tells(t, "a circle", err, fault.Invalid, "release.closed")
	if got := fields(err); len(got) == 0 || !strings.HasSuffix(got[0], "release.cycle") {
		t.Errorf("a circle: %v", got)
	}
	tells(t, "an item that is not there", release(a, completed(id.New("lesson"))), fault.Invalid, "release.closed")
	_, err = f.UpdateModule(f.teacher, &coursespb.UpdateModuleRequest{CourseId: courseID, ModuleId: moduleID, Settings: &coursespb.ItemSettings{Release: completed(a)}})
	tells(t, "what is in it alone", err, fault.Invalid, "release.closed")
	_, err = f.DeleteLesson(f.teacher, &coursespb.DeleteLessonRequest{CourseId: courseID, LessonId: a})
	tells(t, "what a rule names", err, fault.Invalid, "release.closed")
	must(f.UpdateModule(f.teacher, &coursespb.UpdateModuleRequest{CourseId: courseID, ModuleId: other, Settings: &coursespb.ItemSettings{Release: completed(a)}}))
	_, err = f.MoveItem(f.teacher, &coursespb.MoveItemRequest{CourseId: courseID, ItemId: a, ParentId: other})
	tells(t, "into what opens after it", err, fault.Invalid, "release.closed")
	if got := f.tree(courseID, ""); got != "m(a b) o" {
		t.Errorf("after what was refused: %s", got)
	}
	// Both at once: each is right alone.
	must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: b, Settings: &coursespb.ItemSettings{Clear: []string{"release"}}}))
	errs := make([]error, 2)
	var wg sync.WaitGroup
	for i, pair := range [][2]string{{a, b}, {b, a}} {
		wg.Go(func() { errs[i] = release(pair[0], completed(pair[1])) })
	}
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Errorf("both rules: %v, %v", errs[0], errs[1])
	}
}

func TestCourseSettings(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	lessonID := f.lesson(courseID, moduleID, "l")
	quiz := f.activity(courseID, moduleID, "quiz", "q")
	video := f.media.add(courseID, "video/mp4")
	before := id.New("course")
	rule := &releasepb.Rule{Condition: &releasepb.Rule_CourseCompleted{CourseCompleted: &releasepb.CourseCompletedCondition{CourseId: before}}, Reason: "First things first."}
	grading := &coursespb.GradingPolicy{
		Method: "weighted", PassMark: "60", MissingDeduction: "100",
		Categories: []*coursespb.GradingCategory{
			{Key: "work", Title: "Work", Weight: "33.5", ItemIds: []string{quiz}, NeverDrop: []string{quiz}, DropLowest: 1},
			{Key: "exam", Title: "Exam", Weight: "66.5"},
			{Key: "more", Title: "More", Weight: "5", ExtraCredit: true, Method: "equal", KeepHighest: 3, Cap: "100"},
			{Key: "oral", Title: "Oral", Parent: "exam", Points: "12.5", DropHighest: 1, Curve: &coursespb.GradingCurve{Kind: "add", By: "-2.5"}},
		},
		Empty: "zero", Judge: "exact", Cap: "105", Curve: &coursespb.GradingCurve{Kind: "linear", From: []string{"40", "90"}, To: []string{"50", "100"}},
		Periods: []*coursespb.GradingPeriod{{Key: "autumn", Title: "Autumn", Weight: "100", ItemIds: []string{quiz, lessonID}}},
		Items:   []*coursespb.GradingItem{{ItemId: quiz, ExtraCredit: true}, {ItemId: lessonID, Excluded: true}},
		Calculated: []*coursespb.CalculatedItem{
			{Key: "sum", Title: "Sum", Formula: "sum(points[" + quiz + "], points[calculated:other])", Points: "20", Category: "oral", Period: "autumn", NeverDrop: true},
			{Key: "other", Title: "Other", Formula: "category[work] / 10", Points: "0"},
		},
		Letters:    []*coursespb.GradingLetter{{Letter: "A", MinPercent: "90"}, {Letter: "F", MinPercent: "0"}},
		Late:       &coursespb.LatePolicy{Rate: "10", Interval: "day", Floor: "40", GraceMinutes: 15},
		Rounding:   &coursespb.Rounding{Mode: "half_up", Places: 1},
		Completion: &coursespb.CourseCompletion{Kind: "percent", MinPercent: "80", Pass: true},
	}
	req := &coursespb.UpdateCourseRequest{
		CourseId: courseID, TimeZone: new("Europe/Zurich"), Audience: &coursespb.Words{Values: []string{"Beginners"}}, PromoVideoMediaId: &video,
		Faq: &coursespb.Questions{Items: []*coursespb.Question{{Question: " Why? ", Answer: "*Because*."}}}, Release: rule, Grading: grading,
	}
	c := must(f.UpdateCourse(f.teacher, req))
	if c.GetTimeZone() != "Europe/Zurich" || len(c.GetAudience()) != 1 || c.GetPromoVideoMediaId() != video {
		t.Errorf("course: %v", c)
	}
	same(t, "questions", []*coursespb.Question{{Question: "Why?", Answer: "*Because*.", AnswerHtml: "<p><em>Because</em>.</p>\n"}}, c.GetFaq())
	same(t, "release", rule, c.GetRelease())
	same(t, "grading", grading, c.GetGrading())
	same(t, "what is so stays", c, must(f.UpdateCourse(f.teacher, req)))
	f.publish(courseID)
	event, _ := f.events()[0].(*coursespb.CoursePublished)
	same(t, "the event's grading", grading, event.GetGrading())
	same(t, "the event's rule", rule, event.GetRelease())
	if event.GetTimeZone() != "Europe/Zurich" {
		t.Errorf("the event's zone is %s", event.GetTimeZone())
	}
	if event.GetPromoVideoMediaId() != video {
		t.Errorf("the event's video is %q", event.GetPromoVideoMediaId())
	}
	cleared := must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: courseID, Clear: []string{"release", "grading"}}))
	if cleared.GetRelease() != nil || cleared.GetGrading() != nil {
		t.Errorf("cleared: %v", cleared)
	}
	same(t, "what is published stays", grading, must(f.GetCourse(f.learner, &coursespb.GetCourseRequest{CourseId: courseID})).GetGrading())

	refuse := func(what, code, want string, req *coursespb.UpdateCourseRequest) {
		t.Helper()
		req.CourseId = courseID
		_, err := f.UpdateCourse(f.teacher, req)
		tells(t, what, err, fault.Invalid, code)
		if got := fmt.Sprint(fields(err)); got != "["+want+"]" {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	for _, zone := range []string{"Mars/Olympus", "Local", "../etc/passwd"} {
		refuse("zone "+zone, "time_zone.unknown", "time_zone time_zone.unknown", &coursespb.UpdateCourseRequest{TimeZone: &zone})
	}
	refuse("an item of its own", "release.invalid", "release.completed release.dead_end", &coursespb.UpdateCourseRequest{Release: completed(lessonID)})
	refuse("itself", "release.invalid", "release.course_completed.course_id release.cycle", &coursespb.UpdateCourseRequest{
		Release: &releasepb.Rule{Condition: &releasepb.Rule_CourseCompleted{CourseCompleted: &releasepb.CourseCompletedCondition{CourseId: courseID}}},
	})
	refuse("a picture as video", "media.wrong_kind", "promo_video_media_id media.wrong_kind", &coursespb.UpdateCourseRequest{PromoVideoMediaId: new(f.media.add(courseID, "image/png"))})
	category := func(key, weight string, items ...string) *coursespb.GradingCategory {
		return &coursespb.GradingCategory{Key: key, Title: key, Weight: weight, ItemIds: items}
	}
	calculated := func(key, formula string) *coursespb.CalculatedItem {
		return &coursespb.CalculatedItem{Key: key, Title: key, Points: "1", Formula: formula}
	}
	for what, bad := range map[string]struct {
		policy *coursespb.GradingPolicy
		want   string
	}{
		"99.9999 together": {&coursespb.GradingPolicy{Method: "weighted", Categories: []*coursespb.GradingCategory{category("a", "99.9999")}}, "grading.categories grading.weights"},
		"nothing at all":   {&coursespb.GradingPolicy{Method: "weighted"}, "grading.categories grading.weights"},
		"above 100":        {&coursespb.GradingPolicy{Method: "points", PassMark: "100.0001"}, "grading.pass_mark grading.above_hundred"},
		"an item twice":    {&coursespb.GradingPolicy{Method: "points", Categories: []*coursespb.GradingCategory{category("a", "", quiz), category("b", "", quiz)}}, "grading.categories[1].item_ids[0] grading.item_taken"},
		"a module":         {&coursespb.GradingPolicy{Method: "points", Categories: []*coursespb.GradingCategory{category("a", "", moduleID)}}, "grading.categories[0].item_ids[0] grading.unknown_item"},
		"weights unused":   {&coursespb.GradingPolicy{Method: "points", Categories: []*coursespb.GradingCategory{category("a", "1")}}, "grading.categories[0].weight grading.weight_unused"},
		"letters rise": {&coursespb.GradingPolicy{Method: "points", Letters: []*coursespb.GradingLetter{
			{Letter: "A", MinPercent: "50"}, {Letter: "B", MinPercent: "50.0"}, {Letter: "F", MinPercent: "0"},
		}}, "grading.letters[1].min_percent grading.letters_order"},
		"letters end":       {&coursespb.GradingPolicy{Method: "points", Letters: []*coursespb.GradingLetter{{Letter: "A", MinPercent: "1"}}}, "grading.letters[0].min_percent grading.letters_end"},
		"pass without mark": {&coursespb.GradingPolicy{Method: "points", Completion: &coursespb.CourseCompletion{Kind: "all", Pass: true}}, "grading.completion.pass grading.no_pass_mark"},
		"a period's item":   {&coursespb.GradingPolicy{Method: "points", Periods: []*coursespb.GradingPeriod{{Key: "a", Title: "A", ItemIds: []string{quiz}}, {Key: "b", Title: "B", ItemIds: []string{quiz, moduleID}}}}, "grading.periods[1].item_ids[0] grading.item_taken grading.periods[1].item_ids[1] grading.unknown_item"},
		"an item's rules":   {&coursespb.GradingPolicy{Method: "points", Items: []*coursespb.GradingItem{{ItemId: lessonID, Weight: "2"}, {ItemId: quiz}, {ItemId: quiz}, {ItemId: "activity_gone"}}}, "grading.items[2].item_id grading.item_taken grading.items[3].item_id grading.unknown_item grading.items[0].weight grading.weight_unused"},
		"a circle":          {&coursespb.GradingPolicy{Method: "points", Calculated: []*coursespb.CalculatedItem{calculated("a", "points[calculated:b]"), calculated("b", "points[calculated:a]")}}, "grading.calculated[1].formula grading.formula_cycle"},
		"no formula":        {&coursespb.GradingPolicy{Method: "points", Calculated: []*coursespb.CalculatedItem{calculated("a", "points[")}}, "grading.calculated[0].formula grading.formula"},
		"unknown in it":     {&coursespb.GradingPolicy{Method: "points", Calculated: []*coursespb.CalculatedItem{calculated("a", "points[activity_gone]"), calculated("b", "points[calculated:c]"), calculated("c", "category[none]")}}, "grading.calculated[0].formula grading.formula_unknown grading.calculated[2].formula grading.formula_unknown"},
		"a curve's fields":  {&coursespb.GradingPolicy{Method: "points", Curve: &coursespb.GradingCurve{Kind: "add", From: []string{"1"}}}, "grading.curve grading.curve_fields"},
		"a category's":      {&coursespb.GradingPolicy{Method: "points", Categories: []*coursespb.GradingCategory{{Key: "a", Title: "A", Curve: &coursespb.GradingCurve{Kind: "scale", By: "0"}}}}, "grading.categories[0].curve.by grading.not_above_zero"},
		"categories around": {&coursespb.GradingPolicy{Method: "points", Categories: []*coursespb.GradingCategory{{Key: "a", Title: "A", Parent: "a"}}}, "grading.categories[0].parent grading.category_cycle"},
		"worth is needed":   {&coursespb.GradingPolicy{Method: "points", Categories: []*coursespb.GradingCategory{{Key: "a", Title: "A", Method: "equal", DropLowest: 1}}}, "grading.categories[0].points grading.points_needed"},
		"no percent":        {&coursespb.GradingPolicy{Method: "points", Completion: &coursespb.CourseCompletion{Kind: "percent"}}, "grading.completion.min_percent grading.no_percent"},
	} {
		refuse(what, "grading.invalid", bad.want, &coursespb.UpdateCourseRequest{Grading: bad.policy})
	}
}
