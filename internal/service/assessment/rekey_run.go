package assessment

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
)

const (
	// rekeyBeat is how often it is looked for what others have left.
	rekeyBeat = 5 * time.Second
	// rekeyKept is how long a preview that nobody applies is kept.
	rekeyKept = 7 * 24 * time.Hour
)

// wakeRekeying has re-keys looked at.
func (s *Service) wakeRekeying() {
	select {
	case s.rekeying <- struct{}{}:
	default: // it is about to look anyway
	}
}

// keepRekeying works out previews and has attempts follow the re-keys that are applied,
// until ctx ends. Any number of processes may run it: how far each is stays with its
// rows.
func (s *Service) keepRekeying(ctx context.Context) {
	for ctx.Err() == nil {
		for _, step := range []func(context.Context) (bool, error){s.applyNext, s.previewNext, s.expireRekeys} {
			for more := true; more && ctx.Err() == nil; {
				var err error
				if more, err = step(ctx); err != nil {
					more = false
					if ctx.Err() == nil {
						s.log.WarnContext(ctx, "a re-key could not go on yet", "error", err.Error())
					}
				}
			}
		}
		s.wait(ctx, s.rekeying, rekeyBeat)
	}
}

// expireRekeys gives up a preview that nobody has applied, and reports whether there may
// be more.
func (s *Service) expireRekeys(ctx context.Context) (more bool, err error) {
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a preview changes nothing")
		rows, err := tx.Query(ctx, `
			UPDATE rekey SET state = 'expired' WHERE id IN (
				SELECT id FROM rekey WHERE state = 'ready' AND created_at < $1 ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)
			RETURNING id`, s.time().Add(-rekeyKept))
		if err != nil {
			return fmt.Errorf("end previews: %w", err)
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("end previews: %w", err)
		}
		more = len(ids) > 0
		_, err = tx.Exec(ctx, `DELETE FROM rekey_attempt WHERE rekey_id = ANY ($1)`, ids)
		return err
	})
	return more, err
}
