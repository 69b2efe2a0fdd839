package assessment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// copyLease is how long who makes a copy has it, and when one that could not be made
// yet is tried again.
const copyLease = time.Minute

// activitiesCopied notes the quizzes and assignments that copies of activities name
// already.
func (s *Service) activitiesCopied(ctx context.Context, tx *pg.Tx, e *coursespb.ActivitiesCopied) error {
	var quizzes, ofQuizzes, assignments, ofAssignments []string
	for _, q := range e.GetQuizzes() {
		quizzes, ofQuizzes = append(quizzes, q.GetQuizId()), append(ofQuizzes, q.GetFromQuizId())
	}
	for _, a := range e.GetAssignments() {
		assignments, ofAssignments = append(assignments, a.GetAssignmentId()), append(ofAssignments, a.GetFromAssignmentId())
	}
	for _, one := range []struct {
		sql     string
		ids, of []string
	}{{`
		INSERT INTO quiz_copy (quiz_id, course_id, from_quiz_id, from_course_id, account_id, retry_at)
		SELECT q.id, $1, q.from_id, $2, $3, $4 FROM unnest($5::text[], $6::text[]) AS q (id, from_id)
		WHERE NOT EXISTS (SELECT FROM quiz z WHERE z.id = q.id) ORDER BY q.id
		ON CONFLICT ON CONSTRAINT quiz_copy_pkey DO NOTHING`, quizzes, ofQuizzes}, {`
		INSERT INTO assignment_copy (assignment_id, course_id, from_assignment_id, from_course_id, account_id, retry_at)
		SELECT q.id, $1, q.from_id, $2, $3, $4 FROM unnest($5::text[], $6::text[]) AS q (id, from_id)
		WHERE NOT EXISTS (SELECT FROM assignment a WHERE a.id = q.id) ORDER BY q.id
		ON CONFLICT ON CONSTRAINT assignment_copy_pkey DO NOTHING`, assignments, ofAssignments}} {
		if _, err := tx.Exec(ctx, one.sql, e.GetCourseId(), e.GetFromCourseId(), e.GetAccountId(), s.time(), one.ids, one.of); err != nil {
			return fmt.Errorf("note activities to copy: %w", err)
		}
	}
	tx.AfterCommit(s.wakePreparing)
	return nil
}

// activityToCopy is a quiz or an assignment that is to be made of another.
type activityToCopy struct {
	ID           string
	CourseID     string
	FromID       string
	FromCourseID string
	AccountID    string
	drop         string // the statement that says that it is made
}

// done takes a copy off the list, and reports whether it was there: otherwise another
// was faster.
func (c *activityToCopy) done(ctx context.Context, tx *pg.Tx) (bool, error) {
	tag, err := tx.Exec(ctx, c.drop, c.ID)
	if err != nil {
		return false, fmt.Errorf("copy activity: %w", err)
	}
	if tag.RowsAffected() == 0 {
		tx.Exempt("done by another")
		return false, nil
	}
	return true, nil
}

// copyNext makes the next quiz of a course that was copied, and reports whether there
// may be more.
func (s *Service) copyNext(ctx context.Context) (bool, error) {
	return s.copyNextOf(ctx, `
		UPDATE quiz_copy c SET retry_at = $2 FROM (SELECT quiz_id FROM quiz_copy WHERE retry_at <= $1 ORDER BY retry_at LIMIT 1 FOR UPDATE SKIP LOCKED) AS due
		WHERE c.quiz_id = due.quiz_id RETURNING c.quiz_id, c.course_id, c.from_quiz_id, c.from_course_id, c.account_id`,
		`DELETE FROM quiz_copy WHERE quiz_id = $1`, s.makeCopy)
}

// copyNextAssignment is copyNext of assignments.
func (s *Service) copyNextAssignment(ctx context.Context) (bool, error) {
	return s.copyNextOf(ctx, `
		UPDATE assignment_copy c SET retry_at = $2
		FROM (SELECT assignment_id FROM assignment_copy WHERE retry_at <= $1 ORDER BY retry_at LIMIT 1 FOR UPDATE SKIP LOCKED) AS due
		WHERE c.assignment_id = due.assignment_id RETURNING c.assignment_id, c.course_id, c.from_assignment_id, c.from_course_id, c.account_id`,
		`DELETE FROM assignment_copy WHERE assignment_id = $1`, s.makeAssignmentCopy)
}

// copyNextOf makes the next copy that a statement takes. What can't be made at all is
// let go and logged: its activity then names something that there is not, which its
// author sees.
func (s *Service) copyNextOf(ctx context.Context, take, drop string, work func(context.Context, *activityToCopy) error) (bool, error) {
	c, err := s.takeCopy(ctx, take)
	if err != nil || c == nil {
		return false, err
	}
	c.drop = drop
	// As if it were asked for under this key: what media copies for it is copied once,
	// however often it is tried.
	ctx = metadata.NewIncomingContext(auth.With(ctx, auth.Principal{Account: c.AccountID}), metadata.Pairs(rpc.KeyIdempotency, c.ID))
	err = work(ctx, c)
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Kind != fault.Unavailable {
		s.log.ErrorContext(ctx, "an activity of a copied course can't be made", "of", c.FromID, "course", c.CourseID, "error", err.Error())
		return true, s.db.InTx(ctx, func(tx *pg.Tx) error {
			tx.Exempt("a mark of the worker for itself")
			_, err := tx.Exec(ctx, drop, c.ID)
			return err
		})
	}
	return err == nil, err
}

// takeCopy takes the copy that is due longest, so that nobody else does for a while;
// nil where there is none.
func (s *Service) takeCopy(ctx context.Context, take string) (*activityToCopy, error) {
	var out *activityToCopy
	now := s.time()
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a mark of the worker for itself")
		out = nil
		var c activityToCopy
		err := tx.QueryRow(ctx, take, now, now.Add(copyLease)).Scan(&c.ID, &c.CourseID, &c.FromID, &c.FromCourseID, &c.AccountID)
		if pg.NoRows(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("next activity to copy: %w", err)
		}
		out = &c
		return nil
	})
	return out, err
}

// makeCopy makes the quiz of a course that was copied. It is published as the other one
// was, unless something of it had to be left out or it lacks what is not copied.
func (s *Service) makeCopy(ctx context.Context, c *activityToCopy) error {
	plan, err := s.planCopy(ctx, c.FromCourseID, c.FromID, c.CourseID)
	if err != nil {
		return err
	}
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		mine, err := c.done(ctx, tx)
		if err != nil || !mine {
			return err
		}
		z, err := s.storeCopy(ctx, tx, plan, c.ID, "")
		if err != nil || plan.from.Version == 0 || plan.leftOut > 0 {
			return err
		}
		if _, err := s.publishQuiz(ctx, tx, &z, ""); err != nil {
			if _, told := errors.AsType[*fault.Error](err); told {
				return nil // it stays a draft, as one that lets in lock-down browsers and has no key yet
			}
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE quiz SET version = $2, published_revision = revision WHERE id = $1`, z.ID, z.Version)
		return err
	})
}
