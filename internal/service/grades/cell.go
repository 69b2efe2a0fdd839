package grades

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/gradebook"
	"github.com/stoa-lms/stoa/internal/pg"
)

// cell is what somebody has in an item, as it is kept. Its JSON is a row of the table.
type cell struct {
	CourseID       string     `json:"course_id"`
	ItemID         string     `json:"item_id"`
	AccountID      string     `json:"account_id"`
	SourceID       string     `json:"source_id"`
	State          string     `json:"state"`
	Points         *string    `json:"points"`
	MaxPoints      *string    `json:"max_points"`
	SubmittedAt    *time.Time `json:"submitted_at"`
	LateSeconds    int64      `json:"late_seconds"`
	Attempts       int32      `json:"attempts"`
	MarkedBy       string     `json:"marked_by"`
	MarkedAt       *time.Time `json:"marked_at"`
	MarkVersion    int64      `json:"mark_version"`
	Overdue        bool       `json:"overdue"`
	Override       *string    `json:"override"`
	OverrideBy     string     `json:"override_by"`
	OverrideReason string     `json:"override_reason"`
	Status         string     `json:"status"`
	StatusLate     int64      `json:"status_late"`
	StatusBy       string     `json:"status_by"`
	StatusReason   string     `json:"status_reason"`
	Feedback       string     `json:"feedback"`
	FeedbackBy     string     `json:"feedback_by"`
	Posted         *bool      `json:"posted"`
	PostedAt       *time.Time `json:"posted_at"`
	Score          *string    `json:"score"`
	Counted        string     `json:"counted"`
	ToldPercent    string     `json:"told_percent"`
	ToldPassed     bool       `json:"told_passed"`
	ToldVersion    int64      `json:"told_version"`
	Seq            int64      `json:"seq"`
	Anonymous      bool       `json:"anonymous"`
	Others         *others    `json:"others"`
}

// others are the attempts that could count in place of a mark, as they are kept.
type others struct {
	// Of the mark. A process of the version before, which knows none, leaves those of a
	// mark before.
	Version int64     `json:"version"`
	List    []attempt `json:"list"`
	// Which attempt was counted last: 0 for the mark itself, 1 for the first of these.
	Counts int `json:"counts"`
}

// attempt is one of several that a mark may be of.
type attempt struct {
	SourceID    string     `json:"source_id,omitempty"`
	Points      string     `json:"points"` // of the mark's maximum
	SubmittedAt *time.Time `json:"submitted_at,omitempty"`
	LateSeconds int64      `json:"late_seconds,omitempty"`
	MarkedBy    string     `json:"marked_by,omitempty"`
}

func (a attempt) is(b attempt) bool {
	return a.SourceID == b.SourceID && a.Points == b.Points && equalTime(a.SubmittedAt, b.SubmittedAt) && a.LateSeconds == b.LateSeconds && a.MarkedBy == b.MarkedBy
}

// others returns the attempts that could count in place of the mark.
func (c *cell) others() []attempt {
	if c.Others == nil || c.Others.Version != c.MarkVersion {
		return nil
	}
	return c.Others.List
}

// cellColumns are those of the table in the order of the struct; numbers as text
// without zeros at their end.
const cellColumns = `course_id, item_id, account_id, source_id, state, trim_scale(points)::text AS points, trim_scale(max_points)::text AS max_points,
	submitted_at, late_seconds, attempts, marked_by, marked_at, mark_version, overdue, trim_scale(override)::text AS override, override_by,
	override_reason, status, status_late, status_by, status_reason, feedback, feedback_by, posted, posted_at, trim_scale(score)::text AS score,
	counted, told_percent, told_passed, told_version, seq, coalesce(anonymous, false) AS anonymous, others`

// The states of a mark.
const (
	markNone      = "none"
	markSubmitted = "submitted"
	markMarked    = "marked"
	markExcused   = "excused"
)

// What staff may say in place of a derived status.
const (
	sayExcused = "excused"
	sayMissing = "missing"
	sayLate    = "late"
	sayOnTime  = "on_time"
)

// visible reports whether the student may see the grade. What nobody has decided yet
// of a calculated item is as its posting says: it is made of what is posted alone.
func (c *cell) visible(it *item) bool {
	if c == nil || c.Posted == nil {
		return it.calculated() && it.automatic()
	}
	return *c.Posted
}

// chosen reports whether when it was handed in, and how late, says which of several
// attempts has the mark.
func (c *cell) chosen() bool { return c.Attempts > 1 }

// shown is the cell as staff see it. Where marking is anonymous nothing of a mark that is
// not posted is told beside a name: not what it is, which attempt has it, or when it came.
func (c *cell) shown() *cell {
	if c == nil || !c.Anonymous || c.Posted != nil && *c.Posted || c.State != markMarked && c.State != markSubmitted {
		return c
	}
	s := *c
	s.State, s.SourceID, s.Points, s.MaxPoints = markSubmitted, "", nil, nil
	s.MarkedBy, s.MarkedAt, s.MarkVersion, s.Others = "", nil, 0, nil
	if c.chosen() {
		s.SubmittedAt, s.LateSeconds = nil, 0
	}
	return &s
}

// counted returns which of its attempts was counted last.
func (c *cell) counted() int {
	if len(c.others()) == 0 {
		return 0
	}
	return c.Others.Counts
}

// counts returns which of its attempts counts: 0 for the mark itself.
func (c *cell) counts(b *book, it *item) int {
	if c == nil || len(c.others()) == 0 {
		return 0
	}
	m := c.mark(it)
	return b.Counting(it.of, &m)
}

// counting is the cell by the one of its attempts that counts: the one of which the late
// policy leaves the most points. It is the cell itself where that is the mark, or nothing
// of it counts.
func (c *cell) counting(b *book, it *item) *cell {
	i := c.counts(b, it)
	if i == 0 {
		return c
	}
	a := c.others()[i-1]
	n := *c
	n.SourceID, n.Points, n.SubmittedAt, n.LateSeconds, n.MarkedBy, n.Others = a.SourceID, &a.Points, a.SubmittedAt, a.LateSeconds, a.MarkedBy, nil
	return &n
}

// deducted reports whether lateness may be taken off what staff enter as its mark.
func (c *cell) deducted(it *item) bool {
	return c != nil && it.Source == ofStaff && !it.calculated() && c.late() > 0
}

// late returns by how many seconds it counts as late.
func (c *cell) late() int64 {
	switch c.Status {
	case sayLate:
		return c.StatusLate
	case sayOnTime:
		return 0
	}
	return c.LateSeconds
}

// status returns how far the mark is, as it is derived, or as staff say.
func (c *cell) status() gradebook.Status {
	switch {
	case c.Status == sayExcused:
		return gradebook.Excused
	case c.Status == sayMissing:
		return gradebook.Missing
	case c.State == markExcused:
		return gradebook.Excused
	case c.State == markMarked:
		return gradebook.Graded
	case c.State == markSubmitted:
		return gradebook.Submitted
	case c.Overdue && c.Status != sayOnTime:
		return gradebook.Missing
	}
	return gradebook.None
}

// raw returns the mark in points of the item: what it has of its own maximum.
func (c *cell) raw(it *item) exact.Number { return c.scaled(c.Points, it) }

// scaled returns points of the mark's maximum in points of the item.
func (c *cell) scaled(points *string, it *item) exact.Number {
	n := numberOf(points)
	if of := numberOf(c.MaxPoints); of.Sign() > 0 && !of.Equal(it.of) {
		n = n.Mul(it.of).Div(of)
	}
	return n
}

// mark returns the cell as it is counted, by the attempt that counts of several.
func (c *cell) mark(it *item) gradebook.Mark {
	if c == nil {
		return gradebook.Mark{Hidden: it.calculated() && !it.automatic()}
	}
	seen := c.shown()
	m := gradebook.Mark{Status: seen.status(), Late: seen.late(), Hidden: !c.visible(it), Overridden: c.Override != nil, Override: numberOf(c.Override)}
	if m.Status != gradebook.Graded {
		return m
	}
	m.Raw = c.raw(it)
	if it.calculated() || c.Status == sayLate || c.Status == sayOnTime {
		return m // all are as late then, and the mark has the most points
	}
	for _, a := range seen.others() {
		m.Others = append(m.Others, gradebook.Attempt{Raw: c.scaled(&a.Points, it), Late: a.LateSeconds})
	}
	return m
}

// whole reports whether there is a grade to be posted.
func (c *cell) whole(b *book, it *item) bool {
	switch c.status() {
	case gradebook.Excused:
		return true
	case gradebook.Graded:
		return !it.calculated() || c.Override != nil
	case gradebook.Missing:
		return c.Override != nil || b.Policy().MissingDeduction != nil && !it.calculated()
	case gradebook.None, gradebook.Submitted:
	}
	return c.Override != nil
}

// statusWord is a status as the contract has it.
func statusWord(c *cell, has bool) string {
	if c == nil {
		if has {
			return "graded"
		}
		return "none"
	}
	switch s := c.status(); {
	case s == gradebook.Excused:
		return "excused"
	case s == gradebook.Graded, c.Override != nil:
		return "graded"
	case s == gradebook.Missing:
		return "missing"
	case s == gradebook.Submitted:
		return "submitted"
	case has:
		return "graded" // calculated
	}
	return "none"
}

// countedWord is what becomes of a score, as the contract has it.
func countedWord(s gradebook.State) string {
	switch s {
	case gradebook.Counted, gradebook.CountedZero:
		return "counted"
	case gradebook.ExtraCounted:
		return "extra"
	case gradebook.DroppedLowest:
		return "dropped_lowest"
	case gradebook.DroppedHighest:
		return "dropped_highest"
	case gradebook.ExcusedOut:
		return "excused"
	case gradebook.Uncounted:
		return "uncounted"
	case gradebook.Unscored:
	}
	return "unscored"
}

// readCells returns the cells of some students of a course, by account and item.
func readCells(ctx context.Context, q pg.Querier, courseID string, accounts, items []string) (map[string]map[string]*cell, error) {
	rows, err := q.Query(ctx, `
		SELECT `+cellColumns+` FROM cell WHERE course_id = $1 AND account_id = ANY ($2) AND ($3::text[] IS NULL OR item_id = ANY ($3))`, courseID, accounts, items)
	if err != nil {
		return nil, fmt.Errorf("read cells: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByPos[cell])
	if err != nil {
		return nil, fmt.Errorf("read cells: %w", err)
	}
	out := make(map[string]map[string]*cell, len(accounts))
	for _, account := range accounts {
		out[account] = map[string]*cell{}
	}
	for _, c := range list {
		out[c.AccountID][c.ItemID] = c
	}
	return out, nil
}

// totalOverride is a percentage that staff set, as it is kept.
type totalOverride struct {
	AccountID string
	Category  string
	Period    string
	Percent   string
	Posted    bool
	SetBy     string
	SetAt     time.Time
	Reason    string
}

// readOverrides returns the overrides of totals of some students, by account.
func readOverrides(ctx context.Context, q pg.Querier, courseID string, accounts []string) (map[string][]totalOverride, error) {
	rows, err := q.Query(ctx, `
		SELECT account_id, category, period, trim_scale(percent)::text AS percent, posted, set_by, set_at, reason FROM total_override
		WHERE course_id = $1 AND account_id = ANY ($2) ORDER BY category, period`, courseID, accounts)
	if err != nil {
		return nil, fmt.Errorf("read overrides: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[totalOverride])
	if err != nil {
		return nil, fmt.Errorf("read overrides: %w", err)
	}
	out := map[string][]totalOverride{}
	for _, o := range list {
		out[o.AccountID] = append(out[o.AccountID], o)
	}
	return out, nil
}

// row makes what is counted of a student's cells.
func (b *book) row(into *gradebook.Row, cells map[string]*cell, overrides []totalOverride) {
	if cap(into.Marks) < len(b.present) {
		into.Marks = make([]gradebook.Mark, len(b.present))
	}
	into.Marks = into.Marks[:len(b.present)]
	for i, it := range b.present {
		into.Marks[i] = cells[it.ItemID].mark(it)
	}
	into.Overrides = into.Overrides[:0]
	for _, o := range overrides {
		into.Overrides = append(into.Overrides, gradebook.Override{Category: o.Category, Period: o.Period, Percent: numberOf(&o.Percent), Hidden: !o.Posted})
	}
}
