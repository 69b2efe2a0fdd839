// Package markdown makes HTML that is safe to put into any page of the Markdown
// that people write: CommonMark with tables, strike-through and task lists. Raw
// HTML in it is shown as the text it is, so that "List<String>" does not vanish.
package markdown

import (
	"bytes"
	"html"
	"regexp"

	"github.com/maypok86/otter/v2"
	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	goldmarkrenderer "github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/util"
)

// cacheBytes bounds the texts and the HTML that a process keeps.
const cacheBytes = 32 << 20

// Renderer makes sanitised HTML of Markdown. It keeps what it has made, by the
// text: wherever the text stands, its HTML is the same.
type Renderer struct {
	markdown goldmark.Markdown
	policy   *bluemonday.Policy
	cache    *otter.Cache[string, string]
}

// New returns a renderer that keeps at most 32 MiB.
func New() *Renderer {
	policy := bluemonday.UGCPolicy()
	// What task lists and highlighted code consist of.
	policy.AllowAttrs("type").Matching(regexp.MustCompile(`^checkbox$`)).OnElements("input")
	policy.AllowAttrs("checked", "disabled").Matching(regexp.MustCompile(`^$`)).OnElements("input")
	policy.AllowAttrs("class").Matching(regexp.MustCompile(`^language-[\w+#.-]{1,40}$`)).OnElements("code")
	return &Renderer{
		markdown: goldmark.New(
			goldmark.WithExtensions(
				extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute)),
				extension.Strikethrough, extension.TaskList,
			),
			goldmark.WithRendererOptions(goldmarkrenderer.WithNodeRenderers(util.Prioritized(htmlAsText{}, 1))),
		),
		policy: policy,
		cache: otter.Must(&otter.Options[string, string]{
			MaximumWeight: cacheBytes,
			Weigher:       func(text, html string) uint32 { return uint32(len(text) + len(html) + 100) }, //nolint:gosec // far below 4 GiB
		}),
	}
}

// Render returns Markdown as HTML that can be put into any page.
func (r *Renderer) Render(text string) string {
	if text == "" {
		return ""
	}
	if made, ok := r.cache.GetIfPresent(text); ok {
		return made
	}
	var buf bytes.Buffer
	if err := r.markdown.Convert([]byte(text), &buf); err != nil {
		// A buffer takes everything, so this does not happen; the text is still
		// better than nothing.
		return "<p>" + html.EscapeString(text) + "</p>\n"
	}
	made := r.policy.Sanitize(buf.String())
	r.cache.Set(text, made)
	return made
}

// htmlAsText shows raw HTML as the text that it is.
type htmlAsText struct{}

// RegisterFuncs implements the node renderer of goldmark.
func (h htmlAsText) RegisterFuncs(reg goldmarkrenderer.NodeRendererFuncRegisterer) {
	reg.Register(ast.KindHTMLBlock, h.block)
	reg.Register(ast.KindRawHTML, h.inline)
}

func (htmlAsText) block(w util.BufWriter, source []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	var text []byte
	for i := range n.Lines().Len() {
		line := n.Lines().At(i)
		text = append(text, line.Value(source)...)
	}
	if b, ok := n.(*ast.HTMLBlock); ok && b.HasClosure() {
		text = append(text, b.ClosureLine.Value(source)...)
	}
	// The buffer keeps its error for its end.
	_, _ = w.WriteString("<p>")
	_, _ = w.Write(util.EscapeHTML(bytes.TrimSpace(text)))
	_, _ = w.WriteString("</p>\n")
	return ast.WalkContinue, nil
}

func (htmlAsText) inline(w util.BufWriter, source []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if raw, ok := n.(*ast.RawHTML); ok && entering {
		for i := range raw.Segments.Len() {
			segment := raw.Segments.At(i)
			_, _ = w.Write(util.EscapeHTML(segment.Value(source)))
		}
	}
	return ast.WalkSkipChildren, nil
}
