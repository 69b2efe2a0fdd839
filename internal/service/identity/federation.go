package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

const (
	maxIdentities = 20  // of an account
	maxSubject    = 255 // bytes, as OpenID Connect has it
)

// FinishSignIn implements identitypb.FederationServiceServer. The rules of who is
// let in are in docs/security-linking.md.
func (s *Service) FinishSignIn(ctx context.Context, req *identitypb.FinishSignInRequest) (*identitypb.FinishSignInResponse, error) {
	p, err := s.providers.named(req.GetProvider())
	if err != nil {
		return nil, err
	}
	f, err := s.takeFlow(ctx, p.Name, req.GetState(), req.GetBrowser())
	if err != nil {
		return nil, err
	}
	if req.GetCode() == "" || req.GetIssuer() != "" && req.GetIssuer() != p.Issuer {
		return nil, ErrFederationRefused
	}
	who, err := p.finish(ctx, req.GetCode(), f.Nonce, f.Verifier)
	if err != nil {
		return nil, err
	}
	if len(who.Subject) > maxSubject {
		return nil, ErrFederationRefused
	}
	out := &identitypb.FinishSignInResponse{ReturnTo: f.ReturnTo}
	if f.AccountID != "" {
		return out, s.link(ctx, f, p.Name, who)
	}
	account, err := s.accountOf(ctx, p.Name, who)
	if errors.Is(err, errMeanwhile) {
		// Somebody made an account at the same time, perhaps this one.
		account, err = s.accountOf(ctx, p.Name, who)
	}
	if err != nil {
		return nil, err
	}
	out.Session, err = s.signIn(ctx, account)
	return out, err
}

// link gives the account that began the flow one more way in.
func (s *Service) link(ctx context.Context, f flow, provider string, who person) error {
	now := s.now()
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		if _, err := lockAccount(ctx, tx, f.AccountID); err != nil {
			return err
		}
		var signedIn bool
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM session WHERE id = $3 AND `+live+`)`, now, now.Add(-sessionIdle), f.SessionID).
			Scan(&signedIn)
		if err != nil {
			return fmt.Errorf("session of a linking: %w", err)
		}
		if !signedIn {
			return ErrFlowOver
		}
		owner, err := ownerOf(ctx, tx, who)
		if err != nil {
			return err
		}
		if owner == f.AccountID {
			return nil
		}
		if owner != "" {
			return ErrIdentityTaken
		}
		var have int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM federated WHERE account_id = $1`, f.AccountID).Scan(&have); err != nil {
			return fmt.Errorf("count identities: %w", err)
		}
		if have >= maxIdentities {
			return ErrTooManyIdentities
		}
		err = insertFederated(ctx, tx, f.AccountID, provider, who, now)
		if errors.Is(err, errMeanwhile) {
			return ErrIdentityTaken
		}
		return err
	})
}

// errMeanwhile is what another did at the same time.
var errMeanwhile = errors.New("identity: another was first")

// accountOf returns the account that who signs in to, making it when there is
// none that it could be confused with.
func (s *Service) accountOf(ctx context.Context, provider string, who person) (string, error) {
	var account string
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		var err error
		if account, err = ownerOf(ctx, tx, who); err != nil {
			return err
		}
		if account != "" {
			var identityID string
			err := tx.QueryRow(ctx, `UPDATE federated SET last_used_at = $3 WHERE issuer = $1 AND subject = $2 RETURNING id`,
				who.Issuer, who.Subject, s.now()).Scan(&identityID)
			if pg.NoRows(err) { // it was unlinked just now
				return errMeanwhile
			}
			if err != nil {
				return fmt.Errorf("use identity: %w", err)
			}
			return audit.Record(ctx, tx, audit.Entry{
				Action: "identity.used", Object: identityID, Person: account, After: map[string]any{"provider": provider},
			})
		}
		a, err := newAccountOf(who, s.now())
		if err != nil {
			return err
		}
		var taken bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM account WHERE email_index = $1 OR email = $2)`, s.emailIndex(a.Email), a.Email).Scan(&taken); err != nil {
			return fmt.Errorf("account by e-mail: %w", err)
		}
		if taken {
			// It may be this identity's own, made since the look above.
			switch owner, err := ownerOf(ctx, tx, who); {
			case err != nil:
				return err
			case owner != "":
				return errMeanwhile
			}
			// Whether that account has verified the address or not: who has both
			// shows it by signing in there, and nobody else gets in.
			return ErrLinkRequired
		}
		a.EmailVerifiedAt = &a.CreatedAt // by the provider
		err = s.insertAccount(ctx, tx, a, "")
		if errors.Is(err, ErrEmailTaken) {
			return errMeanwhile
		}
		if err != nil {
			return err
		}
		account = a.ID
		return insertFederated(ctx, tx, a.ID, provider, who, a.CreatedAt)
	})
	return account, err
}

// newAccountOf returns the account of who comes for the first time.
func newAccountOf(who person, now time.Time) (account, error) {
	if who.Email == "" {
		return account{}, ErrEmailUnverified
	}
	// Held to what a sign-up is held to; a name and a language may be left out.
	req := &identitypb.CreateAccountRequest{Email: who.Email, Password: strings.Repeat("-", 10), Name: who.Name, Locale: who.Locale}
	if _, err := normalName(req.GetName()); err != nil || len([]rune(req.GetName())) > 200 {
		req.Name, _, _ = strings.Cut(who.Email, "@")
	}
	if _, err := normalLocale(req.GetLocale()); err != nil || len(req.GetLocale()) > 35 {
		req.Locale = ""
	}
	if err := protovalidate.Validate(req); err != nil {
		return account{}, fmt.Errorf("%w: %w", ErrFederationRefused, err)
	}
	return newAccount(req, now)
}

// ownerOf returns the account that an identity belongs to, empty for none.
func ownerOf(ctx context.Context, tx *pg.Tx, who person) (string, error) {
	var owner string
	err := tx.QueryRow(ctx, `SELECT account_id FROM federated WHERE issuer = $1 AND subject = $2`, who.Issuer, who.Subject).Scan(&owner)
	if err != nil && !pg.NoRows(err) {
		return "", fmt.Errorf("identity: %w", err)
	}
	return owner, nil
}

func insertFederated(ctx context.Context, tx *pg.Tx, accountID, provider string, who person, now time.Time) error {
	identityID := id.New("identity")
	_, err := tx.Exec(ctx, `
		INSERT INTO federated (id, account_id, provider, issuer, subject, created_at, last_used_at) VALUES ($1, $2, $3, $4, $5, $6, $6)`,
		identityID, accountID, provider, who.Issuer, who.Subject, now)
	if pg.Violates(err, "federated_subject") {
		return errMeanwhile
	}
	if err != nil {
		return fmt.Errorf("insert identity: %w", err)
	}
	return audit.Record(ctx, tx, audit.Entry{
		Action: "identity.linked", Object: identityID, Person: accountID, After: map[string]any{"provider": provider},
	})
}

// checkWayIn refuses what leaves an account without a way to sign in: a password,
// an identity at a provider that is configured, or a passkey. The account is
// locked.
func (s *Service) checkWayIn(ctx context.Context, tx *pg.Tx, accountID string) error {
	var ways bool
	err := tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM account WHERE id = $1 AND password_hash <> '')
			OR EXISTS (SELECT FROM federated WHERE account_id = $1 AND issuer = ANY($2))
			OR EXISTS (SELECT FROM factor WHERE account_id = $1 AND kind = 'passkey')`, accountID, s.providers.issuers()).Scan(&ways)
	if err != nil {
		return fmt.Errorf("ways in: %w", err)
	}
	if !ways {
		return ErrLastWayIn
	}
	return nil
}

// ListSignInProviders implements identitypb.FederationServiceServer.
func (s *Service) ListSignInProviders(context.Context, *identitypb.ListSignInProvidersRequest) (*identitypb.ListSignInProvidersResponse, error) {
	out := &identitypb.ListSignInProvidersResponse{}
	for _, p := range s.providers {
		out.Items = append(out.Items, &identitypb.SignInProvider{Name: p.Name, Kind: p.Kind})
	}
	return out, nil
}

// federated is who a person is at a provider.
type federated struct {
	ID         string
	Provider   string
	CreatedAt  time.Time
	LastUsedAt time.Time
}

// ListIdentities implements identitypb.FederationServiceServer.
func (s *Service) ListIdentities(ctx context.Context, _ *identitypb.ListIdentitiesRequest) (*identitypb.ListIdentitiesResponse, error) {
	rows, err := s.db.Query(ctx, `SELECT id, provider, created_at, last_used_at FROM federated WHERE account_id = $1 ORDER BY created_at, id LIMIT $2`,
		auth.From(ctx).Account, maxIdentities)
	if err != nil {
		return nil, fmt.Errorf("identities: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[federated])
	if err != nil {
		return nil, fmt.Errorf("identities: %w", err)
	}
	out := &identitypb.ListIdentitiesResponse{}
	for _, f := range list {
		out.Items = append(out.Items, &identitypb.Identity{
			Id: f.ID, Provider: f.Provider, CreatedAt: timestamppb.New(f.CreatedAt), LastUsedAt: timestamppb.New(f.LastUsedAt),
		})
	}
	return out, nil
}

// DeleteIdentity implements identitypb.FederationServiceServer.
func (s *Service) DeleteIdentity(ctx context.Context, req *identitypb.DeleteIdentityRequest) (*emptypb.Empty, error) {
	account := auth.From(ctx).Account
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		if _, err := lockAccount(ctx, tx, account); err != nil {
			return nil, err
		}
		var provider string
		err := tx.QueryRow(ctx, `DELETE FROM federated WHERE id = $1 AND account_id = $2 RETURNING provider`, req.GetIdentityId(), account).
			Scan(&provider)
		if pg.NoRows(err) {
			return nil, ErrIdentityNotFound
		}
		if err != nil {
			return nil, fmt.Errorf("delete identity: %w", err)
		}
		if err := s.checkWayIn(ctx, tx, account); err != nil {
			return nil, err
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{
			Action: "identity.unlinked", Object: req.GetIdentityId(), Person: account, Before: map[string]any{"provider": provider},
		})
	})
}
