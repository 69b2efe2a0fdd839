package commerce

import (
	"context"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
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
	if e.GetSource() != "order" {
		return nil
	}
	var orderID string
	err := tx.QueryRow(ctx, `SELECT order_id FROM order_line WHERE id = $1`, e.GetSourceId()).Scan(&orderID)
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
	open := 0
	for _, l := range o.lines {
		if !l.Fulfilled && l.ID != e.GetSourceId() {
			open++
		}
	}
	if _, err := tx.Exec(ctx, `UPDATE order_line SET fulfilled = true WHERE id = $1`, e.GetSourceId()); err != nil {
		return err
	}
	if err := audit.Record(ctx, tx, audit.Entry{
		Action: "order_line.fulfilled", Object: e.GetSourceId(), Course: e.GetCourseId(), Person: o.BuyerID,
		After: map[string]any{"entitlement_id": e.GetEntitlementId()},
	}); err != nil {
		return err
	}
	if open > 0 || o.State != paid {
		return nil
	}
	if err := s.become(ctx, tx, &o, fulfilled, "access was given to every course", s.now()); err != nil {
		return err
	}
	return bus.Publish(ctx, tx, &commercepb.OrderFulfilled{OrderId: o.ID, BuyerId: o.BuyerID})
}
