package identity

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

const (
	challengeLifetime = 5 * time.Minute
	maxChallengeWrong = 5
)

// signIn returns a new session of an account that has shown the first of what it
// takes, or the challenge to show the second.
func (s *Service) signIn(ctx context.Context, accountID string) (*identitypb.Session, error) {
	kinds, err := factorKinds(ctx, s.db, accountID)
	if err != nil {
		return nil, err
	}
	if len(kinds) == 0 {
		return s.openSession(ctx, accountID)
	}
	token := rand.Text()
	challengeID, expires := id.New("challenge"), s.now().Add(challengeLifetime)
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO challenge (id, token_hash, account_id, expires_at) VALUES ($1, $2, $3, $4)`,
			challengeID, tokenHash(token), accountID, expires)
		if err != nil {
			return fmt.Errorf("insert challenge: %w", err)
		}
		return audit.Record(ctx, tx, audit.Entry{Action: "session.challenged", Object: challengeID, Person: accountID})
	})
	if err != nil {
		return nil, err
	}
	return &identitypb.Session{Challenge: &identitypb.SignInChallenge{
		Token: token, Factors: kinds, ExpiresAt: timestamppb.New(expires),
	}}, nil
}

// openSession returns a new session with its token.
func (s *Service) openSession(ctx context.Context, accountID string) (*identitypb.Session, error) {
	started, token, err := s.startSession(ctx, accountID)
	if err != nil {
		return nil, err
	}
	out := toSession(started, auth.From(ctx).Session)
	out.Token = token
	return out, nil
}

// challenge is a sign-in that waits for the second factor.
type challenge struct{ ID, AccountID string }

// challengeByToken returns a challenge that can still be met; lock is what
// follows the statement.
func (s *Service) challengeByToken(ctx context.Context, q pg.Querier, token, lock string) (challenge, error) {
	var c challenge
	err := q.QueryRow(ctx, `SELECT id, account_id FROM challenge WHERE token_hash = $1 AND expires_at > $2 AND wrong < $3 `+lock,
		tokenHash(token), s.now(), maxChallengeWrong).Scan(&c.ID, &c.AccountID)
	if pg.NoRows(err) {
		return challenge{}, ErrChallengeOver
	}
	if err != nil {
		return challenge{}, fmt.Errorf("challenge: %w", err)
	}
	return c, nil
}

// CompleteSession implements identitypb.FactorServiceServer.
func (s *Service) CompleteSession(ctx context.Context, req *identitypb.CompleteSessionRequest) (*identitypb.Session, error) {
	var account string
	err := s.attempt(ctx, func(tx *pg.Tx) error {
		c, err := s.challengeByToken(ctx, tx, req.GetChallengeToken(), `FOR UPDATE`)
		if err != nil {
			return err
		}
		account = c.AccountID
		given := proof{code: req.GetCode(), recoveryCode: req.GetRecoveryCode(), passkey: req.GetPasskey()}
		err = s.check(ctx, tx, c.AccountID, given, ceremonyChallenge, c.ID)
		if isRefusal(err) {
			if _, err := tx.Exec(ctx, `UPDATE challenge SET wrong = wrong + 1 WHERE id = $1`, c.ID); err != nil {
				return fmt.Errorf("count wrong factor: %w", err)
			}
		}
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM challenge WHERE id = $1`, c.ID); err != nil {
			return fmt.Errorf("end challenge: %w", err)
		}
		return audit.Record(ctx, tx, audit.Entry{Action: "challenge.met", Object: c.ID, Person: c.AccountID})
	})
	if err != nil {
		return nil, err
	}
	return s.openSession(ctx, account)
}

// proof is a second factor as it was shown: one of these.
type proof struct {
	code, recoveryCode string
	passkey            *identitypb.PasskeyAnswer
}

// check takes a second factor of an account, which a passkey was asked for with
// a ceremony of the purpose for the session or the challenge.
func (s *Service) check(ctx context.Context, tx *pg.Tx, accountID string, p proof, purpose, boundTo string) error {
	switch {
	case p.code != "":
		return s.checkCode(ctx, tx, accountID, p.code)
	case p.recoveryCode != "":
		return s.useRecoveryCode(ctx, tx, accountID, p.recoveryCode)
	default:
		return s.checkPasskey(ctx, tx, accountID, p.passkey, purpose, boundTo)
	}
}

// sweepPending deletes what waited for somebody in vain. Rows that another
// process sweeps just now are left to it.
func (s *Service) sweepPending(ctx context.Context) error {
	for _, statement := range []string{
		`DELETE FROM challenge WHERE id IN (SELECT id FROM challenge WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
		`DELETE FROM ceremony WHERE id IN (SELECT id FROM ceremony WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
		`DELETE FROM sign_in_flow WHERE state_hash IN (
			SELECT state_hash FROM sign_in_flow WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
	} {
		for {
			tag, err := s.db.Exec(ctx, statement, s.now(), sweepBatch)
			if err != nil {
				return fmt.Errorf("sweep sign-ins that wait: %w", err)
			}
			if tag.RowsAffected() < sweepBatch {
				break
			}
		}
	}
	return nil
}
