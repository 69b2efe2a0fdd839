package page_test

import (
	"encoding/base64"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/page"
)

func TestSize(t *testing.T) {
	t.Parallel()
	for asked, want := range map[int32]int{0: page.DefaultSize, -1: page.DefaultSize, math.MinInt32: page.DefaultSize, 1: 1, 100: 100} {
		if got := page.Size(asked); got != want {
			t.Errorf("Size(%d) = %d, want %d", asked, got, want)
		}
	}
}

func TestCursorsAreReadBack(t *testing.T) {
	t.Parallel()
	text := rapid.StringOf(rapid.Rune().Filter(func(r rune) bool { return !unicode.IsControl(r) }))
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(text, 1, 5).Draw(t, "values")
		cursor := page.Cursor(values...)
		if strings.Trim(cursor, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Fatalf("%q has to be escaped in a URL", cursor)
		}
		got, err := page.Values(cursor, len(values))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(values, got); diff != "" {
			t.Fatal(diff)
		}
		if _, err := page.Values(cursor, len(values)+1); !errors.Is(err, page.ErrCursor) {
			t.Fatalf("a cursor of another list: %v", err)
		}
	})
}

func raw(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func TestValuesRefuses(t *testing.T) {
	t.Parallel()
	for name, cursor := range map[string]string{
		"no base64":         "%%%",
		"padded":            base64.URLEncoding.EncodeToString([]byte(`["ab"]`)) + "=",
		"no JSON":           raw("a"),
		"a number":          raw("[1]"),
		"an object":         raw(`{"a":"b"}`),
		"null":              raw("null"),
		"none":              raw("[]"),
		"two":               raw(`["a","b"]`),
		"text behind":       raw(`["a"] `) + "AA",
		"NUL":               raw(`["\u0000"]`),
		"control character": raw(`["a\nb"]`),
		"deep":              raw(strings.Repeat("[", 20_000)),
	} {
		values, err := page.Values(cursor, 1)
		if !errors.Is(err, page.ErrCursor) || values != nil {
			t.Errorf("%s: %q, %v", name, values, err)
		}
	}
	if !fault.Is(page.ErrCursor, fault.Invalid) {
		t.Error("a bad cursor is not the caller's fault")
	}
	if values, err := page.Values("", 3); values != nil || err != nil {
		t.Errorf("no cursor: %q, %v", values, err)
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	vienna := time.FixedZone("", 2*60*60)
	for name, at := range map[string]time.Time{
		"now":       time.Now(),
		"zone":      time.Date(2026, 7, 1, 0, 0, 0, 1000, vienna),
		"epoch":     time.Unix(0, 0),
		"before":    time.UnixMicro(-1),
		"zero":      {},
		"year 9999": time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
	} {
		got, id, err := page.After(page.TimeCursor(at, "course_1"))
		if err != nil || id != "course_1" || !got.Equal(at.Truncate(time.Microsecond)) || got.Location() != time.UTC {
			t.Errorf("%s: %v became %v, %q, %v", name, at, got, id, err)
		}
	}
	for name, cursor := range map[string]string{
		"least":       page.Cursor(strconv.FormatInt(math.MinInt64, 10), "a"),
		"most":        page.Cursor(strconv.FormatInt(math.MaxInt64, 10), "a"),
		"too large":   page.Cursor("9223372036854775808", "a"),
		"year 0":      page.TimeCursor(time.Date(0, 12, 31, 23, 59, 59, 0, time.UTC), "a"),
		"year 10000":  page.TimeCursor(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), "a"),
		"no number":   page.Cursor("yesterday", "a"),
		"empty":       page.Cursor("", "a"),
		"a fraction":  page.Cursor("1.5", "a"),
		"only a time": page.Cursor("1"),
	} {
		if got, _, err := page.After(cursor); !errors.Is(err, page.ErrCursor) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	// Without a cursor everything is before.
	if got, id, err := page.After(""); err != nil || id != "" || !got.After(time.Date(9998, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("no cursor: %v, %q, %v", got, id, err)
	}
}

func FuzzValues(f *testing.F) {
	for _, s := range []string{"", "a", page.Cursor("a"), page.Cursor("a", "b"), page.TimeCursor(time.Unix(1, 0), "a"), raw(`["\u0000","\ud800"]`), raw("[[[[")} {
		f.Add(s, 2)
	}
	f.Fuzz(func(t *testing.T, cursor string, n int) {
		values, err := page.Values(cursor, n)
		switch {
		case err != nil && !errors.Is(err, page.ErrCursor):
			t.Fatalf("%v", err)
		case err == nil && cursor != "":
			if len(values) != n {
				t.Fatalf("%d values, want %d", len(values), n)
			}
			again, err := page.Values(page.Cursor(values...), n)
			if err != nil || !cmp.Equal(values, again) {
				t.Fatalf("%q became %q, %v", values, again, err)
			}
		}
		at, _, err := page.After(cursor)
		if err == nil && (at.Year() < 1 || at.Year() > 9999) {
			t.Fatalf("year %d, which no database stores", at.Year())
		}
	})
}
