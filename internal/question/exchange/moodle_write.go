package exchange

import (
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// moodleCodec writes Moodle XML.
type moodleCodec struct {
	w        *writer
	category []string
	begun    bool
	reading  []string // the category of the question that is read back
}

func (c *moodleCodec) begin(out io.Writer) error {
	_, err := io.WriteString(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<quiz>\n")
	return err
}

func (c *moodleCodec) end(out io.Writer) error {
	_, err := io.WriteString(out, "</quiz>\n")
	return err
}

func (c *moodleCodec) decode(data []byte) (*draft, error) {
	x := newXML(strings.NewReader(string(data)), DefaultLimits)
	start, err := x.root()
	if err != nil {
		return newDraft(), err
	}
	n, err := x.element(start)
	if err != nil {
		return newDraft(), err
	}
	back, err := parseMoodle(c.w.text, n)
	back.Category = c.reading
	return back, err
}

// write writes the category where it is another than before.
func (c *moodleCodec) write(out io.Writer, d *draft, data []byte) error {
	if !c.begun || !slices.Equal(c.category, d.Category) {
		c.begun, c.category = true, slices.Clone(d.Category)
		x := &xmlOut{}
		x.open("question", "type", "category")
		x.open("category")
		x.el("text", writtenPath(d.Category))
		x.end("category")
		x.end("question")
		if _, err := io.WriteString(out, x.String()+"\n"); err != nil {
			return err
		}
	}
	_, err := out.Write(append(data, '\n'))
	return err
}

// moodleOut writes a question.
type moodleOut struct {
	xmlOut
	*draft

	m     *markup
	q     *pb.QuestionContent
	names []string // of variables
}

// text writes a text with the pictures that it shows.
func (o *moodleOut) text(name, md string, attr ...string) {
	o.open(name, append([]string{"format", "html"}, attr...)...)
	o.inner(md)
	o.end(name)
}

func (o *moodleOut) inner(md string) {
	if md == "" {
		o.el("text", "")
		return
	}
	text := o.m.html(o.addressed(md, pluginFile))
	if o.names != nil {
		text = theirTexts(text, o.names)
	}
	o.htmlText(text, md)
}

// htmlText writes HTML, and the files that its Markdown names.
func (o *moodleOut) htmlText(text, md string) {
	o.el("text", text)
	for _, f := range o.Files {
		if strings.Contains(md, f.ID) {
			o.file(f)
		}
	}
}

func (o *moodleOut) file(f File) {
	o.el("file", base64.StdEncoding.EncodeToString(f.Data), "name", fileName(f), "path", "/", "encoding", "base64")
}

func (o *moodleOut) truth(name string, value bool) {
	o.el(name, map[bool]string{true: "1", false: "0"}[value])
}

// answer writes an answer with a plain text.
func (o *moodleOut) answer(text, fraction, feedback string, more ...string) {
	o.open("answer", "fraction", rounded(fraction, 100, 5), "format", "moodle_auto_format")
	o.el("text", text)
	if feedback != "" {
		o.text("feedback", feedback)
	}
	for i := 0; i+1 < len(more); i += 2 {
		o.el(more[i], more[i+1])
	}
	o.end("answer")
}

func (c *moodleCodec) encode(d *draft) ([]byte, error) {
	c.reading = categoryPath(writtenPath(d.Category))
	o := &moodleOut{draft: d, m: c.w.text, q: d.Content}
	kind, body, err := o.kind()
	if err != nil {
		return nil, err
	}
	if kind != "calculated" && kind != "calculatedmulti" && o.q.GetVariables() != nil {
		return nil, refuse("format.variables", "Moodle has variables only in calculated questions.")
	}
	if o.q.GetVariables() != nil {
		for _, v := range o.q.GetVariables().GetVariables() {
			o.names = append(o.names, v.GetName())
		}
	}
	o.open("question", "type", kind)
	o.open("name")
	o.el("text", o.q.GetTitle())
	o.end("name")
	switch kind {
	case "cloze", "ddwtos":
		if err := o.gaps(kind); err != nil {
			return nil, err
		}
	default:
		o.text("questiontext", o.q.GetPrompt())
	}
	o.text("generalfeedback", o.q.GetGeneralFeedback())
	if kind == "description" {
		o.el("defaultgrade", "0")
	} else {
		o.el("defaultgrade", o.q.GetPoints())
	}
	o.el("penalty", rounded(o.q.GetPenalty(), 1, 7))
	o.el("hidden", "0")
	if err := body(); err != nil {
		return nil, err
	}
	for _, pair := range [][2]string{
		{"correctfeedback", o.q.GetRightFeedback()}, {"partiallycorrectfeedback", o.q.GetPartlyFeedback()}, {"incorrectfeedback", o.q.GetWrongFeedback()},
	} {
		if pair[1] != "" {
			o.text(pair[0], pair[1])
		}
	}
	for _, h := range o.q.GetHints() {
		o.open("hint", "format", "html")
		o.inner(h.GetText())
		if h.GetShowCount() {
			o.el("shownumcorrect", "")
		}
		if h.GetClearWrong() {
			o.el("clearwrong", "")
		}
		o.end("hint")
	}
	if len(d.Tags) > 0 {
		o.open("tags")
		for _, t := range d.Tags {
			o.open("tag")
			o.el("text", t)
			o.end("tag")
		}
		o.end("tags")
	}
	o.end("question")
	return []byte(o.String()), nil
}

// kind returns the type of a question in Moodle, and what writes its own part.
func (o *moodleOut) kind() (string, func() error, error) {
	switch b := o.q.GetBody().(type) {
	case *pb.QuestionContent_Choice:
		kind := "multichoice"
		if o.q.GetVariables() != nil {
			kind = "calculatedmulti"
		}
		return kind, func() error { return o.choice(b.Choice) }, nil
	case *pb.QuestionContent_TrueFalse:
		return "truefalse", func() error {
			right := map[bool]string{true: "1", false: "0"}
			o.answer("true", right[b.TrueFalse.GetRight()], b.TrueFalse.GetTrueFeedback())
			o.answer("false", right[!b.TrueFalse.GetRight()], b.TrueFalse.GetFalseFeedback())
			return nil
		}, nil
	case *pb.QuestionContent_ShortAnswer:
		return "shortanswer", func() error {
			o.truth("usecase", b.ShortAnswer.GetCaseSensitive())
			for _, p := range b.ShortAnswer.GetPatterns() {
				o.answer(p.GetPattern(), p.GetFraction(), p.GetFeedback())
			}
			return nil
		}, nil
	case *pb.QuestionContent_Numeric:
		return "numerical", func() error { return o.numeric(b.Numeric) }, nil
	case *pb.QuestionContent_Calculated:
		return "calculated", func() error { return o.calculated(b.Calculated) }, nil
	case *pb.QuestionContent_Matching:
		return "matching", func() error { return o.matching(b.Matching) }, nil
	case *pb.QuestionContent_Ordering:
		return "ordering", func() error {
			o.el("layouttype", map[bool]string{true: "HORIZONTAL", false: "VERTICAL"}[b.Ordering.GetLayout() == "horizontal"])
			o.el("selecttype", "ALL")
			o.el("gradingtype", map[string]string{"all_or_nothing": "ALL_OR_NOTHING", "absolute_position": "ABSOLUTE_POSITION", "relative_to_next": "RELATIVE_NEXT_INCLUDE_LAST", "longest_increasing": "LONGEST_ORDERED_SUBSET"}[b.Ordering.GetScoring()])
			for i, item := range b.Ordering.GetItems() {
				o.text("answer", item.GetText(), "fraction", strconv.Itoa(i+1))
			}
			return nil
		}, nil
	case *pb.QuestionContent_Blanks:
		drags := 0
		for _, g := range b.Blanks.GetGaps() {
			if g.GetDrag() != nil {
				drags++
			}
		}
		switch drags {
		case 0:
			return "cloze", func() error { return nil }, nil
		case len(b.Blanks.GetGaps()):
			return "ddwtos", func() error { return o.dragBoxes(b.Blanks) }, nil
		}
		return "", nil, refuse("format.gaps", "Moodle has no text with gaps of which some are dragged to and others are not.")
	case *pb.QuestionContent_Essay:
		return "essay", func() error { o.essay(b.Essay); return nil }, nil
	case *pb.QuestionContent_Description:
		return "description", func() error { return nil }, nil
	case *pb.QuestionContent_HotSpot:
		return "ddmarker", func() error { return o.markers(b.HotSpot) }, nil
	}
	return "", nil, refuse("format.kind", "Moodle has no questions of this kind.")
}

func (o *moodleOut) choice(c *pb.ChoiceQuestion) error {
	o.el("single", strconv.FormatBool(!c.GetMultiple()))
	o.truth("shuffleanswers", c.GetShuffle())
	o.el("answernumbering", map[string]string{"ABC": "ABCD"}[c.GetNumbering()]+map[bool]string{true: c.GetNumbering()}[c.GetNumbering() != "ABC"])
	for _, one := range c.GetOptions() {
		o.open("answer", "fraction", rounded(one.GetFraction(), 100, 5), "format", "html")
		o.inner(one.GetText())
		if one.GetFeedback() != "" {
			o.text("feedback", one.GetFeedback())
		}
		o.end("answer")
	}
	if o.q.GetVariables() != nil {
		return moodleDatasets(&o.xmlOut, o.q)
	}
	return nil
}

// absolute returns how near a number has to be as Moodle says it.
func absolute(a *pb.NumericAnswer) (value, size string, err error) {
	t := a.GetTolerance()
	switch t.GetKind() {
	case "":
		return a.GetValue(), "0", nil
	case "absolute":
		return a.GetValue(), t.GetSize(), nil
	case "relative":
		v, okV := decimal(a.GetValue())
		s, okS := decimal(t.GetSize())
		if okV && okS {
			if v.Sign() < 0 {
				v = v.Neg()
			}
			return a.GetValue(), v.Mul(s).String(), nil
		}
	case "range":
		if t.GetLow() == "" && t.GetHigh() == "" {
			return "*", "0", nil
		}
		low, okL := decimal(t.GetLow())
		high, okH := decimal(t.GetHigh())
		if okL && okH {
			two := exact.Int(2)
			return low.Add(high).Div(two).String(), high.Sub(low).Div(two).String(), nil
		}
	}
	return "", "", refuse("format.tolerance", "Moodle has no such tolerance of a number (%s).", t.GetKind())
}

func (o *moodleOut) numeric(n *pb.NumericQuestion) error {
	for _, a := range n.GetAnswers() {
		value, size, err := absolute(a)
		if err != nil {
			return err
		}
		o.answer(value, a.GetFraction(), a.GetFeedback(), "tolerance", size)
	}
	return o.units(n.GetUnits())
}

func (o *moodleOut) units(u *pb.UnitRules) error {
	if u == nil {
		o.el("showunits", "3")
		return nil
	}
	o.open("units")
	for _, one := range u.GetUnits() {
		by, ok := decimal(one.GetMultiplier())
		if !ok {
			return refuse("format.unit", "The multiplier of %s can't be written.", one.GetSymbol())
		}
		text := exact.Int(1).Div(by).String()
		if strings.Contains(text, "/") {
			text = exact.Int(1).Div(by).Text(15)
		}
		o.open("unit")
		o.el("multiplier", text)
		o.el("unit_name", one.GetSymbol())
		o.end("unit")
	}
	o.end("units")
	grading := "1"
	switch {
	case u.GetRule() == "optional":
		grading = "0"
	case u.GetPenaltyOf() == "question":
		grading = "2"
	}
	o.el("unitgradingtype", grading)
	o.el("unitpenalty", rounded(u.GetPenalty(), 1, 7))
	o.el("showunits", map[bool]string{true: "2", false: "0"}[u.GetInput() == "select"])
	o.el("unitsleft", "0")
	return nil
}

func (o *moodleOut) calculated(c *pb.CalculatedQuestion) error {
	for _, a := range c.GetAnswers() {
		formula, ok := theirFormula(a.GetFormula(), o.names)
		if !ok {
			return refuse("format.formula", "Moodle does not have all that is in the formula %s.", shorten(a.GetFormula(), 100))
		}
		kind, size := "2", "0"
		switch t := a.GetTolerance(); t.GetKind() {
		case "":
		case "absolute", "relative", "geometric":
			kind, size = map[string]string{"relative": "1", "absolute": "2", "geometric": "3"}[t.GetKind()], t.GetSize()
		default:
			return refuse("format.tolerance", "Moodle has no tolerance of the kind %q.", t.GetKind())
		}
		format := map[bool]string{true: "1", false: "2"}[a.GetFormat().GetKind() == "decimal_places"]
		o.answer(formula, a.GetFraction(), a.GetFeedback(), "tolerance", size, "tolerancetype", kind, "correctanswerformat", format, "correctanswerlength", fmt.Sprint(a.GetFormat().GetDigits()))
	}
	if err := o.units(c.GetUnits()); err != nil {
		return err
	}
	return moodleDatasets(&o.xmlOut, o.q)
}

func (o *moodleOut) matching(k *pb.MatchingQuestion) error {
	o.truth("shuffleanswers", k.GetShuffle())
	pair := func(stem, choice string) {
		o.open("subquestion", "format", "html")
		o.inner(stem)
		o.open("answer")
		o.el("text", o.m.plain(choice))
		o.end("answer")
		o.end("subquestion")
	}
	used := map[string]bool{}
	for _, s := range k.GetStems() {
		if len(s.GetRightKeys()) > 1 {
			return refuse("format.matching", "Moodle has one right choice for each stem.")
		}
		used[s.GetRightKeys()[0]] = true
		for _, c := range k.GetChoices() {
			if c.GetKey() == s.GetRightKeys()[0] {
				pair(s.GetText(), c.GetText())
			}
		}
	}
	for _, c := range k.GetChoices() {
		if !used[c.GetKey()] {
			pair("", c.GetText())
		}
	}
	return nil
}

func (o *moodleOut) essay(e *pb.EssayQuestion) {
	o.el("responseformat", map[string]string{"plain": "plain", "markdown": "editor", "none": "noinline"}[e.GetFormat()])
	o.el("responserequired", map[bool]string{true: "0", false: "1"}[e.GetFormat() == "none"])
	o.el("responsefieldlines", fmt.Sprint(e.GetLines()))
	o.el("minwordlimit", map[bool]string{true: fmt.Sprint(e.GetMinWords())}[e.GetMinWords() > 0])
	o.el("maxwordlimit", map[bool]string{true: fmt.Sprint(e.GetMaxWords())}[e.GetMaxWords() > 0])
	o.el("attachments", fmt.Sprint(e.GetAttachments().GetMaxCount()))
	o.el("attachmentsrequired", fmt.Sprint(e.GetAttachments().GetMinCount()))
	o.el("maxbytes", fmt.Sprint(e.GetAttachments().GetMaxBytes()))
	o.el("filetypeslist", strings.Join(e.GetAttachments().GetKinds(), ","))
	o.text("graderinfo", e.GetGraderNotes())
	o.text("responsetemplate", e.GetTemplate())
}

func (o *moodleOut) markers(h *pb.HotSpotQuestion) error {
	i := slices.IndexFunc(o.Files, func(f File) bool { return f.ID == h.GetMediaId() })
	if i < 0 {
		return refuse("format.picture", "The picture of the question is not there.")
	}
	o.truth("shuffleanswers", false)
	o.truth("showmisplaced", true)
	o.open("drag")
	o.el("no", "1")
	o.el("text", "×")
	o.el("noofdrags", fmt.Sprint(h.GetMaxMarks()))
	o.end("drag")
	n := 0
	for _, r := range h.GetRegions() {
		if !r.GetRight() {
			continue
		}
		n++
		shape, coords := shapeOf(r)
		o.open("drop")
		o.el("no", fmt.Sprint(n))
		o.el("shape", shape)
		o.el("coords", coords)
		o.el("choice", "1")
		o.end("drop")
	}
	o.file(o.Files[i])
	return nil
}

var clozeEscape = strings.NewReplacer(`\`, `\\`, `}`, `\}`, `#`, `\#`, `~`, `\~`, `/`, `\/`, `"`, `\"`)

// gaps writes the prompt of a question with gaps.
func (o *moodleOut) gaps(kind string) error {
	b := o.q.GetBlanks()
	if kind == "ddwtos" {
		md := o.q.GetPrompt()
		pairs := []string{}
		for _, g := range b.GetGaps() {
			if len(g.GetDrag().GetRightKeys()) > 1 {
				return refuse("format.gaps", "Moodle has one right word for each gap.")
			}
			at := slices.IndexFunc(b.GetItems(), func(i *pb.DragItem) bool { return i.GetKey() == g.GetDrag().GetRightKeys()[0] })
			pairs = append(pairs, "[["+g.GetKey()+"]]", fmt.Sprintf("[[%d]]", at+1))
		}
		o.text("questiontext", strings.NewReplacer(pairs...).Replace(md))
		return nil
	}
	text := o.m.html(o.addressed(o.q.GetPrompt(), pluginFile))
	pairs := []string{}
	for _, g := range b.GetGaps() {
		inner, err := clozeOf(o.m, g)
		if err != nil {
			return err
		}
		pairs = append(pairs, "[["+g.GetKey()+"]]", inner)
	}
	o.open("questiontext", "format", "html")
	o.htmlText(strings.NewReplacer(pairs...).Replace(text), o.q.GetPrompt())
	o.end("questiontext")
	return nil
}

func clozeOf(m *markup, g *pb.BlankGap) (string, error) {
	var list []string
	add := func(text, fraction, feedback string) {
		sign := "="
		if !isOne(fraction) {
			sign = "%" + rounded(fraction, 100, 5) + "%"
		}
		if feedback != "" {
			feedback = "#" + clozeEscape.Replace(m.html(feedback))
		}
		list = append(list, sign+clozeEscape.Replace(html.EscapeString(text))+feedback)
	}
	kind := ""
	switch f := g.GetFill().(type) {
	case *pb.BlankGap_Typed:
		kind = "SHORTANSWER"
		if f.Typed.GetCaseSensitive() {
			kind = "SHORTANSWER_C"
		}
		for _, p := range f.Typed.GetPatterns() {
			add(p.GetPattern(), p.GetFraction(), p.GetFeedback())
		}
	case *pb.BlankGap_Number:
		kind = "NUMERICAL"
		for _, a := range f.Number.GetAnswers() {
			value, size, err := absolute(a)
			if err != nil {
				return "", err
			}
			if value != "*" {
				value += ":" + size
			}
			add(value, a.GetFraction(), a.GetFeedback())
		}
	case *pb.BlankGap_Dropdown:
		kind = "MULTICHOICE"
		if f.Dropdown.GetShuffle() {
			kind = "MULTICHOICE_S"
		}
		for _, one := range f.Dropdown.GetOptions() {
			add(one.GetText(), one.GetFraction(), one.GetFeedback())
		}
	}
	return fmt.Sprintf("{%d:%s:%s}", g.GetWeight(), kind, strings.Join(list, "~")), nil
}

// dragBoxes writes the words that are dragged. Moodle numbers their groups.
func (o *moodleOut) dragBoxes(b *pb.BlanksQuestion) error {
	var groups pool
	o.truth("shuffleanswers", true)
	for _, item := range b.GetItems() {
		o.open("dragbox")
		o.el("text", o.m.plain(item.GetText()))
		o.el("group", fmt.Sprint(groups.add(item.GetGroup())+1))
		if item.GetReuse() {
			o.el("infinite", "")
		}
		o.end("dragbox")
	}
	return nil
}
