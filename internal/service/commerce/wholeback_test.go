package commerce_test

import (
	"testing"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// When nothing of what was paid is left, and nobody said which lines it is of, the whole
// order was given back: what a coupon made cost nothing ends with it, and not before.
func TestAllMoneyBackIsTheWholeOrder(t *testing.T) {
	t.Parallel()
	byHand := func(s *shop, o *commercepb.Order, key string, amount int64) {
		s.Helper()
		n, err := s.svc.Provider().Refund(s.Context(), key, commerce.RefundRequest{PaymentRef: paymentOf(o), Amount: amount, Currency: "EUR"})
		if err == nil {
			err = s.svc.HeardRefund(s.Context(), n)
		}
		if err != nil {
			s.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		back  func(s *shop, o *commercepb.Order)
		state string
		ends  int
	}{
		"by hand":      {func(s *shop, o *commercepb.Order) { s.settles(o, "refund") }, "refunded", 2},
		"in two parts": {func(s *shop, o *commercepb.Order) { byHand(s, o, "a", 1000); byHand(s, o, "b", 3900) }, "refunded", 2},
		"some of it":   {func(s *shop, o *commercepb.Order) { byHand(s, o, "a", 4899) }, "partly_refunded", 0},
		"a dispute lost": {func(s *shop, o *commercepb.Order) {
			s.settles(o, "dispute")
			s.settles(o, "lose_dispute")
		}, "refunded", 2},
		"a dispute won": {func(s *shop, o *commercepb.Order) {
			s.settles(o, "dispute")
			s.settles(o, "win_dispute")
		}, "fulfilled", 0},
		"a dispute of the rest lost": {func(s *shop, o *commercepb.Order) {
			byHand(s, o, "a", 900)
			s.settles(o, "dispute")
			s.settles(o, "lose_dispute")
		}, "refunded", 2},
		"the line that was paid, by its name": {func(s *shop, o *commercepb.Order) {
			s.gaveBack(o, &commercepb.LineToRefund{LineId: o.GetLines()[0].GetId()})
		}, "partly_refunded", 1},
		"all of it, here": {func(s *shop, o *commercepb.Order) { s.gaveBack(o) }, "refunded", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			seller, buyer := id.New("account"), id.New("account")
			a, b := s.course(seller, 4900, "EUR"), s.course(seller, 1000, "EUR")
			s.coupon(seller, "ONE-FREE", func(c *commercepb.CouponTerms) { c.Percent, c.CourseIds = 100, []string{b} })
			o := must[*commercepb.Order](s)(s.buy(buyer, must[*commercepb.Quote](s)(s.quote(buyer, "EUR", "one-free", item(a), item(b)))))
			if o.GetTotal().GetAmount() != 4900 {
				t.Fatalf("order %v", o)
			}
			s.pays(o)
			s.fulfils(buyer, o)
			tc.back(s, o)
			s.wantState(buyer, o, tc.state)
			if lines := s.ends(); len(lines) != tc.ends {
				t.Errorf("access of %d lines ended, want %d", len(lines), tc.ends)
			}
			if n := s.count(`SELECT count(*) FROM order_line WHERE access_ended AND NOT live`); n != int64(tc.ends) {
				t.Errorf("%d lines have ended, want %d", n, tc.ends)
			}
			s.agrees()
		})
	}
}
