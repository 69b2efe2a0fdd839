package discovery

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
)

// search returns the courses that f leaves in and that match the query, the
// best first.
//
// A match has all words in its title, subtitle, tags or description, in falling
// weight. Of more than 1,000 matches the newest 1,000 are ranked, so that a word
// which a fifth of all courses have costs no more than a rare one. Where fewer
// than 20 match, the newest follow that have words which begin or are spelt like
// those asked for: what is spelt right finds no strays, and what is not finds
// something.
func search(ctx context.Context, q pg.Querier, at time.Time, query string, f filter, size int, cursor string) ([]listing, string, error) {
	rank, beforeID, err := rankCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	spelt, begun := forgiving(query)
	rows, err := q.Query(ctx, `
		WITH exact AS MATERIALIZED (
			SELECT l.course_id, l.words FROM listing l
			WHERE `+fits+` AND l.words @@ websearch_to_tsquery('simple', $5)
			ORDER BY l.published_at DESC, l.course_id DESC LIMIT 1000
		), alike AS MATERIALIZED (
			SELECT l.course_id FROM listing l
			WHERE (SELECT count(*) FROM exact) < 20
				AND `+fits+` AND (l.alike @@ $6::tsquery OR l.words @@ $7::tsquery)
				AND NOT EXISTS (SELECT FROM exact e WHERE e.course_id = l.course_id)
			ORDER BY l.published_at DESC, l.course_id DESC LIMIT 1000
		), found AS (
			SELECT course_id, 1 + (1000000 * ts_rank(words, websearch_to_tsquery('simple', $5)))::bigint AS rank FROM exact
			UNION ALL
			SELECT course_id, 0 FROM alike
		), page AS MATERIALIZED (
			SELECT course_id, rank FROM found WHERE (rank, course_id) < ($8, $9)
			ORDER BY rank DESC, course_id DESC LIMIT $10
		)
		SELECT `+card+`, page.rank
		FROM page JOIN listing l USING (course_id) LEFT JOIN teacher t ON t.account_id = l.teacher_id`+reducedAt("$11")+`
		ORDER BY page.rank DESC, page.course_id DESC`,
		planned, f.Category, f.Language, f.Level, f.Price, query, spelt, begun, rank, beforeID, size+1, at)
	if err != nil {
		return nil, "", fmt.Errorf("search: %w", err)
	}
	items, err := pgx.CollectRows(rows, pgx.RowToStructByName[listing])
	if err != nil {
		return nil, "", fmt.Errorf("search: %w", err)
	}
	if len(items) <= size {
		return items, "", nil
	}
	last := items[size-1]
	return items[:size], page.Cursor("rank", strconv.FormatInt(last.Rank, 10), last.CourseID), nil
}

// rankCursor returns the rank and the id of the last course shown, and a rank
// over every other before the first page. A cursor of another list, or of the
// marketplace without a query, is none of a search.
func rankCursor(cursor string) (int64, string, error) {
	values, err := page.Values(cursor, 3)
	if err != nil {
		return 0, "", err
	}
	if values == nil {
		return math.MaxInt64, "", nil
	}
	rank, err := strconv.ParseInt(values[1], 10, 64)
	if err != nil || values[0] != "rank" {
		return 0, "", page.ErrCursor
	}
	return rank, values[2], nil
}
