package commerce_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

func eur(amount int64) *moneypb.Money { return &moneypb.Money{Amount: amount, Currency: "EUR"} }
func usd(amount int64) *moneypb.Money { return &moneypb.Money{Amount: amount, Currency: "USD"} }

// as returns a context in which the account calls.
func (s *shop) as(account string) context.Context { return rpctest.Account(s.Context(), account) }

// in is how long from now.
func (s *shop) in(d time.Duration) *timestamppb.Timestamp {
	return timestamppb.New(time.Unix(s.now.Load(), 0).Add(d))
}

// pass lets time pass.
func (s *shop) pass(d time.Duration) { s.now.Add(int64(d / time.Second)) }

// must is for what is not to fail.
func must[T any](s *shop) func(T, error) T {
	return func(v T, err error) T {
		s.Helper()
		if err != nil {
			s.Fatal(err)
		}
		return v
	}
}

// priced has a seller set what a course costs.
func (s *shop) priced(seller, course string, base *moneypb.Money, further ...*moneypb.Money) *commercepb.CoursePrices {
	s.Helper()
	return must[*commercepb.CoursePrices](s)(s.catalog.SetPrices(s.as(seller), &commercepb.SetPricesRequest{CourseId: course, Base: base, Further: further}))
}

func item(course string) *commercepb.CartItem { return &commercepb.CartItem{CourseId: course} }

// quote asks what items cost.
func (s *shop) quote(buyer, currency, coupon string, items ...*commercepb.CartItem) (*commercepb.Quote, error) {
	return s.desk.CreateQuote(s.as(buyer), &commercepb.CreateQuoteRequest{Items: items, Currency: currency, CouponCode: coupon})
}

// buy orders a quote.
func (s *shop) buy(buyer string, q *commercepb.Quote) (*commercepb.Order, error) {
	return s.client.CreateOrder(s.as(buyer), &commercepb.CreateOrderRequest{QuoteId: q.GetId()})
}

func TestPricesInSeveralCurrencies(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer := id.New("account"), id.New("account")
	course := s.course(seller, 4900, "EUR")
	set := func(base *moneypb.Money, further ...*moneypb.Money) error {
		_, err := s.catalog.SetPrices(s.as(seller), &commercepb.SetPricesRequest{CourseId: course, Base: base, Further: further})
		return err
	}
	wantCode(t, set(eur(4900), eur(100)), "price.twice")
	wantCode(t, set(eur(4900), usd(100), usd(200)), "price.twice")
	wantCode(t, set(eur(4900), usd(0)), "price.free")
	wantCode(t, set(eur(0), usd(5000)), "price.free")
	wantCode(t, set(eur(4900), usd(1)), "price.range")
	wantCode(t, set(eur(4900), &moneypb.Money{Amount: 10, Currency: "JPY"}), "price.range")
	wantCode(t, set(eur(4900), &moneypb.Money{Amount: 4900, Currency: "XXX"}), "price.currency")

	p := s.priced(seller, course, eur(4900), usd(5500), &moneypb.Money{Amount: 7000, Currency: "JPY"})
	var got []string
	for _, c := range p.GetPrices() {
		got = append(got, c.GetList().GetCurrency())
	}
	if diff := cmp.Diff([]string{"EUR", "JPY", "USD"}, got); diff != "" {
		t.Fatal(diff)
	}
	events := sent[*commercepb.PriceSet](s)
	if last := events[len(events)-1]; len(last.GetFurther()) != 2 || last.GetPrice().GetAmount() != 4900 || last.GetVersion() != 2 {
		t.Fatalf("PriceSet %v", last)
	}
	q := must[*commercepb.Quote](s)(s.quote(buyer, "JPY", "", item(course)))
	if diff := cmp.Diff(&moneypb.Money{Amount: 7000, Currency: "JPY"}, q.GetTotal(), protocmp.Transform()); diff != "" {
		t.Fatal(diff)
	}
	_, err := s.quote(buyer, "GBP", "", item(course))
	wantCode(t, err, "order.not_in_currency")

	// A base in one of the other currencies takes its place, and what is free is free in all.
	must[*commercepb.Price](s)(s.client.SetPrice(s.as(seller), &commercepb.SetPriceRequest{CourseId: course, Price: usd(6000)}))
	p = must[*commercepb.CoursePrices](s)(s.catalog.GetPrices(s.as(buyer), &commercepb.GetPricesRequest{CourseId: course}))
	if len(p.GetPrices()) != 2 || p.GetPrices()[0].GetList().GetAmount() != 6000 || p.GetPrices()[1].GetList().GetCurrency() != "JPY" {
		t.Fatalf("prices %v", p)
	}
	must[*commercepb.Price](s)(s.client.SetPrice(s.as(seller), &commercepb.SetPriceRequest{CourseId: course, Price: eur(0)}))
	p = must[*commercepb.CoursePrices](s)(s.catalog.GetPrices(s.as(buyer), &commercepb.GetPricesRequest{CourseId: course}))
	if len(p.GetPrices()) != 1 || p.GetPrices()[0].GetPrice().GetAmount() != 0 {
		t.Fatalf("free, and yet %v", p)
	}
	_, err = s.quote(buyer, "JPY", "", item(course))
	wantCode(t, err, "order.course_free")

	stale := rpc.WithIfMatch(s.as(seller), `"1"`)
	_, err = s.catalog.SetPrices(stale, &commercepb.SetPricesRequest{CourseId: course, Base: eur(100)})
	wantCode(t, err, "etag.stale")
	_, err = s.catalog.GetPrices(s.as(seller), &commercepb.GetPricesRequest{CourseId: id.New("course")})
	wantCode(t, err, "price.not_set")
}

func TestReductions(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer := id.New("account"), id.New("account")
	course := s.course(seller, 4900, "EUR")
	s.priced(seller, course, eur(4900), usd(5500))
	reduce := func(from, until time.Duration, prices ...*moneypb.Money) (*commercepb.Reduction, error) {
		return s.catalog.CreateReduction(s.as(seller), &commercepb.CreateReductionRequest{CourseId: course, Prices: prices, StartsAt: s.in(from), EndsAt: s.in(until)})
	}
	for code, err := range map[string]error{
		"reduction.prices": second(reduce(0, time.Hour, eur(4900))),
		"reduction.window": second(reduce(-time.Hour, time.Hour, eur(900))),
		"price.free":       second(reduce(0, time.Hour, eur(0))),
		"price.twice":      second(reduce(0, time.Hour, eur(900), eur(800))),
	} {
		wantCode(t, err, code)
	}
	wantCode(t, second(reduce(time.Hour, time.Hour, eur(900))), "reduction.window")
	wantCode(t, second(reduce(0, 400*24*time.Hour, eur(900))), "reduction.window")
	wantCode(t, second(reduce(0, time.Hour, &moneypb.Money{Amount: 900, Currency: "GBP"})), "reduction.prices")

	// Of those that overlap one is made.
	var made, refused atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			switch _, err := reduce(time.Hour, 3*time.Hour+time.Duration(i)*time.Minute, eur(2900)); {
			case err == nil:
				made.Add(1)
			case fault.CodeOf(err) == "reduction.overlaps":
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 || refused.Load() != 7 {
		t.Fatalf("%d made, %d refused", made.Load(), refused.Load())
	}
	if _, err := reduce(0, time.Hour, eur(3900)); err != nil { // up to the other's beginning
		t.Fatal(err)
	}

	costs := func(currency string) [2]int64 {
		s.Helper()
		q := must[*commercepb.Quote](s)(s.quote(buyer, currency, "", item(course)))
		return [2]int64{q.GetLines()[0].GetList().GetAmount(), q.GetTotal().GetAmount()}
	}
	if diff := cmp.Diff([][2]int64{{4900, 3900}, {5500, 5500}}, [][2]int64{costs("EUR"), costs("USD")}); diff != "" {
		t.Fatal(diff)
	}
	s.pass(time.Hour)
	if got := costs("EUR"); got != [2]int64{4900, 2900} {
		t.Fatalf("costs %v", got)
	}
	list := must[*commercepb.ListReductionsResponse](s)(s.catalog.ListReductions(s.as(seller), &commercepb.ListReductionsRequest{CourseId: course}))
	if len(list.GetItems()) != 2 || list.GetItems()[0].GetState() != "live" || list.GetItems()[1].GetState() != "ended" {
		t.Fatalf("reductions %v", list)
	}
	// A price that is lower than the reduced one is the price.
	s.priced(seller, course, eur(2000))
	if got := costs("EUR"); got != [2]int64{2000, 2000} {
		t.Fatalf("costs %v", got)
	}
	s.priced(seller, course, eur(4900))
	for range 2 {
		r := must[*commercepb.Reduction](s)(s.catalog.EndReduction(s.as(seller), &commercepb.EndReductionRequest{CourseId: course, ReductionId: list.GetItems()[0].GetId()}))
		if r.GetState() != "ended" {
			t.Fatalf("ended: %v", r)
		}
	}
	if got := costs("EUR"); got != [2]int64{4900, 4900} {
		t.Fatalf("costs %v after its end", got)
	}
	// One that has not begun never does, and leaves its time to others.
	r := must[*commercepb.Reduction](s)(reduce(5*time.Hour, 6*time.Hour, eur(100)))
	if r = must[*commercepb.Reduction](s)(s.catalog.EndReduction(s.as(seller), &commercepb.EndReductionRequest{CourseId: course, ReductionId: r.GetId()})); r.GetState() != "ended" {
		t.Fatalf("ended: %v", r)
	}
	must[*commercepb.Reduction](s)(reduce(5*time.Hour, 6*time.Hour, eur(200)))
	_, err := s.catalog.EndReduction(s.as(seller), &commercepb.EndReductionRequest{CourseId: s.course(seller, 100, "EUR"), ReductionId: r.GetId()})
	wantCode(t, err, "reduction.not_found")
}

func second[T any](_ T, err error) error { return err }

func TestSeats(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer := id.New("account"), id.New("account")
	course := s.course(seller, 4900, "EUR")
	tiers := func(list ...*commercepb.SeatPrice) error {
		_, err := s.catalog.SetSeatPrices(s.as(seller), &commercepb.SetSeatPricesRequest{CourseId: course, SeatPrices: list})
		return err
	}
	from := func(n int32, m *moneypb.Money) *commercepb.SeatPrice {
		return &commercepb.SeatPrice{FromQuantity: n, Price: m}
	}
	seats := func(n int32) *commercepb.CartItem {
		return &commercepb.CartItem{CourseId: course, Kind: "seats", Quantity: n}
	}
	_, err := s.quote(buyer, "EUR", "", seats(3))
	wantCode(t, err, "order.seats_not_for_sale")
	wantCode(t, tiers(from(5, eur(4000))), "seat_price.tiers")
	wantCode(t, tiers(from(1, eur(4000)), from(1, eur(3000))), "seat_price.tiers")
	wantCode(t, tiers(from(1, eur(4000)), from(5, eur(4001))), "seat_price.tiers")
	wantCode(t, tiers(from(1, eur(0))), "price.range")
	wantCode(t, tiers(from(1, eur(4000)), from(5, eur(3500)), from(20, eur(2999)), from(1, usd(5000))), "")
	for quantity, want := range map[int32][2]int64{1: {4000, 4000}, 4: {16000, 16000}, 5: {20000, 17500}, 19: {76000, 66500}, 20: {80000, 59980}, 5000: {20_000_000, 14_995_000}} {
		q := must[*commercepb.Quote](s)(s.quote(buyer, "EUR", "", seats(quantity)))
		if got := [2]int64{q.GetListTotal().GetAmount(), q.GetTotal().GetAmount()}; got != want {
			t.Errorf("%d seats: %v, want %v", quantity, got, want)
		}
	}
	_, err = s.quote(buyer, "EUR", "", seats(5001))
	wantCode(t, err, "request.invalid")
	_, err = s.quote(buyer, "GBP", "", seats(2))
	wantCode(t, err, "order.not_in_currency")
	_, err = s.quote(buyer, "EUR", "", &commercepb.CartItem{CourseId: course, Quantity: 2})
	wantCode(t, err, "order.quantity")
	_, err = s.quote(seller, "EUR", "", seats(2))
	wantCode(t, err, "order.own_course")

	// Who has the course buys seats of it, twice, and takes it for themselves besides.
	s.access.enrolled[buyer+course] = true
	var last *commercepb.Order
	for range 2 {
		last = must[*commercepb.Order](s)(s.buy(buyer, must[*commercepb.Quote](s)(s.quote(buyer, "EUR", "", seats(20)))))
	}
	if l := last.GetLines()[0]; l.GetKind() != "seats" || l.GetQuantity() != 20 || l.GetPrice().GetAmount() != 59980 || l.GetList().GetAmount() != 80000 {
		t.Fatalf("line %v", l)
	}
	if _, err := s.settle(last, "succeed"); err != nil {
		t.Fatal(err)
	}
	paid := sent[*commercepb.OrderPaid](s)
	if l := paid[0].GetLines()[0]; l.GetKind() != "seats" || l.GetQuantity() != 20 {
		t.Fatalf("paid line %v", l)
	}
	for range 2 {
		s.deliver(seatBlock(last.GetLines()[0]))
	}
	got := must[*commercepb.Order](s)(s.client.GetOrder(s.as(buyer), &commercepb.GetOrderRequest{OrderId: last.GetId()}))
	if got.GetState() != "fulfilled" || len(sent[*commercepb.OrderFulfilled](s)) != 1 {
		t.Fatalf("order %v", got)
	}
}

// What is more than can be ordered, or charged at once, is refused, and nothing overflows.
func TestNothingOverflows(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer := id.New("account"), id.New("account")
	seats := func(course string, quantity int32, tiers ...int64) *commercepb.CartItem {
		t.Helper()
		var list []*commercepb.SeatPrice
		for i, amount := range tiers {
			list = append(list, &commercepb.SeatPrice{FromQuantity: int32(1 + 4999*i), Price: &moneypb.Money{Amount: amount, Currency: "KWD"}})
		}
		must[*commercepb.CoursePrices](s)(s.catalog.SetSeatPrices(s.as(seller), &commercepb.SetSeatPricesRequest{CourseId: course, SeatPrices: list}))
		return &commercepb.CartItem{CourseId: course, Kind: "seats", Quantity: quantity}
	}
	dear, cheap := s.course(seller, 10_000_000, "KWD"), s.course(seller, 9_999_990, "KWD")
	var many []*commercepb.CartItem
	for range 20 { // 5,000 × 10,000 dinars each, as much as there can be
		many = append(many, seats(s.course(seller, 10_000_000, "KWD"), 5000, 10_000_000))
	}
	for name, c := range map[string]struct {
		items []*commercepb.CartItem
		total int64  // that is quoted
		field string // that is refused
	}{
		"eight digits":                  {[]*commercepb.CartItem{seats(dear, 9, 10_000_000), item(cheap)}, 99_999_990, ""},
		"nine":                          {[]*commercepb.CartItem{item(cheap), seats(dear, 10, 10_000_000)}, 0, "items[1]"},
		"eight, of more":                {[]*commercepb.CartItem{seats(s.course(seller, 10_000_000, "KWD"), 5000, 10_000_000, 19_000)}, 95_000_000, ""},
		"more than there can be":        {many, 0, "items[0]"},
		"more than a message has place": {append(many[:20:20], item(dear)), 0, "items"},
	} {
		q, err := s.quote(buyer, "KWD", "", c.items...)
		var fields []string
		if f, ok := errors.AsType[*fault.Error](err); ok {
			for _, one := range f.Fields {
				fields = append(fields, one.Path)
			}
		}
		if got := strings.Join(fields, " "); q.GetTotal().GetAmount() != c.total || got != c.field {
			t.Errorf("%s: %v, %v of %s", name, q.GetTotal(), err, got)
		}
	}
	_, err := s.quote(buyer, "KWD", "", seats(dear, 10, 10_000_000))
	wantCode(t, err, "order.too_large")
}

func TestBundles(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer := id.New("account"), id.New("account")
	a, b, c := s.course(seller, 3000, "EUR"), s.course(seller, 2000, "EUR"), s.course(seller, 1000, "EUR")
	for course, dollars := range map[string]int64{a: 3300, b: 2200} {
		p := must[*commercepb.CoursePrices](s)(s.catalog.GetPrices(s.as(seller), &commercepb.GetPricesRequest{CourseId: course}))
		s.priced(seller, course, p.GetPrices()[0].GetList(), usd(dollars))
	}
	create := func(who string, courses []string, prices ...*moneypb.Money) (*commercepb.Bundle, error) {
		return s.bundles.CreateBundle(s.as(who), &commercepb.CreateBundleRequest{Title: " All of it ", CourseIds: courses, Prices: prices})
	}
	wantCode(t, second(create(buyer, []string{a, b}, eur(4000))), "bundle.courses")
	wantCode(t, second(create(seller, []string{a, s.course(buyer, 100, "EUR")}, eur(4000))), "bundle.courses")
	wantCode(t, second(create(seller, []string{a, id.New("course")}, eur(4000))), "bundle.courses")
	wantCode(t, second(create(seller, []string{a}, eur(4000))), "request.invalid")
	wantCode(t, second(create(seller, []string{a, a}, eur(4000))), "request.invalid")
	wantCode(t, second(create(seller, []string{a, b}, eur(4000), eur(1))), "price.range")
	made := must[*commercepb.Bundle](s)(create(seller, []string{a, b, c}, eur(4999), usd(5000)))
	if made.GetState() != "draft" || made.GetTitle() != "All of it" || made.GetForSale() {
		t.Fatalf("bundle %v", made)
	}
	name := &commercepb.GetBundleRequest{BundleId: made.GetId()}
	_, err := s.bundles.GetBundle(s.as(buyer), name)
	wantCode(t, err, "bundle.not_found")
	must[*commercepb.Bundle](s)(s.bundles.GetBundle(s.as(seller), name))
	publish := func() (*commercepb.Bundle, error) {
		return s.bundles.PublishBundle(s.as(seller), &commercepb.PublishBundleRequest{BundleId: made.GetId()})
	}
	wantCode(t, second(publish()), "bundle.price") // the third has no price in dollars
	update := func(ctx context.Context, courses []string, prices ...*moneypb.Money) error {
		_, err := s.bundles.UpdateBundle(ctx, &commercepb.UpdateBundleRequest{BundleId: made.GetId(), Title: "All", CourseIds: courses, Prices: prices})
		return err
	}
	wantCode(t, update(s.as(buyer), []string{a, b}, eur(4999)), "bundle.not_found")
	wantCode(t, update(rpc.WithIfMatch(s.as(seller), `"9"`), []string{a, b}, eur(4999)), "etag.stale")
	wantCode(t, update(rpc.WithIfMatch(s.as(seller), `"1"`), []string{a, b, c}, eur(6001)), "")
	wantCode(t, second(publish()), "bundle.price") // more than one by one
	wantCode(t, update(s.as(seller), []string{a, b, c}, eur(4999)), "")
	for range 2 {
		if p := must[*commercepb.Bundle](s)(publish()); p.GetState() != "published" || !p.GetForSale() {
			t.Fatalf("published: %v", p)
		}
	}
	wantCode(t, update(s.as(seller), []string{a, b, c}, eur(6001)), "bundle.price") // a published one stays sellable
	for _, req := range []*commercepb.ListBundlesRequest{{}, {OwnerId: seller}, {CourseId: b}, {CourseId: b, OwnerId: seller}} {
		if l := must[*commercepb.ListBundlesResponse](s)(s.bundles.ListBundles(s.as(buyer), req)); len(l.GetItems()) != 1 || len(l.GetItems()[0].GetCourses()) != 3 {
			t.Fatalf("%v: %v", req, l)
		}
	}
	if l := must[*commercepb.ListBundlesResponse](s)(s.bundles.ListBundles(s.as(buyer), &commercepb.ListBundlesRequest{OwnerId: buyer})); len(l.GetItems()) != 0 {
		t.Fatalf("somebody else's: %v", l)
	}

	bundle := &commercepb.CartItem{BundleId: made.GetId()}
	q := must[*commercepb.Quote](s)(s.quote(buyer, "EUR", "", bundle))
	var parts []int64
	for _, l := range q.GetLines() {
		parts = append(parts, l.GetPrice().GetAmount())
	}
	if diff := cmp.Diff([]int64{2500, 1666, 833}, parts); diff != "" { // 2499.5, 1666.33 and 833.17 of 4999: the first has the largest remainder
		t.Fatal(diff)
	}
	for code, items := range map[string][]*commercepb.CartItem{
		"order.twice":               {bundle, item(b)},
		"order.item":                {{BundleId: made.GetId(), Kind: "gift"}},
		"order.bundle_not_for_sale": {{BundleId: id.New("bundle")}},
	} {
		_, err := s.quote(buyer, "EUR", "", items...)
		wantCode(t, err, code)
	}
	_, err = s.quote(buyer, "USD", "", bundle)
	wantCode(t, err, "order.not_in_currency")
	_, err = s.quote(seller, "EUR", "", bundle)
	wantCode(t, err, "order.own_course")
	s.access.enrolled[buyer+b] = true
	_, err = s.quote(buyer, "EUR", "", bundle)
	wantCode(t, err, "order.already_enrolled")
	delete(s.access.enrolled, buyer+b)

	// It never costs more than its courses do now, and is not sold without one of them.
	must[*commercepb.Reduction](s)(s.catalog.CreateReduction(s.as(seller), &commercepb.CreateReductionRequest{CourseId: a, Prices: []*moneypb.Money{eur(1000)}, EndsAt: s.in(time.Hour)}))
	if cheap := must[*commercepb.Quote](s)(s.quote(buyer, "EUR", "", bundle)); cheap.GetTotal().GetAmount() != 4000 {
		t.Fatalf("total %v", cheap.GetTotal())
	}
	s.deliver(&coursespb.CourseUnpublished{CourseId: c, Sequence: 2})
	_, err = s.quote(buyer, "EUR", "", bundle)
	wantCode(t, err, "order.bundle_not_for_sale")
	_, err = s.buy(buyer, q)
	wantCode(t, err, "order.course_not_for_sale")
	s.deliver(&coursespb.CoursePublished{CourseId: c, OwnerId: seller, Sequence: 3, Title: "C"})

	o := must[*commercepb.Order](s)(s.buy(buyer, q)) // at the price of the quote
	if o.GetTotal().GetAmount() != 4999 || o.GetListTotal().GetAmount() != 6000 || o.GetDiscount().GetAmount() != 1001 || o.GetLines()[2].GetBundleId() != made.GetId() {
		t.Fatalf("order %v", o)
	}
	again := must[*commercepb.Quote](s)(s.quote(buyer, "EUR", "", bundle))
	if w := must[*commercepb.Bundle](s)(s.bundles.WithdrawBundle(s.as(seller), &commercepb.WithdrawBundleRequest{BundleId: made.GetId()})); w.GetState() != "withdrawn" {
		t.Fatalf("withdrawn: %v", w)
	}
	_, err = s.buy(buyer, again)
	wantCode(t, err, "order.bundle_not_for_sale")
	if l := must[*commercepb.ListMyBundlesResponse](s)(s.bundles.ListMyBundles(s.as(seller), &commercepb.ListMyBundlesRequest{})); len(l.GetItems()) != 1 {
		t.Fatalf("own: %v", l)
	}
}
