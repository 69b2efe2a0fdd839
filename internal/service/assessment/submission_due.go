package assessment

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
)

// askDues has learning asked by when assignments are due now for those who have handed
// one in: how late they were may be another.
func (s *Service) askDues(ctx context.Context, tx *pg.Tx, courseID string, accounts []string) error {
	if _, err := tx.Exec(ctx, `
		INSERT INTO assignment_due (course_id, item_id, account_id)
		SELECT course_id, item_id, account_id FROM assignment_mark WHERE course_id = $1 AND account_id = ANY ($2) AND state <> 'none' ORDER BY item_id, account_id
		ON CONFLICT ON CONSTRAINT assignment_due_pkey DO UPDATE SET queued = DEFAULT`, courseID, accounts); err != nil {
		return fmt.Errorf("ask for due dates: %w", err)
	}
	tx.AfterCommit(s.wakeFiles)
	return nil
}

// assignmentDueTask is a dueTask of an assignment.
type assignmentDueTask struct {
	dueTask

	AssignmentID string
}

// assignmentsDue asks learning about the next people at an item, and has how late they
// were and their marks follow. It reports whether there may be more. What comes up
// meanwhile is asked again.
func (s *Service) assignmentsDue(ctx context.Context) (bool, error) {
	rows, err := s.db.Query(ctx, `
		SELECT d.course_id, d.item_id, m.assignment_id, d.account_id, d.queued FROM assignment_due d
		JOIN (SELECT course_id, item_id FROM assignment_due ORDER BY queued LIMIT 1) AS next ON next.course_id = d.course_id AND next.item_id = d.item_id
		JOIN assignment_mark m ON m.course_id = d.course_id AND m.item_id = d.item_id AND m.account_id = d.account_id
		ORDER BY d.account_id LIMIT $1`, dueBatch)
	if err != nil {
		return false, fmt.Errorf("next due dates: %w", err)
	}
	tasks, err := pgx.CollectRows(rows, pgx.RowToStructByName[assignmentDueTask])
	if err != nil || len(tasks) == 0 {
		return false, err
	}
	accounts, queued, assignments := make([]string, len(tasks)), make([]int64, len(tasks)), map[string]string{}
	for i, t := range tasks {
		accounts[i], queued[i], assignments[t.AccountID] = t.AccountID, t.Queued, t.AssignmentID
	}
	courseID, itemID := tasks[0].CourseID, tasks[0].ItemID
	dues, err := s.duesFor(ctx, courseID, itemID, accounts)
	if err != nil {
		return false, err
	}
	return true, s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("follows from deadlines, which learning has recorded")
		if _, err := tx.Exec(ctx, `
			DELETE FROM assignment_due d USING unnest($3::text[], $4::bigint[]) AS f (account_id, queued)
			WHERE d.course_id = $1 AND d.item_id = $2 AND d.account_id = f.account_id AND d.queued = f.queued`, courseID, itemID, accounts, queued); err != nil {
			return fmt.Errorf("forget due dates: %w", err)
		}
		changed, err := setLateness(ctx, tx, itemID, dues)
		if err != nil {
			return err
		}
		byAssignment := map[string][]string{}
		for _, account := range changed {
			byAssignment[assignments[account]] = append(byAssignment[assignments[account]], account)
		}
		for assignmentID, people := range byAssignment {
			if err := s.remarkWork(ctx, tx, courseID, itemID, assignmentID, people, "extension"); err != nil {
				return err
			}
		}
		return nil
	})
}
