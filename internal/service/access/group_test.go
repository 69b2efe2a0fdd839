package access

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

func (e *env) groups() accesspb.GroupServiceClient {
	return accesspb.NewGroupServiceClient(e.harness.As("edge"))
}

func (e *env) group(t fataler, courseID, set string, self bool, room int32) *accesspb.Group {
	t.Helper()
	g, err := e.groups().CreateGroup(asAccount(t, id.New("account")), &accesspb.CreateGroupRequest{
		CourseId: courseID, Name: "Group " + id.New("group"), GroupSet: set, SelfSignup: self, MaxMembers: room,
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return g
}

func (e *env) adds(t fataler, g *accesspb.Group, accounts ...string) (*accesspb.Group, error) {
	t.Helper()
	return e.groups().AddGroupMembers(asAccount(t, id.New("account")), &accesspb.AddGroupMembersRequest{CourseId: g.GetCourseId(), GroupId: g.GetId(), AccountIds: accounts})
}

func (e *env) joinsGroup(t fataler, account string, g *accesspb.Group) error {
	t.Helper()
	_, err := e.groups().JoinGroup(asAccount(t, account), &accesspb.JoinGroupRequest{CourseId: g.GetCourseId(), GroupId: g.GetId()})
	return err
}

// groupsOf are the groups of an account as the events tell them, and as they are.
func (e *env) groupsOf(t *testing.T, account string) []string {
	t.Helper()
	newest := map[string]*accesspb.GroupMembershipChanged{}
	for _, event := range e.events(t) {
		if m, ok := event.(*accesspb.GroupMembershipChanged); ok && m.GetAccountId() == account {
			if was := newest[m.GetGroupId()]; was != nil && was.GetVersion() == m.GetVersion() {
				t.Errorf("two changes with version %d", m.GetVersion())
			} else if was == nil || was.GetVersion() < m.GetVersion() {
				newest[m.GetGroupId()] = m
			}
		}
	}
	var told []string
	for g, m := range newest {
		if m.GetMember() {
			told = append(told, g)
		}
	}
	slices.Sort(told)
	mine, err := e.groups().ListMyGroups(asAccount(t, account), &accesspb.ListMyGroupsRequest{PageSize: 100})
	if err != nil {
		t.Fatal(err)
	}
	var are []string
	for _, g := range mine.GetItems() {
		are = append(are, g.GetId())
	}
	slices.Sort(are)
	same(t, told, are)
	return are
}

func (e *env) enrolled(t *testing.T, courseID string, n int) []string {
	t.Helper()
	people := make([]string, n)
	for i := range people {
		people[i] = e.person(t)
		deliver(t, e, e.service.orderPaid, orderOf(people[i], e.clock.Now(), courseID))
	}
	return people
}

func TestGroups(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID := e.course(t, 0)
	people := e.enrolled(t, courseID, 3)
	a, b := e.group(t, courseID, "", false, 2), e.group(t, courseID, "", false, 0)

	got, err := e.adds(t, a, people[0], people[1], people[0])
	if err != nil || got.GetMembers() != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := e.adds(t, b, people[0]); err != nil {
		t.Fatal(err)
	}
	same(t, len(e.groupsOf(t, people[0])), 2)
	if _, err := e.adds(t, a, people[0]); err != nil {
		t.Errorf("who is in it: %v", err)
	}
	for name, c := range map[string]struct {
		err  error
		code string
	}{
		"full":         {second(e.adds(t, a, people[2])), "group.full"},
		"not enrolled": {second(e.adds(t, b, people[2], id.New("account"))), "group.not_enrolled"},
		"unknown":      {second(e.adds(t, &accesspb.Group{CourseId: courseID, Id: id.New("group")}, people[2])), "group.not_found"},
		"other course": {second(e.adds(t, &accesspb.Group{CourseId: e.course(t, 0), Id: a.GetId()}, people[2])), "group.not_found"},
		"not by self":  {e.joinsGroup(t, people[2], b), "group.not_found"},
	} {
		if got := fault.CodeOf(c.err); got != c.code {
			t.Errorf("%s: %v, want %s", name, c.err, c.code)
		}
	}
	same(t, len(e.groupsOf(t, people[2])), 0)
	list, err := e.groups().ListGroupMembers(asAccount(t, people[0]), &accesspb.ListGroupMembersRequest{CourseId: courseID, GroupId: a.GetId(), PageSize: 1})
	if err != nil || len(list.GetItems()) != 1 || list.GetNextCursor() == "" || list.GetItems()[0].GetAccountName() == "" {
		t.Errorf("%v, %v", list, err)
	}

	// Room, sets and names are held to.
	update := func(g *accesspb.Group, change func(*accesspb.UpdateGroupRequest)) error {
		req := &accesspb.UpdateGroupRequest{CourseId: courseID, GroupId: g.GetId()}
		change(req)
		_, err := e.groups().UpdateGroup(rpc.WithIfMatch(asAccount(t, people[0]), g.GetEtag()), req)
		return err
	}
	one, set, name := int32(1), "Projects", b.GetName()
	for code, err := range map[string]error{
		"group.full":        update(a, func(r *accesspb.UpdateGroupRequest) { r.MaxMembers = &one }),
		"group.has_members": update(a, func(r *accesspb.UpdateGroupRequest) { r.GroupSet = &set }),
		"group.name_taken":  update(a, func(r *accesspb.UpdateGroupRequest) { r.Name = &name }),
		"etag.stale":        update(&accesspb.Group{Id: a.GetId(), Etag: "0"}, func(r *accesspb.UpdateGroupRequest) { r.Name = &set }),
	} {
		if fault.CodeOf(err) != code {
			t.Errorf("%v, want %s", err, code)
		}
	}

	// Who is taken out, and whose enrollment ends, is out; so are all of a group
	// that is deleted.
	if _, err := e.groups().RemoveGroupMember(asAccount(t, people[2]), &accesspb.RemoveGroupMemberRequest{CourseId: courseID, GroupId: a.GetId(), AccountId: people[1]}); err != nil {
		t.Fatal(err)
	}
	same(t, len(e.groupsOf(t, people[1])), 0)
	revokeAll(t, e, people[0])
	same(t, len(e.groupsOf(t, people[0])), 0)
	if got := query[int](t, e.db, `SELECT sum(members)::int FROM course_group`); got != 0 {
		t.Errorf("%d members are counted", got)
	}
	if _, err := e.adds(t, b, people[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := e.groups().DeleteGroup(asAccount(t, people[2]), &accesspb.DeleteGroupRequest{CourseId: courseID, GroupId: b.GetId()}); err != nil {
		t.Fatal(err)
	}
	same(t, len(e.groupsOf(t, people[1])), 0)
}

func second[T any](_ T, err error) error { return err }

// revokeAll ends all grants of an account.
func revokeAll(t *testing.T, e *env, account string) {
	t.Helper()
	err := e.db.InTx(t.Context(), func(tx *pg.Tx) error {
		_, err := e.service.revoke(t.Context(), tx, "a test", `account_id = $4`, account)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestGroupSets(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID := e.course(t, 0)
	ada := e.enrolled(t, courseID, 1)[0]
	a, b := e.group(t, courseID, "Projects", true, 1), e.group(t, courseID, "Projects", true, 0)
	other := e.group(t, courseID, "Tutors", false, 0)
	if _, err := e.adds(t, other, ada); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := e.joinsGroup(t, ada, a); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.joinsGroup(t, ada, b); err != nil {
		t.Fatal(err)
	}
	want := []string{b.GetId(), other.GetId()}
	slices.Sort(want)
	same(t, e.groupsOf(t, ada), want)
	// Staff put them back, which they can't undo by joining another.
	if _, err := e.adds(t, a, ada); err != nil {
		t.Fatal(err)
	}
	if err := e.joinsGroup(t, ada, b); fault.CodeOf(err) != "group.in_set" {
		t.Errorf("%v", err)
	}
	if _, err := e.groups().LeaveGroup(asAccount(t, ada), &accesspb.LeaveGroupRequest{CourseId: courseID, GroupId: other.GetId()}); fault.CodeOf(err) != "group.not_found" {
		t.Errorf("left a group that nobody leaves: %v", err)
	}
	if _, err := e.groups().LeaveGroup(asAccount(t, ada), &accesspb.LeaveGroupRequest{CourseId: courseID, GroupId: a.GetId()}); err != nil {
		t.Error(err)
	}
	same(t, e.groupsOf(t, ada), []string{other.GetId()})
	list, err := e.groups().ListGroups(asAccount(t, ada), &accesspb.ListGroupsRequest{CourseId: courseID, PageSize: 2})
	if err != nil || len(list.GetItems()) != 2 || list.GetItems()[0].GetId() != other.GetId() || list.GetNextCursor() == "" {
		t.Errorf("%v, %v", list, err)
	}
}

// Many come into a small group while some of them leave the course: it is never
// overfull, and nobody is in it who does not take the course.
func TestGroupsUnderConcurrency(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID := e.course(t, 0)
	people := e.enrolled(t, courseID, 12)
	groups := []*accesspb.Group{e.group(t, courseID, "Projects", true, 4), e.group(t, courseID, "Projects", true, 4), e.group(t, courseID, "", true, 4)}
	var wg sync.WaitGroup
	for i, p := range people {
		for j := range groups {
			wg.Go(func() {
				if err := e.joinsGroup(t, p, groups[(i+j)%len(groups)]); err != nil && fault.KindOf(err) != fault.Conflict {
					t.Errorf("%v", err)
				}
			})
		}
		if i%3 == 0 {
			wg.Go(func() { revokeAll(t, e, p) })
		}
	}
	wg.Wait()
	for _, sql := range []string{
		`SELECT count(*)::int FROM course_group g WHERE members <> (SELECT count(*) FROM group_member m WHERE m.group_id = g.id AND m.member)`,
		`SELECT count(*)::int FROM course_group WHERE members > max_members`,
		`SELECT count(*)::int FROM group_member m JOIN enrollment e USING (course_id, account_id) WHERE m.member AND NOT e.active`,
	} {
		if n := query[int](t, e.db, sql); n != 0 {
			t.Errorf("%d: %s", n, sql)
		}
	}
	for _, p := range people {
		e.groupsOf(t, p)
	}
}

func TestRolesAreTold(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, owner, ben := e.course(t, 0), e.person(t), e.person(t)
	if _, err := e.peer.AssignCourseRole(t.Context(), &accesspb.AssignCourseRoleRequest{CourseId: courseID, AccountId: owner, Role: roleOwner}); err != nil {
		t.Fatal(err)
	}
	ends := e.clock.Now().Add(time.Hour)
	g, err := e.GrantCourseRole(asAccount(t, owner), &accesspb.GrantCourseRoleRequest{CourseId: courseID, AccountId: ben, Role: "grader", ExpiresAt: timestamppb.New(ends)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.GrantCourseRole(asAccount(t, owner), &accesspb.GrantCourseRoleRequest{CourseId: courseID, AccountId: ben, Role: "grader", ItemId: id.New("lesson")}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.RevokeCourseRole(asAccount(t, owner), &accesspb.RevokeCourseRoleRequest{CourseId: courseID, GrantId: g.GetId()}); err != nil {
		t.Fatal(err)
	}
	offer, err := e.TransferCourse(asAccount(t, owner), &accesspb.TransferCourseRequest{CourseId: courseID, AccountId: ben})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.AcceptTransfer(asAccount(t, ben), &accesspb.AcceptTransferRequest{TransferId: offer.GetId()}); err != nil {
		t.Fatal(err)
	}
	told := func() map[string]string {
		newest, versions := map[string]string{}, map[string]int64{}
		for _, event := range e.events(t) {
			if r, ok := event.(*accesspb.CourseRoleChanged); ok {
				if key := r.GetAccountId() + " " + r.GetRole(); versions[key] < r.GetVersion() {
					versions[key], newest[key] = r.GetVersion(), fmt.Sprint(r.GetGranted(), " ", r.GetExpiresAt() != nil)
				}
			}
		}
		return newest
	}
	want := map[string]string{
		owner + " owner": "false false", owner + " co_teacher": "true false", ben + " owner": "true false", ben + " grader": "false false",
	}
	same(t, told(), want)

	// Services that came to hear it later are told again, once.
	if _, err := e.db.Exec(t.Context(), `DELETE FROM outbox`); err != nil {
		t.Fatal(err)
	}
	e.cohort(t, courseID, 1)
	if err := e.service.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, told(), map[string]string{owner + " co_teacher": "true false", ben + " owner": "true false"})
	if n := query[int](t, e.db, `SELECT count(*)::int FROM retelling`); n != 0 {
		t.Errorf("%d are still to be told", n)
	}
}
