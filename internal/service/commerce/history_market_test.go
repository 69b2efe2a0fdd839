package commerce_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// marketCurrencies have two, none and three digits behind the point.
var marketCurrencies = []string{"EUR", "JPY", "KWD"}

// market is a shop with teachers and what they sell, in which many histories are told.
type market struct {
	*shop
	weather   *weather
	teachers  []string
	courses   []string
	sets      []string            // bundles
	coupons   []string            // codes
	histories map[string]*history // by buyer
	// What is on its way to the service, by payment.
	news map[string][]func(context.Context) error
	// What was told: how often each order was paid and fulfilled, access by a line ended,
	// and a gift taken.
	paid, fulfilledBy, ended, taken map[string]int
	reported                        []string // what the last pass of the reconciler has seen
}

func newMarket(tb testing.TB, chance *rand.Rand) *market {
	m := &market{
		shop: newShop(tb), weather: &weather{}, histories: map[string]*history{}, news: map[string][]func(context.Context) error{},
		paid: map[string]int{}, fulfilledBy: map[string]int{}, ended: map[string]int{}, taken: map[string]int{},
	}
	m.shop.cfg.Log = slog.New(slog.DiscardHandler)
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
	return m
}

// restart is that of the shop, with the weather in between.
func (m *market) restart() {
	m.shop.restart()
	m.svc.Through(func(p commerce.Provider) commerce.Provider { m.weather.Provider = p; return m.weather })
}

func (m *market) clock() time.Time { return time.Unix(m.now.Load(), 0) }

// amount is one between so many units of a currency, with the digits that prices may have.
func amount(chance *rand.Rand, currency string, from, to int64) *moneypb.Money {
	unit := money.Unit(currency)
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
	m.histories[h.buyer] = h
	return h
}

// tell has news of a payment be on its way.
func (m *market) tell(payment string, news func(context.Context) error) {
	m.news[payment] = append(m.news[payment], news)
}

// tellsAccess has access hear what was sent, twice or not, and tells what it has given.
func (m *market) tellsAccess(ctx context.Context, twice bool) error {
	rows, err := m.db.Query(ctx, `SELECT position, name, payload FROM outbox ORDER BY position`)
	if err != nil {
		return err
	}
	var list []proto.Message
	last := int64(0)
	for rows.Next() {
		var name string
		var payload []byte
		if err := rows.Scan(&last, &name, &payload); err != nil {
			return err
		}
		var e proto.Message
		switch name[strings.LastIndexByte(name, '.')+1:] {
		case "OrderPaid":
			e = &commercepb.OrderPaid{}
		case "OrderFulfilled":
			e = &commercepb.OrderFulfilled{}
		case "LinesRefunded":
			e = &commercepb.LinesRefunded{}
		case "GiftRedeemed":
			e = &commercepb.GiftRedeemed{}
		default:
			continue
		}
		if err := proto.Unmarshal(payload, e); err != nil {
			return err
		}
		list = append(list, e)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if last == 0 {
		return nil
	}
	// It is gone once it was heard.
	if _, err := m.db.Exec(m.Context(), `DELETE FROM outbox WHERE position <= $1`, last); err != nil {
		return err
	}
	for _, e := range list {
		m.counts(e)
		for range 1 + map[bool]int{true: 1}[twice] {
			if err := m.gives(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// counts counts an event.
func (m *market) counts(e proto.Message) {
	switch e := e.(type) {
	case *commercepb.OrderPaid:
		m.paid[e.GetOrderId()]++
	case *commercepb.OrderFulfilled:
		m.fulfilledBy[e.GetOrderId()]++
	case *commercepb.GiftRedeemed:
		m.taken[e.GetLineId()]++
	case *commercepb.LinesRefunded:
		for _, l := range e.GetLines() {
			if l.GetAccessEnds() {
				m.ended[l.GetLineId()]++
			}
		}
	}
}

// gives does what access does with an event.
func (m *market) gives(e proto.Message) error {
	ctx := m.Context()
	switch e := e.(type) {
	case *commercepb.OrderPaid:
		for _, l := range e.GetLines() {
			switch l.GetKind() {
			case "seats":
				if _, err := m.seats.GrantSeatBlocks(ctx, &accesspb.GrantSeatBlocksRequest{Grants: []*accesspb.GrantSeatBlocksRequest_Grant{{SourceId: l.GetLineId(), Seats: l.GetQuantity()}}}); err != nil {
					return err
				}
				m.deliver(&accesspb.SeatBlockCreated{BlockId: id.New("block"), CourseId: l.GetCourseId(), SourceId: l.GetLineId(), Seats: l.GetQuantity()})
			case "gift":
			default:
				if err := m.grants.grant("order", l.GetLineId(), l.GetCourseId(), e.GetBuyerId()); err != nil {
					return err
				}
				m.deliver(&accesspb.EntitlementGranted{EntitlementId: id.New("entitlement"), AccountId: e.GetBuyerId(), CourseId: l.GetCourseId(), Source: "order", SourceId: l.GetLineId()})
			}
		}
	case *commercepb.GiftRedeemed:
		return m.grants.grant("gift", e.GetLineId(), e.GetCourseId(), e.GetAccountId())
	case *commercepb.LinesRefunded:
		for _, l := range e.GetLines() {
			if l.GetAccessEnds() {
				m.grants.end(l.GetLineId())
				m.seats.end(l.GetLineId())
			}
		}
	}
	return nil
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
	clear(m.news)
	m.all()
	m.now.Add(25 * 3600)
	m.all()
	for {
		m.reported = m.pass()
		if len(m.reported) == 0 {
			break
		}
		for _, r := range m.reported {
			if !strings.HasSuffix(r, "healed") {
				return // it stays
			}
		}
		m.all() // of what was healed something follows
	}
}

// all does what time brings, until nothing is left to do.
func (m *market) all() {
	m.Helper()
	for range 50 {
		for _, do := range []func(context.Context) (int, error){m.svc.Expire, m.svc.CarryOut, m.svc.PayOut, m.svc.Release, m.svc.IssueInvoices, m.svc.IssueCreditNotes} {
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

// pass has the reconciler compare everything, and returns what it has seen.
func (m *market) pass() (seen []string) {
	m.Helper()
	before := m.now.Load()
	r, err := m.shop.reconcile.CreateReconciliation(m.staff(), &commercepb.CreateReconciliationRequest{})
	if err != nil {
		m.Fatal(err)
	}
	if _, err := m.svc.Reconcile(m.Context()); err != nil {
		m.Fatal(err)
	}
	if r, err = m.shop.reconcile.GetReconciliation(m.staff(), &commercepb.GetReconciliationRequest{ReconciliationId: r.GetId()}); err != nil || r.GetState() != "done" {
		m.Fatalf("%v, %v", r, err)
	}
	m.now.Add(1)
	for _, r := range m.rows(`SELECT kind, object_id, detail, state FROM mismatch WHERE state = 'open' OR seen_at >= $1`, time.Unix(before, 0)) {
		seen = append(seen, strings.Join(r, " "))
	}
	return seen
}

// rows returns rows of texts; what is null is empty.
func (s *shop) rows(sql string, args ...any) (list [][]string) {
	s.Helper()
	rows, err := s.db.Query(s.Context(), sql, args...)
	if err != nil {
		s.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		cells := make([]*string, len(rows.FieldDescriptions()))
		into := make([]any, len(cells))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := rows.Scan(into...); err != nil {
			s.Fatalf("%v\n%s", err, sql)
		}
		row := make([]string, len(cells))
		for i, c := range cells {
			if c != nil {
				row[i] = *c
			}
		}
		list = append(list, row)
	}
	if err := rows.Err(); err != nil {
		s.Fatalf("%v\n%s", err, sql)
	}
	return list
}

// grant is what access does for one line.
func (f *fakeGrants) grant(source, line, course, account string) error {
	_, err := f.GrantEntitlements(context.Background(), &accesspb.GrantEntitlementsRequest{Grants: []*accesspb.GrantEntitlementsRequest_Grant{
		{Source: source, SourceId: line, CourseId: course, AccountId: account},
	}})
	return err
}

func (f *fakeGrants) end(line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if g := f.grants[line]; g != nil {
		g.Revoked = true
	}
}

func (f *fakeSeats) end(line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.blocks, line)
}
