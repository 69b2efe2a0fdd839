package courses

import (
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A comparison has a budget of steps: what would take more is told as replaced as
// a whole, so that the time is bounded whatever is compared, and the answer does
// not depend on how fast the machine is. (The libraries looked at bound memory or
// time by neither, or by the clock.)
const diffBudget = 4_000_000

// sequences compares two sequences by Myers' algorithm in linear space, both ways
// at once until they meet.
type sequences struct {
	a, b       []int32
	gone, came []bool // by element of a and of b
	ahead, aft []int  // the furthest points on each diagonal
	zero       int    // the index of diagonal 0 in them
	budget     *int
}

// compareSequences reports which elements of a are gone in b and which of b came.
// All others are the same, in the same order.
func compareSequences(a, b []int32, budget *int) (gone, came []bool) {
	s := &sequences{a: a, b: b, gone: make([]bool, len(a)), came: make([]bool, len(b)), zero: len(b) + 1, budget: budget}
	s.ahead, s.aft = make([]int, len(a)+len(b)+3), make([]int, len(a)+len(b)+3)
	s.compare(0, len(a), 0, len(b))
	return s.gone, s.came
}

func (s *sequences) compare(aLo, aHi, bLo, bHi int) {
	for aLo < aHi && bLo < bHi && s.a[aLo] == s.b[bLo] {
		aLo, bLo = aLo+1, bLo+1
	}
	for aLo < aHi && bLo < bHi && s.a[aHi-1] == s.b[bHi-1] {
		aHi, bHi = aHi-1, bHi-1
	}
	if aLo < aHi && bLo < bHi {
		if x, y, ok := s.middle(aLo, aHi, bLo, bHi); ok {
			s.compare(aLo, x, bLo, y)
			s.compare(x, aHi, y, bHi)
			return
		}
	}
	for i := aLo; i < aHi; i++ {
		s.gone[i] = true
	}
	for i := bLo; i < bHi; i++ {
		s.came[i] = true
	}
}

// middle returns a point on a shortest path through the box, false when the budget
// is used up. The box begins and ends with elements that differ.
func (s *sequences) middle(aLo, aHi, bLo, bHi int) (x, y int, ok bool) {
	least, most := aLo-bHi, aHi-bLo
	from, to := aLo-bLo, aHi-bHi
	odd := (from-to)&1 != 0
	ahead, aft := func(d int) *int { return &s.ahead[d+s.zero] }, func(d int) *int { return &s.aft[d+s.zero] }
	*ahead(from), *aft(to) = aLo, aHi
	fLo, fHi, bwLo, bwHi := from, from, to, to
	for {
		if fLo > least {
			fLo--
			*ahead(fLo - 1) = -1
		} else {
			fLo++
		}
		if fHi < most {
			fHi++
			*ahead(fHi + 1) = -1
		} else {
			fHi--
		}
		for d := fHi; d >= fLo; d -= 2 {
			x := max(*ahead(d - 1)+1, *ahead(d + 1))
			y := x - d
			for x < aHi && y < bHi && s.a[x] == s.b[y] {
				x, y = x+1, y+1
				*s.budget--
			}
			*ahead(d) = x
			if odd && bwLo <= d && d <= bwHi && *aft(d) <= x {
				return x, y, true
			}
		}
		if bwLo > least {
			bwLo--
			*aft(bwLo - 1) = math.MaxInt
		} else {
			bwLo++
		}
		if bwHi < most {
			bwHi++
			*aft(bwHi + 1) = math.MaxInt
		} else {
			bwHi--
		}
		for d := bwHi; d >= bwLo; d -= 2 {
			x := min(*aft(d - 1), *aft(d + 1)-1)
			y := x - d
			for x > aLo && y > bLo && s.a[x-1] == s.b[y-1] {
				x, y = x-1, y-1
				*s.budget--
			}
			*aft(d) = x
			if !odd && fLo <= d && d <= fHi && x <= *ahead(d) {
				return x, y, true
			}
		}
		if *s.budget -= fHi - fLo + bwHi - bwLo + 2; *s.budget < 0 {
			return 0, 0, false
		}
	}
}

// numbered gives equal texts equal numbers.
func numbered(lists ...[]string) [][]int32 {
	seen := map[string]int32{}
	out := make([][]int32, len(lists))
	for i, list := range lists {
		out[i] = make([]int32, len(list))
		for j, text := range list {
			n, ok := seen[text]
			if !ok {
				n = int32(len(seen)) //nolint:gosec // fewer than the bytes of what is compared
				seen[text] = n
			}
			out[i][j] = n
		}
	}
	return out
}

// hunk is a piece of a text.
type hunk struct {
	op   byte // '=' is in both, '-' in the earlier alone, '+' in the later alone
	text string
}

// diffText compares two texts line by line, and word by word within what differs.
func diffText(a, b string, budget *int) []hunk {
	var h hunks
	walk(lines(a), lines(b), budget, h.add, func(gone, came []string) {
		was, is := strings.Join(gone, ""), strings.Join(came, "")
		if was == "" || is == "" {
			h.add('-', was)
			h.add('+', is)
			return
		}
		walk(tokens(was), tokens(is), budget, h.add, func(gone, came []string) {
			h.add('-', strings.Join(gone, ""))
			h.add('+', strings.Join(came, ""))
		})
	})
	return h.readable()
}

// walk goes through two sequences: what is the same goes to same, and each place
// where they differ to differs.
func walk(a, b []string, budget *int, same func(op byte, text string), differs func(gone, came []string)) {
	n := numbered(a, b)
	gone, came := compareSequences(n[0], n[1], budget)
	for i, j := 0, 0; i < len(a) || j < len(b); {
		iEnd, jEnd := i, j
		for iEnd < len(a) && gone[iEnd] {
			iEnd++
		}
		for jEnd < len(b) && came[jEnd] {
			jEnd++
		}
		if iEnd > i || jEnd > j {
			differs(a[i:iEnd], b[j:jEnd])
			i, j = iEnd, jEnd
			continue
		}
		for iEnd < len(a) && !gone[iEnd] && j+iEnd-i < len(b) && !came[j+iEnd-i] {
			iEnd++
		}
		same('=', strings.Join(a[i:iEnd], ""))
		i, j = iEnd, j+iEnd-i
	}
}

// hunks are built one after the other.
type hunks []hunk

// add puts a piece at the end; what is gone comes before what came in its place.
func (h *hunks) add(op byte, text string) {
	if text == "" {
		return
	}
	last := len(*h) - 1
	switch {
	case last >= 0 && (*h)[last].op == op:
		(*h)[last].text += text
	case last >= 0 && op == '-' && (*h)[last].op == '+':
		if last > 0 && (*h)[last-1].op == '-' {
			(*h)[last-1].text += text
		} else {
			*h = slices.Insert(*h, last, hunk{'-', text})
		}
	default:
		*h = append(*h, hunk{op, text})
	}
}

// readable joins changes between which nothing but white space is the same: a
// sentence that was rewritten is told as one.
func (h hunks) readable() []hunk {
	var out hunks
	for i, piece := range h {
		inside := i > 0 && i < len(h)-1 && piece.op == '=' && len(piece.text) < 8 && strings.TrimSpace(piece.text) == "" && !strings.Contains(piece.text, "\n")
		if inside {
			out.add('-', piece.text)
			out.add('+', piece.text)
		} else {
			out.add(piece.op, piece.text)
		}
	}
	return out
}

// lines splits a text behind its line ends.
func lines(text string) []string { return slices.Collect(strings.SplitAfterSeq(text, "\n")) }

// tokens splits a text into words, spaces and single other characters.
func tokens(text string) []string {
	var out []string
	for text != "" {
		r, size := utf8.DecodeRuneInString(text)
		class := classOf(r)
		for class != 0 && size < len(text) {
			next, n := utf8.DecodeRuneInString(text[size:])
			if classOf(next) != class {
				break
			}
			size += n
		}
		out = append(out, text[:size])
		text = text[size:]
	}
	return out
}

// classOf returns what characters make a token together, 0 for those that are one
// each: those of scripts without spaces too.
func classOf(r rune) int {
	switch {
	case r == '\n':
		return 0
	case unicode.IsSpace(r):
		return 1
	case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai):
		return 0
	case unicode.IsLetter(r), unicode.IsDigit(r), unicode.IsMark(r):
		return 2
	default:
		return 0
	}
}
