package commerce

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// offer is a course with all that its price is made of at a moment.
type offer struct {
	product
	FurtherCurrencies []string // beside the base
	FurtherAmounts    []int64
	ReducedCurrencies []string // while a reduction holds
	ReducedAmounts    []int64
	ReducedUntil      *time.Time
	SeatCurrencies    []string // by currency and number
	SeatFroms         []int32
	SeatAmounts       []int64
	Places            int32 // 0 for any number
	Taken             int64
}

// lockProducts locks those of the courses that are known, so that what is sold of them
// and for how much stays until the transaction ends.
func lockProducts(ctx context.Context, tx *pg.Tx, courses []string, lock string) error {
	_, err := tx.Exec(ctx, `SELECT FROM product WHERE course_id = ANY ($1) ORDER BY course_id `+lock, courses)
	return err
}

// offers returns those of the courses that are known, by id, as they are sold at a
// moment. Who decides by them locks the products before: a statement that waited for a
// lock would show other tables as they were.
func offers(ctx context.Context, q pg.Querier, courses []string, at time.Time) (map[string]*offer, error) {
	rows, err := q.Query(ctx, `
		SELECT p.course_id, p.on_sale, p.seller_id, p.title, p.amount, p.currency, p.revision, p.priced_at,
			f.currencies AS further_currencies, f.amounts AS further_amounts,
			r.currencies AS reduced_currencies, r.amounts AS reduced_amounts, r.ends_at AS reduced_until,
			s.currencies AS seat_currencies, s.froms AS seat_froms, s.amounts AS seat_amounts,
			coalesce(c.places, 0) AS places, coalesce(c.taken, 0) AS taken
		FROM product p
		CROSS JOIN LATERAL (
			SELECT coalesce(array_agg(currency ORDER BY currency), '{}') AS currencies, coalesce(array_agg(amount ORDER BY currency), '{}') AS amounts
			FROM product_price WHERE course_id = p.course_id
		) f
		LEFT JOIN LATERAL (
			SELECT currencies, amounts, ends_at FROM reduction WHERE course_id = p.course_id AND starts_at <= $2 AND ends_at > $2 ORDER BY starts_at DESC LIMIT 1
		) r ON true
		CROSS JOIN LATERAL (
			SELECT coalesce(array_agg(currency ORDER BY currency, from_quantity), '{}') AS currencies,
				coalesce(array_agg(from_quantity ORDER BY currency, from_quantity), '{}') AS froms,
				coalesce(array_agg(amount ORDER BY currency, from_quantity), '{}') AS amounts
			FROM seat_price WHERE course_id = p.course_id
		) s
		LEFT JOIN course_place c ON c.course_id = p.course_id
		WHERE p.course_id = ANY ($1)`, courses, at)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[offer])
	if err != nil {
		return nil, fmt.Errorf("offers: %w", err)
	}
	out := make(map[string]*offer, len(list))
	for _, o := range list {
		out[o.CourseID] = o
	}
	return out, nil
}

// forSale reports whether anybody could buy the course.
func (o *offer) forSale() bool {
	return o != nil && o.OnSale && o.Amount != nil && o.SellerID != nil
}

// priceIn returns what the course costs in a currency as it is set, and now; ok is
// false where it is not sold in it.
func (o *offer) priceIn(currency string) (list, now int64, ok bool) {
	switch at := slices.Index(o.FurtherCurrencies, currency); {
	case o.Amount == nil:
		return 0, 0, false
	case *o.Currency == currency:
		list = *o.Amount
	case at >= 0:
		list = o.FurtherAmounts[at]
	default:
		return 0, 0, false
	}
	now = list
	if at := slices.Index(o.ReducedCurrencies, currency); at >= 0 {
		now = min(list, o.ReducedAmounts[at])
	}
	return list, now, true
}

// seatIn returns what a seat costs in a currency when so many are bought, and what one
// alone does; ok is false where seats are not sold in it.
func (o *offer) seatIn(currency string, quantity int32) (single, each int64, ok bool) {
	for i, c := range o.SeatCurrencies {
		if c != currency || o.SeatFroms[i] > quantity {
			continue
		}
		if each = o.SeatAmounts[i]; !ok {
			single, ok = each, true
		}
	}
	return single, each, ok
}

// message is the offer as contracts have it.
func (o *offer) message() *commercepb.CoursePrices {
	m := &commercepb.CoursePrices{CourseId: o.CourseID, Places: o.Places, Etag: strconv.FormatInt(o.Revision, 10)}
	for _, currency := range append([]string{*o.Currency}, o.FurtherCurrencies...) {
		list, now, _ := o.priceIn(currency)
		m.Prices = append(m.Prices, &commercepb.CurrencyPrice{
			List: &moneypb.Money{Amount: list, Currency: currency}, Price: &moneypb.Money{Amount: now, Currency: currency},
		})
		if now < list {
			m.ReducedUntil = timestamppb.New(*o.ReducedUntil)
		}
	}
	for i, currency := range o.SeatCurrencies {
		m.SeatPrices = append(m.SeatPrices, &commercepb.SeatPrice{
			FromQuantity: o.SeatFroms[i], Price: &moneypb.Money{Amount: o.SeatAmounts[i], Currency: currency},
		})
	}
	if o.Places > 0 {
		m.PlacesLeft = int32(max(int64(o.Places)-o.Taken, 0)) //nolint:gosec // not more than places
	}
	return m
}

// further is what the course costs beside the base.
func (o *offer) further() []*moneypb.Money {
	var out []*moneypb.Money
	for i, currency := range o.FurtherCurrencies {
		out = append(out, &moneypb.Money{Amount: o.FurtherAmounts[i], Currency: currency})
	}
	return out
}

// entry is the offer as the audit log has it.
func (o *offer) entry() any {
	if o.Amount == nil {
		return nil
	}
	return map[string]any{
		"amount": *o.Amount, "currency": *o.Currency, "version": o.Revision,
		"further_currencies": o.FurtherCurrencies, "further_amounts": o.FurtherAmounts, "places": o.Places,
		"seat_currencies": o.SeatCurrencies, "seat_froms": o.SeatFroms, "seat_amounts": o.SeatAmounts,
	}
}
