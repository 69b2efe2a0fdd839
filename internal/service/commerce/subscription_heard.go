package commerce

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// heardSubscription takes in how a subscription stands, in whatever order news comes, and
// however often: each period that is paid is an order, once, and what has ended stays so.
// Of the rest the younger news holds.
func (s *Service) heardSubscription(ctx context.Context, tx *pg.Tx, n SubscriptionNews) error {
	tx.Exempt("what changes by it is recorded")
	if n.AskedAt.IsZero() {
		n.AskedAt = s.now()
	}
	sub, err := oneSubscription(ctx, tx, ErrPaymentNotFound, `id = $1 FOR UPDATE`, n.SubscriptionID)
	if err != nil {
		return err
	}
	if sub.Ref != nil && *sub.Ref != n.Ref {
		return fmt.Errorf("subscription %s is %s at the provider, and %s besides", sub.ID, *sub.Ref, n.Ref)
	}
	for _, p := range n.Periods {
		p.Payment.SubscriptionRef = n.Ref
		if err := s.heardPeriod(ctx, tx, &sub, p); err != nil {
			return err
		}
	}
	if sub, err = oneSubscription(ctx, tx, ErrPaymentNotFound, `id = $1`, n.SubscriptionID); err != nil {
		return err
	}
	switch {
	case sub.State == subscriptionIncomplete:
		return nil // its first payment says what becomes of it
	case sub.State == subscriptionEnded && (n.State == subscriptionActive || n.State == subscriptionPastDue) && !sub.Wished:
		// It goes on at the provider, who was told in vain, or by somebody's hand there.
		was := sub
		if err := s.askToEnd(ctx, tx, &sub); err != nil {
			return err
		}
		return s.keepSubscription(ctx, tx, &was, &sub, "it goes on at the provider")
	case sub.State == subscriptionEnded:
		return nil
	case n.State == subscriptionEnded && n.EndedAt != nil:
		return s.heardEnd(ctx, tx, &sub, n)
	case sub.HeardAt != nil && n.AskedAt.Before(*sub.HeardAt):
		return nil
	case n.State == subscriptionActive || n.State == subscriptionPastDue:
		return s.heardState(ctx, tx, &sub, n)
	}
	return nil
}

// heardEnd takes in that a subscription ended at the provider.
func (s *Service) heardEnd(ctx context.Context, tx *pg.Tx, sub *subscription, n SubscriptionNews) error {
	reason, cause := endCancelled, "it was cancelled"
	if !sub.CancelAtPeriodEnd && !n.EndsAtPeriodEnd && n.EndedAt.After(*sub.PeriodEnd) {
		reason, cause = endGivenUp, "the provider has given up to charge it"
		if err := s.askToEnd(ctx, tx, sub); err != nil { // so that the page of what was not paid is closed
			return err
		}
	}
	return s.endSubscription(ctx, tx, sub, n.EndedAt.Truncate(time.Microsecond), reason, cause)
}

// heardState takes in that a subscription goes on, or that a period failed to be paid.
func (s *Service) heardState(ctx context.Context, tx *pg.Tx, sub *subscription, n SubscriptionNews) error {
	was := *sub
	sub.State, sub.NextAttemptAt = n.State, nil
	if n.State == subscriptionPastDue && n.NextAttempt != nil {
		at := n.NextAttempt.UTC().Truncate(time.Microsecond)
		sub.NextAttemptAt = &at
	}
	if !sub.Wished {
		sub.CancelAtPeriodEnd = n.EndsAtPeriodEnd
	}
	again := sub.NextAttemptAt != nil && (was.NextAttemptAt == nil || !was.NextAttemptAt.Equal(*sub.NextAttemptAt))
	failed := sub.State == subscriptionPastDue && (was.State != subscriptionPastDue || again)
	if was.State == sub.State && was.CancelAtPeriodEnd == sub.CancelAtPeriodEnd && !again && (was.NextAttemptAt == nil) == (sub.NextAttemptAt == nil) {
		_, err := tx.Exec(ctx, `UPDATE subscription SET heard_at = $2 WHERE id = $1`, sub.ID, n.AskedAt)
		return err
	}
	sub.HeardAt = &n.AskedAt
	cause := "what the provider says"
	switch {
	case failed:
		cause = "a period could not be charged"
	case was.State == subscriptionPastDue && sub.State == subscriptionActive:
		cause = "what had failed is paid"
	}
	if err := s.keepSubscription(ctx, tx, &was, sub, cause); err != nil || !failed {
		return err
	}
	e := &commercepb.SubscriptionRenewalFailed{
		SubscriptionId: sub.ID, BuyerId: sub.BuyerID, PlanId: sub.PlanID, NextAttemptAt: stamp(sub.NextAttemptAt), Url: s.subscriptionURL(sub.ID), Version: sub.Revision,
	}
	var until time.Time
	if err := tx.QueryRow(ctx, `
		SELECT p.title, (SELECT max(access_until) FROM orders WHERE subscription_id = $2) FROM plan p WHERE p.id = $1`, sub.PlanID, sub.ID).Scan(&e.PlanTitle, &until); err != nil {
		return err
	}
	e.AccessUntil = timestamppb.New(until)
	return bus.Publish(ctx, tx, e)
}

// subscriptionURL is where a buyer looks at a subscription.
func (s *Service) subscriptionURL(subscription string) string {
	return s.PublicURL + "/subscriptions/" + subscription
}

// heardPeriod takes in how the payment of a period stands. One that is paid and of which
// nobody had heard becomes an order; if the subscription had ended by then, here, the
// money goes back.
func (s *Service) heardPeriod(ctx context.Context, tx *pg.Tx, sub *subscription, p PeriodNews) error {
	news := p.Payment
	news.PeriodStart, news.PeriodEnd = p.Start, p.End
	if p.First {
		if err := s.heardPayment(ctx, tx, news); err != nil {
			return err
		}
		return correctPeriod(ctx, tx, sub.ID, news)
	}
	if news.State != paymentSucceeded {
		return nil
	}
	err := tx.QueryRow(ctx, `SELECT payment_id FROM orders WHERE subscription_id = $1 AND period_ref = $2`, sub.ID, p.InvoiceRef).Scan(&news.PaymentID)
	if pg.NoRows(err) {
		news.PaymentID, err = s.orderHeard(ctx, tx, sub, p)
	}
	if err != nil {
		return err
	}
	return s.heardPayment(ctx, tx, news)
}

// correctPeriod writes down when the first period of a subscription is, where its payment was
// heard without that. Access stays as it was given.
func correctPeriod(ctx context.Context, tx *pg.Tx, subscription string, n PaymentNews) error {
	if !n.PeriodEnd.After(n.PeriodStart) {
		return nil
	}
	var was time.Time
	err := tx.QueryRow(ctx, `
		SELECT period_end FROM orders WHERE payment_id = $1 AND subscription_id = $2 AND period_end IS NOT NULL AND (period_start, period_end) <> ($3, $4)`,
		n.PaymentID, subscription, n.PeriodStart, n.PeriodEnd).Scan(&was)
	if pg.NoRows(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE orders SET period_start = $2, period_end = $3 WHERE payment_id = $1`, n.PaymentID, n.PeriodStart, n.PeriodEnd); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE subscription SET period_start = $2, period_end = $3 WHERE id = $1 AND period_end = $4`, subscription, n.PeriodStart, n.PeriodEnd, was)
	return err
}

// orderHeard makes the order of a period that was paid, of what was paid for it, and
// returns its payment, which is still to be heard.
func (s *Service) orderHeard(ctx context.Context, tx *pg.Tx, sub *subscription, p PeriodNews) (string, error) {
	now, err := oneSubscription(ctx, tx, ErrPaymentNotFound, `id = $1`, sub.ID) // as periods before this have left it
	if err != nil {
		return "", err
	}
	plan, err := onePlan(ctx, tx, `id = $1`, sub.PlanID)
	if err != nil {
		return "", err
	}
	o := order{State: awaitingPayment, Total: sub.Amount, Currency: sub.Currency, PeriodRef: &p.InvoiceRef, cause: "a period that the provider charged"}
	if p.Payment.Currency == sub.Currency {
		o.Total = p.Payment.Received
	}
	var before bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM orders WHERE subscription_id = $1 AND period_start = $2)`, sub.ID, p.Start).Scan(&before); err != nil {
		return "", err
	}
	switch {
	case now.State == subscriptionEnded:
		o.State, o.cause = cancelled, "the subscription had ended when the provider charged it"
	case before:
		o.State, o.cause = cancelled, "the period is paid already"
	}
	if err := s.orderPeriod(ctx, tx, &now, plan, &o); err != nil {
		return "", err
	}
	if o.State == cancelled {
		if err := letGo(ctx, tx, []string{o.ID}); err != nil {
			return "", err
		}
	}
	at := s.now()
	_, err = tx.Exec(ctx, `
		INSERT INTO payment (id, order_id, provider, ref, state, amount, currency, created_at, updated_at, next_look) VALUES ($1, $2, $3, $4, 'open', $5, $6, $7, $7, $8)`,
		o.PaymentID, o.ID, s.provider.Name(), p.Payment.Ref, o.Total, o.Currency, at, at.Add(firstLook))
	return o.PaymentID, err
}

// periodPaid writes down which period an order, which is locked, has paid, and until when
// that gives access; of an order that is none it does nothing. It comes before anybody is
// told that the order is paid.
func (s *Service) periodPaid(ctx context.Context, tx *pg.Tx, o *order, n PaymentNews) error {
	if o.SubscriptionID == nil {
		return nil
	}
	sub, err := oneSubscription(ctx, tx, ErrSubscriptionUnknown, `id = $1 FOR UPDATE`, *o.SubscriptionID)
	if err != nil {
		return err
	}
	start, end := n.PeriodStart.UTC().Truncate(time.Microsecond), n.PeriodEnd.UTC().Truncate(time.Microsecond)
	if !end.After(start) { // the provider does not say
		start = s.now()
		end = after(start, sub.Every, 1)
	}
	until := end.Add(min(subscriptionGrace, end.Sub(start)))
	o.PeriodStart, o.PeriodEnd, o.AccessUntil = &start, &end, &until
	if _, err := tx.Exec(ctx, `UPDATE orders SET period_start = $2, period_end = $3, access_until = $4 WHERE id = $1`, o.ID, start, end, until); err != nil {
		return err
	}
	was := sub
	if sub.Ref == nil && n.SubscriptionRef != "" {
		sub.Ref = &n.SubscriptionRef
	}
	if sub.State == subscriptionIncomplete {
		sub.State = subscriptionActive
	}
	if sub.PeriodEnd == nil || sub.PeriodEnd.Before(end) {
		sub.PeriodStart, sub.PeriodEnd = &start, &end
	}
	return s.keepSubscription(ctx, tx, &was, &sub, "a period was paid")
}

// subscribedInVain has a subscription ended at the provider that began there although it
// had ended here.
func (s *Service) subscribedInVain(ctx context.Context, tx *pg.Tx, o *order, n PaymentNews) error {
	if o.SubscriptionID == nil || o.PeriodRef != nil {
		return nil
	}
	sub, err := oneSubscription(ctx, tx, ErrSubscriptionUnknown, `id = $1 FOR UPDATE`, *o.SubscriptionID)
	if err != nil {
		return err
	}
	was := sub
	if sub.Ref == nil && n.SubscriptionRef != "" {
		sub.Ref = &n.SubscriptionRef
	}
	if sub.State != subscriptionEnded { // another amount was paid than asked
		cause := "something else was paid than asked"
		if err := s.askToEnd(ctx, tx, &sub); err != nil {
			return err
		}
		return s.endSubscription(ctx, tx, &sub, s.now(), endNotPaid, cause)
	}
	if err := s.askToEnd(ctx, tx, &sub); err != nil {
		return err
	}
	return s.keepSubscription(ctx, tx, &was, &sub, "its first period was paid too late")
}

// subscribedTitle is what the plan of a subscription is called.
func subscribedTitle(ctx context.Context, q pg.Querier, subscription string) (title string, err error) {
	err = q.QueryRow(ctx, `SELECT title FROM plan WHERE id = (SELECT plan_id FROM subscription WHERE id = $1)`, subscription).Scan(&title)
	return title, err
}

// after is the moment some intervals after a first one: on the same day of the month, or
// on its last where it has none such.
func after(first time.Time, every string, n int) time.Time {
	months := n
	if every == "year" {
		months = 12 * n
	}
	y, m, d := first.Date()
	at := time.Date(y, m+time.Month(months), 1, first.Hour(), first.Minute(), first.Second(), first.Nanosecond(), first.Location())
	last := at.AddDate(0, 1, -1).Day()
	return at.AddDate(0, 0, min(d, last)-1)
}

// hearSubscription asks the provider how a subscription stands, and takes that in.
func (s *Service) hearSubscription(ctx context.Context, ref string) error {
	asked := s.now()
	news, err := s.provider.Subscription(ctx, ref)
	if err != nil {
		return err
	}
	news.AskedAt = asked
	return s.DB.InTx(ctx, func(tx *pg.Tx) error { return s.heardSubscription(ctx, tx, news) })
}

// lookAtSubscriptions asks the provider how subscriptions stand of which something may
// have been told in vain, and returns how many.
func (s *Service) lookAtSubscriptions(ctx context.Context) (int, error) {
	if s.provider == nil {
		return 0, nil
	}
	total := 0
	for ctx.Err() == nil {
		var refs []string
		err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
			tx.Exempt("a lease")
			rows, err := tx.Query(ctx, `
				UPDATE subscription SET looked = looked + 1, next_look = `+nextLook+`
				WHERE id IN (
					SELECT id FROM subscription WHERE provider = $2 AND ref IS NOT NULL AND next_look <= $1 ORDER BY next_look LIMIT $3 FOR UPDATE SKIP LOCKED
				) RETURNING ref`, s.now(), s.provider.Name(), lookBatch)
			if err != nil {
				return err
			}
			refs, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		})
		if err != nil {
			return total, fmt.Errorf("subscriptions to look up: %w", err)
		}
		if len(refs) == 0 {
			return total, nil
		}
		g, each := errgroup.WithContext(ctx)
		g.SetLimit(eventsAtOnce)
		for _, ref := range refs {
			g.Go(func() error {
				one, cancel := context.WithTimeout(each, callTimeout)
				defer cancel()
				if err := s.hearSubscription(one, ref); err != nil && ctx.Err() == nil {
					s.Log.WarnContext(ctx, "a subscription could not be looked up", "ref", ref, "error", err.Error())
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return total, err
		}
		total += len(refs)
	}
	return total, nil
}
