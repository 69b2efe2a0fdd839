package courses_test

import (
	"testing"

	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

func BenchmarkReads(b *testing.B) {
	f := setup(b)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	var lessonID string
	for range 50 {
		lessonID = must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{
			CourseId: courseID, ModuleId: moduleID, Title: "l",
			Blocks: []*coursespb.Block{markdown("# A lesson\n\nwith *some* text and a [link](https://example.org)."), markdown("and more")},
		})).GetId()
	}
	f.publish(courseID)
	b.Run("GetCourse", func(b *testing.B) {
		for b.Loop() {
			must(f.GetCourse(f.learner, &coursespb.GetCourseRequest{CourseId: courseID}))
		}
	})
	b.Run("GetOutline", func(b *testing.B) {
		for b.Loop() {
			must(f.GetOutline(f.learner, &coursespb.GetOutlineRequest{CourseId: courseID}))
		}
	})
	b.Run("GetLesson", func(b *testing.B) {
		for b.Loop() {
			must(f.GetLesson(f.learner, &coursespb.GetLessonRequest{CourseId: courseID, LessonId: lessonID}))
		}
	})
	b.Run("UpdateLesson", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: lessonID, Title: new([]string{"a", "b"}[i%2])}))
		}
	})
}
