package access

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
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

// unexpired is the condition on a grant of a role that counts at the time $1.
const unexpired = `(expires_at IS NULL OR expires_at > $1)`

// The kinds of sources.
const (
	byRole        = "role"
	byEntitlement = "entitlement"
	byMembership  = "member"
	byVisit       = "visitor"
)

// source is one reason for which a subject may do something.
type source struct {
	N           int
	Kind        string
	Role        string
	ItemID      string
	OnPlatform  bool
	Ends        *time.Time
	Permissions []string // of a role that was made; nil for a built-in one

	// For explanations; empty for decisions, whose query answers from indexes
	// alone.
	ID, GivenBy, Reason string
	Since               *time.Time
}

// gives yields what the source allows, each with the item that it is allowed on,
// "" for all of the course or of the platform. All answers, decisions and
// explanations, are made of this. Names that are no roles or permissions (any
// more) allow nothing.
func (s source) gives() iter.Seq2[string, string] {
	return func(yield func(item, permission string) bool) {
		list := s.Permissions
		if list == nil {
			list = roles[s.Role].permissions
		}
		for _, p := range list {
			if slices.Contains(permissions, p) && !yield(s.ItemID, p) {
				return
			}
		}
		// Who has to do with a part of a course may know of it.
		if s.ItemID != "" {
			yield("", courseView)
		}
	}
}

// allows reports whether the source gives the permission on an item, or on the
// whole for an empty one.
func (s source) allows(permission, item string) bool {
	for on, p := range s.gives() {
		if p == permission && (on == "" || on == item) {
			return true
		}
	}
	return false
}

// answer is what a subject may.
type answer struct {
	permissions map[string]struct{}
	items       map[string]map[string]struct{}
}

func answerOf(sources []source) answer {
	a := answer{map[string]struct{}{}, map[string]map[string]struct{}{}}
	for _, s := range sources {
		for item, p := range s.gives() {
			set := a.permissions
			if item != "" {
				if a.items[item] == nil {
					a.items[item] = map[string]struct{}{}
				}
				set = a.items[item]
			}
			set[p] = struct{}{}
		}
	}
	return a
}

func toAnswer(a answer) *accesspb.ResolvePermissionsResponse_Answer {
	out := &accesspb.ResolvePermissionsResponse_Answer{Permissions: slices.Sorted(maps.Keys(a.permissions))}
	for _, item := range slices.Sorted(maps.Keys(a.items)) {
		out.Items = append(out.Items, &accesspb.ResolvePermissionsResponse_Item{
			ItemId: item, Permissions: slices.Sorted(maps.Keys(a.items[item])),
		})
	}
	return out
}

// sourcesSQL finds the sources of many subjects at once, each with the number of
// its question. ofGrant, ofEntitlement and ofCourse are what is told besides:
// the same branches decide and explain.
func sourcesSQL(ofGrant, ofEntitlement, ofCourse string) string {
	const made = `CASE WHEN role LIKE 'role\_%' THEN coalesce((SELECT d.permissions FROM role_definition d WHERE d.id = role), '{}') END AS permissions`
	return `
	SELECT q.n, r.*
	FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS q (account_id, course_id, n)
	CROSS JOIN LATERAL (
		SELECT '` + byRole + `' AS kind, role, item_id, true AS on_platform, expires_at AS ends, ` + made + ofGrant + `
		FROM role_grant WHERE account_id = q.account_id AND course_id = '' AND ` + unexpired + `
		UNION ALL
		SELECT '` + byRole + `', role, item_id, false, expires_at, ` + made + ofGrant + `
		FROM role_grant WHERE account_id = q.account_id AND course_id = q.course_id AND q.course_id <> '' AND ` + unexpired + `
		UNION ALL
		SELECT '` + byEntitlement + `', '` + roleStudent + `', '', false, ends_at, NULL` + ofEntitlement + `
		FROM entitlement WHERE account_id = q.account_id AND course_id = q.course_id AND ` + live + `
		UNION ALL
		SELECT '` + byVisit + `', '` + roleVisitor + `', '', false, NULL, NULL` + ofCourse + `
		FROM course WHERE course_id = q.course_id AND published
	) AS r`
}

var (
	// rolesSQL decides. Every branch is one look into an index that holds all it
	// needs: this is what all processes ask all the time.
	rolesSQL = sourcesSQL(``, ``, ``)
	// reasonsSQL explains.
	reasonsSQL = sourcesSQL(
		`, id, granted_by AS given_by, reason, granted_at AS since`,
		`, id, source, source_id, starts_at`,
		`, '', '', '', NULL`)
)

// sources returns the sources of each subject, in their order, by one of the
// two statements.
func (s *Service) sources(ctx context.Context, q pg.Querier, sql string, subjects ...subject) ([][]source, error) {
	accounts, courses := make([]string, len(subjects)), make([]string, len(subjects))
	out := make([][]source, len(subjects))
	for i, one := range subjects {
		accounts[i], courses[i] = one.account, one.course
		if one.account != "" {
			out[i] = append(out[i], source{N: i + 1, Kind: byMembership, Role: roleMember, OnPlatform: true})
		}
	}
	rows, err := q.Query(ctx, sql, s.now(), accounts, courses)
	if err != nil {
		return nil, fmt.Errorf("sources: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByNameLax[source])
	if err != nil {
		return nil, fmt.Errorf("sources: %w", err)
	}
	for _, one := range found {
		out[one.N-1] = append(out[one.N-1], one)
	}
	return out, nil
}

// resolve returns what each subject may, in their order.
func (s *Service) resolve(ctx context.Context, subjects []subject) ([]answer, error) {
	found, err := s.sources(ctx, s.db, rolesSQL, subjects...)
	if err != nil {
		return nil, err
	}
	out := make([]answer, len(found))
	for i, sources := range found {
		out[i] = answerOf(sources)
	}
	return out, nil
}
