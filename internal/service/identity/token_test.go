package identity

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	_ "github.com/stoa-lms/stoa/internal/service/courses/coursespb" // whose permissions tokens may have
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// accessToken makes a token of an account and returns its text.
func (e *env) accessToken(t *testing.T, accountID string, scopes ...string) string {
	t.Helper()
	got, err := e.tokens.CreateToken(rpctest.Account(t.Context(), accountID), &identitypb.CreateTokenRequest{Name: "token", Scopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	return got.GetToken()
}

func TestAccessToken(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a, bob := e.account(t, "ada@example.org"), e.account(t, "bob@example.org")
	ctx := rpctest.Account(t.Context(), a.GetId())
	now := e.service.now()
	expires := timestamppb.New(now.Add(time.Hour))
	got, err := e.tokens.CreateToken(ctx, &identitypb.CreateTokenRequest{
		Name: "  my  script ", Scopes: []string{"me.write", "course.view", "me.write"}, ExpiresAt: expires,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &identitypb.AccessToken{
		Id: got.GetId(), Name: "my script", Token: got.GetToken(), Scopes: []string{"course.view", "me.write"},
		CreatedAt: timestamppb.New(now), ExpiresAt: expires,
	}
	same(t, got, want)
	if !strings.HasPrefix(got.GetToken(), "stoa_t_") || !id.Valid("token", got.GetId()) {
		t.Errorf("id %q, token %q", got.GetId(), got.GetToken())
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM access_token AS t WHERE t::text LIKE '%' || $1 || '%'`, got.GetToken()[7:]); n != 0 {
		t.Error("the token is stored")
	}
	who, err := e.authenticate(t.Context(), got.GetToken())
	if err != nil {
		t.Fatal(err)
	}
	same(t, who, &identitypb.AuthenticateResponse{
		AccountId: a.GetId(), TokenId: got.GetId(), Scopes: []string{"course.view", "me.write"}, ExpiresAt: expires,
	})
	if err := e.service.writeUsedTokens(t.Context()); err != nil {
		t.Fatal(err)
	}
	want.Token, want.LastUsedAt = "", timestamppb.New(now)
	list, err := e.tokens.ListTokens(ctx, &identitypb.ListTokensRequest{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, list.GetItems(), []*identitypb.AccessToken{want})

	// Nobody else revokes it, and it is not theirs to see.
	theirs := rpctest.Account(t.Context(), bob.GetId())
	_, err = e.tokens.DeleteToken(theirs, &identitypb.DeleteTokenRequest{TokenId: got.GetId()})
	wantCode(t, err, "token.not_found")
	if list, err := e.tokens.ListTokens(theirs, &identitypb.ListTokensRequest{}); err != nil || len(list.GetItems()) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	for _, wrong := range []string{got.GetToken() + "A", "stoa_t_x", "stoa_s_" + got.GetToken()[7:], "stoa_v_" + got.GetToken()[7:]} {
		_, err := e.authenticate(t.Context(), wrong)
		wantCode(t, err, "auth.token_invalid")
	}

	e.clock.Add(time.Hour)
	_, err = e.authenticate(t.Context(), got.GetToken())
	wantCode(t, err, "auth.token_invalid")
}

func TestAccessTokenIsShownOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	ctx := rpc.WithIdempotencyKey(rpctest.Account(t.Context(), a.GetId()), "key")
	req := &identitypb.CreateTokenRequest{Name: "script", Scopes: []string{"me.read"}}
	first, err := e.tokens.CreateToken(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	again, err := e.tokens.CreateToken(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	want := proto.CloneOf(first)
	want.Token = ""
	same(t, again, want)
	if n := query[int](t, e.db, `SELECT count(*) FROM idempotency AS i WHERE encode(i.result, 'escape') LIKE '%stoa_t_%'`); n != 0 {
		t.Error("the token is stored under the key")
	}
}

func TestAccessTokenRefuses(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	ctx := rpctest.Account(t.Context(), a.GetId())
	for name, c := range map[string]struct {
		req         *identitypb.CreateTokenRequest
		code, field string
	}{
		"no name":        {&identitypb.CreateTokenRequest{Name: " ", Scopes: []string{"me.read"}}, "request.invalid", "name"},
		"no scopes":      {&identitypb.CreateTokenRequest{Name: "x"}, "request.invalid", "scopes"},
		"too many":       {&identitypb.CreateTokenRequest{Name: "x", Scopes: make([]string, 51)}, "request.invalid", "scopes"},
		"no permission":  {&identitypb.CreateTokenRequest{Name: "x", Scopes: []string{"me.read", "everything"}}, "token.scope_unknown", "scopes[1]"},
		"a mistake":      {&identitypb.CreateTokenRequest{Name: "x", Scopes: []string{"me.reed"}}, "token.scope_unknown", "scopes[0]"},
		"spaces":         {&identitypb.CreateTokenRequest{Name: "x", Scopes: []string{"me.read role.grant"}}, "token.scope_unknown", "scopes[0]"},
		"a star":         {&identitypb.CreateTokenRequest{Name: "x", Scopes: []string{"*.*"}}, "token.scope_unknown", "scopes[0]"},
		"ended already":  {&identitypb.CreateTokenRequest{Name: "x", Scopes: []string{"me.read"}, ExpiresAt: timestamppb.New(e.service.now())}, "token.expires_at", "expires_at"},
		"a time of none": {&identitypb.CreateTokenRequest{Name: "x", Scopes: []string{"me.read"}, ExpiresAt: &timestamppb.Timestamp{Seconds: 1 << 60}}, "token.expires_at", "expires_at"},
	} {
		_, err := e.tokens.CreateToken(ctx, c.req)
		if fault.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
		wantCode(t, err, c.code, c.field)
	}
	req := &identitypb.CreateTokenRequest{Name: "x", Scopes: []string{"me.read"}}
	_, err := e.tokens.CreateToken(t.Context(), req)
	wantCode(t, err, "auth.required")
	// A token makes no tokens, and who has not confirmed lately makes none.
	_, err = e.tokens.CreateToken(auth.With(t.Context(), auth.Principal{Account: a.GetId(), Token: id.New("token"), Scopes: "me.write"}), req)
	wantCode(t, err, "auth.session_required")
	_, err = e.tokens.CreateToken(auth.With(t.Context(), auth.Principal{Account: a.GetId(), Session: id.New("session")}), req)
	wantCode(t, err, "auth.step_up_required")
}

func TestTokensAreBounded(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	ctx := rpctest.Account(t.Context(), a.GetId())
	exec(t, e.db, `
		INSERT INTO access_token (id, account_id, name, token_hash, scopes, created_at)
		SELECT 'token_' || n, $1, 'x', n::text::bytea, '{me.read}', $2 FROM generate_series(1, 46) AS n`, a.GetId(), e.service.now())
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = e.tokens.CreateToken(ctx, &identitypb.CreateTokenRequest{Name: fmt.Sprint(i), Scopes: []string{"me.read"}})
		})
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
			continue
		}
		wantCode(t, err, "token.too_many")
	}
	if made != 4 {
		t.Errorf("%d made, want 4", made)
	}
}

func TestRevokeDuringUse(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	ctx := rpctest.Account(t.Context(), a.GetId())
	got, err := e.tokens.CreateToken(ctx, &identitypb.CreateTokenRequest{Name: "x", Scopes: []string{"me.read"}})
	if err != nil {
		t.Fatal(err)
	}
	revoked := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				_, err := e.authenticate(t.Context(), got.GetToken())
				if err != nil && fault.CodeOf(err) != "auth.token_invalid" {
					t.Error(err)
				}
				if err := e.service.writeUsedTokens(t.Context()); err != nil {
					t.Error(err)
				}
			}
			<-revoked
			if _, err := e.authenticate(t.Context(), got.GetToken()); fault.CodeOf(err) != "auth.token_invalid" {
				t.Errorf("after it was revoked: %v", err)
			}
		})
	}
	for range 2 { // again changes nothing
		if _, err := e.tokens.DeleteToken(ctx, &identitypb.DeleteTokenRequest{TokenId: got.GetId()}); err != nil {
			t.Error(err)
		}
	}
	close(revoked)
	wg.Wait()
	if list, err := e.tokens.ListTokens(ctx, &identitypb.ListTokensRequest{}); err != nil || len(list.GetItems()) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	e.clock.Add(keepTokens + time.Second)
	if err := e.service.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM access_token`); n != 0 {
		t.Errorf("%d tokens are remembered", n)
	}
}

func TestServiceAccount(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	admin := e.account(t, "ada@example.org")
	ctx := rpctest.Account(t.Context(), admin.GetId())
	var made []*identitypb.ServiceAccount
	for _, name := range []string{"Import", "Export", "Backup"} {
		got, err := e.tokens.CreateServiceAccount(ctx, &identitypb.CreateServiceAccountRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		made = append([]*identitypb.ServiceAccount{got}, made...)
		e.clock.Add(time.Second)
	}
	page, err := e.tokens.ListServiceAccounts(ctx, &identitypb.ListServiceAccountsRequest{PageSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	same(t, page.GetItems(), made[:2])
	if page, err = e.tokens.ListServiceAccounts(ctx, &identitypb.ListServiceAccountsRequest{PageSize: 2, Cursor: page.GetNextCursor()}); err != nil {
		t.Fatal(err)
	}
	same(t, page.GetItems(), made[2:])
	if page.GetNextCursor() != "" {
		t.Error("there is a page after the last")
	}

	one := made[0].GetId()
	token, err := e.tokens.CreateServiceAccountToken(ctx, &identitypb.CreateServiceAccountTokenRequest{AccountId: one, Name: "x", Scopes: []string{"me.read"}})
	if err != nil {
		t.Fatal(err)
	}
	who, err := e.authenticate(t.Context(), token.GetToken())
	if err != nil || who.GetAccountId() != one {
		t.Fatalf("%v, %v", who, err)
	}
	me, err := e.GetMe(auth.With(t.Context(), auth.Principal{Account: one, Token: token.GetId(), Scopes: "me.read"}), &identitypb.GetMeRequest{})
	if err != nil || me.GetEmail() != "" || me.GetName() != "Backup" {
		t.Errorf("%v, %v", me, err)
	}
	list, err := e.tokens.ListServiceAccountTokens(ctx, &identitypb.ListServiceAccountTokensRequest{AccountId: one})
	if err != nil || len(list.GetItems()) != 1 || list.GetItems()[0].GetToken() != "" {
		t.Errorf("%v, %v", list, err)
	}

	// It can't sign in: nothing names it.
	for _, email := range []string{" ", one, "Backup"} {
		_, err := e.CreateSession(t.Context(), &identitypb.CreateSessionRequest{Email: email, Password: "x"})
		wantCode(t, err, "session.bad_credentials")
	}
	// A person's account is none of a program's.
	_, err = e.tokens.CreateServiceAccountToken(ctx, &identitypb.CreateServiceAccountTokenRequest{AccountId: admin.GetId(), Name: "x", Scopes: []string{"me.read"}})
	wantCode(t, err, "service_account.not_found")
	_, err = e.tokens.ListServiceAccountTokens(ctx, &identitypb.ListServiceAccountTokensRequest{AccountId: admin.GetId()})
	wantCode(t, err, "service_account.not_found")
	_, err = e.tokens.DeleteServiceAccount(ctx, &identitypb.DeleteServiceAccountRequest{AccountId: admin.GetId()})
	wantCode(t, err, "service_account.not_found")
	_, err = e.tokens.DeleteServiceAccountToken(ctx, &identitypb.DeleteServiceAccountTokenRequest{AccountId: made[1].GetId(), TokenId: token.GetId()})
	wantCode(t, err, "token.not_found")

	second, err := e.tokens.CreateServiceAccountToken(ctx, &identitypb.CreateServiceAccountTokenRequest{AccountId: one, Name: "y", Scopes: []string{"me.read"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.tokens.DeleteServiceAccountToken(ctx, &identitypb.DeleteServiceAccountTokenRequest{AccountId: one, TokenId: token.GetId()}); err != nil {
		t.Fatal(err)
	}
	_, err = e.authenticate(t.Context(), token.GetToken())
	wantCode(t, err, "auth.token_invalid")
	if _, err := e.tokens.DeleteServiceAccount(ctx, &identitypb.DeleteServiceAccountRequest{AccountId: one}); err != nil {
		t.Fatal(err)
	}
	_, err = e.authenticate(t.Context(), second.GetToken())
	wantCode(t, err, "auth.token_invalid")
	if n := len(e.events(t)); n != 1 {
		t.Errorf("%d events, want that of the person alone", n)
	}
}
