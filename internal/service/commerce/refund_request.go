package commerce

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// refundRequest is a buyer who asks for what they paid for a line.
type refundRequest struct {
	ID        string
	OrderID   string
	LineID    string
	CourseID  string
	BuyerID   string
	State     string
	Reason    string
	Answer    string
	RefundID  *string
	CreatedAt time.Time
	DecidedAt *time.Time
}

const refundRequestColumns = `id, order_id, line_id, course_id, buyer_id, state, reason, answer, refund_id, created_at, decided_at`

func (r refundRequest) message() *commercepb.RefundRequest {
	m := &commercepb.RefundRequest{
		Id: r.ID, OrderId: r.OrderID, LineId: r.LineID, CourseId: r.CourseID, BuyerId: r.BuyerID, State: r.State, Reason: r.Reason, Answer: r.Answer,
		CreatedAt: timestamppb.New(r.CreatedAt), DecidedAt: stamp(r.DecidedAt),
	}
	if r.RefundID != nil {
		m.RefundId = *r.RefundID
	}
	return m
}

func refundRequests(ctx context.Context, q pg.Querier, where string, args ...any) ([]refundRequest, error) {
	rows, err := q.Query(ctx, `SELECT `+refundRequestColumns+` FROM refund_request WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[refundRequest])
	if err != nil {
		return nil, fmt.Errorf("requests for refunds: %w", err)
	}
	return list, nil
}

// CreateRefundRequests implements the contract.
func (h *refundServer) CreateRefundRequests(ctx context.Context, req *commercepb.CreateRefundRequestsRequest) (*commercepb.CreateRefundRequestsResponse, error) {
	return idempotency.Do(ctx, h.DB, req, func(tx *pg.Tx) (*commercepb.CreateRefundRequestsResponse, error) {
		o, err := lockOrder(ctx, tx, ErrOrderNotFound, `id = $1 AND buyer_id = $2`, req.GetOrderId(), auth.From(ctx).Account)
		if err != nil {
			return nil, err
		}
		now := h.now()
		switch {
		case o.State == disputed:
			return nil, ErrRefundDisputed
		case o.PaidAt == nil:
			return nil, ErrRefundNotPaid
		case !now.Before(o.PaidAt.Add(holdFor)):
			return nil, ErrRequestTooLate
		}
		lines, err := lockLines(ctx, tx, o.ID)
		if err != nil {
			return nil, err
		}
		asked, err := askedLines(lines, req.GetLineIds())
		if err != nil {
			return nil, err
		}
		res := &commercepb.CreateRefundRequestsResponse{}
		batch := &pgx.Batch{}
		entries := make([]audit.Entry, len(asked))
		for i, l := range asked {
			r := refundRequest{
				ID: id.New("request"), OrderID: o.ID, LineID: l.ID, CourseID: l.CourseID, BuyerID: o.BuyerID, State: "open", Reason: req.GetReason(), CreatedAt: now,
			}
			batch.Queue(`
				INSERT INTO refund_request (id, order_id, line_id, course_id, buyer_id, state, reason, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
				r.ID, r.OrderID, r.LineID, r.CourseID, r.BuyerID, r.State, r.Reason, r.CreatedAt)
			res.Items = append(res.Items, r.message())
			entries[i] = audit.Entry{
				Action: "refund_request.created", Object: r.ID, Course: r.CourseID, Person: r.BuyerID, After: map[string]any{"order_id": o.ID, "line_id": l.ID},
			}
		}
		err = tx.SendBatch(ctx, batch).Close()
		if pg.Violates(err, "refund_request_open") {
			return nil, ErrRequestOpen
		}
		if err != nil {
			return nil, err
		}
		return res, audit.Record(ctx, tx, entries...)
	})
}

// askedLines are the lines that a buyer asks to have given back, all that are left for
// none named.
func askedLines(lines []paidLine, ids []string) ([]paidLine, error) {
	var out []paidLine
	for _, l := range lines {
		if len(ids) == 0 && l.left() > 0 {
			out = append(out, l)
		}
	}
	for i, want := range ids {
		at := slices.IndexFunc(lines, func(l paidLine) bool { return l.ID == want })
		if at < 0 {
			return nil, &fault.Error{
				Kind: fault.Invalid, Code: "refund.line_unknown", Message: "The order has no such line.",
				Fields: []fault.Field{{Path: "line_ids[" + strconv.Itoa(i) + "]", Code: "refund.line_unknown", Hint: "Name lines of the order."}},
			}
		}
		if lines[at].left() == 0 {
			return nil, ErrRefundNothing
		}
		out = append(out, lines[at])
	}
	if len(out) == 0 {
		return nil, ErrRefundNothing
	}
	return out, nil
}

// ListOrderRefundRequests implements the contract.
func (h *refundServer) ListOrderRefundRequests(ctx context.Context, req *commercepb.ListOrderRefundRequestsRequest) (*commercepb.ListOrderRefundRequestsResponse, error) {
	if err := h.own(ctx, req.GetOrderId()); err != nil {
		return nil, err
	}
	list, err := refundRequests(ctx, h.DB, `order_id = $1 ORDER BY created_at, id LIMIT 100`, req.GetOrderId())
	if err != nil {
		return nil, err
	}
	res := &commercepb.ListOrderRefundRequestsResponse{}
	for _, r := range list {
		res.Items = append(res.Items, r.message())
	}
	return res, nil
}

// ListRefundRequests implements the contract.
func (h *refundServer) ListRefundRequests(ctx context.Context, req *commercepb.ListRefundRequestsRequest) (*commercepb.ListRefundRequestsResponse, error) {
	return h.listRequests(ctx, "", req.GetState(), req.GetPageSize(), req.GetCursor())
}

// ListCourseRefundRequests implements the contract.
func (h *refundServer) ListCourseRefundRequests(ctx context.Context, req *commercepb.ListCourseRefundRequestsRequest) (*commercepb.ListRefundRequestsResponse, error) {
	return h.listRequests(ctx, req.GetCourseId(), req.GetState(), req.GetPageSize(), req.GetCursor())
}

func (h *refundServer) listRequests(ctx context.Context, course, state string, pageSize int32, cursor string) (*commercepb.ListRefundRequestsResponse, error) {
	before, last, err := page.After(cursor)
	if err != nil {
		return nil, err
	}
	size := page.Size(pageSize)
	where := `($4 = '' OR state = $4) AND (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3`
	args := []any{before, last, size + 1, state}
	if course != "" {
		where, args = `course_id = $5 AND `+where, append(args, course)
	}
	list, err := refundRequests(ctx, h.DB, where, args...)
	if err != nil {
		return nil, err
	}
	res := &commercepb.ListRefundRequestsResponse{}
	if len(list) > size {
		list = list[:size]
		res.NextCursor = page.TimeCursor(list[size-1].CreatedAt, list[size-1].ID)
	}
	for _, r := range list {
		res.Items = append(res.Items, r.message())
	}
	return res, nil
}

// DecideRefundRequest implements the contract.
func (h *refundServer) DecideRefundRequest(ctx context.Context, req *commercepb.DecideRefundRequestRequest) (*commercepb.RefundRequest, error) {
	m, err := idempotency.Do(ctx, h.DB, req, func(tx *pg.Tx) (*commercepb.RefundRequest, error) {
		return h.decide(ctx, tx, decision{req.GetRequestId(), "", req.GetDecision() == "approve", req.GetAnswer(), req.GetAmount()})
	})
	return h.decided(ctx, m, err)
}

// DecideCourseRefundRequest implements the contract.
func (h *refundServer) DecideCourseRefundRequest(ctx context.Context, req *commercepb.DecideCourseRefundRequestRequest) (*commercepb.RefundRequest, error) {
	m, err := idempotency.Do(ctx, h.DB, req, func(tx *pg.Tx) (*commercepb.RefundRequest, error) {
		return h.decide(ctx, tx, decision{req.GetRequestId(), req.GetCourseId(), req.GetDecision() == "approve", req.GetAnswer(), req.GetAmount()})
	})
	return h.decided(ctx, m, err)
}

// decided has what was approved given back at once.
func (h *refundServer) decided(ctx context.Context, m *commercepb.RefundRequest, err error) (*commercepb.RefundRequest, error) {
	if err == nil && m.GetRefundId() != "" {
		h.carryNow(ctx, callRefund+":"+m.GetRefundId())
	}
	return m, err
}

// decision is how a request is decided; of a course, by who may for that.
type decision struct {
	request string
	course  string
	approve bool
	answer  string
	amount  int64
}

func (h *refundServer) decide(ctx context.Context, tx *pg.Tx, d decision) (*commercepb.RefundRequest, error) {
	var orderID string
	err := tx.QueryRow(ctx, `SELECT order_id FROM refund_request WHERE id = $1 AND $2 IN ('', course_id)`, d.request, d.course).Scan(&orderID)
	if pg.NoRows(err) {
		return nil, ErrRequestNotFound
	}
	if err != nil {
		return nil, err
	}
	o, err := lockOrder(ctx, tx, ErrRequestNotFound, `id = $1`, orderID)
	if err != nil {
		return nil, err
	}
	list, err := refundRequests(ctx, tx, `id = $1`, d.request)
	if err != nil {
		return nil, err
	}
	r, now := list[0], h.now()
	if r.State != "open" {
		return nil, ErrRequestDecided
	}
	r.State, r.Answer, r.DecidedAt = "declined", d.answer, &now
	if d.approve {
		made, err := h.newRefund(ctx, tx, &o, askedRefund{
			wishes: []wish{{r.LineID, d.amount}}, source: refundByRequest, reason: "requested_by_customer", by: auth.From(ctx).Account,
		})
		if err != nil {
			return nil, atField(err, "amount")
		}
		r.State, r.RefundID = "approved", &made.ID
	}
	if _, err := tx.Exec(ctx, `
		UPDATE refund_request SET state = $2, answer = $3, refund_id = $4, decided_at = $5, decided_by = $6 WHERE id = $1`,
		r.ID, r.State, r.Answer, r.RefundID, now, auth.From(ctx).Account); err != nil {
		return nil, err
	}
	if !d.approve {
		l := o.lines[slices.IndexFunc(o.lines, func(l line) bool { return l.ID == r.LineID })]
		if err := bus.Publish(ctx, tx, &commercepb.RefundRequestDeclined{
			RequestId: r.ID, OrderId: r.OrderID, LineId: r.LineID, CourseId: r.CourseID, BuyerId: r.BuyerID, Answer: r.Answer, DeclinedAt: timestamppb.New(now),
			Title: l.Title, Kind: l.Kind, Quantity: l.Quantity, BundleTitle: l.BundleTitle,
		}); err != nil {
			return nil, err
		}
	}
	return r.message(), audit.Record(ctx, tx, audit.Entry{
		Action: "refund_request.decided", Object: r.ID, Course: r.CourseID, Person: r.BuyerID,
		Before: map[string]any{"state": "open"}, After: map[string]any{"state": r.State, "refund_id": r.RefundID},
	})
}

// atField has an error of a field name that of the request.
func atField(err error, path string) error {
	told, ok := err.(*fault.Error) //nolint:errorlint // made here, not wrapped
	if !ok || len(told.Fields) == 0 {
		return err
	}
	moved := *told
	moved.Fields = slices.Clone(told.Fields)
	moved.Fields[0].Path = path
	return &moved
}
