package story_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// TestAssignment follows an assignment from its author to the mark that its student
// sees.
func TestAssignment(t *testing.T) {
	t.Parallel()
	inBoth(t, shared, sharedApart, func(t *testing.T, in *installation) {
		a := writeAssignment(t, in)
		a.handIn(t)
		a.mark(t)
		a.feedback(t)
	})
}

// assigned is a course with an assignment, and the people around it.
type assigned struct {
	in                       *installation
	teacher, student, friend *person
	course, path             string
	assignment, item         string
	file, submission         string
}

func writeAssignment(t *testing.T, in *installation) *assigned {
	t.Helper()
	a := &assigned{in: in, teacher: in.signUp(t, "Essay Teacher"), student: in.signUp(t, "Essay Student"), friend: in.signUp(t, "Essay Friend")}
	a.course, _ = draft(t, a.teacher, "On Duties")
	a.path = "/v1/courses/" + a.course
	made := a.teacher.do(t, 201, "POST", a.path+"/assignments", map[string]any{"title": "An essay", "settings": map[string]any{
		"instructions": "Write of *duties*.", "points": "20", "text": map[string]any{"min_words": 2, "optional": true}, "files": map[string]any{"extensions": []string{"pdf", "txt"}},
		"allow_withdraw": true, "statement": "It is my own work.",
	}})
	a.assignment = made.text("id")
	a.student.do(t, 404, "GET", a.path+"/assignments/"+a.assignment, nil)
	a.teacher.do(t, 200, "POST", a.path+"/assignments/"+a.assignment+"/publish", map[string]any{}, "If-Match", made.header.Get("ETag"))
	module := a.teacher.do(t, 201, "POST", a.path+"/modules", map[string]any{"title": "Work"}).text("id")
	a.item = a.teacher.do(t, 201, "POST", a.path+"/activities", map[string]any{
		"kind": "assignment", "module_id": module, "title": "Essay", "activity_ref": a.assignment,
		"settings": map[string]any{"schedule": map[string]any{"due": map[string]any{"at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}}},
	}).text("id")
	publish(t, a.teacher, a.course, 0)
	for _, p := range []*person{a.student, a.friend} {
		p.manages(t, "the enrollment", 201, "POST", a.path+"/enrollments", nil)
		eventually(t, soon, "the enrollment", enrolled(t, p, a.course))
	}
	return a
}

// handIn has the student draft, upload and hand in.
func (a *assigned) handIn(t *testing.T) {
	t.Helper()
	mine := a.path + "/my-assignments/" + a.item
	eventually(t, soon, "the assignment is open", func() (bool, string) {
		got, err := a.student.try(t.Context(), "GET", mine, nil)
		return err == nil && got.status == 200 && got.at("can_submit") == true && got.text("due") != "", got.String()
	})
	uploaded := a.student.do(t, 201, "POST", a.path+"/submission-files?filename=../essay.txt", []byte("Of duties there are two kinds."))
	a.file = uploaded.text("id")
	if uploaded.text("filename") != "essay.txt" || uploaded.text("url") == "" {
		t.Errorf("uploaded: %s", uploaded)
	}
	if list := a.student.do(t, 200, "GET", a.path+"/submission-files", nil); list.text("items.0.id") != a.file || list.text("used") == "0" {
		t.Errorf("one's files: %s", list)
	}
	// Nobody else has it, and the course's library has not.
	a.friend.do(t, 404, "GET", a.path+"/submission-files/"+a.file, nil)
	a.friend.do(t, 400, "PUT", mine+"/draft", map[string]any{"content": map[string]any{"media_ids": []string{a.file}}})
	a.teacher.do(t, 404, "GET", a.path+"/media/"+a.file, nil)
	a.teacher.do(t, 404, "DELETE", a.path+"/media/"+a.file, nil)
	if list := a.teacher.do(t, 200, "GET", a.path+"/media", nil); bytes.Contains(list.body, []byte(a.file)) {
		t.Errorf("the library: %s", list)
	}
	saved := a.student.do(t, 200, "PUT", mine+"/draft", map[string]any{"content": map[string]any{"text": "Short", "media_ids": []string{a.file}}})
	if refused := a.student.do(t, 400, "POST", mine+"/submit", map[string]any{"statement_accepted": true}); refused.text("code") != "submission.incomplete" {
		t.Errorf("too short: %s", refused)
	}
	a.student.do(t, 200, "PUT", mine+"/draft", map[string]any{"content": map[string]any{"text": "Long *enough*.", "media_ids": []string{a.file}}}, "If-Match", saved.header.Get("ETag"))
	handed := a.student.do(t, 200, "POST", mine+"/submit", map[string]any{"statement_accepted": true}, "Idempotency-Key", "hand-in")
	if again := a.student.do(t, 200, "POST", mine+"/submit", map[string]any{"statement_accepted": true}, "Idempotency-Key", "hand-in"); again.text("hash") != handed.text("hash") || again.number("number") != 1 {
		t.Errorf("handed in again: %s", again)
	}
	if handed.text("text_html") != "<p>Long <em>enough</em>.</p>\n" {
		t.Errorf("handed in: %s", handed)
	}
	eventually(t, soon, "the file can't be deleted any more", func() (bool, string) {
		got, err := a.student.try(t.Context(), "DELETE", a.path+"/submission-files/"+a.file, nil)
		return err == nil && got.status == 409 && got.text("code") == "media.kept", got.String()
	})
	if body := a.student.bytes(t, handed.text("files.0.media.url"), 200); body != "Of duties there are two kinds." {
		t.Errorf("one's file: %q", body)
	}
	if a.friend.do(t, 200, "GET", mine, nil).text("state") != "none" {
		t.Error("another has handed in")
	}
	a.friend.do(t, 403, "GET", a.path+"/items/"+a.item+"/submissions", nil)
}

// mark has the teacher mark it and post the mark.
func (a *assigned) mark(t *testing.T) {
	t.Helper()
	mine := a.path + "/my-assignments/" + a.item
	list := a.teacher.do(t, 200, "GET", a.path+"/items/"+a.item+"/submissions?state=handed_in", nil)
	if len(list.items()) != 1 || list.text("items.0.accounts.0.name") != "Essay Student" {
		t.Fatalf("handed in: %s", list)
	}
	a.submission = list.text("items.0.submission_id")
	path := a.path + "/submissions/" + a.submission
	got := a.teacher.do(t, 200, "GET", path, nil)
	url := got.text("version.files.0.media.url")
	if body := a.teacher.bytes(t, url, 200); body != "Of duties there are two kinds." {
		t.Errorf("the student's file: %q", body)
	}
	a.teacher.bytes(t, strings.Replace(url, "/parts/", "/parts/x", 1), 404)
	marked := a.teacher.do(t, 200, "PUT", path+"/versions/1/mark", map[string]any{
		"points": "17.5", "comment": "Good.", "comments": []any{map[string]any{"key": "a", "body": "Why?", "text": map[string]any{"start": 0, "end": 4}}},
	}, "If-Match", got.header.Get("ETag"))
	if marked.text("version.mark.points") != "17.5" || marked.text("entry.state") != "marked" {
		t.Errorf("marked: %s", marked)
	}
	a.teacher.do(t, 412, "PUT", path+"/versions/1/mark", map[string]any{"points": "1"}, "If-Match", got.header.Get("ETag"))
	eventually(t, soon, "the student sees the mark", func() (bool, string) {
		got, err := a.student.try(t.Context(), "GET", mine, nil)
		return err == nil && got.text("state") == "marked" && got.text("points") == "17.5", got.String()
	})
	eventually(t, soon, "the gradebook has it", func() (bool, string) {
		got, err := a.student.try(t.Context(), "GET", "/v1/me/courses/"+a.course+"/grades", nil)
		return err == nil && strings.Contains(got.String(), "17.5"), got.String()
	})
	eventually(t, soon, "learning knows that it was handed in", func() (bool, string) {
		got, err := a.student.try(t.Context(), "GET", a.path+"/items/"+a.item+"/progress", nil)
		return err == nil && got.at("completed_at") != nil, got.String()
	})
}

// feedback has the teacher download all of it, and give files back.
func (a *assigned) feedback(t *testing.T) {
	t.Helper()
	archive := a.teacher.bytes(t, a.path+"/items/"+a.item+"/submissions/archive", 200)
	z, err := zip.NewReader(strings.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	folder := "Essay Student_" + a.submission
	if got, want := fmt.Sprint(names), fmt.Sprint([]string{folder + "/text.md", folder + "/essay.txt", "submissions.csv"}); got != want {
		t.Errorf("the archive has %s, want %s", got, want)
	}
	var back bytes.Buffer
	out := zip.NewWriter(&back)
	f, err := out.Create(folder + "/remarks.txt")
	if err == nil {
		_, err = io.WriteString(f, "Well done.")
	}
	if err != nil || out.Close() != nil {
		t.Fatal(err)
	}
	upload := a.path + "/items/" + a.item + "/feedback-archives"
	if told := a.teacher.do(t, 200, "POST", upload+"?dry_run=true", back.Bytes()); told.text("files.0.verdict") != "add" || told.at("applied") == true {
		t.Errorf("looked at: %s", told)
	}
	if told := a.teacher.do(t, 200, "POST", upload, back.Bytes()); told.at("applied") != true {
		t.Errorf("applied: %s", told)
	}
	a.student.do(t, 403, "POST", upload, back.Bytes())
	got := a.student.do(t, 200, "GET", a.path+"/my-assignments/"+a.item+"/submissions/1", nil)
	if body := a.student.bytes(t, got.text("feedback_files.0.media.url"), 200); body != "Well done." {
		t.Errorf("feedback: %q of %s", body, got)
	}
}

// bytes returns what an address has.
func (p *person) bytes(t testing.TB, path string, want int) string {
	t.Helper()
	return string(p.do(t, want, "GET", path, nil).body)
}
