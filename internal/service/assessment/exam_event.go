package assessment

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// Who has noted an event.
const (
	sourceClient  = "client"
	sourceServer  = "server"
	sourceService = "service"
)

// What the server notes by itself.
const (
	eventClientJoined    = "client_joined"
	eventAddressChanged  = "address_changed"
	eventLockdownRefused = "lockdown_refused"
)

const (
	// maxReported bounds the events of an attempt that its clients report.
	maxReported = 2000
	// reportBurst is how many they may report at once, and reportEvery how often one more.
	reportBurst = 200
	reportEvery = time.Second
	// reportAfter is how long after its end an attempt takes events that waited.
	reportAfter = time.Hour
	// eventsKept is how long events are kept.
	eventsKept = 365 * 24 * time.Hour
	// sweepBatch is how many are deleted at a time.
	sweepBatch = 1000
)

// watchedBy says by which setting of an exam a client's events are watched.
var watchedBy = map[string]string{
	"focus_lost": "focus", "focus_gained": "focus", "paste": "paste", "copy": "copy", "fullscreen_left": "fullscreen", "connection_lost": "connection",
	"second_screen": "screen", "device_changed": "device", "address_changed": "address",
}

// noted is an event that is to be noted.
type noted struct {
	attempt, account, course, item string

	source    string
	kind      string
	clientID  string
	clientSeq int64
	slot      int32
	duration  int32 // milliseconds
	size      int32
	detail    string
	happened  *time.Time
}

// noteOf makes an event of the server at an attempt.
func noteOf(a *attempt, kind string, n noted) noted {
	n.attempt, n.account, n.course, n.item, n.source, n.kind = a.ID, a.AccountID, a.CourseID, a.ItemID, sourceServer, kind
	return n
}

// noteEvents notes events, with numbers that follow those there are, in one statement.
func (s *Service) noteEvents(ctx context.Context, tx *pg.Tx, list []noted) error {
	if len(list) == 0 {
		return nil
	}
	n := len(list)
	attempts, accounts, courses, items := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	sources, kinds, clients, details := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	seqs, slots, durations, sizes, happened := make([]int64, n), make([]int32, n), make([]int32, n), make([]int32, n), make([]*time.Time, n)
	for i, e := range list {
		attempts[i], accounts[i], courses[i], items[i] = e.attempt, e.account, e.course, e.item
		sources[i], kinds[i], clients[i], details[i] = e.source, e.kind, e.clientID, e.detail
		seqs[i], slots[i], durations[i], sizes[i], happened[i] = e.clientSeq, e.slot, e.duration, e.size, e.happened
	}
	_, err := tx.Exec(ctx, `
		WITH n AS (
			SELECT *, row_number() OVER (PARTITION BY attempt_id ORDER BY place) AS k, count(*) OVER (PARTITION BY attempt_id) AS of
			FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::int[], $10::int[], $11::int[], $12::text[], $13::timestamptz[])
				WITH ORDINALITY AS n (attempt_id, account_id, course_id, item_id, source, kind, client_id, client_seq, slot, duration_ms, size, detail, happened_at, place)
		), counted AS (
			INSERT INTO exam_attempt AS x (attempt_id, item_id, account_id, events, reported, last_event_at)
			SELECT attempt_id, min(item_id), min(account_id), count(*), count(*) FILTER (WHERE source = 'client'), $14 FROM n GROUP BY attempt_id ORDER BY attempt_id
			ON CONFLICT ON CONSTRAINT exam_attempt_pkey DO UPDATE SET
				events = x.events + EXCLUDED.events, reported = x.reported + EXCLUDED.reported, last_event_at = EXCLUDED.last_event_at
			RETURNING attempt_id, events
		)
		INSERT INTO exam_event (attempt_id, number, course_id, item_id, source, kind, client_id, client_seq, slot, duration_ms, size, detail, happened_at, noted_at)
		SELECT n.attempt_id, c.events - n.of + n.k, n.course_id, n.item_id, n.source, n.kind, n.client_id, n.client_seq, n.slot, n.duration_ms, n.size, n.detail, n.happened_at, $14
		FROM n JOIN counted c ON c.attempt_id = n.attempt_id ORDER BY n.attempt_id, n.k`,
		attempts, accounts, courses, items, sources, kinds, clients, seqs, slots, durations, sizes, details, happened, s.time())
	if err != nil {
		return fmt.Errorf("note events: %w", err)
	}
	return nil
}

// ReportExamEvents implements [assessmentpb.ExamServiceServer].
func (h *examServer) ReportExamEvents(ctx context.Context, req *assessmentpb.ReportExamEventsRequest) (*assessmentpb.ReportExamEventsResponse, error) {
	s := h.service
	a, err := readAttempt(ctx, s.db, req.GetAttemptId())
	if err == nil {
		err = a.owned(auth.From(ctx).Account)
	}
	if err != nil {
		return nil, err
	}
	now := s.time()
	if !a.running() && now.Sub(endOf(a)) > reportAfter {
		return nil, ErrAttemptOver
	}
	exam, err := s.examOf(ctx, s.db, a)
	if err != nil {
		return nil, err
	}
	out := &assessmentpb.ReportExamEventsResponse{ServerTime: timestamppb.New(now)}
	watched := map[string]bool{}
	for _, w := range exam.GetWatch() {
		watched[w] = true
	}
	var list []noted
	seen := map[int64]bool{}
	for i, e := range req.GetEvents() {
		switch {
		case e.GetAt() != nil && !e.GetAt().IsValid():
			return nil, fault.InvalidField("events["+strconv.Itoa(i)+"].at", "field.type", "Send a time.")
		case seen[e.GetClientSeq()]:
			return nil, fault.InvalidField("events["+strconv.Itoa(i)+"].client_seq", "field.repeated", "Give each event a number of its own.")
		}
		seen[e.GetClientSeq()] = true
		if !watched[watchedBy[e.GetKind()]] {
			out.Unwatched++
			continue
		}
		one := noteOf(a, e.GetKind(), noted{clientID: req.GetClientId(), clientSeq: e.GetClientSeq(), slot: e.GetSlot(), duration: e.GetDurationMs(), size: e.GetSize()})
		one.source = sourceClient
		if e.GetAt() != nil {
			one.happened = new(e.GetAt().AsTime().Truncate(time.Microsecond))
		}
		list = append(list, one)
	}
	if len(list) == 0 {
		return out, nil
	}
	return out, s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("what was noted is its own record")
		out.Kept, out.Repeated, out.Dropped = 0, 0, 0
		return s.keepReported(ctx, tx, a, list, now, out)
	})
}

// keepReported notes those of the events of a client that are not there yet, as far as
// there is room.
func (s *Service) keepReported(ctx context.Context, tx *pg.Tx, a *attempt, list []noted, now time.Time, out *assessmentpb.ReportExamEventsResponse) error {
	var reported, dropped int
	var tokens float64
	var at *time.Time
	// Who comes second waits here, and sees what the first has noted.
	if err := tx.QueryRow(ctx, `
		INSERT INTO exam_attempt AS x (attempt_id, item_id, account_id, tokens, tokens_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT ON CONSTRAINT exam_attempt_pkey DO UPDATE SET item_id = x.item_id
		RETURNING reported, dropped, CASE WHEN tokens_at IS NULL THEN $4 ELSE tokens END, tokens_at`,
		a.ID, a.ItemID, a.AccountID, float64(reportBurst), now).Scan(&reported, &dropped, &tokens, &at); err != nil {
		return fmt.Errorf("lock events: %w", err)
	}
	seqs := make([]int64, len(list))
	for i, e := range list {
		seqs[i] = e.clientSeq
	}
	rows, err := tx.Query(ctx, `
		SELECT client_seq FROM exam_event WHERE attempt_id = $1 AND source = 'client' AND client_id = $2 AND client_seq = ANY ($3)`, a.ID, list[0].clientID, seqs)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	have := map[int64]bool{}
	var seq int64
	if _, err := pgx.ForEachRow(rows, []any{&seq}, func() error { have[seq] = true; return nil }); err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	var fresh []noted
	for _, e := range list {
		if !have[e.clientSeq] {
			fresh = append(fresh, e)
		}
	}
	out.Repeated = int32(len(list) - len(fresh)) //nolint:gosec // G115: at most 100
	if at != nil && now.After(*at) {
		tokens = math.Min(reportBurst, tokens+now.Sub(*at).Seconds()/reportEvery.Seconds())
	}
	if float64(len(fresh)) > tokens {
		lacking := time.Duration((float64(len(fresh)) - tokens) * float64(reportEvery))
		return &fault.Error{Kind: ErrExamEventsRate.Kind, Code: ErrExamEventsRate.Code, Message: ErrExamEventsRate.Message, Retry: lacking + time.Second}
	}
	tokens -= float64(len(fresh))
	room := min(max(maxReported-reported, 0), len(fresh))
	out.Kept, out.Dropped = int32(room), int32(len(fresh)-room) //nolint:gosec // G115: at most 100
	if _, err := tx.Exec(ctx, `UPDATE exam_attempt SET tokens = $2, tokens_at = $3, dropped = $4 WHERE attempt_id = $1`, a.ID, tokens, now, dropped+len(fresh)-room); err != nil {
		return fmt.Errorf("count events: %w", err)
	}
	return s.noteEvents(ctx, tx, fresh[:room])
}

// ListExamEvents implements [assessmentpb.ExamServiceServer].
func (h *examServer) ListExamEvents(ctx context.Context, req *assessmentpb.ListExamEventsRequest) (*assessmentpb.ListExamEventsResponse, error) {
	values, err := page.Values(req.GetCursor(), 3)
	if err != nil {
		return nil, err
	}
	before, beforeID, beforeNumber := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), "", int64(0)
	if values != nil {
		micros, err := strconv.ParseInt(values[0], 10, 53)
		if err != nil {
			return nil, page.ErrCursor
		}
		if beforeNumber, err = strconv.ParseInt(values[2], 10, 32); err != nil {
			return nil, page.ErrCursor
		}
		before, beforeID = time.UnixMicro(micros).UTC(), values[1]
	}
	size := page.Size(req.GetPageSize())
	rows, err := h.service.db.Query(ctx, `
		SELECT attempt_id, number, source, kind, client_id, client_seq, slot, duration_ms, size, detail, happened_at, noted_at FROM exam_event
		WHERE course_id = $1 AND item_id = $2 AND ($3 = '' OR attempt_id = $3) AND (noted_at, attempt_id, number) < ($4, $5, $6)
		ORDER BY noted_at DESC, attempt_id DESC, number DESC LIMIT $7`,
		req.GetCourseId(), req.GetItemId(), req.GetAttemptId(), before, beforeID, beforeNumber, size+1)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.ExamEvent, error) {
		var e assessmentpb.ExamEvent
		var happened *time.Time
		var at time.Time
		err := row.Scan(&e.AttemptId, &e.Number, &e.Source, &e.Kind, &e.ClientId, &e.ClientSeq, &e.Slot, &e.DurationMs, &e.Size, &e.Detail, &happened, &at)
		e.HappenedAt, e.NotedAt = stamp(happened), timestamppb.New(at)
		return &e, err
	})
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	out := &assessmentpb.ListExamEventsResponse{Items: list}
	if len(list) > size {
		out.Items = list[:size]
		last := list[size-1]
		out.NextCursor = page.Cursor(strconv.FormatInt(last.GetNotedAt().AsTime().UnixMicro(), 10), last.GetAttemptId(), strconv.Itoa(int(last.GetNumber())))
	}
	return out, nil
}

// forgetEvents deletes events that are old, and reports whether there may be more.
func (s *Service) forgetEvents(ctx context.Context) (bool, error) {
	var n int64
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("kept no longer than is said")
		tag, err := tx.Exec(ctx, `
			DELETE FROM exam_event WHERE (attempt_id, number) IN (
				SELECT attempt_id, number FROM exam_event WHERE noted_at < $1 ORDER BY noted_at LIMIT $2 FOR UPDATE SKIP LOCKED)`, s.time().Add(-eventsKept), sweepBatch)
		n = tag.RowsAffected()
		return err
	})
	if err != nil {
		return false, fmt.Errorf("forget events: %w", err)
	}
	return n == sweepBatch, nil
}
