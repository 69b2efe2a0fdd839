package commerce_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/commerce/stripetest"
)

// stripeHistory is a random course of things: orders, buyers who pay, decline, pay later or
// give up, subscriptions that are renewed, fail, recover, are cancelled here and there and go
// on, events that are lost, late, doubled, reordered and forged, requests that fail
// before or after they took effect, and processes that die in between.
type stripeHistory struct {
	*stripeShop
	rand   *rand.Rand
	faulty sync.Mutex // guards rand for the faults
	faults *rand.Rand

	courses []string
	plan    string
	orders  []*commercepb.Order
	begun   []*commercepb.Subscription
	pages   map[string]string // of orders, once the buyer has seen them
	backlog []stripetest.Delivery
	log     []string
}

// fault has one request in four fail.
func (h *stripeHistory) fault(*http.Request) stripetest.Fault {
	h.faulty.Lock()
	defer h.faulty.Unlock()
	if h.faults.IntN(4) > 0 {
		return stripetest.None
	}
	return stripetest.Fault(1 + h.faults.IntN(4))
}

// dying is a context of a process that may die at any moment.
func (h *stripeHistory) dying() (context.Context, context.CancelFunc) {
	if h.rand.IntN(3) > 0 {
		return context.WithCancel(h.Context())
	}
	return context.WithTimeout(h.Context(), time.Duration(h.rand.IntN(8000))*time.Microsecond)
}

// any returns one of the orders, nil when there is none.
func (h *stripeHistory) any() *commercepb.Order {
	if len(h.orders) == 0 {
		return nil
	}
	return h.orders[h.rand.IntN(len(h.orders))]
}

func (h *stripeHistory) note(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf(format, args...))
}

// step does something.
func (h *stripeHistory) step() {
	ctx, cancel := h.dying()
	defer cancel()
	switch n := h.rand.IntN(29); n {
	case 0, 1:
		buyer := id.New("account")
		o, err := h.client.CreateOrder(rpctest.Account(ctx, buyer), &commercepb.CreateOrderRequest{CourseIds: h.courses[:1+h.rand.IntN(len(h.courses))]})
		if err != nil {
			h.note("no order: %v", err)
			return
		}
		h.orders = append(h.orders, o)
		h.note("order %d", len(h.orders)-1)
	case 2, 3, 4, 5:
		if o := h.any(); o != nil {
			if now := h.get(o.GetBuyerId(), o.GetId()); now.GetPayUrl() != "" {
				h.pages[o.GetId()] = now.GetPayUrl()
			}
			_, page, ok := strings.Cut(h.pages[o.GetId()], "/pay/")
			outcome := []stripetest.Outcome{stripetest.Succeed, stripetest.Succeed, stripetest.Decline, stripetest.Later}[h.rand.IntN(4)]
			h.note("%s at %q: %v", outcome, page, ok && h.stripe.Pay(page, outcome))
		}
	case 6:
		if o := h.any(); o != nil {
			_, page, _ := strings.Cut(h.pages[o.GetId()], "/pay/")
			h.note("arrive %q: %v", page, h.stripe.Arrive(page, h.rand.IntN(2) == 0))
		}
	case 7:
		if o := h.any(); o != nil {
			_, err := h.client.CancelOrder(rpctest.Account(ctx, o.GetBuyerId()), &commercepb.CancelOrderRequest{OrderId: o.GetId()})
			h.note("cancel %s: %v", o.GetId(), err)
		}
	case 8, 9, 10, 11:
		h.deliver(ctx)
	case 12:
		if o := h.any(); o != nil {
			_, page, _ := strings.Cut(h.pages[o.GetId()], "/pay/")
			lie := h.stripe.Lie("checkout.session.completed", page, map[string]any{"payment_status": "paid"})
			h.note("lie: %v", h.send(lie))
		}
	case 13:
		_, err := h.svc.HearEvents(ctx)
		h.note("hear: %v", err)
	case 14:
		_, err := h.svc.CarryOut(ctx)
		h.note("carry out: %v", err)
	case 15:
		_, err := h.svc.LookAtPayments(ctx)
		h.note("look: %v", err)
	case 16:
		_, err := h.svc.Expire(ctx)
		h.note("expire: %v", err)
	case 17:
		h.stripe.TellFees()
	case 18:
		seconds := []int64{30, 150, 3600, 13 * 3600}[h.rand.IntN(4)]
		h.now.Add(seconds)
		h.note("%d s later", seconds)
	case 19, 20, 21, 22, 23, 24, 25, 26:
		h.subscription(ctx)
	default:
		h.together(ctx)
	}
}

// subscription does something with subscriptions.
func (h *stripeHistory) subscription(ctx context.Context) {
	if len(h.begun) == 0 || h.rand.IntN(8) == 0 {
		buyer := id.New("account")
		sub, err := h.subs.CreateSubscription(rpctest.Account(ctx, buyer), &commercepb.CreateSubscriptionRequest{PlanId: h.plan})
		if err == nil {
			h.begun = append(h.begun, sub)
			// Its page is that of an order.
			h.orders = append(h.orders, &commercepb.Order{Id: sub.GetOrderId(), BuyerId: buyer})
		}
		h.note("subscribe: %v", err)
		if _, page, ok := strings.Cut(sub.GetPayUrl(), "/pay/"); ok && h.rand.IntN(4) > 0 {
			h.note("succeed at once at %q: %v", page, h.stripe.Pay(page, stripetest.Succeed))
			h.together(ctx)
		}
		return
	}
	sub := h.begun[h.rand.IntN(len(h.begun))]
	buyer, ref := rpctest.Account(ctx, sub.GetBuyerId()), h.stripe.SubscriptionOf(sub.GetId())
	var err error
	what := h.rand.IntN(9)
	switch {
	case what == 0:
		_, err = h.subs.CancelMySubscription(buyer, &commercepb.CancelMySubscriptionRequest{SubscriptionId: sub.GetId()})
	case what == 1:
		_, err = h.subs.ResumeMySubscription(buyer, &commercepb.ResumeMySubscriptionRequest{SubscriptionId: sub.GetId()})
	case what == 2 && h.rand.IntN(3) == 0:
		_, err = h.subs.CancelSubscription(rpctest.Account(ctx, id.New("account")), &commercepb.CancelSubscriptionRequest{SubscriptionId: sub.GetId(), Now: true})
	case what == 3:
		_, err = h.svc.LookAtSubscriptions(ctx)
	case ref == "":
	case what == 4 && h.rand.IntN(3) == 0:
		h.stripe.PortalCancel(ref)
	case what == 5:
		h.stripe.Card(ref, []stripetest.Outcome{stripetest.Succeed, stripetest.Decline, stripetest.Confirm, stripetest.Later}[h.rand.IntN(4)])
	case what == 6:
		refs, _ := h.stripe.Invoices(ref)
		in := refs[len(refs)-1]
		if !h.stripe.Arrive(in, h.rand.IntN(2) == 0) {
			h.stripe.PayInvoice(in, []stripetest.Outcome{stripetest.Succeed, stripetest.Decline}[h.rand.IntN(2)])
		}
	default:
		days := []int64{1, 4, 9, 31}[h.rand.IntN(4)]
		h.now.Add(days * aDay)
		h.note("%d days later", days)
		if h.rand.IntN(2) == 0 {
			h.together(ctx)
		}
	}
	h.note("%d of %s (%s): %v", what, sub.GetId(), ref, err)
}

// together does in several processes what time brings.
func (h *stripeHistory) together(ctx context.Context) {
	h.deliver(ctx)
	var all sync.WaitGroup
	for _, do := range []func(context.Context) (int, error){h.svc.HearEvents, h.svc.HearEvents, h.svc.CarryOut, h.svc.CarryOut, h.svc.LookAtPayments, h.svc.LookAtSubscriptions, h.svc.Expire} {
		all.Go(func() { _, _ = do(ctx) })
	}
	all.Wait()
	h.note("together")
}

// deliver sends some of what Stripe has to tell.
func (h *stripeHistory) deliver(ctx context.Context) {
	h.backlog = append(h.backlog, h.stripe.Take()...)
	h.rand.Shuffle(len(h.backlog), func(i, j int) { h.backlog[i], h.backlog[j] = h.backlog[j], h.backlog[i] })
	var left []stripetest.Delivery
	for _, d := range h.backlog {
		switch h.rand.IntN(6) {
		case 0: // lost for good
		case 1:
			left = append(left, d)
		case 2:
			left = append(left, d) // and doubled
			fallthrough
		default:
			_, err := h.events.TakeProviderEvent(ctx, &commercepb.TakeProviderEventRequest{Provider: "stripe", Body: d.Body, Signature: d.Signed(stripetest.Secret, h.clock())})
			h.note("%s: %v", d.Type, err)
		}
	}
	h.backlog = left
}

// end lets Stripe answer again, and time pass.
func (h *stripeHistory) end() {
	h.Helper()
	h.stripe.Fail(nil)
	h.now.Add(25 * 3600)
	h.stripe.ForgetKeys()
	for _, page := range h.pages {
		_, page, _ = strings.Cut(page, "/pay/")
		h.stripe.Arrive(page, h.rand.IntN(2) == 0)
	}
	for _, sub := range h.begun {
		if ref := h.stripe.SubscriptionOf(sub.GetId()); ref != "" {
			h.stripe.Card(ref, []stripetest.Outcome{stripetest.Succeed, stripetest.Decline}[h.rand.IntN(2)])
			refs, _ := h.stripe.Invoices(ref)
			for _, in := range refs {
				h.stripe.Arrive(in, h.rand.IntN(2) == 0)
			}
		}
	}
	h.stripe.LateFees(false)
	h.stripe.TellFees()
	h.replay(commerce.Replay{Parked: true})
	for range 6 {
		h.now.Add(2 * 3600)
		h.settle()
	}
	// What has happened since a subscription was looked at last, Stripe tells.
	h.hear()
	h.settle()
}

// settle does what time brings, in one process.
func (h *stripeHistory) settle() {
	h.Helper()
	for _, do := range []func(context.Context) (int, error){h.svc.Expire, h.svc.CarryOut, h.svc.HearEvents, h.svc.LookAtPayments, h.svc.LookAtSubscriptions, h.svc.CarryOut} {
		if _, err := do(h.Context()); err != nil {
			h.Fatal(err)
		}
	}
}

// right fails unless money and orders are as they have to be.
func (h *stripeHistory) right() {
	h.Helper()
	h.balanced()
	var waiting, open int
	if err := h.db.QueryRow(h.Context(), `
		SELECT (SELECT count(*) FROM provider_call WHERE state = 'waiting') + (SELECT count(*) FROM provider_event WHERE state IN ('waiting', 'parked')),
			(SELECT count(*) FROM payment WHERE state IN ('open', 'processing'))`).Scan(&waiting, &open); err != nil {
		h.Fatal(err)
	}
	if waiting > 0 || open > 0 || h.stripe.Open() > 0 {
		h.Errorf("%d things wait, %d payments are open, %d pages", waiting, open, h.stripe.Open())
	}
	charged := h.stripe.Charged()
	rows, err := h.db.Query(h.Context(), `
		SELECT o.id, o.state, o.total, CASE WHEN p.ref LIKE 'in\_%' THEN p.ref ELSE p.id END, EXISTS (SELECT FROM refund r WHERE r.order_id = o.id AND r.source = 'surplus' AND r.state = 'succeeded' AND r.amount = o.total), (SELECT count(*) FROM order_transition t WHERE t.order_id = o.id AND t.state = 'paid')
		FROM orders o JOIN payment p ON p.id = o.payment_id`)
	if err != nil {
		h.Fatal(err)
	}
	defer rows.Close()
	bought := 0
	for rows.Next() {
		var order, state, payment string
		var total int64
		var surplus bool
		var times int
		if err := rows.Scan(&order, &state, &total, &payment, &surplus, &times); err != nil {
			h.Fatal(err)
		}
		taken := charged[payment]
		got := state == "paid" || state == "fulfilled" // the reconciler gives access
		switch {
		case len(taken) > 1:
			h.Errorf("%s was charged %v", order, taken)
		case len(taken) == 1 && taken[0] != total:
			h.Errorf("%s of %d was charged %v", order, total, taken)
		case len(taken) == 1 && !surplus && (!got || times != 1):
			h.Errorf("%s was charged and is %s, %d times paid", order, state, times)
		case len(taken) == 1 && surplus && state != "cancelled" && state != "expired":
			h.Errorf("%s is %s, and its money went back", order, state)
		case len(taken) == 0 && got:
			h.Errorf("%s is paid for nothing", order)
		}
		if got {
			bought++
		}
		delete(charged, payment)
	}
	if err := rows.Err(); err != nil {
		h.Fatal(err)
	}
	if len(charged) > 0 {
		h.Errorf("charged for what is no order: %v", charged)
	}
	if n := len(sent[*commercepb.OrderPaid](h.shop)); n != bought {
		h.Errorf("%d OrderPaid for %d paid orders", n, bought)
	}
	h.subscribed()
	if h.Failed() {
		h.Fatal(strings.Join(h.log, "\n"))
	}
}

// subscribed fails unless subscriptions stand here as they do at Stripe.
func (h *stripeHistory) subscribed() {
	h.Helper()
	for _, sub := range h.begun {
		got, err := h.subs.GetMySubscription(rpctest.Account(h.Context(), sub.GetBuyerId()), &commercepb.GetMySubscriptionRequest{SubscriptionId: sub.GetId()})
		if err != nil {
			h.Fatal(err)
		}
		want := "ended"
		if ref := h.stripe.SubscriptionOf(sub.GetId()); ref != "" {
			want = strings.Replace(h.stripe.Subscription(ref), "canceled", "ended", 1)
		}
		if got.GetState() != want {
			h.Errorf("%s is %s, and at Stripe %s", sub.GetId(), got.GetState(), want)
		}
	}
}

// Whatever happens, in whatever order: the ledger sums to zero and has what Stripe has,
// nobody is charged twice, and what was paid is given, or given back.
// STOA_TEST_HISTORIES has more of them told, STOA_TEST_SEED the same again.
func TestAnyHistoryAtStripe(t *testing.T) {
	t.Parallel()
	const shops = 8
	histories := 10 * shops
	if testing.Short() {
		histories = 2 * shops
	}
	if n, err := strconv.Atoi(os.Getenv("STOA_TEST_HISTORIES")); err == nil {
		histories = n
	}
	seed := rand.Uint64() //nolint:gosec // chance, not secrecy
	if n, err := strconv.ParseUint(os.Getenv("STOA_TEST_SEED"), 10, 64); err == nil {
		seed = n
	}
	// On a machine that is slow more processes die.
	var allPaid, allSurplus, allRenewed atomic.Int64
	t.Cleanup(func() {
		if histories >= 10*shops && (allPaid.Load() < 5 || allSurplus.Load() < 5 || allRenewed.Load() < 5) {
			t.Error("too little has happened")
		}
	})
	for i := range uint64(shops) {
		t.Run(strconv.FormatUint(i, 10), func(t *testing.T) {
			t.Parallel()
			s := newStripeShop(t)
			seller := id.New("account")
			courses := []string{s.course(seller, 4900, "EUR"), s.course(seller, 1999, "EUR"), s.course(id.New("account"), 50, "EUR")}
			plan := s.stripePlan(seller, courses[:2]...)
			for n := range max(1, histories/shops) {
				h := &stripeHistory{
					stripeShop: s, courses: courses, plan: plan, pages: map[string]string{},
					rand: rand.New(rand.NewPCG(seed+i, uint64(n))), faults: rand.New(rand.NewPCG(seed+i, uint64(n)+1<<32)), //nolint:gosec // chance, not secrecy
				}
				h.log = []string{fmt.Sprintf("STOA_TEST_SEED=%d, shop %d, history %d", seed, i, n)}
				s.stripe.LateFees(h.rand.IntN(2) == 0)
				s.stripe.Fail(h.fault)
				for range 20 + h.rand.IntN(30) {
					h.step()
				}
				h.end()
				h.right()
				if open := s.reconciled("open"); len(open) > 0 {
					t.Fatalf("the reconciler says %v\n%s", open, strings.Join(h.log, "\n"))
				}
			}
			var orders, paid, surplus, renewed int64
			if err := s.db.QueryRow(t.Context(), `
				SELECT count(*), count(*) FILTER (WHERE o.paid_at IS NOT NULL), count(*) FILTER (WHERE EXISTS (SELECT FROM refund r WHERE r.order_id = o.id AND r.source = 'surplus')),
					count(*) FILTER (WHERE o.paid_at IS NOT NULL AND o.period_ref IS NOT NULL)
				FROM orders o`).
				Scan(&orders, &paid, &surplus, &renewed); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d orders, of which %d were paid, %d of them renewals, and %d paid for nothing and given back; subscriptions that were past due %d times, recovered %d and ended %d",
				orders, paid, renewed, surplus,
				s.count(`SELECT count(*) FROM subscription_transition WHERE state = 'past_due'`),
				s.count(`SELECT count(*) FROM subscription_transition WHERE state = 'active' AND cause = 'what had failed is paid'`),
				s.count(`SELECT count(*) FROM subscription WHERE state = 'ended' AND ref IS NOT NULL`))
			allPaid.Add(paid)
			allSurplus.Add(surplus)
			allRenewed.Add(renewed)
		})
	}
}
