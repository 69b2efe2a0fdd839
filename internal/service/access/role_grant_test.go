package access

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// owned makes a course and its owner.
func (e *env) owned(t fataler) (courseID, owner string) {
	t.Helper()
	courseID, owner = id.New("course"), id.New("account")
	_, err := e.peer.AssignCourseRole(t.Context(), &accesspb.AssignCourseRoleRequest{CourseId: courseID, AccountId: owner, Role: roleOwner})
	if err != nil {
		t.Fatalf("AssignCourseRole: %v", err)
	}
	return courseID, owner
}

// admin makes an admin of the platform.
func (e *env) admin(t fataler) string {
	t.Helper()
	account := id.New("account")
	if err := GrantPlatformRole(t.Context(), e.db, account, roleAdmin); err != nil {
		t.Fatalf("GrantPlatformRole: %v", err)
	}
	return account
}

// give gives a role in the name of an account, and fails unless that answers
// with the code, "" for success.
func (e *env) give(t *testing.T, by string, req *accesspb.GrantCourseRoleRequest, code string) *accesspb.RoleGrant {
	t.Helper()
	g, err := e.GrantCourseRole(asAccount(t, by), req)
	if fault.CodeOf(err) != code && (code != "" || err != nil) {
		t.Errorf("%s on %q: %v, want %q", req.GetRole(), req.GetItemId(), err, code)
	}
	return g
}

func TestCourseRoles(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, owner := e.owned(t)
	helper, lessonID := id.New("account"), id.New("lesson")
	if err := keep(t, e, helper, "Ada"); err != nil {
		t.Fatal(err)
	}
	ends := e.service.now().Add(time.Hour)
	onItem := e.give(t, owner, &accesspb.GrantCourseRoleRequest{CourseId: courseID, AccountId: helper, Role: roleCoTeacher, ItemId: lessonID, Reason: "for a lesson"}, "")
	grader := e.give(t, owner, &accesspb.GrantCourseRoleRequest{CourseId: courseID, AccountId: helper, Role: "grader", ExpiresAt: timestamppb.New(ends)}, "")
	if !id.Valid("grant", grader.GetId()) || grader.GetGrantedBy() != owner || grader.GetAccountName() != "Ada" {
		t.Errorf("%v", grader)
	}
	again := e.give(t, owner, &accesspb.GrantCourseRoleRequest{CourseId: courseID, AccountId: helper, Role: "grader", ExpiresAt: timestamppb.New(ends)}, "")
	if again.GetId() != grader.GetId() {
		t.Errorf("given again as %s", again.GetId())
	}
	list, err := e.ListCourseRoles(asAccount(t, owner), &accesspb.ListCourseRolesRequest{CourseId: courseID, PageSize: 2})
	if err != nil || len(list.GetItems()) != 2 || list.GetNextCursor() == "" {
		t.Fatalf("%v, %v", list, err)
	}
	rest, err := e.ListCourseRoles(asAccount(t, owner), &accesspb.ListCourseRolesRequest{CourseId: courseID, PageSize: 2, Cursor: list.GetNextCursor()})
	if err != nil || len(rest.GetItems()) != 1 || rest.GetItems()[0].GetRole() != roleOwner && list.GetItems()[1].GetRole() != roleOwner && list.GetItems()[0].GetRole() != roleOwner {
		t.Fatalf("%v, %v", rest, err)
	}

	res, err := e.peer.ResolvePermissions(t.Context(), &accesspb.ResolvePermissionsRequest{Subjects: []*accesspb.ResolvePermissionsRequest_Subject{
		{AccountId: helper, CourseId: courseID}, {AccountId: helper, CourseId: id.New("course")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := res.GetAnswers()[0]
	if slices.Contains(got.GetPermissions(), courseEdit) || !slices.Contains(got.GetPermissions(), enrollmentList) {
		t.Errorf("on the course: %v", got.GetPermissions())
	}
	if len(got.GetItems()) != 1 || got.GetItems()[0].GetItemId() != lessonID || !slices.Contains(got.GetItems()[0].GetPermissions(), courseEdit) {
		t.Errorf("on items: %v", got.GetItems())
	}
	if len(res.GetAnswers()[1].GetItems()) != 0 {
		t.Errorf("elsewhere: %v", res.GetAnswers()[1])
	}

	// At its end the role is gone, and the course is seen for the item still.
	e.clock.Add(time.Hour)
	same(t, e.may(t, helper, courseID), []string{courseCreate, courseView, meRead, meWrite})
	if _, err := e.RevokeCourseRole(asAccount(t, owner), &accesspb.RevokeCourseRoleRequest{CourseId: courseID, GrantId: onItem.GetId(), ItemId: id.New("lesson")}); fault.CodeOf(err) != "grant.not_found" {
		t.Errorf("under another item: %v", err)
	}
	if _, err := e.RevokeCourseRole(asAccount(t, owner), &accesspb.RevokeCourseRoleRequest{CourseId: courseID, GrantId: onItem.GetId()}); err != nil {
		t.Fatal(err)
	}
	same(t, e.may(t, helper, courseID), []string{courseCreate, meRead, meWrite})
}

// keep has the service know a person.
func keep(t *testing.T, e *env, account, name string) error {
	t.Helper()
	_, err := e.db.Exec(t.Context(), `INSERT INTO person (account_id, name, version) VALUES ($1, $2, 1)`, account, name)
	return err
}

func TestNobodyGrantsWhatTheyLack(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, owner := e.owned(t)
	co, temp, onItem, to := id.New("account"), id.New("account"), id.New("account"), id.New("account")
	item, other := id.New("lesson"), id.New("lesson")
	soon := timestamppb.New(e.service.now().Add(time.Hour))
	later := timestamppb.New(e.service.now().Add(2 * time.Hour))
	role := func(name string) *accesspb.GrantCourseRoleRequest {
		return &accesspb.GrantCourseRoleRequest{CourseId: courseID, AccountId: to, Role: name}
	}
	on := func(item string, req *accesspb.GrantCourseRoleRequest) *accesspb.GrantCourseRoleRequest {
		req.ItemId = item
		return req
	}
	until := func(end *timestamppb.Timestamp, req *accesspb.GrantCourseRoleRequest) *accesspb.GrantCourseRoleRequest {
		req.ExpiresAt = end
		return req
	}
	e.give(t, owner, &accesspb.GrantCourseRoleRequest{CourseId: courseID, AccountId: co, Role: roleCoTeacher}, "")
	e.give(t, owner, until(soon, &accesspb.GrantCourseRoleRequest{CourseId: courseID, AccountId: temp, Role: roleCoTeacher}), "")
	e.give(t, owner, on(item, &accesspb.GrantCourseRoleRequest{CourseId: courseID, AccountId: onItem, Role: roleCoTeacher}), "")

	e.give(t, id.New("account"), role("observer"), "role.not_held")
	e.give(t, owner, role("admin"), "role.unknown")
	e.give(t, owner, role(id.New("role")), "role.unknown")
	e.give(t, owner, on(item, role(roleOwner)), "role.not_on_item")
	e.give(t, owner, until(timestamppb.New(e.service.now()), role("grader")), "role.expired")
	e.give(t, co, role(roleOwner), "role.not_held")
	e.give(t, co, on(other, role(roleCoTeacher)), "")
	// For as long as one holds it oneself, on what one holds it on.
	e.give(t, temp, role("grader"), "role.not_held")
	e.give(t, temp, until(later, role("grader")), "role.not_held")
	e.give(t, temp, until(soon, role("grader")), "")
	e.give(t, onItem, role("observer"), "role.not_held")
	e.give(t, onItem, on(other, role("observer")), "role.not_held")
	e.give(t, onItem, on(item, role("observer")), "")
	e.give(t, onItem, on(item, &accesspb.GrantCourseRoleRequest{CourseId: courseID, AccountId: onItem, Role: "grader"}), "")

	// Through a token no more than its scopes.
	token := func(scopes ...string) context.Context {
		return auth.With(t.Context(), auth.Principal{Account: owner, Token: id.New("token"), Scopes: strings.Join(scopes, " ")})
	}
	_, err := e.GrantCourseRole(token(roleGrant, courseView), role("observer"))
	wantCode(t, err, "role.not_held", "role")
	if _, err := e.GrantCourseRole(token(roleGrant, courseView, lessonRead, progressList, gradeRead), role("observer")); err != nil {
		t.Error(err)
	}
	_, err = e.GrantCourseRole(token(slices.DeleteFunc(slices.Clone(permissions), func(p string) bool { return p == priceEdit })...), role(roleOwner))
	wantCode(t, err, "role.not_held", "role")

	// What the platform's staff holds, it holds on every course; to be an owner's
	// equal takes all of it.
	support := id.New("account")
	if err := GrantPlatformRole(t.Context(), e.db, support, "support"); err != nil {
		t.Fatal(err)
	}
	e.give(t, support, role("observer"), "role.not_held")
	e.give(t, e.admin(t), role(roleOwner), "")

	// Taking is like giving.
	list, err := e.ListCourseRoles(asAccount(t, owner), &accesspb.ListCourseRolesRequest{CourseId: courseID, PageSize: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range list.GetItems() {
		if g.GetAccountId() == owner {
			_, err := e.RevokeCourseRole(asAccount(t, co), &accesspb.RevokeCourseRoleRequest{CourseId: courseID, GrantId: g.GetId()})
			wantCode(t, err, "role.not_held", "role")
		}
	}
}

// TestRolesThatAreMade: a role of permissions, its bounds, and that it gives
// nothing in two steps.
func TestRolesThatAreMade(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, owner := e.owned(t)
	me, helper := asAccount(t, owner), id.New("account")
	create := func(ctx context.Context, name string, list ...string) (*accesspb.Role, error) {
		return e.CreateCourseRole(ctx, &accesspb.CreateCourseRoleRequest{CourseId: courseID, Name: name, Permissions: list})
	}
	definer, err := create(me, "definer", roleDefine, roleGrant, courseView, lessonRead, courseView)
	if err != nil {
		t.Fatal(err)
	}
	same(t, definer.GetPermissions(), []string{courseView, lessonRead, roleDefine, roleGrant})
	e.give(t, owner, &accesspb.GrantCourseRoleRequest{CourseId: courseID, AccountId: helper, Role: definer.GetId()}, "")
	same(t, e.may(t, helper, courseID), []string{courseCreate, courseView, lessonRead, meRead, meWrite, roleDefine, roleGrant})

	_, err = create(me, "definer", courseView)
	wantCode(t, err, "role.name_taken")
	_, err = create(me, "grader", courseView)
	wantCode(t, err, "role.name_taken")
	_, err = create(me, "auditor", auditRead)
	wantCode(t, err, "permission.unknown", "permissions")
	_, err = create(asAccount(t, helper), "more", courseView, priceEdit)
	wantCode(t, err, "role.not_held", "role")
	_, err = create(asAccount(t, id.New("account")), "nothing", courseView)
	wantCode(t, err, "role.not_held", "role")

	// Not by changing the role that one has, nor one that others have.
	update := func(ctx context.Context, roleID string, list ...string) (*accesspb.Role, error) {
		return e.UpdateCourseRole(ctx, &accesspb.UpdateCourseRoleRequest{CourseId: courseID, RoleId: roleID, Permissions: list})
	}
	_, err = update(asAccount(t, helper), definer.GetId(), append(definer.GetPermissions(), priceEdit)...)
	wantCode(t, err, "role.not_held", "role")
	seller, err := create(me, "seller", courseView, priceEdit)
	if err != nil {
		t.Fatal(err)
	}
	_, err = update(asAccount(t, helper), seller.GetId(), courseView)
	wantCode(t, err, "role.not_held", "role")
	e.give(t, helper, &accesspb.GrantCourseRoleRequest{CourseId: courseID, AccountId: helper, Role: seller.GetId()}, "role.not_held")

	// A change is everybody's who has it.
	if _, err := update(me, definer.GetId(), courseView, saleList); err != nil {
		t.Fatal(err)
	}
	same(t, e.may(t, helper, courseID), []string{courseCreate, courseView, meRead, meWrite, saleList})
	_, err = e.DeleteCourseRole(me, &accesspb.DeleteCourseRoleRequest{CourseId: courseID, RoleId: definer.GetId()})
	wantCode(t, err, "role.in_use")
	_, err = e.DeleteCourseRole(me, &accesspb.DeleteCourseRoleRequest{CourseId: id.New("course"), RoleId: seller.GetId()})
	wantCode(t, err, "role_definition.not_found")
	if _, err := e.DeleteCourseRole(me, &accesspb.DeleteCourseRoleRequest{CourseId: courseID, RoleId: seller.GetId()}); err != nil {
		t.Fatal(err)
	}
	list, err := e.ListCustomRoles(me, &accesspb.ListCustomRolesRequest{CourseId: courseID})
	if err != nil || len(list.GetItems()) != 6 {
		t.Errorf("%d roles, %v", len(list.GetItems()), err)
	}

	// The same for the platform, where an admin holds everything.
	admin := asAccount(t, e.admin(t))
	made, err := e.CreateRole(admin, &accesspb.CreateRoleRequest{Name: "auditor", Permissions: []string{auditRead}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.GrantPlatformRole(admin, &accesspb.GrantPlatformRoleRequest{AccountId: helper, Role: made.GetId()}); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(e.may(t, helper, ""), auditRead) {
		t.Error("the role made for the platform gives nothing")
	}
	renamed, err := e.UpdateRole(admin, &accesspb.UpdateRoleRequest{RoleId: made.GetId(), Name: new("examiner")})
	if err != nil || renamed.GetName() != "examiner" || renamed.GetEtag() != "2" {
		t.Errorf("%v, %v", renamed, err)
	}
	_, err = e.DeleteRole(admin, &accesspb.DeleteRoleRequest{RoleId: made.GetId()})
	wantCode(t, err, "role.in_use")
	for i := range maxDefinitions - 1 {
		if _, err := e.CreateRole(admin, &accesspb.CreateRoleRequest{Name: "role_" + string(rune('a'+i/26)) + string(rune('a'+i%26)), Permissions: []string{auditRead}}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = e.CreateRole(admin, &accesspb.CreateRoleRequest{Name: "one_more", Permissions: []string{auditRead}})
	wantCode(t, err, "role.too_many_defined")
}

// TestLastOnesStay: two owners, and two admins, who remove one another at the
// same time.
func TestLastOnesStay(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for range 10 {
		courseID, first := e.owned(t)
		second := id.New("account")
		e.give(t, first, &accesspb.GrantCourseRoleRequest{CourseId: courseID, AccountId: second, Role: roleOwner}, "")
		ids := map[string]string{}
		list, err := e.ListCourseRoles(asAccount(t, first), &accesspb.ListCourseRolesRequest{CourseId: courseID})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range list.GetItems() {
			ids[g.GetAccountId()] = g.GetId()
		}
		atOnce(t,
			func() error {
				_, err := e.RevokeCourseRole(asAccount(t, first), &accesspb.RevokeCourseRoleRequest{CourseId: courseID, GrantId: ids[second]})
				return err
			},
			func() error {
				_, err := e.RevokeCourseRole(asAccount(t, second), &accesspb.RevokeCourseRoleRequest{CourseId: courseID, GrantId: ids[first]})
				return err
			})
		if n := query[int](t, e.db, `SELECT count(*) FROM role_grant WHERE course_id = $1 AND role = 'owner'`, courseID); n != 1 {
			t.Fatalf("%d owners are left", n)
		}
		last := query[string](t, e.db, `SELECT account_id FROM role_grant WHERE course_id = $1`, courseID)
		_, err = e.RevokeCourseRole(asAccount(t, last), &accesspb.RevokeCourseRoleRequest{CourseId: courseID, GrantId: ids[last]})
		wantCode(t, err, "role.last")
		soon := timestamppb.New(e.service.now().Add(time.Hour))
		e.give(t, last, &accesspb.GrantCourseRoleRequest{CourseId: courseID, AccountId: last, Role: roleOwner, ExpiresAt: soon}, "role.last")
	}
	first, second := e.admin(t), e.admin(t)
	id1 := query[string](t, e.db, `SELECT id FROM role_grant WHERE account_id = $1`, first)
	id2 := query[string](t, e.db, `SELECT id FROM role_grant WHERE account_id = $1`, second)
	atOnce(t,
		func() error {
			_, err := e.RevokePlatformRole(asAccount(t, first), &accesspb.RevokePlatformRoleRequest{GrantId: id1})
			return err
		},
		func() error {
			_, err := e.RevokePlatformRole(asAccount(t, second), &accesspb.RevokePlatformRoleRequest{GrantId: id2})
			return err
		})
	if n := query[int](t, e.db, `SELECT count(*) FROM role_grant WHERE role = 'admin'`); n != 1 {
		t.Errorf("%d admins are left", n)
	}
}

// atOnce runs two calls at the same time, of which one has to succeed.
func atOnce(t *testing.T, calls ...func() error) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, len(calls))
	for i, call := range calls {
		wg.Go(func() { errs[i] = call() })
	}
	wg.Wait()
	n := 0
	for _, err := range errs {
		if err == nil {
			n++
		}
	}
	if n != 1 {
		t.Fatalf("%d succeed: %v", n, errs)
	}
}

// TestTwoStepsAtOnce: who is losing the right to give a role can't give it on
// while they do.
func TestTwoStepsAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, owner := e.owned(t)
	for range 10 {
		co, friend := id.New("account"), id.New("account")
		g := e.give(t, owner, &accesspb.GrantCourseRoleRequest{CourseId: courseID, AccountId: co, Role: roleCoTeacher}, "")
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := e.RevokeCourseRole(asAccount(t, owner), &accesspb.RevokeCourseRoleRequest{CourseId: courseID, GrantId: g.GetId()}); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			_, err := e.GrantCourseRole(asAccount(t, co), &accesspb.GrantCourseRoleRequest{CourseId: courseID, AccountId: friend, Role: "grader"})
			if err != nil && fault.CodeOf(err) != "role.not_held" {
				t.Error(err)
			}
		})
		wg.Wait()
		// What was given was given before the other was taken.
		if query[bool](t, e.db, `
			SELECT EXISTS (SELECT FROM outbox g, outbox r WHERE g.name = 'stoa.record.v1.Recorded' AND r.name = g.name
				AND position(convert_to($1, 'UTF8') IN g.payload) > 0 AND position(convert_to('role.revoked', 'UTF8') IN r.payload) > 0
				AND position(convert_to($2, 'UTF8') IN r.payload) > 0 AND g.position > r.position)`, friend, g.GetId()) {
			t.Fatal("a role was given by somebody who held it no more")
		}
	}
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, owner := e.owned(t)
	to, co := id.New("account"), id.New("account")
	e.give(t, owner, &accesspb.GrantCourseRoleRequest{CourseId: courseID, AccountId: co, Role: roleCoTeacher}, "")
	offer := func(by, to string) (*accesspb.Transfer, error) {
		return e.TransferCourse(asAccount(t, by), &accesspb.TransferCourseRequest{CourseId: courseID, AccountId: to, Reason: "I retire"})
	}
	accept := func(by string, offer *accesspb.Transfer) error {
		_, err := e.AcceptTransfer(asAccount(t, by), &accesspb.AcceptTransferRequest{TransferId: offer.GetId()})
		return err
	}
	_, err := offer(co, to)
	wantCode(t, err, "role.not_held", "role")
	_, err = offer(owner, owner)
	wantCode(t, err, "transfer.to_owner")
	replaced, err := offer(owner, co)
	if err != nil {
		t.Fatal(err)
	}
	declined, err := offer(owner, to)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, accept(co, replaced), "transfer.not_found")
	wantCode(t, accept(co, declined), "transfer.not_found")
	if got, err := e.DeclineTransfer(asAccount(t, to), &accesspb.DeclineTransferRequest{TransferId: declined.GetId()}); err != nil || got.GetState() != transferDeclined {
		t.Fatalf("%v, %v", got, err)
	}
	wantCode(t, accept(to, declined), "transfer.not_found")
	late, err := offer(owner, to)
	if err != nil {
		t.Fatal(err)
	}
	e.clock.Add(offerFor)
	wantCode(t, accept(to, late), "transfer.not_found")
	good, err := offer(owner, to)
	if err != nil {
		t.Fatal(err)
	}
	mine, err := e.ListMyTransfers(asAccount(t, to), &accesspb.ListMyTransfersRequest{})
	if err != nil || len(mine.GetItems()) != 1 || mine.GetItems()[0].GetId() != good.GetId() {
		t.Fatalf("%v, %v", mine, err)
	}
	atOnce(t, func() error { return accept(to, good) }, func() error { return accept(to, good) })
	if !slices.Contains(e.may(t, to, courseID), courseTransfer) || slices.Contains(e.may(t, owner, courseID), courseTransfer) || !slices.Contains(e.may(t, owner, courseID), courseEdit) {
		t.Error("the roles are not those of after a transfer")
	}
	events := e.events(t)
	owned := slices.IndexFunc(events, func(m proto.Message) bool { _, ok := m.(*accesspb.CourseOwnerChanged); return ok })
	same(t, events[owned], proto.Message(&accesspb.CourseOwnerChanged{CourseId: courseID, OwnerId: to, PreviousOwnerId: owner, Version: 1}))

	// The platform's staff gives a course of somebody else, unless it can't any more
	// when that is accepted.
	admin := e.admin(t)
	e.admin(t)
	back, err := offer(admin, owner)
	if err != nil || back.GetFromId() != to {
		t.Fatalf("%v, %v", back, err)
	}
	exec(t, e.db, `DELETE FROM role_grant WHERE account_id = $1`, admin)
	wantCode(t, accept(owner, back), "transfer.not_found")
}

func TestExplain(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, owner := e.owned(t)
	deliver(t, e, e.service.priceSet, priceOf(courseID, 100, 1))
	student, helper, lessonID := id.New("account"), id.New("account"), id.New("lesson")
	if err := keep(t, e, owner, "Ada"); err != nil {
		t.Fatal(err)
	}
	made, err := e.CreateCourseRole(asAccount(t, owner), &accesspb.CreateCourseRoleRequest{CourseId: courseID, Name: "editor", Permissions: []string{courseEdit, courseView}})
	if err != nil {
		t.Fatal(err)
	}
	g := e.give(t, owner, &accesspb.GrantCourseRoleRequest{CourseId: courseID, AccountId: helper, Role: made.GetId(), ItemId: lessonID, Reason: "one lesson"}, "")
	order := orderOf(student, e.clock.Now(), courseID)
	deliver(t, e, e.service.orderPaid, order)
	ask := func(account, permission, item string) *accesspb.Explanation {
		t.Helper()
		x, err := e.Explain(asAccount(t, owner), &accesspb.ExplainRequest{CourseId: courseID, AccountId: account, Permission: permission, ItemId: item})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	same(t, ask(helper, courseEdit, lessonID), &accesspb.Explanation{Allowed: true, Sources: []*accesspb.Explanation_Source{{
		Kind: byRole, Role: made.GetId(), RoleName: "editor", Id: g.GetId(), CourseId: courseID, ItemId: lessonID,
		By: owner, Since: timestamppb.New(e.service.now()), Reason: "one lesson",
	}}})
	bought := ask(student, lessonRead, "")
	if !bought.GetAllowed() || bought.GetSources()[0].GetBy() != sourceOrder || bought.GetSources()[0].GetReason() != order.GetLines()[0].GetLineId() {
		t.Errorf("%v", bought)
	}
	lacks := ask(helper, courseEdit, "")
	var names []string
	for _, r := range lacks.GetMissing().GetRoles() {
		names = append(names, r.GetName())
	}
	same(t, names, []string{roleCoTeacher, roleOwner, "editor"})
	same(t, lacks.GetMissing().GetGivers(), []*accesspb.Person{{AccountId: owner, Name: "Ada"}})
	if lacks.GetAllowed() || lacks.GetMissing().GetEntitlement() || !ask(helper, lessonRead, "").GetMissing().GetEntitlement() {
		t.Errorf("%v", lacks)
	}
	_, err = e.Explain(asAccount(t, owner), &accesspb.ExplainRequest{CourseId: courseID, Permission: "course.eat"})
	wantCode(t, err, "permission.unknown", "permission")

	mine, err := e.ExplainMe(asAccount(t, student), &accesspb.ExplainMeRequest{CourseId: courseID, Permission: courseEdit})
	if err != nil || mine.GetAllowed() || len(mine.GetMissing().GetGivers()) != 1 {
		t.Errorf("%v, %v", mine, err)
	}
	admin := e.admin(t)
	mine, err = e.ExplainMe(asAccount(t, student), &accesspb.ExplainMeRequest{Permission: auditRead})
	if err != nil || mine.GetAllowed() || len(mine.GetMissing().GetGivers()) != 0 {
		t.Errorf("%v, %v", mine, err)
	}
	_, err = e.ExplainMe(asAccount(t, id.New("account")), &accesspb.ExplainMeRequest{CourseId: courseID, Permission: courseEdit})
	wantCode(t, err, "not_found")

	var holders []string
	cursor := ""
	for {
		page, err := e.ListHolders(asAccount(t, owner), &accesspb.ListHoldersRequest{CourseId: courseID, Permission: courseEdit, PageSize: 1, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.GetItems() {
			holders = append(holders, p.GetAccountId())
		}
		if cursor = page.GetNextCursor(); cursor == "" {
			break
		}
	}
	want := []string{owner, helper, admin}
	slices.Sort(want)
	same(t, holders, want)
}

func TestRoleServiceNeedsAName(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	_, err := e.ListMyTransfers(t.Context(), &accesspb.ListMyTransfersRequest{})
	wantCode(t, err, "auth.required")
	old := auth.With(t.Context(), auth.Principal{Account: id.New("account"), Session: id.New("session"), Confirmed: time.Now().Add(-time.Hour).Unix()})
	_, err = e.GrantPlatformRole(old, &accesspb.GrantPlatformRoleRequest{AccountId: id.New("account"), Role: roleAdmin})
	wantCode(t, err, "auth.step_up_required")
}
