package learning

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
)

// How many items of learners are settled with the event itself, and how many in one
// transaction of the work that goes on behind it.
const (
	settleAtOnce  = 50_000
	settleAtATime = 20_000
	settleEvery   = time.Second
)

// crowd is many learners of a course whose completions are to be settled.
type crowd struct {
	CourseID string
	CohortID string   // of this cohort alone; empty for all
	Items    []string // as in whom
	Narrow   bool     // as in whom
	AfterID  string   // the last learner who is settled
}

// size is how many learners are taken together so that there are about so many items.
func (c crowd) size(most int) int {
	items := max(len(c.Items), 20)
	if c.Items == nil {
		items = 200
	}
	return min(max(most/items, 10), 1000)
}

// settleAll settles many learners: at once where they are few, else behind the event,
// some at a time, so that no event takes longer than it may, and no learner waits for
// all others. What a version asks for that is replaced meanwhile is not asked any more.
//
// The caller has locked the course to change it.
func (s *Service) settleAll(ctx context.Context, tx *pg.Tx, c crowd) error {
	var learners int
	err := tx.QueryRow(ctx, `
		SELECT count(*) FROM learner l WHERE l.course_id = $1 AND ($2 = '' OR EXISTS (
			SELECT FROM cohort_member m WHERE m.course_id = l.course_id AND m.account_id = l.account_id AND m.cohort_id = $2))`,
		c.CourseID, c.CohortID).Scan(&learners)
	if err != nil {
		return fmt.Errorf("count learners: %w", err)
	}
	if learners*settleAtOnce/c.size(settleAtOnce) > settleAtOnce {
		return s.settleLater(ctx, tx, c)
	}
	for more := learners > 0; more; {
		if more, err = s.settleSome(ctx, tx, &c, settleAtOnce); err != nil {
			return err
		}
	}
	return nil
}

// settleSome settles the next of a crowd, and reports whether there may be more.
func (s *Service) settleSome(ctx context.Context, tx *pg.Tx, c *crowd, most int) (bool, error) {
	size := c.size(most)
	rows, err := tx.Query(ctx, `
		SELECT l.account_id FROM learner l WHERE l.course_id = $1 AND l.account_id > $2 AND ($3 = '' OR EXISTS (
			SELECT FROM cohort_member m WHERE m.course_id = l.course_id AND m.account_id = l.account_id AND m.cohort_id = $3))
		ORDER BY l.account_id LIMIT $4 FOR UPDATE OF l`, c.CourseID, c.AfterID, c.CohortID, size)
	if err != nil {
		return false, fmt.Errorf("learners: %w", err)
	}
	accounts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return false, fmt.Errorf("learners: %w", err)
	}
	if len(accounts) == 0 {
		return false, nil
	}
	c.AfterID = accounts[len(accounts)-1]
	_, err = s.settle(ctx, tx, whom{c.CourseID, accounts, c.Items, c.Narrow, s.now()})
	return len(accounts) == size, err
}

// settleLater has a crowd settled behind the event. With one that waits for the same
// learners it becomes one, from the beginning.
func (s *Service) settleLater(ctx context.Context, tx *pg.Tx, c crowd) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO settle_task AS t (course_id, cohort_id, items, narrow) VALUES ($1, $2, $3, $4)
		ON CONFLICT (course_id, cohort_id) DO UPDATE SET after_id = '', narrow = t.narrow AND EXCLUDED.narrow,
			items = CASE WHEN t.items IS NOT NULL AND EXCLUDED.items IS NOT NULL
				THEN ARRAY(SELECT unnest(t.items) UNION SELECT unnest(EXCLUDED.items)) END`, c.CourseID, c.CohortID, c.Items, c.Narrow)
	if err != nil {
		return fmt.Errorf("store task: %w", err)
	}
	tx.AfterCommit(func() {
		select {
		case s.wakeSettling <- struct{}{}:
		default: // somebody is about to look anyway
		}
	})
	return nil
}

// keepSettling settles crowds until ctx ends. Any number of processes may run it.
func (s *Service) keepSettling(ctx context.Context) {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = s.nextCrowd(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "learning: completions, trying again", "error", err.Error())
			}
		}
		select {
		case <-tick.C:
		case <-s.wakeSettling:
		case <-ctx.Done():
			return
		}
	}
}

// nextCrowd settles some of the crowd that waits longest, and reports whether there
// may be more. How far it is stays with the task, so that it goes on after a crash.
func (s *Service) nextCrowd(ctx context.Context) (bool, error) {
	var courseID, cohortID string
	err := s.db.QueryRow(ctx, `SELECT course_id, cohort_id FROM settle_task ORDER BY queued LIMIT 1`).Scan(&courseID, &cohortID)
	if pg.NoRows(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("next crowd: %w", err)
	}
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("follows from what was recorded")
		// The course first, as who adds to the task has it.
		if err := lockCourse(ctx, tx, courseID); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `
			SELECT course_id, cohort_id, items, narrow, after_id FROM settle_task WHERE course_id = $1 AND cohort_id = $2 FOR UPDATE`, courseID, cohortID)
		if err != nil {
			return fmt.Errorf("next crowd: %w", err)
		}
		c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[crowd])
		if pg.NoRows(err) {
			return nil // another process was first
		}
		if err != nil {
			return fmt.Errorf("next crowd: %w", err)
		}
		more, err := s.settleSome(ctx, tx, &c, settleAtATime)
		if err != nil {
			return err
		}
		if more {
			_, err = tx.Exec(ctx, `UPDATE settle_task SET after_id = $3 WHERE course_id = $1 AND cohort_id = $2`, courseID, cohortID, c.AfterID)
		} else {
			_, err = tx.Exec(ctx, `DELETE FROM settle_task WHERE course_id = $1 AND cohort_id = $2`, courseID, cohortID)
		}
		if err != nil {
			return fmt.Errorf("next crowd: %w", err)
		}
		return nil
	})
	if err != nil {
		// What fails goes to the end, so that it holds up nothing.
		_, late := s.db.Exec(ctx, `UPDATE settle_task SET queued = DEFAULT WHERE course_id = $1 AND cohort_id = $2`, courseID, cohortID)
		return false, errors.Join(err, late)
	}
	return true, nil
}
