package question

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/apd/v3"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// maxDraws bounds how often values of ranges are drawn until the constraints hold.
const maxDraws = 1000

// maxSteps bounds the values of a range.
const maxSteps = 1_000_000

// variables are what differs between attempts.
type variables struct {
	names       []string
	ranges      []valueRange // of those that have one
	inRows      []int        // the places of those that have none
	rows        [][]string
	constraints []*formula
	shared      string
}

// valueRange is what a variable is drawn from: min + i × step, i being 0 to steps.
type valueRange struct {
	at        int
	name      string // as the stream of shared ones is known by: name and range
	min, step exact.Number
	steps     int
	places    int // that its values are written with
}

// value is a variable with its value.
type value struct {
	name string
	text string // as it is told
	dec  *apd.Decimal
}

// values are those of all variables, in their order.
type values []value

// String says them to a person.
func (v values) String() string {
	parts := make([]string, len(v))
	for i, one := range v {
		parts[i] = one.name + " = " + one.text
	}
	if len(parts) == 0 {
		return "its numbers"
	}
	return strings.Join(parts, ", ")
}

func (v values) with() string {
	if len(v) == 0 {
		return ""
	}
	return " with " + v.String()
}

func (v values) env() environment {
	env := make(environment, len(v))
	for i := range v {
		env[i] = v[i].dec
	}
	return env
}

func newVariables(in *pb.QuestionVariables, c *checker) *variables {
	if len(in.GetVariables()) == 0 {
		if len(in.GetRows()) > 0 || len(in.GetConstraints()) > 0 {
			c.add("variables.variables", "required", "Name the variables.")
		}
		return nil
	}
	out := &variables{shared: in.GetShared()}
	for i, v := range in.GetVariables() {
		path := index("variables.variables", i)
		_, isConstant := constants[v.GetName()]
		_, isFunction := functions[v.GetName()]
		switch {
		case out.has(v.GetName()):
			c.add(path+".name", "variable.twice", "Another variable has this name.")
		case isConstant || isFunction:
			c.add(path+".name", "variable.taken", "Formulas have a function or a constant of this name.")
		default:
			if f, err := parseFormula(v.GetName(), []string{v.GetName()}); err != nil || f.number == nil {
				c.add(path+".name", "variable.taken", "Formulas have this word for something else.")
			}
		}
		out.names = append(out.names, v.GetName())
		if v.GetRange() == nil {
			out.inRows = append(out.inRows, i)
			continue
		}
		if r, ok := c.valueRange(path+".range", v.GetRange()); ok {
			r.at = i
			r.name = fmt.Sprintf("%s %s %s %s", v.GetName(), r.min, exact.Int(int64(r.steps)).Mul(r.step).Add(r.min), r.step)
			out.ranges = append(out.ranges, r)
		}
	}
	out.readRows(in, c)
	for i, text := range in.GetConstraints() {
		f, err := parseFormula(text, out.names)
		switch {
		case err != nil:
			c.add(index("variables.constraints", i), "formula.invalid", "It can't be read: %v.", err)
		case f.truth == nil:
			c.add(index("variables.constraints", i), "formula.number", `A constraint is true or false, such as "a < b".`)
		default:
			out.constraints = append(out.constraints, f)
		}
	}
	return out
}

func (v *variables) has(name string) bool { return slices.Contains(v.names, name) }

func (v *variables) readRows(in *pb.QuestionVariables, c *checker) {
	if len(v.inRows) > 0 && len(in.GetRows()) == 0 {
		c.add("variables.rows", "required", "Send data sets for the variables without a range.")
	}
	for i, row := range in.GetRows() {
		path := index("variables.rows", i) + ".values"
		if len(row.GetValues()) != len(v.inRows) {
			c.add(path, "row.length", "Send %d values, one for each variable without a range.", len(v.inRows))
			continue
		}
		for j, text := range row.GetValues() {
			c.number(index(path, j), text)
		}
		v.rows = append(v.rows, row.GetValues())
	}
}

func (c *checker) valueRange(path string, r *pb.VariableRange) (valueRange, bool) {
	low, high, step := c.number(path+".min", r.GetMin()), c.number(path+".max", r.GetMax()), c.number(path+".step", r.GetStep())
	if step.Sign() <= 0 {
		c.add(path+".step", "range.step", "step is above 0.")
		return valueRange{}, false
	}
	if high.Cmp(low) < 0 {
		c.add(path+".max", "range.order", "max is not less than min.")
		return valueRange{}, false
	}
	steps := high.Sub(low).Div(step)
	if steps.Cmp(exact.Int(maxSteps-1)) > 0 {
		c.add(path+".step", "range.too_many", "A range has at most %d values.", maxSteps)
		return valueRange{}, false
	}
	n, err := strconv.Atoi(floorText(steps))
	if err != nil {
		c.add(path, "range.invalid", "The range can't be read.")
		return valueRange{}, false
	}
	return valueRange{min: low, step: step, steps: n, places: max(places(r.GetMin()), places(r.GetStep()))}, true
}

// floorText returns a number of at least 0 without what is behind its point.
func floorText(n exact.Number) string {
	r := n.Round(0, exact.HalfUp)
	if r.Cmp(n) > 0 {
		r = r.Sub(exact.Int(1))
	}
	return r.String()
}

// places returns how many digits a decimal has behind its point.
func places(text string) int {
	_, part, _ := strings.Cut(text, ".")
	return len(part)
}

// row returns the values of a data set; those of ranges have none.
func (v *variables) row(i int) values {
	out := make(values, len(v.names))
	for j, name := range v.names {
		out[j].name = name
	}
	for j, at := range v.inRows {
		out[at].set(v.rows[i][j])
	}
	return out
}

func (one *value) set(text string) {
	one.text = text
	one.dec, _, _ = apd.NewFromString(text) // it was checked
}

// holds reports whether all constraints hold.
func (v *variables) holds(values values) bool {
	env := values.env()
	for _, f := range v.constraints {
		if !f.holds(env) {
			return false
		}
	}
	return true
}

// from returns the numbers of something that is drawn: those of the question alone,
// or those that synchronised ones have in common.
func (v *variables) from(seed Seed, what string) *stream {
	if v.shared != "" {
		return seed.shared(v.shared, what)
	}
	return seed.stream(what)
}

// once draws values, whatever the constraints say. A variable of a range has a stream
// of its own, so that synchronised questions have the same value of it whatever other
// variables they have.
func (v *variables) once(seed Seed, try int) values {
	suffix := " " + strconv.Itoa(try)
	row := 0
	if len(v.rows) > 0 {
		row = v.from(seed, "row"+suffix).below(len(v.rows))
	}
	out := v.row(row)
	for _, r := range v.ranges {
		i := v.from(seed, "variable "+r.name+suffix).below(r.steps + 1)
		out[r.at].set(r.min.Add(r.step.Mul(exact.Int(int64(i)))).Text(min(r.places, 18)))
	}
	return out
}

// candidates returns what is tried in its order: all data sets in a random one, or up
// to 1,000 draws where there are ranges.
func (v *variables) candidates(seed Seed) iter.Seq[values] {
	return func(yield func(values) bool) {
		if len(v.ranges) > 0 {
			for try := range maxDraws {
				if !yield(v.once(seed, try)) {
					return
				}
			}
			return
		}
		order := make([]int, len(v.rows))
		for i := range order {
			order[i] = i
		}
		for _, i := range shuffle(v.from(seed, "rows"), order) {
			if !yield(v.row(i)) {
				return
			}
		}
	}
}

// draw returns values of the variables for which all formulas are numbers, and the
// kind with them. A draw that is not is passed over as one that breaks a constraint.
func (q *Question) draw(seed Seed) (values, kind, error) {
	if q.vars == nil {
		k, err := q.with(nil)
		return nil, k, err
	}
	for v := range q.vars.candidates(seed) {
		if !q.vars.holds(v) {
			continue
		}
		if k, err := q.with(v); err == nil {
			return v, k, nil
		}
	}
	return nil, nil, ErrDraw
}

// with returns the kind with values of the variables. The error is a *formulaError.
func (q *Question) with(v values) (kind, error) {
	k := q.kind
	if r, ok := k.(resolver); ok {
		var err error
		if k, err = r.resolve(v); err != nil {
			return nil, err
		}
	}
	env := v.env()
	for _, f := range q.texts {
		if _, err := f.eval(env); err != nil {
			return nil, &formulaError{f.path, err}
		}
	}
	return k, nil
}

// cost returns what it costs to evaluate all formulas once.
func (q *Question) cost() int {
	n := 1
	for _, f := range q.vars.constraints {
		n += f.cost
	}
	for _, f := range q.texts {
		n += f.cost
	}
	if k, ok := q.kind.(calculated); ok {
		for _, f := range k.formulas {
			n += f.cost
		}
	}
	return n
}
