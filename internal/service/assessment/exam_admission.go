package assessment

import (
	"context"
	"fmt"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// checkAdmitted refuses who was not let in, and has them wait on the list of the proctor.
func (s *Service) checkAdmitted(ctx context.Context, courseID, itemID, accountID string) error {
	var admitted, waits bool
	err := s.db.QueryRow(ctx, `SELECT admitted_at IS NOT NULL, waiting_since IS NOT NULL FROM exam_student WHERE item_id = $1 AND account_id = $2`, itemID, accountID).
		Scan(&admitted, &waits)
	switch {
	case err != nil && !pg.NoRows(err):
		return fmt.Errorf("who was let in: %w", err)
	case admitted:
		return nil
	case waits:
		return ErrExamNotAdmitted
	}
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a student who waits, which passes")
		_, err := tx.Exec(ctx, `
			INSERT INTO exam_student AS s (course_id, item_id, account_id, waiting_since) VALUES ($1, $2, $3, $4)
			ON CONFLICT ON CONSTRAINT exam_student_pkey DO UPDATE SET waiting_since = coalesce(s.waiting_since, EXCLUDED.waiting_since)`, courseID, itemID, accountID, s.time())
		return err
	})
	if err != nil {
		return fmt.Errorf("have a student wait: %w", err)
	}
	return ErrExamNotAdmitted
}

// AdmitStudents implements [assessmentpb.ExamServiceServer].
func (h *examServer) AdmitStudents(ctx context.Context, req *assessmentpb.AdmitStudentsRequest) (*assessmentpb.AdmitStudentsResponse, error) {
	s := h.service
	if req.GetEverybody() == (len(req.GetAccountIds()) > 0) {
		return nil, fault.InvalidField("account_ids", "field.exclusive", "Name accounts, or set everybody.")
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.AdmitStudentsResponse, error) {
		if err := examAt(ctx, tx, req.GetCourseId(), req.GetItemId()); err != nil {
			return nil, err
		}
		who, now := auth.From(ctx).Account, s.time()
		sql, args := `
			UPDATE exam_student SET admitted_by = $3, admitted_at = $4 WHERE (item_id, account_id) IN (
				SELECT item_id, account_id FROM exam_student WHERE course_id = $1 AND item_id = $2 AND waiting_since IS NOT NULL AND admitted_at IS NULL
				ORDER BY account_id FOR UPDATE)`, []any{req.GetCourseId(), req.GetItemId(), who, now}
		if !req.GetEverybody() {
			sql, args = `
				INSERT INTO exam_student AS s (course_id, item_id, account_id, admitted_by, admitted_at) SELECT $1, $2, a, $3, $4 FROM unnest($5::text[]) AS a ORDER BY a
				ON CONFLICT ON CONSTRAINT exam_student_pkey DO UPDATE SET admitted_by = EXCLUDED.admitted_by, admitted_at = EXCLUDED.admitted_at WHERE s.admitted_at IS NULL`,
				append(args, req.GetAccountIds())
		}
		tag, err := tx.Exec(ctx, sql, args...)
		if err != nil {
			return nil, fmt.Errorf("admit students: %w", err)
		}
		e := audit.Entry{Action: "exam.students_admitted", Object: req.GetItemId(), Course: req.GetCourseId(), After: map[string]any{"students": tag.RowsAffected(), "everybody": req.GetEverybody()}}
		if len(req.GetAccountIds()) == 1 {
			e.Person = req.GetAccountIds()[0]
		}
		return &assessmentpb.AdmitStudentsResponse{Admitted: int32(tag.RowsAffected())}, audit.Record(ctx, tx, e) //nolint:gosec // G115: far below
	})
}
