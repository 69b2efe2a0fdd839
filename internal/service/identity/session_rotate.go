package identity

import (
	"context"
	"fmt"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/pg"
)

// rotate gives a live session a new token, so that one that was seen before it
// was allowed more opens nothing.
func (s *Service) rotate(ctx context.Context, tx *pg.Tx, sessionID string) (token string, err error) {
	if token, err = newToken(); err != nil {
		return "", err
	}
	now := s.now()
	tag, err := tx.Exec(ctx, `UPDATE session SET token_hash = $4 WHERE id = $3 AND `+live,
		now, now.Add(-sessionIdle), sessionID, tokenHash(token))
	if err != nil {
		return "", fmt.Errorf("rotate session: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return "", auth.ErrBadToken
	}
	return token, nil
}
