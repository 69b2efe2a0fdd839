package commerce

import (
	"context"
	"time"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

const (
	// checkEvery is how often at most the payment of an order is looked up for its buyer,
	// whoever asks how often in how many processes.
	checkEvery = 5 * time.Second
	// checkTimeout is how long they wait for it.
	checkTimeout = 8 * time.Second
)

// LookUpOrderPayment implements the contract.
func (s *Service) LookUpOrderPayment(ctx context.Context, req *commercepb.LookUpOrderPaymentRequest) (*commercepb.Order, error) {
	if err := s.checkPayment(ctx, req.GetOrderId(), auth.From(ctx).Account); err != nil {
		return nil, err
	}
	return s.GetOrder(ctx, &commercepb.GetOrderRequest{OrderId: req.GetOrderId()})
}

// checkPayment looks up how the payment of a buyer's order stands, if nobody knows how it
// ended and it was not looked up just now. That the provider does not answer is no failure:
// it is looked up again by itself.
func (s *Service) checkPayment(ctx context.Context, orderID, buyer string) error {
	if s.provider == nil {
		return nil
	}
	var ref *string
	now := s.now()
	if err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a lease")
		err := tx.QueryRow(ctx, `
			UPDATE payment p SET checked_at = $3 FROM orders o
			WHERE o.id = $1 AND o.buyer_id = $2 AND p.id = o.payment_id AND p.provider = $5 AND p.ref IS NOT NULL AND p.state IN ('open', 'processing')
				AND (p.checked_at IS NULL OR p.checked_at <= $4)
			RETURNING p.ref`, orderID, buyer, now, now.Add(-checkEvery), s.provider.Name()).Scan(&ref)
		if pg.NoRows(err) {
			return nil
		}
		return err
	}); err != nil || ref == nil {
		return err
	}
	one, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	news, err := s.provider.Payment(one, *ref)
	if err != nil {
		s.Log.WarnContext(ctx, "a payment could not be looked up", "ref", *ref, "error", err.Error())
		return nil // the order is returned as it stands
	}
	return s.DB.InTx(ctx, func(tx *pg.Tx) error { return s.heardPayment(ctx, tx, news) })
}
