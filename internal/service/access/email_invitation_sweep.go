package access

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
)

// expireInvitations notes which invitations are past their end, and
// sweepInvitations deletes those that ended long ago with their keys, and what
// was counted of addresses. Both take a batch and return how many there were.
func (s *Service) expireInvitations(ctx context.Context, tx *pg.Tx) (int64, error) {
	tag, err := tx.Exec(ctx, `
		UPDATE email_invitation SET state = '`+inviteExpired+`', ended_at = expires_at WHERE id IN (
			SELECT id FROM email_invitation WHERE state = '`+inviteOpen+`' AND seat_id = '' AND expires_at <= $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
		s.now(), dueBatch)
	if err != nil {
		return 0, fmt.Errorf("expire invitations: %w", err)
	}
	return tag.RowsAffected(), nil
}

func (s *Service) sweepInvitations(ctx context.Context, tx *pg.Tx) (int64, error) {
	rows, err := tx.Query(ctx, `
		DELETE FROM email_invitation WHERE id IN (
			SELECT id FROM email_invitation WHERE state <> '`+inviteOpen+`' AND ended_at <= $1 ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED)
		RETURNING id`, s.now().Add(-keepInvites), dueBatch)
	if err != nil {
		return 0, fmt.Errorf("delete invitations: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, fmt.Errorf("delete invitations: %w", err)
	}
	return int64(len(ids)), s.vault.Erase(ctx, tx, ids...)
}

func (s *Service) sweepAddresses(ctx context.Context, tx *pg.Tx) (int64, error) {
	tag, err := tx.Exec(ctx, `
		DELETE FROM invitation_address WHERE email_index IN (
			SELECT email_index FROM invitation_address WHERE until <= $1 ORDER BY until LIMIT $2 FOR UPDATE SKIP LOCKED)`, s.now(), dueBatch)
	if err != nil {
		return 0, fmt.Errorf("forget mails: %w", err)
	}
	return tag.RowsAffected(), nil
}
