package assessment

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// admit is [Service.admission] to a quiz that is no exam.
func (s *Service) admit(ctx context.Context, courseID, itemID, accountID, password string) (string, error) {
	prepared, _, err := s.admission(ctx, courseID, itemID, accountID, password)
	return prepared, err
}

// hall is an exam with who watches it.
type hall struct {
	*world
	taken

	exams   assessmentpb.ExamServiceClient
	proctor context.Context //nolint:containedctx // who calls
}

// openHall makes an exam of ten minutes.
func openHall(t testing.TB, settings *assessmentpb.QuizSettings) *hall {
	t.Helper()
	w := newWorld(t, rpctest.Everything)
	if settings.GetTimeLimitSeconds() == 0 {
		settings.TimeLimitSeconds = 600
	}
	return &hall{world: w, taken: w.letters(settings), exams: assessmentpb.NewExamServiceClient(w.harness.As("edge")), proctor: w.as(id.New("account"))}
}

// begin has somebody begin whose window closes after a time; never when that is zero.
func (h *hall) begin(window time.Duration) *student {
	h.t.Helper()
	st := &student{world: h.world, account: id.New("account")}
	it := &learningpb.ItemAccess{Enrolled: true, State: "open"}
	if window > 0 {
		it.ClosesAt = timestamppb.New(h.now().Add(window))
	}
	h.around.say(st.account, it)
	var err error
	if st.attempt, err = h.attempts.StartAttempt(h.as(st.account), &assessmentpb.StartAttemptRequest{CourseId: h.course, ItemId: h.item}); err != nil {
		h.t.Fatalf("StartAttempt: %v", err)
	}
	return st
}

// give gives time to attempts, to all where none is named.
func (h *hall) give(minutes int32, beyond bool, students ...*student) *assessmentpb.ExamAction {
	h.t.Helper()
	a, err := h.exams.GiveTime(h.proctor, &assessmentpb.GiveTimeRequest{
		CourseId: h.course, ItemId: h.item, AttemptIds: attemptsOfAll(students), Everybody: len(students) == 0, Minutes: minutes, BeyondWindow: beyond, Reason: "A fire alarm",
	})
	if err != nil {
		h.t.Fatalf("GiveTime: %v", err)
	}
	return a
}

func (h *hall) hold(students ...*student) *assessmentpb.ExamAction {
	h.t.Helper()
	a, err := h.exams.HoldAttempts(h.proctor, &assessmentpb.HoldAttemptsRequest{
		CourseId: h.course, ItemId: h.item, AttemptIds: attemptsOfAll(students), Everybody: len(students) == 0, Reason: "A fire alarm", Message: "Leave the room",
	})
	if err != nil {
		h.t.Fatalf("HoldAttempts: %v", err)
	}
	return a
}

func (h *hall) release(students ...*student) *assessmentpb.ExamAction {
	h.t.Helper()
	a, err := h.exams.ReleaseAttempts(h.proctor, &assessmentpb.ReleaseAttemptsRequest{
		CourseId: h.course, ItemId: h.item, AttemptIds: attemptsOfAll(students), Everybody: len(students) == 0,
	})
	if err != nil {
		h.t.Fatalf("ReleaseAttempts: %v", err)
	}
	return a
}

func (h *hall) takeBack(a *assessmentpb.ExamAction) *assessmentpb.ExamAction {
	h.t.Helper()
	a, err := h.exams.TakeTimeBack(h.proctor, &assessmentpb.TakeTimeBackRequest{CourseId: h.course, ItemId: h.item, ActionId: a.GetId(), Reason: "The wrong room"})
	if err != nil {
		h.t.Fatalf("TakeTimeBack: %v", err)
	}
	return a
}

// students lists all who stand so, page by page.
func (h *hall) students(state string) []*assessmentpb.ExamStudent {
	h.t.Helper()
	var out []*assessmentpb.ExamStudent
	req := &assessmentpb.ListExamStudentsRequest{CourseId: h.course, ItemId: h.item, State: state, PageSize: 2}
	for {
		res, err := h.exams.ListExamStudents(h.proctor, req)
		if err != nil {
			h.t.Fatalf("ListExamStudents: %v", err)
		}
		out = append(out, res.GetItems()...)
		if req.Cursor = res.GetNextCursor(); req.GetCursor() == "" {
			return out
		}
	}
}

// sees returns how somebody stands.
func (h *hall) sees(st *student) *assessmentpb.ExamStudent {
	h.t.Helper()
	for _, one := range h.students("") {
		if one.GetAccountId() == st.account {
			return one
		}
	}
	return nil
}

func attemptsOfAll(students []*student) []string {
	var out []string
	for _, st := range students {
		out = append(out, st.attempt.GetId())
	}
	return out
}

// events returns what was noted at an attempt, the oldest first, as its kinds.
func (h *hall) events(st *student) []string {
	h.t.Helper()
	res, err := h.exams.ListExamEvents(h.proctor, &assessmentpb.ListExamEventsRequest{CourseId: h.course, ItemId: h.item, AttemptId: st.attempt.GetId(), PageSize: 200})
	if err != nil {
		h.t.Fatalf("ListExamEvents: %v", err)
	}
	out := make([]string, len(res.GetItems()))
	for i, e := range res.GetItems() {
		out[len(out)-1-i] = e.GetKind()
	}
	return out
}

// endOne ends the next attempt that is due.
func endOne(h *hall) func(tx *pg.Tx) error {
	return func(tx *pg.Tx) error {
		tx.Exempt("a test")
		_, err := h.service.closeDue(context.Background(), tx, h.now().Add(-inFlight), 1, "")
		return err
	}
}

func cleared() *questionpb.Answer {
	return &questionpb.Answer{Content: &questionpb.Answer_Cleared{Cleared: &questionpb.ClearedAnswer{}}}
}

func contextOf() context.Context { return context.Background() }
