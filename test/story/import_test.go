package story_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stoa-lms/stoa/internal/id"
)

// TestImport: a teacher sends a file of people and reads what became of each row.
func TestImport(t *testing.T) {
	t.Parallel()
	in := shared(t)
	teacher, student, outsider := in.signUp(t, "Import Teacher"), in.signUp(t, "Import Student"), in.signUp(t, "Import Outsider")
	course, _ := draft(t, teacher, "Imported")
	publish(t, teacher, course, 4900)
	path := "/v1/courses/" + course + "/imports"
	file := []byte("account_id;email;reason\r\n" + student.account + ";;Class of May\r\n;new@example.org;\r\n;nobody;\r\n" + student.account + ";;")
	csv := []string{"Content-Type", "text/csv; charset=utf-8"}

	for query, want := range map[string]int{
		"?dry_run=perhaps": 400, "?dry=true": 400, "?invite=true&invite=true": 400, "?locale=%3F": 400,
	} {
		teacher.do(t, want, "POST", path+query, file, csv...)
	}
	if a := teacher.do(t, 400, "POST", path, []byte("name\n"), csv...); a.text("code") != "import.column" || a.text("field") != "name" {
		t.Errorf("%s", a)
	}
	if a := teacher.do(t, 415, "POST", path, file); a.text("code") != "request.content_type" {
		t.Errorf("%s", a)
	}
	teacher.do(t, 400, "POST", path, []byte{}, csv...)
	outsider.do(t, 403, "POST", path, file, csv...)
	in.nobody().do(t, 401, "POST", path, file, csv...)

	report := func(i answer, query string) []string {
		t.Helper()
		teacher.sees(t, soon, "the import is done", path+"/"+i.text("id"), func(a answer) bool { return a.text("state") == "done" })
		a := teacher.do(t, 200, "GET", path+"/"+i.text("id")+"/report"+query, nil)
		return strings.Split(strings.TrimSuffix(string(a.body), "\n"), "\n")
	}
	dry := teacher.do(t, 201, "POST", path+"?dry_run=true", file, csv...)
	told := func(lines []string, want ...string) {
		t.Helper()
		if len(lines) != len(want) {
			t.Fatalf("%d lines, want %d: %s", len(lines), len(want), lines)
		}
		for n := range want {
			if !strings.Contains(lines[n], want[n]) {
				t.Errorf("%s, want %s", lines[n], want[n])
			}
		}
	}
	want := []string{`"line":2,"outcome":"enrolled"`, `"line":3,"outcome":"invited"`, `"line":4,"outcome":"refused","code":"email.invalid","field":"email","hint":"`, `"line":5,"outcome":"already"`}
	told(report(dry, ""), want...)
	if a := teacher.do(t, 200, "GET", "/v1/courses/"+course+"/enrollments", nil); bytes.Contains(a.body, []byte(student.account)) {
		t.Errorf("a dry run has enrolled somebody: %s", a)
	}

	key := append(csv, "Idempotency-Key", id.New("key"))
	first := teacher.do(t, 201, "POST", path, file, key...)
	told(report(first, ""), want...)
	told(report(first, "?after=3&outcome=refused"), want[2])
	if again := teacher.do(t, 201, "POST", path, file, key...); again.text("id") != first.text("id") {
		t.Errorf("%s", again)
	}
	if a := student.do(t, 200, "GET", "/v1/me/enrollments", nil); !bytes.Contains(a.body, []byte(course)) {
		t.Errorf("%s", a)
	}
	teacher.do(t, 409, "POST", path+"/"+first.text("id")+"/cancel", map[string]any{})
	for _, query := range []string{"?after=x", "?after=99999999999", "?after=-1", "?outcome=lost", "?line=1"} {
		teacher.do(t, 400, "GET", path+"/"+first.text("id")+"/report"+query, nil)
	}
	outsider.do(t, 403, "GET", path+"/"+first.text("id")+"/report", nil)
	teacher.do(t, 404, "GET", path+"/"+id.New("import")+"/report", nil)

	// A large file passes through the edge.
	var large strings.Builder
	large.WriteString("account_id\n")
	for n := range 40_000 {
		fmt.Fprintf(&large, "nobody%d\n", n)
	}
	if got := report(teacher.do(t, 201, "POST", path, []byte(large.String()), csv...), ""); len(got) != 40_000 {
		t.Errorf("%d lines", len(got))
	}
}
