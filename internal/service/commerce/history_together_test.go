package commerce_test

import (
	"context"
	"sync"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// together does at once what meets at the same order.
func (h *history) together() {
	o := h.order()
	do := []func(ctx context.Context) error{
		func(ctx context.Context) error { _, err := h.svc.Release(ctx); return err },
		func(ctx context.Context) error { _, err := h.svc.CarryOut(ctx); return err },
		func(ctx context.Context) error { _, err := h.svc.CarryOut(ctx); return err },
		func(ctx context.Context) error { _, err := h.svc.PayOut(ctx); return err },
		func(ctx context.Context) error {
			_, err := h.refunds.CreateRefund(rpctest.Account(ctx, id.New("account")), &commercepb.CreateRefundRequest{OrderId: o.GetId(), Note: "x"})
			return err
		},
		func(ctx context.Context) error {
			_, err := h.client.CancelOrder(rpctest.Account(ctx, o.GetBuyerId()), &commercepb.CancelOrderRequest{OrderId: o.GetId()})
			return err
		},
	}
	if o.payment != "" && !o.surplus {
		do = append(do, func(ctx context.Context) error {
			_, err := h.client.SettleDevelopmentPayment(ctx, &commercepb.SettleDevelopmentPaymentRequest{PaymentId: o.payment, Outcome: "succeed"})
			return err
		})
	}
	h.chance.Shuffle(len(do), func(i, j int) { do[i], do[j] = do[j], do[i] })
	var all sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		all.Go(func() { errs[i] = do[i](h.ctx) })
	}
	all.Wait()
	for _, err := range errs {
		h.may(err, append([]string{"order.already_paid", "payment.closed", "payment.outcome"}, refundRefusals...)...)
	}
}

// togetherSubscribed does at once what meets at the same subscription.
func (h *history) togetherSubscribed() {
	s := h.subscription()
	n, err := h.weather.Provider.Subscription(h.Context(), s.id)
	if !h.may(err, "payment.provider_unknown") {
		return
	}
	o := h.order()
	hear := func(ctx context.Context) error { return h.svc.HeardSubscription(ctx, n) }
	do := []func(ctx context.Context) error{
		hear, hear,
		func(ctx context.Context) error { _, err := h.svc.Renew(ctx, true); return err },
		func(ctx context.Context) error { _, err := h.svc.LookAtSubscriptions(ctx); return err },
		func(ctx context.Context) error { _, err := h.svc.CarryOut(ctx); return err },
		func(ctx context.Context) error {
			_, err := h.subs.CancelMySubscription(rpctest.Account(ctx, h.buyer), &commercepb.CancelMySubscriptionRequest{SubscriptionId: s.id})
			return err
		},
		func(ctx context.Context) error {
			_, err := h.subs.CancelSubscription(rpctest.Account(ctx, id.New("account")), &commercepb.CancelSubscriptionRequest{SubscriptionId: s.id, Now: true})
			return err
		},
		func(ctx context.Context) error {
			_, err := h.refunds.CreateRefund(rpctest.Account(ctx, id.New("account")), &commercepb.CreateRefundRequest{OrderId: o.GetId(), Note: "x"})
			return err
		},
	}
	h.chance.Shuffle(len(do), func(i, j int) { do[i], do[j] = do[j], do[i] })
	var all sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		all.Go(func() { errs[i] = do[i](h.ctx) })
	}
	all.Wait()
	for _, err := range errs {
		h.may(err, append([]string{"subscription.ended"}, refundRefusals...)...)
	}
}
