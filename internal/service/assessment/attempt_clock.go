package assessment

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

const (
	// inFlight is how long after its end an attempt is left alone, so that what has
	// come in time and waits for its turn is in.
	inFlight = 300 * time.Millisecond
	// clockBeat is how often the clock looks at least: another process may have begun
	// an attempt that ends soon.
	clockBeat = 500 * time.Millisecond
	// clockBatch is how many attempts end in one transaction.
	clockBatch = 2000
)

// expirySQL is when the time of an attempt is over: everybody's usual time, which the
// window may cut short, as much longer as is eased for the account, and what was
// given besides. Breaks stop the clock, but not the window; what was given beyond the
// window and how long staff have held the attempt move both.
var expirySQL = expiryFrom("started_at")

// expiryFrom is [expirySQL] of a start.
func expiryFrom(started string) string {
	return strings.ReplaceAll(`
	CASE WHEN time_limit IS NULL THEN open_until + beyond_time
	ELSE LEAST(
		started_at + LEAST(time_limit, open_until - started_at) * (time_percent / 100.0) + extra_time + paused_time,
		CASE WHEN open_until IS NOT NULL THEN GREATEST(started_at + LEAST(time_limit, open_until - started_at) * (time_percent / 100.0), open_until) + beyond_time END)
	END`, "started_at", started)
}

// expireSQL sets the end of attempts that have begun. It is computed from what was
// fixed at the start and what was given since, so that it is the same whoever does
// it.
var expireSQL = expireBy(expirySQL)

func expireBy(expiry string) string {
	return `expires_at = ` + expiry + `, grace_until = CASE WHEN overtime <> 'submit' AND grace > '0' THEN ` + expiry + ` + grace END`
}

// keepTime ends attempts whose time is over, until ctx ends. What is due is a column:
// any number of processes may do so, and one that starts finds what is left.
func (s *Service) keepTime(ctx context.Context) {
	for ctx.Err() == nil {
		n, err := s.endDue(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "attempts whose time is over could not be ended yet", "error", err.Error())
		}
		if err == nil && n == clockBatch {
			continue
		}
		if n > 0 {
			s.wakeScorer()
		}
		s.wait(ctx, nil, s.untilDue(ctx))
	}
}

// wait waits for a signal or a time.
func (s *Service) wait(ctx context.Context, signal <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-signal:
	case <-t.C:
	}
}

// untilDue returns how long nothing is due, at most a beat.
func (s *Service) untilDue(ctx context.Context) time.Duration {
	var next *time.Time
	if err := s.db.QueryRow(ctx, `SELECT min(closes_at) FROM attempt WHERE state = 'in_progress' AND closes_at IS NOT NULL`).Scan(&next); err != nil || next == nil {
		return clockBeat
	}
	return min(max(next.Add(inFlight).Sub(s.time()), time.Millisecond), clockBeat)
}

// endDue ends what is due, at most one batch, and returns how many.
func (s *Service) endDue(ctx context.Context) (n int, err error) {
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("the log of answers is its own record")
		n, err = s.closeDue(ctx, tx, s.time().Add(-inFlight), clockBatch, "")
		return err
	})
	return n, err
}

// closeDue ends attempts that were to be closed by a time, in one statement: all that
// are due, or the one that is named. It passes over those that somebody holds locked,
// who is about to save something; they are looked at again at once.
func (s *Service) closeDue(ctx context.Context, tx *pg.Tx, by time.Time, limit int, only string) (int, error) {
	tag, err := tx.Exec(ctx, `
		WITH due AS (
			SELECT id FROM attempt WHERE state = 'in_progress' AND closes_at <= $1 AND ($3 = '' OR id = $3)
			ORDER BY closes_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
		), ended AS (
			UPDATE attempt a SET
				state = CASE WHEN overtime = 'abandon' THEN 'abandoned' ELSE 'submitted' END,
				submitted_at = CASE WHEN overtime = 'abandon' THEN NULL ELSE closes_at END,
				submitted_by = 'clock', last_seq = last_seq + 1, revision = revision + 1, scored_at = NULL,
				paused_time = paused_time + coalesce(closes_at - paused_at, '0'), paused_at = NULL
			FROM due WHERE a.id = due.id
			RETURNING a.id, a.last_seq, a.closes_at, a.saved_at
		)
		INSERT INTO answer_operation (attempt_id, seq, client_id, client_seq, slot, kind, received_at, verdict)
		SELECT id, last_seq, 'server', last_seq, 0, 'finish', GREATEST(closes_at, saved_at), 'accepted' FROM ended`, by, limit, only)
	if err != nil {
		return 0, fmt.Errorf("end attempts: %w", err)
	}
	return int(tag.RowsAffected()), nil
}

// extend gives time beyond the window to attempts of an item that are prepared or run:
// to all where none is named. It returns those that it was given.
func (s *Service) extend(ctx context.Context, tx *pg.Tx, course, item string, attempts []string, more time.Duration) ([]string, error) {
	rows, err := tx.Query(ctx, `
		WITH given AS (
			UPDATE attempt SET extra_time = extra_time + $4, beyond_time = beyond_time + $4, revision = revision + 1,
				expires_at = CASE WHEN paused_at IS NULL THEN expires_at ELSE expires_at + $4 END
			WHERE id IN (
				SELECT id FROM attempt WHERE course_id = $1 AND item_id = $2 AND ($3::text[] IS NULL OR id = ANY ($3)) AND state IN ('prepared', 'in_progress')
				ORDER BY id FOR NO KEY UPDATE)
			RETURNING id
		)
		SELECT id FROM given ORDER BY id`, course, item, attempts, more)
	if err != nil {
		return nil, fmt.Errorf("give time: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("give time: %w", err)
	}
	return ids, s.expire(ctx, tx, ids)
}

// expire computes anew when the time of running attempts is over, whose rows are
// locked.
func (s *Service) expire(ctx context.Context, tx *pg.Tx, attempts []string) error {
	_, err := tx.Exec(ctx, `UPDATE attempt SET `+expireSQL+` WHERE id = ANY ($1) AND state = 'in_progress' AND paused_at IS NULL`, attempts)
	if err != nil {
		return fmt.Errorf("compute the end of attempts: %w", err)
	}
	return nil
}

// pause stops the clock of an attempt that runs and is locked. Until it goes on only
// the end of the window ends it.
func (s *Service) pause(ctx context.Context, tx *pg.Tx, a *attempt, by string) error {
	_, err := tx.Exec(ctx, `
		UPDATE attempt SET paused_at = $2, paused_by = $3, left_at_pause = CASE WHEN expires_at IS NOT NULL THEN GREATEST(expires_at - $2, '0') END, revision = revision + 1,
			expires_at = CASE WHEN time_limit IS NULL THEN expires_at WHEN open_until IS NOT NULL THEN GREATEST(expires_at, open_until + beyond_time) END,
			grace_until = NULL
		WHERE id = $1 AND state = 'in_progress' AND paused_at IS NULL`, a.ID, s.time(), by)
	if err != nil {
		return fmt.Errorf("pause attempt: %w", err)
	}
	return nil
}

// resume has the clock of an attempt go on.
func (s *Service) resume(ctx context.Context, tx *pg.Tx, a *attempt) error {
	_, err := tx.Exec(ctx, `
		UPDATE attempt SET paused_time = paused_time + ($2 - paused_at), paused_at = NULL, paused_by = NULL, left_at_pause = NULL, revision = revision + 1
		WHERE id = $1 AND state = 'in_progress' AND paused_at IS NOT NULL`, a.ID, s.time())
	if err != nil {
		return fmt.Errorf("resume attempt: %w", err)
	}
	return s.expire(ctx, tx, []string{a.ID})
}

// notice tells the students of attempts something while they run, at once where they
// are connected.
func (s *Service) notice(ctx context.Context, tx *pg.Tx, attempts []string, kind, text, by string) error {
	_, err := tx.Exec(ctx, `
		WITH told AS (
			UPDATE attempt SET notices = notices + 1, revision = revision + 1
			WHERE id IN (SELECT id FROM attempt WHERE id = ANY ($1) AND state = 'in_progress' ORDER BY id FOR NO KEY UPDATE)
			RETURNING id, notices
		)
		INSERT INTO attempt_notice (attempt_id, number, kind, body, account_id, created_at)
		SELECT id, notices, $2, $3, $4, $5 FROM told`, attempts, kind, text, by, s.time())
	if err != nil {
		return fmt.Errorf("tell students: %w", err)
	}
	return nil
}

// PauseAttempt implements [assessmentpb.AttemptServiceServer].
func (h *attemptServer) PauseAttempt(ctx context.Context, req *assessmentpb.PauseAttemptRequest) (*assessmentpb.Attempt, error) {
	s := h.service
	return h.changeOwn(ctx, req.GetAttemptId(), func(tx *pg.Tx, a *attempt) error {
		switch {
		case !a.Breaks:
			return ErrAttemptNoBreaks
		case a.PausedAt != nil:
			return nil
		}
		return s.pause(ctx, tx, a, a.AccountID)
	})
}

// ResumeAttempt implements [assessmentpb.AttemptServiceServer].
func (h *attemptServer) ResumeAttempt(ctx context.Context, req *assessmentpb.ResumeAttemptRequest) (*assessmentpb.Attempt, error) {
	s := h.service
	return h.changeOwn(ctx, req.GetAttemptId(), func(tx *pg.Tx, a *attempt) error {
		switch {
		case a.PausedAt == nil:
			return nil
		case a.Held || a.PausedBy != a.AccountID:
			return ErrAttemptHeld
		}
		if err := s.elsewhere(ctx, tx, a); err != nil { // or the clock would run, and nothing be shown
			return err
		}
		return s.resume(ctx, tx, a)
	})
}

// changeOwn changes an attempt of the caller that runs, and returns it. What is done
// twice changes nothing the second time.
func (h *attemptServer) changeOwn(ctx context.Context, id string, change func(*pg.Tx, *attempt) error) (*assessmentpb.Attempt, error) {
	s := h.service
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("a student's own break, which their attempt has")
		a, err := lockAttempt(ctx, tx, id)
		if err == nil {
			err = a.owned(auth.From(ctx).Account)
		}
		if err != nil {
			return err
		}
		if !a.running() || a.closed(s.time()) {
			return ErrAttemptOver
		}
		if err := stays(ctx, tx, a); err != nil {
			return err
		}
		if err := s.lockedOut(ctx, tx, a, rpc.ProofOf(ctx)); err != nil {
			return err
		}
		return change(tx, a)
	})
	if err != nil {
		return nil, s.noteRefused(ctx, id, err)
	}
	return h.GetAttempt(ctx, &assessmentpb.GetAttemptRequest{AttemptId: id})
}
