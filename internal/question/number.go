package question

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/stoa-lms/stoa/internal/exact"
	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// maxExponent bounds the powers of ten of numbers, and their size with it.
const maxExponent = 150

var powers = func() [2*maxExponent + 1]exact.Number {
	var p [2*maxExponent + 1]exact.Number
	p[maxExponent] = exact.Int(1)
	for i := 1; i <= maxExponent; i++ {
		p[maxExponent+i] = p[maxExponent+i-1].Mul(exact.Int(10))
		p[maxExponent-i] = p[maxExponent-i+1].Div(exact.Int(10))
	}
	return p
}()

// power returns 10^e, e being -maxExponent to maxExponent.
func power(e int) exact.Number { return powers[maxExponent+e] }

// decimal reads a number of an author: a decimal with an exponent where wanted.
func decimal(text string) (exact.Number, bool) {
	mantissa, exponent := text, 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		var ok bool
		if exponent, ok = smallInt(text[i+1:]); !ok {
			return exact.Number{}, false
		}
		mantissa = text[:i]
	}
	n, err := exact.Parse(mantissa)
	if err != nil || strings.Contains(mantissa, "/") {
		return exact.Number{}, false
	}
	return n.Mul(power(exponent)), true
}

// smallInt reads an exponent of at most 99 on either side.
func smallInt(s string) (int, bool) {
	neg := strings.HasPrefix(s, "-")
	if neg || strings.HasPrefix(s, "+") {
		s = s[1:]
	}
	if s == "" || len(s) > 2 {
		return 0, false
	}
	n := 0
	for _, r := range []byte(s) {
		if r < '0' || r > '9' {
			return 0, false
		}
		n = 10*n + int(r-'0')
	}
	if neg {
		n = -n
	}
	return n, true
}

// number reads a number of an author.
func (c *checker) number(path, text string) exact.Number {
	n, ok := decimal(text)
	if !ok {
		c.add(path, "number.invalid", `Send a decimal such as "9.81" or "6.022e23".`)
	}
	return n
}

// magnitude returns e with 10^e <= |n| < 10^(e+1); n is not 0, and not beyond powers.
func magnitude(n exact.Number) int {
	if n.Sign() < 0 {
		n = n.Neg()
	}
	low, high := -maxExponent, maxExponent
	for low < high {
		if mid := (low + high + 1) >> 1; power(mid).Cmp(n) <= 0 {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return low
}

// roundFigures rounds to so many significant figures, halves away from zero.
func roundFigures(n exact.Number, figures int) exact.Number {
	if n.Sign() == 0 {
		return n
	}
	shift := magnitude(n) - figures + 1
	shift = max(-maxExponent, min(maxExponent, shift))
	return n.Mul(power(-shift)).Round(0, exact.HalfUp).Mul(power(shift))
}

// figuresText returns n rounded to so many significant figures, all of them written
// unless short.
func figuresText(n exact.Number, figures int, short bool) string {
	n = roundFigures(n, figures)
	if n.Sign() == 0 {
		if figures > 1 && !short {
			return "0." + strings.Repeat("0", figures-1)
		}
		return "0"
	}
	e := magnitude(n)
	places := figures - 1 - e
	if e >= figures && !short || e > 20 || e < -6 || places > 18 {
		digits := figuresText(n.Mul(power(-e)), figures, short)
		return digits + "e" + exact.Int(int64(e)).String()
	}
	text := n.Text(max(0, places))
	if short && strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// written is a number as somebody wrote it.
type written struct {
	value exact.Number
	// The significant figures that it has at least and at most: the zeros at the end
	// of 1500 may count or not.
	figuresMin, figuresMax int
	places                 int    // digits behind the decimal sign
	rest                   string // what is behind it
}

// digit returns the value of a digit: those of ASCII, the Arabic ones in both forms,
// Devanagari and the wide ones.
func digit(r rune) (byte, bool) {
	for _, zero := range [...]rune{'0', '٠', '۰', '०', '０'} {
		if r >= zero && r <= zero+9 {
			return '0' + byte(r-zero), true //nolint:gosec // G115: 0 to 9
		}
	}
	return 0, false
}

// The signs of Arabic numbers, each of which has one meaning only.
const (
	arabicDecimal  = '\u066b'
	arabicGrouping = '\u066c'
)

// sign returns what a sign before a number is taken for, - or +; 0 for none.
func sign(r rune) byte {
	switch r {
	case '-', '−', '－', '–':
		return '-'
	case '+', '＋':
		return '+'
	}
	return 0
}

// narrow returns what a wide form of a character of ASCII is of, itself for all others.
func narrow(r rune) rune {
	if r >= '！' && r <= '～' {
		return r - '！' + '!'
	}
	return r
}

// reader reads numbers that somebody wrote, by the rules of a question.
//
// Version 1 of the engine takes ٫ for a point, which groups or is refused where a comma
// is the decimal sign, and ٬ for no part of a number. In an exponent it knows of the
// signs + - and − alone, and the 10 in digits of ASCII; of wide forms it knows digits,
// and signs before a number.
type reader struct {
	rules  *pb.NumberRules
	engine int
}

// separator returns what a sign between digits is taken for: itself for . and , and
// the Arabic ones, a space for all kinds of spaces, an apostrophe for both; 0 for none.
func (rd reader) separator(r rune) rune {
	switch {
	case rd.engine == 1 && r == arabicDecimal:
		return '.'
	case rd.engine == 1 && r == arabicGrouping:
		return 0
	}
	switch r {
	case '.', ',', arabicDecimal, arabicGrouping:
		return r
	case '\'', '’':
		return '\''
	case ' ', '\u00a0', '\u202f', '\u2009', '\u2007':
		return ' '
	}
	return 0
}

// exponentSign is sign for the one of an exponent.
func (rd reader) exponentSign(r rune) byte {
	if rd.engine == 1 && r != '-' && r != '+' && r != '−' {
		return 0
	}
	return sign(r)
}

// read reads a number, as the contract says of NumberRules. It returns false where there
// is none.
func (rd reader) read(text string) (written, bool) {
	rs := []rune(strings.TrimFunc(text, unicode.IsSpace))
	if rd.engine > 1 {
		for i, r := range rs {
			rs[i] = narrow(r)
		}
	}
	neg := false
	if len(rs) > 0 {
		if s := sign(rs[0]); s != 0 {
			neg = s == '-'
			rs = rs[1:]
		}
	}
	groups, signs, n := rd.digitGroups(rs)
	at := decimalSign(signs, rd.rules.GetDecimalSign())
	if at == ambiguous || !grouped(groups, signs, at, rd.rules.GetNoGrouping()) {
		return written{}, false
	}
	if at == none {
		at = len(groups)
	}
	whole, part := strings.Join(groups[:min(at+1, len(groups))], ""), ""
	if at < len(groups)-1 {
		part = groups[at+1]
	}
	if whole+part == "" || len(whole) > 40 || len(part) > 40 {
		return written{}, false
	}
	w := written{places: len(part)}
	value, err := exact.Parse(orZero(whole) + "." + orZero(part))
	if err != nil {
		return written{}, false
	}
	significant := strings.TrimLeft(whole+part, "0")
	w.figuresMax, w.figuresMin = len(significant), len(significant)
	if part == "" {
		w.figuresMin = len(strings.TrimRight(significant, "0"))
	}
	exponent, used, ok := rd.readExponent(rs[n:])
	if !ok {
		return written{}, false
	}
	w.value = value.Mul(power(exponent))
	if neg {
		w.value = w.value.Neg()
	}
	w.rest = strings.TrimFunc(string(rs[n+used:]), unicode.IsSpace)
	return w, true
}

func orZero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}

// digitGroups returns the runs of digits at the beginning, the signs between them,
// and how many runes they take. A number may begin or end with its decimal sign.
func (rd reader) digitGroups(rs []rune) (groups []string, signs []rune, n int) {
	var run []byte
	for i := range rs {
		if d, ok := digit(rs[i]); ok {
			run = append(run, d)
			n = i + 1
			continue
		}
		sign := rd.separator(rs[i])
		if sign == 0 {
			break
		}
		follows := false
		if i+1 < len(rs) {
			_, follows = digit(rs[i+1])
		}
		point := sign == '.' || sign == ',' || sign == arabicDecimal
		if !follows && (!point || len(run) == 0) || len(run) == 0 && !point {
			break
		}
		groups, signs, run = append(groups, string(run)), append(signs, sign), nil
		n = i + 1
		if !follows {
			break
		}
	}
	return append(groups, string(run)), signs, n
}

const (
	none      = -1
	ambiguous = -2
)

// decimalSign returns which of the signs between groups is the decimal one.
func decimalSign(signs []rune, rule string) int {
	count := func(sign rune) (n, last int) {
		for i, s := range signs {
			if s == sign {
				n, last = n+1, i
			}
		}
		return n, last
	}
	points, point := count('.')
	commas, comma := count(',')
	if n, last := count(arabicDecimal); n > 0 {
		if n > 1 || rule == "point" && points > 0 || rule == "comma" && commas > 0 {
			return ambiguous // two decimal signs
		}
		return last
	}
	switch rule {
	case "point":
		commas, comma = 0, none
	case "comma":
		points, point = 0, none
	}
	switch {
	case points == 0 && commas == 0:
		return none
	case points > 0 && commas > 0:
		last, n := max(point, comma), points
		if comma > point {
			n = commas
		}
		if n > 1 {
			return ambiguous
		}
		return last
	case points == 1:
		return point
	case commas == 1:
		return comma
	case rule == "point" || rule == "comma":
		return ambiguous // the decimal sign twice
	}
	return none // a sign that is there twice groups
}

// grouped reports whether all signs but the decimal one, which is the last, group
// digits by threes, all by the same sign.
func grouped(groups []string, signs []rune, at int, refuse bool) bool {
	if at != none && at != len(signs)-1 {
		return false
	}
	grouping := signs
	if at != none {
		grouping = signs[:at]
	}
	if len(grouping) == 0 {
		return true
	}
	if refuse || len(groups[0]) < 1 || len(groups[0]) > 3 {
		return false
	}
	for i, s := range grouping {
		if s != grouping[0] || len(groups[i+1]) != 3 {
			return false
		}
	}
	return true
}

var superscripts = strings.NewReplacer("⁰", "0", "¹", "1", "²", "2", "³", "3", "⁴", "4", "⁵", "5", "⁶", "6", "⁷", "7", "⁸", "8", "⁹", "9", "⁻", "-", "⁺", "+")

// readExponent reads a power of ten at the beginning and returns how many runes it
// takes, 0 for none. It returns false where the power is out of range.
func (rd reader) readExponent(rs []rune) (exponent, used int, ok bool) {
	if len(rs) > 1 && (rs[0] == 'e' || rs[0] == 'E') {
		return rd.signedDigits(rs, 1, false)
	}
	i := skipSpaces(rs, 0)
	if i >= len(rs) || !strings.ContainsRune("×xX*·⋅∙", rs[i]) {
		return 0, 0, true
	}
	i = skipSpaces(rs, i+1)
	for _, want := range []byte("10") {
		if i >= len(rs) {
			return 0, 0, true
		}
		if d, ok := digit(rs[i]); !ok || d != want || rd.engine == 1 && rs[i] != rune(want) {
			return 0, 0, true
		}
		i++
	}
	switch {
	case i < len(rs) && rs[i] == '^':
		return rd.signedDigits(rs, i+1, false)
	case i+1 < len(rs) && rs[i] == '*' && rs[i+1] == '*':
		return rd.signedDigits(rs, i+2, false)
	default:
		return rd.signedDigits(rs, i, true)
	}
}

func skipSpaces(rs []rune, i int) int {
	for i < len(rs) && unicode.IsSpace(rs[i]) {
		i++
	}
	return i
}

// signedDigits reads a whole number that begins at i. Where there is none, nothing is
// used, and all is taken to be a unit.
func (rd reader) signedDigits(rs []rune, i int, raised bool) (n, used int, ok bool) {
	var text strings.Builder
	for ; i < len(rs); i++ {
		r := rs[i]
		if s := superscripts.Replace(string(r)); raised {
			if s == string(r) {
				break
			}
			text.WriteString(s)
			continue
		}
		if s := rd.exponentSign(r); s != 0 && text.Len() == 0 {
			text.WriteByte(s)
			continue
		}
		d, isDigit := digit(r)
		if !isDigit {
			break
		}
		text.WriteByte(d)
	}
	if s := strings.TrimLeft(text.String(), "+-"); s == "" {
		return 0, 0, true
	}
	n, ok = smallInt(text.String())
	return n, i, ok
}

// formatNumber returns a number as the format says.
func formatNumber(n exact.Number, f *pb.NumberFormat) (exact.Number, string) {
	digits := int(f.GetDigits())
	if f.GetKind() == "decimal_places" {
		n = n.Round(digits, exact.HalfUp)
		return n, n.Text(digits)
	}
	if digits == 0 {
		return roundFigures(n, 15), figuresText(n, 15, true)
	}
	return roundFigures(n, digits), figuresText(n, digits, false)
}

// decimalComma reports whether the numbers of a question are told with a comma.
func decimalComma(q *pb.QuestionContent) bool {
	return q.GetNumeric().GetReading().GetDecimalSign() == "comma" || q.GetCalculated().GetReading().GetDecimalSign() == "comma"
}

// local writes a number with the decimal sign of the question.
func local(text string, comma bool) string {
	if comma {
		return strings.Replace(text, ".", ",", 1)
	}
	return text
}

// unitText returns a unit in the one form that is compared.
func unitText(s string) string {
	s = norm.NFKC.String(s)
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == '^' {
			return -1
		}
		return r
	}, s)
}
