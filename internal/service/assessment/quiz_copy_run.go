package assessment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// copyLease is how long who makes a copy has it, and when one that could not be made
// yet is tried again.
const copyLease = time.Minute

// activitiesCopied notes the quizzes that copies of activities name already.
func (s *Service) activitiesCopied(ctx context.Context, tx *pg.Tx, e *coursespb.ActivitiesCopied) error {
	var ids, from []string
	for _, q := range e.GetQuizzes() {
		ids, from = append(ids, q.GetQuizId()), append(from, q.GetFromQuizId())
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO quiz_copy (quiz_id, course_id, from_quiz_id, from_course_id, account_id, retry_at)
		SELECT q.id, $1, q.from_id, $2, $3, $4 FROM unnest($5::text[], $6::text[]) AS q (id, from_id)
		WHERE NOT EXISTS (SELECT FROM quiz z WHERE z.id = q.id) ORDER BY q.id
		ON CONFLICT ON CONSTRAINT quiz_copy_pkey DO NOTHING`, e.GetCourseId(), e.GetFromCourseId(), e.GetAccountId(), s.time(), ids, from)
	if err != nil {
		return fmt.Errorf("note quizzes to copy: %w", err)
	}
	tx.AfterCommit(s.wakePreparing)
	return nil
}

// quizToCopy is a quiz that is to be made of another.
type quizToCopy struct {
	QuizID       string
	CourseID     string
	FromQuizID   string
	FromCourseID string
	AccountID    string
}

// copyNext makes the next quiz of a course that was copied, and reports whether there
// may be more. It is published as the other one was, unless something of it had to be
// left out. What can't be made at all is let go and logged: its activity then names a
// quiz that there is not, which its author sees.
func (s *Service) copyNext(ctx context.Context) (bool, error) {
	c, err := s.takeCopy(ctx)
	if err != nil || c == nil {
		return false, err
	}
	ctx = auth.With(ctx, auth.Principal{Account: c.AccountID})
	err = s.makeCopy(ctx, c)
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Kind != fault.Unavailable {
		s.log.ErrorContext(ctx, "a quiz of a copied course can't be made", "quiz", c.FromQuizID, "course", c.CourseID, "error", err.Error())
		return true, s.db.InTx(ctx, func(tx *pg.Tx) error {
			tx.Exempt("a mark of the worker for itself")
			_, err := tx.Exec(ctx, `DELETE FROM quiz_copy WHERE quiz_id = $1`, c.QuizID)
			return err
		})
	}
	return err == nil, err
}

// takeCopy takes the copy that is due longest, so that nobody else does for a while;
// nil where there is none.
func (s *Service) takeCopy(ctx context.Context) (*quizToCopy, error) {
	var out *quizToCopy
	now := s.time()
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a mark of the worker for itself")
		rows, err := tx.Query(ctx, `
			UPDATE quiz_copy c SET retry_at = $2 FROM (SELECT quiz_id FROM quiz_copy WHERE retry_at <= $1 ORDER BY retry_at LIMIT 1 FOR UPDATE SKIP LOCKED) AS due
			WHERE c.quiz_id = due.quiz_id RETURNING c.quiz_id, c.course_id, c.from_quiz_id, c.from_course_id, c.account_id`, now, now.Add(copyLease))
		if err != nil {
			return fmt.Errorf("next quiz to copy: %w", err)
		}
		list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[quizToCopy])
		if err != nil {
			return fmt.Errorf("next quiz to copy: %w", err)
		}
		if out = nil; len(list) > 0 {
			out = list[0]
		}
		return nil
	})
	return out, err
}

func (s *Service) makeCopy(ctx context.Context, c *quizToCopy) error {
	plan, err := s.planCopy(ctx, c.FromCourseID, c.FromQuizID, c.CourseID)
	if err != nil {
		return err
	}
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM quiz_copy WHERE quiz_id = $1`, c.QuizID)
		if err != nil {
			return fmt.Errorf("copy quiz: %w", err)
		}
		if tag.RowsAffected() == 0 { // another was faster
			tx.Exempt("done by another")
			return nil
		}
		z, err := s.storeCopy(ctx, tx, plan, c.QuizID, "")
		if err != nil || plan.from.Version == 0 || plan.leftOut > 0 {
			return err
		}
		if _, err := s.publishQuiz(ctx, tx, &z, ""); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE quiz SET version = $2, published_revision = revision WHERE id = $1`, z.ID, z.Version)
		return err
	})
}
