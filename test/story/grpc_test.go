package story_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// TestGRPC is what REST does, by gRPC on the same address.
func TestGRPC(t *testing.T) {
	t.Parallel()
	in := shared(t)
	teacher, outsider := in.signUp(t, "Grace Teacher"), in.signUp(t, "Out Sider")
	cc, err := grpc.NewClient(strings.TrimPrefix(in.edge, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cc.Close() }()
	as := func(p *person, pairs ...string) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), append(pairs, "authorization", "Bearer "+p.token)...)
	}
	courses := coursespb.NewCoursesServiceClient(cc)
	c, err := courses.CreateCourse(as(teacher, "idempotency-key", "k"), &coursespb.CreateCourseRequest{Title: "By gRPC"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := courses.CreateCourse(as(teacher, "idempotency-key", "k"), &coursespb.CreateCourseRequest{Title: "By gRPC"})
	if err != nil || again.GetId() != c.GetId() {
		t.Fatalf("%v, %v", again, err)
	}
	if a := teacher.do(t, 200, "GET", "/v1/courses/"+c.GetId(), nil); a.text("title") != "By gRPC" {
		t.Fatalf("REST sees %s", a)
	}
	title := "Changed"
	if _, err := courses.UpdateCourse(as(teacher, "if-match", "0"), &coursespb.UpdateCourseRequest{CourseId: c.GetId(), Title: &title}); fault.CodeOf(fault.FromStatus(err)) != "etag.stale" {
		t.Errorf("a stale write: %v", err)
	}
	if _, err := courses.GetCourse(as(outsider), &coursespb.GetCourseRequest{CourseId: c.GetId()}); status.Code(err) != codes.NotFound {
		t.Errorf("an outsider: %v", err)
	}
	if _, err := courses.GetCourse(t.Context(), &coursespb.GetCourseRequest{CourseId: c.GetId()}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("nobody: %v", err)
	}
	// A file, as a stream.
	up, err := mediapb.NewMediaServiceClient(cc).UploadMedia(as(teacher))
	if err != nil {
		t.Fatal(err)
	}
	for i, chunk := range []string{"one,", "two\n"} {
		m := &mediapb.UploadMediaRequest{Chunk: []byte(chunk)}
		if i == 0 {
			m.CourseId, m.Filename = c.GetId(), "list.csv"
		}
		if err := up.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := up.CloseAndRecv(); err != nil || m.GetSize() != 8 {
		t.Errorf("uploaded %v, %v", m, err)
	}
	// What is for services is not there for others, whatever they claim to be.
	spoof := metadata.AppendToOutgoingContext(as(outsider), "stoa-principal", "AAAA")
	if _, err := accesspb.NewAccessServiceClient(cc).AssignCourseRole(spoof, &accesspb.AssignCourseRoleRequest{
		CourseId: c.GetId(), AccountId: outsider.account, Role: "owner",
	}); status.Code(err) != codes.NotFound {
		t.Errorf("a service's RPC: %v", err)
	}
	if _, err := identitypb.NewIdentityServiceClient(cc).Authenticate(t.Context(), &identitypb.AuthenticateRequest{Token: teacher.token}); status.Code(err) != codes.NotFound {
		t.Errorf("the edge's RPC: %v", err)
	}
	if err := cc.Invoke(t.Context(), "/no.such.Service/Method", &coursespb.GetCourseRequest{}, &coursespb.Course{}); status.Code(err) != codes.NotFound {
		t.Errorf("no such method: %v", err)
	}
}
