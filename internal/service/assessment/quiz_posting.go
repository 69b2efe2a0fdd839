package assessment

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// postingChanged keeps whether students may see their grades in an item: those who are
// named, or all who never were.
func (s *Service) postingChanged(ctx context.Context, tx *pg.Tx, e *gradespb.PostingChanged) error {
	accounts, posted := e.GetAccountIds(), e.GetPosted()
	if len(accounts) == 0 {
		// Under a manual policy nothing that comes is posted by itself, whatever is said.
		accounts, posted = []string{everybodyElse}, posted && e.GetPolicy() == "automatic"
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO posting AS p (course_id, item_id, account_id, policy, posted, version)
		SELECT $1, $2, a, $4, $5, $6 FROM unnest($3::text[]) AS a ORDER BY a
		ON CONFLICT ON CONSTRAINT posting_pkey DO UPDATE SET policy = EXCLUDED.policy, posted = EXCLUDED.posted, version = EXCLUDED.version
		WHERE p.version < EXCLUDED.version`, e.GetCourseId(), e.GetItemId(), accounts, e.GetPolicy(), posted, e.GetVersion())
	if err != nil {
		return fmt.Errorf("store posting: %w", err)
	}
	return nil
}

// everybodyElse stands for those whom no posting has named.
const everybodyElse = ""

// postedTo reports for items of a course whether somebody may see their grade: as is
// said for them, or else for everybody who was never named. Where the gradebook has said
// nothing, grades are posted as they come.
func postedTo(ctx context.Context, q pg.Querier, courseID string, items []string, accountID string) (map[string]bool, error) {
	out := make(map[string]bool, len(items))
	for _, itemID := range items {
		out[itemID] = true
	}
	rows, err := q.Query(ctx, `
		SELECT DISTINCT ON (item_id) item_id, posted FROM posting WHERE course_id = $1 AND item_id = ANY ($2) AND account_id IN ('', $3)
		ORDER BY item_id, account_id DESC`, courseID, items, accountID)
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
