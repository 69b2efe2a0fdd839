package media

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
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
	maxCues     = 20_000
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

// PutCaption sets the captions of a file in one language.
func (r *server) PutCaption(ctx context.Context, req *mediapb.PutCaptionRequest) (*mediapb.Caption, error) {
	s := r.media
	tag, err := language.Parse(req.GetLanguage())
	if err != nil {
		return nil, badCaption("language", "caption.language", "A language is named as in en, pt-BR or zh-Hant.")
	}
	content, err := normalVTT(req.GetContent())
	if err != nil {
		return nil, err
	}
	c := caption{MediaID: req.GetMediaId(), Language: tag.String(), Label: cleanLabel(req.GetLabel()), Main: req.GetMain(), Content: content}
	if c.Label == "" {
		if c.Label = display.Self.Name(tag); c.Label == "" {
			c.Label = c.Language
		}
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

var timing = regexp.MustCompile(`^((?:\d{1,4}:)?\d{1,2}:\d{2}[.,]\d{3})[ \t]+-->[ \t]+((?:\d{1,4}:)?\d{1,2}:\d{2}[.,]\d{3})([ \t]+[^>]*)?$`)

// cueSetting is what a cue may say of its place.
var cueSetting = regexp.MustCompile(`^(vertical:(rl|lr)|line:-?\d{1,4}(\.\d{1,4})?%?(,(start|center|end))?|position:\d{1,3}(\.\d{1,4})?%(,(line-left|center|line-right))?|size:\d{1,3}(\.\d{1,4})?%|align:(start|center|end|left|right))$`)

// normalVTT reads WebVTT, or SRT, and writes it anew as WebVTT: cues with their
// times, places and words, and nothing that changes a page.
func normalVTT(text string) (string, error) {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\x00", "\ufffd").Replace(strings.TrimPrefix(text, "\ufeff"))
	lines := strings.Split(text, "\n")
	bad := func(line int, hint string) error {
		return badCaption("content", "caption.malformed", fmt.Sprintf("Line %d: %s", line+1, hint))
	}
	vtt := strings.HasPrefix(lines[0], "WEBVTT")
	at := 0
	if vtt {
		if rest := lines[0][len("WEBVTT"):]; rest != "" && rest[0] != ' ' && rest[0] != '\t' {
			return "", bad(0, "The first line is WEBVTT.")
		}
		for at < len(lines) && lines[at] != "" { // what is said of the file
			if at > 0 && strings.Contains(lines[at], "-->") {
				return "", bad(at, "An empty line comes before the first cue.")
			}
			at++
		}
	}
	var b strings.Builder
	b.WriteString("WEBVTT\n")
	cues := 0
	for at < len(lines) {
		if strings.TrimSpace(lines[at]) == "" {
			at++
			continue
		}
		begin := at
		for at < len(lines) && strings.TrimSpace(lines[at]) != "" {
			at++
		}
		block := lines[begin:at]
		if vtt && (block[0] == "NOTE" || strings.HasPrefix(block[0], "NOTE ") || block[0] == "STYLE" || block[0] == "REGION") && !strings.Contains(block[0], "-->") {
			continue
		}
		if !strings.Contains(block[0], "-->") { // a number or a name
			block, begin = block[1:], begin+1
		}
		if len(block) == 0 || !strings.Contains(block[0], "-->") {
			return "", bad(begin, "A cue begins with its times, as 00:00:01.000 --> 00:00:04.000.")
		}
		m := timing.FindStringSubmatch(strings.TrimRight(block[0], " \t"))
		if m == nil {
			return "", bad(begin, "Times are written as 00:00:01.000 --> 00:00:04.000.")
		}
		from, okFrom := readTime(m[1])
		to, okTo := readTime(m[2])
		if !okFrom || !okTo || to <= from {
			return "", bad(begin, "A cue ends after it begins, and minutes and seconds are below 60.")
		}
		if cues++; cues > maxCues {
			return "", bad(begin, fmt.Sprintf("There are at most %d cues.", maxCues))
		}
		fmt.Fprintf(&b, "\n%s --> %s", vttTime(from), vttTime(to))
		if vtt {
			for setting := range strings.FieldsSeq(m[3]) {
				if cueSetting.MatchString(setting) {
					b.WriteString(" " + setting)
				}
			}
		}
		b.WriteString("\n")
		for i, line := range block[1:] {
			if strings.Contains(line, "-->") {
				return "", bad(begin+1+i, "An empty line comes between cues.")
			}
			b.WriteString(cueText(line) + "\n")
		}
	}
	if cues == 0 {
		return "", bad(0, "There are no cues.")
	}
	return b.String(), nil
}

// cueTag is what may stand between angle brackets in a cue.
var cueTag = regexp.MustCompile(`^</?(b|i|u|ruby|rt)>|^<v(\.[\w.-]+)?[ \t][^<>&]{1,100}>|^</v>|^<lang [A-Za-z0-9-]{1,35}>|^</lang>`)

// cueText escapes what is no tag of WebVTT.
func cueText(line string) string {
	var b strings.Builder
	for line != "" {
		if line[0] == '<' {
			if tag := cueTag.FindString(line); tag != "" {
				b.WriteString(tag)
				line = line[len(tag):]
				continue
			}
			b.WriteString("&lt;")
			line = line[1:]
			continue
		}
		n := strings.IndexByte(line, '<')
		if n < 0 {
			n = len(line)
		}
		b.WriteString(strings.ReplaceAll(line[:n], ">", "&gt;"))
		line = line[n:]
	}
	return b.String()
}

// readTime reads [hours:]minutes:seconds with thousandths after a point or a
// comma.
func readTime(text string) (time.Duration, bool) {
	fields := strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == '.' || r == ',' })
	var n [4]int64
	for i, field := range fields {
		v, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, false
		}
		n[4-len(fields)+i] = v
	}
	if n[1] > 59 || n[2] > 59 {
		return 0, false
	}
	return time.Duration(((n[0]*60+n[1])*60+n[2])*1000+n[3]) * time.Millisecond, true
}

// vttTime writes a time as WebVTT does.
func vttTime(d time.Duration) string {
	ms := d.Milliseconds()
	return fmt.Sprintf("%02d:%02d:%02d.%03d", ms/3_600_000, ms/60_000%60, ms/1000%60, ms%1000)
}
