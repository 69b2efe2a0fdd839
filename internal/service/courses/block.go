package courses

import (
	"encoding/json"
	"strconv"

	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// Types of blocks as they are stored; also the names of their fields in the
// contract.
const (
	blockMarkdown   = "markdown"
	blockHTML       = "html"
	blockImage      = "image"
	blockVideo      = "video"
	blockAudio      = "audio"
	blockSlides     = "slides"
	blockFile       = "file"
	blockEmbed      = "embed"
	blockCode       = "code"
	blockMath       = "math"
	blockCallout    = "callout"
	blockDivider    = "divider"
	blockQuiz       = "quiz"
	blockAssignment = "assignment"
)

// block is a piece of a lesson as it is stored, in JSON:
//
//	{"type": "markdown", "text": "# Welcome"}
//	{"type": "html", "text": "<p>Welcome</p>"}
//	{"type": "image", "media_id": "media_…", "alt": "A portico", "caption": "Athens"}
//	{"type": "image", "media_id": "media_…", "decorative": true}
//	{"type": "video", "media_id": "media_…", "title": "…", "caption": "…", "text": "what is said"}
//	{"type": "audio", …}    as video
//	{"type": "slides", "media_id": "media_…", "title": "…", "caption": "…"}
//	{"type": "file", "media_id": "media_…", "title": "Exercises"}
//	{"type": "embed", "url": "https://…", "title": "…", "caption": "…"}
//	{"type": "code", "text": "…", "language": "go", "title": "…", "lines": [1, 3]}
//	{"type": "math", "text": "e^{i\\pi}", "display": "inline", "alt": "…"}
//	{"type": "callout", "kind": "tip", "title": "…", "text": "Markdown", "collapsed": true}
//	{"type": "divider"}
//	{"type": "quiz", "item_id": "activity_…"}
//	{"type": "assignment", "item_id": "activity_…"}
//
// Absent fields are empty. What is made for readers (HTML, addresses, what media
// tells of files) is not stored. Rows of all times hold this shape: a field may
// be added, none may change its meaning.
type block struct {
	Type       string  `json:"type"`
	Text       string  `json:"text,omitempty"`
	MediaID    string  `json:"media_id,omitempty"`
	Alt        string  `json:"alt,omitempty"`
	Caption    string  `json:"caption,omitempty"`
	Title      string  `json:"title,omitempty"`
	Decorative bool    `json:"decorative,omitempty"`
	URL        string  `json:"url,omitempty"`
	Language   string  `json:"language,omitempty"`
	Lines      []int32 `json:"lines,omitempty"`
	Display    string  `json:"display,omitempty"`
	Kind       string  `json:"kind,omitempty"`
	Collapsed  bool    `json:"collapsed,omitempty"`
	ItemID     string  `json:"item_id,omitempty"`
}

// newBlock returns what is to be stored of a block, as it was sent.
func newBlock(b *coursespb.Block) block {
	switch c := b.GetContent().(type) {
	case *coursespb.Block_Html:
		return block{Type: blockHTML, Text: c.Html.GetSource()}
	case *coursespb.Block_Image:
		return block{Type: blockImage, MediaID: c.Image.GetMediaId(), Alt: c.Image.GetAlt(), Caption: c.Image.GetCaption(), Decorative: c.Image.GetDecorative()}
	case *coursespb.Block_Video:
		return block{Type: blockVideo, MediaID: c.Video.GetMediaId(), Title: c.Video.GetTitle(), Caption: c.Video.GetCaption(), Text: c.Video.GetTranscript()}
	case *coursespb.Block_Audio:
		return block{Type: blockAudio, MediaID: c.Audio.GetMediaId(), Title: c.Audio.GetTitle(), Caption: c.Audio.GetCaption(), Text: c.Audio.GetTranscript()}
	case *coursespb.Block_Slides:
		return block{Type: blockSlides, MediaID: c.Slides.GetMediaId(), Title: c.Slides.GetTitle(), Caption: c.Slides.GetCaption()}
	case *coursespb.Block_File:
		return block{Type: blockFile, MediaID: c.File.GetMediaId(), Title: c.File.GetTitle()}
	case *coursespb.Block_Embed:
		return block{Type: blockEmbed, URL: c.Embed.GetUrl(), Title: c.Embed.GetTitle(), Caption: c.Embed.GetCaption()}
	case *coursespb.Block_Code:
		return block{Type: blockCode, Text: c.Code.GetSource(), Language: c.Code.GetLanguage(), Title: c.Code.GetTitle(), Lines: c.Code.GetHighlightLines()}
	case *coursespb.Block_Math:
		b := block{Type: blockMath, Text: c.Math.GetSource(), Display: c.Math.GetDisplay(), Alt: c.Math.GetAlt()}
		if b.Display == "display" {
			b.Display = "" // what is usual
		}
		return b
	case *coursespb.Block_Callout:
		return block{Type: blockCallout, Kind: c.Callout.GetKind(), Title: c.Callout.GetTitle(), Text: c.Callout.GetText(), Collapsed: c.Callout.GetCollapsed()}
	case *coursespb.Block_Divider:
		return block{Type: blockDivider}
	case *coursespb.Block_Quiz:
		return block{Type: blockQuiz, ItemID: c.Quiz.GetActivityId()}
	case *coursespb.Block_Assignment:
		return block{Type: blockAssignment, ItemID: c.Assignment.GetActivityId()}
	default:
		return block{Type: blockMarkdown, Text: b.GetMarkdown().GetText()}
	}
}

// proto returns the block without what is made for readers.
func (b block) proto() *coursespb.Block {
	switch b.Type {
	case blockHTML:
		return &coursespb.Block{Content: &coursespb.Block_Html{Html: &coursespb.HtmlBlock{Source: b.Text}}}
	case blockImage:
		return &coursespb.Block{Content: &coursespb.Block_Image{Image: &coursespb.ImageBlock{MediaId: b.MediaID, Alt: b.Alt, Caption: b.Caption, Decorative: b.Decorative}}}
	case blockVideo:
		return &coursespb.Block{Content: &coursespb.Block_Video{Video: &coursespb.VideoBlock{MediaId: b.MediaID, Title: b.Title, Caption: b.Caption, Transcript: b.Text}}}
	case blockAudio:
		return &coursespb.Block{Content: &coursespb.Block_Audio{Audio: &coursespb.AudioBlock{MediaId: b.MediaID, Title: b.Title, Caption: b.Caption, Transcript: b.Text}}}
	case blockSlides:
		return &coursespb.Block{Content: &coursespb.Block_Slides{Slides: &coursespb.SlidesBlock{MediaId: b.MediaID, Title: b.Title, Caption: b.Caption}}}
	case blockFile:
		return &coursespb.Block{Content: &coursespb.Block_File{File: &coursespb.FileBlock{MediaId: b.MediaID, Title: b.Title}}}
	case blockEmbed:
		return &coursespb.Block{Content: &coursespb.Block_Embed{Embed: &coursespb.EmbedBlock{Url: b.URL, Title: b.Title, Caption: b.Caption}}}
	case blockCode:
		return &coursespb.Block{Content: &coursespb.Block_Code{Code: &coursespb.CodeBlock{Source: b.Text, Language: b.Language, Title: b.Title, HighlightLines: b.Lines}}}
	case blockMath:
		display := b.Display
		if display == "" {
			display = "display"
		}
		return &coursespb.Block{Content: &coursespb.Block_Math{Math: &coursespb.MathBlock{Source: b.Text, Display: display, Alt: b.Alt}}}
	case blockCallout:
		return &coursespb.Block{Content: &coursespb.Block_Callout{Callout: &coursespb.CalloutBlock{Kind: b.Kind, Title: b.Title, Text: b.Text, Collapsed: b.Collapsed}}}
	case blockDivider:
		return &coursespb.Block{Content: &coursespb.Block_Divider{Divider: &coursespb.DividerBlock{}}}
	case blockQuiz:
		return &coursespb.Block{Content: &coursespb.Block_Quiz{Quiz: &coursespb.ActivityBlock{ActivityId: b.ItemID}}}
	case blockAssignment:
		return &coursespb.Block{Content: &coursespb.Block_Assignment{Assignment: &coursespb.ActivityBlock{ActivityId: b.ItemID}}}
	default:
		return &coursespb.Block{Content: &coursespb.Block_Markdown{Markdown: &coursespb.MarkdownBlock{Text: b.Text}}}
	}
}

// playable returns the video and audio files of blocks, each once.
func playable(body []block) []string {
	ids := []string{}
	seen := map[string]bool{}
	for _, b := range body {
		if (b.Type == blockVideo || b.Type == blockAudio) && !seen[b.MediaID] {
			seen[b.MediaID] = true
			ids = append(ids, b.MediaID)
		}
	}
	return ids
}

// sizeOf returns how long blocks are as they are stored.
func sizeOf(body []block) (int, error) {
	text, err := json.Marshal(body)
	return len(text), err
}

// index returns the path of an element of a list in a request.
func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
