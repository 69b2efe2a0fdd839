package identity

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

const otherPassword = "another good password"

func TestPasswordReset(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	s := e.signIn(t, "ada@example.org")
	access := e.accessToken(t, a.GetId(), "me.read")
	e.letters(t)

	for range accountPatience.Free { // who forgot the password is locked out by now
		if code, _ := e.try(t.Context(), "ada@example.org", "wrong password"); code != "session.bad_credentials" {
			t.Fatalf("%q", code)
		}
	}
	var answers []proto.Message
	for _, email := range []string{"ADA@example.org", "nobody@example.org"} {
		got, err := e.accounts.RequestPasswordReset(t.Context(), &identitypb.RequestPasswordResetRequest{Email: email})
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, got)
	}
	same(t, answers[0], answers[1])
	if n := query[int](t, e.db, `SELECT count(*) FROM mail_due`); n != 2 {
		t.Errorf("%d mails are due, want one for each address, known or not", n)
	}
	token := e.letter(t, mailResetPassword).GetToken()

	reset := func(password string) error {
		_, err := e.accounts.CompletePasswordReset(rpc.WithIdempotencyKey(t.Context(), "key "+password), &identitypb.CompletePasswordResetRequest{Token: token, Password: password})
		return err
	}
	wantCode(t, reset("password123"), "account.password_common")
	wantCode(t, reset("short"), "request.invalid", "password")
	for range 2 { // the retry of a call is no second use
		if err := reset(otherPassword); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, reset("yet another password"), "account.link_invalid")

	_, err := e.authenticate(t.Context(), s.GetToken())
	wantCode(t, err, "auth.token_invalid")
	if _, err := e.authenticate(t.Context(), access); err != nil {
		t.Errorf("an access token ended: %v", err)
	}
	_, err = e.CreateSession(t.Context(), &identitypb.CreateSessionRequest{Email: "ada@example.org", Password: goodPassword})
	wantCode(t, err, "session.bad_credentials")
	if _, err := e.CreateSession(t.Context(), &identitypb.CreateSessionRequest{Email: "ada@example.org", Password: otherPassword}); err != nil {
		t.Fatal(err)
	}
	same(t, e.kinds(t), []string{mailPasswordChanged})
	if me, err := e.GetMe(rpctest.Account(t.Context(), a.GetId()), &identitypb.GetMeRequest{}); err != nil || !me.GetEmailVerified() {
		t.Errorf("the link came to the address: %v, %v", me, err)
	}
}

func TestPasswordResetsAreBounded(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	e.letters(t)
	for range 10 { // none is refused, or one could be told from another
		for _, email := range []string{"ada@example.org", "nobody@example.org"} {
			if _, err := e.accounts.RequestPasswordReset(t.Context(), &identitypb.RequestPasswordResetRequest{Email: email}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := e.kinds(t); len(got) != 3 {
		t.Errorf("mails %q, want 3", got)
	}
}

func TestPasswordResetByTwoAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	e.letters(t)
	if _, err := e.accounts.RequestPasswordReset(t.Context(), &identitypb.RequestPasswordResetRequest{Email: "ada@example.org"}); err != nil {
		t.Fatal(err)
	}
	token := e.letter(t, mailResetPassword).GetToken()
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			_, err := e.accounts.CompletePasswordReset(t.Context(), &identitypb.CompletePasswordResetRequest{Token: token, Password: otherPassword})
			if err == nil {
				won.Add(1)
			} else if fault.CodeOf(err) != "account.link_invalid" {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d used one link, want 1", won.Load())
	}
	same(t, e.kinds(t), []string{mailPasswordChanged})
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	s, other := e.signIn(t, "ada@example.org"), e.signIn(t, "ada@example.org")
	e.letters(t)
	if _, err := e.accounts.RequestPasswordReset(t.Context(), &identitypb.RequestPasswordResetRequest{Email: "ada@example.org"}); err != nil {
		t.Fatal(err)
	}
	link := e.letter(t, mailResetPassword).GetToken()

	_, err := e.accounts.ChangePassword(as(t.Context(), s), &identitypb.ChangePasswordRequest{CurrentPassword: "wrong", NewPassword: otherPassword})
	wantCode(t, err, "account.password_wrong")
	_, err = e.accounts.ChangePassword(as(t.Context(), s), &identitypb.ChangePasswordRequest{CurrentPassword: goodPassword, NewPassword: "password123"})
	wantCode(t, err, "account.password_common")
	got, err := e.accounts.ChangePassword(as(t.Context(), s), &identitypb.ChangePasswordRequest{CurrentPassword: goodPassword, NewPassword: otherPassword})
	if err != nil {
		t.Fatal(err)
	}
	want := proto.CloneOf(s)
	want.Token, want.Current = got.GetToken(), true
	same(t, got, want)
	for _, gone := range []string{s.GetToken(), other.GetToken()} {
		_, err := e.authenticate(t.Context(), gone)
		wantCode(t, err, "auth.token_invalid")
	}
	if who, err := e.authenticate(t.Context(), got.GetToken()); err != nil || who.GetSessionId() != s.GetId() {
		t.Errorf("the session that changed it: %v, %v", who, err)
	}
	same(t, e.kinds(t), []string{mailPasswordChanged})
	// A link that somebody had asked for before does not change it back.
	_, err = e.accounts.CompletePasswordReset(t.Context(), &identitypb.CompletePasswordResetRequest{Token: link, Password: goodPassword})
	wantCode(t, err, "account.link_invalid")
}

func TestChangePasswordByTwoAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	sessions := []*identitypb.Session{e.signIn(t, "ada@example.org"), e.signIn(t, "ada@example.org"), e.signIn(t, "ada@example.org")}
	errs := make([]error, len(sessions))
	var wg sync.WaitGroup
	for i, s := range sessions {
		wg.Go(func() {
			_, errs[i] = e.accounts.ChangePassword(as(t.Context(), s), &identitypb.ChangePasswordRequest{CurrentPassword: goodPassword, NewPassword: otherPassword})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		wantCode(t, err, "account.password_wrong")
	}
	if live := query[int](t, e.db, `SELECT count(*) FROM session WHERE ended_at IS NULL`); won != 1 || live != 1 {
		t.Errorf("%d changed it and %d sessions are left, want 1 and 1", won, live)
	}
}

// A stolen session does not allow more guesses than signing in does.
func TestChangePasswordIsLockedToo(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	s := e.signIn(t, "ada@example.org")
	for range accountPatience.Free {
		_, err := e.accounts.ChangePassword(as(t.Context(), s), &identitypb.ChangePasswordRequest{CurrentPassword: "wrong", NewPassword: otherPassword})
		wantCode(t, err, "account.password_wrong")
	}
	_, err := e.accounts.ChangePassword(as(t.Context(), s), &identitypb.ChangePasswordRequest{CurrentPassword: goodPassword, NewPassword: otherPassword})
	wantCode(t, err, "session.locked")
	e.clock.Add(time.Second)
	if _, err := e.accounts.ChangePassword(as(t.Context(), s), &identitypb.ChangePasswordRequest{CurrentPassword: goodPassword, NewPassword: otherPassword}); err != nil {
		t.Fatal(err)
	}
}
