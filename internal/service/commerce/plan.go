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

// The states of a plan.
const (
	planDraft     = "draft"
	planPublished = "published"
	planWithdrawn = "withdrawn"
)

// maxPlans of one teacher.
const maxPlans = 100

// The errors of plans.
var (
	ErrPlanNotFound = fault.New(fault.NotFound, "plan.not_found", "There is no such plan.")
	ErrManyPlans    = fault.New(fault.Conflict, "plan.too_many", "A teacher has at most %d plans. Change one that is not sold any more.", maxPlans)
)

// planServer is the contract of plans.
type planServer struct {
	commercepb.UnimplementedPlanServiceServer
	service *Service
}

// plan is courses of one teacher to which one subscribes.
type plan struct {
	ID          string
	OwnerID     string
	Title       string
	Description string
	Every       string // "month" or "year"
	CourseIDs   []string
	Currencies  []string
	Amounts     []int64
	State       string
	Revision    int64
	CreatedAt   time.Time
}

const planColumns = `id, owner_id, title, description, every, course_ids, currencies, amounts, state, revision, created_at`

// plans returns those of a condition.
func plans(ctx context.Context, q pg.Querier, where string, args ...any) ([]*plan, error) {
	rows, err := q.Query(ctx, `SELECT `+planColumns+` FROM plan WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[plan])
	if err != nil {
		return nil, fmt.Errorf("plans: %w", err)
	}
	return list, nil
}

// onePlan returns the plan of a condition.
func onePlan(ctx context.Context, q pg.Querier, where string, args ...any) (*plan, error) {
	list, err := plans(ctx, q, where, args...)
	if err == nil && len(list) == 0 {
		err = ErrPlanNotFound
	}
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// priceIn returns what a period costs in a currency; ok is false where it is not sold in
// it.
func (p *plan) priceIn(currency string) (amount int64, ok bool) {
	at := slices.Index(p.Currencies, currency)
	if at < 0 {
		return 0, false
	}
	return p.Amounts[at], true
}

// forSale reports whether somebody could subscribe: the plan is published, and all its
// courses are for sale and still its owner's.
func (p *plan) forSale(known map[string]*offer) bool {
	return p.State == planPublished && !slices.ContainsFunc(p.CourseIDs, func(c string) bool {
		o := known[c]
		return !o.forSale() || *o.SellerID != p.OwnerID || *o.Amount == 0
	})
}

// message is the plan as somebody sees it: who is not its owner learns nothing of courses
// that are not for sale.
func (p *plan) message(known map[string]*offer, viewer string) *commercepb.Plan {
	m := &commercepb.Plan{
		Id: p.ID, OwnerId: p.OwnerID, Title: p.Title, Description: p.Description, Interval: p.Every, Prices: prices(p.Currencies, p.Amounts), State: p.State,
		ForSale: p.forSale(known), CreatedAt: timestamppb.New(p.CreatedAt), Etag: strconv.FormatInt(p.Revision, 10),
	}
	for _, c := range p.CourseIDs {
		one := &commercepb.PlanCourse{CourseId: c}
		if o := known[c]; o.forSale() || o != nil && p.OwnerID == viewer {
			one.Title = o.Title
		}
		m.Courses = append(m.Courses, one)
	}
	return m
}

// entry is the plan as the audit log has it.
func (p *plan) entry() map[string]any {
	return map[string]any{
		"interval": p.Every, "course_ids": p.CourseIDs, "currencies": p.Currencies, "amounts": p.Amounts, "state": p.State, "version": p.Revision,
	}
}

// checkPlan refuses a plan that is not of its owner's courses, and one that is published
// and can't be sold so. Its courses' products are locked.
func checkPlan(p *plan, known map[string]*offer) error {
	for i, c := range p.CourseIDs {
		o := known[c]
		if o == nil || o.SellerID == nil || *o.SellerID != p.OwnerID {
			return wrong(itemPath("course_ids", i), "plan.courses", "A plan is of your own courses, which were published before.")
		}
		if p.State == planPublished && (!o.forSale() || *o.Amount == 0) {
			return wrong(itemPath("course_ids", i), "plan.courses", "This course is not for sale now.")
		}
	}
	if p.State != planPublished {
		return nil
	}
	for n, currency := range p.Currencies {
		for _, c := range p.CourseIDs {
			if _, _, ok := known[c].priceIn(currency); !ok { // by these what is paid is shared
				return wrong(itemPath("prices", n), "plan.price", "Not all its courses have a price in "+currency+".")
			}
		}
	}
	return nil
}

// CreatePlan implements the contract.
func (h *planServer) CreatePlan(ctx context.Context, req *commercepb.CreatePlanRequest) (*commercepb.Plan, error) {
	if err := eachOnce(req.GetPrices(), "prices"); err != nil {
		return nil, err
	}
	title, err := titled(req.GetTitle())
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.Plan, error) {
		p := &plan{
			ID: id.New("plan"), OwnerID: auth.From(ctx).Account, Title: title, Description: strings.TrimSpace(req.GetDescription()), Every: req.GetInterval(),
			CourseIDs: req.GetCourseIds(), State: planDraft, Revision: 1, CreatedAt: h.service.now(),
		}
		p.Currencies, p.Amounts = columns(req.GetPrices())
		known, err := h.courses(ctx, tx, p)
		if err != nil {
			return nil, err
		}
		if err := takeTurns(ctx, tx, p.OwnerID); err != nil { // so that each counts the others
			return nil, err
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO plan (id, owner_id, title, description, every, course_ids, currencies, amounts, state, created_at)
			SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 WHERE (SELECT count(*) FROM plan WHERE owner_id = $2) < $11`,
			p.ID, p.OwnerID, p.Title, p.Description, p.Every, p.CourseIDs, p.Currencies, p.Amounts, p.State, p.CreatedAt, maxPlans)
		if err != nil {
			return nil, err
		}
		if tag.RowsAffected() == 0 {
			return nil, ErrManyPlans
		}
		return p.message(known, p.OwnerID), audit.Record(ctx, tx, audit.Entry{Action: "plan.created", Object: p.ID, Person: p.OwnerID, After: p.entry()})
	})
}

// courses locks the courses of a plan, holds it to them and returns them.
func (h *planServer) courses(ctx context.Context, tx *pg.Tx, p *plan) (map[string]*offer, error) {
	if err := lockProducts(ctx, tx, p.CourseIDs, "FOR SHARE"); err != nil {
		return nil, err
	}
	known, err := offers(ctx, tx, p.CourseIDs, h.service.now())
	if err != nil {
		return nil, err
	}
	return known, checkPlan(p, known)
}

// same reports whether p is nothing new.
func (p *plan) same(other *plan) bool {
	return p.Title == other.Title && p.Description == other.Description && p.Every == other.Every && p.State == other.State &&
		slices.Equal(p.CourseIDs, other.CourseIDs) && slices.Equal(p.Currencies, other.Currencies) && slices.Equal(p.Amounts, other.Amounts)
}

// change does something to one of the caller's plans; do says what, as the audit log has
// it.
func (h *planServer) change(ctx context.Context, tx *pg.Tx, planID string, do func(p *plan) audit.Entry) (*commercepb.Plan, error) {
	p, err := onePlan(ctx, tx, `id = $1 AND owner_id = $2 FOR UPDATE`, planID, auth.From(ctx).Account)
	if err != nil {
		return nil, err
	}
	if err := rpc.Match(ctx, strconv.FormatInt(p.Revision, 10)); err != nil {
		return nil, err
	}
	was := *p
	entry := do(p)
	known, err := h.courses(ctx, tx, p)
	if entry.Action == "plan.withdrawn" && known != nil {
		err = nil // whatever became of its courses
	}
	if err != nil {
		return nil, err
	}
	if was.same(p) {
		tx.Exempt("it is so already")
		return p.message(known, p.OwnerID), nil
	}
	p.Revision++
	if _, err := tx.Exec(ctx, `
		UPDATE plan SET title = $2, description = $3, every = $4, course_ids = $5, currencies = $6, amounts = $7, state = $8, revision = $9 WHERE id = $1`,
		p.ID, p.Title, p.Description, p.Every, p.CourseIDs, p.Currencies, p.Amounts, p.State, p.Revision); err != nil {
		return nil, err
	}
	entry.Object, entry.Person, entry.Before, entry.After = p.ID, p.OwnerID, was.entry(), p.entry()
	return p.message(known, p.OwnerID), audit.Record(ctx, tx, entry)
}

// UpdatePlan implements the contract.
func (h *planServer) UpdatePlan(ctx context.Context, req *commercepb.UpdatePlanRequest) (*commercepb.Plan, error) {
	if err := eachOnce(req.GetPrices(), "prices"); err != nil {
		return nil, err
	}
	title, err := titled(req.GetTitle())
	if err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.Plan, error) {
		return h.change(ctx, tx, req.GetPlanId(), func(p *plan) audit.Entry {
			p.Title, p.Description, p.Every, p.CourseIDs = title, strings.TrimSpace(req.GetDescription()), req.GetInterval(), req.GetCourseIds()
			p.Currencies, p.Amounts = columns(req.GetPrices())
			return audit.Entry{Action: "plan.changed"}
		})
	})
}

// PublishPlan implements the contract.
func (h *planServer) PublishPlan(ctx context.Context, req *commercepb.PublishPlanRequest) (*commercepb.Plan, error) {
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.Plan, error) {
		return h.change(ctx, tx, req.GetPlanId(), func(p *plan) audit.Entry {
			p.State = planPublished
			return audit.Entry{Action: "plan.published"}
		})
	})
}

// WithdrawPlan implements the contract.
func (h *planServer) WithdrawPlan(ctx context.Context, req *commercepb.WithdrawPlanRequest) (*commercepb.Plan, error) {
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.Plan, error) {
		return h.change(ctx, tx, req.GetPlanId(), func(p *plan) audit.Entry {
			p.State = planWithdrawn
			return audit.Entry{Action: "plan.withdrawn"}
		})
	})
}

// GetPlan implements the contract.
func (h *planServer) GetPlan(ctx context.Context, req *commercepb.GetPlanRequest) (*commercepb.Plan, error) {
	p, err := onePlan(ctx, h.service.DB, `id = $1 AND (state = 'published' OR owner_id = $2
		OR EXISTS (SELECT FROM subscription s WHERE s.plan_id = plan.id AND s.buyer_id = $2 AND s.state <> 'ended'))`, req.GetPlanId(), auth.From(ctx).Account)
	if err != nil {
		return nil, err
	}
	out, err := h.messages(ctx, []*plan{p})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// messages returns plans with what is known of their courses.
func (h *planServer) messages(ctx context.Context, list []*plan) ([]*commercepb.Plan, error) {
	var courses []string
	for _, p := range list {
		courses = append(courses, p.CourseIDs...)
	}
	known, err := offers(ctx, h.service.DB, courses, h.service.now())
	if err != nil {
		return nil, err
	}
	var out []*commercepb.Plan
	for _, p := range list {
		out = append(out, p.message(known, auth.From(ctx).Account))
	}
	return out, nil
}

// list returns a page of the plans of a condition, those made last first. Its arguments
// begin at $4.
func (h *planServer) list(ctx context.Context, pageSize int32, cursor, where string, args ...any) (*commercepb.ListPlansResponse, error) {
	before, last, err := page.After(cursor)
	if err != nil {
		return nil, err
	}
	size := page.Size(pageSize)
	list, err := plans(ctx, h.service.DB, where+` AND (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3`,
		append([]any{before, last, size + 1}, args...)...)
	if err != nil {
		return nil, err
	}
	res := &commercepb.ListPlansResponse{}
	if len(list) > size {
		list = list[:size]
		res.NextCursor = page.TimeCursor(list[size-1].CreatedAt, list[size-1].ID)
	}
	res.Items, err = h.messages(ctx, list)
	return res, err
}

// ListCoursePlans implements the contract.
func (h *planServer) ListCoursePlans(ctx context.Context, req *commercepb.ListCoursePlansRequest) (*commercepb.ListPlansResponse, error) {
	return h.list(ctx, req.GetPageSize(), req.GetCursor(), `state = 'published' AND course_ids @> $4 AND NOT EXISTS (
		SELECT FROM unnest(course_ids) AS c (course_id) LEFT JOIN product p ON p.course_id = c.course_id
		WHERE NOT coalesce(p.on_sale AND p.amount > 0 AND p.seller_id = owner_id, false))`, []string{req.GetCourseId()})
}

// ListMyPlans implements the contract.
func (h *planServer) ListMyPlans(ctx context.Context, req *commercepb.ListMyPlansRequest) (*commercepb.ListPlansResponse, error) {
	return h.list(ctx, req.GetPageSize(), req.GetCursor(), `owner_id = $4`, auth.From(ctx).Account)
}
