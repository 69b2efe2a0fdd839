package commerce_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/audit/recordpb"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// recorded is how often something was recorded.
func (s *shop) recorded(action string) int {
	s.Helper()
	n := 0
	for _, e := range sent[*recordpb.Recorded](s) {
		if e.GetAction() == action {
			n++
		}
	}
	return n
}

// bundle puts courses of a seller up for sale together.
func (s *shop) bundle(seller, title string, price *moneypb.Money, courses ...string) *commercepb.CartItem {
	s.Helper()
	b := must[*commercepb.Bundle](s)(s.bundles.CreateBundle(s.as(seller), &commercepb.CreateBundleRequest{Title: title, CourseIds: courses, Prices: []*moneypb.Money{price}}))
	must[*commercepb.Bundle](s)(s.bundles.PublishBundle(s.as(seller), &commercepb.PublishBundleRequest{BundleId: b.GetId()}))
	return &commercepb.CartItem{BundleId: b.GetId()}
}

// boughtItems orders items and pays.
func (s *shop) boughtItems(buyer string, items ...*commercepb.CartItem) *commercepb.Order {
	s.Helper()
	o := must[*commercepb.Order](s)(s.buy(buyer, must[*commercepb.Quote](s)(s.quote(buyer, "EUR", "", items...))))
	s.pays(o)
	return o
}

// ends are the lines to which access has ended, in order.
func (s *shop) ends() (lines []string) {
	s.Helper()
	for _, e := range sent[*commercepb.LinesRefunded](s) {
		for _, l := range e.GetLines() {
			if l.GetAccessEnds() {
				lines = append(lines, l.GetLineId())
			}
		}
	}
	return lines
}

// Two orders for one course: the second is possible once what the first gave is somebody
// else's, as a gift. One is given back: only what it gave ends.
func TestTwoOrdersForOneCourseOneRefunded(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer, course := id.New("account"), s.course(id.New("account"), 4900, "EUR")
	own := s.paidOrder(buyer, course)
	present := s.boughtItems(buyer, &commercepb.CartItem{CourseId: course, Kind: "gift"})
	s.gaveBack(present)
	if diff := cmp.Diff([]string{present.GetLines()[0].GetId()}, s.ends()); diff != "" {
		t.Error(diff)
	}
	s.wantState(buyer, present, "refunded")
	s.wantState(buyer, own, "paid")
	s.agrees()
}

// Of a bundle one line is given back, for what it cost in the bundle: the rest stays.
func TestBundleWithOneLineRefunded(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer := id.New("account"), id.New("account")
	a, b, c := s.course(seller, 3000, "EUR"), s.course(seller, 2000, "EUR"), s.course(seller, 1000, "EUR")
	o := s.boughtItems(buyer, s.bundle(seller, "All of it", eur(4999), a, b, c))
	s.fulfils(buyer, o)
	r := s.gaveBack(o, &commercepb.LineToRefund{LineId: o.GetLines()[1].GetId()})
	if r.GetAmount().GetAmount() != 1666 {
		t.Errorf("given back %v", r.GetAmount())
	}
	if diff := cmp.Diff([]string{o.GetLines()[1].GetId()}, s.ends()); diff != "" {
		t.Error(diff)
	}
	s.wantState(buyer, o, "partly_refunded")
	s.agrees()
	// It alone can be bought again, by itself.
	s.paidOrder(buyer, b)
	_, err := s.client.CreateOrder(s.as(buyer), &commercepb.CreateOrderRequest{CourseIds: []string{a}})
	wantCode(t, err, "order.open_order")
	if r := s.gaveBack(o); r.GetAmount().GetAmount() != 4999-1666 {
		t.Errorf("given back %v", r.GetAmount())
	}
	s.wantState(buyer, o, "refunded")
	s.agrees()
}

// A gift is given back after somebody took it: what it gave ends, and its code is good for
// nobody, not for who had taken it either.
func TestGiftRefundedAfterRedemption(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer, friend, course := id.New("account"), id.New("account"), s.course(id.New("account"), 4900, "EUR")
	o := s.boughtItems(buyer, &commercepb.CartItem{CourseId: course, Kind: "gift"})
	gifts := func() *commercepb.Gift {
		t.Helper()
		return must[*commercepb.ListMyGiftsResponse](s)(s.desk.ListMyGifts(s.as(buyer), &commercepb.ListMyGiftsRequest{})).GetItems()[0]
	}
	redeem := func(who string) error {
		_, err := s.desk.RedeemGift(s.as(who), &commercepb.RedeemGiftRequest{Code: gifts().GetCode()})
		return err
	}
	wantCode(t, redeem(friend), "")
	s.gaveBack(o)
	if diff := cmp.Diff([]string{o.GetLines()[0].GetId()}, s.ends()); diff != "" {
		t.Error(diff)
	}
	if g := gifts(); g.GetState() != "returned" {
		t.Errorf("gift %v", g)
	}
	wantCode(t, redeem(friend), "gift.invalid")
	wantCode(t, redeem(id.New("account")), "gift.invalid")
	s.wantState(buyer, o, "refunded")
	s.agrees()
}

// Nothing that a client sends says what something costs: what was quoted is paid, whatever
// became of the price since, and another amount or currency buys nothing.
func TestPricesAreNotTamperedWith(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer := id.New("account"), id.New("account")
	course := s.course(seller, 4900, "EUR")
	s.priced(seller, course, eur(4900), usd(5900))
	q := must[*commercepb.Quote](s)(s.quote(buyer, "USD", "", item(course)))
	_, err := s.client.CreateOrder(s.as(id.New("account")), &commercepb.CreateOrderRequest{QuoteId: q.GetId()})
	wantCode(t, err, "quote.not_found") // somebody else's
	s.priced(seller, course, eur(9900), usd(9900))
	o := must[*commercepb.Order](s)(s.buy(buyer, q))
	if o.GetTotal().GetAmount() != 5900 || o.GetTotal().GetCurrency() != "USD" {
		t.Fatalf("order %v", o)
	}
	for _, n := range []commerce.PaymentNews{
		{Received: 5899, Currency: "USD"}, {Received: 5900, Currency: "EUR"}, {Received: 1, Currency: "USD"}, {Received: 590_000, Currency: "USD"},
	} {
		who := id.New("account")
		q := must[*commercepb.Quote](s)(s.quote(who, "USD", "", item(course)))
		o := must[*commercepb.Order](s)(s.buy(who, q))
		n.PaymentID, n.Ref, n.State = paymentOf(o), paymentOf(o), "succeeded"
		if err := s.svc.HeardPayment(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		s.wantState(who, o, "awaiting_payment")
		if n := s.count(`SELECT count(*) FROM refund WHERE order_id = $1 AND source = 'surplus' AND amount = $2 AND currency = $3`, o.GetId(), n.Received, n.Currency); n != 1 {
			t.Errorf("%d times it goes back", n)
		}
	}
	if n := len(sent[*commercepb.OrderPaid](s)); n != 0 {
		t.Errorf("%d orders were paid", n)
	}
	s.sound()
}

// Carts are of one currency, in which everything in them has a price.
func TestCurrenciesAreNotMixed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer := id.New("account"), id.New("account")
	euros, dollars := s.course(seller, 4900, "EUR"), s.course(seller, 4900, "USD")
	_, err := s.quote(buyer, "", "", item(euros), item(dollars))
	wantCode(t, err, "order.not_in_currency")
	_, err = s.quote(buyer, "EUR", "", item(euros), item(dollars))
	wantCode(t, err, "order.not_in_currency")
	_, err = s.quote(buyer, "XXX", "", item(euros))
	wantCode(t, err, "order.not_in_currency")
	_, err = s.client.CreateOrder(s.as(buyer), &commercepb.CreateOrderRequest{CourseIds: []string{euros, dollars}})
	wantCode(t, err, "order.mixed_currencies")
	s.coupon(seller, "EUROS", func(c *commercepb.CouponTerms) { c.Percent, c.Amounts = 0, []*moneypb.Money{eur(100)} })
	_, err = s.quote(buyer, "USD", "EUROS", item(dollars))
	wantCode(t, err, "coupon.currency")
	// What is heard of a refund in another currency takes nothing of the lines.
	o := s.paidOrder(buyer, euros)
	if err := s.svc.HeardRefund(t.Context(), commerce.RefundNews{PaymentID: paymentOf(o), Ref: "re_1", Amount: 4900, Currency: "USD", State: "succeeded"}); err != nil {
		t.Fatal(err)
	}
	s.wantState(buyer, o, "paid")
	s.sound()
}

// Numbers that no cart has are refused, and no product of numbers overflows.
func TestQuantitiesDoNotOverflow(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer := id.New("account"), id.New("account")
	course := s.course(seller, 1_000_000, "EUR")
	must[*commercepb.CoursePrices](s)(s.catalog.SetSeatPrices(s.as(seller), &commercepb.SetSeatPricesRequest{CourseId: course, SeatPrices: []*commercepb.SeatPrice{{FromQuantity: 1, Price: eur(19_999)}}}))
	for quantity, code := range map[int32]string{-1: "request.invalid", 5001: "request.invalid", math.MaxInt32: "request.invalid", math.MinInt32: "request.invalid"} {
		_, err := s.quote(buyer, "EUR", "", &commercepb.CartItem{CourseId: course, Kind: "seats", Quantity: quantity})
		wantCode(t, err, code)
	}
	_, err := s.quote(buyer, "EUR", "", &commercepb.CartItem{CourseId: course, Quantity: 2})
	wantCode(t, err, "order.quantity")
	_, err = s.quote(buyer, "EUR", "", &commercepb.CartItem{CourseId: course, Kind: "gift", Quantity: 2})
	wantCode(t, err, "order.quantity")
	q := must[*commercepb.Quote](s)(s.quote(buyer, "EUR", "", &commercepb.CartItem{CourseId: course, Kind: "seats", Quantity: 5000}))
	if q.GetTotal().GetAmount() != 99_995_000 {
		t.Errorf("total %v", q.GetTotal())
	}
}

// Every verb of somebody else's order, quote, refund, invoice, payout, statement and gift
// answers as if there were none; staff's verbs are not theirs (TestEveryDoor).
func TestSomebodyElsesMoney(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer, stranger := s.payee(), id.New("account"), s.payee()
	course := s.course(seller, 4900, "EUR")
	q := must[*commercepb.Quote](s)(s.quote(buyer, "EUR", "", item(course), &commercepb.CartItem{CourseId: course, Kind: "gift"}))
	o := must[*commercepb.Order](s)(s.buy(buyer, q))
	as := s.as(stranger)
	verbs := map[string]func(context.Context) error{
		"get": func(ctx context.Context) error {
			_, err := s.client.GetOrder(ctx, &commercepb.GetOrderRequest{OrderId: o.GetId()})
			return err
		},
		"cancel": func(ctx context.Context) error {
			_, err := s.client.CancelOrder(ctx, &commercepb.CancelOrderRequest{OrderId: o.GetId()})
			return err
		},
		"check": func(ctx context.Context) error {
			_, err := s.client.LookUpOrderPayment(ctx, &commercepb.LookUpOrderPaymentRequest{OrderId: o.GetId()})
			return err
		},
		"refunds": func(ctx context.Context) error {
			_, err := s.refunds.ListOrderRefunds(ctx, &commercepb.ListOrderRefundsRequest{OrderId: o.GetId()})
			return err
		},
		"ask": func(ctx context.Context) error {
			_, err := s.refunds.CreateRefundRequests(ctx, &commercepb.CreateRefundRequestsRequest{OrderId: o.GetId(), Reason: "mine"})
			return err
		},
		"requests": func(ctx context.Context) error {
			_, err := s.refunds.ListOrderRefundRequests(ctx, &commercepb.ListOrderRefundRequestsRequest{OrderId: o.GetId()})
			return err
		},
	}
	refused := func() {
		t.Helper()
		for name, call := range verbs {
			if err := call(as); fault.CodeOf(err) != "order.not_found" {
				t.Errorf("%s of somebody else's order: %v", name, err)
			}
		}
	}
	refused()
	_, err := s.desk.GetQuote(as, &commercepb.GetQuoteRequest{QuoteId: q.GetId()})
	wantCode(t, err, "quote.not_found")
	s.wantState(buyer, o, "awaiting_payment")
	s.pays(o)
	s.issue()
	s.gaveBack(o, &commercepb.LineToRefund{LineId: o.GetLines()[0].GetId(), Amount: 100})
	if _, err := s.svc.IssueCreditNotes(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused()
	for _, i := range s.invoicesOf(buyer) {
		_, err := s.invoices.DownloadInvoice(as, &commercepb.DownloadInvoiceRequest{InvoiceId: i.GetId()})
		wantCode(t, err, "invoice.not_found")
	}
	if n := len(s.invoicesOf(buyer)); n != 2 {
		t.Errorf("%d invoices", n)
	}
	if g := must[*commercepb.ListMyGiftsResponse](s)(s.desk.ListMyGifts(as, &commercepb.ListMyGiftsRequest{})); len(g.GetItems()) != 0 || len(s.invoicesOf(stranger)) != 0 {
		t.Errorf("a stranger has %v", g)
	}
	s.pass(31 * 24 * time.Hour)
	s.releases(2)
	s.begins("")
	s.paysOut()
	s.carryOut(1)
	p := s.paidTo(seller)[0]
	_, err = s.payouts.GetMyPayout(as, &commercepb.GetMyPayoutRequest{PayoutId: p.GetId()})
	wantCode(t, err, "payout.not_found")
	_, err = s.payouts.ListMyPayoutLines(as, &commercepb.ListMyPayoutLinesRequest{PayoutId: p.GetId()})
	wantCode(t, err, "payout.not_found")
	files := commercepb.NewStatementServiceClient(s.conn)
	_, err = whole[*commercepb.ExportMyPayoutStatementResponse](files.ExportMyPayoutStatement(as, &commercepb.ExportMyPayoutStatementRequest{PayoutId: p.GetId()}))
	wantCode(t, err, "payout.not_found")
	content, err := whole[*commercepb.ExportMyStatementResponse](files.ExportMyStatement(as, &commercepb.ExportMyStatementRequest{Since: "2026-01-01T00:00:00Z", Until: "2027-01-01T00:00:00Z"}))
	if err != nil || len(s.rowsOf(content)) != 0 {
		t.Errorf("a stranger's statement: %s, %v", content, err)
	}
	if len(s.paidTo(stranger)) != 0 {
		t.Error("a stranger sees payouts")
	}
}

// An open request of a buyer holds back what its own line gives, and nothing else of the
// order.
func TestRefundRequestHoldsItsOwnLine(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada, ben, buyer := id.New("account"), id.New("account"), id.New("account")
	o := s.paidOrder(buyer, s.course(ada, 3000, "EUR"), s.course(ben, 1000, "EUR"))
	asked := must[*commercepb.CreateRefundRequestsResponse](s)(s.refunds.CreateRefundRequests(s.as(buyer), &commercepb.CreateRefundRequestsRequest{
		OrderId: o.GetId(), LineIds: []string{o.GetLines()[0].GetId()}, Reason: "x",
	})).GetItems()[0]
	s.pass(31 * 24 * time.Hour)
	s.releases(1)
	if diff := cmp.Diff(map[string][2]int64{"EUR": {2100, 0}}, s.earned(ada)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string][2]int64{"EUR": {0, 700}}, s.earned(ben)); diff != "" {
		t.Error(diff)
	}
	must[*commercepb.RefundRequest](s)(s.refunds.DecideRefundRequest(s.staff(), &commercepb.DecideRefundRequestRequest{RequestId: asked.GetId(), Decision: "decline", Answer: "No"}))
	s.releases(1)
	events := sent[*commercepb.RefundRequestDeclined](s)
	if len(events) != 1 || events[0].GetBuyerId() != buyer || events[0].GetAnswer() != "No" || events[0].GetTitle() == "" || events[0].GetKind() != "course" || events[0].GetOrderId() != o.GetId() {
		t.Errorf("RefundRequestDeclined %v", events)
	}
	s.agrees()
}

// Invoices and credit notes name what is on them.
func TestInvoicesNameGiftsSeatsAndBundles(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer := id.New("account"), id.New("account")
	a, b, c := s.course(seller, 3000, "EUR"), s.course(seller, 2000, "EUR"), s.course(seller, 1000, "EUR")
	must[*commercepb.CoursePrices](s)(s.catalog.SetSeatPrices(s.as(seller), &commercepb.SetSeatPricesRequest{CourseId: c, SeatPrices: []*commercepb.SeatPrice{{FromQuantity: 1, Price: eur(900)}}}))
	o := s.boughtItems(buyer, s.bundle(seller, "Starter Pack", eur(4000), a, b),
		&commercepb.CartItem{CourseId: c, Kind: "gift"}, &commercepb.CartItem{CourseId: c, Kind: "seats", Quantity: 12}, &commercepb.CartItem{CourseId: c, Kind: "seats", Quantity: 1})
	s.issue()
	s.gaveBack(o)
	if _, err := s.svc.IssueCreditNotes(t.Context()); err != nil {
		t.Fatal(err)
	}
	title := map[string]string{}
	for _, l := range o.GetLines() {
		title[l.GetCourseId()] = l.GetTitle()
	}
	want := []string{"Starter Pack: " + title[a], "Starter Pack: " + title[b], "Gift: " + title[c], "12 seats: " + title[c], "1 seat: " + title[c]}
	list := s.invoicesOf(buyer)
	if len(list) != 2 {
		t.Fatalf("invoices %v", list)
	}
	for _, i := range list {
		var got []string
		for _, l := range i.GetLines() {
			got = append(got, l.GetTitle())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", i.GetKind(), diff)
		}
		f := must[*commercepb.InvoiceFile](s)(s.invoices.DownloadInvoice(s.as(buyer), &commercepb.DownloadInvoiceRequest{InvoiceId: i.GetId()}))
		if text := poppler(t, f.GetContent(), "pdftotext"); !strings.Contains(text, "Gift: ") || !strings.Contains(text, "12 seats: ") || !strings.Contains(text, "Starter Pack: ") {
			t.Errorf("%s", text)
		}
	}
	events := sent[*commercepb.OrderPaid](s)
	if l := events[0].GetLines(); l[0].GetBundleTitle() != "Starter Pack" || l[2].GetBundleTitle() != "" || l[3].GetQuantity() != 12 {
		t.Errorf("OrderPaid %v", events)
	}
}

// What was told before a process knew how to tell reductions is told anew, once.
func TestPricesAreToldWithReductions(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller := id.New("account")
	course := s.course(seller, 4900, "EUR")
	s.priced(seller, course, eur(4900), usd(5900))
	r := must[*commercepb.Reduction](s)(s.catalog.CreateReduction(s.as(seller), &commercepb.CreateReductionRequest{
		CourseId: course, Prices: []*moneypb.Money{eur(2900), usd(3900)}, StartsAt: s.in(time.Hour), EndsAt: s.in(2 * time.Hour),
	}))
	last := func(n int) *commercepb.PriceSet {
		t.Helper()
		events := sent[*commercepb.PriceSet](s)
		if len(events) != n {
			t.Fatalf("%d times told, want %d", len(events), n)
		}
		for i, e := range events[1:] {
			if e.GetVersion() <= events[i].GetVersion() {
				t.Errorf("version %d after %d", e.GetVersion(), events[i].GetVersion())
			}
		}
		return events[n-1]
	}
	e := last(3)
	if len(e.GetReductions()) != 1 || e.GetReductions()[0].GetReductionId() != r.GetId() || len(e.GetReductions()[0].GetPrices()) != 2 || len(e.GetFurther()) != 1 ||
		!e.GetReductions()[0].GetStartsAt().AsTime().Equal(r.GetStartsAt().AsTime()) || !e.GetReductions()[0].GetEndsAt().AsTime().Equal(r.GetEndsAt().AsTime()) {
		t.Errorf("PriceSet %v", e)
	}
	if n, err := s.svc.TellUntold(t.Context()); n != 0 || err != nil {
		t.Errorf("%d told anew, %v", n, err)
	}
	if _, err := s.db.Exec(t.Context(), `UPDATE product SET told = false`); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1, 0} {
		if n, err := s.svc.TellUntold(t.Context()); n != want || err != nil {
			t.Errorf("%d told anew, %v", n, err)
		}
	}
	if e := last(4); len(e.GetReductions()) != 1 {
		t.Errorf("PriceSet %v", e)
	}
	must[*commercepb.Reduction](s)(s.catalog.EndReduction(s.as(seller), &commercepb.EndReductionRequest{CourseId: course, ReductionId: r.GetId()}))
	if e := last(5); len(e.GetReductions()) != 0 {
		t.Errorf("PriceSet %v", e)
	}
}

// A payout is taken back in parts, each once, and never more than was paid.
func TestPayoutIsTakenBackInParts(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	u := s.unreliableMoney()
	ada := s.payee()
	s.earns(10_000, ada)
	s.begins("")
	s.paysOut()
	s.carryOut(1)
	p := s.paidTo(ada)[0]
	reverse := func(amount int64) (*commercepb.Payout, error) {
		t.Helper()
		if _, err := s.payouts.ReversePayout(s.staff(), &commercepb.ReversePayoutRequest{PayoutId: p.GetId(), Reason: "wrong", Amount: amount}); err != nil {
			return nil, err
		}
		for range 3 {
			s.carryOut(3600)
		}
		s.agrees()
		return s.payouts.GetPayout(s.staff(), &commercepb.GetPayoutRequest{PayoutId: p.GetId()})
	}
	stands := func(amount int64, state string, reversed int64) {
		t.Helper()
		if got := must[*commercepb.Payout](s)(reverse(amount)); got.GetState() != state || got.GetReversed().GetAmount() != reversed {
			t.Fatalf("%v, want %s with %d taken back", got, state, reversed)
		}
	}
	_, err := reverse(7001)
	wantCode(t, err, "payout.too_much")
	stands(1000, "paid", 1000)
	u.after.Store(1) // the provider's answer is lost
	stands(1000, "paid", 2000)
	u.refuse.Store(true)
	stands(500, "paid", 2000)
	u.refuse.Store(false)
	_, err = reverse(5001)
	wantCode(t, err, "payout.too_much")
	stands(0, "reversed", 7000)
	stands(0, "reversed", 7000) // again changes nothing
	if e := s.earnings(ada); e.GetAvailable().GetAmount() != 7000 {
		t.Errorf("%v", e)
	}
	var parts []int64
	for _, e := range sent[*commercepb.PayoutReversed](s) {
		parts = append(parts, e.GetAmount().GetAmount(), e.GetReversed().GetAmount())
	}
	if diff := cmp.Diff([]int64{1000, 1000, 1000, 2000, 5000, 7000}, parts); diff != "" {
		t.Error(diff)
	}
	if paid := sent[*commercepb.PayoutPaid](s); len(paid) != 1 || paid[0].GetAmount().GetAmount() != 7000 || paid[0].GetTeacherId() != ada {
		t.Errorf("PayoutPaid %v", paid)
	}
	if _, err := s.svc.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.count(`SELECT count(*) FROM mismatch WHERE kind LIKE 'transaction%'`); n != 0 {
		t.Errorf("%d transactions are not known", n)
	}
}

// Teachers hear of disputes by events that name what was theirs.
func TestDisputesAreTold(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada, buyer := id.New("account"), id.New("account")
	for _, outcome := range []string{"win_dispute", "lose_dispute"} {
		o := s.paidOrder(buyer, s.course(ada, 1000, "EUR"))
		s.settles(o, "dispute")
		s.settles(o, outcome)
		opened, settled := sent[*commercepb.DisputeOpened](s), sent[*commercepb.DisputeSettled](s)
		a, b := opened[len(opened)-1], settled[len(settled)-1]
		if a.GetOrderId() != o.GetId() || a.GetLines()[0].GetSellerId() != ada || a.GetLines()[0].GetTitle() == "" || b.GetDisputeId() != a.GetDisputeId() || b.GetWon() != (outcome == "win_dispute") {
			t.Errorf("%v, %v", a, b)
		}
	}
	if n := len(sent[*commercepb.DisputeOpened](s)); n != 2 {
		t.Errorf("%d opened", n)
	}
}
