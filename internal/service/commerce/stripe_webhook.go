package commerce

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v85"
	"github.com/stripe/stripe-go/v85/webhook"
)

// stripeTolerance is how old a signature may be, and how far ahead a clock.
const stripeTolerance = 5 * time.Minute

// ReadEvent implements [Teller]. The signature is of the bytes as they came, by any of
// the secrets. An endpoint of live mode is told what happens in test mode in accounts of
// teachers, too.
func (s *Stripe) ReadEvent(body []byte, signature string, now time.Time) (Event, error) {
	if !s.signed(body, signature) {
		return Event{}, ErrEventSignature
	}
	if age := now.Sub(signedAt(signature)); age > stripeTolerance || age < -stripeTolerance {
		return Event{}, ErrEventStale
	}
	var e stripe.Event
	if err := json.Unmarshal(body, &e); err != nil || e.Object != "event" || e.ID == "" || e.Type == "" {
		return Event{}, ErrEventInvalid
	}
	n := stripeEvent(&e)
	if n.OtherMode = e.Livemode != s.cfg.Live(); n.OtherMode {
		n.Problem = otherMode
	}
	return n, nil
}

// signed reports whether one of the secrets made the signature. All are tried, so that
// the time it takes tells nothing.
func (s *Stripe) signed(body []byte, signature string) bool {
	ok := false
	for _, secret := range s.cfg.WebhookSecrets {
		// Of the time it is looked after, by our own clock.
		if webhook.ValidatePayloadIgnoringTolerance(body, signature, secret) == nil {
			ok = true
		}
	}
	return ok
}

// signedAt returns when a signature was made: of several times the last, which is the
// one that is signed.
func signedAt(signature string) (at time.Time) {
	for part := range strings.SplitSeq(signature, ",") {
		if name, value, _ := strings.Cut(part, "="); name == "t" {
			seconds, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return time.Time{}
			}
			at = time.Unix(seconds, 0)
		}
	}
	return at
}

func stripeEvent(e *stripe.Event) Event {
	n := Event{ID: e.ID, Type: string(e.Type), Account: e.Account, HappenedAt: time.Unix(e.Created, 0).UTC()}
	if e.Data != nil {
		n.ObjectID, _ = e.Data.Object["id"].(string)
	}
	if e.APIVersion != stripe.APIVersion {
		n.Problem = fmt.Sprintf("it was made for version %q of the interface, and this program speaks %s: make the endpoint anew with that version", e.APIVersion, stripe.APIVersion)
	}
	return n
}

// stripeEvents are the types of events that matter, and what each is about.
var stripeEvents = map[stripe.EventType]string{
	stripe.EventTypeCheckoutSessionCompleted:             aboutPayment,
	stripe.EventTypeCheckoutSessionAsyncPaymentSucceeded: aboutPayment,
	stripe.EventTypeCheckoutSessionAsyncPaymentFailed:    aboutPayment,
	stripe.EventTypeCheckoutSessionExpired:               aboutPayment,
	stripe.EventTypePaymentIntentSucceeded:               aboutPayment,
	stripe.EventTypePaymentIntentProcessing:              aboutPayment,
	stripe.EventTypePaymentIntentPaymentFailed:           aboutPayment,
	stripe.EventTypeChargeSucceeded:                      aboutPayment,
	stripe.EventTypeChargeUpdated:                        aboutPayment, // its fee is known
	stripe.EventTypeRefundCreated:                        aboutRefund,
	stripe.EventTypeRefundUpdated:                        aboutRefund,
	stripe.EventTypeRefundFailed:                         aboutRefund,
	stripe.EventTypeChargeDisputeCreated:                 aboutDispute,
	stripe.EventTypeChargeDisputeUpdated:                 aboutDispute,
	stripe.EventTypeChargeDisputeClosed:                  aboutDispute,
	stripe.EventTypeChargeDisputeFundsWithdrawn:          aboutDispute,
	stripe.EventTypeChargeDisputeFundsReinstated:         aboutDispute,
	stripe.EventTypeAccountUpdated:                       aboutAccount,
	stripe.EventTypeCustomerSubscriptionCreated:          aboutSubscription,
	stripe.EventTypeCustomerSubscriptionUpdated:          aboutSubscription,
	stripe.EventTypeCustomerSubscriptionDeleted:          aboutSubscription,
	stripe.EventTypeInvoicePaid:                          aboutSubscription,
	stripe.EventTypeInvoicePaymentFailed:                 aboutSubscription,
	stripe.EventTypeInvoicePaymentActionRequired:         aboutSubscription,
	stripe.EventTypeInvoiceVoided:                        aboutSubscription,
}

// About implements [Teller].
func (*Stripe) About(eventType string) string { return stripeEvents[stripe.EventType(eventType)] }

// News implements [Teller].
func (s *Stripe) News(ctx context.Context, e Event) (News, error) {
	about := s.About(e.Type)
	if e.ObjectID == "" || about != aboutAccount && e.Account != "" {
		return News{}, nil // what happens within a teacher's account is theirs
	}
	switch about {
	case aboutRefund:
		n, err := s.RefundState(ctx, e.ObjectID)
		return News{Refund: &n}, err
	case aboutDispute:
		n, err := s.DisputeState(ctx, e.ObjectID)
		return News{Dispute: n}, err
	case aboutAccount:
		n, err := s.AccountState(ctx, e.ObjectID)
		return News{Account: &n}, err
	}
	kind, _, _ := strings.Cut(e.Type, ".")
	switch kind {
	case "checkout":
		n, err := s.Payment(ctx, e.ObjectID)
		return News{Payment: &n}, err
	case "customer": // its subscription
		n, err := s.Subscription(ctx, e.ObjectID)
		return News{Subscription: &n}, err
	case "invoice":
		in, err := s.invoice(ctx, e.ObjectID)
		if err != nil {
			return News{}, err
		}
		return s.invoiceNews(ctx, in)
	case "payment_intent":
		return s.intentNews(ctx, e.ObjectID)
	}
	charge, err := s.client.V1Charges.Retrieve(ctx, e.ObjectID, nil)
	if err := stripeFault(err); err != nil || charge.PaymentIntent == nil {
		return News{}, err
	}
	return s.intentNews(ctx, charge.PaymentIntent.ID)
}

// intentNews says how the payment stands that an intent is of, or the subscription of
// which it pays a period.
func (s *Stripe) intentNews(ctx context.Context, intent string) (News, error) {
	ref, err := s.sessionBy(ctx, &stripe.CheckoutSessionListParams{PaymentIntent: &intent})
	if err != nil {
		return News{}, err
	}
	if ref != "" {
		n, err := s.Payment(ctx, ref)
		return News{Payment: &n}, err
	}
	in, err := s.invoiceOf(ctx, intent)
	if err != nil {
		return News{}, err
	}
	return s.invoiceNews(ctx, in)
}

// EventByID implements [Teller].
func (s *Stripe) EventByID(ctx context.Context, id string) (Event, error) {
	e, err := s.client.V1Events.Retrieve(ctx, id, nil)
	if err := stripeFault(err); err != nil {
		return Event{}, err
	}
	return stripeEvent(e), nil
}

// Events implements [Teller]. Stripe has those of the last 30 days.
func (s *Stripe) Events(ctx context.Context, since time.Time, after string) ([]Event, error) {
	p := &stripe.EventListParams{CreatedRange: &stripe.RangeQueryParams{GreaterThanOrEqual: since.Unix()}}
	p.Limit = new(int64(stripePage))
	if after != "" {
		p.StartingAfter = &after
	}
	l := s.client.V1Events.List(ctx, p)
	if err := stripeFault(l.Err()); err != nil {
		return nil, err
	}
	list := make([]Event, 0, len(l.Data()))
	for _, e := range l.Data() {
		list = append(list, stripeEvent(e))
	}
	return list, nil
}
