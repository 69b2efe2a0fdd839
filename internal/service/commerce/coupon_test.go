package commerce_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

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

	// Nor by making coupons.
	finder := id.New("account")
	for range 10 {
		_, err := s.coupons.CreateMyCoupon(s.as(finder), &commercepb.CreateMyCouponRequest{Terms: &commercepb.CouponTerms{Name: "x", Percent: 5}, Code: "good"})
		wantCode(t, err, "coupon.code_taken")
	}
	_, err = s.coupons.CreateMyCoupon(s.as(finder), &commercepb.CreateMyCouponRequest{Terms: &commercepb.CouponTerms{Name: "x", Percent: 5}, Code: "another"})
	wantCode(t, err, "coupon.rate")

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
