// Package fault holds the kinds of failure that may be told to a caller, and
// how each is told over gRPC and HTTP.
//
// An [Error] keeps its kind, its code and its fields across a call between
// services, so Is(err, NotFound) holds three services away. Every other error
// is internal: its text is logged where it is handled and never leaves the
// server.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what sort of failure an [Error] is. It decides the gRPC code and
// the HTTP status; the Code says which failure of that sort.
type Kind uint8

// The kinds, each with the HTTP status it is told with.
const (
	Internal        Kind = iota // 500: a defect or a broken dependency; the text is not told
	Invalid                     // 400: the request itself is wrong, whatever the state
	Unauthenticated             // 401: nobody, or a token that is expired, revoked or forged
	Forbidden                   // 403: known, and not allowed
	NotFound                    // 404: absent, or hidden from this caller
	Conflict                    // 409: clashes with what exists, such as a taken name
	Precondition                // 412: the version named in If-Match is not the current one
	TooLarge                    // 413: a body over the limit
	Exhausted                   // 429: a rate or a quota is used up
	Unavailable                 // 503: a dependency does not answer; try again
)

// Field names one input that is wrong.
type Field struct {
	Path string // path of the field as in the contract, such as "blocks[2].markdown.text"
	Code string // stable, such as "string.max_len"
	Hint string // a sentence that says what would be accepted
}

// Error is a failure that may be told.
type Error struct {
	Kind    Kind
	Code    string        // stable and dotted, such as "course.not_found"; callers may branch on it
	Message string        // one sentence for a person
	Fields  []Field       // what is wrong where, for Invalid and some Conflicts
	Retry   time.Duration // when to come back, for Exhausted and Unavailable; zero is not said
	Etag    string        // the version that the thing has now, for one that was stale
}

// New makes an error of a kind. The message is told to the caller as it is.
func New(kind Kind, code, format string, args ...any) *Error {
	return &Error{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...)}
}

// InvalidField makes an Invalid error about one field.
func InvalidField(path, code, hint string) *Error {
	return &Error{
		Kind: Invalid, Code: "request.invalid",
		Message: "The request has a field that is not accepted.",
		Fields:  []Field{{Path: path, Code: code, Hint: hint}},
	}
}

// Error returns the code and the message.
func (e *Error) Error() string {
	if len(e.Fields) > 0 {
		return fmt.Sprintf("%s: %s (%s: %s)", e.Code, e.Message, e.Fields[0].Path, e.Fields[0].Hint)
	}
	return e.Code + ": " + e.Message
}

// Is reports whether target is an *Error with the same code, so that package
// level errors work with [errors.Is].
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Kind == e.Kind
}

// KindOf returns the kind of the first *Error in err's chain, Internal when
// there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// Is reports whether err is a failure of the given kind.
func Is(err error, kind Kind) bool {
	return err != nil && KindOf(err) == kind
}

// CodeOf returns the stable code of err, "internal" when it has none.
func CodeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return "internal"
}
