package question

import (
	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// calculated asks for a number that a formula makes of variables, as Moodle's
// calculated (question/type/calculated). With their values it is a numeric question:
// the value of each formula, rounded to 30 digits, is the value of an answer.
type calculated struct {
	source    *pb.CalculatedQuestion
	formulas  []*formula
	answers   []numericAnswer
	templates numeric
}

func normaliseCalculated(q *pb.QuestionContent) {
	b := q.GetCalculated()
	for _, a := range b.GetAnswers() {
		share(&a.Fraction, "1")
		normaliseTolerance(a.GetTolerance())
		if a.GetFormat() == nil {
			a.Format = &pb.NumberFormat{}
		}
		fill(&a.Format.Kind, "significant_figures")
	}
	normaliseUnits(b.GetUnits())
	b.Reading = normaliseReading(b.GetReading())
}

func newCalculated(q *pb.QuestionContent, c *checker) kind {
	k := calculated{source: q.GetCalculated()}
	var names []string
	if vars := q.GetVariables(); vars != nil {
		for _, v := range vars.GetVariables() {
			names = append(names, v.GetName())
		}
	}
	if len(names) == 0 {
		c.add("variables", "required", "A calculated question has variables.")
	}
	k.templates = numeric{reading: reader{k.source.GetReading(), c.engine}, units: c.unitRules("calculated.units", k.source.GetUnits()), local: k.source.GetReading().GetDecimalSign() == "comma"}
	right := false
	for i, a := range k.source.GetAnswers() {
		at := index("calculated.answers", i)
		f, err := parseFormula(a.GetFormula(), names)
		switch {
		case err != nil:
			c.add(at+".formula", "formula.invalid", "It can't be read: %v.", err)
		case f.number == nil:
			c.add(at+".formula", "formula.truth", "It is true or false; a number has to be here.")
		}
		one := numericAnswer{
			source:   &pb.NumericAnswer{Tolerance: a.GetTolerance(), Feedback: a.GetFeedback()},
			fraction: c.fraction(at+".fraction", a.GetFraction(), "1", "-1", "1"),
		}
		if a.GetTolerance().GetKind() == "range" {
			c.add(at+".tolerance.kind", "tolerance.range", "A formula has a value, and no range.")
		}
		if fm := a.GetFormat(); fm.GetKind() == "significant_figures" && (fm.GetDigits() < 0 || fm.GetDigits() > 18) {
			c.add(at+".format.digits", "format.digits", "Send 0 to 18 figures.")
		}
		c.tolerance(at+".tolerance", a.GetTolerance(), &one)
		right = right || one.fraction.Cmp(unit) == 0
		k.formulas, k.answers = append(k.formulas, f), append(k.answers, one)
	}
	if !right {
		c.add("calculated.answers", "number.no_right", `One answer has the fraction "1".`)
	}
	return k
}

// resolve implements resolver.
func (k calculated) resolve(v values) (kind, error) {
	env := v.env()
	out := k.templates
	out.answers = make([]numericAnswer, len(k.answers))
	for i, a := range k.answers {
		n, err := k.formulas[i].eval(env)
		if err != nil {
			return nil, &formulaError{index("calculated.answers", i) + ".formula", err}
		}
		var shown exact.Number
		a.value = n
		shown, a.told = formatNumber(n, k.source.GetAnswers()[i].GetFormat())
		a.shown = &shown
		out.answers[i] = a
	}
	return out, nil
}

// An instance is of what resolve makes, so that nothing else is asked of it.

func (k calculated) accept(*checker, *pb.Answer)                {}
func (k calculated) given(*pb.Answer) given                     { return nothing }
func (k calculated) view(*Instance, *pb.QuestionView)           {}
func (k calculated) score(*Instance, *pb.Answer) Score          { return Score{} }
func (k calculated) right(*Instance) *pb.Answer                 { return nil }
func (k calculated) words(*Instance, *pb.Answer, string) string { return "" }
