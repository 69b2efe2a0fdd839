package exchange

import (
	"fmt"
	"strings"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// blanks writes gaps: words that are dragged are one interaction, and fields and lists
// are one each, in the text.
func (o *qtiOut) blanks(b *pb.BlanksQuestion) error {
	drags := 0
	for _, g := range b.GetGaps() {
		if g.GetDrag() != nil {
			drags++
		}
	}
	switch drags {
	case 0:
		return o.fields(b)
	case len(b.GetGaps()):
		return o.dragGaps(b)
	}
	return refuse("format.gaps", "QTI has no text with gaps of which some are dragged to and others are not.")
}

// gapped writes the prompt with something for each gap.
func (o *qtiOut) gapped(b *pb.BlanksQuestion, with map[string]string) string {
	var pairs []string
	for _, g := range b.GetGaps() {
		pairs = append(pairs, "[["+g.GetKey()+"]]", with[g.GetKey()])
	}
	return strings.NewReplacer(pairs...).Replace(xhtml(o.m.html(o.addressed(o.q.GetPrompt(), mediaFolder))))
}

// piece returns what write writes.
func (o *qtiOut) piece(write func(*qtiOut)) string {
	one := &qtiOut{draft: o.draft, m: o.m, q: o.q, version: o.version}
	write(one)
	return one.String()
}

func (o *qtiOut) dragGaps(b *pb.BlanksQuestion) error {
	var right []string
	var entries []mapEntry
	gaps := map[string]string{}
	n := 0
	for _, g := range b.GetGaps() {
		n += int(g.GetWeight())
	}
	for _, g := range b.GetGaps() {
		for i, key := range g.GetDrag().GetRightKeys() {
			pair := "c-" + key + " g-" + g.GetKey()
			if i == 0 {
				right = append(right, pair)
			}
			entries = append(entries, mapEntry{key: pair, value: ratio(int(g.GetWeight()), n)})
		}
		gaps[g.GetKey()] = o.piece(func(one *qtiOut) {
			one.open("gap", "identifier", "g-"+g.GetKey())
			one.end("gap")
		})
	}
	mapped := b.GetScoring() != "all_or_nothing"
	o.declare("RESPONSE", "multiple", "directedPair", func() {
		o.correct(right...)
		if mapped {
			o.mapping("0", entries, false)
		}
	})
	o.outcomes()
	o.ask("", func() {
		o.open("gapMatchInteraction", "responseIdentifier", "RESPONSE", "shuffle", "true")
		for _, item := range b.GetItems() {
			most := "1"
			if item.GetReuse() {
				most = "0"
			}
			o.open("gapText", "identifier", "c-"+item.GetKey(), "matchMax", most)
			_, _ = o.WriteString(escapeXML(o.m.plain(item.GetText())))
			o.end("gapText")
		}
		_, _ = o.WriteString("<div>" + o.gapped(b, gaps) + "</div>")
		o.end("gapMatchInteraction")
	})
	o.scored(mapped)
	return nil
}

func (o *qtiOut) fields(b *pb.BlanksQuestion) error {
	gaps := map[string]string{}
	sum := 0
	for i, g := range b.GetGaps() {
		id := fmt.Sprintf("RESPONSE_%d", i+1)
		sum += int(g.GetWeight())
		base, right, text := "string", "", true
		var entries []mapEntry
		switch f := g.GetFill().(type) {
		case *pb.BlankGap_Typed:
			var err error
			if right, entries, err = words(f.Typed); err != nil {
				return err
			}
		case *pb.BlankGap_Number:
			base, text = "float", false
			for _, a := range f.Number.GetAnswers() {
				if a.GetTolerance() != nil {
					return refuse("format.tolerance", "QTI has no tolerance of a number in a gap.")
				}
				if right == "" && isOne(a.GetFraction()) {
					right = a.GetValue()
				}
				entries = append(entries, mapEntry{key: a.GetValue(), value: rounded(a.GetFraction(), 1, places)})
			}
		case *pb.BlankGap_Dropdown:
			base, text = "identifier", false
			for _, one := range f.Dropdown.GetOptions() {
				key := "k-" + one.GetKey()
				if right == "" && isOne(one.GetFraction()) {
					right = key
				}
				entries = append(entries, mapEntry{key: key, value: rounded(one.GetFraction(), 1, places)})
			}
		}
		o.declare(id, "single", base, func() {
			o.correct(right)
			if b.GetScoring() != "all_or_nothing" {
				o.mapping("0", entries, text)
			}
		})
		gaps[g.GetKey()] = o.piece(func(one *qtiOut) {
			d := g.GetDropdown()
			if d == nil {
				one.entryField(id)
				return
			}
			one.open("inlineChoiceInteraction", "responseIdentifier", id, "shuffle", fmt.Sprint(d.GetShuffle()))
			for _, c := range d.GetOptions() {
				attr := []string{"identifier", "k-" + c.GetKey()}
				if c.GetFixed() {
					attr = append(attr, "fixed", "true")
				}
				one.el("inlineChoice", c.GetText(), attr...)
			}
			one.end("inlineChoiceInteraction")
		})
	}
	o.outcomes()
	o.open("itemBody")
	_, _ = o.WriteString("<div>" + o.gapped(b, gaps) + "</div>")
	o.end("itemBody")
	if b.GetScoring() == "all_or_nothing" {
		o.processing(func() { o.allMatched(len(b.GetGaps())) })
		return nil
	}
	o.processing(func() {
		o.set("SUM", func() {
			o.open("sum")
			for i, g := range b.GetGaps() {
				o.open("product")
				o.open("mapResponse", "identifier", fmt.Sprintf("RESPONSE_%d", i+1))
				o.end("mapResponse")
				o.float(fmt.Sprint(g.GetWeight()))
				o.end("product")
			}
			o.end("sum")
		})
		o.set("SCORE", func() {
			o.open("product")
			o.variable("SUM")
			o.float(rounded(times(exact.Ratio(1, int64(sum)).String(), o.q.GetPoints()), 1, places))
			o.end("product")
		})
	})
	return nil
}

// allMatched scores all responses or nothing.
func (o *qtiOut) allMatched(n int) {
	o.open("responseCondition")
	o.open("responseIf")
	o.open("and")
	for i := range n {
		o.open("match")
		o.variable(fmt.Sprintf("RESPONSE_%d", i+1))
		o.open("correct", "identifier", fmt.Sprintf("RESPONSE_%d", i+1))
		o.end("correct")
		o.end("match")
	}
	o.end("and")
	o.set("SCORE", func() { o.variable("MAXSCORE") })
	o.end("responseIf")
	o.end("responseCondition")
}
