package gradebook_test

import (
	"math/big"
	"slices"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/gradebook"
)

// naive calculates by the book and without any care for time: in big.Rat, by what the
// package comment says, sharing no code with the package. Which items are dropped it
// is told, or tries all that there is.
type naive struct {
	p     *gradebook.Policy
	row   *gradebook.Row
	seen  gradebook.Seen
	basis gradebook.Basis
	exprs map[string]expr // of calculated items, by their ids
}

func rat(n exact.Number) *big.Rat {
	r, ok := new(big.Rat).SetString(n.String())
	if !ok {
		panic(n.String())
	}
	return r
}

func num(i int64) *big.Rat             { return big.NewRat(i, 1) }
func add(a, b *big.Rat) *big.Rat       { return new(big.Rat).Add(a, b) }
func sub(a, b *big.Rat) *big.Rat       { return new(big.Rat).Sub(a, b) }
func mul(a, b *big.Rat) *big.Rat       { return new(big.Rat).Mul(a, b) }
func quo(a, b *big.Rat) *big.Rat       { return new(big.Rat).Quo(a, b) }
func percentOf(a, b *big.Rat) *big.Rat { return mul(quo(a, b), num(100)) }

func (n *naive) mark(i int) gradebook.Mark {
	if i >= len(n.row.Marks) || n.seen == gradebook.Posted && n.row.Marks[i].Hidden {
		return gradebook.Mark{}
	}
	return n.row.Marks[i]
}

// score is nil where there is none.
func (n *naive) score(i int) *big.Rat {
	m, it := n.mark(i), n.p.Items[i]
	of := rat(it.Points)
	switch {
	case m.Status == gradebook.Excused:
		return nil
	case m.Overridden:
		return rat(m.Override)
	case it.Formula != "":
		if n.seen == gradebook.Posted && i < len(n.row.Marks) && n.row.Marks[i].Hidden {
			return nil
		}
		return n.exprs[it.ID].value(n)
	case m.Status == gradebook.Graded:
		best := n.left(of, rat(m.Raw), m.Late)
		for _, a := range m.Others {
			if left := n.left(of, rat(a.Raw), a.Late); left.Cmp(best) > 0 {
				best = left
			}
		}
		return best
	case m.Status == gradebook.Missing && n.p.MissingDeduction != nil:
		return mul(of, sub(num(1), quo(rat(*n.p.MissingDeduction), num(100))))
	}
	return nil
}

// left is what lateness leaves of an attempt.
func (n *naive) left(of, raw *big.Rat, late int64) *big.Rat {
	l := n.p.Late
	if l == nil || late <= 0 || late <= l.Grace || of.Sign() <= 0 {
		return raw
	}
	intervals := new(big.Int).Div(big.NewInt(late+l.Interval-1), big.NewInt(l.Interval))
	percent := mul(rat(l.Rate), new(big.Rat).SetInt(intervals))
	most := sub(percentOf(raw, of), rat(l.Floor))
	if most.Sign() < 0 {
		most = num(0)
	}
	if most.Cmp(percent) < 0 {
		percent = most
	}
	return sub(raw, mul(of, quo(percent, num(100))))
}

// counts returns what an item counts in the total: nil where it does not.
func (n *naive) counts(i int) *big.Rat {
	s := n.score(i)
	if s == nil && n.basis == gradebook.Final && n.mark(i).Status != gradebook.Excused {
		return num(0)
	}
	return s
}

func (n *naive) category(key string) int {
	return slices.IndexFunc(n.p.Categories, func(c gradebook.Category) bool { return c.Key == key })
}

func (n *naive) method(key string) gradebook.Method {
	if key == "" {
		return n.p.Method
	}
	return n.p.Categories[n.category(key)].Method
}

// comes is what a category comes to: percent is nil where it has none.
type comes struct {
	percent, points, of *big.Rat
}

// evaluate calculates a category, or the course, within a period ("" is all).
func (n *naive) evaluate(key, period string, dropped map[int]bool) comes {
	byPoints := n.method(key) == gradebook.Points
	top, bottom, extra, full, of := num(0), num(0), num(0), num(0), num(0)
	for i, it := range n.p.Items {
		if it.Category != key || key == "" && !byPoints {
			continue
		}
		weight := num(1)
		if it.Weight != nil {
			weight = rat(*it.Weight)
		}
		possible := rat(it.Points)
		if !byPoints && (possible.Sign() == 0 || it.Excluded) {
			continue
		}
		if !it.ExtraCredit && weight.Sign() > 0 && (period == "" || it.Period == period) {
			full.Add(full, weight)
		}
		s := n.counts(i)
		if it.Excluded || s == nil || dropped[i] || period != "" && it.Period != period || weight.Sign() == 0 && !byPoints {
			continue
		}
		switch {
		case byPoints:
			top.Add(top, s)
			if !it.ExtraCredit {
				bottom.Add(bottom, possible)
			}
		case it.ExtraCredit:
			extra.Add(extra, mul(weight, percentOf(s, possible)))
		default:
			top.Add(top, mul(weight, percentOf(s, possible)))
			bottom.Add(bottom, weight)
			of.Add(of, possible)
		}
	}
	for _, c := range n.p.Categories {
		if c.Parent != key {
			continue
		}
		in := n.evaluate(c.Key, period, dropped)
		if byPoints {
			worth := in.of
			if c.Points != nil {
				worth = rat(*c.Points)
			}
			if in.percent != nil {
				top.Add(top, quo(mul(in.percent, worth), num(100)))
			} else if in.points != nil {
				top.Add(top, in.points)
			}
			if !c.ExtraCredit && (in.percent != nil || n.p.Empty == gradebook.AsZero) {
				bottom.Add(bottom, worth)
			}
			continue
		}
		weight := num(1)
		if c.Weight != nil {
			weight = rat(*c.Weight)
		}
		percent := in.percent
		if !c.ExtraCredit {
			full.Add(full, weight)
		}
		if percent == nil && n.p.Empty != gradebook.AsZero {
			continue
		}
		if percent == nil {
			percent = num(0)
		}
		if c.ExtraCredit {
			extra.Add(extra, mul(weight, percent))
		} else {
			top.Add(top, mul(weight, percent))
			bottom.Add(bottom, weight)
			of.Add(of, in.of)
		}
	}
	out := comes{of: of}
	if byPoints {
		out.points, out.of = top, bottom
	}
	if bottom.Sign() > 0 {
		out.percent = quo(top, bottom)
		if byPoints {
			out.percent = mul(out.percent, num(100))
		} else {
			out.percent = add(out.percent, divided(extra, full))
		}
	}
	if key != "" {
		c := n.p.Categories[n.category(key)]
		out.percent = bent(out.percent, c.Curve, c.Cap)
		if o := n.override(key, period); o != nil {
			out.percent = o
		}
	}
	return out
}

func divided(a, b *big.Rat) *big.Rat {
	if a.Sign() == 0 {
		return a
	}
	return quo(a, b)
}

func bent(percent *big.Rat, curve *gradebook.Curve, highest *exact.Number) *big.Rat {
	if percent == nil {
		return nil
	}
	if curve != nil {
		switch curve.Kind {
		case gradebook.Add:
			percent = add(percent, rat(curve.By))
		case gradebook.Scale:
			percent = percentOf(percent, rat(curve.By))
		case gradebook.Linear:
			x1, x2, y1, y2 := rat(curve.From[0]), rat(curve.From[1]), rat(curve.To[0]), rat(curve.To[1])
			percent = add(y1, quo(mul(sub(percent, x1), sub(y2, y1)), sub(x2, x1)))
		}
	}
	if highest != nil && percent.Cmp(rat(*highest)) > 0 {
		percent = rat(*highest)
	}
	return percent
}

func (n *naive) weighted() bool { return len(n.p.Periods) > 0 && n.p.Periods[0].Weight != nil }

// override is what a teacher has set; nil where there is nothing.
func (n *naive) override(category, period string) *big.Rat {
	var all, one *big.Rat
	for _, o := range n.row.Overrides {
		if o.Category != category || o.Hidden && n.seen == gradebook.Posted {
			continue
		}
		switch o.Period {
		case period:
			one = rat(o.Percent)
		case "":
			all = rat(o.Percent)
		}
	}
	if one == nil && category != "" && n.weighted() {
		return all
	}
	return one
}

// period calculates what a period, or the course, comes to before its curve.
func (n *naive) period(key string, dropped map[int]bool) *big.Rat {
	percent := n.evaluate("", key, dropped).percent
	if key != "" {
		if o := n.override("", key); o != nil {
			return o
		}
	}
	return percent
}

// total calculates the total; of is what a period comes to.
func (n *naive) total(of func(period string) *big.Rat) *big.Rat {
	var percent *big.Rat
	if n.weighted() {
		top, bottom := num(0), num(0)
		for _, p := range n.p.Periods {
			percent := of(p.Key)
			if percent == nil && n.p.Empty == gradebook.AsZero {
				percent = num(0)
			}
			if percent != nil {
				top.Add(top, mul(percent, rat(*p.Weight)))
				bottom.Add(bottom, rat(*p.Weight))
			}
		}
		if bottom.Sign() > 0 {
			percent = quo(top, bottom)
		}
	} else {
		percent = of("")
	}
	percent = bent(percent, n.p.Curve, n.p.Cap)
	if o := n.override("", ""); o != nil {
		return o
	}
	return percent
}

// rule is what of a category may be dropped in a period, and how many.
type rule struct {
	may     []int
	highest []int
	lowest  int
}

func (n *naive) rule(c gradebook.Category, period string) rule {
	var r rule
	for i, it := range n.p.Items {
		weightless := c.Method != gradebook.Points && it.Weight != nil && it.Weight.Sign() == 0
		if it.Category == c.Key && !it.Excluded && !it.ExtraCredit && !it.NeverDrop && it.Points.Sign() > 0 && !weightless &&
			(period == "" || it.Period == period) && n.counts(i) != nil {
			r.may = append(r.may, i)
		}
	}
	r.lowest = c.DropLowest
	if c.KeepHighest > 0 {
		r.lowest = max(len(r.may)-c.KeepHighest, 0)
	}
	r.lowest = min(r.lowest, max(len(r.may)-1, 0))
	highest := c.DropHighest
	if r.lowest+highest >= len(r.may) {
		highest = 0
	}
	sorted := slices.Clone(r.may)
	slices.SortStableFunc(sorted, func(a, b int) int {
		x, y := n.p.Items[a], n.p.Items[b]
		if c := percentOf(n.counts(b), rat(y.Points)).Cmp(percentOf(n.counts(a), rat(x.Points))); c != 0 {
			return c
		}
		share := func(it gradebook.Item) *big.Rat {
			switch {
			case c.Method == gradebook.Points:
				return rat(it.Points)
			case it.Weight == nil:
				return num(1)
			}
			return rat(*it.Weight)
		}
		if c := share(x).Cmp(share(y)); c != 0 {
			return c
		}
		return b - a
	})
	r.highest = sorted[:highest]
	r.may = slices.DeleteFunc(r.may, func(i int) bool { return slices.Contains(r.highest, i) })
	return r
}

// choices calls each with every set of items that may be dropped in a period.
func (n *naive) choices(period string, each func(dropped map[int]bool)) {
	dropped := map[int]bool{}
	var category func(k int)
	category = func(k int) {
		if k == len(n.p.Categories) {
			each(dropped)
			return
		}
		r := n.rule(n.p.Categories[k], period)
		for _, i := range r.highest {
			dropped[i] = true
		}
		var choose func(from, left int)
		choose = func(from, left int) {
			if left == 0 {
				category(k + 1)
				return
			}
			for i := from; i <= len(r.may)-left; i++ {
				dropped[r.may[i]] = true
				choose(i+1, left-1)
				delete(dropped, r.may[i])
			}
		}
		choose(0, r.lowest)
	}
	category(0)
}

// best is the greatest that a period can come to.
func (n *naive) best(period string) *big.Rat {
	var best *big.Rat
	n.choices(period, func(dropped map[int]bool) {
		if p := n.period(period, dropped); p != nil && (best == nil || p.Cmp(best) > 0) {
			best = p
		}
	})
	return best
}
