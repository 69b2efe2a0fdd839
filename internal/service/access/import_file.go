package access

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stoa-lms/stoa/internal/email"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
)

// What bounds a file of people.
const (
	maxImportSize   = 256 << 20 // bytes
	maxImportRows   = 1_000_000
	maxImportLine   = 4 << 10 // bytes, without the line end
	maxImportReason = 500     // characters
)

// importColumns are the columns that a file of people may have.
var importColumns = []string{"email", "account_id", "starts_at", "ends_at", "reason"}

// What a row is refused for before anybody is looked for.
const (
	rowTooLong  = "row.too_long"
	rowEncoding = "row.encoding"
	rowControl  = "text.control"
	rowQuotes   = "row.quotes"
	rowFields   = "row.fields"
	rowNobody   = "row.nobody"
	rowEmail    = "email.invalid"
	rowID       = "id.invalid"
	rowTime     = "time.invalid"
	rowPeriod   = "entitlement.period"
	rowEnded    = "entitlement.ended"
	rowReason   = "string.max_len"
)

// importLine is a row of the file: whom to let in and when, or why not.
type importLine struct {
	line         int32
	account      string
	address      string // as [email.Normal] returns it; empty where there is an account
	starts, ends *time.Time
	reason       string
	code, field  string // of what is wrong; empty when nothing is
}

// importFile reads a file of people line by line. It keeps one line of it.
type importFile struct {
	r       *bufio.Reader
	now     time.Time
	line    int32
	rows    int32
	comma   byte
	columns []string
	fields  []string // of the line, made once
}

// openImportFile reads the line that names the columns.
func openImportFile(content io.Reader, now time.Time) (*importFile, error) {
	// A line that is as long as it may be fits with its end.
	f := &importFile{r: bufio.NewReaderSize(content, maxImportLine+len("\r\n")), now: now}
	for {
		line, long, err := f.readLine()
		if errors.Is(err, io.EOF) {
			return nil, ErrImportEmpty
		}
		if err != nil {
			return nil, err
		}
		if f.line == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if !utf8.Valid(line) {
			return nil, ErrImportEncoding
		}
		if long {
			return nil, badColumn("column.unknown", "", "The first line names the columns. It has at most 4,096 bytes.")
		}
		if len(bytes.TrimSpace(line)) > 0 {
			return f, f.header(string(line))
		}
	}
}

// badColumn refuses the file for a column.
func badColumn(code, name, hint string) error {
	return &fault.Error{
		Kind: fault.Invalid, Code: "import.column", Message: "The columns of the file are not those of an import.",
		Fields: []fault.Field{{Path: name, Code: code, Hint: hint}},
	}
}

// header takes the columns from the first line that is not empty.
func (f *importFile) header(line string) error {
	f.comma = ','
	for _, c := range []byte{';', '\t'} {
		if strings.Count(line, string(c)) > strings.Count(line, string(f.comma)) {
			f.comma = c
		}
	}
	if strings.ContainsFunc(line, control) || !f.split(line) {
		return badColumn("column.unknown", "", "The first line names the columns: "+strings.Join(importColumns, ", ")+".")
	}
	for _, name := range f.fields {
		name = strings.ToLower(strings.TrimSpace(name))
		switch {
		case !slices.Contains(importColumns, name):
			shown := []rune(name)
			return badColumn("column.unknown", string(shown[:min(len(shown), 40)]), "The columns are "+strings.Join(importColumns, ", ")+".")
		case slices.Contains(f.columns, name):
			return badColumn("column.twice", name, "Name each column once.")
		}
		f.columns = append(f.columns, name)
	}
	if !slices.Contains(f.columns, "email") && !slices.Contains(f.columns, "account_id") {
		return badColumn("column.missing", "email", "Whom to let in is in a column email or account_id.")
	}
	return nil
}

// readLine returns the next line without its end, or the beginning of one that
// is too long, behind which the next call goes on. It is good until then.
func (f *importFile) readLine() (line []byte, long bool, err error) {
	line, err = f.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		long = true
		line = slices.Clone(line[:min(len(line), 64)])
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = f.r.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, false, err
		}
	case errors.Is(err, io.EOF):
		if len(line) == 0 {
			return nil, false, io.EOF
		}
	case err != nil:
		return nil, false, err
	}
	f.line++
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	return line, long || len(line) > maxImportLine, nil
}

// next returns up to n rows, none at the end of the file.
func (f *importFile) next(n int) ([]importLine, error) {
	out := make([]importLine, 0, n)
	for len(out) < n {
		line, long, err := f.readLine()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		row, some := f.row(line, long)
		if !some {
			continue
		}
		if f.rows++; f.rows > maxImportRows {
			return nil, ErrImportRows
		}
		out = append(out, row)
	}
	return out, nil
}

// row reads a line; one without any value is no row.
func (f *importFile) row(line []byte, long bool) (_ importLine, some bool) {
	out := importLine{line: f.line}
	text := string(line)
	switch {
	case long:
		out.code = rowTooLong
	case !utf8.ValidString(text):
		out.code = rowEncoding
	case strings.ContainsFunc(text, control):
		out.code = rowControl
	case !f.split(text):
		out.code = rowQuotes
	case !slices.ContainsFunc(f.fields, func(v string) bool { return strings.TrimSpace(v) != "" }):
		return out, false
	case len(f.fields) != len(f.columns):
		out.code = rowFields
	default:
		out.code, out.field = f.values(&out)
	}
	return out, true
}

// values takes the fields of a line into a row and returns what is wrong with
// which.
func (f *importFile) values(out *importLine) (code, field string) {
	var err error
	for i, column := range f.columns {
		value := strings.TrimSpace(f.fields[i])
		if value == "" {
			continue
		}
		switch column {
		case "email":
			out.address = email.Normal(value)
		case "account_id":
			out.account = value
		case "starts_at":
			if out.starts, err = importTime(value); err != nil {
				return rowTime, column
			}
		case "ends_at":
			if out.ends, err = importTime(value); err != nil {
				return rowTime, column
			}
		case "reason":
			if out.reason = value; utf8.RuneCountInString(value) > maxImportReason {
				return rowReason, column
			}
		}
	}
	switch {
	case out.account != "":
		if !id.Valid("account", out.account) {
			return rowID, "account_id"
		}
		out.address = "" // who names an account means it
	case out.address == "":
		return rowNobody, ""
	case !email.Valid(out.address):
		return rowEmail, "email"
	}
	switch {
	case out.ends == nil:
	case out.starts != nil && !out.ends.After(*out.starts):
		return rowPeriod, "ends_at"
	case !out.ends.After(f.now):
		return rowEnded, "ends_at"
	}
	return "", ""
}

// importTime reads a time, or a date whose day begins at 00:00 UTC.
func importTime(text string) (*time.Time, error) {
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		if at, err = time.Parse(time.RFC3339, text); err != nil {
			return nil, fmt.Errorf("time: %w", err)
		}
	}
	at = at.UTC().Truncate(time.Microsecond)
	return &at, nil
}

// split takes a line apart into f.fields, and reports whether its quotes are
// right: a value that begins with one goes on to the next that stands alone, and
// two stand for one. Spaces around quotes do not matter.
func (f *importFile) split(line string) bool {
	f.fields = f.fields[:0]
	for {
		rest := strings.TrimLeft(line, " ")
		if !strings.HasPrefix(rest, `"`) {
			value, after, more := strings.Cut(line, string(f.comma))
			if strings.Contains(value, `"`) {
				return false
			}
			f.fields = append(f.fields, value)
			if !more {
				return true
			}
			line = after
			continue
		}
		var value strings.Builder
		for rest = rest[1:]; ; rest = rest[1:] {
			part, after, closed := strings.Cut(rest, `"`)
			if !closed {
				return false
			}
			value.WriteString(part)
			if rest = after; !strings.HasPrefix(rest, `"`) {
				break
			}
			value.WriteByte('"')
		}
		f.fields = append(f.fields, value.String())
		rest = strings.TrimLeft(rest, " ")
		if rest == "" {
			return true
		}
		if rest[0] != f.comma {
			return false
		}
		line = rest[1:]
	}
}

// control characters have no place in a value, but for tabs.
func control(r rune) bool { return unicode.IsControl(r) && r != '\t' || r == '\ufffe' || r == '\uffff' }
