package identity

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// accessPrefix is that of access tokens, which are as long as those of sessions.
const accessPrefix = "stoa_t_"

// maxTokens bounds the tokens of an account that are not revoked.
const maxTokens = 50

// keepTokens is how long a token is remembered after its end.
const keepTokens = 30 * 24 * time.Hour

// accessToken is a token without its text.
type accessToken struct {
	ID         string
	AccountID  string
	Name       string
	Scopes     []string
	CreatedAt  time.Time
	ExpiresAt  *time.Time
	LastUsedAt *time.Time
}

const accessColumns = `id, account_id, name, scopes, created_at, expires_at, last_used_at`

// newAccessToken returns the token that a request asks for.
func (s *Service) newAccessToken(accountID, name string, scopes []string, expires *timestamppb.Timestamp) (accessToken, error) {
	name, err := normalName(name)
	if err != nil {
		return accessToken{}, err
	}
	for i, scope := range scopes {
		if !slices.Contains(auth.Permissions(), scope) {
			return accessToken{}, invalidToken("token.scope_unknown", fmt.Sprintf("scopes[%d]", i), `A scope is a permission such as "me.read" or "course.view".`)
		}
	}
	t := accessToken{
		ID: id.New("token"), AccountID: accountID, Name: name, Scopes: slices.Compact(slices.Sorted(slices.Values(scopes))), CreatedAt: s.now(),
	}
	if expires != nil {
		at := expires.AsTime().Truncate(time.Microsecond)
		if !expires.IsValid() || !at.After(t.CreatedAt) {
			return accessToken{}, invalidToken("token.expires_at", "expires_at", "A token ends in the future, or never: leave it out then.")
		}
		t.ExpiresAt = &at
	}
	return t, nil
}

func invalidToken(code, path, hint string) error {
	return &fault.Error{
		Kind: fault.Invalid, Code: code, Message: "The token can't be made as it is asked for.",
		Fields: []fault.Field{{Path: path, Code: code, Hint: hint}},
	}
}

// createToken makes a token for an account of a kind. Its text is in the answer
// and nowhere else: what is kept under the idempotency key lacks it.
func (s *Service) createToken(ctx context.Context, req proto.Message, kind string, t accessToken) (*identitypb.AccessToken, error) {
	token, err := secretToken(accessPrefix)
	if err != nil {
		return nil, err
	}
	made := false
	out, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*identitypb.AccessToken, error) {
		made = true
		// Those who make tokens of one account take turns, so that each counts the others.
		if err := lockKind(ctx, tx, t.AccountID, kind); err != nil {
			return nil, err
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO access_token (id, account_id, name, token_hash, scopes, created_at, expires_at)
			SELECT $1, $2, $3, $4, $5, $6, $7
			WHERE (SELECT count(*) FROM access_token WHERE account_id = $2 AND revoked_at IS NULL) < $8`,
			t.ID, t.AccountID, t.Name, tokenHash(token), t.Scopes, t.CreatedAt, t.ExpiresAt, maxTokens)
		if err != nil {
			return nil, fmt.Errorf("insert token: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return nil, ErrTooManyTokens
		}
		err = audit.Record(ctx, tx, audit.Entry{
			Action: "token.created", Object: t.ID, Person: t.AccountID, After: map[string]any{"scopes": t.Scopes, "expires_at": t.ExpiresAt},
		})
		return toAccessToken(t), err
	})
	if err == nil && made {
		out.Token = token
	}
	return out, err
}

// lockKind locks an account that is of the kind.
func lockKind(ctx context.Context, tx *pg.Tx, accountID, kind string) error {
	found, err := lockAccount(ctx, tx, accountID)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if err != nil || found != kind {
		if kind == kindService {
			return ErrServiceAccountNotFound
		}
		return ErrAccountNotFound
	}
	return nil
}

// tokensOf returns the tokens of an account that are not revoked, newest first.
func (s *Service) tokensOf(ctx context.Context, accountID string) (*identitypb.ListTokensResponse, error) {
	rows, err := s.db.Query(ctx, `
		SELECT `+accessColumns+` FROM access_token WHERE account_id = $1 AND revoked_at IS NULL
		ORDER BY created_at DESC, id DESC LIMIT $2`, accountID, maxTokens)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[accessToken])
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	out := &identitypb.ListTokensResponse{}
	for _, t := range list {
		out.Items = append(out.Items, toAccessToken(t))
	}
	return out, nil
}

// revokeToken ends a token of an account, from the next look at the table on.
func (s *Service) revokeToken(ctx context.Context, tx *pg.Tx, accountID, tokenID string) error {
	tag, err := tx.Exec(ctx, `
		UPDATE access_token SET revoked_at = coalesce(revoked_at, $3) WHERE id = $1 AND account_id = $2`, tokenID, accountID, s.now())
	if err != nil {
		return fmt.Errorf("revoke token: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrTokenNotFound
	}
	return audit.Record(ctx, tx, audit.Entry{Action: "token.revoked", Object: tokenID, Person: accountID})
}

// accountOfToken returns whose access token it is and notes its use.
func (s *Service) accountOfToken(ctx context.Context, token string) (*identitypb.AuthenticateResponse, error) {
	if len(token) != tokenLength {
		return nil, auth.ErrBadToken
	}
	now := s.now()
	var t accessToken
	var suspended bool
	err := s.db.QueryRow(ctx, `
		SELECT t.id, t.account_id, t.scopes, t.expires_at, t.last_used_at, a.suspended_at IS NOT NULL
		FROM access_token t JOIN account a ON a.id = t.account_id
		WHERE t.token_hash = $1 AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > $2)`, tokenHash(token), now).
		Scan(&t.ID, &t.AccountID, &t.Scopes, &t.ExpiresAt, &t.LastUsedAt, &suspended)
	if pg.NoRows(err) {
		return nil, auth.ErrBadToken
	}
	if err != nil {
		return nil, fmt.Errorf("access token: %w", err)
	}
	if suspended {
		return nil, ErrSuspended
	}
	if t.LastUsedAt == nil || now.Sub(*t.LastUsedAt) >= writeUsedAfter {
		s.usedTokens.note(t.ID, use{at: now})
	}
	return &identitypb.AuthenticateResponse{
		AccountId: t.AccountID, TokenId: t.ID, Scopes: t.Scopes, ExpiresAt: stamp(t.ExpiresAt),
	}, nil
}

// writeUsedTokens writes the noted uses of tokens, as writeUsed does those of
// sessions.
func (s *Service) writeUsedTokens(ctx context.Context) error {
	ids, times, _ := s.usedTokens.take()
	if len(ids) == 0 {
		return nil
	}
	_, err := s.db.Exec(ctx, `
		WITH used AS (SELECT * FROM unnest($1::text[], $2::timestamptz[]) AS u (id, at)),
		due AS (
			SELECT t.id, used.at FROM access_token t JOIN used ON used.id = t.id
			WHERE t.last_used_at IS NULL OR t.last_used_at < used.at FOR UPDATE OF t SKIP LOCKED)
		UPDATE access_token t SET last_used_at = due.at FROM due WHERE t.id = due.id`, ids, times)
	if err != nil {
		return fmt.Errorf("write use of tokens: %w", err)
	}
	return nil
}

// isAccessToken reports whether a token says that it is one of these.
func isAccessToken(token string) bool { return strings.HasPrefix(token, accessPrefix) }

// CreateToken implements identitypb.TokenServiceServer.
func (s *Service) CreateToken(ctx context.Context, req *identitypb.CreateTokenRequest) (*identitypb.AccessToken, error) {
	t, err := s.newAccessToken(auth.From(ctx).Account, req.GetName(), req.GetScopes(), req.GetExpiresAt())
	if err != nil {
		return nil, err
	}
	return s.createToken(ctx, req, kindPerson, t)
}

// ListTokens implements identitypb.TokenServiceServer.
func (s *Service) ListTokens(ctx context.Context, _ *identitypb.ListTokensRequest) (*identitypb.ListTokensResponse, error) {
	return s.tokensOf(ctx, auth.From(ctx).Account)
}

// DeleteToken implements identitypb.TokenServiceServer.
func (s *Service) DeleteToken(ctx context.Context, req *identitypb.DeleteTokenRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		return &emptypb.Empty{}, s.revokeToken(ctx, tx, auth.From(ctx).Account, req.GetTokenId())
	})
}

func toAccessToken(t accessToken) *identitypb.AccessToken {
	return &identitypb.AccessToken{
		Id: t.ID, Name: t.Name, Scopes: t.Scopes,
		CreatedAt: timestamppb.New(t.CreatedAt), ExpiresAt: stamp(t.ExpiresAt), LastUsedAt: stamp(t.LastUsedAt),
	}
}

// stamp returns a time that may be absent as contracts have it.
func stamp(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}
