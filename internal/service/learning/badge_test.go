package learning

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/piprate/json-gold/ld"

	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

func (w *certifying) document(kind, name string) []byte {
	w.t.Helper()
	f, err := w.certificates.DownloadBadgeDocument(context.Background(), &learningpb.DownloadBadgeDocumentRequest{Kind: kind, Id: name})
	if err != nil {
		w.t.Fatalf("%s %s: %v", kind, name, err)
	}
	return f.GetContent()
}

func (w *certifying) badge(account, certificate, format string) []byte {
	w.t.Helper()
	f, err := w.certificates.DownloadBadge(w.as(account), &learningpb.DownloadBadgeRequest{CertificateId: certificate, Format: format})
	if err != nil {
		w.t.Fatal(err)
	}
	return f.GetContent()
}

func parse[T any](t testing.TB, text []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestBadgeSaysWhatTheCertificateSays(t *testing.T) {
	t.Parallel()
	w := newCertifying(t, rpctest.Everything)
	account, course := w.completed("Ada Lovelace", "Analysis", "de")
	c := w.only(account)
	got := parse[map[string]any](t, w.badge(account, c.GetId(), "json"))
	delete(got, "proof")
	subject := got["credentialSubject"].(map[string]any)
	want := map[string]any{
		"@context":  []any{"https://www.w3.org/ns/credentials/v2", "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.3.json"},
		"id":        c.GetUrl(),
		"type":      []any{"VerifiableCredential", "OpenBadgeCredential"},
		"name":      "Analysis",
		"issuer":    map[string]any{"id": "did:web:learn.example.org%3A8443", "type": []any{"Profile"}, "name": "Example Academy", "url": "https://learn.example.org:8443"},
		"validFrom": c.GetIssuedAt().AsTime().Format(time.RFC3339),
		"credentialSubject": map[string]any{
			"id": subject["id"], "type": []any{"AchievementSubject"}, "activityEndDate": "2026-05-04",
			"identifier": []any{map[string]any{"type": "IdentityObject", "hashed": false, "identityHash": "Ada Lovelace", "identityType": "name"}},
			"achievement": map[string]any{
				"id": "https://learn.example.org:8443/v1/badges/achievement/" + course, "type": []any{"Achievement"}, "achievementType": "Course",
				"name": "Analysis", "description": "Abschlusszertifikat: Analysis",
				"criteria": map[string]any{"narrative": wordsFor("de").statement + ": Analysis"},
			},
		},
		"credentialStatus": map[string]any{ //nolint:gosec // no secret
			"id": "https://learn.example.org:8443/v1/badges/status/0#1", "type": "BitstringStatusListEntry", "statusPurpose": "revocation",
			"statusListIndex": "1", "statusListCredential": "https://learn.example.org:8443/v1/badges/status/0",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if id, _ := subject["id"].(string); !strings.HasPrefix(id, "urn:uuid:") || strings.Contains(id, strings.TrimPrefix(account, "account_")) {
		t.Errorf("the subject is %q", id)
	}
	for kind, name := range map[string]string{"achievement": course, "issuer": ""} {
		doc := parse[map[string]any](t, w.document(kind, name))
		if _, err := canonical(doc, loader{}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for kind, name := range map[string]string{"achievement": "course_01h455vb4pex5vsknk084sn02q", "key": "other", "status": "1"} {
		_, err := w.certificates.DownloadBadgeDocument(context.Background(), &learningpb.DownloadBadgeDocumentRequest{Kind: kind, Id: name})
		wantCode(t, err, "badge.not_found")
	}
}

// keysOf returns the published RSA keys by the address that kid has.
func (w *certifying) keysOf() jose.JSONWebKeySet {
	return parse[jose.JSONWebKeySet](w.t, w.document("jwks", ""))
}

func TestJWTIsVerifiedByPublishedKeys(t *testing.T) {
	t.Parallel()
	w := newCertifying(t, rpctest.Everything)
	account, _ := w.completed("Ada Lovelace", "Analysis", "en")
	c := w.only(account)
	token := string(w.badge(account, c.GetId(), "jwt"))
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	kid := signed.Signatures[0].Header.KeyID
	key := parse[jose.JSONWebKey](t, w.document("key", strings.TrimPrefix(kid, "https://learn.example.org:8443/v1/badges/key/")))
	payload, err := signed.Verify(key)
	if err != nil {
		t.Fatal(err)
	}
	claims := parse[map[string]any](t, payload)
	for name, want := range map[string]any{
		"iss": "did:web:learn.example.org%3A8443", "jti": c.GetUrl(), "id": c.GetUrl(), "nbf": float64(c.GetIssuedAt().GetSeconds()),
		"sub": claims["credentialSubject"].(map[string]any)["id"],
	} {
		if claims[name] != want {
			t.Errorf("%s is %v, want %v", name, claims[name], want)
		}
	}
	if set := w.keysOf(); len(set.Key(key.KeyID)) != 1 {
		t.Error("the set of keys lacks it")
	}

	// Tampered with, and with another key.
	parts := strings.Split(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	parts[1] = base64.RawURLEncoding.EncodeToString(bytes.ReplaceAll(raw, []byte("Ada Lovelace"), []byte("Eve Lovelace")))
	forged, err := jose.ParseSignedCompact(strings.Join(parts, "."), []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := forged.Verify(key); err == nil {
		t.Error("tampered with, and verified")
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signed.Verify(&other.PublicKey); err == nil {
		t.Error("verified with another key")
	}
}

// verifyProof is how a verifier checks eddsa-rdfc-2022 with what is published.
func verifyProof(text, did []byte) error {
	var doc map[string]any
	var keys struct {
		ID      string   `json:"id"`
		Asserts []string `json:"assertionMethod"`
		Methods []struct {
			ID         string `json:"id"`
			Controller string `json:"controller"`
			Multibase  string `json:"publicKeyMultibase"`
		} `json:"verificationMethod"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return err
	}
	if err := json.Unmarshal(did, &keys); err != nil {
		return err
	}
	proof, _ := doc["proof"].(map[string]any)
	delete(doc, "proof")
	value, _ := proof["proofValue"].(string)
	delete(proof, "proofValue")
	issuer, ok := doc["issuer"].(string)
	if !ok {
		issuer, _ = doc["issuer"].(map[string]any)["id"].(string)
	}
	for _, m := range keys.Methods {
		if m.ID != proof["verificationMethod"] || m.Controller != issuer || keys.ID != issuer {
			continue
		}
		digest, err := hashed(doc, proof, loader{})
		if err != nil {
			return err
		}
		if !ed25519.Verify(unbase58(m.Multibase)[2:], digest, unbase58(value)) {
			return fmt.Errorf("the signature is not that of %s", m.ID)
		}
		return nil
	}
	return fmt.Errorf("the issuer has no key %v", proof["verificationMethod"])
}

// unbase58 reads what base58 writes, in another way than it does.
func unbase58(text string) []byte {
	n := new(big.Int)
	text = strings.TrimPrefix(text, "z")
	zeros := len(text) - len(strings.TrimLeft(text, "1"))
	for _, c := range text {
		n.Mul(n, big.NewInt(58)).Add(n, big.NewInt(int64(strings.IndexRune("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", c))))
	}
	return append(make([]byte, zeros), n.Bytes()...)
}

func TestBase58(t *testing.T) {
	t.Parallel()
	for _, raw := range [][]byte{{}, {0}, {0, 0, 1}, {0xff}, []byte("Hello World!"), bytes.Repeat([]byte{0xed, 1, 0}, 30)} {
		if got := unbase58(base58(raw)); !bytes.Equal(got, raw) && len(got)+len(raw) > 0 {
			t.Errorf("%x is %s and back %x", raw, base58(raw), got)
		}
	}
	if got := base58([]byte("Hello World!")); got != "z2NEpo7TZRRrLZSi2U" {
		t.Errorf("got %s", got)
	}
}

func TestProofAndStatusList(t *testing.T) {
	t.Parallel()
	w := newCertifying(t, rpctest.Everything)
	var badges [][]byte
	var bits []int
	var accounts, courses []string
	for i := range 3 {
		account, course := w.completed(fmt.Sprint("Learner ", i), "Analysis <&> “ﬁ” 分析", "en")
		badge := w.badge(account, w.only(account).GetId(), "json")
		status := parse[struct {
			Status struct {
				Index string `json:"statusListIndex"`
			} `json:"credentialStatus"`
		}](t, badge)
		bit, err := strconv.Atoi(status.Status.Index)
		if err != nil {
			t.Fatal(err)
		}
		badges, bits, accounts, courses = append(badges, badge), append(bits, bit), append(accounts, account), append(courses, course)
	}
	did := w.document("did", "")
	for _, b := range badges {
		if err := verifyProof(b, did); err != nil {
			t.Fatal(err)
		}
		if err := verifyProof(bytes.ReplaceAll(b, []byte("Learner"), []byte("Teacher")), did); err == nil {
			t.Error("tampered with, and verified")
		}
	}
	other := newCertifying(t, rpctest.Everything)
	if err := verifyProof(badges[0], other.document("did", "")); err == nil {
		t.Error("verified with the keys of another platform")
	}

	revoked := func() (out []bool) {
		text := w.document("status", "0")
		if err := verifyProof(text, did); err != nil {
			t.Fatal(err)
		}
		list := parse[struct {
			Subject struct {
				Encoded string `json:"encodedList"`
			} `json:"credentialSubject"`
		}](t, text).Subject.Encoded
		raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(list, "u"))
		if err != nil || list[0] != 'u' {
			t.Fatalf("%v: %s", err, list)
		}
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(z)
		if err != nil || len(plain) != 16<<10 {
			t.Fatalf("%d bytes, %v", len(plain), err)
		}
		for _, bit := range bits {
			out = append(out, plain[bit/8]&(0x80>>(bit%8)) != 0)
		}
		return out
	}
	if diff := cmp.Diff([]bool{false, false, false}, revoked()); diff != "" {
		t.Error(diff)
	}
	staff := w.as(accounts[0])
	if _, err := w.certificates.RevokeCertificate(staff, &learningpb.RevokeCertificateRequest{CourseId: courses[1], CertificateId: w.only(accounts[1]).GetId(), Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]bool{false, true, false}, revoked()); diff != "" {
		t.Error(diff)
	}
	if _, err := w.certificates.ReissueCertificate(staff, &learningpb.ReissueCertificateRequest{CourseId: courses[2], CertificateId: w.only(accounts[2]).GetId(), Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]bool{false, true, true}, revoked()); diff != "" {
		t.Error(diff)
	}
}

func TestKeysAreChangedAndKept(t *testing.T) {
	t.Parallel()
	w := newCertifying(t, rpctest.Everything)
	account, _ := w.completed("Ada Lovelace", "Analysis", "en")
	c := w.only(account)
	// All who come first make one key of each algorithm.
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() { w.badge(account, c.GetId(), "json") })
	}
	all.Wait()
	old := w.badge(account, c.GetId(), "json")
	if !bytes.Equal(old, w.badge(account, c.GetId(), "json")) {
		t.Error("the badge is another each time")
	}
	before := w.keysOf().Keys
	if len(before) != 2 {
		t.Fatalf("%d keys, want 2", len(before))
	}
	w.mu.Lock()
	w.clock = w.clock.Add(keyLife)
	w.mu.Unlock()
	fresh := w.badge(account, c.GetId(), "json")
	after := w.keysOf().Keys
	if len(after) != 4 {
		t.Fatalf("%d keys a year later, want 4", len(after))
	}
	if bytes.Equal(old, fresh) {
		t.Error("the old key still signs")
	}
	did := w.document("did", "")
	for _, b := range [][]byte{old, fresh} {
		if err := verifyProof(b, did); err != nil {
			t.Error(err)
		}
	}
	var private []byte
	if err := w.db.QueryRow(context.Background(), `SELECT private_key FROM badge_key LIMIT 1`).Scan(&private); err != nil || bytes.Contains(private, []byte{0x2b, 0x65, 0x70}) {
		t.Errorf("the private key is plain, %v", err)
	}
}

// vectorLoader has the context of the W3C's test vector besides.
type vectorLoader struct{ loader }

func (l vectorLoader) LoadDocument(u string) (*ld.RemoteDocument, error) {
	if u != "https://www.w3.org/ns/credentials/examples/v2" {
		return l.loader.LoadDocument(u)
	}
	doc, err := ld.DocumentFromReader(strings.NewReader(`{"@context": {"@vocab": "https://www.w3.org/ns/credentials/examples#"}}`))
	return &ld.RemoteDocument{DocumentURL: u, Document: doc}, err
}

// TestVector holds what is signed to the test vector of the W3C recommendation
// Data Integrity EdDSA Cryptosuites v1.0, B.1.
func TestVector(t *testing.T) {
	t.Parallel()
	doc := object{
		"@context": []any{"https://www.w3.org/ns/credentials/v2", "https://www.w3.org/ns/credentials/examples/v2"},
		"id":       "urn:uuid:58172aac-d8ba-11ed-83dd-0b3aef56cc33", "type": []any{"VerifiableCredential", "AlumniCredential"},
		"name": "Alumni Credential", "description": "A minimum viable example of an Alumni Credential.",
		"issuer": "https://vc.example/issuers/5678", "validFrom": "2023-01-01T00:00:00Z",
		"credentialSubject": object{"id": "did:example:abcdefgh", "alumniOf": "The School of Examples"},
	}
	const key = "z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2"
	proof := object{
		"type": "DataIntegrityProof", "cryptosuite": "eddsa-rdfc-2022", "created": "2023-02-24T23:36:38Z",
		"verificationMethod": "did:key:" + key + "#" + key, "proofPurpose": "assertionMethod",
	}
	digest, err := hashed(doc, proof, vectorLoader{})
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(digest[32:]); got != "517744132ae165a5349155bef0bb0cf2258fff99dfe1dbd914b938d775a36017" {
		t.Errorf("the credential's hash is %s", got)
	}
	signature := unbase58("z2YwC8z3ap7yx1nZYCg4L3j3ApHsF8kgPdSb5xoS1VR7vPG3F561B52hYnQF9iseabecm3ijx4K1FBTQsCZahKZme")
	if !ed25519.Verify(unbase58(key)[2:], digest, signature) {
		t.Error("the W3C's signature is not good for it")
	}
}
