package identity

import (
	"context"
	"fmt"
	"strings"

	"github.com/stoa-lms/stoa/internal/email"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// SuspendAccount implements identitypb.AccountServiceServer. A sign-in at the
// same time waits for the account's row, and is refused or ended.
func (s *Service) SuspendAccount(ctx context.Context, req *identitypb.SuspendAccountRequest) (*identitypb.AccountState, error) {
	if req.GetAccountId() == auth.From(ctx).Account {
		return nil, ErrSuspendSelf
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*identitypb.AccountState, error) {
		a, err := accountByID(ctx, tx, req.GetAccountId(), `FOR NO KEY UPDATE`)
		if err != nil {
			return nil, err
		}
		now := s.now()
		if a.SuspendedAt == nil {
			a.SuspendedAt = &now
		}
		a.SuspendedReason = strings.TrimSpace(req.GetReason())
		a.Revision++
		_, err = tx.Exec(ctx, `
			UPDATE account SET suspended_at = $2, suspended_reason = $3, revision = $4, updated_at = $5 WHERE id = $1`,
			a.ID, a.SuspendedAt, a.SuspendedReason, a.Revision, now)
		if err != nil {
			return nil, fmt.Errorf("suspend account: %w", err)
		}
		if err := s.endSessions(ctx, tx, a.ID, ""); err != nil {
			return nil, err
		}
		err = audit.Record(ctx, tx, audit.Entry{Action: "account.suspended", Object: a.ID, Person: a.ID, Reason: a.SuspendedReason})
		if err != nil {
			return nil, err
		}
		return toAccountState(a), bus.Publish(ctx, tx, &identitypb.AccountSuspended{AccountId: a.ID, Version: a.Revision})
	})
}

// ReinstateAccount implements identitypb.AccountServiceServer.
func (s *Service) ReinstateAccount(ctx context.Context, req *identitypb.ReinstateAccountRequest) (*identitypb.AccountState, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*identitypb.AccountState, error) {
		a, err := accountByID(ctx, tx, req.GetAccountId(), `FOR NO KEY UPDATE`)
		if err != nil {
			return nil, err
		}
		if a.SuspendedAt == nil {
			return toAccountState(a), nil
		}
		a.SuspendedAt, a.SuspendedReason = nil, ""
		a.Revision++
		_, err = tx.Exec(ctx, `
			UPDATE account SET suspended_at = NULL, suspended_reason = '', revision = $2, updated_at = $3 WHERE id = $1`,
			a.ID, a.Revision, s.now())
		if err != nil {
			return nil, fmt.Errorf("reinstate account: %w", err)
		}
		if err := audit.Record(ctx, tx, audit.Entry{Action: "account.reinstated", Object: a.ID, Person: a.ID}); err != nil {
			return nil, err
		}
		return toAccountState(a), bus.Publish(ctx, tx, &identitypb.AccountReinstated{AccountId: a.ID, Version: a.Revision})
	})
}

// ListAccounts implements identitypb.AccountServiceServer.
func (s *Service) ListAccounts(ctx context.Context, req *identitypb.ListAccountsRequest) (*identitypb.ListAccountsResponse, error) {
	if (req.GetEmail() == "") == (req.GetAccountId() == "") {
		return nil, ErrSearch
	}
	where, by := `id = $1`, req.GetAccountId()
	if by == "" {
		where, by = `email = $1`, email.Normal(req.GetEmail())
	}
	a, err := oneAccount(ctx, s.db, where, by)
	if fault.Is(err, fault.NotFound) {
		return &identitypb.ListAccountsResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &identitypb.ListAccountsResponse{Items: []*identitypb.AccountState{toAccountState(a)}}, nil
}

func toAccountState(a account) *identitypb.AccountState {
	return &identitypb.AccountState{
		AccountId: a.ID, Kind: a.Kind, Email: a.Email, Name: a.Name, EmailVerified: a.EmailVerifiedAt != nil,
		CreatedAt: timestamppb.New(a.CreatedAt), SuspendedAt: stamp(a.SuspendedAt), SuspendedReason: a.SuspendedReason,
	}
}
