package release

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/release/releasepb"
)

func done(item string) *releasepb.Rule {
	return &releasepb.Rule{Condition: &releasepb.Rule_Completed{Completed: &releasepb.CompletedCondition{ItemId: item}}}
}

func scored(item, low, high string) *releasepb.Rule {
	return &releasepb.Rule{Condition: &releasepb.Rule_Score{Score: &releasepb.ScoreCondition{ItemId: item, MinPercent: low, MaxPercent: high}}}
}

func and(rules ...*releasepb.Rule) *releasepb.Rule {
	return &releasepb.Rule{Condition: &releasepb.Rule_All{All: &releasepb.Rules{Rules: rules}}}
}

func or(rules ...*releasepb.Rule) *releasepb.Rule {
	return &releasepb.Rule{Condition: &releasepb.Rule_Any{Any: &releasepb.Rules{Rules: rules}}}
}

func no(r *releasepb.Rule) *releasepb.Rule {
	return &releasepb.Rule{Condition: &releasepb.Rule_Not{Not: r}}
}

// between is a date condition by days of May 2026; 0 is no bound.
func between(from, until int) *releasepb.Rule {
	d := &releasepb.DateCondition{}
	if from > 0 {
		d.From = timestamppb.New(time.Date(2026, 5, from, 0, 0, 0, 0, time.UTC))
	}
	if until > 0 {
		d.Until = timestamppb.New(time.Date(2026, 5, until, 0, 0, 0, 0, time.UTC))
	}
	return &releasepb.Rule{Condition: &releasepb.Rule_Date{Date: d}}
}

func days0(n int32) *releasepb.Rule {
	return &releasepb.Rule{Condition: &releasepb.Rule_Enrolled{Enrolled: &releasepb.EnrolledCondition{Days: n}}}
}

func inCohort(ids ...string) *releasepb.Rule {
	return &releasepb.Rule{Condition: &releasepb.Rule_Cohort{Cohort: &releasepb.CohortCondition{CohortIds: ids}}}
}

func TestCheckCourse(t *testing.T) {
	t.Parallel()
	lesson := func(id, parent string, r *releasepb.Rule) Item {
		return Item{ID: id, ParentID: parent, Kind: "lesson", Required: true, Release: r}
	}
	module := func(id string, r *releasepb.Rule) Item {
		return Item{ID: id, Kind: "module", Required: true, Release: r}
	}
	nothing := lesson("never", "", nil)
	nothing.Completion = &releasepb.Completion{}
	const cycle, dead, unknown = "release.cycle", "release.dead_end", "release.unknown_item"
	for name, c := range map[string]struct {
		items []Item
		want  []string
	}{
		"no rules":          {[]Item{module("m", nil), lesson("a", "m", nil)}, nil},
		"one after another": {[]Item{lesson("a", "", nil), lesson("b", "", done("a")), lesson("c", "", done("b"))}, nil},
		"backwards":         {[]Item{lesson("c", "", done("b")), lesson("b", "", done("a")), lesson("a", "", nil)}, nil},
		"itself":            {[]Item{lesson("a", "", done("a"))}, []string{"a release.cycle [a a]"}},
		"two":               {[]Item{lesson("a", "", done("b")), lesson("b", "", done("a"))}, []string{"a release.cycle [a b a]"}},
		"two and one behind": {
			[]Item{lesson("a", "", done("b")), lesson("b", "", done("a")), lesson("c", "", done("b"))},
			[]string{"a release.cycle [a b a]", "c release.dead_end [c b]"},
		},
		"another way":         {[]Item{lesson("a", "", or(done("b"), between(3, 0))), lesson("b", "", done("a"))}, nil},
		"not is no circle":    {[]Item{lesson("a", "", no(done("b"))), lesson("b", "", no(done("a")))}, nil},
		"until it is done":    {[]Item{lesson("a", "", no(done("a")))}, nil},
		"not not is a circle": {[]Item{lesson("a", "", no(no(done("a"))))}, []string{"a release.cycle [a a]"}},
		"module waits for its own": {
			[]Item{module("m", done("a")), lesson("a", "m", nil)}, []string{"m release.cycle [m a m]"},
		},
		"lesson waits for its module": {
			[]Item{module("m", nil), lesson("a", "m", done("m"))}, []string{"a release.cycle [a m a]"},
		},
		"not required in its module": {
			[]Item{module("m", nil), lesson("b", "m", nil), {ID: "a", ParentID: "m", Kind: "lesson", Release: done("m")}}, nil,
		},
		"modules wait for each other": {
			[]Item{module("m", done("n")), lesson("a", "m", nil), module("n", done("m")), lesson("b", "n", nil)},
			[]string{"m release.cycle [m n m]"},
		},
		"the course waits for its lesson": {
			[]Item{{ID: "course", Kind: "course", Release: done("a")}, lesson("a", "", nil)}, []string{"course release.cycle [course a course]"},
		},
		"unknown":              {[]Item{lesson("a", "", done("x"))}, []string{"a release.unknown_item [a x]"}},
		"unknown below not":    {[]Item{lesson("a", "", no(done("x")))}, []string{"a release.unknown_item [a x]"}},
		"unknown, another way": {[]Item{lesson("a", "", or(done("x"), days0(3)))}, []string{"a release.unknown_item [a x]"}},
		"nothing completes it": {[]Item{nothing, lesson("a", "", done("never"))}, []string{"a release.dead_end [a never]"}},
		"behind a dead end":    {[]Item{nothing, lesson("a", "", done("never")), lesson("b", "", done("a"))}, []string{"a release.dead_end [a never]", "b release.dead_end [b a never]"}},
		"empty module":         {[]Item{module("m", nil), lesson("a", "", done("m"))}, []string{"a release.dead_end [a m]"}},
		"module with a dead end": {
			[]Item{nothing, module("m", nil), lesson("a", "m", done("never")), lesson("b", "", done("m"))},
			[]string{"a release.dead_end [a never]", "b release.dead_end [b m a never]"},
		},
		"score of a lesson":     {[]Item{lesson("a", "", nil), lesson("b", "", scored("a", "50", ""))}, []string{"b release.dead_end [b a]"}},
		"score of a quiz":       {[]Item{{ID: "q", Kind: "quiz"}, lesson("b", "", scored("q", "50", ""))}, nil},
		"scores apart":          {[]Item{{ID: "q", Kind: "quiz"}, lesson("b", "", and(scored("q", "50", ""), scored("q", "", "49.9999")))}, []string{"b release.dead_end [b]"}},
		"scores touch":          {[]Item{{ID: "q", Kind: "quiz"}, lesson("b", "", and(scored("q", "50", ""), scored("q", "", "50")))}, nil},
		"at least and not":      {[]Item{{ID: "q", Kind: "quiz"}, lesson("b", "", and(scored("q", "50", ""), no(scored("q", "40", ""))))}, []string{"b release.dead_end [b]"}},
		"empty date":            {[]Item{lesson("a", "", between(3, 3))}, []string{"a release.dead_end [a]"}},
		"windows apart":         {[]Item{lesson("a", "", and(between(1, 3), between(3, 5)))}, []string{"a release.dead_end [a]"}},
		"windows overlap":       {[]Item{lesson("a", "", and(between(1, 4), between(3, 5)))}, nil},
		"outside of both":       {[]Item{lesson("a", "", and(no(between(1, 4)), between(2, 4)))}, []string{"a release.dead_end [a]"}},
		"not in the window":     {[]Item{lesson("a", "", and(no(between(1, 4)), between(2, 5)))}, nil},
		"against its module":    {[]Item{module("m", between(1, 3)), lesson("a", "m", between(4, 0))}, []string{"a release.dead_end [a]"}},
		"done and not":          {[]Item{lesson("a", "", nil), lesson("b", "", and(done("a"), no(done("a"))))}, []string{"b release.dead_end [b]"}},
		"two cohorts":           {[]Item{lesson("a", "", and(inCohort("x", "y"), inCohort("z")))}, []string{"a release.dead_end [a]"}},
		"cohorts that meet":     {[]Item{lesson("a", "", and(inCohort("x", "y"), inCohort("y", "z")))}, nil},
		"cohort and not":        {[]Item{lesson("a", "", and(inCohort("x", "y"), no(inCohort("x", "y", "z"))))}, []string{"a release.dead_end [a]"}},
		"days after and before": {[]Item{lesson("a", "", and(days0(7), no(days0(7))))}, []string{"a release.dead_end [a]"}},
		"days between":          {[]Item{lesson("a", "", and(days0(7), no(days0(8))))}, nil},
		"none of none":          {[]Item{lesson("a", "", or())}, []string{"a release.dead_end [a]"}},
		"in a circle of modules": {
			[]Item{{ID: "m", ParentID: "n", Kind: "module"}, {ID: "n", ParentID: "m", Kind: "module"}, lesson("a", "m", nil)}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, f := range CheckCourse(c.items) {
				if f.Message == "" || f.Code != cycle && f.Code != dead && f.Code != unknown {
					t.Errorf("%+v", f)
				}
				got = append(got, fmt.Sprint(f.ItemID, " ", f.Code, " ", f.Path))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A course as large as there is, each lesson after the next: the work grows with
// the course and not with its square.
func TestCheckLargeCourse(t *testing.T) {
	t.Parallel()
	items := make([]Item, 10_000)
	for i := range items {
		items[i] = Item{ID: fmt.Sprint("l", i), Kind: "lesson", Required: true}
		if i < len(items)-1 {
			items[i].Release = done(fmt.Sprint("l", i+1))
		}
	}
	start := time.Now()
	if got := CheckCourse(items); len(got) != 0 {
		t.Errorf("%d findings, first %+v", len(got), got[0])
	}
	items[len(items)-1].Release = done("l0")
	got := CheckCourse(items)
	if len(got) != 1 || got[0].Code != "release.cycle" || len(got[0].Path) != len(items)+1 {
		t.Errorf("%d findings", len(got))
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}
