package grades

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"

	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// export returns the gradebook as a file.
func (w *world) export(format string) []byte {
	w.t.Helper()
	stream, err := w.files.ExportGrades(w.staff(), &gradespb.ExportGradesRequest{CourseId: w.course, Format: format})
	if err != nil {
		w.t.Fatal(err)
	}
	var out bytes.Buffer
	for {
		msg, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out.Bytes()
		}
		if err != nil {
			w.t.Fatal(err)
		}
		out.Write(msg.GetChunk())
	}
}

// upload sends a file in pieces.
func (w *world) upload(format string, content []byte) (*gradespb.GradeImport, error) {
	w.t.Helper()
	stream, err := w.files.UploadGradeImport(w.staff())
	if err != nil {
		w.t.Fatal(err)
	}
	msg := &gradespb.UploadGradeImportRequest{CourseId: w.course, Format: format}
	for first := true; first || len(content) > 0; first = false {
		n := min(len(content), 100_000)
		msg.Chunk, content = content[:n], content[n:]
		if err := stream.Send(msg); err != nil {
			break
		}
		msg = &gradespb.UploadGradeImportRequest{}
	}
	return stream.CloseAndRecv()
}

func readCSV(t testing.TB, content []byte) [][]string {
	t.Helper()
	lines, err := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(content, []byte("\ufeff")))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func readXLSX(t testing.TB, content []byte) [][]string {
	t.Helper()
	f, err := excelize.OpenReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := f.GetRows(sheetName, excelize.Options{RawCellValue: true})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func writeCSV(t testing.TB, lines [][]string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	if err := w.WriteAll(lines); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func writeXLSX(t testing.TB, lines [][]string) []byte {
	t.Helper()
	f := excelize.NewFile()
	for i, line := range lines {
		for j, v := range line {
			name, err := excelize.CoordinatesToCellName(j+1, i+1)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.SetCellValue("Sheet1", name, v); err != nil {
				t.Fatal(err)
			}
		}
	}
	var out bytes.Buffer
	if err := f.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// classroom is a course with two quizzes, a column of staff and three students.
func classroom(w *world) (q []string, column string, people []string) {
	w.t.Helper()
	q = newIDs("activity", 2)
	w.publish(1, nil, q...)
	c, err := w.columns.CreateColumn(w.staff(), &gradespb.CreateColumnRequest{CourseId: w.course, Title: "=HYPERLINK(\"http://evil\")", Points: "10"})
	if err != nil {
		w.t.Fatal(err)
	}
	people = []string{w.enroll("Ana"), w.enroll("@Ben"), w.enroll("Cleo, \"the\" first")}
	w.give(w.mark(people[0], q[0], "7.3", "10"), w.mark(people[1], q[0], "3.333333", "10"), w.mark(people[2], q[1], "0.1", "10"))
	w.settled()
	w.set(people[1], q[1], &gradespb.GradeEdit{Status: new("excused"), Reason: "Ill"})
	w.set(people[0], c.GetItemId(), &gradespb.GradeEdit{Points: new("4")})
	return q, c.GetItemId(), people
}

func TestExport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q, column, people := classroom(w)
	want := [][]string{
		{"student", "account_id", "version", "Quiz 1 [" + q[0] + "]", "Quiz 2 [" + q[1] + "]", "'=HYPERLINK(\"http://evil\") [" + column + "]", "current %", "letter", "final %"},
		{"'@Ben", people[1], "V", "3.333333", "EX", "", "33.33", "", "16.67"},
		{"Ana", people[0], "V", "7.3", "", "4", "56.5", "", "37.67"},
		{"Cleo, \"the\" first", people[2], "V", "", "0.1", "", "1", "", "0.33"},
	}
	for format, read := range map[string]func(testing.TB, []byte) [][]string{"csv": readCSV, "xlsx": readXLSX} {
		got := read(t, w.export(format))
		for _, line := range got[1:] {
			line[2] = "V"
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", format, diff)
		}
		// Read again it changes nothing.
		i, err := w.upload(format, w.export(format))
		if err != nil || i.GetRows() != 3 || i.GetChanges()+i.GetConflicts()+i.GetRefused() != 0 {
			t.Errorf("%s read again: %v, %v", format, i, err)
		}
	}
	stream, err := w.files.ExportMyGrades(w.as(people[0]), &gradespb.ExportMyGradesRequest{CourseId: w.course})
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	mine := readCSV(t, msg.GetChunk())
	if len(mine) != 6 || mine[1][3] != "7.3" || mine[4][5] != "56.5" {
		t.Errorf("%v", mine)
	}
}

func TestImport(t *testing.T) {
	t.Parallel()
	for format, write := range map[string]func(testing.TB, [][]string) []byte{"csv": writeCSV, "xlsx": writeXLSX} {
		w := newWorld(t)
		q, column, people := classroom(w)
		read := map[string]func(testing.TB, []byte) [][]string{"csv": readCSV, "xlsx": readXLSX}[format]
		lines := read(t, w.export(format))
		// A cell changes after the file was made.
		w.set(people[0], q[0], &gradespb.GradeEdit{Points: new("8"), Reason: "In between"})
		lines[1][3], lines[1][4], lines[1][5] = "", "6,5", "9.9999999"
		lines[2][3], lines[2][5] = "9", "-"
		lines[3] = append(lines[3][:3], "MI", "EX")
		i, err := w.upload(format, write(t, lines))
		if err != nil || i.GetChanges() != 5 || i.GetConflicts() != 1 || i.GetRefused() != 0 {
			t.Fatalf("%s: %v, %v", format, i, err)
		}
		changes, err := w.files.ListGradeImportChanges(w.staff(), &gradespb.ListGradeImportChangesRequest{CourseId: w.course, ImportId: i.GetId(), PageSize: 100})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range changes.GetItems() {
			got = append(got, fmt.Sprintf("%d %q>%q %s", c.GetLine(), c.GetBefore(), c.GetAfter(), c.GetOutcome()))
		}
		want := []string{`2 "EX">"6.5" change`, `2 "">"10" change`, `3 "8">"9" conflict`, `3 "4">"-" change`, `4 "">"MI" change`, `4 "0.1">"EX" change`}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: preview (-want +got):\n%s", format, diff)
		}
		apply := func(conflicts string) (*gradespb.GradeImport, error) {
			return w.files.ApplyGradeImport(w.staff(), &gradespb.ApplyGradeImportRequest{CourseId: w.course, ImportId: i.GetId(), Conflicts: conflicts, Reason: "From the office"})
		}
		if _, err := apply(""); code(err) != "import.conflicts" {
			t.Errorf("%s: %v", format, err)
		}
		done, err := apply("keep")
		if err != nil || done.GetState() != "applied" || done.GetChanges() != 5 {
			t.Fatalf("%s: %v, %v", format, done, err)
		}
		w.settled()
		w.check()
		for name, want := range map[[2]string]string{
			{people[1], q[1]}: "graded 6.5", {people[1], column}: "graded 10", {people[0], q[0]}: "graded 8", {people[0], column}: "none ",
			{people[2], q[0]}: "missing ", {people[2], q[1]}: "excused ",
		} {
			if c := w.cell(name[0], name[1]); c.GetStatus()+" "+c.GetPoints() != want {
				t.Errorf("%s: %v, want %s", format, c, want)
			}
		}
		if _, err := apply("keep"); code(err) != "import.finished" {
			t.Errorf("%s: %v", format, err)
		}
		// And back.
		if _, err := w.grid.UndoGradeChange(w.staff(), &gradespb.UndoGradeChangeRequest{CourseId: w.course, What: &gradespb.UndoGradeChangeRequest_BatchId{BatchId: done.GetBatchId()}}); err != nil {
			t.Errorf("%s: undo: %v", format, err)
		}
		if c := w.cell(people[1], q[1]); c.GetStatus() != "excused" {
			t.Errorf("%s: undone: %v", format, c)
		}
		// What changes between preview and apply refuses all.
		i, err = w.upload(format, write(t, [][]string{{"account_id", "[" + q[0] + "]"}, {people[0], "1"}, {people[1], "2"}}))
		if err != nil || i.GetChanges() != 2 {
			t.Fatalf("%s: %v, %v", format, i, err)
		}
		w.set(people[1], q[0], &gradespb.GradeEdit{Feedback: new("Hm")})
		if _, err := apply(""); code(err) != "grade.batch_refused" {
			t.Errorf("%s: %v", format, err)
		}
		if c := w.cell(people[0], q[0]); c.GetPoints() != "8" {
			t.Errorf("%s: %v was changed by an import that was refused", format, c)
		}
		cancelled, err := w.files.CancelGradeImport(w.staff(), &gradespb.CancelGradeImportRequest{CourseId: w.course, ImportId: i.GetId()})
		if err != nil || cancelled.GetState() != "cancelled" {
			t.Errorf("%s: %v, %v", format, cancelled, err)
		}
	}
}

// A number of a file is what counts in the end, as it was when the file was made: not what
// lateness is taken off once more.
func TestImportLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := newIDs("activity", 1)
	w.publish(1, halves(q, nil), q...)
	c, err := w.columns.CreateColumn(w.staff(), &gradespb.CreateColumnRequest{CourseId: w.course, Title: "Talk", Points: "10"})
	if err != nil {
		t.Fatal(err)
	}
	column, ana, ben := c.GetItemId(), w.enroll("Ana"), w.enroll("Ben")
	for _, p := range []string{ana, ben} {
		w.set(p, column, &gradespb.GradeEdit{Points: new("10"), Status: new("late"), LateSeconds: 100_000, Reason: "Overslept"})
	}
	w.settled()
	lines := readCSV(t, w.export("csv"))
	if lines[1][4] != "8" || lines[2][4] != "8" {
		t.Fatalf("two days late: %q", lines)
	}
	lines[1][4] = "9"
	i, err := w.upload("csv", writeCSV(t, lines))
	if err != nil || i.GetChanges() != 1 {
		t.Fatalf("%v, %v", i, err)
	}
	done, err := w.files.ApplyGradeImport(w.staff(), &gradespb.ApplyGradeImportRequest{CourseId: w.course, ImportId: i.GetId(), Reason: "Enough"})
	if err != nil {
		t.Fatal(err)
	}
	w.settled()
	if a, b := w.cell(ana, column), w.cell(ben, column); a.GetPoints() != "9" || b.GetPoints() != "8" {
		t.Errorf("%v, and as it was %v", a, b)
	}
	if _, err := w.grid.UndoGradeChange(w.staff(), &gradespb.UndoGradeChangeRequest{CourseId: w.course, What: &gradespb.UndoGradeChangeRequest_BatchId{BatchId: done.GetBatchId()}}); err != nil {
		t.Fatal(err)
	}
	if a := w.cell(ana, column); a.GetPoints() != "8" || a.GetStatusOverride() != "late" {
		t.Errorf("undone: %v", a)
	}
}

func TestImportRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q, _, people := classroom(w)
	head := []string{"account_id", "version", "Quiz 1 [" + q[0] + "]"}
	// A comma that is not quoted moves what follows into other columns.
	i, err := w.upload("csv", []byte("account_id,a ["+q[0]+"],b ["+q[1]+"]\n"+people[0]+",7,5,9\n"+people[1]+",1,,\n"+people[2]+",\"1,000\",2\n"))
	if err != nil || i.GetRefused() != 2 || i.GetChanges() != 2 {
		t.Errorf("moved values: %v, %v", i, err)
	}
	i, err = w.upload("csv", writeCSV(t, [][]string{
		head, {people[0], "1000000", "=1+" + strings.Repeat("é", 40)}, {people[0], "1", "5"}, {people[1], "nonsense", "5"}, {w.teacher, "1", "5"}, {"'" + people[2], "", "1e2"}, {"", "", ""}, {"x", "", "1"},
	}))
	if err != nil || i.GetRefused() != 5 || i.GetChanges() != 1 {
		t.Fatalf("%v, %v", i, err)
	}
	changes, err := w.files.ListGradeImportChanges(w.staff(), &gradespb.ListGradeImportChangesRequest{CourseId: w.course, ImportId: i.GetId(), Outcome: "refused"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes.GetItems() {
		got = append(got, fmt.Sprint(c.GetLine(), " ", c.GetCode()))
	}
	want := []string{"2 value.invalid", "3 row.twice", "4 version.invalid", "5 student.not_found", "8 student.not_found"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	if _, err := w.files.ApplyGradeImport(w.staff(), &gradespb.ApplyGradeImportRequest{CourseId: w.course, ImportId: i.GetId(), Reason: "Try"}); code(err) != "import.refused" {
		t.Errorf("%v", err)
	}
	blank := strings.Repeat(" ", 1<<20)
	sheet := func(parts ...io.Reader) []byte {
		return again(t, writeXLSX(t, nil), "xl/worksheets/sheet1.xml", io.MultiReader(slices.Concat(
			[]io.Reader{strings.NewReader(`<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>`)},
			parts, []io.Reader{strings.NewReader(`</t></is></c></row></sheetData></worksheet>`)})...))
	}
	bomb := make([]io.Reader, 300)
	for i := range bomb {
		bomb[i] = strings.NewReader(blank)
	}
	far := strings.NewReader(`account_id</t></is></c></row><row r="2000000000"><c r="A2000000000" t="inlineStr"><is><t>x`)
	many := make([]string, 6000)
	for name, c := range map[string]struct {
		format  string
		content []byte
		want    string
	}{
		"nothing":          {"csv", nil, "import.empty"},
		"only columns":     {"csv", writeCSV(t, [][]string{head}), "import.empty"},
		"no account":       {"csv", []byte("student\nAna\n"), "import.column"},
		"unknown column":   {"csv", []byte("account_id,Quiz 1\n"), "import.column"},
		"column of others": {"csv", []byte("account_id,Quiz 1 [activity_01h455vb4pex5vsknk084sn02q]\n"), "import.column"},
		"twice":            {"csv", []byte("account_id,a [" + q[0] + "],b [" + q[0] + "]\n"), "import.column"},
		"too many columns": {"csv", []byte(strings.Join(many, ",") + "\n"), "import.column"},
		"Latin 1":          {"csv", []byte("account_id,st\xfcdent\n"), "import.encoding"},
		"open quote":       {"csv", []byte("account_id\n\"abc\n"), "import.unreadable"},
		"no zip":           {"xlsx", []byte("account_id\nx\n"), "import.unreadable"},
		"another zip": {"xlsx", func() []byte {
			var b bytes.Buffer
			z := zip.NewWriter(&b)
			_, _ = z.Create("a")
			_ = z.Close()
			return b.Bytes()
		}(), "import.unreadable"},
		"half a workbook": {"xlsx", writeXLSX(t, [][]string{head})[:2000], "import.unreadable"},
		"a zip bomb":      {"xlsx", sheet(bomb...), "import.unreadable"},
		"a far row":       {"xlsx", sheet(far), "import.too_large"},
		"empty lines":     {"csv", append([]byte(strings.Repeat(",", 5000)+"account_id\n"), bytes.Repeat([]byte(",\n"), 15<<20)...), "import.too_large"},
		"saved as UTF-16": {"csv", writeCSV(t, [][]string{head, {people[0], "", "5\x00"}}), "import.encoding"},
		"too large":       {"csv", bytes.Repeat([]byte("a"), maxImportSize+1), "import.too_large"},
		"too many lines":  {"csv", append([]byte("account_id\n"), bytes.Repeat([]byte("x\n"), maxImportRows+1)...), "import.too_large"},
	} {
		if _, err := w.upload(c.format, c.content); code(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	// A workbook with a formula: what it says it came to is what is read.
	f := excelize.NewFile()
	for cell, v := range map[string]any{"A1": "account_id", "B1": "[" + q[0] + "]", "A2": people[0]} {
		if err := f.SetCellValue("Sheet1", cell, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.SetCellFormula("Sheet1", "B2", "WEBSERVICE(\"http://evil\")"); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := f.Write(&out); err != nil {
		t.Fatal(err)
	}
	if i, err := w.upload("xlsx", out.Bytes()); err != nil || i.GetChanges() != 0 || i.GetRefused() != 0 {
		t.Errorf("a formula that came to nothing: %v, %v", i, err)
	}
	var left int
	if err := w.db.QueryRow(context.Background(), `SELECT count(*) FROM grade_import`).Scan(&left); err != nil || left != 3 {
		t.Errorf("%d imports are kept, %v; what was refused is none", left, err)
	}
}

// again writes a zip anew with something else in one of its files.
func again(t testing.TB, content []byte, name string, other io.Reader) []byte {
	t.Helper()
	in, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, f := range in.File {
		to, err := z.Create(f.Name)
		if err != nil {
			t.Fatal(err)
		}
		from, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if f.Name == name {
			from = io.NopCloser(other)
		}
		if _, err := io.Copy(to, from); err != nil { //nolint:gosec // ours
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestImportAsOthersWriteIt: files that other programs write are read: with a byte order
// mark before quotes, with semicolons or tabs, with titles that have more of these than
// there are columns, and with what stands beside the columns of a workbook.
func TestImportAsOthersWriteIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q, _, people := classroom(w)
	for name, c := range map[string]struct {
		format  string
		content []byte
	}{
		"a mark and quotes":   {"csv", []byte("\ufeff\"account_id\",\"Quiz 1 [" + q[0] + "]\"\n\"" + people[0] + "\",\"5.125\"\n")},
		"semicolons":          {"csv", []byte("student;ACCOUNT_ID;[" + q[0] + "]\r\nAna;" + people[0] + ";5,125\r\n")},
		"quoted semicolons":   {"csv", []byte("\"student\";\"account_id\";\"1, 2, 3, 4, 5 [" + q[0] + "]\"\n\"Ana\";\"" + people[0] + "\";\"5,125\"\n")},
		"tabs":                {"csv", []byte("[" + q[0] + "]\taccount_id\r\n5,125\t" + people[0] + "\r\n")},
		"a title of many":     {"csv", []byte("account_id,1; 2; 3; 4; 5; 6 [" + q[0] + "]\n" + people[0] + ",5.125\n")},
		"notes in a workbook": {"xlsx", writeXLSX(t, [][]string{{"account_id", "[" + q[0] + "]"}, {people[0], "5.125", "", "was ill"}})},
	} {
		i, err := w.upload(c.format, c.content)
		if err != nil || i.GetChanges() != 1 || i.GetRefused() != 0 {
			t.Errorf("%s: %v, %v", name, i, err)
			continue
		}
		list, err := w.files.ListGradeImportChanges(w.staff(), &gradespb.ListGradeImportChangesRequest{CourseId: w.course, ImportId: i.GetId()})
		if err != nil || list.GetItems()[0].GetAfter() != "5.125" || list.GetItems()[0].GetAccountId() != people[0] {
			t.Errorf("%s: %v, %v", name, list, err)
		}
	}
}
