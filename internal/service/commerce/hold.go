package commerce

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
)

// What an order holds from its beginning: places of courses of which a number can be
// sold, and a use of a coupon. It lets go of both when it is cancelled or expires, and of
// a line's place when that is paid back. A period of a subscription takes no place. Locks
// are taken in one order: the buyer's turn, subscriptions, orders, products, places,
// coupons, each by id.

// setPlaces says how many places of a course can be sold. Its product is locked for
// update, and who takes or gives a place has it for share: nobody does so meanwhile, and
// the live lines can be counted.
func setPlaces(ctx context.Context, tx *pg.Tx, course string, places int32) error {
	if places == 0 {
		_, err := tx.Exec(ctx, `DELETE FROM course_place WHERE course_id = $1`, course)
		return err
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO course_place (course_id, places, taken)
		SELECT $1, $2, coalesce(sum(quantity), 0) FROM order_line WHERE course_id = $1 AND live AND kind <> 'subscription'
		ON CONFLICT (course_id) DO UPDATE SET places = excluded.places`, course, places)
	return err
}

// takePlaces takes the places of lines that are about to be ordered; path names the
// request's field of the line at an index.
func takePlaces(ctx context.Context, tx *pg.Tx, lines []line, path func(int) string) error {
	needs := map[string]int64{}
	var courses []string
	for _, l := range lines {
		if needs[l.CourseID] == 0 {
			courses = append(courses, l.CourseID)
		}
		needs[l.CourseID] += int64(l.Quantity)
	}
	rows, err := tx.Query(ctx, `SELECT course_id, places - taken FROM course_place WHERE course_id = ANY ($1) ORDER BY course_id FOR UPDATE`, courses)
	if err != nil {
		return err
	}
	var (
		course       string
		left         int64
		limited, out []string
		taken        []int64
	)
	if _, err := pgx.ForEachRow(rows, []any{&course, &left}, func() error {
		if needs[course] > left {
			out = append(out, course)
		}
		limited, taken = append(limited, course), append(taken, needs[course])
		return nil
	}); err != nil {
		return fmt.Errorf("places: %w", err)
	}
	if len(out) > 0 {
		return soldOut(path(slices.IndexFunc(lines, func(l line) bool { return l.CourseID == out[0] })))
	}
	if len(limited) == 0 {
		return nil
	}
	_, err = tx.Exec(ctx, `
		UPDATE course_place p SET taken = p.taken + n.taken FROM unnest($1::text[], $2::bigint[]) AS n (course_id, taken) WHERE p.course_id = n.course_id`, limited, taken)
	return err
}

func soldOut(path string) error {
	text := "There are not so many places left."
	return &fault.Error{Kind: fault.Conflict, Code: "order.sold_out", Message: text, Fields: []fault.Field{{Path: path, Code: "order.sold_out", Hint: text}}}
}

// letGo ends what orders, which are locked, hold: their lines give no access any more.
func letGo(ctx context.Context, tx *pg.Tx, orders []string) error {
	rows, err := tx.Query(ctx, `SELECT id FROM order_line WHERE order_id = ANY ($1) AND live`, orders)
	if err != nil {
		return err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(lines) == 0 {
		return err
	}
	if err := lockPlaces(ctx, tx, lines); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `
		SELECT FROM coupon WHERE id IN (SELECT coupon_id FROM coupon_use WHERE order_id = ANY ($1) AND live) ORDER BY id FOR UPDATE`, orders); err != nil {
		return err
	}
	if err := endLines(ctx, tx, lines); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		WITH gone AS (UPDATE coupon_use SET live = false WHERE order_id = ANY ($1) AND live RETURNING coupon_id, code),
		codes AS (UPDATE coupon_code c SET uses = c.uses - g.n FROM (SELECT code, count(*)::int AS n FROM gone GROUP BY code) g WHERE c.code = g.code)
		UPDATE coupon c SET uses = c.uses - g.n FROM (SELECT coupon_id, count(*)::int AS n FROM gone GROUP BY coupon_id) g WHERE c.id = g.coupon_id`, orders)
	return err
}

// letGoLines ends lines of orders that are locked, and gives their places back. A use of
// a coupon stays used: it is the order's.
func letGoLines(ctx context.Context, tx *pg.Tx, lines []string) error {
	if err := lockPlaces(ctx, tx, lines); err != nil {
		return err
	}
	return endLines(ctx, tx, lines)
}

// lockPlaces locks what the live ones of lines hold.
func lockPlaces(ctx context.Context, tx *pg.Tx, lines []string) error {
	if _, err := tx.Exec(ctx, `
		SELECT FROM product WHERE course_id IN (SELECT course_id FROM order_line WHERE id = ANY ($1) AND live) ORDER BY course_id FOR SHARE`, lines); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		SELECT FROM course_place WHERE course_id IN (SELECT course_id FROM order_line WHERE id = ANY ($1) AND live) ORDER BY course_id FOR UPDATE`, lines)
	return err
}

// endLines ends lines, whose places are locked.
func endLines(ctx context.Context, tx *pg.Tx, lines []string) error {
	_, err := tx.Exec(ctx, `
		WITH gone AS (UPDATE order_line SET live = false WHERE id = ANY ($1) AND live RETURNING course_id, quantity, kind)
		UPDATE course_place p SET taken = p.taken - g.n FROM (SELECT course_id, sum(quantity) AS n FROM gone WHERE kind <> 'subscription' GROUP BY course_id) g WHERE p.course_id = g.course_id`, lines)
	return err
}

// takeTurns has those who order for one buyer wait for one another, so that each sees
// what the others have ordered.
func takeTurns(ctx context.Context, tx *pg.Tx, buyer string) error {
	_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('stoa.order'), hashtext($1))`, buyer)
	return err
}

// itemPath names an item of a request's list.
func itemPath(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }
