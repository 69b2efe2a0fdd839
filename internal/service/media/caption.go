package media

import (
	"context"
	"fmt"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5"
	"golang.org/x/text/language"
	"golang.org/x/text/language/display"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
	"github.com/stoa-lms/stoa/internal/webvtt"
)

// caption is what is said in a video, in one language.
type caption struct {
	MediaID  string
	Language string
	Label    string
	Main     bool
	Content  string // WebVTT; empty where only what there is was asked for
}

const (
	vttType     = "text/vtt; charset=utf-8"
	maxCaptions = 50 // languages of a file
	// maxCaption bounds captions in bytes, as they come and as they are kept. Those
	// of the longest text that PutCaption takes have less.
	maxCaption = 2 << 20
)

// Errors of captions.
var (
	ErrNoCaptions      = fault.New(fault.Conflict, "media.no_captions", "Only a video or a sound has captions.")
	ErrCaptionNotFound = fault.New(fault.NotFound, "caption.not_found", "There are no captions in this language.")
	ErrTooManyCaptions = fault.New(fault.Exhausted, "caption.too_many", "A file has captions in at most %d languages.", maxCaptions)
)

func badCaption(field, code, hint string) *fault.Error {
	return &fault.Error{Kind: fault.Invalid, Code: code, Message: "The captions can't be taken.", Fields: []fault.Field{{Path: field, Code: code, Hint: hint}}}
}

// newCaption returns captions that somebody brings as they are kept. Fields in
// its errors begin with at.
func newCaption(at string, c caption) (caption, error) {
	tag, err := language.Parse(c.Language)
	if err != nil {
		return c, badCaption(at+"language", "caption.language", "A language is named as in en, pt-BR or zh-Hant.")
	}
	if c.Content, err = webvtt.Normal(c.Content); err != nil {
		return c, badCaption(at+"content", "caption.malformed", err.Error())
	}
	if len(c.Content) > maxCaption {
		return c, badCaption(at+"content", "caption.too_large", fmt.Sprintf("Captions have at most %d bytes.", maxCaption))
	}
	c.Language, c.Label = tag.String(), cleanLabel(c.Label)
	if c.Label == "" {
		if c.Label = display.Self.Name(tag); c.Label == "" {
			c.Label = c.Language
		}
	}
	return c, nil
}

// PutCaption sets the captions of a file in one language.
func (r *server) PutCaption(ctx context.Context, req *mediapb.PutCaptionRequest) (*mediapb.Caption, error) {
	s := r.media
	c, err := newCaption("", caption{MediaID: req.GetMediaId(), Language: req.GetLanguage(), Label: req.GetLabel(), Main: req.GetMain(), Content: req.GetContent()})
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*mediapb.Caption, error) {
		f, err := one(ctx, tx, `SELECT `+columns+` FROM media WHERE id = $1 AND course_id = $2 AND purpose = 'library' FOR NO KEY UPDATE`, req.GetMediaId(), req.GetCourseId())
		if err != nil {
			return nil, err
		}
		if k := kindOf(f.ContentType); k != kindVideo && k != kindAudio {
			return nil, ErrNoCaptions
		}
		var others int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM caption WHERE media_id = $1 AND language <> $2`, f.ID, c.Language).Scan(&others); err != nil {
			return nil, err
		}
		if others >= maxCaptions {
			return nil, ErrTooManyCaptions
		}
		if c.Main {
			if _, err := tx.Exec(ctx, `UPDATE caption SET main = false WHERE media_id = $1 AND main AND language <> $2`, f.ID, c.Language); err != nil {
				return nil, err
			}
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO caption AS c (media_id, language, label, main, content, created_at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT ON CONSTRAINT caption_pkey DO UPDATE
			SET label = excluded.label, main = excluded.main, content = excluded.content, revision = c.revision + 1`,
			f.ID, c.Language, c.Label, c.Main, c.Content, s.utc()); err != nil {
			return nil, err
		}
		return s.staffCaption(ctx, c, f), audit.Record(ctx, tx, audit.Entry{
			Action: "media.captioned", Object: f.ID, Course: f.CourseID, After: map[string]any{"language": c.Language, "main": c.Main},
		})
	})
}

// staffCaption describes captions to who works on the course.
func (s *Service) staffCaption(ctx context.Context, c caption, f file) *mediapb.Caption {
	if f.State != stateReady {
		return &mediapb.Caption{Language: c.Language, Label: c.Label, Main: c.Main}
	}
	return s.presentCaption(c, s.until(viewer{account: auth.From(ctx).Account, course: f.CourseID, staff: true}, 0))
}

func (s *Service) presentCaption(c caption, v viewer) *mediapb.Caption {
	return &mediapb.Caption{
		Language: c.Language, Label: c.Label, Main: c.Main, Url: s.partPath(c.MediaID, v, "captions/"+c.Language+".vtt"),
	}
}

// ListCaptions lists the captions of a file.
func (r *server) ListCaptions(ctx context.Context, req *mediapb.ListCaptionsRequest) (*mediapb.ListCaptionsResponse, error) {
	f, err := r.media.ofCourse(ctx, req.GetCourseId(), req.GetMediaId())
	if err != nil {
		return nil, err
	}
	found, err := r.media.captionsOf(ctx, []string{f.ID})
	if err != nil {
		return nil, err
	}
	res := &mediapb.ListCaptionsResponse{}
	for _, c := range found[f.ID] {
		res.Items = append(res.Items, r.media.staffCaption(ctx, c, f))
	}
	return res, nil
}

// DeleteCaption removes the captions of one language.
func (r *server) DeleteCaption(ctx context.Context, req *mediapb.DeleteCaptionRequest) (*emptypb.Empty, error) {
	tag, err := language.Parse(req.GetLanguage())
	if err != nil {
		return nil, ErrCaptionNotFound
	}
	return idempotency.Do(ctx, r.media.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		f, err := one(ctx, tx, `SELECT `+columns+` FROM media WHERE id = $1 AND course_id = $2 AND purpose = 'library' FOR NO KEY UPDATE`, req.GetMediaId(), req.GetCourseId())
		if err != nil {
			return nil, err
		}
		gone, err := tx.Exec(ctx, `DELETE FROM caption WHERE media_id = $1 AND language = $2`, f.ID, tag.String())
		if err != nil {
			return nil, err
		}
		if gone.RowsAffected() == 0 {
			return nil, ErrCaptionNotFound
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{
			Action: "media.uncaptioned", Object: f.ID, Course: f.CourseID, Before: map[string]any{"language": tag.String()},
		})
	})
}

// captionsOf returns what captions files have, by file, without what they say.
func (s *Service) captionsOf(ctx context.Context, ids []string) (map[string][]caption, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := s.db.Query(ctx, `SELECT media_id, language, label, main, '' AS content FROM caption WHERE media_id = ANY ($1) ORDER BY media_id, language`, ids)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[caption])
	found := map[string][]caption{}
	for _, c := range all {
		found[c.MediaID] = append(found[c.MediaID], c)
	}
	return found, err
}

// captionOf returns the captions of a file in a language.
func (s *Service) captionOf(ctx context.Context, mediaID, lang string) (caption, error) {
	rows, err := s.db.Query(ctx, `SELECT media_id, language, label, main, content FROM caption WHERE media_id = $1 AND language = $2`, mediaID, lang)
	if err != nil {
		return caption{}, err
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[caption])
	if pg.NoRows(err) {
		return caption{}, ErrNotFound
	}
	return c, err
}

// cleanLabel returns a name as it can stand in a playlist.
func cleanLabel(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		if r == '"' {
			return '\''
		}
		return r
	}, text)
	return strings.TrimSpace(text)
}
