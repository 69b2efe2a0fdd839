package commerce_test

import (
	"context"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// ears are those of others: what they have heard of a shop, and what came of it.
type ears struct {
	shop   *shop
	buyers map[string]int // whose history a buyer is of
	// How often each order was paid and fulfilled, access by a line ended, and a gift taken.
	paid, fulfilled, ended, taken map[string]int
	over                          map[string]int       // how often a subscription ended
	starts                        map[string]time.Time // from when on a line of a period gives access
	reported                      []string             // what the last pass of the reconciler has seen
}

func newEars(s *shop) *ears {
	return &ears{shop: s, buyers: map[string]int{}, paid: map[string]int{}, fulfilled: map[string]int{}, ended: map[string]int{}, taken: map[string]int{}, over: map[string]int{}, starts: map[string]time.Time{}}
}

func (e *ears) findings() *findings {
	return &findings{ears: e, of: map[string]int{}}
}

// settled has the reconciler compare everything until there is nothing that it heals; of
// what it does something follows, which is for all to do.
func (e *ears) settled(all func()) {
	e.shop.Helper()
	for range 5 {
		e.reported = e.pass()
		for _, r := range e.reported {
			if !strings.HasSuffix(r, " healed") {
				return // it stays
			}
		}
		if len(e.reported) == 0 {
			return
		}
		all()
	}
}

// tellsAccess has access hear what was sent, twice or not, and tells what it has given.
func (e *ears) tellsAccess(ctx context.Context, twice bool) error {
	rows, err := e.shop.db.Query(ctx, `SELECT position, name, payload FROM outbox ORDER BY position`)
	if err != nil {
		return err
	}
	var list []proto.Message
	last := int64(0)
	for rows.Next() {
		var name string
		var payload []byte
		if err := rows.Scan(&last, &name, &payload); err != nil {
			return err
		}
		var ev proto.Message
		switch name[strings.LastIndexByte(name, '.')+1:] {
		case "OrderPaid":
			ev = &commercepb.OrderPaid{}
		case "OrderFulfilled":
			ev = &commercepb.OrderFulfilled{}
		case "LinesRefunded":
			ev = &commercepb.LinesRefunded{}
		case "SubscriptionEnded":
			ev = &commercepb.SubscriptionEnded{}
		case "GiftRedeemed":
			ev = &commercepb.GiftRedeemed{}
		default:
			continue
		}
		if err := proto.Unmarshal(payload, ev); err != nil {
			return err
		}
		list = append(list, ev)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if last == 0 {
		return nil
	}
	// It is gone once it was heard.
	if _, err := e.shop.db.Exec(e.shop.Context(), `DELETE FROM outbox WHERE position <= $1`, last); err != nil {
		return err
	}
	for _, ev := range list {
		e.counts(ev)
		for range 1 + map[bool]int{true: 1}[twice] {
			if err := e.gives(ev); err != nil {
				return err
			}
		}
	}
	return nil
}

// counts counts an event.
func (e *ears) counts(event proto.Message) {
	switch ev := event.(type) {
	case *commercepb.OrderPaid:
		e.paid[ev.GetOrderId()]++
	case *commercepb.OrderFulfilled:
		e.fulfilled[ev.GetOrderId()]++
	case *commercepb.GiftRedeemed:
		e.taken[ev.GetLineId()]++
	case *commercepb.SubscriptionEnded:
		e.over[ev.GetSubscriptionId()]++
	case *commercepb.LinesRefunded:
		for _, l := range ev.GetLines() {
			if l.GetAccessEnds() {
				e.ended[l.GetLineId()]++
			}
		}
	}
}

// gives does what access does with an event.
func (e *ears) gives(event proto.Message) error {
	ctx := e.shop.Context()
	switch ev := event.(type) {
	case *commercepb.OrderPaid:
		for _, l := range ev.GetLines() {
			switch l.GetKind() {
			case "seats":
				if _, err := e.shop.seats.GrantSeatBlocks(ctx, &accesspb.GrantSeatBlocksRequest{Grants: []*accesspb.GrantSeatBlocksRequest_Grant{{SourceId: l.GetLineId(), Seats: l.GetQuantity()}}}); err != nil {
					return err
				}
				e.shop.deliver(&accesspb.SeatBlockCreated{BlockId: id.New("block"), CourseId: l.GetCourseId(), SourceId: l.GetLineId(), Seats: l.GetQuantity()})
			case "gift":
			default:
				source := "order"
				if l.GetKind() == "subscription" {
					source = "subscription"
					e.starts[l.GetLineId()] = l.GetStartsAt().AsTime()
				}
				if err := e.shop.grants.grant(source, l.GetLineId(), l.GetCourseId(), ev.GetBuyerId(), l.GetEndsAt()); err != nil {
					return err
				}
				e.shop.deliver(&accesspb.EntitlementGranted{EntitlementId: id.New("entitlement"), AccountId: ev.GetBuyerId(), CourseId: l.GetCourseId(), Source: source, SourceId: l.GetLineId()})
			}
		}
	case *commercepb.GiftRedeemed:
		return e.shop.grants.grant("gift", ev.GetLineId(), ev.GetCourseId(), ev.GetAccountId(), nil)
	case *commercepb.SubscriptionEnded:
		for _, l := range ev.GetLines() {
			at := ev.GetEndedAt().AsTime()
			if first := e.starts[l.GetLineId()].Add(time.Microsecond); at.Before(first) {
				at = first
			}
			e.shop.grants.cut(l.GetLineId(), timestamppb.New(at))
		}
	case *commercepb.LinesRefunded:
		for _, l := range ev.GetLines() {
			if l.GetAccessEnds() {
				e.shop.grants.end(l.GetLineId())
				e.shop.seats.end(l.GetLineId())
			}
		}
	}
	return nil
}

// pass has the reconciler compare everything, and returns what it has seen.
func (e *ears) pass() (seen []string) {
	e.shop.Helper()
	before := e.shop.now.Load()
	r, err := e.shop.reconcile.CreateReconciliation(e.shop.staff(), &commercepb.CreateReconciliationRequest{})
	if err != nil {
		e.shop.Fatal(err)
	}
	if _, err := e.shop.svc.Reconcile(e.shop.Context()); err != nil {
		e.shop.Fatal(err)
	}
	if r, err = e.shop.reconcile.GetReconciliation(e.shop.staff(), &commercepb.GetReconciliationRequest{ReconciliationId: r.GetId()}); err != nil || r.GetState() != "done" {
		e.shop.Fatalf("%v, %v", r, err)
	}
	e.shop.now.Add(1)
	for _, r := range e.shop.rows(`SELECT kind, object_id, detail, state FROM mismatch WHERE state = 'open' OR seen_at >= $1`, time.Unix(before, 0)) {
		seen = append(seen, strings.Join(r, " "))
	}
	return seen
}

// rows returns rows of texts; what is null is empty.
func (s *shop) rows(sql string, args ...any) (list [][]string) {
	s.Helper()
	rows, err := s.db.Query(s.Context(), sql, args...)
	if err != nil {
		s.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		cells := make([]*string, len(rows.FieldDescriptions()))
		into := make([]any, len(cells))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := rows.Scan(into...); err != nil {
			s.Fatalf("%v\n%s", err, sql)
		}
		row := make([]string, len(cells))
		for i, c := range cells {
			if c != nil {
				row[i] = *c
			}
		}
		list = append(list, row)
	}
	if err := rows.Err(); err != nil {
		s.Fatalf("%v\n%s", err, sql)
	}
	return list
}

// grant is what access does for one line.
func (f *fakeGrants) grant(source, line, course, account string, until *timestamppb.Timestamp) error {
	_, err := f.GrantEntitlements(context.Background(), &accesspb.GrantEntitlementsRequest{Grants: []*accesspb.GrantEntitlementsRequest_Grant{
		{Source: source, SourceId: line, CourseId: course, AccountId: account, EndsAt: until},
	}})
	return err
}

// cut is what access does when a subscription ends.
func (f *fakeGrants) cut(line string, at *timestamppb.Timestamp) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if g := f.grants[line]; g != nil && at.AsTime().Before(g.GetEndsAt().AsTime()) {
		g.EndsAt = at
	}
}

func (f *fakeGrants) end(line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if g := f.grants[line]; g != nil {
		g.Revoked = true
	}
}

func (f *fakeSeats) end(line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.blocks, line)
}
