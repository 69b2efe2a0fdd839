package commerce

import (
	"context"

	"github.com/stoa-lms/stoa/internal/fault"
)

// errSubscriptionUnsupported is told for subscriptions at Stripe.
var errSubscriptionUnsupported = fault.New(fault.Conflict, "subscription.unsupported", "The payment provider takes no subscriptions.")

// Subscribe implements [Provider].
func (*Stripe) Subscribe(context.Context, string, SubscribeRequest) (ref, url string, err error) {
	return "", "", errSubscriptionUnsupported
}

// Subscription implements [Provider].
func (*Stripe) Subscription(context.Context, string) (SubscriptionNews, error) {
	return SubscriptionNews{}, errSubscriptionUnsupported
}

// EndSubscription implements [Provider].
func (*Stripe) EndSubscription(context.Context, string, string, string) (SubscriptionNews, error) {
	return SubscriptionNews{}, errSubscriptionUnsupported
}

// BillingURL implements [Provider].
func (*Stripe) BillingURL(context.Context, string, string) (string, error) {
	return "", errSubscriptionUnsupported
}
