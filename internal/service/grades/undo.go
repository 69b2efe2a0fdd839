package grades

import (
	"context"
	"fmt"
	"slices"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// UndoGradeChange implements gradespb.GridServiceServer.
func (r *gridServer) UndoGradeChange(ctx context.Context, req *gradespb.UndoGradeChangeRequest) (*gradespb.UndoGradeChangeResponse, error) {
	s := r.service
	where, what := `course_id = $1 AND seq = $2`, any(req.GetChangeId())
	if req.GetBatchId() != "" {
		where, what = `course_id = $1 AND batch_id = $2`, any(req.GetBatchId())
	}
	list, err := readChanges(ctx, s.db, where+` ORDER BY seq DESC`, req.GetCourseId(), what)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrChangeNotFound
	}
	accounts, posts := make([]string, 0, len(list)), false
	for _, h := range list {
		accounts, posts = append(accounts, h.AccountID), posts || h.Kind == kindPosted || h.Kind == kindTotal && h.Before.Points != nil && h.Before.shown() != h.After.shown()
		if h.Kind == kindMark || h.Kind == kindOverdue {
			return nil, ErrChangeNotUndoable
		}
	}
	if err := mayEdit(ctx, posts); err != nil {
		return nil, err
	}
	slices.Sort(accounts)
	accounts = slices.Compact(accounts)
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*gradespb.UndoGradeChangeResponse, error) {
		tx.Exempt("nothing has changed")
		d, err := s.open(ctx, tx, req.GetCourseId(), accounts...)
		if err != nil {
			return nil, err
		}
		d.batch = id.New("gradebatch")
		undone, err := undoneOf(ctx, tx, req.GetCourseId(), list)
		if err != nil {
			return nil, err
		}
		var refused []refusal
		var cells []*gradespb.CellEdit
		out := &gradespb.UndoGradeChangeResponse{}
		for i, h := range list {
			if undone[h.Seq] {
				err = ErrChangeUndone
			} else {
				err = d.undo(ctx, h, req.GetReason())
			}
			if err != nil {
				refused = append(refused, refusal{fmt.Sprintf("changes[%d]", i), err})
				continue
			}
			out.Undone++
			if h.ItemID != "" && len(cells) < 1000 {
				cells = append(cells, &gradespb.CellEdit{AccountId: h.AccountID, ItemId: h.ItemID})
			}
		}
		if len(list) == 1 && len(refused) == 1 {
			return nil, refused[0].err
		}
		if len(refused) > 0 {
			told, ok := errorsAsFault(refusedBatch(refused))
			if !ok {
				return nil, refusedBatch(refused)
			}
			first, _ := errorsAsFault(refused[0].err)
			told.Kind, told.Code, told.Message = first.Kind, first.Code, first.Message
			return nil, told
		}
		if err := d.finish(ctx, "grades.undone", req.GetReason()); err != nil {
			return nil, err
		}
		out.Cells = d.cellsNow(cells)
		return out, nil
	})
}

// undoneOf returns which of some changes were undone, and not by a change that was undone
// itself.
func undoneOf(ctx context.Context, tx *pg.Tx, courseID string, list []*change) (map[int64]bool, error) {
	seqs := make([]int64, len(list))
	for i, h := range list {
		seqs[i] = h.Seq
	}
	rows, err := readChanges(ctx, tx, `course_id = $1 AND undoes = ANY ($2) AND NOT EXISTS (
		SELECT FROM grade_change n WHERE n.course_id = $1 AND n.undoes = grade_change.seq)`, courseID, seqs)
	if err != nil {
		return nil, err
	}
	out := map[int64]bool{}
	for _, h := range rows {
		out[h.Undoes] = true
	}
	return out, nil
}

// undo makes a cell or a total as it was before a change, where it is as it was after.
func (d *desk) undo(ctx context.Context, h *change, reason string) error {
	st := d.seats[h.AccountID]
	if st == nil {
		return ErrChangedSince
	}
	if h.Kind == kindTotal {
		return d.undoTotal(ctx, st, h, reason)
	}
	it := d.book.items[h.ItemID]
	if it == nil || !it.Present {
		return ErrItemNotFound
	}
	entered := h.After.Entered || h.Before.Entered
	c := d.touch(st, h.ItemID)
	if !stateOf(c, h.Kind, entered).is(h.After) {
		return ErrChangedSince
	}
	b := h.Before
	d.note(ctx, c, h.Kind, entered, fromUndo, reason, h.Seq, func() {
		switch h.Kind {
		case kindPoints:
			d.setPoints(c, it, b.Points, b.By, b.Reason, entered)
			if entered && b.MaxPoints != nil {
				c.MaxPoints = b.MaxPoints
			}
		case kindStatus:
			c.Status, c.StatusLate, c.StatusBy, c.StatusReason = b.Status, b.Late, b.By, b.Reason
		case kindFeedback:
			c.Feedback, c.FeedbackBy = b.Feedback, b.By
		case kindPosted:
			if c.Posted, c.PostedAt = b.Posted, nil; b.Posted != nil && *b.Posted {
				c.PostedAt = &d.now
			}
		}
	})
	return nil
}

func (d *desk) undoTotal(ctx context.Context, st *seat, h *change, reason string) error {
	category, period := cutPlace(h.Place)
	var now state
	for _, o := range st.overrides {
		if o.Category == category && o.Period == period {
			now = state{Points: &o.Percent, Posted: &o.Posted}
		}
	}
	if !now.is(h.After) {
		return ErrChangedSince
	}
	o := totalOverride{AccountID: st.AccountID, Category: category, Period: period, SetBy: auth.From(ctx).Account, SetAt: d.now, Reason: reason}
	if b := h.Before; b.Points != nil {
		o.Percent, o.Posted, o.SetBy, o.Reason = *b.Points, b.Posted != nil && *b.Posted, b.By, b.Reason
	}
	_, err := d.setTotal(ctx, st, o, fromUndo, reason, h.Seq)
	return err
}
