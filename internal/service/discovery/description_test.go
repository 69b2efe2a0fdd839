package discovery

import (
	"strings"
	"testing"

	"golang.org/x/net/html"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                         "",
		"a < b & c":                "<p>a &lt; b &amp; c</p>",
		"**b** ~~s~~":              "<p><strong>b</strong> <del>s</del></p>",
		"a List<String> x":         "<p>a List&lt;String&gt; x</p>",
		"<b>x</b>":                 "<p>&lt;b&gt;x&lt;/b&gt;</p>",
		"<div onclick=\"x()\">\n":  "<p>&lt;div onclick=&#34;x()&#34;&gt;</p>",
		"<!-- a\n\nb -->":          "<p>&lt;!-- a\n\nb --&gt;</p>",
		"[x](javascript:alert(1))": "<p>x</p>",
		"[x](https://e.org \"t\")": `<p><a href="https://e.org" title="t" rel="nofollow">x</a></p>`,
		"![x](data:text/html;x)":   `<p><img alt="x"></p>`,
	} {
		got, err := describe(in)
		if err != nil || got != want {
			t.Errorf("describe(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	table, err := describe("|a|b|\n|-|-|\n|1|2|")
	if err != nil || !strings.Contains(table, "<table>") {
		t.Errorf("a table: %q, %v", table, err)
	}
}

// dangerous returns what in a piece of HTML could run or load something, "" when
// nothing could. It reads as a browser does.
func dangerous(text string) string {
	never := map[string]bool{
		"script": true, "iframe": true, "object": true, "embed": true, "style": true, "svg": true, "math": true,
		"form": true, "base": true, "meta": true, "link": true, "input": true, "template": true, "noscript": true,
	}
	for z := html.NewTokenizer(strings.NewReader(text)); z.Next() != html.ErrorToken; {
		token := z.Token()
		if token.Type != html.StartTagToken && token.Type != html.SelfClosingTagToken {
			continue
		}
		if never[token.Data] {
			return token.String()
		}
		for _, a := range token.Attr {
			scheme, _, found := strings.Cut(strings.ToLower(strings.TrimSpace(a.Val)), ":")
			opens := a.Key == "href" || a.Key == "src"
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" ||
				opens && found && !strings.ContainsAny(scheme, "/?#") && scheme != "http" && scheme != "https" && scheme != "mailto" {
				return token.String()
			}
		}
	}
	return ""
}

func FuzzDescribe(f *testing.F) {
	for _, s := range []string{
		"# x", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[a](java\tscript:alert(1))", "<a href=\"javascript:x\">",
		"<svg/onload=alert(1)>", "![a](\"onerror=\"x)", "[a]: javascript:x\n[a]", "<!--><script>x</script>-->", "`<script>`", "    <script>", "&lt;script&gt;", "<https://x.y/\"onclick=x>",
		"|a|\n|-|\n|<script>|", "- [ ] <b>", "<?php x ?>", "<![CDATA[x]]>", "<div>\n\n<script>\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out, err := describe(s)
		if err != nil {
			t.Fatal(err)
		}
		if m := dangerous(out); m != "" {
			t.Errorf("describe(%q) = %q has %q", s, out, m)
		}
	})
}
