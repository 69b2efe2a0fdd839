package assessment

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// end ends what is due.
func (w *world) end() int {
	w.t.Helper()
	n, err := w.service.endDue(context.Background())
	if err != nil {
		w.t.Fatalf("end: %v", err)
	}
	return n
}

func TestTimeIsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	st := w.start(w.letters(&assessmentpb.QuizSettings{TimeLimitSeconds: 600}))
	ends := w.now().Add(10 * time.Minute)
	w.later(10 * time.Minute)
	expect(t, "at the last moment", st.verdicts(laptop, pick(1, 1, "a")), "accepted")
	if n := w.end(); n != 0 {
		t.Errorf("%d ended before what is in flight is in", n)
	}
	w.later(time.Microsecond)
	expect(t, "a moment later", st.verdicts(laptop, pick(2, 1, "b"), do(3, opFinish, 0)), "too_late, too_late")
	w.later(time.Hour) // the server was away
	if n := w.end(); n != 1 || w.end() != 0 {
		t.Errorf("%d ended", n)
	}
	a := st.get()
	if a.GetState() != stateSubmitted || !a.GetSubmittedAt().AsTime().Equal(ends) || a.GetSubmittedBy() != byClock || a.GetLastSeq() != 4 {
		t.Errorf("ended: %v", a)
	}
	w.scored()
	if a := st.get(); a.GetPoints() != "1" || a.GetState() != stateGraded {
		t.Errorf("scored: %v", a)
	}
	r := st.submit()
	if r.GetSubmittedBy() != byClock || r.GetOperations() != 1 || !r.GetSubmittedAt().AsTime().Equal(ends) {
		t.Errorf("receipt: %v", r)
	}
	// Who submits when the time is over, and before the clock, gets the clock's receipt.
	st = w.start(w.letters(&assessmentpb.QuizSettings{TimeLimitSeconds: 600}))
	ends = w.now().Add(10 * time.Minute)
	w.later(11 * time.Minute)
	if r := st.submit(); r.GetSubmittedBy() != byClock || !r.GetSubmittedAt().AsTime().Equal(ends) {
		t.Errorf("receipt: %v", r)
	}
}

func TestGrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	for overtime, want := range map[string]string{"grace": stateSubmitted, "abandon": stateAbandoned} {
		start := func() *student {
			return w.start(w.letters(&assessmentpb.QuizSettings{TimeLimitSeconds: 600, Overtime: overtime, GraceSeconds: 60}))
		}
		st, prompt := start(), start()
		expect(t, "in time", st.verdicts(laptop, pick(1, 1, "c")), "accepted")
		w.later(10*time.Minute + time.Second)
		expect(t, "late", st.verdicts(laptop, pick(2, 1, "a")), "late")
		expect(t, "still open", st.get().GetState(), stateInProgress)
		if n := w.end(); n != 0 {
			t.Errorf("%d ended within grace", n)
		}
		expect(t, "submitted within grace", prompt.submit().GetSubmittedBy(), "student")
		w.later(time.Minute)
		expect(t, "too late", st.verdicts(laptop, pick(3, 1, "b")), "too_late")
		if n := w.end(); n != 1 {
			t.Errorf("%d ended", n)
		}
		expect(t, overtime, st.get().GetState(), want)
		w.scored()
		if want == stateAbandoned {
			_, err := w.attempts.SubmitAttempt(w.as(st.account), &assessmentpb.SubmitAttemptRequest{AttemptId: st.attempt.GetId()})
			expect(t, "abandoned", codeOf(nil, err), "attempt.abandoned")
			// Staff may have it count all the same.
			r, err := w.attempts.AcceptLateAnswers(w.as(id.New("account")), &assessmentpb.AcceptLateAnswersRequest{
				CourseId: st.attempt.GetCourseId(), AttemptId: st.attempt.GetId(), Seqs: []int64{3}, Reason: "The power was out",
			})
			if err != nil || r.GetSubmittedBy() != "staff" || r.GetOperations() != 3 {
				t.Errorf("accepted: %v, %v", r, err)
			}
			w.scored()
			if a := st.get(); a.GetPoints() != "0.333333" || a.GetState() != stateGraded {
				t.Errorf("scored: %v", a)
			}
			continue
		}
		if a := st.get(); a.GetPoints() != "1" {
			t.Errorf("late answers count: %v", a.GetPoints())
		}
		if r := st.submit(); r.GetOperations() != 2 {
			t.Errorf("receipt: %v", r)
		}
	}
}

// The period of grace makes nobody late who answered in time and did not submit.
func TestGraceIsNotLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	for name, c := range map[string]struct {
		overtime string
		due      time.Duration // behind the start
		answer   time.Duration // that comes behind the end
		submit   time.Duration
		flag     bool // not an answer
		close    bool // by staff
		late     int64
	}{
		"answered in time":         {overtime: "grace", due: 10 * time.Minute},
		"answered in the grace":    {overtime: "grace", due: 10 * time.Minute, answer: 20 * time.Second, late: 20},
		"flagged in the grace":     {overtime: "grace", due: 10 * time.Minute, answer: 20 * time.Second, flag: true},
		"due before the end":       {overtime: "grace", due: 8 * time.Minute, late: 120},
		"submitted in the grace":   {overtime: "grace", due: 10 * time.Minute, submit: 30 * time.Second, late: 30},
		"closed in the grace":      {overtime: "grace", due: 10 * time.Minute, submit: 30 * time.Second, close: true},
		"closed before its end":    {overtime: "grace", due: 5 * time.Minute, submit: -time.Minute, close: true, late: 240},
		"abandoned, then accepted": {overtime: "abandon", due: 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			st := w.start(w.letters(&assessmentpb.QuizSettings{TimeLimitSeconds: 600, Overtime: c.overtime, GraceSeconds: 60}))
			began := w.now()
			until := func(at time.Duration) { w.later(began.Add(at).Sub(w.now())) }
			w.exec(`UPDATE attempt SET due_at = $2 WHERE id = $1`, st.attempt.GetId(), began.Add(c.due))
			expect(t, "in time", st.verdicts(laptop, pick(1, 1, "c")), "accepted")
			if c.answer > 0 {
				until(10*time.Minute + c.answer)
				op := pick(2, 1, "a")
				if c.flag {
					op = do(2, opFlag, 1)
				}
				expect(t, "late", st.verdicts(laptop, op), "late")
			}
			switch {
			case c.close:
				until(10*time.Minute + c.submit)
				if _, err := w.attempts.CloseAttempt(w.as(id.New("account")), &assessmentpb.CloseAttemptRequest{
					CourseId: st.attempt.GetCourseId(), AttemptId: st.attempt.GetId(), Reason: "The room is needed",
				}); err != nil {
					t.Fatal(err)
				}
			case c.submit > 0:
				until(10*time.Minute + c.submit)
				st.submit()
			}
			until(12 * time.Minute)
			w.end()
			if c.overtime == "abandon" {
				expect(t, "too late", st.verdicts(laptop, pick(3, 1, "b")), "too_late")
				if _, err := w.attempts.AcceptLateAnswers(w.as(id.New("account")), &assessmentpb.AcceptLateAnswersRequest{
					CourseId: st.attempt.GetCourseId(), AttemptId: st.attempt.GetId(), Seqs: []int64{3}, Reason: "The power was out",
				}); err != nil {
					t.Fatal(err)
				}
			}
			w.scored()
			var late int64
			if err := w.db.QueryRow(t.Context(), `SELECT late_seconds FROM quiz_mark WHERE account_id = $1 AND state = 'marked'`, st.account).Scan(&late); err != nil {
				t.Fatal(err)
			}
			if late != c.late {
				t.Errorf("late by %d s, want %d", late, c.late)
			}
		})
	}
}

// What is about to be saved is not passed over, and one that saves for long holds up
// nobody else.
func TestEndedWhileSaved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	quiz := w.letters(&assessmentpb.QuizSettings{TimeLimitSeconds: 600})
	busy, idle := w.start(quiz), w.start(quiz)
	w.later(11 * time.Minute)
	locked, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.db.InTx(context.Background(), func(tx *pg.Tx) error {
			if _, err := lockAttempt(context.Background(), tx, busy.attempt.GetId()); err != nil {
				return err
			}
			close(locked)
			<-release
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	<-locked
	if n := w.end(); n != 1 || idle.get().GetState() != stateSubmitted || busy.get().GetState() != stateInProgress {
		t.Errorf("%d ended", n)
	}
	close(release)
	wg.Wait()
	if n := w.end(); n != 1 {
		t.Errorf("%d ended", n)
	}
}

// What came in time and had to wait for its turn until the clock had ended the attempt
// counts as if it had not: it is scored, and in the receipt. What came after does not.
func TestInTimeBehindTheClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	quiz := w.letters(&assessmentpb.QuizSettings{TimeLimitSeconds: 600})
	st := w.start(quiz)
	st.send(laptop, pick(1, 1, "b"))
	w.later(10*time.Minute - time.Second)
	came := w.service.time()
	w.later(time.Minute)
	if n := w.end(); n != 1 {
		t.Fatalf("%d ended", n)
	}
	w.scored()
	first := st.get()
	send := func(came time.Time, ops ...*assessmentpb.Operation) *assessmentpb.AppendAnswersResponse {
		t.Helper()
		c := &appendCall{ctx: t.Context(), req: &assessmentpb.AppendAnswersRequest{AttemptId: st.attempt.GetId(), ClientId: laptop, Operations: ops}, account: st.account, now: came}
		for i, op := range ops {
			c.ops = append(c.ops, readOperation(op, i))
		}
		res, err := w.service.appends.do(c)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	res := send(came, pick(2, 1, "a"))
	if v := res.GetVerdicts()[0]; v.GetVerdict() != accepted || res.GetState() != stateSubmitted {
		t.Fatalf("in time: %v", res)
	}
	w.scored()
	got := st.get()
	if got.GetState() != stateGraded || got.GetPoints() == first.GetPoints() || !got.GetSubmittedAt().AsTime().Equal(first.GetSubmittedAt().AsTime()) {
		t.Errorf("%v points before, now %v", first.GetPoints(), got)
	}
	receipt := must(w.attempts.GetReceipt(w.as(st.account), &assessmentpb.GetReceiptRequest{AttemptId: st.attempt.GetId()}))(t)
	if receipt.GetNumber() != 2 || receipt.GetOperations() != 2 {
		t.Errorf("receipt %v", receipt)
	}
	for range 2 { // what has come twice has its first verdict
		if v := send(came, pick(2, 1, "a")).GetVerdicts()[0]; v.GetVerdict() != accepted || !v.GetRepeated() {
			t.Errorf("again: %v", v)
		}
	}
	if v := send(w.service.time(), pick(3, 1, "c")).GetVerdicts()[0]; v.GetVerdict() != tooLate {
		t.Errorf("after the end: %v", v)
	}
	if n := must(w.attempts.GetReceipt(w.as(st.account), &assessmentpb.GetReceiptRequest{AttemptId: st.attempt.GetId()}))(t).GetNumber(); n != 2 {
		t.Errorf("%d receipts", n)
	}
}

// Several processes end and score many at once: each is ended once.
func TestEndedByMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	quiz := w.letters(&assessmentpb.QuizSettings{TimeLimitSeconds: 600})
	const n = 60
	students := make([]*student, n)
	for i := range students {
		students[i] = w.start(quiz)
		students[i].send(laptop, pick(1, 1, []string{"a", "b", "c"}[i%3]))
	}
	w.later(11 * time.Minute)
	var wg sync.WaitGroup
	for range 4 {
		other := newWorldOn(t, w.db, rpctest.Everything)
		other.service.vault = w.service.vault
		other.clock = w.now()
		wg.Go(func() {
			for {
				ended, err := other.service.endDue(context.Background())
				scored, err2 := other.service.scoreDue(context.Background())
				if err != nil || err2 != nil {
					t.Error(err, err2)
					return
				}
				if ended+scored == 0 {
					return
				}
			}
		})
	}
	wg.Wait()
	w.end()
	w.scored()
	var receipts, finishes, marks int
	if err := w.db.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM receipt), (SELECT count(*) FROM answer_operation WHERE kind = 'finish'), (SELECT count(*) FROM quiz_mark WHERE state = 'marked' AND version = 1)`).
		Scan(&receipts, &finishes, &marks); err != nil {
		t.Fatal(err)
	}
	if receipts != n || finishes != n || marks != n {
		t.Errorf("%d receipts, %d ends, %d marks, want %d", receipts, finishes, marks, n)
	}
	for i, st := range students {
		if a := st.get(); a.GetState() != stateGraded || a.GetPoints() != []string{"1", "0.333333", "0"}[i%3] {
			t.Errorf("%d: %s %s", i, a.GetState(), a.GetPoints())
		}
	}
}

// The clock runs by itself, also in a process that starts when the time was over.
func TestRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	quiz := w.letters(&assessmentpb.QuizSettings{TimeLimitSeconds: 600})
	st := w.start(quiz)
	st.send(laptop, pick(1, 1, "a"))
	w.later(11 * time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.service.Run(ctx) }()
	deadline := time.Now().Add(time.Minute)
	for st.get().GetState() != stateGraded {
		if time.Now().After(deadline) {
			t.Fatal("it was not ended")
		}
		<-time.After(10 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestMoreTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	quiz := w.letters(&assessmentpb.QuizSettings{TimeLimitSeconds: 600})
	one, two, over := w.start(quiz), w.start(quiz), w.start(quiz)
	over.submit()
	begun := w.now()
	give := func(attempts []string, more time.Duration) []string {
		t.Helper()
		var given []string
		if err := w.db.InTx(t.Context(), func(tx *pg.Tx) (err error) {
			tx.Exempt("a test")
			given, err = w.service.extend(t.Context(), tx, quiz.course, quiz.item, attempts, more)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return given
	}
	ends := func(st *student, want time.Duration) {
		t.Helper()
		a := st.get()
		if got := a.GetExpiresAt().AsTime().Sub(begun); got != want || a.GetRemainingMs() != want.Milliseconds() {
			t.Errorf("it ends after %s, %d ms are left, want %s", got, a.GetRemainingMs(), want)
		}
	}
	if given := give(nil, 5*time.Minute); len(given) != 2 {
		t.Errorf("given to %v", given)
	}
	revision := one.get().GetRevision()
	if given := give([]string{one.attempt.GetId(), over.attempt.GetId()}, time.Minute); len(given) != 1 {
		t.Errorf("given to %v", given)
	}
	ends(one, 16*time.Minute)
	ends(two, 15*time.Minute)
	if a := one.get(); a.GetExtraSeconds() != 360 || a.GetRevision() <= revision {
		t.Errorf("one: %v", a)
	}
	// What is eased while it runs counts at once; what is taken back does not cut it.
	ease := func(st *student, eases ...*accesspb.Ease) {
		t.Helper()
		w.around.mu.Lock()
		w.around.eases[st.account] = eases
		w.around.mu.Unlock()
		w.exec(`INSERT INTO accommodation_task (account_id, retry_at) VALUES ($1, $2)`, st.account, w.now())
		if n, err := w.service.easeDue(t.Context()); err != nil || n != 1 {
			t.Fatalf("eased %d: %v", n, err)
		}
	}
	ease(one, &accesspb.Ease{TimePercent: 150}, &accesspb.Ease{TimePercent: 125, Breaks: true})
	ends(one, 21*time.Minute)
	ease(one, &accesspb.Ease{TimePercent: 110})
	ends(one, 21*time.Minute)
	if a := one.get(); !a.GetBreaks() || two.get().GetBreaks() {
		t.Errorf("breaks: %v", a)
	}
	if n, err := w.service.easeDue(t.Context()); err != nil || n != 0 {
		t.Errorf("eased again: %d, %v", n, err)
	}
}

// The window cuts the usual time short for everybody, and in proportion for whom more
// is eased.
func TestWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	quiz := w.letters(&assessmentpb.QuizSettings{TimeLimitSeconds: 600})
	begun := w.now()
	closes := begun.Add(4 * time.Minute)
	for _, c := range []struct {
		percent int32
		want    time.Duration
	}{{100, 4 * time.Minute}, {150, 6 * time.Minute}, {500, 20 * time.Minute}} {
		account := id.New("account")
		w.around.say(account, &learningpb.ItemAccess{Enrolled: true, State: "open", ClosesAt: timestamppb.New(closes)})
		w.around.mu.Lock()
		w.around.eases[account] = []*accesspb.Ease{{TimePercent: c.percent}}
		w.around.mu.Unlock()
		a, err := w.attempts.StartAttempt(w.as(account), &assessmentpb.StartAttemptRequest{CourseId: quiz.course, ItemId: quiz.item})
		if err != nil || a.GetExpiresAt().AsTime().Sub(begun) != c.want {
			t.Errorf("%d %%: %s, %v", c.percent, a.GetExpiresAt().AsTime().Sub(begun), err)
		}
	}
}

func TestBreaks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	quiz := w.letters(&assessmentpb.QuizSettings{TimeLimitSeconds: 600})
	begun := w.now()
	begin := func(window time.Duration) *student {
		t.Helper()
		st := &student{world: w, account: id.New("account")}
		it := &learningpb.ItemAccess{Enrolled: true, State: "open"}
		if window > 0 {
			it.ClosesAt = timestamppb.New(begun.Add(window))
		}
		w.around.say(st.account, it)
		w.around.mu.Lock()
		w.around.eases[st.account] = []*accesspb.Ease{{Breaks: true}}
		w.around.mu.Unlock()
		var err error
		if st.attempt, err = w.attempts.StartAttempt(w.as(st.account), &assessmentpb.StartAttemptRequest{CourseId: quiz.course, ItemId: quiz.item}); err != nil {
			t.Fatal(err)
		}
		return st
	}
	pause := func(st *student) (*assessmentpb.Attempt, error) {
		return w.attempts.PauseAttempt(w.as(st.account), &assessmentpb.PauseAttemptRequest{AttemptId: st.attempt.GetId()})
	}
	resume := func(st *student) (*assessmentpb.Attempt, error) {
		return w.attempts.ResumeAttempt(w.as(st.account), &assessmentpb.ResumeAttemptRequest{AttemptId: st.attempt.GetId()})
	}
	free, bound := begin(0), begin(15*time.Minute)
	usual := w.start(quiz)
	expect(t, "without", codeOf(pause(usual)), "attempt.no_breaks")
	w.later(4 * time.Minute)
	for _, st := range []*student{free, bound} {
		a, err := pause(st)
		if err != nil || a.GetPausedAt() == nil || len(a.GetQuestions()) != 0 || a.GetRemainingMs() != 360_000 {
			t.Fatalf("paused: %v, %v", a, err)
		}
		expect(t, "in a break", codeOf(st.try(laptop, pick(1, 1, "a"))), "attempt.paused")
		if again, err := pause(st); err != nil || again.GetRevision() != a.GetRevision() {
			t.Errorf("paused again: %v, %v", again, err)
		}
	}
	w.later(8 * time.Minute)
	if n := w.end(); n != 1 {
		t.Errorf("%d ended in a break", n) // that of the third
	}
	a, err := resume(free)
	if err != nil || a.GetExpiresAt().AsTime().Sub(begun) != 18*time.Minute || len(a.GetQuestions()) != 4 {
		t.Errorf("resumed: %v, %v", a.GetExpiresAt().AsTime().Sub(begun), err)
	}
	// The window ends it all the same.
	if a, err = resume(bound); err != nil || a.GetExpiresAt().AsTime().Sub(begun) != 15*time.Minute {
		t.Errorf("resumed: %v, %v", a.GetExpiresAt().AsTime().Sub(begun), err)
	}
	expect(t, "afterwards", free.verdicts(laptop, pick(1, 1, "a")), "accepted")
	if _, err := pause(bound); err != nil {
		t.Fatal(err)
	}
	w.later(4 * time.Minute)
	if n := w.end(); n != 1 || bound.get().GetState() != stateSubmitted {
		t.Errorf("%d ended: %v", n, bound.get().GetState())
	}
	expect(t, "over", codeOf(resume(bound)), "attempt.over")
	// What staff hold goes on when they say so.
	if err := w.db.InTx(t.Context(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		a, err := lockAttempt(t.Context(), tx, free.attempt.GetId())
		if err != nil {
			return err
		}
		return w.service.pause(t.Context(), tx, a, id.New("account"))
	}); err != nil {
		t.Fatal(err)
	}
	expect(t, "held", codeOf(resume(free)), "attempt.held")
}

func TestStaffClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	quiz := w.letters(&assessmentpb.QuizSettings{})
	st := w.start(quiz)
	st.send(laptop, pick(1, 1, "a"))
	staff := w.as(id.New("account"))
	req := &assessmentpb.CloseAttemptRequest{CourseId: quiz.course, AttemptId: st.attempt.GetId(), Reason: "They left"}
	r, err := w.attempts.CloseAttempt(staff, req)
	if err != nil || r.GetSubmittedBy() != "staff" || r.GetOperations() != 1 {
		t.Fatalf("closed: %v, %v", r, err)
	}
	expect(t, "again", codeOf(w.attempts.CloseAttempt(staff, req)), "attempt.over")
	a := st.get()
	if len(a.GetNotices()) != 1 || a.GetNotices()[0].GetKind() != "closed" || a.GetSubmittedBy() != "staff" {
		t.Errorf("told: %v", a)
	}
	res, err := w.attempts.ListAttemptStates(context.Background(), &assessmentpb.ListAttemptStatesRequest{Attempts: []*assessmentpb.AttemptKnown{{AttemptId: a.GetId(), Revision: 2}, {AttemptId: id.New("attempt")}}})
	if err != nil || len(res.GetItems()) != 1 || res.GetItems()[0].GetState() != stateSubmitted || len(res.GetItems()[0].GetNotices()) != 1 {
		t.Errorf("states: %v, %v", res, err)
	}
	list, err := w.attempts.ListAttempts(staff, &assessmentpb.ListAttemptsRequest{CourseId: quiz.course, ItemId: quiz.item})
	if err != nil || len(list.GetItems()) != 1 || list.GetItems()[0].GetAccountId() != st.account {
		t.Errorf("list: %v, %v", list, err)
	}
	marking, err := w.attempts.GetAttemptForMarking(staff, &assessmentpb.GetAttemptForMarkingRequest{CourseId: quiz.course, AttemptId: a.GetId()})
	if err != nil || len(marking.GetQuestions()) != 4 || len(marking.GetQuestions()[0].GetOutcome().GetLines()) == 0 || marking.GetQuestions()[0].GetQuestionId() == "" {
		t.Errorf("for marking: %v, %v", marking, err)
	}
	expect(t, "of another course", codeOf(w.attempts.GetAttemptForMarking(staff, &assessmentpb.GetAttemptForMarkingRequest{CourseId: id.New("course"), AttemptId: a.GetId()})), "attempt.not_found")
}

// fill stores many attempts that run and end at a moment, with answers, as if students
// had been at them.
func (w *world) fill(quiz taken, n, answers int, ends time.Time) {
	w.t.Helper()
	w.exec(`
		INSERT INTO attempt (id, course_id, item_id, quiz_id, quiz_version, account_id, number, state, engine_version, seed, prepared_at, started_at, time_limit, expires_at, last_seq, saved_at, max_points)
		SELECT 'attempt_' || to_char(i, 'FM00000000000000000000000000'), $1, $2, $3, 1, 'account_' || to_char(i, 'FM00000000000000000000000000'), 1, 'in_progress', 1, i, $4, $4, '1 hour', $5, $6::int, $4, 4
		FROM generate_series(1, $7::int) AS i`, quiz.course, quiz.item, quiz.quiz, w.now(), ends, answers, n)
	w.exec(`
		INSERT INTO attempt_question (attempt_id, slot, question_id, question_version, key_version, behaviour, seed, max_points)
		SELECT a.id, s.n, q.question_id, 1, 1, 'deferred', a.seed, 1
		FROM attempt a, (SELECT question_id, row_number() OVER (ORDER BY question_id) AS n FROM question_version WHERE kind = 'choice') AS q JOIN generate_series(1, 3) AS s (n) ON s.n = q.n
		WHERE a.quiz_id = $1`, quiz.quiz)
	w.exec(`
		INSERT INTO answer_operation (attempt_id, seq, client_id, client_seq, slot, kind, value, received_at, verdict)
		SELECT a.id, i, 'laptop-1', i, 1 + i % 3, 'answer', convert_to('{"choice":{"keys":["' || chr(97 + i % 3) || '"]}}', 'UTF8'), $2, 'accepted'
		FROM attempt a, generate_series(1, $3::int) AS i WHERE a.quiz_id = $1`, quiz.quiz, w.now(), answers)
	w.exec(`ANALYZE attempt`)
}

// BenchmarkEnd is 10,000 attempts that end in the same second, on a database that writes
// to the disk: how long after it two processes have submitted all of them, and scored all;
// and how long after they start where both were away then.
func BenchmarkEnd(b *testing.B) {
	const n = 10_000
	for name, away := range map[string]time.Duration{"running": 0, "started again": 5 * time.Second} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				w, _ := durable(b)
				quiz := w.letters(&assessmentpb.QuizSettings{TimeLimitSeconds: 3600})
				w.fill(quiz, n, 16, w.now().Add(time.Hour))
				other := newWorldOn(b, w.db, rpctest.Everything)
				other.service.vault, other.service.now = w.service.vault, time.Now
				due := time.Now().Add(3 * time.Second)
				w.exec(`UPDATE attempt SET expires_at = $1`, due)
				<-time.After(away)
				ctx, cancel := context.WithCancel(context.Background())
				var wg sync.WaitGroup
				begin := time.Now()
				for _, s := range []*Service{w.service, other.service} {
					wg.Go(func() { _ = s.Run(ctx) })
				}
				if begin.Before(due) {
					<-time.After(time.Until(due))
					begin = due
				}
				b.StartTimer()
				for _, until := range []struct{ where, metric string }{{`state = 'in_progress'`, "ms/submitted"}, {`state <> 'graded'`, "ms/scored"}} {
					for left := 1; left > 0; <-time.After(10 * time.Millisecond) {
						if err := w.db.QueryRow(ctx, `SELECT count(*) FROM attempt WHERE `+until.where).Scan(&left); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(float64(time.Since(begin).Milliseconds()), until.metric)
				}
				b.StopTimer()
				cancel()
				wg.Wait()
				b.StartTimer()
			}
		})
	}
}

// What can't be scored is put aside, told, and tried again; it holds up nobody else.
func TestScoredButOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	quiz := w.letters(&assessmentpb.QuizSettings{})
	students := []*student{w.start(quiz), w.start(quiz), w.start(quiz)}
	for _, st := range students {
		st.send(laptop, pick(1, 1, "a"))
		st.submit()
	}
	broken := students[1].attempt.GetId()
	w.exec(`INSERT INTO answer_operation (attempt_id, seq, client_id, client_seq, slot, kind, value, received_at, verdict) VALUES ($1, 9, 'broken-1', 1, 2, 'answer', '{', $2, 'accepted')`, broken, w.now())
	w.scored()
	states := func(want ...string) {
		t.Helper()
		for i, st := range students {
			a, err := readAttempt(t.Context(), w.db, st.attempt.GetId())
			if err != nil || a.State != want[i] {
				t.Errorf("%d is %s, %v, want %s", i, a.State, err, want[i])
			}
		}
	}
	states(stateGraded, stateSubmitted, stateGraded)
	w.later(scoreRetry)
	if n, err := w.service.scoreDue(t.Context()); err != nil || n != 1 {
		t.Errorf("seen to %d again, %v", n, err)
	}
	if n, err := w.service.scoreDue(t.Context()); err != nil || n != 0 {
		t.Errorf("at once: %d, %v", n, err)
	}
	states(stateGraded, stateSubmitted, stateGraded)
}

func TestPanicIsAnError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	err := w.service.guarded(t.Context(), func(*pg.Tx) error { panic("a defect") })
	if err == nil || !strings.Contains(err.Error(), "a defect") {
		t.Errorf("a panic is %v", err)
	}
	if _, err := w.db.Exec(t.Context(), `SELECT 1`); err != nil { // its connection came back
		t.Error(err)
	}
}
