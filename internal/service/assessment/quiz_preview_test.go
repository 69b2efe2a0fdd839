package assessment

import (
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

func (w *quizWorld) previews() assessmentpb.PreviewServiceClient {
	return assessmentpb.NewPreviewServiceClient(w.harness.As("edge"))
}

func (w *quizWorld) preview(quizID string, published bool) *student {
	w.t.Helper()
	a := must(w.previews().StartPreview(w.as(w.teacher), &assessmentpb.StartPreviewRequest{CourseId: w.course, QuizId: quizID, Published: published}))(w.t)
	return &student{world: w.world, account: w.teacher, attempt: a}
}

// TestPreview: a draft is tried as it is, in spite of its windows, password and networks;
// all is shown in the end, and it counts nowhere.
func TestPreview(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	ctx, first := w.as(w.teacher), w.question("First")
	settings := &assessmentpb.QuizSettings{
		Attempts: 1, AddressRanges: []string{"192.0.2.1"}, Overtime: "abandon", GraceSeconds: 5, TimeLimitSeconds: 60, Review: &assessmentpb.ReviewMatrix{},
		Sections: []*assessmentpb.QuizSection{section(asked(first))},
	}
	z := must(w.CreateQuiz(ctx, &assessmentpb.CreateQuizRequest{CourseId: w.course, Title: "Tried", Settings: settings, Password: "a word for the room"}))(t)
	w.around.say(w.teacher, &learningpb.ItemAccess{State: "hidden", ClosesAt: timestamppb.New(w.now().Add(-time.Hour))})
	st := w.preview(z.GetId(), false)
	if a := st.attempt; !a.GetPreview() || a.GetState() != "in_progress" || a.GetQuizVersion() != 0 || a.GetItemId() != "" || len(a.GetQuestions()) != 1 || !a.GetExpiresAt().AsTime().Equal(w.now().Add(time.Minute)) {
		t.Fatalf("the preview: %v", a)
	}
	// What is tried does not change under who tries it.
	w.update(z.GetId(), &assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(asked(first), asked(w.question("Second")))}})
	if n := len(st.get().GetQuestions()); n != 1 {
		t.Errorf("%d questions once the draft has changed", n)
	}
	truth := &questionpb.Answer{Content: &questionpb.Answer_TrueFalse{TrueFalse: &questionpb.TrueFalseAnswer{Value: true}}}
	expect(t, "an answer", st.verdicts(laptop, &assessmentpb.Operation{ClientSeq: 1, Kind: opAnswer, Slot: 1, Answer: truth}), "accepted")
	w.later(2 * time.Minute)
	w.end()
	w.scored()
	over := st.get()
	if over.GetState() != "graded" || over.GetPoints() != "1" || over.GetQuestions()[0].GetOutcome().GetRightText() == "" {
		t.Errorf("once it is over: %v", over)
	}
	media := assessmentpb.NewQuestionMediaServiceClient(w.harness.As("edge"))
	if _, err := media.ListAttemptMedia(ctx, &assessmentpb.ListAttemptMediaRequest{AttemptId: over.GetId()}); err != nil {
		t.Errorf("its files: %v", err)
	}
	got := must(w.previews().GetPreview(ctx, &assessmentpb.GetPreviewRequest{CourseId: w.course, QuizId: z.GetId()}))(t)
	if got.GetId() != over.GetId() || !got.GetReviewable() || len(got.GetQuestions()) != 0 {
		t.Errorf("asked for: %v", got)
	}

	// Nowhere.
	if mine := must(w.attempts.ListMyAttempts(ctx, &assessmentpb.ListMyAttemptsRequest{}))(t); len(mine.GetItems()) != 0 {
		t.Errorf("listed: %v", mine)
	}
	for _, sql := range []string{`SELECT account_id FROM quiz_mark`, `SELECT name FROM outbox WHERE name LIKE 'stoa.assessment.%'`} {
		if rows := w.query(sql); len(rows) != 0 {
			t.Errorf("%s: %v", sql, rows)
		}
	}
	if uses := must(w.bank.ListQuestionUses(ctx, &assessmentpb.ListQuestionUsesRequest{CourseId: w.course, QuestionId: first}))(t); uses.GetAttempts() != 0 {
		t.Errorf("uses: %v", uses)
	}
	expect(t, "for marking", codeOf(w.attempts.GetAttemptForMarking(ctx, &assessmentpb.GetAttemptForMarkingRequest{CourseId: w.course, AttemptId: over.GetId()})), "attempt.not_found")
	expect(t, "somebody else's", codeOf(w.attempts.GetAttempt(w.as(id.New("account")), &assessmentpb.GetAttemptRequest{AttemptId: over.GetId()})), "attempt.not_found")
	expect(t, "of what is published", codeOf(w.previews().StartPreview(ctx, &assessmentpb.StartPreviewRequest{CourseId: w.course, QuizId: z.GetId(), Published: true})), "preview.not_published")
	w.publish(z.GetId())
	if a := w.preview(z.GetId(), true).attempt; a.GetQuizVersion() != 1 || len(a.GetQuestions()) != 2 {
		t.Errorf("of what is published: %v", a)
	}
	if _, err := w.DeleteQuiz(ctx, &assessmentpb.DeleteQuizRequest{CourseId: w.course, QuizId: z.GetId()}); err != nil {
		t.Errorf("a quiz that was only tried: %v", err)
	}
}

// TestOnePreview: another preview, whatever it is of, throws the one before away, and so
// does a day.
func TestOnePreview(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	ctx := w.as(w.teacher)
	one := w.create(&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(asked(w.question("One")))}}).GetId()
	two := w.create(&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(asked(w.question("Two")))}}).GetId()
	gone := func(what string, st *student) {
		t.Helper()
		expect(t, what, codeOf(st.attempts.GetAttempt(ctx, &assessmentpb.GetAttemptRequest{AttemptId: st.attempt.GetId()})), "attempt.not_found")
		expect(t, what+", answers", codeOf(st.try(laptop, do(1, opFlag, 1))), "attempt.not_found")
	}
	first := w.preview(one, false)
	second := w.preview(one, false)
	gone("the one before", first)
	third := w.preview(two, false)
	gone("of another quiz", second)
	expect(t, "of the first quiz", codeOf(w.previews().GetPreview(ctx, &assessmentpb.GetPreviewRequest{CourseId: w.course, QuizId: one})), "preview.not_found")
	if _, err := w.previews().DiscardPreview(ctx, &assessmentpb.DiscardPreviewRequest{CourseId: w.course, QuizId: two}); err != nil {
		t.Fatal(err)
	}
	gone("thrown away", third)
	expect(t, "twice", codeOf(w.previews().DiscardPreview(ctx, &assessmentpb.DiscardPreviewRequest{CourseId: w.course, QuizId: two})), "preview.not_found")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := w.previews().StartPreview(ctx, &assessmentpb.StartPreviewRequest{CourseId: w.course, QuizId: one}); err != nil && !fault.Is(err, fault.NotFound) {
				t.Errorf("at once: %v", err) // one whose preview another has thrown away may not find it
			}
		})
	}
	wg.Wait()
	if n := w.query(`SELECT count(*)::text FROM attempt WHERE preview AND discarded_at IS NULL`)[0]; n != "1" {
		t.Errorf("%s previews", n)
	}
	w.later(previewFor)
	if _, err := w.service.dropOldPreviews(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := w.query(`SELECT quiz_id FROM quiz_preview UNION ALL SELECT id FROM attempt WHERE preview AND discarded_at IS NULL`); len(left) != 0 {
		t.Errorf("after a day: %v", left)
	}
}
