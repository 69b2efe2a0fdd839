// Package release evaluates the rules of when parts of a course are open, and
// the moments by which they are due.
//
// A rule is a tree of conditions, written as a [releasepb.Rule]. [Compile] makes
// a [Rule] of it, which items, modules and whole courses have alike; what a thing
// is under from the top of the course down is put together by [Join]. [Eval]
// decides whether it is open to somebody, [Explain] shows the whole tree.
//
// # What is closed, and what is shown of it
//
// Something is open when the whole tree holds. Where it does not, some nodes keep
// it closed, and these are found from the top down:
//
//   - The top node, when it does not hold.
//   - Below "all" that has to hold: each part that does not. Below "any" that has
//     to hold: each part, as none does.
//   - Below "not" that has to hold: its part, which has to not hold and does. Below
//     "all" that has to not hold: each part. Below "any" that has to not hold: each
//     part that holds.
//
// A node's when_closed counts only where the node does not hold and is among
// these: a node that keeps something closed by holding, below a "not", has no say.
// The thing is hidden when one of them says "hide", and locked otherwise. So "any"
// of one that hides and one that locks is hidden while both are missing.
//
// The reasons that are told are those of the conditions among these nodes. Where
// a node of them that does not hold has a reason of its own, that is told instead
// of those below it.
//
// # Time
//
// Only dates and days since enrollment change as time goes; all other facts are
// taken as they are. A node can change its value only at the moments that its
// dates and days name, so that the next opening and the next closing are found by
// looking at these, and are exact.
package release

import (
	"slices"
	"time"

	"github.com/stoa-lms/stoa/internal/release/releasepb"
)

// Limits of one rule.
const (
	MaxNodes = 100
	MaxDepth = 8
)

// Rule is a rule that can be evaluated. A nil one always holds. It is never
// changed, so that many may use it at once.
type Rule struct {
	root *node
}

type kind uint8

const (
	never kind = iota // what could not be understood
	all
	some
	not
	date
	available // as date, of a schedule
	enrolled
	completed
	score
	cohort
	group
	role
	course
)

// names of the kinds, as reasons and explanations tell them.
var names = [...]string{
	never: "never", all: "all", some: "any", not: "not", date: "date", available: "available_from", enrolled: "enrolled",
	completed: "completed", score: "score", cohort: "cohort", group: "group", role: "role", course: "course_completed",
}

type node struct {
	kind        kind
	parts       []*node
	hide        bool
	reason      string
	from, until time.Time // of date; zero for no bound
	days        int       // of enrolled
	ids         []string  // the item, cohorts, groups, roles or course
	low, high   *Percent  // of score
	timed       bool      // whether time alone can change its value
}

// Compile returns the rule that a message describes, nil for none. What is not
// valid in it never holds: a rule that nobody can read keeps closed.
func Compile(r *releasepb.Rule) *Rule {
	if r == nil {
		return nil
	}
	return &Rule{root: compile(r, 1)}
}

func compile(r *releasepb.Rule, depth int) *node {
	n := &node{hide: r.GetWhenClosed() == "hide", reason: r.GetReason()}
	if depth > MaxDepth+1 {
		return n
	}
	parts := func(list []*releasepb.Rule) {
		for _, part := range list {
			n.parts = append(n.parts, compile(part, depth+1))
		}
	}
	switch c := r.GetCondition().(type) {
	case *releasepb.Rule_All:
		n.kind = all
		parts(c.All.GetRules())
	case *releasepb.Rule_Any:
		n.kind = some
		parts(c.Any.GetRules())
	case *releasepb.Rule_Not:
		n.kind = not
		parts([]*releasepb.Rule{c.Not})
	case *releasepb.Rule_Date:
		n.kind = date
		if t := c.Date.GetFrom(); t != nil {
			n.from = t.AsTime()
		}
		if t := c.Date.GetUntil(); t != nil {
			n.until = t.AsTime()
		}
		n.timed = true
	case *releasepb.Rule_Enrolled:
		n.kind, n.days, n.timed = enrolled, int(c.Enrolled.GetDays()), true
	case *releasepb.Rule_Completed:
		n.kind, n.ids = completed, []string{c.Completed.GetItemId()}
	case *releasepb.Rule_Score:
		n.kind, n.ids = score, []string{c.Score.GetItemId()}
		var lowFits, highFits bool
		n.low, lowFits = bound(c.Score.GetMinPercent())
		n.high, highFits = bound(c.Score.GetMaxPercent())
		if !lowFits || !highFits {
			n.kind = never
		}
	case *releasepb.Rule_Cohort:
		n.kind, n.ids = cohort, c.Cohort.GetCohortIds()
	case *releasepb.Rule_Group:
		n.kind, n.ids = group, c.Group.GetGroupIds()
	case *releasepb.Rule_Role:
		n.kind, n.ids = role, c.Role.GetRoles()
	case *releasepb.Rule_CourseCompleted:
		n.kind, n.ids = course, []string{c.CourseCompleted.GetCourseId()}
	}
	for _, part := range n.parts {
		n.timed = n.timed || part.timed
	}
	return n
}

func bound(text string) (*Percent, bool) {
	if text == "" {
		return nil, true
	}
	p, err := ParsePercent(text)
	return &p, err == nil
}

// Join returns the rule that holds when all of them do. Those that are nil are
// left out; of none it is nil.
func Join(rules ...*Rule) *Rule {
	var roots []*node
	for _, r := range rules {
		if r != nil {
			roots = append(roots, r.root)
		}
	}
	switch len(roots) {
	case 0:
		return nil
	case 1:
		return &Rule{root: roots[0]}
	}
	n := &node{kind: all, parts: roots}
	for _, part := range roots {
		n.timed = n.timed || part.timed
	}
	return &Rule{root: n}
}

// From returns the rule that holds from a moment on, as a schedule's
// available_from does.
func From(at time.Time) *Rule {
	return &Rule{root: &node{kind: available, from: at, timed: true}}
}

// CanHide reports whether what is under the rule can be hidden.
func (r *Rule) CanHide() bool {
	return r != nil && r.root.anyNode(func(n *node) bool { return n.hide })
}

// anyNode reports whether fn is true of a node at or below n.
func (n *node) anyNode(fn func(*node) bool) bool {
	return fn(n) || slices.ContainsFunc(n.parts, func(part *node) bool { return part.anyNode(fn) })
}

// Needs is what a rule asks about.
type Needs struct {
	Scores, Groups, Roles, Courses bool
}

// Needs returns which facts the rule asks for.
func (r *Rule) Needs() Needs {
	var out Needs
	if r == nil {
		return out
	}
	r.root.anyNode(func(n *node) bool {
		out.Scores = out.Scores || n.kind == score
		out.Groups = out.Groups || n.kind == group
		out.Roles = out.Roles || n.kind == role
		out.Courses = out.Courses || n.kind == course
		return false
	})
	return out
}

// Items returns the items that the rule asks about, as often as it does.
func (r *Rule) Items() []string {
	if r == nil {
		return nil
	}
	var out []string
	r.root.anyNode(func(n *node) bool {
		if n.kind == completed || n.kind == score {
			out = append(out, n.ids...)
		}
		return false
	})
	return out
}

// Facts are what rules ask about one person in one course.
type Facts struct {
	EnrolledAt time.Time          // zero for who is not enrolled
	Zone       *time.Location     // of the course; nil is UTC
	Completed  map[string]bool    // by item
	Scores     map[string]Percent // the posted scores, by item
	Cohort     string             // empty for none
	Groups     map[string]bool
	Roles      map[string]bool
	Courses    map[string]bool // the courses that were completed
}

func (f *Facts) zone() *time.Location {
	if f.Zone == nil {
		return time.UTC
	}
	return f.Zone
}

// holds reports whether the node holds at a moment.
func (n *node) holds(f *Facts, at time.Time) bool {
	switch n.kind {
	case all:
		for _, part := range n.parts {
			if !part.holds(f, at) {
				return false
			}
		}
		return true
	case some:
		for _, part := range n.parts {
			if part.holds(f, at) {
				return true
			}
		}
		return false
	case not:
		return !n.parts[0].holds(f, at)
	case date, available:
		return (n.from.IsZero() || !at.Before(n.from)) && (n.until.IsZero() || at.Before(n.until))
	case enrolled:
		return !f.EnrolledAt.IsZero() && !at.Before(EnrolledFor(f.EnrolledAt, n.days, f.zone()))
	case completed:
		return f.Completed[n.ids[0]]
	case score:
		p, ok := f.Scores[n.ids[0]]
		return ok && (n.low == nil || p >= *n.low) && (n.high == nil || p <= *n.high)
	case cohort:
		return f.Cohort != "" && slices.Contains(n.ids, f.Cohort)
	case group:
		return hasAny(f.Groups, n.ids)
	case role:
		return hasAny(f.Roles, n.ids)
	case course:
		return f.Courses[n.ids[0]]
	case never:
	}
	return false
}

func hasAny(set map[string]bool, ids []string) bool {
	return slices.ContainsFunc(ids, func(id string) bool { return set[id] })
}

// changes appends the moments after at when the node may change its value.
func (n *node) changes(f *Facts, at time.Time, to []time.Time) []time.Time {
	if !n.timed {
		return to
	}
	add := func(t time.Time) {
		if t.After(at) {
			to = append(to, t)
		}
	}
	switch n.kind {
	case date, available:
		add(n.from)
		add(n.until)
	case enrolled:
		if !f.EnrolledAt.IsZero() {
			add(EnrolledFor(f.EnrolledAt, n.days, f.zone()))
		}
	default:
		for _, part := range n.parts {
			to = part.changes(f, at, to)
		}
	}
	return to
}

// next returns the first moments after at when the node comes to hold and when
// it ceases to, as far as time alone makes it; zero for never.
func (n *node) next(f *Facts, at time.Time) (opens, closes time.Time) {
	if !n.timed {
		return opens, closes
	}
	points := n.changes(f, at, nil)
	slices.SortFunc(points, time.Time.Compare)
	was := n.holds(f, at)
	for _, t := range points {
		is := n.holds(f, t)
		switch {
		case is && !was && opens.IsZero():
			opens = t
		case !is && was && closes.IsZero():
			closes = t
		}
		if was = is; !opens.IsZero() && !closes.IsZero() {
			break
		}
	}
	return opens, closes
}

// Decision is whether something is open to somebody.
type Decision struct {
	Open    bool
	Hidden  bool      // never of what is open
	Missing []Reason  // why it is closed, at most [MaxReasons]
	OpensAt time.Time // when it opens by time alone; zero when it does not, or is open
}

// State returns "open", "locked" or "hidden".
func (d Decision) State() string {
	switch {
	case d.Open:
		return "open"
	case d.Hidden:
		return "hidden"
	default:
		return "locked"
	}
}

// MaxReasons is how many reasons are told.
const MaxReasons = 20

// Eval decides whether what is under a rule is open to somebody at a moment.
func Eval(r *Rule, f *Facts, at time.Time) Decision {
	if r == nil || r.root.holds(f, at) {
		return Decision{Open: true}
	}
	d := Decision{}
	r.root.blame(f, at, true, true, &d)
	d.OpensAt, _ = r.root.next(f, at)
	return d
}

// blame notes which nodes at or below n keep the thing closed: n has to have the
// value want, and has the other. tell is false below a node that has told its own
// reason.
func (n *node) blame(f *Facts, at time.Time, want, tell bool, d *Decision) {
	if want {
		d.Hidden = d.Hidden || n.hide
	}
	leaf := n.kind == never || n.kind >= date
	if tell && (leaf || want && n.reason != "") {
		if len(d.Missing) < MaxReasons {
			d.Missing = append(d.Missing, n.told(f, at, want))
		}
		tell = false
	}
	if leaf {
		return
	}
	for _, part := range n.parts {
		wanted := want != (n.kind == not)
		if part.holds(f, at) != wanted {
			part.blame(f, at, wanted, tell, d)
		}
	}
}

// Next returns when time alone next opens what is under a rule, and when it next
// closes it; zero for never. What is closed now closes after it has opened.
func Next(r *Rule, f *Facts, at time.Time) (opens, closes time.Time) {
	if r == nil {
		return opens, closes
	}
	return r.root.next(f, at)
}
