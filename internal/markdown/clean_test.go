package markdown_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/stoa-lms/stoa/internal/markdown"
)

func TestClean(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		clean   string
		removed []string
	}{
		"<p>plain</p>":                                       {"<p>plain</p>", nil},
		"<p onclick=\"x()\" lang=\"de\">a</p>":               {"<p lang=\"de\">a</p>", []string{"onclick of <p>"}},
		"a<script>alert(1)</script>b":                        {"ab", []string{"<script>"}},
		"<a href=\"javascript:x()\">a</a>":                   {"a", []string{"<a>", "href of <a>"}},
		"<a href=\"https://example.org\">a</a>":              {"<a href=\"https://example.org\" rel=\"nofollow noreferrer\">a</a>", nil},
		"<iframe src=\"https://e.org\"></iframe>":            {"", []string{"<iframe>", "src of <iframe>"}},
		"<p style=\"position:fixed\" id=\"x\">a</p>":         {"<p>a</p>", []string{"style of <p>", "id of <p>"}},
		"<form action=/x><input name=a></form>":              {"", []string{"<form>", "action of <form>", "<input>", "name of <input>"}},
		"<svg><script>alert(1)</script></svg>":               {"", []string{"<svg>", "<script>"}},
		"a<!-- c -->b":                                       {"ab", []string{"<!-- -->"}},
		"<details open=\"\"><summary>s</summary>t</details>": {"<details open=\"\"><summary>s</summary>t</details>", nil},
	} {
		clean, removed := markdown.Clean(text)
		if d := cmp.Diff(want.clean, clean); d != "" {
			t.Errorf("Clean(%q) (-want +got):\n%s", text, d)
		}
		if d := cmp.Diff(want.removed, removed); d != "" {
			t.Errorf("Clean(%q) has removed (-want +got):\n%s", text, d)
		}
	}
}

// FuzzClean holds that nothing which a browser runs is left of any HTML, and that
// what is clean is left alone.
func FuzzClean(f *testing.F) {
	for _, seed := range []string{
		"<p>a</p>", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<a href='jAvAsCrIpT:alert(1)'>a</a>", "<a href=\"java\tscript:x\">a</a>",
		"<svg><style><img src=x onerror=y>", "<math><mtext><table><mglyph><style><img src=x onerror=y>", "<noscript><p title=\"</noscript><img src=x onerror=y>\">",
		"<iframe srcdoc='<script>x</script>'>", "<object data=x>", "<base href=x>", "<meta http-equiv=refresh content='0;url=javascript:x'>", "<p style='x:expression(y)'>",
		"<scr<script>ipt>x</scr</script>ipt>", "<a href='data:text/html,<script>x</script>'>", "<!--><script>x</script>-->", "<textarea><script>x</script>", "&lt;script&gt;", "<table><tr><td><a href=&#106;avascript:x>",
		"<template><script>x</script></template>", "<p \x00onclick=x>", "<img src=`x` onerror=y>", "<xmp><script>", "<plaintext><script>",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		clean, removed := markdown.Clean(text)
		if len(removed) > 50 {
			t.Errorf("%d parts removed", len(removed))
		}
		if again := markdown.Sanitize(clean); again != clean {
			t.Errorf("%q is cleaned to %q, and that to %q", text, clean, again)
		}
		root, err := html.Parse(strings.NewReader(clean))
		if err != nil {
			t.Fatal(err)
		}
		for n := range root.Descendants() {
			if n.Type != html.ElementNode {
				continue
			}
			if slices.Contains([]string{"script", "style", "iframe", "object", "embed", "svg", "math", "form", "input", "base", "meta", "link", "template", "textarea", "noscript", "button"}, n.Data) {
				t.Errorf("%q leaves <%s>: %q", text, n.Data, clean)
			}
			for _, a := range n.Attr {
				if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "id" || a.Key == "srcdoc" || a.Key == "name" {
					t.Errorf("%q leaves %s: %q", text, a.Key, clean)
				}
				if a.Key != "href" && a.Key != "src" && a.Key != "cite" {
					continue
				}
				u, err := url.Parse(a.Val)
				if err != nil || !slices.Contains([]string{"", "http", "https", "mailto"}, u.Scheme) {
					t.Errorf("%q leaves %s=%q", text, a.Key, a.Val)
				}
			}
		}
	})
}
