package gradebook_test

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/gradebook"
)

// told is a derivation as a reader has it, who knows nothing but its JSON and the texts
// of gradebook.Formulas.
type told struct {
	Nodes []struct {
		Kind, Formula, Expression, Text, Value, Rounded string
		Empty                                           bool
		Inputs                                          []toldInput
	}
	Total int
}

type toldInput struct {
	Name, Ref, Value, Of string
	Node                 int
	Empty                bool
}

func read(s string) *big.Rat {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		panic("not a number: " + s)
	}
	return r
}

// reader calculates a derivation again.
type reader struct {
	told   told
	values []*big.Rat // nil: none
}

// check returns what is wrong with a derivation.
func (r *reader) check() error {
	r.values = make([]*big.Rat, len(r.told.Nodes))
	for i, node := range r.told.Nodes {
		if gradebook.Kinds[node.Kind] == "" || gradebook.Formulas[node.Formula] == "" {
			return fmt.Errorf("node %d: nobody says what %s and %s are", i, node.Kind, node.Formula)
		}
		for _, in := range node.Inputs {
			if in.Node >= i {
				return fmt.Errorf("node %d is made of %d, which comes later", i, in.Node)
			}
			if in.Node >= 0 && read(in.Value).Cmp(read(r.told.Nodes[in.Node].Value)) != 0 {
				return fmt.Errorf("node %d: %s is %s, and %s in its own step", i, in.Name, in.Value, r.told.Nodes[in.Node].Value)
			}
		}
		value, err := r.value(i)
		if err != nil {
			return fmt.Errorf("node %d: %w", i, err)
		}
		if (value == nil) != node.Empty || value != nil && value.Cmp(read(node.Value)) != 0 {
			return fmt.Errorf("node %d, %s by %s: read %v, told %s, empty %v", i, node.Kind, node.Formula, value, node.Value, node.Empty)
		}
		r.values[i] = value
	}
	return nil
}

func (r *reader) value(i int) (*big.Rat, error) {
	node := r.told.Nodes[i]
	in := map[string]*big.Rat{}
	for _, one := range node.Inputs {
		in[one.Name] = read(one.Value)
	}
	over := func(names ...string) (sum, of *big.Rat) {
		sum, of = num(0), num(0)
		for _, one := range node.Inputs {
			switch {
			case !slices.Contains(names, one.Name):
			case strings.HasSuffix(one.Name, "category"):
				sum.Add(sum, quo(mul(read(one.Value), read(one.Of)), num(100)))
				of.Add(of, read(one.Of))
			case strings.HasSuffix(one.Name, "mean"):
				sum.Add(sum, mul(read(one.Value), read(one.Of)))
				of.Add(of, read(one.Of))
			default:
				sum.Add(sum, read(one.Value))
				if one.Of != "" {
					of.Add(of, read(one.Of))
				}
			}
		}
		return sum, of
	}
	switch node.Formula {
	case "given":
		if len(node.Inputs) == 0 {
			return nil, nil //nolint:nilnil // no value is what it is
		}
		return read(node.Inputs[0].Value), nil
	case "best":
		return bestOf(node.Inputs, in)
	case "late":
		return left(in), nil
	case "missing":
		return quo(mul(in["points"], sub(num(100), in["deduction"])), num(100)), nil
	case "expression":
		e := &expression{text: node.Expression, inputs: node.Inputs}
		return e.read(), nil
	case "percent":
		return percentOf(in["score"], in["points"]), nil
	case "points":
		earned, of := over("earned", "category")
		extra, _ := over("extra", "extra_category")
		if of.Sign() == 0 {
			return nil, fmt.Errorf("of no points")
		}
		return percentOf(add(earned, extra), of), nil
	case "sum":
		if sum, _ := over("extra", "extra_category"); sum.Sign() != 0 {
			return sum, nil
		}
		return nil, nil //nolint:nilnil // no value is what it is
	case "mean":
		sum, of := over("mean")
		if of.Sign() == 0 {
			return nil, nil //nolint:nilnil // no value is what it is
		}
		mean := quo(sum, of)
		if extra, _ := over("extra_mean"); in["full"] != nil {
			mean = add(mean, quo(extra, in["full"]))
		}
		return mean, nil
	case "drop":
		return r.dropped(node.Inputs, in["ratio"])
	case "add":
		return add(in["percent"], in["by"]), nil
	case "scale":
		return percentOf(in["percent"], in["by"]), nil
	case "linear":
		return add(in["to"], quo(mul(sub(in["percent"], in["from"]), sub(in["to_2"], in["to"])), sub(in["from_2"], in["from"]))), nil
	case "min":
		if in["cap"].Cmp(in["percent"]) < 0 {
			return in["cap"], nil
		}
		return in["percent"], nil
	case "half_even", "half_up":
		return rounded(in["percent"], in["places"], node.Formula == "half_even"), nil
	case "letter":
		return in["min"], nil
	case "at_least":
		return truth(in["percent"].Cmp(in["mark"]) >= 0), nil
	}
	return nil, fmt.Errorf("unknown formula %s", node.Formula)
}

// left is what the formula late says.
func left(in map[string]*big.Rat) *big.Rat {
	intervals := new(big.Rat).Quo(in["late"], in["interval"])
	up := new(big.Int).Div(new(big.Int).Add(intervals.Num(), new(big.Int).Sub(intervals.Denom(), big.NewInt(1))), intervals.Denom())
	percent := mul(in["rate"], new(big.Rat).SetInt(up))
	if most := sub(percentOf(in["raw"], in["points"]), in["floor"]); most.Cmp(percent) < 0 {
		percent = most
	}
	if percent.Sign() < 0 {
		percent = num(0)
	}
	return sub(in["raw"], quo(mul(in["points"], percent), num(100)))
}

// bestOf is what the formula best says.
func bestOf(inputs []toldInput, in map[string]*big.Rat) (*big.Rat, error) {
	var raw, most *big.Rat
	for i := 0; i+1 < len(inputs) && inputs[i].Name == "raw"; i += 2 {
		if inputs[i+1].Name != "late" || inputs[i].Ref != inputs[i+1].Ref {
			return nil, fmt.Errorf("%v goes with %v", inputs[i], inputs[i+1])
		}
		in["raw"], in["late"] = read(inputs[i].Value), read(inputs[i+1].Value)
		counts := in["raw"]
		if in["rate"] != nil && in["late"].Cmp(in["grace"]) > 0 {
			counts = left(in)
		}
		if most == nil || counts.Cmp(most) > 0 {
			raw, most = in["raw"], counts
		}
	}
	return raw, nil
}

func truth(holds bool) *big.Rat {
	if holds {
		return num(1)
	}
	return num(0)
}

// dropped counts what is dropped, and sees that nothing better would be kept.
func (r *reader) dropped(inputs []toldInput, ratio *big.Rat) (*big.Rat, error) {
	count := int64(0)
	worth := func(in toldInput) *big.Rat {
		if r.told.Nodes[in.Node].Kind == "percent" {
			return mul(read(in.Of), sub(read(in.Value), ratio))
		}
		return sub(read(in.Value), quo(mul(read(in.Of), ratio), num(100)))
	}
	for _, in := range inputs {
		if !strings.HasPrefix(in.Name, "dropped") {
			continue
		}
		count++
		if in.Name != "dropped_lowest" || ratio == nil {
			continue
		}
		for _, other := range inputs {
			if other.Name == "kept" && worth(other).Cmp(worth(in)) < 0 {
				return nil, fmt.Errorf("%s is kept instead of %s", other.Ref, in.Ref)
			}
		}
	}
	return num(count), nil
}

func rounded(n, places *big.Rat, even bool) *big.Rat {
	scale := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), places.Num(), nil))
	scaled := mul(new(big.Rat).Abs(n), scale)
	whole := new(big.Int).Quo(scaled.Num(), scaled.Denom())
	rest := sub(scaled, new(big.Rat).SetInt(whole))
	if c := rest.Cmp(big.NewRat(1, 2)); c > 0 || c == 0 && (!even || whole.Bit(0) == 1) {
		whole.Add(whole, big.NewInt(1))
	}
	if n.Sign() < 0 {
		whole.Neg(whole)
	}
	return quo(new(big.Rat).SetInt(whole), scale)
}

// expression reads a course's formula. It knows what tests draw: brackets stand around
// each operation.
type expression struct {
	text   string
	inputs []toldInput
	used   int
}

func (e *expression) next(token string) bool {
	e.text = strings.TrimSpace(e.text)
	rest, ok := strings.CutPrefix(e.text, token)
	if ok {
		e.text = rest
	}
	return ok
}

func (e *expression) read() *big.Rat {
	if e.next("(") {
		a := e.read()
		for _, operation := range []string{"+", "-", "*", "/", "<", ">=", "="} {
			if e.next(operation) {
				return e.closed(call{operation, []expr{known{a}, known{e.read()}}})
			}
		}
		panic(e.text)
	}
	if e.text[0] >= '0' && e.text[0] <= '9' {
		end := strings.IndexFunc(e.text, func(c rune) bool { return c != '.' && (c < '0' || c > '9') })
		if end < 0 {
			end = len(e.text)
		}
		n := read(e.text[:end])
		e.text = e.text[end:]
		return n
	}
	at := strings.IndexAny(e.text, "([")
	name, bracket := e.text[:at], e.text[at]
	if bracket == '[' {
		end := strings.IndexByte(e.text, ']')
		in := e.inputs[e.used]
		if in.Name != e.text[:end+1] {
			panic("the input of " + e.text + " is " + in.Name)
		}
		e.text = e.text[end+1:]
		e.used++
		if in.Empty {
			return nil
		}
		return read(in.Value)
	}
	e.text = e.text[at+1:]
	c := call{name: name}
	for {
		c.of = append(c.of, known{e.read()})
		if !e.next(",") {
			return e.closed(c)
		}
	}
}

func (e *expression) closed(c call) *big.Rat {
	if !e.next(")") {
		panic("not closed: " + e.text)
	}
	return c.value(nil)
}

type known struct{ n *big.Rat }

func (k known) text() string          { return "" }
func (k known) value(*naive) *big.Rat { return k.n }

func readAgain(d *gradebook.Derivation) (*reader, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	r := &reader{}
	if err := json.Unmarshal(text, &r.told); err != nil {
		return nil, err
	}
	return r, r.check()
}

// TestDerivationsHold: whoever has a derivation calculates the same digits.
func TestDerivationsHold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := drawing{t: t}
		c := d.course()
		row := d.row(&c)
		book := compiled(t, c.policy)
		result := book.Student(row)
		for _, seen := range eyes {
			for _, basis := range bases {
				derived := book.Explain(row, seen, basis)
				r, err := readAgain(derived)
				if err != nil {
					text, _ := json.MarshalIndent(derived, "", " ")
					t.Fatalf("%v\n%s", err, text)
				}
				view := result.View(seen, basis)
				for i, g := range c.policy.Categories {
					part(t, book, row, seen, basis, gradebook.Part{Category: g.Key}, &view.Categories[i])
				}
				for i, p := range c.policy.Periods {
					part(t, book, row, seen, basis, gradebook.Part{Period: p.Key}, &view.Periods[i])
					for _, g := range c.policy.Categories {
						part(t, book, row, seen, basis, gradebook.Part{Category: g.Key, Period: p.Key}, nil)
					}
				}
				want := view.Total
				if !want.Has {
					if r.told.Total != -1 {
						t.Fatalf("a total of nothing is told")
					}
					continue
				}
				total := r.told.Nodes[r.told.Total]
				if got := r.values[r.told.Total]; got.Cmp(rat(want.Rounded)) != 0 || total.Rounded != want.Rounded.Text(c.policy.Rounding.Places) {
					t.Fatalf("read %v, shown %s, want %s", got, total.Rounded, want.Rounded)
				}
				if rest := r.told.Nodes[r.told.Total+1:]; len(rest) != 2 || rest[0].Text != want.Letter || (rest[1].Value == "1") != want.Passed {
					t.Fatalf("judged otherwise: %v", rest)
				}
			}
		}
	})
}

// part holds the derivation of a part to what it comes to, where that is known.
func part(t *rapid.T, b *gradebook.Book, row *gradebook.Row, seen gradebook.Seen, basis gradebook.Basis, of gradebook.Part, want *gradebook.Value) {
	derived := b.ExplainPart(row, seen, basis, of)
	r, err := readAgain(derived)
	text, _ := json.MarshalIndent(derived, "", " ")
	switch at := derived.Total; {
	case err != nil:
		t.Fatalf("%v: %v\n%s", of, err, text)
	case at >= 0 && (at != len(r.values)-1 || derived.Nodes[at].Period != of.Period):
		t.Fatalf("%v: %d is not the last step, or of something else\n%s", of, at, text)
	case want == nil:
	case want.Has != (at >= 0), want.Has && r.values[at].Cmp(rat(b.Round(want.Percent))) != 0:
		t.Fatalf("%v comes to %s, %v\n%s", of, want.Percent, want.Has, text)
	}
	used := map[int]bool{len(derived.Nodes) - 1: true}
	for _, n := range derived.Nodes {
		for _, in := range n.Inputs {
			used[in.Node] = true
		}
	}
	for i := range derived.Nodes {
		if !used[i] {
			t.Fatalf("%v: step %d leads to nothing\n%s", of, i, text)
		}
	}
}

// TestExplainSays is a derivation to the letter.
func TestExplainSays(t *testing.T) {
	t.Parallel()
	c := points().category(gradebook.Category{Key: "hw", Title: "Homework", DropLowest: 1}, "9/10", "2/3", "7/10", "x/10", "5/10?")
	c.policy.Late = &gradebook.LatePolicy{Rate: n("10"), Interval: 3600}
	c.policy.Items[0].Title = "First"
	c.row.Marks[0].Late = 1
	c.policy.PassMark, c.policy.Letters = new(n("70")), []gradebook.Letter{{Letter: "A", Min: n("75")}, {Letter: "F"}}
	b, err := gradebook.Compile(&c.policy)
	if err != nil {
		t.Fatal(err)
	}
	d := b.Explain(&c.row, gradebook.Posted, gradebook.Current)
	var got []string
	for i, node := range d.Nodes {
		var of []string
		for _, in := range node.Inputs {
			s := in.Name + " " + in.Value.String()
			if in.Of != nil {
				s += "/" + in.Of.String()
			}
			if in.Node >= 0 {
				s += fmt.Sprintf(" @%d", in.Node)
			}
			of = append(of, s)
		}
		got = append(got, fmt.Sprintf("%d %s %s%s %s: %s = %s%s", i, node.Kind, node.Ref, node.Label, node.Formula, strings.Join(of, ", "), node.Rounded, node.Text))
	}
	want := `0 mark i1First given: raw 9 = 9.00
1 late i1First late: raw 9 @0, points 10, rate 10, late 1, interval 3600, floor 0 = 8.00
2 mark i2 given: raw 2 = 2.00
3 mark i3 given: raw 7 = 7.00
4 drop hwHomework drop: kept 8/10 @1, kept 2/3 @2, dropped_lowest 7/10 @3, ratio 1000/13 = 1.00
5 excused i4 given:  = 0.00
6 unscored i5 given:  = 0.00
7 category hwHomework points: drop 1 @4, earned 8/10 @1, earned 2/3 @2, dropped_lowest 7/10 @3, excused 0/10 @5, unscored 0/10 @6 = 76.92
8 course  points: category 1000/13/13 @7 = 76.92
9 total  half_up: percent 1000/13 @8, places 2 = 76.92
10 letter  letter: percent 76.92 @9, min 75 = 75.00A
11 pass  at_least: percent 76.92 @9, mark 70 = 1.00`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
	if d.Total != 9 || d.Version != 1 || d.Seen != "posted" || d.Basis != "current" {
		t.Errorf("total %d of version %d, %s, %s", d.Total, d.Version, d.Seen, d.Basis)
	}
}
