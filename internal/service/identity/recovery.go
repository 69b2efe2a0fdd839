package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

const (
	recoveryCodes  = 10
	recoveryLength = 20 // letters of base32: 100 bits, which need no slow hash
	recoveryGroup  = 5
)

// newRecoveryCode returns a code as it is shown: ABCDE-FGHIJ-KLMNO-PQRST.
func newRecoveryCode() string {
	text := rand.Text()[:recoveryLength]
	groups := make([]string, 0, recoveryLength/recoveryGroup)
	for ; text != ""; text = text[recoveryGroup:] {
		groups = append(groups, text[:recoveryGroup])
	}
	return strings.Join(groups, "-")
}

// recoveryHash returns what is kept of a code, however it was typed.
func recoveryHash(code string) []byte {
	sum := sha256.Sum256([]byte(strings.ToUpper(strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, code))))
	return sum[:]
}

// replaceRecoveryCodes gives an account new codes.
func replaceRecoveryCodes(ctx context.Context, tx *pg.Tx, accountID string) ([]string, error) {
	codes, hashes := make([]string, recoveryCodes), make([][]byte, recoveryCodes)
	for i := range codes {
		codes[i] = newRecoveryCode()
		hashes[i] = recoveryHash(codes[i])
	}
	if _, err := tx.Exec(ctx, `DELETE FROM recovery_code WHERE account_id = $1`, accountID); err != nil {
		return nil, fmt.Errorf("delete recovery codes: %w", err)
	}
	_, err := tx.Exec(ctx, `INSERT INTO recovery_code (account_id, code_hash) SELECT $1, unnest($2::bytea[])`, accountID, hashes)
	if err != nil {
		return nil, fmt.Errorf("insert recovery codes: %w", err)
	}
	return codes, nil
}

// CreateRecoveryCodes implements identitypb.FactorServiceServer.
func (s *Service) CreateRecoveryCodes(ctx context.Context, _ *identitypb.CreateRecoveryCodesRequest) (*identitypb.RecoveryCodes, error) {
	account := auth.From(ctx).Account
	out := &identitypb.RecoveryCodes{}
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		if _, err := lockAccount(ctx, tx, account); err != nil {
			return err
		}
		kinds, err := factorKinds(ctx, tx, account)
		if err != nil {
			return err
		}
		if len(kinds) == 0 {
			return ErrNoFactor
		}
		if out.Codes, err = replaceRecoveryCodes(ctx, tx, account); err != nil {
			return err
		}
		return audit.Record(ctx, tx, audit.Entry{Action: "recovery_codes.replaced", Object: account, Person: account})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// useRecoveryCode takes a code that was not taken yet.
func (s *Service) useRecoveryCode(ctx context.Context, tx *pg.Tx, accountID, code string) error {
	tag, err := tx.Exec(ctx, `UPDATE recovery_code SET used_at = $3 WHERE account_id = $1 AND code_hash = $2 AND used_at IS NULL`,
		accountID, recoveryHash(code), s.now())
	if err != nil {
		return fmt.Errorf("use recovery code: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return s.refuse(ctx, tx, accountID, accountID, ErrCodeWrong)
	}
	return audit.Record(ctx, tx, audit.Entry{Action: "recovery_code.used", Object: accountID, Person: accountID})
}
