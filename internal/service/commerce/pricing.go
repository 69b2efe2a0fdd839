package commerce

import (
	"slices"

	"github.com/stoa-lms/stoa/internal/fault"
)

// What is priced: courses for the buyer, seats for a team, a gift for somebody else; and
// what a line is of besides: a course of a plan for a period.
const (
	lineCourse       = "course"
	lineSeats        = "seats"
	lineGift         = "gift"
	lineSubscription = "subscription"
)

// Bounds of what is ordered at once.
const (
	maxLines  = 100
	maxTotal  = 1_000_000_000_000 // without reductions, as moneypb.Money has it
	maxCharge = 99_999_999        // before a coupon: cards are charged in eight digits at most
)

// wanted is an item of a cart.
type wanted struct {
	CourseID string `json:"course_id,omitempty"`
	BundleID string `json:"bundle_id,omitempty"`
	Kind     string `json:"kind"`
	Quantity int32  `json:"quantity"`
	// Sealed with the buyer's key.
	FromName []byte `json:"from_name,omitempty"`
	Note     []byte `json:"note,omitempty"`
}

// priced is a line with its price: what one course costs one buyer. A bundle is a line
// for each of its courses.
type priced struct {
	CourseID    string `json:"course_id"`
	BundleID    string `json:"bundle_id,omitempty"`
	BundleTitle string `json:"bundle_title,omitempty"`
	SellerID    string `json:"seller_id"`
	Title       string `json:"title"`
	Kind        string `json:"kind"`
	Quantity    int32  `json:"quantity"`
	List        int64  `json:"list"`             // without any reduction
	Reduction   int64  `json:"reduction"`        // by a reduction of the course, the number of seats or the bundle
	Coupon      int64  `json:"coupon"`           // by the coupon besides
	Origin      string `json:"origin,omitempty"` // whose coupon it is, where it takes something
	FromName    []byte `json:"from_name,omitempty"`
	Note        []byte `json:"note,omitempty"`
}

// amount is what is to be paid for the line, which is never below zero.
func (p priced) amount() int64 { return p.List - p.Reduction - p.Coupon }

// shelf is what carts are priced by: what is sold at a moment, and what the buyer has.
type shelf struct {
	offers   map[string]*offer
	bundles  map[string]*bundle
	buyer    string
	entitled []string
	// path names the request's field of the item at an index.
	path func(int) string
}

// courses and bundles that are named, each once.
func named(items []wanted) (courses, bundles []string) {
	for _, w := range items {
		if w.BundleID != "" && !slices.Contains(bundles, w.BundleID) {
			bundles = append(bundles, w.BundleID)
		}
		if w.CourseID != "" && !slices.Contains(courses, w.CourseID) {
			courses = append(courses, w.CourseID)
		}
	}
	return courses, bundles
}

// wholeSale returns all the courses of items: those that are named, and those of bundles.
func wholeSale(courses []string, known map[string]*bundle) []string {
	all := slices.Clone(courses)
	for _, b := range known {
		all = append(all, b.CourseIDs...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// told is a refusal of one item.
func told(kind fault.Kind, path, code, text string) error {
	return &fault.Error{Kind: kind, Code: code, Message: text, Fields: []fault.Field{{Path: path, Code: code, Hint: text}}}
}

// sellable says why a course can't be sold to the buyer.
func (s shelf) sellable(course, kind, path string) error {
	o := s.offers[course]
	switch {
	case !o.forSale():
		return told(fault.Invalid, path, "order.course_not_for_sale", "There is no such course for sale.")
	case *o.SellerID == s.buyer:
		return told(fault.Invalid, path, "order.own_course", "This course is your own.")
	case kind == lineCourse && slices.Contains(s.entitled, course):
		return told(fault.Conflict, path, "order.already_enrolled", "You are enrolled in this course already.")
	case *o.Amount == 0:
		return told(fault.Invalid, path, "order.course_free", "This course is free: enroll in it without an order.")
	default:
		return nil
	}
}

// currency returns the base currency of an item, "" where it is not sold.
func (s shelf) currency(w wanted) string {
	if b := s.bundles[w.BundleID]; b.forSale(s.offers) {
		return b.Currencies[0]
	}
	o := s.offers[w.CourseID]
	if !o.forSale() {
		return ""
	}
	if _, _, ok := o.seatIn(*o.Currency, w.Quantity); w.Kind == lineSeats && !ok && len(o.SeatCurrencies) > 0 {
		return o.SeatCurrencies[0]
	}
	return *o.Currency
}

// price returns what items cost in a currency, without a coupon.
func (s shelf) price(items []wanted, currency string) ([]priced, error) {
	var lines []priced
	own := map[string]bool{} // courses that are for the buyer
	needs := map[string]int64{}
	total, charge := int64(0), int64(0)
	for i, w := range items {
		more, err := s.item(w, currency, s.path(i))
		if err != nil {
			return nil, err
		}
		for _, l := range more {
			if l.Kind == lineCourse && own[l.CourseID] {
				return nil, told(fault.Invalid, s.path(i), "order.twice", "This course is in the cart already.")
			}
			own[l.CourseID] = own[l.CourseID] || l.Kind == lineCourse
			o := s.offers[l.CourseID]
			if needs[l.CourseID] += int64(l.Quantity); o.Places > 0 && needs[l.CourseID] > int64(o.Places)-o.Taken {
				return nil, soldOut(s.path(i))
			}
			total += l.List
			charge += l.amount()
		}
		if lines = append(lines, more...); len(lines) > maxLines || total > maxTotal || charge > maxCharge {
			return nil, told(fault.Invalid, s.path(i), "order.too_large", "This is more than can be ordered at once. Divide it into several orders.")
		}
	}
	return lines, nil
}

// item returns the lines of an item.
func (s shelf) item(w wanted, currency, path string) ([]priced, error) {
	notSold := func() error {
		return told(fault.Invalid, path, "order.not_in_currency", "This is not sold in "+currency+". Order it by itself, in a currency that it has a price in.")
	}
	if w.BundleID != "" {
		return s.bundle(s.bundles[w.BundleID], currency, path, notSold)
	}
	if err := s.sellable(w.CourseID, w.Kind, path); err != nil {
		return nil, err
	}
	o := s.offers[w.CourseID]
	l := priced{
		CourseID: w.CourseID, SellerID: *o.SellerID, Title: o.Title, Kind: w.Kind, Quantity: w.Quantity, FromName: w.FromName, Note: w.Note,
	}
	if w.Kind != lineSeats {
		list, now, ok := o.priceIn(currency)
		if !ok {
			return nil, notSold()
		}
		l.List, l.Reduction = list, list-now
		return []priced{l}, nil
	}
	if len(o.SeatCurrencies) == 0 {
		return nil, told(fault.Invalid, path, "order.seats_not_for_sale", "No seats of this course are sold.")
	}
	single, each, ok := o.seatIn(currency, w.Quantity)
	if !ok {
		return nil, notSold()
	}
	// At most 5,000 times the largest price: it fits.
	l.List, l.Reduction = single*int64(w.Quantity), (single-each)*int64(w.Quantity)
	return []priced{l}, nil
}

// bundle returns a line for each course of a bundle. It costs no more than its courses
// cost now one by one; what it costs is divided by what they are listed at.
func (s shelf) bundle(b *bundle, currency, path string, notSold func() error) ([]priced, error) {
	if !b.forSale(s.offers) {
		return nil, told(fault.Invalid, path, "order.bundle_not_for_sale", "There is no such bundle for sale.")
	}
	price, ok := b.priceIn(currency)
	if !ok {
		return nil, notSold()
	}
	sum, lists := int64(0), make([]int64, len(b.CourseIDs))
	for i, c := range b.CourseIDs {
		if err := s.sellable(c, lineCourse, path); err != nil {
			return nil, err
		}
		list, now, ok := s.offers[c].priceIn(currency)
		if !ok {
			return nil, notSold()
		}
		sum += now
		lists[i] = list
	}
	parts, err := shareCharged(min(price, sum), lists, currency)
	if err != nil {
		return nil, err
	}
	lines := make([]priced, len(parts))
	for i, c := range b.CourseIDs {
		o := s.offers[c]
		lines[i] = priced{
			CourseID: c, BundleID: b.ID, BundleTitle: b.Title, SellerID: *o.SellerID, Title: o.Title, Kind: lineCourse, Quantity: 1, List: lists[i], Reduction: lists[i] - parts[i],
		}
	}
	return lines, nil
}

// totals of lines: without any reduction, and what is to be paid.
func totals(lines []priced) (list, total int64) {
	for _, l := range lines {
		list += l.List
		total += l.amount()
	}
	return list, total
}
