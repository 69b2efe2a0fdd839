package commerce_test

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/stripetest"
)

const aDay = 24 * 3600

// subscriber is a subscription at the seam, with no order behind it.
type subscriber struct {
	*stripeShop
	session, ref string
	start        time.Time
	ends         int
}

func (s *stripeShop) request(payment string) commerce.SubscribeRequest {
	return commerce.SubscribeRequest{
		Checkout: commerce.Checkout{
			PaymentID: payment, OrderID: "order_1", Amount: 1190, Currency: "EUR", ExpiresAt: s.clock().Add(time.Hour), ReturnURL: "https://stoa.test/orders/order_1",
		},
		SubscriptionID: "subscription_" + payment, PlanTitle: "All of Latin", Interval: "month",
	}
}

func subscribe(t *testing.T, s *stripeShop, outcome stripetest.Outcome) *subscriber {
	t.Helper()
	payment := fmt.Sprint("payment_", s.stripe.Sessions())
	session, _, err := s.provider.Subscribe(t.Context(), "subscribe:"+payment, s.request(payment))
	if err != nil || !s.stripe.Pay(session, outcome) {
		t.Fatal(err)
	}
	return &subscriber{s, session, s.stripe.SubscriptionOf("subscription_" + payment), s.clock(), 0}
}

// news looks the subscription up.
func (s *subscriber) news() commerce.SubscriptionNews {
	s.Helper()
	n, err := s.provider.Subscription(s.Context(), s.ref)
	if err != nil {
		s.Fatal(err)
	}
	return n
}

// is fails unless the subscription is in a state, and its periods are paid in such states.
func (s *subscriber) is(state string, payments ...string) commerce.SubscriptionNews {
	s.Helper()
	n := s.news()
	var got []string
	for _, p := range n.Periods {
		got = append(got, p.Payment.State)
	}
	if n.State != state || !slices.Equal(got, payments) {
		s.Fatalf("%s with periods %v, want %s with %v", n.State, got, state, payments)
	}
	return n
}

// end ends it, or not.
func (s *subscriber) end(how string) commerce.SubscriptionNews {
	s.Helper()
	s.ends++
	n, err := s.provider.EndSubscription(s.Context(), fmt.Sprint("end:", s.ref, s.ends), s.ref, how)
	if err != nil {
		s.Fatalf("%s: %v", how, err)
	}
	return n
}

func TestSubscriptionAtTheSeam(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	// Who is asked for a page twice makes one, and who is declined has one still.
	first, url, err := s.provider.Subscribe(t.Context(), "k", s.request("payment_0"))
	if err != nil || url == "" {
		t.Fatalf("%q, %v", url, err)
	}
	if again, _, err := s.provider.Subscribe(t.Context(), "k", s.request("payment_0")); err != nil || again != first {
		t.Errorf("again: %q, %v", again, err)
	}
	s.stripe.Pay(first, stripetest.Decline)
	if n, err := s.provider.Payment(t.Context(), first); err != nil || n.State != "open" || n.PaymentID != "payment_0" || n.SubscriptionRef != "" {
		t.Errorf("declined: %+v, %v", n, err)
	}
	if n, err := s.provider.CloseCheckout(t.Context(), "c", first); err != nil || n.State != "closed" || s.stripe.Live() != 0 {
		t.Errorf("closed: %+v, %v", n, err)
	}
	sub := subscribe(t, s, stripetest.Succeed)
	for range 3 {
		s.now.Add(31 * aDay)
	}
	n := sub.is("active", "succeeded", "succeeded", "succeeded", "succeeded")
	fee := stripetest.Fee(1190)
	start := sub.start.UTC()
	want := commerce.SubscriptionNews{
		SubscriptionID: "subscription_payment_1", Ref: sub.ref, State: "active",
		PeriodStart: start.AddDate(0, 3, 0), PeriodEnd: start.AddDate(0, 4, 0),
	}
	for i, in := range invoices(s, sub.ref) {
		p := commerce.PeriodNews{InvoiceRef: in, Start: start.AddDate(0, i, 0), End: start.AddDate(0, i+1, 0), First: i == 0}
		p.Payment = commerce.PaymentNews{
			Ref: in, State: "succeeded", Received: 1190, Currency: "EUR", Tax: map[string]int64{"": 190}, Fee: &fee, SubscriptionRef: sub.ref,
			PeriodStart: p.Start, PeriodEnd: p.End,
		}
		if p.First {
			p.Payment.PaymentID, p.Payment.Ref = "payment_1", sub.session
		}
		// The payment says the same when it is asked for by itself.
		alone, err := s.provider.Payment(t.Context(), p.Payment.Ref)
		if diff := cmp.Diff(p.Payment, alone); err != nil || diff != "" {
			t.Errorf("payment of period %d: %v\n%s", i, err, diff)
		}
		want.Periods = append(want.Periods, p)
	}
	if diff := cmp.Diff(want, n); diff != "" {
		t.Error(diff)
	}
	// After years of it the last periods are told.
	s.now.Add(500 * aDay)
	if n := sub.news(); len(n.Periods) != 12 || n.Periods[0].First || !n.Periods[11].End.Equal(n.PeriodEnd) {
		t.Errorf("%d periods, the last until %v of %v", len(n.Periods), n.Periods[len(n.Periods)-1].End, n.PeriodEnd)
	}
}

func invoices(s *stripeShop, ref string) []string {
	refs, _ := s.stripe.Invoices(ref)
	return refs
}

// A look-up takes as many requests for many periods as for one.
func TestSubscriptionTakesFewRequests(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	sub := subscribe(t, s, stripetest.Succeed)
	s.now.Add(300 * aDay)
	var n atomic.Int32
	s.stripe.Fail(func(*http.Request) stripetest.Fault { n.Add(1); return stripetest.None })
	if got := sub.news(); len(got.Periods) != 10 || n.Load() != 4 {
		t.Errorf("%d requests for %d periods", n.Load(), len(got.Periods))
	}
}

func TestSubscriptionPastDue(t *testing.T) {
	t.Parallel()
	for _, outcome := range []stripetest.Outcome{stripetest.Decline, stripetest.Confirm} {
		t.Run(string(outcome), func(t *testing.T) {
			t.Parallel()
			s := newStripeShop(t)
			sub := subscribe(t, s, stripetest.Succeed)
			if url, err := s.provider.BillingURL(t.Context(), sub.ref, "https://stoa.test/back"); err != nil || url == "" {
				t.Errorf("what to pay with from now on: %q, %v", url, err)
			}
			s.stripe.Card(sub.ref, outcome)
			s.now.Add(32 * aDay)
			n := sub.is("past_due", "succeeded", "declined")
			renewed := sub.start.AddDate(0, 1, 0).Add(time.Hour)
			if n.NextAttempt == nil || !n.NextAttempt.Equal(renewed.Add(3*24*time.Hour)) {
				t.Errorf("tried again at %v", n.NextAttempt)
			}
			in := invoices(s, sub.ref)[1]
			url, err := s.provider.BillingURL(t.Context(), sub.ref, "https://stoa.test/back")
			if err != nil || url != s.stripe.URL+"/invoice/"+in {
				t.Fatalf("where it is paid: %q, %v", url, err)
			}
			if !s.stripe.PayInvoice(in, stripetest.Succeed) {
				t.Fatal("the page is closed")
			}
			if n := sub.is("active", "succeeded", "succeeded"); n.NextAttempt != nil {
				t.Errorf("tried again at %v", n.NextAttempt)
			}
			// What they paid with is what the next period is charged to.
			s.now.Add(31 * aDay)
			sub.is("active", "succeeded", "succeeded", "succeeded")
			// Four tries, and it is over.
			s.stripe.Card(sub.ref, outcome)
			s.now.Add(42 * aDay)
			n = sub.is("ended", "succeeded", "succeeded", "succeeded", "declined")
			ended := sub.start.AddDate(0, 3, 0).Add(time.Hour + 12*24*time.Hour)
			if n.EndedAt == nil || !n.EndedAt.Equal(ended) || n.NextAttempt != nil {
				t.Errorf("ended at %v, want %v", n.EndedAt, ended)
			}
			if _, err := s.provider.BillingURL(t.Context(), sub.ref, "https://stoa.test/back"); !fault.Is(err, fault.Conflict) {
				t.Errorf("of one that has ended: %v", err)
			}
			// What was not paid can be paid until it is said that nobody may.
			in = invoices(s, sub.ref)[3]
			sub.end("now")
			if s.stripe.PayInvoice(in, stripetest.Succeed) {
				t.Error("what was given up can be paid")
			}
			sub.is("ended", "succeeded", "succeeded", "succeeded")
		})
	}
}

// An operator is told what is to be set up, and nobody is led to a page that is not there.
func TestCustomerPortal(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	sub := subscribe(t, s, stripetest.Succeed)
	says := func(want string) {
		t.Helper()
		if got, err := s.provider.Account(t.Context()); err != nil || !strings.Contains(got, want) {
			t.Errorf("%q, %v", got, err)
		}
	}
	says(", a customer portal,")
	s.stripe.NoPortal()
	says("no customer portal")
	if url, err := s.provider.BillingURL(t.Context(), sub.ref, "https://stoa.test/back"); err == nil || url != "" {
		t.Errorf("%q, %v", url, err)
	}
}

// The operator's guide names each event that matters, and none that does not.
func TestEventsAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/payments.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "**Endpoints.**")
	list, _, _ = strings.Cut(list, "`STOA_STRIPE_WEBHOOK_SECRETS`")
	named := regexp.MustCompile("`([a-z_]+(?:\\.[a-z_]+)+)`").FindAllStringSubmatch(list, -1)
	got := map[string]bool{}
	for _, n := range named {
		got[n[1]] = true
	}
	want := map[string]bool{}
	for _, e := range commerce.StripeEvents() {
		want[e] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("heard of (-) and documented (+):\n%s", diff)
	}
}

func TestSubscriptionEnds(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	sub := subscribe(t, s, stripetest.Succeed)
	for range 2 {
		if n := sub.end("period_end"); !n.EndsAtPeriodEnd || n.State != "active" {
			t.Errorf("%+v", n)
		}
	}
	if n := sub.end("resume"); n.EndsAtPeriodEnd {
		t.Errorf("%+v", n)
	}
	// By Stripe's own pages it may be ended too, and go on.
	s.stripe.PortalCancel(sub.ref)
	if n := sub.end("period_end"); !n.EndsAtPeriodEnd {
		t.Errorf("%+v", n)
	}
	if n := sub.end("resume"); n.EndsAtPeriodEnd {
		t.Errorf("%+v", n)
	}
	s.now.Add(32 * aDay)
	sub.is("active", "succeeded", "succeeded")
	sub.end("period_end")
	s.now.Add(32 * aDay)
	n := sub.is("ended", "succeeded", "succeeded")
	if end := sub.start.AddDate(0, 2, 0); n.EndedAt == nil || !n.EndedAt.Equal(end) {
		t.Errorf("ended at %v, want %v", n.EndedAt, end)
	}
	if _, err := s.provider.EndSubscription(t.Context(), "k", sub.ref, "resume"); !fault.Is(err, fault.Conflict) {
		t.Errorf("it goes on: %v", err)
	}
	for _, how := range []string{"period_end", "now"} {
		if n := sub.end(how); n.State != "ended" {
			t.Errorf("%s: %+v", how, n)
		}
	}
	now := subscribe(t, s, stripetest.Succeed)
	s.now.Add(aDay)
	if n := now.end("now"); n.State != "ended" || !n.EndedAt.Equal(s.clock()) {
		t.Errorf("%+v", n)
	}
	// Who gives up what they could not pay for pays nothing more.
	late := subscribe(t, s, stripetest.Succeed)
	s.stripe.Card(late.ref, stripetest.Decline)
	s.now.Add(32 * aDay)
	late.is("past_due", "succeeded", "declined")
	if n := late.end("period_end"); n.State != "ended" {
		t.Errorf("%+v", n)
	}
	s.stripe.Card(late.ref, stripetest.Succeed)
	s.now.Add(60 * aDay)
	if n := len(s.stripe.Charged()); n != 4 { // two of sub, one each of the others
		t.Errorf("%d were charged", n)
	}
}

// However a call fails, and also when Stripe has forgotten it, it has its effect once.
func TestSubscriptionCallsFail(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]stripetest.Fault{"before": stripetest.Before, "after": stripetest.After, "busy": stripetest.Busy} {
		for at := range 4 {
			t.Run(fmt.Sprint(name, at), func(t *testing.T) {
				t.Parallel()
				s := newStripeShop(t)
				sub := subscribe(t, s, stripetest.Succeed)
				s.stripe.Card(sub.ref, stripetest.Decline)
				s.now.Add(32 * aDay)
				var n atomic.Int32
				s.stripe.Fail(func(*http.Request) stripetest.Fault {
					if int(n.Add(1)) > at { // the client itself tries again what it may
						return f
					}
					return stripetest.None
				})
				if _, err := s.provider.EndSubscription(t.Context(), "end:now", sub.ref, "now"); err == nil {
					t.Fatal("it did not fail")
				} else if fault.Is(err, fault.Invalid) || fault.Is(err, fault.NotFound) || fault.Is(err, fault.Conflict) {
					t.Fatalf("nobody would ask again: %v", err)
				}
				s.stripe.Fail(nil)
				s.stripe.ForgetKeys()
				if n, err := s.provider.EndSubscription(t.Context(), "end:now", sub.ref, "now"); err != nil || n.State != "ended" {
					t.Errorf("%+v, %v", n, err)
				}
				if _, states := s.stripe.Invoices(sub.ref); !slices.Equal(states, []string{"paid", "void"}) {
					t.Errorf("invoices %v", states)
				}
			})
		}
	}
}

// A first period that takes days is not begun, and one that does not come is over when its
// order is.
func TestSubscriptionPaidLater(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	for _, arrives := range []bool{true, false} {
		sub := subscribe(t, s, stripetest.Later)
		sub.is("incomplete", "processing")
		s.stripe.Arrive(sub.session, arrives)
		if arrives {
			sub.is("active", "succeeded")
			s.stripe.Card(sub.ref, stripetest.Succeed)
			continue
		}
		sub.is("incomplete", "declined")
		if n, err := s.provider.CloseCheckout(t.Context(), "close", sub.session); err != nil || n.State != "closed" {
			t.Errorf("%+v, %v", n, err)
		}
		s.now.Add(60 * aDay)
		if sub.is("ended"); s.stripe.Live() != 1 {
			t.Errorf("%d go on", s.stripe.Live())
		}
	}
}

// Refunds, disputes and what moved the balance name the payment of a period, and events of
// it lead to its subscription.
func TestSubscriptionMoney(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	sub := subscribe(t, s, stripetest.Succeed)
	s.now.Add(32 * aDay)
	in := invoices(s, sub.ref)
	ctx := t.Context()
	for i, want := range []commerce.RefundNews{{PaymentID: "payment_0"}, {PaymentRef: in[1]}} {
		ref := []string{sub.session, in[1]}[i]
		r := commerce.RefundRequest{RefundID: fmt.Sprint("refund_", i), PaymentRef: ref, Amount: 100, Currency: "EUR", Reason: "requested_by_customer"}
		got, err := s.provider.Refund(ctx, fmt.Sprint("refund:", i), r)
		if err != nil {
			t.Fatal(err)
		}
		want.RefundID, want.Ref, want.Amount, want.Currency, want.State = r.RefundID, got.Ref, 100, "EUR", "succeeded"
		s.stripe.ForgetKeys()
		again, err := s.provider.Refund(ctx, fmt.Sprint("refund:", i), r)
		if diff := cmp.Diff([]commerce.RefundNews{want, want}, []commerce.RefundNews{got, again}); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
		r.RefundID, r.Currency = "refund_x", "USD"
		if _, err := s.provider.Refund(ctx, "refund:x", r); !fault.Is(err, fault.Invalid) {
			t.Errorf("another currency: %v", err)
		}
		dispute := s.stripe.Dispute(ref)
		d, err := s.provider.DisputeState(ctx, dispute)
		wanted := &commerce.DisputeNews{Ref: dispute, PaymentID: want.PaymentID, PaymentRef: want.PaymentRef, Amount: 1090, Currency: "EUR", Fee: 1500, State: "open", Reason: "fraudulent"}
		if diff := cmp.Diff(wanted, d, cmpopts.IgnoreFields(commerce.DisputeNews{}, "DueBy")); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	list, _, err := s.provider.Transactions(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	var refs []string
	for _, x := range list {
		if x.Kind == "payment" {
			refs = append(refs, x.Ref)
		}
	}
	if diff := cmp.Diff([]string{"payment_0", in[1]}, refs); diff != "" {
		t.Error(diff)
	}
	// Of each event it is known what it is about; none of a period says a payment of nobody.
	for _, d := range s.stripe.Take() {
		e, err := s.provider.ReadEvent(d.Body, d.Signed(stripetest.Secret, s.clock()), s.clock())
		if err != nil {
			t.Fatal(err)
		}
		if s.provider.About(e.Type) == "" {
			continue
		}
		n, err := s.provider.News(ctx, e)
		switch {
		case err != nil:
			t.Errorf("%s: %v", e.Type, err)
		case n.Payment != nil && n.Payment.PaymentID == "":
			t.Errorf("%s is of a payment without a name", e.Type)
		case n == commerce.News{}:
			t.Errorf("%s is of nothing", e.Type)
		case n.Subscription != nil && n.Subscription.Ref != sub.ref:
			t.Errorf("%s is of %s", e.Type, n.Subscription.Ref)
		}
	}
}
