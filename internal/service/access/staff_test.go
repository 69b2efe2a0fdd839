package access

import (
	"slices"
	"testing"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// TestListCourseStaff: who has a role in the course itself, not on the platform
// or in another course.
func TestListCourseStaff(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, owner, helper, outsider := id.New("course"), id.New("account"), id.New("account"), id.New("account")
	for account, role := range map[string]string{owner: "owner", helper: "grader"} {
		if _, err := e.peer.AssignCourseRole(t.Context(), &accesspb.AssignCourseRoleRequest{CourseId: courseID, AccountId: account, Role: role}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.peer.AssignCourseRole(t.Context(), &accesspb.AssignCourseRoleRequest{CourseId: id.New("course"), AccountId: outsider, Role: "owner"}); err != nil {
		t.Fatal(err)
	}
	got, err := e.peer.ListCourseStaff(t.Context(), &accesspb.ListCourseStaffRequest{CourseId: courseID, AccountIds: []string{outsider, helper, owner, helper}})
	want := []string{owner, helper}
	slices.Sort(want)
	if err != nil || !slices.Equal(got.GetAccountIds(), want) {
		t.Errorf("%v, %v, want %v", got.GetAccountIds(), err, want)
	}
}
