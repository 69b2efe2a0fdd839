package commerce

import (
	"context"
	"fmt"

	"github.com/stripe/stripe-go/v85"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// Expire is what Run does each minute.
func (s *Service) Expire(ctx context.Context) (int, error) { return s.expire(ctx) }

// Deliver has the service handle an event.
func (s *Service) Deliver(ctx context.Context, event proto.Message) error {
	return s.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a copy")
		switch e := event.(type) {
		case *coursespb.CoursePublished:
			return s.coursePublished(ctx, tx, e)
		case *coursespb.CourseUnpublished:
			return s.courseUnpublished(ctx, tx, e)
		case *coursespb.RevenueSplitChanged:
			return s.revenueSplitChanged(ctx, tx, e)
		case *accesspb.EntitlementGranted:
			return s.entitlementGranted(ctx, tx, e)
		case *accesspb.SeatBlockCreated:
			return s.seatBlockCreated(ctx, tx, e)
		default:
			return fmt.Errorf("nobody hears %T", e)
		}
	})
}

// Of the ledger, for tests.
type (
	Entry   = entry
	Posting = posting
	Balance = balance
)

// CheckpointEvery is after how many entries checkpoints are made.
const CheckpointEvery = checkpointEvery

var (
	Book     = book
	Balances = balances
	Share    = share
)

// Checkpoint, Release and BookUnbooked are what Run does each minute.
func (s *Service) Checkpoint(ctx context.Context) (int, error)   { return s.checkpoint(ctx) }
func (s *Service) Release(ctx context.Context) (int, error)      { return s.release(ctx) }
func (s *Service) BookUnbooked(ctx context.Context) (int, error) { return s.bookUnbooked(ctx) }

// NoProvider takes the payment provider away, as where nothing can be bought.
func (s *Service) NoProvider() { s.provider, s.DevelopmentPayments = nil, false }

// Through has another provider in between.
func (s *Service) Through(wrap func(Provider) Provider) { s.provider = wrap(s.provider) }

// CarryOut is what Run does when there is something to ask the provider for.
func (s *Service) CarryOut(ctx context.Context) (int, error) { return s.carryOut(ctx) }

// HeardPayment has the service hear how a payment stands.
func (s *Service) HeardPayment(ctx context.Context, n PaymentNews) error {
	return s.DB.InTx(ctx, func(tx *pg.Tx) error { return s.heardPayment(ctx, tx, n) })
}

// HeardRefund, HeardDispute and HeardAccount are HeardPayment for those.
func (s *Service) HeardRefund(ctx context.Context, n RefundNews) error {
	return s.DB.InTx(ctx, func(tx *pg.Tx) error { return s.heardRefund(ctx, tx, n) })
}

func (s *Service) HeardDispute(ctx context.Context, n DisputeNews) error {
	return s.DB.InTx(ctx, func(tx *pg.Tx) error { return s.heardDispute(ctx, tx, n) })
}

func (s *Service) HeardAccount(ctx context.Context, n AccountNews) error {
	return s.DB.InTx(ctx, func(tx *pg.Tx) error { return s.heardAccount(ctx, tx, n) })
}

// HeardSubscription is HeardPayment for a subscription, and HearSubscription asks before.
func (s *Service) HeardSubscription(ctx context.Context, n SubscriptionNews) error {
	return s.DB.InTx(ctx, func(tx *pg.Tx) error { return s.heardSubscription(ctx, tx, n) })
}

func (s *Service) HearSubscription(ctx context.Context, ref string) error {
	return s.hearSubscription(ctx, ref)
}

// LookAtSubscriptions is what Run does each minute.
func (s *Service) LookAtSubscriptions(ctx context.Context) (int, error) {
	return s.lookAtSubscriptions(ctx)
}

// Renew is what the development provider does when a period ends; heard says whether it
// tells of it.
func (s *Service) Renew(ctx context.Context, heard bool) (int, error) {
	return development{s}.renew(ctx, heard)
}

// After is when a period ends.
var After = after

// MonthlyRuns and PayOut are what Run does each minute.
func (s *Service) MonthlyRuns(ctx context.Context) (int, error) { return s.monthlyRuns(ctx) }
func (s *Service) PayOut(ctx context.Context) (int, error)      { return s.payOut(ctx) }

// Provider is who takes payments.
func (s *Service) Provider() Provider { return s.provider }

// HearEvents, LookAtPayments and SweepEvents are what Run does with what the provider tells.
func (s *Service) HearEvents(ctx context.Context) (int, error)     { return s.hearEvents(ctx) }
func (s *Service) LookAtPayments(ctx context.Context) (int, error) { return s.lookAtPayments(ctx) }
func (s *Service) SweepEvents(ctx context.Context) (int, error)    { return s.sweepEvents(ctx) }

// MaxEventTries is how often an event is tried.
const MaxEventTries = maxEventTries

// IssueInvoices is what Run does when an order was paid.
func (s *Service) IssueInvoices(ctx context.Context) (int, error) { return s.issueInvoices(ctx) }

// Reconcile is what Run does each minute.
func (s *Service) Reconcile(ctx context.Context) (int, error) { return s.reconcile(ctx) }

// TellUntold is what Run does each minute.
func (s *Service) TellUntold(ctx context.Context) (int, error) { return s.tellUntold(ctx) }

// SweepQuotes is what Run does each minute.
func (s *Service) SweepQuotes(ctx context.Context) (int, error) { return s.sweepQuotes(ctx) }

// LetGoLines is what paying lines back does.
var LetGoLines = letGoLines

// IssueCreditNotes is what Run does when something was given back.
func (s *Service) IssueCreditNotes(ctx context.Context) (int, error) { return s.issueCreditNotes(ctx) }

// PaidUnheard has the development provider be paid without telling, and returns what it
// would have told.
func (s *Service) PaidUnheard(ctx context.Context, payment string) (n PaymentNews, err error) {
	d := development{s}
	err = s.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("the provider's own books")
		p, err := developmentPaymentOf(ctx, tx, payment, "FOR UPDATE")
		if err != nil {
			return err
		}
		if p.State == paymentSucceeded || p.State == paymentClosed {
			return ErrPaymentClosed
		}
		p.State = paymentSucceeded
		if _, err := tx.Exec(ctx, `UPDATE development_payment SET state = $2 WHERE id = $1`, p.ID, p.State); err != nil {
			return err
		}
		if err := d.begin(ctx, tx, &p, 0); err != nil {
			return err
		}
		n = p.news()
		return d.move(ctx, tx, Transaction{Kind: "payment", Ref: p.ID, Amount: p.Amount, Fee: p.fee(), Currency: p.Currency})
	})
	return n, err
}

// EverySubscriptionRequest makes the requests that follow only from what Stripe says of
// subscriptions of ours, and returns what it said to each.
func (s *Stripe) EverySubscriptionRequest(ctx context.Context) (said []error) {
	ref := "sub_1"
	ask := func(_ any, err error) { said = append(said, err) }
	ask(s.subscriptionInvoices(ctx, ref))
	ask(s.intentsOf(ctx, &stripe.Customer{ID: "cus_1"}))
	ask(s.sessionBy(ctx, &stripe.CheckoutSessionListParams{Subscription: &ref}))
	ask(s.intent(ctx, "pi_1"))
	ask(s.invoice(ctx, "in_1"))
	ask(s.invoiceOf(ctx, "pi_1"))
	ask(nil, s.cancel(ctx, "cancel:1", ref))
	for name, p := range map[string]*stripe.SubscriptionUpdateParams{"end": stripeEnds(true), "go on": stripeEnds(false), "unset": stripeGoesOn(), "save": stripeSaves()} {
		ask(nil, s.change(ctx, "change:"+name, ref, p))
	}
	ask(s.portal(ctx, "cus_1", "https://stoa.test/back"))
	return said
}

// StripeEvents are the types of events that matter.
func StripeEvents() (types []string) {
	for t := range stripeEvents {
		types = append(types, string(t))
	}
	return types
}
