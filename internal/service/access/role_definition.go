package access

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// maxDefinitions bounds the roles that are made in one place.
const maxDefinitions = 50

// definition is a role that somebody made of permissions.
type definition struct {
	ID          string   `json:"-"`
	CourseID    string   `json:"-"` // empty for the platform
	Name        string   `json:"name"`
	Description string   `json:"-"`
	Permissions []string `json:"permissions"`
	Revision    int64    `json:"revision"`
}

// definitionChange is what to change of a role; what is nil or empty stays.
type definitionChange struct {
	name, description *string
	permissions       []string
}

const definitionSQL = `SELECT id, course_id, name, description, permissions, revision FROM role_definition `

// checkPermissions returns the permissions sorted, each once, and refuses those
// that a role in the place can't have.
func checkPermissions(courseID string, list []string) ([]string, error) {
	known := permissions
	if courseID != "" {
		known = roles[roleOwner].permissions
	}
	for _, p := range list {
		if !slices.Contains(known, p) {
			return nil, &fault.Error{
				Kind: ErrPermissionUnknown.Kind, Code: ErrPermissionUnknown.Code, Message: ErrPermissionUnknown.Message,
				Fields: []fault.Field{{Path: "permissions", Code: ErrPermissionUnknown.Code, Hint: fmt.Sprintf("Permissions here are %q.", known)}},
			}
		}
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list), nil
}

func checkName(name string) error {
	if _, ok := roles[name]; ok || id.Valid("role", name) {
		return ErrRoleNameTaken
	}
	return nil
}

// define makes a role in the name of who calls, who has to hold all of it.
func (s *Service) define(ctx context.Context, tx *pg.Tx, d definition) (definition, error) {
	var err error
	if d.Permissions, err = checkPermissions(d.CourseID, d.Permissions); err != nil {
		return definition{}, err
	}
	if err := checkName(d.Name); err != nil {
		return definition{}, err
	}
	if err := lockRoles(ctx, tx, d.CourseID); err != nil {
		return definition{}, err
	}
	h, err := s.heldBy(ctx, tx, auth.From(ctx), d.CourseID, "")
	if err != nil {
		return definition{}, err
	}
	if err := h.covers("", append(slices.Clone(d.Permissions), roleDefine), s.now()); err != nil {
		return definition{}, err
	}
	var n int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM role_definition WHERE course_id = $1`, d.CourseID).Scan(&n); err != nil {
		return definition{}, fmt.Errorf("count roles: %w", err)
	}
	if n >= maxDefinitions {
		return definition{}, ErrTooManyDefinitions
	}
	d.ID, d.Revision = id.New("role"), 1
	_, err = tx.Exec(ctx, `INSERT INTO role_definition (id, course_id, name, description, permissions) VALUES ($1, $2, $3, $4, $5)`,
		d.ID, d.CourseID, d.Name, d.Description, d.Permissions)
	if pg.Violates(err, "role_definition_name") {
		return definition{}, ErrRoleNameTaken
	}
	if err != nil {
		return definition{}, fmt.Errorf("define role: %w", err)
	}
	return d, audit.Record(ctx, tx, audit.Entry{Action: "role.defined", Object: d.ID, Course: d.CourseID, After: d})
}

// definitionFor returns a role that is to be changed, after the roles of its
// place are locked.
func definitionFor(ctx context.Context, tx *pg.Tx, courseID, roleID string) (definition, error) {
	if err := lockRoles(ctx, tx, courseID); err != nil {
		return definition{}, err
	}
	rows, err := tx.Query(ctx, definitionSQL+`WHERE id = $1 AND course_id = $2 FOR UPDATE`, roleID, courseID)
	if err != nil {
		return definition{}, fmt.Errorf("role: %w", err)
	}
	d, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[definition])
	if pg.NoRows(err) {
		return definition{}, ErrDefinitionNotFound
	}
	if err != nil {
		return definition{}, fmt.Errorf("role: %w", err)
	}
	return d, rpc.Match(ctx, etag(d.Revision))
}

func etag(revision int64) string { return strconv.FormatInt(revision, 10) }

// redefine changes a role, and so what everybody has who has it: who does so has
// to hold what they add and what they take, without an end.
func (s *Service) redefine(ctx context.Context, tx *pg.Tx, courseID, roleID string, change definitionChange) (definition, error) {
	was, err := definitionFor(ctx, tx, courseID, roleID)
	if err != nil {
		return definition{}, err
	}
	d := was
	if change.name != nil && *change.name != was.Name {
		if err := checkName(*change.name); err != nil {
			return definition{}, err
		}
		d.Name = *change.name
	}
	if change.description != nil {
		d.Description = *change.description
	}
	if len(change.permissions) > 0 {
		if d.Permissions, err = checkPermissions(courseID, change.permissions); err != nil {
			return definition{}, err
		}
	}
	h, err := s.heldBy(ctx, tx, auth.From(ctx), courseID, "")
	if err != nil {
		return definition{}, err
	}
	if err := h.covers("", []string{roleDefine}, s.now()); err != nil {
		return definition{}, err
	}
	var changed []string
	for _, p := range permissions {
		if slices.Contains(was.Permissions, p) != slices.Contains(d.Permissions, p) {
			changed = append(changed, p)
		}
	}
	if err := h.covers("", changed, forever); err != nil {
		return definition{}, err
	}
	d.Revision++
	_, err = tx.Exec(ctx, `UPDATE role_definition SET name = $2, description = $3, permissions = $4, revision = $5 WHERE id = $1`,
		d.ID, d.Name, d.Description, d.Permissions, d.Revision)
	if pg.Violates(err, "role_definition_name") {
		return definition{}, ErrRoleNameTaken
	}
	if err != nil {
		return definition{}, fmt.Errorf("redefine role: %w", err)
	}
	return d, audit.Record(ctx, tx, audit.Entry{Action: "role.redefined", Object: d.ID, Course: d.CourseID, Before: was, After: d})
}

// undefine removes a role that nobody has.
func (s *Service) undefine(ctx context.Context, tx *pg.Tx, courseID, roleID string) error {
	d, err := definitionFor(ctx, tx, courseID, roleID)
	if err != nil {
		return err
	}
	h, err := s.heldBy(ctx, tx, auth.From(ctx), courseID, "")
	if err != nil {
		return err
	}
	if err := h.covers("", []string{roleDefine}, s.now()); err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `DELETE FROM role_definition WHERE id = $1 AND NOT EXISTS (
		SELECT FROM role_grant WHERE role = $1 AND role LIKE 'role\_%' AND (expires_at IS NULL OR expires_at > $2))`, roleID, s.now())
	if err != nil {
		return fmt.Errorf("remove role: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrRoleInUse
	}
	return audit.Record(ctx, tx, audit.Entry{Action: "role.undefined", Object: d.ID, Course: d.CourseID, Before: d})
}

// definitions returns the roles made in the places, by name; those with a
// permission, unless it is empty.
func (s *Service) definitions(ctx context.Context, q pg.Querier, permission string, courseIDs ...string) ([]definition, error) {
	rows, err := q.Query(ctx, definitionSQL+`WHERE course_id = ANY($1) AND ($2 = '' OR permissions @> ARRAY[$2]) ORDER BY course_id, name`, courseIDs, permission)
	if err != nil {
		return nil, fmt.Errorf("roles: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[definition])
	if err != nil {
		return nil, fmt.Errorf("roles: %w", err)
	}
	return list, nil
}

// rolesIn returns the roles that can be given in a place: those with a
// permission, unless it is empty.
func (s *Service) rolesIn(ctx context.Context, courseID, permission string) ([]*accesspb.Role, error) {
	where := onCourse
	if courseID == "" {
		where = onPlatform
	}
	var out []*accesspb.Role
	for _, name := range builtIn(where, permission) {
		list := slices.Clone(roles[name].permissions)
		slices.Sort(list)
		out = append(out, &accesspb.Role{Name: name, Permissions: list})
	}
	made, err := s.definitions(ctx, s.db, permission, courseID)
	for _, d := range made {
		out = append(out, toRole(d))
	}
	return out, err
}

// CreateRole implements accesspb.RoleServiceServer.
func (s *Service) CreateRole(ctx context.Context, req *accesspb.CreateRoleRequest) (*accesspb.Role, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Role, error) {
		d, err := s.define(ctx, tx, definition{Name: req.GetName(), Description: req.GetDescription(), Permissions: req.GetPermissions()})
		return toRole(d), err
	})
}

// CreateCourseRole implements accesspb.RoleServiceServer.
func (s *Service) CreateCourseRole(ctx context.Context, req *accesspb.CreateCourseRoleRequest) (*accesspb.Role, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Role, error) {
		d, err := s.define(ctx, tx, definition{
			CourseID: req.GetCourseId(), Name: req.GetName(), Description: req.GetDescription(), Permissions: req.GetPermissions(),
		})
		return toRole(d), err
	})
}

// UpdateRole implements accesspb.RoleServiceServer.
func (s *Service) UpdateRole(ctx context.Context, req *accesspb.UpdateRoleRequest) (*accesspb.Role, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Role, error) {
		d, err := s.redefine(ctx, tx, "", req.GetRoleId(), definitionChange{req.Name, req.Description, req.GetPermissions()})
		return toRole(d), err
	})
}

// UpdateCourseRole implements accesspb.RoleServiceServer.
func (s *Service) UpdateCourseRole(ctx context.Context, req *accesspb.UpdateCourseRoleRequest) (*accesspb.Role, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Role, error) {
		d, err := s.redefine(ctx, tx, req.GetCourseId(), req.GetRoleId(), definitionChange{req.Name, req.Description, req.GetPermissions()})
		return toRole(d), err
	})
}

// DeleteRole implements accesspb.RoleServiceServer.
func (s *Service) DeleteRole(ctx context.Context, req *accesspb.DeleteRoleRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		return &emptypb.Empty{}, s.undefine(ctx, tx, "", req.GetRoleId())
	})
}

// DeleteCourseRole implements accesspb.RoleServiceServer.
func (s *Service) DeleteCourseRole(ctx context.Context, req *accesspb.DeleteCourseRoleRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		return &emptypb.Empty{}, s.undefine(ctx, tx, req.GetCourseId(), req.GetRoleId())
	})
}

// ListRoles implements accesspb.RoleServiceServer.
func (s *Service) ListRoles(ctx context.Context, _ *accesspb.ListRolesRequest) (*accesspb.ListRolesResponse, error) {
	list, err := s.rolesIn(ctx, "", "")
	return &accesspb.ListRolesResponse{Items: list}, err
}

// ListCustomRoles implements accesspb.RoleServiceServer.
func (s *Service) ListCustomRoles(ctx context.Context, req *accesspb.ListCustomRolesRequest) (*accesspb.ListRolesResponse, error) {
	list, err := s.rolesIn(ctx, req.GetCourseId(), "")
	return &accesspb.ListRolesResponse{Items: list}, err
}

func toRole(d definition) *accesspb.Role {
	return &accesspb.Role{Id: d.ID, Name: d.Name, Description: d.Description, Permissions: d.Permissions, Etag: etag(d.Revision)}
}
