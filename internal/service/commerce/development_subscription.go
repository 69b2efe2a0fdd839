package commerce

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
)

// developmentRetries is after how many days a period that failed to be paid is tried
// again, each counted from the try before; then the subscription ends.
var developmentRetries = []int{1, 3, 5}

// developmentSubscription is a subscription at the development provider, which charges it
// by the service's clock.
type developmentSubscription struct {
	ID                string
	FirstPayment      string
	Amount            int64
	Currency          string
	Every             string
	EverySeconds      int32 // in place of every, where it is not zero
	State             string
	PeriodStart       *time.Time
	PeriodEnd         *time.Time
	CancelAtPeriodEnd bool
	Fails             bool
	Attempts          int
	NextAt            *time.Time // when something happens next
	EndedAt           *time.Time
}

func developmentSubscriptionOf(ctx context.Context, q pg.Querier, where string, args ...any) (developmentSubscription, error) {
	rows, err := q.Query(ctx, `
		SELECT id, first_payment, amount, currency, every, every_seconds, state, period_start, period_end, cancel_at_period_end, fails, attempts, next_at, ended_at
		FROM development_subscription WHERE `+where, args...)
	if err != nil {
		return developmentSubscription{}, err
	}
	ds, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[developmentSubscription])
	if pg.NoRows(err) {
		return ds, fault.New(fault.NotFound, "payment.provider_unknown", "The provider does not know it.")
	}
	return ds, err
}

func (ds developmentSubscription) keep(ctx context.Context, tx *pg.Tx) error {
	_, err := tx.Exec(ctx, `
		UPDATE development_subscription SET every_seconds = $2, state = $3, period_start = $4, period_end = $5, cancel_at_period_end = $6, fails = $7,
			attempts = $8, next_at = $9, ended_at = $10 WHERE id = $1`,
		ds.ID, ds.EverySeconds, ds.State, ds.PeriodStart, ds.PeriodEnd, ds.CancelAtPeriodEnd, ds.Fails, ds.Attempts, ds.NextAt, ds.EndedAt)
	return err
}

// end ends it.
func (ds *developmentSubscription) end(at time.Time) {
	ds.State, ds.EndedAt, ds.NextAt = subscriptionEnded, &at, nil
}

// period returns the period behind the first n, of which the first began at a moment.
func (ds *developmentSubscription) period(first time.Time, n int) (start, end time.Time) {
	if ds.EverySeconds > 0 {
		each := time.Duration(ds.EverySeconds) * time.Second
		return first.Add(time.Duration(n) * each), first.Add(time.Duration(n+1) * each)
	}
	return after(first, ds.Every, n), after(first, ds.Every, n+1)
}

// Subscribe implements [Provider].
func (d development) Subscribe(ctx context.Context, key string, r SubscribeRequest) (ref, url string, err error) {
	ref, url, err = d.Checkout(ctx, key, r.Checkout)
	if err != nil {
		return "", "", err
	}
	return ref, url, d.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("the provider's own books")
		if _, err := tx.Exec(ctx, `UPDATE development_payment SET subscription_id = $2 WHERE id = $1`, r.PaymentID, r.SubscriptionID); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO development_subscription (id, first_payment, amount, currency, every, state) VALUES ($1, $2, $3, $4, $5, 'incomplete') ON CONFLICT DO NOTHING`,
			r.SubscriptionID, r.PaymentID, r.Amount, r.Currency, r.Interval)
		return err
	})
}

// developmentPeriods is how many periods it tells of.
const developmentPeriods = 12

// Subscription implements [Provider].
func (d development) Subscription(ctx context.Context, ref string) (SubscriptionNews, error) {
	return d.subscriptionNews(ctx, d.DB, ref)
}

func (d development) subscriptionNews(ctx context.Context, q pg.Querier, ref string) (SubscriptionNews, error) {
	ds, err := developmentSubscriptionOf(ctx, q, `id = $1`, ref)
	if err != nil {
		return SubscriptionNews{}, err
	}
	n := SubscriptionNews{SubscriptionID: ds.ID, Ref: ds.ID, State: ds.State, EndsAtPeriodEnd: ds.CancelAtPeriodEnd, EndedAt: ds.EndedAt, AskedAt: d.now()}
	if ds.PeriodEnd != nil {
		n.PeriodStart, n.PeriodEnd = *ds.PeriodStart, *ds.PeriodEnd
	}
	if ds.State == subscriptionPastDue {
		n.NextAttempt = ds.NextAt
	}
	rows, err := q.Query(ctx, `
		SELECT * FROM (
			SELECT `+developmentPaymentColumns+` FROM development_payment WHERE subscription_id = $1 AND period_start IS NOT NULL ORDER BY period_start DESC LIMIT $2
		) p ORDER BY period_start`, ds.ID, developmentPeriods)
	if err != nil {
		return SubscriptionNews{}, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[developmentPayment])
	if err != nil {
		return SubscriptionNews{}, fmt.Errorf("the provider's periods: %w", err)
	}
	for _, p := range list {
		one := PeriodNews{InvoiceRef: p.ID, Start: *p.PeriodStart, End: *p.PeriodEnd, First: p.ID == ds.FirstPayment, Payment: p.news()}
		if !one.First {
			one.Payment.PaymentID = "" // it does not know ours
		}
		n.Periods = append(n.Periods, one)
	}
	return n, nil
}

// EndSubscription implements [Provider].
func (d development) EndSubscription(ctx context.Context, _, ref, how string) (n SubscriptionNews, err error) {
	err = d.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("the provider's own books")
		ds, err := developmentSubscriptionOf(ctx, tx, `id = $1 FOR UPDATE`, ref)
		if err != nil {
			return err
		}
		switch {
		case ds.State == subscriptionEnded && how == endNever:
			return fault.New(fault.Conflict, "payment.provider_refused", "It has ended.")
		case ds.State == subscriptionEnded:
		case how == endNow:
			ds.end(d.now())
		default:
			ds.CancelAtPeriodEnd = how == endAtPeriodEnd
		}
		if err := ds.keep(ctx, tx); err != nil {
			return err
		}
		n, err = d.subscriptionNews(ctx, tx, ref)
		return err
	})
	return n, err
}

// BillingURL implements [Provider]: the pay page says whether what follows is paid.
func (d development) BillingURL(ctx context.Context, ref, _ string) (string, error) {
	ds, err := developmentSubscriptionOf(ctx, d.DB, `id = $1`, ref)
	return d.PublicURL + "/pay/" + ds.FirstPayment, err
}

// begin takes in that the first period of a subscription is paid, if the payment is one's:
// from now on periods pass, of so many seconds or of the plan's interval.
func (d development) begin(ctx context.Context, tx *pg.Tx, p *developmentPayment, seconds int32) error {
	if p.SubscriptionID == nil {
		return nil
	}
	ds, err := developmentSubscriptionOf(ctx, tx, `id = $1 FOR UPDATE`, *p.SubscriptionID)
	if err != nil {
		return err
	}
	ds.EverySeconds, ds.State = seconds, subscriptionActive
	start, end := ds.period(d.now(), 0)
	ds.PeriodStart, ds.PeriodEnd, ds.NextAt = &start, &end, &end
	p.PeriodStart, p.PeriodEnd = &start, &end
	if _, err := tx.Exec(ctx, `UPDATE development_payment SET period_start = $2, period_end = $3 WHERE id = $1`, p.ID, start, end); err != nil {
		return err
	}
	tx.AfterCommit(func() { signal(d.renewals) })
	return ds.keep(ctx, tx)
}

// turn does what happens next with a subscription, if its time has come: the period is
// paid, or is not, or the subscription ends. It reports whether something has happened.
func (d development) turn(ctx context.Context, tx *pg.Tx, ds *developmentSubscription) (bool, error) {
	if ds.NextAt == nil || ds.NextAt.After(d.now()) {
		return false, nil
	}
	at := *ds.NextAt
	switch {
	case ds.CancelAtPeriodEnd:
		ds.end(at)
	case ds.Fails && ds.Attempts == len(developmentRetries):
		ds.end(at)
	case ds.Fails:
		day := 24 * time.Hour
		if ds.EverySeconds > 0 {
			day = time.Duration(ds.EverySeconds) * time.Second / 2
		}
		next := at.Add(time.Duration(developmentRetries[ds.Attempts]) * day)
		ds.State, ds.NextAt = subscriptionPastDue, &next
		ds.Attempts++
	default:
		if err := d.charge(ctx, tx, ds); err != nil {
			return false, err
		}
	}
	return true, ds.keep(ctx, tx)
}

// charge has the next period of a subscription paid.
func (d development) charge(ctx context.Context, tx *pg.Tx, ds *developmentSubscription) error {
	var (
		first time.Time
		n     int
	)
	if err := tx.QueryRow(ctx, `SELECT min(period_start), count(*) FROM development_payment WHERE subscription_id = $1 AND period_start IS NOT NULL`, ds.ID).Scan(&first, &n); err != nil {
		return err
	}
	start, end := ds.period(first.UTC(), n)
	p := developmentPayment{ID: id.New("payment"), Amount: ds.Amount, Currency: ds.Currency, State: paymentSucceeded}
	if _, err := tx.Exec(ctx, `
		INSERT INTO development_payment (id, amount, currency, state, subscription_id, period_start, period_end) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		p.ID, p.Amount, p.Currency, p.State, ds.ID, start, end); err != nil {
		return err
	}
	ds.State, ds.PeriodStart, ds.PeriodEnd, ds.NextAt, ds.Attempts = subscriptionActive, &start, &end, &end, 0
	return d.move(ctx, tx, Transaction{Kind: "payment", Ref: p.ID, Amount: p.Amount, Fee: p.fee(), Currency: p.Currency})
}

// renew does what is due with subscriptions, each one thing, and returns with how many.
// heard says whether the platform is told, as a real provider would.
func (d development) renew(ctx context.Context, heard bool) (int, error) {
	rows, err := d.DB.Query(ctx, `SELECT id FROM development_subscription WHERE next_at <= $1 ORDER BY next_at LIMIT 100`, d.now())
	if err != nil {
		return 0, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, fmt.Errorf("subscriptions at the provider: %w", err)
	}
	for _, one := range ids {
		if err := d.DB.InTx(ctx, func(tx *pg.Tx) error {
			tx.Exempt("the provider's own books")
			if _, err := oneSubscription(ctx, tx, ErrSubscriptionUnknown, `id = $1 FOR UPDATE`, one); err != nil { // before its orders
				return err
			}
			ds, err := developmentSubscriptionOf(ctx, tx, `id = $1 FOR UPDATE`, one)
			if err != nil {
				return err
			}
			happened, err := d.turn(ctx, tx, &ds)
			if err != nil || !happened || !heard {
				return err
			}
			return d.say(ctx, tx, one)
		}); err != nil {
			return 0, err
		}
	}
	return len(ids), nil
}

// say has the platform hear how a subscription stands.
func (d development) say(ctx context.Context, tx *pg.Tx, ref string) error {
	n, err := d.subscriptionNews(ctx, tx, ref)
	if err != nil {
		return err
	}
	return d.heardSubscription(ctx, tx, n)
}

// renewAll does what is due with subscriptions, when it is, until ctx ends.
func (d development) renewAll(ctx context.Context) {
	for {
		n, err := d.renew(ctx, true)
		if err != nil && ctx.Err() == nil {
			d.Log.WarnContext(ctx, "subscriptions could not be renewed", "error", err.Error())
		}
		if n > 0 && err == nil {
			continue
		}
		wait := sweepEvery
		var next *time.Time
		if err := d.DB.QueryRow(ctx, `SELECT min(next_at) FROM development_subscription WHERE next_at IS NOT NULL`).Scan(&next); err == nil && next != nil {
			wait = min(max(next.Sub(d.now()), 50*time.Millisecond), wait)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-d.renewals:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// settleRenewals does what a button says of the periods that follow: they fail to be paid,
// or are, one that has failed at once.
func (d development) settleRenewals(ctx context.Context, tx *pg.Tx, p developmentPayment, outcome string) error {
	if p.SubscriptionID == nil {
		return ErrPaymentOutcome
	}
	ds, err := developmentSubscriptionOf(ctx, tx, `id = $1 FOR UPDATE`, *p.SubscriptionID)
	if err != nil {
		return err
	}
	if ds.State == subscriptionEnded || ds.State == subscriptionIncomplete {
		return ErrPaymentOutcome
	}
	tx.Exempt("the provider's own books")
	ds.Fails = outcome == "renewals_fail"
	if !ds.Fails && ds.State == subscriptionPastDue {
		now := d.now()
		ds.NextAt = &now
	}
	if err := ds.keep(ctx, tx); err != nil {
		return err
	}
	happened, err := d.turn(ctx, tx, &ds)
	if err != nil || !happened {
		return err
	}
	tx.AfterCommit(func() { signal(d.renewals) })
	return d.say(ctx, tx, ds.ID)
}
