package access

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/fault"
)

const someAccount = "account_01h455vb4pex5vsknk084sn02q"

var importNow = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)

// readImport returns all rows of a file.
func readImport(t testing.TB, content string) []importLine {
	t.Helper()
	f, err := openImportFile(strings.NewReader(content), importNow)
	if err != nil {
		t.Fatalf("%q: %v", content, err)
	}
	var out []importLine
	for {
		rows, err := f.next(2)
		if err != nil {
			t.Fatalf("%q: %v", content, err)
		}
		if len(rows) == 0 {
			return out
		}
		out = append(out, rows...)
	}
}

func TestImportFile(t *testing.T) {
	t.Parallel()
	at := func(text string) *time.Time {
		when, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		when = when.UTC()
		return &when
	}
	refused := func(line int32, code, field string) importLine {
		return importLine{line: line, code: code, field: field}
	}
	ada := func(line int32) importLine { return importLine{line: line, address: "ada@example.org"} }
	long := strings.Repeat("x", maxImportLine)
	for name, c := range map[string]struct {
		content string
		want    []importLine
	}{
		"one column":            {"email\nada@example.org\n", []importLine{ada(2)}},
		"no end of line":        {"email\nada@example.org", []importLine{ada(2)}},
		"CRLF":                  {"email\r\nada@example.org\r\n\r\nada@example.org", []importLine{ada(2), ada(4)}},
		"a BOM":                 {"\ufeffemail\nada@example.org", []importLine{ada(2)}},
		"lines before":          {"\n  \nemail\nada@example.org", []importLine{ada(4)}},
		"empty lines":           {"email,reason\n\n , \n,\nada@example.org,", []importLine{ada(5)}},
		"case and spaces":       {" Email \n  ADA@Example.org  ", []importLine{ada(2)}},
		"semicolons":            {"email;reason\nada@example.org;\"a;b\"", []importLine{{line: 2, address: "ada@example.org", reason: "a;b"}}},
		"tabs":                  {"email\treason\nada@example.org\ta,b", []importLine{{line: 2, address: "ada@example.org", reason: "a,b"}}},
		"quotes":                {"\"email\" , \"reason\"\n \"ada@example.org\" , \"says \"\"hello, you\"\"\" ", []importLine{{line: 2, address: "ada@example.org", reason: `says "hello, you"`}}},
		"an empty quoted value": {"email,reason\nada@example.org,\"\"", []importLine{ada(2)}},
		"an account":            {"account_id\n" + someAccount, []importLine{{line: 2, account: someAccount}}},
		"both":                  {"email,account_id\nada@example.org,\nwhatever," + someAccount, []importLine{ada(2), {line: 3, account: someAccount}}},
		"times": {
			"email,starts_at,ends_at\nada@example.org,2030-06-01,2030-07-01T10:00:00.1234567+02:00\nada@example.org,,2031-01-01\nada@example.org,2000-01-01,",
			[]importLine{
				{line: 2, address: "ada@example.org", starts: at("2030-06-01T00:00:00Z"), ends: at("2030-07-01T08:00:00.123456Z")},
				{line: 3, address: "ada@example.org", ends: at("2031-01-01T00:00:00Z")},
				{line: 4, address: "ada@example.org", starts: at("2000-01-01T00:00:00Z")},
			},
		},
		"no time": {"email,starts_at,ends_at\nada@example.org,tomorrow,\nada@example.org,,01.02.2031\nada@example.org,2030-13-01,", []importLine{
			{line: 2, address: "ada@example.org", code: rowTime, field: "starts_at"},
			{line: 3, address: "ada@example.org", code: rowTime, field: "ends_at"},
			{line: 4, address: "ada@example.org", code: rowTime, field: "starts_at"},
		}},
		"no period": {"ends_at,starts_at,email\n2031-01-01,2031-01-01,ada@example.org\n2030-05-01,,ada@example.org", []importLine{
			{line: 2, address: "ada@example.org", starts: at("2031-01-01T00:00:00Z"), ends: at("2031-01-01T00:00:00Z"), code: rowPeriod, field: "ends_at"},
			{line: 3, address: "ada@example.org", ends: at("2030-05-01T00:00:00Z"), code: rowEnded, field: "ends_at"},
		}},
		"no address": {"email\nada\nada@\nAda <ada@example.org>\nada@example.org", []importLine{
			{line: 2, address: "ada", code: rowEmail, field: "email"},
			{line: 3, address: "ada@", code: rowEmail, field: "email"},
			{line: 4, address: "ada <ada@example.org>", code: rowEmail, field: "email"},
			ada(5),
		}},
		"no id":      {"account_id\naccount_1\ncourse_01h455vb4pex5vsknk084sn02q", []importLine{{line: 2, account: "account_1", code: rowID, field: "account_id"}, {line: 3, account: "course_01h455vb4pex5vsknk084sn02q", code: rowID, field: "account_id"}}},
		"nobody":     {"email,account_id,reason\n,,why", []importLine{{line: 2, reason: "why", code: rowNobody}}},
		"fields":     {"email,reason\nada@example.org\nada@example.org,a,b", []importLine{refused(2, rowFields, ""), refused(3, rowFields, "")}},
		"UTF-8":      {"email\n\xff@example.org\nada@example.org", []importLine{refused(2, rowEncoding, ""), ada(3)}},
		"controls":   {"email\na\x00da@example.org\na\rda@example.org\nada@example.org", []importLine{refused(2, rowControl, ""), refused(3, rowControl, ""), ada(4)}},
		"a quote":    {"email,reason\nada@example.org,a\"b\nada@example.org,\"a\"b\nada@example.org,", []importLine{refused(2, rowQuotes, ""), refused(3, rowQuotes, ""), ada(4)}},
		"open quote": {"email,reason\nada@example.org,\"a\nada@example.org,\nada@example.org,\"b", []importLine{refused(2, rowQuotes, ""), ada(3), refused(4, rowQuotes, "")}},
		"long lines": {"email\n" + long + "x\n" + long + long + long + "\r\nada@example.org\n" + long + long, []importLine{refused(2, rowTooLong, ""), refused(3, rowTooLong, ""), ada(4), refused(5, rowTooLong, "")}},
		"as long as may be": {
			"email,reason\nada@example.org," + strings.Repeat(" ", maxImportLine-16) + "\r\nada@example.org," + strings.Repeat(" ", maxImportLine-15) + "\n",
			[]importLine{ada(2), refused(3, rowTooLong, "")},
		},
		"reasons": {"email,reason\nada@example.org," + strings.Repeat("ä", 500) + "\nada@example.org," + strings.Repeat("ä", 501), []importLine{
			{line: 2, address: "ada@example.org", reason: strings.Repeat("ä", 500)},
			{line: 3, address: "ada@example.org", reason: strings.Repeat("ä", 501), code: rowReason, field: "reason"},
		}},
	} {
		got := readImport(t, c.content)
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(importLine{})); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
		for _, r := range got {
			if r.code != "" && rowHint(r.code) == "" {
				t.Errorf("no hint for %s", r.code)
			}
		}
	}
}

func TestImportFileRefused(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"":                                    "import.empty",
		"\n\r\n":                              "import.empty",
		"\ufeff":                              "import.empty",
		"name\nada":                           "import.column name column.unknown",
		"email,mail\n":                        "import.column mail column.unknown",
		"email,":                              "import.column  column.unknown",
		"ada@example.org\nbob@example.org":    "import.column ada@example.org column.unknown",
		"email,reason,EMAIL\n":                "import.column email column.twice",
		"reason,starts_at\n":                  "import.column email column.missing",
		"email,\"reason\n":                    "import.column  column.unknown",
		"email\x00\n":                         "import.column  column.unknown",
		"e\xffmail\n":                         "import.encoding",
		"\xff\xfee\x00m\x00a\x00i\x00l\x00":   "import.encoding",
		strings.Repeat("email,", 1000) + "\n": "import.column  column.unknown",
	} {
		_, err := openImportFile(strings.NewReader(content), importNow)
		got := fault.CodeOf(err)
		if e, ok := errors.AsType[*fault.Error](err); ok {
			for _, f := range e.Fields {
				got += " " + f.Path + " " + f.Code
			}
		}
		if got != want {
			t.Errorf("%.40q: %s, want %s", content, got, want)
		}
	}
}

// manyRows makes a file of people as it is read.
type manyRows struct {
	n, of  int
	header string // "email\n" when empty
	line   func(n int) string
	rest   []byte
	check  func()
}

func (m *manyRows) Read(p []byte) (int, error) {
	if len(m.rest) == 0 {
		if m.n > m.of {
			return 0, io.EOF
		}
		switch {
		case m.n > 0:
			m.rest = []byte(m.line(m.n))
		case m.header != "":
			m.rest = []byte(m.header)
		default:
			m.rest = []byte("email\n")
		}
		m.n++
		if m.check != nil && m.n%10_000 == 0 {
			m.check()
		}
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

func TestImportFileOfTooManyRows(t *testing.T) {
	t.Parallel()
	f, err := openImportFile(&manyRows{of: maxImportRows + 1, line: func(int) string { return "x\n" }}, importNow)
	for n := 1; err == nil && n > 0; {
		var rows []importLine
		rows, err = f.next(importBatch)
		n = len(rows)
	}
	wantCode(t, err, "import.too_many_rows")

	// A line without an end is read to the limit of the file and kept nowhere.
	piece := strings.Repeat("x", 1<<20)
	endless := &importBytes{r: &manyRows{of: 1 << 40, line: func(int) string { return piece }}, hash: nowhere{}}
	if f, err = openImportFile(endless, importNow); err != nil {
		t.Fatal(err)
	}
	_, err = f.next(importBatch)
	wantCode(t, err, "import.too_large")
}

// nowhere is a hash that costs nothing.
type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) Sum(b []byte) []byte         { return b }
func (nowhere) Reset()                      {}
func (nowhere) Size() int                   { return 0 }
func (nowhere) BlockSize() int              { return 1 }

// heap is how much memory is in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestImportFileMemory is not parallel: it looks at the memory of the process.
func TestImportFileMemory(t *testing.T) { //nolint:paralleltest // see above
	start := heap()
	var most uint64
	rows := &manyRows{of: 200_000, line: func(n int) string { return fmt.Sprintf("person%d@example.org\n", n) }, check: func() { most = max(most, heap()) }}
	f, err := openImportFile(rows, importNow)
	total := 0
	for n := 1; err == nil && n > 0; total += n {
		var list []importLine
		list, err = f.next(importBatch)
		n = len(list)
	}
	if err != nil || total != 200_000 {
		t.Fatalf("%d rows, %v", total, err)
	}
	if most > start+4<<20 {
		t.Errorf("the heap grew from %d to %d bytes", start, most)
	}
}

func FuzzImportFile(f *testing.F) {
	for _, seed := range []string{
		"email\nada@example.org\n", "\ufeffemail;account_id;starts_at;ends_at;reason\r\n;" + someAccount + ";2030-01-01;2031-01-01T00:00:00Z;\"a \"\"b\"\";c\"\r\n",
		"email,reason\n\"a\"b,\"\n\"\"\"\",\n", "account_id\n\xff\n\x00", "email\treason\n\" \"\t \"x\" \t\n", "email,reason\na@b.c,\n" + strings.Repeat("x", 5000),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		file, err := openImportFile(bytes.NewReader(content), importNow)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			return
		}
		lines := bytes.Count(content, []byte("\n")) + 1
		last := int32(0)
		for {
			rows, err := file.next(7)
			if err != nil {
				t.Fatal(err)
			}
			if len(rows) == 0 {
				break
			}
			for _, r := range rows {
				if r.line <= last || int(r.line) > lines {
					t.Fatalf("line %d of %d after %d", r.line, lines, last)
				}
				last = r.line
				if r.code == "" && (r.account == "") == (r.address == "") {
					t.Fatalf("line %d names %q and %q", r.line, r.account, r.address)
				}
				if len(r.reason)+len(r.address)+len(r.account) > maxImportLine*2 { // normal forms may be longer
					t.Fatalf("line %d has %d bytes", r.line, len(r.reason)+len(r.address))
				}
			}
		}
	})
}
