package exchange

import (
	"slices"
	"strconv"
	"strings"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// choice reads a choice; one of true and false where options are named so.
func (p *qtiParser) choice(n *node, d *declaration) error {
	options := n.all("simpleChoice")
	c := &pb.ChoiceQuestion{Multiple: d.cardinality == "multiple", Shuffle: n.get("shuffle") == "true"}
	p.worth(d, c.GetMultiple())
	right := func(o *node) string {
		id := o.get("identifier")
		if d.mode == "map" {
			v, _ := d.value(id)
			return p.share(d, v)
		}
		if slices.Contains(d.correct, id) {
			return "1"
		}
		return "0"
	}
	if len(options) == 2 && !c.GetMultiple() && strings.EqualFold(options[0].get("identifier"), "true") && strings.EqualFold(options[1].get("identifier"), "false") {
		t := &pb.TrueFalseQuestion{Right: signOf(right(options[0])) > 0}
		t.WrongFraction = right(options[0])
		if t.GetRight() {
			t.WrongFraction = right(options[1])
		}
		t.TrueFeedback, t.FalseFeedback = p.inlineFeedback(options[0]), p.inlineFeedback(options[1])
		p.q.Body = &pb.QuestionContent_TrueFalse{TrueFalse: t}
		return nil
	}
	if c.GetMultiple() {
		c.MinChosen, c.MaxChosen = n.number("minChoices"), n.number("maxChoices")
		if d.mode == "match" {
			c.Scoring = "all_or_nothing"
		}
	}
	for _, o := range options {
		one := &pb.ChoiceOption{Key: p.key(o, "k-"), Text: p.text(o, nil), Fraction: right(o), Fixed: o.get("fixed") == "true", Feedback: p.inlineFeedback(o)}
		if c.GetMultiple() && d.mode == "match" && one.GetFraction() == "1" {
			one.Fraction = exact.Ratio(1, int64(max(1, len(d.correct)))).String()
		}
		c.Options = append(c.Options, one)
	}
	p.q.Body = &pb.QuestionContent_Choice{Choice: c}
	return nil
}

// inlineFeedback returns what an option says when it is chosen.
func (p *qtiParser) inlineFeedback(o *node) string {
	var out []string
	o.find(func(k *node) bool {
		if k.name != "feedbackInline" && k.name != "feedbackBlock" {
			return false
		}
		out = append(out, p.text(k.contents(), nil))
		return true
	})
	return strings.Join(out, "\n\n")
}

func (n *node) number(name string) int32 {
	v, err := strconv.ParseInt(n.get(name), 10, 32)
	if err != nil {
		return 0
	}
	return int32(v)
}

func (p *qtiParser) order(n *node, d *declaration) error {
	o := &pb.OrderingQuestion{Scoring: "all_or_nothing", Layout: "vertical"}
	if n.get("orientation") == "horizontal" {
		o.Layout = "horizontal"
	}
	if d.mode == "map" {
		p.changed("qti.scoring", "The order counts as a whole.")
	}
	choices := n.all("simpleChoice")
	if len(d.correct) != len(choices) {
		p.changed("qti.order", "Items that have no place in the right order are left out.")
	}
	for _, id := range d.correct {
		for _, c := range choices {
			if c.get("identifier") == id {
				o.Items = append(o.Items, &pb.OrderingItem{Key: p.key(c, "k-"), Text: p.text(c, nil)})
			}
		}
	}
	p.q.Body = &pb.QuestionContent_Ordering{Ordering: o}
	return nil
}

// pairs returns which targets are right for a source, and whether a mapping says so.
func (d *declaration) pairs(source string, targets []string, reversed bool) []int {
	var out []int
	for i, t := range targets {
		key := source + " " + t
		if reversed {
			key = t + " " + source
		}
		v, mapped := d.value(key)
		if d.mode == "map" && mapped && signOf(number(v)) > 0 || (d.mode != "map" || len(d.mapped) == 0) && slices.Contains(d.correct, key) {
			out = append(out, i)
		}
	}
	return out
}

// match reads a table of two sets: stems with one choice each, or items that are put
// into categories.
func (p *qtiParser) match(n *node, d *declaration) error {
	sets := n.all("simpleMatchSet")
	if len(sets) != 2 {
		return refuse("qti.match", "It does not have two sets.")
	}
	for i := range d.correct {
		d.correct[i] = strings.Join(strings.Fields(d.correct[i]), " ")
	}
	sources, targets := sets[0].all("simpleAssociableChoice"), sets[1].all("simpleAssociableChoice")
	var ids, texts, names []string
	for _, t := range targets {
		ids, texts, names = append(ids, t.get("identifier")), append(texts, p.text(t, nil)), append(names, p.key(t, "c-"))
	}
	if made := keys(texts); slices.Contains(names, "") {
		names = made
	}
	right := make([][]int, len(sources))
	single, whole, placed := true, true, int64(0)
	for i, s := range sources {
		right[i] = d.pairs(s.get("identifier"), ids, false)
		single = single && s.get("matchMax") == "1"
		whole = whole && len(right[i]) > 0
		if len(right[i]) > 0 {
			placed++
		}
	}
	scoring := "all_or_nothing"
	if d.mode == "map" {
		scoring = "per_part"
	}
	p.worth(d, true)
	pick := func(i int) []string {
		var out []string
		for _, at := range right[i] {
			out = append(out, names[at])
		}
		return out
	}
	if class := n.get("class"); class != "stoa-categorise" && single && whole {
		k := &pb.MatchingQuestion{Shuffle: n.get("shuffle") == "true", Scoring: scoring}
		if d.mode == "map" {
			if v, ok := decimal(p.share(d, d.fallback)); ok || strings.Contains(p.share(d, d.fallback), "/") {
				if !ok {
					v, _ = exact.Parse(p.share(d, d.fallback))
				}
				k.WrongFraction = exact.Max(exact.Int(-1), exact.Min(exact.Int(0), v.Mul(exact.Int(int64(len(sources)))))).String()
			}
		}
		for i, t := range texts {
			k.Choices = append(k.Choices, &pb.MatchingChoice{Key: names[i], Text: t})
		}
		for i, s := range sources {
			k.Stems = append(k.Stems, &pb.MatchingStem{Key: p.key(s, "s-"), Text: p.text(s, nil), RightKeys: pick(i)})
		}
		p.q.Body = &pb.QuestionContent_Matching{Matching: k}
		return nil
	}
	c := &pb.CategoriseQuestion{Several: !single, Shuffle: n.get("shuffle") == "true", Scoring: scoring}
	for i, t := range texts {
		c.Categories = append(c.Categories, &pb.CategoriseCategory{Key: names[i], Text: t})
	}
	for i, s := range sources {
		c.Items = append(c.Items, &pb.CategoriseItem{Key: p.key(s, "s-"), Text: p.text(s, nil), RightKeys: pick(i)})
	}
	p.q.Body = &pb.QuestionContent_Categorise{Categorise: c}
	return nil
}

// associate reads pairs of one set: the first of each pair becomes a stem.
func (p *qtiParser) associate(n *node, d *declaration) error {
	list := n.all("simpleAssociableChoice")
	p.changed("qti.associate", "Pairs became stems and choices: the first of each pair is a stem.")
	k := &pb.MatchingQuestion{Shuffle: n.get("shuffle") == "true", Scoring: "all_or_nothing"}
	if d.mode == "map" {
		k.Scoring = "per_part"
	}
	p.worth(d, true)
	stems := map[string]string{}
	for _, pair := range d.correct {
		a, b, ok := strings.Cut(strings.Join(strings.Fields(pair), " "), " ")
		if !ok || stems[a] != "" {
			return refuse("qti.associate", "The right pairs can't be told apart as stems and choices.")
		}
		stems[a] = b
	}
	var choices pool
	var right []int
	for _, one := range list {
		if stems[one.get("identifier")] == "" {
			choices.add(p.text(one, nil))
		}
	}
	for _, one := range list {
		to := stems[one.get("identifier")]
		i := slices.IndexFunc(list, func(o *node) bool { return o.get("identifier") == to })
		if to == "" {
			continue
		}
		if i < 0 {
			return refuse("qti.associate", "A right pair names what there is not.")
		}
		k.Stems, right = append(k.Stems, &pb.MatchingStem{Text: p.text(one, nil)}), append(right, choices.add(p.text(list[i], nil)))
	}
	matching(p.draft, k, choices.texts, right)
	return nil
}

func (p *qtiParser) gapMatch(n *node, d *declaration) error {
	b := &pb.BlanksQuestion{Scoring: "all_or_nothing"}
	if d.mode == "map" {
		b.Scoring = "per_part"
	}
	p.worth(d, true)
	for i := range d.correct {
		d.correct[i] = strings.Join(strings.Fields(d.correct[i]), " ")
	}
	var ids, texts, names []string
	words := n.all("gapText")
	for _, w := range words {
		ids, texts, names = append(ids, w.get("identifier")), append(texts, p.text(w, nil)), append(names, p.key(w, "c-"))
	}
	if n.child("gapImg") != nil {
		return refuse("qti.gap_img", "Pictures that are dragged into a text are not read.")
	}
	if made := keys(texts); slices.Contains(names, "") {
		names = made
	}
	for i, w := range words {
		b.Items = append(b.Items, &pb.DragItem{Key: names[i], Text: texts[i], Reuse: w.get("matchMax") == "0"})
	}
	var gaps []*node
	inner := &node{name: "div"}
	for _, k := range n.kids {
		if k.name != "gapText" && k.name != "prompt" {
			inner.kids = append(inner.kids, k)
		}
	}
	text := p.text(inner, func(k *node, out *strings.Builder) bool {
		if k.name != "gap" {
			return false
		}
		gaps = append(gaps, k)
		out.WriteString("[[" + strconv.Itoa(len(gaps)) + "]]")
		return true
	})
	p.q.Prompt = strings.TrimSpace(p.q.GetPrompt() + "\n\n" + text)
	for i, g := range gaps {
		one := &pb.DragGap{}
		for _, at := range d.pairs(g.get("identifier"), ids, true) {
			one.RightKeys = append(one.RightKeys, names[at])
		}
		b.Gaps = append(b.Gaps, &pb.BlankGap{Key: strconv.Itoa(i + 1), Weight: 1, Fill: &pb.BlankGap_Drag{Drag: one}})
	}
	p.q.Body = &pb.QuestionContent_Blanks{Blanks: b}
	return nil
}

// picture reads the picture of an interaction.
func (p *qtiParser) picture(n *node) (*pb.HotSpotQuestion, error) {
	source, alt := "", ""
	n.find(func(k *node) bool {
		switch {
		case source != "":
		case k.name == "object":
			source, alt = k.get("data"), strings.TrimSpace(k.words())
		case k.name == "img":
			source, alt = k.get("src"), k.get("alt")
		}
		return source != ""
	})
	f, ok := p.find(source)
	if !ok {
		return nil, refuse("qti.picture", "The picture %s is not in the package.", shorten(source, 200))
	}
	h := &pb.HotSpotQuestion{MediaId: p.file(f), Alt: alt}
	var err error
	if h.Width, h.Height, err = pictureSize(f.Data); err != nil {
		return nil, err
	}
	if h.GetAlt() == "" {
		if h.Alt = p.q.GetTitle(); h.GetAlt() == "" {
			h.Alt = "A picture"
		}
		p.changed("hot_spot.alt", "The picture has no description but the title: write one for those who can't see it.")
	}
	return h, nil
}

func (p *qtiParser) hotSpot(n *node, d *declaration) error {
	h, err := p.picture(n)
	if err != nil {
		return err
	}
	h.Scoring = "all_or_nothing"
	if d.mode == "map" {
		h.Scoring = "per_part"
	}
	h.MaxMarks = n.number("maxChoices")
	p.worth(d, true)
	add := func(k *node, right bool, text string) error {
		r := &pb.HotSpotRegion{Key: p.key(k, "k-"), Right: right, Description: text}
		if text == "" {
			r.Description = "Place " + strconv.Itoa(len(h.GetRegions())+1)
		}
		h.Regions = append(h.Regions, r)
		return setArea(r, k.get("shape"), k.get("coords"), h.GetWidth(), h.GetHeight())
	}
	rightOnes := 0
	wrong := exact.Int(0)
	if n.name == "hotspotInteraction" {
		for _, k := range n.all("hotspotChoice") {
			v, _ := d.value(k.get("identifier"))
			right := d.mode == "match" && slices.Contains(d.correct, k.get("identifier")) || d.mode == "map" && signOf(number(v)) > 0
			if right {
				rightOnes++
			} else if f, err := exact.Parse(p.share(d, v)); d.mode == "map" && err == nil {
				wrong = exact.Min(wrong, f)
			}
			if err := add(k, right, k.get("hotspotLabel")); err != nil {
				return err
			}
		}
	} else {
		for _, k := range d.areas {
			right := signOf(number(k.get("mappedValue"))) > 0
			if right {
				rightOnes++
			}
			if err := add(k, right, ""); err != nil {
				return err
			}
		}
		if len(d.areas) == 0 {
			return refuse("qti.areas", "It does not say which areas are right.")
		}
	}
	h.WrongFraction = exact.Max(exact.Int(-1), wrong.Mul(exact.Int(int64(rightOnes)))).String()
	if int(h.GetMaxMarks()) < rightOnes {
		h.MaxMarks = 0
	}
	p.restIsWrong(h)
	p.q.Body = &pb.QuestionContent_HotSpot{HotSpot: h}
	return nil
}

func (p *qtiParser) notes() string {
	var out []string
	p.n.child("itemBody").find(func(n *node) bool {
		if n.name == "rubricBlock" && strings.Contains(n.get("view"), "scorer") {
			out = append(out, p.text(n.contents(), nil))
		}
		return n.name == "rubricBlock"
	})
	return strings.Join(out, "\n\n")
}

func (p *qtiParser) essay(n, files *node) error {
	e := &pb.EssayQuestion{Format: "plain", Lines: max(0, min(100, n.number("expectedLines"))), GraderNotes: p.notes()}
	if n.get("format") == "xhtml" {
		e.Format = "markdown"
	}
	if files != nil {
		e.Attachments = &pb.FileRules{MaxCount: 1}
	}
	p.q.Body = &pb.QuestionContent_Essay{Essay: e}
	return nil
}

func (p *qtiParser) upload(*node) error {
	p.q.Body = &pb.QuestionContent_FileUpload{FileUpload: &pb.FileUploadQuestion{Files: &pb.FileRules{MaxCount: 1}, GraderNotes: p.notes()}}
	return nil
}

// isNumber reports whether a response is a number.
func (d *declaration) isNumber() bool { return d.base == "float" || d.base == "integer" }

// entry reads a lone field: a short answer or a number.
func (p *qtiParser) entry(n *node) error {
	d := p.decls[n.get("responseIdentifier")]
	if d == nil {
		return refuse("qti.response", "The interaction has no declaration of its response.")
	}
	p.worth(d, false)
	if d.isNumber() {
		k, err := p.numbers(d)
		p.q.Body = &pb.QuestionContent_Numeric{Numeric: k}
		return err
	}
	p.q.Body = &pb.QuestionContent_ShortAnswer{ShortAnswer: p.patterns(d)}
	return nil
}

var literalPattern = strings.NewReplacer(`\`, `\\`, "*", `\*`)

func (p *qtiParser) patterns(d *declaration) *pb.ShortAnswerQuestion {
	s := &pb.ShortAnswerQuestion{CaseSensitive: d.mode == "match" || len(d.mapped) == 0}
	if d.mode == "match" || len(d.mapped) == 0 {
		for _, v := range d.correct {
			s.Patterns = append(s.Patterns, &pb.AnswerPattern{Pattern: literalPattern.Replace(v), Fraction: "1"})
		}
		return s
	}
	for i, e := range d.mapped {
		if i == 0 {
			s.CaseSensitive = e.sensitive
		} else if s.GetCaseSensitive() != e.sensitive {
			p.changed("qti.case", "Upper and lower case count for all answers or for none.")
		}
		s.Patterns = append(s.Patterns, &pb.AnswerPattern{Pattern: literalPattern.Replace(e.key), Fraction: p.share(d, e.value)})
	}
	return s
}

func (p *qtiParser) numbers(d *declaration) (*pb.NumericQuestion, error) {
	k := &pb.NumericQuestion{}
	for _, c := range d.answers {
		eq, f := c.child("equal"), "1"
		if eq == nil {
			eq = c.child("equalRounded")
		}
		value := eq.value("baseValue")
		if value == "" && len(d.correct) > 0 {
			value = d.correct[0]
		}
		for _, set := range c.all("setOutcomeValue") {
			if set.get("identifier") == "SCORE" && set.value("baseValue") != "" {
				v, ok := decimal(set.value("baseValue"))
				if !ok {
					return k, refuse("qti.number", "%q is no score.", shorten(set.value("baseValue"), 50))
				}
				if f = v.Div(p.points).String(); p.points.Equal(exact.Int(1)) {
					f, _ = fraction(set.value("baseValue"), 1)
				}
			}
		}
		a := &pb.NumericAnswer{Value: number(value), Fraction: f}
		below, above, two := strings.Cut(strings.TrimSpace(eq.get("tolerance")), " ")
		size, mode := below, eq.get("toleranceMode")
		switch {
		case eq.name == "equalRounded" && eq.get("roundingMode") == "decimalPlaces":
			a.Tolerance = &pb.Tolerance{Kind: "decimal_places", Digits: eq.number("figures")}
		case eq.name == "equalRounded":
			a.Tolerance = &pb.Tolerance{Kind: "significant_figures", Digits: eq.number("figures")}
		case two && (mode == "absolute" || mode == "relative") && number(below) != number(above):
			var ok bool
			if a.Tolerance, ok = between(a.GetValue(), below, above, mode); !ok {
				return k, refuse("qti.number", "%q is no tolerance.", shorten(eq.get("tolerance"), 50))
			}
			a.Value = ""
		case mode == "absolute":
			a.Tolerance = &pb.Tolerance{Kind: "absolute", Size: number(size)}
		case mode == "relative":
			v, ok := decimal(size)
			if !ok {
				return k, refuse("qti.number", "%q is no tolerance.", shorten(size, 50))
			}
			a.Tolerance = &pb.Tolerance{Kind: "relative", Size: v.Div(exact.Int(100)).String()}
		}
		k.Answers = append(k.Answers, a)
	}
	if len(k.GetAnswers()) > 0 {
		return k, nil
	}
	if d.mode == "map" {
		for _, e := range d.mapped {
			k.Answers = append(k.Answers, &pb.NumericAnswer{Value: number(e.key), Fraction: p.share(d, e.value)})
		}
		return k, nil
	}
	for _, v := range d.correct {
		k.Answers = append(k.Answers, &pb.NumericAnswer{Value: number(v), Fraction: "1"})
	}
	return k, nil
}

// between returns the range from one tolerance below a value to another above it; relative
// ones are percentages of the value.
func between(value, below, above, mode string) (*pb.Tolerance, bool) {
	v, ok := decimal(value)
	low, okLow := decimal(below)
	high, okHigh := decimal(above)
	if !ok || !okLow || !okHigh {
		return nil, false
	}
	if mode == "relative" {
		low, high = v.Mul(low).Div(exact.Int(100)), v.Mul(high).Div(exact.Int(100))
	}
	from, to := v.Sub(low), v.Add(high)
	if from.Cmp(to) > 0 { // of a value below 0
		from, to = to, from
	}
	return &pb.Tolerance{Kind: "range", Low: from.String(), High: to.String()}, true
}

// inlines reads fields and lists within a text.
func (p *qtiParser) inlines(list []*node) error {
	b := &pb.BlanksQuestion{Scoring: "per_part"}
	var sum, maps int64
	for i, n := range list {
		d := p.decls[n.get("responseIdentifier")]
		if d == nil {
			return refuse("qti.response", "The interaction has no declaration of its response.")
		}
		g := &pb.BlankGap{Key: strconv.Itoa(i + 1), Weight: 1}
		if d.mode == "map" && len(d.mapped) > 0 {
			maps++
			var best exact.Number
			for _, e := range d.mapped {
				if v, ok := decimal(e.value); ok {
					best = exact.Max(best, v)
				}
			}
			// A share of one gap: what is best is all of it, and the factor its weight.
			weight := d.factor.Mul(best)
			if w, err := strconv.ParseInt(weight.String(), 10, 32); err == nil && w >= 1 && w <= 100 {
				g.Weight = int32(w)
			} else if weight.Sign() > 0 {
				p.changed("qti.weight", "Gaps weigh the same.")
			}
			one := *d
			if best.Sign() > 0 && !best.Equal(exact.Int(1)) {
				one.mapped = nil
				for _, e := range d.mapped {
					if v, ok := decimal(e.value); ok {
						e.value = v.Div(best).Text(7)
					}
					one.mapped = append(one.mapped, e)
				}
			}
			one.factor = p.points
			d = &one
		}
		sum += int64(g.GetWeight())
		switch {
		case n.name == "inlineChoiceInteraction":
			list := &pb.DropdownGap{Shuffle: n.get("shuffle") == "true"}
			for _, o := range n.all("inlineChoice") {
				id := o.get("identifier")
				one := &pb.ChoiceOption{Key: p.key(o, "k-"), Text: strings.TrimSpace(o.words()), Fraction: "0", Fixed: o.get("fixed") == "true"}
				if v, ok := d.value(id); d.mode == "map" && ok {
					one.Fraction = p.share(d, v)
				} else if d.mode == "match" && slices.Contains(d.correct, id) {
					one.Fraction = "1"
				}
				list.Options = append(list.Options, one)
			}
			g.Fill = &pb.BlankGap_Dropdown{Dropdown: list}
		case n.name == "textEntryInteraction" && d.isNumber():
			k, err := p.numbers(d)
			if err != nil {
				return err
			}
			g.Fill = &pb.BlankGap_Number{Number: k}
		case n.name == "textEntryInteraction":
			g.Fill = &pb.BlankGap_Typed{Typed: p.patterns(d)}
		default:
			return refuse("qti.interaction", "Interactions of the kind %s are not read.", shorten(n.name, 50))
		}
		b.Gaps = append(b.Gaps, g)
	}
	if maps == 0 {
		b.Scoring = "all_or_nothing"
	}
	if !p.given {
		p.points = exact.Int(sum)
	}
	p.q.Body = &pb.QuestionContent_Blanks{Blanks: b}
	return nil
}
