package learning

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
)

// place is an item of a course.
type place struct{ CourseID, ItemID string }

// States of items that are not open to somebody.
const (
	locked = "locked"
	hidden = "hidden"
)

// closedTo returns the items of some courses that are not known to be open to
// somebody: those under a rule of release in which they have done nothing. What they
// have done something in was open to them, and its title is no news.
func closedTo(ctx context.Context, q pg.Querier, accountID string, courseIDs []string) (map[place]string, error) {
	rows, err := q.Query(ctx, `
		SELECT i.course_id, i.item_id, i.gate
		FROM course k LEFT JOIN learner l ON l.course_id = k.course_id AND l.account_id = $1
			JOIN published_item i ON i.course_id = k.course_id AND i.version = `+seen+` AND i.gate <> ''
		WHERE k.course_id = ANY($2::text[])
			AND NOT EXISTS (SELECT FROM item_fact f WHERE f.course_id = i.course_id AND f.account_id = $1 AND f.item_id = i.item_id)
			AND NOT EXISTS (SELECT FROM lesson_completion c WHERE c.course_id = i.course_id AND c.account_id = $1 AND c.lesson_id = i.item_id)`,
		accountID, courseIDs)
	if err != nil {
		return nil, fmt.Errorf("closed items: %w", err)
	}
	out := map[place]string{}
	var p place
	var gate string
	_, err = pgx.ForEachRow(rows, []any{&p.CourseID, &p.ItemID, &gate}, func() error {
		out[p] = locked
		if gate == "hide" {
			out[p] = hidden
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("closed items: %w", err)
	}
	return out, nil
}
