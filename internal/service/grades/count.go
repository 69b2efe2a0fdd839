package grades

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stoa-lms/stoa/internal/pg"
)

// How many cells are counted in one transaction, about, and how often it is looked
// whether another process has left something to count.
const (
	cellsAtATime = 20_000
	countEvery   = time.Second
)

// countEverybody has all students of a gradebook, which is locked to change, counted
// anew. What was under way begins again.
func (s *Service) countEverybody(ctx context.Context, tx *pg.Tx, courseID string) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO recompute_task (course_id, everybody, total) SELECT $1, true, count(*) FROM student WHERE course_id = $1
		ON CONFLICT (course_id) DO UPDATE SET everybody = true, after_id = '', done = 0, total = EXCLUDED.total`, courseID)
	if err != nil {
		return fmt.Errorf("queue counting: %w", err)
	}
	s.wakeAfter(tx)
	return nil
}

// countStale has those of a gradebook counted who are stale.
func (s *Service) countStale(ctx context.Context, tx *pg.Tx, courseID string) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO recompute_task (course_id, everybody, total) SELECT $1, false, count(*) FROM student WHERE course_id = $1 AND stale
		ON CONFLICT (course_id) DO UPDATE SET queued = DEFAULT,
			total = CASE WHEN recompute_task.everybody THEN recompute_task.total ELSE recompute_task.done + EXCLUDED.total END`, courseID)
	if err != nil {
		return fmt.Errorf("queue counting: %w", err)
	}
	s.wakeAfter(tx)
	return nil
}

// wakeAfter wakes who counts once tx is durable.
func (s *Service) wakeAfter(tx *pg.Tx) {
	tx.AfterCommit(func() {
		select {
		case s.wake <- struct{}{}:
		default: // somebody is about to look anyway
		}
	})
}

// keepCounting counts until ctx ends. Any number of processes may run it.
func (s *Service) keepCounting(ctx context.Context) {
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	for {
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = s.countNext(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "grades: totals, trying again", "error", err.Error())
			}
		}
		if err := s.sweepImports(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "grades: old imports, trying again", "error", err.Error())
		}
		select {
		case <-tick.C:
		case <-s.wake:
		case <-ctx.Done():
			return
		}
	}
}

// countNext counts some students of the gradebook that waits longest, and reports
// whether there may be more. How far it is stays with the task, so that it goes on
// after a crash.
func (s *Service) countNext(ctx context.Context) (bool, error) {
	var courseID string
	err := s.db.QueryRow(ctx, `SELECT course_id FROM recompute_task ORDER BY queued LIMIT 1`).Scan(&courseID)
	if pg.NoRows(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("next to count: %w", err)
	}
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("follows from what was recorded")
		return s.countSome(ctx, tx, courseID)
	})
	if errors.Is(err, errCounted) {
		return false, nil
	}
	if err != nil {
		// What fails goes to the end, so that it holds up nothing.
		_, late := s.db.Exec(ctx, `UPDATE recompute_task SET queued = DEFAULT WHERE course_id = $1`, courseID)
		return false, errors.Join(err, late)
	}
	return true, nil
}

// errCounted is that another process counts the course.
var errCounted = errors.New("grades: another process counts this course")

func (s *Service) countSome(ctx context.Context, tx *pg.Tx, courseID string) error {
	if err := lockGradebook(ctx, tx, courseID); err != nil {
		return err
	}
	// One process counts a course at a time. The task's row is not locked meanwhile: who
	// adds to it has students locked.
	var mine bool
	if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(hashtext('grades.count'), hashtext($1))`, courseID).Scan(&mine); err != nil {
		return fmt.Errorf("next to count: %w", err)
	}
	if !mine {
		return errCounted
	}
	var everybody bool
	var after string
	var queued int64
	err := tx.QueryRow(ctx, `SELECT everybody, after_id, queued FROM recompute_task WHERE course_id = $1`, courseID).Scan(&everybody, &after, &queued)
	if pg.NoRows(err) {
		return nil // another process was first
	}
	if err != nil {
		return fmt.Errorf("next to count: %w", err)
	}
	b, err := s.bookOf(ctx, tx, courseID)
	if err != nil {
		return err
	}
	size := min(max(s.countCells/(len(b.items)+1), 10), 2000)
	which := `account_id > $2`
	if !everybody {
		which, after = `stale AND $2 = ''`, ""
	}
	accounts, err := collectTexts(tx.Query(ctx, `SELECT account_id FROM student WHERE course_id = $1 AND `+which+` ORDER BY account_id LIMIT $3`, courseID, after, size))
	if err != nil {
		return fmt.Errorf("next to count: %w", err)
	}
	if len(accounts) > 0 {
		d, err := s.openLocked(ctx, tx, courseID, accounts...)
		if err != nil {
			return err
		}
		if err := d.settle(ctx); err != nil {
			return err
		}
		after = accounts[len(accounts)-1]
	}
	switch {
	case len(accounts) == size:
		_, err = tx.Exec(ctx, `UPDATE recompute_task SET after_id = $2, done = done + $3 WHERE course_id = $1`, courseID, after, size)
	case everybody:
		// Whom a change for many has made stale meanwhile comes next.
		_, err = tx.Exec(ctx, `
			UPDATE recompute_task SET everybody = false, after_id = '', done = 0, total = 0 WHERE course_id = $1`, courseID)
	default:
		// Unless somebody was made stale since it was looked.
		_, err = tx.Exec(ctx, `DELETE FROM recompute_task WHERE course_id = $1 AND queued = $2`, courseID, queued)
	}
	if err != nil {
		return fmt.Errorf("next to count: %w", err)
	}
	return nil
}
