package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// The kinds of factors, as they are told.
const (
	kindTOTP     = "totp"
	kindPasskey  = "passkey"
	kindRecovery = "recovery_code"
)

// factor is something by which a person shows who they are, without its secret.
type factor struct {
	ID          string
	Kind        string
	Name        string
	CreatedAt   time.Time
	ConfirmedAt *time.Time // nil while it waits for its first code
	LastUsedAt  *time.Time
}

const factorColumns = `id, kind, name, created_at, confirmed_at, last_used_at`

func (f factor) message() *identitypb.Factor {
	out := &identitypb.Factor{Id: f.ID, Kind: f.Kind, Name: f.Name, CreatedAt: timestamppb.New(f.CreatedAt)}
	if f.ConfirmedAt != nil {
		out.ConfirmedAt = timestamppb.New(*f.ConfirmedAt)
	}
	if f.LastUsedAt != nil {
		out.LastUsedAt = timestamppb.New(*f.LastUsedAt)
	}
	return out
}

// checkVerified refuses an account whose address is not verified.
func checkVerified(ctx context.Context, q pg.Querier, accountID string) error {
	var verified bool
	err := q.QueryRow(ctx, `SELECT email_verified_at IS NOT NULL FROM account WHERE id = $1`, accountID).Scan(&verified)
	if pg.NoRows(err) {
		return ErrAccountNotFound
	}
	if err != nil {
		return fmt.Errorf("whether an e-mail is verified: %w", err)
	}
	if !verified {
		return ErrVerifyFirst
	}
	return nil
}

// newFactorName returns what a factor is called.
func newFactorName(name, otherwise string) (string, error) {
	if name == "" {
		return otherwise, nil
	}
	return normalName(name)
}

// factorKinds returns by what kinds of factors an account can be confirmed: none
// for an account without a confirmed factor, whatever codes are left.
func factorKinds(ctx context.Context, q pg.Querier, accountID string) ([]string, error) {
	rows, err := q.Query(ctx, `
		WITH confirmed AS (SELECT DISTINCT kind FROM factor WHERE account_id = $1 AND confirmed_at IS NOT NULL)
		SELECT kind FROM confirmed
		UNION ALL
		SELECT $2 WHERE EXISTS (SELECT FROM confirmed)
			AND EXISTS (SELECT FROM recovery_code WHERE account_id = $1 AND used_at IS NULL)
		ORDER BY kind`, accountID, kindRecovery)
	if err != nil {
		return nil, fmt.Errorf("kinds of factors: %w", err)
	}
	kinds, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("kinds of factors: %w", err)
	}
	return kinds, nil
}

// ListFactors implements identitypb.FactorServiceServer.
func (s *Service) ListFactors(ctx context.Context, _ *identitypb.ListFactorsRequest) (*identitypb.ListFactorsResponse, error) {
	account := auth.From(ctx).Account
	rows, err := s.db.Query(ctx, `SELECT `+factorColumns+` FROM factor WHERE account_id = $1 ORDER BY created_at, id`, account)
	if err != nil {
		return nil, fmt.Errorf("factors: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[factor])
	if err != nil {
		return nil, fmt.Errorf("factors: %w", err)
	}
	out := &identitypb.ListFactorsResponse{}
	for _, f := range list {
		out.Items = append(out.Items, f.message())
	}
	err = s.db.QueryRow(ctx, `SELECT count(*) FROM recovery_code WHERE account_id = $1 AND used_at IS NULL`, account).Scan(&out.RecoveryCodesLeft)
	if err != nil {
		return nil, fmt.Errorf("recovery codes left: %w", err)
	}
	return out, nil
}

// DeleteFactor implements identitypb.FactorServiceServer.
func (s *Service) DeleteFactor(ctx context.Context, req *identitypb.DeleteFactorRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		return &emptypb.Empty{}, s.deleteFactor(ctx, tx, auth.From(ctx).Account, req.GetFactorId())
	})
}

func (s *Service) deleteFactor(ctx context.Context, tx *pg.Tx, accountID, factorID string) error {
	if _, err := lockAccount(ctx, tx, accountID); err != nil {
		return err
	}
	var kind string
	err := tx.QueryRow(ctx, `DELETE FROM factor WHERE id = $1 AND account_id = $2 RETURNING kind`, factorID, accountID).Scan(&kind)
	if pg.NoRows(err) {
		return ErrFactorNotFound
	}
	if err != nil {
		return fmt.Errorf("delete factor: %w", err)
	}
	if kind == kindPasskey {
		if err := s.checkWayIn(ctx, tx, accountID); err != nil {
			return err
		}
	}
	left, err := factorKinds(ctx, tx, accountID)
	if err != nil {
		return err
	}
	if len(left) == 0 {
		if _, err := tx.Exec(ctx, `DELETE FROM recovery_code WHERE account_id = $1`, accountID); err != nil {
			return fmt.Errorf("delete recovery codes: %w", err)
		}
	}
	return audit.Record(ctx, tx, audit.Entry{
		Action: "factor.removed", Object: factorID, Person: accountID, Before: map[string]any{"kind": kind},
	})
}

// confirmed tells that a factor counts from now on. Recovery codes come with the
// first: those left from a time before would be known to who had the account
// then.
func (s *Service) confirmed(ctx context.Context, tx *pg.Tx, accountID, factorID string) (*identitypb.ConfirmedFactor, error) {
	rows, err := tx.Query(ctx, `SELECT `+factorColumns+` FROM factor WHERE id = $1`, factorID)
	if err != nil {
		return nil, fmt.Errorf("factor: %w", err)
	}
	f, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[factor])
	if err != nil {
		return nil, fmt.Errorf("factor: %w", err)
	}
	out := &identitypb.ConfirmedFactor{Factor: f.message()}
	var others bool
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM factor WHERE account_id = $1 AND confirmed_at IS NOT NULL AND id <> $2)`, accountID, factorID).
		Scan(&others)
	if err != nil {
		return nil, fmt.Errorf("other factors: %w", err)
	}
	if !others {
		if out.RecoveryCodes, err = replaceRecoveryCodes(ctx, tx, accountID); err != nil {
			return nil, err
		}
	}
	return out, audit.Record(ctx, tx, audit.Entry{
		Action: "factor.confirmed", Object: factorID, Person: accountID,
		After: map[string]any{"kind": f.Kind, "recovery_codes": len(out.GetRecoveryCodes())},
	})
}
