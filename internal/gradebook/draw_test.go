package gradebook_test

import (
	"fmt"
	"math/big"
	"strings"

	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/gradebook"
)

// expr is a formula that was drawn: its text and, apart from that, its value.
type expr interface {
	text() string
	value(n *naive) *big.Rat // nil: none
}

type constant struct{ n int64 }

func (c constant) text() string          { return fmt.Sprintf("%d.5", c.n) }
func (c constant) value(*naive) *big.Rat { return add(num(c.n), big.NewRat(1, 2)) }

type named struct {
	kind, name string
	item       int
}

func (r named) text() string { return r.kind + "[" + r.name + "]" }

func (r named) value(n *naive) *big.Rat {
	switch r.kind {
	case "category":
		return n.evaluate(r.name, "", nil).percent
	case "possible":
		return rat(n.p.Items[r.item].Points)
	case "percent":
		if s := n.counts(r.item); s != nil && n.p.Items[r.item].Points.Sign() > 0 {
			return percentOf(s, rat(n.p.Items[r.item].Points))
		}
		return nil
	}
	return n.counts(r.item)
}

type call struct {
	name string
	of   []expr
}

func (c call) text() string {
	parts := make([]string, len(c.of))
	for i, e := range c.of {
		parts[i] = e.text()
	}
	if len(c.name) <= 2 && c.name != "if" {
		return "(" + strings.Join(parts, " "+c.name+" ") + ")"
	}
	return c.name + "(" + strings.Join(parts, ",") + ")"
}

func (c call) value(n *naive) *big.Rat {
	v := make([]*big.Rat, len(c.of))
	var some []*big.Rat
	for i, e := range c.of {
		if v[i] = e.value(n); v[i] != nil {
			some = append(some, v[i])
		}
	}
	truth := func(holds bool) *big.Rat {
		if holds {
			return num(1)
		}
		return num(0)
	}
	switch c.name {
	case "default":
		if v[0] != nil {
			return v[0]
		}
		return v[1]
	case "if":
		switch {
		case v[0] == nil:
			return nil
		case v[0].Sign() != 0:
			return v[1]
		}
		return v[2]
	case "min", "max", "avg", "sum":
		if len(some) == 0 {
			return nil
		}
		total, least, most := num(0), some[0], some[0]
		for _, s := range some {
			total.Add(total, s)
			if s.Cmp(least) < 0 {
				least = s
			}
			if s.Cmp(most) > 0 {
				most = s
			}
		}
		return map[string]*big.Rat{"min": least, "max": most, "sum": total, "avg": quo(total, num(int64(len(some))))}[c.name]
	}
	if len(some) < 2 {
		return nil
	}
	switch c.name {
	case "+":
		return add(v[0], v[1])
	case "-":
		return sub(v[0], v[1])
	case "*":
		return mul(v[0], v[1])
	case "/":
		if v[1].Sign() == 0 {
			return nil
		}
		return quo(v[0], v[1])
	case "<":
		return truth(v[0].Cmp(v[1]) < 0)
	case ">=":
		return truth(v[0].Cmp(v[1]) >= 0)
	}
	return truth(v[0].Cmp(v[1]) == 0) // "="
}

// course is a policy that was drawn, and what is to know of it.
type course struct {
	policy    *gradebook.Policy
	exprs     map[string]expr
	overrides bool
}

// drawing draws courses and rows. Simple ones are without what may not grow with marks:
// formulas, and drops of the highest.
type drawing struct {
	t      *rapid.T
	simple bool
}

func (d drawing) chance(percent int, what string) bool {
	return rapid.IntRange(0, 99).Draw(d.t, what) < percent
}

func (d drawing) number(what string, of ...string) exact.Number {
	return exact.MustParse(rapid.SampledFrom(of).Draw(d.t, what))
}

func pick[T any](d drawing, what string, of ...T) T { return rapid.SampledFrom(of).Draw(d.t, what) }

func (d drawing) curve(what string) *gradebook.Curve {
	switch rapid.IntRange(0, 8).Draw(d.t, what) {
	case 0:
		return &gradebook.Curve{Kind: gradebook.Add, By: d.number(what+" by", "5", "-2.5", "1/3")}
	case 1:
		return &gradebook.Curve{Kind: gradebook.Scale, By: d.number(what+" by", "80", "93.75", "110")}
	case 2:
		return &gradebook.Curve{
			Kind: gradebook.Linear, From: [2]exact.Number{exact.Int(40), d.number(what+" from", "90", "77")},
			To: [2]exact.Number{exact.Int(50), d.number(what+" to", "50", "95", "100")},
		}
	}
	return nil
}

func (d drawing) cap(what string) *exact.Number {
	if d.chance(15, what) {
		return new(d.number(what+" at", "100", "95", "105"))
	}
	return nil
}

// split draws as many weights that are 100 together.
func (d drawing) split(what string, n int) []exact.Number {
	weights, left := make([]exact.Number, n), exact.Int(100)
	for i := range n - 1 {
		weights[i] = left.Mul(d.number(what, "0.25", "0.5", "0", "0.4"))
		left = left.Sub(weights[i])
	}
	weights[n-1] = left
	return weights
}

func (d drawing) course() course {
	p := &gradebook.Policy{
		Version: 1, Method: pick(d, "method", gradebook.Points, gradebook.Weighted), Empty: pick(d, "empty", "", gradebook.Redistribute, gradebook.AsZero),
		Curve: d.curve("curve"), Cap: d.cap("cap"), Judge: pick(d, "judge", "", gradebook.Rounded, gradebook.Exact),
		Rounding: gradebook.Rounding{Mode: pick(d, "mode", exact.HalfEven, exact.HalfUp), Places: rapid.IntRange(0, 4).Draw(d.t, "places")},
		Letters:  []gradebook.Letter{{Letter: "A", Min: exact.Int(90)}, {Letter: "B", Min: exact.MustParse("62.5")}, {Letter: "F"}},
		PassMark: new(exact.Int(60)),
	}
	if d.chance(50, "late") {
		p.Late = &gradebook.LatePolicy{Rate: d.number("rate", "10", "3.5", "0"), Interval: 3600, Floor: d.number("floor", "0", "40"), Grace: pick(d, "grace", int64(0), 600)}
	}
	if d.chance(50, "missing") {
		p.MissingDeduction = new(d.number("deduction", "100", "80", "0"))
	}
	c := course{policy: p, exprs: map[string]expr{}}
	periods := rapid.IntRange(0, 2).Draw(d.t, "periods")
	for i := range periods {
		p.Periods = append(p.Periods, gradebook.Period{Key: fmt.Sprintf("p%d", i), Title: "Period"})
	}
	if periods > 0 && d.chance(60, "weighted periods") {
		for i, w := range d.split("period weight", periods) {
			p.Periods[i].Weight = &w
		}
	}
	d.categories(p)
	count := rapid.IntRange(0, 10).Draw(d.t, "items")
	for i := range count {
		it := gradebook.Item{
			ID: fmt.Sprintf("i%d", i), Title: "Item", Points: d.number("points", "10", "10", "5", "20", "7.5", "3", "100", "0"),
			ExtraCredit: d.chance(12, "extra"), NeverDrop: d.chance(15, "never drop"), Excluded: d.chance(10, "excluded"),
		}
		if n := len(p.Categories); n > 0 && !d.chance(10, "no category") {
			g := p.Categories[rapid.IntRange(0, n-1).Draw(d.t, "category")]
			it.Category = g.Key
			if g.Method == gradebook.Weighted && d.chance(70, "weight") {
				it.Weight = new(d.number("item weight", "1", "2", "0", "0.5", "30"))
			}
		}
		if len(p.Periods) > 0 {
			it.Period = p.Periods[rapid.IntRange(0, len(p.Periods)-1).Draw(d.t, "period")].Key
		}
		if !d.simple && i > 0 && d.chance(20, "calculated") {
			e := d.expr(p, i, 3)
			it.Formula, c.exprs[it.ID] = e.text(), e
		}
		p.Items = append(p.Items, it)
	}
	return c
}

func (d drawing) categories(p *gradebook.Policy) {
	count := rapid.IntRange(0, 4).Draw(d.t, "categories")
	if p.Method == gradebook.Weighted {
		count = max(count, 1)
	}
	method := map[string]gradebook.Method{"": p.Method}
	var tops []int
	for i := range count {
		g := gradebook.Category{
			Key: fmt.Sprintf("c%d", i), Title: "Category", Method: pick(d, "category method", gradebook.Points, gradebook.Points, gradebook.Weighted, gradebook.Equal),
			ExtraCredit: d.chance(12, "extra category"), Curve: d.curve("category curve"), Cap: d.cap("category cap"),
		}
		if i > 0 && d.chance(40, "nested") {
			g.Parent = p.Categories[rapid.IntRange(0, i-1).Draw(d.t, "parent")].Key
		}
		switch {
		case d.chance(30, "keep"):
			g.KeepHighest = rapid.IntRange(1, 3).Draw(d.t, "keep highest")
		case d.chance(60, "drop"):
			g.DropLowest = rapid.IntRange(0, 2).Draw(d.t, "drop lowest")
			if !d.simple {
				g.DropHighest = pick(d, "drop highest", 0, 0, 1)
			}
		}
		switch method[g.Parent] {
		case gradebook.Weighted:
			if g.Parent == "" && !g.ExtraCredit {
				tops = append(tops, i)
			}
			g.Weight = new(d.number("weight", "10", "50", "0", "33.3"))
		case gradebook.Points:
			if g.Method != gradebook.Points || g.Curve != nil || g.Cap != nil || d.chance(20, "worth") {
				g.Points = new(d.number("category points", "10", "25", "100"))
			}
		default:
		}
		method[g.Key] = g.Method
		p.Categories = append(p.Categories, g)
	}
	if p.Method == gradebook.Weighted {
		if len(tops) == 0 {
			p.Categories[0].ExtraCredit = false
			tops = []int{0}
		}
		for k, w := range d.split("top weight", len(tops)) {
			p.Categories[tops[k]].Weight = &w
		}
	}
}

// expr draws a formula over items before one, so that there is no circle.
func (d drawing) expr(p *gradebook.Policy, before, depth int) expr {
	if depth == 0 || d.chance(30, "leaf") {
		if d.chance(25, "constant") {
			return constant{rapid.Int64Range(0, 3).Draw(d.t, "n")}
		}
		i := rapid.IntRange(0, before-1).Draw(d.t, "of item")
		return named{pick(d, "of", "points", "points", "percent", "possible"), p.Items[i].ID, i}
	}
	name := pick(d, "operation", "+", "-", "*", "/", "<", ">=", "=", "min", "max", "avg", "sum", "if", "default")
	count := 2
	switch name {
	case "if":
		count = 3
	case "min", "max", "avg", "sum":
		count = rapid.IntRange(1, 4).Draw(d.t, "values")
	}
	e := call{name: name}
	for range count {
		e.of = append(e.of, d.expr(p, before, depth-1))
	}
	return e
}

func (d drawing) mark() gradebook.Mark {
	m := gradebook.Mark{
		Status: pick(d, "status", gradebook.Graded, gradebook.Graded, gradebook.Graded, gradebook.Graded, gradebook.None, gradebook.Submitted, gradebook.Missing, gradebook.Excused),
		Hidden: d.chance(15, "hidden"),
	}
	if m.Status == gradebook.Graded {
		m.Raw = exact.Ratio(rapid.Int64Range(-4, 90).Draw(d.t, "raw"), pick[int64](d, "raw of", 1, 4, 3))
		m.Late = pick[int64](d, "late", 0, 0, 1, 600, 601, 3600, 3601, 90000)
		for d.chance(20, "other") {
			m.Others = append(m.Others, gradebook.Attempt{
				Raw: exact.Ratio(rapid.Int64Range(-4, 90).Draw(d.t, "other raw"), pick[int64](d, "other raw of", 1, 4, 3)), Late: pick[int64](d, "other late", 0, 1, 600, 601, 3600),
			})
		}
	}
	if d.chance(8, "overridden") {
		m.Overridden, m.Override = true, exact.Ratio(rapid.Int64Range(0, 30).Draw(d.t, "override"), 2)
	}
	return m
}

func (d drawing) row(c *course) *gradebook.Row {
	row := &gradebook.Row{}
	for range rapid.IntRange(0, len(c.policy.Items)).Draw(d.t, "marks") {
		row.Marks = append(row.Marks, d.mark())
	}
	keys, periods := []string{""}, []string{""}
	for _, g := range c.policy.Categories {
		keys = append(keys, g.Key)
	}
	for _, p := range c.policy.Periods {
		periods = append(periods, p.Key)
	}
	if d.chance(25, "overrides") {
		for range rapid.IntRange(1, 2).Draw(d.t, "overrides") {
			o := gradebook.Override{
				Category: pick(d, "override category", keys...), Period: pick(d, "override period", periods...),
				Percent: exact.Ratio(rapid.Int64Range(0, 200).Draw(d.t, "override percent"), 2), Hidden: d.chance(30, "hidden override"),
			}
			c.overrides = c.overrides || o.Category != ""
			row.Overrides = append(row.Overrides, o)
		}
	}
	return row
}
