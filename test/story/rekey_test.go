package story_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestRekey follows a wrong key from the quiz that was scored by it to the gradebook: it is
// looked at, applied, told to the student and undone, and the statistics follow.
func TestRekey(t *testing.T) {
	t.Parallel()
	inBoth(t, shared, sharedApart, rekeyed)
}

func rekeyed(t *testing.T, in *installation) {
	teacher, right, wrong := in.signUp(t, "Key Teacher"), in.signUp(t, "Said Wisdom"), in.signUp(t, "Said Wealth")
	course, _ := draft(t, teacher, "Keys")
	at := "/v1/courses/" + course
	content := func(key string) map[string]any {
		fraction := func(k string) string { return map[bool]string{true: "1", false: "0"}[k == key] }
		return map[string]any{"title": "The good", "prompt": "What is good?", "choice": map[string]any{"options": []any{
			map[string]any{"key": "wealth", "text": "Wealth", "fraction": fraction("wealth")}, map[string]any{"key": "wisdom", "text": "Wisdom", "fraction": fraction("wisdom")},
		}}}
	}
	asked := teacher.do(t, 201, "POST", at+"/questions", map[string]any{"content": content("wealth")})
	question := asked.text("id")
	other := teacher.do(t, 201, "POST", at+"/questions", map[string]any{"content": map[string]any{"title": "Fate", "prompt": "Is all fate?", "true_false": map[string]any{"right": true}}}).text("id")
	slot := func(id string) map[string]any {
		return map[string]any{"question": map[string]any{"question_id": id}}
	}
	made := teacher.do(t, 201, "POST", at+"/quizzes", map[string]any{"title": "Keys", "settings": map[string]any{
		"max_points": "10", "attempts": 1, "sections": []any{map[string]any{"slots": []any{slot(question), slot(other)}}},
	}})
	quiz := made.text("id")
	teacher.do(t, 200, "POST", at+"/quizzes/"+quiz+"/publish", map[string]any{"message": "First"}, "If-Match", made.header.Get("ETag"))
	module := teacher.do(t, 201, "POST", at+"/modules", map[string]any{"title": "Exam"}).text("id")
	item := teacher.do(t, 201, "POST", at+"/activities", map[string]any{"kind": "quiz", "module_id": module, "title": "Exam", "activity_ref": quiz}).text("id")
	publish(t, teacher, course, 0)

	attempts := map[*person]string{}
	for p, key := range map[*person]string{right: "wisdom", wrong: "wealth"} {
		eventually(t, soon, "the course takes people", func() (bool, string) {
			a, err := p.try(t.Context(), "POST", at+"/enrollments", nil)
			return err == nil && a.status == 201, a.String()
		})
		eventually(t, soon, "the attempt begins", func() (bool, string) {
			a, err := p.try(t.Context(), "POST", at+"/items/"+item+"/attempts", map[string]any{})
			attempts[p] = "/v1/attempts/" + a.text("id")
			return err == nil && a.status == 200, a.String()
		})
		p.do(t, 200, "POST", attempts[p]+"/operations", map[string]any{"client_id": "laptop-1", "operations": []any{
			map[string]any{"client_seq": 1, "kind": "answer", "slot": 1, "answer": map[string]any{"choice": map[string]any{"keys": []any{key}}}},
			map[string]any{"client_seq": 2, "kind": "answer", "slot": 2, "answer": map[string]any{"true_false": map[string]any{"value": true}}},
		}})
		p.do(t, 200, "POST", attempts[p]+"/submit", map[string]any{})
	}
	grades := func(what string, ofRight, ofWrong string) {
		t.Helper()
		for p, points := range map[*person]string{right: ofRight, wrong: ofWrong} {
			eventually(t, soon, fmt.Sprintf("%s: the grade of %s", what, p.name), func() (bool, string) {
				a, err := p.try(t.Context(), "GET", "/v1/me/courses/"+course+"/grades", nil)
				if err != nil {
					return false, err.Error()
				}
				for _, it := range a.items() {
					if it.text("item_id") == item {
						return it.text("points") == points, a.String()
					}
				}
				return false, a.String()
			})
		}
	}
	grades("by the wrong key", "5", "10")

	// The right key is a version of the question; what it shows is the same.
	questions := at + "/questions/" + question
	fixed := teacher.do(t, 200, "PATCH", questions, map[string]any{"content": content("wisdom")}, "If-Match", asked.header.Get("ETag"))
	if fixed.number("version") != 2 {
		t.Fatalf("the version: %s", fixed)
	}
	right.do(t, 403, "POST", questions+"/rekeys", map[string]any{"action": "key", "key_version": 2, "reason": "For me"})
	k := teacher.do(t, 201, "POST", questions+"/rekeys", map[string]any{"action": "key", "key_version": 2, "item_id": item, "reason": "Wisdom is the good."})
	rekey := at + "/rekeys/" + k.text("id")
	eventually(t, soon, "it is looked at", func() (bool, string) {
		a, err := teacher.try(t.Context(), "GET", rekey, nil)
		return err == nil && a.text("state") == "ready" && a.number("up") == 1 && a.number("down") == 1 && a.number("marks_up") == 1, a.String()
	})
	list := teacher.do(t, 200, "GET", rekey+"/attempts?change=down", nil)
	if len(list.items()) != 1 || list.text("items.0.account_id") != wrong.account || list.text("items.0.mark_before") != "10" || list.text("items.0.mark_after") != "5" {
		t.Errorf("the preview: %s", list)
	}
	grades("looked at only", "5", "10")
	right.do(t, 403, "GET", rekey, nil)

	teacher.do(t, 200, "POST", rekey+"/apply", map[string]any{})
	grades("by the right key", "10", "5")
	if a := teacher.do(t, 409, "POST", rekey+"/apply", map[string]any{}); a.text("code") != "rekey.applied" {
		t.Errorf("applied again: %s", a)
	}
	review := wrong.do(t, 200, "GET", attempts[wrong], nil)
	if review.text("points") != "5" || review.text("questions.0.outcome.state") != "wrong" || review.text("questions.0.rekeys.0.reason") != "Wisdom is the good." ||
		review.text("questions.0.rekeys.0.old_total") != "10" || review.text("questions.0.rekeys.0.new_total") != "5" {
		t.Errorf("the review: %s", review)
	}
	statistics := at + "/items/" + item + "/statistics"
	if s := teacher.do(t, 200, "GET", statistics, nil); s.number("count") != 2 || s.text("mean") != "7.5" || s.text("facility") != "0.75" {
		t.Errorf("statistics: %s", s)
	}
	q := teacher.do(t, 200, "GET", statistics+"/questions/"+question+"/versions/1", nil)
	if q.text("figures.facility") != "0.5" || q.text("answers.0.share") != "0.5" || q.text("figures.random_guess") != "0.5" {
		t.Errorf("the question: %s", q)
	}
	right.do(t, 403, "GET", statistics, nil)
	file := teacher.do(t, 200, "GET", statistics+"/export?attempts=all", nil)
	if !strings.HasPrefix(file.header.Get("Content-Type"), "text/csv") || strings.Count(string(file.body), "\n") != 1+2+3 {
		t.Errorf("the file: %s", file.body)
	}

	undone := teacher.do(t, 200, "POST", rekey+"/undo", map[string]any{"reason": "It is virtue."})
	if undone.text("action") != "undo" {
		t.Errorf("undone: %s", undone)
	}
	grades("undone", "5", "10")
	if a := wrong.do(t, 200, "GET", attempts[wrong], nil); a.text("questions.0.rekeys.1.reason") != "It is virtue." || a.text("questions.0.rekeys.1.new_total") != "10" {
		t.Errorf("the review once undone: %s", a)
	}
}
