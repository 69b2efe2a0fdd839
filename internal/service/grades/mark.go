package grades

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// markChanged keeps a mark as it came, and counts what it changes. It also keeps that of
// a course or a person of whom nothing else has come yet.
func (s *Service) markChanged(ctx context.Context, tx *pg.Tx, e *assessmentpb.MarkChanged) error {
	t := outOf{points: e.GetMaxPoints(), at: e.GetChangedAt().AsTime().Truncate(time.Microsecond)}
	if e.GetSubmittedAt() != nil {
		t.at = e.GetSubmittedAt().AsTime().Truncate(time.Microsecond)
	}
	changed, err := s.toldPoints(ctx, tx, e.GetCourseId(), e.GetItemId(), t)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO student (course_id, account_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, e.GetCourseId(), e.GetAccountId()); err != nil {
		return fmt.Errorf("store student: %w", err)
	}
	open := s.openLocked
	if changed {
		open = s.openChanged
	}
	d, err := open(ctx, tx, e.GetCourseId(), e.GetAccountId())
	if err != nil {
		return err
	}
	st := d.seats[e.GetAccountId()]
	if c := st.cells[e.GetItemId()]; c != nil && c.MarkVersion >= e.GetVersion() {
		return nil // late, or the same again
	}
	c := d.touch(st, e.GetItemId())
	before := stateOf(c, kindMark, false)
	c.SourceID, c.State, c.Attempts, c.LateSeconds = e.GetSourceId(), e.GetState(), e.GetAttempts(), e.GetLateSeconds()
	c.Points, c.MaxPoints, c.SubmittedAt, c.Anonymous = nil, nil, nil, e.GetAnonymous()
	if e.GetState() == markMarked {
		if c.Points, err = decimal(e.GetPoints()); err != nil {
			return fmt.Errorf("mark of %s: points: %w", e.GetItemId(), err)
		}
	}
	if e.GetMaxPoints() != "" {
		if c.MaxPoints, err = decimal(e.GetMaxPoints()); err != nil {
			return fmt.Errorf("mark of %s: of: %w", e.GetItemId(), err)
		}
	}
	if e.GetSubmittedAt() != nil {
		at := e.GetSubmittedAt().AsTime().Truncate(time.Microsecond)
		c.SubmittedAt = &at
	}
	if c.Others, err = othersOf(e); err != nil {
		return fmt.Errorf("mark of %s: others: %w", e.GetItemId(), err)
	}
	at := e.GetChangedAt().AsTime().Truncate(time.Microsecond)
	c.MarkedBy, c.MarkedAt, c.MarkVersion = e.GetMarkedBy(), &at, e.GetVersion()
	if c.Overdue, err = s.overdueAgain(ctx, tx, c); err != nil {
		return err
	}
	if after := stateOf(c, kindMark, false); !after.is(before) {
		d.history = append(d.history, &change{
			AccountID: st.AccountID, ItemID: c.ItemID, Kind: kindMark, Before: before, After: after, Source: fromAssessment,
			ChangedBy: e.GetMarkedBy(), ChangedAt: d.now, Reason: e.GetCause(),
		})
	}
	return d.settle(ctx)
}

// othersOf returns the attempts that could count in place of a mark; nil for none.
func othersOf(e *assessmentpb.MarkChanged) (*others, error) {
	if e.GetState() != markMarked || len(e.GetOthers()) == 0 {
		return nil, nil //nolint:nilnil // there are none
	}
	out := &others{Version: e.GetVersion()}
	for _, o := range e.GetOthers() {
		points, err := decimal(o.GetPoints())
		if err != nil {
			return nil, err
		}
		a := attempt{SourceID: o.GetSourceId(), Points: *points, LateSeconds: o.GetLateSeconds(), MarkedBy: o.GetMarkedBy()}
		if o.GetSubmittedAt() != nil {
			at := o.GetSubmittedAt().AsTime().Truncate(time.Microsecond)
			a.SubmittedAt = &at
		}
		out.List = append(out.List, a)
	}
	return out, nil
}

// decimal reads a number and writes it as cells have it.
func decimal(text string) (*string, error) {
	n, err := exact.Parse(text)
	if err != nil {
		return nil, err
	}
	text = rounded(n)
	return &text, nil
}

// outOf is out of how many points what was handed in at a time was marked.
type outOf struct {
	points string
	at     time.Time
}

// errOther is that something else was told between two looks. It is tried again.
var errOther = errors.New("grades: out of how many points an item is has changed meanwhile")

// changes reports whether what is told gives an item another number of points, or makes
// the item known.
func (t outOf) changes(ctx context.Context, tx *pg.Tx, courseID, itemID string, points *string) (bool, error) {
	var changes bool
	err := tx.QueryRow(ctx, `
		SELECT $4::text IS NOT NULL AND coalesce((told_at, told_points) < ($3, $4::text::numeric), true) AND told_points IS DISTINCT FROM $4::text::numeric
		FROM item WHERE course_id = $1 AND item_id = $2`, courseID, itemID, t.at, points).Scan(&changes)
	if pg.NoRows(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("points of an item: %w", err)
	}
	return changes, nil
}

// toldPoints keeps out of how many points an item is: what was handed in last says it,
// in whatever order marks come. The gradebook is locked. It reports whether that is
// another number than before; then it is locked to change, and everybody is counted anew.
func (s *Service) toldPoints(ctx context.Context, tx *pg.Tx, courseID, itemID string, t outOf) (bool, error) {
	points, err := decimal(t.points)
	if t.points == "" {
		err, points = nil, nil
	}
	if err != nil {
		return false, fmt.Errorf("points of %s: %w", itemID, err)
	}
	changes, err := t.changes(ctx, tx, courseID, itemID, points)
	if err != nil {
		return false, err
	}
	if !changes {
		if err := lockGradebook(ctx, tx, courseID); err != nil {
			return false, err
		}
		// Only now it stays as it is.
		if changes, err = t.changes(ctx, tx, courseID, itemID, points); err != nil || changes {
			return false, errors.Join(err, errOther)
		}
		_, err := tx.Exec(ctx, `
			UPDATE item SET told_at = $3 WHERE course_id = $1 AND item_id = $2 AND told_at < $3 AND told_points = $4::text::numeric`, courseID, itemID, t.at, points)
		if err != nil {
			return false, fmt.Errorf("points of an item: %w", err)
		}
		return false, nil
	}
	if err := s.changeCourse(ctx, tx, courseID); err != nil {
		return false, err
	}
	var at *time.Time
	if points != nil {
		at = &t.at
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO item AS i (course_id, item_id, source, kind, title, position, present, told_points, told_at, posting)
		SELECT $1, $2, 'course', '', '', 0, false, $4::text::numeric, $3, posting FROM course WHERE course_id = $1
		ON CONFLICT ON CONSTRAINT item_pkey DO UPDATE SET told_points = EXCLUDED.told_points, told_at = EXCLUDED.told_at
		WHERE EXCLUDED.told_at IS NOT NULL AND coalesce((i.told_at, i.told_points) < (EXCLUDED.told_at, EXCLUDED.told_points), true)`, courseID, itemID, at, points)
	if err != nil {
		return false, fmt.Errorf("points of an item: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return true, nil // another was first
	}
	return true, s.courseChanged(ctx, tx, courseID, itemID)
}
