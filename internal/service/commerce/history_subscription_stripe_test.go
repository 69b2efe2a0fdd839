package commerce_test

import (
	"context"
	"strings"
	"sync"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/commerce/stripetest"
)

// What subscriptions add to histories at Stripe: see TestAnyHistoryAtStripe.

// subscribes subscribes to a plan, and often pays for the first period.
func (h *stripeHistory) subscribe(ctx context.Context) {
	sub, err := h.subs.CreateSubscription(rpctest.Account(ctx, h.buyer), &commercepb.CreateSubscriptionRequest{PlanId: h.plans[h.rand.IntN(len(h.plans))]})
	if err != nil {
		h.note("no subscription: %v", err)
		return
	}
	h.note("subscription %s", sub.GetId())
	o := h.get(h.buyer, sub.GetOrderId())
	h.orders, h.begun = append(h.orders, o), append(h.begun, sub)
	if h.rand.IntN(4) > 0 {
		_, h.pages[o.GetId()], _ = strings.Cut(sub.GetPayUrl(), "/pay/")
		h.pay(o, stripetest.Succeed)
		h.together(ctx)
	}
}

// collect adds the periods that Stripe has charged, and of which something was heard, to
// the orders of the history.
func (h *stripeHistory) collect() {
	if len(h.begun) == 0 {
		return
	}
	known := make([]string, len(h.orders))
	for i, o := range h.orders {
		known[i] = o.GetId()
	}
	for _, r := range h.rows(`
		SELECT o.id, p.ref FROM orders o JOIN payment p ON p.id = o.payment_id
		WHERE o.buyer_id = $1 AND o.period_ref IS NOT NULL AND o.id <> ALL ($2) ORDER BY o.created_at, o.period_ref`, h.buyer, known) {
		h.orders = append(h.orders, h.get(h.buyer, r[0]))
		h.pages[r[0]] = r[1]
	}
}

// subscription does something with a subscription.
func (h *stripeHistory) subscription(ctx context.Context) {
	sub := h.begun[h.rand.IntN(len(h.begun))]
	buyer, ref := rpctest.Account(ctx, sub.GetBuyerId()), h.stripe.SubscriptionOf(sub.GetId())
	h.note("%s (%s)", sub.GetId(), ref)
	switch n := h.rand.IntN(18); {
	case n < 2:
		_, err := h.subs.CancelMySubscription(buyer, &commercepb.CancelMySubscriptionRequest{SubscriptionId: sub.GetId()})
		h.note("cancel: %v", err)
	case n < 4:
		_, err := h.subs.ResumeMySubscription(buyer, &commercepb.ResumeMySubscriptionRequest{SubscriptionId: sub.GetId()})
		h.note("resume: %v", err)
	case n == 4:
		now := h.rand.IntN(2) == 0
		_, err := h.subs.CancelSubscription(rpctest.Account(ctx, id.New("account")), &commercepb.CancelSubscriptionRequest{SubscriptionId: sub.GetId(), Now: now})
		h.note("staff end it, now %v: %v", now, err)
	case n < 7:
		_, err := h.svc.LookAtSubscriptions(ctx)
		h.note("look: %v", err)
	case n == 7:
		h.meets(ctx, sub)
	case n < 12:
		days := []int64{1, 4, 9, 31}[h.rand.IntN(4)]
		h.now.Add(days * aDay)
		h.note("%d days later", days)
		if h.rand.IntN(2) == 0 {
			h.together(ctx)
		}
	case ref == "":
	case n == 12:
		h.stripe.PortalCancel(ref)
		h.note("cancelled there")
	case n < 15:
		how := []stripetest.Outcome{stripetest.Succeed, stripetest.Decline, stripetest.Confirm, stripetest.Later}[h.rand.IntN(4)]
		h.stripe.Card(ref, how)
		h.note("card %s", how)
	default:
		refs, _ := h.stripe.Invoices(ref)
		in, paid := refs[h.rand.IntN(len(refs))], h.rand.IntN(2) == 0
		if h.stripe.Arrive(in, paid) {
			h.note("arrive %s: %v", in, paid)
			return
		}
		how := []stripetest.Outcome{stripetest.Succeed, stripetest.Decline}[h.rand.IntN(2)]
		h.note("pay %s %s: %v", in, how, h.stripe.PayInvoice(in, how))
	}
}

// meets does at once what meets at a subscription.
func (h *stripeHistory) meets(ctx context.Context, sub *commercepb.Subscription) {
	h.deliver(ctx)
	var all sync.WaitGroup
	for _, do := range []func() error{
		func() error { _, err := h.svc.HearEvents(ctx); return err },
		func() error { _, err := h.svc.LookAtSubscriptions(ctx); return err },
		func() error { _, err := h.svc.CarryOut(ctx); return err },
		func() error {
			_, err := h.subs.CancelMySubscription(rpctest.Account(ctx, sub.GetBuyerId()), &commercepb.CancelMySubscriptionRequest{SubscriptionId: sub.GetId()})
			return err
		},
		func() error {
			_, err := h.refunds.CreateRefund(rpctest.Account(ctx, id.New("account")), &commercepb.CreateRefundRequest{OrderId: sub.GetOrderId(), Note: "x"})
			return err
		},
	} {
		all.Go(func() { _ = do() })
	}
	all.Wait()
	h.note("meet")
}

// over implements [teller]: most who have no steps left end what they have at Stripe, so
// that not all go on for as long as the others' histories.
func (h *stripeHistory) over() {
	for _, sub := range h.begun {
		if ref := h.stripe.SubscriptionOf(sub.GetId()); ref != "" && h.rand.IntN(4) > 0 {
			h.stripe.PortalCancel(ref)
		}
	}
}

// arrives has all end that is still to come to subscriptions at Stripe.
func (m *stripeMarket) arrives() {
	for i, sub := range m.stripe.Subscribed() {
		m.stripe.Card(sub.Ref, []stripetest.Outcome{stripetest.Succeed, stripetest.Decline}[i%2])
		refs, _ := m.stripe.Invoices(sub.Ref)
		for _, in := range refs {
			m.stripe.Arrive(in, i%3 > 0)
		}
	}
}
