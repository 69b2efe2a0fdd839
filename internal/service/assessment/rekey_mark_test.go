package assessment

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// TestRekeyMarked leaves what people have marked as it is, and gives essays to everybody.
func TestRekeyMarked(t *testing.T) {
	t.Parallel()
	w := newMarkingWorld(t, 3, &assessmentpb.QuizSettings{})
	r := &rekeyWorld{world: w.world, quiz: w.taken, question: w.essay, teacher: id.New("account")}
	r.RekeyServiceClient = assessmentpb.NewRekeyServiceClient(w.harness.As("edge"))
	ada, ben, cem := w.students[0], w.students[1], w.students[2]
	ctx := w.as(id.New("account"))
	for _, st := range w.students[:2] {
		if _, err := w.mark(ctx, st.attempt.GetId(), points("1")); err != nil {
			t.Fatal(err)
		}
	}
	// Ada's choice is marked over what the program gave.
	if _, err := w.mark(ctx, ada.attempt.GetId(), func(m *assessmentpb.MarkAnswerRequest) { m.Slot, m.Points, m.Reason = 2, "0.5", "Copied." }); err != nil {
		t.Fatal(err)
	}
	choice := r.question
	if err := w.db.QueryRow(t.Context(), `SELECT question_id FROM attempt_question WHERE attempt_id = $1 AND slot = 2`, ada.attempt.GetId()).Scan(&choice); err != nil {
		t.Fatal(err)
	}
	r.question = choice
	k := r.preview(keyed2(r.version(rightIs("b"))))
	expect(t, "the choice", counts(k), "ready 3/3: 0 up, 2 down, 0 same, 1 untouched, 0 unscored; marks 0 up, 1 down, 1 same")
	// Somebody marks it meanwhile: it is looked at again.
	if _, err := w.mark(ctx, ben.attempt.GetId(), func(m *assessmentpb.MarkAnswerRequest) { m.Slot, m.Points, m.Reason = 2, "1", "By word of mouth." }); err != nil {
		t.Fatal(err)
	}
	_, err := r.ApplyRekey(w.as(r.teacher), &assessmentpb.ApplyRekeyRequest{CourseId: w.taken.course, RekeyId: k.GetId()})
	if got := codesOf(err); len(got) != 2 || got[0] != "rekey.changed" {
		t.Errorf("a mark since: %v", got)
	}
	k = r.apply(r.preview(keyed2(2)).GetId())
	expect(t, "applied", counts(k), "applied 3/3: 0 up, 1 down, 0 same, 2 untouched, 0 unscored; marks 0 up, 0 down, 2 same")
	expect(t, "marks", r.marks(ada, ben), "1.5 (3), 2 (2)")

	r.question = w.essay
	k = r.apply(r.preview(rekeyBy("full")).GetId())
	expect(t, "the essay", counts(k), "applied 3/3: 3 up, 0 down, 0 same, 0 untouched, 0 unscored; marks 3 up, 0 down, 0 same")
	expect(t, "marks with the essay", r.marks(ada, ben, cem), "4.5 (4), 5 (3), 4 (2)")
	r.undo(k.GetId())
	if a := cem.get(); a.GetState() != "submitted" || a.GetQuestions()[0].GetOutcome().GetState() != "needs_marking" {
		t.Errorf("undone: %s, %v", a.GetState(), a.GetQuestions()[0])
	}
	expect(t, "marks undone", r.marks(ada, ben), "1.5 (5), 2 (4)")
}

// TestRekeyMarkedPoints keeps the share that people have given in points of what the
// question was worth then, where it is worth something else, or nothing, since.
func TestRekeyMarkedPoints(t *testing.T) {
	t.Parallel()
	w := newMarkingWorld(t, 1, &assessmentpb.QuizSettings{})
	r := &rekeyWorld{world: w.world, quiz: w.taken, question: w.essay, teacher: id.New("account")}
	r.RekeyServiceClient = assessmentpb.NewRekeyServiceClient(w.harness.As("edge"))
	ada := w.students[0]
	if _, err := w.mark(w.as(r.teacher), ada.attempt.GetId(), points("3")); err != nil {
		t.Fatal(err)
	}
	expect(t, "of 4", r.marks(ada), "4 (2)")
	fewer := r.apply(r.preview(func(req *assessmentpb.CreateRekeyRequest) { req.Action, req.Points = "points", "2" }).GetId())
	if q := ada.get().GetQuestions()[0]; q.GetOutcome().GetPoints() != "1.5" || q.GetMaxPoints() != "2" {
		t.Errorf("of 2: %v", q)
	}
	r.undo(fewer.GetId())
	r.apply(r.preview(rekeyBy("drop")).GetId())
	if a := ada.get(); a.GetState() != stateGraded || a.GetQuestions()[0].GetMaxPoints() != "0" {
		t.Errorf("of nothing: %v", a)
	}
}

// TestMarkOfOtherPoints refuses a mark in points from who has read the answer before a
// re-key made its question worth something else: it would be another share of it.
func TestMarkOfOtherPoints(t *testing.T) {
	t.Parallel()
	w := newMarkingWorld(t, 1, &assessmentpb.QuizSettings{})
	r := &rekeyWorld{world: w.world, quiz: w.taken, question: w.essay, teacher: id.New("account")}
	r.RekeyServiceClient = assessmentpb.NewRekeyServiceClient(w.harness.As("edge"))
	ben, attempt := w.as(id.New("account")), w.students[0].attempt.GetId()
	read := func() string {
		t.Helper()
		return must(w.GetMarkedAnswer(ben, &assessmentpb.GetMarkedAnswerRequest{CourseId: w.taken.course, AttemptId: attempt, Slot: 1}))(t).GetEtag()
	}
	before := read()
	r.apply(r.preview(func(req *assessmentpb.CreateRekeyRequest) { req.Action, req.Points = "points", "8" }).GetId())
	_, err := w.mark(rpc.WithIfMatch(ben, before), attempt, points("4"))
	expect(t, "as it was read", fault.CodeOf(err), "etag.stale")
	if _, err := w.mark(rpc.WithIfMatch(ben, read()), attempt, points("4")); err != nil {
		t.Errorf("as it is now: %v", err)
	}
}

// TestRekeyWithheld previews what applying comes to where the grade of an attempt waits
// for what a proctor saw: there is none, before and after.
func TestRekeyWithheld(t *testing.T) {
	t.Parallel()
	w := newRekeyWorld(t, &assessmentpb.QuizSettings{})
	ada, ben := w.taken("baa"), w.taken("baa")
	w.exec(`UPDATE attempt SET withheld = true WHERE id = $1`, ben.attempt.GetId())
	w.scored()
	k := w.preview(keyed2(w.version(rightIs("b"))))
	seen := w.lines(k.GetId(), ada, ben)
	expect(t, "previewed", strings.Join(seen, "; "), "up: 0.333333 of 1 to 1 of 1, in all 2.333333 to 3, mark 2.333333 to 3; up: 0.333333 of 1 to 1 of 1, in all 2.333333 to 3, mark  to ")
	expect(t, "applied", strings.Join(w.lines(w.apply(k.GetId()).GetId(), ada, ben), "; "), strings.Join(seen, "; "))
}

// TestRekeyDropsUnmarked has nobody wait for marks of what is worth nothing.
func TestRekeyDropsUnmarked(t *testing.T) {
	t.Parallel()
	w := newMarkingWorld(t, 1, &assessmentpb.QuizSettings{})
	r := &rekeyWorld{world: w.world, quiz: w.taken, question: w.essay, teacher: id.New("account")}
	r.RekeyServiceClient = assessmentpb.NewRekeyServiceClient(w.harness.As("edge"))
	ada := w.students[0]
	drop := r.apply(r.preview(rekeyBy("drop")).GetId())
	if a := ada.get(); a.GetState() != stateGraded || a.GetQuestions()[0].GetOutcome().GetState() == question.NeedsMarking {
		t.Errorf("of nothing: %v", a)
	}
	expect(t, "the queue", w.queue(r.teacher, ""), "")
	if _, err := w.mark(w.as(r.teacher), ada.attempt.GetId(), func(m *assessmentpb.MarkAnswerRequest) { m.Comment = "Well said all the same." }); err != nil {
		t.Errorf("a comment: %v", err)
	}
	if q := ada.get().GetQuestions()[0].GetOutcome(); q.GetComment() == "" {
		t.Errorf("commented: %v", q)
	}
	r.undo(drop.GetId())
	if a := ada.get(); a.GetState() != stateSubmitted || a.GetQuestions()[0].GetOutcome().GetState() != question.NeedsMarking {
		t.Errorf("undone: %v", a)
	}
	expect(t, "the queue again", w.queue(r.teacher, ""), "to_mark 0 false")
}

// TestRekeyWhileMarked has people mark while it is applied: their marks stand.
func TestRekeyWhileMarked(t *testing.T) {
	t.Parallel()
	w := newMarkingWorld(t, 8, &assessmentpb.QuizSettings{})
	r := &rekeyWorld{world: w.world, quiz: w.taken, teacher: id.New("account")}
	r.RekeyServiceClient = assessmentpb.NewRekeyServiceClient(w.harness.As("edge"))
	if err := w.db.QueryRow(t.Context(), `SELECT question_id FROM attempt_question WHERE attempt_id = $1 AND slot = 2`, w.students[0].attempt.GetId()).Scan(&r.question); err != nil {
		t.Fatal(err)
	}
	k := r.preview(keyed2(r.version(rightIs("b"))))
	if _, err := r.ApplyRekey(w.as(r.teacher), &assessmentpb.ApplyRekeyRequest{CourseId: w.taken.course, RekeyId: k.GetId()}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for more := true; more; {
			var err error
			if more, err = w.service.applySome(t.Context(), 2, ""); err != nil {
				t.Errorf("apply: %v", err)
			}
		}
	})
	for i, st := range w.students {
		wg.Go(func() {
			slot, points := int32(1), fmt.Sprint(i%4)
			if i%2 == 0 {
				slot = 2
				points = "0.5"
			}
			if _, err := w.mark(w.as(id.New("account")), st.attempt.GetId(), func(m *assessmentpb.MarkAnswerRequest) { m.Slot, m.Points, m.Reason = slot, points, "Read." }); err != nil {
				t.Errorf("mark: %v, %s", err, fault.CodeOf(err))
			}
		})
	}
	wg.Wait()
	r.worked()
	for i, st := range w.students {
		q := st.get().GetQuestions()
		want := "0"
		if i%2 == 0 {
			want = "0.5"
		} else if got := q[0].GetOutcome().GetPoints(); got != fmt.Sprint(i%4) {
			t.Errorf("the essay of %d: %s", i, got)
		}
		expect(t, "the choice", q[1].GetOutcome().GetPoints(), want)
	}
}
