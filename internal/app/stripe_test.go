package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/service/commerce"
)

// Secrets may be in files, one a line, and no fault tells any.
func TestStripeSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cfg := defaults(t)
	cfg.Payments = "stripe"
	cfg.StripeKeyFile = write("key", "rk_test_51abc\n")
	cfg.StripeWebhookSecretsFile = write("secrets", "whsec_0123456789abcdef\nwhsec_fedcba9876543210,\n")
	if faults := cfg.Faults(nil); len(faults) > 0 {
		t.Fatal(faults)
	}
	got, err := cfg.Stripe()
	want := &commerce.StripeConfig{Key: "rk_test_51abc", WebhookSecrets: []string{"whsec_0123456789abcdef", "whsec_fedcba9876543210"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("%v\n%s", err, diff)
	}
	cfg.StripeKeyFile, cfg.StripeWebhookSecretsFile = "", ""
	cfg.StripeKey, cfg.StripeWebhookSecrets, cfg.StripeURL = "hunter2", "hunter2", "://hunter2"
	text := strings.Join(cfg.Faults(nil), "\n")
	if text == "" || strings.Contains(text, "hunter2") {
		t.Errorf("faults tell a secret, or nothing: %s", text)
	}
}
