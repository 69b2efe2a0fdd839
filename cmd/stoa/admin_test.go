package main

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/stoa-lms/stoa/internal/app"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
)

// TestParkedEvents: an operator sees what nobody could handle, has it handled
// again, or gives it up.
func TestParkedEvents(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t, app.Schemas()...)
	db := pgtest.OpenURL(t, url, "learning")
	s, env := newStoa(t), []string{"STOA_DATABASE_URL=" + url}
	park := func() string {
		event := uuid.NewString()
		if _, err := db.Exec(t.Context(), `
			INSERT INTO inbox_failed (event_id, name, payload, happened_at, attempts, last_error)
			VALUES ($1, 'stoa.access.v1.EnrollmentStarted', '', now(), 12, 'a poison')`, event); err != nil {
			t.Fatal(err)
		}
		return event
	}
	want := func(code int, says string, args ...string) {
		t.Helper()
		if got := s.run(t, env, args...); got.code != code || !strings.Contains(got.out+got.err, says) {
			t.Errorf("stoa %v: exit status %d, want %d and %q\n%s%s", args, got.code, code, says, got.out, got.err)
		}
	}
	first, second := park(), park()
	for _, event := range []string{first, second} {
		want(0, event, "admin", "events", "list")
	}
	want(1, "2 parked events", "doctor")
	want(1, "is not the id of an event", "admin", "events", "replay", "x")
	want(0, "1 events will be handled again", "admin", "events", "replay", first)
	var waiting int
	if err := db.QueryRow(t.Context(), `SELECT count(*) FROM inbox_failed WHERE next_at IS NOT NULL AND attempts = 0`).Scan(&waiting); err != nil || waiting != 1 {
		t.Errorf("%d events wait to be handled, %v", waiting, err)
	}
	want(0, "1 events were given up", "admin", "events", "discard", second)
	if got := s.run(t, env, "admin", "events", "list"); got.code != 0 || strings.Count(got.out, "\n") != 1 {
		t.Errorf("still parked: %+v", got)
	}
	want(1, `there is no service "library"`, "admin", "events", "list", "--service", "library")
}

// TestGrant gives a role by address, and says what is wrong.
func TestGrant(t *testing.T) {
	t.Parallel()
	s, env := newStoa(t), []string{"STOA_DATABASE_URL=" + pgtest.New(t, app.Schemas()...)}
	if got := s.run(t, env, "admin", "grant", "nobody@example.org", "admin"); got.code != 1 || !strings.Contains(got.err, "account.not_found") {
		t.Errorf("%+v", got)
	}
}

// TestMail: an operator sees what became of mails, and has failed ones sent
// again.
func TestMail(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t, app.Schemas()...)
	db := pgtest.OpenURL(t, url, "notify")
	if _, err := db.Exec(t.Context(), `
		INSERT INTO mail (id, account_id, kind, letter, created_at, state, reply, dedupe_key)
		VALUES ('mail_1', 'account_1', 'receipt', '\x00', now(), 'failed', '550 No such user', 'x')`); err != nil {
		t.Fatal(err)
	}
	s, env := newStoa(t), []string{"STOA_DATABASE_URL=" + url}
	for _, step := range []struct {
		says string
		args []string
	}{
		{"550 No such user", []string{"admin", "mail", "list", "--state=failed"}},
		{"0 mails", []string{"admin", "mail", "retry", "mail_2"}},
		{"1 mails", []string{"admin", "mail", "retry"}},
		{"queued", []string{"admin", "mail", "list"}},
	} {
		if got := s.run(t, env, step.args...); got.code != 0 || !strings.Contains(got.out, step.says) {
			t.Errorf("stoa %v: %+v, want %q", step.args, got, step.says)
		}
	}
}
