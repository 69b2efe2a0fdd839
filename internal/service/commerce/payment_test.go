package commerce_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// unreliable is a provider that fails before or after it has done what it was asked for.
type unreliable struct {
	commerce.Provider
	before, after atomic.Int32 // how many checkouts still fail
	refuse        atomic.Bool
	asked         atomic.Int32
}

func (u *unreliable) Checkout(ctx context.Context, key string, c commerce.Checkout) (string, string, error) {
	u.asked.Add(1)
	if u.refuse.Load() {
		return "", "", fault.New(fault.Invalid, "provider.refused", "No.")
	}
	if u.before.Add(-1) >= 0 {
		return "", "", errors.New("connection refused")
	}
	ref, url, err := u.Provider.Checkout(ctx, key, c)
	if u.after.Add(-1) >= 0 {
		return "", "", errors.New("connection reset")
	}
	return ref, url, err
}

func (s *shop) through() *unreliable {
	u := &unreliable{}
	s.svc.Through(func(p commerce.Provider) commerce.Provider { u.Provider = p; return u })
	return u
}

func (s *shop) get(buyer, order string) *commercepb.Order {
	s.Helper()
	o, err := s.client.GetOrder(rpctest.Account(s.Context(), buyer), &commercepb.GetOrderRequest{OrderId: order})
	if err != nil {
		s.Fatal(err)
	}
	return o
}

// carryOut lets so many seconds pass and has the provider asked for what is due.
func (s *shop) carryOut(seconds int64) int {
	s.Helper()
	s.now.Add(seconds)
	n, err := s.svc.CarryOut(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return n
}

func TestProviderIsAskedUntilItAnswers(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	u := s.through()
	u.before.Store(2)
	u.after.Store(1)
	buyer := id.New("account")
	o := s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
	if o.GetPayUrl() != "" || o.GetState() != "awaiting_payment" {
		t.Fatalf("order %v", o)
	}
	for range 3 {
		s.carryOut(600)
	}
	if o = s.get(buyer, o.GetId()); !strings.HasPrefix(o.GetPayUrl(), "http://stoa.test/pay/payment_") {
		t.Fatalf("order %v after %d calls", o, u.asked.Load())
	}
	if n := u.asked.Load(); n != 4 {
		t.Errorf("the provider was asked %d times, want 4", n)
	}
	if n := s.carryOut(600); n != 0 {
		t.Errorf("%d calls are left", n)
	}
	if _, err := s.settle(o, "succeed"); err != nil {
		t.Fatal(err)
	}
}

func TestProviderRefuses(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	u := s.through()
	u.refuse.Store(true)
	buyer := id.New("account")
	o := s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
	s.carryOut(3600)
	if n := u.asked.Load(); n != 1 || o.GetPayUrl() != "" || o.GetState() != "cancelled" {
		t.Fatalf("asked %d times: %v", n, o)
	}
	if n := s.count(`SELECT count(*) FROM payment WHERE state = 'closed'`); n != 1 {
		t.Errorf("%d payments are closed", n)
	}
	if n := s.count(`SELECT count(*) FROM provider_call WHERE state = 'waiting'`); n != 0 {
		t.Errorf("%d calls are left", n)
	}
	// It can be ordered anew.
	u.refuse.Store(false)
	if o = s.order(buyer, o.GetLines()[0].GetCourseId()); o.GetPayUrl() == "" {
		t.Fatalf("order %v", o)
	}
}

func TestPayLater(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer := id.New("account")
	o := s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
	if p, err := s.settle(o, "later"); err != nil || p.GetState() != "processing" {
		t.Fatalf("%v, %v", p, err)
	}
	s.now.Add(3 * 24 * 60 * 60)
	if n, err := s.svc.Expire(t.Context()); err != nil || n != 0 {
		t.Fatalf("%d expired while its payment was on its way, %v", n, err)
	}
	if p, err := s.settle(o, "succeed"); err != nil || p.GetState() != "succeeded" {
		t.Fatalf("%v, %v", p, err)
	}
	if o = s.get(buyer, o.GetId()); o.GetState() != "paid" {
		t.Fatalf("order %v", o)
	}
}

// What is cancelled can't be paid at the provider either, and what was paid all the same
// is the buyer's.
func TestPaidForNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer := id.New("account")
	course := s.course(id.New("account"), 4900, "EUR")
	for name, tc := range map[string]struct {
		cancel   bool
		received int64
		currency string
	}{
		"cancelled before": {true, 4900, "EUR"}, "too little": {false, 4800, "EUR"}, "too much": {false, 5000, "EUR"}, "another currency": {false, 4900, "USD"},
	} {
		o := s.order(buyer, course)
		_, payment, _ := strings.Cut(o.GetPayUrl(), "/pay/")
		if tc.cancel {
			if _, err := s.client.CancelOrder(rpctest.Account(t.Context(), buyer), &commercepb.CancelOrderRequest{OrderId: o.GetId()}); err != nil {
				t.Fatal(err)
			}
			s.carryOut(0)
			if _, err := s.settle(o, "succeed"); fault.CodeOf(err) != "payment.closed" {
				t.Fatalf("%s: %v", name, err)
			}
		}
		fee := int64(7)
		for range 2 {
			err := s.svc.HeardPayment(t.Context(), commerce.PaymentNews{
				PaymentID: payment, Ref: payment, State: "succeeded", Received: tc.received, Currency: tc.currency, Fee: &fee,
			})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		var surplus bool
		var owed int64
		if err := s.db.QueryRow(t.Context(), `
			SELECT surplus, (SELECT -sum(p.amount) FROM ledger_posting p JOIN ledger_entry e ON e.id = p.entry_id WHERE e.order_id = payment.order_id AND p.account = 'buyers')::bigint
			FROM payment WHERE id = $1`, payment).Scan(&surplus, &owed); err != nil {
			t.Fatal(err)
		}
		if got := s.get(buyer, o.GetId()).GetState(); got == "paid" || !surplus || owed != tc.received {
			t.Errorf("%s: order %s, surplus %v, owed %d", name, got, surplus, owed)
		}
		if !tc.cancel {
			if _, err := s.client.CancelOrder(rpctest.Account(t.Context(), buyer), &commercepb.CancelOrderRequest{OrderId: o.GetId()}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := len(sent[*commercepb.OrderPaid](s)); n != 0 {
		t.Errorf("%d orders were paid", n)
	}
	if r, err := commerce.VerifyLedger(t.Context(), s.db); err != nil || r.Problem != "" {
		t.Errorf("%v, %v", r, err)
	}
}

// News of a payment may come twice and in any order: once it has succeeded, it has.
func TestPaymentNewsInAnyOrder(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seller := id.New("account")
	for range 30 {
		buyer := id.New("account")
		o := s.order(buyer, s.course(seller, 4900, "EUR"))
		_, payment, _ := strings.Cut(o.GetPayUrl(), "/pay/")
		fee := int64(98)
		news := []commerce.PaymentNews{
			{State: "open"},
			{State: "processing"},
			{State: "declined"},
			{State: "closed"},
			{State: "processing"},
			{State: "succeeded", Received: 4900},
			{State: "succeeded", Received: 4900, Fee: &fee},
			{State: "succeeded", Received: 4900, Fee: &fee},
		}
		rand.Shuffle(len(news), func(i, j int) { news[i], news[j] = news[j], news[i] }) //nolint:gosec // chance, not secrecy
		for _, n := range news {
			n.PaymentID, n.Ref, n.Currency = payment, payment, "EUR"
			if err := s.svc.HeardPayment(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.get(buyer, o.GetId()).GetState(); got != "paid" {
			t.Fatalf("order %s after %v", got, news)
		}
	}
	var fees int64
	if err := s.db.QueryRow(t.Context(), `SELECT sum(amount)::bigint FROM ledger_posting WHERE account = 'processing'`).Scan(&fees); err != nil || fees != 30*98 {
		t.Errorf("fees %d, %v, want %d", fees, err, 30*98)
	}
}

// An order is cancelled while its page is being made: whoever closes it finds no page, and
// waits for who has just made it. The page is closed all the same.
func TestPageMadeWhileItIsClosed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buyer := id.New("account")
	o := s.order(buyer, s.course(id.New("account"), 4900, "EUR"))
	_, payment, _ := strings.Cut(o.GetPayUrl(), "/pay/")
	s.exec(`UPDATE payment SET ref = NULL WHERE id = $1`, payment)
	s.exec(`UPDATE orders SET state = 'cancelled' WHERE id = $1`, o.GetId())
	s.exec(`INSERT INTO provider_call (key, kind, object_id, next_at, created_at) VALUES ('close:' || $1, 'close', $1, $2, $2)`, payment, time.Unix(s.now.Load(), 0))
	locked := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.db.InTx(t.Context(), func(tx *pg.Tx) error {
			tx.Exempt("a test")
			if _, err := tx.Exec(t.Context(), `SELECT FROM orders WHERE id = $1 FOR UPDATE`, o.GetId()); err != nil {
				return err
			}
			close(locked)
			for waiting, until := 0, time.Now().Add(time.Minute); waiting == 0 && time.Now().Before(until); {
				if err := tx.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())`).Scan(&waiting); err != nil {
					return err
				}
			}
			_, err := tx.Exec(t.Context(), `UPDATE payment SET ref = id WHERE id = $1`, payment)
			return err
		}); err != nil {
			t.Error(err)
		}
	})
	<-locked
	if _, err := s.svc.CarryOut(t.Context()); err != nil {
		t.Error(err)
	}
	wg.Wait()
	s.now.Add(3600)
	if _, err := s.svc.CarryOut(t.Context()); err != nil {
		t.Error(err)
	}
	if n := s.count(`SELECT count(*) FROM development_payment WHERE id = $1 AND state = 'open'`, payment); n != 0 {
		t.Error("the page can be paid still")
	}
}
