// Package cache holds what all processes share and may lose: rate limits, and how
// often what failed. It is
// kept in Redis, or in the process where one process is all there is.
package cache

import (
	"context"
	"time"
)

// Limit is a rate: Burst at once, and Every for one more after that.
type Limit struct {
	Burst int
	Every time.Duration
}

// PerSecond returns a limit of n a second with the given burst.
func PerSecond(n, burst int) Limit {
	return Limit{Burst: burst, Every: time.Second / time.Duration(n)}
}

// Limiter counts what was done under a key. Implementations follow the generic
// cell rate algorithm (ITU-T I.371), so that they answer alike: after Burst
// calls at once, one call passes each Every. A refused call costs nothing.
type Limiter interface {
	// Allow counts one call under key, or says how long to wait for the next
	// that would pass. An error means that it can't tell.
	Allow(ctx context.Context, key string, limit Limit) (wait time.Duration, err error)
	// Ping reports whether the limiter can tell.
	Ping(ctx context.Context) error
	// Close lets go of connections.
	Close()
}

// tolerance is how far the theoretical arrival time may be ahead of now.
func (l Limit) tolerance() time.Duration { return l.Every * time.Duration(max(l.Burst, 1)-1) }
