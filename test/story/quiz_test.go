package story_test

import (
	"fmt"
	"testing"
	"time"
)

// TestQuiz follows a quiz from its questions to its review, and into a copy of its
// course.
func TestQuiz(t *testing.T) {
	t.Parallel()
	inBoth(t, shared, sharedApart, func(t *testing.T, in *installation) {
		q := writeQuiz(t, in)
		q.take(t)
		q.posted(t)
		q.copied(t)
	})
}

// quizzed is a course with a quiz, and the people around it.
type quizzed struct {
	teacher, student *person
	course, path     string
	quiz, item       string
	attempt          string // its path
}

// roomWord is what the room is told.
const roomWord = "Zeno of Citium"

// writeQuiz makes a quiz of one question and of two that are drawn of three, shows it in
// a course and enrolls somebody.
func writeQuiz(t *testing.T, in *installation) *quizzed {
	t.Helper()
	q := &quizzed{teacher: in.signUp(t, "Quiz Teacher"), student: in.signUp(t, "Quiz Student")}
	course, _ := draft(t, q.teacher, "Stoics and Sceptics")
	q.course, q.path = course, "/v1/courses/"+course
	category := q.teacher.do(t, 201, "POST", q.path+"/question-categories", map[string]any{"name": "Ethics"}).text("id")
	question := func(n int, category string) string {
		return q.teacher.do(t, 201, "POST", q.path+"/questions", map[string]any{"category_id": category, "tags": []string{"Stoa"}, "content": map[string]any{
			"title": fmt.Sprintf("Question %d", n), "prompt": "Is virtue the only good?", "general_feedback": "So they said.", "true_false": map[string]any{"right": true},
		}}).text("id")
	}
	first := question(1, "")
	for n := range 3 {
		question(n+2, category)
	}
	settings := map[string]any{
		"instructions": "Take your time.", "time_limit_seconds": 600, "max_points": "10", "attempts": 1,
		"sections": []any{map[string]any{"shuffle": true, "slots": []any{
			map[string]any{"question": map[string]any{"question_id": first}}, map[string]any{"draw": map[string]any{"category_id": category, "count": 2, "tags": []string{"stoa"}}},
		}}},
		"review": map[string]any{"after": map[string]any{"attempt": true, "marks": true, "correctness": true}, "later": map[string]any{"attempt": true, "marks": true, "correctness": true}},
	}
	refused := q.teacher.do(t, 400, "POST", q.path+"/quizzes", map[string]any{"title": "Stoics", "settings": map[string]any{"sections": []any{map[string]any{"slots": []any{
		map[string]any{"question": map[string]any{"question_id": "question_01h455vb4pex5vsknk084sn02q"}},
	}}}}})
	if refused.text("code") != "quiz.invalid" || refused.text("fields.0.code") != "question.not_found" {
		t.Errorf("a quiz of nothing: %s", refused)
	}
	made := q.teacher.do(t, 201, "POST", q.path+"/quizzes", map[string]any{"title": "Stoics", "settings": settings, "password": roomWord})
	q.quiz = made.text("id")
	q.student.do(t, 404, "GET", q.path+"/quizzes/"+q.quiz, nil)
	published := q.teacher.do(t, 200, "POST", q.path+"/quizzes/"+q.quiz+"/publish", map[string]any{"message": "First"}, "If-Match", made.header.Get("ETag"))
	if published.number("version") != 1 || published.number("question_count") != 3 {
		t.Errorf("published: %s", published)
	}
	q.teacher.do(t, 409, "DELETE", q.path+"/question-categories/"+category, nil)
	module := q.teacher.do(t, 201, "POST", q.path+"/modules", map[string]any{"title": "Exam"}).text("id")
	q.item = q.teacher.do(t, 201, "POST", q.path+"/activities", map[string]any{
		"kind": "quiz", "module_id": module, "title": "Exam", "activity_ref": q.quiz,
		"settings": map[string]any{"schedule": map[string]any{"until": map[string]any{"at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}}},
	}).text("id")
	publish(t, q.teacher, course, 0)
	eventually(t, soon, "the course takes people", func() (bool, string) {
		a, err := q.student.try(t.Context(), "POST", q.path+"/enrollments", nil)
		return err == nil && a.status == 201, a.String()
	})
	eventually(t, soon, "the enrollment", enrolled(t, q.student, course))
	return q
}

// take has the student take the quiz.
func (q *quizzed) take(t *testing.T) {
	t.Helper()
	mine := q.path + "/my-quizzes/" + q.item
	eventually(t, soon, "the quiz is open", func() (bool, string) {
		a, err := q.student.try(t.Context(), "GET", mine, nil)
		return err == nil && a.status == 200 && a.at("can_start") == true && a.text("closes_at") != "", a.String()
	})
	if a := q.student.do(t, 200, "GET", mine, nil); a.text("title") != "Stoics" || a.number("question_count") != 3 || a.at("has_password") != true || a.number("attempts") != 1 {
		t.Errorf("before it begins: %s", a)
	}
	q.teacher.do(t, 403, "GET", mine, nil)
	attempts := q.path + "/items/" + q.item + "/attempts"
	if a := q.student.do(t, 403, "POST", attempts, map[string]any{"password": "Zenon"}); a.text("code") != "attempt.password" {
		t.Errorf("with another password: %s", a)
	}
	begun := q.student.do(t, 200, "POST", attempts, map[string]any{"password": roomWord})
	attempt := "/v1/attempts/" + begun.text("id")
	q.attempt = attempt
	if n := len(begun.at("questions").([]any)); n != 3 { //nolint:forcetypeassert // fails the test
		t.Errorf("%d questions: %s", n, begun)
	}
	if a := q.student.do(t, 200, "GET", mine, nil); a.text("running_attempt_id") != begun.text("id") || a.text("refusal.code") != "attempt.none_left" {
		t.Errorf("while it runs: %s", a)
	}
	q.student.do(t, 200, "POST", attempt+"/operations", map[string]any{"client_id": "laptop-1", "operations": []any{
		map[string]any{"client_seq": 1, "kind": "answer", "slot": 1, "answer": map[string]any{"true_false": map[string]any{"value": true}}},
		map[string]any{"client_seq": 2, "kind": "answer", "slot": 2, "answer": map[string]any{"true_false": map[string]any{"value": true}}},
		map[string]any{"client_seq": 3, "kind": "answer", "slot": 3, "answer": map[string]any{"true_false": map[string]any{"value": false}}},
	}})
	q.student.do(t, 200, "POST", attempt+"/submit", map[string]any{})
	eventually(t, soon, "the grade", func() (bool, string) {
		a, err := q.student.try(t.Context(), "GET", mine, nil)
		return err == nil && a.text("points") == "6.666667" && a.text("points_of") == "10" && a.text("my_attempts.0.state") == "graded", a.String()
	})
	review := q.student.do(t, 200, "GET", attempt, nil)
	if review.text("points") != "6.666667" || review.text("questions.0.outcome.state") != "right" || review.text("questions.2.outcome.state") != "wrong" {
		t.Errorf("the review: %s", review)
	}
	// What the matrix does not show.
	for _, hidden := range []string{"questions.0.outcome.general_feedback", "questions.0.outcome.right_text", "questions.0.outcome.right_answer"} {
		if v := review.at(hidden); v != nil && v != "" {
			t.Errorf("the review tells %s: %s", hidden, review)
		}
	}
	eventually(t, soon, "learning knows that it was handed in", func() (bool, string) {
		a, err := q.student.try(t.Context(), "GET", q.path+"/items/"+q.item+"/progress", nil)
		return err == nil && a.at("completed_at") != nil, a.String()
	})
	if a := q.student.do(t, 409, "POST", attempts, map[string]any{"password": roomWord}); a.text("code") != "attempt.none_left" {
		t.Errorf("once more: %s", a)
	}
	q.teacher.do(t, 409, "DELETE", q.path+"/quizzes/"+q.quiz, nil)
}

// posted has the grade come into the gradebook, be hidden there and be posted again.
func (q *quizzed) posted(t *testing.T) {
	t.Helper()
	grade := func(points string, posted bool) {
		t.Helper()
		eventually(t, soon, fmt.Sprintf("a grade of %q", points), func() (bool, string) {
			a, err := q.student.try(t.Context(), "GET", "/v1/me/courses/"+q.course+"/grades", nil)
			if err != nil {
				return false, err.Error()
			}
			for _, it := range a.items() {
				if it.text("item_id") == q.item {
					return it.text("points") == points && it.at("posted") == posted, a.String()
				}
			}
			return false, a.String()
		})
	}
	// What the review shows follows the gradebook.
	shown := func(points, state string) {
		t.Helper()
		eventually(t, soon, fmt.Sprintf("a review with %q and %q", points, state), func() (bool, string) {
			a, err := q.student.try(t.Context(), "GET", q.attempt, nil)
			return err == nil && a.text("points") == points && a.text("questions.0.outcome.state") == state, a.String()
		})
		a := q.student.do(t, 200, "GET", q.path+"/my-quizzes/"+q.item, nil)
		if a.text("points") != points || a.text("my_attempts.0.points") != points {
			t.Errorf("the quiz tells %q and %q, want %q", a.text("points"), a.text("my_attempts.0.points"), points)
		}
	}
	grade("6.666667", true)
	shown("6.666667", "right")
	column := q.path + "/gradebook/columns/" + q.item
	q.teacher.do(t, 200, "POST", column+"/hide", map[string]any{})
	grade("", false)
	shown("", "")
	q.teacher.do(t, 200, "POST", column+"/post", map[string]any{})
	grade("6.666667", true)
	shown("6.666667", "right")
}

// copied has the course be copied: its activity shows a quiz of its own.
func (q *quizzed) copied(t *testing.T) {
	t.Helper()
	copied := q.teacher.do(t, 200, "POST", q.path+"/duplicate", map[string]any{}).text("course.id")
	eventually(t, soon, "the copy has its quiz", func() (bool, string) {
		a, err := q.teacher.try(t.Context(), "GET", "/v1/courses/"+copied+"/quizzes", nil)
		return err == nil && len(a.items()) == 1 && a.number("items.0.version") == 1 && a.text("items.0.id") != q.quiz, a.String()
	})
	quiz := q.teacher.do(t, 200, "GET", "/v1/courses/"+copied+"/quizzes", nil).text("items.0.id")
	shown := false
	for _, it := range q.teacher.do(t, 200, "GET", "/v1/courses/"+copied+"/outline?view=draft", nil).items() {
		shown = shown || it.text("kind") == "quiz" && q.teacher.do(t, 200, "GET", "/v1/courses/"+copied+"/activities/"+it.text("id"), nil).text("activity_ref") == quiz
	}
	if !shown {
		t.Error("no activity of the copy shows its quiz")
	}
	if n := len(q.teacher.do(t, 200, "GET", "/v1/courses/"+copied+"/questions", nil).items()); n != 4 {
		t.Errorf("the copy's bank has %d questions", n)
	}
}
