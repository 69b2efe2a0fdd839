package assessment

import (
	"context"
	"fmt"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// AcceptAnswers implements [assessmentpb.RekeyServiceServer].
func (h *rekeyServer) AcceptAnswers(ctx context.Context, req *assessmentpb.AcceptAnswersRequest) (*assessmentpb.AcceptAnswersResponse, error) {
	s := h.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.AcceptAnswersResponse, error) {
		q, err := readQuestion(ctx, tx, req.GetCourseId(), req.GetQuestionId(), req.GetVersion(), true)
		if err != nil {
			return nil, err
		}
		content, err := q.content()
		if err != nil {
			return nil, err
		}
		if content, err = acceptAll(content, req.GetAnswers()); err != nil {
			return nil, err
		}
		w, err := write("answers", content, nil)
		if err != nil {
			return nil, err
		}
		before, now := q.state(), s.time()
		if err := newVersion(ctx, tx, &q, w, now); err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `UPDATE question SET updated_at = $2, revision = revision + 1 WHERE id = $1`, q.ID, now); err != nil {
			return nil, fmt.Errorf("update question: %w", err)
		}
		return &assessmentpb.AcceptAnswersResponse{Version: q.Version},
			audit.Record(ctx, tx, audit.Entry{Action: "question.updated", Object: q.ID, Course: q.CourseID, Before: before, After: q.state()})
	})
}

// acceptAll adds answers to the key of a question.
func acceptAll(content *questionpb.QuestionContent, answers []*assessmentpb.AcceptedAnswer) (*questionpb.QuestionContent, error) {
	for i, a := range answers {
		path := fmt.Sprintf("answers[%d]", i)
		fraction := exact.Int(1)
		if a.GetFraction() != "" {
			var err error
			if fraction, err = exact.Parse(a.GetFraction()); err != nil || fraction.Sign() <= 0 || fraction.Cmp(exact.Int(1)) > 0 {
				return nil, fault.InvalidField(path+".fraction", "accept.fraction", "It is above 0, at most 1.")
			}
		}
		var err error
		if content, err = question.Accept(content, a.GetAnswer(), fraction); err != nil {
			return nil, below(path+".answer", err)
		}
	}
	return content, nil
}
