package edge

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// Bounds of what the payment provider sends.
const (
	maxProviderEvent     = 1 << 20
	maxProviderSignature = 4096
)

// takeStripeEvent takes what Stripe tells, whose signature is of the bytes as they come.
// It answers once that is kept; Stripe sends again what is not answered so.
func (e *Edge) takeStripeEvent(w http.ResponseWriter, r *http.Request) {
	if err := e.providerEvent(w, r, "stripe", r.Header.Get("Stripe-Signature")); err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (e *Edge) providerEvent(w http.ResponseWriter, r *http.Request, provider, signature string) error {
	if signature == "" || len(signature) > maxProviderSignature {
		return fault.New(fault.Invalid, "payment_event.signature", "An event comes with a signature of at most %d bytes.", maxProviderSignature)
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(e.Timeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxProviderEvent))
	if err != nil {
		return fault.New(fault.TooLarge, "request.too_large", "An event has at most %d bytes.", maxProviderEvent)
	}
	if len(body) == 0 {
		return fault.New(fault.Invalid, "payment_event.invalid", "This is no event.")
	}
	ctx, cancel := context.WithTimeout(r.Context(), e.Timeout)
	defer cancel()
	_, err = e.payments.TakeProviderEvent(ctx, &commercepb.TakeProviderEventRequest{Provider: provider, Signature: signature, Body: body})
	return fault.FromStatus(err)
}
