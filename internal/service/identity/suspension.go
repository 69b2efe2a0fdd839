package identity

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
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
	return s.addressed(ctx, req, func(tx *pg.Tx) (account, error) {
		a, err := s.accountByID(ctx, tx, req.GetAccountId(), `FOR NO KEY UPDATE`)
		if err != nil {
			return account{}, err
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
			return account{}, fmt.Errorf("suspend account: %w", err)
		}
		if err := s.endSessions(ctx, tx, a.ID, ""); err != nil {
			return account{}, err
		}
		err = audit.Record(ctx, tx, audit.Entry{Action: "account.suspended", Object: a.ID, Person: a.ID, Reason: a.SuspendedReason})
		if err != nil {
			return account{}, err
		}
		return a, bus.Publish(ctx, tx, &identitypb.AccountSuspended{AccountId: a.ID, Version: a.Revision})
	})
}

// ReinstateAccount implements identitypb.AccountServiceServer.
func (s *Service) ReinstateAccount(ctx context.Context, req *identitypb.ReinstateAccountRequest) (*identitypb.AccountState, error) {
	return s.addressed(ctx, req, func(tx *pg.Tx) (account, error) {
		a, err := s.accountByID(ctx, tx, req.GetAccountId(), `FOR NO KEY UPDATE`)
		if err != nil {
			return account{}, err
		}
		if a.SuspendedAt == nil {
			return a, nil
		}
		a.SuspendedAt, a.SuspendedReason = nil, ""
		a.Revision++
		_, err = tx.Exec(ctx, `
			UPDATE account SET suspended_at = NULL, suspended_reason = '', revision = $2, updated_at = $3 WHERE id = $1`,
			a.ID, a.Revision, s.now())
		if err != nil {
			return account{}, fmt.Errorf("reinstate account: %w", err)
		}
		if err := audit.Record(ctx, tx, audit.Entry{Action: "account.reinstated", Object: a.ID, Person: a.ID}); err != nil {
			return account{}, err
		}
		return a, bus.Publish(ctx, tx, &identitypb.AccountReinstated{AccountId: a.ID, Version: a.Revision})
	})
}

// ListAccounts implements identitypb.AccountServiceServer.
func (s *Service) ListAccounts(ctx context.Context, req *identitypb.ListAccountsRequest) (*identitypb.ListAccountsResponse, error) {
	if (req.GetEmail() == "") == (req.GetAccountId() == "") {
		return nil, ErrSearch
	}
	a, err := s.accountNamed(ctx, req)
	if fault.Is(err, fault.NotFound) {
		return &identitypb.ListAccountsResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &identitypb.ListAccountsResponse{Items: []*identitypb.AccountState{toAccountState(a)}}, nil
}

// accountNamed returns the account that a search names.
func (s *Service) accountNamed(ctx context.Context, req *identitypb.ListAccountsRequest) (account, error) {
	accountID := req.GetAccountId()
	if accountID == "" {
		var err error
		if accountID, err = AccountByEmail(ctx, s.db, s.keys, req.GetEmail()); err != nil {
			return account{}, err
		}
	}
	return s.accountByID(ctx, s.db, accountID, ``)
}

// addressed makes a change once, and answers with the account's state; what is
// kept of that under the idempotency key lacks the address.
func (s *Service) addressed(ctx context.Context, req proto.Message, change func(*pg.Tx) (account, error)) (*identitypb.AccountState, error) {
	out, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*identitypb.AccountState, error) {
		a, err := change(tx)
		if err != nil {
			return nil, err
		}
		return toAccountState(withoutAddress(a)), nil
	})
	if err != nil {
		return nil, err
	}
	out.Email, err = s.addressOf(ctx, out.GetAccountId())
	return out, err
}

func toAccountState(a account) *identitypb.AccountState {
	return &identitypb.AccountState{
		AccountId: a.ID, Kind: a.Kind, Email: a.Email, Name: a.Name, EmailVerified: a.EmailVerifiedAt != nil,
		CreatedAt: timestamppb.New(a.CreatedAt), SuspendedAt: stamp(a.SuspendedAt), SuspendedReason: a.SuspendedReason,
	}
}
