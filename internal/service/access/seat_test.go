package access

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

func (e *env) seats() accesspb.SeatServiceClient {
	return accesspb.NewSeatServiceClient(e.harness.As("edge"))
}

// sold is the service as commerce calls it.
func (e *env) sold() accesspb.SeatServiceClient {
	return accesspb.NewSeatServiceClient(e.harness.As("commerce"))
}

// team is a block of seats with its holder.
type team struct {
	*env
	t                       *testing.T
	holder, courseID, block string
}

// newTeam makes a block of n seats by hand.
func newTeam(t *testing.T, n int32, change func(*accesspb.CreateSeatBlockRequest)) team {
	t.Helper()
	e := newEnv(t)
	m := team{env: e, t: t, holder: e.account(t, "Manager", "manager@example.org", true), courseID: e.course(t, 4900)}
	req := &accesspb.CreateSeatBlockRequest{CourseId: m.courseID, HolderId: m.holder, Seats: n}
	if change != nil {
		change(req)
	}
	b, err := e.seats().CreateSeatBlock(asAccount(t, id.New("account")), req)
	if err != nil {
		t.Fatal(err)
	}
	m.block = b.GetId()
	return m
}

func (m team) assign(address string) (*accesspb.Seat, error) {
	return m.seats().AssignSeat(asAccount(m.t, m.holder), &accesspb.AssignSeatRequest{BlockId: m.block, Address: address})
}

// must returns the seat that was assigned, or fails the test.
func (m team) must(seat *accesspb.Seat, err error) *accesspb.Seat {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
	return seat
}

// fill offers a seat to somebody new, who accepts it by the code, and returns both.
func (m team) fill(name string) (*accesspb.Seat, string) {
	m.t.Helper()
	seat := m.must(m.assign(name + "@example.org"))
	mails := m.invitationMails(m.t)
	account := m.account(m.t, name, name+"@example.org", true)
	if _, err := m.acceptCode(m.t, account, mails[len(mails)-1].mail.GetCode()); err != nil {
		m.t.Fatal(err)
	}
	return seat, account
}

func (m team) release(seat string) (*accesspb.Seat, error) {
	return m.seats().ReleaseSeat(asAccount(m.t, m.holder), &accesspb.ReleaseSeatRequest{BlockId: m.block, SeatId: seat})
}

// counts returns the block as its holder sees it: seats, taken, offered, reassigned.
func (m team) counts() [4]int32 {
	m.t.Helper()
	res, err := m.seats().ListMySeatBlocks(asAccount(m.t, m.holder), &accesspb.ListMySeatBlocksRequest{})
	if err != nil || len(res.GetItems()) != 1 {
		m.t.Fatalf("%v, %v", res, err)
	}
	b := res.GetItems()[0]
	// What is counted is what there is.
	for state, n := range map[string]int32{"taken": b.GetTaken(), "offered": b.GetOffered()} {
		if got := query[int32](m.t, m.db, `SELECT count(*) FROM seat WHERE block_id = $1 AND state = $2`, b.GetId(), state); got != n {
			m.t.Errorf("%d seats are %s and %d counted", got, state, n)
		}
	}
	return [4]int32{b.GetSeats(), b.GetTaken(), b.GetOffered(), b.GetReassignments()}
}

// list returns the seats as the holder sees them, in words, the last first.
func (m team) list() []string {
	m.t.Helper()
	res, err := m.seats().ListMySeats(asAccount(m.t, m.holder), &accesspb.ListMySeatsRequest{BlockId: m.block, PageSize: 100})
	if err != nil {
		m.t.Fatal(err)
	}
	var out []string
	for _, one := range res.GetItems() {
		out = append(out, fmt.Sprintf("%s %s %s", one.GetState(), one.GetAddress(), one.GetAccountName()))
	}
	return out
}

func (m team) reads(account string) bool {
	return slices.Contains(m.may(m.t, account, m.courseID), lessonRead)
}

func TestSeat(t *testing.T) {
	t.Parallel()
	m := newTeam(t, 2, func(r *accesspb.CreateSeatBlockRequest) {
		r.EndsAt = timestamppb.New(time.Date(2030, 6, 1, 0, 0, 0, 0, time.UTC))
	})
	now := m.service.now()
	ends := timestamppb.New(time.Date(2030, 6, 1, 0, 0, 0, 0, time.UTC))
	req := &accesspb.AssignSeatRequest{BlockId: m.block, Address: " Ada@Example.org ", Message: "For you", Locale: "de"}
	ctx := rpc.WithIdempotencyKey(asAccount(t, m.holder), "one")
	offered := m.must(m.seats().AssignSeat(ctx, req))
	same(t, offered, &accesspb.Seat{
		Id: offered.GetId(), BlockId: m.block, State: "offered", Address: "ada@example.org", OfferedAt: timestamppb.New(now),
		ExpiresAt: timestamppb.New(now.Add(30 * 24 * time.Hour)),
	})
	same(t, m.must(m.seats().AssignSeat(ctx, req)), offered)
	same(t, m.must(m.assign("ADA@example.org")), offered) // who has one is not given another
	if n := query[int](t, m.db, `SELECT count(*) FROM idempotency WHERE position(convert_to('ada@', 'UTF8') IN result) > 0`); n != 0 {
		t.Error("the kept answer shows the address")
	}
	if n := query[int](t, m.db, `SELECT count(*) FROM seat AS t WHERE t::text ILIKE '%ada@%' OR t::text LIKE '%' || encode('ada@', 'hex') || '%'`); n != 0 {
		t.Error("the seat shows the address")
	}
	mails := m.invitationMails(t)
	if len(mails) != 1 || mails[0].mail.GetInviter() != "Manager" || mails[0].mail.GetMessage() != "For you" {
		t.Fatalf("%v", mails)
	}
	// Whoever accepts has access as long as the block lasts.
	ada := m.account(t, "Ada", "ada@example.org", true)
	invited, err := m.emails().ListMyEmailInvitations(asAccount(t, ada), &accesspb.ListMyEmailInvitationsRequest{})
	if err != nil || len(invited.GetItems()) != 1 {
		t.Fatalf("%v, %v", invited, err)
	}
	got, err := m.acceptMine(t, ada, invited.GetItems()[0].GetId())
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, &accesspb.Entitlement{
		Id: got.GetId(), CourseId: m.courseID, AccountId: ada, Source: "seat", SourceId: offered.GetId(), State: "live",
		StartsAt: timestamppb.New(now), EndsAt: ends,
	})
	again, err := m.acceptCode(t, ada, mails[0].mail.GetCode())
	if err != nil {
		t.Fatal(err)
	}
	same(t, again, got)
	_, err = m.acceptCode(t, id.New("account"), mails[0].mail.GetCode())
	wantCode(t, err, "invitation.invalid")

	// The holder takes the other, once.
	m.clock.Add(time.Minute)
	mine := &accesspb.AssignSeatRequest{BlockId: m.block, Myself: true}
	self := m.must(m.seats().AssignSeat(asAccount(t, m.holder), mine))
	same(t, m.must(m.seats().AssignSeat(asAccount(t, m.holder), mine)), self)
	same(t, m.list(), []string{"taken  Manager", "taken ada@example.org Ada"})
	same(t, m.counts(), [4]int32{2, 2, 0, 0})
	if !m.reads(ada) || !m.reads(m.holder) {
		t.Error("no access by a seat")
	}
	_, err = m.assign("ben@example.org")
	wantCode(t, err, "seat.none_free")

	// After the end of the block it gives nothing, and what was personal goes in time.
	m.clock.Add(40 * 24 * time.Hour)
	if m.reads(ada) {
		t.Error("access after the end")
	}
	_, err = m.assign("ben@example.org")
	wantCode(t, err, "seat_block.ended")
	_, err = m.release(self.GetId())
	wantCode(t, err, "seat_block.ended")
	m.clock.Add(91 * 24 * time.Hour)
	if err := m.service.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, m.db, `SELECT (SELECT count(*) FROM seat) + (SELECT count(*) FROM person_key)`); n != 0 {
		t.Errorf("%d seats and keys are left", n)
	}
}

func TestSeatRefuses(t *testing.T) {
	t.Parallel()
	m := newTeam(t, 2, func(r *accesspb.CreateSeatBlockRequest) {
		r.StartsAt = timestamppb.New(time.Date(2030, 5, 3, 0, 0, 0, 0, time.UTC))
	})
	assign := func(change func(*accesspb.AssignSeatRequest)) error {
		req := &accesspb.AssignSeatRequest{BlockId: m.block, Address: "ada@example.org"}
		change(req)
		_, err := m.seats().AssignSeat(asAccount(t, m.holder), req)
		return err
	}
	wantCode(t, assign(func(r *accesspb.AssignSeatRequest) { r.Myself = true }), "seat.for_whom", "address")
	wantCode(t, assign(func(r *accesspb.AssignSeatRequest) { r.Address = "" }), "seat.for_whom", "address")
	wantCode(t, assign(func(r *accesspb.AssignSeatRequest) { r.Address = "ada" }), "email.invalid", "address")
	wantCode(t, assign(func(r *accesspb.AssignSeatRequest) { r.Locale = "none such" }), "invitation.locale", "locale")
	wantCode(t, assign(func(r *accesspb.AssignSeatRequest) { r.ExpiresAt = timestamppb.New(m.service.now()) }), "invitation.expires_at", "expires_at")
	// To others the block is not there.
	other := asAccount(t, id.New("account"))
	_, err := m.seats().AssignSeat(other, &accesspb.AssignSeatRequest{BlockId: m.block, Address: "ada@example.org"})
	wantCode(t, err, "seat_block.not_found")
	_, err = m.seats().ListMySeats(other, &accesspb.ListMySeatsRequest{BlockId: m.block})
	wantCode(t, err, "seat_block.not_found")
	_, err = m.seats().ReleaseSeat(other, &accesspb.ReleaseSeatRequest{BlockId: m.block, SeatId: id.New("seat")})
	wantCode(t, err, "seat_block.not_found")
	_, err = m.release(id.New("seat"))
	wantCode(t, err, "seat.not_found")
	_, err = m.seats().UpdateSeatBlock(other, &accesspb.UpdateSeatBlockRequest{CourseId: m.course(t, 0), BlockId: m.block, Seats: proto.Int32(1)})
	wantCode(t, err, "seat_block.not_found")
	// Who teaches the course needs none.
	exec(t, m.db, `INSERT INTO role_grant (account_id, course_id, role, granted_by, granted_at) VALUES ($1, $2, 'grader', 'x', now())`, m.holder, m.courseID)
	wantCode(t, assign(func(r *accesspb.AssignSeatRequest) { r.Address, r.Myself = "", true }), "enrollment.own_course")
	// One person has one seat of a block, by whatever addresses.
	_, ada := m.fill("ada")
	m.must(m.assign("ada2@example.org"))
	mails := m.invitationMails(t)
	_, err = m.acceptCode(t, ada, mails[len(mails)-1].mail.GetCode())
	wantCode(t, err, "seat.held_already")
	same(t, m.counts(), [4]int32{2, 1, 1, 0})
	// Access begins with the block.
	if m.reads(ada) {
		t.Error("access before the block begins")
	}
	m.clock.Add(48 * time.Hour)
	if !m.reads(ada) {
		t.Error("no access once it has begun")
	}
	create := func(change func(*accesspb.CreateSeatBlockRequest)) error {
		req := &accesspb.CreateSeatBlockRequest{CourseId: m.courseID, HolderId: m.holder, Seats: 1}
		change(req)
		_, err := m.seats().CreateSeatBlock(other, req)
		return err
	}
	wantCode(t, create(func(r *accesspb.CreateSeatBlockRequest) { r.HolderId = id.New("account") }), "account.unknown", "holder_id")
	wantCode(t, create(func(r *accesspb.CreateSeatBlockRequest) { r.EndsAt = timestamppb.New(m.service.now()) }), "seat_block.period", "ends_at")
	wantCode(t, create(func(r *accesspb.CreateSeatBlockRequest) { r.Seats = 5001 }), "request.invalid", "seats")
}

// An offer that is declined, revoked or expired frees its seat, and does not
// count as taking one back.
func TestSeatIsFreeAgain(t *testing.T) {
	t.Parallel()
	m := newTeam(t, 1, func(r *accesspb.CreateSeatBlockRequest) { r.MaxReassignments = proto.Int32(0) })
	staff := asAccount(t, id.New("account"))
	invitation := func() string {
		return query[string](t, m.db, `SELECT id FROM email_invitation WHERE state = 'open'`)
	}
	free := func(how string) {
		t.Helper()
		same(t, m.counts(), [4]int32{1, 0, 0, 0})
		if got := m.list()[0]; got != "withdrawn ada@example.org " {
			t.Errorf("%s: %s", how, got)
		}
		m.clock.Add(25 * time.Hour) // so that the address is mailed again
	}
	ada := m.account(t, "Ada", "ada@example.org", true)
	m.must(m.assign("ada@example.org"))
	if _, err := m.emails().DeclineEmailInvitation(asAccount(t, ada), &accesspb.DeclineEmailInvitationRequest{InvitationId: invitation()}); err != nil {
		t.Fatal(err)
	}
	free("declined")
	m.must(m.assign("ada@example.org"))
	if _, err := m.emails().RevokeEmailInvitation(staff, &accesspb.RevokeEmailInvitationRequest{CourseId: m.courseID, InvitationId: invitation()}); err != nil {
		t.Fatal(err)
	}
	free("revoked")
	seat := m.must(m.assign("ada@example.org"))
	for range 2 { // the second changes nothing
		if got := m.must(m.release(seat.GetId())); got.GetState() != "withdrawn" || got.GetAddress() != "ada@example.org" {
			t.Errorf("%v", got)
		}
	}
	same(t, m.states(t, m.courseID), []string{"ada@example.org revoked", "ada@example.org revoked", "ada@example.org declined"})
	free("withdrawn")
	m.must(m.assign("ada@example.org"))
	m.clock.Add(31 * 24 * time.Hour)
	if got := m.list()[0]; got != "withdrawn ada@example.org " { // before it is noted
		t.Error(got)
	}
	if err := m.service.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	free("expired")
	// Who offers a seat does not wait for the clock.
	m.must(m.assign("ada@example.org"))
	m.clock.Add(31 * 24 * time.Hour)
	m.must(m.assign("ben@example.org"))
	same(t, m.counts(), [4]int32{1, 0, 1, 0})
	// An invitation by staff is another thing than a seat.
	m.inviteByEmail(t, id.New("account"), m.courseID, "ben@example.org")
	if n := query[int](t, m.db, `SELECT count(*) FROM email_invitation WHERE state = 'open'`); n != 2 {
		t.Errorf("%d open invitations, want 2", n)
	}
}

func TestReassign(t *testing.T) {
	t.Parallel()
	m := newTeam(t, 1, func(r *accesspb.CreateSeatBlockRequest) {
		r.ReassignAfterDays, r.MaxReassignments = 7, proto.Int32(1)
	})
	first, ada := m.fill("ada")
	// What she has besides stays.
	deliver(t, m.env, m.service.orderPaid, orderOf(ada, m.clock.Now(), m.courseID))
	m.clock.Add(7*24*time.Hour - time.Second)
	_, err := m.release(first.GetId())
	wantCode(t, err, "seat.held_until")
	m.clock.Add(time.Second)
	got := m.must(m.release(first.GetId()))
	if got.GetState() != "released" || got.GetAccountName() != "ada" || got.GetEndedAt() == nil {
		t.Errorf("%v", got)
	}
	same(t, m.must(m.release(first.GetId())), got)
	same(t, m.counts(), [4]int32{1, 0, 0, 1})
	if n := query[int](t, m.db, `SELECT count(*) FROM entitlement WHERE revoked_at IS NOT NULL`); n != 1 || !m.reads(ada) {
		t.Errorf("%d grants were ended", n)
	}
	second, ben := m.fill("ben")
	m.clock.Add(8 * 24 * time.Hour)
	_, err = m.release(second.GetId())
	wantCode(t, err, "seat.reassignments_used")
	if !m.reads(ben) {
		t.Error("access was taken all the same")
	}
	// Staff may ease the rules.
	list, err := m.seats().ListSeatBlocks(asAccount(t, id.New("account")), &accesspb.ListSeatBlocksRequest{CourseId: m.courseID})
	if err != nil || len(list.GetItems()) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	change := &accesspb.UpdateSeatBlockRequest{CourseId: m.courseID, BlockId: m.block, MaxReassignments: proto.Int32(-1)}
	staff := asAccount(t, id.New("account"))
	_, err = m.seats().UpdateSeatBlock(rpc.WithIfMatch(staff, `"7"`), change)
	wantCode(t, err, "etag.stale")
	b, err := m.seats().UpdateSeatBlock(rpc.WithIfMatch(staff, list.GetItems()[0].GetEtag()), change)
	if err != nil || b.GetMaxReassignments() != -1 || b.GetReassignAfterDays() != 7 || b.GetSeats() != 1 || b.GetEtag() == list.GetItems()[0].GetEtag() {
		t.Fatalf("%v, %v", b, err)
	}
	m.must(m.release(second.GetId()))
	if m.reads(ben) {
		t.Error("access after the seat was taken back")
	}
}

// Of fewer seats free ones go first, then those offered last, then those taken last.
func TestFewerSeats(t *testing.T) {
	t.Parallel()
	m := newTeam(t, 5, nil)
	_, ada := m.fill("ada")
	m.clock.Add(time.Minute)
	_, ben := m.fill("ben")
	m.clock.Add(time.Minute)
	m.must(m.assign("carl@example.org"))
	m.clock.Add(time.Minute)
	m.must(m.assign("dora@example.org"))
	staff := asAccount(t, id.New("account"))
	for _, c := range []struct {
		seats int32
		want  [4]int32
		list  []string
	}{
		{4, [4]int32{4, 2, 2, 0}, []string{"offered dora@example.org ", "offered carl@example.org ", "taken ben@example.org ben", "taken ada@example.org ada"}},
		{3, [4]int32{3, 2, 1, 0}, []string{"withdrawn dora@example.org ", "offered carl@example.org ", "taken ben@example.org ben", "taken ada@example.org ada"}},
		{1, [4]int32{1, 1, 0, 0}, []string{"withdrawn dora@example.org ", "withdrawn carl@example.org ", "released ben@example.org ben", "taken ada@example.org ada"}},
		{6, [4]int32{6, 1, 0, 0}, []string{"withdrawn dora@example.org ", "withdrawn carl@example.org ", "released ben@example.org ben", "taken ada@example.org ada"}},
	} {
		b, err := m.seats().UpdateSeatBlock(staff, &accesspb.UpdateSeatBlockRequest{CourseId: m.courseID, BlockId: m.block, Seats: &c.seats})
		if err != nil {
			t.Fatal(err)
		}
		same(t, [4]int32{b.GetSeats(), b.GetTaken(), b.GetOffered(), b.GetReassignments()}, c.want)
		same(t, m.counts(), c.want)
		same(t, m.list(), c.list)
	}
	if !m.reads(ada) || m.reads(ben) {
		t.Error("access does not follow the seats")
	}
}

// What commerce sells, changes and refunds.
func TestSoldSeats(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	m := team{env: e, t: t, holder: e.account(t, "Manager", "manager@example.org", true), courseID: e.course(t, 4900)}
	line := id.New("line")
	grant := &accesspb.GrantSeatBlocksRequest_Grant{SourceId: line, CourseId: m.courseID, HolderId: m.holder, Seats: 2}
	for range 2 { // the second changes nothing
		if _, err := e.sold().GrantSeatBlocks(t.Context(), &accesspb.GrantSeatBlocksRequest{Grants: []*accesspb.GrantSeatBlocksRequest_Grant{grant, grant}}); err != nil {
			t.Fatal(err)
		}
	}
	same(t, m.counts(), [4]int32{2, 0, 0, 0})
	m.block = query[string](t, e.db, `SELECT id FROM seat_block`)
	_, ada := m.fill("ada")
	_, ben := m.fill("ben")
	m.clock.Add(time.Minute)
	e.enrolByOrder(t, ben, m.courseID)
	change := func(n int32) (*accesspb.SeatBlock, error) {
		return e.sold().ChangeSeats(t.Context(), &accesspb.ChangeSeatsRequest{SourceId: line, CourseId: m.courseID, Seats: n})
	}
	for range 2 {
		if b, err := change(3); err != nil || b.GetSeats() != 3 || b.GetSourceId() != line {
			t.Fatalf("%v, %v", b, err)
		}
	}
	m.must(m.assign("carl@example.org"))
	other := line + "z"
	if _, err := e.sold().GrantSeatBlocks(t.Context(), &accesspb.GrantSeatBlocksRequest{Grants: []*accesspb.GrantSeatBlocksRequest_Grant{{
		SourceId: other, CourseId: m.courseID, HolderId: id.New("account"), Seats: 7, EndsAt: timestamppb.New(m.clock.Now().Add(time.Hour)),
	}}}); err != nil {
		t.Fatal(err)
	}
	sold := func(after string, size int32, want ...string) {
		t.Helper()
		res, err := e.sold().ListSoldSeatBlocks(t.Context(), &accesspb.ListSoldSeatBlocksRequest{AfterSourceId: after, AfterCourseId: m.courseID, PageSize: size})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, b := range res.GetBlocks() {
			got = append(got, fmt.Sprint(b.GetSourceId(), " ", b.GetSeats(), " ", b.GetRevoked(), " ", b.GetEndsAt() != nil, " ", b.GetCourseId() == m.courseID))
		}
		same(t, got, want)
	}
	sold("", 10, line+" 3 false false true", other+" 7 false true true")
	sold("", 1, line+" 3 false false true")
	sold(line, 1, other+" 7 false true true")
	_, err := e.sold().ChangeSeats(t.Context(), &accesspb.ChangeSeatsRequest{SourceId: "none", CourseId: m.courseID, Seats: 1})
	wantCode(t, err, "seat_block.not_found")
	_, err = e.sold().GrantSeatBlocks(t.Context(), &accesspb.GrantSeatBlocksRequest{Grants: []*accesspb.GrantSeatBlocksRequest_Grant{{
		SourceId: "x", CourseId: m.courseID, HolderId: m.holder, Seats: 1, EndsAt: timestamppb.New(e.service.now()),
	}}})
	wantCode(t, err, "seat_block.period", "grants[0].ends_at")

	// A refund ends exactly what the seats gave.
	for want := int32(1); want >= 0; want-- {
		res, err := e.sold().RevokeSeatBlocks(t.Context(), &accesspb.RevokeSeatBlocksRequest{SourceIds: []string{line, "none"}, Reason: "refunded"})
		if err != nil || res.GetRevoked() != want {
			t.Fatalf("%v, %v", res, err)
		}
	}
	if m.reads(ada) || !m.reads(ben) {
		t.Error("access does not follow the refund")
	}
	sold("", 10, line+" 3 true false true", other+" 7 false true true")
	same(t, m.counts(), [4]int32{3, 0, 0, 0})
	same(t, m.list(), []string{"withdrawn carl@example.org ", "released ben@example.org ben", "released ada@example.org ada"})
	mails := m.invitationMails(t)
	_, err = m.acceptCode(t, id.New("account"), mails[len(mails)-1].mail.GetCode())
	wantCode(t, err, "invitation.invalid")
	_, err = m.assign("dora@example.org")
	wantCode(t, err, "seat_block.ended")
	_, err = change(1)
	wantCode(t, err, "seat_block.ended")
	got, err := e.seats().RevokeSeatBlock(asAccount(t, id.New("account")), &accesspb.RevokeSeatBlockRequest{CourseId: m.courseID, BlockId: m.block, Reason: "again"})
	if err != nil || got.GetState() != "revoked" || got.GetRevokeReason() != "refunded" {
		t.Errorf("%v, %v", got, err)
	}
}

// enrolByOrder gives an account access by an order beside what they have.
func (e *env) enrolByOrder(t *testing.T, account, courseID string) {
	t.Helper()
	deliver(t, e, e.service.orderPaid, orderOf(account, e.clock.Now(), courseID))
}

// A hundred people are given the last seat at once: one has it.
func TestLastSeat(t *testing.T) {
	t.Parallel()
	m := newTeam(t, 1, nil)
	var in, out atomic.Int32
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			_, err := m.assign(fmt.Sprintf("somebody%d@example.org", i))
			switch {
			case err == nil:
				in.Add(1)
			case fault.CodeOf(err) == "seat.none_free":
				out.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if in.Load() != 1 || out.Load() != 99 {
		t.Errorf("%d got it, %d were refused", in.Load(), out.Load())
	}
	same(t, m.counts(), [4]int32{1, 0, 1, 0})
}

// Whatever is done to seats at the same time, what is counted is what there is,
// and nobody has access without a seat.
func TestSeatsUnderConcurrency(t *testing.T) {
	t.Parallel()
	m := newTeam(t, 8, nil)
	var people []string
	for i := range 12 {
		people = append(people, m.account(t, fmt.Sprint("p", i), fmt.Sprintf("p%d@example.org", i), true))
	}
	ctx, staff := t.Context(), asAccount(t, id.New("account"))
	allowed := []string{"", "seat.none_free", "invitation.invalid", "invitation.not_found", "invitation.quota"}
	check := func(err error) {
		if err != nil && !slices.Contains(allowed, fault.CodeOf(err)) {
			t.Error(err)
		}
	}
	var wg sync.WaitGroup
	for i, account := range people {
		wg.Go(func() {
			for range 4 {
				seat, err := m.assign(fmt.Sprintf("p%d@example.org", i))
				check(err)
				list, listErr := m.emails().ListMyEmailInvitations(asAccount(t, account), &accesspb.ListMyEmailInvitationsRequest{})
				check(listErr)
				for _, one := range list.GetItems() {
					_, err := m.acceptMine(t, account, one.GetId())
					check(err)
				}
				if err == nil && i%2 == 0 {
					_, err = m.release(seat.GetId())
					check(err)
				}
			}
		})
		wg.Go(func() {
			n := int32(4 + i%5)
			_, err := m.seats().UpdateSeatBlock(staff, &accesspb.UpdateSeatBlockRequest{CourseId: m.courseID, BlockId: m.block, Seats: &n})
			check(err)
			if err := m.service.tidy(context.WithoutCancel(ctx)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := m.counts()
	if got[1]+got[2] > got[0] {
		t.Errorf("%v", got)
	}
	if n := query[int](t, m.db, `
		SELECT count(*) FROM entitlement e FULL JOIN (SELECT * FROM seat WHERE state = 'taken') s ON s.id = e.source_id
		WHERE (e.revoked_at IS NULL) <> (s.id IS NOT NULL) OR s.account_id <> e.account_id`); n != 0 {
		t.Errorf("%d grants and seats do not agree", n)
	}
	if n := query[int](t, m.db, `
		SELECT count(*) FROM email_invitation i FULL JOIN (SELECT * FROM seat WHERE state = 'offered') s ON s.id = i.seat_id
		WHERE coalesce(i.state = 'open', false) <> (s.id IS NOT NULL)`); n != 0 {
		t.Errorf("%d invitations and seats do not agree", n)
	}
}
