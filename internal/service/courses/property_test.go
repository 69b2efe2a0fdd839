package courses_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// The model of a course: what its outline is to be.
type modelLesson struct {
	ID, Title, Text string
	Preview         bool
}

type modelModule struct {
	ID, Title string
	Lessons   []modelLesson
}

type model []modelModule

func (m model) copy() model {
	out := slices.Clone(m)
	for i := range out {
		out[i].Lessons = slices.Clone(out[i].Lessons)
	}
	return out
}

func (m model) lessons() (n int) {
	for _, module := range m {
		n += len(module.Lessons)
	}
	return n
}

// find returns the place of the n-th lesson.
func (m model) find(n int) (module, lesson int) {
	for i := range m {
		if n < len(m[i].Lessons) {
			return i, n
		}
		n -= len(m[i].Lessons)
	}
	panic("no such lesson")
}

// read is the outline of a course with the texts of its lessons.
func (f *fixture) read(courseID, view string) model {
	f.t.Helper()
	var out model
	o := must(f.GetOutline(f.teacher, &coursespb.GetOutlineRequest{CourseId: courseID, View: view}))
	for i, m := range o.GetModules() {
		module := modelModule{ID: m.GetId(), Title: m.GetTitle()}
		for j, l := range m.GetLessons() {
			full := must(f.GetLesson(f.teacher, &coursespb.GetLessonRequest{CourseId: courseID, LessonId: l.GetId(), View: view}))
			if int(l.GetPosition()) != j || int(m.GetPosition()) != i || full.GetPosition() != l.GetPosition() || full.GetModuleId() != m.GetId() ||
				full.GetTitle() != l.GetTitle() || full.GetPreview() != l.GetPreview() || full.GetEtag() != l.GetEtag() {
				f.t.Errorf("the outline has %v where the lesson is %v", l, full)
			}
			module.Lessons = append(module.Lessons, modelLesson{
				ID: l.GetId(), Title: l.GetTitle(), Preview: l.GetPreview(), Text: full.GetBlocks()[0].GetMarkdown().GetText(),
			})
		}
		out = append(out, module)
	}
	return out
}

// digest is a hash of all that a course ever published.
func (f *fixture) digest(courseID string, upTo int) string {
	f.t.Helper()
	var out string
	if err := f.db.QueryRow(f.t.Context(), `
		SELECT coalesce(md5(string_agg(p::text || i::text || v::text, ';' ORDER BY p.number, i.item_id)), '')
		FROM publication p JOIN publication_item i USING (course_id, number) JOIN item_version v ON v.id = i.version_id
		WHERE p.course_id = $1 AND p.number <= $2`, courseID, upTo).Scan(&out); err != nil {
		f.t.Fatal(err)
	}
	return out
}

// Whatever is done to a course in whatever order: its draft is what was made of
// it, what is published is the draft of then, and what was published before
// does not change.
func TestCourseIsItsModel(t *testing.T) {
	t.Parallel()
	f := setup(t)
	rapid.Check(t, func(rt *rapid.T) {
		courseID := f.course()
		var draft, published model
		var version int
		var digests []string
		changed := true
		serial := 0
		title := func() string {
			serial++
			return fmt.Sprint("title ", serial)
		}
		place := func(label string) *int32 {
			if n := rapid.Int32Range(-3, 5).Draw(rt, label); n >= 0 {
				return &n
			}
			return nil
		}
		for range rapid.IntRange(1, 14).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"module", "lesson", "lesson", "edit", "move", "move", "move module", "delete lesson", "delete module", "publish", "unpublish"}).Draw(rt, "step") {
			case "module":
				m := modelModule{Title: title()}
				m.ID = f.module(courseID, m.Title)
				draft, changed = append(draft, m), true
			case "lesson":
				if len(draft) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(draft)-1).Draw(rt, "module")
				l := modelLesson{Title: title(), Text: title(), Preview: rapid.Bool().Draw(rt, "preview")}
				l.ID = must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{
					CourseId: courseID, ModuleId: draft[i].ID, Title: l.Title, Preview: l.Preview, Blocks: []*coursespb.Block{markdown(l.Text)},
				})).GetId()
				draft[i].Lessons, changed = append(draft[i].Lessons, l), true
			case "edit":
				if draft.lessons() == 0 {
					continue
				}
				i, j := draft.find(rapid.IntRange(0, draft.lessons()-1).Draw(rt, "lesson"))
				l := &draft[i].Lessons[j]
				l.Text, changed = title(), true
				must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{
					CourseId: courseID, LessonId: l.ID, Blocks: &coursespb.Blocks{Items: []*coursespb.Block{markdown(l.Text)}},
				}))
			case "move":
				if draft.lessons() == 0 {
					continue
				}
				i, j := draft.find(rapid.IntRange(0, draft.lessons()-1).Draw(rt, "lesson"))
				to := rapid.IntRange(0, len(draft)-1).Draw(rt, "to")
				at := place("at")
				l := draft[i].Lessons[j]
				must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: l.ID, ModuleId: &draft[to].ID, Position: at}))
				if to == i && at == nil {
					continue
				}
				draft[i].Lessons = slices.Delete(draft[i].Lessons, j, j+1)
				k := len(draft[to].Lessons)
				if at != nil {
					k = min(int(*at), k)
				}
				draft[to].Lessons = slices.Insert(draft[to].Lessons, k, l)
				changed = changed || to != i || k != j
			case "move module":
				if len(draft) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(draft)-1).Draw(rt, "module")
				at := place("at")
				m := draft[i]
				must(f.UpdateModule(f.teacher, &coursespb.UpdateModuleRequest{CourseId: courseID, ModuleId: m.ID, Position: at}))
				if at == nil {
					continue
				}
				draft = slices.Delete(draft, i, i+1)
				k := min(int(*at), len(draft))
				draft = slices.Insert(draft, k, m)
				changed = changed || k != i
			case "delete lesson":
				if draft.lessons() == 0 {
					continue
				}
				i, j := draft.find(rapid.IntRange(0, draft.lessons()-1).Draw(rt, "lesson"))
				must(f.DeleteLesson(f.teacher, &coursespb.DeleteLessonRequest{CourseId: courseID, LessonId: draft[i].Lessons[j].ID}))
				draft[i].Lessons, changed = slices.Delete(draft[i].Lessons, j, j+1), true
			case "delete module":
				if len(draft) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(draft)-1).Draw(rt, "module")
				must(f.DeleteModule(f.teacher, &coursespb.DeleteModuleRequest{CourseId: courseID, ModuleId: draft[i].ID}))
				draft, changed = slices.Delete(draft, i, i+1), true
			case "publish":
				c, err := f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: courseID})
				if changed && draft.lessons() == 0 {
					tells(rt, "an empty draft", err, fault.Invalid, "course.no_lessons")
					continue
				}
				if err != nil {
					rt.Fatal(err)
				}
				if int(c.GetPublishedVersion()) > version {
					version++
					published, changed = draft.copy(), false
					digests = append(digests, f.digest(courseID, version))
				}
				if int(c.GetPublishedVersion()) != version || c.GetHasUnpublishedChanges() {
					rt.Fatalf("published: %v", c)
				}
			case "unpublish":
				if c := must(f.UnpublishCourse(f.teacher, &coursespb.UnpublishCourseRequest{CourseId: courseID})); c.GetState() != "draft" {
					rt.Fatalf("taken out: %v", c)
				}
			}
			c := must(f.GetCourse(f.teacher, &coursespb.GetCourseRequest{CourseId: courseID}))
			if changed != c.GetHasUnpublishedChanges() {
				rt.Fatalf("changes: %v, told: %v", changed, c.GetHasUnpublishedChanges())
			}
		}
		same(rt, "draft", normal(draft), normal(f.read(courseID, "draft")))
		if version > 0 {
			same(rt, "published", normal(published), normal(f.read(courseID, "published")))
		}
		for i, digest := range digests {
			if f.digest(courseID, i+1) != digest {
				rt.Errorf("version %d has changed", i+1)
			}
		}
	})
}

// normal makes empty lists nil.
func normal(m model) model {
	if len(m) == 0 {
		return nil
	}
	for i := range m {
		if len(m[i].Lessons) == 0 {
			m[i].Lessons = nil
		}
	}
	return m
}
