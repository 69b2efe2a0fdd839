package commerce_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/commerce/stripetest"
)

// hearsOnly has events of one kind arrive, and returns the others, which are late.
func (s *stripeShop) hearsOnly(kind string) (late []stripetest.Delivery) {
	s.Helper()
	for _, d := range s.stripe.Take() {
		if !strings.HasPrefix(d.Type, kind) {
			late = append(late, d)
			continue
		}
		if err := s.send(d); err != nil {
			s.Fatalf("%s: %v", d.Type, err)
		}
	}
	s.takeIn()
	return late
}

// That money went back may be told before that it had come: who has it back has no access,
// and nobody a share.
func TestGoneBackBeforeItIsHeard(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		kind  string
		back  func(s *stripeShop, page string)
		state string // after what went back was heard, whatever else was
		gone  int
	}{
		"given back by hand": {"refund.", func(s *stripeShop, page string) { s.stripe.GiveBack(page, 4900) }, "refunded", 1},
		"some of it":         {"refund.", func(s *stripeShop, page string) { s.stripe.GiveBack(page, 900) }, "partly_refunded", 0},
		"disputed":           {"charge.dispute", func(s *stripeShop, page string) { s.stripe.Dispute(page) }, "disputed", 0},
		"disputed and lost":  {"charge.dispute", func(s *stripeShop, page string) { s.stripe.CloseDispute(s.stripe.Dispute(page), false) }, "refunded", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStripeShop(t)
			buyer := id.New("account")
			o := s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
			page := s.session(o)
			s.stripe.Pay(page, stripetest.Succeed)
			tc.back(s, page)
			late := s.hearsOnly(tc.kind)
			s.wantState(buyer, o, tc.state)
			for _, d := range late {
				if err := s.send(d); err != nil {
					t.Fatal(err)
				}
			}
			s.takeIn()
			s.wantState(buyer, o, tc.state)
			ended := 0
			for _, e := range sent[*commercepb.LinesRefunded](s.shop) {
				for _, l := range e.GetLines() {
					if l.GetAccessEnds() {
						ended++
					}
				}
			}
			if ended != tc.gone {
				t.Errorf("access ended %d times, want %d", ended, tc.gone)
			}
			if owed := s.ledgerAt("buyers")["EUR"]; owed != 0 {
				t.Errorf("buyers have %d", owed)
			}
			s.balanced()
		})
	}
}

// It is not taken in while nobody knows what was paid: it waits for that.
func TestGoneBackWhileStripeIsAway(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer := id.New("account")
	o := s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
	back := commerce.RefundNews{Ref: "re_1", PaymentID: paymentOf(o), Amount: 4900, Currency: "EUR", State: "succeeded"}
	wantCode(t, s.svc.HeardRefund(t.Context(), back), "payment.unheard")
	wantCode(t, s.svc.HeardDispute(t.Context(), commerce.DisputeNews{Ref: "dp_1", PaymentID: paymentOf(o), Amount: 4900, Currency: "EUR", State: "open"}), "payment.unheard")
	s.wantState(buyer, o, "awaiting_payment")
	if diff := cmp.Diff(map[string]int64{}, s.ledgerAt("")); diff != "" {
		t.Error(diff)
	}
	s.pays(o)
	if err := s.svc.HeardRefund(t.Context(), back); err != nil {
		t.Fatal(err)
	}
	s.wantState(buyer, o, "refunded")
	s.sound()
}

// News of disputes may be lost: what the bank took, and what came back, is found by the
// transactions and heard then.
func TestLostDisputes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ends  func(s *stripeShop, dispute string)
		state string
	}{
		"open": {func(*stripeShop, string) {}, "disputed"},
		"won":  {func(s *stripeShop, dispute string) { s.stripe.CloseDispute(dispute, true) }, "fulfilled"},
		"lost": {func(s *stripeShop, dispute string) { s.stripe.CloseDispute(dispute, false) }, "refunded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStripeShop(t)
			buyer := id.New("account")
			o := s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
			page := s.session(o)
			s.stripe.Pay(page, stripetest.Succeed)
			s.hear()
			dispute := s.stripe.Dispute(page)
			tc.ends(s, dispute)
			s.stripe.Take() // all of it is lost
			if got := s.reconciled(""); got["dispute_unheard"] != "" {
				t.Errorf("%v: it is on its way", got)
			}
			s.now.Add(180)
			if got := s.reconciled("healed"); got["dispute_unheard"] != dispute {
				t.Errorf("healed: %v", got)
			}
			s.wantState(buyer, o, tc.state)
			s.balanced()
		})
	}
}

// Of what was paid for nothing only that goes back which nobody at the provider gave back
// before.
func TestSurplusGivenBackInPartByHand(t *testing.T) {
	t.Parallel()
	for name, byHand := range map[string]int64{"some": 900, "all": 4900} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStripeShop(t)
			buyer := id.New("account")
			o := s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
			page := s.session(o)
			s.stripe.Pay(page, stripetest.Succeed)
			s.stripe.GiveBack(page, byHand)
			if _, err := s.client.CancelOrder(s.as(buyer), &commercepb.CancelOrderRequest{OrderId: o.GetId()}); err != nil {
				t.Fatal(err)
			}
			s.carryOut(1)
			s.hear()
			s.carryOut(1)
			if owed := s.ledgerAt("buyers")["EUR"]; owed != 0 {
				t.Errorf("buyers have %d", owed)
			}
			if n := s.count(`SELECT count(*) FROM refund WHERE state <> 'succeeded'`); n != 0 {
				t.Errorf("%d refunds did not succeed", n)
			}
			if n := s.count(`SELECT count(*) FROM payment WHERE surplus`); n != 0 {
				t.Errorf("%d payments are surplus still", n)
			}
			s.wantState(buyer, o, "cancelled")
			s.balanced()
		})
	}
}
