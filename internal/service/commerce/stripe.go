package commerce

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v85"

	"github.com/stoa-lms/stoa/internal/fault"
)

// StripeConfig connects Stripe. docs/payments.md says what is to be set up there.
type StripeConfig struct {
	// Key is the secret or restricted key of the platform's account.
	Key string
	// WebhookSecrets sign what Stripe sends: one of each endpoint, and more of them
	// while they are changed.
	WebhookSecrets []string
	// URL is where Stripe is; empty for the real one.
	URL string
	// Tax has Stripe compute the tax that is part of prices.
	Tax bool
}

// Live reports whether real money is moved.
func (c StripeConfig) Live() bool { return strings.Contains(c.Key, "_live_") }

// Stripe is the provider whose payments are Checkout Sessions of the platform's account, and
// invoices of the subscriptions that those began, and whose teachers have connected accounts, to which is transferred apart. The
// version of the interface is that of the client. What is made there carries our ids in
// its metadata, and only that is believed to be ours.
type Stripe struct {
	cfg    StripeConfig
	client *stripe.Client
}

var _ Teller = (*Stripe)(nil)

// stripeTimeout bounds one request.
const stripeTimeout = 30 * time.Second

// The metadata by which things at Stripe are ours.
const (
	metaPayment      = "stoa_payment"
	metaOrder        = "stoa_order"
	metaLine         = "stoa_line"
	metaRefund       = "stoa_refund"
	metaTeacher      = "stoa_teacher"
	metaPayout       = "stoa_payout"
	metaKey          = "stoa_key"
	metaSubscription = "stoa_subscription"
)

// NewStripe returns the provider.
func NewStripe(cfg StripeConfig) *Stripe {
	backend := &stripe.BackendConfig{
		EnableTelemetry: new(false),
		HTTPClient: &http.Client{
			Timeout:       stripeTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		// What fails is told where it is decided what comes of it.
		LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
		// Who asks tries again, and knows when.
		MaxNetworkRetries: new(int64(0)),
	}
	if cfg.URL != "" {
		backend.URL = new(strings.TrimSuffix(cfg.URL, "/"))
	}
	return &Stripe{cfg: cfg, client: stripe.NewClient(cfg.Key, stripe.WithBackends(stripe.NewBackendsWithConfig(backend)))}
}

// Name implements [Provider].
func (*Stripe) Name() string { return "stripe" }

// Account says which account the key is of, for an operator.
func (s *Stripe) Account(ctx context.Context) (string, error) {
	a, err := s.client.V1Accounts.Retrieve(ctx, nil)
	if err != nil {
		return "", stripeFault(err)
	}
	mode, charges := "test", "takes payments"
	if s.cfg.Live() {
		mode = "live"
	}
	if !a.ChargesEnabled {
		charges = "takes no payments yet"
	}
	return fmt.Sprintf("account %s (%s), %s mode, %s, %s, version %s", a.ID, a.Country, mode, charges, s.portalSays(ctx), stripe.APIVersion), nil
}

// portalSays says whether buyers of subscriptions get to where they change what they pay
// with: Stripe makes no such page before its settings were saved once.
func (s *Stripe) portalSays(ctx context.Context) string {
	p := &stripe.BillingPortalConfigurationListParams{Active: new(true), IsDefault: new(true)}
	p.Limit = new(int64(1))
	l := s.client.V1BillingPortalConfigurations.List(ctx, p)
	switch err := stripeFault(l.Err()); {
	case err != nil:
		return "a customer portal that the key may not read"
	case len(l.Data()) == 0:
		return "no customer portal, which subscriptions need"
	default:
		return "a customer portal"
	}
}

// stripeFault turns an error of Stripe into what [Provider] promises. Nothing of it is a
// secret: keys are not told by Stripe, nor is anything that a buyer wrote.
func stripeFault(err error) error {
	if err == nil {
		providerCalls.WithLabelValues("done").Inc()
		return nil
	}
	e, ok := errors.AsType[*stripe.Error](err)
	if !ok {
		providerCalls.WithLabelValues("failed").Inc()
		return fmt.Errorf("stripe: %w", err)
	}
	text := fmt.Sprintf("stripe: %d %s %s: %s (request %s)", e.HTTPStatusCode, e.Type, e.Code, e.Msg, e.RequestID)
	kind, code := fault.Invalid, "payment.provider_refused"
	switch {
	case stripePasses(e):
		providerCalls.WithLabelValues("failed").Inc()
		return errors.New(text)
	case e.HTTPStatusCode == http.StatusNotFound || e.Code == stripe.ErrorCodeResourceMissing:
		kind, code = fault.NotFound, "payment.provider_unknown"
	}
	providerCalls.WithLabelValues("refused").Inc()
	return fault.New(kind, code, "%s", text)
}

// stripePasses reports whether the same may succeed later: Stripe is busy or broken, the
// key is no good or lacks a permission, which an operator can mend, or the balance is
// too low for now.
func stripePasses(e *stripe.Error) bool {
	switch e.Code {
	case stripe.ErrorCodeBalanceInsufficient, stripe.ErrorCodeIdempotencyKeyInUse, stripe.ErrorCodeLockTimeout, stripe.ErrorCodeRateLimit:
		return true
	default: // the status says it
	}
	switch e.HTTPStatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusConflict, http.StatusTooManyRequests:
		return true
	case http.StatusBadRequest, http.StatusPaymentRequired, http.StatusNotFound:
		return false
	}
	return e.Type != stripe.ErrorTypeInvalidRequest || e.HTTPStatusCode >= http.StatusInternalServerError
}

// stripeOnce does a write under a key. Stripe answers a key for a day as it did first,
// failures too, so one that may pass is asked under another key each minute: what
// is written carries our ids, and is looked for before or is worth nothing twice.
func stripeOnce[T any](key string, write func(key *string) (T, error)) (T, error) {
	v, err := write(&key)
	if e, ok := errors.AsType[*stripe.Error](err); ok && stripePasses(e) && e.LastResponse != nil && e.LastResponse.Header.Get("Idempotent-Replayed") == "true" {
		key += "/" + time.Now().UTC().Format("200601021504")
		v, err = write(&key)
	}
	return v, stripeFault(err)
}

// stripeAmount returns an amount as Stripe takes it, which is in the smallest unit of the
// currency as here, and in tens of it where that is a thousandth.
func stripeAmount(amount int64, currency string) (*int64, *string, error) {
	if amount <= 0 || !charged(amount, currency) {
		return nil, nil, fault.New(fault.Invalid, "payment.provider_refused", "stripe: %d %s can't be paid there", amount, currency)
	}
	return &amount, new(strings.ToLower(currency)), nil
}

func stripeCurrency(c stripe.Currency) string { return strings.ToUpper(string(c)) }
