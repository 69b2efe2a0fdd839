package learning

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// server answers the contract.
type server struct {
	learningpb.UnimplementedLearningServiceServer

	service *Service
}

func (r *server) ViewLesson(ctx context.Context, req *learningpb.ViewLessonRequest) (*learningpb.Progress, error) {
	return whenOpen(ctx, r.service, req.GetCourseId(), req.GetLessonId(), func(checked bool) (*learningpb.Progress, error) {
		return idempotency.Do(ctx, r.service.db, req, func(tx *pg.Tx) (*learningpb.Progress, error) {
			c := &scene{AccountID: auth.From(ctx).Account, CourseID: req.GetCourseId(), ItemID: req.GetLessonId()}
			if _, err := r.service.view(ctx, tx, c, checked, ErrLessonNotFound); err != nil {
				return nil, err
			}
			p, err := readProgress(ctx, tx, c.AccountID, c.CourseID)
			if err != nil {
				return nil, err
			}
			return progressPB(c.CourseID, p), nil
		})
	})
}

func (r *server) GetProgress(ctx context.Context, req *learningpb.GetProgressRequest) (*learningpb.Progress, error) {
	p, err := readProgress(ctx, r.service.db, auth.From(ctx).Account, req.GetCourseId())
	if err != nil {
		return nil, err
	}
	if p.ResumeLessonID, err = r.service.openOrNone(ctx, r.service.db, auth.From(ctx).Account, req.GetCourseId(), p.ResumeLessonID); err != nil {
		return nil, err
	}
	out := progressPB(req.GetCourseId(), p)
	out.Items, err = r.service.readItems(ctx, r.service.db, auth.From(ctx).Account, req.GetCourseId())
	return out, err
}

func (r *server) ListMyCourses(ctx context.Context, req *learningpb.ListMyCoursesRequest) (*learningpb.ListMyCoursesResponse, error) {
	items, next, err := coursesOf(ctx, r.service.db, auth.From(ctx).Account, page.Size(req.GetPageSize()), req.GetCursor())
	if err != nil {
		return nil, err
	}
	var begun []string
	for _, c := range items {
		if c.ResumeLessonID != "" {
			begun = append(begun, c.CourseID)
		}
	}
	closed, err := r.service.closedTo(ctx, r.service.db, auth.From(ctx).Account, begun)
	if err != nil {
		return nil, err
	}
	for i, c := range items {
		if closed[place{c.CourseID, c.ResumeLessonID}] != "" { // it was locked or hidden since
			items[i].ResumeLessonID, items[i].PositionMediaID, items[i].PositionMs, items[i].PositionAt = "", "", 0, nil
		}
	}
	res := &learningpb.ListMyCoursesResponse{NextCursor: next}
	for _, c := range items {
		res.Items = append(res.Items, &learningpb.MyCourse{
			CourseId: c.CourseID, Title: c.Title, Percent: percent(c.Done, c.LessonCount),
			EnrolledAt: timestamppb.New(c.EnrolledAt), CompletedAt: optional(c.CompletedAt), ResumeLessonId: c.ResumeLessonID,
			Position: positionPB(c.PositionMediaID, c.PositionMs, c.PositionAt),
		})
	}
	return res, nil
}

func (r *server) ListLearners(ctx context.Context, req *learningpb.ListLearnersRequest) (*learningpb.ListLearnersResponse, error) {
	items, next, err := learnersOf(ctx, r.service.db, req.GetCourseId(), page.Size(req.GetPageSize()), req.GetCursor())
	if err != nil {
		return nil, err
	}
	res := &learningpb.ListLearnersResponse{NextCursor: next}
	for _, l := range items {
		res.Items = append(res.Items, &learningpb.Learner{
			AccountId: l.AccountID, AccountName: l.Name, Percent: percent(l.Done, l.LessonCount),
			EnrolledAt: timestamppb.New(l.EnrolledAt), LastSeenAt: optional(l.LastSeenAt), CompletedAt: optional(l.CompletedAt),
		})
	}
	return res, nil
}

func progressPB(courseID string, p progress) *learningpb.Progress {
	out := &learningpb.Progress{
		CourseId:         courseID,
		Percent:          percent(len(p.LessonIDs), p.LessonCount),
		CompletedLessons: int32(len(p.LessonIDs)), //nolint:gosec // at most LessonCount
		TotalLessons:     int32(p.LessonCount),    //nolint:gosec // an int in the database
		CompletedAt:      optional(p.CompletedAt),
		ResumeLessonId:   p.ResumeLessonID,
	}
	for i, id := range p.LessonIDs {
		out.Lessons = append(out.Lessons, &learningpb.CompletedLesson{LessonId: id, CompletedAt: timestamppb.New(p.LessonTimes[i])})
	}
	return out
}

func optional(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}
