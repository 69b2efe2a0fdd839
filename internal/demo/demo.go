// Package demo makes the demo school: two teachers, three courses and ten
// students in different states.
//
// It does what people would do, through the contracts that the edge offers them:
// nothing of it reaches into a service. What it makes is then theirs: once the
// school is complete, later starts change nothing.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// SignIn is an account of the demo school.
type SignIn struct{ Who, Email, Password string }

// loadWithin bounds the whole of [Load], also the wait for services that start
// at the same time.
const loadWithin = 2 * time.Minute

// Load makes the demo school through the services' contracts, and makes only
// what is not there yet.
func Load(ctx context.Context, conns map[string]grpc.ClientConnInterface, log *slog.Logger) ([]SignIn, error) {
	ctx, cancel := context.WithTimeout(ctx, loadWithin)
	defer cancel()
	courses, err := readCourses()
	if err != nil {
		return nil, err
	}
	s, err := newSchool(conns, log)
	if err != nil {
		return nil, err
	}
	err = s.load(ctx, courses)
	if errors.Is(err, errPasswordChanged) {
		// The people have made the school theirs. That is no reason not to start.
		log.WarnContext(ctx, "the demo school is left as it is", "reason", err.Error())
	} else if err != nil {
		return nil, err
	}
	signIns := make([]SignIn, 0, len(people))
	for _, p := range people {
		signIns = append(signIns, SignIn{Who: p.who, Email: p.email, Password: password})
	}
	return signIns, nil
}

// school is the demo school being made.
type school struct {
	log      *slog.Logger
	identity identitypb.IdentityServiceClient
	access   accesspb.AccessServiceClient
	courses  coursespb.CoursesServiceClient
	media    mediapb.MediaServiceClient
	learning learningpb.LearningServiceClient
	commerce commercepb.CommerceServiceClient
	plans    commercepb.PlanServiceClient
	contents coursespb.ContentServiceClient
	bank     assessmentpb.BankServiceClient
	quizzes  assessmentpb.QuizServiceClient

	accounts map[string]string // ids of people by their address
	made     map[string]string // ids of courses by their folder
}

func newSchool(conns map[string]grpc.ClientConnInterface, log *slog.Logger) (*school, error) {
	patiently := map[string]patient{}
	for _, name := range []string{"identity", "access", "courses", "media", "learning", "assessment", "commerce"} {
		if conns[name] == nil {
			return nil, fmt.Errorf("no connection to %s", name)
		}
		patiently[name] = patient{conns[name]}
	}
	return &school{
		log:      log,
		identity: identitypb.NewIdentityServiceClient(patiently["identity"]),
		access:   accesspb.NewAccessServiceClient(patiently["access"]),
		courses:  coursespb.NewCoursesServiceClient(patiently["courses"]),
		media:    mediapb.NewMediaServiceClient(patiently["media"]),
		learning: learningpb.NewLearningServiceClient(patiently["learning"]),
		commerce: commercepb.NewCommerceServiceClient(patiently["commerce"]),
		plans:    commercepb.NewPlanServiceClient(patiently["commerce"]),
		contents: coursespb.NewContentServiceClient(patiently["courses"]),
		bank:     assessmentpb.NewBankServiceClient(patiently["assessment"]),
		quizzes:  assessmentpb.NewQuizServiceClient(patiently["assessment"]),
		accounts: map[string]string{},
		made:     map[string]string{},
	}, nil
}

// load does everything in one order, so that where the last step was done all
// were: then a start costs a handful of calls, and nothing is looked at that
// people may have changed since.
func (s *school) load(ctx context.Context, courses []course) error {
	began := time.Now()
	done, err := s.complete(ctx)
	if err != nil || done {
		return err
	}
	for _, p := range people {
		if p.bio == "" {
			continue
		}
		if err := s.introduce(ctx, p); err != nil {
			return fmt.Errorf("teacher %s: %w", p.email, err)
		}
	}
	for _, c := range courses {
		if err := s.build(ctx, c); err != nil {
			return fmt.Errorf("course %q: %w", c.Title, err)
		}
	}
	if err := s.offerPlan(ctx, courses); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	for _, p := range slices.Backward(people) {
		if err := s.live(ctx, p); err != nil {
			return fmt.Errorf("student %s: %w", p.email, err)
		}
	}
	s.log.InfoContext(ctx, "the demo school is loaded", "courses", len(courses), "people", len(people), "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// complete reports whether the last step of loading was done: the last student
// has completed a course.
func (s *school) complete(ctx context.Context) (bool, error) {
	ctx, err := s.as(ctx, lastStudent())
	if err != nil {
		return false, err
	}
	res, err := s.learning.ListMyCourses(ctx, &learningpb.ListMyCoursesRequest{PageSize: 100})
	if err != nil {
		return false, fmt.Errorf("courses of %s: %w", lastStudent().email, err)
	}
	for _, c := range res.GetItems() {
		if c.GetCompletedAt() != nil {
			return true, nil
		}
	}
	return false, nil
}

// live lets a student do what they did.
func (s *school) live(ctx context.Context, p person) error {
	if p.bio != "" {
		return nil // a teacher
	}
	ctx, err := s.as(ctx, p)
	if err != nil {
		return err
	}
	for _, step := range p.did {
		if err := step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// as returns a context in which a person calls.
func (s *school) as(ctx context.Context, p person) (context.Context, error) {
	account, ok := s.accounts[p.email]
	if !ok {
		var err error
		if account, err = s.account(ctx, p); err != nil {
			return nil, fmt.Errorf("account %s: %w", p.email, err)
		}
		s.accounts[p.email] = account
	}
	return auth.With(ctx, auth.Principal{Account: account}), nil
}
