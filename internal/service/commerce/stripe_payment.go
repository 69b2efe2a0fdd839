package commerce

import (
	"context"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v85"

	"github.com/stoa-lms/stoa/internal/fault"
)

// stripeSkew is how much sooner a page closes than the order: Stripe takes times within
// a day, by its own clock.
const stripeSkew = time.Minute

// maxStripeName bounds what the page says of a line.
const maxStripeName = 250

// Checkout implements [Provider]. Asked again it says the same, to the second: Stripe
// refuses a key that comes with another request.
func (s *Stripe) Checkout(ctx context.Context, key string, c Checkout) (ref, url string, err error) {
	if _, _, err := stripeAmount(c.Amount, c.Currency); err != nil {
		return "", "", err
	}
	meta := map[string]string{metaPayment: c.PaymentID, metaOrder: c.OrderID}
	p := &stripe.CheckoutSessionCreateParams{
		Mode:              new(string(stripe.CheckoutSessionModePayment)),
		ClientReferenceID: &c.PaymentID,
		Metadata:          meta,
		PaymentIntentData: &stripe.CheckoutSessionCreatePaymentIntentDataParams{Metadata: meta, TransferGroup: &c.OrderID},
		// Stripe keeps no more of a buyer than paying takes.
		CustomerCreation: new(string(stripe.CheckoutSessionCustomerCreationIfRequired)),
		// What is paid is what was asked, in its currency.
		AdaptivePricing: &stripe.CheckoutSessionCreateAdaptivePricingParams{Enabled: new(false)},
		AutomaticTax:    &stripe.CheckoutSessionCreateAutomaticTaxParams{Enabled: &s.cfg.Tax},
		// A page is open for 30 minutes to a day, which orders keep to: what is
		// later than that is refused, and the order expires by itself.
		ExpiresAt:  new(c.ExpiresAt.Add(-stripeSkew).Unix()),
		SuccessURL: &c.ReturnURL,
		CancelURL:  &c.ReturnURL,
	}
	for _, l := range c.Lines {
		if l.Amount == 0 {
			continue // nothing of it is paid
		}
		amount, currency, err := stripeAmount(l.Amount, c.Currency)
		if err != nil {
			return "", "", err
		}
		price := &stripe.CheckoutSessionCreateLineItemPriceDataParams{
			Currency: currency, UnitAmount: amount,
			ProductData: &stripe.CheckoutSessionCreateLineItemPriceDataProductDataParams{Name: new(stripeName(l.Title))},
		}
		if s.cfg.Tax {
			price.TaxBehavior = new(string(stripe.PriceTaxBehaviorInclusive))
		}
		p.LineItems = append(p.LineItems, &stripe.CheckoutSessionCreateLineItemParams{
			Quantity: new(int64(1)), PriceData: price, Metadata: map[string]string{metaLine: l.LineID},
		})
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

// stripeName shortens a title to what a line may be called.
func stripeName(title string) string {
	title = strings.TrimSpace(title)
	if runes := []rune(title); len(runes) > maxStripeName {
		title = string(runes[:maxStripeName-1]) + "…"
	}
	if title == "" {
		return "–"
	}
	return title
}

// CloseCheckout implements [Provider].
func (s *Stripe) CloseCheckout(ctx context.Context, key, ref string) (PaymentNews, error) {
	_, err := stripeOnce(key, func(key *string) (*stripe.CheckoutSession, error) {
		p := &stripe.CheckoutSessionExpireParams{}
		p.IdempotencyKey = key
		return s.client.V1CheckoutSessions.Expire(ctx, ref, p)
	})
	if err != nil && !fault.Is(err, fault.Invalid) {
		return PaymentNews{}, err
	}
	// Refused is what is over already, one way or the other.
	n, err := s.Payment(ctx, ref)
	if err != nil || n.SubscriptionRef == "" || n.State == paymentSucceeded {
		return n, err
	}
	// The buyer has been at the page, and Stripe would go on to charge them.
	if err := s.cancel(ctx, key, n.SubscriptionRef); err != nil && !final(err) {
		return PaymentNews{}, err
	}
	return s.Payment(ctx, ref)
}

// Payment implements [Provider].
func (s *Stripe) Payment(ctx context.Context, ref string) (PaymentNews, error) {
	if isInvoice(ref) {
		return s.periodPayment(ctx, ref)
	}
	session, err := s.client.V1CheckoutSessions.Retrieve(ctx, ref, &stripe.CheckoutSessionRetrieveParams{
		Expand: []*string{new("payment_intent.latest_charge.balance_transaction")},
	})
	if err := stripeFault(err); err != nil {
		return PaymentNews{}, err
	}
	switch {
	case session.Metadata[metaPayment] == "":
		return PaymentNews{}, errNotOurs
	case session.Mode == stripe.CheckoutSessionModeSubscription:
		return s.sessionPayment(ctx, session)
	}
	n := stripePayment(session)
	if n.State == paymentSucceeded && s.cfg.Tax {
		n.Tax, err = s.tax(ctx, ref)
	}
	return n, err
}

// stripePayment says how a session stands.
func stripePayment(session *stripe.CheckoutSession) PaymentNews {
	n := PaymentNews{PaymentID: session.Metadata[metaPayment], Ref: session.ID, Currency: stripeCurrency(session.Currency)}
	intent := session.PaymentIntent
	switch {
	case intent != nil && intent.Status == stripe.PaymentIntentStatusSucceeded:
		n.State, n.Received, n.Currency = paymentSucceeded, intent.AmountReceived, stripeCurrency(intent.Currency)
		n.Fee = stripeFee(intent)
		if intent.LatestCharge != nil {
			n.Returned = intent.LatestCharge.AmountRefunded
		}
	case intent != nil && intent.Status == stripe.PaymentIntentStatusProcessing:
		n.State = paymentProcessing
	case session.Status == stripe.CheckoutSessionStatusOpen:
		n.State = paymentOpen
		if intent != nil && intent.LastPaymentError != nil {
			n.State = paymentDeclined
		}
	default:
		// It expired, or the bank did not pay in the end: nobody gets to the page
		// any more.
		n.State = paymentClosed
	}
	return n
}

// stripeFee is what Stripe keeps of a payment, nil while that is not known. Where it is
// changed into another currency its fee is not in that of the payment, and is not known here.
func stripeFee(intent *stripe.PaymentIntent) *int64 {
	if c := intent.LatestCharge; c != nil && c.BalanceTransaction != nil && c.BalanceTransaction.Currency == intent.Currency {
		return &c.BalanceTransaction.Fee
	}
	return nil
}

// tax returns what is tax of each line of a session.
func (s *Stripe) tax(ctx context.Context, ref string) (map[string]int64, error) {
	tax := map[string]int64{}
	p := &stripe.CheckoutSessionListLineItemsParams{Session: &ref}
	p.Limit = new(int64(100)) // a session has no more
	items := s.client.V1CheckoutSessions.ListLineItems(ctx, p)
	for _, i := range items.Data() {
		tax[i.Metadata[metaLine]] += i.AmountTax
	}
	return tax, stripeFault(items.Err())
}

// sessionBy returns the session that a list has first, empty for none.
func (s *Stripe) sessionBy(ctx context.Context, p *stripe.CheckoutSessionListParams) (string, error) {
	p.Limit = new(int64(1))
	sessions := s.client.V1CheckoutSessions.List(ctx, p)
	if err := stripeFault(sessions.Err()); err != nil || len(sessions.Data()) == 0 {
		return "", err
	}
	return sessions.Data()[0].ID, nil
}

// isInvoice reports whether a payment is that of an invoice, and not of a session.
func isInvoice(ref string) bool { return strings.HasPrefix(ref, "in_") }

// paidIn returns the payment intent by which something was paid, and its currency.
func (s *Stripe) paidIn(ctx context.Context, ref string) (intent, currency string, err error) {
	if !isInvoice(ref) {
		session, err := s.client.V1CheckoutSessions.Retrieve(ctx, ref, nil)
		if err := stripeFault(err); err != nil {
			return "", "", err
		}
		switch {
		case session.PaymentIntent != nil:
			return session.PaymentIntent.ID, stripeCurrency(session.Currency), nil
		case session.Invoice == nil:
			return "", "", fault.New(fault.Invalid, "payment.provider_refused", "stripe: nothing was paid in %s", ref)
		}
		ref = session.Invoice.ID
	}
	in, err := s.invoice(ctx, ref)
	if err != nil {
		return "", "", err
	}
	intents := invoiceIntents(in)
	if in.Status != stripe.InvoiceStatusPaid || len(intents) == 0 {
		return "", "", fault.New(fault.Invalid, "payment.provider_refused", "stripe: nothing was paid in %s", ref)
	}
	return intents[0], stripeCurrency(in.Currency), nil
}

// Refund implements [Provider]. Stripe forgets keys after a day, so that it is looked
// first whether the refund is there.
func (s *Stripe) Refund(ctx context.Context, key string, r RefundRequest) (RefundNews, error) {
	amount, _, err := stripeAmount(r.Amount, r.Currency)
	if err != nil {
		return RefundNews{}, err
	}
	intent, currency, err := s.paidIn(ctx, r.PaymentRef)
	if err != nil {
		return RefundNews{}, err
	}
	if currency != "" && currency != r.Currency {
		return RefundNews{}, fault.New(fault.Invalid, "payment.provider_refused", "stripe: %s was paid in %s", r.PaymentRef, currency)
	}
	list := &stripe.RefundListParams{PaymentIntent: &intent}
	list.Limit = new(int64(100))
	for known, err := range s.client.V1Refunds.List(ctx, list).All(ctx) {
		if err := stripeFault(err); err != nil {
			return RefundNews{}, err
		}
		if known.Metadata[metaRefund] == r.RefundID {
			return s.RefundState(ctx, known.ID)
		}
	}
	refund, err := stripeOnce(key, func(key *string) (*stripe.Refund, error) {
		p := &stripe.RefundCreateParams{
			PaymentIntent: &intent, Amount: amount, Reason: &r.Reason,
			Metadata: map[string]string{metaRefund: r.RefundID}, Expand: []*string{new("payment_intent")},
		}
		p.IdempotencyKey = key
		return s.client.V1Refunds.Create(ctx, p)
	})
	if err != nil {
		return RefundNews{}, err
	}
	return s.refundNews(ctx, refund)
}

// RefundState implements [Provider].
func (s *Stripe) RefundState(ctx context.Context, ref string) (RefundNews, error) {
	refund, err := s.client.V1Refunds.Retrieve(ctx, ref, &stripe.RefundRetrieveParams{Expand: []*string{new("payment_intent")}})
	if err := stripeFault(err); err != nil {
		return RefundNews{}, err
	}
	n, err := s.refundNews(ctx, refund)
	if err == nil && n.PaymentID == "" && n.PaymentRef == "" {
		return RefundNews{}, errNotOurs
	}
	return n, err
}

// refundNews says how a refund stands, and of which payment it is.
func (s *Stripe) refundNews(ctx context.Context, r *stripe.Refund) (RefundNews, error) {
	n := stripeRefund(r)
	if r.PaymentIntent == nil {
		return n, nil
	}
	var err error
	n.PaymentID, n.PaymentRef, err = s.paidBy(ctx, r.PaymentIntent.ID, r.PaymentIntent.Metadata)
	return n, err
}

func stripeRefund(r *stripe.Refund) RefundNews {
	n := RefundNews{RefundID: r.Metadata[metaRefund], Ref: r.ID, Amount: r.Amount, Currency: stripeCurrency(r.Currency)}
	switch r.Status {
	case stripe.RefundStatusSucceeded:
		n.State = "succeeded"
	case stripe.RefundStatusFailed, stripe.RefundStatusCanceled:
		n.State, n.FailReason = "failed", string(r.FailureReason)
		if n.FailReason == "" {
			n.FailReason = string(r.Status)
		}
	default:
		n.State = "pending"
	}
	return n
}

// DisputeState implements [Provider]: nothing of an inquiry, in which no money is taken back.
func (s *Stripe) DisputeState(ctx context.Context, ref string) (*DisputeNews, error) {
	d, err := s.client.V1Disputes.Retrieve(ctx, ref, &stripe.DisputeRetrieveParams{Expand: []*string{new("payment_intent")}})
	if err := stripeFault(err); err != nil {
		return nil, err
	}
	if d.PaymentIntent == nil {
		return nil, errNotOurs
	}
	payment, paymentRef, err := s.paidBy(ctx, d.PaymentIntent.ID, d.PaymentIntent.Metadata)
	if err != nil {
		return nil, err
	}
	if payment == "" && paymentRef == "" {
		return nil, errNotOurs
	}
	n := &DisputeNews{
		Ref: d.ID, PaymentID: payment, PaymentRef: paymentRef, Amount: d.Amount, Currency: stripeCurrency(d.Currency), Reason: string(d.Reason),
	}
	switch d.Status {
	case stripe.DisputeStatusNeedsResponse, stripe.DisputeStatusUnderReview:
		n.State = "open"
	case stripe.DisputeStatusWon:
		n.State = "won"
	case stripe.DisputeStatusLost:
		n.State = "lost"
	default:
		return nil, nil //nolint:nilnil // an inquiry is no news
	}
	for _, t := range d.BalanceTransactions {
		if t.Amount < 0 {
			n.Fee += t.Fee
		} else {
			n.FeeBack -= t.Fee
		}
	}
	if e := d.EvidenceDetails; e != nil && e.DueBy != 0 {
		n.DueBy = new(time.Unix(e.DueBy, 0).UTC())
	}
	return n, nil
}
