package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
)

const (
	senders = 4 // that a process runs beside one another
	// lease is how long who claims a mail has it alone. It is well over what
	// sending may take: only a crash leaves a mail to another.
	lease = 5 * time.Minute
	// pollEvery is how often the queue is looked into when nothing wakes.
	pollEvery = 5 * time.Second
	// A mail is tried again after firstPause, then twice as long each time up to
	// longestPause, and given up after giveUpAfter.
	firstPause   = 30 * time.Second
	longestPause = time.Hour
	giveUpAfter  = 48 * time.Hour
	maxReply     = 500 // characters
)

// wakeSender has a mail looked for at once.
func (s *Service) wakeSender() {
	select {
	case s.wake <- struct{}{}:
	default: // all will look anyway
	}
}

// sendAll sends what is queued until ctx ends. Any number of processes may.
func (s *Service) sendAll(ctx context.Context) {
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			tick := time.NewTicker(pollEvery)
			defer tick.Stop()
			for ctx.Err() == nil {
				found, err := s.sendNext(ctx)
				if err != nil && ctx.Err() == nil && !pg.Away(err) {
					s.log.ErrorContext(ctx, "notify: send mail", "error", err.Error())
				}
				if found && err == nil {
					continue
				}
				select {
				case <-s.wake:
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	wg.Wait()
}

// claim is a mail that this process alone may send for a while.
type claim struct {
	ID        string
	AccountID string
	Letter    []byte
	Attempts  int
	CreatedAt time.Time
}

// sendNext sends the mail that has waited longest, and reports whether there was
// one. The mail is claimed first and sent outside of any transaction; what came
// of it is noted after. A crash between sending and noting sends it twice, with
// the same Message-ID.
func (s *Service) sendNext(ctx context.Context) (bool, error) {
	now := s.now()
	rows, err := s.db.Query(ctx, `
		UPDATE mail SET next_at = $2, attempts = attempts + 1 WHERE id = (
			SELECT id FROM mail WHERE state = 'queued' AND next_at <= $1 ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING id, account_id, letter, attempts, created_at`, now, now.Add(lease))
	if err != nil {
		return false, fmt.Errorf("claim mail: %w", err)
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[claim])
	if pg.NoRows(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("claim mail: %w", err)
	}
	keys, err := s.vault.KeysOf(ctx, c.AccountID)
	if err != nil {
		return true, err
	}
	l, err := open(keys[c.AccountID], c.ID, c.Letter)
	if errors.Is(err, secret.ErrUnreadable) {
		// Its person was erased, or the row was tampered with: nobody can send it.
		return true, s.note(ctx, c, failed, nil, "can't be unsealed")
	}
	if err != nil {
		return true, err
	}
	// What was begun is ended: the bounds are those of the mailer.
	err = s.mailer.send(context.WithoutCancel(ctx), c.ID, c.CreatedAt, l)
	state, next := outcome(err, c, s.now())
	reply := ""
	if err != nil {
		reply = withoutAddress(err.Error(), l.To)
		s.log.WarnContext(ctx, "notify: a mail was not taken", "mail", c.ID, "state", state, "attempts", c.Attempts, "reply", reply)
	}
	return true, s.note(context.WithoutCancel(ctx), c, state, next, reply)
}

// outcome is what becomes of a mail after a try.
func outcome(err error, c claim, now time.Time) (string, *time.Time) {
	if err == nil {
		return sent, nil
	}
	if r, ok := errors.AsType[*refusal](err); ok && r.permanent() {
		return failed, nil
	}
	if now.Sub(c.CreatedAt) > giveUpAfter && c.Attempts > 1 {
		return failed, nil
	}
	next := now.Add(pause(c.Attempts))
	return queued, &next
}

// pause is how long to wait after the given number of tries.
func pause(attempts int) time.Duration {
	return min(firstPause<<min(max(attempts-1, 0), 20), longestPause)
}

// note writes down what came of a try, until its lease ends: what was sent must
// not be sent again because the database was away for a moment. A mail that is
// sent loses what is personal in it.
func (s *Service) note(ctx context.Context, c claim, state string, next *time.Time, reply string) error {
	ctx, cancel := context.WithTimeout(ctx, lease/2)
	defer cancel()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		_, err := s.db.Exec(ctx, `
			UPDATE mail SET state = $3, next_at = $4, reply = $5,
				ended_at = CASE WHEN $3 = 'queued' THEN NULL ELSE $6::timestamptz END,
				letter = CASE WHEN $3 = 'sent' THEN NULL ELSE letter END
			WHERE id = $1 AND attempts = $2 AND state = 'queued'`, c.ID, c.Attempts, state, next, reply, s.now())
		if err == nil || !pg.Away(err) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("note what came of mail %s: %w", c.ID, err)
		}
	}
}

// withoutAddress returns what a server said, bounded and without the address of
// whom the mail was to, which is personal.
func withoutAddress(reply, address string) string {
	lower, hide := strings.ToLower(reply), strings.ToLower(address)
	if len(lower) == len(reply) && hide != "" {
		var b strings.Builder
		for {
			i := strings.Index(lower, hide)
			if i < 0 {
				break
			}
			b.WriteString(reply[:i] + "[address]")
			reply, lower = reply[i+len(hide):], lower[i+len(hide):]
		}
		reply = b.String() + reply
	} else {
		reply = strings.ReplaceAll(reply, address, "[address]")
	}
	reply = strings.Join(strings.Fields(strings.ToValidUTF8(strings.ReplaceAll(reply, "\x00", ""), "")), " ")
	if letters := []rune(reply); len(letters) > maxReply {
		reply = string(letters[:maxReply])
	}
	return reply
}
