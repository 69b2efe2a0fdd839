package app

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// fakeAccess answers what somebody may, and counts how often it is asked.
type fakeAccess struct {
	accesspb.AccessServiceClient
	mu      sync.Mutex
	allowed map[subject][]string
	asked   int
	err     error
	enter   func() // called while a question is asked, if not nil
}

func (f *fakeAccess) ResolvePermissions(_ context.Context, req *accesspb.ResolvePermissionsRequest, _ ...grpc.CallOption) (*accesspb.ResolvePermissionsResponse, error) {
	f.mu.Lock()
	f.asked++
	res := &accesspb.ResolvePermissionsResponse{}
	for _, s := range req.GetSubjects() {
		res.Answers = append(res.Answers, &accesspb.ResolvePermissionsResponse_Answer{Permissions: f.allowed[subject{s.GetAccountId(), s.GetCourseId()}]})
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
