package question

import (
	"slices"
	"strconv"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// Response is what was answered to a part of a question, as it is counted: of what is
// typed, what of the key fits it, so that there are as many as authors wrote.
type Response struct {
	Part   string // the key of it, empty where it is all of the question
	Answer string // [NoResponse] for none, [OtherResponse] for what fits nothing
}

// What is counted of answers that name nothing.
const (
	NoResponse    = ""
	OtherResponse = "~"
)

// Responses returns what was answered to each part of a question, at least one for each;
// nothing for questions that people read.
func (in *Instance) Responses(a *pb.Answer) []Response {
	whole := func(answers ...string) []Response {
		if in.given(a) == nothing {
			answers = []string{NoResponse}
		}
		out := make([]Response, 0, len(answers))
		for _, one := range answers {
			if !slices.Contains(out, Response{"", one}) {
				out = append(out, Response{"", one})
			}
		}
		return out
	}
	switch k := in.kind.(type) {
	case choice:
		keys := slices.DeleteFunc(slices.Clone(a.GetChoice().GetKeys()), func(key string) bool { _, ok := k.options[key]; return !ok })
		if len(keys) == 0 {
			keys = []string{NoResponse}
		}
		return whole(keys...)
	case trueFalse:
		return whole(strconv.FormatBool(a.GetTrueFalse().GetValue()))
	case shortAnswer:
		return whole(k.response(a.GetText().GetText()))
	case numeric:
		return whole(k.response(a.GetNumber().GetText(), a.GetNumber().GetUnit(), in.name))
	case matching:
		var out []Response
		for _, stem := range k.GetStems() {
			out = append(out, Response{stem.GetKey(), k.chosen(a, stem.GetKey())})
		}
		return out
	case ordering:
		return k.responses(a)
	case blanks:
		return k.responses(a)
	case categorise:
		return k.responses(a)
	case hotSpot:
		return whole(k.responses(a)...)
	}
	return nil
}

func (k shortAnswer) response(text string) string {
	if p, ok := k.match(text); ok {
		return p.GetPattern()
	}
	return OtherResponse
}

// response names the answer that fits by its value, and one without a value of its own
// by its place.
func (k numeric) response(text, unit, of string) string {
	r, _ := k.judge(text, unit)
	if r.answer == nil {
		return OtherResponse
	}
	if of != "calculated" && r.answer.source.GetValue() != "" {
		return r.answer.source.GetValue()
	}
	for i := range k.answers {
		if &k.answers[i] == r.answer {
			return "#" + strconv.Itoa(i+1)
		}
	}
	return OtherResponse
}

func (k ordering) responses(a *pb.Answer) []Response {
	order := k.order(a)
	out := make([]Response, len(k.GetItems()))
	for i, item := range k.GetItems() {
		out[i] = Response{item.GetKey(), NoResponse}
		if at := slices.Index(order, i); at >= 0 {
			out[i].Answer = strconv.Itoa(at + 1)
		}
	}
	return out
}

func (k blanks) responses(a *pb.Answer) []Response {
	var out []Response
	for _, g := range k.gaps {
		one := Response{g.GetKey(), NoResponse}
		if f := k.answer(a, g.GetKey()); f != nil && g.state(k, f) != "" {
			switch {
			case g.GetTyped() != nil:
				one.Answer = g.typed.response(f.GetText())
			case g.GetNumber() != nil:
				one.Answer = g.number.response(f.GetText(), f.GetUnit(), "")
			default:
				one.Answer = f.GetKey()
			}
		}
		out = append(out, one)
	}
	return out
}

func (k categorise) responses(a *pb.Answer) []Response {
	var out []Response
	for _, item := range k.GetItems() {
		in := k.in(a, item.GetKey())
		if len(in) == 0 {
			in = []string{NoResponse}
		}
		for _, key := range in {
			out = append(out, Response{item.GetKey(), key})
		}
	}
	return out
}

func (k hotSpot) responses(a *pb.Answer) []string {
	out, taken := []string{}, map[string]bool{}
	for _, m := range k.marks(a) {
		r := k.hit(m, taken)
		if r == nil {
			out = append(out, OtherResponse)
			continue
		}
		taken[r.GetKey()] = true
		out = append(out, r.GetKey())
	}
	return out
}

// Guess returns the fraction that who chooses at random has in the mean: the mean of the
// fractions of one choice and of true and false; of pairs, and of gaps with a list, the
// share of what is right. False where there is nothing to choose among, or where that
// depends on how somebody guesses (several choices, orders, marks on pictures).
//
// Source: Moodle's get_random_guess_score of each type, of which all but the true and
// false of negative marks are the same.
func (q *Question) Guess() (exact.Number, bool) {
	floored := func(f exact.Number) (exact.Number, bool) { return exact.Max(f, q.floor), true }
	switch k := q.kind.(type) {
	case choice:
		if k.GetMultiple() {
			return exact.Number{}, false
		}
		return floored(meanOf(k.options))
	case trueFalse:
		f, err := exact.Parse(k.GetWrongFraction())
		if err != nil {
			return exact.Number{}, false
		}
		return floored(unit.Add(f).Div(exact.Int(2)))
	case matching:
		if k.GetScoring() == "all_or_nothing" {
			return exact.Number{}, false
		}
		sum, n := exact.Number{}, int64(len(k.GetChoices()))
		for _, stem := range k.GetStems() {
			right := int64(len(stem.GetRightKeys()))
			sum = sum.Add(exact.Ratio(right, n)).Add(k.wrong.Mul(exact.Ratio(n-right, n)))
		}
		return floored(sum.Div(exact.Int(int64(len(k.GetStems())))))
	case blanks:
		if k.GetScoring() == "all_or_nothing" {
			return exact.Number{}, false
		}
		sum := exact.Number{}
		for _, g := range k.gaps {
			if g.GetDropdown() == nil {
				return exact.Number{}, false
			}
			each := exact.Number{}
			for _, o := range g.options {
				f := o.fraction
				if f.Sign() == 0 {
					f = k.wrong
				}
				each = each.Add(f)
			}
			sum = sum.Add(each.Mul(exact.Ratio(int64(g.GetWeight()), k.weight*int64(len(g.options)))))
		}
		return floored(sum)
	}
	return exact.Number{}, false
}

func meanOf(options map[string]option) exact.Number {
	sum := exact.Number{}
	for _, o := range options {
		sum = sum.Add(o.fraction)
	}
	return sum.Div(exact.Int(int64(len(options))))
}
