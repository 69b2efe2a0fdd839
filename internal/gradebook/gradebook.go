// Package gradebook calculates the grades of a course. It is pure: what it answers
// comes of a [Policy] and one student's [Row] and of nothing else, in exact fractions,
// and each answer can be taken apart into its steps ([Book.Explain]).
//
// # The order of operations
//
// For each item:
//
//  1. Late policy. Points × min(rate × ⌈late ÷ interval⌉, max(raw % − floor %, 0)) are
//     taken off what was handed in late, nothing within the grace period, and nothing
//     of an item of no points. Of several attempts ([Mark].Others) the one counts that
//     has the most points then, the first of equal ones.
//  2. Missing. What was never handed in and has no mark scores points × (1 − deduction)
//     where the course has a deduction; it has no score otherwise.
//  3. Formula. A calculated item takes its score from others.
//  4. Override of the item. It stands in place of all the above; nothing is taken off.
//  5. Excused. Taken out, whatever its score.
//  6. No score. Taken out of a current total; in a final total it is 0 points.
//
// For each category, the innermost first:
//
//  7. Drop. First those of the highest percentage, then those without which the total
//     is the best there can be; see below.
//  8. Combine. By points: points reached ÷ points possible. By weights, or equal: the
//     mean of percentages, each by its weight. What is inside and empty is left out of
//     the mean, or counts as 0, as the course states.
//  9. Extra credit is added: by points to the points reached, by weights its weight ×
//     its percentage ÷ all weights there are (in the period), whether they count yet or
//     not, so that extra credit of weight 5 among 100 never adds more than its 5.
//  10. Curve, then cap, where the category has them.
//  11. Override of the category.
//
// For the total, and for that of each grading period before it:
//
//  12. The categories (and with points the items that are in none) are combined as in 8
//     and 9. Where periods have weights, that happens within each period, drops
//     included, and the total is the mean of the periods by their weights.
//  13. Curve, then cap.
//  14. Override of the total (that of a period when the period is done).
//  15. Rounding, once, half to even or half up. Nothing before it is rounded.
//  16. Letter and pass, by the rounded total or by the exact one as the course states.
//
// # Extra credit and bonus
//
// An item of no points is a bonus: by points it adds what it has, by weights it has no
// percentage and counts for nothing. An item of extra credit only adds: it is
// never dropped, nor are the drop rules counted over it. A category of extra credit only
// adds what it comes to, by drop rules of its own if it has some. A category in which
// nothing but extra credit counts has no percentage: by points what it adds is added,
// by weights it adds nothing.
//
// # Drops
//
// Dropped are a category's own items, of those that count in the total in question. At
// least one that may be dropped is kept; where both rules leave none, the highest are
// kept. The highest go first: those of the greatest percentage, of equal ones that of
// fewer points, then that which comes later in the policy. The lowest are then chosen
// so that the total is the best possible, which is not always without the lowest
// percentages (D. and J. Kane, "Dropping Lowest Grades", Mathematics Magazine, June
// 2006): by Dinkelbach's parametric search in exact fractions. Points below points are
// one search over all of their categories together, so that the total is the best, and
// not each category. Of choices that are equally good the one that keeps what comes
// earlier in the policy is made.
//
// That is the best of all choices wherever categories are nested, because everything
// above a category grows with its percentage. It holds since [Compile] asks for the
// stated worth of what would break it: a category under points that has a drop rule in
// it and a method, a curve or a cap of its own, or that a formula names, has to say how
// many points it is worth. Outside of the claim are formulas that name categories, which
// take the categories as they are and may fall where one rises; and what is inside of a
// category by points that a teacher has overridden, which is calculated by itself and
// counts as many points as are kept in it, where it does not say what it is worth.
//
// # Posted and full, current and final
//
// A row is calculated four times over: with all marks (full) and with what the student
// may see (posted), in which a hidden mark or override is as if there were none; with
// what has a score (current), and with the rest as 0 (final).
package gradebook

import (
	"github.com/stoa-lms/stoa/internal/exact"
)

// Version is the calculation that new courses are graded by. A course keeps the one it
// began with: the digits of a version never change.
const Version = 1

// Book is a policy made ready. It is never changed and may be used by many at once.
type Book struct {
	policy Policy
	code   *calculation
	// By name, where things are.
	items, groups, periods map[string]int
	item                   []item
	group                  []group // the categories, and the course behind them
	weighted               bool    // whether periods have weights
}

// Compile makes a policy ready, or tells all that is wrong with it: a *fault.Error
// "grading.invalid" with a field for each. Paths are those of the contract's
// GradingPolicy, such as "categories[2].weight"; an item's begin with its Path, or
// "items[3]" where it has none. The policy must not be changed afterwards.
func Compile(p *Policy) (*Book, error) { return compile(p) }

// Item returns where an item is in the policy's Items, and so in rows and results.
func (b *Book) Item(id string) (int, bool) {
	i, ok := b.items[id]
	return i, ok
}

// Category returns where a category is in the policy's Categories, and so in results.
func (b *Book) Category(key string) (int, bool) {
	i, ok := b.groups[key]
	return i, ok
}

// Policy returns what the book was made of; it must not be changed.
func (b *Book) Policy() *Policy { return &b.policy }

// Student calculates one student's grades from their row alone.
func (b *Book) Student(row *Row) *Result {
	r := new(Result)
	b.Into(r, row)
	return r
}

// Into is Student that uses the room which r has from before, for who calculates many.
// Views of a result may share slices: they are for reading.
func (b *Book) Into(r *Result, row *Row) { b.code.student(b, row, r) }

// Explain derives one of the totals that Student calculates, step by step. Of hidden
// marks nothing is in the derivation of a posted total.
func (b *Book) Explain(row *Row, seen Seen, basis Basis) *Derivation {
	return b.code.explain(b, row, seen, basis)
}

// Part is a part of a course that comes to something: a category over all of it, a period,
// or a category within a period.
type Part struct {
	// As the policy has them; empty for none.
	Category, Period string
}

// ExplainPart derives what a part comes to, as Explain does the total: with the steps that
// lead to it alone, of which the last is rounded, and is the derivation's Total. There is no
// such step where nothing counts in it.
func (b *Book) ExplainPart(row *Row, seen Seen, basis Basis, of Part) *Derivation {
	return b.code.part(b, row, seen, basis, of)
}

// Counting returns which of several attempts a mark counts by, in an item of so many
// points: 0 for its own Raw and Late, 1 for the first of its Others. It is the one of the
// most points after the late policy, as step 1 of the order of operations takes them off,
// the first of equal ones.
func (b *Book) Counting(of exact.Number, m *Mark) int { return b.code.counting(&b.policy, of, m) }

// Round rounds as the course does.
func (b *Book) Round(n exact.Number) exact.Number {
	return n.Round(b.policy.Rounding.Places, b.policy.Rounding.Mode)
}
