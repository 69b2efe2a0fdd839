// Package page reads and writes the cursors of keyset lists. A cursor holds the
// sort values of the last row shown, in text that callers take as opaque.
package page

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/stoa-lms/stoa/internal/fault"
)

// DefaultSize is the page size when the caller names none.
const DefaultSize = 20

// Size returns the page size that a request asks for.
func Size(asked int32) int {
	if asked <= 0 {
		return DefaultSize
	}
	return int(asked)
}

// Cursor returns values as a cursor.
func Cursor(values ...string) string {
	raw, err := json.Marshal(values)
	if err != nil { // no value of []string fails
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// ErrCursor is told for a cursor that is not one of ours.
var ErrCursor = fault.InvalidField("cursor", "cursor.invalid", "Send next_cursor of the page before as it is, or leave the cursor out.")

// Values returns the n values of a cursor, nil for an empty one.
func Values(cursor string, n int) ([]string, error) {
	if cursor == "" {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return nil, ErrCursor
	}
	var values []string
	if err := json.Unmarshal(raw, &values); err != nil || len(values) != n {
		return nil, ErrCursor
	}
	for _, v := range values {
		if strings.ContainsFunc(v, unicode.IsControl) { // the database would choke on it
			return nil, ErrCursor
		}
	}
	return values, nil
}

// TimeCursor returns a cursor for lists by time and then id.
func TimeCursor(t time.Time, id string) string {
	return Cursor(strconv.FormatInt(t.UnixMicro(), 10), id)
}

// After returns the time and the id of a [TimeCursor]. For an empty cursor of a
// list from the newest on it returns a time after every other.
func After(cursor string) (time.Time, string, error) {
	values, err := Values(cursor, 2)
	if err != nil {
		return time.Time{}, "", err
	}
	if values == nil {
		return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), "", nil
	}
	micros, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil {
		return time.Time{}, "", ErrCursor
	}
	t := time.UnixMicro(micros).UTC()
	if t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, "", ErrCursor
	}
	return t, values[1], nil
}
