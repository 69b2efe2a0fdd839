package grades

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
)

// FuzzFile reads whatever comes as a file of grades: it is refused with an error that
// may be told, or its values are numbers that cells can have.
func FuzzFile(f *testing.F) {
	f.Add("csv", []byte("\ufeffaccount_id;version;Quiz [activity_1]\naccount_01h455vb4pex5vsknk084sn02q;3;7,5\n"))
	f.Add("csv", []byte("account_id,[activity_1]\n\"a\"\"b\",EX\n,\n"))
	f.Add("xlsx", writeXLSX(f, [][]string{{"account_id", "[activity_1]"}, {"account_01h455vb4pex5vsknk084sn02q", "1E-3"}}))
	f.Add("xlsx", []byte("PK\x03\x04"))
	it := &item{ItemID: "activity_1", Present: true, known: true, of: exact.Int(10)}
	b := &book{items: map[string]*item{it.ItemID: it}, present: []*item{it}}
	f.Fuzz(func(t *testing.T, format string, content []byte) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := openLines(format, path)
		if err != nil {
			mayBeTold(t, err)
			return
		}
		defer func() {
			if err := file.close(); err != nil {
				t.Error(err)
			}
		}()
		names, err := file.next()
		if err != nil {
			mayBeTold(t, err)
			return
		}
		h, err := readHeader(b, names)
		if err != nil {
			mayBeTold(t, err)
			return
		}
		for n := range int32(1000) {
			fields, err := file.next()
			if err != nil {
				mayBeTold(t, err)
				return
			}
			l := h.line(n, fields)
			if l == nil {
				continue
			}
			for _, v := range l.values {
				if !isText(v) {
					t.Fatalf("%q can't be kept", v)
				}
				if points, ok := parseValue(v, file.between()); ok {
					if n, err := exact.Parse(*points); err != nil || rounded(n) != *points {
						t.Errorf("%q is read as %q: %v", v, *points, err)
					}
				}
			}
		}
	})
}

// mayBeTold refuses an error whose text would be kept from the caller.
func mayBeTold(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, io.EOF) && !fault.Is(err, fault.Invalid) {
		t.Errorf("%v", err)
	}
}

func TestParseValue(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"7.3": "7.3", "7,3": "7.3", "7.2999999999999998": "7.3", "1E-3": "0.001", "1e2": "100", "-0.5": "-0.5", "08": "8", "10.0000004": "10",
		"1,000": "?", "-12,345": "?", "0,333": "0.333", "1,0000": "1", "": "?", "1/3": "?", "=1+1": "?", "1,000.5": "?", "1.2.3": "?", "NaN": "?", "0x10": "?", "1e99": "?", "999999999999999": "?", "٣": "?",
	} {
		got := "?"
		if points, ok := parseValue(text, ','); ok {
			got = *points
		}
		if got != want {
			t.Errorf("%q is read as %q, want %q", text, got, want)
		}
	}
	if points, ok := parseValue("3,333", ';'); !ok || *points != "3.333" {
		t.Errorf("between semicolons a comma is a point: %v", points)
	}
}

func TestCSVTable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	table, err := newCSVTable(&out)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(table.line([]value{number("-1.5"), word("-1.5")}), table.end()); err != nil || out.String() != "\ufeff-1.5,'-1.5\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}
