package courses

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// export is a course that is about to be an archive.
type export struct {
	snapshot

	filename string
	refs     refs
	folders  map[string]string // of parts, by id
	media    []exportedFile    // by their names in the archive
	carried  []carriedFile     // quizzes, assignments and what they ask
	found    *findings
}

// exportedFile is a file of the course in the archive.
type exportedFile struct {
	*mediapb.Media

	name     string // within the archive
	path     string
	captions []exportedCaption // by language
}

// prepareExport looks at all that an archive of a course is to have but for the
// contents themselves. What keeps it from being exported is among what is found.
func (s *Service) prepareExport(ctx context.Context, courseID string, version int32) (*export, error) {
	snap, err := readSnapshot(ctx, s.db, courseID, version)
	if err != nil {
		return nil, err
	}
	e := &export{snapshot: snap, folders: folders(snap.parts), found: &findings{}}
	e.filename = slug(snap.Title, "course") + ".stoa.zip"
	if version > 0 {
		e.filename = fmt.Sprintf("%s-v%d.stoa.zip", slug(snap.Title, "course"), version)
	}
	e.refs = refs{items: localNames(snap.parts), media: map[string]string{}, left: func(id, field, code, hint string) {
		e.found.warn(id, field, code, hint)
	}}
	carried, err := s.readCarried(ctx, e)
	if err != nil {
		return nil, err
	}
	if err := s.nameMedia(ctx, e, carried); err != nil {
		return nil, err
	}
	if err := e.nameCarried(carried); err != nil {
		return nil, err
	}
	var texts int
	if err := s.db.QueryRow(ctx, `
		SELECT count(*) FROM item_version v, jsonb_array_elements(v.body) b WHERE v.id = ANY($1) AND b.value->>'text' <> ''`,
		versions(snap.parts)).Scan(&texts); err != nil {
		return nil, err
	}
	if texts+len(snap.parts)+len(e.media)+len(e.carried)+e.captions()+4 > maxArchiveFiles {
		return nil, ErrArchiveTooLarge
	}
	return e, nil
}

// mediaBatch is how many files media is asked about together.
const mediaBatch = 200

// nameMedia asks for the files that the course shows, and names them by their
// bytes. Those of the same bytes, the same name and the same captions are one.
func (s *Service) nameMedia(ctx context.Context, e *export, carried []*assessmentpb.ExportActivitiesResponse) error {
	ids, err := e.mediaOf(ctx, s.db, e.parts, true)
	if err != nil {
		return err
	}
	own := map[string]bool{}
	for _, mediaID := range ids {
		own[mediaID] = true
	}
	byCourse := carriedMedia(carried)
	for _, mediaID := range byCourse[e.courseID] {
		if !own[mediaID] {
			ids = append(ids, mediaID)
		}
	}
	byCourse[e.courseID] = ids
	var files []*mediapb.Media
	for _, courseID := range slices.Sorted(maps.Keys(byCourse)) {
		if courseID != e.courseID {
			ids = append(ids, byCourse[courseID]...)
		}
		for batch := range slices.Chunk(byCourse[courseID], mediaBatch) {
			res, err := s.media.BatchGetMedia(ctx, &mediapb.BatchGetMediaRequest{CourseId: courseID, MediaIds: batch})
			if err != nil {
				return err
			}
			for _, m := range res.GetItems() {
				m.CourseId = courseID
			}
			files = append(files, res.GetItems()...)
		}
	}
	there := make(map[string]bool, len(files))
	for _, m := range files {
		there[m.GetId()] = true
		switch {
		case m.GetDeletedAt() != "" && own[m.GetId()]: // others are held by what shows them
			e.found.add(m.GetId(), "media.deleted", "Restore "+m.GetFilename()+", or take it out of the course.")
		case m.GetState() != "ready":
			e.found.add(m.GetId(), "media.not_ready", m.GetFilename()+" is "+m.GetState()+".")
		}
	}
	for _, mediaID := range ids {
		if !there[mediaID] {
			e.found.add(mediaID, "media.not_found", "Take what shows it out of the course.")
		}
	}
	captions, err := s.findCaptions(ctx, files)
	if err != nil {
		return err
	}
	order := func(a, b *mediapb.Media) int {
		return cmp.Or(cmp.Compare(a.GetSha256(), b.GetSha256()), cmp.Compare(a.GetFilename(), b.GetFilename()), compareCaptions(captions[a.GetId()], captions[b.GetId()]))
	}
	slices.SortFunc(files, func(a, b *mediapb.Media) int { return cmp.Or(order(a, b), cmp.Compare(a.GetId(), b.GetId())) })
	const short = 16 // digits of a hash: others of the same are told apart by a number
	same := 0
	for i, m := range files {
		if len(m.GetSha256()) < short {
			continue // not ready, which is told
		}
		if i > 0 && order(m, files[i-1]) == 0 {
			e.refs.media[m.GetId()] = e.refs.media[files[i-1].GetId()]
			continue
		}
		name := "media-" + m.GetSha256()[:short]
		if i > 0 && files[i-1].GetSha256()[:min(short, len(files[i-1].GetSha256()))] == m.GetSha256()[:short] {
			same++
			name = fmt.Sprintf("%s-%d", name, same+1)
		} else {
			same = 0
		}
		e.refs.media[m.GetId()] = name
		has := captions[m.GetId()]
		for i := range has {
			has[i].path = captionPath(name, has[i].GetLanguage())
		}
		e.media = append(e.media, exportedFile{m, name, mediaFolder + "/" + m.GetSha256() + "." + extension(m.GetContentType()), has})
	}
	return nil
}

// captions returns how many captions the files have.
func (e *export) captions() (n int) {
	for _, f := range e.media {
		n += len(f.captions)
	}
	return n
}

// refusal is the error of a course that can't be exported, nil of one that can.
func (e *export) refusal() error {
	if e.found.errors == 0 {
		return nil
	}
	err := &fault.Error{Kind: ErrArchiveMedia.Kind, Code: ErrArchiveMedia.Code, Message: ErrArchiveMedia.Message}
	for _, f := range e.found.list {
		if f.GetSeverity() == "error" && len(err.Fields) < maxFields {
			err.Fields = append(err.Fields, fault.Field{Path: f.GetPath(), Code: f.GetCode(), Hint: f.GetHint()})
		}
	}
	return err
}

// contents calls do with each part and its content as they are in an archive, in
// their order.
func (s *Service) contents(ctx context.Context, e *export, do func(part, content) error) error {
	for batch := range slices.Chunk(e.parts, fewer) {
		read, err := readContents(ctx, s.db, versions(batch))
		if err != nil {
			return err
		}
		for _, p := range batch {
			if err := do(p, e.refs.content(p.ID, read[p.VersionID])); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeArchive writes a course that can be exported. Some lessons and a piece of a
// file are in memory at a time.
func (s *Service) writeArchive(ctx context.Context, e *export, to io.Writer) error {
	w := newArchiveWriter(to)
	if err := w.putJSON(courseFile, archiveCourse(e.refs.landing(e.Landing, e.courseID))); err != nil {
		return err
	}
	if e.Description != "" {
		if err := w.put(descriptionFile, []byte(e.Description)); err != nil {
			return err
		}
	}
	if err := s.contents(ctx, e, func(p part, c content) error { return e.putItem(w, p, c) }); err != nil {
		return err
	}
	for _, f := range e.carried {
		w.version = max(w.version, f.version)
		if err := w.put(f.path, f.text); err != nil {
			return err
		}
	}
	if err := s.writeCaptions(ctx, e, w); err != nil {
		return err
	}
	list := &coursespb.ArchiveMedia{}
	for _, f := range e.media {
		list.Files = append(list.Files, &coursespb.ArchiveMediaFile{
			Id: f.name, Path: f.path, Filename: f.GetFilename(), ContentType: f.GetContentType(), Captions: archiveCaptions(f.captions),
		})
	}
	if err := w.putJSON(mediaFile, list); err != nil {
		return err
	}
	written := ""
	for _, f := range e.media {
		if f.path == written {
			continue // other names of the same bytes
		}
		written = f.path
		if err := s.copyMedia(ctx, f.GetCourseId(), f, w); err != nil {
			return err
		}
	}
	return w.close(e.origin)
}

// descriptionFile has the description of the course.
const descriptionFile = "description.md"

// archiveCourse is the message of what a course is called and how it looks.
func archiveCourse(l Landing) *coursespb.ArchiveCourse {
	c := &coursespb.ArchiveCourse{
		Title: l.Title, Subtitle: l.Subtitle, Language: l.Language, Level: l.Level, Category: l.Category, Tags: l.Tags, Outcomes: l.Outcomes,
		Audience: l.Audience, CoverMediaId: l.CoverMediaID, PromoVideoMediaId: l.PromoVideoMediaID, TimeZone: l.TimeZone,
		Release: l.Release.M, Grading: l.Grading.M,
	}
	if l.Description != "" {
		c.DescriptionFile = descriptionFile
	}
	for _, q := range l.FAQ {
		c.Faq = append(c.Faq, &coursespb.Question{Question: q.Question, Answer: q.Answer})
	}
	return c
}

// putItem adds the files of an item, whose content is as it is in an archive.
func (e *export) putItem(w *archiveWriter, p part, c content) error {
	name, folder := e.refs.items[p.ID], e.folders[p.ID]+"/"
	var m proto.Message
	switch p.Kind {
	case "module":
		m = &coursespb.ArchiveModule{Id: name, Title: c.Title, Settings: c.Settings.M}
	case "lesson":
		l := &coursespb.ArchiveLesson{Id: name, Title: c.Title, Preview: c.Preview, Settings: c.Settings.M}
		for i, b := range c.Body {
			text, file := b.Text, textFile(b.Type, i+1)
			if text == "" || file == "" {
				l.Blocks = append(l.Blocks, &coursespb.ArchiveBlock{Block: b.proto()})
				continue
			}
			b.Text = ""
			l.Blocks = append(l.Blocks, &coursespb.ArchiveBlock{Block: b.proto(), TextFile: file})
			if err := w.put(folder+file, []byte(text)); err != nil {
				return err
			}
		}
		m = l
	default:
		m = &coursespb.ArchiveActivity{Id: name, Kind: p.Kind, Title: c.Title, Settings: c.Settings.M, ActivityRef: c.ActivityRef}
	}
	return w.putJSON(folder+itemFile(p.Kind), m)
}

// copyMedia adds the bytes of a file.
func (s *Service) copyMedia(ctx context.Context, courseID string, f exportedFile, w *archiveWriter) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream when the writer does
	stream, err := s.library.ReadMedia(ctx, &mediapb.ReadMediaRequest{CourseId: courseID, MediaId: f.GetId()})
	if err != nil {
		return err
	}
	return w.copy(f.path, f.GetSha256(), f.GetSize(), &mediaReader{stream: stream})
}

// mediaReader reads the bytes of a file that media sends.
type mediaReader struct {
	stream grpc.ServerStreamingClient[mediapb.ReadMediaResponse]
	rest   []byte
}

// Read implements [io.Reader].
func (m *mediaReader) Read(p []byte) (int, error) {
	for len(m.rest) == 0 {
		res, err := m.stream.Recv()
		if errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		if err != nil {
			return 0, fault.FromStatus(err)
		}
		m.rest = res.GetChunk()
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// exportChunk is how much of an archive travels in one message.
const exportChunk = 256 << 10

// exportCourse sends a course as an archive.
func (s *Service) exportCourse(req *coursespb.ExportCourseRequest, stream grpc.ServerStreamingServer[coursespb.ExportCourseResponse]) error {
	ctx := stream.Context()
	e, err := s.prepareExport(ctx, req.GetCourseId(), req.GetVersion())
	if err != nil {
		return err
	}
	if err := e.refusal(); err != nil {
		return err
	}
	if err := stream.Send(&coursespb.ExportCourseResponse{Filename: e.filename}); err != nil {
		return err
	}
	out := bufio.NewWriterSize(exported{stream}, exportChunk)
	if err := s.writeArchive(ctx, e, out); err != nil {
		return err
	}
	return out.Flush()
}

// exported sends what is written.
type exported struct {
	stream grpc.ServerStreamingServer[coursespb.ExportCourseResponse]
}

// Write implements [io.Writer].
func (e exported) Write(p []byte) (int, error) {
	for piece := range slices.Chunk(p, exportChunk) {
		if err := e.stream.Send(&coursespb.ExportCourseResponse{Chunk: piece}); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// checkExport says whether a course can be exported, and how.
func (s *Service) checkExport(ctx context.Context, req *coursespb.GetExportCheckRequest) (*coursespb.GetExportCheckResponse, error) {
	e, err := s.prepareExport(ctx, req.GetCourseId(), req.GetVersion())
	if err != nil {
		return nil, err
	}
	e.refs.landing(e.Landing, e.courseID)
	if err := s.contents(ctx, e, func(part, content) error { return nil }); err != nil {
		return nil, err
	}
	res := &coursespb.GetExportCheckResponse{
		Ready: e.found.errors == 0, Filename: e.filename, Findings: e.found.list,
		MediaFiles: int32(len(e.media)), Captions: int32(e.captions()), //nolint:gosec // at most maxArchiveFiles
	}
	written := ""
	for _, f := range e.media {
		if f.path != written {
			res.MediaBytes += f.GetSize()
		}
		written = f.path
	}
	return res, nil
}
