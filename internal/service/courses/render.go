package courses

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/markdown"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// render returns the HTML of each block, "" for those that have none.
func (s *Service) render(body []block) []string {
	html := make([]string, len(body))
	for i, b := range body {
		switch b.Type {
		case blockHTML:
			html[i] = markdown.Sanitize(b.Text)
		case blockMarkdown, blockCallout, blockVideo, blockAudio:
			html[i] = s.html.Render(b.Text)
		}
	}
	return html
}

// keepRendering keeps the HTML of a content beside it, so that it is made once
// and not for each reader.
func keepRendering(ctx context.Context, tx *pg.Tx, versionID int64, html []string) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO rendering (version_id, renderer, html) VALUES ($1, $2, $3)
		ON CONFLICT ON CONSTRAINT rendering_pkey DO UPDATE SET renderer = EXCLUDED.renderer, html = EXCLUDED.html
		WHERE rendering.renderer < EXCLUDED.renderer`, versionID, markdown.Version, html)
	return err
}

// rendered returns the HTML of a lesson's blocks: what is kept, and made anew and
// kept where a program of before has made it, or none.
func (s *Service) rendered(ctx context.Context, l lesson) ([]string, error) {
	if len(l.Body) == 0 || l.Renderer >= markdown.Version && len(l.HTML) == len(l.Body) {
		return l.HTML, nil
	}
	html := s.render(l.Body)
	return html, s.db.InTx(ctx, func(tx *pg.Tx) error {
		if err := keepRendering(ctx, tx, l.VersionID, html); err != nil {
			return err
		}
		tx.Exempt("made of what is there")
		return nil
	})
}

// complete adds to a lesson what is made for its readers: HTML, what media tells
// of files, for which it is asked once, and not at all without files, and the
// titles of activities, of a publication or, with 0, of the draft.
func (s *Service) complete(ctx context.Context, l *coursespb.Lesson, html []string, publication int32, open bool) (*coursespb.Lesson, error) {
	var uses, activities []use
	for _, b := range l.GetBlocks() {
		stored := newBlock(b)
		if stored.MediaID != "" {
			uses = append(uses, use{id: stored.MediaID})
		}
		if stored.ItemID != "" {
			activities = append(activities, use{id: stored.ItemID})
		}
	}
	found, err := s.findMedia(ctx, l.GetCourseId(), uses, &mediapb.Viewer{AccountId: auth.From(ctx).Account, ItemId: l.GetId(), Open: open})
	if err != nil {
		return nil, err
	}
	titles, err := s.titles(ctx, l.GetCourseId(), publication, activities)
	if err != nil {
		return nil, err
	}
	for i, b := range l.GetBlocks() {
		made := ""
		if i < len(html) {
			made = html[i]
		}
		switch c := b.GetContent().(type) {
		case *coursespb.Block_Markdown:
			c.Markdown.Html = made
		case *coursespb.Block_Html:
			c.Html.Html = made
		case *coursespb.Block_Callout:
			c.Callout.Html = made
		case *coursespb.Block_Image:
			c.Image.Media = found[c.Image.GetMediaId()] // absent for a file that is no longer there
			c.Image.Url = c.Image.GetMedia().GetUrl()
		case *coursespb.Block_Video:
			c.Video.Media, c.Video.TranscriptHtml = found[c.Video.GetMediaId()], made
		case *coursespb.Block_Audio:
			c.Audio.Media, c.Audio.TranscriptHtml = found[c.Audio.GetMediaId()], made
		case *coursespb.Block_Slides:
			c.Slides.Media = found[c.Slides.GetMediaId()]
		case *coursespb.Block_File:
			m := found[c.File.GetMediaId()]
			c.File.Media, c.File.Url, c.File.ContentType, c.File.Size = m, m.GetUrl(), m.GetContentType(), m.GetSize()
			if c.File.GetTitle() == "" {
				c.File.Title = m.GetFilename()
			}
		case *coursespb.Block_Embed:
			if site, frame, ok := framed(s.sites, c.Embed.GetUrl()); ok {
				c.Embed.Provider, c.Embed.FrameUrl, c.Embed.Sandbox, c.Embed.Allow = site.name, frame, sandbox, site.allow
			}
		case *coursespb.Block_Quiz:
			c.Quiz.Title = titles[c.Quiz.GetActivityId()]
		case *coursespb.Block_Assignment:
			c.Assignment.Title = titles[c.Assignment.GetActivityId()]
		}
	}
	if publication > 0 { // staff see in the draft what shows nothing
		l.Blocks = slices.DeleteFunc(l.Blocks, func(b *coursespb.Block) bool {
			itemID := newBlock(b).ItemID
			_, there := titles[itemID]
			return itemID != "" && !there
		})
	}
	return l, nil
}

// titles returns the titles of items of a course by id, those of a publication
// or, with 0, of the draft.
func (s *Service) titles(ctx context.Context, courseID string, publication int32, uses []use) (map[string]string, error) {
	if len(uses) == 0 {
		return nil, nil
	}
	ids := make([]string, len(uses))
	for i, u := range uses {
		ids[i] = u.id
	}
	sql := `SELECT i.id, v.title FROM item i JOIN item_version v ON v.id = i.version_id WHERE i.course_id = $1 AND i.id = ANY($2) AND $3 = 0`
	if publication > 0 {
		sql = `SELECT i.item_id, v.title FROM publication_item i JOIN item_version v ON v.id = i.version_id WHERE i.course_id = $1 AND i.item_id = ANY($2) AND i.number = $3`
	}
	rows, err := s.db.Query(ctx, sql, courseID, ids, publication)
	if err != nil {
		return nil, err
	}
	titles := map[string]string{}
	var itemID, title string
	_, err = pgx.ForEachRow(rows, []any{&itemID, &title}, func() error {
		titles[itemID] = title
		return nil
	})
	return titles, err
}
