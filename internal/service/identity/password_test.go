package identity

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestHash(t *testing.T) {
	t.Parallel()
	h := newHasher(cheap)
	rapid.Check(t, func(r *rapid.T) {
		password := rapid.String().Draw(r, "password")
		hash, err := h.hash(t.Context(), password)
		if err != nil {
			r.Fatal(err)
		}
		ok, stale, err := h.verify(t.Context(), password, hash)
		if err != nil || !ok || stale {
			r.Fatalf("verify: %v, stale %v, %v", ok, stale, err)
		}
		ok, _, err = h.verify(t.Context(), password+"x", hash)
		if err != nil || ok {
			r.Fatalf("verify of another password: %v, %v", ok, err)
		}
	})
}

func TestHashFormat(t *testing.T) {
	t.Parallel()
	hash, err := newHasher(DefaultCost).hash(t.Context(), goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	if want := "$argon2id$v=19$m=19456,t=2,p=1$"; !strings.HasPrefix(hash, want) {
		t.Errorf("%s does not begin with %s", hash, want)
	}
	again, err := newHasher(DefaultCost).hash(t.Context(), goodPassword)
	if err != nil || again == hash {
		t.Errorf("two hashes of one password are equal, or %v", err)
	}
	// A hash of another cost is verified by its own, and found to be out of date.
	ok, stale, err := newHasher(cheap).verify(t.Context(), goodPassword, hash)
	if err != nil || !ok || !stale {
		t.Errorf("verify: %v, stale %v, %v", ok, stale, err)
	}
	// The way the keyboard composes a letter makes no difference.
	h := newHasher(cheap)
	if hash, err = h.hash(t.Context(), "caf\u00e9 au lait"); err != nil {
		t.Fatal(err)
	}
	if ok, _, err = h.verify(t.Context(), "cafe\u0301 au lait", hash); err != nil || !ok {
		t.Errorf("verify of the decomposed password: %v, %v", ok, err)
	}
	if ok, _, err = h.verify(t.Context(), "", h.dummy); err != nil || ok {
		t.Errorf("verify against the hash of nothing: %v, %v", ok, err)
	}
}

func TestParsePHCRefuses(t *testing.T) {
	t.Parallel()
	good := newHasher(cheap).dummy
	if _, err := parsePHC(good); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		"", "x", "$", strings.Repeat("$", 5), good + "$", good[:len(good)-1], " " + good,
		strings.Replace(good, "argon2id", "argon2i", 1),
		strings.Replace(good, "v=19", "v=16", 1),
		strings.Replace(good, "m=64", "m=4294967295", 1),
		strings.Replace(good, "m=64", "m=-1", 1),
		strings.Replace(good, "m=64", "m=064", 1),
		strings.Replace(good, "t=1", "t=0", 1),
		strings.Replace(good, "t=1", "t=1000", 1),
		strings.Replace(good, "p=1", "p=0", 1),
		strings.Replace(good, "p=1", "p=256", 1),
	} {
		if _, err := parsePHC(s); !errors.Is(err, errHash) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add(newHasher(DefaultCost).dummy)
	f.Add("$argon2id$v=19$m=1,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := parsePHC(s); err == nil && p.String() != s {
			t.Errorf("%q is written %q", s, p.String())
		}
	})
}

func TestHashingIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(cheap)
		for range cap(h.slots) {
			h.slots <- struct{}{}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := h.hash(ctx, goodPassword); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with all slots taken: %v", err)
		}
		<-h.slots
		if _, err := h.hash(t.Context(), goodPassword); err != nil {
			t.Errorf("with a free slot: %v", err)
		}
	})
}

func TestDigest(t *testing.T) {
	t.Parallel()
	h := newHasher(cheap)
	seen := map[string]string{}
	for _, c := range [][2]string{{"password one", "a"}, {"password two", "a"}, {"password one", "b"}} {
		d, err := h.digest(t.Context(), c[0], c[1])
		if err != nil {
			t.Fatal(err)
		}
		again, err := h.digest(t.Context(), c[0], c[1])
		if err != nil || again != d {
			t.Errorf("%v: %s and then %s, %v", c, d, again, err)
		}
		if was, ok := seen[d]; ok {
			t.Errorf("%v has the digest of %s", c, was)
		}
		seen[d] = c[0] + "/" + c[1]
	}
}

func TestCheckPassword(t *testing.T) {
	t.Parallel()
	const email, name = "ada.lovelace@analytical-engine.org", "Ada King Lovelace"
	for _, password := range []string{
		"password123", "PASSWORD123", "1q2w3e4r5t", // listed
		"aaaaaaaaaa", "ababababababa", "abcabcabcabc", "19991999199", "ßßßßßßßßßßß", "😀😀😀😀😀😀😀😀😀😀", // repeated
		"2345678901234", "9876543210", "cdefghijklmnop", "zyxwvutsrqponm", "wertyuiopqwe", "ASDFGHJKLA", // along the keys
		"ada.lovelace@analytical-engine.org", "ada.lovelace", "AdaLovelace", "lovelace1852", "!!lovelace!!", "adakinglovelace", "Ada King Lovelace", "ada-king-lovelace", "analytical-engine", "analytical1", // telling
	} {
		if err := checkPassword(password, email, name); err == nil {
			t.Errorf("%q is accepted", password)
		} else {
			wantCode(t, err, "account.password_common", "password")
		}
	}
	for _, password := range []string{
		goodPassword, "lovelace and babbage", "x8#kQ!2m9$", "пароль из слов", "ada enjoys tea", "kingfisher blue", "1234567890 but longer",
	} {
		if err := checkPassword(password, email, name); err != nil {
			t.Errorf("%q: %v", password, err)
		}
	}
	// A short name part is in many a good password.
	if err := checkPassword("bo1234567!", "bo@x.org", "Bo"); err != nil {
		t.Error(err)
	}
}

func TestPasswordList(t *testing.T) {
	t.Parallel()
	if n := len(passwords()); n < 1000 {
		t.Errorf("%d passwords listed", n)
	}
	for p := range passwords() {
		if len(p) < 10 || p != strings.ToLower(p) {
			t.Errorf("%q: shorter than a password may be, or not in lower case", p)
		}
	}
}
