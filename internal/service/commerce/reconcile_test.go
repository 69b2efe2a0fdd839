package commerce_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// fakeGrants are the grants of access by order lines.
type fakeGrants struct {
	accesspb.UnimplementedEntitlementServiceServer
	mu     sync.Mutex
	grants map[string]*accesspb.SourceGrant
	source map[string]string // of those that are not of order
	sorted []string          // the lines, when there are as many as grants
	many   string            // the course that all other lines in sorted give, in place of a million grants
	away   bool
	lists  int
}

func (f *fakeGrants) GrantEntitlements(_ context.Context, req *accesspb.GrantEntitlementsRequest) (*accesspb.GrantEntitlementsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range req.GetGrants() {
		if f.grants[g.GetSourceId()] == nil {
			f.source[g.GetSourceId()] = g.GetSource()
			f.grants[g.GetSourceId()] = &accesspb.SourceGrant{SourceId: g.GetSourceId(), CourseId: g.GetCourseId(), AccountId: g.GetAccountId(), EntitlementId: id.New("entitlement"), EndsAt: g.GetEndsAt()}
		}
	}
	return &accesspb.GrantEntitlementsResponse{}, nil
}

func (f *fakeGrants) RevokeEntitlements(_ context.Context, req *accesspb.RevokeEntitlementsRequest) (*accesspb.RevokeEntitlementsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range req.GetSourceIds() {
		if g := f.grants[id]; g != nil {
			g.Revoked = true
		}
	}
	return &accesspb.RevokeEntitlementsResponse{}, nil
}

func (f *fakeGrants) ListSourceGrants(_ context.Context, req *accesspb.ListSourceGrantsRequest) (*accesspb.ListSourceGrantsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lists++; f.away {
		return nil, errors.New("access is away")
	}
	if f.many == "" && len(f.sorted) != len(f.grants) {
		f.sorted = slices.Sorted(maps.Keys(f.grants))
	}
	res := &accesspb.ListSourceGrantsResponse{}
	at, same := slices.BinarySearch(f.sorted, req.GetAfterSourceId())
	if same {
		at++
	}
	for _, id := range f.sorted[at:] {
		if len(res.GetGrants()) == int(req.GetPageSize()) {
			break
		}
		if cmp.Or(f.source[id], "order") == req.GetSource() {
			g := f.grants[id]
			if g == nil {
				g = &accesspb.SourceGrant{SourceId: id, CourseId: f.many}
			}
			res.Grants = append(res.Grants, g)
		}
	}
	return res, nil
}

func (f *fakeGrants) give(line, course string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.grants[line] = &accesspb.SourceGrant{SourceId: line, CourseId: course, AccountId: id.New("account"), EntitlementId: id.New("entitlement")}
}

func (f *fakeGrants) revoked(line string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.grants[line].GetRevoked()
}

// fulfilled is an order that somebody has paid, and that gave access.
func (s *shop) fulfilled(courses ...string) *commercepb.Order {
	s.Helper()
	o := s.bought(id.New("account"), courses...)
	for _, l := range o.GetLines() {
		s.grants.give(l.GetId(), l.GetCourseId())
		s.deliver(&accesspb.EntitlementGranted{EntitlementId: id.New("entitlement"), CourseId: l.GetCourseId(), Source: "order", SourceId: l.GetId()})
	}
	return o
}

// reconciled has a whole pass made and returns the mismatches in a state, as kind and object.
func (s *shop) reconciled(state string) map[string]string {
	s.Helper()
	staff := rpctest.Account(s.Context(), id.New("account"))
	r, err := s.reconcile.CreateReconciliation(staff, &commercepb.CreateReconciliationRequest{})
	if err != nil {
		s.Fatal(err)
	}
	if _, err := s.svc.Reconcile(s.Context()); err != nil {
		s.Fatal(err)
	}
	if r, err = s.reconcile.GetReconciliation(staff, &commercepb.GetReconciliationRequest{ReconciliationId: r.GetId()}); err != nil || r.GetState() != "done" {
		s.Fatalf("%v, %v", r, err)
	}
	s.now.Add(1)
	return s.mismatches(state)
}

func (s *shop) mismatches(state string) map[string]string {
	s.Helper()
	list, err := s.reconcile.ListMismatches(rpctest.Account(s.Context(), id.New("account")), &commercepb.ListMismatchesRequest{State: state, PageSize: 100})
	if err != nil {
		s.Fatal(err)
	}
	out := map[string]string{}
	for _, m := range list.GetItems() {
		if m.GetCure() == "" || m.GetDetail() == "" {
			s.Errorf("%v has no cure or no detail", m)
		}
		out[m.GetKind()] = m.GetObjectId()
	}
	return out
}

func (s *shop) want(got map[string]string, want ...string) {
	s.Helper()
	m := map[string]string{}
	for pair := range slices.Chunk(want, 2) {
		m[pair[0]] = pair[len(pair)-1]
	}
	if diff := gocmp.Diff(m, got); diff != "" {
		s.Error(diff)
	}
}

func (s *shop) exec(sql string, args ...any) {
	s.Helper()
	if err := s.db.InTx(s.Context(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		_, err := tx.Exec(s.Context(), sql, args...)
		return err
	}); err != nil {
		s.Fatal(err)
	}
}

func TestNothingToReconcile(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	a, b := s.course(id.New("account"), 4900, "EUR"), s.course(id.New("account"), 700, "EUR")
	s.fulfilled(a, b)
	s.fulfilled(a)
	s.order(id.New("account"), b) // awaits its payment
	s.now.Add(600)
	s.want(s.reconciled(""))
}

func TestPaidWithoutAccess(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer := id.New("account")
	o := s.bought(buyer, s.course(id.New("account"), 4900, "EUR"))
	line := o.GetLines()[0].GetId()
	s.want(s.reconciled("")) // it may be on its way
	s.now.Add(180)
	// Within minutes, without a pass.
	if n, err := s.svc.Reconcile(t.Context()); err != nil || n != 1 {
		t.Fatalf("%d, %v", n, err)
	}
	s.want(s.mismatches("healed"), "paid_without_access", line)
	if got := s.get(buyer, o.GetId()); got.GetState() != "fulfilled" || s.grants.grants[line].GetAccountId() != buyer {
		t.Errorf("%v, %v", got, s.grants.grants[line])
	}
	s.want(s.reconciled("open"))
}

func TestAccessWithoutPay(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	course := s.course(id.New("account"), 4900, "EUR")
	unpaid := s.order(id.New("account"), course).GetLines()[0].GetId()
	s.grants.give(unpaid, course)
	stray := id.New("line")
	s.grants.give(stray, course)
	s.want(s.reconciled("healed"), "access_without_pay", unpaid)
	if !s.grants.revoked(unpaid) || s.grants.revoked(stray) {
		t.Error("the wrong access ended")
	}
	s.want(s.mismatches("open"), "access_unknown_line", stray)

	// What a later pass does not see is gone.
	delete(s.grants.grants, stray)
	s.want(s.reconciled("open"))
	s.want(s.mismatches("gone"), "access_unknown_line", stray)
}

func TestMismatchDismissed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	o := s.fulfilled(s.course(id.New("account"), 4900, "EUR"))
	line := o.GetLines()[0].GetId()
	s.grants.grants[line].Revoked = true
	s.now.Add(600)
	s.want(s.reconciled("open"), "paid_access_revoked", line)
	staff := rpctest.Account(t.Context(), id.New("account"))
	list, err := s.reconcile.ListMismatches(staff, &commercepb.ListMismatchesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		m, err := s.reconcile.DismissMismatch(staff, &commercepb.DismissMismatchRequest{MismatchId: list.GetItems()[0].GetId(), Reason: "They agreed."})
		if err != nil || m.GetState() != "dismissed" {
			t.Fatalf("%v, %v", m, err)
		}
	}
	s.want(s.reconciled("open"))
	s.want(s.mismatches(""), "paid_access_revoked", line)
	_, err = s.reconcile.DismissMismatch(staff, &commercepb.DismissMismatchRequest{MismatchId: id.New("mismatch"), Reason: "x"})
	wantCode(t, err, "mismatch.not_found")
}

func TestMoneyMismatches(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller := id.New("account")
	course := s.course(seller, 4900, "EUR")
	s.fulfilled(course)

	// The provider was paid, and nobody heard.
	buyer := id.New("account")
	unheard := s.order(buyer, course)
	_, payment, _ := strings.Cut(unheard.GetPayUrl(), "/pay/")
	s.exec(`UPDATE development_payment SET state = 'succeeded' WHERE id = $1`, payment)
	s.exec(`INSERT INTO development_transaction (kind, ref, amount, fee, currency, at) VALUES ('payment', $1, 4900, 98, 'EUR', now())`, payment)
	s.want(s.reconciled("healed"), "payment_unheard", payment)
	if got := s.get(buyer, unheard.GetId()); got.GetState() != "paid" {
		t.Errorf("order %v", got)
	}
	s.want(s.mismatches("open"))
	s.grants.give(unheard.GetLines()[0].GetId(), course)
	s.deliver(&accesspb.EntitlementGranted{CourseId: course, Source: "order", SourceId: unheard.GetLines()[0].GetId()})

	// The provider was paid something that is nobody's, and more than we know.
	other := s.fulfilled(course)
	_, second, _ := strings.Cut(other.GetPayUrl(), "/pay/")
	s.exec(`UPDATE development_transaction SET amount = 5000 WHERE ref = $1`, second)
	s.exec(`INSERT INTO development_transaction (kind, ref, amount, currency, at) VALUES ('payment', 'payment_nobody', 100, 'EUR', now()), ('odd', 'odd_1', -5, 'EUR', now())`)
	s.now.Add(600)
	got := s.reconciled("open")
	delete(got, "transaction_unknown") // its object is the transaction's own id
	s.want(got, "payment_unknown", "payment_nobody", "payment_differs", second, "balance_differs", "development EUR")

	// An order that is paid by nothing, and an entry with nothing behind it.
	third := s.order(id.New("account"), course)
	s.exec(`UPDATE orders SET state = 'paid', paid_at = now() WHERE id = $1`, third.GetId())
	s.exec(`WITH e AS (INSERT INTO ledger_entry (key, kind, booked_at) VALUES ('odd', 'odd', now()) RETURNING id)
		INSERT INTO ledger_posting (entry_id, position, account, currency, amount) SELECT id, 0, 'provider', 'EUR', 7 FROM e UNION ALL SELECT id, 1, 'platform', 'EUR', -7 FROM e`)
	got = s.reconciled("open")
	if got["paid_unpaid"] != third.GetId() || got["balance_differs"] != "development EUR" {
		t.Errorf("%v", got)
	}
}

// Of what was given back just now the end of access is on its way: that is no mismatch yet.
func TestAccessEndsInAMoment(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	given, lost := s.fulfilled(s.course(id.New("account"), 4900, "EUR")), s.fulfilled(s.course(id.New("account"), 4900, "EUR"))
	s.now.Add(600)
	s.gaveBack(given)
	s.settles(lost, "dispute")
	s.settles(lost, "lose_dispute")
	s.want(s.reconciled(""))
	lines := []string{given.GetLines()[0].GetId(), lost.GetLines()[0].GetId()}
	for _, l := range lines {
		if s.grants.revoked(l) {
			t.Errorf("access by %s was ended", l)
		}
	}
	s.now.Add(120)
	if got := s.reconciled("healed"); got["access_without_pay"] == "" {
		t.Errorf("%v", got)
	}
	for _, l := range lines {
		if !s.grants.revoked(l) {
			t.Errorf("there is access by %s", l)
		}
	}
}

// The ledger may have something in a currency in which the provider has moved nothing.
func TestCurrencyThatTheProviderHasNot(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.fulfilled(s.course(id.New("account"), 4900, "EUR"))
	s.want(s.reconciled("open"))
	if err := s.db.InTx(t.Context(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		return commerce.Book(t.Context(), tx, time.Unix(s.now.Load(), 0), commerce.Entry{Key: "bank:x", Kind: "bank", Postings: []commerce.Posting{
			{Account: "provider", Currency: "USD", Amount: 5000}, {Account: "bank", Currency: "USD", Amount: -5000},
		}})
	}); err != nil {
		t.Fatal(err)
	}
	s.want(s.reconciled("open"), "balance_differs", "development USD")
}

// A pass that is broken off goes on where it was.
func TestReconcileGoesOn(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	const many = 1100 // more than a page of each
	s.manyOrders(many)
	staff := rpctest.Account(t.Context(), id.New("account"))
	first, err := s.reconcile.CreateReconciliation(staff, &commercepb.CreateReconciliationRequest{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.reconcile.CreateReconciliation(staff, &commercepb.CreateReconciliationRequest{})
	if err != nil || second.GetId() != first.GetId() {
		t.Fatalf("%v and %v, %v", first, second, err)
	}
	s.grants.away = true
	if _, err := s.svc.Reconcile(t.Context()); err == nil {
		t.Fatal("access is away and nobody noticed")
	}
	s.grants.away = false
	// Somebody else has taken it, and died.
	if _, err := s.db.Exec(t.Context(), `UPDATE reconciliation SET lease_until = $1`, time.Unix(s.now.Load()+120, 0)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.svc.Reconcile(t.Context()); err != nil || n != 0 {
		t.Fatalf("%d were compared while somebody else had the lease, %v", n, err)
	}
	s.now.Add(121)
	// Once more access is away, and back: who failed goes on at once. Two at once: one does it.
	s.grants.away = true
	if _, err := s.svc.Reconcile(t.Context()); err == nil {
		t.Fatal("access is away and nobody noticed")
	}
	s.grants.away = false
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := s.svc.Reconcile(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r, err := s.reconcile.GetReconciliation(staff, &commercepb.GetReconciliationRequest{ReconciliationId: first.GetId()})
	if err != nil || r.GetState() != "done" || r.GetCompared() != 3*many || r.GetFound() != 0 || r.GetProblem() != "" {
		t.Fatalf("%v, %v", r, err)
	}
	// Again by itself, some minutes after it ended, or nine times as long as it took; once a
	// day at least.
	passes := func(seconds int64) int {
		t.Helper()
		lists := s.grants.lists
		s.now.Add(seconds)
		if _, err := s.svc.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		return (s.grants.lists - lists) / 4
	}
	took := func(seconds int64) { // the pass that was made just now
		s.exec(`UPDATE reconciliation SET finished_at = created_at + $1 * interval '1 second' WHERE id = (SELECT id FROM reconciliation ORDER BY created_at DESC, id DESC LIMIT 1)`, seconds)
		s.now.Add(seconds)
	}
	got := []int{passes(121*9 - 1), passes(1)} // that was begun 121 seconds before it ended
	took(10)
	got = append(got, passes(299), passes(1))
	took(100)
	got = append(got, passes(899), passes(1))
	took(24 * 60 * 60)
	got = append(got, passes(24*60*60-1), passes(1))
	if diff := gocmp.Diff([]int{0, 1, 0, 1, 0, 1, 0, 1}, got); diff != "" {
		t.Error(diff)
	}
	// Those that nobody asked for are forgotten after a month.
	if n := passes(31 * 24 * 60 * 60); n != 1 {
		t.Errorf("%d passes", n)
	}
	if n := s.count(`SELECT count(*) FROM reconciliation`); n != 2 {
		t.Errorf("%d passes are known, want that which was asked for and the last", n)
	}
}

// manyOrders makes so many orders of a line that are paid and booked and give access.
func (s *shop) manyOrders(n int) {
	s.Helper()
	course, seller := s.course(id.New("account"), 4900, "EUR"), id.New("account")
	for from := 0; from < n; from += 500 {
		var orders, lines, payments, keys []string
		for range min(500, n-from) {
			orders, lines, payments = append(orders, id.New("order")), append(lines, id.New("line")), append(payments, id.New("payment"))
			keys = append(keys, "sale:"+orders[len(orders)-1])
		}
		s.exec(`INSERT INTO orders (id, buyer_id, state, total, currency, payment_id, created_at, expires_at, paid_at, booked, invoiced)
			SELECT o, o, 'fulfilled', 4900, 'EUR', p, '2026-02-01', '2026-02-02', '2026-02-01', true, true FROM unnest($1::text[], $2::text[]) AS x (o, p)`, orders, payments)
		s.exec(`INSERT INTO payment (id, order_id, provider, ref, state, amount, currency, received, fee, created_at, updated_at)
			SELECT p, o, 'development', p, 'succeeded', 4900, 'EUR', 4900, 0, '2026-02-01', '2026-02-01' FROM unnest($1::text[], $2::text[]) AS x (o, p)`, orders, payments)
		s.exec(`INSERT INTO order_line (id, order_id, position, buyer_id, course_id, seller_id, title, amount, paid_at, fulfilled)
			SELECT l, o, 0, o, $3, $4, 'A course', 4900, '2026-02-01', true FROM unnest($1::text[], $2::text[]) AS x (o, l)`, orders, lines, course, seller)
		s.exec(`INSERT INTO development_payment (id, amount, currency, state) SELECT p, 4900, 'EUR', 'succeeded' FROM unnest($1::text[]) AS x (p)`, payments)
		s.exec(`INSERT INTO development_transaction (kind, ref, amount, currency, at) SELECT 'payment', p, 4900, 'EUR', '2026-02-01' FROM unnest($1::text[]) AS x (p)`, payments)
		s.exec(`INSERT INTO ledger_account (account, currency) VALUES ('provider', 'EUR'), ('platform', 'EUR') ON CONFLICT DO NOTHING`)
		s.exec(`WITH e AS (
				INSERT INTO ledger_entry (key, kind, order_id, booked_at) SELECT k, 'sale', o, '2026-02-01' FROM unnest($1::text[], $2::text[]) AS x (o, k) RETURNING id, order_id
			)
			INSERT INTO ledger_posting (entry_id, position, account, currency, amount, line_id)
			SELECT e.id, side, CASE side WHEN 0 THEN 'provider' ELSE 'platform' END, 'EUR', CASE side WHEN 0 THEN 4900 ELSE -4900 END, l
			FROM e JOIN unnest($1::text[], $3::text[]) AS x (o, l) ON o = e.order_id CROSS JOIN generate_series(0, 1) AS side`, orders, keys, lines)
		s.grants.sorted = append(s.grants.sorted, lines...)
	}
	s.grants.many = course
	slices.Sort(s.grants.sorted)
	// As the database does by itself some time after.
	if _, err := s.db.Exec(s.Context(), `ANALYZE`); err != nil {
		s.Fatal(err)
	}
}

// fakeSeats are the blocks of seats that access has made.
type fakeSeats struct {
	accesspb.UnimplementedSeatServiceServer
	mu     sync.Mutex
	blocks map[string]int32
}

func (f *fakeSeats) ListSoldSeatBlocks(_ context.Context, req *accesspb.ListSoldSeatBlocksRequest) (*accesspb.ListSoldSeatBlocksResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	res := &accesspb.ListSoldSeatBlocksResponse{}
	for _, line := range slices.Sorted(maps.Keys(f.blocks)) {
		if line > req.GetAfterSourceId() && len(res.GetBlocks()) < int(req.GetPageSize()) {
			res.Blocks = append(res.Blocks, &accesspb.SoldSeatBlock{SourceId: line, Seats: f.blocks[line]})
		}
	}
	return res, nil
}

func (f *fakeSeats) GrantSeatBlocks(_ context.Context, req *accesspb.GrantSeatBlocksRequest) (*accesspb.GrantSeatBlocksResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range req.GetGrants() {
		f.blocks[g.GetSourceId()] = g.GetSeats()
	}
	return &accesspb.GrantSeatBlocksResponse{}, nil
}

func (f *fakeSeats) RevokeSeatBlocks(_ context.Context, req *accesspb.RevokeSeatBlocksRequest) (*accesspb.RevokeSeatBlocksResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	res := &accesspb.RevokeSeatBlocksResponse{}
	for _, id := range req.GetSourceIds() {
		if _, ok := f.blocks[id]; ok {
			delete(f.blocks, id)
			res.Revoked, res.SourceIds = res.GetRevoked()+1, append(res.GetSourceIds(), id)
		}
	}
	return res, nil
}

// Seats that were given back are taken, if nobody has heard of it.
func TestSeatsWithoutPay(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller := id.New("account")
	course := s.course(seller, 4900, "EUR")
	must[*commercepb.CoursePrices](s)(s.catalog.SetSeatPrices(s.as(seller), &commercepb.SetSeatPricesRequest{CourseId: course, SeatPrices: []*commercepb.SeatPrice{{FromQuantity: 1, Price: eur(4000)}}}))
	seats := func() *commercepb.Order {
		o := s.boughtItems(id.New("account"), &commercepb.CartItem{CourseId: course, Kind: "seats", Quantity: 5})
		s.seats.blocks[o.GetLines()[0].GetId()] = 5
		s.deliver(&accesspb.SeatBlockCreated{BlockId: id.New("block"), CourseId: course, SourceId: o.GetLines()[0].GetId(), Seats: 5})
		return o
	}
	kept, given := seats(), seats()
	s.gaveBack(given)
	s.now.Add(60)
	s.want(s.reconciled(""))
	s.now.Add(120)
	s.want(s.reconciled("healed"), "access_without_pay", given.GetLines()[0].GetId())
	paid := kept.GetLines()[0].GetId()
	if diff := gocmp.Diff(map[string]int32{paid: 5}, s.seats.blocks); diff != "" {
		t.Error(diff)
	}

	// Those that are paid and gone are there again; fewer than are paid, and those that no
	// line paid, are for somebody to look at.
	delete(s.seats.blocks, paid)
	s.want(s.reconciled("healed"), "access_without_pay", given.GetLines()[0].GetId(), "paid_without_access", paid)
	if s.seats.blocks[paid] != 5 {
		t.Errorf("%v", s.seats.blocks)
	}
	s.seats.blocks[paid], s.seats.blocks["line_nobody"] = 3, 2
	s.want(s.reconciled("open"), "access_unknown_line", "line_nobody", "paid_access_revoked", paid)
}

// Seats and gifts, too, are given within minutes.
func TestSeatsAndGiftsReconciled(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer, seller, order := id.New("account"), id.New("account"), id.New("order")
	course := s.course(seller, 4000, "EUR")
	s.exec(`INSERT INTO orders (id, buyer_id, state, total, currency, payment_id, created_at, expires_at) SELECT $1, $2, 'awaiting_payment', 1, 'EUR', $3, now(), now()`, order, buyer, id.New("payment"))
	s.exec(`UPDATE orders SET total = 24000, state = 'paid', paid_at = '2026-03-01 11:00Z', booked = true, invoiced = true WHERE id = $1`, order)
	for line, kind := range map[string]string{"line_seats": "seats", "line_gift": "gift"} {
		quantity := map[string]int{"seats": 5, "gift": 1}[kind]
		s.exec(`INSERT INTO order_line (id, order_id, position, buyer_id, course_id, seller_id, title, amount, paid_at, kind, quantity, fulfilled)
			VALUES ($1, $9, $2, $3, $4, $5, 'A course', 4000, '2026-03-01 11:00Z', $6, $7, $8)`, line, quantity, buyer, course, seller, kind, quantity, kind == "gift", order)
	}
	taker := id.New("account")
	s.exec(`INSERT INTO gift (line_id, order_id, buyer_id, course_id, code_hash, code, bought_at, redeemed_by, redeemed_at)
		VALUES ('line_gift', $4, $1, $2, 'x', 'x', '2026-03-01 11:00Z', $3, '2026-03-01 11:30Z')`, buyer, course, taker, order)
	s.reconciled("")
	if n := s.seats.blocks["line_seats"]; n != 5 {
		t.Errorf("%d seats, want 5", n)
	}
	if g := s.grants.grants["line_gift"]; g.GetAccountId() != taker || g.GetCourseId() != course {
		t.Errorf("the gift gave %v", g)
	}
	if got := s.get(buyer, order); got.GetState() != "fulfilled" {
		t.Errorf("order %v", got)
	}
}

// BenchmarkReconcile is a pass over orders that agree with everything, and how much memory
// it takes besides what the test itself has.
func BenchmarkReconcile(b *testing.B) {
	for _, orders := range []int{1_000, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(orders), func(b *testing.B) {
			s := newShop(b)
			s.manyOrders(orders)
			staff := rpctest.Account(b.Context(), id.New("account"))
			runtime.GC()
			before := heap()
			most, done := uint64(0), make(chan struct{})
			var watch sync.WaitGroup
			watch.Go(func() {
				for tick := time.NewTicker(50 * time.Millisecond); ; {
					select {
					case <-done:
						return
					case <-tick.C:
						most = max(most, heap())
					}
				}
			})
			b.ResetTimer()
			for range b.N {
				if _, err := s.reconcile.CreateReconciliation(staff, &commercepb.CreateReconciliationRequest{}); err != nil {
					b.Fatal(err)
				}
				if _, err := s.svc.Reconcile(b.Context()); err != nil {
					b.Fatal(err)
				}
				s.now.Add(1)
			}
			b.StopTimer()
			close(done)
			watch.Wait()
			if found := s.mismatches(""); len(found) > 0 {
				b.Fatal(found)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*orders), "µs/order")
			b.ReportMetric(float64(max(most, before)-before)/(1<<20), "MiB")
		})
	}
}

// heap is how much memory was in use after the last collection: without what only waits
// to be collected, which grows with what the test itself keeps.
func heap() uint64 {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return live[0].Value.Uint64()
}
