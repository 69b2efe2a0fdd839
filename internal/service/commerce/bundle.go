package commerce

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// The states of a bundle.
const (
	bundleDraft     = "draft"
	bundlePublished = "published"
	bundleWithdrawn = "withdrawn"
)

// maxBundles of one teacher.
const maxBundles = 500

// The errors of bundles.
var (
	ErrBundleNotFound = fault.New(fault.NotFound, "bundle.not_found", "There is no such bundle.")
	ErrManyBundles    = fault.New(fault.Conflict, "bundle.too_many", "A teacher has at most %d bundles. Change one that is not sold any more.", maxBundles)
)

// bundleServer is the contract of bundles.
type bundleServer struct {
	commercepb.UnimplementedBundleServiceServer
	service *Service
}

// bundle is courses of one teacher that are sold together.
type bundle struct {
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

const bundleColumns = `id, owner_id, title, description, course_ids, currencies, amounts, state, revision, created_at`

// bundles returns those of a condition.
func bundles(ctx context.Context, q pg.Querier, where string, args ...any) ([]*bundle, error) {
	rows, err := q.Query(ctx, `SELECT `+bundleColumns+` FROM bundle WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[bundle])
	if err != nil {
		return nil, fmt.Errorf("bundles: %w", err)
	}
	return list, nil
}

// bundlesByID returns those of the bundles that there are.
func bundlesByID(ctx context.Context, q pg.Querier, ids []string, lock string) (map[string]*bundle, error) {
	out := map[string]*bundle{}
	if len(ids) == 0 {
		return out, nil
	}
	list, err := bundles(ctx, q, `id = ANY ($1) ORDER BY id `+lock, ids)
	for _, b := range list {
		out[b.ID] = b
	}
	return out, err
}

// priceIn returns what the bundle costs in a currency; ok is false where it is not sold
// in it.
func (b *bundle) priceIn(currency string) (amount int64, ok bool) {
	at := slices.Index(b.Currencies, currency)
	if at < 0 {
		return 0, false
	}
	return b.Amounts[at], true
}

// forSale reports whether somebody could buy the bundle: it is published, and all its
// courses are for sale and still its owner's.
func (b *bundle) forSale(known map[string]*offer) bool {
	return b != nil && b.State == bundlePublished && !slices.ContainsFunc(b.CourseIDs, func(c string) bool {
		o := known[c]
		return !o.forSale() || *o.SellerID != b.OwnerID || *o.Amount == 0
	})
}

// message is the bundle as somebody sees it: who is not its owner learns nothing of
// courses that are not for sale.
func (b *bundle) message(known map[string]*offer, viewer string) *commercepb.Bundle {
	m := &commercepb.Bundle{
		Id: b.ID, OwnerId: b.OwnerID, Title: b.Title, Description: b.Description, Prices: prices(b.Currencies, b.Amounts), State: b.State,
		ForSale: b.forSale(known), CreatedAt: timestamppb.New(b.CreatedAt), Etag: strconv.FormatInt(b.Revision, 10),
	}
	for _, c := range b.CourseIDs {
		one := &commercepb.BundleCourse{CourseId: c}
		if o := known[c]; o.forSale() || o != nil && b.OwnerID == viewer {
			one.Title = o.Title
		}
		m.Courses = append(m.Courses, one)
	}
	return m
}

// entry is the bundle as the audit log has it.
func (b *bundle) entry() map[string]any {
	return map[string]any{"course_ids": b.CourseIDs, "currencies": b.Currencies, "amounts": b.Amounts, "state": b.State, "version": b.Revision}
}

// checkBundle refuses a bundle that is not of its owner's courses, and one that is
// published and can't be sold so. Its courses' products are locked.
func checkBundle(b *bundle, known map[string]*offer) error {
	for i, c := range b.CourseIDs {
		o := known[c]
		if o == nil || o.SellerID == nil || *o.SellerID != b.OwnerID {
			return wrong(itemPath("course_ids", i), "bundle.courses", "A bundle is of your own courses, which were published before.")
		}
		if b.State == bundlePublished && (!o.forSale() || *o.Amount == 0) {
			return wrong(itemPath("course_ids", i), "bundle.courses", "This course is not for sale now.")
		}
	}
	if b.State != bundlePublished {
		return nil
	}
	for n, currency := range b.Currencies {
		sum := int64(0)
		for _, c := range b.CourseIDs {
			list, _, ok := known[c].priceIn(currency)
			if !ok {
				return wrong(itemPath("prices", n), "bundle.price", "Not all its courses have a price in "+currency+".")
			}
			sum += list
		}
		if b.Amounts[n] > sum {
			return wrong(itemPath("prices", n), "bundle.price", "A bundle costs no more than its courses one by one.")
		}
	}
	return nil
}

// CreateBundle implements the contract.
func (h *bundleServer) CreateBundle(ctx context.Context, req *commercepb.CreateBundleRequest) (*commercepb.Bundle, error) {
	if err := eachOnce(req.GetPrices(), "prices"); err != nil {
		return nil, err
	}
	title, err := titled(req.GetTitle())
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.Bundle, error) {
		b := &bundle{
			ID: id.New("bundle"), OwnerID: auth.From(ctx).Account, Title: title, Description: strings.TrimSpace(req.GetDescription()),
			CourseIDs: req.GetCourseIds(), State: bundleDraft, Revision: 1, CreatedAt: h.service.now(),
		}
		b.Currencies, b.Amounts = columns(req.GetPrices())
		known, err := h.courses(ctx, tx, b)
		if err != nil {
			return nil, err
		}
		if err := takeTurns(ctx, tx, b.OwnerID); err != nil { // so that each counts the others
			return nil, err
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO bundle (id, owner_id, title, description, course_ids, currencies, amounts, state, created_at)
			SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 WHERE (SELECT count(*) FROM bundle WHERE owner_id = $2) < $10`,
			b.ID, b.OwnerID, b.Title, b.Description, b.CourseIDs, b.Currencies, b.Amounts, b.State, b.CreatedAt, maxBundles)
		if err != nil {
			return nil, err
		}
		if tag.RowsAffected() == 0 {
			return nil, ErrManyBundles
		}
		return b.message(known, b.OwnerID), audit.Record(ctx, tx, audit.Entry{Action: "bundle.created", Object: b.ID, Person: b.OwnerID, After: b.entry()})
	})
}

// titled refuses a title of nothing but space.
func titled(title string) (string, error) {
	if title = strings.TrimSpace(title); title == "" {
		return "", fault.InvalidField("title", "string.min_len", "Write at least one character that can be seen.")
	}
	return title, nil
}

// courses locks the courses of a bundle, holds it to them and returns them.
func (h *bundleServer) courses(ctx context.Context, tx *pg.Tx, b *bundle) (map[string]*offer, error) {
	if err := lockProducts(ctx, tx, b.CourseIDs, "FOR SHARE"); err != nil {
		return nil, err
	}
	known, err := offers(ctx, tx, b.CourseIDs, h.service.now())
	if err != nil {
		return nil, err
	}
	return known, checkBundle(b, known)
}

// same reports whether b is nothing new.
func (b *bundle) same(other *bundle) bool {
	return b.Title == other.Title && b.Description == other.Description && b.State == other.State &&
		slices.Equal(b.CourseIDs, other.CourseIDs) && slices.Equal(b.Currencies, other.Currencies) && slices.Equal(b.Amounts, other.Amounts)
}

// change does something to one of the caller's bundles; do says what, as the audit log
// has it.
func (h *bundleServer) change(ctx context.Context, tx *pg.Tx, bundleID string, do func(b *bundle) audit.Entry) (*commercepb.Bundle, error) {
	me := auth.From(ctx).Account
	list, err := bundles(ctx, tx, `id = $1 AND owner_id = $2 FOR UPDATE`, bundleID, me)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrBundleNotFound
	}
	b := list[0]
	if err := rpc.Match(ctx, strconv.FormatInt(b.Revision, 10)); err != nil {
		return nil, err
	}
	was := *b
	entry := do(b)
	known, err := h.courses(ctx, tx, b)
	if entry.Action == "bundle.withdrawn" && known != nil {
		err = nil // whatever became of its courses
	}
	if err != nil {
		return nil, err
	}
	if was.same(b) {
		tx.Exempt("it is so already")
		return b.message(known, b.OwnerID), nil
	}
	b.Revision++
	if _, err := tx.Exec(ctx, `
		UPDATE bundle SET title = $2, description = $3, course_ids = $4, currencies = $5, amounts = $6, state = $7, revision = $8 WHERE id = $1`,
		b.ID, b.Title, b.Description, b.CourseIDs, b.Currencies, b.Amounts, b.State, b.Revision); err != nil {
		return nil, err
	}
	entry.Object, entry.Person, entry.Before, entry.After = b.ID, b.OwnerID, was.entry(), b.entry()
	return b.message(known, b.OwnerID), audit.Record(ctx, tx, entry)
}

// UpdateBundle implements the contract.
func (h *bundleServer) UpdateBundle(ctx context.Context, req *commercepb.UpdateBundleRequest) (*commercepb.Bundle, error) {
	if err := eachOnce(req.GetPrices(), "prices"); err != nil {
		return nil, err
	}
	title, err := titled(req.GetTitle())
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.Bundle, error) {
		return h.change(ctx, tx, req.GetBundleId(), func(b *bundle) audit.Entry {
			b.Title, b.Description, b.CourseIDs = title, strings.TrimSpace(req.GetDescription()), req.GetCourseIds()
			b.Currencies, b.Amounts = columns(req.GetPrices())
			return audit.Entry{Action: "bundle.changed"}
		})
	})
}

// PublishBundle implements the contract.
func (h *bundleServer) PublishBundle(ctx context.Context, req *commercepb.PublishBundleRequest) (*commercepb.Bundle, error) {
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.Bundle, error) {
		return h.change(ctx, tx, req.GetBundleId(), func(b *bundle) audit.Entry {
			b.State = bundlePublished
			return audit.Entry{Action: "bundle.published"}
		})
	})
}

// WithdrawBundle implements the contract.
func (h *bundleServer) WithdrawBundle(ctx context.Context, req *commercepb.WithdrawBundleRequest) (*commercepb.Bundle, error) {
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.Bundle, error) {
		return h.change(ctx, tx, req.GetBundleId(), func(b *bundle) audit.Entry {
			b.State = bundleWithdrawn
			return audit.Entry{Action: "bundle.withdrawn"}
		})
	})
}

// GetBundle implements the contract.
func (h *bundleServer) GetBundle(ctx context.Context, req *commercepb.GetBundleRequest) (*commercepb.Bundle, error) {
	list, err := bundles(ctx, h.service.DB, `id = $1 AND (state = 'published' OR owner_id = $2)`, req.GetBundleId(), auth.From(ctx).Account)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrBundleNotFound
	}
	out, err := h.messages(ctx, list)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// messages returns bundles with what is known of their courses.
func (h *bundleServer) messages(ctx context.Context, list []*bundle) ([]*commercepb.Bundle, error) {
	var courses []string
	for _, b := range list {
		courses = append(courses, b.CourseIDs...)
	}
	known, err := offers(ctx, h.service.DB, courses, h.service.now())
	if err != nil {
		return nil, err
	}
	var out []*commercepb.Bundle
	for _, b := range list {
		out = append(out, b.message(known, auth.From(ctx).Account))
	}
	return out, nil
}

// list returns a page of the bundles of a condition, those made last first, and the
// cursor of the next. Its arguments begin at $4.
func (h *bundleServer) list(ctx context.Context, pageSize int32, cursor, where string, args ...any) ([]*commercepb.Bundle, string, error) {
	before, last, err := page.After(cursor)
	if err != nil {
		return nil, "", err
	}
	size := page.Size(pageSize)
	list, err := bundles(ctx, h.service.DB, where+` AND (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3`,
		append([]any{before, last, size + 1}, args...)...)
	if err != nil {
		return nil, "", err
	}
	next := ""
	if len(list) > size {
		list = list[:size]
		next = page.TimeCursor(list[size-1].CreatedAt, list[size-1].ID)
	}
	out, err := h.messages(ctx, list)
	return out, next, err
}

// ListBundles implements the contract.
func (h *bundleServer) ListBundles(ctx context.Context, req *commercepb.ListBundlesRequest) (*commercepb.ListBundlesResponse, error) {
	where, args := `state = 'published' AND NOT EXISTS (
		SELECT FROM unnest(course_ids) AS c (course_id) LEFT JOIN product p ON p.course_id = c.course_id
		WHERE NOT coalesce(p.on_sale AND p.amount > 0 AND p.seller_id = owner_id, false))`, []any{}
	if owner := req.GetOwnerId(); owner != "" {
		args = append(args, owner)
		where += fmt.Sprintf(` AND owner_id = $%d`, 3+len(args))
	}
	if course := req.GetCourseId(); course != "" {
		args = append(args, []string{course})
		where += fmt.Sprintf(` AND course_ids @> $%d`, 3+len(args))
	}
	items, next, err := h.list(ctx, req.GetPageSize(), req.GetCursor(), where, args...)
	return &commercepb.ListBundlesResponse{Items: items, NextCursor: next}, err
}

// ListMyBundles implements the contract.
func (h *bundleServer) ListMyBundles(ctx context.Context, req *commercepb.ListMyBundlesRequest) (*commercepb.ListMyBundlesResponse, error) {
	items, next, err := h.list(ctx, req.GetPageSize(), req.GetCursor(), `owner_id = $4`, auth.From(ctx).Account)
	return &commercepb.ListMyBundlesResponse{Items: items, NextCursor: next}, err
}
