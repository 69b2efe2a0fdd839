package assessment

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// maxExcluded is how many accounts are excluded at an item.
const maxExcluded = 1_000

// ErrStatisticsFull is told where too many are excluded.
var ErrStatisticsFull = fault.New(fault.Conflict, "statistics.too_many", "At most %d are excluded at an item.", maxExcluded)

// ListStatisticsExclusions implements [assessmentpb.StatisticsServiceServer].
func (h *statisticsServer) ListStatisticsExclusions(ctx context.Context, req *assessmentpb.ListStatisticsExclusionsRequest) (*assessmentpb.ListStatisticsExclusionsResponse, error) {
	size, after := page.Size(req.GetPageSize()), ""
	if values, err := page.Values(req.GetCursor(), 1); err != nil {
		return nil, err
	} else if values != nil {
		after = values[0]
	}
	rows, err := h.service.db.Query(ctx, `
		SELECT account_id, reason, excluded_by, excluded_at FROM statistics_exclusion WHERE item_id = $2 AND course_id = $1 AND account_id > $3 ORDER BY account_id LIMIT $4`,
		req.GetCourseId(), req.GetItemId(), after, size+1)
	if err != nil {
		return nil, fmt.Errorf("who is excluded: %w", err)
	}
	items, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.StatisticsExclusion, error) {
		e := &assessmentpb.StatisticsExclusion{}
		var at time.Time
		err := row.Scan(&e.AccountId, &e.Reason, &e.ExcludedBy, &at)
		e.ExcludedAt = timestamppb.New(at)
		return e, err
	})
	if err != nil {
		return nil, fmt.Errorf("who is excluded: %w", err)
	}
	res := &assessmentpb.ListStatisticsExclusionsResponse{Items: items}
	if len(items) > size {
		res.Items = items[:size]
		res.NextCursor = page.Cursor(items[size-1].GetAccountId())
	}
	return res, nil
}

// ExcludeFromStatistics implements [assessmentpb.StatisticsServiceServer].
func (h *statisticsServer) ExcludeFromStatistics(ctx context.Context, req *assessmentpb.ExcludeFromStatisticsRequest) (*assessmentpb.StatisticsExclusion, error) {
	s := h.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.StatisticsExclusion, error) {
		// Those who exclude somebody at the item take turns.
		tag, err := tx.Exec(ctx, `SELECT FROM placement WHERE course_id = $1 AND item_id = $2 AND kind = 'quiz' FOR UPDATE`, req.GetCourseId(), req.GetItemId())
		if err != nil {
			return nil, fmt.Errorf("item of statistics: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return nil, ErrQuizNotFound
		}
		var others int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM statistics_exclusion WHERE item_id = $1 AND account_id <> $2`, req.GetItemId(), req.GetAccountId()).Scan(&others); err != nil {
			return nil, fmt.Errorf("who is excluded: %w", err)
		}
		if others >= maxExcluded {
			return nil, ErrStatisticsFull
		}
		e := &assessmentpb.StatisticsExclusion{AccountId: req.GetAccountId(), Reason: req.GetReason(), ExcludedBy: auth.From(ctx).Account, ExcludedAt: timestamppb.New(s.time())}
		if _, err := tx.Exec(ctx, `
			INSERT INTO statistics_exclusion AS e (item_id, account_id, course_id, reason, excluded_by, excluded_at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT ON CONSTRAINT statistics_exclusion_pkey DO UPDATE SET reason = EXCLUDED.reason, excluded_by = EXCLUDED.excluded_by, excluded_at = EXCLUDED.excluded_at`,
			req.GetItemId(), req.GetAccountId(), req.GetCourseId(), e.GetReason(), e.GetExcludedBy(), s.time()); err != nil {
			return nil, fmt.Errorf("exclude from statistics: %w", err)
		}
		if err := s.countAnew(ctx, tx, req.GetItemId(), req.GetAccountId()); err != nil {
			return nil, err
		}
		return e, audit.Record(ctx, tx, audit.Entry{
			Action: "statistics.excluded", Object: req.GetItemId(), Course: req.GetCourseId(), Person: req.GetAccountId(), Reason: req.GetReason(),
		})
	})
}

// IncludeInStatistics implements [assessmentpb.StatisticsServiceServer].
func (h *statisticsServer) IncludeInStatistics(ctx context.Context, req *assessmentpb.IncludeInStatisticsRequest) (*emptypb.Empty, error) {
	s := h.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		tag, err := tx.Exec(ctx, `DELETE FROM statistics_exclusion WHERE item_id = $1 AND account_id = $2 AND course_id = $3`, req.GetItemId(), req.GetAccountId(), req.GetCourseId())
		if err != nil {
			return nil, fmt.Errorf("include in statistics: %w", err)
		}
		if tag.RowsAffected() == 0 {
			tx.Exempt("nobody was excluded")
			return &emptypb.Empty{}, nil
		}
		if err := s.countAnew(ctx, tx, req.GetItemId(), req.GetAccountId()); err != nil {
			return nil, err
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{Action: "statistics.included", Object: req.GetItemId(), Course: req.GetCourseId(), Person: req.GetAccountId()})
	})
}

// countAnew has the statistics of all quizzes at an item follow what there is of somebody.
func (s *Service) countAnew(ctx context.Context, tx *pg.Tx, itemID, accountID string) error {
	rows, err := tx.Query(ctx, `SELECT DISTINCT quiz_id FROM attempt WHERE item_id = $1 AND account_id = $2 AND NOT preview ORDER BY quiz_id`, itemID, accountID)
	if err != nil {
		return fmt.Errorf("quizzes of an item: %w", err)
	}
	quizzes, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("quizzes of an item: %w", err)
	}
	for _, quizID := range quizzes {
		if err := s.countPeople(ctx, tx, quizID, itemID, []string{accountID}, nil); err != nil {
			return err
		}
	}
	return nil
}
