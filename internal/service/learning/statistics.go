package learning

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// seriesDays is how many days statistics tell one by one.
const seriesDays = 30

// GetStatistics implements learningpb.CalendarServiceServer.
func (s *Service) GetStatistics(ctx context.Context, req *learningpb.GetStatisticsRequest) (*learningpb.Statistics, error) {
	account, course, now := auth.From(ctx).Account, req.GetCourseId(), s.now()
	var zone string
	err := s.db.QueryRow(ctx, `
		SELECT coalesce(
			nullif((SELECT time_zone FROM account WHERE account_id = $1), ''),
			(SELECT time_zone FROM course WHERE course_id = coalesce(nullif($2, ''), (SELECT last_course_id FROM learner_clock WHERE account_id = $1))),
			'UTC')`, account, course).Scan(&zone)
	if err != nil {
		return nil, fmt.Errorf("zone: %w", err)
	}
	in := zoneOf(zone)
	out := &learningpb.Statistics{TimeZone: in.String()}
	if err := s.streak(ctx, account, course, now.In(in).Format(time.DateOnly), out); err != nil {
		return nil, err
	}
	if err := s.series(ctx, account, course, now.In(in), out); err != nil {
		return nil, err
	}
	return out, s.pace(ctx, account, course, now, out)
}

// streak counts days and rows of days.
func (s *Service) streak(ctx context.Context, account, course, today string, out *learningpb.Statistics) error {
	var spentMs int64
	err := s.db.QueryRow(ctx, `
		WITH mine AS (
			SELECT day, spent_ms, acted FROM activity_day WHERE account_id = $1 AND ($2 = '' OR course_id = $2)
		), days AS (
			SELECT DISTINCT day FROM mine WHERE acted
		), islands AS (
			SELECT max(day) AS last, count(*) AS n FROM (SELECT day, day - (row_number() OVER (ORDER BY day))::int AS island FROM days) AS d GROUP BY island
		)
		SELECT (SELECT coalesce(sum(spent_ms), 0)::bigint FROM mine),
			coalesce(max(n) FILTER (WHERE last >= $3::text::date - 1), 0)::int, coalesce(max(n), 0)::int, coalesce(sum(n), 0)::int
		FROM islands`, account, course, today).Scan(&spentMs, &out.StreakDays, &out.LongestStreakDays, &out.ActiveDays)
	if err != nil {
		return fmt.Errorf("streak: %w", err)
	}
	out.SpentSeconds = spentMs / 1000
	return nil
}

// startOfDay returns the first moment of a day of a zone's calendar, to the minute:
// clocks may leave midnight out, or have it twice.
func startOfDay(year int, month time.Month, day int, zone *time.Location) time.Time {
	want := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	first := want.Add(-26 * time.Hour)
	n := sort.Search(52*60, func(i int) bool {
		y, m, d := first.Add(time.Duration(i) * time.Minute).In(zone).Date()
		return !time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Before(want)
	})
	return first.Add(time.Duration(n) * time.Minute)
}

// series tells the last days one by one.
func (s *Service) series(ctx context.Context, account, course string, today time.Time, out *learningpb.Statistics) error {
	days := make([]string, seriesDays)
	bounds := make([]time.Time, seriesDays+1)
	y, m, d := today.Date()
	for i := range bounds {
		bounds[i] = startOfDay(y, m, d-seriesDays+1+i, today.Location())
		if i < seriesDays {
			days[i] = time.Date(y, m, d-seriesDays+1+i, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
		}
	}
	rows, err := s.db.Query(ctx, `
		WITH spent AS (
			SELECT day, sum(spent_ms)::bigint AS ms FROM activity_day
			WHERE account_id = $1 AND ($2 = '' OR course_id = $2) AND day = ANY($3::text[]::date[]) GROUP BY day
		), done AS (
			SELECT width_bucket(completed_at, $4::timestamptz[]) AS n, count(*)::int AS items FROM lesson_completion
			WHERE account_id = $1 AND ($2 = '' OR course_id = $2) AND completed_at >= $5 AND completed_at < $6 AND lesson_id NOT LIKE 'module\_%'
			GROUP BY 1
		)
		SELECT f.day, coalesce(spent.ms, 0), coalesce(done.items, 0)
		FROM unnest($3::text[]) WITH ORDINALITY AS f (day, n)
			LEFT JOIN spent ON spent.day = f.day::date LEFT JOIN done ON done.n = f.n
		ORDER BY f.n`, account, course, days, bounds, bounds[0], bounds[seriesDays])
	if err != nil {
		return fmt.Errorf("series: %w", err)
	}
	var day string
	var ms int64
	var items int32
	_, err = pgx.ForEachRow(rows, []any{&day, &ms, &items}, func() error {
		out.Days = append(out.Days, &learningpb.DayStatistics{Day: day, SpentSeconds: ms / 1000, CompletedItems: items})
		return nil
	})
	if err != nil {
		return fmt.Errorf("series: %w", err)
	}
	return nil
}

// pace tells the courses that somebody takes, and what was due so far.
func (s *Service) pace(ctx context.Context, account, course string, now time.Time, out *learningpb.Statistics) error {
	rows, err := s.db.Query(ctx, `
		WITH mine AS MATERIALIZED (
			SELECT l.course_id, l.pinned_version, k.title, `+seen+` AS version
			FROM learner l JOIN course k USING (course_id)
			WHERE l.account_id = $1 AND l.enrolled_at IS NOT NULL AND NOT l.ended AND ($2 = '' OR l.course_id = $2)
		), due AS (
			SELECT d.course_id, count(*)::int AS due, count(c.lesson_id)::int AS done, count(*) FILTER (WHERE c.completed_at <= d.due)::int AS in_time
			FROM mine JOIN effective_deadline d ON d.course_id = mine.course_id AND d.account_id = $1 AND d.due <= $3
				JOIN published_item i ON i.course_id = d.course_id AND i.version = mine.version AND i.item_id = d.item_id AND i.ruled
				LEFT JOIN lesson_completion c ON c.course_id = d.course_id AND c.account_id = $1 AND c.lesson_id = d.item_id
			GROUP BY d.course_id
		), counted AS (
			SELECT mine.course_id, count(*)::int AS items, count(c.lesson_id)::int AS done
			FROM mine JOIN published_item i ON i.course_id = mine.course_id AND i.version = mine.version AND i.counted
				LEFT JOIN lesson_completion c ON c.course_id = i.course_id AND c.account_id = $1 AND c.lesson_id = i.item_id
			GROUP BY mine.course_id
		), spent AS (
			SELECT course_id, sum(spent_ms)::bigint AS ms FROM activity_day WHERE account_id = $1 AND ($2 = '' OR course_id = $2) GROUP BY course_id
		)
		SELECT mine.course_id, mine.title, coalesce(spent.ms, 0), coalesce(counted.done, 0), coalesce(counted.items, 0),
			coalesce(due.due, 0), coalesce(due.done, 0), coalesce(due.in_time, 0),
			(sum(coalesce(due.due, 0)) OVER ())::int, (sum(coalesce(due.done, 0)) OVER ())::int, (sum(coalesce(due.in_time, 0)) OVER ())::int
		FROM mine LEFT JOIN due USING (course_id) LEFT JOIN counted USING (course_id) LEFT JOIN spent USING (course_id)
		ORDER BY coalesce(spent.ms, 0) DESC, mine.course_id LIMIT 100`, account, course, now)
	if err != nil {
		return fmt.Errorf("pace: %w", err)
	}
	var c learningpb.CourseStatistics
	var ms int64
	var done, items int
	_, err = pgx.ForEachRow(rows, []any{
		&c.CourseId, &c.Title, &ms, &done, &items, &c.DueSoFar, &c.DoneOfDue, &c.DoneInTime, &out.DueSoFar, &out.DoneOfDue, &out.DoneInTime,
	}, func() error {
		out.Courses = append(out.Courses, &learningpb.CourseStatistics{
			CourseId: c.GetCourseId(), Title: c.GetTitle(), SpentSeconds: ms / 1000, Percent: percent(done, items),
			DueSoFar: c.GetDueSoFar(), DoneOfDue: c.GetDoneOfDue(), DoneInTime: c.GetDoneInTime(),
		})
		return nil
	})
	if err != nil {
		return fmt.Errorf("pace: %w", err)
	}
	return nil
}
