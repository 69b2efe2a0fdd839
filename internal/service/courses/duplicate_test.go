package courses_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/courses"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// items returns a draft's items by their titles.
func (f *archiveFixture) items(course string) map[string]*coursespb.OutlineItem {
	f.t.Helper()
	out := map[string]*coursespb.OutlineItem{}
	for _, it := range must(f.GetOutline(f.teacher, &coursespb.GetOutlineRequest{CourseId: course})).GetItems() {
		out[it.GetTitle()] = it
	}
	return out
}

// everything returns the lesson that has everything.
func (f *archiveFixture) everything(course string) *coursespb.Lesson {
	f.t.Helper()
	return must(f.GetLesson(f.teacher, &coursespb.GetLessonRequest{CourseId: course, LessonId: f.items(course)["Everything"].GetId()}))
}

// What was open for less than an hour in the night is so also in that in which clocks are
// put forward.
func TestShiftIntoAMissingHour(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	c := f.course()
	must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: c, TimeZone: new("Europe/Berlin")}))
	at := func(hour, minute int) *timestamppb.Timestamp {
		return timestamppb.New(time.Date(2026, 3, 1, hour, minute, 0, 0, time.UTC))
	}
	must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: c, ModuleId: f.module(c, "Night"), Title: "Stars", Settings: &coursespb.ItemSettings{
		Release: &releasepb.Rule{Condition: &releasepb.Rule_Date{Date: &releasepb.DateCondition{From: at(1, 10), Until: at(1, 50)}}},
	}}))
	made := must(f.DuplicateCourse(f.teacher, &coursespb.DuplicateCourseRequest{CourseId: c, ShiftDays: 28})).GetCourse().GetId()
	d := must(f.GetLesson(f.teacher, &coursespb.GetLessonRequest{CourseId: made, LessonId: f.items(made)["Stars"].GetId()})).GetSettings().GetRelease().GetDate()
	if from := time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC); !d.GetFrom().AsTime().Equal(from) || !d.GetUntil().AsTime().Equal(from.Add(40*time.Minute)) {
		t.Errorf("from %v until %v", d.GetFrom().AsTime(), d.GetUntil().AsTime())
	}
}

func TestDuplicate(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	c := f.rich()
	got := must(f.DuplicateCourse(f.teacher, &coursespb.DuplicateCourseRequest{CourseId: c, Title: "  Again ", ShiftDays: 28}))
	made := got.GetCourse()
	if made.GetId() == c || made.GetTitle() != "Again" || made.GetOwnerId() != f.teacherID || made.GetState() != "draft" || got.GetShiftedDays() != 28 {
		t.Fatalf("course: %v", got)
	}
	if d := cmp.Diff([]string{"copy.activity_ref", "copy.cohort"}, codes(got.GetNotes())); d != "" || got.GetLeftOut() != 2 {
		t.Errorf("notes: %s", d)
	}
	if f.library.count(made.GetId()) != 6 {
		t.Errorf("%d files", f.library.count(made.GetId()))
	}
	// But for what was left out, moved and named, the copy is the same course.
	back := must(f.DuplicateCourse(f.teacher, &coursespb.DuplicateCourseRequest{CourseId: made.GetId(), ShiftDays: -28, Title: "Architektur für alle"}))
	want, is := unzipped(t, f.export(c, 0)), unzipped(t, f.export(back.GetCourse().GetId(), 0))
	delete(want, "stoa.json") // has the course that it is of
	delete(is, "stoa.json")
	if d := cmp.Diff(want, is); d != "" {
		t.Errorf("there and back (-want +got):\n%s", d)
	}
	was, now := f.everything(c), f.everything(made.GetId())
	in := f.items(made.GetId())
	rules := now.GetSettings().GetRelease().GetAll().GetRules()
	if len(rules) != 2 || rules[0].GetCompleted().GetItemId() != in["First"].GetId() {
		t.Errorf("rules: %v", rules)
	}
	// Four weeks later clocks are put forward: half past six stays half past six.
	if from := rules[1].GetDate().GetFrom().AsTime(); !from.Equal(time.Date(2026, 3, 30, 16, 30, 0, 0, time.UTC)) {
		t.Errorf("date: %v", from)
	}
	if at := now.GetSettings().GetSchedule().GetAvailableFrom().GetAt().AsTime(); !at.Equal(time.Date(2026, 3, 29, 16, 30, 0, 0, time.UTC)) {
		t.Errorf("schedule: %v", at)
	}
	same(t, "relative moments stay", was.GetSettings().GetSchedule().GetDue(), now.GetSettings().GetSchedule().GetDue())
	if now.GetId() == was.GetId() || now.GetBlocks()[12].GetQuiz().GetActivityId() != in["Test"].GetId() || now.GetBlocks()[1].GetImage().GetMediaId() == was.GetBlocks()[1].GetImage().GetMediaId() {
		t.Errorf("lesson: %v", now)
	}
	if now.GetBlocks()[1].GetImage().GetMedia() == nil || made.GetCoverMediaId() == "" || made.GetDescriptionHtml() == "" {
		t.Errorf("course: %v", made)
	}
	g := made.GetGrading().GetCategories()
	if !slices.Equal(g[0].GetItemIds(), []string{in["Test"].GetId()}) || !slices.Equal(g[0].GetNeverDrop(), g[0].GetItemIds()) {
		t.Errorf("grading: %v", g)
	}
	formula := made.GetGrading().GetCalculated()[0].GetFormula()
	if !strings.Contains(formula, "percent["+in["Test"].GetId()+"]") || made.GetGrading().GetCalculated()[1].GetFormula() != "points[calculated:both] / 2 + category[tasks]" {
		t.Errorf("formulas: %v", made.GetGrading().GetCalculated())
	}
	// It can be published: nothing in it names what is not there.
	f.publish(made.GetId())
	plain := must(f.DuplicateCourse(f.teacher, &coursespb.DuplicateCourseRequest{CourseId: c, LeaveOut: []string{"dates", "release", "grading"}}))
	l := f.everything(plain.GetCourse().GetId())
	if l.GetSettings().GetRelease() != nil || l.GetSettings().GetSchedule() != nil || l.GetSettings().GetMinutes() != 45 || plain.GetCourse().GetGrading() != nil || plain.GetCourse().GetRelease() != nil {
		t.Errorf("left out: %v, %v", plain, l.GetSettings())
	}
}

// TestDuplicateGrading: what the criteria name and the course has no more is left out
// of the copy, with what is calculated of it, and the rest can be graded by.
func TestDuplicateGrading(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	c := f.course()
	m := f.module(c, "m")
	stays, goes := f.activity(c, m, "quiz", "Stays"), f.activity(c, m, "quiz", "Goes")
	calculated := func(key, formula string) *coursespb.CalculatedItem {
		return &coursespb.CalculatedItem{Key: key, Title: key, Points: "1", Formula: formula}
	}
	must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: c, Grading: &coursespb.GradingPolicy{
		Method: "points", Items: []*coursespb.GradingItem{{ItemId: goes, Excluded: true}, {ItemId: stays, ExtraCredit: true}},
		Periods: []*coursespb.GradingPeriod{{Key: "p", Title: "P", ItemIds: []string{goes, stays}}},
		Calculated: []*coursespb.CalculatedItem{
			calculated("far", "points[calculated:near]"), calculated("kept", "points["+stays+"]"), calculated("near", "points["+stays+"] + points["+goes+"]"),
		},
	}}))
	must(f.DeleteActivity(f.teacher, &coursespb.DeleteActivityRequest{CourseId: c, ActivityId: goes}))
	got := must(f.DuplicateCourse(f.teacher, &coursespb.DuplicateCourseRequest{CourseId: c}))
	at := f.items(got.GetCourse().GetId())["Stays"].GetId()
	same(t, "the copy's criteria", &coursespb.GradingPolicy{
		Method: "points", Items: []*coursespb.GradingItem{{ItemId: at, ExtraCredit: true}},
		Periods:    []*coursespb.GradingPeriod{{Key: "p", Title: "P", ItemIds: []string{at}}},
		Calculated: []*coursespb.CalculatedItem{calculated("kept", "points["+at+"]")},
	}, got.GetCourse().GetGrading())
	var left []string
	for _, note := range got.GetNotes() {
		if strings.HasPrefix(note.GetField(), "grading.") {
			left = append(left, note.GetField()+" "+note.GetCode())
		}
	}
	if d := cmp.Diff([]string{
		"grading.periods[0].item_ids[0] copy.grading_item", "grading.items[0] copy.grading_item",
		"grading.calculated[0] copy.grading_item", "grading.calculated[2] copy.grading_item",
	}, left); d != "" {
		t.Errorf("notes (-want +got):\n%s", d)
	}
	must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: got.GetCourse().GetId(), Grading: got.GetCourse().GetGrading()}))
}

func TestDuplicateStart(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	c := f.rich()
	// The earliest date is 1 March, half past six in the evening in Zurich.
	got := must(f.DuplicateCourse(f.teacher, &coursespb.DuplicateCourseRequest{CourseId: c, NewStart: "2027-07-01"}))
	from := f.everything(got.GetCourse().GetId()).GetSettings().GetSchedule().GetAvailableFrom().GetAt().AsTime()
	if got.GetShiftedDays() != 487 || !from.Equal(time.Date(2027, 7, 1, 16, 30, 0, 0, time.UTC)) {
		t.Errorf("%d days, from %v", got.GetShiftedDays(), from)
	}
	for name, c := range map[string]struct {
		req  *coursespb.DuplicateCourseRequest
		want string
	}{
		"both":        {&coursespb.DuplicateCourseRequest{CourseId: c, NewStart: "2027-07-01", ShiftDays: 1}, "field.conflict"},
		"no day":      {&coursespb.DuplicateCourseRequest{CourseId: c, NewStart: "2027-02-30"}, "time.invalid"},
		"too far":     {&coursespb.DuplicateCourseRequest{CourseId: c, NewStart: "9027-02-01"}, "time.invalid"},
		"no dates":    {&coursespb.DuplicateCourseRequest{CourseId: f.course(), NewStart: "2027-07-01"}, "course_copy.no_dates"},
		"shift":       {&coursespb.DuplicateCourseRequest{CourseId: c, ShiftDays: 40_000}, "request.invalid"},
		"what to not": {&coursespb.DuplicateCourseRequest{CourseId: c, LeaveOut: []string{"lessons"}}, "request.invalid"},
	} {
		_, err := f.DuplicateCourse(f.teacher, c.req)
		if fault.KindOf(err) != fault.Invalid || (fault.CodeOf(err) != c.want && !slices.ContainsFunc(fields(err), func(s string) bool { return s == "new_start "+c.want || s == "shift_days "+c.want })) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := f.DuplicateCourse(f.teacher, &coursespb.DuplicateCourseRequest{CourseId: c, Version: 1})
	tells(t, "no such version", err, fault.NotFound, "version.not_found")
}

func TestDuplicateRights(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	c := f.rich()
	_, err := f.DuplicateCourse(f.other, &coursespb.DuplicateCourseRequest{CourseId: c})
	tells(t, "who does not edit it", err, fault.Forbidden, "auth.forbidden")
	f.mu.Lock()
	f.deny[f.teacherID+"  course.create"] = true
	f.mu.Unlock()
	_, err = f.DuplicateCourse(f.teacher, &coursespb.DuplicateCourseRequest{CourseId: c})
	tells(t, "who makes no courses", err, fault.Forbidden, "auth.forbidden")
}

// TestDuplicateOnce: one key is one course, however often and however many at a
// time it is asked for, and whatever breaks in between.
func TestDuplicateOnce(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	c := f.rich()
	before := f.library.total()
	ctx := rpc.WithIdempotencyKey(f.teacher, id.New("key"))
	broken := 0
	f.library.fail = func(string) error {
		if broken++; broken == 1 {
			return fault.New(fault.Unavailable, "unavailable", "away")
		}
		return nil
	}
	if _, err := f.DuplicateCourse(ctx, &coursespb.DuplicateCourseRequest{CourseId: c}); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("media away: %v", err)
	}
	f.library.fail = nil
	var wait sync.WaitGroup
	made := make([]string, 4)
	for i := range made {
		wait.Go(func() {
			made[i] = must(f.DuplicateCourse(ctx, &coursespb.DuplicateCourseRequest{CourseId: c})).GetCourse().GetId()
		})
	}
	wait.Wait()
	if slices.Sort(made); made[0] != made[3] {
		t.Errorf("made %v", made)
	}
	// What has changed since does not matter any more.
	f.library.put(c, "more.png", "image/png:more")
	if again := must(f.DuplicateCourse(ctx, &coursespb.DuplicateCourseRequest{CourseId: c})).GetCourse().GetId(); again != made[0] {
		t.Errorf("again %s", again)
	}
	_, err := f.DuplicateCourse(ctx, &coursespb.DuplicateCourseRequest{CourseId: c, ShiftDays: 1})
	tells(t, "the key for something else", err, fault.Conflict, "idempotency.key_reused")
	f.later(30 * 24 * time.Hour)
	if err := courses.SweepClaims(f.own, t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.library.total() != before+7 || f.library.count(made[0]) != 6 {
		t.Errorf("%d files, %d of the copy", f.library.total(), f.library.count(made[0]))
	}
}

// TestCopiesLeftBehind: what media has made for a copy that a process has died of
// is deleted.
func TestCopiesLeftBehind(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	c, to := f.rich(), f.course()
	before := f.library.total()
	module := f.items(c)["Zweites"].GetId()
	// The call ends when its files are there, and nothing can be deleted, as of a
	// process that has died.
	var kill context.CancelFunc
	f.library.fail = func(method string) error {
		if method == "DeleteCourseMedia" {
			return fault.New(fault.Unavailable, "unavailable", "gone")
		}
		kill()
		return nil
	}
	for range 2 { // a course and modules
		first, end := context.WithCancel(f.teacher)
		defer end()
		kill = end
		if _, err := f.DuplicateCourse(first, &coursespb.DuplicateCourseRequest{CourseId: c}); err == nil {
			t.Error("a call that has ended has duplicated")
		}
		second, end := context.WithCancel(f.teacher)
		defer end()
		kill = end
		if _, err := f.CopyModules(second, &coursespb.CopyModulesRequest{CourseId: to, FromCourseId: c, ModuleIds: []string{module}}); err == nil {
			t.Error("a call that has ended has copied")
		}
	}
	if f.library.total() != before+4*6 {
		t.Errorf("%d files, before %d", f.library.total(), before)
	}
	f.library.fail = nil
	f.later(2 * time.Minute)
	if err := courses.SweepClaims(f.own, t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.library.total() != before {
		t.Errorf("%d files are left", f.library.total()-before)
	}
	var claims int
	if err := f.db.QueryRow(t.Context(), `SELECT count(*) FROM media_claim`).Scan(&claims); err != nil || claims != 0 {
		t.Errorf("%d claims, %v", claims, err)
	}
}

func TestCopyModules(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	c, to := f.rich(), f.course()
	f.module(to, "A")
	f.module(to, "B")
	module := f.items(c)["漢字"].GetId()
	got := must(f.CopyModules(f.teacher, &coursespb.CopyModulesRequest{CourseId: to, FromCourseId: c, ModuleIds: []string{module}, Position: new(int32(1)), ShiftDays: 7}))
	in := f.items(to)
	if got.GetLessons() != 3 || !slices.Equal(got.GetModuleIds(), []string{in["漢字"].GetId()}) || in["漢字"].GetPosition() != 1 || in["漢字"].GetDepth() != 0 || in["B"].GetPosition() != 2 {
		t.Errorf("copied: %v, %v", got, in)
	}
	// "First" is not among what is copied, the date is; the cohort is another's.
	if d := cmp.Diff([]string{"copy.activity_ref", "copy.cohort", "copy.item"}, codes(got.GetNotes())); d != "" {
		t.Errorf("notes: %s", d)
	}
	l := f.everything(to)
	rules := l.GetSettings().GetRelease().GetAll().GetRules()
	want := &releasepb.Rule{
		Condition:  &releasepb.Rule_Date{Date: &releasepb.DateCondition{From: timestamppb.New(time.Date(2026, 3, 9, 17, 30, 0, 0, time.UTC))}},
		WhenClosed: "hide", Reason: "Not before March",
	}
	if len(rules) != 1 || !proto.Equal(rules[0], want) {
		t.Errorf("rules: %s", cmp.Diff([]*releasepb.Rule{want}, rules, protocmp.Transform()))
	}
	if f.library.count(to) != 6 || l.GetBlocks()[3].GetVideo().GetMedia().GetFilename() != "talk.mp4" {
		t.Errorf("%d files; %v", f.library.count(to), l)
	}
	// Within one course nothing is left out, and files are the same.
	within := must(f.CopyModules(f.teacher, &coursespb.CopyModulesRequest{CourseId: c, FromCourseId: c, ModuleIds: []string{module}}))
	if d := cmp.Diff([]string{"copy.activity_ref"}, codes(within.GetNotes())); d != "" || f.library.count(c) != 6 {
		t.Errorf("within: %v", within)
	}
	for name, req := range map[string]*coursespb.CopyModulesRequest{
		"a module of another course": {CourseId: to, FromCourseId: c, ModuleIds: []string{in["A"].GetId()}},
		"one within another":         {CourseId: to, FromCourseId: c, ModuleIds: []string{f.items(c)["Zweites"].GetId(), module}},
	} {
		_, err := f.CopyModules(f.teacher, req)
		tells(t, name, err, fault.NotFound, "module.not_found")
	}
	_, err := f.CopyModules(f.other, &coursespb.CopyModulesRequest{CourseId: to, FromCourseId: c, ModuleIds: []string{module}})
	tells(t, "who edits neither", err, fault.Forbidden, "auth.forbidden")
	f.mu.Lock()
	f.deny[f.teacherID+" "+c+" course.edit"], f.deny[f.teacherID+" "+c+" course.view"] = true, true
	f.mu.Unlock()
	_, err = f.CopyModules(f.teacher, &coursespb.CopyModulesRequest{CourseId: to, FromCourseId: c, ModuleIds: []string{module}})
	tells(t, "who may not know of the other course", err, fault.NotFound, "not_found")
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	c := f.rich()
	must(f.MarkTemplate(f.teacher, &coursespb.MarkTemplateRequest{CourseId: c}))
	list := must(f.ListTemplates(f.teacher, &coursespb.ListTemplatesRequest{}))
	if len(list.GetItems()) != 1 || list.GetItems()[0].GetCourseId() != c || list.GetItems()[0].GetLessons() != 5 {
		t.Errorf("list: %v", list)
	}
	if list := must(f.ListTemplates(f.other, &coursespb.ListTemplatesRequest{})); len(list.GetItems()) != 0 {
		t.Errorf("another's list: %v", list)
	}
	_, err := f.CreateFromTemplate(f.other, &coursespb.CreateFromTemplateRequest{TemplateId: c})
	tells(t, "another's template", err, fault.NotFound, "template.not_found")
	_, err = f.CreateFromTemplate(f.teacher, &coursespb.CreateFromTemplateRequest{TemplateId: f.course()})
	tells(t, "no template", err, fault.NotFound, "template.not_found")
	made := must(f.CreateFromTemplate(f.teacher, &coursespb.CreateFromTemplateRequest{TemplateId: c, Title: "New", NewStart: "2027-03-01"}))
	if made.GetCourse().GetTitle() != "New" || made.GetShiftedDays() != 365 {
		t.Errorf("made: %v", made)
	}
	_, err = f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: c})
	tells(t, "a template is published", err, fault.Conflict, "course.is_template")
	_, err = f.ShowTemplate(f.teacher, &coursespb.ShowTemplateRequest{TemplateId: c, Visibility: "platform"})
	tells(t, "for everybody", err, fault.Forbidden, "auth.forbidden")
	f.mu.Lock()
	f.deny["teacher may publish templates"] = true
	f.mu.Unlock()
	must(f.ShowTemplate(f.teacher, &coursespb.ShowTemplateRequest{TemplateId: c, Visibility: "platform"}))
	_, err = f.ShowTemplate(f.teacher, &coursespb.ShowTemplateRequest{TemplateId: f.course(), Visibility: "platform"})
	tells(t, "what is no template", err, fault.NotFound, "template.not_found")
	theirs := must(f.CreateFromTemplate(f.other, &coursespb.CreateFromTemplateRequest{TemplateId: c}))
	if theirs.GetCourse().GetOwnerId() == f.teacherID || len(must(f.ListTemplates(f.other, &coursespb.ListTemplatesRequest{Visibility: "platform"})).GetItems()) != 1 {
		t.Errorf("theirs: %v", theirs)
	}
	// Pages go on where the one before has ended, over both kinds.
	for range 3 {
		must(f.MarkTemplate(f.teacher, &coursespb.MarkTemplateRequest{CourseId: f.course()}))
	}
	var all []string
	for cursor := ""; ; {
		page := must(f.ListTemplates(f.teacher, &coursespb.ListTemplatesRequest{PageSize: 3, Cursor: cursor}))
		for _, one := range page.GetItems() {
			all = append(all, one.GetCourseId())
		}
		if cursor = page.GetNextCursor(); cursor == "" {
			break
		}
	}
	if len(all) != 4 || all[3] != c {
		t.Errorf("pages: %v", all)
	}
	must(f.UnmarkTemplate(f.teacher, &coursespb.UnmarkTemplateRequest{CourseId: c}))
	must(f.UnmarkTemplate(f.teacher, &coursespb.UnmarkTemplateRequest{CourseId: c}))
	f.publish(c)
	_, err = f.MarkTemplate(f.teacher, &coursespb.MarkTemplateRequest{CourseId: c})
	tells(t, "what is published is marked", err, fault.Conflict, "template.published")
}

// TestTemplateAndPublish: of marking and publishing at one time one wins.
func TestTemplateAndPublish(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	for range 5 {
		c := f.course()
		f.lesson(c, f.module(c, "M"), "L")
		var wait sync.WaitGroup
		var marking, publishing error
		wait.Go(func() {
			_, marking = f.MarkTemplate(f.teacher, &coursespb.MarkTemplateRequest{CourseId: c})
		})
		wait.Go(func() { _, publishing = f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: c}) })
		wait.Wait()
		if (marking == nil) == (publishing == nil) {
			t.Errorf("marking: %v, publishing: %v", marking, publishing)
		}
	}
}
