package courses

import (
	"context"
	"strings"

	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// versionServer answers VersionService.
type versionServer struct {
	coursespb.UnimplementedVersionServiceServer
	server
}

// ListItemVersions lists the contents of an item.
func (r *versionServer) ListItemVersions(ctx context.Context, req *coursespb.ListItemVersionsRequest) (*coursespb.ListItemVersionsResponse, error) {
	found, next, err := r.courses.listItemVersions(ctx, req.GetCourseId(), req.GetItemId(), page.Size(req.GetPageSize()), req.GetCursor())
	if err != nil {
		return nil, err
	}
	res := &coursespb.ListItemVersionsResponse{NextCursor: next}
	for _, v := range found {
		res.Items = append(res.Items, v.message(req.GetItemId()))
	}
	return res, nil
}

// GetItemVersion returns a content of an item.
func (r *versionServer) GetItemVersion(ctx context.Context, req *coursespb.GetItemVersionRequest) (*coursespb.ItemContent, error) {
	c, err := itemContent(ctx, r.courses.db, req.GetCourseId(), req.GetItemId(), refOf(req.GetNumber()))
	if err != nil {
		return nil, err
	}
	return r.courses.completed(ctx, c)
}

// GetPublication returns a published version.
func (r *versionServer) GetPublication(ctx context.Context, req *coursespb.GetPublicationRequest) (*coursespb.Publication, error) {
	p, err := r.courses.getPublication(ctx, req.GetCourseId(), sideOf(req.GetNumber()).number)
	if err != nil {
		return nil, err
	}
	_, err = r.landed(p.GetCourse(), nil)
	return p, err
}

// DiffVersions compares two versions of a course.
func (r *versionServer) DiffVersions(ctx context.Context, req *coursespb.DiffVersionsRequest) (*coursespb.DiffVersionsResponse, error) {
	return r.courses.diffVersions(ctx, req)
}

// DiffItemVersions compares two contents of an item.
func (r *versionServer) DiffItemVersions(ctx context.Context, req *coursespb.DiffItemVersionsRequest) (*coursespb.ItemDiff, error) {
	return r.courses.diffItemVersions(ctx, req)
}

// CompareEdit compares an edit with what others did.
func (r *versionServer) CompareEdit(ctx context.Context, req *coursespb.CompareEditRequest) (*coursespb.Comparison, error) {
	return r.courses.compareEdit(ctx, req)
}

// RevertItem gives an item a content that it had.
func (r *versionServer) RevertItem(ctx context.Context, req *coursespb.RevertItemRequest) (*coursespb.ItemContent, error) {
	return r.courses.revertItem(ctx, req)
}

// RevertCourse publishes again what a version was.
func (r *versionServer) RevertCourse(ctx context.Context, req *coursespb.RevertCourseRequest) (*coursespb.Course, error) {
	return r.landed(r.courses.publish(ctx, req, publishing{
		courseID: req.GetCourseId(), message: req.GetMessage(), etag: req.GetDraftEtag(), accept: req.GetAcceptImpact(),
		revertTo: req.GetVersion(), discard: req.GetDiscardDraft(),
	}))
}

// PreviewPublication says what publishing would do.
func (r *versionServer) PreviewPublication(ctx context.Context, req *coursespb.PreviewPublicationRequest) (*coursespb.PublicationPreview, error) {
	return r.courses.preview(ctx, req.GetCourseId())
}

// PinCohort has a cohort see one version.
func (r *versionServer) PinCohort(ctx context.Context, req *coursespb.PinCohortRequest) (*coursespb.Pin, error) {
	return r.courses.pinCohort(ctx, req, req.GetCourseId(), req.GetCohortId(), req.GetVersion())
}

// UnpinCohort has a cohort see the newest version.
func (r *versionServer) UnpinCohort(ctx context.Context, req *coursespb.UnpinCohortRequest) (*coursespb.Pin, error) {
	return r.courses.pinCohort(ctx, req, req.GetCourseId(), req.GetCohortId(), 0)
}

// ListPins lists what is pinned.
func (r *versionServer) ListPins(ctx context.Context, req *coursespb.ListPinsRequest) (*coursespb.ListPinsResponse, error) {
	found, next, err := r.courses.listPins(ctx, req.GetCourseId(), page.Size(req.GetPageSize()), req.GetCursor())
	if err != nil {
		return nil, err
	}
	res := &coursespb.ListPinsResponse{NextCursor: next}
	for _, p := range found {
		res.Items = append(res.Items, p.message(req.GetCourseId()))
	}
	return res, nil
}

// reviewServer answers ReviewService.
type reviewServer struct {
	coursespb.UnimplementedReviewServiceServer
	server
}

// SubmitForReview submits a draft.
func (r *reviewServer) SubmitForReview(ctx context.Context, req *coursespb.SubmitForReviewRequest) (*coursespb.Review, error) {
	return r.courses.submitForReview(ctx, req)
}

// ApproveCourse approves what was submitted.
func (r *reviewServer) ApproveCourse(ctx context.Context, req *coursespb.ApproveCourseRequest) (*coursespb.Review, error) {
	return r.courses.decide(ctx, req, decision{
		courseID: req.GetCourseId(), state: reviewApproved, etag: req.GetDraftEtag(), comment: strings.TrimSpace(req.GetComment()),
	})
}

// ReturnCourse returns what was submitted.
func (r *reviewServer) ReturnCourse(ctx context.Context, req *coursespb.ReturnCourseRequest) (*coursespb.Review, error) {
	d := decision{courseID: req.GetCourseId(), state: reviewReturned, etag: req.GetDraftEtag(), comment: strings.TrimSpace(req.GetComment())}
	for _, m := range req.GetRemarks() {
		d.remarks = append(d.remarks, remark{m.GetItemId(), strings.TrimSpace(m.GetText())})
	}
	return r.courses.decide(ctx, req, d)
}

// ListReviews lists what waits.
func (r *reviewServer) ListReviews(ctx context.Context, req *coursespb.ListReviewsRequest) (*coursespb.ListReviewsResponse, error) {
	found, next, err := r.courses.listReviews(ctx, page.Size(req.GetPageSize()), req.GetCursor())
	return reviewPage(found, next, err)
}

// ListCourseReviews lists the reviews of a course.
func (r *reviewServer) ListCourseReviews(ctx context.Context, req *coursespb.ListCourseReviewsRequest) (*coursespb.ListReviewsResponse, error) {
	found, next, err := r.courses.listCourseReviews(ctx, req.GetCourseId(), page.Size(req.GetPageSize()), req.GetCursor())
	return reviewPage(found, next, err)
}

func reviewPage(found []review, next string, err error) (*coursespb.ListReviewsResponse, error) {
	if err != nil {
		return nil, err
	}
	res := &coursespb.ListReviewsResponse{NextCursor: next}
	for _, one := range found {
		res.Items = append(res.Items, one.message())
	}
	return res, nil
}

// ArchiveCourse puts a course away.
func (r *reviewServer) ArchiveCourse(ctx context.Context, req *coursespb.ArchiveCourseRequest) (*coursespb.Course, error) {
	return r.landed(r.courses.archive(ctx, req, req.GetCourseId(), true, req.GetClose(), req.GetReason()))
}

// UnarchiveCourse takes a course out of the archive.
func (r *reviewServer) UnarchiveCourse(ctx context.Context, req *coursespb.UnarchiveCourseRequest) (*coursespb.Course, error) {
	return r.landed(r.courses.archive(ctx, req, req.GetCourseId(), false, false, ""))
}

// revenueServer answers RevenueService.
type revenueServer struct {
	coursespb.UnimplementedRevenueServiceServer

	courses *Service
}

// SetRevenueSplit says how what a course earns is shared.
func (r *revenueServer) SetRevenueSplit(ctx context.Context, req *coursespb.SetRevenueSplitRequest) (*coursespb.RevenueSplit, error) {
	return r.courses.setRevenueSplit(ctx, req)
}

// GetRevenueSplit returns how what a course earns is shared.
func (r *revenueServer) GetRevenueSplit(ctx context.Context, req *coursespb.GetRevenueSplitRequest) (*coursespb.GetRevenueSplitResponse, error) {
	return r.courses.getRevenueSplit(ctx, req.GetCourseId(), page.Size(req.GetPageSize()), req.GetCursor())
}
