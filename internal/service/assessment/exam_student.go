package assessment

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

const (
	// maxWatching bounds the calls of this process that wait for changes; others are
	// answered at once.
	maxWatching = 200
	// watchBeat is how often who waits looks, at least.
	watchBeat = time.Second
	// watchShare is which part of the time looking may take of who waits: where many
	// take an exam it is looked less often.
	watchShare = 20
	// watchPause is how long it takes to answer who waits, so that what comes together is
	// told together.
	watchPause = 250 * time.Millisecond
	// changesPage is how many changes are told at once.
	changesPage = 100
	// oldestCursor is how many transactions a cursor may be old.
	oldestCursor = 1 << 30
)

// liveSQL is whether an attempt, as a, is connected: the process that holds the
// connection was heard of lately. $6 is since when.
const liveSQL = `EXISTS (SELECT FROM exam_connection c JOIN exam_edge e ON e.process_id = c.process_id WHERE c.attempt_id = a.id AND e.seen_at > $6)`

// standsSQL says which attempts, as a, stand so that a filter asks for.
var standsSQL = map[string]string{
	"running":      `a.state = 'in_progress' AND a.paused_at IS NULL`,
	"disconnected": `a.state = 'in_progress' AND a.paused_at IS NULL AND NOT ` + liveSQL,
	"held":         `a.state = 'in_progress' AND a.held`,
	"break":        `a.state = 'in_progress' AND a.paused_at IS NOT NULL AND NOT a.held`,
	"submitted":    `a.state IN ('submitted', 'graded', 'abandoned')`,
	"withheld":     `a.state <> 'in_progress' AND a.withheld`,
}

// begunSQL is of which attempts a student has begun, as a, the last.
const begunSQL = `a.course_id = $1 AND a.item_id = $2 AND a.state <> 'prepared' AND NOT a.preview`

// peopleSQL are the accounts of a page behind $3, at most $4, who stand as a filter asks
// for: each part of it goes through an index in the order of accounts, and stops.
func peopleSQL(filter string) string {
	const (
		enrolled = `(SELECT e.account_id FROM enrollment e WHERE e.course_id = $1 AND e.live AND e.account_id > $3`
		none     = ` AND NOT EXISTS (SELECT FROM attempt a WHERE a.account_id = e.account_id AND ` + begunSQL + `)`
		last     = ` AND NOT EXISTS (SELECT FROM attempt l WHERE l.item_id = a.item_id AND l.account_id = a.account_id AND l.number > a.number
			AND l.course_id = $1 AND l.state <> 'prepared' AND NOT l.preview)`
		end = ` ORDER BY account_id LIMIT $4)`
	)
	switch filter {
	case "":
		return enrolled + end + ` UNION (SELECT DISTINCT a.account_id FROM attempt a WHERE ` + begunSQL + ` AND a.account_id > $3` + end
	case "not_begun":
		return enrolled + none + end
	case "waiting":
		return `(SELECT s.account_id FROM exam_student s WHERE s.course_id = $1 AND s.item_id = $2 AND s.account_id > $3 AND s.waiting_since IS NOT NULL AND s.admitted_at IS NULL` + end
	default:
		return `(SELECT a.account_id FROM attempt a WHERE ` + begunSQL + ` AND a.account_id > $3 AND ` + standsSQL[filter] + last + end
	}
}

// studentsSQL is how the accounts of people stand, in one statement for a page. $5 is
// for who needs one more parameter.
func studentsSQL(people string) string {
	return `
	WITH people AS (SELECT account_id FROM (` + people + `) AS p ORDER BY account_id LIMIT $4), given AS (SELECT $5::text, $6::timestamptz)
	SELECT p.account_id, a.id, coalesce(a.number, 0), coalesce(a.state, ''), a.started_at, a.expires_at, a.closes_at, a.paused_at, coalesce(a.held, false),
		a.submitted_at, coalesce(a.submitted_by, ''), a.saved_at, a.answered, coalesce(q.questions, 0), coalesce(a.slot, 0), coalesce(a.page, 0),
		coalesce(extract(epoch FROM a.extra_time)::int, 0), coalesce(jsonb_array_length(a.clients), 0), coalesce(a.uncounted, 0), coalesce(a.withheld, false),
		coalesce(a.revision, 0), c.since, c.seen_at, coalesce(x.events, 0), coalesce(x.dropped, 0), x.last_event_at, x.heard_at,
		coalesce(x.verdict, ''), coalesce(x.verdict_source, ''), x.handed_over_at, s.waiting_since, s.admitted_at IS NOT NULL, s.excused_at IS NOT NULL, coalesce(s.refusals, 0)
	FROM people p
	LEFT JOIN LATERAL (SELECT * FROM attempt a WHERE a.account_id = p.account_id AND ` + begunSQL + ` ORDER BY a.item_id DESC, a.account_id DESC, a.number DESC LIMIT 1) a ON true
	LEFT JOIN LATERAL (SELECT q.slot AS questions FROM attempt_question q WHERE q.attempt_id = a.id ORDER BY q.attempt_id DESC, q.slot DESC LIMIT 1) q ON true
	LEFT JOIN LATERAL (
		SELECT min(c.since) FILTER (WHERE e.seen_at > $6) AS since, max(e.seen_at) AS seen_at
		FROM exam_connection c JOIN exam_edge e ON e.process_id = c.process_id WHERE c.attempt_id = a.id) c ON true
	LEFT JOIN exam_attempt x ON x.attempt_id = a.id
	LEFT JOIN exam_student s ON s.item_id = $2 AND s.account_id = p.account_id
	ORDER BY p.account_id`
}

// examStudents returns how people stand.
func (s *Service) examStudents(ctx context.Context, q pg.Querier, people, course, item, after string, size int, more string) ([]*assessmentpb.ExamStudent, error) {
	rows, err := q.Query(ctx, studentsSQL(people), course, item, after, size, more, s.time().Add(-connectionLease))
	if err != nil {
		return nil, fmt.Errorf("students of exam: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanExamStudent)
	if err != nil {
		return nil, fmt.Errorf("students of exam: %w", err)
	}
	return list, nil
}

func scanExamStudent(row pgx.CollectableRow) (*assessmentpb.ExamStudent, error) {
	var (
		out                                             assessmentpb.ExamStudent
		attemptID                                       *string
		state, by                                       string
		held                                            bool
		started, expires, closes, paused, submitted     *time.Time
		saved, since, seen, lastEvent, heard, handed, w *time.Time
		answered                                        []byte
	)
	err := row.Scan(&out.AccountId, &attemptID, &out.Number, &state, &started, &expires, &closes, &paused, &held,
		&submitted, &by, &saved, &answered, &out.Questions, &out.Slot, &out.Page,
		&out.ExtraSeconds, &out.Clients, &out.Uncounted, &out.Withheld,
		&out.Revision, &since, &seen, &out.Events, &out.EventsDropped, &lastEvent, &heard,
		&out.Verdict, &out.VerdictSource, &handed, &w, &out.Admitted, &out.Excused, &out.LockdownRefusals)
	if err != nil {
		return nil, err
	}
	out.State = stands(state, paused != nil, held, w != nil && !out.Admitted)
	if attemptID != nil {
		out.AttemptId = *attemptID
		a := attempt{AccountID: out.GetAccountId(), SubmittedBy: by}
		out.SubmittedBy = a.by()
	}
	out.StartedAt, out.ExpiresAt, out.ClosesAt, out.PausedAt, out.SubmittedAt = stamp(started), stamp(expires), stamp(closes), stamp(paused), stamp(submitted)
	out.Connected, out.ConnectedSince, out.SavedAt = since != nil, stamp(since), stamp(saved)
	out.HeardAt = stamp(latest(saved, seen, heard, started))
	out.Answered, out.LastEventAt, out.HandedOverAt = count(answered), stamp(lastEvent), stamp(handed)
	if !out.GetAdmitted() {
		out.WaitingSince = stamp(w)
	}
	return &out, nil
}

// stands says in a word how a student stands.
func stands(state string, paused, held, waiting bool) string {
	switch {
	case state == stateInProgress && held:
		return "held"
	case state == stateInProgress && paused:
		return "break"
	case state == stateInProgress:
		return "running"
	case state == stateAbandoned:
		return "abandoned"
	case state != "":
		return "submitted"
	case waiting:
		return "waiting"
	default:
		return "not_begun"
	}
}

// latest returns the latest of some times, nil of none.
func latest(list ...*time.Time) *time.Time {
	var out *time.Time
	for _, t := range list {
		if t != nil && (out == nil || t.After(*out)) {
			out = t
		}
	}
	return out
}

// examSummary counts how many stand how.
func (s *Service) examSummary(ctx context.Context, q pg.Querier, course, item string) (*assessmentpb.ExamSummary, error) {
	out := &assessmentpb.ExamSummary{}
	err := q.QueryRow(ctx, `
		WITH a AS (
			SELECT DISTINCT ON (account_id) id, account_id, state, paused_at, held, withheld FROM attempt a WHERE `+begunSQL+` ORDER BY account_id, number DESC
		), live AS (
			SELECT DISTINCT c.attempt_id FROM exam_edge e JOIN exam_connection c ON c.process_id = e.process_id WHERE e.seen_at > $3
		)
		SELECT count(*) FILTER (WHERE state = 'in_progress' AND paused_at IS NULL),
			count(*) FILTER (WHERE state = 'in_progress' AND paused_at IS NULL AND live.attempt_id IS NULL),
			count(*) FILTER (WHERE state = 'in_progress' AND held),
			count(*) FILTER (WHERE state = 'in_progress' AND paused_at IS NOT NULL AND NOT held),
			count(*) FILTER (WHERE state <> 'in_progress'),
			count(*) FILTER (WHERE state <> 'in_progress' AND withheld),
			(SELECT count(*) FROM enrollment e WHERE e.course_id = $1 AND e.live AND NOT EXISTS (SELECT FROM a WHERE a.account_id = e.account_id)),
			(SELECT count(*) FROM exam_student s WHERE s.course_id = $1 AND s.item_id = $2 AND s.waiting_since IS NOT NULL AND s.admitted_at IS NULL)
		FROM a LEFT JOIN live ON live.attempt_id = a.id`, course, item, s.time().Add(-connectionLease)).
		Scan(&out.Running, &out.Disconnected, &out.Held, &out.OnBreak, &out.Submitted, &out.Withheld, &out.NotBegun, &out.Waiting)
	if err != nil {
		return nil, fmt.Errorf("count students of exam: %w", err)
	}
	return out, nil
}

// ListExamStudents implements [assessmentpb.ExamServiceServer].
func (h *examServer) ListExamStudents(ctx context.Context, req *assessmentpb.ListExamStudentsRequest) (*assessmentpb.ListExamStudentsResponse, error) {
	s := h.service
	values, err := page.Values(req.GetCursor(), 1)
	if err != nil {
		return nil, err
	}
	after := ""
	if values != nil {
		after = values[0]
	}
	if err := examAt(ctx, s.db, req.GetCourseId(), req.GetItemId()); err != nil {
		return nil, err
	}
	low, _, err := horizon(ctx, s.db)
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	list, err := s.examStudents(ctx, s.db, peopleSQL(req.GetState()), req.GetCourseId(), req.GetItemId(), after, size+1, "")
	if err != nil {
		return nil, err
	}
	out := &assessmentpb.ListExamStudentsResponse{Items: list, ChangesCursor: page.Cursor(strconv.FormatUint(low, 10), "", ""), ServerTime: timestamppb.New(s.time())}
	if len(list) > size {
		out.Items = list[:size]
		out.NextCursor = page.Cursor(list[size-1].GetAccountId())
	}
	if req.GetSummary() {
		out.Summary, err = s.examSummary(ctx, s.db, req.GetCourseId(), req.GetItemId())
	}
	return out, err
}

// horizon returns the transaction from which on something may not be seen yet, and the
// next one. What has changed since is what was written by transactions from the first
// on, whenever these commit: nothing is missed, and nothing is written to know it.
func horizon(ctx context.Context, q pg.Querier) (low, high uint64, err error) {
	var l, h string
	err = q.QueryRow(ctx, `SELECT pg_snapshot_xmin(pg_current_snapshot())::text, pg_snapshot_xmax(pg_current_snapshot())::text`).Scan(&l, &h)
	if err == nil {
		low, err = strconv.ParseUint(l, 10, 64)
	}
	if err == nil {
		high, err = strconv.ParseUint(h, 10, 64)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("horizon: %w", err)
	}
	return low, high, nil
}

// sinceSQL is whether a row, as a table's name with a point, was written by the
// transaction $5 or a later one.
func sinceSQL(of string) string { return `age(` + of + `xmin) <= age($5::text::xid)` }

// changedSQL are the accounts of whom something has changed since.
var changedSQL = `
	SELECT a.account_id FROM attempt a WHERE ` + begunSQL + ` AND a.account_id > $3 AND ` + sinceSQL("a.") + `
	UNION SELECT x.account_id FROM exam_attempt x WHERE x.item_id = $2 AND x.account_id > $3 AND ` + sinceSQL("x.") + `
	UNION SELECT s.account_id FROM exam_student s WHERE s.course_id = $1 AND s.item_id = $2 AND s.account_id > $3 AND ` + sinceSQL("s.") + `
	UNION SELECT e.account_id FROM enrollment e WHERE e.course_id = $1 AND e.live AND e.account_id > $3 AND ` + sinceSQL("e.")

// errSince is told for a cursor of changes that is none.
var errSince = fault.InvalidField("since", "cursor.invalid", "Send next_cursor of the answer before as it is, or leave since out.")

// changesCursor is how far somebody knows an exam: all changes before since, and of
// those after it before next the ones up to an account.
type changesCursor struct {
	since, next uint64
	after       string
}

func (c changesCursor) text() string {
	if c.after == "" {
		return page.Cursor(strconv.FormatUint(c.since, 10), "", "")
	}
	return page.Cursor(strconv.FormatUint(c.since, 10), strconv.FormatUint(c.next, 10), c.after)
}

func readChangesCursor(text string) (changesCursor, error) {
	values, err := page.Values(text, 3)
	if err != nil {
		return changesCursor{}, errSince
	}
	var c changesCursor
	if c.since, err = strconv.ParseUint(values[0], 10, 63); err != nil {
		return c, errSince
	}
	if c.after = values[2]; c.after != "" {
		if c.next, err = strconv.ParseUint(values[1], 10, 63); err != nil {
			return c, errSince
		}
	}
	return c, nil
}

// ListExamChanges implements [assessmentpb.ExamServiceServer].
func (h *examServer) ListExamChanges(ctx context.Context, req *assessmentpb.ListExamChangesRequest) (*assessmentpb.ListExamChangesResponse, error) {
	s := h.service
	if err := examAt(ctx, s.db, req.GetCourseId(), req.GetItemId()); err != nil {
		return nil, err
	}
	out, err := h.changes(ctx, req)
	if err != nil {
		return nil, err
	}
	out.ServerTime = timestamppb.New(s.time())
	if req.GetSummary() {
		out.Summary, err = s.examSummary(ctx, s.db, req.GetCourseId(), req.GetItemId())
	}
	return out, err
}

// changes waits for changes as long as is asked for, and as there is room to wait.
func (h *examServer) changes(ctx context.Context, req *assessmentpb.ListExamChangesRequest) (*assessmentpb.ListExamChangesResponse, error) {
	s := h.service
	if req.GetSince() == "" {
		low, _, err := horizon(ctx, s.db)
		return &assessmentpb.ListExamChangesResponse{NextCursor: changesCursor{since: low}.text()}, err
	}
	c, err := readChangesCursor(req.GetSince())
	if err != nil {
		return nil, err
	}
	wait := time.Duration(req.GetWaitSeconds()) * time.Second
	if end, ok := ctx.Deadline(); ok { // whoever asks has to hear that there is nothing
		wait = min(wait, time.Until(end)-2*time.Second)
	}
	if wait > 0 && c.after == "" {
		select {
		case s.exams.watching <- struct{}{}:
			defer func() { <-s.exams.watching }()
			s.wait(ctx, nil, watchPause)
		default:
			wait = 0
		}
	}
	began := time.Now()
	for {
		look := time.Now()
		out, err := s.changesSince(ctx, req, c)
		if err != nil || out.GetReset_() || len(out.GetItems()) > 0 || c.after != "" {
			return out, err
		}
		next := max(watchBeat, watchShare*time.Since(look))
		if time.Since(began)+next > wait {
			return out, nil
		}
		s.wait(ctx, nil, next)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// changesSince looks once.
func (s *Service) changesSince(ctx context.Context, req *assessmentpb.ListExamChangesRequest, c changesCursor) (*assessmentpb.ListExamChangesResponse, error) {
	low, high, err := horizon(ctx, s.db)
	if err != nil {
		return nil, err
	}
	// A cursor of another database, or one that is too old to be compared.
	if c.since > high || high-c.since > oldestCursor || c.next > high {
		return &assessmentpb.ListExamChangesResponse{Reset_: true, NextCursor: changesCursor{since: low}.text()}, nil
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = changesPage
	}
	next := low
	if c.after != "" {
		next = c.next
	}
	since := strconv.FormatUint(c.since&0xffffffff, 10)
	list, err := s.examStudents(ctx, s.db, changedSQL, req.GetCourseId(), req.GetItemId(), c.after, size+1, since)
	if err != nil {
		return nil, err
	}
	out := &assessmentpb.ListExamChangesResponse{Items: list, NextCursor: changesCursor{since: next}.text()}
	if len(list) > size {
		out.Items, out.More = slices.Clip(list[:size]), true
		out.NextCursor = changesCursor{since: c.since, next: next, after: list[size-1].GetAccountId()}.text()
	}
	return out, nil
}
