package app

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// fakeAccess answers what somebody may, and counts how often it is asked.
type fakeAccess struct {
	accesspb.AccessServiceClient
	mu      sync.Mutex
	allowed map[subject][]string
	items   map[subject][]*accesspb.ResolvePermissionsResponse_Item
	asked   int
	err     error
	enter   func() // called while a question is asked, if not nil
}

func (f *fakeAccess) ResolvePermissions(_ context.Context, req *accesspb.ResolvePermissionsRequest, _ ...grpc.CallOption) (*accesspb.ResolvePermissionsResponse, error) {
	f.mu.Lock()
	f.asked++
	res := &accesspb.ResolvePermissionsResponse{}
	for _, s := range req.GetSubjects() {
		res.Answers = append(res.Answers, &accesspb.ResolvePermissionsResponse_Answer{
			Permissions: f.allowed[subject{s.GetAccountId(), s.GetCourseId()}], Items: f.items[subject{s.GetAccountId(), s.GetCourseId()}],
		})
	}
	err, enter := f.err, f.enter
	f.mu.Unlock()
	if enter != nil {
		enter()
	}
	return res, err
}

// set says what the subject may from now on.
func (f *fakeAccess) set(s subject, permissions ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.allowed[s] = permissions
}

func (f *fakeAccess) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func newFake(tb testing.TB) (*permissions, *fakeAccess) {
	tb.Helper()
	p, err := newPermissions()
	if err != nil {
		tb.Fatal(err)
	}
	f := &fakeAccess{allowed: map[subject][]string{}}
	p.access = f
	return p, f
}

var ada, bob = subject{"account_ada", "course_go"}, subject{"account_bob", "course_go"}

func allowed(tb testing.TB, p *permissions, s subject, permission string, since time.Time) bool {
	tb.Helper()
	ok, err := p.Allowed(context.Background(), auth.Question{Account: s.account, Course: s.course, Permission: permission}, since)
	if err != nil {
		tb.Fatal(err)
	}
	return ok
}

// What was given before a call works in that call.
func TestNoIsAskedAgain(t *testing.T) {
	t.Parallel()
	p, f := newFake(t)
	if allowed(t, p, ada, "course.edit", time.Now()) {
		t.Fatal("nobody has given anything")
	}
	f.set(ada, "course.edit")
	if !allowed(t, p, ada, "course.edit", time.Now()) {
		t.Error("what was given before the call does not work in it")
	}
	if f.count() != 2 {
		t.Errorf("asked %d times, want 2", f.count())
	}
	// Within one call a "no" is asked once.
	since := time.Now()
	for range 5 {
		if allowed(t, p, ada, "course.delete", since) {
			t.Error("allowed")
		}
	}
	if f.count() != 3 {
		t.Errorf("asked %d times, want 3", f.count())
	}
	// Who does not care how old it is is answered without a question.
	if allowed(t, p, ada, "course.delete", time.Time{}) || f.count() != 3 {
		t.Errorf("asked %d times, want 3", f.count())
	}
}

// Who may edit a lesson may edit that lesson alone, by the rules of the contract.
func TestItemsAreApart(t *testing.T) {
	t.Parallel()
	p, f := newFake(t)
	key := base64.StdEncoding.EncodeToString(make([]byte, 32))
	keys, err := auth.NewKeys(key)
	if err != nil {
		t.Fatal(err)
	}
	guard := auth.NewGuard(keys, p)
	who, mine, other := subject{id.New("account"), id.New("course")}, id.New("lesson"), id.New("lesson")
	f.set(who, auth.View)
	f.items = map[subject][]*accesspb.ResolvePermissionsResponse_Item{who: {{ItemId: mine, Permissions: []string{"course.edit", "lesson.read"}}}}
	ctx := auth.With(t.Context(), auth.Principal{Account: who.account, Session: id.New("session"), Service: "edge"})
	call := func(method string, req proto.Message) error {
		_, err := guard.Call(ctx, "/stoa.courses.v1.CoursesService/"+method, req, func(ctx context.Context, _ any) (any, error) {
			if method == "GetLesson" {
				return nil, auth.Require(ctx)
			}
			return nil, nil
		})
		return err
	}
	for _, c := range []struct {
		method string
		req    proto.Message
		want   error
	}{
		{"UpdateLesson", &coursespb.UpdateLessonRequest{CourseId: who.course, LessonId: mine}, nil},
		{"DeleteLesson", &coursespb.DeleteLessonRequest{CourseId: who.course, LessonId: mine}, nil},
		{"GetLesson", &coursespb.GetLessonRequest{CourseId: who.course, LessonId: mine}, nil},
		{"UpdateLesson", &coursespb.UpdateLessonRequest{CourseId: who.course, LessonId: other}, auth.ErrForbidden},
		{"GetLesson", &coursespb.GetLessonRequest{CourseId: who.course, LessonId: other}, auth.ErrForbidden},
		{"UpdateLesson", &coursespb.UpdateLessonRequest{CourseId: id.New("course"), LessonId: mine}, auth.ErrHidden},
		{"UpdateModule", &coursespb.UpdateModuleRequest{CourseId: who.course, ModuleId: id.New("module")}, auth.ErrForbidden},
		{"CreateLesson", &coursespb.CreateLessonRequest{CourseId: who.course}, auth.ErrForbidden},
		{"UpdateCourse", &coursespb.UpdateCourseRequest{CourseId: who.course}, auth.ErrForbidden},
	} {
		if err := call(c.method, c.req); !errors.Is(err, c.want) {
			t.Errorf("%s %v: %v, want %v", c.method, c.req, err, c.want)
		}
	}
}

// BenchmarkWarmCheck is a permission check whose answer is known (A7), by the
// cache alone and by the guard around it.
func BenchmarkWarmCheck(b *testing.B) {
	keys, err := auth.NewKeys(base64.StdEncoding.EncodeToString(make([]byte, 32)))
	if err != nil {
		b.Fatal(err)
	}
	for _, roles := range []int{1, 10, 100} {
		p, f := newFake(b)
		who := subject{id.New("account"), id.New("course")}
		var list []string
		for n := range roles {
			list = append(list, fmt.Sprintf("thing%d.read", n), fmt.Sprintf("thing%d.edit", n))
		}
		f.set(who, append(list, "course.edit")...)
		question := auth.Question{Account: who.account, Course: who.course, Permission: "course.edit"}
		b.Run(fmt.Sprintf("cache/%d", roles), func(b *testing.B) {
			b.ReportAllocs()
			now := time.Now()
			for b.Loop() {
				if ok, err := p.Allowed(b.Context(), question, now); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
		guard := auth.NewGuard(keys, p)
		ctx := auth.With(b.Context(), auth.Principal{Account: who.account, Session: id.New("session"), Service: "edge"})
		req := &coursespb.UpdateCourseRequest{CourseId: who.course}
		b.Run(fmt.Sprintf("guard/%d", roles), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := guard.Call(ctx, "/stoa.courses.v1.CoursesService/UpdateCourse", req, func(context.Context, any) (any, error) { return nil, nil })
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What was taken away is believed for a second at most.
func TestYesIsBelievedForASecond(t *testing.T) {
	t.Parallel()
	p, f := newFake(t)
	f.set(ada, "course.edit")
	before := time.Now()
	if !allowed(t, p, ada, "course.edit", time.Now()) {
		t.Fatal("not allowed")
	}
	written := time.Now()
	f.set(ada)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		asked := time.Now()
		ok := allowed(t, p, ada, "course.edit", asked)
		if !ok {
			if time.Since(before) < staleAfter && f.count() > 2 {
				t.Errorf("asked %d times within the second", f.count())
			}
			break
		}
		if old := asked.Sub(written); old > staleAfter {
			t.Fatalf("believed for %v, %v is allowed", old, staleAfter)
		}
		<-tick.C
	}
	if f.count() != 2 {
		t.Errorf("asked %d times, want 2: once, and once after a second", f.count())
	}
}

func TestSubjectsAreApart(t *testing.T) {
	t.Parallel()
	p, f := newFake(t)
	f.set(ada, "course.edit")
	f.set(subject{"", "course_go"}, "course.view")
	f.set(subject{"account_ada", ""}, "refund.create")
	for _, c := range []struct {
		who        subject
		permission string
		want       bool
	}{
		{ada, "course.edit", true},
		{bob, "course.edit", false},
		{subject{"account_ada", "course_rust"}, "course.edit", false},
		{subject{"", "course_go"}, "course.view", true},
		{subject{"", "course_go"}, "course.edit", false},
		{subject{"account_ada", ""}, "refund.create", true},
		{subject{"account_ada", ""}, "course.edit", false},
		{ada, "refund.create", false},
		{ada, "", false},
	} {
		for range 2 {
			if got := allowed(t, p, c.who, c.permission, time.Time{}); got != c.want {
				t.Errorf("%+v %s: %t", c.who, c.permission, got)
			}
		}
	}
}

func TestFailureIsNoAnswer(t *testing.T) {
	t.Parallel()
	p, f := newFake(t)
	f.set(ada, "course.edit")
	f.err = errors.New("away")
	for range 2 {
		if ok, err := p.Allowed(t.Context(), auth.Question{Account: ada.account, Course: ada.course, Permission: "course.edit"}, time.Now()); ok || !errors.Is(err, f.err) {
			t.Errorf("%t, %v", ok, err)
		}
	}
	f.err = nil
	if !allowed(t, p, ada, "course.edit", time.Now()) {
		t.Error("a failure is remembered")
	}
}

// A slow answer to an early question does not replace a newer one.
func TestLateAnswerIsNotKept(t *testing.T) {
	t.Parallel()
	p, f := newFake(t)
	f.set(ada, "course.edit")
	entered, leave := make(chan struct{}), make(chan struct{})
	f.enter = func() { close(entered); <-leave }
	done := make(chan struct{})
	go func() {
		defer close(done)
		allowed(t, p, ada, "course.edit", time.Now())
	}()
	<-entered
	f.mu.Lock()
	f.enter = nil
	f.mu.Unlock()
	f.set(ada) // taken away, and somebody has heard of that
	if allowed(t, p, ada, "course.edit", time.Now()) {
		t.Error("allowed after it was taken away")
	}
	close(leave)
	<-done
	if allowed(t, p, ada, "course.edit", time.Time{}) {
		t.Error("the late answer has replaced the newer one")
	}
}
