package commerce

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// The kinds of what is booked of refunds.
const (
	kindRefund       = "refund"        // what was given back
	kindRefundFailed = "refund_failed" // what came back of that: it is the buyer's
)

// heardRefund takes in how a refund stands, in whatever order news comes: one that has
// succeeded is pending no more, and one that has failed is nothing else any more.
func (s *Service) heardRefund(ctx context.Context, tx *pg.Tx, n RefundNews) error {
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
	r, err := s.refundHeardOf(ctx, tx, &o, n)
	if err != nil {
		return err
	}
	if r.Ref == nil {
		if _, err := tx.Exec(ctx, `UPDATE refund SET ref = $2 WHERE id = $1`, r.ID, n.Ref); err != nil {
			return err
		}
	}
	tx.Exempt("what changes by it is recorded")
	switch {
	case n.State == refundSucceeded && (r.State == refundPending || r.State == refundFailed && r.Ref == nil):
		return s.refundSucceeded(ctx, tx, &o, &r, n.Amount, n.Currency)
	case n.State == refundFailed && r.State != refundFailed:
		return s.refundFailed(ctx, tx, &o, &r, n.FailReason)
	default:
		return nil
	}
}

// refundHeardOf finds the refund that news is of. One that nobody here has asked for is
// made: it was given back by hand.
func (s *Service) refundHeardOf(ctx context.Context, tx *pg.Tx, o *order, n RefundNews) (refund, error) {
	if n.Ref == "" {
		return refund{}, fmt.Errorf("news of a refund of payment %s without a name", n.PaymentID)
	}
	r, err := oneRefund(ctx, tx, `payment_id = $1 AND ref = $2`, o.PaymentID, n.Ref)
	if !fault.Is(err, fault.NotFound) {
		return r, err
	}
	if n.RefundID != "" {
		r, err = oneRefund(ctx, tx, `payment_id = $1 AND id = $2 AND ref IS NULL`, o.PaymentID, n.RefundID)
		if !fault.Is(err, fault.NotFound) {
			return r, err
		}
	}
	r = refund{
		ID: id.New("refund"), OrderID: o.ID, PaymentID: o.PaymentID, Source: refundAtProvider, State: refundPending,
		Amount: n.Amount, Currency: n.Currency, Reason: "requested_by_customer", Ref: &n.Ref, CreatedAt: s.now(),
	}
	return r, insertRefund(ctx, tx, &r)
}

// refundSucceeded takes in that a refund of an order, which is locked, was given back: so
// much of it.
func (s *Service) refundSucceeded(ctx context.Context, tx *pg.Tx, o *order, r *refund, amount int64, currency string) error {
	now := s.now()
	was := r.State
	if was == refundPending {
		if err := unreserve(ctx, tx, r); err != nil {
			return err
		}
	}
	r.State, r.Amount, r.Currency, r.Booked, r.SettledAt = refundSucceeded, amount, currency, true, &now
	b := takeBack{
		key: kindRefund + ":" + r.ID, kind: kindRefund, from: accountProvider, amount: amount, currency: currency, endsAccess: r.EndsAccess, refund: r.ID,
	}
	for _, l := range r.lines {
		b.wishes = append(b.wishes, wish{l.LineID, l.Amount})
	}
	b.toBuyers = r.Source == refundOfSurplus
	taken, err := s.takeBack(ctx, tx, o, b)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE refund SET state = 'succeeded', amount = $2, currency = $3, booked = true, settled_at = $4, fail_reason = '' WHERE id = $1`, r.ID, amount, currency, now); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM refund_line WHERE refund_id = $1`, r.ID); err != nil {
		return err
	}
	r.lines = nil
	ids, amounts, taxes := taken.columns()
	for i, l := range ids {
		r.lines = append(r.lines, refundLine{r.ID, l, amounts[i], taxes[i]})
	}
	if _, err := tx.Exec(ctx, `INSERT INTO refund_line (refund_id, line_id, amount, tax) SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bigint[])`, r.ID, ids, amounts, taxes); err != nil {
		return err
	}
	if b.toBuyers {
		if err := paymentReturned(ctx, tx, o, r); err != nil {
			return err
		}
	}
	// What was paid for nothing is given back once all of it is.
	if _, err := tx.Exec(ctx, `
		UPDATE payment SET surplus = false, updated_at = $2
		WHERE id = $1 AND surplus AND received <= (SELECT sum(amount) FROM refund WHERE payment_id = $1 AND state = 'succeeded' AND currency = $3)`, o.PaymentID, now, r.Currency); err != nil {
		return err
	}
	if err := audit.Record(ctx, tx, audit.Entry{
		Action: "refund.succeeded", Object: r.ID, Person: o.BuyerID, Before: map[string]any{"state": was},
		After: map[string]any{"order_id": o.ID, "source": r.Source, "amount": amount, "currency": currency},
	}); err != nil {
		return err
	}
	return s.settleOrder(ctx, tx, o, "money was given back")
}

// paymentReturned tells that money which belongs to no line went back.
func paymentReturned(ctx context.Context, tx *pg.Tx, o *order, r *refund) error {
	e := &commercepb.PaymentReturned{
		OrderId: o.ID, BuyerId: o.BuyerID, RefundId: r.ID, Amount: &moneypb.Money{Amount: r.Amount, Currency: r.Currency}, ReturnedAt: timestamppb.New(*r.SettledAt),
	}
	if err := tx.QueryRow(ctx, `SELECT surplus FROM payment WHERE id = $1`, r.PaymentID).Scan(&e.Unused); err != nil {
		return err
	}
	return bus.Publish(ctx, tx, e)
}

// unreserve lets go of what a refund reserved.
func unreserve(ctx context.Context, tx *pg.Tx, r *refund) error {
	_, err := tx.Exec(ctx, `UPDATE order_line l SET reserved = l.reserved - r.amount FROM refund_line r WHERE r.refund_id = $1 AND l.id = r.line_id`, r.ID)
	return err
}

// refundFailed takes in that a refund of an order, which is locked, was not given back. If
// it was before, the money is with the platform again and still the buyer's: what was
// ended stays ended.
func (s *Service) refundFailed(ctx context.Context, tx *pg.Tx, o *order, r *refund, why string) error {
	now := s.now()
	was := r.State
	if r.Booked {
		if err := book(ctx, tx, now, entry{Key: kindRefundFailed + ":" + r.ID, Kind: kindRefundFailed, Order: o.ID, Postings: []posting{
			{Account: accountProvider, Currency: r.Currency, Amount: r.Amount},
			{Account: accountBuyers, Currency: r.Currency, Amount: -r.Amount},
		}}); err != nil {
			return err
		}
	} else if err := unreserve(ctx, tx, r); err != nil {
		return err
	}
	r.State, r.FailReason, r.SettledAt = refundFailed, why, &now
	if _, err := tx.Exec(ctx, `UPDATE refund SET state = 'failed', fail_reason = $2, settled_at = $3 WHERE id = $1`, r.ID, why, now); err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{
		Action: "refund.failed", Object: r.ID, Person: o.BuyerID, Before: map[string]any{"state": was},
		After: map[string]any{"order_id": o.ID, "source": r.Source, "amount": r.Amount, "currency": r.Currency},
	})
}
