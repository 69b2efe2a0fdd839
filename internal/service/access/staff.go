package access

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// ListCourseStaff implements accesspb.AccessServiceServer.
func (s *Service) ListCourseStaff(ctx context.Context, req *accesspb.ListCourseStaffRequest) (*accesspb.ListCourseStaffResponse, error) {
	rows, err := s.db.Query(ctx, `
		SELECT DISTINCT account_id FROM role_grant
		WHERE account_id = ANY($2) AND course_id = $3 AND course_id <> '' AND `+unexpired+` ORDER BY account_id`,
		s.now(), req.GetAccountIds(), req.GetCourseId())
	if err != nil {
		return nil, fmt.Errorf("course staff: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("course staff: %w", err)
	}
	return &accesspb.ListCourseStaffResponse{AccountIds: found}, nil
}
