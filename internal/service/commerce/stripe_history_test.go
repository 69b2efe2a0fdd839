package commerce_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/commerce/stripetest"
)

// Whatever happens, in whatever order, with buyers who pay, decline, pay later or give up,
// subscribe, are charged again, cancel here and there and go on,
// events that are lost, late, doubled, reordered and forged, requests that fail before or
// after they took effect, and processes that die in between: the ledger sums to zero and
// has what Stripe has, nobody is charged twice, and what was paid is given, or given back.
func TestAnyHistoryAtStripe(t *testing.T) {
	t.Parallel()
	(&histories{
		many: 80, shop: 80, abreast: 8,
		steps: func(chance *rand.Rand) int { return 5 + chance.IntN(12) },
		open:  func(tb testing.TB, _ uint64, chance *rand.Rand) stage { return newStripeMarket(tb, chance) },
	}).tell(t)
}

// stripeMarket is a shop at a Stripe, in which many histories are told.
type stripeMarket struct {
	*stripeShop
	*ears
	teachers []string
	courses  []string
	plans    []string
	backlog  []stripetest.Delivery
	faulty   sync.Mutex // guards faults
	faults   *rand.Rand // nil while Stripe is well
	die      func()
}

func newStripeMarket(tb testing.TB, chance *rand.Rand) *stripeMarket {
	m := &stripeMarket{stripeShop: newStripeShop(tb)}
	m.ears = newEars(m.stripeShop.shop)
	m.cfg.Log = slog.New(slog.DiscardHandler)
	m.restart()
	for i := range 3 {
		teacher := id.New("account")
		m.teachers = append(m.teachers, teacher)
		if i < 2 {
			m.onboards(teacher)
		}
		for range 2 {
			m.courses = append(m.courses, m.course(teacher, 50+chance.Int64N(10_000), "EUR"))
		}
		m.plans = append(m.plans, m.stripePlan(teacher, m.courses[len(m.courses)-2:]...))
	}
	m.stripe.Fail(m.fault)
	return m
}

// onboards gets a teacher an account to be paid to.
func (m *stripeMarket) onboards(teacher string) {
	m.Helper()
	if _, err := m.payouts.CreatePayoutAccount(m.as(teacher), &commercepb.CreatePayoutAccountRequest{}); err != nil {
		m.Fatal(err)
	}
	for _, r := range m.rows(`SELECT ref FROM payout_account WHERE teacher_id = $1`, teacher) {
		m.stripe.Onboard(r[0])
	}
	m.hear()
}

// fault has one request in four fail, and at some the process dies.
func (m *stripeMarket) fault(*http.Request) stripetest.Fault {
	m.faulty.Lock()
	defer m.faulty.Unlock()
	if m.faults == nil || m.faults.IntN(4) > 0 {
		return stripetest.None
	}
	f := stripetest.Fault(1 + m.faults.IntN(4))
	if (f == stripetest.Before || f == stripetest.After) && m.faults.IntN(3) == 0 {
		m.die()
	}
	return f
}

// weather has requests fail by chance, or not.
func (m *stripeMarket) weather(faults *rand.Rand, die func()) {
	m.faulty.Lock()
	defer m.faulty.Unlock()
	m.faults, m.die = faults, die
}

// history implements [stage].
func (m *stripeMarket) history(n int) teller {
	h := &stripeHistory{stripeMarket: m, pages: map[string]string{}, buyer: id.New("account")}
	m.buyers[h.buyer] = n
	return h
}

// stripeHistory is what happens to the orders of a buyer.
type stripeHistory struct {
	*stripeMarket
	buyer  string
	orders []*commercepb.Order
	begun  []*commercepb.Subscription
	pages  map[string]string // of orders, once the buyer has seen them; the invoices of later periods
	rand   *rand.Rand
	said   []string
}

// any returns one of the orders and its page, empty while the buyer has not seen one.
func (h *stripeHistory) any() (o *commercepb.Order, page string) {
	o = h.orders[h.rand.IntN(len(h.orders))]
	return o, h.pages[o.GetId()]
}

func (h *stripeHistory) note(format string, args ...any) {
	h.said = append(h.said, fmt.Sprintf(format, args...))
}

// step implements [teller].
func (h *stripeHistory) step(chance *rand.Rand) string {
	h.rand, h.said = chance, nil
	ctx, cancel := context.WithCancel(h.Context())
	if chance.IntN(16) == 0 { // it may die at any moment
		ctx, cancel = context.WithTimeout(h.Context(), time.Duration(chance.IntN(8000))*time.Microsecond)
	}
	defer cancel()
	h.weather(rand.New(rand.NewPCG(chance.Uint64(), 0)), cancel) //nolint:gosec // chance, not secrecy
	defer h.weather(nil, nil)
	h.happens(ctx)
	if ctx.Err() != nil {
		h.note("died")
		h.restart()
	}
	return strings.Join(h.said, ", ")
}

// happens does something.
func (h *stripeHistory) happens(ctx context.Context) {
	h.collect()
	n := h.rand.IntN(31)
	if len(h.orders) == 0 {
		n = 0
	}
	switch {
	case len(h.orders) == 0 && h.rand.IntN(3) == 0, n == 30:
		h.subscribe(ctx)
	case len(h.begun) > 0 && h.rand.IntN(2) == 0:
		h.subscription(ctx)
	case n < 3:
		o, err := h.client.CreateOrder(rpctest.Account(ctx, h.buyer), &commercepb.CreateOrderRequest{CourseIds: h.some()})
		if err != nil {
			h.note("no order: %v", err)
			if n == 0 && ctx.Err() == nil { // another way to the same
				h.finds()
			}
			return
		}
		h.orders = append(h.orders, o)
		h.note("order %s", o.GetId())
		if h.rand.IntN(4) > 0 {
			h.pay(o, stripetest.Succeed)
		}
	case n < 6:
		o, _ := h.any()
		h.pay(o, []stripetest.Outcome{stripetest.Succeed, stripetest.Succeed, stripetest.Decline, stripetest.Later}[h.rand.IntN(4)])
	case n == 6:
		_, page := h.any()
		h.note("arrive %q: %v", page, h.stripe.Arrive(page, h.rand.IntN(2) == 0))
	case n == 7:
		o, _ := h.any()
		_, err := h.client.CancelOrder(rpctest.Account(ctx, h.buyer), &commercepb.CancelOrderRequest{OrderId: o.GetId()})
		h.note("cancel %s: %v", o.GetId(), err)
	case n < 12:
		h.deliver(ctx)
	case n == 12:
		h.forge()
	case n < 15:
		_, err := h.svc.HearEvents(ctx)
		h.note("hear: %v", err)
	case n < 17:
		_, err := h.svc.CarryOut(ctx)
		h.note("carry out: %v", err)
	case n == 17:
		_, err := h.svc.LookAtPayments(ctx)
		h.note("look: %v", err)
	case n == 18:
		h.stripe.LateFees(h.rand.IntN(2) == 0)
		h.stripe.TellFees()
		h.note("fees")
	case n == 19:
		seconds := []int64{30, 150, 3600, 13 * 3600, 31 * 24 * 3600}[h.rand.IntN(5)]
		h.now.Add(seconds)
		_, err := h.svc.Expire(ctx)
		h.note("%d s later: %v", seconds, err)
	case n < 23:
		h.refund(ctx)
	case n == 23:
		o, page := h.any()
		amount := o.GetTotal().GetAmount() // of what is not heard to be paid all: it may come to be paid for nothing
		if h.owned(o) {
			amount = 1 + h.rand.Int64N(amount)
		}
		h.note("by hand %d of %s: %v", amount, o.GetId(), h.stripe.GiveBack(page, amount))
	case n < 26:
		h.dispute()
	case n == 26:
		_, err := h.svc.Release(ctx)
		h.note("release: %v", err)
	case n == 27:
		h.payOut(ctx)
	case n == 28:
		h.note("invoices: %v", h.invoices(ctx))
	default:
		h.together(ctx)
	}
}

// some returns courses.
func (h *stripeHistory) some() (list []string) {
	for _, at := range h.rand.Perm(len(h.courses))[:1+h.rand.IntN(3)] {
		list = append(list, h.courses[at])
	}
	return list
}

// finds looks for orders of which the buyer had no answer.
func (h *stripeHistory) finds() {
	res, err := h.client.ListOrders(rpctest.Account(h.Context(), h.buyer), &commercepb.ListOrdersRequest{})
	if err != nil {
		h.Fatal(err)
	}
	for _, o := range res.GetItems() {
		if !slices.ContainsFunc(h.orders, func(known *commercepb.Order) bool { return known.GetId() == o.GetId() }) {
			h.orders = append(h.orders, o)
		}
	}
}

// pay has the buyer look for the page of an order and pay there.
func (h *stripeHistory) pay(o *commercepb.Order, outcome stripetest.Outcome) {
	if now := h.get(h.buyer, o.GetId()); now.GetPayUrl() != "" {
		_, h.pages[o.GetId()], _ = strings.Cut(now.GetPayUrl(), "/pay/")
	}
	page := h.pages[o.GetId()]
	h.note("%s %s at %q: %v", outcome, o.GetId(), page, h.stripe.Pay(page, outcome))
}

// owned reports whether an order was paid, as far as is known here.
func (h *stripeHistory) owned(o *commercepb.Order) bool {
	return h.count(`SELECT count(*) FROM orders WHERE id = $1 AND paid_at IS NOT NULL`, o.GetId()) == 1
}

func (h *stripeHistory) refund(ctx context.Context) {
	o, _ := h.any()
	req := &commercepb.CreateRefundRequest{OrderId: o.GetId(), Note: "x", EndSubscription: o.GetSubscriptionId() != "" && h.rand.IntN(2) == 0}
	for _, l := range o.GetLines()[:h.rand.IntN(len(o.GetLines())+1)] {
		amount := int64(0)
		if h.rand.IntN(2) == 0 {
			amount = 1 + h.rand.Int64N(l.GetPrice().GetAmount())
		}
		req.Lines = append(req.Lines, &commercepb.LineToRefund{LineId: l.GetId(), Amount: amount})
	}
	_, err := h.refunds.CreateRefund(rpctest.Account(ctx, id.New("account")), req)
	h.note("refund %v: %v", req, err)
}

// dispute has the buyer's bank take a payment back, or settles what it wanted.
func (h *stripeHistory) dispute() {
	o, page := h.any()
	if !h.owned(o) {
		return
	}
	if h.stripe.Disputable(page) {
		h.note("dispute %s: %s", o.GetId(), h.stripe.Dispute(page))
		return
	}
	if dispute := h.stripe.OpenDispute(page); dispute != "" {
		won := h.rand.IntN(2) == 0
		h.stripe.CloseDispute(dispute, won)
		h.note("dispute %s of %s won: %v", dispute, o.GetId(), won)
	}
}

func (h *stripeHistory) payOut(ctx context.Context) {
	h.now.Add(1)
	_, err := h.payouts.CreatePayoutRun(rpctest.Account(ctx, id.New("account")), &commercepb.CreatePayoutRunRequest{Currency: "EUR"})
	h.note("pay out: %v", err)
	if err == nil {
		_, err = h.svc.PayOut(ctx)
		h.note("pay out: %v", err)
	}
	if h.rand.IntN(2) == 0 {
		return
	}
	for _, r := range h.rows(`SELECT id FROM payout WHERE state = 'paid' ORDER BY id LIMIT 1`) {
		_, err := h.payouts.ReversePayout(rpctest.Account(ctx, id.New("account")), &commercepb.ReversePayoutRequest{PayoutId: r[0], Reason: "x"})
		h.note("reverse: %v", err)
	}
}

func (m *stripeMarket) invoices(ctx context.Context) error {
	if _, err := m.svc.IssueInvoices(ctx); err != nil {
		return err
	}
	_, err := m.svc.IssueCreditNotes(ctx)
	return err
}

// forge sends what Stripe has not said: signed by somebody else, which is refused, or by
// who knows the secret, which changes nothing.
func (h *stripeHistory) forge() {
	_, page := h.any()
	if strings.HasPrefix(page, "in_") {
		return
	}
	lie := h.stripe.Lie("checkout.session.completed", page, map[string]any{"payment_status": "paid"})
	if err := h.sendAs(lie.Body, lie.Signed("whsec_ofsomebodyelse", h.clock())); err == nil {
		h.Errorf("a forged event was taken")
	}
	h.note("lie: %v", h.send(lie))
}

// together does in several processes what time brings.
func (h *stripeHistory) together(ctx context.Context) {
	h.deliver(ctx)
	var all sync.WaitGroup
	for _, do := range []func(context.Context) (int, error){h.svc.HearEvents, h.svc.HearEvents, h.svc.CarryOut, h.svc.CarryOut, h.svc.LookAtPayments, h.svc.LookAtSubscriptions, h.svc.Expire, h.svc.Release} {
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
		switch how := h.rand.IntN(6); {
		case how == 0 && !strings.HasPrefix(d.Type, "charge.dispute"): // lost for good; of disputes nobody would know
		case how <= 1:
			left = append(left, d)
		default:
			if how == 2 {
				left = append(left, d) // and doubled
			}
			_, err := h.events.TakeProviderEvent(ctx, &commercepb.TakeProviderEventRequest{Provider: "stripe", Body: d.Body, Signature: d.Signed(stripetest.Secret, h.clock())})
			h.note("%s: %v", d.Type, err)
		}
	}
	h.backlog = left
}

// end lets Stripe answer again, and time pass.
func (m *stripeMarket) end() {
	m.Helper()
	m.weather(nil, nil)
	m.now.Add(25 * 3600)
	m.stripe.ForgetKeys()
	for i, page := range m.stripe.Pages() {
		m.stripe.Arrive(page, i%2 == 0)
	}
	m.arrives()
	m.stripe.LateFees(false)
	m.stripe.TellFees()
	for _, d := range append(m.backlog, m.stripe.Take()...) {
		if strings.HasPrefix(d.Type, "charge.dispute") {
			if err := m.send(d); err != nil {
				m.Fatal(err)
			}
		}
	}
	m.replay(commerce.Replay{Parked: true})
	m.all()
	m.settled(m.all)
}

// all does what time brings, until nothing is left to do.
func (m *stripeMarket) all() {
	m.Helper()
	for range 30 {
		m.now.Add(2 * 3600)
		m.hear() // what happens from now on
		for _, do := range []func(context.Context) (int, error){
			m.svc.Expire, m.svc.CarryOut, m.svc.HearEvents, m.svc.LookAtPayments, m.svc.LookAtSubscriptions, m.svc.CarryOut, m.svc.PayOut, m.svc.Release, m.svc.IssueInvoices, m.svc.IssueCreditNotes,
		} {
			if _, err := do(m.Context()); err != nil {
				m.Fatal(err)
			}
		}
		if err := m.tellsAccess(m.Context(), false); err != nil {
			m.Fatal(err)
		}
		if m.count(`SELECT (SELECT count(*) FROM provider_call WHERE state = 'waiting') + (SELECT count(*) FROM provider_event WHERE state IN ('waiting', 'parked'))
			+ (SELECT count(*) FROM payment WHERE state IN ('open', 'processing'))`) == 0 {
			return
		}
	}
	m.Errorf("%d pages are open, %v wait", m.stripe.Open(), m.rows(`SELECT key, problem FROM provider_call WHERE state = 'waiting' UNION ALL SELECT type, problem FROM provider_event WHERE state IN ('waiting', 'parked')
		UNION ALL SELECT id, state FROM payment WHERE state IN ('open', 'processing')`))
}

// wrong implements [stage].
func (m *stripeMarket) wrong() []wrong {
	at := atProvider{balance: m.stripe.Balance()}
	ours := map[string]string{} // by invoice
	for _, r := range m.rows(`SELECT ref, id FROM payment WHERE ref LIKE 'in\_%'`) {
		ours[r[0]] = r[1]
	}
	for payment, t := range m.stripe.Taken() {
		at.taken = append(at.taken, taken{PaymentID: cmp.Or(ours[payment], payment), SubscriptionID: t.Subscription, Charges: t.Charges, Amount: t.Amount, Refunded: t.Refunded, Disputed: t.Disputed, Net: t.Net})
	}
	for _, t := range m.stripe.Handed() {
		at.handed = append(at.handed, handed{t.Payout, t.Ref, t.Teacher, strings.ToUpper(t.Currency), t.Amount, t.Reversed})
	}
	for _, s := range m.stripe.Subscribed() {
		at.subscribed = append(at.subscribed, subscribedThere{s.Ours, strings.Replace(s.State, "canceled", "ended", 1), s.Ends})
	}
	w := m.findings()
	w.looks(at)
	return w.list
}
