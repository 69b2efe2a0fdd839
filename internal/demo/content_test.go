package demo

import (
	"bytes"
	"image"
	_ "image/png" // the pictures
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
	"golang.org/x/text/language"

	"github.com/stoa-lms/stoa/internal/money"
)

func coursesForTest(t *testing.T) []course {
	t.Helper()
	courses, err := readCourses()
	if err != nil {
		t.Fatal(err)
	}
	return courses
}

func TestEveryFileIsUsed(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, c := range coursesForTest(t) {
		for _, name := range append([]string{"course.json", "about.md"}, c.media...) {
			used[path.Join("content", c.folder, name)] = true
		}
		if q, err := c.readQuiz(); err != nil {
			t.Error(err)
		} else if q != nil {
			used[path.Join("content", c.folder, "quiz.json")] = true
		}
		for _, m := range c.Modules {
			for _, l := range m.Lessons {
				name := path.Join("content", c.folder, l.File)
				if used[name] {
					t.Errorf("%s is used twice", name)
				}
				used[name] = true
			}
		}
	}
	err := fs.WalkDir(content, "content", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if !used[name] {
				t.Errorf("%s is not used", name)
			}
			delete(used, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range used {
		t.Errorf("%s is named and not there", name)
	}
}

func TestLandingPages(t *testing.T) {
	t.Parallel()
	titles := map[string]bool{}
	for _, c := range coursesForTest(t) {
		t.Run(c.folder, func(t *testing.T) {
			for field, value := range map[string]string{
				"title": c.Title, "subtitle": c.Subtitle, "category": c.Category, "description": c.description, "cover": c.Cover,
			} {
				if strings.TrimSpace(value) == "" {
					t.Errorf("%s is empty", field)
				}
			}
			if titles[c.Title] {
				t.Errorf("another course is called %q, too", c.Title)
			}
			titles[c.Title] = true
			for field, is := range map[string]struct{ length, limit int }{
				"title": {utf8.RuneCountInString(c.Title), 200}, "subtitle": {utf8.RuneCountInString(c.Subtitle), 300},
				"category": {utf8.RuneCountInString(c.Category), 60}, "description": {utf8.RuneCountInString(c.description), 20_000},
				"tags": {len(c.Tags), 20}, "outcomes": {len(c.Outcomes), 20},
			} {
				if is.length > is.limit {
					t.Errorf("%s: %d is more than the contract takes (%d)", field, is.length, is.limit)
				}
			}
			if len(c.Tags) < 3 || len(c.Outcomes) < 3 {
				t.Errorf("%d tags and %d outcomes are too few", len(c.Tags), len(c.Outcomes))
			}
			if _, err := language.Parse(c.Language); err != nil {
				t.Errorf("language: %v", err)
			}
			if !slices.Contains([]string{"beginner", "intermediate", "advanced", "all"}, c.Level) {
				t.Errorf("level: %q", c.Level)
			}
			if p, ok := byEmail(c.Teacher); !ok || p.bio == "" {
				t.Errorf("teacher: %q is none", c.Teacher)
			}
			if !money.Accepted(c.Price.Currency) || c.Price.Amount != 0 && (c.Price.Amount < money.Least(c.Price.Currency) || c.Price.Amount > money.Most(c.Price.Currency)) {
				t.Errorf("price: %s can't be asked", money.Format(c.Price.Amount, c.Price.Currency))
			}
			if !strings.HasPrefix(c.Cover, "images/") {
				t.Errorf("cover: %q is no image", c.Cover)
			}
			checkMarkdown(t, "about.md", c.description)
		})
	}
}

func TestLessons(t *testing.T) {
	t.Parallel()
	const fewest, most = 200, 650
	for _, c := range coursesForTest(t) {
		images, files := 0, 0
		first := true
		for _, m := range c.Modules {
			titles := map[string]bool{} // a lesson is found again by its title
			for _, l := range m.Lessons {
				at := c.folder + "/" + l.File
				if titles[l.title] || l.title == "" || len(l.title) > 200 {
					t.Errorf("%s: %q is no title of its own", at, l.title)
				}
				titles[l.title] = true
				words := 0
				for _, b := range l.blocks {
					switch {
					case b.media == "":
						words += len(strings.Fields(b.text))
						checkMarkdown(t, at, b.text)
					case b.image():
						images++
						if len(b.text) < 40 || utf8.RuneCountInString(b.text) > 1000 {
							t.Errorf("%s: the text in place of %s does not say what it shows: %q", at, b.media, b.text)
						}
					default:
						files++
					}
				}
				if words < fewest || words > most {
					t.Errorf("%s: %d words, not from %d to %d", at, words, fewest, most)
				}
				if l.Preview != first {
					t.Errorf("%s: preview is %v; the first lesson, and no other, is one", at, l.Preview)
				}
				first = false
			}
		}
		if images == 0 || files == 0 {
			t.Errorf("%s: %d images and %d files", c.folder, images, files)
		}
	}
}

// parsing is what the services do with Markdown.
var parsing = goldmark.New(goldmark.WithExtensions(extension.GFM))

// inText finds what is left of marks that did not become what was meant, and
// links that were meant to be blocks.
var inText = regexp.MustCompile("\\*\\*|~~|`|\\]\\(|^#|\\|")

func checkMarkdown(t *testing.T, at, source string) {
	t.Helper()
	root := parsing.Parser().Parse(text.NewReader([]byte(source)))
	err := ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.RawHTML, *ast.HTMLBlock:
			t.Errorf("%s: HTML would be shown as text: %s", at, n.Lines().Value([]byte(source)))
		case *ast.Heading:
			if n.Level < 2 || n.Level > 3 {
				t.Errorf("%s: a heading of level %d", at, n.Level)
			}
		case *ast.Link:
			t.Errorf("%s: a link within the text leads to %s", at, n.Destination)
		case *ast.Image:
			t.Errorf("%s: the image %s is within the text", at, n.Destination)
		case *ast.CodeSpan:
			return ast.WalkSkipChildren, nil
		case *ast.FencedCodeBlock:
			if len(n.Language([]byte(source))) == 0 {
				t.Errorf("%s: a code block without a language", at)
			}
		case *ast.Text:
			if part := n.Segment.Value([]byte(source)); inText.Match(part) {
				t.Errorf("%s: a mark is left in %q", at, part)
			}
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Errorf("%s: %v", at, err)
	}
	var out bytes.Buffer
	if err := parsing.Convert([]byte(source), &out); err != nil || out.Len() == 0 {
		t.Errorf("%s: no HTML: %v", at, err)
	}
}

func TestMedia(t *testing.T) {
	t.Parallel()
	for _, c := range coursesForTest(t) {
		names := map[string]bool{}
		for _, name := range c.media {
			if names[path.Base(name)] { // a file is found again by its name
				t.Errorf("%s: another file is called %s, too", c.folder, path.Base(name))
			}
			names[path.Base(name)] = true
			body, err := c.read(name)
			if err != nil {
				t.Errorf("%s: %v", c.folder, err)
				continue
			}
			if len(body) > 200<<10 {
				t.Errorf("%s/%s: %d bytes are many for a program to carry", c.folder, name, len(body))
			}
			if strings.HasPrefix(name, "images/") {
				if picture, _, err := image.DecodeConfig(bytes.NewReader(body)); err != nil || picture.Width < 600 {
					t.Errorf("%s/%s: %d pixels wide, %v", c.folder, name, picture.Width, err)
				}
			} else if got := http.DetectContentType(body); !strings.HasPrefix(got, "text/plain") {
				t.Errorf("%s/%s: taken for %s", c.folder, name, got)
			}
		}
	}
}

func TestPeople(t *testing.T) {
	t.Parallel()
	var teachers, students int
	emails, names := map[string]bool{}, map[string]bool{}
	for _, p := range people {
		if p.bio == "" {
			students++
		} else if teachers++; len(p.did) > 0 {
			t.Errorf("%s teaches and studies", p.email)
		}
		if p.who == "" || len(p.who) > 28 || p.name == "" || emails[p.email] || names[p.name] || !strings.HasSuffix(p.email, "@example.org") {
			t.Errorf("%+v can't be told from others", p)
		}
		emails[p.email], names[p.name] = true, true
	}
	if teachers != 2 || students != 10 {
		t.Errorf("%d teachers and %d students", teachers, students)
	}
	if len(lastStudent().did) == 0 {
		t.Error("who is last does nothing, so nobody knows when the school is complete")
	}
}

func TestParseLesson(t *testing.T) {
	t.Parallel()
	title, blocks, err := parseLesson("# T\n\nOne.\n\n![Alt](images/a.png \"Below\")\n```sh\n[x](files/no)\n```\n[Data](files/b.csv)\n")
	if err != nil || title != "T" {
		t.Fatalf("%q, %v", title, err)
	}
	want := []block{
		{text: "One."},
		{text: "Alt", media: "images/a.png", caption: "Below"},
		{text: "```sh\n[x](files/no)\n```"},
		{text: "Data", media: "files/b.csv"},
	}
	if !slices.Equal(blocks, want) {
		t.Errorf("got %+v\nwant %+v", blocks, want)
	}
	for _, bad := range []string{"", "Text", "# T\n```\ncode"} {
		if _, _, err := parseLesson(bad); err == nil {
			t.Errorf("%q is no lesson", bad)
		}
	}
}
