package exchange

import (
	"fmt"
	"html"
	"regexp"
	"slices"
	"strconv"
	"strings"

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// Gaps: Moodle's cloze, and words that are dragged or selected.

var (
	clozeStart  = regexp.MustCompile(`\{([0-9]{0,3}):([A-Z_]{1,20}):`)
	clozeWeight = regexp.MustCompile(`^%(-?[0-9.]{1,12})%`)
	tagText     = regexp.MustCompile(`<[^<>]*>`)
	gapNumber   = regexp.MustCompile(`\[\[([0-9]{1,3})(?:\s*\{[^}\n]*\})?\]\]`)
	fileKind    = regexp.MustCompile(`^\.[a-z0-9]{1,10}$`)
)

// clozeKinds are Moodle's names of gaps.
var clozeKinds = map[string]string{
	"SHORTANSWER": "typed", "SA": "typed", "MW": "typed", "SHORTANSWER_C": "typed case", "SAC": "typed case", "MWC": "typed case",
	"NUMERICAL": "number", "NM": "number",
	"MULTICHOICE": "list", "MC": "list", "MULTICHOICE_V": "list", "MCV": "list", "MULTICHOICE_H": "list", "MCH": "list",
	"MULTICHOICE_S": "list shuffle", "MCS": "list shuffle", "MULTICHOICE_VS": "list shuffle", "MCVS": "list shuffle", "MULTICHOICE_HS": "list shuffle", "MCHS": "list shuffle",
}

// cloze reads embedded answers.
func (p *moodleParser) cloze() error {
	text := p.n.child("questiontext").child("text").words()
	b := &pb.BlanksQuestion{}
	var out strings.Builder
	for {
		at := clozeStart.FindStringSubmatchIndex(text)
		if at == nil {
			break
		}
		end := clozeEnd(text[at[1]:])
		if end < 0 {
			return refuse("moodle.cloze", "An embedded answer has no end.")
		}
		key := strconv.Itoa(len(b.GetGaps()) + 1)
		weight, kind, inner := text[at[2]:at[3]], text[at[4]:at[5]], text[at[1]:at[1]+end]
		g := &pb.BlankGap{Key: key, Weight: 1}
		if n, err := strconv.ParseInt(weight, 10, 16); err == nil {
			g.Weight = int32(n)
		}
		if err := p.clozeGap(g, kind, inner); err != nil {
			return err
		}
		b.Gaps = append(b.Gaps, g)
		if len(b.GetGaps()) > maxOptions {
			return refuse("moodle.cloze", "A question has at most %d gaps.", maxOptions)
		}
		out.WriteString(text[:at[0]] + "[[" + key + "]]")
		text = text[at[1]+end+1:]
	}
	out.WriteString(text)
	plain := &node{name: "questiontext", attr: p.n.child("questiontext").attr, kids: append([]*node{{name: "text", kids: []*node{{text: out.String()}}}}, p.n.child("questiontext").all("file")...)}
	p.q.Prompt = p.of(plain)
	p.q.Points = "" // the sum of the gaps
	if g, ok := decimal(p.n.value("defaultgrade")); ok {
		p.q.Points = g.String()
	} else {
		sum := 0
		for _, g := range b.GetGaps() {
			sum += int(g.GetWeight())
		}
		p.q.Points = strconv.Itoa(max(1, sum))
	}
	p.q.Body = &pb.QuestionContent_Blanks{Blanks: b}
	return nil
}

func clozeEnd(s string) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '}':
			return i
		}
	}
	return -1
}

func splitCloze(s string, at byte) []string {
	var out []string
	from := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case at:
			// The sign of an entity such as &#39; is none of ours.
			if at == '#' && i > 0 && s[i-1] == '&' {
				continue
			}
			out, from = append(out, s[from:i]), i+1
		}
	}
	return append(out, s[from:])
}

var clozeUnescape = strings.NewReplacer(`\\`, `\`, `\}`, `}`, `\#`, `#`, `\~`, `~`, `\/`, `/`, `\"`, `"`, `\{`, `{`, `\%`, `%`, `\=`, `=`)

// clozeText returns a text of an embedded answer, which is HTML, as plain text.
func clozeText(s string) string {
	return strings.TrimSpace(html.UnescapeString(tagText.ReplaceAllString(clozeUnescape.Replace(s), "")))
}

// clozeAnswer is an answer of a gap.
type clozeAnswer struct{ text, fraction, feedback string }

func (p *moodleParser) clozeGap(g *pb.BlankGap, kind, inner string) error {
	of, ok := clozeKinds[kind]
	if !ok {
		return refuse("moodle.cloze", "Gaps of the kind %s are not read.", kind)
	}
	var list []clozeAnswer
	for _, a := range splitCloze(inner, '~') {
		a = strings.TrimSpace(a)
		one := clozeAnswer{fraction: "0"}
		if right, ok := strings.CutPrefix(a, "="); ok {
			one.fraction, a = "1", right
		} else if found := clozeWeight.FindStringSubmatch(a); found != nil {
			if one.fraction, ok = fraction(found[1], 100); !ok {
				return refuse("moodle.cloze", "%s is no weight.", found[0])
			}
			a = a[len(found[0]):]
		}
		parts := splitCloze(a, '#')
		if len(parts) > 1 {
			one.feedback = p.markdown(p.m, clozeUnescape.Replace(strings.Join(parts[1:], "#")), pluginFile, p.files(p.n.child("questiontext")))
		}
		if one.text = clozeText(parts[0]); one.text != "" || one.feedback != "" {
			list = append(list, one)
		}
	}
	switch of {
	case "typed", "typed case":
		s := &pb.ShortAnswerQuestion{CaseSensitive: of == "typed case"}
		for _, a := range list {
			if a.text == "" {
				a.text = "*"
			}
			s.Patterns = append(s.Patterns, &pb.AnswerPattern{Pattern: a.text, Fraction: a.fraction, Feedback: a.feedback})
		}
		g.Fill = &pb.BlankGap_Typed{Typed: s}
	case "number":
		n := &pb.NumericQuestion{}
		for _, a := range list {
			one := &pb.NumericAnswer{Fraction: a.fraction, Feedback: a.feedback}
			value, size, _ := strings.Cut(a.text, ":")
			if value == "*" || value == "" {
				one.Tolerance = &pb.Tolerance{Kind: "range"}
			} else {
				one.Value, one.Tolerance = number(value), tolerance("absolute", strings.TrimSpace(size))
			}
			n.Answers = append(n.Answers, one)
		}
		g.Fill = &pb.BlankGap_Number{Number: n}
	default:
		d := &pb.DropdownGap{Shuffle: of == "list shuffle"}
		for _, a := range list {
			d.Options = append(d.Options, &pb.ChoiceOption{Text: a.text, Fraction: a.fraction, Feedback: a.feedback})
		}
		g.Fill = &pb.BlankGap_Dropdown{Dropdown: d}
	}
	return nil
}

// gapsByNumber gives the gaps of a text, which name what is right by its number, keys
// of their own from 1, and returns those numbers, from 0.
func (p *moodleParser) gapsByNumber(most int) ([]int, error) {
	var right []int
	bad := ""
	p.q.Prompt = gapNumber.ReplaceAllStringFunc(p.q.GetPrompt(), func(s string) string {
		n, err := strconv.Atoi(gapNumber.FindStringSubmatch(s)[1])
		if err != nil || n < 1 || n > most {
			bad = s
			return s
		}
		right = append(right, n-1)
		return fmt.Sprintf("[[%d]]", len(right))
	})
	switch {
	case bad != "":
		return nil, refuse("moodle.gap", "The gap %s names a choice that there is not.", bad)
	case len(right) == 0:
		return nil, refuse("moodle.gap", "The text has no gaps.")
	}
	return right, nil
}

// dragWords reads words that are dragged into a text.
func (p *moodleParser) dragWords() error {
	boxes := p.n.all("dragbox")
	right, err := p.gapsByNumber(len(boxes))
	if err != nil {
		return err
	}
	var texts []string
	groups := map[string]bool{}
	for _, b := range boxes {
		texts = append(texts, escape(b.value("text")))
		groups[b.value("group")] = true
	}
	names := keys(texts)
	b := &pb.BlanksQuestion{}
	for i, box := range boxes {
		item := &pb.DragItem{Key: names[i], Text: texts[i], Reuse: box.child("infinite") != nil}
		if len(groups) > 1 {
			item.Group = box.value("group")
		}
		b.Items = append(b.Items, item)
	}
	for i, n := range right {
		b.Gaps = append(b.Gaps, &pb.BlankGap{Key: strconv.Itoa(i + 1), Weight: 1, Fill: &pb.BlankGap_Drag{Drag: &pb.DragGap{Group: b.GetItems()[n].GetGroup(), RightKeys: []string{names[n]}}}})
	}
	p.q.Body = &pb.QuestionContent_Blanks{Blanks: b}
	return nil
}

// selectWords reads words that are selected from lists in a text.
func (p *moodleParser) selectWords() error {
	options := p.n.all("selectoption")
	right, err := p.gapsByNumber(len(options))
	if err != nil {
		return err
	}
	b := &pb.BlanksQuestion{}
	for i, n := range right {
		list := &pb.DropdownGap{Shuffle: p.n.truth("shuffleanswers")}
		for j, o := range options {
			if o.value("group") != options[n].value("group") {
				continue
			}
			one := &pb.ChoiceOption{Text: o.value("text"), Fraction: "0"}
			if j == n {
				one.Fraction = "1"
			}
			list.Options = append(list.Options, one)
		}
		b.Gaps = append(b.Gaps, &pb.BlankGap{Key: strconv.Itoa(i + 1), Weight: 1, Fill: &pb.BlankGap_Dropdown{Dropdown: list}})
	}
	p.q.Body = &pb.QuestionContent_Blanks{Blanks: b}
	return nil
}

// markers reads markers that are dragged onto a picture. Which marker is which is not
// asked here: each place that has one is right.
func (p *moodleParser) markers() error {
	h := &pb.HotSpotQuestion{Alt: p.q.GetTitle()}
	var picture File
	for _, f := range p.n.all("file") {
		if found, ok := p.files(p.n)(f.get("name")); ok && picture.Data == nil {
			picture = found
		}
	}
	if picture.Data == nil {
		return refuse("moodle.picture", "The picture is missing.")
	}
	var err error
	if h.Width, h.Height, err = pictureSize(picture.Data); err != nil {
		return err
	}
	if strings.TrimSpace(h.GetAlt()) == "" {
		h.Alt = "A picture"
	}
	h.MediaId = p.file(picture)
	labels := p.n.all("drag")
	used := map[string]bool{}
	for i, drop := range p.n.all("drop") {
		r := &pb.HotSpotRegion{Right: true, Description: fmt.Sprintf("Place %d", i+1)}
		if err := setShape(r, drop.value("shape"), drop.value("coords")); err != nil {
			return err
		}
		choice := drop.value("choice")
		used[choice] = true
		if n, err := strconv.Atoi(choice); err == nil && n >= 1 && n <= len(labels) && len(labels) > 1 {
			if t := strings.TrimSpace(html.UnescapeString(tagText.ReplaceAllString(labels[n-1].value("text"), ""))); t != "" {
				r.Description = shorten(t, 500)
			}
		}
		h.Regions = append(h.Regions, r)
	}
	if len(used) > 1 {
		p.changed("moodle.markers", "Several markers became places to be found: which marker goes where is not asked.")
	}
	p.changed("hot_spot.alt", "The picture has no description but the title: write one for those who can't see it.")
	p.restIsWrong(h)
	p.q.Body = &pb.QuestionContent_HotSpot{HotSpot: h}
	return nil
}

// restIsWrong makes the rest of the picture a wrong region where there is none.
func (d *draft) restIsWrong(h *pb.HotSpotQuestion) {
	if slices.ContainsFunc(h.GetRegions(), func(r *pb.HotSpotRegion) bool { return !r.GetRight() }) {
		return
	}
	d.changed("hot_spot.rest", "The rest of the picture became a wrong region, so that those who can't see it have something to choose from.")
	h.Regions = append(h.Regions, &pb.HotSpotRegion{
		Description: "Elsewhere",
		Shape:       &pb.HotSpotRegion_Rectangle{Rectangle: &pb.RectangleShape{Corner: &pb.ImagePoint{}, Width: h.GetWidth(), Height: h.GetHeight()}},
	})
}
