package gradebook

import (
	"slices"
	"strconv"

	"github.com/stoa-lms/stoa/internal/exact"
)

// recorder notes the steps of a run.
type recorder struct {
	to *Derivation
	// The steps of items: their scores, and those as percentages.
	item, percent []int
	// Whether parts are noted that the total is not made of.
	all bool
	// The ratio that drops were chosen at; nil where none were searched.
	ratio *exact.Number
}

func explain1(b *Book, row *Row, seen Seen, basis Basis) *Derivation {
	return record1(b, row, seen, basis, false)
}

// part1 takes of all steps those that lead to what a part comes to, which is the last of
// its steps.
func part1(b *Book, row *Row, seen Seen, basis Basis, of Part) *Derivation {
	d := record1(b, row, seen, basis, true)
	d.Total = none
	at := len(d.Nodes) - 1
	for ; at >= 0; at-- {
		if n := &d.Nodes[at]; n.Period == of.Period && (n.Ref == of.Category || of.Category == "") && (of.Category != "" || of.Period != "") {
			break
		}
	}
	d.lead(at)
	if at < 0 {
		return d
	}
	end := &d.Nodes[len(d.Nodes)-1]
	if end.Empty || end.Formula == "sum" {
		return d // without a percentage
	}
	n := b.rounded(end.Value, len(d.Nodes)-1)
	n.Ref, n.Period, n.Label, n.Rounded = end.Ref, end.Period, end.Label, n.Value.Text(b.policy.Rounding.Places)
	d.Nodes, d.Total = append(d.Nodes, n), len(d.Nodes)
	return d
}

// lead leaves the steps that lead to one, and that one.
func (d *Derivation) lead(to int) {
	needed := make([]bool, len(d.Nodes))
	if to >= 0 {
		needed[to] = true
	}
	for i, n := range slices.Backward(d.Nodes) {
		for _, in := range n.Inputs {
			if needed[i] && in.Node >= 0 {
				needed[in.Node] = true
			}
		}
	}
	moved, kept := make([]int, len(d.Nodes)), d.Nodes[:0]
	for i, n := range d.Nodes {
		if !needed[i] {
			continue
		}
		for k := range n.Inputs {
			if in := &n.Inputs[k]; in.Node >= 0 {
				in.Node = moved[in.Node]
			}
		}
		moved[i] = len(kept)
		kept = append(kept, n)
	}
	d.Nodes = kept
}

// record1 notes the steps to the total, and of all parts where these are asked for.
func record1(b *Book, row *Row, seen Seen, basis Basis, all bool) *Derivation {
	d := &Derivation{Version: b.policy.Version, Seen: "full", Basis: "current", Nodes: []Node{}, Total: none}
	if seen == Posted {
		d.Seen = "posted"
	}
	if basis == Final {
		d.Basis = "final"
	}
	r := &run1{b: b, row: row, seen: seen, basis: basis, view: new(View), rec: &recorder{to: d, all: all, item: make([]int, len(b.item)), percent: make([]int, len(b.item))}}
	for i := range b.item {
		r.rec.item[i], r.rec.percent[i] = none, none
	}
	r.calculate(nil)
	return d
}

// note adds a step, where somebody asks for steps.
func (r *run1) note(step func() Node) int {
	if r.rec == nil {
		return none
	}
	n := step()
	p := &r.b.policy
	n.Rounded = r.b.Round(n.Value).Text(p.Rounding.Places)
	switch n.Kind {
	case "mark", "late", "missing", "item_override", "calculated", "excused", "unscored", "percent":
		n.Label = p.Items[r.b.items[n.Ref]].Title
	default:
		if r.period != none {
			n.Period = p.Periods[r.period].Key
		}
		if g, ok := r.b.groups[n.Ref]; ok && n.Label == "" {
			n.Label = p.Categories[g].Title
		}
	}
	r.rec.to.Nodes = append(r.rec.to.Nodes, n)
	return len(r.rec.to.Nodes) - 1
}

// setNode is what a teacher has set for a category, a period or the course.
func (r *run1) setNode(o *Override, ref, label string) int {
	return r.note(func() Node {
		return Node{Kind: "override", Ref: ref, Label: label, Formula: "given", Value: o.Percent, Inputs: []Input{given("override", o.Percent)}}
	})
}

func (r *run1) curveNode(curve *Curve, before, after exact.Number, node int, ref string) int {
	return r.note(func() Node {
		n := Node{Kind: "curve", Ref: ref, Formula: string(curve.Kind), Inputs: []Input{from("percent", node, before)}, Value: after}
		if curve.Kind == Linear {
			n.Inputs = append(n.Inputs, given("from", curve.From[0]), given("from_2", curve.From[1]), given("to", curve.To[0]), given("to_2", curve.To[1]))
		} else {
			n.Inputs = append(n.Inputs, given("by", curve.By))
		}
		return n
	})
}

func (r *run1) roundNode(t *Total, node int) int {
	at := r.note(func() Node { return r.b.rounded(t.Percent, node) })
	if r.rec != nil {
		r.rec.to.Total = at
	}
	return at
}

// rounded is the step that rounds a percentage as the course does.
func (b *Book) rounded(percent exact.Number, node int) Node {
	round := b.policy.Rounding
	n := Node{Kind: "total", Formula: "half_even", Inputs: []Input{from("percent", node, percent), given("places", exact.Int(int64(round.Places)))}, Value: b.Round(percent)}
	if round.Mode == exact.HalfUp {
		n.Formula = "half_up"
	}
	return n
}

// itemNode is the step that has an item's score, made when it is first asked for.
func (r *run1) itemNode(i int) int {
	if r.rec.item[i] != none {
		return r.rec.item[i]
	}
	id, m, of, p := r.b.policy.Items[i].ID, r.mark(i), r.b.item[i].of, &r.b.policy
	points := r.view.Items[i].Points
	var node int
	switch {
	case m.Status == Excused:
		node = r.note(func() Node { return Node{Kind: "excused", Ref: id, Formula: "given", Empty: true} })
	case m.Overridden:
		node = r.note(func() Node {
			return Node{Kind: "item_override", Ref: id, Formula: "given", Value: points, Inputs: []Input{given("override", points)}}
		})
	case !r.view.Items[i].Has:
		node = r.note(func() Node { return Node{Kind: "unscored", Ref: id, Formula: "given", Empty: true} })
	case m.Status == Missing:
		node = r.note(func() Node {
			return Node{Kind: "missing", Ref: id, Formula: "missing", Value: points, Inputs: []Input{given("points", of), given("deduction", *p.MissingDeduction)}}
		})
	default:
		a := m.attempt(counting1(p, of, m))
		node = r.note(func() Node {
			if len(m.Others) > 0 {
				return Node{Kind: "mark", Ref: id, Formula: "best", Value: a.Raw, Inputs: r.attempts(m, of)}
			}
			return Node{Kind: "mark", Ref: id, Formula: "given", Value: a.Raw, Inputs: []Input{given("raw", a.Raw)}}
		})
		if intervals1(p.Late, of, a.Late) > 0 {
			raw := node
			node = r.note(func() Node {
				return Node{Kind: "late", Ref: id, Formula: "late", Value: points, Inputs: []Input{
					from("raw", raw, a.Raw), given("points", of), given("rate", p.Late.Rate), given("late", exact.Int(a.Late)),
					given("interval", exact.Int(p.Late.Interval)), given("floor", p.Late.Floor),
				}}
			})
		}
	}
	r.rec.item[i] = node
	return node
}

// attempts are the inputs of a mark that is the best of several: each as it was given,
// and what lateness takes off.
func (r *run1) attempts(m *Mark, of exact.Number) []Input {
	var inputs []Input
	for i := range len(m.Others) + 1 {
		a := m.attempt(i)
		ref := strconv.Itoa(i + 1)
		raw, late := given("raw", a.Raw), given("late", exact.Int(a.Late))
		raw.Ref, late.Ref = ref, ref
		inputs = append(inputs, raw, late)
	}
	p := r.b.policy.Late
	if p == nil || of.Sign() == 0 {
		return inputs
	}
	return append(inputs, given("points", of), given("rate", p.Rate), given("interval", exact.Int(p.Interval)), given("floor", p.Floor), given("grace", exact.Int(p.Grace)))
}

// percentNode is the step that has an item's score as a percentage.
func (r *run1) percentNode(i int) int {
	if r.rec.percent[i] == none {
		score, of := r.view.Items[i].Points, r.b.item[i].of
		node := r.itemNode(i)
		r.rec.percent[i] = r.note(func() Node {
			return Node{
				Kind: "percent", Ref: r.b.policy.Items[i].ID, Formula: "percent", Value: score.Mul(hundred).Div(of),
				Inputs: []Input{from("score", node, score), given("points", of)},
			}
		})
	}
	return r.rec.percent[i]
}

// recordFormula is the step of a calculated item.
func (r *run1) recordFormula(i int, values []maybe, v maybe) {
	if r.rec == nil {
		return
	}
	it := &r.b.item[i]
	n := Node{Kind: "calculated", Ref: r.b.policy.Items[i].ID, Formula: "expression", Expression: it.formula.text, Value: v.n, Empty: !v.ok}
	if !v.ok {
		n.Value = exact.Number{}
	}
	for k, ref := range it.formula.refs {
		in := Input{Name: ref.kind + "[" + ref.name + "]", Node: none, Value: values[k].n, Empty: !values[k].ok}
		of := it.sources[k].index
		switch {
		case ref.kind == "category" && in.Empty, ref.kind == "percent" && r.b.item[of].bonus, ref.kind == "possible":
			// There is no step that has it.
		case ref.kind == "category":
			in.Node = r.groups[of].node
		case ref.kind == "percent" && !in.Empty:
			in.Node = r.percentNode(of)
		default:
			in.Node = r.itemNode(of)
		}
		n.Inputs = append(n.Inputs, in)
	}
	r.rec.item[i] = r.note(func() Node { return n })
}

func (r *run1) recordRatio(ratio exact.Number) {
	if r.rec != nil {
		r.rec.ratio = &ratio
	}
}

// recordGroup is the step of a category, and before it that of its drops.
func (r *run1) recordGroup(g int) {
	if r.rec == nil {
		return
	}
	made, out := &r.b.group[g], &r.groups[g]
	n := Node{Kind: "category", Ref: r.key(g), Formula: "mean", Value: out.Percent, Empty: !out.Has}
	if g == r.b.root() {
		n.Kind = "course"
	}
	if made.method == Points {
		n.Formula = "points"
		if !out.Has {
			n.Formula, n.Value, n.Empty = "sum", out.n, out.n.Sign() == 0
		}
	}
	if drop := r.dropNode(g); drop != none {
		n.Inputs = append(n.Inputs, Input{Name: "drop", Node: drop, Value: r.rec.to.Nodes[drop].Value})
	}
	full := false
	for _, i := range made.items {
		if r.inPass(i) {
			in := r.itemInput(g, i)
			full = full || in.Name == "extra_mean"
			n.Inputs = append(n.Inputs, in)
		}
	}
	for _, c := range made.groups {
		for _, in := range r.categoryInputs(g, c) {
			full = full || in.Name == "extra_mean"
			n.Inputs = append(n.Inputs, in)
		}
	}
	if full {
		n.Inputs = append(n.Inputs, given("full", r.full(g)))
	}
	out.node = r.note(func() Node { return n })
}

// stateNames are what inputs are called that are not added up.
var stateNames = map[State]string{Unscored: "unscored", DroppedLowest: "dropped_lowest", DroppedHighest: "dropped_highest", ExcusedOut: "excused"}

// itemInput is an item as an input of its category.
func (r *run1) itemInput(g, i int) Input {
	it := &r.b.item[i]
	in := Input{Ref: r.b.policy.Items[i].ID, Node: r.itemNode(i), Value: r.view.Items[i].Points, Of: &it.of}
	state := r.state[i]
	if name := stateNames[state]; name != "" {
		in.Name, in.Empty = name, state == Unscored || state == ExcusedOut
		return in
	}
	switch {
	case r.b.group[g].method != Points:
		in.Name, in.Of = "mean", &it.weight
		if it.extra {
			in.Name = "extra_mean"
		}
		in.Node = r.percentNode(i)
		in.Value = r.rec.to.Nodes[in.Node].Value
	case state == ExtraCounted:
		in.Name = "extra"
	default:
		in.Name = "earned"
	}
	return in
}

// categoryInputs is a category as an input of the one that it is in, if it counts.
func (r *run1) categoryInputs(g, c int) []Input {
	made, out := &r.b.group[c], &r.groups[c]
	in := Input{Ref: r.key(c), Node: out.node, Value: out.Percent}
	if !out.Has {
		// It counts as 0 where the course says so, whatever its own step has.
		in.Node, in.Empty = none, true
	}
	zero := r.b.policy.Empty == AsZero && !made.extra
	if r.b.group[g].method != Points {
		in.Name, in.Of = "mean", &made.weight
		if made.extra {
			in.Name = "extra_mean"
		}
		if out.Has || zero {
			return []Input{in}
		}
		return nil
	}
	worth := r.worth(c)
	in.Name, in.Of = "category", &worth
	if made.extra {
		in.Name = "extra_category"
	}
	var inputs []Input
	if out.Has || zero && worth.Sign() > 0 {
		inputs = append(inputs, in)
	}
	if !out.Has && made.method == Points && out.n.Sign() != 0 {
		// It has no percentage, but what it adds is added.
		inputs = append(inputs, Input{Name: "extra", Ref: in.Ref, Node: out.node, Value: out.n})
	}
	return inputs
}

// dropNode is the step that says what is dropped of a category's own items.
func (r *run1) dropNode(g int) int {
	for k := range r.blocks {
		b := &r.blocks[k]
		m := r.members[b.member]
		if m.group != g {
			continue
		}
		n := Node{Kind: "drop", Ref: r.key(g), Formula: "drop"}
		dropped := 0
		for _, c := range r.candidates[b.from : b.to+b.highest] {
			in := Input{Name: "kept", Ref: r.b.policy.Items[c.item].ID, Node: r.itemNode(c.item), Value: r.view.Items[c.item].Points, Of: &c.v}
			if r.b.group[g].method != Points {
				in.Node = r.percentNode(c.item)
				in.Value = r.rec.to.Nodes[in.Node].Value
			}
			if name := stateNames[r.state[c.item]]; name != "" {
				in.Name = name
				dropped++
			}
			n.Inputs = append(n.Inputs, in)
		}
		if r.rec.ratio != nil && b.lowest > 0 && !m.extra {
			ratio := *r.rec.ratio
			if r.b.group[g].method == Points {
				ratio = ratio.Mul(hundred)
			}
			n.Inputs = append(n.Inputs, given("ratio", ratio))
		}
		n.Value = exact.Int(int64(dropped))
		n.Expression = "lowest " + strconv.Itoa(b.lowest) + ", highest " + strconv.Itoa(b.highest)
		return r.note(func() Node { return n })
	}
	return none
}
