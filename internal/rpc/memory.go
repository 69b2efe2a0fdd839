package rpc

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
)

// Conn returns the connection in memory to the services of this process, for
// the named service as the caller. It fails calls to services that are not
// registered as a network would.
func (s *Server) Conn(service string, keys *auth.Keys) grpc.ClientConnInterface {
	return &memoryConn{server: s, client: client{service: service, keys: keys}}
}

type memoryConn struct {
	server *Server
	client client
}

// Invoke makes a unary call without leaving the goroutine.
func (c *memoryConn) Invoke(ctx context.Context, fullMethod string, args, reply any, _ ...grpc.CallOption) error {
	from, err := c.client.origin(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	m, ok := c.server.methods[fullMethod]
	if !ok {
		return fault.FromStatus(status.Error(codes.Unimplemented, "no such method"))
	}
	in, out, ok := messages(args, reply)
	if !ok {
		return status.Error(codes.Internal, "not a message")
	}
	// The receiver sees the deadline and the metadata, nothing else.
	var inner context.Context = &memoryContext{parent: ctx, origin: from}
	if md, ok := metadata.FromOutgoingContext(ctx); ok { // a copy
		inner = metadata.NewIncomingContext(inner, md)
	}
	res, err := m.handler(m.service, inner, func(v any) error {
		proto.Merge(v.(proto.Message), in)
		return nil
	}, c.server.unary)
	if err != nil {
		return fault.FromStatus(err)
	}
	proto.Reset(out)
	proto.Merge(out, res.(proto.Message))
	return nil
}

func messages(args, reply any) (in, out proto.Message, ok bool) {
	in, ok = args.(proto.Message)
	if !ok {
		return nil, nil, false
	}
	out, ok = reply.(proto.Message)
	return in, out, ok
}

// NewStream opens a stream through a pipe in memory: transfers are rare and
// large, so that the real transport's cost does not matter and its flow control
// does.
func (c *memoryConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, fullMethod string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	cc, err := c.server.pipeConn()
	if err != nil {
		return nil, err
	}
	return c.client.stream(ctx, desc, cc, fullMethod, func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		return cc.NewStream(ctx, desc, method, opts...)
	}, opts...)
}

func (s *Server) pipeConn() (*grpc.ClientConn, error) {
	s.pipeOnce.Do(func() {
		s.pipe = bufconn.Listen(256 << 10)
		go func() { _ = s.grpc.Serve(s.pipe) }()
		s.pipeClient, s.pipeErr = grpc.NewClient("passthrough:///memory",
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.pipe.DialContext(ctx) }),
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		)
	})
	return s.pipeClient, s.pipeErr
}

// memoryContext keeps the deadline and the cancellation of its parent and none
// of its values; it has the origin of the call instead.
type memoryContext struct {
	parent context.Context //nolint:containedctx // it is one
	origin origin
}

type memoryKey struct{}

func (c *memoryContext) Deadline() (time.Time, bool) { return c.parent.Deadline() }
func (c *memoryContext) Done() <-chan struct{}       { return c.parent.Done() }
func (c *memoryContext) Err() error                  { return c.parent.Err() }

func (c *memoryContext) Value(key any) any {
	if key == (memoryKey{}) {
		return c
	}
	return nil
}

// AfterFunc spares contexts made of this one a goroutine each; package context
// looks for it.
func (c *memoryContext) AfterFunc(fn func()) func() bool { return context.AfterFunc(c.parent, fn) }
