package commerce

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/stoa-lms/stoa/internal/pg"
)

const (
	eventLease    = 2 * time.Minute // after which somebody else may try
	eventBatch    = 50
	eventsAtOnce  = 6
	maxEventTries = 14 // over some hours
	maxEventRest  = time.Hour
	// eventBodies is how long the text of events is kept.
	eventBodies = 90 * 24 * time.Hour
)

type keptEvent struct {
	Event
	ReceivedAt time.Time
	Attempts   int
}

// hearEvents takes in what the provider has told and is due, and returns how many.
func (s *Service) hearEvents(ctx context.Context) (int, error) {
	t, ok := s.provider.(Teller)
	if !ok {
		return 0, nil
	}
	total := 0
	for ctx.Err() == nil {
		events, err := s.claimEvents(ctx, t)
		if err != nil || len(events) == 0 {
			return total, err
		}
		// Each asks the provider, so several do at once.
		g, each := errgroup.WithContext(ctx)
		g.SetLimit(eventsAtOnce)
		for _, e := range events {
			g.Go(func() error { return s.hearEvent(each, t, e) })
		}
		if err := g.Wait(); err != nil {
			return total, err
		}
		total += len(events)
	}
	return total, nil
}

// claimEvents returns some that are due and can be taken in.
func (s *Service) claimEvents(ctx context.Context, t Teller) (events []keptEvent, err error) {
	err = s.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a lease")
		now := s.now()
		rows, err := tx.Query(ctx, `
			UPDATE provider_event SET attempts = attempts + 1, next_at = $2 WHERE (provider, id) IN (
				SELECT provider, id FROM provider_event
				WHERE provider = $3 AND state = 'waiting' AND next_at <= $1
				ORDER BY next_at LIMIT $4 FOR UPDATE SKIP LOCKED
			) RETURNING id, type, object_id, account, happened_at, problem, received_at, attempts`, now, now.Add(eventLease), t.Name(), eventBatch)
		if err != nil {
			return err
		}
		events, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (e keptEvent, err error) {
			err = row.Scan(&e.ID, &e.Type, &e.ObjectID, &e.Account, &e.HappenedAt, &e.Problem, &e.ReceivedAt, &e.Attempts)
			return e, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("events of the provider: %w", err)
	}
	return events, nil
}

// hearEvent takes in an event that was claimed: it looks up what it is about and has
// that heard.
func (s *Service) hearEvent(ctx context.Context, t Teller, e keptEvent) error {
	if t.About(e.Type) == "" {
		return s.endEvent(ctx, t, e, eventIgnored, "")
	}
	one, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	asked := s.now()
	news, err := t.News(one, e.Event)
	if news.Subscription != nil {
		news.Subscription.AskedAt = asked
	}
	if err == nil {
		err = s.hear(one, news, func(tx *pg.Tx) error {
			tx.Exempt("what is heard is recorded where it changes something")
			_, err := tx.Exec(one, `
				UPDATE provider_event SET state = 'done', done_at = $3, problem = '' WHERE provider = $1 AND id = $2`, t.Name(), e.ID, s.now())
			return err
		})
	}
	switch {
	case err == nil:
		eventsEnded.WithLabelValues("done").Inc()
		eventSeconds.Observe(max(0, s.now().Sub(e.ReceivedAt).Seconds()))
		return nil
	case ctx.Err() != nil:
		return ctx.Err() // its lease ends
	case errors.Is(err, errNotOurs), errors.Is(err, ErrPaymentNotFound):
		return s.endEvent(ctx, t, e, eventIgnored, err.Error())
	case e.Attempts >= maxEventTries:
		s.Log.ErrorContext(ctx, "an event of the payment provider is parked: see `stoa admin payments replay`",
			"event", e.ID, "type", e.Type, "object", e.ObjectID, "error", err.Error())
		return s.endEvent(ctx, t, e, "parked", err.Error())
	}
	eventsEnded.WithLabelValues("failed").Inc()
	s.Log.WarnContext(ctx, "an event of the payment provider could not be taken in", "event", e.ID, "type", e.Type, "attempt", e.Attempts, "error", err.Error())
	return s.postponeEvent(ctx, t, e, min(time.Second<<min(e.Attempts-1, 16), maxEventRest), err.Error(), e.Attempts)
}

// endEvent writes down that an event is not tried any more.
func (s *Service) endEvent(ctx context.Context, t Teller, e keptEvent, state, problem string) error {
	eventsEnded.WithLabelValues(state).Inc()
	return s.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("nothing changes by it")
		_, err := tx.Exec(ctx, `
			UPDATE provider_event SET state = $3, done_at = $4, problem = $5 WHERE provider = $1 AND id = $2 AND state = 'waiting'`,
			t.Name(), e.ID, state, s.now(), problem)
		return err
	})
}

// postponeEvent has an event tried later.
func (s *Service) postponeEvent(ctx context.Context, t Teller, e keptEvent, rest time.Duration, problem string, attempts int) error {
	return s.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a retry")
		_, err := tx.Exec(ctx, `
			UPDATE provider_event SET next_at = $3, problem = $4, attempts = $5 WHERE provider = $1 AND id = $2 AND state = 'waiting'`,
			t.Name(), e.ID, s.now().Add(rest), problem, attempts)
		return err
	})
}

// sweepEvents deletes the text of old events, some at a time, and counts those that
// are parked.
func (s *Service) sweepEvents(ctx context.Context) (int, error) {
	if _, ok := s.provider.(Teller); !ok {
		return 0, nil
	}
	var parked float64
	if err := s.DB.QueryRow(ctx, `SELECT count(*) FROM provider_event WHERE state = 'parked'`).Scan(&parked); err != nil {
		return 0, err
	}
	eventsParked.Set(parked)
	total := 0
	for {
		n := 0
		err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
			tx.Exempt("retention")
			tag, err := tx.Exec(ctx, `
				UPDATE provider_event SET body = NULL WHERE (provider, id) IN (
					SELECT provider, id FROM provider_event WHERE body IS NOT NULL AND received_at <= $1 LIMIT 1000
				)`, s.now().Add(-eventBodies))
			n = int(tag.RowsAffected())
			return err
		})
		total += n
		if err != nil || n == 0 {
			return total, err
		}
	}
}

// Payments of which nothing is heard are looked up: after a while, then ever more
// rarely.
const (
	firstLook = 3 * time.Minute
	maxLooks  = 200 // over a week, after which a fee that is never told is not asked for
	lookBatch = 50
)

// lookAtPayments asks the provider how payments stand that are not over, and returns how
// many: what it told of them may have been lost.
func (s *Service) lookAtPayments(ctx context.Context) (int, error) {
	t, ok := s.provider.(Teller)
	if !ok {
		return 0, nil
	}
	total := 0
	for ctx.Err() == nil {
		refs, err := s.claimLooks(ctx, t)
		if err != nil || len(refs) == 0 {
			return total, err
		}
		g, each := errgroup.WithContext(ctx)
		g.SetLimit(eventsAtOnce)
		for _, ref := range refs {
			g.Go(func() error {
				one, cancel := context.WithTimeout(each, callTimeout)
				defer cancel()
				news, err := t.Payment(one, ref)
				if err == nil {
					err = s.DB.InTx(one, func(tx *pg.Tx) error { return s.heardPayment(one, tx, news) })
				}
				if err != nil && ctx.Err() == nil {
					s.Log.WarnContext(ctx, "a payment could not be looked up", "ref", ref, "error", err.Error())
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return total, err
		}
		total += len(refs)
	}
	return total, nil
}

func (s *Service) claimLooks(ctx context.Context, t Teller) (refs []string, err error) {
	err = s.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a lease")
		rows, err := tx.Query(ctx, `
			UPDATE payment SET looked = looked + 1, next_look = CASE WHEN looked >= $4 THEN 'infinity'
				ELSE $1::timestamptz + least(interval '1 minute' * power(2, least(looked, 10) + 1), interval '1 hour') END
			WHERE id IN (
				SELECT id FROM payment
				WHERE provider = $2 AND ref IS NOT NULL AND (state IN ('open', 'processing') OR state = 'succeeded' AND fee IS NULL)
					AND next_look <= $1 ORDER BY next_look LIMIT $3 FOR UPDATE SKIP LOCKED
			) RETURNING ref`, s.now(), t.Name(), lookBatch, maxLooks)
		if err != nil {
			return err
		}
		refs, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("payments to look up: %w", err)
	}
	return refs, nil
}

// tell runs until ctx ends: it takes in what the provider tells as soon as it comes.
func (s *Service) tell(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if _, err := s.hearEvents(ctx); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "events of the payment provider could not be taken in", "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-s.told:
			continue
		case <-tick.C:
		}
		if _, err := s.lookAtPayments(ctx); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "payments could not be looked up", "error", err.Error())
		}
		if _, err := s.lookAtSubscriptions(ctx); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "subscriptions could not be looked up", "error", err.Error())
		}
		if _, err := s.sweepEvents(ctx); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "events of the payment provider could not be swept", "error", err.Error())
		}
	}
}
