package courses

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// server answers the RPCs of the contract.
type server struct {
	coursespb.UnimplementedCoursesServiceServer

	courses *Service
}

// landed adds to a course what is made for its readers.
func (r *server) landed(c *coursespb.Course, err error) (*coursespb.Course, error) {
	if err != nil {
		return nil, err
	}
	c.DescriptionHtml = r.courses.html.Render(c.GetDescription())
	for _, q := range c.GetFaq() {
		q.AnswerHtml = r.courses.html.Render(q.GetAnswer())
	}
	return c, nil
}

// CreateCourse makes a course.
func (r *server) CreateCourse(ctx context.Context, req *coursespb.CreateCourseRequest) (*coursespb.Course, error) {
	return r.landed(r.courses.createCourse(ctx, req))
}

// ListCourses lists the caller's courses.
func (r *server) ListCourses(ctx context.Context, req *coursespb.ListCoursesRequest) (*coursespb.ListCoursesResponse, error) {
	found, next, err := r.courses.listCourses(ctx, auth.From(ctx).Account, page.Size(req.GetPageSize()), req.GetCursor())
	if err != nil {
		return nil, err
	}
	res := &coursespb.ListCoursesResponse{NextCursor: next}
	for _, c := range found {
		item, err := r.landed(draftCourse(c), nil)
		if err != nil {
			return nil, err
		}
		res.Items = append(res.Items, item)
	}
	return res, nil
}

// GetCourse returns a course.
func (r *server) GetCourse(ctx context.Context, req *coursespb.GetCourseRequest) (*coursespb.Course, error) {
	c, err := r.landed(r.courses.getCourse(ctx, req.GetCourseId(), req.GetView()))
	if err != nil {
		return nil, err
	}
	return c, r.courses.addPromo(ctx, c)
}

// UpdateCourse changes a course's draft.
func (r *server) UpdateCourse(ctx context.Context, req *coursespb.UpdateCourseRequest) (*coursespb.Course, error) {
	return r.landed(r.courses.updateCourse(ctx, req))
}

// PublishCourse publishes the draft.
func (r *server) PublishCourse(ctx context.Context, req *coursespb.PublishCourseRequest) (*coursespb.Course, error) {
	return r.landed(r.courses.publish(ctx, req, publishing{
		courseID: req.GetCourseId(), message: req.GetMessage(), etag: req.GetDraftEtag(), accept: req.GetAcceptImpact(),
	}))
}

// UnpublishCourse takes a course out of the marketplace.
func (r *server) UnpublishCourse(ctx context.Context, req *coursespb.UnpublishCourseRequest) (*coursespb.Course, error) {
	return r.landed(r.courses.unpublishCourse(ctx, req))
}

// ListVersions lists what was published.
func (r *server) ListVersions(ctx context.Context, req *coursespb.ListVersionsRequest) (*coursespb.ListVersionsResponse, error) {
	found, next, err := r.courses.listVersions(ctx, req.GetCourseId(), page.Size(req.GetPageSize()), req.GetCursor())
	if err != nil {
		return nil, err
	}
	res := &coursespb.ListVersionsResponse{NextCursor: next}
	for _, p := range found {
		res.Items = append(res.Items, p.message())
	}
	return res, nil
}

// GetOutline returns the table of contents.
func (r *server) GetOutline(ctx context.Context, req *coursespb.GetOutlineRequest) (*coursespb.Outline, error) {
	return r.courses.getOutline(ctx, req.GetCourseId(), req.GetView())
}

// CreateModule adds a module.
func (r *server) CreateModule(ctx context.Context, req *coursespb.CreateModuleRequest) (*coursespb.Module, error) {
	return r.courses.createModule(ctx, req)
}

// UpdateModule changes or moves a module.
func (r *server) UpdateModule(ctx context.Context, req *coursespb.UpdateModuleRequest) (*coursespb.Module, error) {
	return r.courses.updateModule(ctx, req)
}

// DeleteModule removes a module.
func (r *server) DeleteModule(ctx context.Context, req *coursespb.DeleteModuleRequest) (*emptypb.Empty, error) {
	return r.courses.deleteModule(ctx, req)
}

// CreateLesson adds a lesson.
func (r *server) CreateLesson(ctx context.Context, req *coursespb.CreateLessonRequest) (*coursespb.Lesson, error) {
	return r.courses.createLesson(ctx, req)
}

// GetLesson returns a lesson.
func (r *server) GetLesson(ctx context.Context, req *coursespb.GetLessonRequest) (*coursespb.Lesson, error) {
	return r.courses.getLesson(ctx, req.GetCourseId(), req.GetLessonId(), req.GetView())
}

// UpdateLesson changes or moves a lesson.
func (r *server) UpdateLesson(ctx context.Context, req *coursespb.UpdateLessonRequest) (*coursespb.Lesson, error) {
	return r.courses.updateLesson(ctx, req)
}

// DeleteLesson removes a lesson.
func (r *server) DeleteLesson(ctx context.Context, req *coursespb.DeleteLessonRequest) (*emptypb.Empty, error) {
	return r.courses.deleteLesson(ctx, req)
}

// etag is how a revision is shown.
func etag(revision int64) string { return strconv.FormatInt(revision, 10) }

// publishedCourse is a course for those who see what is published.
func publishedCourse(c course) *coursespb.Course {
	state := "draft"
	switch {
	case c.Published:
		state = "published"
	case c.ArchivedAt != nil:
		state = "archived"
	}
	out := &coursespb.Course{
		Id: c.ID, OwnerId: c.OwnerID, Title: c.Title, Subtitle: c.Subtitle, Description: c.Description,
		Language: c.Language, Level: c.Level, Category: c.Category, Tags: c.Tags, Outcomes: c.Outcomes,
		CoverMediaId: c.CoverMediaID, State: state, PublishedVersion: c.PublishedNumber,
		CreatedAt: timestamppb.New(c.CreatedAt), UpdatedAt: timestamppb.New(c.UpdatedAt), PublishedAt: optional(c.PublishedAt),
		TimeZone: c.TimeZone, Audience: c.Audience, PromoVideoMediaId: c.PromoVideoMediaID, Release: c.Release.M, Grading: c.Grading.M,
	}
	for _, q := range c.FAQ {
		out.Faq = append(out.Faq, &coursespb.Question{Question: q.Question, Answer: q.Answer})
	}
	return out
}

// draftCourse is a course for its staff.
func draftCourse(c course) *coursespb.Course {
	out := publishedCourse(c)
	out.HasUnpublishedChanges, out.Etag = c.Changed, etag(c.Revision)
	out.DraftEtag, out.ReviewState, out.RequireEtag, out.ArchivedAt = etag(c.Changes), c.reviewState(), c.RequireEtag, optional(c.ArchivedAt)
	return out
}

func optional(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}

func protoOutline(courseID string, o outline) *coursespb.Outline {
	out := &coursespb.Outline{CourseId: courseID, Version: o.number}
	for _, e := range o.items {
		out.Items = append(out.Items, protoEntry(e))
	}
	for _, m := range o.modules {
		pm := &coursespb.Module{Id: m.ID, CourseId: courseID, ParentId: m.ParentID, Title: m.Title, Position: m.Place, Etag: entryTag(m.entry)}
		for _, l := range m.lessons {
			pm.Lessons = append(pm.Lessons, &coursespb.Lesson{
				Id: l.ID, CourseId: courseID, ModuleId: m.ID, Title: l.Title, Position: l.Place,
				Preview: l.Preview, UpdatedAt: timestamppb.New(l.CreatedAt), Etag: entryTag(l),
			})
		}
		out.Modules = append(out.Modules, pm)
	}
	return out
}

// entryTag is empty for what is published, which nobody can change.
func entryTag(e entry) string {
	if e.Revision == 0 {
		return ""
	}
	return etag(e.Revision)
}

func protoEntry(e entry) *coursespb.OutlineItem {
	return &coursespb.OutlineItem{
		Id: e.ID, ParentId: e.ParentID, Kind: e.Kind, Title: e.Title, Depth: e.Depth, Position: e.Place, Preview: e.Preview,
		Required: required(e.Settings), Minutes: e.Settings.M.GetMinutes(), HasRelease: e.Settings.M.GetRelease() != nil,
		Schedule: e.Settings.M.GetSchedule(), UpdatedAt: timestamppb.New(e.CreatedAt), Etag: entryTag(e),
	}
}

func protoModule(courseID string, it item, c content, place int32) *coursespb.Module {
	return &coursespb.Module{
		Id: it.ID, CourseId: courseID, ParentId: it.ParentID, Title: c.Title, Position: place, Settings: c.Settings.M, Etag: etag(it.Revision),
	}
}

// protoLesson is a lesson without what is made for its readers.
func protoLesson(courseID string, l lesson) (*coursespb.Lesson, error) {
	hash, err := l.shownHash("lesson", l.Hash)
	if err != nil {
		return nil, err
	}
	out := &coursespb.Lesson{
		Id: l.ID, CourseId: courseID, ModuleId: l.ModuleID, Title: l.Title, Position: l.Place, Settings: l.Settings.M,
		Preview: l.Preview, UpdatedAt: timestamppb.New(l.UpdatedAt), ContentHash: hash, ContentVersion: l.Number,
	}
	if l.Revision != 0 {
		out.Etag = etag(l.Revision)
	}
	for _, b := range l.Body {
		out.Blocks = append(out.Blocks, b.proto())
	}
	return out, nil
}
