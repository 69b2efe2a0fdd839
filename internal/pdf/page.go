// Package pdf makes documents of one page or some that everybody can read: with the text
// of any script shaped as it should be and broken into lines, and with tags, a
// language and alternative texts as PDF/UA-1 (ISO 14289-1) wants them, so that
// they can be read aloud and copied from.
//
// Glyphs are embedded as drawings (Type 3 fonts), only those that the page has.
// The same content makes the same bytes.
package pdf

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/go-text/typesetting/di"
	"github.com/go-text/typesetting/shaping"
)

// Meta is what is said of a document.
type Meta struct {
	Title    string
	Author   string
	Language string // a BCP 47 tag
	Created  time.Time
}

// Page is a page, made from top to bottom. It is for one goroutine.
type Page struct {
	meta          Meta
	width, height float64
	direction     di.Direction
	faces         *faces
	shaper        shaping.HarfbuzzShaper
	content       bytes.Buffer
	elements      []element // by their marks
	tables, rows  int       // how many were begun
	fonts         []*drawnFont
	drawn         map[drawnKey]*drawnGlyph
}

// element is a part of the page as it is read.
type element struct {
	role   string
	actual string
	alt    string
	link   string
	box    [4]float64
	table  int // the table and the row that it is a cell of; 0 for none
	row    int
}

// New returns an empty page of a size in points.
func New(fonts *Fonts, width, height float64, meta Meta) *Page {
	p := &Page{meta: meta, width: width, height: height, faces: fonts.faces(meta.Language), drawn: map[drawnKey]*drawnGlyph{}}
	if RightToLeft(meta.Language) {
		p.direction = di.DirectionRTL
	}
	p.meta.Title, p.meta.Author = Clean(meta.Title), Clean(meta.Author)
	return p
}

// RightToLeft reports whether a language is written from right to left.
func RightToLeft(lang string) bool {
	primary, rest, _ := strings.Cut(strings.ToLower(lang), "-")
	switch primary {
	case "ar", "he", "iw", "fa", "ur", "ps", "sd", "ug", "yi", "dv", "ckb", "syr":
		return !strings.Contains(rest, "latn")
	default:
		return strings.Contains(rest, "arab") || strings.Contains(rest, "hebr")
	}
}

// Align says where the lines of a text begin or end.
type Align int

// Where the lines of a text are: each in the middle, or all from a left or up to a
// right side.
const (
	Middle Align = iota
	Left
	Right
)

// Text is a paragraph, a heading or a cell of a table.
type Text struct {
	Role     string // "H1", "H2" or "P"; in a row of a table "TH" for a column's heading, or "TD"
	Text     string
	Size     float64 // of its letters
	MinSize  float64 // down to which it is made smaller to fit
	MaxLines int
	Align    Align
	X, Y     float64 // its top, in the middle or at the side of Align, from the left and from the bottom
	Width    float64
	Gray     float64 // 0 is black
	Link     string  // where it leads; empty for nowhere
}

// leading is the distance of lines as a multiple of the size of letters.
const leading = 1.35

// Text sets a text into its box and returns the height that it takes.
// One with nothing in it that can be printed takes none. A script for which
// there is no font is a [MissingFontError].
func (p *Page) Text(t Text) (float64, error) {
	text, err := p.faces.printable(t.Text)
	if err != nil || text == "" {
		return 0, err
	}
	s := p.fit(t, text)
	e := element{role: t.Role, actual: Clean(t.Text), link: t.Link}
	if t.Role == "TH" || t.Role == "TD" {
		e.table, e.row = p.tables, p.rows
	}
	p.begin(e)
	fmt.Fprintf(&p.content, "%s g BT\n", num(t.Gray))
	left, right := p.width, 0.0
	for i, line := range s.lines {
		w := fromFixed(width(line))
		x := t.X - w/2
		switch t.Align {
		case Left:
			x = t.X
		case Right:
			x = t.X - w
		case Middle:
		}
		left, right = min(left, x), max(right, x+w)
		y := t.Y - s.size*(1+leading*float64(i))
		for _, run := range place(line, s.text, s.dir) {
			for _, c := range run.clusters(s.text) {
				p.draw(run, c, x, y, s.size)
			}
		}
	}
	p.content.WriteString("ET\n")
	height := s.size * leading * float64(len(s.lines))
	p.elements[len(p.elements)-1].box = [4]float64{left, t.Y - height, right, t.Y}
	p.end()
	return height, nil
}

// draw puts a cluster onto the page as one drawing, which so tells its characters
// itself.
func (p *Page) draw(run placed, c cluster, x, y, size float64) {
	parts := make([]part, len(c.glyphs))
	scale := float64(run.Face.Upem()) / size
	advance := 0.0
	for i, g := range c.glyphs {
		parts[i] = part{g.GlyphID, round(scale * (advance + fromFixed(g.XOffset))), round(scale * fromFixed(g.YOffset))}
		advance += fromFixed(g.Advance)
	}
	x += c.x
	text := []rune(c.text)
	if run.Direction == di.DirectionRTL && len(text) > 1 {
		// Programs that copy text take the characters of a drawing from left to right
		// and then turn all of them. So each gets a place of its own, the last the
		// drawing's.
		advance /= float64(len(text))
		for ; len(text) > 1; text = text[1:] {
			p.put(p.glyph(run.Face, nil, string(text[0]), round(scale*advance)), x+advance*float64(len(text)-1), y, size)
		}
	}
	p.put(p.glyph(run.Face, parts, string(text), round(scale*advance)), x, y, size)
}

func (p *Page) put(g *drawnGlyph, x, y, size float64) {
	fmt.Fprintf(&p.content, "/%s %s Tf 1 0 0 1 %s %s Tm <%02x> Tj\n", g.font.name, num(size), num(x), num(y), g.code)
}

// Table begins a table: the cells that follow are of its rows.
func (p *Page) Table() { p.tables++ }

// Row begins a row of a table. Its cells are texts of the roles "TH" and "TD".
func (p *Page) Row() { p.rows++ }

// Squares draws a square picture of black and white squares, such as a QR code,
// with its lower left corner at x and y, and says in alt what it shows.
func (p *Page) Squares(alt string, x, y, size float64, n int, black func(column, row int) bool) {
	p.begin(element{role: "Figure", alt: Clean(alt), box: [4]float64{x, y, x + size, y + size}})
	p.content.WriteString("0 g\n")
	one := size / float64(n)
	for row := range n {
		for from := 0; from < n; from++ {
			if !black(from, row) {
				continue
			}
			to := from
			for to < n && black(to, row) {
				to++
			}
			fmt.Fprintf(&p.content, "%s %s %s %s re\n", num(x+float64(from)*one), num(y+size-float64(row+1)*one), num(float64(to-from)*one), num(one))
			from = to
		}
	}
	p.content.WriteString("f\n")
	p.end()
}

// Frame draws a line around the page, which is not read aloud.
func (p *Page) Frame(inset, thick, gray float64) {
	fmt.Fprintf(&p.content, "/Artifact BMC\n%s G %s w %s %s %s %s re S\nEMC\n",
		num(gray), num(thick), num(inset), num(inset), num(p.width-2*inset), num(p.height-2*inset))
}

// Rule draws a line from left to right, which is not read aloud.
func (p *Page) Rule(x, y, length float64) {
	fmt.Fprintf(&p.content, "/Artifact BMC\n0.4 G 0.6 w %s %s m %s %s l S\nEMC\n", num(x), num(y), num(x+length), num(y))
}

func (p *Page) begin(e element) {
	role := e.role
	if e.link != "" {
		role = "Link"
	}
	fmt.Fprintf(&p.content, "/%s <</MCID %d>> BDC\n", role, len(p.elements))
	p.elements = append(p.elements, e)
}

func (p *Page) end() { p.content.WriteString("EMC\n") }

func round(v float64) int { return int(math.Round(v)) }
