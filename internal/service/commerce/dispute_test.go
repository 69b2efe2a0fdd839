package commerce_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

func (s *shop) settles(o *commercepb.Order, outcome string) {
	s.Helper()
	if _, err := s.settle(o, outcome); err != nil {
		s.Fatalf("%s: %v", outcome, err)
	}
}

// fulfils has access given to all lines.
func (s *shop) fulfils(buyer string, o *commercepb.Order) {
	s.Helper()
	for _, l := range o.GetLines() {
		s.deliver(&accesspb.EntitlementGranted{EntitlementId: id.New("entitlement"), AccountId: buyer, CourseId: l.GetCourseId(), Source: "order", SourceId: l.GetId()})
	}
}

func (s *shop) releases(want int) {
	s.Helper()
	if n, err := s.svc.Release(s.Context()); err != nil || n != want {
		s.Errorf("released %d, %v, want %d", n, err, want)
	}
}

func TestDisputeWon(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada, buyer := id.New("account"), id.New("account")
	o := s.paidOrder(buyer, s.course(ada, 1000, "EUR"))
	s.settles(o, "dispute")
	s.wantState(buyer, o, "disputed")
	if diff := cmp.Diff(map[string]int64{"EUR": 1000}, s.ledgerAt("disputed")); diff != "" {
		t.Error(diff)
	}
	s.agrees()
	s.now.Add(31 * 24 * 3600)
	s.releases(0) // frozen
	s.fulfils(buyer, o)
	s.wantState(buyer, o, "disputed")
	if n := len(sent[*commercepb.OrderFulfilled](s)); n != 0 {
		t.Errorf("%d fulfilled", n)
	}
	list, err := s.refunds.ListDisputes(s.staff(), &commercepb.ListDisputesRequest{State: "open"})
	if err != nil || len(list.GetItems()) != 1 || list.GetItems()[0].GetFee().GetAmount() != 1500 || !list.GetItems()[0].GetDueBy().AsTime().After(list.GetItems()[0].GetOpenedAt().AsTime()) {
		t.Fatalf("%v, %v", list, err)
	}
	s.settles(o, "win_dispute")
	s.wantState(buyer, o, "fulfilled") // what was granted meanwhile counts
	if n := len(sent[*commercepb.OrderFulfilled](s)); n != 1 {
		t.Errorf("%d fulfilled", n)
	}
	s.releases(1)
	if diff := cmp.Diff(map[string][2]int64{"EUR": {0, 700}}, s.earned(ada)); diff != "" {
		t.Error(diff)
	}
	if n := len(sent[*commercepb.LinesRefunded](s)); n != 0 {
		t.Errorf("%d events of refunds", n)
	}
	_, err = s.settle(o, "dispute") // once for a payment
	wantCode(t, err, "payment.outcome")
	d, err := s.refunds.GetDispute(s.staff(), &commercepb.GetDisputeRequest{DisputeId: list.GetItems()[0].GetId()})
	if err != nil || d.GetState() != "won" {
		t.Fatalf("%v, %v", d, err)
	}
	_, err = s.refunds.GetDispute(s.staff(), &commercepb.GetDisputeRequest{DisputeId: id.New("dispute")})
	wantCode(t, err, "dispute.not_found")
	s.agrees()
}

// What was released is held again while it is disputed; what is lost is taken back, of what
// was not given back before.
func TestDisputeLost(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada, ben, buyer := id.New("account"), id.New("account"), id.New("account")
	o := s.paidOrder(buyer, s.course(ada, 1000, "EUR"), s.course(ben, 2000, "EUR"))
	s.gaveBack(o, &commercepb.LineToRefund{LineId: o.GetLines()[1].GetId(), Amount: 500})
	s.now.Add(31 * 24 * 3600)
	s.releases(2)
	s.settles(o, "dispute")
	if diff := cmp.Diff([]map[string][2]int64{{"EUR": {700, 0}}, {"EUR": {1050, 0}}}, []map[string][2]int64{s.earned(ada), s.earned(ben)}); diff != "" {
		t.Error(diff)
	}
	s.releases(0)
	s.settles(o, "lose_dispute")
	s.wantState(buyer, o, "refunded")
	if diff := cmp.Diff([]map[string][2]int64{{"EUR": {0, 0}}, {"EUR": {0, 0}}}, []map[string][2]int64{s.earned(ada), s.earned(ben)}); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int64{"EUR": 0}, s.ledgerAt("platform")); diff != "" {
		t.Error(diff)
	}
	events := sent[*commercepb.LinesRefunded](s)
	if last := events[len(events)-1]; len(last.GetLines()) != 2 || last.GetDisputeId() == "" || !last.GetLines()[0].GetAccessEnds() || !last.GetLines()[1].GetAccessEnds() {
		t.Errorf("LinesRefunded %v", last)
	}
	s.releases(2)
	s.agrees()
}

// News of a dispute may come twice and in any order, and only when it is settled.
func TestDisputeNewsInAnyOrder(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	due := time.Unix(s.now.Load(), 0).Add(time.Hour)
	want := map[string]string{"won": "paid", "lost": "partly_refunded"}
	for i := range 20 {
		ended := []string{"won", "lost"}[i%2]
		buyer := id.New("account")
		o := s.paidOrder(buyer, s.course(id.New("account"), 4900, "EUR"))
		news := []commerce.DisputeNews{{State: "open"}, {State: "open", DueBy: &due}, {State: ended, Fee: 1500}, {State: "open", Fee: 1500}, {State: ended}}
		rand.Shuffle(len(news), func(i, j int) { news[i], news[j] = news[j], news[i] }) //nolint:gosec // chance, not secrecy
		for _, n := range news {
			n.Ref, n.PaymentID, n.Amount, n.Currency = "dp_1", paymentOf(o), 4000, "EUR"
			if err := s.svc.HeardDispute(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		s.wantState(buyer, o, want[ended])
	}
	if diff := cmp.Diff([]map[string]int64{{"EUR": 0}, {"EUR": 20 * (98 + 1500)}}, []map[string]int64{s.ledgerAt("disputed"), s.ledgerAt("processing")}); diff != "" {
		t.Error(diff)
	}
	s.sound()
}

// A dispute that was lost may be won after all, and the fee come back: the money is the
// platform's, and what was ended stays ended.
func TestDisputeWonAfterAll(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada, buyer := id.New("account"), id.New("account")
	o := s.paidOrder(buyer, s.course(ada, 4900, "EUR"))
	for _, n := range []commerce.DisputeNews{
		{State: "open", Fee: 1500}, {State: "lost", Fee: 1500}, {State: "won", Fee: 1500, FeeBack: 1500}, {State: "lost", Fee: 1500}, {State: "won", Fee: 1500, FeeBack: 1500},
	} {
		n.Ref, n.PaymentID, n.Amount, n.Currency = "dp_1", paymentOf(o), 4900, "EUR"
		if err := s.svc.HeardDispute(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	s.wantState(buyer, o, "refunded")
	got := map[string]map[string]int64{}
	for _, account := range []string{"provider", "processing", "platform", "disputed", "held:" + ada} {
		got[strings.TrimSuffix(account, ada)] = s.ledgerAt(account)
	}
	want := map[string]map[string]int64{"provider": {"EUR": 4802}, "processing": {"EUR": 98}, "platform": {"EUR": -4900}, "disputed": {"EUR": 0}, "held:": {"EUR": 0}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	d, err := s.refunds.ListDisputes(s.staff(), &commercepb.ListDisputesRequest{})
	if err != nil || len(d.GetItems()) != 1 || d.GetItems()[0].GetState() != "won" || d.GetItems()[0].GetFee().GetAmount() != 0 {
		t.Errorf("%v, %v", d, err)
	}
	s.sound()
}

// What is lost of a payment that bought nothing, or beyond what was paid, is the buyer's debt.
func TestDisputeOfMoreThanIsThere(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer := id.New("account")
	o := s.paidOrder(buyer, s.course(id.New("account"), 4900, "EUR"))
	s.gaveBack(o)
	for _, state := range []string{"open", "lost"} {
		if err := s.svc.HeardDispute(t.Context(), commerce.DisputeNews{Ref: "dp_1", PaymentID: paymentOf(o), Amount: 4900, Currency: "EUR", State: state}); err != nil {
			t.Fatal(err)
		}
	}
	s.wantState(buyer, o, "refunded")
	if diff := cmp.Diff(map[string]int64{"EUR": 4900}, s.ledgerAt("buyers")); diff != "" {
		t.Error(diff)
	}
	// What the bank gives back after all is that debt, and nobody's income.
	if err := s.svc.HeardDispute(t.Context(), commerce.DisputeNews{Ref: "dp_1", PaymentID: paymentOf(o), Amount: 4900, Currency: "EUR", State: "won"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]map[string]int64{{"EUR": 0}, {"EUR": 0}}, []map[string]int64{s.ledgerAt("buyers"), s.ledgerAt("platform")}); diff != "" {
		t.Error(diff)
	}
	s.sound()
}
