package learning

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// item is a part of a course with all that somebody has done in it.
type item struct {
	ItemID   string
	Kind     string
	Position int
	Counted  bool

	// The requirements, and which are met.
	Viewed       bool
	WatchPercent int32
	Submitted    bool
	MinPercent   string
	Passed       bool
	Manual       string
	DidView      bool
	DidWatch     bool
	DidSubmit    bool
	DidScore     bool
	DidPass      bool
	WasMarked    bool

	// What was done.
	ViewedAt        *time.Time
	Watched         int32
	HasMedia        bool
	SubmittedAt     *time.Time
	Best            string
	HasPassed       bool
	MarkedAt        *time.Time
	MarkedBy        string
	MarkReason      string
	PositionMediaID string
	PositionMs      int64
	PositionAt      *time.Time

	CompletedAt *time.Time
	Version     int32
	Members     int32 // of a module: what counts in it
	Done        int32 // and is completed
}

// itemColumns are what an [item] has, but what is in it, in a row of the learner l and
// the item i with facts.
const itemColumns = `i.item_id, i.kind, i.position, i.counted,
			i.viewed, i.watch_percent, i.submitted, coalesce(trim_scale(i.min_percent)::text, '') AS min_percent, i.passed, i.manual,
			` + didView + ` AS did_view, coalesce(` + didWatch + `, false) AS did_watch, ` + didSubmit + ` AS did_submit, ` + didScore + ` AS did_score,
			` + didPass + ` AS did_pass, ` + wasMarked + ` AS was_marked,
			coalesce(w.percent, 0) AS watched, i.media_ids <> '{}' AS has_media, b.submitted_at,
			coalesce(trim_scale(b.percent)::text, '') AS best, coalesce(b.passed, false) AS has_passed, ` + factColumns

// factColumns are what of it hangs on no rule.
const factColumns = `f.viewed_at, f.marked_at, coalesce(f.marked_by, '') AS marked_by, coalesce(f.mark_reason, '') AS mark_reason,
			coalesce(f.position_media_id, '') AS position_media_id, coalesce(f.position_ms, 0) AS position_ms, f.position_at,
			c.completed_at, coalesce(c.version, 0) AS version`

// itemsAs returns the items of the version that somebody sees, as they stand for
// them: one, or all where itemID is empty.
func itemsAs(ctx context.Context, q pg.Querier, accountID, courseID, itemID string) ([]item, error) {
	which, known := `AND i.item_id = $3`, factsOfOne
	if itemID == "" {
		which, known = `AND $3 = ''`, facts
	}
	rows, err := q.Query(ctx, `
		WITH who AS (
			SELECT k.course_id, $2::text COLLATE "C" AS account_id, coalesce(l.pinned_version, 0) AS pinned_version
			FROM course k LEFT JOIN learner l ON l.course_id = k.course_id AND l.account_id = $2
			WHERE k.course_id = $1
		)
		SELECT `+itemColumns+`, coalesce(members.members, 0) AS members, coalesce(members.done, 0) AS done
		FROM who l JOIN course k USING (course_id)
			JOIN published_item i ON i.course_id = k.course_id AND i.version = `+seen+` `+which+known+`
			LEFT JOIN LATERAL (
				SELECT count(*)::int AS members, count(d.lesson_id)::int AS done
				FROM module_item o LEFT JOIN lesson_completion d ON d.course_id = o.course_id AND d.account_id = $2 AND d.lesson_id = o.item_id
				WHERE o.course_id = i.course_id AND o.version = i.version AND o.module_id = i.item_id
			) members ON i.kind = 'module'
		ORDER BY i.position`, courseID, accountID, itemID)
	if err != nil {
		return nil, fmt.Errorf("items: %w", err)
	}
	items, err := pgx.CollectRows(rows, pgx.RowToStructByName[item])
	if err != nil {
		return nil, fmt.Errorf("items: %w", err)
	}
	return items, nil
}

// readItems returns how all items stand for somebody but those that are hidden from them.
func (s *Service) readItems(ctx context.Context, q pg.Querier, accountID, courseID string) ([]*learningpb.ItemProgress, error) {
	items, err := itemsAs(ctx, q, accountID, courseID, "")
	if err != nil {
		return nil, err
	}
	closed, err := s.closedTo(ctx, q, accountID, []string{courseID})
	if err != nil {
		return nil, err
	}
	out := make([]*learningpb.ItemProgress, 0, len(items))
	for _, it := range items {
		if closed[place{courseID, it.ItemID}] != hidden {
			out = append(out, it.pb())
		}
	}
	return out, nil
}

// explain returns how one item stands for somebody, with its requirements.
func (s *Service) explain(ctx context.Context, q pg.Querier, accountID, courseID, itemID string) (*learningpb.ItemProgress, error) {
	items, err := itemsAs(ctx, q, accountID, courseID, itemID)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, ErrItemNotFound
	}
	return items[0].explained(), nil
}

// explained is the item with its requirements.
func (it item) explained() *learningpb.ItemProgress {
	out := it.pb()
	out.Requirements = it.requirements()
	return out
}

func (it item) pb() *learningpb.ItemProgress {
	out := &learningpb.ItemProgress{
		ItemId: it.ItemID, Kind: it.Kind, Required: it.Counted, State: "new",
		CompletedAt: optional(it.CompletedAt), CompletedVersion: it.Version, ViewedAt: optional(it.ViewedAt),
		WatchedPercent: it.Watched, SubmittedAt: optional(it.SubmittedAt), BestPercent: it.Best, Passed: it.HasPassed,
		Position: positionPB(it.PositionMediaID, it.PositionMs, it.PositionAt),
	}
	if it.MarkedAt != nil {
		out.Mark = &learningpb.Mark{MarkedAt: optional(it.MarkedAt), MarkedBy: it.MarkedBy, Reason: it.MarkReason}
	}
	switch {
	case it.CompletedAt != nil:
		out.State = "complete"
	case it.ViewedAt != nil, it.Watched > 0, it.SubmittedAt != nil, it.Best != "", it.MarkedAt != nil, it.PositionAt != nil, it.Done > 0:
		out.State = "begun"
	}
	return out
}

func positionPB(media string, ms int64, at *time.Time) *learningpb.Position {
	if at == nil {
		return nil
	}
	return &learningpb.Position{MediaId: media, PositionMs: ms, At: optional(at)}
}

// requirements says of each requirement whether it is met and what is missing.
func (it item) requirements() []*learningpb.RequirementProgress {
	var out []*learningpb.RequirementProgress
	add := func(kind string, met bool, yes, no string) {
		detail := no
		if met {
			detail = yes
		}
		out = append(out, &learningpb.RequirementProgress{Kind: kind, Met: met, Detail: detail})
	}
	if it.Kind == "module" && it.Members > 0 {
		detail := fmt.Sprintf("Completed %d of %d.", it.Done, it.Members)
		add("items", it.Done == it.Members, detail, detail)
	}
	if it.Viewed {
		add("viewed", it.DidView, "Viewed.", "Not viewed yet.")
	}
	switch watched := fmt.Sprintf("Watched %d %% of %d %%.", it.Watched, it.WatchPercent); {
	case it.WatchPercent > 0 && it.HasMedia:
		add("watched", it.DidWatch, watched, watched)
	case it.WatchPercent > 0:
		add("watched", it.DidWatch, "There is nothing to watch; viewed.", "There is nothing to watch; not viewed yet.")
	}
	if it.Submitted {
		add("submitted", it.DidSubmit, "Handed in.", "Not handed in yet.")
	}
	if it.MinPercent != "" {
		scored := fmt.Sprintf("Scored %s %% of at least %s %%.", it.Best, it.MinPercent)
		none := fmt.Sprintf("No score is posted yet; at least %s %% is asked for.", it.MinPercent)
		if it.Best != "" {
			none = scored
		}
		add("scored", it.DidScore, scored, none)
	}
	if it.Passed {
		add("passed", it.DidPass, "Passed.", "Not passed yet.")
	}
	switch it.Manual {
	case "self":
		add("manual", it.WasMarked, "Marked as done.", "Not marked as done yet.")
	case "staff":
		add("manual", it.WasMarked, "Marked as done by the staff.", "Not marked as done by the staff yet.")
	}
	return out
}

// ViewItem implements learningpb.ProgressServiceServer.
func (s *Service) ViewItem(ctx context.Context, req *learningpb.ViewItemRequest) (*learningpb.ItemProgress, error) {
	out, err := whenOpen(ctx, s, req.GetCourseId(), req.GetItemId(), func(checked bool) (*learningpb.ItemProgress, error) {
		return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*learningpb.ItemProgress, error) {
			c := &scene{AccountID: auth.From(ctx).Account, CourseID: req.GetCourseId(), ItemID: req.GetItemId()}
			it, err := s.view(ctx, tx, c, checked, ErrItemNotFound)
			if err != nil {
				return nil, err
			}
			return it.explained(), nil
		})
	})
	return out, itemError(err)
}

// GetItemProgress implements learningpb.ProgressServiceServer.
func (s *Service) GetItemProgress(ctx context.Context, req *learningpb.GetItemProgressRequest) (*learningpb.ItemProgress, error) {
	if err := s.checkOpen(ctx, req.GetCourseId(), req.GetItemId()); errors.Is(err, ErrLessonNotFound) {
		return nil, ErrItemNotFound // it is hidden; of what is locked they see what it will ask
	} else if err != nil && fault.CodeOf(err) != ErrLessonLocked.Code {
		return nil, err
	}
	return s.explain(ctx, s.db, auth.From(ctx).Account, req.GetCourseId(), req.GetItemId())
}

// itemError tells a hidden item as one that there is not.
func itemError(err error) error {
	if errors.Is(err, ErrLessonNotFound) {
		return ErrItemNotFound
	}
	return err
}

// GetLearnerItemProgress implements learningpb.ProgressServiceServer.
func (s *Service) GetLearnerItemProgress(ctx context.Context, req *learningpb.GetLearnerItemProgressRequest) (*learningpb.ItemProgress, error) {
	if err := knownLearner(ctx, s.db, req.GetCourseId(), req.GetAccountId()); err != nil {
		return nil, err
	}
	return s.explain(ctx, s.db, req.GetAccountId(), req.GetCourseId(), req.GetItemId())
}

func knownLearner(ctx context.Context, q pg.Querier, courseID, accountID string) error {
	var known bool
	err := q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM learner WHERE course_id = $1 AND account_id = $2)`, courseID, accountID).Scan(&known)
	if err != nil {
		return fmt.Errorf("learner: %w", err)
	}
	if !known {
		return ErrLearnerNotFound
	}
	return nil
}

// MarkItem implements learningpb.ProgressServiceServer.
func (s *Service) MarkItem(ctx context.Context, req *learningpb.MarkItemRequest) (*learningpb.ItemProgress, error) {
	out, err := whenOpen(ctx, s, req.GetCourseId(), req.GetItemId(), func(checked bool) (*learningpb.ItemProgress, error) {
		return s.markAs(ctx, req, auth.From(ctx).Account, mark{course: req.GetCourseId(), item: req.GetItemId(), done: req.GetDone()}, checked)
	})
	return out, itemError(err)
}

// MarkLearnerItem implements learningpb.ProgressServiceServer.
func (s *Service) MarkLearnerItem(ctx context.Context, req *learningpb.MarkLearnerItemRequest) (*learningpb.ItemProgress, error) {
	return s.markAs(ctx, req, req.GetAccountId(), mark{
		course: req.GetCourseId(), item: req.GetItemId(), done: req.GetDone(), reason: strings.TrimSpace(req.GetReason()), staff: true,
	}, true)
}

// mark is what somebody says by hand of an item.
type mark struct {
	course, item string
	done, staff  bool
	reason       string
}

func (s *Service) markAs(ctx context.Context, req proto.Message, account string, m mark, checked bool) (*learningpb.ItemProgress, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*learningpb.ItemProgress, error) {
		if m.staff {
			if err := knownLearner(ctx, tx, m.course, account); err != nil {
				return nil, err
			}
		}
		c := &scene{AccountID: account, CourseID: m.course, ItemID: m.item}
		if err := s.enter(ctx, tx, c, checked, ErrItemNotFound); err != nil {
			return nil, err
		}
		if err := s.mark(ctx, tx, c, m); err != nil {
			return nil, err
		}
		return s.explain(ctx, tx, c.AccountID, c.CourseID, c.ItemID)
	})
}

// mark stores a mark or takes it back. A learner's mark does not replace one of the
// staff, nor can they take that back.
func (s *Service) mark(ctx context.Context, tx *pg.Tx, c *scene, m mark) error {
	var manual string
	var marked, byStaff bool
	err := tx.QueryRow(ctx, `
		SELECT i.manual, f.marked_at IS NOT NULL, coalesce(f.marked_by_staff, false)
		FROM published_item i LEFT JOIN item_fact f ON f.course_id = i.course_id AND f.account_id = $4 AND f.item_id = i.item_id
		WHERE i.course_id = $1 AND i.version = $2 AND i.item_id = $3`, c.CourseID, c.Version, c.ItemID, c.AccountID).Scan(&manual, &marked, &byStaff)
	if err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	if manual == "" || !m.staff && (manual != "self" || byStaff && !m.done) {
		return ErrNotManual
	}
	tx.Exempt("nothing has changed")
	if m.done == marked && (!m.staff || byStaff || !marked) {
		return nil
	}
	by := auth.From(ctx).Account
	if !m.done {
		_, err = tx.Exec(ctx, `
			WITH undone AS (
				DELETE FROM lesson_completion c USING item_fact f
				WHERE c.course_id = $1 AND c.account_id = $2 AND c.lesson_id = $3 AND f.course_id = $1 AND f.account_id = $2 AND f.item_id = $3
					AND c.completed_at >= f.marked_at) -- before, something else had completed it
			UPDATE item_fact SET marked_at = NULL, marked_by = '', marked_by_staff = false, mark_reason = ''
			WHERE course_id = $1 AND account_id = $2 AND item_id = $3`, c.CourseID, c.AccountID, c.ItemID)
		if err != nil {
			return fmt.Errorf("mark: %w", err)
		}
		return audit.Record(ctx, tx, audit.Entry{Action: "item.unmarked", Object: c.ItemID, Course: c.CourseID, Person: c.AccountID, Reason: m.reason})
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO item_fact (course_id, account_id, item_id, marked_at, marked_by, marked_by_staff, mark_reason) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (course_id, account_id, item_id) DO UPDATE SET marked_at = EXCLUDED.marked_at, marked_by = EXCLUDED.marked_by,
			marked_by_staff = EXCLUDED.marked_by_staff, mark_reason = EXCLUDED.mark_reason`,
		c.CourseID, c.AccountID, c.ItemID, c.now, by, m.staff, m.reason)
	if err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	if err := audit.Record(ctx, tx, audit.Entry{Action: "item.marked", Object: c.ItemID, Course: c.CourseID, Person: c.AccountID, Reason: m.reason}); err != nil {
		return err
	}
	if !m.staff {
		b := &pgx.Batch{}
		if err := c.leave(b, 0, true); err != nil {
			return err
		}
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return fmt.Errorf("mark: %w", err)
		}
	}
	_, err = s.settle(ctx, tx, whom{c.CourseID, []string{c.AccountID}, []string{c.ItemID}, true, c.now})
	return err
}

// result is what somebody is told to have reached in an activity.
type result struct {
	course, account, item string
	submitted             *time.Time // nil where nothing is said of it
	percent               *string    // nil for no score
	passed                bool
}

// reached keeps the best of what somebody has reached in an activity, and settles
// what that completes. It takes every event for a fact, one that is out of date too:
// so it does not matter in which order they come. The caller has locked the course.
func (s *Service) reached(ctx context.Context, tx *pg.Tx, r result) error {
	_, err := tx.Exec(ctx, `INSERT INTO learner (course_id, account_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, r.course, r.account)
	if err != nil {
		return fmt.Errorf("store learner: %w", err)
	}
	if err := pinLearner(ctx, tx, r.course, r.account); err != nil { // also locks the row
		return err
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO item_best AS b (course_id, account_id, item_id, submitted_at, percent, passed) VALUES ($1, $2, $3, $4, $5::text::numeric, $6)
		ON CONFLICT (course_id, account_id, item_id) DO UPDATE SET submitted_at = least(b.submitted_at, EXCLUDED.submitted_at),
			percent = greatest(b.percent, EXCLUDED.percent), passed = b.passed OR EXCLUDED.passed
		WHERE (b.submitted_at, b.percent, b.passed) IS DISTINCT FROM
			(least(b.submitted_at, EXCLUDED.submitted_at), greatest(b.percent, EXCLUDED.percent), b.passed OR EXCLUDED.passed)`,
		r.course, r.account, r.item, r.submitted, r.percent, r.passed)
	if err != nil {
		return fmt.Errorf("store result: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return nil
	}
	if r.submitted != nil {
		if err := s.countHandIn(ctx, tx, r.course, r.account, *r.submitted); err != nil {
			return err
		}
	}
	_, err = s.settle(ctx, tx, whom{r.course, []string{r.account}, []string{r.item}, true, s.now()})
	return err
}

// countHandIn has a day on which something was handed in count for the streak.
func (s *Service) countHandIn(ctx context.Context, tx *pg.Tx, courseID, accountID string, at time.Time) error {
	var zone string
	err := tx.QueryRow(ctx, `
		SELECT coalesce(nullif((SELECT time_zone FROM account WHERE account_id = $2), ''), (SELECT time_zone FROM course WHERE course_id = $1), 'UTC')`,
		courseID, accountID).Scan(&zone)
	if err != nil {
		return fmt.Errorf("zone: %w", err)
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO activity_day AS d (account_id, day, course_id, spent_ms, acted) VALUES ($1, $2::text::date, $3, 0, true)
		ON CONFLICT (account_id, day, course_id) DO UPDATE SET acted = true WHERE NOT d.acted`,
		accountID, at.In(zoneOf(zone)).Format(time.DateOnly), courseID)
	if err != nil {
		return fmt.Errorf("store day: %w", err)
	}
	return nil
}

// GetResume implements learningpb.ProgressServiceServer.
func (s *Service) GetResume(ctx context.Context, req *learningpb.GetResumeRequest) (*learningpb.Resume, error) {
	var itemID, media string
	var ms int64
	var seenAt, at *time.Time
	err := s.db.QueryRow(ctx, `
		SELECT coalesce(i.item_id, ''), l.last_seen_at, coalesce(f.position_media_id, ''), coalesce(f.position_ms, 0), f.position_at
		FROM course k JOIN learner l USING (course_id)
			LEFT JOIN published_item i ON i.course_id = k.course_id AND i.version = `+seen+` AND i.item_id = l.resume_lesson_id
			LEFT JOIN item_fact f ON f.course_id = k.course_id AND f.account_id = l.account_id AND f.item_id = i.item_id
		WHERE k.course_id = $1 AND l.account_id = $2`, req.GetCourseId(), auth.From(ctx).Account).Scan(&itemID, &seenAt, &media, &ms, &at)
	if err != nil && !pg.NoRows(err) {
		return nil, fmt.Errorf("resume: %w", err)
	}
	was := itemID
	if itemID, err = s.openOrNone(ctx, s.db, auth.From(ctx).Account, req.GetCourseId(), itemID); err != nil {
		return nil, err
	}
	if itemID != was {
		media, ms, at = "", 0, nil
	}
	return &learningpb.Resume{CourseId: req.GetCourseId(), ItemId: itemID, LastSeenAt: optional(seenAt), Position: positionPB(media, ms, at)}, nil
}
