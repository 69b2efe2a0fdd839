package question

import (
	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// States of an answer and of its parts.
const (
	Right        = "right"
	Partly       = "partly"
	Wrong        = "wrong"
	Unanswered   = "unanswered"
	NeedsMarking = "needs_marking"
)

// Score is what an answer gives, and how that comes about.
type Score struct {
	// The fraction of the points, from the question's floor to 1. It is 0 where people
	// have to mark it.
	Fraction exact.Number
	// Right where the rule gives all, Partly where it gives something, Wrong otherwise;
	// Unanswered, NeedsMarking, or empty for what asks nothing.
	State string
	Parts []Part
	Lines []Line
	// What authors say to the answer as a whole, not to a part of it; variables have no
	// values in it yet.
	Feedback []string
}

// Part is what a part of an answer gives.
type Part struct {
	Key      string // empty where it is all of the question
	State    string
	Fraction exact.Number // of its weight
	Weight   exact.Number // its share of the question
	Feedback string
}

// Line is a step of how a fraction comes about: see OutcomeLine of the contract.
type Line struct {
	Code             string
	Key              string
	Fraction, Weight exact.Number
	Value            exact.Number
}

// unit is 1.
var unit = exact.Int(1)

// stateOf returns what a fraction is called.
func stateOf(f exact.Number) string {
	switch {
	case f.Cmp(unit) >= 0:
		return Right
	case f.Sign() > 0:
		return Partly
	}
	return Wrong
}

// part adds a part. Its line says what it adds to the whole.
func (s *Score) part(key string, fraction, weight exact.Number, feedback string) {
	s.Parts = append(s.Parts, Part{key, stateOf(fraction), fraction, weight, feedback})
	s.line(key, fraction, weight)
}

// line adds what something gives without a part that is told.
func (s *Score) line(key string, fraction, weight exact.Number) {
	value := fraction.Mul(weight)
	s.Lines = append(s.Lines, Line{Code: "part", Key: key, Fraction: fraction, Weight: weight, Value: value})
	s.Fraction = s.Fraction.Add(value)
}

// unanswered adds a part without an answer, which gives nothing.
func (s *Score) unanswered(key string, weight exact.Number) {
	s.Parts = append(s.Parts, Part{Key: key, State: Unanswered, Weight: weight})
	s.Lines = append(s.Lines, Line{Code: "part", Key: key, Weight: weight})
}

// allOrNothing makes 1 of what is all right and 0 of all else.
func (s *Score) allOrNothing(right bool) {
	s.Fraction = exact.Number{}
	if right {
		s.Fraction = unit
	}
	s.rule("all_or_nothing")
}

// rule notes what a rule has made of the parts.
func (s *Score) rule(name string) {
	s.Lines = append(s.Lines, Line{Code: "rule", Key: name, Value: s.Fraction})
}

func (s *Score) allRight() bool {
	for _, p := range s.Parts {
		if p.State != Right {
			return false
		}
	}
	return true
}

// Score scores an answer: the sum of its parts, or what its rule makes of them, at
// most 1 and at least the floor of the question. No answer, and one that is not of
// the question's kind, gives 0.
func (in *Instance) Score(a *pb.Answer) Score {
	if in.name == "description" {
		return Score{}
	}
	if in.given(a) == nothing {
		return Score{State: Unanswered, Lines: []Line{{Code: "total"}}}
	}
	s := in.kind.score(in, a)
	if s.State == NeedsMarking {
		return s
	}
	s.State = stateOf(s.Fraction)
	s.clamp(in.floor)
	s.Lines = append(s.Lines, Line{Code: "total", Value: s.Fraction})
	return s
}

// clamp brings the fraction between the floor and 1.
func (s *Score) clamp(floor exact.Number) {
	switch {
	case s.Fraction.Cmp(floor) < 0:
		s.Fraction = floor
		s.Lines = append(s.Lines, Line{Code: "floor", Value: floor})
	case s.Fraction.Cmp(unit) > 0:
		s.Fraction = unit
		s.Lines = append(s.Lines, Line{Code: "ceiling", Value: unit})
	}
}

// Explain returns how the fraction of an answer comes about, in its order.
func (in *Instance) Explain(a *pb.Answer) []Line { return in.Score(a).Lines }
