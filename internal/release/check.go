package release

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stoa-lms/stoa/internal/release/releasepb"
)

// Item is a part of a course, to check the rules of all of them together. The
// course itself is one of Kind "course" and of any ID; its rule holds for all.
type Item struct {
	ID       string
	ParentID string // the module that it is in; empty at the top
	Kind     string // "course", "module", "lesson", "quiz" or "assignment"
	Title    string // to say it by; the ID when empty
	Required bool
	Release  *releasepb.Rule
	// What completes it: nil is what completes its kind when nothing is said; one
	// without requirements means that nothing does.
	Completion *releasepb.Completion
}

// Finding is something in the rules of a course that keeps a part of it closed
// for ever.
type Finding struct {
	ItemID string // whose rule it is
	// "release.cycle": parts wait for each other; Path goes around, from ItemID to
	// ItemID. "release.dead_end": a condition never holds; Path goes from ItemID to
	// the part that it fails at. "release.unknown_item": a condition names what the
	// course does not have, which Path ends with.
	Code    string
	Path    []string
	Message string
}

// MaxFindings bounds what [CheckCourse] tells.
const MaxFindings = 100

// CheckCourse finds the parts that nobody can ever open, whatever they do. It
// tries what can be opened and completed from the start on until nothing is
// added; what is not reached then is reported with the path that it fails on, and
// so are single conditions that never hold, even where there is another way.
//
// It tells nothing of what could be reached: "not" is taken to hold when its part
// may fail at some time. That somebody may miss a date, or a cohort, is no
// finding.
func CheckCourse(items []Item) []Finding {
	c := newGraph(items)
	c.run()
	c.conditions()
	c.blocked()
	if len(c.findings) > MaxFindings {
		c.findings = c.findings[:MaxFindings]
	}
	return c.findings
}

// vertex is an item with what is known of it so far.
type vertex struct {
	Item

	parent   *vertex
	children []*vertex
	rule     *Rule      // its own
	ways     []conjunct // the ways in which it and all that it is in open; each is possible by itself
	unsure   bool       // there are too many ways to list
	open     bool       // it can be opened
	done     bool       // it can be completed
	waiting  []*vertex  // who looks again when this one is opened or done
}

type graph struct {
	order    []*vertex
	byID     map[string]*vertex
	findings []Finding
	lacking  map[*vertex][]*vertex // what lacks has found
}

func newGraph(items []Item) *graph {
	c := &graph{byID: map[string]*vertex{}, lacking: map[*vertex][]*vertex{}}
	var whole *vertex
	for _, it := range items {
		v := &vertex{Item: it, rule: Compile(it.Release)}
		switch {
		case it.Kind == "course" && whole == nil:
			whole = v
		case it.Kind == "course" || c.byID[it.ID] != nil:
			continue
		default:
			c.byID[it.ID] = v
		}
		c.order = append(c.order, v)
	}
	for _, v := range c.order {
		if v.parent = c.byID[v.ParentID]; v.parent == nil && v != whole {
			v.parent = whole
		}
	}
	for _, v := range c.order {
		for up, n := v.parent, 0; up != nil; up, n = up.parent, n+1 {
			if up == v || n > MaxDepth { // nothing is in itself
				v.parent = whole
				break
			}
		}
		if v.parent != nil {
			v.parent.children = append(v.parent.children, v)
		}
	}
	for _, v := range c.order {
		c.findWays(v)
	}
	return c
}

// chain returns the rule that v is under, with those of all that it is in.
func (v *vertex) chain() *Rule {
	var rules []*Rule
	for up := v; up != nil; up = up.parent {
		rules = append(rules, up.rule)
	}
	return Join(rules...)
}

func (c *graph) findWays(v *vertex) {
	if r := v.chain(); r == nil {
		v.ways = []conjunct{nil}
	} else if ways, ok := r.root.ways(true); ok {
		v.ways = slices.DeleteFunc(ways, func(w conjunct) bool { return !w.possible() })
	} else {
		v.unsure = true
	}
	seen := map[*vertex]bool{}
	wait := func(on string) {
		if d := c.byID[on]; d != nil && !seen[d] {
			seen[d] = true
			d.waiting = append(d.waiting, v)
		}
	}
	for _, way := range v.ways {
		for _, l := range way {
			if !l.neg && (l.kind == completed || l.kind == score) {
				wait(l.ids[0])
			}
		}
	}
}

// run opens and completes all that can be.
func (c *graph) run() {
	queue := slices.Clone(c.order)
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		open, done := v.open, v.done
		v.open = v.open || v.unsure || slices.ContainsFunc(v.ways, c.supported)
		v.done = v.done || v.open && v.completable()
		if v.open != open || v.done != done {
			queue = append(queue, v.waiting...)
			if v.parent != nil {
				queue = append(queue, v.parent)
			}
		}
	}
}

// supported reports whether all that a way asks to have been done can be.
func (c *graph) supported(way conjunct) bool {
	return !slices.ContainsFunc(way, func(l literal) bool { return !c.reached(l) })
}

func (c *graph) reached(l literal) bool {
	if l.neg {
		return true
	}
	switch l.kind {
	case completed:
		v := c.byID[l.ids[0]]
		return v != nil && v.done
	case score:
		v := c.byID[l.ids[0]]
		return v != nil && v.open && v.scored()
	default:
		return l.kind != never
	}
}

func (v *vertex) scored() bool { return v.Kind == "quiz" || v.Kind == "assignment" }

// completable reports whether v, which can be opened, can be completed.
func (v *vertex) completable() bool {
	if v.Kind != "module" {
		return v.completesAtAll()
	}
	counted := false
	for _, child := range v.children {
		if child.Required {
			if counted = true; !child.done {
				return false
			}
		}
	}
	return counted
}

// completesAtAll reports whether anything completes v, were all open.
func (v *vertex) completesAtAll() bool {
	if v.Kind == "module" {
		return slices.ContainsFunc(v.children, func(child *vertex) bool { return child.Required })
	}
	return v.Completion == nil || len(v.Completion.GetRequirements()) > 0
}

func (c *graph) report(v *vertex, code string, path []string, format string, args ...any) {
	c.findings = append(c.findings, Finding{ItemID: v.ID, Code: code, Path: path, Message: fmt.Sprintf(format, args...)})
}

func (c *graph) title(itemID string) string {
	if v := c.byID[itemID]; v != nil && v.Title != "" {
		return "“" + v.Title + "”"
	}
	return itemID
}

// conditions reports each condition that never holds by itself.
func (c *graph) conditions() {
	for _, v := range c.order {
		if v.rule != nil {
			c.condition(v, v.rule.root, true)
		}
	}
}

func (c *graph) condition(v *vertex, n *node, want bool) {
	const dead = "release.dead_end"
	switch n.kind {
	case never:
		c.report(v, dead, []string{v.ID}, "A condition is not valid, so that it never holds.")
	case date:
		if want && !n.from.IsZero() && !n.until.IsZero() && !n.from.Before(n.until) {
			c.report(v, dead, []string{v.ID}, "A date ends before it begins, so that it never holds.")
		}
	case completed, score:
		on := c.byID[n.ids[0]]
		path := []string{v.ID, n.ids[0]}
		switch {
		case on == nil:
			c.report(v, "release.unknown_item", path, "A condition names %s, which the course does not have.", n.ids[0])
		case !want:
		case n.kind == score && !on.scored():
			c.report(v, dead, path, "A condition asks for a score in %s, which has none.", c.title(on.ID))
		case n.kind == score && n.low != nil && n.high != nil && *n.low > *n.high:
			c.report(v, dead, path, "A condition asks for a score in %s that there can't be.", c.title(on.ID))
		case n.kind == completed && !on.completesAtAll():
			c.report(v, dead, path, "A condition asks that %s is completed, which nothing completes.", c.title(on.ID))
		}
	case all, some, not, available, enrolled, cohort, group, role, course:
	}
	for _, part := range n.parts {
		c.condition(v, part, want != (n.kind == not))
	}
}

// blocked reports what can't be opened: each circle once, and all else that does
// not lie behind a finding of the same item.
func (c *graph) blocked() {
	reported := map[string]bool{}
	for _, f := range c.findings {
		reported[f.ItemID] = true
	}
	onCircle := map[*vertex]bool{}
	for _, circle := range c.circles() {
		first := circle[max(0, slices.IndexFunc(circle, func(v *vertex) bool { return v.rule != nil }))]
		path := c.around(first, circle)
		for _, v := range circle {
			onCircle[v] = true
		}
		reported[first.ID] = true
		c.report(first, "release.cycle", path, "These wait for each other: %s.", c.trail(path))
	}
	for _, v := range c.order {
		if v.open || onCircle[v] || reported[v.ID] || v.rule == nil {
			continue // one without a rule is closed by what it is in, which is reported
		}
		path := c.toCause(v, onCircle)
		if len(path) == 1 {
			c.report(v, "release.dead_end", path, "The conditions contradict each other, so that %s never opens.", c.title(v.ID))
			continue
		}
		c.report(v, "release.dead_end", path, "%s never opens: %s.", c.title(v.ID), c.trail(path))
	}
}

func (c *graph) trail(path []string) string {
	titles := make([]string, len(path))
	for i, itemID := range path {
		titles[i] = c.title(itemID)
	}
	return strings.Join(titles, " → ")
}

// lacks returns what v, which can't be opened or completed, waits for.
func (c *graph) lacks(v *vertex) []*vertex {
	out, known := c.lacking[v]
	if !known {
		out = c.findLacks(v)
		c.lacking[v] = out
	}
	return out
}

func (c *graph) findLacks(v *vertex) []*vertex {
	var out []*vertex
	add := func(d *vertex) {
		if d != nil && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	if v.open {
		if v.Kind == "module" && !v.done {
			for _, child := range v.children {
				if child.Required && !child.done {
					add(child)
				}
			}
		}
		return out
	}
	if v.parent != nil && !v.parent.open {
		add(v.parent)
	}
	if v.rule == nil {
		return out
	}
	ways, _ := v.rule.root.ways(true)
	for _, way := range ways {
		for _, l := range way {
			if !c.reached(l) && len(l.ids) > 0 {
				add(c.byID[l.ids[0]])
			}
		}
	}
	return out
}

// toCause returns the shortest way from v to what it fails at.
func (c *graph) toCause(v *vertex, onCircle map[*vertex]bool) []string {
	from := map[*vertex]*vertex{v: nil}
	for queue := []*vertex{v}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		next := c.lacks(at)
		if (len(next) == 0 || onCircle[at]) && at != v {
			return trace(from, at)
		}
		for _, d := range next {
			if _, seen := from[d]; !seen {
				from[d] = at
				queue = append(queue, d)
			}
		}
	}
	return []string{v.ID}
}

func trace(from map[*vertex]*vertex, at *vertex) []string {
	var path []string
	for ; at != nil; at = from[at] {
		path = append(path, at.ID)
	}
	slices.Reverse(path)
	return path
}

// around returns a shortest way from v through a circle's vertices back to it.
func (c *graph) around(v *vertex, circle []*vertex) []string {
	inside := map[*vertex]bool{}
	for _, one := range circle {
		inside[one] = true
	}
	from := map[*vertex]*vertex{v: nil}
	for queue := []*vertex{v}; len(queue) > 0; queue = queue[1:] {
		for _, d := range c.lacks(queue[0]) {
			if d == v {
				return append(trace(from, queue[0]), v.ID)
			}
			if _, seen := from[d]; !seen && inside[d] {
				from[d] = queue[0]
				queue = append(queue, d)
			}
		}
	}
	return []string{v.ID, v.ID}
}
