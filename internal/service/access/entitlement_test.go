package access

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

func (e *env) ledger() accesspb.EntitlementServiceClient {
	return accesspb.NewEntitlementServiceClient(e.harness.As("edge"))
}

// sales is the ledger as commerce calls it.
func (e *env) sales() accesspb.EntitlementServiceClient {
	return accesspb.NewEntitlementServiceClient(e.harness.As("commerce"))
}

// person makes an account known.
func (e *env) person(t *testing.T) string {
	t.Helper()
	accountID := id.New("account")
	deliver(t, e, e.service.accountCreated, &identitypb.AccountCreated{AccountId: accountID, Name: "Somebody"})
	return accountID
}

// reads reports whether an account may read the lessons of a course.
func (e *env) reads(t fataler, accountID, courseID string) bool {
	t.Helper()
	listed, err := e.peer.ListEntitled(context.Background(), &accesspb.ListEntitledRequest{AccountId: accountID, CourseIds: []string{courseID}})
	if err != nil {
		t.Fatalf("%v", err)
	}
	may := slices.Contains(e.may(t, accountID, courseID), lessonRead)
	if may != (len(listed.GetCourseIds()) == 1) {
		t.Fatalf("may read lessons: %t, listed as entitled: %v", may, listed.GetCourseIds())
	}
	return may
}

// told returns the names of the events about enrollments, in order.
func (e *env) told(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, event := range e.events(t) {
		switch event.(type) {
		case *accesspb.EnrollmentStarted, *accesspb.EnrollmentEnded, *accesspb.EnrollmentResumed:
			names = append(names, string(event.ProtoReflect().Descriptor().Name()))
		}
	}
	return names
}

func TestGrantByHand(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, accountID, teacher := e.course(t, 4900), e.person(t), id.New("account")
	ctx := asAccount(t, teacher)
	req := &accesspb.CreateEntitlementRequest{CourseId: courseID, AccountId: accountID, Reason: "A guest"}
	got, err := e.ledger().CreateEntitlement(rpc.WithIdempotencyKey(ctx, "one"), req)
	if err != nil {
		t.Fatal(err)
	}
	now := timestamppb.New(e.service.now())
	same(t, got, &accesspb.Entitlement{
		Id: got.GetId(), CourseId: courseID, AccountId: accountID, Source: "manual", StartsAt: now, State: "live", Reason: "A guest", GrantedBy: teacher,
	})
	// The same request is the same grant, another one is another.
	again, err := e.ledger().CreateEntitlement(rpc.WithIdempotencyKey(ctx, "one"), req)
	if err != nil {
		t.Fatal(err)
	}
	same(t, again, got)
	second, err := e.ledger().CreateEntitlement(ctx, req)
	if err != nil || second.GetId() == got.GetId() {
		t.Fatalf("%v, %v", second, err)
	}
	// Ending one leaves the other.
	for range 2 { // the second time changes nothing
		ended, err := e.ledger().RevokeEntitlement(ctx, &accesspb.RevokeEntitlementRequest{CourseId: courseID, EntitlementId: got.GetId(), Reason: "Left"})
		if err != nil || ended.GetState() != "revoked" || ended.GetRevokeReason() != "Left" || !proto.Equal(ended.GetRevokedAt(), now) {
			t.Fatalf("%v, %v", ended, err)
		}
	}
	if !e.reads(t, accountID, courseID) {
		t.Error("the second grant does not hold")
	}
	if _, err := e.ledger().RevokeEntitlement(ctx, &accesspb.RevokeEntitlementRequest{CourseId: courseID, EntitlementId: second.GetId(), Reason: "Left too"}); err != nil {
		t.Fatal(err)
	}
	if e.reads(t, accountID, courseID) {
		t.Error("access without a grant")
	}
	if _, err := e.ledger().CreateEntitlement(ctx, req); err != nil {
		t.Fatal(err)
	}
	same(t, e.told(t), []string{"EnrollmentStarted", "EnrollmentEnded", "EnrollmentResumed"})
	// Both lists have all of them; what staff wrote is for staff.
	staff, err := e.ledger().ListEntitlements(ctx, &accesspb.ListEntitlementsRequest{CourseId: courseID, AccountId: accountID})
	if err != nil || len(staff.GetItems()) != 3 || staff.GetItems()[0].GetReason() != "A guest" {
		t.Errorf("%v, %v", staff, err)
	}
	own, err := e.ledger().ListMyEntitlements(asAccount(t, accountID), &accesspb.ListMyEntitlementsRequest{})
	if err != nil || len(own.GetItems()) != 3 || own.GetItems()[0].GetReason() != "" || own.GetItems()[0].GetGrantedBy() != "" {
		t.Errorf("%v, %v", own, err)
	}
	if others, err := e.ledger().ListMyEntitlements(asAccount(t, teacher), &accesspb.ListMyEntitlementsRequest{}); err != nil || len(others.GetItems()) != 0 {
		t.Errorf("%v, %v", others, err)
	}
}

func TestEntitlementRefuses(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, accountID := e.course(t, 4900), e.person(t)
	ctx := asAccount(t, id.New("account"))
	got, err := e.ledger().CreateEntitlement(ctx, &accesspb.CreateEntitlementRequest{CourseId: courseID, AccountId: accountID, Reason: "x"})
	if err != nil {
		t.Fatal(err)
	}
	before := timestamppb.New(e.clock.Now().Add(-time.Hour))
	create := func(change func(*accesspb.CreateEntitlementRequest)) error {
		req := &accesspb.CreateEntitlementRequest{CourseId: courseID, AccountId: accountID, Reason: "x"}
		change(req)
		_, err := e.ledger().CreateEntitlement(ctx, req)
		return err
	}
	wantCode(t, create(func(r *accesspb.CreateEntitlementRequest) { r.AccountId = id.New("account") }), "account.unknown")
	wantCode(t, create(func(r *accesspb.CreateEntitlementRequest) { r.AccountId = "" }), "request.invalid")
	wantCode(t, create(func(r *accesspb.CreateEntitlementRequest) { r.Reason = "" }), "request.invalid")
	wantCode(t, create(func(r *accesspb.CreateEntitlementRequest) { r.EndsAt = before }), "entitlement.period")
	_, err = e.ledger().RevokeEntitlement(ctx, &accesspb.RevokeEntitlementRequest{CourseId: e.course(t, 0), EntitlementId: got.GetId(), Reason: "another course's"})
	wantCode(t, err, "entitlement.not_found")
	_, err = e.ledger().UpdateEntitlement(ctx, &accesspb.UpdateEntitlementRequest{CourseId: courseID, EntitlementId: got.GetId(), EndsAt: before, Reason: "x"})
	wantCode(t, err, "entitlement.period")
	if _, err := e.ledger().RevokeEntitlement(ctx, &accesspb.RevokeEntitlementRequest{CourseId: courseID, EntitlementId: got.GetId(), Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	_, err = e.ledger().UpdateEntitlement(ctx, &accesspb.UpdateEntitlementRequest{CourseId: courseID, EntitlementId: got.GetId(), Reason: "x"})
	wantCode(t, err, "entitlement.revoked")
	// Others than services can't grant what was not sold.
	_, err = e.ledger().GrantEntitlements(ctx, &accesspb.GrantEntitlementsRequest{Grants: []*accesspb.GrantEntitlementsRequest_Grant{
		{CourseId: courseID, AccountId: accountID, Source: "gift", SourceId: "x"},
	}})
	wantCode(t, err, "not_found")
}

// Access begins and ends by the clock, and enrollments follow.
func TestEntitlementsFollowTheClock(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, accountID := e.course(t, 4900), e.person(t)
	ctx := asAccount(t, id.New("account"))
	start := e.clock.Now()
	at := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(start.Add(d)) }
	got, err := e.ledger().CreateEntitlement(ctx, &accesspb.CreateEntitlementRequest{
		CourseId: courseID, AccountId: accountID, StartsAt: at(time.Hour), EndsAt: at(2 * time.Hour), Reason: "A week's guest",
	})
	if err != nil || got.GetState() != "scheduled" {
		t.Fatalf("%v, %v", got, err)
	}
	step := func(d time.Duration, may bool, told ...string) {
		t.Helper()
		e.clock.Add(d)
		for range 2 { // the second finds nothing to do
			if err := e.service.followClock(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := e.reads(t, accountID, courseID); got != may {
			t.Errorf("%v after the start: may %t, want %t", e.clock.Now().Sub(start), got, may)
		}
		if got := e.told(t); !slices.Equal(got, told) {
			t.Errorf("%v after the start: told %v, want %v", e.clock.Now().Sub(start), got, told)
		}
	}
	step(0, false)
	step(59*time.Minute, false)
	step(2*time.Minute, true, "EnrollmentStarted")
	step(time.Hour, false, "EnrollmentStarted", "EnrollmentEnded")
	// A later end brings it back.
	changed, err := e.ledger().UpdateEntitlement(ctx, &accesspb.UpdateEntitlementRequest{
		CourseId: courseID, EntitlementId: got.GetId(), EndsAt: at(4 * time.Hour), Reason: "Stays on",
	})
	if err != nil || changed.GetState() != "live" {
		t.Fatalf("%v, %v", changed, err)
	}
	step(0, true, "EnrollmentStarted", "EnrollmentEnded", "EnrollmentResumed")
	step(2*time.Hour, false, "EnrollmentStarted", "EnrollmentEnded", "EnrollmentResumed", "EnrollmentEnded")
	if n := query[int](t, e.db, `SELECT count(*) FROM entitlement WHERE due_at IS NOT NULL`); n != 0 {
		t.Errorf("%d grants are waited for", n)
	}
}

// Who took a free course, and whose access was given an end that has passed, may
// take it again.
func TestFreeAgainAfterItsEnd(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, accountID := e.course(t, 0), e.person(t)
	e.enroll(asAccount(t, accountID), t, courseID)
	staff := asAccount(t, id.New("account"))
	list, err := e.ledger().ListEntitlements(staff, &accesspb.ListEntitlementsRequest{CourseId: courseID})
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.ledger().UpdateEntitlement(staff, &accesspb.UpdateEntitlementRequest{
		CourseId: courseID, EntitlementId: list.GetItems()[0].GetId(), EndsAt: timestamppb.New(e.clock.Now().Add(time.Hour)), Reason: "x",
	})
	if err != nil {
		t.Fatal(err)
	}
	e.clock.Add(2 * time.Hour)
	if err := e.service.followClock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e.reads(t, accountID, courseID) {
		t.Fatal("access after its end")
	}
	if got := e.enroll(asAccount(t, accountID), t, courseID); got.GetState() != "active" || !e.reads(t, accountID, courseID) {
		t.Errorf("%v", got)
	}
	same(t, e.told(t), []string{"EnrollmentStarted", "EnrollmentEnded", "EnrollmentResumed"})
}

// What a service grants happens once for its source, and a refund of it ends
// that alone.
func TestGrantsOfServices(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	one, two, buyer := e.course(t, 4900), e.course(t, 4900), id.New("account")
	ctx := t.Context()
	grant := func(source, sourceID string, courses ...string) {
		t.Helper()
		req := &accesspb.GrantEntitlementsRequest{}
		for _, c := range courses {
			req.Grants = append(req.Grants, &accesspb.GrantEntitlementsRequest_Grant{CourseId: c, AccountId: buyer, Source: source, SourceId: sourceID})
		}
		var wg sync.WaitGroup
		for range 4 { // asked for again and again, and at once
			wg.Go(func() {
				if _, err := e.sales().GrantEntitlements(ctx, req); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	for _, source := range []string{"order", "subscription", "seat", "gift", "code", "waiver"} {
		grant(source, "source-of-"+source, one)
	}
	grant("order", "a-bundle", one, two) // one line, two courses
	if n := query[int](t, e.db, `SELECT count(*) FROM entitlement`); n != 8 {
		t.Errorf("%d grants, want 8", n)
	}
	revoke := func(source string, want int32, ids ...string) {
		t.Helper()
		res, err := e.sales().RevokeEntitlements(ctx, &accesspb.RevokeEntitlementsRequest{Source: source, SourceIds: ids, Reason: "refunded"})
		if err != nil || res.GetRevoked() != want {
			t.Errorf("%s %v: %v, %v; want %d", source, ids, res, err, want)
		}
	}
	revoke("order", 2, "a-bundle", "unknown")
	revoke("order", 0, "a-bundle")
	if e.reads(t, buyer, two) || !e.reads(t, buyer, one) {
		t.Error("a refund of the bundle ends it, and nothing else")
	}
	// What was refunded is not given again when the sale is told once more.
	grant("order", "a-bundle", two)
	if e.reads(t, buyer, two) {
		t.Error("access is back after a refund")
	}
	for _, source := range []string{"order", "subscription", "seat", "gift", "code"} {
		revoke(source, 1, "source-of-"+source)
	}
	if !e.reads(t, buyer, one) {
		t.Error("the last grant does not hold")
	}
	revoke("waiver", 1, "source-of-waiver")
	if e.reads(t, buyer, one) {
		t.Error("access without a grant")
	}
}

// Two who change the grants of one enrollment at the same time leave it as the
// ledger has it.
func TestGrantAndRevokeAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	courseID, accountID := e.course(t, 4900), e.person(t)
	ctx := asAccount(t, id.New("account"))
	for round := range 8 {
		got, err := e.ledger().CreateEntitlement(ctx, &accesspb.CreateEntitlementRequest{CourseId: courseID, AccountId: accountID, Reason: "old"})
		if err != nil {
			t.Fatal(err)
		}
		keep := round%2 == 0
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := e.ledger().RevokeEntitlement(ctx, &accesspb.RevokeEntitlementRequest{CourseId: courseID, EntitlementId: got.GetId(), Reason: "x"}); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if !keep {
				return
			}
			req := &accesspb.GrantEntitlementsRequest{Grants: []*accesspb.GrantEntitlementsRequest_Grant{
				{CourseId: courseID, AccountId: accountID, Source: "gift", SourceId: fmt.Sprint(round)},
			}}
			if _, err := e.sales().GrantEntitlements(t.Context(), req); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if active := query[bool](t, e.db, `SELECT active FROM enrollment`); active != keep || e.reads(t, accountID, courseID) != keep {
			t.Fatalf("round %d: active %t, want %t", round, active, keep)
		}
		exec(t, e.db, `UPDATE entitlement SET revoked_at = $1, revoke_reason = 'next round' WHERE revoked_at IS NULL`, e.service.now())
		if err := e.db.InTx(t.Context(), func(tx *pg.Tx) error { return e.service.follow(t.Context(), tx, []subject{{accountID, courseID}}) }); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLedgerIsTheOrOfGrants: any sequence of grants, revocations, refunds, new
// ends and hours that pass leaves access as a naive model has it, and enrollments
// as they were told.
func TestLedgerIsTheOrOfGrants(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, Schema)
	e := newEnvOn(t, db)
	rapid.Check(t, func(rt *rapid.T) {
		type grant struct {
			id, source, sourceID string
			starts, ends         time.Time // zero: no end
			revoked              bool
		}
		courseID, accountID := id.New("course"), id.New("account")
		exec(t, db, `INSERT INTO person VALUES ($1, 'Somebody', 1)`, accountID)
		ctx := rpctest.Account(t.Context(), id.New("account"))
		var model []*grant
		live := func() bool {
			now := e.service.now()
			return slices.ContainsFunc(model, func(g *grant) bool {
				return !g.revoked && !g.starts.After(now.Add(begins)) && (g.ends.IsZero() || g.ends.After(now))
			})
		}
		fail := func(err error) {
			if err != nil {
				rt.Fatalf("%v", err)
			}
		}
		pick := func(label string) *grant { return model[rapid.IntRange(0, len(model)-1).Draw(rt, label)] }
		stamp := func(at time.Time) *timestamppb.Timestamp {
			if at.IsZero() {
				return nil
			}
			return timestamppb.New(at)
		}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0, 1: // a grant of some source
				g := &grant{source: rapid.SampledFrom([]string{"manual", "order", "seat"}).Draw(rt, "source")}
				g.starts = e.service.now().Add(time.Duration(rapid.IntRange(-2, 2).Draw(rt, "starts")) * time.Hour)
				if hours := rapid.IntRange(0, 4).Draw(rt, "hours"); hours > 0 {
					g.ends = g.starts.Add(time.Duration(hours) * time.Hour)
				}
				if g.source == "manual" {
					res, err := e.ledger().CreateEntitlement(ctx, &accesspb.CreateEntitlementRequest{
						CourseId: courseID, AccountId: accountID, StartsAt: stamp(g.starts), EndsAt: stamp(g.ends), Reason: "x",
					})
					fail(err)
					g.id = res.GetId()
				} else {
					g.sourceID = accountID + fmt.Sprint(rapid.IntRange(0, 3).Draw(rt, "source id"))
					_, err := e.sales().GrantEntitlements(t.Context(), &accesspb.GrantEntitlementsRequest{Grants: []*accesspb.GrantEntitlementsRequest_Grant{{
						CourseId: courseID, AccountId: accountID, Source: g.source, SourceId: g.sourceID, StartsAt: stamp(g.starts), EndsAt: stamp(g.ends),
					}}})
					fail(err)
					if slices.ContainsFunc(model, func(o *grant) bool { return o.source == g.source && o.sourceID == g.sourceID }) {
						continue // it was there
					}
				}
				model = append(model, g)
			case 2: // a refund
				source, sourceID := rapid.SampledFrom([]string{"order", "seat"}).Draw(rt, "refund"), accountID+fmt.Sprint(rapid.IntRange(0, 3).Draw(rt, "refund id"))
				_, err := e.sales().RevokeEntitlements(t.Context(), &accesspb.RevokeEntitlementsRequest{Source: source, SourceIds: []string{sourceID}, Reason: "refund"})
				fail(err)
				for _, g := range model {
					g.revoked = g.revoked || g.source == source && g.sourceID == sourceID
				}
			case 3: // a revocation by hand
				if len(model) > 0 {
					if g := pick("revoke"); g.id != "" {
						_, err := e.ledger().RevokeEntitlement(ctx, &accesspb.RevokeEntitlementRequest{CourseId: courseID, EntitlementId: g.id, Reason: "x"})
						fail(err)
						// What has ended by itself stays so, and may get a new end.
						g.revoked = g.revoked || g.ends.IsZero() || g.ends.After(e.service.now())
					}
				}
			case 4: // a new end
				if len(model) > 0 {
					if g := pick("extend"); g.id != "" && !g.revoked {
						ends := g.starts.Add(time.Duration(rapid.IntRange(1, 6).Draw(rt, "new hours")) * time.Hour)
						_, err := e.ledger().UpdateEntitlement(ctx, &accesspb.UpdateEntitlementRequest{
							CourseId: courseID, EntitlementId: g.id, EndsAt: stamp(ends), Reason: "x",
						})
						fail(err)
						g.ends = ends
					}
				}
			case 5: // time passes
				e.clock.Add(time.Duration(rapid.IntRange(1, 3).Draw(rt, "pass")) * time.Hour)
			}
			if got := e.reads(t, accountID, courseID); got != live() {
				rt.Fatalf("access %t, the OR of the grants is %t", got, live())
			}
		}
		fail(e.service.followClock(t.Context()))
		var active bool
		err := db.QueryRow(t.Context(), `SELECT coalesce((SELECT active FROM enrollment WHERE account_id = $1), false)`, accountID).Scan(&active)
		fail(err)
		if active != live() {
			rt.Fatalf("the enrollment is active: %t, the OR of the grants is %t", active, live())
		}
	})
}
