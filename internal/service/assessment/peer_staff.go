package assessment

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// ReallotPeerReviews implements [assessmentpb.PeerReviewServiceServer].
func (h *peerServer) ReallotPeerReviews(ctx context.Context, req *assessmentpb.ReallotPeerReviewsRequest) (*assessmentpb.ReallotPeerReviewsResponse, error) {
	s := h.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.ReallotPeerReviewsResponse, error) {
		r, err := s.lockRound(ctx, tx, req.GetCourseId(), req.GetItemId())
		if err != nil {
			return nil, err
		}
		taken, handed, err := s.reallot(ctx, tx, r, req.GetReviewIds())
		return &assessmentpb.ReallotPeerReviewsResponse{Taken: int32(taken), Handed: int32(handed)}, err //nolint:gosec // far below
	})
}

// AddPeerReview implements [assessmentpb.PeerReviewServiceServer].
func (h *peerServer) AddPeerReview(ctx context.Context, req *assessmentpb.AddPeerReviewRequest) (*assessmentpb.StudentReview, error) {
	s := h.service
	made, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.StudentReview, error) {
		w, err := workOfCourse(ctx, tx, req.GetCourseId(), req.GetSubmissionId(), "")
		if err != nil {
			return nil, err
		}
		r, err := s.lockRound(ctx, tx, w.CourseID, w.ItemID)
		if err != nil {
			return nil, err
		}
		a, err := allocationOf(ctx, tx, r)
		if err != nil {
			return nil, err
		}
		work := a.byID[w.ID]
		key := [2]string{req.GetAccountId(), w.ID}
		if work == nil || len(a.of[req.GetAccountId()]) == 0 || !a.may(req.GetAccountId(), work) && !a.before[key] {
			return nil, ErrPeerUnsuitable
		}
		out := &assessmentpb.StudentReview{Id: id.New("peerreview")}
		if err := tx.QueryRow(ctx, `
			INSERT INTO peer_review AS r (id, course_id, item_id, assignment_id, submission_id, reviewer_id, allotted_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT ON CONSTRAINT peer_review_one DO UPDATE SET state = CASE WHEN r.content IS NULL THEN 'allotted' ELSE 'begun' END, revision = r.revision + 1
			RETURNING id`, out.GetId(), r.CourseID, r.ItemID, r.AssignmentID, w.ID, req.GetAccountId(), s.time()).Scan(&out.Id); err != nil {
			return nil, fmt.Errorf("insert review: %w", err)
		}
		return out, audit.Record(ctx, tx, audit.Entry{Action: "peer_review.added", Object: out.GetId(), Course: r.CourseID, After: map[string]any{"item": r.ItemID}})
	})
	if err != nil {
		return nil, err
	}
	return s.studentReview(ctx, req.GetCourseId(), made.GetId())
}

// studentReview tells a review to the staff.
func (s *Service) studentReview(ctx context.Context, courseID, reviewID string) (*assessmentpb.StudentReview, error) {
	r, err := readReview(ctx, s.db, `id = $1 AND course_id = $2`, reviewID, courseID)
	if err != nil {
		return nil, err
	}
	v, err := s.settingsNow(ctx, s.db, &work{AssignmentID: r.AssignmentID})
	if err != nil {
		return nil, err
	}
	list, err := s.studentReviews(ctx, v, r.ItemID, []*review{r})
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// studentReviews tells reviews to the staff: drafts to nobody, and who reviews by their
// pseudonyms where the assignment is anonymous.
func (s *Service) studentReviews(ctx context.Context, v *assignmentVersion, itemID string, list []*review) ([]*assessmentpb.StudentReview, error) {
	people := make([]string, len(list))
	for i, r := range list {
		people[i] = r.ReviewerID
	}
	var names map[string]string
	var err error
	if v.Settings.GetAnonymous() {
		names, err = s.participants(ctx, v.CourseID, itemID, people)
	} else {
		names, err = namesOf(ctx, s.db, people)
	}
	if err != nil {
		return nil, err
	}
	out, chosen := make([]*assessmentpb.StudentReview, len(list)), make([]*assessmentpb.RubricMarks, len(list))
	for i, r := range list {
		m := &assessmentpb.StudentReview{
			Id: r.ID, SubmissionId: r.SubmissionID, Number: r.Number, Reviewer: names[r.ReviewerID], State: r.State, AllottedAt: timestamppb.New(r.AllottedAt),
			SubmittedAt: stampOf(r.SubmittedAt), Excluded: r.Excluded, ExcludedReason: r.ExcludedReason,
		}
		if !v.Settings.GetAnonymous() {
			m.ReviewerId = r.ReviewerID
		}
		if r.State == reviewDone {
			m.Points = orNothing(r.Points)
			if m.Content, err = r.content(); err != nil {
				return nil, err
			}
			chosen[i] = m.GetContent().GetRubric()
		}
		out[i] = m
	}
	results, err := resultsOf(ctx, s.db, chosen, true)
	if err != nil {
		return nil, err
	}
	for i, m := range out {
		m.Rubric = results[i]
	}
	return out, nil
}

// participants returns the pseudonyms of people at an item.
func (s *Service) participants(ctx context.Context, courseID, itemID string, accounts []string) (map[string]string, error) {
	rows, err := s.db.Query(ctx, `
		SELECT a, encode(sha256(p.salt || convert_to(a, 'UTF8')), 'hex') FROM placement p, unnest($3::text[]) AS a WHERE p.course_id = $1 AND p.item_id = $2`, courseID, itemID, accounts)
	if err != nil {
		return nil, fmt.Errorf("pseudonyms: %w", err)
	}
	out := map[string]string{}
	var account, code string
	if _, err := pgx.ForEachRow(rows, []any{&account, &code}, func() error {
		out[account] = pseudonymOf(code)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("pseudonyms: %w", err)
	}
	return out, nil
}

// ListPeerReviews implements [assessmentpb.PeerReviewServiceServer].
func (h *peerServer) ListPeerReviews(ctx context.Context, req *assessmentpb.ListPeerReviewsRequest) (*assessmentpb.ListPeerReviewsResponse, error) {
	s := h.service
	values, err := page.Values(req.GetCursor(), 1)
	if err != nil {
		return nil, err
	}
	after := ""
	if values != nil {
		if after = values[0]; !id.Valid("peerreview", after) {
			return nil, page.ErrCursor
		}
	}
	v, err := s.assignmentAt(ctx, s.db, req.GetCourseId(), req.GetItemId())
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	list, err := readReviews(ctx, s.db, `
		item_id = $1 AND assignment_id = $2 AND id > $3 AND ($4 = '' OR submission_id = $4) AND ($5 = '' OR state = $5) ORDER BY id LIMIT $6`,
		req.GetItemId(), v.AssignmentID, after, req.GetSubmissionId(), req.GetState(), size+1)
	if err != nil {
		return nil, err
	}
	out := &assessmentpb.ListPeerReviewsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextCursor = page.Cursor(list[size-1].ID)
	}
	out.Items, err = s.studentReviews(ctx, v, req.GetItemId(), list)
	return out, err
}

// ExcludePeerReview implements [assessmentpb.PeerReviewServiceServer].
func (h *peerServer) ExcludePeerReview(ctx context.Context, req *assessmentpb.ExcludePeerReviewRequest) (*assessmentpb.StudentReview, error) {
	s := h.service
	if _, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.StudentReview, error) {
		r, err := readReview(ctx, tx, `id = $1 AND course_id = $2`, req.GetReviewId(), req.GetCourseId())
		if err != nil {
			return nil, err
		}
		w, err := workOfCourse(ctx, tx, r.CourseID, r.SubmissionID, "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		if r, err = readReview(ctx, tx, `id = $1 FOR UPDATE`, r.ID); err != nil {
			return nil, err
		}
		if r.State != reviewDone {
			return nil, ErrPeerReviewNotDone
		}
		was := r.Excluded
		if _, err := tx.Exec(ctx, `UPDATE peer_review SET excluded = $2, excluded_reason = $3, revision = revision + 1 WHERE id = $1`, r.ID, !req.GetInclude(), req.GetReason()); err != nil {
			return nil, fmt.Errorf("exclude review: %w", err)
		}
		if err := s.reviewsChanged(ctx, tx, w, r.ReviewerID); err != nil {
			return nil, err
		}
		return &assessmentpb.StudentReview{}, audit.Record(ctx, tx, audit.Entry{
			Action: "peer_review.excluded", Object: r.ID, Course: r.CourseID, Before: map[string]any{"excluded": was}, After: map[string]any{"excluded": !req.GetInclude()},
		})
	}); err != nil {
		return nil, err
	}
	return s.studentReview(ctx, req.GetCourseId(), req.GetReviewId())
}

// reviewsChanged has the marks follow, once reviewing is over, that are made of the
// reviews of locked work, and of what a reviewer has done.
func (s *Service) reviewsChanged(ctx context.Context, tx *pg.Tx, w *work, reviewer string) error {
	r, err := readRound(ctx, tx, w.ItemID, w.AssignmentID, "")
	if err != nil || r == nil || r.ClosedAt == nil {
		return err
	}
	if err := s.marksFollow(ctx, tx, w); err != nil || reviewer == "" {
		return err
	}
	return s.submissionChanged(ctx, tx, w, []string{reviewer}, "marking")
}

// SetPeerMark implements [assessmentpb.PeerReviewServiceServer].
func (h *peerServer) SetPeerMark(ctx context.Context, req *assessmentpb.SetPeerMarkRequest) (*assessmentpb.Submission, error) {
	s := h.service
	if _, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.Submission, error) {
		w, err := workOfCourse(ctx, tx, req.GetCourseId(), req.GetSubmissionId(), "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		as, err := s.settingsNow(ctx, tx, w)
		if err != nil {
			return nil, err
		}
		if as.Settings.GetPeerReview() == nil {
			return nil, ErrPeersNotUsed
		}
		var points *string
		if req.GetPoints() != "" {
			most := as.Points.Mul(exact.Int(10))
			n, err := exact.Parse(req.GetPoints())
			if err != nil || n.Cmp(most) > 0 {
				return nil, markFault("points", "Send at most %s.", most)
			}
			points = new(n.String())
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO peer_override (submission_id, seq, points, reason, account_id, given_at)
			SELECT $1, coalesce((SELECT max(seq) FROM peer_override WHERE submission_id = $1), 0) + 1, $2, $3, $4, $5`,
			w.ID, points, req.GetReason(), auth.From(ctx).Account, s.time()); err != nil {
			return nil, fmt.Errorf("store override: %w", err)
		}
		if err := s.reviewsChanged(ctx, tx, w, ""); err != nil {
			return nil, err
		}
		return &assessmentpb.Submission{}, audit.Record(ctx, tx, audit.Entry{
			Action: "peer_review.overridden", Object: w.ID, Course: w.CourseID, After: map[string]any{"set": points != nil},
		})
	}); err != nil {
		return nil, err
	}
	return s.submissionFor(ctx, req.GetCourseId(), req.GetSubmissionId(), 0)
}
