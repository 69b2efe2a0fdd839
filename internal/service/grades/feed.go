package grades

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// ListGradeChanges implements gradespb.GridServiceServer.
//
// What has changed is what has a higher number than the cursor. Numbers become visible
// in their order (course_clock), so that nothing is missed; what changes while the page
// is read gets a higher one, and comes again.
func (r *gridServer) ListGradeChanges(ctx context.Context, req *gradespb.ListGradeChangesRequest) (*gradespb.ListGradeChangesResponse, error) {
	s, courseID := r.service, req.GetCourseId()
	after, err := cursorSeq(req.GetCursor(), 0)
	if err != nil {
		return nil, err
	}
	// Up to here and no further, whatever comes while the three tables are read: a cell
	// that moves behind it is found by the next call.
	var until int64
	if err := s.db.QueryRow(ctx, `SELECT coalesce(max(seq), 0) FROM course_clock WHERE course_id = $1`, courseID).Scan(&until); err != nil {
		return nil, fmt.Errorf("changes: %w", err)
	}
	b, err := s.bookOf(ctx, s.db, courseID)
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	var list []*gradespb.GradeChange
	rows, err := s.db.Query(ctx, `SELECT `+cellColumns+` FROM cell WHERE course_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4`, courseID, after, until, size+1)
	if err != nil {
		return nil, fmt.Errorf("changes: %w", err)
	}
	cells, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByPos[cell])
	if err != nil {
		return nil, fmt.Errorf("changes: %w", err)
	}
	for _, c := range cells {
		it := b.items[c.ItemID]
		if it == nil {
			it = &item{ItemID: c.ItemID}
		}
		list = append(list, &gradespb.GradeChange{Seq: c.Seq, Changed: &gradespb.GradeChange_Cell{Cell: b.cellMessage(c.AccountID, it, c, c.kept())}})
	}
	rows, err = s.db.Query(ctx, `SELECT `+studentColumns+` FROM student WHERE course_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4`, courseID, after, until, size+1)
	if err != nil {
		return nil, fmt.Errorf("changes: %w", err)
	}
	students, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[student])
	if err != nil {
		return nil, fmt.Errorf("changes: %w", err)
	}
	for _, st := range students {
		told := &gradespb.StudentTotals{AccountId: st.AccountID, Name: st.Name, Enrolled: st.Enrolled}
		if st.Totals != nil {
			told.Totals = st.Totals.message()
		}
		list = append(list, &gradespb.GradeChange{Seq: st.Seq, Changed: &gradespb.GradeChange_Student{Student: told}})
	}
	for _, it := range b.items {
		if it.Seq > after && it.Seq <= until {
			list = append(list, &gradespb.GradeChange{Seq: it.Seq, Changed: &gradespb.GradeChange_Column{Column: b.columnMessage(it)}})
		}
	}
	slices.SortFunc(list, func(a, b *gradespb.GradeChange) int { return cmp.Compare(a.GetSeq(), b.GetSeq()) })
	out := &gradespb.ListGradeChangesResponse{Items: list, NextCursor: seqCursor(max(until, after))}
	if len(list) > size {
		out.Items, out.More = list[:size], true
		out.NextCursor = seqCursor(list[size-1].GetSeq())
	}
	return out, nil
}
