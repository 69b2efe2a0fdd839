package commerce

import (
	"fmt"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/money"
)

// world is a shelf at random: courses of some teachers with prices in some currencies,
// some reduced and some with seats, and bundles of them.
type world struct {
	shelf
	courses, sets, currencies []string
}

func drawWorld(t *rapid.T) world {
	w := world{shelf: shelf{offers: map[string]*offer{}, bundles: map[string]*bundle{}, buyer: "buyer", path: func(i int) string { return fmt.Sprint(i) }}}
	w.currencies = []string{"EUR", "JPY", "KWD"}
	price := func(currency, what string) int64 {
		step := chargeStep(currency)
		return step * rapid.Int64Range((money.Least(currency)+step-1)/step, money.Most(currency)/step).Draw(t, what)
	}
	for i := range rapid.IntRange(2, 8).Draw(t, "courses") {
		course, seller := fmt.Sprint("course", i), rapid.SampledFrom([]string{"zeno", "chrysippus"}).Draw(t, "seller")
		base := rapid.SampledFrom(w.currencies).Draw(t, "base")
		amount := price(base, "price")
		o := &offer{product: product{CourseID: course, OnSale: true, SellerID: &seller, Title: course, Amount: &amount, Currency: &base}}
		for _, c := range w.currencies {
			if c != base && rapid.IntRange(0, 9).Draw(t, "further") > 0 {
				o.FurtherCurrencies, o.FurtherAmounts = append(o.FurtherCurrencies, c), append(o.FurtherAmounts, price(c, "further price"))
			}
			if rapid.Bool().Draw(t, "reduced") { // also above the price
				o.ReducedCurrencies, o.ReducedAmounts = append(o.ReducedCurrencies, c), append(o.ReducedAmounts, price(c, "reduced price"))
			}
			each := price(c, "seat")
			for _, from := range rapid.SampledFrom([][]int32{{1, 5, 20}, {1, 5, 20}, {1}, {1}, nil}).Draw(t, "tiers") {
				o.SeatCurrencies, o.SeatFroms, o.SeatAmounts = append(o.SeatCurrencies, c), append(o.SeatFroms, from), append(o.SeatAmounts, each)
				step := chargeStep(c)
				each = step * rapid.Int64Range((money.Least(c)+step-1)/step, each/step).Draw(t, "seat of a larger tier")
			}
		}
		w.offers[course] = o
		w.courses = append(w.courses, course)
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "bundles") {
		owner := rapid.SampledFrom([]string{"zeno", "chrysippus"}).Draw(t, "owner")
		b := &bundle{collection{ID: fmt.Sprint("bundle", i), OwnerID: owner, State: collectionPublished}}
		for _, c := range w.courses {
			if *w.offers[c].SellerID == owner && rapid.Bool().Draw(t, "in the bundle") {
				b.CourseIDs = append(b.CourseIDs, c)
			}
		}
		if len(b.CourseIDs) < 2 {
			continue
		}
		for _, c := range w.currencies {
			b.Currencies, b.Amounts = append(b.Currencies, c), append(b.Amounts, price(c, "bundle price"))
		}
		w.bundles[b.ID] = b
		w.sets = append(w.sets, b.ID)
	}
	return w
}

func (w world) draw(t *rapid.T) []wanted {
	list := make([]wanted, rapid.IntRange(1, 5).Draw(t, "items"))
	for i := range list {
		if len(w.sets) > 0 && rapid.IntRange(0, 3).Draw(t, "what") == 0 {
			list[i] = wanted{BundleID: rapid.SampledFrom(w.sets).Draw(t, "bundle"), Kind: lineCourse, Quantity: 1}
			continue
		}
		list[i] = wanted{CourseID: rapid.SampledFrom(w.courses).Draw(t, "course"), Kind: rapid.SampledFrom([]string{lineCourse, lineGift, lineSeats}).Draw(t, "kind"), Quantity: 1}
		if list[i].Kind == lineSeats {
			list[i].Quantity = rapid.Int32Range(1, 5000).Draw(t, "seats")
		}
	}
	return list
}

func (w world) coupon(t *rapid.T, currency string) *coupon {
	c := &coupon{
		Origin: originTeacher, TeacherID: rapid.SampledFrom([]string{"", "zeno", "chrysippus"}).Draw(t, "whose"), ForSeats: rapid.Bool().Draw(t, "for seats"),
	}
	if rapid.Bool().Draw(t, "percent") {
		c.Percent = rapid.Int32Range(1, 100).Draw(t, "percentage")
	} else {
		c.Currencies, c.Amounts = []string{currency}, []int64{rapid.Int64Range(1, 1_000_000).Draw(t, "amount")}
	}
	if rapid.Bool().Draw(t, "limited") {
		c.CourseIDs = []string{rapid.SampledFrom(w.courses).Draw(t, "for the course")}
		if len(w.sets) > 0 {
			c.BundleIDs = []string{rapid.SampledFrom(w.sets).Draw(t, "for the bundle")}
		}
	}
	return c
}

// naive is what an item costs, without dividing it into lines.
func (w world) naive(item wanted, currency string) int64 {
	if b := w.bundles[item.BundleID]; b != nil {
		sum := int64(0)
		for _, c := range b.CourseIDs {
			_, now, _ := w.offers[c].priceIn(currency)
			sum += now
		}
		price, _ := b.priceIn(currency)
		return min(price, sum)
	}
	if item.Kind != lineSeats {
		_, now, _ := w.offers[item.CourseID].priceIn(currency)
		return now
	}
	each := int64(0)
	for i, c := range w.offers[item.CourseID].SeatCurrencies {
		if c == currency && w.offers[item.CourseID].SeatFroms[i] <= item.Quantity {
			each = w.offers[item.CourseID].SeatAmounts[i]
		}
	}
	return each * int64(item.Quantity)
}

// Whatever is bought with whatever coupon: no line costs less than nothing or more than
// it is listed at, lines come to the total, those of a bundle to its price, and a coupon
// takes what it says and only of what it is for.
func TestPricing(t *testing.T) {
	t.Parallel()
	carts, priced, couponed := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		carts++
		w := drawWorld(t)
		cart, currency := w.draw(t), rapid.SampledFrom(w.currencies).Draw(t, "currency")
		lines, err := w.price(cart, currency)
		if err != nil {
			if fault.KindOf(err) == fault.Internal {
				t.Fatal(err)
			}
			return
		}
		priced++
		want, at := int64(0), 0
		for _, item := range cart {
			n := 1
			if b := w.bundles[item.BundleID]; b != nil {
				n = len(b.CourseIDs)
			}
			if _, got := totals(lines[at : at+n]); got != w.naive(item, currency) {
				t.Fatalf("item %v costs %d, want %d", item, got, w.naive(item, currency))
			}
			want += w.naive(item, currency)
			at += n
		}
		checkLines(t, lines, want)
		checkCharged(t, lines, currency)

		c := w.coupon(t, currency)
		base := int64(0)
		for _, l := range lines {
			if c.covers(l) {
				base += l.amount()
			}
		}
		if err := c.apply(lines, currency); err != nil {
			if fault.CodeOf(err) != "coupon.invalid" || base > 0 {
				t.Fatalf("%v, of %d that it is for", err, base)
			}
			return
		}
		couponed++
		var takes int64
		if c.Percent == 0 {
			takes = min(base, rounded(big.NewRat(c.Amounts[0], 1), chargeStep(currency)))
		} else {
			takes = rounded(new(big.Rat).Mul(big.NewRat(base, 1), big.NewRat(int64(c.Percent), 100)), chargeStep(currency))
		}
		if rest := want - takes; rest > 0 && rest < money.Least(currency) {
			takes = base
		}
		checkLines(t, lines, want-takes)
		checkCharged(t, lines, currency)
		for _, l := range lines {
			if l.Coupon > 0 && !c.covers(l) || (l.Coupon > 0) != (l.Origin != "") {
				t.Fatalf("the coupon takes of %v", l)
			}
		}
		if _, total := totals(lines); total > 0 && total < money.Least(currency) {
			t.Fatalf("%d %s can't be charged", total, currency)
		}
	})
	if carts >= 100 && (priced*10 < carts || couponed*20 < carts) { // fewer say nothing
		t.Fatalf("of %d carts only %d had a price, and %d a coupon", carts, priced, couponed)
	}
	t.Logf("of %d carts %d had a price, and %d a coupon", carts, priced, couponed)
}

func checkLines(t *rapid.T, lines []priced, total int64) {
	if _, got := totals(lines); got != total {
		t.Fatalf("lines come to %d, want %d", got, total)
	}
	if slices.ContainsFunc(lines, func(l priced) bool {
		return l.amount() < 0 || l.amount() > l.List || l.Reduction < 0 || l.Coupon < 0
	}) {
		t.Fatalf("a line out of bounds: %+v", lines)
	}
}

// rounded is the nearest multiple of step, of two the larger.
func rounded(exact *big.Rat, step int64) int64 {
	steps := new(big.Rat).Quo(exact, big.NewRat(step, 1))
	steps.Add(steps, big.NewRat(1, 2))
	return step * new(big.Int).Quo(steps.Num(), steps.Denom()).Int64()
}

// checkCharged fails for a line that can't be charged for.
func checkCharged(t *rapid.T, lines []priced, currency string) {
	for _, l := range lines {
		if l.amount()%chargeStep(currency) != 0 {
			t.Fatalf("a line of %d %s", l.amount(), currency)
		}
	}
}
