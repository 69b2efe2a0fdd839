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

func TestVerifyEmail(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	ctx := rpctest.Account(t.Context(), a.GetId())
	first := e.letter(t, mailVerifyEmail).GetToken()
	if _, err := e.accounts.RequestEmailVerification(ctx, &identitypb.RequestEmailVerificationRequest{}); err != nil {
		t.Fatal(err)
	}
	newest := e.letter(t, mailVerifyEmail).GetToken()

	// The newest replaces the one before; and what is no link of this purpose is none.
	for _, wrong := range []string{first, "x", newest + "A", "stoa_s_" + newest[7:]} {
		_, err := e.accounts.VerifyEmail(t.Context(), &identitypb.VerifyEmailRequest{Token: wrong})
		wantCode(t, err, "account.link_invalid")
	}
	_, err := e.accounts.CompletePasswordReset(t.Context(), &identitypb.CompletePasswordResetRequest{Token: newest, Password: "another good password"})
	wantCode(t, err, "account.link_invalid")

	keyed := rpc.WithIdempotencyKey(t.Context(), "key")
	for range 2 { // a retry of the call is no second use
		if _, err := e.accounts.VerifyEmail(keyed, &identitypb.VerifyEmailRequest{Token: newest}); err != nil {
			t.Fatal(err)
		}
	}
	if told := e.events(t); len(told) != 2 || !told[1].(*identitypb.AccountUpdated).GetEmailVerified() {
		t.Errorf("told %v, want once that the address is verified", told)
	}
	_, err = e.accounts.VerifyEmail(t.Context(), &identitypb.VerifyEmailRequest{Token: newest})
	wantCode(t, err, "account.link_invalid")
	me, err := e.GetMe(ctx, &identitypb.GetMeRequest{})
	if err != nil || !me.GetEmailVerified() || me.GetEtag() != "2" {
		t.Errorf("account %v, %v", me, err)
	}
	_, err = e.accounts.RequestEmailVerification(ctx, &identitypb.RequestEmailVerificationRequest{})
	wantCode(t, err, "account.email_verified")
	// The token is nowhere in the database.
	if n := query[int](t, e.db, `SELECT count(*) FROM one_time_token AS o WHERE o::text LIKE '%' || $1 || '%'`, newest[7:]); n != 0 {
		t.Error("the token is stored")
	}
}

func TestLinkExpires(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	token := e.letter(t, mailVerifyEmail).GetToken()
	e.clock.Add(linkLifetimes[mailVerifyEmail])
	_, err := e.accounts.VerifyEmail(t.Context(), &identitypb.VerifyEmailRequest{Token: token})
	wantCode(t, err, "account.link_invalid")
	e.clock.Add(keepEnded + time.Second)
	if err := e.service.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM one_time_token`); n != 0 {
		t.Errorf("%d links are remembered", n)
	}
}

func TestLinkUsedByTwoAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	token := e.letter(t, mailVerifyEmail).GetToken()
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := e.accounts.VerifyEmail(t.Context(), &identitypb.VerifyEmailRequest{Token: token})
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
}

func TestVerificationMailsAreBounded(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org") // sends the first
	ctx := rpctest.Account(t.Context(), a.GetId())
	for i := range 3 {
		_, err := e.accounts.RequestEmailVerification(ctx, &identitypb.RequestEmailVerificationRequest{})
		if i < 2 && err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			wantCode(t, err, "account.mail_rate")
			if !fault.Is(err, fault.Exhausted) {
				t.Errorf("kind %v", fault.KindOf(err))
			}
		}
	}
}

func TestChangeEmail(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	verify := e.letter(t, mailVerifyEmail).GetToken()
	ctx := rpctest.Account(t.Context(), a.GetId())
	_, err := e.accounts.RequestEmailChange(ctx, &identitypb.RequestEmailChangeRequest{Email: "new@example.org", Password: "wrong password"})
	wantCode(t, err, "account.password_wrong")
	if _, err := e.accounts.RequestEmailChange(ctx, &identitypb.RequestEmailChangeRequest{Email: "New@Example.org", Password: goodPassword}); err != nil {
		t.Fatal(err)
	}
	got := e.letter(t, mailChangeEmail)
	if got.GetTo() != "new@example.org" {
		t.Errorf("the link goes to %s", got.GetTo())
	}
	if me, err := e.GetMe(ctx, &identitypb.GetMeRequest{}); err != nil || me.GetEmail() != "ada@example.org" {
		t.Errorf("changed before the link came back: %v, %v", me, err)
	}
	if _, err := e.accounts.CompleteEmailChange(t.Context(), &identitypb.CompleteEmailChangeRequest{Token: got.GetToken()}); err != nil {
		t.Fatal(err)
	}
	if notice := e.letter(t, mailEmailChanged); notice.GetTo() != "ada@example.org" {
		t.Errorf("the notice goes to %s", notice.GetTo())
	}
	me, err := e.GetMe(ctx, &identitypb.GetMeRequest{})
	if err != nil || me.GetEmail() != "new@example.org" || !me.GetEmailVerified() {
		t.Errorf("account %v, %v", me, err)
	}
	same(t, e.events(t)[1:], []proto.Message{&identitypb.AccountUpdated{
		AccountId: a.GetId(), Email: "new@example.org", Name: "Ada Lovelace", Locale: "en", TimeZone: "UTC", Version: 2, EmailVerified: true,
	}})
	// What was sent to the address before is good for nothing any more.
	_, err = e.accounts.VerifyEmail(t.Context(), &identitypb.VerifyEmailRequest{Token: verify})
	wantCode(t, err, "account.link_invalid")
	e.signIn(t, "new@example.org")
	_, err = e.CreateSession(t.Context(), &identitypb.CreateSessionRequest{Email: "ada@example.org", Password: goodPassword})
	wantCode(t, err, "session.bad_credentials")
}

func TestChangeEmailTakenMeanwhile(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	links := map[string]string{}
	for _, email := range []string{"ada@example.org", "bob@example.org"} {
		a := e.account(t, email)
		ctx := rpctest.Account(t.Context(), a.GetId())
		if _, err := e.accounts.RequestEmailChange(ctx, &identitypb.RequestEmailChangeRequest{Email: "new@example.org", Password: goodPassword}); err != nil {
			t.Fatal(err)
		}
		links[email] = e.letter(t, mailChangeEmail).GetToken()
	}
	errs := make(chan error, len(links))
	var wg sync.WaitGroup
	for _, token := range links {
		wg.Go(func() {
			_, err := e.accounts.CompleteEmailChange(t.Context(), &identitypb.CompleteEmailChangeRequest{Token: token})
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	lost := 0
	for err := range errs {
		if err != nil {
			lost++
			wantCode(t, err, "account.email_taken")
		}
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM account WHERE email_index = $1`, e.service.emailIndex("new@example.org")); n != 1 || lost != 1 {
		t.Errorf("%d have the address, %d were refused", n, lost)
	}
}

func TestLinksOfProfile(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	ctx := rpctest.Account(t.Context(), a.GetId())
	want := []string{"https://example.org/ada", "https://git.example.org/~ada?tab=all"}
	got, err := e.UpdateMe(ctx, &identitypb.UpdateMeRequest{Links: &identitypb.Links{Items: want}})
	if err != nil {
		t.Fatal(err)
	}
	same(t, got.GetLinks(), want)
	if got, err = e.UpdateMe(ctx, &identitypb.UpdateMeRequest{Bio: new("x")}); err != nil || len(got.GetLinks()) != 2 {
		t.Errorf("links that were not named: %v, %v", got.GetLinks(), err)
	}
	for _, wrong := range []string{"http://example.org", "javascript:alert(1)", "https://", "https://user:secret@example.org", "https://exa mple.org", "example.org", "https:/x"} {
		_, err := e.UpdateMe(ctx, &identitypb.UpdateMeRequest{Links: &identitypb.Links{Items: []string{want[0], wrong}}})
		wantCode(t, err, "profile.link", "links.items[1]")
	}
	_, err = e.UpdateMe(ctx, &identitypb.UpdateMeRequest{Links: &identitypb.Links{Items: make([]string, 11)}})
	wantCode(t, err, "request.invalid")
	if got, err = e.UpdateMe(ctx, &identitypb.UpdateMeRequest{Links: &identitypb.Links{}}); err != nil || len(got.GetLinks()) != 0 {
		t.Errorf("links after they were taken away: %v, %v", got.GetLinks(), err)
	}
}
