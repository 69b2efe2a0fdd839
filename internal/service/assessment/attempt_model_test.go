package assessment

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// naive is an attempt as docs/answers.md tells it, kept in the simplest way there is:
// lists that are looked through from their beginning.
type naive struct {
	overtime string
	state    string
	expires  time.Time
	grace    time.Duration
	paused   time.Time // zero while the clock runs
	page     int32     // of 0: questions 1 and 2, and 1: question 3, which is checked
	log      []naiveOp
	by       string
	ended    time.Time
	checked  bool
	told     string // the fraction that was told when question 3 was checked
}

type naiveOp struct {
	client  string
	seq     int64
	kind    string
	slot    int32
	page    int32
	keys    string
	verdict string
}

func (o naiveOp) counts() bool {
	return o.verdict == "accepted" || o.verdict == "late" || o.verdict == "accepted_later"
}

func (m *naive) closes() time.Time { return m.expires.Add(m.grace) }

func (m *naive) find(client string, seq int64) *naiveOp {
	for i := range m.log {
		if m.log[i].client == client && m.log[i].seq == seq {
			return &m.log[i]
		}
	}
	return nil
}

// take returns what is told of an operation.
func (m *naive) take(o naiveOp, now time.Time) string {
	if before := m.find(o.client, o.seq); before != nil {
		if before.kind != o.kind || before.slot != o.slot || before.page != o.page || before.keys != o.keys {
			return "conflict"
		}
		return before.verdict + " again"
	}
	waits := o.kind == "check" || o.kind == "page" || o.kind == "finish"
	for seq := int64(1); waits && seq < o.seq; seq++ {
		if m.find(o.client, seq) == nil {
			return "missing"
		}
	}
	o.verdict = m.judge(o, now)
	m.log = append(m.log, o)
	if !o.counts() {
		return o.verdict
	}
	switch o.kind {
	case "page":
		m.page = o.page
	case "check":
		m.checked = true
	case "finish":
		m.state, m.by, m.ended = "submitted", "student", now
	}
	return o.verdict
}

func (m *naive) judge(o naiveOp, now time.Time) string {
	if m.state != "in_progress" || now.After(m.closes()) {
		return "too_late"
	}
	flag := o.kind == "flag" || o.kind == "unflag"
	pageOf := int32(0)
	if o.slot == 3 {
		pageOf = 1
	}
	if o.kind == "page" && (o.page != m.page+1 || o.page > 1) || !flag && o.slot > 0 && pageOf != m.page {
		return "refused"
	}
	if flag || o.kind == "answer" {
		for _, other := range m.log {
			otherFlag := other.kind == "flag" || other.kind == "unflag"
			if other.client == o.client && other.seq > o.seq && other.slot == o.slot && otherFlag == flag && other.counts() {
				return "overtaken"
			}
		}
	}
	if o.slot == 3 && !flag && (m.checked || o.kind == "check" && m.answer(3) == "") {
		return "refused"
	}
	if now.After(m.expires) {
		return "late"
	}
	return "accepted"
}

// answer returns what stands at a question: what came last of what counts.
func (m *naive) answer(slot int32) string {
	keys := ""
	for _, o := range m.log {
		if o.kind == "answer" && o.slot == slot && o.counts() {
			keys = o.keys
		}
	}
	return keys
}

// points of all questions: "a" gives 1, "b" a third. What was answered after question 3
// was checked is nothing.
func (m *naive) points() string {
	sum := new(big.Rat)
	for slot := int32(1); slot <= 3; slot++ {
		keys := m.answer(slot)
		if slot == 3 && m.checked {
			keys = m.checkedAnswer()
		}
		switch keys {
		case "a":
			sum.Add(sum, big.NewRat(1, 1))
		case "b":
			sum.Add(sum, big.NewRat(1, 3))
		}
	}
	text := strings.TrimRight(sum.FloatString(6), "0")
	return strings.TrimSuffix(text, ".")
}

func (m *naive) checkedAnswer() string {
	keys := ""
	for _, o := range m.log {
		if o.slot != 3 || !o.counts() {
			continue
		}
		if o.kind == "check" {
			return keys
		}
		if o.kind == "answer" {
			keys = o.keys
		}
	}
	return keys
}

// end is what the clock does.
func (m *naive) end(now time.Time) {
	if m.state != "in_progress" || !m.paused.IsZero() || !now.Add(-inFlight).After(m.closes()) && !now.Add(-inFlight).Equal(m.closes()) {
		return
	}
	m.state, m.by, m.ended = "submitted", "clock", m.closes()
	if m.overtime == "abandon" {
		m.state, m.ended = "abandoned", time.Time{}
	}
}

// modelled is an attempt with its model.
type modelled struct {
	*student
	*naive

	t *rapid.T
}

func (m *modelled) check(what, got, want string) {
	if got != want {
		m.t.Fatalf("%s: %s, want %s", what, got, want)
	}
}

// some draws operations of a client, with numbers that come twice, leave gaps and go
// back.
func (m *modelled) some(client string) []*assessmentpb.Operation {
	highest := int64(0)
	for _, o := range m.log {
		if o.client == client {
			highest = max(highest, o.seq)
		}
	}
	var ops []*assessmentpb.Operation
	next := highest + 1
	for range rapid.IntRange(1, 4).Draw(m.t, "operations") {
		seq := next
		switch rapid.SampledFrom([]string{"next", "next", "next", "next", "next", "next", "again", "gap"}).Draw(m.t, "number") {
		case "again":
			seq = rapid.Int64Range(1, highest+1).Draw(m.t, "again")
		case "gap":
			seq += rapid.Int64Range(1, 3).Draw(m.t, "gap")
		}
		next = max(next, seq+1)
		slot := rapid.Int32Range(1, 3).Draw(m.t, "slot")
		switch kind := rapid.SampledFrom([]string{"answer", "answer", "answer", "answer", "flag", "unflag", "check", "check", "page", "finish"}).Draw(m.t, "kind"); kind {
		case "answer":
			ops = append(ops, pick(seq, slot, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(m.t, "key")))
		case "check":
			ops = append(ops, do(seq, kind, 3))
		case "page":
			ops = append(ops, goTo(seq, rapid.Int32Range(1, 2).Draw(m.t, "page")))
		case "finish":
			if rapid.SampledFrom([]bool{false, false, false, true}).Draw(m.t, "finish") {
				ops = append(ops, do(seq, kind, 0))
			}
		default:
			ops = append(ops, do(seq, kind, slot))
		}
	}
	return ops
}

// sends sends operations, and the same to the model.
func (m *modelled) sends() {
	client := rapid.SampledFrom([]string{laptop, phone}).Draw(m.t, "client")
	ops := m.some(client)
	res, err := m.try(client, ops...)
	now := m.now()
	if m.state == "in_progress" && !m.paused.IsZero() {
		m.check("sent in a break", codeOf(nil, err), "attempt.paused")
		return
	}
	if err != nil {
		m.t.Fatal(err)
	}
	order := make([]int, len(ops))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(i, j int) bool { return ops[order[i]].GetClientSeq() < ops[order[j]].GetClientSeq() })
	want := make([]string, len(ops))
	for _, i := range order {
		o := ops[i]
		keys := strings.Join(o.GetAnswer().GetChoice().GetKeys(), "")
		want[i] = m.take(naiveOp{client: client, seq: o.GetClientSeq(), kind: o.GetKind(), slot: o.GetSlot(), page: o.GetPage(), keys: keys}, now)
		if f := res.GetVerdicts()[i].GetOutcome().GetFraction(); f != "" {
			m.told = f
		}
	}
	var got []string
	for _, v := range res.GetVerdicts() {
		text := v.GetVerdict()
		if v.GetRepeated() {
			text += " again"
		}
		got = append(got, text)
	}
	m.check(fmt.Sprintf("of %v", ops), strings.Join(got, ", "), strings.Join(want, ", "))
	m.check("the state", res.GetState(), m.state)
	m.check("the page", fmt.Sprint(res.GetPage()), fmt.Sprint(m.page))
}

func (m *modelled) submits() {
	r, err := m.attempts.SubmitAttempt(m.as(m.account), &assessmentpb.SubmitAttemptRequest{AttemptId: m.attempt.GetId()})
	now := m.now()
	switch {
	case m.state == "in_progress" && m.paused.IsZero() && now.After(m.closes()):
		m.state, m.by, m.ended = "submitted", "clock", m.closes()
		if m.overtime == "abandon" {
			m.state = "abandoned"
		}
	case m.state == "in_progress" && !m.paused.IsZero():
		m.check("submitted in a break", codeOf(nil, err), "attempt.paused")
		return
	case m.state == "in_progress":
		m.state, m.by, m.ended = "submitted", "student", now
	}
	if m.state == "abandoned" {
		m.check("submitted", codeOf(nil, err), "attempt.abandoned")
		return
	}
	if err != nil {
		m.t.Fatal(err)
	}
	counts := 0
	for _, o := range m.log {
		if o.counts() {
			counts++
		}
	}
	m.check("the receipt", fmt.Sprint(r.GetOperations(), r.GetSubmittedBy(), r.GetSubmittedAt().AsTime()), fmt.Sprint(counts, m.by, m.ended))
}

// breaks stops the clock, or has it go on.
func (m *modelled) breaks() {
	running := m.state == "in_progress" && (!m.paused.IsZero() || !m.now().After(m.closes()))
	if m.paused.IsZero() {
		_, err := m.attempts.PauseAttempt(m.as(m.account), &assessmentpb.PauseAttemptRequest{AttemptId: m.attempt.GetId()})
		if !running {
			m.check("a break", codeOf(nil, err), "attempt.over")
			return
		}
		if err != nil {
			m.t.Fatal(err)
		}
		m.paused = m.now()
		return
	}
	a, err := m.attempts.ResumeAttempt(m.as(m.account), &assessmentpb.ResumeAttemptRequest{AttemptId: m.attempt.GetId()})
	if err != nil {
		m.t.Fatal(err)
	}
	m.expires = m.expires.Add(m.now().Sub(m.paused))
	m.paused = time.Time{}
	m.check("the end", a.GetExpiresAt().AsTime().String(), m.expires.String())
}

func (m *modelled) moreTime() {
	more := time.Duration(rapid.IntRange(1, 300).Draw(m.t, "seconds")) * time.Second
	err := m.db.InTx(context.Background(), func(tx *pg.Tx) error {
		tx.Exempt("a test")
		_, err := m.service.extend(context.Background(), tx, m.attempt.GetCourseId(), m.attempt.GetItemId(), []string{m.attempt.GetId()}, more)
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	if m.state == "in_progress" {
		m.expires = m.expires.Add(more)
	}
}

// accepts has staff accept something that did not count.
func (m *modelled) accepts() {
	if len(m.log) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.log)-1).Draw(m.t, "which")
	o := &m.log[i]
	seq := m.seqs()[i]
	r, err := m.attempts.AcceptLateAnswers(m.as(id.New("account")), &assessmentpb.AcceptLateAnswersRequest{
		CourseId: m.attempt.GetCourseId(), AttemptId: m.attempt.GetId(), Seqs: []int64{seq}, Reason: "The network was away",
	})
	switch {
	case m.state == "in_progress":
		m.check("accepted while it runs", codeOf(nil, err), "attempt.running")
	case o.verdict != "too_late" && o.verdict != "refused" || o.kind == "finish":
		m.check("accepted", codeOf(nil, err), "operation.counts")
	case err != nil:
		m.t.Fatal(err)
	default:
		o.verdict = "accepted_later"
		if m.state == "abandoned" {
			m.state, m.by, m.ended = "submitted", "staff", m.closes()
		}
		m.check("the receipt", r.GetSubmittedBy(), m.by)
	}
}

// seqs returns the numbers of the model's operations in the log: the server's own are
// between them.
func (m *modelled) seqs() []int64 {
	rows, err := m.db.Query(context.Background(), `SELECT seq FROM answer_operation WHERE attempt_id = $1 AND client_id <> 'server' ORDER BY seq`, m.attempt.GetId())
	if err != nil {
		m.t.Fatal(err)
	}
	var out []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			m.t.Fatal(err)
		}
		out = append(out, n)
	}
	if len(out) != len(m.log) {
		m.t.Fatalf("%d operations in the log, want %d", len(out), len(m.log))
	}
	return out
}

// looks compares what is told with the model.
func (m *modelled) looks() {
	a := m.get()
	state := a.GetState()
	if state == "graded" {
		state = "submitted"
	}
	m.check("the state", state, m.state)
	m.check("who submitted it", a.GetSubmittedBy(), m.by)
	for _, q := range a.GetQuestions() {
		want := m.answer(q.GetSlot())
		if m.state == "in_progress" && q.GetSlot() == 3 && m.checked {
			want = m.checkedAnswer()
		}
		m.check(fmt.Sprint("question ", q.GetSlot()), strings.Join(q.GetAnswer().GetChoice().GetKeys(), ""), want)
	}
}

// Attempts are what a naive model makes of what is done to them, in any order.
func TestAttemptsAreAsTheModel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course := id.New("course")
	q := func() string { return w.addQuestion(course, choiceQuestion(1)) }
	quizzes := map[string]taken{}
	for _, overtime := range []string{"submit", "grace", "abandon"} {
		settings := quizOf(&assessmentpb.QuizSettings{Navigation: "sequential", TimeLimitSeconds: 600, Overtime: overtime, GraceSeconds: 60}, []string{q(), q()}, []string{q()})
		settings.Sections[1].Slots[0].Behaviour = "immediate"
		quizzes[overtime] = w.publishQuiz(course, settings)
	}
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		overtime := rapid.SampledFrom([]string{"submit", "grace", "abandon"}).Draw(t, "overtime")
		m := &modelled{naive: &naive{overtime: overtime, state: "in_progress"}, t: t}
		m.student = w.startEased(quizzes[overtime], &accesspb.Ease{Breaks: true})
		m.expires = w.now().Add(10 * time.Minute)
		if overtime != "submit" {
			m.grace = time.Minute
		}
		for range rapid.IntRange(4, 25).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"send", "send", "send", "send", "send", "send", "wait", "wait", "break", "time", "accept", "clock", "submit", "look"}).Draw(t, "step") {
			case "send":
				m.sends()
			case "wait":
				w.later(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 595 * time.Second, 605 * time.Second, 11 * time.Minute}).Draw(t, "wait"))
			case "break":
				m.breaks()
			case "time":
				m.moreTime()
			case "accept":
				m.accepts()
			case "clock":
				w.end()
				m.end(w.now())
			case "submit":
				if rapid.SampledFrom([]bool{false, false, false, true}).Draw(t, "submit") {
					m.submits()
				}
			case "look":
				m.looks()
			}
		}
		m.looks()
		if !m.paused.IsZero() && m.state == "in_progress" {
			m.breaks()
		}
		m.submits()
		w.scored()
		for _, o := range m.log {
			seen[o.verdict]++
		}
		seen[m.state+" by "+m.by]++
		if m.state == "abandoned" {
			return
		}
		m.rebuilt()
	})
	for _, want := range []string{"accepted", "late", "too_late", "refused", "submitted by student", "submitted by clock"} {
		if seen[want] == 0 && !testing.Short() { // of few attempts, chance may leave one out
			t.Errorf("nothing was %s: the test tells little (%v)", want, seen)
		}
	}
}

// startEased begins an attempt of somebody for whom something is eased.
func (w *world) startEased(quiz taken, ease *accesspb.Ease) *student {
	w.t.Helper()
	st := &student{world: w, account: id.New("account")}
	w.around.mu.Lock()
	w.around.eases[st.account] = []*accesspb.Ease{ease}
	w.around.mu.Unlock()
	var err error
	if st.attempt, err = w.attempts.StartAttempt(w.as(st.account), &assessmentpb.StartAttemptRequest{CourseId: quiz.course, ItemId: quiz.item}); err != nil {
		w.t.Fatalf("StartAttempt: %v", err)
	}
	return st
}

// rebuilt holds what is stored of an attempt to what its log makes anew, to what was
// told while it ran, and to the model.
func (m *modelled) rebuilt() {
	ctx := context.Background()
	a, err := readAttempt(ctx, m.db, m.attempt.GetId())
	if err != nil {
		m.t.Fatal(err)
	}
	stored := m.derived()
	m.check("the points", decimal(*a.Points), m.points())
	if m.told != "" {
		m.check("what was told", strings.Split(stored[2], " ")[2], m.told)
	}
	// Whatever the derived columns say, the log makes the same again.
	m.exec(`UPDATE attempt_question SET state = 'todo', fraction = '17', points = 3 WHERE attempt_id = $1`, a.ID)
	m.exec(`UPDATE attempt SET points = 99, scored_at = NULL WHERE id = $1`, a.ID)
	m.scored()
	if again := m.derived(); !slices.Equal(again, stored) {
		m.t.Fatalf("made again: %v, want %v", again, stored)
	}
}

// derived returns what is stored that the log makes.
func (m *modelled) derived() []string {
	rows, err := m.db.Query(context.Background(), `
		SELECT concat_ws(' ', q.slot, q.state, q.fraction, q.points, a.state, a.points, a.last_seq, a.uncounted)
		FROM attempt a JOIN attempt_question q ON q.attempt_id = a.id WHERE a.id = $1 ORDER BY q.slot`, m.attempt.GetId())
	if err != nil {
		m.t.Fatal(err)
	}
	var out []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			m.t.Fatal(err)
		}
		out = append(out, text)
	}
	return out
}
