package grades

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
)

// What bounds a file of grades.
const (
	maxImportSize    = 32 << 20 // bytes
	maxUnzipped      = 256 << 20
	maxUnzippedSheet = 16 << 20 // more of it goes to a file beside the memory
	maxImportRows    = 100_000
	maxImportLines   = 1 << 20 // empty ones too, as many as a sheet has
	maxImportChanges = 20_000
	maxImportColumns = 5_100
)

// lines are the lines of a file, one after another.
type lines interface {
	// next returns the values of the next line, io.EOF behind the last. They are good
	// until the next call.
	next() ([]string, error)
	// between is what is between values; 0 in a workbook.
	between() rune
	close() error
}

// openLines opens a file that was uploaded.
func openLines(format, path string) (lines, error) {
	f, err := os.Open(path) //nolint:gosec // G304: a file that this service has made
	if err != nil {
		return nil, err
	}
	if format != "xlsx" {
		return newCSVLines(f), nil
	}
	out, err := newXLSXLines(f)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return out, nil
}

// isText reports whether a value is text that can be kept: what was saved as UTF-16 has
// zeros.
func isText(f string) bool { return utf8.ValidString(f) && !strings.Contains(f, "\x00") }

// csvLines reads comma separated values; semicolons and tabs are taken too.
type csvLines struct {
	file *os.File
	r    *csv.Reader
}

// beside finds what is between values beside the one column that each file has; titles
// of others may have anything in them.
var beside = regexp.MustCompile(`(?i)(?:^|[,;\t"\n])account_id"?[ ]*([,;\t])|([,;\t])[ ]*"?account_id(?:["\r\n]|$)`)

const byteOrderMark = "\ufeff"

func newCSVLines(f *os.File) *csvLines {
	head := make([]byte, 256<<10)
	n, _ := io.ReadFull(f, head)
	text, marked := strings.CutPrefix(string(head[:n]), byteOrderMark)
	start := int64(0)
	if marked {
		start = int64(len(byteOrderMark)) // a quote would not be the first of its line
	}
	_, _ = f.Seek(start, io.SeekStart)
	r := csv.NewReader(f)
	r.FieldsPerRecord, r.ReuseRecord, r.LazyQuotes = -1, true, false
	if m := beside.FindStringSubmatch(text); m != nil {
		r.Comma = rune((m[1] + m[2])[0])
	}
	return &csvLines{f, r}
}

func (l *csvLines) next() ([]string, error) {
	fields, err := l.r.Read()
	if wrong := (*csv.ParseError)(nil); errors.As(err, &wrong) {
		return nil, ErrImportUnreadable
	}
	for _, f := range fields {
		if !isText(f) {
			return nil, ErrImportEncoding
		}
	}
	return fields, err
}

func (l *csvLines) between() rune { return l.r.Comma }

func (l *csvLines) close() error { return l.file.Close() }

// xlsxLines reads the first sheet of a workbook.
type xlsxLines struct {
	file *os.File
	book *excelize.File
	rows *excelize.Rows
}

func newXLSXLines(f *os.File) (_ *xlsxLines, err error) {
	// What a hostile file makes the library do is bounded; that it may panic is not ours
	// to mend.
	defer func() {
		if recover() != nil {
			err = ErrImportUnreadable
		}
	}()
	book, err := excelize.OpenReader(f, excelize.Options{UnzipSizeLimit: maxUnzipped, UnzipXMLSizeLimit: maxUnzippedSheet, RawCellValue: true})
	if err != nil {
		return nil, ErrImportUnreadable
	}
	sheets := book.GetSheetList()
	if len(sheets) == 0 {
		_ = book.Close()
		return nil, ErrImportUnreadable
	}
	rows, err := book.Rows(sheets[0])
	if err != nil {
		_ = book.Close()
		return nil, ErrImportUnreadable
	}
	return &xlsxLines{f, book, rows}, nil
}

func (l *xlsxLines) next() (fields []string, err error) {
	defer func() {
		if recover() != nil {
			fields, err = nil, ErrImportUnreadable
		}
	}()
	if !l.rows.Next() {
		if l.rows.Error() != nil {
			return nil, ErrImportUnreadable
		}
		return nil, io.EOF
	}
	fields, err = l.rows.Columns(excelize.Options{RawCellValue: true})
	if err != nil || len(fields) > maxImportColumns {
		return nil, ErrImportUnreadable
	}
	for _, f := range fields {
		if !isText(f) {
			return nil, ErrImportEncoding
		}
	}
	return fields, nil
}

func (l *xlsxLines) between() rune { return 0 }

func (l *xlsxLines) close() error { return errors.Join(l.rows.Close(), l.book.Close(), l.file.Close()) }

// header is what the columns of a file are.
type header struct {
	account, version int     // the places; version is -1 for none
	items            []*item // at each place; nil where it is no item
	between          rune    // as of the file
}

var inBrackets = regexp.MustCompile(`\[([^\[\]]{1,100})\]\s*$`)

// readHeader finds the columns of a file among those of a gradebook.
func readHeader(b *book, names []string) (*header, error) {
	if len(names) > maxImportColumns {
		return nil, badColumn("column.too_many", "", fmt.Sprintf("A file has at most %d columns.", maxImportColumns))
	}
	h := &header{account: -1, version: -1, items: make([]*item, len(names))}
	seen := map[string]bool{}
	for i, name := range names {
		if i == 0 {
			name = strings.TrimPrefix(name, byteOrderMark)
		}
		name = strings.TrimPrefix(strings.TrimSpace(name), "'")
		if name == "" {
			continue
		}
		key := strings.ToLower(name)
		switch key {
		case columnAccount:
			h.account = i
		case columnVersion:
			h.version = i
		case columnStudent, columnCurrent, columnLetter, columnFinal:
		default:
			if m := inBrackets.FindStringSubmatch(name); m != nil {
				if it := b.items[m[1]]; it != nil && it.Present {
					h.items[i], key = it, it.ItemID
					break
				}
			}
			shown := []rune(name)
			return nil, badColumn("column.unknown", string(shown[:min(len(shown), 60)]), "A column of an item ends with its id in square brackets, as in an export.")
		}
		if seen[key] {
			return nil, badColumn("column.twice", name[:min(len(name), 60)], "Name each column once.")
		}
		seen[key] = true
	}
	if h.account < 0 {
		return nil, badColumn("column.missing", columnAccount, "Who has the grades is in a column account_id, as in an export.")
	}
	return h, nil
}

// badColumn refuses a file for a column.
func badColumn(code, name, hint string) error {
	return &fault.Error{
		Kind: fault.Invalid, Code: "import.column", Message: "The columns of the file are not those of this gradebook.",
		Fields: []fault.Field{{Path: strings.ToValidUTF8(name, "?"), Code: code, Hint: hint}},
	}
}

// parseValue reads a number of points as files have it: spreadsheets write 7.3 as
// 7.2999999999999998, and 1E-3. It is rounded to what cells have. 1,234 is refused where
// nothing says that the comma stands for a point: to some it is more than a thousand.
func parseValue(text string, between rune) (*string, bool) {
	if len(text) > 40 || between != ';' && between != '\t' && thousands.MatchString(text) {
		return nil, false
	}
	if comma := strings.Count(text, ","); comma == 1 && !strings.Contains(text, ".") {
		text = strings.Replace(text, ",", ".", 1)
	}
	n, err := exact.Parse(text)
	if err != nil {
		if !scientific.MatchString(text) {
			return nil, false
		}
		r, ok := new(big.Rat).SetString(text)
		if !ok {
			return nil, false
		}
		if n, err = exact.Parse(r.FloatString(places)); err != nil {
			return nil, false
		}
	}
	if strings.Contains(text, "/") || n.Cmp(most) > 0 || n.Cmp(most.Neg()) < 0 {
		return nil, false
	}
	out := rounded(n)
	return &out, true
}

var thousands = regexp.MustCompile(`^-?[1-9][0-9]{0,2},[0-9]{3}$`)

var scientific = regexp.MustCompile(`^-?[0-9]{1,20}(\.[0-9]{1,20})?[eE][+-]?[0-9]{1,2}$`)
