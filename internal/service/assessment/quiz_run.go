package assessment

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
)

const (
	// prepareAhead is how long before a window opens attempts are made for it, and
	// prepareAfter how long after that they are kept fresh.
	prepareAhead = 15 * time.Minute
	prepareAfter = 5 * time.Minute
	// prepareRound is how often all those enrolled are looked at meanwhile, as what is
	// said for them may change until the last moment.
	prepareRound = time.Minute
	// prepareBeat is how often it is looked for windows that open soon.
	prepareBeat = 15 * time.Second
	// prepareLease is how long who works on a batch has it.
	prepareLease = 30 * time.Second
	// prepareBatch is for how many people attempts are made in one transaction.
	prepareBatch = 250
)

// wakePreparing has what is to be prepared looked at.
func (s *Service) wakePreparing() {
	select {
	case s.unprepared <- struct{}{}:
	default: // somebody is about to look anyway
	}
}

// keepPreparing makes attempts ahead of the windows of quizzes, the marks anew of those
// that were published anew, and the quizzes of courses that were copied, until ctx
// ends. Any number of processes may run it.
func (s *Service) keepPreparing(ctx context.Context) {
	tick := time.NewTicker(prepareBeat)
	defer tick.Stop()
	for {
		for _, step := range []func(context.Context) (bool, error){s.schedulePreparations, s.prepareNext, s.remarkDue, s.dueNext, s.copyNext, s.copyNextAssignment, s.dropOldPreviews} {
			for more := true; more && ctx.Err() == nil; {
				var err error
				if more, err = step(ctx); err != nil && ctx.Err() == nil {
					s.log.WarnContext(ctx, "attempts could not be prepared yet", "error", err.Error())
				}
			}
		}
		select {
		case <-tick.C:
		case <-s.unprepared:
		case <-ctx.Done():
			return
		}
	}
}

// schedulePreparations notes the quizzes whose window opens soon, and forgets those
// whose window has opened or does not open soon any more. There is nothing more of it.
func (s *Service) schedulePreparations(ctx context.Context) (bool, error) {
	now := s.time()
	return false, s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a mark of the worker for itself")
		_, err := tx.Exec(ctx, `
			WITH opening AS (
				SELECT course_id, item_id, opens_at FROM placement
				WHERE present AND kind = 'quiz' AND ref <> '' AND opens_at > $2 AND opens_at <= $3
			), gone AS (
				DELETE FROM quiz_preparation p WHERE NOT EXISTS (SELECT FROM opening o WHERE o.course_id = p.course_id AND o.item_id = p.item_id)
			)
			INSERT INTO quiz_preparation AS p (course_id, item_id, opens_at, next_at) SELECT course_id, item_id, opens_at, $1 FROM opening ORDER BY course_id, item_id
			ON CONFLICT ON CONSTRAINT quiz_preparation_pkey DO UPDATE SET opens_at = EXCLUDED.opens_at, next_at = EXCLUDED.next_at, after_id = ''
			WHERE p.opens_at <> EXCLUDED.opens_at`, now, now.Add(-prepareAfter), now.Add(prepareAhead))
		return err
	})
}

// preparation is the next work on a quiz whose window opens soon.
type preparation struct {
	CourseID string
	ItemID   string
	AfterID  string
}

// prepareNext makes attempts for the next of those enrolled at a quiz whose window
// opens soon, and reports whether there may be more to do. How far it is stays with the
// row, so that it goes on after a crash.
func (s *Service) prepareNext(ctx context.Context) (bool, error) {
	now := s.time()
	p, err := s.takePreparation(ctx, now)
	if err != nil || p == nil {
		return false, err
	}
	rows, err := s.db.Query(ctx, `
		SELECT account_id FROM enrollment WHERE course_id = $1 AND account_id > $2 AND live ORDER BY account_id LIMIT $3`, p.CourseID, p.AfterID, prepareBatch)
	if err != nil {
		return false, fmt.Errorf("who is enrolled: %w", err)
	}
	accounts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return false, fmt.Errorf("who is enrolled: %w", err)
	}
	if len(accounts) == 0 {
		return true, s.leavePreparation(ctx, *p, "", now.Add(prepareRound), nil)
	}
	o, version, err := s.openingOf(ctx, p.CourseID, p.ItemID, "")
	if fault.Is(err, fault.NotFound) { // nothing is published of it yet
		return true, s.leavePreparation(ctx, *p, "", now.Add(prepareRound), nil)
	}
	if err != nil {
		return false, err
	}
	list, err := s.standings(ctx, p.CourseID, p.ItemID, accounts)
	if err != nil {
		return false, err
	}
	var soon []*standing
	var others []string
	for _, st := range list {
		if st.beginsBy(now, now.Add(prepareAhead)) {
			soon = append(soon, st)
		} else {
			others = append(others, st.accountID)
		}
	}
	return true, s.leavePreparation(ctx, *p, accounts[len(accounts)-1], now, func(tx *pg.Tx) error {
		if err := dropPrepared(ctx, tx, `quiz_id = $1 AND item_id = $2 AND account_id = ANY ($3) AND NOT preview`, o.QuizID, p.ItemID, others); err != nil {
			return err
		}
		var number int32
		if err := tx.QueryRow(ctx, `SELECT version FROM quiz WHERE id = $1 AND deleted_at IS NULL FOR KEY SHARE`, o.QuizID).Scan(&number); err != nil {
			return err
		}
		if number != version.Number { // published anew meanwhile: it is begun again for that
			return nil
		}
		return s.prepare(ctx, tx, version, p.ItemID, soon)
	})
}

// beginsBy reports whether somebody may begin now, or by a moment.
func (st *standing) beginsBy(now, by time.Time) bool {
	if !st.enrolled || st.state != "open" && st.state != "locked" && st.state != "hidden" {
		return false
	}
	w := st.window()
	if st.state != "open" && (w.from == nil || w.from.After(by)) {
		return false
	}
	return w.until == nil || now.Before(*w.until)
}

// takePreparation takes the work that is due longest, so that nobody else does for a
// while; nil where there is none.
func (s *Service) takePreparation(ctx context.Context, now time.Time) (*preparation, error) {
	var out *preparation
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a mark of the worker for itself")
		rows, err := tx.Query(ctx, `
			UPDATE quiz_preparation p SET next_at = $2 FROM (
				SELECT course_id, item_id FROM quiz_preparation WHERE next_at <= $1 ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED) AS due
			WHERE p.course_id = due.course_id AND p.item_id = due.item_id RETURNING p.course_id, p.item_id, p.after_id`, now, now.Add(prepareLease))
		if err != nil {
			return fmt.Errorf("next preparation: %w", err)
		}
		list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[preparation])
		if err != nil {
			return fmt.Errorf("next preparation: %w", err)
		}
		if out = nil; len(list) > 0 {
			out = list[0]
		}
		return nil
	})
	return out, err
}

// leavePreparation does work of a batch, and notes how far it is and when it goes on.
// Where it was begun again meanwhile it stays begun.
func (s *Service) leavePreparation(ctx context.Context, p preparation, afterID string, next time.Time, work func(tx *pg.Tx) error) error {
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("an attempt that is prepared was seen by nobody")
		if work != nil {
			if err := work(tx); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `UPDATE quiz_preparation SET after_id = $4, next_at = $5 WHERE course_id = $1 AND item_id = $2 AND after_id = $3`,
			p.CourseID, p.ItemID, p.AfterID, afterID, next)
		return err
	})
}
