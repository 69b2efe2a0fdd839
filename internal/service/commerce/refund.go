package commerce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
)

// The states of a refund.
const (
	refundPending   = "pending"
	refundSucceeded = "succeeded"
	refundFailed    = "failed"
)

// Who asked for a refund.
const (
	refundByStaff    = "staff"
	refundByTeacher  = "teacher"
	refundByRequest  = "request"
	refundOfSurplus  = "surplus"  // nobody: it was paid for nothing
	refundAtProvider = "provider" // by hand, there
)

// refund is something that is given back of a payment.
type refund struct {
	ID          string
	OrderID     string
	PaymentID   string
	Source      string
	State       string
	Amount      int64
	Currency    string
	Reason      string
	Note        string
	EndsAccess  bool
	Ref         *string
	FailReason  string
	Booked      bool
	RequestedBy string
	CreatedAt   time.Time
	SettledAt   *time.Time
	lines       []refundLine
}

// refundLine is what of a refund is for a line.
type refundLine struct {
	RefundID string
	LineID   string
	Amount   int64
	Tax      int64
}

const refundColumns = `id, order_id, payment_id, source, state, amount, currency, reason, note, ends_access, ref, fail_reason, booked, requested_by, created_at, settled_at`

// refunds reads refunds and all their lines.
func refunds(ctx context.Context, q pg.Querier, where string, args ...any) ([]refund, error) {
	rows, err := q.Query(ctx, `SELECT `+refundColumns+` FROM refund WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[refund])
	if err != nil || len(list) == 0 {
		return nil, err
	}
	at := make(map[string]int, len(list))
	ids := make([]string, len(list))
	for i, r := range list {
		at[r.ID], ids[i] = i, r.ID
	}
	rows, err = q.Query(ctx, `SELECT refund_id, line_id, amount, tax FROM refund_line WHERE refund_id = ANY ($1) ORDER BY refund_id, line_id`, ids)
	if err != nil {
		return nil, err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowToStructByPos[refundLine])
	if err != nil {
		return nil, fmt.Errorf("lines of refunds: %w", err)
	}
	for _, l := range lines {
		r := &list[at[l.RefundID]]
		r.lines = append(r.lines, l)
	}
	return list, nil
}

// oneRefund is refunds for one.
func oneRefund(ctx context.Context, q pg.Querier, where string, args ...any) (refund, error) {
	list, err := refunds(ctx, q, where, args...)
	if err != nil {
		return refund{}, fmt.Errorf("refund: %w", err)
	}
	if len(list) == 0 {
		return refund{}, ErrRefundNotFound
	}
	return list[0], nil
}

// paidLine is a line of a paid order as it stands.
type paidLine struct {
	ID          string
	CourseID    string
	Title       string
	Kind        string
	Quantity    int32
	BundleTitle string
	Amount      int64
	Refunded    int64
	Reserved    int64
	Fulfilled   bool
	Released    bool
	AccessEnded bool
	HeldAgain   int
}

// left is what can be given back of it besides what is on its way.
func (l paidLine) left() int64 { return max(l.Amount-l.Refunded-l.Reserved, 0) }

// over reports whether all of it was given back.
func (l paidLine) over() bool { return l.Refunded == l.Amount && (l.Amount > 0 || l.AccessEnded) }

// lockLines returns the lines of an order, which is locked, and locks them too: who
// releases shares locks no more than them.
func lockLines(ctx context.Context, tx *pg.Tx, orderID string) ([]paidLine, error) {
	rows, err := tx.Query(ctx, `
		SELECT id, course_id, title, kind, quantity, bundle_title, amount, refunded, reserved, fulfilled, released, access_ended, held_again
		FROM order_line WHERE order_id = $1 ORDER BY position FOR UPDATE`, orderID)
	if err != nil {
		return nil, err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowToStructByName[paidLine])
	if err != nil {
		return nil, fmt.Errorf("paid lines: %w", err)
	}
	return lines, nil
}

// wish is what is to be given back of a line, all that is left of it for none.
type wish struct {
	line   string
	amount int64
}

// askedRefund is a refund to be made.
type askedRefund struct {
	wishes     []wish // none is all that is left of every line
	source     string
	reason     string
	note       string
	endsAccess bool
	by         string
}

// newRefund has some of what was paid for an order, which is locked, given back: what it
// is of each line is reserved, so that of a line never more is given back than was paid.
func (s *Service) newRefund(ctx context.Context, tx *pg.Tx, o *order, w askedRefund) (refund, error) {
	if o.PaidAt == nil {
		return refund{}, ErrRefundNotPaid
	}
	var open bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM dispute WHERE order_id = $1 AND state = 'open')`, o.ID).Scan(&open); err != nil {
		return refund{}, err
	}
	if open {
		return refund{}, ErrRefundDisputed
	}
	lines, err := lockLines(ctx, tx, o.ID)
	if err != nil {
		return refund{}, err
	}
	r := refund{
		ID: id.New("refund"), OrderID: o.ID, PaymentID: o.PaymentID, Source: w.source, State: refundPending, Currency: o.Currency,
		Reason: w.reason, Note: w.note, EndsAccess: w.endsAccess, RequestedBy: w.by, CreatedAt: s.now(),
	}
	if r.lines, err = wishedLines(lines, w.wishes, o.Currency); err != nil {
		return refund{}, err
	}
	for _, l := range r.lines {
		r.Amount += l.Amount
	}
	if o.Total == 0 { // it was ordered without a payment, which a refund is of
		if _, err := tx.Exec(ctx, `
			INSERT INTO payment (id, order_id, provider, state, amount, currency, received, fee, created_at, updated_at)
			VALUES ($1, $2, 'none', 'succeeded', 0, $3, 0, 0, $4, $4) ON CONFLICT DO NOTHING`, o.PaymentID, o.ID, o.Currency, o.CreatedAt); err != nil {
			return refund{}, err
		}
	}
	if err := insertRefund(ctx, tx, &r); err != nil {
		return refund{}, err
	}
	if r.Amount == 0 { // of what was given away there is nothing to be given back but access
		return r, s.refundSucceeded(ctx, tx, o, &r, 0, r.Currency)
	}
	return r, s.ask(ctx, tx, callRefund, r.ID)
}

// wishedLines says what is given back of each line.
func wishedLines(lines []paidLine, wishes []wish, currency string) ([]refundLine, error) {
	var out []refundLine
	if len(wishes) == 0 {
		for _, l := range lines {
			if l.left() > 0 || l.Amount == 0 && !l.AccessEnded {
				out = append(out, refundLine{LineID: l.ID, Amount: l.left()})
			}
		}
	}
	for i, w := range wishes {
		path := "lines[" + strconv.Itoa(i) + "]"
		at := slices.IndexFunc(lines, func(l paidLine) bool { return l.ID == w.line })
		if at < 0 || slices.ContainsFunc(out, func(l refundLine) bool { return l.LineID == w.line }) {
			return nil, &fault.Error{
				Kind: fault.Invalid, Code: "refund.line_unknown", Message: "The order has no such line, or it is named twice.",
				Fields: []fault.Field{{Path: path + ".line_id", Code: "refund.line_unknown", Hint: "Name lines of the order, each once."}},
			}
		}
		l := lines[at]
		if l.left() == 0 && (l.Amount > 0 || l.AccessEnded) {
			return nil, ErrRefundNothing
		}
		amount := w.amount
		if amount == 0 {
			amount = l.left()
		}
		if amount > l.left() {
			return nil, &fault.Error{
				Kind: fault.Invalid, Code: "refund.too_much", Message: "More than is left of the line.",
				Fields: []fault.Field{{Path: path + ".amount", Code: "refund.too_much", Hint: "At most " + strconv.FormatInt(l.left(), 10) + " is left."}},
			}
		}
		if !charged(amount, currency) {
			return nil, &fault.Error{
				Kind: fault.Invalid, Code: "refund.digits", Message: "In a currency with three decimals an amount ends in 0.",
				Fields: []fault.Field{{Path: path + ".amount", Code: "refund.digits", Hint: "Cards are charged in hundredths: let it end in 0."}},
			}
		}
		out = append(out, refundLine{LineID: l.ID, Amount: amount})
	}
	if len(out) == 0 {
		return nil, ErrRefundNothing
	}
	return out, nil
}

// insertRefund writes a refund and reserves what it gives back.
func insertRefund(ctx context.Context, tx *pg.Tx, r *refund) error {
	batch := &pgx.Batch{}
	batch.Queue(`
		INSERT INTO refund (id, order_id, payment_id, source, state, amount, currency, reason, note, ends_access, ref, requested_by, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		r.ID, r.OrderID, r.PaymentID, r.Source, r.State, r.Amount, r.Currency, r.Reason, r.Note, r.EndsAccess, r.Ref, r.RequestedBy, r.CreatedAt)
	for i := range r.lines {
		l := &r.lines[i]
		l.RefundID = r.ID
		batch.Queue(`INSERT INTO refund_line (refund_id, line_id, amount) VALUES ($1, $2, $3)`, l.RefundID, l.LineID, l.Amount)
		batch.Queue(`UPDATE order_line SET reserved = reserved + $2 WHERE id = $1`, l.LineID, l.Amount)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{
		Action: "refund.created", Object: r.ID,
		After: map[string]any{"order_id": r.OrderID, "source": r.Source, "amount": r.Amount, "currency": r.Currency, "lines": len(r.lines), "ends_access": r.EndsAccess},
	})
}

// giveBack has the buyer given back what is theirs: what was paid for nothing, or came
// back after it had been given back.
func (s *Service) giveBack(ctx context.Context, tx *pg.Tx, o *order, amount int64, currency, by string) (refund, error) {
	r := refund{
		ID: id.New("refund"), OrderID: o.ID, PaymentID: o.PaymentID, Source: refundOfSurplus, State: refundPending,
		Amount: amount, Currency: currency, Reason: "duplicate", RequestedBy: by, CreatedAt: s.now(),
	}
	if err := insertRefund(ctx, tx, &r); err != nil {
		return r, err
	}
	return r, s.ask(ctx, tx, callRefund, r.ID)
}

// carryRefund has the provider give a refund back, and then say how it stands until it
// has succeeded or failed.
func (s *Service) carryRefund(ctx context.Context, c call) error {
	r, err := oneRefund(ctx, s.DB, `id = $1`, c.ObjectID)
	if err != nil {
		return err
	}
	p, err := paymentOf(ctx, s.DB, r.PaymentID)
	if err != nil {
		return err
	}
	if p.Ref == nil {
		return fmt.Errorf("payment %s has no name at the provider yet", p.ID)
	}
	var news RefundNews
	if r.Ref == nil {
		news, err = s.provider.Refund(ctx, c.Key, RefundRequest{RefundID: r.ID, PaymentRef: *p.Ref, Amount: r.Amount, Currency: r.Currency, Reason: r.Reason})
	} else if news, err = s.provider.RefundState(ctx, *r.Ref); final(err) {
		err = fmt.Errorf("the provider does not know refund %s any more: %w", *r.Ref, errors.New(err.Error()))
	}
	if err != nil {
		return err
	}
	if err := s.DB.InTx(ctx, func(tx *pg.Tx) error {
		if err := s.heardRefund(ctx, tx, news); err != nil {
			return err
		}
		if news.State == refundPending {
			return nil
		}
		return s.done(ctx, tx, c)
	}); err != nil || news.State != refundPending {
		return err
	}
	return s.again(ctx, c, "it is on its way")
}

// refundRefused takes in that the provider does not give a refund back.
func (s *Service) refundRefused(ctx context.Context, tx *pg.Tx, c call, why string) error {
	var payment string
	if err := tx.QueryRow(ctx, `SELECT payment_id FROM refund WHERE id = $1`, c.ObjectID).Scan(&payment); err != nil {
		return err
	}
	o, err := lockOrder(ctx, tx, ErrPaymentNotFound, `payment_id = $1`, payment)
	if err != nil {
		return err
	}
	r, err := oneRefund(ctx, tx, `id = $1`, c.ObjectID)
	if err != nil {
		return err
	}
	if r.State != refundPending {
		tx.Exempt("it is settled")
		return nil
	}
	return s.refundFailed(ctx, tx, &o, &r, why)
}
