package release

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
)

// Limits of one rule.
const (
	MaxDepth = 8
	MaxNodes = 100
)

// Validate returns what is wrong with a rule, whatever course it is of. Paths
// begin at the rule.
func Validate(rule *releasepb.Rule) []fault.Field {
	v := &validation{}
	v.rule(rule, "", 1)
	return v.bad
}

type validation struct {
	bad   []fault.Field
	nodes int
}

func (v *validation) refuse(path, code, hint string) {
	v.bad = append(v.bad, fault.Field{Path: path, Code: code, Hint: hint})
}

// at joins a path and a step of it.
func at(path, step string) string {
	if path == "" {
		return step
	}
	return path + "." + step
}

func (v *validation) rule(rule *releasepb.Rule, path string, depth int) {
	v.nodes++
	switch {
	case v.nodes == MaxNodes+1:
		v.refuse(path, "release.too_large", fmt.Sprintf("A rule has at most %d nodes.", MaxNodes))
	case depth > MaxDepth:
		v.refuse(path, "release.too_deep", fmt.Sprintf("A rule is at most %d deep.", MaxDepth))
	}
	if v.nodes > MaxNodes || depth > MaxDepth {
		return
	}
	list := func(rules *releasepb.Rules, name string) {
		for i, inner := range rules.GetRules() {
			v.rule(inner, at(path, name+".rules["+strconv.Itoa(i)+"]"), depth+1)
		}
	}
	switch c := rule.GetCondition().(type) {
	case *releasepb.Rule_All:
		list(c.All, "all")
	case *releasepb.Rule_Any:
		list(c.Any, "any")
	case *releasepb.Rule_Not:
		v.rule(c.Not, at(path, "not"), depth+1)
	case *releasepb.Rule_Date:
		from, until := c.Date.GetFrom(), c.Date.GetUntil()
		switch {
		case from == nil && until == nil:
			v.refuse(at(path, "date"), "release.no_date", "Say from when on, until when, or both.")
		case from != nil && !from.IsValid() || until != nil && !until.IsValid():
			v.refuse(at(path, "date"), "release.bad_date", "Name moments of the years 1 to 9999.")
		case from != nil && until != nil && !from.AsTime().Before(until.AsTime()):
			v.refuse(at(path, "date.until"), "release.empty_span", "Name a moment after that of from.")
		}
	case *releasepb.Rule_Score:
		least, most := percent(c.Score.GetMinPercent()), percent(c.Score.GetMaxPercent())
		switch {
		case least == nil && most == nil:
			v.refuse(at(path, "score"), "release.no_bound", "Name the least percentage, the largest, or both.")
		case least != nil && most != nil && least.Cmp(most) > 0:
			v.refuse(at(path, "score.max_percent"), "release.empty_span", "Name a percentage that is not below the least.")
		}
	case nil:
		v.refuse(path, "release.no_condition", "Say what has to hold.")
	}
}

// percent returns a decimal, nil when it is empty or none.
func percent(text string) *big.Rat {
	if strings.ContainsAny(text, "eE/") {
		return nil
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil
	}
	return r
}

// ValidateSchedule returns what is wrong with a schedule. Paths begin at it.
func ValidateSchedule(schedule *releasepb.Schedule) []fault.Field {
	v := &validation{}
	from, due, until := schedule.GetAvailableFrom(), schedule.GetDue(), schedule.GetUntil()
	for _, m := range []struct {
		path   string
		moment *releasepb.Moment
	}{{"available_from", from}, {"due", due}, {"until", until}} {
		switch {
		case m.moment == nil:
		case m.moment.GetAt() == nil && m.moment.GetAfterStart() == nil:
			v.refuse(m.path, "release.no_moment", "Name a moment, or leave it out.")
		case m.moment.GetAt() != nil && !m.moment.GetAt().IsValid():
			v.refuse(m.path+".at", "release.bad_date", "Name a moment of the years 1 to 9999.")
		}
	}
	if len(v.bad) > 0 {
		return v.bad
	}
	if after(from, due) {
		v.refuse("due", "release.empty_span", "Name a moment that is not before available_from.")
	}
	if after(due, until) || after(from, until) {
		v.refuse("until", "release.empty_span", "Name a moment that is not before due and available_from.")
	}
	return v.bad
}

// after reports whether one moment is after another, as far as that can be said
// of all learners: a date and a moment after somebody's start can't be compared.
func after(a, b *releasepb.Moment) bool {
	switch {
	case a.GetAt() != nil && b.GetAt() != nil:
		return a.GetAt().AsTime().After(b.GetAt().AsTime())
	case a.GetAfterStart() != nil && b.GetAfterStart() != nil:
		x, y := a.GetAfterStart(), b.GetAfterStart()
		return x.GetDays() > y.GetDays() || x.GetDays() == y.GetDays() && x.GetTime() != "" && y.GetTime() != "" && x.GetTime() > y.GetTime()
	default:
		return false
	}
}

// ValidateCompletion returns what is wrong with what completes an item of a
// kind: "module", "lesson", "quiz" or "assignment". Paths begin at it.
func ValidateCompletion(kind string, completion *releasepb.Completion) []fault.Field {
	v := &validation{}
	if kind == "module" {
		v.refuse("", "completion.of_module", "Leave it out: a module is completed when all that is required in it is.")
		return v.bad
	}
	seen := map[string]bool{}
	for i, r := range completion.GetRequirements() {
		path := "requirements[" + strconv.Itoa(i) + "]"
		if seen[r.GetKind()] {
			v.refuse(path+".kind", "completion.twice", "Name each kind once.")
		}
		seen[r.GetKind()] = true
		graded := kind == "quiz" || kind == "assignment"
		switch r.GetKind() {
		case "viewed", "manual":
		case "watched":
			if graded {
				v.refuse(path+".kind", "completion.not_of_kind", "Only a lesson is watched.")
			}
			if r.GetWatchPercent() < 1 || r.GetWatchPercent() > 100 {
				v.refuse(path+".watch_percent", "completion.bad_percent", "Name a percentage from 1 to 100.")
			}
		default:
			if !graded {
				v.refuse(path+".kind", "completion.not_of_kind", "Only a quiz or an assignment is submitted, scored or passed.")
			}
			if r.GetKind() == "scored" && percent(r.GetMinPercent()) == nil {
				v.refuse(path+".min_percent", "completion.bad_percent", "Name a percentage such as 62.5.")
			}
		}
	}
	return v.bad
}
