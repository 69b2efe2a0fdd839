package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stoa-lms/stoa/internal/pg"
)

const (
	maxRest = 2 * time.Second       // between looks, for what other processes kept or replayed
	minRest = 10 * time.Millisecond // when another process is about to take what is due
	lease   = 2 * handleTimeout     // after which an attempt that told no result has ended with its process
)

// retry handles again what failed, one event at a time, as each gets due.
func (r *receiver) retry(ctx context.Context) {
	for ctx.Err() == nil {
		var rest time.Duration
		err := r.database.insist(ctx, retryWorker, func(ctx context.Context) (err error) {
			rest, err = r.untilDue(ctx)
			return err
		})
		if err != nil {
			return
		}
		if rest > 0 {
			timer := time.NewTimer(rest)
			select {
			case <-timer.C:
			case <-r.failed:
			case <-ctx.Done():
			}
			timer.Stop()
			continue
		}
		if r.retryOne(ctx) != nil {
			return
		}
	}
}

// untilDue returns how long nothing is due, 0 when something is.
func (r *receiver) untilDue(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, handleTimeout)
	defer cancel()
	var seconds float64
	err := r.DB.QueryRow(ctx, `
		SELECT coalesce(extract(epoch FROM min(next_at) - clock_timestamp()), $1)::float8 FROM inbox_failed`,
		maxRest.Seconds()).Scan(&seconds)
	if err != nil {
		return 0, fmt.Errorf("look for due events: %w", err)
	}
	if seconds <= 0 {
		return 0, nil
	}
	return min(time.Duration(seconds*float64(time.Second))+time.Millisecond, maxRest), nil
}

// retryOne takes one event that is due, handles it and writes down how that
// went. It returns an error only when ctx has ended.
func (r *receiver) retryOne(ctx context.Context) error {
	var (
		ev       Event
		attempts int
	)
	err := r.database.insist(ctx, retryWorker, func(ctx context.Context) (err error) {
		ev, attempts, err = r.claim(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if attempts == 0 {
		sleep(ctx, minRest)
		return nil
	}
	return r.database.insist(ctx, retryWorker, func(ctx context.Context) error {
		if attempts > maxAttempts {
			return r.keepOn(ctx, ev, attempts, errors.New("the process ended while it handled the event"))
		}
		err := r.handle(ctx, ev, `
			WITH gone AS (DELETE FROM inbox_failed WHERE event_id = $1)
			INSERT INTO inbox (event_id) VALUES ($1) ON CONFLICT DO NOTHING`)
		if err == nil || away(err) {
			return err
		}
		return r.keepOn(ctx, ev, attempts, err)
	})
}

// claim returns an event that is due and which attempt at it this is, 0 when
// there is none. The attempt is counted before it is made, so that an event
// which ends the process is parked at last as well.
func (r *receiver) claim(ctx context.Context) (ev Event, attempts int, err error) {
	ctx, cancel := linger(ctx, handleTimeout)
	defer cancel()
	err = r.DB.QueryRow(ctx, `
		UPDATE inbox_failed SET attempts = attempts + 1, next_at = clock_timestamp() + make_interval(secs => $1)
		WHERE event_id = (
			SELECT event_id FROM inbox_failed WHERE next_at <= clock_timestamp()
			ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING event_id, name, payload, headers, happened_at, attempts`, lease.Seconds()).
		Scan(&ev.ID, &ev.Name, &ev.Payload, &ev.Headers, &ev.HappenedAt, &attempts)
	if pg.NoRows(err) {
		return Event{}, 0, nil
	}
	if err != nil {
		return Event{}, 0, fmt.Errorf("take due event: %w", err)
	}
	return ev, attempts, nil
}

// keepOn says when an event that failed again is due, or parks it.
func (r *receiver) keepOn(ctx context.Context, ev Event, attempts int, cause error) error {
	ctx, cancel := linger(ctx, handleTimeout)
	defer cancel()
	var wait *float64 // null parks
	if attempts < maxAttempts {
		seconds := retryDelay(attempts).Seconds()
		wait = &seconds
	}
	_, err := r.DB.Exec(ctx, `
		UPDATE inbox_failed SET next_at = clock_timestamp() + make_interval(secs => $2), last_error = $3, failed_at = now()
		WHERE event_id = $1`, ev.ID, wait, excerpt(cause))
	if err != nil {
		return fmt.Errorf("keep failed event %s: %w", ev.ID, err)
	}
	r.tellFailed(ctx, ev, attempts, cause)
	if wait == nil {
		_ = r.observe(ctx) // or the next look of the sweeper
	}
	return nil
}
