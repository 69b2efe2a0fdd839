package courses_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// sized makes a course of so many lessons with two texts each, of which every
// fifth shows a file of 64 KiB.
func (f *archiveFixture) sized(n int) string {
	f.t.Helper()
	files := map[string]string{
		"course.json": `{"title": "Large", "language": "en", "level": "all", "time_zone": "UTC"}`,
	}
	text := strings.Repeat("Some *text* of a lesson, with a [link](https://example.org).\n", 30)
	for i := range n {
		module := fmt.Sprintf("modules/%04d-m", i/10+1)
		files[module+"/module.json"] = fmt.Sprintf(`{"id": "m%d", "title": "Module %d"}`, i/10, i/10)
		lesson := fmt.Sprintf("%s/%02d-l", module, i%10+1)
		files[lesson+"/lesson.json"] = fmt.Sprintf(`{"id": "l%d", "title": "Lesson %d", "blocks": [
			{"block": {"markdown": {}}, "text_file": "a.md"}, {"block": {"markdown": {}}, "text_file": "b.md"}]}`, i, i)
		files[lesson+"/a.md"], files[lesson+"/b.md"] = text, fmt.Sprint(text, i)
	}
	files["media.json"] = `{}`
	i := f.imported("", sealed(f.t, files, 0), false)
	if i.GetState() != "done" {
		f.t.Fatalf("%v", i)
	}
	in := must(f.GetOutline(f.teacher, &coursespb.GetOutlineRequest{CourseId: i.GetCourseId()})).GetItems()
	left := n / 5
	for _, it := range in {
		if it.GetKind() != "lesson" || left == 0 {
			continue
		}
		left--
		mediaID := f.library.put(i.GetCourseId(), fmt.Sprint(left, ".bin"), fmt.Sprint("application/zip:", left, strings.Repeat("x", 64<<10)))
		must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{
			CourseId: i.GetCourseId(), LessonId: it.GetId(), Blocks: &coursespb.Blocks{Items: []*coursespb.Block{
				markdown(text), {Content: &coursespb.Block_File{File: &coursespb.FileBlock{MediaId: mediaID}}},
			}},
		}))
	}
	return i.GetCourseId()
}

// BenchmarkArchive exports and imports courses, and duplicates them.
func BenchmarkArchive(b *testing.B) {
	for _, n := range []int{100, 1_000} {
		f := setupArchive(b)
		c := f.sized(n)
		archive := f.export(c, 0)
		b.Run(fmt.Sprint("export/", n), func(b *testing.B) {
			b.SetBytes(int64(len(archive)))
			for b.Loop() {
				f.export(c, 0)
			}
		})
		b.Run(fmt.Sprint("import/", n), func(b *testing.B) {
			b.SetBytes(int64(len(archive)))
			for b.Loop() {
				f.imported("", archive, false)
			}
		})
		b.Run(fmt.Sprint("duplicate/", n), func(b *testing.B) {
			for b.Loop() {
				must(f.DuplicateCourse(f.teacher, &coursespb.DuplicateCourseRequest{CourseId: c, ShiftDays: 7}))
			}
		})
		b.Run(fmt.Sprint("modules/", n), func(b *testing.B) {
			var all []string
			for _, it := range must(f.GetOutline(f.teacher, &coursespb.GetOutlineRequest{CourseId: c})).GetItems() {
				if it.GetKind() == "module" && len(all) < 100 {
					all = append(all, it.GetId())
				}
			}
			for b.Loop() {
				must(f.CopyModules(f.teacher, &coursespb.CopyModulesRequest{CourseId: f.course(), FromCourseId: c, ModuleIds: all, Position: new(int32(0))}))
			}
		})
	}
}
