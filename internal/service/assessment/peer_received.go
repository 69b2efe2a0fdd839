package assessment

import (
	"context"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// ListReviewsOfMine implements [assessmentpb.MyPeerReviewServiceServer].
func (h *myPeerServer) ListReviewsOfMine(ctx context.Context, req *assessmentpb.ListReviewsOfMineRequest) (*assessmentpb.ListReviewsOfMineResponse, error) {
	s, who := h.service, auth.From(ctx).Account
	after, err := reviewAfter(req.GetCursor())
	if err != nil {
		return nil, err
	}
	m, err := s.myWorkAt(ctx, req.GetCourseId(), req.GetItemId())
	if err != nil {
		return nil, err
	}
	out := &assessmentpb.ListReviewsOfMineResponse{}
	of, err := readRound(ctx, s.db, req.GetItemId(), m.version.AssignmentID, "")
	if err != nil || of == nil || m.work == nil || !m.reviewsShown(of) {
		return out, err
	}
	if m.version.Settings.GetPeerReview().GetRequired() {
		done, err := reviewingOf(ctx, s.db, of, []string{who})
		if err != nil {
			return nil, err
		}
		if done[who].done < done[who].due {
			return out, nil
		}
	}
	// Of versions that are not the caller's own nothing is told, nor that there is more.
	list, err := readReviews(ctx, s.db, `
		submission_id = $1 AND id > $2 AND state = 'done' AND NOT excluded AND number IN (
			SELECT v.number FROM submission_version v JOIN submission_member o ON o.submission_id = v.submission_id AND o.number = v.number
			WHERE v.submission_id = $1 AND v.withdrawn_at IS NULL AND o.account_id = $3)
		ORDER BY id LIMIT $4`, m.work.ID, after, who, page.Size(req.GetPageSize())+1)
	if err != nil {
		return nil, err
	}
	if out.Items, err = s.receivedReviews(ctx, m, list); err != nil {
		return nil, err
	}
	if n := min(bearable(out.GetItems()), page.Size(req.GetPageSize())); n < len(out.GetItems()) {
		out.Items = out.GetItems()[:n]
		out.NextCursor = page.Cursor(out.GetItems()[n-1].GetId())
	}
	return out, nil
}

// reviewAfter reads a cursor of reviews.
func reviewAfter(cursor string) (string, error) {
	values, err := page.Values(cursor, 1)
	if err != nil || values == nil {
		return "", err
	}
	if !id.Valid("peerreview", values[0]) {
		return "", page.ErrCursor
	}
	return values[0], nil
}

// reviewsShown reports whether what others have written of somebody's work is shown to
// them: what is a part of the mark with it.
func (m *myWork) reviewsShown(of *round) bool {
	if peersWeigh(m.version.Settings) {
		return of.ClosedAt != nil && m.posted && m.mark.AssignmentID == m.version.AssignmentID && m.mark.State == workMarked
	}
	return of.ClosedAt != nil || of.ReleasedAt != nil
}

// receivedReviews tells reviews to whose work they are of.
func (s *Service) receivedReviews(ctx context.Context, m *myWork, list []*review) ([]*assessmentpb.ReceivedReview, error) {
	hidden := m.version.Settings.GetPeerReview().GetAnonymous() || m.version.Settings.GetAnonymous()
	most := map[int32]string{}
	for _, v := range m.versions {
		most[v.Number] = trimmed(v.MaxPoints)
	}
	var out []*assessmentpb.ReceivedReview
	var chosen []*assessmentpb.RubricMarks
	var people []string
	for _, r := range list {
		c, err := r.content()
		if err != nil {
			return nil, err
		}
		one := &assessmentpb.ReceivedReview{Id: r.ID, Number: r.Number, Comment: c.GetComment(), CommentHtml: s.markdown.Render(c.GetComment()), Comments: c.GetComments(), Points: orNothing(r.Points)}
		if one.GetPoints() != "" {
			one.PointsOf = most[r.Number]
		}
		if !hidden {
			one.Reviewer = &assessmentpb.Participant{AccountId: r.ReviewerID}
			people = append(people, r.ReviewerID)
		}
		out, chosen = append(out, one), append(chosen, c.GetRubric())
	}
	results, err := resultsOf(ctx, s.db, chosen, true)
	if err != nil {
		return nil, err
	}
	names, err := namesOf(ctx, s.db, people)
	if err != nil {
		return nil, err
	}
	for i, one := range out {
		one.Rubric = results[i]
		if one.Reviewer != nil {
			one.Reviewer.Name = names[one.GetReviewer().GetAccountId()]
		}
	}
	return out, nil
}
