package commerce_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// earned is what a teacher has, as "held/available" by currency.
func (s *shop) earned(teacher string) map[string][2]int64 {
	s.Helper()
	res, err := s.revenue.GetEarnings(rpctest.Account(s.Context(), teacher), &commercepb.GetEarningsRequest{})
	if err != nil {
		s.Fatal(err)
	}
	out := map[string][2]int64{}
	for _, e := range res.GetItems() {
		out[e.GetHeld().GetCurrency()] = [2]int64{e.GetHeld().GetAmount(), e.GetAvailable().GetAmount()}
	}
	return out
}

func (s *shop) platform() map[string]int64 {
	s.Helper()
	res, err := s.revenue.ListLedgerBalances(rpctest.Account(s.Context(), id.New("account")), &commercepb.ListLedgerBalancesRequest{})
	if err != nil {
		s.Fatal(err)
	}
	out := map[string]int64{}
	for _, b := range res.GetItems() {
		out[b.GetAccount()+" "+b.GetBalance().GetCurrency()] = b.GetBalance().GetAmount()
	}
	return out
}

func (s *shop) sound() {
	s.Helper()
	if r, err := commerce.VerifyLedger(s.Context(), s.db); err != nil || r.Problem != "" {
		s.Errorf("the ledger: %s %v", r.Problem, err)
	}
}

func (s *shop) rule(teacher string, share int32, from *timestamppb.Timestamp) *commercepb.RevenueRule {
	s.Helper()
	r, err := s.revenue.CreateRevenueRule(rpctest.Account(s.Context(), id.New("account")), &commercepb.CreateRevenueRuleRequest{
		TeacherId: teacher, PlatformShare: share, ValidFrom: from, Reason: "agreed",
	})
	if err != nil {
		s.Fatal(err)
	}
	return r
}

// buys has somebody new order courses and pay.
func (s *shop) buys(courses ...string) {
	s.Helper()
	o, err := s.client.CreateOrder(rpctest.Account(s.Context(), id.New("account")), &commercepb.CreateOrderRequest{CourseIds: courses})
	if err != nil {
		s.Fatal(err)
	}
	s.pays(o)
}

func (s *shop) pays(o *commercepb.Order) {
	s.Helper()
	_, payment, _ := strings.Cut(o.GetPayUrl(), "/pay/")
	for range 2 { // paying again changes nothing
		if _, err := s.client.SettleDevelopmentPayment(s.Context(), &commercepb.SettleDevelopmentPaymentRequest{PaymentId: payment, Outcome: "succeed"}); err != nil {
			s.Fatal(err)
		}
	}
}

// What a sale brings is shared by what held when it was ordered, is held until nobody
// can ask for it back, and can be paid out then.
func TestSharesOfSales(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada, ben, cleo := id.New("account"), id.New("account"), id.New("account")
	alone, together := s.course(ada, 4999, "EUR"), s.course(ben, 1000, "EUR")
	s.deliver(&coursespb.RevenueSplitChanged{CourseId: together, Version: 2, ValidFrom: timestamppb.New(time.Unix(s.now.Load(), 0)), Shares: []*coursespb.RevenueShare{
		{AccountId: ben, BasisPoints: 3334}, {AccountId: cleo, BasisPoints: 3333}, {AccountId: ada, BasisPoints: 3333},
	}})
	s.deliver(&coursespb.RevenueSplitChanged{CourseId: together, Version: 1, ValidFrom: timestamppb.New(time.Unix(s.now.Load(), 0)), Shares: []*coursespb.RevenueShare{{AccountId: ben, BasisPoints: 10_000}}})
	s.buys(alone, together)
	// 3,000 of 10,000 stay: 1499.7 and 300; 3499.3 and 700 go on, these as 233.38, 233.31
	// and 233.31.
	want := map[string]map[string][2]int64{ada: {"EUR": {3499 + 233, 0}}, ben: {"EUR": {234, 0}}, cleo: {"EUR": {233, 0}}}
	for who, w := range want {
		if diff := cmp.Diff(w, s.earned(who)); diff != "" {
			t.Errorf("%s: %s", who, diff)
		}
	}
	if diff := cmp.Diff(map[string]int64{"provider EUR": 5999 - 119, "processing EUR": 119, "platform EUR": -1800}, s.platform()); diff != "" {
		t.Error(diff)
	}
	s.sound()

	// A rule counts for what is ordered while it holds; a teacher's goes before.
	yen := s.course(ada, 1001, "JPY")
	early, err := s.client.CreateOrder(rpctest.Account(t.Context(), id.New("account")), &commercepb.CreateOrderRequest{CourseIds: []string{yen}})
	if err != nil {
		t.Fatal(err)
	}
	all := s.rule("", 5000, nil)
	s.rule(ben, 0, nil)
	s.rule("", 10_000, timestamppb.New(time.Unix(s.now.Load(), 0).Add(time.Hour)))
	s.pays(early) // ordered before: 300.3 and 700.7
	s.buys(yen)   // 500.5 each, the first gets more
	s.buys(together)
	if got := s.earned(ada); got["JPY"] != [2]int64{701 + 500, 0} || got["EUR"] != [2]int64{3499 + 233 + 333, 0} {
		t.Errorf("by rule: %v", got)
	}
	finance := rpctest.Account(t.Context(), id.New("account"))
	if _, err := s.revenue.EndRevenueRule(finance, &commercepb.EndRevenueRuleRequest{RuleId: all.GetId()}); err != nil {
		t.Fatal(err)
	}
	s.now.Add(1)
	s.buys(yen) // 300.3 again
	if got := s.earned(ada)["JPY"]; got != [2]int64{701 + 500 + 701, 0} {
		t.Errorf("after the rule: %v", got)
	}

	// Held until the thirtieth day.
	s.now.Add(int64(30*24*time.Hour/time.Second) - 1)
	if n, err := s.svc.Release(t.Context()); err != nil || n != 5 { // what was sold a second before
		t.Fatal(n, err)
	}
	if got := s.earned(ada); got["JPY"] != [2]int64{701, 701 + 500} || got["EUR"] != [2]int64{0, 3499 + 233 + 333} {
		t.Errorf("released: %v", got)
	}
	s.now.Add(1)
	for want := 1; want >= 0; want-- {
		if n, err := s.svc.Release(t.Context()); err != nil || n != want {
			t.Errorf("released %d, %v, want %d", n, err, want)
		}
	}
	s.sound()

	// All of it is listed, page by page.
	var listed []*commercepb.Earning
	for cursor := ""; ; {
		res, err := s.revenue.ListEarnings(rpctest.Account(t.Context(), ada), &commercepb.ListEarningsRequest{PageSize: 3, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, res.GetItems()...)
		if cursor = res.GetNextCursor(); cursor == "" {
			break
		}
	}
	sums := map[string]int64{}
	for _, e := range listed {
		sums[e.GetAccount()+" "+e.GetAmount().GetCurrency()] += e.GetAmount().GetAmount()
		if e.GetCourseId() == "" || e.GetTitle() == "" || !strings.HasPrefix(e.GetLineId(), "line_") {
			t.Errorf("%s", e)
		}
	}
	if diff := cmp.Diff(map[string]int64{"held EUR": 0, "held JPY": 0, "available EUR": 3499 + 233 + 333, "available JPY": 701 + 500 + 701}, sums); diff != "" || len(listed) != 18 {
		t.Errorf("%d listed: %s", len(listed), diff)
	}
	if got := s.earned(id.New("account")); len(got) != 0 {
		t.Errorf("somebody else: %v", got)
	}
}

// Orders from before there was a ledger are booked once it is there.
func TestOlderSales(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada := id.New("account")
	course := s.course(ada, 1000, "EUR")
	s.buys(course)
	older, buyer := id.New("order"), id.New("account")
	for _, sql := range []string{
		`INSERT INTO orders (id, buyer_id, state, total, currency, payment_id, created_at, expires_at, paid_at) VALUES ('` + older + `', '` + buyer + `', 'paid', 500, 'EUR', '` + id.New("payment") + `', now(), now(), '2026-02-01')`,
		`INSERT INTO order_line (id, order_id, position, buyer_id, course_id, seller_id, title, amount, paid_at) VALUES ('` + id.New("line") + `', '` + older + `', 0, '` + buyer + `', '` + course + `', '` + ada + `', 'Old', 500, '2026-02-01')`,
	} {
		if _, err := s.db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := commerce.VerifyLedger(t.Context(), s.db); err != nil || r.Problem != "order "+older+" was paid with 500 EUR, but 0 is booked" {
		t.Errorf("%q, %v", r.Problem, err)
	}
	for want := 1; want >= 0; want-- {
		if n, err := s.svc.BookUnbooked(t.Context()); err != nil || n != want {
			t.Errorf("%d booked, %v, want %d", n, err, want)
		}
	}
	s.sound()
	if got := s.earned(ada)["EUR"]; got != [2]int64{1050, 0} {
		t.Errorf("%v", got)
	}
}

// A rule may be said to end: what was ordered before that keeps it, and what holds besides
// holds again after. It may also be ended sooner.
func TestRuleEnds(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada := id.New("account")
	course := s.course(ada, 1000, "EUR")
	until := time.Unix(s.now.Load(), 0).Add(time.Hour)
	made := func(share int32, until time.Time) (*commercepb.RevenueRule, error) {
		return s.revenue.CreateRevenueRule(s.staff(), &commercepb.CreateRevenueRuleRequest{TeacherId: ada, PlatformShare: share, ValidUntil: timestamppb.New(until), Reason: "a month of ours"})
	}
	r, err := made(1000, until)
	if err != nil || !r.GetValidUntil().AsTime().Equal(until) {
		t.Fatalf("%v, %v", r, err)
	}
	_, err = made(1000, time.Unix(s.now.Load(), 0))
	wantCode(t, err, "revenue_rule.period")
	sold := func(after int64, platform int64) {
		t.Helper()
		s.now.Add(after)
		before := s.platform()["platform EUR"]
		s.buys(course)
		if got := before - s.platform()["platform EUR"]; got != platform {
			t.Errorf("the platform kept %d, want %d", got, platform)
		}
	}
	sold(0, 100)
	kept := s.order(id.New("account"), course)
	sold(3599, 100)
	sold(1, 300)
	before := s.platform()["platform EUR"]
	s.pays(kept)
	if got := before - s.platform()["platform EUR"]; got != 100 {
		t.Errorf("of what was ordered before the platform kept %d", got)
	}
	// Ended by itself: it stays so. Another is ended sooner.
	if r, err = s.revenue.EndRevenueRule(s.staff(), &commercepb.EndRevenueRuleRequest{RuleId: r.GetId()}); err != nil || !r.GetValidUntil().AsTime().Equal(until) {
		t.Errorf("%v, %v", r, err)
	}
	if r, err = made(2000, time.Unix(s.now.Load(), 0).Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	sold(60, 200)
	if r, err = s.revenue.EndRevenueRule(s.staff(), &commercepb.EndRevenueRuleRequest{RuleId: r.GetId()}); err != nil || r.GetValidUntil().AsTime().Unix() != s.now.Load() {
		t.Errorf("%v, %v", r, err)
	}
	sold(0, 300)
}

func TestRevenueRules(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada := id.New("account")
	finance := rpctest.Account(t.Context(), id.New("account"))
	first := s.rule("", 4000, nil)
	later := s.rule(ada, 1000, timestamppb.New(time.Unix(s.now.Load(), 0).Add(time.Hour)))
	_, err := s.revenue.CreateRevenueRule(finance, &commercepb.CreateRevenueRuleRequest{PlatformShare: 1, Reason: "x", ValidFrom: timestamppb.New(time.Unix(s.now.Load()-1, 0))})
	if fault.CodeOf(err) != "revenue_rule.past" {
		t.Errorf("in the past: %v", err)
	}
	for range 2 {
		ended, err := s.revenue.EndRevenueRule(finance, &commercepb.EndRevenueRuleRequest{RuleId: later.GetId()})
		if err != nil || !ended.GetValidUntil().AsTime().Equal(later.GetValidFrom().AsTime()) {
			t.Errorf("%s %v", ended, err)
		}
		s.now.Add(10)
	}
	if _, err := s.revenue.EndRevenueRule(finance, &commercepb.EndRevenueRuleRequest{RuleId: id.New("rule")}); fault.CodeOf(err) != "revenue_rule.not_found" {
		t.Errorf("no rule: %v", err)
	}
	for _, c := range []struct {
		req  *commercepb.ListRevenueRulesRequest
		want []string
	}{
		{&commercepb.ListRevenueRulesRequest{TeacherId: ada}, []string{later.GetId()}},
		{&commercepb.ListRevenueRulesRequest{PageSize: 1}, []string{later.GetId(), first.GetId()}},
	} {
		var got []string
		for {
			res, err := s.revenue.ListRevenueRules(finance, c.req)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range res.GetItems() {
				got = append(got, r.GetId())
			}
			if c.req.Cursor = res.GetNextCursor(); c.req.GetCursor() == "" {
				break
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Error(diff)
		}
	}
}
