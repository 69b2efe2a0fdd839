package demo

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/stoa-lms/stoa/internal/money/moneypb"
)

// content holds a folder for each course:
//
//	course.json  what the landing page tells, the price, modules and lessons in their order
//	about.md     the description
//	NN-name.md   a lesson; its first line is its title
//	quiz.json    a quiz and its questions, where there is one
//	images/, files/
//
// In a lesson a line that is nothing but an image or a link into files/ becomes
// a block of its own; all else is Markdown as it stands.
//
//go:embed content
var content embed.FS

// folders are the courses in the order in which they are made.
var folders = []string{statistics, english, git}

// course is a course as its folder tells it.
type course struct {
	Teacher  string   `json:"teacher"` // their address
	Title    string   `json:"title"`
	Subtitle string   `json:"subtitle"`
	Language string   `json:"language"`
	Level    string   `json:"level"`
	Category string   `json:"category"`
	Tags     []string `json:"tags"`
	Outcomes []string `json:"outcomes"`
	Cover    string   `json:"cover"`
	Price    struct {
		Amount   int64  `json:"amount"`
		Currency string `json:"currency"`
	} `json:"price"`
	Modules []module `json:"modules"`

	folder      string
	description string
	media       []string // images and files, each once, as paths in the folder
}

type module struct {
	Title   string   `json:"title"`
	Lessons []lesson `json:"lessons"`
}

type lesson struct {
	File    string `json:"file"`
	Preview bool   `json:"preview"`

	title  string
	blocks []block
}

// block is Markdown, or an image or a file when it names media.
type block struct {
	text    string // Markdown, the text for those who can't see an image, or the title of a file
	media   string
	caption string
}

func (b block) image() bool { return strings.HasPrefix(b.media, "images/") }

func (c course) price() *moneypb.Money {
	return &moneypb.Money{Amount: c.Price.Amount, Currency: c.Price.Currency}
}

// read returns a file of the course's folder.
func (c course) read(name string) ([]byte, error) {
	return content.ReadFile(path.Join("content", c.folder, name))
}

func readCourses() ([]course, error) {
	courses := make([]course, 0, len(folders))
	for _, folder := range folders {
		c, err := readCourse(folder)
		if err != nil {
			return nil, fmt.Errorf("content of %s: %w", folder, err)
		}
		courses = append(courses, c)
	}
	return courses, nil
}

func readCourse(folder string) (course, error) {
	c := course{folder: folder}
	text, err := c.read("course.json")
	if err != nil {
		return course{}, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return course{}, fmt.Errorf("course.json: %w", err)
	}
	about, err := c.read("about.md")
	if err != nil {
		return course{}, err
	}
	c.description = strings.TrimSpace(string(about))
	c.media = []string{c.Cover}
	seen := map[string]bool{c.Cover: true}
	for _, m := range c.Modules {
		for i := range m.Lessons {
			l := &m.Lessons[i]
			text, err := c.read(l.File)
			if err != nil {
				return course{}, err
			}
			if l.title, l.blocks, err = parseLesson(string(text)); err != nil {
				return course{}, fmt.Errorf("%s: %w", l.File, err)
			}
			for _, b := range l.blocks {
				if b.media != "" && !seen[b.media] {
					seen[b.media] = true
					c.media = append(c.media, b.media)
				}
			}
		}
	}
	return c, nil
}

var (
	imageLine = regexp.MustCompile(`^!\[(.+)\]\((images/[^ )]+)(?: "(.+)")?\)$`)
	fileLine  = regexp.MustCompile(`^\[(.+)\]\((files/[^ )]+)\)$`)
)

// parseLesson cuts a lesson into its title and its blocks.
func parseLesson(text string) (title string, blocks []block, err error) {
	title, text, _ = strings.Cut(text, "\n")
	title, ok := strings.CutPrefix(title, "# ")
	if !ok {
		return "", nil, errors.New(`the first line is not a title such as "# Title"`)
	}
	var markdown strings.Builder
	flush := func() {
		if t := strings.TrimSpace(markdown.String()); t != "" {
			blocks = append(blocks, block{text: t})
		}
		markdown.Reset()
	}
	code := false
	for line := range strings.Lines(text) {
		bare := strings.TrimSpace(line)
		if strings.HasPrefix(bare, "```") {
			code = !code
		}
		if !code {
			if m := imageLine.FindStringSubmatch(bare); m != nil {
				flush()
				blocks = append(blocks, block{text: m[1], media: m[2], caption: m[3]})
				continue
			}
			if m := fileLine.FindStringSubmatch(bare); m != nil {
				flush()
				blocks = append(blocks, block{text: m[1], media: m[2]})
				continue
			}
		}
		markdown.WriteString(line)
	}
	flush()
	if code {
		return "", nil, errors.New("a code block is not closed")
	}
	return strings.TrimSpace(title), blocks, nil
}
