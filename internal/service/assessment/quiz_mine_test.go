package assessment

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

func TestMyQuiz(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	ana := id.New("account")
	settings := &assessmentpb.QuizSettings{
		Instructions: "Be calm.", Attempts: 2, TimeLimitSeconds: 600, MaxPoints: "10", PassPercent: "50",
		Sections: []*assessmentpb.QuizSection{section(asked(w.question("One")), asked(w.question("Two")))},
		Review:   &assessmentpb.ReviewMatrix{After: partsOf(3), Closed: partsOf(63)},
	}
	quizID := w.placed(settings)
	get := func() *assessmentpb.MyQuiz {
		t.Helper()
		q, err := w.mine.GetMyQuiz(w.as(ana), &assessmentpb.GetMyQuizRequest{CourseId: w.course, ItemId: w.item})
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	same := func(want *assessmentpb.MyQuiz) {
		t.Helper()
		if diff := cmp.Diff(want, get(), protocmp.Transform()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	w.around.eases[ana] = []*accesspb.Ease{{TimePercent: 150, ExtraAttempts: 1}}
	opens, closes := w.now().Add(time.Hour), w.now().Add(3*time.Hour)
	w.around.say(ana, &itemAccess{Enrolled: true, State: "locked", Reasons: []string{"Opens later."}, OpensAt: timestamppb.New(opens), Until: timestamppb.New(closes)})
	want := &assessmentpb.MyQuiz{
		CourseId: w.course, ItemId: w.item, QuizId: quizID, Title: "The Stoics", Instructions: "Be calm.", QuestionCount: 2, TimeLimitSeconds: 900,
		Attempts: 3, GradeKept: "best", MaxPoints: "10", PassPercent: "50", Navigation: "free",
		OpensAt: timestamppb.New(opens), ClosesAt: timestamppb.New(closes),
		Refusal: &assessmentpb.StartRefusal{Code: "attempt.locked", Message: ErrAttemptLocked.Message, Reasons: []string{"Opens later."}, OpensAt: timestamppb.New(opens)},
	}
	same(want)
	w.around.say(ana, itemOpen(func(it *itemAccess) { it.Until = timestamppb.New(closes) }))
	want.OpensAt, want.Refusal, want.CanStart = nil, nil, true
	same(want)
	one, err := w.service.admit(t.Context(), w.course, w.item, ana, "")
	if err != nil {
		t.Fatal(err)
	}
	same(want) // what is prepared is not begun
	started := w.now()
	w.exec(`UPDATE attempt SET state = 'in_progress', started_at = $2 WHERE id = $1`, one, started)
	want.AttemptsUsed, want.RunningAttemptId = 1, one
	want.MyAttempts = []*assessmentpb.MyAttempt{{Id: one, Number: 1, State: "in_progress", StartedAt: timestamppb.New(started), Shown: partsOf(0)}}
	same(want)
	w.finish(one, "submission", started, "1", "1/3")
	w.exec(`UPDATE attempt SET points = 6.666667 WHERE id = $1`, one)
	want.RunningAttemptId, want.Points, want.PointsOf = "", "6.666667", "10"
	want.MyAttempts[0] = &assessmentpb.MyAttempt{
		Id: one, Number: 1, State: "graded", StartedAt: timestamppb.New(started), SubmittedAt: timestamppb.New(started), Points: "6.666667", MaxPoints: "10", Shown: partsOf(3),
	}
	same(want)
	// Hidden as long as it is not posted, in the total as well.
	hear(w.world, w.service.postingChanged, &gradespb.PostingChanged{CourseId: w.course, ItemId: w.item, Policy: "manual", Version: 1})
	hidden := proto.CloneOf(want)
	hidden.Points, hidden.PointsOf, hidden.MyAttempts[0].Points, hidden.MyAttempts[0].MaxPoints, hidden.MyAttempts[0].Shown = "", "", "", "", partsOf(1)
	hidden.MyAttempts[0].State = "submitted" // nor that it is graded
	same(hidden)
	hear(w.world, w.service.postingChanged, &gradespb.PostingChanged{CourseId: w.course, ItemId: w.item, Policy: "automatic", Posted: true, Version: 2})
	same(want)
	w.later(2 * time.Minute) // the matrix shows nothing while it is open
	hidden.MyAttempts[0].State, hidden.MyAttempts[0].Shown = "graded", partsOf(0)
	same(hidden)
	w.later(3 * time.Hour)
	closed := get()
	if closed.GetPoints() != "6.666667" || closed.GetCanStart() || closed.GetRefusal().GetCode() != "attempt.closed" || !closed.GetMyAttempts()[0].GetShown().GetAnswer() {
		t.Errorf("closed: %v", closed)
	}
	list, err := w.mine.ListMyQuizzes(w.as(ana), &assessmentpb.ListMyQuizzesRequest{CourseId: w.course})
	closed.Instructions, closed.MyAttempts = "", nil
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]*assessmentpb.MyQuiz{closed}, list.GetItems(), protocmp.Transform()); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	w.around.say(ana, &itemAccess{Enrolled: true, State: "hidden"})
	if _, err := w.mine.GetMyQuiz(w.as(ana), &assessmentpb.GetMyQuizRequest{CourseId: w.course, ItemId: w.item}); fault.CodeOf(err) != "quiz.not_found" {
		t.Errorf("hidden: %v", err)
	}
	if list, err := w.mine.ListMyQuizzes(w.as(ana), &assessmentpb.ListMyQuizzesRequest{CourseId: w.course}); err != nil || len(list.GetItems()) != 0 {
		t.Errorf("hidden: %v, %v", list, err)
	}
}
