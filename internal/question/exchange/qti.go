package exchange

import (
	"html"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// QTI of 1EdTech, versions 2.1, 2.2 and 3.0: https://www.imsglobal.org/spec/qti. The
// names of version 3 are brought into those of version 2 when elements are read, so
// that one reader knows all three.

// tool is what our items say they were made by. Of those the keys are kept.
const tool = "Stoa"

// qtiParser is what reading an item has in common.
type qtiParser struct {
	*draft

	m     *markup
	n     *node
	q     *pb.QuestionContent
	find  func(name string) (File, bool)
	decls map[string]*declaration
	own   bool
	// points is what the item is worth, and given whether it says so.
	points exact.Number
	given  bool
}

// declaration is a response that an item takes.
type declaration struct {
	id, base, cardinality string
	correct               []string
	mapped                []mapEntry
	fallback              string // what is not in the mapping gives
	upper                 string
	areas                 []*node
	mode                  string       // "match", "map" or "point"
	factor                exact.Number // by what its score is multiplied
	answers               []*node      // conditions that compare numbers
}

type mapEntry struct {
	key, value string
	sensitive  bool
}

func (d *declaration) value(key string) (string, bool) {
	for _, e := range d.mapped {
		if e.key == key {
			return e.value, true
		}
	}
	return d.fallback, false
}

func parseQTI(m *markup, n *node, find func(name string) (File, bool)) (*draft, error) {
	p := &qtiParser{draft: newDraft(), m: m, n: n, find: find, decls: map[string]*declaration{}, own: n.get("toolName") == tool, points: exact.Int(1)}
	p.q = p.Content
	p.q.Title = strings.Join(strings.Fields(n.get("title")), " ")
	p.q.Language = n.get("lang")
	if n.child("templateDeclaration") != nil {
		return p.draft, refuse("qti.template", "Items with templates are not read.")
	}
	for _, one := range n.all("outcomeDeclaration") {
		if one.get("identifier") == "MAXSCORE" {
			p.setPoints(one.child("defaultValue").value("value"))
		}
		if one.get("identifier") == "SCORE" && !p.given {
			p.setPoints(one.get("normalMaximum"))
		}
	}
	for _, one := range n.all("responseDeclaration") {
		d := &declaration{id: one.get("identifier"), base: one.get("baseType"), cardinality: one.get("cardinality"), fallback: "0", factor: exact.Int(1)}
		for _, v := range one.child("correctResponse").all("value") {
			d.correct = append(d.correct, strings.TrimSpace(v.words()))
		}
		if mapping := one.child("mapping"); mapping != nil {
			if v := mapping.get("defaultValue"); v != "" {
				d.fallback = v
			}
			d.upper = mapping.get("upperBound")
			for _, e := range mapping.all("mapEntry") {
				d.mapped = append(d.mapped, mapEntry{e.get("mapKey"), e.get("mappedValue"), e.get("caseSensitive") == "true"})
			}
		}
		if areas := one.child("areaMapping"); areas != nil {
			d.areas = areas.all("areaMapEntry")
			if v := areas.get("defaultValue"); v != "" {
				d.fallback = v
			}
		}
		p.decls[d.id] = d
	}
	p.processing()
	err := p.body()
	if err == nil {
		p.feedbacks()
	}
	if p.q.GetDescription() == nil {
		p.q.Points = p.points.String()
	}
	return p.draft, err
}

func (p *qtiParser) setPoints(text string) {
	if v, ok := decimal(text); ok && v.Sign() > 0 {
		p.points, p.given = v, true
	}
}

// understood are the parts of a response processing that mean nothing but what is
// read of them.
var understood = []string{
	"responseCondition", "responseIf", "responseElseIf", "responseElse", "match", "variable", "correct", "setOutcomeValue", "baseValue", "mapResponse",
	"mapResponsePoint", "isNull", "not", "sum", "product", "and", "equal", "equalRounded", "gte", "gt", "lt", "lte", "multiple",
}

// processing finds out how responses are scored.
func (p *qtiParser) processing() {
	n := p.n.child("responseProcessing")
	template := strings.TrimSuffix(path.Base(n.get("template")), ".xml")
	for _, d := range p.decls {
		d.mode = "match"
		if template == "map_response" || template == "map_response_point" {
			d.mode = "map"
		}
	}
	strange := false
	var walk func(n *node, factor exact.Number)
	walk = func(n *node, factor exact.Number) {
		if n.name == "product" {
			if v, ok := decimal(n.value("baseValue")); ok {
				factor = factor.Mul(v)
			}
		}
		for _, k := range n.kids {
			if k.name == "" || k.name == "#comment" {
				continue
			}
			d := p.decls[k.get("identifier")]
			switch k.name {
			case "mapResponse", "mapResponsePoint":
				if d != nil {
					d.mode, d.factor = "map", factor
				}
			case "responseIf", "responseElseIf":
				p.condition(k)
			}
			if !slices.Contains(understood, k.name) {
				strange = true
			}
			walk(k, factor)
		}
	}
	if n != nil {
		walk(n, exact.Int(1))
	}
	if strange {
		p.changed("qti.scoring", "It is scored in a way of its own there; here by what is right and by the values of answers.")
	}
}

// condition notes what a condition says of a number.
func (p *qtiParser) condition(n *node) {
	for _, name := range []string{"equal", "equalRounded"} {
		eq := n.child(name)
		if d := p.decls[eq.child("variable").get("identifier")]; eq != nil && d != nil {
			d.answers = append(d.answers, n)
		}
	}
}

// text returns what is in an element as Markdown. Feedback in it is not its own.
func (p *qtiParser) text(n *node, within func(n *node, b *strings.Builder) bool) string {
	for n != nil {
		var only *node
		for _, k := range n.kids {
			if k.name == "" && strings.TrimSpace(k.text) == "" {
				continue
			}
			if only != nil || k.name != "div" || within != nil && hasInteraction(k) {
				only = nil
				break
			}
			only = k
		}
		if only == nil || len(only.attr) > 0 {
			break
		}
		n = only
	}
	if n == nil {
		return ""
	}
	var b strings.Builder
	for _, k := range n.kids {
		p.html(k, &b, within)
	}
	return p.markdown(p.m, strings.TrimSpace(b.String()), "", p.find)
}

func hasInteraction(n *node) bool {
	found := strings.HasSuffix(n.name, "Interaction")
	n.find(func(k *node) bool {
		found = found || strings.HasSuffix(k.name, "Interaction")
		return found
	})
	return found
}

var voidElements = []string{"br", "img", "hr", "col", "wbr"}

// html writes an element as HTML. within may take an element instead.
func (p *qtiParser) html(n *node, b *strings.Builder, within func(n *node, b *strings.Builder) bool) {
	switch {
	case n.name == "":
		b.WriteString(html.EscapeString(n.text))
		return
	case n.name == "#comment":
		b.WriteString("<!--" + n.text + "-->")
		return
	case within != nil && within(n, b):
		return
	case n.name == "feedbackInline", n.name == "feedbackBlock", n.name == "rubricBlock", n.name == "templateBlock", n.name == "templateInline", n.name == "stylesheet":
		return
	case n.name == "object":
		if strings.HasPrefix(n.get("type"), "image/") {
			b.WriteString(`<img src="` + html.EscapeString(n.get("data")) + `" alt="` + html.EscapeString(strings.TrimSpace(n.words())) + `">`)
			return
		}
		p.changed("text.removed", "<object> was taken out of the text.")
		return
	}
	name := strings.ToLower(n.name)
	b.WriteString("<" + name)
	for _, a := range n.attr {
		if a.Name.Space == "" || a.Name.Local == "lang" {
			b.WriteString(" " + strings.ToLower(a.Name.Local) + `="` + html.EscapeString(a.Value) + `"`)
		}
	}
	b.WriteString(">")
	if slices.Contains(voidElements, name) {
		return
	}
	for _, k := range n.kids {
		p.html(k, b, within)
	}
	b.WriteString("</" + name + ">")
}

// body reads what is asked.
func (p *qtiParser) body() error {
	body := p.n.child("itemBody")
	var blocks, inline []*node
	collect := func(n *node) bool {
		switch {
		case n.name == "textEntryInteraction" || n.name == "inlineChoiceInteraction" || n.name == "endAttemptInteraction":
			inline = append(inline, n)
		case strings.HasSuffix(n.name, "Interaction"):
			blocks = append(blocks, n)
		default:
			return false
		}
		return true
	}
	body.find(collect)
	gaps := map[*node]string{}
	lone := len(inline) == 1 && len(blocks) == 0 && p.lastOf(body, inline[0])
	if !lone {
		for i, n := range inline {
			gaps[n] = strconv.Itoa(i + 1)
		}
	}
	var inner []string // what interactions ask themselves
	p.q.Prompt = p.text(body, func(n *node, b *strings.Builder) bool {
		if key, ok := gaps[n]; ok {
			b.WriteString("[[" + key + "]]")
			return true
		}
		if !strings.HasSuffix(n.name, "Interaction") {
			return false
		}
		if one := n.child("prompt"); one != nil {
			inner = append(inner, p.text(one, nil))
		}
		return true
	})
	p.q.Prompt = strings.TrimSpace(strings.Join(append([]string{p.q.GetPrompt()}, inner...), "\n\n"))
	switch {
	case len(blocks) == 0 && len(inline) == 0:
		p.q.Body = &pb.QuestionContent_Description{Description: &pb.DescriptionQuestion{}}
		return nil
	case lone:
		return p.entry(inline[0])
	case len(blocks) == 0:
		return p.inlines(inline)
	case len(inline) > 0:
		return refuse("qti.mixed", "It has several interactions of different kinds.")
	case len(blocks) == 2 && blocks[0].name == "extendedTextInteraction" && blocks[1].name == "uploadInteraction":
		return p.essay(blocks[0], blocks[1])
	case len(blocks) > 1:
		return refuse("qti.several", "It has several interactions: divide it.")
	}
	return p.block(blocks[0])
}

// lastOf reports whether nothing is asked behind an element.
func (p *qtiParser) lastOf(body, last *node) bool {
	seen, behind := false, false
	var walk func(n *node)
	walk = func(n *node) {
		switch {
		case n == last:
			seen = true
			return
		case n.name == "" && seen && strings.TrimSpace(n.text) != "", n.name == "img" && seen:
			behind = true
		}
		for _, k := range n.kids {
			walk(k)
		}
	}
	walk(body)
	return seen && !behind && last.name == "textEntryInteraction"
}

func (p *qtiParser) block(n *node) error {
	d := p.decls[n.get("responseIdentifier")]
	if d == nil {
		return refuse("qti.response", "The interaction has no declaration of its response.")
	}
	switch n.name {
	case "choiceInteraction":
		return p.choice(n, d)
	case "orderInteraction":
		return p.order(n, d)
	case "matchInteraction":
		return p.match(n, d)
	case "associateInteraction":
		return p.associate(n, d)
	case "gapMatchInteraction":
		return p.gapMatch(n, d)
	case "hotspotInteraction", "selectPointInteraction":
		return p.hotSpot(n, d)
	case "extendedTextInteraction":
		return p.essay(n, nil)
	case "uploadInteraction":
		return p.upload(n)
	}
	return refuse("qti.interaction", "Interactions of the kind %s are not read.", shorten(n.name, 50))
}

// key returns the key of what has an identifier: that of our own items, and otherwise
// none, because names that others gave may tell what is right.
func (p *qtiParser) key(n *node, prefix string) string {
	if key, ok := strings.CutPrefix(n.get("identifier"), prefix); ok && p.own {
		return key
	}
	return ""
}

// share returns the fraction of the points that a value gives. all is what a right
// answer gives, where the item does not say what it is worth.
func (p *qtiParser) share(d *declaration, value string) string {
	v, ok := decimal(value)
	if !ok {
		return "0"
	}
	if d.factor.Equal(p.points) {
		f, _ := fraction(value, 1)
		return f
	}
	f := v.Mul(d.factor).Div(p.points)
	if f.Cmp(exact.Int(1)) > 0 {
		f = exact.Int(1)
	}
	if f.Cmp(exact.Int(-1)) < 0 {
		f = exact.Int(-1)
	}
	return f.String()
}

// worth takes the points of an item from its mapping where it does not say them.
func (p *qtiParser) worth(d *declaration, total bool) {
	if p.given || d.mode != "map" {
		return
	}
	var sum, best exact.Number
	for _, e := range d.mapped {
		if v, ok := decimal(e.value); ok && v.Sign() > 0 {
			sum, best = sum.Add(v), exact.Max(best, v)
		}
	}
	if total {
		best = sum
		if u, ok := decimal(d.upper); ok && u.Sign() > 0 {
			best = exact.Min(best, u)
		}
	}
	if best.Sign() > 0 && d.factor.Sign() > 0 {
		p.points = best.Mul(d.factor)
	}
}

// feedbacks reads what is told afterwards.
func (p *qtiParser) feedbacks() {
	add := func(field *string, text string) {
		*field = strings.TrimSpace(*field + "\n\n" + text)
	}
	for _, n := range p.n.all("modalFeedback") {
		text := p.text(n.contents(), nil)
		id := strings.ToLower(n.get("identifier"))
		switch {
		case n.get("showHide") == "hide":
			p.changed("qti.feedback", "A feedback that is hidden under a condition is left out.")
		case p.optionFeedback(n.get("identifier"), text):
		case strings.Contains(id, "incorrect"), strings.Contains(id, "wrong"):
			add(&p.q.WrongFeedback, text)
		case strings.Contains(id, "part"):
			add(&p.q.PartlyFeedback, text)
		case strings.Contains(id, "correct"), strings.Contains(id, "right"):
			add(&p.q.RightFeedback, text)
		default:
			if id != "general" {
				p.changed("qti.feedback", "The feedback %q is told to everybody.", shorten(n.get("identifier"), 50))
			}
			add(&p.q.GeneralFeedback, text)
		}
	}
}

// contents returns the body of a feedback, which QTI 3 wraps.
func (n *node) contents() *node {
	if b := n.child("contentBody"); b != nil {
		return b
	}
	return n
}

// optionFeedback takes a feedback of which the identifier is that of an option.
func (p *qtiParser) optionFeedback(id, text string) bool {
	c := p.q.GetChoice()
	i := 0
	taken := false
	p.n.child("itemBody").find(func(n *node) bool {
		if n.name != "simpleChoice" || c == nil {
			return false
		}
		if n.get("identifier") == id && i < len(c.GetOptions()) {
			c.Options[i].Feedback, taken = text, true
		}
		i++
		return true
	})
	return taken
}
