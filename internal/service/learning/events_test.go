package learning

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

func TestHears(t *testing.T) {
	t.Parallel()
	var got []string
	for _, h := range New(Config{}).Handlers() {
		got = append(got, h.EventName())
	}
	want := []string{
		"stoa.courses.v1.CoursePublished", "stoa.courses.v1.CohortPinned",
		"stoa.access.v1.EnrollmentStarted", "stoa.access.v1.CohortMembershipChanged", "stoa.media.v1.MediaChanged",
		"stoa.identity.v1.AccountCreated", "stoa.identity.v1.AccountUpdated",
		"stoa.access.v1.EnrollmentEnded", "stoa.access.v1.EnrollmentResumed", "stoa.access.v1.CohortChanged", "stoa.access.v1.GroupChanged",
		"stoa.access.v1.GroupMembershipChanged", "stoa.access.v1.CourseRoleChanged", "stoa.access.v1.AccommodationChanged",
		"stoa.assessment.v1.ActivityResultChanged", "stoa.grades.v1.GradePosted", "stoa.grades.v1.CourseGradeChanged",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRepublishKeepsProgress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, ana, l := id.New("course"), id.New("account"), newIDs("lesson", 4)
	hear(w, w.service.coursePublished, published(course, 1, l[0], l[1], l[2]))
	hear(w, w.service.enrollmentStarted, enrolled(course, ana, 0))
	w.view(ana, course, l[0])
	w.view(ana, course, l[1])

	type state struct {
		percent, done, total int32
		resume               string
		completed            bool
		order                []string
	}
	now := func() state {
		p := w.progress(ana, course)
		s := state{p.GetPercent(), p.GetCompletedLessons(), p.GetTotalLessons(), p.GetResumeLessonId(), p.GetCompletedAt() != nil, nil}
		for _, c := range p.GetLessons() {
			s.order = append(s.order, c.GetLessonId())
		}
		return s
	}
	for _, step := range []struct {
		name  string
		event *coursespb.CoursePublished
		want  state
	}{
		{"the resumed lesson leaves", published(course, 2, l[0], l[2], l[3]), state{33, 1, 3, "", false, []string{l[0]}}},
		{"it comes back, moved", published(course, 4, l[1], l[2], l[0]), state{66, 2, 3, l[1], false, []string{l[1], l[0]}}},
		{"an older version comes late", published(course, 3, l[3]), state{66, 2, 3, l[1], false, []string{l[1], l[0]}}},
		{"the same again", published(course, 4, l[3]), state{66, 2, 3, l[1], false, []string{l[1], l[0]}}},
		{"a lesson twice in one version", published(course, 5, l[0], l[0], l[1], l[2]), state{66, 2, 3, l[1], false, []string{l[0], l[1]}}},
		{"all lessons leave", published(course, 6), state{0, 0, 0, "", false, nil}},
		{"what they lacked has left", published(course, 7, l[1], l[0]), state{100, 2, 2, l[1], true, []string{l[1], l[0]}}},
		{"more to do", published(course, 8, l...), state{50, 2, 4, l[1], true, []string{l[0], l[1]}}},
	} {
		hear(w, w.service.coursePublished, step.event)
		if diff := cmp.Diff(step.want, now(), cmp.AllowUnexported(state{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
	w.view(ana, course, l[2])
	w.view(ana, course, l[3])
	if got := w.completions(); len(got) != 1 {
		t.Errorf("%d events, want one for the first time only", len(got))
	}
}

func TestRepublishCompletesAllWhoLackNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, l := id.New("course"), newIDs("lesson", 3)
	hear(w, w.service.coursePublished, published(course, 1, l...))
	people := newIDs("account", 4) // two are done but for the last lesson, one is not, one is not enrolled
	for i, p := range people {
		if i < 3 {
			hear(w, w.service.enrollmentStarted, enrolled(course, p, i))
		}
		w.view(p, course, l[0])
		if i != 2 {
			w.view(p, course, l[1])
		}
	}
	hear(w, w.service.coursePublished, published(course, 2, l[0], l[1]))
	got := map[string]bool{}
	for _, e := range w.completions() {
		got[e.GetAccountId()] = true
	}
	if diff := cmp.Diff(map[string]bool{people[0]: true, people[1]: true}, got); diff != "" {
		t.Errorf("who completed (-want +got):\n%s", diff)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, ana := id.New("course"), id.New("account")
	hear(w, w.service.enrollmentStarted, enrolled(course, ana, 0))
	name := func() string {
		res, err := w.client.ListLearners(w.as(ana), &learningpb.ListLearnersRequest{CourseId: course})
		if err != nil || len(res.GetItems()) != 1 {
			t.Fatalf("ListLearners: %v, %v", res, err)
		}
		return res.GetItems()[0].GetAccountName()
	}
	if got := name(); got != "" {
		t.Errorf("%q before it is known", got)
	}
	hear(w, w.service.accountUpdated, &identitypb.AccountUpdated{AccountId: ana, Name: "Ana III", Version: 3})
	hear(w, w.service.accountCreated, &identitypb.AccountCreated{AccountId: ana, Name: "Ana"})
	hear(w, w.service.accountUpdated, &identitypb.AccountUpdated{AccountId: ana, Name: "Ana II", Version: 2})
	if got := name(); got != "Ana III" {
		t.Errorf("%q, want that of the highest version", got)
	}
}
