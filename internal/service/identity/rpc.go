package identity

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
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
	often := s.mailWait(ctx, mailVerifyEmail, a.Email) > 0
	hash, err := s.hasher.hash(ctx, req.GetPassword())
	if err != nil {
		return nil, err
	}
	// Whoever has an account already is told so by a mail, and nobody here: the
	// answer is the one that a new account has, and so is the work.
	out, err := idempotency.Do(ctx, s.db, known, func(tx *pg.Tx) (*identitypb.Account, error) {
		mail := mailVerifyEmail
		err := s.insertAccount(ctx, tx, a, hash)
		if errors.Is(err, ErrEmailTaken) {
			tx.Exempt("a mail that is due to whoever has the address")
			mail, err = mailAccountExists, nil
		}
		if err != nil || often {
			return toAccount(withoutAddress(a)), err
		}
		return toAccount(withoutAddress(a)), s.due(ctx, tx, mail, a.Email)
	})
	if err != nil {
		return nil, err
	}
	out.Email = a.Email
	return out, nil
}

// withoutPassword returns the request as it may be remembered under its
// idempotency key. What is kept of a request is a fast hash, from which somebody
// who has the table could guess a password; so that hash sees a slow digest in
// its place. It is not left out, because then a key that comes again with
// another password would answer as if that one had been set.
func (s *Service) withoutPassword(ctx context.Context, req withPassword) (proto.Message, error) {
	key := rpc.IdempotencyKey(ctx)
	if key == "" {
		return req, nil // nothing is kept
	}
	where := key
	if named, ok := req.(interface{ GetEmail() string }); ok {
		where += "\n" + named.GetEmail()
	}
	digest, err := s.hasher.digest(ctx, req.GetPassword(), where)
	if err != nil {
		return nil, err
	}
	out := proto.Clone(req)
	field := out.ProtoReflect().Descriptor().Fields().ByName("password")
	out.ProtoReflect().Set(field, protoreflect.ValueOfString(digest))
	return out, nil
}

// withPassword is a request with a field of that name.
type withPassword interface {
	proto.Message
	GetPassword() string
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

// DeleteSessions implements identitypb.AccountServiceServer.
func (s *Service) DeleteSessions(ctx context.Context, req *identitypb.DeleteSessionsRequest) (*emptypb.Empty, error) {
	who := auth.From(ctx)
	but := who.Session
	if req.GetAll() {
		but = ""
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		return &emptypb.Empty{}, s.endSessions(ctx, tx, who.Account, but)
	})
}

// GetMe implements identitypb.IdentityServiceServer.
func (s *Service) GetMe(ctx context.Context, _ *identitypb.GetMeRequest) (*identitypb.Account, error) {
	a, err := s.accountByID(ctx, s.db, auth.From(ctx).Account, ``)
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
	out, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*identitypb.Account, error) {
		a, err := s.updateAccount(ctx, tx, auth.From(ctx).Account, change)
		if err != nil {
			return nil, err
		}
		return toAccount(withoutAddress(a)), nil
	})
	if err != nil {
		return nil, err
	}
	out.Email, err = s.addressOf(ctx, out.GetId())
	return out, err
}

// Authenticate implements identitypb.IdentityServiceServer.
func (s *Service) Authenticate(ctx context.Context, req *identitypb.AuthenticateRequest) (*identitypb.AuthenticateResponse, error) {
	if isAccessToken(req.GetToken()) {
		return s.accountOfToken(ctx, req.GetToken())
	}
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
		CreatedAt: timestamppb.New(a.CreatedAt), Etag: a.etag(), EmailVerified: a.EmailVerifiedAt != nil, Links: a.Links,
		AvatarUrl: avatarURL(a.AvatarID),
	}
}

func toSession(s session, current string) *identitypb.Session {
	return &identitypb.Session{
		Id: s.ID, AccountId: s.AccountID, UserAgent: s.UserAgent,
		CreatedAt: timestamppb.New(s.CreatedAt), ExpiresAt: timestamppb.New(s.ExpiresAt), LastUsedAt: timestamppb.New(s.LastUsedAt),
		Current: s.ID == current, Address: s.Address,
	}
}
