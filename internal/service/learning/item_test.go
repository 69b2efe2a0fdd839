package learning

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// edition is a version with the given items.
func edition(course string, n int64, items ...*coursespb.PublishedItem) *coursespb.CoursePublished {
	return &coursespb.CoursePublished{CourseId: course, Sequence: n, Version: int32(n), Title: "Stoicism", Items: items} //nolint:gosec // small
}

func required(itemID, parent string, needs ...*need) *coursespb.PublishedItem {
	kind := "lesson"
	if id.Valid("activity", itemID) {
		kind = "quiz"
	}
	return &coursespb.PublishedItem{Id: itemID, ParentId: parent, Kind: kind, Title: "Title of " + itemID, Required: true, Completion: completion1(needs...)}
}

func module(itemID string) *coursespb.PublishedItem {
	return &coursespb.PublishedItem{Id: itemID, Kind: "module", Title: "Title of " + itemID}
}

func (w *world) state(account, course, itemID string) *learningpb.ItemProgress {
	w.t.Helper()
	p, err := w.items.GetItemProgress(w.as(account), &learningpb.GetItemProgressRequest{CourseId: course, ItemId: itemID})
	if err != nil {
		w.t.Fatalf("GetItemProgress: %v", err)
	}
	return p
}

// itemsCompleted returns the items of a course that ItemCompleted was sent of, by
// account.
func (w *world) itemsCompleted(course string) map[string][]string {
	w.t.Helper()
	rows, err := w.db.Query(context.Background(), `SELECT payload FROM outbox WHERE name = 'stoa.learning.v1.ItemCompleted' ORDER BY position`)
	if err != nil {
		w.t.Fatal(err)
	}
	payloads, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string][]string{}
	for _, p := range payloads {
		e := &learningpb.ItemCompleted{}
		if err := proto.Unmarshal(p, e); err != nil {
			w.t.Fatal(err)
		}
		if e.GetCourseId() == course {
			out[e.GetAccountId()] = append(out[e.GetAccountId()], e.GetItemId())
		}
	}
	return out
}

func TestEveryRequirement(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, ana, staff := id.New("course"), id.New("account"), id.New("account")
	l, quiz := id.New("lesson"), id.New("activity")
	hear(w, w.service.coursePublished, edition(course, 1,
		required(l, "", &need{Kind: "viewed"}, &need{Kind: "manual", Self: true}),
		required(quiz, "", &need{Kind: "submitted"}, &need{Kind: "scored", MinPercent: "62.5"}, &need{Kind: "passed"}, &need{Kind: "manual"})))
	hear(w, w.service.enrollmentStarted, enrolled(course, ana, 0))
	details := func(item string) []string {
		var out []string
		for _, r := range w.state(ana, course, item).GetRequirements() {
			out = append(out, fmt.Sprint(r.GetKind(), " ", r.GetMet(), " ", r.GetDetail()))
		}
		return out
	}
	check := func(item string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, details(item)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	check(l, "viewed false Not viewed yet.", "manual false Not marked as done yet.")
	check(quiz, "submitted false Not handed in yet.", "scored false No score is posted yet; at least 62.5 % is asked for.", "passed false Not passed yet.",
		"manual false Not marked as done by the staff yet.")

	w.view(ana, course, l)
	if p := w.state(ana, course, l); p.GetState() != "begun" {
		t.Errorf("viewed alone: %v", p)
	}
	p, err := w.items.MarkItem(w.as(ana), &learningpb.MarkItemRequest{CourseId: course, ItemId: l, Done: true})
	if err != nil || p.GetState() != "complete" || p.GetCompletedVersion() != 1 || p.GetMark().GetMarkedBy() != ana {
		t.Errorf("marked: %v, %v", p, err)
	}
	check(l, "viewed true Viewed.", "manual true Marked as done.")

	result := func(version int64, percent string, passed bool) *assessmentpb.ActivityResultChanged {
		return &assessmentpb.ActivityResultChanged{CourseId: course, ItemId: quiz, AccountId: ana, Version: version, Percent: percent, Passed: passed, SubmittedAt: timestamppb.New(may)}
	}
	hear(w, w.service.activityResultChanged, result(1, "62.4999", true))
	check(quiz, "submitted true Handed in.", "scored false Scored 62.4999 % of at least 62.5 %.", "passed true Passed.", "manual false Not marked as done by the staff yet.")
	hear(w, w.service.activityResultChanged, result(2, "62.50", false))
	if _, err := w.items.MarkItem(w.as(ana), &learningpb.MarkItemRequest{CourseId: course, ItemId: quiz, Done: true}); fault.CodeOf(err) != "item.not_manual" {
		t.Errorf("one's own mark of what staff marks: %v", err)
	}
	byStaff := func(done bool) (*learningpb.ItemProgress, error) {
		return w.items.MarkLearnerItem(w.as(staff), &learningpb.MarkLearnerItemRequest{CourseId: course, AccountId: ana, ItemId: quiz, Done: done, Reason: " Shown in class "})
	}
	p, err = byStaff(true)
	if err != nil || p.GetState() != "complete" || p.GetMark().GetMarkedBy() != staff || p.GetMark().GetReason() != "Shown in class" {
		t.Errorf("marked by staff: %v, %v", p, err)
	}
	check(quiz, "submitted true Handed in.", "scored true Scored 62.5 % of at least 62.5 %.", "passed true Passed.", "manual true Marked as done by the staff.")
	if p := w.progress(ana, course); p.GetPercent() != 100 || p.GetCompletedAt() == nil {
		t.Errorf("the course: %v", p)
	}
	if p, err = byStaff(false); err != nil || p.GetState() == "complete" || p.GetMark() != nil {
		t.Errorf("taken back: %v, %v", p, err)
	}
	if p := w.progress(ana, course); p.GetPercent() != 50 || p.GetCompletedAt() == nil {
		t.Errorf("the course after the mark was taken back: %v", p)
	}
	if got := len(w.completions()); got != 1 {
		t.Errorf("%d events of the course, want 1", got)
	}
}

func TestMarkRefuses(t *testing.T) {
	t.Parallel()
	course, ana, staff, l, self := id.New("course"), id.New("account"), id.New("account"), id.New("lesson"), id.New("lesson")
	w := newWorld(t, func(account, _, permission string) bool {
		return permission == "lesson.read" || permission == "course.view" || account == staff
	})
	hear(w, w.service.coursePublished, edition(course, 1, required(l, "", &need{Kind: "viewed"}), required(self, "", &need{Kind: "manual", Self: true})))
	hear(w, w.service.enrollmentStarted, enrolled(course, ana, 0))
	mark := func(who, item string, done bool) error {
		_, err := w.items.MarkItem(w.as(who), &learningpb.MarkItemRequest{CourseId: course, ItemId: item, Done: done})
		return err
	}
	forAna := func(who, account, item string) error {
		_, err := w.items.MarkLearnerItem(w.as(who), &learningpb.MarkLearnerItemRequest{CourseId: course, AccountId: account, ItemId: item, Done: true})
		return err
	}
	steps := []struct {
		name string
		do   func() error
		code string
	}{
		{"no mark is asked for", func() error { return mark(ana, l, true) }, "item.not_manual"},
		{"not an item", func() error { return mark(ana, id.New("lesson"), true) }, "item.not_found"},
		{"by a student for themselves as staff", func() error { return forAna(ana, ana, self) }, "auth.forbidden"},
		{"for who was never there", func() error { return forAna(staff, id.New("account"), self) }, "learner.not_found"},
		{"by staff where none is asked for", func() error { return forAna(staff, ana, l) }, "item.not_manual"},
		{"by staff", func() error { return forAna(staff, ana, self) }, ""},
		{"the staff's taken back by the student", func() error { return mark(ana, self, false) }, "item.not_manual"},
		{"again by the student", func() error { return mark(ana, self, true) }, ""},
	}
	for _, s := range steps {
		if err := s.do(); (err == nil) != (s.code == "") || err != nil && fault.CodeOf(err) != s.code {
			t.Errorf("%s: %v, want %q", s.name, err, s.code)
		}
	}
	if p := w.state(ana, course, self); p.GetMark().GetMarkedBy() != staff {
		t.Errorf("the mark: %v", p)
	}
}

// Rules become stricter, looser, and items leave and come back, in the middle of
// learning.
func TestPublishInTheMiddleOfLearning(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, m, l, people := id.New("course"), id.New("module"), newIDs("lesson", 2), newIDs("account", 3)
	for i, p := range people {
		hear(w, w.service.enrollmentStarted, enrolled(course, p, i))
	}
	viewed := &need{Kind: "viewed"}
	hear(w, w.service.coursePublished, edition(course, 1, module(m), required(l[0], m, viewed), required(l[1], m, viewed, &need{Kind: "manual"})))
	w.view(people[0], course, l[0])
	w.view(people[1], course, l[1])
	hear(w, w.service.coursePublished, edition(course, 2, module(m), required(l[0], m, viewed, &need{Kind: "manual"}), required(l[1], m, viewed)))
	if p := w.state(people[0], course, l[0]); p.GetState() != "complete" || p.GetCompletedVersion() != 1 {
		t.Errorf("a stricter rule took a completion: %v", p)
	}
	if p := w.state(people[1], course, l[1]); p.GetState() != "complete" || p.GetCompletedVersion() != 2 {
		t.Errorf("a looser rule: %v", p)
	}
	if p := w.state(people[2], course, l[1]); p.GetState() != "new" {
		t.Errorf("who did nothing: %v", p)
	}
	// What is lacking leaves: the module and the course are complete.
	hear(w, w.service.coursePublished, edition(course, 3, module(m), required(l[0], m, viewed, &need{Kind: "manual"})))
	if p := w.state(people[0], course, m); p.GetState() != "complete" || p.GetRequirements()[0].GetDetail() != "Completed 1 of 1." {
		t.Errorf("the module: %v", p)
	}
	if p := w.progress(people[0], course); p.GetCompletedAt() == nil || p.GetPercent() != 100 {
		t.Errorf("the course: %v", p)
	}
	hear(w, w.service.coursePublished, edition(course, 4, module(m), required(l[0], m, viewed), required(l[1], m, viewed)))
	if p := w.state(people[1], course, l[1]); p.GetState() != "complete" || p.GetCompletedVersion() != 2 {
		t.Errorf("came back: %v", p)
	}
	if p := w.state(people[0], course, m); p.GetState() != "complete" {
		t.Errorf("a completed module with more in it: %v", p)
	}
	want := map[string][]string{people[0]: {l[0], m}, people[1]: {l[1]}}
	if diff := cmp.Diff(want, w.itemsCompleted(course)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A pinned cohort sees its version, and what it asks for.
func TestPinnedRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, cohort, l, people := id.New("course"), id.New("cohort"), id.New("lesson"), newIDs("account", 2)
	old := edition(course, 1, required(l, "", &need{Kind: "viewed"}, &need{Kind: "manual"}))
	hear(w, w.service.coursePublished, old)
	hear(w, w.service.cohortPinned, &coursespb.CohortPinned{CourseId: course, CohortId: cohort, Version: 1, Sequence: 1, Publication: old})
	hear(w, w.service.cohortMembershipChanged, &accesspb.CohortMembershipChanged{CourseId: course, AccountId: people[0], CohortId: cohort, Version: 1})
	w.view(people[0], course, l) // before the enrollment is known
	hear(w, w.service.coursePublished, edition(course, 2, required(l, "", &need{Kind: "viewed"})))
	for _, p := range people {
		hear(w, w.service.enrollmentStarted, enrolled(course, p, 0))
	}
	w.view(people[1], course, l)
	if a, b := w.progress(people[0], course).GetPercent(), w.progress(people[1], course).GetPercent(); a != 0 || b != 100 {
		t.Errorf("pinned %d %%, newest %d %%", a, b)
	}
	hear(w, w.service.cohortPinned, &coursespb.CohortPinned{CourseId: course, CohortId: cohort, Version: 0, Sequence: 2})
	if p := w.state(people[0], course, l); p.GetState() != "complete" || p.GetCompletedVersion() != 2 {
		t.Errorf("with the newest: %v", p)
	}
}

func TestEndedEnrollment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, l, people := id.New("course"), newIDs("lesson", 2), newIDs("account", 2)
	hear(w, w.service.coursePublished, published(course, 1, l...))
	ended := func(p string, version int64) *accesspb.EnrollmentEnded {
		return &accesspb.EnrollmentEnded{CourseId: course, AccountId: p, Version: version}
	}
	resumed := &accesspb.EnrollmentResumed{CourseId: course, AccountId: people[0], Version: 3}
	listed := func() int {
		res, err := w.client.ListLearners(w.as(people[0]), &learningpb.ListLearnersRequest{CourseId: course})
		if err != nil {
			t.Fatal(err)
		}
		mine, err := w.client.ListMyCourses(w.as(people[0]), &learningpb.ListMyCoursesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if (len(res.GetItems()) > 1) != (len(mine.GetItems()) > 0) {
			t.Errorf("%d learners, %d courses", len(res.GetItems()), len(mine.GetItems()))
		}
		return len(res.GetItems())
	}
	hear(w, w.service.enrollmentStarted, enrolled(course, people[1], 0))
	hear(w, w.service.enrollmentEnded, ended(people[0], 2)) // before the start
	hear(w, w.service.enrollmentStarted, enrolled(course, people[0], 0))
	if n := listed(); n != 1 {
		t.Errorf("%d after the end", n)
	}
	w.view(people[0], course, l[0])
	w.view(people[0], course, l[1])
	if n := len(w.completions()); n != 0 {
		t.Errorf("%d completions of who is not enrolled", n)
	}
	hear(w, w.service.enrollmentResumed, resumed, resumed)
	hear(w, w.service.enrollmentEnded, ended(people[0], 2))
	if n := listed(); n != 2 {
		t.Errorf("%d after it was resumed", n)
	}
	if n := len(w.completions()); n != 1 {
		t.Errorf("%d completions after it was resumed", n)
	}
}

// learned is the model: facts, and which items were ever met by a version seen.
type learned struct {
	viewed, marked, submitted, passed map[string]bool
	best                              map[string]int
	done                              map[string]bool
}

func (f *learned) settle(e *coursespb.CoursePublished) {
	for _, it := range e.GetItems() {
		if it.GetKind() == "module" || len(it.GetCompletion().GetRequirements()) == 0 {
			continue
		}
		ok := true
		for _, r := range it.GetCompletion().GetRequirements() {
			switch r.GetKind() {
			case "viewed":
				ok = ok && f.viewed[it.GetId()]
			case "submitted":
				ok = ok && f.submitted[it.GetId()]
			case "passed":
				ok = ok && f.passed[it.GetId()]
			case "manual":
				ok = ok && f.marked[it.GetId()]
			case "scored":
				var least int
				_, _ = fmt.Sscan(r.GetMinPercent(), &least)
				got, there := f.best[it.GetId()]
				ok = ok && there && got >= least
			}
		}
		if ok {
			f.done[it.GetId()] = true
		}
	}
}

// Whatever versions come, and in whatever order and how often the facts between two of
// them: what is completed is what the model says after each step.
func TestCompletionMatchesModel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	kinds := []string{"viewed", "submitted", "passed", "manual", "scored"}
	rapid.Check(t, func(t *rapid.T) {
		course, ana, items := id.New("course"), id.New("account"), newIDs("activity", 3)
		hear(w, w.service.enrollmentStarted, enrolled(course, ana, 0))
		f := &learned{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]int{}, map[string]bool{}}
		var now *coursespb.CoursePublished
		var results []*assessmentpb.ActivityResultChanged
		for n := range rapid.Int64Range(1, 5).Draw(t, "versions") {
			now = edition(course, n+1)
			for _, it := range rapid.SliceOfNDistinct(rapid.SampledFrom(items), 1, 3, rapid.ID).Draw(t, "items") {
				p := required(it, "")
				for _, k := range rapid.SliceOfNDistinct(rapid.SampledFrom(kinds), 0, 3, rapid.ID).Draw(t, "kinds") {
					p.Completion.Requirements = append(p.Completion.Requirements,
						&need{Kind: k, Self: true, MinPercent: rapid.SampledFrom([]string{"40", "60", "80"}).Draw(t, "least")})
				}
				now.Items = append(now.Items, p)
			}
			hear(w, w.service.coursePublished, now)
			f.settle(now)
			for range rapid.IntRange(0, 8).Draw(t, "facts") {
				it := rapid.SampledFrom(items).Draw(t, "item")
				switch rapid.IntRange(0, 3).Draw(t, "fact") {
				case 0:
					_, err := w.items.ViewItem(w.as(ana), &learningpb.ViewItemRequest{CourseId: course, ItemId: it})
					if seen := slices.ContainsFunc(now.GetItems(), func(p *coursespb.PublishedItem) bool { return p.GetId() == it }); seen != (err == nil) {
						t.Fatalf("view: %v", err)
					} else if seen {
						f.viewed[it] = true
					}
				case 1:
					if _, err := w.items.MarkItem(w.as(ana), &learningpb.MarkItemRequest{CourseId: course, ItemId: it, Done: true}); err == nil {
						f.marked[it] = true
					}
				case 2:
					e := &assessmentpb.ActivityResultChanged{CourseId: course, ItemId: it, AccountId: ana, Version: int64(len(results) + 1)}
					if rapid.Bool().Draw(t, "submitted") {
						e.SubmittedAt = timestamppb.New(may)
						f.submitted[it] = true
					}
					if rapid.Bool().Draw(t, "scored") {
						score := rapid.SampledFrom([]int{30, 60, 79, 80}).Draw(t, "score")
						e.Percent, e.Passed = fmt.Sprint(score), score >= 60
						f.best[it], f.passed[it] = max(f.best[it], score), f.passed[it] || score >= 60
					}
					results = append(results, e)
					hear(w, w.service.activityResultChanged, e)
				case 3: // an old one again
					if len(results) > 0 {
						hear(w, w.service.activityResultChanged, rapid.SampledFrom(results).Draw(t, "result"))
					}
				}
				f.settle(now)
			}
			got, err := w.client.GetProgress(w.as(ana), &learningpb.GetProgressRequest{CourseId: course})
			if err != nil {
				t.Fatal(err)
			}
			var model, service []string
			for _, p := range now.GetItems() {
				if f.done[p.GetId()] {
					model = append(model, p.GetId())
				}
			}
			for _, p := range got.GetItems() {
				if p.GetState() == "complete" {
					service = append(service, p.GetItemId())
				}
			}
			if diff := cmp.Diff(model, service); diff != "" {
				t.Fatalf("(-model +service):\n%s", diff)
			}
		}
		told := w.itemsCompleted(course)[ana]
		slices.Sort(told)
		if diff := cmp.Diff(slices.Sorted(maps.Keys(f.done)), told); diff != "" && (len(told) > 0 || len(f.done) > 0) {
			t.Fatalf("told (-model +events):\n%s", diff)
		}
	})
}

// The same facts between two versions in two orders end the same.
func TestOrderOfFactsDoesNotMatter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	rapid.Check(t, func(t *rapid.T) {
		course, people, quiz := id.New("course"), newIDs("account", 2), id.New("activity")
		hear(w, w.service.coursePublished, edition(course, 1, required(quiz, "", &need{Kind: "viewed"}, &need{Kind: "submitted"}, &need{Kind: "scored", MinPercent: "70"})))
		facts := []string{"view", "result", "result", "result"}
		var events []*assessmentpb.ActivityResultChanged
		for i := range 3 {
			e := &assessmentpb.ActivityResultChanged{CourseId: course, ItemId: quiz, Version: int64(i + 1), Percent: rapid.SampledFrom([]string{"", "69.9999", "70", "100"}).Draw(t, "percent")}
			if rapid.Bool().Draw(t, "submitted") {
				e.SubmittedAt = timestamppb.New(may.Add(time.Duration(i) * time.Hour))
			}
			events = append(events, e)
		}
		var states []string
		for _, p := range people {
			order := rapid.Permutation([]int{0, 1, 2, 3}).Draw(t, "order")
			for _, i := range append(order, order[rapid.IntRange(0, 3).Draw(t, "twice")]) {
				if facts[i] == "view" {
					if _, err := w.items.ViewItem(w.as(p), &learningpb.ViewItemRequest{CourseId: course, ItemId: quiz}); err != nil {
						t.Fatal(err)
					}
					continue
				}
				e := proto.CloneOf(events[i-1])
				e.AccountId = p
				hear(w, w.service.activityResultChanged, e)
			}
			s := w.state(p, course, quiz)
			states = append(states, fmt.Sprint(s.GetState(), s.GetBestPercent(), s.GetSubmittedAt()))
		}
		if states[0] != states[1] {
			t.Fatalf("%v", states)
		}
	})
}

// What is locked or hidden can't be viewed, watched or marked, and a hidden item is
// told of nowhere.
func TestClosedItems(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_, _, permission string) bool { return permission == "lesson.read" || permission == "course.view" })
	course, ana, l, media := id.New("course"), id.New("account"), newIDs("lesson", 3), id.New("media")
	e := edition(course, 1)
	for i, it := range l {
		p := required(it, "", &need{Kind: "manual", Self: true})
		p.PlayableMediaIds = []string{media}
		if closed := []string{"", "lock", "hide"}[i]; closed != "" {
			p.Release = &releasepb.Rule{WhenClosed: closed, Condition: &releasepb.Rule_Enrolled{Enrolled: &releasepb.EnrolledCondition{Days: 100}}}
		}
		e.Items = append(e.Items, p)
	}
	hear(w, w.service.coursePublished, e)
	hear(w, w.service.enrollmentStarted, enrolled(course, ana, 0))
	ctx := w.as(ana)
	for i, want := range []string{"", "lesson.locked", "item.not_found"} {
		for name, do := range map[string]func() error{
			"view": func() error {
				_, err := w.items.ViewItem(ctx, &learningpb.ViewItemRequest{CourseId: course, ItemId: l[i]})
				return err
			},
			"mark": func() error {
				_, err := w.items.MarkItem(ctx, &learningpb.MarkItemRequest{CourseId: course, ItemId: l[i], Done: true})
				return err
			},
			"watch": func() error {
				_, err := w.items.RecordWatch(ctx, &learningpb.RecordWatchRequest{
					CourseId: course, LessonId: l[i], SessionId: "player-1", Sequence: int64(i + 1), Intervals: []*learningpb.PlayedInterval{played(media, 0, 1000)},
				})
				return err
			},
		} {
			err := do()
			got := ""
			if err != nil {
				got = fault.CodeOf(err)
			}
			wanted := want
			if name == "watch" && want == "item.not_found" {
				wanted = "lesson.not_found"
			}
			if got != wanted {
				t.Errorf("%s %d: %v, want %q", name, i, err, wanted)
			}
		}
		_, err := w.items.GetItemProgress(ctx, &learningpb.GetItemProgressRequest{CourseId: course, ItemId: l[i]})
		if (i == 2) != (fault.CodeOf(err) == "item.not_found") || i < 2 && err != nil {
			t.Errorf("explain %d: %v", i, err)
		}
		_, err = w.notes.CreateNote(ctx, &learningpb.CreateNoteRequest{CourseId: course, ItemId: l[i], Text: "x"})
		if (i == 2) != (err != nil) || i == 2 && fault.CodeOf(err) != "item.not_found" {
			t.Errorf("note on %d: %v", i, err)
		}
	}
	p := w.progress(ana, course)
	if len(p.GetItems()) != 2 || p.GetCompletedLessons() != 1 || p.GetItems()[1].GetState() != "new" {
		t.Errorf("progress: %v", p)
	}
}
