package discovery

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/service/discovery/discoverypb"
)

// fill puts n courses into the marketplace. Their words are drawn from 2,000,
// unevenly: "word0" is in most courses, "word1999" in few. One in five has
// "common" in its title.
func fill(b *testing.B, w *world, n int) {
	b.Helper()
	// As the owner of the table, which the service is not. The large indexes are
	// made at the end, because that is ten times as fast.
	owner, err := pgx.Connect(context.Background(), w.url)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = owner.Close(context.Background()) }()
	run := func(sql string, args ...any) {
		if _, err := owner.Exec(context.Background(), sql, args...); err != nil {
			b.Fatal(err)
		}
	}
	run(`SET search_path = discovery, public`)
	rows, err := owner.Query(context.Background(), `SELECT indexdef FROM pg_indexes WHERE schemaname = 'discovery' AND indexdef LIKE '%USING gin%'`)
	if err != nil {
		b.Fatal(err)
	}
	indexes, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		b.Fatal(err)
	}
	run(`DROP INDEX listing_words, listing_alike`)
	run(`INSERT INTO teacher (account_id, name, version) SELECT 'account_' || i, 'Teacher ' || i, 1 FROM generate_series(1, 1000) i`)
	const batch = 5000
	for from := 1; from <= n; from += batch {
		run(`WITH drawn AS (
			SELECT i, string_agg('word' || floor(2000 * power(random(), 3))::int, ' ') AS text
			FROM generate_series($1::int, $2::int) i, generate_series(1, 30) GROUP BY i
		)
		INSERT INTO listing (course_id, sequence, published, published_at, teacher_id, title, subtitle, description, description_html,
			language, level, category, tags, tag_words, alike, modules, lesson_count, price_version, price_amount, price_currency)
		SELECT 'course_' || lpad(i::text, 26, '0'), 1, true, timestamptz '2026-01-01' + i * interval '1 minute', 'account_' || 1 + i % 1000,
			CASE i % 5 WHEN 0 THEN 'Common ' ELSE '' END || CASE i % 1000 WHEN 0 THEN 'Pythonic ' ELSE '' END || array_to_string((string_to_array(text, ' '))[1:6], ' '), 'About ' || i,
			text, text, (ARRAY['en', 'de', 'fr', 'es'])[1 + i % 4], (ARRAY['beginner', 'intermediate', 'advanced', 'all'])[1 + i / 4 % 4],
			'Category ' || i % 20, ARRAY['tag' || i % 100], 'tag' || i % 100,
			array_to_tsvector(CASE i % 1000 WHEN 0 THEN ARRAY['pythonic', 'pythoni', 'pythnic', 'pytonic'] ELSE '{}' END
				|| ARRAY(SELECT left(x, k) || substr(x, k + 2) FROM unnest((string_to_array(text, ' '))[1:6]) x, generate_series(0, 4) k)),
			'[]', 10, 1, CASE i % 3 WHEN 0 THEN 0 ELSE 4900 END, 'EUR'
		FROM drawn`, from, min(from+batch-1, n))
	}
	for _, sql := range indexes {
		run(sql)
	}
	run(`VACUUM ANALYZE listing`)
}

// BenchmarkMarketplace shows that lists and searches stay flat as the
// marketplace grows.
func BenchmarkMarketplace(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWorld(b)
			fill(b, w, n)
			middle := w.list(&discoverypb.ListListingsRequest{PageSize: 50}).GetNextCursor()
			for _, c := range []struct {
				name string
				req  *discoverypb.ListListingsRequest
			}{
				{"newest", &discoverypb.ListListingsRequest{}},
				{"second page", &discoverypb.ListListingsRequest{Cursor: middle}},
				{"category", &discoverypb.ListListingsRequest{Category: "Category 7"}},
				{"four filters", &discoverypb.ListListingsRequest{Category: "Category 7", Language: "es", Level: "advanced", Price: "paid"}},
				{"no such category", &discoverypb.ListListingsRequest{Category: "none", Level: "all"}},
				{"a common word", &discoverypb.ListListingsRequest{Query: "common"}},
				{"a word of most", &discoverypb.ListListingsRequest{Query: "word0"}},
				{"a rare word", &discoverypb.ListListingsRequest{Query: "word1990"}},
				{"two words", &discoverypb.ListListingsRequest{Query: "common word3"}},
				{"a mistake", &discoverypb.ListListingsRequest{Query: "pyhtonic"}},
				{"nothing", &discoverypb.ListListingsRequest{Query: "xylophone"}},
				{"filtered search", &discoverypb.ListListingsRequest{Query: "common", Category: "Category 5", Price: "paid"}},
			} {
				b.Run(c.name, func(b *testing.B) {
					for b.Loop() {
						w.list(c.req)
					}
				})
			}
			b.Run("one", func(b *testing.B) {
				for b.Loop() {
					if _, err := w.client.GetListing(context.Background(), &discoverypb.GetListingRequest{CourseId: fmt.Sprintf("course_%026d", n/2)}); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
