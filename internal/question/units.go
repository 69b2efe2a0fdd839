package question

import (
	"slices"
	"strings"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// units are those that a number may have.
type units struct {
	rules       *pb.UnitRules
	multipliers map[string]exact.Number // by the symbol, as it is compared
	penalty     exact.Number
}

func normaliseUnits(u *pb.UnitRules) {
	if u == nil {
		return
	}
	fill(&u.Rule, "required")
	share(&u.Penalty, "1")
	fill(&u.PenaltyOf, "answer")
	fill(&u.Input, "text")
	for _, one := range u.GetUnits() {
		fill(&one.Multiplier, "1")
	}
}

func (c *checker) unitRules(path string, in *pb.UnitRules) *units {
	if in == nil {
		return nil
	}
	u := &units{rules: in, multipliers: map[string]exact.Number{}, penalty: c.fraction(path+".penalty", in.GetPenalty(), "1", "0", "1")}
	for i, one := range in.GetUnits() {
		at := index(path+".units", i)
		by := c.number(at+".multiplier", one.GetMultiplier())
		switch {
		case by.Sign() == 0:
			c.add(at+".multiplier", "unit.zero", "A multiplier is not 0.")
		case i == 0 && !by.Equal(unit):
			c.add(at+".multiplier", "unit.first", "The first unit is that of the answers: its multiplier is 1.")
		}
		for j, symbol := range append([]string{one.GetSymbol()}, one.GetAlso()...) {
			where := at + ".symbol"
			if j > 0 {
				where = index(at+".also", j-1)
			}
			key := unitText(symbol)
			if key == "" || strings.ContainsAny(key[:1], "0123456789.,+-") {
				c.add(where, "unit.symbol", "A unit does not begin like a number.")
			}
			if _, taken := u.multipliers[key]; taken {
				c.add(where, "unit.twice", "Another unit is written so.")
			}
			u.multipliers[key] = by
		}
	}
	return u
}

func (u *units) symbols() []string {
	out := make([]string, len(u.rules.GetUnits()))
	for i, one := range u.rules.GetUnits() {
		out[i] = one.GetSymbol()
	}
	return out
}

func (u *units) has(symbol string) bool { return slices.Contains(u.symbols(), symbol) }

// multiplier returns what a number with a unit is multiplied by, and whether there is
// a right unit, or none has to be. It returns false where what was typed is no number
// because something is behind it while the unit is selected.
func (u *units) multiplier(typed, selected string) (by exact.Number, known, ok bool) {
	symbol := typed
	if u.rules.GetInput() == "select" {
		if typed != "" {
			return unit, false, false
		}
		symbol = selected
	}
	if symbol == "" {
		return unit, u.rules.GetRule() == "optional", true
	}
	by, known = u.multipliers[unitText(symbol)]
	return by, known, true
}

// penalise returns what is left of a fraction for a wrong unit.
func (u *units) penalise(f exact.Number) exact.Number {
	switch {
	case f.Sign() <= 0:
		return f
	case u.rules.GetPenaltyOf() == "question":
		return f.Sub(u.penalty)
	default:
		return f.Mul(unit.Sub(u.penalty))
	}
}
