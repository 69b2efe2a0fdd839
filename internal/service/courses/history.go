package courses

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// itemVersion is a content that an item has had, without what it shows.
type itemVersion struct {
	ID               int64
	Number           int32 // among those of the item, from 1
	AuthorID         string
	CreatedAt        time.Time
	Title            string
	Hash             *string
	Publications     []int32
	PublicationCount int32
	InDraft          bool
}

func (v itemVersion) message(itemID string) *coursespb.ItemVersion {
	out := &coursespb.ItemVersion{
		Number: v.Number, ItemId: itemID, AuthorId: v.AuthorID, CreatedAt: timestamppb.New(v.CreatedAt), Title: v.Title,
		Publications: v.Publications, PublicationCount: v.PublicationCount, InDraft: v.InDraft,
	}
	if v.Hash != nil {
		out.Hash = strings.TrimPrefix(*v.Hash, `\x`) // as JSON has bytes
	}
	return out
}

// itemVersions selects contents of the item $1, of those before the number $2 the
// newest $3. Rows never go, so that counting them numbers them. The hash is told
// where there is one.
const itemVersions = `
	SELECT v.id, n.number::int, v.author_id, v.created_at, v.title, to_jsonb(h)->>'hash' AS hash,
		ARRAY(SELECT number FROM publication_item WHERE version_id = v.id ORDER BY number DESC LIMIT 20) AS publications,
		(SELECT count(*)::int FROM publication_item WHERE version_id = v.id) AS publication_count,
		EXISTS (SELECT FROM item i WHERE i.id = v.item_id AND i.version_id = v.id) AS in_draft
	FROM (SELECT id, row_number() OVER (ORDER BY id) AS number FROM item_version WHERE item_id = $1) n
	JOIN item_version v ON v.id = n.id
	CROSS JOIN LATERAL (SELECT v.*) h
	WHERE n.number < $2 ORDER BY n.number DESC LIMIT $3`

// listItemVersions returns a page of the contents of an item, the newest first,
// and the cursor of the next.
func (s *Service) listItemVersions(ctx context.Context, courseID, itemID string, size int, cursor string) ([]itemVersion, string, error) {
	before := int64(math.MaxInt32)
	values, err := page.Values(cursor, 1)
	if err != nil {
		return nil, "", err
	}
	if values != nil {
		if before, err = strconv.ParseInt(values[0], 10, 32); err != nil {
			return nil, "", page.ErrCursor
		}
	}
	if _, err := kindOf(ctx, s.db, courseID, itemID); err != nil {
		return nil, "", err
	}
	rows, err := s.db.Query(ctx, itemVersions, itemID, before, size+1)
	if err != nil {
		return nil, "", err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[itemVersion])
	if err != nil || len(found) <= size {
		return found, "", err
	}
	return found[:size], page.Cursor(fmt.Sprint(found[size-1].Number)), nil
}

// kindOf returns the kind of an item that the draft of a course has or had.
func kindOf(ctx context.Context, db pg.Querier, courseID, itemID string) (kind string, err error) {
	err = db.QueryRow(ctx, `SELECT kind FROM item_revision WHERE item_id = $1 AND course_id = $2 LIMIT 1`, itemID, courseID).Scan(&kind)
	if pg.NoRows(err) {
		err = ErrItemNotFound
	}
	return kind, err
}

// readItemVersion returns a content of an item by its number.
func readItemVersion(ctx context.Context, db pg.Querier, itemID string, number int64) (itemVersion, error) {
	rows, err := db.Query(ctx, itemVersions, itemID, number+1, 1)
	if err != nil {
		return itemVersion{}, err
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[itemVersion])
	if pg.NoRows(err) || err == nil && int64(v.Number) != number {
		return itemVersion{}, ErrItemVersionNotFound
	}
	return v, err
}

// versionRef names a content of an item: by its id, or by its number, or that of
// the draft.
type versionRef struct {
	versionID int64
	number    int64
}

// refOf reads a number or "draft", which it is when empty.
func refOf(text string) versionRef {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return versionRef{} // the contract lets nothing else through than "draft"
	}
	return versionRef{number: n}
}

// find returns the id of the content of an item that is named.
func (r versionRef) find(ctx context.Context, db pg.Querier, itemID string) (int64, error) {
	switch {
	case r.versionID != 0:
		return r.versionID, nil
	case r.number != 0:
		v, err := readItemVersion(ctx, db, itemID, r.number)
		return v.ID, err
	}
	var versionID int64
	err := db.QueryRow(ctx, `SELECT version_id FROM item WHERE id = $1`, itemID).Scan(&versionID)
	if pg.NoRows(err) {
		return 0, ErrItemNotFound
	}
	return versionID, err
}

// itemContent returns a content of an item of a course, without what is made for
// its readers.
func itemContent(ctx context.Context, db pg.Querier, courseID, itemID string, ref versionRef) (*coursespb.ItemContent, error) {
	kind, err := kindOf(ctx, db, courseID, itemID)
	if err != nil {
		return nil, err
	}
	versionID, err := ref.find(ctx, db, itemID)
	if err != nil {
		return nil, err
	}
	var number int64
	if err := db.QueryRow(ctx, `SELECT count(*) FROM item_version WHERE item_id = $1 AND id <= $2`, itemID, versionID).Scan(&number); err != nil {
		return nil, err
	}
	v, err := readItemVersion(ctx, db, itemID, number)
	if err != nil {
		return nil, err
	}
	c, err := readVersion(ctx, db, versionID)
	if err != nil {
		return nil, err
	}
	// Where it is: in the draft now, or where it was last.
	it := item{ID: itemID, Kind: kind}
	if err := db.QueryRow(ctx, `
		SELECT coalesce(i.parent_id, r.parent_id), coalesce(i.revision, 0) FROM item_revision r LEFT JOIN item i ON i.id = r.item_id
		WHERE r.item_id = $1 ORDER BY r.revision DESC LIMIT 1`, itemID).Scan(&it.ParentID, &it.Revision); err != nil {
		return nil, err
	}
	place, err := placeOf(ctx, db, courseID, itemID)
	if err != nil && !pg.NoRows(err) {
		return nil, err
	}
	out := &coursespb.ItemContent{Version: v.message(itemID)}
	if !v.InDraft {
		it.Revision = 0 // an ETag is of what the draft has
	}
	switch kind {
	case "module":
		out.Module = protoModule(courseID, it, c, place)
		if it.Revision == 0 {
			out.Module.Etag = ""
		}
	case "lesson":
		out.Lesson, err = protoLesson(courseID, lesson{
			content: c, ID: itemID, ModuleID: it.ParentID, Place: place, Revision: it.Revision, UpdatedAt: v.CreatedAt, Number: int32(number), //nolint:gosec // a count
		})
	default:
		out.Activity, err = protoActivity(courseID, activity{
			content: c, ID: itemID, Kind: kind, ModuleID: it.ParentID, Place: place, Revision: it.Revision, UpdatedAt: v.CreatedAt, Number: int32(number), //nolint:gosec // a count
		})
		if it.Revision == 0 {
			out.Activity.Etag = ""
		}
	}
	return out, err
}

// completed adds what is made for readers.
func (s *Service) completed(ctx context.Context, c *coursespb.ItemContent) (*coursespb.ItemContent, error) {
	if c.GetLesson() == nil {
		return c, nil
	}
	var err error
	c.Lesson, err = s.complete(ctx, c.GetLesson(), s.renderProto(c.GetLesson()), 0, false)
	return c, err
}

// getPublication returns a published version as a whole.
func (s *Service) getPublication(ctx context.Context, courseID string, number int32) (*coursespb.Publication, error) {
	rows, err := s.db.Query(ctx, `
		SELECT number, message, author_id, published_at, lesson_count, reverted_to FROM publication WHERE course_id = $1 AND number = $2`,
		courseID, number)
	if err != nil {
		return nil, err
	}
	p, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[publication])
	if pg.NoRows(err) {
		return nil, ErrVersionNotFound
	}
	if err != nil {
		return nil, err
	}
	c, err := readCourse(ctx, s.db, publishedOf, courseID, number, "")
	if err != nil {
		return nil, err
	}
	c.PublishedAt = &p.PublishedAt
	o, err := readOutline(ctx, s.db, publishedOutline, courseID, number, "")
	if err != nil {
		return nil, err
	}
	return &coursespb.Publication{Version: p.message(), Course: publishedCourse(c), Outline: protoOutline(courseID, o)}, nil
}
