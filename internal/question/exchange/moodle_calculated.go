package exchange

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/stoa-lms/stoa/internal/question"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// Calculated questions: formulas over data sets. Moodle writes variables in { } and
// formulas in texts as {={a}*2}; we write a, and {=a*2}.

var (
	moodleVariable = regexp.MustCompile(`\{([A-Za-z][A-Za-z0-9_]*)\}`)
	moodleFormula  = regexp.MustCompile(`\{=((?:[^{}\n]|\{[A-Za-z][A-Za-z0-9_]*\})*)\}`)
	formulaName    = regexp.MustCompile(`[A-Za-z][A-Za-z0-9_]*`)
	numberExponent = regexp.MustCompile(`[0-9.][eE]$`)
)

var formulaNames = []string{ // names that formulas have
	"abs", "acos", "and", "asin", "atan", "atan2", "cbrt", "ceil", "cos", "cosh", "deg2rad", "e", "exp", "false", "floor", "in", "let", "ln", "log", "log10", "log2", "max", "min",
	"mod", "nil", "not", "or", "pi", "pow", "rad2deg", "round", "sign", "sin", "sinh", "sqrt", "tan", "tanh", "true", "trunc", "matches", "contains",
}

// variableName returns the name of a variable that formulas can have.
func variableName(name string) string {
	if slices.Contains(formulaNames, name) {
		return name + "_"
	}
	return name
}

var formulaWords = strings.NewReplacer("pi()", "pi", "fmod(", "mod(", "**", "^", "ceil(", "ceil(")

// ourFormula returns a formula of Moodle as ours.
func ourFormula(s string) string {
	s = moodleVariable.ReplaceAllStringFunc(s, func(v string) string { return variableName(v[1 : len(v)-1]) })
	return formulaWords.Replace(strings.TrimSpace(s))
}

// theirFormula returns a formula of ours as Moodle's; false where Moodle lacks
// something of it.
func theirFormula(s string, names []string) (string, bool) {
	ok := !strings.ContainsAny(s, "<>=?!|&%^")
	var out strings.Builder
	last := 0
	for _, at := range formulaName.FindAllStringIndex(s, -1) {
		name := s[at[0]:at[1]]
		out.WriteString(s[last:at[0]])
		last = at[1]
		switch {
		case numberExponent.MatchString(s[:at[0]+1]) && strings.Trim(name[1:], "0123456789") == "":
			out.WriteString(name)
		case slices.Contains(names, name):
			out.WriteString("{" + name + "}")
		case name == "pi":
			out.WriteString("pi()")
		case name == "e":
			out.WriteString("exp(1)")
		case name == "mod":
			out.WriteString("fmod")
		case slices.Contains([]string{"and", "or", "not", "cbrt", "sign", "trunc", "ln", "log2"}, name):
			ok = false
		default:
			out.WriteString(name)
		}
	}
	out.WriteString(s[last:])
	return out.String(), ok
}

// ourTexts brings the formulas in a text of Moodle into our form before it is read.
func ourTexts(n *node) {
	if n == nil {
		return
	}
	if n.name == "" {
		n.text = moodleFormula.ReplaceAllStringFunc(n.text, func(s string) string { return "{=" + ourFormula(s[2:len(s)-1]) + "}" })
		n.text = moodleVariable.ReplaceAllStringFunc(n.text, func(s string) string { return "{" + variableName(s[1:len(s)-1]) + "}" })
		return
	}
	for _, k := range n.kids {
		ourTexts(k)
	}
}

// datasets reads the data sets of a question.
func (p *moodleParser) datasets() error {
	defs := p.n.child("dataset_definitions").all("dataset_definition")
	if len(defs) == 0 {
		return refuse("moodle.datasets", "It has no data sets.")
	}
	v := &pb.QuestionVariables{}
	rows := -1
	var columns [][]string
	for _, def := range defs {
		name := def.child("name").value("text")
		if len(def.kids) == 0 || name == "" {
			return refuse("moodle.datasets", "A data set has no name.")
		}
		v.Variables = append(v.Variables, &pb.QuestionVariable{Name: variableName(name)})
		items := def.child("dataset_items").all("dataset_item")
		column := make([]string, len(items))
		for i, item := range items {
			at := int(item.int("number")) - 1
			if at < 0 || at >= len(column) || column[at] != "" {
				at = i
			}
			column[at] = number(item.value("value"))
		}
		columns = append(columns, column)
		if rows < 0 || len(column) < rows {
			if rows >= 0 {
				p.changed("moodle.datasets", "Its data sets have different numbers of values; as many are taken as the shortest has.")
			}
			rows = len(column)
		} else if len(column) > rows {
			p.changed("moodle.datasets", "Its data sets have different numbers of values; as many are taken as the shortest has.")
		}
		if def.child("status").value("text") == "shared" && p.n.value("synchronize") != "0" && p.n.value("synchronize") != "" {
			v.Shared = "moodle"
			p.changed("moodle.shared", "Its data sets are synchronised with those of all questions that are so.")
		}
	}
	if rows > 1000 {
		p.changed("moodle.datasets", "At most 1,000 data sets are taken.")
		rows = 1000
	}
	for i := range rows {
		row := &pb.VariableRow{}
		for _, c := range columns {
			row.Values = append(row.Values, c[i])
		}
		v.Rows = append(v.Rows, row)
	}
	p.q.Variables = v
	return nil
}

// again reads the texts that have formulas in them.
func (p *moodleParser) again() {
	for _, name := range []string{"questiontext", "generalfeedback", "correctfeedback", "partiallycorrectfeedback", "incorrectfeedback"} {
		ourTexts(p.n.child(name))
	}
	for _, a := range append(p.n.all("answer"), p.n.all("hint")...) {
		ourTexts(a.child("feedback"))
	}
	p.q.Prompt, p.q.GeneralFeedback = p.of(p.n.child("questiontext")), p.of(p.n.child("generalfeedback"))
	p.q.RightFeedback, p.q.PartlyFeedback, p.q.WrongFeedback = p.of(p.n.child("correctfeedback")), p.of(p.n.child("partiallycorrectfeedback")), p.of(p.n.child("incorrectfeedback"))
}

func (p *moodleParser) calculated() error {
	if err := p.datasets(); err != nil {
		return err
	}
	p.again()
	c := &pb.CalculatedQuestion{}
	kinds := map[string]string{"1": "relative", "2": "absolute", "3": "geometric"}
	for _, a := range p.n.all("answer") {
		f, err := p.share(a)
		if err != nil {
			return err
		}
		one := &pb.CalculatedAnswer{Formula: ourFormula(a.child("text").words()), Fraction: f, Feedback: p.of(a.child("feedback")), Format: &pb.NumberFormat{}}
		kind := kinds[a.value("tolerancetype")]
		if kind == "" {
			kind = "absolute"
		}
		one.Tolerance = tolerance(kind, a.value("tolerance"))
		if length := a.value("correctanswerlength"); length != "" {
			one.Format.Digits = max(0, min(18, a.int("correctanswerlength")))
			one.Format.Kind = "decimal_places"
			if a.value("correctanswerformat") == "2" {
				one.Format.Kind = "significant_figures"
			}
		}
		c.Answers = append(c.Answers, one)
	}
	var err error
	c.Units, err = p.units()
	p.q.Body = &pb.QuestionContent_Calculated{Calculated: c}
	return err
}

// calculatedMulti reads options with formulas in them.
func (p *moodleParser) calculatedMulti() error {
	if err := p.datasets(); err != nil {
		return err
	}
	for _, a := range p.n.all("answer") {
		ourTexts(a.child("text"))
	}
	p.again()
	return p.multichoice()
}

// drawn returns data sets for variables that have ranges: fifty draws.
func drawn(q *pb.QuestionContent) (names []string, rows [][]string, err error) {
	for _, v := range q.GetVariables().GetVariables() {
		names = append(names, v.GetName())
	}
	if !slices.ContainsFunc(q.GetVariables().GetVariables(), func(v *pb.QuestionVariable) bool { return v.GetRange() != nil }) && len(q.GetVariables().GetConstraints()) == 0 {
		for _, r := range q.GetVariables().GetRows() {
			rows = append(rows, r.GetValues())
		}
		return names, rows, nil
	}
	compiled, err := question.Compile(q, question.Version)
	if err != nil {
		return nil, nil, err
	}
	for i := range int64(50) {
		in, err := compiled.Instance(question.Seed{Attempt: i})
		if err != nil {
			return nil, nil, err
		}
		var row []string
		for _, v := range in.Values() {
			row = append(row, v[1])
		}
		if !slices.ContainsFunc(rows, func(r []string) bool { return slices.Equal(r, row) }) {
			rows = append(rows, row)
		}
	}
	return names, rows, nil
}

// theirTexts brings the formulas of a text into Moodle's form.
func theirTexts(s string, names []string) string {
	return untouched.ReplaceAllStringFunc(s, func(v string) string {
		inner, ok := strings.CutPrefix(strings.Trim(v, "{}"), "=")
		if !ok {
			return v
		}
		out, _ := theirFormula(inner, names)
		return "{=" + out + "}"
	})
}

// moodleDatasets writes the data sets of a question.
func moodleDatasets(x *xmlOut, q *pb.QuestionContent) error {
	names, rows, err := drawn(q)
	if err != nil {
		return err
	}
	x.open("dataset_definitions")
	for i, name := range names {
		least, most, places := rows[0][i], rows[0][i], 0
		for _, r := range rows {
			_, part, _ := strings.Cut(r[i], ".")
			places = max(places, len(part))
			if a, ok := decimal(r[i]); ok {
				if b, ok := decimal(least); ok && a.Cmp(b) < 0 {
					least = r[i]
				}
				if b, ok := decimal(most); ok && a.Cmp(b) > 0 {
					most = r[i]
				}
			}
		}
		x.open("dataset_definition")
		for _, pair := range [][2]string{{"status", "private"}, {"name", name}, {"distribution", "uniform"}, {"minimum", least}, {"maximum", most}, {"decimals", fmt.Sprint(places)}} {
			wrap := pair[0]
			if wrap == "distribution" {
				x.el("type", "calculated")
			}
			x.open(wrap)
			x.el("text", pair[1])
			x.end(wrap)
		}
		x.el("itemcount", fmt.Sprint(len(rows)))
		x.open("dataset_items")
		for j, r := range rows {
			x.open("dataset_item")
			x.el("number", fmt.Sprint(j+1))
			x.el("value", r[i])
			x.end("dataset_item")
		}
		x.end("dataset_items")
		x.el("number_of_items", fmt.Sprint(len(rows)))
		x.end("dataset_definition")
	}
	x.end("dataset_definitions")
	return nil
}
