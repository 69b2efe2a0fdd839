package learning

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// statements returns how many statements a handler makes of an event, as the
// connection itself counts them.
func (w *world) statements(e *coursespb.CoursePublished) int {
	w.t.Helper()
	var before, after int
	err := w.db.InTx(context.Background(), func(tx *pg.Tx) error {
		tx.Exempt("a copy")
		const counted = `SELECT coalesce(sum(generic_plans + custom_plans), 0)::int FROM pg_prepared_statements WHERE statement NOT LIKE '%pg_prepared_statements%'`
		if err := tx.QueryRow(context.Background(), counted).Scan(&before); err != nil {
			return err
		}
		if err := w.service.coursePublished(context.Background(), tx, e); err != nil {
			return err
		}
		return tx.QueryRow(context.Background(), counted).Scan(&after)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return after - before
}

// Students have each viewed a different part of a course: what a publishing completes
// is stored by statements whose number hangs on how many learners there are in chunks,
// not on lessons, and not on what they have done.
func TestPublishToMany(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]struct{ lessons, students int }{"few": {100, 600}, "many": {300, 1500}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			publishToMany(t, size.lessons, size.students)
		})
	}
}

// BenchmarkPublishToMany is the same with 1,000 lessons and 5,000 students, and says
// what each publishing takes.
func BenchmarkPublishToMany(b *testing.B) {
	for b.Loop() {
		publishToMany(b, 1000, 5000)
	}
}

func publishToMany(t testing.TB, lessons, students int) {
	t.Helper()
	w := newWorld(t, rpctest.Everything)
	course, modules, l := id.New("course"), newIDs("module", lessons/50), newIDs("lesson", lessons)
	publication := func(n int64, of int, loose func(i int) bool) *coursespb.CoursePublished {
		e := edition(course, n)
		for i := range of {
			if i%50 == 0 {
				e.Items = append(e.Items, module(modules[i/50]))
			}
			needs := []*need{{Kind: "viewed"}}
			if !loose(i) {
				needs = append(needs, &need{Kind: "manual"})
			}
			e.Items = append(e.Items, required(l[i], modules[i/50], needs...))
		}
		return e
	}
	strict := func(int) bool { return false }
	var tenth []string
	for i := 9; i < lessons; i += 10 {
		tenth = append(tenth, l[i])
	}
	first := w.statements(publication(1, lessons, strict))
	err := w.db.InTx(t.Context(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		if _, err := tx.Exec(t.Context(), `
			INSERT INTO learner (course_id, account_id, enrolled_at) SELECT $1, 'account_' || lpad(n::text, 6, '0'), now() FROM generate_series(1, $2::int) AS n`, course, students); err != nil {
			return err
		}
		// Of one lesson in ten: who is number n has viewed those in the first n per cent.
		_, err := tx.Exec(t.Context(), `
			INSERT INTO item_fact (course_id, account_id, item_id, viewed_at)
			SELECT l.course_id, l.account_id, f.item_id, now()
			FROM learner l CROSS JOIN unnest($2::text[]) WITH ORDINALITY AS f (item_id, n)
			WHERE l.course_id = $1 AND right(l.account_id, 4)::int % 100 >= f.n * 100 / cardinality($2::text[])`, course, tenth)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	count := func(sql string, args ...any) int {
		t.Helper()
		var n int
		if err := w.db.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(`SELECT count(*) FROM lesson_completion WHERE course_id = $1`, course); n != 0 {
		t.Fatalf("%d completions before", n)
	}
	// settled runs what goes on behind the events, and returns in how many steps.
	settled := func() int {
		t.Helper()
		steps := 0
		for more := true; more; steps++ {
			var err error
			if more, err = w.service.nextCrowd(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return steps
	}
	// Whatever is to be done, the event itself takes so many statements.
	const most = 24

	// One text was edited: nothing to do for anybody.
	if n := w.statements(publication(2, lessons, strict)); n > most || settled() > 1 {
		t.Errorf("%d statements for a publishing without new rules", n)
	}
	start := time.Now()
	n := w.statements(publication(3, lessons, func(i int) bool { return i%10 == 9 && i < lessons/2 }))
	event := time.Since(start)
	steps := settled()
	t.Logf("%d lessons, %d students, looser rules of %d: the event %s, %d statements; with all learners %s, %d steps; the first publishing %d statements",
		lessons, students, lessons/20, event, n, time.Since(start), steps, first)
	if c := (crowd{Items: l[:lessons/20]}); n > most || steps > students/c.size(settleAtATime)+2 {
		t.Errorf("%d statements and %d steps for looser rules", n, steps)
	}
	want := count(`
		SELECT count(*) FROM item_fact f JOIN published_item i ON i.course_id = f.course_id AND i.version = 3 AND i.item_id = f.item_id
		WHERE f.course_id = $1 AND i.manual = ''`, course)
	if got := count(`SELECT count(*) FROM lesson_completion WHERE course_id = $1`, course); got != want || want == 0 {
		t.Errorf("%d completed, want %d", got, want)
	}
	if got := count(`SELECT count(*) FROM outbox WHERE name = 'stoa.learning.v1.ItemCompleted'`); got != want {
		t.Errorf("%d events, want %d", got, want)
	}

	// Every rule is looser, and little is required: many finish.
	start = time.Now()
	last := publication(4, lessons, func(int) bool { return true })
	for _, it := range last.GetItems() {
		if it.GetKind() == "lesson" {
			it.Required = false
		}
	}
	for i, it := range last.GetItems() {
		if it.GetId() == l[9] || it.GetId() == l[19] {
			last.Items[i].Required = true
		}
	}
	n = w.statements(last)
	event = time.Since(start)
	steps = settled()
	t.Logf("all rules looser, all but two not required: the event %s, %d statements; with all learners %s, %d steps", event, n, time.Since(start), steps)
	if c := (crowd{Items: l}); n > most || steps < 3 || steps > students/c.size(settleAtATime)+2 {
		t.Errorf("%d statements and %d steps when all changes", n, steps)
	}
	finished := count(`SELECT count(*) FROM learner WHERE course_id = $1 AND completed_at IS NOT NULL`, course)
	both := count(`SELECT count(*) FROM (SELECT account_id FROM item_fact WHERE course_id = $1 AND item_id = ANY($2::text[]) GROUP BY account_id HAVING count(*) = 2) AS b`,
		course, []string{l[9], l[19]})
	if finished != both || both == 0 || both == students {
		t.Errorf("%d of %d have finished, want %d", finished, students, both)
	}
	if got := count(`SELECT count(*) FROM lesson_completion WHERE course_id = $1 AND lesson_id = $2`, course, modules[0]); got != both {
		t.Errorf("%d have completed the first module, want %d", got, both)
	}
}

// Several processes settle the same learners, who go on learning, while versions come:
// each completion is told once, and none is missing.
func TestSettlingAtTheSameTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, l, people := id.New("course"), newIDs("lesson", 2), newIDs("account", 60)
	hear(w, w.service.coursePublished, edition(course, 1, required(l[0], "", &need{Kind: "viewed"}, &need{Kind: "manual"}), required(l[1], "", &need{Kind: "viewed"})))
	for _, p := range people {
		hear(w, w.service.enrollmentStarted, enrolled(course, p, 0))
		w.view(p, course, l[0])
	}
	// As a publishing does it that finds too many to be settled with it.
	later := func(c crowd) {
		together(w, func(ctx context.Context, tx *pg.Tx, c crowd) error {
			if err := lockCourseToChange(ctx, tx, c.CourseID); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `UPDATE published_item SET manual = '' WHERE course_id = $1`, course); err != nil {
				return err
			}
			return w.service.settleLater(ctx, tx, c)
		}, c)
	}
	later(crowd{CourseID: course, Items: l[:1], Narrow: true})
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for more := true; more; {
				var err error
				if more, err = w.service.nextCrowd(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for _, p := range people[i*20 : i*20+20] {
				w.view(p, course, l[1])
			}
		})
		wg.Go(func() { later(crowd{CourseID: course, Items: l[i%2 : i%2+1], Narrow: i == 0}) })
	}
	wg.Wait()
	for more := true; more; {
		var err error
		if more, err = w.service.nextCrowd(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	told := w.itemsCompleted(course)
	for _, p := range people {
		if len(told[p]) != 2 || told[p][0] == told[p][1] {
			t.Errorf("%s was told to have completed %v", p, told[p])
		}
	}
	if n := len(w.completions()); n != len(people) {
		t.Errorf("%d have completed the course, want %d", n, len(people))
	}
}
