package commerce

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
)

// The states of a payment.
const (
	paymentOpen       = "open"
	paymentProcessing = "processing" // it takes days, and may still fail
	paymentDeclined   = "declined"   // in news only: open, and may be tried again
	paymentSucceeded  = "succeeded"
	paymentClosed     = "closed"
)

// payment is how an order is paid.
type payment struct {
	ID       string
	OrderID  string
	Provider string
	Ref      *string
	URL      *string
	State    string
	Declined bool
	Amount   int64
	Currency string
	Received *int64
	Fee      *int64
	Surplus  bool
}

const paymentColumns = `id, order_id, provider, ref, url, state, declined, amount, currency, received, fee, surplus`

func paymentOf(ctx context.Context, q pg.Querier, id string) (payment, error) {
	rows, err := q.Query(ctx, `SELECT `+paymentColumns+` FROM payment WHERE id = $1`, id)
	if err != nil {
		return payment{}, err
	}
	p, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[payment])
	if pg.NoRows(err) {
		return payment{}, ErrPaymentNotFound
	}
	if err != nil {
		return payment{}, fmt.Errorf("payment: %w", err)
	}
	return p, nil
}

// openPayment begins the payment of an order that is placed in tx.
func (s *Service) openPayment(ctx context.Context, tx *pg.Tx, o *order) error {
	if _, err := tx.Exec(ctx, `
		INSERT INTO payment (id, order_id, provider, state, amount, currency, created_at, updated_at, next_look) VALUES ($1, $2, $3, 'open', $4, $5, $6, $6, $7)`,
		o.PaymentID, o.ID, s.provider.Name(), o.Total, o.Currency, o.CreatedAt, o.CreatedAt.Add(firstLook)); err != nil {
		return err
	}
	return s.ask(ctx, tx, callCheckout, o.PaymentID)
}

// carryCheckout has the provider make the page of a payment.
func (s *Service) carryCheckout(ctx context.Context, c call) error {
	p, err := paymentOf(ctx, s.DB, c.ObjectID)
	if err != nil {
		return err
	}
	rows, err := s.DB.Query(ctx, `SELECT `+orderColumns+` FROM orders WHERE id = $1`, p.OrderID)
	orders, err := collectOrders(ctx, s.DB, rows, err)
	if err != nil {
		return err
	}
	o := orders[0]
	want := Checkout{
		PaymentID: p.ID, OrderID: o.ID, Amount: p.Amount, Currency: p.Currency, ExpiresAt: o.ExpiresAt,
		ReturnURL: s.PublicURL + "/orders/" + o.ID,
	}
	for _, l := range o.lines {
		want.Lines = append(want.Lines, CheckoutLine{LineID: l.ID, Title: l.label(), Amount: l.Amount})
	}
	ref, url, err := s.checkout(ctx, c.Key, want, &o)
	if err != nil {
		return err
	}
	return s.DB.InTx(ctx, func(tx *pg.Tx) error {
		o, err := lockOrder(ctx, tx, ErrOrderNotFound, `id = $1`, p.OrderID)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE payment SET ref = $2, url = $3, updated_at = $4 WHERE id = $1`, p.ID, ref, url, s.now()); err != nil {
			return err
		}
		if o.State != awaitingPayment {
			// It ended meanwhile, when there was nothing to close.
			if err := s.ask(ctx, tx, callClose, p.ID); err != nil {
				return err
			}
		}
		tx.Exempt("where to pay is a secret of the buyer")
		return s.done(ctx, tx, c)
	})
}

// checkout has the provider make the page of an order: of one that is the first period of
// a subscription, with leave to charge the next.
func (s *Service) checkout(ctx context.Context, key string, want Checkout, o *order) (ref, url string, err error) {
	if o.SubscriptionID == nil {
		return s.provider.Checkout(ctx, key, want)
	}
	r := SubscribeRequest{Checkout: want, SubscriptionID: *o.SubscriptionID}
	r.ReturnURL = s.subscriptionURL(r.SubscriptionID)
	if err := s.DB.QueryRow(ctx, `SELECT s.every, p.title FROM subscription s JOIN plan p ON p.id = s.plan_id WHERE s.id = $1`, r.SubscriptionID).Scan(&r.Interval, &r.PlanTitle); err != nil {
		return "", "", fmt.Errorf("subscription: %w", err)
	}
	return s.provider.Subscribe(ctx, key, r)
}

// checkoutRefused closes the payment of an order that gets no page. Nobody can pay it: its
// buyer is not kept waiting for one, nor is what it holds.
func (s *Service) checkoutRefused(ctx context.Context, tx *pg.Tx, c call, _ string) error {
	o, err := lockOrder(ctx, tx, ErrOrderNotFound, `payment_id = $1`, c.ObjectID)
	if err != nil {
		return err
	}
	if o.State == awaitingPayment { // who closes the payment sees that it was refused
		return s.become(ctx, tx, &o, cancelled, "the payment provider does not take it", s.now())
	}
	return s.heardPayment(ctx, tx, PaymentNews{PaymentID: c.ObjectID, State: paymentClosed})
}

// carryClose has nobody pay an order that has ended.
func (s *Service) carryClose(ctx context.Context, c call) error {
	p, err := paymentOf(ctx, s.DB, c.ObjectID)
	if err != nil {
		return err
	}
	if p.Ref == nil {
		// It has no page yet; who makes it closes it, unless it was refused.
		return s.DB.InTx(ctx, func(tx *pg.Tx) error {
			if _, err := lockOrder(ctx, tx, ErrOrderNotFound, `id = $1`, p.OrderID); err != nil {
				return err
			}
			tx.Exempt("nothing is to be closed")
			now, err := paymentOf(ctx, tx, p.ID)
			if err != nil {
				return err
			}
			if now.Ref != nil {
				return fmt.Errorf("payment %s has got a page meanwhile, which is closed next", p.ID)
			}
			if _, err := tx.Exec(ctx, `DELETE FROM provider_call WHERE key = $1`, c.Key); err != nil {
				return err
			}
			var refused bool
			err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM provider_call WHERE key = $1 AND state = 'refused')`, callCheckout+":"+p.ID).Scan(&refused)
			if err != nil || !refused {
				return err
			}
			return s.heardPayment(ctx, tx, PaymentNews{PaymentID: p.ID, State: paymentClosed})
		})
	}
	news, err := s.provider.CloseCheckout(ctx, c.Key, *p.Ref)
	if err != nil {
		return err
	}
	return s.DB.InTx(ctx, func(tx *pg.Tx) error {
		if err := s.heardPayment(ctx, tx, news); err != nil {
			return err
		}
		tx.Exempt("what is heard is recorded where it changes something")
		return s.done(ctx, tx, c)
	})
}

// heardPayment takes in how a payment stands, in whatever order news comes.
func (s *Service) heardPayment(ctx context.Context, tx *pg.Tx, n PaymentNews) error {
	var err error
	if n.PaymentID, err = s.paymentNamed(ctx, tx, n.PaymentID, n.Ref); err != nil {
		return err
	}
	// The order is locked before its payment, by everybody.
	o, err := lockOrder(ctx, tx, ErrPaymentNotFound, `payment_id = $1`, n.PaymentID)
	if err != nil {
		return err
	}
	p, err := paymentOf(ctx, tx, n.PaymentID)
	if err != nil {
		return err
	}
	switch {
	case p.State == paymentSucceeded:
		return s.heardFee(ctx, tx, &o, &p, n) // nothing else is news after that
	case n.State == paymentSucceeded:
		return s.heardPaid(ctx, tx, &o, &p, n)
	case p.State == paymentClosed, n.State == p.State && (n.State != paymentDeclined || p.Declined):
		tx.Exempt("no news")
		return nil
	}
	state, declined := n.State, p.Declined
	if state == paymentDeclined {
		state, declined = paymentOpen, true
	}
	if state == p.State && declined == p.Declined {
		tx.Exempt("no news")
		return nil
	}
	if _, err := tx.Exec(ctx, `UPDATE payment SET state = $2, declined = $3, updated_at = $4 WHERE id = $1`, p.ID, state, declined, s.now()); err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{Action: "payment.changed", Object: p.ID, Person: o.BuyerID, After: map[string]any{"state": n.State}})
}

// paymentNamed returns the payment that news is of: by its id, or where the provider does
// not know that by what the provider calls it.
func (s *Service) paymentNamed(ctx context.Context, tx *pg.Tx, paymentID, ref string) (string, error) {
	if paymentID != "" {
		return paymentID, nil
	}
	err := tx.QueryRow(ctx, `SELECT id FROM payment WHERE provider = $1 AND ref = $2`, s.provider.Name(), ref).Scan(&paymentID)
	if pg.NoRows(err) {
		return "", errPaymentUnheard
	}
	return paymentID, err
}

// paidBefore refuses news of what went back of a payment, whose order is locked, until it is
// heard that it has succeeded: else what it bought would be given after all.
func paidBefore(ctx context.Context, tx *pg.Tx, paymentID string) error {
	p, err := paymentOf(ctx, tx, paymentID)
	if err == nil && p.State != paymentSucceeded {
		err = errPaymentUnheard
	}
	return err
}

// errPaymentUnheard is of news of a payment of which nobody has heard, or not that it has
// succeeded: that is heard of in a while.
var errPaymentUnheard = fault.New(fault.NotFound, "payment.unheard", "Nobody has heard of this payment yet.")

// heardPaid takes in that a payment has succeeded: the order is paid by it, or, when that
// has ended or another amount was paid, the money is the buyer's and goes back.
func (s *Service) heardPaid(ctx context.Context, tx *pg.Tx, o *order, p *payment, n PaymentNews) error {
	now := s.now()
	p.State, p.Received = paymentSucceeded, &n.Received
	p.Surplus = o.State != awaitingPayment || n.Received != p.Amount || n.Currency != p.Currency
	if _, err := tx.Exec(ctx, `UPDATE payment SET state = 'succeeded', received = $2, surplus = $3, updated_at = $4, looked = 0, next_look = $4::timestamptz + interval '1 minute' WHERE id = $1`, p.ID, n.Received, p.Surplus, now); err != nil {
		return err
	}
	if p.Surplus {
		if err := s.bookSurplus(ctx, tx, now, o, p, n); err != nil {
			return err
		}
		// What somebody at the provider gave back already is heard by itself.
		if left := n.Received - n.Returned; left > 0 {
			if _, err := s.giveBack(ctx, tx, o, left, n.Currency, ""); err != nil {
				return err
			}
		}
		if err := audit.Record(ctx, tx, audit.Entry{
			Action: "payment.surplus", Object: p.ID, Person: o.BuyerID,
			After: map[string]any{"received": n.Received, "currency": n.Currency, "order_state": o.State},
		}); err != nil {
			return err
		}
		if err := s.subscribedInVain(ctx, tx, o, n); err != nil {
			return err
		}
		return s.heardFee(ctx, tx, o, p, n)
	}
	tax, err := o.tax(n)
	if err != nil {
		return err
	}
	for i := range o.lines {
		l := &o.lines[i]
		if l.Tax = min(max(tax[i], 0), l.Amount); l.Tax == 0 {
			continue
		}
		if _, err := tx.Exec(ctx, `UPDATE order_line SET tax = $2 WHERE id = $1`, l.ID, l.Tax); err != nil {
			return err
		}
	}
	if err := s.periodPaid(ctx, tx, o, n); err != nil {
		return err
	}
	if err := s.pay(ctx, tx, o, "paid at the "+p.Provider+" provider", now); err != nil {
		return err
	}
	return s.heardFee(ctx, tx, o, p, n)
}

// tax returns what is tax of each line, as news says.
func (o *order) tax(n PaymentNews) ([]int64, error) {
	out := make([]int64, len(o.lines))
	amounts := make([]int64, len(o.lines))
	for i, l := range o.lines {
		out[i], amounts[i] = n.Tax[l.ID], l.Amount
	}
	if all := n.Tax[""]; all > 0 && o.Total > 0 {
		return share(min(all, o.Total), amounts)
	}
	return out, nil
}

// bookSurplus books what was paid for nothing: it is the buyer's.
func (s *Service) bookSurplus(ctx context.Context, tx *pg.Tx, now time.Time, o *order, p *payment, n PaymentNews) error {
	return book(ctx, tx, now, entry{Key: kindSurplus + ":" + p.ID, Kind: kindSurplus, Order: o.ID, Postings: []posting{
		{Account: accountProvider, Currency: n.Currency, Amount: n.Received},
		{Account: accountBuyers, Currency: n.Currency, Amount: -n.Received},
	}})
}

// heardFee books what the provider keeps of a payment, once it is known.
func (s *Service) heardFee(ctx context.Context, tx *pg.Tx, o *order, p *payment, n PaymentNews) error {
	if p.Fee != nil || n.Fee == nil {
		tx.Exempt("no news")
		return nil
	}
	if _, err := tx.Exec(ctx, `UPDATE payment SET fee = $2, updated_at = $3 WHERE id = $1`, p.ID, *n.Fee, s.now()); err != nil {
		return err
	}
	if *n.Fee != 0 {
		if err := book(ctx, tx, s.now(), entry{Key: kindFee + ":" + p.ID, Kind: kindFee, Order: o.ID, Postings: []posting{
			{Account: accountProcessing, Currency: n.Currency, Amount: *n.Fee},
			{Account: accountProvider, Currency: n.Currency, Amount: -*n.Fee},
		}}); err != nil {
			return err
		}
	}
	return audit.Record(ctx, tx, audit.Entry{Action: "payment.fee_known", Object: p.ID, Person: o.BuyerID, After: map[string]any{"fee": *n.Fee, "currency": n.Currency}})
}
