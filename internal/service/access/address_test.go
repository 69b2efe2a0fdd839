package access

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stoa-lms/stoa/internal/email"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// Addresses come sealed, or plain in events of before; one that is sealed for
// somebody else is an error, and changes nothing.
func TestAddressesInEvents(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	keys, accountID := e.service.vault.Keys(), id.New("account")
	is := func(address string) {
		t.Helper()
		if got := query[[]byte](t, e.db, `SELECT email_index FROM person`); !bytes.Equal(got, email.Index(keys, Schema.Name, address)) {
			t.Errorf("the index is not that of %s", address)
		}
	}
	deliver(t, e, e.service.accountCreated, &identitypb.AccountCreated{AccountId: accountID, Email: "before@example.org"})
	is("before@example.org")
	deliver(t, e, e.service.accountUpdated, &identitypb.AccountUpdated{
		AccountId: accountID, EmailSealed: email.Seal(keys, accountID, "ada@example.org"), Version: 2,
	})
	is("ada@example.org")
	deliver(t, e, e.service.accountCreated, &identitypb.AccountCreated{
		AccountId: accountID, EmailSealed: email.Seal(keys, accountID, "first@example.org"),
	})
	is("ada@example.org")
	err := e.db.InTx(t.Context(), func(tx *pg.Tx) error {
		tx.Exempt("a copy")
		return e.service.accountUpdated(t.Context(), tx, &identitypb.AccountUpdated{
			AccountId: accountID, EmailSealed: email.Seal(keys, id.New("account"), "x@example.org"), Version: 3,
		})
	})
	if !errors.Is(err, secret.ErrUnreadable) {
		t.Errorf("%v", err)
	}
	is("ada@example.org")
	deliver(t, e, e.service.accountUpdated, &identitypb.AccountUpdated{AccountId: accountID, Version: 4})
	if query[bool](t, e.db, `SELECT email_index IS NOT NULL FROM person`) {
		t.Error("an address that was erased is still found")
	}
}
