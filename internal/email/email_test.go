package email_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/email"
	"github.com/stoa-lms/stoa/internal/secret"
)

func TestNormal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		once := email.Normal(rapid.String().Draw(t, "email"))
		if twice := email.Normal(once); twice != once {
			t.Fatalf("%q becomes %q", once, twice)
		}
	})
	if a, b := email.Normal("JOSÉ@example.org"), email.Normal("jose\u0301@example.org"); a != b {
		t.Errorf("%q and %q are one address", a, b)
	}
}

func TestValid(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"ada@example.org":                     true,
		"ada+stoa@mail.example.org":           true,
		"josé@example.org":                    true,
		"":                                    false,
		"ada":                                 false,
		"ada@":                                false,
		"@example.org":                        false,
		"ada@example.org, bob@example.org":    false,
		"ada@example.org\nbcc: x@example.org": false,
		"Ada <ada@example.org>":               false,
		`"a b"@example.org`:                   false,
		"ada(x)@example.org":                  false,
		strings.Repeat("a", 250) + "@example.org": false,
	} {
		if got := email.Valid(address); got != want {
			t.Errorf("%q: %v, want %v", address, got, want)
		}
	}
}

func TestIndex(t *testing.T) {
	t.Parallel()
	text, err := secret.Generate()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := secret.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	one := email.Index(keys, "access", "ada@example.org")
	if !bytes.Equal(one, email.Index(keys, "access", " ADA@example.org ")) {
		t.Error("one address has two indexes")
	}
	if bytes.Equal(one, email.Index(keys, "identity", "ada@example.org")) {
		t.Error("two services share an index")
	}
	if bytes.Equal(one, email.Index(keys, "access", "bob@example.org")) {
		t.Error("two addresses share an index")
	}
}

// event is one that tells an address.
type event struct {
	account, plain string
	sealed         []byte
}

func (e event) GetAccountId() string   { return e.account } //nolint:revive // as generated code calls it
func (e event) GetEmail() string       { return e.plain }
func (e event) GetEmailSealed() []byte { return e.sealed }

func TestEvent(t *testing.T) {
	t.Parallel()
	text, err := secret.Generate()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := secret.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	sealed := email.Seal(keys, "account_1", "ada@example.org")
	if bytes.Contains(sealed, []byte("ada")) {
		t.Error("what is sealed shows the address")
	}
	for name, c := range map[string]struct {
		event event
		want  string
	}{
		"sealed":     {event{account: "account_1", sealed: sealed}, "ada@example.org"},
		"of before":  {event{account: "account_1", plain: "ada@example.org"}, "ada@example.org"},
		"both":       {event{account: "account_1", plain: "bob@example.org", sealed: sealed}, "ada@example.org"},
		"no address": {event{account: "account_1", sealed: email.Seal(keys, "account_1", "")}, ""},
	} {
		if got, err := email.Of(keys, c.event); err != nil || got != c.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, e := range map[string]event{
		"of another account": {account: "account_2", sealed: sealed},
		"cut off":            {account: "account_1", sealed: sealed[:len(sealed)-1]},
		"nothing of ours":    {account: "account_1", plain: "ada@example.org", sealed: []byte("x")},
	} {
		if got, err := email.Of(keys, e); !errors.Is(err, secret.ErrUnreadable) || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
