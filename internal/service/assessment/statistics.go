package assessment

import (
	"context"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

type statisticsServer struct {
	assessmentpb.UnimplementedStatisticsServiceServer

	service *Service
}

func (s *Service) countAttempts(context.Context, *pg.Tx, []*attempt, map[string]*result) error {
	return nil
}
