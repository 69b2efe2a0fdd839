package learning

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// itemsOf returns the parts of a publication. Events of before items were told
// have modules and lessons alone; each lesson counts there.
func itemsOf(e *coursespb.CoursePublished) []*coursespb.PublishedItem {
	if len(e.GetItems()) > 0 {
		return e.GetItems()
	}
	var items []*coursespb.PublishedItem
	seen := map[string]bool{}
	add := func(it *coursespb.PublishedItem) {
		if !seen[it.GetId()] {
			seen[it.GetId()] = true
			items = append(items, it)
		}
	}
	for _, m := range e.GetModules() {
		add(&coursespb.PublishedItem{Id: m.GetId(), Kind: "module", Title: m.GetTitle()})
		for _, l := range m.GetLessons() {
			add(&coursespb.PublishedItem{Id: l.GetId(), ParentId: m.GetId(), Kind: "lesson", Title: l.GetTitle(), Preview: l.GetPreview(), Required: true, Completion: onView})
		}
	}
	return items
}

// onView is what completed every lesson before rules were told.
var onView = &releasepb.Completion{Requirements: []*releasepb.Requirement{{Kind: "viewed"}}}

// storeVersion keeps a version of a course, which never changes once it is
// there, in three statements whatever its size.
func storeVersion(ctx context.Context, tx *pg.Tx, e *coursespb.CoursePublished) error {
	text, err := proto.Marshal(e)
	if err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO course_version (course_id, version, publication) VALUES ($1, $2, $3)
		ON CONFLICT (course_id, version) DO NOTHING`, e.GetCourseId(), e.GetVersion(), text)
	if err != nil {
		return fmt.Errorf("store version: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return nil
	}
	return storeItems(ctx, tx, e)
}

// dropVersions forgets the versions of a course that nobody sees: neither the
// newest nor one that a cohort is pinned to.
func dropVersions(ctx context.Context, tx *pg.Tx, courseID string) error {
	_, err := tx.Exec(ctx, `
		WITH gone AS (
			DELETE FROM course_version v WHERE v.course_id = $1
				AND v.version <> (SELECT version FROM course WHERE course_id = $1)
				AND NOT EXISTS (SELECT FROM cohort_pin p WHERE p.course_id = $1 AND p.version = v.version)
			RETURNING version
		), members AS (
			DELETE FROM module_item m USING gone WHERE m.course_id = $1 AND m.version = gone.version)
		DELETE FROM published_item i USING gone WHERE i.course_id = $1 AND i.version = gone.version`, courseID)
	if err != nil {
		return fmt.Errorf("drop versions: %w", err)
	}
	return nil
}

// cohortPinned has the learners of a cohort see another version.
func (s *Service) cohortPinned(ctx context.Context, tx *pg.Tx, e *coursespb.CohortPinned) error {
	if err := lockCourseToChange(ctx, tx, e.GetCourseId()); err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO cohort_pin AS p (course_id, cohort_id, sequence, version) VALUES ($1, $2, $3, $4)
		ON CONFLICT (course_id, cohort_id) DO UPDATE SET sequence = EXCLUDED.sequence, version = EXCLUDED.version
		WHERE p.sequence < EXCLUDED.sequence`, e.GetCourseId(), e.GetCohortId(), e.GetSequence(), e.GetVersion())
	if err != nil {
		return fmt.Errorf("store pin: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return nil
	}
	if e.GetPublication() != nil {
		if err := storeVersion(ctx, tx, e.GetPublication()); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, `
		UPDATE learner l SET pinned_version = $3 FROM cohort_member m
		WHERE m.course_id = $1 AND m.cohort_id = $2 AND l.course_id = $1 AND l.account_id = m.account_id AND l.pinned_version <> $3`,
		e.GetCourseId(), e.GetCohortId(), e.GetVersion()); err != nil {
		return fmt.Errorf("pin learners: %w", err)
	}
	if err := dropVersions(ctx, tx, e.GetCourseId()); err != nil {
		return err
	}
	if err := s.enqueueWhere(ctx, tx, `SELECT course_id, account_id FROM cohort_member WHERE course_id = $1 AND cohort_id = $2`, e.GetCourseId(), e.GetCohortId()); err != nil {
		return err
	}
	return s.settleAll(ctx, tx, crowd{CourseID: e.GetCourseId(), CohortID: e.GetCohortId()})
}

// cohortMembershipChanged has somebody see what their new cohort sees.
func (s *Service) cohortMembershipChanged(ctx context.Context, tx *pg.Tx, e *accesspb.CohortMembershipChanged) error {
	if err := lockCourse(ctx, tx, e.GetCourseId()); err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO cohort_member AS m (course_id, account_id, version, cohort_id) VALUES ($1, $2, $3, $4)
		ON CONFLICT (course_id, account_id) DO UPDATE SET version = EXCLUDED.version, cohort_id = EXCLUDED.cohort_id
		WHERE m.version < EXCLUDED.version`, e.GetCourseId(), e.GetAccountId(), e.GetVersion(), e.GetCohortId())
	if err != nil {
		return fmt.Errorf("store membership: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return nil
	}
	if err := pinLearner(ctx, tx, e.GetCourseId(), e.GetAccountId()); err != nil {
		return err
	}
	if err := s.enqueue(ctx, tx, e.GetCourseId(), e.GetAccountId()); err != nil {
		return err
	}
	_, err = s.settle(ctx, tx, whom{course: e.GetCourseId(), accounts: []string{e.GetAccountId()}, now: s.now()})
	return err
}

// pinLearner gives a learner the version of their cohort.
func pinLearner(ctx context.Context, tx *pg.Tx, courseID, accountID string) error {
	_, err := tx.Exec(ctx, `
		UPDATE learner SET pinned_version = coalesce((
			SELECT p.version FROM cohort_member m JOIN cohort_pin p USING (course_id, cohort_id)
			WHERE m.course_id = $1 AND m.account_id = $2), 0)
		WHERE course_id = $1 AND account_id = $2`, courseID, accountID)
	if err != nil {
		return fmt.Errorf("pin learner: %w", err)
	}
	return nil
}
