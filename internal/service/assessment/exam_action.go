package assessment

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

const (
	// reopenWithin is how long after its end an attempt can go on.
	reopenWithin = 24 * time.Hour
	// leastLeft is what taking time back leaves an attempt at least.
	leastLeft = time.Minute
)

// expiryWith is [expirySQL] with other values in place of columns.
func expiryWith(columns ...string) string { return strings.NewReplacer(columns...).Replace(expirySQL) }

// limitSQL and windowSQL are the two ends of which [expirySQL] is the earlier.
var (
	limitSQL  = `started_at + LEAST(time_limit, open_until - started_at) * (time_percent / 100.0) + extra_time + paused_time`
	windowSQL = `CASE WHEN time_limit IS NULL THEN open_until ELSE GREATEST(started_at + LEAST(time_limit, open_until - started_at) * (time_percent / 100.0), open_until) END + beyond_time`
)

// graceSQL is how long behind its end what comes late counts.
const graceSQL = `CASE WHEN overtime <> 'submit' THEN grace ELSE '0' END`

// storeAction keeps what was done.
func (s *Service) storeAction(ctx context.Context, tx *pg.Tx, a *assessmentpb.ExamAction, do action, done []target) error {
	if _, err := tx.Exec(ctx, `
		INSERT INTO exam_action (id, course_id, item_id, kind, everybody, attempts, seconds, beyond, reason, account_id, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		a.GetId(), a.GetCourseId(), a.GetItemId(), a.GetKind(), a.GetEverybody(), a.GetAttempts(), a.GetSeconds(), a.GetBeyondWindow(), a.GetReason(),
		a.GetAccountId(), a.GetCreatedAt().AsTime()); err != nil {
		return fmt.Errorf("store action: %w", err)
	}
	events := make([]noted, len(done))
	for i, t := range done {
		events[i] = noted{attempt: t.ID, account: t.AccountID, course: a.GetCourseId(), item: a.GetItemId(), source: sourceServer, kind: do.event, size: do.seconds}
	}
	if err := s.noteEvents(ctx, tx, events); err != nil {
		return err
	}
	if do.then == nil {
		return nil
	}
	return do.then(tx, a.GetId(), done)
}

// recordAction writes what was done into the audit log: one entry for all that it was
// done to, about a person where it is one.
func (s *Service) recordAction(ctx context.Context, tx *pg.Tx, a *assessmentpb.ExamAction, do action, done []target) error {
	after := map[string]any{"action": a.GetId(), "attempts": a.GetAttempts(), "everybody": a.GetEverybody()}
	if do.seconds != 0 {
		after["seconds"], after["beyond_window"] = do.seconds, do.beyond
	}
	e := audit.Entry{Action: do.audit, Object: a.GetItemId(), Course: a.GetCourseId(), After: after}
	if do.kind != "tell" { // what students are told is kept, and no reason
		e.Reason = do.reason
	}
	if len(done) == 1 {
		e.Object, e.Person = done[0].ID, done[0].AccountID
	}
	return audit.Record(ctx, tx, e)
}

// GiveTime implements [assessmentpb.ExamServiceServer].
func (h *examServer) GiveTime(ctx context.Context, req *assessmentpb.GiveTimeRequest) (*assessmentpb.ExamAction, error) {
	more, beyond := time.Duration(req.GetMinutes())*time.Minute, time.Duration(0)
	if req.GetBeyondWindow() {
		beyond = more
	}
	ends := expiryWith("extra_time", "(extra_time + $6)", "beyond_time", "(beyond_time + $7)")
	do := action{
		kind: "time", reason: req.GetReason(), seconds: req.GetMinutes() * 60, beyond: req.GetBeyondWindow(),
		notice: "time", message: req.GetMessage(), event: "time_given", audit: "exam.time_given",
		set: `extra_time = extra_time + $6, beyond_time = beyond_time + $7, left_at_pause = left_at_pause + $6,
			expires_at = CASE WHEN paused_at IS NULL THEN ` + ends + ` ELSE expires_at + $7 END,
			grace_until = CASE WHEN paused_at IS NULL AND overtime <> 'submit' AND grace > '0' THEN ` + ends + ` + grace END`,
		// Whose time would be over all the same is ended by the clock.
		where: `paused_at IS NOT NULL OR ` + ends + ` IS NULL OR ` + ends + ` + ` + graceSQL + ` > $5`,
		args:  []any{more, beyond},
		then: func(tx *pg.Tx, actionID string, done []target) error {
			ids := make([]string, len(done))
			for i, t := range done {
				ids[i] = t.ID
			}
			if _, err := tx.Exec(ctx, `INSERT INTO exam_grant (action_id, attempt_id, seconds) SELECT $1, a, $3 FROM unnest($2::text[]) AS a`, actionID, ids, req.GetMinutes()*60); err != nil {
				return fmt.Errorf("store time: %w", err)
			}
			return nil
		},
	}
	return h.act(ctx, req, do)
}

// examRequest is a request to do something to attempts.
type examRequest interface {
	targets
	proto.Message
}

// act does something to attempts once for its key.
func (h *examServer) act(ctx context.Context, req examRequest, do action) (*assessmentpb.ExamAction, error) {
	return idempotency.Do(ctx, h.service.db, req, func(tx *pg.Tx) (*assessmentpb.ExamAction, error) {
		return h.service.act(ctx, tx, req, auth.From(ctx).Account, do)
	})
}

// HoldAttempts implements [assessmentpb.ExamServiceServer]. A break that a student takes
// ends with it.
func (h *examServer) HoldAttempts(ctx context.Context, req *assessmentpb.HoldAttemptsRequest) (*assessmentpb.ExamAction, error) {
	return h.act(ctx, req, action{
		kind: "hold", reason: req.GetReason(), notice: "paused", message: req.GetMessage(), event: "held", audit: "exam.held",
		set: `paused_time = paused_time + coalesce($5 - paused_at, '0'),
			left_at_pause = CASE WHEN expires_at IS NULL THEN left_at_pause ELSE LEAST(left_at_pause, GREATEST(expires_at - $5, '0')) END, paused_at = $5, paused_by = $4, held = true, expires_at = NULL, grace_until = NULL`,
		where: `NOT held AND (closes_at IS NULL OR closes_at >= $5)`,
	})
}

// ReleaseAttempts implements [assessmentpb.ExamServiceServer].
func (h *examServer) ReleaseAttempts(ctx context.Context, req *assessmentpb.ReleaseAttemptsRequest) (*assessmentpb.ExamAction, error) {
	ends := expiryWith("paused_time", "(paused_time + ($5 - paused_at))", "beyond_time", "(beyond_time + ($5 - paused_at))")
	return h.act(ctx, req, action{
		kind: "release", notice: "resumed", message: req.GetMessage(), event: "released", audit: "exam.released",
		set: `paused_time = paused_time + ($5 - paused_at), beyond_time = beyond_time + ($5 - paused_at), paused_at = NULL, paused_by = NULL, left_at_pause = NULL,
			held = false, expires_at = ` + ends + `, grace_until = CASE WHEN overtime <> 'submit' AND grace > '0' THEN ` + ends + ` + grace END`,
		where: `held`,
	})
}

// TellStudents implements [assessmentpb.ExamServiceServer].
func (h *examServer) TellStudents(ctx context.Context, req *assessmentpb.TellStudentsRequest) (*assessmentpb.ExamAction, error) {
	return h.act(ctx, req, action{kind: "tell", reason: req.GetMessage(), notice: "message", message: req.GetMessage(), event: "told", audit: "exam.told"})
}

// EndAttempts implements [assessmentpb.ExamServiceServer]. The scorer issues the
// receipts, as for what the clock ends.
func (h *examServer) EndAttempts(ctx context.Context, req *assessmentpb.EndAttemptsRequest) (*assessmentpb.ExamAction, error) {
	s := h.service
	return h.act(ctx, req, action{
		kind: "end", reason: req.GetReason(), notice: "closed", message: req.GetMessage(), event: "ended", audit: "exam.ended",
		set: `state = 'submitted', submitted_at = $5, submitted_by = $4, last_seq = last_seq + 1, paused_at = NULL, held = false, scored_at = NULL`,
		// What is over is the clock's.
		where: `closes_at IS NULL OR closes_at >= $5`,
		then: func(tx *pg.Tx, _ string, done []target) error {
			ids := make([]string, len(done))
			for i, t := range done {
				ids[i] = t.ID
			}
			tx.AfterCommit(s.wakeScorer)
			if _, err := tx.Exec(ctx, `
				INSERT INTO answer_operation (attempt_id, seq, client_id, client_seq, slot, kind, received_at, verdict)
				SELECT id, last_seq, 'server', last_seq, 0, 'finish', GREATEST(submitted_at, saved_at), 'accepted' FROM attempt WHERE id = ANY ($1)`, ids); err != nil {
				return fmt.Errorf("append to the log: %w", err)
			}
			return nil
		},
	})
}

// examAction is its row.
type examAction struct {
	ID        string
	Kind      string
	CourseID  string
	ItemID    string
	Everybody bool
	Attempts  int32
	Seconds   int32
	Beyond    bool
	Reason    string
	AccountID string
	CreatedAt time.Time
	UndoneBy  string
	UndoneAt  *time.Time
}

const examActionColumns = `id, kind, course_id, item_id, everybody, attempts, seconds, beyond, reason, account_id, created_at, undone_by, undone_at`

func (a examAction) message() *assessmentpb.ExamAction {
	return &assessmentpb.ExamAction{
		Id: a.ID, Kind: a.Kind, CourseId: a.CourseID, ItemId: a.ItemID, Everybody: a.Everybody, Attempts: a.Attempts, Seconds: a.Seconds, BeyondWindow: a.Beyond,
		Reason: a.Reason, AccountId: a.AccountID, CreatedAt: timestamppb.New(a.CreatedAt), UndoneBy: a.UndoneBy, UndoneAt: stampOf(a.UndoneAt),
	}
}

// TakeTimeBack implements [assessmentpb.ExamServiceServer].
func (h *examServer) TakeTimeBack(ctx context.Context, req *assessmentpb.TakeTimeBackRequest) (*assessmentpb.ExamAction, error) {
	s := h.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.ExamAction, error) {
		// Attempts are locked before the action, as by all that is done to them.
		if _, err := tx.Exec(ctx, `
			SELECT FROM attempt WHERE item_id = $3 AND course_id = $2 AND id IN (SELECT attempt_id FROM exam_grant WHERE action_id = $1) AND state = 'in_progress'
			ORDER BY id FOR NO KEY UPDATE`, req.GetActionId(), req.GetCourseId(), req.GetItemId()); err != nil {
			return nil, fmt.Errorf("lock attempts: %w", err)
		}
		rows, err := tx.Query(ctx, `SELECT `+examActionColumns+` FROM exam_action WHERE id = $1 AND course_id = $2 AND item_id = $3 FOR UPDATE`,
			req.GetActionId(), req.GetCourseId(), req.GetItemId())
		if err != nil {
			return nil, fmt.Errorf("read action: %w", err)
		}
		a, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[examAction])
		switch {
		case pg.NoRows(err):
			return nil, ErrExamActionNotFound
		case err != nil:
			return nil, fmt.Errorf("read action: %w", err)
		case a.Kind != "time":
			return nil, ErrExamActionNotTime
		case a.UndoneAt != nil:
			return a.message(), nil
		}
		now := s.time()
		a.UndoneBy, a.UndoneAt = auth.From(ctx).Account, &now
		done, err := s.takeBack(ctx, tx, a, now)
		if err != nil {
			return nil, err
		}
		events := make([]noted, len(done))
		for i, t := range done {
			events[i] = noted{attempt: t.ID, account: t.AccountID, course: a.CourseID, item: a.ItemID, source: sourceServer, kind: "time_taken", size: t.Seconds}
		}
		if err := s.noteEvents(ctx, tx, events); err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `UPDATE exam_action SET undone_by = $2, undone_at = $3 WHERE id = $1`, a.ID, a.UndoneBy, a.UndoneAt); err != nil {
			return nil, fmt.Errorf("take time back: %w", err)
		}
		return a.message(), audit.Record(ctx, tx, audit.Entry{
			Action: "exam.time_taken_back", Object: a.ItemID, Course: a.CourseID, Reason: req.GetReason(), After: map[string]any{"action": a.ID, "attempts": len(done)},
		})
	})
}

// takenFrom is an attempt that time was taken back from.
type takenFrom struct {
	ID        string
	AccountID string
	Seconds   int32
}

// takeBack takes from the attempts that still run, and are locked, what an action gave,
// as far as that leaves a minute of what they have.
func (s *Service) takeBack(ctx context.Context, tx *pg.Tx, a examAction, now time.Time) ([]takenFrom, error) {
	beyond := "'0'::interval"
	if a.Beyond {
		beyond = "amount"
	}
	ends := expiryWith("extra_time", "(extra_time - amount)", "beyond_time", "(beyond_time - "+beyond+")")
	rows, err := tx.Query(ctx, `
		WITH due AS (
			SELECT g.attempt_id, GREATEST(LEAST(make_interval(secs => g.seconds),
				coalesce(LEAST(r.left_at_pause, r.expires_at - $2) - $3, make_interval(secs => g.seconds))), '0') AS amount
			FROM exam_grant g JOIN attempt r ON r.id = g.attempt_id
			WHERE g.action_id = $1 AND r.state = 'in_progress' AND (r.closes_at IS NULL OR r.closes_at >= $2)
		), changed AS (
			UPDATE attempt SET extra_time = extra_time - amount, beyond_time = beyond_time - `+beyond+`, left_at_pause = left_at_pause - amount,
				expires_at = CASE WHEN paused_at IS NULL THEN `+ends+` ELSE expires_at - `+beyond+` END,
				grace_until = CASE WHEN paused_at IS NULL AND overtime <> 'submit' AND grace > '0' THEN `+ends+` + grace END,
				revision = revision + 1, notices = notices + 1
			FROM due WHERE id = due.attempt_id AND amount > '0' RETURNING id, account_id, notices, amount
		), told AS (
			INSERT INTO attempt_notice (attempt_id, number, kind, body, account_id, created_at) SELECT id, notices, 'time', '', $4, $2 FROM changed
		), kept AS (
			UPDATE exam_grant g SET taken = c.amount FROM changed c WHERE g.action_id = $1 AND g.attempt_id = c.id
		)
		SELECT id, account_id, extract(epoch FROM amount)::int AS seconds FROM changed ORDER BY id`, a.ID, now, leastLeft, a.UndoneBy)
	if err != nil {
		return nil, fmt.Errorf("take time back: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[takenFrom])
	if err != nil {
		return nil, fmt.Errorf("take time back: %w", err)
	}
	return list, nil
}

// ReopenAttempt implements [assessmentpb.ExamServiceServer].
func (h *examServer) ReopenAttempt(ctx context.Context, req *assessmentpb.ReopenAttemptRequest) (*assessmentpb.ExamAction, error) {
	s := h.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.ExamAction, error) {
		a, err := lockAttempt(ctx, tx, req.GetAttemptId())
		now := s.time()
		switch {
		case err != nil:
			return nil, err
		case a.CourseID != req.GetCourseId() || a.State == statePrepared:
			return nil, ErrAttemptNotFound
		case a.running():
			return nil, ErrAttemptRunning
		case a.SubmittedBy != byClock || a.ExpiresAt == nil:
			return nil, ErrExamNotByClock
		case now.Sub(*a.ClosesAt) > reopenWithin:
			return nil, ErrExamTooOld
		}
		if err := dropPrepared(ctx, tx, `quiz_id = $1 AND item_id = $2 AND account_id = $3 AND preview = $4`, a.QuizID, a.ItemID, a.AccountID, a.Preview); err != nil {
			return nil, err
		}
		// Both ends are where they would be had the clock stood since they passed.
		paused, beyond := `(paused_time + GREATEST($2 - (`+limitSQL+`), '0'))`, `(beyond_time + $3 + coalesce(GREATEST($2 - (`+windowSQL+`), '0'), '0'))`
		ends := expiryWith("extra_time", "(extra_time + $3)", "beyond_time", beyond, "paused_time", paused)
		_, err = tx.Exec(ctx, `
			UPDATE attempt SET state = 'in_progress', submitted_at = NULL, submitted_by = NULL, graded_at = NULL, scored_at = NULL, score_after = NULL, points = NULL,
				extra_time = extra_time + $3, beyond_time = `+beyond+`, paused_time = `+paused+`,
				paused_at = NULL, paused_by = NULL, left_at_pause = NULL, held = false,
				expires_at = `+ends+`, grace_until = CASE WHEN overtime <> 'submit' AND grace > '0' THEN `+ends+` + grace END,
				revision = revision + 1, notices = notices + 1
			WHERE id = $1`, a.ID, now, time.Duration(req.GetMinutes())*time.Minute)
		if pg.Violates(err, "attempt_running") {
			return nil, ErrExamOtherAttempt
		}
		if err != nil {
			return nil, fmt.Errorf("reopen attempt: %w", err)
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO attempt_notice (attempt_id, number, kind, body, account_id, created_at) SELECT id, notices, 'resumed', '', $2, $3 FROM attempt WHERE id = $1`,
			a.ID, auth.From(ctx).Account, now); err != nil {
			return nil, fmt.Errorf("tell student: %w", err)
		}
		out := &assessmentpb.ExamAction{
			Id: id.New("examaction"), Kind: "reopen", CourseId: a.CourseID, ItemId: a.ItemID, Attempts: 1, AttemptIds: []string{a.ID},
			Seconds: req.GetMinutes() * 60, BeyondWindow: true, Reason: req.GetReason(), AccountId: auth.From(ctx).Account, CreatedAt: timestamppb.New(now),
		}
		do := action{kind: "reopen", reason: req.GetReason(), seconds: req.GetMinutes() * 60, beyond: true, event: "reopened", audit: "attempt.reopened"}
		done := []target{{a.ID, a.AccountID}}
		if err := s.storeAction(ctx, tx, out, do, done); err != nil {
			return nil, err
		}
		if err := s.attemptChanged(ctx, tx, a, "reopened"); err != nil {
			return nil, err
		}
		return out, s.recordAction(ctx, tx, out, do, done)
	})
}

// ListExamActions implements [assessmentpb.ExamServiceServer].
func (h *examServer) ListExamActions(ctx context.Context, req *assessmentpb.ListExamActionsRequest) (*assessmentpb.ListExamActionsResponse, error) {
	before, beforeID, err := page.After(req.GetCursor())
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := h.service.db.Query(ctx, `
		SELECT `+examActionColumns+` FROM exam_action WHERE course_id = $1 AND item_id = $2 AND (created_at, id) < ($3, $4)
		ORDER BY created_at DESC, id DESC LIMIT $5`, req.GetCourseId(), req.GetItemId(), before, beforeID, size+1)
	if err != nil {
		return nil, fmt.Errorf("list actions: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[examAction])
	if err != nil {
		return nil, fmt.Errorf("list actions: %w", err)
	}
	out := &assessmentpb.ListExamActionsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.TimeCursor(list[size-1].CreatedAt, list[size-1].ID)
	}
	for _, a := range list {
		out.Items = append(out.Items, a.message())
	}
	return out, nil
}
