package demo

import (
	"context"
	"fmt"

	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// The one plan of the school: a course by the month.
const (
	planFolder = "statistics"
	planTitle  = "Statistics, month by month"
)

// offerPlan puts the plan up for subscription, in the name of whose course it is.
func (s *school) offerPlan(ctx context.Context, courses []course) error {
	for _, c := range courses {
		if c.folder != planFolder {
			continue
		}
		teacher, ok := byEmail(c.Teacher)
		if !ok {
			return fmt.Errorf("nobody has the address %q", c.Teacher)
		}
		ctx, err := s.as(ctx, teacher)
		if err != nil {
			return err
		}
		there, err := s.plans.ListMyPlans(ctx, &commercepb.ListMyPlansRequest{PageSize: 100})
		if err != nil {
			return fmt.Errorf("plans: %w", err)
		}
		var made *commercepb.Plan
		for _, p := range there.GetItems() {
			if p.GetTitle() == planTitle {
				made = p
			}
		}
		if made == nil {
			if err := eventually(ctx, "a plan", func(ctx context.Context) (err error) {
				made, err = s.plans.CreatePlan(rpc.WithIdempotencyKey(ctx, "demo-plan"), &commercepb.CreatePlanRequest{
					Title: planTitle, Description: "Learn at your own pace, and stop whenever you like.", Interval: "month",
					CourseIds: []string{s.made[c.folder]}, Prices: []*moneypb.Money{{Amount: 900, Currency: c.Price.Currency}},
				})
				return err
			}, "plan.courses"); err != nil {
				return err
			}
		}
		if made.GetState() == "draft" {
			if _, err := s.plans.PublishPlan(rpc.WithIdempotencyKey(ctx, "demo-plan-publish"), &commercepb.PublishPlanRequest{PlanId: made.GetId()}); err != nil {
				return fmt.Errorf("publish the plan: %w", err)
			}
		}
	}
	return nil
}
