package story_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestAudit does one of each write and finds it in the audit log, with who did
// it, in one process and in a process per service; the log is proven whole.
func TestAudit(t *testing.T) {
	t.Parallel()
	inBoth(t, shared, sharedApart, func(t *testing.T, in *installation) {
		admin, teacher, student := in.admin(t, "Audit Admin"), in.signUp(t, "Audited Teacher"), in.signUp(t, "Audited Student")
		course, lessons := draft(t, teacher, "Audited")
		publish(t, teacher, course, 4900)
		teacher.do(t, 200, "PATCH", "/v1/me", map[string]any{"bio": "Teaches."}, "X-Request-Id", "audited-request")
		order := student.manages(t, "the order", 201, "POST", "/v1/orders", map[string]any{"course_ids": []string{course}})
		pay(t, student, order)
		eventually(t, soon, "the student is enrolled", enrolled(t, student, course))
		for _, lesson := range lessons {
			student.do(t, 200, "POST", "/v1/courses/"+course+"/lessons/"+lesson+"/view", nil)
		}
		teacher.do(t, 200, "POST", "/v1/courses/"+course+"/unpublish", nil)

		log := func(filter string) map[string]answer {
			found := map[string]answer{}
			for _, e := range admin.do(t, 200, "GET", "/v1/audit/entries?page_size=100&"+filter, nil).items() {
				found[e.text("service")+" "+e.text("action")] = e
			}
			return found
		}
		wait := func(filter string, want ...string) map[string]answer {
			t.Helper()
			var found map[string]answer
			eventually(t, soon, "the log has "+strings.Join(want, ", "), func() (bool, string) {
				found = log(filter)
				var lacking []string
				for _, w := range want {
					if _, ok := found[w]; !ok {
						lacking = append(lacking, w)
					}
				}
				return len(lacking) == 0, strings.Join(lacking, ", ")
			})
			return found
		}
		byTeacher := wait("actor_id="+teacher.account,
			"identity account.updated", "courses course.created", "courses course.updated", "courses module.created",
			"courses lesson.created", "courses course.published", "courses course.unpublished", "media media.uploaded", "commerce price.set")
		wait("person_id="+student.account, "identity account.created", "commerce order.created", "commerce order.paid", "commerce order.fulfilled",
			"identity session.started", "commerce order_line.fulfilled", "access entitlement.granted", "learning lesson.completed", "learning course.completed")
		wait("course_id="+course, "access role.granted", "courses course.published", "learning lesson.completed")
		if e := byTeacher["identity account.updated"]; e.text("request_id") != "audited-request" || e.text("caller") != "edge" ||
			e.text("session_id") == "" || !strings.Contains(e.text("after"), "bio") || e.text("before") == "" {
			t.Errorf("the profile's entry: %v", e.json)
		}
		if e := byTeacher["commerce price.set"]; e.text("before") != "" || !strings.Contains(e.text("after"), "4900") {
			t.Errorf("the price's entry: %v", e.json)
		}
		// Owners see what concerns their course, others nothing.
		if a := teacher.do(t, 200, "GET", "/v1/courses/"+course+"/audit/entries", nil); len(a.items()) < 5 {
			t.Errorf("the owner sees %s", a)
		}
		teacher.do(t, 403, "GET", "/v1/audit/entries", nil)
		teacher.do(t, 403, "GET", "/v1/audit/export", nil)

		// No address and no token is in the log, and an export has all of it.
		export := admin.do(t, 200, "GET", "/v1/audit/export", nil)
		for what, secret := range map[string]string{"an address": teacher.email, "a token": teacher.token, "a password": password} {
			if bytes.Contains(export.body, []byte(secret)) {
				t.Errorf("%s is in the log", what)
			}
		}
		lines := bytes.Split(bytes.TrimSpace(export.body), []byte("\n"))
		for i, line := range lines {
			var e struct{ Sequence int }
			if err := json.Unmarshal(line, &e); err != nil || e.Sequence != i+1 {
				t.Fatalf("line %d of the export: %v\n%s", i+1, err, line)
			}
		}
		if rest := admin.do(t, 200, "GET", "/v1/audit/export?after=5", nil); !bytes.HasPrefix(rest.body, lines[5]) {
			t.Errorf("behind 5 comes %.200s", rest.body)
		}
		if out := in.command(t, true, "admin", "audit", "verify"); !strings.Contains(out, "is whole") {
			t.Errorf("verify: %s", out)
		}
		if out := in.command(t, false, "admin", "audit", "verify", "--head", "3:"+strings.Repeat("ab", 32)); !strings.Contains(out, "entry 3") {
			t.Errorf("verify with another head: %s", out)
		}
	})
}

// command runs the program as an operator does, beside the installation.
func (in *installation) command(t testing.TB, succeeds bool, args ...string) string {
	t.Helper()
	path, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...) //nolint:gosec // the program under test
	cmd.Env = append(os.Environ(), in.anyProcess().env...)
	out, err := cmd.CombinedOutput()
	if (err == nil) != succeeds {
		t.Errorf("stoa %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
