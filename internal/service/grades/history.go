package grades

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// change is an entry of the history, as it is kept.
type change struct {
	Seq       int64
	AccountID string
	ItemID    string // empty for a total
	Place     string // of a total
	Kind      string
	Before    state
	After     state
	Source    string
	ChangedBy string
	ChangedAt time.Time
	Reason    string
	BatchID   string
	Undoes    int64
}

const changeColumns = `seq, account_id, item_id, place, kind, before, after, source, changed_by, changed_at, reason, batch_id, undoes`

// state is what of a cell or of a total a change is about.
type state struct {
	State     string  `json:"state,omitempty"`
	Points    *string `json:"points,omitempty"`
	MaxPoints *string `json:"max_points,omitempty"`
	Status    string  `json:"status,omitempty"`
	Late      int64   `json:"late,omitempty"`
	Feedback  string  `json:"feedback,omitempty"`
	Posted    *bool   `json:"posted,omitempty"`
	SourceID  string  `json:"source_id,omitempty"`
	Reason    string  `json:"reason,omitempty"`
	By        string  `json:"by,omitempty"`
	Overdue   bool    `json:"overdue,omitempty"`
	Entered   bool    `json:"entered,omitempty"` // points are the mark itself, of a column of staff

	Others []attempt `json:"others,omitempty"`
}

// The kinds of changes.
const (
	kindMark     = "mark"
	kindPoints   = "points"
	kindStatus   = "status"
	kindFeedback = "feedback"
	kindPosted   = "posted"
	kindOverdue  = "overdue"
	kindTotal    = "total"
)

// Where changes come from.
const (
	fromAssessment = "assessment"
	fromStaff      = "staff"
	fromImport     = "import"
	fromUndo       = "undo"
	fromClock      = "clock"
)

// stateOf returns what of a cell a change of the kind is about.
func stateOf(c *cell, kind string, entered bool) state {
	switch kind {
	case kindMark:
		return state{State: c.State, Points: c.Points, MaxPoints: c.MaxPoints, Late: c.LateSeconds, SourceID: c.SourceID, By: c.MarkedBy, Others: c.others()}
	case kindPoints:
		if entered {
			return state{Points: c.Points, MaxPoints: c.MaxPoints, By: c.MarkedBy, Entered: true}
		}
		return state{Points: c.Override, Reason: c.OverrideReason, By: c.OverrideBy}
	case kindStatus:
		return state{Status: c.Status, Late: c.StatusLate, Reason: c.StatusReason, By: c.StatusBy}
	case kindFeedback:
		return state{Feedback: c.Feedback, By: c.FeedbackBy}
	case kindPosted:
		return state{Posted: c.Posted}
	case kindOverdue:
		return state{Overdue: c.Overdue}
	}
	return state{}
}

// shown reports whether it is said that the student may see it.
func (a state) shown() bool { return a.Posted != nil && *a.Posted }

// is reports whether two states are the same, whoever made them and why.
func (a state) is(b state) bool {
	return a.State == b.State && equal(a.Points, b.Points) && equal(a.MaxPoints, b.MaxPoints) && a.Status == b.Status && a.Late == b.Late &&
		a.Feedback == b.Feedback && equalBool(a.Posted, b.Posted) && a.SourceID == b.SourceID && a.Overdue == b.Overdue &&
		slices.EqualFunc(a.Others, b.Others, attempt.is)
}

func (a state) message() *gradespb.CellState {
	out := &gradespb.CellState{
		State: a.State, Status: a.Status, LateSeconds: a.Late, Feedback: a.Feedback, SourceId: a.SourceID, Reason: a.Reason, SetBy: a.By, Overdue: a.Overdue,
	}
	for _, o := range a.Others {
		out.Others = append(out.Others, &gradespb.OtherAttempt{
			SourceId: o.SourceID, Points: o.Points, SubmittedAt: optional(o.SubmittedAt), LateSeconds: o.LateSeconds, MarkedBy: o.MarkedBy,
		})
	}
	if a.Points != nil {
		out.Points = *a.Points
	}
	if a.MaxPoints != nil {
		out.MaxPoints = *a.MaxPoints
	}
	if a.Posted != nil {
		out.Posted = map[bool]string{true: "yes", false: "no"}[*a.Posted]
	}
	return out
}

func (h *change) message() *gradespb.HistoryEntry {
	category, period := cutPlace(h.Place)
	return &gradespb.HistoryEntry{
		ChangeId: h.Seq, AccountId: h.AccountID, ItemId: h.ItemID, Category: category, Period: period, Kind: h.Kind, Before: h.Before.message(),
		After: h.After.message(), Source: h.Source, ChangedBy: h.ChangedBy, ChangedAt: timestamppb.New(h.ChangedAt), Reason: h.Reason,
		BatchId: h.BatchID, Undoes: h.Undoes,
	}
}

// writeHistory appends changes.
func writeHistory(ctx context.Context, tx *pg.Tx, courseID string, list []*change) error {
	if len(list) == 0 {
		return nil
	}
	columns := []string{
		"course_id", "seq", "account_id", "item_id", "place", "kind", "before", "after", "source", "changed_by", "changed_at", "reason", "batch_id", "undoes",
	}
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"grade_change"}, columns, pgx.CopyFromSlice(len(list), func(i int) ([]any, error) {
		h := list[i]
		before, err := json.Marshal(h.Before)
		if err != nil {
			return nil, err
		}
		after, err := json.Marshal(h.After)
		if err != nil {
			return nil, err
		}
		return []any{
			courseID, h.Seq, h.AccountID, h.ItemID, h.Place, h.Kind, before, after, h.Source, h.ChangedBy, h.ChangedAt, h.Reason, h.BatchID, h.Undoes,
		}, nil
	}))
	if err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	return nil
}

func readChanges(ctx context.Context, q pg.Querier, where string, args ...any) ([]*change, error) {
	rows, err := q.Query(ctx, `SELECT `+changeColumns+` FROM grade_change WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[change])
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	return list, nil
}

// named is the condition that a change is told beside a name: that of an anonymous mark is
// not before it is posted, nor when it was made.
const named = `NOT (kind = 'mark' AND 'marked' IN (before->>'state', after->>'state') AND EXISTS (
	SELECT FROM cell c WHERE c.course_id = grade_change.course_id AND c.account_id = grade_change.account_id AND c.item_id = grade_change.item_id
		AND c.anonymous AND c.posted IS DISTINCT FROM true))`

// ListGradeHistory implements gradespb.GridServiceServer.
func (r *gridServer) ListGradeHistory(ctx context.Context, req *gradespb.ListGradeHistoryRequest) (*gradespb.ListGradeHistoryResponse, error) {
	if req.GetAccountId() == "" && req.GetBatchId() == "" {
		return nil, ErrHistoryWhich
	}
	before, err := cursorSeq(req.GetCursor(), 1<<62)
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	where := `course_id = $1 AND account_id = $2 AND ($3 = '' OR item_id = $3) AND ($4 = '' OR batch_id = $4)`
	if req.GetAccountId() == "" {
		where = `course_id = $1 AND $2 = '' AND ($3 = '' OR item_id = $3) AND batch_id = $4`
	}
	where += ` AND seq < $5 AND ` + named + ` ORDER BY seq DESC LIMIT $6`
	list, err := readChanges(ctx, r.service.db, where, req.GetCourseId(), req.GetAccountId(), req.GetItemId(), req.GetBatchId(), before, size+1)
	if err != nil {
		return nil, err
	}
	out := &gradespb.ListGradeHistoryResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = seqCursor(list[size-1].Seq)
	}
	for _, h := range list {
		out.Items = append(out.Items, h.message())
	}
	return out, nil
}
