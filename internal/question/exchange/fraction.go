package exchange

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/question"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

var decimalText = regexp.MustCompile(`^[+-]?[0-9]{0,20}(\.[0-9]{0,20})?$`)

// decimal reads a decimal as others write it: with a sign, without a digit before or
// behind the point.
func decimal(text string) (exact.Number, bool) {
	text = strings.TrimSpace(text)
	if !decimalText.MatchString(text) || strings.Trim(text, "+-.") == "" {
		return exact.Number{}, false
	}
	text = strings.TrimPrefix(text, "+")
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "-", text[1:]
	}
	whole, part, _ := strings.Cut(text, ".")
	if whole == "" {
		whole = "0"
	}
	if part == "" {
		part = "0"
	}
	n, err := exact.Parse(sign + whole + "." + part)
	return n, err == nil
}

// fraction reads a fraction of so many. One that was rounded to at least four places,
// such as 33.33333 of 100, is the third that it was.
func fraction(text string, of int64) (string, bool) {
	n, ok := decimal(text)
	if !ok {
		return "", false
	}
	_, part, _ := strings.Cut(strings.TrimSpace(text), ".")
	places := len(part)
	exactly := n.Div(exact.Int(of))
	if places < 4 || strings.Trim(part[3:], "0") == "" {
		return exactly.String(), true
	}
	for d := int64(3); d <= 30; d++ {
		top, err := strconv.ParseInt(exactly.Mul(exact.Int(d)).Round(0, exact.HalfEven).String(), 10, 64)
		if err != nil {
			break
		}
		if one := exact.Ratio(top, d); one.Mul(exact.Int(of)).Round(places, exact.HalfUp).Equal(n) {
			return one.String(), true
		}
	}
	return exactly.String(), true
}

// rounded writes a fraction of so many as a decimal of at most so many places.
func rounded(text string, of int64, places int) string {
	n, err := exact.Parse(text)
	if err != nil {
		return "0"
	}
	n = n.Mul(exact.Int(of))
	out := n.String()
	_, part, _ := strings.Cut(out, ".")
	if strings.Contains(out, "/") || len(part) > places {
		out = n.Round(places, exact.HalfUp).Text(places)
	}
	return out
}

// isOne reports whether a fraction is all of the points.
func isOne(text string) bool {
	n, err := exact.Parse(text)
	return err == nil && n.Equal(exact.Int(1))
}

func signOf(text string) int {
	n, err := exact.Parse(text)
	if err != nil {
		return 0
	}
	return n.Sign()
}

// keys returns keys for texts, made as the engine makes them, so that they tell
// nothing of what is right.
func keys(texts []string) []string {
	o := &pb.OrderingQuestion{}
	for _, t := range texts {
		o.Items = append(o.Items, &pb.OrderingItem{Text: t})
	}
	q := question.Normalise(&pb.QuestionContent{Body: &pb.QuestionContent_Ordering{Ordering: o}})
	out := make([]string, len(texts))
	for i, item := range q.GetOrdering().GetItems() {
		out[i] = item.GetKey()
	}
	return out
}

// pool collects texts that are named by others, each once.
type pool struct {
	texts []string
	at    map[string]int
}

func (p *pool) add(text string) int {
	if i, ok := p.at[text]; ok {
		return i
	}
	if p.at == nil {
		p.at = map[string]int{}
	}
	p.at[text] = len(p.texts)
	p.texts = append(p.texts, text)
	return len(p.texts) - 1
}
