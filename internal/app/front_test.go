package app

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/cert"
)

// The edge speaks TLS with HTTP/2, takes a new certificate without dropping
// anybody, and sends those who come without to where it is.
func TestEdgeSpeaksTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	renew := func() {
		t.Helper()
		if err := cert.Make(dir, []string{"edge"}, time.Now(), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	renew()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	cfg := defaults(t)
	cfg.DataDir, cfg.HTTPAddr, cfg.HTTPRedirectAddr = filepath.Join(dir, "data"), "127.0.0.1:0", "127.0.0.1:0"
	cfg.ServiceKey, cfg.PublicURL = base64.StdEncoding.EncodeToString(key), "https://edge.stoa"
	cfg.TLSCertFile, cfg.TLSKeyFile = filepath.Join(dir, "edge", "tls.crt"), filepath.Join(dir, "edge", "tls.key")
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	out := new(logBuffer)
	wg.Go(func() {
		if err := Serve(ctx, cfg, []string{"edge"}, "test", out, out); err != nil {
			t.Error(err)
		}
	})
	defer wg.Wait()
	defer stop()
	read := func(mark string) string {
		t.Helper()
		deadline := time.After(time.Minute)
		for {
			if mark == "" {
				if addr, err := os.ReadFile(filepath.Join(cfg.DataDir, "http.addr")); err == nil && len(addr) > 0 {
					return strings.TrimSpace(string(addr))
				}
			} else if _, rest, ok := strings.Cut(out.String(), mark); ok {
				line, _, _ := strings.Cut(rest, "\n")
				return line
			}
			select {
			case <-time.After(5 * time.Millisecond):
			case <-deadline:
				t.Fatalf("not started: %s", out)
			}
		}
	}
	redirects, addr := read("Redirects: "), read("")
	text, err := os.ReadFile(filepath.Join(dir, "ca.crt")) //nolint:gosec // a folder of the test
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	client := func() *http.Client {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{
			ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr)
			},
		}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	// answer is a response whose body was read.
	type answer struct {
		status, protocol int
		header           http.Header
		serial           *big.Int // of the certificate
	}
	get := func(c *http.Client, url string) answer {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		a := answer{status: res.StatusCode, protocol: res.ProtoMajor, header: res.Header}
		if res.TLS != nil {
			a.serial = res.TLS.PeerCertificates[0].SerialNumber
		}
		return a
	}
	old := client()
	first := get(old, "https://edge.stoa/docs")
	if first.status != http.StatusOK || first.protocol != 2 || first.header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%+v", first)
	}
	renew()
	deadline := time.Now().Add(time.Minute)
	for get(client(), "https://edge.stoa/docs").serial.Cmp(first.serial) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("the new certificate is not taken")
		}
		<-time.After(20 * time.Millisecond)
	}
	if again := get(old, "https://edge.stoa/docs"); again.serial.Cmp(first.serial) != 0 {
		t.Error("the connection from before was dropped")
	}

	plain := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if res := get(plain, redirects+"/docs?a=b"); res.status != http.StatusPermanentRedirect || res.header.Get("Location") != "https://edge.stoa/docs?a=b" {
		t.Errorf("%+v", res)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, redirects+"/v1/sessions", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := plain.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("a secret in the open: %d", res.StatusCode)
	}
}
