package identity

import (
	"cmp"
	"context"
	"crypto/subtle"
	"fmt"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

const (
	totpPeriod = 30 // seconds
	totpSkew   = 1  // steps that a clock may be off

	// Wrong codes of one app, over all sign-ins and sessions: who has the password
	// and guesses for a year, at three codes that are good in a million, is right
	// with a chance of one in 45, and is in the audit log 7,000 times.
	maxWrongCodes = 20
	wrongCodesFor = 24 * time.Hour
)

// secretField is what an app's secret is sealed for.
func secretField(factorID string) string { return "factor.secret " + factorID }

// CreateTotpFactor implements identitypb.FactorServiceServer.
func (s *Service) CreateTotpFactor(ctx context.Context, req *identitypb.CreateTotpFactorRequest) (*identitypb.TotpEnrollment, error) {
	name, err := newFactorName(req.GetName(), "Authenticator")
	if err != nil {
		return nil, err
	}
	account := auth.From(ctx).Account
	f := factor{ID: id.New("factor"), Kind: kindTOTP, Name: name, CreatedAt: s.now()}
	var key *otp.Key
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		a, err := s.accountByID(ctx, tx, account, `FOR NO KEY UPDATE`)
		if err != nil {
			return err
		}
		if err := checkVerified(ctx, tx, account); err != nil {
			return err
		}
		key, err = totp.Generate(totp.GenerateOpts{Issuer: "Stoa", AccountName: cmp.Or(a.Email, a.ID), Period: totpPeriod, Digits: otp.DigitsSix})
		if err != nil {
			return fmt.Errorf("totp: %w", err)
		}
		sealing, err := s.vault.KeyIn(ctx, tx, account)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM factor WHERE account_id = $1 AND kind = 'totp' AND confirmed_at IS NULL`, account); err != nil {
			return fmt.Errorf("delete factor that waits: %w", err)
		}
		_, err = tx.Exec(ctx, `INSERT INTO factor (id, account_id, kind, name, created_at, secret) VALUES ($1, $2, $3, $4, $5, $6)`,
			f.ID, account, f.Kind, f.Name, f.CreatedAt, sealing.Seal(secretField(f.ID), []byte(key.Secret())))
		if pg.Violates(err, "factor_totp") {
			return ErrTOTPExists
		}
		if err != nil {
			return fmt.Errorf("insert factor: %w", err)
		}
		return audit.Record(ctx, tx, audit.Entry{
			Action: "factor.created", Object: f.ID, Person: account, After: map[string]any{"kind": f.Kind},
		})
	})
	if err != nil {
		return nil, err
	}
	return &identitypb.TotpEnrollment{Factor: f.message(), Secret: key.Secret(), Uri: key.URL()}, nil
}

// ConfirmFactor implements identitypb.FactorServiceServer.
func (s *Service) ConfirmFactor(ctx context.Context, req *identitypb.ConfirmFactorRequest) (*identitypb.ConfirmedFactor, error) {
	account := auth.From(ctx).Account
	var out *identitypb.ConfirmedFactor
	err := s.attempt(ctx, func(tx *pg.Tx) error {
		if _, err := lockAccount(ctx, tx, account); err != nil {
			return err
		}
		app, err := totpOf(ctx, tx, account)
		if err != nil {
			return err
		}
		if app.ID != req.GetFactorId() {
			return ErrFactorNotFound
		}
		if app.Confirmed {
			return ErrFactorConfirmed
		}
		if err := s.takeCode(ctx, tx, account, app, req.GetCode()); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE factor SET confirmed_at = $2 WHERE id = $1`, app.ID, s.now()); err != nil {
			return fmt.Errorf("confirm factor: %w", err)
		}
		out, err = s.confirmed(ctx, tx, account, app.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// app is what shows codes.
type app struct {
	ID         string
	Secret     []byte // sealed
	LastStep   int64
	Wrong      int
	WrongSince time.Time
	Confirmed  bool
}

// totpOf returns the app of an account and locks it, so that codes are taken one
// after the other; one without an id where there is none.
func totpOf(ctx context.Context, tx *pg.Tx, accountID string) (app, error) {
	var a app
	err := tx.QueryRow(ctx, `
		SELECT id, secret, last_step, wrong, wrong_since, confirmed_at IS NOT NULL FROM factor
		WHERE account_id = $1 AND kind = 'totp' FOR UPDATE`, accountID).
		Scan(&a.ID, &a.Secret, &a.LastStep, &a.Wrong, &a.WrongSince, &a.Confirmed)
	if err != nil && !pg.NoRows(err) {
		return app{}, fmt.Errorf("totp factor: %w", err)
	}
	return a, nil
}

// checkCode takes a code of the account's confirmed app.
func (s *Service) checkCode(ctx context.Context, tx *pg.Tx, accountID, code string) error {
	a, err := totpOf(ctx, tx, accountID)
	if err != nil {
		return err
	}
	if !a.Confirmed {
		return s.refuse(ctx, tx, accountID, accountID, ErrCodeWrong)
	}
	return s.takeCode(ctx, tx, accountID, a, code)
}

// takeCode takes a code that the app shows now, showed a step before or will
// show a step later, and no code of a step that one was taken of, or of an
// earlier one.
func (s *Service) takeCode(ctx context.Context, tx *pg.Tx, accountID string, a app, code string) error {
	now := s.now()
	if now.Sub(a.WrongSince) >= wrongCodesFor {
		a.Wrong, a.WrongSince = 0, now
	}
	if a.Wrong >= maxWrongCodes {
		return &fault.Error{
			Kind: fault.Exhausted, Code: "factor.tries", Retry: wrongCodesFor - now.Sub(a.WrongSince),
			Message: "Too many wrong codes. Use a passkey or a recovery code, or come back when Retry-After says.",
		}
	}
	sealing, err := s.vault.KeyIn(ctx, tx, accountID)
	if err != nil {
		return err
	}
	secret, err := sealing.Unseal(secretField(a.ID), a.Secret)
	if err != nil {
		return fmt.Errorf("secret of %s: %w", a.ID, err)
	}
	step, err := matching(string(secret), code, now)
	if err != nil {
		return err
	}
	if step > a.LastStep {
		_, err := tx.Exec(ctx, `UPDATE factor SET last_step = $2, last_used_at = $3, wrong = 0 WHERE id = $1`, a.ID, step, now)
		if err != nil {
			return fmt.Errorf("take code: %w", err)
		}
		return nil
	}
	_, err = tx.Exec(ctx, `UPDATE factor SET wrong = $2, wrong_since = $3 WHERE id = $1`, a.ID, a.Wrong+1, a.WrongSince)
	if err != nil {
		return fmt.Errorf("count wrong code: %w", err)
	}
	return s.refuse(ctx, tx, accountID, a.ID, ErrCodeWrong)
}

// matching returns the newest time step whose code it is, -1 for none.
func matching(secret, code string, now time.Time) (int64, error) {
	current, found := now.Unix()/totpPeriod, int64(-1)
	for step := current - totpSkew; step <= current+totpSkew; step++ {
		want, err := hotp.GenerateCode(secret, uint64(step)) //nolint:gosec // no step is negative after 1970
		if err != nil {
			return 0, fmt.Errorf("totp: %w", err)
		}
		if subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			found = step
		}
	}
	return found, nil
}

// refuse records a try that failed, which stays recorded.
func (s *Service) refuse(ctx context.Context, tx *pg.Tx, accountID, object string, told error) error {
	if err := audit.Record(ctx, tx, audit.Entry{Action: "factor.refused", Object: object, Person: accountID}); err != nil {
		return err
	}
	return refused(told)
}
