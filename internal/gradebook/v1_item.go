package gradebook

import "github.com/stoa-lms/stoa/internal/exact"

// mark returns what may be seen of an item's mark.
func (r *run1) mark(i int) *Mark {
	if i < len(r.row.Marks) {
		if m := &r.row.Marks[i]; !m.Hidden || r.seen == Full {
			return m
		}
	}
	return &nothing
}

var nothing Mark

// scores finds the score of each item that is marked, and what becomes of it.
func (r *run1) scores(before []Score) {
	items := r.view.Items
	if before != nil {
		copy(items, before)
	}
	for i := range items {
		m := r.mark(i)
		if r.b.item[i].formula == nil && before == nil {
			items[i] = Score{}
			if m.Status != Excused {
				items[i].Points, items[i].Has = score1(&r.b.policy, r.b.item[i].of, m)
			}
		}
		r.base[i] = r.fate(i, items[i].Has, m)
	}
}

// fate is what becomes of an item before anything is dropped.
func (r *run1) fate(i int, has bool, m *Mark) State {
	switch {
	case m.Status == Excused:
		return ExcusedOut
	case r.b.item[i].group == none:
		return Uncounted
	case has && (r.b.item[i].extra || r.b.item[i].bonus):
		return ExtraCounted
	case has:
		return Counted
	case r.basis == Current || r.b.item[i].extra || r.b.item[i].bonus:
		return Unscored
	}
	return CountedZero
}

// score1 is the points of a mark that is not calculated: late policy, missing, override.
func score1(p *Policy, of exact.Number, m *Mark) (points exact.Number, has bool) {
	switch {
	case m.Overridden:
		return m.Override, true
	case m.Status == Graded:
		return left1(p.Late, of, m.attempt(counting1(p, of, m))), true
	case m.Status == Missing && p.MissingDeduction != nil:
		return of.Mul(hundred.Sub(*p.MissingDeduction)).Div(hundred), true
	}
	return exact.Number{}, false
}

// counting1 is which attempt of a mark leaves the most points, the first of equal ones.
func counting1(p *Policy, of exact.Number, m *Mark) int {
	best := 0
	if len(m.Others) == 0 {
		return best
	}
	most := left1(p.Late, of, m.attempt(0))
	for i := range m.Others {
		if left := left1(p.Late, of, m.Others[i]); left.Cmp(most) > 0 {
			best, most = i+1, left
		}
	}
	return best
}

// left1 is what lateness leaves of an attempt's points.
func left1(p *LatePolicy, of exact.Number, a Attempt) exact.Number {
	if n := intervals1(p, of, a.Late); n > 0 {
		return a.Raw.Sub(late1(p, of, a.Raw, n))
	}
	return a.Raw
}

// intervals1 is how many intervals of lateness are taken off.
func intervals1(p *LatePolicy, of exact.Number, late int64) int64 {
	if p == nil || late <= 0 || late <= p.Grace || of.Sign() == 0 {
		return 0
	}
	return (late-1)/p.Interval + 1
}

// late1 is points × min(rate × intervals, max(raw % − floor %, 0)).
func late1(p *LatePolicy, of, raw exact.Number, intervals int64) exact.Number {
	most := exact.Max(raw.Mul(hundred).Div(of).Sub(p.Floor), exact.Number{})
	return of.Mul(exact.Min(p.Rate.Mul(exact.Int(intervals)), most)).Div(hundred)
}

// formulas calculates all items that have one.
func (r *run1) formulas() {
	r.done = sized(r.done, len(r.b.item))
	clear(r.done)
	for i := range r.b.item {
		if r.b.item[i].formula != nil && (r.rec == nil || r.b.item[i].group != none) {
			r.calculated(i)
		}
	}
}

// calculated calculates an item, and before it what it is calculated of.
func (r *run1) calculated(i int) {
	if r.done[i] {
		return
	}
	r.done[i] = true
	it, m, s := &r.b.item[i], r.mark(i), &r.view.Items[i]
	*s = Score{}
	switch {
	case m.Status == Excused:
	case m.Overridden:
		s.Points, s.Has = m.Override, true
	case !r.withheld(i):
		values := make([]maybe, len(it.sources))
		for k, from := range it.sources {
			values[k] = r.source(from)
		}
		v := it.formula.value(func(ref int) maybe { return values[ref] })
		s.Points, s.Has = v.n, v.ok
		r.recordFormula(i, values, v)
	}
	r.base[i] = r.fate(i, s.Has, m)
	r.state[i] = r.base[i]
}

// withheld tells whether a calculated item is hidden itself.
func (r *run1) withheld(i int) bool {
	return r.seen == Posted && i < len(r.row.Marks) && r.row.Marks[i].Hidden
}

// source is what a formula's reference comes to.
func (r *run1) source(from source) maybe {
	if from.kind == "category" {
		v := r.group(from.index)
		return maybe{v.Percent, v.Has}
	}
	it := &r.b.item[from.index]
	if from.kind == "possible" {
		return maybe{it.of, true}
	}
	if it.formula != nil {
		r.calculated(from.index)
	}
	s := r.view.Items[from.index]
	v := maybe{s.Points, s.Has}
	if !v.ok && r.basis == Final && r.mark(from.index).Status != Excused {
		v.ok = true
	}
	if from.kind == "percent" {
		if it.bonus {
			return maybe{}
		}
		v.n = v.n.Mul(hundred).Div(it.of)
	}
	if !v.ok {
		return maybe{}
	}
	return v
}
