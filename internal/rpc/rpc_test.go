package rpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
	"github.com/stoa-lms/stoa/internal/telemetry"
)

// server answers in ways that a test sets.
type server struct {
	accesspb.UnimplementedAccessServiceServer
	identitypb.UnimplementedIdentityServiceServer
	mediapb.UnimplementedMediaServiceServer
	answer   func(context.Context, *accesspb.ListEntitledRequest) (*accesspb.ListEntitledResponse, error)
	upload   func(mediapb.MediaService_UploadMediaServer) error
	download func(*mediapb.DownloadMediaRequest, mediapb.MediaService_DownloadMediaServer) error
}

func (s *server) ListEntitled(ctx context.Context, req *accesspb.ListEntitledRequest) (*accesspb.ListEntitledResponse, error) {
	return s.answer(ctx, req)
}

func (s *server) UploadMedia(stream mediapb.MediaService_UploadMediaServer) error {
	return s.upload(stream)
}

func (s *server) DownloadMedia(req *mediapb.DownloadMediaRequest, stream mediapb.MediaService_DownloadMediaServer) error {
	return s.download(req, stream)
}

func (s *server) DeleteSession(context.Context, *identitypb.DeleteSessionRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

// both runs a test over the connection in memory and over the network: they
// must behave alike.
func both(t *testing.T, allow rpctest.Allow, s *server, test func(t *testing.T, conn grpc.ClientConnInterface)) {
	t.Helper()
	h := rpctest.New(t, allow)
	accesspb.RegisterAccessServiceServer(h, s)
	identitypb.RegisterIdentityServiceServer(h, s)
	mediapb.RegisterMediaServiceServer(h, s)
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		test(t, h.As("commerce"))
	})
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if err := h.Serve(l); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		h.Stop(ctx)
	})
	t.Run("network", func(t *testing.T) {
		t.Parallel()
		cc, err := h.Dial(l.Addr().String(), "commerce")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cc.Close() })
		test(t, cc)
	})
}

var account, course = id.New("account"), id.New("course")

func ask(ctx context.Context, conn grpc.ClientConnInterface) (*accesspb.ListEntitledResponse, error) {
	return accesspb.NewAccessServiceClient(conn).ListEntitled(ctx, &accesspb.ListEntitledRequest{AccountId: account, CourseIds: []string{course}})
}

type contextKey struct{}

func TestCallCarriesWhoAndWhatAndNothingElse(t *testing.T) {
	t.Parallel()
	both(t, rpctest.Everything, &server{answer: func(ctx context.Context, req *accesspb.ListEntitledRequest) (*accesspb.ListEntitledResponse, error) {
		p := auth.From(ctx)
		deadline, ok := ctx.Deadline()
		switch {
		case p.Account != account || p.Service != "commerce" || p.Session == "":
			return nil, errors.New("the caller is not known")
		case telemetry.RequestID(ctx) != "request-1" || rpc.IdempotencyKey(ctx) != "key-1" || rpc.IfMatch(ctx) != `"7"`:
			return nil, errors.New("metadata is lost")
		case ctx.Value(contextKey{}) != nil:
			return nil, errors.New("a value has come along")
		case !ok || time.Until(deadline) > time.Minute:
			return nil, errors.New("the deadline is lost")
		}
		req.CourseIds[0] = "changed by the receiver"
		return &accesspb.ListEntitledResponse{CourseIds: req.GetCourseIds()}, nil
	}}, func(t *testing.T, conn grpc.ClientConnInterface) {
		ctx := context.WithValue(rpctest.Account(t.Context(), account), contextKey{}, "secret")
		ctx = rpc.WithIfMatch(rpc.WithIdempotencyKey(telemetry.WithRequestID(ctx, "request-1"), "key-1"), `"7"`)
		req := &accesspb.ListEntitledRequest{AccountId: account, CourseIds: []string{course}}
		if _, err := accesspb.NewAccessServiceClient(conn).ListEntitled(ctx, req); err != nil {
			t.Fatal(err)
		}
		if req.GetCourseIds()[0] != course {
			t.Fatal("the receiver has changed the sender's message")
		}
	})
}

func TestFaultsKeepTheirMeaning(t *testing.T) {
	t.Parallel()
	told := &fault.Error{
		Kind: fault.Conflict, Code: "seat.taken", Message: "Somebody was faster.", Retry: 3 * time.Second,
		Fields: []fault.Field{{Path: "seat", Code: "seat.taken", Hint: "Take another."}},
	}
	for name, tc := range map[string]struct {
		err, want error
		panics    bool
	}{
		"told":     {err: told, want: told},
		"wrapped":  {err: errors.Join(errors.New("cause"), told), want: told},
		"unknown":  {err: errors.New("password=secret"), want: fault.New(fault.Internal, "internal", "")},
		"a panic":  {panics: true, want: fault.New(fault.Internal, "internal", "")},
		"too late": {err: context.DeadlineExceeded, want: fault.New(fault.Unavailable, "deadline", "")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both(t, rpctest.Everything, &server{answer: func(context.Context, *accesspb.ListEntitledRequest) (*accesspb.ListEntitledResponse, error) {
				if tc.panics {
					panic("password=secret")
				}
				return nil, tc.err
			}}, func(t *testing.T, conn grpc.ClientConnInterface) {
				_, err := ask(t.Context(), conn)
				if !errors.Is(err, tc.want) {
					t.Fatalf("%v, want %v", err, tc.want)
				}
				if strings.Contains(err.Error(), "secret") {
					t.Fatalf("%v tells what it must not", err)
				}
				got, ok := errors.AsType[*fault.Error](err)
				if errors.Is(tc.want, told) && (!ok || got.Retry != told.Retry || len(got.Fields) != 1 || got.Fields[0] != told.Fields[0] || got.Message != told.Message) {
					t.Fatalf("%+v, want %+v", got, told)
				}
			})
		})
	}
}

func TestDeadlineEndsTheCall(t *testing.T) {
	t.Parallel()
	both(t, rpctest.Everything, &server{answer: func(ctx context.Context, _ *accesspb.ListEntitledRequest) (*accesspb.ListEntitledResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}, func(t *testing.T, conn grpc.ClientConnInterface) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := ask(ctx, conn)
		if !errors.Is(err, context.DeadlineExceeded) && fault.CodeOf(err) != "deadline" {
			t.Fatalf("%v", err)
		}
	})
}

func TestRulesAreHeld(t *testing.T) {
	t.Parallel()
	ok := func(context.Context, *accesspb.ListEntitledRequest) (*accesspb.ListEntitledResponse, error) {
		return &accesspb.ListEntitledResponse{}, nil
	}
	nothing := func(string, string, string) bool { return false }
	h := rpctest.New(t, nothing)
	s := &server{answer: ok, upload: func(stream mediapb.MediaService_UploadMediaServer) error {
		_, err := stream.Recv()
		return err
	}}
	accesspb.RegisterAccessServiceServer(h, s)
	identitypb.RegisterIdentityServiceServer(h, s)
	mediapb.RegisterMediaServiceServer(h, s)
	// The edge does not speak for a service, and nobody is not signed in.
	if _, err := ask(t.Context(), h.As("edge")); !fault.Is(err, fault.NotFound) {
		t.Errorf("SCOPE_SERVICE for the edge: %v", err)
	}
	identity := identitypb.NewIdentityServiceClient(h.As("edge"))
	if _, err := identity.DeleteSession(t.Context(), &identitypb.DeleteSessionRequest{}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("SCOPE_SELF for nobody: %v", err)
	}
	if _, err := identity.DeleteSession(rpctest.Account(t.Context(), account), &identitypb.DeleteSessionRequest{}); err != nil {
		t.Errorf("SCOPE_SELF for an account: %v", err)
	}
	if _, err := identitypb.NewIdentityServiceClient(h.As("courses")).Authenticate(t.Context(), &identitypb.AuthenticateRequest{Token: "x"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("SCOPE_EDGE for a service: %v", err)
	}
	// A stream is held to its rule by its first message.
	stream, err := mediapb.NewMediaServiceClient(h.As("edge")).UploadMedia(rpctest.Account(t.Context(), account))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&mediapb.UploadMediaRequest{CourseId: course}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.CloseAndRecv(); !fault.Is(fault.FromStatus(err), fault.NotFound) {
		t.Errorf("a stream of an outsider: %v", err)
	}
	// Keys of another installation are not believed.
	other := rpctest.New(t, nothing)
	if _, err := ask(t.Context(), h.With(other, "commerce")); !errors.Is(err, auth.ErrBadToken) {
		t.Errorf("another installation's key: %v", err)
	}
}

func TestFieldsAreChecked(t *testing.T) {
	t.Parallel()
	both(t, rpctest.Everything, &server{}, func(t *testing.T, conn grpc.ClientConnInterface) {
		_, err := accesspb.NewAccessServiceClient(conn).ListEntitled(t.Context(), &accesspb.ListEntitledRequest{
			AccountId: course, CourseIds: []string{course, "a\x00b", "course_x"},
		})
		fe, ok := errors.AsType[*fault.Error](err)
		if !ok || fe.Code != "request.invalid" || len(fe.Fields) != 3 {
			t.Fatalf("%v", err)
		}
		for i, want := range []fault.Field{{Path: "account_id", Code: "id.invalid"}, {Path: "course_ids[1]", Code: "text.control"}, {Path: "course_ids[2]", Code: "id.invalid"}} {
			if got := fe.Fields[i]; got.Path != want.Path || got.Code != want.Code || got.Hint == "" {
				t.Errorf("field %d: %+v, want %+v", i, got, want)
			}
		}
	})
}

func TestStreams(t *testing.T) {
	t.Parallel()
	both(t, rpctest.Everything, &server{
		upload: func(stream mediapb.MediaService_UploadMediaServer) error {
			size := 0
			for {
				m, err := stream.Recv()
				if errors.Is(err, io.EOF) {
					return stream.SendAndClose(&mediapb.Media{Size: int64(size), Filename: auth.From(stream.Context()).Account})
				}
				if err != nil {
					return err
				}
				size += len(m.GetChunk())
			}
		},
		download: func(_ *mediapb.DownloadMediaRequest, stream mediapb.MediaService_DownloadMediaServer) error {
			for i := range 3 {
				if err := stream.Send(&mediapb.DownloadMediaResponse{Chunk: []byte{byte(i)}}); err != nil {
					return err
				}
			}
			return fault.New(fault.Forbidden, "media.link_expired", "Expired.")
		},
	}, func(t *testing.T, conn grpc.ClientConnInterface) {
		media := mediapb.NewMediaServiceClient(conn)
		up, err := media.UploadMedia(rpctest.Account(t.Context(), account))
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if err := up.Send(&mediapb.UploadMediaRequest{CourseId: course, Chunk: make([]byte, 1000)}); err != nil {
				t.Fatal(err)
			}
		}
		m, err := up.CloseAndRecv()
		if err != nil || m.GetSize() != 5000 || m.GetFilename() != account {
			t.Fatalf("%v, %v", m, err)
		}
		down, err := media.DownloadMedia(t.Context(), &mediapb.DownloadMediaRequest{MediaId: id.New("media")})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := down.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := down.Recv(); fault.CodeOf(err) != "media.link_expired" {
			t.Fatalf("%v", err)
		}
	})
}

// BenchmarkCall is a call between services: in memory, and over the network of
// this machine.
func BenchmarkCall(b *testing.B) {
	h := rpctest.New(b, rpctest.Everything)
	accesspb.RegisterAccessServiceServer(h, &server{answer: func(_ context.Context, req *accesspb.ListEntitledRequest) (*accesspb.ListEntitledResponse, error) {
		return &accesspb.ListEntitledResponse{CourseIds: req.GetCourseIds()}, nil
	}})
	// As within a request, which has a deadline.
	ctx, cancel := context.WithTimeout(rpctest.Account(b.Context(), account), 50*time.Second)
	defer cancel()
	run := func(b *testing.B, conn grpc.ClientConnInterface) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ask(ctx, conn); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("memory", func(b *testing.B) { run(b, h.As("commerce")) })
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = h.Serve(l) }()
	b.Cleanup(func() { h.Stop(b.Context()) })
	cc, err := h.Dial(l.Addr().String(), "commerce")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cc.Close() })
	b.Run("network", func(b *testing.B) { run(b, cc) })
}
