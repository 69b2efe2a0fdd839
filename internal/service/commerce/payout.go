package commerce

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
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
	Reversed     int64 // what of it was taken back
	Reversing    int64 // what the provider is asked to take back
}

// left is what of a payout that was paid can be taken back.
func (p payout) left() int64 { return p.Amount - p.Reversed - p.Reversing }

const payoutColumns = `id, run_id, teacher_id, currency, period, state, amount, opening, closing, after_entry, through_entry, ref, problem, created_at, paid_at, reversed, reversing`

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
		if err := s.payoutBecomes(ctx, tx, p, payoutPaid, ref, ""); err != nil {
			return err
		}
		return bus.Publish(ctx, tx, &commercepb.PayoutPaid{PayoutId: p.ID, TeacherId: p.TeacherID, Amount: p.money(p.Amount), PaidAt: timestamppb.New(now)})
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
	if err := s.payoutBecomes(ctx, tx, p, payoutFailed, "", why); err != nil {
		return err
	}
	return bus.Publish(ctx, tx, &commercepb.PayoutFailed{PayoutId: p.ID, TeacherId: p.TeacherID, Amount: p.money(p.Amount), FailedAt: timestamppb.New(s.now())})
}

// carryReversal has the provider take a payout back, or the part of it that is asked for.
func (s *Service) carryReversal(ctx context.Context, c call) error {
	p, err := onePayout(ctx, s.DB, `id = $1`, c.ObjectID)
	if err != nil {
		return err
	}
	if err := s.provider.ReverseTransfer(ctx, c.Key, *p.Ref, p.asked()); err != nil {
		return err
	}
	return s.DB.InTx(ctx, func(tx *pg.Tx) error {
		p, err := onePayout(ctx, tx, `id = $1 FOR UPDATE`, c.ObjectID)
		if err != nil {
			return err
		}
		// What the payout says is of the call that waits: of one that somebody else has
		// carried out it may be the next by now.
		var waiting bool
		if err := tx.QueryRow(ctx, `SELECT state = 'waiting' FROM provider_call WHERE key = $1`, c.Key).Scan(&waiting); err != nil {
			return err
		}
		tx.Exempt("somebody else was faster")
		if !waiting || p.State != payoutReversing {
			return nil
		}
		if err := s.done(ctx, tx, c); err != nil {
			return err
		}
		return s.payoutTaken(ctx, tx, p, "payout_"+c.Key)
	})
}

// asked is what the provider is asked to take back: what was written down, and all that is
// left where a process of before has written down nothing.
func (p payout) asked() int64 {
	if p.Reversing == 0 {
		return p.left()
	}
	return p.Reversing
}

// payoutTaken books what was taken back of a payout, which is locked: it can be paid out
// again.
func (s *Service) payoutTaken(ctx context.Context, tx *pg.Tx, p payout, key string) error {
	now, amount := s.now(), p.asked()
	if err := book(ctx, tx, now, entry{Key: key, Kind: kindPayoutReversal, Postings: []posting{
		{Account: accountProvider, Currency: p.Currency, Amount: amount},
		{Account: accountTeacher + p.TeacherID, Currency: p.Currency, Amount: -amount},
	}}); err != nil {
		return err
	}
	p.Reversed, p.Reversing = p.Reversed+amount, 0
	if _, err := tx.Exec(ctx, `UPDATE payout SET reversed = $2, reversing = 0 WHERE id = $1`, p.ID, p.Reversed); err != nil {
		return err
	}
	state := payoutReversed
	if p.left() > 0 {
		state = payoutPaid
	}
	if err := s.payoutBecomes(ctx, tx, p, state, "", ""); err != nil {
		return err
	}
	return bus.Publish(ctx, tx, &commercepb.PayoutReversed{
		PayoutId: p.ID, TeacherId: p.TeacherID, Amount: p.money(amount), Reversed: p.money(p.Reversed), ReversedAt: timestamppb.New(now),
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
	if _, err := tx.Exec(ctx, `UPDATE payout SET reversing = 0 WHERE id = $1`, p.ID); err != nil {
		return err
	}
	return s.payoutBecomes(ctx, tx, p, payoutPaid, "", why)
}

func (p payout) money(amount int64) *moneypb.Money {
	return &moneypb.Money{Amount: amount, Currency: p.Currency}
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
		After: map[string]any{"state": state, "amount": p.Amount, "reversed": p.Reversed, "currency": p.Currency},
	})
}
