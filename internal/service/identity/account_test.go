package identity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

func TestCreateAccount(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	got, err := e.CreateAccount(t.Context(), &identitypb.CreateAccountRequest{
		Email: "Ada@Example.ORG", Password: goodPassword, Name: "  Ada \n Lovelace ", Locale: "de-at", TimeZone: "Europe/Vienna",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &identitypb.Account{
		Id: got.GetId(), Email: "ada@example.org", Name: "Ada Lovelace", Locale: "de-AT", TimeZone: "Europe/Vienna",
		CreatedAt: timestamppb.New(e.service.now()), Etag: "1",
	}
	if !id.Valid("account", got.GetId()) {
		t.Errorf("id %q", got.GetId())
	}
	same(t, got, want)
	me, err := e.GetMe(rpctest.Account(t.Context(), got.GetId()), &identitypb.GetMeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, me, want)
	same(t, e.events(t), []proto.Message{&identitypb.AccountCreated{
		AccountId: got.GetId(), Email: "ada@example.org", Name: "Ada Lovelace", Locale: "de-AT", TimeZone: "Europe/Vienna",
	}})

	// The address is taken, which nobody is told here.
	again, err := e.CreateAccount(t.Context(), &identitypb.CreateAccountRequest{Email: "aDa@example.org", Password: goodPassword, Name: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	same(t, again, &identitypb.Account{
		Id: again.GetId(), Email: "ada@example.org", Name: "Ada", Locale: "en", TimeZone: "UTC", CreatedAt: want.GetCreatedAt(), Etag: "1",
	})
	if again.GetId() == got.GetId() {
		t.Error("the id of the account that is there was told")
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM account`); n != 1 {
		t.Errorf("%d accounts", n)
	}
	if n := len(e.events(t)); n != 1 {
		t.Errorf("%d events after a second sign-up, want 1", n)
	}
}

func TestCreateAccountRefuses(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for name, c := range map[string]struct {
		change func(*identitypb.CreateAccountRequest)
		code   string
		field  string
	}{
		"no address":        {func(r *identitypb.CreateAccountRequest) { r.Email = "ada" }, "request.invalid", "email"},
		"long address":      {func(r *identitypb.CreateAccountRequest) { r.Email = strings.Repeat("a", 250) + "@x.org" }, "request.invalid", "email"},
		"short password":    {func(r *identitypb.CreateAccountRequest) { r.Password = "short" }, "request.invalid", "password"},
		"common password":   {func(r *identitypb.CreateAccountRequest) { r.Password = "Qwertyuiop" }, "account.password_common", "password"},
		"telling password":  {func(r *identitypb.CreateAccountRequest) { r.Password = "lovelace1815" }, "account.password_common", "password"},
		"no name":           {func(r *identitypb.CreateAccountRequest) { r.Name = " \t" }, "request.invalid", "name"},
		"wide space":        {func(r *identitypb.CreateAccountRequest) { r.Name = "\u00a0\u2003" }, "request.invalid", "name"},
		"invisible name":    {func(r *identitypb.CreateAccountRequest) { r.Name = "\u200b\u200d" }, "request.invalid", "name"},
		"control character": {func(r *identitypb.CreateAccountRequest) { r.Name = "A\x1bda" }, "request.invalid", "name"},
		"locale":            {func(r *identitypb.CreateAccountRequest) { r.Locale = "klingonisch" }, "profile.locale", "locale"},
		"no language":       {func(r *identitypb.CreateAccountRequest) { r.Locale = "und" }, "profile.locale", "locale"},
		"zone":              {func(r *identitypb.CreateAccountRequest) { r.TimeZone = "Middle/Earth" }, "profile.time_zone", "time_zone"},
		"the server's zone": {func(r *identitypb.CreateAccountRequest) { r.TimeZone = "Local" }, "profile.time_zone", "time_zone"},
		"path of a zone":    {func(r *identitypb.CreateAccountRequest) { r.TimeZone = "../../etc/passwd" }, "profile.time_zone", "time_zone"},
		"copy of a zone":    {func(r *identitypb.CreateAccountRequest) { r.TimeZone = "right/Europe/Vienna" }, "profile.time_zone", "time_zone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := &identitypb.CreateAccountRequest{Email: "ada@example.org", Password: goodPassword, Name: "Ada Lovelace"}
			c.change(req)
			_, err := e.CreateAccount(t.Context(), req)
			wantCode(t, err, c.code, c.field)
		})
	}
	t.Cleanup(func() {
		// All that runs beside has ended by now.
		var n int
		if err := e.db.QueryRow(context.Background(), `SELECT count(*) FROM account`).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d accounts were made, %v", n, err)
		}
	})
}

func TestCreateAccountOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	req := &identitypb.CreateAccountRequest{Email: "ada@example.org", Password: goodPassword, Name: "Ada Lovelace"}
	ctx := rpc.WithIdempotencyKey(t.Context(), "one")

	const callers = 8
	got := make([]*identitypb.Account, callers)
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { got[i], errs[i] = e.CreateAccount(ctx, req) })
	}
	wg.Wait()
	for i := range callers {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		same(t, got[i], got[0])
	}
	if n := len(e.events(t)); n != 1 {
		t.Errorf("%d events, want 1", n)
	}

	other := proto.CloneOf(req)
	other.Password = "another good password"
	_, err := e.CreateAccount(ctx, other)
	wantCode(t, err, "idempotency.key_reused")

	// Whoever has the table can't try passwords at the speed of SHA-256.
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	plain := sha256.Sum256(body)
	if stored := query[[]byte](t, e.db, `SELECT request_hash FROM idempotency`); bytes.Equal(stored, plain[:]) {
		t.Error("the idempotency table holds the plain hash of a request with a password")
	}
}

func TestCreateAccountSameEmailAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	const callers = 8
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			_, errs[i] = e.CreateAccount(t.Context(), &identitypb.CreateAccountRequest{Email: "ada@example.org", Password: goodPassword, Name: "Ada"})
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if made := query[int](t, e.db, `SELECT count(*) FROM account`); made != 1 || len(e.events(t)) != 1 {
		t.Errorf("%d accounts made and %d told, want 1", made, len(e.events(t)))
	}
}

func TestUpdateMe(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	ctx := rpctest.Account(t.Context(), a.GetId())

	got, err := e.UpdateMe(rpc.WithIfMatch(ctx, `"1"`), &identitypb.UpdateMeRequest{
		Name: new("Countess  Lovelace"), Bio: new("First *programmer*."), Locale: new("en-gb"), TimeZone: new("Europe/London"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := proto.CloneOf(a)
	want.Name, want.Bio, want.Locale, want.TimeZone, want.Etag = "Countess Lovelace", "First *programmer*.", "en-GB", "Europe/London", "2"
	same(t, got, want)

	// What is absent stays; an empty biography is none.
	got, err = e.UpdateMe(ctx, &identitypb.UpdateMeRequest{Bio: new("")})
	if err != nil {
		t.Fatal(err)
	}
	want.Bio, want.Etag = "", "3"
	same(t, got, want)

	// What changes nothing is no change.
	got, err = e.UpdateMe(ctx, &identitypb.UpdateMeRequest{Name: new("Countess Lovelace")})
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, want)

	_, err = e.UpdateMe(rpc.WithIfMatch(ctx, `"2"`), &identitypb.UpdateMeRequest{Name: new("Ada")})
	wantCode(t, err, "etag.stale", "If-Match")

	updated := func(version int64) *identitypb.AccountUpdated {
		return &identitypb.AccountUpdated{
			AccountId: a.GetId(), Email: "ada@example.org", Name: "Countess Lovelace", Locale: "en-GB", TimeZone: "Europe/London", Version: version,
		}
	}
	same(t, e.events(t)[1:], []proto.Message{updated(2), updated(3)})
}

func TestUpdateMeRefuses(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	for name, c := range map[string]struct {
		req         *identitypb.UpdateMeRequest
		code, field string
	}{
		"empty name":     {&identitypb.UpdateMeRequest{Name: new("")}, "request.invalid", "name"},
		"invisible name": {&identitypb.UpdateMeRequest{Name: new("\u2060")}, "request.invalid", "name"},
		"long biography": {&identitypb.UpdateMeRequest{Bio: new(strings.Repeat("é", 5001))}, "request.invalid", "bio"},
		"locale":         {&identitypb.UpdateMeRequest{Locale: new("xx-yy-zz")}, "profile.locale", "locale"},
		"zone":           {&identitypb.UpdateMeRequest{TimeZone: new("Local")}, "profile.time_zone", "time_zone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := e.UpdateMe(rpctest.Account(t.Context(), a.GetId()), c.req)
			wantCode(t, err, c.code, c.field)
		})
	}
}

func TestUpdateMeTwoWriters(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	ctx := rpc.WithIfMatch(rpctest.Account(t.Context(), a.GetId()), a.GetEtag())
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = e.UpdateMe(ctx, &identitypb.UpdateMeRequest{Name: new(fmt.Sprint("Writer ", i))})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		wantCode(t, err, "etag.stale")
	}
	if won != 1 {
		t.Errorf("%d writers won, want 1", won)
	}
	if n := len(e.events(t)); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
}

func TestUpdateMeOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	ctx := rpc.WithIdempotencyKey(rpctest.Account(t.Context(), a.GetId()), "key")
	for range 3 {
		got, err := e.UpdateMe(ctx, &identitypb.UpdateMeRequest{Name: new("Ada King")})
		if err != nil {
			t.Fatal(err)
		}
		if got.GetEtag() != "2" {
			t.Fatalf("etag %s, want 2", got.GetEtag())
		}
		// A change by another call does not make the retry a new change.
		if _, err := e.UpdateMe(rpctest.Account(t.Context(), a.GetId()), &identitypb.UpdateMeRequest{Bio: new("x")}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(e.events(t)); n != 3 {
		t.Errorf("%d events, want 3", n)
	}
}

func TestMeOfNobody(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	_, err := e.GetMe(t.Context(), &identitypb.GetMeRequest{})
	wantCode(t, err, "auth.required")
	_, err = e.UpdateMe(t.Context(), &identitypb.UpdateMeRequest{})
	wantCode(t, err, "auth.required")
	gone := rpctest.Account(t.Context(), id.New("account"))
	_, err = e.GetMe(gone, &identitypb.GetMeRequest{})
	wantCode(t, err, "account.not_found")
	_, err = e.UpdateMe(gone, &identitypb.UpdateMeRequest{Name: new("Nobody")})
	wantCode(t, err, "account.not_found")
}

func TestAccountByEmail(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	got, err := AccountByEmail(t.Context(), e.db, e.keys, " ADA@example.org\n")
	if err != nil || got != a.GetId() {
		t.Errorf("%q, %v, want %q", got, err, a.GetId())
	}
	_, err = AccountByEmail(t.Context(), e.db, e.keys, "bob@example.org")
	wantCode(t, err, "account.not_found")
}

func TestNormalNameIsStable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		once, err := normalName(rapid.String().Draw(t, "name"))
		if err != nil {
			return
		}
		if twice, err := normalName(once); err != nil || twice != once {
			t.Fatalf("%q becomes %q, %v", once, twice, err)
		}
		if strings.ContainsAny(once, "\r\n\t") {
			t.Fatalf("%q is not one line", once)
		}
	})
}
