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

	"github.com/stoa-lms/stoa/internal/email"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/metadata"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
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
	Address    string // of the network, at the last use
	CreatedAt  time.Time
	ExpiresAt  time.Time
	LastUsedAt time.Time
	// ConfirmedAt is when the account last confirmed who it is: at sign-in, and
	// each time it did so again.
	ConfirmedAt time.Time
}

const sessionColumns = `id, account_id, user_agent, address, created_at, expires_at, last_used_at, confirmed_at`

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
func (s *Service) checkCredentials(ctx context.Context, address, password string) (string, error) {
	var accountID, hash string
	var stale bool
	address = email.Normal(address)
	err := s.guess(ctx, address, func() (ok bool, err error) {
		err = s.db.QueryRow(ctx, `SELECT id, password_hash FROM account WHERE `+ofAddress, s.emailIndex(address), address).Scan(&accountID, &hash)
		if err != nil && !pg.NoRows(err) {
			return false, fmt.Errorf("account by e-mail: %w", err)
		}
		ok, stale, err = s.matches(ctx, password, hash)
		return ok, err
	})
	if err != nil {
		return "", err
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
		ID: id.New("session"), AccountID: accountID, UserAgent: userAgent(ctx), Address: rpc.Address(ctx),
		CreatedAt: now, ExpiresAt: now.Add(sessionLifetime), LastUsedAt: now, ConfirmedAt: now,
	}
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		// Sign-ins of one account take turns, so that each counts the others.
		a, err := s.accountByID(ctx, tx, accountID, `FOR NO KEY UPDATE`)
		if err != nil {
			return err
		}
		if a.SuspendedAt != nil {
			return ErrSuspended
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO session (id, account_id, token_hash, user_agent, address, created_at, expires_at, last_used_at, confirmed_at)
			VALUES ($1, $2, $3, $4, $9, $5, $6, $7, $8)`,
			out.ID, out.AccountID, tokenHash(token), out.UserAgent, out.CreatedAt, out.ExpiresAt, out.LastUsedAt, out.ConfirmedAt, out.Address)
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
		if err := s.noteDevice(ctx, tx, a, out); err != nil {
			return err
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

// endSessions ends the sessions of an account but one.
func (s *Service) endSessions(ctx context.Context, tx *pg.Tx, accountID, but string) error {
	tag, err := tx.Exec(ctx, `UPDATE session SET ended_at = $3 WHERE account_id = $1 AND id <> $2 AND ended_at IS NULL`, accountID, but, s.now())
	if err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	n := tag.RowsAffected()
	if n == 0 {
		return nil
	}
	return audit.Record(ctx, tx, audit.Entry{Action: "sessions.ended", Object: accountID, Person: accountID, After: map[string]any{"sessions": n}})
}

// sessionByID returns a session, whether it has ended or not.
func sessionByID(ctx context.Context, q pg.Querier, sessionID string) (session, error) {
	rows, err := q.Query(ctx, `SELECT `+sessionColumns+` FROM session WHERE id = $1`, sessionID)
	if err != nil {
		return session{}, fmt.Errorf("session: %w", err)
	}
	out, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[session])
	if pg.NoRows(err) {
		return session{}, ErrSessionNotFound
	}
	if err != nil {
		return session{}, fmt.Errorf("session: %w", err)
	}
	return out, nil
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
		s.used.note(out.ID, use{now, rpc.Address(ctx)})
	}
	return out, nil
}

// sweepBatch bounds how many rows one statement of the sweep deletes.
const sweepBatch = 1000

// sweep deletes what is over and need not be remembered. Rows that another
// process sweeps just now are left to it.
func (s *Service) sweep(ctx context.Context) error {
	for _, old := range []struct {
		keep      time.Duration
		statement string
	}{
		{keepEnded, `DELETE FROM session WHERE id IN (
			SELECT id FROM session WHERE ended_at < $1 ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED)`},
		{keepEnded, `DELETE FROM session WHERE id IN (
			SELECT id FROM session WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)`},
		{keepEnded, `DELETE FROM one_time_token WHERE (account_id, purpose) IN (
			SELECT account_id, purpose FROM one_time_token WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)`},
		{knownFor, `DELETE FROM known_device WHERE (account_id, device_hash) IN (
			SELECT account_id, device_hash FROM known_device WHERE seen_at < $1 ORDER BY seen_at LIMIT $2 FOR UPDATE SKIP LOCKED)`},
		{keepTokens, `DELETE FROM access_token WHERE id IN (
			SELECT id FROM access_token WHERE revoked_at < $1 ORDER BY revoked_at LIMIT $2 FOR UPDATE SKIP LOCKED)`},
		{keepTokens, `DELETE FROM access_token WHERE id IN (
			SELECT id FROM access_token WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)`},
	} {
		for {
			tag, err := s.db.Exec(ctx, old.statement, s.now().Add(-old.keep), sweepBatch)
			if err != nil {
				return fmt.Errorf("sweep: %w", err)
			}
			if tag.RowsAffected() < sweepBatch {
				break
			}
		}
	}
	return nil
}
