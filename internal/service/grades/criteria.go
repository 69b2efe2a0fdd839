package grades

import (
	"fmt"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/gradebook"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// policyOf makes a policy of a course's criteria, without its items; byPoints where it
// has none: then all points count alike. place says in which category of the criteria
// each item is, and which are never dropped.
func policyOf(calculation int, c *coursespb.GradingPolicy) (_ *gradebook.Policy, place map[string]itemPlace, _ error) {
	p := &gradebook.Policy{Version: calculation, Method: gradebook.Points, Rounding: gradebook.Rounding{Mode: exact.HalfEven, Places: 2}}
	place = map[string]itemPlace{}
	if c == nil {
		return p, place, nil
	}
	r := &reader{}
	p.Method = gradebook.Method(c.GetMethod())
	for i, g := range c.GetCategories() {
		p.Categories = append(p.Categories, gradebook.Category{
			Key: g.GetKey(), Title: g.GetTitle(), Weight: r.number(fmt.Sprintf("categories[%d].weight", i), g.GetWeight()),
			DropLowest: int(g.GetDropLowest()), DropHighest: int(g.GetDropHighest()), ExtraCredit: g.GetExtraCredit(),
		})
		for _, itemID := range g.GetItemIds() {
			place[itemID] = itemPlace{category: g.GetKey()}
		}
		for _, itemID := range g.GetNeverDrop() {
			at := place[itemID]
			at.neverDrop = true
			place[itemID] = at
		}
	}
	p.PassMark = r.number("pass_mark", c.GetPassMark())
	p.MissingDeduction = r.number("missing_deduction", c.GetMissingDeduction())
	for i, l := range c.GetLetters() {
		letter := gradebook.Letter{Letter: l.GetLetter()}
		if least := r.number(fmt.Sprintf("letters[%d].min_percent", i), l.GetMinPercent()); least != nil {
			letter.Min = *least
		}
		p.Letters = append(p.Letters, letter)
	}
	if l := c.GetLate(); l != nil {
		p.Late = &gradebook.LatePolicy{Interval: 24 * 3600}
		if l.GetInterval() == "hour" {
			p.Late.Interval = 3600
		}
		if n := r.number("late.rate", l.GetRate()); n != nil {
			p.Late.Rate = *n
		}
		if n := r.number("late.floor", l.GetFloor()); n != nil {
			p.Late.Floor = *n
		}
	}
	if d := c.GetRounding(); d != nil {
		p.Rounding.Places = int(d.GetPlaces())
		if d.GetMode() == "half_up" {
			p.Rounding.Mode = exact.HalfUp
		}
	}
	return p, place, r.err
}

// itemPlace is where the criteria have an item.
type itemPlace struct {
	category  string
	neverDrop bool
}

// reader reads numbers and keeps the first error.
type reader struct{ err error }

// number reads a decimal, nil for an empty one.
func (r *reader) number(path, text string) *exact.Number {
	if text == "" {
		return nil
	}
	n, err := exact.Parse(text)
	if err != nil {
		if r.err == nil {
			r.err = fmt.Errorf("%s: %w", path, err)
		}
		return nil
	}
	return &n
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
