package commerce_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// weather is a provider whose calls fail by chance, before or after they took effect,
// and that tells of what it did besides, late and in any order.
type weather struct {
	commerce.Provider
	chance *rand.Rand // nil for fair weather
	news   []commerce.RefundNews
}

func (w *weather) around(do func() error) error {
	if w.chance != nil && w.chance.IntN(4) == 0 {
		return errors.New("connection refused")
	}
	if err := do(); err != nil {
		return err
	}
	if w.chance != nil && w.chance.IntN(4) == 0 {
		return errors.New("connection reset")
	}
	return nil
}

func (w *weather) Refund(ctx context.Context, key string, r commerce.RefundRequest) (n commerce.RefundNews, err error) {
	err = w.around(func() error {
		if n, err = w.Provider.Refund(ctx, key, r); err == nil {
			w.news = append(w.news, n, n)
		}
		return err
	})
	return n, err
}

func (w *weather) Transfer(ctx context.Context, key string, r commerce.TransferRequest) (ref string, err error) {
	err = w.around(func() error { ref, err = w.Provider.Transfer(ctx, key, r); return err })
	return ref, err
}

func (w *weather) ReverseTransfer(ctx context.Context, key, ref string, amount int64) error {
	return w.around(func() error { return w.Provider.ReverseTransfer(ctx, key, ref, amount) })
}

func (w *weather) EndSubscription(ctx context.Context, key, ref, how string) (n commerce.SubscriptionNews, err error) {
	err = w.around(func() error { n, err = w.Provider.EndSubscription(ctx, key, ref, how); return err })
	return n, err
}

// histories is how many are tried; STOA_TEST_HISTORIES tries more.
func histories(t *testing.T) int {
	t.Helper()
	if text := os.Getenv("STOA_TEST_HISTORIES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("STOA_TEST_HISTORIES is %q", text)
		}
		return n
	}
	if testing.Short() {
		return 20
	}
	return 100
}

// Whatever is bought, given back, disputed, released, paid out and taken back, in whatever
// order, with calls that fail and news that comes late: in the end the ledger is right and
// has what the provider has, nobody gave or got a cent too much, and access is to the lines
// that were paid and not given back.
func TestMoneyIsAlwaysRight(t *testing.T) {
	t.Parallel()
	const each = 100 // what rapid tries at once
	for i := range (histories(t) + each - 1) / each {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.svc.Log = slog.New(slog.DiscardHandler)
			rapid.Check(t, func(rt *rapid.T) { (&history{T: rt, shop: s}).run() })
		})
	}
}

// history is a random one. What is of another history in the same shop is not looked at,
// but for what is true of all.
type history struct {
	*rapid.T
	shop     *shop
	weather  *weather
	teachers []string
	courses  []string
	orders   []*historyOrder
	subs     []*subscribed
	said     []commerce.SubscriptionNews // of subscriptions, to be heard later
	hands    int
}

type historyOrder struct {
	*commercepb.Order
	buyer string
	ref   string // of its payment, at the provider
}

func (h *history) pick(n int, what string) int { return rapid.IntRange(0, n-1).Draw(h.T, what) }

func (h *history) run() {
	s := h.shop
	ctx := s.Context()
	h.weather = &weather{chance: rand.New(rand.NewPCG(rapid.Uint64().Draw(h.T, "weather"), 0))} //nolint:gosec // chance, not secrecy
	s.svc.Through(func(p commerce.Provider) commerce.Provider { h.weather.Provider = p; return h.weather })
	defer s.svc.Through(func(commerce.Provider) commerce.Provider { return h.weather.Provider })
	for range rapid.IntRange(1, 3).Draw(h.T, "teachers") {
		h.teachers = append(h.teachers, s.payee())
	}
	for range rapid.IntRange(1, 3).Draw(h.T, "courses") {
		owner := h.teachers[h.pick(len(h.teachers), "owner")]
		course := s.course(owner, rapid.Int64Range(50, 20_000).Draw(h.T, "price"), "EUR")
		if rapid.Bool().Draw(h.T, "split") {
			e := &coursespb.RevenueSplitChanged{CourseId: course, Version: 1}
			left := int32(10_000)
			for i, t := range h.teachers {
				points := left
				if i < len(h.teachers)-1 {
					points = rapid.Int32Range(1, left-int32(len(h.teachers)-1-i)).Draw(h.T, "points") //nolint:gosec // three at most
				}
				e.Shares = append(e.Shares, &coursespb.RevenueShare{AccountId: t, BasisPoints: points})
				left -= points
			}
			s.deliver(e)
		}
		h.courses = append(h.courses, course)
	}
	h.buy()
	steps := []struct {
		name string
		do   func()
	}{
		{"buy", h.buy},
		{"refund", h.refund},
		{"refund", h.refund},
		{"refund", h.refund},
		{"by hand", h.byHand},
		{"dispute", h.dispute},
		{"dispute", h.dispute},
		{"surplus", h.surplus},
		{"release", h.release},
		{"pay out", h.payOut},
		{"reverse", h.reverse},
		{"carry out", h.carryOut},
		{"hear", h.hear},
		{"subscribe", h.subscribe},
		{"subscribe", h.subscribe},
		{"days", h.days},
		{"days", h.days},
		{"days", h.days},
		{"renewals", h.renewals},
		{"decide", h.decide},
		{"hear of a subscription", h.hearSubscription},
		{"hear of a subscription", h.hearSubscription},
	}
	for range rapid.IntRange(3, 20).Draw(h.T, "steps") {
		step := steps[h.pick(len(steps), "step")]
		h.Logf("%s", step.name)
		step.do()
	}
	h.weather.chance = nil
	h.allHeard()
	for len(h.weather.news) > 0 {
		h.hear()
	}
	for s.count(`SELECT count(*) FROM provider_call WHERE state = 'waiting'`) > 0 {
		h.carryOut()
	}
	h.weather.news = nil // what was said again of what is known
	h.check(ctx)
	h.checkSubscriptions(ctx)
}

func (h *history) may(err error, codes ...string) {
	if err != nil && !slices.Contains(codes, fault.CodeOf(err)) {
		h.Fatalf("%v", err)
	}
}

func (h *history) order(what string) *historyOrder { return h.orders[h.pick(len(h.orders), what)] }

func (h *history) buy() {
	o := &historyOrder{buyer: id.New("account")}
	n := rapid.IntRange(1, len(h.courses)).Draw(h.T, "lines")
	o.Order = h.shop.order(o.buyer, h.courses[:n]...)
	h.shop.settles(o.Order, "succeed")
	o.ref = paymentOf(o.Order)
	h.orders = append(h.orders, o)
}

func (h *history) refund() {
	o := h.order("of")
	req := &commercepb.CreateRefundRequest{OrderId: o.GetId(), Note: "x"}
	if n := rapid.IntRange(0, len(o.GetLines())).Draw(h.T, "how many lines"); n > 0 {
		for _, l := range o.GetLines()[:n] {
			amount := int64(0)
			if l.GetPrice().GetAmount() > 0 && rapid.Bool().Draw(h.T, "part") {
				amount = rapid.Int64Range(1, l.GetPrice().GetAmount()).Draw(h.T, "amount")
			}
			req.Lines = append(req.Lines, &commercepb.LineToRefund{LineId: l.GetId(), Amount: amount})
		}
	}
	_, err := h.shop.refunds.CreateRefund(h.shop.staff(), req)
	h.may(err, "refund.nothing_left", "refund.too_much", "refund.disputed")
}

func (h *history) byHand() {
	o := h.order("of")
	h.hands++
	n, err := h.weather.Provider.Refund(h.shop.Context(), fmt.Sprintf("hand %d of %s", h.hands, h.courses[0]), commerce.RefundRequest{
		PaymentRef: o.ref, Amount: rapid.Int64Range(1, o.GetTotal().GetAmount()).Draw(h.T, "amount"), Currency: "EUR",
	})
	h.may(err, "refund.refused")
	if err == nil {
		h.weather.news = append(h.weather.news, n)
	}
}

func (h *history) dispute() {
	o := h.order("of")
	outcome := rapid.SampledFrom([]string{"dispute", "win_dispute", "lose_dispute"}).Draw(h.T, "outcome")
	_, err := h.shop.client.SettleDevelopmentPayment(h.shop.Context(), &commercepb.SettleDevelopmentPaymentRequest{PaymentId: o.ref, Outcome: outcome})
	h.may(err, "payment.outcome")
	if err == nil && rapid.Bool().Draw(h.T, "again") { // and old news again
		err := h.shop.svc.HeardDispute(h.shop.Context(), commerce.DisputeNews{Ref: "dispute:" + o.ref, PaymentRef: o.ref, Amount: 1, Currency: "EUR", State: "open"})
		h.may(err)
	}
}

func (h *history) surplus() {
	o := h.shop.order(id.New("account"), h.courses[0])
	if _, err := h.shop.client.CancelOrder(rpctest.Account(h.shop.Context(), o.GetBuyerId()), &commercepb.CancelOrderRequest{OrderId: o.GetId()}); err != nil {
		h.Fatalf("%v", err)
	}
	h.shop.paysTaxed(o, 0)
}

func (h *history) release() {
	h.shop.now.Add(31 * 24 * 3600)
	_, err := h.shop.svc.Release(h.shop.Context())
	h.may(err)
}

func (h *history) payOut() {
	h.shop.now.Add(1)
	h.shop.begins("")
	h.shop.paysOut()
}

func (h *history) reverse() {
	list := h.shop.paidTo(h.teachers[h.pick(len(h.teachers), "from")])
	if len(list) == 0 {
		return
	}
	_, err := h.shop.payouts.ReversePayout(h.shop.staff(), &commercepb.ReversePayoutRequest{PayoutId: list[h.pick(len(list), "payout")].GetId(), Reason: "x"})
	h.may(err, "payout.not_paid")
}

func (h *history) carryOut() { h.shop.carryOut(3600) }

// hear has the service hear one of the news that are on their way.
func (h *history) hear() {
	if len(h.weather.news) == 0 {
		return
	}
	i := h.pick(len(h.weather.news), "news")
	err := h.shop.svc.HeardRefund(h.shop.Context(), h.weather.news[i])
	h.weather.news = slices.Delete(h.weather.news, i, i+1)
	h.may(err)
}

func (h *history) check(ctx context.Context) {
	s := h.shop
	if r, err := commerce.VerifyLedger(ctx, s.db); err != nil || r.Problem != "" {
		h.Fatalf("the ledger: %s %v", r.Problem, err)
	}
	if at, booked := s.atProvider()["EUR"], s.ledgerAt("provider")["EUR"]; at != booked {
		h.Fatalf("the provider has %d, the ledger %d", at, booked)
	}
	for account, want := range map[string]int64{
		"buyers": 0, "payable:": 0,
		"disputed": s.count(`SELECT coalesce(sum(amount), 0)::bigint FROM development_object WHERE kind = 'dispute' AND state = 'open'`),
	} {
		if got := s.ledgerAt(account)["EUR"]; got != want {
			h.Fatalf("%s has %d, want %d", account, got, want)
		}
	}
	ended := map[string]int{}
	for _, e := range sent[*commercepb.LinesRefunded](s) {
		for _, l := range e.GetLines() {
			if l.GetAccessEnds() {
				ended[l.GetLineId()]++
			}
		}
	}
	for _, o := range h.orders {
		var back, over int64
		for _, l := range o.GetLines() {
			var amount, refunded, given, want int64
			var live, all bool
			if err := s.db.QueryRow(ctx, `
				SELECT amount, refunded, live, refunded = amount AND (amount > 0 OR access_ended),
					(SELECT coalesce(sum(n.amount), 0) FROM refund_line n JOIN refund r ON r.id = n.refund_id WHERE n.line_id = l.id AND r.state = 'succeeded')::bigint
					+ (SELECT coalesce(sum(n.amount), 0) FROM dispute_line n WHERE n.line_id = l.id)::bigint
				FROM order_line l WHERE id = $1`, l.GetId()).Scan(&amount, &refunded, &live, &all, &given); err != nil {
				h.Fatalf("%v", err)
			}
			if all { // what cost nothing once somebody has given it back
				want = 1
				over++
			}
			if refunded != given || refunded > amount || int64(ended[l.GetId()]) != want || live == (want == 1) {
				h.Fatalf("line %s: %d of %d given back, %d by refunds and disputes, access ended %d times, live %v", l.GetId(), refunded, amount, given, ended[l.GetId()], live)
			}
			back += refunded
		}
		if at := s.count(`SELECT refunded FROM development_payment WHERE id = $1`, o.ref); at != back {
			h.Fatalf("order %s: the provider gave %d back, the ledger %d", o.GetId(), at, back)
		}
		want := "paid"
		switch {
		case s.count(`SELECT count(*) FROM development_payment WHERE id = $1 AND dispute = 'open'`, o.ref) == 1:
			want = "disputed"
		case over == int64(len(o.GetLines())):
			want = "refunded"
		case back > 0:
			want = "partly_refunded"
		}
		if got := s.get(o.buyer, o.GetId()).GetState(); got != want {
			h.Fatalf("order %s is %s, want %s", o.GetId(), got, want)
		}
	}
	// What teachers were paid and have makes what is left to them of what was sold.
	for _, t := range h.teachers {
		has := -s.count(`SELECT coalesce(sum(amount), 0)::bigint FROM ledger_posting WHERE account IN ('held:' || $1, 'teacher:' || $1)`, t)
		paid := s.count(`SELECT coalesce(sum(amount - reversed), 0)::bigint FROM development_object WHERE kind = 'transfer' AND account = 'account:' || $1`, t)
		shares := -s.count(`
			SELECT coalesce(sum(p.amount), 0)::bigint FROM ledger_posting p WHERE p.line_id IS NOT NULL AND p.account IN ('held:' || $1, 'teacher:' || $1)`, t)
		if has+paid != shares {
			h.Fatalf("%s has %d and was paid %d, but has shares of %d", t, has, paid, shares)
		}
	}
	// The reconciler sees the same.
	if open := s.reconciled("open"); len(open) > 0 {
		h.Fatalf("the reconciler says %v", open)
	}
}
