package learning

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// wayTo is what courses asks about an item whose modules and itself get schedules.
func wayTo(r *ruled, itemID string, schedules map[string]*releasepb.Schedule) *learningpb.ItemSchedules {
	out := &learningpb.ItemSchedules{ItemId: itemID}
	var path []string
	for at := itemID; at != ""; at = r.item(at).GetParentId() {
		path = append([]string{at}, path...)
	}
	for _, at := range path {
		sc, ok := schedules[at]
		if !ok {
			sc = r.item(at).GetSchedule()
		}
		out.Way = append(out.Way, &learningpb.OwnSchedule{ItemId: at, Schedule: sc})
	}
	return out
}

// Who had reached an item loses it by a later beginning or an earlier end, of it or of
// a module, each by their own dates and overrides.
func TestMeasureSchedules(t *testing.T) {
	t.Parallel()
	f := newTimed(t, rpctest.Everything)
	f.item(f.l1).Schedule = &releasepb.Schedule{AvailableFrom: afterStart(2, ""), Until: afterStart(30, "")}
	f.item(f.l2).Release = completedRule(f.l1)
	f.publish()
	people := newIDs("account", 5)
	for i, p := range people {
		hear(f.world, f.service.enrollmentStarted, enrolled(f.course, p, i)) // from day 0 on
	}
	run(t, f.world, `UPDATE learner SET pinned_version = 9 WHERE account_id = $1`, people[4])
	now := may.AddDate(0, 0, 4).Add(time.Hour)
	measure := func(schedules map[string]*releasepb.Schedule, items ...string) map[string]int32 {
		t.Helper()
		f.at(now)
		req := &learningpb.MeasureImpactRequest{CourseId: f.course}
		for _, it := range items {
			req.Rescheduled = append(req.Rescheduled, wayTo(f.ruled, it, schedules))
		}
		res, err := f.items.MeasureImpact(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int32{"": res.GetLearners()}
		for _, it := range res.GetItems() {
			got[it.GetChange()+" "+it.GetItemId()] = it.GetLearners()
			if len(it.GetAccountIds()) != int(it.GetLearners()) {
				t.Errorf("%v", it)
			}
		}
		return got
	}
	check := func(what string, got, want map[string]int32) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	own := func(sc *releasepb.Schedule) map[string]*releasepb.Schedule {
		return map[string]*releasepb.Schedule{f.l1: sc}
	}
	l1 := "rescheduled " + f.l1
	// Of the four who see the newest three have come to day 2.
	check("the same", measure(own(f.item(f.l1).GetSchedule()), f.l1), map[string]int32{"": 0})
	check("a day later", measure(own(&releasepb.Schedule{AvailableFrom: afterStart(3, "")}), f.l1), map[string]int32{"": 1, l1: 1})
	check("at a date", measure(own(&releasepb.Schedule{AvailableFrom: at(now.AddDate(0, 1, 0))}), f.l1), map[string]int32{"": 3, l1: 3})
	check("earlier", measure(own(&releasepb.Schedule{AvailableFrom: afterStart(0, "")}), f.l1), map[string]int32{"": 0})
	check("over", measure(own(&releasepb.Schedule{Until: afterStart(4, "")}), f.l1), map[string]int32{"": 1, l1: 1})
	check("over for all", measure(own(&releasepb.Schedule{Until: at(now)}), f.l1), map[string]int32{"": 3, l1: 3})
	check("still to come", measure(own(&releasepb.Schedule{Until: afterStart(20, "")}), f.l1), map[string]int32{"": 0})

	// A module takes what is in it along, but not what is closed by rules anyway.
	module := map[string]*releasepb.Schedule{f.m1: {AvailableFrom: at(now.AddDate(0, 1, 0))}}
	check("a module", measure(module, f.l1, f.l2), map[string]int32{"": 3, l1: 3})
	f.at(now.Add(-time.Minute))
	f.view(people[1], f.course, f.l1)
	check("a module, with what one has opened", measure(module, f.l1, f.l2), map[string]int32{"": 3, l1: 3, "rescheduled " + f.l2: 1})

	// What is said for people and cohorts counts more.
	if err := f.override(f.l1, people[0], to(afterStart(0, "")), nil, nil); err != nil {
		t.Fatal(err)
	}
	hear(f.world, f.service.cohortChanged, &accesspb.CohortChanged{CohortId: f.cohorts[0], CourseId: f.course, Name: "Spring", StartsAt: timestamppb.New(now.AddDate(0, 0, -20)), Version: 1})
	hear(f.world, f.service.cohortMembershipChanged, &accesspb.CohortMembershipChanged{CourseId: f.course, AccountId: people[1], CohortId: f.cohorts[0], Version: 1})
	check("overridden", measure(own(&releasepb.Schedule{AvailableFrom: at(now.AddDate(0, 1, 0))}), f.l1), map[string]int32{"": 2, l1: 2})
	check("of a cohort that began before", measure(own(&releasepb.Schedule{AvailableFrom: afterStart(10, "")}), f.l1), map[string]int32{"": 1, l1: 1})
	check("unknown items", measure(nil), map[string]int32{"": 0})
}

// TestMeasureManySchedules measures more learners than one batch has.
func TestMeasureManySchedules(t *testing.T) {
	t.Parallel()
	f := newTimed(t, rpctest.Everything)
	f.publish()
	const learners = 2*impactBatch + 1
	run(t, f.world, `INSERT INTO learner (course_id, account_id, enrolled_at) SELECT $1, 'account_' || n, $2 FROM generate_series(1, $3::int) AS n`, f.course, may, learners)
	f.at(may.AddDate(0, 0, 2))
	later := map[string]*releasepb.Schedule{f.m1: {AvailableFrom: at(may.AddDate(1, 0, 0))}}
	res, err := f.items.MeasureImpact(t.Context(), &learningpb.MeasureImpactRequest{CourseId: f.course, Rescheduled: []*learningpb.ItemSchedules{wayTo(f.ruled, f.l1, later), wayTo(f.ruled, f.l2, later)}})
	if err != nil || res.GetLearners() != learners || len(res.GetItems()) != 2 || res.GetItems()[0].GetLearners() != learners || res.GetItems()[1].GetLearners() != learners || len(res.GetItems()[0].GetAccountIds()) != maxNamed {
		t.Errorf("%v, %v", res, err)
	}
}

// What is measured is what learners see: it is told of exactly those for whom an item is
// open before a publishing and is not after it.
func TestMeasuredSchedulesAreMet(t *testing.T) {
	t.Parallel()
	f := newTimed(t, rpctest.Everything)
	f.item(f.l2).Release = fromRule(day(5))
	hear(f.world, f.service.cohortChanged, &accesspb.CohortChanged{CohortId: f.cohorts[0], CourseId: f.course, Name: "Spring", StartsAt: timestamppb.New(day(3)), Version: 1})
	f.publish()
	people := newIDs("account", 6)
	for i, p := range people {
		hear(f.world, f.service.enrollmentStarted, enrolled(f.course, p, i))
		if i%3 == 0 {
			hear(f.world, f.service.cohortMembershipChanged, &accesspb.CohortMembershipChanged{CourseId: f.course, AccountId: p, CohortId: f.cohorts[0], Version: 1})
		}
	}
	items := []string{f.l1, f.l2, f.q1}
	open := func(t failer, now time.Time) map[string]bool {
		f.work(t)
		out := map[string]bool{}
		for _, p := range people {
			list, err := f.service.persons(f.t.Context(), f.db, p, now, f.course)
			if err != nil {
				t.Fatalf("%v", err)
			}
			for _, it := range items {
				if release.Eval(list[0].rule(list[0].version.byID[it]), list[0].facts, now).Open {
					out[it+" "+p] = true
				}
			}
		}
		return out
	}
	rapid.Check(t, func(rt *rapid.T) {
		next := proto.CloneOf(f.publication)
		schedules := map[string]*releasepb.Schedule{}
		for _, it := range next.GetItems() {
			it.Schedule = rapid.SampledFrom([]*releasepb.Schedule{nil, nil, {AvailableFrom: afterStart(2, "")}, {AvailableFrom: at(day(6))}, {AvailableFrom: at(day(9))}}).Draw(rt, "schedule")
			schedules[it.GetId()] = it.GetSchedule()
		}
		if rapid.Bool().Draw(rt, "override") {
			if err := f.override(rapid.SampledFrom([]string{f.l1, f.m1, f.m2}).Draw(rt, "item"), rapid.SampledFrom(append(f.cohorts[:1:1], people[:2]...)).Draw(rt, "target"),
				to(at(day(rapid.IntRange(3, 9).Draw(rt, "from")))), nil, nil); err != nil {
				rt.Fatalf("%v", err)
			}
		}
		now := day(rapid.IntRange(3, 9).Draw(rt, "now")).Add(time.Minute)
		before := open(rt, now)
		f.at(now.Add(-time.Second))
		req := &learningpb.MeasureImpactRequest{CourseId: f.course}
		for _, it := range items {
			req.Rescheduled = append(req.Rescheduled, wayTo(f.ruled, it, schedules))
		}
		res, err := f.items.MeasureImpact(f.t.Context(), req)
		if err != nil {
			rt.Fatalf("%v", err)
		}
		f.publication = next
		f.publish()
		after := open(rt, now)
		want, got := map[string]string{}, map[string]string{}
		for _, it := range items {
			for _, p := range people {
				if before[it+" "+p] && !after[it+" "+p] {
					want[it] += " " + p
				}
			}
		}
		for _, one := range res.GetItems() {
			for _, p := range people {
				for _, named := range one.GetAccountIds() {
					if p == named {
						got[one.GetItemId()] += " " + p
					}
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("at %s (-closed by publishing +measured):\n%s", now, diff)
		}
	})
}

// Who has looked at something has reached it, though that does not complete it and they
// have gone on elsewhere.
func TestMeasureWhatWasBegun(t *testing.T) {
	t.Parallel()
	r := served(t, rpctest.Everything)
	r.item(r.l3).Completion = completion1(&need{Kind: "manual"})
	r.publish()
	people := newIDs("account", 2)
	for _, p := range people {
		hear(r.world, r.service.enrollmentStarted, enrolled(r.course, p, 0))
	}
	r.view(people[0], r.course, r.l3)
	r.view(people[0], r.course, r.l1)
	res, err := r.items.MeasureImpact(t.Context(), &learningpb.MeasureImpactRequest{CourseId: r.course, RemovedIds: []string{r.l3}})
	if err != nil || res.GetLearners() != 1 || len(res.GetItems()) != 1 || res.GetItems()[0].GetItemId() != r.l3 {
		t.Errorf("%v, %v", res, err)
	}
}
