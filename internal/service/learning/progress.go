package learning

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
)

// progress is how far somebody is in a course.
type progress struct {
	LessonCount    int
	ResumeLessonID string
	CompletedAt    *time.Time
	LessonIDs      []string    // completed, in the order of the course
	LessonTimes    []time.Time // when, at the same index
}

// percent is rounded down, so that it is 100 only when nothing is left.
func percent(done, of int) int32 {
	if of <= 0 {
		return 0
	}
	return int32(100 * min(done, of) / of) //nolint:gosec // at most 100
}

// readProgress returns one row whatever is known of the course and the learner.
func readProgress(ctx context.Context, q pg.Querier, accountID, courseID string) (progress, error) {
	rows, err := q.Query(ctx, `
		WITH k AS (
			SELECT k.course_id, `+seen+` AS version, l.completed_at, l.resume_lesson_id
			FROM course k LEFT JOIN learner l ON l.course_id = k.course_id AND l.account_id = $2
			WHERE k.course_id = $1
		)
		SELECT (SELECT count(*)::int FROM k JOIN published_item i USING (course_id, version) WHERE i.counted) AS lesson_count,
			coalesce((SELECT i.item_id FROM k JOIN published_item i USING (course_id, version)
				WHERE i.item_id = k.resume_lesson_id AND i.kind = 'lesson'), '') AS resume_lesson_id,
			(SELECT completed_at FROM learner WHERE course_id = $1 AND account_id = $2) AS completed_at,
			coalesce(d.ids, '{}') AS lesson_ids, coalesce(d.times, '{}') AS lesson_times
		FROM (
			SELECT array_agg(c.lesson_id ORDER BY i.position) AS ids, array_agg(c.completed_at ORDER BY i.position) AS times
			FROM k JOIN lesson_completion c ON c.course_id = k.course_id AND c.account_id = $2
				JOIN published_item i ON i.course_id = k.course_id AND i.version = k.version AND i.item_id = c.lesson_id AND i.counted
		) d`,
		courseID, accountID)
	if err != nil {
		return progress{}, fmt.Errorf("read progress: %w", err)
	}
	p, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[progress])
	if err != nil {
		return progress{}, fmt.Errorf("read progress: %w", err)
	}
	return p, nil
}
