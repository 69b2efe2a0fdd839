package demo

import (
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// step is something that a student did; ctx says who. Done again it does what
// is missing.
type step func(ctx context.Context, s *school) error

// The states of an order that matter here.
const (
	awaitingPayment = "awaiting_payment"
	expired         = "expired"
)

// enroll takes a free course.
func enroll(folder string) step {
	return func(ctx context.Context, s *school) error {
		// Access has to have heard that the course is published, and free.
		return eventually(ctx, "enroll in "+folder, func(ctx context.Context) error {
			_, err := s.access.CreateEnrollment(ctx, &accesspb.CreateEnrollmentRequest{CourseId: s.made[folder]})
			return err
		}, "not_found", "enrollment.not_free")
	}
}

// order orders a course and does not pay.
func order(folder string) step {
	return func(ctx context.Context, s *school) error {
		_, err := s.order(ctx, folder)
		return err
	}
}

// cancel orders a course and gives the order up.
func cancel(folder string) step {
	return func(ctx context.Context, s *school) error {
		o, err := s.order(ctx, folder)
		if err != nil || o.GetState() != awaitingPayment {
			return err
		}
		if _, err := s.commerce.CancelOrder(ctx, &commercepb.CancelOrderRequest{OrderId: o.GetId()}); err != nil {
			return fmt.Errorf("cancel: %w", err)
		}
		return nil
	}
}

// decline orders a course and can't pay.
func decline(folder string) step {
	return func(ctx context.Context, s *school) error {
		o, err := s.order(ctx, folder)
		if err != nil || o.GetState() != awaitingPayment {
			return err
		}
		return s.settle(ctx, o, "decline")
	}
}

// buy orders a course, pays, and waits until it can be taken.
func buy(folder string) step {
	return func(ctx context.Context, s *school) error {
		o, err := s.order(ctx, folder)
		if err != nil || o == nil {
			return err
		}
		if o.GetState() == awaitingPayment {
			if err := s.settle(ctx, o, "succeed"); err != nil {
				return err
			}
		}
		return eventually(ctx, "access to "+folder+" after paying", func(ctx context.Context) error {
			ok, err := s.enrolled(ctx, folder)
			if err == nil && !ok {
				return errNotYet
			}
			return err
		})
	}
}

// order returns the caller's newest order of a course, new if there is none or
// it was left unpaid for too long; nil where nothing can be bought.
func (s *school) order(ctx context.Context, folder string) (*commercepb.Order, error) {
	res, err := s.commerce.ListOrders(ctx, &commercepb.ListOrdersRequest{PageSize: 100})
	if err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	earlier := 0
	for _, o := range res.GetItems() {
		if !slices.ContainsFunc(o.GetLines(), func(l *commercepb.OrderLine) bool { return l.GetCourseId() == s.made[folder] }) {
			continue
		}
		if o.GetState() != expired {
			return o, nil
		}
		earlier++
	}
	var o *commercepb.Order
	key := fmt.Sprintf("demo-order-%s-%d", folder, earlier)
	// Commerce has to have heard that the course is published.
	err = eventually(ctx, "order "+folder, func(ctx context.Context) (err error) {
		o, err = s.commerce.CreateOrder(rpc.WithIdempotencyKey(ctx, key), &commercepb.CreateOrderRequest{CourseIds: []string{s.made[folder]}})
		return err
	}, "order.course_not_for_sale")
	if fault.CodeOf(err) == "order.payments_off" {
		s.log.WarnContext(ctx, "without development payments nobody of the demo school buys a course", "course", folder)
		return nil, nil
	}
	return o, err
}

// settle presses a button of the development provider's pay page.
func (s *school) settle(ctx context.Context, o *commercepb.Order, outcome string) error {
	_, err := s.commerce.SettleDevelopmentPayment(ctx, &commercepb.SettleDevelopmentPaymentRequest{
		PaymentId: path.Base(o.GetPayUrl()), Outcome: outcome,
	})
	if err != nil {
		return fmt.Errorf("%s payment: %w", outcome, err)
	}
	return nil
}

// enrolled reports whether the caller takes a course.
func (s *school) enrolled(ctx context.Context, folder string) (bool, error) {
	res, err := s.access.ListMyEnrollments(ctx, &accesspb.ListMyEnrollmentsRequest{PageSize: 100})
	if err != nil {
		return false, fmt.Errorf("enrollments: %w", err)
	}
	return slices.ContainsFunc(res.GetItems(), func(e *accesspb.Enrollment) bool {
		return e.GetCourseId() == s.made[folder] && e.GetState() == "active"
	}), nil
}

// all lessons of a course.
const all = -1

// study views the first lessons of a course. Who could not buy it does not.
func study(folder string, lessons int) step {
	return func(ctx context.Context, s *school) error {
		if ok, err := s.enrolled(ctx, folder); err != nil || !ok {
			return err
		}
		todo, err := s.unseen(ctx, s.made[folder], lessons)
		if err != nil {
			return err
		}
		for _, id := range todo {
			if err := s.view(ctx, s.made[folder], id); err != nil {
				return fmt.Errorf("view a lesson of %s: %w", folder, err)
			}
		}
		if lessons != all {
			return nil
		}
		return eventually(ctx, "completion of "+folder, func(ctx context.Context) error {
			p, err := s.learning.GetProgress(ctx, &learningpb.GetProgressRequest{CourseId: s.made[folder]})
			if err == nil && p.GetCompletedAt() == nil {
				return errNotYet
			}
			return err
		})
	}
}

// unseen returns those of the first lessons that the caller has not completed.
func (s *school) unseen(ctx context.Context, courseID string, lessons int) ([]string, error) {
	outline, err := s.courses.GetOutline(ctx, &coursespb.GetOutlineRequest{CourseId: courseID})
	if err != nil {
		return nil, fmt.Errorf("outline: %w", err)
	}
	progress, err := s.learning.GetProgress(ctx, &learningpb.GetProgressRequest{CourseId: courseID})
	if err != nil {
		return nil, fmt.Errorf("progress: %w", err)
	}
	seen := map[string]bool{}
	for _, l := range progress.GetLessons() {
		seen[l.GetLessonId()] = true
	}
	var ids []string
	for _, m := range outline.GetModules() {
		for _, l := range m.GetLessons() {
			ids = append(ids, l.GetId())
		}
	}
	if lessons != all {
		ids = ids[:min(lessons, len(ids))]
	}
	return slices.DeleteFunc(ids, func(id string) bool { return seen[id] }), nil
}

// view records that the caller has viewed a lesson, once learning has heard of
// it.
func (s *school) view(ctx context.Context, courseID, lessonID string) error {
	return eventually(ctx, "view "+lessonID, func(ctx context.Context) error {
		_, err := s.learning.ViewLesson(ctx, &learningpb.ViewLessonRequest{CourseId: courseID, LessonId: lessonID})
		return err
	}, "lesson.not_found")
}
