package question

import (
	"errors"
	"fmt"
	"slices"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/rpc"
)

// maxFaults bounds what is told at once.
const maxFaults = 50

// checker collects what is wrong.
type checker struct {
	engine int // the version of the engine that a question is read for
	faults []fault.Field
}

func (c *checker) add(path, code, format string, args ...any) {
	if len(c.faults) < maxFaults {
		c.faults = append(c.faults, fault.Field{Path: path, Code: code, Hint: fmt.Sprintf(format, args...)})
	}
}

func (c *checker) err() error {
	if len(c.faults) == 0 {
		return nil
	}
	return &fault.Error{
		Kind: fault.Invalid, Code: "question.invalid",
		Message: "The question is not accepted as it is.", Fields: c.faults,
	}
}

func index(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

// fraction reads a fraction of an inclusive range.
func (c *checker) fraction(path, text, empty, low, high string) exact.Number {
	if text == "" {
		text = empty
	}
	n, err := exact.Parse(text)
	if err != nil {
		c.add(path, "fraction.invalid", `Send a decimal such as "0.5" or a fraction such as "1/3".`)
		return exact.Number{}
	}
	if n.Cmp(exact.MustParse(low)) < 0 || n.Cmp(exact.MustParse(high)) > 0 {
		c.add(path, "fraction.range", "Send a fraction of %s to %s.", low, high)
		return exact.Number{}
	}
	return n
}

// keys reports keys that are missing or there twice.
func (c *checker) keys(path string, n int, key func(i int) string) {
	seen := make(map[string]bool, n)
	for i := range n {
		switch k := key(i); {
		case k == "":
			c.add(index(path, i)+".key", "key.missing", "Give it a key.")
		case seen[k]:
			c.add(index(path, i)+".key", "key.twice", "Another one has this key.")
		default:
			seen[k] = true
		}
	}
}

// ref reports a key that names nothing.
func (c *checker) ref(path, key string, known func(key string) bool) {
	if !known(key) {
		c.add(path, "key.unknown", "The question has nothing with this key.")
	}
}

// refs reports keys that name nothing, or the same twice.
func (c *checker) refs(path string, keys []string, known func(key string) bool) {
	for i, k := range keys {
		c.ref(index(path, i), k, known)
		if known(k) && slices.Contains(keys[:i], k) {
			c.add(index(path, i), "key.twice", "It is named before.")
		}
	}
}

const (
	// tries is how many draws [Validate] looks at where it can't look at all.
	tries = 200
	// maxWork bounds what it costs to look at them, as [maxCost].
	maxWork = 500_000
)

// Validate returns what is wrong with what an author wrote, as a *[fault.Error] with
// the path of each field; nil for nothing. It holds the question to the limits of
// the contract, reads it, and tries all rows of its variables, or 200 draws where
// they come of ranges (fewer of formulas that take long): each has to make every
// formula a number, and the right answer has to be scored as right.
func Validate(q *pb.QuestionContent) error {
	if q == nil {
		return fault.InvalidField("", "required", "Send a question.")
	}
	c := &checker{engine: Version}
	if err := rpc.Check(q); err != nil {
		f, ok := errors.AsType[*fault.Error](err)
		if !ok {
			return err
		}
		c.faults = append(c.faults, f.Fields...)
		return c.err()
	}
	norm := Normalise(q)
	if err := rpc.Check(norm); err != nil { // what was filled in
		return err
	}
	out := compile(norm, c)
	if text, err := Canonical(norm); err != nil {
		return err
	} else if len(text) > MaxQuestion {
		c.add("", "question.too_large", "A question has at most %d KiB.", MaxQuestion>>10)
	}
	if len(c.faults) == 0 {
		c.draws(out)
	}
	return c.err()
}

// draws tries what the variables can be.
func (c *checker) draws(q *Question) {
	if q.vars == nil {
		c.instance(q, nil)
		return
	}
	cost := q.cost()
	switch {
	case cost > maxCost:
		c.add("variables", "formula.too_much", "Its formulas take too long together: leave out functions.")
	case len(q.vars.ranges) > 0:
		c.ranges(q, cost)
	case len(q.vars.rows)*cost > maxWork:
		c.add("variables.rows", "formula.too_much", "Its formulas take too long for so many data sets: send fewer, or leave out functions.")
	default:
		c.rows(q)
	}
}

// rows tries all data sets.
func (c *checker) rows(q *Question) {
	allowed := false
	for i := range q.vars.rows {
		v := q.vars.row(i)
		if !q.vars.holds(v) {
			continue
		}
		allowed = true
		if !c.instance(q, v) {
			return
		}
	}
	if !allowed {
		c.add("variables.constraints", "variables.none", "No data set fulfils the constraints.")
	}
}

// ranges tries draws, of which one of 20 has to fulfil the constraints.
func (c *checker) ranges(q *Question, cost int) {
	drawn, want := 0, max(20, min(tries, maxWork/cost))
	for i := range want * 20 {
		v := q.vars.once(Seed{Attempt: int64(i)}, i)
		if !q.vars.holds(v) {
			continue
		}
		if !c.instance(q, v) {
			return
		}
		if drawn++; drawn == want {
			return
		}
	}
	c.add("variables.constraints", "variables.none", "Hardly any values of the ranges fulfil the constraints: change the ranges, or send data sets.")
}

// instance reports whether a question with values of its variables can be asked.
func (c *checker) instance(q *Question, v values) bool {
	k, err := q.with(v)
	if err != nil {
		path := "variables"
		if p, ok := errors.AsType[*formulaError](err); ok {
			path = p.path
		}
		c.add(path, "formula.undefined", "With %s it is no number: %s. Add a constraint that leaves this out.", v, errors.Unwrap(err))
		return false
	}
	in := &Instance{Question: q, values: v, kind: k}
	right := k.right(in)
	if right == nil {
		return true
	}
	if err := in.CheckAnswer(right); err != nil {
		c.add("body", "right.refused", "The right answer could not be given%s: %v.", v.with(), err)
		return false
	}
	if s := in.Score(right); s.Fraction.Cmp(exact.Int(1)) < 0 {
		c.add("body", "right.unreachable", "The right answer%s gives %s of the points, because what is before it or another rule takes them.", v.with(), s.Fraction)
		return false
	}
	return true
}
