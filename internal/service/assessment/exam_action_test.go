package assessment

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// ends holds an attempt to end so long after now.
func (h *hall) ends(what string, st *student, want time.Duration) {
	h.t.Helper()
	if got := st.get().GetExpiresAt().AsTime().Sub(h.now()); got != want {
		h.t.Errorf("%s: it ends in %s, want %s", what, got, want)
	}
}

func TestGiveTime(t *testing.T) {
	t.Parallel()
	h := openHall(t, &assessmentpb.QuizSettings{})
	one, two, windowed, over := h.begin(0), h.begin(0), h.begin(12*time.Minute), h.begin(0)
	over.submit()
	a := h.give(5, false, one, over)
	if diff := cmp.Diff([]string{one.attempt.GetId()}, a.GetAttemptIds()); diff != "" || len(a.GetSkippedIds()) != 1 || a.GetAttempts() != 1 || a.GetSeconds() != 300 {
		t.Errorf("to one: %s%v", diff, a)
	}
	h.ends("one", one, 15*time.Minute)
	h.ends("two", two, 10*time.Minute)
	if a := one.get(); a.GetExtraSeconds() != 300 || a.GetNotices()[0].GetKind() != "time" {
		t.Errorf("what the student sees: %v", a)
	}
	// Twice with one key is once.
	keyed := rpc.WithIdempotencyKey(h.proctor, "the same key twice")
	req := &assessmentpb.GiveTimeRequest{CourseId: h.course, ItemId: h.item, Everybody: true, Minutes: 1, Reason: "Noise"}
	for range 2 {
		if a, err := h.exams.GiveTime(keyed, req); err != nil || a.GetAttempts() != 3 || len(a.GetAttemptIds()) != 0 {
			t.Errorf("to all: %v, %v", a, err)
		}
	}
	h.ends("one", one, 16*time.Minute)
	h.ends("two", two, 11*time.Minute)
	// Who begins later gets nothing of it.
	h.ends("later", h.begin(0), 10*time.Minute)
	// Within the window it ends with that, and beyond it only where staff say so.
	h.give(30, false, windowed)
	h.ends("within", windowed, 12*time.Minute)
	h.give(2, true, windowed)
	h.ends("beyond", windowed, 14*time.Minute)
	// While a student takes a break it is there afterwards.
	h.around.mu.Lock()
	h.around.eases[two.account] = []*accesspb.Ease{{Breaks: true}}
	h.around.mu.Unlock()
	h.exec(`UPDATE attempt SET breaks = true WHERE id = $1`, two.attempt.GetId())
	if _, err := h.attempts.PauseAttempt(h.as(two.account), &assessmentpb.PauseAttemptRequest{AttemptId: two.attempt.GetId()}); err != nil {
		t.Fatal(err)
	}
	h.give(3, false, two)
	if a := two.get(); a.GetRemainingMs() != (14 * time.Minute).Milliseconds() {
		t.Errorf("in a break: %d ms", a.GetRemainingMs())
	}
	for what, req := range map[string]*assessmentpb.GiveTimeRequest{
		"nobody": {Minutes: 1, Reason: "x"}, "both": {AttemptIds: []string{one.attempt.GetId()}, Everybody: true, Minutes: 1, Reason: "x"},
		"no reason": {Everybody: true, Minutes: 1, Reason: " "}, "too much": {Everybody: true, Minutes: 601, Reason: "x"}, "nothing": {Everybody: true, Reason: "x"},
	} {
		req.CourseId, req.ItemId = h.course, h.item
		if _, err := h.exams.GiveTime(h.proctor, req); codeOf(nil, err) != "request.invalid" {
			t.Errorf("%s: %v", what, err)
		}
	}
	req = &assessmentpb.GiveTimeRequest{CourseId: id.New("course"), ItemId: h.item, AttemptIds: []string{one.attempt.GetId()}, Minutes: 1, Reason: "x"}
	_, err := h.exams.GiveTime(h.proctor, req)
	expect(t, "in another course", codeOf(nil, err), "exam.not_found")
	if diff := cmp.Diff([]string{"time_given", "time_given"}, h.events(one)); diff != "" {
		t.Error("events: ", diff)
	}
	res, err := h.exams.ListExamActions(h.proctor, &assessmentpb.ListExamActionsRequest{CourseId: h.course, ItemId: h.item, PageSize: 3})
	if err != nil || len(res.GetItems()) != 3 || res.GetItems()[0].GetReason() != "A fire alarm" || res.GetNextCursor() == "" {
		t.Errorf("actions: %v, %v", res, err)
	}
	res, err = h.exams.ListExamActions(h.proctor, &assessmentpb.ListExamActionsRequest{CourseId: h.course, ItemId: h.item, PageSize: 3, Cursor: res.GetNextCursor()})
	if err != nil || len(res.GetItems()) != 2 {
		t.Errorf("the other actions: %v, %v", res, err)
	}
}

func TestTakeTimeBack(t *testing.T) {
	t.Parallel()
	h := openHall(t, &assessmentpb.QuizSettings{})
	one, two, over := h.begin(0), h.begin(0), h.begin(0)
	a := h.give(20, false)
	over.submit()
	h.later(29*time.Minute + 30*time.Second)
	h.give(40, false, two)
	if a := h.takeBack(a); a.GetUndoneBy() == "" || !a.GetUndoneAt().AsTime().Equal(h.now()) {
		t.Errorf("taken back: %v", a)
	}
	// One has half a minute left, which it keeps; the other has enough.
	h.ends("one", one, 30*time.Second)
	h.ends("two", two, 20*time.Minute+30*time.Second)
	at := h.now()
	h.later(time.Second)
	if a := h.takeBack(a); !a.GetUndoneAt().AsTime().Equal(at) {
		t.Errorf("twice: %v", a)
	}
	h.ends("two", two, 20*time.Minute+29*time.Second)
	if diff := cmp.Diff([]string{"time_given", "time_given", "time_taken"}, h.events(two)); diff != "" {
		t.Error("events: ", diff)
	}
	// Of a held attempt what is left is taken from, down to a minute.
	given := h.give(30, true, two)
	h.hold(two)
	h.takeBack(given)
	h.later(time.Hour)
	h.release(two)
	h.ends("held", two, 20*time.Minute+29*time.Second)
	given = h.give(10, false, two)
	h.later(29 * time.Minute)
	h.takeBack(given)
	h.ends("to a minute", two, time.Minute)
	// What gave no time, and what is elsewhere.
	hold := h.hold(two)
	_, err := h.exams.TakeTimeBack(h.proctor, &assessmentpb.TakeTimeBackRequest{CourseId: h.course, ItemId: h.item, ActionId: hold.GetId(), Reason: "x"})
	expect(t, "a hold", codeOf(nil, err), "exam_action.not_time")
	_, err = h.exams.TakeTimeBack(h.proctor, &assessmentpb.TakeTimeBackRequest{CourseId: id.New("course"), ItemId: h.item, ActionId: given.GetId(), Reason: "x"})
	expect(t, "elsewhere", codeOf(nil, err), "exam_action.not_found")
}

func TestHold(t *testing.T) {
	t.Parallel()
	h := openHall(t, &assessmentpb.QuizSettings{})
	one, windowed := h.begin(0), h.begin(12*time.Minute)
	one.send(laptop, pick(1, 1, "a"))
	h.later(time.Minute)
	if a := h.hold(); a.GetAttempts() != 2 {
		t.Errorf("held: %v", a)
	}
	a := one.get()
	if a.GetPausedAt() == nil || a.GetExpiresAt() != nil || a.GetRemainingMs() != (9*time.Minute).Milliseconds() || len(a.GetQuestions()) != 0 ||
		a.GetNotices()[0].GetKind() != "paused" || a.GetNotices()[0].GetText() != "Leave the room" {
		t.Errorf("the student sees: %v", a)
	}
	_, err := one.try(laptop, pick(2, 1, "b"))
	expect(t, "an answer", codeOf(nil, err), "attempt.paused")
	_, err = h.attempts.ResumeAttempt(h.as(one.account), &assessmentpb.ResumeAttemptRequest{AttemptId: one.attempt.GetId()})
	expect(t, "the student goes on", codeOf(nil, err), "attempt.held")
	if a := h.hold(one); len(a.GetSkippedIds()) != 1 {
		t.Errorf("held again: %v", a)
	}
	// Nothing ends it, not even the window, which waits too.
	h.later(time.Hour)
	if n := h.end(); n != 0 {
		t.Errorf("%d ended while they are held", n)
	}
	if a := h.release(one); a.GetAttempts() != 1 {
		t.Errorf("released: %v", a)
	}
	h.ends("one", one, 9*time.Minute)
	expect(t, "an answer", one.verdicts(laptop, pick(2, 1, "b")), "accepted")
	h.release()
	h.ends("windowed", windowed, 9*time.Minute)
	h.give(20, false, windowed)
	h.ends("to the window", windowed, 11*time.Minute)
	if a := h.release(one); a.GetAttempts() != 0 {
		t.Errorf("released again: %v", a)
	}
	// A break ends with a hold, and does not go on after it.
	h.exec(`UPDATE attempt SET breaks = true WHERE id = $1`, windowed.attempt.GetId())
	if _, err := h.attempts.PauseAttempt(h.as(windowed.account), &assessmentpb.PauseAttemptRequest{AttemptId: windowed.attempt.GetId()}); err != nil {
		t.Fatal(err)
	}
	h.later(2 * time.Minute)
	h.hold(windowed)
	expect(t, "in the list", h.sees(windowed).GetState(), "held")
	h.later(30 * time.Minute)
	h.release(windowed)
	h.ends("the window went on in the break alone", windowed, 9*time.Minute)
	if diff := cmp.Diff([]string{"held", "released"}, h.events(one)); diff != "" {
		t.Error("events: ", diff)
	}
}

func TestTellAndEnd(t *testing.T) {
	t.Parallel()
	h := openHall(t, &assessmentpb.QuizSettings{})
	one, two, held, over := h.begin(0), h.begin(0), h.begin(0), h.begin(0)
	one.send(laptop, pick(1, 1, "a"))
	if _, err := h.exams.TellStudents(h.proctor, &assessmentpb.TellStudentsRequest{CourseId: h.course, ItemId: h.item, AttemptIds: []string{one.attempt.GetId()}, Message: "Question 2 is about 2026"}); err != nil {
		t.Fatal(err)
	}
	if n := one.get().GetNotices(); len(n) != 1 || n[0].GetKind() != "message" || n[0].GetText() != "Question 2 is about 2026" || len(two.get().GetNotices()) != 0 {
		t.Errorf("told: %v", n)
	}
	h.hold(held)
	h.give(10, false, one, two)
	h.later(11 * time.Minute) // over's time is over, and the clock has not been here
	a, err := h.exams.EndAttempts(h.proctor, &assessmentpb.EndAttemptsRequest{CourseId: h.course, ItemId: h.item, Everybody: true, Reason: "It is enough", Message: "Thank you"})
	if err != nil || a.GetAttempts() != 3 {
		t.Fatalf("ended: %v, %v", a, err)
	}
	if n := h.end(); n != 1 {
		t.Errorf("the clock ends %d", n)
	}
	h.scored()
	for what, st := range map[string]*student{"one": one, "two": two, "held": held} {
		r := st.submit()
		if r.GetSubmittedBy() != "staff" || !r.GetSubmittedAt().AsTime().Equal(h.now()) || r.GetSignature() == "" {
			t.Errorf("%s: %v", what, r)
		}
	}
	if r := over.submit(); r.GetSubmittedBy() != byClock {
		t.Errorf("over: %v", r)
	}
	if a := one.get(); a.GetNotices()[2].GetKind() != "closed" || a.GetNotices()[2].GetText() != "Thank you" || a.GetLastSeq() != 2 {
		t.Errorf("one: %v", a)
	}
}

func TestReopen(t *testing.T) {
	t.Parallel()
	h := openHall(t, &assessmentpb.QuizSettings{GradeKept: "last"})
	st, windowed, submitted := h.begin(0), h.begin(5*time.Minute), h.begin(0)
	reopen := func(st *student, minutes int32) error {
		_, err := h.exams.ReopenAttempt(h.proctor, &assessmentpb.ReopenAttemptRequest{CourseId: h.course, AttemptId: st.attempt.GetId(), Minutes: minutes, Reason: "The power was out"})
		return err
	}
	expect(t, "one that runs", codeOf(nil, reopen(st, 5)), "attempt.running")
	submitted.submit()
	expect(t, "one that was submitted", codeOf(nil, reopen(submitted, 5)), "exam.not_by_clock")
	st.send(laptop, pick(1, 1, "a"))
	h.later(11 * time.Minute)
	h.end()
	h.scored()
	if mark := h.mark(st); mark != "marked" {
		t.Errorf("the mark: %s", mark)
	}
	expect(t, "late", st.verdicts(laptop, pick(2, 2, "a")), "too_late")
	h.later(20 * time.Minute)
	for what, one := range map[string]*student{"st": st, "windowed": windowed} {
		if err := reopen(one, 7); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		h.ends(what, one, 7*time.Minute)
	}
	if mark := h.mark(st); mark != "none" {
		t.Errorf("the mark while it goes on: %s", mark)
	}
	if a := st.get(); a.GetState() != stateInProgress || a.GetExtraSeconds() != 7*60 || a.GetSubmittedAt() != nil {
		t.Errorf("reopened: %v", a)
	}
	_, err := h.attempts.GetReceipt(h.as(st.account), &assessmentpb.GetReceiptRequest{AttemptId: st.attempt.GetId()})
	expect(t, "the receipt of before", codeOf(nil, err), "receipt.not_found")
	expect(t, "an answer", st.verdicts(laptop, pick(3, 3, "a")), "accepted")
	h.later(8 * time.Minute)
	h.end()
	if _, err := h.attempts.GetReceipt(h.as(st.account), &assessmentpb.GetReceiptRequest{AttemptId: st.attempt.GetId()}); codeOf(nil, err) != "receipt.not_found" {
		t.Errorf("the receipt of before once it is over: %v", err)
	}
	h.scored()
	r := st.submit()
	if r.GetNumber() != 2 || r.GetOperations() != 2 || r.GetSubmittedBy() != byClock {
		t.Errorf("the receipt: %v", r)
	}
	if a := st.get(); a.GetPoints() != "2" {
		t.Errorf("points: %s", a.GetPoints())
	}
	// Not for ever, and not beside another one.
	if _, err := h.attempts.StartAttempt(h.as(st.account), &assessmentpb.StartAttemptRequest{CourseId: h.course, ItemId: h.item}); err != nil {
		t.Fatal(err)
	}
	expect(t, "beside another one", codeOf(nil, reopen(st, 5)), "exam.other_attempt")
	h.later(25 * time.Hour)
	expect(t, "days later", codeOf(nil, reopen(windowed, 5)), "exam.too_old")
	if diff := cmp.Diff([]string{"reopened"}, h.events(st)); diff != "" {
		t.Error("events: ", diff)
	}
}

// mark is what the gradebook was told of somebody.
func (h *hall) mark(st *student) string {
	h.t.Helper()
	var state string
	if err := h.db.QueryRow(h.t.Context(), `SELECT state FROM quiz_mark WHERE item_id = $1 AND account_id = $2`, h.item, st.account).Scan(&state); err != nil {
		h.t.Fatal(err)
	}
	return state
}

// Time is given while attempts end: each has either its time, or ended. Several give and
// take, hold and release at once, and the clock of several processes ends.
func TestGivenWhileItEnds(t *testing.T) {
	t.Parallel()
	h := openHall(t, &assessmentpb.QuizSettings{})
	students := make([]*student, 40)
	for i := range students {
		students[i] = h.begin(0)
	}
	h.later(10*time.Minute + inFlight) // all are due now, and none has ended
	var wg sync.WaitGroup
	var actions [4]*assessmentpb.ExamAction
	for i := range actions {
		wg.Go(func() {
			some := students[i*10 : i*10+10]
			a, err := h.exams.GiveTime(h.proctor, &assessmentpb.GiveTimeRequest{CourseId: h.course, ItemId: h.item, AttemptIds: attemptsOfAll(some), Minutes: 5, Reason: "x"})
			if err != nil {
				t.Error(err)
			}
			actions[i] = a
		})
	}
	for range 3 {
		wg.Go(func() {
			for range 20 {
				if err := h.db.InTx(context.Background(), endOne(h)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	given := map[string]bool{}
	for _, a := range actions {
		for _, one := range a.GetAttemptIds() {
			given[one] = true
		}
		if int(a.GetAttempts()) != len(a.GetAttemptIds()) || len(a.GetAttemptIds())+len(a.GetSkippedIds()) != 10 {
			t.Errorf("told: %v", a)
		}
	}
	for _, st := range students {
		a := st.get()
		is := given[st.attempt.GetId()]
		if is != (a.GetState() == stateInProgress) || is != (a.GetExtraSeconds() == 300) || is != (len(a.GetNotices()) == 1) {
			t.Errorf("given %t: %s, %d s, %v", is, a.GetState(), a.GetExtraSeconds(), a.GetNotices())
		}
		if !is && !a.GetSubmittedAt().AsTime().Equal(st.attempt.GetExpiresAt().AsTime()) {
			t.Errorf("ended at %s", a.GetSubmittedAt().AsTime())
		}
	}
	// All of it ends once what was given is over, and has one receipt each.
	h.later(6 * time.Minute)
	for h.end() > 0 {
	}
	h.scored()
	var open, receipts int
	if err := h.db.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM attempt WHERE state = 'in_progress'), (SELECT count(*) FROM receipt)`).Scan(&open, &receipts); err != nil {
		t.Fatal(err)
	}
	if open != 0 || receipts != len(students) {
		t.Errorf("%d run, %d receipts", open, receipts)
	}
}
