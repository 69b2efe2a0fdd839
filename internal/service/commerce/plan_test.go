package commerce_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// plan puts courses up for subscription, for so many cents a month.
func (s *shop) plan(owner string, amount int64, courses ...string) *commercepb.Plan {
	s.Helper()
	p, err := s.plans.CreatePlan(s.as(owner), &commercepb.CreatePlanRequest{Title: "All of it", Interval: "month", CourseIds: courses, Prices: []*moneypb.Money{eur(amount)}})
	if err != nil {
		s.Fatal(err)
	}
	if p, err = s.plans.PublishPlan(s.as(owner), &commercepb.PublishPlanRequest{PlanId: p.GetId()}); err != nil {
		s.Fatal(err)
	}
	return p
}

func TestPlan(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	owner, other := id.New("account"), id.New("account")
	one, two := s.course(owner, 4900, "EUR"), s.course(owner, 1000, "EUR")
	p, err := s.plans.CreatePlan(s.as(owner), &commercepb.CreatePlanRequest{
		Title: " All of it ", Description: "Both.", Interval: "month", CourseIds: []string{one, two}, Prices: []*moneypb.Money{eur(900)},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &commercepb.Plan{
		OwnerId: owner, Title: "All of it", Description: "Both.", Interval: "month", Prices: []*moneypb.Money{eur(900)}, State: "draft", Etag: "1",
		Courses: []*commercepb.PlanCourse{{CourseId: one, Title: p.GetCourses()[0].GetTitle()}, {CourseId: two, Title: p.GetCourses()[1].GetTitle()}},
	}
	if diff := cmp.Diff(want, p, protocmp.Transform(), protocmp.IgnoreFields(&commercepb.Plan{}, "id", "created_at")); diff != "" {
		t.Error(diff)
	}
	get := func(who string) (*commercepb.Plan, error) {
		return s.plans.GetPlan(s.as(who), &commercepb.GetPlanRequest{PlanId: p.GetId()})
	}
	_, err = get(other)
	wantCode(t, err, "plan.not_found")
	if _, err := get(owner); err != nil {
		t.Error(err)
	}
	for range 2 { // again changes nothing
		if p, err = s.plans.PublishPlan(s.as(owner), &commercepb.PublishPlanRequest{PlanId: p.GetId()}); err != nil || !p.GetForSale() || p.GetEtag() != "2" {
			t.Fatalf("published %v, %v", p, err)
		}
	}
	if p, err = get(other); err != nil || !p.GetForSale() {
		t.Fatalf("%v, %v", p, err)
	}
	update := &commercepb.UpdatePlanRequest{PlanId: p.GetId(), Title: "One", Interval: "year", CourseIds: []string{one}, Prices: []*moneypb.Money{eur(9000)}}
	_, err = s.plans.UpdatePlan(rpc.WithIfMatch(s.as(owner), `"1"`), update)
	wantCode(t, err, "etag.stale")
	if p, err = s.plans.UpdatePlan(rpc.WithIfMatch(s.as(owner), `"2"`), update); err != nil || p.GetInterval() != "year" || p.GetEtag() != "3" {
		t.Fatalf("updated %v, %v", p, err)
	}
	list, err := s.plans.ListCoursePlans(s.as(other), &commercepb.ListCoursePlansRequest{CourseId: one})
	if err != nil || len(list.GetItems()) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	// While a course is not for sale the plan is none, and who is not its owner learns nothing of it.
	s.deliver(&coursespb.CourseUnpublished{CourseId: one, Sequence: 2})
	if p, err = get(other); err != nil || p.GetForSale() || p.GetCourses()[0].GetTitle() != "" {
		t.Errorf("%v, %v", p, err)
	}
	if list, err = s.plans.ListCoursePlans(s.as(other), &commercepb.ListCoursePlansRequest{CourseId: one}); err != nil || len(list.GetItems()) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if p, err = s.plans.WithdrawPlan(s.as(owner), &commercepb.WithdrawPlanRequest{PlanId: p.GetId()}); err != nil || p.GetState() != "withdrawn" {
		t.Fatalf("%v, %v", p, err)
	}
	_, err = get(other)
	wantCode(t, err, "plan.not_found")
	mine, err := s.plans.ListMyPlans(s.as(owner), &commercepb.ListMyPlansRequest{PageSize: 1})
	if err != nil || len(mine.GetItems()) != 1 || mine.GetNextCursor() != "" {
		t.Errorf("%v, %v", mine, err)
	}
	if mine, err = s.plans.ListMyPlans(s.as(other), &commercepb.ListMyPlansRequest{}); err != nil || len(mine.GetItems()) != 0 {
		t.Errorf("%v, %v", mine, err)
	}
	// Somebody else's doors are closed.
	_, err = s.plans.UpdatePlan(s.as(other), update)
	wantCode(t, err, "plan.not_found")
	_, err = s.plans.PublishPlan(s.as(other), &commercepb.PublishPlanRequest{PlanId: p.GetId()})
	wantCode(t, err, "plan.not_found")
	_, err = s.plans.WithdrawPlan(s.as(other), &commercepb.WithdrawPlanRequest{PlanId: p.GetId()})
	wantCode(t, err, "plan.not_found")
}

func TestPlanInputs(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	owner := id.New("account")
	course, free, theirs := s.course(owner, 4900, "EUR"), s.course(owner, 0, "EUR"), s.course(id.New("account"), 100, "EUR")
	many := make([]string, 21)
	for i := range many {
		many[i] = id.New("course")
	}
	request := func(change func(*commercepb.CreatePlanRequest)) *commercepb.CreatePlanRequest {
		r := &commercepb.CreatePlanRequest{Title: "Plan", Interval: "month", CourseIds: []string{course}, Prices: []*moneypb.Money{eur(900)}}
		change(r)
		return r
	}
	for name, tc := range map[string]struct {
		change      func(*commercepb.CreatePlanRequest)
		code, field string
	}{
		"no title":         {func(r *commercepb.CreatePlanRequest) { r.Title = "" }, "request.invalid", "title"},
		"blank title":      {func(r *commercepb.CreatePlanRequest) { r.Title = "  " }, "request.invalid", "title"},
		"week":             {func(r *commercepb.CreatePlanRequest) { r.Interval = "week" }, "request.invalid", "interval"},
		"no interval":      {func(r *commercepb.CreatePlanRequest) { r.Interval = "" }, "request.invalid", "interval"},
		"no course":        {func(r *commercepb.CreatePlanRequest) { r.CourseIds = nil }, "request.invalid", "course_ids"},
		"21 courses":       {func(r *commercepb.CreatePlanRequest) { r.CourseIds = many }, "request.invalid", "course_ids"},
		"a course twice":   {func(r *commercepb.CreatePlanRequest) { r.CourseIds = []string{course, course} }, "request.invalid", "course_ids"},
		"another's course": {func(r *commercepb.CreatePlanRequest) { r.CourseIds = []string{course, theirs} }, "plan.courses", "course_ids[1]"},
		"no price":         {func(r *commercepb.CreatePlanRequest) { r.Prices = nil }, "request.invalid", "prices"},
		"free":             {func(r *commercepb.CreatePlanRequest) { r.Prices = []*moneypb.Money{eur(0)} }, "price.free", "prices[0]"},
		"a cent":           {func(r *commercepb.CreatePlanRequest) { r.Prices = []*moneypb.Money{eur(1)} }, "price.range", "prices[0].amount"},
		"a million":        {func(r *commercepb.CreatePlanRequest) { r.Prices = []*moneypb.Money{eur(100_000_000)} }, "price.range", "prices[0].amount"},
		"no currency":      {func(r *commercepb.CreatePlanRequest) { r.Prices[0].Currency = "XXX" }, "price.currency", "prices[0].currency"},
		"a currency twice": {func(r *commercepb.CreatePlanRequest) { r.Prices = []*moneypb.Money{eur(900), eur(800)} }, "price.twice", "prices[1]"},
		"three decimals": {func(r *commercepb.CreatePlanRequest) {
			r.Prices = []*moneypb.Money{{Currency: "KWD", Amount: 5001}}
		}, "price.digits", "prices[0].amount"},
	} {
		_, err := s.plans.CreatePlan(s.as(owner), request(tc.change))
		f, ok := errors.AsType[*fault.Error](err)
		if !ok || f.Code != tc.code && tc.code != "request.invalid" || len(f.Fields) == 0 || f.Fields[0].Path != tc.field || f.Fields[0].Hint == "" {
			t.Errorf("%s: %v, want %s at %s", name, err, tc.code, tc.field)
		}
	}
	for name, tc := range map[string]struct {
		change func(*commercepb.CreatePlanRequest)
		code   string
	}{
		"a free course":       {func(r *commercepb.CreatePlanRequest) { r.CourseIds = []string{course, free} }, "plan.courses"},
		"no price of courses": {func(r *commercepb.CreatePlanRequest) { r.Prices = []*moneypb.Money{eur(900), usd(1000)} }, "plan.price"},
	} {
		p, err := s.plans.CreatePlan(s.as(owner), request(tc.change))
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.plans.PublishPlan(s.as(owner), &commercepb.PublishPlanRequest{PlanId: p.GetId()})
		if fault.CodeOf(err) != tc.code {
			t.Errorf("%s: %v, want %s", name, err, tc.code)
		}
	}
	s.exec(fmt.Sprintf(`
		INSERT INTO plan (id, owner_id, title, description, every, course_ids, currencies, amounts, state, created_at)
		SELECT 'plan_' || n, '%s', 'x', '', 'month', '{%s}', '{EUR}', '{900}', 'draft', now() FROM generate_series(1, 98) n`, owner, course))
	_, err := s.plans.CreatePlan(s.as(owner), request(func(*commercepb.CreatePlanRequest) {}))
	wantCode(t, err, "plan.too_many")
}

// In a currency with three decimals each line of a period can be given back by itself.
func TestThreeDecimalsOfAPeriod(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	teacher, buyer := id.New("account"), id.New("account")
	courses := []string{s.course(teacher, 5000, "KWD"), s.course(teacher, 7000, "KWD"), s.course(teacher, 11_010, "KWD")}
	p := must[*commercepb.Plan](s)(s.plans.CreatePlan(s.as(teacher), &commercepb.CreatePlanRequest{
		Title: "All of it", Interval: "month", CourseIds: courses, Prices: []*moneypb.Money{{Amount: 10_000, Currency: "KWD"}},
	}))
	must[*commercepb.Plan](s)(s.plans.PublishPlan(s.as(teacher), &commercepb.PublishPlanRequest{PlanId: p.GetId()}))
	x := &subscribed{shop: s, buyer: buyer, teacher: teacher, courses: courses, plan: p, id: s.subscribe(buyer, p).GetId()}
	x.does("succeed")
	o := x.periods()[0]
	sum := int64(0)
	for _, l := range o.GetLines() {
		sum += s.gaveBack(o, &commercepb.LineToRefund{LineId: l.GetId()}).GetAmount().GetAmount()
	}
	if sum != 10_000 {
		t.Errorf("%d given back", sum)
	}
	s.wantState(buyer, o, "refunded")
	s.agrees()
}
