package learning

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
)

// scene is where somebody does something: the item as they see it, what they have
// done so far, and their clock, which is locked until the transaction ends. Of two
// things that they do at the same time the second sees what the first did.
type scene struct {
	AccountID, CourseID, ItemID string

	Version      int32
	Kind         string
	WatchPercent int32
	MediaIDs     []string
	Durations    []int64 // of the media, 0 where not known
	Watched      []int64 // of the media, in milliseconds
	Complete     bool
	Known        bool // there is a row of the learner
	Waits        bool // something of the course is not available to them yet
	Zone         *time.Location

	now        time.Time
	lastAt     *time.Time
	lastCourse string
	watch      watchClock
}

// errUnchecked is that an item may be closed. It is told to nobody.
var errUnchecked = errors.New("learning: it was not asked whether the item is open")

// whenOpen has somebody do something in an item that is open to them. Nearly always
// the first try finds that nothing of the course is closed to anybody. Otherwise it is
// asked outside of the transaction, as the answer may take calls to others.
func whenOpen[R any](ctx context.Context, s *Service, courseID, itemID string, do func(checked bool) (R, error)) (R, error) {
	out, err := do(false)
	if !errors.Is(err, errUnchecked) {
		return out, err
	}
	if err := s.checkOpen(ctx, courseID, itemID); err != nil {
		return out, err
	}
	return do(true)
}

// enter locks the course, as it is now, and the clock of a person, and finds the
// item: notFound where the version that they see does not have it, errUnchecked where
// it may be closed and nobody has checked.
func (s *Service) enter(ctx context.Context, tx *pg.Tx, c *scene, checked bool, notFound error) error {
	c.now = s.now()
	if err := s.find(ctx, tx, c, notFound); err != nil || checked {
		return err
	}
	return s.checkRuled(ctx, tx, c)
}

// checkRuled returns errUnchecked where the item may be closed.
func (s *Service) checkRuled(ctx context.Context, tx *pg.Tx, c *scene) error {
	v, err := s.versionOf(ctx, tx, c.CourseID, c.Version)
	if err != nil {
		return err
	}
	if c.Waits || v != nil && v.byID[c.ItemID] != nil && v.byID[c.ItemID].chain != nil {
		return errUnchecked
	}
	return nil
}

// find fills the scene.
func (s *Service) find(ctx context.Context, tx *pg.Tx, c *scene, notFound error) error {
	for first := true; ; first = false {
		found, err := c.read(ctx, tx, first)
		if err != nil {
			return fmt.Errorf("enter: %w", err)
		}
		if found && c.Known {
			return nil
		}
		if !found && (c.Known || !first) {
			return notFound
		}
		added, err := c.addLearner(ctx, tx)
		if err != nil {
			return fmt.Errorf("enter: %w", err)
		}
		if !added && !found {
			return notFound
		}
	}
}

// addLearner makes the row of somebody who does something in the course for the first
// time: which version they see hangs on their cohort. It reports false where there
// is one meanwhile, and where there is no such course.
func (c *scene) addLearner(ctx context.Context, tx *pg.Tx) (bool, error) {
	tag, err := tx.Exec(ctx, `
		INSERT INTO learner (course_id, account_id, pinned_version)
		SELECT k.course_id, $2, coalesce((
			SELECT p.version FROM cohort_member m JOIN cohort_pin p USING (course_id, cohort_id)
			WHERE m.course_id = $1 AND m.account_id = $2), 0)
		FROM course k WHERE k.course_id = $1
		ON CONFLICT DO NOTHING`, c.CourseID, c.AccountID)
	return tag.RowsAffected() > 0, err
}

// read fills the scene in one round trip, and reports whether there is the item.
// The first time it takes the locks.
func (c *scene) read(ctx context.Context, tx *pg.Tx, first bool) (bool, error) {
	var zone string
	var watch []byte
	found, hasClock := false, false
	b := &pgx.Batch{}
	if first {
		b.Queue(`SELECT pg_advisory_xact_lock_shared(hashtext('learning.course'), hashtext($1))`, c.CourseID)
		b.Queue(`SELECT last_at, last_course_id, watch FROM learner_clock WHERE account_id = $1 FOR UPDATE`, c.AccountID).Query(func(rows pgx.Rows) error {
			_, err := pgx.ForEachRow(rows, []any{&c.lastAt, &c.lastCourse, &watch}, func() error {
				hasClock = true
				return json.Unmarshal(watch, &c.watch)
			})
			return err
		})
	}
	b.Queue(`
		SELECT i.version, i.kind, i.watch_percent, i.media_ids, coalesce(nullif(a.time_zone, ''), k.time_zone), l.account_id IS NOT NULL,
			EXISTS (SELECT FROM effective_deadline d WHERE d.course_id = $1 AND d.account_id = $2 AND d.available_from > $4),
			ARRAY(SELECT coalesce(m.duration_ms, 0)::bigint FROM unnest(i.media_ids) WITH ORDINALITY AS u (media_id, n)
				LEFT JOIN media m USING (media_id) ORDER BY u.n),
			ARRAY(SELECT coalesce(p.watched_ms, 0)::bigint FROM unnest(i.media_ids) WITH ORDINALITY AS u (media_id, n)
				LEFT JOIN watched p ON p.course_id = $1 AND p.media_id = u.media_id AND p.account_id = $2 ORDER BY u.n),
			EXISTS (SELECT FROM lesson_completion d WHERE d.course_id = $1 AND d.account_id = $2 AND d.lesson_id = $3)
		FROM course k
			LEFT JOIN learner l ON l.course_id = k.course_id AND l.account_id = $2
			LEFT JOIN account a ON a.account_id = $2
			JOIN published_item i ON i.course_id = k.course_id AND i.version = `+seen+` AND i.item_id = $3 AND i.kind <> 'module'
		WHERE k.course_id = $1`, c.CourseID, c.AccountID, c.ItemID, c.now).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&c.Version, &c.Kind, &c.WatchPercent, &c.MediaIDs, &zone, &c.Known, &c.Waits, &c.Durations, &c.Watched, &c.Complete},
			func() error { found = true; return nil })
		return err
	})
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return false, err
	}
	c.Zone = zoneOf(zone)
	if first && !hasClock {
		if err := c.startClock(ctx, tx); err != nil {
			return false, err
		}
	}
	return found, nil
}

// startClock makes the clock of somebody who has none, and locks it, which another
// call may have made meanwhile.
func (c *scene) startClock(ctx context.Context, tx *pg.Tx) error {
	if _, err := tx.Exec(ctx, `INSERT INTO learner_clock (account_id) VALUES ($1) ON CONFLICT DO NOTHING`, c.AccountID); err != nil {
		return err
	}
	var watch []byte
	err := tx.QueryRow(ctx, `SELECT last_at, last_course_id, watch FROM learner_clock WHERE account_id = $1 FOR UPDATE`, c.AccountID).
		Scan(&c.lastAt, &c.lastCourse, &watch)
	if err != nil {
		return err
	}
	return json.Unmarshal(watch, &c.watch)
}

// zoneOf returns a zone by its IANA name, UTC where there is none.
func zoneOf(name string) *time.Location {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return time.UTC
	}
	return zone
}

// leave queues what every act leaves behind: where they were last, the clock, and
// the day. acted says whether it counts for a streak.
func (c *scene) leave(b *pgx.Batch, credited int64, acted bool) error {
	b.Queue(`
		UPDATE learner SET resume_lesson_id = $3, last_seen_at = greatest(last_seen_at, $4) WHERE course_id = $1 AND account_id = $2`,
		c.CourseID, c.AccountID, c.ItemID, c.now)
	watch, err := json.Marshal(c.watch)
	if err != nil {
		return err
	}
	b.Queue(`UPDATE learner_clock SET last_at = greatest(last_at, $2), last_course_id = $3, watch = $4 WHERE account_id = $1`,
		c.AccountID, c.now, c.CourseID, watch)
	c.leaveDay(b, credited, acted)
	return nil
}

// leaveDay queues what an act adds to the day.
func (c *scene) leaveDay(b *pgx.Batch, credited int64, acted bool) {
	// What was played is this course's; other time that of the course in which it began.
	spent, of := busy(c.lastAt, c.now, credited).Milliseconds(), c.CourseID
	if credited == 0 && spent > 0 && c.lastCourse != "" {
		of = c.lastCourse
	}
	if spent == 0 && !acted {
		return
	}
	const add = `
		INSERT INTO activity_day AS d (account_id, day, course_id, spent_ms, acted) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (account_id, day, course_id) DO UPDATE SET spent_ms = d.spent_ms + EXCLUDED.spent_ms, acted = d.acted OR EXCLUDED.acted`
	day := c.now.In(c.Zone)
	if of == c.CourseID {
		b.Queue(add, c.AccountID, day, c.CourseID, spent, acted)
		return
	}
	if acted {
		b.Queue(add, c.AccountID, day, c.CourseID, 0, true)
	}
	b.Queue(add, c.AccountID, day, of, spent, false)
}
