package assessment

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// student is somebody with an attempt.
type student struct {
	*world

	account string
	attempt *assessmentpb.Attempt
}

func (w *world) start(t taken) *student {
	w.t.Helper()
	st := &student{world: w, account: id.New("account")}
	var err error
	st.attempt, err = w.attempts.StartAttempt(w.as(st.account), &assessmentpb.StartAttemptRequest{CourseId: t.course, ItemId: t.item})
	if err != nil {
		w.t.Fatalf("StartAttempt: %v", err)
	}
	return st
}

func pick(seq int64, slot int32, keys ...string) *assessmentpb.Operation {
	return &assessmentpb.Operation{ClientSeq: seq, Kind: opAnswer, Slot: slot, Answer: &questionpb.Answer{
		Content: &questionpb.Answer_Choice{Choice: &questionpb.ChoiceAnswer{Keys: keys}},
	}}
}

func text(seq int64, slot int32, text string) *assessmentpb.Operation {
	return &assessmentpb.Operation{ClientSeq: seq, Kind: opAnswer, Slot: slot, Answer: &questionpb.Answer{
		Content: &questionpb.Answer_Essay{Essay: &questionpb.EssayAnswer{Text: text}},
	}}
}

func do(seq int64, kind string, slot int32) *assessmentpb.Operation {
	return &assessmentpb.Operation{ClientSeq: seq, Kind: kind, Slot: slot}
}

func goTo(seq int64, page int32) *assessmentpb.Operation {
	return &assessmentpb.Operation{ClientSeq: seq, Kind: opPage, Page: page}
}

func (st *student) try(client string, ops ...*assessmentpb.Operation) (*assessmentpb.AppendAnswersResponse, error) {
	return st.attempts.AppendAnswers(st.as(st.account), &assessmentpb.AppendAnswersRequest{
		AttemptId: st.attempt.GetId(), ClientId: client, Operations: ops, SentAt: timestamppb.New(st.now()),
	})
}

func (st *student) send(client string, ops ...*assessmentpb.Operation) *assessmentpb.AppendAnswersResponse {
	st.t.Helper()
	res, err := st.try(client, ops...)
	if err != nil {
		st.t.Fatalf("AppendAnswers: %v", err)
	}
	return res
}

// verdicts sends operations and returns their verdicts with their numbers in the log.
func (st *student) verdicts(client string, ops ...*assessmentpb.Operation) string {
	st.t.Helper()
	var out []string
	for _, v := range st.send(client, ops...).GetVerdicts() {
		text := v.GetVerdict()
		if v.GetRepeated() {
			text += " again"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func (st *student) get() *assessmentpb.Attempt {
	st.t.Helper()
	a, err := st.attempts.GetAttempt(st.as(st.account), &assessmentpb.GetAttemptRequest{AttemptId: st.attempt.GetId()})
	if err != nil {
		st.t.Fatalf("GetAttempt: %v", err)
	}
	return a
}

// given returns the keys that were chosen at a question.
func (st *student) given(slot int32) string {
	st.t.Helper()
	for _, q := range st.get().GetQuestions() {
		if q.GetSlot() == slot {
			return strings.Join(q.GetAnswer().GetChoice().GetKeys(), " ") + q.GetAnswer().GetEssay().GetText()
		}
	}
	return "no question"
}

func (st *student) submit() *assessmentpb.Receipt {
	st.t.Helper()
	r, err := st.attempts.SubmitAttempt(st.as(st.account), &assessmentpb.SubmitAttemptRequest{AttemptId: st.attempt.GetId()})
	if err != nil {
		st.t.Fatalf("SubmitAttempt: %v", err)
	}
	return r
}

// scored scores all that is submitted.
func (w *world) scored() {
	w.t.Helper()
	for {
		n, err := w.service.scoreDue(w.t.Context())
		if err != nil {
			w.t.Fatalf("score: %v", err)
		}
		if n == 0 {
			return
		}
	}
}

const (
	laptop = "laptop-1"
	phone  = "phone-01"
)

func expect(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func codeOf(_ any, err error) string { return fault.CodeOf(err) }

// quiz of three letters and an essay.
func (w *world) letters(settings *assessmentpb.QuizSettings) taken {
	w.t.Helper()
	course := id.New("course")
	return w.publishQuiz(course, quizOf(settings, []string{
		w.addQuestion(course, choiceQuestion(1)), w.addQuestion(course, choiceQuestion(2)), w.addQuestion(course, choiceQuestion(3)), w.addQuestion(course, essayQuestion(4)),
	}))
}

func TestAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	quiz := w.letters(&assessmentpb.QuizSettings{TimeLimitSeconds: 3600})
	st := w.start(quiz)
	if a := st.attempt; len(a.GetQuestions()) != 4 || a.GetState() != "in_progress" || a.GetRemainingMs() != 3600_000 || a.GetMaxPoints() != "7" || a.GetPages() != 1 {
		t.Errorf("begun: %v", a)
	}
	again, err := w.attempts.StartAttempt(w.as(st.account), &assessmentpb.StartAttemptRequest{CourseId: quiz.course, ItemId: quiz.item})
	if err != nil || again.GetId() != st.attempt.GetId() {
		t.Errorf("begun again: %v, %v", again.GetId(), err)
	}
	expect(t, "three", st.verdicts(laptop, pick(1, 1, "a"), pick(2, 2, "b"), text(3, 4, "Because.")), "accepted, accepted, accepted")
	w.later(time.Minute)
	expect(t, "changed", st.verdicts(laptop, pick(4, 2, "a"), do(5, opFlag, 3)), "accepted, accepted")
	a := st.get()
	expect(t, "answer 1", st.given(1), "a")
	expect(t, "answer 2", st.given(2), "a")
	expect(t, "answer 4", st.given(4), "Because.")
	if !a.GetQuestions()[2].GetFlagged() || a.GetRemainingMs() != 3540_000 || a.GetLastSeq() != 5 || a.GetQuestions()[0].GetOutcome() != nil {
		t.Errorf("got %v", a)
	}
	r := st.submit()
	if r.GetOperations() != 5 || r.GetLastSeq() != 5 || r.GetSubmittedBy() != "student" {
		t.Errorf("receipt %v", r)
	}
	if diff := cmp.Diff(r.String(), st.submit().String()); diff != "" {
		t.Errorf("submitted again: %s", diff)
	}
	expect(t, "after it", st.verdicts(laptop, pick(6, 1, "c")), "too_late")
	w.scored()
	a = st.get()
	if a.GetState() != "submitted" || a.GetPoints() != "2" || !a.GetScored() {
		t.Errorf("scored: %s %s", a.GetState(), a.GetPoints())
	}
	expect(t, "of the first", a.GetQuestions()[0].GetOutcome().GetState(), "right")
	expect(t, "of the essay", a.GetQuestions()[3].GetOutcome().GetState(), "needs_marking")
	expect(t, "of none", a.GetQuestions()[2].GetOutcome().GetState(), "unanswered")

	// Nobody else's.
	other := &student{w, id.New("account"), st.attempt}
	expect(t, "another's attempt", codeOf(other.try(laptop, pick(1, 1, "a"))), "attempt.not_found")
	expect(t, "another's view", codeOf(w.attempts.GetAttempt(w.as(other.account), &assessmentpb.GetAttemptRequest{AttemptId: st.attempt.GetId()})), "attempt.not_found")
	expect(t, "another's submission", codeOf(w.attempts.SubmitAttempt(w.as(other.account), &assessmentpb.SubmitAttemptRequest{AttemptId: st.attempt.GetId()})), "attempt.not_found")
	expect(t, "another's log", codeOf(w.attempts.ListMyOperations(w.as(other.account), &assessmentpb.ListMyOperationsRequest{AttemptId: st.attempt.GetId()})), "attempt.not_found")
	expect(t, "another's receipt", codeOf(w.attempts.GetReceipt(w.as(other.account), &assessmentpb.GetReceiptRequest{AttemptId: st.attempt.GetId()})), "attempt.not_found")
}

// TestEngineIsPinned holds that an attempt is scored, and scored anew, by the version of
// the engine that it began with: the first one takes the Arabic decimal sign for one that
// groups where a comma is decimal.
func TestEngineIsPinned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course := id.New("course")
	quiz := w.publishQuiz(course, quizOf(&assessmentpb.QuizSettings{}, []string{w.addQuestion(course, &questionpb.QuestionContent{
		Title: "Half", Prompt: "What is seven halves?",
		Body: &questionpb.QuestionContent_Numeric{Numeric: &questionpb.NumericQuestion{
			Answers: []*questionpb.NumericAnswer{{Value: "3.5"}}, Reading: &questionpb.NumberRules{DecimalSign: "comma"},
		}},
	})}))
	before, now := w.start(quiz), w.start(quiz)
	w.exec(`UPDATE attempt SET engine_version = 1 WHERE id = $1`, before.attempt.GetId())
	points := func() string {
		t.Helper()
		w.scored()
		var out string
		if err := w.db.QueryRow(t.Context(), `SELECT string_agg(concat_ws(' ', engine_version, points::float), ', ' ORDER BY engine_version) FROM attempt WHERE quiz_id = $1`, quiz.quiz).Scan(&out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	for engine, st := range map[int32]*student{1: before, question.Version: now} {
		if got := st.get().GetQuestions()[0].GetView().GetEngine(); got != engine {
			t.Errorf("an attempt of version %d shows what version %d makes", engine, got)
		}
		st.send(laptop, &assessmentpb.Operation{ClientSeq: 1, Kind: opAnswer, Slot: 1, Answer: &questionpb.Answer{
			Content: &questionpb.Answer_Number{Number: &questionpb.NumberAnswer{Text: "٣٫٥"}},
		}})
		st.submit()
	}
	expect(t, "points", points(), "1 0, 2 1")
	w.exec(`UPDATE attempt SET points = 99, scored_at = NULL WHERE quiz_id = $1`, quiz.quiz)
	expect(t, "points anew", points(), "1 0, 2 1")
}
