package story_test

import (
	"archive/zip"
	"bytes"
	"image"
	"image/png"
	"slices"
	"strings"
	"testing"
)

// TestQuizTakenAlong: a course with a quiz that draws from a shared bank and an assignment
// is tried by its teacher, copied, exported, imported by somebody else and exported again:
// the same bytes; and its modules come into a course that there is.
func TestQuizTakenAlong(t *testing.T) {
	t.Parallel()
	inBoth(t, shared, sharedApart, func(t *testing.T, in *installation) {
		teacher, other := in.signUp(t, "Carrying Teacher"), in.signUp(t, "Receiving Teacher")
		bank, _ := draft(t, teacher, "A Shared Bank")
		course, _ := draft(t, teacher, "Quizzes to go")
		path := "/v1/courses/" + course
		var b bytes.Buffer
		if err := png.Encode(&b, image.NewNRGBA(image.Rect(0, 0, 30, 20))); err != nil {
			t.Fatal(err)
		}
		picture := func(course string) string {
			m := teacher.do(t, 201, "POST", "/v1/courses/"+course+"/media?filename=a.png", b.Bytes()).text("id")
			mediaReady(t, teacher, course, m)
			return m
		}
		category := teacher.do(t, 201, "POST", "/v1/courses/"+bank+"/question-categories", map[string]any{"name": "Ethics"}).text("id")
		for _, prompt := range []string{"Is it good? ![x](media:" + picture(bank) + ")", "Is it bad?"} {
			teacher.do(t, 201, "POST", "/v1/courses/"+bank+"/questions", map[string]any{"category_id": category, "content": map[string]any{"title": "Drawn", "prompt": prompt, "true_false": map[string]any{"right": true}}})
		}
		teacher.do(t, 200, "POST", "/v1/courses/"+bank+"/question-bank/shares", map[string]any{"with_course_id": course})
		fixed := teacher.do(t, 201, "POST", path+"/questions", map[string]any{"content": map[string]any{"title": "Fixed", "prompt": "Is it so?", "true_false": map[string]any{"right": true}}}).text("id")
		quiz := teacher.do(t, 201, "POST", path+"/quizzes", map[string]any{"title": "Ethics", "settings": map[string]any{"sections": []any{map[string]any{"slots": []any{
			map[string]any{"question": map[string]any{"question_id": fixed}}, map[string]any{"draw": map[string]any{"category_id": category, "count": 2}},
		}}}}}).text("id")

		// Tried before it is published.
		preview := teacher.do(t, 200, "POST", path+"/quizzes/"+quiz+"/preview", map[string]any{})
		attempt := "/v1/attempts/" + preview.text("id")
		if preview.at("preview") != true || len(teacher.do(t, 200, "GET", attempt+"/media", nil).items()) != 1 {
			t.Errorf("the preview: %s", preview)
		}
		in.nobody().do(t, 200, "GET", teacher.do(t, 200, "GET", attempt+"/media", nil).text("items.0.url"), nil)
		other.do(t, 404, "GET", attempt, nil)
		other.do(t, 404, "POST", path+"/quizzes/"+quiz+"/preview", map[string]any{})
		teacher.do(t, 200, "POST", attempt+"/submit", map[string]any{})
		teacher.do(t, 200, "GET", path+"/quizzes/"+quiz+"/preview", nil)
		teacher.do(t, 204, "DELETE", path+"/quizzes/"+quiz+"/preview", nil)
		teacher.do(t, 404, "GET", attempt, nil)

		teacher.do(t, 200, "POST", path+"/quizzes/"+quiz+"/publish", map[string]any{})
		essay := teacher.do(t, 201, "POST", path+"/assignments", map[string]any{"title": "Essay", "settings": map[string]any{
			"instructions": "Look: ![x](media:" + picture(course) + ")", "text": map[string]any{},
		}}).text("id")
		teacher.do(t, 200, "POST", path+"/assignments/"+essay+"/publish", map[string]any{})
		module := teacher.do(t, 201, "POST", path+"/modules", map[string]any{"title": "Exam"}).text("id")
		for kind, ref := range map[string]string{"quiz": quiz, "assignment": essay} {
			teacher.do(t, 201, "POST", path+"/activities", map[string]any{"kind": kind, "module_id": module, "title": kind, "activity_ref": ref})
		}

		copied := "/v1/courses/" + teacher.do(t, 200, "POST", path+"/duplicate", map[string]any{}).text("course.id")
		has := func(p *person, path string, version int) {
			t.Helper()
			for _, list := range []string{"/quizzes", "/assignments"} {
				p.sees(t, soon, list+" of the copy", path+list, func(a answer) bool { return len(a.items()) == 1 && a.number("items.0.version") == version })
			}
		}
		has(teacher, copied, 1)

		first := teacher.do(t, 200, "GET", path+"/archive", nil)
		z, err := zip.NewReader(bytes.NewReader(first.body), int64(len(first.body)))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range z.File {
			if folder, _, _ := strings.Cut(f.Name, "/"); slices.Contains([]string{"categories", "questions", "quizzes", "assignments"}, folder) {
				names = append(names, f.Name)
			}
		}
		if got := strings.Join(names, " "); got != "categories/category-1.json questions/question-1.json questions/question-2.json questions/question-3.json quizzes/quiz-1.json assignments/assignment-1.json" {
			t.Errorf("the archive has %s", got)
		}
		if dry := importEnded(t, other, other.do(t, 201, "POST", "/v1/course-imports?dry_run=true", first.body), soon); dry.text("state") != "done" {
			t.Fatalf("dry run: %s", dry)
		}
		done := importEnded(t, other, other.do(t, 201, "POST", "/v1/course-imports", first.body), soon)
		if done.text("state") != "done" {
			t.Fatalf("import: %s", done)
		}
		made := "/v1/courses/" + done.text("course_id")
		has(other, made, 1)
		exportable(t, other, done.text("course_id"))
		if second := other.do(t, 200, "GET", made+"/archive", nil); !bytes.Equal(first.body, second.body) {
			t.Error("what was imported is exported otherwise")
		}
		tried := other.do(t, 200, "POST", made+"/quizzes/"+other.do(t, 200, "GET", made+"/quizzes", nil).text("items.0.id")+"/preview", map[string]any{"published": true})
		media := other.do(t, 200, "GET", "/v1/attempts/"+tried.text("id")+"/media", nil)
		if len(media.items()) != 1 {
			t.Fatalf("what was imported shows %s", media)
		}
		in.nobody().do(t, 200, "GET", media.text("items.0.url"), nil)

		// Modules, into a course of theirs.
		into, _ := draft(t, other, "Some of it")
		if i := importEnded(t, other, other.do(t, 201, "POST", "/v1/courses/"+into+"/module-imports", first.body), soon); i.text("state") != "done" {
			t.Fatalf("modules: %s", i)
		}
		has(other, "/v1/courses/"+into, 1)
		exportable(t, other, into)
	})
}
