package commerce

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/money"
	"github.com/stoa-lms/stoa/internal/pdf"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// DownloadInvoice implements the contract.
func (h *invoiceServer) DownloadInvoice(ctx context.Context, req *commercepb.DownloadInvoiceRequest) (*commercepb.InvoiceFile, error) {
	s := h.service
	rows, err := s.DB.Query(ctx, `SELECT `+invoiceColumns+` FROM invoice WHERE id = $1 AND buyer_id = $2`, req.GetInvoiceId(), auth.From(ctx).Account)
	if err != nil {
		return nil, err
	}
	i, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[invoice])
	if pg.NoRows(err) {
		return nil, ErrInvoiceNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("invoice: %w", err)
	}
	corrects := ""
	if i.Corrects != nil {
		var c invoice
		if err := s.DB.QueryRow(ctx, `SELECT series, position FROM invoice WHERE id = $1`, *i.Corrects).Scan(&c.Series, &c.Position); err != nil {
			return nil, fmt.Errorf("invoice: %w", err)
		}
		corrects = c.number()
	}
	buyer, err := s.buyerOf(ctx, i)
	if err != nil {
		return nil, err
	}
	content, err := s.drawInvoice(i, buyer, corrects)
	if missing, ok := errors.AsType[*pdf.MissingFontError](err); ok {
		return nil, fault.New(fault.Unavailable, "invoice.font_missing", "The platform lacks a font for the script %s. Its operator has to install the package %s.", missing.Script, missing.Package)
	}
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	return &commercepb.InvoiceFile{Content: content, Filename: strings.ReplaceAll(i.Kind, "_", "-") + "-" + i.number() + ".pdf", Etag: hex.EncodeToString(sum[:16])}, nil
}

// A4, in points, and where its text is.
const (
	paperWidth   = 595.28
	paperHeight  = 841.89
	marginLeft   = 56.0
	marginRight  = paperWidth - 56
	columnTax    = marginRight - 110
	columnTitle  = columnTax - 110 - marginLeft
	invoiceLines = 25 // that fit onto the page; what is more is put together
)

// drawInvoice makes the page of an invoice. What is as long as it may be fits.
func (s *Service) drawInvoice(i invoice, buyer *commercepb.BillingDetails, corrects string) ([]byte, error) {
	heading := "Invoice " + i.number()
	if i.Kind == kindCreditNote {
		heading = "Credit note " + i.number()
	}
	p := pdf.New(s.Fonts, paperWidth, paperHeight, pdf.Meta{Title: heading, Author: i.Seller.Name, Language: "en", Created: i.IssuedAt})
	y := paperHeight - 48
	var failed error
	say := func(t pdf.Text) {
		if t.Role == "" {
			t.Role = "P"
		}
		if t.MaxLines == 0 {
			t.MaxLines = 1
		}
		if t.Width == 0 {
			t.Width = marginRight - marginLeft
		}
		t.Align, t.X, t.Y, t.MinSize = pdf.Left, marginLeft, y, 5
		height, err := p.Text(t)
		failed = errors.Join(failed, err)
		y -= height
	}
	say(pdf.Text{Text: i.Seller.Name, Size: 11})
	for _, line := range i.Seller.Address {
		say(pdf.Text{Text: line, Size: 9, Gray: 0.25})
	}
	if i.Seller.TaxID != "" {
		say(pdf.Text{Text: "Tax number " + i.Seller.TaxID, Size: 9, Gray: 0.25})
	}
	y -= 22
	say(pdf.Text{Role: "H1", Text: heading, Size: 20})
	y -= 4
	say(pdf.Text{Text: "Issued on " + i.IssuedAt.Format("2 January 2006"), Size: 10})
	say(pdf.Text{Text: "Order " + i.OrderID, Size: 9, Gray: 0.25})
	if corrects != "" {
		say(pdf.Text{Text: "Corrects invoice " + corrects, Size: 10})
	}
	y -= 12
	say(pdf.Text{Role: "H2", Text: "Buyer", Size: 10})
	for _, line := range buyerLines(i, buyer) {
		say(pdf.Text{Text: line, Size: 10})
	}
	y -= 16

	row := func(role string, title, tax, amount string, size float64) {
		p.Row()
		top, lowest := y, y
		for _, cell := range []pdf.Text{
			{Align: pdf.Left, X: marginLeft, Text: title, Width: columnTitle, MaxLines: 2},
			{Align: pdf.Right, X: columnTax, Text: tax, Width: 100, MaxLines: 1},
			{Align: pdf.Right, X: marginRight, Text: amount, Width: 100, MaxLines: 1},
		} {
			cell.Role, cell.Y, cell.Size, cell.MinSize = role, top, size, 5
			height, err := p.Text(cell)
			failed = errors.Join(failed, err)
			lowest = min(lowest, top-height)
		}
		y = lowest - 3
	}
	p.Table()
	row("TH", "What", "Of it tax", "Amount", 10)
	p.Rule(marginLeft, y+1, marginRight-marginLeft)
	y -= 2
	for _, l := range fitting(i.Lines) {
		row("TD", l.Title, money.Format(l.Tax, i.Currency), money.Format(l.Amount, i.Currency), 9)
	}
	p.Rule(marginLeft, y+1, marginRight-marginLeft)
	y -= 2
	total := "Total, paid"
	if i.Kind == kindCreditNote {
		total = "Total, given back"
	}
	row("TD", total, money.Format(i.Tax, i.Currency), money.Format(i.Total, i.Currency), 11)
	row("TD", "Without tax", money.Format(0, i.Currency), money.Format(i.Total-i.Tax, i.Currency), 9)
	if failed != nil {
		return nil, failed
	}
	return p.Bytes(), nil
}

// fitting puts what does not fit onto a page together in a last line.
func fitting(lines []invoiceLine) []invoiceLine {
	if len(lines) <= invoiceLines {
		return lines
	}
	out := append([]invoiceLine(nil), lines[:invoiceLines-1]...)
	rest := invoiceLine{Title: fmt.Sprintf("%d more", len(lines)-len(out))}
	for _, l := range lines[len(out):] {
		rest.Amount += l.Amount
		rest.Tax += l.Tax
	}
	return append(out, rest)
}

// buyerLines are what an invoice says of its buyer.
func buyerLines(i invoice, b *commercepb.BillingDetails) (lines []string) {
	for _, line := range append([]string{b.GetCompany(), b.GetName()}, b.GetAddress()...) {
		if line != "" {
			lines = append(lines, line)
		}
	}
	if city := strings.TrimSpace(b.GetPostalCode() + " " + b.GetCity()); city != "" {
		lines = append(lines, city)
	}
	if b.GetCountry() != "" {
		lines = append(lines, b.GetCountry())
	}
	if b.GetTaxId() != "" {
		lines = append(lines, "Tax number "+b.GetTaxId())
	}
	return append(lines, "Account "+i.BuyerID)
}
