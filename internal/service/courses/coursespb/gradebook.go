// Package coursespb is the contract of courses, and says what its criteria mean to the
// gradebook, for all who read them.
package coursespb

import (
	"fmt"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/gradebook"
)

// CalculatedPrefix stands before the key of a calculated item where it is named as an
// item: in formulas and in the gradebook.
const CalculatedPrefix = "calculated:"

// Gradebook returns what a gradebook is compiled of: these criteria, whose fields were
// checked, over the items of a course that can be marked, in its order, each with its
// ID, Title and Points. Calculated items come behind them. What the course has no more
// is left out; where a formula names it, it is there without a score.
func (p *GradingPolicy) Gradebook(version int, items []gradebook.Item) *gradebook.Policy {
	g := &gradebook.Policy{
		Version: version, Method: gradebook.Method(p.GetMethod()), Empty: gradebook.Empty(p.GetEmpty()), Judge: gradebook.Judge(p.GetJudge()),
		MissingDeduction: decimal(p.GetMissingDeduction()), PassMark: decimal(p.GetPassMark()), Curve: p.GetCurve().gradebook(), Cap: decimal(p.GetCap()),
		Rounding: gradebook.Rounding{Places: 2},
	}
	if r := p.GetRounding(); r != nil {
		g.Rounding.Places = int(r.GetPlaces())
		if r.GetMode() == "half_up" {
			g.Rounding.Mode = exact.HalfUp
		}
	}
	if l := p.GetLate(); l != nil {
		g.Late = &gradebook.LatePolicy{Rate: number(l.GetRate()), Interval: 3600, Floor: number(l.GetFloor()), Grace: int64(l.GetGraceMinutes()) * 60}
		if l.GetInterval() == "day" {
			g.Late.Interval = 86400
		}
	}
	for _, l := range p.GetLetters() {
		g.Letters = append(g.Letters, gradebook.Letter{Letter: l.GetLetter(), Min: number(l.GetMinPercent())})
	}
	for _, c := range p.GetCategories() {
		g.Categories = append(g.Categories, gradebook.Category{
			Key: c.GetKey(), Title: c.GetTitle(), Parent: c.GetParent(), Method: gradebook.Method(c.GetMethod()),
			Weight: decimal(c.GetWeight()), Points: decimal(c.GetPoints()), ExtraCredit: c.GetExtraCredit(),
			DropLowest: int(c.GetDropLowest()), DropHighest: int(c.GetDropHighest()), KeepHighest: int(c.GetKeepHighest()),
			Curve: c.GetCurve().gradebook(), Cap: decimal(c.GetCap()),
		})
	}
	for _, period := range p.GetPeriods() {
		g.Periods = append(g.Periods, gradebook.Period{Key: period.GetKey(), Title: period.GetTitle(), Weight: decimal(period.GetWeight())})
	}
	g.Items = p.gradebookItems(items)
	return g
}

// gradebookItems tells the items where they are, and adds those that are calculated.
func (p *GradingPolicy) gradebookItems(given []gradebook.Item) []gradebook.Item {
	items := append(make([]gradebook.Item, 0, len(given)+len(p.GetCalculated())), given...)
	at := make(map[string]*gradebook.Item, len(items))
	for i := range items {
		at[items[i].ID] = &items[i]
	}
	for i, c := range p.GetCategories() {
		for j, id := range c.GetItemIds() {
			if it := at[id]; it != nil && it.Category == "" {
				it.Category, it.Path = c.GetKey(), fmt.Sprintf("categories[%d].item_ids[%d]", i, j)
			}
		}
		for _, id := range c.GetNeverDrop() {
			if it := at[id]; it != nil && it.Category == c.GetKey() {
				it.NeverDrop = true
			}
		}
	}
	for _, period := range p.GetPeriods() {
		for _, id := range period.GetItemIds() {
			if it := at[id]; it != nil && it.Period == "" {
				it.Period = period.GetKey()
			}
		}
	}
	for i, one := range p.GetItems() {
		if it := at[one.GetItemId()]; it != nil {
			it.Weight, it.ExtraCredit, it.Excluded = decimal(one.GetWeight()), one.GetExtraCredit(), one.GetExcluded()
			it.Path = fmt.Sprintf("items[%d]", i)
		}
	}
	known := make(map[string]bool, len(items))
	for id := range at {
		known[id] = true
	}
	for i, c := range p.GetCalculated() {
		known[CalculatedPrefix+c.GetKey()] = true
		items = append(items, gradebook.Item{
			ID: CalculatedPrefix + c.GetKey(), Title: c.GetTitle(), Path: fmt.Sprintf("calculated[%d]", i), Formula: c.GetFormula(),
			Points: number(c.GetPoints()), Category: c.GetCategory(), Period: c.GetPeriod(), Weight: decimal(c.GetWeight()),
			ExtraCredit: c.GetExtraCredit(), Excluded: c.GetExcluded(), NeverDrop: c.GetNeverDrop(),
		})
	}
	for _, id := range p.FormulaItems() {
		if !known[id] {
			known[id] = true
			items = append(items, gradebook.Item{ID: id, Excluded: true})
		}
	}
	return items
}

// FormulaItems returns the items that formulas name. Formulas that can't be read name
// none.
func (p *GradingPolicy) FormulaItems() []string {
	var ids []string
	for _, c := range p.GetCalculated() {
		if f, err := gradebook.ParseFormula(c.GetFormula()); err == nil {
			ids = append(ids, f.Items()...)
		}
	}
	return ids
}

func (c *GradingCurve) gradebook() *gradebook.Curve {
	if c == nil {
		return nil
	}
	made := &gradebook.Curve{Kind: gradebook.CurveKind(c.GetKind()), By: number(c.GetBy())}
	for i := range min(2, len(c.GetFrom()), len(c.GetTo())) {
		made.From[i], made.To[i] = number(c.GetFrom()[i]), number(c.GetTo()[i])
	}
	return made
}

// decimal reads a decimal of the contract's form; nil where there is none.
func decimal(text string) *exact.Number {
	n, err := exact.Parse(text)
	if err != nil {
		return nil
	}
	return &n
}

// number is decimal that is 0 where there is none.
func number(text string) exact.Number {
	if n := decimal(text); n != nil {
		return *n
	}
	return exact.Number{}
}
