package commerce_test

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// What subscriptions add to random histories: see TestMoneyIsAlwaysRight.

func (h *history) subscribe() {
	s := h.shop
	x := &subscribed{shop: s, buyer: id.New("account"), teacher: h.teachers[h.pick(len(h.teachers), "whose")]}
	for range rapid.IntRange(1, 3).Draw(h.T, "courses of a plan") {
		x.courses = append(x.courses, s.course(x.teacher, rapid.Int64Range(50, 20_000).Draw(h.T, "price"), "EUR"))
	}
	x.plan = s.plan(x.teacher, rapid.Int64Range(50, 5_000).Draw(h.T, "a month"), x.courses...)
	sub := s.subscribe(x.buyer, x.plan)
	x.id = sub.GetId()
	h.subs = append(h.subs, x)
	if h.pick(5, "pays") > 0 {
		x.does("succeed")
		h.said = append(h.said, h.says(x))
	}
	h.collect()
}

// collect adds the periods that are paid to the orders of the history.
func (h *history) collect() {
	var ids []string
	for _, x := range h.subs {
		ids = append(ids, x.id)
	}
	rows, err := h.shop.db.Query(h.shop.Context(), `
		SELECT o.id, o.buyer_id, p.ref FROM orders o JOIN payment p ON p.id = o.payment_id WHERE o.subscription_id = ANY ($1) AND o.paid_at IS NOT NULL ORDER BY o.created_at, o.id`, ids)
	if err != nil {
		h.Fatalf("%v", err)
	}
	var list [][3]string
	for rows.Next() {
		var o [3]string
		if err := rows.Scan(&o[0], &o[1], &o[2]); err != nil {
			h.Fatalf("%v", err)
		}
		list = append(list, o)
	}
	if err := rows.Err(); err != nil {
		h.Fatalf("%v", err)
	}
	for _, o := range list {
		if !slices.ContainsFunc(h.orders, func(k *historyOrder) bool { return k.GetId() == o[0] }) {
			h.orders = append(h.orders, &historyOrder{Order: h.shop.get(o[1], o[0]), buyer: o[1], ref: o[2]})
		}
	}
}

// one is one of the subscriptions; nil while there is none.
func (h *history) one() *subscribed {
	if len(h.subs) == 0 {
		return nil
	}
	return h.subs[h.pick(len(h.subs), "subscription")]
}

// days lets days pass; of what the provider charges meanwhile it tells, or not yet.
func (h *history) days() {
	h.shop.days(rapid.IntRange(1, 20).Draw(h.T, "days"), rapid.Bool().Draw(h.T, "heard"))
	h.collect()
}

func (h *history) renewals() {
	if x := h.one(); x != nil {
		h.may(x.tries(rapid.SampledFrom([]string{"renewals_fail", "renewals_succeed"}).Draw(h.T, "renewals")), "payment.outcome", "payment.closed")
		h.collect()
	}
}

func (h *history) decide() {
	x := h.one()
	if x == nil {
		return
	}
	var err error
	switch h.pick(4, "decides") {
	case 0:
		_, err = h.shop.subs.ResumeMySubscription(h.shop.as(x.buyer), &commercepb.ResumeMySubscriptionRequest{SubscriptionId: x.id})
	case 1:
		_, err = h.shop.subs.CancelSubscription(h.shop.staff(), &commercepb.CancelSubscriptionRequest{SubscriptionId: x.id, Now: true})
	default:
		_, err = h.shop.subs.CancelMySubscription(h.shop.as(x.buyer), &commercepb.CancelMySubscriptionRequest{SubscriptionId: x.id})
	}
	h.may(err, "subscription.ended")
	h.collect()
}

// says is what the provider says of a subscription now.
func (h *history) says(x *subscribed) commerce.SubscriptionNews {
	n, err := h.weather.Subscription(h.shop.Context(), x.id)
	if err != nil {
		h.Fatalf("%v", err)
	}
	return n
}

// hearSubscription has the service hear how a subscription stands, or how it stood once.
func (h *history) hearSubscription() {
	if x := h.one(); x != nil {
		h.said = append(h.said, h.says(x))
	}
	if len(h.said) == 0 {
		return
	}
	i := h.pick(len(h.said), "said")
	h.may(h.shop.svc.HeardSubscription(h.shop.Context(), h.said[i]))
	h.collect()
}

// allHeard has the provider told all that was decided, and everything heard that it did.
func (h *history) allHeard() {
	for range 3 {
		for h.shop.count(`SELECT count(*) FROM provider_call WHERE state = 'waiting'`) > 0 {
			h.carryOut()
		}
		for _, x := range h.subs {
			h.may(h.shop.svc.HearSubscription(h.shop.Context(), x.id))
		}
		for _, n := range h.said { // and what is old, again
			h.may(h.shop.svc.HeardSubscription(h.shop.Context(), n))
		}
	}
	h.collect()
}

// checkSubscriptions holds that each period that the provider charged is an order once, or
// was given back; that both agree on how subscriptions stand; that access is what was paid
// for and not given back, whatever came first; and that the reconciler agrees. Then it
// ends them: the shop goes on.
func (h *history) checkSubscriptions(ctx context.Context) {
	s := h.shop
	until := s.accessByPeriods()
	for _, x := range h.subs {
		var here, there string
		var cancelHere, cancelThere, wished bool
		if err := s.db.QueryRow(ctx, `
			SELECT s.state, d.state, s.cancel_at_period_end, d.cancel_at_period_end, s.wished FROM subscription s JOIN development_subscription d ON d.id = s.id WHERE s.id = $1`,
			x.id).Scan(&here, &there, &cancelHere, &cancelThere, &wished); err != nil {
			h.Fatalf("%v", err)
		}
		if here != there || here != "ended" && cancelHere != cancelThere || wished {
			h.Fatalf("%s is %s here and %s at the provider, to end %v and %v, still to be told %v", x.id, here, there, cancelHere, cancelThere, wished)
		}
		charged := s.count(`SELECT count(*) FROM development_payment WHERE subscription_id = $1 AND state = 'succeeded'`, x.id)
		heard := s.count(`SELECT count(*) FROM orders o JOIN payment p ON p.id = o.payment_id WHERE o.subscription_id = $1 AND p.state = 'succeeded'`, x.id)
		vain := s.count(`
			SELECT count(*) FROM orders o JOIN payment p ON p.id = o.payment_id JOIN development_payment d ON d.id = p.ref
			WHERE o.subscription_id = $1 AND p.state = 'succeeded' AND o.paid_at IS NULL AND (d.refunded <> d.amount OR p.surplus)`, x.id)
		if charged != heard || vain != 0 {
			h.Fatalf("%s: %d periods are charged and %d are heard of, %d of them are nothing and not given back", x.id, charged, heard, vain)
		}
		rows, err := s.db.Query(ctx, `
			SELECT l.id, l.course_id, l.access_ended, o.access_until FROM order_line l JOIN orders o ON o.id = l.order_id WHERE o.subscription_id = $1 AND o.paid_at IS NOT NULL`, x.id)
		if err != nil {
			h.Fatalf("%v", err)
		}
		for rows.Next() {
			var line, course string
			var ended bool
			var last time.Time
			if err := rows.Scan(&line, &course, &ended, &last); err != nil {
				h.Fatalf("%v", err)
			}
			at, gives := until[line]
			if gives == ended || gives && !at.Equal(last) {
				h.Fatalf("line %s of %s: access has it until %s (%v), the order %s, ended %v", line, x.id, at, gives, last, ended)
			}
			s.grants.mu.Lock()
			s.grants.source[line] = "subscription"
			s.grants.grants[line] = &accesspb.SourceGrant{SourceId: line, CourseId: course, AccountId: x.buyer, EntitlementId: id.New("entitlement"), Revoked: ended, EndsAt: timestamppb.New(last)}
			s.grants.mu.Unlock()
		}
		if err := rows.Err(); err != nil {
			h.Fatalf("%v", err)
		}
	}
	if open := s.reconciled("open"); len(open) > 0 {
		h.Fatalf("the reconciler says %v", open)
	}
	for _, x := range h.subs {
		_, err := s.subs.CancelSubscription(s.staff(), &commercepb.CancelSubscriptionRequest{SubscriptionId: x.id, Now: true})
		h.may(err)
	}
	for s.count(`SELECT count(*) FROM provider_call WHERE state = 'waiting'`) > 0 {
		h.carryOut()
	}
}
