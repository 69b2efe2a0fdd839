package commerce

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
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
	collection
}

// bundles returns those of a condition.
func bundles(ctx context.Context, q pg.Querier, where string, args ...any) ([]*bundle, error) {
	return collections[bundle](ctx, q, "bundle", collectionColumns, where, args...)
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

// forSale reports whether somebody could buy the bundle, which may not be there.
func (b *bundle) forSale(known map[string]*offer) bool {
	return b != nil && b.collection.forSale(known)
}

// message is the bundle as somebody sees it: who is not its owner learns nothing of
// courses that are not for sale.
func (b *bundle) message(known map[string]*offer, viewer string) *commercepb.Bundle {
	m := &commercepb.Bundle{
		Id: b.ID, OwnerId: b.OwnerID, Title: b.Title, Description: b.Description, Prices: prices(b.Currencies, b.Amounts), State: b.State,
		ForSale: b.forSale(known), CreatedAt: timestamppb.New(b.CreatedAt), Etag: b.etag(),
	}
	for _, c := range b.CourseIDs {
		m.Courses = append(m.Courses, &commercepb.BundleCourse{CourseId: c, Title: b.titleOf(c, known, viewer)})
	}
	return m
}

// check refuses a bundle that can't be so; see that of collections.
func (b *bundle) check(known map[string]*offer) error {
	if err := b.collection.check("bundle", known); err != nil || b.State != collectionPublished {
		return err
	}
	for n, currency := range b.Currencies {
		sum := int64(0)
		for _, c := range b.CourseIDs {
			list, _, _ := known[c].priceIn(currency)
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
		b := &bundle{collection{
			ID: id.New("bundle"), OwnerID: auth.From(ctx).Account, Title: title, Description: strings.TrimSpace(req.GetDescription()),
			CourseIDs: req.GetCourseIds(), State: collectionDraft, Revision: 1, CreatedAt: h.service.now(),
		}}
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
	known, err := h.service.lockCourses(ctx, tx, &b.collection)
	if err != nil {
		return nil, err
	}
	return known, b.check(known)
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
	if err := rpc.Match(ctx, b.etag()); err != nil {
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
	if was.same(&b.collection) {
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
			b.State = collectionPublished
			return audit.Entry{Action: "bundle.published"}
		})
	})
}

// WithdrawBundle implements the contract.
func (h *bundleServer) WithdrawBundle(ctx context.Context, req *commercepb.WithdrawBundleRequest) (*commercepb.Bundle, error) {
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.Bundle, error) {
		return h.change(ctx, tx, req.GetBundleId(), func(b *bundle) audit.Entry {
			b.State = collectionWithdrawn
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
	out, err := messages(ctx, h.service, list)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// ListBundles implements the contract.
func (h *bundleServer) ListBundles(ctx context.Context, req *commercepb.ListBundlesRequest) (*commercepb.ListBundlesResponse, error) {
	where, args := allForSale, []any{}
	if owner := req.GetOwnerId(); owner != "" {
		args = append(args, owner)
		where += fmt.Sprintf(` AND owner_id = $%d`, 3+len(args))
	}
	if course := req.GetCourseId(); course != "" {
		args = append(args, []string{course})
		where += fmt.Sprintf(` AND course_ids @> $%d`, 3+len(args))
	}
	items, next, err := pageOf(ctx, h.service, bundles, req.GetPageSize(), req.GetCursor(), where, args...)
	return &commercepb.ListBundlesResponse{Items: items, NextCursor: next}, err
}

// ListMyBundles implements the contract.
func (h *bundleServer) ListMyBundles(ctx context.Context, req *commercepb.ListMyBundlesRequest) (*commercepb.ListMyBundlesResponse, error) {
	items, next, err := pageOf(ctx, h.service, bundles, req.GetPageSize(), req.GetCursor(), `owner_id = $4`, auth.From(ctx).Account)
	return &commercepb.ListMyBundlesResponse{Items: items, NextCursor: next}, err
}
