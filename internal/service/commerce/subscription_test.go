package commerce_test

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

const day = 24 * time.Hour

// subscribed is a buyer with a subscription.
type subscribed struct {
	*shop
	buyer, teacher string
	courses        []string
	plan           *commercepb.Plan
	id             string
}

// subscribe has somebody subscribe to a plan, who has not paid yet.
func (s *shop) subscribe(buyer string, p *commercepb.Plan) *commercepb.Subscription {
	s.Helper()
	sub, err := s.subs.CreateSubscription(s.as(buyer), &commercepb.CreateSubscriptionRequest{PlanId: p.GetId()})
	if err != nil {
		s.Fatal(err)
	}
	return sub
}

// subscriber is somebody who has subscribed to courses of one teacher at these prices, for
// so much a month, and has paid the first.
func (s *shop) subscriber(amount int64, prices ...int64) *subscribed {
	s.Helper()
	x := &subscribed{shop: s, buyer: id.New("account"), teacher: id.New("account")}
	for _, price := range prices {
		x.courses = append(x.courses, s.course(x.teacher, price, "EUR"))
	}
	x.plan = s.plan(x.teacher, amount, x.courses...)
	x.id = s.subscribe(x.buyer, x.plan).GetId()
	x.does("succeed")
	return x
}

// does presses a button of the page on which the first period was paid.
func (x *subscribed) does(outcome string) {
	x.Helper()
	if err := x.tries(outcome); err != nil {
		x.Fatalf("%s: %v", outcome, err)
	}
}

func (x *subscribed) tries(outcome string) error {
	_, err := x.client.SettleDevelopmentPayment(x.Context(), &commercepb.SettleDevelopmentPaymentRequest{PaymentId: x.page(), Outcome: outcome})
	return err
}

// page is the payment of the first period.
func (x *subscribed) page() string {
	x.Helper()
	var payment string
	if err := x.db.QueryRow(x.Context(), `SELECT first_payment FROM development_subscription WHERE id = $1`, x.id).Scan(&payment); err != nil {
		x.Fatal(err)
	}
	return payment
}

func (x *subscribed) get() *commercepb.Subscription {
	x.Helper()
	sub, err := x.subs.GetMySubscription(x.as(x.buyer), &commercepb.GetMySubscriptionRequest{SubscriptionId: x.id})
	if err != nil {
		x.Fatal(err)
	}
	return sub
}

// is fails unless the subscription is in a state.
func (x *subscribed) is(state string) *commercepb.Subscription {
	x.Helper()
	sub := x.get()
	if sub.GetState() != state {
		x.Errorf("the subscription is %v, want %s", sub, state)
	}
	return sub
}

// periods are its orders, the first first.
func (x *subscribed) periods() []*commercepb.Order {
	x.Helper()
	res, err := x.client.ListOrders(x.as(x.buyer), &commercepb.ListOrdersRequest{SubscriptionId: x.id, PageSize: 100})
	if err != nil {
		x.Fatal(err)
	}
	slices.SortStableFunc(res.GetItems(), func(a, b *commercepb.Order) int {
		return cmp.Compare(a.GetPeriodStart().AsTime().UnixNano(), b.GetPeriodStart().AsTime().UnixNano())
	})
	return res.GetItems()
}

// days lets days pass; the provider charges what is due, and says so or does not.
func (s *shop) days(days int, heard bool) {
	s.Helper()
	for range days {
		s.now.Add(int64(day / time.Second))
		for {
			n, err := s.svc.Renew(s.Context(), heard)
			if err != nil {
				s.Fatal(err)
			}
			if n == 0 {
				break
			}
		}
	}
}

// access is until when each line of a subscription gives access, as access has it by what
// it was told, in whatever order: this does as it does.
func (s *shop) accessByPeriods() map[string]time.Time {
	s.Helper()
	out := map[string]time.Time{}
	starts := map[string]time.Time{}
	for _, e := range sent[*commercepb.OrderPaid](s) {
		for _, l := range e.GetLines() {
			if l.GetKind() == "subscription" {
				out[l.GetLineId()], starts[l.GetLineId()] = l.GetEndsAt().AsTime(), l.GetStartsAt().AsTime()
			}
		}
	}
	for _, e := range sent[*commercepb.SubscriptionEnded](s) {
		for _, l := range e.GetLines() {
			at := e.GetEndedAt().AsTime()
			if first := starts[l.GetLineId()].Add(time.Microsecond); at.Before(first) {
				at = first
			}
			if at.Before(out[l.GetLineId()]) {
				out[l.GetLineId()] = at
			}
		}
	}
	for _, e := range sent[*commercepb.LinesRefunded](s) {
		for _, l := range e.GetLines() {
			if l.GetAccessEnds() {
				delete(out, l.GetLineId())
			}
		}
	}
	return out
}

// hasAccess reports whether the buyer has access to a course by the subscription.
func (x *subscribed) hasAccess(course string) bool {
	x.Helper()
	now := time.Unix(x.now.Load(), 0)
	has := x.accessByPeriods()
	for _, o := range x.periods() {
		for _, l := range o.GetLines() {
			if l.GetCourseId() == course && has[l.GetId()].After(now) {
				return true
			}
		}
	}
	return false
}

func (x *subscribed) wantAccess(want bool) {
	x.Helper()
	for _, c := range x.courses {
		if got := x.hasAccess(c); got != want {
			x.Errorf("access to %s: %v, want %v", c, got, want)
		}
	}
}

// given has access give what it was told to, as the reconciler compares it.
func (s *shop) given() {
	s.Helper()
	until := s.accessByPeriods()
	for _, e := range sent[*commercepb.OrderPaid](s) {
		for _, l := range e.GetLines() {
			if l.GetKind() != "subscription" {
				continue
			}
			g := &accesspb.SourceGrant{SourceId: l.GetLineId(), CourseId: l.GetCourseId(), AccountId: e.GetBuyerId(), EntitlementId: id.New("entitlement"), EndsAt: l.GetEndsAt()}
			if at, ok := until[l.GetLineId()]; ok {
				g.EndsAt = timestamppb.New(at)
			} else {
				g.Revoked = true
			}
			s.grants.mu.Lock()
			s.grants.grants[l.GetLineId()], s.grants.source[l.GetLineId()] = g, "subscription"
			s.grants.mu.Unlock()
			s.deliver(&accesspb.EntitlementGranted{EntitlementId: g.GetEntitlementId(), AccountId: e.GetBuyerId(), CourseId: l.GetCourseId(), Source: "subscription", SourceId: l.GetLineId()})
		}
	}
}

// allAgrees has ledger, provider, access and the reconciler agree.
func (s *shop) allAgrees() {
	s.Helper()
	s.agrees()
	s.given()
	s.now.Add(180)
	s.want(s.reconciled("open"))
	s.want(s.mismatches("healed"))
}

func TestSubscription(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	teacher, buyer := id.New("account"), id.New("account")
	one, two := s.course(teacher, 3000, "EUR"), s.course(teacher, 1000, "EUR")
	p := s.plan(teacher, 999, one, two)
	x := &subscribed{shop: s, buyer: buyer, teacher: teacher, courses: []string{one, two}, plan: p}
	sub := s.subscribe(buyer, p)
	x.id = sub.GetId()
	want := &commercepb.Subscription{
		Id: x.id, PlanId: p.GetId(), PlanTitle: "All of it", BuyerId: buyer, State: "incomplete", Interval: "month", Price: eur(999),
		OrderId: sub.GetOrderId(), PayUrl: sub.GetPayUrl(), CreatedAt: sub.GetCreatedAt(),
	}
	if diff := gocmp.Diff(want, sub, protocmp.Transform()); diff != "" || !strings.Contains(sub.GetPayUrl(), "/pay/payment_") || sub.GetOrderId() == "" {
		t.Fatalf("%v %s", sub, diff)
	}
	x.wantAccess(false)
	x.does("decline")
	x.is("incomplete")
	x.does("succeed")
	x.does("succeed")
	start := time.Unix(s.now.Load(), 0).UTC()
	end := time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)
	sub = x.is("active")
	if !sub.GetPeriodStart().AsTime().Equal(start) || !sub.GetPeriodEnd().AsTime().Equal(end) || !sub.GetAccessUntil().AsTime().Equal(end.Add(3*day)) || sub.GetPayUrl() != "" {
		t.Errorf("%v", sub)
	}
	paid := sent[*commercepb.OrderPaid](s)
	if len(paid) != 1 || paid[0].GetSubscriptionId() != x.id || paid[0].GetPlanTitle() != "All of it" || !paid[0].GetPeriodEnd().AsTime().Equal(end) {
		t.Fatalf("%v", paid)
	}
	var amounts []int64
	for _, l := range paid[0].GetLines() {
		amounts = append(amounts, l.GetPrice().GetAmount())
		if l.GetKind() != "subscription" || !l.GetStartsAt().AsTime().Equal(start) || !l.GetEndsAt().AsTime().Equal(end.Add(3*day)) {
			t.Errorf("%v", l)
		}
	}
	if diff := gocmp.Diff([]int64{749, 250}, amounts); diff != "" { // 999 in the proportion of 3000 to 1000
		t.Error(diff)
	}
	x.wantAccess(true)
	s.given()
	if o := x.periods()[0]; o.GetState() != "fulfilled" || o.GetSubscriptionId() != x.id || !o.GetPeriodEnd().AsTime().Equal(end) {
		t.Errorf("%v", o)
	}
	s.days(31, true)
	if list := x.periods(); len(list) != 2 || list[1].GetState() != "paid" || !list[1].GetPeriodStart().AsTime().Equal(end) || list[1].GetTotal().GetAmount() != 999 {
		t.Fatalf("%v", list)
	}
	if sub = x.is("active"); !sub.GetPeriodEnd().AsTime().Equal(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("%v", sub)
	}
	s.days(61, true)
	if list := x.periods(); len(list) != 4 {
		t.Errorf("%d periods, want 4", len(list))
	}
	// Each period has its invoice, which says which it is.
	s.issue()
	res, err := s.invoices.ListMyInvoices(s.as(buyer), &commercepb.ListMyInvoicesRequest{})
	if err != nil || len(res.GetItems()) != 4 || !strings.Contains(res.GetItems()[3].GetLines()[0].GetTitle(), "2026-03-01 – 2026-04-01") {
		t.Errorf("%v, %v", res, err)
	}
	if n := s.count(`SELECT count(*) FROM subscription_transition WHERE subscription_id = $1`, x.id); n != 2 {
		t.Errorf("%d transitions, want 2", n)
	}
	s.allAgrees()
}

func TestSubscriptionRefusals(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	teacher, buyer := id.New("account"), id.New("account")
	course := s.course(teacher, 3000, "EUR")
	p := s.plan(teacher, 999, course)
	draft, err := s.plans.CreatePlan(s.as(teacher), &commercepb.CreatePlanRequest{Title: "Draft", Interval: "year", CourseIds: []string{course}, Prices: []*moneypb.Money{eur(900)}})
	if err != nil {
		t.Fatal(err)
	}
	off := s.course(teacher, 3000, "EUR")
	gone := s.plan(teacher, 999, off)
	s.deliver(&coursespb.CourseUnpublished{CourseId: off, Sequence: 2})
	for name, tc := range map[string]struct {
		who  string
		req  *commercepb.CreateSubscriptionRequest
		code string
	}{
		"no plan":            {buyer, &commercepb.CreateSubscriptionRequest{}, "request.invalid"},
		"an unknown plan":    {buyer, &commercepb.CreateSubscriptionRequest{PlanId: id.New("plan")}, "plan.not_found"},
		"a course":           {buyer, &commercepb.CreateSubscriptionRequest{PlanId: course}, "request.invalid"},
		"a draft":            {buyer, &commercepb.CreateSubscriptionRequest{PlanId: draft.GetId()}, "plan.not_found"},
		"off sale":           {buyer, &commercepb.CreateSubscriptionRequest{PlanId: gone.GetId()}, "subscription.plan_not_for_sale"},
		"one's own":          {teacher, &commercepb.CreateSubscriptionRequest{PlanId: p.GetId()}, "subscription.own_plan"},
		"no such price":      {buyer, &commercepb.CreateSubscriptionRequest{PlanId: p.GetId(), Currency: "USD"}, "subscription.currency"},
		"no such currency":   {buyer, &commercepb.CreateSubscriptionRequest{PlanId: p.GetId(), Currency: "euro"}, "request.invalid"},
		"too long a link":    {buyer, &commercepb.CreateSubscriptionRequest{PlanId: p.GetId(), ReferralCode: strings.Repeat("x", 41)}, "request.invalid"},
		"somebody's nothing": {buyer, &commercepb.CreateSubscriptionRequest{PlanId: buyer}, "request.invalid"},
	} {
		if _, err := s.subs.CreateSubscription(s.as(tc.who), tc.req); fault.CodeOf(err) != tc.code {
			t.Errorf("%s: %v, want %s", name, err, tc.code)
		}
	}
	if n := s.count(`SELECT count(*) FROM subscription`); n != 0 {
		t.Fatalf("%d subscriptions", n)
	}

	x := &subscribed{shop: s, buyer: buyer, teacher: teacher, courses: []string{course}, plan: p, id: s.subscribe(buyer, p).GetId()}
	_, err = s.subs.CreateSubscription(s.as(buyer), &commercepb.CreateSubscriptionRequest{PlanId: p.GetId()})
	wantCode(t, err, "subscription.exists")
	_, err = s.subs.CreateBillingLink(s.as(buyer), &commercepb.CreateBillingLinkRequest{SubscriptionId: x.id})
	wantCode(t, err, "subscription.incomplete")
	wantCode(t, x.tries("renewals_fail"), "payment.outcome")
	if err := x.tries("succeed"); err != nil {
		t.Fatal(err)
	}
	_, err = s.subs.CreateSubscription(s.as(buyer), &commercepb.CreateSubscriptionRequest{PlanId: p.GetId()})
	wantCode(t, err, "subscription.exists")
	// Of somebody else's there is nothing.
	other := s.as(id.New("account"))
	_, err = s.subs.GetMySubscription(other, &commercepb.GetMySubscriptionRequest{SubscriptionId: x.id})
	wantCode(t, err, "subscription.not_found")
	_, err = s.subs.CancelMySubscription(other, &commercepb.CancelMySubscriptionRequest{SubscriptionId: x.id})
	wantCode(t, err, "subscription.not_found")
	_, err = s.subs.ResumeMySubscription(other, &commercepb.ResumeMySubscriptionRequest{SubscriptionId: x.id})
	wantCode(t, err, "subscription.not_found")
	_, err = s.subs.CreateBillingLink(other, &commercepb.CreateBillingLinkRequest{SubscriptionId: x.id})
	wantCode(t, err, "subscription.not_found")
	_, err = s.subs.CancelSubscription(s.staff(), &commercepb.CancelSubscriptionRequest{SubscriptionId: id.New("subscription")})
	wantCode(t, err, "subscription.not_found")
	if list, err := s.subs.ListMySubscriptions(other, &commercepb.ListMySubscriptionsRequest{}); err != nil || len(list.GetItems()) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	link, err := s.subs.CreateBillingLink(s.as(buyer), &commercepb.CreateBillingLinkRequest{SubscriptionId: x.id})
	if err != nil || link.GetUrl() != "http://stoa.test/pay/"+x.page() {
		t.Errorf("%v, %v", link, err)
	}
	// Staff sees them all.
	for name, tc := range map[string]struct {
		req  *commercepb.ListSubscriptionsRequest
		want int
	}{
		"all":      {&commercepb.ListSubscriptionsRequest{}, 1},
		"active":   {&commercepb.ListSubscriptionsRequest{State: "active", BuyerId: buyer}, 1},
		"ended":    {&commercepb.ListSubscriptionsRequest{State: "ended"}, 0},
		"nobody's": {&commercepb.ListSubscriptionsRequest{BuyerId: teacher}, 0},
	} {
		if list, err := s.subs.ListSubscriptions(s.staff(), tc.req); err != nil || len(list.GetItems()) != tc.want {
			t.Errorf("%s: %v, %v", name, list, err)
		}
	}
	_, err = s.subs.ListSubscriptions(s.staff(), &commercepb.ListSubscriptionsRequest{State: "running"})
	wantCode(t, err, "request.invalid")
	_, err = s.subs.ListMySubscriptions(s.as(buyer), &commercepb.ListMySubscriptionsRequest{Cursor: "x"})
	wantCode(t, err, "request.invalid")
	s.svc.NoProvider()
	_, err = s.subs.CreateSubscription(s.staff(), &commercepb.CreateSubscriptionRequest{PlanId: p.GetId()})
	wantCode(t, err, "order.payments_off")
}

// Two of one buyer at once make one subscription.
func TestSubscribeAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	teacher, buyer := id.New("account"), id.New("account")
	p := s.plan(teacher, 999, s.course(teacher, 3000, "EUR"))
	var made atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := s.subs.CreateSubscription(s.as(buyer), &commercepb.CreateSubscriptionRequest{PlanId: p.GetId()})
			switch {
			case err == nil:
				made.Add(1)
			case fault.CodeOf(err) != "subscription.exists":
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 || s.count(`SELECT count(*) FROM orders`) != 1 {
		t.Errorf("%d made", made.Load())
	}
}

// What the provider charged is an order once, however news of it comes.
func TestRenewalHeard(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	x := s.subscriber(999, 3000, 1000)
	before, err := s.svc.Provider().Subscription(t.Context(), x.id)
	if err != nil {
		t.Fatal(err)
	}
	s.days(62, false) // two periods, and nobody was told
	if list := x.periods(); len(list) != 1 {
		t.Fatalf("%v", list)
	}
	var wg sync.WaitGroup
	for range 6 { // by six at once
		wg.Go(func() {
			if err := s.svc.HearSubscription(s.Context(), x.id); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if list := x.periods(); len(list) != 3 {
		t.Fatalf("%d periods, want 3", len(list))
	}
	// Old news changes nothing.
	before.State = "past_due"
	if err := s.svc.HeardSubscription(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	x.is("active")
	before.SubscriptionID, before.Ref = x.id, "another"
	if err := s.svc.HeardSubscription(t.Context(), before); err == nil {
		t.Error("a second subscription for one was heard")
	}
	s.allAgrees()
}

// A renewal of which nobody has heard is found by what moved the provider's balance.
func TestRenewalUnheard(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	x := s.subscriber(999, 3000, 1000)
	s.days(31, false)
	s.now.Add(180)
	s.want(s.reconciled("open"))
	healed := s.mismatches("healed")
	if healed["payment_unheard"] == "" {
		t.Fatalf("healed %v", healed)
	}
	if list := x.periods(); len(list) != 2 {
		t.Fatalf("%d periods, want 2", len(list))
	}
	s.agrees()
}

// Subscriptions are looked up although nothing was told: soon after a period ends.
func TestSubscriptionsAreLookedUp(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	x := s.subscriber(999, 3000)
	looks := func(want int) {
		t.Helper()
		if n, err := s.svc.LookAtSubscriptions(t.Context()); err != nil || n != want {
			t.Fatalf("%d looked at, %v, want %d", n, err, want)
		}
	}
	looks(0)
	s.now.Add(int64(day / time.Second))
	looks(1)
	looks(0)
	s.days(30, false)
	looks(1) // the day is over
	s.now.Add(600)
	looks(0)
	if list := x.periods(); len(list) != 2 {
		t.Fatalf("%d periods, want 2", len(list))
	}
	s.allAgrees()
}

// A renewal that fails is tried again; meanwhile access lasts for some days, and it returns
// when the renewal is paid.
func TestLapseAndRecovery(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	x := s.subscriber(999, 3000, 1000)
	x.does("renewals_fail")
	s.days(31, true)
	sub := x.is("past_due")
	end := time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)
	if !sub.GetNextAttemptAt().AsTime().Equal(end.Add(day)) || !sub.GetPeriodEnd().AsTime().Equal(end) {
		t.Errorf("%v", sub)
	}
	failed := sent[*commercepb.SubscriptionRenewalFailed](s)
	if len(failed) != 1 || failed[0].GetUrl() != "http://stoa.test/subscriptions/"+x.id || !failed[0].GetAccessUntil().AsTime().Equal(end.Add(3*day)) || failed[0].GetPlanTitle() != "All of it" {
		t.Fatalf("%v", failed)
	}
	x.wantAccess(true)
	s.days(2, true) // tried again, in vain
	if n := len(sent[*commercepb.SubscriptionRenewalFailed](s)); n != 2 {
		t.Errorf("told %d times, want 2", n)
	}
	x.wantAccess(true)
	s.days(1, true)
	x.wantAccess(false)
	if x.is("past_due").GetAccessUntil() != nil {
		t.Error("access lasts")
	}
	x.does("renewals_succeed")
	sub = x.is("active")
	if sub.GetNextAttemptAt() != nil || !sub.GetPeriodStart().AsTime().Equal(end) {
		t.Errorf("%v", sub)
	}
	x.wantAccess(true)
	if n := len(x.periods()); n != 2 {
		t.Errorf("%d periods", n)
	}
	if n := s.count(`SELECT count(*) FROM subscription_transition WHERE subscription_id = $1`, x.id); n != 4 {
		t.Errorf("%d transitions, want 4: incomplete, active, past due, active", n)
	}
	s.allAgrees()
}

// What can't be charged in the end has ended for good.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	x := s.subscriber(999, 3000)
	x.does("renewals_fail")
	s.days(31+1+3+5, true)
	sub := x.is("ended")
	if sub.GetEndReason() != "given_up" || sub.GetEndedAt() == nil || sub.GetNextAttemptAt() != nil {
		t.Errorf("%v", sub)
	}
	x.wantAccess(false)
	if ended := sent[*commercepb.SubscriptionEnded](s); len(ended) != 1 || len(ended[0].GetLines()) != 0 || ended[0].GetReason() != "given_up" {
		t.Errorf("%v", ended)
	}
	wantCode(t, x.tries("renewals_succeed"), "payment.outcome")
	_, err := s.subs.ResumeMySubscription(s.as(x.buyer), &commercepb.ResumeMySubscriptionRequest{SubscriptionId: x.id})
	wantCode(t, err, "subscription.ended")
	_, err = s.subs.CreateBillingLink(s.as(x.buyer), &commercepb.CreateBillingLinkRequest{SubscriptionId: x.id})
	wantCode(t, err, "subscription.ended")
	s.allAgrees()
	// One can subscribe anew.
	if again := s.subscribe(x.buyer, x.plan); again.GetId() == x.id {
		t.Error("the same again")
	}
}

func (x *subscribed) cancels() *commercepb.Subscription {
	x.Helper()
	sub, err := x.subs.CancelMySubscription(x.as(x.buyer), &commercepb.CancelMySubscriptionRequest{SubscriptionId: x.id})
	if err != nil {
		x.Fatal(err)
	}
	return sub
}

func TestCancelAndResume(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	x := s.subscriber(999, 3000, 1000)
	for range 2 {
		if sub := x.cancels(); sub.GetState() != "active" || !sub.GetCancelAtPeriodEnd() {
			t.Fatalf("%v", sub)
		}
	}
	for range 2 {
		sub, err := s.subs.ResumeMySubscription(s.as(x.buyer), &commercepb.ResumeMySubscriptionRequest{SubscriptionId: x.id})
		if err != nil || sub.GetCancelAtPeriodEnd() {
			t.Fatalf("%v, %v", sub, err)
		}
	}
	s.days(31, true)
	if n := len(x.periods()); n != 2 {
		t.Fatalf("%d periods, want 2", n)
	}
	x.cancels()
	x.wantAccess(true)
	s.days(30, true)
	sub := x.is("ended")
	end := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	if sub.GetEndReason() != "cancelled" || !sub.GetEndedAt().AsTime().Equal(end) || len(x.periods()) != 2 {
		t.Errorf("%v", sub)
	}
	x.wantAccess(false) // not even for the days after
	ended := sent[*commercepb.SubscriptionEnded](s)
	if len(ended) != 1 || len(ended[0].GetLines()) != 2 || !ended[0].GetEndedAt().AsTime().Equal(end) {
		t.Errorf("%v", ended)
	}
	if sub := x.cancels(); sub.GetState() != "ended" {
		t.Errorf("%v", sub)
	}
	s.allAgrees()
}

// awayAtEnd does not answer so often when it is told to end a subscription, before or after
// it has done so.
type awayAtEnd struct {
	commerce.Provider
	before, after atomic.Int32
}

func (u *awayAtEnd) EndSubscription(ctx context.Context, key, ref, how string) (commerce.SubscriptionNews, error) {
	if u.before.Add(-1) >= 0 {
		return commerce.SubscriptionNews{}, errors.New("connection refused")
	}
	n, err := u.Provider.EndSubscription(ctx, key, ref, how)
	if u.after.Add(-1) >= 0 {
		return commerce.SubscriptionNews{}, errors.New("connection reset")
	}
	return n, err
}

// What was decided while the provider does not answer is told later, and news of before
// changes nothing of it.
func TestCancelWhileTheProviderIsAway(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	x := s.subscriber(999, 3000)
	u := &awayAtEnd{}
	s.svc.Through(func(p commerce.Provider) commerce.Provider { u.Provider = p; return u })
	u.before.Store(1)
	x.cancels()
	if err := s.svc.HearSubscription(t.Context(), x.id); err != nil {
		t.Fatal(err)
	}
	if !x.get().GetCancelAtPeriodEnd() {
		t.Error("it goes on")
	}
	u.after.Store(1)
	s.carryOut(3600)
	s.carryOut(3600)
	if n := s.count(`SELECT count(*) FROM development_subscription WHERE cancel_at_period_end`); n != 1 || s.count(`SELECT count(*) FROM subscription WHERE wished`) != 0 {
		t.Error("the provider was not told")
	}
	// By somebody's hand, there.
	if _, err := u.Provider.EndSubscription(t.Context(), "hand", x.id, "resume"); err != nil {
		t.Fatal(err)
	}
	if err := s.svc.HearSubscription(t.Context(), x.id); err != nil {
		t.Fatal(err)
	}
	if x.get().GetCancelAtPeriodEnd() {
		t.Error("it does not go on")
	}
}

// slowAtEnd takes its time when it is first told to end a subscription.
type slowAtEnd struct {
	commerce.Provider
	told    atomic.Int32
	reached chan struct{}
	goOn    chan struct{}
}

func (u *slowAtEnd) EndSubscription(ctx context.Context, key, ref, how string) (commerce.SubscriptionNews, error) {
	if u.told.Add(1) == 1 {
		close(u.reached)
		<-u.goOn
	}
	return u.Provider.EndSubscription(ctx, key, ref, how)
}

// Who resumes while the provider is still being told that they have cancelled goes on.
func TestResumeOvertakesNoCancel(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	x := s.subscriber(999, 3000)
	u := &slowAtEnd{reached: make(chan struct{}), goOn: make(chan struct{})}
	s.svc.Through(func(p commerce.Provider) commerce.Provider { u.Provider = p; return u })
	var cancels sync.WaitGroup
	cancels.Go(func() { x.cancels() })
	<-u.reached
	if sub, err := s.subs.ResumeMySubscription(s.as(x.buyer), &commercepb.ResumeMySubscriptionRequest{SubscriptionId: x.id}); err != nil || sub.GetCancelAtPeriodEnd() {
		t.Errorf("%v, %v", sub, err)
	}
	if s.carryOut(1); u.told.Load() != 1 {
		t.Error("the provider is told both at once")
	}
	close(u.goOn)
	cancels.Wait()
	s.carryOut(1)
	if err := s.svc.HearSubscription(t.Context(), x.id); err != nil {
		t.Fatal(err)
	}
	if x.get().GetCancelAtPeriodEnd() || s.count(`SELECT count(*) FROM development_subscription WHERE cancel_at_period_end`) != 0 {
		t.Error("it is to end")
	}
	if n := s.count(`SELECT count(*) FROM subscription WHERE wished`); n != 0 || u.told.Load() != 2 {
		t.Errorf("the provider was told %d times; still to be told: %d", u.told.Load(), n)
	}
	s.allAgrees()
}

func TestStaffEndsASubscription(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	x := s.subscriber(999, 3000)
	sub, err := s.subs.CancelSubscription(s.staff(), &commercepb.CancelSubscriptionRequest{SubscriptionId: x.id})
	if err != nil || sub.GetState() != "active" || !sub.GetCancelAtPeriodEnd() {
		t.Fatalf("%v, %v", sub, err)
	}
	s.days(3, true)
	for range 2 {
		if sub, err = s.subs.CancelSubscription(s.staff(), &commercepb.CancelSubscriptionRequest{SubscriptionId: x.id, Now: true}); err != nil || sub.GetState() != "ended" {
			t.Fatalf("%v, %v", sub, err)
		}
	}
	x.wantAccess(false)
	s.days(60, true)
	if n := len(x.periods()); n != 1 {
		t.Errorf("%d periods, want 1", n)
	}
	s.allAgrees()
}

// What the provider charges although the subscription has ended goes back.
func TestChargedAfterTheEnd(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	x := s.subscriber(999, 3000)
	s.days(31, false) // charged, and nobody has heard
	if _, err := s.subs.CancelSubscription(s.staff(), &commercepb.CancelSubscriptionRequest{SubscriptionId: x.id, Now: true}); err != nil {
		t.Fatal(err)
	}
	x.is("ended")
	list := x.periods()
	if len(list) != 2 || s.count(`SELECT count(*) FROM orders WHERE subscription_id = $1 AND state = 'cancelled'`, x.id) != 1 {
		t.Fatalf("%v", list)
	}
	s.carryOut(1)
	if back := s.count(`SELECT sum(refunded)::bigint FROM development_payment`); back != 999 {
		t.Errorf("%d went back", back)
	}
	if owed := s.ledgerAt("buyers")["EUR"]; owed != 0 {
		t.Errorf("%d is owed", owed)
	}
	x.wantAccess(false)
	s.allAgrees()
}

// A subscription whose first period is not paid in time is none, and who pays after gets
// the money back and is not charged again.
func TestFirstPeriodNotPaid(t *testing.T) {
	t.Parallel()
	for _, cancels := range []bool{false, true} {
		s := newShop(t)
		teacher, buyer := id.New("account"), id.New("account")
		p := s.plan(teacher, 999, s.course(teacher, 3000, "EUR"))
		x := &subscribed{shop: s, buyer: buyer, teacher: teacher, plan: p, id: s.subscribe(buyer, p).GetId()}
		page := x.page()
		reason := "not_paid"
		if cancels {
			reason = "cancelled"
			x.cancels()
		} else {
			s.now.Add(int64(25 * time.Hour / time.Second))
			if n, err := s.svc.Expire(t.Context()); err != nil || n != 1 {
				t.Fatalf("%d expired, %v", n, err)
			}
		}
		if sub := x.is("ended"); sub.GetEndReason() != reason {
			t.Errorf("%v", sub)
		}
		if len(sent[*commercepb.SubscriptionEnded](s)) != 0 {
			t.Error("the end of what never began is told")
		}
		// It was paid in that moment.
		s.exec(`UPDATE development_payment SET state = 'succeeded', period_start = $2, period_end = $2::timestamptz + interval '1 month' WHERE id = $1`, page, time.Unix(s.now.Load(), 0))
		s.exec(`UPDATE development_subscription SET state = 'active', period_start = $2, period_end = $2::timestamptz + interval '1 month', next_at = $2::timestamptz + interval '1 month' WHERE id = $1`, x.id, time.Unix(s.now.Load(), 0))
		s.exec(`INSERT INTO development_transaction (kind, ref, amount, fee, currency, at) SELECT 'payment', id, amount, 19, currency, now() FROM development_payment WHERE id = $1`, page)
		s.carryOut(1) // closing it tells so
		s.carryOut(1)
		s.carryOut(3600)
		if back := s.count(`SELECT sum(refunded)::bigint FROM development_payment`); back != 999 {
			t.Errorf("%d went back", back)
		}
		if n := s.count(`SELECT count(*) FROM development_subscription WHERE state = 'ended'`); n != 1 {
			t.Error("it goes on at the provider")
		}
		if s.subscribe(buyer, p).GetId() == x.id {
			t.Error("the same again")
		}
		s.agrees()
	}
}

// A subscription and a purchase of the same course are apart: one of them given back
// leaves the other.
func TestSubscriptionBesidePurchase(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	x := s.subscriber(999, 3000, 1000)
	bought := s.paidOrder(x.buyer, x.courses[0])
	if len(bought.GetLines()) != 1 {
		t.Fatal(bought)
	}
	first := x.periods()[0]
	s.gaveBack(first)
	x.wantAccess(false)
	s.wantState(x.buyer, bought, "paid")
	x.is("active") // it goes on with the next period
	s.days(31, true)
	x.wantAccess(true)
	s.gaveBack(bought)
	x.wantAccess(true)
	again := s.paidOrder(x.buyer, x.courses[0]) // and can be bought again
	s.wantState(x.buyer, again, "paid")
	s.agrees()
}

func TestRefundOfAPeriod(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	x := s.subscriber(1000, 3000, 1000)
	s.days(31, true)
	second := x.periods()[1]
	r := s.gaveBack(second, &commercepb.LineToRefund{LineId: second.GetLines()[1].GetId()})
	if r.GetAmount().GetAmount() != 250 {
		t.Errorf("%v", r)
	}
	if !x.hasAccess(x.courses[0]) {
		t.Error("the other course went too")
	}
	x.is("active")
	ordinary := s.paidOrder(id.New("account"), x.courses[0])
	_, err := s.refunds.CreateRefund(s.staff(), &commercepb.CreateRefundRequest{OrderId: ordinary.GetId(), Note: "x", EndSubscription: true})
	wantCode(t, err, "refund.no_subscription")
	if r, err = s.refunds.CreateRefund(s.staff(), &commercepb.CreateRefundRequest{OrderId: second.GetId(), Note: "x", EndSubscription: true}); err != nil || r.GetAmount().GetAmount() != 750 {
		t.Fatalf("%v, %v", r, err)
	}
	if sub := x.is("ended"); sub.GetEndReason() != "refunded" {
		t.Errorf("%v", sub)
	}
	x.wantAccess(false)
	s.carryOut(1)
	s.days(40, true)
	if n := len(x.periods()); n != 2 {
		t.Errorf("%d periods, want 2", n)
	}
	s.agrees()
}

// Who has their bank take a period back and gets it has no subscription any more.
func TestDisputeOfAPeriod(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	x, y := s.subscriber(1000, 3000), s.subscriber(1000, 3000)
	for outcome, of := range map[string]*subscribed{"win_dispute": y, "lose_dispute": x} {
		of.does("dispute")
		of.is("active")
		of.does(outcome)
	}
	y.is("active")
	if sub := x.is("ended"); sub.GetEndReason() != "disputed" {
		t.Errorf("%v", sub)
	}
	x.wantAccess(false)
	y.wantAccess(true)
	s.carryOut(1)
	s.days(40, true)
	if len(x.periods()) != 1 || len(y.periods()) != 2 {
		t.Errorf("%d and %d periods", len(x.periods()), len(y.periods()))
	}
	// That of a later period, which the provider calls otherwise than we do.
	var ref string
	if err := s.db.QueryRow(t.Context(), `SELECT p.ref FROM payment p JOIN orders o ON o.payment_id = p.id WHERE o.id = $1`, y.periods()[1].GetId()).Scan(&ref); err != nil {
		t.Fatal(err)
	}
	for _, outcome := range []string{"dispute", "lose_dispute"} {
		if _, err := s.client.SettleDevelopmentPayment(t.Context(), &commercepb.SettleDevelopmentPaymentRequest{PaymentId: ref, Outcome: outcome}); err != nil {
			t.Fatal(err)
		}
	}
	y.is("ended")
	s.carryOut(1)
	s.agrees()
}

// A price holds for who subscribes after it; courses hold from the next period on.
func TestPlanChanges(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	x := s.subscriber(1000, 3000, 1000)
	more := s.course(x.teacher, 6000, "EUR")
	if _, err := s.plans.UpdatePlan(s.as(x.teacher), &commercepb.UpdatePlanRequest{
		PlanId: x.plan.GetId(), Title: "More", Interval: "year", CourseIds: []string{x.courses[0], more}, Prices: []*moneypb.Money{eur(2000)},
	}); err != nil {
		t.Fatal(err)
	}
	x.wantAccess(true)
	if x.hasAccess(more) {
		t.Error("access to what was not paid for")
	}
	s.days(31, true)
	list := x.periods()
	if len(list) != 2 || list[1].GetTotal().GetAmount() != 1000 || list[1].GetLines()[0].GetPrice().GetAmount() != 333 || list[1].GetLines()[1].GetCourseId() != more {
		t.Fatalf("%v", list)
	}
	if sub := x.get(); sub.GetPrice().GetAmount() != 1000 || sub.GetInterval() != "month" {
		t.Errorf("%v", sub)
	}
	if sub := s.subscribe(id.New("account"), x.plan); sub.GetPrice().GetAmount() != 2000 || sub.GetInterval() != "year" {
		t.Errorf("%v", sub)
	}
	// It goes on when the plan is withdrawn and its courses are sold no more, and free.
	if _, err := s.plans.WithdrawPlan(s.as(x.teacher), &commercepb.WithdrawPlanRequest{PlanId: x.plan.GetId()}); err != nil {
		t.Fatal(err)
	}
	s.deliver(&coursespb.CourseUnpublished{CourseId: more, Sequence: 2})
	if _, err := s.client.SetPrice(s.as(x.teacher), &commercepb.SetPriceRequest{CourseId: x.courses[0], Price: eur(0)}); err != nil {
		t.Fatal(err)
	}
	_, err := s.plans.GetPlan(s.as(x.buyer), &commercepb.GetPlanRequest{PlanId: x.plan.GetId()})
	wantCode(t, err, "") // who has subscribed sees it
	s.days(30, true)
	list = x.periods()
	if len(list) != 3 || list[2].GetLines()[0].GetPrice().GetAmount() != 0 || list[2].GetLines()[1].GetPrice().GetAmount() != 1000 {
		t.Fatalf("%v", list)
	}
	s.allAgrees()
}

// Cancelling while the provider charges: either the next period is the last, or there is
// none.
func TestCancelAgainstRenewal(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for range 10 {
		x := s.subscriber(999, 3000)
		s.now.Add(int64(31 * day / time.Second))
		var wg sync.WaitGroup
		for _, do := range []func() error{
			func() error { _, err := s.svc.Renew(s.Context(), true); return err },
			func() error {
				_, err := s.subs.CancelMySubscription(s.as(x.buyer), &commercepb.CancelMySubscriptionRequest{SubscriptionId: x.id})
				return err
			},
			func() error { return s.svc.HearSubscription(s.Context(), x.id) },
		} {
			wg.Go(func() {
				if err := do(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		s.days(0, true)
		s.days(63, true)
		if sub := x.is("ended"); sub.GetEndReason() != "cancelled" || len(x.periods()) > 2 {
			t.Errorf("%v, %d periods", sub, len(x.periods()))
		}
	}
	s.allAgrees()
}

func TestPeriodsEnd(t *testing.T) {
	t.Parallel()
	at := func(text string) time.Time {
		t, err := time.Parse(time.DateOnly, text)
		if err != nil {
			panic(err)
		}
		return t
	}
	for _, tc := range []struct {
		first, every string
		n            int
		want         string
	}{
		{"2026-01-31", "month", 1, "2026-02-28"},
		{"2026-01-31", "month", 2, "2026-03-31"},
		{"2026-01-31", "month", 12, "2027-01-31"},
		{"2024-02-29", "year", 1, "2025-02-28"},
		{"2024-02-29", "year", 4, "2028-02-29"},
		{"2026-12-15", "month", 1, "2027-01-15"},
	} {
		if got := commerce.After(at(tc.first), tc.every, tc.n); !got.Equal(at(tc.want)) {
			t.Errorf("%s and %d times a %s: %s, want %s", tc.first, tc.n, tc.every, got.Format(time.DateOnly), tc.want)
		}
	}
}
