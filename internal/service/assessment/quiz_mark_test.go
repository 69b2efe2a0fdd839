package assessment

import (
	"context"
	"fmt"
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
