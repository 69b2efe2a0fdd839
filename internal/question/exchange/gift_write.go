package exchange

import (
	"fmt"
	"io"
	"slices"
	"strings"

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// giftCodec writes GIFT.
type giftCodec struct{ w *writer }

func (c *giftCodec) begin(io.Writer) error { return nil }
func (c *giftCodec) end(io.Writer) error   { return nil }

func (c *giftCodec) decode(data []byte) (*draft, error) {
	var out *draft
	r := &reader{ctx: noContext, limits: DefaultLimits, report: &Report{}, text: c.w.text}
	r.sink = func(it Item) error {
		out = &draft{Item: it}
		return nil
	}
	if err := r.readGIFT(strings.NewReader(string(data))); err != nil {
		return newDraft(), err
	}
	return onlyOne(out, r.report)
}

// onlyOne returns the question that was read back.
func onlyOne(d *draft, report *Report) (*draft, error) {
	if d == nil || len(report.Entries) != 1 {
		hint := "It is not one question when it is read again."
		if len(report.Entries) == 1 && len(report.Entries[0].Notes) > 0 {
			hint = report.Entries[0].Notes[0].Hint
		}
		return newDraft(), refuse("format.unable", "%s", hint)
	}
	return d, nil
}

func (c *giftCodec) write(out io.Writer, _ *draft, data []byte) error {
	_, err := out.Write(data)
	return err
}

func (c *giftCodec) encode(d *draft) ([]byte, error) {
	q := d.Content
	var b strings.Builder
	// Each question says its category, so that each can be read alone.
	fmt.Fprintf(&b, "$CATEGORY: %s\n\n", giftEscape.Replace(writtenPath(d.Category)))
	if len(d.Tags) > 0 {
		b.WriteString("//")
		for _, t := range d.Tags {
			fmt.Fprintf(&b, " [tag:%s]", strings.NewReplacer(`\`, `\\`, `]`, `\]`).Replace(t))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "::%s::[markdown]%s", giftEscape.Replace(strings.ReplaceAll(q.GetTitle(), "\n", " ")), giftEscape.Replace(q.GetPrompt()))
	var lines []string
	switch body := q.GetBody().(type) {
	case *pb.QuestionContent_Description:
		b.WriteString("\n\n")
		return []byte(b.String()), nil
	case *pb.QuestionContent_Essay:
		lines = nil
	case *pb.QuestionContent_TrueFalse:
		lines = []string{giftTrueFalse(body.TrueFalse)}
	case *pb.QuestionContent_ShortAnswer:
		for _, p := range body.ShortAnswer.GetPatterns() {
			lines = append(lines, giftLine("=", p.GetFraction(), p.GetPattern(), p.GetFeedback()))
		}
	case *pb.QuestionContent_Numeric:
		lines = []string{"#"}
		for _, a := range body.Numeric.GetAnswers() {
			line, err := giftNumber(a)
			if err != nil {
				return nil, err
			}
			lines = append(lines, line)
		}
	case *pb.QuestionContent_Matching:
		var err error
		if lines, err = giftMatching(body.Matching); err != nil {
			return nil, err
		}
	case *pb.QuestionContent_Choice:
		for _, o := range body.Choice.GetOptions() {
			switch {
			case !body.Choice.GetMultiple() && isOne(o.GetFraction()):
				lines = append(lines, giftLine("=", "1", o.GetText(), o.GetFeedback()))
			case signOf(o.GetFraction()) == 0:
				lines = append(lines, giftLine("~", "1", o.GetText(), o.GetFeedback()))
			default:
				lines = append(lines, giftLine("~%"+rounded(o.GetFraction(), 100, 5)+"%", "1", o.GetText(), o.GetFeedback()))
			}
		}
	default:
		return nil, refuse("format.kind", "GIFT has no questions of this kind.")
	}
	if q.GetGeneralFeedback() != "" {
		lines = append(lines, "####"+giftEscape.Replace(q.GetGeneralFeedback()))
	}
	fmt.Fprintf(&b, "{%s}\n\n", strings.Join(lines, "\n"))
	return []byte(b.String()), nil
}

func giftTrueFalse(t *pb.TrueFalseQuestion) string {
	word, told := "FALSE", []string{t.GetTrueFeedback(), t.GetFalseFeedback()}
	if t.GetRight() {
		word = "TRUE"
		slices.Reverse(told)
	}
	if told[0]+told[1] == "" {
		return word
	}
	return word + "#" + giftEscape.Replace(told[0]) + "#" + giftEscape.Replace(told[1])
}

func giftLine(sign, weight, text, feedback string) string {
	if !isOne(weight) {
		sign += "%" + rounded(weight, 100, 5) + "%"
	}
	sign += giftEscape.Replace(text)
	if feedback != "" {
		sign += "#" + giftEscape.Replace(feedback)
	}
	return sign
}

func giftNumber(a *pb.NumericAnswer) (string, error) {
	t := a.GetTolerance()
	text := a.GetValue()
	switch t.GetKind() {
	case "":
	case "absolute":
		text += ":" + t.GetSize()
	case "range":
		if t.GetLow() == "" && t.GetHigh() == "" && signOf(a.GetFraction()) == 0 {
			return "~#" + giftEscape.Replace(a.GetFeedback()), nil
		}
		if t.GetLow() == "" || t.GetHigh() == "" {
			return "", refuse("format.tolerance", "GIFT has no ranges without an end.")
		}
		text = t.GetLow() + ".." + t.GetHigh()
	default:
		return "", refuse("format.tolerance", "GIFT has no tolerance of the kind %q.", t.GetKind())
	}
	sign := "="
	if !isOne(a.GetFraction()) {
		sign += "%" + rounded(a.GetFraction(), 100, 5) + "%"
	}
	sign += text
	if a.GetFeedback() != "" {
		sign += "#" + giftEscape.Replace(a.GetFeedback())
	}
	return sign, nil
}

func giftMatching(k *pb.MatchingQuestion) ([]string, error) {
	var lines []string
	used := map[string]bool{}
	for _, s := range k.GetStems() {
		i := slices.IndexFunc(k.GetChoices(), func(c *pb.MatchingChoice) bool { return c.GetKey() == s.GetRightKeys()[0] })
		if len(s.GetRightKeys()) > 1 || i < 0 {
			return nil, refuse("format.matching", "GIFT has one right choice for each stem.")
		}
		used[s.GetRightKeys()[0]] = true
		lines = append(lines, "="+giftEscape.Replace(s.GetText())+" -> "+giftEscape.Replace(k.GetChoices()[i].GetText()))
	}
	for _, c := range k.GetChoices() {
		if !used[c.GetKey()] {
			lines = append(lines, "= -> "+giftEscape.Replace(c.GetText()))
		}
	}
	return lines, nil
}
