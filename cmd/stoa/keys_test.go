package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stoa-lms/stoa/internal/app"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
)

// TestKeys: an operator makes a keyset, has it wrapped, and rotates it.
func TestKeys(t *testing.T) {
	t.Parallel()
	s := newStoa(t)
	file := filepath.Join(t.TempDir(), "keyset.json")
	env := []string{
		"STOA_DATABASE_URL=" + pgtest.New(t, app.Schemas()...), "STOA_KEYSET_FILE=" + file,
		"STOA_KMS_URL=base64key://" + base64.URLEncoding.EncodeToString([]byte(strings.Repeat("k", 32))),
	}
	plain := s.run(t, nil, "admin", "keys", "new")
	if plain.code != 0 || !strings.Contains(plain.out, `"envelope"`) {
		t.Fatalf("%+v", plain)
	}
	if err := os.WriteFile(file, []byte(plain.out), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := s.run(t, env, "admin", "keys", "list"); got.code != 1 || !strings.Contains(got.err, "stoa admin keys wrap") {
		t.Errorf("a plain keyset with a KMS: %+v", got)
	}
	for _, args := range [][]string{{"admin", "keys", "new", "--kms"}, {"admin", "keys", "wrap", file}} {
		if got := s.run(t, nil, args...); got.code != 1 || !strings.Contains(got.err, "STOA_KMS_URL is not set") {
			t.Errorf("%v without a KMS: %+v", args, got)
		}
		got := s.run(t, env, args...)
		if got.code != 0 || !strings.HasPrefix(got.out, "kms:") || strings.Contains(got.out, "envelope") {
			t.Fatalf("%v: %+v", args, got)
		}
		plain = got
	}
	if err := os.WriteFile(file, []byte(plain.out), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := s.run(t, env, "admin", "keys", "rotate", "--wait=0s", "--retire"); got.code != 0 || !strings.Contains(got.out, "key 2 seals") || strings.Contains(got.out, "retired") {
		t.Errorf("%+v", got)
	}
	if got := s.run(t, env, "admin", "keys", "rotate", "--wait=0s", "--retire"); got.code != 0 || !strings.Contains(got.out, "key 3 seals") || !strings.Contains(got.out, "key 1 is retired") {
		t.Errorf("%+v", got)
	}
	if got := s.run(t, env, "admin", "keys", "list"); got.code != 0 || got.out != "key 2: wraps 0 data keys\nkey 3: wraps 0 data keys, seals\n" {
		t.Errorf("%+v", got)
	}
	text, err := os.ReadFile(file) //nolint:gosec // a folder of the test
	if err != nil || !strings.HasPrefix(string(text), "kms:") {
		t.Errorf("the file is %q, %v", text, err)
	}
}

func TestCerts(t *testing.T) {
	t.Parallel()
	s, dir := newStoa(t), filepath.Join(t.TempDir(), "certs")
	if got := s.run(t, nil, "admin", "certs", "--dir", dir, "--days", "30", "--service", "edge", "--service", "courses"); got.code != 0 || !strings.Contains(got.out, "2 services") {
		t.Errorf("%+v", got)
	}
	for _, name := range []string{"ca.crt", "ca.key", "edge/ca.crt", "edge/tls.crt", "edge/tls.key", "courses/tls.crt"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	for _, args := range [][]string{{"admin", "certs"}, {"admin", "certs", "--dir", dir, "--service", "library"}, {"admin", "certs", "--dir", dir, "--days", "0"}} {
		if got := s.run(t, nil, args...); got.code == 0 || got.err == "" {
			t.Errorf("%v: %+v", args, got)
		}
	}
}
