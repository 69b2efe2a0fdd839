package release

import (
	"slices"
	"time"
)

// literal is a condition, or that it does not hold. An interval of time is one
// that never is negated: there are two besides instead.
type literal struct {
	*node

	neg         bool
	from, until time.Time // of dates
}

// conjunct are literals that have to hold together.
type conjunct []literal

// maxWays is how many ways of one rule are listed.
const maxWays = 1_000

// ways returns the ways in which n comes to have the value want: it has it when
// all literals of one of them hold. It reports false when there are too many.
func (n *node) ways(want bool) ([]conjunct, bool) {
	switch n.kind {
	case not:
		return n.parts[0].ways(!want)
	case all, some:
		if want == (n.kind == all) {
			return together(n.parts, want)
		}
		var out []conjunct
		for _, part := range n.parts {
			ways, ok := part.ways(want)
			if !ok || len(out)+len(ways) > maxWays {
				return nil, false
			}
			out = append(out, ways...)
		}
		return out, true
	case date, available:
		if want {
			return []conjunct{{{node: n, from: n.from, until: n.until}}}, true
		}
		var out []conjunct
		if !n.from.IsZero() {
			out = append(out, conjunct{{node: n, until: n.from}})
		}
		if !n.until.IsZero() {
			out = append(out, conjunct{{node: n, from: n.until}})
		}
		return out, true
	default:
		return []conjunct{{{node: n, neg: !want}}}, true
	}
}

// together returns the ways in which all parts come to have a value.
func together(parts []*node, want bool) ([]conjunct, bool) {
	out := []conjunct{nil}
	for _, part := range parts {
		ways, ok := part.ways(want)
		if !ok || len(out)*len(ways) > maxWays {
			return nil, false
		}
		var next []conjunct
		for _, a := range out {
			for _, b := range ways {
				next = append(next, append(slices.Clone(a), b...))
			}
		}
		out = next
	}
	return out, true
}

// possible reports whether the literals do not contradict each other.
func (w conjunct) possible() bool {
	var from, until time.Time
	atLeast, below := 0, int(^uint(0)>>1) // days enrolled
	var cohorts []string
	inCohort := false
	bounds := map[string][2]Percent{} // of scores that there are
	for _, l := range w {
		switch l.kind {
		case date, available:
			if l.from.After(from) {
				from = l.from
			}
			if !l.until.IsZero() && (until.IsZero() || l.until.Before(until)) {
				until = l.until
			}
		case enrolled:
			if l.neg {
				below = min(below, l.days)
			} else {
				atLeast = max(atLeast, l.days+1)
			}
		case cohort:
			if l.neg {
				continue
			}
			if !inCohort {
				inCohort, cohorts = true, slices.Clone(l.ids)
			}
			cohorts = slices.DeleteFunc(cohorts, func(c string) bool { return !slices.Contains(l.ids, c) })
		case score:
			if !l.neg {
				b, ok := bounds[l.ids[0]]
				if !ok {
					b = [2]Percent{-1 << 62, 1 << 62}
				}
				if l.low != nil {
					b[0] = max(b[0], *l.low)
				}
				if l.high != nil {
					b[1] = min(b[1], *l.high)
				}
				bounds[l.ids[0]] = b
			}
		case never:
			if !l.neg {
				return false
			}
		case all, some, not, completed, group, role, course:
		}
	}
	for _, b := range bounds {
		if b[0] > b[1] {
			return false
		}
	}
	switch {
	case !until.IsZero() && !from.Before(until), atLeast > below, inCohort && len(cohorts) == 0:
		return false
	}
	return !w.denied(bounds, cohorts)
}

// denied reports whether the literals say of something that it holds and that it
// does not.
func (w conjunct) denied(bounds map[string][2]Percent, cohorts []string) bool {
	given := func(kind kind, within []string) bool {
		return slices.ContainsFunc(w, func(l literal) bool {
			return l.kind == kind && !l.neg && !slices.ContainsFunc(l.ids, func(id string) bool { return !slices.Contains(within, id) })
		})
	}
	for _, l := range w {
		if !l.neg {
			continue
		}
		switch l.kind {
		case completed, course, group, role:
			if given(l.kind, l.ids) {
				return true
			}
		case cohort:
			if len(cohorts) > 0 && !slices.ContainsFunc(cohorts, func(c string) bool { return !slices.Contains(l.ids, c) }) {
				return true
			}
		case score:
			// All scores that are left are among those that must not be.
			if b, ok := bounds[l.ids[0]]; ok && (l.low == nil || *l.low <= b[0]) && (l.high == nil || b[1] <= *l.high) {
				return true
			}
		case never, all, some, not, date, available, enrolled:
		}
	}
	return false
}
