package learning

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
)

// glance is an item as it stands for somebody who is about to view it, and what the
// view does.
type glance struct {
	item

	Seen      int32  // the version of the course
	TimeZone  string // theirs, or the course's
	Waits     bool   // something of the course is not available to them yet
	Completes bool   // viewing it completes it
	Last      bool   // with that a module may be complete, in which nothing else is lacking, or the course
}

// metByView is met once the item has been viewed.
var metByView = strings.ReplaceAll(met, didView, "true")

// plainSQL reads what there is to know before the account $2 views the item $3 of the
// course $1 at $4, but for the item itself and what completes it.
var plainSQL = `
	SELECT ` + factColumns + `, ` + viewColumns + `, ` + lastOf(seen) + `
	FROM learner l JOIN course k USING (course_id) LEFT JOIN account a ON a.account_id = l.account_id
		LEFT JOIN item_fact f ON f.course_id = l.course_id AND f.account_id = l.account_id AND f.item_id = $3
		LEFT JOIN lesson_completion c ON c.course_id = l.course_id AND c.account_id = l.account_id AND c.lesson_id = $3
	WHERE l.course_id = $1 AND l.account_id = $2`

// glanceSQL reads all of it.
var glanceSQL = `
	SELECT g.*, ` + lastOf("g.seen") + `
	FROM (
		SELECT ` + itemColumns + `, 0 AS members, 0 AS done, ` + viewColumns + `, coalesce(c.lesson_id IS NULL AND ` + metByView + `, false) AS completes
		FROM learner l JOIN course k USING (course_id) LEFT JOIN account a ON a.account_id = l.account_id
			JOIN published_item i ON i.course_id = l.course_id AND i.version = ` + seen + ` AND i.item_id = $3 AND i.kind <> 'module'` + factsOfOne + `
		WHERE l.course_id = $1 AND l.account_id = $2 OFFSET 0
	) AS g`

// viewColumns are what a glance has of the learner l, the course k and the account a.
const viewColumns = seen + ` AS seen, coalesce(nullif(a.time_zone, ''), k.time_zone) AS time_zone,
			EXISTS (SELECT FROM effective_deadline d WHERE d.course_id = $1 AND d.account_id = $2 AND d.available_from > $4) AS waits`

// lastOf is whether something may be complete with the item: a module in which it is
// the last that was lacking, or the course, of which a part may be enough.
func lastOf(version string) string {
	return `(EXISTS (SELECT FROM course_version v WHERE v.course_id = $1 AND v.version = ` + version + ` AND v.enough IS NOT NULL)
			OR (SELECT bool_and(EXISTS (SELECT FROM (
				SELECT FROM module_item o
				WHERE o.course_id = $1 AND o.version = ` + version + ` AND o.module_id = m.module_id AND o.item_id <> $3 AND NOT EXISTS (
					SELECT FROM lesson_completion d WHERE d.course_id = $1 AND d.account_id = $2 AND d.lesson_id = o.item_id OFFSET 0)
				LIMIT 1) AS lacking))
				FROM module_item m WHERE m.course_id = $1 AND m.version = ` + version + ` AND m.item_id = $3) IS NOT TRUE) AS last`
}

const (
	addView = `
		INSERT INTO item_fact (course_id, account_id, item_id, viewed_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (course_id, account_id, item_id) DO UPDATE SET viewed_at = EXCLUDED.viewed_at`
	addCompletion = `
		INSERT INTO lesson_completion (course_id, account_id, lesson_id, completed_at, version) VALUES ($1, $2, $3, $4, $5)`
)

// view records that somebody views an item, mostly in two round trips, and returns it
// as it stands for them then: notFound where the version that they see does not have
// it, errUnchecked where it may be closed and nobody has checked.
//
// The first round trip takes the locks that enter and leave take, and notes where they
// are now, in the order of these. Whatever else could complete something for them waits
// for one of the locks: so what the view completes is known before it is stored, and
// nothing is asked that has nothing to do.
func (s *Service) view(ctx context.Context, tx *pg.Tx, c *scene, checked bool, notFound error) (item, error) {
	tx.Exempt("which item somebody looked at last; what that completes is recorded")
	c.now = s.now()
	g, err := s.glance(ctx, tx, c, notFound)
	if err != nil {
		return item{}, err
	}
	if !checked {
		if err := s.checkRuled(ctx, tx, c); err != nil {
			return item{}, err
		}
	}
	b := &pgx.Batch{}
	switch {
	case g.ViewedAt == nil && g.Completes:
		b.Queue(`WITH viewed AS (`+addView+`)`+addCompletion, c.CourseID, c.AccountID, c.ItemID, c.now, c.Version)
	case g.ViewedAt == nil:
		b.Queue(addView, c.CourseID, c.AccountID, c.ItemID, c.now)
	case g.Completes:
		b.Queue(addCompletion, c.CourseID, c.AccountID, c.ItemID, c.now, c.Version)
	}
	w := whom{c.CourseID, []string{c.AccountID}, []string{c.ItemID}, true, c.now}
	done, last := []completion{{c.AccountID, c.ItemID, c.Version}}, g.Counted && g.Last
	if g.Completes && !last {
		if err := s.queueTold(ctx, tx, b, w, done, nil); err != nil {
			return item{}, err
		}
	}
	c.leaveDay(b, 0, true)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return item{}, fmt.Errorf("store view: %w", err)
	}
	if g.Completes && last {
		_, err = s.settleRest(ctx, tx, w, done)
	}
	g.looked(c)
	return g.item, err
}

// looked changes the item as the view does.
func (g *glance) looked(c *scene) {
	if g.ViewedAt == nil {
		g.ViewedAt, g.DidView = &c.now, true
		g.DidWatch = g.DidWatch || !g.HasMedia
	}
	if g.Completes {
		g.CompletedAt, g.Version = &c.now, c.Version
	}
}

// glance has somebody arrive at an item, and returns it as it stands for them. A lesson
// that shows nothing to watch and is completed by looking at it, as most are, is told
// from memory; all else is read, with the rule that settle goes by.
func (s *Service) glance(ctx context.Context, tx *pg.Tx, c *scene, notFound error) (*glance, error) {
	g, err := c.arrive(ctx, tx, notFound)
	if err != nil {
		return nil, err
	}
	c.Version, c.Waits, c.Zone = g.Seen, g.Waits, zoneOf(g.TimeZone)
	v, err := s.versionOf(ctx, tx, c.CourseID, c.Version)
	if err != nil {
		return nil, err
	}
	if it := v.item(c.ItemID); it.GetKind() == "lesson" && len(it.GetPlayableMediaIds()) == 0 && ruleOf(it.GetCompletion()) == (rule{viewed: true}) {
		g.ItemID, g.Kind, g.Counted, g.Viewed, g.DidView = c.ItemID, it.GetKind(), it.GetRequired(), true, g.ViewedAt != nil
		g.Completes = g.CompletedAt == nil
		return g, nil
	}
	rows, err := tx.Query(ctx, glanceSQL, c.CourseID, c.AccountID, c.ItemID, c.now)
	if err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}
	g, err = oneGlance(rows)
	if err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}
	if g == nil {
		return nil, notFound
	}
	return g, nil
}

// arrive notes where somebody is, with the locks that this takes, and returns what
// hangs on no item.
func (c *scene) arrive(ctx context.Context, tx *pg.Tx, notFound error) (*glance, error) {
	for again := false; ; {
		g, hasClock, err := c.tryArrive(ctx, tx, !again)
		switch {
		case err != nil:
		case !hasClock: // their first time; another call may make it too
			_, err = tx.Exec(ctx, `INSERT INTO learner_clock (account_id) VALUES ($1) ON CONFLICT DO NOTHING`, c.AccountID)
		case g != nil:
			return g, nil
		case again:
			return nil, notFound
		default: // their first time in the course
			_, err = c.addLearner(ctx, tx)
			again = true
		}
		if err != nil {
			return nil, fmt.Errorf("view: %w", err)
		}
	}
}

// tryArrive is one round trip: it returns nil where there is no such learner. The first
// time it takes the locks; of who has no clock none, so that they are always taken in
// one order.
func (c *scene) tryArrive(ctx context.Context, tx *pg.Tx, first bool) (found *glance, hasClock bool, err error) {
	b := &pgx.Batch{}
	if first {
		b.Queue(`SELECT pg_advisory_xact_lock_shared(hashtext('learning.course'), hashtext($1))`, c.CourseID)
		b.Queue(`
			UPDATE learner_clock k SET last_at = greatest(k.last_at, $2), last_course_id = $3
			FROM (SELECT account_id, last_at, last_course_id FROM learner_clock WHERE account_id = $1 FOR UPDATE) AS was
			WHERE k.account_id = was.account_id RETURNING was.last_at, was.last_course_id`, c.AccountID, c.now, c.CourseID).Query(func(rows pgx.Rows) error {
			_, err := pgx.ForEachRow(rows, []any{&c.lastAt, &c.lastCourse}, func() error { hasClock = true; return nil })
			return err
		})
	}
	b.Queue(`
		UPDATE learner SET resume_lesson_id = $3, last_seen_at = greatest(last_seen_at, $4)
		WHERE course_id = $1 AND account_id = $2 AND EXISTS (SELECT FROM learner_clock WHERE account_id = $2)`,
		c.CourseID, c.AccountID, c.ItemID, c.now)
	b.Queue(plainSQL, c.CourseID, c.AccountID, c.ItemID, c.now).Query(func(rows pgx.Rows) (err error) {
		found, err = oneGlance(rows)
		return err
	})
	err = tx.SendBatch(ctx, b).Close()
	return found, hasClock || !first, err
}

func oneGlance(rows pgx.Rows) (*glance, error) {
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByNameLax[glance])
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}
