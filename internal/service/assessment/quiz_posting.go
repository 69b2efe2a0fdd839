package assessment

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// postingChanged keeps whether students may see their grades in an item. What is told
// for everybody under a manual policy holds for those who have a mark: it is kept for
// each of them, and for all others that nothing is posted, so that a mark which comes
// later is not shown before it is posted itself.
func (s *Service) postingChanged(ctx context.Context, tx *pg.Tx, e *gradespb.PostingChanged) error {
	accounts, everybody := e.GetAccountIds(), len(e.GetAccountIds()) == 0
	whole := everybody && e.GetPolicy() == "manual" && e.GetPosted()
	if everybody {
		accounts = []string{""}
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO posting AS p (course_id, item_id, account_id, policy, posted, version)
		SELECT $1, $2, a, $4, $5, $6 FROM unnest($3::text[]) AS a ORDER BY a
		ON CONFLICT ON CONSTRAINT posting_pkey DO UPDATE SET policy = EXCLUDED.policy, posted = EXCLUDED.posted, version = EXCLUDED.version
		WHERE p.version < EXCLUDED.version`, e.GetCourseId(), e.GetItemId(), accounts, e.GetPolicy(), e.GetPosted() && !whole, e.GetVersion())
	if err != nil {
		return fmt.Errorf("store posting: %w", err)
	}
	if !whole || tag.RowsAffected() == 0 { // of what came late, others may have a mark by now
		return nil
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO posting AS p (course_id, item_id, account_id, policy, posted, version)
		SELECT course_id, item_id, account_id, 'manual', true, $3 FROM (
			SELECT course_id, item_id, account_id FROM quiz_mark WHERE course_id = $1 AND item_id = $2 AND state <> 'none'
			UNION SELECT course_id, item_id, account_id FROM assignment_mark WHERE course_id = $1 AND item_id = $2 AND state <> 'none') AS marked
		ORDER BY account_id
		ON CONFLICT ON CONSTRAINT posting_pkey DO UPDATE SET policy = EXCLUDED.policy, posted = EXCLUDED.posted, version = EXCLUDED.version
		WHERE p.version < EXCLUDED.version`, e.GetCourseId(), e.GetItemId(), e.GetVersion()); err != nil {
		return fmt.Errorf("store postings: %w", err)
	}
	return nil
}

// postedTo reports for items of a course whether somebody may see their grade: as the
// newest says that is for them or for everybody. Where the gradebook has said nothing,
// grades are posted as they come.
func postedTo(ctx context.Context, q pg.Querier, courseID string, items []string, accountID string) (map[string]bool, error) {
	out := make(map[string]bool, len(items))
	for _, itemID := range items {
		out[itemID] = true
	}
	rows, err := q.Query(ctx, `
		SELECT DISTINCT ON (item_id) item_id, posted FROM posting WHERE course_id = $1 AND item_id = ANY ($2) AND account_id IN ('', $3)
		ORDER BY item_id, version DESC, account_id DESC`, courseID, items, accountID)
	if err != nil {
		return nil, fmt.Errorf("read postings: %w", err)
	}
	var itemID string
	var posted bool
	if _, err = pgx.ForEachRow(rows, []any{&itemID, &posted}, func() error {
		out[itemID] = posted
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read postings: %w", err)
	}
	return out, nil
}
