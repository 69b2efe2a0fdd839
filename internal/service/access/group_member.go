package access

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// membership is that somebody is in a group, or was.
type membership struct {
	GroupID   string
	CourseID  string
	AccountID string
	Member    bool
	Version   int64
}

// tellMemberships records changes and tells them.
func tellMemberships(ctx context.Context, tx *pg.Tx, list []membership) error {
	events, entries := make([]proto.Message, len(list)), make([]audit.Entry, len(list))
	for i, m := range list {
		events[i] = &accesspb.GroupMembershipChanged{GroupId: m.GroupID, CourseId: m.CourseID, AccountId: m.AccountID, Member: m.Member, Version: m.Version}
		if m.Member {
			entries[i] = audit.Entry{Action: "group.joined", Object: m.GroupID, Course: m.CourseID, Person: m.AccountID}
		} else {
			entries[i] = audit.Entry{Action: "group.left", Object: m.GroupID, Course: m.CourseID, Person: m.AccountID}
		}
	}
	return tell(ctx, tx, entries, events)
}

// leaveGroups ends the memberships that a condition on m names, and says so. Their
// groups are locked before.
func (s *Service) leaveGroups(ctx context.Context, tx *pg.Tx, where string, args ...any) ([]membership, error) {
	rows, err := tx.Query(ctx, `
		UPDATE group_member m SET member = false, version = m.version + 1 WHERE m.member AND `+where+`
		RETURNING m.group_id, m.course_id, m.account_id, m.member, m.version`, args...)
	if err != nil {
		return nil, fmt.Errorf("leave: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[membership])
	if err != nil || len(list) == 0 {
		return nil, err
	}
	left := map[string]int32{}
	for _, m := range list {
		left[m.GroupID]++
	}
	ids, counts := make([]string, 0, len(left)), make([]int32, 0, len(left))
	for group, n := range left {
		ids, counts = append(ids, group), append(counts, n)
	}
	_, err = tx.Exec(ctx, `
		UPDATE course_group g SET members = g.members - n.gone FROM unnest($1::text[], $2::integer[]) AS n (id, gone) WHERE g.id = n.id`, ids, counts)
	if err != nil {
		return nil, fmt.Errorf("leave: %w", err)
	}
	return list, tellMemberships(ctx, tx, list)
}

// leaveEnded takes those out of their groups who are enrolled no more. Their
// enrollments are locked before.
func (s *Service) leaveEnded(ctx context.Context, tx *pg.Tx, accounts, courses []string) error {
	const theirs = `m.member AND (m.account_id, m.course_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))`
	var groups []string
	rows, err := tx.Query(ctx, `
		SELECT id FROM course_group WHERE id IN (SELECT m.group_id FROM group_member m WHERE `+theirs+`) ORDER BY id FOR NO KEY UPDATE`, accounts, courses)
	if err == nil {
		groups, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		return fmt.Errorf("lock groups: %w", err)
	}
	if len(groups) == 0 {
		return nil
	}
	// Nobody comes into a group meanwhile: their enrollments are locked.
	_, err = s.leaveGroups(ctx, tx, `m.group_id = ANY($3) AND `+theirs, accounts, courses, groups)
	return err
}

// joinGroup puts people into a group of a course. Those in another of its set are
// taken out of that; where bySelf only if they came into it by themselves.
func (s *Service) joinGroup(ctx context.Context, tx *pg.Tx, courseID, groupID string, accounts []string, bySelf bool) (*group, error) {
	// In one order with those whose enrollment ends: enrollments before groups.
	rows, err := tx.Query(ctx, `
		SELECT account_id FROM enrollment WHERE course_id = $1 AND account_id = ANY($2) AND active ORDER BY account_id, course_id FOR SHARE`, courseID, accounts)
	if err != nil {
		return nil, fmt.Errorf("enrolled: %w", err)
	}
	enrolled, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("enrolled: %w", err)
	}
	// All of the set, as who comes into this one leaves others.
	rows, err = tx.Query(ctx, `
		SELECT o.id FROM course_group g JOIN course_group o ON o.course_id = g.course_id AND (o.id = g.id OR o.set_name = g.set_name AND g.set_name <> '')
		WHERE g.id = $1 AND g.course_id = $2`, groupID, courseID)
	if err != nil {
		return nil, fmt.Errorf("set: %w", err)
	}
	set, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("set: %w", err)
	}
	found, err := lockGroups(ctx, tx, courseID, set...)
	if err != nil {
		return nil, err
	}
	g := found[groupID]
	if g == nil || bySelf && !g.SelfSignup {
		return nil, ErrGroupNotFound
	}
	if err := refuseOthers(accounts, enrolled); err != nil {
		return nil, err
	}
	if g.SetName != "" {
		const others = `m.course_id = $1 AND m.set_name = $2 AND m.group_id <> $3 AND m.account_id = ANY($4)`
		if bySelf {
			var bound bool
			err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM group_member m WHERE m.member AND NOT m.by_self AND `+others+`)`,
				courseID, g.SetName, groupID, accounts).Scan(&bound)
			if err != nil {
				return nil, fmt.Errorf("others of the set: %w", err)
			}
			if bound {
				return nil, ErrGroupInSet
			}
		}
		if _, err := s.leaveGroups(ctx, tx, others, courseID, g.SetName, groupID, accounts); err != nil {
			return nil, err
		}
	}
	rows, err = tx.Query(ctx, `
		INSERT INTO group_member AS m (group_id, account_id, course_id, set_name, by_self, joined_at)
		SELECT $1, a, $2, $3, $5, $6 FROM unnest($4::text[]) AS a ORDER BY a
		ON CONFLICT (group_id, account_id) DO UPDATE SET member = true, version = m.version + 1, by_self = EXCLUDED.by_self,
			joined_at = EXCLUDED.joined_at, set_name = EXCLUDED.set_name
		WHERE NOT m.member
		RETURNING m.group_id, m.course_id, m.account_id, m.member, m.version`, groupID, courseID, g.SetName, accounts, bySelf, s.now())
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[membership])
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	g.Members += int32(len(list)) //nolint:gosec // at most 500
	if g.MaxMembers > 0 && g.Members > g.MaxMembers {
		return nil, ErrGroupFull
	}
	if _, err := tx.Exec(ctx, `UPDATE course_group SET members = $2 WHERE id = $1`, g.ID, g.Members); err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	if len(list) == 0 {
		tx.Exempt("nobody came into it")
		return g, nil
	}
	return g, tellMemberships(ctx, tx, list)
}

// refuseOthers refuses accounts that are not among those enrolled.
func refuseOthers(accounts, enrolled []string) error {
	err := &fault.Error{Kind: ErrGroupNotEnrolled.Kind, Code: ErrGroupNotEnrolled.Code, Message: ErrGroupNotEnrolled.Message}
	for i, account := range accounts {
		if !slices.Contains(enrolled, account) {
			err.Fields = append(err.Fields, fault.Field{Path: fmt.Sprintf("account_ids[%d]", i), Code: err.Code, Hint: account + " does not take the course."})
		}
	}
	if len(err.Fields) == 0 {
		return nil
	}
	return err
}

// AddGroupMembers implements accesspb.GroupServiceServer.
func (s *Service) AddGroupMembers(ctx context.Context, req *accesspb.AddGroupMembersRequest) (*accesspb.Group, error) {
	accounts := slices.Clone(req.GetAccountIds())
	slices.Sort(accounts)
	accounts = slices.Compact(accounts)
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Group, error) {
		g, err := s.joinGroup(ctx, tx, req.GetCourseId(), req.GetGroupId(), accounts, false)
		if err != nil {
			return nil, err
		}
		return g.message(), nil
	})
}

// JoinGroup implements accesspb.GroupServiceServer.
func (s *Service) JoinGroup(ctx context.Context, req *accesspb.JoinGroupRequest) (*accesspb.Group, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Group, error) {
		g, err := s.joinGroup(ctx, tx, req.GetCourseId(), req.GetGroupId(), []string{auth.From(ctx).Account}, true)
		if err != nil {
			return nil, err
		}
		return g.message(), nil
	})
}

// RemoveGroupMember implements accesspb.GroupServiceServer.
func (s *Service) RemoveGroupMember(ctx context.Context, req *accesspb.RemoveGroupMemberRequest) (*accesspb.Group, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Group, error) {
		return s.takeOut(ctx, tx, req.GetCourseId(), req.GetGroupId(), req.GetAccountId(), false)
	})
}

// LeaveGroup implements accesspb.GroupServiceServer.
func (s *Service) LeaveGroup(ctx context.Context, req *accesspb.LeaveGroupRequest) (*accesspb.Group, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Group, error) {
		return s.takeOut(ctx, tx, req.GetCourseId(), req.GetGroupId(), auth.From(ctx).Account, true)
	})
}

func (s *Service) takeOut(ctx context.Context, tx *pg.Tx, courseID, groupID, accountID string, bySelf bool) (*accesspb.Group, error) {
	g, err := lockGroup(ctx, tx, courseID, groupID)
	if err != nil {
		return nil, err
	}
	if bySelf && !g.SelfSignup {
		return nil, ErrGroupNotFound
	}
	left, err := s.leaveGroups(ctx, tx, `m.group_id = $1 AND m.account_id = $2`, groupID, accountID)
	if err != nil {
		return nil, err
	}
	if len(left) == 0 {
		return nil, ErrNotInGroup
	}
	g.Members--
	return g.message(), nil
}
