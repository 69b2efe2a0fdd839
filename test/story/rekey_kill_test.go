package story_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// killedInRekey: the service dies in the middle of a re-key, when some attempts follow it
// and others do not yet. After it is back, all of them are as was foretold; and so again
// when the re-key is undone.
func killedInRekey(t *testing.T, in *installation) {
	k := openRekeyed(t, in, 3, 70)
	before := k.totals(t)
	asked := k.teacher.do(t, 200, "GET", k.question, nil)
	k.teacher.do(t, 200, "PATCH", k.question, map[string]any{"content": k.content("wisdom")}, "If-Match", asked.header.Get("ETag"))
	rekey := k.path + "/rekeys/" + k.teacher.do(t, 201, "POST", k.question+"/rekeys", map[string]any{
		"action": "key", "key_version": 2, "item_id": k.item, "reason": "Wisdom is the good.",
	}).text("id")
	eventually(t, soon, "it is looked at", func() (bool, string) {
		a, err := k.teacher.try(t.Context(), "GET", rekey, nil)
		return err == nil && a.text("state") == "ready" && a.number("attempts") == len(before), a.String()
	})
	foretold := k.foretold(t, rekey)
	if len(foretold) != len(before) || same(before, foretold) {
		t.Fatalf("foretold of %d attempts of %d", len(foretold), len(before))
	}

	k.killedMidway(t, rekey, func() { k.teacher.do(t, 200, "POST", rekey+"/apply", map[string]any{}) })
	k.is(t, "applied", foretold)
	var undo string
	k.killedMidway(t, "", func() {
		undo = k.path + "/rekeys/" + k.teacher.do(t, 200, "POST", rekey+"/undo", map[string]any{"reason": "It is wealth."}).text("id")
	})
	k.applied(t, undo)
	k.is(t, "undone", before)
	in.nothingLeft(t)
}

// rekeyedExam is a quiz that some people have taken often.
type rekeyedExam struct {
	in       *installation
	teacher  *person
	path     string // of the course
	question string // whose key is wrong
	item     string
	people   []*person

	mu       sync.Mutex
	attempts map[string]*person
}

func (*rekeyedExam) content(key string) map[string]any {
	fraction := func(k string) string { return map[bool]string{true: "1", false: "0"}[k == key] }
	return map[string]any{"title": "The good", "prompt": "What is good?", "choice": map[string]any{"options": []any{
		map[string]any{"key": "wealth", "text": "Wealth", "fraction": fraction("wealth")}, map[string]any{"key": "wisdom", "text": "Wisdom", "fraction": fraction("wisdom")},
	}}}
}

// openRekeyed has some people take a quiz so often.
func openRekeyed(t *testing.T, in *installation, people, times int) *rekeyedExam {
	t.Helper()
	k := &rekeyedExam{in: in, teacher: in.signUp(t, "Key Teacher"), attempts: map[string]*person{}}
	course, _ := draft(t, k.teacher, "Keys")
	k.path = "/v1/courses/" + course
	id := k.teacher.do(t, 201, "POST", k.path+"/questions", map[string]any{"content": k.content("wealth")}).text("id")
	k.question = k.path + "/questions/" + id
	made := k.teacher.do(t, 201, "POST", k.path+"/quizzes", map[string]any{"title": "Keys", "settings": map[string]any{
		"max_points": "10", "grade_kept": "average", "sections": []any{map[string]any{"slots": []any{map[string]any{"question": map[string]any{"question_id": id}}}}},
	}})
	k.teacher.do(t, 200, "POST", k.path+"/quizzes/"+made.text("id")+"/publish", map[string]any{}, "If-Match", made.header.Get("ETag"))
	module := k.teacher.do(t, 201, "POST", k.path+"/modules", map[string]any{"title": "Exam"}).text("id")
	k.item = k.teacher.do(t, 201, "POST", k.path+"/activities", map[string]any{"kind": "quiz", "module_id": module, "title": "Exam", "activity_ref": made.text("id")}).text("id")
	publish(t, k.teacher, course, 0)
	errs := make(chan error, people)
	for n := range people {
		p := in.signUp(t, fmt.Sprintf("Student %d", n+1))
		if _, err := p.insist(t, k.path+"/enrollments", nil, 201); err != nil {
			t.Fatal(err)
		}
		k.people = append(k.people, p)
		go func() { errs <- k.take(t, p, times) }()
	}
	for range people {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, soon, "all are scored", func() (bool, string) {
		var left int
		err := in.query(t, `SELECT count(*) FROM assessment.attempt WHERE state <> 'graded'`, &left)
		return err == nil && left == 0, fmt.Sprint(left, " are not")
	})
	return k
}

// take takes the quiz so often, answering by turns.
func (k *rekeyedExam) take(t *testing.T, p *person, times int) error {
	for n := range times {
		a, err := p.insist(t, k.path+"/items/"+k.item+"/attempts", map[string]any{}, 200)
		if err != nil {
			return err
		}
		attempt := "/v1/attempts/" + a.text("id")
		key := []string{"wealth", "wisdom", "wisdom"}[n%3]
		if _, err := p.insist(t, attempt+"/operations", map[string]any{"client_id": "laptop-1", "operations": []any{
			map[string]any{"client_seq": 1, "kind": "answer", "slot": 1, "answer": map[string]any{"choice": map[string]any{"keys": []any{key}}}},
		}}, 200); err != nil {
			return err
		}
		if _, err := p.insist(t, attempt+"/submit", map[string]any{}, 200); err != nil {
			return err
		}
		k.mu.Lock()
		k.attempts[attempt] = p
		k.mu.Unlock()
	}
	return nil
}

// totals returns what each attempt has come to, as its student is told.
func (k *rekeyedExam) totals(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for attempt, p := range k.attempts {
		out[attempt] = p.do(t, 200, "GET", attempt, nil).text("points")
	}
	return out
}

// foretold returns what the preview says that each attempt is going to come to.
func (k *rekeyedExam) foretold(t *testing.T, rekey string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for cursor := ""; ; {
		page := k.teacher.do(t, 200, "GET", rekey+"/attempts?page_size=100&cursor="+cursor, nil)
		for _, it := range page.items() {
			out["/v1/attempts/"+it.text("attempt_id")] = it.text("after.total")
		}
		if cursor = page.text("next_cursor"); cursor == "" {
			return out
		}
	}
}

// killedMidway has assessment killed when some attempts follow a re-key, while another
// waits for somebody who holds it up; and waits until all do, once it is back.
func (k *rekeyedExam) killedMidway(t *testing.T, rekey string, begin func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, k.in.database())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, `SELECT FROM assessment.attempt WHERE id = (SELECT id FROM assessment.attempt ORDER BY account_id DESC, id DESC LIMIT 1) FOR NO KEY UPDATE`); err != nil {
		t.Fatal(err)
	}
	begin()
	var done, all int
	eventually(t, soon, "some attempts follow", func() (bool, string) {
		err := k.in.query(t, `SELECT done, attempts FROM assessment.rekey WHERE state = 'applying'`, &done, &all)
		return err == nil && done > 0 && done < all, fmt.Sprint(done, " of ", all, ": ", err)
	})
	k.in.processes["assessment"].kill()
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if err := k.in.query(t, `SELECT done, attempts FROM assessment.rekey WHERE state = 'applying'`, &done, &all); err != nil || done == 0 || done >= all {
		t.Errorf("it was not killed midway: %d of %d, %v", done, all, err)
	}
	k.in.processes["assessment"].start()
	k.in.waitReady()
	if rekey != "" {
		k.applied(t, rekey)
	}
}

func (k *rekeyedExam) applied(t *testing.T, rekey string) {
	t.Helper()
	eventually(t, 60*time.Second, "all attempts follow", func() (bool, string) {
		a, err := k.teacher.try(t.Context(), "GET", rekey, nil)
		return err == nil && a.status == 200 && a.text("state") == "applied" && a.number("done") == a.number("attempts"), a.String()
	})
}

// is holds all attempts to what they are to come to, and grades to the averages of it.
func (k *rekeyedExam) is(t *testing.T, what string, want map[string]string) {
	t.Helper()
	if got := k.totals(t); !same(want, got) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
	for _, p := range k.people {
		right, of := 0, 0
		for attempt, who := range k.attempts {
			if who == p {
				of++
				if want[attempt] == "10" {
					right++
				}
			}
		}
		grade := strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.6f", float64(10*right)/float64(of)), "0"), ".")
		eventually(t, soon, what+": the grade of "+p.name, func() (bool, string) {
			a, err := p.try(t.Context(), "GET", "/v1/me"+strings.TrimPrefix(k.path, "/v1")+"/grades", nil)
			if err != nil {
				return false, err.Error()
			}
			for _, it := range a.items() {
				if it.text("item_id") == k.item {
					return it.text("points") == grade, "want " + grade + ": " + a.String()
				}
			}
			return false, a.String()
		})
	}
}

// same reports whether two say the same of all attempts.
func same(a, b map[string]string) bool {
	for attempt, points := range a {
		if other, ok := b[attempt]; !ok || other != points {
			return false
		}
	}
	return len(a) == len(b)
}
