package assessment

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// TestQuestionUses: a question that a draft names, a published quiz asks, or a draw may
// draw, is told to be used for as long as it is, and stays in the bank.
func TestQuestionUses(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	ctx := w.as(w.teacher)
	outer := w.bank.category(ctx, w.course, "", "Outer")
	inner := w.bank.category(ctx, w.course, outer, "Inner")
	asks, other := w.question("Asked"), w.question("Other")
	pooled := w.bank.add(ctx, w.course, inner, truth("Pooled", "?"), "hard", "short").GetId()
	deep := func(category string, tags ...string) *assessmentpb.QuizSlot {
		slot := drawn(category, 1, tags...)
		slot.GetDraw().Deep = true
		return slot
	}
	of := func(slots ...*assessmentpb.QuizSlot) *assessmentpb.QuizSettings {
		return &assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(slots...)}}
	}
	names := map[string]string{}
	uses := func(what, questionID string, want ...string) {
		t.Helper()
		res := must(w.bank.ListQuestionUses(ctx, &assessmentpb.ListQuestionUsesRequest{CourseId: w.course, QuestionId: questionID}))(t)
		got := []string{}
		for _, u := range res.GetItems() {
			line := names[u.GetQuizId()]
			if u.GetDraft() {
				line += " draft"
			}
			if u.GetDraftDraws() {
				line += " draws"
			}
			if u.GetPublishedVersion() > 0 {
				line += fmt.Sprint(" published ", u.GetPublishedVersion())
			}
			got = append(got, line)
		}
		slices.Sort(got)
		if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	stays := func(what, questionID string) {
		t.Helper()
		_, err := w.bank.DeleteQuestion(ctx, &assessmentpb.DeleteQuestionRequest{CourseId: w.course, QuestionId: questionID})
		expect(t, what, fault.CodeOf(err), "question.used")
	}
	uses("used nowhere", asks)
	one := w.create(of(asked(asks), asked(other))).GetId()
	names[one] = "one"
	uses("of a draft", asks, "one draft")
	stays("of a draft", asks)
	w.publish(one)
	uses("published", asks, "one draft published 1")
	must(w.bank.UpdateQuestion(ctx, &assessmentpb.UpdateQuestionRequest{CourseId: w.course, QuestionId: asks, Content: truth("Asked", "Otherwise?")}))(t)
	uses("changed since", asks, "one draft published 1")
	w.update(one, of(asked(other)))
	uses("out of the draft", asks, "one published 1")
	stays("out of the draft", asks)
	w.publish(one)
	uses("out of both", asks)
	if _, err := w.bank.DeleteQuestion(ctx, &assessmentpb.DeleteQuestionRequest{CourseId: w.course, QuestionId: asks}); err != nil {
		t.Errorf("out of both: %v", err)
	}

	two, three := w.create(of(deep(outer, "hard"))).GetId(), w.create(of(drawn(outer, 1))).GetId()
	four, five := w.create(of(drawn(inner, 1, "hard", "short"))).GetId(), w.create(of(deep(inner, "easy"))).GetId()
	names[two], names[three], names[four], names[five] = "two", "three", "four", "five"
	uses("of pools", pooled, "four draws", "two draws")
	for _, category := range []string{outer, inner} {
		_, err := w.bank.DeleteCategory(ctx, &assessmentpb.DeleteCategoryRequest{CourseId: w.course, CategoryId: category})
		expect(t, "a category", fault.CodeOf(err), "category.drawn_from")
	}
	w.publish(two)
	uses("of a published pool", pooled, "four draws", "two draws published 1")
	stays("of a published pool", pooled)
	w.update(two, of(asked(other)))
	uses("published before", pooled, "four draws", "two published 1")
	stays("published before", pooled)
	if _, err := w.DeleteQuiz(ctx, &assessmentpb.DeleteQuizRequest{CourseId: w.course, QuizId: two}); err != nil {
		t.Fatal(err)
	}
	uses("of a quiz that is gone", pooled, "four draws")
	for _, quizID := range []string{three, four, five} {
		w.update(quizID, of(asked(other)))
	}
	uses("of none", pooled)
	if _, err := w.bank.DeleteQuestion(ctx, &assessmentpb.DeleteQuestionRequest{CourseId: w.course, QuestionId: pooled}); err != nil {
		t.Errorf("of none: %v", err)
	}
	for _, category := range []string{inner, outer} {
		if _, err := w.bank.DeleteCategory(ctx, &assessmentpb.DeleteCategoryRequest{CourseId: w.course, CategoryId: category}); err != nil {
			t.Errorf("a category that nothing draws from: %v", err)
		}
	}
}
