package commerce_test

import (
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/commerce/stripetest"
)

// agreed fails if the reconciler finds anything about money, after so long.
func (s *stripeShop) agreed(when string, after time.Duration) {
	s.Helper()
	s.now.Add(int64(after.Seconds()))
	got := s.reconciled("")
	delete(got, "paid_without_access") // nobody here gives any, and nobody ends it
	delete(got, "access_without_pay")
	if len(got) > 0 {
		s.Errorf("%s: %v", when, got)
	}
}

// A bank that is asked for money takes days to say whether it pays. Stripe moves the balance
// at once, and back if it does not: neither is told, and both are no money.
func TestBankDebitsAreReconciled(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	for i, arrives := range []bool{true, false, true, false} {
		buyer := id.New("account")
		o := s.order(buyer, s.course(id.New("account"), int64(4900+i/2), "EUR"))
		page := s.session(o)
		s.stripe.Pay(page, stripetest.Later)
		s.hear()
		s.agreed("on its way", 24*time.Hour)
		s.stripe.Arrive(page, arrives)
		s.hear()
		s.agreed("it has come, or has not", time.Minute)
		s.agreed("and hours later", 3*time.Hour)
		s.balanced()
		s.wantState(buyer, o, map[bool]string{true: "fulfilled", false: "awaiting_payment"}[arrives])
	}
}

// So it is with a renewal, which may be tried again.
func TestRenewalsByBankDebitAreReconciled(t *testing.T) {
	t.Parallel()
	b := newSubscriber(t)
	b.stripe.Card(b.ref, stripetest.Later)
	b.month()
	b.agreed("on its way, and nobody has heard", time.Minute)
	b.hear()
	b.agreed("on its way", 24*time.Hour)
	b.stripe.Arrive(b.invoice(1), false)
	b.hear()
	b.agreed("the bank did not pay", time.Minute)
	b.stripe.Card(b.ref, stripetest.Succeed)
	b.now.Add(4 * 24 * 3600)
	b.hear()
	b.agreed("it was tried again, and paid", 3*time.Hour)
	b.stands("active", 2)
}

// What is given back may take days too.
func TestSlowRefundsAreReconciled(t *testing.T) {
	t.Parallel()
	s := newStripeShop(t)
	for _, gets := range []bool{true, false} {
		buyer := id.New("account")
		o := s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
		s.stripe.Pay(s.session(o), stripetest.Succeed)
		s.hear()
		s.agreed("paid", 10*time.Minute)
		s.stripe.SlowRefunds(true)
		if r, err := s.giveBack(o); err != nil || r.GetState() != "pending" {
			t.Fatalf("%v, %v", r, err)
		}
		s.hear()
		s.agreed("on its way", 24*time.Hour)
		refs := s.stripe.Refunds()
		if gets {
			s.stripe.EndRefund(refs[len(refs)-1])
		} else {
			s.stripe.FailRefund(refs[len(refs)-1])
		}
		s.hear()
		s.agreed("they have it, or have not", time.Minute)
		s.agreed("and hours later", 3*time.Hour)
		s.balanced()
		s.wantState(buyer, o, map[bool]string{true: "refunded", false: "fulfilled"}[gets])
	}
	if n := len(sent[*commercepb.LinesRefunded](s.shop)); n != 1 {
		t.Errorf("%d lines given back", n)
	}
}
