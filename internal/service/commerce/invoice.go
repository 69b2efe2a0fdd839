package commerce

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// The kinds of invoices.
const (
	kindInvoice    = "invoice"
	kindCreditNote = "credit_note"
)

// Seller is who issues invoices, as they say it.
type Seller struct {
	Name    string   `json:"name"`
	Address []string `json:"address,omitempty"`
	TaxID   string   `json:"tax_id,omitempty"`
}

// invoice is an invoice or a credit note as it was issued.
type invoice struct {
	ID       string
	Series   string
	Position int64
	Kind     string
	OrderID  string
	RefundID *string
	Corrects *string
	BuyerID  string
	Country  string
	IssuedAt time.Time
	Currency string
	Total    int64
	Tax      int64
	Lines    []invoiceLine
	Seller   Seller
	Buyer    []byte // sealed; nil when the buyer had said nothing
}

// invoiceLine is what an invoice is for.
type invoiceLine struct {
	Title  string `json:"title"`
	Amount int64  `json:"amount"`
	Tax    int64  `json:"tax"`
}

const invoiceColumns = `id, series, position, kind, order_id, refund_id, corrects, buyer_id, country, issued_at, currency, total, tax, lines, seller, buyer`

func (i invoice) number() string { return fmt.Sprintf("%s-%06d", i.Series, i.Position) }

func (i invoice) money(amount int64) *moneypb.Money {
	return &moneypb.Money{Amount: amount, Currency: i.Currency}
}

func (i invoice) message() *commercepb.Invoice {
	m := &commercepb.Invoice{
		Id: i.ID, Number: i.number(), Kind: i.Kind, OrderId: i.OrderID, IssuedAt: timestamppb.New(i.IssuedAt), Total: i.money(i.Total), Tax: i.money(i.Tax),
	}
	if i.Corrects != nil {
		m.CorrectsId = *i.Corrects
	}
	for _, l := range i.Lines {
		m.Lines = append(m.Lines, &commercepb.InvoiceLine{Title: l.Title, Amount: i.money(l.Amount), Tax: i.money(l.Tax)})
	}
	return m
}

// invoiceBatch bounds how many invoices one transaction issues.
const invoiceBatch = 100

// issueInvoices issues invoices for orders that are paid, and returns how many. Orders
// do not wait for it: who takes numbers holds their series until the end of the
// transaction, so that none is taken and not used.
func (s *Service) issueInvoices(ctx context.Context) (int, error) {
	total := 0
	for {
		n := 0
		err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
			rows, err := tx.Query(ctx, `
				SELECT `+orderColumns+` FROM orders WHERE paid_at IS NOT NULL AND NOT invoiced ORDER BY paid_at, id LIMIT $1 FOR UPDATE SKIP LOCKED`, invoiceBatch)
			orders, err := collectOrders(ctx, tx, rows, err)
			if n = len(orders); err != nil || n == 0 {
				return err
			}
			ids, list := make([]string, n), make([]invoice, 0, n)
			for i, o := range orders {
				ids[i] = o.ID
				if o.Total > 0 { // what was given away needs none
					list = append(list, invoiceOf(&o))
				}
			}
			if err := s.sealBuyers(ctx, tx, list); err != nil {
				return err
			}
			if err := s.issue(ctx, tx, kindInvoice, list); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `UPDATE orders SET invoiced = true WHERE id = ANY ($1)`, ids)
			if err != nil {
				return err
			}
			return audit.Record(ctx, tx, audit.Entry{Action: "invoice.issued", After: map[string]any{"invoices": len(list)}})
		})
		total += n
		if err != nil || n < invoiceBatch {
			return total, err
		}
	}
}

// issueCreditNotes issues credit notes for what was given back of orders that have an
// invoice, by a refund or a dispute that was lost, and returns how many things it looked at.
func (s *Service) issueCreditNotes(ctx context.Context) (int, error) {
	total := 0
	for _, of := range []struct{ table, done string }{{"refund", "booked"}, {"dispute", "state = 'lost'"}} {
		for {
			n := 0
			err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
				rows, err := tx.Query(ctx, `
					SELECT r.id, r.order_id, r.currency, coalesce(i.id, ''), o.buyer_id, coalesce(i.country, ''), i.buyer
					FROM `+of.table+` r JOIN orders o ON o.id = r.order_id LEFT JOIN invoice i ON i.order_id = o.id AND i.kind = 'invoice'
					WHERE r.`+of.done+` AND NOT r.credited AND (o.invoiced OR o.paid_at IS NULL) ORDER BY r.id LIMIT $1 FOR UPDATE OF r SKIP LOCKED`, invoiceBatch)
				if err != nil {
					return err
				}
				type back struct {
					ID, OrderID, Currency, InvoiceID, BuyerID, Country string
					Buyer                                              []byte
				}
				backs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[back])
				if n = len(backs); err != nil || n == 0 {
					return err
				}
				ids := make([]string, n)
				for i, b := range backs {
					ids[i] = b.ID
				}
				rows, err = tx.Query(ctx, `
					SELECT b.`+of.table+`_id, l.title, l.kind, l.quantity, l.bundle_title, b.amount, b.tax FROM `+of.table+`_line b JOIN order_line l ON l.id = b.line_id
					WHERE b.`+of.table+`_id = ANY ($1) AND b.amount > 0 ORDER BY l.order_id, l.position`, ids)
				if err != nil {
					return err
				}
				lines := map[string][]invoiceLine{}
				var (
					id string
					l  line
				)
				if _, err := pgx.ForEachRow(rows, []any{&id, &l.Title, &l.Kind, &l.Quantity, &l.BundleTitle, &l.Amount, &l.Tax}, func() error {
					lines[id] = append(lines[id], invoiceLine{Title: l.label(), Amount: l.Amount, Tax: l.Tax})
					return nil
				}); err != nil {
					return fmt.Errorf("lines given back: %w", err)
				}
				var list []invoice
				for _, b := range backs {
					// What was paid for nothing had no invoice.
					if b.InvoiceID != "" && len(lines[b.ID]) > 0 {
						note := creditNote(b.ID, b.OrderID, b.InvoiceID, b.BuyerID, b.Currency, lines[b.ID])
						note.Country, note.Buyer = b.Country, b.Buyer // to whom the tax was charged that it takes back
						list = append(list, note)
					}
				}
				if err := s.issue(ctx, tx, kindCreditNote, list); err != nil {
					return err
				}
				if _, err := tx.Exec(ctx, `UPDATE `+of.table+` SET credited = true WHERE id = ANY ($1)`, ids); err != nil {
					return err
				}
				return audit.Record(ctx, tx, audit.Entry{Action: "invoice.issued", After: map[string]any{"credit_notes": len(list)}})
			})
			total += n
			if err != nil {
				return total, err
			}
			if n < invoiceBatch {
				break
			}
		}
	}
	return total, nil
}

func creditNote(of, order, corrects, buyer, currency string, lines []invoiceLine) invoice {
	i := invoice{ID: id.New("invoice"), Kind: kindCreditNote, OrderID: order, RefundID: &of, Corrects: &corrects, BuyerID: buyer, Currency: currency, Lines: lines}
	for _, l := range lines {
		i.Total += l.Amount
		i.Tax += l.Tax
	}
	return i
}

func invoiceOf(o *order) invoice {
	i := invoice{ID: id.New("invoice"), Kind: kindInvoice, OrderID: o.ID, BuyerID: o.BuyerID, Currency: o.Currency}
	for _, l := range o.lines {
		i.Total += l.Amount
		i.Tax += l.Tax
		title := l.label()
		if o.PeriodEnd != nil {
			title += " (" + o.PeriodStart.UTC().Format(time.DateOnly) + " – " + o.PeriodEnd.UTC().Format(time.DateOnly) + ")"
		}
		i.Lines = append(i.Lines, invoiceLine{Title: title, Amount: l.Amount, Tax: l.Tax})
	}
	return i
}

// issue gives invoices of a kind their numbers and keeps them, with the seller as it is now.
func (s *Service) issue(ctx context.Context, tx *pg.Tx, kind string, list []invoice) error {
	if len(list) == 0 {
		return nil
	}
	series, last, now, err := s.takeNumbers(ctx, tx, kind, len(list))
	if err != nil {
		return fmt.Errorf("invoice numbers: %w", err)
	}
	batch := &pgx.Batch{}
	for n, i := range list {
		lines, err := json.Marshal(i.Lines)
		if err != nil {
			return err
		}
		seller, err := json.Marshal(s.Seller)
		if err != nil {
			return err
		}
		batch.Queue(`
			INSERT INTO invoice (`+invoiceColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
			i.ID, series, last-int64(len(list)-1-n), kind, i.OrderID, i.RefundID, i.Corrects, i.BuyerID, i.Country, now, i.Currency, i.Total, i.Tax, lines, seller, i.Buyer)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("invoices: %w", err)
	}
	return nil
}

// takeNumbers takes so many numbers for invoices of a kind. It returns their series, the last
// of them, and when they are issued: that is taken while the series is held, so that it grows
// with the numbers, and is in the year of the series, also where that ends meanwhile.
func (s *Service) takeNumbers(ctx context.Context, tx *pg.Tx, kind string, many int) (series string, last int64, at time.Time, err error) {
	for year := 0; ; {
		if at = s.now(); at.Year() == year {
			break
		}
		year = at.Year()
		if series = strconv.Itoa(year); kind == kindCreditNote {
			series = "C" + series
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO invoice_series (series, last) VALUES ($1, 0)
			ON CONFLICT ON CONSTRAINT invoice_series_pkey DO UPDATE SET last = invoice_series.last`, series); err != nil {
			return "", 0, at, err
		}
	}
	err = tx.QueryRow(ctx, `UPDATE invoice_series SET last = last + $2 WHERE series = $1 RETURNING last`, series, many).Scan(&last)
	return series, last, at, err
}

// invoiceServer is the contract of invoices.
type invoiceServer struct {
	commercepb.UnimplementedInvoiceServiceServer
	service *Service
}

// listInvoices returns a page of invoices.
func (h *invoiceServer) listInvoices(ctx context.Context, buyer string, pageSize int32, cursor string) (*commercepb.ListInvoicesResponse, error) {
	before, last, err := page.After(cursor)
	if err != nil {
		return nil, err
	}
	size := page.Size(pageSize)
	where, args := `(issued_at, id) < ($1, $2)`, []any{before, last, size + 1}
	if buyer != "" {
		where, args = where+` AND buyer_id = $4`, append(args, buyer)
	}
	rows, err := h.service.DB.Query(ctx, `SELECT `+invoiceColumns+` FROM invoice WHERE `+where+` ORDER BY issued_at DESC, id DESC LIMIT $3`, args...)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[invoice])
	if err != nil {
		return nil, fmt.Errorf("invoices: %w", err)
	}
	res := &commercepb.ListInvoicesResponse{}
	if len(list) > size {
		list = list[:size]
		res.NextCursor = page.TimeCursor(list[size-1].IssuedAt, list[size-1].ID)
	}
	for _, i := range list {
		res.Items = append(res.Items, i.message())
	}
	return res, nil
}

// ListMyInvoices implements the contract.
func (h *invoiceServer) ListMyInvoices(ctx context.Context, req *commercepb.ListMyInvoicesRequest) (*commercepb.ListInvoicesResponse, error) {
	return h.listInvoices(ctx, auth.From(ctx).Account, req.GetPageSize(), req.GetCursor())
}

// ListInvoices implements the contract.
func (h *invoiceServer) ListInvoices(ctx context.Context, req *commercepb.ListInvoicesRequest) (*commercepb.ListInvoicesResponse, error) {
	return h.listInvoices(ctx, "", req.GetPageSize(), req.GetCursor())
}
