package commerce

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
)

// What the provider is asked for is written down in the transaction that wants it and
// carried out after, as often as it takes: the key makes that it has its effect once.

// The kinds of calls; the object is what the call is about.
const (
	callCheckout     = "checkout"     // a payment gets its page
	callClose        = "close"        // a payment can't be paid any more
	callRefund       = "refund"       // some of a payment is given back
	callAccount      = "account"      // a teacher gets an account to be paid to
	callTransfer     = "transfer"     // a payout is handed over
	callReversal     = "reversal"     // a payout is taken back
	callSubscription = "subscription" // a subscription ends, or goes on
)

// call is something to ask the provider for.
type call struct {
	Key      string
	Kind     string
	ObjectID string
	Attempts int
}

// carriers carry out a call of a kind: they ask the provider with the call's key and
// write down what came of it in a transaction in which they also call [done]. What they
// return says that it is to be tried again; of a *fault.Error that says that to ask again
// is of no use, the call is refused, in a transaction with what refused does.
func (s *Service) carriers() map[string]carrier {
	return map[string]carrier{
		callCheckout:     {s.carryCheckout, s.checkoutRefused},
		callClose:        {s.carryClose, nil},
		callRefund:       {s.carryRefund, s.refundRefused},
		callAccount:      {s.carryAccount, nil},
		callTransfer:     {s.carryTransfer, s.transferRefused},
		callReversal:     {s.carryReversal, s.reversalRefused},
		callSubscription: {s.carrySubscription, s.subscriptionRefused},
	}
}

type carrier struct {
	carry   func(ctx context.Context, c call) error
	refused func(ctx context.Context, tx *pg.Tx, c call, why string) error
}

const (
	callLease   = 2 * time.Minute // after which somebody else may try
	callTimeout = time.Minute
	callBatch   = 20
	maxCallRest = 10 * time.Minute // between two tries
)

// ask writes down what the provider is to be asked for, once for its key. It is carried
// out soon after tx.
func (s *Service) ask(ctx context.Context, tx *pg.Tx, kind, object string) error {
	return s.askAs(ctx, tx, kind+":"+object, kind, object)
}

// askAs is ask under a key.
func (s *Service) askAs(ctx context.Context, tx *pg.Tx, key, kind, object string) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO provider_call (key, kind, object_id, next_at, created_at) VALUES ($1, $2, $3, $4, $4)
		ON CONFLICT ON CONSTRAINT provider_call_once DO NOTHING`, key, kind, object, s.now())
	tx.AfterCommit(s.wake)
	return err
}

// done writes down that a call was carried out.
func (s *Service) done(ctx context.Context, tx *pg.Tx, c call) error {
	_, err := tx.Exec(ctx, `UPDATE provider_call SET state = 'done', done_at = $2, problem = '' WHERE key = $1`, c.Key, s.now())
	return err
}

// wake has what somebody waits for done at once.
func (s *Service) wake() { signal(s.work) }

// signal tells who waits for it, once, however often before they look.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// carryOut carries out what is due, and returns how many calls.
func (s *Service) carryOut(ctx context.Context) (int, error) {
	total := 0
	for ctx.Err() == nil {
		calls, err := s.claim(ctx, `next_at <= $1 ORDER BY next_at, id LIMIT $3 FOR UPDATE SKIP LOCKED`, callBatch)
		if err != nil || len(calls) == 0 {
			return total, err
		}
		for _, c := range calls {
			if err := s.carry(ctx, c); err != nil {
				return total, err
			}
			total++
		}
	}
	return total, nil
}

// carryNow carries out one call at once, for who waits for what it brings, also when
// somebody else does: the key makes that it is done once. What goes wrong, and what has
// failed before, is left to [carryOut].
func (s *Service) carryNow(ctx context.Context, key string) {
	calls, err := s.claim(ctx, `key = $3 AND created_at <= $1 AND problem = '' FOR UPDATE`, key)
	for _, c := range calls {
		err = s.carry(ctx, c)
	}
	if err != nil && ctx.Err() == nil {
		s.Log.WarnContext(ctx, "the payment provider could not be asked", "call", key, "error", err.Error())
	}
}

// claim takes calls to carry out. One that is about the same as an earlier one waits until
// that is done, so that what was decided last is what the provider hears last.
func (s *Service) claim(ctx context.Context, which string, arg any) (calls []call, err error) {
	if s.provider == nil {
		return nil, nil
	}
	err = s.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a lease")
		now := s.now()
		rows, err := tx.Query(ctx, `
			UPDATE provider_call SET attempts = attempts + 1, next_at = $2 WHERE id IN (
				SELECT id FROM provider_call c WHERE state = 'waiting' AND NOT EXISTS (
					SELECT FROM provider_call e WHERE e.object_id = c.object_id AND e.kind = c.kind AND e.id < c.id AND e.state = 'waiting'
				) AND `+which+`
			) RETURNING key, kind, object_id, attempts`, now, now.Add(callLease), arg)
		if err != nil {
			return err
		}
		calls, err = pgx.CollectRows(rows, pgx.RowToStructByPos[call])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("calls of the provider: %w", err)
	}
	return calls, nil
}

// carry carries out a call that was claimed, and writes down what goes wrong.
func (s *Service) carry(ctx context.Context, c call) error {
	k, ok := s.carriers()[c.Kind]
	if !ok {
		return s.again(ctx, c, "this version does not know this kind of call")
	}
	one, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := k.carry(one, c)
	if err == nil {
		return nil
	}
	if final(err) {
		return s.DB.InTx(ctx, func(tx *pg.Tx) error {
			if _, err := tx.Exec(ctx, `UPDATE provider_call SET state = 'refused', done_at = $2, problem = $3 WHERE key = $1`, c.Key, s.now(), err.Error()); err != nil {
				return err
			}
			if k.refused != nil {
				return k.refused(ctx, tx, c, err.Error())
			}
			tx.Exempt("nothing changes by it")
			return nil
		})
	}
	s.Log.WarnContext(ctx, "the payment provider was asked in vain", "call", c.Key, "attempt", c.Attempts, "error", err.Error())
	return s.again(ctx, c, err.Error())
}

// again has a call tried later, each time after twice as long.
func (s *Service) again(ctx context.Context, c call, problem string) error {
	rest := min(time.Second<<min(c.Attempts-1, 16), maxCallRest)
	return s.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a retry")
		_, err := tx.Exec(ctx, `UPDATE provider_call SET next_at = $2, problem = $3 WHERE key = $1 AND state = 'waiting'`, c.Key, s.now().Add(rest), problem)
		return err
	})
}

// final reports whether to ask again is of no use.
func final(err error) bool {
	return fault.Is(err, fault.Invalid) || fault.Is(err, fault.NotFound) || fault.Is(err, fault.Conflict)
}
