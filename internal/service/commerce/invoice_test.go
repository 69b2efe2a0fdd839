package commerce_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// bought is an order that somebody has paid.
func (s *shop) bought(buyer string, courses ...string) *commercepb.Order {
	s.Helper()
	o := s.order(buyer, courses...)
	if _, err := s.settle(o, "succeed"); err != nil {
		s.Fatal(err)
	}
	return o
}

func (s *shop) issue() int {
	s.Helper()
	n, err := s.svc.IssueInvoices(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return n
}

func (s *shop) invoicesOf(buyer string) []*commercepb.Invoice {
	s.Helper()
	list, err := s.invoices.ListMyInvoices(rpctest.Account(s.Context(), buyer), &commercepb.ListMyInvoicesRequest{PageSize: 100})
	if err != nil {
		s.Fatal(err)
	}
	return list.GetItems()
}

func poppler(t testing.TB, document []byte, program string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "invoice.pdf")
	if err := os.WriteFile(path, document, 0o600); err != nil {
		t.Fatal(err)
	}
	args = append(args, path)
	if program == "pdftotext" {
		args = append(args, "-")
	}
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput() //nolint:gosec // a test's own
	if err != nil {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
	return string(out)
}

func TestInvoiceAsItWasIssued(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer, ctx := id.New("account"), rpctest.Account(t.Context(), "")
	ctx = rpctest.Account(ctx, buyer)
	a, b := s.course(id.New("account"), 4999, "EUR"), s.course(id.New("account"), 1000, "EUR")
	details, err := s.invoices.SetBillingDetails(ctx, &commercepb.SetBillingDetailsRequest{
		Name: "Ada Buyer", Company: "Müller & Söhne", Address: []string{"Hauptstraße 1"}, PostalCode: "10115", City: "Berlin", Country: "de", TaxId: "DE129273398",
	})
	if err != nil || details.GetCountry() != "DE" || details.GetEtag() != "1" {
		t.Fatalf("%v, %v", details, err)
	}
	o := s.bought(buyer, a, b)
	if n := s.issue() + s.issue(); n != 1 {
		t.Fatalf("%d orders were invoiced, want 1", n)
	}
	list := s.invoicesOf(buyer)
	if len(list) != 1 || list[0].GetNumber() != "2026-000001" || list[0].GetOrderId() != o.GetId() || list[0].GetTotal().GetAmount() != 5999 || len(list[0].GetLines()) != 2 {
		t.Fatalf("invoices %v", list)
	}
	get := func() *commercepb.InvoiceFile {
		f, err := s.invoices.DownloadInvoice(ctx, &commercepb.DownloadInvoiceRequest{InvoiceId: list[0].GetId()})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := get()
	text := poppler(t, f.GetContent(), "pdftotext")
	for _, want := range []string{
		"Invoice 2026-000001", "Stoa Test Ltd", "Tax number EL123456789", "Müller & Söhne", "Hauptstraße 1", "10115 Berlin", "Tax number DE129273398",
		o.GetLines()[0].GetTitle(), o.GetLines()[1].GetTitle(), "EUR 49.99", "EUR 10.00", "EUR 59.99", o.GetId(), "1 March 2026",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	structure := poppler(t, f.GetContent(), "pdfinfo", "-struct")
	for role, n := range map[string]int{"Table": 1, "TR": 5, "TH": 3, "TD": 12, "H1": 1} {
		got := 0
		for line := range strings.SplitSeq(structure, "\n") {
			if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.TrimSuffix(name, ":") == role {
				got++
			}
		}
		if got != n {
			t.Errorf("%d %s, want %d:\n%s", got, role, n, structure)
		}
	}

	// What changes later does not change it; nothing is issued twice.
	if _, err := s.invoices.SetBillingDetails(rpc.WithIfMatch(ctx, "1"), &commercepb.SetBillingDetailsRequest{Name: "Somebody Else"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.invoices.SetBillingDetails(rpc.WithIfMatch(ctx, "1"), &commercepb.SetBillingDetailsRequest{Name: "Late"}); err == nil {
		t.Error("an old version was taken")
	}
	if again := get(); !bytes.Equal(again.GetContent(), f.GetContent()) || again.GetEtag() != f.GetEtag() {
		t.Error("the same invoice is another file")
	}
	if diff := cmp.Diff(list, s.invoicesOf(buyer), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	// The database keeps it, too.
	for _, sql := range []string{`UPDATE invoice SET total = 1`, `DELETE FROM invoice`, `TRUNCATE invoice`} {
		err := s.db.InTx(t.Context(), func(tx *pg.Tx) error {
			tx.Exempt("a test")
			_, err := tx.Exec(t.Context(), sql)
			return err
		})
		if err == nil {
			t.Errorf("%s was taken", sql)
		}
	}
	// It is nobody else's, and nobody's address is plain.
	_, err = s.invoices.DownloadInvoice(rpctest.Account(t.Context(), id.New("account")), &commercepb.DownloadInvoiceRequest{InvoiceId: list[0].GetId()})
	wantCode(t, err, "invoice.not_found")
	var plain int
	if err := s.db.QueryRow(t.Context(), `
		SELECT (SELECT count(*) FROM invoice i WHERE i::text LIKE '%Hauptstra%') + (SELECT count(*) FROM billing_details b WHERE b::text LIKE '%Hauptstra%')
			+ (SELECT count(*) FROM idempotency k WHERE k::text LIKE '%Hauptstra%')`).Scan(&plain); err != nil || plain != 0 {
		t.Errorf("%d rows have an address, %v", plain, err)
	}
}

func TestBillingDetailsRefused(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ctx := rpctest.Account(t.Context(), id.New("account"))
	if d, err := s.invoices.GetBillingDetails(ctx, &commercepb.GetBillingDetailsRequest{}); err != nil || d.GetName() != "" {
		t.Errorf("%v, %v", d, err)
	}
	for _, country := range []string{"D", "1X", "XX", "EU", "ß"} {
		_, err := s.invoices.SetBillingDetails(ctx, &commercepb.SetBillingDetailsRequest{Country: country})
		wantCode(t, err, "billing.country")
	}
	_, err := s.invoices.SetBillingDetails(ctx, &commercepb.SetBillingDetailsRequest{Address: []string{"1", "2", "3", "4"}})
	wantCode(t, err, "request.invalid")
}

// Numbers have no gaps, whoever issues at once and whatever is undone.
func TestInvoiceNumbersHaveNoGaps(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	const orders = 60
	course := s.course(id.New("account"), 700, "EUR")
	for range orders {
		s.bought(id.New("account"), course)
	}
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for range 10 {
				_, _ = s.svc.IssueInvoices(t.Context())
			}
		})
		wg.Go(func() {
			// Takes a number and fails.
			_ = s.db.InTx(t.Context(), func(tx *pg.Tx) error {
				_, err := tx.Exec(t.Context(), `
					INSERT INTO invoice_series (series, last) VALUES ('2026', 1) ON CONFLICT ON CONSTRAINT invoice_series_pkey DO UPDATE SET last = invoice_series.last + 1`)
				return errors.Join(err, errors.New("undone"))
			})
		})
	}
	wg.Wait()
	s.issue()
	var n, first, last, times int
	if err := s.db.QueryRow(t.Context(), `
		SELECT count(*), min(position), max(position), (SELECT count(*) FROM (SELECT issued_at < lag(issued_at) OVER (ORDER BY position) AS back FROM invoice) x WHERE back) FROM invoice`).
		Scan(&n, &first, &last, &times); err != nil || n != orders || first != 1 || last != orders || times != 0 {
		t.Fatalf("%d invoices from %d to %d, %d out of their time, %v", n, first, last, times, err)
	}
}

// An invoice is of the year in which it was issued, also when that ends just then.
func TestYearEndsMeanwhile(t *testing.T) {
	t.Parallel()
	var clock, left atomic.Int64 // the year ends when so many have looked at the clock
	s := openShop(t, func(_ *shop, cfg *commerce.Config) {
		cfg.Now = func() time.Time {
			if left.Add(-1) == 0 {
				clock.Add(1)
			}
			return time.Unix(clock.Load(), 0)
		}
	})
	const years = 12
	clock.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix())
	course := s.course(id.New("account"), 700, "EUR")
	for i := range years {
		clock.Store(time.Date(2027+i, 1, 1, 0, 0, 0, 0, time.UTC).Unix() - 1)
		o := s.bought(id.New("account"), course)
		left.Store(int64(1 + i%4))
		s.issue()
		s.gaveBack(o)
		clock.Store(time.Date(2028+i, 1, 1, 0, 0, 0, 0, time.UTC).Unix() - 1)
		left.Store(int64(1 + i%4))
		if n, err := s.svc.IssueCreditNotes(t.Context()); err != nil || n != 1 {
			t.Fatalf("%d credit notes, %v", n, err)
		}
	}
	if n := s.count(`SELECT count(*) FROM invoice`); n != 2*years {
		t.Fatalf("%d invoices", n)
	}
	for _, r := range s.rows(`SELECT series, position::text, issued_at::text FROM invoice WHERE right(series, 4) <> to_char(issued_at AT TIME ZONE 'UTC', 'YYYY')`) {
		t.Errorf("%v", r)
	}
	if n := s.count(`SELECT count(*) FROM (SELECT FROM invoice GROUP BY series HAVING count(*) <> max(position)) g`); n != 0 {
		t.Errorf("%d series have gaps", n)
	}
}

func TestTaxReport(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	yen := s.course(id.New("account"), 500, "JPY")
	for range 3 {
		s.bought(id.New("account"), yen)
	}
	s.issue()
	report := func(since, until string) ([][]string, error) {
		stream, err := s.invoices.ExportTaxReport(rpctest.Account(t.Context(), id.New("account")), &commercepb.ExportTaxReportRequest{Since: since, Until: until})
		if err != nil {
			return nil, err
		}
		var file bytes.Buffer
		for {
			msg, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return csv.NewReader(&file).ReadAll()
			}
			if err != nil {
				return nil, err
			}
			file.Write(msg.GetChunk())
		}
	}
	rows, err := report("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z")
	if err != nil || len(rows) != 4 {
		t.Fatalf("%v, %v", rows, err)
	}
	at := time.Unix(s.now.Load(), 0).UTC().Format(time.RFC3339)
	for i, row := range rows[1:] {
		row[3] = ""
		if diff := cmp.Diff([]string{fmt.Sprintf("2026-%06d", i+1), "invoice", at, "", "", "", "JPY", "500", "0", "500"}, row); diff != "" {
			t.Error(diff)
		}
	}
	// It begins with its first moment and ends before its last, wherever the clock is read.
	for period, want := range map[[2]string]int{
		{"2026-03-02T00:00:00Z", "2027-01-01T00:00:00Z"}:           0,
		{at, "2026-03-01T12:00:01Z"}:                               3,
		{"2026-03-01T14:00:00+02:00", "2026-03-01T07:00:01-05:00"}: 3,
		{"2026-01-01T00:00:00Z", at}:                               0,
		{"2026-03-01T12:00:00.000001Z", "2027-01-01T00:00:00Z"}:    0,
	} {
		if rows, err := report(period[0], period[1]); err != nil || len(rows) != 1+want {
			t.Errorf("%v: %v, %v", period, rows, err)
		}
	}
	for _, period := range [][2]string{{"2026", "2027-01-01T00:00:00Z"}, {"2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z"}, {"2027-01-01T00:00:00Z", "x"}} {
		_, err := report(period[0], period[1])
		wantCode(t, err, "tax_report.period")
	}
}

// Parts by largest remainders may make the tax of a cent that is given back less than none:
// its credit note says so, and holds up no other.
func TestCreditNotesOfCents(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer := id.New("account"), id.New("account")
	taxed, other := s.order(buyer, s.course(seller, 1000, "EUR")), s.bought(buyer, s.course(seller, 700, "EUR"))
	s.paysTaxed(taxed, 65)
	s.issue()
	line := taxed.GetLines()[0].GetId()
	for _, cents := range []int64{23, 1} {
		s.gaveBack(taxed, &commercepb.LineToRefund{LineId: line, Amount: cents})
	}
	s.gaveBack(other)
	s.gaveBack(taxed)
	if n, err := s.svc.IssueCreditNotes(t.Context()); err != nil || n != 4 {
		t.Fatalf("%d credit notes, %v", n, err)
	}
	// In all they are of what the invoices are of.
	sums := map[string][2]int64{}
	least := int64(0)
	for _, i := range s.invoicesOf(buyer) {
		sum := sums[i.GetKind()]
		sums[i.GetKind()] = [2]int64{sum[0] + i.GetTotal().GetAmount(), sum[1] + i.GetTax().GetAmount()}
		least = min(least, i.GetTax().GetAmount())
	}
	if want := [2]int64{1700, 65}; sums["invoice"] != want || sums["credit_note"] != want || least != -1 {
		t.Fatalf("%v, the least tax %d", sums, least)
	}
	s.agrees()
}

// A credit note takes back the tax of the country of its invoice, wherever the buyer lives by
// then, and is of the same buyer.
func TestCreditNoteIsOfTheBuyerOfItsInvoice(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer := id.New("account")
	ctx := rpctest.Account(t.Context(), buyer)
	lives := func(etag, name, country string) {
		t.Helper()
		if _, err := s.invoices.SetBillingDetails(rpc.WithIfMatch(ctx, etag), &commercepb.SetBillingDetailsRequest{Name: name, Country: country}); err != nil {
			t.Fatal(err)
		}
	}
	course := s.course(id.New("account"), 1000, "EUR")
	lives("0", "Ada in Graz", "AT")
	o := s.bought(buyer, course)
	s.issue()
	lives("1", "Ada in Lyon", "FR")
	s.gaveBack(o)
	if n, err := s.svc.IssueCreditNotes(t.Context()); err != nil || n != 1 {
		t.Fatalf("%d credit notes, %v", n, err)
	}
	if got := s.rows(`SELECT kind, country FROM invoice ORDER BY kind DESC`); fmt.Sprint(got) != "[[invoice AT] [credit_note AT]]" {
		t.Errorf("%v", got)
	}
	for _, i := range s.invoicesOf(buyer) {
		f, err := s.invoices.DownloadInvoice(ctx, &commercepb.DownloadInvoiceRequest{InvoiceId: i.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		if text := poppler(t, f.GetContent(), "pdftotext"); !strings.Contains(text, "Ada in Graz") {
			t.Errorf("%s is of\n%s", i.GetKind(), text)
		}
	}
}
