package identity

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

func from(ctx context.Context, userAgent, address string) context.Context {
	return rpc.WithAddress(metadata.AppendToOutgoingContext(ctx, "grpcgateway-user-agent", userAgent), address)
}

func TestNewDevice(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	e.letters(t)
	for _, c := range []struct {
		name, userAgent, address string
		later                    time.Duration
		told                     bool
	}{
		{"the first", "Firefox", "192.0.2.1", 0, false},
		{"the same", "Firefox", "192.0.2.1", 0, false},
		{"the same network", "Firefox", "192.0.2.200", 0, false},
		{"another network", "Firefox", "192.0.3.1", 0, true},
		{"another program", "curl", "192.0.2.1", 0, true},
		{"that again", "curl", "192.0.2.2", 80 * 24 * time.Hour, false},
		{"one of a long time ago", "Firefox", "192.0.2.1", 20 * 24 * time.Hour, true},
		{"IPv6", "curl", "2001:db8::", 0, true},
		{"the same /64", "curl", "2001:db8::", 0, false},
	} {
		e.clock.Add(c.later)
		s, err := e.CreateSession(from(t.Context(), c.userAgent, c.address), &identitypb.CreateSessionRequest{Email: "ada@example.org", Password: goodPassword})
		if err != nil {
			t.Fatal(err)
		}
		if s.GetAddress() != c.address {
			t.Errorf("%s: address %q", c.name, s.GetAddress())
		}
		got := e.letters(t)
		if told := len(got) == 1 && got[0].kind == mailNewDevice; told != c.told {
			t.Errorf("%s: mails %v", c.name, got)
		} else if told && (got[0].GetUserAgent() != c.userAgent || got[0].GetAddress() != c.address) {
			t.Errorf("%s: mail %v", c.name, got[0])
		}
	}
}

func TestLastAddress(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	s, err := e.CreateSession(from(t.Context(), "Firefox", "192.0.2.1"), &identitypb.CreateSessionRequest{Email: "ada@example.org", Password: goodPassword})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ address, want string }{{"198.51.100.7", "198.51.100.7"}, {"", "198.51.100.7"}} {
		e.clock.Add(time.Hour)
		ctx := t.Context()
		if c.address != "" {
			ctx = rpc.WithAddress(ctx, c.address)
		}
		if _, err := e.authenticate(ctx, s.GetToken()); err != nil {
			t.Fatal(err)
		}
		if err := e.service.writeUsed(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := e.ListSessions(as(t.Context(), s), &identitypb.ListSessionsRequest{})
		if err != nil || len(list.GetItems()) != 1 || list.GetItems()[0].GetAddress() != c.want {
			t.Errorf("%v, %v; want %s", list, err, c.want)
		}
	}
}

func TestDeleteSessions(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	e.account(t, "bob@example.org")
	one, two, theirs := e.signIn(t, "ada@example.org"), e.signIn(t, "ada@example.org"), e.signIn(t, "bob@example.org")
	live := func(want ...*identitypb.Session) {
		t.Helper()
		for _, s := range []*identitypb.Session{one, two, theirs} {
			_, err := e.authenticate(t.Context(), s.GetToken())
			expected := false
			for _, w := range want {
				expected = expected || w == s
			}
			if (err == nil) != expected {
				t.Errorf("session of %s: %v", s.GetAccountId(), err)
			}
		}
	}
	if _, err := e.accounts.DeleteSessions(as(t.Context(), one), &identitypb.DeleteSessionsRequest{}); err != nil {
		t.Fatal(err)
	}
	live(one, theirs)
	if _, err := e.accounts.DeleteSessions(as(t.Context(), one), &identitypb.DeleteSessionsRequest{All: true}); err != nil {
		t.Fatal(err)
	}
	live(theirs)
}

func TestRotate(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	s := e.signIn(t, "ada@example.org")
	rotate := func() (token string, err error) {
		err = e.db.InTx(t.Context(), func(tx *pg.Tx) error {
			token, err = e.service.rotate(t.Context(), tx, s.GetId())
			return err
		})
		return token, err
	}
	token, err := rotate()
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.authenticate(t.Context(), s.GetToken())
	wantCode(t, err, "auth.token_invalid")
	if _, err := e.authenticate(t.Context(), token); err != nil {
		t.Error(err)
	}
	if _, err := e.DeleteSession(as(t.Context(), s), &identitypb.DeleteSessionRequest{SessionId: s.GetId()}); err != nil {
		t.Fatal(err)
	}
	_, err = rotate()
	wantCode(t, err, "auth.token_invalid")
}
