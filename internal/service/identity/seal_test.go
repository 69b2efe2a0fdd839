package identity

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// What a process of before has written is found and read as it is, is sealed,
// and then is found and read as before.
func TestRowsOfBefore(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.before(t, "account_before", "jose@example.org")
	exec(t, e.db, `
		INSERT INTO one_time_token (account_id, purpose, token_hash, email, created_at, expires_at)
		VALUES ('account_before', 'verify_email', $1, 'jose@example.org', $2, $3)`,
		tokenHash("stoa_v_before"), e.service.now(), e.service.now().Add(time.Hour))
	root := rpctest.Account(t.Context(), e.account(t, "root@example.org").GetId())
	e.letters(t)
	see := func() {
		t.Helper()
		if s := e.signIn(t, "JOSE@example.org"); s.GetAccountId() != "account_before" {
			t.Errorf("signed in to %s", s.GetAccountId())
		}
		if got, err := AccountByEmail(t.Context(), e.db, e.keys, "jose@example.org"); err != nil || got != "account_before" {
			t.Errorf("%q, %v", got, err)
		}
		list, err := e.accounts.ListAccounts(root, &identitypb.ListAccountsRequest{Email: "jose@example.org"})
		if err != nil || len(list.GetItems()) != 1 || list.GetItems()[0].GetEmail() != "jose@example.org" {
			t.Errorf("%v, %v", list, err)
		}
		if _, err := e.accounts.RequestPasswordReset(t.Context(), &identitypb.RequestPasswordResetRequest{Email: "jose@example.org"}); err != nil {
			t.Fatal(err)
		}
		if l := e.letter(t, mailResetPassword); l.GetTo() != "jose@example.org" || l.account != "account_before" {
			t.Errorf("mail %v", l)
		}
	}
	see()
	told := len(e.events(t))
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := e.another(t).sealPlain(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	see()
	if found := e.showing(t, "jose"); len(found) > 0 {
		t.Errorf("it is plain in %q", found)
	}
	// The others are told once, with a version that they take for newer.
	same(t, e.events(t)[told:], []proto.Message{&identitypb.AccountUpdated{
		AccountId: "account_before", Email: "jose@example.org", Name: "Ada Lovelace", Locale: "en", TimeZone: "UTC", Version: 2,
	}})
	// A link of before is good for what it was sent for.
	if _, err := e.accounts.VerifyEmail(t.Context(), &identitypb.VerifyEmailRequest{Token: "stoa_v_before"}); err != nil {
		t.Error(err)
	}
}

// Accounts of before are sealed while their holders sign in and others ask for
// their addresses. What can't be sealed is told, and holds up nothing.
func TestSealingWhileAllGoesOn(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	const people = 2*sealBatch + 100
	e.before(t, "account_first", "first@example.org")
	exec(t, e.db, `
		INSERT INTO account (id, email, name, locale, time_zone, password_hash, created_at, updated_at)
		SELECT 'account_' || lpad(n::text, 5, '0'), 'p' || n || '@example.org', 'P', 'en', 'UTC',
			(SELECT password_hash FROM account WHERE id = 'account_first'), now(), now()
		FROM generate_series(1, $1) AS n`, people)
	// Processes that ran on beside have given an address that is sealed to another
	// account: at the end of a batch and in the next one.
	taken := map[int]string{}
	for _, n := range []int{sealBatch, sealBatch + 1} {
		a := e.account(t, fmt.Sprintf("sealed%d@example.org", n))
		taken[n] = a.GetId()
		exec(t, e.db, `UPDATE account SET email = $2 WHERE id = $1`, fmt.Sprintf("account_%05d", n), fmt.Sprintf("sealed%d@example.org", n))
	}
	var log bytes.Buffer
	sealing := e.another(t)
	sealing.log = slog.New(slog.NewTextHandler(&log, nil))

	var wg sync.WaitGroup
	var over atomic.Bool
	var signedIn atomic.Int32
	for start := range 2 {
		wg.Go(func() {
			for n := 1 + start; !over.Load() || n < 40; n += 2 {
				address := fmt.Sprintf("p%d@example.org", 1+n%(sealBatch-1))
				s, err := e.CreateSession(t.Context(), &identitypb.CreateSessionRequest{Email: address, Password: goodPassword})
				if err != nil || s.GetAccountId() != fmt.Sprintf("account_%05d", 1+n%(sealBatch-1)) {
					t.Errorf("%s: %v, %v", address, s, err)
					return
				}
				signedIn.Add(1)
				if _, err := e.CreateAccount(t.Context(), &identitypb.CreateAccountRequest{Email: address, Password: goodPassword, Name: "Thief"}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			defer over.Store(true)
			if err := e.another(t).sealPlain(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for range 2 { // what was locked just then, and once more for nothing
		log.Reset()
		if err := sealing.sealPlain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d signed in meanwhile", signedIn.Load())
	if n := query[int](t, e.db, `SELECT count(*) FROM account`); n != people+3 {
		t.Errorf("%d accounts, want %d", n, people+3)
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM account WHERE email IS NOT NULL`); n != len(taken) {
		t.Errorf("%d accounts are plain, want %d", n, len(taken))
	}
	if strings.Count(log.String(), "level=ERROR") != len(taken) || strings.Contains(log.String(), "@") {
		t.Errorf("log:\n%s", log.String())
	}
	for n, other := range taken {
		if !strings.Contains(log.String(), fmt.Sprintf("account=account_%05d other=%s", n, other)) {
			t.Errorf("%d is not told:\n%s", n, log.String())
		}
		// The address is that of the account which has it sealed.
		if s := e.signIn(t, fmt.Sprintf("sealed%d@example.org", n)); s.GetAccountId() != other {
			t.Errorf("signed in to %s", s.GetAccountId())
		}
	}
	times := map[string]int{}
	for _, event := range e.events(t) {
		if u, ok := event.(*identitypb.AccountUpdated); ok {
			times[u.GetAccountId()]++
			if u.GetVersion() != 2 || !strings.HasSuffix(u.GetEmail(), "@example.org") {
				t.Errorf("told %v", u)
			}
		}
	}
	if len(times) != people+1-len(taken) {
		t.Errorf("%d accounts were told of, want %d", len(times), people+1-len(taken))
	}
	for account, n := range times {
		if n != 1 {
			t.Errorf("%s was told of %d times", account, n)
		}
	}
	// An operator gives it another address.
	exec(t, e.db, `UPDATE account SET email = 'other@example.org' WHERE id = $1`, fmt.Sprintf("account_%05d", sealBatch))
	if err := sealing.sealPlain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := e.signIn(t, "other@example.org"); s.GetAccountId() != fmt.Sprintf("account_%05d", sealBatch) {
		t.Errorf("signed in to %s", s.GetAccountId())
	}
}

func TestRunSeals(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.before(t, "account_before", "ada@example.org")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error)
	go func() { done <- e.service.Run(ctx) }()
	select {
	case <-e.db.Signalled(): // an event was published
	case <-ctx.Done():
		t.Error("nothing was sealed")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if found := e.showing(t, "ada@"); len(found) > 0 {
		t.Errorf("it is plain in %q", found)
	}
}
