package grades

import (
	"archive/zip"
	"bufio"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/xuri/excelize/v2"
	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/gradebook"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
	"github.com/stoa-lms/stoa/internal/spreadsheet"
)

// Types of files.
const (
	typeCSV  = "text/csv; charset=utf-8"
	typeXLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
)

// What a file is made in: how many students are read at a time, and how many bytes are
// sent at once.
const (
	exportCells = 20_000
	exportChunk = 64 << 10
)

// Values of files that are no numbers.
const (
	valueExcused = "EX"
	valueMissing = "MI"
	valueBack    = "-"
)

// Columns of files that are no items.
const (
	columnStudent = "student"
	columnAccount = "account_id"
	columnVersion = "version"
	columnCurrent = "current %"
	columnLetter  = "letter"
	columnFinal   = "final %"
)

// transferServer answers about files.
type transferServer struct {
	gradespb.UnimplementedGradeTransferServiceServer

	service *Service
}

// pieces sends what is written to it as a file.
type pieces struct {
	stream      grpc.ServerStreamingServer[gradespb.ExportGradesResponse]
	name, typed string
	begun       bool
}

func (p *pieces) Write(b []byte) (int, error) {
	msg := &gradespb.ExportGradesResponse{Chunk: b}
	if !p.begun {
		msg.Filename, msg.ContentType, p.begun = p.name, p.typed, true
	}
	if err := p.stream.Send(msg); err != nil {
		return 0, err
	}
	return len(b), nil
}

// table is what a file is written to, line by line. A number is written as one.
type table interface {
	line(values []value) error
	end() error
}

// value is a value of a file: a number, or a text.
type value struct {
	text   string
	number bool
}

func number(text string) value { return value{text, text != ""} }
func word(text string) value   { return value{spreadsheet.Harmless(text), false} }

// csvTable is a file of comma separated values.
type csvTable struct {
	w      *csv.Writer
	buffer *bufio.Writer
	fields []string
}

func newCSVTable(w io.Writer) (*csvTable, error) {
	buffer := bufio.NewWriterSize(w, exportChunk)
	// So that spreadsheets know that it is UTF-8.
	if _, err := buffer.WriteString("\ufeff"); err != nil {
		return nil, err
	}
	return &csvTable{w: csv.NewWriter(buffer), buffer: buffer}, nil
}

func (t *csvTable) line(values []value) error {
	t.fields = t.fields[:0]
	for _, v := range values {
		t.fields = append(t.fields, v.text)
	}
	return t.w.Write(t.fields)
}

func (t *csvTable) end() error {
	t.w.Flush()
	if err := t.w.Error(); err != nil {
		return err
	}
	return t.buffer.Flush()
}

// xlsxTable is a workbook of one sheet. Lines go to a file beside the memory.
type xlsxTable struct {
	w      io.Writer
	file   *excelize.File
	sheet  *excelize.StreamWriter
	n      int
	fields []any
}

const sheetName = "Grades"

func newXLSXTable(w io.Writer) (*xlsxTable, error) {
	file := excelize.NewFile()
	if err := file.SetSheetName("Sheet1", sheetName); err != nil {
		return nil, err
	}
	sheet, err := file.NewStreamWriter(sheetName)
	if err != nil {
		return nil, err
	}
	return &xlsxTable{w: w, file: file, sheet: sheet}, nil
}

// exactDigits is how many digits a number of a spreadsheet keeps.
const exactDigits = 15

func (t *xlsxTable) line(values []value) error {
	t.fields = t.fields[:0]
	for _, v := range values {
		var field any = v.text
		if v.number && len(strings.Trim(v.text, "-.")) <= exactDigits {
			// It is written with the digits that the text has.
			n, err := strconv.ParseFloat(v.text, 64)
			if err != nil {
				return err
			}
			field = n
		}
		t.fields = append(t.fields, field)
	}
	t.n++
	return t.sheet.SetRow("A"+strconv.Itoa(t.n), t.fields)
}

func (t *xlsxTable) end() error {
	if err := t.sheet.Flush(); err != nil {
		return err
	}
	buffer := bufio.NewWriterSize(t.w, exportChunk)
	// Straight to where it goes: the library would keep all of it in memory first.
	t.file.SetZipWriter(func(io.Writer) excelize.ZipWriter { return zip.NewWriter(buffer) })
	if err := t.file.Write(io.Discard); err != nil {
		return err
	}
	return buffer.Flush()
}

// close removes what the workbook has beside the memory.
func (t *xlsxTable) close() { _ = t.file.Close() }

// ExportGrades implements gradespb.GradeTransferServiceServer.
func (r *transferServer) ExportGrades(req *gradespb.ExportGradesRequest, stream grpc.ServerStreamingServer[gradespb.ExportGradesResponse]) error {
	s, ctx := r.service, stream.Context()
	// First, so that what is changed while it is read counts as changed since.
	var version int64
	if err := s.db.QueryRow(ctx, `SELECT coalesce(max(seq), 0) FROM course_clock WHERE course_id = $1`, req.GetCourseId()).Scan(&version); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	b, err := s.bookOf(ctx, s.db, req.GetCourseId())
	if err != nil {
		return err
	}
	w := window{courseID: req.GetCourseId(), sections: req.GetSectionIds(), all: req.GetState() == "all"}
	w.size = min(max(exportCells/(len(b.present)+1), 10), 500)
	out := &pieces{stream: stream, name: "grades.csv", typed: typeCSV}
	if req.GetFormat() == "xlsx" {
		out.name, out.typed = "grades.xlsx", typeXLSX
		t, err := newXLSXTable(out)
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
		defer t.close()
		return s.export(ctx, b, w, b.columnsOf(req.GetItemIds()), version, t)
	}
	t, err := newCSVTable(out)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return s.export(ctx, b, w, b.columnsOf(req.GetItemIds()), version, t)
}

// export writes the students of a window, some at a time.
func (s *Service) export(ctx context.Context, b *book, w window, columns []*item, version int64, t table) error {
	head := []value{word(columnStudent), word(columnAccount), word(columnVersion)}
	for _, it := range columns {
		head = append(head, word(columnName(it)))
	}
	head = append(head, word(columnCurrent), word(columnLetter), word(columnFinal))
	if err := t.line(head); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	line := make([]value, 0, len(head))
	for {
		list, keys, err := s.students(ctx, s.db, w)
		if err != nil {
			return err
		}
		more := len(list) > w.size
		if more {
			list = list[:w.size]
			w.afterKey, w.afterID = keys[w.size-1], list[w.size-1].AccountID
		}
		err = s.rows(ctx, s.db, b, list, func(st *student, cells map[string]*cell, r *gradebook.Result) error {
			line = append(line[:0], word(st.Name), word(st.AccountID), number(strconv.FormatInt(version, 10)))
			for _, it := range columns {
				line = append(line, cellValue(cells[it.ItemID], &r.Full.Current.Items[it.index]))
			}
			current, final := totalOf(&r.Full.Current.Total), totalOf(&r.Full.Final.Total)
			line = append(line, number(current.Percent), word(current.Letter), number(final.Percent))
			return t.line(line)
		})
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
		if !more {
			return t.end()
		}
	}
}

// columnName names a column so that it is found again.
func columnName(it *item) string { return it.Title + " [" + it.ItemID + "]" }

// cellValue is what a file says of a cell.
func cellValue(c *cell, score *gradebook.Score) value {
	switch {
	case c != nil && c.status() == gradebook.Excused:
		return value{valueExcused, false}
	case c != nil && c.Status == sayMissing && c.Override == nil:
		return value{valueMissing, false}
	case score.Has:
		return number(rounded(score.Points))
	}
	return value{}
}

// ExportMyGrades implements gradespb.GradeTransferServiceServer.
func (r *transferServer) ExportMyGrades(req *gradespb.ExportMyGradesRequest, stream grpc.ServerStreamingServer[gradespb.ExportGradesResponse]) error {
	ctx := stream.Context()
	l, err := r.service.own(ctx, req.GetCourseId())
	if err != nil {
		return err
	}
	hidden, err := r.service.hiddenItems(ctx, req.GetCourseId(), l.AccountID)
	if err != nil {
		return err
	}
	t, err := newCSVTable(&pieces{stream: stream, name: "my-grades.csv", typed: typeCSV})
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	mine := l.myGrades(hidden)
	lines := [][]value{{word("item"), word("category"), word("status"), word("points"), word("of"), word("percent"), word("feedback")}}
	for _, g := range mine.GetItems() {
		lines = append(lines, []value{
			word(g.GetTitle()), word(g.GetCategory()), word(g.GetStatus()), number(g.GetPoints()), number(g.GetMaxPoints()), number(g.GetPercent()), word(g.GetFeedback()),
		})
	}
	lines = append(lines,
		[]value{word(columnCurrent), word(""), word(mine.GetCurrent().GetLetter()), word(""), word(""), number(mine.GetCurrent().GetPercent()), word("")},
		[]value{word(columnFinal), word(""), word(mine.GetFinal().GetLetter()), word(""), word(""), number(mine.GetFinal().GetPercent()), word("")})
	for _, line := range lines {
		if err := t.line(line); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	return t.end()
}
