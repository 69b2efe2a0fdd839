package commerce_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

func (s *shop) staff() context.Context { return rpctest.Account(s.Context(), id.New("account")) }

// paidOrder has a buyer order courses and pay.
func (s *shop) paidOrder(buyer string, courses ...string) *commercepb.Order {
	s.Helper()
	o := s.order(buyer, courses...)
	s.pays(o)
	return o
}

func paymentOf(o *commercepb.Order) string {
	_, payment, _ := strings.Cut(o.GetPayUrl(), "/pay/")
	return payment
}

// giveBack is CreateRefund; what is not given back at once is left to CarryOut.
func (s *shop) giveBack(o *commercepb.Order, lines ...*commercepb.LineToRefund) (*commercepb.Refund, error) {
	return s.refunds.CreateRefund(s.staff(), &commercepb.CreateRefundRequest{OrderId: o.GetId(), Lines: lines, Note: "Asked by phone"})
}

func (s *shop) gaveBack(o *commercepb.Order, lines ...*commercepb.LineToRefund) *commercepb.Refund {
	s.Helper()
	r, err := s.giveBack(o, lines...)
	if err != nil || r.GetState() != "succeeded" {
		s.Fatalf("refund %v, %v", r, err)
	}
	return r
}

func (s *shop) wantState(buyer string, o *commercepb.Order, state string) {
	s.Helper()
	if got := s.get(buyer, o.GetId()).GetState(); got != state {
		s.Errorf("order %s, want %s", got, state)
	}
}

func (s *shop) count(sql string, args ...any) (n int64) {
	s.Helper()
	if err := s.db.QueryRow(s.Context(), sql, args...).Scan(&n); err != nil {
		s.Fatal(err)
	}
	return n
}

// agrees has the ledger proven, and compared with what the provider has.
func (s *shop) agrees() {
	s.Helper()
	s.sound()
	if diff := cmp.Diff(s.atProvider(), s.ledgerAt("provider")); diff != "" {
		s.Errorf("the provider's balances and the ledger's: %s", diff)
	}
}

func (s *shop) atProvider() map[string]int64 {
	s.Helper()
	out := map[string]int64{}
	cursor := ""
	for {
		list, last, err := s.svc.Provider().Transactions(s.Context(), cursor)
		if err != nil {
			s.Fatal(err)
		}
		if len(list) == 0 {
			return out
		}
		for _, t := range list {
			out[t.Currency] += t.Amount - t.Fee
		}
		cursor = last
	}
}

// ledgerAt is what accounts that begin so have, by currency.
func (s *shop) ledgerAt(account string) map[string]int64 {
	s.Helper()
	rows, err := s.db.Query(s.Context(), `SELECT currency, sum(amount)::bigint FROM ledger_posting WHERE account LIKE $1 || '%' GROUP BY currency`, account)
	if err != nil {
		s.Fatal(err)
	}
	out := map[string]int64{}
	for rows.Next() {
		var c string
		var n int64
		if err := rows.Scan(&c, &n); err != nil {
			s.Fatal(err)
		}
		out[c] = n
	}
	if err := rows.Err(); err != nil {
		s.Fatal(err)
	}
	return out
}

func TestRefundOfALine(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada, ben, buyer := id.New("account"), id.New("account"), id.New("account")
	one, two := s.course(ada, 4999, "EUR"), s.course(ben, 1000, "EUR")
	s.deliver(&coursespb.RevenueSplitChanged{CourseId: two, Version: 1, ValidFrom: timestamppb.New(s.svc.Now()), Shares: []*coursespb.RevenueShare{
		{AccountId: ada, BasisPoints: 5000}, {AccountId: ben, BasisPoints: 5000},
	}})
	o := s.paidOrder(buyer, one, two)
	r := s.gaveBack(o, &commercepb.LineToRefund{LineId: o.GetLines()[1].GetId()})
	if len(r.GetLines()) != 1 || r.GetAmount().GetAmount() != 1000 {
		t.Fatalf("refund %v", r)
	}
	s.wantState(buyer, o, "partly_refunded")
	if diff := cmp.Diff(map[string][2]int64{"EUR": {3499, 0}}, s.earned(ada)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string][2]int64{"EUR": {0, 0}}, s.earned(ben)); diff != "" {
		t.Error(diff)
	}
	events := sent[*commercepb.LinesRefunded](s)
	if len(events) != 1 || len(events[0].GetLines()) != 1 || !events[0].GetLines()[0].GetFull() || !events[0].GetLines()[0].GetAccessEnds() || events[0].GetLines()[0].GetCourseId() != two {
		t.Fatalf("LinesRefunded %v", events)
	}
	s.agrees()

	// It can be bought again; the other line can't.
	s.paidOrder(buyer, two)
	_, err := s.client.CreateOrder(rpctest.Account(t.Context(), buyer), &commercepb.CreateOrderRequest{CourseIds: []string{one}})
	wantCode(t, err, "order.open_order")

	// All that is left.
	if r = s.gaveBack(o); r.GetAmount().GetAmount() != 4999 {
		t.Fatalf("refund %v", r)
	}
	s.wantState(buyer, o, "refunded")
	_, err = s.giveBack(o)
	wantCode(t, err, "refund.nothing_left")
	s.agrees()
	mine, err := s.refunds.ListOrderRefunds(rpctest.Account(t.Context(), buyer), &commercepb.ListOrderRefundsRequest{OrderId: o.GetId()})
	if err != nil || len(mine.GetItems()) != 2 || mine.GetItems()[0].GetNote() != "" || mine.GetItems()[0].GetRequestedBy() != "" {
		t.Fatalf("the buyer sees %v, %v", mine, err)
	}
	_, err = s.refunds.ListOrderRefunds(s.staff(), &commercepb.ListOrderRefundsRequest{OrderId: o.GetId()})
	wantCode(t, err, "order.not_found")
	all, err := s.refunds.ListRefunds(s.staff(), &commercepb.ListRefundsRequest{PageSize: 1})
	if err != nil || len(all.GetItems()) != 1 || all.GetItems()[0].GetId() != r.GetId() || all.GetNextCursor() == "" {
		t.Fatalf("%v, %v", all, err)
	}
	all, err = s.refunds.ListRefunds(s.staff(), &commercepb.ListRefundsRequest{PageSize: 1, Cursor: all.GetNextCursor(), OrderId: o.GetId(), State: "succeeded"})
	if err != nil || len(all.GetItems()) != 1 || all.GetItems()[0].GetId() == r.GetId() || all.GetNextCursor() != "" {
		t.Fatalf("%v, %v", all, err)
	}
}

// Part by part, until nothing is left: access stays until then, nobody gives more than
// they got, and in the end exactly that. Also where tax is in it.
func TestRefundInParts(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for range 15 {
		ada, ben, cleo, buyer := id.New("account"), id.New("account"), id.New("account"), id.New("account")
		course := s.course(ada, 50+rand.Int64N(3000), "EUR") //nolint:gosec // chance, not secrecy
		s.deliver(&coursespb.RevenueSplitChanged{CourseId: course, Version: 1, ValidFrom: timestamppb.New(s.svc.Now()), Shares: []*coursespb.RevenueShare{
			{AccountId: ada, BasisPoints: 3334}, {AccountId: ben, BasisPoints: 3333}, {AccountId: cleo, BasisPoints: 3333},
		}})
		o := s.order(buyer, course)
		line, total := o.GetLines()[0].GetId(), o.GetTotal().GetAmount()
		s.paysTaxed(o, rand.Int64N(total/3)) //nolint:gosec // chance, not secrecy
		left := total
		for left > 0 {
			amount := min(left, 1+rand.Int64N(total/2)) //nolint:gosec // chance, not secrecy
			left -= amount
			r := s.gaveBack(o, &commercepb.LineToRefund{LineId: line, Amount: amount})
			if r.GetLines()[0].GetAmount().GetAmount() != amount {
				t.Fatalf("refund %v of %d", r, amount)
			}
			if left > 0 {
				s.wantState(buyer, o, "partly_refunded")
			}
			// Nobody is a whole unit away from their part of what is left.
			rows, err := s.db.Query(t.Context(), `
				SELECT p.account, -sum(p.amount) FILTER (WHERE e.kind = 'sale')::float8, -sum(p.amount)::float8
				FROM ledger_entry e JOIN ledger_posting p ON p.entry_id = e.id WHERE e.order_id = $1 AND p.line_id IS NOT NULL AND p.account <> 'provider' GROUP BY 1`, o.GetId())
			if err != nil {
				t.Fatal(err)
			}
			for rows.Next() {
				var account string
				var got, has float64
				if err := rows.Scan(&account, &got, &has); err != nil {
					t.Fatal(err)
				}
				if exact := got * float64(left) / float64(total); has <= exact-1 || has >= exact+1 || left == 0 && has != 0 {
					t.Errorf("%s has %v of %v with %d of %d left", account, has, got, left, total)
				}
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
		}
		s.wantState(buyer, o, "refunded")
		ends := 0
		for _, e := range sent[*commercepb.LinesRefunded](s) {
			if l := e.GetLines()[0]; l.GetLineId() == line && l.GetAccessEnds() {
				ends++
			}
		}
		if ends != 1 {
			t.Errorf("access ended %d times", ends)
		}
	}
	s.agrees()
}

// paysTaxed pays an order of which so much is tax, as a provider that knows of tax says.
func (s *shop) paysTaxed(o *commercepb.Order, tax int64) {
	s.Helper()
	payment, total := paymentOf(o), o.GetTotal().GetAmount()
	if _, err := s.db.Exec(s.Context(), `
		WITH p AS (UPDATE development_payment SET state = 'succeeded' WHERE id = $1 RETURNING id, amount, currency)
		INSERT INTO development_transaction (kind, ref, amount, fee, currency, at) SELECT 'payment', id, amount, 7, currency, now() FROM p`, payment); err != nil {
		s.Fatal(err)
	}
	fee := int64(7)
	if err := s.svc.HeardPayment(s.Context(), commerce.PaymentNews{
		PaymentID: payment, Ref: payment, State: "succeeded", Received: total, Currency: o.GetTotal().GetCurrency(), Fee: &fee, Tax: map[string]int64{o.GetLines()[0].GetId(): tax},
	}); err != nil {
		s.Fatal(err)
	}
}

func TestRefundRefusals(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller, buyer := id.New("account"), id.New("account")
	course := s.course(seller, 4900, "EUR")
	o := s.order(buyer, course)
	_, err := s.giveBack(o)
	wantCode(t, err, "refund.not_paid")
	s.pays(o)
	line := o.GetLines()[0].GetId()
	for code, lines := range map[string][]*commercepb.LineToRefund{
		"refund.line_unknown": {{LineId: id.New("line")}},
		"refund.too_much":     {{LineId: line, Amount: 4901}},
		"request.invalid":     {{LineId: line, Amount: -1}},
	} {
		_, err := s.giveBack(o, lines...)
		wantCode(t, err, code)
	}
	_, err = s.giveBack(o, &commercepb.LineToRefund{LineId: line, Amount: 1}, &commercepb.LineToRefund{LineId: line, Amount: 1})
	wantCode(t, err, "refund.line_unknown")
	_, err = s.refunds.CreateRefund(s.staff(), &commercepb.CreateRefundRequest{OrderId: id.New("order"), Note: "x"})
	wantCode(t, err, "order.not_found")
	_, err = s.refunds.GetRefund(s.staff(), &commercepb.GetRefundRequest{RefundId: id.New("refund")})
	wantCode(t, err, "refund.not_found")
	// Who teaches another course has no such sale.
	_, err = s.refunds.CreateCourseRefund(rpctest.Account(t.Context(), seller), &commercepb.CreateCourseRefundRequest{CourseId: s.course(seller, 100, "EUR"), LineId: line, Note: "x"})
	wantCode(t, err, "sale.not_found")
	r, err := s.refunds.CreateCourseRefund(rpctest.Account(t.Context(), seller), &commercepb.CreateCourseRefundRequest{CourseId: course, LineId: line, Amount: 900, Note: "x", EndAccess: true})
	if err != nil || r.GetState() != "succeeded" || r.GetSource() != "teacher" {
		t.Fatalf("%v, %v", r, err)
	}
	if e := sent[*commercepb.LinesRefunded](s); len(e) != 1 || e[0].GetLines()[0].GetFull() || !e[0].GetLines()[0].GetAccessEnds() {
		t.Errorf("LinesRefunded %v", e)
	}
	_, err = s.settle(o, "dispute")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.giveBack(o)
	wantCode(t, err, "refund.disputed")
	s.agrees()
}

// unreliableMoney fails refunds, transfers and reversals before or after they have
// taken effect.
type unreliableMoney struct {
	commerce.Provider
	before, after atomic.Int32
	refuse        atomic.Bool
	state         atomic.Pointer[string] // what refunds are said to be
}

func (u *unreliableMoney) around(do func() error) error {
	if u.refuse.Load() {
		return fault.New(fault.Invalid, "provider.refused", "No.")
	}
	if u.before.Add(-1) >= 0 {
		return errors.New("connection refused")
	}
	if err := do(); err != nil {
		return err
	}
	if u.after.Add(-1) >= 0 {
		return errors.New("connection reset")
	}
	return nil
}

func (u *unreliableMoney) Refund(ctx context.Context, key string, r commerce.RefundRequest) (n commerce.RefundNews, err error) {
	err = u.around(func() error { n, err = u.Provider.Refund(ctx, key, r); return err })
	if s := u.state.Load(); s != nil {
		n.State = *s
	}
	return n, err
}

func (u *unreliableMoney) RefundState(ctx context.Context, ref string) (commerce.RefundNews, error) {
	n, err := u.Provider.RefundState(ctx, ref)
	if s := u.state.Load(); s != nil {
		n.State = *s
	}
	return n, err
}

func (u *unreliableMoney) Transfer(ctx context.Context, key string, r commerce.TransferRequest) (ref string, err error) {
	err = u.around(func() error { ref, err = u.Provider.Transfer(ctx, key, r); return err })
	return ref, err
}

func (u *unreliableMoney) ReverseTransfer(ctx context.Context, key, ref string, amount int64) error {
	return u.around(func() error { return u.Provider.ReverseTransfer(ctx, key, ref, amount) })
}

func (s *shop) unreliableMoney() *unreliableMoney {
	u := &unreliableMoney{}
	s.svc.Through(func(p commerce.Provider) commerce.Provider { u.Provider = p; return u })
	return u
}

// Whether a call fails before or after it took effect, or nothing is written of what it
// brought: the money goes back once.
func TestRefundSurvivesFailures(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(s *shop, u *unreliableMoney){
		"before": func(_ *shop, u *unreliableMoney) { u.before.Store(3) },
		"after":  func(_ *shop, u *unreliableMoney) { u.after.Store(3) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			u := s.unreliableMoney()
			buyer := id.New("account")
			o := s.paidOrder(buyer, s.course(id.New("account"), 4900, "EUR"))
			fail(s, u)
			r, err := s.giveBack(o)
			if err != nil || r.GetState() != "pending" {
				t.Fatalf("%v, %v", r, err)
			}
			_, err = s.giveBack(o)
			wantCode(t, err, "refund.nothing_left")
			for range 5 {
				s.carryOut(3600)
			}
			s.wantState(buyer, o, "refunded")
			if n := s.count(`SELECT count(*) FROM development_transaction WHERE kind = 'refund'`); n != 1 {
				t.Errorf("given back %d times", n)
			}
			s.agrees()
		})
	}
}

func TestRefundThatTakesDays(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	u := s.unreliableMoney()
	pending := "pending"
	u.state.Store(&pending)
	buyer := id.New("account")
	o := s.paidOrder(buyer, s.course(id.New("account"), 4900, "EUR"))
	if r, err := s.giveBack(o); err != nil || r.GetState() != "pending" {
		t.Fatalf("%v, %v", r, err)
	}
	// What is about to be given back is not paid out.
	s.now.Add(40 * 24 * 3600)
	if n, err := s.svc.Release(t.Context()); err != nil || n != 0 {
		t.Fatalf("released %d, %v", n, err)
	}
	s.carryOut(3600)
	s.wantState(buyer, o, "paid")
	u.state.Store(nil)
	s.carryOut(3600) // it is asked how it stands, though no news came
	s.wantState(buyer, o, "refunded")
	s.agrees()
}

func TestRefundRefused(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	u := s.unreliableMoney()
	buyer := id.New("account")
	o := s.paidOrder(buyer, s.course(id.New("account"), 4900, "EUR"))
	u.refuse.Store(true)
	r, err := s.giveBack(o)
	if err != nil || r.GetState() != "failed" || r.GetFailReason() == "" || r.GetReturned() {
		t.Fatalf("%v, %v", r, err)
	}
	s.wantState(buyer, o, "paid")
	_, err = s.refunds.RetryRefund(s.staff(), &commercepb.RetryRefundRequest{RefundId: r.GetId()})
	wantCode(t, err, "refund.not_owed")
	u.refuse.Store(false)
	s.gaveBack(o)
	s.agrees()
}

// What comes back after it was given back is the buyer's still: it is given back again,
// and access stays ended.
func TestRefundReturned(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer := id.New("account")
	o := s.paidOrder(buyer, s.course(id.New("account"), 4900, "EUR"))
	r := s.gaveBack(o)
	ref := "refund:" + r.GetId()
	for _, state := range []string{"failed", "failed", "succeeded", "pending"} {
		if err := s.svc.HeardRefund(t.Context(), commerce.RefundNews{RefundID: r.GetId(), Ref: ref, PaymentID: paymentOf(o), Amount: 4900, Currency: "EUR", State: state, FailReason: "account closed"}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.refunds.GetRefund(s.staff(), &commercepb.GetRefundRequest{RefundId: r.GetId()})
	if err != nil || got.GetState() != "failed" || !got.GetReturned() || got.GetFailReason() != "account closed" {
		t.Fatalf("%v, %v", got, err)
	}
	s.wantState(buyer, o, "refunded")
	if diff := cmp.Diff(map[string]int64{"EUR": -4900}, s.ledgerAt("buyers")); diff != "" {
		t.Error(diff)
	}
	s.sound()
	// The provider has it again, as the ledger says.
	if _, err := s.db.Exec(t.Context(), `
		WITH p AS (UPDATE development_payment SET refunded = 0 WHERE id = $1 RETURNING id, amount, currency)
		INSERT INTO development_transaction (kind, ref, amount, currency, at) SELECT 'refund_failed', id, amount, currency, now() FROM p`, paymentOf(o)); err != nil {
		t.Fatal(err)
	}
	s.agrees()
	// In the books the provider's transaction is another refund's.
	owed := func() bool { return s.reconciled("open")["buyer_owed"] == o.GetId() }
	if owed() {
		t.Error("what came back just now is told already")
	}
	if s.now.Add(180); !owed() {
		t.Error("nobody is told that it is the buyer's")
	}
	var wg sync.WaitGroup
	var made atomic.Int32
	for range 4 {
		wg.Go(func() {
			again, err := s.refunds.RetryRefund(s.staff(), &commercepb.RetryRefundRequest{RefundId: r.GetId()})
			if err == nil && again.GetState() == "succeeded" {
				made.Add(1)
			} else if fault.CodeOf(err) != "refund.not_owed" {
				t.Errorf("%v, %v", again, err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("given back again %d times", made.Load())
	}
	if told := sent[*commercepb.PaymentReturned](s); len(told) != 1 || told[0].GetUnused() || told[0].GetBuyerId() != buyer || told[0].GetAmount().GetAmount() != r.GetAmount().GetAmount() {
		t.Errorf("told of what was given back again: %v", told)
	}
	if owed() {
		t.Error("it is told that it is the buyer's, and they have it")
	}
	if diff := cmp.Diff(map[string]int64{"EUR": 0}, s.ledgerAt("buyers")); diff != "" {
		t.Error(diff)
	}
	s.agrees()
}

// What came back after it was given back, and is given back by hand at the provider, is what
// the buyer was owed, and of no other line.
func TestReturnedIsGivenBackByHand(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada, ben, buyer := id.New("account"), id.New("account"), id.New("account")
	o := s.paidOrder(buyer, s.course(ada, 3000, "EUR"), s.course(ben, 3000, "EUR"))
	r := s.gaveBack(o, &commercepb.LineToRefund{LineId: o.GetLines()[0].GetId()})
	if err := s.svc.HeardRefund(t.Context(), commerce.RefundNews{RefundID: r.GetId(), Ref: "refund:" + r.GetId(), PaymentID: paymentOf(o), Amount: 3000, Currency: "EUR", State: "failed", FailReason: "account closed"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Exec(t.Context(), `
		WITH p AS (UPDATE development_payment SET refunded = 0 WHERE id = $1 RETURNING id, currency)
		INSERT INTO development_transaction (kind, ref, amount, currency, at) SELECT 'refund_failed', id, 3000, currency, now() FROM p`, paymentOf(o)); err != nil {
		t.Fatal(err)
	}
	s.agrees()
	byHand := func(key string, amount int64) {
		t.Helper()
		n, err := s.svc.Provider().Refund(t.Context(), key, commerce.RefundRequest{PaymentRef: paymentOf(o), Amount: amount, Currency: "EUR"})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.svc.HeardRefund(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		s.agrees()
	}
	byHand("some of it", 1000)
	byHand("the rest", 2000)
	if diff := cmp.Diff(map[string]int64{"EUR": 0}, s.ledgerAt("buyers")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{o.GetLines()[0].GetId()}, s.ends()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string][2]int64{"EUR": {2100, 0}}, s.earned(ben)); diff != "" {
		t.Error(diff)
	}
	_, err := s.refunds.RetryRefund(s.staff(), &commercepb.RetryRefundRequest{RefundId: r.GetId()})
	wantCode(t, err, "refund.not_owed")
	s.wantState(buyer, o, "partly_refunded")
	byHand("and all the rest", 3000)
	s.wantState(buyer, o, "refunded")
}

func TestSurplusGoesBack(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer := id.New("account")
	course := s.course(id.New("account"), 4900, "EUR")
	o := s.order(buyer, course)
	if _, err := s.client.CancelOrder(rpctest.Account(t.Context(), buyer), &commercepb.CancelOrderRequest{OrderId: o.GetId()}); err != nil {
		t.Fatal(err)
	}
	s.paysTaxed(o, 0) // at the very moment in which it was cancelled, before that was heard
	if diff := cmp.Diff(map[string]int64{"EUR": -4900}, s.ledgerAt("buyers")); diff != "" {
		t.Error(diff)
	}
	s.carryOut(1)
	if diff := cmp.Diff(map[string]int64{"EUR": 0}, s.ledgerAt("buyers")); diff != "" {
		t.Error(diff)
	}
	if n := s.count(`SELECT count(*) FROM payment WHERE surplus`); n != 0 {
		t.Errorf("%d payments are surplus still", n)
	}
	told := sent[*commercepb.PaymentReturned](s)
	if len(told) != 1 || !told[0].GetUnused() || told[0].GetOrderId() != o.GetId() || told[0].GetBuyerId() != buyer || told[0].GetAmount().GetAmount() != 4900 || told[0].GetReturnedAt() == nil {
		t.Errorf("told of it: %v", told)
	}
	if told := sent[*commercepb.LinesRefunded](s); len(told) != 0 {
		t.Errorf("told of lines: %v", told)
	}
	s.wantState(buyer, o, "cancelled")
	s.agrees()
}

// By hand at the provider: it is of all lines in proportion, whatever is on its way.
func TestRefundByHand(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada, ben, buyer := id.New("account"), id.New("account"), id.New("account")
	o := s.paidOrder(buyer, s.course(ada, 3000, "EUR"), s.course(ben, 1000, "EUR"))
	p := s.svc.Provider()
	for range 2 {
		n, err := p.Refund(t.Context(), "by hand", commerce.RefundRequest{PaymentRef: paymentOf(o), Amount: 400, Currency: "EUR"})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.svc.HeardRefund(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([2]int64{2100 - 210, 700 - 70}, [2]int64{s.earned(ada)["EUR"][0], s.earned(ben)["EUR"][0]}); diff != "" {
		t.Error(diff)
	}
	s.wantState(buyer, o, "partly_refunded")
	s.agrees()

	// One of ours is on its way when somebody gives back more than is left besides.
	u := s.unreliableMoney()
	u.before.Store(1)
	if r, err := s.giveBack(o, &commercepb.LineToRefund{LineId: o.GetLines()[0].GetId()}); err != nil || r.GetState() != "pending" {
		t.Fatalf("%v, %v", r, err)
	}
	n, err := p.Refund(t.Context(), "by hand again", commerce.RefundRequest{PaymentRef: paymentOf(o), Amount: 2000, Currency: "EUR"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.svc.HeardRefund(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	s.sound()
	s.carryOut(3600) // ours is refused: there is not that much any more
	s.agrees()
	if _, err := s.settle(o, "refund"); err != nil {
		t.Fatal(err)
	}
	s.wantState(buyer, o, "refunded")
	s.agrees()
}

// What is left of lines after that can be given back line by line, with three decimals too.
func TestRefundByHandWithThreeDecimals(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer := id.New("account")
	o := s.paidOrder(buyer, s.course(id.New("account"), 12_340, "KWD"), s.course(id.New("account"), 7770, "KWD"))
	n, err := s.svc.Provider().Refund(t.Context(), "by hand", commerce.RefundRequest{PaymentRef: paymentOf(o), Amount: 1000, Currency: "KWD"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.svc.HeardRefund(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	for _, l := range o.GetLines() {
		s.gaveBack(o, &commercepb.LineToRefund{LineId: l.GetId()})
	}
	s.wantState(buyer, o, "refunded")
	s.agrees()
}

// News of a refund may come twice and in any order.
func TestRefundNewsInAnyOrder(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	u := s.unreliableMoney()
	seller := id.New("account")
	for range 20 {
		buyer := id.New("account")
		o := s.paidOrder(buyer, s.course(seller, 4900, "EUR"))
		u.after.Store(1)
		r, err := s.giveBack(o)
		if err != nil || r.GetState() != "pending" {
			t.Fatalf("%v, %v", r, err)
		}
		news := []string{"pending", "succeeded", "pending", "succeeded"}
		rand.Shuffle(len(news), func(i, j int) { news[i], news[j] = news[j], news[i] }) //nolint:gosec // chance, not secrecy
		for _, state := range news {
			if err := s.svc.HeardRefund(t.Context(), commerce.RefundNews{
				RefundID: r.GetId(), Ref: "refund:" + r.GetId(), PaymentID: paymentOf(o), Amount: 4900, Currency: "EUR", State: state,
			}); err != nil {
				t.Fatal(err)
			}
		}
		s.wantState(buyer, o, "refunded")
	}
	s.carryOut(3600)
	s.agrees()
	if n := s.count(`SELECT count(*) FROM refund`); n != 20 {
		t.Errorf("%d refunds", n)
	}
}

func TestRefundsOfOneLineAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for range 5 {
		buyer := id.New("account")
		o := s.paidOrder(buyer, s.course(id.New("account"), 4900, "EUR"))
		var made atomic.Int64
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				r, err := s.giveBack(o, &commercepb.LineToRefund{LineId: o.GetLines()[0].GetId(), Amount: 1000})
				if err == nil {
					made.Add(r.GetAmount().GetAmount())
				} else if fault.CodeOf(err) != "refund.too_much" {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		s.carryOut(3600)
		if made.Load() != 4000 {
			t.Errorf("%d was given back", made.Load())
		}
	}
	s.agrees()
}

func TestRefundAndReleaseAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada := id.New("account")
	for range 10 {
		o := s.paidOrder(id.New("account"), s.course(ada, 4900, "EUR"))
		s.now.Add(31 * 24 * 3600)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := s.giveBack(o, &commercepb.LineToRefund{LineId: o.GetLines()[0].GetId(), Amount: 1001}); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := s.svc.Release(t.Context()); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		s.carryOut(3600)
	}
	if _, err := s.svc.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	// 3430 of each, less 700.7 of each: largest remainder gives the platform the unit.
	if diff := cmp.Diff(map[string][2]int64{"EUR": {0, 10 * (3430 - 701)}}, s.earned(ada)); diff != "" {
		t.Error(diff)
	}
	s.agrees()
}

func TestRefundRequests(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada, buyer := id.New("account"), id.New("account")
	one, two := s.course(ada, 3000, "EUR"), s.course(id.New("account"), 1000, "EUR")
	o := s.paidOrder(buyer, one, two)
	me, teacher := rpctest.Account(t.Context(), buyer), rpctest.Account(t.Context(), ada)
	ask := &commercepb.CreateRefundRequestsRequest{OrderId: o.GetId(), Reason: "Not what I thought"}
	_, err := s.refunds.CreateRefundRequests(s.staff(), ask)
	wantCode(t, err, "order.not_found")
	res, err := s.refunds.CreateRefundRequests(me, ask)
	if err != nil || len(res.GetItems()) != 2 || res.GetItems()[0].GetState() != "open" {
		t.Fatalf("%v, %v", res, err)
	}
	_, err = s.refunds.CreateRefundRequests(me, ask)
	wantCode(t, err, "refund_request.open")
	first, second := res.GetItems()[0], res.GetItems()[1]

	// What is asked back is not paid out.
	s.now.Add(40 * 24 * 3600)
	if n, err := s.svc.Release(t.Context()); err != nil || n != 0 {
		t.Errorf("released %d, %v", n, err)
	}

	mine, err := s.refunds.ListCourseRefundRequests(teacher, &commercepb.ListCourseRefundRequestsRequest{CourseId: one, State: "open"})
	if err != nil || len(mine.GetItems()) != 1 || mine.GetItems()[0].GetReason() != "Not what I thought" {
		t.Fatalf("%v, %v", mine, err)
	}
	_, err = s.refunds.DecideCourseRefundRequest(teacher, &commercepb.DecideCourseRefundRequestRequest{CourseId: one, RequestId: second.GetId(), Decision: "approve"})
	wantCode(t, err, "refund_request.not_found")
	_, err = s.refunds.DecideCourseRefundRequest(teacher, &commercepb.DecideCourseRefundRequestRequest{CourseId: one, RequestId: first.GetId(), Decision: "approve", Amount: 3001})
	wantCode(t, err, "refund.too_much")
	got, err := s.refunds.DecideCourseRefundRequest(teacher, &commercepb.DecideCourseRefundRequestRequest{CourseId: one, RequestId: first.GetId(), Decision: "approve", Answer: "Of course"})
	if err != nil || got.GetState() != "approved" || got.GetRefundId() == "" {
		t.Fatalf("%v, %v", got, err)
	}
	got, err = s.refunds.DecideRefundRequest(s.staff(), &commercepb.DecideRefundRequestRequest{RequestId: second.GetId(), Decision: "decline", Answer: "You have done all of it"})
	if err != nil || got.GetState() != "declined" {
		t.Fatalf("%v, %v", got, err)
	}
	_, err = s.refunds.DecideRefundRequest(s.staff(), &commercepb.DecideRefundRequestRequest{RequestId: second.GetId(), Decision: "approve"})
	wantCode(t, err, "refund_request.decided")
	s.wantState(buyer, o, "partly_refunded")
	list, err := s.refunds.ListOrderRefundRequests(me, &commercepb.ListOrderRefundRequestsRequest{OrderId: o.GetId()})
	if err != nil || len(list.GetItems()) != 2 || list.GetItems()[1].GetAnswer() != "You have done all of it" {
		t.Fatalf("%v, %v", list, err)
	}
	if n, err := s.svc.Release(t.Context()); err != nil || n != 2 {
		t.Errorf("released %d, %v", n, err)
	}
	_, err = s.refunds.CreateRefundRequests(me, ask)
	wantCode(t, err, "refund_request.too_late")
	s.agrees()
}

// What is left of an order that was given back before anything was granted is
// fulfilled by none: a line that comes late changes nothing.
func TestRefundBeforeFulfilment(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer := id.New("account")
	o := s.paidOrder(buyer, s.course(id.New("account"), 3000, "EUR"), s.course(id.New("account"), 1000, "EUR"))
	s.gaveBack(o, &commercepb.LineToRefund{LineId: o.GetLines()[0].GetId()})
	for _, l := range o.GetLines() {
		s.deliver(&accesspb.EntitlementGranted{EntitlementId: id.New("entitlement"), AccountId: buyer, CourseId: l.GetCourseId(), Source: "order", SourceId: l.GetId()})
	}
	s.wantState(buyer, o, "partly_refunded")
}

// What is given back by hand is not of what one of ours is about to give back.
func TestRefundByHandBesidesOneOnItsWay(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	u := s.unreliableMoney()
	buyer := id.New("account")
	o := s.paidOrder(buyer, s.course(id.New("account"), 3000, "EUR"), s.course(id.New("account"), 1000, "EUR"))
	u.after.Store(1) // given back, but nobody here knows
	if r, err := s.giveBack(o, &commercepb.LineToRefund{LineId: o.GetLines()[0].GetId()}); err != nil || r.GetState() != "pending" {
		t.Fatalf("%v, %v", r, err)
	}
	n, err := u.Provider.Refund(t.Context(), "by hand", commerce.RefundRequest{PaymentRef: paymentOf(o), Amount: 500, Currency: "EUR"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.svc.HeardRefund(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	lines := func() (out [2]int64) {
		for i, l := range o.GetLines() {
			out[i] = s.count(`SELECT refunded FROM order_line WHERE id = $1`, l.GetId())
		}
		return out
	}
	if diff := cmp.Diff([2]int64{0, 500}, lines()); diff != "" {
		t.Error(diff)
	}
	s.carryOut(3600)
	if diff := cmp.Diff([2]int64{3000, 500}, lines()); diff != "" {
		t.Error(diff)
	}
	s.agrees()
}
