// Package email is by what e-mail addresses are known: the form that is
// compared and kept, and the index by which one is found that is kept sealed.
package email

import (
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
