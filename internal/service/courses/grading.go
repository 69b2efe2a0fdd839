package courses

import (
	"math/big"
	"strings"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// checkGrading refuses a policy by which nothing can be graded. path is its own
// in the request; has says which items the draft has, and of which kind.
func checkGrading(path string, p *coursespb.GradingPolicy, has map[string]string) error {
	g := &gradingCheck{path: path, has: has, taken: map[string]bool{}, keys: map[string]bool{}}
	g.categories(p)
	g.percent("pass_mark", p.GetPassMark())
	g.percent("missing_deduction", p.GetMissingDeduction())
	g.letters(p.GetLetters())
	if l := p.GetLate(); l != nil {
		g.percent("late.rate", l.GetRate())
		g.percent("late.floor", l.GetFloor())
	}
	if c := p.GetCompletion(); c != nil {
		g.completion(c, p.GetPassMark())
	}
	return refused("grading.invalid", "By these criteria nothing can be graded.", g.bad)
}

type gradingCheck struct {
	path  string
	has   map[string]string
	taken map[string]bool // items of categories before
	keys  map[string]bool
	bad   []fault.Field
}

func (g *gradingCheck) refuse(path, code, hint string) {
	g.bad = append(g.bad, fault.Field{Path: g.path + "." + path, Code: code, Hint: hint})
}

var hundred = big.NewRat(100, 1)

// percent reads a decimal of the contract's form and refuses one above 100. It
// is nil when there is none.
func (g *gradingCheck) percent(path, text string) *big.Rat {
	if text == "" {
		return nil
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok || r.Cmp(hundred) > 0 {
		g.refuse(path, "grading.above_hundred", "Name a percentage from 0 to 100.")
		return nil
	}
	return r
}

func (g *gradingCheck) categories(p *coursespb.GradingPolicy) {
	sum := new(big.Rat)
	for i, c := range p.GetCategories() {
		at := index("categories", i)
		if g.keys[c.GetKey()] {
			g.refuse(at+".key", "grading.key_taken", "Give each category a key of its own.")
		}
		g.keys[c.GetKey()] = true
		weight := g.percent(at+".weight", c.GetWeight())
		switch {
		case p.GetMethod() == "weighted" && c.GetWeight() == "":
			g.refuse(at+".weight", "grading.no_weight", "Give each category a weight.")
		case p.GetMethod() != "weighted" && c.GetWeight() != "":
			g.refuse(at+".weight", "grading.weight_unused", "Leave it out, or grade by weights.")
		case weight != nil && !c.GetExtraCredit():
			sum.Add(sum, weight)
		}
		own := map[string]bool{}
		for j, itemID := range c.GetItemIds() {
			own[itemID] = true
			switch {
			case g.has[itemID] == "" || g.has[itemID] == "module":
				g.refuse(index(at+".item_ids", j), "grading.unknown_item", "Name a lesson, a quiz or an assignment of the course.")
			case g.taken[itemID]:
				g.refuse(index(at+".item_ids", j), "grading.item_taken", "It is in another category already.")
			}
			g.taken[itemID] = true
		}
		for j, itemID := range c.GetNeverDrop() {
			if !own[itemID] {
				g.refuse(index(at+".never_drop", j), "grading.unknown_item", "Name an item of this category.")
			}
		}
	}
	if p.GetMethod() == "weighted" && len(g.bad) == 0 && sum.Cmp(hundred) != 0 {
		g.refuse("categories", "grading.weights", "The weights are "+strings.TrimSuffix(strings.TrimRight(sum.FloatString(4), "0"), ".")+" together. They have to be 100, without extra credit.")
	}
}

func (g *gradingCheck) letters(letters []*coursespb.GradingLetter) {
	seen := map[string]bool{}
	var before *big.Rat
	for i, l := range letters {
		at := index("letters", i)
		least := g.percent(at+".min_percent", l.GetMinPercent())
		switch {
		case least == nil:
		case before != nil && least.Cmp(before) >= 0:
			g.refuse(at+".min_percent", "grading.letters_order", "Each letter begins below the one before.")
		case i == len(letters)-1 && least.Sign() != 0:
			g.refuse(at+".min_percent", "grading.letters_end", "The last letter begins at 0.")
		}
		if seen[l.GetLetter()] {
			g.refuse(at+".letter", "grading.letter_twice", "Name each letter once.")
		}
		seen[l.GetLetter()], before = true, least
	}
}

func (g *gradingCheck) completion(c *coursespb.CourseCompletion, passMark string) {
	least := g.percent("completion.min_percent", c.GetMinPercent())
	switch {
	case c.GetKind() == "percent" && (least == nil || least.Sign() == 0):
		g.refuse("completion.min_percent", "grading.no_percent", "Name a percentage above 0.")
	case c.GetKind() == "all" && c.GetMinPercent() != "":
		g.refuse("completion.min_percent", "grading.percent_unused", "Leave it out, or let a percentage complete the course.")
	}
	if c.GetPass() && passMark == "" {
		g.refuse("completion.pass", "grading.no_pass_mark", "Set a pass mark first.")
	}
}
