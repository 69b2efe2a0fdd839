package grades

import (
	"fmt"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/gradebook"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// policyOf makes a policy of a course's criteria, without its items; byPoints where it
// has none: then all points count alike. at says what the criteria say of each item.
func policyOf(calculation int, c *coursespb.GradingPolicy) (_ *gradebook.Policy, at map[string]gradebook.Item, _ error) {
	p := &gradebook.Policy{Version: calculation, Method: gradebook.Points, Rounding: gradebook.Rounding{Mode: exact.HalfEven, Places: 2}}
	if c == nil {
		return p, nil, nil
	}
	r := &reader{}
	p.Method, p.Empty, p.Judge = gradebook.Method(c.GetMethod()), gradebook.Empty(c.GetEmpty()), gradebook.Judge(c.GetJudge())
	for _, g := range c.GetCategories() {
		p.Categories = append(p.Categories, gradebook.Category{
			Key: g.GetKey(), Title: g.GetTitle(), Parent: g.GetParent(), Method: gradebook.Method(g.GetMethod()), Weight: r.number(g.GetWeight()),
			Points: r.number(g.GetPoints()), DropLowest: int(g.GetDropLowest()), DropHighest: int(g.GetDropHighest()), KeepHighest: int(g.GetKeepHighest()),
			ExtraCredit: g.GetExtraCredit(), Curve: r.curve(g.GetCurve()), Cap: r.number(g.GetCap()),
		})
	}
	for _, g := range c.GetPeriods() {
		p.Periods = append(p.Periods, gradebook.Period{Key: g.GetKey(), Title: g.GetTitle(), Weight: r.number(g.GetWeight())})
	}
	p.Curve, p.Cap, p.PassMark, p.MissingDeduction = r.curve(c.GetCurve()), r.number(c.GetCap()), r.number(c.GetPassMark()), r.number(c.GetMissingDeduction())
	for _, l := range c.GetLetters() {
		p.Letters = append(p.Letters, gradebook.Letter{Letter: l.GetLetter(), Min: r.must(l.GetMinPercent())})
	}
	if l := c.GetLate(); l != nil {
		p.Late = &gradebook.LatePolicy{Rate: r.must(l.GetRate()), Interval: 24 * 3600, Floor: r.must(l.GetFloor()), Grace: 60 * int64(l.GetGraceMinutes())}
		if l.GetInterval() == "hour" {
			p.Late.Interval = 3600
		}
	}
	if d := c.GetRounding(); d != nil {
		p.Rounding.Places = int(d.GetPlaces())
		if d.GetMode() == "half_up" {
			p.Rounding.Mode = exact.HalfUp
		}
	}
	return p, r.items(c), r.err
}

// items returns what criteria say of single items.
func (r *reader) items(c *coursespb.GradingPolicy) map[string]gradebook.Item {
	at := map[string]gradebook.Item{}
	change := func(itemID string, do func(*gradebook.Item)) {
		it := at[itemID]
		do(&it)
		at[itemID] = it
	}
	for _, g := range c.GetCategories() {
		for _, itemID := range g.GetItemIds() {
			change(itemID, func(it *gradebook.Item) { it.Category = g.GetKey() })
		}
		for _, itemID := range g.GetNeverDrop() {
			change(itemID, func(it *gradebook.Item) { it.NeverDrop = true })
		}
	}
	for _, g := range c.GetPeriods() {
		for _, itemID := range g.GetItemIds() {
			change(itemID, func(it *gradebook.Item) { it.Period = g.GetKey() })
		}
	}
	for _, g := range c.GetItems() {
		change(g.GetItemId(), func(it *gradebook.Item) {
			it.Weight, it.ExtraCredit, it.Excluded = r.number(g.GetWeight()), g.GetExtraCredit(), g.GetExcluded()
		})
	}
	for _, g := range c.GetCalculated() {
		at[calculatedID(g.GetKey())] = gradebook.Item{
			Category: g.GetCategory(), Period: g.GetPeriod(), Points: r.must(g.GetPoints()), Weight: r.number(g.GetWeight()), ExtraCredit: g.GetExtraCredit(),
			NeverDrop: g.GetNeverDrop(), Excluded: g.GetExcluded(), Formula: g.GetFormula(),
		}
	}
	return at
}

// calculatedID is the item of a calculated item of the criteria, as formulas name it.
func calculatedID(key string) string { return "calculated:" + key }

// reader reads numbers and keeps the first error.
type reader struct{ err error }

// number reads a decimal, nil for an empty one.
func (r *reader) number(text string) *exact.Number {
	if text == "" {
		return nil
	}
	n, err := exact.Parse(text)
	if err != nil {
		if r.err == nil {
			r.err = fmt.Errorf("criteria: %q: %w", text, err)
		}
		return nil
	}
	return &n
}

// must is number, 0 for an empty one.
func (r *reader) must(text string) exact.Number {
	if n := r.number(text); n != nil {
		return *n
	}
	return exact.Number{}
}

// curve reads a curve, nil for none.
func (r *reader) curve(c *coursespb.GradingCurve) *gradebook.Curve {
	if c == nil {
		return nil
	}
	out := &gradebook.Curve{Kind: gradebook.CurveKind(c.GetKind()), By: r.must(c.GetBy())}
	for i := range min(len(c.GetFrom()), len(c.GetTo()), 2) {
		out.From[i], out.To[i] = r.must(c.GetFrom()[i]), r.must(c.GetTo()[i])
	}
	return out
}

// numberOf reads a decimal that the database or a contract has checked; 0 for none.
func numberOf(text *string) exact.Number {
	if text == nil || *text == "" {
		return exact.Number{}
	}
	n, err := exact.Parse(*text)
	if err != nil {
		return exact.Number{}
	}
	return n
}

// places bounds numbers that are kept and shown; totals are made of exact ones.
const places = 6

// rounded is a number as it is kept and shown: a decimal of at most 6 places.
func rounded(n exact.Number) string { return n.Round(places, exact.HalfEven).String() }
