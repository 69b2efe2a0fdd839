package bus

import "time"

// The tests do not wait for the times between attempts.
func init() {
	retryDelay = func(attempts int) time.Duration { return time.Duration(attempts) * time.Millisecond }
}

// MaxAttempts is told to the tests.
const MaxAttempts = maxAttempts

// Backoff is how long the tests would wait otherwise.
var Backoff = backoff
