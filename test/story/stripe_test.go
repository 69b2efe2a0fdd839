package story_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/commerce/stripetest"
)

// TestStripe: a course is bought at Stripe, whose events come in from outside. Only
// what it has signed is taken; what was lost is fetched by an operator.
func TestStripe(t *testing.T) {
	t.Parallel()
	stripe := stripetest.New(t, time.Now)
	in := oneProcessWith(t, "STOA_PAYMENTS=stripe", "STOA_STRIPE_KEY="+stripetest.Key, "STOA_STRIPE_WEBHOOK_SECRETS="+stripetest.Secret, "STOA_STRIPE_URL="+stripe.URL)
	teacher, student, nobody := in.signUp(t, "Stripe Teacher"), in.signUp(t, "Stripe Student"), in.nobody()
	course, lessons := draft(t, teacher, "Course for money")
	publish(t, teacher, course, 4900)
	order := student.manages(t, "the order", 201, "POST", "/v1/orders", map[string]any{"course_ids": []string{course}})
	page, session, ok := strings.Cut(order.text("pay_url"), "/pay/")
	if !ok || page != stripe.URL {
		t.Fatalf("no page at Stripe: %v", order)
	}
	nobody.do(t, 404, "GET", "/pay/"+id.New("payment"), nil) // the development provider's page is away

	send := func(want int, d stripetest.Delivery, signature string) answer {
		t.Helper()
		return nobody.do(t, want, "POST", "/v1/webhooks/stripe", string(d.Body), "Stripe-Signature", signature)
	}
	stripe.Pay(session, stripetest.Succeed)
	events := stripe.Take()
	for name, a := range map[string]answer{
		"unsigned": nobody.do(t, 400, "POST", "/v1/webhooks/stripe", string(events[0].Body)),
		"forged":   send(400, events[0], events[0].Signed("whsec_guessed", time.Now())),
	} {
		if a.text("code") != "payment_event.signature" {
			t.Errorf("%s: %v", name, a)
		}
	}
	if a := send(400, events[0], events[0].Signed(stripetest.Secret, time.Now().Add(-time.Hour))); a.text("code") != "payment_event.stale" {
		t.Errorf("an old one: %v", a)
	}
	large := stripetest.Delivery{Body: bytes.Repeat([]byte(" "), 1<<20+1)}
	send(413, large, large.Signed(stripetest.Secret, time.Now()))
	send(400, stripetest.Delivery{}, "t=1,v1=00")
	if a := student.do(t, 200, "GET", "/v1/orders/"+order.text("id"), nil); a.text("state") != "awaiting_payment" {
		t.Fatalf("order %v", a)
	}

	begin := time.Now()
	for range 2 {
		for _, d := range events {
			send(200, d, d.Signed(stripetest.Secret, time.Now()))
		}
	}
	student.sees(t, soon, "the order is fulfilled", "/v1/orders/"+order.text("id"), func(a answer) bool { return a.text("state") == "fulfilled" })
	t.Logf("from webhook to access: %v", time.Since(begin).Round(time.Millisecond))
	student.do(t, 200, "GET", "/v1/courses/"+course+"/lessons/"+lessons[0], nil)

	// All that Stripe says of the next order is lost.
	other := in.signUp(t, "Stripe Student the Second")
	order = other.do(t, 201, "POST", "/v1/orders", map[string]any{"course_ids": []string{course}})
	_, session, _ = strings.Cut(order.text("pay_url"), "/pay/")
	stripe.Pay(session, stripetest.Succeed)
	lost := len(stripe.Take())
	if out := in.command(t, true, "admin", "payments", "replay", "--event", events[0].ID); !strings.Contains(out, "1 events will be taken in again within a minute, and 0 that") {
		t.Errorf("replay of one: %s", out)
	}
	out := in.command(t, true, "admin", "payments", "replay", "--since", time.Now().UTC().Add(-time.Hour).Format(time.RFC3339))
	if !strings.Contains(out, "and 3 that had not come") || lost != 3 {
		t.Errorf("replay of an hour, of which %d were lost: %s", lost, out)
	}
	in.command(t, false, "admin", "payments", "replay")
	in.command(t, false, "admin", "payments", "replay", "--event", "evt_nobody")
	stripe.Tell("customer.created", "cus_1") // which has the process look at once
	for _, d := range stripe.Take() {
		send(200, d, d.Signed(stripetest.Secret, time.Now()))
	}
	other.sees(t, soon, "the order is fulfilled", "/v1/orders/"+order.text("id"), func(a answer) bool { return a.text("state") == "fulfilled" })
	if out := in.command(t, true, "admin", "ledger", "verify"); !strings.Contains(out, "sum to zero") {
		t.Errorf("ledger: %s", out)
	}
	if out := in.command(t, true, "doctor"); !strings.Contains(out, "acct_platform") || strings.Contains(out, stripetest.Key) || strings.Contains(out, stripetest.Secret) {
		t.Errorf("doctor: %s", out)
	}
}
