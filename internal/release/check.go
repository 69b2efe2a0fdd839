package release

import (
	"slices"
	"strings"

	"github.com/stoa-lms/stoa/internal/release/releasepb"
)

// Item is a part of a course with what is said of when it is open.
type Item struct {
	ID, ParentID, Kind string
	Required           bool
	Rule               *releasepb.Rule
	Completion         *releasepb.Completion // nil: what is usual
}

// Finding is something in the rules of a course that keeps an item closed for
// ever.
type Finding struct {
	ItemID  string
	Code    string   // "release.cycle", "release.dead_end" or "release.unknown_item"
	Path    []string // items that wait for each other, or the way to what is missing
	Message string
}

// CheckCourse returns what in the rules of a course can never open. It takes
// dates, days, roles, groups and other courses as things that can come, and what
// must not hold as something that can fail to.
func CheckCourse(items []Item) []Finding {
	c := &check{items: map[string]Item{}, children: map[string][]string{}, open: map[string]bool{}, done: map[string]bool{}}
	var found []Finding
	for _, it := range items {
		c.items[it.ID] = it
		c.children[it.ParentID] = append(c.children[it.ParentID], it.ID)
	}
	for _, it := range items {
		for _, name := range named(it.Rule) {
			if _, ok := c.items[name]; !ok {
				found = append(found, Finding{
					ItemID: it.ID, Code: "release.unknown_item", Path: []string{it.ID, name},
					Message: "The rule of " + it.ID + " names " + name + ", which is not in the course.",
				})
			}
		}
	}
	if len(found) > 0 {
		return found
	}
	// What can open and be completed: grows until nothing is added.
	for grown := true; grown; {
		grown = false
		for _, it := range items {
			if !c.open[it.ID] && (it.ParentID == "" || c.open[it.ParentID]) && c.holds(it.Rule) {
				c.open[it.ID], grown = true, true
			}
			if !c.done[it.ID] && c.open[it.ID] && c.completes(it) {
				c.done[it.ID], grown = true, true
			}
		}
	}
	for _, it := range items {
		if !c.open[it.ID] && (it.ParentID == "" || c.open[it.ParentID]) {
			found = append(found, c.explain(it))
		}
	}
	return found
}

type check struct {
	items      map[string]Item
	children   map[string][]string
	open, done map[string]bool
}

func (c *check) holds(rule *releasepb.Rule) bool {
	switch r := rule.GetCondition().(type) {
	case *releasepb.Rule_All:
		return !slices.ContainsFunc(r.All.GetRules(), func(r *releasepb.Rule) bool { return !c.holds(r) })
	case *releasepb.Rule_Any:
		return slices.ContainsFunc(r.Any.GetRules(), c.holds)
	case *releasepb.Rule_Completed:
		return c.done[r.Completed.GetItemId()]
	case *releasepb.Rule_Score:
		return c.open[r.Score.GetItemId()]
	default:
		return true
	}
}

func (c *check) completes(it Item) bool {
	if it.Kind != "module" {
		return it.Completion == nil || len(it.Completion.GetRequirements()) > 0
	}
	for _, child := range c.children[it.ID] {
		if inner := c.items[child]; inner.Required && !c.done[child] && (inner.Completion == nil || len(inner.Completion.GetRequirements()) > 0) {
			return false
		}
	}
	return true
}

// waits returns what a closed or incomplete item waits for.
func (c *check) waits(id string) []string {
	it := c.items[id]
	var out []string
	if it.ParentID != "" && !c.open[it.ParentID] {
		out = append(out, it.ParentID)
	}
	for _, name := range named(it.Rule) {
		if !c.done[name] {
			out = append(out, name)
		}
	}
	if it.Kind == "module" {
		for _, child := range c.children[id] {
			if c.items[child].Required && !c.done[child] {
				out = append(out, child)
			}
		}
	}
	return out
}

// explain follows what a closed item waits for until it comes round, or ends.
func (c *check) explain(it Item) Finding {
	path := []string{it.ID}
	for {
		next := c.waits(path[len(path)-1])
		if len(next) == 0 {
			return Finding{
				ItemID: it.ID, Code: "release.dead_end", Path: path,
				Message: "Nothing ever opens " + it.ID + ": " + strings.Join(path, " waits for ") + ".",
			}
		}
		if i := slices.Index(path, next[0]); i >= 0 {
			path = append(path[i:], next[0])
			return Finding{
				ItemID: it.ID, Code: "release.cycle", Path: path,
				Message: "Items wait for each other: " + strings.Join(path, " waits for ") + ".",
			}
		}
		path = append(path, next[0])
	}
}

// named returns the items that a rule names where they have to be completed or
// scored, whatever else would do.
func named(rule *releasepb.Rule) []string {
	switch r := rule.GetCondition().(type) {
	case *releasepb.Rule_All:
		return namedIn(r.All.GetRules())
	case *releasepb.Rule_Any:
		return namedIn(r.Any.GetRules())
	case *releasepb.Rule_Not:
		return named(r.Not)
	case *releasepb.Rule_Completed:
		return []string{r.Completed.GetItemId()}
	case *releasepb.Rule_Score:
		return []string{r.Score.GetItemId()}
	default:
		return nil
	}
}

func namedIn(rules []*releasepb.Rule) (out []string) {
	for _, r := range rules {
		out = append(out, named(r)...)
	}
	return out
}
