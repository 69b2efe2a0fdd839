package commerce_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
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

func (s *shop) coupon(teacher, code string, change func(*commercepb.CouponTerms)) *commercepb.Coupon {
	s.Helper()
	terms := &commercepb.CouponTerms{Name: "A test", Percent: 20}
	if change != nil {
		change(terms)
	}
	return must[*commercepb.Coupon](s)(s.coupons.CreateMyCoupon(s.as(teacher), &commercepb.CreateMyCouponRequest{Terms: terms, Code: code}))
}

func TestCoupons(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, other := id.New("account"), id.New("account")
	a, b, c := s.course(seller, 4999, "EUR"), s.course(seller, 1000, "EUR"), s.course(other, 3000, "EUR")
	for code, req := range map[string]*commercepb.CreateMyCouponRequest{
		"coupon.reduction": {Terms: &commercepb.CouponTerms{Name: "x"}},
		"coupon.window":    {Terms: &commercepb.CouponTerms{Name: "x", Percent: 5, EndsAt: s.in(-time.Hour)}},
		"coupon.products":  {Terms: &commercepb.CouponTerms{Name: "x", Percent: 5, CourseIds: []string{c}}},
		"coupon.code":      {Terms: &commercepb.CouponTerms{Name: "x", Percent: 5}, Code: "a b c d"},
		"price.currency":   {Terms: &commercepb.CouponTerms{Name: "x", Amounts: []*moneypb.Money{{Amount: 5, Currency: "XXX"}}}},
		"request.invalid":  {Terms: &commercepb.CouponTerms{Name: "x", Percent: 101}},
	} {
		_, err := s.coupons.CreateMyCoupon(s.as(seller), req)
		wantCode(t, err, code)
	}
	_, err := s.coupons.CreateMyCoupon(s.as(seller), &commercepb.CreateMyCouponRequest{Terms: &commercepb.CouponTerms{Name: "x", Percent: 5, Amounts: []*moneypb.Money{eur(5)}}})
	wantCode(t, err, "coupon.reduction")
	made := s.coupon(seller, "Spring-20", func(c *commercepb.CouponTerms) {
		c.Minimums = []*moneypb.Money{eur(2000)}
		c.MaxUsesEach = 1
		c.EndsAt = s.in(48 * time.Hour)
	})
	_, err = s.coupons.CreateMyCoupon(s.as(other), &commercepb.CreateMyCouponRequest{Terms: &commercepb.CouponTerms{Name: "x", Percent: 5}, Code: "SPRING-20"})
	wantCode(t, err, "coupon.code_taken")

	buyer := id.New("account")
	q := must[*commercepb.Quote](s)(s.quote(buyer, "EUR", " sPRING-20 ", item(a), item(b), item(c)))
	var got [][3]int64
	for _, l := range q.GetLines() {
		got = append(got, [3]int64{l.GetList().GetAmount(), l.GetCoupon().GetAmount(), l.GetPrice().GetAmount()})
	}
	// A fifth of 59.99 is 12.00 (11.998), of the teacher's own courses alone.
	if diff := cmp.Diff([][3]int64{{4999, 1000, 3999}, {1000, 200, 800}, {3000, 0, 3000}}, got); diff != "" {
		t.Fatal(diff)
	}
	o := must[*commercepb.Order](s)(s.buy(buyer, q))
	if o.GetTotal().GetAmount() != 7799 || o.GetCouponId() != made.GetId() || o.GetDiscount().GetAmount() != 1200 {
		t.Fatalf("order %v", o)
	}
	if _, err := s.settle(o, "succeed"); err != nil {
		t.Fatal(err)
	}
	sales := must[*commercepb.ListSalesResponse](s)(s.client.ListSales(s.as(seller), &commercepb.ListSalesRequest{CourseId: a}))
	if sales.GetItems()[0].GetCouponOrigin() != "teacher" || sales.GetItems()[0].GetPrice().GetAmount() != 3999 {
		t.Fatalf("sales %v", sales)
	}
	more := s.course(seller, 4000, "EUR")
	_, err = s.quote(buyer, "EUR", "SPRING-20", item(more))
	wantCode(t, err, "coupon.used_by_you")
	someone := id.New("account")
	_, err = s.quote(someone, "EUR", "SPRING-20", item(b))
	wantCode(t, err, "coupon.minimum")
	s.priced(seller, more, eur(4000), usd(4000))
	_, err = s.quote(someone, "USD", "SPRING-20", item(more))
	wantCode(t, err, "coupon.currency")
	_, err = s.quote(someone, "EUR", "SPRING-20", item(c)) // for nothing in the cart: as if there were none
	wantCode(t, err, "coupon.invalid")

	// Seats are not what it is for.
	must[*commercepb.CoursePrices](s)(s.catalog.SetSeatPrices(s.as(seller), &commercepb.SetSeatPricesRequest{CourseId: a, SeatPrices: []*commercepb.SeatPrice{{FromQuantity: 1, Price: eur(4000)}}}))
	seats := &commercepb.CartItem{CourseId: a, Kind: "seats", Quantity: 3}
	_, err = s.quote(someone, "EUR", "SPRING-20", seats)
	wantCode(t, err, "coupon.invalid")
	s.coupon(seller, "TEAM", func(c *commercepb.CouponTerms) { c.ForSeats = true })
	if q := must[*commercepb.Quote](s)(s.quote(someone, "EUR", "team", seats)); q.GetTotal().GetAmount() != 9600 {
		t.Fatalf("seats %v", q)
	}

	// A first order is one that nothing went before, also nothing that is not paid yet.
	s.coupon(seller, "FIRST", func(c *commercepb.CouponTerms) { c.FirstOrderOnly = true })
	_, err = s.quote(buyer, "EUR", "FIRST", item(more))
	wantCode(t, err, "coupon.first_order")
	fresh := id.New("account")
	one, two := must[*commercepb.Quote](s)(s.quote(fresh, "EUR", "FIRST", item(more))), must[*commercepb.Quote](s)(s.quote(fresh, "EUR", "", item(b)))
	must[*commercepb.Order](s)(s.buy(fresh, two))
	_, err = s.buy(fresh, one)
	wantCode(t, err, "coupon.first_order")

	// The end of a coupon takes nothing from a quote; that somebody has ended it does.
	late := must[*commercepb.Quote](s)(s.quote(someone, "EUR", "SPRING-20", item(more)))
	ended := must[*commercepb.Quote](s)(s.quote(fresh, "EUR", "SPRING-20", item(more)))
	for range 2 {
		if c := must[*commercepb.Coupon](s)(s.coupons.EndMyCoupon(s.as(seller), &commercepb.EndMyCouponRequest{CouponId: made.GetId()})); c.GetState() != "ended" {
			t.Fatalf("ended: %v", c)
		}
	}
	_, err = s.coupons.EndMyCoupon(s.as(other), &commercepb.EndMyCouponRequest{CouponId: made.GetId()})
	wantCode(t, err, "coupon.not_found")
	_, err = s.buy(fresh, ended)
	wantCode(t, err, "coupon.used_up")
	_, err = s.buy(someone, late)
	wantCode(t, err, "coupon.used_up")
	_, err = s.quote(someone, "EUR", "SPRING-20", item(more))
	wantCode(t, err, "coupon.invalid")
	list := must[*commercepb.ListMyCouponsResponse](s)(s.coupons.ListMyCoupons(s.as(seller), &commercepb.ListMyCouponsRequest{}))
	if len(list.GetItems()) != 3 || list.GetItems()[2].GetUses() != 1 {
		t.Fatalf("coupons %v", list)
	}

	// The platform's, for everybody's courses or a teacher's.
	must[*commercepb.Coupon](s)(s.coupons.CreateCoupon(s.as(id.New("account")), &commercepb.CreateCouponRequest{
		Terms: &commercepb.CouponTerms{Name: "Black Friday", Amounts: []*moneypb.Money{eur(1500)}}, Code: "FRIDAY",
	}))
	q = must[*commercepb.Quote](s)(s.quote(someone, "EUR", "friday", item(b), item(c)))
	if q.GetTotal().GetAmount() != 2500 || q.GetLines()[0].GetCoupon().GetAmount() != 375 {
		t.Fatalf("quote %v", q)
	}
	if l := must[*commercepb.ListCouponsResponse](s)(s.coupons.ListCoupons(s.as(seller), &commercepb.ListCouponsRequest{})); len(l.GetItems()) != 1 || l.GetItems()[0].GetOrigin() != "platform" {
		t.Fatalf("coupons of the platform %v", l)
	}
}

// Who tries codes has to wait, and learns of none that there is.
func TestCodesAreNotGuessed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, guesser := id.New("account"), id.New("account")
	course := s.course(seller, 4900, "EUR")
	ended := s.coupon(seller, "ENDED", nil)
	must[*commercepb.Coupon](s)(s.coupons.EndMyCoupon(s.as(seller), &commercepb.EndMyCouponRequest{CouponId: ended.GetId()}))
	s.coupon(seller, "LATER", func(c *commercepb.CouponTerms) { c.StartsAt = s.in(time.Hour) })
	s.coupon(id.New("account"), "ELSE", nil)
	var answers []string
	for _, code := range []string{"NONE", "ENDED", "LATER", "ELSE", "no such", "?"} {
		_, err := s.quote(guesser, "EUR", code, item(course))
		wantCode(t, err, "coupon.invalid")
		answers = append(answers, err.Error())
	}
	for _, a := range answers[1:] {
		if a != answers[0] {
			t.Errorf("%q is not %q", a, answers[0])
		}
	}
	for i := range 4 {
		_, err := s.quote(guesser, "EUR", fmt.Sprint("GUESS", i), item(course))
		wantCode(t, err, "coupon.invalid")
	}
	s.coupon(seller, "GOOD", nil)
	_, err := s.quote(guesser, "EUR", "GOOD", item(course)) // though it is right
	wantCode(t, err, "coupon.rate")
	must[*commercepb.Quote](s)(s.quote(guesser, "EUR", "", item(course)))
	must[*commercepb.Quote](s)(s.quote(id.New("account"), "EUR", "GOOD", item(course)))
	s.pass(2 * time.Minute)
	must[*commercepb.Quote](s)(s.quote(guesser, "EUR", "GOOD", item(course)))

	for i := range 10 {
		_, err := s.desk.RedeemGift(s.as(guesser), &commercepb.RedeemGiftRequest{Code: fmt.Sprint("GUESS", i)})
		wantCode(t, err, "gift.invalid")
	}
	_, err = s.desk.RedeemGift(s.as(guesser), &commercepb.RedeemGiftRequest{Code: "ONE MORE"})
	wantCode(t, err, "gift.rate")
}

func TestGeneratedCodes(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer := id.New("account"), id.New("account")
	course := s.course(seller, 4900, "EUR")
	c := s.coupon(seller, "", func(c *commercepb.CouponTerms) { c.MaxUses = 2 })
	const n = 2500
	ctx := rpc.WithIdempotencyKey(s.as(seller), "codes")
	for range 2 {
		res, err := s.coupons.GenerateMyCodes(ctx, &commercepb.GenerateMyCodesRequest{CouponId: c.GetId(), Count: n})
		if err != nil || res.GetCodes() != n {
			t.Fatalf("%v, %v", res, err)
		}
	}
	seen := map[string]bool{}
	for cursor := ""; ; {
		page := must[*commercepb.ListMyCodesResponse](s)(s.coupons.ListMyCodes(s.as(seller), &commercepb.ListMyCodesRequest{CouponId: c.GetId(), PageSize: 1000, Cursor: cursor}))
		for _, one := range page.GetItems() {
			seen[one.GetCode()] = true
		}
		if cursor = page.GetNextCursor(); cursor == "" {
			break
		}
	}
	if len(seen) != n {
		t.Fatalf("%d codes, want %d", len(seen), n)
	}
	_, err := s.coupons.ListMyCodes(s.as(buyer), &commercepb.ListMyCodesRequest{CouponId: c.GetId()})
	wantCode(t, err, "coupon.not_found")
	used := 0
	for code := range seen {
		q, err := s.quote(buyer, "EUR", strings.ToLower(code), &commercepb.CartItem{CourseId: course, Kind: "gift"})
		if used == 2 { // the coupon's own limit is reached
			wantCode(t, err, "coupon.invalid")
			break
		}
		must[*commercepb.Order](s)(s.buy(buyer, must[*commercepb.Quote](s)(q, err)))
		used++
		_, err = s.quote(id.New("account"), "EUR", code, item(course)) // each code is for one order
		wantCode(t, err, "coupon.invalid")
	}
	_, err = s.coupons.GenerateMyCodes(s.as(seller), &commercepb.GenerateMyCodesRequest{CouponId: c.GetId(), Count: 10_000})
	wantCode(t, err, "")
}

// Of a thousand who use a coupon at once as many get it as its limit says.
func TestCouponIsUsedNoMoreThanItsLimit(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyers, limit := 1000, int32(100)
	if testing.Short() {
		buyers, limit = 200, 20
	}
	seller := id.New("account")
	course := s.course(seller, 4900, "EUR")
	c := s.coupon(seller, "RACE", func(c *commercepb.CouponTerms) { c.MaxUses = limit })
	quotes, accounts := make([]*commercepb.Quote, buyers), make([]string, buyers)
	var wg sync.WaitGroup
	gate := make(chan struct{}, 16)
	for i := range quotes {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			accounts[i] = id.New("account")
			var err error
			if quotes[i], err = s.quote(accounts[i], "EUR", "race", item(course)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	orders := make([]*commercepb.Order, buyers)
	var made, refused atomic.Int32
	for i := range quotes {
		wg.Go(func() {
			var err error
			switch orders[i], err = s.buy(accounts[i], quotes[i]); {
			case err == nil:
				made.Add(1)
			case fault.CodeOf(err) == "coupon.used_up":
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != limit || int(made.Load()+refused.Load()) != buyers {
		t.Fatalf("%d got it and %d did not, of %d for %d", made.Load(), refused.Load(), limit, buyers)
	}
	uses := func() (n int32) {
		s.Helper()
		if err := s.db.QueryRow(t.Context(), `
			SELECT c.uses FROM coupon c WHERE c.id = $1 AND c.uses = (SELECT count(*) FROM coupon_use u WHERE u.coupon_id = c.id AND live)
			AND c.uses = (SELECT sum(uses) FROM coupon_code WHERE coupon_id = c.id)`, c.GetId()).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := uses(); n != limit {
		t.Fatalf("%d uses", n)
	}
	// Those who give up and those who never pay let others have it, at once.
	var kept, gaveUp []int
	for i, o := range orders {
		switch {
		case o == nil:
		case len(gaveUp) < int(limit/4):
			gaveUp = append(gaveUp, i)
		default:
			kept = append(kept, i)
		}
	}
	for _, i := range gaveUp {
		wg.Go(func() {
			if _, err := s.client.CancelOrder(s.as(accounts[i]), &commercepb.CancelOrderRequest{OrderId: orders[i].GetId()}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := uses(); int(n) != int(limit)-len(gaveUp) {
		t.Fatalf("%d uses after %d gave up", n, len(gaveUp))
	}
	if _, err := s.settle(orders[kept[0]], "succeed"); err != nil {
		t.Fatal(err)
	}
	s.pass(25 * time.Hour)
	for range 4 {
		wg.Go(func() {
			if _, err := s.svc.Expire(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := s.svc.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := uses(); n != 1 {
		t.Fatalf("%d uses, of one order that was paid", n)
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
	s.svc.DevelopmentPayments = false // nobody is needed who takes payments
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

func TestGifts(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer, friend := id.New("account"), id.New("account"), id.New("account")
	course := s.course(seller, 4900, "EUR")
	note := &commercepb.GiftNote{FromName: "Your aunt", Note: "Enjoy it!"}
	wrapped := &commercepb.CartItem{CourseId: course, Kind: "gift", Gift: note}
	plain := &commercepb.CartItem{CourseId: course, Kind: "gift"}
	s.access.enrolled[buyer+course] = true
	o := must[*commercepb.Order](s)(s.buy(buyer, must[*commercepb.Quote](s)(s.quote(buyer, "EUR", "", wrapped, plain))))
	gifts := func() []*commercepb.Gift {
		s.Helper()
		return must[*commercepb.ListMyGiftsResponse](s)(s.desk.ListMyGifts(s.as(buyer), &commercepb.ListMyGiftsRequest{})).GetItems()
	}
	if g := gifts(); len(g) != 0 {
		t.Fatalf("not paid, and yet %v", g)
	}
	for range 2 {
		if _, err := s.settle(o, "succeed"); err != nil {
			t.Fatal(err)
		}
	}
	got := must[*commercepb.Order](s)(s.client.GetOrder(s.as(buyer), &commercepb.GetOrderRequest{OrderId: o.GetId()}))
	if got.GetState() != "fulfilled" || len(sent[*commercepb.OrderFulfilled](s)) != 1 {
		t.Fatalf("order %v", got)
	}
	list := gifts()
	if len(list) != 2 || list[0].GetState() != "open" || list[0].GetCode() == list[1].GetCode() || len(list[0].GetCode()) != 19 {
		t.Fatalf("gifts %v", list)
	}
	byNote := map[bool]*commercepb.Gift{list[0].GetGift() != nil: list[0], list[1].GetGift() != nil: list[1]}
	first := byNote[true]
	if diff := cmp.Diff(note, first.GetGift(), protocmp.Transform()); diff != "" {
		t.Fatal(diff)
	}
	redeem := func(who, code string) (*commercepb.RedeemedGift, error) {
		return s.desk.RedeemGift(s.as(who), &commercepb.RedeemGiftRequest{Code: code})
	}
	wantCode(t, second(redeem(buyer, first.GetCode())), "gift.already_enrolled")
	wantCode(t, second(redeem(seller, first.GetCode())), "gift.own_course")

	// Of many who have the code one gets it, who may ask again.
	rivals := []string{friend, id.New("account"), id.New("account"), id.New("account")}
	var winner atomic.Pointer[string]
	var wg sync.WaitGroup
	for _, who := range rivals {
		wg.Go(func() {
			r, err := redeem(who, strings.ToLower(strings.ReplaceAll(first.GetCode(), "-", " ")))
			switch {
			case err == nil && r.GetGift().GetNote() == "Enjoy it!" && r.GetCourseId() == course:
				if !winner.CompareAndSwap(nil, &who) {
					t.Error("two have it")
				}
			case fault.CodeOf(err) != "gift.invalid":
				t.Errorf("%v, %v", r, err)
			}
		})
	}
	wg.Wait()
	if winner.Load() == nil {
		t.Fatal("nobody has it")
	}
	if r, err := redeem(*winner.Load(), first.GetCode()); err != nil || r.GetRedeemedAt() == nil {
		t.Fatalf("again: %v, %v", r, err)
	}
	events := sent[*commercepb.GiftRedeemed](s)
	if len(events) != 1 || events[0].GetAccountId() != *winner.Load() || events[0].GetLineId() != first.GetLineId() {
		t.Fatalf("GiftRedeemed: %v", events)
	}

	// One that was paid back is none.
	other := byNote[false]
	if err := s.db.InTx(t.Context(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		return commerce.LetGoLines(t.Context(), tx, []string{other.GetLineId()})
	}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, second(redeem(id.New("account"), other.GetCode())), "gift.invalid")
	states := map[string]string{}
	for _, g := range gifts() {
		states[g.GetLineId()] = g.GetState()
	}
	if diff := cmp.Diff(map[string]string{first.GetLineId(): "redeemed", other.GetLineId(): "returned"}, states); diff != "" {
		t.Fatal(diff)
	}
}

// Neither the codes of gifts nor what is written to who gets them is in the database as
// it is read.
func TestGiftsAreSealed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer, friend := id.New("account"), id.New("account")
	course := s.course(id.New("account"), 4900, "EUR")
	wrapped := &commercepb.CartItem{CourseId: course, Kind: "gift", Gift: &commercepb.GiftNote{FromName: "Aunt Philippa", Note: "Congratulations"}}
	ctx := func(key string) *commercepb.Quote {
		q, err := s.desk.CreateQuote(rpc.WithIdempotencyKey(s.as(buyer), key), &commercepb.CreateQuoteRequest{Items: []*commercepb.CartItem{wrapped}})
		return must[*commercepb.Quote](s)(q, err)
	}
	if _, err := s.desk.SetCart(rpc.WithIdempotencyKey(s.as(buyer), "cart"), &commercepb.SetCartRequest{Items: []*commercepb.CartItem{wrapped}}); err != nil {
		t.Fatal(err)
	}
	o := must[*commercepb.Order](s)(s.client.CreateOrder(rpc.WithIdempotencyKey(s.as(buyer), "order"), &commercepb.CreateOrderRequest{QuoteId: ctx("quote").GetId()}))
	if _, err := s.settle(o, "succeed"); err != nil {
		t.Fatal(err)
	}
	code := must[*commercepb.ListMyGiftsResponse](s)(s.desk.ListMyGifts(s.as(buyer), &commercepb.ListMyGiftsRequest{})).GetItems()[0].GetCode()
	if _, err := s.desk.RedeemGift(rpc.WithIdempotencyKey(s.as(friend), "redeem"), &commercepb.RedeemGiftRequest{Code: code}); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"Philippa", "Congratulations", code, strings.ReplaceAll(code, "-", "")} {
		for _, table := range []string{"gift", "quote", "cart", "idempotency", "outbox", "orders", "order_line"} {
			var found bool
			if err := s.db.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM `+table+` t WHERE position(encode(convert_to($1, 'UTF8'), 'hex') IN t::text) > 0 OR position($1 IN t::text) > 0)`, secret).Scan(&found); err != nil {
				t.Fatal(err)
			}
			if found {
				t.Errorf("%q is in %s", secret, table)
			}
		}
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
