package notify

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// Who has subscribed is told when a period is paid, fails to be, and when it is over; the
// seller of several courses once.
func TestSubscription(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ana, zeno := w.person("Ana", "en"), w.person("Zeno", "de")
	eur := func(amount int64) *moneypb.Money { return &moneypb.Money{Amount: amount, Currency: "EUR"} }
	paid := &commercepb.OrderPaid{
		OrderId: id.New("order"), BuyerId: ana, Total: eur(999), PaidAt: timestamppb.New(may), SubscriptionId: id.New("subscription"), PlanTitle: "All of it",
		PeriodEnd: timestamppb.New(may.AddDate(0, 1, 0)),
		Lines: []*commercepb.PaidLine{
			{LineId: id.New("line"), CourseId: id.New("course"), SellerId: zeno, Title: "Logic", Price: eur(749), Kind: "subscription"},
			{LineId: id.New("line"), CourseId: id.New("course"), SellerId: zeno, Title: "Ethics", Price: eur(250), Kind: "subscription"},
		},
	}
	failed := &commercepb.SubscriptionRenewalFailed{
		SubscriptionId: paid.GetSubscriptionId(), BuyerId: ana, PlanTitle: "All of it", NextAttemptAt: timestamppb.New(may.Add(24 * time.Hour)),
		AccessUntil: timestamppb.New(may.Add(72 * time.Hour)), Url: "https://stoa.test/subscriptions/x", Version: 3,
	}
	ended := &commercepb.SubscriptionEnded{SubscriptionId: paid.GetSubscriptionId(), BuyerId: ana, PlanTitle: "All of it", EndedAt: timestamppb.New(may), Reason: "given_up", Version: 5}
	hear(w, w.service.orderPaid, paid, paid)
	w.pass(time.Second)
	hear(w, w.service.subscriptionRenewalFailed, failed, failed)
	w.pass(time.Second)
	again := &commercepb.SubscriptionRenewalFailed{SubscriptionId: failed.GetSubscriptionId(), BuyerId: ana, PlanTitle: "All of it", AccessUntil: failed.GetAccessUntil(), Version: 4}
	hear(w, w.service.subscriptionRenewalFailed, again)
	w.pass(time.Second)
	hear(w, w.service.subscriptionEnded, ended, ended)
	var got []string
	for _, n := range w.told(ana) {
		if strings.HasPrefix(n.GetKind(), "subscription_") {
			got = append(got, n.GetTitle()+" | "+n.GetBody())
		}
	}
	want := []string{
		"Your subscription to All of it has ended | It could not be charged. You can subscribe anew whenever you like.",
		"All of it could not be charged | See to how you pay: your access lasts until 2026-05-04 09:00 UTC.",
		"All of it could not be charged | It is tried again on 2026-05-02. See to how you pay: your access lasts until 2026-05-04 09:00 UTC.",
		"You paid EUR 9.99 for All of it | Your subscription is paid until 2026-06-01.",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	sold := 0
	for _, n := range w.told(zeno) {
		if n.GetTitle() == "Du hast All of it verkauft" && n.GetBody() == "Der Preis war EUR 9.99." {
			sold++
		}
	}
	if sold != 1 {
		t.Errorf("the seller was told %d times", sold)
	}
	texts := ""
	for _, m := range w.mails() {
		texts += m.GetSubject() + "\n" + m.GetText()
	}
	for _, part := range []string{"- Logic: EUR 7.49\n- Ethics: EUR 2.50\n\nTotal: EUR 9.99", "https://stoa.test/subscriptions/x\n", "ended on 2026-05-01, because it could not be charged."} {
		if !strings.Contains(texts, part) {
			t.Errorf("no mail has %q: %s", part, texts)
		}
	}
	stranger := &commercepb.SubscriptionEnded{SubscriptionId: id.New("subscription"), BuyerId: id.New("account"), EndedAt: timestamppb.New(may)}
	if err := try(w, w.service.subscriptionEnded, stranger); err == nil {
		t.Error("an unknown buyer passed")
	}
}
