package learning

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// How an item stands for many is how it stands for each of them by the evaluator, with
// the same reasons and moments.
func TestItemAccessIsTheEvaluator(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	h := rpctest.New(t, rpctest.Everything)
	w.service.Register(h)
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		r := newRuled(w, h)
		for range 2 { // version 1 stays for those who are pinned
			for _, it := range r.publication.GetItems() {
				it.Release = nil
				if rapid.Bool().Draw(t, "ruled") {
					it.Release = r.draw(t, 3)
				}
			}
			r.publish()
			run(t, w, `INSERT INTO cohort_pin VALUES ($1, $2, 1, 1) ON CONFLICT DO NOTHING`, r.course, r.cohorts[0])
		}
		people := make([]string, rapid.IntRange(1, 6).Draw(t, "people"), 8)
		for i := range people {
			people[i] = r.somebody(t, func(sql string, args ...any) { run(t, w, sql, args...) })
			run(t, w, `INSERT INTO effective_deadline VALUES ($1, $2, $3, NULL, '', $4, 'course', $5, 'course', 0) ON CONFLICT DO NOTHING`, r.course, people[i], r.q1, may, may.Add(time.Hour))
		}
		people = append(people, id.New("account")) // not enrolled
		// Half past, so that what follows is at no moment of a rule.
		w.at(may.Add(time.Duration(rapid.IntRange(0, 250).Draw(t, "at"))*time.Hour + 30*time.Minute))
		for _, it := range r.publication.GetItems() {
			var want []*learningpb.ItemAccess
			for _, account := range people {
				at := w.service.now()
				list, err := w.service.persons(t.Context(), w.db, account, at, r.course)
				if err != nil {
					t.Fatal(err)
				}
				p := list[0]
				item := p.version.byID[it.GetId()]
				d := p.decide(item, at)
				_, closes := release.Next(p.rule(item), p.facts, at)
				one := &learningpb.ItemAccess{
					AccountId: account, Enrolled: !p.facts.EnrolledAt.IsZero(), State: d.State(), Reasons: p.sentences(d.Missing, at),
					OpensAt: stampOf(d.OpensAt), ClosesAt: stampOf(closes), AvailableFrom: optional(p.availableFrom(it.GetId())),
				}
				if i, ok := p.deadline[it.GetId()]; ok {
					one.Due, one.Until = optional(p.Due[i]), optional(p.Until[i])
				}
				seen[d.State()]++
				if !closes.IsZero() {
					seen["closes"]++
				}
				want = append(want, one)
			}
			res, err := r.items.ListItemAccess(t.Context(), &learningpb.ListItemAccessRequest{CourseId: r.course, ItemId: it.GetId(), AccountIds: people})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, res.GetItems(), protocmp.Transform()); diff != "" {
				t.Fatalf("%s (-want +got):\n%s", it.GetKind(), diff)
			}
		}
	})
	for _, state := range []string{"open", "locked", "hidden", "closes"} {
		if seen[state] == 0 {
			t.Errorf("nobody met %q: %v", state, seen)
		}
	}
}

func TestItemAccess(t *testing.T) {
	t.Parallel()
	r := served(t, rpctest.Everything)
	r.publish()
	ana := id.New("account")
	hear(r.world, r.service.enrollmentStarted, enrolled(r.course, ana, 0))
	due, until := may.AddDate(0, 1, 0), may.AddDate(0, 2, 0)
	run(t, r.world, `INSERT INTO effective_deadline VALUES ($1, $2, $3, NULL, '', $4, 'course', $5, 'course', 0)`, r.course, ana, r.q1, due, until)
	res, err := r.items.CheckItems(t.Context(), &learningpb.CheckItemsRequest{CourseId: r.course, AccountId: ana, ItemIds: []string{r.q1}, WithTimes: true})
	if err != nil {
		t.Fatal(err)
	}
	if res.GetNotEnrolled() {
		t.Error("said not to be enrolled")
	}
	want := []*learningpb.ItemState{{ItemId: r.q1, State: "open", Due: timestamppb.New(due), Until: timestamppb.New(until)}}
	if diff := cmp.Diff(want, res.GetItems(), protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	ask := func(course, item string) string {
		t.Helper()
		res, err := r.items.ListItemAccess(t.Context(), &learningpb.ListItemAccessRequest{CourseId: course, ItemId: item, AccountIds: []string{ana}})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(len(res.GetItems()), " ", res.GetItems()[0].GetState())
	}
	for _, c := range [][2]string{{id.New("course"), r.q1}, {r.course, id.New("activity")}} {
		if got := ask(c[0], c[1]); got != "1 absent" {
			t.Errorf("of what there is not: %s", got)
		}
	}

	// What is hidden from the moment on when it was due was shown when it was due.
	r.item(r.q1).Release = hide(&releasepb.Rule{Condition: &releasepb.Rule_Date{Date: &releasepb.DateCondition{Until: timestamppb.New(due)}}})
	r.publish()
	for _, c := range []struct {
		at        time.Time
		now, then string
	}{{due.Add(-time.Hour), "open", "open"}, {due, "hidden", "open"}, {due.AddDate(0, 0, 3), "hidden", "open"}} {
		r.at(c.at)
		req := &learningpb.ListItemAccessRequest{CourseId: r.course, ItemId: r.q1, AccountIds: []string{ana}}
		now, err1 := r.items.ListItemAccess(t.Context(), req)
		req.WhenDue = true
		then, err2 := r.items.ListItemAccess(t.Context(), req)
		if err1 != nil || err2 != nil || now.GetItems()[0].GetState() != c.now || then.GetItems()[0].GetState() != c.then {
			t.Errorf("at %v: %v and, when due, %v (%v, %v)", c.at, now, then, err1, err2)
		}
	}
}
