package courses

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/markdown"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// written are blocks as they were sent, checked and ready to be stored.
type written struct {
	body    []block
	html    []string         // of each block
	removed map[int][]string // by block: what was taken out of its HTML
	uses    []use            // of activities, to be looked up in the transaction
}

// outside are LaTeX commands that reach out of a formula, write HTML into the
// page, or define other commands, with which a short text becomes a long one.
var outside = regexp.MustCompile(`\\(?:href|url|includegraphics|input|include|usepackage|write|openout|openin|read|special|html[A-Za-z]*|def|gdef|edef|xdef|let|futurelet|newcommand|renewcommand|providecommand|newenvironment|renewenvironment|DeclareMathOperator|catcode|csname|loop|require|style|class|cssId|data)(?:[^A-Za-z]|$)`)

// rule is what a block has to fulfil beyond the limits of its fields, and how the
// published schema says so.
type rule struct {
	kind   string // of block
	path   string // of the field
	code   string
	hint   string
	schema map[string]any
	ok     func(b block) bool
}

func (s *Service) blockRules() []rule {
	return []rule{
		{
			kind: blockImage, path: "alt", code: "image.alt", hint: "Say what it shows, or that it is decorative.",
			schema: map[string]any{"anyOf": []any{
				map[string]any{"required": []any{"alt"}, "properties": map[string]any{"alt": map[string]any{"pattern": `\S`}}},
				map[string]any{"required": []any{"decorative"}, "properties": map[string]any{"decorative": map[string]any{"const": true}}},
			}},
			ok: func(b block) bool { return b.Decorative || hasText.MatchString(b.Alt) },
		},
		{
			kind: blockMath, path: "source", code: "math.command", hint: "Leave out commands that reach out of the formula or define others.",
			schema: map[string]any{"properties": map[string]any{"source": map[string]any{"not": map[string]any{"pattern": outside.String()}}}},
			ok:     func(b block) bool { return !outside.MatchString(b.Text) },
		},
		{
			kind: blockEmbed, path: "url", code: "embed.not_allowed", hint: "Name an https address of a site that may be embedded here: " + strings.Join(s.embedHosts(), ", ") + ".",
			schema: map[string]any{"properties": map[string]any{"url": map[string]any{"pattern": embedPattern(s.sites)}}},
			ok: func(b block) bool {
				_, _, ok := framed(s.sites, b.URL)
				return ok
			},
		},
	}
}

var hasText = regexp.MustCompile(`\S`)

func (s *Service) embedHosts() []string {
	hosts := make([]string, len(s.sites))
	for i, site := range s.sites {
		hosts[i] = site.name
	}
	return hosts
}

// checkBlocks returns blocks as they are stored, after it has asked media about
// the files they name. path is that of the list in the request. Unsafe HTML is
// taken out; all else that is not accepted is refused.
func (s *Service) checkBlocks(ctx context.Context, courseID, path string, in []*coursespb.Block) (written, error) {
	w := written{body: make([]block, len(in)), removed: map[int][]string{}}
	var uses []use
	var bad []fault.Field
	for i := range in {
		b := newBlock(in[i])
		at := index(path, i) + "." + b.Type + "."
		for _, r := range s.rules {
			if r.kind == b.Type && !r.ok(b) {
				bad = append(bad, fault.Field{Path: at + r.path, Code: r.code, Hint: r.hint})
			}
		}
		switch b.Type {
		case blockHTML:
			var removed []string
			if b.Text, removed = markdown.Clean(b.Text); len(removed) > 0 {
				w.removed[i] = removed
			}
		case blockEmbed:
			_, b.URL, _ = framed(s.sites, b.URL)
		case blockQuiz, blockAssignment:
			w.uses = append(w.uses, use{path: at + "activity_id", id: b.ItemID, kind: b.Type})
		}
		if b.MediaID != "" {
			uses = append(uses, use{path: at + "media_id", id: b.MediaID, kind: b.Type})
		}
		w.body[i] = b
	}
	if err := refused("block.invalid", "A block is not accepted as it is.", bad); err != nil {
		return written{}, err
	}
	size, err := sizeOf(w.body)
	if err != nil {
		return written{}, err
	}
	if size > MaxBody {
		return written{}, ErrLessonTooLarge
	}
	if err := s.checkMedia(ctx, courseID, uses); err != nil {
		return written{}, err
	}
	w.html = s.render(w.body)
	return w, nil
}

// tell adds to a lesson what was taken out of its HTML.
func (w written) tell(l *coursespb.Lesson) {
	for i, removed := range w.removed {
		if i < len(l.GetBlocks()) && l.GetBlocks()[i].GetHtml() != nil {
			l.GetBlocks()[i].GetHtml().Removed = removed
		}
	}
}

// use is a field of a request that names a file or an activity.
type use struct {
	path string
	id   string
	kind string // of the block
}

// findMedia returns the files of the course that are named, by id.
func (s *Service) findMedia(ctx context.Context, courseID string, uses []use, viewer *mediapb.Viewer) (map[string]*mediapb.Media, error) {
	if len(uses) == 0 {
		return nil, nil
	}
	ids := make([]string, len(uses))
	for i, u := range uses {
		ids[i] = u.id
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

// presentations are the types of files that are shown as slides.
var presentations = []string{
	"application/pdf",
	"application/vnd.openxmlformats-officedocument.presentationml.presentation",
	"application/vnd.oasis.opendocument.presentation",
}

// fits reports whether a file can be shown by a kind of block, whatever its
// state: one that is still being processed will be shown.
func fits(kind string, m *mediapb.Media) bool {
	t, _, _ := strings.Cut(m.GetContentType(), ";")
	switch kind {
	case blockImage:
		return strings.HasPrefix(t, "image/")
	case blockVideo:
		return strings.HasPrefix(t, "video/")
	case blockAudio:
		return strings.HasPrefix(t, "audio/") || t == "application/ogg"
	case blockSlides:
		return slices.Contains(presentations, t)
	default:
		return true
	}
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
		m := found[u.id]
		switch {
		case m == nil:
			bad.Fields = append(bad.Fields, fault.Field{Path: u.path, Code: "media.not_found", Hint: "Upload the file to this course first."})
		case fits(u.kind, m):
		case u.kind == blockImage:
			bad.Fields = append(bad.Fields, fault.Field{Path: u.path, Code: "media.not_image", Hint: "Name a picture here."})
		default:
			hint := map[string]string{blockVideo: "Name a video here.", blockAudio: "Name a recording here.", blockSlides: "Name a PPTX, ODP or PDF file here."}[u.kind]
			bad.Fields = append(bad.Fields, fault.Field{Path: u.path, Code: "media.wrong_kind", Hint: hint})
		}
	}
	if len(bad.Fields) == 0 {
		return nil
	}
	bad.Code = bad.Fields[0].Code
	bad.Message = map[string]string{
		"media.not_found":  "A file is named that is not of this course.",
		"media.not_image":  "A file is named where a picture has to be.",
		"media.wrong_kind": "A file is named that can't be shown there.",
	}[bad.Code]
	return bad
}
