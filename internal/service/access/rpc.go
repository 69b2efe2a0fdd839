package access

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// CreateEnrollment implements accesspb.AccessServiceServer.
func (s *Service) CreateEnrollment(ctx context.Context, req *accesspb.CreateEnrollmentRequest) (*accesspb.Enrollment, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.Enrollment, error) {
		e, err := s.enrollFree(ctx, tx, auth.From(ctx).Account, req.GetCourseId())
		if err != nil {
			return nil, err
		}
		return toEnrollment(e), nil
	})
}

// ListEnrollments implements accesspb.AccessServiceServer.
func (s *Service) ListEnrollments(ctx context.Context, req *accesspb.ListEnrollmentsRequest) (*accesspb.ListEnrollmentsResponse, error) {
	list, next, err := s.enrollments(ctx, staffSQL, "e.course_id", req.GetCourseId(), req.GetPageSize(), req.GetCursor())
	if err != nil {
		return nil, err
	}
	return &accesspb.ListEnrollmentsResponse{Items: toEnrollments(list), NextCursor: next}, nil
}

// ListMyEnrollments implements accesspb.AccessServiceServer.
func (s *Service) ListMyEnrollments(ctx context.Context, req *accesspb.ListMyEnrollmentsRequest) (*accesspb.ListMyEnrollmentsResponse, error) {
	list, next, err := s.enrollments(ctx, ownSQL, "e.account_id", auth.From(ctx).Account, req.GetPageSize(), req.GetCursor())
	if err != nil {
		return nil, err
	}
	return &accesspb.ListMyEnrollmentsResponse{Items: toEnrollments(list), NextCursor: next}, nil
}

// ResolvePermissions implements accesspb.AccessServiceServer.
func (s *Service) ResolvePermissions(ctx context.Context, req *accesspb.ResolvePermissionsRequest) (*accesspb.ResolvePermissionsResponse, error) {
	subjects := make([]subject, len(req.GetSubjects()))
	for i, one := range req.GetSubjects() {
		subjects[i] = subject{account: one.GetAccountId(), course: one.GetCourseId()}
	}
	found, err := s.resolve(ctx, subjects)
	if err != nil {
		return nil, err
	}
	out := &accesspb.ResolvePermissionsResponse{Answers: make([]*accesspb.ResolvePermissionsResponse_Answer, len(found))}
	for i, a := range found {
		out.Answers[i] = toAnswer(a)
	}
	return out, nil
}

// AssignCourseRole implements accesspb.AccessServiceServer.
func (s *Service) AssignCourseRole(ctx context.Context, req *accesspb.AssignCourseRoleRequest) (*accesspb.AssignCourseRoleResponse, error) {
	// An empty course would be the platform, an empty account everybody.
	if req.GetCourseId() == "" {
		return nil, fault.InvalidField("course_id", "required", "Name the course.")
	}
	if req.GetAccountId() == "" {
		return nil, fault.InvalidField("account_id", "required", "Name the account.")
	}
	if err := checkRole(req.GetRole(), onCourse); err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*accesspb.AssignCourseRoleResponse, error) {
		_, err := giveRole(ctx, tx, givenRole{
			AccountID: req.GetAccountId(), CourseID: req.GetCourseId(), Role: req.GetRole(), GrantedBy: actor(ctx), GrantedAt: s.now(),
		})
		return &accesspb.AssignCourseRoleResponse{}, err
	})
}

// ListEntitled implements accesspb.AccessServiceServer.
func (s *Service) ListEntitled(ctx context.Context, req *accesspb.ListEntitledRequest) (*accesspb.ListEntitledResponse, error) {
	list, err := s.entitled(ctx, req.GetAccountId(), req.GetCourseIds(), req.GetBesideSubscriptions())
	if err != nil {
		return nil, err
	}
	return &accesspb.ListEntitledResponse{CourseIds: list}, nil
}

func toEnrollments(list []enrollment) []*accesspb.Enrollment {
	out := make([]*accesspb.Enrollment, len(list))
	for i, e := range list {
		out[i] = toEnrollment(e)
	}
	return out
}

func toEnrollment(e enrollment) *accesspb.Enrollment {
	return &accesspb.Enrollment{
		Id: e.ID, CourseId: e.CourseID, AccountId: e.AccountID, AccountName: e.AccountName,
		State: e.state(), Source: e.Source, EnrolledAt: timestamppb.New(e.EnrolledAt),
	}
}
