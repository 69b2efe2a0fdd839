package edge

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
)

// examConn stands for identity, which knows one session, and for assessment, which
// has one attempt.
type examConn struct {
	accountsConn

	account string
	attempt string

	mu     sync.Mutex
	ended  bool // the session
	state  *assessmentpb.AttemptState
	append func(req *assessmentpb.AppendAnswersRequest) (*assessmentpb.AppendAnswersResponse, error)
}

func (c *examConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch req := args.(type) {
	case *identitypb.AuthenticateRequest:
		if req.GetToken() != "good" && req.GetToken() != "other" || c.ended {
			return auth.ErrBadToken
		}
		account := c.account
		if req.GetToken() == "other" {
			account = id.New("account")
		}
		proto.Merge(reply.(proto.Message), &identitypb.AuthenticateResponse{AccountId: account, SessionId: id.New("session")}) //nolint:forcetypeassert // of this call
	case *assessmentpb.NoteConnectionsRequest: // it knows the process
	case *assessmentpb.ListAttemptStatesRequest:
		if len(req.GetAttempts()) > 0 && req.GetAttempts()[0].GetAttemptId() == c.attempt {
			proto.Merge(reply.(proto.Message), &assessmentpb.ListAttemptStatesResponse{Items: []*assessmentpb.AttemptState{c.state}}) //nolint:forcetypeassert // of this call
		}
	case *assessmentpb.AppendAnswersRequest:
		if auth.From(ctx).Account != c.account {
			return errors.New("appended as somebody else")
		}
		res, err := c.append(req)
		if err != nil {
			return err
		}
		proto.Merge(reply.(proto.Message), res) //nolint:forcetypeassert // of this call
	default:
		return c.accountsConn.Invoke(ctx, method, args, reply, opts...)
	}
	return nil
}

// change changes how the attempt stands.
func (c *examConn) change(fn func(*assessmentpb.AttemptState)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = proto.CloneOf(c.state)
	fn(c.state)
}

func newExam(t *testing.T) (*Edge, *examConn, string) {
	t.Helper()
	conn := &examConn{account: id.New("account"), attempt: id.New("attempt")}
	conn.state = &assessmentpb.AttemptState{AttemptId: conn.attempt, AccountId: conn.account, State: "in_progress", Revision: 2, LastSeq: 4}
	conn.append = func(req *assessmentpb.AppendAnswersRequest) (*assessmentpb.AppendAnswersResponse, error) {
		res := &assessmentpb.AppendAnswersResponse{State: "in_progress"}
		for _, o := range req.GetOperations() {
			res.Verdicts = append(res.Verdicts, &assessmentpb.OperationVerdict{ClientSeq: o.GetClientSeq(), Verdict: "accepted"})
		}
		return res, nil
	}
	conns := map[string]grpc.ClientConnInterface{}
	for _, name := range []string{"identity", "access", "courses", "media", "learning", "assessment", "grades", "commerce", "discovery", "audit", "notify"} {
		conns[name] = conn
	}
	e, err := New(Config{Log: slog.New(slog.DiscardHandler), Conns: conns, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	t.Cleanup(e.CloseStreams)
	return e, conn, server.URL
}

// open opens the stream of an attempt.
func open(t *testing.T, url, attempt string, header ...string) (*websocket.Conn, int) {
	t.Helper()
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	c, res, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(url, "http")+"/v1/attempts/"+attempt+"/stream", &websocket.DialOptions{HTTPHeader: h}) //nolint:bodyclose // Dial closes it
	if err != nil && res == nil {
		t.Fatal(err)
	}
	if err == nil {
		t.Cleanup(func() { _ = c.CloseNow() })
	}
	return c, res.StatusCode
}

// read returns the next frame of the server.
func read(t *testing.T, c *websocket.Conn) map[string]any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, text, err := c.Read(ctx)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	var frame map[string]any
	if err := json.Unmarshal(text, &frame); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return frame
}

func send(t *testing.T, c *websocket.Conn, text string) {
	t.Helper()
	if err := c.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
		t.Fatalf("write: %v", err)
	}
}

func TestWhoMayStream(t *testing.T) {
	t.Parallel()
	_, conn, url := newExam(t)
	for name, c := range map[string]struct {
		attempt string
		header  []string
		want    int
	}{
		"nobody":          {conn.attempt, nil, 401},
		"a wrong token":   {conn.attempt, []string{"Authorization", "Bearer bad"}, 401},
		"somebody else":   {conn.attempt, []string{"Authorization", "Bearer other"}, 404},
		"another attempt": {id.New("attempt"), []string{"Authorization", "Bearer good"}, 404},
		"parameters":      {conn.attempt + "/stream?token=good#", []string{"Authorization", "Bearer good"}, 400},
		"its owner":       {conn.attempt, []string{"Authorization", "Bearer good"}, 101},
		"a browser":       {conn.attempt, []string{"Cookie", "stoa_session=good", "Origin", url}, 101},
		"another page":    {conn.attempt, []string{"Cookie", "stoa_session=good", "Origin", "https://evil.example.org"}, 403},
		"a page of none":  {conn.attempt, []string{"Cookie", "stoa_session=good", "Origin", "null"}, 403},
	} {
		if _, status := open(t, url, c.attempt, c.header...); status != c.want {
			t.Errorf("%s: %d, want %d", name, status, c.want)
		}
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	e, conn, url := newExam(t)
	c, _ := open(t, url, conn.attempt, "Authorization", "Bearer good")
	first := read(t, c)
	if s, ok := first["state"].(map[string]any); !ok || s["state"] != "in_progress" || s["account_id"] != "" || first["id"] != 0.0 {
		t.Errorf("first: %v", first)
	}
	send(t, c, `{"id":7,"append":{"client_id":"laptop-1","operations":[{"client_seq":1,"kind":"answer","slot":1},{"client_seq":2}]}}`)
	if f := read(t, c); f["id"] != 7.0 || len(f["appended"].(map[string]any)["verdicts"].([]any)) != 2 { //nolint:forcetypeassert // fails the test
		t.Errorf("answered: %v", f)
	}
	for text, want := range map[string]string{
		`{`:                                   "request.bad_json",
		`[]`:                                  "request.bad_json",
		`{"id":1}`:                            "request.invalid",
		`{"append":{"client_id":"laptop-1"}}`: "request.invalid",
		`{"id":1,"append":{"client_id":"x"}}`: "request.invalid",
		`{"id":1,"append":{"client":"x"}}`:    "request.unknown_field",
		`{"id":1,"append":{"client_id":"laptop-1","attempt_id":"` + id.New("attempt") + `"}}`: "request.invalid",
	} {
		send(t, c, text)
		f, ok := read(t, c)["error"].(map[string]any)
		if !ok || f["code"] != want || f["status"] != 400.0 || f["detail"] == "" {
			t.Errorf("%s: %v", text, f)
		}
	}
	// What is refused and what fails is told, and the stream goes on.
	for err, want := range map[error]string{
		fault.New(fault.Conflict, "attempt.paused", "It stands."): "attempt.paused", errors.New("secret"): "internal",
		&fault.Error{Kind: fault.Unavailable, Code: "database.unavailable", Message: "Away.", Retry: 2 * time.Second}: "database.unavailable",
	} {
		conn.mu.Lock()
		conn.append = func(*assessmentpb.AppendAnswersRequest) (*assessmentpb.AppendAnswersResponse, error) { return nil, err }
		conn.mu.Unlock()
		send(t, c, `{"id":9,"append":{"client_id":"laptop-1"}}`)
		f := read(t, c)
		told, _ := f["error"].(map[string]any)
		if f["id"] != 9.0 || told["code"] != want || strings.Contains(told["detail"].(string), "secret") { //nolint:forcetypeassert // fails the test
			t.Errorf("%v: %v", err, f)
		}
	}
	// What changes is told, once, to all of the attempt.
	other, _ := open(t, url, conn.attempt, "Authorization", "Bearer good")
	read(t, other)
	conn.change(func(s *assessmentpb.AttemptState) {
		s.Revision, s.ExtraSeconds = 3, 300
		s.Notices = []*assessmentpb.AttemptNotice{{Number: 1, Kind: "message", Text: "Five minutes more."}}
	})
	for _, c := range []*websocket.Conn{c, other} {
		s, _ := read(t, c)["state"].(map[string]any)
		if s["extra_seconds"] != 300.0 || len(s["notices"].([]any)) != 1 { //nolint:forcetypeassert // fails the test
			t.Errorf("told: %v", s)
		}
	}
	conn.change(func(s *assessmentpb.AttemptState) { s.LastSeq = 9 })
	for _, c := range []*websocket.Conn{c, other} {
		s, _ := read(t, c)["state"].(map[string]any)
		if s["last_seq"] != 9.0 || len(s["notices"].([]any)) != 0 { //nolint:forcetypeassert // fails the test
			t.Errorf("told: %v", s)
		}
	}
	// The process stops: clients are told to come back.
	go e.CloseStreams()
	for _, c := range []*websocket.Conn{c, other} {
		if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("ended: %v", err)
		}
	}
	if _, status := open(t, url, conn.attempt, "Authorization", "Bearer good"); status != 101 {
		t.Errorf("opened when it stops: %d", status)
	}
}

// A frame is not read before the one before it is answered.
func TestStreamWaits(t *testing.T) {
	t.Parallel()
	_, conn, url := newExam(t)
	c, _ := open(t, url, conn.attempt, "Authorization", "Bearer good")
	read(t, c)
	var mu sync.Mutex
	running, most := 0, 0
	go1 := make(chan struct{})
	conn.mu.Lock()
	conn.append = func(*assessmentpb.AppendAnswersRequest) (*assessmentpb.AppendAnswersResponse, error) {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		<-go1
		mu.Lock()
		running--
		mu.Unlock()
		return &assessmentpb.AppendAnswersResponse{}, nil
	}
	conn.mu.Unlock()
	const n = 20
	for range n {
		send(t, c, `{"id":1,"append":{"client_id":"laptop-1"}}`)
	}
	close(go1)
	for range n {
		if f := read(t, c); f["appended"] == nil {
			t.Errorf("answered: %v", f)
		}
	}
	if most != 1 {
		t.Errorf("%d at once", most)
	}
}

func TestStreamEnds(t *testing.T) {
	t.Parallel()
	_, conn, url := newExam(t)
	ends := func(what string, want websocket.StatusCode, c *websocket.Conn) {
		t.Helper()
		for {
			_, _, err := c.Read(t.Context())
			if err == nil {
				continue
			}
			if websocket.CloseStatus(err) != want {
				t.Errorf("%s: %v, want %d", what, err, want)
			}
			return
		}
	}
	c, _ := open(t, url, conn.attempt, "Authorization", "Bearer good")
	if err := c.Write(t.Context(), websocket.MessageBinary, []byte("x")); err != nil {
		t.Fatal(err)
	}
	ends("binary", websocket.StatusUnsupportedData, c)
	c, _ = open(t, url, conn.attempt, "Authorization", "Bearer good")
	_ = c.Write(t.Context(), websocket.MessageText, make([]byte, maxBody+1))
	ends("too large", websocket.StatusMessageTooBig, c)
	// A session that is over is over within a second.
	c, _ = open(t, url, conn.attempt, "Authorization", "Bearer good")
	conn.mu.Lock()
	conn.ended = true
	conn.mu.Unlock()
	deadline := time.Now().Add(time.Minute)
	for c.Write(t.Context(), websocket.MessageText, []byte(`{"id":1,"append":{"client_id":"laptop-1"}}`)) == nil && time.Now().Before(deadline) {
		<-time.After(50 * time.Millisecond)
	}
	ends("signed out", statusSignedOut, c)
}

// FuzzFrame: a frame of a client is taken or refused, never more.
func FuzzFrame(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `{"id":1,"append":{"client_id":"laptop-1","operations":[{"client_seq":1,"kind":"answer","slot":1,"answer":{"choice":{"keys":["a"]}}}]}}`,
		`{"id":1e99}`, `{"id":"1","append":{"client_id":"laptop-1","sent_at":"2026-01-01T00:00:00Z","operations":[null]}}`, `{"id":1,"append":{"operations":[{"answer":{}}]}}`,
		"{\"id\":1,\"append\":{\"client_id\":\"laptop-1\",\"operations\":[{\"answer\":{\"text\":{\"text\":\"\\u0000\\ud800\"}}}]}}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := readFrame(data)
		if frame == nil {
			t.Fatal("no frame")
		}
		if err != nil {
			if !errors.As(err, new(*fault.Error)) {
				t.Fatalf("%q fails: %v", data, err)
			}
			return
		}
		if frame.GetId() < 1 || frame.GetAppend() == nil || len(frame.GetAppend().GetOperations()) > 500 {
			t.Fatalf("%q was taken: %v", data, frame)
		}
	})
}

// A notice that is newer than the state with which it came is told with the next.
func TestNoticeIsNotLost(t *testing.T) {
	t.Parallel()
	st := &stream{changed: make(chan *assessmentpb.AttemptState, 1), revision: 5}
	state := func(revision int64, numbers ...int32) *assessmentpb.AttemptState {
		s := &assessmentpb.AttemptState{Revision: revision}
		for _, n := range numbers {
			s.Notices = append(s.Notices, &assessmentpb.AttemptNotice{Number: n})
		}
		return s
	}
	told := func() (numbers []int32) {
		select {
		case s := <-st.changed:
			for _, n := range s.GetNotices() {
				numbers = append(numbers, n.GetNumber())
			}
		default:
		}
		return numbers
	}
	st.hear(state(5, 1))
	if got := told(); got != nil {
		t.Errorf("nothing is new: %v", got)
	}
	st.hear(state(6, 1))
	st.hear(state(7, 1, 2))
	if got := told(); !slices.Equal(got, []int32{1, 2}) {
		t.Errorf("told %v", got)
	}
}
