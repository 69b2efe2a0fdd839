package commerce_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/service/commerce"
)

// No unit is lost or made, nobody is a whole unit away from their exact part, and who
// weighs more never gets less.
func TestShare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		amount  int64
		weights []int64
		want    []int64
	}{
		{100, []int64{1, 1, 1}, []int64{34, 33, 33}},
		{-100, []int64{1, 1, 1}, []int64{-34, -33, -33}},
		{5, []int64{3000, 7000}, []int64{2, 3}}, // 1.5 and 3.5: the first of equal remainders
		{4999, []int64{3000, 7000}, []int64{1500, 3499}},
		{1, []int64{0, 1}, []int64{0, 1}},
		{0, []int64{1, 2}, []int64{0, 0}},
		{math.MaxInt64, []int64{math.MaxInt64, math.MaxInt64}, []int64{math.MaxInt64/2 + 1, math.MaxInt64 / 2}},
	} {
		if got, err := commerce.Share(c.amount, c.weights); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%d by %v: %v, %v, want %v", c.amount, c.weights, got, err, c.want)
		}
	}
	for _, weights := range [][]int64{nil, {0, 0}, {2, -1}} {
		if got, err := commerce.Share(10, weights); err == nil {
			t.Errorf("by %v: %v", weights, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.Int64().Draw(t, "amount")
		weights := append(rapid.SliceOfN(rapid.Int64Range(0, math.MaxInt64), 0, 7).Draw(t, "weights"), rapid.Int64Range(1, math.MaxInt64).Draw(t, "weight"))
		total := new(big.Int)
		for _, w := range weights {
			total.Add(total, big.NewInt(w))
		}
		parts, err := commerce.Share(amount, weights)
		if err != nil {
			t.Fatal(err)
		}
		sum := new(big.Int)
		for i, p := range parts {
			sum.Add(sum, big.NewInt(p))
			exact := new(big.Rat).SetFrac(new(big.Int).Mul(big.NewInt(amount), big.NewInt(weights[i])), total)
			if off := exact.Sub(exact, new(big.Rat).SetInt64(p)); off.Abs(off).Cmp(big.NewRat(1, 1)) >= 0 {
				t.Fatalf("part %d of %v is %s off", i, parts, off)
			}
			for j := range parts[:i] {
				if amount > 0 && weights[i] > weights[j] && p < parts[j] {
					t.Fatalf("%d weighs more than %d and gets less: %v", i, j, parts)
				}
			}
		}
		if sum.Cmp(big.NewInt(amount)) != 0 {
			t.Fatalf("%v make %s, not %d", parts, sum, amount)
		}
	})
}

// ledger is commerce with nothing but its ledger in use.
type ledger struct {
	testing.TB
	db  *pg.DB
	svc *commerce.Service
}

func newLedger(t testing.TB) *ledger {
	t.Helper()
	db := pgtest.Open(t, commerce.Schema)
	return &ledger{t, db, commerce.New(commerce.Config{DB: db})}
}

func (l *ledger) try(entries ...commerce.Entry) error {
	return l.db.InTx(l.Context(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		return commerce.Book(l.Context(), tx, time.Now(), entries...)
	})
}

func (l *ledger) verify() commerce.LedgerReport {
	l.Helper()
	r, err := commerce.VerifyLedger(l.Context(), l.db)
	if err != nil {
		l.Fatal(err)
	}
	return r
}

func move(key, from, to, currency string, amount int64) commerce.Entry {
	return commerce.Entry{Key: key, Kind: "test", Postings: []commerce.Posting{
		{Account: to, Currency: currency, Amount: amount}, {Account: from, Currency: currency, Amount: -amount},
	}}
}

// The database refuses what would not balance, and that anything booked changes,
// whatever the code does.
func TestLedgerIsGuarded(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	if err := l.try(move("one", "platform", "provider", "EUR", 100)); err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]commerce.Entry{
		"does not sum to zero": {Key: "two", Kind: "test", Postings: []commerce.Posting{{Account: "provider", Currency: "EUR", Amount: 100}, {Account: "platform", Currency: "EUR", Amount: -99}}},
		"two currencies":       {Key: "two", Kind: "test", Postings: []commerce.Posting{{Account: "provider", Currency: "EUR", Amount: 100}, {Account: "platform", Currency: "USD", Amount: -100}}},
		"no postings":          {Key: "two", Kind: "test"},
		"nothing":              {Key: "two", Kind: "test", Postings: []commerce.Posting{{Account: "provider", Currency: "EUR", Amount: 1}, {Account: "provider", Currency: "EUR", Amount: -1}}},
		"no such account":      move("two", "platform", "pocket", "EUR", 100),
		"no such currency":     move("two", "platform", "provider", "Euro", 100),
		"overflow": {Key: "two", Kind: "test", Postings: []commerce.Posting{
			{Account: "provider", Currency: "EUR", Amount: math.MaxInt64}, {Account: "provider", Currency: "EUR", Amount: 1}, {Account: "platform", Currency: "EUR", Amount: math.MinInt64},
		}},
	} {
		if err := l.try(e); err == nil {
			t.Errorf("%s: booked", name)
		}
	}
	for _, sql := range []string{
		`UPDATE ledger_posting SET amount = amount * 2`, `DELETE FROM ledger_posting`, `TRUNCATE ledger_posting`,
		`UPDATE ledger_entry SET kind = 'other'`, `DELETE FROM ledger_entry`, `TRUNCATE ledger_entry CASCADE`,
		`INSERT INTO ledger_posting (entry_id, position, account, currency, amount) SELECT id, 7, 'provider', 'EUR', 5 FROM ledger_entry`,
		`INSERT INTO ledger_posting (entry_id, position, account, currency, amount) SELECT id, n, a, 'EUR', m FROM ledger_entry, (VALUES (7, 'provider', 5), (8, 'platform', -5)) AS p (n, a, m)`,
		`INSERT INTO ledger_entry (key, kind, booked_at) VALUES ('empty', 'test', now())`,
	} {
		if _, err := l.db.Exec(t.Context(), sql); err == nil {
			t.Errorf("the database takes %s", sql)
		}
	}
	if r := l.verify(); r.Problem != "" || r.Entries != 1 || r.Postings != 2 || !slices.Equal(r.Currencies, []string{"EUR 1.00"}) {
		t.Errorf("%+v", r)
	}
}

// What is booked by many at once, some of it twice, with checkpoints made meanwhile,
// is there once, and the balances are those of a sum over everything.
func TestLedgerBalances(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	accounts := []string{"provider", "platform", "tax", "held:" + id.New("account"), "teacher:" + id.New("account")}
	currencies := []string{"EUR", "JPY"}
	const workers, each = 4, 40
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1)) //nolint:gosec // chance, not secrecy
			for i := range each {
				var entries []commerce.Entry
				for n := range 40 {
					// Half of the keys are those of another worker, who books the same under them.
					key := fmt.Sprintf("%d/%d/%d", w/2, i, n)
					from := (i + n) % len(accounts)
					entries = append(entries, move(key, accounts[from], accounts[(from+1+n%3)%len(accounts)], currencies[n%2], int64(1+i*n)))
				}
				r.Shuffle(len(entries), func(a, b int) { entries[a], entries[b] = entries[b], entries[a] })
				if err := l.try(entries...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	made := 0
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			n, err := l.svc.Checkpoint(t.Context())
			if err != nil {
				t.Error(err)
			}
			made += n
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	wg.Wait()
	close(stop)
	<-stopped
	n, err := l.svc.Checkpoint(t.Context())
	if err != nil || made+n == 0 {
		t.Errorf("%d and %d checkpoints, %v", made, n, err)
	}
	want := map[commerce.Balance]int64{}
	for w := range workers / 2 {
		for i := range each {
			for n := range 40 {
				_ = w
				from := (i + n) % len(accounts)
				want[commerce.Balance{Account: accounts[from], Currency: currencies[n%2]}] -= int64(1 + i*n)
				want[commerce.Balance{Account: accounts[(from+1+n%3)%len(accounts)], Currency: currencies[n%2]}] += int64(1 + i*n)
			}
		}
	}
	var list []commerce.Balance
	for b, amount := range want {
		b.Amount = amount
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b commerce.Balance) int {
		return cmp.Or(strings.Compare(a.Account, b.Account), strings.Compare(a.Currency, b.Currency))
	})
	got, err := commerce.Balances(t.Context(), l.db, accounts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(list, got); diff != "" {
		t.Error(diff)
	}
	if r := l.verify(); r.Problem != "" || r.Entries != workers/2*each*40 {
		t.Errorf("%+v", r)
	}
}

// What code and triggers can't do, somebody with the database in hand can: verifying
// names the first of it.
func TestVerifyLedger(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, want string }{
		"an amount":    {`UPDATE ledger_posting SET amount = amount + 1 WHERE entry_id = (SELECT min(entry_id) + 4 FROM ledger_posting) AND position = 0`, "sums to 1 EUR, not to zero"},
		"postings":     {`DELETE FROM ledger_posting WHERE entry_id = (SELECT min(entry_id) + 4 FROM ledger_posting)`, "has no postings"},
		"a checkpoint": {`UPDATE ledger_checkpoint SET balance = balance - 1 WHERE account = 'provider'`, "a checkpoint of provider is not the sum of its postings"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.New(t, commerce.Schema)
			db := pgtest.OpenURL(t, url, commerce.Schema.Name)
			l := &ledger{t, db, commerce.New(commerce.Config{DB: db})}
			var entries []commerce.Entry
			for i := range commerce.CheckpointEvery {
				entries = append(entries, move(fmt.Sprint(i), "platform", "provider", "EUR", int64(i+1)))
			}
			if err := l.try(entries...); err != nil {
				t.Fatal(err)
			}
			if n, err := l.svc.Checkpoint(t.Context()); err != nil || n != 2 {
				t.Fatal(n, err)
			}
			if r := l.verify(); r.Problem != "" {
				t.Fatal(r.Problem)
			}
			admin, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = admin.Close(context.Background()) }()
			if _, err := admin.Exec(t.Context(), `SET search_path = commerce; SET session_replication_role = replica; `+c.sql); err != nil {
				t.Fatal(err)
			}
			if r := l.verify(); !strings.Contains(r.Problem, c.want) {
				t.Errorf("%q, want %q", r.Problem, c.want)
			}
		})
	}
}
