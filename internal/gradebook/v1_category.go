package gradebook

import (
	"slices"

	"github.com/stoa-lms/stoa/internal/exact"
)

// member is a category whose points are added up with those around it.
type member struct {
	group int
	extra bool // whether its points possible are left out at the head
}

// set returns what a teacher has set for a category in this pass.
func (r *run1) set(g int) *Override {
	if len(r.row.Overrides) == 0 || g == r.b.root() {
		return nil
	}
	category := r.b.policy.Categories[g].Key
	if r.period == none {
		return r.override(category, "")
	}
	if o := r.override(category, r.b.policy.Periods[r.period].Key); o != nil || !r.b.weighted {
		return o
	}
	return r.override(category, "")
}

// apart tells whether a category is calculated by itself in this pass.
func (r *run1) apart(g int) bool { return r.b.group[g].head || r.set(g) != nil }

// group calculates a category that is calculated by itself.
func (r *run1) group(g int) *outcome {
	out := &r.groups[g]
	if out.done {
		return out
	}
	out.done = true
	r.prepare(g)
	if r.rec != nil {
		r.rec.ratio = nil
	}
	r.members, r.candidates, r.blocks = r.members[:0], r.candidates[:0], r.blocks[:0]
	made := &r.b.group[g]
	var extra exact.Number
	if made.method == Points {
		r.gather(g, false)
	} else {
		extra = r.gatherMean(g)
	}
	if len(r.blocks) > 0 {
		r.drop()
	}
	r.fold(extra)
	if out.Has {
		out.Percent, out.node = r.bend(out.Percent, out.node, made.curve, made.cap, r.key(g))
	}
	if o := r.set(g); o != nil {
		out.Percent, out.Has, out.Overridden = o.Percent, true, true
		out.node = r.setNode(o, r.key(g), "")
	}
	return out
}

// key is a category's name; the course has none.
func (r *run1) key(g int) string {
	if g == r.b.root() {
		return ""
	}
	return r.b.policy.Categories[g].Key
}

// prepare calculates what is calculated by itself in a category, so that the room for
// one category is used by one at a time.
func (r *run1) prepare(g int) {
	made := &r.b.group[g]
	if r.period == none {
		for _, i := range made.items {
			if r.b.item[i].formula != nil {
				r.calculated(i)
			}
		}
	}
	for _, in := range made.groups {
		if r.apart(in) {
			r.group(in)
		} else {
			r.prepare(in)
		}
	}
}

// inPass tells whether an item is of the period.
func (r *run1) inPass(i int) bool { return r.period == none || r.b.item[i].period == r.period }

// gather adds up the points of a category and of those that are added up with it.
func (r *run1) gather(g int, extra bool) {
	made, out := &r.b.group[g], &r.groups[g]
	r.members = append(r.members, member{g, extra})
	first := len(r.candidates)
	for _, i := range made.items {
		if !r.inPass(i) {
			continue
		}
		it, points := &r.b.item[i], r.view.Items[i].Points
		switch r.state[i] {
		case Counted, CountedZero:
			if !it.fixed && made.drops() {
				r.candidates = append(r.candidates, candidate{item: i, s: points, v: it.of, of: it.of})
			} else {
				out.n, out.d = out.n.Add(points), out.d.Add(it.of)
			}
		case ExtraCounted:
			out.n = out.n.Add(points)
		default:
		}
	}
	r.block(len(r.members)-1, first)
	for _, in := range made.groups {
		if !r.apart(in) {
			r.gather(in, extra || r.b.group[in].extra)
			continue
		}
		part, c := &r.groups[in], &r.b.group[in]
		worth := r.worth(in)
		switch {
		case part.Has:
			out.n = out.n.Add(part.Percent.Mul(worth).Div(hundred))
			if !c.extra {
				out.d = out.d.Add(worth)
			}
		case r.b.policy.Empty == AsZero && !c.extra:
			out.d = out.d.Add(worth)
			fallthrough
		default:
			out.n = out.n.Add(part.Earned)
		}
	}
}

// worth is how many points a category counts that is calculated by itself.
func (r *run1) worth(g int) exact.Number {
	if c := &r.b.group[g]; c.worth {
		return c.weight
	}
	return r.groups[g].possible
}

// gatherMean adds up the percentages of a category by their weights, and returns what
// extra credit adds.
func (r *run1) gatherMean(g int) exact.Number {
	made, out := &r.b.group[g], &r.groups[g]
	r.members = append(r.members, member{group: g})
	var extra exact.Number
	for _, i := range made.items {
		if !r.inPass(i) {
			continue
		}
		it := &r.b.item[i]
		switch r.state[i] {
		case Counted, CountedZero, ExtraCounted:
			share := r.view.Items[i].Points.Mul(hundred).Div(it.of).Mul(it.weight)
			switch {
			case it.extra:
				extra = extra.Add(share)
			case !it.fixed && made.drops():
				r.candidates = append(r.candidates, candidate{item: i, s: share, v: it.weight, of: it.of})
			default:
				out.n, out.d, out.possible = out.n.Add(share), out.d.Add(it.weight), out.possible.Add(it.of)
			}
		default:
		}
	}
	r.block(0, 0)
	for _, in := range made.groups {
		part, c := &r.groups[in], &r.b.group[in]
		switch {
		case part.Has && c.extra:
			extra = extra.Add(part.Percent.Mul(c.weight))
		case part.Has:
			out.n, out.d, out.possible = out.n.Add(part.Percent.Mul(c.weight)), out.d.Add(c.weight), out.possible.Add(part.possible)
		case r.b.policy.Empty == AsZero && !c.extra:
			out.d = out.d.Add(c.weight)
		}
	}
	return extra
}

// full is all weights in a category, in this pass.
func (r *run1) full(g int) exact.Number {
	if r.period == none {
		return r.b.group[g].full
	}
	return r.b.group[g].fullIn[r.period]
}

// drops tells whether a category has drop rules.
func (g *group) drops() bool { return g.lowest > 0 || g.highest > 0 || g.best > 0 }

// fold makes percentages of what was added up, the innermost first.
func (r *run1) fold(extra exact.Number) {
	for k, m := range slices.Backward(r.members) {
		g := m.group
		made, out := &r.b.group[g], &r.groups[g]
		if made.method == Points {
			out.Earned, out.Possible, out.possible = out.n, out.d, out.d
		}
		if out.d.Sign() > 0 {
			out.Percent, out.Has = out.n.Div(out.d), true
			if made.method == Points {
				out.Percent = out.Percent.Mul(hundred)
			} else if extra.Sign() != 0 {
				out.Percent = out.Percent.Add(extra.Div(r.full(g)))
			}
		}
		r.recordGroup(g)
		if k > 0 {
			out.done = true
			around := &r.groups[made.parent]
			around.n = around.n.Add(out.n)
			if !made.extra {
				around.d = around.d.Add(out.d)
			}
		}
	}
}
