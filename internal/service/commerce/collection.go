package commerce

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
)

// The states of a collection.
const (
	collectionDraft     = "draft"
	collectionPublished = "published"
	collectionWithdrawn = "withdrawn"
)

// collection is what bundles and plans are: courses of one teacher that are sold together.
type collection struct {
	ID          string
	OwnerID     string
	Title       string
	Description string
	CourseIDs   []string
	Currencies  []string
	Amounts     []int64
	State       string
	Revision    int64
	CreatedAt   time.Time
}

const collectionColumns = `id, owner_id, title, description, course_ids, currencies, amounts, state, revision, created_at`

// collected is a kind of collection, which people read as M.
type collected[M any] interface {
	common() *collection
	message(known map[string]*offer, viewer string) M
}

func (c *collection) common() *collection { return c }

// etag is the version of which a change is to be.
func (c *collection) etag() string { return strconv.FormatInt(c.Revision, 10) }

// priceIn returns the price in a currency; ok is false where it is not sold in it.
func (c *collection) priceIn(currency string) (amount int64, ok bool) {
	at := slices.Index(c.Currencies, currency)
	if at < 0 {
		return 0, false
	}
	return c.Amounts[at], true
}

// forSale reports whether somebody could buy it: it is published, and all its courses are
// for sale and still its owner's.
func (c *collection) forSale(known map[string]*offer) bool {
	return c.State == collectionPublished && !slices.ContainsFunc(c.CourseIDs, func(course string) bool {
		o := known[course]
		return !o.forSale() || *o.SellerID != c.OwnerID || *o.Amount == 0
	})
}

// titleOf returns the title of one of its courses as somebody sees it: who is not its
// owner learns nothing of a course that is not for sale.
func (c *collection) titleOf(course string, known map[string]*offer, viewer string) string {
	if o := known[course]; o.forSale() || o != nil && c.OwnerID == viewer {
		return o.Title
	}
	return ""
}

// entry is the collection as the audit log has it.
func (c *collection) entry() map[string]any {
	return map[string]any{"course_ids": c.CourseIDs, "currencies": c.Currencies, "amounts": c.Amounts, "state": c.State, "version": c.Revision}
}

// same reports whether c is nothing new.
func (c *collection) same(other *collection) bool {
	return c.Title == other.Title && c.Description == other.Description && c.State == other.State &&
		slices.Equal(c.CourseIDs, other.CourseIDs) && slices.Equal(c.Currencies, other.Currencies) && slices.Equal(c.Amounts, other.Amounts)
}

// check refuses a collection, called kind, that is not of its owner's courses, and one
// that is published and can't be sold so. Its courses' products are locked.
func (c *collection) check(kind string, known map[string]*offer) error {
	for i, course := range c.CourseIDs {
		o := known[course]
		if o == nil || o.SellerID == nil || *o.SellerID != c.OwnerID {
			return wrong(itemPath("course_ids", i), kind+".courses", "A "+kind+" is of your own courses, which were published before.")
		}
		if c.State == collectionPublished && (!o.forSale() || *o.Amount == 0) {
			return wrong(itemPath("course_ids", i), kind+".courses", "This course is not for sale now.")
		}
	}
	if c.State != collectionPublished {
		return nil
	}
	for n, currency := range c.Currencies {
		for _, course := range c.CourseIDs {
			if _, _, ok := known[course].priceIn(currency); !ok { // by these what is paid is shared
				return wrong(itemPath("prices", n), kind+".price", "Not all its courses have a price in "+currency+".")
			}
		}
	}
	return nil
}

// lockCourses locks a collection's courses and returns them.
func (s *Service) lockCourses(ctx context.Context, tx *pg.Tx, c *collection) (map[string]*offer, error) {
	if err := lockProducts(ctx, tx, c.CourseIDs, "FOR SHARE"); err != nil {
		return nil, err
	}
	return offers(ctx, tx, c.CourseIDs, s.now())
}

// collections returns those of a condition; T is their kind, of the columns.
func collections[T any](ctx context.Context, q pg.Querier, table, columns, where string, args ...any) ([]*T, error) {
	rows, err := q.Query(ctx, `SELECT `+columns+` FROM `+table+` WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[T])
	if err != nil {
		return nil, fmt.Errorf("%ss: %w", table, err)
	}
	return list, nil
}

// messages returns collections as the caller sees them, with what is known of their
// courses.
func messages[M any, T collected[M]](ctx context.Context, s *Service, list []T) ([]M, error) {
	var courses []string
	for _, c := range list {
		courses = append(courses, c.common().CourseIDs...)
	}
	known, err := offers(ctx, s.DB, courses, s.now())
	if err != nil {
		return nil, err
	}
	var out []M
	for _, c := range list {
		out = append(out, c.message(known, auth.From(ctx).Account))
	}
	return out, nil
}

// pageOf returns a page of the collections of a condition, those made last first, and the
// cursor of the next. Its arguments begin at $4.
func pageOf[M any, T collected[M]](ctx context.Context, s *Service, read func(ctx context.Context, q pg.Querier, where string, args ...any) ([]T, error),
	pageSize int32, cursor, where string, args ...any,
) (items []M, next string, err error) {
	before, last, err := page.After(cursor)
	if err != nil {
		return nil, "", err
	}
	size := page.Size(pageSize)
	list, err := read(ctx, s.DB, where+` AND (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3`,
		append([]any{before, last, size + 1}, args...)...)
	if err != nil {
		return nil, "", err
	}
	if len(list) > size {
		list = list[:size]
		at := list[size-1].common()
		next = page.TimeCursor(at.CreatedAt, at.ID)
	}
	items, err = messages(ctx, s, list)
	return items, next, err
}

// allForSale is the condition of collections all of whose courses can be bought.
const allForSale = `state = 'published' AND NOT EXISTS (
	SELECT FROM unnest(course_ids) AS c (course_id) LEFT JOIN product p ON p.course_id = c.course_id
	WHERE NOT coalesce(p.on_sale AND p.amount > 0 AND p.seller_id = owner_id, false))`
