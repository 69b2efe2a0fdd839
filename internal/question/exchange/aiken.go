package exchange

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// Aiken is the shortest of formats: a question, options, and the letter of the right
// one. https://docs.moodle.org/en/Aiken_format. Its texts are plain.

var (
	aikenOption = regexp.MustCompile(`^([A-Z])[.)]\s*(.*)$`)
	aikenAnswer = regexp.MustCompile(`(?m)^ANSWER:\s*([A-Z])\s*$`)
)

// noContext is of what reads back what was just written.
var noContext = context.Background()

// readAiken reads Aiken.
func (r *reader) readAiken(in io.Reader) error {
	var (
		prompt  []string
		options []string
		first   int
		size    int64
	)
	end := func(n int, answer string) error {
		d := newDraft()
		d.Content.Prompt = escape(strings.Join(prompt, "\n"))
		c := &pb.ChoiceQuestion{Shuffle: true}
		for i, o := range options {
			f := "0"
			if answer != "" && i == int(answer[0]-'A') {
				f = "1"
			}
			c.Options = append(c.Options, &pb.ChoiceOption{Text: escape(o), Fraction: f})
		}
		d.Content.Body = &pb.QuestionContent_Choice{Choice: c}
		d.Content.Title = shorten(strings.Join(strings.Fields(strings.Join(prompt, " ")), " "), 80)
		var err error
		if answer == "" {
			err = refuse("aiken.answer", "Behind the options a line is missing such as ANSWER: B.")
		}
		prompt, options, size = nil, nil, 0
		at := first
		if at == 0 {
			at = n
		}
		first = 0
		return r.take(fmt.Sprintf("line %d", at), d, err)
	}
	last := 0
	err := r.lines(in, func(n int, line string) error {
		last = n
		line = strings.TrimSpace(line)
		if size += int64(len(line)); size > r.limits.ItemBytes {
			return ErrTooLarge
		}
		if line == "" {
			return nil
		}
		if first == 0 {
			first = n
		}
		if found := aikenAnswer.FindStringSubmatch(line); found != nil {
			return end(n, found[1])
		}
		if found := aikenOption.FindStringSubmatch(line); found != nil && len(prompt) > 0 && int(found[1][0]-'A') == len(options) {
			options = append(options, found[2])
			return nil
		}
		if len(options) > 0 { // another question begins
			if err := end(n, ""); err != nil {
				return err
			}
			first = n
		}
		prompt = append(prompt, line)
		return nil
	})
	if err != nil {
		return err
	}
	if len(prompt)+len(options) > 0 {
		return end(last, "")
	}
	return nil
}

// aikenCodec writes Aiken.
type aikenCodec struct{ w *writer }

func (c *aikenCodec) begin(io.Writer) error { return nil }
func (c *aikenCodec) end(io.Writer) error   { return nil }

func (c *aikenCodec) write(out io.Writer, _ *draft, data []byte) error {
	_, err := out.Write(data)
	return err
}

func (c *aikenCodec) decode(data []byte) (*draft, error) {
	var out *draft
	r := &reader{ctx: noContext, limits: DefaultLimits, report: &Report{}, text: c.w.text}
	r.sink = func(it Item) error {
		out = &draft{Item: it}
		return nil
	}
	if err := r.readAiken(strings.NewReader(string(data))); err != nil {
		return newDraft(), err
	}
	return onlyOne(out, r.report)
}

func (c *aikenCodec) encode(d *draft) ([]byte, error) {
	k := d.Content.GetChoice()
	if k == nil || k.GetMultiple() || len(k.GetOptions()) > 26 {
		return nil, refuse("format.kind", "Aiken has questions with one of at most 26 options, and no others.")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", c.w.text.plain(d.Content.GetPrompt()))
	right := -1
	for i, o := range k.GetOptions() {
		switch {
		case isOne(o.GetFraction()) && right < 0:
			right = i
		case signOf(o.GetFraction()) > 0:
			return nil, refuse("format.fractions", "Aiken has one option that is right, and none that is partly.")
		}
		fmt.Fprintf(&b, "%c. %s\n", 'A'+i, c.w.text.plain(o.GetText()))
	}
	fmt.Fprintf(&b, "ANSWER: %c\n\n", 'A'+max(right, 0))
	return []byte(b.String()), nil
}
