package exchange

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// GIFT is Moodle's format of plain text: https://docs.moodle.org/en/GIFT_format.
// A question ends at an empty line. Its texts are written as Markdown, which GIFT
// has a name for; without a name a text is HTML or plain.

// readGIFT reads GIFT.
func (r *reader) readGIFT(in io.Reader) error {
	var (
		block    []string
		first    int
		size     int64
		category []string
		tags     []string
	)
	end := func() error {
		text := strings.TrimSpace(strings.Join(block, "\n"))
		block, size = nil, 0
		if text == "" {
			return nil
		}
		if path, ok := strings.CutPrefix(text, "$CATEGORY:"); ok {
			category, tags = categoryPath(unescapeGIFT(strings.TrimSpace(path))), nil
			return nil
		}
		d, err := parseGIFT(r.text, text)
		d.Category, d.Tags, tags = category, tags, nil
		return r.take(fmt.Sprintf("line %d", first), d, err)
	}
	err := r.lines(in, func(n int, line string) error {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "//"):
			if found := giftTag.FindAllStringSubmatch(trimmed, maxTags*2); found != nil {
				for _, one := range found {
					tags = append(tags, strings.TrimSpace(giftUnescape.Replace(one[1])))
				}
			}
			return nil
		case trimmed == "":
			return end()
		case strings.HasPrefix(trimmed, "$CATEGORY:"):
			if err := end(); err != nil {
				return err
			}
			block = []string{trimmed}
			return end()
		}
		if len(block) == 0 {
			first = n
		}
		if size += int64(len(line)); size > r.limits.ItemBytes {
			return ErrTooLarge
		}
		block = append(block, line)
		return nil
	})
	if err != nil {
		return err
	}
	return end()
}

var (
	giftTag      = regexp.MustCompile(`\[tag:((?:[^\]\\]|\\.)*)\]`)
	giftTitle    = regexp.MustCompile(`(?s)^::((?:[^\\:]|\\.|:[^:])*?)::`)
	giftFormat   = regexp.MustCompile(`^\[(html|moodle|plain|markdown)\]`)
	giftWeight   = regexp.MustCompile(`^%(-?[0-9.]{1,12})%`)
	giftEscape   = strings.NewReplacer(`\`, `\\`, `~`, `\~`, `=`, `\=`, `#`, `\#`, `{`, `\{`, `}`, `\}`, `:`, `\:`, "\n", `\n`, "->", `-\>`, "//", `/\/`)
	giftUnescape = strings.NewReplacer(`\\`, `\`, `\~`, `~`, `\=`, `=`, `\#`, `#`, `\{`, `{`, `\}`, `}`, `\:`, `:`, `\n`, "\n", `\]`, `]`, `\[`, `[`, `-\>`, `->`, `/\/`, "//")
)

func unescapeGIFT(s string) string { return giftUnescape.Replace(s) }

// split cuts a text at each of some characters that are not escaped; what is cut off
// begins with its character.
func splitGIFT(s, at string) []string {
	var out []string
	from := 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case strings.IndexByte(at, s[i]) >= 0:
			out, from = append(out, s[from:i]), i
		}
	}
	return append(out, s[from:])
}

// indexGIFT returns where what is not escaped is first.
func indexGIFT(s, what string) int {
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		} else if strings.HasPrefix(s[i:], what) {
			return i
		}
	}
	return -1
}

// giftText reads a text of which the format is named, or is that of the question.
func (d *draft) giftText(m *markup, s string, format *string) string {
	s = strings.TrimSpace(s)
	if found := giftFormat.FindStringSubmatch(s); found != nil {
		*format = found[1]
		s = s[len(found[0]):]
	}
	s = strings.TrimSpace(unescapeGIFT(s))
	nothing := func(string) (File, bool) { return File{}, false }
	switch *format {
	case "markdown":
		return s
	case "plain":
		return escape(s)
	case "html":
		return d.markdown(m, s, "@@PLUGINFILE@@/", nothing)
	}
	if strings.ContainsAny(s, "<&") {
		return d.markdown(m, strings.ReplaceAll(s, "\n", "<br>"), "@@PLUGINFILE@@/", nothing)
	}
	return escape(s)
}

// parseGIFT reads a question.
func parseGIFT(m *markup, text string) (*draft, error) {
	d := newDraft()
	q := d.Content
	if found := giftTitle.FindStringSubmatch(text); found != nil {
		q.Title = strings.TrimSpace(strings.ReplaceAll(unescapeGIFT(found[1]), "\n", " "))
		text = strings.TrimSpace(text[len(found[0]):])
	}
	format := "moodle"
	open := indexGIFT(text, "{")
	if open < 0 {
		q.Prompt = d.giftText(m, text, &format)
		q.Body = &pb.QuestionContent_Description{Description: &pb.DescriptionQuestion{}}
		return d, nil
	}
	shut := indexGIFT(text[open:], "}")
	if shut < 0 {
		return d, refuse("gift.open", "The answers have no end: a } is missing.")
	}
	before, answers, after := text[:open], strings.TrimSpace(text[open+1:open+shut]), strings.TrimSpace(text[open+shut+1:])
	if indexGIFT(after, "{") >= 0 {
		return d, refuse("gift.several", "It has answers in several places, which GIFT does not have.")
	}
	if after != "" {
		before = strings.TrimRight(before, " ") + ` \_\_\_\_\_ ` + after
		if giftFormat.MatchString(strings.TrimSpace(before)) && !strings.HasPrefix(strings.TrimSpace(before), "[markdown]") || !giftFormat.MatchString(strings.TrimSpace(before)) {
			before = strings.ReplaceAll(before, `\_`, "_")
		} else {
			before = strings.ReplaceAll(before, `\_`, `\\_`)
		}
	}
	q.Prompt = d.giftText(m, before, &format)
	if at := indexGIFT(answers, "####"); at >= 0 {
		general := format
		q.GeneralFeedback = d.giftText(m, answers[at+4:], &general)
		answers = strings.TrimSpace(answers[:at])
	}
	return d, d.giftAnswers(m, answers, format)
}

func (d *draft) giftAnswers(m *markup, answers, format string) error {
	q := d.Content
	head, _, _ := strings.Cut(answers, "#")
	switch strings.ToUpper(strings.TrimSpace(head)) {
	case "T", "TRUE", "F", "FALSE":
		t := &pb.TrueFalseQuestion{Right: strings.HasPrefix(strings.ToUpper(strings.TrimSpace(head)), "T")}
		parts := splitGIFT(answers, "#")
		var told [2]string // of the wrong and of the right answer
		for i := range told {
			if len(parts) > i+1 {
				f := format
				told[i] = d.giftText(m, parts[i+1][1:], &f)
			}
		}
		if t.GetRight() {
			t.FalseFeedback, t.TrueFeedback = told[0], told[1]
		} else {
			t.TrueFeedback, t.FalseFeedback = told[0], told[1]
		}
		q.Body = &pb.QuestionContent_TrueFalse{TrueFalse: t}
		return nil
	}
	switch {
	case answers == "":
		q.Body = &pb.QuestionContent_Essay{Essay: &pb.EssayQuestion{Format: "markdown"}}
		return nil
	case strings.HasPrefix(answers, "#"):
		return d.giftNumbers(m, answers[1:], format)
	}
	list := splitGIFT(answers, "=~")[1:]
	if len(list) == 0 {
		return refuse("gift.answers", "What stands in { } is no answer: begin each with = or ~.")
	}
	arrows, wrong := 0, 0
	for _, a := range list {
		if a[0] == '~' {
			wrong++
		} else if indexGIFT(a, "->") >= 0 {
			arrows++
		}
	}
	switch {
	case arrows == len(list):
		return d.giftPairs(m, list, format)
	case wrong == 0:
		s := &pb.ShortAnswerQuestion{}
		for _, a := range list {
			text, weight, feedback, err := d.giftAnswer(m, a[1:], format)
			if err != nil {
				return err
			}
			s.Patterns = append(s.Patterns, &pb.AnswerPattern{Pattern: strings.TrimSpace(unescapePattern(text)), Fraction: weight, Feedback: feedback})
		}
		q.Body = &pb.QuestionContent_ShortAnswer{ShortAnswer: s}
		return nil
	}
	c := &pb.ChoiceQuestion{Shuffle: true, Multiple: wrong == len(list)}
	for _, a := range list {
		text, weight, feedback, err := d.giftAnswer(m, a[1:], format)
		if err != nil {
			return err
		}
		if a[0] == '~' && weight == "" {
			weight = "0"
		}
		if a[0] == '=' && weight == "" {
			weight = "1"
		}
		f := format
		c.Options = append(c.Options, &pb.ChoiceOption{Text: d.giftText(m, text, &f), Fraction: weight, Feedback: feedback})
	}
	q.Body = &pb.QuestionContent_Choice{Choice: c}
	return nil
}

// giftAnswer reads an answer: its text, still escaped, its fraction and its feedback.
func (d *draft) giftAnswer(m *markup, s, format string) (text, weight, feedback string, err error) {
	s = strings.TrimSpace(s)
	if found := giftWeight.FindStringSubmatch(s); found != nil {
		var ok bool
		if weight, ok = fraction(found[1], 100); !ok {
			return "", "", "", refuse("gift.weight", "%s is no weight.", found[0])
		}
		s = s[len(found[0]):]
	}
	if at := indexGIFT(s, "#"); at >= 0 {
		f := format
		feedback = d.giftText(m, s[at+1:], &f)
		s = s[:at]
	}
	return strings.TrimSpace(s), weight, feedback, nil
}

// unescapePattern reads a pattern, in which \* stands for an asterisk.
func unescapePattern(s string) string {
	if found := giftFormat.FindString(s); found != "" {
		s = s[len(found):]
	}
	return unescapeGIFT(s)
}

func (d *draft) giftPairs(m *markup, list []string, format string) error {
	k := &pb.MatchingQuestion{Shuffle: true}
	var choices pool
	var right []int
	for _, a := range list {
		at := indexGIFT(a, "->")
		f, g := format, format
		stem, choice := d.giftText(m, a[1:at], &f), d.giftText(m, a[at+2:], &g)
		n := choices.add(choice)
		if stem == "" {
			continue
		}
		k.Stems = append(k.Stems, &pb.MatchingStem{Text: stem})
		right = append(right, n)
	}
	matching(d, k, choices.texts, right)
	return nil
}

// matching fills in the choices, and for each stem the right one by its place.
func matching(d *draft, k *pb.MatchingQuestion, texts []string, right []int) {
	names := keys(texts)
	for i, t := range texts {
		k.Choices = append(k.Choices, &pb.MatchingChoice{Key: names[i], Text: t})
	}
	for i, s := range k.GetStems() {
		s.RightKeys = []string{names[right[i]]}
	}
	d.Content.Body = &pb.QuestionContent_Matching{Matching: k}
}

func (d *draft) giftNumbers(m *markup, s, format string) error {
	n := &pb.NumericQuestion{}
	list := []string{"=" + s}
	if parts := splitGIFT(s, "=~"); len(parts) > 1 && strings.TrimSpace(parts[0]) == "" {
		list = parts[1:]
	}
	for _, a := range list {
		text, weight, feedback, err := d.giftAnswer(m, a[1:], format)
		if err != nil {
			return err
		}
		text = unescapeGIFT(text)
		if a[0] == '~' && text == "" {
			// What is told of all that is wrong.
			n.Answers = append(n.Answers, &pb.NumericAnswer{Fraction: "0", Tolerance: &pb.Tolerance{Kind: "range"}, Feedback: feedback})
			continue
		}
		one := &pb.NumericAnswer{Fraction: weight, Feedback: feedback}
		if low, high, ok := strings.Cut(text, ".."); ok {
			one.Tolerance = &pb.Tolerance{Kind: "range", Low: strings.TrimSpace(low), High: strings.TrimSpace(high)}
		} else {
			value, size, near := strings.Cut(text, ":")
			one.Value = number(value)
			if near && number(size) != "0" {
				one.Tolerance = &pb.Tolerance{Kind: "absolute", Size: number(size)}
			}
		}
		n.Answers = append(n.Answers, one)
	}
	d.Content.Body = &pb.QuestionContent_Numeric{Numeric: n}
	return nil
}

var numberText = regexp.MustCompile(`^([+-]?)([0-9]*)(?:\.([0-9]*))?([eE][+-]?[0-9]+)?$`)

// number returns a number of another program as the contract has it; what is none
// stays, to be found.
func number(s string) string {
	s = strings.TrimSpace(s)
	found := numberText.FindStringSubmatch(s)
	if found == nil || found[2]+found[3] == "" {
		return s
	}
	out := strings.TrimPrefix(found[1], "+") + found[2]
	if found[2] == "" {
		out += "0"
	}
	if found[3] != "" {
		out += "." + found[3]
	}
	return out + found[4]
}

// categoryPath reads a path of Moodle: names between /, in which // is a stroke.
func categoryPath(path string) []string {
	var out []string
	for part := range strings.SplitSeq(strings.ReplaceAll(path, "//", "\x00"), "/") {
		part = strings.TrimSpace(strings.ReplaceAll(part, "\x00", "/"))
		if part == "" || len(out) == 0 && (strings.HasPrefix(part, "$") && strings.HasSuffix(part, "$") || part == "top") {
			continue
		}
		out = append(out, part)
	}
	return out
}

func writtenPath(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ReplaceAll(n, "/", "//")
	}
	return strings.Join(append([]string{"$course$", "top"}, out...), "/")
}
