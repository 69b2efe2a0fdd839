package commerce_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85/webhook"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/commerce"
)

// Whatever comes, an event is read only of a body that a secret signed in these minutes,
// and what is not read is refused in a way that can be told.
func FuzzReadEvent(f *testing.F) {
	const secret = "whsec_fuzz" //nolint:gosec // of a test
	now := time.Unix(1_772_366_400, 0)
	sign := func(at time.Time, body string) string {
		return fmt.Sprintf("t=%d,v1=%s", at.Unix(), hex.EncodeToString(webhook.ComputeSignature(at, []byte(body), secret)))
	}
	event := `{"id":"evt_1","object":"event","type":"charge.updated","created":1772366400,"api_version":"2020","data":{"object":{"id":"ch_1"}}}`
	f.Add(event, sign(now, event))
	f.Add(event, sign(now.Add(-time.Hour), event))
	f.Add(`{"object":"event","id":"e","type":"t","data":{"object":[]}}`, "t=1,t=2,v1=00")
	f.Add(`{"object":"event","id":"e","type":"t","data":null}`, "")
	f.Add(`[]`, sign(now, `[]`))
	s := commerce.NewStripe(commerce.StripeConfig{Key: "sk_test_1", WebhookSecrets: []string{"whsec_other", secret}})
	f.Fuzz(func(t *testing.T, body, signature string) {
		e, err := s.ReadEvent([]byte(body), signature, now)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("%v", err)
			}
		} else if e.ID == "" || e.Type == "" {
			t.Fatalf("an event without a name: %+v", e)
		} else {
			found := false
			for seconds := now.Unix() - 300; seconds <= now.Unix()+300; seconds++ {
				sum := hex.EncodeToString(webhook.ComputeSignature(time.Unix(seconds, 0), []byte(body), secret))
				found = found || strings.Contains(strings.ToLower(signature), sum)
			}
			if !found {
				t.Fatalf("%q is taken as signed by %q", body, signature)
			}
		}
		// The same body, signed well, is read or no event.
		if _, err := s.ReadEvent([]byte(body), sign(now, body), now); err != nil && fault.CodeOf(err) != "payment_event.invalid" {
			t.Fatal(err)
		}
	})
}
