package commerce

import (
	"context"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// coursePublished offers a course for sale, unless newer news is known.
func (s *Service) coursePublished(ctx context.Context, tx *pg.Tx, e *coursespb.CoursePublished) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO product (course_id, sequence, on_sale, seller_id, title) VALUES ($1, $2, true, $3, $4)
		ON CONFLICT (course_id) DO UPDATE
		SET sequence = excluded.sequence, on_sale = true, seller_id = excluded.seller_id, title = excluded.title
		WHERE product.sequence IS NULL OR product.sequence < excluded.sequence`,
		e.GetCourseId(), e.GetSequence(), e.GetOwnerId(), e.GetTitle())
	return err
}

// courseUnpublished takes a course off sale, unless newer news is known.
func (s *Service) courseUnpublished(ctx context.Context, tx *pg.Tx, e *coursespb.CourseUnpublished) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO product (course_id, sequence, on_sale) VALUES ($1, $2, false)
		ON CONFLICT (course_id) DO UPDATE SET sequence = excluded.sequence, on_sale = false
		WHERE product.sequence IS NULL OR product.sequence < excluded.sequence`,
		e.GetCourseId(), e.GetSequence())
	return err
}

// entitlementGranted marks the line that gave access, and the order once all
// its lines have.
func (s *Service) entitlementGranted(ctx context.Context, tx *pg.Tx, e *accesspb.EntitlementGranted) error {
	if e.GetSource() != "order" && e.GetSource() != lineSubscription {
		return nil
	}
	return s.fulfil(ctx, tx, e.GetSourceId(), e.GetCourseId(), map[string]any{"entitlement_id": e.GetEntitlementId()})
}

// seatBlockCreated marks the line whose seats can be given out.
func (s *Service) seatBlockCreated(ctx context.Context, tx *pg.Tx, e *accesspb.SeatBlockCreated) error {
	return s.fulfil(ctx, tx, e.GetSourceId(), e.GetCourseId(), map[string]any{"block_id": e.GetBlockId()})
}

// fulfil marks a line of which what was bought can be used, and the order once all its
// lines are.
func (s *Service) fulfil(ctx context.Context, tx *pg.Tx, lineID, courseID string, after map[string]any) error {
	var orderID string
	err := tx.QueryRow(ctx, `SELECT order_id FROM order_line WHERE id = $1`, lineID).Scan(&orderID)
	if pg.NoRows(err) {
		return nil // a line of nobody we know gives nothing to mark
	}
	if err != nil {
		return err
	}
	o, err := lockOrder(ctx, tx, ErrOrderNotFound, `id = $1`, orderID)
	if err != nil {
		return err
	}
	// Who issues invoices passes over an order that is locked, and looks again.
	tx.AfterCommit(s.wake)
	open := 0
	for _, l := range o.lines {
		if !l.Fulfilled && l.ID != lineID {
			open++
		}
	}
	if _, err := tx.Exec(ctx, `UPDATE order_line SET fulfilled = true WHERE id = $1`, lineID); err != nil {
		return err
	}
	if err := audit.Record(ctx, tx, audit.Entry{
		Action: "order_line.fulfilled", Object: lineID, Course: courseID, Person: o.BuyerID, After: after,
	}); err != nil {
		return err
	}
	if open > 0 || o.State != paid {
		return nil
	}
	return s.fulfilled(ctx, tx, &o)
}
