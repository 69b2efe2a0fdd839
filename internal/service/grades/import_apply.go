package grades

import (
	"context"
	"fmt"
	"slices"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// ApplyGradeImport implements gradespb.GradeTransferServiceServer.
func (r *transferServer) ApplyGradeImport(ctx context.Context, req *gradespb.ApplyGradeImportRequest) (*gradespb.GradeImport, error) {
	s := r.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*gradespb.GradeImport, error) {
		i, err := s.importOf(ctx, tx, req.GetCourseId(), req.GetImportId(), ` FOR UPDATE`)
		switch {
		case err != nil:
			return nil, err
		case i.State != "ready":
			return nil, ErrImportFinished
		case i.Refused > 0:
			return nil, ErrImportRefused
		case i.Conflicts > 0 && req.GetConflicts() == "":
			return nil, ErrImportConflicts
		}
		list, err := importChanges(ctx, tx, i.ID, "", 0, maxImportChanges+1)
		if err != nil {
			return nil, err
		}
		if req.GetConflicts() == "keep" {
			list = slices.DeleteFunc(list, func(c *importChange) bool { return c.Outcome == outcomeConflict })
		}
		d, err := s.applyChanges(ctx, tx, i.CourseID, list, req.GetReason())
		if err != nil {
			return nil, err
		}
		i.State, i.Changes = "applied", int32(len(list)) //nolint:gosec // bounded
		if len(d.history) > 0 {
			i.BatchID = d.batch
		}
		tx.Exempt("an import that changed nothing")
		if _, err := tx.Exec(ctx, `UPDATE grade_import SET state = $2, batch_id = $3, changes = $4 WHERE id = $1`, i.ID, i.State, i.BatchID, i.Changes); err != nil {
			return nil, fmt.Errorf("apply import: %w", err)
		}
		return i.message(), d.finish(ctx, "grades.imported", req.GetReason())
	})
}

// applyChanges makes the changes of a file at a desk. A cell that is another than when
// the file was uploaded refuses all.
func (s *Service) applyChanges(ctx context.Context, tx *pg.Tx, courseID string, list []*importChange, reason string) (*desk, error) {
	accounts := make([]string, len(list))
	for i, c := range list {
		accounts[i] = c.AccountID
	}
	slices.Sort(accounts)
	d, err := s.open(ctx, tx, courseID, slices.Compact(accounts)...)
	if err != nil {
		return nil, err
	}
	d.batch = id.New("gradebatch")
	var refused []refusal
	for _, c := range list {
		e := &gradespb.CellEdit{AccountId: c.AccountID, ItemId: c.ItemID, Edit: c.edit(reason), Etag: fmt.Sprint(c.Seq)}
		if st, it, err := d.find(c.AccountID, c.ItemID); err == nil && e.GetEdit().GetPoints() != "" && st.cells[it.ItemID].deducted(it) {
			e.Edit.Status = new("") // or less than the number would count
		}
		if _, err := d.editOne(ctx, e, reason, fromImport); err != nil {
			refused = append(refused, refusal{fmt.Sprintf("lines[%d].%s", c.Line, c.ItemID), err})
		}
	}
	return d, refusedBatch(refused)
}
