package assessment

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/question/questionpb"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

func ranges(c *assessmentpb.AttemptClient) string {
	out := []string{fmt.Sprint(c.GetLast())}
	for _, r := range c.GetMissing() {
		out = append(out, fmt.Sprintf("%d-%d", r.GetFirst(), r.GetLast()))
	}
	return strings.Join(out, " ")
}

func TestSentTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	st := w.start(w.letters(&assessmentpb.QuizSettings{}))
	expect(t, "first", st.verdicts(laptop, pick(1, 1, "a"), pick(2, 2, "b")), "accepted, accepted")
	w.later(time.Minute)
	first := st.get().GetSavedAt().AsTime()
	res := st.send(laptop, pick(1, 1, "a"), pick(2, 2, "b"), pick(3, 3, "c"))
	expect(t, "again", st.verdicts(laptop, pick(1, 1, "a"), pick(2, 2, "b"), pick(3, 3, "c")), "accepted again, accepted again, accepted again")
	if v := res.GetVerdicts(); v[0].GetSeq() != 1 || !v[0].GetReceivedAt().AsTime().Equal(first) || v[2].GetRepeated() || v[2].GetSeq() != 3 {
		t.Errorf("again: %v", v)
	}
	expect(t, "another answer", st.verdicts(laptop, pick(1, 1, "b")), "conflict")
	expect(t, "another question", st.verdicts(laptop, pick(1, 2, "a")), "conflict")
	expect(t, "another kind", st.verdicts(laptop, do(1, opFlag, 1)), "conflict")
	// A clock that was read again does not make another operation.
	same := pick(1, 1, "a")
	same.ClientTime = timestamppb.New(w.now())
	expect(t, "another time", st.verdicts(laptop, same), "accepted again")
	expect(t, "twice in a batch", st.verdicts(laptop, pick(4, 1, "c"), pick(4, 1, "c"), pick(4, 1, "a")), "accepted, accepted again, conflict")
	expect(t, "what stands", st.given(1), "c")
	if a := st.get(); a.GetLastSeq() != 4 {
		t.Errorf("%d operations", a.GetLastSeq())
	}
}

func TestGapsAndOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	st := w.start(w.letters(&assessmentpb.QuizSettings{}))
	expect(t, "with a gap", ranges(st.send(laptop, pick(1, 1, "a"), pick(5, 1, "b"), pick(9, 2, "b")).GetClient()), "9 2-4 6-8")
	// What was missing comes: an older answer to the same question does not count any
	// more, another does.
	expect(t, "what was missing", st.verdicts(laptop, pick(3, 1, "c"), pick(4, 3, "c")), "overtaken, accepted")
	expect(t, "again", st.verdicts(laptop, pick(3, 1, "c")), "overtaken again")
	expect(t, "the rest", ranges(st.send(laptop, pick(7, 1, "a")).GetClient()), "9 2-2 6-6 8-8")
	expect(t, "first question", st.given(1), "a")
	expect(t, "second question", st.given(2), "b")
	expect(t, "third question", st.given(3), "c")
	expect(t, "as the attempt tells", ranges(st.get().GetClients()[0]), "9 2-2 6-6 8-8")
	// In one batch the order of the numbers counts.
	expect(t, "in any order", st.verdicts(laptop, pick(12, 2, "c"), pick(11, 2, "a"), pick(10, 2, "b")), "accepted, accepted, accepted")
	expect(t, "the highest number", st.given(2), "c")
	// A flag is not an answer.
	expect(t, "a flag that comes late", st.verdicts(laptop, do(8, opFlag, 2)), "accepted")
	if !st.get().GetQuestions()[1].GetFlagged() {
		t.Error("it is not flagged")
	}
	// Submitting waits for what is missing.
	_, err := w.attempts.SubmitAttempt(w.as(st.account), &assessmentpb.SubmitAttemptRequest{AttemptId: st.attempt.GetId(), ClientId: laptop, LastClientSeq: 14})
	expect(t, "submitted with gaps", codeOf(nil, err), "attempt.missing_operations")
	var told []string
	if e, ok := errors.AsType[*fault.Error](err); ok {
		for _, f := range e.Fields {
			told = append(told, f.Path)
		}
	}
	expect(t, "what is missing", strings.Join(told, " "), "operations[2-2] operations[6-6] operations[13-14]")
	expect(t, "finished with gaps", st.verdicts(laptop, do(13, opFinish, 0)), "missing")
	expect(t, "all of it", st.verdicts(laptop, pick(2, 3, "a"), pick(6, 3, "b"), do(13, opFinish, 0), pick(14, 1, "c")), "overtaken, accepted, accepted, too_late")
	expect(t, "state", st.get().GetState(), stateSubmitted)
	r := st.submit()
	if r.GetSubmittedBy() != "student" {
		t.Errorf("receipt: %v", r)
	}
}

func TestTwoClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	st := w.start(w.letters(&assessmentpb.QuizSettings{}))
	given := func(op *assessmentpb.Operation, ago time.Duration) *assessmentpb.Operation {
		op.ClientTime = timestamppb.New(w.now().Add(-ago))
		return op
	}
	st.send(laptop, given(pick(1, 1, "a"), 0), given(pick(2, 2, "a"), 0))
	w.later(time.Minute)
	res := st.send(phone, given(pick(1, 1, "b"), 10*time.Second))
	if r := res.GetVerdicts()[0].GetReplaced(); r.GetClientId() != laptop || r.GetClientSeq() != 1 || r.GetNewer() {
		t.Errorf("replaced %v", r)
	}
	if len(res.GetOthers()) != 1 || res.GetOthers()[0].GetClientId() != laptop || res.GetOthers()[0].GetLast() != 2 {
		t.Errorf("others: %v", res.GetOthers())
	}
	expect(t, "the later arrival", st.given(1), "b")
	// What the phone held back for an hour arrives now, and counts: it is told that the
	// laptop's was given later.
	res = st.send(phone, given(pick(2, 2, "c"), time.Hour))
	if r := res.GetVerdicts()[0].GetReplaced(); r.GetClientId() != laptop || !r.GetNewer() {
		t.Errorf("replaced %v", r)
	}
	expect(t, "the later arrival", st.given(2), "c")
	if v := st.send(phone, given(pick(3, 2, "b"), 0)).GetVerdicts()[0]; v.GetReplaced() != nil {
		t.Errorf("one's own was replaced: %v", v)
	}
	if v := st.send(phone, given(pick(4, 3, "b"), 0)).GetVerdicts()[0]; v.GetReplaced() != nil {
		t.Errorf("nothing was replaced: %v", v)
	}
	log, err := w.attempts.ListMyOperations(w.as(st.account), &assessmentpb.ListMyOperationsRequest{AttemptId: st.attempt.GetId()})
	if err != nil || len(log.GetItems()) != 6 {
		t.Fatalf("log: %v, %v", log, err)
	}
	for i, o := range log.GetItems() {
		if o.GetSeq() != int64(i+1) || !o.GetCounts() || o.GetLine() == "" {
			t.Errorf("operation %d: %v", i, o)
		}
	}
}

// A clock that is a day off is told, and changes nothing.
func TestClockOfTheClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	st := w.start(w.letters(&assessmentpb.QuizSettings{TimeLimitSeconds: 600}))
	for client, off := range map[string]time.Duration{laptop: 24 * time.Hour, phone: -24 * time.Hour} {
		op := pick(1, 1, "a")
		op.ClientTime = timestamppb.New(w.now().Add(off))
		res, err := w.attempts.AppendAnswers(w.as(st.account), &assessmentpb.AppendAnswersRequest{
			AttemptId: st.attempt.GetId(), ClientId: client, SentAt: timestamppb.New(w.now().Add(off)), Operations: []*assessmentpb.Operation{op},
		})
		if err != nil || res.GetVerdicts()[0].GetVerdict() != "accepted" || res.GetClient().GetClockOffsetMs() != off.Milliseconds() || !res.GetServerTime().AsTime().Equal(w.now()) {
			t.Errorf("%s off: %v, %v", off, res, err)
		}
		if v := res.GetVerdicts()[0].GetReplaced(); v.GetNewer() {
			t.Errorf("a wrong clock makes it newer: %v", v)
		}
	}
	if a := st.get(); a.GetRemainingMs() != 600_000 {
		t.Errorf("%d ms left", a.GetRemainingMs())
	}
	// That it was given in time by a clock of one's own is no reason.
	w.later(10*time.Minute + time.Second)
	for client, off := range map[string]time.Duration{laptop: 24 * time.Hour, phone: -24 * time.Hour} {
		op := pick(2, 1, "b")
		op.ClientTime = timestamppb.New(w.now().Add(off))
		expect(t, "when the time is over", st.verdicts(client, op), "too_late")
	}
	w.end()
	if a := st.get(); !a.GetSubmittedAt().AsTime().Equal(st.attempt.GetExpiresAt().AsTime()) || st.given(1) != "a" {
		t.Errorf("submitted: %v", a)
	}
}

func TestNotTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	st := w.start(w.letters(&assessmentpb.QuizSettings{}))
	long := strings.Repeat("é", 90_000)
	for name, c := range map[string]struct {
		op   *assessmentpb.Operation
		code string
	}{
		"no number":           {pick(0, 1, "a"), codeMalformed},
		"a large number":      {pick(maxClientSeq+1, 1, "a"), codeMalformed},
		"no kind":             {do(1, "", 1), codeMalformed},
		"another kind":        {do(1, "mark", 1), codeMalformed},
		"no answer":           {do(1, opAnswer, 1), codeMalformed},
		"a flag, answered":    {&assessmentpb.Operation{ClientSeq: 1, Kind: opFlag, Slot: 1, Answer: pick(1, 1).GetAnswer()}, codeMalformed},
		"no slot":             {pick(1, 0, "a"), codeMalformed},
		"a slot to finish":    {do(1, opFinish, 1), codeMalformed},
		"a page to flag":      {&assessmentpb.Operation{ClientSeq: 1, Kind: opFlag, Slot: 1, Page: 1}, codeMalformed},
		"no page":             {do(1, opPage, 0), codeMalformed},
		"pages at will":       {goTo(1, 1), codeKind},
		"no such question":    {pick(1, 5, "a"), codeSlot},
		"a negative question": {pick(1, -1, "a"), codeSlot},
		"a text to a choice":  {text(1, 1, "a"), codeAnswer},
		"no such option":      {pick(1, 1, "z"), codeAnswer},
		"two of one":          {pick(1, 1, "a", "b"), codeAnswer},
		"an empty answer":     {&assessmentpb.Operation{ClientSeq: 1, Kind: opAnswer, Slot: 1, Answer: &questionpb.Answer{}}, codeAnswer},
		"too long":            {text(1, 4, long+long), "operation.too_large"},
		"longer than allowed": {text(1, 4, long+strings.Repeat("x", 20_001)), codeAnswer},
		"a control character": {text(1, 4, "a\x00b"), codeAnswer},
		"a check":             {do(1, opCheck, 1), codeKind},
		"a strange time":      {&assessmentpb.Operation{ClientSeq: 1, Kind: opFlag, Slot: 1, ClientTime: &timestamppb.Timestamp{Seconds: 1 << 60}}, codeMalformed},
		"nothing":             {nil, codeMalformed},
	} {
		res := st.send("client-"+id.New("x")[:20], c.op, pick(2, 2, "a"))
		if v := res.GetVerdicts()[0]; v.GetVerdict() != invalid || v.GetCode() != c.code || v.GetHint() == "" || v.GetSeq() != 0 {
			t.Errorf("%s: %v, want %s", name, v, c.code)
		}
		if v := res.GetVerdicts()[1]; v.GetVerdict() != accepted {
			t.Errorf("beside %s: %v", name, v)
		}
	}
	// As large as can be is taken.
	expect(t, "the longest essay", st.verdicts(laptop, text(1, 4, long+strings.Repeat("x", 20_000))), "accepted")
	_, err := st.try(laptop, text(2, 4, long), text(3, 4, long), text(4, 4, long), text(5, 4, long), text(6, 4, long), text(7, 4, long))
	expect(t, "more than a batch", codeOf(nil, err), "operations.too_large")
	for _, client := range []string{"", "short", "server", strings.Repeat("x", 65), "with space", "é-e-e-e-e"} {
		_, err := st.try(client, pick(1, 1, "a"))
		expect(t, "client "+client, codeOf(nil, err), "request.invalid")
	}
	many := make([]*assessmentpb.Operation, 501)
	for i := range many {
		many[i] = do(int64(i+1), opFlag, 1)
	}
	_, err = st.try(laptop, many...)
	expect(t, "more than 500", codeOf(nil, err), "request.invalid")
}

func TestBoundsOfTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	st := w.start(w.letters(&assessmentpb.QuizSettings{}))
	for i := range maxClients {
		st.send(fmt.Sprintf("client-%03d", i), pick(1, 1, "a"))
	}
	_, err := st.try("client-more", pick(1, 1, "a"))
	expect(t, "one client more", codeOf(nil, err), "attempt.full")
	gaps := make([]*assessmentpb.Operation, maxGaps+1)
	for i := range gaps {
		gaps[i] = do(int64(2*i+3), opFlag, 1)
	}
	_, err = st.try("client-000", gaps...)
	expect(t, "one gap more", codeOf(nil, err), "attempt.full")
	expect(t, "as many as can be", ranges(st.send("client-000", gaps[:maxGaps]...).GetClient())[:8], "201 2-2 ")
	w.exec(`UPDATE attempt SET last_seq = $2 WHERE id = $1`, st.attempt.GetId(), maxOperations)
	_, err = st.try("client-000", pick(300, 1, "a"))
	expect(t, "one operation more", codeOf(nil, err), "attempt.full")
	st.submit() // which goes all the same
}

// The database itself refuses to change what is in the log.
func TestLogOnlyGrows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	st := w.start(w.letters(&assessmentpb.QuizSettings{}))
	st.send(laptop, pick(1, 1, "a"))
	st.submit()
	for _, table := range []string{"answer_operation", "answer_acceptance", "receipt"} {
		for _, sql := range []string{"UPDATE " + table + " SET attempt_id = attempt_id", "DELETE FROM " + table, "TRUNCATE " + table + " CASCADE"} {
			err := w.db.InTx(t.Context(), func(tx *pg.Tx) error {
				tx.Exempt("a test")
				_, err := tx.Exec(t.Context(), sql)
				return err
			})
			if err == nil || !strings.Contains(err.Error(), "only grows") && !strings.Contains(err.Error(), "permission denied") {
				t.Errorf("%s: %v", sql, err)
			}
		}
	}
}

// Many send the same and different things at once: each is there once, in one order
// without gaps.
func TestSentAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	st := w.start(w.letters(&assessmentpb.QuizSettings{}))
	const clients, batches = 4, 10
	var wg sync.WaitGroup
	for c := range clients {
		for b := range batches {
			for range 2 { // each batch is sent twice at once
				wg.Go(func() {
					res, err := st.try(fmt.Sprintf("client-%d", c), pick(int64(2*b+1), 1, "a"), pick(int64(2*b+2), 2, "b"))
					if err != nil {
						t.Error(err)
						return
					}
					for _, v := range res.GetVerdicts() {
						if v.GetVerdict() != accepted && v.GetVerdict() != overtaken {
							t.Errorf("verdict %v", v)
						}
					}
				})
			}
		}
	}
	wg.Wait()
	var n, last, distinct int64
	if err := w.db.QueryRow(t.Context(), `SELECT count(*), max(seq), count(DISTINCT (client_id, client_seq)) FROM answer_operation WHERE attempt_id = $1`, st.attempt.GetId()).Scan(&n, &last, &distinct); err != nil {
		t.Fatal(err)
	}
	if n != clients*batches*2 || last != n || distinct != n {
		t.Errorf("%d operations, last %d, %d different", n, last, distinct)
	}
	for _, c := range st.get().GetClients() {
		expect(t, c.GetClientId(), ranges(c), fmt.Sprint(2*batches))
	}
}

// What is sent together is stored together, and none of it waits for another or falls
// with it.
func TestStoredTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	quiz := w.letters(&assessmentpb.QuizSettings{})
	held, full, gone := w.start(quiz), w.start(quiz), &student{world: w, account: id.New("account"), attempt: &assessmentpb.Attempt{Id: id.New("attempt")}}
	others := []*student{w.start(quiz), w.start(quiz), w.start(quiz)}
	w.exec(`UPDATE attempt SET last_seq = $2 WHERE id = $1`, full.attempt.GetId(), maxOperations)
	locked, release := make(chan struct{}), make(chan struct{})
	var holder, waiting, wg sync.WaitGroup
	holder.Go(func() {
		if err := w.db.InTx(context.Background(), func(tx *pg.Tx) error {
			if _, err := lockAttempt(context.Background(), tx, held.attempt.GetId()); err != nil {
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
	waiting.Go(func() {
		res, err := held.try(laptop, pick(1, 1, "a"))
		if err != nil || res.GetVerdicts()[0].GetVerdict() != accepted {
			t.Errorf("what waited: %v, %v", res, err)
		}
	})
	for n := range int64(30) {
		for _, st := range others {
			wg.Go(func() {
				res, err := st.try(fmt.Sprintf("client-%03d", n), pick(1, 1, "a"))
				if err != nil || res.GetVerdicts()[0].GetVerdict() != accepted {
					t.Errorf("beside it: %v, %v", res, err)
				}
			})
		}
		wg.Go(func() {
			if _, err := full.try(laptop, pick(n+1, 1, "a")); fault.CodeOf(err) != "attempt.full" {
				t.Errorf("in a full log: %v", err)
			}
			if _, err := gone.try(laptop, pick(n+1, 1, "a")); fault.CodeOf(err) != "attempt.not_found" {
				t.Errorf("in no log: %v", err)
			}
		})
	}
	wg.Wait()
	close(release)
	holder.Wait()
	waiting.Wait()
	for _, st := range append(others, held) {
		if n := len(st.get().GetClients()); n != 30 && st != held || st == held && n != 1 {
			t.Errorf("%d clients", n)
		}
	}
	// Who does not wait for the answer has it stored or not, and finds out.
	ctx, cancel := context.WithCancel(w.as(others[0].account))
	cancel()
	_, err := w.attempts.AppendAnswers(ctx, &assessmentpb.AppendAnswersRequest{AttemptId: others[0].attempt.GetId(), ClientId: laptop, Operations: []*assessmentpb.Operation{pick(1, 1, "b")}})
	if err == nil {
		t.Error("a call that was given up was answered")
	}
	expect(t, "found out", strings.TrimSuffix(others[0].verdicts(laptop, pick(1, 1, "b")), " again"), "accepted")
}

func TestOnePageAfterTheOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course := id.New("course")
	q := func(n int) string { return w.addQuestion(course, choiceQuestion(n)) }
	st := w.start(w.publishQuiz(course, quizOf(&assessmentpb.QuizSettings{Navigation: "sequential"}, []string{q(1), q(2)}, []string{q(3)}, []string{q(4)})))
	if a := st.attempt; len(a.GetQuestions()) != 2 || a.GetPages() != 3 {
		t.Fatalf("begun: %v", a)
	}
	expect(t, "ahead", st.verdicts(laptop, pick(1, 3, "a")), "refused")
	expect(t, "two pages ahead", st.verdicts(laptop, goTo(2, 2)), "refused")
	expect(t, "with a gap", st.verdicts(laptop, goTo(4, 1)), "missing")
	expect(t, "on", st.verdicts(laptop, pick(3, 1, "a"), goTo(4, 1), pick(5, 3, "b")), "accepted, accepted, accepted")
	// Another device does not know yet.
	res := st.send(phone, pick(1, 2, "c"), do(2, opFlag, 1))
	if v := res.GetVerdicts(); v[0].GetVerdict() != refused || v[0].GetCode() != "operation.closed" || v[1].GetVerdict() != accepted || res.GetPage() != 1 {
		t.Errorf("behind: %v", res)
	}
	if a := st.get(); len(a.GetQuestions()) != 1 || a.GetQuestions()[0].GetSlot() != 3 || a.GetPage() != 1 {
		t.Errorf("on page 1: %v", a)
	}
	expect(t, "to the end and beyond", st.verdicts(laptop, goTo(6, 2), goTo(7, 3)), "accepted, refused")
	st.submit()
	w.scored()
	if a := st.get(); a.GetPoints() != "1.333333" || a.GetState() != stateGraded {
		t.Errorf("scored: %v", a.GetPoints())
	}
	// Staff have what was refused count.
	staff := w.as(id.New("account"))
	list, err := w.attempts.ListOperations(staff, &assessmentpb.ListOperationsRequest{CourseId: course, AttemptId: st.attempt.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	var seq int64
	for _, o := range list.GetItems() {
		if o.GetClientId() == phone && o.GetVerdict() == refused {
			seq = o.GetSeq()
		}
	}
	accept := func(reason string, seqs ...int64) (*assessmentpb.Receipt, error) {
		return w.attempts.AcceptLateAnswers(staff, &assessmentpb.AcceptLateAnswersRequest{CourseId: course, AttemptId: st.attempt.GetId(), Seqs: seqs, Reason: reason})
	}
	expect(t, "what counts", codeOf(accept("Why not", 3)), "operation.counts")
	expect(t, "what is not there", codeOf(accept("Why not", 99)), "request.invalid")
	r, err := accept("The network was away", seq)
	if err != nil || r.GetNumber() != 2 || r.GetOperations() != 6 {
		t.Fatalf("accepted: %v, %v", r, err)
	}
	expect(t, "again", codeOf(accept("Again", seq)), "operation.counts")
	w.scored()
	expect(t, "what counts now", st.get().GetQuestions()[1].GetAnswer().GetChoice().GetKeys()[0], "c")
	if _, err := w.attempts.AcceptLateAnswers(staff, &assessmentpb.AcceptLateAnswersRequest{CourseId: id.New("course"), AttemptId: st.attempt.GetId(), Seqs: []int64{1}, Reason: "x"}); codeOf(nil, err) != "attempt.not_found" {
		t.Errorf("of another course: %v", err)
	}
}

func TestChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course := id.New("course")
	hinted := choiceQuestion(1)
	hinted.Hints = []*questionpb.QuestionHint{{Text: "Think."}, {Text: "Think again."}}
	start := func(behaviour string, during *assessmentpb.ReviewParts) *student {
		return w.start(w.publishQuiz(course, quizOf(&assessmentpb.QuizSettings{
			Behaviour: behaviour, Review: &assessmentpb.ReviewMatrix{During: during, After: &assessmentpb.ReviewParts{Attempt: true, Marks: true, Correctness: true}},
		}, []string{w.addQuestion(course, hinted), w.addQuestion(course, hinted)})))
	}
	all := &assessmentpb.ReviewParts{Attempt: true, Marks: true, Correctness: true, Feedback: true, Answer: true}
	st := start("immediate", all)
	res := st.send(laptop, do(1, opCheck, 1), pick(2, 1, "b"), do(3, opCheck, 1), pick(4, 1, "a"), pick(5, 2, "a"))
	var got []string
	for _, v := range res.GetVerdicts() {
		got = append(got, v.GetVerdict()+" "+v.GetCode()+" "+v.GetOutcome().GetState())
	}
	expect(t, "immediate", strings.Join(got, ", "), "refused operation.unchecked , accepted  , accepted  partly, refused operation.checked , accepted  ")
	if o := res.GetVerdicts()[2].GetOutcome(); o.GetFraction() != "1/3" || o.GetRightAnswer() == nil {
		t.Errorf("told: %v", o)
	}
	if o := st.send(laptop, do(3, opCheck, 1)).GetVerdicts()[0]; !o.GetRepeated() || o.GetOutcome().GetState() != "partly" {
		t.Errorf("told again: %v", o)
	}
	a := st.get()
	if a.GetQuestions()[0].GetOpen() || !a.GetQuestions()[1].GetOpen() || a.GetQuestions()[0].GetOutcome().GetState() != "partly" || a.GetQuestions()[1].GetOutcome().GetState() != "" {
		t.Errorf("as it is shown: %v", a.GetQuestions())
	}
	expect(t, "of nothing checked", st.given(1), "b")

	// What may not be told while it runs is not.
	st = start("immediate", &assessmentpb.ReviewParts{})
	v := st.send(laptop, pick(1, 1, "b"), do(2, opCheck, 1)).GetVerdicts()[1]
	if o := v.GetOutcome(); v.GetVerdict() != accepted || o.GetState() != "" || o.GetFraction() != "" || o.GetRightAnswer() != nil || len(o.GetFeedback()) > 0 {
		t.Errorf("told: %v", v)
	}

	st = start("interactive", all)
	res = st.send(laptop, pick(1, 1, "c"), do(2, opCheck, 1), pick(3, 1, "a"), do(4, opCheck, 1), do(5, opCheck, 1), do(6, opGiveUp, 2))
	got = nil
	for _, v := range res.GetVerdicts() {
		got = append(got, v.GetVerdict()+" "+v.GetOutcome().GetPhase()+" "+v.GetOutcome().GetFraction())
	}
	expect(t, "interactive", strings.Join(got, ", "), "accepted  , accepted retry , accepted  , accepted complete 2/3, refused  , accepted gave_up 0")
	st.submit()
	w.scored()
	if a := st.get(); a.GetState() != stateGraded || a.GetPoints() != "0.666667" {
		t.Errorf("scored: %s %s", a.GetState(), a.GetPoints())
	}
}

// Offline for an hour, then back: all that was done counts, in its order.
func TestOfflineForAnHour(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	st := w.start(w.letters(&assessmentpb.QuizSettings{TimeLimitSeconds: 2 * 3600}))
	st.send(laptop, pick(1, 1, "c"))
	var held []*assessmentpb.Operation
	for i := range 400 {
		op := pick(int64(i+2), int32(i%3+1), []string{"a", "b", "c"}[i%2])
		op.ClientTime = timestamppb.New(w.now().Add(time.Duration(i) * 9 * time.Second))
		held = append(held, op)
	}
	w.later(time.Hour)
	for len(held) > 0 {
		n := min(len(held), 150)
		for _, v := range st.send(laptop, held[:n]...).GetVerdicts() {
			if v.GetVerdict() != accepted {
				t.Fatalf("verdict %v", v)
			}
		}
		held = held[n:]
	}
	if a := st.get(); a.GetLastSeq() != 401 || ranges(a.GetClients()[0]) != "401" {
		t.Errorf("%v", a.GetClients())
	}
	for slot, want := range map[int32]string{1: "b", 2: "b", 3: "a"} {
		expect(t, fmt.Sprint("question ", slot), st.given(slot), want)
	}
	// Another comes back too late: all is kept, and nothing counts.
	w.later(61 * time.Minute)
	expect(t, "too late", st.verdicts(laptop, pick(402, 1, "a")), "too_late")
	if _, err := w.service.endDue(context.Background()); err != nil {
		t.Fatal(err)
	}
	expect(t, "too late, and submitted", st.verdicts(phone, pick(1, 1, "a")), "too_late")
	if r := st.submit(); r.GetOperations() != 401 || r.GetSubmittedBy() != byClock {
		t.Errorf("receipt %v", r)
	}
}
