package commerce

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
)

// Replay says which events are to be taken in again: one of these.
type Replay struct {
	Event  string    // the one with the id
	Since  time.Time // all since then, those too that the provider has and that never came
	Parked bool      // those that failed too often
}

// Replayed is what a replay has found.
type Replayed struct {
	Again  int // events that were kept
	Missed int // events that had not come
}

// maxReplay is how long the provider has its events.
const maxReplay = 30 * 24 * time.Hour

// ErrNoEvent is told of an event that neither we nor the provider have.
var ErrNoEvent = fault.New(fault.NotFound, "payment_event.unknown", "There is no such event.")

// ReplayEvents has events of the provider taken in again, by the process that runs
// commerce, within a minute. That is of no harm: what they are about is looked up.
func ReplayEvents(ctx context.Context, db *pg.DB, t Teller, now time.Time, r Replay) (Replayed, error) {
	if !r.Since.IsZero() && now.Sub(r.Since) > maxReplay {
		return Replayed{}, fmt.Errorf("the provider has the events of the last 30 days: since %s is too early", r.Since.Format(time.RFC3339))
	}
	s := New(Config{DB: db, Now: func() time.Time { return now }})
	done, err := s.replayEvents(ctx, t, r)
	if done == (Replayed{}) {
		return done, err
	}
	// Also of what failed on the way: what it has found is to be taken in again.
	return done, errors.Join(err, db.InTx(ctx, func(tx *pg.Tx) error {
		after := map[string]any{"provider": t.Name(), "again": done.Again, "missed": done.Missed, "parked": r.Parked}
		if !r.Since.IsZero() {
			after["since"] = r.Since.UTC()
		}
		return audit.Record(ctx, tx, audit.Entry{Action: "payment_events.replayed", Object: r.Event, After: after})
	}))
}

// replayEvents is ReplayEvents without what is recorded of it.
func (s *Service) replayEvents(ctx context.Context, t Teller, r Replay) (Replayed, error) {
	switch {
	case r.Event != "":
		again, err := s.replay(ctx, t, `id = $3`, r.Event)
		if err != nil || again > 0 {
			return Replayed{Again: again}, err
		}
		e, err := t.EventByID(ctx, r.Event)
		if fault.Is(err, fault.NotFound) {
			return Replayed{}, ErrNoEvent
		}
		if err != nil {
			return Replayed{}, err
		}
		missed, err := s.keepAll(ctx, t, []Event{e})
		return Replayed{Missed: missed}, err
	case !r.Since.IsZero():
		again, err := s.replay(ctx, t, `happened_at >= $3`, r.Since)
		done := Replayed{Again: again}
		for after := ""; err == nil; {
			var list []Event
			if list, err = t.Events(ctx, r.Since, after); err != nil || len(list) == 0 {
				break
			}
			var missed int
			missed, err = s.keepAll(ctx, t, list)
			done.Missed += missed
			after = list[len(list)-1].ID
		}
		return done, err
	case r.Parked:
		again, err := s.replay(ctx, t, `state = $3`, "parked")
		return Replayed{Again: again}, err
	default:
		return Replayed{}, errors.New("say which events: one, those since a moment, or those that are parked")
	}
}

// replayBatch bounds how many events one transaction has tried again.
const replayBatch = 1000

// replay has kept events tried again.
func (s *Service) replay(ctx context.Context, t Teller, which string, arg any) (int, error) {
	total := 0
	now := s.now()
	for {
		n := 0
		err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
			tx.Exempt("a retry, asked for by an operator")
			tag, err := tx.Exec(ctx, `
				UPDATE provider_event SET state = 'waiting', attempts = 0, next_at = $2, done_at = NULL WHERE (provider, id) IN (
					SELECT provider, id FROM provider_event
					WHERE provider = $1 AND (state <> 'waiting' OR next_at > $2) AND NOT (state = 'ignored' AND problem = $4) AND `+which+fmt.Sprintf(` LIMIT %d FOR UPDATE
				)`, replayBatch), t.Name(), now, arg, otherMode)
			n = int(tag.RowsAffected())
			return err
		})
		total += n
		if err != nil || n < replayBatch {
			return total, err
		}
	}
}

// keepAll keeps events that were looked up, and returns how many had not come.
func (s *Service) keepAll(ctx context.Context, t Teller, list []Event) (int, error) {
	n := 0
	err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
		n = 0
		for _, e := range list {
			kept, err := s.keep(ctx, tx, t, e, nil)
			if err != nil {
				return err
			}
			if kept {
				n++
			}
		}
		return nil
	})
	return n, err
}
