package edge

import (
	"context"
	"errors"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// The stream of an attempt: answers in, acknowledgements and what changes out.
const (
	// maxStreams bounds the connections of a process.
	maxStreams = 20_000
	// watchEvery is how often it is asked how the attempts of all of them stand.
	watchEvery = time.Second
	// watchBatch is about how many it is asked at once.
	watchBatch = 1000
	// beatEvery is how often a connection is asked whether it is there, and who is at
	// its other end whether they still may.
	beatEvery = 20 * time.Second
	// streamPatience bounds how long a frame may take to be written, and a beat to be
	// answered.
	streamPatience = 15 * time.Second
)

// statusSignedOut ends a stream whose session is over.
const statusSignedOut websocket.StatusCode = 4401

// errAttemptHidden is told for what is not the caller's, as assessment does.
var errAttemptHidden = fault.New(fault.NotFound, "attempt.not_found", "There is no such attempt.")

// states asks how attempts stand.
type states interface {
	ListAttemptStates(ctx context.Context, req *assessmentpb.ListAttemptStatesRequest, opts ...grpc.CallOption) (*assessmentpb.ListAttemptStatesResponse, error)
}

// streams are the connections of this process. What changes attempts is done in any
// process, by the clock too; instead of a channel from all of them to here, it is
// asked once a second for all connections together, which costs two small queries for
// a thousand of them, and which loses nothing when something dies.
type streams struct {
	states states

	mu       sync.Mutex
	open     map[*stream]struct{}
	watching bool
	closing  bool
}

func newStreams(s states) *streams {
	return &streams{states: s, open: map[*stream]struct{}{}}
}

// stream is one connection.
type stream struct {
	edge    *Edge
	conn    *websocket.Conn
	request *http.Request // as it came, with what says who calls
	attempt string
	account string
	cancel  context.CancelFunc
	changed chan *assessmentpb.AttemptState // the newest that was not told yet

	mu       sync.Mutex
	revision int64
	notices  int32
	lastSeq  int64
}

// add registers a stream, and starts to watch where it is the first.
func (s *streams) add(st *stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || len(s.open) >= maxStreams {
		return &fault.Error{Kind: fault.Unavailable, Code: "stream.full", Message: "There are too many connections. Send answers without one, or come back.", Retry: 5 * time.Second}
	}
	s.open[st] = struct{}{}
	if !s.watching {
		s.watching = true
		go s.watch()
	}
	return nil
}

func (s *streams) remove(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, st)
}

// list returns the streams that are open.
func (s *streams) list() []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*stream, 0, len(s.open))
	for st := range s.open {
		out = append(out, st)
	}
	return out
}

// attempts returns the attempts that there are streams for.
func (s *streams) attempts() map[string]struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]struct{}, len(s.open))
	for st := range s.open {
		out[st.attempt] = struct{}{}
	}
	return out
}

// watch asks how attempts stand while there are streams.
func (s *streams) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for range tick.C {
		s.mu.Lock()
		s.watching = len(s.open) > 0
		on := s.watching
		s.mu.Unlock()
		if !on {
			return
		}
		s.look(context.Background())
	}
}

// look asks once, and tells each stream what is new to it. Who does not answer is
// asked again a second later.
func (s *streams) look(ctx context.Context) {
	list := s.list()
	for len(list) > 0 {
		some := list[:min(len(list), watchBatch)]
		list = list[len(some):]
		req := &assessmentpb.ListAttemptStatesRequest{}
		of := map[string][]*stream{}
		for _, st := range some {
			of[st.attempt] = append(of[st.attempt], st)
		}
		for _, of := range of {
			req.Attempts = append(req.Attempts, knownTo(of))
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		res, err := s.states.ListAttemptStates(ctx, req)
		cancel()
		if err != nil {
			return
		}
		for _, state := range res.GetItems() {
			for _, st := range of[state.GetAttemptId()] {
				st.hear(state)
			}
		}
	}
}

// closeAll ends all streams: the process stops. Clients come back elsewhere.
func (s *streams) closeAll() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, st := range s.list() {
		wg.Go(func() { _ = st.conn.Close(websocket.StatusGoingAway, "the server stops") })
	}
	wg.Wait()
}

// CloseStreams ends the connections that a shutdown of the server does not wait for.
func (e *Edge) CloseStreams() {
	e.streams.closeAll()
	e.presence.end()
}

// knownTo returns what all streams of an attempt know of it.
func knownTo(list []*stream) *assessmentpb.AttemptKnown {
	out := &assessmentpb.AttemptKnown{AttemptId: list[0].attempt, Revision: math.MaxInt64, Notices: math.MaxInt32}
	for _, st := range list {
		st.mu.Lock()
		out.Revision, out.Notices = min(out.GetRevision(), st.revision), min(out.GetNotices(), st.notices)
		st.mu.Unlock()
	}
	return out
}

// hear has the stream tell how its attempt stands, where that is new.
func (st *stream) hear(state *assessmentpb.AttemptState) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if state.GetRevision() <= st.revision && state.GetLastSeq() <= st.lastSeq {
		return // also of its notices: what is newer than the state comes with the next
	}
	st.revision, st.lastSeq = max(st.revision, state.GetRevision()), max(st.lastSeq, state.GetLastSeq())
	state = proto.CloneOf(state)
	kept := state.GetNotices()[:0]
	for _, n := range state.GetNotices() {
		if n.GetNumber() > st.notices {
			kept = append(kept, n)
			st.notices = n.GetNumber()
		}
	}
	state.Notices = kept
	// One that was not told yet is told with this one.
	select {
	case before := <-st.changed:
		state.Notices = append(before.GetNotices(), state.GetNotices()...)
	default:
	}
	st.changed <- state // there is room: nobody else fills it meanwhile
}

// noteOwn remembers what the client itself has sent, which is no news to it.
func (st *stream) noteOwn(res *assessmentpb.AppendAnswersResponse) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, v := range res.GetVerdicts() {
		if v.GetSeq() == st.lastSeq+1 {
			st.lastSeq = v.GetSeq()
		}
	}
}

// streamAttempt opens the stream of an attempt.
func (e *Edge) streamAttempt(w http.ResponseWriter, r *http.Request) {
	first, err := e.mayStream(r)
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	// A browser sends its cookie from every page: Accept refuses those that are not
	// ours by their Origin.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return // it has answered
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(maxBody)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	st := &stream{
		edge: e, conn: conn, request: r, attempt: first.GetAttemptId(), account: first.GetAccountId(), cancel: cancel,
		changed: make(chan *assessmentpb.AttemptState, 1),
	}
	if err := e.streams.add(st); err != nil {
		_ = conn.Close(websocket.StatusTryAgainLater, "too many connections")
		return
	}
	defer e.streams.remove(st)
	e.presence.start()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { st.tell(ctx, first) })
	st.listen(ctx)
}

// mayStream returns how an attempt of the caller stands, or why they may not stream.
func (e *Edge) mayStream(r *http.Request) (*assessmentpb.AttemptState, error) {
	p := auth.From(r.Context())
	for name := range r.URL.Query() {
		return nil, fault.InvalidField(name, "field.unknown", "There are no parameters.")
	}
	switch {
	case p.Account == "":
		return nil, auth.ErrUnauthenticated
	case !p.MayUse("me.write"):
		return nil, auth.ErrScope
	}
	ctx, cancel := context.WithTimeout(r.Context(), e.Timeout)
	defer cancel()
	req := &assessmentpb.ListAttemptStatesRequest{Attempts: []*assessmentpb.AttemptKnown{{AttemptId: r.PathValue("attempt_id")}}}
	res, err := e.attempts.ListAttemptStates(ctx, req)
	if err != nil {
		return nil, err
	}
	if len(res.GetItems()) == 0 || res.GetItems()[0].GetAccountId() != p.Account {
		return nil, errAttemptHidden
	}
	return res.GetItems()[0], nil
}

// tell writes what changes, and asks now and then whether anybody is there.
func (st *stream) tell(ctx context.Context, first *assessmentpb.AttemptState) {
	defer st.cancel()
	st.hear(first)
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case state := <-st.changed:
			state.AccountId = "" // they know
			if st.write(ctx, &assessmentpb.ServerFrame{Content: &assessmentpb.ServerFrame_State{State: state}}) != nil {
				return
			}
		case <-beat.C:
			if _, err := st.who(ctx); err != nil && !fault.Is(err, fault.Unavailable) {
				_ = st.conn.Close(statusSignedOut, "signed out")
				return
			}
			ctx, cancel := context.WithTimeout(ctx, streamPatience)
			err := st.conn.Ping(ctx)
			cancel()
			if err != nil {
				return
			}
		}
	}
}

// listen takes frames one after the other: the next is not read before this one is
// answered, so that who sends faster than is stored waits.
func (st *stream) listen(ctx context.Context) {
	for {
		kind, data, err := st.conn.Read(ctx)
		if err != nil {
			return
		}
		if kind != websocket.MessageText {
			_ = st.conn.Close(websocket.StatusUnsupportedData, "send text frames of JSON")
			return
		}
		frame, err := st.answer(ctx, data)
		if fault.Is(err, fault.Unauthenticated) {
			_ = st.conn.Close(statusSignedOut, "signed out")
			return
		}
		if err != nil {
			frame.Content = &assessmentpb.ServerFrame_Error{Error: st.frameError(ctx, err)}
		}
		if st.write(ctx, frame) != nil {
			return
		}
	}
}

// who returns a context in which the caller calls, as long as their session lasts.
func (st *stream) who(ctx context.Context) (context.Context, error) {
	p, err := st.edge.authenticate(ctx, discard{}, st.request)
	if err == nil && p.Account != st.account {
		err = auth.ErrUnauthenticated
	}
	return auth.With(ctx, p), err
}

// answer does what a frame asks for. What is wrong is told with the id of the frame,
// as far as that could be read.
func (st *stream) answer(ctx context.Context, data []byte) (*assessmentpb.ServerFrame, error) {
	out := &assessmentpb.ServerFrame{}
	frame, err := readFrame(data)
	out.Id = frame.GetId()
	if err != nil {
		return out, err
	}
	if err := st.edge.limit(ctx, st.request, st.edge.address(st.request)); err != nil {
		return out, err
	}
	ctx, cancel := context.WithTimeout(ctx, st.edge.Timeout)
	defer cancel()
	if ctx, err = st.who(ctx); err != nil {
		return out, err
	}
	req := frame.GetAppend()
	if req.GetAttemptId() != "" && req.GetAttemptId() != st.attempt {
		return out, fault.InvalidField("append.attempt_id", "stream.attempt", "This is the stream of another attempt.")
	}
	req.AttemptId = st.attempt
	res, err := st.edge.attempts.AppendAnswers(ctx, req)
	if err != nil {
		return out, err
	}
	st.noteOwn(res)
	out.Content = &assessmentpb.ServerFrame_Appended{Appended: res}
	return out, nil
}

// readFrame reads a frame of a client. It returns what it could read besides the
// error.
func readFrame(data []byte) (*assessmentpb.ClientFrame, error) {
	frame := &assessmentpb.ClientFrame{}
	if err := (codec{}).Unmarshal(data, frame); err != nil {
		return frame, jsonFault(err, data)
	}
	return frame, rpc.Check(frame)
}

// frameError tells an error as the same call over REST does.
func (st *stream) frameError(ctx context.Context, err error) *assessmentpb.FrameError {
	err = fault.FromStatus(err)
	e, ok := errors.AsType[*fault.Error](err)
	switch {
	case ok:
	case errors.Is(err, context.DeadlineExceeded):
		e = fault.New(fault.Unavailable, "deadline", "It took too long. Send it again.")
	default:
		st.edge.Log.ErrorContext(ctx, "frame failed", "attempt", st.attempt, "error", err.Error())
		e = fault.New(fault.Internal, "internal", "Something went wrong on our side.")
	}
	out := &assessmentpb.FrameError{
		Code: e.Code, Detail: e.Message, Status: int32(e.Kind.HTTPStatus()), RetryAfter: int32(min(math.Ceil(e.Retry.Seconds()), math.MaxInt32)), //nolint:gosec // G115: three digits
	}
	if len(e.Fields) > 0 {
		out.Field, out.Hint = e.Fields[0].Path, e.Fields[0].Hint
	}
	return out
}

func (st *stream) write(ctx context.Context, frame *assessmentpb.ServerFrame) error {
	text, err := codec{}.Marshal(frame)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, streamPatience)
	defer cancel()
	return st.conn.Write(ctx, websocket.MessageText, text)
}

// discard takes what can't be told any more once a connection is a stream.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}
