package discovery

import (
	"bytes"
	"fmt"
	"html"
	"strings"
	"sync"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/util"
)

// markdown renders what teachers write. Raw HTML in it is shown as the text it
// is, so that "List<String>" does not vanish.
var markdown = goldmark.New(
	goldmark.WithExtensions(extension.GFM),
	goldmark.WithRendererOptions(renderer.WithNodeRenderers(util.Prioritized(rawAsText{}, 1))),
)

var sanitiser = sync.OnceValue(bluemonday.UGCPolicy)

// describe returns Markdown as HTML that is safe to show.
func describe(source string) (string, error) {
	var out bytes.Buffer
	if err := markdown.Convert([]byte(source), &out); err != nil {
		return "", fmt.Errorf("render description: %w", err)
	}
	return strings.TrimSpace(sanitiser().Sanitize(out.String())), nil
}

// rawAsText renders raw HTML with its markup escaped.
type rawAsText struct{}

// RegisterFuncs makes rawAsText a renderer of goldmark.
func (rawAsText) RegisterFuncs(r renderer.NodeRendererFuncRegisterer) {
	r.Register(ast.KindRawHTML, func(w util.BufWriter, source []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
		if raw, ok := n.(*ast.RawHTML); ok && entering {
			for i := range raw.Segments.Len() {
				s := raw.Segments.At(i)
				_, _ = w.WriteString(html.EscapeString(string(s.Value(source)))) // the buffer keeps its error for Flush
			}
		}
		return ast.WalkSkipChildren, nil
	})
	r.Register(ast.KindHTMLBlock, func(w util.BufWriter, source []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
		block, ok := n.(*ast.HTMLBlock)
		if !ok || !entering {
			return ast.WalkContinue, nil
		}
		var text strings.Builder
		for i := range block.Lines().Len() {
			s := block.Lines().At(i)
			text.Write(s.Value(source))
		}
		if block.HasClosure() {
			text.Write(block.ClosureLine.Value(source))
		}
		_, _ = w.WriteString("<p>" + html.EscapeString(strings.TrimSpace(text.String())) + "</p>\n")
		return ast.WalkContinue, nil
	})
}
