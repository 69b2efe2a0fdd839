package identity

import (
	"context"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// CreateAccount implements identitypb.IdentityServiceServer.
func (s *Service) CreateAccount(ctx context.Context, req *identitypb.CreateAccountRequest) (*identitypb.Account, error) {
	a, err := newAccount(req, s.now())
	if err != nil {
		return nil, err
	}
	if err := checkPassword(req.GetPassword(), a.Email, a.Name); err != nil {
		return nil, err
	}
	known, err := s.withoutPassword(ctx, req)
	if err != nil {
		return nil, err
	}
	hash, err := s.hasher.hash(ctx, req.GetPassword())
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, known, func(tx *pg.Tx) (*identitypb.Account, error) {
		return toAccount(a), insertAccount(ctx, tx, a, hash)
	})
}

// withoutPassword returns the request as it may be remembered under its
// idempotency key. What is kept of a request is a fast hash, from which somebody
// who has the table could guess a password; so that hash sees a slow digest in
// its place. It is not left out, because then a key that comes again with
// another password would answer as if that one had been set.
func (s *Service) withoutPassword(ctx context.Context, req *identitypb.CreateAccountRequest) (*identitypb.CreateAccountRequest, error) {
	key := rpc.IdempotencyKey(ctx)
	if key == "" {
		return req, nil // nothing is kept
	}
	digest, err := s.hasher.digest(ctx, req.GetPassword(), key+"\n"+req.GetEmail())
	if err != nil {
		return nil, err
	}
	out := proto.CloneOf(req)
	out.Password = digest
	return out, nil
}

// CreateSession implements identitypb.IdentityServiceServer.
func (s *Service) CreateSession(ctx context.Context, req *identitypb.CreateSessionRequest) (*identitypb.Session, error) {
	accountID, err := s.checkCredentials(ctx, req.GetEmail(), req.GetPassword())
	if err != nil {
		return nil, err
	}
	return s.signIn(ctx, accountID)
}

// ListSessions implements identitypb.IdentityServiceServer.
func (s *Service) ListSessions(ctx context.Context, _ *identitypb.ListSessionsRequest) (*identitypb.ListSessionsResponse, error) {
	caller := auth.From(ctx)
	list, err := s.sessions(ctx, caller.Account)
	if err != nil {
		return nil, err
	}
	out := &identitypb.ListSessionsResponse{}
	for _, one := range list {
		out.Items = append(out.Items, toSession(one, caller.Session))
	}
	return out, nil
}

// DeleteSession implements identitypb.IdentityServiceServer.
func (s *Service) DeleteSession(ctx context.Context, req *identitypb.DeleteSessionRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		return &emptypb.Empty{}, s.endSession(ctx, tx, auth.From(ctx).Account, req.GetSessionId())
	})
}

// GetMe implements identitypb.IdentityServiceServer.
func (s *Service) GetMe(ctx context.Context, _ *identitypb.GetMeRequest) (*identitypb.Account, error) {
	a, err := accountByID(ctx, s.db, auth.From(ctx).Account, ``)
	if err != nil {
		return nil, err
	}
	return toAccount(a), nil
}

// UpdateMe implements identitypb.IdentityServiceServer.
func (s *Service) UpdateMe(ctx context.Context, req *identitypb.UpdateMeRequest) (*identitypb.Account, error) {
	change, err := newProfile(req)
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*identitypb.Account, error) {
		a, err := s.updateAccount(ctx, tx, auth.From(ctx).Account, change)
		if err != nil {
			return nil, err
		}
		return toAccount(a), nil
	})
}

// Authenticate implements identitypb.IdentityServiceServer.
func (s *Service) Authenticate(ctx context.Context, req *identitypb.AuthenticateRequest) (*identitypb.AuthenticateResponse, error) {
	found, err := s.sessionByToken(ctx, req.GetToken())
	if err != nil {
		return nil, err
	}
	return &identitypb.AuthenticateResponse{
		AccountId: found.AccountID, SessionId: found.ID, ExpiresAt: timestamppb.New(found.ExpiresAt),
		ConfirmedAt: timestamppb.New(found.ConfirmedAt),
	}, nil
}

func toAccount(a account) *identitypb.Account {
	return &identitypb.Account{
		Id: a.ID, Email: a.Email, Name: a.Name, Bio: a.Bio, Locale: a.Locale, TimeZone: a.TimeZone,
		CreatedAt: timestamppb.New(a.CreatedAt), Etag: a.etag(),
	}
}

func toSession(s session, current string) *identitypb.Session {
	return &identitypb.Session{
		Id: s.ID, AccountId: s.AccountID, UserAgent: s.UserAgent,
		CreatedAt: timestamppb.New(s.CreatedAt), ExpiresAt: timestamppb.New(s.ExpiresAt), LastUsedAt: timestamppb.New(s.LastUsedAt),
		Current: s.ID == current,
	}
}
