package commerce

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// catalogServer is the contract of what courses cost.
type catalogServer struct {
	commercepb.UnimplementedCatalogServiceServer
	service *Service
}

// maxTiers of one currency that seats have.
const maxTiers = 10

// wrong is an error of a field.
func wrong(path, code, hint string) error {
	return &fault.Error{
		Kind: fault.Invalid, Code: code, Message: hint,
		Fields: []fault.Field{{Path: path, Code: code, Hint: hint}},
	}
}

// eachOnce refuses prices that are not accepted, that are zero, or of a currency that
// comes twice.
func eachOnce(prices []*moneypb.Money, path string) error {
	seen := map[string]bool{}
	for i, m := range prices {
		at := path + "[" + strconv.Itoa(i) + "]"
		if err := checkPriceAt(m, at); err != nil {
			return err
		}
		if m.GetAmount() == 0 {
			return wrong(at, "price.free", "What is free in one currency is free in all: this price can't be zero.")
		}
		if seen[m.GetCurrency()] {
			return wrong(at, "price.twice", "Each currency has one price.")
		}
		seen[m.GetCurrency()] = true
	}
	return nil
}

// columns takes prices apart, by currency.
func columns(prices []*moneypb.Money) (currencies []string, amounts []int64) {
	sorted := slices.SortedFunc(slices.Values(prices), func(a, b *moneypb.Money) int { return cmp.Compare(a.GetCurrency(), b.GetCurrency()) })
	currencies, amounts = []string{}, []int64{}
	for _, m := range sorted {
		currencies, amounts = append(currencies, m.GetCurrency()), append(amounts, m.GetAmount())
	}
	return currencies, amounts
}

// prices puts them together again.
func prices(currencies []string, amounts []int64) []*moneypb.Money {
	out := make([]*moneypb.Money, len(currencies))
	for i, c := range currencies {
		out[i] = &moneypb.Money{Amount: amounts[i], Currency: c}
	}
	return out
}

// changePrices does something to a course's prices in the name of a request: it locks
// the product, holds the request to its If-Match and gives the prices a new version.
func (s *Service) changePrices(ctx context.Context, tx *pg.Tx, course string, needsPrice bool, do func() error) (*offer, error) {
	// The row is made first, so that two who set the first price meet in it.
	if _, err := tx.Exec(ctx, `INSERT INTO product (course_id) VALUES ($1) ON CONFLICT (course_id) DO NOTHING`, course); err != nil {
		return nil, err
	}
	one := []string{course}
	if err := lockProducts(ctx, tx, one, "FOR UPDATE"); err != nil {
		return nil, err
	}
	now := s.now()
	found, err := offers(ctx, tx, one, now)
	if err != nil {
		return nil, err
	}
	was := found[course]
	if needsPrice && was.Amount == nil {
		return nil, ErrPriceNotSet
	}
	if err := rpc.Match(ctx, strconv.FormatInt(was.Revision, 10)); err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, `UPDATE product SET revision = revision + 1 WHERE course_id = $1`, course); err != nil {
		return nil, err
	}
	if err := do(); err != nil {
		return nil, err
	}
	if found, err = offers(ctx, tx, one, now); err != nil {
		return nil, err
	}
	is := found[course]
	if err := audit.Record(ctx, tx, audit.Entry{
		Action: "price.set", Object: course, Course: course, Before: was.entry(), After: is.entry(),
	}); err != nil {
		return nil, err
	}
	return is, s.tellPrices(ctx, tx, is)
}

// tellPrices tells what a course costs, whose product is locked and has a new revision.
func (s *Service) tellPrices(ctx context.Context, tx *pg.Tx, o *offer) error {
	rows, err := tx.Query(ctx, `
		SELECT `+reductionColumns+` FROM reduction WHERE course_id = $1 AND ends_at > $2 AND ends_at > starts_at ORDER BY starts_at, id LIMIT $3`, o.CourseID, s.now(), maxReductions)
	if err != nil {
		return err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[reduction])
	if err != nil {
		return fmt.Errorf("reductions: %w", err)
	}
	e := &commercepb.PriceSet{CourseId: o.CourseID, Price: o.price().GetPrice(), Version: o.Revision, Further: o.further()}
	for _, r := range list {
		e.Reductions = append(e.Reductions, &commercepb.PriceReduction{
			ReductionId: r.ID, Prices: prices(r.Currencies, r.Amounts), StartsAt: timestamppb.New(r.StartsAt), EndsAt: timestamppb.New(r.EndsAt),
		})
	}
	return bus.Publish(ctx, tx, e)
}

// tellAnew gives prices of courses, whose products are locked, a new revision and tells
// them.
func (s *Service) tellAnew(ctx context.Context, tx *pg.Tx, courses ...string) error {
	if _, err := tx.Exec(ctx, `UPDATE product SET revision = revision + 1, told = true WHERE course_id = ANY ($1)`, courses); err != nil {
		return err
	}
	found, err := offers(ctx, tx, courses, s.now())
	if err != nil {
		return err
	}
	for _, c := range courses {
		if err := s.tellPrices(ctx, tx, found[c]); err != nil {
			return err
		}
	}
	return nil
}

// tellBatch bounds how many prices one transaction tells.
const tellBatch = 100

// tellUntold tells prices of which not all was told when they were set, and returns how
// many: those from before events had reductions.
func (s *Service) tellUntold(ctx context.Context) (int, error) {
	total := 0
	for {
		n := 0
		err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
			tx.Exempt("nothing changes but who knows of it")
			rows, err := tx.Query(ctx, `SELECT course_id FROM product WHERE NOT told ORDER BY course_id LIMIT $1 FOR UPDATE SKIP LOCKED`, tellBatch)
			if err != nil {
				return err
			}
			courses, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if n = len(courses); err != nil || n == 0 {
				return err
			}
			return s.tellAnew(ctx, tx, courses...)
		})
		total += n
		if err != nil || n < tellBatch {
			return total, err
		}
	}
}

// messageOf is the offer as contracts have it, or the error.
func messageOf(o *offer, err error) (*commercepb.CoursePrices, error) {
	if err != nil {
		return nil, err
	}
	return o.message(), nil
}

// SetPrices implements the contract.
func (h *catalogServer) SetPrices(ctx context.Context, req *commercepb.SetPricesRequest) (*commercepb.CoursePrices, error) {
	base, further := req.GetBase(), req.GetFurther()
	if err := checkPriceAt(base, "base"); err != nil {
		return nil, err
	}
	if base.GetAmount() == 0 && len(further) > 0 {
		return nil, wrong("further", "price.free", "What is free in one currency is free in all: name no further prices.")
	}
	if err := eachOnce(further, "further"); err != nil {
		return nil, err
	}
	for i, m := range further {
		if m.GetCurrency() == base.GetCurrency() {
			return nil, wrong("further["+strconv.Itoa(i)+"]", "price.twice", "This is the currency of the base.")
		}
	}
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.CoursePrices, error) {
		return messageOf(h.service.changePrices(ctx, tx, req.GetCourseId(), false, func() error {
			if _, err := tx.Exec(ctx, `UPDATE product SET amount = $2, currency = $3, priced_at = $4 WHERE course_id = $1`,
				req.GetCourseId(), base.GetAmount(), base.GetCurrency(), h.service.now()); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `DELETE FROM product_price WHERE course_id = $1`, req.GetCourseId()); err != nil {
				return err
			}
			currencies, amounts := columns(further)
			_, err := tx.Exec(ctx, `
				INSERT INTO product_price (course_id, currency, amount) SELECT $1, * FROM unnest($2::text[], $3::bigint[])`, req.GetCourseId(), currencies, amounts)
			return err
		}))
	})
}

// GetPrices implements the contract.
func (h *catalogServer) GetPrices(ctx context.Context, req *commercepb.GetPricesRequest) (*commercepb.CoursePrices, error) {
	found, err := offers(ctx, h.service.DB, []string{req.GetCourseId()}, h.service.now())
	if err != nil {
		return nil, err
	}
	o := found[req.GetCourseId()]
	if o == nil || o.Amount == nil {
		return nil, ErrPriceNotSet
	}
	return o.message(), nil
}

// checkTiers refuses prices of seats that leave a number without one, or that grow.
func checkTiers(list []*commercepb.SeatPrice) error {
	byCurrency := map[string][]*commercepb.SeatPrice{}
	for i, p := range list {
		at := "seat_prices[" + strconv.Itoa(i) + "].price"
		if err := checkPriceAt(p.GetPrice(), at); err != nil {
			return err
		}
		if p.GetPrice().GetAmount() == 0 {
			return wrong(at, "price.range", "A seat costs something.")
		}
		byCurrency[p.GetPrice().GetCurrency()] = append(byCurrency[p.GetPrice().GetCurrency()], p)
	}
	bad := func(hint string, args ...any) error {
		return wrong("seat_prices", "seat_price.tiers", fmt.Sprintf(hint, args...))
	}
	for currency, tiers := range byCurrency {
		slices.SortFunc(tiers, func(a, b *commercepb.SeatPrice) int { return cmp.Compare(a.GetFromQuantity(), b.GetFromQuantity()) })
		switch {
		case len(tiers) > maxTiers:
			return bad("A currency has at most %d tiers; %s has more.", maxTiers, currency)
		case tiers[0].GetFromQuantity() != 1:
			return bad("The first tier of %s has to begin at one seat.", currency)
		}
		for i, t := range tiers[1:] {
			if t.GetFromQuantity() == tiers[i].GetFromQuantity() {
				return bad("Two tiers of %s begin at %d seats.", currency, t.GetFromQuantity())
			}
			if t.GetPrice().GetAmount() > tiers[i].GetPrice().GetAmount() {
				return bad("A seat costs more in %s from %d seats on than from %d.", currency, t.GetFromQuantity(), tiers[i].GetFromQuantity())
			}
		}
	}
	return nil
}

// SetSeatPrices implements the contract.
func (h *catalogServer) SetSeatPrices(ctx context.Context, req *commercepb.SetSeatPricesRequest) (*commercepb.CoursePrices, error) {
	if err := checkTiers(req.GetSeatPrices()); err != nil {
		return nil, err
	}
	currencies, froms, amounts := []string{}, []int32{}, []int64{}
	for _, p := range req.GetSeatPrices() {
		currencies, froms, amounts = append(currencies, p.GetPrice().GetCurrency()), append(froms, p.GetFromQuantity()), append(amounts, p.GetPrice().GetAmount())
	}
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.CoursePrices, error) {
		return messageOf(h.service.changePrices(ctx, tx, req.GetCourseId(), true, func() error {
			if _, err := tx.Exec(ctx, `DELETE FROM seat_price WHERE course_id = $1`, req.GetCourseId()); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `
				INSERT INTO seat_price (course_id, currency, from_quantity, amount)
				SELECT $1, * FROM unnest($2::text[], $3::int[], $4::bigint[])`, req.GetCourseId(), currencies, froms, amounts)
			return err
		}))
	})
}

// SetPlaces implements the contract.
func (h *catalogServer) SetPlaces(ctx context.Context, req *commercepb.SetPlacesRequest) (*commercepb.CoursePrices, error) {
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.CoursePrices, error) {
		return messageOf(h.service.changePrices(ctx, tx, req.GetCourseId(), true, func() error {
			return setPlaces(ctx, tx, req.GetCourseId(), req.GetPlaces())
		}))
	})
}
