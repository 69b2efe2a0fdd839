package assessment

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// dueBatch is for how many people due dates are asked at a time.
const dueBatch = 200

// deadlinesChanged has learning asked by when quizzes are due now for those who have
// handed one in, or take one: how late they are may be another. What was made ahead for
// any of them is made anew.
func (s *Service) deadlinesChanged(ctx context.Context, tx *pg.Tx, e *learningpb.DeadlinesChanged) error {
	if err := dropPrepared(ctx, tx, `course_id = $1 AND account_id = ANY ($2) AND NOT preview`, e.GetCourseId(), e.GetAccountIds()); err != nil {
		return err
	}
	// Looked at once nobody can begin what was made ahead.
	if _, err := tx.Exec(ctx, `
		INSERT INTO quiz_due (course_id, item_id, account_id)
		SELECT course_id, item_id, account_id FROM quiz_mark WHERE course_id = $1 AND account_id = ANY ($2) AND state <> 'none'
		UNION SELECT course_id, item_id, account_id FROM attempt WHERE course_id = $1 AND account_id = ANY ($2) AND state = 'in_progress' AND NOT preview
		ORDER BY item_id, account_id
		ON CONFLICT ON CONSTRAINT quiz_due_pkey DO UPDATE SET queued = DEFAULT`, e.GetCourseId(), e.GetAccountIds()); err != nil {
		return fmt.Errorf("ask for due dates: %w", err)
	}
	if err := s.askDues(ctx, tx, e.GetCourseId(), e.GetAccountIds()); err != nil {
		return err
	}
	tx.AfterCommit(s.wakePreparing)
	return nil
}

// dueTask is whose due date of which item is asked for.
type dueTask struct {
	CourseID  string
	ItemID    string
	AccountID string
	Queued    int64
}

// dueNext asks learning about the next people at an item, has their attempts know by
// when they were due, and makes their marks anew. It reports whether there may be more.
// Of who takes the course no more it stays as it was. What comes up meanwhile is asked
// again.
func (s *Service) dueNext(ctx context.Context) (bool, error) {
	rows, err := s.db.Query(ctx, `
		SELECT d.course_id, d.item_id, d.account_id, d.queued FROM quiz_due d
		JOIN (SELECT course_id, item_id FROM quiz_due ORDER BY queued LIMIT 1) AS next ON next.course_id = d.course_id AND next.item_id = d.item_id
		ORDER BY d.account_id LIMIT $1`, dueBatch)
	if err != nil {
		return false, fmt.Errorf("next due dates: %w", err)
	}
	tasks, err := pgx.CollectRows(rows, pgx.RowToStructByName[dueTask])
	if err != nil || len(tasks) == 0 {
		return false, err
	}
	accounts, queued := make([]string, len(tasks)), make([]int64, len(tasks))
	for i, t := range tasks {
		accounts[i], queued[i] = t.AccountID, t.Queued
	}
	courseID, itemID := tasks[0].CourseID, tasks[0].ItemID
	dues, err := s.duesFor(ctx, courseID, itemID, accounts)
	if err != nil {
		return false, err
	}
	people, due := make([]string, len(dues)), make([]*time.Time, len(dues))
	for i, d := range dues {
		people[i], due[i] = d.AccountID, d.Due
	}
	return true, s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("follows from deadlines, which learning has recorded")
		rows, err := tx.Query(ctx, `
			WITH fresh AS (SELECT * FROM unnest($3::text[], $4::timestamptz[]) AS f (account_id, due)), changed AS (
				UPDATE attempt a SET due_at = f.due FROM fresh f
				WHERE a.id IN (SELECT id FROM attempt WHERE course_id = $1 AND item_id = $2 AND account_id = ANY ($3) AND NOT preview ORDER BY id FOR NO KEY UPDATE)
					AND a.account_id = f.account_id AND a.due_at IS DISTINCT FROM f.due
				RETURNING a.quiz_id, a.account_id, a.state
			)
			SELECT DISTINCT quiz_id, account_id FROM changed WHERE state IN ('submitted', 'graded') ORDER BY quiz_id, account_id`, courseID, itemID, people, due)
		if err != nil {
			return fmt.Errorf("store due dates: %w", err)
		}
		var quizID, accountID string
		byQuiz := map[string][]string{}
		if _, err := pgx.ForEachRow(rows, []any{&quizID, &accountID}, func() error {
			byQuiz[quizID] = append(byQuiz[quizID], accountID)
			return nil
		}); err != nil {
			return fmt.Errorf("store due dates: %w", err)
		}
		for quizID, late := range byQuiz {
			if err := s.remark(ctx, tx, courseID, itemID, quizID, late, "extension"); err != nil {
				return err
			}
		}
		// Behind the attempts, as who notes that dates have changed locks these first, too.
		if _, err := tx.Exec(ctx, `
			DELETE FROM quiz_due d USING unnest($3::text[], $4::bigint[]) AS f (account_id, queued)
			WHERE d.course_id = $1 AND d.item_id = $2 AND d.account_id = f.account_id AND d.queued = f.queued`, courseID, itemID, accounts, queued); err != nil {
			return fmt.Errorf("forget due dates: %w", err)
		}
		return nil
	})
}
