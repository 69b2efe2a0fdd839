package commerce

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// development is the provider of installations where no money moves. Its pay page says
// what becomes of a payment; who has its address is the buyer. What a real provider has
// with itself is in tables of its own, which nothing but this file reads.
type development struct{ *Service }

var _ Provider = development{}

// What it keeps of a payment, in hundredths of a percent.
const developmentFee = 200

// Name implements [Provider].
func (development) Name() string { return "development" }

// Checkout implements [Provider].
func (d development) Checkout(ctx context.Context, _ string, c Checkout) (ref, url string, err error) {
	err = d.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("the provider's own books")
		_, err := tx.Exec(ctx, `INSERT INTO development_payment (id, amount, currency, state) VALUES ($1, $2, $3, 'open') ON CONFLICT DO NOTHING`, c.PaymentID, c.Amount, c.Currency)
		return err
	})
	return c.PaymentID, d.PublicURL + "/pay/" + c.PaymentID, err
}

type developmentPayment struct {
	ID       string
	Amount   int64
	Currency string
	State    string
	Refunded int64
	Dispute  string
	// Of a period of a subscription: which, and once it is paid when the period is.
	SubscriptionID *string
	PeriodStart    *time.Time
	PeriodEnd      *time.Time
}

const developmentPaymentColumns = `id, amount, currency, state, refunded, dispute, subscription_id, period_start, period_end`

func (p developmentPayment) news() PaymentNews {
	n := PaymentNews{PaymentID: p.ID, Ref: p.ID, State: p.State, Currency: p.Currency}
	if p.State == paymentSucceeded {
		fee := p.fee()
		n.Received, n.Returned, n.Fee = p.Amount, p.Refunded, &fee
		if p.SubscriptionID != nil {
			n.SubscriptionRef, n.PeriodStart, n.PeriodEnd = *p.SubscriptionID, *p.PeriodStart, *p.PeriodEnd
		}
	}
	return n
}

func (p developmentPayment) fee() int64 { return p.Amount * developmentFee / int64(allShares) }

func developmentPaymentOf(ctx context.Context, q pg.Querier, id, lock string) (developmentPayment, error) {
	rows, err := q.Query(ctx, `SELECT `+developmentPaymentColumns+` FROM development_payment WHERE id = $1 `+lock, id)
	if err != nil {
		return developmentPayment{}, err
	}
	p, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[developmentPayment])
	if pg.NoRows(err) {
		return p, ErrPaymentNotFound
	}
	return p, err
}

// CloseCheckout implements [Provider].
func (d development) CloseCheckout(ctx context.Context, _, ref string) (n PaymentNews, err error) {
	err = d.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("the provider's own books")
		p, err := developmentPaymentOf(ctx, tx, ref, "FOR UPDATE")
		if err != nil {
			return err
		}
		if p.State == paymentOpen || p.State == paymentDeclined {
			p.State = paymentClosed
		}
		n = p.news()
		if _, err := tx.Exec(ctx, `UPDATE development_payment SET state = $2 WHERE id = $1`, p.ID, p.State); err != nil || p.State != paymentClosed {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE development_subscription SET state = 'ended', ended_at = $2 WHERE first_payment = $1 AND state = 'incomplete'`, p.ID, d.now())
		return err
	})
	return n, err
}

// Payment implements [Provider].
func (d development) Payment(ctx context.Context, ref string) (PaymentNews, error) {
	p, err := developmentPaymentOf(ctx, d.DB, ref, "")
	n := p.news()
	if err == nil && p.SubscriptionID != nil {
		// It knows our name of what was made by a page, and of nothing else.
		err = d.DB.QueryRow(ctx, `SELECT coalesce((SELECT first_payment FROM development_subscription WHERE first_payment = $1), '')`, p.ID).Scan(&n.PaymentID)
	}
	return n, err
}

// move writes down that the balance was moved.
func (d development) move(ctx context.Context, tx *pg.Tx, t Transaction) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO development_transaction (kind, ref, amount, fee, currency, at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT ON CONSTRAINT development_transaction_once DO NOTHING`, t.Kind, t.Ref, t.Amount, t.Fee, t.Currency, d.now())
	return err
}

// Refund implements [Provider].
func (d development) Refund(ctx context.Context, key string, r RefundRequest) (n RefundNews, err error) {
	err = d.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("the provider's own books")
		n, err = d.refundIn(ctx, tx, key, r)
		return err
	})
	return n, err
}

func (d development) refundIn(ctx context.Context, tx *pg.Tx, key string, r RefundRequest) (RefundNews, error) {
	p, err := developmentPaymentOf(ctx, tx, r.PaymentRef, "FOR UPDATE")
	if err != nil {
		return RefundNews{}, err
	}
	n := RefundNews{RefundID: r.RefundID, Ref: key, PaymentRef: p.ID, Amount: r.Amount, Currency: r.Currency, State: refundSucceeded}
	made, err := tx.Exec(ctx, `
		INSERT INTO development_object (id, kind, payment_id, account, amount, currency, state) VALUES ($1, 'refund', $2, $3, $4, $5, 'succeeded')
		ON CONFLICT DO NOTHING`, key, p.ID, r.RefundID, r.Amount, r.Currency)
	if err != nil || made.RowsAffected() == 0 {
		return n, err
	}
	if p.State != paymentSucceeded || p.Dispute == disputeOpen || r.Currency != p.Currency || r.Amount <= 0 || r.Amount > p.Amount-p.Refunded {
		return n, fault.New(fault.Invalid, "refund.refused", "There is not that much to give back.")
	}
	if _, err := tx.Exec(ctx, `UPDATE development_payment SET refunded = refunded + $2 WHERE id = $1`, p.ID, r.Amount); err != nil {
		return n, err
	}
	return n, d.move(ctx, tx, Transaction{Kind: "refund", Ref: key, Amount: -r.Amount, Currency: r.Currency})
}

type developmentObject struct {
	ID        string
	Kind      string
	PaymentID *string
	Account   *string
	Amount    int64
	Currency  string
	State     string
	Reversed  int64
}

func developmentObjectOf(ctx context.Context, q pg.Querier, id, lock string) (developmentObject, error) {
	rows, err := q.Query(ctx, `SELECT id, kind, payment_id, account, amount, currency, state, reversed FROM development_object WHERE id = $1 `+lock, id)
	if err != nil {
		return developmentObject{}, err
	}
	o, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[developmentObject])
	if pg.NoRows(err) {
		return o, fault.New(fault.NotFound, "payment.provider_unknown", "The provider does not know it.")
	}
	return o, err
}

// RefundState implements [Provider].
func (d development) RefundState(ctx context.Context, ref string) (RefundNews, error) {
	o, err := developmentObjectOf(ctx, d.DB, ref, "")
	if err != nil {
		return RefundNews{}, err
	}
	return RefundNews{RefundID: *o.Account, Ref: o.ID, PaymentRef: *o.PaymentID, Amount: o.Amount, Currency: o.Currency, State: o.State}, nil
}

// CreateAccount implements [Provider]: the account is ready at once.
func (d development) CreateAccount(ctx context.Context, key, teacher string) (AccountNews, error) {
	err := d.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("the provider's own books")
		_, err := tx.Exec(ctx, `INSERT INTO development_object (id, kind, account, state) VALUES ($1, 'account', $2, 'ready') ON CONFLICT DO NOTHING`, key, teacher)
		return err
	})
	return AccountNews{TeacherID: teacher, Ref: key, Ready: true}, err
}

// AccountState implements [Provider].
func (d development) AccountState(ctx context.Context, ref string) (AccountNews, error) {
	o, err := developmentObjectOf(ctx, d.DB, ref, "")
	if err != nil {
		return AccountNews{}, err
	}
	return AccountNews{TeacherID: *o.Account, Ref: o.ID, Ready: o.State == "ready"}, nil
}

// OnboardingURL implements [Provider]: there is nothing to say.
func (development) OnboardingURL(_ context.Context, _, back string) (string, error) { return back, nil }

// Transfer implements [Provider].
func (d development) Transfer(ctx context.Context, key string, t TransferRequest) (string, error) {
	err := d.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("the provider's own books")
		made, err := tx.Exec(ctx, `
			INSERT INTO development_object (id, kind, account, amount, currency, state) VALUES ($1, 'transfer', $2, $3, $4, 'done') ON CONFLICT DO NOTHING`,
			key, t.AccountRef, t.Amount, t.Currency)
		if err != nil || made.RowsAffected() == 0 {
			return err
		}
		return d.move(ctx, tx, Transaction{Kind: "transfer", Ref: key, Amount: -t.Amount, Currency: t.Currency})
	})
	return key, err
}

// ReverseTransfer implements [Provider].
func (d development) ReverseTransfer(ctx context.Context, key, ref string, amount int64) error {
	return d.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("the provider's own books")
		o, err := developmentObjectOf(ctx, tx, ref, "FOR UPDATE")
		if err != nil {
			return err
		}
		made, err := tx.Exec(ctx, `
			INSERT INTO development_object (id, kind, account, amount, currency, state) VALUES ($1, 'reversal', $2, $3, $4, 'done') ON CONFLICT DO NOTHING`,
			key, *o.Account, amount, o.Currency)
		if err != nil || made.RowsAffected() == 0 {
			return err
		}
		if amount <= 0 || amount > o.Amount-o.Reversed {
			return fault.New(fault.Invalid, "payout.reversal_refused", "There is not that much to take back.")
		}
		if _, err := tx.Exec(ctx, `UPDATE development_object SET reversed = reversed + $2 WHERE id = $1`, o.ID, amount); err != nil {
			return err
		}
		return d.move(ctx, tx, Transaction{Kind: "reversal", Ref: key, Amount: amount, Currency: o.Currency})
	})
}

// Transactions implements [Provider].
func (d development) Transactions(ctx context.Context, after string) (list []Transaction, last string, err error) {
	from := int64(0)
	if after != "" {
		if from, err = strconv.ParseInt(after, 10, 64); err != nil {
			return nil, "", fmt.Errorf("the provider's cursor %q: %w", after, err)
		}
	}
	rows, err := d.DB.Query(ctx, `SELECT id::text, kind, ref, amount, fee, currency, at FROM development_transaction t WHERE id > $1 ORDER BY t.id LIMIT 100`, from)
	if err != nil {
		return nil, "", err
	}
	if list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Transaction]); err != nil {
		return nil, "", fmt.Errorf("the provider's transactions: %w", err)
	}
	if last = after; len(list) > 0 {
		last = list[len(list)-1].ID
	}
	return list, last, nil
}

// page is the pay page of a payment.
func (p developmentPayment) page(o *order) *commercepb.DevelopmentPayment {
	m := &commercepb.DevelopmentPayment{
		Id: p.ID, OrderId: o.ID, Total: o.total(), State: p.State, Dispute: p.Dispute, Refunded: &moneypb.Money{Amount: p.Refunded, Currency: p.Currency},
	}
	if o.State == cancelled || o.State == expired {
		m.State = paymentClosed
	}
	for _, l := range o.lines {
		m.Titles = append(m.Titles, l.label())
	}
	return m
}

// GetDevelopmentPayment implements the contract.
func (s *Service) GetDevelopmentPayment(ctx context.Context, req *commercepb.GetDevelopmentPaymentRequest) (*commercepb.DevelopmentPayment, error) {
	if !s.DevelopmentPayments {
		return nil, ErrPaymentNotFound
	}
	p, err := developmentPaymentOf(ctx, s.DB, req.GetPaymentId(), "")
	if err != nil {
		return nil, err
	}
	rows, err := s.DB.Query(ctx, `SELECT `+orderColumns+` FROM orders WHERE `+ofDevelopmentPayment, p.ID)
	orders, err := collectOrders(ctx, s.DB, rows, err)
	if err != nil {
		return nil, err
	}
	if len(orders) == 0 {
		return nil, ErrPaymentNotFound // of a period of which nobody has heard
	}
	return s.developmentPage(ctx, s.DB, p, &orders[0])
}

// ofDevelopmentPayment finds the order of a payment at the provider: that of a first period
// and of all else is called as we call it, that of a later period is not.
const ofDevelopmentPayment = `payment_id = coalesce((SELECT id FROM payment WHERE provider = 'development' AND ref = $1), $1)`

// developmentPage is the pay page of a payment, with how its subscription stands.
func (s *Service) developmentPage(ctx context.Context, q pg.Querier, p developmentPayment, o *order) (*commercepb.DevelopmentPayment, error) {
	m := p.page(o)
	if p.SubscriptionID == nil {
		return m, nil
	}
	ds, err := developmentSubscriptionOf(ctx, q, `id = $1`, *p.SubscriptionID)
	m.Subscription, m.RenewalsFail = ds.State, ds.Fails
	return m, err
}

// SettleDevelopmentPayment implements the contract.
func (s *Service) SettleDevelopmentPayment(ctx context.Context, req *commercepb.SettleDevelopmentPaymentRequest) (*commercepb.DevelopmentPayment, error) {
	if !s.DevelopmentPayments {
		return nil, ErrPaymentNotFound
	}
	d := development{s}
	return idempotency.Do(ctx, s.DB, req, func(tx *pg.Tx) (*commercepb.DevelopmentPayment, error) {
		o, err := lockOrder(ctx, tx, ErrPaymentNotFound, ofDevelopmentPayment, req.GetPaymentId())
		if err != nil {
			return nil, err
		}
		p, err := developmentPaymentOf(ctx, tx, req.GetPaymentId(), "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		if p.State == paymentSucceeded {
			if err := d.settlePaid(ctx, tx, p, req.GetOutcome()); err != nil {
				return nil, err
			}
			if p, err = developmentPaymentOf(ctx, tx, p.ID, ""); err != nil {
				return nil, err
			}
			return s.developmentPage(ctx, tx, p, &o)
		}
		if p.State == paymentClosed || o.State != awaitingPayment || !s.now().Before(o.ExpiresAt) && p.State != paymentProcessing {
			return nil, ErrPaymentClosed
		}
		state, ok := map[string]string{"succeed": paymentSucceeded, "decline": paymentDeclined, "later": paymentProcessing}[req.GetOutcome()]
		if !ok {
			return nil, ErrPaymentOutcome
		}
		p.State = state
		if _, err := tx.Exec(ctx, `UPDATE development_payment SET state = $2 WHERE id = $1`, p.ID, p.State); err != nil {
			return nil, err
		}
		if p.State == paymentSucceeded {
			if err := d.begin(ctx, tx, &p, req.GetPeriodSeconds()); err != nil {
				return nil, err
			}
			if err := d.move(ctx, tx, Transaction{Kind: "payment", Ref: p.ID, Amount: p.Amount, Fee: p.fee(), Currency: p.Currency}); err != nil {
				return nil, err
			}
		}
		// A real provider would send this; here it is said at once.
		if err := s.heardPayment(ctx, tx, p.news()); err != nil {
			return nil, err
		}
		if o, err = lockOrder(ctx, tx, ErrPaymentNotFound, `id = $1`, o.ID); err != nil {
			return nil, err
		}
		return s.developmentPage(ctx, tx, p, &o)
	})
}
