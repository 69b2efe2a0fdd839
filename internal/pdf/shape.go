package pdf

import (
	"slices"
	"strings"
	"unicode"

	"github.com/go-text/typesetting/di"
	"github.com/go-text/typesetting/language"
	"github.com/go-text/typesetting/shaping"
	"golang.org/x/image/math/fixed"
	"golang.org/x/text/unicode/bidi"
	"golang.org/x/text/unicode/norm"
)

// Clean returns text as it can be set on one line: normalised, with single
// spaces, without control characters and without those that change its direction.
func Clean(text string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		switch {
		case r == '\u200c' || r == '\u200d': // joiners are letters' own business
			return r
		case unicode.IsSpace(r) || r == '\u2028' || r == '\u2029':
			return ' '
		case unicode.Is(unicode.C, r) || r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, norm.NFC.String(text))), " ")
}

// printable leaves out what no font here has and belongs to no script, such as
// emoji. Letters are never left out: a script without a font is an error.
func (f *faces) printable(text string) (string, error) {
	var out strings.Builder
	script := language.Latin
	for _, r := range Clean(text) {
		own := language.LookupScript(r)
		letter := own != language.Common && own != language.Inherited && own != language.Unknown
		if letter {
			script = own
		}
		if f.find(r, script) != nil {
			out.WriteRune(r)
			continue
		}
		if joiner := r == '\u200c' || r == '\u200d'; joiner || !letter || !unicode.IsLetter(r) && !unicode.IsMark(r) {
			continue
		}
		name := scripts[own]
		if name == "" {
			name = symbols[0]
		}
		return "", &MissingFontError{own.String(), packageOf(name)}
	}
	return strings.Join(strings.Fields(out.String()), " "), nil
}

// direction is that of the first character that has one, else that of the
// document.
func direction(text string, document di.Direction) di.Direction {
	for _, r := range text {
		p, _ := bidi.LookupRune(r)
		switch p.Class() { //nolint:exhaustive // the others have none
		case bidi.L:
			return di.DirectionLTR
		case bidi.R, bidi.AL:
			return di.DirectionRTL
		}
	}
	return document
}

// shaped is a text as lines of glyphs.
type shaped struct {
	text  []rune
	lines []shaping.Line
	size  float64
	dir   di.Direction
}

// wordsFirst is down to which part of its size a text is made smaller before
// words are broken.
const wordsFirst = 0.6

// fit sets a text in as many lines of the width as it may have, smaller where it
// has to be, cut where even that does not do.
func (p *Page) fit(t Text, text string) shaped {
	runes := []rune(text)
	dir := direction(text, p.direction)
	for size := t.Size; ; size *= 0.92 {
		last := size <= t.MinSize
		if last {
			size = t.MinSize
		}
		runs := p.shape(runes, dir, size)
		config := shaping.WrapConfig{Direction: dir, BreakPolicy: shaping.Never}
		if size <= t.Size*wordsFirst || last {
			config.BreakPolicy = shaping.WhenNecessary
		}
		if last {
			config.TruncateAfterLines = t.MaxLines
			config.Truncator = p.shape([]rune("…"), dir, size)[0]
		}
		var wrapper shaping.LineWrapper
		lines, _ := wrapper.WrapParagraphF(config, toFixed(t.Width), runes, shaping.NewSliceIterator(runs))
		if last || len(lines) <= t.MaxLines && widest(lines) <= toFixed(t.Width) {
			return shaped{runes, lines, size, dir}
		}
	}
}

func (p *Page) shape(runes []rune, dir di.Direction, size float64) []shaping.Output {
	var split shaping.Segmenter
	inputs := split.Split(shaping.Input{
		Text: runes, RunEnd: len(runes), Direction: dir, Size: toFixed(size), Language: language.NewLanguage(p.meta.Language),
	}, p.faces)
	outs := make([]shaping.Output, len(inputs))
	for i, in := range inputs {
		outs[i] = p.shaper.Shape(in)
	}
	return outs
}

func widest(lines []shaping.Line) fixed.Int26_6 {
	var most fixed.Int26_6
	for _, l := range lines {
		most = max(most, width(l))
	}
	return most
}

func width(l shaping.Line) fixed.Int26_6 {
	var sum fixed.Int26_6
	for _, run := range l {
		sum += run.Advance
	}
	return sum
}

// placed is a run at its place on a line, in the order in which it is read.
type placed struct {
	shaping.Output
	x float64
}

// place puts the runs of a line beside each other as the Unicode Bidirectional
// Algorithm has them (its rule L2).
func place(l shaping.Line, text []rune, dir di.Direction) []placed {
	levels := make([]int, len(l))
	highest := 0
	for i, run := range l {
		switch {
		case run.Direction == di.DirectionRTL:
			levels[i] = 1
		case dir == di.DirectionRTL, i > 0 && levels[i-1] > 0 && !leftToRight(text[run.Runes.Offset:run.Runes.Offset+run.Runes.Count]):
			levels[i] = 2 // a number within what goes from right to left
		}
		highest = max(highest, levels[i])
	}
	seen := make([]int, len(l))
	for i := range seen {
		seen[i] = i
	}
	for level := highest; level > 0; level-- {
		for from := 0; from < len(seen); from++ {
			to := from
			for to < len(seen) && levels[seen[to]] >= level {
				to++
			}
			slices.Reverse(seen[from:to])
			from = max(from, to)
		}
	}
	runs := make([]placed, len(l))
	var x fixed.Int26_6
	for _, i := range seen {
		runs[i] = placed{l[i], fromFixed(x)}
		x += l[i].Advance
	}
	return runs
}

// leftToRight reports whether a text has a letter that goes from left to right.
func leftToRight(text []rune) bool {
	return slices.ContainsFunc(text, func(r rune) bool {
		p, _ := bidi.LookupRune(r)
		return p.Class() == bidi.L
	})
}

// cluster is what belongs together: some characters and their glyphs.
type cluster struct {
	text   string
	x      float64
	glyphs []shaping.Glyph
}

// maxCluster bounds the characters that a drawing tells: no script needs as many,
// and programs that read PDF take no more.
const maxCluster = 16

// clusters returns those of a run in the order in which they are read.
func (r placed) clusters(text []rune) []cluster {
	var out []cluster
	x := fixed.Int26_6(0)
	for i := 0; i < len(r.Glyphs); {
		first := r.Glyphs[i]
		n := i + 1
		for n < len(r.Glyphs) && r.Glyphs[n].TextIndex() == first.TextIndex() {
			n++
		}
		from := min(first.TextIndex(), len(text))
		c := cluster{string(text[from:min(from+min(first.RunesCount(), maxCluster), len(text))]), r.x + fromFixed(x), r.Glyphs[i:n]}
		for _, g := range c.glyphs {
			x += g.Advance
		}
		out = append(out, c)
		i = n
	}
	if r.Direction == di.DirectionRTL {
		slices.Reverse(out)
	}
	return out
}

func toFixed(v float64) fixed.Int26_6   { return fixed.Int26_6(v * 64) }
func fromFixed(v fixed.Int26_6) float64 { return float64(v) / 64 }
