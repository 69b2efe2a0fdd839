package assessment

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

const whyClaims = "a claim is for ten minutes, and changes nothing that is kept"

// ClaimNext implements [assessmentpb.MarkingServiceServer].
func (h *markingServer) ClaimNext(ctx context.Context, req *assessmentpb.ClaimNextRequest) (*assessmentpb.MarkedAnswer, error) {
	s, who := h.service, auth.From(ctx).Account
	// What is remembered of the call holds no answer.
	claimed, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.MarkedAnswer, error) {
		tx.Exempt(whyClaims)
		if err := s.lockClaims(ctx, tx, req.GetCourseId(), who); err != nil {
			return nil, err
		}
		target, slot, err := s.renew(ctx, tx, req.GetCourseId(), who)
		if err != nil {
			return nil, err
		}
		held := target != ""
		if !held {
			target, slot, err = s.claimNext(ctx, tx, req, who)
		}
		return &assessmentpb.MarkedAnswer{Of: claimOn(target, slot), Held: held}, err
	})
	if err != nil {
		return nil, err
	}
	of := claimed.GetOf()
	var out *assessmentpb.MarkedAnswer
	if of.GetSubmissionId() != "" {
		out, err = s.markedSubmission(ctx, req.GetCourseId(), of.GetSubmissionId())
	} else {
		out, err = h.marked(ctx, req.GetCourseId(), of.GetAttemptId(), of.GetSlot())
	}
	if err != nil {
		return nil, err
	}
	out.Held = claimed.GetHeld()
	return out, nil
}

// lockClaims has the claims of one grader in a course change one after the other.
func (s *Service) lockClaims(ctx context.Context, tx *pg.Tx, course, who string) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('assessment.claims'), hashtext($1 || ' ' || $2))`, course, who); err != nil {
		return fmt.Errorf("lock claims: %w", err)
	}
	return nil
}

// claimOn names what is claimed: an answer, or a submission.
func claimOn(target string, slot int32) *assessmentpb.QueuedAnswer {
	if strings.HasPrefix(target, "submission_") {
		return &assessmentpb.QueuedAnswer{SubmissionId: target}
	}
	return &assessmentpb.QueuedAnswer{AttemptId: target, Slot: slot}
}

// renew returns what a grader holds in a course, for as long again. What has run out
// and was marked since they hold no more, nor what was taken back.
func (s *Service) renew(ctx context.Context, tx *pg.Tx, course, who string) (target string, slot int32, err error) {
	now := s.time()
	for _, gone := range []string{
		`DELETE FROM marking_claim c USING attempt_question q
		WHERE c.course_id = $1 AND c.account_id = $2 AND c.expires_at <= $3 AND q.attempt_id = c.target_id AND q.slot = c.slot AND q.state <> 'needs_marking'`,
		`DELETE FROM marking_claim c USING submission s
		WHERE c.course_id = $1 AND c.account_id = $2 AND s.id = c.target_id AND (s.number = 0 OR c.expires_at <= $3 AND NOT ` + toMarkSQL + `)`,
	} {
		if _, err := tx.Exec(ctx, gone, course, who, now); err != nil {
			return "", 0, fmt.Errorf("end claims: %w", err)
		}
	}
	err = tx.QueryRow(ctx, `UPDATE marking_claim SET expires_at = $3 WHERE course_id = $1 AND account_id = $2 RETURNING target_id, slot`, course, who, now.Add(claimTime)).
		Scan(&target, &slot)
	if err != nil && !pg.NoRows(err) {
		return "", 0, fmt.Errorf("renew claim: %w", err)
	}
	return target, slot, nil
}

// holdOne has a grader hold one thing alone: it refuses another one.
func (s *Service) holdOne(ctx context.Context, tx *pg.Tx, course, who, wanted string, of int32) error {
	target, slot, err := s.renew(ctx, tx, course, who)
	if err == nil && target != "" && (target != wanted || slot != of) {
		err = ErrMarkingUnsaved
	}
	return err
}

// queueOrder is in which order answers are marked.
func queueOrder(order string) string {
	if order == "student" {
		return "q.attempt_id, q.slot"
	}
	return "q.question_id, q.attempt_id, q.slot"
}

// claimNext claims the first answer of the queue that nobody holds, for somebody who
// holds none. Those that others are about to claim it passes over; only where there are
// no others does it wait for them, so that nothing is told to be left falsely.
func (s *Service) claimNext(ctx context.Context, tx *pg.Tx, req *assessmentpb.ClaimNextRequest, who string) (attempt string, slot int32, err error) {
	v, err := s.assignmentAt(ctx, tx, req.GetCourseId(), req.GetItemId())
	if err == nil {
		submission, err := s.claimNextSubmission(ctx, tx, v, req.GetItemId(), who)
		return submission, 0, err
	}
	if !fault.Is(err, fault.NotFound) {
		return "", 0, err
	}
	markers, err := s.markersAt(ctx, tx, req.GetCourseId(), req.GetItemId())
	if err != nil {
		return "", 0, err
	}
	for pass := " SKIP LOCKED"; ; {
		err := tx.QueryRow(ctx, `
			SELECT q.attempt_id, q.slot FROM attempt a JOIN attempt_question q ON q.attempt_id = a.id
			WHERE a.course_id = $1 AND a.item_id = $2 AND NOT a.preview AND a.state IN ('submitted', 'graded') AND q.state = 'needs_marking' AND ($3 = '' OR q.question_id = $3)
				AND NOT EXISTS (SELECT FROM answer_given_marker g WHERE $5 > 1 AND g.attempt_id = q.attempt_id AND g.slot = q.slot AND g.account_id = $6)
				AND (SELECT count(*) FROM marking_claim c WHERE c.target_id = q.attempt_id AND c.slot = q.slot AND c.expires_at > $4)
					+ CASE WHEN $5 > 1 THEN `+answerGivenSQL+` ELSE 0 END < $5
			ORDER BY `+queueOrder(req.GetOrder())+` LIMIT 1 FOR NO KEY UPDATE OF q`+pass,
			req.GetCourseId(), req.GetItemId(), req.GetQuestionId(), s.time(), markers, who).Scan(&attempt, &slot)
		switch {
		case pg.NoRows(err) && pass == "":
			return "", 0, ErrMarkingNothingLeft
		case pg.NoRows(err):
			pass = ""
			continue
		case err != nil:
			return "", 0, fmt.Errorf("next to mark: %w", err)
		}
		// The statement may have begun before somebody claimed it: then this finds it.
		taken, err := s.takeAnswer(ctx, tx, req.GetCourseId(), attempt, slot, markers, who)
		if err != nil || taken {
			return attempt, slot, err
		}
	}
}

// take claims a part of what is to be marked, whose row is locked, and reports whether
// nobody else holds it.
func (s *Service) take(ctx context.Context, tx *pg.Tx, course, target string, slot, part int32, who string) (bool, error) {
	now := s.time()
	tag, err := tx.Exec(ctx, `
		INSERT INTO marking_claim AS c (target_id, slot, part, course_id, account_id, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT ON CONSTRAINT marking_claim_pkey DO UPDATE SET account_id = EXCLUDED.account_id, expires_at = EXCLUDED.expires_at
		WHERE c.expires_at <= $7 OR c.account_id = EXCLUDED.account_id`, target, slot, part, course, who, now.Add(claimTime), now)
	if err != nil {
		return false, fmt.Errorf("claim: %w", err)
	}
	return tag.RowsAffected() == 1, nil
}

// claim is who holds an answer.
type claim struct {
	AccountID string
	ExpiresAt time.Time
}

func (c *claim) message() *assessmentpb.MarkingClaim {
	return &assessmentpb.MarkingClaim{AccountId: c.AccountID, ExpiresAt: timestamppb.New(c.ExpiresAt)}
}

// ClaimAnswer implements [assessmentpb.MarkingServiceServer].
func (h *markingServer) ClaimAnswer(ctx context.Context, req *assessmentpb.ClaimAnswerRequest) (*assessmentpb.MarkingClaim, error) {
	s, who := h.service, auth.From(ctx).Account
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.MarkingClaim, error) {
		tx.Exempt(whyClaims)
		if err := s.lockClaims(ctx, tx, req.GetCourseId(), who); err != nil {
			return nil, err
		}
		a, err := h.ofCourse(ctx, reading(tx), req.GetCourseId(), req.GetAttemptId())
		switch {
		case err != nil:
			return nil, err
		case a.running():
			return nil, ErrAttemptRunning
		}
		var there bool
		if err := tx.QueryRow(ctx, `SELECT true FROM attempt_question WHERE attempt_id = $1 AND slot = $2 FOR NO KEY UPDATE`, a.ID, req.GetSlot()).Scan(&there); err != nil || !a.submitted() {
			if err == nil || pg.NoRows(err) {
				return nil, ErrAnswerNotFound
			}
			return nil, fmt.Errorf("lock answer: %w", err)
		}
		if err := s.holdOne(ctx, tx, req.GetCourseId(), who, a.ID, req.GetSlot()); err != nil {
			return nil, err
		}
		set, err := s.quizNow(ctx, tx, a.QuizID)
		if err != nil {
			return nil, err
		}
		taken, err := s.takeAnswer(ctx, tx, req.GetCourseId(), a.ID, req.GetSlot(), markersOfQuiz(set), who)
		if err != nil {
			return nil, err
		}
		if !taken {
			return nil, ErrMarkingClaimed
		}
		return (&claim{who, s.time().Add(claimTime)}).message(), nil
	})
}

// ReleaseClaim implements [assessmentpb.MarkingServiceServer].
func (h *markingServer) ReleaseClaim(ctx context.Context, req *assessmentpb.ReleaseClaimRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, h.service.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		tx.Exempt(whyClaims)
		_, err := tx.Exec(ctx, `DELETE FROM marking_claim WHERE target_id = $1 AND slot = $2 AND course_id = $3 AND account_id = $4`,
			req.GetAttemptId(), req.GetSlot(), req.GetCourseId(), auth.From(ctx).Account)
		return &emptypb.Empty{}, err
	})
}
