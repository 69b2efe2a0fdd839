package grades

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/gradebook"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// ledger is all of one student, as it is counted now.
type ledger struct {
	*student

	book      *book
	cells     map[string]*cell
	overrides []totalOverride
	row       gradebook.Row
	result    gradebook.Result
}

// ledgerOf counts the grades of one student. notFound is told for who is not in the
// gradebook.
func (s *Service) ledgerOf(ctx context.Context, q pg.Querier, courseID, accountID string, notFound error) (*ledger, error) {
	rows, err := q.Query(ctx, `SELECT `+studentColumns+` FROM student WHERE course_id = $1 AND account_id = $2`, courseID, accountID)
	if err != nil {
		return nil, fmt.Errorf("read student: %w", err)
	}
	st, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[student])
	if pg.NoRows(err) {
		return nil, notFound
	}
	if err != nil {
		return nil, fmt.Errorf("read student: %w", err)
	}
	b, err := s.bookOf(ctx, q, courseID)
	if err != nil {
		return nil, err
	}
	cells, err := readCells(ctx, q, courseID, []string{accountID}, nil)
	if err != nil {
		return nil, err
	}
	overrides, err := readOverrides(ctx, q, courseID, []string{accountID})
	if err != nil {
		return nil, err
	}
	l := &ledger{student: st, book: b, cells: cells[accountID], overrides: overrides[accountID]}
	b.row(&l.row, l.cells, l.overrides)
	b.Into(&l.result, &l.row)
	return l, nil
}

// own returns the caller's own ledger.
func (s *Service) own(ctx context.Context, courseID string) (*ledger, error) {
	return s.ledgerOf(ctx, s.db, courseID, auth.From(ctx).Account, ErrNoGradebook)
}

// hiddenItems returns the items of a course that are hidden from somebody.
func (s *Service) hiddenItems(ctx context.Context, courseID, accountID string) (map[string]bool, error) {
	if s.items == nil {
		return nil, nil
	}
	res, err := s.items.CheckItems(ctx, &learningpb.CheckItemsRequest{CourseId: courseID, AccountId: accountID, HiddenOnly: true})
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, it := range res.GetItems() {
		out[it.GetItemId()] = it.GetState() == "hidden"
	}
	return out, nil
}

// mine returns what the student may know of an item. While its grade is not posted that
// is what they did themselves.
func (l *ledger) mine(it *item) *gradespb.MyGrade {
	out := &gradespb.MyGrade{
		ItemId: it.ItemID, Title: it.Title, Kind: it.Kind, Category: it.Category, Period: it.Period, Status: "none", ExtraCredit: it.ExtraCredit,
	}
	if it.known {
		out.MaxPoints = it.of.String()
	}
	c := l.cells[it.ItemID]
	score := &l.result.Posted.Current.Items[it.index]
	if out.Posted = c.visible(it) && (score.Has || c != nil && c.whole(l.book, it)); out.Posted {
		c = c.counting(l.book, it)
	}
	if c != nil && (out.Posted || !c.chosen()) {
		out.SubmittedAt = optional(c.SubmittedAt)
	}
	if !out.Posted {
		out.Counted = countedWord(score.State)
		if c == nil {
			return out
		}
		if !c.chosen() {
			out.LateSeconds, out.Late = c.LateSeconds, c.LateSeconds > 0
		}
		switch {
		case c.SubmittedAt != nil:
			out.Status = "submitted"
		case c.Overdue:
			out.Status = "missing"
		}
		return out
	}
	out.Status, out.Counted = statusWord(c, score.Has), countedWord(score.State)
	if score.Has {
		out.Points, out.Percent, out.Passed = rounded(score.Points), percentOf(score.Points, it.of), l.book.passes(it, score.Points)
	}
	if c == nil {
		return out
	}
	out.LateSeconds, out.Late = c.late(), c.late() > 0
	out.Feedback, out.PostedAt, out.Overridden = c.Feedback, optional(c.PostedAt), c.Override != nil
	m := c.mark(it)
	switch {
	case m.Overridden || !score.Has:
	case m.Status == gradebook.Graded && !it.calculated():
		out.RawPoints = rounded(m.Raw)
		if d := m.Raw.Sub(score.Points); d.Sign() > 0 {
			out.Deducted = rounded(d)
		}
	case m.Status == gradebook.Missing:
		if d := it.of.Sub(score.Points); d.Sign() > 0 {
			out.Deducted = rounded(d)
		}
	}
	return out
}

// GetMyGrades implements gradespb.GradeServiceServer.
func (r *gradeServer) GetMyGrades(ctx context.Context, req *gradespb.GetMyGradesRequest) (*gradespb.MyGrades, error) {
	l, err := r.service.own(ctx, req.GetCourseId())
	if err != nil {
		return nil, err
	}
	hidden, err := r.service.hiddenItems(ctx, req.GetCourseId(), l.AccountID)
	if err != nil {
		return nil, err
	}
	return l.myGrades(hidden), nil
}

func (l *ledger) myGrades(hidden map[string]bool) *gradespb.MyGrades {
	out := &gradespb.MyGrades{CourseId: l.book.CourseID, Title: l.book.Title, Statistics: l.book.Statistics}
	for _, it := range l.book.present {
		mine := l.mine(it)
		if hidden[it.ItemID] && !mine.GetPosted() {
			continue
		}
		out.Items = append(out.Items, mine)
	}
	out.Categories, out.Periods = l.book.groups(&l.result.Posted)
	out.Current, out.Final = totalOf(&l.result.Posted.Current.Total).message(), totalOf(&l.result.Posted.Final.Total).message()
	return out
}

// ListMyTotals implements gradespb.GradeServiceServer.
func (r *gradeServer) ListMyTotals(ctx context.Context, req *gradespb.ListMyTotalsRequest) (*gradespb.ListMyTotalsResponse, error) {
	values, err := page.Values(req.GetCursor(), 1)
	if err != nil {
		return nil, err
	}
	after := ""
	if values != nil {
		after = values[0]
	}
	size := page.Size(req.GetPageSize())
	rows, err := r.service.db.Query(ctx, `
		SELECT s.course_id, c.title, s.totals, s.stale OR EXISTS (SELECT FROM recompute_task t WHERE t.course_id = s.course_id) AS behind
		FROM student s JOIN course c USING (course_id)
		WHERE s.account_id = $1 AND s.course_id > $2 AND s.enrolled_at IS NOT NULL ORDER BY s.course_id LIMIT $3`, auth.From(ctx).Account, after, size+1)
	if err != nil {
		return nil, fmt.Errorf("list totals: %w", err)
	}
	type kept struct {
		CourseID, Title string
		Totals          *totals
		Behind          bool // what is kept may have what is hidden meanwhile
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[kept])
	if err != nil {
		return nil, fmt.Errorf("list totals: %w", err)
	}
	out := &gradespb.ListMyTotalsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.Cursor(list[size-1].CourseID)
	}
	for _, k := range list {
		var t totals
		switch {
		case k.Behind:
			l, err := r.service.own(ctx, k.CourseID)
			if err != nil {
				return nil, err
			}
			t = totalsOf(&l.result)
		case k.Totals != nil:
			t = *k.Totals
		}
		out.Items = append(out.Items, &gradespb.MyTotal{CourseId: k.CourseID, Title: k.Title, Current: t.PostedCurrent.message(), Final: t.PostedFinal.message()})
	}
	return out, nil
}

// basisOf is which total is asked for.
func basisOf(word string) gradebook.Basis {
	if word == "final" {
		return gradebook.Final
	}
	return gradebook.Current
}

// seenOf is whose eyes a total is for.
func seenOf(word string) gradebook.Seen {
	if word == "posted" {
		return gradebook.Posted
	}
	return gradebook.Full
}

// ExplainMyGrade implements gradespb.GradeServiceServer.
func (r *gradeServer) ExplainMyGrade(ctx context.Context, req *gradespb.ExplainMyGradeRequest) (*gradespb.GradeDerivation, error) {
	l, err := r.service.own(ctx, req.GetCourseId())
	if err != nil {
		return nil, err
	}
	hidden, err := r.service.hiddenItems(ctx, req.GetCourseId(), l.AccountID)
	if err != nil {
		return nil, err
	}
	out, err := l.explain(gradebook.Posted, basisOf(req.GetBasis()), gradebook.Part{Category: req.GetCategory(), Period: req.GetPeriod()})
	if err != nil {
		return nil, err
	}
	// An item that is hidden from them counts in a final total, and is not named.
	for _, step := range out.GetSteps() {
		if it := l.book.items[step.GetRef()]; it != nil && hidden[it.ItemID] && !l.mine(it).GetPosted() {
			step.Label = ""
		}
	}
	return out, nil
}

// estimate counts a student's grades with other marks.
func (l *ledger) estimate(seen gradebook.Seen, list []*gradespb.Assumption) (*gradespb.GradeEstimate, error) {
	changes := make([]gradebook.Change, 0, len(list))
	for _, a := range list {
		it := l.book.items[a.GetItemId()]
		if it == nil || !it.Present {
			return nil, ErrItemNotFound
		}
		c := gradebook.Change{Item: it.index}
		switch {
		case a.GetExcused():
			c.Mark.Status = gradebook.Excused
		case a.GetPoints() != "":
			points := a.GetPoints()
			c.Mark.Overridden, c.Mark.Override = true, numberOf(&points)
		default:
			// What a formula makes of others is no more seen for it.
			c.Mark.Hidden = seen == gradebook.Posted && l.row.Marks[it.index].Hidden
		}
		changes = append(changes, c)
	}
	r := l.book.Student(l.row.WhatIf(seen, changes...))
	t := &r.Full
	if seen == gradebook.Posted {
		t = &r.Posted
	}
	out := &gradespb.GradeEstimate{Current: totalOf(&t.Current.Total).message(), Final: totalOf(&t.Final.Total).message()}
	out.Categories, _ = l.book.groups(t)
	for i, it := range l.book.present {
		s := t.Current.Items[i]
		e := &gradespb.EstimatedItem{ItemId: it.ItemID, Counted: countedWord(s.State)}
		if s.Has {
			e.Points = rounded(s.Points)
		}
		out.Items = append(out.Items, e)
	}
	return out, nil
}

// EstimateMyGrades implements gradespb.GradeServiceServer.
func (r *gradeServer) EstimateMyGrades(ctx context.Context, req *gradespb.EstimateMyGradesRequest) (*gradespb.GradeEstimate, error) {
	l, err := r.service.own(ctx, req.GetCourseId())
	if err != nil {
		return nil, err
	}
	hidden, err := r.service.hiddenItems(ctx, req.GetCourseId(), l.AccountID)
	if err != nil {
		return nil, err
	}
	unseen := func(itemID string) bool {
		it := l.book.items[itemID]
		return it != nil && it.Present && hidden[itemID] && !l.mine(it).GetPosted()
	}
	for _, a := range req.GetAssumptions() {
		if unseen(a.GetItemId()) {
			return nil, ErrItemNotFound
		}
	}
	out, err := l.estimate(gradebook.Posted, req.GetAssumptions())
	if err != nil {
		return nil, err
	}
	kept := out.GetItems()[:0]
	for _, e := range out.GetItems() {
		if !unseen(e.GetItemId()) {
			kept = append(kept, e)
		}
	}
	out.Items = kept
	return out, nil
}
