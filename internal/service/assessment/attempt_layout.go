package assessment

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
)

// layout is how the questions of an attempt stand, which is fixed when it is
// prepared: it is kept in a cache.
type layout struct {
	version *quizVersion
	slots   []slotLayout // by their number, from 1
	pages   int32
}

// slotLayout is a question in an attempt.
type slotLayout struct {
	Slot            int32
	Section         int32
	Page            int32
	QuestionID      string
	QuestionVersion int32
	Kind            string
	Behaviour       string
	Seed            int64
	MaxPoints       string
}

func (l *layout) sequential() bool { return l.version.Settings.GetNavigation() == "sequential" }

// slot returns a question, nil where there is none.
func (l *layout) slot(n int32) *slotLayout {
	if n < 1 || int(n) > len(l.slots) {
		return nil
	}
	return &l.slots[n-1]
}

// shown names what is shown of it.
func (sl *slotLayout) shown() questionKey { return questionKey{sl.QuestionID, sl.QuestionVersion} }

// seed is what is random in it comes from.
func (sl *slotLayout) seed() question.Seed {
	return question.Seed{Attempt: sl.Seed, Slot: int(sl.Slot)}
}

// steps reports whether a question is checked while the attempt runs, so that what is
// taken depends on what was done.
func (sl *slotLayout) steps() bool {
	return sl.Behaviour == "immediate" || sl.Behaviour == "interactive"
}

// layoutOf returns the layout of an attempt that has begun.
func (s *Service) layoutOf(ctx context.Context, q pg.Querier, a *attempt) (*layout, error) {
	if l, ok := s.layouts.GetIfPresent(a.ID); ok {
		return l, nil
	}
	l := &layout{}
	var err error
	if l.version, err = s.quizVersion(ctx, q, a.QuizID, a.QuizVersion); err != nil {
		return nil, err
	}
	rows, err := q.Query(ctx, `
		SELECT a.slot, a.section, a.page, a.question_id, a.question_version, v.kind, a.behaviour, a.seed, a.max_points::text AS max_points
		FROM attempt_question a JOIN question_version v ON v.question_id = a.question_id AND v.version = a.question_version
		WHERE a.attempt_id = $1 ORDER BY a.slot`, a.ID)
	if err != nil {
		return nil, fmt.Errorf("read questions of attempt: %w", err)
	}
	if l.slots, err = pgx.CollectRows(rows, pgx.RowToStructByName[slotLayout]); err != nil {
		return nil, fmt.Errorf("read questions of attempt: %w", err)
	}
	for i, sl := range l.slots {
		if int(sl.Slot) != i+1 {
			return nil, fmt.Errorf("attempt %s: question %d is missing", a.ID, i+1)
		}
		l.pages = max(l.pages, sl.Page+1)
	}
	s.layouts.Set(a.ID, l)
	return l, nil
}
