package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/metadata"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
)

const (
	sessionLifetime = 30 * 24 * time.Hour // however much it is used
	sessionIdle     = 14 * 24 * time.Hour // without being used
	maxSessions     = 100                 // live ones of an account
	maxUserAgent    = 200                 // characters

	// An ended session is remembered for a while, so that ending it again is not
	// an error.
	keepEnded = 7 * 24 * time.Hour
)

// session is a sign-in without its token.
type session struct {
	ID         string
	AccountID  string
	UserAgent  string
	CreatedAt  time.Time
	ExpiresAt  time.Time
	LastUsedAt time.Time
	// ConfirmedAt is when the account last confirmed who it is: at sign-in, and
	// each time it did so again.
	ConfirmedAt time.Time
}

const sessionColumns = `id, account_id, user_agent, created_at, expires_at, last_used_at, confirmed_at`

// live is the condition on a session that has not ended: $1 is now, $2 the time
// before which one that was last used is idle.
const live = `ended_at IS NULL AND expires_at > $1 AND last_used_at > $2`

// tokenPrefix lets people and scanners of leaked secrets see what a token is.
const tokenPrefix = "stoa_s_"

// tokenBytes of randomness are more than anybody guesses, which is why a plain
// hash of the token is kept and no slow one.
const tokenBytes = 32

var tokenLength = len(tokenPrefix) + base64.RawURLEncoding.EncodedLen(tokenBytes)

func newToken() (string, error) { return secretToken(tokenPrefix) }

// secretToken returns a new token of the kind that the prefix says.
func secretToken(prefix string) (string, error) {
	raw := make([]byte, tokenBytes)
	if _, err := rand.Read(raw); err != nil {
		return "", fmt.Errorf("identity: token: %w", err)
	}
	return prefix + base64.RawURLEncoding.EncodeToString(raw), nil
}

func tokenHash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// userAgent returns what the program that makes the call says it is. The edge
// passes on what came over HTTP under a name of its own.
func userAgent(ctx context.Context) string {
	for _, key := range []string{"grpcgateway-user-agent", "user-agent"} {
		for _, v := range metadata.ValueFromIncomingContext(ctx, key) {
			v = strings.Map(func(r rune) rune {
				if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
					return -1
				}
				return r
			}, v)
			if v = strings.TrimSpace(v); v != "" {
				return string([]rune(v)[:min(len([]rune(v)), maxUserAgent)])
			}
		}
	}
	return ""
}

// checkCredentials returns the account that the address and the password are
// of. It takes the same time for an address that nobody has.
func (s *Service) checkCredentials(ctx context.Context, email, password string) (string, error) {
	var accountID string
	hash := s.hasher.dummy
	err := s.db.QueryRow(ctx, `SELECT id, password_hash FROM account WHERE email = $1`, normalEmail(email)).Scan(&accountID, &hash)
	if err != nil && !pg.NoRows(err) {
		return "", fmt.Errorf("account by e-mail: %w", err)
	}
	ok, stale, err := s.hasher.verify(ctx, password, hash)
	if err != nil {
		return "", err
	}
	if !ok || accountID == "" {
		return "", ErrBadCredentials
	}
	if stale {
		if err := s.rehash(ctx, accountID, password, hash); err != nil {
			return "", err
		}
	}
	return accountID, nil
}

// rehash brings a stored hash to today's cost, at the one moment when the
// password is at hand. Somebody else who did so, or changed the password, in
// between wins.
func (s *Service) rehash(ctx context.Context, accountID, password, was string) error {
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	_, err = s.db.Exec(ctx, `UPDATE account SET password_hash = $3 WHERE id = $1 AND password_hash = $2`, accountID, was, hash)
	if err != nil {
		return fmt.Errorf("rehash: %w", err)
	}
	return nil
}

// startSession makes a session and returns it with its token. The account's
// oldest sessions end where there would be too many.
func (s *Service) startSession(ctx context.Context, accountID string) (session, string, error) {
	token, err := newToken()
	if err != nil {
		return session{}, "", err
	}
	now := s.now()
	out := session{
		ID: id.New("session"), AccountID: accountID, UserAgent: userAgent(ctx),
		CreatedAt: now, ExpiresAt: now.Add(sessionLifetime), LastUsedAt: now, ConfirmedAt: now,
	}
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		// Sign-ins of one account take turns, so that each counts the others.
		if _, err := accountByID(ctx, tx, accountID, `FOR NO KEY UPDATE`); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO session (id, account_id, token_hash, user_agent, created_at, expires_at, last_used_at, confirmed_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			out.ID, out.AccountID, tokenHash(token), out.UserAgent, out.CreatedAt, out.ExpiresAt, out.LastUsedAt, out.ConfirmedAt)
		if err != nil {
			return fmt.Errorf("insert session: %w", err)
		}
		_, err = tx.Exec(ctx, `
			UPDATE session SET ended_at = $1 WHERE id IN (
				SELECT id FROM (
					SELECT id, row_number() OVER (ORDER BY id = $4 DESC, created_at DESC, id DESC) AS place
					FROM session WHERE account_id = $3 AND `+live+`) AS s
				WHERE place > $5)`,
			now, now.Add(-sessionIdle), accountID, out.ID, maxSessions)
		if err != nil {
			return fmt.Errorf("end oldest sessions: %w", err)
		}
		return audit.Record(ctx, tx, audit.Entry{Action: "session.started", Object: out.ID, Person: accountID})
	})
	return out, token, err
}

// sessions returns the live sessions of an account, newest first.
func (s *Service) sessions(ctx context.Context, accountID string) ([]session, error) {
	now := s.now()
	rows, err := s.db.Query(ctx, `
		SELECT `+sessionColumns+` FROM session WHERE account_id = $3 AND `+live+`
		ORDER BY created_at DESC, id DESC LIMIT $4`,
		now, now.Add(-sessionIdle), accountID, maxSessions)
	if err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[session])
	if err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	return list, nil
}

// endSession ends a session of an account, from the next look at the table on.
func (s *Service) endSession(ctx context.Context, tx *pg.Tx, accountID, sessionID string) error {
	tag, err := tx.Exec(ctx, `
		UPDATE session SET ended_at = coalesce(ended_at, $3) WHERE id = $1 AND account_id = $2`,
		sessionID, accountID, s.now())
	if err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrSessionNotFound
	}
	return audit.Record(ctx, tx, audit.Entry{Action: "session.ended", Object: sessionID, Person: accountID})
}

// rotate gives a live session a new token and returns it; the one before is good
// no more. It is for the moments at which what a session may do grows or who
// knows its token should not count any longer: a stolen token does not come along.
func (s *Service) rotate(ctx context.Context, tx *pg.Tx, sessionID string) (string, error) {
	token, err := newToken()
	if err != nil {
		return "", err
	}
	tag, err := tx.Exec(ctx, `UPDATE session SET token_hash = $4 WHERE id = $3 AND `+live,
		s.now(), s.now().Add(-sessionIdle), sessionID, tokenHash(token))
	if err != nil {
		return "", fmt.Errorf("rotate session: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return "", auth.ErrBadToken
	}
	return token, audit.Record(ctx, tx, audit.Entry{Action: "session.rotated", Object: sessionID, Person: auth.From(ctx).Account})
}

// sessionByToken returns the live session of a token and notes its use.
func (s *Service) sessionByToken(ctx context.Context, token string) (session, error) {
	if len(token) != tokenLength || !strings.HasPrefix(token, tokenPrefix) {
		return session{}, auth.ErrBadToken
	}
	now := s.now()
	rows, err := s.db.Query(ctx, `SELECT `+sessionColumns+` FROM session WHERE token_hash = $3 AND `+live,
		now, now.Add(-sessionIdle), tokenHash(token))
	if err != nil {
		return session{}, fmt.Errorf("session by token: %w", err)
	}
	out, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[session])
	if pg.NoRows(err) {
		return session{}, auth.ErrBadToken
	}
	if err != nil {
		return session{}, fmt.Errorf("session by token: %w", err)
	}
	if now.Sub(out.LastUsedAt) >= writeUsedAfter {
		s.used.note(out.ID, now)
	}
	return out, nil
}

// sweepBatch bounds how many rows one statement of the sweep deletes.
const sweepBatch = 1000

// sweepSessions deletes the sessions that are over and need not be remembered.
// Rows that another process sweeps just now are left to it.
func (s *Service) sweepSessions(ctx context.Context) error {
	before := s.now().Add(-keepEnded)
	for _, statement := range []string{
		`DELETE FROM session WHERE id IN (
			SELECT id FROM session WHERE ended_at < $1 ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
		`DELETE FROM session WHERE id IN (
			SELECT id FROM session WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
	} {
		for {
			tag, err := s.db.Exec(ctx, statement, before, sweepBatch)
			if err != nil {
				return fmt.Errorf("sweep sessions: %w", err)
			}
			if tag.RowsAffected() < sweepBatch {
				break
			}
		}
	}
	return nil
}
