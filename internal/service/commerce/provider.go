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

	// Refund gives back some of what was paid.
	Refund(ctx context.Context, key string, r RefundRequest) (RefundNews, error)
	// RefundState returns how a refund stands.
	RefundState(ctx context.Context, ref string) (RefundNews, error)

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
	PaymentID string // ours
	Ref       string
	// "open", "processing" for one that takes days, "declined" when it may be tried
	// again, "succeeded", or "closed" when nobody can pay any more.
	State    string
	Received int64 // what was paid; 0 unless it succeeded
	Currency string
	// What of it is tax, by order line; nil where the provider takes none.
	Tax map[string]int64
	// What the provider keeps of it; nil while that is not known.
	Fee *int64
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
	PaymentID  string // ours
	Amount     int64
	Currency   string
	State      string // "pending", "succeeded" or "failed"
	FailReason string
}

// DisputeNews is how a dispute stands: a buyer has their bank take a payment back.
type DisputeNews struct {
	Ref       string
	PaymentID string // ours
	Amount    int64
	Currency  string
	Fee       int64  // what the provider takes for it, whatever comes of it
	State     string // "open", "won" or "lost" as seen by the platform
	Reason    string
	DueBy     *time.Time // until when evidence can be given
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
	ID   string
	Kind string // "payment", "refund", "dispute", "dispute_won", "transfer", "reversal" or another's name
	// What it is of: a payment as we call it, a reversal by the key that it was made
	// with, all else as the provider calls it.
	Ref string
	// What it adds, before the fee that is taken off; below zero takes.
	Amount   int64
	Fee      int64
	Currency string
	At       time.Time
}
