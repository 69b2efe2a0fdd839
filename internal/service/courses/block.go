package courses

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// Types of blocks as they are stored; also the names of their fields in the
// contract.
const (
	blockMarkdown = "markdown"
	blockImage    = "image"
	blockFile     = "file"
)

// block is a piece of a lesson as it is stored, in JSON:
//
//	{"type": "markdown", "text": "# Welcome"}
//	{"type": "image", "media_id": "media_…", "alt": "A portico", "caption": "Athens"}
//	{"type": "file", "media_id": "media_…", "title": "Exercises"}
//
// Absent fields are empty. What is made for readers (HTML, addresses, types and
// sizes of files) is not stored. Rows of all times hold this shape: a field may
// be added, none may change its meaning.
type block struct {
	Type    string `json:"type"`
	Text    string `json:"text,omitempty"`
	MediaID string `json:"media_id,omitempty"`
	Alt     string `json:"alt,omitempty"`
	Caption string `json:"caption,omitempty"`
	Title   string `json:"title,omitempty"`
}

// newBlock returns what is to be stored of a block.
func newBlock(b *coursespb.Block) block {
	switch c := b.GetContent().(type) {
	case *coursespb.Block_Image:
		return block{Type: blockImage, MediaID: c.Image.GetMediaId(), Alt: c.Image.GetAlt(), Caption: c.Image.GetCaption()}
	case *coursespb.Block_File:
		return block{Type: blockFile, MediaID: c.File.GetMediaId(), Title: c.File.GetTitle()}
	default:
		return block{Type: blockMarkdown, Text: b.GetMarkdown().GetText()}
	}
}

// proto returns the block without what is made for readers.
func (b block) proto() *coursespb.Block {
	switch b.Type {
	case blockImage:
		return &coursespb.Block{Content: &coursespb.Block_Image{Image: &coursespb.ImageBlock{MediaId: b.MediaID, Alt: b.Alt, Caption: b.Caption}}}
	case blockFile:
		return &coursespb.Block{Content: &coursespb.Block_File{File: &coursespb.FileBlock{MediaId: b.MediaID, Title: b.Title}}}
	default:
		return &coursespb.Block{Content: &coursespb.Block_Markdown{Markdown: &coursespb.MarkdownBlock{Text: b.Text}}}
	}
}

// complete adds to a lesson what is made for its readers: HTML, and addresses
// of files, for which media is asked once, and not at all without files.
//
// They are for who calls, as long as they may read the lesson; open says that
// everybody may.
func (s *Service) complete(ctx context.Context, l *coursespb.Lesson, open bool) (*coursespb.Lesson, error) {
	var uses []use
	for _, b := range l.GetBlocks() {
		if mediaID := mediaOf(b); mediaID != "" {
			uses = append(uses, use{mediaID: mediaID})
		}
	}
	found, err := s.findMedia(ctx, l.GetCourseId(), uses, &mediapb.Viewer{AccountId: auth.From(ctx).Account, ItemId: l.GetId(), Open: open})
	if err != nil {
		return nil, err
	}
	for _, b := range l.GetBlocks() {
		m := found[mediaOf(b)] // nil for a file that is no longer there
		switch c := b.GetContent().(type) {
		case *coursespb.Block_Markdown:
			c.Markdown.Html = s.html.Render(c.Markdown.GetText())
		case *coursespb.Block_Image:
			c.Image.Url = m.GetUrl()
		case *coursespb.Block_File:
			c.File.Url, c.File.ContentType, c.File.Size = m.GetUrl(), m.GetContentType(), m.GetSize()
			if c.File.GetTitle() == "" {
				c.File.Title = m.GetFilename()
			}
		}
	}
	return l, nil
}

func mediaOf(b *coursespb.Block) string {
	if c := b.GetImage(); c != nil {
		return c.GetMediaId()
	}
	return b.GetFile().GetMediaId()
}

// use is a field of a request that names a file.
type use struct {
	path    string
	mediaID string
	image   bool // it has to be a picture
}

// findMedia returns the files of the course that are named, by id.
func (s *Service) findMedia(ctx context.Context, courseID string, uses []use, viewer *mediapb.Viewer) (map[string]*mediapb.Media, error) {
	if len(uses) == 0 {
		return nil, nil
	}
	ids := make([]string, len(uses))
	for i, u := range uses {
		ids[i] = u.mediaID
	}
	slices.Sort(ids)
	res, err := s.media.BatchGetMedia(ctx, &mediapb.BatchGetMediaRequest{CourseId: courseID, MediaIds: slices.Compact(ids), Viewer: viewer})
	if err != nil {
		return nil, err
	}
	found := make(map[string]*mediapb.Media, len(res.GetItems()))
	for _, m := range res.GetItems() {
		found[m.GetId()] = m
	}
	return found, nil
}

// checkMedia returns an error that tells each field which names no file of the
// course or none that can be shown there.
func (s *Service) checkMedia(ctx context.Context, courseID string, uses []use) error {
	found, err := s.findMedia(ctx, courseID, uses, nil)
	if err != nil {
		return err
	}
	bad := &fault.Error{Kind: fault.Invalid}
	for _, u := range uses {
		m := found[u.mediaID]
		switch {
		case m == nil:
			bad.Fields = append(bad.Fields, fault.Field{Path: u.path, Code: "media.not_found", Hint: "Upload the file to this course first."})
		case u.image && !strings.HasPrefix(m.GetContentType(), "image/"):
			bad.Fields = append(bad.Fields, fault.Field{Path: u.path, Code: "media.not_image", Hint: "Name a picture here."})
		}
	}
	if len(bad.Fields) == 0 {
		return nil
	}
	bad.Code, bad.Message = bad.Fields[0].Code, "A file is named that is not of this course."
	if bad.Code == "media.not_image" {
		bad.Message = "A file is named where a picture has to be."
	}
	return bad
}

// index returns the path of an element of a list in a request.
func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
