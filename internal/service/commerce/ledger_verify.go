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
// empty, that checkpoints are the sums of the postings before them, that each paid
// order is booked at what was paid, each line at what was given back of it, refunds,
// disputes and payouts as they stand, and that the statements of teachers leave nothing
// out. It looks at one moment of the ledger, reads all of it, and holds up nobody.
func VerifyLedger(ctx context.Context, db *pg.DB) (r LedgerReport, err error) {
	err = db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("nothing is written")
		if _, err := tx.Exec(ctx, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY`); err != nil {
			return err
		}
		// It is meant to read everything, however long that takes.
		if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = 0`); err != nil {
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
			{"of line %[1]s %[2]s", `
				SELECT l.id, l.refunded || ' was given back, but ' || coalesce(b.amount, 0) || ' is booked'
				FROM order_line l
				LEFT JOIN (
					SELECT p.line_id, -sum(p.amount) AS amount FROM ledger_entry e JOIN ledger_posting p ON p.entry_id = e.id
					WHERE e.kind IN ('refund', 'dispute_lost') AND p.account IN ('provider', 'disputed') AND p.line_id IS NOT NULL GROUP BY p.line_id
				) b ON b.line_id = l.id
				WHERE l.refunded <> coalesce(b.amount, 0) ORDER BY l.id LIMIT 1`},
			{"line %[1]s has shares of %[2]s", `
				SELECT l.id, -sum(s.amount) || ', but ' || l.amount - l.refunded || ' is left of it'
				FROM (
					SELECT line_id, regexp_replace(account, '^(held|teacher):', '') AS who, sum(amount) AS amount
					FROM ledger_posting WHERE line_id IS NOT NULL AND account NOT IN ('provider', 'disputed') GROUP BY line_id, who
				) s JOIN order_line l ON l.id = s.line_id
				GROUP BY l.id HAVING -sum(s.amount) <> l.amount - l.refunded OR l.refunded = l.amount AND bool_or(s.amount <> 0) ORDER BY l.id LIMIT 1`},
			{"line %[1]s has %[2]s", `
				SELECT l.id, l.reserved || ' reserved, but refunds on their way are of ' || coalesce(sum(r.amount), 0)
				FROM order_line l LEFT JOIN (SELECT line_id, n.amount FROM refund_line n JOIN refund r ON r.id = n.refund_id WHERE r.state = 'pending') r ON r.line_id = l.id
				GROUP BY l.id HAVING l.reserved <> coalesce(sum(r.amount), 0) ORDER BY l.id LIMIT 1`},
			{"refund %[1]s is of %[2]s", `
				SELECT r.id, r.amount || ' ' || r.currency || ' and ' || r.state || ', but ' || coalesce(sum(-p.amount), 0) || ' is booked'
				FROM refund r LEFT JOIN ledger_entry e ON e.key IN ('refund:' || r.id, 'refund_failed:' || r.id)
				LEFT JOIN ledger_posting p ON p.entry_id = e.id AND p.account = 'provider' AND p.currency = r.currency
				GROUP BY r.id HAVING coalesce(sum(-p.amount), 0) <> CASE WHEN r.state = 'succeeded' THEN r.amount ELSE 0 END ORDER BY r.id LIMIT 1`},
			{"in %[1]s disputes are open of %[2]s", `
				SELECT currency, sum(amount) FILTER (WHERE of = 'dispute') || ', but ' || sum(amount) FILTER (WHERE of = 'ledger') || ' is booked'
				FROM (
					SELECT 'dispute' AS of, currency, amount FROM dispute WHERE state = 'open'
					UNION ALL SELECT 'ledger', currency, amount FROM ledger_posting WHERE account = 'disputed'
				) b GROUP BY currency HAVING coalesce(sum(amount) FILTER (WHERE of = 'dispute'), 0) <> coalesce(sum(amount) FILTER (WHERE of = 'ledger'), 0) ORDER BY currency LIMIT 1`},
			{"payout %[1]s is %[2]s", `
				SELECT o.id, o.state || ' with ' || o.amount || ' ' || o.currency || ', but booked is ' || coalesce(b.all, 'nothing')
				FROM payout o
				LEFT JOIN (
					SELECT split_part(e.key, ':', 2) AS id, p.currency, string_agg(e.kind || ' ' || p.amount, ', ' ORDER BY e.id) AS all,
						sum(p.amount) FILTER (WHERE e.kind = 'payable') AS payable, sum(p.amount) FILTER (WHERE e.kind = 'payout') AS paid,
						sum(p.amount) FILTER (WHERE e.kind = 'payout_failed') AS failed, sum(p.amount) FILTER (WHERE e.kind = 'payout_reversal') AS reversed
					FROM ledger_entry e JOIN ledger_posting p ON p.entry_id = e.id AND p.amount > 0
					WHERE e.kind IN ('payable', 'payout', 'payout_failed', 'payout_reversal') GROUP BY 1, 2
				) b ON b.id = o.id AND b.currency = o.currency
				WHERE coalesce(b.payable, 0) <> o.amount
					OR coalesce(b.paid, 0) <> CASE WHEN o.state IN ('paid', 'reversing', 'reversed') THEN o.amount ELSE 0 END
					OR coalesce(b.failed, 0) <> CASE o.state WHEN 'failed' THEN o.amount ELSE 0 END
					OR coalesce(b.reversed, 0) <> CASE o.state WHEN 'reversed' THEN o.amount ELSE o.reversed END
				ORDER BY o.id LIMIT 1`},
			{"the statement of payout %[1]s %[2]s", `
				SELECT o.id, 'goes from ' || o.opening || ' to ' || o.closing || ', but its lines make ' || coalesce(p.amount, 0)
				FROM (
					SELECT *, coalesce(lag(through_entry) OVER one, 0) AS before, coalesce(lag(closing) OVER one, 0) AS closed
					FROM payout WINDOW one AS (PARTITION BY teacher_id, currency ORDER BY through_entry)
				) o
				CROSS JOIN LATERAL (
					SELECT -sum(p.amount) AS amount FROM ledger_posting p
					WHERE p.account = 'teacher:' || o.teacher_id AND p.currency = o.currency AND p.entry_id > o.after_entry AND p.entry_id <= o.through_entry
				) p
				WHERE o.after_entry <> o.before OR o.opening <> o.closed OR o.closing <> o.opening + coalesce(p.amount, 0) ORDER BY o.id LIMIT 1`},
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
