package commerce

import (
	"context"
	"slices"
	"time"

	"github.com/stripe/stripe-go/v85"

	"github.com/stoa-lms/stoa/internal/fault"
)

// A subscription is begun by a Checkout Session, which makes a customer of its own, so
// that what is the customer's at Stripe is the subscription's. Stripe makes an invoice for
// each period and charges it. The first one's payment is that of the session; of the
// others the invoice is what refunds and look-ups go by. What Stripe makes by itself
// carries none of our metadata but in the invoice, which has that of the subscription.

// stripePeriods is of how many invoices is told.
const stripePeriods = 12

// Subscribe implements [Provider]. The price is one line: courses may change from period
// to period, and what is due does not.
func (s *Stripe) Subscribe(ctx context.Context, key string, r SubscribeRequest) (ref, url string, err error) {
	amount, currency, err := stripeAmount(r.Amount, r.Currency)
	if err != nil {
		return "", "", err
	}
	meta := map[string]string{metaPayment: r.PaymentID, metaOrder: r.OrderID, metaSubscription: r.SubscriptionID}
	price := &stripe.CheckoutSessionCreateLineItemPriceDataParams{
		Currency: currency, UnitAmount: amount,
		ProductData: &stripe.CheckoutSessionCreateLineItemPriceDataProductDataParams{Name: new(stripeName(r.PlanTitle))},
		Recurring:   &stripe.CheckoutSessionCreateLineItemPriceDataRecurringParams{Interval: &r.Interval},
	}
	if s.cfg.Tax {
		price.TaxBehavior = new(string(stripe.PriceTaxBehaviorInclusive))
	}
	p := &stripe.CheckoutSessionCreateParams{
		Mode:              new(string(stripe.CheckoutSessionModeSubscription)),
		ClientReferenceID: &r.PaymentID,
		Metadata:          meta,
		SubscriptionData:  &stripe.CheckoutSessionCreateSubscriptionDataParams{Metadata: meta},
		AdaptivePricing:   &stripe.CheckoutSessionCreateAdaptivePricingParams{Enabled: new(false)},
		AutomaticTax:      &stripe.CheckoutSessionCreateAutomaticTaxParams{Enabled: &s.cfg.Tax},
		ExpiresAt:         new(r.ExpiresAt.Add(-stripeSkew).Unix()),
		SuccessURL:        &r.ReturnURL,
		CancelURL:         &r.ReturnURL,
		LineItems:         []*stripe.CheckoutSessionCreateLineItemParams{{Quantity: new(int64(1)), PriceData: price}},
	}
	session, err := stripeOnce(key, func(key *string) (*stripe.CheckoutSession, error) {
		p.IdempotencyKey = key
		return s.client.V1CheckoutSessions.Create(ctx, p)
	})
	if err != nil {
		return "", "", err
	}
	return session.ID, session.URL, nil
}

// Subscription implements [Provider]. It takes the same few requests however many periods
// there are.
func (s *Stripe) Subscription(ctx context.Context, ref string) (SubscriptionNews, error) {
	sub, err := s.client.V1Subscriptions.Retrieve(ctx, ref, nil)
	if err := stripeFault(err); err != nil {
		return SubscriptionNews{}, err
	}
	n := SubscriptionNews{SubscriptionID: sub.Metadata[metaSubscription], Ref: sub.ID, EndsAtPeriodEnd: sub.CancelAtPeriodEnd || sub.CancelAt != 0}
	if n.SubscriptionID == "" {
		return SubscriptionNews{}, errNotOurs
	}
	if sub.Items != nil && len(sub.Items.Data) > 0 {
		n.PeriodStart, n.PeriodEnd = stripeTime(sub.Items.Data[0].CurrentPeriodStart), stripeTime(sub.Items.Data[0].CurrentPeriodEnd)
	}
	invoices, err := s.subscriptionInvoices(ctx, ref)
	if err != nil {
		return SubscriptionNews{}, err
	}
	intents, err := s.intentsOf(ctx, sub.Customer)
	if err != nil {
		return SubscriptionNews{}, err
	}
	for _, in := range invoices {
		if !stripePeriod(in) {
			continue
		}
		p := PeriodNews{InvoiceRef: in.ID, First: in.BillingReason == stripe.InvoiceBillingReasonSubscriptionCreate}
		p.Start, p.End = invoicePeriod(in)
		if p.Payment, err = s.invoicePayment(ctx, in, intents); err != nil {
			return SubscriptionNews{}, err
		}
		if p.First {
			p.Payment.PaymentID = sub.Metadata[metaPayment]
			if p.Payment.Ref, err = s.sessionBy(ctx, &stripe.CheckoutSessionListParams{Subscription: &ref}); err != nil {
				return SubscriptionNews{}, err
			}
		}
		n.Periods = append(n.Periods, p)
		if in.Status == stripe.InvoiceStatusOpen && in.NextPaymentAttempt != 0 && n.NextAttempt == nil {
			n.NextAttempt = new(stripeTime(in.NextPaymentAttempt))
		}
	}
	slices.Reverse(n.Periods) // Stripe lists the newest first
	n.State = stripeSubscriptionState(sub, n.Periods)
	switch {
	case n.State != subscriptionEnded:
	case sub.EndedAt != 0:
		n.EndedAt = new(stripeTime(sub.EndedAt))
	default: // it never began
		n.EndedAt = new(stripeTime(max(sub.CanceledAt, sub.StartDate)))
	}
	if n.State != subscriptionPastDue {
		n.NextAttempt = nil
	}
	return n, nil
}

// stripeSubscriptionState says how a subscription stands of which these are the last
// periods. Stripe lets one begin while its first payment is on its way.
func stripeSubscriptionState(sub *stripe.Subscription, periods []PeriodNews) string {
	switch {
	case stripeEnded(sub):
		return subscriptionEnded
	case sub.Status == stripe.SubscriptionStatusIncomplete, len(periods) > 0 && periods[0].First && periods[0].Payment.State != paymentSucceeded:
		return subscriptionIncomplete
	case sub.Status == stripe.SubscriptionStatusActive, sub.Status == stripe.SubscriptionStatusTrialing:
		return subscriptionActive
	default: // of "unpaid" nothing is tried again, and it may still be paid
		return subscriptionPastDue
	}
}

func stripeEnded(sub *stripe.Subscription) bool {
	return sub.Status == stripe.SubscriptionStatusCanceled || sub.Status == stripe.SubscriptionStatusIncompleteExpired
}

// stripeUnpaid reports whether a period was tried in vain.
func stripeUnpaid(sub *stripe.Subscription) bool {
	return sub.Status == stripe.SubscriptionStatusPastDue || sub.Status == stripe.SubscriptionStatusUnpaid
}

func stripeTime(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }

// EndSubscription implements [Provider]. Who ends one while a period is not paid, though it
// was tried, pays no more: the one that is paid is over.
func (s *Stripe) EndSubscription(ctx context.Context, key, ref, how string) (SubscriptionNews, error) {
	sub, err := s.client.V1Subscriptions.Retrieve(ctx, ref, nil)
	if err := stripeFault(err); err != nil {
		return SubscriptionNews{}, err
	}
	if sub.Metadata[metaSubscription] == "" {
		return SubscriptionNews{}, errNotOurs
	}
	ends := sub.CancelAtPeriodEnd || sub.CancelAt != 0
	key += "/" + how // what is wanted may be another thing by the time it is tried again
	switch {
	case stripeEnded(sub) && how == endNever:
		return SubscriptionNews{}, fault.New(fault.Conflict, "payment.provider_refused", "stripe: %s has ended", ref)
	case stripeEnded(sub), how == endNow, how == endAtPeriodEnd && stripeUnpaid(sub):
		err = s.cancel(ctx, key, ref)
	case how == endAtPeriodEnd && !ends:
		err = s.change(ctx, key, ref, stripeEnds(true))
	case how == endNever && sub.CancelAtPeriodEnd:
		err = s.change(ctx, key, ref, stripeEnds(false))
	case how == endNever && ends: // by Stripe's own pages
		err = s.change(ctx, key, ref, stripeGoesOn())
	}
	if err != nil && !final(err) {
		return SubscriptionNews{}, err
	}
	// It may have ended since it was looked at.
	n, told := s.Subscription(ctx, ref)
	switch {
	case told != nil:
		return SubscriptionNews{}, told
	case err != nil && (n.State != subscriptionEnded || how == endNever):
		return SubscriptionNews{}, err
	default:
		return n, nil
	}
}

// stripeEnds has a subscription end with its period, or not.
func stripeEnds(yes bool) *stripe.SubscriptionUpdateParams {
	return &stripe.SubscriptionUpdateParams{CancelAtPeriodEnd: &yes}
}

// stripeGoesOn has one not end at the moment that Stripe's own pages have set.
func stripeGoesOn() *stripe.SubscriptionUpdateParams {
	return &stripe.SubscriptionUpdateParams{UnsetFields: []stripe.SubscriptionUpdateParamsUnsetField{stripe.SubscriptionUpdateParamsUnsetFieldCancelAt}}
}

// stripeSaves has what an invoice is paid with charged for the next ones too.
func stripeSaves() *stripe.SubscriptionUpdateParams {
	return &stripe.SubscriptionUpdateParams{
		PaymentSettings: &stripe.SubscriptionUpdatePaymentSettingsParams{SaveDefaultPaymentMethod: new("on_subscription")},
	}
}

func (s *Stripe) change(ctx context.Context, key, ref string, p *stripe.SubscriptionUpdateParams) error {
	_, err := stripeOnce(key, func(key *string) (*stripe.Subscription, error) {
		p.IdempotencyKey = key
		return s.client.V1Subscriptions.Update(ctx, ref, p)
	})
	return err
}

// cancel ends a subscription at once, also one that has ended, and has nobody pay what was
// not paid of it: Stripe does not charge that any more, but keeps pages where it can be paid.
func (s *Stripe) cancel(ctx context.Context, key, ref string) error {
	_, err := s.client.V1Subscriptions.Cancel(ctx, ref, nil)
	refused := stripeFault(err)
	if refused != nil && !final(refused) {
		return refused
	}
	p := &stripe.InvoiceListParams{Subscription: &ref, Status: new(string(stripe.InvoiceStatusOpen))}
	p.Limit = new(int64(stripePage))
	for in, err := range s.client.V1Invoices.List(ctx, p).All(ctx) {
		if err := stripeFault(err); err != nil {
			return err
		}
		_, err := stripeOnce(key+"/"+in.ID, func(key *string) (*stripe.Invoice, error) {
			p := &stripe.InvoiceVoidInvoiceParams{}
			p.IdempotencyKey = key
			return s.client.V1Invoices.VoidInvoice(ctx, in.ID, p)
		})
		// Refused is what is being paid in this moment.
		if err != nil && !final(err) {
			return err
		}
	}
	return refused
}

// BillingURL implements [Provider]. Where a period was tried in vain it is the page of its
// invoice, where the buyer pays it, with another card or by confirming, and what they pay
// with is kept; else it is where they say what to pay with from now on.
func (s *Stripe) BillingURL(ctx context.Context, ref, back string) (string, error) {
	get := &stripe.SubscriptionRetrieveParams{}
	get.AddExpand("latest_invoice")
	sub, err := s.client.V1Subscriptions.Retrieve(ctx, ref, get)
	if err := stripeFault(err); err != nil {
		return "", err
	}
	if stripeEnded(sub) || sub.Customer == nil {
		return "", fault.New(fault.Conflict, "payment.provider_refused", "stripe: %s has ended", ref)
	}
	if in := sub.LatestInvoice; stripeUnpaid(sub) && in != nil && in.Status == stripe.InvoiceStatusOpen && in.HostedInvoiceURL != "" {
		_, err := s.client.V1Subscriptions.Update(ctx, ref, stripeSaves())
		return in.HostedInvoiceURL, stripeFault(err)
	}
	return s.portal(ctx, sub.Customer.ID, back)
}

// portal is where a customer says what to pay with.
func (s *Stripe) portal(ctx context.Context, customer, back string) (string, error) {
	page, err := s.client.V1BillingPortalSessions.Create(ctx, &stripe.BillingPortalSessionCreateParams{
		Customer: &customer, ReturnURL: &back,
		FlowData: &stripe.BillingPortalSessionCreateFlowDataParams{
			Type: new("payment_method_update"),
			AfterCompletion: &stripe.BillingPortalSessionCreateFlowDataAfterCompletionParams{
				Type: new("redirect"), Redirect: &stripe.BillingPortalSessionCreateFlowDataAfterCompletionRedirectParams{ReturnURL: &back},
			},
		},
	})
	if err := stripeFault(err); err != nil {
		return "", err
	}
	return page.URL, nil
}
