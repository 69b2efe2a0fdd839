package commerce

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
)

// expireBatch bounds how many orders one transaction expires.
const expireBatch = 100

// expire ends orders that were not paid in time and returns how many.
func (s *Service) expire(ctx context.Context) (int, error) {
	total := 0
	for {
		n := 0
		err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
			now := s.now()
			rows, err := tx.Query(ctx, `
				SELECT `+orderColumns+` FROM orders WHERE state = 'awaiting_payment' AND expires_at <= $1 AND subscription_id IS NULL
					AND NOT EXISTS (SELECT FROM payment p WHERE p.id = orders.payment_id AND p.state = 'processing')
				ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED`, now, expireBatch)
			orders, err := collectOrders(ctx, tx, rows, err)
			if err != nil {
				return err
			}
			if n = len(orders); n == 0 {
				return nil
			}
			ids := make([]string, n)
			for i, o := range orders {
				ids[i] = o.ID
			}
			// Who pays holds the order: what began meanwhile is seen only now.
			rows, err = tx.Query(ctx, `SELECT order_id FROM payment WHERE order_id = ANY ($1) AND state = 'processing'`, ids)
			if err != nil {
				return err
			}
			begun, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				return fmt.Errorf("payments that have begun: %w", err)
			}
			orders = slices.DeleteFunc(orders, func(o order) bool { return slices.Contains(begun, o.ID) })
			ids = slices.DeleteFunc(ids, func(orderID string) bool { return slices.Contains(begun, orderID) })
			if len(ids) == 0 {
				tx.Exempt("they are being paid")
				return nil
			}
			if err := letGo(ctx, tx, ids); err != nil { // of all at once: in one order of locks
				return err
			}
			for _, o := range orders {
				if err := s.become(ctx, tx, &o, expired, "not paid in time", now); err != nil {
					return err
				}
			}
			return nil
		})
		total += n
		if err != nil {
			return total, err
		}
		if n < expireBatch {
			break
		}
	}
	n, err := s.expireFirstPeriods(ctx)
	return total + n, err
}

// expireFirstPeriods is expire for first periods of subscriptions, which are locked before
// their orders.
func (s *Service) expireFirstPeriods(ctx context.Context) (int, error) {
	const due = `state = 'awaiting_payment' AND expires_at <= $1 AND subscription_id IS NOT NULL
		AND NOT EXISTS (SELECT FROM payment p WHERE p.id = orders.payment_id AND p.state = 'processing')`
	total := 0
	for {
		rows, err := s.DB.Query(ctx, `SELECT id FROM orders WHERE `+due+` ORDER BY expires_at LIMIT $2`, s.now(), expireBatch)
		if err != nil {
			return total, err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return total, fmt.Errorf("first periods: %w", err)
		}
		for _, orderID := range ids {
			err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
				now := s.now()
				o, err := lockOrder(ctx, tx, ErrOrderUnknown, `id = $2 AND `+due, now, orderID)
				if fault.Is(err, fault.NotFound) {
					tx.Exempt("it was paid or ended meanwhile")
					return nil
				}
				if err != nil {
					return err
				}
				return s.become(ctx, tx, &o, expired, "not paid in time", now)
			})
			if err != nil {
				return total, err
			}
			total++
		}
		if len(ids) < expireBatch {
			return total, nil
		}
	}
}
