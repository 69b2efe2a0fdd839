package grades

import (
	"context"
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
	if !changed {
		if err := lockGradebook(ctx, tx, e.GetCourseId()); err != nil {
			return err
		}
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
	c.Points, c.MaxPoints, c.SubmittedAt = nil, nil, nil
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

// toldPoints keeps out of how many points an item is: what was handed in last says it,
// in whatever order marks come. It reports whether that is another number than before;
// then the gradebook is locked to change, and everybody is counted anew.
func (s *Service) toldPoints(ctx context.Context, tx *pg.Tx, courseID, itemID string, t outOf) (bool, error) {
	points, err := decimal(t.points)
	if t.points == "" {
		err, points = nil, nil
	}
	if err != nil {
		return false, fmt.Errorf("points of %s: %w", itemID, err)
	}
	var known, newer, other bool
	const look = `
		SELECT true, coalesce((told_at, told_points) < ($3, $4::text::numeric), true), told_points IS DISTINCT FROM $4::text::numeric
		FROM item WHERE course_id = $1 AND item_id = $2`
	err = tx.QueryRow(ctx, look, courseID, itemID, t.at, points).Scan(&known, &newer, &other)
	if err != nil && !pg.NoRows(err) {
		return false, fmt.Errorf("points of an item: %w", err)
	}
	if known && (points == nil || !newer) {
		return false, nil
	}
	if known && !other {
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
