package courses_test

import (
	"fmt"
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

// BenchmarkPublish publishes a course that has changed since the last time.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := setup(b)
			courseID, _ := f.large(n)
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: courseID, Title: new(fmt.Sprint("Title ", i))}))
				b.StartTimer()
				f.publish(courseID)
			}
		})
	}
}

// BenchmarkLargeOutline reads the table of contents of what is published.
func BenchmarkLargeOutline(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := setup(b)
			courseID, _ := f.large(n)
			f.publish(courseID)
			for b.Loop() {
				must(f.GetOutline(f.learner, &coursespb.GetOutlineRequest{CourseId: courseID}))
			}
		})
	}
}

// BenchmarkRuledMove moves a lesson in a course in which a rule has to be looked
// at.
func BenchmarkRuledMove(b *testing.B) {
	for _, n := range []int{100, 1_000, 9_900} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := setup(b)
			courseID, lessons := f.large(n)
			must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: lessons[1], Settings: &coursespb.ItemSettings{Release: completed(lessons[0])}}))
			to := []string{f.module(courseID, "a"), f.module(courseID, "b")}
			for i := 0; b.Loop(); i++ {
				must(f.MoveItem(f.teacher, &coursespb.MoveItemRequest{CourseId: courseID, ItemId: lessons[5], ParentId: to[i%2]}))
			}
		})
	}
}
