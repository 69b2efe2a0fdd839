package grades

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/maypok86/otter/v2"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/gradebook"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// course is how a course is graded, as it is kept.
type course struct {
	CourseID    string
	Sequence    int64
	Version     int32
	Title       string
	Criteria    []byte
	Calculation int
	Posting     string
	Statistics  bool
	Revision    int64
	Problem     []byte
}

const courseColumns = `course_id, sequence, version, title, criteria, calculation, posting, statistics, revision, problem`

// item is a column, as it is kept.
type item struct {
	ItemID      string
	Source      string
	Kind        string
	Title       string
	Position    int32
	Present     bool
	ToldPoints  *string
	Points      *string
	Category    string
	Period      string
	Weight      *string
	ExtraCredit bool
	NeverDrop   bool
	Excluded    bool
	Formula     string
	PassPercent *string
	Posting     string
	Revision    int64
	Seq         int64

	index int          // in the policy, while it is present
	of    exact.Number // points possible
	known bool         // whether anybody has said how many
	pass  *exact.Number
}

const itemColumns = `item_id, source, kind, title, position, present, trim_scale(told_points)::text AS told_points, trim_scale(points)::text AS points,
	category, period, trim_scale(weight)::text AS weight, extra_credit, never_drop, excluded, formula, trim_scale(pass_percent)::text AS pass_percent,
	posting, revision, seq`

// Where a column comes from.
const (
	ofCourse = "course"
	ofStaff  = "staff"
)

const calculatedKind = "calculated"

// calculated reports whether a formula makes its score.
func (it *item) calculated() bool { return it.Formula != "" }

// automatic reports whether its grades are posted by themselves.
func (it *item) automatic() bool { return it.Posting == "automatic" }

// bookKey names a state of how a course is graded.
type bookKey struct {
	course   string
	revision int64
}

// book is a state of how a course is graded, made ready. It is shared and never
// changed.
type book struct {
	course

	*gradebook.Book
	// In the order of the policy's items.
	present  []*item
	items    map[string]*item // those that are not present too
	problems []*gradespb.GradingProblem
}

// maxCachedItems bounds what is kept of all courses in memory.
const maxCachedItems = 200_000

func newBooks() *otter.Cache[bookKey, *book] {
	return otter.Must(&otter.Options[bookKey, *book]{
		MaximumWeight: maxCachedItems,
		Weigher:       func(_ bookKey, b *book) uint32 { return uint32(len(b.items)) + 1 }, //nolint:gosec // some thousand
	})
}

// bookOf returns how a course is graded now: ErrNoGradebook where it has none. It is
// read by q where it is not in memory; q is not a transaction that has changed it.
func (s *Service) bookOf(ctx context.Context, q pg.Querier, courseID string) (*book, error) {
	var revision int64
	err := q.QueryRow(ctx, `SELECT revision FROM course WHERE course_id = $1`, courseID).Scan(&revision)
	if pg.NoRows(err) {
		return nil, ErrNoGradebook
	}
	if err != nil {
		return nil, fmt.Errorf("revision: %w", err)
	}
	key := bookKey{courseID, revision}
	if b, ok := s.books.GetIfPresent(key); ok {
		return b, nil
	}
	b, err := readBook(ctx, q, courseID)
	if err != nil {
		return nil, err
	}
	if b.Revision == revision {
		s.books.Set(key, b)
	}
	return b, nil
}

// readBook makes the book of what is stored now.
func readBook(ctx context.Context, q pg.Querier, courseID string) (*book, error) {
	rows, err := q.Query(ctx, `SELECT `+courseColumns+` FROM course WHERE course_id = $1`, courseID)
	if err != nil {
		return nil, fmt.Errorf("read course: %w", err)
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[course])
	if pg.NoRows(err) {
		return nil, ErrNoGradebook
	}
	if err != nil {
		return nil, fmt.Errorf("read course: %w", err)
	}
	items, err := readItems(ctx, q, courseID)
	if err != nil {
		return nil, err
	}
	return makeBook(c, items)
}

func readItems(ctx context.Context, q pg.Querier, courseID string) ([]*item, error) {
	rows, err := q.Query(ctx, `SELECT `+itemColumns+` FROM item WHERE course_id = $1 ORDER BY source, position, item_id`, courseID)
	if err != nil {
		return nil, fmt.Errorf("read items: %w", err)
	}
	items, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[item])
	if err != nil {
		return nil, fmt.Errorf("read items: %w", err)
	}
	return items, nil
}

// makeBook compiles a course and its items. What of the items can't be counted is left
// out and told as a problem; what of the criteria can't is told as an error.
func makeBook(c course, items []*item) (*book, error) {
	var criteria *coursespb.GradingPolicy
	if c.Criteria != nil {
		criteria = &coursespb.GradingPolicy{}
		if err := proto.Unmarshal(c.Criteria, criteria); err != nil {
			return nil, fmt.Errorf("criteria of %s: %w", c.CourseID, err)
		}
	}
	policy, said, err := policyOf(c.Calculation, criteria)
	if err != nil {
		return nil, fmt.Errorf("criteria of %s: %w", c.CourseID, err)
	}
	b := &book{course: c, items: make(map[string]*item, len(items))}
	keys := map[string]bool{"": true}
	for _, g := range policy.Categories {
		keys[g.Key] = true
	}
	for _, it := range items {
		b.items[it.ItemID] = it
		it.pass = optionalNumber(it.PassPercent)
		if it.Source == ofCourse {
			it.saidBy(said[it.ItemID])
		}
		it.worth()
		if !it.Present {
			continue
		}
		g := gradebook.Item{
			ID: it.ItemID, Title: it.Title, Path: "columns." + it.ItemID, Category: it.Category, Period: it.Period, Points: it.of,
			Weight: optionalNumber(it.Weight), ExtraCredit: it.ExtraCredit, NeverDrop: it.NeverDrop, Excluded: it.Excluded || !it.known, Formula: it.Formula,
		}
		if it.Source == ofStaff && !keys[it.Category] {
			b.problems = append(b.problems, &gradespb.GradingProblem{
				Path: g.Path + ".category", Code: "grading.unknown_category", Hint: "The course has this category no more: the column counts for nothing.",
			})
			g.Category, g.Excluded = "", true
		}
		it.index = len(policy.Items)
		policy.Items = append(policy.Items, g)
		b.present = append(b.present, it)
	}
	return b, b.compile(policy)
}

// saidBy takes what the criteria say of an item of the course.
func (it *item) saidBy(g gradebook.Item) {
	it.Category, it.Period, it.ExtraCredit, it.NeverDrop, it.Excluded, it.Formula = g.Category, g.Period, g.ExtraCredit, g.NeverDrop, g.Excluded, g.Formula
	if it.Weight = nil; g.Weight != nil {
		weight := g.Weight.String()
		it.Weight = &weight
	}
	if it.Formula != "" {
		points := g.Points.String()
		it.Points = &points
	}
}

// worth finds out of how many points it is: staff say it before the assessment does.
func (it *item) worth() {
	of := it.Points
	if of == nil {
		of = it.ToldPoints
	}
	if of != nil {
		it.of, it.known = numberOf(of), true
	}
}

// compile makes the book ready. A column of staff that is wrong counts for nothing
// then.
func (b *book) compile(policy *gradebook.Policy) error {
	for range len(b.present) + 1 {
		made, err := gradebook.Compile(policy)
		if err == nil {
			b.Book = made
			return nil
		}
		refused, ok := errors.AsType[*fault.Error](err)
		if !ok {
			return err
		}
		left := false
		for _, f := range refused.Fields {
			rest, ofColumn := strings.CutPrefix(f.Path, "columns.")
			itemID, _, _ := strings.Cut(rest, ".")
			it := b.items[itemID]
			if !ofColumn || it == nil || it.Source != ofStaff {
				continue
			}
			g := &policy.Items[it.index]
			if g.Formula == "" && g.Excluded && g.Category == "" && g.Period == "" {
				continue
			}
			b.problems = append(b.problems, &gradespb.GradingProblem{Path: f.Path, Code: f.Code, Hint: f.Hint})
			*g = gradebook.Item{ID: g.ID, Title: g.Title, Path: g.Path, Points: g.Points, Excluded: true}
			left = true
		}
		if !left {
			return err
		}
	}
	return errors.New("grades: criteria that can't be compiled")
}

func optionalNumber(text *string) *exact.Number {
	if text == nil {
		return nil
	}
	n := numberOf(text)
	return &n
}
