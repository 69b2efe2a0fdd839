package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/fault"
)

const (
	callWithin  = 15 * time.Second       // one attempt of a call
	eventWithin = 30 * time.Second       // until an event has arrived where it is needed
	pollEvery   = 100 * time.Millisecond // between attempts
)

// patient makes calls again while a service does not answer: services may start
// in any order. Every write here may be made twice: it carries an idempotency
// key or does the same each time.
type patient struct{ grpc.ClientConnInterface }

// Invoke implements [grpc.ClientConnInterface].
func (p patient) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return again(ctx, method, away, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, callWithin)
		defer cancel()
		return p.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
	})
}

// away reports a failure that passes by itself.
func away(err error) bool {
	return fault.Is(err, fault.Unavailable) || errors.Is(err, context.DeadlineExceeded)
}

// errNotYet is told by what is tried again until something has happened.
var errNotYet = errors.New("it has not happened yet")

// eventually does something that fails with one of the codes, or with
// [errNotYet], until an event has arrived.
func eventually(ctx context.Context, what string, do func(context.Context) error, codes ...string) error {
	ctx, cancel := context.WithTimeout(ctx, eventWithin)
	defer cancel()
	return again(ctx, what, func(err error) bool {
		for _, code := range codes {
			if fault.CodeOf(err) == code {
				return true
			}
		}
		return errors.Is(err, errNotYet)
	}, do)
}

// again does something until it fails no more, or in a way that does not pass.
func again(ctx context.Context, what string, passes func(error) bool, do func(context.Context) error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := do(ctx)
		if err == nil || !passes(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: waited in vain: %w", what, err)
		case <-tick.C:
		}
	}
}
