package commerce

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// The states of an order. It goes from awaiting payment to paid, cancelled or
// expired, and from paid to fulfilled. What is given back after that makes it partly
// refunded or refunded; while the buyer's bank wants it back it is disputed.
const (
	awaitingPayment = "awaiting_payment"
	paid            = "paid"
	fulfilled       = "fulfilled"
	partlyRefunded  = "partly_refunded"
	refunded        = "refunded"
	disputed        = "disputed"
	cancelled       = "cancelled"
	expired         = "expired"
)

// payWithin is how long an order awaits its payment.
const payWithin = 24 * time.Hour

type order struct {
	ID        string
	BuyerID   string
	State     string
	Total     int64
	Currency  string
	PaymentID string
	PayURL    *string // where to pay; nil until the provider has said
	CreatedAt time.Time
	ExpiresAt time.Time
	PaidAt    *time.Time
	CouponID  string
	// Of a period of a subscription: which, and from its payment on when the period is
	// and until when it gives access.
	SubscriptionID *string
	PeriodRef      *string
	PeriodStart    *time.Time
	PeriodEnd      *time.Time
	AccessUntil    *time.Time
	cause          string // why it is there, of one that is about to be written
	lines          []line
}

type line struct {
	ID        string
	OrderID   string
	CourseID  string
	SellerID  string
	Title     string
	Amount    int64
	Tax       int64 // what of the amount is tax
	Fulfilled bool
	Kind      string
	Quantity  int32
	// What it would cost without any reduction, how much less it is, and what of that is
	// the coupon's, whose origin is written down.
	ListAmount     int64
	Discount       int64
	CouponDiscount int64
	CouponOrigin   string
	BundleID       string
	BundleTitle    string
	// What way it came, and by whose link; nobody's in the marketplace.
	Channel    string
	ReferrerID string
	// What the platform keeps of it, in hundredths of a percent, and by which rule;
	// nil for lines from before there were shares.
	PlatformShare *int32
	RuleID        *string
	shares        []teacherShare // of what is left; none is the seller's alone
	note          giftNote       // of a gift that is about to be ordered
}

// giftNote is what is written to who gets a gift, sealed.
type giftNote struct{ from, text []byte }

const orderColumns = `id, buyer_id, state, total, currency, payment_id, (SELECT url FROM payment WHERE payment.id = payment_id) AS pay_url, created_at, expires_at, paid_at, coupon_id,
	subscription_id, period_ref, period_start, period_end, access_until`

// collectOrders reads orders and all their lines in one more query.
func collectOrders(ctx context.Context, q pg.Querier, rows pgx.Rows, err error) ([]order, error) {
	if err != nil {
		return nil, err
	}
	orders, err := pgx.CollectRows(rows, pgx.RowToStructByName[order])
	if err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	if len(orders) == 0 {
		return nil, nil
	}
	at := make(map[string]int, len(orders))
	ids := make([]string, len(orders))
	for i, o := range orders {
		at[o.ID], ids[i] = i, o.ID
	}
	rows, err = q.Query(ctx, `
		SELECT id, order_id, course_id, seller_id, title, amount, tax, fulfilled, platform_share, rule_id,
			kind, quantity, coalesce(list_amount, amount) AS list_amount, discount, coupon_discount, coupon_origin, bundle_id, bundle_title, channel, referrer_id
		FROM order_line WHERE order_id = ANY ($1) ORDER BY order_id, position`, ids)
	if err != nil {
		return nil, err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowToStructByName[line])
	if err != nil {
		return nil, fmt.Errorf("order lines: %w", err)
	}
	for _, l := range lines {
		o := &orders[at[l.OrderID]]
		o.lines = append(o.lines, l)
	}
	return orders, nil
}

// lockOrder returns the order that the condition names, locked until the
// transaction ends. The subscription of which it is a period is locked before.
func lockOrder(ctx context.Context, tx *pg.Tx, notFound error, where string, args ...any) (order, error) {
	if _, err := tx.Exec(ctx, `SELECT FROM subscription WHERE id = (SELECT subscription_id FROM orders WHERE `+where+`) FOR UPDATE`, args...); err != nil {
		return order{}, err
	}
	rows, err := tx.Query(ctx, `SELECT `+orderColumns+` FROM orders WHERE `+where+` FOR UPDATE`, args...)
	orders, err := collectOrders(ctx, tx, rows, err)
	if err != nil {
		return order{}, err
	}
	if len(orders) == 0 {
		return order{}, notFound
	}
	return orders[0], nil
}

// become moves an order to its next state and writes that down.
func (s *Service) become(ctx context.Context, tx *pg.Tx, o *order, state, cause string, now time.Time) error {
	was := o.State
	o.State = state
	if state == paid && o.PaidAt == nil {
		o.PaidAt = &now
	}
	if _, err := tx.Exec(ctx, `UPDATE orders SET state = $2, paid_at = $3 WHERE id = $1`, o.ID, o.State, o.PaidAt); err != nil {
		return err
	}
	switch state {
	case paid:
		if _, err := tx.Exec(ctx, `UPDATE order_line SET paid_at = $2 WHERE order_id = $1`, o.ID, *o.PaidAt); err != nil {
			return err
		}
	case cancelled, expired:
		if err := letGo(ctx, tx, []string{o.ID}); err != nil {
			return err
		}
		if err := s.ask(ctx, tx, callClose, o.PaymentID); err != nil {
			return err
		}
		if err := s.neverPaid(ctx, tx, o, cause); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, `INSERT INTO order_transition (order_id, happened_at, state, cause) VALUES ($1, $2, $3, $4)`, o.ID, now, state, cause)
	if err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{
		Action: "order." + state, Object: o.ID, Person: o.BuyerID, Reason: cause,
		Before: map[string]any{"state": was}, After: map[string]any{"state": state},
	})
}

// CreateOrder implements the contract.
func (s *Service) CreateOrder(ctx context.Context, req *commercepb.CreateOrderRequest) (*commercepb.Order, error) {
	if (req.GetQuoteId() == "") == (len(req.GetCourseIds()) == 0) {
		return nil, fault.InvalidField("course_ids", "order.nothing", "Name a quote, or courses.")
	}
	buyer := auth.From(ctx).Account
	courses := req.GetCourseIds()
	if req.GetQuoteId() != "" {
		q, err := oneQuote(ctx, s.DB, `id = $1 AND buyer_id = $2`, req.GetQuoteId(), buyer)
		if err != nil && !errors.Is(err, ErrQuoteNotFound) { // a call that is repeated may come when it is gone
			return nil, err
		}
		if q != nil {
			courses, _ = q.names()
		}
	}
	has, err := s.entitled(ctx, buyer, courses)
	if err != nil {
		return nil, err
	}
	placed, err := idempotency.Do(ctx, s.DB, req, func(tx *pg.Tx) (*commercepb.Order, error) {
		if err := takeTurns(ctx, tx, buyer); err != nil {
			return nil, err
		}
		now := s.now()
		o := order{
			ID: id.New("order"), BuyerID: buyer, State: awaitingPayment, PaymentID: id.New("payment"),
			CreatedAt: now, ExpiresAt: now.Add(payWithin),
		}
		var q *quote
		var err error
		path := func(i int) string { return itemPath("course_ids", i) }
		if req.GetQuoteId() == "" {
			q, err = s.quoteCourses(ctx, tx, req.GetCourseIds(), buyer, has, now)
		} else {
			path = quotePath
			q, err = s.quoted(ctx, tx, req.GetQuoteId(), buyer, has, now)
		}
		if err != nil {
			return nil, err
		}
		o.of(q)
		if o.Total > 0 && s.provider == nil {
			return nil, ErrPaymentsOff
		}
		if err := setChannels(ctx, tx, &o, req.GetReferralCode()); err != nil {
			return nil, err
		}
		if err := setShares(ctx, tx, &o); err != nil {
			return nil, err
		}
		if err := takePlaces(ctx, tx, o.lines, path); err != nil {
			return nil, err
		}
		if err := insertOrder(ctx, tx, o, q); err != nil {
			return nil, err
		}
		begin := s.openPayment
		if o.Total == 0 {
			begin = s.payNothing
		}
		if err := begin(ctx, tx, &o); err != nil {
			return nil, err
		}
		return message(o), nil
	})
	if err != nil {
		return nil, err
	}
	// Where to pay is not in what was kept for the key: the provider says it after.
	var payment string
	if err := s.DB.QueryRow(ctx, `SELECT payment_id FROM orders WHERE id = $1`, placed.GetId()).Scan(&payment); err != nil {
		return nil, err
	}
	s.carryNow(ctx, callCheckout+":"+payment)
	return s.GetOrder(ctx, &commercepb.GetOrderRequest{OrderId: placed.GetId()})
}

// of gives a new order what a quote has.
func (o *order) of(q *quote) {
	o.Currency, o.CouponID = q.Currency, q.CouponID
	for _, p := range q.lines {
		l := line{
			ID: id.New("line"), OrderID: o.ID, CourseID: p.CourseID, SellerID: p.SellerID, Title: p.Title, Amount: p.amount(), Kind: p.Kind, Quantity: p.Quantity,
			ListAmount: p.List, Discount: p.Reduction + p.Coupon, CouponDiscount: p.Coupon, CouponOrigin: p.Origin, BundleID: p.BundleID, BundleTitle: p.BundleTitle,
			note: giftNote{p.FromName, p.Note},
		}
		o.Total += l.Amount
		o.lines = append(o.lines, l)
	}
}

// quoteCourses prices courses that are ordered without a quote, all in the base currency
// of the first. Their products are locked.
func (s *Service) quoteCourses(ctx context.Context, tx *pg.Tx, courses []string, buyer string, entitled []string, now time.Time) (*quote, error) {
	if err := lockProducts(ctx, tx, courses, "FOR SHARE"); err != nil {
		return nil, err
	}
	list := make([]wanted, len(courses))
	for i, c := range courses {
		list[i] = wanted{CourseID: c, Kind: lineCourse, Quantity: 1}
	}
	on, err := s.shelfOf(ctx, tx, buyer, list, entitled, now, "course_ids")
	if err != nil {
		return nil, err
	}
	q := &quote{Currency: on.currency(list[0])}
	if q.lines, err = on.price(list, q.Currency); fault.CodeOf(err) == "order.not_in_currency" {
		return nil, ErrMixedCurrencies
	}
	return q, err
}

// insertOrder writes an order that is made of a quote, and takes its use of a coupon.
func insertOrder(ctx context.Context, tx *pg.Tx, o order, q *quote) error {
	if q.Code != "" { // before the order is there that would be the buyer's first
		if err := useCoupon(ctx, tx, q.CouponID, q.Code, o.BuyerID); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO orders (id, buyer_id, state, total, currency, payment_id, created_at, expires_at, coupon_id, subscription_id, period_ref)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		o.ID, o.BuyerID, o.State, o.Total, o.Currency, o.PaymentID, o.CreatedAt, o.ExpiresAt, o.CouponID, o.SubscriptionID, o.PeriodRef); err != nil {
		return err
	}
	batch := &pgx.Batch{}
	for i, l := range o.lines {
		batch.Queue(`
			INSERT INTO order_line (id, order_id, position, buyer_id, course_id, seller_id, title, amount, platform_share, rule_id,
				kind, quantity, list_amount, discount, coupon_discount, coupon_origin, bundle_id, channel, referrer_id, bundle_title)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)`,
			l.ID, o.ID, i, o.BuyerID, l.CourseID, l.SellerID, l.Title, l.Amount, l.PlatformShare, l.RuleID,
			l.Kind, l.Quantity, l.ListAmount, l.Discount, l.CouponDiscount, l.CouponOrigin, l.BundleID, l.Channel, l.ReferrerID, l.BundleTitle)
		if l.Kind == lineGift {
			batch.Queue(`INSERT INTO gift (line_id, order_id, buyer_id, course_id, from_name, note) VALUES ($1, $2, $3, $4, $5, $6)`,
				l.ID, o.ID, o.BuyerID, l.CourseID, l.note.from, l.note.text)
		}
		for n, t := range l.shares {
			batch.Queue(`INSERT INTO order_line_share (line_id, position, account_id, basis_points) VALUES ($1, $2, $3, $4)`, l.ID, n, t.AccountID, t.BasisPoints)
		}
	}
	batch.Queue(`INSERT INTO order_transition (order_id, happened_at, state, cause) VALUES ($1, $2, $3, $4)`, o.ID, o.CreatedAt, o.State, cmp.Or(o.cause, "placed by the buyer"))
	if q.Code != "" {
		batch.Queue(`INSERT INTO coupon_use (order_id, coupon_id, code, buyer_id) VALUES ($1, $2, $3, $4)`, o.ID, q.CouponID, q.Code, o.BuyerID)
	}
	if q.ID != "" {
		batch.Queue(`UPDATE quote SET order_id = $2 WHERE id = $1`, q.ID, o.ID)
	}
	err := tx.SendBatch(ctx, batch).Close()
	if pg.Violates(err, "order_line_live") {
		return ErrOpenOrder
	}
	if err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{
		Action: "order.created", Object: o.ID, Person: o.BuyerID,
		After: map[string]any{"state": o.State, "total": o.Total, "currency": o.Currency, "lines": len(o.lines), "coupon_id": o.CouponID},
	})
}

// GetOrder implements the contract.
func (s *Service) GetOrder(ctx context.Context, req *commercepb.GetOrderRequest) (*commercepb.Order, error) {
	rows, err := s.DB.Query(ctx, `SELECT `+orderColumns+` FROM orders WHERE id = $1 AND buyer_id = $2`, req.GetOrderId(), auth.From(ctx).Account)
	orders, err := collectOrders(ctx, s.DB, rows, err)
	if err != nil {
		return nil, err
	}
	if len(orders) == 0 {
		return nil, ErrOrderNotFound
	}
	return message(orders[0]), nil
}

// ListOrders implements the contract.
func (s *Service) ListOrders(ctx context.Context, req *commercepb.ListOrdersRequest) (*commercepb.ListOrdersResponse, error) {
	before, last, err := page.After(req.GetCursor())
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	where, args := `buyer_id = $1 AND (created_at, id) < ($2, $3)`, []any{auth.From(ctx).Account, before, last, size + 1}
	if req.GetSubscriptionId() != "" {
		where, args = where+` AND subscription_id = $5`, append(args, req.GetSubscriptionId())
	}
	rows, err := s.DB.Query(ctx, `SELECT `+orderColumns+` FROM orders WHERE `+where+` ORDER BY created_at DESC, id DESC LIMIT $4`, args...)
	orders, err := collectOrders(ctx, s.DB, rows, err)
	if err != nil {
		return nil, err
	}
	res := &commercepb.ListOrdersResponse{}
	if len(orders) > size {
		orders = orders[:size]
		res.NextCursor = page.TimeCursor(orders[size-1].CreatedAt, orders[size-1].ID)
	}
	for _, o := range orders {
		res.Items = append(res.Items, message(o))
	}
	return res, nil
}

// CancelOrder implements the contract.
func (s *Service) CancelOrder(ctx context.Context, req *commercepb.CancelOrderRequest) (*commercepb.Order, error) {
	return idempotency.Do(ctx, s.DB, req, func(tx *pg.Tx) (*commercepb.Order, error) {
		o, err := lockOrder(ctx, tx, ErrOrderNotFound, `id = $1 AND buyer_id = $2`, req.GetOrderId(), auth.From(ctx).Account)
		if err != nil {
			return nil, err
		}
		switch o.State {
		case cancelled, expired:
		case awaitingPayment:
			if err := s.become(ctx, tx, &o, cancelled, "cancelled by the buyer", s.now()); err != nil {
				return nil, err
			}
		default:
			return nil, ErrAlreadyPaid
		}
		return message(o), nil
	})
}

// ListSales implements the contract.
func (s *Service) ListSales(ctx context.Context, req *commercepb.ListSalesRequest) (*commercepb.ListSalesResponse, error) {
	before, last, err := page.After(req.GetCursor())
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := s.DB.Query(ctx, `
		SELECT l.id, l.order_id, l.course_id, l.buyer_id, l.amount, o.currency, l.paid_at, l.kind, l.quantity, l.coupon_origin, l.channel
		FROM order_line l JOIN orders o ON o.id = l.order_id
		WHERE l.course_id = $1 AND l.paid_at IS NOT NULL AND (l.paid_at, l.id) < ($2, $3)
		ORDER BY l.paid_at DESC, l.id DESC LIMIT $4`, req.GetCourseId(), before, last, size+1)
	if err != nil {
		return nil, err
	}
	sales, err := pgx.CollectRows(rows, pgx.RowToStructByName[sale])
	if err != nil {
		return nil, fmt.Errorf("sales: %w", err)
	}
	res := &commercepb.ListSalesResponse{}
	if len(sales) > size {
		sales = sales[:size]
		res.NextCursor = page.TimeCursor(sales[size-1].PaidAt, sales[size-1].ID)
	}
	for _, l := range sales {
		res.Items = append(res.Items, l.message())
	}
	return res, nil
}

// pay marks an order paid and tells everybody.
func (s *Service) pay(ctx context.Context, tx *pg.Tx, o *order, cause string, now time.Time) error {
	if err := s.become(ctx, tx, o, paid, cause, now); err != nil {
		return err
	}
	if err := s.bookSales(ctx, tx, now, []*order{o}); err != nil {
		return err
	}
	tx.AfterCommit(s.wake) // there is an invoice to issue
	if err := s.issueGifts(ctx, tx, o, now); err != nil {
		return err
	}
	event := o.paidEvent()
	if o.SubscriptionID != nil {
		var err error
		if event.PlanTitle, err = subscribedTitle(ctx, tx, *o.SubscriptionID); err != nil {
			return err
		}
	}
	if err := bus.Publish(ctx, tx, event); err != nil || slices.ContainsFunc(o.lines, func(l line) bool { return !l.Fulfilled }) {
		return err
	}
	return s.fulfilled(ctx, tx, o) // of nothing but gifts
}

// payNothing marks an order paid for which there is nothing to pay.
func (s *Service) payNothing(ctx context.Context, tx *pg.Tx, o *order) error {
	return s.pay(ctx, tx, o, "there is nothing to pay", s.now())
}

// fulfilled says that all that an order bought can be used.
func (s *Service) fulfilled(ctx context.Context, tx *pg.Tx, o *order) error {
	if err := s.become(ctx, tx, o, fulfilled, "access was given to every course", s.now()); err != nil {
		return err
	}
	return bus.Publish(ctx, tx, &commercepb.OrderFulfilled{OrderId: o.ID, BuyerId: o.BuyerID})
}

// label is what a line is called where it is paid and on invoices.
func (l line) label() string {
	switch {
	case l.Kind == lineGift:
		return "Gift: " + l.Title
	case l.Kind == lineSeats && l.Quantity == 1:
		return "1 seat: " + l.Title
	case l.Kind == lineSeats:
		return strconv.Itoa(int(l.Quantity)) + " seats: " + l.Title
	case l.BundleTitle != "":
		return l.BundleTitle + ": " + l.Title
	default:
		return l.Title
	}
}

func (o *order) total() *moneypb.Money { return &moneypb.Money{Amount: o.Total, Currency: o.Currency} }
