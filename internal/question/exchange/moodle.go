package exchange

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// Moodle XML: https://docs.moodle.org/en/Moodle_XML_format, and what Moodle's
// question/format/xml/format.php writes.

const pluginFile = "@@PLUGINFILE@@/"

// readMoodle reads Moodle XML.
func (r *reader) readMoodle(in io.Reader) error {
	x := newXML(in, r.limits)
	root, err := x.root()
	if err != nil {
		return err
	}
	if root.Name.Local != "quiz" {
		return malformed("line 1", "Moodle XML begins with <quiz>, and not with <%s>.", shorten(root.Name.Local, 50))
	}
	var category []string
	for n := 1; ; {
		x.meter.begin()
		t, err := x.token()
		if errors.Is(err, io.EOF) {
			line, _ := x.dec.InputPos()
			return malformed(fmt.Sprintf("line %d", line), "The file ends in the middle.")
		}
		if err != nil {
			return err
		}
		if _, ok := t.(xml.EndElement); ok {
			return nil
		}
		start, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		if err := r.next(); err != nil {
			return err
		}
		line, _ := x.dec.InputPos()
		one, err := x.element(start)
		if err != nil {
			return err
		}
		if one.name != "question" {
			continue
		}
		if one.get("type") == "category" {
			category = categoryPath(one.child("category").value("text"))
			continue
		}
		d, err := parseMoodle(r.text, one)
		d.Category = slices.Clone(category)
		if err := r.take(fmt.Sprintf("question %d, line %d", n, line), d, err); err != nil {
			return err
		}
		n++
	}
}

// moodleParser is what reading a question of Moodle has in common.
type moodleParser struct {
	*draft

	m *markup
	n *node
	q *pb.QuestionContent
}

// moodleKinds are the types that are read.
var moodleKinds = map[string]func(p *moodleParser) error{
	"multichoice": (*moodleParser).multichoice, "multichoiceset": (*moodleParser).multichoice, "truefalse": (*moodleParser).trueFalse,
	"shortanswer": (*moodleParser).shortAnswer, "numerical": (*moodleParser).numerical, "calculated": (*moodleParser).calculated,
	"calculatedsimple": (*moodleParser).calculated, "calculatedmulti": (*moodleParser).calculatedMulti, "matching": (*moodleParser).matching,
	"essay": (*moodleParser).essay, "description": (*moodleParser).description, "cloze": (*moodleParser).cloze,
	"ddwtos": (*moodleParser).dragWords, "gapselect": (*moodleParser).selectWords, "ordering": (*moodleParser).ordering,
	"ddmarker": (*moodleParser).markers,
}

func parseMoodle(m *markup, n *node) (*draft, error) {
	p := &moodleParser{draft: newDraft(), m: m, n: n}
	p.q = p.Content
	p.q.Title = strings.Join(strings.Fields(n.child("name").value("text")), " ")
	read, ok := moodleKinds[n.get("type")]
	if !ok {
		return p.draft, refuse("moodle.kind", "Questions of the type %q are not read.", shorten(n.get("type"), 50))
	}
	for _, t := range n.child("tags").all("tag") {
		p.Tags = append(p.Tags, t.value("text"))
	}
	if g, ok := decimal(n.value("defaultgrade")); ok && g.Sign() >= 0 && n.get("type") != "description" {
		p.q.Points = g.String()
	}
	if f, ok := fraction(n.value("penalty"), 1); ok {
		p.q.Penalty = f
	}
	p.q.Prompt = p.of(n.child("questiontext"))
	p.q.GeneralFeedback = p.of(n.child("generalfeedback"))
	p.q.RightFeedback = p.of(n.child("correctfeedback"))
	p.q.PartlyFeedback = p.of(n.child("partiallycorrectfeedback"))
	p.q.WrongFeedback = p.of(n.child("incorrectfeedback"))
	for _, h := range n.all("hint") {
		one := &pb.QuestionHint{Text: p.of(h), ClearWrong: h.child("clearwrong") != nil, ShowCount: h.child("shownumcorrect") != nil}
		if strings.TrimSpace(one.GetText()) == "" {
			p.changed("hint.empty", "A hint without a text is left out.")
			continue
		}
		p.q.Hints = append(p.q.Hints, one)
	}
	if n.value("hidden") == "1" {
		p.changed("moodle.hidden", "It is hidden there, and not here.")
	}
	return p.draft, read(p)
}

// files returns the files of an element by their names.
func (p *moodleParser) files(n *node) func(name string) (File, bool) {
	return func(name string) (File, bool) {
		for _, f := range n.all("file") {
			if strings.TrimPrefix(f.get("path"), "/")+f.get("name") != name || f.get("encoding") != "base64" {
				continue
			}
			data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(f.words()), ""))
			return File{Name: f.get("name"), Data: data}, err == nil
		}
		return File{}, false
	}
}

// of returns the text of an element as Markdown.
func (p *moodleParser) of(n *node) string {
	if n == nil {
		return ""
	}
	text := n.child("text").words()
	switch n.get("format") {
	case "markdown":
		return p.named(strings.TrimSpace(clean(text)), pluginFile, p.files(n))
	case "plain_text":
		return escape(text)
	case "moodle_auto_format", "":
		if !strings.ContainsAny(text, "<&") {
			return escape(text)
		}
		text = strings.ReplaceAll(strings.TrimSpace(text), "\n", "<br>")
	}
	return p.markdown(p.m, text, pluginFile, p.files(n))
}

// share reads the fraction of an answer.
func (p *moodleParser) share(n *node) (string, error) {
	text := n.get("fraction")
	if text == "" {
		text = n.value("fraction")
	}
	if text == "" {
		return "0", nil
	}
	f, ok := fraction(text, 100)
	if !ok {
		return "", refuse("moodle.fraction", "%q is no fraction.", shorten(text, 50))
	}
	return f, nil
}

func (n *node) truth(name string) bool {
	v := n.value(name)
	return v == "1" || v == "true"
}

func (p *moodleParser) multichoice() error {
	c := &pb.ChoiceQuestion{Multiple: p.n.value("single") == "false" || p.n.value("single") == "0", Shuffle: p.n.truth("shuffleanswers")}
	if p.n.get("type") == "multichoiceset" {
		c.Multiple, c.Scoring = true, "all_or_nothing"
	}
	switch style := p.n.value("answernumbering"); style {
	case "abc", "123", "iii", "none":
		c.Numbering = style
	case "ABCD":
		c.Numbering = "ABC"
	case "IIII":
		c.Numbering = "iii"
		p.changed("moodle.numbering", "Options are numbered iii and not III.")
	}
	for _, a := range p.n.all("answer") {
		f, err := p.share(a)
		if err != nil {
			return err
		}
		c.Options = append(c.Options, &pb.ChoiceOption{Text: p.of(a), Fraction: f, Feedback: p.of(a.child("feedback"))})
	}
	p.q.Body = &pb.QuestionContent_Choice{Choice: c}
	return nil
}

func (p *moodleParser) trueFalse() error {
	t := &pb.TrueFalseQuestion{}
	for _, a := range p.n.all("answer") {
		f, err := p.share(a)
		if err != nil {
			return err
		}
		if strings.EqualFold(a.value("text"), "true") {
			t.Right, t.TrueFeedback = signOf(f) > 0, p.of(a.child("feedback"))
		} else {
			t.FalseFeedback = p.of(a.child("feedback"))
		}
	}
	p.q.Body = &pb.QuestionContent_TrueFalse{TrueFalse: t}
	return nil
}

func (p *moodleParser) shortAnswer() error {
	s := &pb.ShortAnswerQuestion{CaseSensitive: p.n.truth("usecase")}
	for _, a := range p.n.all("answer") {
		f, err := p.share(a)
		if err != nil {
			return err
		}
		s.Patterns = append(s.Patterns, &pb.AnswerPattern{Pattern: clean(a.child("text").words()), Fraction: f, Feedback: p.of(a.child("feedback"))})
	}
	p.q.Body = &pb.QuestionContent_ShortAnswer{ShortAnswer: s}
	return nil
}

// tolerance returns a tolerance of a size, nil for none.
func tolerance(kind, size string) *pb.Tolerance {
	if n, ok := decimal(size); size == "" || ok && n.Sign() == 0 {
		return nil
	}
	return &pb.Tolerance{Kind: kind, Size: number(size)}
}

func (p *moodleParser) numerical() error {
	n := &pb.NumericQuestion{}
	for _, a := range p.n.all("answer") {
		f, err := p.share(a)
		if err != nil {
			return err
		}
		one := &pb.NumericAnswer{Fraction: f, Feedback: p.of(a.child("feedback"))}
		if text := a.value("text"); text == "*" {
			one.Tolerance = &pb.Tolerance{Kind: "range"}
		} else {
			one.Value, one.Tolerance = number(text), tolerance("absolute", a.value("tolerance"))
		}
		n.Answers = append(n.Answers, one)
	}
	var err error
	n.Units, err = p.units()
	p.q.Body = &pb.QuestionContent_Numeric{Numeric: n}
	return err
}

// units reads units. Moodle says by what a value of the first unit is multiplied, and
// we by what one is multiplied to be in the first.
func (p *moodleParser) units() (*pb.UnitRules, error) {
	list := p.n.child("units").all("unit")
	if len(list) == 0 || p.n.value("showunits") == "3" {
		return nil, nil
	}
	u := &pb.UnitRules{Rule: "required", PenaltyOf: "answer", Input: "text"}
	switch p.n.value("unitgradingtype") {
	case "0", "":
		u.Rule = "optional"
	case "2":
		u.PenaltyOf = "question"
	}
	if s := p.n.value("showunits"); s == "1" || s == "2" {
		u.Input = "select"
	}
	if f, ok := fraction(p.n.value("unitpenalty"), 1); ok {
		u.Penalty = f
	}
	for _, one := range list {
		by, ok := decimal(one.value("multiplier"))
		if !ok || by.Sign() == 0 {
			return nil, refuse("moodle.unit", "A unit has no multiplier.")
		}
		inverse := exact.Int(1).Div(by)
		text := inverse.String()
		if strings.Contains(text, "/") {
			text = inverse.Text(15)
			p.changed("moodle.multiplier", "The multiplier of %s is rounded.", shorten(one.value("unit_name"), 30))
		}
		u.Units = append(u.Units, &pb.QuestionUnit{Symbol: one.value("unit_name"), Multiplier: text})
	}
	first := slices.IndexFunc(u.GetUnits(), func(one *pb.QuestionUnit) bool { return one.GetMultiplier() == "1" })
	if first < 0 {
		return nil, refuse("moodle.unit", "No unit has the multiplier 1.")
	}
	one := u.GetUnits()[first]
	u.Units = slices.Insert(slices.Delete(u.GetUnits(), first, first+1), 0, one)
	return u, nil
}

func (p *moodleParser) matching() error {
	k := &pb.MatchingQuestion{Shuffle: p.n.truth("shuffleanswers")}
	var choices pool
	var right []int
	for _, s := range p.n.all("subquestion") {
		stem := p.of(s)
		at := choices.add(escape(s.child("answer").value("text")))
		if strings.TrimSpace(stem) != "" {
			k.Stems, right = append(k.Stems, &pb.MatchingStem{Text: stem}), append(right, at)
		}
	}
	matching(p.draft, k, choices.texts, right)
	return nil
}

func (p *moodleParser) description() error {
	p.q.Body = &pb.QuestionContent_Description{Description: &pb.DescriptionQuestion{}}
	return nil
}

func (p *moodleParser) essay() error {
	e := &pb.EssayQuestion{
		MinWords: p.n.int("minwordlimit"), MaxWords: p.n.int("maxwordlimit"), Lines: min(100, p.n.int("responsefieldlines")),
		GraderNotes: p.of(p.n.child("graderinfo")), Template: p.of(p.n.child("responsetemplate")),
	}
	switch p.n.value("responseformat") {
	case "plain", "monospaced":
		e.Format = "plain"
	case "noinline":
		e.Format = "none"
	default:
		e.Format = "markdown"
	}
	if n := p.n.int("attachments"); n != 0 {
		e.Attachments = &pb.FileRules{MaxCount: n, MinCount: min(20, p.n.int("attachmentsrequired"))}
		if n < 0 || n > 20 { // Moodle's -1 is as many as one likes
			e.Attachments.MaxCount = 20
			p.changed("moodle.attachments", "At most 20 files can be added.")
		}
		if size, ok := decimal(p.n.value("maxbytes")); ok && size.Sign() > 0 {
			_, _ = fmt.Sscan(size.String(), &e.Attachments.MaxBytes) // it is a whole number or stays 0
		}
		for kind := range strings.FieldsFuncSeq(p.n.value("filetypeslist"), func(c rune) bool { return c == ',' || c == ' ' || c == ';' }) {
			if fileKind.MatchString(strings.ToLower(kind)) {
				e.Attachments.Kinds = append(e.Attachments.Kinds, strings.ToLower(kind))
			} else {
				p.changed("moodle.file_kinds", "The kind of files %q is left out: name endings such as .pdf.", shorten(kind, 50))
			}
		}
	}
	if p.n.value("responserequired") == "0" && e.GetFormat() != "none" {
		p.changed("moodle.response_required", "A text is asked for.")
	}
	p.q.Body = &pb.QuestionContent_Essay{Essay: e}
	return nil
}

func (n *node) int(name string) int32 {
	text := n.value(name)
	var out int32
	if _, err := fmt.Sscan(text, &out); err != nil {
		return 0
	}
	return out
}

// What gradingtype is called in Moodle's ordering.
var orderingScoring = map[string]string{
	"-1": "all_or_nothing", "0": "absolute_position", "2": "relative_to_next", "3": "relative_to_next", "1": "relative_to_next", "5": "longest_increasing", "6": "longest_increasing", "7": "absolute_position",
}

// orderingType is what we write.
var orderingType = map[string]string{"all_or_nothing": "-1", "absolute_position": "0", "relative_to_next": "2", "longest_increasing": "5"}

func (p *moodleParser) ordering() error {
	o := &pb.OrderingQuestion{}
	grading := strings.ToUpper(p.n.value("gradingtype"))
	words := map[string]string{
		"ALL_OR_NOTHING": "-1", "ABSOLUTE_POSITION": "0", "RELATIVE_NEXT_EXCLUDE_LAST": "1", "RELATIVE_NEXT_INCLUDE_LAST": "2", "RELATIVE_ONE_PREVIOUS_AND_NEXT": "3",
		"RELATIVE_ALL_PREVIOUS_AND_NEXT": "4", "LONGEST_ORDERED_SUBSET": "5", "LONGEST_CONTIGUOUS_SUBSET": "6", "RELATIVE_TO_CORRECT": "7",
	}
	if n, ok := words[grading]; ok {
		grading = n
	}
	if grading == "" {
		grading = "0"
	}
	if o.Scoring = orderingScoring[grading]; o.GetScoring() == "" {
		o.Scoring = "absolute_position"
	}
	if orderingType[o.GetScoring()] != grading {
		p.changed("moodle.ordering", "It is scored by %q, which is nearest.", o.GetScoring())
	}
	if layout := strings.ToUpper(p.n.value("layouttype")); layout == "1" || layout == "HORIZONTAL" {
		o.Layout = "horizontal"
	}
	if s := strings.ToUpper(p.n.value("selecttype")); s != "" && s != "0" && s != "ALL" {
		p.changed("moodle.ordering_select", "All items are asked, and not some of them.")
	}
	for _, a := range p.n.all("answer") {
		o.Items = append(o.Items, &pb.OrderingItem{Text: p.of(a)})
	}
	p.q.Body = &pb.QuestionContent_Ordering{Ordering: o}
	return nil
}
