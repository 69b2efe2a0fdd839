package story_test

import (
	"errors"
	"io"
	"testing"
	"time"
)

// revokedWithin is how long what was taken away may still be used, in any
// process, whatever the broker does (A7).
const revokedWithin = time.Second

// refused waits until a request of p that was allowed so far is refused with the
// status. None that was made more than a second after the revocation may pass.
func refused(t testing.TB, what string, p *person, since time.Time, want int, path string) {
	t.Helper()
	for {
		at := time.Now()
		a, err := p.try(t.Context(), "GET", path, nil)
		if errors.Is(err, io.ErrUnexpectedEOF) && at.Sub(since) <= revokedWithin {
			pause() // it ended after the file had begun, which breaks off
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if a.status == want {
			t.Logf("%s: refused %d ms after it was revoked", what, time.Since(since).Milliseconds())
			return
		}
		if a.status >= 500 || at.Sub(since) > revokedWithin {
			t.Errorf("%s: a request made %v after the revocation is answered with %s", what, at.Sub(since), a)
			return
		}
		pause()
	}
}

// revocationIsSeen takes away a session, a token, a role and an entitlement,
// and each is refused within a second: in one process, and in a process per
// service while the broker is away.
func revocationIsSeen(t *testing.T, in *installation) {
	t.Helper()
	teacher, student, helper := in.signUp(t, "Revoking Teacher"), in.signUp(t, "Some Student"), in.signUp(t, "Some Helper")
	course, lessons := draft(t, teacher, "What Ends")
	publish(t, teacher, course, 4900)

	session := teacher.do(t, 200, "GET", "/v1/sessions", nil)
	other := &person{in: in, name: "another browser of the teacher's"}
	other.token = in.nobody().do(t, 201, "POST", "/v1/sessions", map[string]any{"email": teacher.email, "password": password}).text("token")
	second := other.do(t, 200, "GET", "/v1/sessions", nil)
	if len(second.items()) != len(session.items())+1 {
		t.Fatalf("after a second sign-in: %s", second)
	}
	token := teacher.do(t, 201, "POST", "/v1/me/tokens", map[string]any{"name": "A program", "scopes": []string{"me.read"}})
	program := &person{in: in, name: "a program", token: token.text("token")}
	grant := teacher.do(t, 200, "POST", "/v1/courses/"+course+"/roles", map[string]any{"account_id": helper.account, "role": "teaching_assistant"})
	entitlement := teacher.do(t, 201, "POST", "/v1/courses/"+course+"/entitlements", map[string]any{"account_id": student.account, "reason": "A guest"})

	program.do(t, 200, "GET", "/v1/me", nil)
	helper.do(t, 200, "GET", "/v1/courses/"+course+"/enrollments", nil)
	student.do(t, 200, "GET", "/v1/courses/"+course+"/lessons/"+lessons[1], nil)
	if in.broker != nil {
		in.broker.Stop()
		defer in.restart(in.broker.Restart)
	}

	revoke := func(path string, method string, body any) time.Time {
		t.Helper()
		a, err := teacher.try(t.Context(), method, path, body)
		if err != nil || a.status/100 != 2 {
			t.Fatalf("%s %s: %s, %v", method, path, a, err)
		}
		return time.Now()
	}
	var current string
	for _, s := range second.items() {
		if s.at("current") == true {
			current = s.text("id")
		}
	}
	refused(t, "a session", other, revoke("/v1/sessions/"+current, "DELETE", nil), 401, "/v1/me")
	refused(t, "a token", program, revoke("/v1/me/tokens/"+token.text("id"), "DELETE", nil), 401, "/v1/me")
	refused(t, "a role", helper, revoke("/v1/courses/"+course+"/roles/"+grant.text("id"), "DELETE", nil), 403, "/v1/courses/"+course+"/enrollments")
	refused(t, "an entitlement", student,
		revoke("/v1/courses/"+course+"/entitlements/"+entitlement.text("id")+"/revoke", "POST", map[string]any{"reason": "The visit is over"}),
		403, "/v1/courses/"+course+"/lessons/"+lessons[1])
}

// admin makes somebody an administrator, as an operator does.
func (in *installation) admin(t testing.TB, name string) *person {
	t.Helper()
	p := in.signUp(t, name)
	in.command(t, true, "admin", "grant", p.email, "admin")
	return p
}

// anyProcess is a process of the installation whose settings reach its database.
func (in *installation) anyProcess() *process {
	if p, ok := in.processes["access"]; ok {
		return p
	}
	return in.processes["stoa"]
}
