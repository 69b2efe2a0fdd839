package commerce

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// A pass compares everything, step by step and page by page. How far it has come is
// written down, so that whoever takes its lease goes on there.
const (
	reconcilePage  = 1000
	reconcileLease = 2 * time.Minute
	// reconcileAsks is of how many things of a page the provider is asked whose they are:
	// each is a call, and a page ends before the lease does.
	reconcileAsks = 100
	// reconcileRest is how long nothing is compared after a pass, and reconcileShare how
	// many times as long as it took: a tenth of the time is spent on it at most. There is
	// one a day at least.
	reconcileRest  = 5 * time.Minute
	reconcileShare = 9
	reconcileEvery = 24 * time.Hour
	// reconciledKept is how long it is known of passes that nobody had asked for.
	reconciledKept = 30 * 24 * time.Hour
	// settleWithin is how long what was paid may take to give access.
	settleWithin = 2 * time.Minute
)

// reconcileStep compares a page behind after and returns up to where it came; done says
// that nothing is left.
type reconcileStep struct {
	name string
	do   func(ctx context.Context, after string) (stepResult, error)
}

type stepResult struct {
	after    string
	done     bool
	compared int
	findings []finding
}

func (s *Service) reconcileSteps() []reconcileStep {
	return []reconcileStep{{"access", s.reconcileBought}, {"gifts", s.reconcileGifts}, {"seats", s.reconcileSeats}, {"subscriptions", s.reconcileSubscribed}, {"orders", s.reconcileOrders}, {"provider", s.reconcileProvider}, {"buyers", s.reconcileBuyers}}
}

type reconciliation struct {
	ID         string
	State      string
	Step       string
	After      string
	Compared   int64
	Found      int64
	Healed     int64
	Problem    string
	CreatedAt  time.Time
	FinishedAt *time.Time
}

const reconciliationColumns = `id, state, step, after, compared, found, healed, problem, created_at, finished_at`

func (r reconciliation) message() *commercepb.Reconciliation {
	m := &commercepb.Reconciliation{
		Id: r.ID, State: r.State, Step: r.Step, Compared: r.Compared, Found: r.Found, Healed: r.Healed, Problem: r.Problem,
		CreatedAt: timestamppb.New(r.CreatedAt), FinishedAt: stamp(r.FinishedAt),
	}
	return m
}

// reconcileServer is the contract of the reconciler.
type reconcileServer struct {
	commercepb.UnimplementedReconcileServiceServer
	service *Service
}

// CreateReconciliation implements the contract.
func (h *reconcileServer) CreateReconciliation(ctx context.Context, req *commercepb.CreateReconciliationRequest) (*commercepb.Reconciliation, error) {
	s := h.service
	return idempotency.Do(ctx, s.DB, req, func(tx *pg.Tx) (*commercepb.Reconciliation, error) {
		now := s.now()
		if _, err := tx.Exec(ctx, `
			INSERT INTO reconciliation (id, state, step, asked_by, created_at, lease_until) VALUES ($1, 'running', 'access', $2, $3, $3)
			ON CONFLICT (state) WHERE state = 'running' DO NOTHING`, id.New("reconciliation"), auth.From(ctx).Account, now); err != nil {
			return nil, err
		}
		rows, err := tx.Query(ctx, `SELECT `+reconciliationColumns+` FROM reconciliation WHERE state = 'running'`)
		if err != nil {
			return nil, err
		}
		r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[reconciliation])
		if err != nil {
			return nil, fmt.Errorf("reconciliation: %w", err)
		}
		tx.AfterCommit(func() { signal(s.comparing) })
		return r.message(), audit.Record(ctx, tx, audit.Entry{Action: "reconciliation.asked", Object: r.ID})
	})
}

// GetReconciliation implements the contract.
func (h *reconcileServer) GetReconciliation(ctx context.Context, req *commercepb.GetReconciliationRequest) (*commercepb.Reconciliation, error) {
	rows, err := h.service.DB.Query(ctx, `SELECT `+reconciliationColumns+` FROM reconciliation WHERE id = $1`, req.GetReconciliationId())
	if err != nil {
		return nil, err
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[reconciliation])
	if pg.NoRows(err) {
		return nil, ErrReconciliationNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reconciliation: %w", err)
	}
	return r.message(), nil
}

// reconcile gives access that is due, and goes on with the pass that runs, if nobody else
// does. It returns how many things it has compared.
func (s *Service) reconcile(ctx context.Context) (int, error) {
	n, err := s.healUnfulfilled(ctx)
	if err != nil {
		return n, err
	}
	r, err := s.claimPass(ctx)
	if err != nil || r == nil {
		return n, err
	}
	compared := r.Compared
	err = s.pass(ctx, r)
	if err == nil {
		err = s.measure(ctx)
	}
	return n + int(r.Compared-compared), err
}

// claimPass returns a pass to go on with; nil when there is none. Some minutes after one has
// ended it begins the next.
func (s *Service) claimPass(ctx context.Context) (*reconciliation, error) {
	var r *reconciliation
	err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a lease")
		now := s.now()
		begun, err := tx.Exec(ctx, `
			INSERT INTO reconciliation (id, state, step, asked_by, created_at, lease_until)
			SELECT $1, 'running', 'access', '', $2, $2 WHERE NOT EXISTS (
				SELECT FROM (SELECT created_at, finished_at FROM reconciliation ORDER BY created_at DESC, id DESC LIMIT 1) r
				WHERE finished_at + least(greatest($3::interval, $4 * (finished_at - created_at)), $5::interval) > $2)
			ON CONFLICT (state) WHERE state = 'running' DO NOTHING`, id.New("reconciliation"), now, reconcileRest, reconcileShare, reconcileEvery)
		if err != nil {
			return err
		}
		if begun.RowsAffected() > 0 {
			if _, err := tx.Exec(ctx, `DELETE FROM reconciliation WHERE state = 'done' AND asked_by = '' AND created_at <= $1`, now.Add(-reconciledKept)); err != nil {
				return err
			}
		}
		rows, err := tx.Query(ctx, `
			UPDATE reconciliation SET lease_until = $2 WHERE state = 'running' AND lease_until <= $1 RETURNING `+reconciliationColumns, now, now.Add(reconcileLease))
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByName[reconciliation])
		if len(list) > 0 {
			r = &list[0]
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reconciliation: %w", err)
	}
	return r, nil
}

// pass goes on with a pass until it is done.
func (s *Service) pass(ctx context.Context, r *reconciliation) error {
	steps := s.reconcileSteps()
	for at := 0; at < len(steps); {
		step := steps[at]
		if step.name != r.Step {
			at++
			continue
		}
		got, err := step.do(ctx, r.After)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			// Whoever looks next goes on: what was away may be back.
			_, failed := s.DB.Exec(ctx, `UPDATE reconciliation SET problem = $2, lease_until = $3 WHERE id = $1`, r.ID, err.Error(), s.now())
			return fmt.Errorf("reconcile %s: %w", step.name, errors.Join(err, failed))
		}
		r.After = got.after
		r.Compared += int64(got.compared)
		r.Found += int64(len(got.findings))
		for _, f := range got.findings {
			if f.Healed {
				r.Healed++
			}
		}
		if got.done {
			r.After = ""
			if at++; at < len(steps) {
				r.Step = steps[at].name
			} else {
				r.State, r.Step = "done", "done"
			}
		}
		if err := s.keepPass(ctx, r, got.findings); err != nil {
			return err
		}
	}
	return nil
}

// keepPass writes down what a page has brought. With the last one, mismatches that the
// pass has not seen are gone.
func (s *Service) keepPass(ctx context.Context, r *reconciliation, findings []finding) error {
	return s.DB.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("each mismatch is recorded")
		if err := s.report(ctx, tx, findings); err != nil {
			return err
		}
		now := s.now()
		if r.State == "done" {
			r.FinishedAt = &now
			if _, err := tx.Exec(ctx, `UPDATE mismatch SET state = 'gone', ended_at = $2 WHERE state = 'open' AND seen_at < $1`, r.CreatedAt, now); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `
			UPDATE reconciliation SET state = $2, step = $3, after = $4, compared = $5, found = $6, healed = $7, problem = '', finished_at = $8, lease_until = $9 WHERE id = $1`,
			r.ID, r.State, r.Step, r.After, r.Compared, r.Found, r.Healed, r.FinishedAt, now.Add(reconcileLease))
		return err
	})
}
