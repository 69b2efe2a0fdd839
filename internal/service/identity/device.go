package identity

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/stoa-lms/stoa/internal/pg"
)

// knownFor is how long a device is known after the last sign-in from it.
const knownFor = 90 * 24 * time.Hour

// network is what stays of a network address when somebody moves within the
// same house: of IPv4 its /24. Of IPv6 the edge gives no more than the /64.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil || !ip.Is4() {
		return address
	}
	return netip.PrefixFrom(ip, 24).Masked().String()
}

// noteDevice remembers from what the account signed in, and tells its holder
// when it is new; of the first there is nothing to tell. The account's row has
// to be locked.
func (s *Service) noteDevice(ctx context.Context, tx *pg.Tx, a account, started session) error {
	hash := s.keys.Index("identity device\n"+a.ID, started.UserAgent+"\n"+network(started.Address))
	var known, all int
	err := tx.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE device_hash = $2), count(*) FROM known_device WHERE account_id = $1 AND seen_at > $3`,
		a.ID, hash, started.CreatedAt.Add(-knownFor)).Scan(&known, &all)
	if err != nil {
		return fmt.Errorf("known devices: %w", err)
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO known_device (account_id, device_hash, seen_at) VALUES ($1, $2, $3)
		ON CONFLICT (account_id, device_hash) DO UPDATE SET seen_at = EXCLUDED.seen_at`, a.ID, hash, started.CreatedAt)
	if err != nil {
		return fmt.Errorf("note device: %w", err)
	}
	if known > 0 || all == 0 {
		return nil
	}
	return s.write(ctx, tx, a, mailNewDevice, a.Email, "", origin{started.Address, started.UserAgent, started.CreatedAt})
}
