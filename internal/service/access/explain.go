package access

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// maxGivers bounds how many people an explanation names.
const maxGivers = 20

func checkPermission(permission string) error {
	if slices.Contains(permissions, permission) {
		return nil
	}
	return &fault.Error{
		Kind: ErrPermissionUnknown.Kind, Code: ErrPermissionUnknown.Code, Message: ErrPermissionUnknown.Message,
		Fields: []fault.Field{{Path: "permission", Code: ErrPermissionUnknown.Code, Hint: fmt.Sprintf("Permissions are %q.", permissions)}},
	}
}

// explain says why a subject may or may not do something on an item, or on the
// whole for an empty one. Only staff are told who of the platform could help.
func (s *Service) explain(ctx context.Context, who subject, permission, item string, staff bool) (*accesspb.Explanation, error) {
	if err := checkPermission(permission); err != nil {
		return nil, err
	}
	found, err := s.sources(ctx, s.db, reasonsSQL, who)
	if err != nil {
		return nil, err
	}
	made, err := s.definitions(ctx, s.db, "", "", who.course)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, d := range made {
		names[d.ID] = d.Name
	}
	out := &accesspb.Explanation{}
	for _, one := range found[0] {
		if !one.allows(permission, item) {
			continue
		}
		told := &accesspb.Explanation_Source{
			Kind: one.Kind, Role: one.Role, RoleName: names[one.Role], Id: one.ID, ItemId: one.ItemID,
			By: one.GivenBy, Reason: one.Reason, Since: stampOf(one.Since), Until: stampOf(one.Ends),
		}
		if told.RoleName == "" {
			told.RoleName = one.Role
		}
		if !one.OnPlatform {
			told.CourseId = who.course
		}
		out.Sources = append(out.Sources, told)
	}
	out.Allowed = len(out.Sources) > 0
	if !out.Allowed {
		out.Missing, err = s.missing(ctx, who.course, permission, item, staff)
	}
	return out, err
}

// missing says what would allow something that nothing allows.
func (s *Service) missing(ctx context.Context, courseID, permission, item string, staff bool) (*accesspb.Explanation_Missing, error) {
	out := &accesspb.Explanation_Missing{Entitlement: courseID != "" && slices.Contains(roles[roleStudent].permissions, permission)}
	var err error
	if out.Roles, err = s.rolesIn(ctx, courseID, permission); err != nil {
		return nil, err
	}
	holding, err := s.rolesWith(ctx, courseID, permission)
	if err != nil {
		return nil, err
	}
	giving, err := s.rolesWith(ctx, courseID, roleGrant)
	if err != nil {
		return nil, err
	}
	var managing []string
	if out.Entitlement {
		if managing, err = s.rolesWith(ctx, courseID, enrollmentManage); err != nil {
			return nil, err
		}
	}
	const have = `h.account_id = g.account_id AND h.course_id IN ('', $2) AND h.item_id IN ('', $3) AND (h.expires_at IS NULL OR h.expires_at > $1)`
	rows, err := s.db.Query(ctx, `
		SELECT a.account_id, coalesce(p.name, '') AS name FROM (
			SELECT DISTINCT account_id FROM role_grant g
			WHERE course_id IN ('', $2) AND item_id IN ('', $3) AND (course_id <> '' OR $8) AND `+unexpired+` AND (
				role = ANY($4) AND EXISTS (SELECT FROM role_grant h WHERE `+have+` AND h.role = ANY($5))
				OR role = ANY($6) AND item_id = '')
			ORDER BY account_id LIMIT $7
		) AS a LEFT JOIN person p USING (account_id) ORDER BY a.account_id`,
		s.now(), courseID, item, giving, holding, managing, maxGivers, staff)
	if err != nil {
		return nil, fmt.Errorf("givers: %w", err)
	}
	out.Givers, err = pgx.CollectRows(rows, toPerson)
	if err != nil {
		return nil, fmt.Errorf("givers: %w", err)
	}
	return out, nil
}

// rolesWith returns the roles, built in and made, that have a permission on a
// course, given on it or on the platform.
func (s *Service) rolesWith(ctx context.Context, courseID, permission string) ([]string, error) {
	names := append(builtIn(onPlatform, permission), builtIn(onCourse, permission)...)
	made, err := s.definitions(ctx, s.db, permission, "", courseID)
	for _, d := range made {
		names = append(names, d.ID)
	}
	return names, err
}

func toPerson(row pgx.CollectableRow) (*accesspb.Person, error) {
	p := &accesspb.Person{}
	err := row.Scan(&p.AccountId, &p.Name)
	return p, err
}

// Explain implements accesspb.RoleServiceServer.
func (s *Service) Explain(ctx context.Context, req *accesspb.ExplainRequest) (*accesspb.Explanation, error) {
	return s.explain(ctx, subject{req.GetAccountId(), req.GetCourseId()}, req.GetPermission(), req.GetItemId(), true)
}

// ExplainMe implements accesspb.RoleServiceServer.
func (s *Service) ExplainMe(ctx context.Context, req *accesspb.ExplainMeRequest) (*accesspb.Explanation, error) {
	me := subject{auth.From(ctx).Account, req.GetCourseId()}
	if me.course != "" {
		may, err := s.resolve(ctx, []subject{me})
		if err != nil {
			return nil, err
		}
		if _, seen := may[0].permissions[courseView]; !seen {
			return nil, ErrNotFound
		}
	}
	return s.explain(ctx, me, req.GetPermission(), req.GetItemId(), false)
}

// ListHolders implements accesspb.RoleServiceServer.
func (s *Service) ListHolders(ctx context.Context, req *accesspb.ListHoldersRequest) (*accesspb.ListHoldersResponse, error) {
	permission, courseID := req.GetPermission(), req.GetCourseId()
	if err := checkPermission(permission); err != nil {
		return nil, err
	}
	after, err := page.Values(req.GetCursor(), 1)
	if err != nil {
		return nil, err
	}
	if after == nil {
		after = []string{""}
	} else if !id.Valid("account", after[0]) {
		return nil, page.ErrCursor
	}
	holding, err := s.rolesWith(ctx, courseID, permission)
	if err != nil {
		return nil, err
	}
	var published bool
	if err := s.db.QueryRow(ctx, `SELECT EXISTS (SELECT FROM course WHERE course_id = $1 AND published)`, courseID).Scan(&published); err != nil {
		return nil, fmt.Errorf("holders: %w", err)
	}
	limit := page.Size(req.GetPageSize())
	// A role on any item lets see the course: see source.gives.
	rows, err := s.db.Query(ctx, `
		SELECT a.account_id, coalesce(p.name, '') AS name FROM (
			SELECT DISTINCT account_id FROM role_grant
			WHERE course_id IN ('', $2) AND account_id > $3 AND `+unexpired+` AND (role = ANY($4) OR item_id <> '' AND $5)
			ORDER BY account_id LIMIT $6
		) AS a LEFT JOIN person p USING (account_id) ORDER BY a.account_id`,
		s.now(), courseID, after[0], holding, permission == courseView, limit+1)
	if err != nil {
		return nil, fmt.Errorf("holders: %w", err)
	}
	list, err := pgx.CollectRows(rows, toPerson)
	if err != nil {
		return nil, fmt.Errorf("holders: %w", err)
	}
	out := &accesspb.ListHoldersResponse{
		Students:  slices.Contains(roles[roleStudent].permissions, permission),
		Everybody: slices.Contains(roles[roleMember].permissions, permission) || published && slices.Contains(roles[roleVisitor].permissions, permission),
	}
	if len(list) > limit {
		list = list[:limit]
		out.NextCursor = page.Cursor(list[limit-1].GetAccountId())
	}
	out.Items = list
	return out, nil
}
