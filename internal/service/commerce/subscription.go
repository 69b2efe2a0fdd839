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
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// The states of a subscription. It goes from incomplete to active once its first period
// is paid, between active and past due as later ones can be charged or not, and from
// each to ended, for good.
const (
	subscriptionIncomplete = "incomplete"
	subscriptionActive     = "active"
	subscriptionPastDue    = "past_due"
	subscriptionEnded      = "ended"
)

// Why a subscription ended.
const (
	endCancelled = "cancelled"
	endNotPaid   = "not_paid" // not even the first period
	endGivenUp   = "given_up" // a later one could not be charged
	endDisputed  = "disputed"
	endRefunded  = "refunded"
)

// subscriptionGrace is for how long a period gives access after its end, as long as the
// period itself at most: the next one is charged some time after that, and may be tried
// again.
const subscriptionGrace = 3 * 24 * time.Hour

// The errors of subscriptions.
var (
	ErrSubscriptionNotFound   = fault.New(fault.NotFound, "subscription.not_found", "You have no such subscription.")
	ErrSubscriptionUnknown    = fault.New(fault.NotFound, "subscription.not_found", "There is no such subscription.")
	ErrSubscriptionExists     = fault.New(fault.Conflict, "subscription.exists", "You have a subscription to this plan already. Pay its first period, or cancel it, while it is not paid.")
	ErrSubscriptionNotForSale = fault.New(fault.Conflict, "subscription.plan_not_for_sale", "Nobody can subscribe to this plan at present.")
	ErrSubscriptionOwnPlan    = fault.New(fault.Conflict, "subscription.own_plan", "This plan is your own.")
	ErrSubscriptionEnded      = fault.New(fault.Conflict, "subscription.ended", "The subscription has ended. Subscribe anew.")
	ErrSubscriptionIncomplete = fault.New(fault.Conflict, "subscription.incomplete", "The first period is not paid yet.")
)

// subscription is somebody who pays for a plan again and again.
type subscription struct {
	ID                string
	PlanID            string
	BuyerID           string
	State             string
	Every             string
	Amount            int64
	Currency          string
	ReferralCode      string
	Provider          string
	Ref               *string // what the provider calls it; nil until the first period is paid
	PeriodStart       *time.Time
	PeriodEnd         *time.Time
	CancelAtPeriodEnd bool
	Wished            bool // the provider has yet to be told whether it ends
	NextAttemptAt     *time.Time
	EndedAt           *time.Time
	EndReason         string
	Revision          int64
	HeardAt           *time.Time
	CreatedAt         time.Time
}

const subscriptionColumns = `id, plan_id, buyer_id, state, every, amount, currency, referral_code, provider, ref, period_start, period_end,
	cancel_at_period_end, wished, next_attempt_at, ended_at, end_reason, revision, heard_at, created_at`

// oneSubscription returns the subscription of a condition, which may lock it. It is locked
// before its orders, by everybody.
func oneSubscription(ctx context.Context, q pg.Querier, notFound error, where string, args ...any) (subscription, error) {
	rows, err := q.Query(ctx, `SELECT `+subscriptionColumns+` FROM subscription WHERE `+where, args...)
	if err != nil {
		return subscription{}, err
	}
	sub, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[subscription])
	if pg.NoRows(err) {
		return subscription{}, notFound
	}
	if err != nil {
		return subscription{}, fmt.Errorf("subscription: %w", err)
	}
	return sub, nil
}

// nextLook is when the provider is asked next how a subscription stands, $1 being now: what
// it told may be lost. Soon after its period ends or a payment was to be tried again, then
// ever more rarely, and once a day.
const nextLook = `
	CASE WHEN state IN ('incomplete', 'ended') THEN 'infinity' ELSE least($1::timestamptz + interval '1 day', CASE
		WHEN period_end > $1 THEN period_end + interval '10 minutes'
		WHEN next_attempt_at > $1 THEN next_attempt_at + interval '10 minutes'
		ELSE $1::timestamptz + interval '5 minutes' * power(2, least(looked, 9)) END) END`

// keepSubscription writes down what has become of a subscription, which is locked; was is
// as it was before.
func (s *Service) keepSubscription(ctx context.Context, tx *pg.Tx, was, sub *subscription, cause string) error {
	sub.Revision++
	now := s.now()
	if _, err := tx.Exec(ctx, `
		UPDATE subscription SET state = $2, ref = $3, period_start = $4, period_end = $5, cancel_at_period_end = $6, wished = $7, next_attempt_at = $8,
			ended_at = $9, end_reason = $10, revision = $11, heard_at = $12 WHERE id = $1`,
		sub.ID, sub.State, sub.Ref, sub.PeriodStart, sub.PeriodEnd, sub.CancelAtPeriodEnd, sub.Wished, sub.NextAttemptAt,
		sub.EndedAt, sub.EndReason, sub.Revision, sub.HeardAt); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE subscription SET looked = 0, next_look = `+nextLook+` WHERE id = $2`, now, sub.ID); err != nil {
		return err
	}
	if was.State != sub.State {
		if _, err := tx.Exec(ctx, `INSERT INTO subscription_transition (subscription_id, happened_at, state, cause) VALUES ($1, $2, $3, $4)`,
			sub.ID, now, sub.State, cause); err != nil {
			return err
		}
	}
	entry := sub.became(was)
	entry.Object, entry.Person, entry.Reason, entry.Before, entry.After = sub.ID, sub.BuyerID, cause, was.entry(), sub.entry()
	return audit.Record(ctx, tx, entry)
}

// became says what has become of a subscription, as the audit log has it.
func (s *subscription) became(was *subscription) audit.Entry {
	switch {
	case was.State == s.State:
		return audit.Entry{Action: "subscription.changed"}
	case s.State == subscriptionActive:
		return audit.Entry{Action: "subscription.active"}
	case s.State == subscriptionPastDue:
		return audit.Entry{Action: "subscription.past_due"}
	default:
		return audit.Entry{Action: "subscription.ended"}
	}
}

// entry is the subscription as the audit log has it.
func (s *subscription) entry() map[string]any {
	return map[string]any{
		"state": s.State, "period_end": s.PeriodEnd, "cancel_at_period_end": s.CancelAtPeriodEnd, "next_attempt_at": s.NextAttemptAt,
		"ended_at": s.EndedAt, "end_reason": s.EndReason, "version": s.Revision,
	}
}

// askToEnd has the provider told what was decided of a subscription, which is about to be
// written down.
func (s *Service) askToEnd(ctx context.Context, tx *pg.Tx, sub *subscription) error {
	sub.Wished = true
	return s.askAs(ctx, tx, endCall(sub.ID, sub.Revision+1), callSubscription, sub.ID)
}

// endCall is the key under which the provider is told what was decided in a revision.
func endCall(subscription string, revision int64) string {
	return callSubscription + ":" + subscription + ":" + strconv.FormatInt(revision, 10)
}

// carrySubscription has the provider end a subscription, or have it go on, as is wanted
// by now.
func (s *Service) carrySubscription(ctx context.Context, c call) error {
	sub, err := oneSubscription(ctx, s.DB, ErrSubscriptionUnknown, `id = $1`, c.ObjectID)
	if err != nil {
		return err
	}
	ref, err := s.subscriptionRef(ctx, sub)
	if err != nil {
		return err
	}
	how := endNever
	switch {
	case sub.State == subscriptionEnded:
		how = endNow
	case sub.CancelAtPeriodEnd:
		how = endAtPeriodEnd
	}
	asked := s.now()
	news, err := s.provider.EndSubscription(ctx, c.Key, ref, how)
	if err != nil {
		return err
	}
	news.AskedAt = asked
	return s.DB.InTx(ctx, func(tx *pg.Tx) error {
		if err := s.toldEnd(ctx, tx, c); err != nil {
			return err
		}
		return s.heardSubscription(ctx, tx, news)
	})
}

// toldEnd writes down that the provider was told by a call: what it says of the
// subscription's end holds again, unless something else was decided meanwhile.
func (s *Service) toldEnd(ctx context.Context, tx *pg.Tx, c call) error {
	if _, err := oneSubscription(ctx, tx, ErrSubscriptionUnknown, `id = $1 FOR UPDATE`, c.ObjectID); err != nil {
		return err
	}
	if err := s.done(ctx, tx, c); err != nil {
		return err
	}
	tx.AfterCommit(s.wake) // for what waits behind it
	_, err := tx.Exec(ctx, `
		UPDATE subscription SET wished = EXISTS (SELECT FROM provider_call WHERE kind = $2 AND object_id = $1 AND state = 'waiting') WHERE id = $1`, c.ObjectID, callSubscription)
	return err
}

// subscriptionRef returns what the provider calls a subscription. Of one that ended before
// its payment was heard it is asked for.
func (s *Service) subscriptionRef(ctx context.Context, sub subscription) (string, error) {
	if sub.Ref != nil {
		return *sub.Ref, nil
	}
	var payment *string
	if err := s.DB.QueryRow(ctx, `
		SELECT p.ref FROM orders o JOIN payment p ON p.id = o.payment_id WHERE o.subscription_id = $1 ORDER BY o.created_at, o.id LIMIT 1`, sub.ID).Scan(&payment); err != nil {
		return "", err
	}
	if payment != nil {
		news, err := s.provider.Payment(ctx, *payment)
		if err != nil || news.SubscriptionRef != "" {
			return news.SubscriptionRef, err
		}
	}
	return "", fmt.Errorf("subscription %s has no name at the provider yet", sub.ID)
}

// subscriptionRefused looks up how a subscription stands of which the provider does not do
// what was decided.
func (s *Service) subscriptionRefused(ctx context.Context, tx *pg.Tx, c call, _ string) error {
	tx.Exempt("what it is like is recorded when it is looked up")
	if _, err := oneSubscription(ctx, tx, ErrSubscriptionUnknown, `id = $1 FOR UPDATE`, c.ObjectID); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		UPDATE subscription SET wished = EXISTS (SELECT FROM provider_call WHERE kind = $2 AND object_id = $1 AND state = 'waiting'),
			next_look = CASE WHEN state = 'ended' THEN next_look ELSE $3 END WHERE id = $1`, c.ObjectID, callSubscription, s.now())
	return err
}

// endSubscription ends a subscription, which is locked, for good as of a moment: so does
// access by its periods.
func (s *Service) endSubscription(ctx context.Context, tx *pg.Tx, sub *subscription, at time.Time, reason, cause string) error {
	was := *sub
	sub.State, sub.EndedAt, sub.EndReason, sub.NextAttemptAt = subscriptionEnded, &at, reason, nil
	if err := s.keepSubscription(ctx, tx, &was, sub, cause); err != nil || sub.PeriodEnd == nil {
		return err // of one that never began nothing is told
	}
	rows, err := tx.Query(ctx, `
		WITH cut AS (
			UPDATE orders SET access_until = greatest($2, period_start + interval '1 microsecond') WHERE subscription_id = $1 AND access_until > $2 RETURNING id
		)
		SELECT l.id, l.course_id FROM order_line l WHERE l.order_id IN (SELECT id FROM cut) ORDER BY l.id`, sub.ID, at)
	if err != nil {
		return err
	}
	e := &commercepb.SubscriptionEnded{
		SubscriptionId: sub.ID, BuyerId: sub.BuyerID, PlanId: sub.PlanID, EndedAt: timestamppb.New(at), Reason: reason, Version: sub.Revision,
	}
	var line, course string
	if _, err := pgx.ForEachRow(rows, []any{&line, &course}, func() error {
		e.Lines = append(e.Lines, &commercepb.EndedLine{LineId: line, CourseId: course})
		return nil
	}); err != nil {
		return fmt.Errorf("lines of a subscription: %w", err)
	}
	if e.PlanTitle, err = planTitle(ctx, tx, sub.PlanID); err != nil {
		return err
	}
	return bus.Publish(ctx, tx, e)
}

func planTitle(ctx context.Context, q pg.Querier, plan string) (title string, err error) {
	err = q.QueryRow(ctx, `SELECT title FROM plan WHERE id = $1`, plan).Scan(&title)
	return title, err
}

// endSubscriptionOf ends the subscription of which an order, which is locked, is a period, here and
// at the provider. One that has ended, and none, is left alone.
func (s *Service) endSubscriptionOf(ctx context.Context, tx *pg.Tx, o *order, reason, cause string) error {
	if o.SubscriptionID == nil {
		return nil
	}
	sub, err := oneSubscription(ctx, tx, ErrSubscriptionUnknown, `id = $1 FOR UPDATE`, *o.SubscriptionID)
	if err != nil || sub.State == subscriptionEnded {
		return err
	}
	if err := s.askToEnd(ctx, tx, &sub); err != nil {
		return err
	}
	return s.endSubscription(ctx, tx, &sub, s.now(), reason, cause)
}

// neverPaid ends the subscription whose first period, an order that is locked, is not paid
// any more. At the provider there is none: who pays all the same gets the money back, and
// is not charged again.
func (s *Service) neverPaid(ctx context.Context, tx *pg.Tx, o *order, cause string) error {
	if o.SubscriptionID == nil {
		return nil
	}
	sub, err := oneSubscription(ctx, tx, ErrSubscriptionUnknown, `id = $1 FOR UPDATE`, *o.SubscriptionID)
	if err != nil || sub.State != subscriptionIncomplete {
		return err
	}
	reason := endNotPaid
	if o.State == cancelled {
		reason = endCancelled
	}
	return s.endSubscription(ctx, tx, &sub, s.now(), reason, cause)
}

// newSubscription is a subscription to a plan that is about to be written, at its price of
// this moment.
func (s *Service) newSubscription(p *plan, buyer, currency, code string) (subscription, error) {
	if currency == "" {
		currency = p.Currencies[0]
	}
	amount, ok := p.priceIn(currency)
	if !ok {
		return subscription{}, wrong("currency", "subscription.currency", "The plan has no price in this currency.")
	}
	return subscription{
		ID: id.New("subscription"), PlanID: p.ID, BuyerID: buyer, State: subscriptionIncomplete, Every: p.Every, Amount: amount, Currency: currency,
		ReferralCode: code, Provider: s.provider.Name(), Revision: 1, CreatedAt: s.now(),
	}, nil
}

// insertSubscription writes a new one.
func insertSubscription(ctx context.Context, tx *pg.Tx, sub subscription) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO subscription (id, plan_id, buyer_id, state, every, amount, currency, referral_code, provider, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		sub.ID, sub.PlanID, sub.BuyerID, sub.State, sub.Every, sub.Amount, sub.Currency, sub.ReferralCode, sub.Provider, sub.CreatedAt)
	if pg.Violates(err, "subscription_live") {
		return ErrSubscriptionExists
	}
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `INSERT INTO subscription_transition (subscription_id, happened_at, state, cause) VALUES ($1, $2, $3, 'made by the buyer')`,
		sub.ID, sub.CreatedAt, sub.State); err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{
		Action: "subscription.created", Object: sub.ID, Person: sub.BuyerID,
		After: map[string]any{"plan_id": sub.PlanID, "interval": sub.Every, "amount": sub.Amount, "currency": sub.Currency},
	})
}

// orderPeriod makes the order of a period of a subscription, of so much: a line for each
// course that the plan has now. What is left to the platform and to teachers is what holds
// now.
func (s *Service) orderPeriod(ctx context.Context, tx *pg.Tx, sub *subscription, p *plan, o *order) error {
	now := s.now()
	o.ID, o.BuyerID, o.PaymentID, o.SubscriptionID = id.New("order"), sub.BuyerID, id.New("payment"), &sub.ID
	o.CreatedAt, o.ExpiresAt = now, now.Add(payWithin)
	known, err := offers(ctx, tx, p.CourseIDs, now)
	if err != nil {
		return err
	}
	parts, err := shareSteps(o.Total, p.weights(known, o.Currency), o.Currency)
	if err != nil {
		return err
	}
	for i, c := range p.CourseIDs {
		l := line{
			ID: id.New("line"), OrderID: o.ID, CourseID: c, SellerID: p.OwnerID, Title: p.Title, Amount: parts[i], ListAmount: parts[i], Kind: lineSubscription, Quantity: 1,
		}
		if k := known[c]; k != nil && k.SellerID != nil {
			l.SellerID, l.Title = *k.SellerID, k.Title // whose course it is by now
		}
		o.lines = append(o.lines, l)
	}
	if err := setChannels(ctx, tx, o, sub.ReferralCode); err != nil {
		return err
	}
	if err := setShares(ctx, tx, o); err != nil {
		return err
	}
	return insertOrder(ctx, tx, *o, &quote{})
}

// weights are what the plan's courses cost in a currency, by which what is paid for a
// period is divided. One that has no price in it any more weighs as the others do on
// average, one that is free now nothing.
func (p *plan) weights(known map[string]*offer, currency string) []int64 {
	out := make([]int64, len(p.CourseIDs))
	var sum, priced int64
	for i, c := range p.CourseIDs {
		out[i] = -1
		k := known[c]
		if k == nil || k.Amount == nil {
			continue
		}
		if list, _, ok := k.priceIn(currency); ok {
			out[i] = list
			sum += list
			priced++
		} else if *k.Amount == 0 {
			out[i] = 0
		}
	}
	mean := int64(1)
	if sum > 0 {
		mean = max(sum/priced, 1)
	}
	var total int64
	for i := range out {
		if out[i] < 0 {
			out[i] = mean
		}
		total += out[i]
	}
	for i := range out {
		if total == 0 { // all are free now
			out[i] = 1
		}
	}
	return out
}

// subscriptionRow is a subscription with what belongs to it.
type subscriptionRow struct {
	subscription
	PlanTitle   string
	OrderID     string
	PayURL      *string
	AccessUntil *time.Time
}

const subscriptionRows = `
	SELECT s.id, s.plan_id, s.buyer_id, s.state, s.every, s.amount, s.currency, s.referral_code, s.provider, s.ref, s.period_start, s.period_end,
		s.cancel_at_period_end, s.wished, s.next_attempt_at, s.ended_at, s.end_reason, s.revision, s.heard_at, s.created_at,
		(SELECT title FROM plan WHERE id = s.plan_id) AS plan_title, coalesce(o.id, '') AS order_id,
		CASE WHEN o.state = 'awaiting_payment' THEN (SELECT url FROM payment WHERE id = o.payment_id) END AS pay_url,
		(SELECT max(access_until) FROM orders WHERE subscription_id = s.id) AS access_until
	FROM subscription s LEFT JOIN LATERAL (
		SELECT id, state, payment_id FROM orders WHERE subscription_id = s.id ORDER BY created_at DESC, id DESC LIMIT 1
	) o ON true WHERE `

func subscriptions(ctx context.Context, q pg.Querier, where string, args ...any) ([]subscriptionRow, error) {
	rows, err := q.Query(ctx, subscriptionRows+where, args...)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[subscriptionRow])
	if err != nil {
		return nil, fmt.Errorf("subscriptions: %w", err)
	}
	return list, nil
}

func (r subscriptionRow) message(now time.Time) *commercepb.Subscription {
	m := &commercepb.Subscription{
		Id: r.ID, PlanId: r.PlanID, PlanTitle: r.PlanTitle, BuyerId: r.BuyerID, State: r.State, Interval: r.Every,
		Price: &moneypb.Money{Amount: r.Amount, Currency: r.Currency}, PeriodStart: stamp(r.PeriodStart), PeriodEnd: stamp(r.PeriodEnd),
		CancelAtPeriodEnd: r.CancelAtPeriodEnd, NextAttemptAt: stamp(r.NextAttemptAt), EndedAt: stamp(r.EndedAt), EndReason: r.EndReason,
		OrderId: r.OrderID, CreatedAt: timestamppb.New(r.CreatedAt),
	}
	if r.AccessUntil != nil && r.AccessUntil.After(now) {
		m.AccessUntil = timestamppb.New(*r.AccessUntil)
	}
	if r.State == subscriptionIncomplete && r.PayURL != nil {
		m.PayUrl = *r.PayURL
	}
	return m
}
