package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/stoa-lms/stoa/internal/openapi/spec"
)

// told is the comment of an RPC in its parts.
type told struct {
	summary     string               // the first sentence, without its full stop
	description string               // all but the errors
	errors      map[int][]spec.Error // by status
}

// has reports whether the comment names the code under the status.
func (t told) has(status int, code string) bool {
	for _, e := range t.errors[status] {
		if e.Code == code {
			return true
		}
	}
	return false
}

// oneCode is a stable error code; those of the platform itself have no dot.
const oneCode = `(?:[a-z_]+(?:\.[a-z_]+)+|not_found)`

var (
	codesAndStatus = regexp.MustCompile(`(` + oneCode + `(?:(?:, | and )` + oneCode + `)*) \((\d{3})\)`)
	codeInText     = regexp.MustCompile(oneCode)
	sentenceEnd    = regexp.MustCompile(`[.:;](?: |$)`)
	quoted         = regexp.MustCompile(`such as "([^"]+)"`)
)

// tell reads the comment of an RPC. Errors stand last, as
// "Errors: a.b, a.c (400), d.e (404) for this and that."
func tell(text string) (told, error) {
	text, list, found := strings.Cut(text, "Errors: ")
	t := told{description: strings.TrimSpace(text), errors: map[int][]spec.Error{}}
	t.summary = t.description
	if end := sentenceEnd.FindStringIndex(t.description); end != nil {
		t.summary = t.description[:end[0]]
	}
	if !found {
		return t, nil
	}
	at := codesAndStatus.FindAllStringSubmatchIndex(list, -1)
	if at == nil || at[0][0] != 0 {
		return told{}, fmt.Errorf("errors are not listed as code (status) in %q", list)
	}
	for i, m := range at {
		next := len(list)
		if i+1 < len(at) {
			next = at[i+1][0]
		}
		status, err := strconv.Atoi(list[m[4]:m[5]])
		if err != nil {
			return told{}, err
		}
		when := strings.Trim(list[m[1]:next], " ,.;")
		if codeInText.MatchString(when) {
			return told{}, fmt.Errorf("a code has no status in %q", when)
		}
		for _, code := range codeInText.FindAllString(list[m[2]:m[3]], -1) {
			t.errors[status] = append(t.errors[status], spec.Error{Code: code, When: when})
		}
	}
	return t, nil
}

// examples returns what a comment gives as "such as".
func examples(text string) []string {
	var out []string
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}
