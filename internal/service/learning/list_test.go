package learning

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

func TestListMyCourses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	ana, ben := id.New("account"), id.New("account")
	courses, l := newIDs("course", 5), newIDs("lesson", 3)
	for i, c := range courses {
		hear(w, w.service.coursePublished, published(c, 1, l...))
		hear(w, w.service.enrollmentStarted, enrolled(c, ana, i/2)) // some on the same day
	}
	hear(w, w.service.enrollmentStarted, enrolled(courses[0], ben, 9))
	unknown := id.New("course") // enrolled before the course is known here
	hear(w, w.service.enrollmentStarted, enrolled(unknown, ana, 3))
	for _, lesson := range l {
		w.view(ana, courses[1], lesson)
	}
	w.view(ana, courses[4], l[1])
	w.view(ben, courses[0], l[0])

	var got []*learningpb.MyCourse
	cursor := ""
	for pages := 1; ; pages++ {
		res, err := w.client.ListMyCourses(w.as(ana), &learningpb.ListMyCoursesRequest{PageSize: 2, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, res.GetItems()...)
		if cursor = res.GetNextCursor(); cursor == "" {
			if pages != 3 {
				t.Errorf("%d pages, want 3", pages)
			}
			break
		}
	}
	want := []*learningpb.MyCourse{
		{CourseId: unknown, EnrolledAt: timestamppb.New(may.AddDate(0, 0, 3))},
		{CourseId: courses[4], Title: "Stoicism", Percent: 33, EnrolledAt: timestamppb.New(may.AddDate(0, 0, 2)), ResumeLessonId: l[1]},
		{CourseId: courses[3], Title: "Stoicism", EnrolledAt: timestamppb.New(may.AddDate(0, 0, 1))},
		{CourseId: courses[2], Title: "Stoicism", EnrolledAt: timestamppb.New(may.AddDate(0, 0, 1))},
		{CourseId: courses[1], Title: "Stoicism", Percent: 100, EnrolledAt: timestamppb.New(may), ResumeLessonId: l[2], CompletedAt: w.progress(ana, courses[1]).GetCompletedAt()},
		{CourseId: courses[0], Title: "Stoicism", EnrolledAt: timestamppb.New(may)},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// Enrolled anew: the newest counts, in whatever order it is heard.
	hear(w, w.service.enrollmentStarted, enrolled(courses[0], ana, 8), enrolled(courses[0], ana, 4))
	res, err := w.client.ListMyCourses(w.as(ana), &learningpb.ListMyCoursesRequest{PageSize: 1})
	if err != nil || res.GetItems()[0].GetCourseId() != courses[0] || !res.GetItems()[0].GetEnrolledAt().AsTime().Equal(may.AddDate(0, 0, 8)) {
		t.Errorf("after enrolling anew: %v, %v", res, err)
	}
}

func TestListLearners(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	course, other, l, people := id.New("course"), id.New("course"), newIDs("lesson", 3), newIDs("account", 5)
	hear(w, w.service.coursePublished, published(course, 1, l...), published(other, 1, l...))
	for i, p := range people {
		hear(w, w.service.enrollmentStarted, enrolled(course, p, i/2), enrolled(other, p, i))
	}
	hear(w, w.service.accountCreated, &identitypb.AccountCreated{AccountId: people[1], Name: "Ben"})
	w.view(people[0], other, l[0])
	p := w.view(people[1], course, l[0])
	q := w.view(people[1], course, l[2])

	var got []*learningpb.Learner
	cursor := ""
	for {
		res, err := w.client.ListLearners(w.as(people[0]), &learningpb.ListLearnersRequest{CourseId: course, PageSize: 2, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, res.GetItems()...)
		if cursor = res.GetNextCursor(); cursor == "" {
			break
		}
	}
	at := func(day int) *timestamppb.Timestamp { return timestamppb.New(may.AddDate(0, 0, day)) }
	want := []*learningpb.Learner{
		{AccountId: people[4], EnrolledAt: at(2)},
		{AccountId: people[3], EnrolledAt: at(1)},
		{AccountId: people[2], EnrolledAt: at(1)},
		{AccountId: people[1], AccountName: "Ben", Percent: 66, EnrolledAt: at(0), LastSeenAt: q.GetLessons()[1].GetCompletedAt()},
		{AccountId: people[0], EnrolledAt: at(0)},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(p.GetLessons()) != 1 {
		t.Errorf("first view: %v", p)
	}
}

func TestListsRefuse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rpctest.Everything)
	ana := w.as(id.New("account"))
	for _, cursor := range []string{"x", "bm90IGpzb24", "WyJhIl0", "WyJhIiwiYiJd"} {
		if _, err := w.client.ListMyCourses(ana, &learningpb.ListMyCoursesRequest{Cursor: cursor}); !fault.Is(err, fault.Invalid) {
			t.Errorf("ListMyCourses %q: %v", cursor, err)
		}
		if _, err := w.client.ListLearners(ana, &learningpb.ListLearnersRequest{CourseId: id.New("course"), Cursor: cursor}); !fault.Is(err, fault.Invalid) {
			t.Errorf("ListLearners %q: %v", cursor, err)
		}
	}
	if _, err := w.client.ListMyCourses(ana, &learningpb.ListMyCoursesRequest{PageSize: 101}); !fault.Is(err, fault.Invalid) {
		t.Errorf("page of 101: %v", err)
	}
	if _, err := w.client.ListMyCourses(w.as(""), &learningpb.ListMyCoursesRequest{}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("nobody: %v", err)
	}
}
