package commerce

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// quoteHolds is how long the prices of a quote are kept, and quoteKept how long it can
// be read after that.
const (
	quoteHolds = 30 * time.Minute
	quoteKept  = 24 * time.Hour
)

// codePatience is how wrong codes of one account are borne.
var codePatience = cache.Patience{Free: 10, First: time.Minute, Most: time.Hour, Forget: time.Hour}

// The errors of quotes.
var (
	ErrQuoteNotFound = fault.New(fault.NotFound, "quote.not_found", "You have no such quote.")
	ErrQuoteExpired  = fault.New(fault.Conflict, "quote.expired", "The quote has expired. Ask for a new one.")
	ErrQuoteUsed     = fault.New(fault.Conflict, "quote.used", "An order was made of this quote already.")
)

// checkoutServer is the contract of quotes, carts and gifts.
type checkoutServer struct {
	commercepb.UnimplementedCheckoutServiceServer
	service *Service
}

// quote is what a cart costs.
type quote struct {
	ID        string
	BuyerID   string
	Currency  string
	Total     int64
	CouponID  string
	Code      string
	Lines     []byte
	CreatedAt time.Time
	ExpiresAt time.Time
	OrderID   string
	lines     []priced
}

const quoteColumns = `id, buyer_id, currency, total, coupon_id, code, lines, created_at, expires_at, order_id`

// oneQuote returns the quote of the condition.
func oneQuote(ctx context.Context, q pg.Querier, where string, args ...any) (*quote, error) {
	rows, err := q.Query(ctx, `SELECT `+quoteColumns+` FROM quote WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	out, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[quote])
	if pg.NoRows(err) {
		return nil, ErrQuoteNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("quote: %w", err)
	}
	if err := json.Unmarshal(out.Lines, &out.lines); err != nil {
		return nil, fmt.Errorf("lines of a quote: %w", err)
	}
	return out, nil
}

func (q *quote) message() *commercepb.Quote {
	in := func(amount int64) *moneypb.Money { return &moneypb.Money{Amount: amount, Currency: q.Currency} }
	list, total := totals(q.lines)
	m := &commercepb.Quote{
		Id: q.ID, ListTotal: in(list), Discount: in(list - total), Total: in(total), CouponId: q.CouponID, ExpiresAt: timestamppb.New(q.ExpiresAt), OrderId: q.OrderID,
	}
	for _, l := range q.lines {
		m.Lines = append(m.Lines, &commercepb.QuoteLine{
			CourseId: l.CourseID, BundleId: l.BundleID, Title: l.Title, Kind: l.Kind, Quantity: l.Quantity,
			List: in(l.List), Reduction: in(l.Reduction), Coupon: in(l.Coupon), Price: in(l.amount()),
		})
	}
	return m
}

// items reads the items of a cart, what is written to who gets a gift still open.
func items(list []*commercepb.CartItem) ([]wanted, error) {
	out := make([]wanted, len(list))
	for i, item := range list {
		w := wanted{CourseID: item.GetCourseId(), BundleID: item.GetBundleId(), Kind: item.GetKind(), Quantity: max(item.GetQuantity(), 1)}
		if w.Kind == "" {
			w.Kind = lineCourse
		}
		at := itemPath("items", i)
		switch {
		case (w.CourseID == "") == (w.BundleID == ""):
			return nil, wrong(at, "order.item", "Name a course or a bundle, and not both.")
		case w.BundleID != "" && w.Kind != lineCourse:
			return nil, wrong(at+".kind", "order.item", "A bundle is for yourself.")
		case w.Quantity > 1 && w.Kind != lineSeats:
			return nil, wrong(at+".quantity", "order.quantity", "Of this there is one. Name another gift apart; for a team take seats.")
		case item.GetGift() != nil && w.Kind != lineGift:
			return nil, wrong(at+".gift", "order.item", "Only a gift has a note.")
		}
		out[i] = w
	}
	return out, nil
}

// sealNotes seals what is written to who get gifts with the key of the buyer.
func (s *Service) sealNotes(ctx context.Context, tx *pg.Tx, buyer string, list []*commercepb.CartItem, into []wanted) error {
	if !slices.ContainsFunc(list, func(i *commercepb.CartItem) bool { return i.GetGift() != nil }) {
		return nil
	}
	key, err := s.Vault.KeyIn(ctx, tx, buyer)
	if err != nil {
		return err
	}
	for i, item := range list {
		if g := item.GetGift(); g != nil {
			into[i].FromName, into[i].Note = key.Seal(giftFromField, []byte(g.GetFromName())), key.Seal(giftNoteField, []byte(g.GetNote()))
		}
	}
	return nil
}

// shelfOf returns what items are priced by, at a moment.
func (s *Service) shelfOf(ctx context.Context, q pg.Querier, buyer string, list []wanted, entitled []string, now time.Time, field string) (shelf, error) {
	courses, ids := named(list)
	sets, err := bundlesByID(ctx, q, ids, "")
	if err != nil {
		return shelf{}, err
	}
	known, err := offers(ctx, q, wholeSale(courses, sets), now)
	return shelf{offers: known, bundles: sets, buyer: buyer, entitled: entitled, path: func(i int) string { return itemPath(field, i) }}, err
}

// entitled asks access which courses of items the buyer has, for longer than a subscription
// lasts. Of gifts that were taken just now access may not have heard.
func (s *Service) entitled(ctx context.Context, buyer string, courses []string) ([]string, error) {
	var out []string
	for part := range slices.Chunk(courses, askAtOnce) {
		has, err := s.Access.ListEntitled(ctx, &accesspb.ListEntitledRequest{AccountId: buyer, CourseIds: part, BesideSubscriptions: true})
		if err != nil {
			return nil, err
		}
		out = append(out, has.GetCourseIds()...)
	}
	taken, err := s.takenJustNow(ctx, s.DB, buyer, courses)
	return append(out, taken...), err
}

// askAtOnce is about how many courses access is asked at once.
const askAtOnce = 100

// guessing refuses who has tried many codes that are none; missed counts one.
func (s *Service) guessing(ctx context.Context, key, code string) error {
	wait, err := s.Attempts.Wait(ctx, key)
	if err != nil {
		return err
	}
	if wait > 0 {
		return &fault.Error{Kind: fault.Exhausted, Code: code, Retry: wait, Message: "Too many codes that are none. Come back when Retry-After says."}
	}
	return nil
}

func (s *Service) missed(ctx context.Context, key string) error {
	_, err := s.Attempts.Fail(ctx, key, codePatience)
	return err
}

// CreateQuote implements the contract.
func (h *checkoutServer) CreateQuote(ctx context.Context, req *commercepb.CreateQuoteRequest) (*commercepb.Quote, error) {
	s, buyer := h.service, auth.From(ctx).Account
	list, err := items(req.GetItems())
	if err != nil {
		return nil, err
	}
	guesses := "coupon:" + buyer
	if req.GetCouponCode() != "" {
		if err := s.guessing(ctx, guesses, "coupon.rate"); err != nil {
			return nil, err
		}
	}
	courses, ids := named(list)
	sets, err := bundlesByID(ctx, s.DB, ids, "")
	if err != nil {
		return nil, err
	}
	has, err := s.entitled(ctx, buyer, wholeSale(courses, sets))
	if err != nil {
		return nil, err
	}
	out, err := idempotency.Do(ctx, s.DB, req, func(tx *pg.Tx) (*commercepb.Quote, error) {
		tx.Exempt("a quote holds nothing, and is gone in a day")
		now := s.now()
		q := &quote{ID: id.New("quote"), BuyerID: buyer, Currency: req.GetCurrency(), CreatedAt: now, ExpiresAt: now.Add(quoteHolds)}
		if err := s.sealNotes(ctx, tx, buyer, req.GetItems(), list); err != nil {
			return nil, err
		}
		on, err := s.shelfOf(ctx, tx, buyer, list, has, now, "items")
		if err != nil {
			return nil, err
		}
		if q.Currency == "" {
			q.Currency = on.currency(list[0])
		}
		if q.lines, err = on.price(list, q.Currency); err != nil {
			return nil, err
		}
		if req.GetCouponCode() != "" {
			c, code, err := s.findCoupon(ctx, tx, req.GetCouponCode(), now)
			if err != nil {
				return nil, err
			}
			if err := c.apply(q.lines, q.Currency); err != nil {
				return nil, err
			}
			if err := c.allowed(ctx, tx, buyer); err != nil {
				return nil, err
			}
			q.CouponID, q.Code = c.ID, code
		}
		return q.message(), q.insert(ctx, tx)
	})
	if errors.Is(err, errCoupon) {
		if err := s.missed(ctx, guesses); err != nil {
			return nil, err
		}
	}
	return out, err
}

func (q *quote) insert(ctx context.Context, tx *pg.Tx) (err error) {
	_, q.Total = totals(q.lines)
	if q.Lines, err = json.Marshal(q.lines); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO quote (id, buyer_id, currency, total, coupon_id, code, lines, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		q.ID, q.BuyerID, q.Currency, q.Total, q.CouponID, q.Code, q.Lines, q.CreatedAt, q.ExpiresAt)
	return err
}

// GetQuote implements the contract.
func (h *checkoutServer) GetQuote(ctx context.Context, req *commercepb.GetQuoteRequest) (*commercepb.Quote, error) {
	q, err := oneQuote(ctx, h.service.DB, `id = $1 AND buyer_id = $2 AND expires_at > $3`,
		req.GetQuoteId(), auth.From(ctx).Account, h.service.now().Add(-quoteKept))
	if err != nil {
		return nil, err
	}
	return q.message(), nil
}

// quoted returns the lines of a quote, whose prices hold, to be ordered now: all of it
// has still to be for sale. The quote, and the products and bundles in it, are locked.
func (s *Service) quoted(ctx context.Context, tx *pg.Tx, quoteID, buyer string, entitled []string, now time.Time) (*quote, error) {
	q, err := oneQuote(ctx, tx, `id = $1 AND buyer_id = $2 FOR UPDATE`, quoteID, buyer)
	if err != nil {
		return nil, err
	}
	switch {
	case q.OrderID != "":
		return nil, ErrQuoteUsed
	case !q.ExpiresAt.After(now):
		return nil, ErrQuoteExpired
	}
	courses, ids := q.names()
	if err := lockProducts(ctx, tx, courses, "FOR SHARE"); err != nil {
		return nil, err
	}
	sets, err := bundlesByID(ctx, tx, ids, "FOR SHARE")
	if err != nil {
		return nil, err
	}
	known, err := offers(ctx, tx, courses, now)
	if err != nil {
		return nil, err
	}
	on := shelf{offers: known, bundles: sets, buyer: buyer, entitled: entitled}
	for i, l := range q.lines {
		if err := on.sellable(l.CourseID, l.Kind, quotePath(i)); err != nil {
			return nil, err
		}
		q.lines[i].SellerID = *known[l.CourseID].SellerID // whose course it is by now
		if b := sets[l.BundleID]; l.BundleID != "" && (b == nil || b.State != collectionPublished) {
			return nil, told(fault.Invalid, quotePath(i), "order.bundle_not_for_sale", "There is no such bundle for sale.")
		}
	}
	return q, nil
}

// quotePath names a line of a quote that is ordered.
func quotePath(i int) string { return itemPath("quote_id.lines", i) }

// names returns the courses and the bundles of a quote, each once.
func (q *quote) names() (courses, bundles []string) {
	list := make([]wanted, len(q.lines))
	for i, l := range q.lines {
		list[i] = wanted{CourseID: l.CourseID, BundleID: l.BundleID}
	}
	return named(list)
}

// sweepBatch bounds how many rows one transaction deletes.
const sweepBatch = 1000

// sweepQuotes deletes quotes that nobody can read any more, and returns how many.
func (s *Service) sweepQuotes(ctx context.Context) (int, error) {
	total := 0
	for {
		n := 0
		err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
			tx.Exempt("what time brings")
			tag, err := tx.Exec(ctx, `
				DELETE FROM quote WHERE id IN (SELECT id FROM quote WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
				s.now().Add(-quoteKept), sweepBatch)
			n = int(tag.RowsAffected())
			return err
		})
		total += n
		if err != nil || n < sweepBatch {
			return total, err
		}
	}
}
