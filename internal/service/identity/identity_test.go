package identity

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
	_ "time/tzdata" // the machine that tests need not have zones

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/email"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// cheap is the cost of passwords in tests.
var cheap = Cost{Memory: 64, Passes: 1, Lanes: 1}

const goodPassword = "correct horse battery staple"

// clock is a time that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// env is the service with a database of its own, called as the edge calls it.
type env struct {
	identitypb.IdentityServiceClient

	accounts identitypb.AccountServiceClient
	tokens   identitypb.TokenServiceClient
	service  *Service
	db       *pg.DB
	clock    *clock
	harness  *rpctest.Harness
	keys     *secret.Keys
	keyset   []byte // the keys as they are kept
}

func newEnv(t testing.TB) *env {
	t.Helper()
	e := &env{db: pgtest.Open(t, Schema), clock: &clock{now: time.Date(2030, 5, 1, 12, 0, 0, 123456789, time.UTC)}}
	keyset, err := secret.Generate()
	if err != nil {
		t.Fatal(err)
	}
	e.keyset = keyset
	if e.keys, err = secret.Parse(keyset); err != nil {
		t.Fatal(err)
	}
	store, err := cache.NewMemoryAt(e.clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	vault, err := secret.NewVault(e.keys, e.db)
	if err != nil {
		t.Fatal(err)
	}
	e.service = New(Config{DB: e.db, Log: rpctest.Log(t), Now: e.clock.Now, PasswordCost: cheap, Vault: vault, Keys: e.keys, Store: store})
	e.harness = rpctest.New(t, rpctest.Everything)
	e.service.Register(e.harness)
	e.IdentityServiceClient = identitypb.NewIdentityServiceClient(e.harness.As("edge"))
	e.accounts = identitypb.NewAccountServiceClient(e.harness.As("edge"))
	e.tokens = identitypb.NewTokenServiceClient(e.harness.As("edge"))
	return e
}

// account makes an account with goodPassword.
func (e *env) account(t *testing.T, email string) *identitypb.Account {
	t.Helper()
	a, err := e.CreateAccount(t.Context(), &identitypb.CreateAccountRequest{Email: email, Password: goodPassword, Name: "Ada Lovelace"})
	if err != nil {
		t.Fatalf("CreateAccount(%s): %v", email, err)
	}
	return a
}

// signIn returns a new session of the account with goodPassword.
func (e *env) signIn(t *testing.T, email string) *identitypb.Session {
	t.Helper()
	s, err := e.CreateSession(t.Context(), &identitypb.CreateSessionRequest{Email: email, Password: goodPassword})
	if err != nil {
		t.Fatalf("CreateSession(%s): %v", email, err)
	}
	return s
}

// as returns a context in which the session's account calls with it.
func as(ctx context.Context, s *identitypb.Session) context.Context {
	return auth.With(ctx, auth.Principal{Account: s.GetAccountId(), Session: s.GetId()})
}

// events returns what the outbox holds but for mails, oldest first, with the
// addresses plain that are sealed in them.
func (e *env) events(t *testing.T) []proto.Message {
	t.Helper()
	rows, err := e.db.Query(t.Context(), `SELECT name, payload FROM outbox WHERE name NOT IN ('stoa.record.v1.Recorded', 'stoa.identity.v1.SecurityMailRequested') ORDER BY position`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []proto.Message
	for rows.Next() {
		var name string
		var payload []byte
		if err := rows.Scan(&name, &payload); err != nil {
			t.Fatal(err)
		}
		var event proto.Message
		switch name {
		case "stoa.identity.v1.AccountCreated":
			event = &identitypb.AccountCreated{}
		case "stoa.identity.v1.AccountUpdated":
			event = &identitypb.AccountUpdated{}
		case "stoa.identity.v1.AccountSuspended":
			event = &identitypb.AccountSuspended{}
		case "stoa.identity.v1.AccountReinstated":
			event = &identitypb.AccountReinstated{}
		default:
			t.Fatalf("event %s", name)
		}
		if err := proto.Unmarshal(payload, event); err != nil {
			t.Fatal(err)
		}
		switch event := event.(type) {
		case *identitypb.AccountCreated:
			event.Email, event.EmailSealed = e.unsealed(t, event), nil
		case *identitypb.AccountUpdated:
			event.Email, event.EmailSealed = e.unsealed(t, event), nil
		}
		out = append(out, event)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// unsealed returns the address of an event, which must not be plain in it.
func (e *env) unsealed(t *testing.T, event email.Event) string {
	t.Helper()
	if event.GetEmail() != "" {
		t.Errorf("%T shows an address", event)
	}
	address, err := email.Of(e.keys, event)
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// query returns the single value of a statement.
func query[T any](t *testing.T, db *pg.DB, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := db.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func exec(t *testing.T, db *pg.DB, sql string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// wantCode fails the test unless err has the code; fields are the paths told.
func wantCode(t *testing.T, err error, code string, fields ...string) {
	t.Helper()
	if got := fault.CodeOf(err); err == nil || got != code {
		t.Fatalf("error %v with code %q, want %q", err, got, code)
	}
	var paths []string
	if fe, ok := errors.AsType[*fault.Error](err); ok {
		for _, f := range fe.Fields {
			paths = append(paths, f.Path)
		}
	}
	if len(fields) > 0 && !slices.Equal(slices.Compact(paths), fields) {
		t.Fatalf("fields %v, want %v", paths, fields)
	}
}

// same fails the test unless the messages are equal.
func same(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Fatalf("(-want +got)\n%s", diff)
	}
}

func TestRunStops(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.account(t, "ada@example.org")
	s := e.signIn(t, "ada@example.org")
	e.clock.Add(time.Hour)
	if _, err := e.Authenticate(t.Context(), &identitypb.AuthenticateRequest{Token: s.GetToken()}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.service.Run(ctx); err != nil {
		t.Fatal(err)
	}
	got := query[time.Time](t, e.db, `SELECT last_used_at FROM session`)
	if want := e.service.now(); !got.Equal(want) {
		t.Errorf("last use %v after Run ended, want %v", got, want)
	}
}
