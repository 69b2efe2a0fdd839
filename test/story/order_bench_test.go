package story_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/service/commerce/stripetest"
)

// BenchmarkOrders is buying: orders are placed, paid at Stripe, whose events come in, and
// give access, eight at a time. It tells how many a second, and how long it takes from
// Stripe's event until the order is fulfilled.
func BenchmarkOrders(b *testing.B) {
	stripe := stripetest.New(b, time.Now)
	env := []string{"STOA_PAYMENTS=stripe", "STOA_STRIPE_KEY=" + stripetest.Key, "STOA_STRIPE_WEBHOOK_SECRETS=" + stripetest.Secret, "STOA_STRIPE_URL=" + stripe.URL}
	for layout, start := range map[string]func(testing.TB, ...string) *installation{"one process": oneProcessWith, "a process per service": distributedWith} {
		b.Run(layout, func(b *testing.B) {
			in := start(b, env...)
			teacher := in.signUp(b, "Teacher of many")
			course, _ := draft(b, teacher, "Course of many")
			publish(b, teacher, course, 4900)
			first := in.signUp(b, "First")
			first.manages(b, "the first order", 201, "POST", "/v1/orders", map[string]any{"course_ids": []string{course}})
			const buyers = 8
			students := make([]*person, b.N)
			var wg sync.WaitGroup
			for i := range buyers {
				wg.Go(func() {
					for n := i; n < b.N; n += buyers {
						students[n] = in.signUp(b, fmt.Sprint("Student ", n))
					}
				})
			}
			wg.Wait()
			stripe.Take()
			took := make([]time.Duration, b.N)
			b.ResetTimer()
			var events sync.Mutex // what Stripe tells is sent by who has it told
			for i := range buyers {
				wg.Go(func() {
					for n := i; n < b.N; n += buyers {
						s := students[n]
						order := s.do(b, 201, "POST", "/v1/orders", map[string]any{"course_ids": []string{course}})
						_, session, _ := strings.Cut(order.text("pay_url"), "/pay/")
						events.Lock()
						stripe.Pay(session, stripetest.Succeed)
						told := stripe.Take()
						events.Unlock()
						begin := time.Now()
						for _, d := range told {
							in.nobody().do(b, 200, "POST", "/v1/webhooks/stripe", string(d.Body), "Stripe-Signature", d.Signed(stripetest.Secret, time.Now()))
						}
						s.sees(b, soon, "the order is fulfilled", "/v1/orders/"+order.text("id"), func(a answer) bool { return a.text("state") == "fulfilled" })
						took[n] = time.Since(begin)
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "orders/s")
			b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Milliseconds()), "p99-ms")
		})
	}
}
