package assessment

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// enrol notes that somebody takes the course.
func (h *hall) enrol(accounts ...string) {
	h.t.Helper()
	for _, a := range accounts {
		h.exec(`INSERT INTO enrollment (course_id, account_id, version, live) VALUES ($1, $2, 1, true)`, h.course, a)
	}
}

// connections says what a process of the edge holds.
func (h *hall) connections(process string, anew bool, opened, closed []*student) bool {
	h.t.Helper()
	res, err := h.exams.NoteConnections(context.Background(), &assessmentpb.NoteConnectionsRequest{
		ProcessId: process, Anew: anew, Opened: attemptsOfAll(opened), Closed: attemptsOfAll(closed),
	})
	if err != nil {
		h.t.Fatalf("NoteConnections: %v", err)
	}
	return !res.GetUnknown()
}

func TestExamStudents(t *testing.T) {
	t.Parallel()
	h := openHall(t, &assessmentpb.QuizSettings{})
	absent := id.New("account")
	one, two, three, done := h.begin(0), h.begin(0), h.begin(0), h.begin(0)
	h.enrol(absent, one.account, two.account)
	began := h.now()
	h.later(time.Minute)
	one.send(laptop, pick(1, 1, "a"), pick(2, 2, "b"), text(3, 4, "Because"), &assessmentpb.Operation{ClientSeq: 4, Kind: opAnswer, Slot: 2, Answer: cleared()})
	one.send(phone, pick(1, 3, "c"))
	done.submit()
	h.hold(three)
	want := map[string]string{absent: "not_begun", one.account: "running", two.account: "running", three.account: "held", done.account: "submitted"}
	got := map[string]string{}
	list := h.students("")
	for _, st := range list {
		got[st.GetAccountId()] = st.GetState()
	}
	if diff := cmp.Diff(want, got); diff != "" || !slices.IsSortedFunc(list, func(a, b *assessmentpb.ExamStudent) int { return strings.Compare(a.GetAccountId(), b.GetAccountId()) }) {
		t.Error("states: ", diff)
	}
	saw := h.sees(one)
	if saw.GetAnswered() != 3 || saw.GetQuestions() != 4 || saw.GetSlot() != 3 || saw.GetClients() != 2 || !saw.GetSavedAt().AsTime().Equal(h.now()) ||
		!saw.GetStartedAt().AsTime().Equal(began) || saw.GetConnected() || !saw.GetHeardAt().AsTime().Equal(h.now()) {
		t.Errorf("one: %v", saw)
	}
	for filter, want := range map[string][]string{
		"not_begun": {absent}, "running": {one.account, two.account}, "disconnected": {one.account, two.account}, "held": {three.account}, "submitted": {done.account}, "break": nil, "waiting": nil, "withheld": nil,
	} {
		var got []string
		for _, st := range h.students(filter) {
			got = append(got, st.GetAccountId())
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", filter, diff)
		}
	}
	summary := func() *assessmentpb.ExamSummary {
		res, err := h.exams.ListExamStudents(h.proctor, &assessmentpb.ListExamStudentsRequest{CourseId: h.course, ItemId: h.item, Summary: true})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetSummary()
	}
	if s := summary(); s.GetNotBegun() != 1 || s.GetRunning() != 2 || s.GetDisconnected() != 2 || s.GetHeld() != 1 || s.GetSubmitted() != 1 {
		t.Errorf("summary: %v", s)
	}
	// What is scored again has the same questions answered.
	h.exec(`UPDATE attempt SET answered = '' WHERE id = $1`, one.attempt.GetId())
	one.submit()
	h.scored()
	if saw := h.sees(one); saw.GetAnswered() != 3 || saw.GetState() != "submitted" || saw.GetSubmittedBy() != "student" {
		t.Errorf("scored: %v", saw)
	}
	_, err := h.exams.ListExamStudents(h.proctor, &assessmentpb.ListExamStudentsRequest{CourseId: h.course, ItemId: id.New("activity")})
	expect(t, "no quiz", codeOf(nil, err), "exam.not_found")
	for _, cursor := range []string{"x", "WyJhIiwiYiJd"} {
		_, err := h.exams.ListExamStudents(h.proctor, &assessmentpb.ListExamStudentsRequest{CourseId: h.course, ItemId: h.item, Cursor: cursor})
		expect(t, "cursor", codeOf(nil, err), "request.invalid")
	}
}

// Who is connected is right with several processes of the edge, and once one of them is
// killed, which says nothing.
func TestConnections(t *testing.T) {
	t.Parallel()
	h := openHall(t, &assessmentpb.QuizSettings{})
	one, two := h.begin(0), h.begin(0)
	const a, b = "edgeprocessnumber1", "edgeprocessnumber2"
	if h.connections(a, false, []*student{one}, nil) || h.sees(one).GetConnected() {
		t.Error("a process that is not known was believed")
	}
	if !h.connections(a, true, []*student{one, two}, nil) || !h.connections(b, true, []*student{one}, nil) {
		t.Error("a process that says all anew is not known")
	}
	since := h.now()
	connected := func(what string, first, second bool) {
		t.Helper()
		if got := [2]bool{h.sees(one).GetConnected(), h.sees(two).GetConnected()}; got != [2]bool{first, second} {
			t.Errorf("%s: connected %v", what, got)
		}
	}
	connected("both", true, true)
	if got := h.students("disconnected"); len(got) != 0 {
		t.Errorf("disconnected: %v", got)
	}
	// The beat of a process is for all that it holds.
	for range 5 {
		h.later(10 * time.Second)
		h.connections(a, false, nil, nil)
		h.connections(b, false, nil, nil)
	}
	connected("a minute later", true, true)
	if saw := h.sees(one); !saw.GetConnectedSince().AsTime().Equal(since) || !saw.GetHeardAt().AsTime().Equal(h.now()) {
		t.Errorf("one: %v", saw)
	}
	// One of two connections goes.
	h.connections(a, false, nil, []*student{one})
	connected("a tab is closed", true, true)
	// Process a is killed, and says nothing.
	killed := h.now()
	for range 4 {
		h.later(10 * time.Second)
		h.connections(b, false, nil, nil)
	}
	connected("a is killed", true, false)
	if saw := h.sees(two); !saw.GetHeardAt().AsTime().Equal(killed) {
		t.Errorf("two was heard %s", saw.GetHeardAt().AsTime())
	}
	cursor := h.changes("").GetNextCursor()
	h.later(10 * time.Second)
	h.connections(b, false, nil, nil)
	if more, err := h.service.forgetConnections(t.Context()); err != nil || !more {
		t.Errorf("forget: %t, %v", more, err)
	}
	if more, err := h.service.forgetConnections(t.Context()); err != nil || more {
		t.Errorf("forget again: %t, %v", more, err)
	}
	if got := h.changes(cursor).GetItems(); len(got) != 1 || got[0].GetAccountId() != two.account || !got[0].GetHeardAt().AsTime().Equal(killed) {
		t.Errorf("told: %v", got)
	}
	// One that was only slow says all anew.
	if h.connections(a, false, nil, nil) {
		t.Error("a process that was given up is known")
	}
	h.connections(a, true, []*student{two}, nil)
	connected("a was slow", true, true)
	// One that ends says so.
	if _, err := h.exams.NoteConnections(context.Background(), &assessmentpb.NoteConnectionsRequest{ProcessId: b, Ends: true}); err != nil {
		t.Fatal(err)
	}
	connected("b ends", false, true)
	h.connections(a, true, nil, nil)
	connected("a says that it holds none", false, false)
	var rows int
	if err := h.db.QueryRow(t.Context(), `SELECT count(*) FROM exam_connection`).Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d connections are left, %v", rows, err)
	}
}

// changes returns what has changed since.
func (h *hall) changes(since string) *assessmentpb.ListExamChangesResponse {
	h.t.Helper()
	res, err := h.exams.ListExamChanges(h.proctor, &assessmentpb.ListExamChangesRequest{CourseId: h.course, ItemId: h.item, Since: since, Summary: true})
	if err != nil {
		h.t.Fatalf("ListExamChanges: %v", err)
	}
	return res
}

func (h *hall) changed(since string) []string {
	var out []string
	for _, st := range h.changes(since).GetItems() {
		out = append(out, st.GetAccountId())
	}
	return out
}

func sorted(list ...string) []string {
	slices.Sort(list)
	return list
}

// No change is lost between two cursors, however long a transaction takes that makes it.
func TestExamChanges(t *testing.T) {
	t.Parallel()
	h := openHall(t, &assessmentpb.QuizSettings{})
	one, two, three := h.begin(0), h.begin(0), h.begin(0)
	first, err := h.exams.ListExamStudents(h.proctor, &assessmentpb.ListExamStudentsRequest{CourseId: h.course, ItemId: h.item})
	if err != nil {
		t.Fatal(err)
	}
	cursor := first.GetChangesCursor()
	if got := h.changed(cursor); got != nil {
		t.Errorf("nothing has changed: %v", got)
	}
	one.send(laptop, pick(1, 1, "a"))
	res := h.changes(cursor)
	if len(res.GetItems()) != 1 || res.GetItems()[0].GetAnswered() != 1 || res.GetSummary().GetRunning() != 3 {
		t.Errorf("changed: %v", res)
	}
	cursor = res.GetNextCursor()
	if got := h.changed(cursor); got != nil {
		t.Errorf("told again: %v", got)
	}
	// Somebody's transaction is slow: it began before the cursor, and commits after it.
	began, commit, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- h.db.InTx(context.Background(), func(tx *pg.Tx) error {
			tx.Exempt("a test")
			_, err := tx.Exec(context.Background(), `UPDATE attempt SET slot = 2 WHERE id = $1`, two.attempt.GetId())
			close(began)
			<-commit
			return err
		})
	}()
	<-began
	three.send(laptop, pick(1, 1, "a"))
	res = h.changes(cursor)
	if got := res.GetItems(); len(got) != 1 || got[0].GetAccountId() != three.account {
		t.Errorf("changed: %v", got)
	}
	cursor = res.GetNextCursor()
	close(commit)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := h.changed(cursor); !slices.Contains(got, two.account) {
		t.Errorf("what was committed late is lost: %v", got)
	}
	cursor = h.changes(cursor).GetNextCursor()
	if got := h.changed(cursor); got != nil {
		t.Errorf("told again: %v", got)
	}
	// Everything that is shown counts: an event, a connection, who is enrolled or waits.
	absent := id.New("account")
	h.enrol(absent)
	h.connections("edgeprocessnumber1", true, []*student{one}, nil)
	h.exec(`INSERT INTO exam_student (course_id, item_id, account_id, waiting_since) VALUES ($1, $2, $3, $4)`, h.course, h.item, two.account, h.now())
	if diff := cmp.Diff(sorted(absent, one.account, two.account), h.changed(cursor)); diff != "" {
		t.Error("changed: ", diff)
	}
	// Page by page.
	h.give(1, false)
	var pages []string
	req := &assessmentpb.ListExamChangesRequest{CourseId: h.course, ItemId: h.item, Since: cursor, PageSize: 1, WaitSeconds: 5}
	for range 5 {
		res, err := h.exams.ListExamChanges(h.proctor, req)
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range res.GetItems() {
			pages = append(pages, st.GetAccountId())
		}
		if req.Since = res.GetNextCursor(); !res.GetMore() {
			break
		}
		one.send(laptop, pick(int64(1+len(pages)), 1, "b"))
	}
	if diff := cmp.Diff(sorted(absent, one.account, two.account, three.account), pages); diff != "" {
		t.Error("pages: ", diff)
	}
	if diff := cmp.Diff([]string{one.account}, h.changed(req.GetSince())); diff != "" {
		t.Error("what has changed while it was paged: ", diff)
	}
	// A cursor that is none, and one of another database.
	for _, bad := range []string{"x", first.GetNextCursor() + "!", "WyIxIl0", "WyItMSIsIiIsIiJd"} {
		_, err := h.exams.ListExamChanges(h.proctor, &assessmentpb.ListExamChangesRequest{CourseId: h.course, ItemId: h.item, Since: bad})
		expect(t, "a bad cursor", codeOf(nil, err), "request.invalid")
	}
	if res := h.changes(changesCursor{since: 1 << 40}.text()); !res.GetReset_() || res.GetNextCursor() == "" {
		t.Errorf("of another database: %v", res)
	}
}

// Who waits is told once something changes.
func TestChangesAreWaitedFor(t *testing.T) {
	t.Parallel()
	h := openHall(t, &assessmentpb.QuizSettings{})
	st := h.begin(0)
	cursor := h.changes("").GetNextCursor()
	type answer struct {
		res *assessmentpb.ListExamChangesResponse
		err error
	}
	got := make(chan answer, 1)
	go func() {
		res, err := h.exams.ListExamChanges(h.proctor, &assessmentpb.ListExamChangesRequest{CourseId: h.course, ItemId: h.item, Since: cursor, WaitSeconds: 15})
		got <- answer{res, err}
	}()
	for len(h.service.exams.watching) == 0 {
		<-time.After(time.Millisecond)
	}
	st.send(laptop, pick(1, 1, "a"))
	a := <-got
	if a.err != nil || len(a.res.GetItems()) != 1 {
		t.Errorf("told: %v, %v", a.res, a.err)
	}
	// Where there is no room to wait it is answered at once.
	for range maxWatching {
		h.service.exams.watching <- struct{}{}
	}
	began := time.Now()
	res, err := h.exams.ListExamChanges(h.proctor, &assessmentpb.ListExamChangesRequest{CourseId: h.course, ItemId: h.item, Since: a.res.GetNextCursor(), WaitSeconds: 15})
	if err != nil || len(res.GetItems()) != 0 || time.Since(began) > 5*time.Second {
		t.Errorf("without room: %v, %v after %s", res, err, time.Since(began))
	}
}

// crowd puts so many attempts at an exam, all running and connected.
func (h *hall) crowd(n int) {
	h.t.Helper()
	h.exec(`
		INSERT INTO attempt (id, course_id, item_id, quiz_id, quiz_version, account_id, number, state, engine_version, seed, prepared_at, started_at, expires_at, max_points, last_seq, saved_at, answered)
		SELECT 'attempt_crowd' || i, $1, $2, $3, 1, 'account_crowd' || lpad(i::text, 6, '0'), 1, 'in_progress', 1, 1, $4, $4, $4::timestamptz + interval '1 hour', 4, 1, $4, '\x05'
		FROM generate_series(1, $5) AS i`, h.course, h.item, h.quiz, h.now(), n)
	h.exec(`INSERT INTO attempt_question (attempt_id, slot, question_id, question_version, key_version, behaviour, seed, max_points)
		SELECT 'attempt_crowd' || i, s, 'question_x', 1, 1, 'deferred', 1, 1 FROM generate_series(1, $1) AS i, generate_series(1, 16) AS s`, n)
	h.exec(`INSERT INTO enrollment (course_id, account_id, version, live) SELECT $1, 'account_crowd' || lpad(i::text, 6, '0'), 1, true FROM generate_series(1, $2) AS i`, h.course, n)
	h.exec(`INSERT INTO exam_attempt (attempt_id, item_id, account_id, events) SELECT 'attempt_crowd' || i, $1, 'account_crowd' || lpad(i::text, 6, '0'), 1 FROM generate_series(1, $2) AS i`, h.item, n)
	h.exec(`INSERT INTO exam_edge (process_id, seen_at) VALUES ('edgeprocessnumber1', $1)`, h.now())
	h.exec(`INSERT INTO exam_connection (attempt_id, process_id, since) SELECT 'attempt_crowd' || i, 'edgeprocessnumber1', $1 FROM generate_series(1, $2) AS i`, h.now(), n)
	h.exec(`ANALYZE attempt, attempt_question, enrollment, exam_attempt, exam_edge, exam_connection`)
}

// BenchmarkProctoring is what watching an exam costs: a page, the counts, and what has changed
// of it where one student of a hundred has saved something.
func BenchmarkProctoring(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		h := openHall(b, &assessmentpb.QuizSettings{})
		h.crowd(n)
		middle := fmt.Sprintf("account_crowd%06d", n/2)
		b.Run(fmt.Sprintf("page/%d", n), func(b *testing.B) {
			for b.Loop() {
				list, err := h.service.examStudents(b.Context(), h.db, peopleSQL(""), h.course, h.item, middle, 51, "")
				if err != nil || len(list) < 50 {
					b.Fatal(len(list), err)
				}
			}
		})
		b.Run(fmt.Sprintf("disconnected/%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := h.service.examStudents(b.Context(), h.db, peopleSQL("disconnected"), h.course, h.item, "", 51, ""); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("summary/%d", n), func(b *testing.B) {
			for b.Loop() {
				if s, err := h.service.examSummary(b.Context(), h.db, h.course, h.item); err != nil || int(s.GetRunning()) != n {
					b.Fatal(s, err)
				}
			}
		})
		cursor := h.changes("").GetNextCursor()
		h.exec(`UPDATE attempt SET slot = 1 WHERE id IN (SELECT 'attempt_crowd' || i FROM generate_series(1, $1, 100) AS i)`, n)
		b.Run(fmt.Sprintf("changes/%d", n), func(b *testing.B) {
			c, err := readChangesCursor(cursor)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				res, err := h.service.changesSince(b.Context(), &assessmentpb.ListExamChangesRequest{CourseId: h.course, ItemId: h.item}, c)
				if err != nil || len(res.GetItems()) != (n+99)/100 {
					b.Fatal(len(res.GetItems()), err)
				}
			}
		})
		b.Run(fmt.Sprintf("give/%d", n), func(b *testing.B) {
			for b.Loop() {
				if a := h.give(1, false); int(a.GetAttempts()) != n {
					b.Fatal(a)
				}
			}
		})
		b.Run(fmt.Sprintf("beat/%d", n), func(b *testing.B) {
			for b.Loop() {
				h.connections("edgeprocessnumber1", false, nil, nil)
			}
		})
	}
}

// Only who may, and only in their course.
func TestExamDoors(t *testing.T) {
	t.Parallel()
	may := map[string]string{} // the permission that an account has
	w := newWorld(t, rpctest.Allow(func(account, _, permission string) bool {
		return may[account] == permission || permission == "assessment.take"
	}))
	h := &hall{world: w, taken: w.letters(&assessmentpb.QuizSettings{TimeLimitSeconds: 600}), exams: assessmentpb.NewExamServiceClient(w.harness.As("edge"))}
	proctor, author, stranger := id.New("account"), id.New("account"), id.New("account")
	may[proctor], may[author] = "exam.proctor", "assessment.edit"
	h.proctor = h.as(proctor)
	st := h.begin(0)
	course, item, attempt := h.course, h.item, st.attempt.GetId()
	proctors := map[string]func(ctx context.Context, course string) error{
		"list": func(ctx context.Context, course string) error {
			return second(h.exams.ListExamStudents(ctx, &assessmentpb.ListExamStudentsRequest{CourseId: course, ItemId: item}))
		},
		"changes": func(ctx context.Context, course string) error {
			return second(h.exams.ListExamChanges(ctx, &assessmentpb.ListExamChangesRequest{CourseId: course, ItemId: item}))
		},
		"time": func(ctx context.Context, course string) error {
			return second(h.exams.GiveTime(ctx, &assessmentpb.GiveTimeRequest{CourseId: course, ItemId: item, Everybody: true, Minutes: 1, Reason: "x"}))
		},
		"hold": func(ctx context.Context, course string) error {
			return second(h.exams.HoldAttempts(ctx, &assessmentpb.HoldAttemptsRequest{CourseId: course, ItemId: item, Everybody: true, Reason: "x"}))
		},
		"release": func(ctx context.Context, course string) error {
			return second(h.exams.ReleaseAttempts(ctx, &assessmentpb.ReleaseAttemptsRequest{CourseId: course, ItemId: item, Everybody: true}))
		},
		"tell": func(ctx context.Context, course string) error {
			return second(h.exams.TellStudents(ctx, &assessmentpb.TellStudentsRequest{CourseId: course, ItemId: item, Everybody: true, Message: "x"}))
		},
		"end": func(ctx context.Context, course string) error {
			return second(h.exams.EndAttempts(ctx, &assessmentpb.EndAttemptsRequest{CourseId: course, ItemId: item, AttemptIds: []string{id.New("attempt")}, Reason: "x"}))
		},
		"admit": func(ctx context.Context, course string) error {
			return second(h.exams.AdmitStudents(ctx, &assessmentpb.AdmitStudentsRequest{CourseId: course, ItemId: item, Everybody: true}))
		},
		"excuse": func(ctx context.Context, course string) error {
			return second(h.exams.ExcuseLockdown(ctx, &assessmentpb.ExcuseLockdownRequest{CourseId: course, ItemId: item, AccountId: st.account, Excused: true, Reason: "x"}))
		},
		"verdicts": func(ctx context.Context, course string) error {
			return second(h.exams.ListVerdicts(ctx, &assessmentpb.ListVerdictsRequest{CourseId: course, AttemptId: attempt}))
		},
		"decide": func(ctx context.Context, course string) error {
			return second(h.exams.DecideVerdict(ctx, &assessmentpb.DecideVerdictRequest{CourseId: course, AttemptId: attempt, Verdict: "clear", Text: "x"}))
		},
	}
	authors := map[string]func(ctx context.Context, course string) error{
		"keys": func(ctx context.Context, course string) error {
			return second(h.exams.ListLockdownKeys(ctx, &assessmentpb.ListLockdownKeysRequest{CourseId: course, QuizId: h.quiz}))
		},
		"key": func(ctx context.Context, course string) error {
			return second(h.exams.CreateLockdownKey(ctx, &assessmentpb.CreateLockdownKeyRequest{CourseId: course, QuizId: h.quiz, Scheme: "hmac", Key: strings.Repeat("k", 32)}))
		},
	}
	for _, doors := range []struct {
		list     map[string]func(context.Context, string) error
		who, not string
		hidden   []string
	}{{proctors, proctor, author, []string{"exam.not_found", "attempt.not_found"}}, {authors, author, proctor, []string{"quiz.not_found"}}} {
		for name, call := range doors.list {
			if err := call(h.as(doors.who), course); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for _, other := range []string{doors.not, stranger, st.account} {
				if code := codeOf(nil, call(h.as(other), course)); code != "not_found" {
					t.Errorf("%s: somebody else: %q", name, code)
				}
			}
			if code := codeOf(nil, call(h.as(doors.who), id.New("course"))); !slices.Contains(doors.hidden, code) {
				t.Errorf("%s: from another course: %q", name, code)
			}
		}
	}
	// What is a student's own is nobody else's.
	for name, call := range map[string]func(ctx context.Context) error{
		"events": func(ctx context.Context) error {
			return second(h.exams.ReportExamEvents(ctx, &assessmentpb.ReportExamEventsRequest{AttemptId: attempt, ClientId: laptop, Events: []*assessmentpb.ReportedEvent{{ClientSeq: 1, Kind: "paste"}}}))
		},
		"proctoring": func(ctx context.Context) error {
			return second(h.exams.LaunchProctoring(ctx, &assessmentpb.LaunchProctoringRequest{AttemptId: attempt}))
		},
	} {
		for _, other := range []string{stranger, proctor, author} {
			expect(t, name, codeOf(nil, call(h.as(other))), "attempt.not_found")
		}
	}
	// What the edge says comes from nobody else.
	for name, conn := range map[string]assessmentpb.ExamServiceClient{"grades": assessmentpb.NewExamServiceClient(h.harness.As("grades"))} {
		if _, err := conn.NoteConnections(context.Background(), &assessmentpb.NoteConnectionsRequest{ProcessId: "edgeprocessnumber1", Anew: true}); err == nil {
			t.Errorf("%s may say who is connected", name)
		}
		if _, err := conn.TakeProctorReport(context.Background(), &assessmentpb.TakeProctorReportRequest{AttemptId: attempt, Timestamp: 1, Signature: strings.Repeat("0", 64)}); err == nil {
			t.Errorf("%s may report", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }
