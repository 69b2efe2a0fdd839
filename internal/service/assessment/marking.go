package assessment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

const (
	// claimTime is how long an answer is held for who marks it.
	claimTime = 10 * time.Minute
	// maxMarks bounds the marks of an answer.
	maxMarks = 1000
	// marksTold is how many marks are told with an answer.
	marksTold = 20
)

// Errors of marking.
var (
	ErrAnswerNotFound     = fault.New(fault.NotFound, "answer.not_found", "The course has no such answer.")
	ErrMarkingNothingLeft = fault.New(fault.NotFound, "marking.nothing_left", "Nothing is to be marked here that nobody else marks already.")
	ErrMarkingClaimed     = fault.New(fault.Conflict, "marking.claimed", "Somebody else marks this answer now.")
	ErrMarkingUnsaved     = fault.New(fault.Conflict, "marking.unsaved", "You hold another answer that is not marked yet. Mark it or give it back first.")
	ErrMarkingNothing     = fault.New(fault.Conflict, "marking.nothing", "There is nothing to mark here.")
	ErrMarkingFull        = fault.New(fault.Conflict, "marking.full", "An answer has at most %d marks.", maxMarks)
)

// markingServer answers about what people mark.
type markingServer struct {
	assessmentpb.UnimplementedMarkingServiceServer

	service *Service
}

// markable is an answer of an attempt that is over.
type markable struct {
	attempt *attempt
	slot    *slotLayout
	questionResult
}

// etag changes with each mark, when another answer or another key counts, and when the
// question is worth something else: points are of that.
func (m *markable) etag() string {
	return fmt.Sprintf("%d-%d-%d-%s", m.state.Marks, m.answered(), m.key, m.rules.MaxPoints)
}

// decided is what the audit log says of it.
func (m *markable) decided(s question.State) map[string]any {
	fraction := ""
	if s.Fraction != nil {
		fraction = s.Fraction.String()
	}
	return map[string]any{"slot": m.slot.Slot, "phase": s.Phase, "fraction": fraction, "marks": s.Marks}
}

// markableOf makes an answer of the log of its attempt.
func (s *Service) markableOf(ctx context.Context, q pg.Querier, a *attempt, slot int32) (*markable, error) {
	if a.running() {
		return nil, ErrAttemptRunning
	}
	l, err := s.layoutOf(ctx, q, a)
	if err != nil {
		return nil, err
	}
	sl := l.slot(slot)
	if sl == nil || !a.submitted() {
		return nil, ErrAnswerNotFound
	}
	results, err := s.rebuild(ctx, q, []*attempt{a})
	if err != nil {
		return nil, err
	}
	return &markable{attempt: a, slot: sl, questionResult: results[a.ID].questions[slot-1]}, nil
}

// ofCourse returns an attempt of a course in which there is something to mark.
func (h *markingServer) ofCourse(ctx context.Context, read func(context.Context, string) (*attempt, error), course, id string) (*attempt, error) {
	a, err := read(ctx, id)
	if errors.Is(err, ErrAttemptNotFound) || err == nil && (a.CourseID != course || a.State == statePrepared) {
		return nil, ErrAnswerNotFound
	}
	return a, err
}

// reading reads attempts by q.
func reading(q pg.Querier) func(context.Context, string) (*attempt, error) {
	return func(ctx context.Context, id string) (*attempt, error) { return readAttempt(ctx, q, id) }
}

// locking locks attempts in tx.
func locking(tx *pg.Tx) func(context.Context, string) (*attempt, error) {
	return func(ctx context.Context, id string) (*attempt, error) { return lockAttempt(ctx, tx, id) }
}

// GetMarkedAnswer implements [assessmentpb.MarkingServiceServer].
func (h *markingServer) GetMarkedAnswer(ctx context.Context, req *assessmentpb.GetMarkedAnswerRequest) (*assessmentpb.MarkedAnswer, error) {
	return h.marked(ctx, req.GetCourseId(), req.GetAttemptId(), req.GetSlot())
}

// marked tells an answer to who marks it.
func (h *markingServer) marked(ctx context.Context, course, attempt string, slot int32) (*assessmentpb.MarkedAnswer, error) {
	s := h.service
	a, err := h.ofCourse(ctx, reading(s.db), course, attempt)
	if err != nil {
		return nil, err
	}
	m, err := s.markableOf(ctx, s.db, a, slot)
	if err != nil {
		return nil, err
	}
	in, err := s.instance(ctx, s.db, m.slot.shown(), a.Engine, m.slot.seed())
	if err != nil {
		return nil, err
	}
	out := &assessmentpb.MarkedAnswer{View: in.View(), Outcome: m.in.Outcome(m.rules, m.state), Etag: m.etag()}
	if m.done != nil && m.done.answer.GetCleared() == nil {
		out.Answer = m.done.answer
	}
	list, err := s.queued(ctx, `a.id = $1 AND q.slot = $2`, ``, a.ID, slot)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrAnswerNotFound
	}
	out.Of = list[0]
	marks, err := readMarks(ctx, s.db, a.ID, slot, 1<<62, marksTold)
	if err != nil {
		return nil, err
	}
	for _, one := range marks {
		out.Marks = append(out.Marks, one.message())
	}
	if out.Rubric, err = rubricFor(ctx, s.db, rubricTarget{id: a.QuizID, question: m.slot.QuestionID}); err != nil {
		return nil, err
	}
	results, err := rubricResults(ctx, s.db, a.ID, true)
	if err != nil {
		return nil, err
	}
	out.Result = results[slot]
	set, g, err := s.givenToAnswer(ctx, s.db, m)
	if err != nil || set == nil {
		return out, err
	}
	out.Etag = m.etagOfTwo(g, auth.From(ctx).Account)
	out.TwoMarks, err = g.twoMarks(ctx, s.db)
	return out, err
}

// ListAnswerMarks implements [assessmentpb.MarkingServiceServer].
func (h *markingServer) ListAnswerMarks(ctx context.Context, req *assessmentpb.ListAnswerMarksRequest) (*assessmentpb.ListAnswerMarksResponse, error) {
	db := h.service.db
	before, size, err := numberCursor(req.GetCursor(), req.GetPageSize())
	if err != nil {
		return nil, err
	}
	a, err := h.ofCourse(ctx, reading(db), req.GetCourseId(), req.GetAttemptId())
	if err != nil {
		return nil, err
	}
	marks, err := readMarks(ctx, db, a.ID, req.GetSlot(), before, size+1)
	if err != nil {
		return nil, err
	}
	res := &assessmentpb.ListAnswerMarksResponse{}
	if len(marks) > size {
		marks = marks[:size]
		res.NextCursor = cursorOf(marks[size-1].Seq)
	}
	for _, one := range marks {
		res.Items = append(res.Items, one.message())
	}
	return res, nil
}

func (m *markRecord) message() *assessmentpb.AnswerMark {
	return &assessmentpb.AnswerMark{
		Seq: m.Seq, MarkedBy: m.AccountID, MarkedAt: timestamppb.New(m.MarkedAt), Points: orNothing(m.Points), Fraction: orNothing(m.Fraction),
		Withdrawn: m.Withdrawn, Comment: m.Comment, Reason: m.Reason, Rubric: m.rubric,
	}
}

func orNothing(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}
