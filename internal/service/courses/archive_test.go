package courses_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/courses"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// unzipped returns the files of an archive, by any reader of ZIP.
func unzipped(t testing.TB, content []byte) map[string]string {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out[f.Name] = string(text)
	}
	return out
}

func TestArchiveRoundTrip(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	c := f.rich()
	first := f.export(c, 0)
	if again := f.export(c, 0); !bytes.Equal(first, again) {
		t.Error("the same course gives two archives")
	}
	i := f.imported("", first, false)
	if i.GetState() != "done" || i.GetErrors() != 0 {
		t.Fatalf("import: %v", i)
	}
	if d := cmp.Diff([]string{"copy.other_course"}, codes(i.GetFindings())); d != "" || i.GetWarnings() != 1 {
		t.Errorf("findings: %s", d)
	}
	made := i.GetCourseId()
	second := f.export(made, 0)
	if !bytes.Equal(first, second) {
		t.Errorf("another archive comes of what was imported (-first +second):\n%s", cmp.Diff(unzipped(t, first), unzipped(t, second)))
	}
	// A copy of the copy is the same, too.
	if i = f.imported("", second, false); i.GetState() != "done" || !bytes.Equal(first, f.export(i.GetCourseId(), 0)) {
		t.Errorf("a copy of the copy: %v", i)
	}
	files := unzipped(t, first)
	if !strings.Contains(files["stoa.json"], "\n  \"version\": 1\n") || strings.Contains(files["media.json"], "captions") {
		t.Errorf("without captions it is not as it was before there were any:\n%s", files["media.json"])
	}
	for name, want := range map[string]string{
		"description.md": "# About\n\nIt.",
		"modules/01-grundlagen-ubung-etc/02-first/text-01.md":                                 "# One\r\n\ttab, no end of line & <b>\u2028 \U0001f3db",
		"modules/01-grundlagen-ubung-etc/02-first/text-02.md":                                 "\n\n  spaces around \n\n",
		"modules/01-grundlagen-ubung-etc/01-zweites/01-module/03-everything/code-09.txt":      "func main() {}\n",
		"modules/01-grundlagen-ubung-etc/01-zweites/01-module/03-everything/html-01.html":     "<p>Clean <em>text</em></p>",
		"modules/01-grundlagen-ubung-etc/01-zweites/01-module/03-everything/transcript-04.md": "What is said",
		"modules/01-grundlagen-ubung-etc/01-zweites/01-module/03-everything/callout-11.md":    "Open *me*",
		"modules/01-grundlagen-ubung-etc/03-last/lesson.json":                                 "{\n  \"id\": \"lesson-3\",\n  \"title\": \"Last\"\n}\n",
		"modules/01-grundlagen-ubung-etc/01-zweites/01-module/01-test/activity.json":          "{\n  \"id\": \"activity-1\",\n  \"kind\": \"quiz\",\n  \"title\": \"Test\"\n}\n",
	} {
		if files[name] != want {
			t.Errorf("%s: %q, want %q", name, files[name], want)
		}
	}
	for name, text := range files {
		if strings.HasSuffix(name, ".json") && name != "stoa.json" && (strings.Contains(text, "lesson_") || strings.Contains(text, "media_0") || strings.Contains(text, "cohort_")) {
			t.Errorf("%s has ids of this platform:\n%s", name, text)
		}
	}
	if n := len(slices.DeleteFunc(keys(files), func(name string) bool { return path.Dir(name) != "media" })); n != 5 {
		t.Errorf("%d files of media, want 5: two have the same bytes", n)
	}
	if f.library.count(made) != 6 {
		t.Errorf("the import has %d files", f.library.count(made))
	}
	// What is told of the import: a cohort is left out when it is exported, another
	// course is kept.
	check := must(f.GetExportCheck(f.teacher, &coursespb.GetExportCheckRequest{CourseId: c}))
	if d := cmp.Diff([]string{"copy.activity_ref", "copy.cohort"}, codes(check.GetFindings())); d != "" || !check.GetReady() || check.GetMediaFiles() != 6 {
		t.Errorf("check: %v\n%s", check, d)
	}
}

func keys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func codes(list []*coursespb.ArchiveFinding) []string {
	var out []string
	for _, f := range list {
		out = append(out, f.GetCode())
	}
	slices.Sort(out)
	return out
}

func TestArchiveOfVersion(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	c := f.course()
	m := f.module(c, "One")
	f.lesson(c, m, "Old")
	f.publish(c)
	old := f.export(c, 1)
	f.lesson(c, m, "New")
	if !bytes.Equal(old, f.export(c, 1)) {
		t.Error("a version's archive has changed")
	}
	if bytes.Equal(old, f.export(c, 0)) {
		t.Error("the draft's archive is the version's")
	}
	_, name, err := f.tryExport(f.teacher, c, 1)
	if err != nil || name != "course-v1.stoa.zip" {
		t.Errorf("name %q, %v", name, err)
	}
	_, _, err = f.tryExport(f.teacher, c, 2)
	tells(t, "no such version", err, fault.NotFound, "version.not_found")
	_, _, err = f.tryExport(f.other, c, 0)
	tells(t, "somebody else", err, fault.Forbidden, "auth.forbidden")
}

func TestExportRefused(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	c := f.rich()
	var gone, waits string
	for mediaID, file := range f.library.files[c] {
		switch file.GetFilename() {
		case "deck.pdf":
			gone = mediaID
		case "talk.mp4":
			waits = mediaID
		}
	}
	delete(f.library.files[c], gone)
	f.library.files[c][waits].State = "processing"
	_, _, err := f.tryExport(f.teacher, c, 0)
	tells(t, "files are missing", err, fault.Conflict, "course_archive.media")
	want := []string{gone + " media.not_found", waits + " media.not_ready"}
	slices.Sort(want)
	got := fields(err)
	slices.Sort(got)
	same(t, "fields", want, got)
	if check := must(f.GetExportCheck(f.teacher, &coursespb.GetExportCheckRequest{CourseId: c})); check.GetReady() {
		t.Errorf("check: %v", check)
	}
}

func TestImportIntoCourse(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	archive := f.export(f.rich(), 0)
	c := f.course()
	f.lesson(c, f.module(c, "There"), "Before")
	before := f.library.total()
	i := f.imported(c, archive, false)
	if i.GetState() != "done" || i.GetCourseId() != c || i.GetModules() != 3 || i.GetLessons() != 5 || i.GetMediaDone() != 6 {
		t.Fatalf("import: %v", i)
	}
	o := must(f.GetOutline(f.teacher, &coursespb.GetOutlineRequest{CourseId: c}))
	var titles []string
	for _, it := range o.GetItems() {
		titles = append(titles, it.GetTitle())
	}
	same(t, "outline", []string{"There", "Before", "Grundlagen & Übung / ../ etc", "Zweites", "漢字", "Test", "Task", "Everything", "First", "Last"}, titles)
	if err := courses.SweepClaims(f.own, t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.library.count(c) != 6 || f.library.total() != before+6 {
		t.Errorf("%d files, %d in all, before %d: what was staged is left", f.library.count(c), f.library.total(), before)
	}
	// The lesson names the course's own files.
	for _, it := range o.GetItems() {
		if it.GetTitle() == "Everything" {
			l := must(f.GetLesson(f.teacher, &coursespb.GetLessonRequest{CourseId: c, LessonId: it.GetId()}))
			if l.GetBlocks()[1].GetImage().GetMedia().GetFilename() != "Säule.png" || l.GetBlocks()[12].GetQuiz().GetTitle() != "Test" {
				t.Errorf("lesson: %v", l)
			}
		}
	}
}

func TestImportRights(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	c := f.rich()
	archive := f.export(c, 0)
	_, err := f.send(f.stranger, "", archive, false)
	tells(t, "nobody", err, fault.Unauthenticated, "auth.required")
	_, err = f.send(f.other, c, archive, false)
	tells(t, "into another's", err, fault.Forbidden, "auth.forbidden")
	i := must(f.send(f.teacher, c, archive, false))
	_, err = f.GetCourseImport(f.other, &coursespb.GetCourseImportRequest{ImportId: i.GetId()})
	tells(t, "another's import", err, fault.NotFound, "course_import.not_found")
	// Who has lost the right in between does not get it.
	f.mu.Lock()
	f.deny[f.teacherID+" "+c+" course.edit"] = true
	f.mu.Unlock()
	before := f.library.total()
	if err := courses.RunImports(f.own, t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.state(i.GetId()); got.GetState() != "failed" || got.GetCode() != "course_import.permission" || f.library.total() != before {
		t.Errorf("import: %v", got)
	}
}

func TestImportKeys(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	archive := f.export(f.rich(), 0)
	ctx := rpc.WithIdempotencyKey(f.teacher, id.New("key"))
	a, b := must(f.send(ctx, "", archive, false)), must(f.send(ctx, "", archive, false))
	if a.GetId() != b.GetId() {
		t.Errorf("two imports under one key: %v, %v", a, b)
	}
	_, err := f.send(ctx, "", append(slices.Clone(archive), 0), false)
	if err == nil {
		t.Error("another archive under the key")
	}
	files, err := filepath.Glob(filepath.Join(f.dir, "*.zip"))
	if err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
	if err := courses.RunImports(f.own, t.Context()); err != nil {
		t.Fatal(err)
	}
	if files, _ = filepath.Glob(filepath.Join(f.dir, "*.zip")); len(files) != 0 {
		t.Errorf("%v are left", files)
	}
	for range 10 {
		must(f.send(f.teacher, "", archive, true))
	}
	_, err = f.send(f.teacher, "", archive, true)
	tells(t, "an eleventh", err, fault.Exhausted, "course_import.too_many")
	if err := courses.RunImports(f.own, t.Context()); err != nil {
		t.Fatal(err)
	}
	res := must(f.ListCourseImports(f.teacher, &coursespb.ListCourseImportsRequest{PageSize: 10}))
	more := must(f.ListCourseImports(f.teacher, &coursespb.ListCourseImportsRequest{PageSize: 10, Cursor: res.GetNextCursor()}))
	if len(res.GetItems()) != 10 || len(more.GetItems()) != 1 || res.GetItems()[0].GetState() != "done" || res.GetItems()[0].GetCourseId() != "" {
		t.Errorf("lists: %v, %v", res, more)
	}
}

// TestImportFails: whatever breaks, nothing is left of an import that has not come
// to its end.
func TestImportFails(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	archive := f.export(f.rich(), 0)
	before := f.library.total()
	n := 0
	f.library.fail = func(method string) error {
		if n++; method == "ImportMedia" && n >= 3 {
			return fault.New(fault.TooLarge, "media.quota_exceeded", "no room")
		}
		return nil
	}
	i := f.imported("", archive, false)
	if i.GetState() != "failed" || i.GetCode() != "media.quota_exceeded" {
		t.Errorf("import: %v", i)
	}
	f.library.fail = nil
	if err := courses.SweepClaims(f.own, t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.library.total() != before {
		t.Errorf("%d files, before %d", f.library.total(), before)
	}
	if res := must(f.ListCourses(f.teacher, &coursespb.ListCoursesRequest{})); len(res.GetItems()) != 1 {
		t.Errorf("courses: %v", res)
	}
	// What is away for a while is waited for.
	n = 0
	f.library.fail = func(string) error {
		if n++; n == 2 {
			return fault.New(fault.Unavailable, "unavailable", "away")
		}
		return nil
	}
	i = must(f.send(f.teacher, "", archive, false))
	if err := courses.RunImports(f.own, t.Context()); err == nil {
		t.Error("an outage is not told")
	}
	if got := f.state(i.GetId()); got.GetState() != "queued" {
		t.Errorf("import: %v", got)
	}
	f.later(2 * time.Minute)
	if err := courses.RunImports(f.own, t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.state(i.GetId()); got.GetState() != "done" || f.library.count(got.GetCourseId()) != 6 || got.GetModules() != 3 || got.GetLessons() != 5 {
		t.Errorf("import: %v", got)
	}
}

// TestImportKilled: a process that dies in the middle leaves an import that
// another goes on with, or that fails; the course is there once, or not at all.
func TestImportKilled(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	archive := f.export(f.rich(), 0)
	before := f.library.total()
	i := must(f.send(f.teacher, "", archive, false))
	dying, kill := context.WithCancel(t.Context())
	n := 0
	f.library.fail = func(string) error {
		if n++; n == 4 {
			kill()
		}
		return nil
	}
	_ = courses.RunImports(f.own, dying) // how it ends is not the point
	f.library.fail = nil
	f.later(2 * time.Minute)
	if err := courses.RunImports(f.process(f.db), t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.state(i.GetId()); got.GetState() != "done" || f.library.total() != before+6 || f.library.count(got.GetCourseId()) != 6 {
		t.Errorf("import: %v, %d files", got, f.library.total())
	}
	// One whose archive has gone with its machine fails.
	i = must(f.send(f.teacher, "", archive, false))
	if err := os.RemoveAll(f.dir); err != nil {
		t.Fatal(err)
	}
	f.later(15 * time.Minute)
	if err := f.own.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.state(i.GetId()); got.GetState() != "failed" || got.GetCode() != "course_import.interrupted" {
		t.Errorf("import: %v", got)
	}
}

func TestImportUploaded(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	c := f.rich()
	archive := f.export(c, 0)
	mediaID := f.library.put(c, "course.zip", string(archive))
	i := must(f.ImportUploaded(f.teacher, &coursespb.ImportUploadedRequest{CourseId: c, MediaId: mediaID}))
	if err := courses.RunImports(f.own, t.Context()); err != nil {
		t.Fatal(err)
	}
	got := f.state(i.GetId())
	if got.GetState() != "done" || !bytes.Equal(archive, f.export(got.GetCourseId(), 0)) {
		t.Errorf("import: %v", got)
	}
	_, err := f.ImportUploaded(f.teacher, &coursespb.ImportUploadedRequest{CourseId: c, MediaId: id.New("media")})
	tells(t, "no such file", err, fault.NotFound, "media.not_found")
	f.mu.Lock()
	f.deny[f.teacherID+"  course.create"] = true
	f.mu.Unlock()
	_, err = f.ImportUploaded(f.teacher, &coursespb.ImportUploadedRequest{CourseId: c, MediaId: mediaID})
	tells(t, "who makes no courses", err, fault.Forbidden, "auth.forbidden")
	must(f.ImportUploaded(f.teacher, &coursespb.ImportUploadedRequest{CourseId: c, MediaId: mediaID, IntoCourseId: c}))
}

// TestArchiveSchema: what is exported is what the published schema says.
func TestArchiveSchema(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	schema := must(f.GetArchiveSchema(f.stranger, &coursespb.GetArchiveSchemaRequest{}))
	holds := compiled(t, schema.AsMap())
	for name, text := range unzipped(t, f.export(f.rich(), 0)) {
		if !strings.HasSuffix(name, ".json") {
			continue
		}
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := holds(path.Base(name), v); err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
		object, _ := v.(map[string]any)
		object["more"] = true
		if holds(path.Base(name), object) == nil {
			t.Errorf("%s: an unknown key is accepted", name)
		}
	}
}
