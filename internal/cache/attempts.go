package cache

import (
	"context"
	"time"

	"github.com/maypok86/otter/v2"
)

// Patience is how failures are borne: Free of them cost nothing, the last of
// these and each after it make the next attempt wait, First and then twice as
// long each time, up to Most. All are forgotten when none came for Forget after
// the wait.
type Patience struct {
	Free        int
	First, Most time.Duration
	Forget      time.Duration
}

// wait is how long the next attempt waits after n failures.
func (p Patience) wait(n int64) time.Duration {
	over := n - int64(p.Free)
	if over < 0 {
		return 0
	}
	return min(p.First<<min(over, doublings), p.Most)
}

// doublings bounds how often a wait is doubled, so that it fits.
const doublings = 20

// Attempts counts what failed under a key, such as wrong passwords for an
// address.
type Attempts interface {
	// Wait says how long the next attempt under key has to wait; 0 for not.
	Wait(ctx context.Context, key string) (time.Duration, error)
	// Fail counts a failure under key and returns how many there are.
	Fail(ctx context.Context, key string, p Patience) (int64, error)
	// Clear forgets the failures under key.
	Clear(ctx context.Context, key string) error
}

// Store is all that processes share.
type Store interface {
	Limiter
	Attempts
}

// failures are what a [Memory] keeps of a key.
type failures struct {
	n      int64
	until  time.Time // the next attempt waits for it
	forget time.Time
}

func newFailures() (*otter.Cache[string, failures], error) {
	return otter.New(&otter.Options[string, failures]{MaximumSize: maxKeys})
}

// Wait implements [Attempts].
func (m *Memory) Wait(_ context.Context, key string) (time.Duration, error) {
	f, ok := m.failures.GetIfPresent(key)
	if !ok {
		return 0, nil
	}
	return max(f.until.Sub(m.now()), 0), nil
}

// Fail implements [Attempts].
func (m *Memory) Fail(_ context.Context, key string, p Patience) (int64, error) {
	now := m.now()
	var n int64
	m.failures.Compute(key, func(f failures, found bool) (failures, otter.ComputeOp) {
		if !found || now.After(f.forget) {
			f = failures{}
		}
		f.n++
		n = f.n
		f.until = now.Add(p.wait(f.n))
		f.forget = f.until.Add(p.Forget)
		return f, otter.WriteOp
	})
	return n, nil
}

// Clear implements [Attempts].
func (m *Memory) Clear(_ context.Context, key string) error {
	m.failures.Invalidate(key)
	return nil
}
