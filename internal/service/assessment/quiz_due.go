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
// handed one in: how late they were may be another. What was made ahead for any of them
// is made anew.
func (s *Service) deadlinesChanged(ctx context.Context, tx *pg.Tx, e *learningpb.DeadlinesChanged) error {
	if _, err := tx.Exec(ctx, `
		INSERT INTO quiz_due (course_id, item_id, account_id)
		SELECT course_id, item_id, account_id FROM quiz_mark WHERE course_id = $1 AND account_id = ANY ($2) AND state <> 'none' ORDER BY item_id, account_id
		ON CONFLICT ON CONSTRAINT quiz_due_pkey DO UPDATE SET queued = DEFAULT`, e.GetCourseId(), e.GetAccountIds()); err != nil {
		return fmt.Errorf("ask for due dates: %w", err)
	}
	if err := s.askDues(ctx, tx, e.GetCourseId(), e.GetAccountIds()); err != nil {
		return err
	}
	tx.AfterCommit(s.wakePreparing)
	return dropPrepared(ctx, tx, `course_id = $1 AND account_id = ANY ($2) AND NOT preview`, e.GetCourseId(), e.GetAccountIds())
}

// dueTask is whose due date of which item is asked for.
type dueTask struct {
	CourseID  string
	ItemID    string
	QuizID    string
	AccountID string
	Queued    int64
}

// dueNext asks learning about the next people at an item, has their attempts know by
// when they were due, and makes their marks anew. It reports whether there may be more.
// What comes up meanwhile is asked again.
func (s *Service) dueNext(ctx context.Context) (bool, error) {
	rows, err := s.db.Query(ctx, `
		SELECT d.course_id, d.item_id, m.quiz_id, d.account_id, d.queued FROM quiz_due d
		JOIN (SELECT course_id, item_id FROM quiz_due ORDER BY queued LIMIT 1) AS next ON next.course_id = d.course_id AND next.item_id = d.item_id
		JOIN quiz_mark m ON m.course_id = d.course_id AND m.item_id = d.item_id AND m.account_id = d.account_id
		ORDER BY d.account_id LIMIT $1`, dueBatch)
	if err != nil {
		return false, fmt.Errorf("next due dates: %w", err)
	}
	tasks, err := pgx.CollectRows(rows, pgx.RowToStructByName[dueTask])
	if err != nil || len(tasks) == 0 {
		return false, err
	}
	accounts, queued := make([]string, len(tasks)), make([]int64, len(tasks))
	byQuiz := map[string][]string{}
	for i, t := range tasks {
		accounts[i], queued[i] = t.AccountID, t.Queued
		byQuiz[t.QuizID] = append(byQuiz[t.QuizID], t.AccountID)
	}
	courseID, itemID := tasks[0].CourseID, tasks[0].ItemID
	said, err := s.items.ListItemAccess(ctx, &learningpb.ListItemAccessRequest{CourseId: courseID, ItemId: itemID, AccountIds: accounts})
	if err != nil {
		return false, err
	}
	due := make([]*time.Time, len(accounts))
	for i, it := range said.GetItems() {
		due[i] = momentOf(it.GetDue())
	}
	return true, s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("follows from deadlines, which learning has recorded")
		if _, err := tx.Exec(ctx, `
			WITH fresh AS (SELECT * FROM unnest($3::text[], $4::bigint[], $5::timestamptz[]) AS f (account_id, queued, due)), done AS (
				DELETE FROM quiz_due d USING fresh f WHERE d.course_id = $1 AND d.item_id = $2 AND d.account_id = f.account_id AND d.queued = f.queued
			)
			UPDATE attempt a SET due_at = f.due FROM fresh f
			WHERE a.id IN (SELECT id FROM attempt WHERE course_id = $1 AND item_id = $2 AND account_id = ANY ($3) AND NOT preview ORDER BY id FOR NO KEY UPDATE)
				AND a.account_id = f.account_id AND a.due_at IS DISTINCT FROM f.due`, courseID, itemID, accounts, queued, due); err != nil {
			return fmt.Errorf("store due dates: %w", err)
		}
		for quizID, people := range byQuiz {
			if err := s.remark(ctx, tx, courseID, itemID, quizID, people, "extension"); err != nil {
				return err
			}
		}
		return nil
	})
}
