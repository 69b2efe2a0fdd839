package commerce_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/commerce/stripetest"
)

// stripeSubscriber is a buyer who has subscribed to a plan of two courses at Stripe.
type stripeSubscriber struct {
	*stripeShop
	buyer, id, ref string
}

// stripePlan makes a plan of 11.90 € a month.
func (s *stripeShop) stripePlan(seller string, courses ...string) string {
	s.Helper()
	p, err := s.plans.CreatePlan(s.as(seller), &commercepb.CreatePlanRequest{
		Title: "All of Latin", Interval: "month", CourseIds: courses, Prices: []*moneypb.Money{{Amount: 1190, Currency: "EUR"}},
	})
	if err == nil {
		p, err = s.plans.PublishPlan(s.as(seller), &commercepb.PublishPlanRequest{PlanId: p.GetId()})
	}
	if err != nil {
		s.Fatal(err)
	}
	return p.GetId()
}

// subscribes has somebody subscribe to a plan and go to the page.
func (s *stripeShop) subscribes(plan string) (*stripeSubscriber, string) {
	s.Helper()
	b := &stripeSubscriber{stripeShop: s, buyer: id.New("account")}
	sub, err := s.subs.CreateSubscription(s.as(b.buyer), &commercepb.CreateSubscriptionRequest{PlanId: plan})
	if err != nil {
		s.Fatal(err)
	}
	b.id = sub.GetId()
	return b, s.session(&commercepb.Order{PayUrl: sub.GetPayUrl()})
}

// newSubscriber has somebody subscribe, and pay.
func newSubscriber(t *testing.T) *stripeSubscriber {
	t.Helper()
	s := newStripeShop(t)
	seller := id.New("account")
	b, session := s.subscribes(s.stripePlan(seller, s.course(seller, 1000, "EUR"), s.course(seller, 2000, "EUR")))
	if !s.stripe.Pay(session, stripetest.Succeed) {
		t.Fatal("the page is closed")
	}
	b.ref = s.stripe.SubscriptionOf(b.id)
	s.hear()
	b.stands("active", 1)
	return b
}

func (b *stripeSubscriber) get() *commercepb.Subscription {
	b.Helper()
	sub, err := b.subs.GetMySubscription(b.as(b.buyer), &commercepb.GetMySubscriptionRequest{SubscriptionId: b.id})
	if err != nil {
		b.Fatal(err)
	}
	return sub
}

// orders are those of its periods, the first one first.
func (b *stripeSubscriber) orders() []*commercepb.Order {
	b.Helper()
	l, err := b.client.ListOrders(b.as(b.buyer), &commercepb.ListOrdersRequest{SubscriptionId: b.id, PageSize: 100})
	if err != nil {
		b.Fatal(err)
	}
	orders := l.GetItems()
	slices.SortFunc(orders, func(x, y *commercepb.Order) int {
		return x.GetPeriodStart().AsTime().Compare(y.GetPeriodStart().AsTime())
	})
	return orders
}

// stands fails unless the subscription is in a state with so many periods paid, as it is at
// Stripe, and the money is right.
func (b *stripeSubscriber) stands(state string, periods int) *commercepb.Subscription {
	b.Helper()
	sub := b.get()
	orders := b.orders()
	paid := 0
	for _, o := range orders {
		if o.GetPaidAt() != nil {
			paid++
		}
	}
	if sub.GetState() != state || paid != periods {
		b.Fatalf("%s with %d periods paid, want %s with %d: %v", sub.GetState(), paid, state, periods, sub)
	}
	b.balanced()
	return sub
}

// month lets a period end and the next be charged.
func (b *stripeSubscriber) month() {
	end := time.Unix(b.now.Load(), 0)
	if p := b.get().GetPeriodEnd(); p != nil {
		end = p.AsTime()
	}
	b.now.Store(max(b.now.Load(), end.Add(2*time.Hour).Unix()))
}

func (b *stripeSubscriber) invoice(n int) string {
	b.Helper()
	refs, _ := b.stripe.Invoices(b.ref)
	return refs[n]
}

func TestSubscriptionLifeAtStripe(t *testing.T) {
	t.Parallel()
	b := newSubscriber(t)
	for n := range 3 {
		b.month()
		b.hear()
		b.stands("active", n+2)
	}
	orders := b.orders()
	for i, o := range orders {
		if i > 0 && !o.GetPeriodStart().AsTime().Equal(orders[i-1].GetPeriodEnd().AsTime()) {
			t.Errorf("period %d begins at %v", i, o.GetPeriodStart().AsTime())
		}
		if len(o.GetLines()) != 2 || o.GetTotal().GetAmount() != 1190 {
			t.Errorf("period %d: %v", i, o)
		}
	}
	if tax := b.count(`SELECT sum(tax) FROM order_line`); tax != 4*190 {
		t.Errorf("tax %d", tax)
	}
	if kept := b.kept(); kept["waiting"]+kept["parked"] > 0 {
		t.Errorf("events %v", kept)
	}
	// It fails, and the buyer pays at the page that they are led to.
	b.stripe.Card(b.ref, stripetest.Decline)
	b.month()
	b.hear()
	if sub := b.stands("past_due", 4); sub.GetNextAttemptAt() == nil || !sub.GetAccessUntil().AsTime().After(b.clock()) {
		t.Errorf("past due: %v", sub)
	}
	link, err := b.subs.CreateBillingLink(b.as(b.buyer), &commercepb.CreateBillingLinkRequest{SubscriptionId: b.id})
	if err != nil || link.GetUrl() != b.stripe.URL+"/invoice/"+b.invoice(4) {
		t.Fatalf("%v, %v", link, err)
	}
	b.stripe.PayInvoice(b.invoice(4), stripetest.Succeed)
	b.hear()
	b.stands("active", 5)
	// It is to be confirmed, and nobody does so until Stripe has given up.
	b.stripe.Card(b.ref, stripetest.Confirm)
	b.month()
	b.hear()
	b.stands("past_due", 5)
	b.now.Add(13 * aDay)
	b.hear()
	if sub := b.stands("ended", 5); sub.GetEndReason() != "given_up" || sub.GetAccessUntil() != nil {
		t.Errorf("given up: %v", sub)
	}
	// Who pays all the same gets it back.
	if !b.stripe.PayInvoice(b.invoice(5), stripetest.Succeed) {
		t.Fatal("the page is closed")
	}
	b.hear()
	b.carryOut(0)
	b.hear()
	b.stands("ended", 5)
	if n := b.count(`SELECT count(*) FROM refund WHERE source = 'surplus' AND state = 'succeeded' AND amount = 1190`); n != 1 {
		t.Errorf("%d times the money went back", n)
	}
	if got := b.reconciled("open"); len(got) > 0 {
		t.Errorf("the reconciler says %v", got)
	}
}

// Once Stripe has given up, the page of what was not paid is closed.
func TestGivenUpAtStripeIsClosed(t *testing.T) {
	t.Parallel()
	b := newSubscriber(t)
	b.stripe.Card(b.ref, stripetest.Decline)
	b.month()
	b.hear()
	b.now.Add(30 * aDay)
	b.hear()
	if sub := b.stands("ended", 1); sub.GetEndReason() != "given_up" {
		t.Fatalf("%v", sub)
	}
	b.carryOut(0)
	if b.stripe.PayInvoice(b.invoice(1), stripetest.Succeed) {
		t.Error("the page can still be paid")
	}
	b.hear()
	b.stands("ended", 1)
	if got := b.reconciled("open"); len(got) > 0 {
		t.Errorf("the reconciler says %v", got)
	}
}

// Events of a subscription may come twice, late and in any order, and what they say does
// not count.
func TestSubscriptionEventsInAnyOrder(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"reversed", "shuffled", "first to last"} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			s := newStripeShop(t)
			seller := id.New("account")
			b, session := s.subscribes(s.stripePlan(seller, s.course(seller, 1000, "EUR")))
			s.stripe.Pay(session, stripetest.Succeed)
			b.ref = s.stripe.SubscriptionOf(b.id)
			start := s.clock()
			for n := 1; n <= 3; n++ {
				s.now.Store(start.AddDate(0, n, 0).Add(2 * time.Hour).Unix())
				s.stripe.Invoices(b.ref) // time passes there too
				s.stripe.Card(b.ref, []stripetest.Outcome{stripetest.Succeed, stripetest.Succeed, stripetest.Decline, stripetest.Decline}[n])
			}
			events := s.stripe.Take()
			switch order {
			case "reversed":
				slices.Reverse(events)
			case "shuffled":
				rand.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] }) //nolint:gosec // chance, not secrecy
			}
			for _, d := range slices.Concat(events, events) {
				if err := s.send(d); err != nil {
					t.Fatal(err)
				}
				s.takeIn()
			}
			b.stands("past_due", 3)
			if kept := s.kept(); kept["parked"]+kept["waiting"] > 0 {
				t.Errorf("events %v", kept)
			}
			for kind, object := range map[string]string{"invoice.paid": b.invoice(3), "customer.subscription.deleted": b.ref, "payment_intent.succeeded": "pi_nobody"} {
				if err := s.send(s.stripe.Lie(kind, object, map[string]any{"status": "paid"})); err != nil {
					t.Fatal(err)
				}
				s.takeIn()
			}
			b.stands("past_due", 3)
			if n := len(sent[*commercepb.SubscriptionRenewalFailed](s.shop)); n != 1 {
				t.Errorf("%d times it was said that a renewal failed", n)
			}
		})
	}
}

// What was tried again by Stripe itself goes on too, with access that had ended meanwhile.
func TestSubscriptionRecoversAtStripe(t *testing.T) {
	t.Parallel()
	b := newSubscriber(t)
	b.stripe.Card(b.ref, stripetest.Decline)
	b.month()
	b.hear()
	b.stands("past_due", 1)
	b.now.Add(4 * aDay)
	b.hear()
	if sub := b.stands("past_due", 1); sub.GetAccessUntil() != nil {
		t.Errorf("it gives access: %v", sub)
	}
	b.stripe.Card(b.ref, stripetest.Succeed)
	b.now.Add(5 * aDay)
	b.hear()
	if sub := b.stands("active", 2); !sub.GetAccessUntil().AsTime().After(b.clock()) {
		t.Errorf("it gives no access: %v", sub)
	}
}

func TestSubscriptionEndsAtStripe(t *testing.T) {
	t.Parallel()
	cancel := func(b *stripeSubscriber) *commercepb.Subscription {
		b.Helper()
		sub, err := b.subs.CancelMySubscription(b.as(b.buyer), &commercepb.CancelMySubscriptionRequest{SubscriptionId: b.id})
		if err != nil {
			b.Fatal(err)
		}
		b.CarryOut()
		b.hear()
		return sub
	}
	t.Run("with its period, after going on", func(t *testing.T) {
		t.Parallel()
		b := newSubscriber(t)
		for n := range 2 {
			if sub := cancel(b); !sub.GetCancelAtPeriodEnd() {
				t.Fatalf("%v", sub)
			}
			if n == 1 {
				break
			}
			sub, err := b.subs.ResumeMySubscription(b.as(b.buyer), &commercepb.ResumeMySubscriptionRequest{SubscriptionId: b.id})
			if err != nil || sub.GetCancelAtPeriodEnd() {
				t.Fatalf("%v, %v", sub, err)
			}
			b.CarryOut()
			b.month()
			b.hear()
			b.stands("active", 2)
		}
		b.month()
		b.hear()
		sub := b.stands("ended", 2)
		if sub.GetEndReason() != "cancelled" || b.stripe.Subscription(b.ref) != "canceled" {
			t.Errorf("%v", sub)
		}
		_, err := b.subs.ResumeMySubscription(b.as(b.buyer), &commercepb.ResumeMySubscriptionRequest{SubscriptionId: b.id})
		wantCode(t, err, "subscription.ended")
	})
	t.Run("at Stripe's pages", func(t *testing.T) {
		t.Parallel()
		b := newSubscriber(t)
		b.stripe.PortalCancel(b.ref)
		b.hear()
		if sub := b.stands("active", 1); !sub.GetCancelAtPeriodEnd() {
			t.Errorf("%v", sub)
		}
		sub, err := b.subs.ResumeMySubscription(b.as(b.buyer), &commercepb.ResumeMySubscriptionRequest{SubscriptionId: b.id})
		if err != nil || sub.GetCancelAtPeriodEnd() {
			t.Fatalf("%v, %v", sub, err)
		}
		b.CarryOut()
		b.month()
		b.hear()
		b.stands("active", 2)
	})
	t.Run("while past due", func(t *testing.T) {
		t.Parallel()
		b := newSubscriber(t)
		b.stripe.Card(b.ref, stripetest.Decline)
		b.month()
		b.hear()
		b.stands("past_due", 1)
		cancel(b)
		b.stands("ended", 1)
		if b.stripe.PayInvoice(b.invoice(1), stripetest.Succeed) {
			t.Error("what was given up can be paid")
		}
		b.stripe.Card(b.ref, stripetest.Succeed)
		b.now.Add(60 * aDay)
		b.hear()
		b.stands("ended", 1)
	})
	t.Run("now, by staff", func(t *testing.T) {
		t.Parallel()
		b := newSubscriber(t)
		if _, err := b.subs.CancelSubscription(b.staff(), &commercepb.CancelSubscriptionRequest{SubscriptionId: b.id, Now: true}); err != nil {
			t.Fatal(err)
		}
		b.CarryOut()
		b.hear()
		if b.stands("ended", 1); b.stripe.Subscription(b.ref) != "canceled" {
			t.Error("it goes on at Stripe")
		}
	})
}

// CarryOut has what is due at Stripe done.
func (b *stripeSubscriber) CarryOut() {
	b.Helper()
	b.carryOut(0)
}

// A renewal is given back, disputed and given back by hand as any order is.
func TestRenewalsMoneyAtStripe(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1} { // also the first period
		b := newSubscriber(t)
		for range 2 {
			b.month()
			b.hear()
		}
		b.stands("active", 3)
		o := b.orders()[n]
		lines := o.GetLines()
		if _, err := b.giveBack(o, &commercepb.LineToRefund{LineId: lines[0].GetId(), Amount: 100}); err != nil {
			t.Fatal(err)
		}
		b.carryOut(0)
		b.hear()
		b.stands("active", 3)
		if got := b.stripeShop.get(b.buyer, o.GetId()); got.GetState() != "partly_refunded" {
			t.Errorf("period %d is %s", n, got.GetState())
		}
		if !b.stripe.GiveBack(b.paymentRef(o), 90) {
			t.Error("there was not so much to give back")
		}
		b.hear()
		if got := b.count(`SELECT count(*) FROM refund WHERE source = 'provider' AND amount = 90 AND state = 'succeeded' AND order_id = $1`, o.GetId()); got != 1 {
			t.Errorf("%d refunds by hand are known", got)
		}
		b.stands("active", 3)
		// Won, it goes on; lost, it ends.
		other := b.orders()[1-n]
		dispute := b.stripe.Dispute(b.paymentRef(other))
		b.hear()
		if got := b.stripeShop.get(b.buyer, other.GetId()); got.GetState() != "disputed" {
			t.Errorf("period %d is %s", 1-n, got.GetState())
		}
		b.balanced()
		b.stripe.CloseDispute(dispute, true)
		b.hear()
		b.stands("active", 3)
		lost := b.stripe.Dispute(b.invoice(2))
		b.stripe.CloseDispute(lost, false)
		b.hear()
		b.carryOut(0)
		b.hear()
		if sub := b.stands("ended", 3); sub.GetEndReason() != "disputed" || b.stripe.Subscription(b.ref) != "canceled" {
			t.Errorf("a lost dispute: %v", sub)
		}
		b.stripe.CloseDispute(lost, true) // after all, which changes no more than the books
		b.hear()
		b.stands("ended", 3)
		if got := b.reconciled("open"); len(got) > 0 {
			t.Errorf("the reconciler says %v", got)
		}
	}
}

// paymentRef is what Stripe calls the payment of an order.
func (b *stripeSubscriber) paymentRef(o *commercepb.Order) (ref string) {
	b.Helper()
	if err := b.db.QueryRow(b.Context(), `SELECT ref FROM payment WHERE order_id = $1`, o.GetId()).Scan(&ref); err != nil {
		b.Fatal(err)
	}
	return ref
}

// When nothing that Stripe tells comes, it is asked.
func TestLostRenewals(t *testing.T) {
	t.Parallel()
	look := func(b *stripeSubscriber) {
		b.Helper()
		for _, do := range []func(context.Context) (int, error){b.svc.LookAtSubscriptions, b.svc.LookAtPayments} {
			if _, err := do(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		b.stripe.Take()
	}
	t.Run("it is looked up", func(t *testing.T) {
		t.Parallel()
		b := newSubscriber(t)
		b.stripe.LateFees(true)
		b.month()
		b.now.Add(aDay)
		look(b)
		if sub := b.get(); sub.GetState() != "active" || len(b.orders()) != 2 {
			t.Errorf("%v", sub)
		}
		b.stripe.TellFees()
		b.now.Add(aDay)
		look(b)
		b.stands("active", 2)
		b.stripe.Card(b.ref, stripetest.Decline)
		b.month()
		b.now.Add(aDay)
		look(b)
		b.stands("past_due", 2)
		b.now.Add(20 * aDay)
		look(b)
		b.stands("ended", 2)
	})
	t.Run("the reconciler finds it", func(t *testing.T) {
		t.Parallel()
		b := newSubscriber(t)
		b.month()
		b.stripe.Take()
		b.now.Add(2 * 3600)
		if got := b.reconciled("healed"); got["payment_unheard"] == "" {
			t.Errorf("healed %v", got)
		}
		b.stands("active", 2)
		if got := b.mismatches("open"); len(got) > 0 {
			t.Errorf("open %v", got)
		}
	})
	t.Run("the reconciler finds more than Stripe tells at once", func(t *testing.T) {
		t.Parallel()
		b := newSubscriber(t)
		b.now.Store(b.get().GetPeriodStart().AsTime().AddDate(0, 15, 1).Unix())
		b.stripe.Take()
		if got := b.reconciled("healed"); got["payment_unheard"] == "" {
			t.Errorf("healed %v", got)
		}
		b.stands("active", 16)
		if got := b.mismatches("open"); len(got) > 0 {
			t.Errorf("open %v", got)
		}
	})
}

// Who pays when it is too late gets the money back, and is not charged again.
func TestSubscribedTooLate(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	seller := id.New("account")
	b, session := s.subscribes(s.stripePlan(seller, s.course(seller, 1000, "EUR")))
	s.stripe.Pay(session, stripetest.Succeed)
	s.stripe.Take()
	if _, err := s.subs.CancelMySubscription(s.as(b.buyer), &commercepb.CancelMySubscriptionRequest{SubscriptionId: b.id}); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		s.carryOut(60)
		s.hear()
	}
	if sub := b.stands("ended", 0); sub.GetState() != "ended" || s.stripe.Live() != 0 {
		t.Errorf("%v, and %d go on at Stripe", sub, s.stripe.Live())
	}
	if n := s.count(`SELECT count(*) FROM refund WHERE source = 'surplus' AND state = 'succeeded' AND amount = 1190`); n != 1 {
		t.Errorf("%d times the money went back", n)
	}
	s.now.Add(90 * aDay)
	s.hear()
	b.stands("ended", 0)
}
