package auth

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// key returns a service key as an operator would set it.
func key(fill byte, size int) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, size))
}

func newKeys(tb testing.TB, list ...string) *Keys {
	tb.Helper()
	k, err := NewKeys(strings.Join(list, ","))
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func sign(tb testing.TB, k *Keys, p Principal) string {
	tb.Helper()
	text, err := k.Sign(p)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

var ada = Principal{Account: "account_01h455vb4pex5vsknk084sn02q", Session: "session_01h455vb4pex5vsknk084sn02q", Service: "edge"}

// sameCaller compares without the time until which a principal is believed.
func sameCaller(a, b Principal) bool {
	a.Expires, b.Expires = time.Time{}, time.Time{}
	return a == b
}

func TestSignedPrincipalsAreBelieved(t *testing.T) {
	t.Parallel()
	sender, receiver := newKeys(t, key(1, 32)), newKeys(t, key(1, 32))
	rapid.Check(t, func(rt *rapid.T) {
		p := Principal{
			Account: rapid.String().Draw(rt, "account"), Session: rapid.String().Draw(rt, "session"), Service: rapid.String().Draw(rt, "service"),
			Expires: time.Unix(rapid.Int64Range(0, 1<<40).Draw(rt, "expires"), 0), // what the sender claims of it is of no consequence
		}
		text := sign(t, sender, p)
		for range 2 { // read, and then remembered
			got, err := receiver.Verify(text)
			if err != nil || !sameCaller(got, p) {
				rt.Fatalf("%+v became %+v, %v", p, got, err)
			}
			if left := time.Until(got.Expires); left < 38*time.Second || left > time.Minute {
				rt.Fatalf("believed for another %v", left)
			}
		}
	})
}

func TestRotation(t *testing.T) {
	t.Parallel()
	old, fresh := key(1, 32), key(2, 48)
	all := map[string]*Keys{
		"only old": newKeys(t, old), "old first": newKeys(t, old, fresh), "new first": newKeys(t, fresh, old), "only new": newKeys(t, fresh),
	}
	// Each step of a rotation is rolled out while processes of the step before
	// still run: neighbours believe each other.
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"only old", "old first", true},
		{"old first", "only old", true},
		{"old first", "new first", true},
		{"new first", "old first", true},
		{"new first", "only new", true},
		{"only new", "new first", true},
		{"only old", "new first", true},
		{"only old", "only new", false},
		{"only new", "only old", false},
		{"old first", "only new", false},
	} {
		got, err := all[c.to].Verify(sign(t, all[c.from], ada))
		if c.want && (err != nil || !sameCaller(got, ada)) {
			t.Errorf("%s → %s: %+v, %v", c.from, c.to, got, err)
		}
		if !c.want && !errors.Is(err, ErrBadToken) {
			t.Errorf("%s → %s: %+v, %v; want ErrBadToken", c.from, c.to, got, err)
		}
	}
}

func TestPrincipalsExpire(t *testing.T) {
	t.Parallel()
	now := time.Now()
	sender, receiver, late := newKeys(t, key(1, 32)), newKeys(t, key(1, 32)), newKeys(t, key(1, 32))
	for _, k := range []*Keys{sender, receiver, late} {
		k.now = func() time.Time { return now }
	}
	text := sign(t, sender, ada)
	if _, err := receiver.Verify(text); err != nil {
		t.Fatal(err)
	}
	now = now.Add(lifetime - 2*time.Second)
	if _, err := receiver.Verify(text); err != nil {
		t.Errorf("two seconds before its end: %v", err)
	}
	now = now.Add(3 * time.Second)
	for name, k := range map[string]*Keys{"who has seen it before": receiver, "who sees it first": late} {
		if got, err := k.Verify(text); !errors.Is(err, ErrBadToken) {
			t.Errorf("expired, %s: %+v, %v", name, got, err)
		}
	}
}

func TestForgedPrincipalsAreRefused(t *testing.T) {
	t.Parallel()
	keys := newKeys(t, key(1, 32))
	text := sign(t, keys, ada)
	body, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(name, text string) {
		t.Helper()
		if got, err := keys.Verify(text); !errors.Is(err, ErrBadToken) || got != (Principal{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for n := range text {
		refused("truncated", text[:n])
	}
	for i := range body {
		for bit := range 8 {
			changed := bytes.Clone(body)
			changed[i] ^= 1 << bit
			refused("a bit flipped", base64.RawURLEncoding.EncodeToString(changed))
		}
	}
	refused("longer", base64.RawURLEncoding.EncodeToString(append(bytes.Clone(body), 0)))
	refused("padded", text+"==")
	refused("no signature", base64.RawURLEncoding.EncodeToString(body[32:]))
	refused("zero signature", base64.RawURLEncoding.EncodeToString(append(make([]byte, 32), body[32:]...)))
	refused("another installation", sign(t, newKeys(t, key(9, 32)), ada))
	refused("signed, and no principal", base64.RawURLEncoding.EncodeToString(append(mac(keys.keys[0], []byte{0xff}), 0xff)))
	// The text itself, changed in one character, is refused or says the same.
	for i := range text {
		changed := []byte(text)
		changed[i] ^= 1
		if got, err := keys.Verify(string(changed)); err == nil && !sameCaller(got, ada) {
			t.Errorf("character %d changed: %+v", i, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := base64.RawURLEncoding.EncodeToString(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		if _, err := keys.Verify(text); !errors.Is(err, ErrBadToken) {
			t.Fatalf("%v", err)
		}
	})
}

func TestNewKeysRefuses(t *testing.T) {
	t.Parallel()
	for name, list := range map[string]string{
		"empty":        "",
		"short":        key(1, 31),
		"no base64":    strings.Repeat("!", 44),
		"second short": key(1, 32) + "," + key(2, 16),
		"comma behind": key(1, 32) + ",",
	} {
		k, err := NewKeys(list)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if k != nil || !strings.Contains(err.Error(), "openssl rand -base64 32") {
			t.Errorf("%s: %v does not say what to do", name, err)
		}
		if list != "" && strings.Contains(err.Error(), strings.Split(list, ",")[0]) {
			t.Errorf("%s: %v tells the key", name, err)
		}
	}
	if _, err := NewKeys(" " + key(1, 32) + " , " + key(2, 64) + "\n"); err != nil {
		t.Errorf("spaces around keys: %v", err)
	}
}

// Two callers never share what is kept of a signature.
func TestSignaturesAreKeptApart(t *testing.T) {
	t.Parallel()
	keys := newKeys(t, key(1, 32))
	a := sign(t, keys, ada)
	other := ada
	other.Service = "commerce"
	b := sign(t, keys, other)
	if a == b {
		t.Fatal("edge and commerce have one signature")
	}
	if got, err := keys.Verify(b); err != nil || got.Service != "commerce" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := keys.Verify(a); err != nil || got.Service != "edge" {
		t.Errorf("%+v, %v", got, err)
	}
}
