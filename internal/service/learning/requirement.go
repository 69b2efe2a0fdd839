package learning

import (
	"context"
	"fmt"
	"math/big"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/release/releasepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// rule is what completes an item: all of it. The zero rule is never met.
type rule struct {
	viewed       bool
	watchPercent int32
	submitted    bool
	minPercent   string // a decimal, empty for none
	passed       bool
	manual       string // "staff", "self" or empty
}

// ruleOf returns the strictest requirement of each kind.
func ruleOf(c *releasepb.Completion) rule {
	var r rule
	for _, q := range c.GetRequirements() {
		switch q.GetKind() {
		case "viewed":
			r.viewed = true
		case "watched":
			r.watchPercent = max(r.watchPercent, min(max(q.GetWatchPercent(), 1), 100))
		case "submitted":
			r.submitted = true
		case "scored":
			r.minPercent = larger(r.minPercent, q.GetMinPercent())
		case "passed":
			r.passed = true
		case "manual":
			if q.GetSelf() && r.manual == "" {
				r.manual = "self"
			} else if !q.GetSelf() {
				r.manual = "staff"
			}
		}
	}
	return r
}

// larger returns the larger of two decimals. What is none counts as 0.
func larger(a, b string) string {
	decimal := func(text string) *big.Rat {
		if r, ok := new(big.Rat).SetString(text); ok {
			return r
		}
		return new(big.Rat)
	}
	if a == "" || decimal(b).Cmp(decimal(a)) > 0 {
		if _, ok := new(big.Rat).SetString(b); !ok {
			return "0"
		}
		return b
	}
	return a
}

// storeItems keeps the parts of a version with their rules.
func storeItems(ctx context.Context, tx *pg.Tx, e *coursespb.CoursePublished) error {
	items := itemsOf(e)
	byID := make(map[string]*coursespb.PublishedItem, len(items))
	for _, it := range items {
		byID[it.GetId()] = it
	}
	n := len(items)
	ids, parents, kinds, titles, scores, manuals := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	required, counted, viewed, submitted, passed := make([]bool, n), make([]bool, n), make([]bool, n), make([]bool, n), make([]bool, n)
	watch, minutes := make([]int32, n), make([]int32, n)
	var modules, members, showing, media []string
	for i, it := range items {
		r := ruleOf(it.GetCompletion())
		if it.GetKind() == "module" {
			r = rule{}
		}
		ids[i], parents[i], kinds[i], titles[i], required[i] = it.GetId(), it.GetParentId(), it.GetKind(), it.GetTitle(), it.GetRequired()
		viewed[i], watch[i], submitted[i], scores[i], passed[i], manuals[i] = r.viewed, r.watchPercent, r.submitted, r.minPercent, r.passed, r.manual
		counted[i], minutes[i] = it.GetRequired() && r != rule{}, it.GetMinutes()
		for _, m := range it.GetPlayableMediaIds() {
			showing, media = append(showing, it.GetId()), append(media, m)
		}
		// Bounded, should a course ever hold a module in itself.
		for up, depth := byID[it.GetParentId()], 0; up != nil && depth < 10; up, depth = byID[up.GetParentId()], depth+1 {
			if counted[i] {
				modules, members = append(modules, up.GetId()), append(members, it.GetId())
			}
		}
	}
	_, err := tx.Exec(ctx, `
		WITH shown AS (
			SELECT item_id, array_agg(DISTINCT media_id) AS media_ids FROM unnest($16::text[], $17::text[]) AS s (item_id, media_id) GROUP BY item_id
		)
		INSERT INTO published_item (course_id, version, item_id, parent_id, kind, position, title, required,
			counted, viewed, watch_percent, submitted, min_percent, passed, manual, minutes, media_ids)
		SELECT $1, $2, id, parent, kind, position, title, required,
			counted, viewed, watch, submitted, nullif(score, '')::numeric, passed, manual, minutes, coalesce(shown.media_ids, '{}')
		FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[], $8::boolean[], $9::boolean[], $10::int[], $11::boolean[], $12::text[],
				$13::boolean[], $14::text[], $15::int[]) WITH ORDINALITY
			AS f (id, parent, kind, title, required, counted, viewed, watch, submitted, score, passed, manual, minutes, position)
			LEFT JOIN shown ON shown.item_id = f.id
		ON CONFLICT (course_id, version, item_id) DO UPDATE SET parent_id = EXCLUDED.parent_id, kind = EXCLUDED.kind,
			position = EXCLUDED.position, title = EXCLUDED.title, required = EXCLUDED.required, counted = EXCLUDED.counted,
			viewed = EXCLUDED.viewed, watch_percent = EXCLUDED.watch_percent, submitted = EXCLUDED.submitted,
			min_percent = EXCLUDED.min_percent, passed = EXCLUDED.passed, manual = EXCLUDED.manual,
			minutes = EXCLUDED.minutes, media_ids = EXCLUDED.media_ids`,
		e.GetCourseId(), e.GetVersion(), ids, parents, kinds, titles, required, counted, viewed, watch, submitted, scores, passed, manuals, minutes, showing, media)
	if err != nil {
		return fmt.Errorf("store items: %w", err)
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO module_item (course_id, version, module_id, item_id)
		SELECT DISTINCT $1, $2::int, m, i FROM unnest($3::text[], $4::text[]) AS f (m, i)
		ON CONFLICT DO NOTHING`, e.GetCourseId(), e.GetVersion(), modules, members)
	if err != nil {
		return fmt.Errorf("store modules: %w", err)
	}
	c := e.GetGrading().GetCompletion()
	if c.GetPass() {
		if _, err := tx.Exec(ctx, `UPDATE course_version SET pass = true WHERE course_id = $1 AND version = $2`, e.GetCourseId(), e.GetVersion()); err != nil {
			return fmt.Errorf("store that it has to be passed: %w", err)
		}
	}
	if c.GetKind() != "percent" || !slices.Contains(counted, true) {
		return nil
	}
	_, err = tx.Exec(ctx, `
		UPDATE course_version SET enough = ceil($4::text::numeric * (
			SELECT count(*) FROM unnest($3::boolean[]) AS f (counted) WHERE counted) / 100)
		WHERE course_id = $1 AND version = $2`, e.GetCourseId(), e.GetVersion(), counted, c.GetMinPercent())
	if err != nil {
		return fmt.Errorf("store what is enough: %w", err)
	}
	return nil
}

// difference is what a new version means for those who saw the one before.
type difference struct {
	items []string // whose rule is another, or which the one before did not have
	less  bool     // something counts no more, in the course or in a module, fewer are enough or others too, or it need not be passed
}

// enoughOf is how many items complete a version of the course $1.
func enoughOf(version string) string {
	return `coalesce((SELECT enough FROM course_version WHERE course_id = $1 AND version = ` + version + `),
		(SELECT count(*) FROM published_item WHERE course_id = $1 AND version = ` + version + ` AND counted))`
}

// compare returns in what the rules of two versions differ. Before the first one
// there were none.
func compare(ctx context.Context, tx *pg.Tx, courseID string, before, after int32) (difference, error) {
	const rules = `item_id, viewed, watch_percent, submitted, min_percent, passed, manual, CASE WHEN watch_percent > 0 THEN media_ids ELSE '{}' END`
	rows, err := tx.Query(ctx, `
		SELECT item_id FROM (
			SELECT `+rules+` FROM published_item WHERE course_id = $1 AND version = $3 AND ruled
			EXCEPT
			SELECT `+rules+` FROM published_item WHERE course_id = $1 AND version = $2 AND ruled
		) AS d ORDER BY item_id`, courseID, before, after)
	if err != nil {
		return difference{}, fmt.Errorf("compare versions: %w", err)
	}
	var d difference
	if d.items, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return difference{}, fmt.Errorf("compare versions: %w", err)
	}
	err = tx.QueryRow(ctx, `
		SELECT $2 = 0
			OR EXISTS (SELECT item_id FROM published_item WHERE course_id = $1 AND version = $2 AND counted
				EXCEPT SELECT item_id FROM published_item WHERE course_id = $1 AND version = $3 AND counted)
			OR EXISTS (SELECT module_id, item_id FROM module_item WHERE course_id = $1 AND version = $2
				EXCEPT SELECT module_id, item_id FROM module_item WHERE course_id = $1 AND version = $3)
			OR EXISTS (SELECT module_id FROM module_item WHERE course_id = $1 AND version = $3
				EXCEPT SELECT module_id FROM module_item WHERE course_id = $1 AND version = $2)
			OR EXISTS (SELECT FROM published_item WHERE course_id = $1 AND version = $3 AND counted)
				AND NOT EXISTS (SELECT FROM published_item WHERE course_id = $1 AND version = $2 AND counted)
			OR EXISTS (SELECT FROM course_version WHERE course_id = $1 AND version = $2 AND pass)
				AND EXISTS (SELECT FROM course_version WHERE course_id = $1 AND version = $3 AND NOT pass)
			OR `+enoughOf("$3")+` < `+enoughOf("$2")+`
			OR EXISTS (SELECT FROM course_version WHERE course_id = $1 AND version = $3 AND enough IS NOT NULL)
				AND EXISTS (SELECT item_id FROM published_item WHERE course_id = $1 AND version = $3 AND counted
					EXCEPT SELECT item_id FROM published_item WHERE course_id = $1 AND version = $2 AND counted)`,
		courseID, before, after).Scan(&d.less)
	if err != nil {
		return difference{}, fmt.Errorf("compare versions: %w", err)
	}
	return d, nil
}
