package story_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/stoa-lms/stoa/internal/pg/embedded"
)

// envNumber is a number that a run may set to do more than the suite does.
func envNumber(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s: %q is no number", name, text)
	}
	return n
}

// TestNoAnswerIsLost: students answer over REST and over WebSockets while processes,
// the database, the broker and Redis are killed at random moments and come back. What
// each of them was told is durable is there afterwards, word for word, and makes the
// receipt. STOA_TEST_STUDENTS, STOA_TEST_ROUNDS and STOA_TEST_SEED do more of it.
func TestNoAnswerIsLost(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB) *installation{"one process": oneProcess, "process per service": onOwnDatabase} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := start(t)
			r := seed(t)
			e := writeExam(t, in)
			e.told(t)
			for round := range envNumber(t, "STOA_TEST_ROUNDS", 2) {
				e.storm(t, r, round, envNumber(t, "STOA_TEST_STUDENTS", 10))
				if t.Failed() {
					return
				}
			}
			if in.broker != nil {
				in.nothingLeft(t)
			}
		})
	}
}

// exam is a quiz of 16 questions on 8 pages, and an essay, that may be taken as often
// as one likes.
type exam struct {
	in      *installation
	teacher *person
	course  string
	path    string // of the course
	item    string
	people  []*person
}

const examQuestions = 16

func writeExam(t *testing.T, in *installation) *exam {
	t.Helper()
	e := &exam{in: in, teacher: in.signUp(t, "Exam Teacher")}
	e.course, _ = draft(t, e.teacher, "An exam in a storm")
	e.path = "/v1/courses/" + e.course
	var slots []any
	for n := range examQuestions {
		q := e.teacher.do(t, 201, "POST", e.path+"/questions", map[string]any{"content": map[string]any{
			"title": fmt.Sprintf("Question %d", n+1), "prompt": "Which letter is the first?",
			"choice": map[string]any{"options": []any{map[string]any{"key": "a", "text": "A", "fraction": "1"}, map[string]any{"key": "b", "text": "B"}, map[string]any{"key": "c", "text": "C"}}},
		}}).text("id")
		slots = append(slots, map[string]any{"question": map[string]any{"question_id": q}})
	}
	q := e.teacher.do(t, 201, "POST", e.path+"/questions", map[string]any{"content": map[string]any{"title": "Essay", "prompt": "Say why.", "essay": map[string]any{}}}).text("id")
	slots = append(slots, map[string]any{"question": map[string]any{"question_id": q}})
	made := e.teacher.do(t, 201, "POST", e.path+"/quizzes", map[string]any{"title": "Exam", "settings": map[string]any{
		"time_limit_seconds": 3600, "questions_per_page": 2, "sections": []any{map[string]any{"slots": slots}},
	}})
	e.teacher.do(t, 200, "POST", e.path+"/quizzes/"+made.text("id")+"/publish", map[string]any{}, "If-Match", made.header.Get("ETag"))
	module := e.teacher.do(t, 201, "POST", e.path+"/modules", map[string]any{"title": "Exam"}).text("id")
	e.item = e.teacher.do(t, 201, "POST", e.path+"/activities", map[string]any{"kind": "quiz", "module_id": module, "title": "Exam", "activity_ref": made.text("id")}).text("id")
	publish(t, e.teacher, e.course, 0)
	return e
}

// told has somebody answer on a stream, and hear on it what changes meanwhile: more
// time that is eased for them, another device that answers, and that staff end it.
func (e *exam) told(t *testing.T) {
	t.Helper()
	e.enroll(t, 1)
	p := e.people[0]
	attempt, err := e.begin(t, p)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	header := http.Header{"Authorization": {"Bearer " + p.token}}
	for name, h := range map[string]http.Header{"nobody": nil, "a page of others": {"Cookie": {"stoa_session=" + p.token}, "Origin": {"https://evil.example.org"}}} {
		if _, res, err := websocket.Dial(ctx, strings.Replace(e.in.edge, "http", "ws", 1)+attempt+"/stream", &websocket.DialOptions{HTTPHeader: h}); err == nil || res == nil || res.StatusCode/100 != 4 { //nolint:bodyclose // Dial closes it
			t.Errorf("%s may stream: %v", name, err)
		}
	}
	c, _, err := websocket.Dial(ctx, strings.Replace(e.in.edge, "http", "ws", 1)+attempt+"/stream", &websocket.DialOptions{HTTPHeader: header}) //nolint:bodyclose // Dial closes it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	// until reads how the attempt stands until that is what is waited for.
	until := func(what string, fits func(state answer) bool) answer {
		t.Helper()
		for {
			_, text, err := c.Read(ctx)
			if err != nil {
				t.Fatalf("%s was not told: %v", what, err)
			}
			var frame answer
			if err := json.Unmarshal(text, &frame.json); err != nil {
				t.Fatal(err)
			}
			if state, ok := frame.json["state"].(map[string]any); ok && fits(answer{json: state}) {
				return answer{json: state}
			}
		}
	}
	first := until("the beginning", func(state answer) bool { return state.text("state") == "in_progress" })
	ends, err := time.Parse(time.RFC3339Nano, first.text("expires_at"))
	if err != nil {
		t.Fatal(err)
	}
	e.teacher.do(t, 200, "POST", e.path+"/accommodations", map[string]any{"account_id": p.account, "ease": map[string]any{"time_percent": 150}})
	until("more time", func(state answer) bool {
		at, err := time.Parse(time.RFC3339Nano, state.text("expires_at"))
		return err == nil && at.Equal(ends.Add(30*time.Minute))
	})
	p.do(t, 200, "POST", attempt+"/operations", map[string]any{"client_id": "another-device", "operations": []any{map[string]any{"client_seq": 1, "kind": "flag", "slot": 1}}})
	until("another device", func(state answer) bool { return state.number("last_seq") == 1 })
	e.teacher.do(t, 200, "POST", e.path+"/attempts/"+strings.TrimPrefix(attempt, "/v1/attempts/")+"/close", map[string]any{"reason": "They have left"})
	until("the end", func(state answer) bool {
		return state.text("state") != "in_progress" && state.text("notices.0.kind") == "closed"
	})
	if r := p.do(t, 200, "GET", attempt+"/receipt", nil); r.text("submitted_by") != "staff" || r.text("signature") == "" || r.number("operations") != 1 {
		t.Errorf("the receipt: %s", r)
	}
	// The next attempts have the usual time.
	eased := e.teacher.do(t, 200, "GET", e.path+"/accommodations", nil).text("items.0.id")
	e.teacher.do(t, 200, "POST", e.path+"/accommodations/"+eased+"/withdraw", nil)
}

// enroll makes sure that there are so many students.
func (e *exam) enroll(t *testing.T, n int) {
	t.Helper()
	for len(e.people) < n {
		p := e.in.signUp(t, fmt.Sprintf("Student %d", len(e.people)+1))
		if _, err := p.insist(t, e.path+"/enrollments", nil, 201); err != nil {
			t.Fatal(err)
		}
		eventually(t, 60*time.Second, p.name+" may begin", func() (bool, string) {
			a, err := p.try(t.Context(), "GET", e.path+"/my-quizzes/"+e.item, nil)
			return err == nil && a.at("can_start") == true, a.String()
		})
		e.people = append(e.people, p)
	}
}

// sent is an operation of a student, and what was told of it.
type sent struct {
	op      map[string]any
	verdict map[string]any // nil while it is not acknowledged
}

// answering is a student at an attempt: with one client or two, each of which keeps
// what it has not been told of yet, and sends it again.
type answering struct {
	*person

	r       *rand.Rand
	attempt string
	client  string
	socket  bool // whether it prefers a WebSocket
	ops     []sent
	next    int // of those that are not acknowledged, the first

	retries int
	durable *atomic.Int64 // of all students
}

// write makes the next operation.
func (a *answering) write() {
	n := len(a.ops) + 1
	op := map[string]any{"client_seq": n, "kind": "answer", "client_time": time.Now().Add(time.Duration(a.r.IntN(200)-100) * time.Hour).UTC().Format(time.RFC3339)}
	switch a.r.IntN(10) {
	case 0:
		op["kind"], op["slot"] = []string{"flag", "unflag"}[a.r.IntN(2)], 1+a.r.IntN(examQuestions)
	case 1:
		op["slot"], op["answer"] = examQuestions+1, map[string]any{"essay": map[string]any{"text": strings.Repeat("Because of all that. ", 1+a.r.IntN(200))}}
	default:
		op["slot"], op["answer"] = 1+a.r.IntN(examQuestions), map[string]any{"choice": map[string]any{"keys": []string{[]string{"a", "b", "c"}[a.r.IntN(3)]}}}
	}
	a.ops = append(a.ops, sent{op: op})
}

// request is what is sent next, and how many operations it has.
func (a *answering) request() (map[string]any, int) {
	n := min(len(a.ops)-a.next, 1+a.r.IntN(20))
	var list []any
	for _, o := range a.ops[a.next : a.next+n] {
		list = append(list, o.op)
	}
	return map[string]any{"client_id": a.client, "operations": list, "sent_at": time.Now().UTC().Format(time.RFC3339Nano)}, n
}

// told keeps what the server has told of the operations that were sent last.
func (a *answering) told(n int, appended map[string]any) error {
	verdicts, _ := appended["verdicts"].([]any)
	if len(verdicts) != n {
		return fmt.Errorf("%s: %d verdicts of %d: %v", a.name, len(verdicts), n, appended)
	}
	for _, v := range verdicts {
		verdict, _ := v.(map[string]any)
		if verdict["verdict"] != "accepted" || verdict["client_seq"] != float64(a.next+1) {
			return fmt.Errorf("%s: operation %d: %v", a.name, a.next+1, verdict)
		}
		a.ops[a.next].verdict = verdict
		a.next++
	}
	a.durable.Add(int64(n))
	return nil
}

// overREST sends what is next, once.
func (a *answering) overREST(ctx context.Context) error {
	body, n := a.request()
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	res, err := a.try(ctx, "POST", a.attempt+"/operations", body)
	if err != nil || res.status >= 500 || res.status == http.StatusTooManyRequests {
		a.retries++
		return nil // it is sent again
	}
	if res.status != http.StatusOK {
		return fmt.Errorf("%s: %s", a.name, res)
	}
	return a.told(n, res.json)
}

// overSocket sends what there is over a connection until it breaks or ctx ends.
func (a *answering) overSocket(ctx context.Context, more func() bool) error {
	dial, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	c, res, err := websocket.Dial(dial, strings.Replace(a.in.edge, "http", "ws", 1)+a.attempt+"/stream", &websocket.DialOptions{ //nolint:bodyclose // Dial closes it
		HTTPHeader: http.Header{"Authorization": {"Bearer " + a.token}},
	})
	if err != nil {
		a.retries++
		if res != nil && res.StatusCode < 500 && res.StatusCode != http.StatusTooManyRequests {
			return fmt.Errorf("%s: stream: %w", a.name, err)
		}
		return nil
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(8 << 20)
	for id := 1; more(); id++ {
		if a.next == len(a.ops) {
			a.write()
		}
		body, n := a.request()
		text, err := json.Marshal(map[string]any{"id": id, "append": body})
		if err != nil {
			return err
		}
		if c.Write(dial, websocket.MessageText, text) != nil {
			a.retries++
			return nil
		}
		frame, err := a.frame(dial, c, id)
		if err != nil || frame == nil {
			a.retries++
			return err
		}
		if err := a.told(n, frame); err != nil {
			return err
		}
	}
	return nil
}

// frame reads until the frame is answered; nil where the connection is broken or it
// has to be sent again.
func (a *answering) frame(ctx context.Context, c *websocket.Conn, id int) (map[string]any, error) {
	for {
		_, text, err := c.Read(ctx)
		if err != nil {
			return nil, nil //nolint:nilerr // it is sent again
		}
		var frame struct {
			ID       int
			Appended map[string]any
			Error    *struct {
				Status int
				Code   string
			}
			State map[string]any
		}
		if err := json.Unmarshal(text, &frame); err != nil {
			return nil, err
		}
		switch {
		case frame.ID != id:
		case frame.Error != nil && frame.Error.Status < 500:
			return nil, fmt.Errorf("%s: frame: %s", a.name, text)
		case frame.Error != nil:
			return nil, nil
		default:
			return frame.Appended, nil
		}
	}
}

// answer writes and sends until it is told to end and all is acknowledged.
func (a *answering) answer(ctx context.Context, stop func() bool) error {
	wait := 15
	for ctx.Err() == nil {
		ending := stop()
		if ending && a.next == len(a.ops) {
			return nil
		}
		for !ending && len(a.ops)-a.next < 3 {
			a.write()
		}
		var err error
		before := a.next
		if a.socket && !ending {
			left := 1 + a.r.IntN(30)
			err = a.overSocket(ctx, func() bool { left--; return left > 0 && !stop() })
		} else {
			err = a.overREST(ctx)
		}
		if err != nil {
			return err
		}
		wait = min(2*wait+10, 400)
		if a.next > before {
			wait = 15
		}
		after(ctx, time.Duration(wait+a.r.IntN(wait))*time.Millisecond)
	}
	return ctx.Err()
}

// begin begins an attempt, or finds the one that runs.
func (e *exam) begin(t *testing.T, p *person) (string, error) {
	a, err := p.insist(t, e.path+"/items/"+e.item+"/attempts", map[string]any{}, 200)
	return "/v1/attempts/" + a.text("id"), err
}

// storm has students answer while things break, and holds the log to what they were
// told.
func (e *exam) storm(t *testing.T, r *rand.Rand, round, students int) {
	t.Helper()
	e.enroll(t, students)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	least := envNumber(t, "STOA_TEST_BREAKAGES", 3)
	var breakages atomic.Int32
	var begun, durable atomic.Int64 // attempts, and operations that were acknowledged
	var over atomic.Bool
	var broken []string
	var wg, storm sync.WaitGroup
	breaking, calm := context.WithCancel(ctx)
	storm.Go(func() {
		broken = e.in.breakAnything(breaking, r, &breakages, func() int64 { return begun.Load() + durable.Load() })
	})
	begin := time.Now()
	stop := func() bool { // on a busy machine the later students would else answer nothing
		enough := durable.Load() >= int64(5*students) || time.Since(begin) > 2*time.Minute
		return over.Load() || enough && int(breakages.Load()) >= least && time.Since(begin) > 3*time.Second
	}
	all := make([][]*answering, students)
	seeds := make([][2]uint64, students)
	for i := range seeds {
		seeds[i] = [2]uint64{r.Uint64(), r.Uint64()}
	}
	for i := range students {
		wg.Go(func() {
			p := e.people[i]
			attempt, err := e.begin(t, p)
			if err != nil {
				t.Error(err)
				over.Store(true)
				return
			}
			begun.Add(1)
			clients := 1 + i%3/2 // every third has two tabs
			var tabs sync.WaitGroup
			for c := range clients {
				a := &answering{
					person: p, attempt: attempt, durable: &durable, client: fmt.Sprintf("client-%d-%d-%d", round, i, c), socket: (i+c)%2 == 0,
					r: rand.New(rand.NewPCG(seeds[i][0], seeds[i][1]+uint64(c))), //nolint:gosec // chance, not secrecy
				}
				all[i] = append(all[i], a)
				tabs.Go(func() {
					if err := a.answer(ctx, stop); err != nil {
						t.Error(err)
						over.Store(true)
					}
				})
			}
			tabs.Wait()
		})
	}
	wg.Wait()
	calm()
	storm.Wait()
	if t.Failed() {
		return
	}
	e.in.waitReady()
	eventually(t, 60*time.Second, "assessment answers again", func() (bool, string) {
		a, err := e.people[0].try(t.Context(), "GET", all[0][0].attempt, nil)
		return err == nil && a.status == 200, a.String()
	})
	acknowledged, retries := 0, 0
	for i, clients := range all {
		var attempt string
		for _, a := range clients {
			attempt, acknowledged, retries = a.attempt, acknowledged+a.next, retries+a.retries
		}
		e.holds(t, e.people[i], attempt, clients)
	}
	t.Logf("round %d: %d operations of %d students acknowledged, %d times sent again; broken: %s", round, acknowledged, students, retries, strings.Join(broken, ", "))
}

// holds holds the log of an attempt to what its clients were told, then submits it and
// recomputes its receipt of that.
func (e *exam) holds(t *testing.T, p *person, attempt string, clients []*answering) {
	t.Helper()
	type key struct {
		client string
		n      int
	}
	want := map[key]sent{}
	for _, a := range clients {
		for i, o := range a.ops {
			want[key{a.client, i + 1}] = o
		}
	}
	lines := map[int]string{}
	got := 0
	for afterSeq := 0; ; {
		page := p.do(t, 200, "GET", fmt.Sprintf("%s/operations?page_size=500&after=%d", attempt, afterSeq), nil)
		for _, o := range page.items() {
			k := key{o.text("client_id"), o.number("operation.client_seq")}
			w, ok := want[k]
			if !ok || o.number("seq") != afterSeq+1 && o.number("seq") != len(lines)+1 {
				t.Errorf("%s: the log has %v, which nobody has sent", p.name, o.json)
				return
			}
			if diff := differs(w, o); diff != "" {
				t.Errorf("%s: operation %v: %s", p.name, k, diff)
			}
			lines[o.number("seq")] = o.text("line")
			got++
		}
		if afterSeq = page.number("next_after"); afterSeq == 0 {
			break
		}
	}
	if got != len(want) {
		t.Errorf("%s: the log has %d operations, %d were acknowledged", p.name, got, len(want))
	}
	if t.Failed() {
		return
	}
	last := map[string]any{"client_id": clients[0].client, "last_client_seq": len(clients[0].ops)}
	receipt := p.do(t, 200, "POST", attempt+"/submit", last)
	text := receipt.text("header") + "\n"
	for _, seq := range slices.Sorted(maps.Keys(lines)) {
		text += lines[seq] + "\n"
	}
	if receipt.number("operations") != got || receipt.text("sha256") != sha256Of(text) {
		t.Errorf("%s: the receipt is %s, %d lines make %s", p.name, receipt, got, sha256Of(text))
	}
	e.scored(t, p, attempt, lines)
}

func sha256Of(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// differs says how an operation of the log differs from what was sent and told.
func differs(w sent, o answer) string {
	op := map[string]any{}
	for _, name := range []string{"client_seq", "kind", "slot"} {
		op[name] = w.op[name]
	}
	text, err := json.Marshal(map[string]any{"op": op, "answer": w.op["answer"], "seq": w.verdict["seq"], "at": w.verdict["received_at"]})
	if err != nil {
		return err.Error()
	}
	logged := map[string]any{}
	for name := range op {
		logged[name] = o.at("operation." + name)
	}
	given := o.at("operation.answer")
	if m, ok := given.(map[string]any); ok { // REST tells members that are empty too
		if c, ok := m["choice"].(map[string]any); ok {
			delete(c, "none")
		}
		if c, ok := m["essay"].(map[string]any); ok {
			delete(c, "media_ids")
		}
	}
	there, err := json.Marshal(map[string]any{"op": logged, "answer": given, "seq": o.at("seq"), "at": o.at("received_at")})
	if err != nil {
		return err.Error()
	}
	if !bytes.Equal(text, there) {
		return fmt.Sprintf("%s, told was %s", there, text)
	}
	return ""
}

// scored waits until the attempt is scored, and holds its points to the lines of the
// log: the answer that came last to each question counts.
func (e *exam) scored(t *testing.T, p *person, attempt string, lines map[int]string) {
	t.Helper()
	last := map[float64]string{}
	for _, seq := range slices.Sorted(maps.Keys(lines)) {
		var l struct {
			Kind   string
			Slot   float64
			Answer struct{ Choice struct{ Keys []string } }
		}
		if err := json.Unmarshal([]byte(lines[seq]), &l); err != nil {
			t.Fatal(err)
		}
		if l.Kind == "answer" && l.Slot <= examQuestions {
			last[l.Slot] = strings.Join(l.Answer.Choice.Keys, "")
		}
	}
	right := 0
	for _, keys := range last {
		if keys == "a" {
			right++
		}
	}
	eventually(t, 60*time.Second, p.name+"'s attempt is scored", func() (bool, string) {
		a, err := p.try(t.Context(), "GET", attempt, nil)
		return err == nil && a.at("scored") == true && a.text("points") == strconv.Itoa(right), fmt.Sprintf("want %d: %s", right, a)
	})
}

// onOwnDatabase is [distributed] with a PostgreSQL of its own, which may be killed.
func onOwnDatabase(t testing.TB) *installation {
	in := newInstallation(t)
	in.postgres = &postgres{t: t, dir: filepath.Join(in.dir, "postgres")}
	in.postgres.start()
	t.Cleanup(in.postgres.stop)
	return distributedOn(t, in, in.postgres.server.URL())
}

// postgres is a database server.
type postgres struct {
	t      testing.TB
	dir    string
	server *embedded.Server
}

func (p *postgres) start() {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	var err error
	if p.server, err = embedded.Start(ctx, embedded.Config{Dir: p.dir}); err != nil {
		p.t.Errorf("PostgreSQL: %v", err)
	}
}

func (p *postgres) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_ = p.server.Stop(ctx) // it may have been killed
}

// kill ends the server without warning, and all that it has in its memory with it.
func (p *postgres) kill() {
	text, err := os.ReadFile(filepath.Join(p.dir, "data", "postmaster.pid"))
	if err != nil {
		p.t.Error(err)
		return
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil || pid < 2 {
		p.t.Errorf("postmaster.pid: %q", line)
		return
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		p.t.Error(err)
		return
	}
	<-p.server.Done()
	p.stop()
}

// breakAnything breaks one thing after the other until ctx ends, mends it, and counts.
// The edge and assessment, which answers go through, are broken most. Between two of them
// something is done, of which done tells, or ten seconds pass: on a busy machine things
// come back more slowly than they would be broken.
func (in *installation) breakAnything(ctx context.Context, r *rand.Rand, count *atomic.Int32, done func() int64) (broken []string) {
	for before := done(); ; before = done() {
		for patience := 100; len(broken) > 0 && done() == before && patience > 0 && after(ctx, 100*time.Millisecond); patience-- {
		}
		what, wait := "stoa", 1000+r.IntN(2000)
		if in.broker != nil {
			wait = 100 + r.IntN(900)
		}
		if !after(ctx, time.Duration(wait)*time.Millisecond) {
			return broken
		}
		if in.broker != nil {
			what = []string{"assessment", "assessment", "edge", "edge", "database", "database", "access", "learning", "identity", "broker", "Redis"}[r.IntN(11)]
		}
		broken = append(broken, what)
		switch what {
		case "database":
			in.postgres.kill()
			in.postgres.start()
		case "broker":
			in.broker.Kill()
			in.restart(in.broker.Restart)
		case "Redis":
			in.redis.Kill()
			in.restart(in.redis.Restart)
		default:
			p := in.processes[what]
			p.kill()
			if r.IntN(3) == 0 {
				after(ctx, time.Duration(r.IntN(1000))*time.Millisecond)
			}
			p.start()
		}
		count.Add(1)
	}
}
