package assessment

import (
	"context"
	"fmt"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// accountCreated keeps what somebody is called.
func (s *Service) accountCreated(ctx context.Context, tx *pg.Tx, e *identitypb.AccountCreated) error {
	return storePerson(ctx, tx, e.GetAccountId(), e.GetName(), 1)
}

// accountUpdated keeps what somebody is called now.
func (s *Service) accountUpdated(ctx context.Context, tx *pg.Tx, e *identitypb.AccountUpdated) error {
	return storePerson(ctx, tx, e.GetAccountId(), e.GetName(), e.GetVersion())
}

func storePerson(ctx context.Context, tx *pg.Tx, accountID, name string, version int64) error {
	if _, err := tx.Exec(ctx, `
		INSERT INTO person AS p (account_id, name, version) VALUES ($1, $2, $3)
		ON CONFLICT ON CONSTRAINT person_pkey DO UPDATE SET name = EXCLUDED.name, version = EXCLUDED.version WHERE p.version < EXCLUDED.version`,
		accountID, name, version); err != nil {
		return fmt.Errorf("store person: %w", err)
	}
	return nil
}

// groupChanged keeps that there is a group, or no more.
func (s *Service) groupChanged(ctx context.Context, tx *pg.Tx, e *accesspb.GroupChanged) error {
	if _, err := tx.Exec(ctx, `
		INSERT INTO course_group AS g (group_id, course_id, name, deleted, version) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT ON CONSTRAINT course_group_pkey DO UPDATE SET name = EXCLUDED.name, deleted = EXCLUDED.deleted, version = EXCLUDED.version
		WHERE g.version < EXCLUDED.version`, e.GetGroupId(), e.GetCourseId(), e.GetName(), e.GetDeleted(), e.GetVersion()); err != nil {
		return fmt.Errorf("store group: %w", err)
	}
	return nil
}

// groupMembershipChanged keeps who is in a group. What was handed in before stays of
// those who were in it then.
func (s *Service) groupMembershipChanged(ctx context.Context, tx *pg.Tx, e *accesspb.GroupMembershipChanged) error {
	if _, err := tx.Exec(ctx, `
		INSERT INTO group_member AS m (group_id, course_id, account_id, member, version) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT ON CONSTRAINT group_member_pkey DO UPDATE SET member = EXCLUDED.member, version = EXCLUDED.version
		WHERE m.version < EXCLUDED.version`, e.GetGroupId(), e.GetCourseId(), e.GetAccountId(), e.GetMember(), e.GetVersion()); err != nil {
		return fmt.Errorf("store member of group: %w", err)
	}
	return nil
}

// cohortMembershipChanged keeps in which cohort somebody is.
func (s *Service) cohortMembershipChanged(ctx context.Context, tx *pg.Tx, e *accesspb.CohortMembershipChanged) error {
	if _, err := tx.Exec(ctx, `
		INSERT INTO cohort_member AS m (course_id, account_id, cohort_id, version) VALUES ($1, $2, $3, $4)
		ON CONFLICT ON CONSTRAINT cohort_member_pkey DO UPDATE SET cohort_id = EXCLUDED.cohort_id, version = EXCLUDED.version
		WHERE m.version < EXCLUDED.version`, e.GetCourseId(), e.GetAccountId(), e.GetCohortId(), e.GetVersion()); err != nil {
		return fmt.Errorf("store member of cohort: %w", err)
	}
	return nil
}
