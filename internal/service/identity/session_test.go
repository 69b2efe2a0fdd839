package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

func (e *env) authenticate(ctx context.Context, token string) (*identitypb.AuthenticateResponse, error) {
	return e.Authenticate(ctx, &identitypb.AuthenticateRequest{Token: token})
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	ctx := metadata.AppendToOutgoingContext(t.Context(), "grpcgateway-user-agent", "Firefox", "user-agent", "grpc-go")
	got, err := e.CreateSession(ctx, &identitypb.CreateSessionRequest{Email: " ADA@Example.org ", Password: goodPassword})
	if err != nil {
		t.Fatal(err)
	}
	now := e.service.now()
	want := &identitypb.Session{
		Id: got.GetId(), AccountId: a.GetId(), Token: got.GetToken(), UserAgent: "Firefox",
		CreatedAt: timestamppb.New(now), ExpiresAt: timestamppb.New(now.Add(30 * 24 * time.Hour)), LastUsedAt: timestamppb.New(now),
	}
	same(t, got, want)
	if !id.Valid("session", got.GetId()) || !strings.HasPrefix(got.GetToken(), "stoa_s_") || len(got.GetToken()) != 50 {
		t.Errorf("id %q, token %q", got.GetId(), got.GetToken())
	}

	who, err := e.authenticate(t.Context(), got.GetToken())
	if err != nil {
		t.Fatal(err)
	}
	same(t, who, &identitypb.AuthenticateResponse{AccountId: a.GetId(), SessionId: got.GetId(), ExpiresAt: got.GetExpiresAt(), ConfirmedAt: got.GetCreatedAt()})

	// The token is nowhere in the database.
	row := query[string](t, e.db, `SELECT session::text FROM session`)
	if strings.Contains(row, strings.TrimPrefix(got.GetToken(), "stoa_s_")) {
		t.Error("the token is stored")
	}
	if hash := query[[]byte](t, e.db, `SELECT token_hash FROM session`); !bytes.Equal(hash, tokenHash(got.GetToken())) {
		t.Error("the stored hash is not that of the token")
	}

	// A key makes no difference: each call is a sign-in of its own.
	keyed := rpc.WithIdempotencyKey(t.Context(), "key")
	req := &identitypb.CreateSessionRequest{Email: "ada@example.org", Password: goodPassword}
	one, err1 := e.CreateSession(keyed, req)
	two, err2 := e.CreateSession(keyed, req)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if one.GetToken() == two.GetToken() || one.GetId() == two.GetId() {
		t.Error("two sign-ins share a session")
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM idempotency`); n != 0 {
		t.Errorf("%d remembered keys", n)
	}
}

func TestSignInRefuses(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	_, wrong := e.CreateSession(t.Context(), &identitypb.CreateSessionRequest{Email: "ada@example.org", Password: "wrong password"})
	_, unknown := e.CreateSession(t.Context(), &identitypb.CreateSessionRequest{Email: "bob@example.org", Password: goodPassword})
	wantCode(t, wrong, "session.bad_credentials")
	same(t, fault.ToStatus(unknown).Proto(), fault.ToStatus(wrong).Proto())
	if !fault.Is(wrong, fault.Unauthenticated) {
		t.Errorf("kind %v", fault.KindOf(wrong))
	}
	for _, email := range []string{"' OR true --", "ADA", "%"} {
		_, err := e.CreateSession(t.Context(), &identitypb.CreateSessionRequest{Email: email, Password: goodPassword})
		wantCode(t, err, "session.bad_credentials")
	}
	_, err := e.CreateSession(t.Context(), &identitypb.CreateSessionRequest{})
	wantCode(t, err, "request.invalid", "email", "password")
	if n := query[int](t, e.db, `SELECT count(*) FROM session`); n != 0 {
		t.Errorf("%d sessions", n)
	}
}

func TestSignInRehashes(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	before := query[string](t, e.db, `SELECT password_hash FROM account`)
	e.signIn(t, "ada@example.org")
	if after := query[string](t, e.db, `SELECT password_hash FROM account`); after != before {
		t.Error("rehashed without need")
	}
	e.service.hasher = newHasher(Cost{Memory: 128, Passes: 1, Lanes: 1})
	_, err := e.CreateSession(t.Context(), &identitypb.CreateSessionRequest{Email: "ada@example.org", Password: "wrong password"})
	wantCode(t, err, "session.bad_credentials")
	if after := query[string](t, e.db, `SELECT password_hash FROM account`); after != before {
		t.Error("rehashed with a wrong password")
	}
	// Those who sign in at the same time all get in.
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if _, err := e.CreateSession(t.Context(), &identitypb.CreateSessionRequest{Email: "ada@example.org", Password: goodPassword}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if after := query[string](t, e.db, `SELECT password_hash FROM account`); !strings.Contains(after, "$m=128,") {
		t.Errorf("hash %s was not made anew", after)
	}
	e.signIn(t, "ada@example.org")
	// A damaged hash is our fault, not a wrong password.
	exec(t, e.db, `UPDATE account SET password_hash = 'x'`)
	_, err = e.CreateSession(t.Context(), &identitypb.CreateSessionRequest{Email: "ada@example.org", Password: goodPassword})
	wantCode(t, err, "internal")
}

func TestAuthenticateRefuses(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	s := e.signIn(t, "ada@example.org")
	token := s.GetToken()
	for _, wrong := range []string{
		"x", token + "A", token[:len(token)-1], "stoa_t_" + token[7:], strings.ToUpper(token), token[:49] + "!", strings.Repeat("a", 512),
	} {
		_, err := e.authenticate(t.Context(), wrong)
		wantCode(t, err, "auth.token_invalid")
	}
	_, err := e.authenticate(t.Context(), "")
	wantCode(t, err, "request.invalid", "token")
	// Only the edge asks whose token it is.
	commerce := identitypb.NewIdentityServiceClient(e.harness.As("commerce"))
	_, err = commerce.Authenticate(t.Context(), &identitypb.AuthenticateRequest{Token: token})
	wantCode(t, err, "not_found")
}

func TestSessionExpires(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		uses []time.Duration // the pauses before each use
		ok   bool
	}{
		"used at once":            {[]time.Duration{0}, true},
		"within the idle time":    {[]time.Duration{14*day - time.Second}, true},
		"after the idle time":     {[]time.Duration{14 * day}, false},
		"use prolongs it":         {[]time.Duration{10 * day, 10 * day}, true},
		"never over its lifetime": {[]time.Duration{10 * day, 10 * day, 10 * day}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			e.account(t, "ada@example.org")
			s := e.signIn(t, "ada@example.org")
			for i, pause := range c.uses {
				e.clock.Add(pause)
				_, err := e.authenticate(t.Context(), s.GetToken())
				last := i == len(c.uses)-1
				if last && !c.ok {
					wantCode(t, err, "auth.token_invalid")
				} else if err != nil {
					t.Fatalf("use %d: %v", i, err)
				}
				if err := e.service.writeUsed(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			list, err := e.ListSessions(as(t.Context(), s), &identitypb.ListSessionsRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if got := len(list.GetItems()) == 1; got != c.ok {
				t.Errorf("%d sessions listed", len(list.GetItems()))
			}
		})
	}
}

func TestLastUse(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	s := e.signIn(t, "ada@example.org")
	began := e.service.now()
	useAfter := func(wait time.Duration) time.Time {
		t.Helper()
		e.clock.Add(wait)
		if _, err := e.authenticate(t.Context(), s.GetToken()); err != nil {
			t.Fatal(err)
		}
		if err := e.service.writeUsed(t.Context()); err != nil {
			t.Fatal(err)
		}
		return query[time.Time](t, e.db, `SELECT last_used_at FROM session`)
	}
	if got := useAfter(3 * time.Minute); !got.Equal(began) {
		t.Errorf("written after three minutes: %v", got)
	}
	if got, want := useAfter(time.Minute), began.Add(4*time.Minute); !got.Equal(want) {
		t.Errorf("last use %v, want %v", got, want)
	}
	// What comes late from another process does not turn it back.
	e.service.used.note(s.GetId(), use{at: began})
	e.service.used.note(id.New("session"), use{at: began})
	if err := e.service.writeUsed(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := query[time.Time](t, e.db, `SELECT last_used_at FROM session`), began.Add(4*time.Minute); !got.Equal(want) {
		t.Errorf("last use %v, want %v", got, want)
	}
}

func TestUsedIsBounded(t *testing.T) {
	t.Parallel()
	u := newUsed()
	for i := range maxUsed + 10 {
		u.note(fmt.Sprint(i), use{})
	}
	if ids, times, _ := u.take(); len(ids) != maxUsed || len(times) != maxUsed {
		t.Errorf("%d ids and %d times", len(ids), len(times))
	}
	if ids, _, _ := u.take(); len(ids) != 0 {
		t.Errorf("%d ids after all were taken", len(ids))
	}
}

func TestListSessions(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	e.account(t, "bob@example.org")
	one := e.signIn(t, "ada@example.org")
	e.clock.Add(time.Second)
	two := e.signIn(t, "ada@example.org")
	e.signIn(t, "bob@example.org")
	got, err := e.ListSessions(as(t.Context(), one), &identitypb.ListSessionsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	one.Token, two.Token, one.Current = "", "", true
	same(t, got.GetItems(), []*identitypb.Session{two, one})
	_, err = e.ListSessions(t.Context(), &identitypb.ListSessionsRequest{})
	wantCode(t, err, "auth.required")
}

func TestDeleteSession(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	bob := e.account(t, "bob@example.org")
	s, other := e.signIn(t, "ada@example.org"), e.signIn(t, "ada@example.org")
	req := &identitypb.DeleteSessionRequest{SessionId: s.GetId()}

	// Somebody else's is as absent as one that never was.
	_, theirs := e.DeleteSession(rpctest.Account(t.Context(), bob.GetId()), req)
	wantCode(t, theirs, "session.not_found")
	_, absent := e.DeleteSession(as(t.Context(), s), &identitypb.DeleteSessionRequest{SessionId: id.New("session")})
	same(t, fault.ToStatus(theirs).Proto(), fault.ToStatus(absent).Proto())
	_, err := e.DeleteSession(as(t.Context(), s), &identitypb.DeleteSessionRequest{SessionId: "x"})
	wantCode(t, err, "request.invalid", "session_id")
	_, err = e.DeleteSession(t.Context(), req)
	wantCode(t, err, "auth.required")
	if _, err := e.authenticate(t.Context(), s.GetToken()); err != nil {
		t.Fatalf("ended by a call that was refused: %v", err)
	}

	if _, err := e.DeleteSession(as(t.Context(), other), req); err != nil {
		t.Fatal(err)
	}
	_, err = e.authenticate(t.Context(), s.GetToken())
	wantCode(t, err, "auth.token_invalid")
	ended := query[time.Time](t, e.db, `SELECT ended_at FROM session WHERE id = $1`, s.GetId())
	e.clock.Add(time.Minute)
	for range 2 {
		if _, err := e.DeleteSession(rpc.WithIdempotencyKey(as(t.Context(), other), "key"), req); err != nil {
			t.Fatalf("ending it again: %v", err)
		}
	}
	if again := query[time.Time](t, e.db, `SELECT ended_at FROM session WHERE id = $1`, s.GetId()); !again.Equal(ended) {
		t.Errorf("ended at %v and then at %v", ended, again)
	}
	if _, err := e.authenticate(t.Context(), other.GetToken()); err != nil {
		t.Errorf("the other session: %v", err)
	}
}

func TestOldestSessionsEnd(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	e.account(t, "bob@example.org")
	theirs := e.signIn(t, "bob@example.org")
	oldest := e.signIn(t, "ada@example.org")
	// Ninety-eight more, one of which has ended already.
	exec(t, e.db, `
		INSERT INTO session (id, account_id, token_hash, user_agent, created_at, expires_at, last_used_at, ended_at)
		SELECT 'session_' || n, $1, decode(lpad(n::text, 4, '0'), 'hex'), '', $2::timestamptz + n * interval '1 ms', $2 + interval '1 day', $2, CASE WHEN n = 1 THEN $2 END
		FROM generate_series(1, 99) AS n`, a.GetId(), e.service.now())
	e.clock.Add(time.Second)
	newest := e.signIn(t, "ada@example.org")
	if _, err := e.authenticate(t.Context(), oldest.GetToken()); err != nil {
		t.Fatalf("ended though there are 100: %v", err)
	}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if _, err := e.CreateSession(t.Context(), &identitypb.CreateSessionRequest{Email: "ada@example.org", Password: goodPassword}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	list, err := e.ListSessions(as(t.Context(), newest), &identitypb.ListSessionsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(list.GetItems()); n != maxSessions {
		t.Errorf("%d live sessions, want %d", n, maxSessions)
	}
	_, err = e.authenticate(t.Context(), oldest.GetToken())
	wantCode(t, err, "auth.token_invalid")
	for _, s := range []*identitypb.Session{newest, theirs} {
		if _, err := e.authenticate(t.Context(), s.GetToken()); err != nil {
			t.Errorf("session of %s: %v", s.GetAccountId(), err)
		}
	}
}

func TestSweepSessions(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := e.account(t, "ada@example.org")
	now := e.service.now()
	add := func(name string, expires, ended time.Duration) {
		t.Helper()
		var endedAt *time.Time
		if ended != 0 {
			at := now.Add(ended)
			endedAt = &at
		}
		exec(t, e.db, `
			INSERT INTO session (id, account_id, token_hash, user_agent, created_at, expires_at, last_used_at, ended_at)
			VALUES ($1, $2, $3, '', $4, $5, $4, $6)`, name, a.GetId(), []byte(name), now.Add(-60*24*time.Hour), now.Add(expires), endedAt)
	}
	const day = 24 * time.Hour
	add("live", day, 0)
	add("ended lately", day, -day)
	add("expired lately", -day, 0)
	add("ended", day, -8*day)
	add("expired", -8*day, 0)
	add("both", -8*day, -9*day)
	exec(t, e.db, `
		INSERT INTO session (id, account_id, token_hash, user_agent, created_at, expires_at, last_used_at)
		SELECT 'many ' || n, $1, ('many ' || n)::bytea, '', $2, $2, $2 FROM generate_series(1, 2500) AS n`, a.GetId(), now.Add(-90*day))
	if err := e.service.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := query[[]string](t, e.db, `SELECT array_agg(id ORDER BY id) FROM session`)
	same(t, got, []string{"ended lately", "expired lately", "live"})
}

func TestUserAgent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		md   metadata.MD
		want string
	}{
		"none":          {metadata.MD{}, ""},
		"gRPC":          {metadata.Pairs("user-agent", "grpc-go/1.85.0"), "grpc-go/1.85.0"},
		"HTTP first":    {metadata.Pairs("user-agent", "grpc-go", "grpcgateway-user-agent", "curl/8"), "curl/8"},
		"empty HTTP":    {metadata.Pairs("user-agent", "grpc-go", "grpcgateway-user-agent", " "), "grpc-go"},
		"controls":      {metadata.Pairs("user-agent", "a\x00b\x1b[31mc\r\nd\u202ee"), "ab[31mcde"},
		"broken UTF-8":  {metadata.Pairs("user-agent", "a\xff\xfeb"), "ab"},
		"long":          {metadata.Pairs("user-agent", strings.Repeat("é", 500)), strings.Repeat("é", 200)},
		"only controls": {metadata.Pairs("user-agent", "\x00\x01"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := userAgent(metadata.NewIncomingContext(t.Context(), c.md)); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
