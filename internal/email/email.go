// Package email is by what e-mail addresses are known: the form that is
// compared and kept, the index by which one is found that is kept sealed, and
// how services tell each other of one.
package email

import (
	"fmt"
	"net/mail"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/stoa-lms/stoa/internal/secret"
)

// MaxLength is how many bytes an address has at most (RFC 5321, 4.5.3.1.3).
const MaxLength = 254

// Normal returns the text by which an address is known: letter case, spaces
// around it and the way letters are composed make no difference.
func Normal(address string) string {
	return norm.NFC.String(strings.ToLower(norm.NFC.String(strings.TrimSpace(address))))
}

// Valid reports whether an address, as [Normal] returns it, could be one: a
// name, an @ and a host, without quotes and comments.
func Valid(address string) bool {
	a, err := mail.ParseAddress(address)
	return err == nil && len(address) <= MaxLength && a.Name == "" && a.Address == address && !strings.ContainsAny(address, `"()<>,;:\ `)
}

// Index returns by what an address is found, in one service, without being
// kept. Equal addresses have the same as far as [Normal] makes them equal.
func Index(keys *secret.Keys, service, address string) []byte {
	return keys.Index(service+" e-mail", Normal(address))
}

// purpose binds what is sealed to the account whose address it is.
func purpose(accountID string) string { return "account e-mail\n" + accountID }

// Seal returns the address of an account as events tell it, so that neither the
// outbox nor the broker can read it; nothing for no address.
func Seal(keys *secret.Keys, accountID, address string) []byte {
	if address == "" {
		return nil
	}
	return keys.Seal(purpose(accountID), []byte(address))
}

// Unseal returns the address that [Seal] sealed for the account, or
// [secret.ErrUnreadable].
func Unseal(keys *secret.Keys, accountID string, sealed []byte) (string, error) {
	plain, err := keys.Unseal(purpose(accountID), sealed)
	if err != nil {
		return "", fmt.Errorf("address of %s: %w", accountID, err)
	}
	return string(plain), nil
}

// Event tells the address of an account: sealed, or plain in one of before.
type Event interface {
	GetAccountId() string
	GetEmailSealed() []byte
	GetEmail() string
}

// Of returns the address that an event tells; empty where the account has none.
func Of(keys *secret.Keys, e Event) (string, error) {
	if len(e.GetEmailSealed()) == 0 {
		return e.GetEmail(), nil
	}
	return Unseal(keys, e.GetAccountId(), e.GetEmailSealed())
}
