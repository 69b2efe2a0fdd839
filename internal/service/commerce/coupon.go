package commerce

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/money"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// Who gives what a coupon takes.
const (
	originTeacher  = "teacher"
	originPlatform = "platform"
)

// The errors of coupons. A code that there is not, that has ended or is used up, or that
// is for nothing in the cart is told alike: who guesses learns nothing.
var (
	errCoupon = &fault.Error{
		Kind: fault.Invalid, Code: "coupon.invalid", Message: "This code can't be used.",
		Fields: []fault.Field{{
			Path: "coupon_code", Code: "coupon.invalid",
			Hint: "Look at how it is written. There may be no such code, it may not hold now or be used up, or be for something that is not in the cart.",
		}},
	}
	ErrCouponUsedUp    = fault.New(fault.Conflict, "coupon.used_up", "The coupon was used up or has ended meanwhile. Ask for a new quote.")
	ErrCouponUsedByYou = fault.New(fault.Conflict, "coupon.used_by_you", "You have used this coupon as often as one buyer may. An order that is not paid counts until it is cancelled.")
	ErrCouponFirst     = fault.New(fault.Conflict, "coupon.first_order", "This coupon is for a first order, and you have ordered before.")
	ErrCouponNotFound  = fault.New(fault.NotFound, "coupon.not_found", "There is no such coupon.")
	ErrCouponEnded     = fault.New(fault.Conflict, "coupon.ended", "The coupon has ended.")
	ErrManyCoupons     = fault.New(fault.Conflict, "coupon.too_many", "At most %d coupons can hold at once. End some.", maxCoupons)
	ErrManyCodes       = fault.New(fault.Conflict, "coupon.too_many_codes", "A coupon has at most %d codes.", maxCodes)
)

// coupon makes orders cost less.
type coupon struct {
	ID                string
	Origin            string
	TeacherID         string
	Name              string
	Percent           int32
	Currencies        []string
	Amounts           []int64
	MinimumCurrencies []string
	Minimums          []int64
	StartsAt          time.Time
	EndsAt            *time.Time
	MaxUses           int32
	MaxUsesEach       int32
	FirstOrderOnly    bool
	CourseIDs         []string
	BundleIDs         []string
	ForSeats          bool
	Uses              int32
	Codes             int32
	EndedAt           *time.Time
	CreatedBy         string
	CreatedAt         time.Time
}

const couponColumns = `id, origin, teacher_id, name, percent, currencies, amounts, minimum_currencies, minimums, starts_at, ends_at, max_uses,
	max_uses_each, first_order_only, course_ids, bundle_ids, for_seats, uses, codes, ended_at, created_by, created_at`

// coupons returns those of a condition.
func coupons(ctx context.Context, q pg.Querier, where string, args ...any) ([]*coupon, error) {
	rows, err := q.Query(ctx, `SELECT `+couponColumns+` FROM coupon WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[coupon])
	if err != nil {
		return nil, fmt.Errorf("coupons: %w", err)
	}
	return list, nil
}

// state follows from the times and the uses; it is not stored.
func (c *coupon) state(now time.Time) string {
	switch {
	case c.EndedAt != nil, c.EndsAt != nil && !c.EndsAt.After(now):
		return "ended"
	case c.MaxUses > 0 && c.Uses >= c.MaxUses:
		return "used_up"
	case c.StartsAt.After(now):
		return "scheduled"
	default:
		return "live"
	}
}

func (c *coupon) message(now time.Time) *commercepb.Coupon {
	return &commercepb.Coupon{
		Id: c.ID, Origin: c.Origin, TeacherId: c.TeacherID, State: c.state(now), Uses: c.Uses, Codes: c.Codes,
		CreatedAt: timestamppb.New(c.CreatedAt), CreatedBy: c.CreatedBy,
		Terms: &commercepb.CouponTerms{
			Name: c.Name, Percent: c.Percent, Amounts: prices(c.Currencies, c.Amounts), Minimums: prices(c.MinimumCurrencies, c.Minimums),
			StartsAt: timestamppb.New(c.StartsAt), EndsAt: stamp(c.EndsAt), MaxUses: c.MaxUses, MaxUsesEach: c.MaxUsesEach,
			FirstOrderOnly: c.FirstOrderOnly, CourseIds: c.CourseIDs, BundleIds: c.BundleIDs, ForSeats: c.ForSeats,
		},
	}
}

// entry is the coupon as the audit log has it.
func (c *coupon) entry() map[string]any {
	return map[string]any{
		"origin": c.Origin, "teacher_id": c.TeacherID, "percent": c.Percent, "currencies": c.Currencies, "amounts": c.Amounts,
		"starts_at": c.StartsAt, "ends_at": c.EndsAt, "max_uses": c.MaxUses, "max_uses_each": c.MaxUsesEach, "first_order_only": c.FirstOrderOnly,
		"course_ids": c.CourseIDs, "bundle_ids": c.BundleIDs, "for_seats": c.ForSeats,
	}
}

// covers reports whether the coupon is for a line.
func (c *coupon) covers(l priced) bool {
	switch {
	case c.TeacherID != "" && l.SellerID != c.TeacherID, l.Kind == lineSeats && !c.ForSeats:
		return false
	case len(c.CourseIDs) == 0 && len(c.BundleIDs) == 0:
		return true
	case l.BundleID != "":
		return slices.Contains(c.BundleIDs, l.BundleID)
	default:
		return slices.Contains(c.CourseIDs, l.CourseID)
	}
}

// apply writes into lines, which have none yet, what the coupon takes of each: the
// percentage of what it is for, rounded to the nearest amount that can be charged and half
// of one up, or its amount, but no more than there is; divided by what each line costs.
// Where less would be left in all than can be charged, that is waived too. In a currency
// with three decimals all of it is rounded so that each line can be charged.
func (c *coupon) apply(lines []priced, currency string) error {
	var covered []int
	var weights []int64
	base := int64(0)
	for i, l := range lines {
		if c.covers(l) && l.amount() > 0 {
			covered, weights = append(covered, i), append(weights, l.amount())
			base += l.amount()
		}
	}
	if len(covered) == 0 {
		return errCoupon
	}
	if len(c.Minimums) > 0 {
		at := slices.Index(c.MinimumCurrencies, currency)
		if at < 0 {
			return wrong("coupon_code", "coupon.currency", "This coupon can't be used in "+currency+".")
		}
		if base < c.Minimums[at] {
			return wrong("coupon_code", "coupon.minimum", "What this coupon is for has to cost "+money.Format(c.Minimums[at], currency)+" at least.")
		}
	}
	takes := min(nearestCharge(base*int64(c.Percent), 100, currency), base)
	if c.Percent == 0 {
		at := slices.Index(c.Currencies, currency)
		if at < 0 {
			return wrong("coupon_code", "coupon.currency", "This coupon can't be used in "+currency+".")
		}
		takes = min(nearestCharge(c.Amounts[at], 1, currency), base)
	}
	if _, total := totals(lines); total-takes > 0 && total-takes < money.Least(currency) {
		takes = min(base, total)
	}
	parts, err := shareCharged(takes, weights, currency)
	if err != nil {
		return err
	}
	for n, i := range covered {
		lines[i].Coupon = parts[n]
		if parts[n] > 0 {
			lines[i].Origin = c.Origin
		}
	}
	return nil
}

// findCoupon returns the coupon of a code that could be used now; errCoupon else.
func (s *Service) findCoupon(ctx context.Context, q pg.Querier, code string, now time.Time) (*coupon, string, error) {
	code = strings.ToUpper(strings.TrimSpace(code))
	if !validCode.MatchString(code) {
		return nil, "", errCoupon
	}
	list, err := coupons(ctx, q, `id = (SELECT coupon_id FROM coupon_code WHERE code = $1 AND (max_uses = 0 OR uses < max_uses))`, code)
	if err != nil {
		return nil, "", err
	}
	if len(list) == 0 || list[0].state(now) != "live" {
		return nil, "", errCoupon
	}
	return list[0], code, nil
}

// allowed says why the buyer can't use the coupon for another order.
func (c *coupon) allowed(ctx context.Context, q pg.Querier, buyer string) error {
	if c.MaxUsesEach > 0 {
		n := int32(0)
		if err := q.QueryRow(ctx, `SELECT count(*) FROM coupon_use WHERE coupon_id = $1 AND buyer_id = $2 AND live`, c.ID, buyer).Scan(&n); err != nil {
			return err
		}
		if n >= c.MaxUsesEach {
			return ErrCouponUsedByYou
		}
	}
	if c.FirstOrderOnly {
		before := false
		if err := q.QueryRow(ctx, `
			SELECT EXISTS (SELECT FROM orders WHERE buyer_id = $1 AND state NOT IN ('cancelled', 'expired'))`, buyer).Scan(&before); err != nil {
			return err
		}
		if before {
			return ErrCouponFirst
		}
	}
	return nil
}

// useCoupon takes a use of a coupon for an order that is about to be placed by a buyer
// whose turn it is. Of a thousand who take the last one gets it: they wait for the
// coupon's row.
func useCoupon(ctx context.Context, tx *pg.Tx, couponID, code, buyer string) error {
	list, err := coupons(ctx, tx, `id = $1 FOR UPDATE`, couponID)
	if err != nil {
		return err
	}
	// The price was promised until the quote expires: that the coupon's time has run out
	// meanwhile takes nothing away, that somebody has ended it does.
	if len(list) == 0 || list[0].EndedAt != nil || list[0].MaxUses > 0 && list[0].Uses >= list[0].MaxUses {
		return ErrCouponUsedUp
	}
	if err := list[0].allowed(ctx, tx, buyer); err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `UPDATE coupon_code SET uses = uses + 1 WHERE code = $1 AND (max_uses = 0 OR uses < max_uses)`, code)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return ErrCouponUsedUp
	}
	_, err = tx.Exec(ctx, `UPDATE coupon SET uses = uses + 1 WHERE id = $1`, couponID)
	return err
}
