package access

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// maxGroups are those of a course.
const maxGroups = 1000

// group is some of those who take a course.
type group struct {
	ID         string
	CourseID   string
	Name       string
	SetName    string
	SelfSignup bool
	MaxMembers int32
	Members    int32
	Revision   int64
}

const groupColumns = `id, course_id, name, set_name, self_signup, max_members, members, revision`

func (g group) message() *accesspb.Group {
	return &accesspb.Group{
		Id: g.ID, CourseId: g.CourseID, Name: g.Name, GroupSet: g.SetName, SelfSignup: g.SelfSignup,
		MaxMembers: g.MaxMembers, Members: g.Members, Etag: etag(g.Revision),
	}
}

// entry is the group as the audit log has it.
func (g group) entry() map[string]any {
	return map[string]any{"name": g.Name, "group_set": g.SetName, "self_signup": g.SelfSignup, "max_members": g.MaxMembers}
}

func (g group) event(deleted bool) *accesspb.GroupChanged {
	return &accesspb.GroupChanged{GroupId: g.ID, CourseId: g.CourseID, Name: g.Name, Deleted: deleted, Version: g.Revision}
}

// CreateGroup implements accesspb.GroupServiceServer.
func (s *Service) CreateGroup(ctx context.Context, req *accesspb.CreateGroupRequest) (*accesspb.Group, error) {
	g := group{
		ID: id.New("group"), CourseID: req.GetCourseId(), Name: strings.TrimSpace(req.GetName()), SetName: strings.TrimSpace(req.GetGroupSet()),
		SelfSignup: req.GetSelfSignup(), MaxMembers: req.GetMaxMembers(), Revision: 1,
	}
	if g.Name == "" {
		return nil, errGroupName
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Group, error) {
		// Those who make groups of one course take turns, so that each counts the others.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('stoa.group'), hashtext($1))`, g.CourseID); err != nil {
			return nil, fmt.Errorf("take turns: %w", err)
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO course_group (id, course_id, name, set_name, self_signup, max_members)
			SELECT $1, $2, $3, $4, $5, $6 WHERE (SELECT count(*) FROM course_group WHERE course_id = $2 AND deleted_at IS NULL) < $7`,
			g.ID, g.CourseID, g.Name, g.SetName, g.SelfSignup, g.MaxMembers, maxGroups)
		switch {
		case pg.Violates(err, "course_group_name"):
			return nil, ErrGroupNameTaken
		case err != nil:
			return nil, fmt.Errorf("insert group: %w", err)
		case tag.RowsAffected() == 0:
			return nil, ErrTooManyGroups
		}
		if err := audit.Record(ctx, tx, audit.Entry{Action: "group.created", Object: g.ID, Course: g.CourseID, After: g.entry()}); err != nil {
			return nil, err
		}
		return g.message(), bus.Publish(ctx, tx, g.event(false))
	})
}

// seenGroups holds for groups g that the account $2 may know of: all where $3.
const seenGroups = `g.deleted_at IS NULL AND ($3 OR g.self_signup OR EXISTS (
	SELECT FROM group_member m WHERE m.group_id = g.id AND m.account_id = $2 AND m.member))`

// GetGroup implements accesspb.GroupServiceServer.
func (s *Service) GetGroup(ctx context.Context, req *accesspb.GetGroupRequest) (*accesspb.Group, error) {
	all, err := auth.Has(ctx, enrollmentList)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `SELECT `+groupColumns+` FROM course_group g WHERE g.course_id = $1 AND g.id = $4 AND `+seenGroups,
		req.GetCourseId(), auth.From(ctx).Account, all, req.GetGroupId())
	if err != nil {
		return nil, fmt.Errorf("group: %w", err)
	}
	g, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[group])
	if pg.NoRows(err) {
		return nil, ErrGroupNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("group: %w", err)
	}
	return g.message(), nil
}

// ListGroups implements accesspb.GroupServiceServer.
func (s *Service) ListGroups(ctx context.Context, req *accesspb.ListGroupsRequest) (*accesspb.ListGroupsResponse, error) {
	values, err := page.Values(req.GetCursor(), 1)
	if err != nil {
		return nil, err
	}
	before := "group`" // sorts after every id
	if values != nil {
		if before = values[0]; !id.Valid("group", before) {
			return nil, page.ErrCursor
		}
	}
	all, err := auth.Has(ctx, enrollmentList)
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := s.db.Query(ctx, `
		SELECT `+groupColumns+` FROM course_group g WHERE g.course_id = $1 AND g.id < $4 AND `+seenGroups+` ORDER BY g.id DESC LIMIT $5`,
		req.GetCourseId(), auth.From(ctx).Account, all, before, size+1)
	if err != nil {
		return nil, fmt.Errorf("groups: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[group])
	if err != nil {
		return nil, fmt.Errorf("groups: %w", err)
	}
	out := &accesspb.ListGroupsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.Cursor(list[size-1].ID)
	}
	for _, g := range list {
		out.Items = append(out.Items, g.message())
	}
	return out, nil
}

// lockGroups returns groups of a course and keeps others from changing them and
// their members until tx ends. Enrollments are locked before.
func lockGroups(ctx context.Context, tx *pg.Tx, courseID string, ids ...string) (map[string]*group, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+groupColumns+` FROM course_group WHERE id = ANY($1) AND course_id = $2 AND deleted_at IS NULL ORDER BY id FOR NO KEY UPDATE`, ids, courseID)
	if err != nil {
		return nil, fmt.Errorf("lock groups: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[group])
	if err != nil {
		return nil, fmt.Errorf("lock groups: %w", err)
	}
	out := map[string]*group{}
	for _, g := range list {
		out[g.ID] = g
	}
	return out, nil
}

func lockGroup(ctx context.Context, tx *pg.Tx, courseID, groupID string) (*group, error) {
	found, err := lockGroups(ctx, tx, courseID, groupID)
	if err != nil {
		return nil, err
	}
	if found[groupID] == nil {
		return nil, ErrGroupNotFound
	}
	return found[groupID], nil
}

// UpdateGroup implements accesspb.GroupServiceServer.
func (s *Service) UpdateGroup(ctx context.Context, req *accesspb.UpdateGroupRequest) (*accesspb.Group, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Group, error) {
		g, err := lockGroup(ctx, tx, req.GetCourseId(), req.GetGroupId())
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, etag(g.Revision)); err != nil {
			return nil, err
		}
		was := *g
		if req.Name != nil {
			if g.Name = strings.TrimSpace(req.GetName()); g.Name == "" {
				return nil, errGroupName
			}
		}
		if req.GroupSet != nil {
			g.SetName = strings.TrimSpace(req.GetGroupSet())
		}
		if req.SelfSignup != nil {
			g.SelfSignup = req.GetSelfSignup()
		}
		if req.MaxMembers != nil {
			g.MaxMembers = req.GetMaxMembers()
		}
		switch {
		case g.SetName != was.SetName && g.Members > 0:
			return nil, ErrGroupHasMembers
		case g.MaxMembers > 0 && g.Members > g.MaxMembers:
			return nil, ErrGroupFull
		}
		g.Revision++
		_, err = tx.Exec(ctx, `UPDATE course_group SET name = $2, set_name = $3, self_signup = $4, max_members = $5, revision = $6 WHERE id = $1`,
			g.ID, g.Name, g.SetName, g.SelfSignup, g.MaxMembers, g.Revision)
		if pg.Violates(err, "course_group_name") {
			return nil, ErrGroupNameTaken
		}
		if err != nil {
			return nil, fmt.Errorf("update group: %w", err)
		}
		err = audit.Record(ctx, tx, audit.Entry{Action: "group.updated", Object: g.ID, Course: g.CourseID, Before: was.entry(), After: g.entry()})
		if err != nil {
			return nil, err
		}
		return g.message(), bus.Publish(ctx, tx, g.event(false))
	})
}

// DeleteGroup implements accesspb.GroupServiceServer.
func (s *Service) DeleteGroup(ctx context.Context, req *accesspb.DeleteGroupRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		g, err := lockGroup(ctx, tx, req.GetCourseId(), req.GetGroupId())
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, etag(g.Revision)); err != nil {
			return nil, err
		}
		if _, err := s.leaveGroups(ctx, tx, `m.group_id = $1`, g.ID); err != nil {
			return nil, err
		}
		g.Revision++
		if _, err := tx.Exec(ctx, `UPDATE course_group SET deleted_at = $2, revision = $3 WHERE id = $1`, g.ID, s.now(), g.Revision); err != nil {
			return nil, fmt.Errorf("delete group: %w", err)
		}
		if err := audit.Record(ctx, tx, audit.Entry{Action: "group.deleted", Object: g.ID, Course: g.CourseID, Before: g.entry()}); err != nil {
			return nil, err
		}
		return &emptypb.Empty{}, bus.Publish(ctx, tx, g.event(true))
	})
}

// ListGroupMembers implements accesspb.GroupServiceServer.
func (s *Service) ListGroupMembers(ctx context.Context, req *accesspb.ListGroupMembersRequest) (*accesspb.ListGroupMembersResponse, error) {
	before, beforeID, err := after(req.GetCursor(), "account")
	if err != nil {
		return nil, err
	}
	var found bool
	err = s.db.QueryRow(ctx, `SELECT EXISTS (SELECT FROM course_group WHERE id = $1 AND course_id = $2 AND deleted_at IS NULL)`,
		req.GetGroupId(), req.GetCourseId()).Scan(&found)
	if err != nil {
		return nil, fmt.Errorf("group: %w", err)
	}
	if !found {
		return nil, ErrGroupNotFound
	}
	size := page.Size(req.GetPageSize())
	rows, err := s.db.Query(ctx, `
		SELECT m.account_id, coalesce(p.name, '') AS account_name, m.joined_at FROM group_member m LEFT JOIN person p ON p.account_id = m.account_id
		WHERE m.group_id = $1 AND m.member AND (m.joined_at, m.account_id) < ($2, $3)
		ORDER BY m.joined_at DESC, m.account_id DESC LIMIT $4`, req.GetGroupId(), before, beforeID, size+1)
	if err != nil {
		return nil, fmt.Errorf("members: %w", err)
	}
	type member struct {
		AccountID, AccountName string
		JoinedAt               time.Time
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[member])
	if err != nil {
		return nil, fmt.Errorf("members: %w", err)
	}
	out := &accesspb.ListGroupMembersResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.TimeCursor(list[size-1].JoinedAt, list[size-1].AccountID)
	}
	for _, m := range list {
		out.Items = append(out.Items, &accesspb.GroupMember{AccountId: m.AccountID, AccountName: m.AccountName, JoinedAt: timestamppb.New(m.JoinedAt)})
	}
	return out, nil
}

// ListMyGroups implements accesspb.GroupServiceServer.
func (s *Service) ListMyGroups(ctx context.Context, req *accesspb.ListMyGroupsRequest) (*accesspb.ListMyGroupsResponse, error) {
	before, beforeID, err := after(req.GetCursor(), "group")
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := s.db.Query(ctx, `
		SELECT `+prefixed("g", groupColumns)+`, m.joined_at FROM group_member m JOIN course_group g ON g.id = m.group_id
		WHERE m.account_id = $1 AND m.member AND (m.joined_at, m.group_id) < ($2, $3)
		ORDER BY m.joined_at DESC, m.group_id DESC LIMIT $4`, auth.From(ctx).Account, before, beforeID, size+1)
	if err != nil {
		return nil, fmt.Errorf("my groups: %w", err)
	}
	type joined struct {
		group

		JoinedAt time.Time
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[joined])
	if err != nil {
		return nil, fmt.Errorf("my groups: %w", err)
	}
	out := &accesspb.ListMyGroupsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.TimeCursor(list[size-1].JoinedAt, list[size-1].ID)
	}
	for _, g := range list {
		out.Items = append(out.Items, g.message())
	}
	return out, nil
}
