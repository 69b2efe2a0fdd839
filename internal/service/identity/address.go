package identity

import (
	"context"
	"errors"
	"fmt"

	"github.com/stoa-lms/stoa/internal/email"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
)

// emailField names an account's address when it is sealed.
const emailField = "account.email"

// linkField names the address that a link of a purpose was sent to.
func linkField(purpose string) string { return "one_time_token.email " + purpose }

// ofAddress finds the account that has an address: $1 is its index, $2 the
// address as rows of before have it until [Service.sealPlain] has sealed them.
// One whose key was erased has none. Nothing may be locked by it: who waits for
// a row that is sealed meanwhile does not see the key that came with it.
const ofAddress = `(email_index = $1 AND EXISTS (SELECT FROM person_key WHERE person = account.id) OR email = $2)
	ORDER BY email_index IS NULL LIMIT 1`

// emailIndex is by what an address is found.
func (s *Service) emailIndex(address string) []byte { return email.Index(s.keys, Schema.Name, address) }

// unseal returns an address that was sealed for an account, empty for none and
// for one whose key was erased.
func (s *Service) unseal(ctx context.Context, q pg.Querier, accountID, field string, sealed []byte) (string, error) {
	if len(sealed) == 0 {
		return "", nil
	}
	keys, err := s.vault.KeysBy(ctx, q, accountID)
	if err != nil || keys[accountID] == nil {
		return "", err
	}
	plain, err := keys[accountID].Unseal(field, sealed)
	if errors.Is(err, secret.ErrUnreadable) { // the key is one that was made since
		return "", nil
	}
	return string(plain), err
}

// AccountByEmail returns the id of the account with the given address, or
// ErrAccountNotFound.
func AccountByEmail(ctx context.Context, q pg.Querier, keys *secret.Keys, address string) (string, error) {
	address = email.Normal(address)
	var accountID string
	err := q.QueryRow(ctx, `SELECT id FROM account WHERE `+ofAddress, email.Index(keys, Schema.Name, address), address).Scan(&accountID)
	if pg.NoRows(err) {
		return "", ErrAccountNotFound
	}
	if err != nil {
		return "", fmt.Errorf("account by e-mail: %w", err)
	}
	return accountID, nil
}

// withoutAddress is what may be kept of an answer under its idempotency key; the
// address is filled in by addressOf.
func withoutAddress(a account) account {
	a.Email = ""
	return a
}

// addressOf returns the address of an account.
func (s *Service) addressOf(ctx context.Context, accountID string) (string, error) {
	a, err := s.accountByID(ctx, s.db, accountID, ``)
	return a.Email, err
}
