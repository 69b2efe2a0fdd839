package commerce

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/money"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// product is a course that may be sold.
type product struct {
	CourseID string
	OnSale   bool
	SellerID *string
	Title    string
	Amount   *int64
	Currency *string
	Revision int64
	PricedAt *time.Time
}

func (p product) price() *commercepb.Price {
	return &commercepb.Price{
		CourseId:  p.CourseID,
		Price:     &moneypb.Money{Amount: *p.Amount, Currency: *p.Currency},
		UpdatedAt: timestamppb.New(*p.PricedAt),
		Etag:      strconv.FormatInt(p.Revision, 10),
	}
}

// products returns those of the courses that are known, by id.
func products(ctx context.Context, q pg.Querier, courses []string, lock string) (map[string]product, error) {
	rows, err := q.Query(ctx, `
		SELECT course_id, on_sale, seller_id, title, amount, currency, revision, priced_at
		FROM product WHERE course_id = ANY ($1) ORDER BY course_id `+lock, courses)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[product])
	if err != nil {
		return nil, fmt.Errorf("products: %w", err)
	}
	byID := make(map[string]product, len(list))
	for _, p := range list {
		byID[p.CourseID] = p
	}
	return byID, nil
}

// Bounds of a price that is not zero, in units of the currency: half of one to
// 10,000. Below the lower one a card's fee eats it.
const (
	minHalfUnits = 1
	maxUnits     = 10_000
)

func checkPrice(m *moneypb.Money) error {
	unit := money.Unit(m.GetCurrency())
	if unit == 0 {
		return badPrice("currency", "price.currency", "This currency is not accepted here. EUR, USD and GBP are among those that are.")
	}
	least, most := (unit*minHalfUnits+1)/2, unit*maxUnits
	if a := m.GetAmount(); a != 0 && (a < least || a > most) {
		return badPrice("amount", "price.range",
			fmt.Sprintf("A price is zero, or from %s to %s, in minor units (%d to %d).",
				money.Format(least, m.GetCurrency()), money.Format(most, m.GetCurrency()), least, most))
	}
	if !stripeTakes(m.GetAmount(), m.GetCurrency()) {
		return badPrice("amount", "price.digits", "In a currency with three decimals a price ends in 0: cards are charged in hundredths.")
	}
	return nil
}

func badPrice(field, code, hint string) error {
	return &fault.Error{
		Kind: fault.Invalid, Code: code, Message: "The price is not accepted.",
		Fields: []fault.Field{{Path: "price." + field, Code: code, Hint: hint}},
	}
}

// SetPrice implements the contract.
func (s *Service) SetPrice(ctx context.Context, req *commercepb.SetPriceRequest) (*commercepb.Price, error) {
	if err := checkPrice(req.GetPrice()); err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.DB, req, func(tx *pg.Tx) (*commercepb.Price, error) {
		// The row is made first, so that two who set the first price meet in it.
		if _, err := tx.Exec(ctx, `INSERT INTO product (course_id) VALUES ($1) ON CONFLICT (course_id) DO NOTHING`, req.GetCourseId()); err != nil {
			return nil, err
		}
		found, err := products(ctx, tx, []string{req.GetCourseId()}, "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		p := found[req.GetCourseId()]
		if err := rpc.Match(ctx, strconv.FormatInt(p.Revision, 10)); err != nil {
			return nil, err
		}
		now, amount, currency := s.now(), req.GetPrice().GetAmount(), req.GetPrice().GetCurrency()
		was := p
		p.Revision++
		p.Amount, p.Currency, p.PricedAt = &amount, &currency, &now
		if _, err := tx.Exec(ctx, `
			UPDATE product SET amount = $2, currency = $3, priced_at = $4, revision = $5 WHERE course_id = $1`,
			p.CourseID, amount, currency, now, p.Revision); err != nil {
			return nil, err
		}
		if err := audit.Record(ctx, tx, audit.Entry{
			Action: "price.set", Object: p.CourseID, Course: p.CourseID, Before: was.entry(), After: p.entry(),
		}); err != nil {
			return nil, err
		}
		return p.price(), bus.Publish(ctx, tx, &commercepb.PriceSet{CourseId: p.CourseID, Price: p.price().GetPrice(), Version: p.Revision})
	})
}

// entry is the price as the audit log has it, nil while there is none.
func (p product) entry() any {
	if p.Amount == nil || p.Currency == nil {
		return nil
	}
	return map[string]any{"amount": *p.Amount, "currency": *p.Currency, "version": p.Revision}
}

// GetPrice implements the contract.
func (s *Service) GetPrice(ctx context.Context, req *commercepb.GetPriceRequest) (*commercepb.Price, error) {
	found, err := products(ctx, s.DB, []string{req.GetCourseId()}, "")
	if err != nil {
		return nil, err
	}
	p, ok := found[req.GetCourseId()]
	if !ok || p.Amount == nil {
		return nil, ErrPriceNotSet
	}
	return p.price(), nil
}
