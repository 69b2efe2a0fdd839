package assessment

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// Errors of attempts.
var (
	ErrAttemptNotFound  = fault.New(fault.NotFound, "attempt.not_found", "There is no such attempt.")
	ErrAttemptPaused    = fault.New(fault.Conflict, "attempt.paused", "The clock of this attempt stands. Keep what was answered, and send it once it goes on.")
	ErrAttemptFull      = fault.New(fault.Conflict, "attempt.full", "An attempt has at most %d operations, %d clients and %d gaps.", maxOperations, maxClients, maxGaps)
	ErrAttemptOver      = fault.New(fault.Conflict, "attempt.over", "This attempt is over.")
	ErrAttemptRunning   = fault.New(fault.Conflict, "attempt.running", "This attempt is not submitted yet.")
	ErrAttemptAbandoned = fault.New(fault.Conflict, "attempt.abandoned", "The time was over before this attempt was submitted. It counts not at all.")
	ErrAttemptNoBreaks  = fault.New(fault.Forbidden, "attempt.no_breaks", "Breaks are not eased for you in this attempt.")
	ErrAttemptHeld      = fault.New(fault.Forbidden, "attempt.held", "Staff have stopped this attempt. It goes on when they say so.")
	ErrAttemptTooLarge  = fault.New(fault.TooLarge, "attempt.too_large", "This attempt is too large to be told at once. Ask for it page by page.")
	ErrBatchTooLarge    = fault.New(fault.TooLarge, "operations.too_large", "Operations are sent at most 1 MiB at once. Send fewer.")
	ErrReceiptNotFound  = fault.New(fault.NotFound, "receipt.not_found", "This attempt is not submitted yet.")
)

// The states of an attempt.
const (
	statePrepared   = "prepared"
	stateInProgress = "in_progress"
	stateSubmitted  = "submitted"
	stateGraded     = "graded"
	stateAbandoned  = "abandoned"
)

// byClock is who submits what nobody has submitted.
const byClock = "clock"

// attemptServer answers about attempts.
type attemptServer struct {
	assessmentpb.UnimplementedAttemptServiceServer

	service *Service
}

// attempt is its row.
type attempt struct {
	ID          string
	CourseID    string
	ItemID      string
	QuizID      string
	QuizVersion int32
	AccountID   string
	Number      int32
	State       string
	Preview     bool
	Discarded   bool // a preview that was thrown away
	Engine      int
	Seed        int64
	StartedAt   *time.Time
	ExpiresAt   *time.Time
	GraceUntil  *time.Time
	ClosesAt    *time.Time
	OpenUntil   *time.Time
	ExtraTime   time.Duration
	Breaks      bool
	PausedAt    *time.Time
	PausedBy    string
	LeftAtPause *time.Duration
	Page        int32
	Clients     []client
	LastSeq     int64
	SavedAt     *time.Time
	Uncounted   int32
	Notices     int32
	SubmittedAt *time.Time
	SubmittedBy string
	ScoredAt    *time.Time
	Points      *string
	MaxPoints   string
	Revision    int64
	Held        bool
	Answered    []byte
	Slot        int32
	Network     []byte
	Withheld    bool
}

// attemptColumns are those of [attempt], in its order.
const attemptColumns = `id, course_id, item_id, quiz_id, quiz_version, account_id, number, state, preview, discarded_at IS NOT NULL, engine_version, seed,
	started_at, expires_at, grace_until, closes_at, open_until, extra_time, breaks, paused_at, coalesce(paused_by, ''), left_at_pause, page, clients,
	last_seq, saved_at, uncounted, notices, submitted_at, coalesce(submitted_by, ''), scored_at, points::text, max_points::text, revision,
	held, answered, slot, network, withheld`

func scanAttempt(row pgx.CollectableRow) (*attempt, error) {
	var a attempt
	var clients []byte
	err := row.Scan(&a.ID, &a.CourseID, &a.ItemID, &a.QuizID, &a.QuizVersion, &a.AccountID, &a.Number, &a.State, &a.Preview, &a.Discarded, &a.Engine, &a.Seed,
		&a.StartedAt, &a.ExpiresAt, &a.GraceUntil, &a.ClosesAt, &a.OpenUntil, &a.ExtraTime, &a.Breaks, &a.PausedAt, &a.PausedBy, &a.LeftAtPause, &a.Page, &clients,
		&a.LastSeq, &a.SavedAt, &a.Uncounted, &a.Notices, &a.SubmittedAt, &a.SubmittedBy, &a.ScoredAt, &a.Points, &a.MaxPoints, &a.Revision,
		&a.Held, &a.Answered, &a.Slot, &a.Network, &a.Withheld)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(clients, &a.Clients); err != nil {
		return nil, fmt.Errorf("clients of attempt %s: %w", a.ID, err)
	}
	return &a, nil
}

// readAttempt returns an attempt.
func readAttempt(ctx context.Context, q pg.Querier, id string) (*attempt, error) {
	return oneAttempt(ctx, q, `SELECT `+attemptColumns+` FROM attempt WHERE id = $1`, id)
}

// lockAttempt returns an attempt as nobody else can change it any more.
func lockAttempt(ctx context.Context, tx *pg.Tx, id string) (*attempt, error) {
	return oneAttempt(ctx, tx, `SELECT `+attemptColumns+` FROM attempt WHERE id = $1 FOR NO KEY UPDATE`, id)
}

func oneAttempt(ctx context.Context, q pg.Querier, sql string, args ...any) (*attempt, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read attempt: %w", err)
	}
	a, err := pgx.CollectExactlyOneRow(rows, scanAttempt)
	if pg.NoRows(err) {
		return nil, ErrAttemptNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read attempt: %w", err)
	}
	return a, nil
}

// owned holds an attempt to be somebody's own, begun.
func (a *attempt) owned(account string) error {
	if a.AccountID != account || a.State == statePrepared || a.Discarded {
		return ErrAttemptNotFound
	}
	return nil
}

// running reports whether it has begun and is not over.
func (a *attempt) running() bool { return a.State == stateInProgress }

// submitted reports whether there is a receipt of it.
func (a *attempt) submitted() bool { return a.State == stateSubmitted || a.State == stateGraded }

// by tells who submitted it, without saying which of the staff.
func (a *attempt) by() string {
	switch a.SubmittedBy {
	case "", byClock:
		return a.SubmittedBy
	case a.AccountID:
		return "student"
	default:
		return "staff"
	}
}
