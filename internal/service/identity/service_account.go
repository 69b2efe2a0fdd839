package identity

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// The kinds of accounts.
const (
	kindPerson  = "person"
	kindService = "service" // a program's: without address and password
)

// CreateServiceAccount implements identitypb.TokenServiceServer. No event tells
// of it: others keep people, to write to and to show.
func (s *Service) CreateServiceAccount(ctx context.Context, req *identitypb.CreateServiceAccountRequest) (*identitypb.ServiceAccount, error) {
	name, err := normalName(req.GetName())
	if err != nil {
		return nil, err
	}
	a := account{ID: id.New("account"), Name: name, CreatedAt: s.now()}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*identitypb.ServiceAccount, error) {
		_, err := tx.Exec(ctx, `
			INSERT INTO account (id, kind, name, locale, time_zone, password_hash, created_at, updated_at)
			VALUES ($1, $2, $3, 'en', 'UTC', '', $4, $4)`, a.ID, kindService, a.Name, a.CreatedAt)
		if err != nil {
			return nil, fmt.Errorf("insert service account: %w", err)
		}
		return toServiceAccount(a), audit.Record(ctx, tx, audit.Entry{Action: "service_account.created", Object: a.ID, After: map[string]any{"name": a.Name}})
	})
}

// ListServiceAccounts implements identitypb.TokenServiceServer.
func (s *Service) ListServiceAccounts(ctx context.Context, req *identitypb.ListServiceAccountsRequest) (*identitypb.ListServiceAccountsResponse, error) {
	before, beforeID, err := page.After(req.GetCursor())
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := s.db.Query(ctx, `
		SELECT `+accountColumns+` FROM account WHERE kind = 'service' AND (created_at, id) < ($1, $2)
		ORDER BY created_at DESC, id DESC LIMIT $3`, before, beforeID, size+1)
	if err != nil {
		return nil, fmt.Errorf("service accounts: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[account])
	if err != nil {
		return nil, fmt.Errorf("service accounts: %w", err)
	}
	out := &identitypb.ListServiceAccountsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.TimeCursor(list[size-1].CreatedAt, list[size-1].ID)
	}
	for _, a := range list {
		out.Items = append(out.Items, toServiceAccount(a))
	}
	return out, nil
}

// DeleteServiceAccount implements identitypb.TokenServiceServer.
func (s *Service) DeleteServiceAccount(ctx context.Context, req *identitypb.DeleteServiceAccountRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		tag, err := tx.Exec(ctx, `DELETE FROM account WHERE id = $1 AND kind = $2`, req.GetAccountId(), kindService)
		if err != nil {
			return nil, fmt.Errorf("delete service account: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return nil, ErrServiceAccountNotFound
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{Action: "service_account.deleted", Object: req.GetAccountId()})
	})
}

// CreateServiceAccountToken implements identitypb.TokenServiceServer.
func (s *Service) CreateServiceAccountToken(ctx context.Context, req *identitypb.CreateServiceAccountTokenRequest) (*identitypb.AccessToken, error) {
	t, err := s.newAccessToken(req.GetAccountId(), req.GetName(), req.GetScopes(), req.GetExpiresAt())
	if err != nil {
		return nil, err
	}
	return s.createToken(ctx, req, kindService, t)
}

// ListServiceAccountTokens implements identitypb.TokenServiceServer.
func (s *Service) ListServiceAccountTokens(ctx context.Context, req *identitypb.ListServiceAccountTokensRequest) (*identitypb.ListTokensResponse, error) {
	a, err := s.accountByID(ctx, s.db, req.GetAccountId(), ``)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	if err != nil || a.Kind != kindService {
		return nil, ErrServiceAccountNotFound
	}
	return s.tokensOf(ctx, a.ID)
}

// DeleteServiceAccountToken implements identitypb.TokenServiceServer.
func (s *Service) DeleteServiceAccountToken(ctx context.Context, req *identitypb.DeleteServiceAccountTokenRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		if err := lockKind(ctx, tx, req.GetAccountId(), kindService); err != nil {
			return nil, err
		}
		return &emptypb.Empty{}, s.revokeToken(ctx, tx, req.GetAccountId(), req.GetTokenId())
	})
}

func toServiceAccount(a account) *identitypb.ServiceAccount {
	return &identitypb.ServiceAccount{Id: a.ID, Name: a.Name, CreatedAt: timestamppb.New(a.CreatedAt), SuspendedAt: stamp(a.SuspendedAt)}
}
