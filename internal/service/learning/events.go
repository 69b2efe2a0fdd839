package learning

import (
	"cmp"
	"context"
	"fmt"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// coursePublished replaces the lessons that count. Who lacked only lessons that
// have left the course has completed it now.
func (s *Service) coursePublished(ctx context.Context, tx *pg.Tx, e *coursespb.CoursePublished) error {
	if err := lockCourseToChange(ctx, tx, e.GetCourseId()); err != nil {
		return err
	}
	c := course{ID: e.GetCourseId(), Sequence: e.GetSequence(), Version: e.GetVersion(), Title: e.GetTitle(), Language: e.GetLanguage(), TimeZone: cmp.Or(e.GetTimeZone(), "UTC")}
	seen := map[string]bool{}
	for _, m := range e.GetModules() {
		for _, l := range m.GetLessons() {
			if !seen[l.GetId()] {
				seen[l.GetId()] = true
				c.Lessons = append(c.Lessons, lesson{ID: l.GetId(), Title: l.GetTitle()})
			}
		}
	}
	stored, err := storeCourse(ctx, tx, c)
	if err != nil || !stored {
		return err
	}
	if err := storeVersion(ctx, tx, e); err != nil {
		return err
	}
	if err := dropVersions(ctx, tx, c.ID); err != nil {
		return err
	}
	if err := s.enqueue(ctx, tx, c.ID, ""); err != nil {
		return err
	}
	return s.completeAll(ctx, tx, c.ID, s.now())
}

// enrollmentStarted lists a learner. What they viewed before the event came
// counts, so they may have completed the course already.
func (s *Service) enrollmentStarted(ctx context.Context, tx *pg.Tx, e *accesspb.EnrollmentStarted) error {
	if err := lockCourse(ctx, tx, e.GetCourseId()); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO learner AS l (course_id, account_id, enrolled_at) VALUES ($1, $2, $3)
		ON CONFLICT (course_id, account_id) DO UPDATE SET enrolled_at = greatest(l.enrolled_at, EXCLUDED.enrolled_at)`,
		e.GetCourseId(), e.GetAccountId(), e.GetEnrolledAt().AsTime())
	if err != nil {
		return fmt.Errorf("store enrollment: %w", err)
	}
	if err := pinLearner(ctx, tx, e.GetCourseId(), e.GetAccountId()); err != nil {
		return err
	}
	if err := s.askEase(ctx, tx, `account_id = $1 AND course_id = $2`, e.GetAccountId(), e.GetCourseId()); err != nil {
		return err
	}
	if err := s.enqueue(ctx, tx, e.GetCourseId(), e.GetAccountId()); err != nil {
		return err
	}
	return s.complete(ctx, tx, e.GetCourseId(), e.GetAccountId(), s.now())
}

func (s *Service) accountCreated(ctx context.Context, tx *pg.Tx, e *identitypb.AccountCreated) error {
	return storeName(ctx, tx, e.GetAccountId(), e.GetName(), 1)
}

func (s *Service) accountUpdated(ctx context.Context, tx *pg.Tx, e *identitypb.AccountUpdated) error {
	return storeName(ctx, tx, e.GetAccountId(), e.GetName(), e.GetVersion())
}

func storeName(ctx context.Context, tx *pg.Tx, accountID, name string, version int64) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO account (account_id, name, version) VALUES ($1, $2, $3)
		ON CONFLICT (account_id) DO UPDATE SET name = EXCLUDED.name, version = EXCLUDED.version
		WHERE account.version < EXCLUDED.version`, accountID, name, version)
	if err != nil {
		return fmt.Errorf("store name: %w", err)
	}
	return nameCertificates(ctx, tx, accountID, name)
}
