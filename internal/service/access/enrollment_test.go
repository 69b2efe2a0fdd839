package access

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

func asAccount(t fataler, accountID string) context.Context {
	return rpctest.Account(t.Context(), accountID)
}

func TestEnrollInFreeCourse(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, accountID := e.course(t, 0), id.New("account")
	now := timestamppb.New(e.service.now())
	got := e.enroll(asAccount(t, accountID), t, courseID)
	want := &accesspb.Enrollment{
		Id: got.GetId(), CourseId: courseID, AccountId: accountID, State: "active", Source: "free", EnrolledAt: now,
	}
	same(t, got, want)
	if !id.Valid("enrollment", got.GetId()) {
		t.Errorf("id %q", got.GetId())
	}
	same(t, e.events(t), []proto.Message{
		&accesspb.EntitlementGranted{AccountId: accountID, CourseId: courseID, Source: "free", StartsAt: now},
		&accesspb.EnrollmentStarted{EnrollmentId: got.GetId(), AccountId: accountID, CourseId: courseID, Source: "free", EnrolledAt: now},
	}, protocmp.IgnoreFields(&accesspb.EntitlementGranted{}, "entitlement_id"))

	// Again, later, when it costs something and is out of the marketplace.
	e.clock.Add(time.Hour)
	deliver(t, e, e.service.priceSet, priceOf(courseID, 4900, 2))
	deliver(t, e, e.service.courseUnpublished, &coursespb.CourseUnpublished{CourseId: courseID, Sequence: 2})
	same(t, e.enroll(asAccount(t, accountID), t, courseID), want)
	if n := len(e.events(t)); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
}

func TestEnrollRefuses(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	sold, unpriced, unpublished := e.course(t, 1), id.New("course"), e.course(t, 0)
	owner, helper := id.New("account"), id.New("account")
	deliver(t, e, e.service.coursePublished, &coursespb.CoursePublished{CourseId: unpriced, OwnerId: owner, Sequence: 1})
	deliver(t, e, e.service.courseUnpublished, &coursespb.CourseUnpublished{CourseId: unpublished, Sequence: 2})
	neverPublished := id.New("course")
	deliver(t, e, e.service.priceSet, priceOf(neverPublished, 0, 1))
	taught := e.course(t, 0)
	if _, err := e.peer.AssignCourseRole(t.Context(), &accesspb.AssignCourseRoleRequest{CourseId: taught, AccountId: helper, Role: "teaching_assistant"}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ account, course, code string }{
		"sold":            {id.New("account"), sold, "enrollment.not_free"},
		"no price yet":    {id.New("account"), unpriced, "enrollment.not_free"},
		"unpublished":     {id.New("account"), unpublished, "not_found"},
		"never published": {id.New("account"), neverPublished, "not_found"},
		"unknown":         {id.New("account"), id.New("course"), "not_found"},
		"no course":       {id.New("account"), "", "not_found"},
		"not an id":       {id.New("account"), "x", "request.invalid"},
		"the owner":       {owner, unpriced, "enrollment.own_course"},
		"the staff":       {helper, taught, "enrollment.own_course"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := e.CreateEnrollment(asAccount(t, c.account), &accesspb.CreateEnrollmentRequest{CourseId: c.course})
			wantCode(t, err, c.code)
		})
	}
	_, err := e.CreateEnrollment(t.Context(), &accesspb.CreateEnrollmentRequest{CourseId: taught})
	wantCode(t, err, "auth.required")
	t.Cleanup(func() {
		// All that runs beside has ended by now.
		var n int
		if err := e.db.QueryRow(context.Background(), `SELECT (SELECT count(*) FROM entitlement) + (SELECT count(*) FROM outbox WHERE name NOT IN ('stoa.record.v1.Recorded', 'stoa.access.v1.CourseRoleChanged'))`).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d grants and events after refusals, %v", n, err)
		}
	})
}

func TestEnrollAtOnce(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]func(i int) string{
		"with one key":     func(int) string { return "key" },
		"with other keys":  func(i int) string { return fmt.Sprint("key", i) },
		"without any keys": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			courseID, accountID := e.course(t, 0), id.New("account")
			const callers = 8
			got := make([]*accesspb.Enrollment, callers)
			errs := make([]error, callers)
			var wg sync.WaitGroup
			for i := range callers {
				wg.Go(func() {
					ctx := asAccount(t, accountID)
					if key != nil {
						ctx = rpc.WithIdempotencyKey(ctx, key(i))
					}
					got[i], errs[i] = e.CreateEnrollment(ctx, &accesspb.CreateEnrollmentRequest{CourseId: courseID})
				})
			}
			wg.Wait()
			for i := range callers {
				if errs[i] != nil {
					t.Fatal(errs[i])
				}
				same(t, got[i], got[0])
			}
			if n := len(e.events(t)); n != 2 {
				t.Errorf("%d events, want 2", n)
			}
		})
	}
}

func TestEnrollAndPayAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	free, other, accountID := e.course(t, 0), e.course(t, 0), id.New("account")
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			if i%2 == 0 {
				if _, err := e.CreateEnrollment(asAccount(t, accountID), &accesspb.CreateEnrollmentRequest{CourseId: free}); err != nil {
					t.Error(err)
				}
				return
			}
			courses := []string{free, other}
			if i == 1 {
				courses = []string{other, free} // in the other order, which must not matter
			}
			event := orderOf(accountID, e.clock.Now(), courses...)
			if err := e.db.InTx(t.Context(), func(tx *pg.Tx) error { return e.service.orderPaid(t.Context(), tx, event) }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	started := 0
	for _, event := range e.events(t) {
		if _, ok := event.(*accesspb.EnrollmentStarted); ok {
			started++
		}
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM enrollment`); n != 2 || started != 2 {
		t.Errorf("%d enrollments and %d events of them, want 2", n, started)
	}
}

func TestEnrollAgainAfterRevocation(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, accountID := e.course(t, 0), id.New("account")
	first := e.enroll(asAccount(t, accountID), t, courseID)
	exec(t, e.db, `UPDATE entitlement SET revoked_at = $1, revoke_reason = 'asked to leave'`, e.service.now())
	e.clock.Add(time.Hour)
	// The enrollment is the one there was, with the time it began.
	same(t, e.enroll(asAccount(t, accountID), t, courseID), first)
	if n := query[int](t, e.db, `SELECT count(*) FROM entitlement`); n != 2 {
		t.Errorf("%d grants, want 2", n)
	}
	if n := len(e.events(t)); n != 3 {
		t.Errorf("%d events, want 3", n)
	}
}

func TestOrderPaid(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	one, two, buyer := e.course(t, 4900), id.New("course"), id.New("account") // of two nothing was heard yet
	paid := e.clock.Now().Add(-time.Minute)
	event := orderOf(buyer, paid, one, two)
	for range 2 {
		deliver(t, e, e.service.orderPaid, event)
	}
	at := timestamppb.New(paid.Truncate(time.Microsecond))
	granted := func(i int) *accesspb.EntitlementGranted {
		line := event.GetLines()[i]
		return &accesspb.EntitlementGranted{AccountId: buyer, CourseId: line.GetCourseId(), Source: "order", SourceId: line.GetLineId(), StartsAt: at}
	}
	started := func(i int) *accesspb.EnrollmentStarted {
		return &accesspb.EnrollmentStarted{AccountId: buyer, CourseId: event.GetLines()[i].GetCourseId(), Source: "order", EnrolledAt: at}
	}
	same(t, e.events(t), []proto.Message{granted(0), granted(1), started(0), started(1)},
		protocmp.IgnoreFields(&accesspb.EntitlementGranted{}, "entitlement_id"), protocmp.IgnoreFields(&accesspb.EnrollmentStarted{}, "enrollment_id"))

	// A second order for the same course is a second grant of the same enrollment.
	deliver(t, e, e.service.orderPaid, orderOf(buyer, paid, one))
	if n := query[int](t, e.db, `SELECT count(*) FROM enrollment`); n != 2 {
		t.Errorf("%d enrollments, want 2", n)
	}
	if n := len(e.events(t)); n != 5 {
		t.Errorf("%d events, want 5", n)
	}
	// A refund of one order leaves what the other gave.
	exec(t, e.db, `UPDATE entitlement SET revoked_at = $2, revoke_reason = 'refund' WHERE source_id = $1`, event.GetLines()[0].GetLineId(), e.service.now())
	res, err := e.peer.ListEntitled(t.Context(), &accesspb.ListEntitledRequest{AccountId: buyer, CourseIds: []string{one, two, id.New("course")}})
	if err != nil {
		t.Fatal(err)
	}
	if got := res.GetCourseIds(); len(got) != 2 {
		t.Errorf("entitled to %v", got)
	}
	// Delivered again after the refund, it gives nothing back.
	deliver(t, e, e.service.orderPaid, event)
	if n := query[int](t, e.db, `SELECT count(*) FROM entitlement WHERE revoked_at IS NULL`); n != 2 {
		t.Errorf("%d live grants, want 2", n)
	}
}

func TestOrderPaidByAClockAhead(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, buyer := e.course(t, 4900), id.New("account")
	deliver(t, e, e.service.orderPaid, orderOf(buyer, e.clock.Now().Add(time.Hour), courseID))
	if got := query[time.Time](t, e.db, `SELECT starts_at FROM entitlement`); !got.Equal(e.service.now()) {
		t.Errorf("starts at %v, want %v", got, e.service.now())
	}
	event := orderOf(buyer, time.Time{}, courseID)
	event.PaidAt = nil
	deliver(t, e, e.service.orderPaid, event)
	deliver(t, e, e.service.orderPaid, orderOf(buyer, e.clock.Now())) // without lines
	if n := query[int](t, e.db, `SELECT count(*) FROM entitlement WHERE starts_at = $1`, e.service.now()); n != 2 {
		t.Errorf("%d grants of now, want 2", n)
	}
}

func TestCourseEventsInAnyOrder(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, owner := id.New("course"), id.New("account")
	published := func(sequence int64) {
		t.Helper()
		deliver(t, e, e.service.coursePublished, &coursespb.CoursePublished{CourseId: courseID, OwnerId: owner, Sequence: sequence})
	}
	unpublished := func(sequence int64) {
		t.Helper()
		deliver(t, e, e.service.courseUnpublished, &coursespb.CourseUnpublished{CourseId: courseID, Sequence: sequence})
	}
	is := func(want string) {
		t.Helper()
		if got := query[string](t, e.db, `SELECT course::text FROM course`); got != fmt.Sprintf(want, courseID) {
			t.Errorf("%s, want %s", got, fmt.Sprintf(want, courseID))
		}
	}
	unpublished(2) // before its publishing
	is("(%s,\"\",2,f,0,)")
	published(1)
	is("(%s,\"\",2,f,0,)")
	deliver(t, e, e.service.priceSet, priceOf(courseID, 0, 2))
	deliver(t, e, e.service.priceSet, priceOf(courseID, 4900, 1))
	is("(%s,\"\",2,f,2,t)")
	published(3)
	published(3)
	unpublished(2)
	is("(%s," + owner + ",3,t,2,t)")
	deliver(t, e, e.service.priceSet, priceOf(courseID, 4900, 3))
	unpublished(4)
	is("(%s," + owner + ",4,f,3,f)")
}

func TestPeopleInAnyOrder(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	accountID := id.New("account")
	name := func() string { return query[string](t, e.db, `SELECT name FROM person`) }
	deliver(t, e, e.service.accountUpdated, &identitypb.AccountUpdated{AccountId: accountID, Name: "Third", Version: 3})
	deliver(t, e, e.service.accountCreated, &identitypb.AccountCreated{AccountId: accountID, Name: "First"})
	deliver(t, e, e.service.accountUpdated, &identitypb.AccountUpdated{AccountId: accountID, Name: "Second", Version: 2})
	if got := name(); got != "Third" {
		t.Errorf("name %q", got)
	}
	for range 2 {
		deliver(t, e, e.service.accountUpdated, &identitypb.AccountUpdated{AccountId: accountID, Name: "Fourth", Version: 4})
	}
	if got := name(); got != "Fourth" {
		t.Errorf("name %q", got)
	}
}

func TestListEnrollments(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, elsewhere := e.course(t, 0), e.course(t, 0)
	var want []*accesspb.Enrollment
	for i := range 7 {
		accountID := id.New("account")
		if i%2 == 0 {
			e.clock.Add(time.Second) // others began at the same moment
		}
		got := e.enroll(asAccount(t, accountID), t, courseID)
		if i > 0 {
			got.AccountName = fmt.Sprint("Student ", i)
			deliver(t, e, e.service.accountCreated, &identitypb.AccountCreated{AccountId: accountID, Name: got.GetAccountName()})
		}
		e.enroll(asAccount(t, accountID), t, elsewhere)
		want = append([]*accesspb.Enrollment{got}, want...)
	}
	exec(t, e.db, `UPDATE entitlement SET revoked_at = now(), revoke_reason = 'left' WHERE account_id = $1`, want[2].GetAccountId())
	want[2].State, want[2].Source = "ended", ""

	ctx := asAccount(t, id.New("account"))
	for _, size := range []int32{0, 1, 2, 3, 6, 7, 100} {
		var got []*accesspb.Enrollment
		cursor, pages := "", 0
		for {
			res, err := e.ListEnrollments(ctx, &accesspb.ListEnrollmentsRequest{CourseId: courseID, PageSize: size, Cursor: cursor})
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, res.GetItems()...)
			pages++
			if cursor = res.GetNextCursor(); cursor == "" {
				break
			}
			if len(res.GetItems()) != int(size) {
				t.Fatalf("a page of %d, want %d", len(res.GetItems()), size)
			}
		}
		same(t, got, want)
		if size > 0 && pages != (7+int(size)-1)/int(size) {
			t.Errorf("%d pages of %d", pages, size)
		}
	}
	res, err := e.ListEnrollments(ctx, &accesspb.ListEnrollmentsRequest{CourseId: id.New("course")})
	if err != nil || len(res.GetItems()) != 0 || res.GetNextCursor() != "" {
		t.Errorf("of another course: %v, %v", res, err)
	}
}

func TestListMyEnrollments(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	me, other := id.New("account"), id.New("account")
	deliver(t, e, e.service.accountCreated, &identitypb.AccountCreated{AccountId: me, Name: "Me"})
	var want []*accesspb.Enrollment
	for range 5 {
		courseID := e.course(t, 0)
		e.clock.Add(time.Second)
		want = append([]*accesspb.Enrollment{e.enroll(asAccount(t, me), t, courseID)}, want...)
		e.enroll(asAccount(t, other), t, courseID)
	}
	first, err := e.ListMyEnrollments(asAccount(t, me), &accesspb.ListMyEnrollmentsRequest{PageSize: 3})
	if err != nil {
		t.Fatal(err)
	}
	same(t, first.GetItems(), want[:3])
	// The place in the list stays though something newer comes before it.
	e.enroll(asAccount(t, me), t, e.course(t, 0))
	second, err := e.ListMyEnrollments(asAccount(t, me), &accesspb.ListMyEnrollmentsRequest{PageSize: 3, Cursor: first.GetNextCursor()})
	if err != nil {
		t.Fatal(err)
	}
	same(t, second.GetItems(), want[3:])
	if second.GetNextCursor() != "" {
		t.Error("a cursor after the last page")
	}
	_, err = e.ListMyEnrollments(t.Context(), &accesspb.ListMyEnrollmentsRequest{})
	wantCode(t, err, "auth.required")
}

func TestListEnrollmentsRefuses(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ctx := asAccount(t, id.New("account"))
	for _, cursor := range []string{"x", page.Cursor("1"), page.Cursor("x", "y"), page.Cursor("1", "y"), page.Cursor("1", "\x00"), page.Cursor("9999999999999999999", id.New("enrollment"))} {
		_, err := e.ListMyEnrollments(ctx, &accesspb.ListMyEnrollmentsRequest{Cursor: cursor})
		wantCode(t, err, "request.invalid", "cursor")
		_, err = e.ListEnrollments(ctx, &accesspb.ListEnrollmentsRequest{CourseId: id.New("course"), Cursor: cursor})
		wantCode(t, err, "request.invalid", "cursor")
	}
	for _, size := range []int32{-1, 101} {
		_, err := e.ListMyEnrollments(ctx, &accesspb.ListMyEnrollmentsRequest{PageSize: size})
		wantCode(t, err, "request.invalid", "page_size")
	}
}

func TestListEntitled(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, accountID := e.course(t, 0), id.New("account")
	e.enroll(asAccount(t, accountID), t, courseID)
	for name, c := range map[string]struct {
		req  *accesspb.ListEntitledRequest
		want []string
	}{
		"theirs":         {&accesspb.ListEntitledRequest{AccountId: accountID, CourseIds: []string{id.New("course"), courseID, courseID}}, []string{courseID}},
		"no courses":     {&accesspb.ListEntitledRequest{AccountId: accountID}, nil},
		"somebody else":  {&accesspb.ListEntitledRequest{AccountId: id.New("account"), CourseIds: []string{courseID}}, nil},
		"nobody":         {&accesspb.ListEntitledRequest{CourseIds: []string{courseID}}, nil},
		"another course": {&accesspb.ListEntitledRequest{AccountId: accountID, CourseIds: []string{id.New("course")}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res, err := e.peer.ListEntitled(t.Context(), c.req)
			if err != nil {
				t.Fatal(err)
			}
			if got := res.GetCourseIds(); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
