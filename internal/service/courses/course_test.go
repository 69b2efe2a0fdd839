package courses_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

func TestCreateCourse(t *testing.T) {
	t.Parallel()
	f := setup(t)
	got := must(f.CreateCourse(f.teacher, &coursespb.CreateCourseRequest{
		Title: " Stoic logic ", Subtitle: "From Zeno to Chrysippus", Description: "**All** of it.", Category: "Philosophy",
		Tags: []string{"logic", " Logic", "stoa", " "}, Outcomes: []string{"Tell a syllogism from a sophism"},
	}))
	want := &coursespb.Course{
		Id: got.GetId(), OwnerId: f.teacherID, Title: "Stoic logic", Subtitle: "From Zeno to Chrysippus",
		Description: "**All** of it.", DescriptionHtml: "<p><strong>All</strong> of it.</p>\n", Language: "en", Level: "all",
		Category: "Philosophy", Tags: []string{"logic", "stoa"}, Outcomes: []string{"Tell a syllogism from a sophism"},
		State: "draft", HasUnpublishedChanges: true, Etag: "1", DraftEtag: "0", TimeZone: "UTC",
	}
	same(t, "CreateCourse", want, got, "created_at", "updated_at")
	same(t, "GetCourse", got, must(f.GetCourse(f.teacher, &coursespb.GetCourseRequest{CourseId: got.GetId()})))
	if len(f.roles.given) != 1 || f.roles.given[0].GetCourseId() != got.GetId() ||
		f.roles.given[0].GetAccountId() != f.teacherID || f.roles.given[0].GetRole() != "owner" {
		t.Errorf("roles given: %v", f.roles.given)
	}
	_, err := f.CreateCourse(f.learner, &coursespb.CreateCourseRequest{Title: "x"})
	tells(t, "a learner", err, fault.Forbidden, "auth.forbidden")
	_, err = f.CreateCourse(f.teacher, &coursespb.CreateCourseRequest{Title: "  "})
	tells(t, "no title", err, fault.Invalid, "request.invalid")
	if n := len(f.events()); n != 0 {
		t.Errorf("%d events", n)
	}
}

// Without a role nobody could edit the course, so there is none.
func TestCreateCourseWithoutAccess(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.roles.fail = fault.New(fault.Unavailable, "database.unavailable", "Away.")
	_, err := f.CreateCourse(f.teacher, &coursespb.CreateCourseRequest{Title: "x"})
	tells(t, "access is away", err, fault.Unavailable, "database.unavailable")
	if list := must(f.ListCourses(f.teacher, &coursespb.ListCoursesRequest{})); len(list.GetItems()) != 0 {
		t.Errorf("there are %d courses", len(list.GetItems()))
	}
}

func TestCreateCourseOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := rpc.WithIdempotencyKey(f.teacher, "one")
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			c, err := f.CreateCourse(ctx, &coursespb.CreateCourseRequest{Title: "x", Description: "d"})
			if err != nil || c.GetDescriptionHtml() != "<p>d</p>\n" {
				t.Error(c, err)
			}
			ids[i] = c.GetId()
		})
	}
	wg.Wait()
	for _, other := range ids {
		if other != ids[0] {
			t.Errorf("one key made %s and %s", ids[0], other)
		}
	}
	if list := must(f.ListCourses(f.teacher, &coursespb.ListCoursesRequest{})); len(list.GetItems()) != 1 {
		t.Errorf("there are %d courses", len(list.GetItems()))
	}
	_, err := f.CreateCourse(ctx, &coursespb.CreateCourseRequest{Title: "y"})
	tells(t, "the key again", err, fault.Conflict, "idempotency.key_reused")
}

func TestUpdateCourse(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	picture, text := f.media.add(courseID, "image/png"), f.media.add(courseID, "text/plain")
	before := must(f.GetCourse(f.teacher, &coursespb.GetCourseRequest{CourseId: courseID}))

	got := must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{
		CourseId: courseID, Title: new("New"), Description: new("*d*"), Level: new("beginner"), CoverMediaId: &picture,
		Tags: &coursespb.Words{Values: []string{"a", "b"}}, Subtitle: new("s"), Language: new("de-CH"), Category: new("c"),
		Outcomes: &coursespb.Words{Values: []string{"o"}},
	}))
	want := &coursespb.Course{
		Id: courseID, OwnerId: f.teacherID, Title: "New", Subtitle: "s", Description: "*d*", DescriptionHtml: "<p><em>d</em></p>\n",
		Language: "de-CH", Level: "beginner", Category: "c", Tags: []string{"a", "b"}, Outcomes: []string{"o"}, CoverMediaId: picture,
		State: "draft", HasUnpublishedChanges: true, Etag: "2", DraftEtag: "1", TimeZone: "UTC", CreatedAt: before.GetCreatedAt(), UpdatedAt: got.GetUpdatedAt(),
	}
	same(t, "UpdateCourse", want, got)
	if !got.GetUpdatedAt().AsTime().After(before.GetUpdatedAt().AsTime()) {
		t.Error("updated_at stays")
	}
	same(t, "absent fields stay", got, must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: courseID})))
	same(t, "what is so stays", got, must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: courseID, Title: new(" New ")})))
	got = must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: courseID, CoverMediaId: new(""), Tags: &coursespb.Words{}}))
	if got.GetCoverMediaId() != "" || len(got.GetTags()) != 0 || len(got.GetOutcomes()) != 1 {
		t.Errorf("emptied: %v", got)
	}

	_, err := f.UpdateCourse(rpc.WithIfMatch(f.teacher, `"2"`), &coursespb.UpdateCourseRequest{CourseId: courseID, Title: new("z")})
	tells(t, "a stale etag", err, fault.Precondition, "etag.stale")
	must(f.UpdateCourse(rpc.WithIfMatch(f.teacher, `"3"`), &coursespb.UpdateCourseRequest{CourseId: courseID, Title: new("z")}))

	_, err = f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: courseID, CoverMediaId: new(id.New("media"))})
	tells(t, "an unknown cover", err, fault.Invalid, "media.not_found")
	_, err = f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: courseID, CoverMediaId: new(f.media.add(f.course(), "image/png"))})
	tells(t, "a cover of another course", err, fault.Invalid, "media.not_found")
	_, err = f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: courseID, CoverMediaId: &text})
	tells(t, "a cover that is no picture", err, fault.Invalid, "media.not_image")
	_, err = f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: courseID, Tags: &coursespb.Words{Values: []string{"a", strings.Repeat("é", 41)}}})
	tells(t, "a long tag", err, fault.Invalid, "request.invalid")
	same(t, "its path", []string{"tags.values[1] string.max_len"}, fields(err))
	_, err = f.UpdateCourse(f.outsider, &coursespb.UpdateCourseRequest{CourseId: courseID, Title: new("mine")})
	tells(t, "somebody else", err, fault.Forbidden, "auth.forbidden")
	_, err = f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: id.New("course"), Title: new("x")})
	tells(t, "no course", err, fault.NotFound, "not_found")
}

func TestUpdateCourseRace(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	var won, lost int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := f.UpdateCourse(rpc.WithIfMatch(f.teacher, "1"), &coursespb.UpdateCourseRequest{CourseId: courseID, Title: new(fmt.Sprint(i))})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case fault.CodeOf(err) == "etag.stale":
				lost++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 || lost != 7 {
		t.Errorf("%d won, %d lost", won, lost)
	}
}

func TestListCourses(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var ids []string
	for range 5 {
		ids = append(ids, f.course())
	}
	must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: ids[1], Title: new("touched")}))
	f.lesson(ids[0], f.module(ids[0], "m"), "l") // a change of the draft as well
	want := []string{ids[0], ids[1], ids[4], ids[3], ids[2]}
	var got []string
	req := &coursespb.ListCoursesRequest{PageSize: 2}
	for range 5 {
		res := must(f.ListCourses(f.teacher, req))
		for _, c := range res.GetItems() {
			got = append(got, c.GetId())
		}
		if req.Cursor = res.GetNextCursor(); req.GetCursor() == "" {
			break
		}
	}
	same(t, "last changed first", want, got)
	if res := must(f.ListCourses(f.learner, &coursespb.ListCoursesRequest{})); len(res.GetItems()) != 0 {
		t.Error("somebody else's courses are listed")
	}
	_, err := f.ListCourses(f.stranger, &coursespb.ListCoursesRequest{})
	tells(t, "nobody", err, fault.Unauthenticated, "auth.required")
	_, err = f.ListCourses(f.teacher, &coursespb.ListCoursesRequest{Cursor: "x"})
	tells(t, "a cursor that is none", err, fault.Invalid, "request.invalid")
}

func TestPublish(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	get := func(view string) *coursespb.GetCourseRequest {
		return &coursespb.GetCourseRequest{CourseId: courseID, View: view}
	}
	_, err := f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: courseID})
	tells(t, "nothing in it", err, fault.Invalid, "course.no_lessons")
	moduleID := f.module(courseID, "m")
	_, err = f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: courseID})
	tells(t, "no lessons", err, fault.Invalid, "course.no_lessons")
	_, err = f.GetCourse(f.learner, get(""))
	tells(t, "not yet published", err, fault.NotFound, "not_found")
	_, err = f.GetCourse(f.teacher, get("published"))
	tells(t, "not yet published, staff", err, fault.NotFound, "not_found")
	_, err = f.GetOutline(f.learner, &coursespb.GetOutlineRequest{CourseId: courseID})
	tells(t, "outline not yet published", err, fault.NotFound, "not_found")

	lessonID := f.lesson(courseID, moduleID, "l")
	draft := must(f.GetCourse(f.teacher, get("")))
	_, err = f.PublishCourse(rpc.WithIfMatch(f.teacher, "99"), &coursespb.PublishCourseRequest{CourseId: courseID})
	tells(t, "a stale etag", err, fault.Precondition, "etag.stale")
	published := must(f.PublishCourse(rpc.WithIfMatch(f.teacher, draft.GetEtag()), &coursespb.PublishCourseRequest{CourseId: courseID, Message: "first"}))
	want := &coursespb.Course{
		Id: courseID, OwnerId: f.teacherID, Title: "Course", Language: "en", Level: "all", State: "published", PublishedVersion: 1,
		CreatedAt: draft.GetCreatedAt(), UpdatedAt: draft.GetUpdatedAt(), PublishedAt: published.GetPublishedAt(), Etag: "2", DraftEtag: "2", TimeZone: "UTC",
	}
	same(t, "PublishCourse", want, published)
	want.Etag, want.DraftEtag, want.UpdatedAt = "", "", published.GetPublishedAt()
	same(t, "GetCourse of a learner", want, must(f.GetCourse(f.learner, get(""))))
	same(t, "GetCourse of a learner who asks for the draft", want, must(f.GetCourse(f.learner, get("draft"))))
	same(t, "GetCourse of nobody", want, must(f.GetCourse(f.stranger, get(""))))
	same(t, "GetCourse of staff as learners see it", want, must(f.GetCourse(f.teacher, get("published"))))

	// Nothing to publish: nothing happens.
	same(t, "PublishCourse again", published, must(f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: courseID})))

	// The draft goes on, what is published stays.
	must(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: courseID, Title: new("Second")}))
	must(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: lessonID, Title: new("l2"), Preview: new(true)}))
	same(t, "published meanwhile", want, must(f.GetCourse(f.learner, get(""))))
	if c := must(f.GetCourse(f.teacher, get(""))); !c.GetHasUnpublishedChanges() || c.GetTitle() != "Second" {
		t.Errorf("draft: %v", c)
	}
	out := must(f.UnpublishCourse(f.teacher, &coursespb.UnpublishCourseRequest{CourseId: courseID}))
	if out.GetState() != "draft" || out.GetPublishedVersion() != 1 {
		t.Errorf("taken out: %v", out)
	}
	same(t, "taken out again", out, must(f.UnpublishCourse(f.teacher, &coursespb.UnpublishCourseRequest{CourseId: courseID})))
	want.State = "draft"
	same(t, "those enrolled keep it", want, must(f.GetCourse(f.learner, get(""))))
	_, err = f.UnpublishCourse(rpc.WithIfMatch(f.teacher, "99"), &coursespb.UnpublishCourseRequest{CourseId: courseID})
	tells(t, "taking out, a stale etag", err, fault.Precondition, "etag.stale")
	again := must(f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: courseID, Message: "second"}))
	if again.GetState() != "published" || again.GetPublishedVersion() != 2 || again.GetHasUnpublishedChanges() {
		t.Errorf("published again: %v", again)
	}

	events := f.events()
	if len(events) != 3 {
		t.Fatalf("%d events", len(events))
	}
	same(t, "first event", &coursespb.CoursePublished{
		CourseId: courseID, OwnerId: f.teacherID, Sequence: 1, Version: 1, Title: "Course", Language: "en", Level: "all",
		Modules: []*coursespb.PublishedModule{{Id: moduleID, Title: "m", Lessons: []*coursespb.PublishedLesson{{Id: lessonID, Title: "l"}}}},
		Items: []*coursespb.PublishedItem{
			{Id: moduleID, Kind: "module", Title: "m", Required: true},
			{Id: lessonID, ParentId: moduleID, Kind: "lesson", Title: "l", Required: true, Completion: viewed()},
		},
		TimeZone:    "UTC",
		PublishedAt: published.GetPublishedAt(),
	}, events[0])
	same(t, "second event", &coursespb.CourseUnpublished{CourseId: courseID, Sequence: 2}, events[1])
	same(t, "third event", &coursespb.CoursePublished{
		CourseId: courseID, OwnerId: f.teacherID, Sequence: 3, Version: 2, Title: "Second", Language: "en", Level: "all",
		Modules: []*coursespb.PublishedModule{{Id: moduleID, Title: "m", Lessons: []*coursespb.PublishedLesson{{Id: lessonID, Title: "l2", Preview: true}}}},
		Items: []*coursespb.PublishedItem{
			{Id: moduleID, Kind: "module", Title: "m", Required: true},
			{Id: lessonID, ParentId: moduleID, Kind: "lesson", Title: "l2", Preview: true, Required: true, Completion: viewed()},
		},
		TimeZone:    "UTC",
		PublishedAt: again.GetPublishedAt(),
	}, events[2])

	versions := must(f.ListVersions(f.teacher, &coursespb.ListVersionsRequest{CourseId: courseID, PageSize: 1}))
	same(t, "newest version", []*coursespb.Version{
		{Number: 2, Message: "second", AuthorId: f.teacherID, PublishedAt: again.GetPublishedAt(), LessonCount: 1},
	}, versions.GetItems())
	versions = must(f.ListVersions(f.teacher, &coursespb.ListVersionsRequest{CourseId: courseID, PageSize: 1, Cursor: versions.GetNextCursor()}))
	same(t, "the version before", []*coursespb.Version{
		{Number: 1, Message: "first", AuthorId: f.teacherID, PublishedAt: published.GetPublishedAt(), LessonCount: 1},
	}, versions.GetItems())
	if versions.GetNextCursor() != "" {
		t.Error("there is a page after the last")
	}
	for _, cursor := range []string{"x", "WyJ4Il0"} {
		_, err = f.ListVersions(f.teacher, &coursespb.ListVersionsRequest{CourseId: courseID, Cursor: cursor})
		tells(t, "a cursor that is none", err, fault.Invalid, "request.invalid")
	}
	_, err = f.ListVersions(f.learner, &coursespb.ListVersionsRequest{CourseId: courseID})
	tells(t, "versions for a learner", err, fault.Forbidden, "auth.forbidden")
	for _, c := range []*timestamppb.Timestamp{published.GetPublishedAt(), again.GetPublishedAt()} {
		if !c.IsValid() || c.AsTime().Before(start) {
			t.Errorf("published at %v", c)
		}
	}
}

func TestPublishOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	f.lesson(courseID, f.module(courseID, "m"), "l")
	ctx := rpc.WithIdempotencyKey(f.teacher, "publish")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if c, err := f.PublishCourse(ctx, &coursespb.PublishCourseRequest{CourseId: courseID}); err != nil || c.GetPublishedVersion() != 1 {
				t.Error(c, err)
			}
		})
	}
	wg.Wait()
	if n := len(f.events()); n != 1 {
		t.Errorf("%d events", n)
	}
	for name, err := range map[string]error{
		"publish":   second(f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: id.New("course")})),
		"unpublish": second(f.UnpublishCourse(f.teacher, &coursespb.UnpublishCourseRequest{CourseId: id.New("course")})),
		"get":       second(f.GetCourse(f.teacher, &coursespb.GetCourseRequest{CourseId: id.New("course")})),
		"outline":   second(f.GetOutline(f.teacher, &coursespb.GetOutlineRequest{CourseId: id.New("course")})),
	} {
		tells(t, name+" no course", err, fault.NotFound, "not_found")
	}
	for name, err := range map[string]error{
		"publish":   second(f.PublishCourse(f.learner, &coursespb.PublishCourseRequest{CourseId: courseID})),
		"unpublish": second(f.UnpublishCourse(f.outsider, &coursespb.UnpublishCourseRequest{CourseId: courseID})),
	} {
		tells(t, name+" somebody else's", err, fault.Forbidden, "auth.forbidden")
	}
}

func second[T any](_ T, err error) error {
	if err == nil {
		return errors.New("no error")
	}
	return err
}
