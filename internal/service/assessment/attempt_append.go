package assessment

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// maxBatch bounds the operations that are sent at once, in bytes.
const maxBatch = 1 << 20

// AppendAnswers implements [assessmentpb.AttemptServiceServer].
func (h *attemptServer) AppendAnswers(ctx context.Context, req *assessmentpb.AppendAnswersRequest) (*assessmentpb.AppendAnswersResponse, error) {
	s := h.service
	if proto.Size(req) > maxBatch {
		return nil, ErrBatchTooLarge
	}
	// What counts is when it has come, not when its turn was.
	c := &appendCall{
		ctx: ctx, req: req, account: auth.From(ctx).Account, now: s.time(), ops: make([]*sent, len(req.GetOperations())),
		proof: rpc.ProofOf(ctx), address: rpc.Address(ctx),
	}
	for i, op := range req.GetOperations() {
		c.ops[i] = readOperation(op, i)
	}
	if slices.ContainsFunc(c.ops, func(o *sent) bool { return o.kind == opFinish }) {
		s.appendAlone(ctx, c)
		return c.res, s.noteRefused(ctx, req.GetAttemptId(), c.err)
	}
	res, err := s.appends.do(c)
	return res, s.noteRefused(ctx, req.GetAttemptId(), err)
}

// closed reports whether the time is over, also where nobody has submitted yet.
func (a *attempt) closed(now time.Time) bool { return a.ClosesAt != nil && now.After(*a.ClosesAt) }

// inTime reports whether what came at a moment was in time for an attempt that the clock has
// ended meanwhile: it had to wait for its turn, as many do at the end of an exam.
func (a *attempt) inTime(came time.Time) bool {
	ended := a.State == stateSubmitted || a.State == stateGraded
	return ended && a.SubmittedBy == byClock && a.ClosesAt != nil && !a.closed(came)
}

// batch is what one client has sent at once, while the attempt is locked.
type batch struct {
	ctx     context.Context //nolint:containedctx // that of the call, which is all that a batch lives for
	service *Service
	tx      *pg.Tx
	attempt *attempt
	layout  *layout
	now     time.Time
	client  client
	all     []*sent // as they were sent
	known   map[int64]known
	newest  map[string]int64     // by strand, the highest number of the client that counts
	states  map[int32]*slotState // of questions that are checked
	log     []*logged            // what is appended
	told    []*assessmentpb.OperationVerdict

	noted    []noted // of an exam
	review   *assessmentpb.ReviewParts
	finished bool // an operation has submitted the attempt
}

// known is an operation of this client that is in the log already.
type known struct {
	Seq        int64
	ClientSeq  int64
	Kind       string
	Slot       int32
	Digest     [32]byte // where it was read from the log
	sent       *sent    // where it came in this batch
	Verdict    string
	Code       string
	ReceivedAt time.Time
}

// logged is an operation in the log.
type logged struct {
	*sent

	logSeq int64
}

func (b *batch) run(req *assessmentpb.AppendAnswersRequest) (*assessmentpb.AppendAnswersResponse, error) {
	a := b.attempt
	var place int
	b.client, place = a.client(req.GetClientId())
	if place < 0 && len(a.Clients) >= maxClients {
		return nil, ErrAttemptFull
	}
	// The log is in the order of arrival, which does not go back.
	received := b.now
	if a.SavedAt != nil && received.Before(*a.SavedAt) {
		received = *a.SavedAt
	}
	b.told = make([]*assessmentpb.OperationVerdict, len(b.all))
	order, err := b.inOrder()
	if err != nil {
		return nil, err
	}
	if err := b.lookUp(order); err != nil {
		return nil, err
	}
	if err := b.readStates(order); err != nil {
		return nil, err
	}
	for _, o := range order {
		if err := b.take(o, received); err != nil {
			return nil, err
		}
	}
	if a.LastSeq > maxOperations || len(b.client.Missing) > maxGaps {
		return nil, ErrAttemptFull
	}
	b.client.SeenAt = received
	if req.GetSentAt().IsValid() && req.GetSentAt() != nil {
		b.client.Offset = req.GetSentAt().AsTime().Sub(b.now).Milliseconds()
	}
	if err := b.replaced(); err != nil {
		return nil, err
	}
	if len(b.log) > 0 {
		b.keep(place, received)
	}
	return b.response(received), nil
}

// inOrder returns the operations that may be taken in the order of the client's
// numbers, having told those that can't.
func (b *batch) inOrder() ([]*sent, error) {
	order := make([]*sent, 0, len(b.all))
	for _, o := range b.all {
		if err := o.fits(b); err != nil {
			return nil, err
		}
		if o.verdict == invalid {
			b.tell(o, invalid, o.code, o.hint)
			continue
		}
		order = append(order, o)
	}
	slices.SortStableFunc(order, func(x, y *sent) int { return int(x.seq - y.seq) })
	return order, nil
}

// lookUp reads what of the client is in the log at and behind the numbers that come
// out of order. In order there is nothing to read.
func (b *batch) lookUp(order []*sent) error {
	if len(order) == 0 || order[0].seq > b.client.Last {
		return nil
	}
	rows, err := b.tx.Query(b.ctx, `
		SELECT seq, client_seq, kind, slot, sha256(convert_to(kind || ' ' || slot || ' ' || page || ' ', 'UTF8') || coalesce(value, '')), verdict, code, received_at
		FROM answer_operation WHERE attempt_id = $1 AND client_id = $2 AND client_seq >= $3`, b.attempt.ID, b.client.ID, order[0].seq)
	if err != nil {
		return fmt.Errorf("read operations: %w", err)
	}
	var k known
	var sum []byte
	_, err = pgx.ForEachRow(rows, []any{&k.Seq, &k.ClientSeq, &k.Kind, &k.Slot, &sum, &k.Verdict, &k.Code, &k.ReceivedAt}, func() error {
		k.Digest = [32]byte(sum)
		b.note(k)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read operations: %w", err)
	}
	return nil
}

// note remembers an operation that is in the log.
func (b *batch) note(k known) {
	b.known[k.ClientSeq] = k
	if counting(k.Verdict) {
		strand := strandOf(k.Kind, k.Slot)
		b.newest[strand] = max(b.newest[strand], k.ClientSeq)
	}
}

// is reports whether an operation is the one that has its number already.
func (k *known) is(o *sent) bool {
	if k.sent != nil {
		return k.sent.same(o)
	}
	return digest(o.kind, o.slot, o.page, o.value) == k.Digest
}

// take gives an operation its verdict, and its place in the log where it has one.
func (b *batch) take(o *sent, received time.Time) error {
	a := b.attempt
	if k, ok := b.known[o.seq]; ok {
		if !k.is(o) {
			b.tell(o, conflict, "operation.conflict", "Another operation has this number. Give it a new one.")
			return nil
		}
		v := b.tell(o, k.Verdict, k.Code, hints[k.Code])
		v.Seq, v.ReceivedAt, v.Repeated = k.Seq, timestamppb.New(k.ReceivedAt), true
		return b.outcome(o, v)
	}
	if o.stateful() && !b.client.complete(o.seq) {
		b.tell(o, missing, "operation.missing", "Send the operations before it first.")
		return nil
	}
	verdict, code := b.judge(o)
	a.LastSeq++
	b.client.take(o.seq)
	o.verdict, o.code = verdict, code
	b.log = append(b.log, &logged{o, a.LastSeq})
	b.note(known{Seq: a.LastSeq, ClientSeq: o.seq, Kind: o.kind, Slot: o.slot, sent: o, Verdict: verdict, Code: code, ReceivedAt: received})
	if !counting(verdict) && verdict != overtaken {
		a.Uncounted++
	}
	v := b.tell(o, verdict, code, hints[code])
	v.Seq, v.ReceivedAt = a.LastSeq, timestamppb.New(received)
	if !counting(verdict) {
		return nil
	}
	if o.slot > 0 {
		a.Slot = o.slot
	}
	switch o.kind {
	case opAnswer:
		a.answer(o.slot, o.op.GetAnswer().GetCleared() == nil)
	case opPage:
		a.Page = o.page
	case opFinish:
		b.finished = true
	}
	return b.outcome(o, v)
}

// hints are what is told with the codes of operations that don't count.
var hints = map[string]string{
	"operation.too_late":  "The time was over. What was sent is kept, and does not count unless staff accept it.",
	"operation.submitted": "The attempt was submitted already. What was sent is kept, and does not count unless staff accept it.",
	"operation.overtaken": "A newer answer of yours has come before it.",
	"operation.closed":    "This page was left already. What was sent is kept, and does not count unless staff accept it.",
	"operation.not_open":  "This page is not open yet.",
	"operation.page":      "Pages are gone through one after the other.",
	"operation.checked":   "This question was checked already, or has no tries left.",
	"operation.unchecked": "There is nothing to check.",
}

// judge says what becomes of an operation that is new.
func (b *batch) judge(o *sent) (verdict, code string) {
	a := b.attempt
	switch {
	case !a.running() && !a.inTime(b.now) || b.finished:
		if a.State == stateAbandoned {
			return tooLate, "operation.too_late"
		}
		return tooLate, "operation.submitted"
	case a.closed(b.now):
		return tooLate, "operation.too_late"
	}
	if code := b.shut(o); code != "" {
		return refused, code
	}
	if !o.stateful() && b.newest[o.strand()] > o.seq {
		return overtaken, "operation.overtaken"
	}
	if st := b.states[o.slot]; st != nil && o.kind != opFlag && o.kind != opUnflag && !st.take(o) {
		if o.kind == opAnswer || st.state.Ended() {
			return refused, "operation.checked"
		}
		return refused, "operation.unchecked"
	}
	if a.ExpiresAt != nil && b.now.After(*a.ExpiresAt) {
		return late, ""
	}
	return accepted, ""
}

// shut says why the part that an operation is for is closed; empty where it is open.
func (b *batch) shut(o *sent) string {
	if !b.layout.sequential() {
		return ""
	}
	if o.kind == opPage {
		if o.page != b.attempt.Page+1 || o.page >= b.layout.pages {
			return "operation.page"
		}
		return ""
	}
	sl := b.layout.slot(o.slot)
	switch {
	case sl == nil || o.kind == opFlag || o.kind == opUnflag || sl.Page == b.attempt.Page:
		return ""
	case sl.Page < b.attempt.Page:
		return "operation.closed"
	default:
		return "operation.not_open"
	}
}

func (b *batch) tell(o *sent, verdict, code, hint string) *assessmentpb.OperationVerdict {
	v := &assessmentpb.OperationVerdict{ClientSeq: o.seq, Verdict: verdict, Code: code, Hint: hint}
	b.told[o.place] = v
	return v
}

// keep notes with the attempt what of the client is in the log.
func (b *batch) keep(place int, received time.Time) {
	a := b.attempt
	if place < 0 {
		if len(a.Clients) > 0 && b.exam() != nil {
			b.noted = append(b.noted, noteOf(a, eventClientJoined, noted{clientID: b.client.ID}))
		}
		a.Clients = append(a.Clients, b.client)
	} else {
		a.Clients[place] = b.client
	}
	a.SavedAt = &received
}

func (b *batch) response(received time.Time) *assessmentpb.AppendAnswersResponse {
	a := b.attempt
	res := &assessmentpb.AppendAnswersResponse{
		Verdicts: b.told, Client: b.client.message(), ServerTime: timestamppb.New(received),
		State: veiledState(a.State), ExpiresAt: stamp(a.ExpiresAt), Revision: a.Revision, Page: a.Page,
	}
	for _, c := range a.Clients {
		if c.ID != b.client.ID {
			res.Others = append(res.Others, c.message())
		}
	}
	return res
}

// stamp returns a time as messages have it; nil for none.
func stamp(at *time.Time) *timestamppb.Timestamp {
	if at == nil {
		return nil
	}
	return timestamppb.New(*at)
}
