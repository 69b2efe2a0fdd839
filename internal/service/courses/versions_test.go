package courses_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// write gives a lesson a text.
func (f *fixture) write(courseID, lessonID, text string) *coursespb.Lesson {
	f.t.Helper()
	return must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{
		CourseId: courseID, LessonId: lessonID, Blocks: &coursespb.Blocks{Items: []*coursespb.Block{markdown(text)}},
	}))
}

// text is what a lesson's first block says.
func textOf(l *coursespb.Lesson) string {
	if len(l.GetBlocks()) == 0 {
		return ""
	}
	return l.GetBlocks()[0].GetMarkdown().GetText()
}

func TestHistory(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	lessonID := f.lesson(courseID, moduleID, "l")
	f.write(courseID, lessonID, "first")
	f.publish(courseID)
	f.write(courseID, lessonID, "second")
	f.publish(courseID)
	must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: courseID, Subtitle: new("s")}))
	f.publish(courseID)
	f.write(courseID, lessonID, "third")

	list := &coursespb.ListItemVersionsRequest{CourseId: courseID, ItemId: lessonID, PageSize: 3}
	page := must(f.ListItemVersions(f.teacher, list))
	list.Cursor = page.GetNextCursor()
	rest := must(f.ListItemVersions(f.teacher, list))
	var got []string
	for _, v := range append(page.GetItems(), rest.GetItems()...) {
		got = append(got, fmt.Sprint(v.GetNumber(), v.GetPublications(), v.GetPublicationCount(), v.GetInDraft(), v.GetAuthorId() == f.teacherID))
	}
	if d := cmp.Diff([]string{"4 [] 0 true true", "3 [3 2] 2 false true", "2 [1] 1 false true", "1 [] 0 false true"}, got); d != "" || rest.GetNextCursor() != "" {
		t.Errorf("history (-want +got):\n%s", d)
	}
	v := must(f.GetItemVersion(f.teacher, &coursespb.GetItemVersionRequest{CourseId: courseID, ItemId: lessonID, Number: "2"}))
	if textOf(v.GetLesson()) != "first" || v.GetLesson().GetBlocks()[0].GetMarkdown().GetHtml() != "<p>first</p>\n" || v.GetLesson().GetEtag() != "" {
		t.Errorf("version 2: %v", v)
	}
	same(t, "the draft", must(f.GetLesson(f.teacher, &coursespb.GetLessonRequest{CourseId: courseID, LessonId: lessonID})),
		must(f.GetItemVersion(f.teacher, &coursespb.GetItemVersionRequest{CourseId: courseID, ItemId: lessonID, Number: "draft"})).GetLesson())
	_, err := f.GetItemVersion(f.teacher, &coursespb.GetItemVersionRequest{CourseId: courseID, ItemId: lessonID, Number: "5"})
	tells(t, "a version that never was", err, fault.NotFound, "item_version.not_found")
	_, err = f.ListItemVersions(f.teacher, &coursespb.ListItemVersionsRequest{CourseId: f.course(), ItemId: lessonID})
	tells(t, "of another course", err, fault.NotFound, "item.not_found")
	_, err = f.ListItemVersions(f.learner, list)
	tells(t, "a learner", err, fault.Forbidden, "auth.forbidden")

	p := must(f.GetPublication(f.teacher, &coursespb.GetPublicationRequest{CourseId: courseID, Number: "1"}))
	if p.GetVersion().GetNumber() != 1 || p.GetOutline().GetVersion() != 1 || p.GetCourse().GetSubtitle() != "" || len(p.GetOutline().GetModules()) != 1 {
		t.Errorf("publication 1: %v", p)
	}
	_, err = f.GetPublication(f.teacher, &coursespb.GetPublicationRequest{CourseId: courseID, Number: "4"})
	tells(t, "no such publication", err, fault.NotFound, "version.not_found")

	// What has left the draft is still found.
	must(f.DeleteModule(f.teacher, &coursespb.DeleteModuleRequest{CourseId: courseID, ModuleId: moduleID}))
	list.Cursor = ""
	if gone := must(f.ListItemVersions(f.teacher, list)); len(gone.GetItems()) != 3 || gone.GetItems()[0].GetInDraft() {
		t.Errorf("after the deletion: %v", gone)
	}
}

func TestRevertItem(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	lessonID := f.lesson(courseID, f.module(courseID, "m"), "l")
	f.write(courseID, lessonID, "first")
	current := f.write(courseID, lessonID, "second")
	req := &coursespb.RevertItemRequest{CourseId: courseID, ItemId: lessonID, Number: 2}
	_, err := f.RevertItem(rpc.WithIfMatch(f.teacher, "1"), req)
	tells(t, "stale", err, fault.Precondition, "etag.stale")
	got := must(f.RevertItem(rpc.WithIfMatch(f.teacher, current.GetEtag()), req))
	if textOf(got.GetLesson()) != "first" || got.GetVersion().GetNumber() != 2 || !got.GetVersion().GetInDraft() || got.GetLesson().GetEtag() != "4" {
		t.Errorf("reverted: %v", got)
	}
	same(t, "the draft", got.GetLesson(), must(f.GetLesson(f.teacher, &coursespb.GetLessonRequest{CourseId: courseID, LessonId: lessonID})))
	req.Number = 9
	_, err = f.RevertItem(f.teacher, req)
	tells(t, "a version that never was", err, fault.NotFound, "item_version.not_found")
}

func TestRevertCourse(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	one, two := f.module(courseID, "one"), f.module(courseID, "two")
	a, b := f.lesson(courseID, one, "a"), f.lesson(courseID, one, "b")
	f.write(courseID, a, "first")
	f.publish(courseID)
	first := f.draftText(courseID)
	staleEtag := must(f.GetLesson(f.teacher, &coursespb.GetLessonRequest{CourseId: courseID, LessonId: b})).GetEtag()

	f.write(courseID, a, "second")
	must(f.DeleteLesson(f.teacher, &coursespb.DeleteLessonRequest{CourseId: courseID, LessonId: b}))
	f.lesson(courseID, two, "c")
	must(f.UpdateModule(f.teacher, &coursespb.UpdateModuleRequest{CourseId: courseID, ModuleId: two, Position: new(int32(0))}))
	must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: courseID, Title: new("Another")}))
	f.publish(courseID)
	lost := f.lesson(courseID, two, "never published")

	req := &coursespb.RevertCourseRequest{CourseId: courseID, Version: 1, Message: "back"}
	_, err := f.RevertCourse(f.teacher, req)
	tells(t, "with unpublished work", err, fault.Conflict, "course.unpublished_changes")
	req.DiscardDraft, req.Version = true, 7
	_, err = f.RevertCourse(f.teacher, req)
	tells(t, "to no version", err, fault.NotFound, "version.not_found")
	req.Version, req.DraftEtag = 1, "3"
	_, err = f.RevertCourse(f.teacher, req)
	tells(t, "another draft", err, fault.Precondition, "etag.stale")
	req.DraftEtag = must(f.GetCourse(f.teacher, &coursespb.GetCourseRequest{CourseId: courseID})).GetDraftEtag()
	got := must(f.RevertCourse(f.teacher, req))
	if got.GetPublishedVersion() != 3 || got.GetHasUnpublishedChanges() || got.GetTitle() != "Course" {
		t.Errorf("reverted: %v", got)
	}
	for _, view := range []string{"draft", "published"} {
		if d := cmp.Diff(first, f.textual(courseID, view)); d != "" {
			t.Errorf("%s (-want +got):\n%s", view, d)
		}
	}
	if v := must(f.ListVersions(f.teacher, &coursespb.ListVersionsRequest{CourseId: courseID})).GetItems()[0]; v.GetRevertedTo() != 1 || v.GetMessage() != "back" {
		t.Errorf("the newest version: %v", v)
	}
	if e, ok := f.events()[2].(*coursespb.CoursePublished); !ok || e.GetVersion() != 3 || e.GetTitle() != "Course" {
		t.Errorf("told: %v", f.events()[2])
	}
	// What the draft had is kept, and an ETag of before names nothing of now.
	if v := must(f.ListItemVersions(f.teacher, &coursespb.ListItemVersionsRequest{CourseId: courseID, ItemId: lost})); len(v.GetItems()) != 1 {
		t.Errorf("what was discarded: %v", v)
	}
	_, err = f.UpdateLesson(rpc.WithIfMatch(f.teacher, staleEtag), &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: b, Title: new("x")})
	tells(t, "an etag of before", err, fault.Precondition, "etag.stale")
	must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: b, Title: new("bb"), Position: new(int32(0))}))
}

// TestRevertKnowsAllColumns: what is published is brought back as a whole, also
// what columns that come later hold.
func TestRevertKnowsAllColumns(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for table, want := range map[string][]string{
		"publication":      courses.PublicationColumns(),
		"publication_item": {"course_id", "number", "item_id", "parent_id", "kind", "position", "version_id"},
	} {
		var got []string
		if err := f.db.QueryRow(t.Context(), `
			SELECT array_agg(attname::text ORDER BY attname) FROM pg_attribute
			WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped`, table).Scan(&got); err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-known +there): let revertDraft bring it back:\n%s", table, d)
		}
	}
}

// draftText is the draft of a course as text.
func (f *fixture) draftText(courseID string) string { return f.textual(courseID, "draft") }

func (f *fixture) textual(courseID, view string) string {
	f.t.Helper()
	c := must(f.GetCourse(f.teacher, &coursespb.GetCourseRequest{CourseId: courseID, View: view}))
	out := c.GetTitle()
	for _, m := range must(f.GetOutline(f.teacher, &coursespb.GetOutlineRequest{CourseId: courseID, View: view})).GetModules() {
		out += "\n" + m.GetTitle()
		for _, l := range m.GetLessons() {
			out += "\n  " + l.GetTitle() + ": " + textOf(must(f.GetLesson(f.teacher, &coursespb.GetLessonRequest{CourseId: courseID, LessonId: l.GetId(), View: view})))
		}
	}
	return out
}

func TestDiffVersions(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	one, two := f.module(courseID, "one"), f.module(courseID, "two")
	a, b, c := f.lesson(courseID, one, "a"), f.lesson(courseID, one, "b"), f.lesson(courseID, one, "c")
	f.write(courseID, a, "The painted porch of Athens was where Zeno taught his school, and it was old.")
	empty := must(f.DiffVersions(f.teacher, &coursespb.DiffVersionsRequest{CourseId: courseID}))
	if empty.GetSummary().GetAdded() != 5 || empty.GetSummary().GetRemoved() != 0 || len(empty.GetItems()) != 5 {
		t.Errorf("before the first publishing: %v", empty)
	}
	f.publish(courseID)
	if d := must(f.DiffVersions(f.teacher, &coursespb.DiffVersionsRequest{CourseId: courseID})); len(d.GetItems())+len(d.GetCourse()) != 0 {
		t.Errorf("nothing has changed: %v", d)
	}
	f.write(courseID, a, "The painted porch of Athens was where Zeno founded his school, and it was old.")
	must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: b, ModuleId: &two, Title: new("bee"), Preview: new(true)}))
	must(f.DeleteLesson(f.teacher, &coursespb.DeleteLessonRequest{CourseId: courseID, LessonId: c}))
	must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: courseID, Subtitle: new("New"), Tags: &coursespb.Words{Values: []string{"x"}}}))

	req := &coursespb.DiffVersionsRequest{CourseId: courseID, From: "1", To: "draft", PageSize: 2}
	page := must(f.DiffVersions(f.teacher, req))
	same(t, "the course", []*coursespb.FieldChange{
		{Path: "subtitle", Before: `""`, After: `"New"`}, {Path: "tags", Before: `[]`, After: `["x"]`},
	}, page.GetCourse())
	same(t, "the summary", &coursespb.DiffSummary{Removed: 1, Moved: 1, Renamed: 1, Changed: 2, CourseFields: 2}, page.GetSummary())
	req.Cursor = page.GetNextCursor()
	rest := must(f.DiffVersions(f.teacher, req))
	if len(rest.GetCourse()) != 0 || rest.GetNextCursor() != "" {
		t.Errorf("the second page: %v", rest)
	}
	want := []*coursespb.ItemDiff{
		{
			ItemId: a, Kind: "lesson", Changes: []string{"changed"}, TitleBefore: "a", TitleAfter: "a", ParentBefore: one, ParentAfter: one,
			Blocks: []*coursespb.BlockDiff{{Change: "changed", Type: "markdown", Fields: []*coursespb.FieldChange{{Path: "text", Text: []*coursespb.TextHunk{
				{Op: "equal", Text: "The painted porch of Athens was where Zeno "},
				{Op: "delete", Text: "taught"},
				{Op: "insert", Text: "founded"},
				{Op: "equal", Text: " his school, and it was old."},
			}}}}},
		},
		{
			ItemId: b, Kind: "lesson", Changes: []string{"moved", "renamed", "changed"}, TitleBefore: "b", TitleAfter: "bee",
			ParentBefore: one, ParentAfter: two, PositionBefore: 1,
			Settings: []*coursespb.FieldChange{{Path: "preview", Before: "false", After: "true"}},
		},
		{ItemId: c, Kind: "lesson", Changes: []string{"removed"}, TitleBefore: "c", ParentBefore: one, PositionBefore: 2},
	}
	same(t, "the items", want, append(page.GetItems(), rest.GetItems()...))
	back := must(f.DiffVersions(f.teacher, &coursespb.DiffVersionsRequest{CourseId: courseID, From: "draft", To: "1"}))
	same(t, "backwards", &coursespb.DiffSummary{Added: 1, Moved: 1, Renamed: 1, Changed: 2, CourseFields: 2}, back.GetSummary())
	_, err := f.DiffVersions(f.teacher, &coursespb.DiffVersionsRequest{CourseId: courseID, From: "9"})
	tells(t, "no such version", err, fault.NotFound, "version.not_found")

	item := must(f.DiffItemVersions(f.teacher, &coursespb.DiffItemVersionsRequest{CourseId: courseID, ItemId: a, From: "2", To: "3"}))
	same(t, "two contents", want[0].GetBlocks(), item.GetBlocks())
}

// TestLargestDiff: lessons as large as can be that were rewritten as a whole fit
// into an answer.
func TestLargestDiff(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	large := func(word string) *coursespb.Blocks {
		out := &coursespb.Blocks{}
		for i := range 10 {
			out.Items = append(out.Items, markdown(strings.Repeat(fmt.Sprint(word, i, " "), 100_000/(len(word)+2))))
		}
		return out
	}
	var lessons []string
	for range 3 {
		lessonID := f.lesson(courseID, moduleID, "l")
		must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: lessonID, Blocks: large("alpha")}))
		lessons = append(lessons, lessonID)
	}
	f.publish(courseID)
	for _, lessonID := range lessons {
		must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: lessonID, Blocks: large("omega")}))
	}
	var got []string
	req := &coursespb.DiffVersionsRequest{CourseId: courseID}
	for {
		page := must(f.DiffVersions(f.teacher, req))
		for _, it := range page.GetItems() {
			got = append(got, it.GetItemId())
			if !it.GetShortened() {
				t.Error("a lesson that does not fit is not told as shortened")
			}
		}
		if req.Cursor = page.GetNextCursor(); req.Cursor == "" {
			break
		}
	}
	if !slices.Equal(got, lessons) {
		t.Errorf("%v, want %v", got, lessons)
	}
}

func TestCompareEdit(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	lessonID := f.lesson(courseID, f.module(courseID, "m"), "l")
	base := f.write(courseID, lessonID, "The painted porch of Athens was where Zeno of Citium taught his school.")
	editor := rpctest.Account(t.Context(), f.editorID)
	theirs := must(f.UpdateLesson(rpc.WithIfMatch(editor, base.GetEtag()), &coursespb.UpdateLessonRequest{
		CourseId: courseID, LessonId: lessonID, Blocks: &coursespb.Blocks{Items: []*coursespb.Block{markdown("The painted porch of Athens was where Zeno of Citium founded his school.")}},
	}))
	mine := &coursespb.Blocks{Items: []*coursespb.Block{markdown("The famous painted porch of Athens was where Zeno of Citium taught his school.")}}
	update := &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: lessonID, Blocks: mine}
	_, err := f.UpdateLesson(rpc.WithIfMatch(f.teacher, base.GetEtag()), update)
	tells(t, "the slower of two", err, fault.Precondition, "etag.stale")
	if e, ok := errors.AsType[*fault.Error](err); !ok || e.Etag != theirs.GetEtag() {
		t.Errorf("the current version is not told: %v", err)
	}
	_, err = f.UpdateLesson(f.teacher, update)
	tells(t, "without a version", err, fault.Precondition, "etag.required")
	_, err = f.DeleteLesson(f.teacher, &coursespb.DeleteLessonRequest{CourseId: courseID, LessonId: lessonID})
	tells(t, "deleting it", err, fault.Precondition, "etag.required")
	must(f.UpdateLesson(editor, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: lessonID, Title: new("l")})) // their own

	req := &coursespb.CompareEditRequest{CourseId: courseID, ItemId: lessonID, BaseEtag: base.GetEtag(), Edit: &coursespb.ItemEdit{Title: new("Porch"), Blocks: mine}}
	got := must(f.CompareEdit(f.teacher, req))
	if len(got.GetConflicts()) != 0 || textOf(got.GetBase().GetLesson()) != textOf(base) || textOf(got.GetCurrent().GetLesson()) != textOf(theirs) ||
		got.GetEtag() != theirs.GetEtag() || got.GetMerged().GetTitle() != "Porch" {
		t.Errorf("compared: %v", got)
	}
	saved := must(f.UpdateLesson(rpc.WithIfMatch(f.teacher, got.GetEtag()), &coursespb.UpdateLessonRequest{
		CourseId: courseID, LessonId: lessonID, Title: got.GetMerged().Title, Blocks: got.GetMerged().GetBlocks(),
	}))
	if want := "The famous painted porch of Athens was where Zeno of Citium founded his school."; textOf(saved) != want {
		t.Errorf("merged: %q", textOf(saved))
	}
	req.BaseEtag, req.BaseVersion = "", 2
	req.Edit.Blocks = &coursespb.Blocks{Items: []*coursespb.Block{markdown("The painted porch of Athens was where Zeno of Citium opened his school.")}}
	got = must(f.CompareEdit(f.teacher, req))
	same(t, "conflicts", []*coursespb.Conflict{{Path: "blocks[0].text", Base: "taught", Current: "founded", Yours: "opened"}}, got.GetConflicts())
	req.BaseVersion = 0
	_, err = f.CompareEdit(f.teacher, req)
	tells(t, "no base", err, fault.Invalid, "request.invalid")
	req.BaseEtag = "99"
	_, err = f.CompareEdit(f.teacher, req)
	tells(t, "a base that never was", err, fault.NotFound, "item_version.not_found")

	// A course may ask for If-Match always.
	must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: courseID, RequireEtag: new(true)}))
	_, err = f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: lessonID, Position: new(int32(0))})
	tells(t, "a course that asks always", err, fault.Precondition, "etag.required")
	_, err = f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: courseID, Title: new("x")})
	tells(t, "its landing page", err, fault.Precondition, "etag.required")
}

func TestImpact(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	a, b := f.lesson(courseID, moduleID, "a"), f.lesson(courseID, moduleID, "b")
	f.learning.breaks(fault.New(fault.Unavailable, "unavailable", "down"))
	f.publish(courseID)
	f.write(courseID, a, "a text takes nothing away")
	f.publish(courseID)
	if len(f.learning.asked) != 0 {
		t.Errorf("learning was asked: %v", f.learning.asked)
	}
	f.learning.set(b, 40)
	must(f.DeleteLesson(f.teacher, &coursespb.DeleteLessonRequest{CourseId: courseID, LessonId: b}))
	publish := &coursespb.PublishCourseRequest{CourseId: courseID}
	_, err := f.PublishCourse(f.teacher, publish)
	tells(t, "not to be measured", err, fault.Unavailable, "publication.not_measured")
	_, err = f.PreviewPublication(f.teacher, &coursespb.PreviewPublicationRequest{CourseId: courseID})
	tells(t, "a preview then", err, fault.Unavailable, "publication.not_measured")
	f.learning.breaks(nil)

	preview := must(f.PreviewPublication(f.teacher, &coursespb.PreviewPublicationRequest{CourseId: courseID}))
	if preview.GetVersion() != 3 || preview.GetSummary().GetRemoved() != 1 || !preview.GetPublishable() || preview.GetImpact().GetLearners() != 40 ||
		len(preview.GetImpact().GetItems()) != 1 || preview.GetImpact().GetItems()[0].GetTitle() != "b" {
		t.Errorf("preview: %v", preview)
	}
	_, err = f.PublishCourse(f.teacher, publish)
	tells(t, "not accepted", err, fault.Precondition, "publication.touches_learners")
	if !slices.Equal(fields(err), []string{"accept_impact publication.touches_learners"}) || !strings.Contains(err.Error(), b) || !strings.Contains(err.Error(), "40") {
		t.Errorf("what is told: %v", err)
	}
	f.learning.set(b, 80)
	publish.DraftEtag, publish.AcceptImpact = preview.GetDraftEtag(), preview.GetImpact().GetToken()
	_, err = f.PublishCourse(f.teacher, publish)
	tells(t, "twice as many", err, fault.Precondition, "publication.touches_learners")
	f.learning.set(b, 42)
	// Somebody takes another lesson away between the measuring and the publishing.
	c := f.lesson(courseID, moduleID, "c")
	publish.DraftEtag = ""
	f.learning.set(a, 1)
	f.learning.then = func() {
		must(f.DeleteLesson(f.teacher, &coursespb.DeleteLessonRequest{CourseId: courseID, LessonId: a}))
	}
	_, err = f.PublishCourse(f.teacher, publish)
	tells(t, "more than was measured", err, fault.Precondition, "publication.touches_learners")
	publish.AcceptImpact = must(f.PreviewPublication(f.teacher, &coursespb.PreviewPublicationRequest{CourseId: courseID})).GetImpact().GetToken()
	// A text that comes between changes nothing of what was accepted.
	f.learning.then = func() { f.write(courseID, c, "new") }
	if got := must(f.PublishCourse(f.teacher, publish)); got.GetPublishedVersion() != 3 {
		t.Errorf("published: %v", got)
	}
	publish.DraftEtag = preview.GetDraftEtag()
	f.write(courseID, c, "newer")
	_, err = f.PublishCourse(f.teacher, publish)
	tells(t, "another draft than was reviewed", err, fault.Precondition, "etag.stale")
	// To go back takes c away, which nobody has begun.
	if got := must(f.RevertCourse(f.teacher, &coursespb.RevertCourseRequest{CourseId: courseID, Version: 2, DiscardDraft: true})); got.GetPublishedVersion() != 4 {
		t.Errorf("reverted: %v", got)
	}
}

func TestPins(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	lessonID := f.lesson(courseID, moduleID, "l")
	f.write(courseID, lessonID, "first")
	f.publish(courseID)
	gone := lessonID
	second := f.lesson(courseID, moduleID, "second")
	must(f.DeleteLesson(f.teacher, &coursespb.DeleteLessonRequest{CourseId: courseID, LessonId: gone}))
	f.publish(courseID)
	cohortID, other := id.New("cohort"), id.New("cohort")
	pin := &coursespb.PinCohortRequest{CourseId: courseID, CohortId: cohortID, Version: 1}
	_, err := f.PinCohort(f.teacher, pin)
	tells(t, "a cohort that is not known", err, fault.NotFound, "cohort.not_found")
	hear := func(do func(tx *pg.Tx) error) {
		t.Helper()
		if err := f.db.InTx(t.Context(), func(tx *pg.Tx) error {
			tx.Exempt("a test")
			return do(tx)
		}); err != nil {
			t.Fatal(err)
		}
	}
	cohort := func(cohortID string, cancelled bool, version int64) {
		hear(func(tx *pg.Tx) error {
			return courses.CohortChanged(f.own, t.Context(), tx, &accesspb.CohortChanged{CohortId: cohortID, CourseId: courseID, Cancelled: cancelled, Version: version})
		})
	}
	member := func(cohortID string, version int64) {
		hear(func(tx *pg.Tx) error {
			return courses.CohortMembershipChanged(f.own, t.Context(), tx, &accesspb.CohortMembershipChanged{CourseId: courseID, AccountId: f.learnerID, CohortId: cohortID, Version: version})
		})
	}
	cohort(cohortID, false, 2)
	cohort(cohortID, true, 1) // late
	cohort(other, true, 1)
	member(cohortID, 2)
	member(other, 1) // late
	pin.CohortId = other
	_, err = f.PinCohort(f.teacher, pin)
	tells(t, "a cancelled one", err, fault.Conflict, "cohort.cancelled")
	pin.CohortId, pin.Version = cohortID, 3
	_, err = f.PinCohort(f.teacher, pin)
	tells(t, "to no version", err, fault.NotFound, "version.not_found")
	pin.Version = 1
	_, err = f.PinCohort(f.learner, pin)
	tells(t, "a learner", err, fault.Forbidden, "auth.forbidden")
	told := len(f.events())
	must(f.PinCohort(f.teacher, pin))
	must(f.PinCohort(f.teacher, pin)) // it is so
	events := f.events()[told:]
	if len(events) != 1 {
		t.Fatalf("told: %v", events)
	}
	if e, ok := events[0].(*coursespb.CohortPinned); !ok || e.GetVersion() != 1 || e.GetSequence() != 1 || e.GetPublication().GetVersion() != 1 ||
		e.GetPublication().GetModules()[0].GetLessons()[0].GetId() != gone {
		t.Errorf("told: %v", events[0])
	}

	sees := func(what, lesson string, version int32) {
		t.Helper()
		o := must(f.GetOutline(f.learner, &coursespb.GetOutlineRequest{CourseId: courseID}))
		c := must(f.GetCourse(f.learner, &coursespb.GetCourseRequest{CourseId: courseID}))
		if o.GetVersion() != version || c.GetPublishedVersion() != version || o.GetModules()[0].GetLessons()[0].GetId() != lesson {
			t.Errorf("%s: %v", what, o)
		}
		for _, one := range []string{gone, second} {
			_, err := f.GetLesson(f.learner, &coursespb.GetLessonRequest{CourseId: courseID, LessonId: one})
			if (err == nil) != (one == lesson) {
				t.Errorf("%s: %s: %v", what, one, err)
			}
		}
	}
	sees("pinned", gone, 1)
	if o := must(f.GetOutline(f.teacher, &coursespb.GetOutlineRequest{CourseId: courseID, View: "published"})); o.GetVersion() != 2 {
		t.Errorf("staff see %v", o)
	}
	if l := must(f.ListPins(f.teacher, &coursespb.ListPinsRequest{CourseId: courseID})); len(l.GetItems()) != 1 || l.GetItems()[0].GetVersion() != 1 {
		t.Errorf("pins: %v", l)
	}
	member("", 3)
	sees("in no cohort", second, 2)
	member(cohortID, 4)
	sees("back in it", gone, 1)
	must(f.UnpinCohort(f.teacher, &coursespb.UnpinCohortRequest{CourseId: courseID, CohortId: cohortID}))
	sees("unpinned", second, 2)
	if e, ok := f.events()[told+1].(*coursespb.CohortPinned); !ok || e.GetVersion() != 0 || e.GetSequence() != 2 || e.GetPublication() != nil {
		t.Errorf("told: %v", f.events()[told+1])
	}
	if l := must(f.ListPins(f.teacher, &coursespb.ListPinsRequest{CourseId: courseID})); len(l.GetItems()) != 0 {
		t.Errorf("pins: %v", l)
	}
}
