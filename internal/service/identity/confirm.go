package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// Tries of one session to confirm who uses it, until one succeeds.
const (
	maxTries = 10
	triesFor = 10 * time.Minute
)

// Confirm implements identitypb.FactorServiceServer.
func (s *Service) Confirm(ctx context.Context, req *identitypb.ConfirmRequest) (*identitypb.Session, error) {
	caller := auth.From(ctx)
	if err := s.countTry(ctx, caller.Session); err != nil {
		return nil, err
	}
	byPassword := req.GetPassword() != ""
	if byPassword {
		if err := s.confirmPassword(ctx, caller, req.GetPassword()); err != nil {
			return nil, err
		}
	}
	var token string
	err := s.attempt(ctx, func(tx *pg.Tx) error {
		if _, err := lockAccount(ctx, tx, caller.Account); err != nil {
			return err
		}
		if byPassword {
			// Asked where no factor can be added meanwhile.
			if err := s.passwordConfirms(ctx, tx, caller.Account); err != nil {
				return err
			}
		} else {
			given := proof{code: req.GetCode(), recoveryCode: req.GetRecoveryCode(), passkey: req.GetPasskey()}
			if err := s.check(ctx, tx, caller.Account, given, ceremonyConfirmation, caller.Session); err != nil {
				return err
			}
		}
		var err error
		if token, err = s.rotate(ctx, tx, caller.Session); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE session SET confirmed_at = $2, tries = 0 WHERE id = $1`, caller.Session, s.now())
		if err != nil {
			return fmt.Errorf("confirm session: %w", err)
		}
		return audit.Record(ctx, tx, audit.Entry{Action: "session.confirmed", Object: caller.Session, Person: caller.Account})
	})
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `SELECT `+sessionColumns+` FROM session WHERE id = $1`, caller.Session)
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	confirmed, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[session])
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	out := toSession(confirmed, caller.Session)
	out.Token = token
	return out, nil
}

// countTry counts a try before it is made, so that many at a time are not more
// than are allowed.
func (s *Service) countTry(ctx context.Context, sessionID string) error {
	now := s.now()
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a count of tries; what comes of each is recorded")
		tag, err := tx.Exec(ctx, `
			UPDATE session SET
				tries = CASE WHEN tries_since > $2 THEN tries + 1 ELSE 1 END,
				tries_since = CASE WHEN tries_since > $2 THEN tries_since ELSE $3 END
			WHERE id = $1 AND NOT (tries_since > $2 AND tries >= $4)`,
			sessionID, now.Add(-triesFor), now, maxTries)
		if err != nil {
			return fmt.Errorf("count try: %w", err)
		}
		if tag.RowsAffected() == 1 {
			return nil
		}
		var since time.Time
		err = tx.QueryRow(ctx, `SELECT tries_since FROM session WHERE id = $1`, sessionID).Scan(&since)
		if pg.NoRows(err) {
			return auth.ErrBadToken
		}
		if err != nil {
			return fmt.Errorf("tries: %w", err)
		}
		return &fault.Error{
			Kind: fault.Exhausted, Code: "confirmation.tries", Retry: triesFor - now.Sub(since),
			Message: "Too many tries. Come back when Retry-After says.",
		}
	})
}

// confirmPassword checks a password outside of any transaction: it takes long.
func (s *Service) confirmPassword(ctx context.Context, caller auth.Principal, password string) error {
	if err := s.passwordConfirms(ctx, s.db, caller.Account); err != nil {
		return err
	}
	var hash string
	if err := s.db.QueryRow(ctx, `SELECT password_hash FROM account WHERE id = $1`, caller.Account).Scan(&hash); err != nil {
		return fmt.Errorf("password of account: %w", err)
	}
	ok, _, err := s.hasher.verify(ctx, password, hash)
	if err != nil || ok {
		return err
	}
	return s.attempt(ctx, func(tx *pg.Tx) error {
		err := audit.Record(ctx, tx, audit.Entry{Action: "session.confirmation_refused", Object: caller.Session, Person: caller.Account})
		if err != nil {
			return err
		}
		return refused(ErrConfirmationRefused)
	})
}

// passwordConfirms refuses a password where a second factor is to be shown.
func (s *Service) passwordConfirms(ctx context.Context, q pg.Querier, accountID string) error {
	kinds, err := factorKinds(ctx, q, accountID)
	if err != nil {
		return err
	}
	if len(kinds) > 0 {
		return ErrFactorRequired
	}
	return nil
}
