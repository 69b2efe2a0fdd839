package commerce

import (
	"context"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// The development provider: a payment is the order's own payment_id, known only
// to the buyer; its page says "succeed" or "decline", and no money moves.

func (o *order) developmentPayment() *commercepb.DevelopmentPayment {
	p := &commercepb.DevelopmentPayment{Id: o.PaymentID, OrderId: o.ID, Total: o.total(), State: "open"}
	switch {
	case o.State == paid || o.State == fulfilled:
		p.State = "succeeded"
	case o.State != awaitingPayment:
		p.State = "closed"
	case o.PaymentDeclined:
		p.State = "declined"
	}
	for _, l := range o.lines {
		p.Titles = append(p.Titles, l.Title)
	}
	return p
}

// GetDevelopmentPayment implements the contract.
func (s *Service) GetDevelopmentPayment(ctx context.Context, req *commercepb.GetDevelopmentPaymentRequest) (*commercepb.DevelopmentPayment, error) {
	if !s.DevelopmentPayments {
		return nil, ErrPaymentNotFound
	}
	rows, err := s.DB.Query(ctx, `SELECT `+orderColumns+` FROM orders WHERE payment_id = $1`, req.GetPaymentId())
	orders, err := collectOrders(ctx, s.DB, rows, err)
	if err != nil {
		return nil, err
	}
	if len(orders) == 0 {
		return nil, ErrPaymentNotFound
	}
	return orders[0].developmentPayment(), nil
}

// SettleDevelopmentPayment implements the contract.
func (s *Service) SettleDevelopmentPayment(ctx context.Context, req *commercepb.SettleDevelopmentPaymentRequest) (*commercepb.DevelopmentPayment, error) {
	if !s.DevelopmentPayments {
		return nil, ErrPaymentNotFound
	}
	return idempotency.Do(ctx, s.DB, req, func(tx *pg.Tx) (*commercepb.DevelopmentPayment, error) {
		o, err := lockOrder(ctx, tx, ErrPaymentNotFound, `payment_id = $1`, req.GetPaymentId())
		if err != nil {
			return nil, err
		}
		switch o.State {
		case cancelled, expired:
			return nil, ErrPaymentClosed
		case awaitingPayment:
			if !s.now().Before(o.ExpiresAt) {
				return nil, ErrPaymentClosed
			}
			if err := s.settle(ctx, tx, &o, req.GetOutcome()); err != nil {
				return nil, err
			}
		}
		return o.developmentPayment(), nil
	})
}

func (s *Service) settle(ctx context.Context, tx *pg.Tx, o *order, outcome string) error {
	if outcome == "succeed" {
		return s.pay(ctx, tx, o, "paid at the development provider")
	}
	o.PaymentDeclined = true
	_, err := tx.Exec(ctx, `UPDATE orders SET payment_declined = true WHERE id = $1`, o.ID)
	if err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{Action: "payment.declined", Object: o.PaymentID, Person: o.BuyerID})
}
