package identity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// try signs in and returns the code of the answer, "" for success, and the wait.
func (e *env) try(ctx context.Context, email, password string) (string, time.Duration) {
	_, err := e.CreateSession(ctx, &identitypb.CreateSessionRequest{Email: email, Password: password})
	if err == nil {
		return "", 0
	}
	told, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return "internal", 0
	}
	return told.Code, told.Retry
}

func TestLockOut(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	e.letters(t)
	// The same for an account and for none.
	for _, email := range []string{"ada@example.org", "nobody@example.org"} {
		want := func(code string, wait time.Duration, password string) {
			t.Helper()
			if got, retry := e.try(t.Context(), email, password); got != code || retry != wait {
				t.Fatalf("%s: %q with a wait of %v, want %q and %v", email, got, retry, code, wait)
			}
		}
		for range 5 {
			want("session.bad_credentials", 0, "wrong password")
		}
		for _, wait := range []time.Duration{1, 2, 4, 8, 16, 32} {
			// A right password and another way to write the address change nothing.
			want("session.locked", wait*time.Second, goodPassword)
			if got, _ := e.try(t.Context(), " "+email+" ", goodPassword); got != "session.locked" {
				t.Fatalf("%s: %q", email, got)
			}
			e.clock.Add(wait * time.Second)
			want("session.bad_credentials", 0, "wrong password")
		}
		for range 6 {
			_, wait := e.try(t.Context(), email, "wrong password")
			e.clock.Add(wait)
			want("session.bad_credentials", 0, "wrong password")
		}
		want("session.locked", 15*time.Minute, "wrong password")
	}
	// Told once an hour, to who has an account.
	same(t, e.kinds(t), []string{mailLocked})

	e.clock.Add(15 * time.Minute)
	if got, _ := e.try(t.Context(), "ada@example.org", goodPassword); got != "" {
		t.Fatalf("after the wait: %q", got)
	}
	// Success clears: five more are free.
	for range 5 {
		if got, _ := e.try(t.Context(), "ada@example.org", "wrong password"); got != "session.bad_credentials" {
			t.Fatalf("after a success: %q", got)
		}
	}
}

func TestGuessesAtOnceAreLockedToo(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	var hashed atomic.Int32
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			switch got, _ := e.try(t.Context(), "ada@example.org", fmt.Sprint("wrong password ", i)); got {
			case "session.bad_credentials":
				hashed.Add(1)
			case "session.locked":
			default:
				t.Errorf("%q", got)
			}
		})
	}
	wg.Wait()
	if got := int(hashed.Load()); got != accountPatience.Free {
		t.Errorf("%d guesses were heard, want %d", got, accountPatience.Free)
	}
}

func TestAddressIsLocked(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	e.account(t, "eve@example.org")
	attacker := rpc.WithAddress(t.Context(), "203.0.113.7")
	for i := range addressPatience.Free {
		if got, _ := e.try(attacker, fmt.Sprintf("person%d@example.org", i), "wrong password"); got != "session.bad_credentials" {
			t.Fatalf("guess %d: %q", i, got)
		}
	}
	if got, wait := e.try(attacker, "ada@example.org", goodPassword); got != "session.locked" || wait != time.Second {
		t.Fatalf("%q, wait %v", got, wait)
	}
	if got, _ := e.try(rpc.WithAddress(t.Context(), "203.0.113.8"), "ada@example.org", goodPassword); got != "" {
		t.Fatalf("from another address: %q", got)
	}
	// An account of one's own does not clear what one's address did.
	e.clock.Add(time.Second)
	if got, _ := e.try(attacker, "eve@example.org", goodPassword); got != "" {
		t.Fatalf("%q", got)
	}
	if got, _ := e.try(attacker, "person@example.org", "wrong password"); got != "session.bad_credentials" {
		t.Fatalf("%q", got)
	}
	if got, wait := e.try(attacker, "person@example.org", "wrong password"); got != "session.locked" || wait != 2*time.Second {
		t.Fatalf("%q, wait %v", got, wait)
	}
}

// hashes returns how many passwords were hashed while do ran.
func (e *env) hashes(do func()) int64 {
	before := e.service.hasher.count.Load()
	do()
	return e.service.hasher.count.Load() - before
}

// Who has an account can't be told by what a call costs: an answer about an
// address that has one hashes as often as one about an address that has none.
func TestSameWorkForUnknownAddresses(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	keyed := rpc.WithIdempotencyKey
	for name, c := range map[string]struct {
		call func(email string)
		want int64
	}{
		"sign in": {func(email string) { e.try(t.Context(), email, "wrong password") }, 1},
		"sign up": {func(email string) {
			_, _ = e.CreateAccount(t.Context(), &identitypb.CreateAccountRequest{Email: email, Password: goodPassword, Name: "Ada"})
		}, 1},
		"sign up with a key": {func(email string) {
			_, _ = e.CreateAccount(keyed(t.Context(), email), &identitypb.CreateAccountRequest{Email: email, Password: goodPassword, Name: "Ada"})
		}, 2},
		"reset": {func(email string) {
			_, _ = e.accounts.RequestPasswordReset(t.Context(), &identitypb.RequestPasswordResetRequest{Email: email})
		}, 0},
	} {
		known := e.hashes(func() { c.call("ada@example.org") })
		unknown := e.hashes(func() { c.call(name[len(name)-2:] + "nobody@example.org") })
		if known != c.want || unknown != c.want {
			t.Errorf("%s: %d hashes for a known address and %d for an unknown one, want %d", name, known, unknown, c.want)
		}
	}
	// An account that has no password takes as long as one that has.
	exec(t, e.db, `UPDATE account SET password_hash = ''`)
	if n := e.hashes(func() {
		for _, password := range []string{goodPassword, ""} {
			if ok, _, err := e.service.matches(t.Context(), password, ""); ok || err != nil {
				t.Errorf("%q fits no password: %v", password, err)
			}
		}
		if got, _ := e.try(t.Context(), "ada@example.org", goodPassword); got != "session.bad_credentials" {
			t.Errorf("%q", got)
		}
	}); n != 3 {
		t.Errorf("%d hashes, want 3", n)
	}
}
