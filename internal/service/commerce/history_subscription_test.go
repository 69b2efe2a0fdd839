package commerce_test

import (
	"context"
	"math/rand/v2"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// What subscriptions add to histories: see TestMoneyIsAlwaysRight.

// subscribing is what happens besides to who has subscribed.
var subscribing = []happening{
	{7, "days pass", (*history).daysPass},
	{4, "renewals", (*history).renewals},
	{5, "decide", (*history).decide},
	{6, "hear of a subscription", (*history).hearSubscription},
	{2, "look at subscriptions", (*history).lookAtSubscriptions},
	{3, "together with a subscription", (*history).togetherSubscribed},
}

// historySubscription is a subscription of the buyer.
type historySubscription struct {
	id    string
	first *historyOrder // of its first period
}

// offers puts a plan with all courses of a teacher on sale.
func (m *market) offers(chance *rand.Rand, teacher int, every string) {
	req := &commercepb.CreatePlanRequest{Title: "All of it", Interval: every}
	for _, c := range marketCurrencies {
		req.Prices = append(req.Prices, amount(chance, c, 1, 50))
	}
	for at := teacher; at < len(m.courses); at += len(m.teachers) {
		req.CourseIds = append(req.CourseIds, m.courses[at])
	}
	p := must[*commercepb.Plan](m.shop)(m.shop.plans.CreatePlan(m.as(m.teachers[teacher]), req))
	p = must[*commercepb.Plan](m.shop)(m.shop.plans.PublishPlan(m.as(m.teachers[teacher]), &commercepb.PublishPlanRequest{PlanId: p.GetId()}))
	m.plans = append(m.plans, p.GetId())
}

// subscribe subscribes to a plan, and often pays for the first period.
func (h *history) subscribe() {
	req := &commercepb.CreateSubscriptionRequest{PlanId: h.plans[h.chance.IntN(len(h.plans))], Currency: marketCurrencies[h.chance.IntN(len(marketCurrencies))]}
	sub, err := h.subs.CreateSubscription(h.as(h.buyer), req)
	if h.ctx.Err() != nil && err != nil {
		sub, err = h.subs.CreateSubscription(h.again(h.buyer), req)
	}
	if !h.may(err, "subscription.exists") {
		return
	}
	h.note("%s", sub.GetId())
	first := &historyOrder{Order: h.get(h.buyer, sub.GetOrderId())}
	h.orders = append(h.orders, first)
	h.subscribed = append(h.subscribed, &historySubscription{id: sub.GetId(), first: first})
	if h.ctx.Err() == nil && !h.one(5) {
		h.payFor(first, h.chance.IntN(6)) // heard at once, mostly
	}
}

func (h *history) subscription() *historySubscription {
	return h.subscribed[h.chance.IntN(len(h.subscribed))]
}

// collect adds the periods that the provider has charged to the orders of the history.
func (h *history) collect() {
	if len(h.subscribed) == 0 {
		return
	}
	known := make([]string, len(h.orders))
	for i, o := range h.orders {
		known[i] = o.GetId()
	}
	for _, r := range h.rows(`
		SELECT o.id, p.ref FROM orders o JOIN payment p ON p.id = o.payment_id
		WHERE o.buyer_id = $1 AND o.period_ref IS NOT NULL AND o.id <> ALL ($2) ORDER BY o.created_at, o.period_ref`, h.buyer, known) {
		h.orders = append(h.orders, &historyOrder{Order: h.get(h.buyer, r[0]), payment: r[1]})
	}
}

// daysPass lets days pass; of what the provider charges meanwhile it tells, or not.
func (h *history) daysPass() {
	days, heard := 1+h.chance.Int64N(35), h.one(2)
	h.note("%d, heard %v", days, heard)
	h.now.Add(days * 24 * 3600)
	for range 100 {
		n, err := h.svc.Renew(h.ctx, heard)
		if !h.may(err) || n == 0 {
			return
		}
	}
	h.Errorf("renewals without an end")
}

func (h *history) renewals() {
	if s := h.subscription(); s.first.payment != "" {
		h.settles(s.first, []string{"renewals_fail", "renewals_fail", "renewals_succeed"}[h.chance.IntN(3)])
	}
}

// decide has the buyer cancel or resume, or staff end it.
func (h *history) decide() {
	s := h.subscription()
	account, do := h.buyer, func(ctx context.Context) error {
		_, err := h.subs.CancelMySubscription(ctx, &commercepb.CancelMySubscriptionRequest{SubscriptionId: s.id})
		return err
	}
	what := "cancels"
	switch h.chance.IntN(5) {
	case 0, 1:
		what, do = "resumes", func(ctx context.Context) error {
			_, err := h.subs.ResumeMySubscription(ctx, &commercepb.ResumeMySubscriptionRequest{SubscriptionId: s.id})
			return err
		}
	case 2:
		now := h.one(2)
		what, account, do = "staff ends", id.New("account"), func(ctx context.Context) error {
			_, err := h.subs.CancelSubscription(ctx, &commercepb.CancelSubscriptionRequest{SubscriptionId: s.id, Now: now})
			return err
		}
	}
	h.note("%s %s", what, s.id)
	err := do(h.as(account))
	if h.ctx.Err() != nil && err != nil && h.one(2) {
		err = do(h.again(account))
	}
	h.may(err, "subscription.ended")
}

// hearSubscription has the service hear how a subscription stands, or how it stood once;
// what was heard may come again.
func (h *history) hearSubscription() {
	s := h.subscription()
	n, err := h.weather.Provider.Subscription(h.Context(), s.id)
	if !h.may(err, "payment.provider_unknown") { // it was not made there yet
		return
	}
	h.tell(s.id, func(ctx context.Context) error { return h.svc.HeardSubscription(ctx, n) })
	list := h.news[s.id]
	at := h.chance.IntN(len(list))
	h.note("%d of %d of %s", at, len(list), s.id)
	h.may(list[at](h.ctx))
}

func (h *history) lookAtSubscriptions() {
	_, err := h.svc.LookAtSubscriptions(h.ctx)
	h.may(err)
}

// over implements [teller]: nothing happens any more at the provider to who has no steps
// left, however long the others' histories are.
func (h *history) over() {
	for _, s := range h.subscribed {
		if _, err := h.db.Exec(h.Context(), `UPDATE development_subscription SET next_at = NULL WHERE id = $1`, s.id); err != nil {
			h.Fatal(err)
		}
	}
}

// subscriptionRules are those of [marketRules] that are of subscriptions.
var subscriptionRules = []rule{
	{"what is charged is of an order", `
		SELECT coalesce(nullif(d.subscription_id, ''), d.payment_id), 'charged ' || d.amount || ' by ' || d.payment_id || coalesce(', ' || s.state || ' as ' || coalesce(s.ref, 'nothing') || ' paid until ' || coalesce(s.period_end::text, 'never') || ', looked up next ' || s.next_look, '')
		FROM taken d LEFT JOIN orders o ON o.payment_id = d.payment_id LEFT JOIN subscription s ON s.id = d.subscription_id WHERE d.charges > 0 AND (o.id IS NULL OR d.subscription_id <> coalesce(o.subscription_id, ''))`},
	{"what was paid in vain is given back", `SELECT order_id, id FROM payment WHERE surplus`},
	{"no period is paid twice", `
		SELECT subscription_id, period_start || ' paid ' || count(*) || ' times' FROM orders WHERE subscription_id IS NOT NULL AND paid_at IS NOT NULL
		GROUP BY subscription_id, period_start HAVING count(*) > 1`},
	{"a period costs what was agreed, and is all of its orders", `
		SELECT o.id, o.total || ' ' || o.currency || ' of ' || s.amount || ' ' || s.currency || ', paid ' || coalesce(o.paid_at::text, 'never') || ', from ' || coalesce(o.period_start::text, 'never')
		FROM orders o JOIN subscription s ON s.id = o.subscription_id
		WHERE o.total <> s.amount OR o.currency <> s.currency OR o.buyer_id <> s.buyer_id OR (o.paid_at IS NULL) <> (o.period_start IS NULL)`},
	{"a subscription stands as at the provider", `
		SELECT s.id, s.state || coalesce(', to end', nullif(s.cancel_at_period_end::text, 'false')) || ' here, at the provider ' || coalesce(d.state, 'unknown') || ' to end ' || coalesce(d.ends::text, '') || ', still to be told ' || s.wished
		FROM subscription s LEFT JOIN subscribed d ON d.subscription_id = s.id
		WHERE s.wished OR s.state = 'incomplete' OR s.state <> coalesce(d.state, 'ended') OR s.state <> 'ended' AND s.cancel_at_period_end <> d.ends`},
	{"there is no subscription at the provider of which nobody knows", `SELECT subscription_id, state FROM subscribed WHERE subscription_id NOT IN (SELECT id FROM subscription)`},
	{"a subscription is paid until its last period ends, and was not without one", `
		SELECT s.id, s.state || ' until ' || coalesce(s.period_end::text, 'never') || ', paid until ' || coalesce(max(o.period_end)::text, 'never')
		FROM subscription s LEFT JOIN orders o ON o.subscription_id = s.id AND o.paid_at IS NOT NULL GROUP BY s.id HAVING s.period_end IS DISTINCT FROM max(o.period_end)`},
	{"a subscription begins and ends once", `
		SELECT s.id, s.state || ', ' || string_agg(t.state, ' ' ORDER BY t.id) FROM subscription s LEFT JOIN subscription_transition t ON t.subscription_id = s.id GROUP BY s.id
		HAVING count(*) FILTER (WHERE t.state = 'incomplete') <> 1 OR count(*) FILTER (WHERE t.state = 'ended') <> (s.state = 'ended')::int
			OR (array_agg(t.state ORDER BY t.id DESC))[1] IS DISTINCT FROM s.state OR (array_agg(t.state ORDER BY t.id))[1] IS DISTINCT FROM 'incomplete'`},
	// When the first period is may be known better than when access was given by it.
	{"a period gives access until some days after it, or until the subscription ended", `
		SELECT o.id, o.access_until || ', want ' || w.until || ', ended ' || coalesce(s.ended_at::text, 'never')
		FROM orders o JOIN subscription s ON s.id = o.subscription_id
		CROSS JOIN LATERAL (SELECT greatest(s.ended_at, o.period_start + interval '1 microsecond') AS cut) c
		CROSS JOIN LATERAL (SELECT least(o.period_end + least(o.period_end - o.period_start, interval '3 days'), CASE WHEN s.state = 'ended' THEN c.cut END) AS until) w
		WHERE o.paid_at IS NOT NULL AND (o.access_until < w.until OR o.access_until > w.until AND o.period_ref IS NOT NULL OR s.state = 'ended' AND o.access_until > c.cut)`},
}
