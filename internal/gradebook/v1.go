package gradebook

import (
	"sync"

	"github.com/stoa-lms/stoa/internal/exact"
)

// run1 calculates one view of one row.
type run1 struct {
	b     *Book
	row   *Row
	seen  Seen
	basis Basis
	view  *View
	rec   *recorder // nil where nobody asks how it came about
	// Items that are calculated already, where there are formulas.
	done []bool
	// What becomes of items before anything is dropped, and in this pass.
	base, state []State
	// The pass: over the period, or over all with none.
	period int
	groups []outcome
	// Room for what a category needs.
	members    []member
	candidates []candidate
	blocks     []block
	keys       []key
}

// outcome is what a category comes to in a pass.
type outcome struct {
	Value
	done bool
	// Points possible of what counts in it, whatever its method.
	possible exact.Number
	// What is added up: by points reached and possible, otherwise weight × percentage
	// and weight.
	n, d exact.Number
	node int
}

var runs1 = sync.Pool{New: func() any { return new(run1) }}

func student1(b *Book, row *Row, result *Result) {
	r, _ := runs1.Get().(*run1)
	defer r.release()
	r.b, r.row = b, row
	r.totals(&result.Full, &result.room[Full], Full)
	if !row.hides() {
		result.Posted = result.Full
		return
	}
	r.totals(&result.Posted, &result.room[Posted], Posted)
}

// release gives the room back, and keeps nothing of the row.
func (r *run1) release() {
	r.b, r.row, r.view, r.rec = nil, nil, nil, nil
	runs1.Put(r)
}

// hides tells whether anything of a row is hidden.
func (r *Row) hides() bool {
	for i := range r.Marks {
		if r.Marks[i].Hidden {
			return true
		}
	}
	for i := range r.Overrides {
		if r.Overrides[i].Hidden {
			return true
		}
	}
	return false
}

// totals calculates both bases. They are the same where nothing is without a score.
func (r *run1) totals(t *Totals, room *[2]View, seen Seen) {
	r.seen, r.basis, r.view = seen, Current, &room[Current]
	r.calculate(nil)
	t.Current, t.Final = room[Current], room[Current]
	for i := range r.view.Items {
		if s := &r.view.Items[i]; !s.Has && s.State != ExcusedOut {
			r.basis, r.view = Final, &room[Final]
			r.calculate(room[Current].Items)
			t.Final = room[Final]
			return
		}
	}
}

// calculate makes the view. scores are those of the other basis, where they are there.
func (r *run1) calculate(scores []Score) {
	b, v := r.b, r.view
	v.Items = sized(v.Items, len(b.item))
	v.Categories = sized(v.Categories, len(b.policy.Categories))
	v.Periods = sized(v.Periods, len(b.policy.Periods))
	v.Total = Total{}
	r.base, r.state = sized(r.base, len(b.item)), sized(r.state, len(b.item))
	r.begin(none)
	r.scores(scores)
	copy(r.state, r.base)
	r.formulas()
	var total Value
	node := none
	all := r.rec == nil || r.rec.all
	if all || !b.weighted {
		root := r.group(b.root())
		total, node = root.Value, root.node
		for i := range v.Categories {
			v.Categories[i] = r.groups[i].Value
		}
	}
	if !b.weighted {
		r.states()
	}
	if all || b.weighted {
		total, node = r.periods(total, node)
	}
	r.total(total, node)
}

// sized returns a slice of a length, in the room of another.
func sized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// begin begins a pass.
func (r *run1) begin(period int) {
	r.period = period
	r.groups = sized(r.groups, len(r.b.group))
	for i := range r.groups {
		r.groups[i] = outcome{node: none}
	}
}

// states tells the view what becomes of the items in this pass.
func (r *run1) states() {
	for i := range r.state {
		r.view.Items[i].State = r.state[i]
	}
}

// periods calculates each period and, where they have weights, the total of them.
func (r *run1) periods(total Value, node int) (Value, int) {
	b := r.b
	if len(b.policy.Periods) == 0 {
		return total, node
	}
	copy(r.state, r.base)
	var n, d exact.Number
	var inputs []Input
	for i, p := range b.policy.Periods {
		r.begin(i)
		root := r.group(b.root())
		value := root.Value
		if o := r.override("", p.Key); o != nil {
			value = Value{Percent: o.Percent, Has: true, Overridden: true, Earned: value.Earned, Possible: value.Possible}
			root.node = r.setNode(o, p.Key, p.Title)
		}
		r.view.Periods[i] = value
		if !b.weighted {
			continue
		}
		if value.Has {
			n, d = n.Add(value.Percent.Mul(*p.Weight)), d.Add(*p.Weight)
		} else if b.policy.Empty == AsZero {
			d = d.Add(*p.Weight)
		}
		if r.rec != nil && (value.Has || b.policy.Empty == AsZero) {
			in := Input{Name: "mean", Ref: p.Key, Node: root.node, Value: value.Percent, Of: p.Weight}
			if !value.Has {
				in.Node, in.Empty = none, true
			}
			inputs = append(inputs, in)
		}
	}
	r.period = none
	if !b.weighted {
		return total, node
	}
	r.states()
	total = Value{}
	if d.Sign() > 0 {
		total = Value{Percent: n.Div(d), Has: true}
	}
	return total, r.note(func() Node {
		return Node{Kind: "periods", Formula: "mean", Inputs: inputs, Value: total.Percent, Empty: !total.Has}
	})
}

// total curves, rounds and judges the total.
func (r *run1) total(value Value, node int) {
	p, t := &r.b.policy, &r.view.Total
	if value.Has {
		value.Percent, node = r.bend(value.Percent, node, p.Curve, p.Cap, "")
	}
	if o := r.override("", ""); o != nil {
		value.Percent, value.Has, value.Overridden = o.Percent, true, true
		node = r.setNode(o, "", "")
	}
	t.Value = value
	if !value.Has {
		return
	}
	t.Rounded = r.b.Round(value.Percent)
	judged, judgedNode := t.Rounded, r.roundNode(t, node)
	if p.Judge == Exact {
		judged, judgedNode = value.Percent, node
	}
	for i := range p.Letters {
		// The last letter has all that is below it too.
		if l := &p.Letters[i]; i == len(p.Letters)-1 || judged.Cmp(l.Min) >= 0 {
			t.Letter = l.Letter
			r.note(func() Node {
				return Node{Kind: "letter", Formula: "letter", Text: l.Letter, Value: l.Min, Inputs: []Input{from("percent", judgedNode, judged), given("min", l.Min)}}
			})
			break
		}
	}
	if p.PassMark != nil {
		t.Passed = judged.Cmp(*p.PassMark) >= 0
		r.note(func() Node {
			n := Node{Kind: "pass", Formula: "at_least", Inputs: []Input{from("percent", judgedNode, judged), given("mark", *p.PassMark)}}
			if t.Passed {
				n.Value = exact.Int(1)
			}
			return n
		})
	}
}

// bend applies a curve and a cap to a percentage.
func (r *run1) bend(percent exact.Number, node int, curve *Curve, highest *exact.Number, ref string) (exact.Number, int) {
	if curve != nil {
		before := percent
		switch curve.Kind {
		case Add:
			percent = percent.Add(curve.By)
		case Scale:
			percent = percent.Mul(hundred).Div(curve.By)
		case Linear:
			slope := curve.To[1].Sub(curve.To[0]).Div(curve.From[1].Sub(curve.From[0]))
			percent = percent.Sub(curve.From[0]).Mul(slope).Add(curve.To[0])
		}
		node = r.curveNode(curve, before, percent, node, ref)
	}
	if highest != nil {
		before := percent
		percent = exact.Min(percent, *highest)
		node = r.note(func() Node {
			return Node{Kind: "cap", Ref: ref, Formula: "min", Inputs: []Input{from("percent", node, before), given("cap", *highest)}, Value: percent}
		})
	}
	return percent, node
}

// override returns what a teacher has set for a category or a period in this pass.
func (r *run1) override(category, period string) *Override {
	var found *Override
	for i := range r.row.Overrides {
		o := &r.row.Overrides[i]
		if o.Category == category && o.Period == period && (r.seen == Full || !o.Hidden) {
			found = o
		}
	}
	return found
}
