package grades

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/gradebook"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// GetGradebook implements gradespb.GridServiceServer.
func (r *gridServer) GetGradebook(ctx context.Context, req *gradespb.GetGradebookRequest) (*gradespb.Gradebook, error) {
	s := r.service
	b, err := s.bookOf(ctx, s.db, req.GetCourseId())
	if err != nil {
		return nil, err
	}
	out := &gradespb.Gradebook{
		CourseId: b.CourseID, Title: b.Title, Calculation: int32(b.Calculation), Posting: b.Posting, Statistics: b.Statistics, //nolint:gosec // small
		Problems: b.problems, Etag: strconv.FormatInt(b.Revision, 10),
	}
	for _, it := range b.present {
		out.Columns = append(out.Columns, b.columnMessage(it))
	}
	for _, g := range b.Policy().Categories {
		group := &gradespb.ColumnGroup{Key: g.Key, Title: g.Title, Parent: g.Parent}
		if g.Weight != nil {
			group.Weight = g.Weight.String()
		}
		out.Categories = append(out.Categories, group)
	}
	for _, p := range b.Policy().Periods {
		group := &gradespb.ColumnGroup{Key: p.Key, Title: p.Title}
		if p.Weight != nil {
			group.Weight = p.Weight.String()
		}
		out.Periods = append(out.Periods, group)
	}
	if b.Problem != nil {
		kept := &gradespb.GradingProblems{}
		if err := proto.Unmarshal(b.Problem, kept); err != nil {
			return nil, fmt.Errorf("problems: %w", err)
		}
		out.Problems = append(kept.GetItems(), out.GetProblems()...)
	}
	var seq int64
	err = s.db.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM student WHERE course_id = $1 AND enrolled_at IS NOT NULL AND enrolled)::int, coalesce((SELECT seq FROM course_clock WHERE course_id = $1), 0),
			t.course_id IS NOT NULL, coalesce(t.done, 0), coalesce(t.total, 0)
		FROM (SELECT) AS one LEFT JOIN recompute_task t ON t.course_id = $1`, req.GetCourseId()).
		Scan(&out.Students, &seq, &out.Calculating, &out.Calculated, &out.ToCalculate)
	if err != nil {
		return nil, fmt.Errorf("gradebook: %w", err)
	}
	out.ChangesCursor = seqCursor(seq)
	out.Sections, err = sections(ctx, s.db, req.GetCourseId())
	return out, err
}

// sections returns the cohorts and groups of a course by name.
func sections(ctx context.Context, q pg.Querier, courseID string) ([]*gradespb.GradebookSection, error) {
	rows, err := q.Query(ctx, `SELECT section_id, kind, name FROM section WHERE course_id = $1 AND NOT gone ORDER BY kind, name, section_id LIMIT 2000`, courseID)
	if err != nil {
		return nil, fmt.Errorf("sections: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*gradespb.GradebookSection, error) {
		out := &gradespb.GradebookSection{}
		return out, row.Scan(&out.SectionId, &out.Kind, &out.Name)
	})
	if err != nil {
		return nil, fmt.Errorf("sections: %w", err)
	}
	return list, nil
}

// window is what of a grid is read.
type window struct {
	courseID string
	sections []string
	all      bool // those who are enrolled no more too
	name     string

	afterKey, afterID string
	size              int
}

// students returns the next students of a window, one more than its size where there
// are more.
func (s *Service) students(ctx context.Context, q pg.Querier, w window) ([]*student, []string, error) {
	where := `s.course_id = $1 AND s.enrolled_at IS NOT NULL AND (s.sort_key, s.account_id) > ($2, $3)`
	args := []any{w.courseID, w.afterKey, w.afterID, w.size + 1}
	if !w.all {
		where += ` AND s.enrolled`
	}
	if w.name != "" {
		key := sortKey(w.name)
		args = append(args, key, key+"\U0010ffff")
		where += fmt.Sprintf(` AND s.sort_key >= $%d AND s.sort_key < $%d`, len(args)-1, len(args))
	}
	if len(w.sections) > 0 {
		args = append(args, w.sections)
		where += ` AND ` + inSections("$"+strconv.Itoa(len(args)))
	}
	rows, err := q.Query(ctx, `SELECT sort_key, `+studentColumns+` FROM student s WHERE `+where+` ORDER BY s.sort_key, s.account_id LIMIT $4`, args...)
	if err != nil {
		return nil, nil, fmt.Errorf("list students: %w", err)
	}
	type keyed struct {
		SortKey string
		student
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[keyed])
	if err != nil {
		return nil, nil, fmt.Errorf("list students: %w", err)
	}
	out, keys := make([]*student, len(list)), make([]string, len(list))
	for i, k := range list {
		out[i], keys[i] = &k.student, k.SortKey
	}
	return out, keys, nil
}

// rows counts the students of a window by what is stored, with the columns that are
// asked for, and calls with each.
func (s *Service) rows(ctx context.Context, q pg.Querier, b *book, list []*student, each func(st *student, cells map[string]*cell, r *gradebook.Result) error) error {
	accounts := make([]string, len(list))
	for i, st := range list {
		accounts[i] = st.AccountID
	}
	cells, err := readCells(ctx, q, b.CourseID, accounts, nil)
	if err != nil {
		return err
	}
	overrides, err := readOverrides(ctx, q, b.CourseID, accounts)
	if err != nil {
		return err
	}
	var row gradebook.Row
	var result gradebook.Result
	for _, st := range list {
		b.row(&row, cells[st.AccountID], overrides[st.AccountID])
		b.Into(&result, &row)
		if err := each(st, cells[st.AccountID], &result); err != nil {
			return err
		}
	}
	return nil
}

// columnsOf returns the columns that are asked for, all for none. Those that are not
// there are left out.
func (b *book) columnsOf(ids []string) []*item {
	if len(ids) == 0 {
		return b.present
	}
	wanted := map[string]bool{}
	for _, id := range ids {
		wanted[id] = true
	}
	var out []*item
	for _, it := range b.present {
		if wanted[it.ItemID] {
			out = append(out, it)
		}
	}
	return out
}

// ListGradeRows implements gradespb.GridServiceServer.
func (r *gridServer) ListGradeRows(ctx context.Context, req *gradespb.ListGradeRowsRequest) (*gradespb.ListGradeRowsResponse, error) {
	s := r.service
	b, err := s.bookOf(ctx, s.db, req.GetCourseId())
	if err != nil {
		return nil, err
	}
	values, err := page.Values(req.GetCursor(), 2)
	if err != nil {
		return nil, err
	}
	w := window{
		courseID: req.GetCourseId(), sections: req.GetSectionIds(), all: req.GetState() == "all", name: req.GetName(), size: page.Size(req.GetPageSize()),
	}
	if values != nil {
		w.afterKey, w.afterID = values[0], values[1]
	}
	list, keys, err := s.students(ctx, s.db, w)
	if err != nil {
		return nil, err
	}
	out := &gradespb.ListGradeRowsResponse{}
	if len(list) > w.size {
		list = list[:w.size]
		out.NextCursor = page.Cursor(keys[w.size-1], list[w.size-1].AccountID)
	}
	columns := b.columnsOf(req.GetItemIds())
	err = s.rows(ctx, s.db, b, list, func(st *student, cells map[string]*cell, result *gradebook.Result) error {
		row := &gradespb.GradeRow{AccountId: st.AccountID, Name: st.Name, Enrolled: st.Enrolled, Totals: totalsOf(result).message()}
		for _, it := range columns {
			row.Cells = append(row.Cells, b.cellMessage(st.AccountID, it, cells[it.ItemID], &result.Full.Current.Items[it.index]))
		}
		out.Items = append(out.Items, row)
		return nil
	})
	return out, err
}
