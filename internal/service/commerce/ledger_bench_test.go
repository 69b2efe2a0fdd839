package commerce_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/commerce"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// bigLedger is a ledger that is filled by statements of many entries each, which the
// triggers and constraints look at as at any others.
type bigLedger struct {
	*shop
	teachers []string
	entries  int
}

func newBigLedger(b *testing.B) *bigLedger {
	b.Helper()
	l := &bigLedger{shop: newShop(b)}
	for range 1000 {
		l.teachers = append(l.teachers, id.New("account"))
	}
	l.exec(`INSERT INTO ledger_account (account, currency) VALUES ('provider', 'EUR'), ('platform', 'EUR')`)
	l.exec(`INSERT INTO ledger_account (account, currency) SELECT kind || t, 'EUR' FROM unnest($1::text[]) AS t, unnest('{held:,teacher:}'::text[]) AS kind`, l.teachers)
	return l
}

// fill makes entries until there are so many: sales of teachers in turn, and releases of
// what the sale before brought.
func (l *bigLedger) fill(size int) {
	l.Helper()
	const batch = 50_000
	for l.entries < size {
		n := min(size-l.entries, batch)
		if err := l.db.InTx(l.Context(), func(tx *pg.Tx) error {
			tx.Exempt("a benchmark")
			if _, err := tx.Exec(l.Context(), `SET LOCAL statement_timeout = 0`); err != nil {
				return err
			}
			last := int64(0)
			if err := tx.QueryRow(l.Context(), `SELECT coalesce(max(id), 0) FROM ledger_entry`).Scan(&last); err != nil {
				return err
			}
			if _, err := tx.Exec(l.Context(), `
				INSERT INTO ledger_entry (key, kind, booked_at)
				SELECT 'x' || n, CASE n % 2 WHEN 0 THEN 'sale' ELSE 'release' END, now() FROM generate_series($1::int, $2::int) AS n`, l.entries, l.entries+n-1); err != nil {
				return err
			}
			_, err := tx.Exec(l.Context(), `
				INSERT INTO ledger_posting (entry_id, position, account, currency, amount)
				SELECT e.id, p.position, CASE WHEN p.account LIKE '%:' THEN p.account || ($2::text[])[1 + (substr(e.key, 2)::int / 2) % $3] ELSE p.account END, 'EUR', p.amount
				FROM ledger_entry e JOIN (VALUES
					('sale', 0, 'provider', 10), ('sale', 1, 'platform', -3), ('sale', 2, 'held:', -7), ('release', 0, 'held:', 7), ('release', 1, 'teacher:', -7)
				) AS p (kind, position, account, amount) ON p.kind = e.kind
				WHERE e.id > $1`, last, l.teachers, len(l.teachers))
			return err
		}); err != nil {
			l.Fatal(err)
		}
		l.entries += n
		if _, err := l.svc.Checkpoint(l.Context()); err != nil {
			l.Fatal(err)
		}
	}
	// As the server does by itself, later. The service may not.
	admin, err := pgx.Connect(l.Context(), l.url)
	if err != nil {
		l.Fatal(err)
	}
	defer func() { _ = admin.Close(context.Background()) }()
	if _, err := admin.Exec(l.Context(), `VACUUM (ANALYZE)`); err != nil {
		l.Fatal(err)
	}
}

// pay makes a payout of all that a teacher has so far, of which the lines can be read.
func (l *bigLedger) pay(teacher string) string {
	l.Helper()
	payout := id.New("payout")
	l.exec(`INSERT INTO payout_account (teacher_id, provider, created_at, updated_at) VALUES ($1, 'development', now(), now()) ON CONFLICT DO NOTHING`, teacher)
	l.exec(`INSERT INTO payout_run (id, currency, period, created_by, created_at) VALUES ($1, 'EUR', $1, '', now())`, payout)
	l.exec(`INSERT INTO payout (id, run_id, teacher_id, currency, period, amount, opening, closing, after_entry, through_entry, created_at)
		SELECT $1, $1, $2, 'EUR', $1, 1, 0, 0, 0, max(id), now() FROM ledger_entry`, payout, teacher)
	return payout
}

// BenchmarkLedger books, and reads balances and statements, in a ledger that grows:
// nothing of it grows with it but what proving all of it takes.
func BenchmarkLedger(b *testing.B) {
	l := newBigLedger(b)
	for _, size := range []int{10_000, 100_000, 1_000_000, 10_000_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) { l.measure(b, size) })
	}
}

// measure measures a ledger of so many entries.
func (l *bigLedger) measure(b *testing.B, size int) {
	teacher := l.teachers[500]
	who, staff := rpctest.Account(b.Context(), teacher), l.staff()
	begin := time.Now()
	l.fill(size)
	payout := l.pay(teacher)
	b.Logf("%d entries after %.0f s, in %d MiB", size, time.Since(begin).Seconds(), l.count(`SELECT pg_database_size(current_database()) >> 20`))
	run := func(name string, do func(context.Context) error) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := do(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("book", func(ctx context.Context) error {
		return l.db.InTx(ctx, func(tx *pg.Tx) error {
			tx.Exempt("a benchmark")
			return commerce.Book(ctx, tx, time.Now(), commerce.Entry{Key: id.New("x"), Kind: "test", Postings: []commerce.Posting{
				{Account: "provider", Currency: "EUR", Amount: 10}, {Account: "platform", Currency: "EUR", Amount: -3}, {Account: "held:" + teacher, Currency: "EUR", Amount: -7},
			}})
		})
	})
	run("balances", func(ctx context.Context) error {
		list, err := commerce.Balances(ctx, l.db, []string{"provider", "held:" + teacher})
		if err == nil && len(list) != 2 {
			err = fmt.Errorf("balances %v", list)
		}
		return err
	})
	run("books", func(context.Context) error {
		_, err := l.revenue.ListLedgerBalances(staff, &commercepb.ListLedgerBalancesRequest{})
		return err
	})
	run("earned", func(context.Context) error {
		res, err := l.revenue.ListEarnings(who, &commercepb.ListEarningsRequest{PageSize: 50})
		if err == nil && len(res.GetItems()) == 0 {
			err = fmt.Errorf("nothing earned")
		}
		return err
	})
	cursor := ""
	run("statement", func(context.Context) error {
		res, err := l.payouts.ListMyPayoutLines(who, &commercepb.ListMyPayoutLinesRequest{PayoutId: payout, PageSize: 50, Cursor: cursor})
		if err == nil && len(res.GetItems()) == 0 {
			err = fmt.Errorf("an empty statement")
		}
		cursor = res.GetNextCursor() // from the first page to the last, and again
		return err
	})
	l.exec(`DELETE FROM payout`)
	l.exec(`DELETE FROM payout_run`)
	b.Run("verify", func(b *testing.B) { // once, however often the others run
		begin := time.Now()
		r, err := commerce.VerifyLedger(b.Context(), l.db)
		if err != nil || r.Problem != "" || r.Entries < int64(size) {
			b.Fatalf("%+v, %v", r, err)
		}
		b.ReportMetric(float64(time.Since(begin).Nanoseconds())/float64(r.Entries), "ns/entry")
		b.ReportMetric(0, "ns/op")
	})
}
