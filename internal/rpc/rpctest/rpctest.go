// Package rpctest lets a test call a service through its contract, with all
// that a call passes in production: signatures, rules, validation and errors.
package rpctest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/rpc"
)

// Allow answers which permissions an account has in a test; an empty course is
// the platform.
type Allow func(account, course, permission string) bool

// Allowed makes an Allow an [auth.Checker].
func (a Allow) Allowed(_ context.Context, q auth.Question, _ time.Time) (bool, error) {
	return a(q.Account, q.Course, q.Permission), nil
}

// Everything is an Allow that lets everybody do anything.
func Everything(string, string, string) bool { return true }

// Harness is a server in memory.
type Harness struct {
	*rpc.Server
	keys *auth.Keys
}

// New returns a server that asks allow about permissions and logs to the test.
func New(tb testing.TB, allow Allow) *Harness {
	tb.Helper()
	return NewChecked(tb, allow)
}

// NewChecked is [New] with a checker that may look at all of a question.
func NewChecked(tb testing.TB, checker auth.Checker) *Harness {
	tb.Helper()
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		tb.Fatal(err)
	}
	keys, err := auth.NewKeys(base64.StdEncoding.EncodeToString(key))
	if err != nil {
		tb.Fatal(err)
	}
	return &Harness{Server: rpc.NewServer(auth.NewGuard(keys, checker), Log(tb), nil), keys: keys}
}

// As returns a connection whose calls come from the named service, such as
// "edge" or "commerce".
func (h *Harness) As(service string) grpc.ClientConnInterface {
	return patient{h.Conn(service, h.keys)}
}

// Dial returns a connection over the network to where the harness serves.
func (h *Harness) Dial(addr, service string) (*grpc.ClientConn, error) {
	return rpc.Dial(addr, "", service, h.keys, nil)
}

// With is [Harness.As] with the keys of another harness.
func (h *Harness) With(other *Harness, service string) grpc.ClientConnInterface {
	return patient{h.Conn(service, other.keys)}
}

// patient lets calls that bring no deadline run for a minute: many at once take longer on a
// busy machine than a call may elsewhere.
type patient struct{ grpc.ClientConnInterface }

func (p patient) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Minute)
		defer cancel()
	}
	return p.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

// Account returns a context in which the account calls.
func Account(ctx context.Context, account string) context.Context {
	return auth.With(ctx, auth.Principal{
		Account: account, Session: "session_01h455vb4pex5vsknk084sn02q", Confirmed: time.Now().Unix(),
	})
}

// Log returns a logger that writes to the test.
func Log(tb testing.TB) *slog.Logger {
	tb.Helper()
	return slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}
