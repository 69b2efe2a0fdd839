package markdown

import (
	"regexp"
	"strings"

	"github.com/microcosm-cc/bluemonday"
	"golang.org/x/net/html"
)

// Version grows with each change of what is made of a text, by a change here or
// of a library that makes or sanitises it: what is kept of an older one is made
// anew.
const Version = 1

// maxRemoved bounds what Clean tells.
const maxRemoved = 50

// authored is the policy of HTML that people write. There is no id and no class:
// with them a text could pose as a part of the page around it.
var authored = func() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowStandardURLs()
	p.AllowAttrs("dir").Matching(bluemonday.Direction).Globally()
	p.AllowAttrs("lang").Matching(regexp.MustCompile(`^[a-zA-Z]{2,8}(-[a-zA-Z0-9]{1,8}){0,4}$`)).Globally()
	p.AllowAttrs("title").Matching(bluemonday.Paragraph).Globally()
	p.AllowElements("h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "wbr", "div", "span", "section", "article", "aside",
		"header", "footer", "figure", "figcaption", "summary", "b", "strong", "i", "em", "u", "s", "small", "mark", "sub", "sup",
		"code", "pre", "kbd", "samp", "var", "abbr", "dfn", "cite", "bdi", "bdo", "ruby", "rt", "rp", "address")
	p.AllowAttrs("open").Matching(regexp.MustCompile(`^(open)?$`)).OnElements("details")
	p.AllowElements("details")
	p.AllowAttrs("datetime").Matching(bluemonday.ISO8601).OnElements("time", "del", "ins")
	p.AllowElements("time", "del", "ins")
	p.AllowAttrs("cite").OnElements("blockquote", "q")
	p.AllowElements("blockquote", "q")
	p.AllowAttrs("href").OnElements("a")
	p.AllowAttrs("class").Matching(regexp.MustCompile(`^language-[\w+#.-]{1,40}$`)).OnElements("code")
	p.RequireNoFollowOnLinks(true)
	p.RequireNoReferrerOnLinks(true)
	p.AllowLists()
	p.AllowTables()
	p.AllowImages()
	return p
}()

// Sanitize returns HTML with nothing in it that a browser would run or that
// reaches into the page around it. What is clean stays as it is.
func Sanitize(text string) string {
	// A second look finds what the first has made, which is next to never.
	for range 3 {
		next := authored.Sanitize(text)
		if next == text {
			break
		}
		text = next
	}
	return text
}

// Clean is Sanitize that tells what it has taken out: elements as "<script>" and
// attributes as "onclick of <p>", each once, at most 50.
func Clean(text string) (clean string, removed []string) {
	clean = Sanitize(text)
	if clean == text {
		return clean, nil
	}
	left := parts(clean)
	told := map[string]bool{}
	for _, part := range order(text) {
		if left[part] > 0 {
			left[part]--
			continue
		}
		if !told[part] && len(removed) < maxRemoved {
			told[part] = true
			removed = append(removed, part)
		}
	}
	return clean, removed
}

// order returns the elements and attributes of a text in their order.
func order(text string) (out []string) {
	z := html.NewTokenizer(strings.NewReader(text))
	for {
		switch z.Next() { //nolint:exhaustive // ends and texts tell nothing
		case html.ErrorToken:
			return out
		case html.CommentToken:
			out = append(out, "<!-- -->")
		case html.DoctypeToken:
			out = append(out, "<!doctype>")
		case html.StartTagToken, html.SelfClosingTagToken:
			t := z.Token()
			name := "<" + bounded(t.Data) + ">"
			out = append(out, name)
			for _, a := range t.Attr {
				out = append(out, bounded(a.Key)+" of "+name)
			}
		}
	}
}

func parts(text string) map[string]int {
	n := map[string]int{}
	for _, part := range order(text) {
		n[part]++
	}
	return n
}

// bounded shortens a name that somebody made up.
func bounded(name string) string {
	name = strings.ToValidUTF8(name, "?")
	if r := []rune(name); len(r) > 40 {
		name = string(r[:40]) + "…"
	}
	return name
}
