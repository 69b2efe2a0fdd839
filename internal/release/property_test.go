package release

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
)

// The naive model: written anew from the contract, on messages, with percentages
// as fractions and time tried minute by minute.

type naive struct {
	enrolled  time.Time
	zone      *time.Location
	completed []string
	scores    map[string]string
	cohort    string
	groups    []string
	roles     []string
	courses   []string
}

func (n naive) facts() *Facts {
	set := func(list []string) map[string]bool {
		out := map[string]bool{}
		for _, one := range list {
			out[one] = true
		}
		return out
	}
	f := &Facts{
		EnrolledAt: n.enrolled, Zone: n.zone, Completed: set(n.completed), Scores: map[string]Percent{}, Cohort: n.cohort,
		Groups: set(n.groups), Roles: set(n.roles), Courses: set(n.courses),
	}
	for item, text := range n.scores {
		p, err := ParsePercent(text)
		if err != nil {
			panic(err)
		}
		f.Scores[item] = p
	}
	return f
}

func overlap(a, b []string) bool {
	for _, x := range a {
		if slices.Contains(b, x) {
			return true
		}
	}
	return false
}

func (n naive) holds(r *releasepb.Rule, at time.Time) bool {
	if c := r.GetAll(); c != nil {
		ok := true
		for _, part := range c.GetRules() {
			ok = n.holds(part, at) && ok
		}
		return ok
	}
	if c := r.GetAny(); c != nil {
		ok := false
		for _, part := range c.GetRules() {
			ok = n.holds(part, at) || ok
		}
		return ok
	}
	if c := r.GetNot(); c != nil {
		return !n.holds(c, at)
	}
	if c := r.GetDate(); c != nil {
		after := c.GetFrom() == nil || at.UnixNano() >= c.GetFrom().AsTime().UnixNano()
		before := c.GetUntil() == nil || at.UnixNano() < c.GetUntil().AsTime().UnixNano()
		return after && before
	}
	if c := r.GetEnrolled(); c != nil {
		// Days of the calendar that have begun since.
		if n.enrolled.IsZero() || at.Before(n.enrolled) {
			return false
		}
		return dayNumber(at.In(n.zone))-dayNumber(n.enrolled.In(n.zone)) >= int(c.GetDays())
	}
	if c := r.GetCompleted(); c != nil {
		return slices.Contains(n.completed, c.GetItemId())
	}
	if c := r.GetScore(); c != nil {
		text, ok := n.scores[c.GetItemId()]
		return ok && (c.GetMinPercent() == "" || less(c.GetMinPercent(), text, true)) && (c.GetMaxPercent() == "" || less(text, c.GetMaxPercent(), true))
	}
	if c := r.GetCohort(); c != nil {
		return n.cohort != "" && slices.Contains(c.GetCohortIds(), n.cohort)
	}
	if c := r.GetGroup(); c != nil {
		return overlap(c.GetGroupIds(), n.groups)
	}
	if c := r.GetRole(); c != nil {
		return overlap(c.GetRoles(), n.roles)
	}
	if c := r.GetCourseCompleted(); c != nil {
		return slices.Contains(n.courses, c.GetCourseId())
	}
	return false
}

func dayNumber(t time.Time) int {
	return int(time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

// less compares decimals digit by digit.
func less(a, b string, orSame bool) bool {
	pad := func(s string) string {
		whole, fraction := s, ""
		if i := slices.Index([]byte(s), '.'); i >= 0 {
			whole, fraction = s[:i], s[i+1:]
		}
		return fmt.Sprintf("%012s.%-4s", whole, fraction)
	}
	x, y := []byte(pad(a)), []byte(pad(b))
	for i := range x {
		cx, cy := max(x[i], '0'), max(y[i], '0')
		if cx != cy {
			return cx < cy
		}
	}
	return orSame
}

// hidden is the contract's sentence: a node hides where it does not hold and
// keeps the thing closed.
func (n naive) hidden(r *releasepb.Rule, at time.Time, needed bool) bool {
	if n.holds(r, at) == needed {
		return false
	}
	if needed && r.GetWhenClosed() == "hide" {
		return true
	}
	parts := append(slices.Clone(r.GetAll().GetRules()), r.GetAny().GetRules()...)
	for _, part := range parts {
		if n.hidden(part, at, needed) {
			return true
		}
	}
	return r.GetNot() != nil && n.hidden(r.GetNot(), at, !needed)
}

var (
	base  = time.Date(2026, 3, 27, 12, 0, 0, 0, time.UTC)
	zones = []string{"UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"}
)

// moments within a fortnight over a change of clocks, at full quarters of hours.
func drawMoment(t *rapid.T, name string) time.Time {
	return base.Add(time.Duration(rapid.IntRange(-96, 14*96).Draw(t, name)) * 15 * time.Minute)
}

func drawRule(t *rapid.T, depth int) *releasepb.Rule {
	r := &releasepb.Rule{WhenClosed: rapid.SampledFrom([]string{"", "lock", "hide"}).Draw(t, "closed")}
	few := func(prefix string) []string {
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string { return prefix + rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "id") }), 1, 2).Draw(t, "ids")
	}
	low := 3
	if depth <= 1 {
		low = 0
	}
	switch kind := rapid.IntRange(-low, 7).Draw(t, "kind"); kind {
	case -3, -2:
		parts := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *releasepb.Rule { return drawRule(t, depth-1) }), 0, 3).Draw(t, "parts")
		if kind == -3 {
			r.Condition = &releasepb.Rule_All{All: &releasepb.Rules{Rules: parts}}
		} else {
			r.Condition = &releasepb.Rule_Any{Any: &releasepb.Rules{Rules: parts}}
		}
	case -1:
		r.Condition = &releasepb.Rule_Not{Not: drawRule(t, depth-1)}
	case 0, 1:
		d := &releasepb.DateCondition{}
		if kind == 0 || rapid.Bool().Draw(t, "both") {
			d.From = timestamppb.New(drawMoment(t, "from"))
		}
		if kind == 1 {
			d.Until = timestamppb.New(drawMoment(t, "until"))
		}
		r.Condition = &releasepb.Rule_Date{Date: d}
	case 2:
		r.Condition = &releasepb.Rule_Enrolled{Enrolled: &releasepb.EnrolledCondition{Days: rapid.Int32Range(0, 10).Draw(t, "days")}}
	case 3:
		r.Condition = &releasepb.Rule_Completed{Completed: &releasepb.CompletedCondition{ItemId: few("item")[0]}}
	case 4:
		r.Condition = &releasepb.Rule_Score{Score: &releasepb.ScoreCondition{
			ItemId: few("item")[0], MinPercent: rapid.SampledFrom([]string{"", "50", "62.5", "9.9999"}).Draw(t, "min"), MaxPercent: rapid.SampledFrom([]string{"", "62.5", "100"}).Draw(t, "max"),
		}}
	case 5:
		r.Condition = &releasepb.Rule_Cohort{Cohort: &releasepb.CohortCondition{CohortIds: few("cohort")}}
	case 6:
		r.Condition = &releasepb.Rule_Group{Group: &releasepb.GroupCondition{GroupIds: few("group")}}
	default:
		if rapid.Bool().Draw(t, "role") {
			r.Condition = &releasepb.Rule_Role{Role: &releasepb.RoleCondition{Roles: []string{rapid.SampledFrom([]string{"student", "grader"}).Draw(t, "role")}}}
		} else {
			r.Condition = &releasepb.Rule_CourseCompleted{CourseCompleted: &releasepb.CourseCompletedCondition{CourseId: few("course")[0]}}
		}
	}
	return r
}

func drawNaive(t *rapid.T) naive {
	zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
	if err != nil {
		t.Fatal(err)
	}
	some := func(prefix string) []string {
		var out []string
		for _, n := range []string{"1", "2", "3"} {
			if rapid.Bool().Draw(t, prefix+n) {
				out = append(out, prefix+n)
			}
		}
		return out
	}
	n := naive{zone: zone, completed: some("item"), groups: some("group"), courses: some("course"), scores: map[string]string{}}
	n.cohort = rapid.SampledFrom([]string{"", "cohort1", "cohort2"}).Draw(t, "cohort")
	for _, item := range some("item") {
		n.scores[item] = rapid.SampledFrom([]string{"0", "9.9999", "10", "50", "62.4999", "62.5", "100", "110"}).Draw(t, "score")
	}
	if rapid.IntRange(0, 4).Draw(t, "enrolled") > 0 {
		n.enrolled, n.roles = drawMoment(t, "enrolled at"), []string{"student"}
	}
	return n
}

func TestEvalIsTheNaiveModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r, n, at := drawRule(t, 4), drawNaive(t), drawMoment(t, "at")
		if wrong := Validate(r); len(wrong) > 0 && slices.ContainsFunc(wrong, func(f fault.Field) bool { return f.Code == "rule.too_deep" }) {
			t.Fatalf("%v", wrong)
		}
		d, node := Explain(Compile(r), n.facts(), at)
		if d.Open != n.holds(r, at) || node.Holds != d.Open || node.Keeps == d.Open {
			t.Fatalf("open %t, node %+v", d.Open, node)
		}
		if d.Hidden != n.hidden(r, at, true) {
			t.Fatalf("hidden %t of %v", d.Hidden, r)
		}
		if d.Open == (len(d.Missing) > 0) && (d.Open || !emptyAny(r)) {
			t.Fatalf("open %t, missing %v", d.Open, d.Missing)
		}
		// Time alone, a quarter of an hour at a time, as all that is drawn is at one.
		var opens, closes time.Time
		was := d.Open
		for next := at.Truncate(15 * time.Minute).Add(15 * time.Minute); next.Before(base.Add(40 * 24 * time.Hour)); next = next.Add(15 * time.Minute) {
			is := n.holds(r, next)
			if is && !was && opens.IsZero() {
				opens = next
			}
			if !is && was && closes.IsZero() {
				closes = next
			}
			was = is
		}
		if !node.OpensAt.Equal(opens) || !node.ClosesAt.Equal(closes) {
			t.Fatalf("opens %v and closes %v, want %v and %v", node.OpensAt, node.ClosesAt, opens, closes)
		}
		if !d.Open && !d.OpensAt.Equal(opens) {
			t.Fatalf("decision opens %v, want %v", d.OpensAt, opens)
		}
	})
}

// emptyAny reports whether an "any" of nothing may be what keeps closed: nothing
// is missing then.
func emptyAny(r *releasepb.Rule) bool {
	if r.GetAny() != nil && len(r.GetAny().GetRules()) == 0 || r.GetAll() != nil && len(r.GetAll().GetRules()) == 0 {
		return true
	}
	return r.GetNot() != nil && emptyAny(r.GetNot()) ||
		slices.ContainsFunc(append(slices.Clone(r.GetAll().GetRules()), r.GetAny().GetRules()...), emptyAny)
}

// What CheckCourse says nobody can open, no one opens, however they go about it:
// a random walk through the course never finds it open.
func TestCheckCourseIsRight(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		items := make([]Item, 3)
		for i := range items {
			items[i] = Item{ID: fmt.Sprintf("item%d", i+1), Kind: rapid.SampledFrom([]string{"lesson", "quiz"}).Draw(t, "kind"), Required: true}
			if rapid.Bool().Draw(t, "ruled") {
				items[i].Release = drawRule(t, 3)
			}
		}
		dead := map[string]bool{}
		for _, f := range CheckCourse(items) {
			if f.Code == "release.cycle" {
				for _, item := range f.Path {
					dead[item] = true
				}
			}
		}
		n := drawNaive(t)
		n.completed, n.scores = nil, map[string]string{}
		for at := base.Add(-48 * time.Hour); at.Before(base.Add(20 * 24 * time.Hour)); at = at.Add(6 * time.Hour) {
			for _, it := range items {
				open := it.Release == nil || n.holds(it.Release, at)
				if open && dead[it.ID] {
					t.Fatalf("%s is open at %v, and said to be in a circle", it.ID, at)
				}
				if open && rapid.Bool().Draw(t, "does it") {
					n.completed = append(n.completed, it.ID)
					if it.Kind == "quiz" {
						n.scores[it.ID] = rapid.SampledFrom([]string{"0", "55", "62.5", "100"}).Draw(t, "score")
					}
				}
			}
		}
	})
}

func FuzzRule(f *testing.F) {
	for _, r := range []*releasepb.Rule{done("a"), and(or(no(between(1, 3))), scored("q", "62.5", "")), {}, no(nil), and(nil, &releasepb.Rule{Condition: &releasepb.Rule_Date{}})} {
		text, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r := &releasepb.Rule{}
		if proto.Unmarshal(text, r) != nil {
			return
		}
		wrong := Validate(r)
		facts := &Facts{EnrolledAt: base, Completed: map[string]bool{"a": true}}
		d, node := Explain(Compile(r), facts, base.Add(time.Hour))
		if d.Open != node.Holds || d.Open && d.Hidden || !d.OpensAt.IsZero() && !d.OpensAt.After(base.Add(time.Hour)) {
			t.Errorf("%+v, %+v", d, node)
		}
		for _, reason := range d.Missing {
			if reason.Sentence(nil, nil) == "" {
				t.Errorf("%+v is said with nothing", reason)
			}
		}
		if len(wrong) == 0 {
			CheckCourse([]Item{{ID: "a", Kind: "lesson", Required: true, Release: r}, {ID: "q", Kind: "quiz", Release: r}})
		}
	})
}
