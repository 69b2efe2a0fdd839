package commerce

import (
	"context"
	"time"

	"github.com/stoa-lms/stoa/internal/pg"
)

// What the development provider takes for a dispute, in hundredths of a unit, and how long
// evidence could be given.
const (
	developmentDisputeFee = 1500
	developmentEvidence   = 7 * 24 * time.Hour
)

// DisputeState implements [Provider].
func (d development) DisputeState(ctx context.Context, ref string) (*DisputeNews, error) {
	o, err := developmentObjectOf(ctx, d.DB, ref, "")
	if err != nil {
		return nil, err
	}
	return o.dispute(), nil
}

// dispute says how a dispute stands.
func (o developmentObject) dispute() *DisputeNews {
	return &DisputeNews{Ref: o.ID, PaymentRef: *o.PaymentID, Amount: o.Amount, Currency: o.Currency, Fee: developmentDisputeFee, State: o.State, Reason: "fraudulent"}
}

// settlePaid does what a button says of a payment that is paid: what somebody does by hand
// at a real provider, or the buyer's bank does.
func (d development) settlePaid(ctx context.Context, tx *pg.Tx, p developmentPayment, outcome string) error {
	switch outcome {
	case "succeed":
		tx.Exempt("it is paid")
		return nil
	case "refund":
		n, err := d.refundIn(ctx, tx, "refund-by-hand:"+p.ID, RefundRequest{PaymentRef: p.ID, Amount: p.Amount - p.Refunded, Currency: p.Currency})
		if err != nil {
			return ErrPaymentOutcome
		}
		return d.heardRefund(ctx, tx, n)
	case "renewals_fail", "renewals_succeed":
		return d.settleRenewals(ctx, tx, p, outcome)
	case "dispute":
		if p.Dispute != "" || p.Refunded == p.Amount {
			return ErrPaymentOutcome
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO development_object (id, kind, payment_id, amount, currency, state) VALUES ($1, 'dispute', $2, $3, $4, 'open')`,
			"dispute:"+p.ID, p.ID, p.Amount-p.Refunded, p.Currency); err != nil {
			return err
		}
	case "win_dispute", "lose_dispute":
		if p.Dispute != disputeOpen {
			return ErrPaymentOutcome
		}
	default:
		return ErrPaymentOutcome
	}
	o, err := developmentObjectOf(ctx, tx, "dispute:"+p.ID, "FOR UPDATE")
	if err != nil {
		return err
	}
	n := *o.dispute()
	n.State = map[string]string{"dispute": disputeOpen, "win_dispute": disputeWon, "lose_dispute": disputeLost}[outcome]
	moves := map[string]Transaction{
		disputeOpen: {Kind: "dispute", Amount: -o.Amount, Fee: developmentDisputeFee},
		disputeWon:  {Kind: "dispute_won", Amount: o.Amount},
	}
	if m, ok := moves[n.State]; ok {
		m.Ref, m.Currency = o.ID, o.Currency
		if err := d.move(ctx, tx, m); err != nil {
			return err
		}
	}
	if n.State == disputeOpen {
		due := d.now().Add(developmentEvidence)
		n.DueBy = &due
	}
	if _, err := tx.Exec(ctx, `UPDATE development_object SET state = $2 WHERE id = $1`, o.ID, n.State); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE development_payment SET dispute = $2, refunded = refunded + CASE WHEN $2 = 'lost' THEN $3 ELSE 0 END WHERE id = $1`, p.ID, n.State, o.Amount); err != nil {
		return err
	}
	return d.heardDispute(ctx, tx, n)
}
