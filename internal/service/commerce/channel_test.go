package commerce_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// What the platform keeps depends on what way an order came and on whose coupon it has.
func TestRulesByChannelAndCoupon(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada, ben, cleo := id.New("account"), id.New("account"), id.New("account")
	course := s.course(ada, 10_000, "EUR")
	s.deliver(&coursespb.RevenueSplitChanged{CourseId: course, Version: 1, ValidFrom: timestamppb.New(time.Unix(s.now.Load(), 0)), Shares: []*coursespb.RevenueShare{
		{AccountId: ada, BasisPoints: 9000}, {AccountId: ben, BasisPoints: 1000},
	}})
	codes := map[string]string{"": "", "unknown": "NOBODY-S"}
	for name, who := range map[string]string{"ada": ada, "ben": ben, "cleo": cleo} {
		first := must[*commercepb.ReferralCode](s)(s.desk.CreateReferralCode(s.as(who), &commercepb.CreateReferralCodeRequest{}))
		again := must[*commercepb.ReferralCode](s)(s.desk.CreateReferralCode(rpc.WithIdempotencyKey(s.as(who), "again"), &commercepb.CreateReferralCodeRequest{}))
		if first.GetCode() == "" || first.GetCode() != again.GetCode() {
			t.Fatalf("codes %v and %v", first, again)
		}
		codes[name] = first.GetCode()
	}
	rule := func(teacher, channel, origin string, keeps int32) {
		s.Helper()
		must[*commercepb.RevenueRule](s)(s.revenue.CreateRevenueRule(s.as(id.New("account")), &commercepb.CreateRevenueRuleRequest{
			TeacherId: teacher, Channel: channel, CouponOrigin: origin, PlatformShare: keeps, Reason: "A test",
		}))
	}
	s.coupon(ada, "ADAS", nil)
	must[*commercepb.Coupon](s)(s.coupons.CreateCoupon(s.as(id.New("account")), &commercepb.CreateCouponRequest{
		Terms: &commercepb.CouponTerms{Name: "x", Amounts: []*moneypb.Money{eur(2000)}}, Code: "OURS",
	}))
	// keeps returns what the platform keeps of a line, in hundredths of a percent, and
	// what way it came.
	type kept struct {
		keeps   int64
		channel string
	}
	keeps := func(buyer, referral, coupon string) kept {
		s.Helper()
		q := must[*commercepb.Quote](s)(s.quote(buyer, "EUR", coupon, item(course)))
		o := must[*commercepb.Order](s)(s.client.CreateOrder(s.as(buyer), &commercepb.CreateOrderRequest{QuoteId: q.GetId(), ReferralCode: referral}))
		before := s.platform()["platform EUR"]
		s.pays(o)
		sale := must[*commercepb.ListSalesResponse](s)(s.client.ListSales(s.as(ada), &commercepb.ListSalesRequest{CourseId: course, PageSize: 1}))
		s.now.Add(1) // so that the next is the newest
		return kept{(before - s.platform()["platform EUR"]) * 10_000 / o.GetTotal().GetAmount(), sale.GetItems()[0].GetChannel()}
	}
	rule("", "", "", 4000)
	rule("", "teacher_link", "", 300)
	rule("", "affiliate", "", 5000)
	rule("", "", "platform", 1000)
	rule("", "marketplace", "teacher", 2000)
	rule(cleo, "", "", 0) // of another teacher
	s.now.Add(1)
	for name, c := range map[string]struct {
		referral, coupon string
		want             kept
	}{
		"nobody's link":            {"", "", kept{4000, "marketplace"}},
		"a code that nobody has":   {"unknown", "", kept{4000, "marketplace"}},
		"the owner's":              {"ada", "", kept{300, "teacher_link"}},
		"of who shares in it":      {"ben", "", kept{300, "teacher_link"}},
		"of somebody else":         {"cleo", "", kept{5000, "affiliate"}},
		"the platform's coupon":    {"", "OURS", kept{1000, "marketplace"}},
		"the teacher's coupon":     {"", "ADAS", kept{2000, "marketplace"}},
		"a link before the coupon": {"cleo", "OURS", kept{5000, "affiliate"}},
	} {
		if diff := cmp.Diff(c.want, keeps(id.New("account"), codes[c.referral], c.coupon), cmp.AllowUnexported(kept{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if got := keeps(cleo, codes["cleo"], ""); got != (kept{4000, "marketplace"}) {
		t.Errorf("by one's own link: %v", got)
	}
	rule(ada, "", "", 100) // a teacher's goes before all of them
	if got := keeps(id.New("account"), codes["cleo"], "OURS"); got.keeps != 100 {
		t.Errorf("by the teacher's rule: %v", got)
	}
	s.sound()
}
