package commerce

import (
	"context"
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
	collection
	Every string // "month" or "year"
}

const planColumns = collectionColumns + `, every`

// plans returns those of a condition.
func plans(ctx context.Context, q pg.Querier, where string, args ...any) ([]*plan, error) {
	return collections[plan](ctx, q, "plan", planColumns, where, args...)
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

// message is the plan as somebody sees it: who is not its owner learns nothing of courses
// that are not for sale.
func (p *plan) message(known map[string]*offer, viewer string) *commercepb.Plan {
	m := &commercepb.Plan{
		Id: p.ID, OwnerId: p.OwnerID, Title: p.Title, Description: p.Description, Interval: p.Every, Prices: prices(p.Currencies, p.Amounts), State: p.State,
		ForSale: p.forSale(known), CreatedAt: timestamppb.New(p.CreatedAt), Etag: p.etag(),
	}
	for _, c := range p.CourseIDs {
		m.Courses = append(m.Courses, &commercepb.PlanCourse{CourseId: c, Title: p.titleOf(c, known, viewer)})
	}
	return m
}

// entry is the plan as the audit log has it.
func (p *plan) entry() map[string]any {
	out := p.collection.entry()
	out["interval"] = p.Every
	return out
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
		p := &plan{Every: req.GetInterval(), collection: collection{
			ID: id.New("plan"), OwnerID: auth.From(ctx).Account, Title: title, Description: strings.TrimSpace(req.GetDescription()),
			CourseIDs: req.GetCourseIds(), State: collectionDraft, Revision: 1, CreatedAt: h.service.now(),
		}}
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
	known, err := h.service.lockCourses(ctx, tx, &p.collection)
	if err != nil {
		return nil, err
	}
	return known, p.check("plan", known)
}

// same reports whether p is nothing new.
func (p *plan) same(other *plan) bool {
	return p.Every == other.Every && p.collection.same(&other.collection)
}

// change does something to one of the caller's plans; do says what, as the audit log has
// it.
func (h *planServer) change(ctx context.Context, tx *pg.Tx, planID string, do func(p *plan) audit.Entry) (*commercepb.Plan, error) {
	p, err := onePlan(ctx, tx, `id = $1 AND owner_id = $2 FOR UPDATE`, planID, auth.From(ctx).Account)
	if err != nil {
		return nil, err
	}
	if err := rpc.Match(ctx, p.etag()); err != nil {
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
			p.State = collectionPublished
			return audit.Entry{Action: "plan.published"}
		})
	})
}

// WithdrawPlan implements the contract.
func (h *planServer) WithdrawPlan(ctx context.Context, req *commercepb.WithdrawPlanRequest) (*commercepb.Plan, error) {
	return idempotency.Do(ctx, h.service.DB, req, func(tx *pg.Tx) (*commercepb.Plan, error) {
		return h.change(ctx, tx, req.GetPlanId(), func(p *plan) audit.Entry {
			p.State = collectionWithdrawn
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
	out, err := messages(ctx, h.service, []*plan{p})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// ListCoursePlans implements the contract.
func (h *planServer) ListCoursePlans(ctx context.Context, req *commercepb.ListCoursePlansRequest) (*commercepb.ListPlansResponse, error) {
	items, next, err := pageOf(ctx, h.service, plans, req.GetPageSize(), req.GetCursor(), allForSale+` AND course_ids @> $4`, []string{req.GetCourseId()})
	return &commercepb.ListPlansResponse{Items: items, NextCursor: next}, err
}

// ListMyPlans implements the contract.
func (h *planServer) ListMyPlans(ctx context.Context, req *commercepb.ListMyPlansRequest) (*commercepb.ListPlansResponse, error) {
	items, next, err := pageOf(ctx, h.service, plans, req.GetPageSize(), req.GetCursor(), `owner_id = $4`, auth.From(ctx).Account)
	return &commercepb.ListPlansResponse{Items: items, NextCursor: next}, err
}
