package gradebook

import (
	"slices"

	"github.com/stoa-lms/stoa/internal/exact"
)

// candidate is an item that may be dropped. Its category or course is the sum of all s
// ÷ the sum of all v: points of points, or weight × percentage of weights.
type candidate struct {
	item     int
	s, v, of exact.Number
}

// block is the candidates of one category, and how many of them go.
type block struct {
	member          int
	from, to        int
	lowest, highest int
}

// key is what a candidate is worth at a ratio.
type key struct {
	n  exact.Number
	at int
}

// block notes the candidates since first as those of a category.
func (r *run1) block(member, first int) {
	count := len(r.candidates) - first
	if count == 0 {
		return
	}
	g := &r.b.group[r.members[member].group]
	b := block{member: member, from: first, to: len(r.candidates), lowest: g.lowest, highest: g.highest}
	if g.best > 0 {
		b.lowest = max(count-g.best, 0)
	}
	// At least one is kept; where both rules leave none, the highest are.
	b.lowest = min(b.lowest, count-1)
	if b.lowest+b.highest >= count {
		b.highest = 0
	}
	r.blocks = append(r.blocks, b)
}

// drop decides what is dropped in all categories that are added up together, and adds
// up what is kept.
func (r *run1) drop() {
	search := false
	for i := range r.blocks {
		b := &r.blocks[i]
		r.dropHighest(b)
		if b.lowest > 0 {
			search = true
			continue
		}
		r.keep(b)
	}
	if !search {
		return
	}
	ratio := r.best()
	for i := range r.blocks {
		if b := &r.blocks[i]; b.lowest > 0 {
			r.choose(b, ratio)
			for _, k := range r.keys[:b.lowest] {
				r.state[r.candidates[k.at].item] = DroppedLowest
			}
			r.keep(b)
		}
	}
	r.recordRatio(ratio)
}

// dropHighest moves those of the greatest percentages to the end of a block.
func (r *run1) dropHighest(b *block) {
	for range b.highest {
		top := b.from
		for i := b.from + 1; i < b.to; i++ {
			if c := r.higher(i, top); c > 0 || c == 0 && r.candidates[i].v.Cmp(r.candidates[top].v) <= 0 {
				top = i
			}
		}
		gone := r.candidates[top]
		r.state[gone.item] = DroppedHighest
		copy(r.candidates[top:b.to-1], r.candidates[top+1:b.to])
		b.to--
		r.candidates[b.to] = gone
	}
}

// higher compares the percentages of two candidates: s ÷ v.
func (r *run1) higher(i, j int) int {
	a, b := &r.candidates[i], &r.candidates[j]
	return a.s.Mul(b.v).Cmp(b.s.Mul(a.v))
}

// keep adds up what is not dropped in a block.
func (r *run1) keep(b *block) {
	out := &r.groups[r.members[b.member].group]
	for _, c := range r.candidates[b.from:b.to] {
		if r.state[c.item] != DroppedLowest {
			out.n, out.d = out.n.Add(c.s), out.d.Add(c.v)
			if r.b.group[r.members[b.member].group].method != Points {
				out.possible = out.possible.Add(c.of)
			}
		}
	}
}

// best returns the greatest ratio of all sums of s to all sums of v that there is
// without as many candidates of each block as it drops. That is Dinkelbach's search:
// of a ratio q, the choice with the greatest Σ(s − q·v) has a ratio that is greater
// than q, or q is the greatest there is. Only finitely many ratios are above each
// other, and in practice a handful.
func (r *run1) best() exact.Number {
	n, d := exact.Number{}, exact.Number{}
	for _, m := range r.members {
		out := &r.groups[m.group]
		n = n.Add(out.n)
		if !m.extra {
			d = d.Add(out.d)
		}
	}
	alike := true
	allN, allD := n, d
	var v *exact.Number
	for i := range r.blocks {
		b := &r.blocks[i]
		if b.lowest == 0 {
			continue
		}
		extra := r.members[b.member].extra
		for k := b.from; k < b.to; k++ {
			c := &r.candidates[k]
			allN = allN.Add(c.s)
			if extra {
				continue
			}
			allD = allD.Add(c.v)
			if v == nil {
				v = &c.v
			}
			alike = alike && c.v.Equal(*v)
		}
	}
	if allD.Sign() == 0 || alike && r.rec == nil {
		// Where all count alike, those of the least s go, whatever the ratio. So they
		// do where nothing but extra credit is added up.
		return exact.Number{}
	}
	ratio := allN.Div(allD)
	for {
		sumN, sumD := n, d
		for i := range r.blocks {
			b := &r.blocks[i]
			if b.lowest == 0 {
				continue
			}
			r.choose(b, ratio)
			for _, k := range r.keys[b.lowest:] {
				c := &r.candidates[k.at]
				sumN = sumN.Add(c.s)
				if !r.members[b.member].extra {
					sumD = sumD.Add(c.v)
				}
			}
		}
		next := sumN.Div(sumD)
		if next.Equal(ratio) {
			return ratio
		}
		ratio = next
	}
}

// choose sorts the candidates of a block into r.keys so that those to be dropped at a
// ratio are first. Of equals what comes later in the policy goes.
func (r *run1) choose(b *block, ratio exact.Number) {
	r.keys = r.keys[:0]
	extra := r.members[b.member].extra
	for i := b.from; i < b.to; i++ {
		c := &r.candidates[i]
		k := key{c.s, i}
		if !extra && ratio.Sign() != 0 {
			k.n = c.s.Sub(ratio.Mul(c.v))
		}
		r.keys = append(r.keys, k)
	}
	compare := func(a, b key) int {
		if c := a.n.Cmp(b.n); c != 0 {
			return c
		}
		return r.candidates[b.at].item - r.candidates[a.at].item
	}
	if b.lowest > 3 {
		slices.SortFunc(r.keys, compare)
		return
	}
	for k := range b.lowest {
		least := k
		for i := k + 1; i < len(r.keys); i++ {
			if compare(r.keys[i], r.keys[least]) < 0 {
				least = i
			}
		}
		r.keys[k], r.keys[least] = r.keys[least], r.keys[k]
	}
}
