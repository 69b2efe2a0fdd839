package learning

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// seen is the version of the course k that the learner l sees.
const seen = `coalesce(nullif(l.pinned_version, 0), k.version)`

// facts joins what the learner l has done to the item i: f, b and w, and c, that it
// was completed.
const facts = `
	LEFT JOIN item_fact f ON f.course_id = l.course_id AND f.account_id = l.account_id AND f.item_id = i.item_id
	LEFT JOIN item_best b ON b.course_id = l.course_id AND b.account_id = l.account_id AND b.item_id = i.item_id
	LEFT JOIN lesson_completion c ON c.course_id = l.course_id AND c.account_id = l.account_id AND c.lesson_id = i.item_id` + watchFact

// factsOfOne is facts for one learner and one item. It looks rows up by the index,
// whatever the planner knew of the tables when it made the plan: while they grow from
// nothing it would read all of them.
const factsOfOne = `
	LEFT JOIN LATERAL (SELECT * FROM item_fact f WHERE f.course_id = l.course_id AND f.account_id = l.account_id AND f.item_id = i.item_id OFFSET 0) f ON true
	LEFT JOIN LATERAL (SELECT * FROM item_best b WHERE b.course_id = l.course_id AND b.account_id = l.account_id AND b.item_id = i.item_id OFFSET 0) b ON true
	LEFT JOIN LATERAL (SELECT * FROM lesson_completion c WHERE c.course_id = l.course_id AND c.account_id = l.account_id AND c.lesson_id = i.item_id OFFSET 0) c ON true` + watchFact

const watchFact = `
	LEFT JOIN LATERAL (
		SELECT min(CASE WHEN u.duration > 0 THEN least(100, coalesce(u.watched, 0)::bigint * 100 / u.duration) ELSE 0 END)::int AS percent
		FROM (
			SELECT (SELECT m.duration_ms FROM media m WHERE m.media_id = n.media_id) AS duration,
				(SELECT p.watched_ms FROM watched p WHERE p.course_id = i.course_id AND p.media_id = n.media_id AND p.account_id = l.account_id) AS watched
			FROM unnest(i.media_ids) AS n (media_id) OFFSET 0) AS u
	) w ON i.media_ids <> '{}'`

// What was done of each requirement, with the names of facts. Of a video that the
// item does not show nothing can be watched: there it is enough to look.
const (
	didView   = `f.viewed_at IS NOT NULL`
	didWatch  = `CASE WHEN i.media_ids = '{}' THEN f.viewed_at IS NOT NULL ELSE w.percent >= i.watch_percent END`
	didSubmit = `b.submitted_at IS NOT NULL`
	didScore  = `coalesce(b.percent >= i.min_percent, false)`
	didPass   = `coalesce(b.passed, false)` //nolint:gosec // no password
	wasMarked = `(f.marked_at IS NOT NULL AND (i.manual = 'self' OR f.marked_by_staff))`
)

// met is the rule of completion: that all requirements of the item i are met.
const met = `i.ruled AND (NOT i.viewed OR ` + didView + `) AND (i.watch_percent = 0 OR ` + didWatch + `)
	AND (NOT i.submitted OR ` + didSubmit + `) AND (i.min_percent IS NULL OR ` + didScore + `)
	AND (NOT i.passed OR ` + didPass + `) AND (i.manual = '' OR ` + wasMarked + `)`

// completion is an item that somebody has completed.
type completion struct {
	AccountID string
	ItemID    string
	Version   int32
}

// whom says whose completions are to be settled, and of what.
type whom struct {
	course   string
	accounts []string
	items    []string // those of which something is known anew; nil for all
	narrow   bool     // nothing else has changed, so that modules and the course hang on these items alone
	now      time.Time
}

// one reports whether it is one item of one learner, as it is nearly always. Those are
// asked for as they are, not as lists: of lists the planner makes a new plan each time,
// which takes longer than the answer.
func (w whom) one() bool { return len(w.accounts) == 1 && len(w.items) == 1 }

func (w whom) who() string {
	if w.one() {
		return `l.account_id = $2`
	}
	return `l.account_id = ANY($2::text[])`
}

// settle stores what learners have completed by what is known now: of the items
// given, then their modules, then the course; and tells the others. It returns how
// many items and modules that were. What was completed before stays.
//
// The caller has locked the course, and the learner's row where there is one alone.
func (s *Service) settle(ctx context.Context, tx *pg.Tx, w whom) (int, error) {
	who, which, known := w.who(), `AND $4::text[] IS NULL`, facts
	var accounts, items any = w.accounts, w.items
	switch {
	case w.one():
		accounts, which, items, known = w.accounts[0], `AND i.item_id = $4`, w.items[0], factsOfOne
	case w.items != nil:
		which = `AND i.item_id = ANY($4::text[])`
	}
	done, err := completed(tx.Query(ctx, `
		INSERT INTO lesson_completion (course_id, account_id, lesson_id, completed_at, version)
		SELECT l.course_id, l.account_id, i.item_id, $3, i.version
		FROM learner l JOIN course k USING (course_id)
			JOIN published_item i ON i.course_id = l.course_id AND i.version = `+seen+` `+which+known+`
		WHERE l.course_id = $1 AND `+who+` AND c.lesson_id IS NULL AND `+met+`
		ORDER BY l.account_id, i.position
		ON CONFLICT DO NOTHING
		RETURNING account_id, lesson_id AS item_id, version`, w.course, accounts, w.now, items))
	if err != nil {
		return 0, fmt.Errorf("complete items: %w", err)
	}
	if len(done) == 0 && w.narrow {
		return 0, nil
	}
	return s.settleRest(ctx, tx, w, done)
}

// settleRest settles what hangs on the items that were completed, and tells all.
func (s *Service) settleRest(ctx context.Context, tx *pg.Tx, w whom, done []completion) (int, error) {
	modules, finished, err := s.settleWhole(ctx, tx, w)
	if err != nil {
		return 0, err
	}
	done = append(done, modules...)
	return len(done), s.tell(ctx, tx, w, done, finished)
}

// settleWhole stores the modules that learners have completed, and marks those who
// have completed the course, whom it returns.
func (s *Service) settleWhole(ctx context.Context, tx *pg.Tx, w whom) (modules []completion, finished []string, err error) {
	who, which := w.who(), `AND $4::text[] IS NULL`
	var accounts, items any = w.accounts, []string(nil)
	switch {
	case w.one() && w.narrow:
		accounts, items = w.accounts[0], w.items[0]
		which = `AND i.item_id = ANY(ARRAY(SELECT o.module_id FROM module_item o WHERE o.course_id = $1 AND o.item_id = $4))`
	case w.narrow:
		items = w.items
		which = `AND i.item_id = ANY(ARRAY(SELECT o.module_id FROM module_item o WHERE o.course_id = $1 AND o.item_id = ANY($4::text[])))`
	case w.one():
		accounts = w.accounts[0]
	}
	b := &pgx.Batch{}
	b.Queue(`
		INSERT INTO lesson_completion (course_id, account_id, lesson_id, completed_at, version)
		SELECT l.course_id, l.account_id, i.item_id, $3, i.version
		FROM learner l JOIN course k USING (course_id)
			JOIN published_item i ON i.course_id = l.course_id AND i.version = `+seen+` AND i.kind = 'module' `+which+`
		WHERE l.course_id = $1 AND `+who+`
			AND NOT EXISTS (
				SELECT FROM lesson_completion c WHERE c.course_id = l.course_id AND c.account_id = l.account_id AND c.lesson_id = i.item_id OFFSET 0)
			AND EXISTS (SELECT FROM module_item o WHERE o.course_id = i.course_id AND o.version = i.version AND o.module_id = i.item_id)
			AND NOT EXISTS (SELECT FROM (
				SELECT FROM module_item o
				WHERE o.course_id = i.course_id AND o.version = i.version AND o.module_id = i.item_id AND NOT EXISTS (
					SELECT FROM lesson_completion d WHERE d.course_id = l.course_id AND d.account_id = l.account_id AND d.lesson_id = o.item_id OFFSET 0)
				LIMIT 1) AS lacking)
		ORDER BY l.account_id, i.position
		ON CONFLICT DO NOTHING
		RETURNING account_id, lesson_id AS item_id, version`, w.course, accounts, w.now, items).Query(func(rows pgx.Rows) (err error) {
		modules, err = completed(rows, nil)
		return err
	})
	b.Queue(`
		UPDATE learner l SET completed_at = $3 FROM course k
		WHERE k.course_id = $1 AND l.course_id = $1 AND `+who+` AND `+lacksNothing+`
		RETURNING l.account_id`, w.course, accounts, w.now).Query(func(rows pgx.Rows) (err error) {
		finished, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return nil, nil, fmt.Errorf("complete modules and course: %w", err)
	}
	return modules, finished, nil
}

func completed(rows pgx.Rows, err error) ([]completion, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[completion])
}

// lacksNothing holds for a learner l of the course k who is enrolled, was not
// found complete before and has completed what counts in the version that they
// see, in which something does: all of it, of which the last item is looked at
// first, as most lack that; or as much as is enough. Where the course asks for its pass
// mark they have reached that too.
const lacksNothing = `l.enrolled_at IS NOT NULL AND NOT l.ended AND l.completed_at IS NULL
	AND EXISTS (SELECT FROM published_item i WHERE i.course_id = l.course_id AND i.version = ` + seen + ` AND i.counted)
	AND (NOT EXISTS (SELECT FROM course_version v WHERE v.course_id = l.course_id AND v.version = ` + seen + ` AND v.pass)
		OR EXISTS (SELECT FROM course_grade g WHERE g.course_id = l.course_id AND g.account_id = l.account_id AND g.passed))
	AND CASE WHEN EXISTS (SELECT FROM course_version v WHERE v.course_id = l.course_id AND v.version = ` + seen + ` AND v.enough IS NOT NULL)
	THEN (
		SELECT count(*) FROM published_item i JOIN lesson_completion c ON c.course_id = i.course_id AND c.account_id = l.account_id AND c.lesson_id = i.item_id
		WHERE i.course_id = l.course_id AND i.version = ` + seen + ` AND i.counted
	) >= (SELECT v.enough FROM course_version v WHERE v.course_id = l.course_id AND v.version = ` + seen + `)
	ELSE NOT EXISTS (SELECT FROM (
		SELECT FROM published_item i
		WHERE i.course_id = l.course_id AND i.version = ` + seen + ` AND i.counted AND NOT EXISTS (
			SELECT FROM lesson_completion c
			WHERE c.course_id = l.course_id AND c.account_id = l.account_id AND c.lesson_id = i.item_id OFFSET 0)
		ORDER BY i.position DESC LIMIT 1) AS lacking) END`

// tell records completions of items and of the course, gives certificates, and
// tells the others.
func (s *Service) tell(ctx context.Context, tx *pg.Tx, w whom, done []completion, finished []string) error {
	b := &pgx.Batch{}
	if err := s.queueTold(ctx, tx, b, w, done, finished); err != nil {
		return err
	}
	if b.Len() == 0 {
		return nil
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("tell completions: %w", err)
	}
	_, err := s.issue(ctx, tx, w.course, finished...)
	return err
}

// queueTold queues what is told of completions, as one statement.
func (s *Service) queueTold(ctx context.Context, tx *pg.Tx, b *pgx.Batch, w whom, done []completion, finished []string) error {
	entries, events := make([]audit.Entry, 0, len(done)+len(finished)), make([]proto.Message, 0, len(done)+len(finished))
	now := timestamppb.New(w.now)
	for _, c := range done {
		entries = append(entries, audit.Entry{Action: "lesson.completed", Object: c.ItemID, Course: w.course, Person: c.AccountID})
		events = append(events, &learningpb.ItemCompleted{CourseId: w.course, AccountId: c.AccountID, ItemId: c.ItemID, CompletedAt: now, Version: c.Version})
	}
	for _, account := range finished {
		entries = append(entries, audit.Entry{Action: "course.completed", Object: w.course, Course: w.course, Person: account})
		events = append(events, &learningpb.CourseCompleted{CourseId: w.course, AccountId: account, CompletedAt: now})
	}
	return audit.Queue(ctx, tx, b, entries, events...)
}
