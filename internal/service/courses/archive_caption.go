package courses

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/language"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
	"github.com/stoa-lms/stoa/internal/webvtt"
)

const (
	// maxCaption bounds captions in bytes, as media does, and maxCaptions those of an
	// archive together: so many words are said in 20,000 hours.
	maxCaption  = 2 << 20
	maxCaptions = 1 << 30
	// captionBatch and captionBatchBytes bound what media is asked to take together.
	captionBatch      = 200
	captionBatchBytes = 3 << 20
)

// exportedCaption are captions of a file in the archive, without what they say.
type exportedCaption struct {
	*mediapb.ReadCaptionsResponse

	path string
}

// hasCaptions reports whether files of a type can have captions.
func hasCaptions(m *mediapb.Media) bool { return fits(blockVideo, m) || fits(blockAudio, m) }

// findCaptions asks which captions files have.
func (s *Service) findCaptions(ctx context.Context, e *export, files []*mediapb.Media) (map[string][]exportedCaption, error) {
	var with []*mediapb.Media
	for _, m := range files {
		if hasCaptions(m) {
			with = append(with, m)
		}
	}
	found := map[string][]exportedCaption{}
	n, size := 0, int64(0)
	for batch := range ofOneCourse(with, (*mediapb.Media).GetCourseId) {
		var ids []string
		for _, m := range batch {
			ids = append(ids, m.GetId())
		}
		err := s.readCaptions(ctx, &mediapb.ReadCaptionsRequest{CourseId: batch[0].GetCourseId(), MediaIds: ids, DescribeOnly: true}, func(c *mediapb.ReadCaptionsResponse) error {
			if n, size = n+1, size+c.GetSize(); n > maxArchiveFiles || size > maxCaptions {
				return ErrArchiveTooLarge
			}
			found[c.GetMediaId()] = append(found[c.GetMediaId()], exportedCaption{ReadCaptionsResponse: c})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// ofOneCourse goes over files in batches that are of one course each, in their order.
func ofOneCourse[T any](files []T, course func(T) string) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		for len(files) > 0 {
			n := 1
			for n < len(files) && n < mediaBatch && course(files[n]) == course(files[0]) {
				n++
			}
			if !yield(files[:n]) {
				return
			}
			files = files[n:]
		}
	}
}

// readCaptions calls do with captions as media sends them.
func (s *Service) readCaptions(ctx context.Context, req *mediapb.ReadCaptionsRequest, do func(*mediapb.ReadCaptionsResponse) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream when do has failed
	stream, err := s.library.ReadCaptions(ctx, req)
	if err != nil {
		return err
	}
	for {
		c, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fault.FromStatus(err)
		}
		if err := do(c); err != nil {
			return err
		}
	}
}

// compareCaptions orders the captions of files of the same bytes and name: those
// that have the same are one in an archive.
func compareCaptions(a, b []exportedCaption) int {
	return slices.CompareFunc(a, b, func(a, b exportedCaption) int {
		return cmp.Or(cmp.Compare(a.GetLanguage(), b.GetLanguage()), cmp.Compare(a.GetLabel(), b.GetLabel()),
			cmp.Compare(strconv.FormatBool(a.GetMain()), strconv.FormatBool(b.GetMain())), cmp.Compare(a.GetSha256(), b.GetSha256()))
	})
}

// captionPath is where the captions of a file are in an archive.
func captionPath(file, lang string) string {
	return captionsFolder + "/" + file + "/" + strings.ToLower(lang) + ".vtt"
}

// archiveCaptions is the list of the captions of a file.
func archiveCaptions(list []exportedCaption) (out []*coursespb.ArchiveCaption) {
	for _, c := range list {
		out = append(out, &coursespb.ArchiveCaption{Language: c.GetLanguage(), Label: c.GetLabel(), Main: c.GetMain(), Path: c.path})
	}
	return out
}

// writeCaptions adds what the captions of the course say. They have to be those
// that were found when it was prepared.
func (s *Service) writeCaptions(ctx context.Context, e *export, w *archiveWriter) error {
	var with []exportedFile
	for _, f := range e.media {
		if len(f.captions) > 0 {
			with = append(with, f)
		}
	}
	for batch := range ofOneCourse(with, exportedFile.GetCourseId) {
		var ids []string
		var next []exportedCaption
		for _, f := range batch {
			ids, next = append(ids, f.GetId()), append(next, f.captions...)
		}
		err := s.readCaptions(ctx, &mediapb.ReadCaptionsRequest{CourseId: batch[0].GetCourseId(), MediaIds: ids}, func(c *mediapb.ReadCaptionsResponse) error {
			if len(next) == 0 || compareCaptions([]exportedCaption{{ReadCaptionsResponse: c}}, next[:1]) != 0 || c.GetMediaId() != next[0].GetMediaId() {
				return ErrArchiveChanged
			}
			at := next[0].path
			next = next[1:]
			return w.put(at, []byte(c.GetContent()))
		})
		if err != nil {
			return err
		}
		if len(next) > 0 {
			return ErrArchiveChanged
		}
		w.version = max(w.version, captionsVersion)
	}
	return nil
}

// listCaptions takes the names of the captions of a file, which is at a place of
// the list of files.
func (p *archivePlan) listCaptions(at string, f *coursespb.ArchiveMediaFile) {
	if len(f.GetCaptions()) == 0 {
		return
	}
	if p.version < captionsVersion {
		p.note.addField(manifestFile, "version", "archive.version", "Captions are of version "+strconv.Itoa(captionsVersion)+" of the format.")
		return
	}
	if !hasCaptions(&mediapb.Media{ContentType: f.GetContentType()}) {
		p.note.addField(mediaFile, at+".captions", "media.no_captions", "Only a video or a sound has captions.")
		return
	}
	there, main := map[string]bool{}, false
	for i, c := range f.GetCaptions() {
		at := index(at+".captions", i)
		tag, err := language.Parse(c.GetLanguage())
		switch {
		case err != nil:
			p.note.addField(mediaFile, at+".language", "caption.language", "A language is named as in en, pt-BR or zh-Hant.")
		case there[tag.String()]:
			p.note.addField(mediaFile, at+".language", "caption.twice", "A file has captions once in a language.")
		case main && c.GetMain():
			p.note.addField(mediaFile, at+".main", "caption.main_twice", "Of the captions of a file one is shown where a viewer has chosen none.")
		case p.listed[c.GetPath()] == nil || p.zip.files[c.GetPath()] == nil:
			p.note.addField(mediaFile, at+".path", "archive.file_missing", "There is no such file.")
		case !strings.HasPrefix(c.GetPath(), captionsFolder+"/") || path.Ext(c.GetPath()) != ".vtt" || p.used[c.GetPath()]:
			p.note.addField(mediaFile, at+".path", "archive.caption_path", "Captions are in "+captionsFolder+"/ in files that end with .vtt, each named once.")
		default:
			c.Language, main = tag.String(), main || c.GetMain()
			there[c.GetLanguage()], p.used[c.GetPath()] = true, true
			if p.captions += p.listed[c.GetPath()].GetSize(); p.captions > maxCaptions {
				p.note.addField(mediaFile, at, "archive.captions_too_large", "The captions of an archive have at most "+strconv.Itoa(maxCaptions)+" bytes together.")
				return
			}
		}
	}
}

// verifyCaptions reads all captions and holds them to what those are held to that
// are uploaded.
func (p *archivePlan) verifyCaptions() {
	for _, f := range p.media {
		for _, c := range f.GetCaptions() {
			text, ok := p.file(c.GetPath(), maxCaption)
			if !ok {
				continue
			}
			if !utf8.Valid(text) {
				p.note.add(c.GetPath(), "archive.encoding", "Write it in UTF-8.")
				continue
			}
			normal, err := webvtt.Normal(string(text))
			if err != nil {
				p.note.add(c.GetPath(), "caption.malformed", err.Error())
			} else if len(normal) > maxCaption {
				p.note.add(c.GetPath(), "caption.too_large", tooLarge(maxCaption))
			}
		}
	}
}

// takeInCaptions has media set the captions of the files of an archive, whose ids
// are known by their names. What is sent together, and under which key, is the
// same in every try.
func (s *Service) takeInCaptions(ctx context.Context, i *courseImport, p *archivePlan, ids map[string]string, note *findings) error {
	n, size := 0, 0
	req := &mediapb.ImportCaptionsRequest{CourseId: i.StagingID}
	flush := func() error {
		if len(req.GetCaptions()) == 0 {
			return nil
		}
		n++
		_, err := s.library.ImportCaptions(rpc.WithIdempotencyKey(ctx, fmt.Sprintf("%s/captions/%d", i.ID, n)), req)
		req, size = &mediapb.ImportCaptionsRequest{CourseId: i.StagingID}, 0
		if fault.Is(err, fault.Invalid) { // a media service that asks for more than this one
			noteError(note, mediaFile, err)
			return &failure{importRefused}
		}
		return err
	}
	for _, f := range p.media {
		for _, c := range f.GetCaptions() {
			text, err := p.zip.read(p.zip.files[c.GetPath()])
			if err != nil {
				return err
			}
			if size += len(text); size > captionBatchBytes || len(req.GetCaptions()) == captionBatch {
				if err := flush(); err != nil {
					return err
				}
				size = len(text)
			}
			req.Captions = append(req.Captions, &mediapb.ImportedCaption{
				MediaId: ids[f.GetId()], Language: c.GetLanguage(), Label: c.GetLabel(), Main: c.GetMain(), Content: string(text),
			})
		}
	}
	return flush()
}
