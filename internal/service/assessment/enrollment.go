package assessment

import (
	"context"
	"fmt"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// enrollmentStarted keeps that somebody takes a course.
func (s *Service) enrollmentStarted(ctx context.Context, tx *pg.Tx, e *accesspb.EnrollmentStarted) error {
	_, err := storeEnrollment(ctx, tx, e.GetCourseId(), e.GetAccountId(), 1, true)
	return err
}

// enrollmentEnded keeps that somebody takes a course no more. What was made ahead for
// them goes with it.
func (s *Service) enrollmentEnded(ctx context.Context, tx *pg.Tx, e *accesspb.EnrollmentEnded) error {
	changed, err := storeEnrollment(ctx, tx, e.GetCourseId(), e.GetAccountId(), e.GetVersion(), false)
	if err != nil || !changed {
		return err
	}
	return dropPrepared(ctx, tx, `course_id = $1 AND account_id = $2 AND NOT preview`, e.GetCourseId(), e.GetAccountId())
}

// enrollmentResumed keeps that somebody takes a course again.
func (s *Service) enrollmentResumed(ctx context.Context, tx *pg.Tx, e *accesspb.EnrollmentResumed) error {
	_, err := storeEnrollment(ctx, tx, e.GetCourseId(), e.GetAccountId(), e.GetVersion(), true)
	return err
}

// storeEnrollment keeps the newest of what is told of one enrollment, and reports
// whether it was that.
func storeEnrollment(ctx context.Context, tx *pg.Tx, courseID, accountID string, version int64, live bool) (bool, error) {
	tag, err := tx.Exec(ctx, `
		INSERT INTO enrollment AS e (course_id, account_id, version, live) VALUES ($1, $2, $3, $4)
		ON CONFLICT ON CONSTRAINT enrollment_pkey DO UPDATE SET version = EXCLUDED.version, live = EXCLUDED.live
		WHERE e.version < EXCLUDED.version`, courseID, accountID, version, live)
	if err != nil {
		return false, fmt.Errorf("store enrollment: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}

// stays refuses who takes the course of their attempt no more: what it asks is of the course.
// What they have answered, and answer still, is taken and told all the same.
func stays(ctx context.Context, q pg.Querier, a *attempt) error {
	if a.Preview {
		return nil
	}
	var left bool
	if err := q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM enrollment WHERE course_id = $1 AND account_id = $2 AND NOT live)`, a.CourseID, a.AccountID).Scan(&left); err != nil {
		return fmt.Errorf("read enrollment: %w", err)
	}
	if left {
		return ErrAttemptLeft
	}
	return nil
}

// easedAnew drops what was made ahead for somebody for whom something else is eased
// now: it is made again with what holds. What runs follows.
func (s *Service) easedAnew(ctx context.Context, tx *pg.Tx, e *accesspb.AccommodationChanged) error {
	if err := s.noteEased(ctx, tx, e); err != nil {
		return err
	}
	return dropPrepared(ctx, tx, `account_id = $1 AND ($2 = '' OR course_id = $2) AND NOT preview`, e.GetAccountId(), e.GetCourseId())
}
