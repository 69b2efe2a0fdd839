package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/telemetry"
)

const (
	maxAttempts   = 12               // after which an event is parked
	handleTimeout = 30 * time.Second // for the handlers of one event
	maxError      = 4 << 10          // of an error's text that is kept, in bytes
)

// retryDelay is backoff but for the tests.
var retryDelay = backoff

// backoff returns how long to wait after a number of failed attempts.
func backoff(attempts int) time.Duration {
	d := min(100*time.Millisecond<<min(attempts-1, 16), time.Minute)
	return d*3/4 + rand.N(d/2) //nolint:gosec // spreads load, guards nothing
}

// receiver handles the events that one member hears: each in a transaction
// that also writes its id to the inbox. Those that fail it keeps in
// inbox_failed, where the retrier finds them.
type receiver struct {
	Member

	log      *slog.Logger
	handlers map[string][]Handler
	database *outage
	failed   chan struct{} // wakes the retrier
}

func newReceiver(m Member, log *slog.Logger, database *outage) *receiver {
	r := &receiver{
		Member:   m,
		log:      log.With("member", m.Name),
		handlers: map[string][]Handler{},
		database: database,
		failed:   make(chan struct{}, 1),
	}
	for _, h := range m.Handlers {
		r.handlers[h.name] = append(r.handlers[h.name], h)
	}
	return r
}

// run has the broker deliver until ctx ends.
func (r *receiver) run(ctx context.Context, broker Broker, server *outage) {
	names := r.hears()
	if len(names) == 0 {
		return
	}
	// A subscription does not end by itself: what ends it is not known to pass.
	_ = server.insist(ctx, r.Name+" receiver", func(ctx context.Context) error {
		err := broker.Subscribe(ctx, r.Name, names, r.receive)
		if err == nil && ctx.Err() == nil {
			err = errors.New("the subscription ended")
		}
		return err
	})
}

// errUnheard keeps an event that a version before or after this one hears, for
// that version to take up: during a roll-out both run, and either may get it.
var errUnheard = errors.New("this version of the service does not hear the event")

// receive returns nil once the event is handled, or kept to be tried again. It
// waits for a database that is away, and returns an error only when ctx ends
// meanwhile.
func (r *receiver) receive(ctx context.Context, ev Event) error {
	return r.database.insist(ctx, receiveWorker, func(ctx context.Context) error {
		if ev.Dead {
			return r.keep(ctx, ev, maxAttempts-1, 0, errors.New("the broker gave up delivering it"))
		}
		err := r.handle(ctx, ev, `
			INSERT INTO inbox (event_id) SELECT $1 WHERE NOT EXISTS (SELECT FROM inbox_failed WHERE event_id = $1)
			ON CONFLICT DO NOTHING`)
		if err == nil || away(err) {
			return err
		}
		return r.keep(ctx, ev, 1, retryDelay(1), err)
	})
}

// handle runs the handlers in a transaction when the statement enter, which
// puts the event into the inbox, says that it was not there. A connection that
// broke is no fault of the event: it is tried again on others, of which as many
// may have broken as the pool has.
func (r *receiver) handle(ctx context.Context, ev Event, enter string) (err error) {
	if len(r.handlers[ev.Name]) == 0 {
		return errUnheard
	}
	ctx, cancel := linger(ctx, handleTimeout)
	defer cancel()
	ctx = telemetry.WithRequestID(ctx, ev.Headers[headerRequestID])
	ctx = telemetry.WithTraceparent(ctx, ev.Headers[headerTraceparent])
	ctx = context.WithValue(ctx, infoKey{}, EventInfo{ID: ev.ID, HappenedAt: ev.HappenedAt})
	ctx, span := telemetry.StartSpan(ctx, "handle "+ev.Name)
	defer func() { span.End(err) }()

	var fresh bool
	for range 1 + r.DB.Stat().MaxConns() {
		err = r.DB.InTx(ctx, func(tx *pg.Tx) error {
			tag, err := tx.Raw().Exec(ctx, enter, ev.ID)
			if err != nil {
				return fmt.Errorf("inbox: %w", err)
			}
			fresh = tag.RowsAffected() > 0
			if !fresh {
				return nil
			}
			for _, h := range r.handlers[ev.Name] {
				if err := h.run(ctx, tx, ev.Payload); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil || away(err) || !broken(err) {
			break
		}
	}
	if err == nil && fresh {
		handled.WithLabelValues(r.Name).Inc()
		delivery.WithLabelValues(r.Name).Observe(time.Since(ev.HappenedAt).Seconds())
	}
	return err
}

// keep puts an event that failed where the retrier finds it.
func (r *receiver) keep(ctx context.Context, ev Event, attempts int, wait time.Duration, cause error) error {
	ctx, cancel := linger(ctx, handleTimeout)
	defer cancel()
	if ev.Headers == nil {
		ev.Headers = map[string]string{}
	}
	tag, err := r.DB.Exec(ctx, `
		INSERT INTO inbox_failed (event_id, name, payload, headers, happened_at, attempts, next_at, last_error)
		SELECT $1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7), $8
		WHERE NOT EXISTS (SELECT FROM inbox WHERE event_id = $1)
		ON CONFLICT DO NOTHING`,
		ev.ID, ev.Name, ev.Payload, ev.Headers, ev.HappenedAt, attempts, wait.Seconds(), excerpt(cause))
	if err != nil {
		return fmt.Errorf("keep failed event %s: %w", ev.ID, err)
	}
	if tag.RowsAffected() == 0 {
		return nil // another delivery of it was handled or kept
	}
	r.tellFailed(ctx, ev, attempts, cause)
	select {
	case r.failed <- struct{}{}:
	default: // it is about to look
	}
	return nil
}

func (r *receiver) tellFailed(ctx context.Context, ev Event, attempts int, cause error) {
	failed.WithLabelValues(r.Name).Inc()
	ctx = telemetry.WithRequestID(ctx, ev.Headers[headerRequestID])
	attrs := []any{"event", ev.Name, "id", ev.ID.String(), "attempts", attempts, "error", excerpt(cause)}
	if attempts < maxAttempts {
		r.log.WarnContext(ctx, "bus: handling an event failed, it is tried again", attrs...)
	} else {
		r.log.ErrorContext(ctx, "bus: an event is parked, nobody handles it until it is replayed or discarded", attrs...)
	}
}

// excerpt returns the text of an error, short and as the database can store it.
func excerpt(err error) string {
	text := strings.ReplaceAll(err.Error(), "\x00", "")
	return strings.ToValidUTF8(text[:min(len(text), maxError)], "")
}
