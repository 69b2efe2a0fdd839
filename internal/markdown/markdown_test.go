package markdown_test

import (
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/stoa-lms/stoa/internal/markdown"
)

func TestRender(t *testing.T) {
	t.Parallel()
	r := markdown.New()
	for text, want := range map[string]string{
		"":                              "",
		"plain & <simple>":              "<p>plain &amp; &lt;simple&gt;</p>\n",
		"~~gone~~":                      "<p><del>gone</del></p>\n",
		"- [ ] to do":                   "<ul>\n<li><input disabled=\"\" type=\"checkbox\"> to do</li>\n</ul>\n",
		"|a|b|\n|-|:-:|\n|1|2|":         "<table>\n<thead>\n<tr>\n<th>a</th>\n<th align=\"center\">b</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td>1</td>\n<td align=\"center\">2</td>\n</tr>\n</tbody>\n</table>\n",
		"```go\nx < y\n```":             "<pre><code class=\"language-go\">x &lt; y\n</code></pre>\n",
		"[a](https://example.org)":      "<p><a href=\"https://example.org\" rel=\"nofollow\">a</a></p>\n",
		"[a](javascript:alert(1))":      "<p>a</p>\n",
		"![a](data:text/html;x)":        "<p><img alt=\"a\"></p>\n",
		"a <b onclick=\"x()\">bold</b>": "<p>a &lt;b onclick=&#34;x()&#34;&gt;bold&lt;/b&gt;</p>\n",
		"<script>alert(1)</script>":     "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>\n",
		"<div>\n*x*\n</div>\n\n*y*":     "<p>&lt;div&gt;\n*x*\n&lt;/div&gt;</p>\n<p><em>y</em></p>\n",
		"<!-- hidden\n-->\n":            "<p>&lt;!-- hidden\n--&gt;</p>\n",
		"a List<String> x":              "<p>a List&lt;String&gt; x</p>\n",
		"[x](https://e.org \"t\")":      "<p><a href=\"https://e.org\" title=\"t\" rel=\"nofollow\">x</a></p>\n",
	} {
		for range 2 { // made, and kept
			if got := r.Render(text); got != want {
				t.Errorf("Render(%q) = %q, want %q", text, got, want)
			}
		}
	}
}

// FuzzRender holds that nothing which a browser runs comes out.
func FuzzRender(f *testing.F) {
	for _, seed := range []string{
		"<script>alert(1)</script>", "[a](JaVaScript:alert(1))", "<img src=x onerror=alert(1)>", "![x](x \"onerror=\")",
		"<a href=\"&#106;avascript:x\">", "```x\" onload=\"y\n```", "<svg><style>", "[x]: <javascript:x>\n[x]", "<http://a\">",
		"<svg/onload=alert(1)>", "![a](\"onerror=\"x)", "<!--><script>x</script>-->", "    <script>", "&lt;script&gt;", "|a|\n|-|\n|<script>|",
		"- [ ] <b>", "<?php x ?>", "<![CDATA[x]]>", "<div>\n\n<script>\n", "[a](java\tscript:alert(1))",
	} {
		f.Add(seed)
	}
	r := markdown.New()
	f.Fuzz(func(t *testing.T, text string) {
		z := html.NewTokenizer(strings.NewReader(r.Render(text)))
		for z.Next() != html.ErrorToken {
			token := z.Token()
			if token.Type != html.StartTagToken && token.Type != html.SelfClosingTagToken {
				continue
			}
			switch token.Data {
			case "script", "style", "iframe", "object", "embed", "svg", "math", "form", "base", "link", "meta":
				t.Fatalf("%q makes <%s>", text, token.Data)
			}
			for _, a := range token.Attr {
				value := strings.ToLower(strings.TrimSpace(a.Val))
				if strings.HasPrefix(a.Key, "on") || a.Key == "style" || strings.HasPrefix(value, "javascript:") || strings.HasPrefix(value, "data:") && a.Key != "alt" && a.Key != "title" {
					t.Fatalf("%q makes %s=%q", text, a.Key, a.Val)
				}
			}
		}
	})
}
