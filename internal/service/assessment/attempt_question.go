package assessment

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// questionKey names a version of a question.
type questionKey struct {
	id      string
	version int32
}

// question returns a version of a question, read for a version of the engine.
func (s *Service) question(ctx context.Context, q pg.Querier, key questionKey, engine int) (*question.Question, error) {
	if out, ok := s.questions.GetIfPresent(compiledKey{key, engine}); ok {
		return out, nil
	}
	var body []byte
	if err := q.QueryRow(ctx, `SELECT body FROM question_version WHERE question_id = $1 AND version = $2`, key.id, key.version).Scan(&body); err != nil {
		return nil, fmt.Errorf("read version %d of %s: %w", key.version, key.id, err)
	}
	content := &questionpb.QuestionContent{}
	if err := proto.Unmarshal(body, content); err != nil {
		return nil, fmt.Errorf("read version %d of %s: %w", key.version, key.id, err)
	}
	out, err := question.Compile(content, engine)
	if err != nil {
		return nil, fmt.Errorf("read version %d of %s: %w", key.version, key.id, err)
	}
	s.questions.Set(compiledKey{key, engine}, out)
	return out, nil
}

type compiledKey struct {
	questionKey

	engine int
}

// instance returns a question as it is in an attempt.
func (s *Service) instance(ctx context.Context, q pg.Querier, key questionKey, engine int, seed question.Seed) (*question.Instance, error) {
	of, err := s.question(ctx, q, key, engine)
	if err != nil {
		return nil, err
	}
	return of.Instance(seed)
}

// timesOf returns what a quiz says of time.
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
