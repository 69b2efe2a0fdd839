package secret

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// awsKMS answers Encrypt and Decrypt as AWS' does: signed requests of JSON 1.1,
// opaque blobs, bound to the key and the encryption context.
type awsKMS struct {
	mu   sync.Mutex
	kept map[string]kmsBlob
}

type kmsBlob struct {
	key, context string
	plain        []byte
}

func (k *awsKMS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	action := r.Header.Get("X-Amz-Target")
	fail := func(status int, kind string) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": kind, "message": kind})
	}
	sign := r.Header.Get("Authorization")
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" || r.Header.Get("X-Amz-Date") == "" ||
		!strings.HasPrefix(sign, "AWS4-HMAC-SHA256 Credential=AKIATEST/") || !strings.Contains(sign, "/eu-central-1/kms/aws4_request") || !strings.Contains(sign, "x-amz-target") {
		fail(http.StatusBadRequest, "UnrecognizedClientException")
		return
	}
	var req struct {
		KeyID             string `json:"KeyId"`
		Plaintext         []byte
		CiphertextBlob    []byte
		EncryptionContext map[string]string
	}
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		fail(http.StatusBadRequest, "SerializationException")
		return
	}
	if req.KeyID != "alias/stoa" && (action != "TrentService.Decrypt" || req.KeyID != "") { // which the blob names
		fail(http.StatusBadRequest, "NotFoundException")
		return
	}
	context, _ := json.Marshal(req.EncryptionContext) //nolint:errchkjson // a map of texts
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	switch action {
	case "TrentService.Encrypt":
		blob := []byte(rand.Text() + rand.Text())
		k.kept[string(blob)] = kmsBlob{req.KeyID, string(context), req.Plaintext}
		_ = json.NewEncoder(w).Encode(map[string]any{"CiphertextBlob": blob, "KeyId": "arn:aws:kms:eu-central-1:1:key/1"})
	case "TrentService.Decrypt":
		b, ok := k.kept[string(req.CiphertextBlob)]
		if !ok || b.context != string(context) {
			fail(http.StatusBadRequest, "InvalidCiphertextException")
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"Plaintext": b.plain, "KeyId": "arn:aws:kms:eu-central-1:1:key/1"})
	default:
		fail(http.StatusBadRequest, "UnknownOperationException")
	}
}

func TestKMS(t *testing.T) {
	t.Parallel()
	fake := &awsKMS{kept: map[string]kmsBlob{}}
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	raw := make([]byte, 32)
	_, _ = rand.Read(raw)
	_, keyset := newKeys(t)
	for name, cfg := range map[string]KMSConfig{
		"AWS":         {URL: "awskms:///alias/stoa?region=eu-central-1&endpoint=" + server.URL, AccessKey: "AKIATEST", SecretKey: "x"},
		"AWS as host": {URL: "awskms://alias/stoa?region=eu-central-1&endpoint=" + server.URL, AccessKey: "AKIATEST", SecretKey: "x"},
		"a key":       {URL: "base64key://" + base64.URLEncoding.EncodeToString(raw)},
	} {
		k, err := OpenKMS(t.Context(), cfg)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		wrapped, err := k.Wrap(t.Context(), keyset)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if bytes.Contains(wrapped, []byte("envelope")) || bytes.Count(wrapped, []byte("\n")) != 1 {
			t.Errorf("%s: %q", name, wrapped)
		}
		if got, err := k.Unwrap(t.Context(), wrapped); err != nil || !bytes.Equal(got, keyset) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		for _, bad := range [][]byte{keyset, nil, []byte("kms:"), []byte("kms:!"), append([]byte("kms:AAAA"), wrapped[4:]...)} {
			if got, err := k.Unwrap(t.Context(), bad); err == nil {
				t.Errorf("%s: %q gives %q", name, bad, got)
			}
		}
		if _, err := k.Wrap(t.Context(), []byte("no keyset")); err == nil {
			t.Errorf("%s: wraps what is no keyset", name)
		}
		if err := k.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, url := range []string{"", "x://", "awskms://", "awskms:///alias/stoa", "base64key://hunter2", "base64key://", "gcpkms://x"} {
		if _, err := OpenKMS(t.Context(), KMSConfig{URL: url, AccessKey: "a", SecretKey: "b"}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
