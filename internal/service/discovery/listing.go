package discovery

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
)

// listing is a course of the marketplace. What only its page shows is empty in
// lists.
type listing struct {
	CourseID        string
	Title           string
	Subtitle        string
	DescriptionHTML string
	Language        string
	Level           string
	Category        string
	Tags            []string
	Outcomes        []string
	CoverMediaID    string
	TeacherID       string
	TeacherName     string
	PriceAmount     int64
	PriceCurrency   string
	// What it costs in other currencies, and what it costs now, where that may be less.
	FurtherCurrencies []string
	FurtherAmounts    []int64
	ReducedCurrencies []string
	ReducedAmounts    []int64
	ReducedUntil      *time.Time
	LessonCount       int32
	EnrollmentCount   int64
	PublishedAt       time.Time
	Modules           []module
	Rank              int64 // in search results
}

// module is a part of a course, as it is stored in JSON.
type module struct {
	Title   string   `json:"title"`
	Lessons []lesson `json:"lessons"`
}

// lesson is a lesson of a module, as it is stored in JSON.
type lesson struct {
	ID      string `json:"id"`
	Title   string `json:"title"`
	Preview bool   `json:"preview,omitempty"`
}

// coverURL is where the picture is served to anybody: what a course shows in
// the marketplace is public.
func (l listing) coverURL() string {
	if l.CoverMediaID == "" {
		return ""
	}
	return "/v1/media/" + l.CoverMediaID + "/content"
}

// filter says which courses of the marketplace to list; empty fields leave out
// none.
type filter struct {
	Category string
	Language string
	Level    string
	Price    string // "free" or "paid"
}

// costs is the columns of what a listing l costs besides, and less, at a moment (see
// [reducedAt]).
const costs = `l.further_currencies, l.further_amounts, r.currencies AS reduced_currencies, r.amounts AS reduced_amounts, r.ends_at AS reduced_until`

// reducedAt joins the reduction of a listing l that holds at the moment of a parameter; no
// two overlap.
func reducedAt(parameter string) string {
	return ` LEFT JOIN LATERAL (
		SELECT currencies, amounts, ends_at FROM reduction WHERE course_id = l.course_id AND ends_at > ` + parameter + ` AND starts_at <= ` + parameter + `
		ORDER BY ends_at LIMIT 1
	) r ON true`
}

// now is what the course costs in one of its currencies at the moment for which it was
// read, of which list is what it costs where nothing is reduced.
func (l listing) now(currency string, list int64) int64 {
	if at := slices.Index(l.ReducedCurrencies, currency); at >= 0 {
		return min(list, l.ReducedAmounts[at])
	}
	return list
}

// card is the columns of a listing l with its teacher t that lists show.
const card = `l.course_id, l.title, l.subtitle, '' AS description_html, l.language, l.level, l.category, l.tags,
	'{}'::text[] AS outcomes, l.cover_media_id, l.teacher_id, coalesce(t.name, '') AS teacher_name,
	l.price_amount, l.price_currency, l.lesson_count, l.enrollment_count, l.published_at, '[]'::jsonb AS modules, ` + costs

// fits holds for a listing in the marketplace that the filter in $1 to $4
// leaves in. It is planned with the values in hand (see [planned]), so that a
// filter that is not set costs nothing and one that is set finds its index.
const fits = `l.published AND l.price_amount IS NOT NULL
	AND ($1 = '' OR l.category = $1)
	AND ($2 = '' OR l.language_key = lower($2))
	AND ($3 = '' OR l.level = $3)
	AND ($4 = '' OR l.free = ($4 = 'free'))`

// planned has a statement planned each time for its values instead of once for
// all: which index is best depends on which filters are set and on how common
// the words are.
const planned = pgx.QueryExecModeCacheDescribe

// newest returns the courses that f leaves in, newest first.
func newest(ctx context.Context, q pg.Querier, at time.Time, f filter, size int, cursor string) ([]listing, string, error) {
	before, beforeID, err := page.After(cursor)
	if err != nil {
		return nil, "", err
	}
	rows, err := q.Query(ctx, `
		SELECT `+card+`, 0::bigint AS rank
		FROM listing l LEFT JOIN teacher t ON t.account_id = l.teacher_id`+reducedAt("$8")+`
		WHERE `+fits+` AND (l.published_at, l.course_id) < ($5, $6)
		ORDER BY l.published_at DESC, l.course_id DESC LIMIT $7`,
		planned, f.Category, f.Language, f.Level, f.Price, before, beforeID, size+1, at)
	if err != nil {
		return nil, "", fmt.Errorf("list newest: %w", err)
	}
	items, err := pgx.CollectRows(rows, pgx.RowToStructByName[listing])
	if err != nil {
		return nil, "", fmt.Errorf("list newest: %w", err)
	}
	if len(items) <= size {
		return items, "", nil
	}
	last := items[size-1]
	return items[:size], page.TimeCursor(last.PublishedAt, last.CourseID), nil
}

// read returns a course of the marketplace with its outline.
func read(ctx context.Context, q pg.Querier, at time.Time, courseID string) (listing, error) {
	rows, err := q.Query(ctx, `
		SELECT l.course_id, l.title, l.subtitle, l.description_html, l.language, l.level, l.category, l.tags,
			l.outcomes, l.cover_media_id, l.teacher_id, coalesce(t.name, '') AS teacher_name,
			l.price_amount, l.price_currency, l.lesson_count, l.enrollment_count, l.published_at, l.modules, `+costs+`, 0::bigint AS rank
		FROM listing l LEFT JOIN teacher t ON t.account_id = l.teacher_id`+reducedAt("$2")+`
		WHERE l.course_id = $1 AND l.published AND l.price_amount IS NOT NULL`, courseID, at)
	if err != nil {
		return listing{}, fmt.Errorf("read listing: %w", err)
	}
	l, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[listing])
	if pg.NoRows(err) {
		return listing{}, ErrListingNotFound
	}
	if err != nil {
		return listing{}, fmt.Errorf("read listing: %w", err)
	}
	return l, nil
}
