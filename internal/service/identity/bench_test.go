package identity

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// BenchmarkRefusal measures how long a sign-in with a wrong password takes for an
// address that has an account and for one that has none, taken in turns, so that
// whoever reads it sees whether one could be told from the other:
//
//	bin/testservers -only postgres -- go test ./internal/service/identity -run '^$' -bench Refusal -benchtime 500x
func BenchmarkRefusal(b *testing.B) {
	e := newEnv(b)
	e.service.hasher = newHasher(DefaultCost)
	if _, err := e.CreateAccount(b.Context(), &identitypb.CreateAccountRequest{Email: "ada@example.org", Password: goodPassword, Name: "Ada"}); err != nil {
		b.Fatal(err)
	}
	emails := []string{"ada@example.org", "nobody@example.org"}
	took := map[string][]time.Duration{}
	for b.Loop() {
		rand.Shuffle(len(emails), func(i, j int) { emails[i], emails[j] = emails[j], emails[i] }) //nolint:gosec // the order of measurements
		for _, email := range emails {
			began := time.Now()
			_, err := e.CreateSession(b.Context(), &identitypb.CreateSessionRequest{Email: email, Password: "wrong password"})
			took[email] = append(took[email], time.Since(began))
			if err == nil {
				b.Fatal("signed in with a wrong password")
			}
			if err := e.service.forgive(b.Context(), email); err != nil {
				b.Fatal(err)
			}
		}
	}
	report(b, map[string][]time.Duration{"known": took["ada@example.org"], "unknown": took["nobody@example.org"]})
}

// BenchmarkSignUp does so for a sign-up with an address that has an account and
// with one that has none.
//
//	bin/testservers -only postgres -- go test ./internal/service/identity -run '^$' -bench SignUp -benchtime 500x
func BenchmarkSignUp(b *testing.B) {
	e := newEnv(b)
	e.service.hasher = newHasher(DefaultCost)
	took := map[string][]time.Duration{}
	for n := 0; b.Loop(); n++ {
		e.clock.Add(time.Hour) // no mail is too many
		kinds := []string{"known", "unknown"}
		rand.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] }) //nolint:gosec // the order of measurements
		for _, kind := range kinds {
			address := "ada@example.org"
			if kind == "unknown" {
				address = fmt.Sprintf("nobody%d@example.org", n)
			}
			began := time.Now()
			_, err := e.CreateAccount(b.Context(), &identitypb.CreateAccountRequest{Email: address, Password: goodPassword, Name: "Ada"})
			took[kind] = append(took[kind], time.Since(began))
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	took["known"] = took["known"][1:] // it was not yet
	report(b, took)
}

// report tells the 5th, 50th and 95th percentile of each.
func report(b *testing.B, took map[string][]time.Duration) {
	for name, times := range took {
		slices.Sort(times)
		for _, p := range []int{5, 50, 95} {
			if len(times) > 0 {
				at := times[(len(times)-1)*p/100]
				b.ReportMetric(float64(at.Microseconds())/1000, fmt.Sprintf("ms-p%d-%s", p, name))
			}
		}
	}
}
