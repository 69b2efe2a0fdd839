package access

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// Seats that are sold are a block of the buyer's, who has no access by them; a gift gives
// nothing until somebody takes it. All of it once, however often it is heard.
func TestSeatsAndGiftsAreSold(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	course, buyer := e.course(t, 4900), e.account(t, "Buyer", "buyer@example.org", true)
	paid := e.clock.Now().Add(-time.Minute)
	event := orderOf(buyer, paid, course, course)
	seats, gift := event.GetLines()[0], event.GetLines()[1]
	seats.Kind, seats.Quantity, gift.Kind, gift.Quantity = "seats", 20, "gift", 1
	for range 2 {
		deliver(t, e, e.service.orderPaid, event)
	}
	same(t, e.events(t), []proto.Message{&accesspb.SeatBlockCreated{CourseId: course, HolderId: buyer, SourceId: seats.GetLineId(), Seats: 20}},
		protocmp.IgnoreFields(&accesspb.SeatBlockCreated{}, "block_id"))
	if e.reads(t, buyer, course) {
		t.Error("who buys for others may read")
	}
	blocks, err := e.seats().ListMySeatBlocks(asAccount(t, buyer), &accesspb.ListMySeatBlocksRequest{})
	if err != nil || len(blocks.GetItems()) != 1 || blocks.GetItems()[0].GetSeats() != 20 || blocks.GetItems()[0].GetState() != "live" {
		t.Fatalf("blocks %v, %v", blocks, err)
	}
	if _, err := e.seats().AssignSeat(asAccount(t, buyer), &accesspb.AssignSeatRequest{BlockId: blocks.GetItems()[0].GetId(), Myself: true}); err != nil {
		t.Fatal(err)
	}
	if !e.reads(t, buyer, course) {
		t.Error("who took a seat may not read")
	}

	friend := e.account(t, "Friend", "friend@example.org", true)
	redeemed := &commercepb.GiftRedeemed{LineId: gift.GetLineId(), OrderId: event.GetOrderId(), CourseId: course, AccountId: friend, RedeemedAt: timestamppb.New(paid)}
	for range 2 {
		deliver(t, e, e.service.giftRedeemed, redeemed)
	}
	if !e.reads(t, friend, course) {
		t.Error("who took the gift may not read")
	}
	if n := query[int](t, e.db, `SELECT count(*) FROM entitlement WHERE source = 'gift' AND source_id = $1 AND account_id = $2`, gift.GetLineId(), friend); n != 1 {
		t.Errorf("%d grants of a gift", n)
	}
	// It may be heard of before the order is.
	late := &commercepb.GiftRedeemed{LineId: id.New("line"), OrderId: id.New("order"), CourseId: course, AccountId: e.account(t, "Other", "other@example.org", true)}
	deliver(t, e, e.service.giftRedeemed, late)
	if !e.reads(t, late.GetAccountId(), course) {
		t.Error("who took a gift of an order that is not heard of may not read")
	}
}
