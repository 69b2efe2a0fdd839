package commerce_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

func seatBlock(l *commercepb.OrderLine) *accesspb.SeatBlockCreated {
	return &accesspb.SeatBlockCreated{BlockId: id.New("block"), CourseId: l.GetCourseId(), SourceId: l.GetId(), Seats: l.GetQuantity()}
}

func TestQuotes(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer := id.New("account"), id.New("account")
	a, b := s.course(seller, 4900, "EUR"), s.course(seller, 1000, "EUR")
	q := must[*commercepb.Quote](s)(s.quote(buyer, "", "", item(a), item(b)))
	if q.GetTotal().GetAmount() != 5900 || q.GetTotal().GetCurrency() != "EUR" {
		t.Fatalf("quote %v", q)
	}
	got := must[*commercepb.Quote](s)(s.desk.GetQuote(s.as(buyer), &commercepb.GetQuoteRequest{QuoteId: q.GetId()}))
	if diff := cmp.Diff(q, got, protocmp.Transform()); diff != "" {
		t.Fatal(diff)
	}
	stranger := id.New("account")
	_, err := s.desk.GetQuote(s.as(stranger), &commercepb.GetQuoteRequest{QuoteId: q.GetId()})
	wantCode(t, err, "quote.not_found")
	_, err = s.buy(stranger, q)
	wantCode(t, err, "quote.not_found")
	_, err = s.client.CreateOrder(s.as(buyer), &commercepb.CreateOrderRequest{QuoteId: q.GetId(), CourseIds: []string{a}})
	wantCode(t, err, "request.invalid")

	// The price of the quote holds, whatever becomes of the course's.
	s.priced(seller, a, eur(9900))
	s.pass(29 * time.Minute)
	o := must[*commercepb.Order](s)(s.buy(buyer, q))
	if o.GetTotal().GetAmount() != 5900 {
		t.Fatalf("order %v", o)
	}
	_, err = s.buy(buyer, q)
	wantCode(t, err, "quote.used")
	must[*commercepb.Order](s)(s.client.CancelOrder(s.as(buyer), &commercepb.CancelOrderRequest{OrderId: o.GetId()}))
	q = must[*commercepb.Quote](s)(s.quote(buyer, "", "", item(a)))
	s.pass(30 * time.Minute)
	_, err = s.buy(buyer, q)
	wantCode(t, err, "quote.expired")
	q = must[*commercepb.Quote](s)(s.quote(buyer, "", "", item(a)))
	s.access.enrolled[buyer+a] = true
	_, err = s.buy(buyer, q)
	wantCode(t, err, "order.already_enrolled")
	delete(s.access.enrolled, buyer+a)
	s.deliver(&coursespb.CourseUnpublished{CourseId: a, Sequence: 2})
	_, err = s.buy(buyer, q)
	wantCode(t, err, "order.course_not_for_sale")

	for code, items := range map[string][]*commercepb.CartItem{
		"order.twice":      {item(b), item(b)},
		"order.item":       {{}},
		"request.invalid":  {{CourseId: b, Kind: "loan"}},
		"order.own_course": {item(s.course(buyer, 100, "EUR"))},
	} {
		_, err := s.quote(buyer, "EUR", "", items...)
		wantCode(t, err, code)
	}
	_, err = s.quote(buyer, "EUR", "", &commercepb.CartItem{CourseId: b, Gift: &commercepb.GiftNote{Note: "for whom?"}})
	wantCode(t, err, "order.item")

	s.pass(49 * time.Hour)
	if _, err := s.desk.GetQuote(s.as(buyer), &commercepb.GetQuoteRequest{QuoteId: q.GetId()}); fault.CodeOf(err) != "quote.not_found" {
		t.Fatalf("a day later: %v", err)
	}
	if n, err := s.svc.SweepQuotes(t.Context()); err != nil || n != 3 {
		t.Fatalf("%d deleted, %v", n, err)
	}
}

// One quote makes one order, however often it is sent at once.
func TestQuoteIsOrderedOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer := id.New("account")
	q := must[*commercepb.Quote](s)(s.quote(buyer, "EUR", "", &commercepb.CartItem{CourseId: s.course(id.New("account"), 4900, "EUR"), Kind: "gift"}))
	var made atomic.Int32
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := s.buy(buyer, q); err == nil {
				made.Add(1)
			} else if fault.CodeOf(err) != "quote.used" {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Fatalf("%d orders of one quote", made.Load())
	}
}

// Of two who take the last place one gets it, and it comes back.
func TestPlaces(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller := id.New("account")
	course := s.course(seller, 4900, "EUR")
	must[*commercepb.CoursePrices](s)(s.catalog.SetSeatPrices(s.as(seller), &commercepb.SetSeatPricesRequest{CourseId: course, SeatPrices: []*commercepb.SeatPrice{{FromQuantity: 1, Price: eur(4000)}}}))
	before := s.order(id.New("account"), course) // ordered when any number could be sold
	places := func(n int32) *commercepb.CoursePrices {
		s.Helper()
		return must[*commercepb.CoursePrices](s)(s.catalog.SetPlaces(s.as(seller), &commercepb.SetPlacesRequest{CourseId: course, Places: n}))
	}
	left := func() int32 {
		s.Helper()
		return must[*commercepb.CoursePrices](s)(s.catalog.GetPrices(s.as(seller), &commercepb.GetPricesRequest{CourseId: course})).GetPlacesLeft()
	}
	if p := places(6); p.GetPlacesLeft() != 5 {
		t.Fatalf("prices %v", p)
	}
	_, err := s.quote(id.New("account"), "EUR", "", &commercepb.CartItem{CourseId: course, Kind: "seats", Quantity: 6})
	wantCode(t, err, "order.sold_out")
	team := id.New("account")
	o := must[*commercepb.Order](s)(s.buy(team, must[*commercepb.Quote](s)(s.quote(team, "EUR", "", &commercepb.CartItem{CourseId: course, Kind: "seats", Quantity: 4}))))
	if n := left(); n != 1 {
		t.Fatalf("%d left, want 1", n)
	}
	var made, refused atomic.Int32
	var wg sync.WaitGroup
	for i := range 20 {
		buyer := id.New("account")
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				_, err = s.client.CreateOrder(s.as(buyer), &commercepb.CreateOrderRequest{CourseIds: []string{course}})
			} else {
				var q *commercepb.Quote
				if q, err = s.quote(buyer, "EUR", "", &commercepb.CartItem{CourseId: course, Kind: "gift"}); err == nil {
					_, err = s.buy(buyer, q)
				}
			}
			switch {
			case err == nil:
				made.Add(1)
			case fault.CodeOf(err) == "order.sold_out":
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 || refused.Load() != 19 || left() != 0 {
		t.Fatalf("%d made, %d refused, %d left", made.Load(), refused.Load(), left())
	}
	for range 2 {
		must[*commercepb.Order](s)(s.client.CancelOrder(s.as(team), &commercepb.CancelOrderRequest{OrderId: o.GetId()}))
		if n := left(); n != 4 {
			t.Fatalf("%d left after four seats were given up", n)
		}
	}
	if _, err := s.settle(before, "succeed"); err != nil {
		t.Fatal(err)
	}
	if p := places(1); p.GetPlacesLeft() != 0 { // two are sold
		t.Fatalf("prices %v", p)
	}
	_, err = s.client.CreateOrder(s.as(id.New("account")), &commercepb.CreateOrderRequest{CourseIds: []string{course}})
	wantCode(t, err, "order.sold_out")
	s.pass(25 * time.Hour) // the other was never paid
	if _, err := s.svc.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := places(3); p.GetPlacesLeft() != 2 {
		t.Fatalf("prices %v", p)
	}
	if p := places(0); p.GetPlaces() != 0 {
		t.Fatalf("prices %v", p)
	}
	s.order(id.New("account"), course)
}

// What costs nothing is paid at once, and nothing is booked.
func TestNothingToPay(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer := id.New("account"), id.New("account")
	a, b := s.course(seller, 4900, "EUR"), s.course(seller, 1000, "EUR")
	s.coupon(seller, "ALL-OF-IT", func(c *commercepb.CouponTerms) { c.Percent = 100 })
	s.coupon(seller, "NEARLY", func(c *commercepb.CouponTerms) { c.Percent = 99 })
	if q := must[*commercepb.Quote](s)(s.quote(buyer, "EUR", "nearly", item(b))); q.GetTotal().GetAmount() != 0 { // ten cents can't be charged
		t.Fatalf("quote %v", q)
	}
	s.svc.NoProvider() // nobody is needed who takes payments
	o := must[*commercepb.Order](s)(s.buy(buyer, must[*commercepb.Quote](s)(s.quote(buyer, "EUR", "all-of-it", item(a), item(b)))))
	if o.GetState() != "paid" || o.GetTotal().GetAmount() != 0 || o.GetDiscount().GetAmount() != 5900 || o.GetPayUrl() != "" || o.GetPaidAt() == nil {
		t.Fatalf("order %v", o)
	}
	events := sent[*commercepb.OrderPaid](s)
	if len(events) != 1 || len(events[0].GetLines()) != 2 || events[0].GetTotal().GetAmount() != 0 {
		t.Fatalf("OrderPaid: %v", events)
	}
	for _, l := range o.GetLines() {
		s.deliver(&accesspb.EntitlementGranted{EntitlementId: id.New("entitlement"), AccountId: buyer, CourseId: l.GetCourseId(), Source: "order", SourceId: l.GetId()})
	}
	got := must[*commercepb.Order](s)(s.client.GetOrder(s.as(buyer), &commercepb.GetOrderRequest{OrderId: o.GetId()}))
	if got.GetState() != "fulfilled" {
		t.Fatalf("order %v", got)
	}
	s.pass(31 * 24 * time.Hour)
	for _, do := range []func() (int, error){
		func() (int, error) { return s.svc.BookUnbooked(t.Context()) }, func() (int, error) { return s.svc.Release(t.Context()) },
	} {
		if _, err := do(); err != nil {
			t.Fatal(err)
		}
	}
	var entries int
	if err := s.db.QueryRow(t.Context(), `SELECT count(*) FROM ledger_entry`).Scan(&entries); err != nil || entries != 0 {
		t.Fatalf("%d entries, %v", entries, err)
	}
	if _, err := commerce.VerifyLedger(t.Context(), s.db); err != nil {
		t.Fatal(err)
	}
}

func TestCart(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer := id.New("account"), id.New("account")
	a, b := s.course(seller, 4900, "EUR"), s.course(seller, 1000, "USD")
	c := must[*commercepb.Cart](s)(s.desk.GetCart(s.as(buyer), &commercepb.GetCartRequest{}))
	if len(c.GetItems()) != 0 || c.GetEtag() != "0" {
		t.Fatalf("cart %v", c)
	}
	gift := &commercepb.CartItem{CourseId: a, Kind: "gift", Gift: &commercepb.GiftNote{Note: "for you"}}
	req := &commercepb.SetCartRequest{Items: []*commercepb.CartItem{item(a), item(b), gift, item(id.New("course")), {BundleId: id.New("bundle")}}}
	c = must[*commercepb.Cart](s)(s.desk.SetCart(rpc.WithIfMatch(s.as(buyer), `"0"`), req))
	got := must[*commercepb.Cart](s)(s.desk.GetCart(s.as(buyer), &commercepb.GetCartRequest{}))
	if diff := cmp.Diff(c, got, protocmp.Transform()); diff != "" {
		t.Fatal(diff)
	}
	var told []string
	for _, i := range got.GetItems() {
		told = append(told, fmt.Sprint(i.GetPrice().GetAmount(), i.GetPrice().GetCurrency(), " ", i.GetProblem()))
	}
	if diff := cmp.Diff([]string{"4900EUR ", "1000USD ", "4900EUR ", "0 order.course_not_for_sale", "0 order.bundle_not_for_sale"}, told); diff != "" {
		t.Fatal(diff)
	}
	s.priced(seller, a, eur(3900)) // prices are those of the moment
	s.access.enrolled[buyer+a] = true
	got = must[*commercepb.Cart](s)(s.desk.GetCart(s.as(buyer), &commercepb.GetCartRequest{}))
	if got.GetItems()[0].GetProblem() != "order.already_enrolled" || got.GetItems()[2].GetPrice().GetAmount() != 3900 || got.GetItems()[2].GetItem().GetGift().GetNote() != "for you" {
		t.Fatalf("cart %v", got)
	}
	_, err := s.desk.SetCart(rpc.WithIfMatch(s.as(buyer), `"0"`), req)
	wantCode(t, err, "etag.stale")
	if c = must[*commercepb.Cart](s)(s.desk.SetCart(s.as(buyer), &commercepb.SetCartRequest{})); len(c.GetItems()) != 0 || c.GetEtag() != "2" {
		t.Fatalf("cart %v", c)
	}
}
