package pdf

import (
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/go-text/typesetting/font"
	"github.com/go-text/typesetting/font/opentype"
)

// drawnFont has up to 256 glyphs of a face.
type drawnFont struct {
	name   string
	face   *font.Face
	glyphs []*drawnGlyph
}

type drawnKey struct {
	face  *font.Face
	parts string
	text  string
}

// drawnGlyph is a drawing with the characters that it stands for: what looks the
// same and means another text is another one.
type drawnGlyph struct {
	font    *drawnFont
	code    int
	parts   []part
	text    string
	advance int
}

// part is a glyph at its place in a drawing, in units of its font.
type part struct {
	id   opentype.GID
	x, y int
}

// glyph returns a drawing of parts; one of none is not seen.
func (p *Page) glyph(face *font.Face, parts []part, text string, advance int) *drawnGlyph {
	key := drawnKey{face, fmt.Sprint(parts, advance), text}
	if g := p.drawn[key]; g != nil {
		return g
	}
	var in *drawnFont
	for _, f := range p.fonts {
		if f.face == face && len(f.glyphs) < 256 {
			in = f
		}
	}
	if in == nil {
		in = &drawnFont{name: "F" + strconv.Itoa(len(p.fonts)), face: face}
		p.fonts = append(p.fonts, in)
	}
	g := &drawnGlyph{in, len(in.glyphs), parts, text, advance}
	in.glyphs = append(in.glyphs, g)
	p.drawn[key] = g
	return g
}

// writer numbers objects and remembers where they are.
type writer struct {
	out     bytes.Buffer
	offsets []int
	pack    *zlib.Writer // a new one costs more than what it packs
}

// next reserves the number of an object.
func (w *writer) next() int {
	w.offsets = append(w.offsets, 0)
	return len(w.offsets)
}

func (w *writer) object(number int, body string) {
	w.offsets[number-1] = w.out.Len()
	fmt.Fprintf(&w.out, "%d 0 obj\n%s\nendobj\n", number, body)
}

func (w *writer) stream(number int, dict string, content []byte) {
	var packed bytes.Buffer
	w.pack.Reset(&packed)
	_, _ = w.pack.Write(content) // a buffer takes everything
	_ = w.pack.Close()
	w.object(number, fmt.Sprintf("<<%s/Filter/FlateDecode/Length %d>>\nstream\n%s\nendstream", dict, packed.Len(), packed.Bytes()))
}

// group is a table with its rows, or a row with its cells.
type group struct {
	id, number int
	rows       []*group
	cells      []string
}

func ref(number int) string { return strconv.Itoa(number) + " 0 R" }

// Bytes returns the document of the page alone.
func (p *Page) Bytes() []byte { return Bytes(p) }

// sheet is a page with the objects that it is written as.
type sheet struct {
	*Page
	number, stream int
}

// Bytes returns the document of pages, of which there is one at least. What is said of it
// is what is said of the first. All of it is in memory.
func Bytes(first *Page, others ...*Page) []byte {
	p := first
	w := &writer{pack: zlib.NewWriter(nil)}
	w.out.WriteString("%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
	catalog, pages, page, content, info, meta, root, document, parents := w.next(), w.next(), w.next(), w.next(), w.next(), w.next(), w.next(), w.next(), w.next()
	sheets := []sheet{{first, page, content}}
	for _, o := range others {
		sheets = append(sheets, sheet{o, w.next(), w.next()})
	}
	var kids, leaves, numbers strings.Builder
	linked := 0 // how many links there are
	var links strings.Builder
	for key, s := range sheets {
		fmt.Fprintf(&leaves, "%s ", ref(s.number))
		marks := w.sheet(s, key, len(sheets), pages, document, &kids, &links, &linked)
		fmt.Fprintf(&numbers, "%d[%s]", key, marks)
	}
	w.object(catalog, fmt.Sprintf("<</Type/Catalog/Pages %s/Lang %s/MarkInfo<</Marked true>>/StructTreeRoot %s/Metadata %s/ViewerPreferences<</DisplayDocTitle true%s>>>>",
		ref(pages), literal(p.meta.Language), ref(root), ref(meta), p.reading()))
	w.object(pages, fmt.Sprintf("<</Type/Pages/Kids[%s]/Count %d>>", strings.TrimSuffix(leaves.String(), " "), len(sheets)))
	created := p.meta.Created.UTC()
	w.object(info, fmt.Sprintf("<</Title %s/Author %s/Creator(Stoa)/Producer(Stoa)/CreationDate(%s)>>",
		text16(p.meta.Title), text16(p.meta.Author), created.Format("D:20060102150405Z")))
	// Not packed: programs look for it without reading PDF.
	xmp := p.xmp()
	w.object(meta, fmt.Sprintf("<</Type/Metadata/Subtype/XML/Length %d>>\nstream\n%s\nendstream", len(xmp), xmp))
	w.object(root, fmt.Sprintf("<</Type/StructTreeRoot/K %s/ParentTree %s/ParentTreeNextKey %d>>", ref(document), ref(parents), len(sheets)+linked))
	w.object(document, fmt.Sprintf("<</Type/StructElem/S/Document/P %s/K[%s]>>", ref(root), kids.String()))
	w.object(parents, fmt.Sprintf("<</Nums[%s%s]>>", numbers.String(), links.String()))

	at := w.out.Len()
	sum := sha256.Sum256(w.out.Bytes())
	fmt.Fprintf(&w.out, "xref\n0 %d\n0000000000 65535 f \n", len(w.offsets)+1)
	for _, offset := range w.offsets {
		fmt.Fprintf(&w.out, "%010d 00000 n \n", offset)
	}
	fmt.Fprintf(&w.out, "trailer\n<</Size %d/Root %s/Info %s/ID[<%x><%x>]>>\nstartxref\n%d\n%%%%EOF\n",
		len(w.offsets)+1, ref(catalog), ref(info), sum[:16], sum[:16], at)
	return w.out.Bytes()
}

// sheet writes a page with all that is on it, adds what is read of it to kids and its links
// to links, and returns its marks. key is its own in the tree of parents, in which links
// come behind all pages.
func (w *writer) sheet(s sheet, key, sheets, pages, document int, kids, links *strings.Builder, linked *int) string {
	var fonts strings.Builder
	for _, f := range s.fonts {
		n := w.next()
		fmt.Fprintf(&fonts, "/%s %s", f.name, ref(n))
		w.font(n, f)
	}
	var marks, annotations strings.Builder
	var tables []*group
	for mark, e := range s.elements {
		n := w.next()
		marked := n
		parent := document
		if e.table > 0 {
			if len(tables) == 0 || tables[len(tables)-1].id != e.table {
				tables = append(tables, &group{id: e.table, number: w.next()})
				fmt.Fprintf(kids, "%s ", ref(tables[len(tables)-1].number))
			}
			table := tables[len(tables)-1]
			if len(table.rows) == 0 || table.rows[len(table.rows)-1].id != e.row {
				table.rows = append(table.rows, &group{id: e.row, number: w.next()})
			}
			row := table.rows[len(table.rows)-1]
			row.cells = append(row.cells, ref(n))
			parent = row.number
		}
		kid := fmt.Sprintf("<</Type/StructElem/S/%s/P %s/Pg %s", e.role, ref(parent), ref(s.number))
		switch {
		case e.link != "":
			link, annotation := w.next(), w.next()
			marked = link
			number := sheets + *linked
			*linked++
			w.object(n, fmt.Sprintf("%s/K[%s]>>", kid, ref(link)))
			w.object(link, fmt.Sprintf("<</Type/StructElem/S/Link/P %s/Pg %s/K[%d <</Type/OBJR/Pg %s/Obj %s>>]>>", ref(n), ref(s.number), mark, ref(s.number), ref(annotation)))
			w.object(annotation, fmt.Sprintf("<</Type/Annot/Subtype/Link/Rect %s/Border[0 0 0]/F 4/StructParent %d/Contents %s/A<</S/URI/URI %s>>>>",
				box(e.box), number, text16(e.actual), literal(e.link)))
			fmt.Fprintf(&annotations, "%s ", ref(annotation))
			fmt.Fprintf(links, "%d %s ", number, ref(link))
		case e.alt != "":
			w.object(n, fmt.Sprintf("%s/Alt %s/A<</O/Layout/BBox%s/Placement/Block>>/K %d>>", kid, text16(e.alt), box(e.box), mark))
		case e.role == "TH":
			w.object(n, fmt.Sprintf("%s/ActualText %s/A<</O/Table/Scope/Column>>/K %d>>", kid, text16(e.actual), mark))
		default:
			w.object(n, fmt.Sprintf("%s/ActualText %s/K %d>>", kid, text16(e.actual), mark))
		}
		if e.table == 0 {
			fmt.Fprintf(kids, "%s ", ref(n))
		}
		fmt.Fprintf(&marks, "%s ", ref(marked))
	}
	for _, t := range tables {
		rows := make([]string, len(t.rows))
		for i, r := range t.rows {
			rows[i] = ref(r.number)
			w.object(r.number, fmt.Sprintf("<</Type/StructElem/S/TR/P %s/K[%s]>>", ref(t.number), strings.Join(r.cells, " ")))
		}
		w.object(t.number, fmt.Sprintf("<</Type/StructElem/S/Table/P %s/K[%s]>>", ref(document), strings.Join(rows, " ")))
	}
	w.object(s.number, fmt.Sprintf("<</Type/Page/Parent %s/MediaBox %s/Contents %s/StructParents %d/Tabs/S/Annots[%s]/Resources<</Font<<%s>>>>>>",
		ref(pages), box([4]float64{0, 0, s.width, s.height}), ref(s.stream), key, annotations.String(), fonts.String()))
	w.stream(s.stream, "", s.content.Bytes())
	return marks.String()
}

func (p *Page) reading() string {
	if RightToLeft(p.meta.Language) {
		return "/Direction/R2L"
	}
	return ""
}

// font writes a font of drawings.
func (w *writer) font(number int, f *drawnFont) {
	descriptor, unicode := w.next(), w.next()
	upem := float64(f.face.Upem())
	var procs, names, widths, mapped strings.Builder
	for i, g := range f.glyphs {
		n := w.next()
		w.stream(n, "", f.drawing(g))
		fmt.Fprintf(&procs, "/g%d %s", i, ref(n))
		fmt.Fprintf(&names, "/g%d", i)
		fmt.Fprintf(&widths, "%s ", num(float64(g.advance)))
		fmt.Fprintf(&mapped, "1 beginbfchar\n<%02x> <%s>\nendbfchar\n", i, hex16(g.text))
	}
	name := "Drawn" + f.name
	w.object(number, fmt.Sprintf("<</Type/Font/Subtype/Type3/Name/%s/FontBBox[0 0 0 0]/FontMatrix[%s 0 0 %s 0 0]/FirstChar 0/LastChar %d/Widths[%s]/Encoding<</Type/Encoding/Differences[0 %s]>>/CharProcs<<%s>>/Resources<<>>/FontDescriptor %s/ToUnicode %s>>",
		f.name, num6(1/upem), num6(1/upem), len(f.glyphs)-1, widths.String(), names.String(), procs.String(), ref(descriptor), ref(unicode)))
	w.object(descriptor, fmt.Sprintf("<</Type/FontDescriptor/FontName/%s/Flags 4/ItalicAngle 0>>", name))
	w.stream(unicode, "", []byte(`/CIDInit /ProcSet findresource begin
12 dict begin
begincmap
/CIDSystemInfo <</Registry (Adobe) /Ordering (UCS) /Supplement 0>> def
/CMapName /Adobe-Identity-UCS def
/CMapType 2 def
1 begincodespacerange
<00> <ff>
endcodespacerange
`+mapped.String()+`endcmap
CMapName currentdict /CMap defineresource pop
end
end
`))
}

// drawing is how a glyph is drawn, in units of its font.
func (f *drawnFont) drawing(g *drawnGlyph) []byte {
	var b bytes.Buffer
	var left, bottom, right, top float32
	for _, part := range g.parts {
		data, _ := f.face.GlyphData(part.id).(font.GlyphOutline) // what is none, as a space, draws nothing
		var at opentype.SegmentPoint
		open := false
		for _, s := range data.Segments {
			a := s.Args
			for i := range s.ArgsSlice() {
				a[i].Move(float32(part.x), float32(part.y))
				left, right, bottom, top = min(left, a[i].X), max(right, a[i].X), min(bottom, a[i].Y), max(top, a[i].Y)
			}
			switch s.Op {
			case opentype.SegmentOpMoveTo:
				if open {
					b.WriteString("h\n")
				}
				open = true
				b.WriteString(points(a[0]) + " m\n")
				at = a[0]
			case opentype.SegmentOpLineTo:
				b.WriteString(points(a[0]) + " l\n")
				at = a[0]
			case opentype.SegmentOpQuadTo:
				b.WriteString(points(between(at, a[0]), between(a[1], a[0]), a[1]) + " c\n")
				at = a[1]
			case opentype.SegmentOpCubeTo:
				b.WriteString(points(a[0], a[1], a[2]) + " c\n")
				at = a[2]
			}
		}
		if open {
			b.WriteString("h f\n")
		}
	}
	head := fmt.Sprintf("%d 0 %s %s %s %s d1\n", g.advance, num(float64(left)), num(float64(bottom)), num(float64(right)), num(float64(top)))
	return append([]byte(head), b.Bytes()...)
}

// between is two thirds of the way from a point to the control point of a
// quadratic curve, where a cubic one has its own.
func between(from, control opentype.SegmentPoint) opentype.SegmentPoint {
	return opentype.SegmentPoint{X: from.X + 2*(control.X-from.X)/3, Y: from.Y + 2*(control.Y-from.Y)/3}
}

func points(list ...opentype.SegmentPoint) string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = num(float64(p.X)) + " " + num(float64(p.Y))
	}
	return strings.Join(out, " ")
}

func (p *Page) xmp() string {
	esc := func(text string) string {
		var b strings.Builder
		_ = xml.EscapeText(&b, []byte(text)) // a builder takes everything
		return b.String()
	}
	return `<?xpacket begin="` + "\ufeff" + `" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:pdf="http://ns.adobe.com/pdf/1.3/" xmlns:pdfuaid="http://www.aiim.org/pdfua/ns/id/">
<pdfuaid:part>1</pdfuaid:part>
<dc:format>application/pdf</dc:format>
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">` + esc(p.meta.Title) + `</rdf:li></rdf:Alt></dc:title>
<dc:creator><rdf:Seq><rdf:li>` + esc(p.meta.Author) + `</rdf:li></rdf:Seq></dc:creator>
<dc:language><rdf:Bag><rdf:li>` + esc(p.meta.Language) + `</rdf:li></rdf:Bag></dc:language>
<xmp:CreateDate>` + p.meta.Created.UTC().Format("2006-01-02T15:04:05Z") + `</xmp:CreateDate>
<xmp:CreatorTool>Stoa</xmp:CreatorTool>
<pdf:Producer>Stoa</pdf:Producer>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>`
}

func box(b [4]float64) string {
	return "[" + num(b[0]) + " " + num(b[1]) + " " + num(b[2]) + " " + num(b[3]) + "]"
}

func num(v float64) string {
	return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(v, 'f', 2, 64), "0"), ".")
}

func num6(v float64) string { return strconv.FormatFloat(v, 'f', 8, 64) }

// text16 is a text of any characters.
func text16(text string) string { return "<feff" + hex16(text) + ">" }

func hex16(text string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(text)) {
		fmt.Fprintf(&b, "%04x", u)
	}
	return b.String()
}

// literal is a text of ASCII, such as an address.
func literal(text string) string {
	return "(" + strings.NewReplacer(`\`, `\\`, "(", `\(`, ")", `\)`, "\r", "", "\n", "").Replace(text) + ")"
}
