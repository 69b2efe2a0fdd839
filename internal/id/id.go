// Package id makes and checks the ids that Stoa shows: a type prefix, an
// underscore and a UUIDv7 in 26 characters of Crockford's base 32, such as
// "course_01kbd6zq7ve5fbyj4h9cck1r3m".
//
// The text is the id everywhere: in contracts, in the database and in logs.
// Ids of one kind sort by the time they were made.
package id

import (
	"encoding/base32"

	"github.com/google/uuid"
)

var encoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// length of the part after the prefix.
const length = 26

// New returns a new id of the given kind, such as "course".
func New(kind string) string {
	return Format(kind, uuid.Must(uuid.NewV7()))
}

// Format returns u as an id of the given kind. The encoding is that of the
// TypeID specification 0.3: 130 bits, the two highest of them zero.
func Format(kind string, u uuid.UUID) string {
	// 16 bytes behind 30 zero bits make 26 digits preceded by six that are zero.
	var wide [20]byte
	copy(wide[4:], u[:])
	var text [32]byte
	encoding.Encode(text[:], wide[:])
	return kind + "_" + string(text[32-length:])
}

// Valid reports whether s is an id of the given kind.
func Valid(kind, s string) bool {
	if len(s) != len(kind)+1+length || s[:len(kind)] != kind || s[len(kind)] != '_' {
		return false
	}
	digits := s[len(kind)+1:]
	if digits[0] > '7' {
		return false
	}
	for i := range len(digits) {
		c := digits[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' && c != 'i' && c != 'l' && c != 'o' && c != 'u' {
			continue
		}
		return false
	}
	return true
}
