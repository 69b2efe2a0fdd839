package learning

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
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

// view records that somebody has viewed a lesson and returns their progress
// after it.
func (s *Service) view(ctx context.Context, tx *pg.Tx, accountID, courseID, lessonID string) (progress, error) {
	now := s.now()
	if err := lockCourse(ctx, tx, courseID); err != nil {
		return progress{}, err
	}
	// Also locks the learner's row: of two who complete the last two lessons at
	// the same time the second sees what the first did.
	tag, err := tx.Exec(ctx, `
		INSERT INTO learner AS l (course_id, account_id, resume_lesson_id, last_seen_at)
		SELECT course_id, $2, lesson_id, $4 FROM published_lesson WHERE course_id = $1 AND lesson_id = $3
		ON CONFLICT (course_id, account_id) DO UPDATE SET
			resume_lesson_id = EXCLUDED.resume_lesson_id, last_seen_at = greatest(l.last_seen_at, EXCLUDED.last_seen_at)`,
		courseID, accountID, lessonID, now)
	if err != nil {
		return progress{}, fmt.Errorf("store view: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return progress{}, ErrLessonNotFound
	}
	tag, err = tx.Exec(ctx, `
		INSERT INTO lesson_completion (course_id, account_id, lesson_id, completed_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (course_id, account_id, lesson_id) DO NOTHING`,
		courseID, accountID, lessonID, now)
	if err != nil {
		return progress{}, fmt.Errorf("store completion: %w", err)
	}
	if tag.RowsAffected() == 0 {
		tx.Exempt("which lesson somebody looked at last")
	} else {
		if err := audit.Record(ctx, tx, audit.Entry{Action: "lesson.completed", Object: lessonID, Course: courseID, Person: accountID}); err != nil {
			return progress{}, err
		}
		if err := s.complete(ctx, tx, courseID, accountID, now); err != nil {
			return progress{}, err
		}
	}
	return readProgress(ctx, tx, accountID, courseID)
}

// lacksNothing holds for a learner l of course $1 who is enrolled, was not
// found complete before and has completed every lesson of the published
// version, which has at least one.
const lacksNothing = `
	l.course_id = $1 AND l.enrolled_at IS NOT NULL AND l.completed_at IS NULL
	AND EXISTS (SELECT FROM published_lesson p WHERE p.course_id = $1)
	AND NOT EXISTS (
		SELECT FROM published_lesson p
		WHERE p.course_id = $1 AND NOT EXISTS (
			SELECT FROM lesson_completion c
			WHERE c.course_id = $1 AND c.account_id = l.account_id AND c.lesson_id = p.lesson_id))`

// complete marks a learner who lacks nothing and tells the others. The caller
// has locked the course and the learner's row.
func (s *Service) complete(ctx context.Context, tx *pg.Tx, courseID, accountID string, now time.Time) error {
	rows, err := tx.Query(ctx, `
		UPDATE learner l SET completed_at = $2 WHERE `+lacksNothing+` AND l.account_id = $3
		RETURNING l.account_id`, courseID, now, accountID)
	return s.tellCompleted(ctx, tx, courseID, now, rows, err)
}

// completeAll marks all learners of a course who lack nothing and tells the
// others. The caller has locked the course to change it.
func (s *Service) completeAll(ctx context.Context, tx *pg.Tx, courseID string, now time.Time) error {
	rows, err := tx.Query(ctx, `
		UPDATE learner l SET completed_at = $2 WHERE `+lacksNothing+`
		RETURNING l.account_id`, courseID, now)
	return s.tellCompleted(ctx, tx, courseID, now, rows, err)
}

func (s *Service) tellCompleted(ctx context.Context, tx *pg.Tx, courseID string, now time.Time, rows pgx.Rows, err error) error {
	if err != nil {
		return fmt.Errorf("complete course: %w", err)
	}
	accounts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("complete course: %w", err)
	}
	events := make([]proto.Message, len(accounts))
	entries := make([]audit.Entry, len(accounts))
	for i, account := range accounts {
		entries[i] = audit.Entry{Action: "course.completed", Object: courseID, Course: courseID, Person: account}
		events[i] = &learningpb.CourseCompleted{CourseId: courseID, AccountId: account, CompletedAt: timestamppb.New(now)}
	}
	if err := audit.Record(ctx, tx, entries...); err != nil {
		return err
	}
	if _, err := s.issue(ctx, tx, courseID, accounts...); err != nil {
		return err
	}
	return bus.Publish(ctx, tx, events...)
}

// readProgress returns one row whatever is known of the course and the learner.
func readProgress(ctx context.Context, q pg.Querier, accountID, courseID string) (progress, error) {
	rows, err := q.Query(ctx, `
		SELECT coalesce(k.lesson_count, 0) AS lesson_count, coalesce(r.lesson_id, '') AS resume_lesson_id, l.completed_at,
			coalesce(d.ids, '{}') AS lesson_ids, coalesce(d.times, '{}') AS lesson_times
		FROM (
			SELECT array_agg(c.lesson_id ORDER BY p.position) AS ids, array_agg(c.completed_at ORDER BY p.position) AS times
			FROM lesson_completion c JOIN published_lesson p USING (course_id, lesson_id)
			WHERE c.course_id = $1 AND c.account_id = $2
		) d
		LEFT JOIN course k ON k.course_id = $1
		LEFT JOIN learner l ON l.course_id = $1 AND l.account_id = $2
		LEFT JOIN published_lesson r ON r.course_id = $1 AND r.lesson_id = l.resume_lesson_id`,
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
