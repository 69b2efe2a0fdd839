package courses_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// copied returns what was told of copied activities.
func (f *archiveFixture) copied() []*coursespb.ActivitiesCopied {
	f.t.Helper()
	var out []*coursespb.ActivitiesCopied
	for _, e := range f.events() {
		if c, ok := e.(*coursespb.ActivitiesCopied); ok {
			out = append(out, c)
		}
	}
	return out
}

func TestActivitiesAreCopied(t *testing.T) {
	t.Parallel()
	f := setupArchive(t)
	c := f.course()
	module, quiz, assignment := f.module(c, "Module"), id.New("quiz"), id.New("assignment")
	for _, one := range [][3]string{{"quiz", "First", quiz}, {"quiz", "Second", quiz}, {"assignment", "Third", assignment}} {
		must(f.CreateActivity(f.teacher, &coursespb.CreateActivityRequest{CourseId: c, ModuleId: module, Kind: one[0], Title: one[1], ActivityRef: one[2]}))
	}
	got := must(f.DuplicateCourse(f.teacher, &coursespb.DuplicateCourseRequest{CourseId: c}))
	made := got.GetCourse().GetId()
	ref := func(course, title string) string {
		t.Helper()
		return must(f.GetActivity(f.teacher, &coursespb.GetActivityRequest{CourseId: course, ActivityId: f.items(course)[title].GetId()})).GetActivityRef()
	}
	first, third := ref(made, "First"), ref(made, "Third")
	if !id.Valid("quiz", first) || first == quiz || ref(made, "Second") != first || !id.Valid("assignment", third) || third == assignment || got.GetLeftOut() != 0 {
		t.Errorf("the copies show %q, %q and %q; notes %v", first, ref(made, "Second"), ref(made, "Third"), got.GetNotes())
	}
	told := f.copied()
	want := &coursespb.ActivitiesCopied{CourseId: made, FromCourseId: c, AccountId: f.teacherID, Quizzes: []*coursespb.CopiedQuiz{{QuizId: first, FromQuizId: quiz}}, Assignments: []*coursespb.CopiedAssignment{{AssignmentId: third, FromAssignmentId: assignment}}}
	if len(told) != 1 || !proto.Equal(told[0], want) {
		t.Errorf("told %v, want %v", told, want)
	}
	// In the same course a copy shows the same quiz, and nothing is to be made.
	must(f.CopyModules(f.teacher, &coursespb.CopyModulesRequest{CourseId: c, FromCourseId: c, ModuleIds: []string{module}}))
	seen := 0
	for _, it := range must(f.GetOutline(f.teacher, &coursespb.GetOutlineRequest{CourseId: c})).GetItems() {
		if it.GetTitle() == "First" && must(f.GetActivity(f.teacher, &coursespb.GetActivityRequest{CourseId: c, ActivityId: it.GetId()})).GetActivityRef() == quiz {
			seen++
		}
	}
	if seen != 2 || len(f.copied()) != 1 {
		t.Errorf("%d show the quiz, told %d times", seen, len(f.copied()))
	}
	// Who may not make quizzes there gets none of what is right in them.
	f.deny[f.teacherID+" "+c+" assessment.edit"] = true
	got = must(f.DuplicateCourse(f.teacher, &coursespb.DuplicateCourseRequest{CourseId: c}))
	if ref(got.GetCourse().GetId(), "First") != "" || ref(got.GetCourse().GetId(), "Third") != "" || len(f.copied()) != 1 {
		t.Errorf("copied: %v, told %d times", got, len(f.copied()))
	}
}
