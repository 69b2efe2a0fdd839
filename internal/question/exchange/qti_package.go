package exchange

import (
	"archive/zip"
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/stoa-lms/stoa/internal/fault"
)

// readQTI reads an item of QTI, or a package of items: a zip file with a manifest.
func (r *reader) readQTI(in, bounded io.Reader) error {
	if at, ok := in.(io.ReaderAt); ok {
		if s, ok := in.(io.Seeker); ok {
			size, err := s.Seek(0, io.SeekEnd)
			if err != nil {
				return err
			}
			var head [4]byte
			if n, _ := at.ReadAt(head[:], 0); n == 4 && string(head[:]) == "PK\x03\x04" {
				if size > r.limits.Bytes {
					return ErrTooLarge
				}
				return r.readPackage(at, size)
			}
			if _, err := s.Seek(0, io.SeekStart); err != nil {
				return err
			}
		}
	}
	buf := bufio.NewReader(bounded)
	if head, _ := buf.Peek(4); string(head) == "PK\x03\x04" {
		data, err := io.ReadAll(buf)
		if err != nil {
			return err
		}
		return r.readPackage(bytes.NewReader(data), int64(len(data)))
	}
	x := newXML(buf, r.limits)
	x.rename = qtiNames
	d, err := parseItem(r.text, x, func(string) (File, bool) { return File{}, false })
	return r.take("item", d, err)
}

// parseItem reads the document of an item.
func parseItem(m *markup, x *xmlReader, find func(name string) (File, bool)) (*draft, error) {
	start, err := x.root()
	if err != nil {
		return newDraft(), err
	}
	n, err := x.element(start)
	if err != nil {
		return newDraft(), err
	}
	if n.name != "assessmentItem" {
		return newDraft(), refuse("qti.item", "It is no item, but <%s>.", shorten(n.name, 50))
	}
	return parseQTI(m, n, find)
}

// qtiNames gives the elements of QTI 3 the names that they had before.
func qtiNames(n *node) {
	name, ok := strings.CutPrefix(n.name, "qti-")
	if !ok {
		return
	}
	n.name = camel(name)
	n.attr = slices.Clone(n.attr)
	for i := range n.attr {
		n.attr[i].Name.Local = camel(n.attr[i].Name.Local)
	}
}

func camel(s string) string {
	parts := strings.Split(s, "-")
	for i, p := range parts {
		if i > 0 && p != "" {
			parts[i] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}

// pack is a package that is read.
type pack struct {
	files  map[string]*zip.File
	left   int64
	limits Limits
}

// openPackage looks at what a zip file says it has.
func openPackage(at io.ReaderAt, size int64, limits Limits) (*pack, error) {
	z, err := zip.NewReader(at, size)
	if errors.Is(err, zip.ErrInsecurePath) {
		return nil, ErrHostile
	}
	if err != nil {
		return nil, malformed("", "It is no zip file.")
	}
	if len(z.File) > limits.Files {
		return nil, ErrTooLarge
	}
	p := &pack{files: map[string]*zip.File{}, left: limits.Unpacked, limits: limits}
	var declared uint64
	for _, f := range z.File {
		name := f.Name
		if strings.HasSuffix(name, "/") {
			continue
		}
		if !fs.ValidPath(name) || strings.ContainsAny(name, "\\\x00:") || !f.Mode().IsRegular() || f.Flags&1 != 0 || p.files[name] != nil {
			return nil, ErrHostile
		}
		if f.UncompressedSize64 > uint64(limits.Unpacked) { //nolint:gosec // G115: above 0
			return nil, ErrTooLarge
		}
		if declared += f.UncompressedSize64; declared > uint64(limits.Unpacked) { //nolint:gosec // G115: above 0
			return nil, ErrTooLarge
		}
		p.files[name] = f
	}
	return p, nil
}

// open opens a file of the package, whatever size it says it has.
func (p *pack) open(name string) (io.ReadCloser, bool) {
	f := p.files[name]
	if f == nil {
		return nil, false
	}
	in, err := f.Open()
	if err != nil {
		return nil, false
	}
	return struct {
		io.Reader
		io.Closer
	}{&packed{p, in}, in}, true
}

// packed counts what is unpacked of all files together.
type packed struct {
	pack *pack
	in   io.Reader
}

func (f *packed) Read(b []byte) (int, error) {
	if f.pack.left <= 0 {
		return 0, ErrTooLarge
	}
	n, err := f.in.Read(b[:min(int64(len(b)), f.pack.left)])
	f.pack.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		err = malformed("", "A file of the package can't be unpacked.")
	}
	return n, err
}

// file reads a picture of the package.
func (p *pack) file(name string) (File, bool) {
	in, ok := p.open(name)
	if !ok {
		return File{}, false
	}
	defer func() { _ = in.Close() }() // it was read only
	data, err := io.ReadAll(io.LimitReader(in, p.limits.ItemBytes+1))
	return File{Name: path.Base(name), Data: data}, err == nil && int64(len(data)) <= p.limits.ItemBytes
}

const manifestFile = "imsmanifest.xml"

func (r *reader) readPackage(at io.ReaderAt, size int64) error {
	p, err := openPackage(at, size, r.limits)
	if err != nil {
		return err
	}
	in, ok := p.open(manifestFile)
	if !ok {
		return malformed(manifestFile, "The package has no manifest.")
	}
	limits := r.limits
	limits.Nodes *= 20 // it speaks of all items
	x := newXML(in, limits)
	start, err := x.root()
	var manifest *node
	if err == nil {
		manifest, err = x.element(start)
	}
	_ = in.Close() // it was read only
	if err != nil {
		return err
	}
	for _, res := range manifest.child("resources").all("resource") {
		kind, href := strings.ToLower(res.get("type")), res.get("href")
		switch {
		case strings.Contains(kind, "imsqti") && strings.Contains(kind, "item"):
			if err := r.readResource(p, res, path.Clean(href)); err != nil {
				return err
			}
		case strings.Contains(kind, "imsqti"):
			if err := r.take(shorten(href, 200), newDraft(), refuse("qti.resource", "A resource of the type %s is not read; its items are.", shorten(kind, 100))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reader) readResource(p *pack, res *node, href string) error {
	if err := r.next(); err != nil {
		return err
	}
	in, ok := p.open(href)
	if !ok {
		return r.take(shorten(href, 200), newDraft(), refuse("qti.missing", "The manifest names the item, and it is not in the package."))
	}
	defer func() { _ = in.Close() }() // it was read only
	x := newXML(in, r.limits)
	x.rename = qtiNames
	d, err := parseItem(r.text, x, func(name string) (File, bool) { return p.file(path.Join(path.Dir(href), name)) })
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Code == ErrMalformed.Code {
		// One item that can't be read leaves the others.
		err = refuse("qti.malformed", "The item is no XML that can be read.")
	}
	res.find(func(n *node) bool {
		switch n.name {
		case "keyword":
			if t := strings.TrimSpace(n.words()); t != "" {
				d.Tags = append(d.Tags, t)
			}
			return true
		case "taxonpath", "taxonPath":
			d.Category = nil
			n.find(func(t *node) bool {
				if t.name == "entry" {
					d.Category = append(d.Category, strings.TrimSpace(t.words()))
				}
				return t.name == "entry" || t.name == "source"
			})
			return true
		}
		return false
	})
	return r.take(shorten(href, 200), d, err)
}
