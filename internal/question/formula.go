package question

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/apd/v3"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/parser"

	"github.com/stoa-lms/stoa/internal/exact"
)

// Limits of a formula.
const (
	maxFormula = 1000 // bytes
	maxNodes   = 300  // and so its depth
	// What all formulas of a question cost together to be evaluated once: a node costs
	// 1, about a microsecond, and a function up to 100.
	maxCost = 5000
)

// formula is an expression over variables. Its grammar is that of expr-lang, of
// which only numbers, operators, names and calls of our functions are taken; there
// are no loops, so that its time is bounded by its size.
//
// It is evaluated in decimals of 34 digits, rounded half to even after each step,
// with functions that are ours or apd's: nothing of it is a binary float, so that it
// makes the same digits on every processor. What it makes is rounded to 30 digits,
// halves away from zero, so that 1 / 3 * 3 is 1.
type formula struct {
	source string
	cost   int        // to evaluate it once, at most
	number numberFunc // nil for one that is true or false
	truth  truthFunc
}

// environment are the values of variables by their place.
type environment []*apd.Decimal

type (
	numberFunc func(env environment) (*apd.Decimal, error)
	truthFunc  func(env environment) (bool, error)
)

// What keeps a formula from being a number.
var (
	errUndefined = errors.New("the result is undefined")
	errTooLarge  = errors.New("a result is too large")
)

// formulaError says which formula is no number.
type formulaError struct {
	path string
	err  error
}

func (e *formulaError) Error() string { return e.path + ": " + e.err.Error() }
func (e *formulaError) Unwrap() error { return e.err }

// parseConfig lets the parser take the names of our functions as names, and none of
// its own functions with loops. The parser only reads it.
var parseConfig = sync.OnceValue(func() *conf.Config {
	cfg := conf.CreateNew()
	cfg.MaxNodes = maxNodes
	for name := range cfg.Builtins {
		cfg.Disabled[name] = true
	}
	return cfg
})

// parseFormula reads a formula over variables of these names.
func parseFormula(source string, names []string) (*formula, error) {
	if len(source) > maxFormula {
		return nil, fmt.Errorf("a formula has at most %d characters", maxFormula)
	}
	tree, err := parser.ParseWithConfig(source, parseConfig())
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return nil, errors.New(first)
	}
	p := &formulaParser{source: []rune(source), names: names}
	num, truth, err := p.node(tree.Node)
	if err != nil {
		return nil, err
	}
	return &formula{source: source, cost: p.cost, number: num, truth: truth}, nil
}

// eval returns the value of a formula that makes a number.
func (f *formula) eval(env environment) (exact.Number, error) {
	d, err := f.number(env)
	if err != nil {
		return exact.Number{}, err
	}
	return toExact(d)
}

// holds returns the value of a formula that is true or false; one without a value
// does not hold.
func (f *formula) holds(env environment) bool {
	ok, err := f.truth(env)
	return err == nil && ok
}

// result rounds what a formula made.
var result = &apd.Context{Precision: 30, MaxExponent: maxExponent, MinExponent: -maxExponent, Rounding: apd.RoundHalfUp}

func toExact(d *apd.Decimal) (exact.Number, error) {
	var r apd.Decimal
	if _, err := result.Round(&r, d); err != nil || r.Form != apd.Finite {
		return exact.Number{}, errUndefined
	}
	if r.IsZero() {
		return exact.Number{}, nil
	}
	r.Reduce(&r)
	e := int(r.Exponent)
	n, err := exact.Parse(r.Coeff.String())
	if err != nil || e > 100 || e < -maxExponent {
		return exact.Number{}, errTooLarge
	}
	if r.Negative {
		n = n.Neg()
	}
	return n.Mul(power(e)), nil
}

type formulaParser struct {
	source []rune
	names  []string
	nodes  int
	cost   int
}

// node returns what evaluates a node: one of both.
func (p *formulaParser) node(n ast.Node) (numberFunc, truthFunc, error) {
	if p.nodes++; p.nodes > maxNodes {
		return nil, nil, errors.New("the formula is too long")
	}
	p.cost++
	switch n := n.(type) {
	case *ast.IntegerNode:
		f, err := constantOf(fmt.Sprint(n.Value))
		return f, nil, err
	case *ast.FloatNode:
		// The text itself: a float of it has other digits.
		loc := n.Location()
		if loc.From < 0 || loc.To > len(p.source) || loc.From >= loc.To {
			return nil, nil, errors.New("a number can't be read")
		}
		f, err := constantOf(strings.ReplaceAll(string(p.source[loc.From:loc.To]), "_", ""))
		return f, nil, err
	case *ast.BoolNode:
		return nil, func(environment) (bool, error) { return n.Value, nil }, nil
	case *ast.IdentifierNode:
		f, err := p.name(n.Value)
		return f, nil, err
	case *ast.UnaryNode:
		return p.unary(n)
	case *ast.BinaryNode:
		return p.binary(n)
	case *ast.ConditionalNode:
		return p.conditional(n)
	case *ast.CallNode:
		f, err := p.call(n)
		return f, nil, err
	default:
		return nil, nil, errors.New("a formula has numbers, variables, operators and functions")
	}
}

func constantOf(text string) (numberFunc, error) {
	d, _, err := apd.NewFromString(text)
	if err != nil || d.Form != apd.Finite || d.NumDigits() > 34 || d.Exponent > maxExponent || d.Exponent < -maxExponent {
		return nil, fmt.Errorf("%q is no number here", text)
	}
	return func(environment) (*apd.Decimal, error) { return d, nil }, nil
}

func (p *formulaParser) name(name string) (numberFunc, error) {
	if c, ok := constants[name]; ok {
		return func(environment) (*apd.Decimal, error) { return c, nil }, nil
	}
	i := slices.Index(p.names, name)
	if i < 0 {
		return nil, fmt.Errorf("there is no variable %q", name)
	}
	return func(env environment) (*apd.Decimal, error) { return env[i], nil }, nil
}

func (p *formulaParser) number(n ast.Node) (numberFunc, error) {
	f, _, err := p.node(n)
	if err == nil && f == nil {
		err = errors.New("a number has to be where something is true or false")
	}
	return f, err
}

func (p *formulaParser) truth(n ast.Node) (truthFunc, error) {
	_, f, err := p.node(n)
	if err == nil && f == nil {
		err = errors.New("a comparison has to be where a number is")
	}
	return f, err
}

func (p *formulaParser) unary(n *ast.UnaryNode) (numberFunc, truthFunc, error) {
	switch n.Operator {
	case "not", "!":
		f, err := p.truth(n.Node)
		return nil, func(env environment) (bool, error) {
			ok, err := f(env)
			return !ok, err
		}, err
	case "-":
		f, err := p.number(n.Node)
		return func(env environment) (*apd.Decimal, error) {
			x, err := f(env)
			if err != nil {
				return nil, err
			}
			return new(apd.Decimal).Neg(x), nil
		}, nil, err
	case "+":
		f, err := p.number(n.Node)
		return f, nil, err
	}
	return nil, nil, fmt.Errorf("there is no operator %s", n.Operator)
}

// operators make a number of two.
var operators = map[string]func(x, y *apd.Decimal) (*apd.Decimal, error){
	"+": add, "-": sub, "*": mul, "/": quo, "%": rem, "^": pow, "**": pow,
}

// comparisons make true or false of how one compares with another.
var comparisons = map[string]func(cmp int) bool{
	"==": func(c int) bool { return c == 0 }, "!=": func(c int) bool { return c != 0 },
	"<": func(c int) bool { return c < 0 }, "<=": func(c int) bool { return c <= 0 },
	">": func(c int) bool { return c > 0 }, ">=": func(c int) bool { return c >= 0 },
}

func (p *formulaParser) binary(n *ast.BinaryNode) (numberFunc, truthFunc, error) {
	if op, ok := operators[n.Operator]; ok {
		if n.Operator == "^" || n.Operator == "**" {
			p.cost += slow
		}
		x, y, err := p.two(n.Left, n.Right)
		return func(env environment) (*apd.Decimal, error) {
			a, err := x(env)
			if err != nil {
				return nil, err
			}
			b, err := y(env)
			if err != nil {
				return nil, err
			}
			return op(a, b)
		}, nil, err
	}
	if cmp, ok := comparisons[n.Operator]; ok {
		x, y, err := p.two(n.Left, n.Right)
		return nil, func(env environment) (bool, error) {
			c, err := compare(env, x, y)
			return err == nil && cmp(c), err
		}, err
	}
	and := n.Operator == "and" || n.Operator == "&&"
	if !and && n.Operator != "or" && n.Operator != "||" {
		return nil, nil, fmt.Errorf("there is no operator %s", n.Operator)
	}
	left, err := p.truth(n.Left)
	if err != nil {
		return nil, nil, err
	}
	right, err := p.truth(n.Right)
	return nil, func(env environment) (bool, error) {
		ok, err := left(env)
		if err != nil || ok != and {
			return ok, err
		}
		return right(env)
	}, err
}

func (p *formulaParser) two(left, right ast.Node) (x, y numberFunc, err error) {
	if x, err = p.number(left); err != nil {
		return nil, nil, err
	}
	y, err = p.number(right)
	return x, y, err
}

// compare compares two numbers but for the last digits, which rounding has made.
func compare(env environment, x, y numberFunc) (int, error) {
	a, err := x(env)
	if err != nil {
		return 0, err
	}
	b, err := y(env)
	if err != nil {
		return 0, err
	}
	d, err := sub(a, b)
	if err != nil {
		return 0, err
	}
	if negligible(d, a) {
		return 0, nil
	}
	return d.Sign(), nil
}

func (p *formulaParser) conditional(n *ast.ConditionalNode) (numberFunc, truthFunc, error) {
	cond, err := p.truth(n.Cond)
	if err != nil {
		return nil, nil, err
	}
	x, err := p.number(n.Exp1)
	if err != nil {
		return nil, nil, err
	}
	y, err := p.number(n.Exp2)
	return func(env environment) (*apd.Decimal, error) {
		ok, err := cond(env)
		if err != nil {
			return nil, err
		}
		if ok {
			return x(env)
		}
		return y(env)
	}, nil, err
}

func (p *formulaParser) call(n *ast.CallNode) (numberFunc, error) {
	callee, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		return nil, errors.New("only functions can be called")
	}
	f, ok := functions[callee.Value]
	if !ok {
		return nil, fmt.Errorf("there is no function %q", callee.Value)
	}
	if len(n.Arguments) < f.least || len(n.Arguments) > f.most {
		return nil, fmt.Errorf("%s takes %d to %d numbers", callee.Value, f.least, f.most)
	}
	p.cost += f.cost
	args := make([]numberFunc, len(n.Arguments))
	for i, one := range n.Arguments {
		var err error
		if args[i], err = p.number(one); err != nil {
			return nil, err
		}
	}
	return func(env environment) (*apd.Decimal, error) {
		in := make([]*apd.Decimal, len(args))
		for i, arg := range args {
			var err error
			if in[i], err = arg(env); err != nil {
				return nil, err
			}
		}
		return f.eval(in)
	}, nil
}
