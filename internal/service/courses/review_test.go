package courses_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

func TestReview(t *testing.T) {
	t.Parallel()
	f := setupWith(t, courses.Config{Review: true})
	courseID := f.course()
	submit := &coursespb.SubmitForReviewRequest{CourseId: courseID, Message: "please"}
	_, err := f.SubmitForReview(f.teacher, submit)
	tells(t, "without lessons", err, fault.Invalid, "course.no_lessons")
	lessonID := f.lesson(courseID, f.module(courseID, "m"), "l")
	state := func(want string) {
		t.Helper()
		if c := must(f.GetCourse(f.teacher, &coursespb.GetCourseRequest{CourseId: courseID})); c.GetReviewState() != want {
			t.Errorf("review state %q, want %q", c.GetReviewState(), want)
		}
	}
	publish := func(what string) {
		t.Helper()
		_, err := f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: courseID})
		tells(t, what, err, fault.Conflict, "course.review_required")
	}
	publish("without a review")
	if p := must(f.PreviewPublication(f.teacher, &coursespb.PreviewPublicationRequest{CourseId: courseID})); p.GetPublishable() {
		t.Errorf("preview: %v", p)
	}
	r := must(f.SubmitForReview(f.teacher, submit))
	if again := must(f.SubmitForReview(f.teacher, submit)); again.GetId() != r.GetId() {
		t.Errorf("the same state again: %v", again)
	}
	state("submitted")
	publish("before it is approved")
	// Moderators read the draft, and only when they ask for it.
	if l, err := f.GetLesson(f.moderator, &coursespb.GetLessonRequest{CourseId: courseID, LessonId: lessonID, View: "draft"}); err != nil || l.GetTitle() != "l" {
		t.Errorf("a moderator reads %v, %v", l, err)
	}
	_, err = f.GetOutline(f.moderator, &coursespb.GetOutlineRequest{CourseId: courseID})
	tells(t, "without asking", err, fault.NotFound, "not_found")
	_, err = f.ApproveCourse(f.teacher, &coursespb.ApproveCourseRequest{CourseId: courseID})
	tells(t, "a teacher approves", err, fault.Forbidden, "auth.forbidden")

	f.write(courseID, lessonID, "changed meanwhile")
	state("changed")
	second := must(f.SubmitForReview(f.teacher, submit))
	_, err = f.ApproveCourse(f.moderator, &coursespb.ApproveCourseRequest{CourseId: courseID, DraftEtag: r.GetDraftEtag()})
	tells(t, "approving what was looked at before", err, fault.Precondition, "etag.stale")
	if queue := must(f.ListReviews(f.moderator, &coursespb.ListReviewsRequest{})); len(queue.GetItems()) != 1 || queue.GetItems()[0].GetId() != second.GetId() {
		t.Errorf("queue: %v", queue)
	}
	returned := must(f.ReturnCourse(f.moderator, &coursespb.ReturnCourseRequest{
		CourseId: courseID, Comment: "More, please", Remarks: []*coursespb.Remark{{ItemId: lessonID, Text: "Too short"}},
	}))
	if returned.GetState() != "returned" || len(returned.GetRemarks()) != 1 || returned.GetReviewerId() != f.moderatorID {
		t.Errorf("returned: %v", returned)
	}
	state("returned")
	publish("returned")
	_, err = f.ApproveCourse(f.moderator, &coursespb.ApproveCourseRequest{CourseId: courseID})
	tells(t, "nothing is submitted", err, fault.NotFound, "review.not_found")

	f.write(courseID, lessonID, "longer")
	third := must(f.SubmitForReview(f.teacher, submit))
	must(f.ApproveCourse(f.moderator, &coursespb.ApproveCourseRequest{CourseId: courseID, DraftEtag: third.GetDraftEtag()}))
	state("approved")
	f.write(courseID, lessonID, "another than was approved")
	publish("another state than was approved")
	must(f.SubmitForReview(f.teacher, submit))
	must(f.ApproveCourse(f.moderator, &coursespb.ApproveCourseRequest{CourseId: courseID}))
	f.publish(courseID)
	// Later ones need none, nor does coming back after the teacher took it out.
	f.write(courseID, lessonID, "later")
	f.publish(courseID)
	must(f.UnpublishCourse(f.teacher, &coursespb.UnpublishCourseRequest{CourseId: courseID}))
	f.publish(courseID)
	must(f.UnpublishCourse(f.moderator, &coursespb.UnpublishCourseRequest{CourseId: courseID, Reason: "a complaint"}))
	publish("taken out by a moderator")

	var got []string
	for _, r := range must(f.ListCourseReviews(f.teacher, &coursespb.ListCourseReviewsRequest{CourseId: courseID})).GetItems() {
		got = append(got, r.GetState())
	}
	if d := cmp.Diff([]string{"approved", "approved", "returned", "superseded"}, got); d != "" {
		t.Errorf("history (-want +got):\n%s", d)
	}
	var told []string
	for _, e := range f.events() {
		if e, ok := e.(*coursespb.CourseReviewed); ok {
			told = append(told, e.GetState()+" "+e.GetComment())
			if e.GetSubmittedBy() != f.teacherID || e.GetOwnerId() != f.teacherID || e.GetTitle() != "Course" {
				t.Errorf("told: %v", e)
			}
		}
	}
	if d := cmp.Diff([]string{"returned More, please", "approved ", "approved "}, told); d != "" {
		t.Errorf("told (-want +got):\n%s", d)
	}
}

// What a moderator has taken out does not come back in place of what was approved since.
func TestRevertPastAReview(t *testing.T) {
	t.Parallel()
	f := setupWith(t, courses.Config{Review: true})
	courseID := f.course()
	lessonID := f.lesson(courseID, f.module(courseID, "m"), "l")
	f.write(courseID, lessonID, "offending")
	approve := func() {
		must(f.SubmitForReview(f.teacher, &coursespb.SubmitForReviewRequest{CourseId: courseID}))
		must(f.ApproveCourse(f.moderator, &coursespb.ApproveCourseRequest{CourseId: courseID}))
	}
	approve()
	f.publish(courseID)
	must(f.UnpublishCourse(f.moderator, &coursespb.UnpublishCourseRequest{CourseId: courseID, Reason: "a complaint"}))
	f.write(courseID, lessonID, "mended")
	approve()
	revert := &coursespb.RevertCourseRequest{CourseId: courseID, Version: 1, DiscardDraft: true}
	_, err := f.RevertCourse(f.teacher, revert)
	tells(t, "going back to what was taken out", err, fault.Conflict, "course.review_required")
	f.publish(courseID)
	if l := must(f.GetLesson(f.teacher, &coursespb.GetLessonRequest{CourseId: courseID, LessonId: lessonID, View: "published"})); textOf(l) != "mended" {
		t.Errorf("published: %v", l)
	}
	must(f.RevertCourse(f.teacher, revert)) // as any other change of what is in the marketplace
}

func TestArchive(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	moduleID := f.module(courseID, "m")
	lessonID := f.lesson(courseID, moduleID, "l")
	f.publish(courseID)
	told := len(f.events())
	got := must(f.ArchiveCourse(f.teacher, &coursespb.ArchiveCourseRequest{CourseId: courseID, Reason: "old"}))
	if got.GetState() != "archived" || got.GetArchivedAt() == nil {
		t.Errorf("archived: %v", got)
	}
	same(t, "again", got, must(f.ArchiveCourse(f.teacher, &coursespb.ArchiveCourseRequest{CourseId: courseID})))
	events := f.events()[told:]
	if len(events) != 2 {
		t.Fatalf("told: %v", events)
	}
	if _, ok := events[0].(*coursespb.CourseUnpublished); !ok {
		t.Errorf("told first: %v", events[0])
	}
	if e, ok := events[1].(*coursespb.CourseArchived); !ok || !e.GetArchived() || e.GetClosed() || e.GetSequence() != 3 {
		t.Errorf("told then: %v", events[1])
	}
	for what, err := range map[string]error{
		"course":   failed(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: courseID, Title: new("x")})),
		"module":   failed(f.CreateModule(f.teacher, &coursespb.CreateModuleRequest{CourseId: courseID, Title: "x"})),
		"rename":   failed(f.UpdateModule(f.teacher, &coursespb.UpdateModuleRequest{CourseId: courseID, ModuleId: moduleID, Title: new("x")})),
		"lesson":   failed(f.CreateLesson(f.teacher, &coursespb.CreateLessonRequest{CourseId: courseID, ModuleId: moduleID, Title: "x"})),
		"text":     failed(f.UpdateLesson(f.teacher, &coursespb.UpdateLessonRequest{CourseId: courseID, LessonId: lessonID, Title: new("x")})),
		"deletion": failed(f.DeleteLesson(f.teacher, &coursespb.DeleteLessonRequest{CourseId: courseID, LessonId: lessonID})),
		"publish":  failed(f.PublishCourse(f.teacher, &coursespb.PublishCourseRequest{CourseId: courseID})),
		"revert":   failed(f.RevertCourse(f.teacher, &coursespb.RevertCourseRequest{CourseId: courseID, Version: 1})),
		"submit":   failed(f.SubmitForReview(f.teacher, &coursespb.SubmitForReviewRequest{CourseId: courseID})),
		"etag":     failed(f.UpdateCourse(f.teacher, &coursespb.UpdateCourseRequest{CourseId: courseID, RequireEtag: new(true)})),
	} {
		tells(t, what, err, fault.Conflict, "course.archived")
	}
	must(f.GetLesson(f.learner, &coursespb.GetLessonRequest{CourseId: courseID, LessonId: lessonID}))
	must(f.ArchiveCourse(f.teacher, &coursespb.ArchiveCourseRequest{CourseId: courseID, Close: true}))
	for what, err := range map[string]error{
		"lesson":  failed(f.GetLesson(f.learner, &coursespb.GetLessonRequest{CourseId: courseID, LessonId: lessonID})),
		"outline": failed(f.GetOutline(f.learner, &coursespb.GetOutlineRequest{CourseId: courseID})),
		"course":  failed(f.GetCourse(f.learner, &coursespb.GetCourseRequest{CourseId: courseID})),
	} {
		tells(t, "closed: "+what, err, fault.NotFound, "not_found")
	}
	must(f.GetLesson(f.teacher, &coursespb.GetLessonRequest{CourseId: courseID, LessonId: lessonID}))
	must(f.GetPublication(f.teacher, &coursespb.GetPublicationRequest{CourseId: courseID, Number: "1"}))
	if c := must(f.UnarchiveCourse(f.teacher, &coursespb.UnarchiveCourseRequest{CourseId: courseID})); c.GetState() != "draft" || c.GetArchivedAt() != nil {
		t.Errorf("unarchived: %v", c)
	}
	f.write(courseID, lessonID, "again")
	if c := f.publish(courseID); c.GetState() != "published" || c.GetPublishedVersion() != 2 {
		t.Errorf("published again: %v", c)
	}
}

// failed returns the error of a call.
func failed[T any](_ T, err error) error { return err }

func TestRevenueSplit(t *testing.T) {
	t.Parallel()
	f := setup(t)
	courseID := f.course()
	partner := id.New("account")
	f.roles.given = append(f.roles.given, &accesspb.AssignCourseRoleRequest{CourseId: courseID, AccountId: partner, Role: "co_teacher"})
	get := &coursespb.GetRevenueSplitRequest{CourseId: courseID, PageSize: 1}
	one := func(accountID string, points int32) *coursespb.RevenueShare {
		return &coursespb.RevenueShare{AccountId: accountID, BasisPoints: points}
	}
	shares := func(list ...*coursespb.RevenueShare) []*coursespb.RevenueShare { return list }
	same(t, "before", &coursespb.RevenueSplit{CourseId: courseID, Shares: shares(one(f.teacherID, 10_000))}, must(f.GetRevenueSplit(f.teacher, get)).GetCurrent())
	for what, c := range map[string]struct {
		shares []*coursespb.RevenueShare
		at     time.Time
		code   string
		field  string
	}{
		"less":       {shares(one(f.teacherID, 9_999)), time.Time{}, "revenue.sum", "shares"},
		"more":       {shares(one(f.teacherID, 10_000), one(partner, 1)), time.Time{}, "revenue.sum", "shares"},
		"twice":      {shares(one(f.teacherID, 5_000), one(f.teacherID, 5_000)), time.Time{}, "revenue.twice", "shares[1].account_id"},
		"a stranger": {shares(one(f.teacherID, 5_000), one(f.learnerID, 5_000)), time.Time{}, "revenue.not_staff", "shares[1].account_id"},
		"the past":   {shares(one(f.teacherID, 10_000)), start.Add(-time.Hour), "revenue.valid_from", "valid_from"},
		"too far":    {shares(one(f.teacherID, 10_000)), start.AddDate(2, 0, 0), "revenue.valid_from", "valid_from"},
	} {
		req := &coursespb.SetRevenueSplitRequest{CourseId: courseID, Shares: c.shares}
		if !c.at.IsZero() {
			req.ValidFrom = timestamppb.New(c.at)
		}
		_, err := f.SetRevenueSplit(f.teacher, req)
		tells(t, what, err, fault.Invalid, c.code)
		if d := cmp.Diff([]string{c.field + " " + c.code}, fields(err)); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	now := must(f.SetRevenueSplit(f.teacher, &coursespb.SetRevenueSplitRequest{CourseId: courseID, Shares: shares(one(f.teacherID, 7_000), one(partner, 3_000))}))
	later := must(f.SetRevenueSplit(f.teacher, &coursespb.SetRevenueSplitRequest{
		CourseId: courseID, Shares: shares(one(f.teacherID, 1), one(partner, 9_999)), ValidFrom: timestamppb.New(start.AddDate(0, 1, 0)),
	}))
	page := must(f.GetRevenueSplit(f.teacher, get))
	same(t, "now", now, page.GetCurrent())
	same(t, "to come", []*coursespb.RevenueSplit{later}, page.GetItems())
	get.Cursor = page.GetNextCursor()
	same(t, "what was said", []*coursespb.RevenueSplit{now}, must(f.GetRevenueSplit(f.teacher, get)).GetItems())
	f.clock.Store(40 * 24 * 3_600_000)
	same(t, "in time", later, must(f.GetRevenueSplit(f.teacher, get)).GetCurrent())
	events := f.events()
	if e, ok := events[len(events)-1].(*coursespb.RevenueSplitChanged); !ok || e.GetVersion() != 2 || len(e.GetShares()) != 2 || !e.GetValidFrom().AsTime().Equal(start.AddDate(0, 1, 0)) {
		t.Errorf("told: %v", events)
	}
	_, err := f.SetRevenueSplit(f.learner, &coursespb.SetRevenueSplitRequest{CourseId: courseID, Shares: shares(one(f.learnerID, 10_000))})
	tells(t, "a learner", err, fault.Forbidden, "auth.forbidden")
}
