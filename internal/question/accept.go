package question

import (
	"regexp"
	"slices"
	"strings"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// Accept returns a copy of a question whose key gives a fraction to an answer that it
// gave less: "also right". What is shown stays the same. It is for types whose key is a
// list of what is right; the error is a *[fault.Error] for all others, for an answer that
// is not of the question, and where the answer has as much already.
func Accept(q *pb.QuestionContent, a *pb.Answer, fraction exact.Number) (*pb.QuestionContent, error) {
	out := Normalise(q)
	before, err := plain(out)
	if err != nil {
		return nil, err
	}
	if err := before.CheckAnswer(a); err != nil {
		return nil, err
	}
	if before.given(a) == nothing {
		return nil, fault.InvalidField("", "accept.nothing", "This answers nothing.")
	}
	if before.Score(a).Fraction.Cmp(fraction) >= 0 {
		return nil, fault.InvalidField("", "accept.given", "It gives "+before.Score(a).Fraction.String()+" already.")
	}
	if !accept(out, a, fraction.String()) {
		return nil, fault.InvalidField("", "accept.kind", "The key of this question is no list that this can be added to. Save a version with the right key, or give everybody its points.")
	}
	after, err := plain(out)
	if err != nil {
		return nil, err
	}
	if after.Score(a).Fraction.Cmp(fraction) < 0 {
		return nil, fault.InvalidField("", "accept.kind", "By how this question is scored it gives less all the same. Save a version with the right key, or give everybody its points.")
	}
	return out, nil
}

// plain returns a question without random values as it is in any attempt.
func plain(q *pb.QuestionContent) (*Instance, error) {
	of, err := Compile(q, Version)
	if err != nil {
		return nil, err
	}
	return of.Instance(Seed{})
}

// accept adds what was answered to a key, and reports whether it can.
func accept(q *pb.QuestionContent, a *pb.Answer, fraction string) bool {
	switch {
	case q.GetVariables() != nil:
		return false // what was right for one has another value for the next
	case q.GetChoice() != nil:
		return !q.GetChoice().GetMultiple() && len(a.GetChoice().GetKeys()) == 1 && acceptOption(q.GetChoice().GetOptions(), a.GetChoice().GetKeys()[0], fraction)
	case q.GetShortAnswer() != nil:
		acceptText(q.GetShortAnswer(), a.GetText().GetText(), fraction)
		return true
	case q.GetNumeric() != nil:
		return a.GetNumber().GetUnit() == "" && acceptNumber(q.GetNumeric(), a.GetNumber().GetText(), fraction)
	case q.GetMatching() != nil:
		for _, p := range a.GetMatching().GetPairs() {
			if stem, ok := find(q.GetMatching().GetStems(), p.GetStemKey()); ok && !slices.Contains(stem.GetRightKeys(), p.GetChoiceKey()) {
				stem.RightKeys = append(stem.RightKeys, p.GetChoiceKey())
			}
		}
		return true
	case q.GetBlanks() != nil:
		for _, g := range a.GetBlanks().GetGaps() {
			if gap, ok := find(q.GetBlanks().GetGaps(), g.GetGapKey()); !ok || !acceptGap(gap, g, fraction) {
				return false
			}
		}
		return true
	}
	return false
}

// acceptGap is accept for a gap.
func acceptGap(gap *pb.BlankGap, g *pb.GapAnswer, fraction string) bool {
	switch f := gap.GetFill().(type) {
	case *pb.BlankGap_Typed:
		acceptText(f.Typed, g.GetText(), fraction)
		return true
	case *pb.BlankGap_Number:
		return g.GetUnit() == "" && acceptNumber(f.Number, g.GetText(), fraction)
	case *pb.BlankGap_Dropdown:
		return acceptOption(f.Dropdown.GetOptions(), g.GetKey(), fraction)
	case *pb.BlankGap_Drag:
		if !slices.Contains(f.Drag.GetRightKeys(), g.GetKey()) {
			f.Drag.RightKeys = append(f.Drag.RightKeys, g.GetKey())
		}
		return true
	}
	return false
}

func acceptOption(options []*pb.ChoiceOption, key, fraction string) bool {
	o, ok := find(options, key)
	if ok {
		o.Fraction = fraction
	}
	return ok
}

// acceptText puts a text before all patterns, of which the first that fits counts.
func acceptText(q *pb.ShortAnswerQuestion, text, fraction string) {
	text = strings.NewReplacer(`\`, `\\`, `*`, `\*`).Replace(text)
	q.Patterns = append([]*pb.AnswerPattern{{Pattern: text, Fraction: fraction}}, q.GetPatterns()...)
}

// decimalText is what the contract allows as the value of an answer.
var decimalText = regexp.MustCompile(`^-?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?$`)

// acceptNumber puts a number before all others, of which the first that fits counts.
func acceptNumber(q *pb.NumericQuestion, text, fraction string) bool {
	w, ok := reader{q.GetReading(), Version}.read(text)
	if !ok || w.rest != "" {
		return false
	}
	value := figuresText(w.value, max(1, w.figuresMax), true)
	if n, ok := decimal(value); !ok || !n.Equal(w.value) || !decimalText.MatchString(value) {
		return false
	}
	q.Answers = append([]*pb.NumericAnswer{{Value: value, Fraction: fraction}}, q.GetAnswers()...)
	return true
}
