package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/stoa-lms/stoa/internal/pg"
)

// linkPrefix is that of the tokens in links.
const linkPrefix = "stoa_v_"

// linkLifetimes are for how long a link of each purpose is good. The purposes
// are the kinds of the mails that carry them.
var linkLifetimes = map[string]time.Duration{
	mailVerifyEmail:   3 * 24 * time.Hour,
	mailResetPassword: time.Hour,
	mailChangeEmail:   24 * time.Hour,
}

// issueLink returns the token of a new link, good for what it was sent to email
// for. One of the same purpose before is good no more. The account's row has to
// be locked.
func (s *Service) issueLink(ctx context.Context, tx *pg.Tx, accountID, purpose, email string) (string, error) {
	token, err := secretToken(linkPrefix)
	if err != nil {
		return "", err
	}
	key, err := s.vault.KeyIn(ctx, tx, accountID)
	if err != nil {
		return "", err
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO one_time_token (account_id, purpose, token_hash, email_sealed, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (account_id, purpose) DO UPDATE SET token_hash = EXCLUDED.token_hash, email = '', email_sealed = EXCLUDED.email_sealed,
			created_at = EXCLUDED.created_at, expires_at = EXCLUDED.expires_at, used_at = NULL`,
		accountID, purpose, tokenHash(token), key.Seal(linkField(purpose), []byte(email)), s.now(), s.now().Add(linkLifetimes[purpose]))
	if err != nil {
		return "", fmt.Errorf("insert link: %w", err)
	}
	return token, nil
}

// linkAccount returns the account that a good link is of. Nothing is locked.
func (s *Service) linkAccount(ctx context.Context, q pg.Querier, purpose, token string) (string, error) {
	var accountID string
	err := q.QueryRow(ctx, `
		SELECT account_id FROM one_time_token WHERE token_hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3`,
		tokenHash(token), purpose, s.now()).Scan(&accountID)
	if pg.NoRows(err) {
		return "", ErrLinkInvalid
	}
	if err != nil {
		return "", fmt.Errorf("link: %w", err)
	}
	return accountID, nil
}

// useLink uses a link up and returns its account, locked, and the address that
// it was sent to. Of two who use it at once the second is refused: it waits for
// the account's row, and looks at the link again.
func (s *Service) useLink(ctx context.Context, tx *pg.Tx, purpose, token string) (a account, email string, err error) {
	accountID, err := s.linkAccount(ctx, tx, purpose, token)
	if err != nil {
		return account{}, "", err
	}
	if a, err = s.accountByID(ctx, tx, accountID, `FOR NO KEY UPDATE`); err != nil {
		return account{}, "", err
	}
	var sealed []byte
	err = tx.QueryRow(ctx, `
		UPDATE one_time_token SET used_at = $3
		WHERE token_hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3 RETURNING email, email_sealed`,
		tokenHash(token), purpose, s.now()).Scan(&email, &sealed)
	if pg.NoRows(err) {
		return account{}, "", ErrLinkInvalid
	}
	if err != nil {
		return account{}, "", fmt.Errorf("use link: %w", err)
	}
	if email == "" { // a row of before has it plain
		if email, err = s.unseal(ctx, tx, a.ID, linkField(purpose), sealed); err != nil {
			return account{}, "", err
		}
	}
	if email == "" { // its key was erased
		return account{}, "", ErrLinkInvalid
	}
	return a, email, nil
}

// dropLinks ends the links of an account that are not of the given purpose:
// those that somebody else may have asked for.
func dropLinks(ctx context.Context, tx *pg.Tx, accountID, but string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM one_time_token WHERE account_id = $1 AND purpose <> $2`, accountID, but); err != nil {
		return fmt.Errorf("drop links: %w", err)
	}
	return nil
}
