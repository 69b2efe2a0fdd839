package commerce_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// marketCurrencies have two, none and three digits behind the point.
var marketCurrencies = []string{"EUR", "JPY", "KWD"}

// market is a shop with teachers and what they sell, in which many histories are told.
type market struct {
	*shop
	weather  *weather
	teachers []string
	courses  []string
	sets     []string // bundles
	coupons  []string // codes
	plans    []string
	// What is on its way to the service, by payment, or subscription.
	news map[string][]func(context.Context) error
	*ears
}

func newMarket(tb testing.TB, chance *rand.Rand) *market {
	m := &market{
		shop: newShop(tb), weather: &weather{}, news: map[string][]func(context.Context) error{},
	}
	m.ears = newEars(m.shop)
	m.cfg.Log = slog.New(slog.DiscardHandler)
	m.restart()
	for i := range 6 {
		if i < 4 {
			m.teachers = append(m.teachers, m.payee())
		} else { // to whom nothing can be paid out
			m.teachers = append(m.teachers, id.New("account"))
		}
	}
	for i := range 10 {
		m.courses = append(m.courses, m.goods(chance, m.teachers[i%len(m.teachers)]))
	}
	for _, first := range []int{0, 1} { // the courses of a teacher are every sixth
		var prices []*moneypb.Money
		for _, c := range marketCurrencies { // no more than they cost one by one
			prices = append(prices, amount(chance, c, 1, 2))
		}
		b := must[*commercepb.Bundle](m.shop)(m.bundles.CreateBundle(m.as(m.teachers[first]), &commercepb.CreateBundleRequest{
			Title: "Both", CourseIds: []string{m.courses[first], m.courses[first+6]}, Prices: prices,
		}))
		m.sets = append(m.sets, must[*commercepb.Bundle](m.shop)(m.bundles.PublishBundle(m.as(m.teachers[first]), &commercepb.PublishBundleRequest{BundleId: b.GetId()})).GetId())
	}
	for code, terms := range map[string]*commercepb.CouponTerms{
		"A-THIRD": {Name: "x", Percent: 33}, "ALL-OF-IT": {Name: "x", Percent: 100, MaxUses: 10}, "FIVE-TIMES": {Name: "x", Percent: 7, MaxUses: 5, MaxUsesEach: 1},
	} {
		must[*commercepb.Coupon](m.shop)(m.shop.coupons.CreateCoupon(m.staff(), &commercepb.CreateCouponRequest{Terms: terms, Code: code}))
		m.coupons = append(m.coupons, code)
	}
	slices.Sort(m.coupons)
	for teacher, every := range []string{"month", "month", "year", "month", "month"} {
		m.offers(chance, teacher, every)
	}
	return m
}

// restart is that of the shop, with the weather in between.
func (m *market) restart() {
	m.shop.restart()
	m.svc.Through(func(p commerce.Provider) commerce.Provider { m.weather.Provider = p; return m.weather })
}

// amount is one between so many units of a currency, with the digits that prices may have.
func amount(chance *rand.Rand, currency string, from, to int64) *moneypb.Money {
	unit := 2 * money.Least(currency)
	n := from*unit + chance.Int64N((to-from)*unit)
	if unit == 1000 {
		n -= n % 10
	}
	return &moneypb.Money{Amount: n, Currency: currency}
}

// goods puts a course up for sale in all currencies, for oneself and for teams; its
// earnings are shared or not, and of some there is not much left.
func (m *market) goods(chance *rand.Rand, teacher string) string {
	prices := make([]*moneypb.Money, len(marketCurrencies))
	var seats []*commercepb.SeatPrice
	for i, c := range marketCurrencies {
		prices[i] = amount(chance, c, 1, 200)
		seats = append(seats, &commercepb.SeatPrice{FromQuantity: 1, Price: amount(chance, c, 50, 90)}, &commercepb.SeatPrice{FromQuantity: 4, Price: amount(chance, c, 10, 50)})
	}
	course := id.New("course")
	m.deliver(&coursespb.CoursePublished{CourseId: course, OwnerId: teacher, Sequence: 1, Title: "Course " + course[len(course)-4:]})
	m.priced(teacher, course, prices[0], prices[1:]...)
	must[*commercepb.CoursePrices](m.shop)(m.catalog.SetSeatPrices(m.as(teacher), &commercepb.SetSeatPricesRequest{CourseId: course, SeatPrices: seats}))
	if chance.IntN(4) == 0 {
		must[*commercepb.CoursePrices](m.shop)(m.catalog.SetPlaces(m.as(teacher), &commercepb.SetPlacesRequest{CourseId: course, Places: 20 + chance.Int32N(200)}))
	}
	if chance.IntN(2) == 0 {
		e := &coursespb.RevenueSplitChanged{CourseId: course, Version: 1}
		left, with := int32(10_000), m.teachers[:2+chance.IntN(2)]
		for i, t := range with {
			points := left
			if i < len(with)-1 {
				points = 1 + chance.Int32N(left-2)
			}
			e.Shares = append(e.Shares, &coursespb.RevenueShare{AccountId: t, BasisPoints: points})
			left -= points
		}
		m.deliver(e)
	}
	return course
}

// history implements [stage].
func (m *market) history(n int) teller {
	h := &history{market: m, n: n, buyer: id.New("account")}
	m.buyers[h.buyer] = n
	return h
}

// tell has news of a payment be on its way.
func (m *market) tell(payment string, news func(context.Context) error) {
	m.news[payment] = append(m.news[payment], news)
}

// end implements [stage].
func (m *market) end() {
	m.weather.off()
	for _, list := range m.news {
		for _, hear := range list {
			if err := hear(m.Context()); err != nil {
				m.Fatal(err)
			}
		}
	}
	for _, r := range m.rows(`SELECT id FROM development_payment WHERE state = 'processing'`) { // what takes days arrives
		n, err := m.svc.PaidUnheard(m.Context(), r[0])
		if err == nil {
			err = m.svc.HeardPayment(m.Context(), n)
		}
		if err != nil {
			m.Fatal(err)
		}
	}
	m.all()
	m.now.Add(25 * 3600)
	m.all()
	for of, list := range m.news { // and what is old, again
		if !strings.HasPrefix(of, "subscription_") {
			continue
		}
		for _, hear := range list {
			if err := hear(m.Context()); err != nil {
				m.Fatal(err)
			}
		}
	}
	clear(m.news)
	m.all()
	m.settled(m.all)
}

// all does what time brings, until nothing is left to do.
func (m *market) all() {
	m.Helper()
	for range 50 {
		for _, do := range []func(context.Context) (int, error){m.svc.Expire, m.svc.CarryOut, m.svc.PayOut, m.svc.Release, m.svc.IssueInvoices, m.svc.IssueCreditNotes, m.svc.LookAtSubscriptions} {
			if _, err := do(m.Context()); err != nil {
				m.Fatal(err)
			}
		}
		if err := m.tellsAccess(m.Context(), false); err != nil {
			m.Fatal(err)
		}
		m.now.Add(3600)
		if m.count(`SELECT count(*) FROM provider_call WHERE state = 'waiting'`) == 0 {
			return
		}
	}
	m.Errorf("calls of the provider that never end")
}
