package identity

import (
	"context"
	"fmt"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// avatarURL is where media serves a picture; empty for none.
func avatarURL(avatarID string) string {
	if avatarID == "" {
		return ""
	}
	return "/v1/avatars/" + avatarID
}

// avatarChanged shows in the profile which picture media keeps of it, and says so
// as of any change of a profile. Media has recorded it.
func (s *Service) avatarChanged(ctx context.Context, tx *pg.Tx, event *mediapb.AvatarChanged) error {
	a, err := s.accountByID(ctx, tx, event.GetAccountId(), `FOR NO KEY UPDATE`)
	if fault.Is(err, fault.NotFound) {
		return nil // deleted: who uploads has an account
	}
	if err != nil {
		return err
	}
	if event.GetVersion() <= a.AvatarVersion {
		return nil
	}
	a.AvatarID, a.AvatarVersion = event.GetAvatarId(), event.GetVersion()
	a.Revision++
	_, err = tx.Exec(ctx, `UPDATE account SET avatar_id = $2, avatar_version = $3, revision = $4, updated_at = $5 WHERE id = $1`,
		a.ID, a.AvatarID, a.AvatarVersion, a.Revision, s.now())
	if err != nil {
		return fmt.Errorf("avatar: %w", err)
	}
	if a.Kind != kindPerson { // others keep people only
		return nil
	}
	return bus.Publish(ctx, tx, s.updated(a))
}
