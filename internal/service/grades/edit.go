package grades

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// mayPost is the permission to say what students see.
const mayPost = "grade.post"

// edit changes a cell as staff say, and reports whether it is another now.
func (d *desk) edit(ctx context.Context, st *seat, it *item, e *gradespb.GradeEdit, reason, source string) (bool, error) {
	if e.Points == nil && e.Status == nil && e.Feedback == nil && e.Posted == nil {
		return false, ErrNoChange
	}
	reason = strings.TrimSpace(reason)
	entered := it.Source == ofStaff && !it.calculated()
	if (e.Points != nil && !entered || e.Status != nil) && reason == "" {
		return false, ErrReason
	}
	if e.GetPoints() != "" && !it.known {
		return false, ErrPointsUnknown
	}
	by := auth.From(ctx).Account
	c := d.touch(st, it.ItemID)
	n := len(d.history)
	note := func(kind string, change func()) {
		d.note(ctx, c, kind, entered, source, reason, 0, change)
	}
	if e.Points != nil {
		var points *string
		if e.GetPoints() != "" {
			var err error
			if points, err = decimal(e.GetPoints()); err != nil {
				return false, fmt.Errorf("points: %w", err)
			}
		}
		note(kindPoints, func() { d.setPoints(c, it, points, by, reason, entered) })
	}
	if e.Status != nil {
		note(kindStatus, func() {
			c.Status, c.StatusLate, c.StatusBy, c.StatusReason = e.GetStatus(), 0, by, reason
			if c.Status == sayLate {
				c.StatusLate = e.GetLateSeconds()
			}
			if c.Status == "" {
				c.StatusBy, c.StatusReason = "", ""
			}
		})
	}
	if e.Feedback != nil {
		note(kindFeedback, func() {
			if c.Feedback, c.FeedbackBy = e.GetFeedback(), by; c.Feedback == "" {
				c.FeedbackBy = ""
			}
		})
	}
	if e.Posted != nil {
		note(kindPosted, func() { d.setPosted(c, e.GetPosted()) })
	}
	return len(d.history) > n, nil
}

// note makes a change of a cell and notes it in the history, and does not where the
// cell is as it was.
func (d *desk) note(ctx context.Context, c *cell, kind string, entered bool, source, reason string, undoes int64, do func()) {
	was := *c
	before := stateOf(c, kind, entered)
	do()
	after := stateOf(c, kind, entered)
	if after.is(before) {
		*c = was // who said the same again, and why, is nothing new
		return
	}
	d.history = append(d.history, &change{
		AccountID: c.AccountID, ItemID: c.ItemID, Kind: kind, Before: before, After: after, Source: source,
		ChangedBy: auth.From(ctx).Account, ChangedAt: d.now, Reason: reason, Undoes: undoes,
	})
}

// setPoints sets the mark of a column of staff, or what counts in place of a mark.
func (d *desk) setPoints(c *cell, it *item, points *string, by, reason string, entered bool) {
	if !entered {
		if c.Override, c.OverrideBy, c.OverrideReason = points, by, reason; points == nil {
			c.OverrideBy, c.OverrideReason = "", ""
		}
		return
	}
	of := it.of.String()
	c.State, c.Points, c.MaxPoints, c.MarkedBy, c.MarkedAt = markMarked, points, &of, by, &d.now
	if points == nil {
		c.State, c.MaxPoints = markNone, nil
	}
}

// setPosted shows a grade to the student, or hides it.
func (d *desk) setPosted(c *cell, posted bool) {
	c.Posted, c.PostedAt = &posted, nil
	if posted {
		c.PostedAt = &d.now
	}
}

// find returns the row and the column of a cell.
func (d *desk) find(accountID, itemID string) (*seat, *item, error) {
	st, it := d.seats[accountID], d.book.items[itemID]
	if st == nil {
		return nil, nil, ErrStudentNotFound
	}
	if it == nil || !it.Present {
		return nil, nil, ErrItemNotFound
	}
	return st, it, nil
}

// etag is the version of a cell; "0" where there is none.
func (st *seat) etag(itemID string) string {
	if c := st.cells[itemID]; c != nil {
		return strconv.FormatInt(c.Seq, 10)
	}
	return "0"
}

// mayEdit refuses what somebody may not do who may change grades.
func mayEdit(ctx context.Context, posts bool) error {
	if !posts {
		return nil
	}
	ok, err := auth.Has(ctx, mayPost)
	if err == nil && !ok {
		err = auth.ErrForbidden
	}
	return err
}

// cellNow returns a cell of a desk that is settled.
func (d *desk) cellNow(st *seat, it *item) *gradespb.Cell {
	l := &ledger{student: st.student, book: d.book, cells: st.cells, overrides: st.overrides}
	d.book.row(&l.row, l.cells, l.overrides)
	d.book.Into(&l.result, &l.row)
	return d.book.cellMessage(st.AccountID, it, st.cells[it.ItemID], &l.result.Full.Current.Items[it.index])
}

// SetGrade implements gradespb.GridServiceServer.
func (r *gridServer) SetGrade(ctx context.Context, req *gradespb.SetGradeRequest) (*gradespb.Cell, error) {
	s := r.service
	if err := mayEdit(ctx, req.GetEdit().Posted != nil); err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*gradespb.Cell, error) {
		tx.Exempt("nothing has changed")
		d, err := s.open(ctx, tx, req.GetCourseId(), req.GetAccountId())
		if errors.Is(err, ErrNoGradebook) {
			return nil, ErrStudentNotFound
		}
		if err != nil {
			return nil, err
		}
		st, it, err := d.find(req.GetAccountId(), req.GetItemId())
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, st.etag(it.ItemID)); err != nil {
			return nil, d.describe(err, st, it)
		}
		changed, err := d.edit(ctx, st, it, req.GetEdit(), req.GetEdit().GetReason(), fromStaff)
		if err != nil {
			return nil, err
		}
		if changed {
			if err := d.settle(ctx); err != nil {
				return nil, err
			}
			if err := audit.Record(ctx, tx, d.entry()); err != nil {
				return nil, err
			}
		} else {
			st.undoTouch(it.ItemID)
		}
		return d.cellNow(st, it), nil
	})
}

// describe adds to what the slower of two is told what the cell has now.
func (d *desk) describe(err error, st *seat, it *item) error {
	told, ok := errorsAsFault(err)
	if !ok {
		return err
	}
	now, out := d.cellNow(st, it), *told
	for _, f := range [][2]string{
		{"points", now.GetPoints()},
		{"raw_points", now.GetRawPoints()},
		{"override_points", now.GetOverridePoints()},
		{"override_by", now.GetOverrideBy()},
		{"status", now.GetStatus()},
		{"status_override", now.GetStatusOverride()},
		{"status_by", now.GetStatusBy()},
	} {
		if f[1] != "" {
			out.Fields = append(out.Fields, fault.Field{Path: "cell." + f[0], Code: told.Code, Hint: "It is " + f[1] + " now."})
		}
	}
	return &out
}

// undoTouch forgets a cell that was made for nothing.
func (st *seat) undoTouch(itemID string) {
	if c := st.cells[itemID]; c != nil && c.Seq == 0 {
		delete(st.cells, itemID)
	}
}

// entry is what the audit log has of the changes of one cell: which they are. What
// they say is in the history.
func (d *desk) entry() audit.Entry {
	first := d.history[0]
	kinds, ids := make([]string, len(d.history)), make([]int64, len(d.history))
	for i, h := range d.history {
		kinds[i], ids[i] = h.Kind, h.Seq
	}
	return audit.Entry{
		Action: "grade.changed", Object: first.ItemID, Course: d.book.CourseID, Person: first.AccountID, Reason: first.Reason,
		After: map[string]any{"kinds": kinds, "changes": ids},
	}
}

// maxRefused bounds the cells that are told of a batch that is refused.
const maxRefused = 100

// refusal is why a cell of a batch is refused.
type refusal struct {
	path string
	err  error
}

// refusedBatch tells why a batch is refused: nil where nothing was.
func refusedBatch(list []refusal) error {
	if len(list) == 0 {
		return nil
	}
	out := &fault.Error{Kind: ErrBatchRefused.Kind, Code: ErrBatchRefused.Code, Message: ErrBatchRefused.Message}
	for _, r := range list[:min(len(list), maxRefused)] {
		told, ok := errorsAsFault(r.err)
		if !ok {
			return r.err
		}
		hint := told.Message
		if told.Etag != "" {
			hint += " It is " + told.Etag + " now."
		}
		out.Fields = append(out.Fields, fault.Field{Path: r.path, Code: told.Code, Hint: hint})
	}
	return out
}

// stale is told for a cell of a batch that has another version.
func stale(etag string) error {
	return &fault.Error{Kind: fault.Precondition, Code: "etag.stale", Message: "Somebody has changed it meanwhile.", Etag: etag}
}

// SetGrades implements gradespb.GridServiceServer.
func (r *gridServer) SetGrades(ctx context.Context, req *gradespb.SetGradesRequest) (*gradespb.SetGradesResponse, error) {
	s := r.service
	posts := slices.ContainsFunc(req.GetCells(), func(c *gradespb.CellEdit) bool { return c.GetEdit().Posted != nil })
	if err := mayEdit(ctx, posts); err != nil {
		return nil, err
	}
	seen, accounts := map[[2]string]bool{}, make([]string, 0, len(req.GetCells()))
	for i, c := range req.GetCells() {
		key := [2]string{c.GetAccountId(), c.GetItemId()}
		if seen[key] {
			return nil, &fault.Error{
				Kind: ErrCellTwice.Kind, Code: ErrCellTwice.Code, Message: ErrCellTwice.Message,
				Fields: []fault.Field{{Path: fmt.Sprintf("cells[%d]", i), Code: ErrCellTwice.Code, Hint: "Name each cell once."}},
			}
		}
		seen[key] = true
		accounts = append(accounts, c.GetAccountId())
	}
	slices.Sort(accounts)
	accounts = slices.Compact(accounts)
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*gradespb.SetGradesResponse, error) {
		tx.Exempt("nothing has changed")
		d, err := s.open(ctx, tx, req.GetCourseId(), accounts...)
		if err != nil {
			return nil, err
		}
		d.batch = id.New("gradebatch")
		out := &gradespb.SetGradesResponse{BatchId: d.batch}
		var refused []refusal
		for i, c := range req.GetCells() {
			reason := c.GetEdit().GetReason()
			if reason == "" {
				reason = req.GetReason()
			}
			changed, err := d.editOne(ctx, c, reason, fromStaff)
			if err != nil {
				refused = append(refused, refusal{fmt.Sprintf("cells[%d]", i), err})
			}
			if changed {
				out.Changed++
			}
		}
		if err := refusedBatch(refused); err != nil {
			return nil, err
		}
		if err := d.finish(ctx, "grades.changed", req.GetReason()); err != nil {
			return nil, err
		}
		out.Cells = d.cellsNow(req.GetCells())
		if out.GetChanged() == 0 {
			out.BatchId = ""
		}
		return out, nil
	})
}

// editOne changes one cell of a batch where it is of the version that is named.
func (d *desk) editOne(ctx context.Context, c *gradespb.CellEdit, reason, source string) (bool, error) {
	st, it, err := d.find(c.GetAccountId(), c.GetItemId())
	if err != nil {
		return false, err
	}
	if etag := st.etag(it.ItemID); c.GetEtag() != "" && c.GetEtag() != etag {
		return false, stale(etag)
	}
	return d.edit(ctx, st, it, c.GetEdit(), reason, source)
}

// finish settles a batch and records it as one.
func (d *desk) finish(ctx context.Context, action, reason string) error {
	if len(d.history) == 0 {
		return nil
	}
	if err := d.settle(ctx); err != nil {
		return err
	}
	entry := map[string]audit.Entry{
		"grades.changed": {Action: "grades.changed"}, "grades.undone": {Action: "grades.undone"}, "grades.imported": {Action: "grades.imported"},
	}[action]
	entry.Object, entry.Course, entry.Reason = d.batch, d.book.CourseID, reason
	entry.After = map[string]any{"changes": len(d.history), "first": d.history[0].Seq, "last": d.history[len(d.history)-1].Seq}
	return audit.Record(ctx, d.tx, entry)
}

// cellsNow returns cells of a desk that is settled, each row counted once.
func (d *desk) cellsNow(list []*gradespb.CellEdit) []*gradespb.Cell {
	ledgers := map[string]*ledger{}
	out := make([]*gradespb.Cell, 0, len(list))
	for _, c := range list {
		st, it, err := d.find(c.GetAccountId(), c.GetItemId())
		if err != nil {
			continue
		}
		l := ledgers[st.AccountID]
		if l == nil {
			l = &ledger{student: st.student, book: d.book, cells: st.cells, overrides: st.overrides}
			d.book.row(&l.row, l.cells, l.overrides)
			d.book.Into(&l.result, &l.row)
			ledgers[st.AccountID] = l
		}
		kept := st.cells[it.ItemID]
		if kept != nil && kept.Seq == 0 {
			kept = nil // made for nothing
		}
		out = append(out, d.book.cellMessage(st.AccountID, it, kept, &l.result.Full.Current.Items[it.index]))
	}
	return out
}
