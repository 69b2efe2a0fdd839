package assessment

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

func TestCopyQuiz(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	ctx := w.as(w.teacher)
	there, shared := w.bank.course(w.teacher), w.bank.course(w.teacher)
	for _, with := range []string{w.course, there} {
		if _, err := w.bank.ShareBank(ctx, &assessmentpb.ShareBankRequest{CourseId: shared, WithCourseId: with}); err != nil {
			t.Fatal(err)
		}
	}
	picture := w.bank.picture(w.course)
	content := &questionpb.QuestionContent{Title: "Own", Prompt: "![A bust](media:" + picture + ")", Body: truth("", "").GetBody()}
	own := w.bank.add(ctx, w.course, "", content, "bust").GetId()
	if _, err := w.bank.UpdateQuestion(ctx, &assessmentpb.UpdateQuestionRequest{CourseId: w.course, QuestionId: own, Content: truth("Own", "Otherwise?")}); err != nil {
		t.Fatal(err)
	}
	theirs := w.bank.add(ctx, shared, "", truth("Shared", "?")).GetId()
	settings := &assessmentpb.QuizSettings{Attempts: 3, Sections: []*assessmentpb.QuizSection{section(
		&assessmentpb.QuizSlot{Points: "4", Source: &assessmentpb.QuizSlot_Question{Question: &assessmentpb.FixedQuestion{QuestionId: own, Version: 1}}},
		drawn(w.bank.category(ctx, w.course, "", "Own"), 1), asked(theirs),
	), section(drawn(w.bank.category(ctx, shared, "", "Shared"), 1))}}
	quizID := w.create(settings).GetId()
	same, err := w.CopyQuiz(ctx, &assessmentpb.CopyQuizRequest{CourseId: w.course, QuizId: quizID, Title: "Again"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(settings, same.GetQuiz().GetSettings(), protocmp.Transform()); diff != "" || same.GetQuiz().GetTitle() != "Again" || same.GetCopiedQuestions() != 0 {
		t.Errorf("in the same course %v (-want +got):\n%s", same, diff)
	}
	w.outside.editor[w.teacher+there] = true
	got, err := w.CopyQuiz(ctx, &assessmentpb.CopyQuizRequest{CourseId: w.course, QuizId: quizID, ToCourseId: there})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetLeftOut() != 1 || got.GetCopiedQuestions() != 1 || got.GetQuiz().GetCourseId() != there || got.GetQuiz().GetTitle() != "The Stoics" || got.GetQuiz().GetVersion() != 0 {
		t.Errorf("copied: %v", got)
	}
	copied := got.GetQuiz().GetSettings().GetSections()[0].GetSlots()[0].GetQuestion().GetQuestionId()
	want := proto.CloneOf(settings)
	want.Sections[0].Slots = []*assessmentpb.QuizSlot{
		{Points: "4", Source: &assessmentpb.QuizSlot_Question{Question: &assessmentpb.FixedQuestion{QuestionId: copied}}}, want.Sections[0].Slots[2],
	}
	if diff := cmp.Diff(want, got.GetQuiz().GetSettings(), protocmp.Transform()); diff != "" {
		t.Errorf("copied (-want +got):\n%s", diff)
	}
	q, err := w.bank.GetQuestion(ctx, &assessmentpb.GetQuestionRequest{CourseId: there, QuestionId: copied})
	if err != nil || q.GetCourseId() != there || q.GetVersion() != 1 || w.outside.copied != 1 || q.GetContent().GetPrompt() == content.GetPrompt() {
		t.Errorf("its question: %v, %v", q, err)
	}
	for name, to := range map[string]string{"one that is not theirs": "course_01h455vb4pex5vsknk084sn02q"} {
		if _, err := w.CopyQuiz(ctx, &assessmentpb.CopyQuizRequest{CourseId: w.course, QuizId: quizID, ToCourseId: to}); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
