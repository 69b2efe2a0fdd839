package access

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

func TestResolvePermissions(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	published, taken := e.course(t, 0), e.course(t, 4900)
	deliver(t, e, e.service.courseUnpublished, &coursespb.CourseUnpublished{CourseId: taken, Sequence: 2})
	unknown := id.New("course")
	stranger, student, grader, admin, finance := id.New("account"), id.New("account"), id.New("account"), id.New("account"), id.New("account")
	deliver(t, e, e.service.orderPaid, orderOf(student, e.clock.Now(), published, taken))
	exec(t, e.db, `INSERT INTO role_grant (account_id, course_id, role, granted_by, granted_at) VALUES ($1, $2, 'grader', 'x', now()), ($1, $2, 'a role of the past', 'x', now())`, grader, taken)
	for account, role := range map[string]string{admin: "admin", finance: "finance"} {
		if err := GrantPlatformRole(t.Context(), e.db, account, role); err != nil {
			t.Fatal(err)
		}
	}
	all := slices.Sorted(slices.Values(permissions))
	questions := []struct {
		subject
		want []string
	}{
		{subject{"", ""}, nil},
		{subject{"", unknown}, nil},
		{subject{"", taken}, nil},
		{subject{"", published}, []string{courseView}},
		{subject{stranger, ""}, []string{courseCreate, meRead, meWrite}},
		{subject{stranger, unknown}, []string{courseCreate, meRead, meWrite}},
		{subject{stranger, taken}, []string{courseCreate, meRead, meWrite}},
		{subject{stranger, published}, []string{courseCreate, courseView, meRead, meWrite}},
		{subject{student, published}, []string{assessmentTake, courseCreate, courseView, lessonRead, meRead, meWrite}},
		{subject{student, taken}, []string{assessmentTake, courseCreate, courseView, lessonRead, meRead, meWrite}},
		{subject{student, ""}, []string{courseCreate, meRead, meWrite}},
		{subject{grader, taken}, []string{courseCreate, courseView, enrollmentList, gradeRead, lessonRead, meRead, meWrite, mediaRead, progressList, questionRead, submissionMark, submissionRead}},
		{subject{grader, published}, []string{courseCreate, courseView, meRead, meWrite}},
		{subject{grader, ""}, []string{courseCreate, meRead, meWrite}},
		{subject{admin, ""}, all},
		{subject{admin, unknown}, all},
		{subject{finance, published}, []string{couponManage, courseCreate, courseView, ledgerRead, ledgerReconcile, meRead, meWrite, payoutManage, refundManage, revenueEdit, saleList, saleRefund, subscriptionManage}},
		{subject{stranger, published}, []string{courseCreate, courseView, meRead, meWrite}}, // asked twice
	}
	req := &accesspb.ResolvePermissionsRequest{}
	for _, q := range questions {
		req.Subjects = append(req.Subjects, &accesspb.ResolvePermissionsRequest_Subject{AccountId: q.account, CourseId: q.course})
	}
	res, err := e.peer.ResolvePermissions(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.GetAnswers()) != len(questions) {
		t.Fatalf("%d answers to %d questions", len(res.GetAnswers()), len(questions))
	}
	for i, q := range questions {
		if got := res.GetAnswers()[i].GetPermissions(); !slices.Equal(got, q.want) {
			t.Errorf("question %d, %v: %v, want %v", i, q.subject, got, q.want)
		}
	}
}

func TestResolvePermissionsBounds(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	req := &accesspb.ResolvePermissionsRequest{}
	_, err := e.peer.ResolvePermissions(t.Context(), req)
	wantCode(t, err, "request.invalid", "subjects")
	for range 100 {
		req.Subjects = append(req.Subjects, &accesspb.ResolvePermissionsRequest_Subject{AccountId: id.New("account"), CourseId: id.New("course")})
	}
	if res, err := e.peer.ResolvePermissions(t.Context(), req); err != nil || len(res.GetAnswers()) != 100 {
		t.Errorf("%d answers, %v", len(res.GetAnswers()), err)
	}
	req.Subjects = append(req.Subjects, req.GetSubjects()[0])
	_, err = e.peer.ResolvePermissions(t.Context(), req)
	wantCode(t, err, "request.invalid", "subjects")
	_, err = e.peer.ResolvePermissions(t.Context(), &accesspb.ResolvePermissionsRequest{
		Subjects: []*accesspb.ResolvePermissionsRequest_Subject{{AccountId: "x"}},
	})
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("%v", err)
	}
}

// TestPermissionQueryUsesIndexes: with many grants the question stays a few
// looks into indexes for each subject.
func TestPermissionQueryUsesIndexes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, pgtest.New(t, Schema))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	for _, sql := range []string{
		`SET search_path = access`,
		`INSERT INTO role_grant (account_id, course_id, role, granted_by, granted_at)
			SELECT 'account_' || n, 'course_' || n % 1000, 'role_' || n % 10000, 'x', now() FROM generate_series(1, 100000) AS n`,
		`INSERT INTO role_definition (id, course_id, name, description, permissions)
			SELECT 'role_' || n, 'course_' || n % 1000, 'role_' || n, '', '{course.view,lesson.read}' FROM generate_series(1, 10000) AS n`,
		`INSERT INTO entitlement (id, account_id, course_id, source, source_id, starts_at)
			SELECT 'e' || n, 'account_' || n % 10000, 'course_' || n % 1000, 'order', 'line_' || n, now() FROM generate_series(1, 20000) AS n`,
		`INSERT INTO course (course_id, published) SELECT 'course_' || n, true FROM generate_series(1, 1000) AS n`,
		`VACUUM ANALYZE role_grant, role_definition, entitlement, course`,
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	var accounts, courses []string
	for range 100 {
		accounts, courses = append(accounts, "account_7"), append(courses, "course_7")
	}
	rows, err := conn.Query(ctx, `EXPLAIN (ANALYZE, BUFFERS) `+rolesSQL, time.Now(), accounts, courses)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	plan := strings.Join(lines, "\n")
	t.Log("\n" + plan)
	if strings.Contains(plan, "Seq Scan") {
		t.Error("the plan reads a whole table")
	}
	for _, index := range []string{"role_grant_holder", "entitlement_access", "course_published"} {
		if !strings.Contains(plan, "Index Only Scan using "+index) {
			t.Errorf("the plan does not answer from %s alone", index)
		}
	}
}

// TestAccessIsTheOrOfGrants: whatever is granted, ended and revoked in whatever
// order, there is access exactly while a grant is live.
func TestAccessIsTheOrOfGrants(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	type grant struct {
		id, source string
		ends       *time.Time
		revoked    bool
	}
	rapid.Check(t, func(t *rapid.T) {
		courseID, accountID := e.course(t, 0), id.New("account")
		var grants []*grant
		newest := func() string {
			return query[string](t, e.db, `SELECT id FROM entitlement WHERE account_id = $1 ORDER BY id DESC LIMIT 1`, accountID)
		}
		isLive := func(g *grant) bool { return !g.revoked && (g.ends == nil || g.ends.After(e.service.now())) }
		pick := func(t *rapid.T, ok func(*grant) bool) *grant {
			var some []*grant
			for _, g := range grants {
				if ok(g) {
					some = append(some, g)
				}
			}
			if len(some) == 0 {
				return nil
			}
			return rapid.SampledFrom(some).Draw(t, "grant")
		}
		steps := rapid.SliceOfN(rapid.SampledFrom([]string{"enroll", "pay", "end", "revoke", "wait"}), 1, 10).Draw(t, "steps")
		for _, step := range steps {
			switch step {
			case "enroll":
				was := slices.ContainsFunc(grants, isLive)
				if _, err := e.CreateEnrollment(asAccount(t, accountID), &accesspb.CreateEnrollmentRequest{CourseId: courseID}); err != nil {
					t.Fatal(err)
				}
				if !was {
					grants = append(grants, &grant{id: newest(), source: sourceFree})
				}
			case "pay":
				event := orderOf(accountID, e.clock.Now(), courseID)
				for range rapid.IntRange(1, 3).Draw(t, "deliveries") {
					deliver(t, e, e.service.orderPaid, event)
				}
				grants = append(grants, &grant{id: newest(), source: sourceOrder})
			case "end":
				if g := pick(t, func(g *grant) bool { return g.source == sourceOrder }); g != nil {
					ends := e.service.now().Add(time.Duration(rapid.IntRange(-60, 60).Draw(t, "minutes")) * time.Minute)
					g.ends = &ends
					exec(t, e.db, `UPDATE entitlement SET ends_at = $2 WHERE id = $1`, g.id, ends)
				}
			case "revoke":
				if g := pick(t, func(g *grant) bool { return !g.revoked }); g != nil {
					g.revoked = true
					exec(t, e.db, `UPDATE entitlement SET revoked_at = $2, revoke_reason = 'refund' WHERE id = $1`, g.id, e.service.now())
				}
			case "wait":
				e.clock.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "minutes")) * time.Minute)
			}
			state, source := "ended", ""
			for _, g := range grants {
				if isLive(g) {
					state, source = "active", g.source
				}
			}
			checkAccess(t, e, accountID, courseID, state, source, len(grants) > 0)
		}
	})
}

// checkAccess holds every answer about an account's access to what is the case.
func checkAccess(t *rapid.T, e *env, accountID, courseID, state, source string, enrolled bool) {
	live := state == "active"
	if got := slices.Contains(e.may(t, accountID, courseID), lessonRead); got != live {
		t.Fatalf("may read lessons: %v, want %v", got, live)
	}
	res, err := e.peer.ListEntitled(t.Context(), &accesspb.ListEntitledRequest{AccountId: accountID, CourseIds: []string{courseID}})
	if err != nil || (len(res.GetCourseIds()) == 1) != live {
		t.Fatalf("entitled to %v, %v, want %v", res.GetCourseIds(), err, live)
	}
	mine, err := e.ListMyEnrollments(asAccount(t, accountID), &accesspb.ListMyEnrollmentsRequest{})
	if err != nil || (len(mine.GetItems()) == 1) != enrolled {
		t.Fatalf("%d enrollments, %v", len(mine.GetItems()), err)
	}
	for _, got := range mine.GetItems() {
		if got.GetState() != state || got.GetSource() != source {
			t.Fatalf("%s by %q, want %s by %q", got.GetState(), got.GetSource(), state, source)
		}
	}
}

func TestGrantIsSeenThoughClocksDiffer(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, accountID := e.course(t, 0), id.New("account")
	// As if a process whose clock is ahead had granted it.
	exec(t, e.db, `INSERT INTO entitlement (id, account_id, course_id, source, source_id, starts_at) VALUES ('e', $1, $2, 'free', '', $3)`,
		accountID, courseID, e.service.now().Add(3*time.Second))
	if !slices.Contains(e.may(t, accountID, courseID), lessonRead) {
		t.Error("a grant of just now is not seen")
	}
	exec(t, e.db, `UPDATE entitlement SET starts_at = $1`, e.service.now().Add(time.Minute))
	if slices.Contains(e.may(t, accountID, courseID), lessonRead) {
		t.Error("a grant of the future is seen")
	}
}
