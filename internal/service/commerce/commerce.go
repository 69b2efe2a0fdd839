// Package commerce sells courses.
//
// It owns prices, reductions, bundles, plans, subscriptions, coupons, carts, quotes, gifts,
// orders and what is known of their payment, what the payment provider told, refunds and
// disputes, invoices, rules of what the platform keeps, the ledger, and payouts to
// teachers. It answers what courses and carts cost, takes orders, which hold places and
// uses of coupons, and leads them from awaiting payment through paid to fulfilled, or to
// cancelled or expired; it makes an order of each period of a subscription, gives gifts to
// who has their codes, gives back what was paid, books what is paid and given back, answers
// what teachers have earned, and pays them. It sends PriceSet, OrderPaid, OrderFulfilled,
// GiftRedeemed, LinesRefunded, PaymentReturned, RefundRequestDeclined, DisputeOpened,
// DisputeSettled, PayoutPaid, PayoutFailed, PayoutReversed, SubscriptionRenewalFailed and
// SubscriptionEnded. It hears courses.CoursePublished and CourseUnpublished (what may be
// sold), RevenueSplitChanged (how teachers share) and access.EntitlementGranted and
// SeatBlockCreated (what was fulfilled).
// It calls access, to refuse selling what somebody has, and to compare what was paid with
// who has access.
package commerce

import (
	"context"
	"embed"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pdf"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

//go:embed migrations/*.sql
var files embed.FS

// Schema is what commerce keeps in the database.
var Schema = pg.Schema{Name: "commerce", Migrations: pg.Sub(files)}

// Config is what commerce needs.
type Config struct {
	DB     *pg.DB
	Log    *slog.Logger
	Access accesspb.AccessServiceClient
	// Entitlements and Seats are what access gives.
	Entitlements accesspb.EntitlementServiceClient
	Seats        accesspb.SeatServiceClient
	// PublicURL is where browsers reach the platform, without a slash at the end.
	PublicURL string
	// Vault has the keys with which personal data is sealed.
	Vault *secret.Vault
	// Attempts counts wrong codes.
	Attempts cache.Attempts
	// Fonts are those of invoices.
	Fonts *pdf.Fonts
	// Seller is who issues invoices.
	Seller Seller
	// DevelopmentPayments lets the pay page settle payments; no money moves.
	DevelopmentPayments bool
	// PayoutDay is on which day of the month teachers are paid, the last one at most;
	// zero only when staff say so.
	PayoutDay int
	// PayoutMinimum is how many units of a currency a teacher has to have.
	PayoutMinimum int64
	// Stripe is the connection to Stripe; nil is none.
	Stripe *StripeConfig
	// Now is the clock; nil is [time.Now].
	Now func() time.Time
}

// Service sells courses.
type Service struct {
	Config
	provider  Provider      // nil where nothing can be bought
	work      chan struct{} // that there is something to do
	comparing chan struct{} // that a pass is to be made
	told      chan struct{} // that the provider has told something
	renewals  chan struct{} // that a period at the development provider ends sooner
	commercepb.UnimplementedCommerceServiceServer
}

// The errors it tells.
var (
	ErrPriceNotSet            = fault.New(fault.NotFound, "price.not_set", "This course has no price yet.")
	ErrOrderNotFound          = fault.New(fault.NotFound, "order.not_found", "You have no such order.")
	ErrAlreadyPaid            = fault.New(fault.Conflict, "order.already_paid", "The order is paid.")
	ErrMixedCurrencies        = fault.New(fault.Invalid, "order.mixed_currencies", "The courses are sold in different currencies. Order them one by one.")
	ErrOpenOrder              = fault.New(fault.Conflict, "order.open_order", "You have an order for one of these courses already. Pay it, or cancel it while it is not paid.")
	ErrPaymentsOff            = fault.New(fault.Conflict, "order.payments_off", "Nothing can be bought here at present.")
	ErrPaymentNotFound        = fault.New(fault.NotFound, "payment.not_found", "There is no such payment.")
	ErrInvoiceNotFound        = fault.New(fault.NotFound, "invoice.not_found", "You have no such invoice.")
	ErrReconciliationNotFound = fault.New(fault.NotFound, "reconciliation.not_found", "There is no such pass.")
	ErrMismatchNotFound       = fault.New(fault.NotFound, "mismatch.not_found", "There is no such mismatch.")
	ErrMismatchEnded          = fault.New(fault.Conflict, "mismatch.ended", "It has ended by itself.")
	ErrRuleNotFound           = fault.New(fault.NotFound, "revenue_rule.not_found", "There is no such rule.")
	ErrRulePast               = &fault.Error{
		Kind: fault.Invalid, Code: "revenue_rule.past", Message: "A rule begins now or later.",
		Fields: []fault.Field{{Path: "valid_from", Code: "revenue_rule.past", Hint: "What was ordered keeps what held then: begin now or later."}},
	}
	ErrEventNotFound  = fault.New(fault.NotFound, "payment_event.not_found", "There is no such provider here.")
	ErrEventSignature = fault.New(fault.Invalid, "payment_event.signature", "The signature is not of this body, or not by a secret that is known here.")
	ErrEventStale     = fault.New(fault.Invalid, "payment_event.stale", "The signature is not of the last minutes.")
	ErrEventInvalid   = fault.New(fault.Invalid, "payment_event.invalid", "This is no event.")
	ErrCountry        = &fault.Error{
		Kind: fault.Invalid, Code: "billing.country", Message: "There is no such country.",
		Fields: []fault.Field{{Path: "country", Code: "billing.country", Hint: "Two letters of ISO 3166-1, such as DE."}},
	}
	ErrReportPeriod = &fault.Error{
		Kind: fault.Invalid, Code: "tax_report.period", Message: "There is no such time.",
		Fields: []fault.Field{{Path: "until", Code: "tax_report.period", Hint: "since and until are times as RFC 3339, such as 2026-01-01T00:00:00Z, until the later one."}},
	}
	ErrPaymentClosed  = fault.New(fault.Conflict, "payment.closed", "The order expired or was cancelled.")
	ErrPaymentOutcome = fault.New(fault.Conflict, "payment.outcome", "This can't become of the payment as it stands.")

	ErrOrderUnknown    = fault.New(fault.NotFound, "order.not_found", "There is no such order.")
	ErrSaleNotFound    = fault.New(fault.NotFound, "sale.not_found", "The course has no such sale.")
	ErrRefundNotFound  = fault.New(fault.NotFound, "refund.not_found", "There is no such refund.")
	ErrRefundNotPaid   = fault.New(fault.Conflict, "refund.not_paid", "The order is not paid.")
	ErrRefundNothing   = fault.New(fault.Conflict, "refund.nothing_left", "All of it is given back already, or on its way.")
	ErrRefundDisputed  = fault.New(fault.Conflict, "refund.disputed", "The buyer's bank wants the money back. Nothing can be given back until that is settled.")
	ErrRefundNotOwed   = fault.New(fault.Conflict, "refund.not_owed", "Nothing of this refund is owed to the buyer.")
	ErrRequestNotFound = fault.New(fault.NotFound, "refund_request.not_found", "There is no such request.")
	ErrRequestTooLate  = fault.New(fault.Conflict, "refund_request.too_late", "Money can be asked back within 30 days after it was paid.")
	ErrRequestOpen     = fault.New(fault.Conflict, "refund_request.open", "You have asked for this already.")
	ErrRequestDecided  = fault.New(fault.Conflict, "refund_request.decided", "The request is decided.")
	ErrDisputeNotFound = fault.New(fault.NotFound, "dispute.not_found", "There is no such dispute.")

	ErrPayoutsOff            = fault.New(fault.Conflict, "payout.off", "Nobody can be paid here at present.")
	ErrPayoutNotFound        = fault.New(fault.NotFound, "payout.not_found", "There is no such payout.")
	ErrPayoutNotPaid         = fault.New(fault.Conflict, "payout.not_paid", "The payout was not paid, so that it can't be taken back.")
	ErrPayoutRunNotFound     = fault.New(fault.NotFound, "payout_run.not_found", "There is no such run.")
	ErrPayoutAccountNotFound = fault.New(fault.NotFound, "payout_account.not_found", "You have no account to be paid to yet.")
	ErrPayoutAccountNotReady = fault.New(fault.Conflict, "payout_account.not_ready", "The payment provider is making your account. Try again in a moment.")
)

// New returns the service.
func New(cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Service{Config: cfg, work: make(chan struct{}, 1), comparing: make(chan struct{}, 1), told: make(chan struct{}, 1), renewals: make(chan struct{}, 1)}
	switch {
	case cfg.Stripe != nil:
		s.provider = NewStripe(*cfg.Stripe)
	case cfg.DevelopmentPayments:
		s.provider = development{s}
	}
	return s
}

// Register adds the service's RPCs.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	commercepb.RegisterCommerceServiceServer(r, s)
	commercepb.RegisterRevenueServiceServer(r, &revenueServer{service: s})
	commercepb.RegisterRefundServiceServer(r, &refundServer{Service: s})
	commercepb.RegisterPayoutServiceServer(r, &payoutServer{Service: s})
	commercepb.RegisterStatementServiceServer(r, &statementServer{service: s})
	commercepb.RegisterEventServiceServer(r, &eventServer{service: s})
	commercepb.RegisterReconcileServiceServer(r, &reconcileServer{service: s})
	commercepb.RegisterCatalogServiceServer(r, &catalogServer{service: s})
	commercepb.RegisterBundleServiceServer(r, &bundleServer{service: s})
	commercepb.RegisterPlanServiceServer(r, &planServer{service: s})
	commercepb.RegisterSubscriptionServiceServer(r, &subscriptionServer{Service: s})
	commercepb.RegisterCouponServiceServer(r, &couponServer{service: s})
	commercepb.RegisterCheckoutServiceServer(r, &checkoutServer{service: s})
	commercepb.RegisterInvoiceServiceServer(r, &invoiceServer{service: s})
}

// Handlers returns what it does on others' events.
func (s *Service) Handlers() []bus.Handler {
	return []bus.Handler{
		bus.Copy(s.coursePublished),
		bus.Copy(s.courseUnpublished),
		bus.Copy(s.revenueSplitChanged),
		bus.On(s.entitlementGranted),
		bus.On(s.seatBlockCreated),
	}
}

// sweepEvery is how often that is looked for.
const sweepEvery = time.Minute

// task is something that is done again and again.
type task struct {
	failed string // what to say when it could not be done
	do     func(context.Context) (int, error)
}

// Run does what time brings: it takes in what the payment provider tells, expires orders
// that were not paid in time, books what is not booked, lets go of shares that were held,
// pays teachers, compares everything, makes checkpoints of the ledger and deletes old
// quotes, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var others sync.WaitGroup
	others.Go(func() { s.tell(ctx) })
	if s.DevelopmentPayments {
		others.Go(func() { development{s}.renewAll(ctx) })
	}
	// What somebody waits for is done as soon as there is something to do.
	others.Go(func() {
		s.repeat(ctx, s.work, []task{
			{"the payment provider could not be asked", s.carryOut},
			{"invoices could not be issued", s.issueInvoices},
			{"credit notes could not be issued", s.issueCreditNotes},
			{"teachers could not be paid", s.payOut},
		})
	})
	// A pass may take long, and holds up nobody.
	others.Go(func() {
		s.repeat(ctx, s.comparing, []task{{"orders, ledger, access and the payment provider could not be compared", s.reconcile}})
	})
	s.repeat(ctx, nil, []task{
		{"orders could not be expired", s.expire},
		{"sales could not be booked", s.bookUnbooked},
		{"prices could not be told", s.tellUntold},
		{"shares could not be released", s.release},
		{"runs of payouts could not be begun", s.monthlyRuns},
		{"no checkpoint of the ledger", s.checkpoint},
		{"old quotes could not be deleted", s.sweepQuotes},
	})
	others.Wait()
	return nil
}

// repeat does tasks one after the other, each minute and when it is told to.
func (s *Service) repeat(ctx context.Context, told <-chan struct{}, tasks []task) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		for _, t := range tasks {
			if _, err := t.do(ctx); err != nil && ctx.Err() == nil {
				s.Log.WarnContext(ctx, t.failed, "error", err.Error())
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-told:
		}
	}
}

// now is the time as the database keeps it.
func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }
