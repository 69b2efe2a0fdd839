package courses

import (
	"errors"
	"math/big"
	"strings"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/gradebook"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// checkGrading refuses a policy by which nothing can be graded. path is its own
// in the request; has says which items the draft has, and of which kind. What is of
// this course is looked at here; the rest is what the gradebook says that is
// calculated by it.
func checkGrading(path string, p *coursespb.GradingPolicy, has map[string]string) error {
	g := &gradingCheck{path: path, has: has}
	g.categories(p)
	g.items(p)
	g.curve("curve", p.GetCurve())
	g.formulas(p)
	g.compile(p)
	if c := p.GetCompletion(); c != nil {
		g.completion(c, p.GetPassMark())
	}
	return refused("grading.invalid", "By these criteria nothing can be graded.", g.bad)
}

type gradingCheck struct {
	path string
	has  map[string]string
	bad  []fault.Field
}

func (g *gradingCheck) refuse(path, code, hint string) {
	g.bad = append(g.bad, fault.Field{Path: g.path + "." + path, Code: code, Hint: hint})
}

// gradingItems are the items that a policy names.
func gradingItems(p *coursespb.GradingPolicy) []string {
	ids := p.FormulaItems()
	for _, c := range p.GetCategories() {
		ids = append(ids, c.GetItemIds()...)
	}
	for _, period := range p.GetPeriods() {
		ids = append(ids, period.GetItemIds()...)
	}
	for _, it := range p.GetItems() {
		ids = append(ids, it.GetItemId())
	}
	return ids
}

// item refuses an item that can't be graded, or that was taken before.
func (g *gradingCheck) item(path, itemID string, taken map[string]bool, hint string) {
	switch {
	case g.has[itemID] == "" || g.has[itemID] == "module":
		g.refuse(path, "grading.unknown_item", "Name a lesson, a quiz or an assignment of the course.")
	case taken[itemID]:
		g.refuse(path, "grading.item_taken", hint)
	}
	taken[itemID] = true
}

func (g *gradingCheck) categories(p *coursespb.GradingPolicy) {
	taken := map[string]bool{}
	for i, c := range p.GetCategories() {
		at := index("categories", i)
		own := map[string]bool{}
		for j, itemID := range c.GetItemIds() {
			own[itemID] = true
			g.item(index(at+".item_ids", j), itemID, taken, "It is in another category already.")
		}
		for j, itemID := range c.GetNeverDrop() {
			if !own[itemID] {
				g.refuse(index(at+".never_drop", j), "grading.unknown_item", "Name an item of this category.")
			}
		}
		g.curve(at+".curve", c.GetCurve())
	}
}

func (g *gradingCheck) items(p *coursespb.GradingPolicy) {
	taken := map[string]bool{}
	for i, period := range p.GetPeriods() {
		for j, itemID := range period.GetItemIds() {
			g.item(index(index("periods", i)+".item_ids", j), itemID, taken, "It is in another period already.")
		}
	}
	taken = map[string]bool{}
	for i, it := range p.GetItems() {
		g.item(index("items", i)+".item_id", it.GetItemId(), taken, "Name each item once.")
	}
}

// curve refuses fields of another kind of curve.
func (g *gradingCheck) curve(path string, c *coursespb.GradingCurve) {
	linear := c.GetKind() == "linear"
	switch {
	case c == nil:
	case linear && (c.GetBy() != "" || len(c.GetFrom()) != 2 || len(c.GetTo()) != 2):
		g.refuse(path, "grading.curve_fields", "Name two percentages and what they become, and nothing else.")
	case !linear && (c.GetBy() == "" || len(c.GetFrom())+len(c.GetTo()) > 0):
		g.refuse(path, "grading.curve_fields", "Name by how much, and nothing else.")
	}
}

// formulas refuses formulas that name what the draft does not have.
func (g *gradingCheck) formulas(p *coursespb.GradingPolicy) {
	calculated := map[string]bool{}
	for _, c := range p.GetCalculated() {
		calculated[coursespb.CalculatedPrefix+c.GetKey()] = true
	}
	for i, c := range p.GetCalculated() {
		f, err := gradebook.ParseFormula(c.GetFormula())
		if err != nil {
			continue // the gradebook says where
		}
		for _, itemID := range f.Items() {
			if !calculated[itemID] && (g.has[itemID] == "" || g.has[itemID] == "module") {
				g.refuse(index("calculated", i)+".formula", "grading.formula_unknown", "Name items and categories of the course in it.")
				break
			}
		}
	}
}

// compile notes what the gradebook refuses. How many points an item has is said
// elsewhere; whether the criteria can be is the same for all that are above 0.
func (g *gradingCheck) compile(p *coursespb.GradingPolicy) {
	var items []gradebook.Item
	known := map[string]bool{}
	for _, itemID := range gradingItems(p) {
		if !known[itemID] && !strings.HasPrefix(itemID, coursespb.CalculatedPrefix) {
			items = append(items, gradebook.Item{ID: itemID, Points: exact.Int(1)})
		}
		known[itemID] = true
	}
	_, err := gradebook.Compile(p.Gradebook(gradebook.Version, items))
	if refused, ok := errors.AsType[*fault.Error](err); ok {
		for _, f := range refused.Fields {
			g.refuse(f.Path, f.Code, f.Hint)
		}
	}
}

func (g *gradingCheck) completion(c *coursespb.CourseCompletion, passMark string) {
	least, ok := new(big.Rat), true
	if c.GetMinPercent() != "" {
		_, ok = least.SetString(c.GetMinPercent())
	}
	switch {
	case !ok || least.Cmp(big.NewRat(100, 1)) > 0:
		g.refuse("completion.min_percent", "grading.above_hundred", "Name a percentage from 0 to 100.")
	case c.GetKind() == "percent" && least.Sign() == 0:
		g.refuse("completion.min_percent", "grading.no_percent", "Name a percentage above 0.")
	case c.GetKind() == "all" && c.GetMinPercent() != "":
		g.refuse("completion.min_percent", "grading.percent_unused", "Leave it out, or let a percentage complete the course.")
	}
	if c.GetPass() && passMark == "" {
		g.refuse("completion.pass", "grading.no_pass_mark", "Set a pass mark first.")
	}
}
