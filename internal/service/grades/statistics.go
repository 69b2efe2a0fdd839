package grades

import (
	"context"
	"errors"
	"fmt"

	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// fewest is of how many grades students may see statistics: of fewer they could tell
// those of others.
const fewest = 5

// statistics counts how an item was done by those who are enrolled: the scores that were
// counted last. Of posted grades alone they are those that students were told, so that
// nothing of others is in them.
func (s *Service) statistics(ctx context.Context, b *book, it *item, posted bool) (*gradespb.ItemStatistics, error) {
	out := &gradespb.ItemStatistics{ItemId: it.ItemID}
	if it.known {
		out.MaxPoints = it.of.String()
	}
	// $4: what nobody has decided of is shown.
	score := `CASE WHEN true OR $4 THEN c.score END`
	if posted {
		score = `CASE WHEN coalesce(c.posted, $4) AND c.told_percent <> '' THEN c.told_percent::numeric * $3::text::numeric / 100 END`
	}
	var distribution []int32
	err := s.db.QueryRow(ctx, `
		WITH score AS (
			SELECT `+score+` AS n FROM cell c JOIN student s USING (course_id, account_id)
			WHERE c.course_id = $1 AND c.item_id = $2 AND s.enrolled AND s.enrolled_at IS NOT NULL
		), tenth AS (
			SELECT least(9, greatest(0, floor(n * 10 / nullif($3::text::numeric, 0))))::int AS t, count(*)::int AS many FROM score WHERE n IS NOT NULL GROUP BY 1
		)
		SELECT count(n)::int, coalesce(trim_scale(round(avg(n), 2))::text, ''),
			coalesce(trim_scale(round((percentile_disc(0.5) WITHIN GROUP (ORDER BY n) + percentile_disc(0.5) WITHIN GROUP (ORDER BY n DESC)) / 2, 2))::text, ''),
			coalesce(trim_scale(round(min(n), 2))::text, ''), coalesce(trim_scale(round(max(n), 2))::text, ''), coalesce(trim_scale(round(stddev_pop(n), 2))::text, ''),
			ARRAY(SELECT coalesce(tenth.many, 0) FROM generate_series(0, 9) AS g LEFT JOIN tenth ON tenth.t = g ORDER BY g)
		FROM score WHERE n IS NOT NULL`, b.CourseID, it.ItemID, it.of.String(), posted && it.calculated() && it.automatic()).
		Scan(&out.Count, &out.Mean, &out.Median, &out.Lowest, &out.Highest, &out.Deviation, &distribution)
	if err != nil {
		return nil, fmt.Errorf("statistics: %w", err)
	}
	if out.GetCount() > 0 && it.of.Sign() > 0 {
		out.Distribution = distribution
	}
	return out, nil
}

// GetItemStatistics implements gradespb.ColumnServiceServer.
func (r *columnServer) GetItemStatistics(ctx context.Context, req *gradespb.GetItemStatisticsRequest) (*gradespb.ItemStatistics, error) {
	b, err := r.service.bookOf(ctx, r.service.db, req.GetCourseId())
	if errors.Is(err, ErrNoGradebook) {
		return nil, ErrItemNotFound
	}
	if err != nil {
		return nil, err
	}
	it, err := b.columnOf(req.GetItemId())
	if err != nil {
		return nil, err
	}
	return r.service.statistics(ctx, b, it, req.GetPosted())
}

// GetMyItemStatistics implements gradespb.GradeServiceServer.
func (r *gradeServer) GetMyItemStatistics(ctx context.Context, req *gradespb.GetMyItemStatisticsRequest) (*gradespb.ItemStatistics, error) {
	l, err := r.service.own(ctx, req.GetCourseId())
	if err != nil {
		return nil, err
	}
	it, err := l.book.columnOf(req.GetItemId())
	if err != nil || !l.book.Statistics || !l.mine(it).GetPosted() {
		return nil, ErrNotShown
	}
	out, err := r.service.statistics(ctx, l.book, it, true)
	if err != nil {
		return nil, err
	}
	if out.GetCount() < fewest {
		return nil, ErrNotShown
	}
	return out, nil
}
