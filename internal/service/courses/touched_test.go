package courses

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

func rawDocument(t *testing.T, text string) map[string]json.RawMessage {
	t.Helper()
	var doc map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func after(days int32) *releasepb.Rule {
	return &releasepb.Rule{Condition: &releasepb.Rule_Enrolled{Enrolled: &releasepb.EnrolledCondition{Days: days}}}
}

// TestCompareRules: an item is under other rules when its own, that of a module
// above or that of the course changes, or when it comes under others by a move.
func TestCompareRules(t *testing.T) {
	t.Parallel()
	it := func(id, parent string, version int64) placed {
		kind := "lesson"
		if id[0] == 'm' {
			kind = "module"
		}
		return placed{ID: id, ParentID: parent, Kind: kind, VersionID: version}
	}
	was := []placed{it("m1", "", 1), it("m2", "m1", 2), it("a", "m1", 3), it("b", "m2", 4), it("m3", "", 5), it("c", "m3", 6)}
	rules := map[int64]*releasepb.Rule{5: after(5), 11: after(1), 13: after(3), 4: after(4)}
	for name, c := range map[string]struct {
		is           []placed
		outer, later *releasepb.Rule
		want         []string
	}{
		"the same":         {was, nil, nil, nil},
		"the same course":  {was, after(7), after(7), nil},
		"the course":       {was, nil, after(7), []string{"changed a: 7", "changed b: 7 4", "changed c: 7 5"}},
		"its own":          {[]placed{it("m1", "", 1), it("m2", "m1", 2), it("a", "m1", 13), it("b", "m2", 4), it("m3", "", 5), it("c", "m3", 6)}, nil, nil, []string{"changed a: 3"}},
		"another text":     {[]placed{it("m1", "", 1), it("m2", "m1", 2), it("a", "m1", 33), it("b", "m2", 4), it("m3", "", 5), it("c", "m3", 6)}, nil, nil, nil},
		"a module above":   {[]placed{it("m1", "", 11), it("m2", "m1", 2), it("a", "m1", 3), it("b", "m2", 4), it("m3", "", 5), it("c", "m3", 6)}, nil, nil, []string{"changed a: 1", "changed b: 1 4"}},
		"a move":           {[]placed{it("m1", "", 1), it("m2", "m3", 2), it("a", "m1", 3), it("b", "m2", 4), it("m3", "", 5), it("c", "m1", 6)}, nil, nil, []string{"changed b: 5 4", "changed c: "}},
		"gone with module": {[]placed{it("m1", "", 1), it("m2", "m1", 2), it("a", "m1", 3), it("b", "m2", 4)}, nil, nil, []string{"removed c"}},
	} {
		// Only what is to be read is there.
		had := map[int64]*releasepb.Rule{}
		for _, versionID := range versionsToRead(byID(was), byID(c.is), c.outer.GetEnrolled().GetDays() != c.later.GetEnrolled().GetDays()) {
			if r := rules[versionID]; r != nil {
				had[versionID] = r
			}
		}
		touched := compareRules(byID(was), byID(c.is), c.outer, c.later, had)
		var got []string
		for _, itemID := range touched.removed {
			got = append(got, "removed "+itemID)
		}
		for _, ch := range touched.changed {
			text := "changed " + ch.GetItemId() + ":"
			for _, r := range ch.GetRules() {
				text += fmt.Sprint(" ", r.GetEnrolled().GetDays())
			}
			if len(ch.GetRules()) == 0 {
				text += " "
			}
			got = append(got, text)
		}
		slices.Sort(got)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// TestImpactToken: a token is good for the same items and a few learners more.
func TestImpactToken(t *testing.T) {
	t.Parallel()
	impact := func(learners int32, items ...string) *learningpb.MeasureImpactResponse {
		out := &learningpb.MeasureImpactResponse{Learners: learners}
		for _, itemID := range items {
			out.Items = append(out.Items, &learningpb.ItemImpact{ItemId: itemID, Change: "removed", Learners: learners})
		}
		return out
	}
	token := tokenOf(impact(100, "a", "b"))
	for name, c := range map[string]struct {
		token string
		now   *learningpb.MeasureImpactResponse
		want  bool
	}{
		"the same":         {token, impact(100, "a", "b"), true},
		"in another order": {token, impact(100, "b", "a"), true},
		"a few more":       {token, impact(110, "a", "b"), true},
		"fewer":            {token, impact(1, "a", "b"), true},
		"many more":        {token, impact(111, "a", "b"), false},
		"another item":     {token, impact(100, "a", "c"), false},
		"one item more":    {token, impact(100, "a", "b", "c"), false},
		"none":             {"", impact(1, "a"), false},
		"nonsense":         {"-1-x", impact(1, "a"), false},
	} {
		if got := accepts(c.token, c.now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if tokenOf(impact(0)) != "" {
		t.Error("nobody is touched and there is a token")
	}
}

// TestCompareSchedules: an item is on another way when its own schedule, or that of a
// module above, changes, or when it comes under another by a move; what nothing of the
// new way can close is left out.
func TestCompareSchedules(t *testing.T) {
	t.Parallel()
	it := func(id, parent string, version int64) placed {
		kind := "lesson"
		if id[0] == 'm' {
			kind = "module"
		}
		return placed{ID: id, ParentID: parent, Kind: kind, VersionID: version}
	}
	in := func(days int32) *releasepb.Moment {
		return &releasepb.Moment{When: &releasepb.Moment_AfterStart{AfterStart: &releasepb.RelativeMoment{Days: days}}}
	}
	schedules := map[int64]*releasepb.Schedule{
		3: {Until: in(3)}, 5: {AvailableFrom: in(5)}, 11: {AvailableFrom: in(1)}, 13: {Until: in(2)}, 15: {Due: in(5)}, 23: {AvailableFrom: in(3)},
	}
	was := []placed{it("m1", "", 1), it("m2", "m1", 2), it("a", "m1", 3), it("b", "m2", 4), it("m3", "", 5), it("c", "m3", 6)}
	for name, c := range map[string]struct {
		is   []placed
		want []string
	}{
		"the same":          {was, nil},
		"its own":           {[]placed{it("m1", "", 1), it("m2", "m1", 2), it("a", "m1", 13), it("b", "m2", 4), it("m3", "", 5), it("c", "m3", 6)}, []string{"a: m1:- a:-/2"}},
		"its own, later":    {[]placed{it("m1", "", 1), it("m2", "m1", 2), it("a", "m1", 23), it("b", "m2", 4), it("m3", "", 5), it("c", "m3", 6)}, []string{"a: m1:- a:3/-"}},
		"none any more":     {[]placed{it("m1", "", 1), it("m2", "m1", 2), it("a", "m1", 33), it("b", "m2", 4), it("m3", "", 15), it("c", "m3", 6)}, nil},
		"a module above":    {[]placed{it("m1", "", 11), it("m2", "m1", 2), it("a", "m1", 3), it("b", "m2", 4), it("m3", "", 5), it("c", "m3", 6)}, []string{"a: m1:1/- a:-/3", "b: m1:1/- m2:- b:-"}},
		"a move":            {[]placed{it("m1", "", 1), it("m2", "m3", 2), it("a", "m1", 3), it("b", "m2", 4), it("m3", "", 5), it("c", "m1", 6)}, []string{"b: m3:5/- m2:- b:-"}},
		"another text":      {[]placed{it("m1", "", 31), it("m2", "m1", 2), it("a", "m1", 3), it("b", "m2", 4), it("m3", "", 5), it("c", "m3", 36)}, nil},
		"gone with modules": {[]placed{it("m1", "", 1)}, nil},
	} {
		// Only what is to be read is there.
		had := map[int64]*releasepb.Schedule{}
		for _, versionID := range versionsToRead(byID(was), byID(c.is), false) {
			if sc := schedules[versionID]; sc != nil {
				had[versionID] = sc
			}
		}
		show := func(m *releasepb.Moment) string {
			if m == nil {
				return "-"
			}
			return fmt.Sprint(m.GetAfterStart().GetDays())
		}
		var got []string
		for _, one := range compareSchedules(byID(was), byID(c.is), had) {
			text := one.GetItemId() + ":"
			for _, own := range one.GetWay() {
				text += " " + own.GetItemId() + ":"
				if sc := own.GetSchedule(); sc == nil {
					text += "-"
				} else {
					text += show(sc.GetAvailableFrom()) + "/" + show(sc.GetUntil())
				}
			}
			got = append(got, text)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}
