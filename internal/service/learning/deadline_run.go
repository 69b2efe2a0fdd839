package learning

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// How much one transaction of the work on deadlines takes, and how often it is
// looked for where nobody wakes it.
const (
	maxDeadlineRows = 20_000
	maxDeadlineTask = 200
	maxEaseTask     = 200
	deadlineEvery   = time.Second
)

// wakeAfter has the work on deadlines begin once tx is durable.
func (s *Service) wakeAfter(tx *pg.Tx) {
	tx.AfterCommit(func() {
		select {
		case s.wake <- struct{}{}:
		default: // somebody is about to look anyway
		}
	})
}

// keepDeadlines makes effective deadlines anew as events and overrides ask for,
// until ctx ends. Any number of processes may run it.
func (s *Service) keepDeadlines(ctx context.Context) {
	tick := time.NewTicker(deadlineEvery)
	defer tick.Stop()
	for {
		for _, step := range []func(context.Context) (bool, error){s.nextEase, s.nextDeadlines} {
			for more := true; more && ctx.Err() == nil; {
				var err error
				if more, err = step(ctx); err != nil && ctx.Err() == nil {
					s.log.WarnContext(ctx, "learning: deadlines, trying again", "error", err.Error())
				}
			}
		}
		select {
		case <-tick.C:
		case <-s.wake:
		case <-ctx.Done():
			return
		}
	}
}

// nextDeadlines does the next of what waits, and reports whether there may be
// more. All of a course is done some learners at a time; how far it is stays with
// the task, so that it goes on after a crash.
func (s *Service) nextDeadlines(ctx context.Context) (bool, error) {
	more := false
	var courseID, accountID, afterID string
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("follows from what was recorded")
		err := tx.QueryRow(ctx, `SELECT course_id, account_id FROM deadline_task ORDER BY queued LIMIT 1`).Scan(&courseID, &accountID)
		if more = err == nil; !more {
			if pg.NoRows(err) {
				return nil
			}
			return fmt.Errorf("next deadlines: %w", err)
		}
		// All lock deadlines before tasks.
		if err := lockDeadlines(ctx, tx, courseID); err != nil {
			return err
		}
		// Its row is locked, so that who enqueues the same waits, and sees it done.
		err = tx.QueryRow(ctx, `SELECT after_id FROM deadline_task WHERE course_id = $1 AND account_id = $2 FOR UPDATE`, courseID, accountID).Scan(&afterID)
		if pg.NoRows(err) {
			return nil // somebody else has done it meanwhile
		}
		if err != nil {
			return fmt.Errorf("next deadlines: %w", err)
		}
		if accountID == "" {
			return s.remakeCourse(ctx, tx, courseID, afterID)
		}
		rows, err := tx.Query(ctx, `
			DELETE FROM deadline_task WHERE course_id = $1 AND account_id IN (
				SELECT account_id FROM deadline_task WHERE course_id = $1 AND account_id <> '' ORDER BY account_id LIMIT $2 FOR UPDATE SKIP LOCKED)
			RETURNING account_id`, courseID, maxDeadlineTask)
		if err != nil {
			return fmt.Errorf("next deadlines: %w", err)
		}
		accounts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("next deadlines: %w", err)
		}
		return s.remake(ctx, tx, courseID, accounts, nil)
	})
	if err != nil && more {
		// What fails goes to the end, so that it holds up nothing.
		_, late := s.db.Exec(ctx, `UPDATE deadline_task SET queued = DEFAULT WHERE course_id = $1 AND account_id = $2`, courseID, accountID)
		return false, errors.Join(err, late)
	}
	return more, err
}

// remakeCourse makes the deadlines of the next learners of a course anew. Deadlines
// are locked before.
func (s *Service) remakeCourse(ctx context.Context, tx *pg.Tx, courseID, afterID string) error {
	// As many as have about so many rows together: the items that have a schedule
	// in any version that is seen, or an override.
	size := maxDeadlineTask
	versions, err := s.versionsOf(ctx, tx, courseID)
	if err != nil {
		return err
	}
	var overridden int
	if err := tx.QueryRow(ctx, `SELECT count(DISTINCT item_id)::int FROM deadline_override WHERE course_id = $1`, courseID).Scan(&overridden); err != nil {
		return fmt.Errorf("count overrides: %w", err)
	}
	most := overridden
	for _, v := range versions {
		most = max(most, overridden+len(v.schedule))
	}
	if most > 0 {
		size = max(1, min(2_000, maxDeadlineRows/most))
	}
	rows, err := tx.Query(ctx, `SELECT account_id FROM learner WHERE course_id = $1 AND account_id > $2 ORDER BY account_id LIMIT $3`, courseID, afterID, size)
	if err != nil {
		return fmt.Errorf("next learners: %w", err)
	}
	accounts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("next learners: %w", err)
	}
	if len(accounts) > 0 {
		if err := s.remake(ctx, tx, courseID, accounts, nil); err != nil {
			return err
		}
	}
	if len(accounts) < size {
		_, err = tx.Exec(ctx, `DELETE FROM deadline_task WHERE course_id = $1 AND account_id = ''`, courseID)
	} else {
		_, err = tx.Exec(ctx, `UPDATE deadline_task SET after_id = $2 WHERE course_id = $1 AND account_id = ''`, courseID, accounts[len(accounts)-1])
	}
	if err != nil {
		return fmt.Errorf("next learners: %w", err)
	}
	return nil
}

// nextEase asks access about the next of those whose accommodations are to be
// asked for, and reports whether there may be more. It is asked outside of
// transactions; what came up meanwhile is asked again.
func (s *Service) nextEase(ctx context.Context) (bool, error) {
	if s.access == nil {
		return false, nil
	}
	rows, err := s.db.Query(ctx, `
		SELECT account_id, queued, course_id FROM ease_task WHERE course_id = (SELECT course_id FROM ease_task ORDER BY queued LIMIT 1)
		ORDER BY account_id LIMIT $1`, maxEaseTask)
	if err != nil {
		return false, fmt.Errorf("next accommodations: %w", err)
	}
	var accounts []string
	var stamps []int64
	var courseID, account string
	var stamp int64
	if _, err := pgx.ForEachRow(rows, []any{&account, &stamp, &courseID}, func() error {
		accounts, stamps = append(accounts, account), append(stamps, stamp)
		return nil
	}); err != nil {
		return false, fmt.Errorf("next accommodations: %w", err)
	}
	if len(accounts) == 0 {
		return false, nil
	}
	answer, err := s.access.ListAccommodations(ctx, &accesspb.ListAccommodationsRequest{AccountIds: accounts, CourseId: courseID})
	if err != nil {
		return false, fmt.Errorf("ask for accommodations: %w", err)
	}
	// Of one for the course and one for all courses the more generous counts.
	days := map[string]int32{}
	for _, a := range answer.GetItems() {
		days[a.GetAccountId()] = max(days[a.GetAccountId()], a.GetEase().GetExtraDays())
	}
	extra := make([]int32, len(accounts))
	for i, account := range accounts {
		extra[i] = days[account]
	}
	return true, s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a copy")
		return s.storeEase(ctx, tx, courseID, accounts, stamps, extra)
	})
}

// storeEase keeps answers to what was not asked anew since.
func (s *Service) storeEase(ctx context.Context, tx *pg.Tx, courseID string, accounts []string, stamps []int64, extra []int32) error {
	rows, err := tx.Query(ctx, `
		DELETE FROM ease_task t USING unnest($2::text[], $3::bigint[], $4::int[]) AS f (account_id, queued, extra_days)
		WHERE t.course_id = $1 AND t.account_id = f.account_id AND t.queued = f.queued RETURNING f.account_id, f.extra_days`, courseID, accounts, stamps, extra)
	if err != nil {
		return fmt.Errorf("accommodations: %w", err)
	}
	var account string
	var n int32
	var known []string
	var days []int32
	if _, err := pgx.ForEachRow(rows, []any{&account, &n}, func() error {
		known, days = append(known, account), append(days, n)
		return nil
	}); err != nil {
		return fmt.Errorf("accommodations: %w", err)
	}
	rows, err = tx.Query(ctx, `
		WITH fresh AS (SELECT * FROM unnest($2::text[], $3::int[]) AS f (account_id, extra_days)), gone AS (
			DELETE FROM ease e USING fresh f WHERE e.course_id = $1 AND e.account_id = f.account_id AND f.extra_days = 0 RETURNING e.account_id
		), kept AS (
			INSERT INTO ease AS e (account_id, course_id, extra_days) SELECT account_id, $1, extra_days FROM fresh WHERE extra_days > 0
			ON CONFLICT (account_id, course_id) DO UPDATE SET extra_days = EXCLUDED.extra_days WHERE e.extra_days <> EXCLUDED.extra_days
			RETURNING e.account_id
		) SELECT account_id FROM gone UNION ALL SELECT account_id FROM kept`, courseID, known, days)
	if err != nil {
		return fmt.Errorf("accommodations: %w", err)
	}
	changed, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(changed) == 0 {
		return err
	}
	return s.enqueueWhere(ctx, tx, `SELECT $1::text, a FROM unnest($2::text[]) AS a`, courseID, changed)
}
