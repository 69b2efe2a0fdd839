package commerce

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"strings"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/money"
	"github.com/stoa-lms/stoa/internal/pdf"
	"github.com/stoa-lms/stoa/internal/spreadsheet"
)

// statementChunk is how many bytes of a statement are sent at once at most.
const statementChunk = 256 << 10

// decimals is an amount as a number, without its currency.
func decimals(amount int64, currency string) string {
	return strings.TrimPrefix(money.Format(amount, currency), currency+" ")
}

// statementCSV sends a statement as CSV.
func (s *Service) statementCSV(ctx context.Context, st statement, send func([]byte) error) error {
	var chunk bytes.Buffer
	w := csv.NewWriter(&chunk)
	flush := func(least int) error {
		if w.Flush(); chunk.Len() < least {
			return w.Error()
		}
		for chunk.Len() > 0 {
			if err := send(chunk.Next(statementChunk)); err != nil {
				return err
			}
		}
		return w.Error()
	}
	if err := w.Write([]string{"currency", "kind", "booked_at", "order_id", "line_id", "course_id", "title", "amount", "balance"}); err != nil {
		return err
	}
	for _, part := range st.parts {
		balance := part.opening
		bound := func(kind string, at time.Time) error {
			when := ""
			if part.through == maxEntry {
				when = at.UTC().Format(time.RFC3339)
			}
			return w.Write([]string{part.currency, kind, when, "", "", "", "", "", decimals(balance, part.currency)})
		}
		if err := bound("opening", part.since); err != nil {
			return err
		}
		if err := s.lines(ctx, st.teacher, part, func(l statementLine) error {
			balance += l.Amount
			if err := w.Write([]string{
				part.currency, l.Kind, l.BookedAt.UTC().Format(time.RFC3339Nano), l.OrderID, l.LineID, l.CourseID, spreadsheet.Harmless(l.Title),
				decimals(l.Amount, part.currency), decimals(balance, part.currency),
			}); err != nil {
				return err
			}
			return flush(statementChunk)
		}); err != nil {
			return err
		}
		if err := bound("closing", part.until); err != nil {
			return err
		}
	}
	return flush(1)
}

// maxStatementPages bounds what of a PDF is in memory.
const maxStatementPages = 100

// kindWords are the kinds of what is booked on what a teacher can be paid, as they read.
var kindWords = map[string]string{
	kindRelease: "Sale", kindRefund: "Refund", kindDispute: "Disputed", kindDisputeLost: "Dispute lost", kindPayable: "Payout",
	kindPayoutFailed: "Payout failed", kindPayoutReversal: "Payout taken back",
}

// paper is a statement as it is drawn, from top to bottom and page to page.
type paper struct {
	service *Service
	meta    pdf.Meta
	pages   []*pdf.Page
	y       float64
	failed  error
}

// The columns of a statement, by their edges.
const (
	statementWhat   = marginLeft + 70
	statementCourse = statementWhat + 82
	statementAmount = marginRight - 92
	statementBottom = 64.0
)

func (d *paper) page() *pdf.Page { return d.pages[len(d.pages)-1] }

// turn begins the next page.
func (d *paper) turn() {
	if len(d.pages) == maxStatementPages {
		d.failed = ErrStatementLong
	}
	if d.failed != nil {
		return
	}
	d.pages, d.y = append(d.pages, pdf.New(d.service.Fonts, paperWidth, paperHeight, d.meta)), paperHeight-48
}

// say sets a line over the whole width.
func (d *paper) say(role, text string, size float64) {
	if d.failed != nil {
		return
	}
	height, err := d.page().Text(pdf.Text{Role: role, Text: text, Size: size, MinSize: 5, MaxLines: 1, Align: pdf.Left, X: marginLeft, Y: d.y, Width: marginRight - marginLeft})
	d.failed = err
	d.y -= height
}

// row sets a row of a table, on the next page where this one is full.
func (d *paper) row(role string, cells [5]string) {
	if d.failed == nil && d.y < statementBottom {
		d.turn()
		d.head()
	}
	if d.failed != nil {
		return
	}
	p := d.page()
	p.Row()
	lowest := d.y
	for i, c := range []pdf.Text{
		{Align: pdf.Left, X: marginLeft, Width: 66},
		{Align: pdf.Left, X: statementWhat, Width: 78},
		{Align: pdf.Left, X: statementCourse, Width: statementAmount - 88 - statementCourse, MaxLines: 2},
		{Align: pdf.Right, X: statementAmount, Width: 84},
		{Align: pdf.Right, X: marginRight, Width: 84},
	} {
		// A cell of nothing is left out of the page, and with it out of the row as it is
		// read: it says so.
		if c.Text = cells[i]; c.Text == "" {
			c.Text = "–"
		}
		c.Role, c.Y, c.Size, c.MinSize, c.MaxLines = role, d.y, 8, 5, max(c.MaxLines, 1)
		height, err := p.Text(c)
		d.failed = errors.Join(d.failed, err)
		lowest = min(lowest, d.y-height)
	}
	d.y = lowest - 2
}

// head begins a table.
func (d *paper) head() {
	if d.failed != nil {
		return
	}
	d.page().Table()
	d.row("TH", [5]string{"Date", "What", "Course", "Amount", "Balance"})
	if d.failed == nil {
		d.page().Rule(marginLeft, d.y+1, marginRight-marginLeft)
		d.y -= 2
	}
}

// statementPDF sends a statement as PDF.
func (s *Service) statementPDF(ctx context.Context, st statement, send func([]byte) error) error {
	d := &paper{service: s, meta: pdf.Meta{Title: "Statement: " + st.about[0], Author: s.Seller.Name, Language: "en", Created: st.at}}
	d.turn()
	d.say("P", s.Seller.Name, 11)
	d.y -= 12
	d.say("H1", "Statement", 20)
	for _, line := range append(st.about, "Account "+st.teacher) {
		d.say("P", line, 10)
	}
	if len(st.parts) == 0 {
		d.say("P", "Nothing was ever booked.", 10)
	}
	for _, part := range st.parts {
		if d.y < statementBottom+90 {
			d.turn()
		}
		d.y -= 14
		d.say("H2", part.currency, 12)
		d.y -= 2
		d.head()
		balance := part.opening
		d.row("TD", [5]string{"", "Opening balance", "", "", decimals(balance, part.currency)})
		if err := s.lines(ctx, st.teacher, part, func(l statementLine) error {
			balance += l.Amount
			what := kindWords[l.Kind]
			if what == "" {
				what = l.Kind
			}
			d.row("TD", [5]string{l.BookedAt.UTC().Format(time.DateOnly), what, l.Title, decimals(l.Amount, part.currency), decimals(balance, part.currency)})
			return d.failed
		}); err != nil {
			return lacksFont(err)
		}
		d.row("TD", [5]string{"", "Closing balance", "", "", decimals(balance, part.currency)})
	}
	if d.failed != nil {
		return lacksFont(d.failed)
	}
	content := pdf.Bytes(d.pages[0], d.pages[1:]...)
	for len(content) > 0 {
		n := min(len(content), statementChunk)
		if err := send(content[:n]); err != nil {
			return err
		}
		content = content[n:]
	}
	return nil
}

// lacksFont has the operator told of a font that lacks.
func lacksFont(err error) error {
	if missing, ok := errors.AsType[*pdf.MissingFontError](err); ok {
		return fault.New(fault.Unavailable, "statement.font_missing", "The platform lacks a font for the script %s. Its operator has to install the package %s.", missing.Script, missing.Package)
	}
	return err
}
