package assessment

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// watched is a quiz that is an exam.
func watched(exam *assessmentpb.ExamSettings) *assessmentpb.QuizSettings {
	return &assessmentpb.QuizSettings{Exam: exam}
}

func (h *hall) report(st *student, client string, events ...*assessmentpb.ReportedEvent) (*assessmentpb.ReportExamEventsResponse, error) {
	return h.exams.ReportExamEvents(h.as(st.account), &assessmentpb.ReportExamEventsRequest{AttemptId: st.attempt.GetId(), ClientId: client, Events: events})
}

// flood makes so many events, numbered from first.
func flood(first, n int) []*assessmentpb.ReportedEvent {
	out := make([]*assessmentpb.ReportedEvent, n)
	for i := range out {
		out[i] = &assessmentpb.ReportedEvent{ClientSeq: int64(first + i), Kind: "focus_lost"}
	}
	return out
}

func TestReportedEvents(t *testing.T) {
	t.Parallel()
	h := openHall(t, watched(&assessmentpb.ExamSettings{Watch: []string{"focus", "paste"}}))
	st, other := h.begin(0), h.begin(0)
	at := h.now().Add(-time.Minute)
	batch := []*assessmentpb.ReportedEvent{
		{ClientSeq: 2, Kind: "paste", Slot: 4, Size: 1200, At: timestamppb.New(at)}, {ClientSeq: 1, Kind: "focus_lost", DurationMs: 4000}, {ClientSeq: 3, Kind: "copy"},
	}
	for i, want := range []*assessmentpb.ReportExamEventsResponse{{Kept: 2, Unwatched: 1}, {Repeated: 2, Unwatched: 1}} {
		res, err := h.report(st, laptop, batch...)
		if err != nil || res.GetKept() != want.GetKept() || res.GetRepeated() != want.GetRepeated() || res.GetUnwatched() != 1 || res.GetDropped() != 0 {
			t.Errorf("%d: %v, %v", i, res, err)
		}
	}
	if res, err := h.report(st, phone, batch[1], &assessmentpb.ReportedEvent{ClientSeq: 9, Kind: "focus_gained"}); err != nil || res.GetKept() != 2 {
		t.Errorf("another client: %v, %v", res, err)
	}
	res, err := h.exams.ListExamEvents(h.proctor, &assessmentpb.ListExamEventsRequest{CourseId: h.course, ItemId: h.item, AttemptId: st.attempt.GetId()})
	if err != nil || len(res.GetItems()) != 4 {
		t.Fatalf("events: %v, %v", res, err)
	}
	if e := res.GetItems()[3]; e.GetNumber() != 1 || e.GetKind() != "paste" || e.GetSlot() != 4 || e.GetSize() != 1200 || e.GetSource() != "client" || e.GetClientId() != laptop || !e.GetHappenedAt().AsTime().Equal(at) {
		t.Errorf("the first: %v", e)
	}
	if saw := h.sees(st); saw.GetEvents() != 4 || !saw.GetLastEventAt().AsTime().Equal(h.now()) {
		t.Errorf("in the list: %v", saw)
	}
	// Page by page, of all attempts.
	h.later(time.Second)
	h.hold(other)
	var all []string
	req := &assessmentpb.ListExamEventsRequest{CourseId: h.course, ItemId: h.item, PageSize: 2}
	for {
		res, err := h.exams.ListExamEvents(h.proctor, req)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range res.GetItems() {
			all = append(all, e.GetKind())
		}
		if req.Cursor = res.GetNextCursor(); req.GetCursor() == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"held", "focus_gained", "focus_lost", "focus_lost", "paste"}, all); diff != "" {
		t.Error("all: ", diff)
	}
	for what, events := range map[string][]*assessmentpb.ReportedEvent{
		"none": nil, "too many": flood(1, 101), "one number twice": {batch[0], batch[0]}, "no number": {{Kind: "paste"}}, "no kind": {{ClientSeq: 1}},
		"no time": {{ClientSeq: 1, Kind: "paste", At: &timestamppb.Timestamp{Nanos: -1}}}, "too long": {{ClientSeq: 1, Kind: "paste", DurationMs: 86_400_001}},
	} {
		if _, err := h.report(st, laptop, events...); fault.CodeOf(err) != "request.invalid" {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = h.exams.ReportExamEvents(h.as(other.account), &assessmentpb.ReportExamEventsRequest{AttemptId: st.attempt.GetId(), ClientId: laptop, Events: flood(50, 1)})
	expect(t, "somebody else's", codeOf(nil, err), "attempt.not_found")
	// What waited offline is taken for an hour.
	st.submit()
	h.later(50 * time.Minute)
	if res, err := h.report(st, laptop, flood(100, 1)...); err != nil || res.GetKept() != 1 {
		t.Errorf("after the end: %v, %v", res, err)
	}
	h.later(11 * time.Minute)
	_, err = h.report(st, laptop, flood(101, 1)...)
	expect(t, "long after the end", codeOf(nil, err), "attempt.over")
	// The log is never changed.
	for _, sql := range []string{`UPDATE exam_event SET kind = 'x'`, `TRUNCATE exam_event`} {
		if err := h.db.InTx(t.Context(), execOf(sql)); err == nil {
			t.Errorf("%s was done", sql)
		}
	}
	// It is kept for a year.
	h.later(eventsKept - 15*time.Minute)
	if more, err := h.service.forgetEvents(t.Context()); err != nil || more {
		t.Errorf("forget: %t, %v", more, err)
	}
	if diff := cmp.Diff([]string{"focus_lost"}, h.events(st)); diff != "" {
		t.Error("a year later: ", diff)
	}
	if saw := h.sees(st); saw.GetEvents() != 5 {
		t.Errorf("how many there were: %v", saw)
	}
}

// A client that floods is slowed down, and then not listened to any more; what others do
// is noted as before.
func TestEventFlood(t *testing.T) {
	t.Parallel()
	h := openHall(t, watched(&assessmentpb.ExamSettings{Watch: []string{"focus"}}))
	st, other := h.begin(0), h.begin(0)
	h.give(600, true)
	seq, kept, dropped := 1, 0, 0
	send := func(n int) error {
		res, err := h.report(st, laptop, flood(seq, n)...)
		if err == nil {
			seq += n
			kept, dropped = kept+int(res.GetKept()), dropped+int(res.GetDropped())
		}
		return err
	}
	for i := range 3 {
		err := send(100)
		if i < 2 {
			if err != nil {
				t.Fatal(err)
			}
			continue
		}
		e, ok := errors.AsType[*fault.Error](fault.FromStatus(err))
		if !ok || e.Code != "exam_events.rate" || e.Retry < 99*time.Second || e.Retry > 102*time.Second {
			t.Errorf("the third: %v", err)
		}
	}
	h.later(100 * time.Second)
	if err := send(100); err != nil {
		t.Errorf("when it was told: %v", err)
	}
	for range 18 {
		h.later(100 * time.Second)
		if err := send(100); err != nil {
			t.Fatal(err)
		}
	}
	if kept != maxReported || dropped != 100 {
		t.Errorf("%d kept, %d dropped", kept, dropped)
	}
	if saw := h.sees(st); saw.GetEvents() != maxReported+1 || saw.GetEventsDropped() != 100 { // and that time was given
		t.Errorf("in the list: %d, %d", saw.GetEvents(), saw.GetEventsDropped())
	}
	h.hold(st)
	if saw := h.sees(st); saw.GetEvents() != maxReported+2 {
		t.Errorf("the server's own: %d", saw.GetEvents())
	}
	if res, err := h.report(other, laptop, flood(1, 1)...); err != nil || res.GetKept() != 1 {
		t.Errorf("somebody else: %v, %v", res, err)
	}
}

// In exams the server notes by itself that another device or network answers, and not
// which network that is. In quizzes it does not.
func TestServerNotes(t *testing.T) {
	t.Parallel()
	h := openHall(t, watched(&assessmentpb.ExamSettings{}))
	quiz := openHall(t, &assessmentpb.QuizSettings{})
	send := func(st *student, client, address string, seq int64) {
		t.Helper()
		ctx := rpc.WithAddress(st.as(st.account), address)
		if _, err := st.attempts.AppendAnswers(ctx, &assessmentpb.AppendAnswersRequest{AttemptId: st.attempt.GetId(), ClientId: client, Operations: []*assessmentpb.Operation{pick(seq, 1, "a")}}); err != nil {
			t.Fatal(err)
		}
	}
	for what, c := range map[string]struct {
		hall *hall
		want []string
	}{"exam": {h, []string{"client_joined", "address_changed", "address_changed"}}, "quiz": {quiz, []string{}}} {
		st := &student{world: c.hall.world, account: id.New("account")}
		var err error
		if st.attempt, err = st.attempts.StartAttempt(rpc.WithAddress(st.as(st.account), "192.0.2.1"), &assessmentpb.StartAttemptRequest{CourseId: c.hall.course, ItemId: c.hall.item}); err != nil {
			t.Fatal(err)
		}
		send(st, laptop, "192.0.2.1", 1)
		send(st, phone, "192.0.2.1", 1)
		send(st, laptop, "192.0.2.2", 2)
		send(st, laptop, "192.0.2.2", 3)
		send(st, laptop, "192.0.2.1", 4)
		if diff := cmp.Diff(c.want, c.hall.events(st)); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
}

func execOf(sql string) func(*pg.Tx) error {
	return func(tx *pg.Tx) error {
		tx.Exempt("a test")
		_, err := tx.Exec(contextOf(), sql)
		return err
	}
}
