package exchange

import (
	"encoding/base64"
	"fmt"
	"html"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/JohannesKaufmann/html-to-markdown/v2/converter"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/base"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/commonmark"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/strikethrough"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/table"
	nethtml "golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stoa-lms/stoa/internal/markdown"
)

// markup turns HTML into Markdown and back.
type markup struct {
	render  *markdown.Renderer
	convert *converter.Converter
}

func newMarkup() *markup {
	return &markup{
		render:  markdown.New(),
		convert: converter.NewConverter(converter.WithPlugins(base.NewBasePlugin(), commonmark.NewCommonmarkPlugin(), table.NewTablePlugin(), strikethrough.NewStrikethroughPlugin())),
	}
}

// simple is a text that is the same in Markdown and in HTML, and that no two
// programs write in different ways.
var simple = regexp.MustCompile(`^\pL(?:[\pL\pN ,;:?%.()/=-]*[\pL\pN,;:?%.()])?$`)

// source begins a comment with the Markdown that HTML was made of.
const source = "stoa:"

var sourceComment = regexp.MustCompile(`^\s*<!--stoa:([A-Za-z0-9+/=]*)-->`)

// kept holds pieces of a text that must not be touched, each as a token that means
// nothing to Markdown and HTML.
type kept struct{ list []string }

func (k *kept) put(s string) string {
	k.list = append(k.list, s)
	return fmt.Sprintf("\uE100%d\uE101", len(k.list)-1)
}

var token = regexp.MustCompile("\uE100([0-9]+)\uE101")

func (k *kept) back(s string, f func(string) string) string {
	return token.ReplaceAllStringFunc(s, func(t string) string {
		n, err := strconv.Atoi(strings.Trim(t, "\uE100\uE101"))
		if err != nil || n >= len(k.list) {
			return ""
		}
		return f(k.list[n])
	})
}

// clean takes out of a text what tokens are made of, and what no XML has.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == 0xE100 || c == 0xE101, c < ' ' && c != '\n' && c != '\t', c == 0xFFFE, c == 0xFFFF, c == 0xF002:
			return -1
		}
		return c
	}, strings.ReplaceAll(s, "\r\n", "\n"))
}

// untouched are marks of variables and gaps.
var untouched = regexp.MustCompile(`\{=[^{}\n]*\}|\{[A-Za-z][A-Za-z0-9_]*\}|\[\[[A-Za-z0-9_-]{1,40}\]\]`)

// html returns Markdown as HTML whose formulas stand in \( \) and \[ \]. In it are the
// marks of variables and gaps as they are.
func (m *markup) html(md string) string {
	if simple.MatchString(md) {
		return "<p>" + md + "</p>"
	}
	out := m.plainHTML(md)
	if back, _ := m.fromHTML(out); back != md {
		out = "<!--" + source + base64.StdEncoding.EncodeToString([]byte(md)) + "-->" + out
	}
	return out
}

func (m *markup) plainHTML(md string) string {
	k := &kept{}
	text := eachOutsideCode(clean(md), func(s string) string {
		s = replaceMath(s, func(formula string, block bool) string {
			if block {
				return k.put(`\[` + formula + `\]`)
			}
			return k.put(`\(` + formula + `\)`)
		})
		return untouched.ReplaceAllStringFunc(s, k.put)
	})
	return k.back(strings.TrimSpace(m.render.Render(text)), html.EscapeString)
}

// eachOutsideCode rewrites what of Markdown is not code.
func eachOutsideCode(md string, f func(string) string) string {
	var out strings.Builder
	from := 0
	for i := 0; i < len(md); {
		switch md[i] {
		case '\\':
			i += 2
			continue
		case '`':
			n := i
			for n < len(md) && md[n] == '`' {
				n++
			}
			end := closing(md, n, n-i)
			if end < 0 {
				i = n
				continue
			}
			out.WriteString(f(md[from:i]))
			out.WriteString(md[i:end])
			i, from = end, end
			continue
		}
		i++
	}
	out.WriteString(f(md[from:]))
	return out.String()
}

// closing returns the end of the run of just n backticks that follows.
func closing(md string, from, n int) int {
	for i := from; i < len(md); i++ {
		if md[i] != '`' {
			continue
		}
		end := i
		for end < len(md) && md[end] == '`' {
			end++
		}
		if end-i == n {
			return end
		}
		i = end
	}
	return -1
}

// replaceMath rewrites the formulas of Markdown: $$…$$, and $…$ without a space within
// and a digit behind.
func replaceMath(s string, f func(formula string, block bool) string) string {
	if !strings.Contains(s, "$") {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); {
		if s[i] == '\\' && i+1 < len(s) {
			out.WriteString(s[i : i+2])
			i += 2
			continue
		}
		if s[i] != '$' {
			out.WriteByte(s[i])
			i++
			continue
		}
		n := 1
		if strings.HasPrefix(s[i:], "$$") {
			n = 2
		}
		end := formulaEnd(s[i+n:], n)
		if end < 0 {
			out.WriteString(s[i : i+n])
			i += n
			continue
		}
		out.WriteString(f(s[i+n:i+n+end], n == 2))
		i += 2*n + end
	}
	return out.String()
}

func formulaEnd(s string, n int) int {
	if s == "" || n == 1 && strings.ContainsAny(s[:1], " \n\t$") {
		return -1
	}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case strings.HasPrefix(s[i:], "\n\n"):
			return -1
		case n == 2 && i > 0 && strings.HasPrefix(s[i:], "$$"):
			return i
		case n == 1 && s[i] == '$':
			if i == 0 || strings.ContainsAny(s[i-1:i], " \n\t") || i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9' {
				return -1
			}
			return i
		}
	}
	return -1
}

// fromHTML returns HTML as Markdown, and the elements that were taken out because a
// browser would run them or because Markdown has nothing for them.
func (m *markup) fromHTML(text string) (md string, removed []string) {
	if simple.MatchString(text) {
		return text, nil
	}
	if inner, ok := strings.CutPrefix(text, "<p>"); ok {
		if inner, ok = strings.CutSuffix(inner, "</p>"); ok && simple.MatchString(inner) {
			return inner, nil
		}
	}
	text = clean(text)
	if found := sourceComment.FindStringSubmatch(text); found != nil {
		was, err := base64.StdEncoding.DecodeString(found[1])
		text = text[len(found[0]):]
		if err == nil && m.means(string(was), text) {
			return string(was), nil
		}
	}
	return m.convertHTML(text)
}

// means reports whether Markdown still makes the HTML that it stands beside.
func (m *markup) means(md, text string) bool {
	made := m.plainHTML(md)
	if made == text {
		return true
	}
	a, _ := m.convertHTML(made)
	b, _ := m.convertHTML(text)
	return a == b
}

var leftOut = []string{"<script>", "<iframe>", "<object>", "<embed>", "<video>", "<audio>", "<form>", "<input>", "<svg>", "<canvas>", "<applet>", "<math>"}

func (m *markup) convertHTML(text string) (string, []string) {
	var removed []string
	if strings.Contains(text, "<math") {
		text = m.mathML(text, &removed)
	}
	safe, parts := markdown.Clean(text)
	for _, p := range parts {
		if slices.Contains(leftOut, p) && !slices.Contains(removed, p) {
			removed = append(removed, p)
		}
	}
	nodes, err := nethtml.ParseFragment(strings.NewReader(safe), &nethtml.Node{Type: nethtml.ElementNode, Data: "body", DataAtom: atom.Body})
	if err != nil {
		return "", append(removed, "<html>")
	}
	root := &nethtml.Node{Type: nethtml.DocumentNode}
	for _, n := range nodes {
		root.AppendChild(n)
	}
	k := &kept{}
	protect(root, k, &removed)
	md, err := m.convert.ConvertNode(root)
	if err != nil {
		return "", append(removed, "<html>")
	}
	return k.back(strings.TrimSpace(string(md)), func(s string) string { return s }), removed
}

var htmlMath = regexp.MustCompile(`(?s)\\\((.+?)\\\)|\\\[(.+?)\\\]|\$\$(.+?)\$\$`)

// protect puts what Markdown would change of the texts below a node into tokens.
func protect(n *nethtml.Node, k *kept, removed *[]string) {
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		switch {
		case c.Type == nethtml.TextNode:
			text := htmlMath.ReplaceAllStringFunc(c.Data, func(s string) string {
				inner := strings.TrimSpace(s[2 : len(s)-2])
				if strings.HasPrefix(s, `\(`) {
					return k.put("$" + inner + "$")
				}
				return k.put("$$" + inner + "$$")
			})
			text = untouched.ReplaceAllStringFunc(text, k.put)
			for strings.Contains(text, "$") {
				text = strings.Replace(text, "$", k.put(`\$`), 1)
			}
			c.Data = text
		case c.Type != nethtml.ElementNode || c.DataAtom == atom.Code || c.DataAtom == atom.Pre:
		case c.DataAtom == atom.Sub || c.DataAtom == atom.Sup:
			if text := strings.TrimSpace(textOf(c)); text != "" {
				sign := "_"
				if c.DataAtom == atom.Sup {
					sign = "^"
				}
				if *removed = append(*removed, "<"+c.Data+">"); len(*removed) > maxNotes {
					*removed = (*removed)[:maxNotes]
				}
				for c.FirstChild != nil {
					c.RemoveChild(c.FirstChild)
				}
				c.AppendChild(&nethtml.Node{Type: nethtml.TextNode, Data: k.put("$" + sign + "{" + strings.NewReplacer("$", "", "{", "", "}", "", `\`, "").Replace(text) + "}$")})
			}
		default:
			protect(c, k, removed)
		}
	}
}

func textOf(n *nethtml.Node) string {
	if n.Type == nethtml.TextNode {
		return n.Data
	}
	var out strings.Builder
	for c := range n.Descendants() {
		if c.Type == nethtml.TextNode {
			out.WriteString(c.Data)
		}
	}
	return out.String()
}

// mathML replaces formulas of MathML by the LaTeX that they carry, or by their text.
func (m *markup) mathML(text string, removed *[]string) string {
	nodes, err := nethtml.ParseFragment(strings.NewReader(text), &nethtml.Node{Type: nethtml.ElementNode, Data: "body", DataAtom: atom.Body})
	if err != nil {
		return text
	}
	var out strings.Builder
	var walk func(n *nethtml.Node)
	walk = func(n *nethtml.Node) {
		for c := n.FirstChild; c != nil; {
			next := c.NextSibling
			if c.Type == nethtml.ElementNode && c.Data == "math" {
				n.InsertBefore(&nethtml.Node{Type: nethtml.TextNode, Data: latexOf(c, removed)}, c)
				n.RemoveChild(c)
			} else {
				walk(c)
			}
			c = next
		}
	}
	for _, n := range nodes {
		root := &nethtml.Node{Type: nethtml.DocumentNode}
		root.AppendChild(n)
		walk(root)
		for c := root.FirstChild; c != nil; c = c.NextSibling {
			_ = nethtml.Render(&out, c) // a builder takes everything
		}
	}
	return out.String()
}

func latexOf(n *nethtml.Node, removed *[]string) string {
	left, right := `\(`, `\)`
	for _, a := range n.Attr {
		switch {
		case a.Key == "display" && a.Val == "block":
			left, right = `\[`, `\]`
		case a.Key == "alttext" && a.Val != "":
			return left + a.Val + right
		}
	}
	for c := range n.Descendants() {
		if c.Type == nethtml.ElementNode && c.Data == "annotation" && slices.ContainsFunc(c.Attr, func(a nethtml.Attribute) bool {
			return a.Key == "encoding" && strings.Contains(strings.ToLower(a.Val), "tex")
		}) {
			return left + strings.TrimSpace(textOf(c)) + right
		}
	}
	*removed = append(*removed, "<math>")
	return strings.Join(strings.Fields(textOf(n)), " ")
}

// plain returns the text of Markdown without its marks.
func (m *markup) plain(md string) string {
	if simple.MatchString(md) {
		return md
	}
	nodes, err := nethtml.ParseFragment(strings.NewReader(m.plainHTML(md)), &nethtml.Node{Type: nethtml.ElementNode, Data: "body", DataAtom: atom.Body})
	if err != nil {
		return md
	}
	var out strings.Builder
	for _, n := range nodes {
		out.WriteString(textOf(n))
		out.WriteByte(' ')
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

// escape returns Markdown that shows just a plain text, with its breaks of lines.
func escape(s string) string {
	if simple.MatchString(s) {
		return s
	}
	lines := strings.Split(strings.TrimSpace(clean(s)), "\n")
	for i, line := range lines {
		line = strings.TrimSpace(line)
		var out strings.Builder
		for j, c := range line {
			switch {
			case strings.ContainsRune("\\`*_[]<>$~|&", c), j == 0 && strings.ContainsRune("#+-=:", c):
				out.WriteByte('\\')
			case (c == '.' || c == ')') && j > 0 && strings.Trim(line[:j], "0123456789") == "":
				out.WriteByte('\\')
			}
			out.WriteRune(c)
		}
		lines[i] = out.String()
	}
	text := strings.Join(lines, "\\\n")
	return strings.ReplaceAll(strings.ReplaceAll(text, "\\\n\\\n", "\n\n"), "\n\n\\\n", "\n\n")
}

// picture is a picture in Markdown.
var picture = regexp.MustCompile(`(!\[(?:[^\]\\]|\\.)*\]\(\s*<?)([^)\s>]+)`)

// rewritePictures calls f with the address of each picture of Markdown.
func rewritePictures(md string, f func(address string) string) string {
	if !strings.Contains(md, "![") {
		return md
	}
	return picture.ReplaceAllStringFunc(md, func(s string) string {
		found := picture.FindStringSubmatch(s)
		return found[1] + f(found[2])
	})
}

// addressed returns Markdown whose pictures have the addresses that they have in the
// format: prefix and the file's name.
func (d *draft) addressed(md, prefix string) string {
	return rewritePictures(md, func(address string) string {
		mediaID, ok := strings.CutPrefix(address, "media:")
		if !ok {
			return address
		}
		for _, f := range d.Files {
			if f.ID == mediaID {
				return prefix + url.PathEscape(fileName(f))
			}
		}
		d.changed("picture.missing", "The picture %s is not there.", mediaID)
		return prefix + mediaID
	})
}

// named returns Markdown whose pictures have the ids of the files that they address.
func (d *draft) named(md, prefix string, find func(name string) (File, bool)) string {
	return rewritePictures(md, func(address string) string {
		if mediaID, ok := strings.CutPrefix(address, taken); ok {
			return "media:" + mediaID
		}
		name, ok := strings.CutPrefix(address, prefix)
		if u, err := url.Parse(address); !ok || err == nil && u.Scheme != "" {
			if ok || strings.HasPrefix(address, "http") {
				d.changed("picture.elsewhere", "The picture %s is on another server, and stays there.", shorten(address, 200))
			}
			return address
		}
		if plain, err := url.PathUnescape(name); err == nil {
			name = plain
		}
		f, ok := find(name)
		if !ok {
			d.changed("picture.missing", "The picture %s is not in the file.", shorten(name, 200))
			return address
		}
		return "media:" + d.file(f)
	})
}

// taken begins the address of a picture that was written into the text.
const taken = "stoa-taken/"

var dataPicture = regexp.MustCompile(`(?i)(src\s*=\s*["'])data:([^"']*)`)

// markdown returns HTML of a file as Markdown. prefix begins the addresses of its
// pictures, and find returns them by name.
func (d *draft) markdown(m *markup, text, prefix string, find func(name string) (File, bool)) string {
	if strings.Contains(text, "data:") {
		text = dataPicture.ReplaceAllStringFunc(text, func(s string) string {
			found := dataPicture.FindStringSubmatch(s)
			f, ok := dataFile(found[2])
			if !ok {
				d.changed("picture.missing", "A picture that is written into the text can't be read.")
				return found[1] + "missing"
			}
			return found[1] + taken + d.file(f)
		})
	}
	md, removed := m.fromHTML(text)
	for _, one := range removed {
		switch one {
		case "<sub>", "<sup>":
			d.changed("text.formula", "What stands above or below the line became a formula.")
		default:
			d.changed("text.removed", "%s was taken out of the text.", one)
		}
	}
	return d.named(md, prefix, find)
}

// file adds a file to a question, and returns its id.
func (d *draft) file(f File) string {
	f.ID = FileID(f.Data)
	if !slices.ContainsFunc(d.Files, func(o File) bool { return o.ID == f.ID }) {
		d.Files = append(d.Files, f)
	}
	return f.ID
}

func dataFile(text string) (File, bool) {
	kind, data, ok := strings.Cut(text, ",")
	kind, base, _ := strings.Cut(kind, ";")
	end, isImage := strings.CutPrefix(kind, "image/")
	if !ok || !isImage || base != "base64" {
		return File{}, false
	}
	if plain, err := url.PathUnescape(data); err == nil {
		data = plain
	}
	raw, err := base64.StdEncoding.DecodeString(data)
	return File{Name: "picture." + strings.Trim(end, "+xml"), Data: raw}, err == nil
}

// fileName returns the name that a file has in an export: that of its own, made one
// that no other has.
func fileName(f File) string {
	name := path.Base(strings.ReplaceAll(f.Name, `\`, "/"))
	name = strings.Map(func(c rune) rune {
		if c == '.' || c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			return c
		}
		return -1
	}, name)
	return f.ID + strings.ToLower(path.Ext(name))
}
