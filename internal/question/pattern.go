package question

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// star stands for any text in a pattern that was read. It is no character of
// Unicode's, so that no text has it.
const star = '\ufdd0'

// textRules are how texts are compared.
type textRules struct {
	sensitive, noAccents bool
	spaces               string
}

func rulesOf(s *pb.ShortAnswerQuestion) textRules {
	return textRules{s.GetCaseSensitive(), s.GetIgnoreAccents(), s.GetSpaces()}
}

// fold brings a text into the form in which it is compared.
func (r textRules) fold(s string) []rune {
	s = norm.NFC.String(s)
	if !r.sensitive {
		s = norm.NFC.String(cases.Fold().String(s))
	}
	if r.noAccents {
		s = norm.NFC.String(strings.Map(func(c rune) rune {
			if accent(c) {
				return -1
			}
			return c
		}, norm.NFD.String(s)))
	}
	out := make([]rune, 0, len(s))
	space := false
	for _, c := range s {
		switch {
		case r.spaces == "keep":
			out = append(out, c)
		case unicode.IsSpace(c) || c == '\u200b' || c == '\u2060' || c == '\ufeff':
			space = true
		default:
			if space && r.spaces != "ignore" && len(out) > 0 {
				out = append(out, ' ')
			}
			space = false
			out = append(out, c)
		}
	}
	return out
}

// accent reports whether a character is a mark above or below a letter. Vowel signs
// of scripts that write vowels so are not: they are letters to who writes them.
func accent(c rune) bool {
	switch {
	case c >= 0x300 && c <= 0x36f, c >= 0x1ab0 && c <= 0x1aff, c >= 0x1dc0 && c <= 0x1dff, c >= 0x20d0 && c <= 0x20ff, c >= 0xfe20 && c <= 0xfe2f:
		return true
	}
	return false
}

// pattern is what a text is held against.
type pattern struct {
	runes []rune // folded, with stars
	plain string // the pattern without its stars, as somebody would write it
}

// parsePattern reads a pattern of an author.
func (r textRules) parsePattern(source string) pattern {
	var folded, plain strings.Builder
	escaped := false
	for _, c := range source {
		switch {
		case c == star:
		case escaped && c != '*' && c != '\\':
			folded.WriteByte('\\')
			plain.WriteByte('\\')
			fallthrough
		case escaped:
			folded.WriteRune(c)
			plain.WriteRune(c)
			escaped = false
		case c == '\\':
			escaped = true
		case c == '*':
			folded.WriteRune(star)
		default:
			folded.WriteRune(c)
			plain.WriteRune(c)
		}
	}
	if escaped {
		folded.WriteByte('\\')
		plain.WriteByte('\\')
	}
	return pattern{r.fold(folded.String()), plain.String()}
}

// matches reports whether a folded text fits. What a star has taken is given back by
// one at a time, and only to the last star, so that it takes at most the product of
// both lengths.
func (p pattern) matches(text []rune) bool {
	i, j := 0, 0            // in the text, in the pattern
	lastStar, from := -1, 0 // where to go on when it does not fit
	for i < len(text) {
		switch {
		case j < len(p.runes) && p.runes[j] == star:
			lastStar, from = j, i
			j++
		case j < len(p.runes) && p.runes[j] == text[i]:
			i++
			j++
		case lastStar >= 0:
			from++
			i, j = from, lastStar+1
		default:
			return false
		}
	}
	for j < len(p.runes) && p.runes[j] == star {
		j++
	}
	return j == len(p.runes)
}
