package assessment

import (
	"context"
	"fmt"
	"time"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// SubmitAttempt implements [assessmentpb.AttemptServiceServer]. It needs no row of its
// Idempotency-Key: an attempt is submitted once, and answers the same receipt.
func (h *attemptServer) SubmitAttempt(ctx context.Context, req *assessmentpb.SubmitAttemptRequest) (*assessmentpb.Receipt, error) {
	s, now := h.service, h.service.time()
	if err := s.openSigner(ctx); err != nil {
		return nil, err
	}
	var r *receipt
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("the log of answers is its own record")
		a, err := lockAttempt(ctx, tx, req.GetAttemptId())
		if err == nil {
			err = a.owned(auth.From(ctx).Account)
		}
		switch {
		case err != nil:
			return err
		case a.State == stateAbandoned:
			return ErrAttemptAbandoned
		case a.submitted():
			r, err = s.receiptOf(ctx, tx, a)
			return err
		case a.closed(now):
			if r, err = s.close(ctx, tx, a); err == nil && r == nil {
				// It is noted that it was abandoned, and told when it is asked again.
				return nil
			}
			return err
		case a.PausedAt != nil:
			return ErrAttemptPaused
		}
		if err := s.lockedOut(ctx, tx, a, rpc.ProofOf(ctx)); err != nil {
			return err
		}
		if req.GetClientId() != "" {
			c, _ := a.client(req.GetClientId())
			if lacking := c.lackingUpTo(req.GetLastClientSeq()); len(lacking) > 0 {
				return lackingFault(lacking)
			}
		}
		if err := s.appendFinish(ctx, tx, a, now); err != nil {
			return err
		}
		r, err = s.submit(ctx, tx, a, a.AccountID, now)
		return err
	})
	if err != nil {
		return nil, s.noteRefused(ctx, req.GetAttemptId(), err)
	}
	if r == nil {
		return nil, ErrAttemptAbandoned
	}
	return r.message(), nil
}

// lackingFault tells the ranges that a client has to send before it submits.
func lackingFault(lacking [][2]int64) error {
	e := fault.New(fault.Conflict, "attempt.missing_operations", "Not all that you have answered has come. Send what is missing, then submit.")
	for _, r := range lacking[:min(len(lacking), 20)] {
		e.Fields = append(e.Fields, fault.Field{
			Path: fmt.Sprintf("operations[%d-%d]", r[0], r[1]), Code: "operation.missing", Hint: fmt.Sprintf("Send the operations %d to %d.", r[0], r[1]),
		})
	}
	return e
}

// submit ends an attempt that runs, whose row is locked, and issues its receipt.
func (s *Service) submit(ctx context.Context, tx *pg.Tx, a *attempt, by string, at time.Time) (*receipt, error) {
	a.State, a.SubmittedBy, a.SubmittedAt = stateSubmitted, by, &at
	a.Revision++
	tag, err := tx.Exec(ctx, `
		UPDATE attempt SET state = 'submitted', submitted_at = $2, submitted_by = $3, revision = $4, paused_at = NULL, scored_at = NULL
		WHERE id = $1 AND state = 'in_progress'`, a.ID, at, by, a.Revision)
	if err != nil {
		return nil, fmt.Errorf("submit attempt: %w", err)
	}
	if tag.RowsAffected() != 1 {
		return nil, ErrAttemptOver
	}
	tx.AfterCommit(s.wakeScorer)
	return s.issue(ctx, tx, a)
}

// receiptOf returns the newest receipt of an attempt that is submitted and locked,
// having issued it where the clock has submitted it just now.
func (s *Service) receiptOf(ctx context.Context, tx *pg.Tx, a *attempt) (*receipt, error) {
	r, err := readReceipt(ctx, tx, a.ID)
	if err == nil && !r.SubmittedAt.Equal(*a.SubmittedAt) { // of before it was reopened
		err = ErrReceiptNotFound
	}
	if fault.CodeOf(err) == ErrReceiptNotFound.Code {
		r, err = s.issue(ctx, tx, a)
	}
	return r, err
}

// close does for one attempt whose time is over what the clock does for all: it
// submits it, or abandons it, where the receipt is nil.
func (s *Service) close(ctx context.Context, tx *pg.Tx, a *attempt) (*receipt, error) {
	if _, err := s.closeDue(ctx, tx, *a.ClosesAt, 1, a.ID); err != nil {
		return nil, err
	}
	now, err := readAttempt(ctx, tx, a.ID)
	if err != nil || !now.submitted() {
		return nil, err
	}
	return s.receiptOf(ctx, tx, now)
}

// appendFinish notes in the log that an attempt was submitted otherwise than by an
// operation of a client.
func (s *Service) appendFinish(ctx context.Context, tx *pg.Tx, a *attempt, at time.Time) error {
	a.LastSeq++
	if a.SavedAt != nil && at.Before(*a.SavedAt) {
		at = *a.SavedAt
	}
	_, err := tx.Exec(ctx, `
		WITH finish AS (
			INSERT INTO answer_operation (attempt_id, seq, client_id, client_seq, slot, kind, received_at, verdict)
			VALUES ($1, $2, 'server', $2, 0, 'finish', $3, 'accepted')
		)
		UPDATE attempt SET last_seq = $2 WHERE id = $1`, a.ID, a.LastSeq, at)
	if err != nil {
		return fmt.Errorf("append to the log: %w", err)
	}
	return nil
}

// CloseAttempt implements [assessmentpb.AttemptServiceServer].
func (h *attemptServer) CloseAttempt(ctx context.Context, req *assessmentpb.CloseAttemptRequest) (*assessmentpb.Receipt, error) {
	s, now := h.service, h.service.time()
	if err := s.openSigner(ctx); err != nil {
		return nil, err
	}
	var r *receipt
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		a, err := lockAttempt(ctx, tx, req.GetAttemptId())
		switch {
		case err != nil:
			return err
		case a.CourseID != req.GetCourseId() || a.State == statePrepared:
			return ErrAttemptNotFound
		case !a.running():
			return ErrAttemptOver
		}
		if err := s.appendFinish(ctx, tx, a, now); err != nil {
			return err
		}
		if err := s.notice(ctx, tx, []string{a.ID}, "closed", "", auth.From(ctx).Account); err != nil {
			return err
		}
		a.Revision++
		if r, err = s.submit(ctx, tx, a, auth.From(ctx).Account, now); err != nil {
			return err
		}
		return audit.Record(ctx, tx, audit.Entry{
			Action: "attempt.closed", Object: a.ID, Course: a.CourseID, Person: a.AccountID, Reason: req.GetReason(),
			Before: map[string]any{"state": stateInProgress}, After: map[string]any{"state": a.State, "receipt": r.ID},
		})
	})
	if err != nil {
		return nil, err
	}
	return r.message(), nil
}

// scoreAnew has an attempt that is over, and locked, be scored once more, as more of its log
// counts than did: so many operations that did not. It returns its new receipt.
func (s *Service) scoreAnew(ctx context.Context, tx *pg.Tx, a *attempt, more int) (*receipt, error) {
	a.State = stateSubmitted
	if err := tx.QueryRow(ctx, `
		UPDATE attempt SET state = 'submitted', submitted_at = $2, submitted_by = $3, graded_at = NULL, scored_at = NULL, uncounted = uncounted - $4, revision = revision + 1
		WHERE id = $1 RETURNING revision`, a.ID, a.SubmittedAt, a.SubmittedBy, more).Scan(&a.Revision); err != nil {
		return nil, fmt.Errorf("score anew: %w", err)
	}
	tx.AfterCommit(s.wakeScorer)
	return s.issue(ctx, tx, a)
}

// AcceptLateAnswers implements [assessmentpb.AttemptServiceServer].
func (h *attemptServer) AcceptLateAnswers(ctx context.Context, req *assessmentpb.AcceptLateAnswersRequest) (*assessmentpb.Receipt, error) {
	s := h.service
	if err := s.openSigner(ctx); err != nil {
		return nil, err
	}
	out, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.Receipt, error) {
		a, err := lockAttempt(ctx, tx, req.GetAttemptId())
		switch {
		case err != nil:
			return nil, err
		case a.CourseID != req.GetCourseId() || a.State == statePrepared:
			return nil, ErrAttemptNotFound
		case a.running():
			return nil, ErrAttemptRunning
		}
		if err := acceptable(ctx, tx, a.ID, req.GetSeqs()); err != nil {
			return nil, err
		}
		who := auth.From(ctx).Account
		if _, err := tx.Exec(ctx, `
			INSERT INTO answer_acceptance (attempt_id, seq, account_id, reason, accepted_at)
			SELECT $1, seq, $3, $4, $5 FROM unnest($2::bigint[]) AS seq`, a.ID, req.GetSeqs(), who, req.GetReason(), s.time()); err != nil {
			return nil, fmt.Errorf("accept answers: %w", err)
		}
		// What was abandoned is submitted by this.
		if a.State == stateAbandoned {
			a.SubmittedAt, a.SubmittedBy = a.ClosesAt, who
		}
		before := a.State
		r, err := s.scoreAnew(ctx, tx, a, len(req.GetSeqs()))
		if err != nil {
			return nil, err
		}
		return r.message(), audit.Record(ctx, tx, audit.Entry{
			Action: "answers.accepted", Object: a.ID, Course: a.CourseID, Person: a.AccountID, Reason: req.GetReason(),
			Before: map[string]any{"state": before}, After: map[string]any{"operations": req.GetSeqs(), "receipt": r.ID},
		})
	})
	if err != nil {
		return nil, err
	}
	names, err := s.pseudonyms(ctx, s.db, []string{req.GetAttemptId()})
	if err != nil {
		return nil, err
	}
	if names[req.GetAttemptId()] != "" {
		unnamedReceipt(out)
	}
	return out, nil
}

// acceptable holds operations to be such that staff may have them count.
func acceptable(ctx context.Context, tx *pg.Tx, attempt string, seqs []int64) error {
	var found, free int
	err := tx.QueryRow(ctx, `
		SELECT count(*), count(*) FILTER (WHERE verdict IN ('too_late', 'refused') AND kind <> 'finish' AND NOT EXISTS (
			SELECT FROM answer_acceptance c WHERE c.attempt_id = o.attempt_id AND c.seq = o.seq))
		FROM answer_operation o WHERE attempt_id = $1 AND seq = ANY ($2)`, attempt, seqs).Scan(&found, &free)
	switch {
	case err != nil:
		return fmt.Errorf("read operations: %w", err)
	case found < len(seqs):
		return fault.InvalidField("seqs", "operation.not_found", "The log has no such operation.")
	case free < len(seqs):
		return fault.New(fault.Conflict, "operation.counts", "One of these counts already, or can't count.")
	default:
		return nil
	}
}
