package commerce_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// payee is a teacher with an account that is ready.
func (s *shop) payee() string {
	s.Helper()
	teacher := id.New("account")
	a, err := s.payouts.CreatePayoutAccount(rpctest.Account(s.Context(), teacher), &commercepb.CreatePayoutAccountRequest{})
	if err != nil || !a.GetReady() {
		s.Fatalf("%v, %v", a, err)
	}
	return teacher
}

// earns has teachers sell something that was paid so long ago that it can be paid out.
func (s *shop) earns(amount int64, teachers ...string) (orders []*commercepb.Order) {
	s.Helper()
	for _, t := range teachers {
		orders = append(orders, s.paidOrder(id.New("account"), s.course(t, amount, "EUR")))
	}
	s.now.Add(31 * 24 * 3600)
	if _, err := s.svc.Release(s.Context()); err != nil {
		s.Fatal(err)
	}
	return orders
}

func (s *shop) begins(month string) *commercepb.PayoutRun {
	s.Helper()
	r, err := s.payouts.CreatePayoutRun(s.staff(), &commercepb.CreatePayoutRunRequest{Currency: "EUR", Month: month})
	if err != nil {
		s.Fatal(err)
	}
	return r
}

// paysOut brings runs on, and returns how many payouts they made.
func (s *shop) paysOut() int {
	s.Helper()
	n, err := s.svc.PayOut(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return n
}

func (s *shop) paidTo(teacher string) []*commercepb.Payout {
	s.Helper()
	res, err := s.payouts.ListMyPayouts(rpctest.Account(s.Context(), teacher), &commercepb.ListMyPayoutsRequest{})
	if err != nil {
		s.Fatal(err)
	}
	return res.GetItems()
}

type statementLine struct {
	Kind   string
	Amount int64
}

// statement reads the statement of a payout two lines at a time.
func (s *shop) statement(teacher, payout string) (lines []statementLine) {
	s.Helper()
	cursor := ""
	for {
		res, err := s.payouts.ListMyPayoutLines(rpctest.Account(s.Context(), teacher), &commercepb.ListMyPayoutLinesRequest{PayoutId: payout, PageSize: 2, Cursor: cursor})
		if err != nil {
			s.Fatal(err)
		}
		for _, l := range res.GetItems() {
			lines = append(lines, statementLine{l.GetKind(), l.GetAmount().GetAmount()})
		}
		if cursor = res.GetNextCursor(); cursor == "" {
			return lines
		}
	}
}

func TestPayout(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada, ben, poor, nowhere := s.payee(), s.payee(), s.payee(), id.New("account")
	s.svc.PayoutMinimum = 10
	_, err := s.payouts.GetPayoutAccount(rpctest.Account(t.Context(), nowhere), &commercepb.GetPayoutAccountRequest{})
	wantCode(t, err, "payout_account.not_found")
	_, err = s.payouts.CreateOnboardingLink(rpctest.Account(t.Context(), nowhere), &commercepb.CreateOnboardingLinkRequest{})
	wantCode(t, err, "payout_account.not_found")
	s.earns(10_000, ada, ada, ada, ben, nowhere)
	s.earns(1428, poor) // 70 % of it is 9.996, rounded to 10.00
	s.earns(100, ben)
	held := s.paidOrder(id.New("account"), s.course(ada, 5000, "EUR"))

	for code, req := range map[string]*commercepb.CreatePayoutRunRequest{
		"payout.month": {Currency: "EUR", Month: "2027-01"}, "payout.currency": {Currency: "XXX"},
	} {
		_, err := s.payouts.CreatePayoutRun(s.staff(), req)
		if len(code) == 0 || err == nil || !hasField(err, code) {
			t.Errorf("%v, want %s", err, code)
		}
	}
	run := s.begins("2026-05")
	if again := s.begins("2026-05"); again.GetId() != run.GetId() {
		t.Errorf("two runs of a month: %v, %v", run, again)
	}
	if n := s.paysOut(); n != 3 {
		t.Fatalf("%d payouts, want 3", n)
	}
	if e := s.earnings(ada); e.GetPayable().GetAmount() != 21_000 || e.GetAvailable().GetAmount() != 0 || e.GetHeld().GetAmount() != 3500 {
		t.Errorf("on its way: %v", e)
	}
	s.agrees()
	s.carryOut(1)
	got := s.paidTo(ada)
	if len(got) != 1 || got[0].GetState() != "paid" || got[0].GetAmount().GetAmount() != 21_000 || got[0].GetPeriod() != "2026-05" {
		t.Fatalf("payouts %v", got)
	}
	want := []statementLine{{"release", 7000}, {"release", 7000}, {"release", 7000}, {"payable", -21_000}}
	if diff := cmp.Diff(want, s.statement(ada, got[0].GetId())); diff != "" {
		t.Error(diff)
	}
	_, err = s.payouts.ListMyPayoutLines(rpctest.Account(t.Context(), ben), &commercepb.ListMyPayoutLinesRequest{PayoutId: got[0].GetId()})
	wantCode(t, err, "payout.not_found")
	_, err = s.payouts.GetMyPayout(rpctest.Account(t.Context(), ben), &commercepb.GetMyPayoutRequest{PayoutId: got[0].GetId()})
	wantCode(t, err, "payout.not_found")
	if r, err := s.payouts.GetPayoutRun(s.staff(), &commercepb.GetPayoutRunRequest{RunId: run.GetId()}); err != nil || r.GetState() != "done" || r.GetPayouts() != 3 || r.GetAmount().GetAmount() != 21_000+7070+1000 {
		t.Errorf("run %v, %v", r, err)
	}
	s.agrees()

	// The next statement begins where this one ended. What was given back after it was
	// paid out is taken from what comes.
	s.now.Add(31 * 24 * 3600)
	s.releases(1)
	s.gaveBack(held)
	s.earns(2000, ada)
	s.begins("")
	if n := s.paysOut(); n != 1 {
		t.Fatalf("%d payouts, want 1", n)
	}
	s.carryOut(1)
	got = s.paidTo(ada)
	want = []statementLine{{"release", 3500}, {"refund", -3500}, {"release", 1400}, {"payable", -1400}}
	if diff := cmp.Diff(want, s.statement(ada, got[0].GetId())); diff != "" {
		t.Error(diff)
	}
	all, err := s.payouts.ListPayouts(s.staff(), &commercepb.ListPayoutsRequest{RunId: run.GetId()})
	if err != nil || len(all.GetItems()) != 3 {
		t.Errorf("%v, %v", all, err)
	}
	s.agrees()
}

func (s *shop) earnings(teacher string) *commercepb.CurrencyEarnings {
	s.Helper()
	res, err := s.revenue.GetEarnings(rpctest.Account(s.Context(), teacher), &commercepb.GetEarningsRequest{})
	if err != nil || len(res.GetItems()) != 1 {
		s.Fatalf("%v, %v", res, err)
	}
	return res.GetItems()[0]
}

// What is given back after it was paid out is a debt that is carried.
func TestDebtIsCarried(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada := s.payee()
	orders := s.earns(10_000, ada, ada)
	s.begins("")
	s.paysOut()
	s.carryOut(1)
	s.gaveBack(orders[0])
	if e := s.earnings(ada); e.GetAvailable().GetAmount() != -7000 {
		t.Errorf("%v", e)
	}
	s.now.Add(1)
	s.begins("")
	if n := s.paysOut(); n != 0 {
		t.Errorf("%d payouts of a debt", n)
	}
	s.earns(12_000, ada)
	s.begins("")
	s.paysOut()
	s.carryOut(1)
	if p := s.paidTo(ada)[0]; p.GetAmount().GetAmount() != 1400 {
		t.Errorf("%v", p)
	}
	s.agrees()
}

// However many runs there are at once, what somebody has is paid once.
func TestRunsAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	teachers := make([]string, 12)
	for i := range teachers {
		teachers[i] = s.payee()
	}
	const rounds = 6
	for range rounds {
		orders := s.earns(10_000, teachers...)
		for range 3 {
			s.now.Add(1)
			s.begins("")
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := s.svc.PayOut(t.Context()); err != nil {
					t.Error(err)
				}
				if _, err := s.svc.CarryOut(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Go(func() { // and something is given back meanwhile
			for _, o := range orders[:4] {
				if _, err := s.giveBack(o); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Wait()
		s.paysOut()
		s.carryOut(3600)
	}
	if n := s.count(`SELECT count(*) FROM payout_run WHERE state = 'running'`); n != 0 {
		t.Errorf("%d runs are not done", n)
	}
	// Those of whom nothing was given back were paid what they earned, round by round.
	for _, teacher := range teachers[4:] {
		if n := len(s.paidTo(teacher)); n != rounds {
			t.Errorf("paid %d times in %d rounds", n, rounds)
		}
		if e := s.earnings(teacher); e.GetAvailable().GetAmount() != 0 || e.GetPayable().GetAmount() != 0 {
			t.Errorf("earnings %v", e)
		}
	}
	s.agrees()
}

// Killed after the provider has paid and before that is written, or before anything:
// it is paid once.
func TestPayoutSurvivesFailures(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	u := s.unreliableMoney()
	ada, ben := s.payee(), s.payee()
	s.earns(10_000, ada, ben)
	s.begins("2026-03")
	s.paysOut()
	u.before.Store(2)
	u.after.Store(2)
	for range 6 {
		s.carryOut(3600)
	}
	if n := s.count(`SELECT count(*) FROM development_transaction WHERE kind = 'transfer'`); n != 2 {
		t.Errorf("%d transfers", n)
	}
	s.agrees()

	// What the provider refuses can be paid out again.
	s.earns(1000, ada)
	s.begins("")
	s.paysOut()
	u.refuse.Store(true)
	s.carryOut(1)
	p := s.paidTo(ada)[0]
	if e := s.earnings(ada); p.GetState() != "failed" || e.GetAvailable().GetAmount() != 700 || e.GetPayable().GetAmount() != 0 {
		t.Fatalf("%v, %v", p, e)
	}
	_, err := s.payouts.ReversePayout(s.staff(), &commercepb.ReversePayoutRequest{PayoutId: p.GetId(), Reason: "wrong"})
	wantCode(t, err, "payout.not_paid")
	u.refuse.Store(false)
	s.now.Add(1)
	s.begins("")
	s.paysOut()
	s.carryOut(1)
	p = s.paidTo(ada)[0]
	if diff := cmp.Diff([]statementLine{{"payout_failed", 700}, {"payable", -700}}, s.statement(ada, p.GetId())); diff != "" {
		t.Error(diff)
	}

	// What was paid in error is taken back, once, and can be paid out again.
	u.refuse.Store(true)
	reverse := func() *commercepb.Payout {
		s.Helper()
		if _, err := s.payouts.ReversePayout(s.staff(), &commercepb.ReversePayoutRequest{PayoutId: p.GetId(), Reason: "wrong person"}); err != nil {
			t.Fatal(err)
		}
		s.carryOut(3600)
		got, err := s.payouts.GetPayout(s.staff(), &commercepb.GetPayoutRequest{PayoutId: p.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := reverse(); got.GetState() != "paid" || got.GetProblem() == "" {
		t.Fatalf("%v", got)
	}
	s.agrees()
	u.refuse.Store(false)
	u.after.Store(1)
	reverse()
	s.carryOut(3600)
	if got := reverse(); got.GetState() != "reversed" || got.GetProblem() != "" {
		t.Fatalf("%v", got)
	}
	if e := s.earnings(ada); e.GetAvailable().GetAmount() != 700 {
		t.Errorf("%v", e)
	}
	s.agrees()
}

// A run that was killed goes on behind the last teacher that it paid.
func TestRunGoesOn(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada, ben := s.payee(), s.payee()
	if ada > ben {
		ada, ben = ben, ada
	}
	s.earns(10_000, ada, ben)
	run := s.begins("2026-03")
	// As after a kill in the middle: the first was paid, and more has come since.
	if _, err := s.db.Exec(t.Context(), `UPDATE payout_run SET through = $2 WHERE id = $1`, run.GetId(), ada); err != nil {
		t.Fatal(err)
	}
	if n := s.paysOut(); n != 1 || len(s.paidTo(ben)) != 1 {
		t.Errorf("%d payouts", n)
	}
	if n := s.paysOut(); n != 0 {
		t.Errorf("a run that is done paid %d", n)
	}
}

func TestMonthlyRuns(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada := s.payee()
	s.earns(10_000, ada)
	monthly := func(day int, at time.Time, want int) {
		t.Helper()
		s.svc.PayoutDay = day
		s.now.Store(at.Unix())
		if n, err := s.svc.MonthlyRuns(t.Context()); err != nil || n != want {
			t.Errorf("%d runs, %v, want %d", n, err, want)
		}
	}
	day := func(m time.Month, d int) time.Time { return time.Date(2026, m, d, 0, 0, 1, 0, time.UTC) }
	monthly(0, day(5, 20), 0) // only by hand
	monthly(15, day(5, 14), 0)
	monthly(15, day(5, 15), 1)
	monthly(15, day(5, 20), 0) // once a month
	if n := s.paysOut(); n != 1 || s.paidTo(ada)[0].GetPeriod() != "2026-05" {
		t.Errorf("%d payouts: %v", n, s.paidTo(ada))
	}
	monthly(31, day(6, 29), 0)
	monthly(31, day(6, 30), 1) // shorter months end earlier
	s.carryOut(1)
	s.agrees()
}

func TestPayoutAccount(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ada := s.payee()
	ctx := rpctest.Account(t.Context(), ada)
	link, err := s.payouts.CreateOnboardingLink(ctx, &commercepb.CreateOnboardingLinkRequest{})
	if err != nil || link.GetUrl() == "" {
		t.Fatalf("%v, %v", link, err)
	}
	for range 2 {
		if err := s.svc.HeardAccount(t.Context(), commerce.AccountNews{TeacherID: ada, Ref: "account:" + ada, Requirements: []string{"external_account"}}); err != nil {
			t.Fatal(err)
		}
	}
	// Of somebody who is none of ours, or of another account of theirs.
	for _, n := range []commerce.AccountNews{{TeacherID: id.New("account"), Ref: "acct_2", Ready: true}, {TeacherID: ada, Ref: "acct_3", Ready: true}} {
		if err := s.svc.HeardAccount(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	a, err := s.payouts.CreatePayoutAccount(ctx, &commercepb.CreatePayoutAccountRequest{})
	if err != nil || a.GetReady() || len(a.GetRequirements()) != 1 || !a.GetMade() {
		t.Fatalf("%v, %v", a, err)
	}
	s.earns(10_000, ada)
	s.begins("")
	if n := s.paysOut(); n != 0 {
		t.Errorf("%d payouts to an account that is not ready", n)
	}
	s.svc.NoProvider()
	_, err = s.payouts.CreatePayoutAccount(ctx, &commercepb.CreatePayoutAccountRequest{})
	wantCode(t, err, "payout.off")
	_, err = s.payouts.CreatePayoutRun(s.staff(), &commercepb.CreatePayoutRunRequest{Currency: "EUR"})
	wantCode(t, err, "payout.off")
}
