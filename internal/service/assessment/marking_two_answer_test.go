package assessment

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

func twoMarkQuiz(tolerance, agreed string) *assessmentpb.QuizSettings {
	return &assessmentpb.QuizSettings{DoubleMarking: true, TwoMarkers: &assessmentpb.TwoMarkers{TolerancePercent: tolerance, Agreed: agreed}}
}

// queue lists answers at the item, as their states and who has marked them.
func (w *markingWorld) queue(who, state string) string {
	w.t.Helper()
	res, err := w.ListMarkingQueue(w.as(who), &assessmentpb.ListMarkingQueueRequest{CourseId: w.taken.course, ItemId: w.taken.item, State: state})
	if err != nil {
		w.t.Fatal(err)
	}
	out := make([]string, len(res.GetItems()))
	for i, m := range res.GetItems() {
		out[i] = fmt.Sprint(m.GetState(), " ", m.GetGiven(), " ", m.GetGivenByCaller())
	}
	return strings.Join(out, ", ")
}

// counts tells what the summary counts: to mark, claimed, marked, to agree.
func (w *markingWorld) counts() string {
	w.t.Helper()
	res, err := w.GetMarkingSummary(w.as(w.students[0].account), &assessmentpb.GetMarkingSummaryRequest{CourseId: w.taken.course})
	if err != nil || len(res.GetItems()) != 1 {
		w.t.Fatalf("summary: %v, %v", res, err)
	}
	c := res.GetItems()[0]
	return fmt.Sprint(c.GetToMark(), c.GetClaimed(), c.GetMarked(), c.GetToAgree())
}

func (w *markingWorld) settle(ctx context.Context, attempt, points string) (*assessmentpb.MarkedAnswer, error) {
	return w.SettleAnswerMark(ctx, &assessmentpb.SettleAnswerMarkRequest{CourseId: w.taken.course, AttemptId: attempt, Slot: 1, Points: points, Comment: "Settled.", Reason: "We spoke."})
}

// Two mark an essay, each without the other's mark, and agree.
func TestTwoMarkAnswer(t *testing.T) {
	t.Parallel()
	w := newMarkingWorld(t, 1, twoMarkQuiz("25", "mean"))
	qw := &quizWorld{world: w.world}
	outboxOf[assessmentpb.MarkChanged](qw)
	attempt := w.students[0].attempt.GetId()
	ben, cleo, dan := id.New("account"), id.New("account"), id.New("account")
	expect(t, "to begin with", w.queue(ben, ""), "to_mark 0 false")
	for _, who := range []string{ben, cleo} {
		if m, err := w.next(who); err != nil || m.GetOf().GetAttemptId() != attempt || m.GetTwoMarks().GetState() != "to_mark" {
			t.Fatal(m, err)
		}
	}
	expect(t, "claimed", w.counts(), "1 1 0 0")
	if _, err := w.next(dan); fault.CodeOf(err) != "marking.nothing_left" {
		t.Errorf("a third claims: %v", err)
	}
	if _, err := w.mark(w.as(dan), attempt, points("1")); fault.CodeOf(err) != "marking.claimed" {
		t.Errorf("a third marks: %v", err)
	}
	if _, err := w.mark(w.as(ben), attempt, func(r *assessmentpb.MarkAnswerRequest) { r.Comment = "Hm." }); refusedAs(err) != "mark.two" {
		t.Errorf("a comment alone: %v", err)
	}
	if _, err := w.mark(w.as(ben), attempt, points("4.000001")); refusedAs(err) != "mark.range" {
		t.Errorf("too many points: %v", err)
	}
	one, err := w.mark(w.as(ben), attempt, func(r *assessmentpb.MarkAnswerRequest) { r.Points, r.Comment = "2", "Fair." })
	if err != nil || one.GetTwoMarks().GetGiven() != 1 || len(one.GetTwoMarks().GetMarks()) != 1 || one.GetOf().GetState() != "to_mark" || len(one.GetMarks()) != 0 || !one.GetOf().GetGivenByCaller() {
		t.Fatalf("the first: %v, %v", one, err)
	}
	// Nobody else is told, and he has nothing more to do here.
	seen, err := w.GetMarkedAnswer(w.as(cleo), &assessmentpb.GetMarkedAnswerRequest{CourseId: w.taken.course, AttemptId: attempt, Slot: 1})
	if err != nil || seen.GetTwoMarks().GetGiven() != 1 || len(seen.GetTwoMarks().GetMarks()) != 0 || strings.Contains(seen.String(), "Fair.") {
		t.Errorf("the second sees: %v, %v", seen, err)
	}
	given := func(who string) string {
		t.Helper()
		res, err := w.ListGivenAnswerMarks(w.as(who), &assessmentpb.ListGivenAnswerMarksRequest{CourseId: w.taken.course, AttemptId: attempt, Slot: 1})
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, m := range res.GetItems() {
			out = append(out, m.GetRole()+" "+m.GetPoints())
		}
		return strings.Join(out, ", ")
	}
	expect(t, "listed to the second", given(cleo), "")
	expect(t, "listed to the first", given(ben), "marker 2")
	if _, err := w.next(ben); fault.CodeOf(err) != "marking.nothing_left" {
		t.Errorf("the first claims again: %v", err)
	}
	if _, err := w.settle(w.as(ben), attempt, "2"); fault.CodeOf(err) != "marking.not_both" {
		t.Errorf("settled by one: %v", err)
	}
	// His own he changes by what he knows; hers does not hold him up.
	if _, err := w.mark(rpc.WithIfMatch(w.as(ben), "0-9-9"), attempt, points("3")); fault.CodeOf(err) != "etag.stale" {
		t.Errorf("stale: %v", err)
	}
	if _, err := w.mark(rpc.WithIfMatch(w.as(ben), one.GetEtag()), attempt, func(r *assessmentpb.MarkAnswerRequest) { r.Fraction, r.Comment = "7/12", "Fair." }); err != nil {
		t.Fatal(err)
	}
	if events := outboxOf[assessmentpb.MarkChanged](qw); len(events) != 0 {
		t.Errorf("told of one mark: %v", events)
	}
	key := rpc.WithIdempotencyKey(w.as(cleo), "second")
	for range 2 {
		if one, err = w.mark(key, attempt, func(r *assessmentpb.MarkAnswerRequest) { r.Points, r.Comment = "3", "Good." }); err != nil {
			t.Fatal(err)
		}
	}
	// 7/3 and 3 of 4 are 2/3 apart, and a quarter of 4 is 1: their mean, exactly.
	if one.GetOutcome().GetFraction() != "2/3" || one.GetOf().GetState() != "marked" || one.GetTwoMarks().GetState() != "agreed" || len(one.GetTwoMarks().GetMarks()) != 3 || len(one.GetMarks()) != 1 {
		t.Errorf("agreed: %v", one)
	}
	if c := one.GetMarks()[0]; c.GetMarkedBy() != "" || !strings.Contains(c.GetComment(), "Fair.") || !strings.Contains(c.GetComment(), "Good.") {
		t.Errorf("what counts: %v", c)
	}
	events := outboxOf[assessmentpb.MarkChanged](qw)
	if len(events) != 1 || events[0].GetState() != "marked" || events[0].GetPoints() != "3.666667" {
		t.Errorf("told: %v", events)
	}
	expect(t, "all that was given", given(dan), "settled 8/3, marker 3, marker 7/3, marker 2")
	expect(t, "counted", w.counts(), "0 0 1 0")
	if _, err := w.mark(rpc.WithIfMatch(w.as(dan), "*"), attempt, points("1")); fault.CodeOf(err) != "marking.both_given" {
		t.Errorf("a third mark: %v", err)
	}
	// It can be settled anew.
	if again, err := w.settle(rpc.WithIfMatch(w.as(dan), one.GetEtag()), attempt, "4"); err != nil || again.GetOutcome().GetFraction() != "1" || again.GetMarks()[0].GetMarkedBy() != dan {
		t.Errorf("settled anew: %v, %v", again, err)
	}
	if _, err := w.settle(rpc.WithIfMatch(w.as(ben), one.GetEtag()), attempt, "3"); fault.CodeOf(err) != "etag.stale" {
		t.Errorf("settled over another: %v", err)
	}
	if _, err := w.settle(w.as(ben), attempt, "3"); fault.CodeOf(err) != "etag.required" {
		t.Errorf("settled blindly: %v", err)
	}
}

// Two who differ are settled; an answer that the program scores is no matter of two.
func TestTwoDisagreeOnAnswer(t *testing.T) {
	t.Parallel()
	w := newMarkingWorld(t, 2, twoMarkQuiz("5", "higher"))
	attempt := w.students[0].attempt.GetId()
	ben, cleo, dan := id.New("account"), id.New("account"), id.New("account")
	for who, p := range map[string]string{ben: "1", cleo: "3"} {
		if _, err := w.mark(w.as(who), attempt, points(p)); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, "to mark", w.queue(ben, "to_mark"), "to_mark 0 false")
	expect(t, "to agree", w.queue(ben, "to_agree"), "to_agree 2 true")
	expect(t, "to agree, for a third", w.queue(dan, "to_agree"), "to_agree 2 false")
	expect(t, "marked", w.queue(ben, "marked"), "")
	expect(t, "counted", w.counts(), "1 0 0 1")
	if m, err := w.next(dan); err != nil || m.GetOf().GetAttemptId() != w.students[1].attempt.GetId() {
		t.Errorf("next: %v, %v", m, err)
	}
	if _, err := w.settle(w.as(dan), attempt, ""); refusedAs(err) != "mark.two" {
		t.Errorf("settled without points: %v", err)
	}
	if m, err := w.settle(w.as(dan), attempt, "2.5"); err != nil || m.GetOutcome().GetPoints() != "2.5" || m.GetTwoMarks().GetState() != "agreed" || m.GetMarks()[0].GetReason() != "We spoke." {
		t.Errorf("settled: %v, %v", m, err)
	}
	choice := func(r *assessmentpb.MarkAnswerRequest) { r.Points, r.Slot, r.Reason = "0", 2, "Copied." }
	if m, err := w.mark(w.as(ben), attempt, choice); err != nil || m.GetTwoMarks() != nil || m.GetOutcome().GetPoints() != "0" {
		t.Errorf("what the program scored: %v, %v", m, err)
	}
	if _, err := w.SettleAnswerMark(w.as(ben), &assessmentpb.SettleAnswerMarkRequest{CourseId: w.taken.course, AttemptId: attempt, Slot: 2, Points: "1"}); fault.CodeOf(err) != "marking.not_two" {
		t.Errorf("settled what one marks: %v", err)
	}
	for _, bad := range []struct{ course, attempt string }{{id.New("course"), attempt}, {w.taken.course, id.New("attempt")}} {
		if _, err := w.SettleAnswerMark(w.as(ben), &assessmentpb.SettleAnswerMarkRequest{CourseId: bad.course, AttemptId: bad.attempt, Slot: 1, Points: "1"}); fault.CodeOf(err) != "answer.not_found" {
			t.Errorf("of another course: %v", err)
		}
	}
}

// Of many who mark the same answer at once two do, and one mark comes of it.
func TestTwoMarkAnswerRace(t *testing.T) {
	t.Parallel()
	w := newMarkingWorld(t, 1, twoMarkQuiz("100", "mean"))
	attempt := w.students[0].attempt.GetId()
	codes := make([]string, 8)
	var wg sync.WaitGroup
	for i := range codes {
		wg.Go(func() {
			if _, err := w.mark(w.as(id.New("account")), attempt, points("2")); err != nil {
				codes[i] = fault.CodeOf(err)
			}
		})
	}
	wg.Wait()
	slices.Sort(codes)
	if codes[1] != "" || codes[2] != "marking.both_given" || codes[7] != "marking.both_given" {
		t.Errorf("codes: %q", codes)
	}
	qw := &quizWorld{world: w.world}
	if n := qw.query(`SELECT concat_ws(' ', (SELECT count(*) FROM answer_given), (SELECT count(*) FROM answer_given_marker), (SELECT count(*) FROM answer_mark))`); n[0] != "3 2 1" {
		t.Errorf("given, markers, marks: %s", n[0])
	}
}

// Another answer is marked by two anew.
func TestTwoMarkAnewAfterReopening(t *testing.T) {
	t.Parallel()
	settings := twoMarkQuiz("5", "mean")
	settings.TimeLimitSeconds = 600
	w := newMarkingWorld(t, 0, settings)
	st := w.start(w.taken)
	w.students = append(w.students, st)
	st.send(laptop, text(1, 1, "Because."))
	w.later(11 * time.Minute)
	if _, err := w.service.endDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.scored()
	attempt, ben, cleo := st.attempt.GetId(), id.New("account"), id.New("account")
	for _, who := range []string{ben, cleo} {
		if _, err := w.mark(w.as(who), attempt, points(map[string]string{ben: "1", cleo: "4"}[who])); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, "before", w.queue(ben, "all"), "to_agree 2 true")
	exams := assessmentpb.NewExamServiceClient(w.harness.As("edge"))
	if _, err := exams.ReopenAttempt(w.as(id.New("account")), &assessmentpb.ReopenAttemptRequest{
		CourseId: w.taken.course, AttemptId: attempt, Minutes: 10, Reason: "A fire alarm",
	}); err != nil {
		t.Fatal(err)
	}
	st.send(laptop, text(2, 1, "Because of this."))
	st.submit()
	w.scored()
	if got := w.queue(ben, "to_mark"); got != "to_mark 0 false" {
		t.Errorf("another answer: %s", got)
	}
	for _, who := range []string{cleo, ben} {
		if _, err := w.mark(w.as(who), attempt, points("3")); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, "after", w.queue(ben, "all"), "marked 2 true")
}

// TestTwoMarkRekeyed compares what two gave as shares of what the question was worth to
// each of them.
func TestTwoMarkRekeyed(t *testing.T) {
	t.Parallel()
	w := newMarkingWorld(t, 1, twoMarkQuiz("5", "mean"))
	r := &rekeyWorld{world: w.world, quiz: w.taken, question: w.essay, teacher: id.New("account")}
	r.RekeyServiceClient = assessmentpb.NewRekeyServiceClient(w.harness.As("edge"))
	attempt := w.students[0].attempt.GetId()
	if _, err := w.mark(w.as(id.New("account")), attempt, points("3")); err != nil {
		t.Fatal(err)
	}
	r.apply(r.preview(func(req *assessmentpb.CreateRekeyRequest) { req.Action, req.Points = "points", "2" }).GetId())
	two, err := w.mark(w.as(id.New("account")), attempt, points("1.5"))
	if err != nil || two.GetTwoMarks().GetState() != "agreed" {
		t.Fatalf("3 of 4 and 1.5 of 2: %v, %v", two, err)
	}
	for _, g := range two.GetTwoMarks().GetMarks() {
		expect(t, "given", g.GetPoints(), "1.5")
	}
	if q := w.students[0].get().GetQuestions()[0]; q.GetOutcome().GetPoints() != "1.5" || q.GetMaxPoints() != "2" {
		t.Errorf("agreed: %v", q)
	}
}
