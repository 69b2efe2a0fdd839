package learning

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// activityResultChanged keeps what was handed in of a quiz or an assignment, and what
// that completes. Posted scores are in events of before there was a gradebook; they
// count until that has told one.
func (s *Service) activityResultChanged(ctx context.Context, tx *pg.Tx, e *assessmentpb.ActivityResultChanged) error {
	var percent *string
	if text := e.GetPercent(); text != "" {
		p, err := release.ParsePercent(text)
		if err != nil {
			return fmt.Errorf("result of %s: percent: %w", e.GetItemId(), err)
		}
		text = p.String()
		percent = &text
	}
	if err := lockCourse(ctx, tx, e.GetCourseId()); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO item_result AS r (course_id, account_id, item_id, submitted_at, percent, passed, version) VALUES ($1, $2, $3, $4, $5::text::numeric, $6, $7)
		ON CONFLICT (course_id, account_id, item_id) DO UPDATE SET submitted_at = EXCLUDED.submitted_at, version = EXCLUDED.version,
			percent = CASE WHEN r.grade_version = 0 THEN EXCLUDED.percent ELSE r.percent END,
			passed = CASE WHEN r.grade_version = 0 THEN EXCLUDED.passed ELSE r.passed END
		WHERE r.version < EXCLUDED.version`,
		e.GetCourseId(), e.GetAccountId(), e.GetItemId(), timeOf(e.GetSubmittedAt()), percent, e.GetPassed(), e.GetVersion())
	if err != nil {
		return fmt.Errorf("store result: %w", err)
	}
	return s.reached(ctx, tx, result{
		course: e.GetCourseId(), account: e.GetAccountId(), item: e.GetItemId(), submitted: timeOf(e.GetSubmittedAt()), percent: percent, passed: e.GetPassed(),
	})
}

// timeOf returns a moment as the database keeps it, nil for none.
func timeOf(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	at := t.AsTime().Truncate(time.Microsecond)
	return &at
}

// enrollmentEnded keeps that somebody is enrolled no more.
func (s *Service) enrollmentEnded(ctx context.Context, tx *pg.Tx, e *accesspb.EnrollmentEnded) error {
	return s.enrollmentChanged(ctx, tx, e.GetCourseId(), e.GetAccountId(), e.GetVersion(), true)
}

// enrollmentResumed keeps that somebody is enrolled again. What they have done
// meanwhile counts.
func (s *Service) enrollmentResumed(ctx context.Context, tx *pg.Tx, e *accesspb.EnrollmentResumed) error {
	return s.enrollmentChanged(ctx, tx, e.GetCourseId(), e.GetAccountId(), e.GetVersion(), false)
}

// enrollmentChanged also keeps it of who is not known to have enrolled yet.
func (s *Service) enrollmentChanged(ctx context.Context, tx *pg.Tx, courseID, accountID string, version int64, ended bool) error {
	if err := lockCourse(ctx, tx, courseID); err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO learner AS l (course_id, account_id, enrollment_version, ended) VALUES ($1, $2, $3, $4)
		ON CONFLICT (course_id, account_id) DO UPDATE SET enrollment_version = EXCLUDED.enrollment_version, ended = EXCLUDED.ended
		WHERE l.enrollment_version < EXCLUDED.enrollment_version`, courseID, accountID, version, ended)
	if err != nil {
		return fmt.Errorf("store end of enrollment: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return nil
	}
	if err := s.enqueue(ctx, tx, courseID, accountID); err != nil || ended {
		return err
	}
	_, err = s.settle(ctx, tx, whom{course: courseID, accounts: []string{accountID}, now: s.now()})
	return err
}

// cohortChanged keeps when a cohort starts, from which on its members' days count,
// and what calendars tell of it.
func (s *Service) cohortChanged(ctx context.Context, tx *pg.Tx, e *accesspb.CohortChanged) error {
	// Before it looks who is in it: who comes later has their own deadlines made
	// after this.
	if err := lockDeadlines(ctx, tx, e.GetCourseId()); err != nil {
		return err
	}
	var before time.Time
	err := tx.QueryRow(ctx, `SELECT starts_at FROM cohort WHERE cohort_id = $1 FOR UPDATE`, e.GetCohortId()).Scan(&before)
	if err != nil && !pg.NoRows(err) {
		return fmt.Errorf("read cohort: %w", err)
	}
	starts := *timeOf(e.GetStartsAt())
	tag, err := tx.Exec(ctx, `
		INSERT INTO cohort AS c (cohort_id, course_id, name, starts_at, ends_at, cancelled, version) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (cohort_id) DO UPDATE SET name = EXCLUDED.name, starts_at = EXCLUDED.starts_at, ends_at = EXCLUDED.ends_at,
			cancelled = EXCLUDED.cancelled, version = EXCLUDED.version
		WHERE c.version < EXCLUDED.version`, e.GetCohortId(), e.GetCourseId(), e.GetName(), starts, timeOf(e.GetEndsAt()), e.GetCancelled(), e.GetVersion())
	if err != nil {
		return fmt.Errorf("store cohort: %w", err)
	}
	if tag.RowsAffected() == 0 || before.Equal(starts) {
		return nil
	}
	return s.enqueueWhere(ctx, tx, `SELECT course_id, account_id FROM cohort_member WHERE course_id = $1 AND cohort_id = $2`, e.GetCourseId(), e.GetCohortId())
}

// groupChanged keeps that there is a group. Who is in it is told apart.
func (s *Service) groupChanged(ctx context.Context, tx *pg.Tx, e *accesspb.GroupChanged) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO course_group AS g (group_id, course_id, name, deleted, version) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (group_id) DO UPDATE SET name = EXCLUDED.name, deleted = EXCLUDED.deleted, version = EXCLUDED.version
		WHERE g.version < EXCLUDED.version`, e.GetGroupId(), e.GetCourseId(), e.GetName(), e.GetDeleted(), e.GetVersion())
	if err != nil {
		return fmt.Errorf("store group: %w", err)
	}
	return nil
}

// groupMembershipChanged keeps who is in a group.
func (s *Service) groupMembershipChanged(ctx context.Context, tx *pg.Tx, e *accesspb.GroupMembershipChanged) error {
	tag, err := tx.Exec(ctx, `
		INSERT INTO group_member AS m (course_id, account_id, group_id, version, member) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (course_id, account_id, group_id) DO UPDATE SET version = EXCLUDED.version, member = EXCLUDED.member
		WHERE m.version < EXCLUDED.version`, e.GetCourseId(), e.GetAccountId(), e.GetGroupId(), e.GetVersion(), e.GetMember())
	if err != nil {
		return fmt.Errorf("store membership: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return nil
	}
	return s.enqueue(ctx, tx, e.GetCourseId(), e.GetAccountId())
}

// courseRoleChanged keeps who has which role.
func (s *Service) courseRoleChanged(ctx context.Context, tx *pg.Tx, e *accesspb.CourseRoleChanged) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO course_role AS r (course_id, account_id, role, version, granted, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (course_id, account_id, role) DO UPDATE SET version = EXCLUDED.version, granted = EXCLUDED.granted, expires_at = EXCLUDED.expires_at
		WHERE r.version < EXCLUDED.version`,
		e.GetCourseId(), e.GetAccountId(), e.GetRole(), e.GetVersion(), e.GetGranted(), timeOf(e.GetExpiresAt()))
	if err != nil {
		return fmt.Errorf("store role: %w", err)
	}
	return nil
}

// accommodationChanged has access asked how deadlines are eased for somebody now.
func (s *Service) accommodationChanged(ctx context.Context, tx *pg.Tx, e *accesspb.AccommodationChanged) error {
	return s.askEase(ctx, tx, `account_id = $1 AND ($2 = '' OR course_id = $2)`, e.GetAccountId(), e.GetCourseId())
}

// askEase has access asked about the learners that a condition names.
func (s *Service) askEase(ctx context.Context, tx *pg.Tx, where string, args ...any) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO ease_task (account_id, course_id) SELECT account_id, course_id FROM learner WHERE enrolled_at IS NOT NULL AND `+where+` ORDER BY 1, 2
		ON CONFLICT (account_id, course_id) DO UPDATE SET queued = DEFAULT`, args...)
	if err != nil {
		return fmt.Errorf("ask for accommodations: %w", err)
	}
	s.wakeAfter(tx)
	return nil
}
