package learning

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// itemServer answers other services.
type itemServer struct {
	learningpb.UnimplementedItemServiceServer

	service *Service
}

// CheckItems implements learningpb.ItemServiceServer.
func (r *itemServer) CheckItems(ctx context.Context, req *learningpb.CheckItemsRequest) (*learningpb.CheckItemsResponse, error) {
	at := r.service.now()
	list, err := r.service.persons(ctx, r.service.db, req.GetAccountId(), at, req.GetCourseId())
	if err != nil || list[0] == nil {
		return &learningpb.CheckItemsResponse{}, err
	}
	p := list[0]
	out := &learningpb.CheckItemsResponse{Version: p.version.number, NotEnrolled: p.facts.EnrolledAt.IsZero()}
	asked := setOf(req.GetItemIds())
	for _, it := range p.version.items {
		if len(asked) > 0 && !asked[it.GetId()] || req.GetHiddenOnly() && !it.chain.CanHide() {
			continue
		}
		d := p.decide(it, at)
		if req.GetHiddenOnly() {
			if d.Hidden {
				out.Items = append(out.Items, &learningpb.ItemState{ItemId: it.GetId(), State: d.State()})
			}
			continue
		}
		state := &learningpb.ItemState{ItemId: it.GetId(), State: d.State(), Reasons: p.sentences(d.Missing, at), OpensAt: stampOf(d.OpensAt)}
		if req.GetWithTimes() {
			_, closes := release.Next(p.rule(it), p.facts, at)
			state.ClosesAt = stampOf(closes)
			if i, ok := p.deadline[it.GetId()]; ok {
				state.Due, state.Until = optional(p.Due[i]), optional(p.Until[i])
			}
		}
		out.Items = append(out.Items, state)
	}
	return out, nil
}

// stampOf returns a moment as a message, nil for the zero one.
func stampOf(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// isStaff reports whether the caller sees all of a course: who has a role of its
// staff, or one on the platform by which they see files or progress.
func isStaff(ctx context.Context) (bool, error) {
	for _, permission := range []string{"progress.list", "media.read"} {
		if has, err := auth.Has(ctx, permission); err != nil || has {
			return has, err
		}
	}
	return false, nil
}

// ruledSQL tells which version somebody sees, and whether anything of the course
// is not available to them yet.
const ruledSQL = `
	SELECT CASE WHEN l.pinned_version > 0 THEN l.pinned_version ELSE k.version END, EXISTS (
		SELECT FROM effective_deadline d WHERE d.course_id = $1 AND d.account_id = $2 AND d.available_from > $3)
	FROM course k LEFT JOIN learner l ON l.course_id = k.course_id AND l.account_id = $2 WHERE k.course_id = $1`

// checkOpen refuses the caller an item that is not open to them: a hidden one as
// one that there is not. What the version they see does not have is let through.
func (s *Service) checkOpen(ctx context.Context, courseID, itemID string) error {
	account, at := auth.From(ctx).Account, s.now()
	var number int32
	var waits bool
	rows, err := s.db.Query(ctx, ruledSQL, courseID, account, at)
	if err != nil {
		return err
	}
	defer rows.Close()
	if !rows.Next() {
		return rows.Err()
	}
	if err := rows.Scan(&number, &waits); err != nil {
		return err
	}
	rows.Close()
	v, err := s.versionOf(ctx, s.db, courseID, number)
	if err != nil {
		return err
	}
	if v != nil && !waits && (v.byID[itemID] == nil || v.byID[itemID].chain == nil) {
		return nil
	}
	if staff, err := isStaff(ctx); err != nil || staff {
		return err
	}
	list, err := s.persons(ctx, s.db, account, at, courseID)
	if err != nil || list[0] == nil {
		return err
	}
	p := list[0]
	it := p.version.byID[itemID]
	if it == nil {
		return nil
	}
	return p.refuse(p.decide(it, at), at)
}

// refuse returns the error that a decision is told as; nil when it is open.
func (p *person) refuse(d release.Decision, at time.Time) error {
	switch {
	case d.Open:
		return nil
	case d.Hidden:
		return ErrLessonNotFound
	}
	err := &fault.Error{Kind: ErrLessonLocked.Kind, Code: ErrLessonLocked.Code, Message: ErrLessonLocked.Message}
	for _, reason := range p.sentences(d.Missing, at) {
		err.Fields = append(err.Fields, fault.Field{Path: "lesson_id", Code: err.Code, Hint: reason})
	}
	if !d.OpensAt.IsZero() {
		err.Fields = append(err.Fields, fault.Field{Path: "opens_at", Code: "lesson.opens_at", Hint: d.OpensAt.UTC().Format(time.RFC3339)})
	}
	return err
}
