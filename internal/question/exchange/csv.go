package exchange

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// A table has a question in each row, and columns by the names in its first row, in
// any order: kind, title, category (names between " / "), tags (between ";"), prompt,
// points, penalty, floor, language, general_feedback, right_feedback, partly_feedback,
// wrong_feedback, hints (lines), shuffle, scoring, wrong_fraction, multiple, right,
// case_sensitive, min_words, max_words, max_files, numbering, true_feedback,
// false_feedback; and for each option, answer, stem or item with a number N from 1:
// option_N, fraction_N, feedback_N, tolerance_N, match_N. Texts are Markdown.
//
// A cell that a spreadsheet would take for a formula has an apostrophe before it.

const maxOptions = 50

var csvColumns = []string{
	"kind", "title", "category", "tags", "prompt", "points", "penalty", "floor", "language", "general_feedback", "right_feedback",
	"partly_feedback", "wrong_feedback", "hints", "shuffle", "scoring", "wrong_fraction", "multiple", "right", "case_sensitive", "ignore_accents",
	"spaces", "numbering", "min_words", "max_words", "format", "template", "grader_notes", "max_files", "true_feedback", "false_feedback", "layout",
}

var (
	csvOption  = regexp.MustCompile(`^(option|fraction|feedback|tolerance|match)_([1-9][0-9]?)$`)
	csvFormula = regexp.MustCompile(`^'+[=+\-@\t\r]`)
)

func csvGuard(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) || csvFormula.MatchString(s) {
		return "'" + s
	}
	return s
}

func csvUnguard(s string) string {
	if csvFormula.MatchString(s) {
		return s[1:]
	}
	return s
}

// row is a row of a table by the names of its columns.
type row map[string]string

func (w row) is(name string) bool {
	switch strings.ToLower(strings.TrimSpace(w[name])) {
	case "true", "yes", "1", "x":
		return true
	}
	return false
}

func (w row) int(name string) int32 {
	n, err := strconv.ParseInt(strings.TrimSpace(w[name]), 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}

func (w row) set(name, value string) {
	if value != "" {
		w[name] = value
	}
}

func (w row) truth(name string, value bool) {
	if value {
		w[name] = "true"
	}
}

// readCSV reads a table.
func (r *reader) readCSV(in io.Reader) error {
	text, sign, err := csvSign(in)
	if err != nil {
		return err
	}
	c := csv.NewReader(text)
	c.Comma, c.FieldsPerRecord, c.LazyQuotes = sign, -1, false
	header, err := c.Read()
	if err != nil {
		return csvFault(err)
	}
	for i, name := range header {
		name = strings.ToLower(strings.TrimSpace(name))
		header[i] = name
		switch {
		case !slices.Contains(csvColumns, name) && !csvOption.MatchString(name):
			return malformed("line 1", "There is no column %q.", shorten(name, 50))
		case slices.Contains(header[:i], name):
			return malformed("line 1", "The column %q is there twice.", name)
		}
	}
	if !slices.Contains(header, "kind") || !slices.Contains(header, "prompt") {
		return malformed("line 1", "The columns kind and prompt are missing.")
	}
	for {
		cells, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return csvFault(err)
		}
		line, _ := c.FieldPos(0)
		w, size := row{}, 0
		for i, cell := range cells {
			if size += len(cell); i < len(header) && cell != "" {
				w[header[i]] = csvUnguard(strings.ToValidUTF8(cell, "\uFFFD"))
			}
		}
		if int64(size) > r.limits.ItemBytes {
			return ErrTooLarge
		}
		if len(w) == 0 {
			continue
		}
		d, err := fromRow(w)
		if err == nil && len(cells) > len(header) {
			err = refuse("csv.cells", "The row has more cells than there are columns.")
		}
		if err := r.take(fmt.Sprintf("line %d", line), d, err); err != nil {
			return err
		}
	}
}

// csvSign finds out what stands between cells: a comma, a semicolon or a tab.
func csvSign(in io.Reader) (io.Reader, rune, error) {
	head := make([]byte, 8<<10)
	n, err := io.ReadFull(in, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	head = bytes.TrimPrefix(head[:n], []byte("\xef\xbb\xbf"))
	line, _, _ := bytes.Cut(head, []byte("\n"))
	sign := ','
	for _, one := range ";\t" {
		if bytes.Count(line, []byte(string(one))) > bytes.Count(line, []byte(string(sign))) {
			sign = one
		}
	}
	return io.MultiReader(bytes.NewReader(head), in), sign, nil
}

func csvFault(err error) error {
	if p, ok := errors.AsType[*csv.ParseError](err); ok {
		return malformed(fmt.Sprintf("line %d", p.Line), "%s.", strings.TrimPrefix(p.Err.Error(), "csv: "))
	}
	if errors.Is(err, io.EOF) {
		return malformed("line 1", "The file is empty.")
	}
	return err
}

func fromRow(w row) (*draft, error) {
	d := newDraft()
	q := d.Content
	q.Title, q.Prompt, q.Points, q.Penalty, q.Floor, q.Language = w["title"], w["prompt"], w["points"], w["penalty"], w["floor"], w["language"]
	q.GeneralFeedback, q.RightFeedback, q.PartlyFeedback, q.WrongFeedback = w["general_feedback"], w["right_feedback"], w["partly_feedback"], w["wrong_feedback"]
	if w["category"] != "" {
		for name := range strings.SplitSeq(w["category"], " / ") {
			d.Category = append(d.Category, strings.TrimSpace(name))
		}
	}
	for t := range strings.SplitSeq(w["tags"], ";") {
		if t = strings.TrimSpace(t); t != "" {
			d.Tags = append(d.Tags, t)
		}
	}
	for h := range strings.SplitSeq(w["hints"], "\n") {
		if h = strings.TrimSpace(h); h != "" {
			q.Hints = append(q.Hints, &pb.QuestionHint{Text: h})
		}
	}
	read, ok := csvKinds[strings.ToLower(strings.TrimSpace(w["kind"]))]
	if !ok {
		return d, refuse("csv.kind", "A table has no questions of the kind %q.", shorten(w["kind"], 50))
	}
	return d, read(d, w)
}

func (w row) most(name string) int {
	n := 0
	for i := 1; i <= maxOptions*2 && i < 100; i++ {
		if _, ok := w[fmt.Sprintf("%s_%d", name, i)]; ok {
			n = i
		}
	}
	return n
}

func (w row) nth(name string, i int) string { return w[fmt.Sprintf("%s_%d", name, i)] }

var csvKinds = map[string]func(d *draft, w row) error{
	"description": func(d *draft, _ row) error {
		d.Content.Body = &pb.QuestionContent_Description{Description: &pb.DescriptionQuestion{}}
		return nil
	},
	"choice": func(d *draft, w row) error {
		c := &pb.ChoiceQuestion{Multiple: w.is("multiple"), Shuffle: w.is("shuffle"), Scoring: w["scoring"], Numbering: w["numbering"]}
		for i := range w.most("option") {
			c.Options = append(c.Options, &pb.ChoiceOption{Text: w.nth("option", i+1), Fraction: w.nth("fraction", i+1), Feedback: w.nth("feedback", i+1)})
		}
		d.Content.Body = &pb.QuestionContent_Choice{Choice: c}
		return nil
	},
	"true_false": func(d *draft, w row) error {
		d.Content.Body = &pb.QuestionContent_TrueFalse{TrueFalse: &pb.TrueFalseQuestion{
			Right: w.is("right"), WrongFraction: w["wrong_fraction"], TrueFeedback: w["true_feedback"], FalseFeedback: w["false_feedback"],
		}}
		return nil
	},
	"short_answer": func(d *draft, w row) error {
		s := &pb.ShortAnswerQuestion{CaseSensitive: w.is("case_sensitive"), IgnoreAccents: w.is("ignore_accents"), Spaces: w["spaces"]}
		for i := range w.most("option") {
			s.Patterns = append(s.Patterns, &pb.AnswerPattern{Pattern: w.nth("option", i+1), Fraction: w.nth("fraction", i+1), Feedback: w.nth("feedback", i+1)})
		}
		d.Content.Body = &pb.QuestionContent_ShortAnswer{ShortAnswer: s}
		return nil
	},
	"numeric": func(d *draft, w row) error {
		n := &pb.NumericQuestion{}
		for i := range max(w.most("option"), w.most("feedback")) {
			a := &pb.NumericAnswer{Fraction: w.nth("fraction", i+1), Feedback: w.nth("feedback", i+1)}
			text, size := strings.TrimSpace(w.nth("option", i+1)), strings.TrimSpace(w.nth("tolerance", i+1))
			if low, high, ok := strings.Cut(text, ".."); ok {
				a.Tolerance = &pb.Tolerance{Kind: "range", Low: low, High: high}
			} else if a.Value = text; size != "" {
				a.Tolerance = &pb.Tolerance{Kind: "absolute", Size: size}
				if relative, ok := strings.CutPrefix(size, "relative "); ok {
					a.Tolerance = &pb.Tolerance{Kind: "relative", Size: relative}
				}
			}
			n.Answers = append(n.Answers, a)
		}
		d.Content.Body = &pb.QuestionContent_Numeric{Numeric: n}
		return nil
	},
	"matching": func(d *draft, w row) error {
		k := &pb.MatchingQuestion{Shuffle: w.is("shuffle"), Scoring: w["scoring"], WrongFraction: w["wrong_fraction"]}
		var choices pool
		var right []int
		for i := range max(w.most("option"), w.most("match")) {
			stem, choice := w.nth("option", i+1), w.nth("match", i+1)
			if choice == "" {
				return refuse("csv.match", "match_%d is empty.", i+1)
			}
			n := choices.add(choice)
			if stem != "" {
				k.Stems, right = append(k.Stems, &pb.MatchingStem{Text: stem, Feedback: w.nth("feedback", i+1)}), append(right, n)
			}
		}
		matching(d, k, choices.texts, right)
		return nil
	},
	"ordering": func(d *draft, w row) error {
		o := &pb.OrderingQuestion{Scoring: w["scoring"], Layout: w["layout"]}
		for i := range w.most("option") {
			o.Items = append(o.Items, &pb.OrderingItem{Text: w.nth("option", i+1)})
		}
		d.Content.Body = &pb.QuestionContent_Ordering{Ordering: o}
		return nil
	},
	"essay": func(d *draft, w row) error {
		e := &pb.EssayQuestion{Format: w["format"], MinWords: w.int("min_words"), MaxWords: w.int("max_words"), Template: w["template"], GraderNotes: w["grader_notes"]}
		if n := w.int("max_files"); n > 0 {
			e.Attachments = &pb.FileRules{MaxCount: n}
		}
		d.Content.Body = &pb.QuestionContent_Essay{Essay: e}
		return nil
	},
	"file_upload": func(d *draft, w row) error {
		d.Content.Body = &pb.QuestionContent_FileUpload{FileUpload: &pb.FileUploadQuestion{
			Files: &pb.FileRules{MaxCount: max(1, w.int("max_files"))}, GraderNotes: w["grader_notes"],
		}}
		return nil
	},
}

// csvCodec writes a table. Its columns are all that there may be, because rows are
// written one after another.
type csvCodec struct{ w *writer }

func csvHeader() []string {
	out := slices.Clone(csvColumns)
	for i := range maxOptions {
		for _, name := range []string{"option", "fraction", "feedback", "tolerance", "match"} {
			out = append(out, fmt.Sprintf("%s_%d", name, i+1))
		}
	}
	return out
}

func (c *csvCodec) begin(out io.Writer) error {
	_, err := out.Write(csvLine(csvHeader()))
	return err
}

func (c *csvCodec) end(io.Writer) error { return nil }

func (c *csvCodec) write(out io.Writer, _ *draft, data []byte) error {
	_, err := out.Write(data)
	return err
}

func csvLine(cells []string) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write(cells) // a buffer takes everything
	w.Flush()
	return b.Bytes()
}

func (c *csvCodec) decode(data []byte) (*draft, error) {
	var out *draft
	r := &reader{ctx: noContext, limits: DefaultLimits, report: &Report{}, text: c.w.text}
	r.sink = func(it Item) error {
		out = &draft{Item: it}
		return nil
	}
	if err := r.readCSV(io.MultiReader(bytes.NewReader(csvLine(csvHeader())), bytes.NewReader(data))); err != nil {
		return newDraft(), err
	}
	return onlyOne(out, r.report)
}

func (c *csvCodec) encode(d *draft) ([]byte, error) {
	w, err := toRow(d)
	if err != nil {
		return nil, err
	}
	header := csvHeader()
	cells := make([]string, len(header))
	for i, name := range header {
		cells[i] = csvGuard(w[name])
		delete(w, name)
	}
	if len(w) > 0 {
		return nil, refuse("csv.options", "A table has at most %d options of a question.", maxOptions)
	}
	return csvLine(cells), nil
}

func toRow(d *draft) (row, error) {
	q, w := d.Content, row{}
	for name, value := range map[string]string{
		"title": q.GetTitle(), "prompt": q.GetPrompt(), "points": q.GetPoints(), "penalty": q.GetPenalty(), "floor": q.GetFloor(), "language": q.GetLanguage(),
		"general_feedback": q.GetGeneralFeedback(), "right_feedback": q.GetRightFeedback(), "partly_feedback": q.GetPartlyFeedback(),
		"wrong_feedback": q.GetWrongFeedback(), "category": strings.Join(d.Category, " / "), "tags": strings.Join(d.Tags, ";"),
	} {
		w.set(name, value)
	}
	var hints []string
	for _, h := range q.GetHints() {
		hints = append(hints, strings.ReplaceAll(h.GetText(), "\n", " "))
	}
	w.set("hints", strings.Join(hints, "\n"))
	nth := func(name string, i int, value string) { w.set(fmt.Sprintf("%s_%d", name, i+1), value) }
	switch b := q.GetBody().(type) {
	case *pb.QuestionContent_Description:
		w["kind"] = "description"
	case *pb.QuestionContent_Choice:
		w["kind"] = "choice"
		w.truth("multiple", b.Choice.GetMultiple())
		w.truth("shuffle", b.Choice.GetShuffle())
		w.set("scoring", b.Choice.GetScoring())
		w.set("numbering", b.Choice.GetNumbering())
		for i, o := range b.Choice.GetOptions() {
			nth("option", i, o.GetText())
			nth("fraction", i, o.GetFraction())
			nth("feedback", i, o.GetFeedback())
		}
	case *pb.QuestionContent_TrueFalse:
		w["kind"] = "true_false"
		w.truth("right", b.TrueFalse.GetRight())
		w.set("wrong_fraction", b.TrueFalse.GetWrongFraction())
		w.set("true_feedback", b.TrueFalse.GetTrueFeedback())
		w.set("false_feedback", b.TrueFalse.GetFalseFeedback())
	case *pb.QuestionContent_ShortAnswer:
		w["kind"] = "short_answer"
		w.truth("case_sensitive", b.ShortAnswer.GetCaseSensitive())
		w.truth("ignore_accents", b.ShortAnswer.GetIgnoreAccents())
		w.set("spaces", b.ShortAnswer.GetSpaces())
		for i, p := range b.ShortAnswer.GetPatterns() {
			nth("option", i, p.GetPattern())
			nth("fraction", i, p.GetFraction())
			nth("feedback", i, p.GetFeedback())
		}
	case *pb.QuestionContent_Numeric:
		w["kind"] = "numeric"
		for i, a := range b.Numeric.GetAnswers() {
			nth("fraction", i, a.GetFraction())
			nth("feedback", i, a.GetFeedback())
			switch t := a.GetTolerance(); t.GetKind() {
			case "":
				nth("option", i, a.GetValue())
			case "absolute":
				nth("option", i, a.GetValue())
				nth("tolerance", i, t.GetSize())
			case "relative":
				nth("option", i, a.GetValue())
				nth("tolerance", i, "relative "+t.GetSize())
			case "range":
				nth("option", i, t.GetLow()+".."+t.GetHigh())
			default:
				return nil, refuse("format.tolerance", "A table has no tolerance of the kind %q.", t.GetKind())
			}
		}
	case *pb.QuestionContent_Matching:
		w["kind"] = "matching"
		w.truth("shuffle", b.Matching.GetShuffle())
		w.set("scoring", b.Matching.GetScoring())
		w.set("wrong_fraction", b.Matching.GetWrongFraction())
		return w, matchingRow(b.Matching, nth)
	case *pb.QuestionContent_Ordering:
		w["kind"] = "ordering"
		w.set("scoring", b.Ordering.GetScoring())
		w.set("layout", b.Ordering.GetLayout())
		for i, o := range b.Ordering.GetItems() {
			nth("option", i, o.GetText())
		}
	case *pb.QuestionContent_Essay:
		w["kind"] = "essay"
		for name, n := range map[string]int32{"min_words": b.Essay.GetMinWords(), "max_words": b.Essay.GetMaxWords(), "max_files": b.Essay.GetAttachments().GetMaxCount()} {
			if n > 0 {
				w[name] = strconv.Itoa(int(n))
			}
		}
		w.set("format", b.Essay.GetFormat())
		w.set("template", b.Essay.GetTemplate())
		w.set("grader_notes", b.Essay.GetGraderNotes())
	case *pb.QuestionContent_FileUpload:
		w["kind"] = "file_upload"
		w["max_files"] = strconv.Itoa(int(b.FileUpload.GetFiles().GetMaxCount()))
		w.set("grader_notes", b.FileUpload.GetGraderNotes())
	default:
		return nil, refuse("format.kind", "A table has no questions of this kind.")
	}
	return w, nil
}

func matchingRow(k *pb.MatchingQuestion, nth func(name string, i int, value string)) error {
	used := map[string]bool{}
	n := 0
	for _, s := range k.GetStems() {
		i := slices.IndexFunc(k.GetChoices(), func(c *pb.MatchingChoice) bool { return c.GetKey() == s.GetRightKeys()[0] })
		if len(s.GetRightKeys()) > 1 || i < 0 {
			return refuse("format.matching", "A table has one right choice for each stem.")
		}
		used[s.GetRightKeys()[0]] = true
		nth("option", n, s.GetText())
		nth("match", n, k.GetChoices()[i].GetText())
		nth("feedback", n, s.GetFeedback())
		n++
	}
	for _, c := range k.GetChoices() {
		if !used[c.GetKey()] {
			nth("match", n, c.GetText())
			n++
		}
	}
	return nil
}
