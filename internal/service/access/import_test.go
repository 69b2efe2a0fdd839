package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

func (e *env) imports() accesspb.ImportServiceClient {
	return accesspb.NewImportServiceClient(e.harness.As("edge"))
}

// holder makes an account that has a role on a course, or on the platform.
func (e *env) holder(t fataler, role, courseID string) string {
	t.Helper()
	account := id.New("account")
	exec(t, e.db, `INSERT INTO role_grant (account_id, course_id, role, granted_by, granted_at) VALUES ($1, $2, $3, 'x', now())`, account, courseID, role)
	return account
}

// uploads sends a file in pieces of a few bytes.
func (e *env) uploads(ctx context.Context, req *accesspb.UploadImportRequest, content string) (*accesspb.Import, error) {
	stream, err := e.imports().UploadImport(ctx)
	if err != nil {
		return nil, err
	}
	const piece = 1000
	for first := true; first || content != ""; first = false {
		n := min(piece, len(content))
		req.Chunk, content = []byte(content[:n]), content[n:]
		if err := stream.Send(req); err != nil {
			break // what is received says why
		}
		req = &accesspb.UploadImportRequest{}
	}
	return stream.CloseAndRecv()
}

// importsFile uploads a file.
func (e *env) importsFile(t *testing.T, account string, req *accesspb.UploadImportRequest, lines ...string) *accesspb.Import {
	t.Helper()
	got, err := e.uploads(asAccount(t, account), req, strings.Join(lines, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// runs applies all rows that are due.
func (e *env) runs(t *testing.T) {
	t.Helper()
	if err := e.service.runImports(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// imported returns an import as it is now.
func (e *env) imported(t *testing.T, i *accesspb.Import) *accesspb.Import {
	t.Helper()
	got, err := e.imports().GetImport(asAccount(t, i.GetCreatedBy()), &accesspb.GetImportRequest{CourseId: i.GetCourseId(), ImportId: i.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// report returns what became of the rows.
func (e *env) report(ctx context.Context, req *accesspb.ExportImportReportRequest) ([]*accesspb.ImportRow, error) {
	stream, err := e.imports().ExportImportReport(ctx, req)
	if err != nil {
		return nil, err
	}
	var out []*accesspb.ImportRow
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, res.GetRows()...)
	}
}

// outcomes returns the report in short: line, outcome, code and column.
func (e *env) outcomes(t *testing.T, i *accesspb.Import) []string {
	t.Helper()
	rows, err := e.report(asAccount(t, i.GetCreatedBy()), &accesspb.ExportImportReportRequest{CourseId: i.GetCourseId(), ImportId: i.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range rows {
		out = append(out, strings.TrimRight(fmt.Sprint(r.GetLine(), " ", r.GetOutcome(), " ", r.GetCode(), " ", r.GetField()), " "))
		if (r.GetOutcome() == outcomeRefused) != (r.GetHint() != "") || (r.GetOutcome() == outcomeRefused) != (r.GetCode() != "") {
			t.Errorf("%v", r)
		}
		if !i.GetDryRun() && ((r.GetOutcome() == outcomeEnrolled) != (r.GetEntitlementId() != "") || (r.GetOutcome() == outcomeInvited) != (r.GetInvitationId() != "")) {
			t.Errorf("%v", r)
		}
		if i.GetDryRun() && r.GetEntitlementId()+r.GetInvitationId() != "" {
			t.Errorf("%v", r)
		}
	}
	return out
}

// recorded counts the entries of the audit log with an action.
func (e *env) recorded(t *testing.T, action string) int {
	t.Helper()
	return query[int](t, e.db, `SELECT count(*) FROM outbox WHERE name = 'stoa.record.v1.Recorded' AND position($1::bytea IN payload) > 0`, []byte(action))
}

func TestImport(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID := e.course(t, 4900)
	teacher := e.holder(t, roleOwner, courseID)
	ada, bob, cem := e.person(t), e.person(t), e.person(t)
	now := timestamppb.New(e.service.now())
	i := e.importsFile(t, teacher, &accesspb.UploadImportRequest{CourseId: courseID, Locale: "de-at"},
		"\ufeffaccount_id;starts_at;ends_at;reason\r",
		ada+";;;Class of May\r",
		bob+";2030-06-01;2030-07-01T00:00:00+02:00;\r",
		ada+";2030-06-01;;\r",
		"\r",
		id.New("account")+";;;\r",
		teacher+";;;\r",
		"nobody;;;\r",
		cem+";;2031-01-01;")
	same(t, i, &accesspb.Import{
		Id: i.GetId(), CourseId: courseID, State: "queued", Locale: "de-AT", Rows: 7, CreatedBy: teacher, CreatedAt: now,
	})
	deliver(t, e, e.service.accountCreated, &identitypb.AccountCreated{AccountId: teacher, Name: "Teacher"})
	e.clock.Add(time.Minute)
	e.runs(t)
	same(t, e.imported(t, i), &accesspb.Import{
		Id: i.GetId(), CourseId: courseID, State: "done", Locale: "de-AT", Rows: 7, Enrolled: 3, Already: 1, Refused: 3,
		CreatedBy: teacher, CreatedAt: now, FinishedAt: timestamppb.New(e.service.now()),
	})
	same(t, e.outcomes(t, i), []string{
		"2 enrolled", "3 enrolled", "4 already", "6 refused account.unknown account_id", "7 refused enrollment.own_course", "8 refused id.invalid account_id", "9 enrolled",
	})
	grants, err := e.ledger().ListEntitlements(asAccount(t, teacher), &accesspb.ListEntitlementsRequest{CourseId: courseID})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]*accesspb.Entitlement{}
	for _, g := range grants.GetItems() {
		got[g.GetAccountId()] = g
	}
	want := func(account string, line int, g *accesspb.Entitlement) *accesspb.Entitlement {
		g.Id, g.CourseId, g.AccountId, g.Source, g.SourceId, g.GrantedBy = got[account].GetId(), courseID, account, "manual", fmt.Sprint(i.GetId(), "/", line), teacher
		return g
	}
	same(t, got, map[string]*accesspb.Entitlement{
		ada: want(ada, 2, &accesspb.Entitlement{StartsAt: now, State: "live", Reason: "Class of May"}),
		bob: want(bob, 3, &accesspb.Entitlement{
			StartsAt: timestamppb.New(time.Date(2030, 6, 1, 0, 0, 0, 0, time.UTC)), EndsAt: timestamppb.New(time.Date(2030, 6, 30, 22, 0, 0, 0, time.UTC)), State: "scheduled",
		}),
		cem: want(cem, 9, &accesspb.Entitlement{StartsAt: now, EndsAt: timestamppb.New(time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)), State: "live"}),
	})
	if !e.reads(t, ada, courseID) || e.reads(t, bob, courseID) {
		t.Error("access does not follow")
	}
	same(t, e.told(t), []string{"EnrollmentStarted", "EnrollmentStarted"})
	for action, n := range map[string]int{"import.created": 1, "import.finished": 1, "entitlement.granted": 3} {
		if got := e.recorded(t, action); got != n {
			t.Errorf("%s is recorded %d times", action, got)
		}
	}

	// The same file again gives nobody anything, whoever sends it.
	e.clock.Add(time.Hour)
	again := e.importsFile(t, e.holder(t, roleCoTeacher, courseID), &accesspb.UploadImportRequest{CourseId: courseID},
		"account_id,starts_at,ends_at", ada+",,", bob+",2030-06-01,2030-06-30T22:00:00Z", cem+",,2031-01-01", cem+",,2031-01-02", bob+",,")
	e.runs(t)
	same(t, e.outcomes(t, again), []string{"2 already", "3 already", "4 already", "5 already", "6 already"})
	// Another time is another grant.
	longer := e.importsFile(t, teacher, &accesspb.UploadImportRequest{CourseId: courseID}, "account_id,ends_at", cem+",2031-01-02", bob+",")
	e.runs(t)
	same(t, e.outcomes(t, longer), []string{"2 enrolled", "3 enrolled"})
}

// TestImportOnce: the same key with the same file is one import.
func TestImportOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID := e.course(t, 0)
	teacher := e.holder(t, roleOwner, courseID)
	file := "account_id\n" + e.person(t)
	send := func(key string, req *accesspb.UploadImportRequest, content string) (*accesspb.Import, error) {
		req.CourseId = courseID
		return e.uploads(rpc.WithIdempotencyKey(asAccount(t, teacher), key), req, content)
	}
	first, err := send("a", &accesspb.UploadImportRequest{}, file)
	if err != nil {
		t.Fatal(err)
	}
	e.runs(t)
	again, err := send("a", &accesspb.UploadImportRequest{}, file)
	if err != nil {
		t.Fatal(err)
	}
	same(t, again, first)
	for _, c := range []struct {
		req     *accesspb.UploadImportRequest
		content string
	}{{&accesspb.UploadImportRequest{}, file + "\n"}, {&accesspb.UploadImportRequest{DryRun: true}, file}, {&accesspb.UploadImportRequest{Invite: true}, file}} {
		_, err := send("a", c.req, c.content)
		wantCode(t, err, "idempotency.key_reused")
	}
	if err := e.service.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := e.imports().ListImports(asAccount(t, teacher), &accesspb.ListImportsRequest{CourseId: courseID})
	if err != nil || len(list.GetItems()) != 1 || query[int](t, e.db, `SELECT count(*) FROM import`) != 1 || query[int](t, e.db, `SELECT count(*) FROM import_row`) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestImportByAddress(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID := e.course(t, 4900)
	teacher, support := e.holder(t, roleOwner, courseID), e.holder(t, "support", "")
	ada := e.account(t, "Ada", "ada@example.org", true)
	e.account(t, "Bob", "bob@example.org", false)
	file := []string{
		"email,ends_at,account_id", "ADA@example.org,,", "bob@example.org,,", "new@example.org,,", "ada@example.org,,", "no address,,",
		"NEW@example.org,,", "ada@example.org,2031-01-01,", "dated@example.org,2031-01-01,", "," + "," + ada,
	}
	e.clock.Add(time.Second)

	// Who may not look accounts up learns nothing of them.
	dry := e.importsFile(t, teacher, &accesspb.UploadImportRequest{CourseId: courseID, DryRun: true, Invite: true}, file...)
	e.runs(t)
	told := []string{
		"2 invited", "3 invited", "4 invited", "5 already", "6 refused email.invalid email", "7 already", "8 already",
		"9 invited", "10 enrolled",
	}
	same(t, e.outcomes(t, dry), told)
	if n := query[int](t, e.db, `SELECT (SELECT count(*) FROM email_invitation) + (SELECT count(*) FROM entitlement) + (SELECT count(*) FROM enrollment)`); n != 0 || len(e.events(t)) != 0 {
		t.Errorf("a dry run has written %d rows and said %v", n, e.events(t))
	}
	same(t, e.imported(t, dry), &accesspb.Import{Rows: 9, Enrolled: 1, Already: 3, Invited: 4, Refused: 1, DryRun: true, Invite: true, State: "done"},
		protocmp.IgnoreFields(&accesspb.Import{}, "id", "course_id", "locale", "created_by", "created_at", "finished_at"))

	e.clock.Add(time.Second)
	i := e.importsFile(t, teacher, &accesspb.UploadImportRequest{CourseId: courseID, Locale: "de"}, file...)
	e.runs(t)
	same(t, e.outcomes(t, i), told)
	if mails := e.invitationMails(t); len(mails) != 0 {
		t.Errorf("%d mails that nobody asked for", len(mails))
	}
	mine, err := e.emails().ListMyEmailInvitations(asAccount(t, ada), &accesspb.ListMyEmailInvitationsRequest{})
	if err != nil || len(mine.GetItems()) != 1 || mine.GetItems()[0].GetCourseId() != courseID {
		t.Fatalf("%v, %v", mine, err)
	}
	if _, err := e.acceptMine(t, ada, mine.GetItems()[0].GetId()); err != nil {
		t.Fatal(err)
	}
	// No address is left, sealed or not.
	if n := query[int](t, e.db, `SELECT count(*) FROM import_row WHERE address IS NOT NULL OR reason IS NOT NULL`); n != 0 {
		t.Errorf("%d addresses are kept", n)
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM person_key WHERE person = ANY($1)`, []string{i.GetId(), dry.GetId()}); n != 0 {
		t.Error("the key is kept")
	}

	// Again: who was invited keeps it, who has accepted is left alone.
	e.clock.Add(time.Second)
	again := e.importsFile(t, teacher, &accesspb.UploadImportRequest{CourseId: courseID, Invite: true}, "email", "ada@example.org", "bob@example.org", "other@example.org")
	e.runs(t)
	same(t, e.outcomes(t, again), []string{"2 already", "3 already", "4 invited"})
	if mails := e.invitationMails(t); len(mails) != 1 || mails[0].mail.GetTo() != "other@example.org" {
		t.Errorf("%v", mails)
	}

	// Who may look accounts up enrolls whose address it is, unless a token says no.
	other := e.course(t, 4900)
	upload := func(ctx context.Context) *accesspb.Import {
		t.Helper()
		e.clock.Add(time.Second)
		i, err := e.uploads(ctx, &accesspb.UploadImportRequest{CourseId: other}, strings.Join(file, "\n"))
		if err != nil {
			t.Fatal(err)
		}
		e.runs(t)
		return i
	}
	limited := upload(auth.With(t.Context(), auth.Principal{Account: support, Token: id.New("token"), Scopes: "enrollment.manage"}))
	same(t, e.outcomes(t, limited), told)
	exec(t, e.db, `UPDATE entitlement SET revoked_at = now(), revoke_reason = 'x' WHERE course_id = $1`, other)
	exec(t, e.db, `DELETE FROM email_invitation WHERE course_id = $1`, other)
	whole := upload(asAccount(t, support))
	same(t, e.outcomes(t, whole), []string{
		"2 enrolled", "3 invited", "4 invited", "5 already", "6 refused email.invalid email", "7 already", "8 already",
		"9 invited", "10 already",
	})
}

// TestImportInvitationsRefused: as invitations are refused, so are rows.
func TestImportInvitationsRefused(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, draft := e.course(t, 0), id.New("course")
	teacher := e.holder(t, roleOwner, courseID)
	exec(t, e.db, `INSERT INTO role_grant (account_id, course_id, role, granted_by, granted_at) VALUES ($1, $2, 'owner', 'x', now())`, teacher, draft)
	i := e.importsFile(t, teacher, &accesspb.UploadImportRequest{CourseId: draft}, "email,account_id", "ada@example.org,", ","+e.person(t), "ada@example.org,")
	e.runs(t)
	same(t, e.outcomes(t, i), []string{"2 refused invitation.course_unpublished", "3 enrolled", "4 refused invitation.course_unpublished"})

	lines := []string{"email"}
	for n := range maxInvitesOfOne + 1 {
		lines = append(lines, fmt.Sprintf("person%d@example.org", n))
	}
	e.clock.Add(time.Second)
	i = e.importsFile(t, teacher, &accesspb.UploadImportRequest{CourseId: courseID}, lines...)
	e.runs(t)
	got := e.imported(t, i)
	if got.GetInvited() != maxInvitesOfOne || got.GetRefused() != 1 || !slices.Contains(e.outcomes(t, i), fmt.Sprint(maxInvitesOfOne+2, " refused invitation.quota")) {
		t.Errorf("%v", got)
	}
	// The same file the day after invites who is left.
	e.clock.Add(25 * time.Hour)
	i = e.importsFile(t, teacher, &accesspb.UploadImportRequest{CourseId: courseID}, lines...)
	e.runs(t)
	if got := e.imported(t, i); got.GetInvited() != 1 || got.GetAlready() != maxInvitesOfOne {
		t.Errorf("%v", got)
	}
}

// people makes accounts known, and a file of them.
func (e *env) people(t fataler, n int) []string {
	t.Helper()
	out := make([]string, n)
	for k := range out {
		out[k] = id.New("account")
	}
	exec(t, e.db, `INSERT INTO person (account_id, name, version) SELECT unnest($1::text[]), 'Somebody', 1`, out)
	return out
}

// TestImportGoesOn: rows that one process has applied are not applied by the
// next, which goes on behind them.
func TestImportGoesOn(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID := e.course(t, 0)
	teacher := e.holder(t, roleOwner, courseID)
	i := e.importsFile(t, teacher, &accesspb.UploadImportRequest{CourseId: courseID}, append([]string{"account_id"}, e.people(t, 2*importBatch+1)...)...)
	for _, want := range []string{"running", "running", "done"} {
		// A process that is killed in a batch has done nothing of it.
		ctx, kill := context.WithCancel(t.Context())
		err := e.db.InTx(ctx, func(tx *pg.Tx) error {
			list, err := imports(ctx, tx, `SELECT `+importJobColumns+` FROM import WHERE id = $1 FOR UPDATE`, i.GetId())
			if err != nil {
				return err
			}
			if err := e.service.applyRows(ctx, tx, list[0]); err != nil {
				return err
			}
			kill()
			return ctx.Err()
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		next := New(Config{DB: e.db, Log: rpctest.Log(t), Now: e.clock.Now, Vault: e.service.vault})
		await(t, func() bool { // that the database has noticed
			worked, err := next.runImport(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return worked
		})
		if got := e.imported(t, i); got.GetState() != want || int(got.GetEnrolled()) != query[int](t, e.db, `SELECT count(*) FROM entitlement`) {
			t.Fatalf("%v", got)
		}
	}
	if worked, err := e.service.runImport(t.Context()); worked || err != nil {
		t.Errorf("%t, %v", worked, err)
	}
	if got := e.imported(t, i); got.GetEnrolled() != 2*importBatch+1 {
		t.Errorf("%v", got)
	}
}

// TestImportWorkers: many at once are as one, and one import of a course comes
// after the other.
func TestImportWorkers(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	first, second := e.course(t, 0), e.course(t, 0)
	admin := e.holder(t, roleAdmin, "")
	file := append([]string{"account_id"}, e.people(t, 3*importBatch)...)
	var all []*accesspb.Import
	for _, courseID := range []string{first, first, second} {
		all = append(all, e.importsFile(t, admin, &accesspb.UploadImportRequest{CourseId: courseID}, file...))
		e.clock.Add(time.Second)
	}
	done := func() bool { return query[int](t, e.db, `SELECT count(*) FROM import WHERE finished_at IS NULL`) == 0 }
	var wg sync.WaitGroup
	for range 4 {
		s := New(Config{DB: e.db, Log: rpctest.Log(t), Now: e.clock.Now, Vault: e.service.vault})
		wg.Go(func() {
			for !done() {
				if err := s.runImports(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for n, want := range []*accesspb.Import{{Enrolled: 3 * importBatch}, {Already: 3 * importBatch}, {Enrolled: 3 * importBatch}} {
		got := e.imported(t, all[n])
		if got.GetState() != "done" || got.GetEnrolled() != want.GetEnrolled() || got.GetAlready() != want.GetAlready() {
			t.Errorf("%d: %v", n, got)
		}
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM entitlement`); n != 6*importBatch {
		t.Errorf("%d grants", n)
	}
}

func TestImportEndsEarly(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID := e.course(t, 0)
	teacher := e.holder(t, roleOwner, courseID)
	file := append([]string{"account_id"}, e.people(t, importBatch+1)...)
	cancel := func(i *accesspb.Import) (*accesspb.Import, error) {
		return e.imports().CancelImport(asAccount(t, teacher), &accesspb.CancelImportRequest{CourseId: courseID, ImportId: i.GetId()})
	}
	one := func() {
		t.Helper()
		if worked, err := e.service.runImport(t.Context()); !worked || err != nil {
			t.Fatalf("%t, %v", worked, err)
		}
	}
	cancelled := e.importsFile(t, teacher, &accesspb.UploadImportRequest{CourseId: courseID}, file...)
	one()
	for range 2 { // the second changes nothing
		if got, err := cancel(cancelled); err != nil || got.GetState() != "cancelled" || got.GetEnrolled() != importBatch || got.GetFinishedAt() == nil {
			t.Fatalf("%v, %v", got, err)
		}
	}
	if worked, err := e.service.runImport(t.Context()); worked || err != nil {
		t.Errorf("%t, %v", worked, err)
	}
	if got := e.outcomes(t, cancelled); got[len(got)-1] != fmt.Sprint(importBatch+2, " waiting") {
		t.Errorf("%v", got[len(got)-1])
	}

	// Who may not let people in any more lets nobody in.
	failed := e.importsFile(t, teacher, &accesspb.UploadImportRequest{CourseId: courseID}, append(file, e.person(t))...)
	one()
	exec(t, e.db, `DELETE FROM role_grant WHERE account_id = $1`, teacher)
	one()
	if got := e.imported(t, failed); got.GetState() != "failed" || got.GetCode() != "import.permission" || got.GetAlready() != importBatch || got.GetEnrolled() != 0 {
		t.Errorf("%v", got)
	}
	_, err := cancel(failed)
	wantCode(t, err, "import.finished")
	_, err = e.imports().CancelImport(asAccount(t, teacher), &accesspb.CancelImportRequest{CourseId: courseID, ImportId: id.New("import")})
	wantCode(t, err, "import.not_found")
	for action, n := range map[string]int{"import.created": 2, "import.cancelled": 1, "import.failed": 1, "import.finished": 0} {
		if got := e.recorded(t, action); got != n {
			t.Errorf("%s is recorded %d times", action, got)
		}
	}

	// All of it is deleted after 30 days.
	e.clock.Add(keepImports)
	if _, err := e.report(asAccount(t, teacher), &accesspb.ExportImportReportRequest{CourseId: courseID, ImportId: failed.GetId()}); err == nil {
		t.Error("an import is told that is about to be deleted")
	}
	if err := e.service.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, e.db, `SELECT (SELECT count(*) FROM import) + (SELECT count(*) FROM import_row) + (SELECT count(*) FROM person_key)`); n != 0 {
		t.Errorf("%d rows are kept", n)
	}
}

// TestImportThatBreaks: rows that can't be applied hold up no others, and are
// given up.
func TestImportThatBreaks(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, other := e.course(t, 0), e.course(t, 0)
	admin := e.holder(t, roleAdmin, "")
	broken := e.importsFile(t, admin, &accesspb.UploadImportRequest{CourseId: courseID}, "email", "ada@example.org")
	exec(t, e.db, `UPDATE import_row SET address = '\x00'`)
	e.clock.Add(time.Second)
	sound := e.importsFile(t, admin, &accesspb.UploadImportRequest{CourseId: other}, "account_id", e.person(t))
	fails := func() {
		t.Helper()
		if worked, err := e.service.runImport(t.Context()); !worked || err == nil {
			t.Fatalf("%t, %v", worked, err)
		}
	}
	fails()
	e.runs(t)
	if got := e.imported(t, sound); got.GetState() != "done" {
		t.Errorf("%v", got)
	}
	for range maxImportFailures {
		if got := e.imported(t, broken); got.GetState() != "queued" {
			t.Fatalf("%v", got)
		}
		e.clock.Add(5 * time.Minute)
		fails()
	}
	if got := e.imported(t, broken); got.GetState() != "failed" || got.GetCode() != "import.broken" {
		t.Errorf("%v", got)
	}
}

func TestImportUploads(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID := e.course(t, 0)
	teacher := e.holder(t, roleOwner, courseID)
	ctx := asAccount(t, teacher)
	for content, want := range map[string]string{
		"": "import.empty", "email\n\n": "import.empty", "email,name\n": "import.column", "\xff\n": "import.encoding",
	} {
		_, err := e.uploads(ctx, &accesspb.UploadImportRequest{CourseId: courseID}, content)
		wantCode(t, err, want)
	}
	_, err := e.uploads(ctx, &accesspb.UploadImportRequest{CourseId: courseID, Locale: "?"}, "email\nada@example.org")
	wantCode(t, err, "invitation.locale")
	stream, err := e.imports().UploadImport(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.CloseAndRecv()
	wantCode(t, err, "import.empty")

	// An upload that breaks off becomes no import.
	breaking, stop := context.WithCancel(ctx)
	if stream, err = e.imports().UploadImport(breaking); err != nil {
		t.Fatal(err)
	}
	chunk := "email\n" + strings.Repeat("ada@example.org\n", importBatch+1)
	if err := stream.Send(&accesspb.UploadImportRequest{CourseId: courseID, Chunk: []byte(chunk)}); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return query[int](t, e.db, `SELECT coalesce(max(total), 0) FROM import`) == importBatch })
	list := func() []*accesspb.Import {
		t.Helper()
		got, err := e.imports().ListImports(ctx, &accesspb.ListImportsRequest{CourseId: courseID})
		if err != nil {
			t.Fatal(err)
		}
		return got.GetItems()
	}
	if got := list(); len(got) != 1 || got[0].GetState() != "uploading" || got[0].GetRows() != importBatch {
		t.Errorf("%v", got)
	}
	e.runs(t)
	stop()
	await(t, func() bool { return len(list()) == 0 })

	// One that is cancelled comes to no end.
	if stream, err = e.imports().UploadImport(ctx); err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&accesspb.UploadImportRequest{CourseId: courseID, Chunk: []byte(chunk)}); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return len(list()) == 1 && list()[0].GetRows() == importBatch })
	if _, err := e.imports().CancelImport(ctx, &accesspb.CancelImportRequest{CourseId: courseID, ImportId: list()[0].GetId()}); err != nil {
		t.Fatal(err)
	}
	_, err = stream.CloseAndRecv()
	wantCode(t, err, "import.gone")
	exec(t, e.db, `UPDATE import SET delete_at = $1`, e.service.now())

	// One whose process died is swept after a day.
	exec(t, e.db, `INSERT INTO import (id, course_id, dry_run, invite, locale, look_up, created_by, created_at, delete_at) VALUES ('import_x', $1, false, false, 'en', false, 'x', $2, $3)`,
		courseID, e.service.now(), e.service.now().Add(uploadFor))
	exec(t, e.db, `INSERT INTO import_row (import_id, line) SELECT 'import_x', n FROM generate_series(1, 10001) AS n`)
	if err := e.service.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM import_row`); n != 10001 {
		t.Errorf("%d rows", n)
	}
	e.clock.Add(uploadFor)
	if err := e.service.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, e.db, `SELECT (SELECT count(*) FROM import) + (SELECT count(*) FROM import_row) + (SELECT count(*) FROM person_key)`); n != 0 {
		t.Errorf("%d rows are kept", n)
	}
}

// await waits until something is so.
func await(t *testing.T, so func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); !so(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it does not become so")
		}
	}
}

func TestImportsOfACourse(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, other := e.course(t, 0), e.course(t, 0)
	teacher := e.holder(t, roleOwner, courseID)
	file := []string{"account_id", e.person(t)}
	var all []string
	for range maxImports {
		e.clock.Add(time.Second)
		all = append(all, e.importsFile(t, teacher, &accesspb.UploadImportRequest{CourseId: courseID}, file...).GetId())
	}
	slices.Reverse(all)
	// Many at once pass the bound no more than one does.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			_, err := e.uploads(asAccount(t, teacher), &accesspb.UploadImportRequest{CourseId: courseID}, strings.Join(file, "\n"))
			wantCode(t, err, "import.too_many")
		})
	}
	wg.Wait()
	e.importsFile(t, teacher, &accesspb.UploadImportRequest{CourseId: other}, file...)
	var got []string
	for cursor := ""; ; {
		page, err := e.imports().ListImports(asAccount(t, teacher), &accesspb.ListImportsRequest{CourseId: courseID, PageSize: 4, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range page.GetItems() {
			got = append(got, i.GetId())
		}
		if cursor = page.GetNextCursor(); cursor == "" {
			break
		}
	}
	same(t, got, all)
	_, err := e.imports().ListImports(asAccount(t, teacher), &accesspb.ListImportsRequest{CourseId: courseID, Cursor: "x"})
	wantCode(t, err, "request.invalid", "cursor")

	// Of another course nothing is told.
	ctx := asAccount(t, e.holder(t, roleOwner, other))
	_, err = e.imports().GetImport(ctx, &accesspb.GetImportRequest{CourseId: other, ImportId: all[0]})
	wantCode(t, err, "import.not_found")
	_, err = e.imports().CancelImport(ctx, &accesspb.CancelImportRequest{CourseId: other, ImportId: all[0]})
	wantCode(t, err, "import.not_found")
	_, err = e.report(ctx, &accesspb.ExportImportReportRequest{CourseId: other, ImportId: all[0]})
	wantCode(t, err, "import.not_found")
}

func TestImportReport(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID := e.course(t, 0)
	teacher := e.holder(t, roleOwner, courseID)
	file := append([]string{"account_id"}, e.people(t, 2*reportBatch+1)...)
	for n := 10; n < len(file); n += 100 {
		file[n] = "nobody"
	}
	i := e.importsFile(t, teacher, &accesspb.UploadImportRequest{CourseId: courseID}, file...)
	e.runs(t)
	ask := func(after int32, outcome string) (lines []int32) {
		t.Helper()
		rows, err := e.report(asAccount(t, teacher), &accesspb.ExportImportReportRequest{CourseId: courseID, ImportId: i.GetId(), After: after, Outcome: outcome})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			lines = append(lines, r.GetLine())
		}
		return lines
	}
	every := func(from, step int32) (lines []int32) {
		for n := from; n <= 2*reportBatch+2; n += step {
			lines = append(lines, n)
		}
		return lines
	}
	for name, c := range map[string]struct{ got, want []int32 }{
		"all":             {ask(0, ""), every(2, 1)},
		"behind a line":   {ask(1234, ""), every(1235, 1)},
		"refused":         {ask(0, "refused"), every(11, 100)},
		"refused, behind": {ask(511, "refused"), every(611, 100)},
		"invited":         {ask(0, "invited"), nil},
		"behind the end":  {ask(1<<30, ""), nil},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	_, err := e.report(asAccount(t, teacher), &accesspb.ExportImportReportRequest{CourseId: courseID, ImportId: i.GetId(), Outcome: "lost"})
	wantCode(t, err, "request.invalid", "outcome")
}

// TestImportAcrossRows: who stands in a file twice is found however far apart,
// and so in a dry run.
func TestImportAcrossRows(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID := e.course(t, 0)
	admin := e.holder(t, roleAdmin, "")
	ada := e.account(t, "Ada", "ada@example.org", true)
	file := []string{"account_id,email,ends_at", ",ada@example.org,", ",new@example.org,"}
	for _, one := range e.people(t, importBatch) {
		file = append(file, one+",,")
	}
	file = append(file, ada+",,2031-01-01", ",new@example.org,", ",ada@example.org,")
	for _, dry := range []bool{true, false} {
		i := e.importsFile(t, admin, &accesspb.UploadImportRequest{CourseId: courseID, DryRun: dry}, file...)
		e.runs(t)
		if got := e.imported(t, i); got.GetEnrolled() != importBatch+1 || got.GetInvited() != 1 || got.GetAlready() != 3 {
			t.Errorf("%v", got)
		}
		e.clock.Add(time.Second)
	}
}
