package learning

import (
	"context"
	"fmt"

	"github.com/stoa-lms/stoa/internal/pg"
)

// course is a course as it was published last.
type course struct {
	ID       string
	Sequence int64
	Version  int32
	Title    string
	Language string
	Lessons  []lesson
}

// lesson is a lesson of a published version.
type lesson struct {
	ID    string
	Title string
}

// lockCourse keeps the lessons of a course as they are until tx ends. Without
// it a view and a publishing at the same time could each miss what the other
// does, and a learner who has everything would not be found complete.
//
// It is an advisory lock because all who view lessons of a course share it: on
// a row each of them would have to write the list of all others.
func lockCourse(ctx context.Context, tx *pg.Tx, courseID string) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock_shared(hashtext('learning.course'), hashtext($1))`, courseID); err != nil {
		return fmt.Errorf("lock course: %w", err)
	}
	return nil
}

// lockCourseToChange waits for all who hold [lockCourse], and keeps them out.
func lockCourseToChange(ctx context.Context, tx *pg.Tx, courseID string) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('learning.course'), hashtext($1))`, courseID); err != nil {
		return fmt.Errorf("lock course to change: %w", err)
	}
	return nil
}

// storeCourse replaces what is known of a course, and reports false when
// something newer is.
func storeCourse(ctx context.Context, tx *pg.Tx, c course) (bool, error) {
	tag, err := tx.Exec(ctx, `
		INSERT INTO course (course_id, sequence, version, title, lesson_count, language) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (course_id) DO UPDATE SET
			sequence = EXCLUDED.sequence, version = EXCLUDED.version,
			title = EXCLUDED.title, lesson_count = EXCLUDED.lesson_count, language = EXCLUDED.language
		WHERE course.sequence < EXCLUDED.sequence`,
		c.ID, c.Sequence, c.Version, c.Title, len(c.Lessons), c.Language)
	if err != nil {
		return false, fmt.Errorf("store course: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return false, nil
	}
	ids, titles := make([]string, len(c.Lessons)), make([]string, len(c.Lessons))
	for i, l := range c.Lessons {
		ids[i], titles[i] = l.ID, l.Title
	}
	_, err = tx.Exec(ctx, `
		WITH fresh AS (
			SELECT * FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS f (lesson_id, title, position)
		), gone AS (
			DELETE FROM published_lesson WHERE course_id = $1 AND lesson_id <> ALL ($2::text[])
		)
		INSERT INTO published_lesson AS p (course_id, lesson_id, position, title)
		SELECT $1, lesson_id, position, title FROM fresh
		ON CONFLICT (course_id, lesson_id) DO UPDATE SET position = EXCLUDED.position, title = EXCLUDED.title
		WHERE (p.position, p.title) IS DISTINCT FROM (EXCLUDED.position, EXCLUDED.title)`,
		c.ID, ids, titles)
	if err != nil {
		return false, fmt.Errorf("store lessons: %w", err)
	}
	return true, nil
}
