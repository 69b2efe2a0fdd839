package access

import (
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

func (e *env) invitations() accesspb.InvitationServiceClient {
	return accesspb.NewInvitationServiceClient(e.harness.As("edge"))
}

// invite makes an invitation to a course.
func (e *env) invite(t *testing.T, req *accesspb.CreateInvitationRequest) *accesspb.Invitation {
	t.Helper()
	got, err := e.invitations().CreateInvitation(asAccount(t, id.New("account")), req)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestInvitation(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, student := e.course(t, 4900), id.New("account")
	made := e.invite(t, &accesspb.CreateInvitationRequest{CourseId: courseID, Note: "Class of May", MaxUses: 2, AccessDays: 30})
	if !regexp.MustCompile(`^([A-HJ-NP-TV-Z2-9]{4}-){3}[A-HJ-NP-TV-Z2-9]{4}$`).MatchString(made.GetCode()) {
		t.Errorf("code %q", made.GetCode())
	}
	accept := func(account, code string) (*accesspb.Entitlement, error) {
		return e.invitations().AcceptInvitation(asAccount(t, account), &accesspb.AcceptInvitationRequest{Code: code})
	}
	got, err := accept(student, " "+strings.ToLower(strings.ReplaceAll(made.GetCode(), "-", " "))+" ")
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, &accesspb.Entitlement{
		Id: got.GetId(), CourseId: courseID, AccountId: student, Source: "code", SourceId: made.GetId() + "/" + student, State: "live",
		StartsAt: timestamppb.New(e.service.now()), EndsAt: timestamppb.New(e.service.now().Add(30 * 24 * time.Hour)),
	})
	// The same person's second use is none.
	again, err := accept(student, made.GetCode())
	if err != nil {
		t.Fatal(err)
	}
	same(t, again, got)
	if _, err := accept(id.New("account"), made.GetCode()); err != nil {
		t.Fatal(err)
	}
	_, err = accept(id.New("account"), made.GetCode())
	wantCode(t, err, "invitation.invalid")
	list, err := e.invitations().ListInvitations(asAccount(t, id.New("account")), &accesspb.ListInvitationsRequest{CourseId: courseID})
	if err != nil || len(list.GetItems()) != 1 || list.GetItems()[0].GetUses() != 2 || list.GetItems()[0].GetCode() != "" || list.GetItems()[0].GetNote() != "Class of May" {
		t.Errorf("%v, %v", list, err)
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM invitation WHERE position($1::bytea IN code_hash) > 0`, []byte(made.GetCode())); n != 0 {
		t.Error("the code is kept")
	}
}

func TestInvitationRefuses(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, teacher := e.course(t, 4900), id.New("account")
	accept := func(account, code string) error {
		_, err := e.invitations().AcceptInvitation(asAccount(t, account), &accesspb.AcceptInvitationRequest{Code: code})
		return err
	}
	expiring := e.invite(t, &accesspb.CreateInvitationRequest{CourseId: courseID, ExpiresAt: timestamppb.New(e.clock.Now().Add(time.Hour))})
	revoked := e.invite(t, &accesspb.CreateInvitationRequest{CourseId: courseID})
	staff := e.invite(t, &accesspb.CreateInvitationRequest{CourseId: courseID})
	for range 2 { // the second changes nothing
		if _, err := e.invitations().DeleteInvitation(asAccount(t, teacher), &accesspb.DeleteInvitationRequest{CourseId: courseID, InvitationId: revoked.GetId()}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := e.invitations().DeleteInvitation(asAccount(t, teacher), &accesspb.DeleteInvitationRequest{CourseId: e.course(t, 0), InvitationId: staff.GetId()})
	wantCode(t, err, "invitation.not_found")
	_, err = e.invitations().CreateInvitation(asAccount(t, teacher), &accesspb.CreateInvitationRequest{CourseId: courseID, ExpiresAt: timestamppb.New(e.clock.Now())})
	wantCode(t, err, "invitation.expired")
	exec(t, e.db, `INSERT INTO role_grant (account_id, course_id, role, granted_by, granted_at) VALUES ($1, $2, 'grader', 'x', now())`, teacher, courseID)
	wantCode(t, accept(teacher, staff.GetCode()), "enrollment.own_course")
	// A role that has ended, or one on an item only, keeps nobody out.
	for _, column := range []string{`expires_at = $2`, `item_id = 'lesson_x' || coalesce($2::text, '')`} {
		former := id.New("account")
		exec(t, e.db, `INSERT INTO role_grant (account_id, course_id, role, granted_by, granted_at) VALUES ($1, $2, 'grader', 'x', now())`, former, courseID)
		exec(t, e.db, `UPDATE role_grant SET `+column+` WHERE account_id = $1`, former, e.service.now())
		if err := accept(former, staff.GetCode()); err != nil {
			t.Errorf("%s: %v", column, err)
		}
	}
	e.clock.Add(2 * time.Hour)
	wantCode(t, accept(id.New("account"), expiring.GetCode()), "invitation.invalid")
	wantCode(t, accept(id.New("account"), revoked.GetCode()), "invitation.invalid")

	// Who guesses has to wait, also with the right code; others do not.
	guesser := id.New("account")
	for range 10 {
		wantCode(t, accept(guesser, "AAAA-AAAA-AAAA-AAAA"), "invitation.invalid")
	}
	err = accept(guesser, staff.GetCode())
	wantCode(t, err, "invitation.rate")
	if f, ok := err.(*fault.Error); ok && f.Retry <= 0 { //nolint:errorlint // as it was told
		t.Error("not said when to come back")
	}
	if err := accept(id.New("account"), staff.GetCode()); err != nil {
		t.Error(err)
	}
	e.clock.Add(3 * time.Hour)
	if err := accept(guesser, staff.GetCode()); err != nil {
		t.Error(err)
	}
}

// A hundred people take the last use at once: one gets in.
func TestLastUseOfAnInvitation(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID := e.course(t, 4900)
	made := e.invite(t, &accesspb.CreateInvitationRequest{CourseId: courseID, MaxUses: 1})
	var in, out atomic.Int32
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			_, err := e.invitations().AcceptInvitation(asAccount(t, id.New("account")), &accesspb.AcceptInvitationRequest{Code: made.GetCode()})
			switch {
			case err == nil:
				in.Add(1)
			case fault.CodeOf(err) == "invitation.invalid":
				out.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if in.Load() != 1 || out.Load() != 99 {
		t.Errorf("%d got in, %d were refused", in.Load(), out.Load())
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM entitlement`); n != 1 {
		t.Errorf("%d grants", n)
	}
}
