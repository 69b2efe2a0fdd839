package commerce

import (
	"context"
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
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
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
	lines     []line
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
	// What the platform keeps of it, in hundredths of a percent, and by which rule;
	// nil for lines from before there were shares.
	PlatformShare *int32
	RuleID        *string
	shares        []teacherShare // of what is left; none is the seller's alone
}

const orderColumns = `id, buyer_id, state, total, currency, payment_id, (SELECT url FROM payment WHERE payment.id = payment_id) AS pay_url, created_at, expires_at, paid_at`

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
		SELECT id, order_id, course_id, seller_id, title, amount, tax, fulfilled, platform_share, rule_id
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
// transaction ends.
func lockOrder(ctx context.Context, tx *pg.Tx, notFound error, where string, args ...any) (order, error) {
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
	if state == paid {
		o.PaidAt = &now
	}
	if _, err := tx.Exec(ctx, `UPDATE orders SET state = $2, paid_at = $3 WHERE id = $1`, o.ID, o.State, o.PaidAt); err != nil {
		return err
	}
	switch state {
	case paid:
		if _, err := tx.Exec(ctx, `UPDATE order_line SET paid_at = $2 WHERE order_id = $1`, o.ID, now); err != nil {
			return err
		}
	case cancelled, expired:
		if _, err := tx.Exec(ctx, `UPDATE order_line SET live = false WHERE order_id = $1`, o.ID); err != nil {
			return err
		}
		if err := s.ask(ctx, tx, callClose, o.PaymentID); err != nil {
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
	if s.provider == nil {
		return nil, ErrPaymentsOff
	}
	buyer := auth.From(ctx).Account
	has, err := s.Access.ListEntitled(ctx, &accesspb.ListEntitledRequest{AccountId: buyer, CourseIds: req.GetCourseIds()})
	if err != nil {
		return nil, err
	}
	placed, err := idempotency.Do(ctx, s.DB, req, func(tx *pg.Tx) (*commercepb.Order, error) {
		found, err := products(ctx, tx, req.GetCourseIds(), "FOR SHARE")
		if err != nil {
			return nil, err
		}
		now := s.now()
		o := order{
			ID: id.New("order"), BuyerID: buyer, State: awaitingPayment, PaymentID: id.New("payment"),
			CreatedAt: now, ExpiresAt: now.Add(payWithin),
		}
		for i, course := range req.GetCourseIds() {
			p, ok := found[course]
			if err := sellable(p, ok, buyer, slices.Contains(has.GetCourseIds(), course), i); err != nil {
				return nil, err
			}
			if o.Currency != "" && o.Currency != *p.Currency {
				return nil, ErrMixedCurrencies
			}
			o.Currency = *p.Currency
			o.Total += *p.Amount
			o.lines = append(o.lines, line{ID: id.New("line"), OrderID: o.ID, CourseID: course, SellerID: *p.SellerID, Title: p.Title, Amount: *p.Amount})
		}
		if err := setShares(ctx, tx, &o); err != nil {
			return nil, err
		}
		if err := insertOrder(ctx, tx, o); err != nil {
			return nil, err
		}
		if err := s.openPayment(ctx, tx, &o); err != nil {
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

// sellable says why a product can't be ordered.
func sellable(p product, known bool, buyer string, entitled bool, i int) error {
	path := "course_ids[" + strconv.Itoa(i) + "]"
	told := func(kind fault.Kind, code, text string) error {
		return &fault.Error{Kind: kind, Code: code, Message: text, Fields: []fault.Field{{Path: path, Code: code, Hint: text}}}
	}
	switch {
	case !known || !p.OnSale || p.Amount == nil || p.SellerID == nil:
		return told(fault.Invalid, "order.course_not_for_sale", "There is no such course for sale.")
	case *p.SellerID == buyer:
		return told(fault.Invalid, "order.own_course", "This course is your own.")
	case entitled:
		return told(fault.Conflict, "order.already_enrolled", "You are enrolled in this course already.")
	case *p.Amount == 0:
		return told(fault.Invalid, "order.course_free", "This course is free: enroll in it without an order.")
	default:
		return nil
	}
}

func insertOrder(ctx context.Context, tx *pg.Tx, o order) error {
	if _, err := tx.Exec(ctx, `
		INSERT INTO orders (id, buyer_id, state, total, currency, payment_id, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		o.ID, o.BuyerID, o.State, o.Total, o.Currency, o.PaymentID, o.CreatedAt, o.ExpiresAt); err != nil {
		return err
	}
	batch := &pgx.Batch{}
	for i, l := range o.lines {
		batch.Queue(`
			INSERT INTO order_line (id, order_id, position, buyer_id, course_id, seller_id, title, amount, platform_share, rule_id)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			l.ID, o.ID, i, o.BuyerID, l.CourseID, l.SellerID, l.Title, l.Amount, l.PlatformShare, l.RuleID)
		for n, t := range l.shares {
			batch.Queue(`INSERT INTO order_line_share (line_id, position, account_id, basis_points) VALUES ($1, $2, $3, $4)`, l.ID, n, t.AccountID, t.BasisPoints)
		}
	}
	batch.Queue(`INSERT INTO order_transition (order_id, happened_at, state, cause) VALUES ($1, $2, $3, 'placed by the buyer')`, o.ID, o.CreatedAt, o.State)
	err := tx.SendBatch(ctx, batch).Close()
	if pg.Violates(err, "order_line_live") {
		return ErrOpenOrder
	}
	if err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{
		Action: "order.created", Object: o.ID, Person: o.BuyerID,
		After: map[string]any{"state": o.State, "total": o.Total, "currency": o.Currency, "lines": len(o.lines)},
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
	rows, err := s.DB.Query(ctx, `
		SELECT `+orderColumns+` FROM orders WHERE buyer_id = $1 AND (created_at, id) < ($2, $3)
		ORDER BY created_at DESC, id DESC LIMIT $4`, auth.From(ctx).Account, before, last, size+1)
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

// expireBatch bounds how many orders one transaction expires.
const expireBatch = 100

// expire ends orders that were not paid in time and returns how many.
func (s *Service) expire(ctx context.Context) (int, error) {
	total := 0
	for {
		n := 0
		err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
			now := s.now()
			rows, err := tx.Query(ctx, `
				SELECT `+orderColumns+` FROM orders WHERE state = 'awaiting_payment' AND expires_at <= $1
					AND NOT EXISTS (SELECT FROM payment p WHERE p.id = orders.payment_id AND p.state = 'processing')
				ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED`, now, expireBatch)
			orders, err := collectOrders(ctx, tx, rows, err)
			if err != nil {
				return err
			}
			n = len(orders)
			for _, o := range orders {
				if err := s.become(ctx, tx, &o, expired, "not paid in time", now); err != nil {
					return err
				}
			}
			return nil
		})
		total += n
		if err != nil || n < expireBatch {
			return total, err
		}
	}
}

// ListSales implements the contract.
func (s *Service) ListSales(ctx context.Context, req *commercepb.ListSalesRequest) (*commercepb.ListSalesResponse, error) {
	before, last, err := page.After(req.GetCursor())
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	rows, err := s.DB.Query(ctx, `
		SELECT l.id, l.order_id, l.course_id, l.buyer_id, l.amount, o.currency, l.paid_at
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
	return bus.Publish(ctx, tx, o.paidEvent())
}

func (o *order) total() *moneypb.Money { return &moneypb.Money{Amount: o.Total, Currency: o.Currency} }
