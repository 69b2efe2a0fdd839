package identity

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// letter is a mail that was asked for, opened.
type letter struct {
	kind, account string
	*identitypb.SecurityMail
}

// letters returns the mails that were asked for, also those that were due, and
// forgets them.
func (e *env) letters(t *testing.T) []letter {
	t.Helper()
	if err := e.service.writeDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows, err := e.db.Query(t.Context(), `
		WITH gone AS (DELETE FROM outbox WHERE name = 'stoa.identity.v1.SecurityMailRequested' RETURNING position, payload)
		SELECT payload FROM gone ORDER BY position`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []letter
	for rows.Next() {
		var payload []byte
		if err := rows.Scan(&payload); err != nil {
			t.Fatal(err)
		}
		var asked identitypb.SecurityMailRequested
		if err := proto.Unmarshal(payload, &asked); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(payload, []byte("@example.org")) || bytes.Contains(payload, []byte(linkPrefix)) {
			t.Errorf("a mail of kind %s lies in the outbox with its address or its link", asked.GetKind())
		}
		plain, err := e.keys.Unseal("identity mail\n"+asked.GetMailId(), asked.GetSealed())
		if err != nil {
			t.Fatal(err)
		}
		one := letter{asked.GetKind(), asked.GetAccountId(), &identitypb.SecurityMail{}}
		if err := proto.Unmarshal(plain, one.SecurityMail); err != nil {
			t.Fatal(err)
		}
		out = append(out, one)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// letter returns the only mail of a kind since the last look.
func (e *env) letter(t *testing.T, kind string) letter {
	t.Helper()
	var found []letter
	var kinds []string
	for _, one := range e.letters(t) {
		kinds = append(kinds, one.kind)
		if one.kind == kind {
			found = append(found, one)
		}
	}
	if len(found) != 1 {
		t.Fatalf("mails %q, want one %s", kinds, kind)
	}
	return found[0]
}

// kinds are those of the mails since the last look, sorted.
func (e *env) kinds(t *testing.T) []string {
	t.Helper()
	kinds := []string{}
	for _, one := range e.letters(t) {
		kinds = append(kinds, one.kind)
	}
	slices.Sort(kinds)
	return kinds
}

func TestSignUpMails(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	if n := query[int](t, e.db, `SELECT count(*) FROM mail_due WHERE position('ada' IN encode(sealed, 'escape')) > 0`); n != 0 {
		t.Error("an address lies in mail_due as it is")
	}
	got := e.letter(t, mailVerifyEmail)
	if got.account != a.GetId() || got.GetTo() != "ada@example.org" || got.GetName() != "Ada Lovelace" || !strings.HasPrefix(got.GetToken(), "stoa_v_") {
		t.Errorf("mail %v", got)
	}

	// Who has the account hears of a second sign-up.
	e.account(t, "ADA@example.org")
	got = e.letter(t, mailAccountExists)
	if got.account != a.GetId() || got.GetTo() != "ada@example.org" || got.GetToken() != "" {
		t.Errorf("mail %v", got)
	}
	// And is not flooded by them.
	for range 5 {
		e.account(t, "ada@example.org")
	}
	if got := e.kinds(t); len(got) != 1 {
		t.Errorf("mails %q, want the third and no more", got)
	}
	e.clock.Add(time.Hour)
	e.account(t, "ada@example.org")
	same(t, e.kinds(t), []string{mailAccountExists})
	if n := query[int](t, e.db, `SELECT count(*) FROM mail_due`); n != 0 {
		t.Errorf("%d mails are still due", n)
	}
}

// What is due and can't be read, or concerns nobody, holds up nothing.
func TestDueMailsGoOn(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	exec(t, e.db, `INSERT INTO mail_due (id, kind, sealed, created_at) VALUES ('mail_x', 'locked', 'x', 'epoch')`)
	if _, err := e.accounts.RequestPasswordReset(t.Context(), &identitypb.RequestPasswordResetRequest{Email: "nobody@example.org"}); err != nil {
		t.Fatal(err)
	}
	e.account(t, "ada@example.org")
	same(t, e.kinds(t), []string{mailVerifyEmail})
	if n := query[int](t, e.db, `SELECT count(*) FROM mail_due`); n != 0 {
		t.Errorf("%d mails are still due", n)
	}
}
