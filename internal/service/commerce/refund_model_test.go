package commerce_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// Whatever is bought, for oneself, for a team or for somebody else, given back, disputed,
// released, paid out and taken back, in whatever order, with calls that fail, processes
// that die, and news that is lost or comes late or twice: in the end the ledger is right and
// has what the provider has, nobody gave or got a cent too much, and access is to the lines
// that were paid and not given back.
func TestMoneyIsAlwaysRight(t *testing.T) {
	t.Parallel()
	(&histories{
		many: 2000, shop: 250, abreast: 16,
		steps: func(chance *rand.Rand) int { // many short ones, and some that are long
			if chance.IntN(20) == 0 {
				return 8 + chance.IntN(12)
			}
			return 2 + chance.IntN(4)
		},
		open: func(tb testing.TB, _ uint64, chance *rand.Rand) stage { return newMarket(tb, chance) },
	}).tell(t)
}

// happening is something that happens in a history; the heavier, the more often.
type happening struct {
	weight int
	name   string
	do     func(h *history)
}

var happenings = []happening{
	{4, "buy", (*history).buy},
	{4, "pay", (*history).pay},
	{1, "cancel", (*history).cancel},
	{8, "refund", (*history).refund},
	{2, "by teacher", (*history).byTeacher},
	{3, "by hand", (*history).byHand},
	{4, "dispute", (*history).dispute},
	{1, "surplus", (*history).surplus},
	{3, "redeem", (*history).redeem},
	{3, "tell access", (*history).tellAccess},
	{2, "release", (*history).release},
	{1, "time passes", (*history).timePasses},
	{1, "pay out", (*history).payOut},
	{1, "reverse", (*history).reverse},
	{3, "carry out", (*history).carryOut},
	{4, "hear", (*history).hear},
	{1, "invoices", (*history).invoices},
	{1, "reconcile", (*history).reconcile},
	{1, "together", (*history).together},
	{2, "subscribe", (*history).subscribe},
}

// history is that of a buyer in a market.
type history struct {
	*market
	n          int
	buyer      string
	orders     []*historyOrder
	subscribed []*historySubscription
	chance     *rand.Rand
	ctx        context.Context //nolint:containedctx // it ends when the process dies, in the middle of a step
	said       []string        // what has come of the step
	keys       int
}

type historyOrder struct {
	*commercepb.Order
	payment  string
	surplus  bool
	disputed bool // it was, and may still be
}

// step implements [teller].
func (h *history) step(chance *rand.Rand) string {
	h.chance, h.said = chance, nil
	ctx, cancel := context.WithCancel(h.Context())
	defer cancel()
	h.ctx = ctx
	h.weather.on(chance, cancel)
	defer h.weather.off()
	h.collect()
	what := happening{0, "buy", (*history).buy}
	switch {
	case len(h.orders) == 0 && h.one(4):
		what = happening{0, "subscribe", (*history).subscribe}
	case len(h.orders) > 0:
		list, total := happenings, 0
		if len(h.subscribed) > 0 && !h.one(3) {
			list = subscribing
		}
		for _, x := range list {
			total += x.weight
		}
		at := chance.IntN(total)
		for _, x := range list {
			if at -= x.weight; at < 0 {
				what = x
				break
			}
		}
	}
	what.do(h)
	if ctx.Err() != nil {
		h.note("died")
		h.restart()
	}
	return what.name + " " + strings.Join(h.said, ", ")
}

func (h *history) note(format string, args ...any) {
	h.said = append(h.said, fmt.Sprintf(format, args...))
}

func (h *history) one(in int) bool { return h.chance.IntN(in) == 0 }

// may fails unless an error is one of those, or the process has died.
func (h *history) may(err error, codes ...string) bool {
	if err == nil {
		return true
	}
	h.note("%v", err)
	if h.ctx.Err() == nil && !slices.Contains(codes, fault.CodeOf(err)) {
		h.Fatalf("history %d: %s", h.n, strings.Join(h.said, ", "))
	}
	return false
}

func (h *history) order() *historyOrder { return h.orders[h.chance.IntN(len(h.orders))] }

// as is a call of an account with a key of its own.
func (h *history) as(account string) context.Context {
	h.keys++
	return rpc.WithIdempotencyKey(rpctest.Account(h.ctx, account), fmt.Sprintf("%s %d", h.buyer, h.keys))
}

// again calls once more with the key of the last call, as who had no answer from a process
// that died does.
func (h *history) again(account string) context.Context {
	h.restart()
	return rpc.WithIdempotencyKey(rpctest.Account(h.Context(), account), fmt.Sprintf("%s %d", h.buyer, h.keys))
}

// buy orders something, and often pays for it.
func (h *history) buy() {
	req := &commercepb.CreateOrderRequest{}
	if h.one(2) {
		for _, at := range h.chance.Perm(len(h.courses))[:1+h.chance.IntN(3)] {
			req.CourseIds = append(req.CourseIds, h.courses[at])
		}
	} else {
		q, err := h.desk.CreateQuote(rpctest.Account(h.ctx, h.buyer), h.cart())
		if !h.may(err, couponRefusals...) {
			return
		}
		req.QuoteId = q.GetId()
	}
	o, err := h.client.CreateOrder(h.as(h.buyer), req)
	if h.ctx.Err() != nil && err != nil {
		o, err = h.client.CreateOrder(h.again(h.buyer), req)
	}
	if !h.may(err, append([]string{"order.open_order"}, couponRefusals...)...) {
		return
	}
	h.orders = append(h.orders, &historyOrder{Order: o})
	if h.ctx.Err() == nil && !h.one(5) {
		h.payFor(h.orders[len(h.orders)-1], 0)
	}
}

// cart is what is quoted: courses, seats, gifts and bundles, in some currency and with a
// coupon sometimes.
func (h *history) cart() *commercepb.CreateQuoteRequest {
	req := &commercepb.CreateQuoteRequest{Currency: marketCurrencies[h.chance.IntN(len(marketCurrencies))]}
	if h.one(3) {
		req.CouponCode = h.coupons[h.chance.IntN(len(h.coupons))]
	}
	if h.one(4) {
		req.Items = append(req.Items, &commercepb.CartItem{BundleId: h.sets[h.chance.IntN(len(h.sets))]})
		return req
	}
	for _, at := range h.chance.Perm(len(h.courses))[:1+h.chance.IntN(3)] {
		i := &commercepb.CartItem{CourseId: h.courses[at]}
		switch h.chance.IntN(4) {
		case 0:
			i.Kind, i.Quantity = "seats", 1+h.chance.Int32N(7)
		case 1, 2:
			i.Kind = "gift"
		}
		req.Items = append(req.Items, i)
	}
	return req
}

func (h *history) pay() { h.payFor(h.order(), h.chance.IntN(12)) }

// payFor has the buyer pay in some way.
func (h *history) payFor(o *historyOrder, how int) {
	if err := h.db.QueryRow(h.Context(), `SELECT p.ref FROM orders o JOIN payment p ON p.id = o.payment_id WHERE o.id = $1 AND p.ref IS NOT NULL`, o.GetId()).Scan(&o.payment); err != nil {
		return // there is nothing to pay, or no page yet
	}
	switch {
	case how >= 4:
		h.unheard(o)
		return
	case how == 3 && h.one(3):
		h.settles(o, "later")
		return
	case how == 3:
		h.settles(o, "decline")
		return
	}
	h.settles(o, "succeed")
}

// settles has the pay page say something of an order.
func (h *history) settles(o *historyOrder, outcome string) bool {
	h.note("%s %s", outcome, o.GetId())
	_, err := h.client.SettleDevelopmentPayment(h.ctx, &commercepb.SettleDevelopmentPaymentRequest{PaymentId: o.payment, Outcome: outcome})
	return h.may(err, "payment.closed", "payment.outcome")
}

// unheard has the provider be paid, some of it tax, without saying so at once: that is
// heard later, twice, or never.
func (h *history) unheard(o *historyOrder) {
	news, err := h.svc.PaidUnheard(h.Context(), o.payment)
	if !h.may(err, "payment.closed") {
		return
	}
	news.Tax = map[string]int64{}
	if h.one(3) { // which period it is may not be known yet
		news.PeriodStart, news.PeriodEnd = time.Time{}, time.Time{}
	}
	for _, l := range o.GetLines() {
		if h.one(2) {
			news.Tax[l.GetId()] = h.chance.Int64N(l.GetPrice().GetAmount()/4 + 1)
		}
	}
	times := h.chance.IntN(4)
	h.note("paid %s, heard %d times", o.GetId(), times)
	for range times {
		h.tell(o.payment, func(ctx context.Context) error { return h.svc.HeardPayment(ctx, news) })
	}
}

func (h *history) cancel() { h.cancels(h.order()) }

func (h *history) cancels(o *historyOrder) bool {
	h.note("%s", o.GetId())
	_, err := h.client.CancelOrder(h.as(o.GetBuyerId()), &commercepb.CancelOrderRequest{OrderId: o.GetId()})
	return h.may(err, "order.already_paid")
}

var couponRefusals = []string{"order.sold_out", "coupon.invalid", "coupon.used_up", "coupon.used_by_you"}

var refundRefusals = []string{"refund.nothing_left", "refund.too_much", "refund.disputed", "refund.not_paid", "refund.digits"}

// part is some of an amount, mostly with the digits that a refund may have.
func (h *history) part(of *moneypb.Money) int64 {
	n := 1 + h.chance.Int64N(of.GetAmount())
	if money.Unit(of.GetCurrency()) == 1000 && !h.one(8) {
		n = max(n-n%10, 10)
	}
	return n
}

func (h *history) refund() {
	o := h.order()
	req := &commercepb.CreateRefundRequest{OrderId: o.GetId(), Note: "x", EndSubscription: o.GetSubscriptionId() != "" && h.one(2)}
	for _, l := range o.GetLines()[:h.chance.IntN(len(o.GetLines())+1)] {
		amount := int64(0)
		if l.GetPrice().GetAmount() > 0 && h.one(2) {
			amount = h.part(l.GetPrice())
		}
		req.Lines = append(req.Lines, &commercepb.LineToRefund{LineId: l.GetId(), Amount: amount})
	}
	h.note("%s %v", o.GetId(), req.GetLines())
	staff := id.New("account")
	r, err := h.refunds.CreateRefund(h.as(staff), req)
	if h.ctx.Err() != nil && err != nil && h.one(2) {
		r, err = h.refunds.CreateRefund(h.again(staff), req)
	}
	if !h.may(err, refundRefusals...) {
		return
	}
	// It is of the lines that were named, and of each as much as was said.
	got := map[string]int64{}
	for _, l := range r.GetLines() {
		got[l.GetLineId()] = l.GetAmount().GetAmount()
	}
	for _, l := range req.GetLines() {
		if n, ok := got[l.GetLineId()]; !ok || l.GetAmount() > 0 && n != l.GetAmount() || len(got) != len(req.GetLines()) {
			h.Errorf("history %d: a refund of %v is of %v", h.n, req.GetLines(), r.GetLines())
		}
	}
}

// byTeacher gives some of a line back, and ends access or not.
func (h *history) byTeacher() {
	o := h.order()
	l := o.GetLines()[h.chance.IntN(len(o.GetLines()))]
	req := &commercepb.CreateCourseRefundRequest{CourseId: l.GetCourseId(), LineId: l.GetId(), Note: "x", EndAccess: h.one(2)}
	if l.GetPrice().GetAmount() > 0 && h.one(2) {
		req.Amount = h.part(l.GetPrice())
	}
	h.note("%s %d %v", l.GetId(), req.GetAmount(), req.GetEndAccess())
	_, err := h.refunds.CreateCourseRefund(h.as(id.New("account")), req)
	h.may(err, append([]string{"sale.not_found"}, refundRefusals...)...)
}

// byHand gives something back at the provider, where nobody here knows of it.
func (h *history) byHand() {
	o := h.order()
	if o.payment == "" || o.surplus {
		return
	}
	h.keys++
	r := commerce.RefundRequest{PaymentRef: o.payment, Amount: 1 + h.chance.Int64N(max(o.GetTotal().GetAmount(), 1)), Currency: o.GetTotal().GetCurrency()}
	h.note("%s %d", o.GetId(), r.Amount)
	var paid bool
	if err := h.db.QueryRow(h.Context(), `SELECT paid_at IS NOT NULL FROM orders WHERE id = $1`, o.GetId()).Scan(&paid); err != nil || !paid {
		return // what was paid for nothing goes back by itself
	}
	n, err := h.weather.Provider.Refund(h.Context(), fmt.Sprintf("hand of %s %d", h.buyer, h.keys), r)
	if h.may(err, "refund.refused", "payment.not_found") {
		for range h.chance.IntN(3) {
			h.tell(o.payment, func(ctx context.Context) error { return h.svc.HeardRefund(ctx, n) })
		}
	}
}

func (h *history) dispute() {
	o := h.order()
	if o.payment == "" || o.surplus {
		return
	}
	var paid bool
	if err := h.db.QueryRow(h.Context(), `SELECT paid_at IS NOT NULL FROM orders WHERE id = $1`, o.GetId()).Scan(&paid); err != nil || !paid {
		return
	}
	outcome := "dispute"
	if o.disputed {
		outcome = []string{"win_dispute", "lose_dispute"}[h.chance.IntN(2)]
	}
	if !h.settles(o, outcome) {
		return
	}
	o.disputed = true
	if h.one(2) { // and old news again
		old := commerce.DisputeNews{Ref: "dispute:" + o.payment, PaymentRef: o.payment, Amount: 1, Currency: o.GetTotal().GetCurrency(), State: "open"}
		h.tell(o.payment, func(ctx context.Context) error { return h.svc.HeardDispute(ctx, old) })
	}
}

// surplus has an order be paid that is cancelled at the same time.
func (h *history) surplus() {
	buyer := id.New("account")
	h.buyers[buyer] = h.n
	o, err := h.client.CreateOrder(h.as(buyer), &commercepb.CreateOrderRequest{CourseIds: h.courses[:1]})
	if !h.may(err, "order.sold_out") {
		return
	}
	mine := &historyOrder{Order: o, surplus: true}
	h.orders = append(h.orders, mine)
	if _, err := h.client.CancelOrder(rpctest.Account(h.ctx, o.GetBuyerId()), &commercepb.CancelOrderRequest{OrderId: o.GetId()}); h.may(err) {
		h.payFor(mine, 4)
	}
}

// redeem has somebody take gifts of the buyer, by codes that are right or not.
func (h *history) redeem() {
	list, err := h.desk.ListMyGifts(rpctest.Account(h.ctx, h.buyer), &commercepb.ListMyGiftsRequest{})
	if !h.may(err) {
		return
	}
	for _, g := range list.GetItems() {
		if h.one(3) {
			continue
		}
		_, err := h.desk.RedeemGift(h.as(id.New("account")), &commercepb.RedeemGiftRequest{Code: g.GetCode()})
		h.note("%s %s", g.GetState(), g.GetLineId())
		if g.GetState() == "open" {
			h.may(err)
		} else if err == nil {
			h.Errorf("history %d: a gift that is %s was taken: %s", h.n, g.GetState(), g.GetLineId())
		}
	}
}

// tellAccess has access hear what was paid and given back, and say what it gave.
func (h *history) tellAccess() { h.may(h.tellsAccess(h.ctx, h.one(2))) }

func (h *history) release() {
	if h.one(2) {
		h.now.Add(31 * 24 * 3600)
	}
	_, err := h.svc.Release(h.ctx)
	h.may(err)
}

func (h *history) timePasses() {
	h.now.Add([]int64{1, 150, 3600, 13 * 3600, 25 * 3600}[h.chance.IntN(5)])
	_, err := h.svc.Expire(h.ctx)
	h.may(err)
	_, err = h.svc.Checkpoint(h.ctx)
	h.may(err)
}

func (h *history) payOut() {
	h.now.Add(1)
	_, err := h.payouts.CreatePayoutRun(h.as(id.New("account")), &commercepb.CreatePayoutRunRequest{Currency: marketCurrencies[h.chance.IntN(len(marketCurrencies))]})
	if h.may(err) {
		_, err = h.svc.PayOut(h.ctx)
		h.may(err)
	}
}

func (h *history) reverse() {
	var payout string
	if err := h.db.QueryRow(h.Context(), `SELECT id FROM payout WHERE teacher_id = $1 AND state = 'paid' ORDER BY id DESC LIMIT 1`, h.teachers[h.chance.IntN(len(h.teachers))]).Scan(&payout); err != nil {
		return
	}
	_, err := h.payouts.ReversePayout(h.as(id.New("account")), &commercepb.ReversePayoutRequest{PayoutId: payout, Reason: "x"})
	h.may(err, "payout.not_paid")
}

func (h *history) carryOut() {
	h.now.Add(3600)
	_, err := h.svc.CarryOut(h.ctx)
	h.may(err)
}

// hear has the service hear one of the news that are on their way.
func (h *history) hear() {
	o := h.order()
	if list := h.news[o.payment]; len(list) > 0 {
		i := h.chance.IntN(len(list))
		h.note("%d of %d of %s", i, len(list), o.GetId())
		h.news[o.payment] = slices.Delete(slices.Clone(list), i, i+1)
		if !h.may(list[i](h.ctx)) { // the process died
			h.news[o.payment] = list
		}
	}
}

func (h *history) invoices() {
	_, err := h.svc.IssueInvoices(h.ctx)
	h.may(err)
	_, err = h.svc.IssueCreditNotes(h.ctx)
	h.may(err)
}

// reconcile makes a pass, which may be broken off and is gone on with by another.
func (h *history) reconcile() {
	if !h.one(4) {
		return
	}
	h.now.Add(150)
	_, err := h.shop.reconcile.CreateReconciliation(h.as(id.New("account")), &commercepb.CreateReconciliationRequest{})
	if h.may(err) {
		if _, err = h.svc.Reconcile(h.ctx); err != nil {
			h.note("%v", err)
		}
	}
}
