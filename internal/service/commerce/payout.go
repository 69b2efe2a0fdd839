package commerce

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/pg"
)

// The states of a payout.
const (
	payoutOnItsWay  = "on_its_way"
	payoutPaid      = "paid"
	payoutFailed    = "failed"
	payoutReversing = "reversing"
	payoutReversed  = "reversed"
)

// payout is what a teacher is paid at once.
type payout struct {
	ID           string
	RunID        string
	TeacherID    string
	Currency     string
	Period       string
	State        string
	Amount       int64
	Opening      int64
	Closing      int64
	AfterEntry   int64
	ThroughEntry int64
	Ref          *string
	Problem      string
	CreatedAt    time.Time
	PaidAt       *time.Time
}

const payoutColumns = `id, run_id, teacher_id, currency, period, state, amount, opening, closing, after_entry, through_entry, ref, problem, created_at, paid_at`

func payouts(ctx context.Context, q pg.Querier, where string, args ...any) ([]payout, error) {
	rows, err := q.Query(ctx, `SELECT `+payoutColumns+` FROM payout WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[payout])
	if err != nil {
		return nil, fmt.Errorf("payouts: %w", err)
	}
	return list, nil
}

// onePayout is payouts for one.
func onePayout(ctx context.Context, q pg.Querier, where string, args ...any) (payout, error) {
	list, err := payouts(ctx, q, where, args...)
	if err != nil {
		return payout{}, err
	}
	if len(list) == 0 {
		return payout{}, ErrPayoutNotFound
	}
	return list[0], nil
}

// carryTransfer has the provider hand a payout over.
func (s *Service) carryTransfer(ctx context.Context, c call) error {
	p, err := onePayout(ctx, s.DB, `id = $1`, c.ObjectID)
	if err != nil {
		return err
	}
	a, err := payoutAccountOf(ctx, s.DB, p.TeacherID, "")
	if err != nil {
		return err
	}
	ref, err := s.provider.Transfer(ctx, c.Key, TransferRequest{PayoutID: p.ID, AccountRef: *a.Ref, Amount: p.Amount, Currency: p.Currency})
	if err != nil {
		return err
	}
	return s.DB.InTx(ctx, func(tx *pg.Tx) error {
		p, err := onePayout(ctx, tx, `id = $1 FOR UPDATE`, c.ObjectID)
		if err != nil {
			return err
		}
		if err := s.done(ctx, tx, c); err != nil {
			return err
		}
		tx.Exempt("somebody else was faster")
		if p.State != payoutOnItsWay {
			return nil
		}
		now := s.now()
		if err := book(ctx, tx, now, entry{Key: kindPayout + ":" + p.ID, Kind: kindPayout, Postings: []posting{
			{Account: accountPayable + p.TeacherID, Currency: p.Currency, Amount: p.Amount},
			{Account: accountProvider, Currency: p.Currency, Amount: -p.Amount},
		}}); err != nil {
			return err
		}
		return s.payoutBecomes(ctx, tx, p, payoutPaid, ref, "")
	})
}

// transferRefused takes in that the provider does not hand a payout over: it can be paid
// out again.
func (s *Service) transferRefused(ctx context.Context, tx *pg.Tx, c call, why string) error {
	p, err := onePayout(ctx, tx, `id = $1 FOR UPDATE`, c.ObjectID)
	if err != nil {
		return err
	}
	tx.Exempt("it is settled")
	if p.State != payoutOnItsWay {
		return nil
	}
	if err := book(ctx, tx, s.now(), entry{Key: kindPayoutFailed + ":" + p.ID, Kind: kindPayoutFailed, Postings: []posting{
		{Account: accountPayable + p.TeacherID, Currency: p.Currency, Amount: p.Amount},
		{Account: accountTeacher + p.TeacherID, Currency: p.Currency, Amount: -p.Amount},
	}}); err != nil {
		return err
	}
	return s.payoutBecomes(ctx, tx, p, payoutFailed, "", why)
}

// carryReversal has the provider take a payout back.
func (s *Service) carryReversal(ctx context.Context, c call) error {
	p, err := onePayout(ctx, s.DB, `id = $1`, c.ObjectID)
	if err != nil {
		return err
	}
	if err := s.provider.ReverseTransfer(ctx, c.Key, *p.Ref, p.Amount); err != nil {
		return err
	}
	return s.DB.InTx(ctx, func(tx *pg.Tx) error {
		p, err := onePayout(ctx, tx, `id = $1 FOR UPDATE`, c.ObjectID)
		if err != nil {
			return err
		}
		if err := s.done(ctx, tx, c); err != nil {
			return err
		}
		tx.Exempt("somebody else was faster")
		if p.State != payoutReversing {
			return nil
		}
		if err := book(ctx, tx, s.now(), entry{Key: kindPayoutReversal + ":" + p.ID, Kind: kindPayoutReversal, Postings: []posting{
			{Account: accountProvider, Currency: p.Currency, Amount: p.Amount},
			{Account: accountTeacher + p.TeacherID, Currency: p.Currency, Amount: -p.Amount},
		}}); err != nil {
			return err
		}
		return s.payoutBecomes(ctx, tx, p, payoutReversed, "", "")
	})
}

// reversalRefused takes in that the provider does not take a payout back: it stays paid.
func (s *Service) reversalRefused(ctx context.Context, tx *pg.Tx, c call, why string) error {
	p, err := onePayout(ctx, tx, `id = $1 FOR UPDATE`, c.ObjectID)
	if err != nil {
		return err
	}
	tx.Exempt("it is settled")
	if p.State != payoutReversing {
		return nil
	}
	return s.payoutBecomes(ctx, tx, p, payoutPaid, "", why)
}

// payoutBecomes writes how a payout, which is locked, stands.
func (s *Service) payoutBecomes(ctx context.Context, tx *pg.Tx, p payout, state, ref, problem string) error {
	if _, err := tx.Exec(ctx, `
		UPDATE payout SET state = $2, ref = coalesce(nullif($3, ''), ref), problem = $4, paid_at = CASE WHEN $2 = 'paid' THEN coalesce(paid_at, $5) ELSE paid_at END WHERE id = $1`,
		p.ID, state, ref, problem, s.now()); err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{
		Action: "payout.changed", Object: p.ID, Person: p.TeacherID, Before: map[string]any{"state": p.State},
		After: map[string]any{"state": state, "amount": p.Amount, "currency": p.Currency},
	})
}
