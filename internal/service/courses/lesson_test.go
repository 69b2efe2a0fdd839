package courses_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

func markdown(text string) *coursespb.Block {
	return &coursespb.Block{Content: &coursespb.Block_Markdown{Markdown: &coursespb.MarkdownBlock{Text: text}}}
}

func image(mediaID string) *coursespb.Block {
	return &coursespb.Block{Content: &coursespb.Block_Image{Image: &coursespb.ImageBlock{MediaId: mediaID, Alt: "alt", Caption: "caption"}}}
}

func file(mediaID, title string) *coursespb.Block {
	return &coursespb.Block{Content: &coursespb.Block_File{File: &coursespb.FileBlock{MediaId: mediaID, Title: title}}}
}

func TestBlocks(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	picture, paper := f.media.add(courseID, "image/png"), f.media.add(courseID, "application/pdf")
	sent := markdown("# <b>Hi</b>\n\n- [x] done")
	sent.GetMarkdown().Html = "<script>alert(1)</script>"
	got := must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{
		CourseId: courseID, ModuleId: moduleID, Title: " Lesson ", Preview: true,
		Blocks: []*coursespb.Block{sent, image(picture), file(paper, ""), file(paper, "Paper"), markdown("\n\ttext \\u0000 'quotes' \"too\" 😀\r\n")},
	}))
	want := &coursespb.Lesson{
		Id: got.GetId(), CourseId: courseID, ModuleId: moduleID, Title: "Lesson", Preview: true, Etag: "1", UpdatedAt: got.GetUpdatedAt(),
		ContentHash: got.GetContentHash(), ContentVersion: 1,
		Blocks: []*coursespb.Block{
			{Content: &coursespb.Block_Markdown{Markdown: &coursespb.MarkdownBlock{
				Text: "# <b>Hi</b>\n\n- [x] done",
				Html: "<h1>&lt;b&gt;Hi&lt;/b&gt;</h1>\n<ul>\n<li><input checked=\"\" disabled=\"\" type=\"checkbox\"> done</li>\n</ul>\n",
			}}},
			{Content: &coursespb.Block_Image{Image: &coursespb.ImageBlock{MediaId: picture, Alt: "alt", Caption: "caption", Url: "/v1/media/" + picture + "/content", Media: f.media.told(courseID, picture)}}},
			{Content: &coursespb.Block_File{File: &coursespb.FileBlock{
				MediaId: paper, Title: "name of " + paper, Url: "/v1/media/" + paper + "/content", ContentType: "application/pdf", Size: 42, Media: f.media.told(courseID, paper),
			}}},
			{Content: &coursespb.Block_File{File: &coursespb.FileBlock{
				MediaId: paper, Title: "Paper", Url: "/v1/media/" + paper + "/content", ContentType: "application/pdf", Size: 42, Media: f.media.told(courseID, paper),
			}}},
			{Content: &coursespb.Block_Markdown{Markdown: &coursespb.MarkdownBlock{
				Text: "\n\ttext \\u0000 'quotes' \"too\" 😀\r\n",
				Html: "<pre><code>text \\u0000 &#39;quotes&#39; &#34;too&#34; 😀\n</code></pre>\n",
			}}},
		},
	}
	same(t, "CreateLesson", want, got)
	asked := f.media.asked()
	same(t, "GetLesson", want, must(f.GetLesson(f.teacher, &coursespb.GetLessonRequest{CourseId: courseID, LessonId: got.GetId()})))
	if n := f.media.asked() - asked; n != 1 {
		t.Errorf("media was asked %d times to read a lesson", n)
	}

	// What is stored has nothing of what is made for readers.
	var stored string
	if err := f.db.QueryRow(t.Context(), `SELECT body::text FROM item_version WHERE item_id = $1`, got.GetId()).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	for _, no := range []string{"script", "content", "html", ": 42"} {
		if strings.Contains(stored, no) {
			t.Errorf("%q is stored: %s", no, stored)
		}
	}

	updated := must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{
		CourseId: courseID, LessonId: got.GetId(), Blocks: &coursespb.Blocks{Items: []*coursespb.Block{markdown("only this")}},
	}))
	if len(updated.GetBlocks()) != 1 || updated.GetBlocks()[0].GetMarkdown().GetHtml() != "<p>only this</p>\n" || updated.GetEtag() != "2" {
		t.Errorf("updated: %v", updated)
	}
	asked = f.media.asked()
	same(t, "read again", updated, must(f.GetLesson(f.teacher, &coursespb.GetLessonRequest{CourseId: courseID, LessonId: got.GetId()})))
	if f.media.asked() != asked {
		t.Error("media was asked about a lesson without files")
	}
	same(t, "what is so stays", updated, must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{
		CourseId: courseID, LessonId: got.GetId(), Title: new("Lesson"), Preview: new(true),
		Blocks: &coursespb.Blocks{Items: []*coursespb.Block{markdown("only this")}},
	})))
	if emptied := must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: got.GetId(), Blocks: &coursespb.Blocks{}})); len(emptied.GetBlocks()) != 0 {
		t.Errorf("emptied: %v", emptied)
	}
	var versions int
	if err := f.db.QueryRow(t.Context(), `SELECT count(*) FROM item_version WHERE item_id = $1`, got.GetId()).Scan(&versions); err != nil || versions != 3 {
		t.Errorf("%d versions, %v", versions, err)
	}
}

func TestBlocksRefused(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	lessonID := f.lesson(courseID, moduleID, "l")
	paper, foreign, unknown := f.media.add(courseID, "application/pdf"), f.media.add(f.course(), "image/png"), id.New("media")
	for name, c := range map[string]struct {
		blocks     []*coursespb.Block
		code       string
		kind       fault.Kind
		where      []string
		whereLater []string
	}{
		"absent": {
			[]*coursespb.Block{markdown("x"), file(paper, ""), image(unknown), file(foreign, "")},
			"media.not_found", fault.Invalid,
			[]string{"blocks[2].image.media_id media.not_found", "blocks[3].file.media_id media.not_found"},
			[]string{"blocks.items[2].image.media_id media.not_found", "blocks.items[3].file.media_id media.not_found"},
		},
		"no picture": {
			[]*coursespb.Block{image(paper)},
			"media.not_image", fault.Invalid,
			[]string{"blocks[0].image.media_id media.not_image"},
			[]string{"blocks.items[0].image.media_id media.not_image"},
		},
		"too large": {
			slices.Repeat([]*coursespb.Block{markdown(strings.Repeat("x", 99_000))}, 11),
			"lesson.too_large", fault.TooLarge, nil, nil,
		},
		"no content": {
			[]*coursespb.Block{{}},
			"request.invalid", fault.Invalid,
			[]string{"blocks[0].content required"},
			[]string{"blocks.items[0].content required"},
		},
		"too many": {
			slices.Repeat([]*coursespb.Block{markdown("x")}, 201), "request.invalid", fault.Invalid,
			[]string{"blocks repeated.max_items"},
			[]string{"blocks.items repeated.max_items"},
		},
	} {
		_, err := f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: courseID, ModuleId: moduleID, Title: "x", Blocks: c.blocks})
		tells(t, name, err, c.kind, c.code)
		same(t, name, c.where, fields(err))
		_, err = f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: lessonID, Blocks: &coursespb.Blocks{Items: c.blocks}})
		tells(t, name+", update", err, c.kind, c.code)
		same(t, name+", update", c.whereLater, fields(err))
	}
	if l := must(f.GetLesson(f.teacher, &coursespb.GetLessonRequest{CourseId: courseID, LessonId: lessonID})); l.GetEtag() != "1" {
		t.Errorf("changed by what was refused: %v", l)
	}
}

// Who may read a lesson depends on the course, on the lesson and on the reader.
func TestWhoReads(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	open := must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: courseID, ModuleId: moduleID, Title: "open", Preview: true})).GetId()
	closed := f.lesson(courseID, moduleID, "closed")
	unknown := id.New("lesson")
	foreign := f.course()
	elsewhere := f.lesson(foreign, f.module(foreign, "m"), "elsewhere")

	read := func(step string, want map[string]string) {
		t.Helper()
		got := map[string]string{}
		for who, as := range map[string]struct {
			ctx  context.Context //nolint:containedctx // a row of a table
			view string
		}{
			"staff": {f.teacher, ""}, "staff as learner": {f.teacher, "published"}, "learner": {f.learner, ""},
			"learner's draft": {f.learner, "draft"}, "outsider": {f.outsider, ""}, "nobody": {f.stranger, ""},
		} {
			var line []string
			for _, lessonID := range []string{open, closed, unknown, elsewhere} {
				l, err := f.GetLesson(as.ctx, &coursespb.GetLessonRequest{CourseId: courseID, LessonId: lessonID, View: as.view})
				if err != nil {
					line = append(line, fault.CodeOf(err))
					continue
				}
				line = append(line, "reads"+l.GetEtag())
			}
			got[who] = strings.Join(line, " ")
		}
		same(t, step, want, got)
	}

	f.shown.Store(false)
	read("a draft", map[string]string{
		"staff":            "reads1 reads1 lesson.not_found lesson.not_found",
		"staff as learner": "not_found not_found not_found not_found",
		"learner":          "not_found not_found not_found not_found",
		"learner's draft":  "not_found not_found not_found not_found",
		"outsider":         "not_found not_found not_found not_found",
		"nobody":           "not_found not_found not_found not_found",
	})
	f.publish(courseID)
	f.shown.Store(true)
	inMarket := map[string]string{
		"staff":            "reads1 reads1 lesson.not_found lesson.not_found",
		"staff as learner": "reads reads lesson.not_found lesson.not_found",
		"learner":          "reads reads lesson.not_found lesson.not_found",
		"learner's draft":  "reads reads lesson.not_found lesson.not_found",
		"outsider":         "reads lesson.not_enrolled lesson.not_found lesson.not_found",
		"nobody":           "reads auth.required auth.required auth.required",
	}
	read("published", inMarket)
	f.shown.Store(false)
	must(f.UnpublishCourse(f.teacher, &coursespb.UnpublishCourseRequest{CourseId: courseID}))
	read("taken out", map[string]string{
		"staff":            "reads1 reads1 lesson.not_found lesson.not_found",
		"staff as learner": "reads reads lesson.not_found lesson.not_found",
		"learner":          "reads reads lesson.not_found lesson.not_found",
		"learner's draft":  "reads reads lesson.not_found lesson.not_found",
		"outsider":         "not_found not_found not_found not_found",
		"nobody":           "auth.required auth.required auth.required auth.required",
	})
}

func TestPublishedLessonStays(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	f.lesson(courseID, moduleID, "first")
	l := must(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: courseID, ModuleId: moduleID, Title: "l", Blocks: []*coursespb.Block{markdown("one")}}))
	f.publish(courseID)
	req := &coursespb.GetLessonRequest{CourseId: courseID, LessonId: l.GetId()}
	want := must(f.GetLesson(f.learner, req))
	if want.GetPosition() != 1 || want.GetBlocks()[0].GetMarkdown().GetText() != "one" {
		t.Errorf("published: %v", want)
	}
	must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{
		CourseId: courseID, LessonId: l.GetId(), Title: new("new"), Position: new(int32(0)),
		Blocks: &coursespb.Blocks{Items: []*coursespb.Block{markdown("two")}},
	}))
	same(t, "after a change", want, must(f.GetLesson(f.learner, req)))
	must(f.DeleteModule(f.teacher, &coursespb.DeleteModuleRequest{CourseId: courseID, ModuleId: moduleID}))
	same(t, "after it was deleted", want, must(f.GetLesson(f.learner, req)))
	_, err := f.GetLesson(f.teacher, req)
	tells(t, "the draft of it", err, fault.NotFound, "lesson.not_found")
	_, err = f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: courseID})
	tells(t, "the empty draft", err, fault.Invalid, "course.no_lessons")
}

// order returns the titles of a draft in their order, such as "a(1 2) b()".
func (f *fixture) order(courseID string) string {
	f.t.Helper()
	o := must(f.GetOutline(f.teacher, &coursespb.GetOutlineRequest{CourseId: courseID}))
	var out []string
	for i, m := range o.GetModules() {
		var titles []string
		for j, l := range m.GetLessons() {
			if int(m.GetPosition()) != i || int(l.GetPosition()) != j || l.GetModuleId() != m.GetId() {
				f.t.Errorf("out of place: %v %v", m, l)
			}
			titles = append(titles, l.GetTitle())
		}
		out = append(out, m.GetTitle()+"("+strings.Join(titles, " ")+")")
	}
	return strings.Join(out, " ")
}

func TestMoves(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	ids := map[string]string{}
	for _, m := range []string{"a", "b", "c"} {
		ids[m] = f.module(courseID, m)
	}
	for _, l := range []string{"1", "2", "3", "4"} {
		ids[l] = f.lesson(courseID, ids["a"], l)
	}
	for _, step := range []struct {
		what, to string
		place    int32 // -1 for none
		want     string
		at       int32
	}{
		{"1", "", 2, "a(2 3 1 4) b() c()", 2},
		{"1", "", 0, "a(1 2 3 4) b() c()", 0},
		{"4", "", 1, "a(1 4 2 3) b() c()", 1},
		{"4", "", 9999, "a(1 2 3 4) b() c()", 3},
		{"2", "b", -1, "a(1 3 4) b(2) c()", 0},
		{"3", "b", 0, "a(1 4) b(3 2) c()", 0},
		{"1", "b", 1, "a(4) b(3 1 2) c()", 1},
		{"1", "b", -1, "a(4) b(3 1 2) c()", 1}, // it is there already
		{"4", "b", 100, "a() b(3 1 2 4) c()", 3},
		{"c", "", 0, "c() a() b(3 1 2 4)", 0},
		{"a", "", 2, "c() b(3 1 2 4) a()", 2},
		{"b", "", 1000, "c() a() b(3 1 2 4)", 2},
		{"b", "", 2, "c() a() b(3 1 2 4)", 2},
	} {
		var place *int32
		if step.place >= 0 {
			place = &step.place
		}
		var at int32
		if len(ids[step.what]) > 0 && ids[step.what][0] == 'm' {
			at = must(f.UpdateModule(f.teacher, &coursespb.UpdateModuleRequest{CourseId: courseID, ModuleId: ids[step.what], Position: place})).GetPosition()
		} else {
			req := &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: ids[step.what], Position: place}
			if step.to != "" {
				req.ModuleId = new(ids[step.to])
			}
			at = must(f.UpdateLesson(f.teacher, req)).GetPosition()
		}
		if got := f.order(courseID); got != step.want || at != step.at {
			t.Fatalf("%s to %s %d: %s at %d, want %s at %d", step.what, step.to, step.place, got, at, step.want, step.at)
		}
	}
	_, err := f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: ids["1"], ModuleId: new(id.New("module"))})
	tells(t, "to no module", err, fault.NotFound, "module.not_found")
	other := f.course()
	_, err = f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: ids["1"], ModuleId: new(f.module(other, "x"))})
	tells(t, "to a module of another course", err, fault.NotFound, "module.not_found")
	_, err = f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: other, LessonId: ids["1"], Title: new("x")})
	tells(t, "a lesson of another course", err, fault.NotFound, "lesson.not_found")
	_, err = f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: id.New("course"), LessonId: ids["1"], Position: new(int32(1))})
	tells(t, "no course", err, fault.NotFound, "not_found")
}

// When there is no gap left the siblings are numbered again.
func TestMovesWithoutEnd(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	var lessons []string
	for _, title := range []string{"a", "b", "c"} {
		lessons = append(lessons, f.lesson(courseID, moduleID, title))
	}
	// a before the other two stays; these two change places again and again,
	// each time into the half of the gap before.
	for i := range 80 {
		must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: lessons[2-i%2], Position: new(int32(1))}))
		want := []string{"m(a c b)", "m(a b c)"}[i%2]
		if got := f.order(courseID); got != want {
			t.Fatalf("move %d: %s, want %s", i, got, want)
		}
	}
}

func TestModules(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	got := must(f.CreateModule(f.teacher, &coursespb.CreateModuleRequest{CourseId: courseID, Title: " First "}))
	same(t, "CreateModule", &coursespb.Module{Id: got.GetId(), CourseId: courseID, Title: "First", Etag: "1"}, got)
	f.module(courseID, "Second")
	got = must(f.UpdateModule(f.teacher, &coursespb.UpdateModuleRequest{CourseId: courseID, ModuleId: got.GetId(), Title: new("Renamed"), Position: new(int32(1))}))
	same(t, "UpdateModule", &coursespb.Module{Id: got.GetId(), CourseId: courseID, Title: "Renamed", Position: 1, Etag: "2"}, got)
	same(t, "what is so stays", got, must(f.UpdateModule(f.teacher, &coursespb.UpdateModuleRequest{CourseId: courseID, ModuleId: got.GetId(), Title: new("Renamed")})))

	stale := rpc.WithIfMatch(f.teacher, "1")
	_, err := f.UpdateModule(stale, &coursespb.UpdateModuleRequest{CourseId: courseID, ModuleId: got.GetId(), Title: new("x")})
	tells(t, "stale update", err, fault.Precondition, "etag.stale")
	_, err = f.DeleteModule(stale, &coursespb.DeleteModuleRequest{CourseId: courseID, ModuleId: got.GetId()})
	tells(t, "stale delete", err, fault.Precondition, "etag.stale")

	other := f.course()
	for name, err := range map[string]error{
		"update": second(f.UpdateModule(f.teacher, &coursespb.UpdateModuleRequest{CourseId: other, ModuleId: got.GetId(), Title: new("x")})),
		"delete": second(f.DeleteModule(f.teacher, &coursespb.DeleteModuleRequest{CourseId: other, ModuleId: got.GetId()})),
		"lesson": second(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: other, ModuleId: got.GetId(), Title: "x"})),
	} {
		tells(t, name+" of another course", err, fault.NotFound, "module.not_found")
	}
	_, err = f.CreateModule(f.teacher, &coursespb.CreateModuleRequest{CourseId: id.New("course"), Title: "x"})
	tells(t, "no course", err, fault.NotFound, "not_found")
	for name, err := range map[string]error{
		"create module": second(f.CreateModule(f.learner, &coursespb.CreateModuleRequest{CourseId: courseID, Title: "x"})),
		"update module": second(f.UpdateModule(f.learner, &coursespb.UpdateModuleRequest{CourseId: courseID, ModuleId: got.GetId()})),
		"delete module": second(f.DeleteModule(f.learner, &coursespb.DeleteModuleRequest{CourseId: courseID, ModuleId: got.GetId()})),
		"create lesson": second(f.CreateLesson(f.learner, &coursespb.CreateLessonRequest{CourseId: courseID, ModuleId: got.GetId(), Title: "x"})),
		"update lesson": second(f.UpdateLesson(f.learner, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: id.New("lesson")})),
		"delete lesson": second(f.DeleteLesson(f.learner, &coursespb.DeleteLessonRequest{CourseId: courseID, LessonId: id.New("lesson")})),
	} {
		tells(t, name+" of a learner", err, fault.Forbidden, "auth.forbidden")
	}

	l := f.lesson(courseID, got.GetId(), "l")
	must(f.DeleteModule(rpc.WithIfMatch(f.teacher, "2"), &coursespb.DeleteModuleRequest{CourseId: courseID, ModuleId: got.GetId()}))
	if got := f.order(courseID); got != "Second()" {
		t.Errorf("after the deletion: %s", got)
	}
	_, err = f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: l, Title: new("x")})
	tells(t, "a lesson of a deleted module", err, fault.NotFound, "lesson.not_found")
}

func TestDeleteLesson(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	first, _ := f.lesson(courseID, moduleID, "1"), f.lesson(courseID, moduleID, "2")
	req := &coursespb.DeleteLessonRequest{CourseId: courseID, LessonId: first}
	_, err := f.DeleteLesson(rpc.WithIfMatch(f.teacher, "7"), req)
	tells(t, "stale", err, fault.Precondition, "etag.stale")
	ctx := rpc.WithIdempotencyKey(f.teacher, "delete")
	must(f.DeleteLesson(ctx, req))
	must(f.DeleteLesson(ctx, req)) // the same request again
	_, err = f.DeleteLesson(f.teacher, req)
	tells(t, "twice", err, fault.NotFound, "lesson.not_found")
	if got := f.order(courseID); got != "m(2)" {
		t.Errorf("after the deletion: %s", got)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	lessonID := f.lesson(courseID, moduleID, "l")
	// Filled by SQL: through RPCs it would take a minute.
	for kind, n := range map[string]int{"module": 999, "lesson": 9_999} {
		ids := make([]string, n)
		for i := range ids {
			ids[i] = id.New(kind)
		}
		parent := map[string]string{"lesson": moduleID}[kind]
		if _, err := f.db.Exec(t.Context(), `
			WITH v AS (
				INSERT INTO item_version (item_id, title, preview, body, author_id, created_at)
				SELECT n, repeat('t', 150), false, '[]', '', now() FROM unnest($1::text[]) n RETURNING id, item_id)
			INSERT INTO item (id, course_id, parent_id, kind, position, version_id)
			SELECT item_id, $2, $3, $4, id * 4294967296, id FROM v`, ids, courseID, parent, kind); err != nil {
			t.Fatal(err)
		}
	}
	_, err := f.CreateModule(f.teacher, &coursespb.CreateModuleRequest{CourseId: courseID, Title: "one more"})
	tells(t, "modules", err, fault.Invalid, "course.too_many_modules")
	_, err = f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: courseID, ModuleId: moduleID, Title: "one more"})
	tells(t, "lessons", err, fault.Invalid, "course.too_many_lessons")
	if l := must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: lessonID, Position: new(int32(10_000))})); l.GetPosition() != 9_999 {
		t.Errorf("moved to %d", l.GetPosition())
	}
	if o := must(f.GetOutline(f.teacher, &coursespb.GetOutlineRequest{CourseId: courseID})); len(o.GetModules()) != 1_000 || len(o.GetModules()[0].GetLessons()) != 10_000 {
		t.Errorf("outline: %d modules", len(o.GetModules()))
	}
	// More than an event carries is refused, and nothing of it stays.
	_, err = f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: courseID})
	tells(t, "too large an event", err, fault.Invalid, "course.too_large")
	if c := must(f.GetCourse(f.teacher, &coursespb.GetCourseRequest{CourseId: courseID})); c.GetState() != "draft" || c.GetPublishedVersion() != 0 {
		t.Errorf("after the refusal: %v", c)
	}
	if _, err := f.db.Exec(t.Context(), `
		DELETE FROM item WHERE id IN (SELECT id FROM item WHERE kind = 'lesson' ORDER BY position LIMIT 6000)`); err != nil {
		t.Fatal(err)
	}
	f.publish(courseID)
	o := must(f.GetOutline(f.learner, &coursespb.GetOutlineRequest{CourseId: courseID}))
	if len(o.GetModules()) != 1_000 || len(o.GetModules()[0].GetLessons()) != 4_000 || o.GetVersion() != 1 {
		t.Errorf("outline %d: %d modules", o.GetVersion(), len(o.GetModules()))
	}
}

func TestLessonRace(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	lessonID := f.lesson(courseID, f.module(courseID, "m"), "l")
	var won int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			l, err := f.UpdateLesson(rpc.WithIfMatch(f.teacher, "1"), &coursespb.UpdateLessonRequest{
				CourseId: courseID, LessonId: lessonID, Title: new(fmt.Sprint(i)), Position: []*int32{nil, new(int32(0))}[i%2],
			})
			mu.Lock()
			defer mu.Unlock()
			if err == nil && l.GetTitle() == fmt.Sprint(i) && l.GetEtag() == "2" {
				won++
			} else if fault.CodeOf(err) != "etag.stale" {
				t.Error(l, err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d won", won)
	}
	// Without If-Match all are done, one after the other.
	for i := range 8 {
		wg.Go(func() {
			_, err := f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: lessonID, Title: new(fmt.Sprint("again ", i))})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if l := must(f.GetLesson(f.teacher, &coursespb.GetLessonRequest{CourseId: courseID, LessonId: lessonID})); l.GetEtag() != "10" {
		t.Errorf("etag %s", l.GetEtag())
	}
}

// While lessons are saved, moved and added, what is published is the draft at
// some moment: each writer's lessons as they were between two of its saves.
func TestPublishWhileSaving(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID, other := f.module(courseID, "m"), f.module(courseID, "n")
	const writers, saves = 4, 12
	var lessons [writers][2]string
	for w := range writers {
		lessons[w] = [2]string{f.lesson(courseID, moduleID, "0"), f.lesson(courseID, moduleID, "0")}
	}
	var writing, publishing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for n := 1; n <= saves; n++ {
				for _, lessonID := range lessons[w] {
					req := &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: lessonID, Title: new(fmt.Sprint(n))}
					if w == 0 {
						req.ModuleId = new([]string{moduleID, other}[n%2])
					}
					if _, err := f.UpdateLesson(f.teacher, req); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	done := make(chan struct{})
	publishing.Go(func() {
		for {
			f.publish(courseID)
			o := must(f.GetOutline(f.learner, &coursespb.GetOutlineRequest{CourseId: courseID}))
			titles := map[string]string{}
			for _, m := range o.GetModules() {
				for _, l := range m.GetLessons() {
					titles[l.GetId()] = l.GetTitle()
				}
			}
			if len(titles) != 2*writers {
				t.Errorf("version %d has %d lessons", o.GetVersion(), len(titles))
			}
			for w := range writers {
				var first, second int
				_, _ = fmt.Sscan(titles[lessons[w][0]], &first)
				_, _ = fmt.Sscan(titles[lessons[w][1]], &second)
				// The first is saved before the second.
				if first-second != 0 && first-second != 1 {
					t.Errorf("version %d: writer %d was between %d and %d", o.GetVersion(), w, first, second)
				}
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	writing.Wait()
	close(done)
	publishing.Wait()
	last := f.publish(courseID)
	if last.GetHasUnpublishedChanges() {
		t.Error("there is still something to publish")
	}
	// No change was missed: what learners see is the draft.
	draft := must(f.GetOutline(f.teacher, &coursespb.GetOutlineRequest{CourseId: courseID}))
	published := must(f.GetOutline(f.teacher, &coursespb.GetOutlineRequest{CourseId: courseID, View: "published"}))
	published.Version = 0
	same(t, "the last version", draft, published, "etag")
	events := f.events()
	for i, e := range events {
		if ev, ok := e.(*coursespb.CoursePublished); !ok || ev.GetSequence() != int64(i+1) || ev.GetVersion() != int32(i+1) {
			t.Errorf("event %d: %v", i, e)
		}
	}
}

// Who may edit a lesson or a module changes what is in it, and nothing of the
// course around it.
func TestEditorOfAnItem(t *testing.T) {
	t.Parallel()
	f := setup(t)
	course := f.course()
	module, other := f.module(course, "One"), f.module(course, "Two")
	lesson := f.lesson(course, module, "Lesson")
	editor := rpctest.Account(t.Context(), f.editorID)
	if _, err := f.UpdateLesson(editor, &coursespb.UpdateLessonRequest{CourseId: course, LessonId: lesson, Title: new("Better")}); err != nil {
		t.Error(err)
	}
	if _, err := f.UpdateModule(editor, &coursespb.UpdateModuleRequest{CourseId: course, ModuleId: module, Title: new("Better")}); err != nil {
		t.Error(err)
	}
	for _, req := range []*coursespb.UpdateLessonRequest{{ModuleId: &other}, {Position: new(int32(0))}, {Preview: new(true)}} {
		req.CourseId, req.LessonId = course, lesson
		if _, err := f.UpdateLesson(editor, req); fault.CodeOf(err) != "auth.forbidden" {
			t.Errorf("%v: %v", req, err)
		}
		// The editor has changed it, so that it takes a version to change what it shows.
		current := must(f.GetLesson(f.teacher, &coursespb.GetLessonRequest{CourseId: course, LessonId: lesson})).GetEtag()
		if _, err := f.UpdateLesson(rpc.WithIfMatch(f.teacher, current), req); err != nil {
			t.Errorf("%v: %v", req, err)
		}
	}
	if _, err := f.UpdateModule(editor, &coursespb.UpdateModuleRequest{CourseId: course, ModuleId: module, Position: new(int32(1))}); fault.CodeOf(err) != "auth.forbidden" {
		t.Error(err)
	}
}
