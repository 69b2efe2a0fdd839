package commerce_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"

	"github.com/stoa-lms/stoa/internal/service/commerce"
)

// weather is a provider whose calls fail by chance, before or after they took effect, and
// at which the process dies, before or after.
type weather struct {
	commerce.Provider
	mu     sync.Mutex
	chance *rand.Rand // nil for fair weather
	die    func()
}

func (w *weather) on(chance *rand.Rand, die func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.chance, w.die = rand.New(rand.NewPCG(chance.Uint64(), 0)), die //nolint:gosec // chance, not secrecy
}

func (w *weather) off() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.chance = nil
}

// breaks says what happens at a moment.
func (w *weather) breaks() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.chance == nil {
		return nil
	}
	switch w.chance.IntN(16) {
	case 0, 1:
		return errors.New("connection refused")
	case 2:
		w.die()
		return context.Canceled
	}
	return nil
}

func (w *weather) around(ctx context.Context, do func(context.Context) error) error {
	if err := w.breaks(); err != nil {
		return err
	}
	// What was sent has its effect, whatever becomes of who has sent it.
	if err := do(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	return w.breaks()
}

func (w *weather) Checkout(ctx context.Context, key string, c commerce.Checkout) (ref, url string, err error) {
	err = w.around(ctx, func(ctx context.Context) error { ref, url, err = w.Provider.Checkout(ctx, key, c); return err })
	return ref, url, err
}

func (w *weather) Subscribe(ctx context.Context, key string, r commerce.SubscribeRequest) (ref, url string, err error) {
	err = w.around(ctx, func(ctx context.Context) error { ref, url, err = w.Provider.Subscribe(ctx, key, r); return err })
	return ref, url, err
}

func (w *weather) Subscription(ctx context.Context, ref string) (n commerce.SubscriptionNews, err error) {
	err = w.around(ctx, func(ctx context.Context) error { n, err = w.Provider.Subscription(ctx, ref); return err })
	return n, err
}

func (w *weather) EndSubscription(ctx context.Context, key, ref, how string) (n commerce.SubscriptionNews, err error) {
	err = w.around(ctx, func(ctx context.Context) error {
		n, err = w.Provider.EndSubscription(ctx, key, ref, how)
		return err
	})
	return n, err
}

func (w *weather) CloseCheckout(ctx context.Context, key, ref string) (n commerce.PaymentNews, err error) {
	err = w.around(ctx, func(ctx context.Context) error { n, err = w.Provider.CloseCheckout(ctx, key, ref); return err })
	return n, err
}

func (w *weather) Payment(ctx context.Context, ref string) (n commerce.PaymentNews, err error) {
	err = w.around(ctx, func(ctx context.Context) error { n, err = w.Provider.Payment(ctx, ref); return err })
	return n, err
}

func (w *weather) Refund(ctx context.Context, key string, r commerce.RefundRequest) (n commerce.RefundNews, err error) {
	err = w.around(ctx, func(ctx context.Context) error { n, err = w.Provider.Refund(ctx, key, r); return err })
	return n, err
}

func (w *weather) RefundState(ctx context.Context, ref string) (n commerce.RefundNews, err error) {
	err = w.around(ctx, func(ctx context.Context) error { n, err = w.Provider.RefundState(ctx, ref); return err })
	return n, err
}

func (w *weather) Transfer(ctx context.Context, key string, r commerce.TransferRequest) (ref string, err error) {
	err = w.around(ctx, func(ctx context.Context) error { ref, err = w.Provider.Transfer(ctx, key, r); return err })
	return ref, err
}

func (w *weather) ReverseTransfer(ctx context.Context, key, ref string, amount int64) error {
	return w.around(ctx, func(ctx context.Context) error { return w.Provider.ReverseTransfer(ctx, key, ref, amount) })
}
