package assessment

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
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
	gone := w.bank.course(w.teacher)
	if _, err := w.bank.ShareBank(ctx, &assessmentpb.ShareBankRequest{CourseId: gone, WithCourseId: w.course}); err != nil {
		t.Fatal(err)
	}
	picture := w.bank.picture(w.course)
	content := &questionpb.QuestionContent{Title: "Own", Prompt: "![A bust](media:" + picture + ")", Body: truth("", "").GetBody()}
	ownCategory := w.bank.category(ctx, w.course, "", "Own")
	inner := w.bank.category(ctx, w.course, ownCategory, "Inner")
	own := w.bank.add(ctx, w.course, inner, content, "bust").GetId()
	if _, err := w.bank.UpdateQuestion(ctx, &assessmentpb.UpdateQuestionRequest{CourseId: w.course, QuestionId: own, Content: truth("Own", "Otherwise?")}); err != nil {
		t.Fatal(err)
	}
	w.bank.add(ctx, w.course, inner, truth("Drawn", "?"), "bust")
	theirs := w.bank.add(ctx, shared, "", truth("Shared", "?")).GetId()
	lost := w.bank.add(ctx, gone, "", truth("Lost", "?")).GetId()
	draw := drawn(ownCategory, 1, "bust")
	draw.GetDraw().Deep = true
	settings := &assessmentpb.QuizSettings{Attempts: 3, Sections: []*assessmentpb.QuizSection{section(
		&assessmentpb.QuizSlot{Points: "4", Source: &assessmentpb.QuizSlot_Question{Question: &assessmentpb.FixedQuestion{QuestionId: own, Version: 1}}},
		draw, asked(theirs), asked(lost),
	), section(drawn(w.bank.category(ctx, shared, "", "Shared"), 1))}}
	quizID := w.create(settings).GetId()
	same, err := w.CopyQuiz(ctx, &assessmentpb.CopyQuizRequest{CourseId: w.course, QuizId: quizID, Title: "Again"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(settings, same.GetQuiz().GetSettings(), protocmp.Transform()); diff != "" || same.GetQuiz().GetTitle() != "Again" || same.GetCopiedQuestions() != 0 {
		t.Errorf("in the same course %v (-want +got):\n%s", same, diff)
	}
	if _, err := w.bank.UnshareBank(ctx, &assessmentpb.UnshareBankRequest{CourseId: gone, WithCourseId: w.course}); err != nil {
		t.Fatal(err)
	}
	w.bank.category(ctx, there, "", "own") // of the same name
	got, err := w.CopyQuiz(ctx, &assessmentpb.CopyQuizRequest{CourseId: w.course, QuizId: quizID, ToCourseId: there})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetLeftOut() != 1 || got.GetCopiedQuestions() != 2 || got.GetQuiz().GetCourseId() != there || got.GetQuiz().GetTitle() != "The Stoics" || got.GetQuiz().GetVersion() != 0 {
		t.Errorf("copied: %v", got)
	}
	slots := got.GetQuiz().GetSettings().GetSections()[0].GetSlots()
	copied := slots[0].GetQuestion().GetQuestionId()
	want := proto.CloneOf(settings)
	want.Sections[0].Slots = []*assessmentpb.QuizSlot{
		{Points: "4", Source: &assessmentpb.QuizSlot_Question{Question: &assessmentpb.FixedQuestion{QuestionId: copied}}}, draw, asked(theirs),
	}
	want.Sections[0].Slots[1].GetDraw().CategoryId = slots[1].GetDraw().GetCategoryId()
	if diff := cmp.Diff(want, got.GetQuiz().GetSettings(), protocmp.Transform()); diff != "" {
		t.Errorf("copied (-want +got):\n%s", diff)
	}
	q, err := w.bank.GetQuestion(ctx, &assessmentpb.GetQuestionRequest{CourseId: there, QuestionId: copied})
	if err != nil || q.GetCourseId() != there || q.GetVersion() != 1 || w.outside.copied != 1 || q.GetContent().GetPrompt() == content.GetPrompt() {
		t.Errorf("its question: %v, %v", q, err)
	}
	paths := w.query(`
		SELECT concat_ws(' / ', p.name, c.name, v.title) FROM question_category c LEFT JOIN question_category p ON p.id = c.parent_id
		LEFT JOIN (question q JOIN question_version v ON v.question_id = q.id) ON q.category_id = c.id WHERE c.course_id = $1 ORDER BY 1`, there)
	if diff := cmp.Diff([]string{"Own (2)", "Own (2) / Inner / Drawn", "Own (2) / Inner / Own", "own"}, paths); diff != "" {
		t.Errorf("its categories (-want +got):\n%s", diff)
	}
	if _, err := w.CopyQuiz(ctx, &assessmentpb.CopyQuizRequest{CourseId: w.course, QuizId: quizID, ToCourseId: id.New("course")}); !fault.Is(err, fault.NotFound) {
		t.Errorf("to a course that is not theirs: %v", err)
	}
}

func TestCopiedWithCourse(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	there := w.bank.course(w.teacher)
	one := w.placed(&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(asked(w.question("One")))}})
	two := w.create(nil).GetId()
	made := ids("quiz", 3)
	e := &coursespb.ActivitiesCopied{CourseId: there, FromCourseId: w.course, AccountId: w.teacher, Quizzes: []*coursespb.CopiedQuiz{
		{QuizId: made[0], FromQuizId: one}, {QuizId: made[1], FromQuizId: id.New("quiz")}, {QuizId: made[2], FromQuizId: two},
	}}
	work := func() {
		t.Helper()
		for more := true; more; {
			var err error
			if more, err = w.service.copyNext(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	hear(w.world, w.service.activitiesCopied, e)
	work()
	hear(w.world, w.service.activitiesCopied, e) // twice
	work()
	got := w.query(`SELECT concat_ws(' ', id, title, version, revision = published_revision, created_by) FROM quiz WHERE course_id = $1 ORDER BY id`, there)
	want := []string{made[0] + " The Stoics 1 t " + w.teacher, made[2] + " The Stoics 0 f " + w.teacher}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if left := w.query(`SELECT quiz_id FROM quiz_copy UNION ALL SELECT assignment_id FROM assignment_copy`); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestAssignmentsAreCopied(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	there, picture := w.bank.course(w.teacher), w.bank.picture(w.course)
	assignments, ctx := assessmentpb.NewAssignmentServiceClient(w.harness.As("edge")), w.as(w.teacher)
	made := func(instructions string) string {
		return must(assignments.CreateAssignment(ctx, &assessmentpb.CreateAssignmentRequest{CourseId: w.course, Title: "Essay", Settings: &assessmentpb.AssignmentSettings{
			Instructions: instructions, Text: &assessmentpb.AssignmentText{}, Group: &assessmentpb.GroupWork{},
		}}))(t).GetId()
	}
	one, two := made("Look at ![this](media:"+picture+")."), made("Write.")
	must(assignments.PublishAssignment(ctx, &assessmentpb.PublishAssignmentRequest{CourseId: w.course, AssignmentId: one}))(t)
	called := ids("assignment", 3)
	e := &coursespb.ActivitiesCopied{CourseId: there, FromCourseId: w.course, AccountId: w.teacher, Assignments: []*coursespb.CopiedAssignment{
		{AssignmentId: called[0], FromAssignmentId: one}, {AssignmentId: called[1], FromAssignmentId: id.New("assignment")}, {AssignmentId: called[2], FromAssignmentId: two},
	}}
	for range 2 {
		hear(w.world, w.service.activitiesCopied, e)
		for more := true; more; {
			var err error
			if more, err = w.service.copyNextAssignment(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := w.query(`SELECT concat_ws(' ', id, title, version, revision = published_revision, created_by, copied_from) FROM assignment WHERE course_id = $1 ORDER BY id`, there)
	want := []string{called[0] + " Essay 1 t " + w.teacher + " " + one, called[2] + " Essay 0 f " + w.teacher + " " + two}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if left := w.query(`SELECT assignment_id FROM assignment_copy`); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	text := must(assignments.GetAssignment(ctx, &assessmentpb.GetAssignmentRequest{CourseId: there, AssignmentId: called[0]}))(t).GetSettings().GetInstructions()
	if named := question.MediaIn(text); len(named) != 1 || w.outside.files[there+named[0]] == "" || w.outside.copied != 1 {
		t.Errorf("its picture: %q, %d copied", text, w.outside.copied)
	}
}
