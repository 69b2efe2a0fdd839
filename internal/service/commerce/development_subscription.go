package commerce

import "context"

// Subscribe implements [Provider].
func (d development) Subscribe(ctx context.Context, key string, r SubscribeRequest) (ref, url string, err error) {
	return d.Checkout(ctx, key, r.Checkout)
}

// Subscription implements [Provider].
func (d development) Subscription(context.Context, string) (SubscriptionNews, error) {
	return SubscriptionNews{}, errSubscriptionUnsupported
}

// EndSubscription implements [Provider].
func (d development) EndSubscription(context.Context, string, string, string) (SubscriptionNews, error) {
	return SubscriptionNews{}, errSubscriptionUnsupported
}

// BillingURL implements [Provider].
func (d development) BillingURL(context.Context, string, string) (string, error) {
	return "", errSubscriptionUnsupported
}
