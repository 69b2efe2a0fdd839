package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/test/bufconn"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/telemetry"
)

// MaxMessage bounds a message in bytes, in both directions.
const MaxMessage = 4 << 20

// Server holds the services of this process. Services are registered before the
// first call.
type Server struct {
	guard   *auth.Guard
	log     *slog.Logger
	methods map[string]method
	grpc    *grpc.Server
	tls     *TLS // nil when other processes speak without

	pipeOnce   sync.Once
	pipe       *bufconn.Listener
	pipeClient *grpc.ClientConn
	pipeErr    error
}

type method struct {
	service any
	handler grpc.MethodHandler
}

// NewServer returns a server that holds each call to its declared rule. Calls
// from other processes are encrypted unless security is nil.
func NewServer(guard *auth.Guard, log *slog.Logger, security *TLS) *Server {
	s := &Server{guard: guard, log: log, methods: map[string]method{}, tls: security}
	creds := insecure.NewCredentials()
	if security != nil {
		creds = serverTLS{security}
	}
	s.grpc = grpc.NewServer(
		grpc.Creds(creds),
		grpc.UnaryInterceptor(s.unary),
		grpc.StreamInterceptor(s.stream),
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(MaxMessage),
		// Connections are made anew so that callers find new processes; a transfer
		// that is under way may take as long as it does.
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 5 * time.Minute, MaxConnectionAgeGrace: 24 * time.Hour}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	)
	return s
}

// RegisterService adds a service; generated code calls it.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	for _, m := range desc.Methods {
		s.methods["/"+desc.ServiceName+"/"+m.MethodName] = method{impl, m.Handler}
	}
	s.grpc.RegisterService(desc, impl)
}

// Serves reports whether the full method ("/package.Service/Method") is
// answered by this process.
func (s *Server) Serves(fullMethod string) bool {
	_, ok := s.methods[fullMethod]
	return ok
}

// Serve answers calls from other processes until [Server.Stop].
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("rpc: serve: %w", err)
	}
	return nil
}

// Stop lets calls in progress finish, and ends those that are left when ctx
// does.
func (s *Server) Stop(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
	}
}

// unary is what every call passes, from memory or from the network.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (res any, err error) {
	start := time.Now()
	from := originOf(ctx)
	ctx = from.enter(ctx)
	ctx, span := telemetry.StartSpan(ctx, info.FullMethod)
	defer func() {
		if v := recover(); v != nil {
			res, err = nil, fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
		span.End(err)
		s.observe(ctx, info.FullMethod, start, err)
		if err != nil {
			res, err = nil, fault.ToStatus(err).Err()
		}
	}()
	if d, ok := ctx.Deadline(); !ok || time.Until(d) > maxTimeout {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, maxTimeout)
		defer cancel()
	}
	if ctx, err = s.guard.Authenticate(ctx, from.principal); err != nil {
		return nil, err
	}
	if err = s.checkPeer(ctx); err != nil {
		return nil, err
	}
	// Who may not call is told so, whatever else is wrong with the request.
	return s.guard.Call(ctx, info.FullMethod, req, func(ctx context.Context, req any) (any, error) {
		if err := check(req); err != nil {
			return nil, err
		}
		return handler(ctx, req)
	})
}

// enter returns ctx with the request and the trace that the call belongs to.
func (o origin) enter(ctx context.Context) context.Context {
	if o.requestID != "" {
		ctx = telemetry.WithRequestID(ctx, o.requestID)
	}
	if o.traceparent != "" {
		ctx = telemetry.WithTraceparent(ctx, o.traceparent)
	}
	return ctx
}

// observe counts the call and logs what is our fault; what is the caller's is
// told to the caller.
func (s *Server) observe(ctx context.Context, method string, start time.Time, err error) {
	kind := "ok"
	if err != nil {
		kind = fault.CodeOf(err)
	}
	telemetry.ObserveRPC(method, kind, time.Since(start))
	if err == nil {
		return
	}
	switch {
	case errors.Is(err, context.Canceled):
	case fault.Is(err, fault.Internal):
		s.log.ErrorContext(ctx, "call failed", "method", method, "error", err.Error())
	case fault.Is(err, fault.Unavailable):
		s.log.WarnContext(ctx, "call failed", "method", method, "error", err.Error())
	default:
		s.log.DebugContext(ctx, "call refused", "method", method, "error", err.Error())
	}
}

// stream holds a streaming call to its rule by its first message.
func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	start := time.Now()
	from := originOf(ss.Context())
	ctx := from.enter(ss.Context())
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
		s.observe(ctx, info.FullMethod, start, err)
		if err != nil {
			err = fault.ToStatus(err).Err()
		}
	}()
	if ctx, err = s.guard.Authenticate(ctx, from.principal); err != nil {
		return err
	}
	if err = s.checkPeer(ctx); err != nil {
		return err
	}
	return handler(srv, &guardedStream{ServerStream: ss, ctx: ctx, guard: s.guard, method: info.FullMethod})
}

type guardedStream struct {
	grpc.ServerStream
	ctx     context.Context //nolint:containedctx // grpc.ServerStream hands its context out by a method
	guard   *auth.Guard
	method  string
	checked bool
}

func (g *guardedStream) Context() context.Context { return g.ctx }

func (g *guardedStream) RecvMsg(m any) error {
	if err := g.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if !g.checked {
		if _, err := g.guard.Call(g.ctx, g.method, m, func(context.Context, any) (any, error) { return nil, nil }); err != nil {
			return err
		}
		g.checked = true
	}
	return check(m)
}

// streamErr rebuilds a told error; the end of a stream stays io.EOF.
func streamErr(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return fault.FromStatus(err)
}

// ServiceOf returns the short name of the service that answers a full method:
// "courses" of "/stoa.courses.v1.CoursesService/GetCourse".
func ServiceOf(fullMethod string) string {
	parts := strings.SplitN(strings.TrimPrefix(fullMethod, "/"), ".", 3)
	if len(parts) < 3 || parts[0] != "stoa" {
		return ""
	}
	return parts[1]
}
