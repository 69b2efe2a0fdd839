package assessment

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
)

// usedRubric is a rubric that a quiz or an assignment is marked by, as it is published.
type usedRubric struct {
	QuestionID string
	Purpose    string
	RubricID   string
	CourseID   string
	Version    int32
	Title      string
	Content    []byte
}

// copyRubrics has a copy of a quiz or an assignment marked by the rubrics by which the
// other one is. Within a course they are the same; another course gets copies of what is
// published of them, one of each version. called is what the questions of a quiz are
// called in the copy, nil where they are called the same; rubrics of such as are left out
// are left out, and so are those for which the course has no room.
func (s *Service) copyRubrics(ctx context.Context, tx *pg.Tx, from, to, courseID string, called map[string]string) error {
	rows, err := tx.Query(ctx, `
		SELECT u.question_id, u.purpose, u.rubric_id, r.course_id, r.version, v.title, v.content
		FROM rubric_use u JOIN rubric r ON r.id = u.rubric_id JOIN rubric_version v ON v.rubric_id = r.id AND v.version = r.version
		WHERE u.target_id = $1 ORDER BY u.question_id, u.purpose LIMIT $2`, from, maxCopiedQuestions)
	if err != nil {
		return fmt.Errorf("rubrics to copy: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[usedRubric])
	if err != nil {
		return fmt.Errorf("rubrics to copy: %w", err)
	}
	copies := map[string]string{}
	for _, u := range list {
		target := rubricTarget{id: to, question: u.QuestionID, purpose: u.Purpose}
		if u.QuestionID != "" && called != nil {
			if target.question = called[u.QuestionID]; target.question == "" {
				continue
			}
		}
		rubricID, known := u.RubricID, u.CourseID == courseID
		if !known {
			if rubricID, known = copies[u.RubricID]; !known {
				if rubricID, err = s.copyRubric(ctx, tx, u, courseID); err != nil {
					return err
				}
				copies[u.RubricID] = rubricID
			}
		}
		if rubricID == "" {
			continue
		}
		if err := attach(ctx, tx, target, courseID, rubricID); err != nil {
			return err
		}
	}
	return nil
}

// copyRubric returns the copy of a rubric in another course, which it makes where there is
// none of its version; none where the course has no room.
func (s *Service) copyRubric(ctx context.Context, tx *pg.Tx, u *usedRubric, courseID string) (string, error) {
	n, err := lockRubrics(ctx, tx, courseID)
	if err != nil {
		return "", err
	}
	rubricID := id.New("rubric")
	err = tx.QueryRow(ctx, `SELECT id FROM rubric WHERE course_id = $1 AND copied_from = $2 AND copied_version = $3 AND version > 0 AND deleted_at IS NULL ORDER BY id LIMIT 1`,
		courseID, u.RubricID, u.Version).Scan(&rubricID)
	if err == nil {
		return rubricID, nil
	}
	if !pg.NoRows(err) {
		return "", fmt.Errorf("find copy of rubric: %w", err)
	}
	if n >= maxRubrics {
		return "", nil
	}
	who, now := auth.From(ctx).Account, s.time()
	batch := &pgx.Batch{}
	batch.Queue(`
		INSERT INTO rubric (id, course_id, title, draft, version, published_revision, created_by, edited_by, created_at, updated_at, copied_from, copied_version)
		VALUES ($1, $2, $3, $4, 1, 1, $5, $5, $6, $6, $7, $8)`, rubricID, courseID, u.Title, u.Content, who, now, u.RubricID, u.Version)
	batch.Queue(`INSERT INTO rubric_version (rubric_id, version, title, content, created_by, created_at) VALUES ($1, 1, $2, $3, $4, $5)`, rubricID, u.Title, u.Content, who, now)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return "", fmt.Errorf("copy rubric: %w", err)
	}
	return rubricID, audit.Record(ctx, tx, audit.Entry{
		Action: "rubric.copied", Object: rubricID, Course: courseID, After: map[string]any{"from": u.RubricID, "from_course": u.CourseID, "version": u.Version},
	})
}

// lockRubrics has the rubrics of a course made one after the other, and returns how many
// there are.
func lockRubrics(ctx context.Context, tx *pg.Tx, courseID string) (int, error) {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('assessment.rubrics'), hashtext($1))`, courseID); err != nil {
		return 0, fmt.Errorf("lock rubrics: %w", err)
	}
	var n int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM rubric WHERE course_id = $1 AND deleted_at IS NULL`, courseID).Scan(&n); err != nil {
		return 0, fmt.Errorf("count rubrics: %w", err)
	}
	return n, nil
}
