package assessment

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

func TestKeepGrade(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		list := make([]*finished, rapid.IntRange(0, 5).Draw(t, "attempts"))
		all := true
		sum, best := exact.Number{}, -1
		for i := range list {
			list[i] = &finished{id: fmt.Sprint("a", i), number: int32(i + 1), graded: rapid.IntRange(0, 3).Draw(t, "graded") > 0}
			if list[i].graded {
				list[i].share = exact.Ratio(rapid.Int64Range(-3, 12).Draw(t, "points"), 12)
				sum = sum.Add(list[i].share)
				if best < 0 || list[i].share.Cmp(list[best].share) > 0 {
					best = i
				}
			}
			all = all && list[i].graded
		}
		show := func(k keptGrade) string {
			of := ""
			if k.of != nil {
				of = k.of.id
			}
			return fmt.Sprintf("%s of %s alone %s: %s", k.state, of, k.id, k.share)
		}
		of := func(i int) string {
			if list[i].graded {
				return fmt.Sprintf("marked of a%d alone a%d: %s", i, i, list[i].share)
			}
			return fmt.Sprintf("submitted of a%d alone a%d: 0", i, i)
		}
		last := len(list) - 1
		for policy, want := range map[string]func() string{
			"first": func() string { return of(0) },
			"last":  func() string { return of(last) },
			"best": func() string {
				if best < 0 {
					return of(last)
				}
				return of(best)
			},
			"average": func() string {
				switch {
				case last == 0:
					return of(0)
				case !all:
					return fmt.Sprintf("submitted of a%d alone : 0", last)
				}
				return fmt.Sprintf("marked of a%d alone : %s", last, sum.Div(exact.Int(int64(len(list)))))
			},
		} {
			expected := "none of  alone : 0"
			if len(list) > 0 {
				expected = want()
			}
			if got := show(keepGrade(policy, list)); got != expected {
				t.Fatalf("%s: got %s, want %s", policy, got, expected)
			}
		}
	})
}

// TestFront: of the attempts that are told the best is the best of all, whatever lateness
// costs that never takes less for more of it, and none of them is told for nothing.
func TestFront(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := make([]otherMark, rapid.IntRange(1, 8).Draw(t, "attempts"))
		first := 0
		for i := range all {
			all[i] = otherMark{SourceID: fmt.Sprint("a", i), Points: exact.Int(rapid.Int64Range(-1, 6).Draw(t, "points")), LateSeconds: rapid.Int64Range(0, 5).Draw(t, "late")}
			if all[i].Points.Cmp(all[first].Points) > 0 {
				first = i
			}
		}
		told := all[first]
		var want []string
		for i, a := range all {
			beaten := false
			for j, b := range all {
				points, late := b.Points.Cmp(a.Points), b.LateSeconds-a.LateSeconds
				beaten = beaten || points >= 0 && late <= 0 && (points > 0 || late < 0 || j < i || j == first)
			}
			if i != first && !beaten {
				want = append(want, a.SourceID)
			}
		}
		slices.SortFunc(want, func(a, b string) int { return -all[a[1]-'0'].Points.Cmp(all[b[1]-'0'].Points) })
		var got []string
		for _, o := range front(told.LateSeconds, append(slices.Clone(all[:first]), all[first+1:]...)) {
			got = append(got, o.SourceID)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("beside %s of %v: got %v, want %v", told.SourceID, all, got, want)
		}
	})
}

// TestFrontIsBounded: of too many attempts the least late is told, and those of most points.
func TestFrontIsBounded(t *testing.T) {
	t.Parallel()
	var list []otherMark
	for i := range int64(150) {
		list = append(list, otherMark{SourceID: fmt.Sprint(i), Points: exact.Int(i), LateSeconds: i})
	}
	got := front(150, list)
	if len(got) != 100 || got[0].SourceID != "149" || got[98].SourceID != "51" || got[99].SourceID != "0" {
		t.Errorf("%d: %v", len(got), got)
	}
}

// finish has an attempt be submitted and scored with fractions of its questions; an
// empty one waits for its marks.
func (w *quizWorld) finish(attemptID, cause string, at time.Time, fractions ...string) {
	w.t.Helper()
	state := stateGraded
	for i, f := range fractions {
		var fraction *string
		if f == "" {
			state = stateSubmitted
		} else {
			fraction = &f
		}
		w.exec(`UPDATE attempt_question SET fraction = $3 WHERE attempt_id = $1 AND slot = $2`, attemptID, i+1, fraction)
	}
	w.exec(`UPDATE attempt SET state = $2, started_at = $3, submitted_at = $3, scored_at = $3, points = 0 WHERE id = $1`, attemptID, state, at)
	w.changed(attemptID, cause)
}

func (w *quizWorld) changed(attemptID, cause string) {
	w.t.Helper()
	w.in(func(tx *pg.Tx) error {
		a := &attempt{}
		err := tx.QueryRow(context.Background(), `SELECT id, course_id, item_id, quiz_id, account_id, preview FROM attempt WHERE id = $1 FOR UPDATE`, attemptID).
			Scan(&a.ID, &a.CourseID, &a.ItemID, &a.QuizID, &a.AccountID, &a.Preview)
		if err != nil {
			return err
		}
		return w.service.attemptChanged(context.Background(), tx, a, cause)
	})
}

// outboxOf returns the events of a kind that wait to be sent, and takes them out.
func outboxOf[M any, E interface {
	*M
	proto.Message
}](w *quizWorld,
) []E {
	w.t.Helper()
	name := string(E(new(M)).ProtoReflect().Descriptor().FullName())
	rows, err := w.db.Query(context.Background(), `SELECT payload FROM outbox WHERE name = $1 ORDER BY position`, name)
	if err != nil {
		w.t.Fatal(err)
	}
	payloads, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		w.t.Fatal(err)
	}
	var out []E
	for _, p := range payloads {
		e := E(new(M))
		if err := proto.Unmarshal(p, e); err != nil {
			w.t.Fatal(err)
		}
		out = append(out, e)
	}
	w.exec(`DELETE FROM outbox WHERE name = $1`, name)
	return out
}

func TestMarks(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	ana := id.New("account")
	settings := &assessmentpb.QuizSettings{MaxPoints: "10", GradeKept: "average", Sections: []*assessmentpb.QuizSection{section(asked(w.question("One")), asked(w.question("Two")), asked(w.question("Three")))}}
	quizID := w.placed(settings)
	due := w.now().Add(time.Minute)
	w.around.say(ana, itemOpen(func(it *itemAccess) { it.Due = timestamppb.New(due) }))
	begin := func() string {
		t.Helper()
		attemptID, err := w.service.admit(t.Context(), w.course, w.item, ana, "")
		if err != nil {
			t.Fatal(err)
		}
		return attemptID
	}
	mark := func(version int64, state, source, points string, at time.Time, late int64, attempts int32, cause string) *assessmentpb.MarkChanged {
		return &assessmentpb.MarkChanged{
			CourseId: w.course, ItemId: w.item, AccountId: ana, SourceId: source, State: state, Points: points, MaxPoints: "10", SubmittedAt: timestamppb.New(at),
			LateSeconds: late, Attempts: attempts, Cause: cause, ChangedAt: timestamppb.New(w.now()), Version: version,
		}
	}
	same := func(want ...*assessmentpb.MarkChanged) {
		t.Helper()
		if diff := cmp.Diff(want, outboxOf[assessmentpb.MarkChanged](w), protocmp.Transform()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	result := func(want ...*assessmentpb.ActivityResultChanged) {
		t.Helper()
		if diff := cmp.Diff(want, outboxOf[assessmentpb.ActivityResultChanged](w), protocmp.Transform()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	one, at1 := begin(), w.now()
	w.finish(one, "submission", at1, "1", "0", "")
	same(mark(1, "submitted", one, "", at1, 0, 1, "submission"))
	result(&assessmentpb.ActivityResultChanged{CourseId: w.course, ItemId: w.item, AccountId: ana, SubmittedAt: timestamppb.New(at1), Version: 1})
	w.finish(one, "marking", at1, "1", "0", "1/2")
	same(mark(2, "marked", one, "5", at1, 0, 1, "marking"))
	w.changed(one, "marking") // nothing new
	same()
	w.later(90 * time.Second)
	two, at2 := begin(), w.now()
	w.finish(two, "submission", at2.Add(500*time.Millisecond), "1/3", "0", "0")
	// (1/2 + 1/9) / 2 of 10 points, rounded once.
	same(mark(3, "marked", "", "3.055556", at2.Add(500*time.Millisecond), 31, 2, "submission"))
	result()
	// It is due later for her, and so she was less late.
	due = due.Add(20 * time.Second)
	w.around.say(ana, itemOpen(func(it *itemAccess) { it.Due = timestamppb.New(due) }))
	hear(w.world, w.service.deadlinesChanged, &learningpb.DeadlinesChanged{CourseId: w.course, AccountIds: []string{ana, id.New("account")}})
	for more := true; more; {
		var err error
		if more, err = w.service.dueNext(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	same(mark(4, "marked", "", "3.055556", at2.Add(500*time.Millisecond), 11, 2, "extension"))
	// What counts is published anew, and the marks follow.
	settings.GradeKept, settings.MaxPoints = "best", ""
	w.update(quizID, settings)
	w.publish(quizID)
	for more := true; more; {
		var err error
		if more, err = w.service.remarkDue(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	best := mark(5, "marked", one, "1.5", at1, 0, 2, "regrade")
	best.MaxPoints = "3"
	same(best)
	if left := w.query(`SELECT quiz_id FROM quiz_remark`); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	// A teacher's own tries count nowhere.
	w.exec(`UPDATE attempt SET preview = true WHERE id = $1`, two)
	w.changed(two, "submission")
	same()
	w.exec(`UPDATE attempt SET preview = false WHERE id = $1`, two)
	// The item shows another quiz: what was told stays.
	other := w.create(settings)
	w.place(other.GetId(), nil)
	w.finish(two, "marking", at2, "1", "1", "1")
	same()
}

// TestDueWhileRunning: who is given until later while they answer is late by that.
func TestDueWhileRunning(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	ana := id.New("account")
	w.placed(&assessmentpb.QuizSettings{Sections: []*assessmentpb.QuizSection{section(asked(w.question("One")))}})
	due := w.now().Add(time.Minute)
	w.around.say(ana, itemOpen(func(it *itemAccess) { it.Due = timestamppb.New(due) }))
	attemptID, err := w.service.admit(t.Context(), w.course, w.item, ana, "")
	if err != nil {
		t.Fatal(err)
	}
	w.exec(`UPDATE attempt SET state = 'in_progress', started_at = $2 WHERE id = $1`, attemptID, w.now())
	due = due.Add(time.Hour)
	w.around.say(ana, itemOpen(func(it *itemAccess) { it.Due = timestamppb.New(due) }))
	hear(w.world, w.service.deadlinesChanged, &learningpb.DeadlinesChanged{CourseId: w.course, AccountIds: []string{ana}})
	asked := func() {
		t.Helper()
		for more := true; more; {
			if more, err = w.service.dueNext(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	asked()
	if told := outboxOf[assessmentpb.MarkChanged](w); len(told) > 0 {
		t.Errorf("told before it is submitted: %v", told)
	}
	w.later(10 * time.Minute)
	w.finish(attemptID, "submission", w.now(), "1")
	if told := outboxOf[assessmentpb.MarkChanged](w); len(told) != 1 || told[0].GetLateSeconds() != 0 {
		t.Errorf("in time: %v", told)
	}
	// Submitted before it was asked.
	w.exec(`UPDATE attempt SET state = 'in_progress', submitted_at = NULL WHERE id = $1`, attemptID)
	w.exec(`DELETE FROM quiz_mark`)
	due = due.Add(-time.Hour)
	w.around.say(ana, itemOpen(func(it *itemAccess) { it.Due = timestamppb.New(due) }))
	hear(w.world, w.service.deadlinesChanged, &learningpb.DeadlinesChanged{CourseId: w.course, AccountIds: []string{ana}})
	w.finish(attemptID, "submission", w.now(), "1")
	asked()
	told := outboxOf[assessmentpb.MarkChanged](w)
	if len(told) != 2 || told[0].GetLateSeconds() != 0 || told[1].GetLateSeconds() != 540 || told[1].GetCause() != "extension" {
		t.Errorf("late: %v", told)
	}
	// Nothing is due for who takes the course no more, and what was late stays late.
	w.around.say(ana, &itemAccess{State: "locked"})
	hear(w.world, w.service.deadlinesChanged, &learningpb.DeadlinesChanged{CourseId: w.course, AccountIds: []string{ana}})
	asked()
	if told := outboxOf[assessmentpb.MarkChanged](w); len(told) > 0 {
		t.Errorf("who has left: %v", told)
	}
	if left := w.query(`SELECT account_id FROM quiz_due`); len(left) > 0 {
		t.Errorf("asked for ever: %v", left)
	}
}

// TestBestOfQuiz: the gradebook is told which attempts could be the best after lateness.
func TestBestOfQuiz(t *testing.T) {
	t.Parallel()
	w := newQuizWorld(t)
	ana := id.New("account")
	settings := &assessmentpb.QuizSettings{MaxPoints: "10", Sections: []*assessmentpb.QuizSection{section(asked(w.question("One")), asked(w.question("Two")), asked(w.question("Three")))}}
	quizID := w.placed(settings)
	due := w.now().Add(time.Minute)
	w.around.say(ana, itemOpen(func(it *itemAccess) { it.Due = timestamppb.New(due) }))
	finish := func(fractions ...string) string {
		t.Helper()
		attemptID, err := w.service.admit(t.Context(), w.course, w.item, ana, "")
		if err != nil {
			t.Fatal(err)
		}
		w.finish(attemptID, "submission", w.now(), fractions...)
		return attemptID
	}
	other := func(source, points string, at time.Time, late int64) *assessmentpb.MarkedAttempt {
		return &assessmentpb.MarkedAttempt{SourceId: source, Points: points, SubmittedAt: timestamppb.New(at), LateSeconds: late}
	}
	tells := func(what, source, points string, late int64, others ...*assessmentpb.MarkedAttempt) {
		t.Helper()
		events := outboxOf[assessmentpb.MarkChanged](w)
		if len(events) != 1 {
			t.Fatalf("%s: told %v", what, events)
		}
		e := events[0]
		if e.GetSourceId() != source || e.GetPoints() != points || e.GetLateSeconds() != late {
			t.Errorf("%s: told %v", what, e)
		}
		if diff := cmp.Diff(others, e.GetOthers(), protocmp.Transform()); diff != "" {
			t.Errorf("%s: others (-want +got):\n%s", what, diff)
		}
	}
	start := w.now()
	one := finish("1", "0", "0")
	tells("one", one, "3.333333", 0)
	w.later(61 * time.Second)
	two, at2 := finish("1", "1", "0"), w.now()
	tells("a late one that is better", two, "6.666667", 1, other(one, "3.333333", start, 0))
	w.later(time.Second)
	three := finish("1", "1/2", "") // waits for its mark
	tells("one that is not marked", two, "6.666667", 1, other(one, "3.333333", start, 0))
	w.finish(three, "marking", w.now(), "1", "1/2", "0")
	if events := outboxOf[assessmentpb.MarkChanged](w); len(events) != 0 {
		t.Errorf("later and worse, told %v", events)
	}
	w.finish(three, "marking", w.now(), "1", "1/2", "1/3")
	if events := outboxOf[assessmentpb.MarkChanged](w); len(events) != 0 {
		t.Errorf("later and less, still, told %v", events)
	}
	w.finish(three, "marking", w.now(), "1", "1", "1")
	tells("the best", three, "10", 2, other(two, "6.666667", at2, 1), other(one, "3.333333", start, 0))
	w.finish(one, "regrade", start, "0", "1/2", "0")
	tells("another alone has changed", three, "10", 2, other(two, "6.666667", at2, 1), other(one, "1.666667", start, 0))
	w.changed(one, "marking")
	if events := outboxOf[assessmentpb.MarkChanged](w); len(events) != 0 {
		t.Errorf("nothing has changed, told %v", events)
	}
	// A process of the version before has told a mark without others meanwhile.
	w.exec(`UPDATE quiz_mark SET version = version + 1 WHERE account_id = $1`, ana)
	w.changed(one, "marking")
	tells("told without others", three, "10", 2, other(two, "6.666667", at2, 1), other(one, "1.666667", start, 0))
	republished := func(change func()) {
		t.Helper()
		change()
		w.update(quizID, settings)
		w.publish(quizID)
		for more := true; more; {
			var err error
			if more, err = w.service.remarkDue(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	republished(func() { settings.MaxPoints = "100" })
	tells("of more points", three, "100", 2, other(two, "66.666667", at2, 1), other(one, "16.666667", start, 0))
	republished(func() { settings.AnonymousMarking = true })
	tells("anonymous", "", "100", 2, other("", "66.666667", at2, 1), other("", "16.666667", start, 0))
	republished(func() { settings.GradeKept = "last" })
	tells("the last", "", "100", 2)
}
