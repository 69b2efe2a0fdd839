package exchange

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// node is an element, or a text where it has no name.
type node struct {
	name string
	attr []xml.Attr
	kids []*node
	text string
}

// child returns the first element of a name in a node, nil where there is none.
func (n *node) child(name string) *node {
	if n == nil {
		return nil
	}
	for _, k := range n.kids {
		if k.name == name {
			return k
		}
	}
	return nil
}

// all returns the elements of a name in a node.
func (n *node) all(name string) []*node {
	var out []*node
	if n == nil {
		return nil
	}
	for _, k := range n.kids {
		if k.name == name {
			out = append(out, k)
		}
	}
	return out
}

// find calls f with the elements of some names at any depth, in their order. What is
// in one that f takes is not looked into.
func (n *node) find(f func(*node) bool) {
	if n == nil {
		return
	}
	for _, k := range n.kids {
		if k.name == "" || f(k) {
			continue
		}
		k.find(f)
	}
}

// words returns all text in a node.
func (n *node) words() string {
	if n == nil {
		return ""
	}
	if n.name == "" {
		return n.text
	}
	var b strings.Builder
	for _, k := range n.kids {
		b.WriteString(k.words())
	}
	return b.String()
}

// value returns the text of a child without white space at its ends.
func (n *node) value(name string) string { return strings.TrimSpace(n.child(name).words()) }

func (n *node) get(name string) string {
	if n == nil {
		return ""
	}
	for _, a := range n.attr {
		if a.Name.Local == name {
			return strings.TrimSpace(a.Value)
		}
	}
	return ""
}

// xmlReader reads elements one after another.
type xmlReader struct {
	dec    *xml.Decoder
	meter  *meter
	limits Limits
	// rename gives elements and attributes the names that readers know.
	rename func(n *node)
}

// meter ends a read of one thing that is too large, so that no token takes more
// memory than it may.
type meter struct {
	in   io.Reader
	left int64
	most int64
	over bool
}

func (m *meter) Read(p []byte) (int, error) {
	if m.left <= 0 {
		m.over = true
		return 0, ErrTooLarge
	}
	n, err := m.in.Read(p[:min(int64(len(p)), m.left)])
	m.left -= int64(n)
	return n, err
}

// begin has something begin that may be as large as anything.
func (m *meter) begin() { m.left = m.most }

func newXML(in io.Reader, limits Limits) *xmlReader {
	m := &meter{in: in, left: limits.ItemBytes, most: limits.ItemBytes}
	d := xml.NewDecoder(m)
	// Names of single characters, which many programs write; no document can add any.
	d.Entity = xml.HTMLEntity
	return &xmlReader{dec: d, meter: m, limits: limits}
}

// token returns the next token that counts.
func (x *xmlReader) token() (xml.Token, error) {
	for {
		t, err := x.dec.Token()
		switch {
		case x.meter.over:
			return nil, ErrTooLarge
		case errors.Is(err, io.EOF):
			return nil, io.EOF
		case err != nil:
			line, _ := x.dec.InputPos()
			if syntax, ok := errors.AsType[*xml.SyntaxError](err); ok {
				return nil, malformed(fmt.Sprintf("line %d", line), "%s.", syntax.Msg)
			}
			if strings.Contains(err.Error(), "xml:") {
				return nil, malformed(fmt.Sprintf("line %d", line), "It is no XML in UTF-8.")
			}
			return nil, err
		}
		switch t.(type) {
		case xml.Directive:
			return nil, ErrHostile
		case xml.ProcInst:
			continue
		}
		return t, nil
	}
}

// root returns the start of the document's element.
func (x *xmlReader) root() (xml.StartElement, error) {
	for {
		t, err := x.token()
		if errors.Is(err, io.EOF) {
			return xml.StartElement{}, malformed("line 1", "The file is empty.")
		}
		if err != nil {
			return xml.StartElement{}, err
		}
		if s, ok := t.(xml.StartElement); ok {
			return s, nil
		}
	}
}

// element returns the element that has begun.
func (x *xmlReader) element(start xml.StartElement) (*node, error) {
	left := x.limits.Nodes
	make1 := func(s xml.StartElement) (*node, error) {
		if left -= 1 + len(s.Attr); left < 0 {
			return nil, ErrTooLarge
		}
		n := &node{name: s.Name.Local, attr: s.Attr}
		if x.rename != nil {
			x.rename(n)
		}
		return n, nil
	}
	top, err := make1(start)
	if err != nil {
		return nil, err
	}
	stack := []*node{top}
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		t, err := x.token()
		if errors.Is(err, io.EOF) {
			line, _ := x.dec.InputPos()
			return nil, malformed(fmt.Sprintf("line %d", line), "The file ends in the middle.")
		}
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if len(stack) >= x.limits.Depth {
				return nil, ErrTooLarge
			}
			n, err := make1(t)
			if err != nil {
				return nil, err
			}
			at.kids = append(at.kids, n)
			stack = append(stack, n)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			if left--; left < 0 {
				return nil, ErrTooLarge
			}
			at.kids = append(at.kids, &node{text: string(t)})
		case xml.Comment:
			if bytes.HasPrefix(t, []byte(source)) {
				at.kids = append(at.kids, &node{name: "#comment", text: string(t)})
			}
		}
	}
	return top, nil
}

// xmlOut writes XML.
type xmlOut struct{ strings.Builder }

func escapeXML(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(clean(s))) // a builder takes everything
	return strings.NewReplacer("&#xA;", "\n", "&#x9;", "\t").Replace(b.String())
}

// open writes the start of an element; attributes are names and values in turn.
func (x *xmlOut) open(name string, attr ...string) {
	_ = x.WriteByte('<')
	_, _ = x.WriteString(name)
	for i := 0; i+1 < len(attr); i += 2 {
		fmt.Fprintf(x, ` %s="%s"`, attr[i], strings.ReplaceAll(escapeXML(attr[i+1]), "\n", "&#xA;"))
	}
	_ = x.WriteByte('>')
}

func (x *xmlOut) end(name string) { fmt.Fprintf(x, "</%s>", name) }

// el writes an element with a text.
func (x *xmlOut) el(name, text string, attr ...string) {
	x.open(name, attr...)
	_, _ = x.WriteString(escapeXML(text))
	x.end(name)
}
