package question

import (
	"regexp"
	"slices"
	"strings"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// blanks asks to fill gaps in the prompt. Each gap is a part; the score is the sum of
// weight × fraction / sum of weights, as Moodle's cloze (question/type/multianswer),
// or all or nothing. What is typed, a number or a list is scored as the question of
// its kind; an item that is dragged gives 1 where it is right, as Moodle's drag and
// drop into text (question/type/ddwtos). A gap that is filled and gives 0 gives
// wrong_fraction instead.
type blanks struct {
	*pb.BlanksQuestion

	gaps   []gap
	weight int64 // of all gaps
	wrong  exact.Number
}

// gap is one of them, read.
type gap struct {
	*pb.BlankGap

	typed   shortAnswer
	number  numeric
	options map[string]option
}

// gapMark is where a gap is in the prompt.
var gapMark = regexp.MustCompile(`\[\[([A-Za-z0-9_-]{1,40})\]\]`)

func normaliseBlanks(q *pb.QuestionContent) {
	b := q.GetBlanks()
	fill(&b.Scoring, "per_part")
	share(&b.WrongFraction, "0")
	for _, g := range b.GetGaps() {
		if g.GetWeight() == 0 {
			g.Weight = 1
		}
		switch f := g.GetFill().(type) {
		case *pb.BlankGap_Typed:
			normaliseShort(f.Typed)
		case *pb.BlankGap_Number:
			normaliseNumber(f.Number)
		case *pb.BlankGap_Dropdown:
			normaliseOptions(f.Dropdown.GetOptions())
		}
	}
}

func newBlanks(q *pb.QuestionContent, c *checker) kind {
	k := blanks{BlanksQuestion: q.GetBlanks()}
	k.wrong = c.fraction("blanks.wrong_fraction", k.GetWrongFraction(), "0", "-1", "0")
	items := k.GetItems()
	c.keys("blanks.items", len(items), func(i int) string { return items[i].GetKey() })
	c.keys("blanks.gaps", len(k.GetGaps()), func(i int) string { return k.GetGaps()[i].GetKey() })
	marks := map[string]int{}
	for _, m := range gapMark.FindAllStringSubmatch(q.GetPrompt(), -1) {
		marks[m[1]]++
	}
	needed := map[string]int{} // by item: in how many gaps it alone is right
	for i, g := range k.GetGaps() {
		at := index("blanks.gaps", i)
		if marks[g.GetKey()] != 1 {
			c.add(at+".key", "gap.mark", "Write [[%s]] once into the prompt.", g.GetKey())
		}
		delete(marks, g.GetKey())
		k.weight += int64(g.GetWeight())
		one := gap{BlankGap: g}
		switch f := g.GetFill().(type) {
		case *pb.BlankGap_Typed:
			one.typed = c.shortAnswer(at+".typed", f.Typed)
		case *pb.BlankGap_Number:
			one.number = c.numeric(at+".number", f.Number)
		case *pb.BlankGap_Dropdown:
			var best exact.Number
			if one.options, _, best = c.readOptions(at+".dropdown.options", f.Dropdown.GetOptions()); best.Cmp(unit) != 0 {
				c.add(at+".dropdown.options", "choice.no_right", `One option has the fraction "1".`)
			}
		case *pb.BlankGap_Drag:
			c.refs(at+".drag.right_keys", f.Drag.GetRightKeys(), func(key string) bool {
				item, ok := find(items, key)
				return ok && item.GetGroup() == f.Drag.GetGroup()
			})
			if len(f.Drag.GetRightKeys()) == 1 {
				needed[f.Drag.GetRightKeys()[0]]++
			}
		}
		k.gaps = append(k.gaps, one)
	}
	for key := range marks {
		c.add("prompt", "gap.unknown", "There is no gap for [[%s]].", key)
	}
	for i, item := range items {
		if needed[item.GetKey()] > 1 && !item.GetReuse() {
			c.add(index("blanks.items", i)+".reuse", "item.reuse", "It is right in several gaps, so it has to be used more than once.")
		}
	}
	return k
}

func (k blanks) answer(a *pb.Answer, key string) *pb.GapAnswer {
	for _, g := range a.GetBlanks().GetGaps() {
		if g.GetGapKey() == key {
			return g
		}
	}
	return nil
}

func (k blanks) accept(c *checker, a *pb.Answer) {
	list := a.GetBlanks().GetGaps()
	used := map[string]bool{}
	for i, one := range list {
		at := index("blanks.gaps", i)
		g, ok := find(k.gaps, one.GetGapKey())
		if !ok {
			c.add(at+".gap_key", "key.unknown", "The question has nothing with this key.")
			continue
		}
		if slices.ContainsFunc(list[:i], func(o *pb.GapAnswer) bool { return o.GetGapKey() == one.GetGapKey() }) {
			c.add(at+".gap_key", "key.twice", "This gap is filled before.")
		}
		written := g.GetTyped() != nil || g.GetNumber() != nil
		switch {
		case written && one.GetKey() != "":
			c.add(at+".key", "gap.typed", "Something is typed into this gap.")
		case !written && one.GetText() != "":
			c.add(at+".text", "gap.chosen", "Something is chosen for this gap.")
		case !written && one.GetKey() != "" && g.state(k, one) == "":
			c.add(at+".key", "key.unknown", "This gap has nothing with this key.")
		}
		if g.GetNumber() != nil {
			number := &checker{}
			g.number.accept(number, &pb.Answer{Content: &pb.Answer_Number{Number: &pb.NumberAnswer{Unit: one.GetUnit()}}})
			for _, f := range number.faults {
				c.add(at+".unit", f.Code, "%s", f.Hint)
			}
		} else if one.GetUnit() != "" {
			c.add(at+".unit", "unit.not_asked", "The unit is not selected here.")
		}
		if item, ok := find(k.GetItems(), one.GetKey()); g.GetDrag() != nil && ok {
			if used[item.GetKey()] && !item.GetReuse() {
				c.add(at+".key", "item.used", "This item is in another gap.")
			}
			used[item.GetKey()] = true
		}
	}
}

// state returns "typed" where something is written, "key" where something is chosen
// that the gap has, and nothing otherwise.
func (g gap) state(k blanks, a *pb.GapAnswer) string {
	switch {
	case g.GetTyped() != nil || g.GetNumber() != nil:
		if !blank(a.GetText()) {
			return "typed"
		}
	case g.GetDropdown() != nil:
		if _, ok := g.options[a.GetKey()]; ok {
			return "key"
		}
	default:
		if item, ok := find(k.GetItems(), a.GetKey()); ok && item.GetGroup() == g.GetDrag().GetGroup() {
			return "key"
		}
	}
	return ""
}

func (k blanks) given(a *pb.Answer) given {
	n := 0
	for _, g := range k.gaps {
		if one := k.answer(a, g.GetKey()); one != nil && g.state(k, one) != "" {
			n++
		}
	}
	switch n {
	case 0:
		return nothing
	case len(k.gaps):
		return whole
	}
	return lacking
}

func (k blanks) view(in *Instance, v *pb.QuestionView) {
	out := &pb.BlanksView{}
	items := shuffle(in.seed.stream("drag"), byKey(k.GetItems()))
	for _, item := range items {
		out.Items = append(out.Items, &pb.DragView{Key: item.GetKey(), Text: in.text(item.GetText()), Group: item.GetGroup(), Reuse: item.GetReuse()})
	}
	place := map[string]int32{}
	for i, m := range gapMark.FindAllStringSubmatch(in.content.GetPrompt(), -1) {
		place[m[1]] = int32(i + 1)
	}
	for _, g := range k.gaps {
		one := &pb.GapView{Key: g.GetKey(), Place: place[g.GetKey()]}
		switch f := g.GetFill().(type) {
		case *pb.BlankGap_Typed:
			one.Kind = "typed"
		case *pb.BlankGap_Number:
			one.Kind, one.Number = "number", g.number.numberView()
		case *pb.BlankGap_Dropdown:
			one.Kind = "dropdown"
			options := f.Dropdown.GetOptions()
			if f.Dropdown.GetShuffle() {
				options = shuffleUnless(in.seed.stream("gap "+g.GetKey()), options, (*pb.ChoiceOption).GetFixed)
			}
			one.Options = keyed(in, options)
		case *pb.BlankGap_Drag:
			one.Kind, one.Group = "drag", f.Drag.GetGroup()
			for _, item := range items {
				if item.GetGroup() == f.Drag.GetGroup() {
					one.Options = append(one.Options, &pb.KeyedText{Key: item.GetKey(), Text: in.text(item.GetText())})
				}
			}
		}
		out.Gaps = append(out.Gaps, one)
	}
	slices.SortStableFunc(out.GetGaps(), func(a, b *pb.GapView) int { return int(a.GetPlace() - b.GetPlace()) })
	v.Body = &pb.QuestionView_Blanks{Blanks: out}
}

func (k blanks) score(_ *Instance, a *pb.Answer) Score {
	var s Score
	used := map[string]bool{}
	for _, g := range k.gaps {
		weight := exact.Ratio(int64(g.GetWeight()), k.weight)
		one := k.answer(a, g.GetKey())
		if one == nil || g.state(k, one) == "" {
			s.unanswered(g.GetKey(), weight)
			continue
		}
		fraction, feedback := g.fraction(one)
		if item, ok := find(k.GetItems(), one.GetKey()); g.GetDrag() != nil && ok && !item.GetReuse() {
			if used[item.GetKey()] {
				fraction = exact.Number{} // it is in another gap already
			}
			used[item.GetKey()] = true
		}
		if fraction.Sign() == 0 {
			fraction = k.wrong
		}
		s.part(g.GetKey(), fraction, weight, feedback)
	}
	if k.GetScoring() == "all_or_nothing" {
		s.allOrNothing(s.allRight())
	}
	return s
}

// fraction returns what a gap that is filled gives.
func (g gap) fraction(a *pb.GapAnswer) (exact.Number, string) {
	switch f := g.GetFill().(type) {
	case *pb.BlankGap_Typed:
		if p, ok := g.typed.match(a.GetText()); ok {
			return p.fraction, p.GetFeedback()
		}
	case *pb.BlankGap_Number:
		if r, _ := g.number.judge(a.GetText(), a.GetUnit()); r.answer != nil {
			return r.fraction, r.answer.source.GetFeedback()
		}
	case *pb.BlankGap_Dropdown:
		o := g.options[a.GetKey()]
		return o.fraction, o.GetFeedback()
	case *pb.BlankGap_Drag:
		if slices.Contains(f.Drag.GetRightKeys(), a.GetKey()) {
			return unit, f.Drag.GetFeedback()
		}
		return exact.Number{}, f.Drag.GetFeedback()
	}
	return exact.Number{}, ""
}

func (k blanks) right(*Instance) *pb.Answer {
	out := &pb.BlanksAnswer{}
	items := k.drags()
	for _, g := range k.gaps {
		one := &pb.GapAnswer{GapKey: g.GetKey()}
		switch g.GetFill().(type) {
		case *pb.BlankGap_Typed:
			one.Text = g.typed.example()
		case *pb.BlankGap_Number:
			one.Text, one.Unit = g.number.example()
		case *pb.BlankGap_Dropdown:
			for _, o := range g.GetDropdown().GetOptions() {
				if one.GetKey() == "" && g.options[o.GetKey()].fraction.Cmp(unit) == 0 {
					one.Key = o.GetKey()
				}
			}
		case *pb.BlankGap_Drag:
			one.Key = items[g.GetKey()]
		}
		out.Gaps = append(out.Gaps, one)
	}
	return &pb.Answer{Content: &pb.Answer_Blanks{Blanks: out}}
}

// drags returns a right item for each gap, so that none that can be used once is used
// twice: a matching of gaps and items by augmenting paths.
func (k blanks) drags() map[string]string {
	by := map[string]string{} // by gap: its item
	in := map[string]string{} // by item that is used once: its gap
	var place func(g gap, seen map[string]bool) bool
	place = func(g gap, seen map[string]bool) bool {
		for _, key := range g.GetDrag().GetRightKeys() {
			item, ok := find(k.GetItems(), key)
			if !ok || seen[key] {
				continue
			}
			if item.GetReuse() {
				by[g.GetKey()] = key
				return true
			}
			seen[key] = true
			other, taken := find(k.gaps, in[key])
			if !taken || place(other, seen) {
				by[g.GetKey()], in[key] = key, g.GetKey()
				return true
			}
		}
		return false
	}
	for _, g := range k.gaps {
		if g.GetDrag() != nil {
			place(g, map[string]bool{})
		}
	}
	return by
}

func (k blanks) words(in *Instance, a *pb.Answer, key string) string {
	var out []string
	for _, g := range k.gaps {
		one := k.answer(a, g.GetKey())
		if one == nil || key != "" && key != g.GetKey() || g.state(k, one) == "" {
			continue
		}
		text := plainText(strings.TrimSpace(one.GetText() + " " + one.GetUnit()))
		if o, ok := g.options[one.GetKey()]; ok {
			text = plainText(in.text(o.GetText()))
		} else if item, ok := find(k.GetItems(), one.GetKey()); ok && g.GetDrag() != nil {
			text = in.text(item.GetText())
		}
		if key != "" {
			return text
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

func (k blanks) keep(a *pb.Answer, s Score) *pb.Answer {
	out := &pb.BlanksAnswer{}
	for _, p := range s.Parts {
		if p.State == Right {
			out.Gaps = append(out.Gaps, k.answer(a, p.Key))
		}
	}
	return &pb.Answer{Content: &pb.Answer_Blanks{Blanks: out}}
}
