package grades

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// sortKey is a name as lists are sorted by it: without case and accents.
func sortKey(name string) string {
	plain, _, err := transform.String(transform.Chain(norm.NFKD, runes.Remove(runes.In(unicode.Mn)), norm.NFC), name)
	if err != nil {
		plain = name
	}
	return strings.ToLower(strings.TrimSpace(plain))
}

// enrollmentStarted puts a student into the gradebook.
func (s *Service) enrollmentStarted(ctx context.Context, tx *pg.Tx, e *accesspb.EnrollmentStarted) error {
	at := e.GetEnrolledAt().AsTime().Truncate(time.Microsecond)
	return s.enrolled(ctx, tx, e.GetCourseId(), e.GetAccountId(), 1, true, &at)
}

// enrollmentEnded keeps the row of who is enrolled no more.
func (s *Service) enrollmentEnded(ctx context.Context, tx *pg.Tx, e *accesspb.EnrollmentEnded) error {
	return s.enrolled(ctx, tx, e.GetCourseId(), e.GetAccountId(), e.GetVersion(), false, nil)
}

// enrollmentResumed keeps that somebody is enrolled again.
func (s *Service) enrollmentResumed(ctx context.Context, tx *pg.Tx, e *accesspb.EnrollmentResumed) error {
	return s.enrolled(ctx, tx, e.GetCourseId(), e.GetAccountId(), e.GetVersion(), true, nil)
}

// enrolled keeps whether somebody takes a course, by the newest that was told, and since
// when, whatever is told first.
func (s *Service) enrolled(ctx context.Context, tx *pg.Tx, courseID, accountID string, version int64, enrolled bool, at *time.Time) error {
	if err := s.knowCourse(ctx, tx, courseID); err != nil {
		return err
	}
	// Their row, before the name is read: who changes the name waits, and finds the row.
	if _, err := tx.Exec(ctx, `INSERT INTO account (account_id, name, version) VALUES ($1, '', 0) ON CONFLICT DO NOTHING`, accountID); err != nil {
		return fmt.Errorf("know account: %w", err)
	}
	var name string
	if err := tx.QueryRow(ctx, `SELECT name FROM account WHERE account_id = $1 FOR SHARE`, accountID).Scan(&name); err != nil {
		return fmt.Errorf("know account: %w", err)
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO student AS s (course_id, account_id, name, sort_key, enrolled, enrolled_at, enrollment_version) VALUES ($1, $2, $3, $4, $5, coalesce($6::timestamptz, $7::timestamptz), $8)
		ON CONFLICT ON CONSTRAINT student_pkey DO UPDATE SET name = EXCLUDED.name, sort_key = EXCLUDED.sort_key,
			enrolled = CASE WHEN s.enrollment_version < EXCLUDED.enrollment_version THEN EXCLUDED.enrolled ELSE s.enrolled END,
			enrolled_at = coalesce($6, s.enrolled_at, EXCLUDED.enrolled_at),
			enrollment_version = greatest(s.enrollment_version, EXCLUDED.enrollment_version)
		WHERE s.enrollment_version < EXCLUDED.enrollment_version OR s.enrolled_at IS DISTINCT FROM coalesce($6, s.enrolled_at)`,
		courseID, accountID, name, sortKey(name), enrolled, at, s.now(), version)
	if err != nil {
		return fmt.Errorf("store student: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return nil
	}
	if enrolled {
		// What became due while they were away is looked at again.
		if _, err := tx.Exec(ctx, `UPDATE due_date SET passed = false WHERE course_id = $1 AND account_id = $2 AND passed`, courseID, accountID); err != nil {
			return fmt.Errorf("due dates: %w", err)
		}
		// What learning told of them before they were known here was passed over.
		if err := s.askDue(ctx, tx, courseID, accountID); err != nil {
			return err
		}
	}
	d, err := s.openChanged(ctx, tx, courseID, accountID)
	if err != nil {
		return err
	}
	d.seats[accountID].touched = true
	return d.settle(ctx)
}

// knowCourse locks the gradebook of a course, and makes it where nothing of the course
// has come yet.
func (s *Service) knowCourse(ctx context.Context, tx *pg.Tx, courseID string) error {
	var known bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM course WHERE course_id = $1)`, courseID).Scan(&known); err != nil {
		return fmt.Errorf("know course: %w", err)
	}
	if !known {
		return s.changeCourse(ctx, tx, courseID)
	}
	return lockGradebook(ctx, tx, courseID)
}

func (s *Service) accountCreated(ctx context.Context, tx *pg.Tx, e *identitypb.AccountCreated) error {
	return s.named(ctx, tx, e.GetAccountId(), e.GetName(), 1)
}

func (s *Service) accountUpdated(ctx context.Context, tx *pg.Tx, e *identitypb.AccountUpdated) error {
	return s.named(ctx, tx, e.GetAccountId(), e.GetName(), e.GetVersion())
}

// named keeps what somebody is called, and by what they are sorted in their courses.
func (s *Service) named(ctx context.Context, tx *pg.Tx, accountID, name string, version int64) error {
	tag, err := tx.Exec(ctx, `
		INSERT INTO account AS a (account_id, name, version) VALUES ($1, $2, $3)
		ON CONFLICT (account_id) DO UPDATE SET name = EXCLUDED.name, version = EXCLUDED.version WHERE a.version < EXCLUDED.version`, accountID, name, version)
	if err != nil {
		return fmt.Errorf("store account: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return nil
	}
	// The students before the clocks, as everybody takes them.
	courses, err := collectTexts(tx.Query(ctx, `
		SELECT course_id FROM student WHERE account_id = $1 AND name <> $2 ORDER BY course_id FOR NO KEY UPDATE`, accountID, name))
	if err != nil {
		return fmt.Errorf("rename student: %w", err)
	}
	for _, courseID := range courses {
		if _, err := tx.Exec(ctx, `UPDATE student SET name = $3, sort_key = $4 WHERE course_id = $1 AND account_id = $2`, courseID, accountID, name, sortKey(name)); err != nil {
			return fmt.Errorf("rename student: %w", err)
		}
	}
	if len(courses) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO course_clock AS c (course_id, seq) SELECT u, 1 FROM unnest($1::text[]) AS u ORDER BY u
		ON CONFLICT (course_id) DO UPDATE SET seq = c.seq + 1`, courses); err != nil {
		return fmt.Errorf("number changes: %w", err)
	}
	if _, err := tx.Exec(ctx, `
		UPDATE student s SET seq = c.seq FROM course_clock c WHERE s.account_id = $1 AND s.course_id = ANY ($2) AND c.course_id = s.course_id`, accountID, courses); err != nil {
		return fmt.Errorf("rename student: %w", err)
	}
	return nil
}

// storeSection keeps a cohort or a group.
func storeSection(ctx context.Context, tx *pg.Tx, id, courseID, kind, name string, gone bool, version int64) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO section AS s (section_id, course_id, kind, name, gone, version) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (section_id) DO UPDATE SET name = EXCLUDED.name, gone = EXCLUDED.gone, version = EXCLUDED.version
		WHERE s.version < EXCLUDED.version`, id, courseID, kind, name, gone, version)
	if err != nil {
		return fmt.Errorf("store section: %w", err)
	}
	return nil
}

func (s *Service) cohortChanged(ctx context.Context, tx *pg.Tx, e *accesspb.CohortChanged) error {
	return storeSection(ctx, tx, e.GetCohortId(), e.GetCourseId(), "cohort", e.GetName(), e.GetCancelled(), e.GetVersion())
}

func (s *Service) groupChanged(ctx context.Context, tx *pg.Tx, e *accesspb.GroupChanged) error {
	return storeSection(ctx, tx, e.GetGroupId(), e.GetCourseId(), "group", e.GetName(), e.GetDeleted(), e.GetVersion())
}

func (s *Service) cohortMembershipChanged(ctx context.Context, tx *pg.Tx, e *accesspb.CohortMembershipChanged) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO cohort_member AS m (course_id, account_id, cohort_id, version) VALUES ($1, $2, $3, $4)
		ON CONFLICT (course_id, account_id) DO UPDATE SET cohort_id = EXCLUDED.cohort_id, version = EXCLUDED.version
		WHERE m.version < EXCLUDED.version`, e.GetCourseId(), e.GetAccountId(), e.GetCohortId(), e.GetVersion())
	if err != nil {
		return fmt.Errorf("store membership: %w", err)
	}
	return nil
}

func (s *Service) groupMembershipChanged(ctx context.Context, tx *pg.Tx, e *accesspb.GroupMembershipChanged) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO group_member AS m (course_id, account_id, group_id, member, version) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (course_id, account_id, group_id) DO UPDATE SET member = EXCLUDED.member, version = EXCLUDED.version
		WHERE m.version < EXCLUDED.version`, e.GetCourseId(), e.GetAccountId(), e.GetGroupId(), e.GetMember(), e.GetVersion())
	if err != nil {
		return fmt.Errorf("store membership: %w", err)
	}
	return nil
}

// inSections is a condition on the student s: who is in one of the cohorts and groups of
// the array that is named.
func inSections(param string) string {
	return `(EXISTS (SELECT FROM cohort_member m WHERE m.course_id = s.course_id AND m.account_id = s.account_id AND m.cohort_id = ANY (` + param + `))
		OR EXISTS (SELECT FROM group_member m WHERE m.course_id = s.course_id AND m.account_id = s.account_id AND m.member AND m.group_id = ANY (` + param + `)))`
}

// knownSections refuses cohorts and groups that the course does not have.
func knownSections(ctx context.Context, q pg.Querier, courseID string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	var n int
	err := q.QueryRow(ctx, `SELECT count(*) FROM section WHERE course_id = $1 AND section_id = ANY ($2) AND NOT gone`, courseID, ids).Scan(&n)
	if err != nil && !pg.NoRows(err) {
		return fmt.Errorf("sections: %w", err)
	}
	distinct := map[string]bool{}
	for _, id := range ids {
		distinct[id] = true
	}
	if n < len(distinct) {
		return ErrSectionNotFound
	}
	return nil
}
