package commerce

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// maxReductions of a course that are not over, and longestReduction how long one is.
const (
	maxReductions    = 100
	longestReduction = 366 * 24 * time.Hour
)

// The errors of reductions.
var (
	ErrReductionNotFound = fault.New(fault.NotFound, "reduction.not_found", "This course has no such reduction.")
	ErrReductionOverlaps = fault.New(fault.Conflict, "reduction.overlaps", "Another reduction of this course holds in that time.")
	ErrManyReductions    = fault.New(fault.Conflict, "reduction.too_many", "A course has at most %d reductions that are not over.", maxReductions)
)

// reduction is a time in which a course costs less.
type reduction struct {
	ID         string
	CourseID   string
	StartsAt   time.Time
	EndsAt     time.Time
	Currencies []string
	Amounts    []int64
}

const reductionColumns = `id, course_id, starts_at, ends_at, currencies, amounts`

func (r reduction) message(now time.Time) *commercepb.Reduction {
	m := &commercepb.Reduction{
		Id: r.ID, CourseId: r.CourseID, Prices: prices(r.Currencies, r.Amounts), StartsAt: timestamppb.New(r.StartsAt), EndsAt: timestamppb.New(r.EndsAt), State: "live",
	}
	switch {
	case !r.EndsAt.After(now), r.EndsAt.Equal(r.StartsAt):
		m.State = "ended"
	case r.StartsAt.After(now):
		m.State = "scheduled"
	}
	return m
}

// CreateReduction implements the contract.
func (h *catalogServer) CreateReduction(ctx context.Context, req *commercepb.CreateReductionRequest) (*commercepb.Reduction, error) {
	if err := eachOnce(req.GetPrices(), "prices"); err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.Reduction, error) {
		now := h.service.now()
		r := reduction{ID: id.New("reduction"), CourseID: req.GetCourseId(), StartsAt: now, EndsAt: req.GetEndsAt().AsTime().Truncate(time.Microsecond)}
		if req.GetStartsAt() != nil {
			r.StartsAt = req.GetStartsAt().AsTime().Truncate(time.Microsecond)
		}
		switch {
		case r.StartsAt.Before(now):
			return nil, wrong("starts_at", "reduction.window", "A reduction begins now or later.")
		case !r.EndsAt.After(r.StartsAt) || r.EndsAt.Sub(r.StartsAt) > longestReduction:
			return nil, wrong("ends_at", "reduction.window", "A reduction ends after it begins, at most a year later.")
		}
		if err := lockProducts(ctx, tx, []string{r.CourseID}, "FOR UPDATE"); err != nil {
			return nil, err
		}
		found, err := offers(ctx, tx, []string{r.CourseID}, now)
		if err != nil {
			return nil, err
		}
		o := found[r.CourseID]
		if o == nil || o.Amount == nil {
			return nil, ErrPriceNotSet
		}
		for i, m := range req.GetPrices() {
			if list, _, ok := o.priceIn(m.GetCurrency()); !ok || m.GetAmount() >= list {
				return nil, wrong(itemPath("prices", i), "reduction.prices", "A reduced price is below what the course costs in that currency.")
			}
		}
		r.Currencies, r.Amounts = columns(req.GetPrices())
		open, overlaps := 0, false
		if err := tx.QueryRow(ctx, `
			SELECT count(*), coalesce(bool_or(starts_at < $3 AND ends_at > $2), false) FROM reduction WHERE course_id = $1 AND ends_at > $4 AND ends_at > starts_at`,
			r.CourseID, r.StartsAt, r.EndsAt, now).Scan(&open, &overlaps); err != nil {
			return nil, err
		}
		switch {
		case overlaps:
			return nil, ErrReductionOverlaps
		case open >= maxReductions:
			return nil, ErrManyReductions
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO reduction (id, course_id, starts_at, ends_at, currencies, amounts, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			r.ID, r.CourseID, r.StartsAt, r.EndsAt, r.Currencies, r.Amounts, auth.From(ctx).Account, now); err != nil {
			return nil, err
		}
		if err := h.service.tellAnew(ctx, tx, r.CourseID); err != nil {
			return nil, err
		}
		return r.message(now), audit.Record(ctx, tx, audit.Entry{
			Action: "reduction.created", Object: r.ID, Course: r.CourseID,
			After: map[string]any{"starts_at": r.StartsAt, "ends_at": r.EndsAt, "currencies": r.Currencies, "amounts": r.Amounts},
		})
	})
}

// ListReductions implements the contract.
func (h *catalogServer) ListReductions(ctx context.Context, req *commercepb.ListReductionsRequest) (*commercepb.ListReductionsResponse, error) {
	before, last, err := page.After(req.GetCursor())
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := h.service.DB.Query(ctx, `
		SELECT `+reductionColumns+` FROM reduction WHERE course_id = $1 AND (starts_at, id) < ($2, $3)
		ORDER BY starts_at DESC, id DESC LIMIT $4`, req.GetCourseId(), before, last, size+1)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[reduction])
	if err != nil {
		return nil, fmt.Errorf("reductions: %w", err)
	}
	res := &commercepb.ListReductionsResponse{}
	if len(list) > size {
		list = list[:size]
		res.NextCursor = page.TimeCursor(list[size-1].StartsAt, list[size-1].ID)
	}
	for _, r := range list {
		res.Items = append(res.Items, r.message(h.service.now()))
	}
	return res, nil
}

// EndReduction implements the contract.
func (h *catalogServer) EndReduction(ctx context.Context, req *commercepb.EndReductionRequest) (*commercepb.Reduction, error) {
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.Reduction, error) {
		if err := lockProducts(ctx, tx, []string{req.GetCourseId()}, "FOR UPDATE"); err != nil {
			return nil, err
		}
		rows, err := tx.Query(ctx, `SELECT `+reductionColumns+` FROM reduction WHERE id = $1 AND course_id = $2`, req.GetReductionId(), req.GetCourseId())
		if err != nil {
			return nil, err
		}
		r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[reduction])
		if pg.NoRows(err) {
			return nil, ErrReductionNotFound
		}
		now := h.service.now()
		if err != nil || !r.EndsAt.After(now) || r.EndsAt.Equal(r.StartsAt) {
			return r.message(now), err
		}
		was := r.EndsAt
		if r.EndsAt = now; r.StartsAt.After(now) {
			r.EndsAt = r.StartsAt // it holds at no time
		}
		if _, err := tx.Exec(ctx, `UPDATE reduction SET ends_at = $2 WHERE id = $1`, r.ID, r.EndsAt); err != nil {
			return nil, err
		}
		if err := h.service.tellAnew(ctx, tx, r.CourseID); err != nil {
			return nil, err
		}
		return r.message(now), audit.Record(ctx, tx, audit.Entry{
			Action: "reduction.ended", Object: r.ID, Course: r.CourseID, Before: map[string]any{"ends_at": was}, After: map[string]any{"ends_at": r.EndsAt},
		})
	})
}
