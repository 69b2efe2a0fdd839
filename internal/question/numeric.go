package question

import (
	"strings"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// numeric asks for a number: the fraction of the first answer that it is near enough
// to, 0 where there is none, as Moodle's numerical (question/type/numerical), whose
// three ways to be near are absolute (its "nominal"), relative and geometric. To be
// the same when rounded is QTI's equalRounded.
//
// Units: the number is multiplied into the first unit. Where it does not fit there,
// and the number itself would, the unit is wrong or missing, and takes the penalty p
// from the fraction f: f × (1 - p), or f - p where it is a share of the question, but
// nothing from an f of 0 or less.
type numeric struct {
	answers []numericAnswer
	reading reader
	units   *units
	local   bool // numbers are told with a decimal comma
}

type numericAnswer struct {
	source   *pb.NumericAnswer
	value    exact.Number
	shown    *exact.Number // fits as well
	told     string        // the value as it is told
	size     exact.Number
	low      *exact.Number
	high     *exact.Number
	fraction exact.Number
}

func normaliseNumeric(q *pb.QuestionContent) { normaliseNumber(q.GetNumeric()) }

func normaliseNumber(n *pb.NumericQuestion) {
	for _, a := range n.GetAnswers() {
		share(&a.Fraction, "1")
		normaliseTolerance(a.GetTolerance())
	}
	normaliseUnits(n.GetUnits())
	n.Reading = normaliseReading(n.GetReading())
}

func normaliseTolerance(t *pb.Tolerance) {
	switch t.GetKind() {
	case "absolute", "relative", "geometric":
		fill(&t.Size, "0")
	}
}

func normaliseReading(r *pb.NumberRules) *pb.NumberRules {
	if r == nil {
		r = &pb.NumberRules{}
	}
	fill(&r.DecimalSign, "either")
	return r
}

func newNumeric(q *pb.QuestionContent, c *checker) kind { return c.numeric("numeric", q.GetNumeric()) }

func (c *checker) numeric(path string, n *pb.NumericQuestion) numeric {
	k := numeric{reading: reader{n.GetReading(), c.engine}, units: c.unitRules(path+".units", n.GetUnits()), local: n.GetReading().GetDecimalSign() == "comma"}
	right := false
	for i, a := range n.GetAnswers() {
		at := index(path+".answers", i)
		one := numericAnswer{source: a, fraction: c.fraction(at+".fraction", a.GetFraction(), "1", "-1", "1")}
		c.tolerance(at+".tolerance", a.GetTolerance(), &one)
		switch {
		case a.GetTolerance().GetKind() == "range" && a.GetValue() != "":
			c.add(at+".value", "tolerance.range", "A range has no value.")
		case a.GetTolerance().GetKind() != "range":
			one.value = c.number(at+".value", a.GetValue())
			one.told = a.GetValue()
		}
		right = right || one.fraction.Cmp(unit) == 0
		k.answers = append(k.answers, one)
	}
	if !right {
		c.add(path+".answers", "number.no_right", `One answer has the fraction "1".`)
	}
	return k
}

func (c *checker) tolerance(path string, t *pb.Tolerance, a *numericAnswer) {
	bound := func(name, text string) *exact.Number {
		if text == "" {
			return nil
		}
		n := c.number(path+"."+name, text)
		return &n
	}
	switch t.GetKind() {
	case "absolute", "relative", "geometric":
		a.size = c.number(path+".size", t.GetSize())
	case "range":
		a.low, a.high = bound("low", t.GetLow()), bound("high", t.GetHigh())
		if a.low != nil && a.high != nil && a.low.Cmp(*a.high) > 0 {
			c.add(path+".high", "tolerance.order", "high is not less than low.")
		}
	case "significant_figures":
		if t.GetDigits() < 1 || t.GetDigits() > 20 {
			c.add(path+".digits", "tolerance.digits", "Send 1 to 20 figures.")
		}
	case "decimal_places":
		if t.GetDigits() < 0 || t.GetDigits() > 18 {
			c.add(path+".digits", "tolerance.digits", "Send 0 to 18 places.")
		}
	}
}

// fits reports whether x, as it was written, is near enough.
func (a numericAnswer) fits(x exact.Number, w written) bool {
	if a.shown != nil && x.Equal(*a.shown) && !a.source.GetTolerance().GetStrict() {
		return true
	}
	t := a.source.GetTolerance()
	digits := int(t.GetDigits())
	off := x.Sub(a.value)
	if off.Sign() < 0 {
		off = off.Neg()
	}
	size := a.value
	if size.Sign() < 0 {
		size = size.Neg()
	}
	switch t.GetKind() {
	case "absolute":
		return off.Cmp(a.size) <= 0
	case "relative":
		return off.Cmp(a.size.Mul(size)) <= 0
	case "geometric":
		if x.Sign() != a.value.Sign() {
			return false
		}
		if x.Sign() < 0 {
			x = x.Neg()
		}
		by := a.size.Add(unit)
		return x.Mul(by).Cmp(size) >= 0 && x.Cmp(size.Mul(by)) <= 0
	case "range":
		return (a.low == nil || x.Cmp(*a.low) >= 0) && (a.high == nil || x.Cmp(*a.high) <= 0)
	case "significant_figures":
		return roundFigures(x, digits).Equal(roundFigures(a.value, digits)) && (!t.GetStrict() || w.figuresMin <= digits && digits <= w.figuresMax)
	case "decimal_places":
		return x.Round(digits, exact.HalfUp).Equal(a.value.Round(digits, exact.HalfUp)) && (!t.GetStrict() || w.places == digits)
	default:
		return off.Sign() == 0
	}
}

// result is what a number gives.
type numberResult struct {
	answer    *numericAnswer // that fits; nil for none
	fraction  exact.Number   // with what the unit has taken away
	wrongUnit bool
}

// judge scores what was written, with the unit that was selected.
func (k numeric) judge(text, selected string) (numberResult, bool) {
	w, ok := k.reading.read(text)
	if !ok {
		return numberResult{}, false
	}
	by, known := unit, w.rest == ""
	if k.units != nil {
		by, known, ok = k.units.multiplier(w.rest, selected)
		if !ok {
			return numberResult{}, false
		}
	} else if !known {
		return numberResult{}, false
	}
	if known {
		if a := k.first(w.value.Mul(by), w); a != nil {
			return numberResult{answer: a, fraction: a.fraction}, true
		}
	}
	if k.units == nil {
		return numberResult{}, true
	}
	a := k.first(w.value, w)
	if a == nil || known && by.Equal(unit) {
		return numberResult{}, true
	}
	return numberResult{answer: a, fraction: k.units.penalise(a.fraction), wrongUnit: true}, true
}

func (k numeric) first(x exact.Number, w written) *numericAnswer {
	for i := range k.answers {
		if k.answers[i].fits(x, w) {
			return &k.answers[i]
		}
	}
	return nil
}

// example returns a number that gives 1, as text and the unit to select.
func (k numeric) example() (text, selected string) {
	for _, a := range k.answers {
		if a.fraction.Cmp(unit) != 0 {
			continue
		}
		t := a.source.GetTolerance()
		switch {
		case t.GetKind() == "range" && a.low != nil:
			text = t.GetLow()
		case t.GetKind() == "range" && a.high != nil:
			text = t.GetHigh()
		case t.GetKind() == "range":
			text = "0"
		case t.GetStrict() && t.GetKind() == "significant_figures":
			text = figuresText(a.value, int(t.GetDigits()), false)
		case t.GetStrict():
			text = a.value.Round(int(t.GetDigits()), exact.HalfUp).Text(int(t.GetDigits()))
		default:
			text = a.told
		}
		text = local(text, k.local)
		if k.units == nil {
			return text, ""
		}
		symbol := k.units.rules.GetUnits()[0].GetSymbol()
		if k.units.rules.GetInput() == "select" {
			return text, symbol
		}
		return text + " " + symbol, ""
	}
	return "", ""
}

func (k numeric) accept(c *checker, a *pb.Answer) {
	if k.units == nil || k.units.rules.GetInput() != "select" {
		if a.GetNumber().GetUnit() != "" {
			c.add("number.unit", "unit.not_asked", "The unit is not selected here.")
		}
		return
	}
	if u := a.GetNumber().GetUnit(); u != "" && !k.units.has(u) {
		c.add("number.unit", "unit.unknown", "Select one of the units.")
	}
}

func (k numeric) given(a *pb.Answer) given {
	if blank(a.GetNumber().GetText()) {
		return nothing
	}
	if _, ok := k.judge(a.GetNumber().GetText(), a.GetNumber().GetUnit()); !ok {
		return lacking // it is no number
	}
	return whole
}

// numberView says how a number is asked for.
func (k numeric) numberView() *pb.NumberView {
	v := &pb.NumberView{UnitInput: "none", DecimalSign: k.reading.rules.GetDecimalSign()}
	if k.units != nil {
		v.UnitInput = k.units.rules.GetInput()
		v.UnitRequired = k.units.rules.GetRule() == "required"
		if v.UnitInput == "select" {
			v.Units = k.units.symbols()
		}
	}
	return v
}

func (k numeric) view(_ *Instance, v *pb.QuestionView) {
	v.Body = &pb.QuestionView_Number{Number: k.numberView()}
}

func (k numeric) score(_ *Instance, a *pb.Answer) Score {
	var s Score
	r, _ := k.judge(a.GetNumber().GetText(), a.GetNumber().GetUnit())
	if r.answer == nil {
		s.part("", exact.Number{}, unit, "")
		return s
	}
	s.Feedback = []string{r.answer.source.GetFeedback()}
	s.part("", r.answer.fraction, unit, "")
	if r.wrongUnit {
		s.Fraction = r.fraction
		s.Parts[0].State, s.Parts[0].Fraction = stateOf(r.fraction), r.fraction
		s.Lines = append(s.Lines, Line{Code: "unit", Value: r.fraction})
	}
	return s
}

func (k numeric) right(*Instance) *pb.Answer {
	text, unit := k.example()
	return &pb.Answer{Content: &pb.Answer_Number{Number: &pb.NumberAnswer{Text: text, Unit: unit}}}
}

func (k numeric) words(_ *Instance, a *pb.Answer, _ string) string {
	return plainText(strings.TrimSpace(a.GetNumber().GetText() + " " + a.GetNumber().GetUnit()))
}
