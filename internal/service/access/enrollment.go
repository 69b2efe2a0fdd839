package access

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// enrollment is that somebody takes a course.
type enrollment struct {
	ID          string
	AccountID   string
	CourseID    string
	AccountName string // for lists that staff see; else empty
	Source      string // of the newest live grant; empty when none is live
	EnrolledAt  time.Time
}

// state follows from the ledger; it is not stored.
func (e enrollment) state() string {
	if e.Source == "" {
		return "ended"
	}
	return "active"
}

// enrollmentSQL reads enrollments as they are at the time $1. With the name or
// without is for who asks to say.
func enrollmentSQL(name, join string) string {
	return `
	SELECT e.id, e.account_id, e.course_id, ` + name + ` AS account_name, coalesce(g.source, '') AS source, e.enrolled_at
	FROM enrollment e ` + join + `
	LEFT JOIN LATERAL (
		SELECT source FROM entitlement
		WHERE account_id = e.account_id AND course_id = e.course_id AND ` + live + `
		ORDER BY starts_at DESC, id DESC LIMIT 1
	) AS g ON true `
}

var (
	ownSQL   = enrollmentSQL(`''`, ``)
	staffSQL = enrollmentSQL(`coalesce(p.name, '')`, `LEFT JOIN person p ON p.account_id = e.account_id`)
)

// enrollments returns a page, newest first, of those whose column ("e.course_id"
// or "e.account_id") is value, and the cursor of the next page.
func (s *Service) enrollments(ctx context.Context, sql, column, value string, size int32, cursor string) ([]enrollment, string, error) {
	before, beforeID, err := after(cursor, "enrollment")
	if err != nil {
		return nil, "", err
	}
	limit := page.Size(size)
	rows, err := s.db.Query(ctx, sql+`
		WHERE `+column+` = $2 AND (e.enrolled_at, e.id) < ($3, $4)
		ORDER BY e.enrolled_at DESC, e.id DESC LIMIT $5`, s.now(), value, before, beforeID, limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("enrollments: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[enrollment])
	if err != nil {
		return nil, "", fmt.Errorf("enrollments: %w", err)
	}
	if len(list) <= limit {
		return list, "", nil
	}
	list = list[:limit]
	last := list[limit-1]
	return list, page.TimeCursor(last.EnrolledAt, last.ID), nil
}

// enrollmentOf returns an account's enrollment in a course.
func (s *Service) enrollmentOf(ctx context.Context, q pg.Querier, accountID, courseID string) (e enrollment, found bool, err error) {
	rows, err := q.Query(ctx, ownSQL+`WHERE e.account_id = $2 AND e.course_id = $3`, s.now(), accountID, courseID)
	if err != nil {
		return enrollment{}, false, fmt.Errorf("enrollment: %w", err)
	}
	e, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[enrollment])
	if pg.NoRows(err) {
		return enrollment{}, false, nil
	}
	if err != nil {
		return enrollment{}, false, fmt.Errorf("enrollment: %w", err)
	}
	return e, true, nil
}

// teachesSQL holds where the account $2 has a role on the whole course $1 at the
// time $3, and so needs no grant. Who has one on an item only may take the course.
const teachesSQL = `EXISTS (
	SELECT FROM role_grant WHERE account_id = $2 AND course_id = $1 AND item_id = '' AND (expires_at IS NULL OR expires_at > $3))`

// refuseStaff refuses an account that needs no grant because it teaches.
func (s *Service) refuseStaff(ctx context.Context, tx *pg.Tx, courseID, account string) error {
	var teaches bool
	if err := tx.QueryRow(ctx, `SELECT `+teachesSQL, courseID, account, s.now()).Scan(&teaches); err != nil {
		return fmt.Errorf("staff: %w", err)
	}
	if teaches {
		return ErrOwnCourse
	}
	return nil
}

// enrollFree gives an account access to a free course. Who has access by any
// grant keeps what they have: also to a course that is sold, or out of the
// marketplace, by now.
func (s *Service) enrollFree(ctx context.Context, tx *pg.Tx, accountID, courseID string) (enrollment, error) {
	e, found, err := s.enrollmentOf(ctx, tx, accountID, courseID)
	if err != nil || found && e.Source != "" {
		return e, err
	}
	var published, free, teaches, cohortOnly bool
	err = tx.QueryRow(ctx, `
		SELECT published, coalesce(free, false), owner_id = $2 OR `+teachesSQL+`, EXISTS (SELECT FROM enrollment_policy WHERE course_id = $1 AND cohort_only)
		FROM course WHERE course_id = $1`, courseID, accountID, s.now()).Scan(&published, &free, &teaches, &cohortOnly)
	switch {
	case pg.NoRows(err), err == nil && !published:
		return enrollment{}, ErrNotFound
	case err != nil:
		return enrollment{}, fmt.Errorf("course: %w", err)
	case teaches:
		return enrollment{}, ErrOwnCourse
	case !free:
		return enrollment{}, ErrNotFree
	case cohortOnly:
		return enrollment{}, ErrCohortOnly
	}
	if err := s.makeRoom(ctx, tx, accountID, courseID); err != nil {
		return enrollment{}, err
	}
	_, err = s.grant(ctx, tx, []entitlement{{AccountID: accountID, CourseID: courseID, Source: sourceFree, StartsAt: s.now()}})
	if err != nil {
		return enrollment{}, err
	}
	e, found, err = s.enrollmentOf(ctx, tx, accountID, courseID)
	if err == nil && !found {
		err = fmt.Errorf("enrollment of %s in %s is not there after a grant", accountID, courseID)
	}
	return e, err
}

// makeRoom ends a free grant that has ended by itself for good, so that there is
// room for another.
func (s *Service) makeRoom(ctx context.Context, tx *pg.Tx, accountID, courseID string) error {
	_, err := tx.Exec(ctx, `
		UPDATE entitlement SET revoked_at = ends_at, revoke_reason = 'taken again after its end', revoked_by = $2
		WHERE account_id = $2 AND course_id = $3 AND source = 'free' AND revoked_at IS NULL AND ends_at <= $1`, s.now(), accountID, courseID)
	if err != nil {
		return fmt.Errorf("ended grant: %w", err)
	}
	return nil
}

// policyOf returns the policy of a course; one that was never changed is as all
// are at first.
func policyOf(ctx context.Context, q pg.Querier, courseID, lock string) (*accesspb.EnrollmentPolicy, int64, error) {
	out, revision := &accesspb.EnrollmentPolicy{CourseId: courseID}, int64(1)
	err := q.QueryRow(ctx, `SELECT cohort_only, revision FROM enrollment_policy WHERE course_id = $1 `+lock, courseID).Scan(&out.CohortOnly, &revision)
	if err != nil && !pg.NoRows(err) {
		return nil, 0, fmt.Errorf("enrollment policy: %w", err)
	}
	out.Etag = etag(revision)
	return out, revision, nil
}

// GetEnrollmentPolicy implements accesspb.CohortServiceServer.
func (s *Service) GetEnrollmentPolicy(ctx context.Context, req *accesspb.GetEnrollmentPolicyRequest) (*accesspb.EnrollmentPolicy, error) {
	out, _, err := policyOf(ctx, s.db, req.GetCourseId(), ``)
	return out, err
}

// UpdateEnrollmentPolicy implements accesspb.CohortServiceServer.
func (s *Service) UpdateEnrollmentPolicy(ctx context.Context, req *accesspb.UpdateEnrollmentPolicyRequest) (*accesspb.EnrollmentPolicy, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.EnrollmentPolicy, error) {
		_, err := tx.Exec(ctx, `INSERT INTO enrollment_policy (course_id, cohort_only, revision) VALUES ($1, false, 1) ON CONFLICT DO NOTHING`, req.GetCourseId())
		if err != nil {
			return nil, fmt.Errorf("enrollment policy: %w", err)
		}
		was, revision, err := policyOf(ctx, tx, req.GetCourseId(), `FOR UPDATE`)
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, was.GetEtag()); err != nil {
			return nil, err
		}
		out := &accesspb.EnrollmentPolicy{CourseId: req.GetCourseId(), CohortOnly: req.GetCohortOnly(), Etag: etag(revision + 1)}
		_, err = tx.Exec(ctx, `UPDATE enrollment_policy SET cohort_only = $2, revision = $3 WHERE course_id = $1`, out.GetCourseId(), out.GetCohortOnly(), revision+1)
		if err != nil {
			return nil, fmt.Errorf("enrollment policy: %w", err)
		}
		return out, audit.Record(ctx, tx, audit.Entry{
			Action: "enrollment_policy.updated", Object: out.GetCourseId(), Course: out.GetCourseId(), Before: was, After: out,
		})
	})
}
