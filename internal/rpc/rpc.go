// Package rpc connects services: in the same process through memory, in others
// over the network, with the same behaviour. A [Server] holds the services of
// this process; [Server.Conn] is the connection in memory and [Dial] the one
// over the network. Both copy messages, carry metadata and the deadline and no
// other value of the context, and reduce an error to its status.
package rpc

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/telemetry"
)

// Metadata keys.
const (
	keyPrincipal   = "stoa-principal"
	keyRequestID   = "stoa-request-id"
	keyTraceparent = "traceparent"
	// KeyIdempotency carries the caller's Idempotency-Key.
	KeyIdempotency = "idempotency-key"
	// KeyIfMatch carries the ETag of the version the caller has edited.
	KeyIfMatch = "if-match"
	// KeyAddress carries the network address that a request from outside came from.
	KeyAddress = "stoa-address"
)

// Deadlines. A call that brings none gets callTimeout; a server lets no call run
// longer than maxTimeout.
const (
	callTimeout = 10 * time.Second
	maxTimeout  = 60 * time.Second
)

// IdempotencyKey returns the key that the caller sent with a write, "" when
// there is none.
func IdempotencyKey(ctx context.Context) string { return incoming(ctx, KeyIdempotency) }

// IfMatch returns the ETag that the caller's change is based on, "" when there
// is none.
func IfMatch(ctx context.Context) string { return incoming(ctx, KeyIfMatch) }

// Address returns the network address of who made the request from outside, as
// the edge saw it: of IPv6 its /64. It is "" for what no request caused.
func Address(ctx context.Context) string { return incoming(ctx, KeyAddress) }

// WithAddress returns a context whose outgoing call carries the address.
func WithAddress(ctx context.Context, address string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, KeyAddress, address)
}

func incoming(ctx context.Context, key string) string {
	if v := metadata.ValueFromIncomingContext(ctx, key); len(v) > 0 {
		return v[0]
	}
	return ""
}

// WithIdempotencyKey returns a context whose outgoing call carries key.
func WithIdempotencyKey(ctx context.Context, key string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, KeyIdempotency, key)
}

// WithIfMatch returns a context whose outgoing call carries etag.
func WithIfMatch(ctx context.Context, etag string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, KeyIfMatch, etag)
}

// client is what a caller adds to each call.
type client struct {
	service string // who calls
	keys    *auth.Keys
}

// origin is where a call comes from. It travels as metadata over the network,
// and as it is in memory.
type origin struct {
	principal   string // signed
	requestID   string
	traceparent string
}

// origin returns what a call made in ctx comes from.
func (c client) origin(ctx context.Context) (origin, error) {
	p := auth.From(ctx)
	p.Service = c.service
	token, err := c.keys.Sign(p)
	return origin{token, telemetry.RequestID(ctx), telemetry.Traceparent(ctx)}, err
}

// outgoing returns ctx with the origin of its call as metadata.
func (c client) outgoing(ctx context.Context) (context.Context, error) {
	o, err := c.origin(ctx)
	if err != nil {
		return nil, err
	}
	kv := make([]string, 0, 6)
	for _, pair := range [][2]string{{keyPrincipal, o.principal}, {keyRequestID, o.requestID}, {keyTraceparent, o.traceparent}} {
		if pair[1] != "" {
			kv = append(kv, pair[0], pair[1])
		}
	}
	return metadata.AppendToOutgoingContext(ctx, kv...), nil
}

// originOf returns where the call that is answered in ctx comes from.
func originOf(ctx context.Context) origin {
	if m, ok := ctx.Value(memoryKey{}).(*memoryContext); ok {
		return m.origin
	}
	return origin{incoming(ctx, keyPrincipal), incoming(ctx, keyRequestID), incoming(ctx, keyTraceparent)}
}

// bounded returns ctx with a deadline.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callTimeout)
}

func (c client) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	ctx, err := c.outgoing(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	return fault.FromStatus(invoke(ctx, method, req, reply, cc, opts...))
}

// stream leaves the deadline to the caller: a transfer has none of its own, and
// a stalled one is ended by the server.
func (c client) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	ctx, err := c.outgoing(ctx)
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, fault.FromStatus(err)
	}
	return clientStream{s}, nil
}

type clientStream struct{ grpc.ClientStream }

func (s clientStream) RecvMsg(m any) error { return streamErr(s.ClientStream.RecvMsg(m)) }
func (s clientStream) SendMsg(m any) error { return streamErr(s.ClientStream.SendMsg(m)) }
