package story_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/id"
)

// importEnded waits until an import has come to its end.
func importEnded(t testing.TB, p *person, i answer, patience time.Duration) answer {
	t.Helper()
	return p.sees(t, patience, "the import comes to its end", "/v1/course-imports/"+i.text("id"), func(a answer) bool {
		return a.text("state") == "done" || a.text("state") == "failed"
	})
}

// TestArchive: a course is exported, imported by somebody else, and exported again:
// the same bytes.
func TestArchive(t *testing.T) {
	t.Parallel()
	inBoth(t, shared, sharedApart, func(t *testing.T, in *installation) {
		teacher, other := in.signUp(t, "Archive Teacher"), in.signUp(t, "Other Teacher")
		course, _ := draft(t, teacher, "Taken along")
		spoken(t, teacher, course)
		path := "/v1/courses/" + course + "/archive"
		first := teacher.do(t, 200, "GET", path, nil)
		if got := first.header.Get("Content-Type") + " " + first.header.Get("Content-Disposition"); got != `application/zip attachment; filename=taken-along.stoa.zip` {
			t.Errorf("headers: %s", got)
		}
		if again := teacher.do(t, 200, "GET", path, nil); !bytes.Equal(first.body, again.body) {
			t.Error("two exports of one course differ")
		}
		z, err := zip.NewReader(bytes.NewReader(first.body), int64(len(first.body)))
		if err != nil || len(z.File) != 19 {
			t.Fatalf("%v, %v", z, err)
		}
		other.do(t, 404, "GET", path, nil)
		in.nobody().do(t, 401, "GET", path, nil)
		for _, query := range []string{"?version=x", "?version=-1", "?version=99999999999", "?page=1", "?version=1&version=2"} {
			teacher.do(t, 400, "GET", path+query, nil)
		}
		teacher.do(t, 404, "GET", path+"?version=1", nil)
		if a := teacher.do(t, 200, "GET", "/v1/courses/"+course+"/archive-check", nil); a.text("filename") != "taken-along.stoa.zip" || a.number("media_files") != 3 || a.number("captions") != 2 {
			t.Errorf("check: %s", a)
		}

		dry := importEnded(t, other, other.do(t, 201, "POST", "/v1/course-imports?dry_run=true", first.body), soon)
		if dry.text("state") != "done" || dry.number("lessons") != 4 || dry.text("course_id") != "" {
			t.Errorf("dry run: %s", dry)
		}
		key := []string{"Idempotency-Key", id.New("key")}
		sent := other.do(t, 201, "POST", "/v1/course-imports", first.body, key...)
		if again := other.do(t, 201, "POST", "/v1/course-imports", first.body, key...); again.text("id") != sent.text("id") {
			t.Errorf("again: %s", again)
		}
		done := importEnded(t, other, sent, soon)
		made := done.text("course_id")
		if done.text("state") != "done" || made == "" {
			t.Fatalf("import: %s", done)
		}
		teacher.do(t, 404, "GET", "/v1/course-imports/"+sent.text("id"), nil)
		exportable(t, other, made) // pictures are processed first
		second := other.do(t, 200, "GET", "/v1/courses/"+made+"/archive", nil)
		if !bytes.Equal(first.body, second.body) {
			t.Error("what was imported is exported otherwise")
		}
		if sounds := other.do(t, 200, "GET", "/v1/courses/"+made+"/media?kind=audio", nil).items(); len(sounds) != 1 {
			t.Errorf("sounds: %v", sounds)
		} else if a := other.do(t, 200, "GET", "/v1/courses/"+made+"/media/"+sounds[0].text("id")+"/captions", nil); a.text("items.0.language") != "de" ||
			a.text("items.1.label") != "Brasil" || a.at("items.1.main") != true {
			t.Errorf("captions: %s", a)
		}
		// It is a course like others.
		publish(t, other, made, 0)
		if a := other.do(t, 200, "GET", "/v1/courses/"+made+"/archive?version=1", nil); !bytes.Equal(first.body, a.body) {
			t.Error("its version is exported otherwise")
		}

		// Into a course, of a file that was uploaded.
		file := other.do(t, 201, "POST", "/v1/courses/"+made+"/media?filename=course.zip", first.body)
		into := other.do(t, 200, "POST", "/v1/courses/"+made+"/media/"+file.text("id")+"/import", map[string]any{"into_course_id": made})
		if done := importEnded(t, other, into, soon); done.text("state") != "done" || done.text("course_id") != made {
			t.Errorf("into the course: %s", done)
		}
		if a := other.do(t, 200, "GET", "/v1/courses/"+made+"/outline", nil); len(a.items()) != 14 {
			t.Errorf("outline: %s", a)
		}
		copied := other.do(t, 200, "POST", "/v1/courses/"+made+"/duplicate", map[string]any{"title": "Once more", "shift_days": 7})
		other.do(t, 200, "GET", "/v1/courses/"+copied.text("course.id")+"/outline", nil)
		hostile(t, other)
	})
}

// spoken gives a course a lesson of a sound that has captions in two languages.
func spoken(t testing.TB, teacher *person, course string) {
	t.Helper()
	const rate = 8000 // a second of a WAV file of bytes
	wav := append([]byte("RIFF"), binary.LittleEndian.AppendUint32(nil, 36+rate)...)
	wav = append(wav, "WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"...)
	wav = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(wav, rate), rate)
	wav = append(wav, "\x01\x00\x08\x00data"...)
	wav = binary.LittleEndian.AppendUint32(wav, rate)
	for i := range rate {
		wav = append(wav, byte(128+i%16))
	}
	sound := teacher.do(t, 201, "POST", "/v1/courses/"+course+"/media?filename=spoken.wav", wav).text("id")
	mediaReady(t, teacher, course, sound)
	captions := "/v1/courses/" + course + "/media/" + sound + "/captions/"
	teacher.do(t, 200, "PUT", captions+"de", map[string]any{"content": "WEBVTT\n\n00:00.100 --> 00:00.900\nGrüße <script>\n"})
	teacher.do(t, 200, "PUT", captions+"pt-br", map[string]any{"content": "1\r\n00:00:00,100 --> 00:00:00,900\r\nOlá\r\n", "label": "Brasil", "main": true})
	module := teacher.do(t, 201, "POST", "/v1/courses/"+course+"/modules", map[string]any{"title": "Spoken"}).text("id")
	teacher.do(t, 201, "POST", "/v1/courses/"+course+"/lessons", map[string]any{
		"module_id": module, "title": "Spoken", "blocks": []any{map[string]any{"audio": map[string]any{"media_id": sound}}},
	})
}

// exportable waits until the files of a course are ready.
func exportable(t testing.TB, p *person, course string) {
	t.Helper()
	p.sees(t, 2*time.Minute, "the course can be exported", "/v1/courses/"+course+"/archive-check", func(a answer) bool {
		return a.status == 200 && bytes.Contains(a.body, []byte(`"ready":true`))
	})
}

// hostile sends what is no archive, or one that lies.
func hostile(t *testing.T, p *person) {
	t.Helper()
	pack := func(name, text string, change func(*zip.FileHeader)) []byte {
		var out bytes.Buffer
		w := zip.NewWriter(&out)
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		change(h)
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	none := func(*zip.FileHeader) {}
	for name, c := range map[string]struct {
		body []byte
		code string // of the error, or of its first field
	}{
		"nothing":          {[]byte{}, "course_import.empty"},
		"a page":           {[]byte("<!doctype html>"), "course_import.not_archive"},
		"a path upwards":   {pack("../../etc/passwd", "x", none), "archive.path"},
		"an absolute path": {pack("/etc/passwd", "x", none), "archive.path"},
		"a link":           {pack("a", "/etc/passwd", func(h *zip.FileHeader) { h.SetMode(0o777 | 1<<27) }), "archive.special_file"},
		"encrypted":        {pack("a", "x", func(h *zip.FileHeader) { h.Flags |= 1 }), "archive.encrypted"},
		"a bomb":           {pack("stoa.json", strings.Repeat(" ", 64<<20), none), "archive.ratio"},
	} {
		a := p.do(t, 400, "POST", "/v1/course-imports", c.body)
		if a.text("code") != c.code && a.text("fields.0.code") != c.code {
			t.Errorf("%s: %s", name, a)
		}
	}
	for name, body := range map[string][]byte{
		"another format":  pack("stoa.json", `{"format": "other", "version": 1}`, none),
		"another version": pack("stoa.json", `{"format": "stoa-course", "version": 9}`, none),
		"deep JSON":       pack("stoa.json", strings.Repeat("[", 1<<19), none),
		"no list":         pack("course.json", `{}`, none),
	} {
		if a := importEnded(t, p, p.do(t, 201, "POST", "/v1/course-imports", body), soon); a.text("code") != "course_import.refused" || a.number("errors") == 0 {
			t.Errorf("%s: %s", name, a)
		}
	}
}

// TestKilledWhileImporting: the process dies in the middle of an import, and the
// course is there in the end, once and whole.
func TestKilledWhileImporting(t *testing.T) {
	t.Parallel()
	in := oneProcess(t)
	teacher := in.signUp(t, "Killed Importer")
	course, _ := draft(t, teacher, "Killed")
	spoken(t, teacher, course)
	module := teacher.do(t, 201, "POST", "/v1/courses/"+course+"/modules", map[string]any{"title": "Files"}).text("id")
	const files = 150
	for l := range files / 50 {
		var blocks []any
		for n := range 50 {
			m := teacher.do(t, 201, "POST", "/v1/courses/"+course+"/media?filename=data.csv", fmt.Appendf(nil, "a,b\n%d,%d\n", l, n))
			blocks = append(blocks, map[string]any{"file": map[string]any{"media_id": m.text("id")}})
		}
		teacher.do(t, 201, "POST", "/v1/courses/"+course+"/lessons", map[string]any{"module_id": module, "title": "Many files", "blocks": blocks})
	}
	exportable(t, teacher, course)
	archive := teacher.do(t, 200, "GET", "/v1/courses/"+course+"/archive", nil).body
	sent := teacher.do(t, 201, "POST", "/v1/course-imports", archive)
	for kill := range 2 {
		teacher.sees(t, 60*time.Second, "the import is under way", "/v1/course-imports/"+sent.text("id"), func(a answer) bool {
			return a.text("state") == "running" && a.number("media_done") >= 20*(kill+1)
		})
		in.processes["stoa"].kill()
		in.processes["stoa"].start()
		in.waitReady()
		if a := teacher.do(t, 200, "GET", "/v1/course-imports/"+sent.text("id"), nil); a.text("state") != "running" {
			t.Errorf("killed too late: %s", a)
		}
	}
	done := importEnded(t, teacher, sent, 90*time.Second)
	if done.text("state") != "done" {
		t.Fatalf("import: %s", done)
	}
	exportable(t, teacher, done.text("course_id"))
	if again := teacher.do(t, 200, "GET", "/v1/courses/"+done.text("course_id")+"/archive", nil).body; !bytes.Equal(archive, again) {
		t.Error("what was imported is exported otherwise")
	}
	if a := teacher.do(t, 200, "GET", "/v1/courses/"+done.text("course_id")+"/media-usage", nil); a.text("used") != teacher.do(t, 200, "GET", "/v1/courses/"+course+"/media-usage", nil).text("used") {
		t.Errorf("files were taken in twice: %s", a)
	}
	if a := teacher.do(t, 200, "GET", "/v1/courses", nil); len(a.items()) != 2 {
		t.Errorf("courses: %s", a)
	}
}
