package cache

import (
	"context"
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"
)

// maxKeys bounds the memory of a [Memory]; the least used keys are forgotten.
const maxKeys = 100_000

// Memory is a [Store] in this process.
type Memory struct {
	arrivals *otter.Cache[string, time.Time] // theoretical arrival time by key
	failures *otter.Cache[string, failures]
	now      func() time.Time
}

// NewMemory returns an empty store.
func NewMemory() (*Memory, error) { return NewMemoryAt(time.Now) }

// NewMemoryAt is [NewMemory] with a time of its own.
func NewMemoryAt(now func() time.Time) (*Memory, error) {
	c, err := otter.New(&otter.Options[string, time.Time]{MaximumSize: maxKeys})
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	f, err := newFailures()
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	return &Memory{arrivals: c, failures: f, now: now}, nil
}

// Allow implements [Limiter].
func (m *Memory) Allow(_ context.Context, key string, limit Limit) (time.Duration, error) {
	now := m.now()
	var wait time.Duration
	m.arrivals.Compute(key, func(tat time.Time, found bool) (time.Time, otter.ComputeOp) {
		if !found || tat.Before(now) {
			tat = now
		}
		if wait = tat.Add(-limit.tolerance()).Sub(now); wait > 0 {
			return tat, otter.CancelOp
		}
		wait = 0
		return tat.Add(limit.Every), otter.WriteOp
	})
	return wait, nil
}

// Ping implements [Limiter].
func (m *Memory) Ping(context.Context) error { return nil }

// Close implements [Limiter].
func (m *Memory) Close() {}
