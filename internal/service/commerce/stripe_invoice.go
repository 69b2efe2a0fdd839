package commerce

import (
	"context"
	"time"

	"github.com/stripe/stripe-go/v85"
)

// An invoice of Stripe is what a period of a subscription is paid by: through payments of
// its own, of which each names a payment intent.

// stripePeriod reports whether an invoice is of a period of a subscription of ours, and
// may be or was paid.
func stripePeriod(in *stripe.Invoice) bool {
	return invoiceMeta(in)[metaSubscription] != "" && in.Status != stripe.InvoiceStatusVoid &&
		(in.BillingReason == stripe.InvoiceBillingReasonSubscriptionCreate || in.BillingReason == stripe.InvoiceBillingReasonSubscriptionCycle)
}

// invoiceMeta is the metadata of the subscription that an invoice is of.
func invoiceMeta(in *stripe.Invoice) map[string]string {
	if in == nil || in.Parent == nil || in.Parent.SubscriptionDetails == nil {
		return nil
	}
	return in.Parent.SubscriptionDetails.Metadata
}

// subscriptionIn is the subscription that an invoice is of, empty for none of ours.
func subscriptionIn(in *stripe.Invoice) string {
	if invoiceMeta(in)[metaSubscription] == "" || in.Parent.SubscriptionDetails.Subscription == nil {
		return ""
	}
	return in.Parent.SubscriptionDetails.Subscription.ID
}

// invoicePeriod is what an invoice is for: that of its line, as its own is the one before.
func invoicePeriod(in *stripe.Invoice) (start, end time.Time) {
	if in.Lines == nil {
		return start, end
	}
	for _, l := range in.Lines.Data {
		if l.Period != nil && l.Parent != nil && l.Parent.SubscriptionItemDetails != nil && !l.Parent.SubscriptionItemDetails.Proration {
			return stripeTime(l.Period.Start), stripeTime(l.Period.End)
		}
	}
	return start, end
}

// subscriptionInvoices returns the last invoices of a subscription with their payments,
// the newest first.
func (s *Stripe) subscriptionInvoices(ctx context.Context, ref string) ([]*stripe.Invoice, error) {
	p := &stripe.InvoiceListParams{Subscription: &ref}
	p.Limit = new(int64(stripePeriods))
	p.AddExpand("data.payments")
	l := s.client.V1Invoices.List(ctx, p)
	return l.Data(), stripeFault(l.Err())
}

// intentsOf returns the payment intents of a customer, with what is known of their fees.
func (s *Stripe) intentsOf(ctx context.Context, customer *stripe.Customer) (map[string]*stripe.PaymentIntent, error) {
	intents := map[string]*stripe.PaymentIntent{}
	if customer == nil {
		return intents, nil
	}
	p := &stripe.PaymentIntentListParams{Customer: &customer.ID}
	p.Limit = new(int64(stripePage))
	p.AddExpand("data.latest_charge.balance_transaction")
	l := s.client.V1PaymentIntents.List(ctx, p)
	for _, i := range l.Data() {
		intents[i.ID] = i
	}
	return intents, stripeFault(l.Err())
}

// invoicePayment says how an invoice, told with its payments, is paid, by the intents that
// are known or are looked up.
func (s *Stripe) invoicePayment(ctx context.Context, in *stripe.Invoice, intents map[string]*stripe.PaymentIntent) (PaymentNews, error) {
	n := PaymentNews{Ref: in.ID, SubscriptionRef: subscriptionIn(in), State: paymentOpen, Currency: stripeCurrency(in.Currency)}
	n.PeriodStart, n.PeriodEnd = invoicePeriod(in)
	if in.Attempted || in.AttemptCount > 0 {
		n.State = paymentDeclined
	}
	if in.Status != stripe.InvoiceStatusDraft && in.Status != stripe.InvoiceStatusOpen {
		// Of one that was marked as paid with no money in it nothing came in either.
		n.State = paymentClosed
	}
	fee, known := int64(0), true
	for _, id := range invoiceIntents(in) {
		intent := intents[id]
		if intent == nil {
			var err error
			if intent, err = s.intent(ctx, id); err != nil {
				return n, err
			}
		}
		switch {
		case intent.Status == stripe.PaymentIntentStatusProcessing && n.State != paymentSucceeded:
			n.State = paymentProcessing
		case intent.Status == stripe.PaymentIntentStatusSucceeded && in.Status == stripe.InvoiceStatusPaid:
			n.State, n.Received = paymentSucceeded, n.Received+intent.AmountReceived
			if intent.LatestCharge != nil {
				n.Returned += intent.LatestCharge.AmountRefunded
			}
			if f := stripeFee(intent); f != nil {
				fee += *f
			} else {
				known = false
			}
		default: // the invoice says it
		}
	}
	if n.State != paymentSucceeded {
		return n, nil
	}
	if known {
		n.Fee = &fee
	}
	if s.cfg.Tax {
		n.Tax = map[string]int64{"": 0}
		for _, t := range in.TotalTaxes {
			n.Tax[""] += t.Amount
		}
	}
	return n, nil
}

// invoiceIntents are the payment intents of an invoice that is told with its payments.
func invoiceIntents(in *stripe.Invoice) (ids []string) {
	if in.Payments == nil {
		return nil
	}
	for _, p := range in.Payments.Data {
		if p.Payment != nil && p.Payment.PaymentIntent != nil {
			ids = append(ids, p.Payment.PaymentIntent.ID)
		}
	}
	return ids
}

// intent looks up a payment intent and its fee.
func (s *Stripe) intent(ctx context.Context, id string) (*stripe.PaymentIntent, error) {
	p := &stripe.PaymentIntentRetrieveParams{}
	p.AddExpand("latest_charge.balance_transaction")
	intent, err := s.client.V1PaymentIntents.Retrieve(ctx, id, p)
	return intent, stripeFault(err)
}

// invoice looks up an invoice with its payments.
func (s *Stripe) invoice(ctx context.Context, ref string) (*stripe.Invoice, error) {
	p := &stripe.InvoiceRetrieveParams{}
	p.AddExpand("payments")
	in, err := s.client.V1Invoices.Retrieve(ctx, ref, p)
	return in, stripeFault(err)
}

// periodPayment is Payment for a period but the first, by its invoice.
func (s *Stripe) periodPayment(ctx context.Context, ref string) (PaymentNews, error) {
	in, err := s.invoice(ctx, ref)
	if err != nil {
		return PaymentNews{}, err
	}
	if subscriptionIn(in) == "" {
		return PaymentNews{}, errNotOurs
	}
	return s.invoicePayment(ctx, in, nil)
}

// sessionPayment is Payment for the first period, by the session.
func (s *Stripe) sessionPayment(ctx context.Context, session *stripe.CheckoutSession) (PaymentNews, error) {
	n := PaymentNews{}
	if session.Invoice != nil {
		in, err := s.invoice(ctx, session.Invoice.ID)
		if err != nil {
			return PaymentNews{}, err
		}
		if n, err = s.invoicePayment(ctx, in, nil); err != nil {
			return PaymentNews{}, err
		}
	} else if n.State = paymentOpen; session.Status != stripe.CheckoutSessionStatusOpen {
		n.State = paymentClosed
	}
	n.PaymentID, n.Ref = session.Metadata[metaPayment], session.ID
	if n.Currency == "" {
		n.Currency = stripeCurrency(session.Currency)
	}
	if session.Subscription != nil {
		n.SubscriptionRef = session.Subscription.ID
	}
	return n, nil
}

// invoiceOf returns the invoice that a payment intent pays, nil for none.
func (s *Stripe) invoiceOf(ctx context.Context, intent string) (*stripe.Invoice, error) {
	p := &stripe.InvoicePaymentListParams{Payment: &stripe.InvoicePaymentListPaymentParams{
		Type: new(string(stripe.InvoicePaymentPaymentTypePaymentIntent)), PaymentIntent: &intent,
	}}
	p.Limit = new(int64(1))
	p.AddExpand("data.invoice")
	l := s.client.V1InvoicePayments.List(ctx, p)
	if err := stripeFault(l.Err()); err != nil || len(l.Data()) == 0 {
		return nil, err
	}
	return l.Data()[0].Invoice, nil
}

// paidBy says which payment of ours an intent is of, or by which reference it is found
// where it is of a period but the first; neither for none of ours.
func (s *Stripe) paidBy(ctx context.Context, intent string, meta map[string]string) (payment, ref string, err error) {
	if payment = meta[metaPayment]; payment != "" || intent == "" {
		return payment, "", nil
	}
	in, err := s.invoiceOf(ctx, intent)
	switch {
	case err != nil || subscriptionIn(in) == "":
		return "", "", err
	case in.BillingReason == stripe.InvoiceBillingReasonSubscriptionCreate:
		return invoiceMeta(in)[metaPayment], "", nil
	default:
		return "", in.ID, nil
	}
}

// invoiceNews says how the subscription stands that an invoice is of.
func (s *Stripe) invoiceNews(ctx context.Context, in *stripe.Invoice) (News, error) {
	ref := subscriptionIn(in)
	if ref == "" {
		return News{}, nil
	}
	n, err := s.Subscription(ctx, ref)
	return News{Subscription: &n}, err
}
