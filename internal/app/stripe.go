package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/stoa-lms/stoa/internal/service/commerce"
)

// Stripe returns the connection to Stripe, nil where orders are not paid there.
func (c *Config) Stripe() (*commerce.StripeConfig, error) {
	if c.Payments != "stripe" {
		return nil, nil //nolint:nilnil // none is a setting like others
	}
	key, err := secretOf(c.StripeKey, c.StripeKeyFile)
	if err != nil {
		return nil, err
	}
	secrets, err := secretOf(c.StripeWebhookSecrets, c.StripeWebhookSecretsFile)
	if err != nil {
		return nil, err
	}
	cfg := &commerce.StripeConfig{Key: key, URL: c.StripeURL, Tax: c.StripeTax.V}
	for secret := range strings.FieldsFuncSeq(secrets, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		cfg.WebhookSecrets = append(cfg.WebhookSecrets, secret)
	}
	return cfg, nil
}

// secretOf returns a setting, or what the file has that is named in its place.
func secretOf(value, file string) (string, error) {
	if file == "" {
		return strings.TrimSpace(value), nil
	}
	text, err := os.ReadFile(file) //nolint:gosec // the operator names it
	return strings.TrimSpace(string(text)), err
}

// stripeFaults tells what is wrong with the connection to Stripe, and nothing of its
// secrets.
func (c *Config) stripeFaults(add func(setting, format string, args ...any)) {
	if c.Payments != "stripe" {
		return
	}
	if c.StripeKey != "" && c.StripeKeyFile != "" {
		add("STOA_STRIPE_KEY_FILE", "can't be given together with STOA_STRIPE_KEY")
		return
	}
	if c.StripeWebhookSecrets != "" && c.StripeWebhookSecretsFile != "" {
		add("STOA_STRIPE_WEBHOOK_SECRETS_FILE", "can't be given together with STOA_STRIPE_WEBHOOK_SECRETS")
		return
	}
	cfg, err := c.Stripe()
	if err != nil {
		add(cmp.Or(fileSetting(err, c), "STOA_STRIPE_KEY_FILE"), "%v", err)
		return
	}
	live, test := strings.Contains(cfg.Key, "_live_"), strings.Contains(cfg.Key, "_test_")
	switch {
	case cfg.Key == "":
		add("STOA_STRIPE_KEY", "is needed with STOA_PAYMENTS=stripe: a secret key (sk_…) or a restricted one (rk_…)")
	case !strings.HasPrefix(cfg.Key, "sk_") && !strings.HasPrefix(cfg.Key, "rk_") || live == test:
		add("STOA_STRIPE_KEY", "is neither a secret key (sk_live_…, sk_test_…) nor a restricted one (rk_live_…, rk_test_…)")
	case live && c.Profile != production:
		add("STOA_STRIPE_KEY", "a live key moves real money and is refused unless STOA_PROFILE is production; use a test key")
	case test && c.Profile == production:
		add("STOA_STRIPE_KEY", "with a test key anybody buys for nothing, so it is refused in production; use a live key, or STOA_PROFILE=development to try things out")
	}
	if len(cfg.WebhookSecrets) == 0 {
		add("STOA_STRIPE_WEBHOOK_SECRETS", "is needed with STOA_PAYMENTS=stripe: the signing secrets (whsec_…) of the endpoints, see docs/payments.md")
	}
	for _, s := range cfg.WebhookSecrets {
		if !strings.HasPrefix(s, "whsec_") || len(s) < 20 {
			add("STOA_STRIPE_WEBHOOK_SECRETS", "holds something that is no signing secret (whsec_…)")
			break
		}
	}
	if c.StripeURL == "" {
		return
	}
	u, err := url.Parse(c.StripeURL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		add("STOA_STRIPE_URL", "is not an address that begins with http:// or https://")
	case c.Profile == production:
		add("STOA_STRIPE_URL", "is to try things out, and refused in production")
	}
}

// fileSetting is the setting that names the file of an error.
func fileSetting(err error, c *Config) string {
	var e *os.PathError
	if errors.As(err, &e) && e.Path == c.StripeWebhookSecretsFile {
		return "STOA_STRIPE_WEBHOOK_SECRETS_FILE"
	}
	return ""
}

// examinePayments asks Stripe whose key it is.
func examinePayments(ctx context.Context, cfg Config) Finding {
	stripe, err := cfg.Stripe()
	if err != nil || stripe == nil {
		return Finding{What: "payments", Says: cfg.Payments}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	says, err := commerce.NewStripe(*stripe).Account(ctx)
	if err != nil {
		return Finding{"payments", err.Error(), "Check STOA_STRIPE_KEY and that api.stripe.com can be reached; a restricted key must be allowed to read accounts. Meanwhile nothing can be paid."}
	}
	return Finding{What: "payments", Says: fmt.Sprintf("Stripe: %s; %d webhook secrets", says, len(stripe.WebhookSecrets))}
}
