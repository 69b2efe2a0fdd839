package bus

import (
	"context"
	"fmt"
	"time"
)

const (
	remember     = 14 * 24 * time.Hour // how long a second delivery is recognised
	sweepEvery   = time.Hour
	sweepBatch   = 1000
	sweepTimeout = 10 * time.Minute // for all batches; what is left is swept next
	observeEvery = 15 * time.Second
)

// housekeep forgets old events of the inbox and tells the gauges, until ctx ends.
func (r *receiver) housekeep(ctx context.Context) {
	var swept time.Time
	for {
		err := r.database.insist(ctx, sweepWorker, func(ctx context.Context) error {
			if time.Since(swept) > sweepEvery {
				if err := r.sweep(ctx); err != nil {
					return err
				}
				swept = time.Now()
			}
			return r.observe(ctx)
		})
		if err != nil || !sleep(ctx, observeEvery) {
			return
		}
	}
}

// sweep deletes in batches, so that no statement holds many rows for long.
func (r *receiver) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	for {
		tag, err := r.DB.Exec(ctx, `
			DELETE FROM inbox WHERE event_id IN (
				SELECT event_id FROM inbox WHERE handled_at < now() - make_interval(secs => $1)
				ORDER BY handled_at LIMIT $2)`, remember.Seconds(), sweepBatch)
		if err != nil {
			return fmt.Errorf("sweep inbox: %w", err)
		}
		if tag.RowsAffected() < sweepBatch {
			return nil
		}
	}
}

// observe tells the gauges what is in the database.
func (r *receiver) observe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handleTimeout)
	defer cancel()
	var (
		count  int
		oldest float64
	)
	err := r.DB.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM inbox_failed WHERE next_at IS NULL),
			coalesce((SELECT greatest(extract(epoch FROM now() - happened_at), 0) FROM outbox ORDER BY position LIMIT 1), 0)::float8`).
		Scan(&count, &oldest)
	if err != nil {
		return fmt.Errorf("look at outbox and parked events: %w", err)
	}
	parked.WithLabelValues(r.Name).Set(float64(count))
	waiting.WithLabelValues(r.Name).Set(oldest)
	return nil
}
