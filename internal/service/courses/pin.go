package courses

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// seen is the part of a statement that joins to the course c the number s.number
// of the version to be shown: the one named, or else that which the cohort of the
// account is pinned to, or else the newest. number and account are parameters; 0
// names no version and "" nobody.
func seen(number, account string) string {
	// OFFSET 0 keeps it one value for each course, by which the index is used.
	return `CROSS JOIN LATERAL (
			SELECT coalesce(nullif(` + number + `::int, 0), (
				SELECT nullif(p.number, 0) FROM cohort_member m JOIN cohort_pin p ON p.course_id = m.course_id AND p.cohort_id = m.cohort_id
				WHERE m.course_id = c.id AND m.account_id = ` + account + `), c.published_number) AS number OFFSET 0) s`
}

// shown is the condition on a course c that the version may be shown: to learners
// not while it is closed, to staff who name a version always.
func shown(number string) string {
	return `c.published_number > 0 AND (NOT c.closed OR ` + number + `::int > 0) `
}

// viewer returns whose version is shown: nobody's in particular to staff who ask
// for what is published.
func viewer(ctx context.Context, view string) string {
	if view == "published" {
		if staff, err := auth.Has(ctx, "course.edit"); err != nil || staff {
			return ""
		}
	}
	return auth.From(ctx).Account
}

// cohortChanged notes that there is a cohort.
func (s *Service) cohortChanged(ctx context.Context, tx *pg.Tx, e *accesspb.CohortChanged) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO cohort AS c (cohort_id, course_id, cancelled, version) VALUES ($1, $2, $3, $4)
		ON CONFLICT (cohort_id) DO UPDATE SET cancelled = EXCLUDED.cancelled, version = EXCLUDED.version
		WHERE c.version < EXCLUDED.version`, e.GetCohortId(), e.GetCourseId(), e.GetCancelled(), e.GetVersion())
	if err != nil {
		return fmt.Errorf("store cohort: %w", err)
	}
	return nil
}

// cohortMembershipChanged has somebody see what their cohort sees.
func (s *Service) cohortMembershipChanged(ctx context.Context, tx *pg.Tx, e *accesspb.CohortMembershipChanged) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO cohort_member AS m (course_id, account_id, version, cohort_id) VALUES ($1, $2, $3, $4)
		ON CONFLICT (course_id, account_id) DO UPDATE SET version = EXCLUDED.version, cohort_id = EXCLUDED.cohort_id
		WHERE m.version < EXCLUDED.version`, e.GetCourseId(), e.GetAccountId(), e.GetVersion(), e.GetCohortId())
	if err != nil {
		return fmt.Errorf("store membership: %w", err)
	}
	return nil
}

// pin is which version a cohort sees.
type pin struct {
	CohortID string
	Number   int32 // 0 for the newest
	Sequence int64
	AuthorID string
	PinnedAt time.Time
}

func (p pin) message(courseID string) *coursespb.Pin {
	out := &coursespb.Pin{CourseId: courseID, CohortId: p.CohortID, Version: p.Number, AuthorId: p.AuthorID}
	if p.Sequence > 0 {
		out.PinnedAt = timestamppb.New(p.PinnedAt)
	}
	return out
}

// pinCohort has the learners of a cohort see a version, 0 for the newest.
func (s *Service) pinCohort(ctx context.Context, req proto.Message, courseID, cohortID string, number int32) (*coursespb.Pin, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Pin, error) {
		if err := lockCourse(ctx, tx, courseID); err != nil {
			return nil, err
		}
		if err := checkCohort(ctx, tx, courseID, cohortID, number); err != nil {
			return nil, err
		}
		rows, err := tx.Query(ctx, `
			SELECT cohort_id, number, sequence, author_id, pinned_at FROM cohort_pin WHERE course_id = $1 AND cohort_id = $2`, courseID, cohortID)
		if err != nil {
			return nil, err
		}
		was, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[pin])
		if err != nil && !pg.NoRows(err) {
			return nil, err
		}
		if was.Number == number {
			was.CohortID = cohortID
			return was.message(courseID), nil
		}
		now := pin{cohortID, number, was.Sequence + 1, auth.From(ctx).Account, s.now()}
		if _, err := tx.Exec(ctx, `
			INSERT INTO cohort_pin (course_id, cohort_id, number, sequence, author_id, pinned_at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (course_id, cohort_id) DO UPDATE SET number = EXCLUDED.number, sequence = EXCLUDED.sequence,
				author_id = EXCLUDED.author_id, pinned_at = EXCLUDED.pinned_at`,
			courseID, cohortID, now.Number, now.Sequence, now.AuthorID, now.PinnedAt); err != nil {
			return nil, err
		}
		event := &coursespb.CohortPinned{CourseId: courseID, CohortId: cohortID, Version: number, Sequence: now.Sequence}
		if number > 0 {
			c, err := readCourse(ctx, tx, publishedOf, courseID, number, "")
			if err != nil {
				return nil, err
			}
			if event.Publication, err = publishedEvent(ctx, tx, c); err != nil {
				return nil, err
			}
			if proto.Size(event) > bus.MaxEvent {
				return nil, ErrTooLarge
			}
		}
		if err := audit.Record(ctx, tx, audit.Entry{
			Action: "cohort.pinned", Object: cohortID, Course: courseID,
			Before: map[string]any{"version": was.Number}, After: map[string]any{"version": number},
		}); err != nil {
			return nil, err
		}
		return now.message(courseID), bus.Publish(ctx, tx, event)
	})
}

// checkCohort refuses a cohort that is not the course's, and one that can't be
// pinned to the version.
func checkCohort(ctx context.Context, tx *pg.Tx, courseID, cohortID string, number int32) error {
	var cancelled, archived, published bool
	err := tx.QueryRow(ctx, `
		SELECT h.cancelled, c.archived_at IS NOT NULL, EXISTS (SELECT FROM publication WHERE course_id = $1 AND number = $3)
		FROM cohort h JOIN course c ON c.id = h.course_id WHERE h.course_id = $1 AND h.cohort_id = $2`, courseID, cohortID, number).
		Scan(&cancelled, &archived, &published)
	switch {
	case pg.NoRows(err):
		return ErrCohortNotFound
	case err != nil:
		return err
	case number == 0:
		return nil
	case archived:
		return ErrArchived
	case cancelled:
		return ErrCohortCancelled
	case !published:
		return ErrVersionNotFound
	default:
		return nil
	}
}

// listPins returns a page of the cohorts that are pinned, and the cursor of the
// next.
func (s *Service) listPins(ctx context.Context, courseID string, size int, cursor string) ([]pin, string, error) {
	at, cohortID, err := page.After(cursor)
	if err != nil {
		return nil, "", err
	}
	// A course has few cohorts: they are read by its part of the key.
	rows, err := s.db.Query(ctx, `
		SELECT cohort_id, number, sequence, author_id, pinned_at FROM cohort_pin
		WHERE course_id = $1 AND number > 0 AND (pinned_at, cohort_id) < ($2, $3) ORDER BY pinned_at DESC, cohort_id DESC LIMIT $4`,
		courseID, at, cohortID, size+1)
	if err != nil {
		return nil, "", err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[pin])
	if err != nil || len(found) <= size {
		return found, "", err
	}
	last := found[size-1]
	return found[:size], page.TimeCursor(last.PinnedAt, last.CohortID), nil
}
