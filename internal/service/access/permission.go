package access

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// subject is a question: what an account may on a course. An empty account
// stands for everybody, an empty course for the platform.
type subject struct {
	account, course string
}

// live is the condition on an entitlement that gives access at the time $1. The
// clocks of two processes differ a little; so that what one has granted just now
// is seen by the other at once, access begins a few seconds early.
const live = `revoked_at IS NULL AND starts_at <= $1::timestamptz + interval '5 seconds' AND (ends_at IS NULL OR ends_at > $1)`

// rolesSQL finds the roles of many subjects at once, each with the number of
// its question. Every branch is one look into an index that holds all it needs:
// this is what all processes ask all the time.
const rolesSQL = `
	SELECT q.n, r.role
	FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS q (account_id, course_id, n)
	CROSS JOIN LATERAL (
		SELECT role FROM role_grant WHERE account_id = q.account_id AND course_id = ''
		UNION ALL
		SELECT role FROM role_grant WHERE account_id = q.account_id AND course_id = q.course_id AND q.course_id <> ''
		UNION ALL
		SELECT '` + roleStudent + `' WHERE EXISTS (
			SELECT FROM entitlement WHERE account_id = q.account_id AND course_id = q.course_id AND ` + live + `)
		UNION ALL
		SELECT '` + roleVisitor + `' FROM course WHERE course_id = q.course_id AND published
	) AS r`

// resolve returns the permissions of each subject, in their order.
func (s *Service) resolve(ctx context.Context, subjects []subject) ([][]string, error) {
	accounts, courses := make([]string, len(subjects)), make([]string, len(subjects))
	names := make([][]string, len(subjects))
	for i, one := range subjects {
		accounts[i], courses[i] = one.account, one.course
		if one.account != "" {
			names[i] = append(names[i], roleMember)
		}
	}
	rows, err := s.db.Query(ctx, rolesSQL, s.now(), accounts, courses)
	if err != nil {
		return nil, fmt.Errorf("roles: %w", err)
	}
	var (
		n    int
		role string
	)
	_, err = pgx.ForEachRow(rows, []any{&n, &role}, func() error {
		names[n-1] = append(names[n-1], role)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("roles: %w", err)
	}
	out := make([][]string, len(subjects))
	for i := range names {
		out[i] = permissionsOf(names[i])
	}
	return out, nil
}
