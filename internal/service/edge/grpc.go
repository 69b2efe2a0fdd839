package edge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/auth/authpb"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
)

func isGRPC(r *http.Request) bool {
	return r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

// passOn returns a server that hands gRPC calls to the services, for callers
// who bring their token as metadata "authorization: Bearer …".
func (e *Edge) passOn() *grpc.Server {
	return grpc.NewServer(
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			if err := e.forward(stream); err != nil {
				return fault.ToStatus(err).Err()
			}
			return nil
		}),
		grpc.MaxRecvMsgSize(rpc.MaxMessage),
		grpc.MaxSendMsgSize(rpc.MaxMessage),
	)
}

var errNoMethod = fault.New(fault.NotFound, "method.not_found", "There is no such method.")

func (e *Edge) forward(stream grpc.ServerStream) error {
	ctx := stream.Context()
	name, _ := grpc.Method(ctx)
	md, conn, err := e.callable(name)
	if err != nil {
		return err
	}
	in, out, err := types(md)
	if err != nil {
		return err
	}
	if ctx, err = e.outgoing(ctx); err != nil {
		return err
	}
	if md.IsStreamingClient() || md.IsStreamingServer() {
		return pipe(ctx, stream, conn, name, in, out, md)
	}
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	req, res := in.New().Interface(), out.New().Interface()
	if err := stream.RecvMsg(req); err != nil {
		return err
	}
	if err := conn.Invoke(ctx, name, req, res); err != nil {
		return err
	}
	return stream.SendMsg(res)
}

// callable returns a method that the outside world may call.
func (e *Edge) callable(name string) (protoreflect.MethodDescriptor, grpc.ClientConnInterface, error) {
	rule, err := auth.RuleOf(name)
	if err != nil || rule.Scope == authpb.Scope_SCOPE_SERVICE || rule.Scope == authpb.Scope_SCOPE_EDGE {
		return nil, nil, errNoMethod
	}
	conn := e.Conns[rpc.ServiceOf(name)]
	if conn == nil {
		return nil, nil, errNoMethod
	}
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(name, "/"), "/", ".")))
	if err != nil {
		return nil, nil, errNoMethod
	}
	md, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, nil, errNoMethod
	}
	return md, conn, nil
}

func types(md protoreflect.MethodDescriptor) (in, out protoreflect.MessageType, err error) {
	in, err = protoregistry.GlobalTypes.FindMessageByName(md.Input().FullName())
	if err != nil {
		return nil, nil, err
	}
	out, err = protoregistry.GlobalTypes.FindMessageByName(md.Output().FullName())
	return in, out, err
}

// outgoing turns the caller's metadata into what services are told.
func (e *Edge) outgoing(ctx context.Context) (context.Context, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md.Get("authorization"); len(v) > 0 {
		p, err := e.bearer(ctx, v[0])
		if err != nil {
			return nil, err
		}
		ctx = auth.With(ctx, p)
	}
	pairs := []string{}
	for _, key := range []string{rpc.KeyIdempotency, rpc.KeyIfMatch, "user-agent"} {
		if v := md.Get(key); len(v) > 0 {
			if key == "user-agent" {
				key = "grpcgateway-user-agent"
			}
			pairs = append(pairs, key, v[0])
		}
	}
	return metadata.NewOutgoingContext(ctx, metadata.Join(metadata.Pairs(pairs...), addressOf(ctx))), nil
}

// pipe copies messages both ways until the service ends the call.
func pipe(ctx context.Context, stream grpc.ServerStream, conn grpc.ClientConnInterface, name string, in, out protoreflect.MessageType, md protoreflect.MethodDescriptor) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	to, err := conn.NewStream(ctx, &grpc.StreamDesc{
		StreamName: string(md.Name()), ClientStreams: md.IsStreamingClient(), ServerStreams: md.IsStreamingServer(),
	}, name)
	if err != nil {
		return err
	}
	go func() { // ends with the stream
		for {
			m := in.New().Interface()
			if err := stream.RecvMsg(m); err != nil {
				if errors.Is(err, io.EOF) {
					_ = to.CloseSend() // a failure shows in RecvMsg below
				} else {
					cancel()
				}
				return
			}
			if to.SendMsg(m) != nil {
				return // RecvMsg below says why
			}
		}
	}()
	for {
		m := out.New().Interface()
		switch err := to.RecvMsg(m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := stream.SendMsg(m); err != nil {
			return status.Error(codes.Canceled, "the caller is gone")
		}
	}
}
