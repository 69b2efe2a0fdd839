package learning

import (
	"context"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// withoutItems leaves out what only GetProgress tells.
var withoutItems = protocmp.IgnoreFields(&learningpb.Progress{}, "items")

func TestViewLesson(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, ana, l := id.New("course"), id.New("account"), newIDs("lesson", 3)
	hear(w, w.service.coursePublished, published(course, 1, l...))
	hear(w, w.service.enrollmentStarted, enrolled(course, ana, 0))

	if diff := cmp.Diff(&learningpb.Progress{CourseId: course, TotalLessons: 3}, w.progress(ana, course), protocmp.Transform(), withoutItems); diff != "" {
		t.Errorf("before the first (-want +got):\n%s", diff)
	}
	p := w.view(ana, course, l[2])
	want := &learningpb.Progress{
		CourseId: course, Percent: 33, CompletedLessons: 1, TotalLessons: 3, ResumeLessonId: l[2],
		Lessons: []*learningpb.CompletedLesson{{LessonId: l[2]}},
	}
	if diff := cmp.Diff(want, p, protocmp.Transform(), protocmp.IgnoreFields(&learningpb.CompletedLesson{}, "completed_at")); diff != "" {
		t.Errorf("after the third lesson (-want +got):\n%s", diff)
	}
	first := p.GetLessons()[0].GetCompletedAt().AsTime()

	w.view(ana, course, l[0])
	p = w.view(ana, course, l[2])
	if p.GetPercent() != 66 || p.GetResumeLessonId() != l[2] {
		t.Errorf("percent %d, resume %s; want 66, %s", p.GetPercent(), p.GetResumeLessonId(), l[2])
	}
	if got := p.GetLessons()[1]; got.GetLessonId() != l[2] || !got.GetCompletedAt().AsTime().Equal(first) {
		t.Errorf("viewing again moved the completion: %v, first at %v", got, first)
	}
	if got := w.completions(); len(got) != 0 {
		t.Errorf("completed too early: %v", got)
	}

	p = w.view(ana, course, l[1])
	if p.GetPercent() != 100 || p.GetCompletedAt() == nil {
		t.Errorf("percent %d, completed %v after all", p.GetPercent(), p.GetCompletedAt())
	}
	if diff := cmp.Diff(p, w.progress(ana, course), protocmp.Transform(), withoutItems); diff != "" {
		t.Errorf("GetProgress differs from ViewLesson:\n%s", diff)
	}
	again := w.view(ana, course, l[0])
	if !again.GetCompletedAt().AsTime().Equal(p.GetCompletedAt().AsTime()) {
		t.Error("viewing again moved the completion of the course")
	}
	events := []*learningpb.CourseCompleted{{CourseId: course, AccountId: ana, CompletedAt: p.GetCompletedAt()}}
	if diff := cmp.Diff(events, w.completions(), protocmp.Transform()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestViewLessonRefuses(t *testing.T) {
	t.Parallel()
	course, other, hidden := id.New("course"), id.New("course"), id.New("course")
	l, foreign, gone := newIDs("lesson", 2), id.New("lesson"), id.New("lesson")
	ana, observer := id.New("account"), id.New("account")
	w := newWorld(t, func(account, c, permission string) bool {
		switch {
		case account == observer:
			return c != hidden && permission == "course.view"
		case c == hidden:
			return false
		default:
			return account == ana && permission != "progress.list"
		}
	})
	hear(w, w.service.coursePublished, published(course, 1, append(l, gone)...), published(other, 1, foreign), published(course, 2, l...))

	for name, c := range map[string]struct {
		account, course, lesson, code string
	}{
		"of another course":       {ana, course, foreign, "lesson.not_found"},
		"left the course":         {ana, course, gone, "lesson.not_found"},
		"unknown lesson":          {ana, course, id.New("lesson"), "lesson.not_found"},
		"never published":         {ana, id.New("course"), l[0], "lesson.not_found"},
		"not a lesson":            {ana, course, course, "request.invalid"},
		"not a course":            {ana, l[0], l[0], "request.invalid"},
		"may only see the course": {observer, course, l[0], "auth.forbidden"},
		"may not know of it":      {ana, hidden, l[0], "not_found"},
		"nobody":                  {"", course, l[0], "auth.required"},
	} {
		_, err := w.client.ViewLesson(w.as(c.account), &learningpb.ViewLessonRequest{CourseId: c.course, LessonId: c.lesson})
		if got := fault.CodeOf(err); got != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	if p := w.progress(ana, course); p.GetCompletedLessons() != 0 || p.GetResumeLessonId() != "" {
		t.Errorf("a refused view left %v", p)
	}
	if _, err := w.client.GetProgress(w.as(observer), &learningpb.GetProgressRequest{CourseId: course}); !fault.Is(err, fault.Forbidden) {
		t.Errorf("GetProgress without lesson.read: %v", err)
	}
	if _, err := w.client.ListLearners(w.as(ana), &learningpb.ListLearnersRequest{CourseId: course}); !fault.Is(err, fault.Forbidden) {
		t.Errorf("ListLearners without progress.list: %v", err)
	}
}

// Who views before the enrollment is known here, and staff, who never enroll.
func TestViewWithoutEnrollment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, ana, l := id.New("course"), id.New("account"), newIDs("lesson", 2)
	hear(w, w.service.coursePublished, published(course, 1, l...))
	w.view(ana, course, l[0])
	p := w.view(ana, course, l[1])
	if p.GetPercent() != 100 || p.GetCompletedAt() != nil {
		t.Errorf("percent %d, completed at %v; want 100 and never", p.GetPercent(), p.GetCompletedAt())
	}
	mine, err := w.client.ListMyCourses(w.as(ana), &learningpb.ListMyCoursesRequest{})
	if err != nil || len(mine.GetItems()) != 0 {
		t.Errorf("ListMyCourses: %v, %v; want none", mine, err)
	}
	all, err := w.client.ListLearners(w.as(ana), &learningpb.ListLearnersRequest{CourseId: course})
	if err != nil || len(all.GetItems()) != 0 {
		t.Errorf("ListLearners: %v, %v; want none", all, err)
	}
	if got := w.completions(); len(got) != 0 {
		t.Fatalf("completed without being enrolled: %v", got)
	}

	start := enrolled(course, ana, 0)
	hear(w, w.service.enrollmentStarted, start, start)
	if got := w.completions(); len(got) != 1 {
		t.Errorf("%d events after enrolling, want 1", len(got))
	}
	if p := w.progress(ana, course); p.GetCompletedAt() == nil {
		t.Error("not completed after enrolling")
	}
}

func TestSameKeyAtTheSameTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, ana, l := id.New("course"), id.New("account"), newIDs("lesson", 1)
	hear(w, w.service.coursePublished, published(course, 1, l...))
	hear(w, w.service.enrollmentStarted, enrolled(course, ana, 0))
	results := make([]*learningpb.Progress, 8)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			p, err := w.client.ViewLesson(rpc.WithIdempotencyKey(w.as(ana), "k"), &learningpb.ViewLessonRequest{CourseId: course, LessonId: l[0]})
			if err != nil {
				t.Error(err)
			}
			results[i] = p
		})
	}
	wg.Wait()
	for _, p := range results[1:] {
		if diff := cmp.Diff(results[0], p, protocmp.Transform()); diff != "" {
			t.Errorf("two answers to one key:\n%s", diff)
		}
	}
	if got := w.completions(); len(got) != 1 {
		t.Errorf("%d events, want 1", len(got))
	}
	_, err := w.client.ViewLesson(rpc.WithIdempotencyKey(w.as(ana), "k"), &learningpb.ViewLessonRequest{CourseId: course, LessonId: id.New("lesson")})
	if fault.CodeOf(err) != "idempotency.key_reused" {
		t.Errorf("the key for another lesson: %v", err)
	}
}

// The last two lessons at the same time, the enrollment and a publishing that
// takes a lesson away, in all orders that the database makes of them.
func TestCompletesOnceUnderConcurrency(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	const rounds = 25
	people := make(map[string]string, rounds)
	for range rounds {
		course, ana, l := id.New("course"), id.New("account"), newIDs("lesson", 4)
		people[ana] = course
		hear(w, w.service.coursePublished, published(course, 1, l...))
		w.view(ana, course, l[0])
		var wg sync.WaitGroup
		for _, lesson := range l[1:3] {
			for range 2 {
				wg.Go(func() { w.view(ana, course, lesson) })
			}
		}
		wg.Go(func() { together(w, w.service.enrollmentStarted, enrolled(course, ana, 0)) })
		wg.Go(func() { together(w, w.service.coursePublished, published(course, 2, l[:3]...)) })
		wg.Wait()
	}
	got := map[string]string{}
	for _, e := range w.completions() {
		if _, twice := got[e.GetAccountId()]; twice {
			t.Errorf("%s completed %s twice", e.GetAccountId(), e.GetCourseId())
		}
		got[e.GetAccountId()] = e.GetCourseId()
	}
	if diff := cmp.Diff(people, got); diff != "" {
		t.Errorf("who completed (-want +got):\n%s", diff)
	}
}

// together is hear for goroutines.
func together[E any](w *world, handle func(context.Context, *pg.Tx, E) error, e E) {
	if err := w.db.InTx(context.Background(), func(tx *pg.Tx) error {
		tx.Exempt("a copy")
		return handle(context.Background(), tx, e)
	}); err != nil {
		w.t.Errorf("hear %T: %v", e, err)
	}
}

// Two publishings of one course at the same time leave the newer one.
func TestPublishingsAtTheSameTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	ana := id.New("account")
	for range 10 {
		course, l := id.New("course"), newIDs("lesson", 6)
		var wg sync.WaitGroup
		for _, e := range []*coursespb.CoursePublished{published(course, 1, l[:3]...), published(course, 3, l[2:]...), published(course, 2, l[1:2]...)} {
			wg.Go(func() { together(w, w.service.coursePublished, e) })
		}
		wg.Wait()
		if got := w.progress(ana, course).GetTotalLessons(); got != 4 {
			t.Errorf("%d lessons, want the 4 of sequence 3", got)
		}
		for i, lesson := range l {
			_, err := w.client.ViewLesson(w.as(ana), &learningpb.ViewLessonRequest{CourseId: course, LessonId: lesson})
			if (err == nil) != (i >= 2) {
				t.Errorf("lesson %d: %v", i, err)
			}
		}
	}
}
