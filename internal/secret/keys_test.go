package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func newKeys(t testing.TB) (*Keys, []byte) {
	t.Helper()
	text, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	k, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return k, text
}

func TestSealedIsReadBackForItsPurposeOnly(t *testing.T) {
	t.Parallel()
	k, _ := newKeys(t)
	other, _ := newKeys(t)
	rapid.Check(t, func(t *rapid.T) {
		plain, purpose := rapid.SliceOf(rapid.Byte()).Draw(t, "plain"), rapid.String().Draw(t, "purpose")
		sealed := k.Seal(purpose, plain)
		got, err := k.Unseal(purpose, sealed)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%q, %v", got, err)
		}
		if bytes.Equal(sealed, k.Seal(purpose, plain)) {
			t.Fatal("sealing twice gives the same")
		}
		if wrong := rapid.String().Draw(t, "another purpose"); wrong != purpose {
			if _, err := k.Unseal(wrong, sealed); !errors.Is(err, ErrUnreadable) {
				t.Fatalf("read for another purpose: %v", err)
			}
		}
		if _, err := other.Unseal(purpose, sealed); !errors.Is(err, ErrUnreadable) {
			t.Fatalf("read with another keyset: %v", err)
		}
	})
}

// Each bit counts, and each byte.
func TestChangedIsRefused(t *testing.T) {
	t.Parallel()
	k, _ := newKeys(t)
	p := &PersonKey{person: "account_1", schema: "notify", key: bytes.Repeat([]byte{7}, keySize)}
	for name, tt := range map[string]struct {
		sealed []byte
		unseal func([]byte) ([]byte, error)
	}{
		"envelope": {k.Seal("x", []byte("hello")), func(b []byte) ([]byte, error) { return k.Unseal("x", b) }},
		"person":   {p.Seal("x", []byte("hello")), func(b []byte) ([]byte, error) { return p.Unseal("x", b) }},
	} {
		for i := range tt.sealed {
			for bit := range 8 {
				bad := slices.Clone(tt.sealed)
				bad[i] ^= 1 << bit
				if _, err := tt.unseal(bad); !errors.Is(err, ErrUnreadable) {
					t.Fatalf("%s: bit %d of byte %d is not noticed: %v", name, bit, i, err)
				}
			}
			if _, err := tt.unseal(tt.sealed[:i]); !errors.Is(err, ErrUnreadable) {
				t.Fatalf("%s: %d bytes: %v", name, i, err)
			}
		}
		if _, err := tt.unseal(append(slices.Clone(tt.sealed), 0)); !errors.Is(err, ErrUnreadable) {
			t.Errorf("%s: a byte more: %v", name, err)
		}
	}
	for _, other := range []*PersonKey{
		{person: "account_2", schema: "notify", key: p.key},
		{person: "account_1", schema: "identity", key: p.key},
		{person: "account_1", schema: "notify", key: bytes.Repeat([]byte{8}, keySize)},
	} {
		if _, err := other.Unseal("x", p.Seal("x", []byte("hello"))); !errors.Is(err, ErrUnreadable) {
			t.Errorf("%+v reads it: %v", other, err)
		}
	}
}

func TestKeysetFaults(t *testing.T) {
	t.Parallel()
	_, good := newKeys(t)
	change := func(by func(*file)) string {
		var f file
		if err := json.Unmarshal(good, &f); err != nil {
			t.Fatal(err)
		}
		by(&f)
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for name, text := range map[string]string{
		"empty": "", "no JSON": "hunter2", "no keys": "{}", "more behind": string(good) + "{}",
		"unknown":     strings.Replace(string(good), `"index"`, `"indexes"`, 1),
		"no envelope": change(func(f *file) { f.Envelope = nil }),
		"no index":    change(func(f *file) { f.Index = "" }),
		"short index": change(func(f *file) { f.Index = f.Index[:8] }),
		"short key":   change(func(f *file) { f.Envelope[0].Key = f.Envelope[0].Key[4:] }),
		"no base64":   change(func(f *file) { f.Envelope[0].Key = strings.Repeat("!", 44) }),
		"id zero":     change(func(f *file) { f.Envelope[0].ID = 0 }),
		"twice":       change(func(f *file) { f.Envelope = append(f.Envelope, f.Envelope[0]) }),
	} {
		k, _ := newKeys(t)
		before := k.Primary()
		sealed := k.Seal("x", []byte("y"))
		if err := k.Replace([]byte(text)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := k.Unseal("x", sealed); err != nil || k.Primary() != before {
			t.Errorf("%s: the keys before are lost: %v", name, err)
		}
	}
}

func TestIndex(t *testing.T) {
	t.Parallel()
	k, text := newKeys(t)
	other, _ := newKeys(t)
	a := k.Index("email", "ana@example.org")
	text, err := Add(text)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = Promote(text); err != nil {
		t.Fatal(err)
	}
	if err := k.Replace(text); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, k.Index("email", "ana@example.org")) {
		t.Error("it changes with the keys")
	}
	for name, b := range map[string][]byte{
		"another value": k.Index("email", "ben@example.org"), "another purpose": k.Index("phone", "ana@example.org"),
		"another keyset": other.Index("email", "ana@example.org"),
	} {
		if bytes.Equal(a, b) {
			t.Errorf("%s: the same", name)
		}
	}
}

// A key is added behind, promoted and the one before retired, while others seal
// and read with the keyset: nothing fails.
func TestRotationWhileSealing(t *testing.T) {
	t.Parallel()
	k, text := newKeys(t)
	late, err := Parse(text) // a process that reads the keyset later
	if err != nil {
		t.Fatal(err)
	}
	replace := func(by func([]byte) ([]byte, error)) {
		if text, err = by(text); err != nil {
			t.Error(err)
		}
		if err := k.Replace(text); err != nil {
			t.Error(err)
		}
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got, err := k.Unseal("x", k.Seal("x", []byte("y"))); err != nil || string(got) != "y" {
					t.Errorf("%q, %v", got, err)
					return
				}
			}
		})
	}
	old := k.Seal("x", []byte("y"))
	for range 20 {
		primary := k.Primary()
		replace(Add)
		if k.Primary() != primary {
			t.Error("a key behind seals")
		}
		if err := late.Replace(text); err != nil {
			t.Error(err)
		}
		replace(Promote)
		if k.Primary() <= primary {
			t.Error("the promoted key does not seal")
		}
		if _, err := late.Unseal("x", k.Seal("x", []byte("y"))); err != nil {
			t.Errorf("who knows the key from before: %v", err)
		}
	}
	if _, err := k.Unseal("x", old); err != nil {
		t.Errorf("what the oldest sealed: %v", err)
	}
	close(stop)
	wg.Wait()
	var gone []int64
	replace(func(text []byte) ([]byte, error) {
		text, ids, err := Retire(text, func(id int64) bool { return id == 3 })
		gone = ids
		return text, err
	})
	if want := []int64{3, 21}; !slices.Equal(k.IDs(), want) || len(gone) != 19 {
		t.Errorf("keys %v, want %v; retired %v", k.IDs(), want, gone)
	}
	if _, err := k.Unseal("x", old); !errors.Is(err, ErrUnreadable) {
		t.Errorf("what a retired key sealed: %v", err)
	}
}

// A key that is added and not promoted is not retired: it will seal.
func TestRetireKeepsWhatIsToCome(t *testing.T) {
	t.Parallel()
	_, text := newKeys(t)
	text, err := Add(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, gone, err := Retire(text, func(int64) bool { return false }); err != nil || len(gone) != 0 {
		t.Errorf("retired %v, %v", gone, err)
	}
}

// What an unknown key sealed is looked for in a newer keyset, once.
func TestMissingKeyIsLookedFor(t *testing.T) {
	t.Parallel()
	k, text := newKeys(t)
	newer, err := Add(text)
	if err != nil {
		t.Fatal(err)
	}
	if newer, err = Promote(newer); err != nil {
		t.Fatal(err)
	}
	ahead, err := Parse(newer)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	k.OnMissing(func() {
		if asked++; asked == 2 {
			if err := k.Replace(newer); err != nil {
				t.Error(err)
			}
		}
	})
	sealed := ahead.Seal("x", []byte("y"))
	if _, err := k.Unseal("x", sealed); !errors.Is(err, ErrUnreadable) {
		t.Errorf("before it is there: %v", err)
	}
	if got, err := k.Unseal("x", sealed); err != nil || string(got) != "y" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := k.Unseal("x", sealed); err != nil || asked != 2 {
		t.Errorf("asked %d times, %v", asked, err)
	}
}

func FuzzUnseal(f *testing.F) {
	k, _ := newKeys(f)
	f.Add([]byte{})
	f.Add(k.Seal("x", nil)[:20])
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if _, err := k.Unseal("x", sealed); !errors.Is(err, ErrUnreadable) {
			t.Errorf("%v", err)
		}
	})
}
