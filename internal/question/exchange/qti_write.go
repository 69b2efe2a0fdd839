package exchange

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	nethtml "golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	pb "github.com/stoa-lms/stoa/internal/question/questionpb"
)

// mediaFolder is where the pictures of a package are.
const mediaFolder = "media/"

// qtiCodec writes a package of QTI.
type qtiCodec struct {
	w       *writer
	version Format
	zip     *zip.Writer
	items   []qtiItem
	written map[string]bool // files
	current *draft
}

// qtiItem is what the manifest says of an item.
type qtiItem struct {
	href, title    string
	tags, category []string
	files          []string
}

func newQTICodec(w *writer, version Format) *qtiCodec {
	return &qtiCodec{w: w, version: version, written: map[string]bool{}}
}

func (c *qtiCodec) begin(out io.Writer) error {
	c.zip = zip.NewWriter(out)
	return nil
}

// create begins a file. All have the same time, so that the same questions make the
// same package.
func (c *qtiCodec) create(name string) (io.Writer, error) {
	return c.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)})
}

func (c *qtiCodec) write(_ io.Writer, d *draft, data []byte) error {
	item := qtiItem{href: fmt.Sprintf("item-%05d.xml", len(c.items)+1), title: d.Content.GetTitle(), tags: d.Tags, category: d.Category}
	for _, f := range d.Files {
		name := mediaFolder + fileName(f)
		if !bytes.Contains(data, []byte(fileName(f))) {
			continue
		}
		item.files = append(item.files, name)
		if c.written[name] {
			continue
		}
		c.written[name] = true
		out, err := c.create(name)
		if err != nil {
			return err
		}
		if _, err := out.Write(f.Data); err != nil {
			return err
		}
	}
	out, err := c.create(item.href)
	if err != nil {
		return err
	}
	c.items = append(c.items, item)
	_, err = out.Write(data)
	return err
}

// end writes the manifest, which speaks of all items.
func (c *qtiCodec) end(io.Writer) error {
	out, err := c.create(manifestFile)
	if err != nil {
		return err
	}
	kind := map[Format]string{QTI21: "imsqti_item_xmlv2p1", QTI22: "imsqti_item_xmlv2p2", QTI30: "imsqti_item_xmlv3p0"}[c.version]
	space := map[Format]string{
		QTI21: "http://www.imsglobal.org/xsd/imscp_v1p1", QTI22: "http://www.imsglobal.org/xsd/imscp_v1p1", QTI30: "http://www.imsglobal.org/xsd/qti/qtiv3p0/imscp_v1p1",
	}[c.version]
	x := &xmlOut{}
	_, _ = x.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
	x.open("manifest", "xmlns", space, "xmlns:imsmd", "http://ltsc.ieee.org/xsd/LOM", "identifier", "stoa-questions")
	x.open("metadata")
	x.el("schema", "QTI Package")
	x.el("schemaversion", map[Format]string{QTI21: "2.1", QTI22: "2.2", QTI30: "3.0.0"}[c.version])
	x.end("metadata")
	x.open("organizations")
	x.end("organizations")
	x.open("resources")
	files := map[string]bool{}
	for i, item := range c.items {
		x.open("resource", "identifier", fmt.Sprintf("item-%05d", i+1), "type", kind, "href", item.href)
		lom(x, item)
		x.open("file", "href", item.href)
		x.end("file")
		for _, f := range item.files {
			files[f] = true
			x.open("dependency", "identifierref", "file-"+strings.TrimSuffix(strings.TrimPrefix(f, mediaFolder), "."))
			x.end("dependency")
		}
		x.end("resource")
		if x.Len() > 1<<20 { // it is not kept for all items at once
			if _, err := io.WriteString(out, x.String()); err != nil {
				return err
			}
			x.Reset()
		}
	}
	for f := range files {
		x.open("resource", "identifier", "file-"+strings.TrimPrefix(f, mediaFolder), "type", "webcontent", "href", f)
		x.open("file", "href", f)
		x.end("file")
		x.end("resource")
	}
	x.end("resources")
	x.end("manifest")
	if _, err := io.WriteString(out, x.String()); err != nil {
		return err
	}
	return c.zip.Close()
}

// lom writes the tags and the category of an item as metadata of learning objects.
func lom(x *xmlOut, item qtiItem) {
	if len(item.tags)+len(item.category) == 0 {
		return
	}
	x.open("metadata")
	x.open("imsmd:lom")
	if len(item.tags) > 0 {
		x.open("imsmd:general")
		for _, t := range item.tags {
			x.open("imsmd:keyword")
			x.el("imsmd:string", t)
			x.end("imsmd:keyword")
		}
		x.end("imsmd:general")
	}
	if len(item.category) > 0 {
		x.open("imsmd:classification")
		x.open("imsmd:taxonPath")
		for _, name := range item.category {
			x.open("imsmd:taxon")
			x.open("imsmd:entry")
			x.el("imsmd:string", name)
			x.end("imsmd:entry")
			x.end("imsmd:taxon")
		}
		x.end("imsmd:taxonPath")
		x.end("imsmd:classification")
	}
	x.end("imsmd:lom")
	x.end("metadata")
}

func (c *qtiCodec) decode(data []byte) (*draft, error) {
	x := newXML(bytes.NewReader(data), DefaultLimits)
	x.rename = qtiNames
	was := c.current
	d, err := parseItem(c.w.text, x, func(name string) (File, bool) {
		for _, f := range was.Files {
			if mediaFolder+fileName(f) == name {
				return File{Name: f.Name, Data: f.Data}, true
			}
		}
		return File{}, false
	})
	// The manifest has them.
	d.Tags, d.Category = slices.Clone(was.Tags), trimmed(was.Category)
	return d, err
}

func trimmed(list []string) []string {
	var out []string
	for _, one := range list {
		out = append(out, strings.TrimSpace(one))
	}
	return out
}

// qtiOut writes an item.
type qtiOut struct {
	xmlOut
	*draft

	m       *markup
	q       *pb.QuestionContent
	version Format
}

// name returns the name that an element or attribute of QTI has in the version.
func (o *qtiOut) name(s string, element bool) string {
	if o.version != QTI30 {
		return s
	}
	var b strings.Builder
	if element {
		b.WriteString("qti-")
	}
	for _, c := range s {
		if unicode.IsUpper(c) {
			b.WriteByte('-')
			c = unicode.ToLower(c)
		}
		b.WriteRune(c)
	}
	return b.String()
}

// open writes the start of an element of QTI.
func (o *qtiOut) open(name string, attr ...string) {
	for i := 0; i < len(attr); i += 2 {
		if !strings.HasPrefix(attr[i], "xml") {
			attr[i] = o.name(attr[i], false)
		}
	}
	o.xmlOut.open(o.name(name, true), attr...)
}

func (o *qtiOut) end(name string) { o.xmlOut.end(o.name(name, true)) }

func (o *qtiOut) el(name, text string, attr ...string) {
	o.open(name, attr...)
	_, _ = o.WriteString(escapeXML(text))
	o.end(name)
}

// flow writes Markdown as XHTML.
func (o *qtiOut) flow(md string) { _, _ = o.WriteString(xhtml(o.m.html(o.addressed(md, mediaFolder)))) }

func xhtml(text string) string {
	nodes, err := nethtml.ParseFragment(strings.NewReader(text), &nethtml.Node{Type: nethtml.ElementNode, Data: "body", DataAtom: atom.Body})
	if err != nil {
		return escapeXML(text)
	}
	var b strings.Builder
	for _, n := range nodes {
		_ = nethtml.Render(&b, n) // a builder takes everything
	}
	return b.String()
}

// correct writes the right response.
func (o *qtiOut) correct(values ...string) {
	if len(values) == 0 {
		return
	}
	o.open("correctResponse")
	for _, v := range values {
		o.el("value", v)
	}
	o.end("correctResponse")
}

// mapping writes what responses give.
func (o *qtiOut) mapping(fallback string, entries []mapEntry, text bool) {
	o.open("mapping", "defaultValue", fallback)
	for _, e := range entries {
		attr := []string{"mapKey", e.key, "mappedValue", e.value}
		if text {
			attr = append(attr, "caseSensitive", fmt.Sprint(e.sensitive))
		}
		o.open("mapEntry", attr...)
		o.end("mapEntry")
	}
	o.end("mapping")
}

func (c *qtiCodec) encode(d *draft) ([]byte, error) {
	c.current = d
	o := &qtiOut{draft: d, m: c.w.text, q: d.Content, version: c.version}
	if o.q.GetVariables() != nil {
		return nil, refuse("format.variables", "Questions with variables are not written as QTI.")
	}
	_, _ = o.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
	attr := []string{
		"xmlns", map[Format]string{QTI21: "http://www.imsglobal.org/xsd/imsqti_v2p1", QTI22: "http://www.imsglobal.org/xsd/imsqti_v2p2", QTI30: "http://www.imsglobal.org/xsd/imsqtiasi_v3p0"}[c.version],
		"identifier", fmt.Sprintf("item-%05d", len(c.items)+1), "title", o.q.GetTitle(), "adaptive", "false", "timeDependent", "false", "toolName", tool,
	}
	if o.q.GetLanguage() != "" {
		attr = append(attr, "xml:lang", o.q.GetLanguage())
	}
	o.open("assessmentItem", attr...)
	if err := o.item(); err != nil {
		return nil, err
	}
	o.end("assessmentItem")
	return []byte(o.String()), nil
}

// outcomes declares the score and what is told.
func (o *qtiOut) outcomes() {
	o.open("outcomeDeclaration", "identifier", "SCORE", "cardinality", "single", "baseType", "float")
	o.end("outcomeDeclaration")
	o.open("outcomeDeclaration", "identifier", "MAXSCORE", "cardinality", "single", "baseType", "float")
	o.open("defaultValue")
	o.el("value", o.q.GetPoints())
	o.end("defaultValue")
	o.end("outcomeDeclaration")
	if o.q.GetBlanks() != nil {
		o.open("outcomeDeclaration", "identifier", "SUM", "cardinality", "single", "baseType", "float")
		o.end("outcomeDeclaration")
	}
	if o.told() {
		for _, name := range []string{"FEEDBACK", "FEEDBACK_GENERAL"} {
			o.open("outcomeDeclaration", "identifier", name, "cardinality", "single", "baseType", "identifier")
			o.end("outcomeDeclaration")
		}
	}
}

func (o *qtiOut) told() bool {
	return o.q.GetGeneralFeedback()+o.q.GetRightFeedback()+o.q.GetPartlyFeedback()+o.q.GetWrongFeedback() != ""
}

// set writes what sets an outcome.
func (o *qtiOut) set(identifier string, value func()) {
	o.open("setOutcomeValue", "identifier", identifier)
	value()
	o.end("setOutcomeValue")
}

func (o *qtiOut) float(text string) { o.el("baseValue", text, "baseType", "float") }

// processing writes how it is scored, and what is told.
func (o *qtiOut) processing(score func()) {
	o.open("responseProcessing")
	if score != nil {
		score()
	}
	if o.told() {
		o.set("FEEDBACK_GENERAL", func() { o.el("baseValue", "general", "baseType", "identifier") })
		o.open("responseCondition")
		for _, one := range [][3]string{{"responseIf", "gte", "correct"}, {"responseElseIf", "gt", "partial"}} {
			o.open(one[0])
			o.open(one[1])
			o.variable("SCORE")
			if one[1] == "gte" {
				o.variable("MAXSCORE")
			} else {
				o.float("0")
			}
			o.end(one[1])
			o.set("FEEDBACK", func() { o.el("baseValue", one[2], "baseType", "identifier") })
			o.end(one[0])
		}
		o.open("responseElse")
		o.set("FEEDBACK", func() { o.el("baseValue", "incorrect", "baseType", "identifier") })
		o.end("responseElse")
		o.end("responseCondition")
	}
	o.end("responseProcessing")
	for _, one := range [][3]string{
		{"FEEDBACK_GENERAL", "general", o.q.GetGeneralFeedback()},
		{"FEEDBACK", "correct", o.q.GetRightFeedback()},
		{"FEEDBACK", "partial", o.q.GetPartlyFeedback()},
		{"FEEDBACK", "incorrect", o.q.GetWrongFeedback()},
	} {
		if one[2] == "" {
			continue
		}
		o.open("modalFeedback", "outcomeIdentifier", one[0], "identifier", one[1], "showHide", "show")
		if o.version == QTI30 {
			o.open("contentBody")
		}
		_, _ = o.WriteString("<div>")
		o.flow(one[2])
		_, _ = o.WriteString("</div>")
		if o.version == QTI30 {
			o.end("contentBody")
		}
		o.end("modalFeedback")
	}
}

func (o *qtiOut) variable(id string) {
	o.open("variable", "identifier", id)
	o.end("variable")
}

// matched scores all or nothing.
func (o *qtiOut) matched() {
	o.open("responseCondition")
	o.open("responseIf")
	o.open("match")
	o.variable("RESPONSE")
	o.open("correct", "identifier", "RESPONSE")
	o.end("correct")
	o.end("match")
	o.set("SCORE", func() { o.variable("MAXSCORE") })
	o.end("responseIf")
	o.open("responseElse")
	o.set("SCORE", func() { o.float("0") })
	o.end("responseElse")
	o.end("responseCondition")
}

// mapped scores by the mapping, of which all is 1.
func (o *qtiOut) mapped() {
	o.set("SCORE", func() {
		o.open("product")
		o.open("mapResponse", "identifier", "RESPONSE")
		o.end("mapResponse")
		o.float(o.q.GetPoints())
		o.end("product")
	})
}
