package courses_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// BenchmarkVersions: a course of 1,000 lessons, of which one in ten differs.
func BenchmarkVersions(b *testing.B) {
	f := setup(b)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	var lessons []string
	for range 1_000 {
		lessons = append(lessons, must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{
			CourseId: courseID, ModuleId: moduleID, Title: "l", Blocks: []*coursespb.Block{markdown(strings.Repeat("Some words of a lesson.\n", 100))},
		})).GetId())
	}
	f.publish(courseID)
	for i := 0; i < len(lessons); i += 10 {
		f.write(courseID, lessons[i], strings.Repeat("Some words of a lesson.\n", 50)+"And more.\n"+strings.Repeat("Some words of a lesson.\n", 50))
	}
	b.Run("Diff", func(b *testing.B) {
		for b.Loop() {
			must(f.DiffVersions(f.teacher, &coursespb.DiffVersionsRequest{CourseId: courseID, PageSize: 100}))
		}
	})
	b.Run("Preview", func(b *testing.B) {
		for b.Loop() {
			must(f.PreviewPublication(f.teacher, &coursespb.PreviewPublicationRequest{CourseId: courseID}))
		}
	})
	b.Run("Publish", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			f.write(courseID, lessons[i%len(lessons)], fmt.Sprint(i))
			f.publish(courseID)
		}
	})
	b.Run("Revert", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			must(f.RevertCourse(f.teacher, &coursespb.RevertCourseRequest{CourseId: courseID, Version: int32(1 + i%2), DiscardDraft: true}))
		}
	})
}
