package learning

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// ruled is a course with rules: m1 with l1 and l2, m2 with q1, l3 at the top.
type ruled struct {
	*world

	course                  string
	m1, l1, l2, m2, q1, l3  string
	cohorts, groups, others []string
	outlines                learningpb.OutlineServiceClient
	items                   learningpb.ItemServiceClient
	publication             *coursespb.CoursePublished
}

func newRuled(w *world, h *rpctest.Harness) *ruled {
	r := &ruled{
		world: w, course: id.New("course"), m1: id.New("module"), l1: id.New("lesson"), l2: id.New("lesson"), m2: id.New("module"),
		q1: id.New("activity"), l3: id.New("lesson"), cohorts: newIDs("cohort", 2), groups: newIDs("group", 3), others: newIDs("course", 2),
	}
	if h != nil {
		r.outlines = learningpb.NewOutlineServiceClient(h.As("edge"))
		r.items = learningpb.NewItemServiceClient(h.As("courses"))
	}
	item := func(itemID, parent, kind string) *coursespb.PublishedItem {
		return &coursespb.PublishedItem{Id: itemID, ParentId: parent, Kind: kind, Title: "The " + kind, Required: true, Completion: onView}
	}
	r.publication = &coursespb.CoursePublished{
		CourseId: r.course, Title: "Stoicism", TimeZone: "Europe/Berlin", Items: []*coursespb.PublishedItem{
			item(r.m1, "", "module"), item(r.l1, r.m1, "lesson"), item(r.l2, r.m1, "lesson"), item(r.m2, "", "module"), item(r.q1, r.m2, "quiz"), item(r.l3, "", "lesson"),
		},
	}
	for _, it := range r.publication.GetItems() {
		if it.GetKind() == "lesson" {
			r.publication.Modules = append(r.publication.Modules, &coursespb.PublishedModule{Id: id.New("module"), Lessons: []*coursespb.PublishedLesson{{Id: it.GetId()}}})
		}
	}
	return r
}

func (r *ruled) item(itemID string) *coursespb.PublishedItem {
	i := slices.IndexFunc(r.publication.GetItems(), func(it *coursespb.PublishedItem) bool { return it.GetId() == itemID })
	return r.publication.GetItems()[i]
}

// publish publishes the course as it is by now.
func (r *ruled) publish() {
	r.t.Helper()
	r.publication.Version++
	r.publication.Sequence++
	hear(r.world, r.service.coursePublished, r.publication)
}

func completedRule(item string) *releasepb.Rule {
	return &releasepb.Rule{Condition: &releasepb.Rule_Completed{Completed: &releasepb.CompletedCondition{ItemId: item}}}
}

func allRules(rules ...*releasepb.Rule) *releasepb.Rule {
	return &releasepb.Rule{Condition: &releasepb.Rule_All{All: &releasepb.Rules{Rules: rules}}}
}

func fromRule(at time.Time) *releasepb.Rule {
	return &releasepb.Rule{Condition: &releasepb.Rule_Date{Date: &releasepb.DateCondition{From: timestamppb.New(at)}}}
}

func hide(r *releasepb.Rule) *releasepb.Rule {
	r.WhenClosed = "hide"
	return r
}

// draw makes a rule of anything that the course has.
func (r *ruled) draw(t *rapid.T, depth int) *releasepb.Rule {
	of := func(name string, list ...string) string { return rapid.SampledFrom(list).Draw(t, name) }
	parts := func() []*releasepb.Rule {
		var out []*releasepb.Rule
		for range rapid.IntRange(0, 3).Draw(t, "parts") {
			out = append(out, r.draw(t, depth-1))
		}
		return out
	}
	low := 0
	if depth <= 1 {
		low = 3
	}
	rule := &releasepb.Rule{WhenClosed: of("closed", "", "hide")}
	switch rapid.IntRange(low, 10).Draw(t, "kind") {
	case 0:
		rule.Condition = &releasepb.Rule_All{All: &releasepb.Rules{Rules: parts()}}
	case 1:
		rule.Condition = &releasepb.Rule_Any{Any: &releasepb.Rules{Rules: parts()}}
	case 2:
		rule.Condition = &releasepb.Rule_Not{Not: r.draw(t, depth-1)}
	case 3:
		rule.Condition = &releasepb.Rule_Date{Date: &releasepb.DateCondition{Until: timestamppb.New(may.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "until")) * time.Hour))}}
	case 4, 5:
		rule.Condition = &releasepb.Rule_Enrolled{Enrolled: &releasepb.EnrolledCondition{Days: rapid.Int32Range(0, 6).Draw(t, "days")}}
	case 6:
		return completedRule(of("item", r.m1, r.l1, r.l2, r.m2, r.q1, r.l3, id.New("lesson")))
	case 7:
		rule.Condition = &releasepb.Rule_Score{Score: &releasepb.ScoreCondition{ItemId: r.q1, MinPercent: of("min", "", "50", "62.5"), MaxPercent: of("max", "", "62.5", "99.9999")}}
	case 8:
		rule.Condition = &releasepb.Rule_Cohort{Cohort: &releasepb.CohortCondition{CohortIds: []string{of("cohort", r.cohorts...)}}}
	case 9:
		rule.Condition = &releasepb.Rule_Group{Group: &releasepb.GroupCondition{GroupIds: []string{of("group", r.groups...), of("group", r.groups...)}}}
	default:
		if rapid.Bool().Draw(t, "role") {
			rule.Condition = &releasepb.Rule_Role{Role: &releasepb.RoleCondition{Roles: []string{of("role", "student", "grader", "observer")}}}
		} else {
			rule.Condition = &releasepb.Rule_CourseCompleted{CourseCompleted: &releasepb.CourseCompletedCondition{CourseId: of("course", r.others...)}}
		}
	}
	return rule
}

// somebody enrolls and does things, in the rows that events would make.
func (r *ruled) somebody(t *rapid.T, run func(string, ...any)) string {
	account := id.New("account")
	yes := func(name string) bool { return rapid.IntRange(0, 2).Draw(t, name) == 0 }
	moment := func(name string) time.Time {
		return may.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, name)) * time.Hour)
	}
	run(`INSERT INTO learner (course_id, account_id, enrolled_at, ended, pinned_version) VALUES ($1, $2, $3, $4, $5)`,
		r.course, account, moment("enrolled"), rapid.IntRange(0, 9).Draw(t, "ended") == 0, rapid.SampledFrom([]int{0, 0, 1}).Draw(t, "pinned"))
	for _, item := range []string{r.m1, r.l1, r.l2, r.q1, r.l3} {
		if yes("done") {
			run(`INSERT INTO lesson_completion VALUES ($1, $2, $3, $4)`, r.course, account, item, moment("done at"))
		}
	}
	if yes("result") {
		var percent *string
		if p := rapid.SampledFrom([]string{"", "49.9999", "50", "62.5", "100"}).Draw(t, "percent"); p != "" {
			percent = &p
		}
		run(`INSERT INTO item_result VALUES ($1, $2, $3, NULL, $4::text::numeric, true, 1)`, r.course, account, r.q1, percent)
	}
	if yes("cohort") {
		run(`INSERT INTO cohort_member VALUES ($1, $2, 1, $3)`, r.course, account, rapid.SampledFrom(append(slices.Clone(r.cohorts), "")).Draw(t, "cohort"))
	}
	for _, group := range r.groups {
		if yes("group") {
			run(`INSERT INTO group_member VALUES ($1, $2, $3, 1, $4)`, r.course, account, group, rapid.Bool().Draw(t, "member"))
		}
	}
	if yes("role") {
		var ends *time.Time
		if rapid.Bool().Draw(t, "ends") {
			at := moment("ends at")
			ends = &at
		}
		run(`INSERT INTO course_role VALUES ($1, $2, 'grader', 1, $3, $4)`, r.course, account, rapid.Bool().Draw(t, "granted"), ends)
	}
	if yes("other course") {
		run(`INSERT INTO learner (course_id, account_id, enrolled_at, completed_at) VALUES ($1, $2, $3, $4)`, r.others[0], account, may, moment("completed"))
	}
	if yes("available from") {
		run(`INSERT INTO effective_deadline VALUES ($1, $2, $3, $4, 'course', NULL, '', NULL, '', 0)`, r.course, account,
			rapid.SampledFrom([]string{r.m1, r.l1, r.l3}).Draw(t, "of"), moment("from"))
	}
	return account
}

// Whoever can see an item by the statement for all learners is exactly who can
// by the evaluator, one by one: for any rules, facts and time.
func TestWhoCanSeeIsTheEvaluator(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	h := rpctest.New(t, rpctest.Everything)
	w.service.Register(h)
	tried, open := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r := newRuled(w, h)
		for range 2 { // version 1 stays for those who are pinned
			for _, it := range r.publication.GetItems() {
				it.Release = nil
				if rapid.Bool().Draw(t, "ruled") {
					it.Release = r.draw(t, 3)
				}
			}
			r.publication.Release = nil
			if rapid.IntRange(0, 3).Draw(t, "whole") == 0 {
				r.publication.Release = r.draw(t, 2)
			}
			r.publish()
			run(t, w, `INSERT INTO cohort_pin VALUES ($1, $2, 1, 1) ON CONFLICT DO NOTHING`, r.course, r.cohorts[0])
		}
		people := make([]string, rapid.IntRange(1, 8).Draw(t, "people"))
		for i := range people {
			people[i] = r.somebody(t, func(sql string, args ...any) { run(t, w, sql, args...) })
		}
		at := may.Add(time.Duration(rapid.IntRange(0, 250).Draw(t, "at")) * time.Hour)
		for _, it := range r.publication.GetItems() {
			var want []string
			enrolled := int32(0)
			for _, account := range people {
				list, err := w.service.persons(t.Context(), w.db, account, at, r.course)
				if err != nil {
					t.Fatal(err)
				}
				p := list[0]
				if p.facts.EnrolledAt.IsZero() || p.facts.EnrolledAt.After(at) {
					continue
				}
				enrolled++
				d := p.decide(p.version.byID[it.GetId()], at)
				if tried++; d.Open {
					open++
					want = append(want, account)
				}
				if e := p.explain(p.version.byID[it.GetId()], at); e.GetState() != d.State() {
					t.Fatalf("explained as %s, is %s", e.GetState(), d.State())
				}
			}
			res, err := r.outlines.ListWhoCanSee(w.as("account_"), &learningpb.ListWhoCanSeeRequest{CourseId: r.course, ItemId: it.GetId(), At: at.Format(time.RFC3339), PageSize: 100})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range res.GetItems() {
				got = append(got, v.GetAccountId())
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) || int(res.GetOpenCount()) != len(want) || res.GetEnrolledCount() != enrolled {
				t.Fatalf("%s: %d see it and %d of %d are counted, want %d of %d", it.GetKind(), len(got), res.GetOpenCount(), res.GetEnrolledCount(), len(want), enrolled)
			}
		}
	})
	if open == 0 || open == tried {
		t.Errorf("%d of %d were open: the test tells nothing", open, tried)
	}
}

type failer interface {
	Helper()
	Fatalf(string, ...any)
}

func run(t failer, w *world, sql string, args ...any) {
	t.Helper()
	err := w.db.InTx(w.t.Context(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		_, err := tx.Exec(w.t.Context(), sql, args...)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// served is a world whose callers may do what allow says, with a course.
func served(t *testing.T, allow rpctest.Allow) *ruled {
	t.Helper()
	w := newWorld(t, allow)
	h := rpctest.New(t, allow)
	w.service.Register(h)
	w.client = learningpb.NewLearningServiceClient(h.As("edge"))
	return newRuled(w, h)
}

func learnersOnly(teacher string) rpctest.Allow {
	return func(account, _, permission string) bool {
		return account == teacher || permission == "lesson.read" || permission == "course.view" || permission == "me.read"
	}
}

func TestLearnerOutline(t *testing.T) {
	t.Parallel()
	ana, teacher := id.New("account"), id.New("account")
	r := served(t, learnersOnly(teacher))
	r.item(r.l2).Release = completedRule(r.l1)
	r.item(r.m2).Release = hide(completedRule(r.m1))
	opens := r.clock.AddDate(0, 0, 7)
	r.item(r.l3).Release = allRules(fromRule(opens), completedRule(r.q1))
	r.publish()
	hear(r.world, r.service.enrollmentStarted, enrolled(r.course, ana, 0))
	show := func(account string) []string {
		t.Helper()
		res, err := r.outlines.GetLearnerOutline(r.as(account), &learningpb.GetLearnerOutlineRequest{CourseId: r.course})
		if err != nil {
			t.Fatal(err)
		}
		out := []string{fmt.Sprintf("%d of %d", res.GetCompletedItems(), res.GetTotalItems())}
		for _, it := range res.GetItems() {
			name := map[string]string{r.m1: "m1", r.l1: "l1", r.l2: "l2", r.m2: "m2", r.q1: "q1", r.l3: "l3"}[it.GetId()]
			out = append(out, fmt.Sprint(name, " ", it.GetState(), " ", it.GetCompleted(), " ", it.GetCompletedItems(), " ", it.GetTotalItems(), " ", it.GetPercent(), it.GetReasons()))
		}
		return out
	}
	same := func(account string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, show(account)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	same(ana, "0 of 3", "m1 open false 0 2 []", "l1 open false 0 0 []", "l2 locked false 0 0 [Complete “The lesson” first.]",
		"l3 locked false 0 0 ["+openSentence(opens)+" Complete another part of the course first.]")
	if _, err := r.client.ViewLesson(r.as(ana), &learningpb.ViewLessonRequest{CourseId: r.course, LessonId: r.l2}); fault.CodeOf(err) != "lesson.locked" {
		t.Errorf("a locked lesson: %v", err)
	}
	r.view(ana, r.course, r.l1)
	r.view(ana, r.course, r.l2)
	// What was hidden is there now, and named.
	same(ana, "2 of 4", "m1 open true 2 2 []", "l1 open true 0 0 []", "l2 open true 0 0 []", "m2 open false 0 1 []", "q1 open false 0 0 []",
		"l3 locked false 0 0 ["+openSentence(opens)+" Complete “The quiz” first.]")
	hear(r.world, r.service.activityResultChanged,
		&assessmentpb.ActivityResultChanged{CourseId: r.course, ItemId: r.q1, AccountId: ana, Percent: "62.50", Passed: true, Version: 2},
		&assessmentpb.ActivityResultChanged{CourseId: r.course, ItemId: r.q1, AccountId: ana, Percent: "10", Version: 1})
	if got := show(ana)[5]; got != "q1 open false 0 0 62.5[]" {
		t.Errorf("%s", got)
	}
	// To staff all is open.
	same(teacher, "0 of 4", "m1 open false 0 2 []", "l1 open false 0 0 []", "l2 open false 0 0 []", "m2 open false 0 1 []", "q1 open false 0 0 []", "l3 open false 0 0 []")
	if _, err := r.client.ViewLesson(r.as(teacher), &learningpb.ViewLessonRequest{CourseId: r.course, LessonId: r.l3}); err != nil {
		t.Errorf("staff: %v", err)
	}
	if _, err := r.outlines.GetLearnerOutline(r.as(ana), &learningpb.GetLearnerOutlineRequest{CourseId: id.New("course")}); fault.CodeOf(err) != "course.not_published" {
		t.Errorf("%v", err)
	}
	states, err := r.items.CheckItems(t.Context(), &learningpb.CheckItemsRequest{CourseId: r.course, AccountId: id.New("account"), HiddenOnly: true})
	if err != nil || len(states.GetItems()) != 2 || states.GetItems()[0].GetItemId() != r.m2 || !states.GetNotEnrolled() {
		t.Errorf("hidden from a stranger: %v, %v", states, err)
	}
}

// Where somebody stood and what they can't open any more is not where they go on.
func TestResumeOfAClosedItem(t *testing.T) {
	t.Parallel()
	for name, closed := range map[string]*releasepb.Rule{"locked": fromRule(may.AddDate(1, 0, 0)), "hidden": hide(fromRule(may.AddDate(1, 0, 0)))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ana := id.New("account")
			r := served(t, learnersOnly(id.New("account")))
			r.publish()
			hear(r.world, r.service.enrollmentStarted, enrolled(r.course, ana, 0))
			r.view(ana, r.course, r.l1)
			resume := func() []string {
				t.Helper()
				at, err1 := r.world.items.GetResume(r.as(ana), &learningpb.GetResumeRequest{CourseId: r.course})
				mine, err2 := r.client.ListMyCourses(r.as(ana), &learningpb.ListMyCoursesRequest{})
				outline, err3 := r.outlines.GetLearnerOutline(r.as(ana), &learningpb.GetLearnerOutlineRequest{CourseId: r.course})
				if err := errors.Join(err1, err2, err3); err != nil {
					t.Fatal(err)
				}
				return []string{at.GetItemId(), mine.GetItems()[0].GetResumeLessonId(), outline.GetResumeLessonId(), r.progress(ana, r.course).GetResumeLessonId()}
			}
			if diff := cmp.Diff(slices.Repeat([]string{r.l1}, 4), resume()); diff != "" {
				t.Errorf("open (-want +got):\n%s", diff)
			}
			r.item(r.l1).Release = closed
			r.publish()
			if diff := cmp.Diff(make([]string, 4), resume()); diff != "" {
				t.Errorf("closed (-want +got):\n%s", diff)
			}
		})
	}
}

func openSentence(at time.Time) string {
	return "Opens on " + at.In(release.Zone("Europe/Berlin")).Format("2 January 2006 at 15:04 MST") + "."
}

func TestExplainRelease(t *testing.T) {
	t.Parallel()
	ana, ben, teacher := id.New("account"), id.New("account"), id.New("account")
	r := served(t, learnersOnly(teacher))
	opens, closes := r.clock.AddDate(0, 0, 7), r.clock.AddDate(0, 0, 9)
	window := fromRule(opens)
	window.GetDate().Until = timestamppb.New(closes)
	r.item(r.l3).Release = allRules(window, completedRule(r.l1))
	r.item(r.l2).Release = hide(completedRule(r.l1))
	r.publish()
	hear(r.world, r.service.enrollmentStarted, enrolled(r.course, ana, 0))
	ask := func(who, of, item string, at time.Time) (*learningpb.ReleaseExplanation, error) {
		req := &learningpb.ExplainReleaseRequest{CourseId: r.course, ItemId: item, AccountId: of}
		if !at.IsZero() {
			req.At = at.Format(time.RFC3339)
		}
		return r.outlines.ExplainRelease(r.as(who), req)
	}
	before, err := ask(ana, "", r.l3, time.Time{})
	if err != nil || before.GetState() != "locked" || before.GetOpensAt() != nil || len(before.GetReasons()) != 2 {
		t.Errorf("%v, %v", before, err)
	}
	r.view(ana, r.course, r.l1)
	got, err := ask(ana, ana, r.l3, time.Time{})
	if err != nil || got.GetState() != "locked" || !got.GetOpensAt().AsTime().Equal(opens) || len(got.GetRules()) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	node := got.GetRules()[0]
	if node.GetItemId() != r.l3 || node.GetKind() != "all" || node.GetHolds() || !node.GetKeepsClosed() || !node.GetClosesAt().AsTime().Equal(closes) ||
		node.GetParts()[0].GetReason() != openSentence(opens) || !node.GetParts()[1].GetHolds() || node.GetParts()[1].GetReason() != "" {
		t.Errorf("%v", node)
	}
	for at, want := range map[time.Time]string{opens.Add(-time.Second): "locked", opens: "open", closes.Add(-time.Second): "open", closes: "locked"} {
		if got, err := ask(teacher, ana, r.l3, at); err != nil || got.GetState() != want {
			t.Errorf("at %v: %v, %v", at, got, err)
		}
	}
	if got, err := ask(teacher, ana, r.l3, opens); err != nil || !got.GetClosesAt().AsTime().Equal(closes) {
		t.Errorf("%v, %v", got, err)
	}
	// Before they had completed the first, they could not.
	if got, err := ask(teacher, ana, r.l2, may); err != nil || got.GetState() != "hidden" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := ask(ana, "", r.course, time.Time{}); err != nil || got.GetState() != "open" {
		t.Errorf("the course: %v, %v", got, err)
	}
	hear(r.world, r.service.enrollmentStarted, enrolled(r.course, ben, 0))
	for name, c := range map[string]struct{ who, of, item, code string }{
		"of another":       {ana, ben, r.l3, "auth.forbidden"},
		"hidden":           {ben, "", r.l2, "item.not_found"},
		"unknown item":     {ana, "", id.New("lesson"), "item.not_found"},
		"not enrolled":     {teacher, id.New("account"), r.l3, "account.unknown"},
		"unknown, by many": {teacher, ana, "x", "item.not_found"},
	} {
		if _, err := ask(c.who, c.of, c.item, time.Time{}); fault.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	if got, err := ask(teacher, ben, r.l2, time.Time{}); err != nil || got.GetState() != "hidden" {
		t.Errorf("staff: %v, %v", got, err)
	}
	if _, err := r.outlines.ExplainRelease(r.as(ana), &learningpb.ExplainReleaseRequest{CourseId: r.course, ItemId: r.l3, At: "yesterday"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("%v", err)
	}
	if _, err := r.outlines.ListWhoCanSee(r.as(ana), &learningpb.ListWhoCanSeeRequest{CourseId: r.course, ItemId: r.l3}); !fault.Is(err, fault.Forbidden) {
		t.Errorf("%v", err)
	}
}

func TestMeasureImpact(t *testing.T) {
	t.Parallel()
	r := served(t, rpctest.Everything)
	r.publish()
	people := newIDs("account", 4)
	for _, p := range people {
		hear(r.world, r.service.enrollmentStarted, enrolled(r.course, p, 0))
	}
	r.view(people[0], r.course, r.l1)
	r.view(people[1], r.course, r.l1)
	r.view(people[1], r.course, r.l3)
	run(t, r.world, `UPDATE learner SET pinned_version = 9 WHERE account_id = $1`, people[3])
	res, err := r.items.MeasureImpact(t.Context(), &learningpb.MeasureImpactRequest{
		CourseId: r.course, RemovedIds: []string{r.l3, r.l2},
		Changed: []*learningpb.ItemRules{
			{ItemId: r.l1, Rules: []*releasepb.Rule{completedRule(r.l3)}},
			{ItemId: r.l2, Rules: []*releasepb.Rule{completedRule(r.l3)}},
			{ItemId: r.q1, Rules: []*releasepb.Rule{fromRule(may)}},
		},
	})
	if err != nil || res.GetLearners() != 3 {
		t.Fatalf("%v, %v", res, err)
	}
	got := map[string]int32{}
	for _, it := range res.GetItems() {
		got[it.GetChange()+" "+it.GetItemId()] = it.GetLearners()
		if len(it.GetAccountIds()) != int(it.GetLearners()) {
			t.Errorf("%v", it)
		}
	}
	if diff := cmp.Diff(map[string]int32{"removed " + r.l3: 1, "closed " + r.l1: 2, "closed " + r.l2: 2}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFactsOfEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	r := newRuled(w, nil)
	ana := id.New("account")
	r.publish()
	facts := func() *release.Facts {
		t.Helper()
		list, err := w.service.persons(t.Context(), w.db, ana, w.service.now(), r.course)
		if err != nil {
			t.Fatal(err)
		}
		return list[0].facts
	}
	hear(w, w.service.enrollmentEnded, &accesspb.EnrollmentEnded{CourseId: r.course, AccountId: ana, Version: 2})
	hear(w, w.service.enrollmentStarted, enrolled(r.course, ana, 1))
	if f := facts(); !f.EnrolledAt.IsZero() || f.Roles["student"] {
		t.Error("the end came before the start, and is forgotten")
	}
	hear(w, w.service.enrollmentResumed, &accesspb.EnrollmentResumed{CourseId: r.course, AccountId: ana, Version: 3})
	hear(w, w.service.enrollmentEnded, &accesspb.EnrollmentEnded{CourseId: r.course, AccountId: ana, Version: 2})
	if f := facts(); !f.EnrolledAt.Equal(may.AddDate(0, 0, 1)) || !f.Roles["student"] {
		t.Error("not enrolled again")
	}
	member := func(version int64, is bool) *accesspb.GroupMembershipChanged {
		return &accesspb.GroupMembershipChanged{GroupId: r.groups[0], CourseId: r.course, AccountId: ana, Member: is, Version: version}
	}
	hear(w, w.service.groupMembershipChanged, member(2, false), member(1, true), member(2, true))
	if facts().Groups[r.groups[0]] {
		t.Error("an older membership counts")
	}
	hear(w, w.service.groupMembershipChanged, member(3, true), member(3, true))
	if !facts().Groups[r.groups[0]] {
		t.Error("the newest membership does not count")
	}
	role := func(version int64, is bool, ends *timestamppb.Timestamp) *accesspb.CourseRoleChanged {
		return &accesspb.CourseRoleChanged{CourseId: r.course, AccountId: ana, Role: "grader", Granted: is, ExpiresAt: ends, Version: version}
	}
	hear(w, w.service.courseRoleChanged, role(2, true, timestamppb.New(w.clock.Add(time.Hour))), role(1, false, nil))
	if !facts().Roles["grader"] {
		t.Error("no role")
	}
	hear(w, w.service.courseRoleChanged, role(3, true, timestamppb.New(w.clock)))
	if facts().Roles["grader"] {
		t.Error("a role that is over")
	}
}
