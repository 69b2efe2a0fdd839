package access

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/auth/authpb"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"

	// All contracts, for their permissions.
	_ "github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	_ "github.com/stoa-lms/stoa/internal/service/audit/auditpb"
	_ "github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	_ "github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	_ "github.com/stoa-lms/stoa/internal/service/discovery/discoverypb"
	_ "github.com/stoa-lms/stoa/internal/service/grades/gradespb"
	_ "github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	_ "github.com/stoa-lms/stoa/internal/service/learning/learningpb"
	_ "github.com/stoa-lms/stoa/internal/service/media/mediapb"
	_ "github.com/stoa-lms/stoa/internal/service/notify/notifypb"
)

// TestRolesCoverContracts holds the list of permissions and the roles to what
// the contracts demand.
func TestRolesCoverContracts(t *testing.T) {
	t.Parallel()
	demanded := map[string]authpb.Scope{}
	services := map[string]bool{}
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), "stoa.") {
			return true
		}
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			services[string(service.FullName())] = true
			for j := range service.Methods().Len() {
				method := service.Methods().Get(j)
				rule, err := auth.DeclaredRule(method)
				if err != nil {
					t.Error(err)
					continue
				}
				if rule.Permission != "" {
					demanded[rule.Permission] = rule.Scope
				}
			}
		}
		return true
	})
	if len(services) < 7 {
		t.Errorf("only %d services are looked at: %v", len(services), services)
	}
	for permission, scope := range demanded {
		if !slices.Contains(permissions, permission) {
			t.Errorf("%s is demanded and not listed", permission)
		}
		held := false
		for _, r := range roles {
			// On a course, somebody who belongs to it must have it, not the staff of
			// the platform alone.
			if slices.Contains(r.permissions, permission) && (scope == authpb.Scope_SCOPE_SELF || r.scope == onCourse || scope == authpb.Scope_SCOPE_PLATFORM) {
				held = true
			}
		}
		if !held {
			t.Errorf("%s is demanded and no role has it", permission)
		}
	}
	for _, permission := range permissions {
		if _, ok := demanded[permission]; !ok {
			t.Errorf("%s is listed and nothing demands it", permission)
		}
	}
	for name, r := range roles {
		for _, permission := range r.permissions {
			if !slices.Contains(permissions, permission) {
				t.Errorf("%s has %s, which is not listed", name, permission)
			}
		}
		if r.scope != onPlatform && r.scope != onCourse {
			t.Errorf("%s has no scope", name)
		}
	}
	if courseView != auth.View {
		t.Errorf("the guard asks for %s and roles have %s", auth.View, courseView)
	}
}

// ofPlatform are the permissions that mean something on the platform only.
var ofPlatform = []string{meRead, meWrite, courseCreate, courseReview, revenueEdit, refundManage, subscriptionManage, payoutManage, couponManage, ledgerRead, ledgerReconcile, accountRead, accountSuspend, serviceAccountManage, auditRead, templatePublish}

func TestOwnerHasAllOfACourse(t *testing.T) {
	t.Parallel()
	for _, permission := range permissions {
		if permission == assessmentTake { // staff try quizzes without being students
			continue
		}
		if !slices.Contains(ofPlatform, permission) && !slices.Contains(roles[roleOwner].permissions, permission) {
			t.Errorf("an owner lacks %s", permission)
		}
	}
	without := slices.DeleteFunc(slices.Clone(roles[roleOwner].permissions), func(p string) bool {
		return p == priceEdit || p == saleRefund || p == revenueSplit || p == courseTransfer || p == roleDefine
	})
	slices.Sort(without)
	same(t, slices.Sorted(slices.Values(roles[roleCoTeacher].permissions)), without)
	same(t, slices.Sorted(slices.Values(roles[roleAdmin].permissions)), slices.Sorted(slices.Values(permissions)))
}

func TestAssignCourseRole(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, accountID := id.New("course"), id.New("account")
	teacher := id.New("account")
	req := &accesspb.AssignCourseRoleRequest{CourseId: courseID, AccountId: accountID, Role: "teaching_assistant"}
	for range 2 {
		if _, err := e.peer.AssignCourseRole(rpctest.Account(t.Context(), teacher), req); err != nil {
			t.Fatal(err)
		}
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM role_grant`); n != 1 {
		t.Errorf("%d grants, want 1", n)
	}
	if by := query[string](t, e.db, `SELECT granted_by FROM role_grant`); by != teacher {
		t.Errorf("granted by %q, want %q", by, teacher)
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM outbox WHERE name <> 'stoa.record.v1.Recorded'`); n != 1 {
		t.Errorf("%d events, want that of the role alone", n)
	}
	same(t, e.may(t, accountID, courseID), []string{
		courseCreate, courseView, deadlineSet, enrollmentList, examProctor, gradeEdit, gradeRead, lessonRead, meRead, meWrite, mediaRead, progressEdit, progressList,
		questionRead, submissionMark, submissionRead,
	})
	same(t, e.may(t, accountID, id.New("course")), []string{courseCreate, meRead, meWrite})

	// By a service on its own.
	req.Role = "owner"
	if _, err := e.peer.AssignCourseRole(rpc.WithIdempotencyKey(t.Context(), "key"), req); err != nil {
		t.Fatal(err)
	}
	if by := query[string](t, e.db, `SELECT granted_by FROM role_grant WHERE role = 'owner'`); by != "courses" {
		t.Errorf("granted by %q", by)
	}
}

func TestAssignCourseRoleRefuses(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for name, c := range map[string]struct {
		change      func(*accesspb.AssignCourseRoleRequest)
		code, field string
	}{
		"unknown role":    {func(r *accesspb.AssignCourseRoleRequest) { r.Role = "king" }, "role.unknown", "role"},
		"platform role":   {func(r *accesspb.AssignCourseRoleRequest) { r.Role = "admin" }, "role.unknown", "role"},
		"role by access":  {func(r *accesspb.AssignCourseRoleRequest) { r.Role = roleStudent }, "role.unknown", "role"},
		"everybody's":     {func(r *accesspb.AssignCourseRoleRequest) { r.Role = roleVisitor }, "role.unknown", "role"},
		"no role":         {func(r *accesspb.AssignCourseRoleRequest) { r.Role = "" }, "request.invalid", "role"},
		"no course":       {func(r *accesspb.AssignCourseRoleRequest) { r.CourseId = "" }, "request.invalid", "course_id"},
		"no account":      {func(r *accesspb.AssignCourseRoleRequest) { r.AccountId = "" }, "request.invalid", "account_id"},
		"an account's id": {func(r *accesspb.AssignCourseRoleRequest) { r.CourseId = r.GetAccountId() }, "request.invalid", "course_id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := &accesspb.AssignCourseRoleRequest{CourseId: id.New("course"), AccountId: id.New("account"), Role: "owner"}
			c.change(req)
			_, err := e.peer.AssignCourseRole(t.Context(), req)
			wantCode(t, err, c.code, c.field)
		})
	}
}

func TestOnlyServicesAsk(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ctx := rpctest.Account(t.Context(), id.New("account"))
	_, err := e.AssignCourseRole(ctx, &accesspb.AssignCourseRoleRequest{CourseId: id.New("course"), AccountId: id.New("account"), Role: "owner"})
	wantCode(t, err, "not_found")
	_, err = e.ResolvePermissions(ctx, &accesspb.ResolvePermissionsRequest{Subjects: []*accesspb.ResolvePermissionsRequest_Subject{{}}})
	wantCode(t, err, "not_found")
	_, err = e.ListEntitled(ctx, &accesspb.ListEntitledRequest{})
	wantCode(t, err, "not_found")
}

func TestGrantPlatformRole(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	accountID, courseID := id.New("account"), id.New("course")
	for range 2 {
		if err := GrantPlatformRole(t.Context(), e.db, accountID, "admin"); err != nil {
			t.Fatal(err)
		}
	}
	all := slices.Sorted(slices.Values(permissions))
	same(t, e.may(t, accountID, ""), all)
	same(t, e.may(t, accountID, courseID), all)
	if by := query[string](t, e.db, `SELECT granted_by FROM role_grant`); by != "operator" {
		t.Errorf("granted by %q", by)
	}
	for _, role := range []string{"owner", "member", "king", ""} {
		wantCode(t, GrantPlatformRole(t.Context(), e.db, accountID, role), "role.unknown", "role")
	}
	wantCode(t, GrantPlatformRole(t.Context(), e.db, "ada@example.org", "admin"), "request.invalid", "account")
	for name := range maps.Keys(roles) {
		if err := checkRole(name, onPlatform); err == nil && checkRole(name, onCourse) == nil {
			t.Errorf("%s can be given in both scopes", name)
		}
	}
}
