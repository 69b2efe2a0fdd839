package question

import (
	"strings"
	"unicode"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// maxShortAnswer is how many characters a short answer has at most.
const maxShortAnswer = 2000

// shortAnswer asks for a word or a few: the fraction of the first pattern that fits,
// 0 where none does, as Moodle's short answer (question/type/shortanswer).
type shortAnswer struct {
	rules    textRules
	patterns []answerPattern
}

type answerPattern struct {
	*pb.AnswerPattern
	pattern

	fraction exact.Number
}

func normaliseShortAnswer(q *pb.QuestionContent) { normaliseShort(q.GetShortAnswer()) }

func normaliseShort(s *pb.ShortAnswerQuestion) {
	fill(&s.Spaces, "collapse")
	for _, p := range s.GetPatterns() {
		share(&p.Fraction, "1")
	}
}

func newShortAnswer(q *pb.QuestionContent, c *checker) kind {
	return c.shortAnswer("short_answer", q.GetShortAnswer())
}

func (c *checker) shortAnswer(path string, s *pb.ShortAnswerQuestion) shortAnswer {
	k := shortAnswer{rules: rulesOf(s)}
	right := false
	for i, p := range s.GetPatterns() {
		at := index(path+".patterns", i)
		one := answerPattern{p, k.rules.parsePattern(p.GetPattern()), c.fraction(at+".fraction", p.GetFraction(), "1", "-1", "1")}
		if len(one.runes) == 0 {
			c.add(at+".pattern", "pattern.empty", "Nothing is left of it once white space and marks are taken out.")
		}
		right = right || one.fraction.Cmp(unit) == 0
		k.patterns = append(k.patterns, one)
	}
	if !right {
		c.add(path+".patterns", "pattern.no_right", `One pattern has the fraction "1".`)
	}
	return k
}

// match returns the first pattern that fits.
func (k shortAnswer) match(text string) (answerPattern, bool) {
	folded := k.rules.fold(text)
	for _, p := range k.patterns {
		if p.matches(folded) {
			return p, true
		}
	}
	return answerPattern{}, false
}

// example returns a text that gives 1.
func (k shortAnswer) example() string {
	for _, p := range k.patterns {
		if p.fraction.Cmp(unit) == 0 {
			if blank(p.plain) {
				return "?"
			}
			return p.plain
		}
	}
	return ""
}

// blank reports whether there is nothing in a text.
func blank(s string) bool {
	return strings.TrimFunc(s, func(c rune) bool { return unicode.IsSpace(c) || c == '\u200b' || c == '\u2060' || c == '\ufeff' }) == ""
}

func (k shortAnswer) accept(*checker, *pb.Answer) {}

func (k shortAnswer) given(a *pb.Answer) given {
	if blank(a.GetText().GetText()) {
		return nothing
	}
	return whole
}

func (k shortAnswer) view(_ *Instance, v *pb.QuestionView) {
	v.Body = &pb.QuestionView_ShortAnswer{ShortAnswer: &pb.ShortAnswerView{MaxLength: maxShortAnswer}}
}

func (k shortAnswer) score(_ *Instance, a *pb.Answer) Score {
	var s Score
	if p, ok := k.match(a.GetText().GetText()); ok {
		s.part("", p.fraction, unit, "")
		s.Feedback = []string{p.GetFeedback()}
		return s
	}
	s.part("", exact.Number{}, unit, "")
	return s
}

func (k shortAnswer) right(*Instance) *pb.Answer {
	return &pb.Answer{Content: &pb.Answer_Text{Text: &pb.TextAnswer{Text: k.example()}}}
}

func (k shortAnswer) words(_ *Instance, a *pb.Answer, _ string) string {
	return plainText(a.GetText().GetText())
}

// plainText writes what somebody typed as Markdown that shows just that.
func plainText(s string) string {
	var out strings.Builder
	for _, c := range s {
		if c < 0x80 && unicode.IsPunct(c) || c < 0x80 && unicode.IsSymbol(c) {
			out.WriteByte('\\')
		}
		out.WriteRune(c)
	}
	return out.String()
}
