package commerce

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/pg"
)

// The kinds of what is booked.
const (
	kindSale    = "sale"    // what a buyer paid, to the platform and to teachers whose shares are held
	kindRelease = "release" // a line's shares, from held to what can be paid out
	kindFee     = "fee"     // what the provider keeps of a payment
	kindSurplus = "surplus" // what was paid for nothing, to go back
)

// holdFor is how long the teachers' shares of a sale are held: as long as buyers may
// ask for their money back.
const holdFor = 30 * 24 * time.Hour

// saleEntry is a paid order as it is booked: what the provider has got, against the
// tax, the platform's share of each line and those of its teachers in what is left.
func saleEntry(o *order) (entry, error) {
	e := entry{Key: kindSale + ":" + o.ID, Kind: kindSale, Order: o.ID}
	for _, l := range o.lines {
		platform, teachers, err := l.parts()
		if err != nil {
			return entry{}, fmt.Errorf("line %s: %w", l.ID, err)
		}
		e.Postings = append(e.Postings,
			posting{Account: accountProvider, Currency: o.Currency, Amount: l.Amount, Line: l.ID},
			posting{Account: accountTax, Currency: o.Currency, Amount: -l.Tax, Line: l.ID},
			posting{Account: accountPlatform, Currency: o.Currency, Amount: -platform, Line: l.ID})
		for _, t := range teachers {
			e.Postings = append(e.Postings, posting{Account: accountHeld + t.AccountID, Currency: o.Currency, Amount: -t.amount, Line: l.ID})
		}
	}
	return e, nil
}

// teacherAmount is what a teacher gets of a line.
type teacherAmount struct {
	teacherShare
	amount int64
}

// parts divides what is left of a line without its tax: first between the platform and
// its teachers, then what these get among them.
func (l line) parts() (platform int64, teachers []teacherAmount, err error) {
	keeps := defaultPlatformShare
	if l.PlatformShare != nil {
		keeps = *l.PlatformShare
	}
	two, err := share(l.Amount-l.Tax, []int64{int64(keeps), int64(allShares - keeps)})
	if err != nil {
		return 0, nil, err
	}
	shares := l.shares
	if len(shares) == 0 {
		shares = []teacherShare{{AccountID: l.SellerID, BasisPoints: allShares}}
	}
	weights := make([]int64, len(shares))
	for i, t := range shares {
		weights[i] = int64(t.BasisPoints)
	}
	amounts, err := share(two[1], weights)
	if err != nil {
		return 0, nil, err
	}
	for i, t := range shares {
		teachers = append(teachers, teacherAmount{t, amounts[i]})
	}
	return two[0], teachers, nil
}

// bookSales books orders that are paid and locked, with their lines.
func (s *Service) bookSales(ctx context.Context, tx *pg.Tx, now time.Time, orders []*order) error {
	if err := withShares(ctx, tx, orders); err != nil {
		return err
	}
	var entries []entry
	ids := make([]string, len(orders))
	for i, o := range orders {
		ids[i] = o.ID
		e, err := saleEntry(o)
		if err != nil {
			return err
		}
		if o.Total > 0 { // of nothing nothing is booked
			entries = append(entries, e)
		}
	}
	if err := book(ctx, tx, now, entries...); err != nil {
		return err
	}
	batch := &pgx.Batch{}
	batch.Queue(`UPDATE orders SET booked = true WHERE id = ANY ($1)`, ids)
	batch.Queue(`UPDATE order_line SET held_until = paid_at + $2::interval WHERE order_id = ANY ($1)`, ids, holdFor)
	return tx.SendBatch(ctx, batch).Close()
}

// withShares reads how the lines of orders are shared.
func withShares(ctx context.Context, q pg.Querier, orders []*order) error {
	at := map[string]*line{}
	var ids []string
	for _, o := range orders {
		for i := range o.lines {
			l := &o.lines[i]
			l.shares = nil
			at[l.ID] = l
			ids = append(ids, l.ID)
		}
	}
	rows, err := q.Query(ctx, `SELECT line_id, account_id, basis_points FROM order_line_share WHERE line_id = ANY ($1) ORDER BY line_id, position`, ids)
	if err != nil {
		return err
	}
	var (
		id string
		t  teacherShare
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &t.AccountID, &t.BasisPoints}, func() error {
		at[id].shares = append(at[id].shares, t)
		return nil
	})
	if err != nil {
		return fmt.Errorf("shares of lines: %w", err)
	}
	return nil
}

// bookBatch bounds how much one transaction books.
const bookBatch = 100

// bookUnbooked books orders that were paid before there was a ledger, and returns how
// many.
func (s *Service) bookUnbooked(ctx context.Context) (int, error) {
	total := 0
	for {
		n := 0
		err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
			rows, err := tx.Query(ctx, `
				SELECT `+orderColumns+` FROM orders WHERE paid_at IS NOT NULL AND NOT booked ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED`, bookBatch)
			orders, err := collectOrders(ctx, tx, rows, err)
			if n = len(orders); err != nil || n == 0 {
				return err
			}
			list := make([]*order, n)
			for i := range orders {
				list[i] = &orders[i]
			}
			if err := s.bookSales(ctx, tx, s.now(), list); err != nil {
				return err
			}
			return audit.Record(ctx, tx, audit.Entry{Action: "ledger.booked", Reason: "paid before there was a ledger", After: map[string]any{"orders": n}})
		})
		total += n
		if err != nil || n < bookBatch {
			return total, err
		}
	}
}

// release books what is still held of lines to what can be paid out, once nobody can ask
// for it back, and returns of how many lines. What is disputed, about to be given back or
// asked back waits until that is settled.
func (s *Service) release(ctx context.Context) (int, error) {
	total := 0
	for {
		n := 0
		err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
			now := s.now()
			rows, err := tx.Query(ctx, `
				SELECT id, order_id, held_again FROM order_line l
				WHERE held_until <= $1 AND NOT released AND NOT frozen AND reserved = 0
					AND NOT EXISTS (SELECT FROM refund_request r WHERE r.line_id = l.id AND r.state = 'open')
				ORDER BY held_until, id LIMIT $2 FOR UPDATE OF l SKIP LOCKED`, now, bookBatch)
			if err != nil {
				return err
			}
			type held struct {
				ID, OrderID string
				Again       int
			}
			lines, err := pgx.CollectRows(rows, pgx.RowToStructByPos[held])
			if n = len(lines); err != nil || n == 0 {
				return err
			}
			ids, entries := make([]string, n), make([]entry, n)
			for i, l := range lines {
				ids[i], entries[i] = l.ID, entry{Key: kindRelease + ":" + l.ID, Kind: kindRelease, Order: l.OrderID}
				if l.Again > 0 { // it was released before, and held again
					entries[i].Key += ":" + strconv.Itoa(l.Again)
				}
			}
			// What is still held of each line, whatever it was made of.
			rows, err = tx.Query(ctx, `
				SELECT p.line_id, p.account, p.currency, sum(p.amount)::bigint
				FROM order_line l JOIN ledger_entry e ON e.order_id = l.order_id JOIN ledger_posting p ON p.entry_id = e.id AND p.line_id = l.id
				WHERE l.id = ANY ($1) AND p.account LIKE 'held:%' GROUP BY p.line_id, p.account, p.currency HAVING sum(p.amount) <> 0 ORDER BY p.line_id, p.account`, ids)
			if err != nil {
				return err
			}
			var p posting
			if _, err := pgx.ForEachRow(rows, []any{&p.Line, &p.Account, &p.Currency, &p.Amount}, func() error {
				e := &entries[slices.Index(ids, p.Line)]
				to := p
				to.Account = accountTeacher + p.Account[len(accountHeld):]
				from := p
				from.Amount = -p.Amount
				e.Postings = append(e.Postings, from, to)
				return nil
			}); err != nil {
				return fmt.Errorf("held shares: %w", err)
			}
			entries = slices.DeleteFunc(entries, func(e entry) bool { return len(e.Postings) == 0 })
			if err := book(ctx, tx, now, entries...); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `UPDATE order_line SET released = true WHERE id = ANY ($1)`, ids); err != nil {
				return err
			}
			return audit.Record(ctx, tx, audit.Entry{Action: "share.released", After: map[string]any{"lines": n}})
		})
		total += n
		if err != nil || n < bookBatch {
			return total, err
		}
	}
}
