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
			SELECT course_id, enrolled_at, completed_at, resume_lesson_id FROM learner
			WHERE account_id = $1 AND enrolled_at IS NOT NULL AND (enrolled_at, course_id) < ($2, $3)
			ORDER BY enrolled_at DESC, course_id DESC LIMIT $4
		), done AS (
			SELECT c.course_id, count(*)::int AS done
			FROM page JOIN lesson_completion c ON c.course_id = page.course_id AND c.account_id = $1
				JOIN published_lesson p ON p.course_id = c.course_id AND p.lesson_id = c.lesson_id
			GROUP BY c.course_id
		)
		SELECT page.course_id, coalesce(k.title, '') AS title, coalesce(k.lesson_count, 0) AS lesson_count,
			coalesce(done.done, 0) AS done, page.enrolled_at, page.completed_at, coalesce(r.lesson_id, '') AS resume_lesson_id
		FROM page
			LEFT JOIN course k USING (course_id)
			LEFT JOIN done USING (course_id)
			LEFT JOIN published_lesson r ON r.course_id = page.course_id AND r.lesson_id = page.resume_lesson_id
		ORDER BY page.enrolled_at DESC, page.course_id DESC`,
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
			SELECT account_id, enrolled_at, last_seen_at, completed_at FROM learner
			WHERE course_id = $1 AND enrolled_at IS NOT NULL AND (enrolled_at, account_id) < ($2, $3)
			ORDER BY enrolled_at DESC, account_id DESC LIMIT $4
		), done AS (
			SELECT c.account_id, count(*)::int AS done
			FROM page JOIN lesson_completion c ON c.course_id = $1 AND c.account_id = page.account_id
				JOIN published_lesson p ON p.course_id = $1 AND p.lesson_id = c.lesson_id
			GROUP BY c.account_id
		)
		SELECT page.account_id, coalesce(a.name, '') AS name, coalesce(k.lesson_count, 0) AS lesson_count,
			coalesce(done.done, 0) AS done, page.enrolled_at, page.last_seen_at, page.completed_at
		FROM page
			LEFT JOIN course k ON k.course_id = $1
			LEFT JOIN done USING (account_id)
			LEFT JOIN account a USING (account_id)
		ORDER BY page.enrolled_at DESC, page.account_id DESC`,
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
