package commerce

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// refundServer is the contract of refunds.
type refundServer struct {
	commercepb.UnimplementedRefundServiceServer
	*Service
}

func (r refund) message() *commercepb.Refund {
	return &commercepb.Refund{
		Id: r.ID, OrderId: r.OrderID, State: r.State, Source: r.Source, Amount: &moneypb.Money{Amount: r.Amount, Currency: r.Currency},
		Lines: lineMessages(r.lines, r.Currency), Reason: r.Reason, Note: r.Note, EndAccess: r.EndsAccess, FailReason: r.FailReason, RequestedBy: r.RequestedBy,
		CreatedAt: timestamppb.New(r.CreatedAt), SettledAt: stamp(r.SettledAt), Returned: r.Booked && r.State == refundFailed,
	}
}

func lineMessages(lines []refundLine, currency string) (out []*commercepb.RefundedLine) {
	for _, l := range lines {
		out = append(out, &commercepb.RefundedLine{
			LineId: l.LineID, Amount: &moneypb.Money{Amount: l.Amount, Currency: currency}, Tax: &moneypb.Money{Amount: l.Tax, Currency: currency},
		})
	}
	return out
}

// made has a refund that was just asked for given back at once, and returns how it stands.
func (h *refundServer) made(ctx context.Context, m *commercepb.Refund, err error) (*commercepb.Refund, error) {
	if err != nil {
		return nil, err
	}
	h.carryNow(ctx, callRefund+":"+m.GetId())
	r, err := oneRefund(ctx, h.DB, `id = $1`, m.GetId())
	return r.message(), err
}

// CreateRefund implements the contract.
func (h *refundServer) CreateRefund(ctx context.Context, req *commercepb.CreateRefundRequest) (*commercepb.Refund, error) {
	m, err := idempotency.Do(ctx, h.DB, req, func(tx *pg.Tx) (*commercepb.Refund, error) {
		o, err := lockOrder(ctx, tx, ErrOrderUnknown, `id = $1`, req.GetOrderId())
		if err != nil {
			return nil, err
		}
		w := askedRefund{source: refundByStaff, reason: req.GetReason(), note: req.GetNote(), endsAccess: req.GetEndAccess(), by: auth.From(ctx).Account}
		if w.reason == "" {
			w.reason = "requested_by_customer"
		}
		for _, l := range req.GetLines() {
			w.wishes = append(w.wishes, wish{l.GetLineId(), l.GetAmount()})
		}
		if req.GetEndSubscription() && o.SubscriptionID == nil {
			return nil, wrong("end_subscription", "refund.no_subscription", "The order is no period of a subscription.")
		}
		r, err := h.newRefund(ctx, tx, &o, w)
		if err == nil && req.GetEndSubscription() {
			err = h.endSubscriptionOf(ctx, tx, &o, endRefunded, "ended with a refund by staff")
		}
		return r.message(), err
	})
	return h.made(ctx, m, err)
}

// CreateCourseRefund implements the contract.
func (h *refundServer) CreateCourseRefund(ctx context.Context, req *commercepb.CreateCourseRefundRequest) (*commercepb.Refund, error) {
	m, err := idempotency.Do(ctx, h.DB, req, func(tx *pg.Tx) (*commercepb.Refund, error) {
		o, err := lockOrder(ctx, tx, ErrSaleNotFound, `id = (SELECT order_id FROM order_line WHERE id = $1 AND course_id = $2 AND paid_at IS NOT NULL)`, req.GetLineId(), req.GetCourseId())
		if err != nil {
			return nil, err
		}
		r, err := h.newRefund(ctx, tx, &o, askedRefund{
			wishes: []wish{{req.GetLineId(), req.GetAmount()}}, source: refundByTeacher, reason: "requested_by_customer", note: req.GetNote(),
			endsAccess: req.GetEndAccess(), by: auth.From(ctx).Account,
		})
		if err != nil {
			return nil, atField(err, "amount")
		}
		return r.message(), nil
	})
	return h.made(ctx, m, err)
}

// RetryRefund implements the contract.
func (h *refundServer) RetryRefund(ctx context.Context, req *commercepb.RetryRefundRequest) (*commercepb.Refund, error) {
	m, err := idempotency.Do(ctx, h.DB, req, func(tx *pg.Tx) (*commercepb.Refund, error) {
		o, err := lockOrder(ctx, tx, ErrRefundNotFound, `id = (SELECT order_id FROM refund WHERE id = $1)`, req.GetRefundId())
		if err != nil {
			return nil, err
		}
		r, err := oneRefund(ctx, tx, `id = $1`, req.GetRefundId())
		if err != nil {
			return nil, err
		}
		owed, err := owedToBuyer(ctx, tx, o.ID, r.Currency)
		if err != nil {
			return nil, err
		}
		if r.State != refundFailed || !r.Booked && r.Source != refundOfSurplus || owed <= 0 {
			return nil, ErrRefundNotOwed
		}
		again, err := h.giveBack(ctx, tx, &o, min(r.Amount, owed), r.Currency, auth.From(ctx).Account)
		return again.message(), err
	})
	return h.made(ctx, m, err)
}

// GetRefund implements the contract.
func (h *refundServer) GetRefund(ctx context.Context, req *commercepb.GetRefundRequest) (*commercepb.Refund, error) {
	r, err := oneRefund(ctx, h.DB, `id = $1`, req.GetRefundId())
	if err != nil {
		return nil, err
	}
	return r.message(), nil
}

// ListRefunds implements the contract.
func (h *refundServer) ListRefunds(ctx context.Context, req *commercepb.ListRefundsRequest) (*commercepb.ListRefundsResponse, error) {
	before, last, err := page.After(req.GetCursor())
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	where := `($4 = '' OR state = $4) AND (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3`
	args := []any{before, last, size + 1, req.GetState()}
	if req.GetOrderId() != "" {
		where, args = `order_id = $5 AND `+where, append(args, req.GetOrderId())
	}
	list, err := refunds(ctx, h.DB, where, args...)
	if err != nil {
		return nil, err
	}
	res := &commercepb.ListRefundsResponse{}
	if len(list) > size {
		list = list[:size]
		res.NextCursor = page.TimeCursor(list[size-1].CreatedAt, list[size-1].ID)
	}
	for _, r := range list {
		res.Items = append(res.Items, r.message())
	}
	return res, nil
}

// own refuses an order that is not the caller's.
func (h *refundServer) own(ctx context.Context, orderID string) error {
	var theirs bool
	err := h.DB.QueryRow(ctx, `SELECT EXISTS (SELECT FROM orders WHERE id = $1 AND buyer_id = $2)`, orderID, auth.From(ctx).Account).Scan(&theirs)
	if err == nil && !theirs {
		err = ErrOrderNotFound
	}
	return err
}

// ListOrderRefunds implements the contract. What staff wrote, and who they are, is for
// staff.
func (h *refundServer) ListOrderRefunds(ctx context.Context, req *commercepb.ListOrderRefundsRequest) (*commercepb.ListOrderRefundsResponse, error) {
	if err := h.own(ctx, req.GetOrderId()); err != nil {
		return nil, err
	}
	list, err := refunds(ctx, h.DB, `order_id = $1 ORDER BY created_at, id LIMIT 100`, req.GetOrderId())
	if err != nil {
		return nil, err
	}
	res := &commercepb.ListOrderRefundsResponse{}
	for _, r := range list {
		r.Note, r.RequestedBy, r.FailReason = "", "", ""
		res.Items = append(res.Items, r.message())
	}
	return res, nil
}

func (d dispute) message() *commercepb.Dispute {
	return &commercepb.Dispute{
		Id: d.ID, OrderId: d.OrderID, State: d.State, Amount: &moneypb.Money{Amount: d.Amount, Currency: d.Currency}, Fee: &moneypb.Money{Amount: d.Fee - d.FeeBack, Currency: d.Currency},
		Reason: d.Reason, DueBy: stamp(d.DueBy), OpenedAt: timestamppb.New(d.OpenedAt), SettledAt: stamp(d.SettledAt),
		Lines: lineMessages(d.lines, d.Currency), ProviderRef: d.Ref,
	}
}

// GetDispute implements the contract.
func (h *refundServer) GetDispute(ctx context.Context, req *commercepb.GetDisputeRequest) (*commercepb.Dispute, error) {
	list, err := disputes(ctx, h.DB, `id = $1`, req.GetDisputeId())
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrDisputeNotFound
	}
	return list[0].message(), nil
}

// ListDisputes implements the contract.
func (h *refundServer) ListDisputes(ctx context.Context, req *commercepb.ListDisputesRequest) (*commercepb.ListDisputesResponse, error) {
	before, last, err := page.After(req.GetCursor())
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	list, err := disputes(ctx, h.DB, `($4 = '' OR state = $4) AND (opened_at, id) < ($1, $2) ORDER BY opened_at DESC, id DESC LIMIT $3`, before, last, size+1, req.GetState())
	if err != nil {
		return nil, err
	}
	res := &commercepb.ListDisputesResponse{}
	if len(list) > size {
		list = list[:size]
		res.NextCursor = page.TimeCursor(list[size-1].OpenedAt, list[size-1].ID)
	}
	for _, d := range list {
		res.Items = append(res.Items, d.message())
	}
	return res, nil
}
