package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// maxGrants bounds what one person has in one place, and so an answer about it.
const maxGrants = 200

// givenRole is that an account has a role somewhere.
type givenRole struct {
	ID        string
	AccountID string
	CourseID  string // empty for the platform
	ItemID    string // empty for all of it
	Role      string // the name of a built-in role, or the id of one that was made
	GrantedBy string
	GrantedAt time.Time
	ExpiresAt *time.Time
	Reason    string

	AccountName, RoleName string // for lists
}

// state is what the audit log has of a grant.
func (g givenRole) state() map[string]any {
	out := map[string]any{"grant_id": g.ID, "role": g.Role, "granted_by": g.GrantedBy}
	if g.ItemID != "" {
		out["item_id"] = g.ItemID
	}
	if g.ExpiresAt != nil {
		out["expires_at"] = g.ExpiresAt
	}
	return out
}

const grantSQL = `
	SELECT g.id, g.account_id, g.course_id, g.item_id, g.role, g.granted_by, g.granted_at, g.expires_at, g.reason,
		coalesce(p.name, '') AS account_name, coalesce(d.name, g.role) AS role_name
	FROM role_grant g LEFT JOIN person p ON p.account_id = g.account_id LEFT JOIN role_definition d ON d.id = g.role `

// lockRoles has all that is decided about roles on a course, or on the platform
// for an empty one, wait for one another until the transaction ends: a grant
// depends on what the giver holds at that moment, and on what nobody has yet,
// which no lock on rows covers. As roles of the platform hold on every course, a
// change of them waits for those of all courses.
func lockRoles(ctx context.Context, tx *pg.Tx, courseID string) error {
	platform := `SELECT pg_advisory_xact_lock_shared(hashtext('stoa.roles ' || current_schema()), 0)`
	if courseID == "" {
		platform = `SELECT pg_advisory_xact_lock(hashtext('stoa.roles ' || current_schema()), 0)`
	}
	if _, err := tx.Raw().Exec(ctx, platform); err != nil {
		return fmt.Errorf("lock roles: %w", err)
	}
	if courseID == "" {
		return nil
	}
	if _, err := tx.Raw().Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('stoa.roles of ' || current_schema()), hashtext($1))`, courseID); err != nil {
		return fmt.Errorf("lock roles: %w", err)
	}
	return nil
}

// forever is the end of what has none.
var forever = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

func endOf(t *time.Time) time.Time {
	if t == nil {
		return forever
	}
	return *t
}

// held is what somebody holds by roles they were given, and until when: what
// they may give on. What they may as a member, as a student or as anybody is not
// theirs to give.
type held struct {
	until map[string]time.Time
	owner time.Time // until when they may do what is an owner's alone; zero for never
}

// heldBy returns what an account holds somewhere. Roles are locked before.
func (s *Service) heldBy(ctx context.Context, tx *pg.Tx, who auth.Principal, courseID, itemID string) (held, error) {
	found, err := s.sources(ctx, tx, rolesSQL, subject{who.Account, courseID})
	if err != nil {
		return held{}, err
	}
	h := held{until: map[string]time.Time{}}
	platform := map[string]time.Time{}
	later := func(m map[string]time.Time, permission string, end time.Time) {
		if m[permission].Before(end) {
			m[permission] = end
		}
	}
	for _, one := range found[0] {
		if one.Kind != byRole {
			continue
		}
		end := endOf(one.Ends)
		for on, p := range one.gives() {
			if on != "" && on != itemID || !who.MayUse(p) {
				continue
			}
			if on == "" && one.ItemID != "" && one.ItemID != itemID {
				continue // that a course is seen for a part of it can be given for that part
			}
			later(h.until, p, end)
			if one.OnPlatform {
				later(platform, p, end)
			}
		}
		if one.Role == roleOwner && one.ItemID == "" && h.owner.Before(end) {
			h.owner = end
		}
	}
	// An owner may all an owner may, also through a token only with all of it;
	// and so may who has all of it on the platform.
	all := roles[roleOwner].permissions
	if end := least(platform, all); h.owner.Before(end) {
		h.owner = end
	}
	if end := least(h.until, all); end.Before(h.owner) {
		h.owner = end
	}
	return h, nil
}

// least returns until when all the permissions are held.
func least(until map[string]time.Time, list []string) time.Time {
	end := forever
	for _, p := range list {
		if until[p].Before(end) {
			end = until[p]
		}
	}
	return end
}

// covers refuses what is not held until the end: permissions, and the role if
// it is an owner's.
func (h held) covers(role string, list []string, end time.Time) error {
	var lacks []string
	for _, p := range list {
		if h.until[p].Before(end) {
			lacks = append(lacks, p)
		}
	}
	if role == roleOwner && h.owner.Before(end) {
		lacks = append(lacks, roleOwner)
	}
	if len(lacks) == 0 {
		return nil
	}
	return &fault.Error{
		Kind: ErrRoleNotHeld.Kind, Code: ErrRoleNotHeld.Code, Message: ErrRoleNotHeld.Message,
		Fields: []fault.Field{{Path: "role", Code: ErrRoleNotHeld.Code, Hint: "You lack " + strings.Join(lacks, ", ") + ", or hold it for a shorter time."}},
	}
}

// permissionsOf returns what a role allows that can be given in a place.
func permissionsOf(ctx context.Context, tx *pg.Tx, courseID, role string) ([]string, error) {
	where := onCourse
	if courseID == "" {
		where = onPlatform
	}
	if !id.Valid("role", role) {
		return roles[role].permissions, checkRole(role, where)
	}
	var list []string
	err := tx.QueryRow(ctx, `SELECT permissions FROM role_definition WHERE id = $1 AND course_id = $2`, role, courseID).Scan(&list)
	if pg.NoRows(err) {
		return nil, checkRole(role, where)
	}
	if err != nil {
		return nil, fmt.Errorf("role: %w", err)
	}
	return list, nil
}

// needed is what somebody has to hold to give or take a role with the
// permissions. That they may give roles is asked again here: what the guard knows
// may be a second old.
func needed(list []string, itemID string) []string {
	out := append(slices.Clone(list), roleGrant)
	if itemID != "" {
		out = append(out, courseView) // which any role on an item gives
	}
	return out
}

// giveRole gives an account a role. Giving it again with the same end changes
// nothing.
func giveRole(ctx context.Context, tx *pg.Tx, g givenRole) (givenRole, error) {
	g.ID = id.New("grant")
	var was map[string]any
	before, err := grantWhere(ctx, tx, `g.account_id = $1 AND g.course_id = $2 AND g.role = $3 AND g.item_id = $4`, g.AccountID, g.CourseID, g.Role, g.ItemID)
	switch {
	case err == nil:
		was = before.state()
	case !pg.NoRows(err):
		return givenRole{}, fmt.Errorf("give role: %w", err)
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO role_grant (id, account_id, course_id, item_id, role, granted_by, granted_at, expires_at, reason)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT ON CONSTRAINT role_grant_once DO UPDATE
		SET granted_by = EXCLUDED.granted_by, granted_at = EXCLUDED.granted_at, expires_at = EXCLUDED.expires_at, reason = EXCLUDED.reason
		WHERE role_grant.expires_at IS DISTINCT FROM EXCLUDED.expires_at`,
		g.ID, g.AccountID, g.CourseID, g.ItemID, g.Role, g.GrantedBy, g.GrantedAt, g.ExpiresAt, g.Reason)
	if err != nil {
		return givenRole{}, fmt.Errorf("give role: %w", err)
	}
	given, err := grantWhere(ctx, tx, `g.account_id = $1 AND g.course_id = $2 AND g.role = $3 AND g.item_id = $4`, g.AccountID, g.CourseID, g.Role, g.ItemID)
	if err != nil {
		return givenRole{}, fmt.Errorf("give role: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return given, nil
	}
	if err := tellRole(ctx, tx, given, true); err != nil {
		return givenRole{}, err
	}
	return given, audit.Record(ctx, tx, audit.Entry{
		Action: "role.granted", Object: g.AccountID, Course: g.CourseID, Person: g.AccountID, Reason: g.Reason, Before: orNil(was), After: given.state(),
	})
}

// orNil keeps an empty state from being an object that is empty.
func orNil(state map[string]any) any {
	if state == nil {
		return nil
	}
	return state
}

func grantWhere(ctx context.Context, tx *pg.Tx, where string, args ...any) (givenRole, error) {
	rows, err := tx.Query(ctx, grantSQL+`WHERE `+where, args...)
	if err != nil {
		return givenRole{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[givenRole])
}

// grantRole gives a role in the name of who calls, who has to hold all of it.
func (s *Service) grantRole(ctx context.Context, tx *pg.Tx, g givenRole) (givenRole, error) {
	who := auth.From(ctx)
	g.GrantedBy, g.GrantedAt = who.Account, s.now()
	if g.ExpiresAt != nil && !g.ExpiresAt.After(g.GrantedAt) {
		return givenRole{}, ErrRoleExpired
	}
	if g.Role == roleOwner && g.ItemID != "" {
		return givenRole{}, ErrRoleNotOnItem
	}
	if err := lockRoles(ctx, tx, g.CourseID); err != nil {
		return givenRole{}, err
	}
	list, err := permissionsOf(ctx, tx, g.CourseID, g.Role)
	if err != nil {
		return givenRole{}, err
	}
	h, err := s.heldBy(ctx, tx, who, g.CourseID, g.ItemID)
	if err != nil {
		return givenRole{}, err
	}
	// Another end takes something from who has the role for longer.
	end := endOf(g.ExpiresAt)
	before, err := grantWhere(ctx, tx, `g.account_id = $1 AND g.course_id = $2 AND g.role = $3 AND g.item_id = $4`, g.AccountID, g.CourseID, g.Role, g.ItemID)
	switch {
	case pg.NoRows(err):
		var n int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM role_grant WHERE account_id = $1 AND course_id = $2`, g.AccountID, g.CourseID).Scan(&n); err != nil {
			return givenRole{}, fmt.Errorf("count grants: %w", err)
		}
		if n >= maxGrants {
			return givenRole{}, ErrTooManyGrants
		}
	case err != nil:
		return givenRole{}, fmt.Errorf("grant: %w", err)
	case endOf(before.ExpiresAt).After(end):
		// The role itself is enough for that, as for taking it away.
		end = s.now()
	}
	if err := h.covers(g.Role, needed(list, g.ItemID), end); err != nil {
		return givenRole{}, err
	}
	given, err := giveRole(ctx, tx, g)
	if err != nil {
		return givenRole{}, err
	}
	return given, s.checkLast(ctx, tx, given)
}

// revokeRole takes a role away in the name of who calls, who has to hold all of
// it.
func (s *Service) revokeRole(ctx context.Context, tx *pg.Tx, courseID, itemID, grantID, reason string) error {
	if err := lockRoles(ctx, tx, courseID); err != nil {
		return err
	}
	g, err := grantWhere(ctx, tx, `g.id = $1 AND g.course_id = $2 AND ($3 = '' OR g.item_id = $3)`, grantID, courseID, itemID)
	if pg.NoRows(err) {
		return ErrGrantNotFound
	}
	if err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	// A role that is none any more gives nothing to hold.
	list, err := permissionsOf(ctx, tx, courseID, g.Role)
	if err != nil && !fault.Is(err, fault.Invalid) {
		return err
	}
	h, err := s.heldBy(ctx, tx, auth.From(ctx), courseID, g.ItemID)
	if err != nil {
		return err
	}
	if err := h.covers(g.Role, needed(list, g.ItemID), s.now()); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM role_grant WHERE id = $1`, g.ID); err != nil {
		return fmt.Errorf("revoke role: %w", err)
	}
	if err := tellRole(ctx, tx, g, false); err != nil {
		return err
	}
	err = audit.Record(ctx, tx, audit.Entry{
		Action: "role.revoked", Object: g.AccountID, Course: g.CourseID, Person: g.AccountID, Reason: reason, Before: g.state(),
	})
	if err != nil {
		return err
	}
	return s.checkLast(ctx, tx, g)
}

// checkLast refuses to leave a course without an owner and the platform without
// an admin, after a grant of such a role was changed.
func (s *Service) checkLast(ctx context.Context, tx *pg.Tx, g givenRole) error {
	if g.Role != roleOwner && g.Role != roleAdmin {
		return nil
	}
	var others bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM role_grant WHERE course_id = $1 AND role = $2 AND item_id = '' AND expires_at IS NULL)`,
		g.CourseID, g.Role).Scan(&others)
	if err != nil {
		return fmt.Errorf("last: %w", err)
	}
	if !others {
		return ErrRoleLast
	}
	return nil
}

// GrantCourseRole implements accesspb.RoleServiceServer.
func (s *Service) GrantCourseRole(ctx context.Context, req *accesspb.GrantCourseRoleRequest) (*accesspb.RoleGrant, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.RoleGrant, error) {
		g, err := s.grantRole(ctx, tx, givenRole{
			AccountID: req.GetAccountId(), CourseID: req.GetCourseId(), ItemID: req.GetItemId(), Role: req.GetRole(),
			ExpiresAt: timeOf(req.GetExpiresAt()), Reason: req.GetReason(),
		})
		return toRoleGrant(g), err
	})
}

// GrantPlatformRole implements accesspb.RoleServiceServer.
func (s *Service) GrantPlatformRole(ctx context.Context, req *accesspb.GrantPlatformRoleRequest) (*accesspb.RoleGrant, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.RoleGrant, error) {
		g, err := s.grantRole(ctx, tx, givenRole{
			AccountID: req.GetAccountId(), Role: req.GetRole(), ExpiresAt: timeOf(req.GetExpiresAt()), Reason: req.GetReason(),
		})
		return toRoleGrant(g), err
	})
}

// RevokeCourseRole implements accesspb.RoleServiceServer.
func (s *Service) RevokeCourseRole(ctx context.Context, req *accesspb.RevokeCourseRoleRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		return &emptypb.Empty{}, s.revokeRole(ctx, tx, req.GetCourseId(), req.GetItemId(), req.GetGrantId(), req.GetReason())
	})
}

// RevokePlatformRole implements accesspb.RoleServiceServer.
func (s *Service) RevokePlatformRole(ctx context.Context, req *accesspb.RevokePlatformRoleRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		return &emptypb.Empty{}, s.revokeRole(ctx, tx, "", "", req.GetGrantId(), req.GetReason())
	})
}

// ListCourseRoles implements accesspb.RoleServiceServer.
func (s *Service) ListCourseRoles(ctx context.Context, req *accesspb.ListCourseRolesRequest) (*accesspb.ListRoleGrantsResponse, error) {
	return s.roleGrants(ctx, req.GetCourseId(), req.GetPageSize(), req.GetCursor())
}

// ListPlatformRoles implements accesspb.RoleServiceServer.
func (s *Service) ListPlatformRoles(ctx context.Context, req *accesspb.ListPlatformRolesRequest) (*accesspb.ListRoleGrantsResponse, error) {
	return s.roleGrants(ctx, "", req.GetPageSize(), req.GetCursor())
}

func (s *Service) roleGrants(ctx context.Context, courseID string, size int32, cursor string) (*accesspb.ListRoleGrantsResponse, error) {
	before, beforeID, err := after(cursor, "grant")
	if err != nil {
		return nil, err
	}
	limit := page.Size(size)
	rows, err := s.db.Query(ctx, grantSQL+`
		WHERE g.course_id = $2 AND (g.granted_at, g.id) < ($3, $4) AND `+unexpired+`
		ORDER BY g.granted_at DESC, g.id DESC LIMIT $5`, s.now(), courseID, before, beforeID, limit+1)
	if err != nil {
		return nil, fmt.Errorf("grants: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[givenRole])
	if err != nil {
		return nil, fmt.Errorf("grants: %w", err)
	}
	out := &accesspb.ListRoleGrantsResponse{}
	if len(list) > limit {
		list = list[:limit]
		out.NextCursor = page.TimeCursor(list[limit-1].GrantedAt, list[limit-1].ID)
	}
	for _, g := range list {
		out.Items = append(out.Items, toRoleGrant(g))
	}
	return out, nil
}

func toRoleGrant(g givenRole) *accesspb.RoleGrant {
	return &accesspb.RoleGrant{
		Id: g.ID, CourseId: g.CourseID, ItemId: g.ItemID, AccountId: g.AccountID, AccountName: g.AccountName, Role: g.Role, RoleName: g.RoleName,
		GrantedBy: g.GrantedBy, GrantedAt: timestamppb.New(g.GrantedAt), ExpiresAt: stampOf(g.ExpiresAt), Reason: g.Reason,
	}
}

// timeOf returns a time as it is kept, nil for none.
func timeOf(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	at := t.AsTime().Truncate(time.Microsecond)
	return &at
}

func stampOf(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}
