package commerce_test

import (
	"os"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/commerce"
)

// mockStripe is the provider at Stripe's own mock server, which refuses requests that
// Stripe's description of its interface does not allow.
func mockStripe(t *testing.T) *commerce.Stripe {
	t.Helper()
	url := os.Getenv("STOA_TEST_STRIPE")
	if url == "" {
		t.Fatal("STOA_TEST_STRIPE is not set: run `make test`, or `go run ./cmd/testservers -only postgres,stripe -- go test ./internal/service/commerce/` for this package")
	}
	return commerce.NewStripe(commerce.StripeConfig{Key: "sk_test_123", URL: url, Tax: true, WebhookSecrets: []string{"whsec_x"}})
}

// Every request that the provider makes is one that Stripe takes. What the mock answers
// is made up, so that little is said of it here.
func TestStripeRequestsAreValid(t *testing.T) {
	t.Parallel()
	s := mockStripe(t)
	ours := func(name string, err error) {
		t.Helper()
		// What the mock makes up does not carry our ids.
		if err != nil && fault.CodeOf(err) != "payment_event.not_ours" {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx := t.Context()
	for currency, amount := range map[string]int64{"EUR": 4900, "JPY": 5000, "KWD": 12340} {
		ref, url, err := s.Checkout(ctx, "checkout:1"+currency, commerce.Checkout{
			PaymentID: "payment_1", OrderID: "order_1", Amount: 2 * amount, Currency: currency,
			Lines: []commerce.CheckoutLine{{LineID: "line_1", Title: "Latin for beginners", Amount: amount}, {LineID: "line_2", Title: "  ", Amount: amount}},
			// Stripe's mock knows no time.
			ExpiresAt: time.Now().Add(24 * time.Hour), ReturnURL: "https://stoa.test/orders/order_1",
		})
		if err != nil || ref == "" || url == "" {
			t.Fatalf("checkout: %q, %q, %v", ref, url, err)
		}
	}
	for interval, currency := range map[string]string{"month": "EUR", "year": "JPY"} {
		ref, url, err := s.Subscribe(ctx, "subscribe:1"+interval, commerce.SubscribeRequest{
			Checkout: commerce.Checkout{
				PaymentID: "payment_1", OrderID: "order_1", Amount: 1000, Currency: currency,
				ExpiresAt: time.Now().Add(24 * time.Hour), ReturnURL: "https://stoa.test/orders/order_1",
			},
			SubscriptionID: "subscription_1", PlanTitle: "All of Latin", Interval: interval,
		})
		if err != nil || ref == "" || url == "" {
			t.Fatalf("subscribe: %q, %q, %v", ref, url, err)
		}
	}
	_, err := s.Subscription(ctx, "sub_1")
	ours("subscription", err)
	// The mock makes up one that is of nobody; what is asked of it is asked all the same.
	for _, err := range s.EverySubscriptionRequest(ctx) {
		ours("subscription request", err)
	}
	for _, how := range []string{"period_end", "now", "resume"} {
		_, err = s.EndSubscription(ctx, "end:"+how, "sub_1", how)
		ours("end "+how, err)
	}
	if url, err := s.BillingURL(ctx, "sub_1", "https://stoa.test/subscriptions"); err != nil || url == "" {
		t.Errorf("billing: %q, %v", url, err)
	}
	_, err = s.Payment(ctx, "in_1")
	ours("payment of a period", err)
	_, err = s.CloseCheckout(ctx, "close:1", "cs_test_1")
	ours("close", err)
	_, err = s.Payment(ctx, "cs_test_1")
	ours("payment", err)
	_, err = s.RefundState(ctx, "re_1")
	ours("refund state", err)
	_, err = s.AccountState(ctx, "acct_1")
	ours("account state", err)
	_, err = s.CreateAccount(ctx, "account:1", "account_1")
	ours("create account", err)
	if link, err := s.OnboardingURL(ctx, "acct_1", "https://stoa.test/payouts"); err != nil || link == "" {
		t.Errorf("onboarding: %q, %v", link, err)
	}
	if ref, err := s.Transfer(ctx, "transfer:1", commerce.TransferRequest{PayoutID: "payout_1", AccountRef: "acct_1", Amount: 100, Currency: "EUR"}); err != nil || ref == "" {
		t.Errorf("transfer: %q, %v", ref, err)
	}
	ours("reverse", s.ReverseTransfer(ctx, "reverse:1", "tr_1", 50))
	if _, _, err := s.Transactions(ctx, ""); err != nil {
		t.Errorf("transactions: %v", err)
	}
	if _, _, err := s.Transactions(ctx, "txn_1"); err != nil {
		t.Errorf("transactions after one: %v", err)
	}
	if _, err := s.Account(ctx); err != nil {
		t.Errorf("account: %v", err)
	}
	if _, err := s.EventByID(ctx, "evt_1"); err != nil {
		t.Errorf("event: %v", err)
	}
	if _, err := s.Events(ctx, time.Now().Add(-time.Hour), "evt_1"); err != nil {
		t.Errorf("events: %v", err)
	}
	_, err = s.DisputeState(ctx, "dp_1")
	ours("dispute", err)
	for _, kind := range []string{"checkout.session.completed", "payment_intent.succeeded", "charge.updated", "refund.updated", "charge.dispute.created", "account.updated", "customer.subscription.updated", "invoice.paid"} {
		_, err := s.News(ctx, commerce.Event{ID: "evt_1", Type: kind, ObjectID: "x_1"})
		ours(kind, err)
	}
	refund := commerce.RefundRequest{RefundID: "refund_1", PaymentRef: "cs_test_1", Amount: 100, Currency: "USD", Reason: "requested_by_customer"}
	if r, err := s.Refund(ctx, "refund:1", refund); err != nil || r.Ref == "" {
		t.Errorf("refund: %v, %v", r, err)
	}
	// The mock does refuse what is not in the description.
	refund.Reason = "because"
	if r, err := s.Refund(ctx, "refund:2", refund); !fault.Is(err, fault.Invalid) {
		t.Errorf("a refund for no reason that there is: %v, %v", r, err)
	}
}
