package commerce

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/money"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
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

// checkPriceAt refuses what is no price; path is the request's field.
func checkPriceAt(m *moneypb.Money, path string) error {
	badPrice := func(field, code, hint string) error {
		return &fault.Error{
			Kind: fault.Invalid, Code: code, Message: "The price is not accepted.",
			Fields: []fault.Field{{Path: path + "." + field, Code: code, Hint: hint}},
		}
	}
	if !money.Accepted(m.GetCurrency()) {
		return badPrice("currency", "price.currency", "This currency is not accepted here. EUR, USD and GBP are among those that are.")
	}
	least, most := money.Least(m.GetCurrency()), money.Most(m.GetCurrency())
	if a := m.GetAmount(); a != 0 && (a < least || a > most) {
		return badPrice("amount", "price.range",
			fmt.Sprintf("A price is zero, or from %s to %s, in minor units (%d to %d).",
				money.Format(least, m.GetCurrency()), money.Format(most, m.GetCurrency()), least, most))
	}
	if !charged(m.GetAmount(), m.GetCurrency()) {
		return badPrice("amount", "price.digits", "In a currency with three decimals a price ends in 0: cards are charged in hundredths.")
	}
	return nil
}

// chargeStep is what amounts that are charged in a currency are multiples of: cards are
// charged in hundredths, also where a unit has a thousand parts.
func chargeStep(currency string) int64 { return max(money.Unit(currency)/100, 1) }

// charged reports whether an amount can be charged, given back or handed over at all.
func charged(amount int64, currency string) bool { return amount%chargeStep(currency) == 0 }

// nearestCharge is the amount that can be charged which is nearest to a fraction, rounded
// once; of two the larger.
func nearestCharge(amount, of int64, currency string) int64 {
	step := chargeStep(currency)
	return (2*amount + of*step) / (2 * of * step) * step
}

// SetPrice implements the contract.
func (s *Service) SetPrice(ctx context.Context, req *commercepb.SetPriceRequest) (*commercepb.Price, error) {
	if err := checkPriceAt(req.GetPrice(), "price"); err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.DB, req, func(tx *pg.Tx) (*commercepb.Price, error) {
		o, err := s.changePrices(ctx, tx, req.GetCourseId(), false, func() error {
			amount, currency := req.GetPrice().GetAmount(), req.GetPrice().GetCurrency()
			if _, err := tx.Exec(ctx, `UPDATE product SET amount = $2, currency = $3, priced_at = $4 WHERE course_id = $1`,
				req.GetCourseId(), amount, currency, s.now()); err != nil {
				return err
			}
			// The base takes the place of a further price in its currency, and what is
			// free is free in all.
			_, err := tx.Exec(ctx, `DELETE FROM product_price WHERE course_id = $1 AND ($2 = 0 OR currency = $3)`, req.GetCourseId(), amount, currency)
			return err
		})
		if err != nil {
			return nil, err
		}
		return o.price(), nil
	})
}

// GetPrice implements the contract.
func (s *Service) GetPrice(ctx context.Context, req *commercepb.GetPriceRequest) (*commercepb.Price, error) {
	found, err := offers(ctx, s.DB, []string{req.GetCourseId()}, s.now())
	if err != nil {
		return nil, err
	}
	o := found[req.GetCourseId()]
	if o == nil || o.Amount == nil {
		return nil, ErrPriceNotSet
	}
	return o.price(), nil
}
