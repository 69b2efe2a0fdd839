package assessment

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

const (
	// easeBeat is how often it is looked for what is eased for people anew.
	easeBeat = time.Second
	// easeRetry is when it is asked again where access did not answer.
	easeRetry = 2 * time.Second
	// easeBatch is how many people are looked at in one go.
	easeBatch = 100
)

// noteEased notes that something else is eased for somebody: their attempts follow
// once access has been asked what.
func (s *Service) noteEased(ctx context.Context, tx *pg.Tx, e *accesspb.AccommodationChanged) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO accommodation_task (account_id, retry_at) VALUES ($1, $2)
		ON CONFLICT ON CONSTRAINT accommodation_task_pkey DO UPDATE SET version = accommodation_task.version + 1, retry_at = EXCLUDED.retry_at`,
		e.GetAccountId(), s.time())
	return err
}

// keepEasing has attempts that run follow what is eased, until ctx ends.
func (s *Service) keepEasing(ctx context.Context) {
	for ctx.Err() == nil {
		n, err := s.easeDue(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "what is eased for people could not be applied yet", "error", err.Error())
		}
		if err == nil && n == easeBatch {
			continue
		}
		s.wait(ctx, nil, easeBeat)
	}
}

// easeTask is somebody with attempts that have to follow.
type easeTask struct {
	AccountID string
	Version   int64
}

// easeDue applies what is eased to the attempts of some people, and returns how many
// these were.
func (s *Service) easeDue(ctx context.Context) (int, error) {
	if s.accommodations == nil {
		return 0, nil
	}
	var tasks []easeTask
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a mark of the worker for itself")
		// Who dies has the task for a while.
		rows, err := tx.Query(ctx, `
			UPDATE accommodation_task t SET retry_at = $2 FROM (
				SELECT account_id FROM accommodation_task WHERE retry_at <= $1 ORDER BY retry_at LIMIT $3 FOR UPDATE SKIP LOCKED) AS due
			WHERE t.account_id = due.account_id RETURNING t.account_id, t.version`, s.time(), s.time().Add(easeRetry), easeBatch)
		if err != nil {
			return err
		}
		tasks, err = pgx.CollectRows(rows, pgx.RowToStructByName[easeTask])
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("take people: %w", err)
	}
	if len(tasks) == 0 {
		return 0, nil
	}
	accounts, versions := make([]string, len(tasks)), make([]int64, len(tasks))
	for i, t := range tasks {
		accounts[i], versions[i] = t.AccountID, t.Version
	}
	courses, err := s.runningCourses(ctx, accounts)
	if err != nil {
		return 0, err
	}
	for course, people := range courses {
		if err := s.easeIn(ctx, course, people); err != nil {
			return 0, err
		}
	}
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a mark of the worker for itself")
		_, err := tx.Exec(ctx, `
			DELETE FROM accommodation_task t USING unnest($1::text[], $2::bigint[]) AS d (account_id, version)
			WHERE t.account_id = d.account_id AND t.version = d.version`, accounts, versions)
		return err
	})
	return len(tasks), err
}

// runningCourses returns the courses in which people have attempts that run or are
// prepared, with these people.
func (s *Service) runningCourses(ctx context.Context, accounts []string) (map[string][]string, error) {
	rows, err := s.db.Query(ctx, `SELECT DISTINCT course_id, account_id FROM attempt WHERE account_id = ANY ($1) AND state IN ('prepared', 'in_progress')`, accounts)
	if err != nil {
		return nil, fmt.Errorf("courses of people: %w", err)
	}
	out := map[string][]string{}
	var course, account string
	_, err = pgx.ForEachRow(rows, []any{&course, &account}, func() error {
		out[course] = append(out[course], account)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("courses of people: %w", err)
	}
	return out, nil
}

// easeIn applies what is eased to the attempts of people in a course. What was given
// to an attempt that runs stays: nobody's time is cut short while they answer.
func (s *Service) easeIn(ctx context.Context, course string, people []string) error {
	eased, err := s.easedFor(ctx, course, people)
	if err != nil {
		return fmt.Errorf("ask what is eased: %w", err)
	}
	percents, breaks := make([]int32, len(people)), make([]bool, len(people))
	for i, p := range people {
		var st standing
		st.ease(eased[p])
		percents[i], breaks[i] = st.timePercent, st.breaks
	}
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("access has recorded what is eased")
		rows, err := tx.Query(ctx, `
			UPDATE attempt a SET time_percent = GREATEST(a.time_percent, n.percent), breaks = a.breaks OR n.breaks, revision = revision + 1
			FROM unnest($2::text[], $3::int[], $4::bool[]) AS n (account_id, percent, breaks)
			WHERE a.id IN (SELECT id FROM attempt WHERE course_id = $1 AND account_id = ANY ($2) AND state IN ('prepared', 'in_progress') ORDER BY id FOR NO KEY UPDATE)
				AND a.account_id = n.account_id AND (a.time_percent < n.percent OR n.breaks AND NOT a.breaks)
			RETURNING a.id`, course, people, percents, breaks)
		if err != nil {
			return fmt.Errorf("ease attempts: %w", err)
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("ease attempts: %w", err)
		}
		return s.expire(ctx, tx, ids)
	})
}
