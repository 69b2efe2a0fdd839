package commerce_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// whole reads a file that is streamed.
func whole[T interface{ GetChunk() []byte }](stream interface{ Recv() (T, error) }, err error) ([]byte, error) {
	var out []byte
	for err == nil {
		var msg T
		if msg, err = stream.Recv(); err == nil {
			if len(msg.GetChunk()) > 256<<10 {
				return nil, errors.New("a chunk is too large")
			}
			out = append(out, msg.GetChunk()...)
		}
	}
	if errors.Is(err, io.EOF) {
		return out, nil
	}
	return nil, fault.FromStatus(err)
}

// rowsOf reads CSV without its header.
func (s *shop) rowsOf(content []byte) [][]string {
	s.Helper()
	rows, err := csv.NewReader(bytes.NewReader(content)).ReadAll()
	if err != nil || len(rows) == 0 || strings.Join(rows[0], ",") != "currency,kind,booked_at,order_id,line_id,course_id,title,amount,balance" {
		s.Fatalf("%v, %v", rows, err)
	}
	return rows[1:]
}

// cents is an amount of a file in minor units of a currency with two decimals.
func (s *shop) cents(text string) int64 {
	s.Helper()
	n, err := strconv.ParseInt(strings.Replace(text, ".", "", 1), 10, 64)
	if err != nil {
		s.Fatal(err)
	}
	return n
}

// addsUp fails unless each currency of a statement goes from what was there before, line by
// line, to what is there after, which it returns.
func (s *shop) addsUp(rows [][]string) (opening, closing map[string]int64, lines int) {
	s.Helper()
	opening, closing = map[string]int64{}, map[string]int64{}
	balance := map[string]int64{}
	for _, r := range rows {
		currency := r[0]
		switch r[1] {
		case "opening":
			opening[currency], balance[currency] = s.cents(r[8]), s.cents(r[8])
		case "closing":
			closing[currency] = s.cents(r[8])
			if closing[currency] != balance[currency] {
				s.Errorf("%s closes with %d, but comes to %d", currency, closing[currency], balance[currency])
			}
		default:
			lines++
			if balance[currency] += s.cents(r[7]); s.cents(r[8]) != balance[currency] {
				s.Errorf("%v, but it comes to %d", r, balance[currency])
			}
		}
	}
	return opening, closing, lines
}

func TestStatementOfPayout(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	files := commercepb.NewStatementServiceClient(s.conn)
	ada, ben := s.payee(), s.payee()
	course := s.course(ada, 4999, "EUR")
	s.deliver(&coursespb.CoursePublished{CourseId: course, OwnerId: ada, Sequence: 2, Title: `=HYPERLINK("http://evil.example","Logic, and more")`})
	held := s.paidOrder(id.New("account"), course)
	s.paidOrder(id.New("account"), course)
	s.now.Add(31 * 24 * 3600)
	s.releases(2)
	s.gaveBack(held, &commercepb.LineToRefund{LineId: held.GetLines()[0].GetId(), Amount: 1001})
	s.earns(777, ada, ben)
	s.begins("2026-04")
	s.paysOut()
	s.carryOut(1)
	p := s.paidTo(ada)[0]
	export := func(who, payout, format string) ([]byte, error) {
		return whole[*commercepb.ExportMyPayoutStatementResponse](files.ExportMyPayoutStatement(s.as(who), &commercepb.ExportMyPayoutStatementRequest{PayoutId: payout, Format: format}))
	}
	content, err := export(ada, p.GetId(), "")
	if err != nil {
		t.Fatal(err)
	}
	rows := s.rowsOf(content)
	opening, closing, n := s.addsUp(rows)
	if diff := cmp.Diff(map[string]int64{"EUR": p.GetOpening().GetAmount()}, opening); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int64{"EUR": p.GetClosing().GetAmount()}, closing); diff != "" {
		t.Error(diff)
	}
	// Its lines are those that the API lists, to the cent.
	var got []statementLine
	for _, r := range rows[1 : len(rows)-1] {
		got = append(got, statementLine{r[1], s.cents(r[7])})
		if strings.HasPrefix(strings.TrimLeft(r[6], " "), "=") {
			t.Errorf("a cell is a formula: %q", r[6])
		}
	}
	if diff := cmp.Diff(s.statement(ada, p.GetId()), got); diff != "" || n != 5 || got[n-1] != (statementLine{"payable", -p.GetAmount().GetAmount()}) {
		t.Errorf("%v %s", got, diff)
	}
	if r := rows[1]; r[3] != held.GetId() && r[3] == "" || r[5] != course || !strings.HasPrefix(r[6], `'=HYPERLINK`) || r[2] == "" {
		t.Errorf("%v", r)
	}

	document, err := export(ada, p.GetId(), "pdf")
	if err != nil {
		t.Fatal(err)
	}
	text := poppler(t, document, "pdftotext", "-layout")
	for _, want := range []string{"Stoa Test Ltd", "Statement", p.GetId(), "Account " + ada, "EUR", "Opening balance", "Sale", "Refund", "Payout", "Closing balance", "-7.01"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if again, err := export(ada, p.GetId(), "pdf"); err != nil || !bytes.Equal(again, document) {
		t.Errorf("the same statement differs, %v", err)
	}

	// Nobody else's; staff have all, which is recorded.
	_, err = export(ben, p.GetId(), "")
	wantCode(t, err, "payout.not_found")
	_, err = export(ada, id.New("payout"), "pdf")
	wantCode(t, err, "payout.not_found")
	_, err = export(ada, p.GetId(), "xlsx")
	wantCode(t, err, "request.invalid")
	theirs, err := whole[*commercepb.ExportPayoutStatementResponse](files.ExportPayoutStatement(s.staff(), &commercepb.ExportPayoutStatementRequest{PayoutId: p.GetId()}))
	if err != nil || !bytes.Equal(theirs, content) {
		t.Errorf("staff see another statement, %v", err)
	}
	if n := s.recorded("statement.exported"); n != 1 {
		t.Errorf("recorded %d times", n)
	}
}

func TestStatementOfPeriod(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	files := commercepb.NewStatementServiceClient(s.conn)
	ada, ben := s.payee(), s.payee()
	export := func(who string, since, until time.Time, format string) ([]byte, error) {
		return whole[*commercepb.ExportMyStatementResponse](files.ExportMyStatement(s.as(who), &commercepb.ExportMyStatementRequest{
			Since: since.Format(time.RFC3339), Until: until.Format(time.RFC3339), Format: format,
		}))
	}
	clock := func() time.Time { return time.Unix(s.now.Load(), 0).UTC() }
	begin := clock()
	if content, err := export(ben, begin, begin.AddDate(1, 0, 0), ""); err != nil || len(s.rowsOf(content)) != 0 {
		t.Errorf("of who has earned nothing: %s, %v", content, err)
	}
	dollars := s.course(ada, 3000, "USD")
	s.paidOrder(id.New("account"), dollars)
	orders := s.earns(1000, ada, ada, ben)
	middle := clock()
	s.now.Add(1)
	s.gaveBack(orders[0])
	s.earns(500, ada)
	s.begins("")
	s.paysOut()
	s.carryOut(1)
	end := clock().Add(time.Second)

	read := func(since, until time.Time) (opening, closing map[string]int64, lines int) {
		t.Helper()
		content, err := export(ada, since, until, "csv")
		if err != nil {
			t.Fatal(err)
		}
		return s.addsUp(s.rowsOf(content))
	}
	// What follows goes on where what is before ends, and both are the whole.
	first, after, n1 := read(begin, middle)
	before, last, n2 := read(middle, end)
	whole1, whole2, n := read(begin, end)
	if diff := cmp.Diff(after, before); diff != "" || n1 != 0 || n != n2 {
		t.Errorf("%d and %d of %d lines, %s", n1, n2, n, diff)
	}
	if cmp.Diff(first, whole1) != "" || cmp.Diff(last, whole2) != "" || whole1["EUR"] != 0 {
		t.Errorf("%v %v, %v %v", first, last, whole1, whole2)
	}
	// The end is what is there, in every currency.
	left := map[string]int64{"EUR": -s.ledgerAt("teacher:" + ada)["EUR"], "USD": -s.ledgerAt("teacher:" + ada)["USD"]}
	if diff := cmp.Diff(left, whole2); diff != "" {
		t.Error(diff)
	}
	if n != 6 { // three sales released, one in dollars, one given back, one payout
		t.Errorf("%d lines", n)
	}

	for name, req := range map[string]*commercepb.ExportMyStatementRequest{
		"turned":  {Since: "2026-02-01T00:00:00Z", Until: "2026-01-01T00:00:00Z"},
		"no time": {Since: "yesterday", Until: "2026-01-01T00:00:00Z"},
		"no end":  {Since: "2026-01-01T00:00:00Z", Until: "2026-01-01"},
	} {
		_, err := whole[*commercepb.ExportMyStatementResponse](files.ExportMyStatement(s.as(ada), req))
		if fault.CodeOf(err) != "statement.period" {
			t.Errorf("%s: %v", name, err)
		}
	}
	theirs, err := whole[*commercepb.ExportTeacherStatementResponse](files.ExportTeacherStatement(s.staff(), &commercepb.ExportTeacherStatementRequest{
		TeacherId: ada, Since: begin.Format(time.RFC3339), Until: end.Format(time.RFC3339),
	}))
	if err != nil || s.recorded("statement.exported") != 1 {
		t.Fatal(err)
	}
	if mine, err := export(ada, begin, end, ""); err != nil || !bytes.Equal(mine, theirs) {
		t.Errorf("staff see another statement, %v", err)
	}
}

// Of thousands of lines some are in memory at a time, and all are in the file. Of a PDF
// that is more than a hundred pages.
func TestLongStatement(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	files := commercepb.NewStatementServiceClient(s.conn)
	ada := id.New("account")
	at := time.Unix(s.now.Load(), 0)
	book := func(from, n int) {
		t.Helper()
		var entries []commerce.Entry
		for i := from; i < from+n; i++ {
			entries = append(entries, commerce.Entry{Key: "release:" + strconv.Itoa(i), Kind: "release", Postings: []commerce.Posting{
				{Account: "held:" + ada, Currency: "EUR", Amount: int64(i + 1)}, {Account: "teacher:" + ada, Currency: "EUR", Amount: -int64(i + 1)},
			}})
		}
		if err := s.db.InTx(t.Context(), func(tx *pg.Tx) error {
			tx.Exempt("a test")
			return commerce.Book(t.Context(), tx, at, entries...)
		}); err != nil {
			t.Fatal(err)
		}
	}
	read := func(format string) ([]byte, error) {
		return whole[*commercepb.ExportMyStatementResponse](files.ExportMyStatement(s.as(ada), &commercepb.ExportMyStatementRequest{
			Since: "2026-01-01T00:00:00Z", Until: "2027-01-01T00:00:00Z", Format: format,
		}))
	}
	book(0, 130)
	document, err := read("pdf")
	if err != nil {
		t.Fatal(err)
	}
	info := poppler(t, document, "pdfinfo")
	if !strings.Contains(info, "Pages:           3") || !strings.Contains(info, "Tagged:          yes") {
		t.Errorf("%s", info)
	}
	text := poppler(t, document, "pdftotext", "-layout")
	if n := strings.Count(text, "Balance"); n != 3 || strings.Count(text, "Sale") != 130 || !strings.Contains(text, "85.15") {
		t.Errorf("%d tables:\n%s", n, text)
	}
	if n := strings.Count(poppler(t, document, "pdfinfo", "-struct"), "Table"); n != 3 {
		t.Errorf("%d tables as it is read", n)
	}

	book(130, 5870)
	_, err = read("pdf")
	wantCode(t, err, "statement.too_long")
	content, err := read("csv")
	if err != nil {
		t.Fatal(err)
	}
	if _, closing, n := s.addsUp(s.rowsOf(content)); n != 6000 || closing["EUR"] != 6000*6001/2 {
		t.Errorf("%d lines, %v", n, closing)
	}
}

// BenchmarkStatement shows that a line costs as much in a long statement as in a short one,
// and that memory does not grow with it.
func BenchmarkStatement(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			s := newShop(b)
			files := commercepb.NewStatementServiceClient(s.conn)
			ada := id.New("account")
			const batch = 1000
			for from := 0; from < n; from += batch {
				entries := make([]commerce.Entry, batch)
				for i := range entries {
					entries[i] = commerce.Entry{Key: "release:" + strconv.Itoa(from+i), Kind: "release", Postings: []commerce.Posting{
						{Account: "held:" + ada, Currency: "EUR", Amount: 1}, {Account: "teacher:" + ada, Currency: "EUR", Amount: -1},
					}}
				}
				if err := s.db.InTx(b.Context(), func(tx *pg.Tx) error {
					tx.Exempt("a test")
					return commerce.Book(b.Context(), tx, time.Unix(s.now.Load(), 0), entries...)
				}); err != nil {
					b.Fatal(err)
				}
			}
			runtime.GC()
			var before, now runtime.MemStats
			runtime.ReadMemStats(&before)
			peak, bytes := uint64(0), 0
			for b.Loop() {
				stream, err := files.ExportMyStatement(s.as(ada), &commercepb.ExportMyStatementRequest{Since: "2026-01-01T00:00:00Z", Until: "2027-01-01T00:00:00Z"})
				for err == nil {
					var msg *commercepb.ExportMyStatementResponse
					if msg, err = stream.Recv(); err == nil {
						bytes += len(msg.GetChunk())
						runtime.ReadMemStats(&now)
						peak = max(peak, now.HeapAlloc-min(now.HeapAlloc, before.HeapAlloc))
					}
				}
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/line")
			b.ReportMetric(float64(peak)/(1<<20), "MiB-peak")
			b.ReportMetric(float64(bytes)/float64(b.N*n), "B/line")
		})
	}
}
