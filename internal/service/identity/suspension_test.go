package identity

import (
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

func TestSuspension(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a, admin := e.account(t, "ada@example.org"), e.account(t, "root@example.org")
	ctx := rpctest.Account(t.Context(), admin.GetId())
	s := e.signIn(t, "ada@example.org")
	access := e.accessToken(t, a.GetId(), "me.read")

	got, err := e.accounts.SuspendAccount(ctx, &identitypb.SuspendAccountRequest{AccountId: a.GetId(), Reason: " spam "})
	if err != nil {
		t.Fatal(err)
	}
	want := &identitypb.AccountState{
		AccountId: a.GetId(), Kind: "person", Email: "ada@example.org", Name: "Ada Lovelace", CreatedAt: a.GetCreatedAt(),
		SuspendedAt: timestamppb.New(e.service.now()), SuspendedReason: "spam",
	}
	same(t, got, want)
	_, err = e.authenticate(t.Context(), s.GetToken())
	wantCode(t, err, "auth.token_invalid")
	_, err = e.authenticate(t.Context(), access)
	wantCode(t, err, "account.suspended")
	if !fault.Is(err, fault.Forbidden) {
		t.Errorf("kind %v", fault.KindOf(err))
	}
	// Only who knows the password learns that it is suspended.
	if code, _ := e.try(t.Context(), "ada@example.org", "wrong password"); code != "session.bad_credentials" {
		t.Errorf("with a wrong password: %q", code)
	}
	if code, _ := e.try(t.Context(), "ada@example.org", goodPassword); code != "account.suspended" {
		t.Errorf("with the right password: %q", code)
	}
	for name, req := range map[string]*identitypb.ListAccountsRequest{
		"by address": {Email: "ADA@example.org"}, "by id": {AccountId: a.GetId()},
	} {
		res, err := e.accounts.ListAccounts(ctx, req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		same(t, res.GetItems(), []*identitypb.AccountState{want})
	}

	for range 2 {
		if got, err = e.accounts.ReinstateAccount(ctx, &identitypb.ReinstateAccountRequest{AccountId: a.GetId()}); err != nil {
			t.Fatal(err)
		}
		want.SuspendedAt, want.SuspendedReason = nil, ""
		same(t, got, want)
	}
	e.signIn(t, "ada@example.org")
	if _, err := e.authenticate(t.Context(), access); err != nil {
		t.Error(err)
	}
	same(t, e.events(t)[2:], []proto.Message{
		&identitypb.AccountSuspended{AccountId: a.GetId(), Version: 2}, &identitypb.AccountReinstated{AccountId: a.GetId(), Version: 3},
	})
}

func TestSuspensionRefuses(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	admin := e.account(t, "root@example.org")
	ctx := rpctest.Account(t.Context(), admin.GetId())
	_, err := e.accounts.SuspendAccount(ctx, &identitypb.SuspendAccountRequest{AccountId: admin.GetId(), Reason: "x"})
	wantCode(t, err, "account.suspend_self")
	_, err = e.accounts.SuspendAccount(ctx, &identitypb.SuspendAccountRequest{AccountId: id.New("account"), Reason: "x"})
	wantCode(t, err, "account.not_found")
	_, err = e.accounts.SuspendAccount(ctx, &identitypb.SuspendAccountRequest{AccountId: admin.GetId(), Reason: " "})
	wantCode(t, err, "request.invalid", "reason")
	_, err = e.accounts.ReinstateAccount(ctx, &identitypb.ReinstateAccountRequest{AccountId: id.New("account")})
	wantCode(t, err, "account.not_found")
	for _, req := range []*identitypb.ListAccountsRequest{{}, {Email: "root@example.org", AccountId: admin.GetId()}} {
		_, err = e.accounts.ListAccounts(ctx, req)
		wantCode(t, err, "account.search")
	}
	res, err := e.accounts.ListAccounts(ctx, &identitypb.ListAccountsRequest{Email: "nobody@example.org"})
	if err != nil || len(res.GetItems()) != 0 {
		t.Errorf("%v, %v", res, err)
	}
}

// Who signs in while they are suspended has no session afterwards.
func TestSignInDuringSuspension(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	ctx := rpctest.Account(t.Context(), id.New("account"))
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if code, _ := e.try(t.Context(), "ada@example.org", goodPassword); code != "" && code != "account.suspended" {
				t.Errorf("%q", code)
			}
		})
	}
	wg.Go(func() {
		if _, err := e.accounts.SuspendAccount(ctx, &identitypb.SuspendAccountRequest{AccountId: a.GetId(), Reason: "x"}); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
	if n := query[int](t, e.db, `SELECT count(*) FROM session WHERE ended_at IS NULL`); n != 0 {
		t.Errorf("%d sessions of a suspended account", n)
	}
}
