package identity

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// writeUsedAfter is how old a session's last use must be for a new one to be
// written: with the time until Run writes it, less than the five minutes that
// the contract promises.
const writeUsedAfter = 4 * time.Minute

// maxUsed bounds the sessions that wait to be written.
const maxUsed = 10_000

// used is which sessions were used and when, until Run writes it down: so that
// telling whose token it is never waits for a write.
type used struct {
	mu sync.Mutex
	at map[string]use
}

// use is when something was used, and from which network address.
type use struct {
	at      time.Time
	address string
}

func newUsed() *used { return &used{at: map[string]use{}} }

// note keeps the use of a session. Over the bound it is forgotten: the next use
// is noted again.
func (u *used) note(sessionID string, now use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.at[sessionID]; ok || len(u.at) < maxUsed {
		u.at[sessionID] = now
	}
}

// take returns what was noted and forgets it.
func (u *used) take() (ids []string, times []time.Time, addresses []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for sessionID, one := range u.at {
		ids, times, addresses = append(ids, sessionID), append(times, one.at), append(addresses, one.address)
	}
	clear(u.at)
	return ids, times, addresses
}

// writeUsed writes the noted uses. What fails is lost: a session that goes on
// being used is noted again. Rows that another process writes just now are left
// to it.
func (s *Service) writeUsed(ctx context.Context) error {
	ids, times, addresses := s.used.take()
	if len(ids) == 0 {
		return nil
	}
	_, err := s.db.Exec(ctx, `
		WITH used AS (SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[]) AS u (id, at, address)),
		due AS (
			SELECT s.id, used.at, coalesce(nullif(used.address, ''), s.address) AS address FROM session s JOIN used ON used.id = s.id
			WHERE s.last_used_at < used.at FOR UPDATE OF s SKIP LOCKED)
		UPDATE session s SET last_used_at = due.at, address = due.address FROM due WHERE s.id = due.id`, ids, times, addresses)
	if err != nil {
		return fmt.Errorf("write use of sessions: %w", err)
	}
	return nil
}
