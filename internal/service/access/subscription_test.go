package access

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// periodOf is an order of a period of a subscription, which gives access until a moment.
func periodOf(buyer string, starts, ends time.Time, courses ...string) *commercepb.OrderPaid {
	o := orderOf(buyer, starts, courses...)
	o.SubscriptionId = id.New("subscription")
	for _, l := range o.GetLines() {
		l.Kind, l.StartsAt, l.EndsAt = "subscription", timestamppb.New(starts), timestamppb.New(ends)
	}
	return o
}

// periodsEnd is that a subscription ended, with the periods whose access ends by it.
func periodsEnd(at time.Time, periods ...*commercepb.OrderPaid) *commercepb.SubscriptionEnded {
	e := &commercepb.SubscriptionEnded{SubscriptionId: periods[0].GetSubscriptionId(), BuyerId: periods[0].GetBuyerId(), EndedAt: timestamppb.New(at), Reason: "cancelled", Version: 9}
	for _, o := range periods {
		for _, l := range o.GetLines() {
			e.Lines = append(e.Lines, &commercepb.EndedLine{LineId: l.GetLineId(), CourseId: l.GetCourseId()})
		}
	}
	return e
}

// A period gives access for its time; the next one goes on, or brings access back when
// it had ended.
func TestPeriods(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	course, buyer := e.course(t, 4900), e.person(t)
	start := e.clock.Now()
	first := periodOf(buyer, start, start.Add(33*24*time.Hour), course)
	for range 2 {
		deliver(t, e, e.service.orderPaid, first)
	}
	if !e.reads(t, buyer, course) {
		t.Fatal("a period gives no access")
	}
	e.clock.Add(33 * 24 * time.Hour)
	if e.reads(t, buyer, course) {
		t.Error("access lasts for longer than was paid")
	}
	if err := e.service.followClock(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The renewal is paid four days late: for the period that began meanwhile.
	e.clock.Add(24 * time.Hour)
	begins := start.Add(30 * 24 * time.Hour)
	second := periodOf(buyer, begins, begins.Add(33*24*time.Hour), course)
	second.PaidAt = timestamppb.New(e.clock.Now())
	deliver(t, e, e.service.orderPaid, second)
	if !e.reads(t, buyer, course) {
		t.Error("access did not return")
	}
	if got := query[time.Time](t, e.db, `SELECT starts_at FROM entitlement WHERE source_id = $1`, second.GetLines()[0].GetLineId()); !got.Equal(begins.Truncate(time.Microsecond)) {
		t.Errorf("it begins %s, want %s", got, begins)
	}
	var kinds []string
	for _, event := range e.events(t) {
		kinds = append(kinds, string(event.ProtoReflect().Descriptor().Name()))
	}
	if !slices.Equal(kinds, []string{"EntitlementGranted", "EnrollmentStarted", "EnrollmentEnded", "EntitlementGranted", "EnrollmentResumed"}) {
		t.Errorf("%v", kinds)
	}
}

// When a subscription ends, so does what it gave, at that moment: in whatever order it is
// heard, and however often.
func TestSubscriptionEnds(t *testing.T) {
	t.Parallel()
	for name, order := range map[string][]int{"after": {0, 1, 1}, "before": {1, 0, 1}, "twice": {1, 1, 0, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			course, buyer := e.course(t, 4900), e.person(t)
			start := e.clock.Now()
			period := periodOf(buyer, start, start.Add(33*24*time.Hour), course)
			end := start.Add(30 * 24 * time.Hour)
			for _, what := range order {
				if what == 0 {
					deliver(t, e, e.service.orderPaid, period)
				} else {
					deliver(t, e, e.service.subscriptionEnded, periodsEnd(end, period))
				}
			}
			if !e.reads(t, buyer, course) {
				t.Error("it ended before its time")
			}
			e.clock.Add(30 * 24 * time.Hour)
			if e.reads(t, buyer, course) {
				t.Error("it lasts for longer than the subscription")
			}
			got := query[time.Time](t, e.db, `SELECT ends_at FROM entitlement WHERE source_id = $1`, period.GetLines()[0].GetLineId())
			if !got.Equal(end.Truncate(time.Microsecond)) {
				t.Errorf("it ends %s, want %s", got, end)
			}
		})
	}
}

// One that is ended at once ends what it gives at once, also what it gives later; one that
// never gave anything, and one whose end is not told, change nothing.
func TestSubscriptionEndsNow(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	course, buyer := e.course(t, 4900), e.person(t)
	start := e.clock.Now()
	first, second := periodOf(buyer, start, start.Add(33*24*time.Hour), course), periodOf(buyer, start, start.Add(60*24*time.Hour), course)
	deliver(t, e, e.service.orderPaid, first)
	e.clock.Add(time.Hour)
	deliver(t, e, e.service.subscriptionEnded, periodsEnd(e.clock.Now(), first, second))
	if e.reads(t, buyer, course) {
		t.Error("access goes on")
	}
	deliver(t, e, e.service.orderPaid, second)
	if e.reads(t, buyer, course) {
		t.Error("access came later")
	}
	for _, event := range []*commercepb.SubscriptionEnded{{SubscriptionId: id.New("subscription")}, {Lines: periodsEnd(start, first).GetLines()}} {
		deliver(t, e, e.service.subscriptionEnded, event)
	}
}

// A subscription and a purchase of one course are apart: the end of one, or its refund,
// leaves the other.
func TestSubscriptionBesidePurchase(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	course := e.course(t, 4900)
	for name, tc := range map[string]struct {
		ends  func(period, bought *commercepb.OrderPaid) proto.Message
		stays string
	}{
		"the period is given back": {func(period, _ *commercepb.OrderPaid) proto.Message { return refundOf(period, 0) }, "order"},
		"the subscription ends":    {func(period, _ *commercepb.OrderPaid) proto.Message { return periodsEnd(e.clock.Now(), period) }, "order"},
		"the purchase is given back": {
			func(_, bought *commercepb.OrderPaid) proto.Message { return refundOf(bought, 0) }, "subscription",
		},
	} {
		buyer := e.person(t)
		period, bought := periodOf(buyer, e.clock.Now(), e.clock.Now().Add(33*24*time.Hour), course), orderOf(buyer, e.clock.Now(), course)
		deliver(t, e, e.service.orderPaid, period)
		entitled := func(beside bool) int {
			t.Helper()
			res, err := e.peer.ListEntitled(t.Context(), &accesspb.ListEntitledRequest{AccountId: buyer, CourseIds: []string{course}, BesideSubscriptions: beside})
			if err != nil {
				t.Fatal(err)
			}
			return len(res.GetCourseIds())
		}
		if entitled(false) != 1 || entitled(true) != 0 {
			t.Errorf("%s: entitled %d, beside subscriptions %d", name, entitled(false), entitled(true))
		}
		deliver(t, e, e.service.orderPaid, bought)
		if entitled(true) != 1 {
			t.Errorf("%s: not entitled beside subscriptions", name)
		}
		switch event := tc.ends(period, bought).(type) {
		case *commercepb.LinesRefunded:
			deliver(t, e, e.service.linesRefunded, event)
		case *commercepb.SubscriptionEnded:
			deliver(t, e, e.service.subscriptionEnded, event)
		}
		if !e.reads(t, buyer, course) {
			t.Errorf("%s: nothing is left", name)
		}
		if got := query[string](t, e.db, `SELECT source FROM entitlement WHERE account_id = $1 AND revoked_at IS NULL AND (ends_at IS NULL OR ends_at > $2)`, buyer, e.clock.Now()); got != tc.stays {
			t.Errorf("%s: %s is left, want %s", name, got, tc.stays)
		}
	}
}

// A period that is paid for ends no later by what staff say: commerce would end it as access
// without pay. It may end sooner.
func TestPeriodIsNotExtended(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	course, buyer := e.course(t, 4900), e.person(t)
	ends := e.clock.Now().Add(33 * 24 * time.Hour)
	deliver(t, e, e.service.orderPaid, periodOf(buyer, e.clock.Now(), ends, course))
	staff := asAccount(t, id.New("account"))
	grant := query[string](t, e.db, `SELECT id FROM entitlement WHERE account_id = $1`, buyer)
	end := func(at *timestamppb.Timestamp) error {
		_, err := e.ledger().UpdateEntitlement(staff, &accesspb.UpdateEntitlementRequest{CourseId: course, EntitlementId: grant, EndsAt: at, Reason: "x"})
		return err
	}
	for _, at := range []*timestamppb.Timestamp{nil, timestamppb.New(ends.Add(time.Second))} {
		if err := end(at); fault.CodeOf(err) != "entitlement.subscription" {
			t.Errorf("until %v: %v", at, err)
		}
	}
	if err := end(timestamppb.New(ends.Add(-time.Hour))); err != nil {
		t.Error(err)
	}
}
