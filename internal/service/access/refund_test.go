package access

import (
	"math/rand/v2"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// refundOf gives back lines of an order, all of them in full.
func refundOf(order *commercepb.OrderPaid, lines ...int) *commercepb.LinesRefunded {
	event := &commercepb.LinesRefunded{OrderId: order.GetOrderId(), BuyerId: order.GetBuyerId(), RefundId: id.New("refund")}
	for _, i := range lines {
		l := order.GetLines()[i]
		event.Lines = append(event.Lines, &commercepb.LineRefund{LineId: l.GetLineId(), CourseId: l.GetCourseId(), Full: true, AccessEnds: true})
	}
	return event
}

// A refund ends what its lines gave and nothing else: neither the other lines of the
// order, nor what another order gave.
func TestRefundEndsOneGrant(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	one, two, buyer := e.course(t, 4900), e.course(t, 4900), e.person(t)
	first, second := orderOf(buyer, e.clock.Now(), one, two), orderOf(buyer, e.clock.Now(), one)
	deliver(t, e, e.service.orderPaid, first)
	deliver(t, e, e.service.orderPaid, second)
	for range 2 {
		deliver(t, e, e.service.linesRefunded, refundOf(first, 0))
	}
	if !e.reads(t, buyer, one) || !e.reads(t, buyer, two) {
		t.Error("what another order and another line gave has ended")
	}
	part := refundOf(second, 0)
	part.Lines[0].AccessEnds, part.Lines[0].Full = false, false
	deliver(t, e, e.service.linesRefunded, part)
	if !e.reads(t, buyer, one) {
		t.Error("a part of the money ended access")
	}
	deliver(t, e, e.service.linesRefunded, refundOf(second, 0))
	if e.reads(t, buyer, one) || !e.reads(t, buyer, two) {
		t.Error("access is not to what is left")
	}
	ended := 0
	for _, event := range e.events(t) {
		if _, ok := event.(*accesspb.EntitlementRevoked); ok {
			ended++
		}
	}
	if ended != 2 {
		t.Errorf("%d grants were revoked, want 2", ended)
	}
}

// Who redeemed a gift loses it, and seats end with all that they gave.
func TestRefundOfGiftAndSeats(t *testing.T) {
	t.Parallel()
	m := newTeam(t, 2, func(*accesspb.CreateSeatBlockRequest) {})
	_, member := m.fill("zeno")
	friend := m.person(t)
	order := orderOf(m.holder, m.clock.Now(), m.courseID, m.courseID)
	exec(t, m.db, `UPDATE seat_block SET source_id = $2 WHERE id = $1`, m.block, order.GetLines()[0].GetLineId())
	if _, err := m.sales().GrantEntitlements(t.Context(), &accesspb.GrantEntitlementsRequest{Grants: []*accesspb.GrantEntitlementsRequest_Grant{
		{AccountId: friend, CourseId: m.courseID, Source: "gift", SourceId: order.GetLines()[1].GetLineId()},
	}}); err != nil {
		t.Fatal(err)
	}
	if !m.reads(member) || !m.reads(friend) {
		t.Fatal("nothing was given")
	}
	deliver(t, m.env, m.service.linesRefunded, refundOf(order, 0))
	if m.reads(member) || !m.reads(friend) {
		t.Error("seats are not what ended")
	}
	deliver(t, m.env, m.service.linesRefunded, refundOf(order, 1))
	if m.reads(friend) {
		t.Error("the gift has not ended")
	}
}

// A seat was reassigned, and then given back: who has it loses it, who had it before keeps
// what they bought themselves meanwhile, and nobody is given another.
func TestSeatReassignedThenRefunded(t *testing.T) {
	t.Parallel()
	m := newTeam(t, 2, nil)
	order := orderOf(m.holder, m.clock.Now(), m.courseID)
	exec(t, m.db, `UPDATE seat_block SET source_id = $2 WHERE id = $1`, m.block, order.GetLines()[0].GetLineId())
	seat, ada := m.fill("ada")
	m.must(m.release(seat.GetId()))
	own := orderOf(ada, m.clock.Now(), m.courseID)
	deliver(t, m.env, m.service.orderPaid, own)
	_, ben := m.fill("ben")
	m.must(m.assign("cleo@example.org"))
	if !m.reads(ada) || !m.reads(ben) {
		t.Fatal("nothing was given")
	}
	for range 2 {
		deliver(t, m.env, m.service.linesRefunded, refundOf(order, 0))
	}
	if !m.reads(ada) || m.reads(ben) {
		t.Errorf("ada reads %v, ben reads %v", m.reads(ada), m.reads(ben))
	}
	_, err := m.assign("dora@example.org")
	wantCode(t, err, "seat_block.ended")
	if n := query[int](t, m.db, `SELECT count(*) FROM email_invitation WHERE state = 'open'`); n != 0 {
		t.Errorf("%d offers are open", n)
	}
	deliver(t, m.env, m.service.linesRefunded, refundOf(own, 0))
	if m.reads(ada) {
		t.Error("what she bought herself was given back, and is there")
	}
}

// A refund that is heard before what it ends wins: what is granted after it is none,
// whatever it is.
func TestRefundBeforeTheGrant(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	one, two, buyer := e.course(t, 4900), e.course(t, 4900), e.person(t)
	order := orderOf(buyer, e.clock.Now(), one, two)
	line := order.GetLines()[0].GetLineId()
	deliver(t, e, e.service.linesRefunded, refundOf(order, 0))
	deliver(t, e, e.service.orderPaid, order)
	if e.reads(t, buyer, one) || !e.reads(t, buyer, two) {
		t.Error("what was given back gives access")
	}
	grant := &accesspb.GrantEntitlementsRequest{Grants: []*accesspb.GrantEntitlementsRequest_Grant{{AccountId: buyer, CourseId: one, Source: "gift", SourceId: line}}}
	if _, err := e.sales().GrantEntitlements(t.Context(), grant); err != nil || e.reads(t, buyer, one) {
		t.Errorf("a gift that was given back gives access, %v", err)
	}
	if _, err := e.sold().GrantSeatBlocks(t.Context(), &accesspb.GrantSeatBlocksRequest{Grants: []*accesspb.GrantSeatBlocksRequest_Grant{
		{CourseId: one, HolderId: buyer, SourceId: line, Seats: 3},
	}}); err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM seat_block`); n != 0 {
		t.Errorf("%d blocks of seats of what was given back", n)
	}
}

// Both at once: whoever is first, nothing is left.
func TestRefundAndGrantAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	course := e.course(t, 4900)
	for range 30 {
		buyer := e.person(t)
		order := orderOf(buyer, e.clock.Now(), course)
		var wg sync.WaitGroup
		for _, event := range []proto.Message{order, refundOf(order, 0)} {
			wg.Go(func() {
				if err := e.db.InTx(t.Context(), func(tx *pg.Tx) error {
					if rand.IntN(2) == 0 { //nolint:gosec // chance, not secrecy
						if _, err := tx.Exec(t.Context(), `SELECT pg_sleep(0.003)`); err != nil {
							return err
						}
					}
					if paid, ok := event.(*commercepb.OrderPaid); ok {
						return e.service.orderPaid(t.Context(), tx, paid)
					}
					return e.service.linesRefunded(t.Context(), tx, event.(*commercepb.LinesRefunded))
				}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if e.reads(t, buyer, course) {
			t.Fatal("what was given back gives access")
		}
	}
}
