package access

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/email"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

func (e *env) emails() accesspb.EmailInvitationServiceClient {
	return accesspb.NewEmailInvitationServiceClient(e.harness.As("edge"))
}

// account makes an account with an address.
func (e *env) account(t fataler, name, address string, verified bool) string {
	t.Helper()
	account := id.New("account")
	deliver(t, e, e.service.accountCreated, &identitypb.AccountCreated{AccountId: account, Name: name, Email: address, EmailVerified: verified})
	return account
}

// inviteByEmail invites addresses to a course.
func (e *env) inviteByEmail(t *testing.T, by, courseID string, addresses ...string) []*accesspb.EmailInvitation {
	t.Helper()
	got, err := e.emails().CreateEmailInvitations(asAccount(t, by), &accesspb.CreateEmailInvitationsRequest{CourseId: courseID, Addresses: addresses})
	if err != nil {
		t.Fatal(err)
	}
	return got.GetItems()
}

// posted is a mail that was asked for.
type posted struct {
	event *accesspb.InvitationMailRequested
	mail  *accesspb.InvitationMail
}

// invitationMails returns the mails that the outbox holds, oldest first.
func (e *env) invitationMails(t *testing.T) []posted {
	t.Helper()
	var out []posted
	for _, event := range e.events(t) {
		asked, ok := event.(*accesspb.InvitationMailRequested)
		if !ok {
			continue
		}
		plain, err := e.service.vault.Keys().Unseal("invitation mail\n"+asked.GetMailId(), asked.GetSealed())
		if err != nil {
			t.Fatal(err)
		}
		mail := &accesspb.InvitationMail{}
		if err := proto.Unmarshal(plain, mail); err != nil {
			t.Fatal(err)
		}
		out = append(out, posted{asked, mail})
	}
	return out
}

func (e *env) acceptCode(t *testing.T, account, code string) (*accesspb.Entitlement, error) {
	t.Helper()
	return e.invitations().AcceptInvitation(asAccount(t, account), &accesspb.AcceptInvitationRequest{Code: code})
}

func (e *env) acceptMine(t *testing.T, account, invitation string) (*accesspb.Entitlement, error) {
	t.Helper()
	return e.emails().AcceptEmailInvitation(asAccount(t, account), &accesspb.AcceptEmailInvitationRequest{InvitationId: invitation})
}

func TestEmailInvitation(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, teacher := e.course(t, 4900), e.account(t, "Zeno", "zeno@example.org", true)
	ada := e.account(t, "Ada", "ada@example.org", true)
	now := e.service.now()
	res, err := e.emails().CreateEmailInvitations(asAccount(t, teacher), &accesspb.CreateEmailInvitationsRequest{
		CourseId: courseID, Addresses: []string{" Ben@Example.org", "ada@example.org", "ben@example.org"}, AccessDays: 30, Message: " Come in! ", Locale: "de-at",
	})
	if err != nil {
		t.Fatal(err)
	}
	// Nothing tells who of them has an account.
	want := &accesspb.EmailInvitation{
		CourseId: courseID, Address: "ben@example.org", State: "open", AccessDays: 30, Message: "Come in!", Locale: "de-AT",
		ExpiresAt: timestamppb.New(now.Add(30 * 24 * time.Hour)), InvitedBy: teacher, InviterName: "Zeno", CreatedAt: timestamppb.New(now),
		Mails: 1, MailedAt: timestamppb.New(now),
	}
	wantAda := proto.CloneOf(want)
	wantAda.Address = "ada@example.org"
	same(t, res.GetItems(), []*accesspb.EmailInvitation{want, wantAda}, protocmp.IgnoreFields(&accesspb.EmailInvitation{}, "id"))
	ben, toAda := res.GetItems()[0], res.GetItems()[1]

	mails := e.invitationMails(t)
	if len(mails) != 2 || mails[0].event.GetInvitationId() != ben.GetId() {
		t.Fatalf("%v", mails)
	}
	same(t, mails[0].mail, &accesspb.InvitationMail{
		To: "ben@example.org", Inviter: "Zeno", Message: "Come in!", Code: mails[0].mail.GetCode(), ExpiresAt: want.GetExpiresAt(),
	})
	same(t, mails[0].event, &accesspb.InvitationMailRequested{InvitationId: ben.GetId(), CourseId: courseID, Locale: "de-AT"},
		protocmp.IgnoreFields(&accesspb.InvitationMailRequested{}, "mail_id", "sealed"))

	// What is at rest shows neither address nor message nor code.
	for _, table := range []string{"email_invitation", "invitation_address", "outbox", "idempotency"} {
		for _, secret := range []string{"ben@example.org", "Come in", mails[0].mail.GetCode()} {
			if n := query[int](t, e.db, `SELECT count(*) FROM `+table+` AS t WHERE t::text ILIKE '%' || $1 || '%' OR t::text LIKE '%' || encode(convert_to($1, 'UTF8'), 'hex') || '%'`, secret); n != 0 {
				t.Errorf("%s shows %q", table, secret)
			}
		}
	}

	// Ada sees hers and accepts it; a second time answers the same.
	list, err := e.emails().ListMyEmailInvitations(asAccount(t, ada), &accesspb.ListMyEmailInvitationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, list, &accesspb.ListMyEmailInvitationsResponse{Items: []*accesspb.EmailInvitation{toAda}})
	e.clock.Add(time.Hour)
	got, err := e.acceptMine(t, ada, toAda.GetId())
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, &accesspb.Entitlement{
		Id: got.GetId(), CourseId: courseID, AccountId: ada, Source: "code", SourceId: toAda.GetId(), State: "live",
		StartsAt: timestamppb.New(e.service.now()), EndsAt: timestamppb.New(e.service.now().Add(30 * 24 * time.Hour)),
	})
	for _, accept := range []func() (*accesspb.Entitlement, error){
		func() (*accesspb.Entitlement, error) { return e.acceptMine(t, ada, toAda.GetId()) },
		func() (*accesspb.Entitlement, error) { return e.acceptCode(t, ada, mails[1].mail.GetCode()) },
	} {
		again, err := accept()
		if err != nil {
			t.Fatal(err)
		}
		same(t, again, got)
	}
	_, err = e.acceptCode(t, id.New("account"), mails[1].mail.GetCode())
	wantCode(t, err, "invitation.invalid")

	// Whoever has the code of Ben's mail gets in by it, however it is typed.
	carl := e.account(t, "Carl", "carl@example.org", false)
	if _, err := e.acceptCode(t, carl, strings.ToLower(strings.ReplaceAll(mails[0].mail.GetCode(), "-", " "))); err != nil {
		t.Fatal(err)
	}
	staff, err := e.emails().ListEmailInvitations(asAccount(t, teacher), &accesspb.ListEmailInvitationsRequest{CourseId: courseID, State: "accepted"})
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]string{}
	for _, i := range staff.GetItems() {
		by[i.GetAddress()] = i.GetAcceptedBy()
	}
	same(t, by, map[string]string{"ada@example.org": ada, "ben@example.org": carl})

	// The address can be invited anew.
	if again := e.inviteByEmail(t, teacher, courseID, "ada@example.org"); again[0].GetId() == toAda.GetId() {
		t.Error("an accepted invitation is given out again")
	}
}

// A call that comes again with its key answers the same, with the addresses,
// which are not kept with the answer.
func TestEmailInvitationsOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, teacher := e.course(t, 0), id.New("account")
	ctx := rpc.WithIdempotencyKey(asAccount(t, teacher), "one")
	req := &accesspb.CreateEmailInvitationsRequest{CourseId: courseID, Addresses: []string{"ada@example.org"}, Message: "Come in!"}
	first, err := e.emails().CreateEmailInvitations(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	again, err := e.emails().CreateEmailInvitations(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	same(t, again, first)
	if n := len(e.invitationMails(t)); n != 1 {
		t.Errorf("%d mails", n)
	}
	for _, secret := range []string{"ada@example.org", "Come in"} {
		if n := query[int](t, e.db, `SELECT count(*) FROM idempotency WHERE position(convert_to($1, 'UTF8') IN result) > 0`, secret); n != 0 {
			t.Errorf("the kept answer shows %q", secret)
		}
	}
}

// An address that is invited keeps its invitation, whose end moves.
func TestEmailInvitationMoves(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, teacher := e.course(t, 0), id.New("account")
	first := e.inviteByEmail(t, teacher, courseID, "ada@example.org")[0]
	e.clock.Add(24 * time.Hour)
	both := e.inviteByEmail(t, teacher, courseID, "ben@example.org", "ADA@example.org")
	first.ExpiresAt = timestamppb.New(e.service.now().Add(30 * 24 * time.Hour))
	same(t, both[1], first)
	if n := len(e.invitationMails(t)); n != 2 {
		t.Errorf("%d mails, want 2", n)
	}
	// One that is past its end makes room.
	e.clock.Add(31 * 24 * time.Hour)
	if fresh := e.inviteByEmail(t, teacher, courseID, "ada@example.org")[0]; fresh.GetId() == first.GetId() {
		t.Error("an expired invitation is given out again")
	}
	got := e.states(t, courseID)
	same(t, got, []string{"ada@example.org open", "ben@example.org expired", "ada@example.org expired"})
	// In any order the list is whole, page by page.
	list, err := e.emails().ListEmailInvitations(asAccount(t, teacher), &accesspb.ListEmailInvitationsRequest{CourseId: courseID, State: "expired", PageSize: 1})
	if err != nil || len(list.GetItems()) != 1 || list.GetNextCursor() == "" {
		t.Fatalf("%v, %v", list, err)
	}
	list, err = e.emails().ListEmailInvitations(asAccount(t, teacher), &accesspb.ListEmailInvitationsRequest{
		CourseId: courseID, State: "expired", PageSize: 1, Cursor: list.GetNextCursor(),
	})
	if err != nil || len(list.GetItems()) != 1 || list.GetNextCursor() != "" || list.GetItems()[0].GetEndedAt() == nil {
		t.Fatalf("%v, %v", list, err)
	}
	// Time notes the end of Ben's, and then deletes what ended long ago with its key.
	tidy := func() {
		t.Helper()
		if err := e.service.tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	tidy()
	if n := query[int](t, e.db, `SELECT count(*) FROM email_invitation WHERE state = 'expired'`); n != 2 {
		t.Errorf("%d are noted as expired", n)
	}
	e.clock.Add(91 * 24 * time.Hour)
	tidy()
	tidy()
	if n := query[int](t, e.db, `SELECT count(*) FROM email_invitation`); n != 1 { // that one has ended by now, but not for 90 days
		t.Errorf("%d are left", n)
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM person_key`); n != 1 {
		t.Errorf("%d keys are left", n)
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM invitation_address`); n != 0 {
		t.Errorf("%d addresses are remembered", n)
	}
}

// states returns the invitations of a course, newest first.
func (e *env) states(t *testing.T, courseID string) []string {
	t.Helper()
	list, err := e.emails().ListEmailInvitations(asAccount(t, id.New("account")), &accesspb.ListEmailInvitationsRequest{CourseId: courseID, PageSize: 100})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range list.GetItems() {
		out = append(out, i.GetAddress()+" "+i.GetState())
	}
	return out
}

func TestEmailInvitationRefuses(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, teacher := e.course(t, 0), id.New("account")
	create := func(change func(*accesspb.CreateEmailInvitationsRequest)) error {
		req := &accesspb.CreateEmailInvitationsRequest{CourseId: courseID, Addresses: []string{"ada@example.org"}}
		change(req)
		_, err := e.emails().CreateEmailInvitations(asAccount(t, teacher), req)
		return err
	}
	wantCode(t, create(func(r *accesspb.CreateEmailInvitationsRequest) {
		r.Addresses = []string{"ada@example.org", "", "Ada <a@b.org>"}
	}),
		"email.invalid", "addresses[1]", "addresses[2]")
	wantCode(t, create(func(r *accesspb.CreateEmailInvitationsRequest) { r.Locale = "none such" }), "invitation.locale", "locale")
	for _, at := range []time.Time{e.service.now(), e.service.now().Add(400 * 24 * time.Hour)} {
		wantCode(t, create(func(r *accesspb.CreateEmailInvitationsRequest) { r.ExpiresAt = timestamppb.New(at) }), "invitation.expires_at", "expires_at")
	}
	wantCode(t, create(func(r *accesspb.CreateEmailInvitationsRequest) { r.CourseId = id.New("course") }), "invitation.course_unpublished")
	if n := len(e.events(t)); n != 0 {
		t.Errorf("%d events", n)
	}

	ada := e.account(t, "Ada", "ada@example.org", false)
	i := e.inviteByEmail(t, teacher, courseID, "ada@example.org")[0]
	// While her address is not verified there is nothing for her.
	list, err := e.emails().ListMyEmailInvitations(asAccount(t, ada), &accesspb.ListMyEmailInvitationsRequest{})
	if err != nil || len(list.GetItems()) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	_, err = e.acceptMine(t, ada, i.GetId())
	wantCode(t, err, "invitation.not_found")
	decline := func(account string) error {
		_, err := e.emails().DeclineEmailInvitation(asAccount(t, account), &accesspb.DeclineEmailInvitationRequest{InvitationId: i.GetId()})
		return err
	}
	wantCode(t, decline(ada), "invitation.not_found")
	deliver(t, e, e.service.accountUpdated, &identitypb.AccountUpdated{AccountId: ada, Name: "Ada", Email: "ada@example.org", EmailVerified: true, Version: 2})
	_, err = e.acceptMine(t, e.account(t, "Ben", "ben@example.org", true), i.GetId())
	wantCode(t, err, "invitation.not_found")
	// Who teaches needs none.
	exec(t, e.db, `INSERT INTO role_grant (account_id, course_id, role, granted_by, granted_at) VALUES ($1, $2, 'grader', 'x', now())`, teacher, courseID)
	code := e.invitationMails(t)[0].mail.GetCode()
	_, err = e.acceptCode(t, teacher, code)
	wantCode(t, err, "enrollment.own_course")

	for range 2 { // the second changes nothing
		if err := decline(ada); err != nil {
			t.Fatal(err)
		}
	}
	_, err = e.acceptMine(t, ada, i.GetId())
	wantCode(t, err, "invitation.invalid")
	_, err = e.acceptCode(t, ada, code)
	wantCode(t, err, "invitation.invalid")
	same(t, e.states(t, courseID), []string{"ada@example.org declined"})
}

func TestResendAndRevoke(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, teacher := e.course(t, 0), id.New("account")
	i := e.inviteByEmail(t, teacher, courseID, "ada@example.org")[0]
	resend := func(course string) (*accesspb.EmailInvitation, error) {
		return e.emails().ResendEmailInvitation(asAccount(t, teacher), &accesspb.ResendEmailInvitationRequest{CourseId: course, InvitationId: i.GetId()})
	}
	_, err := resend(e.course(t, 0))
	wantCode(t, err, "invitation.not_found")
	for n := range 2 {
		_, err = resend(courseID)
		wantCode(t, err, "invitation.mail_rate")
		if f, ok := errors.AsType[*fault.Error](err); !ok || f.Retry != time.Hour {
			t.Errorf("come back in %v", f.Retry)
		}
		e.clock.Add(time.Hour)
		got, err := resend(courseID)
		if err != nil {
			t.Fatal(err)
		}
		if got.GetMails() != int32(n+2) || got.GetAddress() != "ada@example.org" {
			t.Errorf("%v", got)
		}
	}
	e.clock.Add(time.Hour)
	_, err = resend(courseID) // three are enough
	wantCode(t, err, "invitation.mail_rate")
	mails := e.invitationMails(t)
	if len(mails) != 3 {
		t.Fatalf("%d mails", len(mails))
	}
	for n, m := range mails[:2] {
		_, err := e.acceptCode(t, id.New("account"), m.mail.GetCode())
		if err == nil {
			t.Errorf("the code of mail %d lets in", n)
		}
	}
	revoke := func(course string) error {
		_, err := e.emails().RevokeEmailInvitation(asAccount(t, teacher), &accesspb.RevokeEmailInvitationRequest{CourseId: course, InvitationId: i.GetId()})
		return err
	}
	wantCode(t, revoke(e.course(t, 0)), "invitation.not_found")
	for range 2 {
		if err := revoke(courseID); err != nil {
			t.Fatal(err)
		}
	}
	_, err = e.acceptCode(t, id.New("account"), mails[2].mail.GetCode())
	wantCode(t, err, "invitation.invalid")
	_, err = resend(courseID)
	wantCode(t, err, "invitation.ended")
}

// One address is sent five mails a day, over all courses; the answers are alike.
func TestMailsToOneAddress(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	teacher := id.New("account")
	var wg sync.WaitGroup
	var courses []string
	for range 12 {
		courses = append(courses, e.course(t, 0))
	}
	for _, courseID := range courses { // all at once
		wg.Go(func() {
			got, err := e.emails().CreateEmailInvitations(asAccount(t, teacher), &accesspb.CreateEmailInvitationsRequest{
				CourseId: courseID, Addresses: []string{"ada@example.org", "ben@example.org"},
			})
			if err != nil || got.GetItems()[0].GetMails() != 1 || got.GetItems()[0].GetState() != "open" {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	wg.Wait()
	to := map[string]int{}
	for _, m := range e.invitationMails(t) {
		to[m.mail.GetTo()]++
	}
	same(t, to, map[string]int{"ada@example.org": 5, "ben@example.org": 5})
	e.clock.Add(24 * time.Hour)
	e.inviteByEmail(t, teacher, e.course(t, 0), "ada@example.org")
	if n := len(e.invitationMails(t)); n != 11 {
		t.Errorf("%d mails a day later, want 11", n)
	}
}

func TestInvitationQuota(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, teacher, staff := e.course(t, 0), id.New("account"), id.New("account")
	if err := GrantPlatformRole(t.Context(), e.db, staff, "support"); err != nil {
		t.Fatal(err)
	}
	exec(t, e.db, `UPDATE role_grant SET granted_at = $1`, e.service.now())
	invite := func(by, course string, from, n int) error {
		var list []emailInvite
		for i := range n {
			list = append(list, emailInvite{address: fmt.Sprintf("somebody%d@example.org", from+i)})
		}
		return e.db.InTx(t.Context(), func(tx *pg.Tx) error {
			_, err := e.service.invite(t.Context(), tx, course, list, inviteTerms{by: by, locale: "en", expiresAt: e.service.now().Add(time.Hour)})
			return err
		})
	}
	for i := range 2 {
		if err := invite(teacher, courseID, 500*i, 500); err != nil {
			t.Fatal(err)
		}
	}
	if err := invite(teacher, courseID, 0, 500); err != nil { // none is new
		t.Fatal(err)
	}
	err := invite(teacher, e.course(t, 0), 0, 1)
	wantCode(t, err, "invitation.quota")
	if f, ok := errors.AsType[*fault.Error](err); !ok || f.Retry < 23*time.Hour || f.Retry > 25*time.Hour {
		t.Errorf("come back in %v", f.Retry)
	}
	for i := range 3 {
		if err := invite(staff, e.course(t, 0), 500*i, 500); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(e.invitationMails(t)); n != 0 {
		t.Errorf("%d mails that nobody asked for", n)
	}
	e.clock.Add(25 * time.Hour)
	if err := invite(teacher, courseID, 2000, 1); err != nil {
		t.Error(err)
	}
}

// The statements are the same for one address and for hundreds.
func TestInviteIsSetBased(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID := e.course(t, 0)
	invite := func(list ...emailInvite) []emailInvitation {
		t.Helper()
		var got []emailInvitation
		err := e.db.InTx(t.Context(), func(tx *pg.Tx) (err error) {
			got, err = e.service.invite(t.Context(), tx, courseID, list, inviteTerms{by: "access", locale: "en", mail: true, expiresAt: e.service.now().Add(time.Hour)})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	var list []emailInvite
	for i := range 500 {
		list = append(list, emailInvite{address: fmt.Sprintf("somebody%d@example.org", i)})
	}
	began := time.Now()
	got := invite(append(list, list[7])...)
	t.Logf("500 in %v", time.Since(began))
	if len(got) != 501 || got[500].ID != got[7].ID || got[0].to != "somebody0@example.org" {
		t.Errorf("%d, %v", len(got), got[500])
	}
	again := invite(list[3], list[1])
	if again[0].ID != got[3].ID || again[1].ID != got[1].ID {
		t.Error("not in the order of the list")
	}
	if got := invite(); got != nil {
		t.Error("nobody is invited")
	}
}

// A hundred people use one code at once: one gets in.
func TestOneCodeAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID := e.course(t, 0)
	e.inviteByEmail(t, id.New("account"), courseID, "ada@example.org")
	code := e.invitationMails(t)[0].mail.GetCode()
	var in, out atomic.Int32
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			_, err := e.acceptCode(t, id.New("account"), code)
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
}

// Many invite one address to one course at once: it is invited once.
func TestInviteAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID := e.course(t, 0)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { e.inviteByEmail(t, id.New("account"), courseID, "ada@example.org", "ben@example.org") })
	}
	wg.Wait()
	same(t, e.states(t, courseID), []string{"ben@example.org open", "ada@example.org open"})
	if n := len(e.invitationMails(t)); n != 2 {
		t.Errorf("%d mails", n)
	}
}

func TestVerifiedAccounts(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ada := e.account(t, "Ada", "ada@example.org", true)
	e.account(t, "Ben", "ben@example.org", false)
	for range 2 {
		e.account(t, "Carl", "carl@example.org", true)
	}
	index := func(address string) []byte { return email.Index(e.service.vault.Keys(), Schema.Name, address) }
	got, err := e.service.verifiedAccounts(t.Context(), e.db, [][]byte{index("ADA@example.org"), index("ben@example.org"), index("carl@example.org"), index("x@example.org")})
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, map[string]string{string(index("ada@example.org")): ada})
}

func TestEmailInvitationWithDates(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, teacher := e.course(t, 4900), id.New("account")
	now := e.service.now()
	from, ends := now.Add(48*time.Hour), now.Add(72*time.Hour)
	create := func(req *accesspb.CreateEmailInvitationsRequest) (*accesspb.CreateEmailInvitationsResponse, error) {
		req.CourseId, req.Addresses = courseID, []string{"ada@example.org"}
		return e.emails().CreateEmailInvitations(asAccount(t, teacher), req)
	}
	for _, req := range []*accesspb.CreateEmailInvitationsRequest{
		{AccessEnds: timestamppb.New(now)},
		{AccessFrom: timestamppb.New(ends), AccessEnds: timestamppb.New(ends)},
	} {
		_, err := create(req)
		wantCode(t, err, "entitlement.period")
	}
	_, err := create(&accesspb.CreateEmailInvitationsRequest{AccessEnds: timestamppb.New(ends), AccessDays: 3})
	wantCode(t, err, "invitation.access")
	if _, err := create(&accesspb.CreateEmailInvitationsRequest{AccessDays: 3}); err != nil {
		t.Fatal(err)
	}
	// Inviting again gives other times.
	made, err := create(&accesspb.CreateEmailInvitationsRequest{AccessFrom: timestamppb.New(from), AccessEnds: timestamppb.New(ends)})
	if err != nil {
		t.Fatal(err)
	}
	if got := made.GetItems()[0]; !got.GetExpiresAt().AsTime().Equal(ends) || !got.GetAccessFrom().AsTime().Equal(from) {
		t.Errorf("%v", got)
	}
	ada := e.account(t, "Ada", "ada@example.org", true)
	got, err := e.acceptMine(t, ada, made.GetItems()[0].GetId())
	if err != nil {
		t.Fatal(err)
	}
	if !got.GetStartsAt().AsTime().Equal(from) || !got.GetEndsAt().AsTime().Equal(ends) || got.GetState() != "scheduled" {
		t.Errorf("%v", got)
	}
}
