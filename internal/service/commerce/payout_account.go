package commerce

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// payoutAccount is where a teacher is paid.
type payoutAccount struct {
	TeacherID    string
	Ref          *string
	Ready        bool
	Requirements []string
	CreatedAt    time.Time
}

func payoutAccountOf(ctx context.Context, q pg.Querier, teacher, lock string) (payoutAccount, error) {
	rows, err := q.Query(ctx, `SELECT teacher_id, ref, ready, requirements, created_at FROM payout_account WHERE teacher_id = $1 `+lock, teacher)
	if err != nil {
		return payoutAccount{}, err
	}
	a, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[payoutAccount])
	if pg.NoRows(err) {
		return a, ErrPayoutAccountNotFound
	}
	if err != nil {
		return a, fmt.Errorf("payout account: %w", err)
	}
	return a, nil
}

func (a payoutAccount) message() *commercepb.PayoutAccount {
	return &commercepb.PayoutAccount{Ready: a.Ready, Requirements: a.Requirements, Made: a.Ref != nil, CreatedAt: timestamppb.New(a.CreatedAt)}
}

// carryAccount has the provider make the account of a teacher.
func (s *Service) carryAccount(ctx context.Context, c call) error {
	news, err := s.provider.CreateAccount(ctx, c.Key, c.ObjectID)
	if err != nil {
		return err
	}
	return s.DB.InTx(ctx, func(tx *pg.Tx) error {
		if err := s.heardAccount(ctx, tx, news); err != nil {
			return err
		}
		return s.done(ctx, tx, c)
	})
}

// heardAccount takes in how the account of a teacher stands. One of nobody here is not
// ours to keep.
func (s *Service) heardAccount(ctx context.Context, tx *pg.Tx, n AccountNews) error {
	tx.Exempt("no news, unless it is recorded")
	var teacher string
	err := tx.QueryRow(ctx, `
		SELECT teacher_id FROM payout_account WHERE ref = $1 OR teacher_id = $2 AND ref IS NULL ORDER BY ref IS NULL LIMIT 1`, n.Ref, n.TeacherID).Scan(&teacher)
	if pg.NoRows(err) {
		return nil
	}
	if err != nil {
		return err
	}
	was, err := payoutAccountOf(ctx, tx, teacher, "FOR UPDATE")
	if err != nil {
		return err
	}
	if was.Ref != nil && *was.Ref != n.Ref {
		return nil // another was made meanwhile
	}
	if n.Requirements == nil {
		n.Requirements = []string{}
	}
	if _, err := tx.Exec(ctx, `UPDATE payout_account SET ref = $2, ready = $3, requirements = $4, updated_at = $5 WHERE teacher_id = $1`, teacher, n.Ref, n.Ready, n.Requirements, s.now()); err != nil {
		return err
	}
	if was.Ref != nil && was.Ready == n.Ready {
		return nil
	}
	return audit.Record(ctx, tx, audit.Entry{
		Action: "payout_account.changed", Object: teacher, Person: teacher, Before: map[string]any{"ready": was.Ready}, After: map[string]any{"ready": n.Ready},
	})
}

// payoutServer is the contract of payouts.
type payoutServer struct {
	commercepb.UnimplementedPayoutServiceServer
	*Service
}

// CreatePayoutAccount implements the contract.
func (h *payoutServer) CreatePayoutAccount(ctx context.Context, req *commercepb.CreatePayoutAccountRequest) (*commercepb.PayoutAccount, error) {
	if h.provider == nil {
		return nil, ErrPayoutsOff
	}
	me := auth.From(ctx).Account
	if _, err := idempotency.Do(ctx, h.DB, req, func(tx *pg.Tx) (*commercepb.PayoutAccount, error) {
		now := h.now()
		tag, err := tx.Exec(ctx, `INSERT INTO payout_account (teacher_id, provider, created_at, updated_at) VALUES ($1, $2, $3, $3) ON CONFLICT DO NOTHING`, me, h.provider.Name(), now)
		if err != nil {
			return nil, err
		}
		a, err := payoutAccountOf(ctx, tx, me, "")
		if err != nil || tag.RowsAffected() == 0 {
			tx.Exempt("it is there")
			return a.message(), err
		}
		if err := h.ask(ctx, tx, callAccount, me); err != nil {
			return nil, err
		}
		return a.message(), audit.Record(ctx, tx, audit.Entry{Action: "payout_account.created", Object: me, Person: me})
	}); err != nil {
		return nil, err
	}
	h.carryNow(ctx, callAccount+":"+me)
	return h.GetPayoutAccount(ctx, &commercepb.GetPayoutAccountRequest{})
}

// GetPayoutAccount implements the contract.
func (h *payoutServer) GetPayoutAccount(ctx context.Context, _ *commercepb.GetPayoutAccountRequest) (*commercepb.PayoutAccount, error) {
	a, err := payoutAccountOf(ctx, h.DB, auth.From(ctx).Account, "")
	if err != nil {
		return nil, err
	}
	return a.message(), nil
}

// CreateOnboardingLink implements the contract. Nothing of it is kept here.
func (h *payoutServer) CreateOnboardingLink(ctx context.Context, _ *commercepb.CreateOnboardingLinkRequest) (*commercepb.OnboardingLink, error) {
	if h.provider == nil {
		return nil, ErrPayoutsOff
	}
	a, err := payoutAccountOf(ctx, h.DB, auth.From(ctx).Account, "")
	if err != nil {
		return nil, err
	}
	if a.Ref == nil {
		return nil, ErrPayoutAccountNotReady
	}
	url, err := h.provider.OnboardingURL(ctx, *a.Ref, h.PublicURL+"/")
	if err != nil {
		return nil, err
	}
	return &commercepb.OnboardingLink{Url: url}, nil
}
