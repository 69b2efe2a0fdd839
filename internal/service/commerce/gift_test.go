package commerce_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

func TestGifts(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer, friend := id.New("account"), id.New("account"), id.New("account")
	course := s.course(seller, 4900, "EUR")
	note := &commercepb.GiftNote{FromName: "Your aunt", Note: "Enjoy it!"}
	wrapped := &commercepb.CartItem{CourseId: course, Kind: "gift", Gift: note}
	plain := &commercepb.CartItem{CourseId: course, Kind: "gift"}
	s.access.enrolled[buyer+course] = true
	o := must[*commercepb.Order](s)(s.buy(buyer, must[*commercepb.Quote](s)(s.quote(buyer, "EUR", "", wrapped, plain))))
	gifts := func() []*commercepb.Gift {
		s.Helper()
		return must[*commercepb.ListMyGiftsResponse](s)(s.desk.ListMyGifts(s.as(buyer), &commercepb.ListMyGiftsRequest{})).GetItems()
	}
	if g := gifts(); len(g) != 0 {
		t.Fatalf("not paid, and yet %v", g)
	}
	for range 2 {
		if _, err := s.settle(o, "succeed"); err != nil {
			t.Fatal(err)
		}
	}
	got := must[*commercepb.Order](s)(s.client.GetOrder(s.as(buyer), &commercepb.GetOrderRequest{OrderId: o.GetId()}))
	if got.GetState() != "fulfilled" || len(sent[*commercepb.OrderFulfilled](s)) != 1 {
		t.Fatalf("order %v", got)
	}
	list := gifts()
	if len(list) != 2 || list[0].GetState() != "open" || list[0].GetCode() == list[1].GetCode() || len(list[0].GetCode()) != 19 {
		t.Fatalf("gifts %v", list)
	}
	byNote := map[bool]*commercepb.Gift{list[0].GetGift() != nil: list[0], list[1].GetGift() != nil: list[1]}
	first := byNote[true]
	if diff := cmp.Diff(note, first.GetGift(), protocmp.Transform()); diff != "" {
		t.Fatal(diff)
	}
	redeem := func(who, code string) (*commercepb.RedeemedGift, error) {
		return s.desk.RedeemGift(s.as(who), &commercepb.RedeemGiftRequest{Code: code})
	}
	wantCode(t, second(redeem(buyer, first.GetCode())), "gift.already_enrolled")
	wantCode(t, second(redeem(seller, first.GetCode())), "gift.own_course")

	// Of many who have the code one gets it, who may ask again.
	rivals := []string{friend, id.New("account"), id.New("account"), id.New("account")}
	var winner atomic.Pointer[string]
	var wg sync.WaitGroup
	for _, who := range rivals {
		wg.Go(func() {
			r, err := redeem(who, strings.ToLower(strings.ReplaceAll(first.GetCode(), "-", " ")))
			switch {
			case err == nil && r.GetGift().GetNote() == "Enjoy it!" && r.GetCourseId() == course:
				if !winner.CompareAndSwap(nil, &who) {
					t.Error("two have it")
				}
			case fault.CodeOf(err) != "gift.invalid":
				t.Errorf("%v, %v", r, err)
			}
		})
	}
	wg.Wait()
	if winner.Load() == nil {
		t.Fatal("nobody has it")
	}
	if r, err := redeem(*winner.Load(), first.GetCode()); err != nil || r.GetRedeemedAt() == nil {
		t.Fatalf("again: %v, %v", r, err)
	}
	events := sent[*commercepb.GiftRedeemed](s)
	if len(events) != 1 || events[0].GetAccountId() != *winner.Load() || events[0].GetLineId() != first.GetLineId() {
		t.Fatalf("GiftRedeemed: %v", events)
	}

	// One that was paid back is none.
	other := byNote[false]
	if err := s.db.InTx(t.Context(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		return commerce.LetGoLines(t.Context(), tx, []string{other.GetLineId()})
	}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, second(redeem(id.New("account"), other.GetCode())), "gift.invalid")
	states := map[string]string{}
	for _, g := range gifts() {
		states[g.GetLineId()] = g.GetState()
	}
	if diff := cmp.Diff(map[string]string{first.GetLineId(): "redeemed", other.GetLineId(): "returned"}, states); diff != "" {
		t.Fatal(diff)
	}
}

// Who has just taken a gift, or paid for the course, has it, although access has not said so
// yet: another gift of it stays as it is, also of two that are taken at once.
func TestGiftOfWhatIsOnItsWay(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer, friend, other := id.New("account"), id.New("account"), id.New("account")
	course := s.course(id.New("account"), 4900, "EUR")
	wrapped := &commercepb.CartItem{CourseId: course, Kind: "gift"}
	s.boughtItems(buyer, wrapped, wrapped, wrapped)
	gifts := must[*commercepb.ListMyGiftsResponse](s)(s.desk.ListMyGifts(s.as(buyer), &commercepb.ListMyGiftsRequest{})).GetItems()
	redeem := func(who string, n int) error {
		_, err := s.desk.RedeemGift(s.as(who), &commercepb.RedeemGiftRequest{Code: gifts[n].GetCode()})
		return err
	}
	var wg sync.WaitGroup
	var taken atomic.Int32
	for n := range gifts {
		wg.Go(func() {
			if err := redeem(friend, n); err == nil {
				taken.Add(1)
			} else if fault.CodeOf(err) != "gift.already_enrolled" {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if taken.Load() != 1 {
		t.Errorf("%d of three gifts of one course were taken by one", taken.Load())
	}
	_, err := s.client.CreateOrder(s.as(friend), &commercepb.CreateOrderRequest{CourseIds: []string{course}})
	wantCode(t, err, "order.already_enrolled")

	own := s.paidOrder(other, course)
	for n := range gifts {
		if err := redeem(other, n); err == nil {
			t.Error("it was taken by who has paid for the course")
		}
	}
	// What was given back comes no more.
	s.gaveBack(own)
	left := 0
	for n := range gifts {
		if redeem(other, n) == nil {
			left++
		}
	}
	if left != 1 {
		t.Errorf("%d gifts were left for who has the course no more", left)
	}
}

// Neither the codes of gifts nor what is written to who gets them is in the database as
// it is read.
func TestGiftsAreSealed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer, friend := id.New("account"), id.New("account")
	course := s.course(id.New("account"), 4900, "EUR")
	wrapped := &commercepb.CartItem{CourseId: course, Kind: "gift", Gift: &commercepb.GiftNote{FromName: "Aunt Philippa", Note: "Congratulations"}}
	ctx := func(key string) *commercepb.Quote {
		q, err := s.desk.CreateQuote(rpc.WithIdempotencyKey(s.as(buyer), key), &commercepb.CreateQuoteRequest{Items: []*commercepb.CartItem{wrapped}})
		return must[*commercepb.Quote](s)(q, err)
	}
	if _, err := s.desk.SetCart(rpc.WithIdempotencyKey(s.as(buyer), "cart"), &commercepb.SetCartRequest{Items: []*commercepb.CartItem{wrapped}}); err != nil {
		t.Fatal(err)
	}
	o := must[*commercepb.Order](s)(s.client.CreateOrder(rpc.WithIdempotencyKey(s.as(buyer), "order"), &commercepb.CreateOrderRequest{QuoteId: ctx("quote").GetId()}))
	if _, err := s.settle(o, "succeed"); err != nil {
		t.Fatal(err)
	}
	code := must[*commercepb.ListMyGiftsResponse](s)(s.desk.ListMyGifts(s.as(buyer), &commercepb.ListMyGiftsRequest{})).GetItems()[0].GetCode()
	if _, err := s.desk.RedeemGift(rpc.WithIdempotencyKey(s.as(friend), "redeem"), &commercepb.RedeemGiftRequest{Code: code}); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"Philippa", "Congratulations", code, strings.ReplaceAll(code, "-", "")} {
		for _, table := range []string{"gift", "quote", "cart", "idempotency", "outbox", "orders", "order_line"} {
			var found bool
			if err := s.db.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM `+table+` t WHERE position(encode(convert_to($1, 'UTF8'), 'hex') IN t::text) > 0 OR position($1 IN t::text) > 0)`, secret).Scan(&found); err != nil {
				t.Fatal(err)
			}
			if found {
				t.Errorf("%q is in %s", secret, table)
			}
		}
	}
}
