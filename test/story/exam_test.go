package story_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestExam: two students take an exam in a lock-down browser that a proctor watches, who
// lets them in, gives time, holds them, tells them something and ends it. They hear it on
// their streams, and the proctor sees them.
func TestExam(t *testing.T) {
	t.Parallel()
	inBoth(t, shared, sharedApart, func(t *testing.T, in *installation) {
		teacher := in.signUp(t, "Exam Proctor")
		course, _ := draft(t, teacher, "An exam that is watched")
		e := &watchedExam{in: in, proctor: teacher, path: "/v1/courses/" + course}
		e.write(t, course)
		e.take(t)
	})
}

// watchedExam is an exam with its proctor.
type watchedExam struct {
	in      *installation
	proctor *person
	path    string // of the course
	exam    string // of the exam
	quiz    string
	item    string
}

// roomKey is the key of the lock-down browser in the room.
const roomKey = "5dda7a3f0d2d4d7e9d5ed6b0c7d1f2a35dda7a3f0d2d4d7e9d5ed6b0c7d1f2a3"

// locked is the header that the lock-down browser sends with a request.
func (e *watchedExam) locked(path string) []string {
	sum := sha256.Sum256([]byte(e.in.edge + path + roomKey))
	return []string{"X-SafeExamBrowser-ConfigKeyHash", hex.EncodeToString(sum[:])}
}

func (e *watchedExam) write(t *testing.T, course string) {
	t.Helper()
	p := e.proctor
	q := p.do(t, 201, "POST", e.path+"/questions", map[string]any{"content": map[string]any{"title": "One", "prompt": "Is virtue the only good?", "true_false": map[string]any{"right": true}}}).text("id")
	made := p.do(t, 201, "POST", e.path+"/quizzes", map[string]any{"title": "Final", "settings": map[string]any{
		"time_limit_seconds": 3600, "sections": []any{map[string]any{"slots": []any{map[string]any{"question": map[string]any{"question_id": q}}}}},
		"exam": map[string]any{"lockdown": true, "proctored": true, "watch": []string{"focus"}},
	}})
	e.quiz = e.path + "/quizzes/" + made.text("id")
	if a := p.do(t, 400, "POST", e.quiz+"/publish", map[string]any{}, "If-Match", made.header.Get("ETag")); a.text("code") != "quiz.no_lockdown_key" || a.text("field") != "settings.exam.lockdown" {
		t.Errorf("published without a key: %s", a)
	}
	if key := p.do(t, 201, "POST", e.quiz+"/lockdown-keys", map[string]any{"scheme": "seb_config", "key": roomKey, "label": "Room 12"}); strings.Contains(key.String(), roomKey) {
		t.Errorf("the key is shown: %s", key)
	}
	p.do(t, 200, "POST", e.quiz+"/publish", map[string]any{}, "If-Match", made.header.Get("ETag"))
	module := p.do(t, 201, "POST", e.path+"/modules", map[string]any{"title": "Exam"}).text("id")
	e.item = p.do(t, 201, "POST", e.path+"/activities", map[string]any{"kind": "quiz", "module_id": module, "title": "Final", "activity_ref": made.text("id")}).text("id")
	e.exam = e.path + "/items/" + e.item + "/exam"
	publish(t, p, course, 0)
}

// examinee is a student at an attempt, with a stream.
type examinee struct {
	*person

	attempt string
	stream  *websocket.Conn
}

// until reads how the attempt stands until that is what is waited for.
func (x *examinee) until(t *testing.T, what string, fits func(answer) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		_, text, err := x.stream.Read(ctx)
		if err != nil {
			t.Fatalf("%s was not told: %v", what, err)
		}
		var frame answer
		if err := json.Unmarshal(text, &frame.json); err != nil {
			t.Fatal(err)
		}
		if state, ok := frame.json["state"].(map[string]any); ok && fits(answer{json: state}) {
			return
		}
	}
}

// begin has somebody begin in the lock-down browser once they are let in.
func (e *watchedExam) begin(t *testing.T, name string) *examinee {
	t.Helper()
	x := &examinee{person: e.in.signUp(t, name)}
	if _, err := x.insist(t, e.path+"/enrollments", nil, 201); err != nil {
		t.Fatal(err)
	}
	eventually(t, soon, name+" may begin", func() (bool, string) {
		a, err := x.try(t.Context(), "GET", e.path+"/my-quizzes/"+e.item, nil)
		return err == nil && a.at("can_start") == true, a.String()
	})
	attempts := e.path + "/items/" + e.item + "/attempts"
	if a := x.do(t, 403, "POST", attempts, map[string]any{}); a.text("code") != "exam.lockdown" {
		t.Errorf("in another browser: %s", a)
	}
	if a := x.do(t, 403, "POST", attempts, map[string]any{}, e.locked(attempts)...); a.text("code") != "exam.not_admitted" {
		t.Errorf("not let in: %s", a)
	}
	x.do(t, 403, "GET", e.exam+"/students", nil)
	if a := e.proctor.do(t, 200, "POST", e.exam+"/admissions", map[string]any{"account_ids": []string{x.account}}); a.number("admitted") != 1 {
		t.Errorf("let in: %s", a)
	}
	x.attempt = "/v1/attempts/" + x.do(t, 200, "POST", attempts, map[string]any{}, e.locked(attempts)...).text("id")
	if a := x.do(t, 403, "GET", x.attempt, nil); a.text("code") != "exam.lockdown" {
		t.Errorf("read in another browser: %s", a)
	}
	header := http.Header{"Authorization": {"Bearer " + x.token}}
	lock := e.locked(x.attempt + "/stream")
	header.Set(lock[0], lock[1])
	var err error
	if x.stream, _, err = websocket.Dial(t.Context(), strings.Replace(e.in.edge, "http", "ws", 1)+x.attempt+"/stream", &websocket.DialOptions{HTTPHeader: header}); err != nil { //nolint:bodyclose // Dial closes it
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.stream.CloseNow() })
	x.until(t, "the beginning", func(s answer) bool { return s.text("state") == "in_progress" })
	return x
}

// answers sends an answer over the stream.
func (x *examinee) answers(t *testing.T) {
	t.Helper()
	text := `{"id": 1, "append": {"client_id": "laptop-1", "operations": [{"client_seq": 1, "kind": "answer", "slot": 1, "answer": {"true_false": {"value": true}}}]}}`
	if err := x.stream.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
	for {
		_, got, err := x.stream.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(got, []byte(`"appended"`)) {
			return
		}
		if bytes.Contains(got, []byte(`"error"`)) {
			t.Fatalf("answered: %s", got)
		}
	}
}

func (e *watchedExam) take(t *testing.T) {
	t.Helper()
	one, two := e.begin(t, "First Student"), e.begin(t, "Second Student")
	cursor := e.proctor.do(t, 200, "GET", e.exam+"/changes", nil).text("next_cursor")
	one.answers(t)
	one.do(t, 200, "POST", one.attempt+"/events", map[string]any{"client_id": "laptop-1", "events": []any{map[string]any{"client_seq": 1, "kind": "focus_lost", "duration_ms": 3000}}})
	eventually(t, soon, "the proctor sees both connected", func() (bool, string) {
		a, err := e.proctor.try(t.Context(), "GET", e.exam+"/students?summary=true", nil)
		return err == nil && a.number("summary.running") == 2 && a.number("summary.disconnected") == 0, a.String()
	})
	if a := e.proctor.do(t, 200, "GET", e.exam+"/changes?wait_seconds=10&since="+cursor, nil); a.text("items.0.account_id") == "" {
		t.Errorf("nothing has changed: %s", a)
	}
	attempts := []string{strings.TrimPrefix(one.attempt, "/v1/attempts/")}
	e.proctor.do(t, 200, "POST", e.exam+"/time", map[string]any{"attempt_ids": attempts, "minutes": 10, "reason": "A broken chair"})
	one.until(t, "more time", func(s answer) bool { return s.number("extra_seconds") == 600 && s.text("notices.0.kind") == "time" })
	e.proctor.do(t, 200, "POST", e.exam+"/hold", map[string]any{"everybody": true, "reason": "A fire alarm", "message": "Leave the room"})
	for _, x := range []*examinee{one, two} {
		x.until(t, "the hold", func(s answer) bool { return s.text("paused_at") != "" && s.text("notices.0.text") == "Leave the room" })
	}
	lock := e.locked(two.attempt + "/operations")
	if a := two.do(t, 409, "POST", two.attempt+"/operations", map[string]any{"client_id": "laptop-2", "operations": []any{map[string]any{"client_seq": 1, "kind": "flag", "slot": 1}}}, lock...); a.text("code") != "attempt.paused" {
		t.Errorf("an answer while it is held: %s", a)
	}
	e.proctor.do(t, 200, "POST", e.exam+"/release", map[string]any{"everybody": true})
	e.proctor.do(t, 200, "POST", e.exam+"/messages", map[string]any{"everybody": true, "message": "Go on"})
	for _, x := range []*examinee{one, two} {
		x.until(t, "what was said", func(s answer) bool {
			return s.text("paused_at") == "" && (s.text("notices.0.text") == "Go on" || s.text("notices.1.text") == "Go on")
		})
	}
	_ = two.stream.CloseNow()
	eventually(t, soon, "the proctor sees who has gone", func() (bool, string) {
		a, err := e.proctor.try(t.Context(), "GET", e.exam+"/students?state=disconnected", nil)
		return err == nil && a.text("items.0.account_id") == two.account, a.String()
	})
	if a := e.proctor.do(t, 200, "POST", e.exam+"/end", map[string]any{"everybody": true, "reason": "It is over"}); a.number("attempts") != 2 {
		t.Errorf("ended: %s", a)
	}
	one.until(t, "the end", func(s answer) bool { return s.text("state") != "in_progress" })
	eventually(t, soon, "the receipt", func() (bool, string) {
		a, err := one.try(t.Context(), "GET", one.attempt+"/receipt", nil)
		return err == nil && a.text("submitted_by") == "staff" && a.number("operations") == 1, a.String()
	})
	a := e.proctor.do(t, 200, "GET", e.exam+"/events?page_size=100&attempt_id="+attempts[0], nil)
	for _, kind := range []string{"focus_lost", "time_given", "held", "released", "told", "ended", "lockdown_refused"} {
		if !strings.Contains(string(a.body), kind) {
			t.Errorf("%s was not noted: %s", kind, a)
		}
	}
	// Nobody else's report is taken, as here no service watches.
	body := `{"id": "report-0001"}`
	mac := hmac.New(sha256.New, []byte("a secret that nobody has told us of"))
	_, _ = mac.Write([]byte(body))
	if a := one.do(t, 404, "POST", one.attempt+"/proctor-reports", map[string]any{"id": "report-0001"}, "Stoa-Timestamp", strconv.FormatInt(time.Now().Unix(), 10), "Stoa-Signature", hex.EncodeToString(mac.Sum(nil))); a.text("code") != "proctor_report.not_found" {
		t.Errorf("a forged report: %s", a)
	}
}
