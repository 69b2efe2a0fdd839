package commerce

import (
	"context"
	"time"
)

// Provider takes payments for the platform and hands out what teachers earned. It is
// the seam to the outside: orders and the ledger know nothing else of who is behind it.
//
// What changes something takes a key: again with the same key it has its effect once,
// and returns the same. It takes amounts in minor units. It fails with a *fault.Error
// of kind Invalid, NotFound or Conflict when to ask again is of no use; after any other
// error nobody knows whether it took effect, and it is asked again with the same key.
//
// What it says of a thing is what holds when it is asked, so that news may be heard
// twice, late and in any order.
type Provider interface {
	// Name is what it is called in payments.
	Name() string

	// Checkout makes a page where the buyer pays, and returns what the provider
	// calls the payment and where that page is.
	Checkout(ctx context.Context, key string, c Checkout) (ref, url string, err error)
	// CloseCheckout has nobody pay any more, and returns how the payment ended: it
	// may have succeeded before.
	CloseCheckout(ctx context.Context, key, ref string) (PaymentNews, error)
	// Payment returns how a payment stands.
	Payment(ctx context.Context, ref string) (PaymentNews, error)

	// Subscribe makes a page where the buyer pays the first period of a subscription
	// and lets the provider charge those that follow. Its payment is looked up, closed
	// and given back as any other.
	Subscribe(ctx context.Context, key string, r SubscribeRequest) (ref, url string, err error)
	// Subscription returns how a subscription stands.
	Subscription(ctx context.Context, ref string) (SubscriptionNews, error)
	// EndSubscription has no further period charged: [endAtPeriodEnd] once the one that
	// is paid is over, [endNow] from now on; with [endNever] it goes on after all, as
	// long as it has not ended. To end what has ended changes nothing; it fails with
	// Conflict when what has ended is to go on.
	EndSubscription(ctx context.Context, key, ref, how string) (SubscriptionNews, error)
	// BillingURL is where the buyer of a subscription changes how they pay. It works for
	// minutes; back is where they go after.
	BillingURL(ctx context.Context, ref, back string) (string, error)

	// Refund gives back some of what was paid.
	Refund(ctx context.Context, key string, r RefundRequest) (RefundNews, error)
	// RefundState returns how a refund stands.
	RefundState(ctx context.Context, ref string) (RefundNews, error)

	// DisputeState returns how a dispute stands; nil for one in which no money is taken.
	DisputeState(ctx context.Context, ref string) (*DisputeNews, error)

	// CreateAccount makes an account to which a teacher is paid.
	CreateAccount(ctx context.Context, key, teacherID string) (AccountNews, error)
	// AccountState returns how an account stands.
	AccountState(ctx context.Context, ref string) (AccountNews, error)
	// OnboardingURL is where a teacher says who they are and where their money goes.
	// It works once and for minutes; back is where they go after.
	OnboardingURL(ctx context.Context, ref, back string) (string, error)
	// Transfer hands money to an account, and returns what the provider calls that.
	Transfer(ctx context.Context, key string, t TransferRequest) (ref string, err error)
	// ReverseTransfer takes some of a transfer back.
	ReverseTransfer(ctx context.Context, key, ref string, amount int64) error

	// Transactions returns what moved the platform's balance at the provider, in
	// order, after the one that a cursor names, and the cursor of the last; at
	// most 100, none at the end.
	Transactions(ctx context.Context, after string) (list []Transaction, last string, err error)
}

// Checkout is a payment to be made.
type Checkout struct {
	PaymentID string // ours: the provider tells it with each news of the payment
	OrderID   string
	Amount    int64
	Currency  string
	Lines     []CheckoutLine
	ExpiresAt time.Time
	// Where the buyer goes after it, paid or not.
	ReturnURL string
}

// CheckoutLine is what the buyer reads on the page.
type CheckoutLine struct {
	LineID string
	Title  string
	Amount int64
}

// PaymentNews is how a payment stands.
type PaymentNews struct {
	PaymentID string // ours; empty for a period of a subscription but the first
	Ref       string
	// "open", "processing" for one that takes days, "declined" when it may be tried
	// again, "succeeded", or "closed" when nobody can pay any more.
	State    string
	Received int64 // what was paid; 0 unless it succeeded
	Returned int64 // what of that was given back by now, or is on its way
	Currency string
	// What of it is tax, by order line, and under "" of all lines together where the
	// provider knows no lines; nil where it takes none.
	Tax map[string]int64
	// What the provider keeps of it; nil while that is not known.
	Fee *int64
	// What the provider calls the subscription of which it pays a period; empty for none,
	// and before the first is paid.
	SubscriptionRef string
	// Which period of a subscription it pays; zero when that is not known.
	PeriodStart, PeriodEnd time.Time
}

// How a subscription is to end.
const (
	endAtPeriodEnd = "period_end"
	endNow         = "now"
	endNever       = "resume"
)

// SubscribeRequest is a subscription to be made, and the payment of its first period.
type SubscribeRequest struct {
	Checkout              // of the first period; each one costs its amount
	SubscriptionID string // ours: the provider tells it with each news of the subscription
	PlanTitle      string
	Interval       string // "month" or "year"
}

// SubscriptionNews is how a subscription stands.
type SubscriptionNews struct {
	SubscriptionID string // ours
	Ref            string
	// "incomplete" while the first period is not paid, "active", "past_due" while one
	// that failed to be paid is tried again, or "ended".
	State string
	// Whether it ends when the running period does.
	EndsAtPeriodEnd bool
	// The running period, paid or not; zero before the first.
	PeriodStart, PeriodEnd time.Time
	// When a period that failed to be paid is tried again; nil for never.
	NextAttempt *time.Time
	EndedAt     *time.Time // set once it has ended
	// The last periods that were paid or are to be, at most 12, oldest first.
	Periods []PeriodNews
	// When the provider was asked, by our clock: who asks writes it. Of two the younger
	// holds.
	AskedAt time.Time
}

// PeriodNews is how the payment of a period stands.
type PeriodNews struct {
	// What the provider calls that it asks to be paid for the period: an invoice.
	InvoiceRef string
	Start, End time.Time
	// Whether it was paid at the page that Subscribe made: then the payment is that one,
	// by the same PaymentID and Ref.
	First bool
	// How its payment stands, as Payment says by its Ref, which refunds take too. Its
	// PaymentID is empty for all but the first: the provider does not know ours.
	Payment PaymentNews
}

// RefundRequest is what to give back.
type RefundRequest struct {
	RefundID   string // ours
	PaymentRef string
	Amount     int64
	Currency   string
	Reason     string // "requested_by_customer", "duplicate" or "fraudulent"
}

// RefundNews is how a refund stands.
type RefundNews struct {
	RefundID   string // ours; empty for one that was made at the provider by hand
	Ref        string
	PaymentID  string // ours; empty where the provider does not know it
	PaymentRef string // what the provider calls the payment; it may be empty where PaymentID is not
	Amount     int64
	Currency   string
	State      string // "pending", "succeeded" or "failed"
	FailReason string
}

// DisputeNews is how a dispute stands: a buyer has their bank take a payment back.
type DisputeNews struct {
	Ref        string
	PaymentID  string // ours; empty where the provider does not know it
	PaymentRef string // what the provider calls the payment; it may be empty where PaymentID is not
	Amount     int64
	Currency   string
	Fee        int64  // what the provider has taken for it so far
	FeeBack    int64  // what it gave back of that, as some do when it is won
	State      string // "open", "won" or "lost" as seen by the platform
	Reason     string
	DueBy      *time.Time // until when evidence can be given
}

// AccountNews is how the account of a teacher stands.
type AccountNews struct {
	TeacherID string
	Ref       string
	// Whether money can be handed to it.
	Ready bool
	// What the provider still asks the teacher for.
	Requirements []string
}

// TransferRequest is what to hand to a teacher.
type TransferRequest struct {
	PayoutID   string // ours
	AccountRef string
	Amount     int64
	Currency   string
}

// Transaction is something that moved the platform's balance at the provider.
type Transaction struct {
	ID string
	// "payment", "payment_failed", "refund", "refund_failed", "dispute", "dispute_won",
	// "transfer", "reversal" or another's name. What takes days may move the balance at
	// once, and back by what failed of the same.
	Kind string
	// What it is of: a payment as we call it, or as the provider does where it does not
	// know that, a reversal by the key that it was made with, all else as the provider
	// calls it.
	Ref string
	// What it adds, before the fee that is taken off; below zero takes.
	Amount   int64
	Fee      int64
	Currency string
	At       time.Time
}
