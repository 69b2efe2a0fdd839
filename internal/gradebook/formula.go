package gradebook

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/stoa-lms/stoa/internal/exact"
)

// Limits of a formula.
const (
	MaxFormula   = 2000 // bytes
	maxNesting   = 50
	maxArguments = 100
	maxConstant  = 20 // bytes of a number
)

// Formula is a calculated item's rule over other items and categories:
//
//	0.6 * percent[exam] + 0.4 * max(percent[essay], category[homework])
//	if(points[exam] >= 20, sum(points[a], points[b]), 0)
//
// There are +, -, *, / (also −, ×, ÷), the comparisons <, <=, >, >=, =, !=, which are 1
// or 0, brackets, numbers such as 62.5, and
//
//	points[item]      what the item has, after the late policy and overrides
//	possible[item]    what it may have
//	percent[item]     points ÷ possible × 100
//	category[key]     the category's percentage over all periods
//	min, max, avg, sum of one or more; those without a value are passed over
//	if(condition, then, else)
//	default(x, y)     x, or y where x has no value
//
// What has no score has no value, and what is calculated of it has none; in a final
// total it is 0, but for what is excused. A division by 0 has no value. All is exact:
// there is nothing in it that rounds.
type Formula struct {
	text string
	ops  []op // in the order of evaluation, on a stack
	refs []reference
}

// reference is a place of the text that names an item or a category.
type reference struct {
	kind       string // "points", "possible", "percent" or "category"
	name       string
	begin, end int // of the name in the text
}

type opcode uint8

const (
	opConstant opcode = iota
	opReference
	opAdd
	opSub
	opMul
	opDiv
	opNeg
	opLess
	opLessEqual
	opGreater
	opGreaterEqual
	opEqual
	opUnequal
	opMin
	opMax
	opAvg
	opSum
	opIf
	opDefault
)

type op struct {
	code  opcode
	count int          // of operands, or which reference
	value exact.Number // of a constant
}

// SyntaxError says what is wrong with a formula, and where.
type SyntaxError struct {
	At   int // in bytes from the start
	What string
}

// Error returns both.
func (e *SyntaxError) Error() string { return fmt.Sprintf("at %d: %s", e.At+1, e.What) }

// ParseFormula reads a formula. The error is a *SyntaxError.
func ParseFormula(text string) (*Formula, error) {
	p := &parser{text: text, f: &Formula{text: text}}
	switch {
	case len(text) > MaxFormula:
		return nil, &SyntaxError{0, fmt.Sprintf("a formula has at most %d bytes", MaxFormula)}
	case !utf8.ValidString(text):
		return nil, &SyntaxError{0, "this is no text"}
	}
	p.comparison()
	if p.space(); p.err == nil && p.at < len(text) {
		p.fail("here is more than a formula")
	}
	if p.err != nil {
		return nil, p.err
	}
	return p.f, nil
}

// Items returns the items that a formula names, Categories the categories, each once.
func (f *Formula) Items() []string {
	return f.names(func(kind string) bool { return kind != "category" })
}

// Categories returns the categories that a formula names, each once.
func (f *Formula) Categories() []string {
	return f.names(func(kind string) bool { return kind == "category" })
}

func (f *Formula) names(of func(kind string) bool) []string {
	var names []string
	for _, r := range f.refs {
		if of(r.kind) && !slices.Contains(names, r.name) {
			names = append(names, r.name)
		}
	}
	return names
}

// RenameItems returns the formula's text with other names of items.
func (f *Formula) RenameItems(to func(name string) string) string {
	var out strings.Builder
	at := 0
	for _, r := range f.refs {
		if r.kind != "category" {
			out.WriteString(f.text[at:r.begin])
			out.WriteString(to(r.name))
			at = r.end
		}
	}
	out.WriteString(f.text[at:])
	return out.String()
}

// parser descends through the text and writes operations behind each other.
type parser struct {
	text  string
	at    int
	depth int
	f     *Formula
	err   *SyntaxError
}

func (p *parser) fail(what string) {
	if p.err == nil {
		p.err = &SyntaxError{p.at, what}
	}
}

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// take passes over the first of the given that is next.
func (p *parser) take(tokens ...string) string {
	p.space()
	for _, t := range tokens {
		if p.err == nil && strings.HasPrefix(p.text[p.at:], t) {
			p.at += len(t)
			return t
		}
	}
	return ""
}

func (p *parser) emit(code opcode, count int) {
	p.f.ops = append(p.f.ops, op{code: code, count: count})
}

func (p *parser) comparison() {
	p.sum()
	codes := map[string]opcode{"<=": opLessEqual, ">=": opGreaterEqual, "!=": opUnequal, "==": opEqual, "<": opLess, ">": opGreater, "=": opEqual}
	if t := p.take("<=", ">=", "!=", "==", "<", ">", "="); t != "" {
		p.sum()
		p.emit(codes[t], 2)
	}
}

func (p *parser) sum() {
	p.product()
	for p.err == nil {
		switch p.take("+", "-", "−") {
		case "+":
			p.product()
			p.emit(opAdd, 2)
		case "-", "−":
			p.product()
			p.emit(opSub, 2)
		default:
			return
		}
	}
}

func (p *parser) product() {
	p.factor()
	for p.err == nil {
		switch p.take("*", "×", "/", "÷") {
		case "*", "×":
			p.factor()
			p.emit(opMul, 2)
		case "/", "÷":
			p.factor()
			p.emit(opDiv, 2)
		default:
			return
		}
	}
}

func (p *parser) factor() {
	if p.depth++; p.depth > maxNesting {
		p.fail("this is nested too deep")
	}
	defer func() { p.depth-- }()
	if p.err != nil {
		return
	}
	switch {
	case p.take("-", "−") != "":
		p.factor()
		p.emit(opNeg, 1)
	case p.take("(") != "":
		p.comparison()
		p.expect(")")
	default:
		p.word()
	}
}

func (p *parser) expect(token string) {
	if p.take(token) == "" {
		p.fail(fmt.Sprintf("%q is missing", token))
	}
}

var functions = map[string]opcode{"min": opMin, "max": opMax, "avg": opAvg, "sum": opSum, "if": opIf, "default": opDefault}

// word reads a number, a call or a reference.
func (p *parser) word() {
	start := p.at
	for p.at < len(p.text) && (isLetter(p.text[p.at]) || isDigit(p.text[p.at]) || p.text[p.at] == '.') {
		p.at++
	}
	word := p.text[start:p.at]
	switch {
	case word == "":
		p.fail("a number, a name or a bracket is missing")
	case isDigit(word[0]):
		n, err := exact.Parse(word)
		if err != nil || len(word) > maxConstant {
			p.at = start
			p.fail("this is no number")
			return
		}
		p.f.ops = append(p.f.ops, op{code: opConstant, value: n})
	case word == "points", word == "possible", word == "percent", word == "category":
		p.reference(word)
	default:
		code, ok := functions[word]
		if !ok {
			p.at = start
			p.fail("there is no such function; there are min, max, avg, sum, if, default, points, possible, percent and category")
			return
		}
		p.call(code)
	}
}

func (p *parser) reference(kind string) {
	if p.expect("["); p.err != nil {
		return
	}
	p.space()
	begin := p.at
	for p.at < len(p.text) && (isLetter(p.text[p.at]) || isDigit(p.text[p.at]) || strings.IndexByte("_-./:", p.text[p.at]) >= 0) {
		p.at++
	}
	r := reference{kind, p.text[begin:p.at], begin, p.at}
	if r.name == "" {
		p.fail("a name is missing")
	}
	p.expect("]")
	p.f.ops = append(p.f.ops, op{code: opReference, count: len(p.f.refs)})
	p.f.refs = append(p.f.refs, r)
}

func (p *parser) call(code opcode) {
	p.expect("(")
	count := 0
	for p.err == nil {
		p.comparison()
		if count++; count > maxArguments {
			p.fail(fmt.Sprintf("a function takes at most %d values", maxArguments))
		}
		if p.take(",") == "" {
			break
		}
	}
	p.expect(")")
	if want := map[opcode]int{opIf: 3, opDefault: 2}[code]; want > 0 && count != want {
		p.fail(fmt.Sprintf("this function takes %d values", want))
	}
	p.emit(code, count)
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
