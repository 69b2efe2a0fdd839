package rpc_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/cert"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// folder makes certificates of services, valid for a time, in a folder with an
// authority of its own.
func folder(t *testing.T, validity time.Duration, services ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := cert.Make(dir, services, time.Now(), validity); err != nil {
		t.Fatal(err)
	}
	return dir
}

// security is what a process has that trusts an authority and shows a
// certificate.
func security(t *testing.T, ca, dir, service string) *rpc.TLS {
	t.Helper()
	s, err := rpc.OpenTLS(filepath.Join(ca, "ca.crt"), filepath.Join(dir, service, "tls.crt"), filepath.Join(dir, service, "tls.key"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func someKeys(t *testing.T) *auth.Keys {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	keys, err := auth.NewKeys(base64.StdEncoding.EncodeToString(key))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// serve answers as the service access, and returns where.
func serve(t *testing.T, keys *auth.Keys, s *rpc.TLS) string {
	t.Helper()
	server := rpc.NewServer(auth.NewGuard(keys, rpctest.Allow(func(string, string, string) bool { return true })), rpctest.Log(t), s)
	accesspb.RegisterAccessServiceServer(server, &answering)
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.Serve(l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		server.Stop(ctx)
		wg.Wait()
	})
	return l.Addr().String()
}

var answering = server{answer: func(context.Context, *accesspb.ListEntitledRequest) (*accesspb.ListEntitledResponse, error) {
	return &accesspb.ListEntitledResponse{}, nil
}}

// call asks access once, over a connection of its own.
func call(t *testing.T, addr, to, from string, keys *auth.Keys, s *rpc.TLS) error {
	t.Helper()
	cc, err := rpc.Dial(addr, to, from, keys, s)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cc.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = ask(ctx, cc)
	return err
}

// Processes speak with those alone that show who they are.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	keys := someKeys(t)
	ours, foreign, old := folder(t, time.Hour, "access", "commerce", "media"), folder(t, time.Hour, "commerce", "access"), folder(t, -time.Minute, "commerce", "access")
	// The old authority is trusted, so that the age alone is what is wrong.
	both := t.TempDir()
	bundle(t, both, ours, old)
	addr := serve(t, keys, security(t, both, ours, "access"))

	if err := call(t, addr, "access", "commerce", keys, security(t, ours, ours, "commerce")); err != nil {
		t.Errorf("who is known: %v", err)
	}
	if err := call(t, addr, "access", "auth", keys, security(t, ours, ours, "media")); err != nil {
		t.Errorf("whoever is known asks for permissions: %v", err)
	}
	for name, tt := range map[string]struct {
		to, from string
		s        *rpc.TLS
		kind     fault.Kind
	}{
		"no certificate":                 {"access", "commerce", nil, fault.Unavailable},
		"a foreign one":                  {"access", "commerce", security(t, ours, foreign, "commerce"), fault.Unavailable},
		"an expired one":                 {"access", "commerce", security(t, both, old, "commerce"), fault.Unavailable},
		"another service's":              {"access", "commerce", security(t, ours, ours, "media"), fault.Unauthenticated},
		"a server of a foreign one":      {"access", "commerce", security(t, foreign, ours, "commerce"), fault.Unavailable},
		"a server that is not the one":   {"media", "commerce", security(t, ours, ours, "commerce"), fault.Unavailable},
		"a service that there is not":    {"", "commerce", security(t, ours, ours, "commerce"), fault.Unavailable},
		"in the name of what is not one": {"access", "x", security(t, ours, ours, "commerce"), fault.Unauthenticated},
	} {
		if err := call(t, addr, tt.to, tt.from, keys, tt.s); !fault.Is(err, tt.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Servers that show an expired certificate, or none, are not spoken with.
	for name, s := range map[string]*rpc.TLS{"expired": security(t, both, old, "access"), "plain": nil} {
		if err := call(t, serve(t, keys, s), "access", "commerce", keys, security(t, both, ours, "commerce")); !fault.Is(err, fault.Unavailable) {
			t.Errorf("a server that is %s: %v", name, err)
		}
	}
	for _, s := range []string{"access", "media"} {
		if err := security(t, ours, ours, "access").Names(s); (err == nil) != (s == "access") {
			t.Errorf("names %s: %v", s, err)
		}
	}
}

// bundle writes the authorities of folders into one file.
func bundle(t *testing.T, to string, from ...string) {
	t.Helper()
	var all []byte
	for _, dir := range from {
		text, err := os.ReadFile(filepath.Join(dir, "ca.crt")) //nolint:gosec // a folder of the test
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	put(t, filepath.Join(to, "ca.crt"), all)
}

func put(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", text, 0o600); err != nil { //nolint:gosec // a folder of the test
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// Certificates, and then the authority, are exchanged while calls run: both
// authorities are trusted first, then the certificates are exchanged, then the
// old authority goes.
func TestCertificatesAreRotated(t *testing.T) {
	t.Parallel()
	keys := someKeys(t)
	live, next := folder(t, time.Hour, "access", "commerce"), folder(t, time.Hour, "access", "commerce")
	before := t.TempDir()
	bundle(t, before, live)
	server := security(t, live, live, "access")
	addr := serve(t, keys, server)
	client := security(t, live, live, "commerce")
	long, err := rpc.Dial(addr, "access", "commerce", keys, client) // one connection through all of it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = long.Close() })
	ctx, stop := context.WithCancel(t.Context())
	var (
		wg    sync.WaitGroup
		calls atomic.Int64
	)
	run := func(conn func() (grpc.ClientConnInterface, func())) {
		wg.Go(func() {
			for ctx.Err() == nil {
				cc, done := conn()
				if _, err := ask(context.WithoutCancel(ctx), cc); err != nil {
					t.Error(err)
				}
				done()
				calls.Add(1)
			}
		})
	}
	run(func() (grpc.ClientConnInterface, func()) { return long, func() {} })
	run(func() (grpc.ClientConnInterface, func()) {
		cc, err := rpc.Dial(addr, "access", "commerce", keys, client)
		if err != nil {
			t.Error(err)
		}
		return cc, func() { _ = cc.Close() }
	})
	// seen waits until both sides have read their files again.
	seen := func() {
		from := calls.Load()
		<-time.After(1500 * time.Millisecond) // they look each second
		if calls.Load() == from {
			t.Error("no calls")
		}
	}
	copyPair := func(service string) {
		for _, end := range []string{"tls.key", "tls.crt"} {
			text, err := os.ReadFile(filepath.Join(next, service, end)) //nolint:gosec // a folder of the test
			if err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(live, service, end), text)
		}
	}
	bundle(t, live, before, next)
	seen()
	copyPair("access")
	copyPair("commerce")
	seen()
	bundle(t, live, next)
	seen()
	stop()
	wg.Wait()
	// Who has the old certificate is a stranger now.
	if err := call(t, addr, "access", "commerce", keys, security(t, next, folder(t, time.Hour, "commerce"), "commerce")); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v", err)
	}
	if err := call(t, addr, "access", "commerce", keys, security(t, before, next, "commerce")); !fault.Is(err, fault.Unavailable) {
		t.Errorf("who trusts the old authority alone: %v", err)
	}
}
