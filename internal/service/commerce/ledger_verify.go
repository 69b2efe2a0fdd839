package commerce

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/money"
	"github.com/stoa-lms/stoa/internal/pg"
)

// LedgerReport is what [VerifyLedger] found.
type LedgerReport struct {
	// Entries and Postings are how many there are.
	Entries, Postings int64
	// Currencies are those that were posted in, with what was debited in each, which
	// as much was credited.
	Currencies []string
	// Problem names the first that is wrong; empty when all is right.
	Problem string
}

// VerifyLedger proves that each entry and each currency sums to zero, that no entry is
// empty, that checkpoints are the sums of the postings before them, and that each paid
// order is booked at what was paid. It looks at one moment of the ledger, reads all of
// it, and holds up nobody.
func VerifyLedger(ctx context.Context, db *pg.DB) (r LedgerReport, err error) {
	err = db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("nothing is written")
		if _, err := tx.Exec(ctx, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY`); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM ledger_entry), (SELECT count(*) FROM ledger_posting)`).Scan(&r.Entries, &r.Postings); err != nil {
			return err
		}
		for _, check := range []struct{ problem, sql string }{
			{"entry %[1]s sums to %[2]s, not to zero", `
				SELECT entry_id::text, sum(amount)::text || ' ' || currency FROM ledger_posting GROUP BY entry_id, currency HAVING sum(amount) <> 0 ORDER BY entry_id LIMIT 1`},
			{"entry %[1]s (%[2]s) has no postings", `
				SELECT id::text, key FROM ledger_entry e WHERE NOT EXISTS (SELECT FROM ledger_posting p WHERE p.entry_id = e.id) ORDER BY id LIMIT 1`},
			{"a checkpoint of %[1]s is not the sum of its postings: %[2]s", `
				SELECT c.account, 'at entry ' || c.entry_id || ' ' || c.balance || ' ' || c.currency || ', but they make ' || c.before + coalesce(p.amount, 0)
				FROM (
					SELECT *, coalesce(lag(entry_id) OVER one, 0) AS after, coalesce(lag(balance) OVER one, 0) AS before
					FROM ledger_checkpoint WINDOW one AS (PARTITION BY account, currency ORDER BY entry_id)
				) c
				CROSS JOIN LATERAL (
					SELECT sum(amount) AS amount FROM ledger_posting p
					WHERE p.account = c.account AND p.currency = c.currency AND p.entry_id > c.after AND p.entry_id <= c.entry_id
				) p
				WHERE c.balance <> c.before + coalesce(p.amount, 0) ORDER BY c.entry_id LIMIT 1`},
			{"order %[1]s was paid with %[2]s", `
				SELECT o.id, o.total || ' ' || o.currency || ', but ' || coalesce(sum(p.amount), 0) || ' is booked'
				FROM orders o
				LEFT JOIN ledger_entry e ON e.order_id = o.id AND e.kind = 'sale'
				LEFT JOIN ledger_posting p ON p.entry_id = e.id AND p.account = 'provider' AND p.currency = o.currency
				WHERE o.paid_at IS NOT NULL GROUP BY o.id HAVING coalesce(sum(p.amount), 0) <> o.total ORDER BY o.id LIMIT 1`},
		} {
			var what, more string
			err := tx.QueryRow(ctx, check.sql).Scan(&what, &more)
			if err == nil {
				r.Problem = fmt.Sprintf(check.problem, what, more)
				return nil
			}
			if !pg.NoRows(err) {
				return fmt.Errorf("verify: %w", err)
			}
		}
		rows, err := tx.Query(ctx, `SELECT currency, coalesce(sum(amount) FILTER (WHERE amount > 0), 0)::bigint, sum(amount)::text FROM ledger_posting GROUP BY currency ORDER BY currency`)
		if err != nil {
			return err
		}
		var (
			currency, sum string
			debits        int64
		)
		_, err = pgx.ForEachRow(rows, []any{&currency, &debits, &sum}, func() error {
			if sum != "0" && r.Problem == "" {
				r.Problem = fmt.Sprintf("%s sums to %s, not to zero", currency, sum)
			}
			r.Currencies = append(r.Currencies, money.Format(debits, currency))
			return nil
		})
		return err
	})
	return r, err
}
