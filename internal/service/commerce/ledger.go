package commerce

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
)

// The ledger has double entries: debits are above zero, credits below, and what is
// booked at once sums to zero in each currency. The database refuses all else, and
// that anything is changed or deleted. Nothing is ever converted between currencies.
//
// The chart of accounts, each in every currency:
//
//	provider       asset      what the payment provider has for the platform
//	disputed       asset      what it has taken back until a dispute is settled
//	processing     expense    what it has kept for itself
//	platform       income     the platform's shares
//	tax            liability  tax that was taken and has to be handed over
//	bank           asset      what went from the provider to the platform's bank
//	buyers         liability  what was paid for nothing and goes back
//	held:ACCOUNT   liability  shares of a teacher until nobody can ask for a refund
//	teacher:ACCOUNT liability  shares of a teacher that can be paid out
//	payable:ACCOUNT liability  what is on its way to a teacher
const (
	accountProvider   = "provider"
	accountPlatform   = "platform"
	accountHeld       = "held:"
	accountTeacher    = "teacher:"
	accountPayable    = "payable:"
	accountTax        = "tax"
	accountProcessing = "processing"
	accountDisputed   = "disputed"
	accountBuyers     = "buyers"
	accountBank       = "bank"
)

// entry is something to book.
type entry struct {
	Key      string // what is booked; it is booked once
	Kind     string
	Order    string // the order that it is about; empty for none
	Postings []posting
}

// posting is an amount on an account.
type posting struct {
	Account  string
	Currency string
	Amount   int64
	Line     string // the order line that it is for; empty for none
}

// book books entries, those of which the key is not booked yet. Postings of the same account, currency and line are put together, and those of
// nothing left out.
func book(ctx context.Context, tx *pg.Tx, at time.Time, entries ...entry) error {
	if err := lockTeachers(ctx, tx, entries); err != nil {
		return err
	}
	keys, kinds, orders := make([]string, len(entries)), make([]string, len(entries)), make([]string, len(entries))
	for i, e := range entries {
		keys[i], kinds[i], orders[i] = e.Key, e.Kind, e.Order
	}
	// In one order, so that two who book the same wait for each other and no more.
	rows, err := tx.Query(ctx, `
		INSERT INTO ledger_entry (key, kind, order_id, booked_at)
		SELECT key, kind, nullif(order_id, ''), $4 FROM unnest($1::text[], $2::text[], $3::text[]) AS e (key, kind, order_id) ORDER BY key
		ON CONFLICT ON CONSTRAINT ledger_entry_once DO NOTHING RETURNING id, key`, keys, kinds, orders, at)
	if err != nil {
		return err
	}
	ids := map[string]int64{}
	var (
		id  int64
		key string
	)
	if _, err := pgx.ForEachRow(rows, []any{&id, &key}, func() error {
		ids[key] = id
		return nil
	}); err != nil {
		return fmt.Errorf("ledger entries: %w", err)
	}
	var p struct {
		entries                     []int64
		positions                   []int16
		accounts, currencies, lines []string
		amounts                     []int64
	}
	for _, e := range entries {
		id, ok := ids[e.Key]
		if !ok {
			continue
		}
		list, err := together(e.Postings)
		if err != nil {
			return fmt.Errorf("ledger entry %s: %w", e.Key, err)
		}
		for i, one := range list {
			p.entries, p.positions = append(p.entries, id), append(p.positions, int16(i))
			p.accounts, p.currencies, p.lines = append(p.accounts, one.Account), append(p.currencies, one.Currency), append(p.lines, one.Line)
			p.amounts = append(p.amounts, one.Amount)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	batch.Queue(`
		INSERT INTO ledger_account (account, currency)
		SELECT DISTINCT account, currency FROM unnest($1::text[], $2::text[]) AS a (account, currency)
		WHERE NOT EXISTS (SELECT FROM ledger_account l WHERE l.account = a.account AND l.currency = a.currency) ORDER BY account, currency
		ON CONFLICT DO NOTHING`, p.accounts, p.currencies)
	batch.Queue(`
		INSERT INTO ledger_posting (entry_id, position, account, currency, amount, line_id)
		SELECT entry_id, position, account, currency, amount, nullif(line_id, '')
		FROM unnest($1::bigint[], $2::smallint[], $3::text[], $4::text[], $5::bigint[], $6::text[]) AS p (entry_id, position, account, currency, amount, line_id)`,
		p.entries, p.positions, p.accounts, p.currencies, p.amounts, p.lines)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("ledger postings: %w", err)
	}
	return nil
}

// lockTeachers keeps others from booking on the accounts from which the teachers of
// entries are paid, until tx ends. So what is booked on one becomes visible in the order of
// the entries' ids: a statement up to an id is of all that is before it, for ever.
func lockTeachers(ctx context.Context, tx *pg.Tx, entries []entry) error {
	var accounts, currencies []string
	for _, e := range entries {
		for _, p := range e.Postings {
			if strings.HasPrefix(p.Account, accountTeacher) {
				accounts, currencies = append(accounts, p.Account), append(currencies, p.Currency)
			}
		}
	}
	if len(accounts) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO ledger_account (account, currency)
		SELECT DISTINCT account, currency FROM unnest($1::text[], $2::text[]) AS a (account, currency)
		WHERE NOT EXISTS (SELECT FROM ledger_account l WHERE l.account = a.account AND l.currency = a.currency) ORDER BY account, currency
		ON CONFLICT DO NOTHING`, accounts, currencies); err != nil {
		return fmt.Errorf("ledger accounts: %w", err)
	}
	return lockAccounts(ctx, tx, accounts)
}

// lockAccounts is lockTeachers for accounts.
func lockAccounts(ctx context.Context, tx *pg.Tx, accounts []string) error {
	_, err := tx.Exec(ctx, `SELECT FROM ledger_account WHERE account = ANY ($1) ORDER BY account, currency FOR NO KEY UPDATE`, accounts)
	if err != nil {
		return fmt.Errorf("ledger accounts: %w", err)
	}
	return nil
}

// together adds up postings of the same account, currency and line.
func together(postings []posting) ([]posting, error) {
	var out []posting
	for _, p := range postings {
		at := slices.IndexFunc(out, func(o posting) bool { return o.Account == p.Account && o.Currency == p.Currency && o.Line == p.Line })
		if at < 0 {
			out = append(out, p)
			continue
		}
		sum := out[at].Amount + p.Amount
		if (p.Amount > 0) != (sum > out[at].Amount) && p.Amount != 0 {
			return nil, fmt.Errorf("%s overflows", p.Account)
		}
		out[at].Amount = sum
	}
	return slices.DeleteFunc(out, func(p posting) bool { return p.Amount == 0 }), nil
}

// balance is what an account has in a currency.
type balance struct {
	Account  string
	Currency string
	Amount   int64
}

// balances returns what accounts have in each currency that they were ever posted to
// in, with all that is committed. Each is read from its newest checkpoint and what was
// posted since.
func balances(ctx context.Context, db pg.Querier, accounts []string) ([]balance, error) {
	rows, err := db.Query(ctx, `
		SELECT a.account, a.currency, (coalesce(c.balance, 0) + coalesce(p.amount, 0))::bigint AS amount
		FROM ledger_account a
		LEFT JOIN LATERAL (
			SELECT entry_id, balance FROM ledger_checkpoint c
			WHERE c.account = a.account AND c.currency = a.currency ORDER BY entry_id DESC LIMIT 1
		) c ON true
		LEFT JOIN LATERAL (
			SELECT sum(amount) AS amount FROM ledger_posting p
			WHERE p.account = a.account AND p.currency = a.currency AND p.entry_id > coalesce(c.entry_id, 0)
		) p ON true
		WHERE a.account = ANY ($1) ORDER BY a.account, a.currency`, accounts)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[balance])
	if err != nil {
		return nil, fmt.Errorf("balances: %w", err)
	}
	return list, nil
}

// How often checkpoints are made: after so many entries, of accounts that were posted
// to as often since their last one. So a balance is read from at most some thousand
// postings, and there are far fewer checkpoints than postings.
const (
	checkpointEvery = 2000
	checkpointFrom  = 200
)

// checkpoint makes checkpoints if it is time, and returns how many.
func (s *Service) checkpoint(ctx context.Context) (n int, err error) {
	// Entries do not become visible in the order of their ids. Who books holds the
	// table's lock for writing before it takes an id: once nobody has it, all ids up to
	// the last one are decided.
	through := int64(0)
	if err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("nothing is written")
		if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '2s'`); err != nil {
			return err
		}
		last := int64(0)
		if err := tx.QueryRow(ctx, `SELECT (SELECT coalesce(max(id), 0) FROM ledger_entry), entry_id FROM ledger_head`).Scan(&through, &last); err != nil || through-last < checkpointEvery {
			through = 0
			return err
		}
		if _, err := tx.Exec(ctx, `LOCK TABLE ledger_entry IN SHARE MODE`); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT max(id) FROM ledger_entry`).Scan(&through)
	}); err != nil || through == 0 {
		return 0, err
	}
	err = s.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("follows from the postings")
		last := int64(0)
		if err := tx.QueryRow(ctx, `SELECT entry_id FROM ledger_head FOR UPDATE`).Scan(&last); err != nil || last >= through {
			return err
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO ledger_checkpoint (account, currency, entry_id, balance)
			SELECT a.account, a.currency, $2, coalesce(c.balance, 0) + p.amount
			FROM (SELECT DISTINCT account, currency FROM ledger_posting WHERE entry_id > $1 AND entry_id <= $2) a
			LEFT JOIN LATERAL (
				SELECT entry_id, balance FROM ledger_checkpoint c WHERE c.account = a.account AND c.currency = a.currency ORDER BY entry_id DESC LIMIT 1
			) c ON true
			CROSS JOIN LATERAL (
				SELECT count(*) AS n, sum(amount) AS amount FROM ledger_posting p
				WHERE p.account = a.account AND p.currency = a.currency AND p.entry_id > coalesce(c.entry_id, 0) AND p.entry_id <= $2
			) p
			WHERE p.n >= $3`, last, through, checkpointFrom)
		if err != nil {
			return err
		}
		n = int(tag.RowsAffected())
		_, err = tx.Exec(ctx, `UPDATE ledger_head SET entry_id = $1`, through)
		return err
	})
	return n, err
}
