package story_test

import (
	"strings"
	"testing"
)

// TestGradebook follows a grade from the teacher to the student, to the completion of
// the course that asks for its pass mark, and out into a file and back, in both layouts.
func TestGradebook(t *testing.T) {
	t.Parallel()
	inBoth(t, shared, sharedApart, gradebook)
}

func gradebook(t *testing.T, in *installation) {
	teacher, student, other := in.signUp(t, "Ada Teacher"), in.signUp(t, "Sam Student"), in.signUp(t, "Out Sider")
	course, lessons := draft(t, teacher, "Graded")
	at := "/v1/courses/" + course
	teacher.do(t, 200, "PATCH", at, map[string]any{"grading": map[string]any{
		"method": "points", "pass_mark": "50", "letters": []any{map[string]any{"letter": "A", "min_percent": "75"}, map[string]any{"letter": "F", "min_percent": "0"}},
		"completion": map[string]any{"kind": "all", "pass": true},
	}}, "If-Match", teacher.do(t, 200, "GET", at, nil).header.Get("ETag"))
	publish(t, teacher, course, 0)
	student.manages(t, "the enrollment", 201, "POST", at+"/enrollments", nil)
	eventually(t, soon, "the student is in the gradebook", func() (bool, string) {
		a, err := teacher.try(t.Context(), "GET", at+"/gradebook/rows", nil)
		return err == nil && a.text("items.0.name") == "Sam Student", a.String()
	})
	eventually(t, soon, "all lessons are viewed", func() (bool, string) {
		for _, l := range lessons {
			if a, err := student.try(t.Context(), "POST", at+"/lessons/"+l+"/view", nil); err != nil || a.status != 200 {
				return false, a.String()
			}
		}
		a, err := student.try(t.Context(), "GET", at+"/progress", nil)
		return err == nil && a.number("percent") == 100, a.String()
	})
	if p := student.do(t, 200, "GET", at+"/progress", nil); p.text("completed_at") != "" {
		t.Errorf("completed without the pass mark: %s", p)
	}

	essay := teacher.do(t, 201, "POST", at+"/gradebook/columns", map[string]any{"title": "Essay", "points": "10", "posting": "manual"})
	column := at + "/gradebook/columns/" + essay.text("item_id")
	cell := at + "/gradebook/items/" + essay.text("item_id") + "/students/" + student.account
	first := teacher.do(t, 200, "PUT", cell, map[string]any{"edit": map[string]any{"points": "8", "feedback": "Well argued"}})
	if first.text("percent") != "80" {
		t.Errorf("the cell: %s", first)
	}
	mine := "/v1/me/courses/" + course + "/grades"
	if g := student.do(t, 200, "GET", mine, nil); strings.Contains(g.String(), "Well argued") || g.text("items.0.points") != "" || g.text("current.percent") != "" {
		t.Errorf("a grade that is not posted is seen: %s", g)
	}
	teacher.do(t, 200, "POST", column+"/post", map[string]any{})
	if g := student.do(t, 200, "GET", mine, nil); g.text("items.0.feedback") != "Well argued" || g.text("current.percent") != "80" || g.text("current.letter") != "A" {
		t.Errorf("the posted grade: %s", g)
	}
	if e := student.do(t, 200, "GET", mine+"/explanation?basis=final", nil); e.text("seen") != "posted" || !strings.Contains(e.String(), `"pass"`) {
		t.Errorf("the explanation: %s", e)
	}
	if e := student.do(t, 200, "POST", mine+"/what-if", map[string]any{"assumptions": []any{map[string]any{"item_id": essay.text("item_id"), "points": "10"}}}); e.text("final.percent") != "100" {
		t.Errorf("what if: %s", e)
	}
	eventually(t, soon, "the course is completed by its pass mark", func() (bool, string) {
		a, err := student.try(t.Context(), "GET", at+"/progress", nil)
		return err == nil && a.text("completed_at") != "", a.String()
	})
	eventually(t, soon, "the student is told", func() (bool, string) {
		a, err := student.try(t.Context(), "GET", "/v1/notifications", nil)
		return err == nil && strings.Contains(a.String(), "grade_posted"), a.String()
	})

	// Two teachers: the slower is told what the cell has.
	if a := teacher.do(t, 412, "PUT", cell, map[string]any{"edit": map[string]any{"points": "1"}}, "If-Match", first.header.Get("ETag")); a.text("code") != "etag.stale" || !strings.Contains(a.String(), "It is 8 now.") {
		t.Errorf("the slower one: %s", a)
	}
	// Out, changed, looked at, and in.
	file := string(teacher.do(t, 200, "GET", at+"/gradebook/export", nil).body)
	changed := strings.Replace(file, ",8,80,A,80", ",9.5,80,A,80", 1)
	if changed == file {
		t.Fatalf("the export: %s", file)
	}
	if x := teacher.do(t, 200, "GET", at+"/gradebook/export?format=xlsx", nil); !strings.HasPrefix(string(x.body), "PK") || !strings.Contains(x.header.Get("Content-Disposition"), "grades.xlsx") {
		t.Errorf("the workbook: %v", x.header)
	}
	i := teacher.do(t, 201, "POST", at+"/gradebook/imports", []byte(changed), "Content-Type", "text/csv")
	if i.number("changes") != 1 || i.number("conflicts") != 0 {
		t.Errorf("the import: %s", i)
	}
	teacher.do(t, 200, "POST", at+"/gradebook/imports/"+i.text("id")+"/apply", map[string]any{"reason": "Corrected"})
	if g := student.do(t, 200, "GET", mine, nil); g.text("current.percent") != "95" {
		t.Errorf("after the import: %s", g)
	}
	if own := student.do(t, 200, "GET", mine+"/export", nil); !strings.Contains(string(own.body), "Essay,,graded,9.5,10,95,Well argued") {
		t.Errorf("one's own file: %s", own.body)
	}
	if h := teacher.do(t, 200, "GET", at+"/gradebook/history?account_id="+student.account, nil).items(); len(h) != 4 {
		t.Errorf("%d changes: %v", len(h), h)
	}
	if c := teacher.do(t, 200, "GET", at+"/gradebook/changes", nil); len(c.items()) != 3 {
		t.Errorf("changes: %s", c)
	}
	other.do(t, 404, "GET", mine, nil)
	other.do(t, 403, "GET", at+"/gradebook", nil)
	student.do(t, 403, "PUT", cell, map[string]any{"edit": map[string]any{"points": "10"}})
	student.do(t, 403, "GET", at+"/gradebook/export", nil)
}
