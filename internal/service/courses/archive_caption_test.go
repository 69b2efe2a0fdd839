package courses_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/courses"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// caption gives a file captions, as they are kept.
func (l *library) caption(course, mediaID, language, label, content string, main bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setCaption(course, &mediapb.ImportedCaption{MediaId: mediaID, Language: language, Label: label, Content: content, Main: main})
}

func (l *library) setCaption(course string, c *mediapb.ImportedCaption) {
	sum := sha256.Sum256([]byte(c.GetContent()))
	f := l.files[course][c.GetMediaId()]
	f.captions = slices.DeleteFunc(f.captions, func(old *mediapb.ReadCaptionsResponse) bool { return old.GetLanguage() == c.GetLanguage() })
	f.captions = append(f.captions, &mediapb.ReadCaptionsResponse{
		MediaId: c.GetMediaId(), Language: c.GetLanguage(), Label: c.GetLabel(), Main: c.GetMain(), Content: c.GetContent(),
		Size: int64(len(c.GetContent())), Sha256: hex.EncodeToString(sum[:]),
	})
	slices.SortFunc(f.captions, func(a, b *mediapb.ReadCaptionsResponse) int { return strings.Compare(a.GetLanguage(), b.GetLanguage()) })
}

// captionsOf returns the captions of a course, a line each.
func (l *library) captionsOf(course string) (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.files[course] {
		for _, c := range f.captions {
			out = append(out, fmt.Sprintf("%s %s %s %v", f.GetFilename(), c.GetLanguage(), c.GetLabel(), c.GetMain()))
		}
	}
	slices.Sort(out)
	return out
}

func (l *library) ReadCaptions(req *mediapb.ReadCaptionsRequest, stream grpc.ServerStreamingServer[mediapb.ReadCaptionsResponse]) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("ReadCaptions"); err != nil {
		return err
	}
	for _, mediaID := range req.GetMediaIds() {
		if l.files[req.GetCourseId()][mediaID] == nil {
			continue
		}
		for _, c := range l.files[req.GetCourseId()][mediaID].captions {
			c = proto.CloneOf(c)
			if req.GetDescribeOnly() {
				c.Content = ""
			}
			if err := stream.Send(c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *library) ImportCaptions(ctx context.Context, req *mediapb.ImportCaptionsRequest) (*mediapb.ImportCaptionsResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("ImportCaptions"); err != nil {
		return nil, err
	}
	key := "captions " + rpc.IdempotencyKey(ctx)
	if was, ok := l.keys[key].(*mediapb.ImportCaptionsRequest); ok {
		if !proto.Equal(was, req) {
			return nil, fault.New(fault.Conflict, "idempotency.key_reused", "another request")
		}
		return &mediapb.ImportCaptionsResponse{}, nil
	}
	for _, c := range req.GetCaptions() {
		if l.files[req.GetCourseId()][c.GetMediaId()] == nil {
			return nil, fault.New(fault.NotFound, "media.not_found", "no file")
		}
		l.setCaption(req.GetCourseId(), c)
	}
	l.keys[key] = proto.CloneOf(req)
	return &mediapb.ImportCaptionsResponse{Captions: int32(len(req.GetCaptions()))}, nil //nolint:gosec // at most 200
}

// said is WebVTT of one cue as media keeps it.
func said(text string) string { return "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n" + text + "\n" }

// spoken makes a course whose video and sound have captions; two of its videos are
// of the same bytes and name, and differ in their captions.
func (f *archiveFixture) spoken() string {
	f.t.Helper()
	c := f.rich()
	var video, audio string
	for mediaID, file := range f.library.files[c] {
		switch file.GetFilename() {
		case "talk.mp4":
			video = mediaID
		case "talk.mp3":
			audio = mediaID
		}
	}
	f.library.caption(c, video, "de", "Deutsch", said("Grüße & <i>so</i>"), true)
	f.library.caption(c, video, "pt-BR", "português", said("Olá"), false)
	f.library.caption(c, video, "en", "English", said("Hi"), false)
	f.library.caption(c, audio, "en", "English", said("Hi"), false)
	m := f.module(c, "More")
	for i, words := range []string{"Hi", "Hi", "Bye"} { // the first is the one that there is, but for its languages
		other := f.library.put(c, "talk.mp4", "video/mp4:moving")
		f.library.caption(c, other, "en", "English", said(words), true)
		must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: c, ModuleId: m, Title: fmt.Sprintf("Film %d", i), Blocks: []*coursespb.Block{
			{Content: &coursespb.Block_Video{Video: &coursespb.VideoBlock{MediaId: other}}},
		}}))
	}
	return c
}

var spokenCaptions = []string{
	"talk.mp3 en English false", "talk.mp4 de Deutsch true", "talk.mp4 en English false", "talk.mp4 en English true", "talk.mp4 en English true",
	"talk.mp4 pt-BR português false",
}

// TestArchiveOfCaptions: captions are in an archive, and of an archive comes what
// was in it, to the byte.
func TestArchiveOfCaptions(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	c := f.spoken()
	first := f.export(c, 0)
	if again := f.export(c, 0); !bytes.Equal(first, again) {
		t.Error("the same course gives two archives")
	}
	files := unzipped(t, first)
	sum := sha256.Sum256([]byte("video/mp4:moving"))
	name := "media-" + hex.EncodeToString(sum[:])[:16]
	var kept []string
	for file, text := range files {
		if strings.HasPrefix(file, "captions/"+name) {
			kept = append(kept, path.Base(file)+" "+strings.Split(text, "\n")[3])
		}
	}
	slices.Sort(kept)
	same(t, "captions", []string{"de.vtt Grüße & <i>so</i>", "en.vtt Bye", "en.vtt Hi", "en.vtt Hi", "pt-br.vtt Olá"}, kept)
	if !strings.Contains(files["stoa.json"], `"version": 2`) || !strings.Contains(files["media.json"], `"language": "pt-BR"`) {
		t.Errorf("lists:\n%s\n%s", files["stoa.json"], files["media.json"])
	}
	if check := must(f.GetExportCheck(f.teacher, &coursespb.GetExportCheckRequest{CourseId: c})); check.GetCaptions() != 6 || check.GetMediaFiles() != 8 {
		t.Errorf("check: %v", check)
	}

	i := f.imported("", first, false)
	if i.GetState() != "done" || i.GetErrors() != 0 {
		t.Fatalf("import: %v", i)
	}
	same(t, "imported captions", spokenCaptions, f.library.captionsOf(i.GetCourseId()))
	if second := f.export(i.GetCourseId(), 0); !bytes.Equal(first, second) {
		t.Errorf("another archive comes of what was imported (-first +second):\n%s", cmp.Diff(files, unzipped(t, second)))
	}
	// Into a course, and by a copy.
	into := f.course()
	if i := f.imported(into, first, false); i.GetState() != "done" {
		t.Errorf("into a course: %v", i)
	}
	same(t, "captions of modules", spokenCaptions, f.library.captionsOf(into))
	copied := must(f.DuplicateCourse(f.teacher, &coursespb.DuplicateCourseRequest{CourseId: c}))
	if n := len(f.library.captionsOf(copied.GetCourse().GetId())); n != 7 {
		t.Errorf("a copy has %d captions", n)
	}
	// What is published has the captions of now.
	f.publish(c)
	if !bytes.Equal(f.export(c, 1), f.export(c, 0)) {
		t.Error("a version's archive is another than the draft's")
	}
	// The schema knows them.
	var v any
	if err := json.Unmarshal([]byte(files["media.json"]), &v); err != nil {
		t.Fatal(err)
	}
	holds := compiled(t, must(f.GetArchiveSchema(f.stranger, &coursespb.GetArchiveSchemaRequest{})).AsMap())
	if err := holds("media.json", v); err != nil {
		t.Error(err)
	}
	if holds("stoa.json", map[string]any{"format": "stoa-course", "version": 5, "origin": c, "files": []any{}}) == nil {
		t.Error("a version that there is not is accepted")
	}
}

// TestCaptionsChanged: an archive has what was there when it was begun, or breaks
// off.
func TestCaptionsChanged(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*library, string, string){
		"other words":  func(l *library, c, m string) { l.caption(c, m, "en", "English", said("Else"), true) },
		"another name": func(l *library, c, m string) { l.caption(c, m, "en", "E", said("Hi"), true) },
		"one more":     func(l *library, c, m string) { l.caption(c, m, "fr", "français", said("Salut"), false) },
		"none": func(l *library, c, m string) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.files[c][m].captions = nil
		},
	} {
		f := setupArchive(t)
		c := f.course()
		video := f.library.put(c, "a.mp4", "video/mp4:x")
		f.library.caption(c, video, "en", "English", said("Hi"), true)
		must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: c, ModuleId: f.module(c, "M"), Title: "L", Blocks: []*coursespb.Block{
			{Content: &coursespb.Block_Video{Video: &coursespb.VideoBlock{MediaId: video}}},
		}}))
		calls := 0
		f.library.fail = func(string) error {
			if calls++; calls == 2 { // the first finds them
				f.library.mu.Unlock()
				change(f.library, c, video)
				f.library.mu.Lock()
			}
			return nil
		}
		_, _, err := f.tryExport(f.teacher, c, 0)
		tells(t, name, err, fault.Conflict, "course_archive.changed")
		if calls != 2 {
			t.Errorf("%s: %d calls", name, calls)
		}
	}
}

// TestCaptionsFail: when captions can't be set, nothing is left; when a process
// dies before they are, or after, another goes on.
func TestCaptionsFail(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	archive := f.export(f.spoken(), 0)
	before := f.library.total()
	for code, kind := range map[string]fault.Kind{"caption.malformed": fault.Invalid, "media.not_found": fault.NotFound} {
		f.library.fail = func(method string) error {
			if method == "ImportCaptions" {
				return fault.New(kind, code, "no")
			}
			return nil
		}
		want := code
		if kind == fault.Invalid {
			want = "course_import.refused"
		}
		i := f.imported("", archive, false)
		if i.GetState() != "failed" || i.GetCode() != want || kind == fault.Invalid && i.GetFindings()[len(i.GetFindings())-1].GetPath() != "media.json" {
			t.Errorf("import: %v", i)
		}
		f.library.fail = nil
		if err := courses.SweepClaims(f.own, t.Context()); err != nil {
			t.Fatal(err)
		}
		if f.library.total() != before {
			t.Errorf("%d files, before %d", f.library.total(), before)
		}
	}
	for _, at := range []string{"before", "after"} {
		i := must(f.send(f.teacher, "", archive, false))
		dying, kill := context.WithCancel(t.Context())
		f.library.fail = func(method string) error {
			if method != "ImportCaptions" {
				return nil
			}
			kill()
			if at == "before" {
				return context.Canceled
			}
			return nil
		}
		_ = courses.RunImports(f.own, dying) // how it ends is not the point
		if got := f.state(i.GetId()); got.GetState() == "done" {
			t.Fatalf("%s: it was not killed: %v", at, got)
		}
		f.library.fail = nil
		f.later(2 * time.Minute)
		if err := courses.RunImports(f.process(f.db), t.Context()); err != nil {
			t.Fatal(err)
		}
		got := f.state(i.GetId())
		if got.GetState() != "done" || !bytes.Equal(archive, f.export(got.GetCourseId(), 0)) {
			t.Errorf("%s: %v", at, got)
		}
	}
	if f.library.total() != before+2*8 {
		t.Errorf("%d files, before %d", f.library.total(), before)
	}
}

// TestManyCaptions: they go to media in pieces that fit into a message, and more
// than an archive takes are not exported.
func TestManyCaptions(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	c := f.course()
	m := f.module(c, "M")
	var blocks []*coursespb.Block
	var videos []string
	for n := range 6 {
		video := f.library.put(c, "a.mp4", fmt.Sprintf("video/mp4:%d", n))
		videos = append(videos, video)
		for i := range 50 {
			f.library.caption(c, video, fmt.Sprintf("en-x-n%d", i), "E", said(fmt.Sprintf("Hi %d %d", n, i)), i == 7)
		}
		blocks = append(blocks, &coursespb.Block{Content: &coursespb.Block_Video{Video: &coursespb.VideoBlock{MediaId: video}}})
	}
	for i := range 3 {
		f.library.caption(c, videos[2], fmt.Sprintf("en-x-n%d", i), "E", said(strings.Repeat("x", 2_000_000)), false)
	}
	must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: c, ModuleId: m, Title: "L", Blocks: blocks}))
	archive := f.export(c, 0)
	calls := 0
	f.library.fail = func(method string) error {
		if method == "ImportCaptions" {
			calls++
		}
		return nil
	}
	i := f.imported("", archive, false)
	if i.GetState() != "done" || !bytes.Equal(archive, f.export(i.GetCourseId(), 0)) {
		t.Errorf("import: %v", i)
	}
	if calls < 3 || calls > 5 { // 300, three of which have 2 MB: no two of these are in one message
		t.Errorf("%d calls", calls)
	}
	f.library.files[c][videos[0]].captions[0].Size = 1 << 30
	_, _, err := f.tryExport(f.teacher, c, 0)
	tells(t, "too many bytes", err, fault.Invalid, "course_archive.too_large")
}

// captioned is a course of one video that has captions.
func captioned() map[string]string {
	sum := sha256.Sum256([]byte("video/mp4:x"))
	file := "media/" + hex.EncodeToString(sum[:]) + ".mp4"
	return with(func(m map[string]string) {
		m[file] = "video/mp4:x"
		m["captions/v/de.vtt"], m["captions/v/en.vtt"] = said("Hallo"), "WEBVTT by hand\n\nSTYLE\n::cue {}\n\n00:01.000 --> 00:02.000\nHi\n"
		m["media.json"] = fmt.Sprintf(`{"files": [{"id": "media-1", "path": %q, "filename": "x.mp4", "content_type": "video/mp4", "captions": [
			{"language": "de", "main": true, "path": "captions/v/de.vtt"}, {"language": "en", "label": "E", "path": "captions/v/en.vtt"}]}]}`, file)
		m["modules/01-m/01-l/lesson.json"] = `{"id": "l", "title": "L", "blocks": [{"block": {"markdown": {}}, "text_file": "text-01.md"}, {"block": {"video": {"media_id": "media-1"}}}]}`
	})
}

// TestCaptionsRefused: what is wrong with captions in an archive is told with the
// file and a code, also when it is only looked at.
func TestCaptionsRefused(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	change := func(old, is string) func(map[string]string) {
		return func(m map[string]string) { m["media.json"] = strings.ReplaceAll(m["media.json"], old, is) }
	}
	const list = "media.json files[0].captions"
	for name, c := range map[string]struct {
		change func(map[string]string)
		want   string // path, field and code of the first finding
	}{
		"no captions":    {func(m map[string]string) { m["captions/v/en.vtt"] = "WEBVTT\n\nhello\n" }, "captions/v/en.vtt  caption.malformed"},
		"nothing":        {func(m map[string]string) { m["captions/v/en.vtt"] = "" }, "captions/v/en.vtt  caption.malformed"},
		"no UTF-8":       {func(m map[string]string) { m["captions/v/en.vtt"] = said("\xff") }, "captions/v/en.vtt  archive.encoding"},
		"too many bytes": {func(m map[string]string) { m["captions/v/en.vtt"] = said(strings.Repeat("xyz 123 ", 1<<18)) }, "captions/v/en.vtt  archive.file_too_large"},
		"more when kept": {func(m map[string]string) { m["captions/v/en.vtt"] = said(strings.Repeat(">", 1<<20)) }, "captions/v/en.vtt  caption.too_large"},
		"too many cues": {func(m map[string]string) {
			m["captions/v/en.vtt"] = strings.Repeat("1\n0:01.000 --> 0:02.000\nx\n\n", 20_001)
		}, "captions/v/en.vtt  caption.malformed"},
		"missing":          {func(m map[string]string) { delete(m, "captions/v/en.vtt") }, list + "[1].path archive.file_missing"},
		"named by nothing": {func(m map[string]string) { m["captions/v/fr.vtt"] = said("x") }, "captions/v/fr.vtt  archive.file_unused"},
		"named twice":      {change("v/en.vtt", "v/de.vtt"), list + "[1].path archive.caption_path"},
		"a text":           {change("captions/v/en.vtt", "modules/01-m/01-l/text-01.md"), list + "[1].path archive.caption_path"},
		"a path upwards":   {change("captions/v/en.vtt", "captions/../../en.vtt"), list + "[1].path archive.file_missing"},
		"the description": {func(m map[string]string) {
			m["course.json"] = `{"title": "T", "language": "en", "level": "all", "time_zone": "UTC", "description_file": "captions/v/en.vtt"}`
		}, list + "[1].path archive.caption_path"},
		"no language":      {change(`"en"`, `"xx"`), list + "[1].language caption.language"},
		"a language twice": {change(`"en"`, `"DE"`), list + "[1].language caption.twice"},
		"a path for one":   {change(`"en"`, `"../en"`), list + "[1].language string.pattern"},
		"a long label":     {change(`"E"`, `"`+strings.Repeat("E", 81)+`"`), list + "[1].label string.max_len"},
		"two main ones":    {change(`"label": "E"`, `"main": true`), list + "[1].main caption.main_twice"},
		"more than fifty":  {change(`"captions": [`, `"captions": [`+strings.Repeat(`{"language": "de", "path": "captions/v/de.vtt"},`, 49)), list + " repeated.max_items"},
		"a key more":       {change(`"label"`, `"kind"`), list + "[1].kind archive.key"},
		"of a picture": {func(m map[string]string) {
			sum := sha256.Sum256([]byte("image/png:x"))
			file := "media/" + hex.EncodeToString(sum[:]) + ".png"
			m[file] = "image/png:x"
			m["media.json"] = fmt.Sprintf(`{"files": [{"id": "media-1", "path": %q, "filename": "x", "content_type": "image/png", "captions": [{"language": "de", "path": "captions/v/de.vtt"}]}]}`, file)
		}, list + " media.no_captions"},
	} {
		files := captioned()
		c.change(files)
		content := sealedAs(t, 2, files, zip.Store)
		for _, dry := range []bool{true, false} {
			i := f.imported("", content, dry)
			first := ""
			if found := i.GetFindings(); len(found) > 0 {
				first = found[0].GetPath() + " " + found[0].GetField() + " " + found[0].GetCode()
			}
			if i.GetState() != "failed" || i.GetCode() != "course_import.refused" || first != c.want {
				t.Errorf("%s: first %q, want %q, of %v", name, first, c.want, i)
			}
		}
	}
	i := f.imported("", sealedAs(t, 1, captioned(), zip.Store), true)
	if i.GetState() != "failed" || i.GetFindings()[0].GetPath()+i.GetFindings()[0].GetCode() != "stoa.json"+"archive.version" {
		t.Errorf("of the version before: %v", i)
	}
	files := unzipped(t, sealedAs(t, 2, captioned(), zip.Store))
	files["captions/v/de.vtt"] = strings.ToUpper(files["captions/v/de.vtt"])
	if i := f.imported("", packed(t, files, zip.Store), true); i.GetState() != "failed" || i.GetFindings()[0].GetPath()+" "+i.GetFindings()[0].GetCode() != "captions/v/de.vtt archive.hash" {
		t.Errorf("other bytes: %v", i)
	}
	if f.library.total() != 0 {
		t.Errorf("%d files of what was refused", f.library.total())
	}
	// Without the fault, of either version, it is a course.
	if i := f.imported("", sealedAs(t, 2, captioned(), zip.Deflate), false); i.GetState() != "done" {
		t.Errorf("nothing wrong: %v", i)
	} else {
		same(t, "captions", []string{"x.mp4 de  true", "x.mp4 en E false"}, f.library.captionsOf(i.GetCourseId()))
	}
	if i := f.imported("", sealedAs(t, 2, small(), zip.Deflate), false); i.GetState() != "done" {
		t.Errorf("version 2 without captions: %v", i)
	}
}
