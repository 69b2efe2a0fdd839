package identity

import (
	_ "embed"
	"path"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/stoa-lms/stoa/internal/fault"
)

// passwordsText is a list of passwords that are chosen often. Its head says
// where it is from.
//
//go:embed passwords.txt
var passwordsText string

var passwords = sync.OnceValue(func() map[string]struct{} {
	set := map[string]struct{}{}
	for line := range strings.Lines(passwordsText) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			set[line] = struct{}{}
		}
	}
	return set
})

// checkPassword refuses what is guessed first: passwords that many have, that
// say who the person is, or that follow a pattern of a few keys. The length is
// the contract's matter.
func checkPassword(password, email, name string) error {
	p := strings.ToLower(password)
	switch _, listed := passwords()[p]; {
	case listed:
		return commonPassword("This password is one of those chosen most often. Take one that is yours alone.")
	case repeats(p), sequential(p):
		return commonPassword("This password follows a simple pattern. Take one that is harder to guess.")
	case tells(p, email, name):
		return commonPassword("This password is your name or your e-mail address. Take one that is harder to guess.")
	}
	return nil
}

func commonPassword(hint string) error {
	return &fault.Error{
		Kind: fault.Invalid, Code: "account.password_common",
		Message: "This password is too easy to guess.",
		Fields:  []fault.Field{{Path: "password", Code: "account.password_common", Hint: hint}},
	}
}

// maxPeriod is the longest unit that makes a password by being repeated: a
// year, "abcd".
const maxPeriod = 4

// repeats reports whether p is a short unit again and again, such as
// "abcabcabca".
func repeats(p string) bool {
	runes := []rune(p)
	for period := 1; period <= maxPeriod && period < len(runes); period++ {
		same := true
		for i := period; i < len(runes) && same; i++ {
			same = runes[i] == runes[i-period]
		}
		if same {
			return true
		}
	}
	return false
}

// rows are keys beside one another, as often as a finger may run over them.
var rows = []string{
	strings.Repeat("0123456789", 3),
	strings.Repeat("abcdefghijklmnopqrstuvwxyz", 2),
	strings.Repeat("qwertyuiop", 3), strings.Repeat("qwertzuiop", 3), strings.Repeat("azertyuiop", 3),
	strings.Repeat("asdfghjkl", 3), strings.Repeat("qsdfghjklm", 3),
	"qwertyuiopasdfghjklzxcvbnm", "qwertzuiopasdfghjklyxcvbnm", "azertyuiopqsdfghjklmwxcvbn",
}

// sequential reports whether p goes along the digits, the alphabet or the
// keyboard, forwards or backwards.
func sequential(p string) bool {
	backwards := []rune(p)
	slices.Reverse(backwards)
	return slices.ContainsFunc(rows, func(row string) bool {
		return strings.Contains(row, p) || strings.Contains(row, string(backwards))
	})
}

// minTelling is the length from which on a part of a name gives a password away.
const minTelling = 4

// tells reports whether p is the address or the name, or a part of one, with
// nothing but digits and signs around it.
func tells(p, email, name string) bool {
	email, name = strings.ToLower(email), strings.ToLower(name)
	local, domain, _ := strings.Cut(email, "@")
	said := []string{email, local, domain, strings.TrimSuffix(domain, path.Ext(domain)), name}
	said = append(said, strings.FieldsFunc(email+" "+name, func(r rune) bool { return !isWord(r) })...)
	if names := strings.Fields(name); len(names) > 2 {
		said = append(said, names[0]+names[len(names)-1])
	}
	whole := squash(p)
	core := squash(strings.TrimFunc(p, func(r rune) bool { return !unicode.IsLetter(r) }))
	return slices.ContainsFunc(said, func(s string) bool {
		s = squash(s)
		return utf8.RuneCountInString(s) >= minTelling && (s == whole || s == core)
	})
}

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// squash returns the letters and digits of s.
func squash(s string) string {
	return strings.Map(func(r rune) rune {
		if isWord(r) {
			return r
		}
		return -1
	}, s)
}
