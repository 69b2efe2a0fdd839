package edge

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/stoa-lms/stoa/internal/rpc"
)

// proofOf returns what calls of a request carry, as assessment reads it.
func proofOf(t *testing.T, e *Edge, method, target, body string, header map[string]string) (rpc.Proof, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for k, v := range header {
		r.Header.Set(k, v)
	}
	ctx, err := e.prove(r.Context(), httptest.NewRecorder(), r)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	md, _ := metadata.FromOutgoingContext(ctx)
	return rpc.ProofOf(metadata.NewIncomingContext(t.Context(), md)), string(rest)
}

// A proof is about the address that the browser has asked for, whatever proxies are
// between, and about the body as it came, which is read all the same.
func TestProve(t *testing.T) {
	t.Parallel()
	e := &Edge{Config: Config{PublicURL: "https://learn.example.org/", Timeout: time.Second}}
	const path = "/v1/attempts/attempt_x/operations?a=%2Fb&c"
	sum := sha256.Sum256([]byte("a body"))
	p, rest := proofOf(t, e, "POST", "http://10.0.0.7:8080"+path, "a body", map[string]string{"Stoa-Lockdown": "v1;x", "Host": "evil.example.org"})
	if p.Method != http.MethodPost || p.URL != "https://learn.example.org"+path || p.Signature != "v1;x" || p.Body != hex.EncodeToString(sum[:]) || rest != "a body" || time.Since(p.At) > time.Minute {
		t.Errorf("signed: %+v, %q", p, rest)
	}
	p, _ = proofOf(t, e, "GET", path, "", map[string]string{"X-SafeExamBrowser-ConfigKeyHash": "c", "X-SafeExamBrowser-RequestHash": "r", "Stoa-Page": "https://learn.example.org/exam?x=1#part"})
	if p.ConfigKeyHash != "c" || p.RequestHash != "r" || p.Page != "https://learn.example.org/exam?x=1" || p.Body != "" {
		t.Errorf("of Safe Exam Browser: %+v", p)
	}
	for _, page := range []string{"https://evil.example.org/", "https://learn.example.org.evil.example.org/", "x"} {
		if p, _ := proofOf(t, e, "GET", path, "", map[string]string{"X-SafeExamBrowser-ConfigKeyHash": "c", "Stoa-Page": page}); p.Page != "" {
			t.Errorf("%s is taken for a page of ours", page)
		}
	}
	if p, _ := proofOf(t, e, "GET", path, "", nil); p != (rpc.Proof{}) {
		t.Errorf("of nothing: %+v", p)
	}
	if p, _ := proofOf(t, e, "GET", path, "", map[string]string{"X-SafeExamBrowser-ConfigKeyHash": strings.Repeat("c", maxProof+1)}); p != (rpc.Proof{}) {
		t.Errorf("of too much: %+v", p)
	}
	// Nobody else brings one: what comes as metadata of a call is not passed on.
	if name, ok := incomingHeader("Grpc-Metadata-" + rpc.KeyProof); ok {
		t.Errorf("a caller's own proof is passed on as %s", name)
	}
}
