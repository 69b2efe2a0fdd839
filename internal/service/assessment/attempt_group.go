package assessment

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

const (
	// appendLanes is how many transactions append at once.
	appendLanes = 2
	// appendGroup is how many calls go into one of them.
	appendGroup = 64
	// appendPatience bounds one, whoever waits for it.
	appendPatience = 20 * time.Second
)

// appendCall is a batch that somebody has sent.
type appendCall struct {
	ctx     context.Context //nolint:containedctx // that of the call, which ends with it
	req     *assessmentpb.AppendAnswersRequest
	account string
	now     time.Time
	ops     []*sent
	proof   rpc.Proof // that a lock-down browser sent it
	address string

	res  *assessmentpb.AppendAnswersResponse
	err  error
	done chan struct{}
}

// appends has batches that come while others are being stored be stored together: a
// commit costs the disk the same for one answer as for a hundred. A batch that comes
// when nothing is being stored goes at once, so that nobody waits for company.
type appends struct {
	service *Service

	mu    sync.Mutex
	queue []*appendCall
	lanes int
}

// do stores a batch and answers once it is durable.
func (q *appends) do(c *appendCall) (*assessmentpb.AppendAnswersResponse, error) {
	c.done = make(chan struct{})
	q.mu.Lock()
	q.queue = append(q.queue, c)
	if q.lanes < appendLanes {
		q.lanes++
		go q.drain()
	}
	q.mu.Unlock()
	select {
	case <-c.done:
		return c.res, c.err
	case <-c.ctx.Done(): // it may be stored all the same, and comes again
		return nil, c.ctx.Err()
	}
}

// drain stores what waits, until nothing does.
func (q *appends) drain() {
	for {
		group := q.next()
		if group == nil {
			return
		}
		if len(group) == 0 { // whoever waited has gone
			continue
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(group[0].ctx), appendPatience)
		q.service.appendTogether(ctx, group)
		cancel()
	}
}

// next takes what can be stored together: at most one batch of an attempt. Nil ends
// the lane.
func (q *appends) next() []*appendCall {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		q.lanes--
		return nil
	}
	taken := map[string]bool{}
	var group []*appendCall
	rest := q.queue[:0]
	for _, c := range q.queue {
		if c.err = c.ctx.Err(); c.err != nil { // nobody waits for it
			close(c.done)
			continue
		}
		if taken[c.req.GetAttemptId()] || len(group) == appendGroup {
			rest = append(rest, c)
			continue
		}
		taken[c.req.GetAttemptId()] = true
		group = append(group, c)
	}
	clear(q.queue[len(rest):])
	q.queue = rest
	if group == nil {
		group = []*appendCall{}
	}
	return group
}

// appendTogether stores batches of different attempts in one transaction. Those whose
// attempt somebody else holds are stored alone, and so are all where the transaction
// fails of one of them.
func (s *Service) appendTogether(ctx context.Context, group []*appendCall) {
	var busy []*appendCall
	err := s.guarded(ctx, func(tx *pg.Tx) error {
		busy = nil
		tx.Exempt("the log of answers is its own record")
		held, err := lockFree(ctx, tx, group)
		if err != nil {
			return err
		}
		var batches []*batch
		for _, c := range group {
			a := held[c.req.GetAttemptId()]
			if a == nil || a.inTime(c.now) { // locked, or not there, or scored anew by it
				busy = append(busy, c)
				continue
			}
			b, err := s.appendTo(ctx, tx, a, c)
			if err != nil {
				return err
			}
			if b != nil {
				batches = append(batches, b)
			}
		}
		return storeAll(ctx, tx, batches)
	})
	if err != nil {
		busy = group
	}
	alone := map[*appendCall]bool{}
	for _, c := range busy {
		alone[c] = true
	}
	for _, c := range group {
		if !alone[c] {
			close(c.done)
		}
	}
	var wg sync.WaitGroup
	for _, c := range busy {
		if pg.Away(err) {
			c.res, c.err = nil, err
			close(c.done)
			continue
		}
		// A lane does not wait for what somebody holds.
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), appendPatience)
			defer cancel()
			s.appendAlone(ctx, c)
			close(c.done)
		})
	}
}

// appendAlone stores one batch, having waited for its attempt, and submits where it
// says so. What was in time for an attempt that the clock has ended meanwhile has it scored
// anew, with another receipt.
func (s *Service) appendAlone(ctx context.Context, c *appendCall) {
	unsigned := s.openSigner(ctx) // what needs no receipt is stored without
	c.err = s.guarded(ctx, func(tx *pg.Tx) error {
		tx.Exempt("the log of answers is its own record")
		a, err := lockAttempt(ctx, tx, c.req.GetAttemptId())
		if err != nil {
			return err
		}
		b, err := s.appendTo(ctx, tx, a, c)
		if err == nil && b != nil {
			err = storeAll(ctx, tx, []*batch{b})
		}
		if err == nil {
			err = c.err
		}
		switch {
		case err != nil || b == nil:
			return err
		case !a.running():
			if !slices.ContainsFunc(b.log, func(l *logged) bool { return counting(l.verdict) }) {
				return nil
			}
			if unsigned != nil {
				return unsigned
			}
			if _, err := s.scoreAnew(ctx, tx, a, 0); err != nil {
				return err
			}
			c.res.State, c.res.Revision = veiledState(a.State), a.Revision
			return nil
		case !b.finished:
			return nil
		case unsigned != nil:
			return unsigned
		}
		if _, err = s.submit(ctx, tx, a, a.AccountID, *a.SavedAt); err == nil {
			c.res.State, c.res.Revision = a.State, a.Revision
		}
		return err
	})
	if c.err != nil {
		c.res = nil
	}
}

// guarded runs fn in a transaction as [pg.DB.InTx] does, and makes an error of a panic:
// behind a call nobody else would, and it would end the process.
func (s *Service) guarded(ctx context.Context, fn func(tx *pg.Tx) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return s.db.InTx(ctx, fn)
}

// lockFree returns the attempts of calls, locked, but for those that somebody else
// holds.
func lockFree(ctx context.Context, tx *pg.Tx, group []*appendCall) (map[string]*attempt, error) {
	ids := make([]string, len(group))
	for i, c := range group {
		ids[i] = c.req.GetAttemptId()
	}
	rows, err := tx.Query(ctx, `SELECT `+attemptColumns+` FROM attempt WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED`, ids)
	if err != nil {
		return nil, fmt.Errorf("lock attempts: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanAttempt)
	if err != nil {
		return nil, fmt.Errorf("lock attempts: %w", err)
	}
	out := make(map[string]*attempt, len(list))
	for _, a := range list {
		out[a.ID] = a
	}
	return out, nil
}

// appendTo gives the operations of a call their verdicts, and returns what is to be
// stored of it; nil where nothing is. What the caller is told, a refusal too, is with
// the call; the error is of what fails for all.
func (s *Service) appendTo(ctx context.Context, tx *pg.Tx, a *attempt, c *appendCall) (*batch, error) {
	c.res, c.err = nil, a.owned(c.account)
	if c.err == nil && a.PausedAt != nil && a.running() && !a.closed(c.now) {
		c.err = ErrAttemptPaused
	}
	if c.err != nil {
		return nil, nil //nolint:nilnil,nilerr // nothing to store, and told
	}
	b := &batch{ctx: ctx, service: s, tx: tx, attempt: a, now: c.now, all: c.ops, known: map[int64]known{}, newest: map[string]int64{}}
	var err error
	if b.layout, err = s.layoutOf(ctx, tx, a); err != nil {
		return nil, err
	}
	if err := b.enter(c); err != nil {
		if !isFault(err) {
			return nil, err
		}
		c.err = err
		return nil, nil //nolint:nilnil // nothing to store, and told
	}
	if c.res, err = b.run(c.req); err != nil {
		if err != error(ErrAttemptFull) { //nolint:errorlint // the value itself
			return nil, err
		}
		c.res, c.err = nil, err
		return nil, nil //nolint:nilnil // nothing to store, and told
	}
	if len(b.log) == 0 {
		return nil, nil //nolint:nilnil // nothing to store
	}
	return b, nil
}

// storeAll appends to the logs of attempts, and notes with each what is in it.
func storeAll(ctx context.Context, tx *pg.Tx, batches []*batch) error {
	if len(batches) == 0 {
		return nil
	}
	var ids, clientIDs, kinds, verdicts, codes []string
	var seqs, clientSeqs []int64
	var slots, pages []int32
	var values [][]byte
	var times []*time.Time
	var received []time.Time
	var attempts, clients []string
	var lastSeqs []int64
	var savedAt []time.Time
	var openPages, uncounted, slotsLast []int32
	var answered, networks [][]byte
	var events []noted
	for _, b := range batches {
		a := b.attempt
		for _, o := range b.log {
			ids, clientIDs, kinds, verdicts, codes = append(ids, a.ID), append(clientIDs, b.client.ID), append(kinds, o.kind), append(verdicts, o.verdict), append(codes, o.code)
			seqs, clientSeqs, slots, pages = append(seqs, o.logSeq), append(clientSeqs, o.seq), append(slots, o.slot), append(pages, o.page)
			values, times, received = append(values, o.value), append(times, o.at), append(received, *a.SavedAt)
		}
		known, err := json.Marshal(a.Clients)
		if err != nil {
			return err
		}
		attempts, clients, lastSeqs, savedAt = append(attempts, a.ID), append(clients, string(known)), append(lastSeqs, a.LastSeq), append(savedAt, *a.SavedAt)
		openPages, uncounted = append(openPages, a.Page), append(uncounted, a.Uncounted)
		slotsLast, answered, networks = append(slotsLast, a.Slot), append(answered, a.Answered), append(networks, a.Network)
		events = append(events, b.noted...)
	}
	_, err := tx.Exec(ctx, `
		WITH appended AS (
			INSERT INTO answer_operation (attempt_id, seq, client_id, client_seq, slot, page, kind, value, client_time, received_at, verdict, code)
			SELECT o.attempt_id, o.seq, o.client_id, o.client_seq, o.slot, o.page, o.kind, o.value, o.client_time, o.received_at, o.verdict, o.code
			FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::int[], $6::int[], $7::text[], $8::bytea[], $9::timestamptz[], $10::timestamptz[], $11::text[], $12::text[])
				AS o (attempt_id, seq, client_id, client_seq, slot, page, kind, value, client_time, received_at, verdict, code)
		)
		UPDATE attempt a SET last_seq = n.last_seq, saved_at = n.saved_at, clients = n.clients::jsonb, page = n.page, uncounted = n.uncounted,
			slot = n.slot, answered = n.answered, network = n.network
		FROM unnest($13::text[], $14::bigint[], $15::timestamptz[], $16::text[], $17::int[], $18::int[], $19::int[], $20::bytea[], $21::bytea[])
			AS n (id, last_seq, saved_at, clients, page, uncounted, slot, answered, network)
		WHERE a.id = n.id`,
		ids, seqs, clientIDs, clientSeqs, slots, pages, kinds, values, times, received, verdicts, codes,
		attempts, lastSeqs, savedAt, clients, openPages, uncounted, slotsLast, answered, networks)
	if err != nil {
		return fmt.Errorf("append to the log: %w", err)
	}
	return batches[0].service.noteEvents(ctx, tx, events)
}
