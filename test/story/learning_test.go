package story_test

import (
	"strings"
	"testing"
)

// A student views, watches, takes notes, and reads their calendar by its secret
// address, over HTTP alone.
func TestNotesAndCalendar(t *testing.T) {
	t.Parallel()
	in := shared(t)
	teacher, student := in.signUp(t, "Note Teacher"), in.signUp(t, "Note Taker")
	course, lessons := draft(t, teacher, "Taking Notes")
	publish(t, teacher, course, 0)
	student.manages(t, "the enrollment", 201, "POST", "/v1/courses/"+course+"/enrollments", nil)
	eventually(t, soon, "the enrollment", enrolled(t, student, course))
	item := "/v1/courses/" + course + "/items/" + lessons[0]

	if p := student.do(t, 200, "POST", item+"/view", nil); p.text("state") != "complete" {
		t.Errorf("viewed: %s", p)
	}
	if p := student.do(t, 200, "GET", item+"/progress", nil); p.text("requirements.0.detail") != "Viewed." {
		t.Errorf("explained: %s", p)
	}
	student.do(t, 409, "POST", item+"/mark", map[string]any{"done": true})
	if r := student.do(t, 200, "GET", "/v1/courses/"+course+"/resume", nil); r.text("item_id") != lessons[0] {
		t.Errorf("resume: %s", r)
	}
	watch := student.do(t, 200, "POST", "/v1/courses/"+course+"/lessons/"+lessons[0]+"/watch", map[string]any{"session_id": "player-1", "sequence": "1"})
	if watch.text("complete") != "" && watch.at("complete") != true {
		t.Errorf("watched: %s", watch)
	}

	n := student.do(t, 201, "POST", item+"/notes", map[string]any{"text": "Remember *this*."})
	tag := n.header.Get("ETag")
	student.do(t, 200, "PUT", "/v1/me/notes/"+n.text("id"), map[string]any{"text": "Remember **that**."}, "If-Match", tag)
	student.do(t, 412, "PUT", "/v1/me/notes/"+n.text("id"), map[string]any{"text": "Or this."}, "If-Match", tag)
	teacher.do(t, 404, "GET", "/v1/me/notes/"+n.text("id"), nil)
	export := student.do(t, 200, "GET", "/v1/me/notes/export", nil)
	if text := string(export.body); !strings.HasPrefix(text, "# Taking Notes\n") || !strings.Contains(text, "Remember **that**.") ||
		!strings.HasPrefix(export.header.Get("Content-Type"), "text/markdown") {
		t.Errorf("export: %s", export)
	}
	in.nobody().do(t, 401, "GET", "/v1/me/notes/export", nil)
	student.do(t, 201, "POST", item+"/bookmarks", map[string]any{"label": "Here"})

	feed := student.do(t, 201, "POST", "/v1/me/calendar-feed", map[string]any{})
	calendar := in.nobody().do(t, 200, "GET", feed.text("path"), nil)
	if !strings.HasPrefix(calendar.header.Get("Content-Type"), "text/calendar") || !strings.HasPrefix(string(calendar.body), "BEGIN:VCALENDAR\r\n") ||
		!strings.HasPrefix(calendar.header.Get("Cache-Control"), "private") {
		t.Errorf("calendar: %v %s", calendar.header, calendar)
	}
	in.nobody().do(t, 304, "GET", feed.text("path"), nil, "If-None-Match", calendar.header.Get("ETag"))
	in.nobody().do(t, 404, "GET", strings.TrimSuffix(feed.text("path"), ".ics"), nil)
	in.nobody().do(t, 404, "GET", "/v1/calendar/guessed.ics", nil)
	student.do(t, 200, "DELETE", "/v1/me/calendar-feed", nil)
	in.nobody().do(t, 404, "GET", feed.text("path"), nil)

	if next := student.do(t, 200, "GET", "/v1/me/todo", nil).items(); len(next) != 1 || next[0].text("item_id") != lessons[1] {
		t.Errorf("to do: %v", next)
	}
	if s := student.do(t, 200, "GET", "/v1/me/statistics", nil); s.number("streak_days") != 1 || s.text("courses.0.course_id") != course {
		t.Errorf("statistics: %s", s)
	}
	if d := student.do(t, 200, "GET", "/v1/me/calendar?from=2026-05-01T00:00:00Z", nil).items(); len(d) != 0 {
		t.Errorf("calendar: %v", d)
	}
}
