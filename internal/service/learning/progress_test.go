package learning

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

func TestPercent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		done, of int
		want     int32
	}{{0, 0, 0}, {0, 3, 0}, {1, 3, 33}, {2, 3, 66}, {3, 3, 100}, {999, 1000, 99}, {1, 1000, 0}, {1000, 1000, 100}, {5, 3, 100}} {
		if got := percent(c.done, c.of); got != c.want {
			t.Errorf("percent(%d, %d) = %d, want %d", c.done, c.of, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		of := rapid.IntRange(1, 5000).Draw(t, "of")
		done := rapid.IntRange(0, of).Draw(t, "done")
		got := percent(done, of)
		if (got == 100) != (done == of) || got < 0 || int(got)*of > done*100 || (int(got)+1)*of <= done*100 {
			t.Fatalf("percent(%d, %d) = %d", done, of, got)
		}
	})
}

// model is progress as its contract tells it, told again without SQL.
type model struct {
	sequence  int64
	lessons   []string
	done      map[string]map[string]bool // account → lesson
	resume    map[string]string
	enrolled  map[string]bool
	completed map[string]bool
}

func (m *model) settle() {
	for account := range m.enrolled {
		if len(m.lessons) > 0 && !slices.ContainsFunc(m.lessons, func(l string) bool { return !m.done[account][l] }) {
			m.completed[account] = true
		}
	}
}

func (m *model) publish(e *coursespb.CoursePublished) {
	if e.GetSequence() <= m.sequence {
		return
	}
	m.sequence, m.lessons = e.GetSequence(), nil
	for _, l := range e.GetModules()[0].GetLessons() {
		m.lessons = append(m.lessons, l.GetId())
	}
	m.settle()
}

func (m *model) view(account, lesson string) bool {
	if !slices.Contains(m.lessons, lesson) {
		return false
	}
	if m.done[account] == nil {
		m.done[account] = map[string]bool{}
	}
	m.done[account][lesson], m.resume[account] = true, lesson
	m.settle()
	return true
}

// shown is what a person sees of their progress.
type shown struct {
	Percent   int32
	Lessons   []string
	Total     int32
	Resume    string
	Completed bool
}

func (m *model) shown(account string) shown {
	s := shown{Total: int32(len(m.lessons)), Completed: m.completed[account]} //nolint:gosec // few
	for _, l := range m.lessons {
		if m.done[account][l] {
			s.Lessons = append(s.Lessons, l)
		}
		if m.resume[account] == l {
			s.Resume = l
		}
	}
	s.Percent = percent(len(s.Lessons), len(m.lessons))
	return s
}

// Any order of publishings, views and enrollments, with events late and twice,
// shows what the model shows after every step.
func TestProgressMatchesModel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	rapid.Check(t, func(t *rapid.T) {
		course, lessons, people := id.New("course"), newIDs("lesson", 4), newIDs("account", 2)
		m := &model{done: map[string]map[string]bool{}, resume: map[string]string{}, enrolled: map[string]bool{}, completed: map[string]bool{}}
		var heardPublished []*coursespb.CoursePublished
		var heardEnrolled []*accesspb.EnrollmentStarted
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				of := rapid.SliceOfNDistinct(rapid.SampledFrom(lessons), 0, len(lessons), rapid.ID).Draw(t, "lessons")
				e := published(course, rapid.Int64Range(1, 12).Draw(t, "sequence"), of...)
				// Two publishings never have one sequence.
				if slices.ContainsFunc(heardPublished, func(h *coursespb.CoursePublished) bool { return h.GetSequence() == e.GetSequence() }) {
					return
				}
				heardPublished = append(heardPublished, e)
				hear(w, w.service.coursePublished, e)
				m.publish(e)
			},
			"publish again": func(t *rapid.T) {
				if len(heardPublished) > 0 {
					hear(w, w.service.coursePublished, rapid.SampledFrom(heardPublished).Draw(t, "event"))
				}
			},
			"enroll": func(t *rapid.T) {
				account := rapid.SampledFrom(people).Draw(t, "account")
				e := enrolled(course, account, rapid.IntRange(0, 20).Draw(t, "day"))
				heardEnrolled = append(heardEnrolled, e)
				hear(w, w.service.enrollmentStarted, e)
				m.enrolled[account] = true
				m.settle()
			},
			"enroll again": func(t *rapid.T) {
				if len(heardEnrolled) > 0 {
					hear(w, w.service.enrollmentStarted, rapid.SampledFrom(heardEnrolled).Draw(t, "event"))
				}
			},
			"view": func(t *rapid.T) {
				account, lesson := rapid.SampledFrom(people).Draw(t, "account"), rapid.SampledFrom(lessons).Draw(t, "lesson")
				_, err := w.client.ViewLesson(w.as(account), &learningpb.ViewLessonRequest{CourseId: course, LessonId: lesson})
				if ok := m.view(account, lesson); ok != (err == nil) || !ok && !fault.Is(err, fault.NotFound) {
					t.Fatalf("view: %v, the model says %v", err, ok)
				}
			},
			"": func(t *rapid.T) {
				for _, account := range people {
					p := w.progress(account, course)
					got := shown{Percent: p.GetPercent(), Total: p.GetTotalLessons(), Resume: p.GetResumeLessonId(), Completed: p.GetCompletedAt() != nil}
					for _, l := range p.GetLessons() {
						got.Lessons = append(got.Lessons, l.GetLessonId())
					}
					if diff := cmp.Diff(m.shown(account), got); diff != "" {
						t.Fatalf("(-model +service):\n%s", diff)
					}
				}
			},
		})
		told := map[string]bool{}
		for _, e := range w.completions() {
			if e.GetCourseId() == course {
				if told[e.GetAccountId()] {
					t.Fatalf("%s told twice", e.GetAccountId())
				}
				told[e.GetAccountId()] = true
			}
		}
		if diff := cmp.Diff(m.completed, told); diff != "" {
			t.Fatalf("who completed (-model +events):\n%s", diff)
		}
	})
}

// TestEnoughCompletes: a course whose policy is a percentage is completed by that
// much of what counts, at once for those who have it when the policy changes, and
// never taken back.
func TestEnoughCompletes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, l := id.New("course"), newIDs("lesson", 3)
	version := func(n int64, percent string) *coursespb.CoursePublished {
		e := published(course, n, l...)
		if percent != "" {
			e.Grading = &coursespb.GradingPolicy{Completion: &coursespb.CourseCompletion{Kind: "percent", MinPercent: percent}}
		}
		return e
	}
	completed := func(account string) bool { return w.progress(account, course).GetCompletedAt() != nil }
	one, two := id.New("account"), id.New("account")
	hear(w, w.service.coursePublished, version(1, "66.6667"))
	for _, account := range []string{one, two} {
		hear(w, w.service.enrollmentStarted, enrolled(course, account, 0))
		w.view(account, course, l[2])
	}
	w.view(one, course, l[0])
	if completed(one) || completed(two) {
		t.Error("completed by two of three, of which 66.6667 percent is more")
	}
	hear(w, w.service.coursePublished, version(2, ""), version(3, "66.6666"))
	if !completed(one) || completed(two) {
		t.Errorf("with two of three: %t, with one of three: %t", completed(one), completed(two))
	}
	w.view(two, course, l[1])
	hear(w, w.service.coursePublished, version(4, ""))
	if !completed(one) || !completed(two) {
		t.Error("what was enough is taken back")
	}
	if n := len(w.completions()); n != 2 {
		t.Errorf("%d completions told", n)
	}
}

// TestEnoughOfWhatCountsNow: what somebody has completed beside what counted is part of
// what is enough once it counts, though no fewer are.
func TestEnoughOfWhatCountsNow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, l := id.New("course"), newIDs("lesson", 5)
	version := func(n int64, percent string, last bool) *coursespb.CoursePublished {
		var items []*coursespb.PublishedItem
		for _, lesson := range l {
			items = append(items, required(lesson, "", &need{Kind: "viewed"}))
		}
		items[4].Required = last
		e := edition(course, n, items...)
		e.Grading = &coursespb.GradingPolicy{Completion: &coursespb.CourseCompletion{Kind: "percent", MinPercent: percent}}
		return e
	}
	ana := id.New("account")
	hear(w, w.service.coursePublished, version(1, "50", false))
	hear(w, w.service.enrollmentStarted, enrolled(course, ana, 0))
	w.view(ana, course, l[0])
	w.view(ana, course, l[4])
	if p := w.progress(ana, course); p.GetCompletedAt() != nil {
		t.Fatalf("one of two is enough: %v", p)
	}
	hear(w, w.service.coursePublished, version(2, "40", true))
	if p := w.progress(ana, course); p.GetCompletedAt() == nil {
		t.Errorf("two of two are not enough: %v", p)
	}
}
