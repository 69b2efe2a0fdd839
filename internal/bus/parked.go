package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
)

// ParkedEvent is an event that a service failed to handle and no longer tries to.
type ParkedEvent struct {
	Event

	Attempts  int
	LastError string
	FailedAt  time.Time
}

// Parked returns the parked events of a service by id, which is the order they
// were published in: at most limit, those after the given id.
func Parked(ctx context.Context, db *pg.DB, limit int, after uuid.UUID) ([]ParkedEvent, error) {
	rows, err := db.Query(ctx, `
		SELECT event_id, name, payload, headers, happened_at, attempts, last_error, failed_at
		FROM inbox_failed WHERE next_at IS NULL AND event_id > $2 ORDER BY event_id LIMIT $1`, limit, after)
	if err != nil {
		return nil, fmt.Errorf("bus: parked events: %w", err)
	}
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (ParkedEvent, error) {
		var p ParkedEvent
		err := row.Scan(&p.ID, &p.Name, &p.Payload, &p.Headers, &p.HappenedAt, &p.Attempts, &p.LastError, &p.FailedAt)
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("bus: parked events: %w", err)
	}
	return events, nil
}

// Replay has parked events handled again, with all their attempts: those with
// the given ids, or all when there are none. It returns how many. The service
// takes them within two seconds.
func Replay(ctx context.Context, db *pg.DB, ids ...uuid.UUID) (int, error) {
	if len(ids) == 0 {
		ids = nil // NULL to the database
	}
	tag, err := db.Exec(ctx, `
		UPDATE inbox_failed SET attempts = 0, next_at = now()
		WHERE next_at IS NULL AND ($1::uuid[] IS NULL OR event_id = ANY($1))`, ids)
	if err != nil {
		return 0, fmt.Errorf("bus: replay: %w", err)
	}
	return int(tag.RowsAffected()), nil
}

// Discard gives up the parked events with the given ids: they count as
// handled. It returns how many there were.
func Discard(ctx context.Context, db *pg.DB, ids ...uuid.UUID) (int, error) {
	tag, err := db.Exec(ctx, `
		WITH gone AS (DELETE FROM inbox_failed WHERE next_at IS NULL AND event_id = ANY($1) RETURNING event_id)
		INSERT INTO inbox (event_id) SELECT event_id FROM gone ON CONFLICT DO NOTHING`, ids)
	if err != nil {
		return 0, fmt.Errorf("bus: discard: %w", err)
	}
	return int(tag.RowsAffected()), nil
}
