package learning

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
)

// takenCourse is a course with how far one who takes it is.
type takenCourse struct {
	CourseID       string
	Title          string
	LessonCount    int
	Done           int
	EnrolledAt     time.Time
	CompletedAt    *time.Time
	ResumeLessonID string

	PositionMediaID string
	PositionMs      int64
	PositionAt      *time.Time
}

// learner is somebody who takes a course, with how far they are.
type learner struct {
	AccountID   string
	Name        string
	LessonCount int
	Done        int
	EnrolledAt  time.Time
	LastSeenAt  *time.Time
	CompletedAt *time.Time
}

// coursesOf returns the courses that an account takes, newest enrollment first.
func coursesOf(ctx context.Context, q pg.Querier, accountID string, size int, cursor string) ([]takenCourse, string, error) {
	before, beforeID, err := page.After(cursor)
	if err != nil {
		return nil, "", err
	}
	rows, err := q.Query(ctx, `
		WITH page AS MATERIALIZED (
			SELECT course_id, enrolled_at, completed_at, resume_lesson_id, pinned_version FROM learner
			WHERE account_id = $1 AND enrolled_at IS NOT NULL AND NOT ended AND (enrolled_at, course_id) < ($2, $3)
			ORDER BY enrolled_at DESC, course_id DESC LIMIT $4
		), counted AS (
			SELECT l.course_id, count(*)::int AS lesson_count, count(c.lesson_id)::int AS done
			FROM page l JOIN course k USING (course_id)
				JOIN published_item i ON i.course_id = l.course_id AND i.version = `+seen+` AND i.counted
				LEFT JOIN lesson_completion c ON c.course_id = l.course_id AND c.account_id = $1 AND c.lesson_id = i.item_id
			GROUP BY l.course_id
		)
		SELECT l.course_id, coalesce(k.title, '') AS title, coalesce(counted.lesson_count, 0) AS lesson_count,
			coalesce(counted.done, 0) AS done, l.enrolled_at, l.completed_at, coalesce(r.item_id, '') AS resume_lesson_id,
			coalesce(f.position_media_id, '') AS position_media_id, coalesce(f.position_ms, 0) AS position_ms, f.position_at
		FROM page l
			LEFT JOIN course k USING (course_id)
			LEFT JOIN counted USING (course_id)
			LEFT JOIN published_item r ON r.course_id = l.course_id AND r.version = `+seen+` AND r.item_id = l.resume_lesson_id AND r.kind = 'lesson'
			LEFT JOIN item_fact f ON f.course_id = l.course_id AND f.account_id = $1 AND f.item_id = r.item_id
		ORDER BY l.enrolled_at DESC, l.course_id DESC`,
		accountID, before, beforeID, size+1)
	if err != nil {
		return nil, "", fmt.Errorf("list courses: %w", err)
	}
	items, err := pgx.CollectRows(rows, pgx.RowToStructByName[takenCourse])
	if err != nil {
		return nil, "", fmt.Errorf("list courses: %w", err)
	}
	if len(items) <= size {
		return items, "", nil
	}
	last := items[size-1]
	return items[:size], page.TimeCursor(last.EnrolledAt, last.CourseID), nil
}

// learnersOf returns who takes a course, newest enrollment first.
func learnersOf(ctx context.Context, q pg.Querier, courseID string, size int, cursor string) ([]learner, string, error) {
	before, beforeID, err := page.After(cursor)
	if err != nil {
		return nil, "", err
	}
	rows, err := q.Query(ctx, `
		WITH page AS MATERIALIZED (
			SELECT account_id, enrolled_at, last_seen_at, completed_at, pinned_version FROM learner
			WHERE course_id = $1 AND enrolled_at IS NOT NULL AND NOT ended AND (enrolled_at, account_id) < ($2, $3)
			ORDER BY enrolled_at DESC, account_id DESC LIMIT $4
		), counted AS (
			SELECT l.account_id, count(*)::int AS lesson_count, count(c.lesson_id)::int AS done
			FROM page l JOIN course k ON k.course_id = $1
				JOIN published_item i ON i.course_id = $1 AND i.version = `+seen+` AND i.counted
				LEFT JOIN lesson_completion c ON c.course_id = $1 AND c.account_id = l.account_id AND c.lesson_id = i.item_id
			GROUP BY l.account_id
		)
		SELECT l.account_id, coalesce(a.name, '') AS name, coalesce(counted.lesson_count, 0) AS lesson_count,
			coalesce(counted.done, 0) AS done, l.enrolled_at, l.last_seen_at, l.completed_at
		FROM page l
			LEFT JOIN counted USING (account_id)
			LEFT JOIN account a USING (account_id)
		ORDER BY l.enrolled_at DESC, l.account_id DESC`,
		courseID, before, beforeID, size+1)
	if err != nil {
		return nil, "", fmt.Errorf("list learners: %w", err)
	}
	items, err := pgx.CollectRows(rows, pgx.RowToStructByName[learner])
	if err != nil {
		return nil, "", fmt.Errorf("list learners: %w", err)
	}
	if len(items) <= size {
		return items, "", nil
	}
	last := items[size-1]
	return items[:size], page.TimeCursor(last.EnrolledAt, last.AccountID), nil
}
