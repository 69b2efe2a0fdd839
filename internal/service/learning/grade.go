package learning

import (
	"context"
	"fmt"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// gradePosted keeps the posted score in an item, and what that completes.
func (s *Service) gradePosted(ctx context.Context, tx *pg.Tx, e *gradespb.GradePosted) error {
	percent, err := postedPercent(e.GetPercent())
	if err != nil {
		return fmt.Errorf("grade of %s: percent: %w", e.GetItemId(), err)
	}
	if err := lockCourse(ctx, tx, e.GetCourseId()); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO item_result AS r (course_id, account_id, item_id, percent, passed, version, grade_version) VALUES ($1, $2, $3, $4::text::numeric, $5, 0, $6)
		ON CONFLICT (course_id, account_id, item_id) DO UPDATE SET percent = EXCLUDED.percent, passed = EXCLUDED.passed, grade_version = EXCLUDED.grade_version
		WHERE r.grade_version < EXCLUDED.grade_version`,
		e.GetCourseId(), e.GetAccountId(), e.GetItemId(), percent, e.GetPassed(), e.GetVersion()); err != nil {
		return fmt.Errorf("store grade: %w", err)
	}
	return s.reached(ctx, tx, result{course: e.GetCourseId(), account: e.GetAccountId(), item: e.GetItemId(), percent: percent, passed: e.GetPassed()})
}

// postedPercent reads a percentage as rows have it, nil for none.
func postedPercent(text string) (*string, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // said above
	}
	p, err := release.ParsePercent(text)
	if err != nil {
		return nil, err
	}
	text = p.String()
	return &text, nil
}

// courseGradeChanged keeps what somebody comes to in a course. Who passes it may have
// lacked nothing else.
func (s *Service) courseGradeChanged(ctx context.Context, tx *pg.Tx, e *gradespb.CourseGradeChanged) error {
	percent, err := postedPercent(e.GetPercent())
	if err != nil {
		return fmt.Errorf("grade of the course: percent: %w", err)
	}
	if err := lockCourse(ctx, tx, e.GetCourseId()); err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO course_grade AS g (course_id, account_id, percent, passed, version) VALUES ($1, $2, $3::text::numeric, $4, $5)
		ON CONFLICT (course_id, account_id) DO UPDATE SET percent = EXCLUDED.percent, passed = EXCLUDED.passed, version = EXCLUDED.version
		WHERE g.version < EXCLUDED.version`, e.GetCourseId(), e.GetAccountId(), percent, e.GetPassed(), e.GetVersion())
	if err != nil {
		return fmt.Errorf("store grade: %w", err)
	}
	if tag.RowsAffected() == 0 || !e.GetPassed() {
		return nil
	}
	if _, err := tx.Exec(ctx, `SELECT FROM learner WHERE course_id = $1 AND account_id = $2 FOR NO KEY UPDATE`, e.GetCourseId(), e.GetAccountId()); err != nil {
		return fmt.Errorf("lock learner: %w", err)
	}
	_, err = s.settle(ctx, tx, whom{course: e.GetCourseId(), accounts: []string{e.GetAccountId()}, now: s.now()})
	return err
}
