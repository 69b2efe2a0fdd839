package notify

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

func eur(amount int64) *moneypb.Money { return &moneypb.Money{Amount: amount, Currency: "EUR"} }

// titles are what an account was told, the newest last, but for the welcome.
func (w *world) titles(account string) []string {
	w.t.Helper()
	var out []string
	for _, n := range w.told(account) {
		if n.GetKind() != "welcome" {
			out = append([]string{n.GetKind() + ": " + n.GetTitle() + " " + n.GetBody()}, out...)
		}
	}
	return out
}

// What was bought is named in the reader's language.
func TestBoughtAs(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]struct {
		locale string
		line   *commercepb.PaidLine
	}{
		"Logic":            {"en", &commercepb.PaidLine{Title: "Logic"}},
		"Gift: Logic":      {"en", &commercepb.PaidLine{Title: "Logic", Kind: "gift", Quantity: 1}},
		"Geschenk: Logic":  {"de-CH", &commercepb.PaidLine{Title: "Logic", Kind: "gift", Quantity: 1}},
		"12 seats: Logic":  {"fr", &commercepb.PaidLine{Title: "Logic", Kind: "seats", Quantity: 12}},
		"1 Platz: Logic":   {"de", &commercepb.PaidLine{Title: "Logic", Kind: "seats", Quantity: 1}},
		"12 Plätze: Logic": {"de", &commercepb.PaidLine{Title: "Logic", Kind: "seats", Quantity: 12}},
		"All of it: Logic": {"en", &commercepb.PaidLine{Title: "Logic", Kind: "course", Quantity: 1, BundleId: "bundle_1", BundleTitle: "All of it"}},
	} {
		if got := boughtAs(c.locale, c.line); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A buyer is told once of what comes back, with the amount and the order, in their
// language and by mail; of a dispute and of nothing they are not.
func TestBuyersAreToldOfRefunds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ana, order, course := w.person("Ana", "en"), id.New("order"), id.New("course")
	line := func(title string, amount int64) *commercepb.LineRefund {
		return &commercepb.LineRefund{LineId: id.New("line"), CourseId: course, Title: title, Amount: eur(amount)}
	}
	e := &commercepb.LinesRefunded{
		OrderId: order, BuyerId: ana, RefundId: id.New("refund"), RefundedAt: timestamppb.New(may), Lines: []*commercepb.LineRefund{line("Logic", 4900), line("Physics", 5), line("Free", 0)},
	}
	hear(w, w.service.linesRefunded, e, e)
	if diff := cmp.Diff([]string{"refund: You get EUR 49.05 back It is for your order " + order + ". It may take some days until you see it."}, w.titles(ana)); diff != "" {
		t.Error(diff)
	}
	mails := w.mails()
	if len(mails) != 2 || mails[0].GetSubject() != "You get EUR 49.05 back" ||
		!strings.Contains(mails[0].GetText(), "order "+order+" you get EUR 49.05 back:\n- Logic: EUR 49.00\n- Physics: EUR 0.05\n\n") {
		t.Errorf("mails %v", mails)
	}
	hear(w, w.service.linesRefunded,
		&commercepb.LinesRefunded{OrderId: order, BuyerId: ana, DisputeId: id.New("dispute"), Lines: []*commercepb.LineRefund{line("Logic", 4900)}},
		&commercepb.LinesRefunded{OrderId: order, BuyerId: ana, RefundId: id.New("refund"), Lines: []*commercepb.LineRefund{line("Free", 0)}})
	if n := len(w.titles(ana)); n != 1 {
		t.Errorf("told %d times", n)
	}
	w.pass(1)
	late := &commercepb.PaymentReturned{OrderId: order, BuyerId: ana, RefundId: id.New("refund"), Amount: eur(1200), Unused: true}
	hear(w, w.service.paymentReturned, late, late)
	if got := w.titles(ana); len(got) != 2 || !strings.HasPrefix(got[1], "refund: You get EUR 12.00 back It is for your order "+order) {
		t.Errorf("%q", got)
	}
	if mails := w.mails(); len(mails) != 3 || !strings.Contains(mails[0].GetText(), "you get EUR 12.00 back. It came too late, or was not what was asked for, so nothing was bought with it.\n\nIt goes") {
		t.Errorf("mails %v", mails)
	}
	again := &commercepb.PaymentReturned{OrderId: order, BuyerId: ana, RefundId: id.New("refund"), Amount: eur(1300)}
	hear(w, w.service.paymentReturned, again)
	if mails := w.mails(); len(mails) != 4 || !strings.Contains(mails[0].GetText(), "you get EUR 13.00 back.\n\nIt goes") {
		t.Errorf("mails %v", mails)
	}
	w.pass(1)
	declined := &commercepb.RefundRequestDeclined{
		RequestId: id.New("request"), OrderId: order, CourseId: course, Title: "Logic", Kind: "gift", Quantity: 1, BuyerId: ana, Answer: "You have seen\nall of it: https://evil.example",
	}
	hear(w, w.service.refundRequestDeclined, declined, declined)
	if got := w.titles(ana); len(got) != 4 || got[3] != "refund_declined: You get no money back for Gift: Logic Your request was declined. The answer: “You have seen all of it: […]”" {
		t.Errorf("%q", got)
	}
	if mails := w.mails(); len(mails) != 5 || !strings.Contains(mails[0].GetText(), "order "+order) || strings.Contains(mails[0].GetText(), "evil") {
		t.Errorf("mails %v", mails)
	}
	e.BuyerId = id.New("account")
	if err := try(w, w.service.linesRefunded, e); err == nil {
		t.Error("an unknown buyer passed")
	}
}

// Teachers are told of disputes of what they sold, each line's own, and of payouts.
func TestTeachersAreToldOfDisputesAndPayouts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	zeno, ana, order := w.person("Zeno", "en"), w.person("Ana", "de"), id.New("order")
	lines := []*commercepb.DisputedLine{
		{LineId: id.New("line"), CourseId: id.New("course"), SellerId: zeno, Title: "Logic"},
		{LineId: id.New("line"), CourseId: id.New("course"), SellerId: ana, Title: "Physics"},
	}
	dispute, payout := id.New("dispute"), id.New("payout")
	opened := &commercepb.DisputeOpened{DisputeId: dispute, OrderId: order, Lines: lines}
	hear(w, w.service.disputeOpened, opened, opened)
	w.pass(1)
	lost := &commercepb.DisputeSettled{DisputeId: dispute, OrderId: order, Lines: lines}
	hear(w, w.service.disputeSettled, lost, lost)
	w.pass(1)
	hear(w, w.service.disputeSettled, &commercepb.DisputeSettled{DisputeId: id.New("dispute"), OrderId: order, Lines: lines[:1], Won: true})
	w.pass(1)
	paid := &commercepb.PayoutPaid{PayoutId: payout, TeacherId: zeno, Amount: eur(12345), PaidAt: timestamppb.New(may)}
	hear(w, w.service.payoutPaid, paid, paid)
	w.pass(1)
	for _, reversed := range []int64{1000, 3000, 3000} {
		hear(w, w.service.payoutReversed, &commercepb.PayoutReversed{PayoutId: payout, TeacherId: zeno, Amount: eur(1000), Reversed: eur(reversed)})
		w.pass(1)
	}
	failed := &commercepb.PayoutFailed{PayoutId: id.New("payout"), TeacherId: zeno, Amount: eur(5)}
	hear(w, w.service.payoutFailed, failed, failed)
	if diff := cmp.Diff([]string{
		"dispute_opened: A buyer's bank wants money back for Logic Your share of it is held until that is settled. You need do nothing.",
		"dispute_lost: A dispute over Logic was lost The buyer's bank keeps the money. Your share of it is taken back.",
		"dispute_won: A dispute over Logic was won The money stays, and so does your share.",
		"payout_paid: You were paid EUR 123.45 It is on its way to your bank. The statement has every line behind it.",
		"payout_reversed: EUR 10.00 of a payout was taken back It is yours, and is paid with another run.",
		"payout_reversed: EUR 10.00 of a payout was taken back It is yours, and is paid with another run.",
		"payout_failed: You could not be paid EUR 0.05 It stays yours, and is paid with the next run. See whether your payout account lacks something.",
	}, w.titles(zeno)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{
		"dispute_opened: Eine Bank will Geld für Physics zurück Dein Anteil bleibt einbehalten, bis das geklärt ist. Du brauchst nichts zu tun.",
		"dispute_lost: Der Streit um Physics ist verloren Die Bank behält das Geld. Dein Anteil daran geht zurück.",
	}, w.titles(ana)); diff != "" {
		t.Error(diff)
	}
	var subjects []string
	for _, m := range w.mails() {
		if strings.HasPrefix(m.GetTo(), "Zeno") && m.GetSubject() != "Welcome to Stoa" {
			subjects = append(subjects, m.GetSubject())
		}
	}
	if len(subjects) != 6 {
		t.Errorf("mails %q", subjects)
	}
}
