package courses_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// TestOwnerChanges: the newest owner is kept, whatever comes twice and late, and
// told with what is published.
func TestOwnerChanges(t *testing.T) {
	t.Parallel()
	f := setup(t)
	draft, published := f.course(), f.course()
	f.lesson(published, f.module(published, "a module"), "a lesson")
	f.publish(published)
	told := len(f.events())
	second, third := id.New("account"), id.New("account")
	hear := func(courseID, owner string, version int64) {
		t.Helper()
		err := f.db.InTx(t.Context(), func(tx *pg.Tx) error {
			return courses.CourseOwnerChanged(f.own, t.Context(), tx, &accesspb.CourseOwnerChanged{
				CourseId: courseID, OwnerId: owner, PreviousOwnerId: f.teacherID, Version: version,
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, courseID := range []string{draft, published} {
		hear(courseID, third, 2)
		hear(courseID, third, 2)
		hear(courseID, second, 1)
		got, err := f.GetCourse(f.teacher, &coursespb.GetCourseRequest{CourseId: courseID})
		if err != nil || got.GetOwnerId() != third {
			t.Errorf("owner %s, %v, want %s", got.GetOwnerId(), err, third)
		}
	}
	var last []proto.Message
	if last = f.events()[told:]; len(last) != 1 {
		t.Fatalf("%d events, want one for the published course: %v", len(last), last)
	}
	event, ok := last[0].(*coursespb.CoursePublished)
	if !ok || event.GetOwnerId() != third || event.GetSequence() != 2 || event.GetVersion() != 1 || len(event.GetModules()) != 1 {
		t.Errorf("%v", last[0])
	}
	hear(id.New("course"), second, 1) // never made
}
