package assessment

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// markingWorld is a quiz of an essay and a choice that some people have taken.
type markingWorld struct {
	*world
	assessmentpb.MarkingServiceClient

	rubrics  assessmentpb.RubricServiceClient
	taken    taken
	essay    string
	students []*student
}

func newMarkingWorld(t *testing.T, students int, settings *assessmentpb.QuizSettings) *markingWorld {
	t.Helper()
	w := &markingWorld{world: newWorld(t, rpctest.Everything)}
	w.MarkingServiceClient = assessmentpb.NewMarkingServiceClient(w.harness.As("edge"))
	w.rubrics = assessmentpb.NewRubricServiceClient(w.harness.As("edge"))
	course := id.New("course")
	w.essay = w.addQuestion(course, essayQuestion(1))
	w.taken = w.publishQuiz(course, quizOf(settings, []string{w.essay, w.addQuestion(course, choiceQuestion(2))}))
	for range students {
		st := w.start(w.taken)
		st.send(laptop, text(1, 1, "Because."), pick(2, 2, "a"))
		st.submit()
		w.students = append(w.students, st)
	}
	w.scored()
	return w
}

func (w *markingWorld) next(grader string) (*assessmentpb.MarkedAnswer, error) {
	return w.ClaimNext(w.as(grader), &assessmentpb.ClaimNextRequest{CourseId: w.taken.course, ItemId: w.taken.item})
}

// mark marks the essay of an attempt.
func (w *markingWorld) mark(ctx context.Context, attempt string, change func(*assessmentpb.MarkAnswerRequest)) (*assessmentpb.MarkedAnswer, error) {
	req := &assessmentpb.MarkAnswerRequest{CourseId: w.taken.course, AttemptId: attempt, Slot: 1}
	change(req)
	return w.MarkAnswer(ctx, req)
}

func points(text string) func(*assessmentpb.MarkAnswerRequest) {
	return func(r *assessmentpb.MarkAnswerRequest) { r.Points = text }
}

// refusedAs returns the code of an error: of the first field that it names, where it
// is about fields.
func refusedAs(err error) string {
	if e, ok := errors.AsType[*fault.Error](err); ok && e.Code == "request.invalid" && len(e.Fields) > 0 {
		return e.Fields[0].Code
	}
	return fault.CodeOf(err)
}

func TestMarking(t *testing.T) {
	t.Parallel()
	w := newMarkingWorld(t, 1, &assessmentpb.QuizSettings{})
	qw := &quizWorld{world: w.world}
	outboxOf[assessmentpb.MarkChanged](qw)
	st, ben, cleo := w.students[0], id.New("account"), id.New("account")
	attempt := st.attempt.GetId()
	for code, change := range map[string]func(*assessmentpb.MarkAnswerRequest){
		"mark.range":       points("4.000001"),
		"mark.twice":       func(r *assessmentpb.MarkAnswerRequest) { r.Points, r.Withdrawn = "1", true },
		"mark.empty":       func(*assessmentpb.MarkAnswerRequest) {},
		"mark.reason":      func(r *assessmentpb.MarkAnswerRequest) { r.Points, r.Slot = "0", 2 },
		"answer.not_found": func(r *assessmentpb.MarkAnswerRequest) { r.Points, r.Slot = "1", 3 },
		"rubric.not_attached": func(r *assessmentpb.MarkAnswerRequest) {
			r.Rubric = &assessmentpb.RubricMarks{RubricId: id.New("rubric"), Version: 1, Criteria: []*assessmentpb.CriterionMark{{Key: "a"}}}
		},
	} {
		if _, err := w.mark(w.as(ben), attempt, change); refusedAs(err) != code {
			t.Errorf("%s: %v", code, err)
		}
	}
	if _, err := w.mark(w.as(ben), attempt, func(r *assessmentpb.MarkAnswerRequest) { r.Points, r.CourseId = "1", id.New("course") }); fault.CodeOf(err) != "answer.not_found" {
		t.Errorf("of another course: %v", err)
	}
	key := rpc.WithIdempotencyKey(w.as(ben), "mark-1")
	var one *assessmentpb.MarkedAnswer
	for range 2 {
		var err error
		if one, err = w.mark(key, attempt, func(r *assessmentpb.MarkAnswerRequest) { r.Fraction, r.Comment = "1/3", "Short." }); err != nil {
			t.Fatal(err)
		}
	}
	if len(one.GetMarks()) != 1 || one.GetOf().GetState() != "marked" || one.GetOutcome().GetFraction() != "1/3" || one.GetOutcome().GetPoints() != "4/3" {
		t.Errorf("marked: %v", one)
	}
	events := outboxOf[assessmentpb.MarkChanged](qw)
	if len(events) != 1 || events[0].GetState() != "marked" || events[0].GetMarkedBy() != ben || events[0].GetCause() != "marking" || events[0].GetPoints() != "2.333333" {
		t.Errorf("told: %v", events)
	}
	if _, err := w.mark(w.as(cleo), attempt, points("2")); fault.CodeOf(err) != "etag.required" {
		t.Errorf("blindly: %v", err)
	}
	over := rpc.WithIfMatch(w.as(cleo), one.GetEtag())
	if _, err := w.mark(over, attempt, points("2")); err != nil {
		t.Error(err)
	}
	if _, err := w.mark(over, attempt, points("3")); fault.CodeOf(err) != "etag.stale" {
		t.Errorf("stale: %v", err)
	}
	// What the program gave is changed with a reason, and given back.
	if _, err := w.mark(w.as(ben), attempt, func(r *assessmentpb.MarkAnswerRequest) { r.Points, r.Slot, r.Reason = "0", 2, "Copied." }); err != nil {
		t.Error(err)
	}
	if _, err := w.mark(rpc.WithIfMatch(w.as(ben), "*"), attempt, func(r *assessmentpb.MarkAnswerRequest) { r.Withdrawn, r.Slot, r.Reason = true, 2, "Not so." }); err != nil {
		t.Error(err)
	}
	var told []string
	for _, e := range outboxOf[assessmentpb.MarkChanged](qw) {
		told = append(told, e.GetPoints())
	}
	expect(t, "points", strings.Join(told, " "), "3 2 3")
	page, err := w.ListAnswerMarks(w.as(ben), &assessmentpb.ListAnswerMarksRequest{CourseId: w.taken.course, AttemptId: attempt, Slot: 1, PageSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	rest, err := w.ListAnswerMarks(w.as(ben), &assessmentpb.ListAnswerMarksRequest{CourseId: w.taken.course, AttemptId: attempt, Slot: 1, PageSize: 1, Cursor: page.GetNextCursor()})
	if err != nil || rest.GetNextCursor() != "" || page.GetItems()[0].GetMarkedBy() != cleo || rest.GetItems()[0].GetComment() != "Short." {
		t.Errorf("history: %v, %v, %v", page, rest, err)
	}
	// The student's own log has no marks, and the receipt is as it was.
	ops, err := w.attempts.ListMyOperations(w.as(st.account), &assessmentpb.ListMyOperationsRequest{AttemptId: attempt})
	if err != nil || len(ops.GetItems()) != 3 {
		t.Errorf("own log: %v, %v", ops, err)
	}
	all, err := w.attempts.ListOperations(w.as(ben), &assessmentpb.ListOperationsRequest{CourseId: w.taken.course, AttemptId: attempt})
	if err != nil || len(all.GetItems()) != 7 {
		t.Errorf("log: %v, %v", all, err)
	}
}

// A mark is of the answer that was marked: where another one counts since, after an
// attempt was reopened or staff have accepted what came late, that one is marked anew.
func TestMarkAnotherAnswer(t *testing.T) {
	t.Parallel()
	w := newMarkingWorld(t, 0, &assessmentpb.QuizSettings{TimeLimitSeconds: 600})
	ben, one := id.New("account"), w.start(w.taken)
	one.send(laptop, text(1, 1, "Because."), pick(2, 2, "a"))
	over := func() {
		t.Helper()
		w.later(11 * time.Minute)
		if _, err := w.service.endDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.scored()
	}
	over()
	attempt := one.attempt.GetId()
	marked := func(what, want string) {
		t.Helper()
		var got []string
		for slot := range int32(2) {
			m, err := w.GetMarkedAnswer(w.as(ben), &assessmentpb.GetMarkedAnswerRequest{CourseId: w.taken.course, AttemptId: attempt, Slot: slot + 1})
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s %s %d", m.GetOf().GetState(), m.GetOutcome().GetPoints(), len(m.GetMarks())))
		}
		expect(t, what, strings.Join(got, ", "), want)
	}
	mark := func(slot int32, points string) {
		t.Helper()
		if _, err := w.mark(w.as(ben), attempt, func(r *assessmentpb.MarkAnswerRequest) { r.Slot, r.Points, r.Reason = slot, points, "As I say" }); err != nil {
			t.Fatal(err)
		}
	}
	mark(1, "1")
	mark(2, "0.5")
	marked("marked", "marked 1 1, marked 0.5 1")
	exams := assessmentpb.NewExamServiceClient(w.harness.As("edge"))
	reopen := func() {
		t.Helper()
		if _, err := exams.ReopenAttempt(w.as(ben), &assessmentpb.ReopenAttemptRequest{CourseId: w.taken.course, AttemptId: attempt, Minutes: 10, Reason: "A fire alarm"}); err != nil {
			t.Fatal(err)
		}
	}
	reopen()
	one.send(laptop, text(3, 1, "Because of this."))
	over()
	marked("another answer to the first", "to_mark  1, marked 0.5 1")
	mark(1, "3")
	marked("marked anew", "marked 3 2, marked 0.5 1")

	// It came too late, before it was marked, and counts after.
	late := one.send(laptop, text(4, 1, "Because of all of this."), pick(5, 2, "b"))
	mark2, err := w.mark(rpc.WithIfMatch(w.as(ben), "*"), attempt, points("2"))
	if err != nil || mark2.GetOutcome().GetPoints() != "2" {
		t.Fatalf("%v, %v", mark2, err)
	}
	if _, err := w.attempts.AcceptLateAnswers(w.as(ben), &assessmentpb.AcceptLateAnswersRequest{
		CourseId: w.taken.course, AttemptId: attempt, Seqs: []int64{late.GetVerdicts()[0].GetSeq()}, Reason: "The network was down",
	}); err != nil {
		t.Fatal(err)
	}
	w.scored()
	marked("a late answer to the first", "to_mark  3, marked 0.5 1")
	mark(1, "4")
	reopen()
	over()
	marked("the same answers", "marked 4 4, marked 0.5 1")
}

// Ten graders mark what thirty have handed in: no answer is had twice, and all are marked
// once.
func TestGradersRace(t *testing.T) {
	t.Parallel()
	const graders, answers = 10, 30
	w := newMarkingWorld(t, answers, &assessmentpb.QuizSettings{})
	var mu sync.Mutex
	had := map[string]string{}
	var wg sync.WaitGroup
	for range graders {
		wg.Go(func() {
			who := id.New("account")
			for {
				m, err := w.next(who)
				if fault.CodeOf(err) == "marking.nothing_left" {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if by, twice := had[m.GetOf().GetAttemptId()]; twice {
					t.Errorf("%s has what %s had", who, by)
				}
				had[m.GetOf().GetAttemptId()] = who
				mu.Unlock()
				if _, err := w.mark(w.as(who), m.GetOf().GetAttemptId(), points("1")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	sum, err := w.GetMarkingSummary(w.as("account_x"), &assessmentpb.GetMarkingSummaryRequest{CourseId: w.taken.course})
	if err != nil || len(sum.GetItems()) != 1 || sum.GetItems()[0].GetMarked() != answers || sum.GetItems()[0].GetToMark() != 0 || len(had) != answers {
		t.Errorf("%v, %v, %d had", sum, err, len(had))
	}
	var marks, claims int
	if err := w.db.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM answer_mark), (SELECT count(*) FROM marking_claim)`).Scan(&marks, &claims); err != nil || marks != answers || claims != 0 {
		t.Errorf("%d marks, %d claims, %v", marks, claims, err)
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	w := newMarkingWorld(t, 2, &assessmentpb.QuizSettings{})
	ben, cleo, dan := id.New("account"), id.New("account"), id.New("account")
	first, err := w.next(ben)
	if err != nil || first.GetHeld() {
		t.Fatal(first, err)
	}
	attempt := first.GetOf().GetAttemptId()
	// A mark that can't be saved moves nobody on.
	if _, err := w.mark(w.as(ben), attempt, points("5")); refusedAs(err) != "mark.range" {
		t.Error(err)
	}
	if again, err := w.next(ben); err != nil || again.GetOf().GetAttemptId() != attempt || !again.GetHeld() {
		t.Error(again, err)
	}
	second, err := w.next(cleo)
	if err != nil || second.GetOf().GetAttemptId() == attempt {
		t.Fatal(second, err)
	}
	if _, err := w.next(dan); fault.CodeOf(err) != "marking.nothing_left" {
		t.Error(err)
	}
	if _, err := w.mark(w.as(dan), attempt, points("1")); fault.CodeOf(err) != "marking.claimed" {
		t.Error(err)
	}
	at := func(a string) *assessmentpb.ClaimAnswerRequest {
		return &assessmentpb.ClaimAnswerRequest{CourseId: w.taken.course, AttemptId: a, Slot: 1}
	}
	if _, err := w.ClaimAnswer(w.as(dan), at(attempt)); fault.CodeOf(err) != "marking.claimed" {
		t.Error(err)
	}
	if _, err := w.ClaimAnswer(w.as(ben), at(second.GetOf().GetAttemptId())); fault.CodeOf(err) != "marking.unsaved" {
		t.Error(err)
	}
	// Held on by who marks it, and given back by time and by hand.
	w.later(9 * time.Minute)
	if _, err := w.ClaimAnswer(w.as(ben), at(attempt)); err != nil {
		t.Error(err)
	}
	w.later(2 * time.Minute)
	taken, err := w.next(dan)
	if err != nil || taken.GetOf().GetAttemptId() != second.GetOf().GetAttemptId() {
		t.Error(taken, err)
	}
	if _, err := w.ReleaseClaim(w.as(ben), &assessmentpb.ReleaseClaimRequest{CourseId: w.taken.course, AttemptId: attempt, Slot: 1}); err != nil {
		t.Error(err)
	}
	if got, err := w.next(cleo); err != nil || got.GetOf().GetAttemptId() != attempt {
		t.Error(got, err)
	}
}

func TestRubricMarks(t *testing.T) {
	t.Parallel()
	w := newMarkingWorld(t, 1, &assessmentpb.QuizSettings{})
	ctx, course, st := w.as(id.New("account")), w.taken.course, w.students[0]
	content := &assessmentpb.RubricContent{Kind: "rubric"}
	for _, key := range []string{"thought", "style"} {
		content.Criteria = append(content.Criteria, &assessmentpb.RubricCriterion{Key: key, Title: key, Levels: []*assessmentpb.RubricLevel{
			{Key: "low", Points: "0"}, {Key: "mid", Title: "Fair", Points: "0.5"}, {Key: "top", Points: "1.5"},
		}})
	}
	r, err := w.rubrics.CreateRubric(ctx, &assessmentpb.CreateRubricRequest{CourseId: course, Title: "Essays", Content: content})
	if err != nil {
		t.Fatal(err)
	}
	attach := &assessmentpb.AttachRubricRequest{CourseId: course, RubricId: r.GetId(), QuizId: w.taken.quiz, QuestionId: w.essay}
	if _, err := w.rubrics.AttachRubric(ctx, attach); fault.CodeOf(err) != "rubric.not_published" {
		t.Error(err)
	}
	publish := func() {
		if r, err = w.rubrics.PublishRubric(ctx, &assessmentpb.PublishRubricRequest{CourseId: course, RubricId: r.GetId()}); err != nil {
			t.Fatal(err)
		}
	}
	publish()
	if _, err := w.rubrics.AttachRubric(ctx, attach); refusedAs(err) != "rubric.target_not_found" {
		t.Error(err)
	}
	w.exec(`INSERT INTO quiz_question (quiz_id, question_id, draft, published_version) VALUES ($1, $2, true, 1)`, w.taken.quiz, w.essay)
	if _, err := w.rubrics.AttachRubric(ctx, attach); err != nil {
		t.Fatal(err)
	}
	by := func(version int32, levels ...string) func(*assessmentpb.MarkAnswerRequest) {
		return func(req *assessmentpb.MarkAnswerRequest) {
			req.Rubric = &assessmentpb.RubricMarks{RubricId: r.GetId(), Version: version}
			for i, l := range levels {
				req.Rubric.Criteria = append(req.Rubric.Criteria, &assessmentpb.CriterionMark{Key: content.GetCriteria()[i].GetKey(), Level: l, Comment: "So."})
			}
		}
	}
	for _, bad := range [][]string{{"top"}, {"top", "none"}} {
		if _, err := w.mark(ctx, st.attempt.GetId(), by(1, bad...)); fault.CodeOf(err) != "rubric.marks_invalid" {
			t.Errorf("%v: %v", bad, err)
		}
	}
	m, err := w.mark(ctx, st.attempt.GetId(), by(1, "top", "mid"))
	if err != nil || m.GetOutcome().GetFraction() != "2/3" || m.GetResult().GetPoints() != "2" || m.GetResult().GetMaxPoints() != "3" || m.GetRubric().GetVersion() != 1 {
		t.Fatalf("%v, %v", m, err)
	}
	// Another version changes no mark that was given.
	if _, err := w.rubrics.UpdateRubric(ctx, &assessmentpb.UpdateRubricRequest{CourseId: course, RubricId: r.GetId(), Title: "Essays", Content: &assessmentpb.RubricContent{
		Kind: "guide", Criteria: []*assessmentpb.RubricCriterion{{Key: "all", Title: "All", MaxPoints: "3"}},
	}}); err != nil {
		t.Fatal(err)
	}
	publish()
	if _, err := w.mark(rpc.WithIfMatch(ctx, m.GetEtag()), st.attempt.GetId(), by(1, "top", "top")); fault.CodeOf(err) != "rubric.outdated" {
		t.Error(err)
	}
	shown := st.get().GetQuestions()[0].GetRubric()
	if shown.GetVersion() != 1 || shown.GetPoints() != "2" || shown.GetCriteria()[1].GetLevelTitle() != "Fair" {
		t.Errorf("shown: %v", shown)
	}
	hear(w.world, w.service.postingChanged, &gradespb.PostingChanged{CourseId: course, ItemId: w.taken.item, Policy: "manual", Version: 1})
	if q := st.get().GetQuestions()[0]; q.GetRubric() != nil || q.GetOutcome().GetComment() != "" {
		t.Errorf("shown though not posted: %v", q)
	}
	if _, err := w.rubrics.DeleteRubric(ctx, &assessmentpb.DeleteRubricRequest{CourseId: course, RubricId: r.GetId()}); fault.CodeOf(err) != "rubric.used" {
		t.Error(err)
	}
}

// Where answers are marked anonymously no answer to a grader holds the account, until
// all is graded and posted.
func TestPseudonyms(t *testing.T) {
	t.Parallel()
	w := newMarkingWorld(t, 2, &assessmentpb.QuizSettings{AnonymousMarking: true})
	ben, course, item := id.New("account"), w.taken.course, w.taken.item
	hear(w.world, w.service.postingChanged, &gradespb.PostingChanged{CourseId: course, ItemId: item, Policy: "manual", Version: 1})
	leaks := func() (told string) {
		m, err := w.next(ben)
		if err != nil && fault.CodeOf(err) != "marking.nothing_left" {
			t.Fatal(err)
		}
		queue, err := w.ListMarkingQueue(w.as(ben), &assessmentpb.ListMarkingQueueRequest{CourseId: course, ItemId: item, State: "all", Order: "student"})
		if err != nil {
			t.Fatal(err)
		}
		list, err := w.attempts.ListAttempts(w.as(ben), &assessmentpb.ListAttemptsRequest{CourseId: course, ItemId: item, PageSize: 1})
		if err != nil {
			t.Fatal(err)
		}
		next, err := w.attempts.ListAttempts(w.as(ben), &assessmentpb.ListAttemptsRequest{CourseId: course, ItemId: item, Cursor: list.GetNextCursor()})
		if err != nil || len(next.GetItems()) != 1 {
			t.Fatal(next, err)
		}
		told = fmt.Sprint(m, queue, list, next)
		for _, st := range w.students {
			one, err := w.attempts.GetAttemptForMarking(w.as(ben), &assessmentpb.GetAttemptForMarkingRequest{CourseId: course, AttemptId: st.attempt.GetId()})
			if err != nil {
				t.Fatal(err)
			}
			of, err := w.attempts.ListAttempts(w.as(ben), &assessmentpb.ListAttemptsRequest{CourseId: course, ItemId: item, AccountId: st.account})
			if err != nil {
				t.Fatal(err)
			}
			told += fmt.Sprint(one, of)
		}
		return told
	}
	told := leaks()
	for i, st := range w.students {
		if strings.Contains(told, st.account) {
			t.Errorf("student %d is named", i)
		}
		if _, err := w.mark(w.as(ben), st.attempt.GetId(), points("1")); err != nil {
			t.Fatal(err)
		}
	}
	if told := leaks(); strings.Contains(told, w.students[0].account) {
		t.Error("named before it is posted")
	}
	marks := 0
	for _, e := range outboxOf[assessmentpb.MarkChanged](&quizWorld{world: w.world}) {
		if e.GetSourceId() != "" || !e.GetAnonymous() {
			t.Errorf("the gradebook is told whose attempt it is: %v", e)
		}
		if e.GetState() == "marked" {
			marks++
		}
	}
	if marks != len(w.students) {
		t.Errorf("%d marks", marks)
	}
	hear(w.world, w.service.postingChanged, &gradespb.PostingChanged{CourseId: course, ItemId: item, AccountIds: []string{w.students[0].account}, Policy: "manual", Posted: true, Version: 2})
	if told := leaks(); !strings.Contains(told, w.students[0].account) || strings.Contains(told, w.students[1].account) {
		t.Error("who is posted is not named, or the other is")
	}
}

// TestPseudonymsByAccount: who asks for the attempts of one account, or of an item that
// shows another quiz by now, is not told by the cursor whose they are.
func TestPseudonymsByAccount(t *testing.T) {
	t.Parallel()
	w := newMarkingWorld(t, 2, &assessmentpb.QuizSettings{AnonymousMarking: true})
	ben, course, item, st := id.New("account"), w.taken.course, w.taken.item, w.students[0]
	hear(w.world, w.service.postingChanged, &gradespb.PostingChanged{CourseId: course, ItemId: item, Policy: "manual", Version: 1})
	if _, err := w.attempts.StartAttempt(w.as(st.account), &assessmentpb.StartAttemptRequest{CourseId: course, ItemId: item}); err != nil {
		t.Fatal(err)
	}
	list := func(account string) *assessmentpb.ListAttemptsResponse {
		t.Helper()
		return must(w.attempts.ListAttempts(w.as(ben), &assessmentpb.ListAttemptsRequest{CourseId: course, ItemId: item, AccountId: account, PageSize: 1}))(t)
	}
	if of := list(st.account); len(of.GetItems()) > 0 || of.GetNextCursor() != "" {
		t.Errorf("of an account: %v", of)
	}
	other := w.publishQuiz(course, quizOf(&assessmentpb.QuizSettings{}, []string{w.essay}))
	w.exec(`UPDATE placement SET ref = $2 WHERE item_id = $1`, item, other.quiz)
	all := list("")
	if len(all.GetItems()) != 1 || all.GetItems()[0].GetPseudonym() == "" {
		t.Fatalf("once the item shows another quiz: %v", all)
	}
	if values := must(page.Values(all.GetNextCursor(), 3))(t); values[0] != "" {
		t.Errorf("the cursor has %q", values)
	}
	hear(w.world, w.service.postingChanged, &gradespb.PostingChanged{CourseId: course, ItemId: item, Policy: "manual", Posted: true, Version: 2, AccountIds: []string{w.students[1].account}})
	if _, err := w.mark(w.as(ben), w.students[1].attempt.GetId(), points("1")); err != nil {
		t.Fatal(err)
	}
	if of := list(w.students[1].account); len(of.GetItems()) != 1 || of.GetItems()[0].GetAccountId() != w.students[1].account {
		t.Errorf("of one who is posted: %v", of)
	}
}

// TestPseudonymsTellNoMoment: who marks is told nothing by which the gradebook, or a
// receipt, would tell whose an attempt is.
func TestPseudonymsTellNoMoment(t *testing.T) {
	t.Parallel()
	w := newMarkingWorld(t, 0, &assessmentpb.QuizSettings{AnonymousMarking: true, TimeLimitSeconds: 600})
	ben, course, item := id.New("account"), w.taken.course, w.taken.item
	hear(w.world, w.service.postingChanged, &gradespb.PostingChanged{CourseId: course, ItemId: item, Policy: "manual", Version: 1})
	st := w.start(w.taken)
	w.exec(`UPDATE attempt SET breaks = true`)
	// What is left of an attempt once everything that grows with time is taken out.
	moments := func(a *assessmentpb.Attempt) string {
		out := a.GetAccountId()
		for _, at := range []*timestamppb.Timestamp{a.GetStartedAt(), a.GetExpiresAt(), a.GetGraceUntil(), a.GetClosesAt(), a.GetPausedAt(), a.GetSavedAt(), a.GetSubmittedAt()} {
			if at != nil {
				out += " " + at.AsTime().String()
			}
		}
		return out + fmt.Sprint(a.RemainingMs != nil, len(a.GetClients()), len(a.GetNotices()), a.GetBreaks())
	}
	look := func(when string) {
		t.Helper()
		list := must(w.attempts.ListAttempts(w.as(ben), &assessmentpb.ListAttemptsRequest{CourseId: course, ItemId: item}))(t).GetItems()
		list = append(list, must(w.attempts.GetAttemptForMarking(w.as(ben), &assessmentpb.GetAttemptForMarkingRequest{CourseId: course, AttemptId: st.attempt.GetId()}))(t))
		for _, a := range list {
			if told := moments(a); told != "false 0 0 false" || a.GetPseudonym() == "" {
				t.Errorf("%s: told %q of %q", when, told, a.GetPseudonym())
			}
		}
		if len(list) != 2 {
			t.Errorf("%s: %d attempts", when, len(list))
		}
		for _, o := range must(w.attempts.ListOperations(w.as(ben), &assessmentpb.ListOperationsRequest{CourseId: course, AttemptId: st.attempt.GetId()}))(t).GetItems() {
			if o.GetReceivedAt() != nil || o.GetOperation().GetClientTime() != nil || o.GetLine() != "" {
				t.Errorf("%s: operation %v", when, o)
			}
		}
	}
	answer := text(1, 1, "Because.")
	answer.ClientTime = timestamppb.New(w.now())
	st.send(laptop, answer)
	look("while it runs")
	st.submit()
	w.scored()
	st.send(laptop, text(2, 1, "Because of that."))
	look("submitted")
	queue := must(w.ListMarkingQueue(w.as(ben), &assessmentpb.ListMarkingQueueRequest{CourseId: course, ItemId: item}))(t).GetItems()
	if len(queue) != 1 || queue[0].GetSubmittedAt() != nil || queue[0].GetPseudonym() == "" {
		t.Errorf("queue: %v", queue)
	}
	r := must(w.attempts.AcceptLateAnswers(w.as(ben), &assessmentpb.AcceptLateAnswersRequest{CourseId: course, AttemptId: st.attempt.GetId(), Seqs: []int64{3}, Reason: "The line was down"}))(t)
	if r.GetNumber() != 2 || r.GetSubmittedAt() != nil || r.GetCreatedAt() != nil || r.GetHeader()+r.GetSha256()+r.GetSignature() != "" {
		t.Errorf("receipt: %v", r)
	}
	own := must(w.attempts.GetReceipt(w.as(st.account), &assessmentpb.GetReceiptRequest{AttemptId: st.attempt.GetId()}))(t)
	if !strings.Contains(own.GetHeader(), st.account) || len(own.GetSha256()) != 64 || own.GetNumber() != 2 {
		t.Errorf("their own: %v", own)
	}
}

func TestMarkingNeedsPermission(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_, _, permission string) bool { return permission != "submission.mark" })
	m := assessmentpb.NewMarkingServiceClient(w.harness.As("edge"))
	_, err := m.ClaimNext(w.as(id.New("account")), &assessmentpb.ClaimNextRequest{CourseId: id.New("course"), ItemId: id.New("activity")})
	if fault.KindOf(err) != fault.Forbidden {
		t.Error(err)
	}
}
