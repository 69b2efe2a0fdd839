package bus

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/telemetry"
)

// Headers that every event carries when its sender had them.
const (
	headerRequestID   = "request_id"
	headerTraceparent = "traceparent"
)

// MaxEvent bounds an event in bytes. Events say what happened and name it by id;
// a broker must be able to hold a batch of them.
const MaxEvent = 4 << 20

// Publish has events sent once tx commits. It writes them to the outbox of the
// transaction's schema, in the order given.
//
// An error means that an event can't be sent at all, and that the transaction
// should fail.
func Publish(ctx context.Context, tx *pg.Tx, events ...proto.Message) error {
	if len(events) == 0 {
		return nil
	}
	args, err := outboxRows(ctx, events)
	if err != nil {
		return err
	}
	if _, err := tx.Raw().Exec(ctx, insertOutbox, args...); err != nil {
		return fmt.Errorf("bus: publish: %w", err)
	}
	tx.Signal()
	return nil
}

// Queue is [Publish] as one of the statements of a batch, which is sent in tx.
func Queue(ctx context.Context, tx *pg.Tx, b *pgx.Batch, events ...proto.Message) error {
	if len(events) == 0 {
		return nil
	}
	args, err := outboxRows(ctx, events)
	if err != nil {
		return err
	}
	b.Queue(insertOutbox, args...)
	tx.Signal()
	return nil
}

// The order of the rows is the order of their positions.
const insertOutbox = `
	INSERT INTO outbox (event_id, name, payload, headers)
	SELECT e.id, e.name, e.payload, $4
	FROM unnest($1::uuid[], $2::text[], $3::bytea[]) WITH ORDINALITY AS e (id, name, payload, n)
	ORDER BY e.n`

// outboxRows returns the parameters of insertOutbox.
func outboxRows(ctx context.Context, events []proto.Message) ([]any, error) {
	ids := make([]uuid.UUID, len(events))
	names := make([]string, len(events))
	payloads := make([][]byte, len(events))
	for i, event := range events {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("bus: event id: %w", err)
		}
		name := string(event.ProtoReflect().Descriptor().FullName())
		payload, err := proto.Marshal(event)
		if err != nil {
			return nil, fmt.Errorf("bus: publish %s: %w", name, err)
		}
		if len(payload) > MaxEvent {
			return nil, fmt.Errorf("bus: publish %s: %d bytes, an event has at most %d", name, len(payload), MaxEvent)
		}
		ids[i], names[i], payloads[i] = id, name, payload
	}
	headers := map[string]string{}
	if rid := telemetry.RequestID(ctx); rid != "" {
		headers[headerRequestID] = rid
	}
	if tp := telemetry.Traceparent(ctx); tp != "" {
		headers[headerTraceparent] = tp
	}
	return []any{ids, names, payloads, headers}, nil
}

// takeOutbox deletes the oldest events of the outbox and returns them. Until tx
// ends, others who call it for the same schema wait: so the events leave in
// the order of their positions, whoever sends them.
func takeOutbox(ctx context.Context, tx *pg.Tx, limit int) ([]Event, error) {
	// A statement of its own: the next one must see what the other sent.
	if _, err := tx.Raw().Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('stoa.relay'), hashtext(current_schema()))`); err != nil {
		return nil, fmt.Errorf("take turns: %w", err)
	}
	rows, err := tx.Raw().Query(ctx, `
		WITH taken AS (
			DELETE FROM outbox WHERE position IN (
				SELECT position FROM outbox ORDER BY position LIMIT $1 FOR UPDATE SKIP LOCKED)
			RETURNING position, event_id, name, payload, headers, happened_at)
		SELECT event_id, name, payload, headers, happened_at FROM taken ORDER BY position`, limit)
	if err != nil {
		return nil, fmt.Errorf("take from outbox: %w", err)
	}
	events, err := pgx.CollectRows(rows, scanEvent)
	if err != nil {
		return nil, fmt.Errorf("take from outbox: %w", err)
	}
	return events, nil
}

// scanEvent reads event_id, name, payload, headers and happened_at.
func scanEvent(row pgx.CollectableRow) (Event, error) {
	var ev Event
	err := row.Scan(&ev.ID, &ev.Name, &ev.Payload, &ev.Headers, &ev.HappenedAt)
	return ev, err
}
