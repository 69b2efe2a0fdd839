package media

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// originalPart is the name of the part that is the file as it was uploaded.
const originalPart = "original"

// maxPlaylist bounds a playlist that is rewritten: twelve hours have 1 MiB.
const maxPlaylist = 8 << 20

// shownFile is a file with all that can be shown of it. It never changes but for
// a file that is deleted or processed again, which is known when it is read anew.
type shownFile struct {
	file     file
	asset    asset
	variants map[string]variant
}

// asset is what was found out of an object.
type asset struct {
	ObjectID   string
	Kind       string
	Width      int
	Height     int
	DurationMS int64
}

func (a asset) length() time.Duration { return time.Duration(a.DurationMS) * time.Millisecond }

// shownFor is how long a file that is gone, or was made anew, may still be shown
// as it was.
const shownFor = 10 * time.Second

// shown returns a file that is ready with what can be shown of it. The segments
// of a video come from here, without asking the database for each.
func (s *Service) shown(ctx context.Context, mediaID string) (*shownFile, error) {
	if f, ok := s.cache.GetIfPresent(mediaID); ok {
		return f, nil
	}
	f, err := s.byID(ctx, mediaID)
	if err != nil {
		return nil, err
	}
	if !s.showable(f) {
		return nil, ErrNotFound
	}
	found, err := s.made(ctx, []file{f}, "")
	if err != nil {
		return nil, err
	}
	s.cache.Set(mediaID, found[0])
	return found[0], nil
}

// made returns files with what was made of them, but for variants whose name is
// like skip.
func (s *Service) made(ctx context.Context, files []file, skip string) ([]*shownFile, error) {
	ids := make([]string, len(files))
	list := make([]*shownFile, len(files))
	of := map[string][]*shownFile{}
	for i, f := range files {
		ids[i] = f.objectOf()
		list[i] = &shownFile{file: f, asset: asset{Kind: f.kind()}, variants: map[string]variant{}}
		of[ids[i]] = append(of[ids[i]], list[i])
	}
	rows, err := s.db.Query(ctx, `SELECT object_id, kind, width, height, duration_ms FROM asset WHERE object_id = ANY ($1)`, ids)
	if err != nil {
		return nil, err
	}
	assets, err := pgx.CollectRows(rows, pgx.RowToStructByPos[asset])
	if err != nil {
		return nil, err
	}
	if rows, err = s.db.Query(ctx, `
		SELECT object_id, name, stored, content_type, size, sha256, width, height, page, '' AS words FROM variant
		WHERE object_id = ANY ($1) AND NOT name LIKE $2`, ids, skip); err != nil {
		return nil, err
	}
	variants, err := pgx.CollectRows(rows, pgx.RowToStructByName[variant])
	if err != nil {
		return nil, err
	}
	for _, a := range assets {
		for _, f := range of[a.ObjectID] {
			f.asset = a
		}
	}
	for _, v := range variants {
		for _, f := range of[v.ObjectID] {
			f.variants[v.Name] = v
		}
	}
	return list, nil
}

// largest returns the largest size of a picture.
func (f *shownFile) largest() (variant, bool) {
	if moving, ok := f.variants["animation.gif"]; ok {
		return moving, true
	}
	list := f.sizes()
	if len(list) == 0 {
		return variant{}, false
	}
	return list[len(list)-1], true
}

// sizes returns the sizes of a picture, smallest first.
func (f *shownFile) sizes() []variant {
	var list []variant
	for name, v := range f.variants {
		if strings.HasPrefix(name, "w") && v.Width > 0 {
			list = append(list, v)
		}
	}
	slices.SortFunc(list, func(a, b variant) int { return a.Width - b.Width })
	return list
}

// present describes a file with the addresses that a viewer may have.
func (s *Service) present(f *shownFile, v viewer, captions []caption) *mediapb.Media {
	m := facts(f.file)
	a := f.asset
	m.Kind, m.Width, m.Height, m.DurationMs = a.Kind, int32(a.Width), int32(a.Height), a.DurationMS //nolint:gosec // bounded where they were measured
	if f.file.State != stateReady {
		return m
	}
	v = s.until(v, a.length())
	m.UrlExpiresAt = timestamppb.New(time.Unix(v.expires, 0))
	at := func(name string) string {
		if _, ok := f.variants[name]; !ok {
			return ""
		}
		return s.partPath(f.file.ID, v, name)
	}
	switch a.Kind {
	case kindImage:
		if l, ok := f.largest(); ok {
			m.Url = at(l.Name)
		}
		for _, p := range f.sizes() {
			m.Images = append(m.Images, &mediapb.MediaImage{
				Url: at(p.Name), Width: int32(p.Width), Height: int32(p.Height), ContentType: p.ContentType, Size: p.Size, //nolint:gosec // at most maxWidth
			})
		}
	case kindVideo, kindAudio:
		m.Url, m.HlsUrl, m.PosterUrl = at("audio.m4a"), at("hls/master.m3u8"), at("poster.jpg")
		m.ThumbnailsUrl, m.WaveformUrl = at("thumbnails.vtt"), at("waveform.json")
		for _, c := range captions {
			m.Captions = append(m.Captions, s.presentCaption(c, v))
		}
	default:
		m.Url = s.partPath(f.file.ID, v, originalPart)
		for _, p := range f.pages() {
			m.Pages = append(m.Pages, &mediapb.MediaPage{
				Number: int32(p.Page), Url: at(p.Name), Width: int32(p.Width), Height: int32(p.Height), Text: p.Words, //nolint:gosec // at most maxPages and pageSide
			})
		}
	}
	return m
}

// pages returns the pages of slides in order.
func (f *shownFile) pages() []variant {
	var list []variant
	for _, v := range f.variants {
		if v.Page > 0 {
			list = append(list, v)
		}
	}
	slices.SortFunc(list, func(a, b variant) int { return a.Page - b.Page })
	return list
}

// presentAll describes files. It asks the database as often for many as for one.
func (s *Service) presentAll(ctx context.Context, files []file, v viewer, pages, words bool) ([]*mediapb.Media, error) {
	skip := "hls/_%/%" // segments are named in playlists alone
	if !pages {
		skip = "%/_%" // and pages
	}
	found, err := s.made(ctx, files, skip)
	if err != nil {
		return nil, err
	}
	var hls []string
	for _, f := range found {
		if f.asset.Kind == kindVideo || f.asset.Kind == kindAudio {
			hls = append(hls, f.file.ID)
			if !pages { // the pattern has left it out
				f.variants["hls/master.m3u8"] = variant{}
			}
		}
	}
	captions, err := s.captionsOf(ctx, hls)
	if err != nil {
		return nil, err
	}
	if words {
		if err := s.addWords(ctx, found); err != nil {
			return nil, err
		}
	}
	items := make([]*mediapb.Media, len(found))
	for i, f := range found {
		items[i] = s.present(f, v, captions[f.file.ID])
	}
	return items, nil
}

// addWords adds the text of pages.
func (s *Service) addWords(ctx context.Context, files []*shownFile) error {
	ids := make([]string, len(files))
	for i, f := range files {
		ids[i] = f.file.objectOf()
	}
	rows, err := s.db.Query(ctx, `SELECT object_id, name, words FROM variant WHERE object_id = ANY ($1) AND page > 0`, ids)
	if err != nil {
		return err
	}
	type text struct{ ObjectID, Name, Words string }
	texts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[text])
	if err != nil {
		return err
	}
	for _, t := range texts {
		for _, f := range files {
			if v, ok := f.variants[t.Name]; ok && v.ObjectID == t.ObjectID {
				v.Words = t.Words
				f.variants[t.Name] = v
			}
		}
	}
	return nil
}

// DownloadPart sends a part of a file.
func (r *server) DownloadPart(req *mediapb.DownloadPartRequest, stream grpc.ServerStreamingServer[mediapb.DownloadPartResponse]) error {
	ctx, s := stream.Context(), r.media
	v, err := s.readToken(req.GetMediaId(), req.GetToken(), req.GetPart())
	if err != nil {
		return err
	}
	if p := v.permission(); p != "" {
		// Believed for a second, as the guard does.
		may, err := s.checker.Allowed(ctx, auth.Question{Account: v.account, Course: v.course, Item: v.item, Permission: p}, time.Time{})
		if err != nil {
			return err
		}
		if !may {
			return ErrLinkExpired
		}
	}
	if v.landing {
		if err := s.onLanding(ctx, v.course, req.GetMediaId()); err != nil {
			return err
		}
	}
	f, err := s.shown(ctx, req.GetMediaId())
	if err != nil {
		return err
	}
	if f.file.CourseID != v.course && !v.lent {
		return ErrNotFound
	}
	p, stored, content, err := s.partOf(ctx, f, v, req.GetPart())
	if err != nil {
		return err
	}
	p.ExpiresAt = timestamppb.New(time.Unix(v.expires, 0))
	if err := stream.Send(&mediapb.DownloadPartResponse{Part: p}); err != nil || req.GetDescribeOnly() || req.GetOffset() >= p.GetSize() {
		return err
	}
	send := func(chunk []byte) error { return stream.Send(&mediapb.DownloadPartResponse{Chunk: chunk}) }
	if stored == "" {
		for chunk := range slices.Chunk(content[req.GetOffset():], chunkSize) {
			if err := send(chunk); err != nil {
				return err
			}
		}
		return nil
	}
	return s.sendObject(ctx, stored, req.GetOffset(), 0, p.GetSize(), send)
}

// onLanding returns an error for a file that is not, or no longer, the promotional
// video of a published course.
func (s *Service) onLanding(ctx context.Context, course, mediaID string) error {
	var there bool
	err := s.db.QueryRow(ctx, `SELECT EXISTS (SELECT FROM course_cover WHERE course_id = $1 AND promo_id = $2)`, course, mediaID).Scan(&there)
	if err == nil && !there {
		err = ErrLinkExpired
	}
	return err
}

// partOf returns what a part is, and either where its bytes are stored or its
// bytes.
func (s *Service) partOf(ctx context.Context, f *shownFile, v viewer, name string) (p *mediapb.Part, stored string, content []byte, err error) {
	made := func(contentType string, content []byte) (*mediapb.Part, string, []byte, error) {
		sum := sha256.Sum256(content)
		return &mediapb.Part{ContentType: contentType, Size: int64(len(content)), Etag: hex.EncodeToString(sum[:16])}, "", content, nil
	}
	if language, ok := strings.CutPrefix(name, "captions/"); ok {
		c, err := s.captionOf(ctx, f.file.ID, strings.TrimSuffix(language, ".vtt"))
		if err != nil {
			return nil, "", nil, err
		}
		return made(vttType, []byte(c.Content))
	}
	if language, ok := strings.CutPrefix(name, "hls/captions/"); ok {
		return made(playlistType, captionPlaylist(f.asset.length(), s.partPath(f.file.ID, v, "captions/"+strings.TrimSuffix(language, ".m3u8")+".vtt")))
	}
	if name == originalPart {
		name := f.file.Filename
		switch {
		case f.file.Purpose == purposeLibrary && !v.staff && f.asset.Kind != kindFile && f.asset.Kind != kindSlides:
			return nil, "", nil, ErrNotFound
		case v.anonymous:
			name = neutralName(f.file)
		}
		return &mediapb.Part{
			ContentType: f.file.ContentType, Size: f.file.Size, Etag: f.file.SHA256, Immutable: true, Filename: name,
		}, f.file.objectOf(), nil, nil
	}
	found, ok := f.variants[name]
	if !ok {
		return nil, "", nil, ErrNotFound
	}
	switch path.Ext(name) {
	case ".m3u8", ".vtt":
		text, err := s.text(ctx, found)
		if err != nil {
			return nil, "", nil, err
		}
		sign := func(ref string) string { return s.partPath(f.file.ID, v, path.Join(path.Dir(name), ref)) }
		if found.ContentType == vttType {
			return made(vttType, rewriteThumbnails(text, sign))
		}
		if name == "hls/master.m3u8" {
			captions, err := s.captionsOf(ctx, []string{f.file.ID})
			if err != nil {
				return nil, "", nil, err
			}
			text = addCaptions(text, captions[f.file.ID])
		}
		return made(playlistType, rewritePlaylist(text, sign))
	}
	return &mediapb.Part{ContentType: found.ContentType, Size: found.Size, Etag: found.SHA256, Immutable: true}, found.Stored, nil, nil
}

// text reads a variant that is small.
func (s *Service) text(ctx context.Context, v variant) (string, error) {
	in, err := s.bucket.Open(ctx, object(v.Stored), 0, maxPlaylist)
	if err != nil {
		return "", lost(v.Stored, err)
	}
	defer func() { _ = in.Close() }()
	text, err := io.ReadAll(in)
	return string(text), err
}

// rewritePlaylist replaces every address in a playlist.
func rewritePlaylist(text string, sign func(ref string) string) []byte {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line != "" && line[0] != '#' {
			line = sign(line)
		} else if before, rest, ok := strings.Cut(line, `URI="`); ok {
			if ref, after, ok := strings.Cut(rest, `"`); ok {
				line = before + `URI="` + sign(ref) + `"` + after
			}
		}
		b.WriteString(line + "\n")
	}
	return []byte(b.String())
}

// rewriteThumbnails replaces the addresses of a WebVTT file of thumbnails.
func rewriteThumbnails(text string, sign func(ref string) string) []byte {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if ref, place, ok := strings.Cut(line, "#xywh="); ok {
			line = sign(ref) + "#xywh=" + place
		}
		b.WriteString(line)
	}
	return []byte(b.String())
}

// addCaptions names captions in a master playlist, as tracks of every rendition.
func addCaptions(master string, captions []caption) string {
	if len(captions) == 0 {
		return master
	}
	var b strings.Builder
	told := false
	for line := range strings.Lines(master) {
		if strings.HasPrefix(line, "#EXT-X-STREAM-INF:") {
			if !told {
				for _, c := range captions {
					fmt.Fprintf(&b, "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"captions\",NAME=\"%s\",LANGUAGE=\"%s\",AUTOSELECT=YES,DEFAULT=%s,FORCED=NO,URI=\"captions/%s.m3u8\"\n",
						c.Label, c.Language, map[bool]string{true: "YES", false: "NO"}[c.Main], c.Language)
				}
				told = true
			}
			line = strings.TrimRight(line, "\r\n") + ",SUBTITLES=\"captions\"\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// captionPlaylist is the playlist of captions, which are in one piece.
func captionPlaylist(length time.Duration, address string) []byte {
	return fmt.Appendf(nil, "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:%d\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXTINF:%.3f,\n%s\n#EXT-X-ENDLIST\n",
		int(math.Ceil(length.Seconds())), length.Seconds(), address)
}
