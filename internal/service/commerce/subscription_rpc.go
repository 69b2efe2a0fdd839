package commerce

import (
	"context"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// subscriptionServer is the contract of subscriptions.
type subscriptionServer struct {
	commercepb.UnimplementedSubscriptionServiceServer
	*Service
}

// CreateSubscription implements the contract.
func (h *subscriptionServer) CreateSubscription(ctx context.Context, req *commercepb.CreateSubscriptionRequest) (*commercepb.Subscription, error) {
	buyer := auth.From(ctx).Account
	made, err := idempotency.Do(ctx, h.DB, req, func(tx *pg.Tx) (*commercepb.Subscription, error) {
		if err := takeTurns(ctx, tx, buyer); err != nil {
			return nil, err
		}
		p, err := onePlan(ctx, tx, `id = $1 AND (state = 'published' OR owner_id = $2) FOR SHARE`, req.GetPlanId(), buyer)
		if err != nil {
			return nil, err
		}
		if err := lockProducts(ctx, tx, p.CourseIDs, "FOR SHARE"); err != nil {
			return nil, err
		}
		known, err := offers(ctx, tx, p.CourseIDs, h.now())
		switch {
		case err != nil:
			return nil, err
		case p.OwnerID == buyer:
			return nil, ErrSubscriptionOwnPlan
		case !p.forSale(known):
			return nil, ErrSubscriptionNotForSale
		case h.provider == nil:
			return nil, ErrPaymentsOff
		}
		sub, err := h.newSubscription(p, buyer, req.GetCurrency(), strings.ToUpper(strings.TrimSpace(req.GetReferralCode())))
		if err != nil {
			return nil, err
		}
		if err := insertSubscription(ctx, tx, sub); err != nil {
			return nil, err
		}
		o := order{State: awaitingPayment, Total: sub.Amount, Currency: sub.Currency}
		if err := h.orderPeriod(ctx, tx, &sub, p, &o); err != nil {
			return nil, err
		}
		return subscriptionRow{subscription: sub, PlanTitle: p.Title, OrderID: o.ID}.message(h.now()), h.openPayment(ctx, tx, &o)
	})
	if err != nil {
		return nil, err
	}
	// Where to pay is not in what was kept for the key: the provider says it after.
	var payment string
	if err := h.DB.QueryRow(ctx, `SELECT payment_id FROM orders WHERE id = $1`, made.GetOrderId()).Scan(&payment); err != nil {
		return nil, err
	}
	h.carryNow(ctx, callCheckout+":"+payment)
	return h.one(ctx, ErrSubscriptionNotFound, `s.id = $1`, made.GetId())
}

// one returns the subscription of a condition.
func (h *subscriptionServer) one(ctx context.Context, notFound error, where string, args ...any) (*commercepb.Subscription, error) {
	list, err := subscriptions(ctx, h.DB, where, args...)
	if err == nil && len(list) == 0 {
		err = notFound
	}
	if err != nil {
		return nil, err
	}
	return list[0].message(h.now()), nil
}

// GetMySubscription implements the contract.
func (h *subscriptionServer) GetMySubscription(ctx context.Context, req *commercepb.GetMySubscriptionRequest) (*commercepb.Subscription, error) {
	return h.one(ctx, ErrSubscriptionNotFound, `s.id = $1 AND s.buyer_id = $2`, req.GetSubscriptionId(), auth.From(ctx).Account)
}

// list returns a page of subscriptions in a state and of a buyer, each empty for any.
func (h *subscriptionServer) list(ctx context.Context, state, buyer string, pageSize int32, cursor string) (*commercepb.ListSubscriptionsResponse, error) {
	before, last, err := page.After(cursor)
	if err != nil {
		return nil, err
	}
	size := page.Size(pageSize)
	where, args := `(s.created_at, s.id) < ($1, $2)`, []any{before, last, size + 1}
	for column, value := range map[string]string{"state": state, "buyer_id": buyer} {
		if value != "" {
			args = append(args, value)
			where += ` AND s.` + column + ` = $` + strconv.Itoa(len(args))
		}
	}
	list, err := subscriptions(ctx, h.DB, where+` ORDER BY s.created_at DESC, s.id DESC LIMIT $3`, args...)
	if err != nil {
		return nil, err
	}
	res := &commercepb.ListSubscriptionsResponse{}
	if len(list) > size {
		list = list[:size]
		res.NextCursor = page.TimeCursor(list[size-1].CreatedAt, list[size-1].ID)
	}
	for _, r := range list {
		res.Items = append(res.Items, r.message(h.now()))
	}
	return res, nil
}

// ListMySubscriptions implements the contract.
func (h *subscriptionServer) ListMySubscriptions(ctx context.Context, req *commercepb.ListMySubscriptionsRequest) (*commercepb.ListSubscriptionsResponse, error) {
	return h.list(ctx, "", auth.From(ctx).Account, req.GetPageSize(), req.GetCursor())
}

// ListSubscriptions implements the contract.
func (h *subscriptionServer) ListSubscriptions(ctx context.Context, req *commercepb.ListSubscriptionsRequest) (*commercepb.ListSubscriptionsResponse, error) {
	return h.list(ctx, req.GetState(), req.GetBuyerId(), req.GetPageSize(), req.GetCursor())
}

// decide writes down what was decided of a subscription, which do says in a transaction
// that has locked it, and has the provider told at once.
func (h *subscriptionServer) decide(ctx context.Context, req proto.Message, notFound error, find func(tx *pg.Tx) (subscription, error), do func(tx *pg.Tx, sub *subscription) error) (*commercepb.Subscription, error) {
	made, err := idempotency.Do(ctx, h.DB, req, func(tx *pg.Tx) (*commercepb.Subscription, error) {
		sub, err := find(tx)
		if err != nil {
			return nil, err
		}
		tx.Exempt("what changes is recorded")
		if err := do(tx, &sub); err != nil {
			return nil, err
		}
		return &commercepb.Subscription{Id: sub.ID}, nil
	})
	if err != nil {
		return nil, err
	}
	var revision int64
	if err := h.DB.QueryRow(ctx, `SELECT revision FROM subscription WHERE id = $1`, made.GetId()).Scan(&revision); err != nil {
		return nil, err
	}
	h.carryNow(ctx, endCall(made.GetId(), revision))
	return h.one(ctx, notFound, `s.id = $1`, made.GetId())
}

// own locks one of the caller's subscriptions.
func (h *subscriptionServer) own(ctx context.Context, subscriptionID string) func(tx *pg.Tx) (subscription, error) {
	return func(tx *pg.Tx) (subscription, error) {
		return oneSubscription(ctx, tx, ErrSubscriptionNotFound, `id = $1 AND buyer_id = $2 FOR UPDATE`, subscriptionID, auth.From(ctx).Account)
	}
}

// cancel ends a subscription, which is locked: once what is paid is over, or now.
func (h *subscriptionServer) cancel(ctx context.Context, tx *pg.Tx, sub *subscription, now bool, cause string) error {
	was := *sub
	switch {
	case sub.State == subscriptionEnded, sub.CancelAtPeriodEnd && !now && sub.State == subscriptionActive:
		return nil
	case sub.State == subscriptionIncomplete:
		o, err := lockOrder(ctx, tx, ErrOrderUnknown, `subscription_id = $1 AND state = 'awaiting_payment'`, sub.ID)
		if err != nil {
			return err
		}
		return h.become(ctx, tx, &o, cancelled, cause, h.now())
	case now || sub.State == subscriptionPastDue:
		if err := h.askToEnd(ctx, tx, sub); err != nil {
			return err
		}
		return h.endSubscription(ctx, tx, sub, h.now(), endCancelled, cause)
	}
	sub.CancelAtPeriodEnd = true
	if err := h.askToEnd(ctx, tx, sub); err != nil {
		return err
	}
	return h.keepSubscription(ctx, tx, &was, sub, cause)
}

// CancelMySubscription implements the contract.
func (h *subscriptionServer) CancelMySubscription(ctx context.Context, req *commercepb.CancelMySubscriptionRequest) (*commercepb.Subscription, error) {
	return h.decide(ctx, req, ErrSubscriptionNotFound, h.own(ctx, req.GetSubscriptionId()), func(tx *pg.Tx, sub *subscription) error {
		return h.cancel(ctx, tx, sub, false, "cancelled by the buyer")
	})
}

// ResumeMySubscription implements the contract.
func (h *subscriptionServer) ResumeMySubscription(ctx context.Context, req *commercepb.ResumeMySubscriptionRequest) (*commercepb.Subscription, error) {
	return h.decide(ctx, req, ErrSubscriptionNotFound, h.own(ctx, req.GetSubscriptionId()), func(tx *pg.Tx, sub *subscription) error {
		was := *sub
		switch {
		case sub.State == subscriptionEnded:
			return ErrSubscriptionEnded
		case !sub.CancelAtPeriodEnd:
			return nil
		}
		sub.CancelAtPeriodEnd = false
		if err := h.askToEnd(ctx, tx, sub); err != nil {
			return err
		}
		return h.keepSubscription(ctx, tx, &was, sub, "resumed by the buyer")
	})
}

// CreateBillingLink implements the contract. Nothing of it is kept here.
func (h *subscriptionServer) CreateBillingLink(ctx context.Context, req *commercepb.CreateBillingLinkRequest) (*commercepb.BillingLink, error) {
	sub, err := oneSubscription(ctx, h.DB, ErrSubscriptionNotFound, `id = $1 AND buyer_id = $2`, req.GetSubscriptionId(), auth.From(ctx).Account)
	switch {
	case err != nil:
		return nil, err
	case h.provider == nil:
		return nil, ErrPaymentsOff
	case sub.State == subscriptionEnded:
		return nil, ErrSubscriptionEnded
	case sub.Ref == nil:
		return nil, ErrSubscriptionIncomplete
	}
	url, err := h.provider.BillingURL(ctx, *sub.Ref, h.subscriptionURL(sub.ID))
	if fault.Is(err, fault.NotFound) {
		return nil, ErrSubscriptionEnded // nobody can pay for it there any more
	}
	if err != nil {
		return nil, err
	}
	return &commercepb.BillingLink{Url: url}, nil
}

// CancelSubscription implements the contract.
func (h *subscriptionServer) CancelSubscription(ctx context.Context, req *commercepb.CancelSubscriptionRequest) (*commercepb.Subscription, error) {
	find := func(tx *pg.Tx) (subscription, error) {
		return oneSubscription(ctx, tx, ErrSubscriptionUnknown, `id = $1 FOR UPDATE`, req.GetSubscriptionId())
	}
	return h.decide(ctx, req, ErrSubscriptionUnknown, find, func(tx *pg.Tx, sub *subscription) error {
		return h.cancel(ctx, tx, sub, req.GetNow(), "cancelled by staff")
	})
}
