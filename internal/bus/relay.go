package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stoa-lms/stoa/internal/pg"
)

const (
	maxBatch       = 500
	minBatch       = 10
	pollOutbox     = 500 * time.Millisecond // for events that another process committed
	publishTimeout = 10 * time.Second
)

// relay hands the events of one outbox to the broker.
//
// The rows are deleted in a transaction that stays open until the broker has
// the events: a process that ends in between leaves them for the next, which
// sends some of them twice. It is not a position up to which all was sent,
// because positions do not become visible in their order.
type relay struct {
	Member

	broker           Broker
	database, server *outage
	refusing         bool // the broker did not take the last batch
}

// run sends what is in the outbox, woken by each transaction of this process
// that published, until ctx ends. The batch in hand is finished.
func (r *relay) run(ctx context.Context) {
	poll := time.NewTicker(pollOutbox)
	defer poll.Stop()
	var pause pause
	limit := maxBatch
	for ctx.Err() == nil {
		sent, err := r.batch(ctx, limit)
		r.note(ctx, err)
		switch {
		case err != nil:
			if r.refusing { // a slow broker may take in parts what it can't take in time
				limit = max(limit/2, minBatch)
			}
			if !pause.wait(ctx) {
				return
			}
			continue
		case sent < limit:
			select {
			case <-r.DB.Signalled():
			case <-poll.C:
			case <-ctx.Done():
			}
		}
		pause.reset()
		limit = min(2*limit, maxBatch)
	}
}

// note tells the outages, and the next batch, how the last one went.
func (r *relay) note(ctx context.Context, err error) {
	_, r.refusing = errors.AsType[*refused](err)
	switch {
	case err == nil:
		r.database.ended(ctx, relayWorker)
		r.server.ended(ctx, r.Name)
	case ctx.Err() != nil: // told to stop
	case r.refusing:
		r.server.began(ctx, r.Name, err)
	default:
		r.database.began(ctx, relayWorker, err)
	}
}

// refused is the error of a broker that did not take a batch.
type refused struct{ error }

func (e *refused) Unwrap() error { return e.error }

// batch sends at most limit events and returns how many.
func (r *relay) batch(ctx context.Context, limit int) (sent int, err error) {
	if r.refusing { // ask without a transaction, for whose end others would wait
		ctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		if err := r.broker.Ping(ctx); err != nil {
			return 0, &refused{err}
		}
	}
	ctx, cancel := linger(ctx, 2*publishTimeout)
	defer cancel()
	err = r.DB.InTx(ctx, func(tx *pg.Tx) error {
		sent = 0
		events, err := takeOutbox(ctx, tx, limit)
		if err != nil || len(events) == 0 {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		if err := r.broker.Publish(ctx, events); err != nil {
			return &refused{fmt.Errorf("publish %d events of %s: %w", len(events), r.Name, err)}
		}
		sent = len(events)
		return nil
	})
	if err != nil {
		return 0, err
	}
	relayed.WithLabelValues(r.Name).Add(float64(sent))
	return sent, nil
}
