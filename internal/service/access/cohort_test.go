package access

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

func (e *env) cohorts() accesspb.CohortServiceClient {
	return accesspb.NewCohortServiceClient(e.harness.As("edge"))
}

// cohort makes an open cohort that begins in a day and lasts for thirty.
func (e *env) cohort(t fataler, courseID string, seats int32) *accesspb.Cohort {
	t.Helper()
	starts := e.clock.Now().Add(24 * time.Hour)
	c, err := e.cohorts().CreateCohort(asAccount(t, id.New("account")), &accesspb.CreateCohortRequest{
		CourseId: courseID, Name: "Run " + id.New("name"), Seats: seats, Open: true, StartsAt: timestamppb.New(starts), EndsAt: timestamppb.New(starts.Add(30 * 24 * time.Hour)),
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return c
}

func (e *env) cohortNow(t fataler, c *accesspb.Cohort) *accesspb.Cohort {
	t.Helper()
	got, err := e.cohorts().GetCohort(asAccount(t, id.New("account")), &accesspb.GetCohortRequest{CourseId: c.GetCourseId(), CohortId: c.GetId()})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return got
}

func (e *env) joins(t fataler, accountID string, c *accesspb.Cohort) (*accesspb.CohortMember, error) {
	t.Helper()
	return e.cohorts().JoinCohort(asAccount(t, accountID), &accesspb.JoinCohortRequest{CourseId: c.GetCourseId(), CohortId: c.GetId()})
}

func (e *env) leaves(t fataler, accountID string, c *accesspb.Cohort) error {
	t.Helper()
	_, err := e.cohorts().LeaveCohort(asAccount(t, accountID), &accesspb.LeaveCohortRequest{CourseId: c.GetCourseId(), CohortId: c.GetId()})
	return err
}

func (e *env) waits(t fataler, accountID string, c *accesspb.Cohort) (*accesspb.WaitlistEntry, error) {
	t.Helper()
	return e.cohorts().JoinWaitlist(asAccount(t, accountID), &accesspb.JoinWaitlistRequest{CourseId: c.GetCourseId(), CohortId: c.GetId()})
}

// tick has time bring what it brings.
func (e *env) tick(t fataler) {
	t.Helper()
	if err := e.service.followClock(t.Context()); err != nil {
		t.Fatalf("%v", err)
	}
	if err := e.service.followCohorts(t.Context()); err != nil {
		t.Fatalf("%v", err)
	}
}

// memberships are the cohorts that others have been told an account is in, in
// the order of their versions.
func (e *env) memberships(t *testing.T, accountID string) []string {
	t.Helper()
	var told []*accesspb.CohortMembershipChanged
	for _, event := range e.events(t) {
		if m, ok := event.(*accesspb.CohortMembershipChanged); ok && m.GetAccountId() == accountID {
			told = append(told, m)
		}
	}
	slices.SortFunc(told, func(a, b *accesspb.CohortMembershipChanged) int { return int(a.GetVersion() - b.GetVersion()) })
	var out []string
	for i, m := range told {
		if i > 0 && m.GetVersion() == told[i-1].GetVersion() {
			t.Fatalf("two changes with version %d", m.GetVersion())
		}
		out = append(out, m.GetCohortId())
	}
	return out
}

func TestCohortGivesAccessForItsTime(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, ada := e.course(t, 0), e.person(t)
	c := e.cohort(t, courseID, 10)
	m, err := e.joins(t, ada, c)
	if err != nil {
		t.Fatal(err)
	}
	same(t, m, &accesspb.CohortMember{
		CohortId: c.GetId(), CourseId: courseID, AccountId: ada, EntitlementId: m.GetEntitlementId(), JoinedAt: timestamppb.New(e.service.now()),
	})
	again, err := e.joins(t, ada, c)
	if err != nil {
		t.Fatal(err)
	}
	same(t, again, m)
	if got := e.cohortNow(t, c); got.GetTaken() != 1 || got.GetState() != "upcoming" {
		t.Errorf("%v", got)
	}
	for _, step := range []struct {
		after time.Duration
		reads bool
	}{{0, false}, {24 * time.Hour, true}, {29 * 24 * time.Hour, true}, {24 * time.Hour, false}} {
		e.clock.Add(step.after)
		e.tick(t)
		if e.reads(t, ada, courseID) != step.reads {
			t.Errorf("reads lessons: %t %v later", !step.reads, step.after)
		}
	}
	// Who was in it to the end is still listed.
	list, err := e.cohorts().ListCohortMembers(asAccount(t, id.New("account")), &accesspb.ListCohortMembersRequest{CourseId: courseID, CohortId: c.GetId()})
	if err != nil || len(list.GetItems()) != 1 || list.GetItems()[0].GetAccountName() != "Somebody" {
		t.Errorf("%v, %v", list, err)
	}
	// And takes the next run.
	next := e.cohort(t, courseID, 1)
	if _, err := e.joins(t, ada, next); err != nil {
		t.Fatal(err)
	}
	e.clock.Add(25 * time.Hour)
	e.tick(t)
	if !e.reads(t, ada, courseID) {
		t.Error("no access by the next run")
	}
	mine, err := e.cohorts().ListMyCohorts(asAccount(t, ada), &accesspb.ListMyCohortsRequest{})
	if err != nil || len(mine.GetItems()) != 2 || mine.GetItems()[1].GetMember().GetLeftWhy() != "completed" || mine.GetItems()[1].GetCohort().GetState() != "over" {
		t.Errorf("%v, %v", mine, err)
	}
	same(t, e.memberships(t, ada), []string{c.GetId(), next.GetId()})
	// The run that is over keeps its count.
	if got := e.cohortNow(t, c); got.GetTaken() != 1 {
		t.Errorf("%v", got)
	}
}

func TestCohortRefuses(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, sold, ada := e.course(t, 0), e.course(t, 4900), e.person(t)
	hidden := id.New("course")
	c, ofSold, ofHidden := e.cohort(t, courseID, 1), e.cohort(t, sold, 1), e.cohort(t, hidden, 1)
	shut, err := e.cohorts().CreateCohort(asAccount(t, ada), &accesspb.CreateCohortRequest{CourseId: courseID, Name: "Invited", StartsAt: timestamppb.New(e.clock.Now())})
	if err != nil {
		t.Fatal(err)
	}
	soon, err := e.cohorts().CreateCohort(asAccount(t, ada), &accesspb.CreateCohortRequest{
		CourseId: courseID, Name: "Soon", Open: true, StartsAt: timestamppb.New(e.clock.Now()), EnrollFrom: timestamppb.New(e.clock.Now().Add(time.Hour)),
		EnrollUntil: timestamppb.New(e.clock.Now().Add(2 * time.Hour)),
	})
	if err != nil {
		t.Fatal(err)
	}
	join := func(c *accesspb.Cohort, course string) error {
		_, err := e.cohorts().JoinCohort(asAccount(t, ada), &accesspb.JoinCohortRequest{CourseId: course, CohortId: c.GetId()})
		return err
	}
	wantCode(t, join(c, sold), "cohort.not_found") // of another course
	wantCode(t, join(ofHidden, hidden), "cohort.not_found")
	wantCode(t, join(shut, courseID), "cohort.not_found")
	wantCode(t, join(ofSold, sold), "enrollment.not_free")
	wantCode(t, join(soon, courseID), "cohort.closed")
	_, err = e.waits(t, ada, soon)
	wantCode(t, err, "cohort.closed")
	_, err = e.waits(t, ada, c)
	wantCode(t, err, "cohort.not_full")
	_, err = e.waits(t, ada, shut)
	wantCode(t, err, "cohort.not_found")
	wantCode(t, e.leaves(t, ada, c), "cohort.not_member")
	wantCode(t, e.leaves(t, ada, &accesspb.Cohort{CourseId: courseID, Id: id.New("cohort")}), "cohort.not_member")
	e.clock.Add(time.Hour)
	if err := join(soon, courseID); err != nil {
		t.Error(err)
	}
	e.clock.Add(time.Hour)
	_, err = e.joins(t, e.person(t), soon)
	wantCode(t, err, "cohort.closed")

	// Staff put anybody into any, but not into one that is full.
	add := func(account string, c *accesspb.Cohort) error {
		_, err := e.cohorts().AddCohortMember(asAccount(t, id.New("account")), &accesspb.AddCohortMemberRequest{
			CourseId: c.GetCourseId(), CohortId: c.GetId(), AccountId: account, Reason: "asked for it",
		})
		return err
	}
	if err := add(e.person(t), ofSold); err != nil {
		t.Error(err)
	}
	wantCode(t, add(e.person(t), ofSold), "cohort.full")
	if err := add(e.person(t), shut); err != nil {
		t.Error(err)
	}
	wantCode(t, add(id.New("account"), shut), "account.unknown")
	owner := query[string](t, e.db, `SELECT owner_id FROM course WHERE course_id = $1`, courseID)
	_, err = e.joins(t, owner, c)
	wantCode(t, err, "enrollment.own_course")

	for _, req := range []*accesspb.CreateCohortRequest{
		{EndsAt: timestamppb.New(e.clock.Now())},
		{EnrollFrom: timestamppb.New(e.clock.Now()), EnrollUntil: timestamppb.New(e.clock.Now())},
		{EnrollFrom: timestamppb.New(e.clock.Now().Add(time.Hour)), EndsAt: timestamppb.New(e.clock.Now().Add(time.Hour))},
	} {
		req.CourseId, req.Name, req.StartsAt = courseID, "Wrong", timestamppb.New(e.clock.Now())
		_, err := e.cohorts().CreateCohort(asAccount(t, ada), req)
		wantCode(t, err, "cohort.period")
	}
	_, err = e.cohorts().CreateCohort(asAccount(t, ada), &accesspb.CreateCohortRequest{CourseId: courseID, Name: "Soon", StartsAt: timestamppb.New(e.clock.Now())})
	wantCode(t, err, "cohort.name_taken")
	_, err = e.cohorts().CreateCohort(asAccount(t, ada), &accesspb.CreateCohortRequest{CourseId: courseID, Name: "Without a start"})
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("%v", err)
	}
}

func TestCohortTakesWhoHasAccess(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	sold, ada := e.course(t, 4900), e.person(t)
	c := e.cohort(t, sold, 1)
	order := orderOf(ada, e.clock.Now(), sold)
	deliver(t, e, e.service.orderPaid, order)
	m, err := e.joins(t, ada, c)
	if err != nil || m.GetEntitlementId() != "" {
		t.Fatalf("%v, %v", m, err)
	}
	// Leaving takes nothing that was bought.
	if err := e.leaves(t, ada, c); err != nil || !e.reads(t, ada, sold) {
		t.Fatalf("after leaving: %v", err)
	}
	if _, err := e.joins(t, ada, c); err != nil {
		t.Fatal(err)
	}
	// Who has no access any more leaves the seat.
	if _, err := e.sales().RevokeEntitlements(t.Context(), &accesspb.RevokeEntitlementsRequest{
		Source: "order", SourceIds: []string{order.GetLines()[0].GetLineId()}, Reason: "refunded",
	}); err != nil {
		t.Fatal(err)
	}
	if got := e.cohortNow(t, c); got.GetTaken() != 0 {
		t.Errorf("after the refund: %v", got)
	}
	same(t, e.memberships(t, ada), []string{c.GetId(), "", c.GetId(), ""})
}

func TestCohortMoves(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, ada := e.course(t, 0), e.person(t)
	a, b := e.cohort(t, courseID, 1), e.cohort(t, courseID, 1)
	first, err := e.joins(t, ada, a)
	if err != nil {
		t.Fatal(err)
	}
	second, err := e.joins(t, ada, b)
	if err != nil || second.GetEntitlementId() != first.GetEntitlementId() {
		t.Fatalf("%v, %v", second, err)
	}
	if a, b := e.cohortNow(t, a), e.cohortNow(t, b); a.GetTaken() != 0 || b.GetTaken() != 1 {
		t.Errorf("%v, %v", a, b)
	}
	// One that is full keeps nobody out of where they are.
	if _, err := e.joins(t, e.person(t), a); err != nil {
		t.Fatal(err)
	}
	_, err = e.joins(t, ada, a)
	wantCode(t, err, "cohort.full")
	if b := e.cohortNow(t, b); b.GetTaken() != 1 {
		t.Errorf("%v", b)
	}
	same(t, e.memberships(t, ada), []string{a.GetId(), b.GetId()})
	// Leaving ends the access that came with it.
	e.clock.Add(25 * time.Hour)
	e.tick(t)
	if !e.reads(t, ada, courseID) {
		t.Error("no access in the cohort's time")
	}
	if err := e.leaves(t, ada, b); err != nil || e.reads(t, ada, courseID) {
		t.Errorf("after leaving: %v", err)
	}
	// Whose grant is revoked has left.
	c := e.cohort(t, courseID, 1)
	m, err := e.joins(t, ada, c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.ledger().RevokeEntitlement(asAccount(t, id.New("account")), &accesspb.RevokeEntitlementRequest{
		CourseId: courseID, EntitlementId: m.GetEntitlementId(), Reason: "a mistake",
	}); err != nil {
		t.Fatal(err)
	}
	if c := e.cohortNow(t, c); c.GetTaken() != 0 {
		t.Errorf("%v", c)
	}
}

func TestCohortTimesChange(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, ada := e.course(t, 0), e.person(t)
	c := e.cohort(t, courseID, 0)
	if _, err := e.joins(t, ada, c); err != nil {
		t.Fatal(err)
	}
	update := func(req *accesspb.UpdateCohortRequest) *accesspb.Cohort {
		t.Helper()
		req.CourseId, req.CohortId = courseID, c.GetId()
		got, err := e.cohorts().UpdateCohort(asAccount(t, id.New("account")), req)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	now := e.clock.Now()
	if got := update(&accesspb.UpdateCohortRequest{StartsAt: timestamppb.New(now.Add(-time.Hour))}); got.GetState() != "running" || got.GetEtag() != "2" {
		t.Errorf("%v", got)
	}
	if !e.reads(t, ada, courseID) {
		t.Error("no access though it has begun")
	}
	update(&accesspb.UpdateCohortRequest{StartsAt: timestamppb.New(now.Add(48 * time.Hour))})
	if e.reads(t, ada, courseID) {
		t.Error("access though it begins later")
	}
	update(&accesspb.UpdateCohortRequest{StartsAt: timestamppb.New(now.Add(-2 * time.Hour)), EndsAt: timestamppb.New(now.Add(-time.Hour))})
	if e.reads(t, ada, courseID) {
		t.Error("access though it is over")
	}
	if got := update(&accesspb.UpdateCohortRequest{Clear: []string{"ends_at"}}); got.GetEndsAt() != nil || !e.reads(t, ada, courseID) {
		t.Errorf("no access though it has no end: %v", got)
	}
	_, err := e.cohorts().UpdateCohort(rpc.WithIfMatch(asAccount(t, ada), `"1"`), &accesspb.UpdateCohortRequest{CourseId: courseID, CohortId: c.GetId(), Name: new("Late")})
	wantCode(t, err, "etag.stale")

	// With more members than one transaction takes the rest follows by itself.
	for range 3 {
		addMembers(t, e, c, tendBatch/2)
	}
	update(&accesspb.UpdateCohortRequest{StartsAt: timestamppb.New(now.Add(-3 * time.Hour)), EndsAt: timestamppb.New(now.Add(time.Hour))})
	e.tick(t)
	if n := query[int](t, e.db, `SELECT count(*) FROM entitlement WHERE course_id = $1 AND ends_at = $2`, courseID, e.service.now().Add(time.Hour)); n != 3*(tendBatch/2)+1 {
		t.Errorf("%d of them end with the cohort", n)
	}
	cancelled, err := e.cohorts().CancelCohort(asAccount(t, ada), &accesspb.CancelCohortRequest{CourseId: courseID, CohortId: c.GetId(), Reason: "the teacher is ill"})
	if err != nil || cancelled.GetState() != "cancelled" {
		t.Fatalf("%v, %v", cancelled, err)
	}
	e.tick(t)
	if got := e.cohortNow(t, c); got.GetTaken() != 0 || e.reads(t, ada, courseID) {
		t.Errorf("after it was cancelled: %v", got)
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM cohort_member WHERE left_why = 'cancelled'`); n != 3*(tendBatch/2)+1 {
		t.Errorf("%d have left", n)
	}
	_, err = e.cohorts().UpdateCohort(asAccount(t, ada), &accesspb.UpdateCohortRequest{CourseId: courseID, CohortId: c.GetId()})
	wantCode(t, err, "cohort.cancelled")
	_, err = e.joins(t, ada, c)
	wantCode(t, err, "cohort.closed")
}

// addMembers has n accounts join, several at once.
func addMembers(t *testing.T, e *env, c *accesspb.Cohort, n int) {
	t.Helper()
	var all sync.WaitGroup
	next := make(chan struct{}, n)
	for range n {
		next <- struct{}{}
	}
	close(next)
	for range 4 {
		all.Go(func() {
			for range next {
				if _, err := e.joins(t, id.New("account"), c); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestHundredTakersOneSeat(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID := e.course(t, 0)
	c := e.cohort(t, courseID, 1)
	var in, full atomic.Int32
	var all sync.WaitGroup
	for range 100 {
		account := id.New("account")
		all.Go(func() {
			switch _, err := e.joins(t, account, c); {
			case err == nil:
				in.Add(1)
			case fault.CodeOf(err) == "cohort.full":
				full.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if in.Load() != 1 || full.Load() != 99 {
		t.Errorf("%d in, %d refused", in.Load(), full.Load())
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM entitlement WHERE course_id = $1`, courseID); n != 1 {
		t.Errorf("%d have access", n)
	}
}

func TestOneTakerOfManySeats(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, ada := e.course(t, 0), e.person(t)
	cohorts := []*accesspb.Cohort{e.cohort(t, courseID, 2), e.cohort(t, courseID, 2), e.cohort(t, courseID, 2)}
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			c := cohorts[i%3]
			if _, err := e.joins(t, ada, c); err != nil {
				t.Error(err)
			}
			if err := e.leaves(t, ada, c); err != nil && fault.CodeOf(err) != "cohort.not_member" {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, c := range cohorts {
		taken := query[int32](t, e.db, `SELECT count(*) FROM cohort_member WHERE cohort_id = $1 AND left_at IS NULL`, c.GetId())
		if got := e.cohortNow(t, c); got.GetTaken() != taken {
			t.Errorf("%d seats are taken, %d are counted", taken, got.GetTaken())
		}
	}
	e.memberships(t, ada) // no version twice
}

func TestWaitlist(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID := e.course(t, 0)
	c := e.cohort(t, courseID, 1)
	people := []string{e.person(t), e.person(t), e.person(t), e.person(t)}
	if _, err := e.joins(t, people[0], c); err != nil {
		t.Fatal(err)
	}
	for _, p := range people[1:] {
		e.clock.Add(time.Second)
		first, err := e.waits(t, p, c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := e.waits(t, p, c)
		if err != nil {
			t.Fatal(err)
		}
		same(t, again, first)
	}
	_, err := e.waits(t, people[0], c)
	wantCode(t, err, "cohort.joined")
	place := func(p string) string {
		t.Helper()
		list, err := e.cohorts().ListMyWaitlist(asAccount(t, p), &accesspb.ListMyWaitlistRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.GetItems()) == 0 {
			return ""
		}
		return fmt.Sprint(list.GetItems()[0].GetState(), " ", list.GetItems()[0].GetPosition())
	}
	if got := []string{place(people[1]), place(people[2]), place(people[3])}; !slices.Equal(got, []string{"waiting 1", "waiting 2", "waiting 3"}) {
		t.Errorf("%q", got)
	}
	// Who leaves makes room for who waits longest, and for nobody else.
	if err := e.leaves(t, people[0], c); err != nil {
		t.Fatal(err)
	}
	if got := e.cohortNow(t, c); got.GetTaken() != 0 || got.GetOffered() != 1 || got.GetWaiting() != 2 {
		t.Errorf("%v", got)
	}
	_, err = e.joins(t, people[3], c)
	wantCode(t, err, "cohort.full")
	_, err = e.joins(t, people[0], c)
	wantCode(t, err, "cohort.full")
	if place(people[1]) != "offered 0" || place(people[2]) != "waiting 1" {
		t.Errorf("%q, %q", place(people[1]), place(people[2]))
	}
	// An offer that is not taken goes to the next.
	e.clock.Add(offerHours*time.Hour - 30*time.Hour)
	_, err = e.joins(t, people[2], c)
	wantCode(t, err, "cohort.full")
	e.clock.Add(30 * time.Hour)
	e.tick(t)
	if place(people[1]) != "" || place(people[2]) != "offered 0" || place(people[3]) != "waiting 1" {
		t.Errorf("%q, %q, %q", place(people[1]), place(people[2]), place(people[3]))
	}
	if _, err := e.joins(t, people[2], c); err != nil {
		t.Fatal(err)
	}
	if got := e.cohortNow(t, c); got.GetTaken() != 1 || got.GetOffered() != 0 || got.GetWaiting() != 1 {
		t.Errorf("%v", got)
	}
	// More seats are offered at once; a refused one is free for all.
	if _, err := e.cohorts().UpdateCohort(asAccount(t, id.New("account")), &accesspb.UpdateCohortRequest{CourseId: courseID, CohortId: c.GetId(), Seats: new(int32(2))}); err != nil {
		t.Fatal(err)
	}
	if place(people[3]) != "offered 0" {
		t.Error(place(people[3]))
	}
	_, err = e.cohorts().UpdateCohort(asAccount(t, id.New("account")), &accesspb.UpdateCohortRequest{CourseId: courseID, CohortId: c.GetId(), Seats: new(int32(1))})
	wantCode(t, err, "cohort.seats_taken")
	left, err := e.cohorts().LeaveWaitlist(asAccount(t, people[3]), &accesspb.LeaveWaitlistRequest{CourseId: courseID, CohortId: c.GetId()})
	if err != nil || left.GetState() != "left" {
		t.Fatalf("%v, %v", left, err)
	}
	_, err = e.cohorts().LeaveWaitlist(asAccount(t, people[3]), &accesspb.LeaveWaitlistRequest{CourseId: courseID, CohortId: c.GetId()})
	wantCode(t, err, "waitlist.not_waiting")
	if _, err := e.joins(t, people[0], c); err != nil {
		t.Fatal(err)
	}
	var offered, expired int
	for _, event := range e.events(t) {
		switch event := event.(type) {
		case *accesspb.WaitlistOffered:
			offered++
			if event.GetCohortName() != c.GetName() || event.GetEndsAt() == nil {
				t.Errorf("%v", event)
			}
		case *accesspb.WaitlistOfferExpired:
			expired++
			if event.GetAccountId() != people[1] {
				t.Errorf("%v", event)
			}
		}
	}
	if offered != 3 || expired != 1 {
		t.Errorf("%d offers, %d ended", offered, expired)
	}
}

func TestWaitlistCloses(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID := e.course(t, 0)
	c := e.cohort(t, courseID, 1)
	until := e.clock.Now().Add(3 * time.Hour)
	if _, err := e.cohorts().UpdateCohort(asAccount(t, id.New("account")), &accesspb.UpdateCohortRequest{CourseId: courseID, CohortId: c.GetId(), EnrollUntil: timestamppb.New(until)}); err != nil {
		t.Fatal(err)
	}
	people := []string{e.person(t), e.person(t), e.person(t)}
	if _, err := e.joins(t, people[0], c); err != nil {
		t.Fatal(err)
	}
	for _, p := range people[1:] {
		if _, err := e.waits(t, p, c); err != nil {
			t.Fatal(err)
		}
	}
	list, err := e.cohorts().ListWaitlist(asAccount(t, id.New("account")), &accesspb.ListWaitlistRequest{CourseId: courseID, CohortId: c.GetId(), PageSize: 1})
	if err != nil || len(list.GetItems()) != 1 || list.GetItems()[0].GetAccountId() != people[1] || list.GetNextCursor() == "" {
		t.Fatalf("%v, %v", list, err)
	}
	list, err = e.cohorts().ListWaitlist(asAccount(t, id.New("account")), &accesspb.ListWaitlistRequest{CourseId: courseID, CohortId: c.GetId(), Cursor: list.GetNextCursor()})
	if err != nil || len(list.GetItems()) != 1 || list.GetItems()[0].GetAccountId() != people[2] || list.GetNextCursor() != "" {
		t.Fatalf("%v, %v", list, err)
	}
	removed, err := e.cohorts().RemoveCohortMember(asAccount(t, id.New("account")), &accesspb.RemoveCohortMemberRequest{CourseId: courseID, CohortId: c.GetId(), AccountId: people[0], Reason: "gone"})
	if err != nil || removed.GetLeftWhy() != "removed" {
		t.Fatalf("%v, %v", removed, err)
	}
	// An offer does not last longer than the time to join.
	mine, err := e.cohorts().ListMyWaitlist(asAccount(t, people[1]), &accesspb.ListMyWaitlistRequest{})
	if err != nil || len(mine.GetItems()) != 1 || !mine.GetItems()[0].GetOfferEndsAt().AsTime().Equal(until.Truncate(time.Microsecond)) {
		t.Fatalf("%v, %v", mine, err)
	}
	off, err := e.cohorts().RemoveFromWaitlist(asAccount(t, id.New("account")), &accesspb.RemoveFromWaitlistRequest{CourseId: courseID, CohortId: c.GetId(), AccountId: people[1], Reason: "gone"})
	if err != nil || off.GetState() != "removed" {
		t.Fatalf("%v, %v", off, err)
	}
	if got := e.cohortNow(t, c); got.GetOffered() != 1 || got.GetWaiting() != 0 {
		t.Errorf("%v", got)
	}
	if _, err := e.joins(t, e.person(t), c); fault.CodeOf(err) != "cohort.full" {
		t.Error(err)
	}
	if _, err := e.waits(t, people[0], c); err != nil {
		t.Fatal(err)
	}
	e.clock.Add(3 * time.Hour)
	e.tick(t)
	if got := e.cohortNow(t, c); got.GetOffered() != 0 || got.GetWaiting() != 0 {
		t.Errorf("%v", got)
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM cohort WHERE tend_at IS NOT NULL`); n != 0 {
		t.Error("there is nothing left to do, and it is done again and again")
	}
}

func TestCohortOnly(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, ada := e.course(t, 0), e.person(t)
	c := e.cohort(t, courseID, 0)
	policy, err := e.cohorts().GetEnrollmentPolicy(asAccount(t, ada), &accesspb.GetEnrollmentPolicyRequest{CourseId: courseID})
	if err != nil || policy.GetCohortOnly() || policy.GetEtag() != "1" {
		t.Fatalf("%v, %v", policy, err)
	}
	for range 2 {
		if policy, err = e.cohorts().UpdateEnrollmentPolicy(rpc.WithIfMatch(asAccount(t, ada), policy.GetEtag()), &accesspb.UpdateEnrollmentPolicyRequest{CourseId: courseID, CohortOnly: true}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = e.cohorts().UpdateEnrollmentPolicy(rpc.WithIfMatch(asAccount(t, ada), "1"), &accesspb.UpdateEnrollmentPolicyRequest{CourseId: courseID})
	wantCode(t, err, "etag.stale")
	_, err = e.CreateEnrollment(asAccount(t, ada), &accesspb.CreateEnrollmentRequest{CourseId: courseID})
	wantCode(t, err, "enrollment.cohort_only")
	if _, err := e.joins(t, ada, c); err != nil {
		t.Error(err)
	}
}

func TestClosedCohortIsHidden(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, ada, staff := e.course(t, 0), e.person(t), id.New("account")
	e.cohort(t, courseID, 0)
	shut, err := e.cohorts().CreateCohort(asAccount(t, staff), &accesspb.CreateCohortRequest{CourseId: courseID, Name: "Invited", StartsAt: timestamppb.New(e.clock.Now())})
	if err != nil {
		t.Fatal(err)
	}
	// Who is asked for permissions from now on has them as staff, or sees the course.
	h := rpctest.New(t, func(account, _, permission string) bool { return account == staff || permission == courseView })
	e.service.Register(h)
	guarded := accesspb.NewCohortServiceClient(h.As("edge"))
	list := func(account string) int {
		t.Helper()
		got, err := guarded.ListCohorts(asAccount(t, account), &accesspb.ListCohortsRequest{CourseId: courseID})
		if err != nil {
			t.Fatal(err)
		}
		return len(got.GetItems())
	}
	if list(staff) != 2 || list(ada) != 1 {
		t.Errorf("staff see %d, others %d", list(staff), list(ada))
	}
	get := func(account string) error {
		_, err := guarded.GetCohort(asAccount(t, account), &accesspb.GetCohortRequest{CourseId: courseID, CohortId: shut.GetId()})
		return err
	}
	if err := get(staff); err != nil {
		t.Error(err)
	}
	wantCode(t, get(ada), "cohort.not_found")
	if _, err := e.cohorts().AddCohortMember(asAccount(t, staff), &accesspb.AddCohortMemberRequest{
		CourseId: courseID, CohortId: shut.GetId(), AccountId: ada, Reason: "invited",
	}); err != nil {
		t.Fatal(err)
	}
	if err := get(ada); err != nil {
		t.Error(err)
	}
}

// What is counted is what is there, whatever people do and whatever time brings.
func TestCohortCounts(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	rapid.Check(t, func(t *rapid.T) {
		courseID := e.course(t, 0)
		cohorts := []*accesspb.Cohort{e.cohort(t, courseID, 1), e.cohort(t, courseID, 2)}
		people := []string{id.New("account"), id.New("account"), id.New("account"), id.New("account")}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			c, p := rapid.SampledFrom(cohorts).Draw(t, "cohort"), rapid.SampledFrom(people).Draw(t, "person")
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 0, 1:
				_, _ = e.joins(t, p, c)
			case 2:
				_ = e.leaves(t, p, c)
			case 3:
				_, _ = e.waits(t, p, c)
			case 4:
				_, _ = e.cohorts().LeaveWaitlist(asAccount(t, p), &accesspb.LeaveWaitlistRequest{CourseId: courseID, CohortId: c.GetId()})
			case 5:
				e.clock.Add(time.Duration(rapid.IntRange(1, 50).Draw(t, "hours")) * time.Hour)
				e.tick(t)
			case 6:
				_, _ = e.cohorts().UpdateCohort(asAccount(t, p), &accesspb.UpdateCohortRequest{
					CourseId: courseID, CohortId: c.GetId(), Seats: new(rapid.Int32Range(0, 3).Draw(t, "seats")),
				})
			}
			checkCounts(t, e, courseID)
		}
	})
}

func checkCounts(t *rapid.T, e *env, courseID string) {
	t.Helper()
	var wrong int
	err := e.db.QueryRow(t.Context(), `
		SELECT count(*) FROM cohort c WHERE course_id = $1 AND (
			taken <> (SELECT count(*) FROM cohort_member m WHERE m.cohort_id = c.id AND (left_at IS NULL OR left_why = 'completed'))
			OR offered <> (SELECT count(*) FROM waitlist w WHERE w.cohort_id = c.id AND state = 'offered')
			OR waiting <> (SELECT count(*) FROM waitlist w WHERE w.cohort_id = c.id AND state = 'waiting'))`, courseID).Scan(&wrong)
	if err != nil || wrong != 0 {
		t.Fatalf("%d cohorts count what is not there, %v", wrong, err)
	}
	// Of those who are in a cohort in its time each has access, and nobody else.
	err = e.db.QueryRow(t.Context(), `
		SELECT count(*) FROM entitlement e WHERE course_id = $1 AND revoked_at IS NULL AND (ends_at IS NULL OR ends_at > $2)
		AND NOT EXISTS (SELECT FROM cohort_member m WHERE m.entitlement_id = e.id AND left_at IS NULL)`, courseID, e.service.now()).Scan(&wrong)
	if err != nil || wrong != 0 {
		t.Fatalf("%d have access by a cohort that they are not in, %v", wrong, err)
	}
	err = e.db.QueryRow(t.Context(), `
		SELECT count(*) FROM cohort_member m JOIN cohort c ON c.id = m.cohort_id LEFT JOIN entitlement e ON e.id = m.entitlement_id
		WHERE m.course_id = $1 AND m.left_at IS NULL AND (e.id IS NULL OR e.revoked_at IS NOT NULL
			OR e.starts_at <> greatest(c.starts_at, m.joined_at) OR e.ends_at <> greatest(c.ends_at, c.starts_at, m.joined_at))`, courseID).Scan(&wrong)
	if err != nil || wrong != 0 {
		t.Fatalf("%d are in a cohort without access in its time, %v", wrong, err)
	}
}
