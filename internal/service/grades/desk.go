package grades

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/gradebook"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// student is a row of the gradebook, as it is kept.
type student struct {
	AccountID   string
	Name        string
	Enrolled    bool
	Stale       bool
	Totals      *totals
	ToldPercent string
	ToldLetter  string
	ToldPassed  bool
	ToldVersion int64
	Revision    int64
	Seq         int64
}

const studentColumns = `account_id, name, enrolled, stale, totals, told_percent, told_letter, told_passed, told_version, revision, seq`

// total is what a student comes to, as it is kept. All of it is text, so that two are
// the same when they are equal.
type total struct {
	Percent    string `json:"percent,omitempty"` // rounded as the course does; empty for none
	Exact      string `json:"exact,omitempty"`
	Letter     string `json:"letter,omitempty"`
	Passed     bool   `json:"passed,omitempty"`
	Overridden bool   `json:"overridden,omitempty"`
	Points     string `json:"points,omitempty"`
	MaxPoints  string `json:"max_points,omitempty"`
}

// totals are the four totals of a student.
type totals struct {
	Current       total `json:"current"`
	Final         total `json:"final"`
	PostedCurrent total `json:"posted_current"`
	PostedFinal   total `json:"posted_final"`
}

func totalOf(t *gradebook.Total) total {
	if !t.Has {
		return total{}
	}
	out := total{Percent: t.Rounded.String(), Exact: t.Percent.String(), Letter: t.Letter, Passed: t.Passed, Overridden: t.Overridden}
	if t.Possible.Sign() != 0 {
		out.Points, out.MaxPoints = rounded(t.Earned), rounded(t.Possible)
	}
	return out
}

func totalsOf(r *gradebook.Result) totals {
	return totals{
		Current: totalOf(&r.Full.Current.Total), Final: totalOf(&r.Full.Final.Total),
		PostedCurrent: totalOf(&r.Posted.Current.Total), PostedFinal: totalOf(&r.Posted.Final.Total),
	}
}

// desk is where cells of some students are changed: their rows are locked until the
// transaction ends.
type desk struct {
	s     *Service
	tx    *pg.Tx
	book  *book
	now   time.Time
	seats map[string]*seat
	order []string // accounts, sorted

	history []*change
	batch   string
}

// seat is a student at a desk.
type seat struct {
	*student

	cells     map[string]*cell
	before    map[string]cell // those that were touched, as they were
	overrides []totalOverride
	touched   bool // something of the row itself has changed
}

// lockGradebook keeps the columns and criteria of a course as they are until tx ends.
// Who changes cells holds it, so that nobody counts by criteria that are just being
// replaced. It is an advisory lock because many hold it at once.
func lockGradebook(ctx context.Context, tx *pg.Tx, courseID string) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock_shared(hashtext('grades.course'), hashtext($1))`, courseID); err != nil {
		return fmt.Errorf("lock gradebook: %w", err)
	}
	return nil
}

// lockGradebookToChange waits for all who hold [lockGradebook], and keeps them out.
func lockGradebookToChange(ctx context.Context, tx *pg.Tx, courseID string) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('grades.course'), hashtext($1))`, courseID); err != nil {
		return fmt.Errorf("lock gradebook to change: %w", err)
	}
	return nil
}

// open locks the gradebook and the rows of some students and returns them with their
// cells. Who is not in the gradebook has no seat.
func (s *Service) open(ctx context.Context, tx *pg.Tx, courseID string, accounts ...string) (*desk, error) {
	if err := lockGradebook(ctx, tx, courseID); err != nil {
		return nil, err
	}
	return s.openLocked(ctx, tx, courseID, accounts...)
}

// openLocked is open for who has locked the gradebook, and has not changed it.
func (s *Service) openLocked(ctx context.Context, tx *pg.Tx, courseID string, accounts ...string) (*desk, error) {
	return s.openWith(ctx, tx, courseID, s.bookOf, accounts)
}

// openChanged is open for who has changed the gradebook in the same transaction.
func (s *Service) openChanged(ctx context.Context, tx *pg.Tx, courseID string, accounts ...string) (*desk, error) {
	return s.openWith(ctx, tx, courseID, readBook, accounts)
}

func (s *Service) openWith(ctx context.Context, tx *pg.Tx, courseID string, bookOf func(context.Context, pg.Querier, string) (*book, error), accounts []string) (*desk, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+studentColumns+` FROM student WHERE course_id = $1 AND account_id = ANY ($2) ORDER BY account_id FOR NO KEY UPDATE`, courseID, accounts)
	if err != nil {
		return nil, fmt.Errorf("lock students: %w", err)
	}
	students, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[student])
	if err != nil {
		return nil, fmt.Errorf("lock students: %w", err)
	}
	// Only now: what was changed while the locks were waited for is seen.
	b, err := bookOf(ctx, tx, courseID)
	if err != nil {
		return nil, err
	}
	d := &desk{s: s, tx: tx, book: b, now: s.now(), seats: make(map[string]*seat, len(students))}
	for _, st := range students {
		d.order = append(d.order, st.AccountID)
	}
	cells, err := readCells(ctx, tx, courseID, d.order, nil)
	if err != nil {
		return nil, err
	}
	overrides, err := readOverrides(ctx, tx, courseID, d.order)
	if err != nil {
		return nil, err
	}
	for _, st := range students {
		d.seats[st.AccountID] = &seat{student: st, cells: cells[st.AccountID], before: map[string]cell{}, overrides: overrides[st.AccountID]}
	}
	return d, nil
}

// touch returns a cell to be changed, made where there is none.
func (d *desk) touch(st *seat, itemID string) *cell {
	c := st.cells[itemID]
	if c == nil {
		c = &cell{CourseID: d.book.CourseID, ItemID: itemID, AccountID: st.AccountID, State: markNone}
		st.cells[itemID] = c
	}
	if _, ok := st.before[itemID]; !ok {
		st.before[itemID] = *c
	}
	return c
}

// publish posts what is whole and posted by itself, unless somebody has decided of it.
func (d *desk) publish(st *seat) {
	for _, it := range d.book.present {
		if c := st.cells[it.ItemID]; c != nil && c.Posted == nil && it.automatic() && c.whole(d.book, it) {
			yes := true
			c = d.touch(st, it.ItemID)
			c.Posted, c.PostedAt = &yes, &d.now
		}
	}
}

// settle counts all seats, writes what is another than before, and tells it.
func (d *desk) settle(ctx context.Context) error {
	var row gradebook.Row
	var result gradebook.Result
	var cells, counted, unseen []*cell // changed, those of which only what was counted is, or nothing that staff see
	var seats []*seat
	var events []proto.Message
	for _, account := range d.order {
		st := d.seats[account]
		d.publish(st)
		d.book.row(&row, st.cells, st.overrides)
		d.book.Into(&result, &row)
		d.count(st, &result)
		for itemID, was := range st.before {
			c := st.cells[itemID]
			it := d.book.items[itemID]
			if it != nil && it.Present {
				events = append(events, d.tellCell(c, it, &result)...)
			}
			switch asCounted := c.asCounted(was); {
			case same(c, &was):
			case was.Seq > 0 && same(c.shown(), was.shown()):
				unseen = append(unseen, c)
			case was.Seq > 0 && same(c, &asCounted):
				counted = append(counted, c)
			default:
				cells = append(cells, c)
			}
		}
		if changed, event := d.tellTotals(st, &result); changed || st.touched {
			seats = append(seats, st)
			if event != nil {
				events = append(events, event)
			}
		}
	}
	slices.SortFunc(cells, compareCells)
	slices.SortFunc(counted, compareCells)
	slices.SortFunc(unseen, compareCells)
	return d.write(ctx, cells, counted, unseen, seats, events)
}

// asCounted returns a cell with what was counted of another.
func (c *cell) asCounted(was cell) cell {
	was.Posted, was.PostedAt, was.Score, was.Counted = c.Posted, c.PostedAt, c.Score, c.Counted
	was.ToldPercent, was.ToldPassed, was.ToldVersion = c.ToldPercent, c.ToldPassed, c.ToldVersion
	return was
}

// count puts scores into cells. Only where one is another than before the cell is
// touched.
func (d *desk) count(st *seat, r *gradebook.Result) {
	for i, it := range d.book.present {
		s := &r.Full.Current.Items[i]
		c := st.cells[it.ItemID]
		if c == nil && !s.Has {
			continue
		}
		var score *string
		if s.Has {
			text := rounded(s.Points)
			score = &text
		}
		counted, counts := countedWord(s.State), c.counts(d.book, it)
		if c != nil && equal(c.Score, score) && c.Counted == counted && c.counted() == counts && !d.untold(c, it, r) {
			continue
		}
		c = d.touch(st, it.ItemID)
		c.Score, c.Counted = score, counted
		if c.counted() != counts {
			c.Others = &others{Version: c.Others.Version, List: c.Others.List, Counts: counts}
		}
	}
}

// untold reports whether what the student may see is another than was told.
func (d *desk) untold(c *cell, it *item, r *gradebook.Result) bool {
	percent, passed := d.seen(c, it, r)
	return percent != c.ToldPercent || passed != c.ToldPassed
}

// seen returns what the student may see of a cell.
func (d *desk) seen(c *cell, it *item, r *gradebook.Result) (percent string, passed bool) {
	s := &r.Posted.Current.Items[it.index]
	if !c.visible(it) || !s.Has {
		return "", false
	}
	return bounded(percentOf(s.Points, it.of)), d.book.passes(it, s.Points)
}

// bounded is a percentage that others can keep. Only a formula comes to more.
func bounded(percent string) string {
	n := numberOf(&percent)
	if percent == "" || n.Cmp(most) <= 0 && n.Cmp(most.Neg()) >= 0 {
		return percent
	}
	if n.Sign() < 0 {
		return most.Neg().String()
	}
	return most.String()
}

var most = exact.Int(1_000_000_000)

// percentOf returns points in percent of others, of at most 4 places; empty where there
// are none.
func percentOf(points, of exact.Number) string {
	if of.Sign() <= 0 {
		return ""
	}
	return points.Mul(exact.Int(100)).Div(of).Round(4, exact.HalfEven).String()
}

// passes reports whether points pass an item: by its own pass mark or that of the
// course. It is held against the exact percentage.
func (b *book) passes(it *item, points exact.Number) bool {
	pass := it.pass
	if pass == nil {
		pass = b.Policy().PassMark
	}
	return pass != nil && it.of.Sign() > 0 && points.Mul(exact.Int(100)).Cmp(pass.Mul(it.of)) >= 0
}

// tellCell notes what the student may see now, and returns the event that says it.
func (d *desk) tellCell(c *cell, it *item, r *gradebook.Result) []proto.Message {
	if !d.untold(c, it, r) {
		return nil
	}
	c.ToldPercent, c.ToldPassed = d.seen(c, it, r)
	c.ToldVersion++
	return []proto.Message{&gradespb.GradePosted{
		CourseId: c.CourseID, ItemId: c.ItemID, AccountId: c.AccountID, Percent: c.ToldPercent, Passed: c.ToldPassed,
		Version: c.ToldVersion, ChangedAt: timestamppb.New(d.now), Title: it.Title,
	}}
}

// tellTotals notes totals, reports whether they are others than before, and returns the
// event for those that the student may see.
func (d *desk) tellTotals(st *seat, r *gradebook.Result) (changed bool, event proto.Message) {
	now := totalsOf(r)
	if st.Totals == nil || *st.Totals != now || st.Stale {
		st.Totals, st.Stale, changed = &now, false, true
	}
	percent, letter, passed := bounded(now.PostedCurrent.Percent), now.PostedCurrent.Letter, now.PostedFinal.Passed
	if percent == st.ToldPercent && letter == st.ToldLetter && passed == st.ToldPassed {
		return changed, nil
	}
	st.ToldPercent, st.ToldLetter, st.ToldPassed = percent, letter, passed
	st.ToldVersion++
	return true, &gradespb.CourseGradeChanged{
		CourseId: d.book.CourseID, AccountId: st.AccountID, Percent: percent, Letter: letter, Passed: passed, Version: st.ToldVersion,
	}
}

func equal(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

func equalTime(a, b *time.Time) bool { return a == b || a != nil && b != nil && a.Equal(*b) }

func equalBool(a, b *bool) bool { return a == b || a != nil && b != nil && *a == *b }

// same reports whether a cell is as it was.
func same(a, b *cell) bool {
	x, y := *a, *b
	ok := equal(x.Points, y.Points) && equal(x.MaxPoints, y.MaxPoints) && equalTime(x.SubmittedAt, y.SubmittedAt) && equalTime(x.MarkedAt, y.MarkedAt) &&
		equal(x.Override, y.Override) && equalBool(x.Posted, y.Posted) && equalTime(x.PostedAt, y.PostedAt) && equal(x.Score, y.Score) &&
		slices.EqualFunc(x.others(), y.others(), attempt.is) && x.counted() == y.counted()
	for _, c := range []*cell{&x, &y} {
		c.Points, c.MaxPoints, c.SubmittedAt, c.MarkedAt, c.Override, c.Posted, c.PostedAt, c.Score, c.Others = nil, nil, nil, nil, nil, nil, nil, nil, nil
	}
	return ok && x == y
}

func compareCells(a, b *cell) int {
	if a.AccountID != b.AccountID {
		if a.AccountID < b.AccountID {
			return -1
		}
		return 1
	}
	if a.ItemID < b.ItemID {
		return -1
	}
	if a.ItemID > b.ItemID {
		return 1
	}
	return 0
}
