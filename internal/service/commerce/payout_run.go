package commerce

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money"
	"github.com/stoa-lms/stoa/internal/pg"
)

// The kinds of what is booked of payouts.
const (
	kindPayable        = "payable"         // what is on its way, from what can be paid out
	kindPayout         = "payout"          // what the provider has handed over
	kindPayoutFailed   = "payout_failed"   // what it has not, back to what can be paid out
	kindPayoutReversal = "payout_reversal" // what was taken back
)

// payoutRun pays all teachers what they have in a currency.
type payoutRun struct {
	ID        string
	Currency  string
	Period    string
	State     string
	Through   string
	Payouts   int32
	Amount    int64
	CreatedBy string
	CreatedAt time.Time
	DoneAt    *time.Time
}

const payoutRunColumns = `id, currency, period, state, through, payouts, amount, created_by, created_at, done_at`

func payoutRuns(ctx context.Context, q pg.Querier, where string, args ...any) ([]payoutRun, error) {
	rows, err := q.Query(ctx, `SELECT `+payoutRunColumns+` FROM payout_run WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[payoutRun])
	if err != nil {
		return nil, fmt.Errorf("payout runs: %w", err)
	}
	return list, nil
}

// monthOf is a month as runs name it.
func monthOf(t time.Time) string { return t.UTC().Format("2006-01") }

// beginRun begins the run of a currency and period, once, and returns it.
func (s *Service) beginRun(ctx context.Context, tx *pg.Tx, currency, period, by string) (payoutRun, error) {
	now := s.now()
	tag, err := tx.Exec(ctx, `
		INSERT INTO payout_run (id, currency, period, created_by, created_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT ON CONSTRAINT payout_run_once DO NOTHING`, id.New("run"), currency, period, by, now)
	if err != nil {
		return payoutRun{}, err
	}
	list, err := payoutRuns(ctx, tx, `currency = $1 AND period = $2`, currency, period)
	if err != nil {
		return payoutRun{}, err
	}
	tx.AfterCommit(s.wake)
	if tag.RowsAffected() == 0 {
		tx.Exempt("it has begun")
		return list[0], nil
	}
	return list[0], audit.Record(ctx, tx, audit.Entry{Action: "payout_run.created", Object: list[0].ID, After: map[string]any{"currency": currency, "period": period}})
}

// monthlyRuns begins the runs of this month once its day has come, in every currency in
// which a teacher has ever had something to be paid, and returns how many.
func (s *Service) monthlyRuns(ctx context.Context) (int, error) {
	now := s.now()
	last := time.Date(now.Year(), now.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
	if s.PayoutDay == 0 || s.provider == nil || now.Day() < min(s.PayoutDay, last) {
		return 0, nil
	}
	rows, err := s.DB.Query(ctx, `
		SELECT c.currency FROM (SELECT DISTINCT currency FROM ledger_account WHERE account = 'provider') c
		WHERE NOT EXISTS (SELECT FROM payout_run r WHERE r.period = $1 AND r.currency = c.currency) ORDER BY c.currency`, monthOf(now))
	if err != nil {
		return 0, err
	}
	currencies, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, fmt.Errorf("currencies: %w", err)
	}
	for i, c := range currencies {
		if err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
			_, err := s.beginRun(ctx, tx, c, monthOf(now), "")
			return err
		}); err != nil {
			return i, err
		}
	}
	return len(currencies), nil
}

// payoutBatch bounds how many teachers one transaction pays.
const payoutBatch = 50

// payOut brings runs on, and returns how many payouts it made. It may be killed at any
// moment: how far a run has come is written with the payouts themselves.
func (s *Service) payOut(ctx context.Context) (int, error) {
	if s.provider == nil {
		return 0, nil
	}
	total := 0
	for {
		var none bool
		err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
			runs, err := payoutRuns(ctx, tx, `state = 'running' ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED`)
			if none = len(runs) == 0; err != nil || none {
				return err
			}
			n, err := s.advance(ctx, tx, runs[0])
			total += n
			return err
		})
		if err != nil || none {
			return total, err
		}
	}
}

// advance pays the next teachers of a run, which is locked. What a teacher has is moved to
// what is on its way before the provider is asked for it, so that no other run pays it too.
func (s *Service) advance(ctx context.Context, tx *pg.Tx, r payoutRun) (int, error) {
	now := s.now()
	rows, err := tx.Query(ctx, `SELECT teacher_id FROM payout_account WHERE ready AND teacher_id > $1 ORDER BY teacher_id LIMIT $2 FOR UPDATE`, r.Through, payoutBatch)
	if err != nil {
		return 0, err
	}
	teachers, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, fmt.Errorf("payout accounts: %w", err)
	}
	if len(teachers) == 0 {
		if _, err := tx.Exec(ctx, `UPDATE payout_run SET state = 'done', done_at = $2 WHERE id = $1`, r.ID, now); err != nil {
			return 0, err
		}
		return 0, audit.Record(ctx, tx, audit.Entry{Action: "payout_run.done", Object: r.ID, After: map[string]any{"payouts": r.Payouts, "amount": r.Amount, "currency": r.Currency}})
	}
	list, sum, err := s.makePayouts(ctx, tx, r, teachers)
	if err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, `UPDATE payout_run SET through = $2, payouts = payouts + $3, amount = amount + $4 WHERE id = $1`, r.ID, teachers[len(teachers)-1], len(list), sum); err != nil {
		return 0, err
	}
	tx.Exempt("a run goes on; what it pays is recorded")
	entries := make([]audit.Entry, len(list))
	for i, p := range list {
		entries[i] = audit.Entry{
			Action: "payout.created", Object: p.ID, Person: p.TeacherID, After: map[string]any{"run_id": r.ID, "amount": p.Amount, "currency": p.Currency, "period": p.Period},
		}
	}
	return len(list), audit.Record(ctx, tx, entries...)
}

// makePayouts makes the payouts of teachers, whose accounts are locked: of all they have,
// if that is enough. Their statements begin behind those before, and end with what is
// booked here.
func (s *Service) makePayouts(ctx context.Context, tx *pg.Tx, r payoutRun, teachers []string) (list []payout, sum int64, err error) {
	accounts := make([]string, len(teachers))
	for i, t := range teachers {
		accounts[i] = accountTeacher + t
	}
	// Nobody else books on these until this is committed: entries that are seen later
	// have later ids, so that a statement has all that is before its end.
	if err := lockAccounts(ctx, tx, accounts); err != nil {
		return nil, 0, err
	}
	have, err := balances(ctx, tx, accounts)
	if err != nil {
		return nil, 0, err
	}
	least := max(s.PayoutMinimum*money.Unit(r.Currency), chargeStep(r.Currency))
	var entries []entry
	for _, b := range have {
		if b.Currency != r.Currency || -b.Amount < least {
			continue
		}
		// Of what can't be handed over the rest stays.
		p := payout{ID: id.New("payout"), TeacherID: b.Account[len(accountTeacher):], Amount: -b.Amount, Currency: r.Currency, Period: r.Period}
		p.Closing = p.Amount % chargeStep(r.Currency)
		p.Amount -= p.Closing
		list, sum = append(list, p), sum+p.Amount
		entries = append(entries, entry{Key: kindPayable + ":" + p.ID, Kind: kindPayable, Postings: []posting{
			{Account: accountTeacher + p.TeacherID, Currency: p.Currency, Amount: p.Amount},
			{Account: accountPayable + p.TeacherID, Currency: p.Currency, Amount: -p.Amount},
		}})
	}
	if len(list) == 0 {
		return nil, 0, nil
	}
	if err := book(ctx, tx, s.now(), entries...); err != nil {
		return nil, 0, err
	}
	ids, payees, amounts, left := make([]string, len(list)), make([]string, len(list)), make([]int64, len(list)), make([]int64, len(list))
	for i, p := range list {
		ids[i], payees[i], amounts[i], left[i] = p.ID, p.TeacherID, p.Amount, p.Closing
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO payout (id, run_id, teacher_id, currency, period, amount, opening, closing, after_entry, through_entry, created_at)
		SELECT n.id, $4, n.teacher_id, $5, $6, n.amount, coalesce(b.closing, 0), n.closing, coalesce(b.through_entry, 0), e.id, $7
		FROM unnest($1::text[], $2::text[], $3::bigint[], $8::bigint[]) AS n (id, teacher_id, amount, closing)
		JOIN ledger_entry e ON e.key = 'payable:' || n.id
		LEFT JOIN LATERAL (
			SELECT closing, through_entry FROM payout p WHERE p.teacher_id = n.teacher_id AND p.currency = $5 ORDER BY through_entry DESC LIMIT 1
		) b ON true`, ids, payees, amounts, r.ID, r.Currency, r.Period, s.now(), left); err != nil {
		return nil, 0, err
	}
	for _, p := range list {
		if err := s.ask(ctx, tx, callTransfer, p.ID); err != nil {
			return nil, 0, err
		}
	}
	return list, sum, nil
}
