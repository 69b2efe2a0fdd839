package assessment

import (
	"context"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

const (
	statePrepared   = "prepared"
	stateInProgress = "in_progress"
	stateSubmitted  = "submitted"
	stateGraded     = "graded"
	stateAbandoned  = "abandoned"
)

type attempt struct {
	ID          string
	CourseID    string
	ItemID      string
	QuizID      string
	QuizVersion int32
	AccountID   string
	Number      int32
	State       string
	Preview     bool
	SubmittedAt *time.Time
	OpenUntil   *time.Time
	ClosesAt    *time.Time
}

var ErrAttemptNotFound = fault.New(fault.NotFound, "attempt.not_found", "There is no such attempt.")

func (a *attempt) running() bool   { return a.State == stateInProgress }
func (a *attempt) submitted() bool { return a.State == stateSubmitted || a.State == stateGraded }

func (s *Service) Run(ctx context.Context) error {
	s.keepPreparing(ctx)
	return nil
}

func timesOf(q *assessmentpb.QuizSettings) (overtime string, limit *time.Duration, grace time.Duration) {
	overtime = q.GetOvertime()
	if overtime == "" {
		overtime = "submit"
	}
	if q.GetTimeLimitSeconds() > 0 {
		limit = new(time.Duration(q.GetTimeLimitSeconds()) * time.Second)
	}
	if overtime != "submit" {
		grace = time.Duration(q.GetGraceSeconds()) * time.Second
	}
	return overtime, limit, grace
}
