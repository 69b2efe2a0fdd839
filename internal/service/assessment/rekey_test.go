package assessment

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// rekeyWorld is a quiz of three letters, of which the first question's key may be wrong.
type rekeyWorld struct {
	*world
	assessmentpb.RekeyServiceClient

	quiz     taken
	question string
	teacher  string
}

func newRekeyWorld(t testing.TB, settings *assessmentpb.QuizSettings) *rekeyWorld {
	t.Helper()
	w := &rekeyWorld{world: newWorld(t, rpctest.Everything)}
	w.RekeyServiceClient = assessmentpb.NewRekeyServiceClient(w.harness.As("edge"))
	w.teacher = id.New("account")
	course := id.New("course")
	w.question = w.addQuestion(course, choiceQuestion(1))
	w.quiz = w.publishQuiz(course, quizOf(settings, []string{w.question, w.addQuestion(course, choiceQuestion(2)), w.addQuestion(course, choiceQuestion(3))}))
	return w
}

// version adds a version of the question with changes.
func (w *rekeyWorld) version(change func(*questionpb.QuestionContent)) int32 {
	w.t.Helper()
	q := choiceQuestion(1)
	change(q)
	if err := question.Validate(q); err != nil {
		w.t.Fatal(err)
	}
	body, err := proto.Marshal(question.Normalise(q))
	if err != nil {
		w.t.Fatal(err)
	}
	var n int32
	if err := w.db.QueryRow(w.t.Context(), `SELECT max(version) + 1 FROM question_version WHERE question_id = $1`, w.question).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	w.exec(`INSERT INTO question_version (question_id, version, kind, title, body, hash, created_by, created_at) VALUES ($1, $2, 'choice', 'Letter', $3, $4, 'account_x', $5)`,
		w.question, n, body, []byte{1}, w.now())
	w.exec(`UPDATE question SET version = $2 WHERE id = $1`, w.question, n)
	return n
}

// rightIs makes an option the right one, alone.
func rightIs(key string) func(*questionpb.QuestionContent) {
	return func(q *questionpb.QuestionContent) {
		for _, o := range q.GetChoice().GetOptions() {
			o.Fraction = "0"
			if o.GetKey() == key {
				o.Fraction = "1"
			}
		}
	}
}

// taken has somebody take the quiz and answer the three questions.
func (w *rekeyWorld) taken(answers string) *student {
	w.t.Helper()
	st := w.start(w.quiz)
	w.answered(st, answers)
	return st
}

func (w *rekeyWorld) answered(st *student, answers string) {
	w.t.Helper()
	for i, key := range strings.Split(answers, "") {
		if key != "-" {
			st.send(laptop, pick(int64(i+1), int32(i+1), key))
		}
	}
	st.submit()
}

// begun begins an attempt of somebody.
func (w *rekeyWorld) begun(account string) *student {
	w.t.Helper()
	a, err := w.attempts.StartAttempt(w.as(account), &assessmentpb.StartAttemptRequest{CourseId: w.quiz.course, ItemId: w.quiz.item})
	if err != nil {
		w.t.Fatalf("StartAttempt: %v", err)
	}
	return &student{w.world, account, a}
}

func (w *rekeyWorld) preview(change func(*assessmentpb.CreateRekeyRequest)) *assessmentpb.Rekey {
	w.t.Helper()
	k, err := w.tryPreview(change)
	if err != nil {
		w.t.Fatalf("CreateRekey: %v", err)
	}
	w.worked()
	return w.rekey(k.GetId())
}

func (w *rekeyWorld) tryPreview(change func(*assessmentpb.CreateRekeyRequest)) (*assessmentpb.Rekey, error) {
	req := &assessmentpb.CreateRekeyRequest{CourseId: w.quiz.course, QuestionId: w.question, Action: "key", Reason: "The key was wrong."}
	change(req)
	return w.CreateRekey(w.as(w.teacher), req)
}

func keyed2(version int32) func(*assessmentpb.CreateRekeyRequest) {
	return func(r *assessmentpb.CreateRekeyRequest) { r.KeyVersion = version }
}

func rekeyBy(name string) func(*assessmentpb.CreateRekeyRequest) {
	return func(r *assessmentpb.CreateRekeyRequest) { r.Action = name }
}

// worked works on re-keys until there is nothing to do.
func (w *rekeyWorld) worked() {
	w.t.Helper()
	for _, step := range []func(context.Context) (bool, error){w.service.applyNext, w.service.previewNext} {
		for more := true; more; {
			var err error
			if more, err = step(w.t.Context()); err != nil {
				w.t.Fatalf("work on re-keys: %v", err)
			}
		}
	}
}

func (w *rekeyWorld) rekey(rekeyID string) *assessmentpb.Rekey {
	w.t.Helper()
	k, err := w.GetRekey(w.as(w.teacher), &assessmentpb.GetRekeyRequest{CourseId: w.quiz.course, RekeyId: rekeyID})
	if err != nil {
		w.t.Fatalf("GetRekey: %v", err)
	}
	return k
}

func (w *rekeyWorld) apply(rekeyID string) *assessmentpb.Rekey {
	w.t.Helper()
	if _, err := w.ApplyRekey(w.as(w.teacher), &assessmentpb.ApplyRekeyRequest{CourseId: w.quiz.course, RekeyId: rekeyID}); err != nil {
		w.t.Fatalf("ApplyRekey: %v", err)
	}
	w.worked()
	return w.rekey(rekeyID)
}

func (w *rekeyWorld) undo(rekeyID string) *assessmentpb.Rekey {
	w.t.Helper()
	k, err := w.UndoRekey(w.as(w.teacher), &assessmentpb.UndoRekeyRequest{CourseId: w.quiz.course, RekeyId: rekeyID, Reason: "It was right."})
	if err != nil {
		w.t.Fatalf("UndoRekey: %v", err)
	}
	w.worked()
	return w.rekey(k.GetId())
}

// counts writes the counts of a re-key.
func counts(k *assessmentpb.Rekey) string {
	return fmt.Sprintf("%s %d/%d: %d up, %d down, %d same, %d untouched, %d unscored; marks %d up, %d down, %d same", k.GetState(), k.GetDone(), k.GetAttempts(),
		k.GetUp(), k.GetDown(), k.GetSame(), k.GetUntouched(), k.GetUnscored(), k.GetMarksUp(), k.GetMarksDown(), k.GetMarksSame())
}

// lines writes what a re-key makes of the attempts of some students, in their order.
func (w *rekeyWorld) lines(rekeyID string, of ...*student) []string {
	w.t.Helper()
	found := map[string]string{}
	cursor := ""
	for {
		res, err := w.ListRekeyedAttempts(w.as(w.teacher), &assessmentpb.ListRekeyedAttemptsRequest{CourseId: w.quiz.course, RekeyId: rekeyID, PageSize: 2, Cursor: cursor})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, r := range res.GetItems() {
			found[r.GetAttemptId()] = fmt.Sprintf("%s: %s of %s to %s of %s, in all %s to %s, mark %s to %s", r.GetChange(), r.GetBefore().GetPoints(), r.GetBefore().GetMaxPoints(),
				r.GetAfter().GetPoints(), r.GetAfter().GetMaxPoints(), r.GetBefore().GetTotal(), r.GetAfter().GetTotal(), r.GetMarkBefore(), r.GetMarkAfter())
		}
		if cursor = res.GetNextCursor(); cursor == "" {
			break
		}
	}
	out := make([]string, len(of))
	for i, st := range of {
		out[i] = found[st.attempt.GetId()]
	}
	return out
}

// marks writes what the gradebook is told of students.
func (w *rekeyWorld) marks(of ...*student) string {
	w.t.Helper()
	var out []string
	for _, st := range of {
		var points string
		var version int64
		if err := w.db.QueryRow(w.t.Context(), `SELECT points, version FROM quiz_mark WHERE item_id = $1 AND account_id = $2`, w.quiz.item, st.account).Scan(&points, &version); err != nil {
			w.t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s (%d)", points, version))
	}
	return strings.Join(out, ", ")
}

func TestRekey(t *testing.T) {
	t.Parallel()
	w := newRekeyWorld(t, &assessmentpb.QuizSettings{Attempts: 2, MaxPoints: "30"})
	ada, ben, cem := w.taken("aab"), w.taken("baa"), w.taken("-cc")
	w.scored()
	// Cem tries again, and Dora has begun.
	again := w.begun(cem.account)
	dora := w.start(w.quiz)
	dora.send(laptop, pick(1, 1, "b"))
	expect(t, "marks", w.marks(ada, ben, cem), "23.333333 (1), 23.333333 (1), 0 (1)")

	v2 := w.version(rightIs("b"))
	k := w.preview(keyed2(v2))
	expect(t, "counts", counts(k), "ready 5/5: 1 up, 1 down, 1 same, 0 untouched, 2 unscored; marks 1 up, 1 down, 1 same")
	want := []string{
		"down: 1 of 1 to 0 of 1, in all 23.333333 to 13.333333, mark 23.333333 to 13.333333",
		"up: 0.333333 of 1 to 1 of 1, in all 23.333333 to 30, mark 23.333333 to 30",
		"same: 0 of 1 to 0 of 1, in all 0 to 0, mark 0 to 0",
		"unscored:  of 1 to  of 1, in all  to , mark 0 to 0",
		"unscored:  of 1 to  of 1, in all  to , mark  to ",
	}
	if diff := cmp.Diff(want, w.lines(k.GetId(), ada, ben, cem, again, dora)); diff != "" {
		t.Errorf("preview (-want +got):\n%s", diff)
	}
	// Nothing has changed.
	expect(t, "marks after the preview", w.marks(ada, ben, cem), "23.333333 (1), 23.333333 (1), 0 (1)")
	if n := len(ada.get().GetQuestions()[0].GetRekeys()); n != 0 {
		t.Errorf("the preview tells its student: %d", n)
	}

	// Who is submitted and scored since is told, with what differs.
	w.answered(again, "bbb")
	w.scored()
	_, err := w.ApplyRekey(w.as(w.teacher), &assessmentpb.ApplyRekeyRequest{CourseId: w.quiz.course, RekeyId: k.GetId()})
	got := codesOf(err)
	expect(t, "a stale preview", fmt.Sprint(len(got), got[0]), "3rekey.changed")
	expect(t, "changed attempts", strings.Join(got[1:], ", "), "attempts["+cem.attempt.GetId()+"] mark.changed, attempts["+again.attempt.GetId()+"] attempt.scored")

	k = w.preview(keyed2(v2))
	expect(t, "marks before", w.marks(ada, ben, cem), "23.333333 (1), 23.333333 (1), 10 (2)")
	k = w.apply(k.GetId())
	expect(t, "counts when applied", counts(k), "applied 5/5: 2 up, 1 down, 1 same, 0 untouched, 1 unscored; marks 2 up, 1 down, 0 same")
	expect(t, "marks after it", w.marks(ada, ben, cem), "13.333333 (2), 30 (2), 16.666667 (3)")
	want[3] = "up: 0.333333 of 1 to 1 of 1, in all 10 to 16.666667, mark 10 to 16.666667"
	want[2] = "same: 0 of 1 to 0 of 1, in all 0 to 0, mark 10 to 16.666667"
	if diff := cmp.Diff(want, w.lines(k.GetId(), ada, ben, cem, again, dora)); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
	expect(t, "applied twice", codeOf(w.ApplyRekey(w.as(w.teacher), &assessmentpb.ApplyRekeyRequest{CourseId: w.quiz.course, RekeyId: k.GetId()})), "rekey.applied")

	// Who was in progress is scored by it at their end, and who begins from now on.
	dora.submit()
	eve := w.taken("b--")
	w.scored()
	expect(t, "marks of others", w.marks(dora, eve), "10 (1), 10 (1)")

	// The student sees why.
	q := ada.get().GetQuestions()[0]
	if q.GetOutcome().GetState() != "wrong" || len(q.GetRekeys()) != 1 || len(dora.get().GetQuestions()[0].GetRekeys()) != 0 || len(cem.get().GetQuestions()[0].GetRekeys()) != 0 {
		t.Fatalf("the question: %v", q)
	}
	r := q.GetRekeys()[0]
	expect(t, "what its student is told", fmt.Sprintf("%s %s: %s of %s to %s of %s, in all %s to %s", r.GetAction(), r.GetReason(), r.GetOldPoints(), r.GetOldMaxPoints(),
		r.GetNewPoints(), r.GetNewMaxPoints(), r.GetOldTotal(), r.GetNewTotal()), "key The key was wrong.: 1 of 1 to 0 of 1, in all 23.333333 to 13.333333")

	// And back.
	u := w.undo(k.GetId())
	expect(t, "counts of undoing", counts(u), "applied 6/6: 1 up, 4 down, 1 same, 0 untouched, 0 unscored; marks 1 up, 4 down, 0 same")
	expect(t, "marks as they were", w.marks(ada, ben, cem, dora, eve), "23.333333 (3), 23.333333 (3), 10 (4), 3.333333 (2), 3.333333 (2)")
	q = ada.get().GetQuestions()[0]
	if len(q.GetRekeys()) != 2 || q.GetRekeys()[1].GetAction() != "undo" || q.GetRekeys()[1].GetReason() != "It was right." || q.GetOutcome().GetState() != "right" {
		t.Errorf("the question once undone: %v", q)
	}
	expect(t, "undone twice", codeOf(w.UndoRekey(w.as(w.teacher), &assessmentpb.UndoRekeyRequest{CourseId: w.quiz.course, RekeyId: k.GetId(), Reason: "x"})), "rekey.undone")
	expect(t, "undoing that", codeOf(w.UndoRekey(w.as(w.teacher), &assessmentpb.UndoRekeyRequest{CourseId: w.quiz.course, RekeyId: u.GetId(), Reason: "x"})), "rekey.not_applied")
	frank := w.taken("b--")
	w.scored()
	expect(t, "who begins then", w.marks(frank), "3.333333 (1)")

	list, err := w.ListRekeys(w.as(w.teacher), &assessmentpb.ListRekeysRequest{CourseId: w.quiz.course, QuestionId: w.question, Applied: true})
	if err != nil || len(list.GetItems()) != 2 || list.GetItems()[0].GetId() != u.GetId() || list.GetItems()[1].GetUndoneBy() != u.GetId() {
		t.Errorf("the list: %v, %v", list, err)
	}
	for _, call := range []func(course string) error{
		func(course string) error {
			_, err := w.GetRekey(w.as(w.teacher), &assessmentpb.GetRekeyRequest{CourseId: course, RekeyId: k.GetId()})
			return err
		},
		func(course string) error {
			_, err := w.ListRekeyedAttempts(w.as(w.teacher), &assessmentpb.ListRekeyedAttemptsRequest{CourseId: course, RekeyId: k.GetId()})
			return err
		},
		func(course string) error {
			_, err := w.UndoRekey(w.as(w.teacher), &assessmentpb.UndoRekeyRequest{CourseId: course, RekeyId: k.GetId(), Reason: "x"})
			return err
		},
		func(course string) error {
			_, err := w.ApplyRekey(w.as(w.teacher), &assessmentpb.ApplyRekeyRequest{CourseId: course, RekeyId: k.GetId()})
			return err
		},
	} {
		expect(t, "in another course", fault.CodeOf(call(id.New("course"))), "rekey.not_found")
	}
}

// TestRekeyKinds has everybody get full points, the question dropped and its points
// changed, one over the other, and takes them back in another order.
func TestRekeyKinds(t *testing.T) {
	t.Parallel()
	w := newRekeyWorld(t, &assessmentpb.QuizSettings{MaxPoints: "12"})
	ada, ben := w.taken("cab"), w.taken("-aa")
	w.scored()
	expect(t, "marks", w.marks(ada, ben), "5.333333 (1), 8 (1)")
	full := w.apply(w.preview(rekeyBy("full")).GetId())
	expect(t, "full", counts(full), "applied 2/2: 2 up, 0 down, 0 same, 0 untouched, 0 unscored; marks 2 up, 0 down, 0 same")
	expect(t, "marks with full points", w.marks(ada, ben), "9.333333 (2), 12 (2)")
	q := ben.get().GetQuestions()[0]
	if l := q.GetOutcome().GetLines(); q.GetOutcome().GetPoints() != "1" || len(l) == 0 || l[len(l)-1].GetCode() != "everybody" {
		t.Errorf("the derivation: %v", q.GetOutcome())
	}
	points := w.apply(w.preview(func(r *assessmentpb.CreateRekeyRequest) { r.Action, r.Points = "points", "2.5" }).GetId())
	// (2.5 + 1 + 1/3) / 4.5 × 12
	expect(t, "marks with other points", w.marks(ada, ben), "10.222222 (3), 12 (2)")
	expect(t, "counts", counts(points), "applied 2/2: 1 up, 0 down, 1 same, 0 untouched, 0 unscored; marks 1 up, 0 down, 1 same")
	expect(t, "what it is worth", ada.get().GetQuestions()[0].GetMaxPoints(), "2.5")
	drop := w.apply(w.preview(rekeyBy("drop")).GetId())
	expect(t, "marks without it", w.marks(ada, ben), "8 (4), 12 (2)")
	// Who begins now has it so as well.
	eve := w.taken("caa")
	w.scored()
	expect(t, "marks of who begins later", w.marks(eve), "12 (1)")
	r := ada.get().GetQuestions()[0].GetRekeys()
	if len(r) != 3 || r[2].GetOldMaxPoints() != "2.5" || r[2].GetNewMaxPoints() != "0" || r[2].GetOldPoints() != "2.5" || r[2].GetNewPoints() != "0" {
		t.Errorf("what its student is told: %v", r)
	}
	w.undo(full.GetId())
	expect(t, "the first undone, the last in force", w.marks(ada, ben, eve), "8 (4), 12 (2), 12 (1)")
	w.undo(drop.GetId())
	// (0 + 1 + 1/3) / 4.5 × 12; (0 + 2) / 4.5 × 12
	expect(t, "the last undone", w.marks(ada, ben, eve), "3.555556 (5), 5.333333 (3), 5.333333 (2)")
	w.undo(points.GetId())
	expect(t, "all undone", w.marks(ada, ben, eve), "5.333333 (6), 8 (4), 8 (3)")
	for _, st := range []*student{ada, ben, eve} {
		var other int
		if err := w.db.QueryRow(t.Context(), `SELECT count(*) FROM attempt_question WHERE attempt_id = $1 AND (key_version <> question_version OR scoring <> 'key' OR own_points IS NOT NULL OR max_points <> 1)`,
			st.attempt.GetId()).Scan(&other); err != nil || other != 0 {
			t.Errorf("%d questions are pinned otherwise, %v", other, err)
		}
	}
}

func TestRekeyRefused(t *testing.T) {
	t.Parallel()
	w := newRekeyWorld(t, &assessmentpb.QuizSettings{})
	expect(t, "nobody was asked it", codeOf(w.tryPreview(rekeyBy("full"))), "rekey.nothing")
	ada := w.taken("aaa")
	w.scored()
	other := w.version(func(q *questionpb.QuestionContent) { q.GetChoice().GetOptions()[1].Text = "Bee" })
	key := w.version(rightIs("b"))
	for name, c := range map[string]struct {
		change func(*assessmentpb.CreateRekeyRequest)
		want   string
	}{
		"no version":       {keyed2(9), "key_version rekey.version"},
		"none named":       {keyed2(0), "key_version rekey.version"},
		"no such shown":    {func(r *assessmentpb.CreateRekeyRequest) { r.KeyVersion, r.QuestionVersion = key, 9 }, "question_version rekey.version"},
		"shows other":      {keyed2(other), "key_version rekey.shown"},
		"shows other, too": {func(r *assessmentpb.CreateRekeyRequest) { r.KeyVersion, r.QuestionVersion = key, other }, "key_version rekey.shown"},
		"a key for full":   {func(r *assessmentpb.CreateRekeyRequest) { r.Action, r.KeyVersion = "full", key }, "key_version rekey.version"},
		"no points":        {rekeyBy("points"), "points rekey.points"},
		"none for them":    {func(r *assessmentpb.CreateRekeyRequest) { r.Action, r.Points = "points", "0" }, "points rekey.points"},
		"too many":         {func(r *assessmentpb.CreateRekeyRequest) { r.Action, r.Points = "points", "1000000.5" }, "points rekey.points"},
		"points of a key":  {func(r *assessmentpb.CreateRekeyRequest) { r.KeyVersion, r.Points = key, "2" }, "points rekey.points"},
		"no reason":        {func(r *assessmentpb.CreateRekeyRequest) { r.KeyVersion, r.Reason = key, " " }, "reason string.pattern"},
	} {
		_, err := w.tryPreview(c.change)
		got := codesOf(err)
		expect(t, name, got[len(got)-1], c.want)
	}
	_, err := w.tryPreview(keyed2(other))
	if f, ok := errors.AsType[*fault.Error](err); !ok || len(f.Fields) != 1 || !strings.Contains(f.Fields[0].Hint, `"B" and "Bee"`) {
		t.Errorf("the hint: %v", err)
	}
	expect(t, "another question", codeOf(w.tryPreview(func(r *assessmentpb.CreateRekeyRequest) { r.Action, r.QuestionId = "full", id.New("question") })), "question.not_found")
	expect(t, "another course", codeOf(w.tryPreview(func(r *assessmentpb.CreateRekeyRequest) { r.Action, r.CourseId = "full", id.New("course") })), "question.not_found")
	expect(t, "another quiz", codeOf(w.tryPreview(func(r *assessmentpb.CreateRekeyRequest) { r.Action, r.QuizId = "full", id.New("quiz") })), "rekey.nothing")
	// All others are worth nothing.
	w.exec(`UPDATE attempt_question SET max_points = 0 WHERE attempt_id = $1 AND slot > 1`, ada.attempt.GetId())
	expect(t, "nothing is left", codeOf(w.tryPreview(rekeyBy("drop"))), "rekey.nothing_left")
	expect(t, "applied before it is looked at", func() string {
		k, err := w.tryPreview(rekeyBy("full"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.ApplyRekey(w.as(w.teacher), &assessmentpb.ApplyRekeyRequest{CourseId: w.quiz.course, RekeyId: k.GetId()})
		return fault.CodeOf(err)
	}(), "rekey.not_ready")
	// The next one takes its place.
	first := w.preview(rekeyBy("full"))
	w.preview(rekeyBy("full"))
	expect(t, "an older preview", codeOf(w.ApplyRekey(w.as(w.teacher), &assessmentpb.ApplyRekeyRequest{CourseId: w.quiz.course, RekeyId: first.GetId()})), "rekey.expired")
	w.later(8 * 24 * time.Hour)
	if more, err := w.service.expireRekeys(t.Context()); err != nil || !more {
		t.Errorf("previews of last week: %v, %v", more, err)
	}
}

// TestRekeyVersions has a key hold for all versions that show the same, and for a quiz and
// an item alone where these are named.
func TestRekeyVersions(t *testing.T) {
	t.Parallel()
	w := newRekeyWorld(t, &assessmentpb.QuizSettings{})
	ada := w.taken("b--")
	w.version(func(q *questionpb.QuestionContent) { q.Title = "Another title" }) // 2 shows the same
	w.version(func(q *questionpb.QuestionContent) { q.Prompt = "Which?" })       // 3 does not
	shown := func(version int32) *student {
		st := w.start(w.quiz)
		w.exec(`UPDATE attempt_question SET question_version = $2, key_version = $2 WHERE attempt_id = $1 AND slot = 1`, st.attempt.GetId(), version)
		w.service.layouts.Invalidate(st.attempt.GetId())
		w.answered(st, "b--")
		return st
	}
	ben, cem := shown(2), shown(3)
	item := id.New("activity")
	w.exec(`INSERT INTO placement (course_id, item_id, ref, kind, title, sequence, present) VALUES ($1, $2, $3, 'quiz', 'A quiz', 1, true)`, w.quiz.course, item, w.quiz.quiz)
	dora := w.start(taken{w.quiz.course, item, w.quiz.quiz})
	w.answered(dora, "b--")
	w.scored()
	key := w.version(rightIs("b"))
	k := w.preview(keyed2(key))
	expect(t, "all", fmt.Sprint(counts(k), k.GetQuestionVersions(), k.GetLeftOut()), "ready 3/3: 3 up, 0 down, 0 same, 0 untouched, 0 unscored; marks 3 up, 0 down, 0 same[1 2] 1")
	k = w.preview(func(r *assessmentpb.CreateRekeyRequest) {
		r.KeyVersion, r.QuizId, r.ItemId = key, w.quiz.quiz, w.quiz.item
	})
	expect(t, "of an item", fmt.Sprint(counts(k), k.GetLeftOut()), "ready 2/2: 2 up, 0 down, 0 same, 0 untouched, 0 unscored; marks 2 up, 0 down, 0 same1")
	w.apply(k.GetId())
	expect(t, "marks there", w.marks(ada, ben, cem), "1 (2), 1 (2), 0.333333 (1)")
	if q := dora.get().GetQuestions()[0]; q.GetOutcome().GetState() != "partly" {
		t.Errorf("at another item: %v", q)
	}
}

// TestRekeyAccept adds what is right, too.
func TestRekeyAccept(t *testing.T) {
	t.Parallel()
	w := newRekeyWorld(t, &assessmentpb.QuizSettings{})
	ada := w.taken("c--")
	w.scored()
	answer := func(key string) *questionpb.Answer {
		return &questionpb.Answer{Content: &questionpb.Answer_Choice{Choice: &questionpb.ChoiceAnswer{Keys: []string{key}}}}
	}
	ask := func(answers ...*assessmentpb.AcceptedAnswer) (*assessmentpb.AcceptAnswersResponse, error) {
		return w.AcceptAnswers(w.as(w.teacher), &assessmentpb.AcceptAnswersRequest{CourseId: w.quiz.course, QuestionId: w.question, Answers: answers})
	}
	_, err := ask(&assessmentpb.AcceptedAnswer{Answer: answer("a")})
	expect(t, "what is right", strings.Join(codesOf(err), " "), "request.invalid answers[0].answer accept.given")
	_, err = ask(&assessmentpb.AcceptedAnswer{Answer: answer("c"), Fraction: "2"})
	expect(t, "too much", strings.Join(codesOf(err), " "), "request.invalid answers[0].fraction accept.fraction")
	res, err := ask(&assessmentpb.AcceptedAnswer{Answer: answer("c"), Fraction: "1/2"})
	if err != nil || res.GetVersion() != 2 {
		t.Fatalf("%v, %v", res, err)
	}
	w.apply(w.preview(keyed2(res.GetVersion())).GetId())
	expect(t, "the mark", w.marks(ada), "0.5 (2)")
	_, err = w.AcceptAnswers(w.as(w.teacher), &assessmentpb.AcceptAnswersRequest{CourseId: id.New("course"), QuestionId: w.question, Answers: []*assessmentpb.AcceptedAnswer{{Answer: answer("b")}}})
	expect(t, "in another course", fault.CodeOf(err), "question.not_found")
}

// TestRekeyRaces applies two at once while students hand in and staff undo nothing: one of
// both is refused, and in the end everybody is scored by what is in force.
func TestRekeyRaces(t *testing.T) {
	t.Parallel()
	w := newRekeyWorld(t, &assessmentpb.QuizSettings{})
	another := newWorldOn(t, w.db, rpctest.Everything)
	another.service.vault = w.service.vault
	var before, during []*student
	for range 12 {
		before = append(before, w.taken("b--"))
	}
	for range 12 {
		st := w.start(w.quiz)
		st.send(laptop, pick(1, 1, "b"))
		during = append(during, st)
	}
	w.scored()
	v2 := w.version(rightIs("b"))
	one := w.preview(keyed2(v2))
	teacher := w.teacher
	w.teacher = id.New("account")
	two := w.preview(rekeyBy("full"))
	var wg sync.WaitGroup
	codes := make([]string, 2)
	for i, k := range []*assessmentpb.Rekey{one, two} {
		wg.Go(func() {
			_, err := w.ApplyRekey(w.as(teacher), &assessmentpb.ApplyRekeyRequest{CourseId: w.quiz.course, RekeyId: k.GetId()})
			if err != nil {
				codes[i] = fault.CodeOf(err)
			}
		})
	}
	for _, st := range during {
		wg.Go(func() {
			if _, err := w.attempts.SubmitAttempt(w.as(st.account), &assessmentpb.SubmitAttemptRequest{AttemptId: st.attempt.GetId()}); err != nil {
				t.Errorf("SubmitAttempt: %v", err)
			}
		})
	}
	var late []*student
	var mu sync.Mutex
	for range 6 {
		wg.Go(func() {
			st := w.taken("b--")
			mu.Lock()
			defer mu.Unlock()
			late = append(late, st)
		})
	}
	for _, s := range []*Service{w.service, another.service} {
		wg.Go(func() {
			for range 20 {
				for _, step := range []func(context.Context) (bool, error){s.applyNext, func(ctx context.Context) (bool, error) { _, err := s.scoreDue(ctx); return false, err }} {
					if _, err := step(t.Context()); err != nil {
						t.Errorf("work: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	w.worked()
	w.scored()
	won := 0
	for _, code := range codes {
		if code == "" {
			won++
		} else if code != "rekey.running" && code != "rekey.changed" {
			t.Errorf("the other one: %s", code)
		}
	}
	if won == 0 { // somebody was scored before either: who applies it looks again
		k := w.preview(keyed2(v2))
		expect(t, "looked at again", w.apply(k.GetId()).GetState(), "applied")
	}
	for _, st := range append(append(before, during...), late...) {
		expect(t, "the mark", strings.Split(w.marks(st), " ")[0], "1")
	}
	var twice int
	if err := w.db.QueryRow(t.Context(), `SELECT count(*) FROM rekey_attempt WHERE stage <> 2 AND rekey_id IN (SELECT id FROM rekey WHERE state = 'applied')`).Scan(&twice); err != nil || twice != 0 {
		t.Errorf("%d have not followed, %v", twice, err)
	}
}

// TestRekeyKilled breaks off between and within batches, as a process that is killed does,
// and has another one go on: each attempt follows once.
func TestRekeyKilled(t *testing.T) {
	t.Parallel()
	w := newRekeyWorld(t, &assessmentpb.QuizSettings{})
	var all []*student
	for range 9 {
		all = append(all, w.taken("b--"))
	}
	w.scored()
	k := w.preview(keyed2(w.version(rightIs("b"))))
	if _, err := w.ApplyRekey(w.as(w.teacher), &assessmentpb.ApplyRekeyRequest{CourseId: w.quiz.course, RekeyId: k.GetId()}); err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*200*time.Microsecond)
		if _, err := w.service.applySome(ctx, 2, ""); err != nil && ctx.Err() == nil {
			t.Fatal(err)
		}
		cancel()
	}
	other := &rekeyWorld{world: newWorldOn(t, w.db, rpctest.Everything)}
	other.service.vault = w.service.vault
	// What was broken off may hold its row for a moment.
	for deadline := time.Now().Add(time.Minute); k.GetState() != "applied" && time.Now().Before(deadline); k = w.rekey(k.GetId()) {
		other.worked()
	}
	expect(t, "counts", counts(k), "applied 9/9: 9 up, 0 down, 0 same, 0 untouched, 0 unscored; marks 9 up, 0 down, 0 same")
	for _, st := range all {
		expect(t, "the mark", w.marks(st), "1 (2)")
		if r := st.get().GetQuestions()[0].GetRekeys(); len(r) != 1 {
			t.Errorf("%d notes: %v", len(r), r)
		}
	}
}

// TestRekeyUnseen tells nothing of a re-key where marks are not shown.
func TestRekeyUnseen(t *testing.T) {
	t.Parallel()
	w := newRekeyWorld(t, &assessmentpb.QuizSettings{Review: &assessmentpb.ReviewMatrix{After: &assessmentpb.ReviewParts{Attempt: true, Correctness: true}}})
	ada := w.taken("b--")
	w.scored()
	w.apply(w.preview(keyed2(w.version(rightIs("b")))).GetId())
	a := ada.get()
	if q := a.GetQuestions()[0]; len(q.GetRekeys()) != 0 || a.GetPoints() != "" || q.GetOutcome().GetState() != "right" {
		t.Errorf("without marks: %v", q)
	}
	staff, err := w.attempts.GetAttemptForMarking(w.as(w.teacher), &assessmentpb.GetAttemptForMarkingRequest{CourseId: w.quiz.course, AttemptId: ada.attempt.GetId()})
	if err != nil || len(staff.GetQuestions()[0].GetRekeys()) != 1 || staff.GetQuestions()[0].GetKeyVersion() != 2 {
		t.Errorf("for staff: %v, %v", staff.GetQuestions()[0], err)
	}
}
