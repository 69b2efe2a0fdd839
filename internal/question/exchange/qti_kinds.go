package exchange

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// places is how many digits a value of a mapping has behind its point.
const places = 7

func ratio(num, den int) string {
	return rounded(exact.Ratio(int64(num), int64(den)).String(), 1, places)
}

// declare writes the declaration of a response, with what is right.
func (o *qtiOut) declare(id, cardinality, base string, inside func()) {
	o.open("responseDeclaration", "identifier", id, "cardinality", cardinality, "baseType", base)
	if inside != nil {
		inside()
	}
	o.end("responseDeclaration")
}

// ask writes the body: what is asked, and an interaction.
func (o *qtiOut) ask(prompt string, interaction func()) {
	o.open("itemBody")
	if notes := o.q.GetEssay().GetGraderNotes() + o.q.GetFileUpload().GetGraderNotes(); notes != "" {
		attr := []string{"view", "scorer"}
		if o.version == QTI30 {
			attr = append(attr, "use", "scoring")
		}
		o.open("rubricBlock", attr...)
		if o.version == QTI30 {
			o.open("contentBody")
		}
		_, _ = o.WriteString("<div>")
		o.flow(notes)
		_, _ = o.WriteString("</div>")
		if o.version == QTI30 {
			o.end("contentBody")
		}
		o.end("rubricBlock")
	}
	if prompt != "" {
		_, _ = o.WriteString("<div>")
		o.flow(prompt)
		_, _ = o.WriteString("</div>")
	}
	if interaction != nil {
		interaction()
	}
	o.end("itemBody")
}

// item writes what an item of a kind has.
func (o *qtiOut) item() error {
	switch b := o.q.GetBody().(type) {
	case *pb.QuestionContent_Choice:
		return o.choice(b.Choice)
	case *pb.QuestionContent_TrueFalse:
		return o.trueFalse(b.TrueFalse)
	case *pb.QuestionContent_ShortAnswer:
		return o.shortAnswer(b.ShortAnswer)
	case *pb.QuestionContent_Numeric:
		return o.numeric(b.Numeric)
	case *pb.QuestionContent_Matching:
		return o.matching(b.Matching)
	case *pb.QuestionContent_Categorise:
		return o.categorise(b.Categorise)
	case *pb.QuestionContent_Ordering:
		return o.ordering(b.Ordering)
	case *pb.QuestionContent_Blanks:
		return o.blanks(b.Blanks)
	case *pb.QuestionContent_HotSpot:
		return o.hotSpot(b.HotSpot)
	case *pb.QuestionContent_Essay:
		return o.essay(b.Essay)
	case *pb.QuestionContent_FileUpload:
		o.declare("RESPONSE", "single", "file", nil)
		o.outcomes()
		o.ask(o.q.GetPrompt(), o.uploadField("RESPONSE"))
		o.processing(nil)
		return nil
	case *pb.QuestionContent_Description:
		o.outcomes()
		o.ask(o.q.GetPrompt(), nil)
		o.processing(nil)
		return nil
	}
	return refuse("format.kind", "Questions of this kind are not written as QTI.")
}

func (o *qtiOut) uploadField(id string) func() {
	return func() {
		o.open("uploadInteraction", "responseIdentifier", id)
		o.end("uploadInteraction")
	}
}

func (o *qtiOut) option(element, id, text, feedback string, more ...string) {
	o.open(element, append([]string{"identifier", id}, more...)...)
	o.flow(text)
	if feedback != "" {
		o.open("feedbackInline", "outcomeIdentifier", "RESPONSE", "identifier", id, "showHide", "show")
		o.flow(feedback)
		o.end("feedbackInline")
	}
	o.end(element)
}

func (o *qtiOut) choice(c *pb.ChoiceQuestion) error {
	var right []string
	var entries []mapEntry
	mapped := c.GetMultiple() && c.GetScoring() != "all_or_nothing"
	n := 0
	for _, one := range c.GetOptions() {
		if signOf(one.GetFraction()) > 0 {
			n++
		}
	}
	for _, one := range c.GetOptions() {
		id := "k-" + one.GetKey()
		value := rounded(one.GetFraction(), 1, places)
		if s := c.GetScoring(); c.GetMultiple() && (s == "right_minus_wrong" || s == "per_option") {
			if value = ratio(-1, max(1, n)); signOf(one.GetFraction()) > 0 {
				value = ratio(1, n)
			}
		}
		entries = append(entries, mapEntry{key: id, value: value})
		switch {
		case isOne(one.GetFraction()) && !c.GetMultiple(), signOf(one.GetFraction()) > 0 && c.GetMultiple():
			right = append(right, id)
		case !c.GetMultiple() && signOf(one.GetFraction()) != 0:
			mapped = true
		}
	}
	if len(right) > 1 && !c.GetMultiple() {
		mapped, right = true, right[:1]
	}
	cardinality, most := "single", int32(1)
	if c.GetMultiple() {
		cardinality, most = "multiple", c.GetMaxChosen()
	}
	o.declare("RESPONSE", cardinality, "identifier", func() {
		o.correct(right...)
		if mapped {
			o.mapping("0", entries, false)
		}
	})
	o.outcomes()
	o.ask(o.q.GetPrompt(), func() {
		o.open("choiceInteraction", "responseIdentifier", "RESPONSE", "shuffle", fmt.Sprint(c.GetShuffle()), "maxChoices", fmt.Sprint(most), "minChoices", fmt.Sprint(c.GetMinChosen()))
		for _, one := range c.GetOptions() {
			var more []string
			if one.GetFixed() {
				more = []string{"fixed", "true"}
			}
			o.option("simpleChoice", "k-"+one.GetKey(), one.GetText(), one.GetFeedback(), more...)
		}
		o.end("choiceInteraction")
	})
	o.scored(mapped)
	return nil
}

func (o *qtiOut) scored(mapped bool) {
	if mapped {
		o.processing(o.mapped)
	} else {
		o.processing(o.matched)
	}
}

func (o *qtiOut) trueFalse(t *pb.TrueFalseQuestion) error {
	right, wrong := "false", "true"
	if t.GetRight() {
		right, wrong = wrong, right
	}
	mapped := signOf(t.GetWrongFraction()) != 0
	o.declare("RESPONSE", "single", "identifier", func() {
		o.correct(right)
		if mapped {
			o.mapping("0", []mapEntry{{key: right, value: "1"}, {key: wrong, value: rounded(t.GetWrongFraction(), 1, places)}}, false)
		}
	})
	o.outcomes()
	o.ask(o.q.GetPrompt(), func() {
		o.open("choiceInteraction", "responseIdentifier", "RESPONSE", "shuffle", "false", "maxChoices", "1")
		o.option("simpleChoice", "true", "True", t.GetTrueFeedback())
		o.option("simpleChoice", "false", "False", t.GetFalseFeedback())
		o.end("choiceInteraction")
	})
	o.scored(mapped)
	return nil
}

// literal returns the text that a pattern stands for; false where it has a star.
func literal(pattern string) (string, bool) {
	var b strings.Builder
	escaped := false
	for _, c := range pattern {
		switch {
		case escaped:
			if c != '*' && c != '\\' {
				b.WriteByte('\\')
			}
			b.WriteRune(c)
			escaped = false
		case c == '\\':
			escaped = true
		case c == '*':
			return "", false
		default:
			b.WriteRune(c)
		}
	}
	if escaped {
		b.WriteByte('\\')
	}
	return b.String(), true
}

// words returns what is right of a written answer, and what others give.
func words(s *pb.ShortAnswerQuestion) (right string, entries []mapEntry, err error) {
	for _, p := range s.GetPatterns() {
		text, ok := literal(p.GetPattern())
		if !ok {
			return "", nil, refuse("format.pattern", "QTI has no patterns with a star: %s", shorten(p.GetPattern(), 100))
		}
		if right == "" && isOne(p.GetFraction()) {
			right = text
		}
		entries = append(entries, mapEntry{text, rounded(p.GetFraction(), 1, places), s.GetCaseSensitive()})
	}
	return right, entries, nil
}

func (o *qtiOut) entryField(id string) {
	o.open("textEntryInteraction", "responseIdentifier", id)
	o.end("textEntryInteraction")
}

func (o *qtiOut) shortAnswer(s *pb.ShortAnswerQuestion) error {
	right, entries, err := words(s)
	if err != nil {
		return err
	}
	mapped := len(entries) > 1 || !s.GetCaseSensitive()
	o.declare("RESPONSE", "single", "string", func() {
		o.correct(right)
		if mapped {
			o.mapping("0", entries, true)
		}
	})
	o.outcomes()
	o.ask(o.q.GetPrompt(), func() {
		_, _ = o.WriteString("<p>")
		o.entryField("RESPONSE")
		_, _ = o.WriteString("</p>")
	})
	o.scored(mapped)
	return nil
}

func (o *qtiOut) numeric(n *pb.NumericQuestion) error {
	right := ""
	for _, a := range n.GetAnswers() {
		if a.GetTolerance().GetKind() == "geometric" || a.GetTolerance().GetKind() == "range" {
			return refuse("format.tolerance", "A tolerance of the kind %q is not written as QTI.", a.GetTolerance().GetKind())
		}
		if right == "" && isOne(a.GetFraction()) {
			right = a.GetValue()
		}
	}
	o.declare("RESPONSE", "single", "float", func() { o.correct(right) })
	o.outcomes()
	o.ask(o.q.GetPrompt(), func() {
		_, _ = o.WriteString("<p>")
		o.entryField("RESPONSE")
		_, _ = o.WriteString("</p>")
	})
	o.processing(func() {
		o.open("responseCondition")
		for i, a := range n.GetAnswers() {
			name := "responseIf"
			if i > 0 {
				name = "responseElseIf"
			}
			o.open(name)
			o.equal(a)
			o.set("SCORE", func() { o.float(rounded(times(a.GetFraction(), o.q.GetPoints()), 1, places)) })
			o.end(name)
		}
		o.open("responseElse")
		o.set("SCORE", func() { o.float("0") })
		o.end("responseElse")
		o.end("responseCondition")
	})
	return nil
}

func times(a, b string) string {
	x, errX := exact.Parse(a)
	y, errY := exact.Parse(b)
	if errX != nil || errY != nil {
		return "0"
	}
	return x.Mul(y).String()
}

// equal writes how a number is compared.
func (o *qtiOut) equal(a *pb.NumericAnswer) {
	name, attr := "equal", []string{"toleranceMode", "exact"}
	switch t := a.GetTolerance(); t.GetKind() {
	case "absolute":
		attr = []string{"toleranceMode", "absolute", "tolerance", t.GetSize() + " " + t.GetSize()}
	case "relative":
		size := rounded(t.GetSize(), 100, 20)
		attr = []string{"toleranceMode", "relative", "tolerance", size + " " + size}
	case "significant_figures":
		name, attr = "equalRounded", []string{"roundingMode", "significantFigures", "figures", fmt.Sprint(t.GetDigits())}
	case "decimal_places":
		name, attr = "equalRounded", []string{"roundingMode", "decimalPlaces", "figures", fmt.Sprint(t.GetDigits())}
	}
	o.open(name, attr...)
	o.variable("RESPONSE")
	o.float(a.GetValue())
	o.end(name)
}

// choices writes a set of a match interaction.
func (o *qtiOut) set2(write func()) {
	o.open("simpleMatchSet")
	write()
	o.end("simpleMatchSet")
}

func (o *qtiOut) matching(k *pb.MatchingQuestion) error {
	var right []string
	var entries []mapEntry
	for _, s := range k.GetStems() {
		for i, key := range s.GetRightKeys() {
			pair := "s-" + s.GetKey() + " c-" + key
			if i == 0 {
				right = append(right, pair)
			}
			entries = append(entries, mapEntry{key: pair, value: ratio(1, len(k.GetStems()))})
		}
	}
	mapped := k.GetScoring() != "all_or_nothing"
	o.declare("RESPONSE", "multiple", "directedPair", func() {
		o.correct(right...)
		if mapped {
			o.mapping(rounded(times(k.GetWrongFraction(), exact.Ratio(1, int64(len(k.GetStems()))).String()), 1, places), entries, false)
		}
	})
	o.outcomes()
	o.ask(o.q.GetPrompt(), func() {
		o.open("matchInteraction", "responseIdentifier", "RESPONSE", "shuffle", fmt.Sprint(k.GetShuffle()), "maxAssociations", fmt.Sprint(len(k.GetStems())))
		o.set2(func() {
			for _, s := range k.GetStems() {
				o.option("simpleAssociableChoice", "s-"+s.GetKey(), s.GetText(), "", "matchMax", "1")
			}
		})
		o.set2(func() {
			for _, c := range k.GetChoices() {
				o.option("simpleAssociableChoice", "c-"+c.GetKey(), c.GetText(), "", "matchMax", fmt.Sprint(len(k.GetStems())))
			}
		})
		o.end("matchInteraction")
	})
	o.scored(mapped)
	return nil
}

func (o *qtiOut) categorise(k *pb.CategoriseQuestion) error {
	placed := 0
	for _, item := range k.GetItems() {
		if len(item.GetRightKeys()) > 0 {
			placed++
		}
	}
	var right []string
	var entries []mapEntry
	for _, item := range k.GetItems() {
		for _, key := range item.GetRightKeys() {
			pair := "s-" + item.GetKey() + " c-" + key
			right = append(right, pair)
			entries = append(entries, mapEntry{key: pair, value: ratio(1, placed*len(item.GetRightKeys()))})
		}
	}
	mapped := k.GetScoring() != "all_or_nothing"
	o.declare("RESPONSE", "multiple", "directedPair", func() {
		o.correct(right...)
		if mapped {
			o.mapping(ratio(-1, placed), entries, false)
		}
	})
	o.outcomes()
	most := "1"
	if k.GetSeveral() {
		most = fmt.Sprint(len(k.GetCategories()))
		if len(k.GetCategories()) == 1 {
			most = "2"
		}
	}
	o.ask(o.q.GetPrompt(), func() {
		o.open("matchInteraction", "class", "stoa-categorise", "responseIdentifier", "RESPONSE", "shuffle", fmt.Sprint(k.GetShuffle()), "maxAssociations", "0")
		o.set2(func() {
			for _, item := range k.GetItems() {
				o.option("simpleAssociableChoice", "s-"+item.GetKey(), item.GetText(), "", "matchMax", most)
			}
		})
		o.set2(func() {
			for _, c := range k.GetCategories() {
				o.option("simpleAssociableChoice", "c-"+c.GetKey(), c.GetText(), "", "matchMax", fmt.Sprint(len(k.GetItems())))
			}
		})
		o.end("matchInteraction")
	})
	o.scored(mapped)
	return nil
}

func (o *qtiOut) ordering(k *pb.OrderingQuestion) error {
	var right []string
	for _, item := range k.GetItems() {
		right = append(right, "k-"+item.GetKey())
	}
	o.declare("RESPONSE", "ordered", "identifier", func() { o.correct(right...) })
	o.outcomes()
	// In the order of the keys, which tells nothing.
	items := slices.Clone(k.GetItems())
	slices.SortFunc(items, func(a, b *pb.OrderingItem) int { return strings.Compare(a.GetKey(), b.GetKey()) })
	o.ask(o.q.GetPrompt(), func() {
		o.open("orderInteraction", "responseIdentifier", "RESPONSE", "shuffle", "true", "orientation", k.GetLayout())
		for _, item := range items {
			o.option("simpleChoice", "k-"+item.GetKey(), item.GetText(), "")
		}
		o.end("orderInteraction")
	})
	o.scored(false)
	return nil
}

func (o *qtiOut) essay(e *pb.EssayQuestion) error {
	files := e.GetAttachments() != nil
	if e.GetFormat() == "none" {
		return refuse("format.kind", "An essay of files alone is not written as QTI: ask for files.")
	}
	o.declare("RESPONSE", "single", "string", nil)
	if files {
		o.declare("FILE", "single", "file", nil)
	}
	o.outcomes()
	o.ask(o.q.GetPrompt(), func() {
		attr := []string{"responseIdentifier", "RESPONSE", "format", map[bool]string{true: "xhtml", false: "plain"}[e.GetFormat() == "markdown"]}
		if e.GetLines() > 0 {
			attr = append(attr, "expectedLines", fmt.Sprint(e.GetLines()))
		}
		o.open("extendedTextInteraction", attr...)
		o.end("extendedTextInteraction")
		if files {
			o.uploadField("FILE")()
		}
	})
	o.processing(nil)
	return nil
}

func (o *qtiOut) hotSpot(h *pb.HotSpotQuestion) error {
	at := slices.IndexFunc(o.Files, func(f File) bool { return f.ID == h.GetMediaId() })
	if at < 0 {
		return refuse("format.picture", "The picture of the question is not there.")
	}
	var right []string
	var entries []mapEntry
	n := 0
	for _, r := range h.GetRegions() {
		if r.GetRight() {
			n++
		}
	}
	for _, r := range h.GetRegions() {
		value := rounded(times(h.GetWrongFraction(), exact.Ratio(1, int64(n)).String()), 1, places)
		if r.GetRight() {
			value = ratio(1, n)
			right = append(right, "k-"+r.GetKey())
		}
		entries = append(entries, mapEntry{key: "k-" + r.GetKey(), value: value})
	}
	mapped := h.GetScoring() != "all_or_nothing"
	o.declare("RESPONSE", "multiple", "identifier", func() {
		o.correct(right...)
		if mapped {
			o.mapping("0", entries, false)
		}
	})
	o.outcomes()
	o.ask(o.q.GetPrompt(), func() {
		o.open("hotspotInteraction", "responseIdentifier", "RESPONSE", "maxChoices", fmt.Sprint(h.GetMaxMarks()))
		f := o.Files[at]
		size := []string{"width", fmt.Sprint(h.GetWidth()), "height", fmt.Sprint(h.GetHeight())}
		if o.version == QTI30 {
			o.xmlOut.open("img", append([]string{"src", mediaFolder + fileName(f), "alt", h.GetAlt()}, size...)...)
			o.xmlOut.end("img")
		} else {
			o.xmlOut.el("object", h.GetAlt(), append([]string{"data", mediaFolder + fileName(f), "type", "image/" + strings.TrimPrefix(fileName(f)[strings.LastIndex(fileName(f), ".")+1:], ".")}, size...)...)
		}
		for _, r := range h.GetRegions() {
			shape, coords := areaOf(r)
			o.open("hotspotChoice", "identifier", "k-"+r.GetKey(), "shape", shape, "coords", coords, "hotspotLabel", r.GetDescription())
			o.end("hotspotChoice")
		}
		o.end("hotspotInteraction")
	})
	o.scored(mapped)
	return nil
}
