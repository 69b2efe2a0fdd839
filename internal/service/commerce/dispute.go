package commerce

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// The states of a dispute.
const (
	disputeOpen = "open"
	disputeWon  = "won"
	disputeLost = "lost"
)

// The kinds of what is booked of disputes.
const (
	kindDispute        = "dispute"          // what the bank has taken until it is settled; shares are held
	kindDisputeFee     = "dispute_fee"      // what the provider takes for it
	kindDisputeFeeBack = "dispute_fee_back" // what it gives back of that
	kindDisputeWon     = "dispute_won"      // what came back
	kindDisputeLost    = "dispute_lost"     // what did not, taken from those who got it
)

// dispute is a payment that the buyer's bank wants back.
type dispute struct {
	ID        string
	OrderID   string
	PaymentID string
	Ref       string
	State     string
	Amount    int64
	Currency  string
	Fee       int64
	FeeBack   int64
	Reason    string
	DueBy     *time.Time
	OpenedAt  time.Time
	SettledAt *time.Time
	lines     []refundLine
}

const disputeColumns = `id, order_id, payment_id, ref, state, amount, currency, fee, fee_back, reason, due_by, opened_at, settled_at`

// disputes reads disputes and what of them is of which line.
func disputes(ctx context.Context, q pg.Querier, where string, args ...any) ([]dispute, error) {
	rows, err := q.Query(ctx, `SELECT `+disputeColumns+` FROM dispute WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[dispute])
	if err != nil || len(list) == 0 {
		return nil, err
	}
	at := make(map[string]int, len(list))
	ids := make([]string, len(list))
	for i, d := range list {
		at[d.ID], ids[i] = i, d.ID
	}
	rows, err = q.Query(ctx, `SELECT dispute_id, line_id, amount, tax FROM dispute_line WHERE dispute_id = ANY ($1) ORDER BY dispute_id, line_id`, ids)
	if err != nil {
		return nil, err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowToStructByPos[refundLine])
	if err != nil {
		return nil, fmt.Errorf("lines of disputes: %w", err)
	}
	for _, l := range lines {
		d := &list[at[l.RefundID]]
		d.lines = append(d.lines, l)
	}
	return list, nil
}

// heardDispute takes in how a dispute stands, in whatever order news comes: one that was
// won or lost is open no more.
func (s *Service) heardDispute(ctx context.Context, tx *pg.Tx, n DisputeNews) error {
	var err error
	if n.PaymentID, err = s.paymentNamed(ctx, tx, n.PaymentID, n.PaymentRef); err != nil {
		return err
	}
	o, err := lockOrder(ctx, tx, ErrPaymentNotFound, `payment_id = $1`, n.PaymentID)
	if err != nil {
		return err
	}
	if err := paidBefore(ctx, tx, o.PaymentID); err != nil {
		return err
	}
	list, err := disputes(ctx, tx, `payment_id = $1 AND ref = $2`, o.PaymentID, n.Ref)
	if err != nil {
		return err
	}
	var d dispute
	if len(list) > 0 {
		d = list[0]
	} else if d, err = s.disputeOpened(ctx, tx, &o, n); err != nil {
		return err
	}
	tx.Exempt("what changes by it is recorded")
	if n.Fee > d.Fee {
		if err := s.disputeFee(ctx, tx, &o, &d, n.Fee); err != nil {
			return err
		}
	}
	if n.FeeBack > d.FeeBack {
		if err := s.disputeFeeBack(ctx, tx, &o, &d, n.FeeBack); err != nil {
			return err
		}
	}
	switch {
	case d.State == disputeLost && n.State == disputeWon:
		return s.wonAfterAll(ctx, tx, &o, &d)
	case d.State != disputeOpen:
		return nil
	}
	if n.State != disputeOpen {
		return s.disputeSettled(ctx, tx, &o, &d, n.State)
	}
	if n.DueBy == nil || d.DueBy != nil && d.DueBy.Equal(n.DueBy.Truncate(time.Microsecond)) {
		return nil
	}
	_, err = tx.Exec(ctx, `UPDATE dispute SET due_by = $2 WHERE id = $1`, d.ID, *n.DueBy)
	return err
}

// disputeOpened takes in that the bank has taken some of a payment back. Nothing that was
// shared of its order is paid out until that is settled: what was released is held again.
func (s *Service) disputeOpened(ctx context.Context, tx *pg.Tx, o *order, n DisputeNews) (dispute, error) {
	now := s.now()
	d := dispute{
		ID: id.New("dispute"), OrderID: o.ID, PaymentID: o.PaymentID, Ref: n.Ref, State: disputeOpen, Amount: n.Amount, Currency: n.Currency,
		Reason: n.Reason, DueBy: n.DueBy, OpenedAt: now,
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO dispute (id, order_id, payment_id, ref, state, amount, currency, fee, reason, due_by, opened_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		d.ID, d.OrderID, d.PaymentID, d.Ref, d.State, d.Amount, d.Currency, d.Fee, d.Reason, d.DueBy, d.OpenedAt); err != nil {
		return d, err
	}
	e := entry{Key: kindDispute + ":" + d.ID, Kind: kindDispute, Order: o.ID, Postings: []posting{
		{Account: accountDisputed, Currency: d.Currency, Amount: d.Amount},
		{Account: accountProvider, Currency: d.Currency, Amount: -d.Amount},
	}}
	held, err := holdAgain(ctx, tx, o)
	if err != nil {
		return d, err
	}
	e.Postings = append(e.Postings, held...)
	if err := book(ctx, tx, now, e); err != nil {
		return d, err
	}
	if err := audit.Record(ctx, tx, audit.Entry{
		Action: "dispute.opened", Object: d.ID, Person: o.BuyerID, After: map[string]any{"order_id": o.ID, "amount": d.Amount, "currency": d.Currency, "due_by": d.DueBy},
	}); err != nil {
		return d, err
	}
	if err := bus.Publish(ctx, tx, &commercepb.DisputeOpened{DisputeId: d.ID, OrderId: o.ID, Lines: o.disputedLines(), OpenedAt: timestamppb.New(now)}); err != nil {
		return d, err
	}
	return d, s.settleOrder(ctx, tx, o, "the buyer's bank wants the money back")
}

// holdAgain freezes the lines of an order, and returns the postings that hold again what
// was released of them.
func holdAgain(ctx context.Context, tx *pg.Tx, o *order) ([]posting, error) {
	if _, err := lockLines(ctx, tx, o.ID); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `
		SELECT p.line_id, p.account, p.currency, sum(p.amount)::bigint
		FROM ledger_entry e JOIN ledger_posting p ON p.entry_id = e.id
		WHERE e.order_id = $1 AND p.line_id IS NOT NULL AND p.account LIKE 'teacher:%'
		GROUP BY p.line_id, p.account, p.currency HAVING sum(p.amount) <> 0 ORDER BY p.line_id, p.account`, o.ID)
	if err != nil {
		return nil, err
	}
	var out []posting
	var p posting
	if _, err := pgx.ForEachRow(rows, []any{&p.Line, &p.Account, &p.Currency, &p.Amount}, func() error {
		from, to := p, p
		from.Amount = -p.Amount
		to.Account = accountHeld + p.Account[len(accountTeacher):]
		out = append(out, from, to)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("released shares: %w", err)
	}
	_, err = tx.Exec(ctx, `UPDATE order_line SET frozen = true, held_again = held_again + released::int, released = false WHERE order_id = $1`, o.ID)
	return out, err
}

// disputeFee books what the provider takes for a dispute, once it is known, or more.
func (s *Service) disputeFee(ctx context.Context, tx *pg.Tx, o *order, d *dispute, fee int64) error {
	more := fee - d.Fee
	d.Fee = fee
	if _, err := tx.Exec(ctx, `UPDATE dispute SET fee = $2 WHERE id = $1`, d.ID, fee); err != nil {
		return err
	}
	return book(ctx, tx, s.now(), entry{Key: kindDisputeFee + ":" + d.ID + ":" + strconv.FormatInt(fee, 10), Kind: kindDisputeFee, Order: o.ID, Postings: []posting{
		{Account: accountProcessing, Currency: d.Currency, Amount: more},
		{Account: accountProvider, Currency: d.Currency, Amount: -more},
	}})
}

// disputeFeeBack books what the provider gives back of that, or more.
func (s *Service) disputeFeeBack(ctx context.Context, tx *pg.Tx, o *order, d *dispute, back int64) error {
	more := back - d.FeeBack
	d.FeeBack = back
	if _, err := tx.Exec(ctx, `UPDATE dispute SET fee_back = $2 WHERE id = $1`, d.ID, back); err != nil {
		return err
	}
	return book(ctx, tx, s.now(), entry{Key: kindDisputeFeeBack + ":" + d.ID + ":" + strconv.FormatInt(back, 10), Kind: kindDisputeFeeBack, Order: o.ID, Postings: []posting{
		{Account: accountProvider, Currency: d.Currency, Amount: more},
		{Account: accountProcessing, Currency: d.Currency, Amount: -more},
	}})
}

// wonAfterAll takes in that the bank has given back what it had kept of a dispute that was
// lost. What the buyer owed by it they owe no more. Of the rest everybody's share was taken
// back and access has ended, so that it is the platform's, whose staff say what comes of it.
func (s *Service) wonAfterAll(ctx context.Context, tx *pg.Tx, o *order, d *dispute) error {
	now := s.now()
	if _, err := tx.Exec(ctx, `UPDATE dispute SET state = 'won', settled_at = $2 WHERE id = $1`, d.ID, now); err != nil {
		return err
	}
	owed, err := owedToBuyer(ctx, tx, o.ID, d.Currency)
	if err != nil {
		return err
	}
	debt := min(max(-owed, 0), d.Amount)
	if err := book(ctx, tx, now, entry{Key: kindDisputeWon + ":" + d.ID, Kind: kindDisputeWon, Order: o.ID, Postings: []posting{
		{Account: accountProvider, Currency: d.Currency, Amount: d.Amount},
		{Account: accountBuyers, Currency: d.Currency, Amount: -debt},
		{Account: accountPlatform, Currency: d.Currency, Amount: debt - d.Amount},
	}}); err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{
		Action: "dispute.won_after_all", Object: d.ID, Person: o.BuyerID, Before: map[string]any{"state": disputeLost}, After: map[string]any{"state": disputeWon, "order_id": o.ID},
	})
}

// disputeSettled takes in that a dispute was won, and the money is back, or lost, which is
// as if it was given back.
func (s *Service) disputeSettled(ctx context.Context, tx *pg.Tx, o *order, d *dispute, state string) error {
	now := s.now()
	d.State, d.SettledAt = state, &now
	if _, err := tx.Exec(ctx, `UPDATE dispute SET state = $2, settled_at = $3 WHERE id = $1`, d.ID, state, now); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `
		UPDATE order_line SET frozen = false WHERE order_id = $1 AND NOT EXISTS (SELECT FROM dispute WHERE order_id = $1 AND state = 'open')`, o.ID); err != nil {
		return err
	}
	cause := "a dispute was won"
	if state == disputeWon {
		if err := book(ctx, tx, now, entry{Key: kindDisputeWon + ":" + d.ID, Kind: kindDisputeWon, Order: o.ID, Postings: []posting{
			{Account: accountProvider, Currency: d.Currency, Amount: d.Amount},
			{Account: accountDisputed, Currency: d.Currency, Amount: -d.Amount},
		}}); err != nil {
			return err
		}
	} else {
		cause = "a dispute was lost"
		taken, err := s.takeBack(ctx, tx, o, takeBack{
			key: kindDisputeLost + ":" + d.ID, kind: kindDisputeLost, from: accountDisputed, amount: d.Amount, currency: d.Currency, dispute: d.ID,
		})
		if err != nil {
			return err
		}
		ids, amounts, taxes := taken.columns()
		if _, err := tx.Exec(ctx, `INSERT INTO dispute_line (dispute_id, line_id, amount, tax) SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bigint[])`, d.ID, ids, amounts, taxes); err != nil {
			return err
		}
	}
	if err := audit.Record(ctx, tx, audit.Entry{
		Action: "dispute.settled", Object: d.ID, Person: o.BuyerID, Before: map[string]any{"state": disputeOpen}, After: map[string]any{"state": state, "order_id": o.ID},
	}); err != nil {
		return err
	}
	if err := bus.Publish(ctx, tx, &commercepb.DisputeSettled{
		DisputeId: d.ID, OrderId: o.ID, Lines: o.disputedLines(), Won: state == disputeWon, SettledAt: timestamppb.New(now),
	}); err != nil {
		return err
	}
	if state == disputeLost {
		if err := s.endSubscriptionOf(ctx, tx, o, endDisputed, cause); err != nil {
			return err
		}
	}
	return s.settleOrder(ctx, tx, o, cause)
}

// disputedLines are the lines of an order as events of a dispute have them.
func (o *order) disputedLines() []*commercepb.DisputedLine {
	out := make([]*commercepb.DisputedLine, len(o.lines))
	for i, l := range o.lines {
		out[i] = &commercepb.DisputedLine{LineId: l.ID, CourseId: l.CourseID, SellerId: l.SellerID, Title: l.Title}
	}
	return out
}
