package assessment

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/exact"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// myPeerServer answers students about reviews of others' work and of their own.
type myPeerServer struct {
	assessmentpb.UnimplementedMyPeerReviewServiceServer

	service *Service
}

// review is a row of peer_review.
type review struct {
	ID             string
	CourseID       string
	ItemID         string
	AssignmentID   string
	SubmissionID   string
	Number         int32
	ReviewerID     string
	State          string
	Revision       int64
	Points         *string
	Content        []byte
	Excluded       bool
	ExcludedReason string
	AllottedAt     time.Time
	SavedAt        *time.Time
	SubmittedAt    *time.Time
}

const reviewColumns = `id, course_id, item_id, assignment_id, submission_id, number, reviewer_id, state, revision, points, content, excluded, excluded_reason, allotted_at, saved_at, submitted_at`

func readReviews(ctx context.Context, q pg.Querier, where string, args ...any) ([]*review, error) {
	rows, err := q.Query(ctx, `SELECT `+reviewColumns+` FROM peer_review WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read reviews: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[review])
	if err != nil {
		return nil, fmt.Errorf("read reviews: %w", err)
	}
	return list, nil
}

// readReview returns the one review that a condition finds.
func readReview(ctx context.Context, q pg.Querier, where string, args ...any) (*review, error) {
	list, err := readReviews(ctx, q, where, args...)
	if err == nil && len(list) == 0 {
		return nil, ErrPeerReviewNotFound
	}
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// content returns what a review says, nil for nothing yet.
func (r *review) content() (*assessmentpb.PeerReviewContent, error) {
	if r.Content == nil {
		return nil, nil //nolint:nilnil // it is not begun
	}
	out := &assessmentpb.PeerReviewContent{}
	if err := proto.Unmarshal(r.Content, out); err != nil {
		return nil, fmt.Errorf("content of %s: %w", r.ID, err)
	}
	return out, nil
}

// mineToWrite is a condition of a review that is somebody's to write, or that they have
// written.
const mineToWrite = `id = $1 AND course_id = $2 AND reviewer_id = $3 AND state IN ('allotted', 'begun', 'done')`

// message tells a review to who writes it, without what is reviewed.
func (r *review) message(settings *assessmentpb.AssignmentSettings, of *round) (*assessmentpb.MyReview, error) {
	content, err := r.content()
	return &assessmentpb.MyReview{
		Id: r.ID, ItemId: r.ItemID, State: r.State, ClosesAt: timestamppb.New(of.ClosesAt), Content: content, SavedAt: stampOf(r.SavedAt), SubmittedAt: stampOf(r.SubmittedAt),
		MaxPoints: settings.GetPoints(), Etag: strconv.FormatInt(r.Revision, 10),
	}, err
}

// ListMyReviews implements [assessmentpb.MyPeerReviewServiceServer].
func (h *myPeerServer) ListMyReviews(ctx context.Context, req *assessmentpb.ListMyReviewsRequest) (*assessmentpb.ListMyReviewsResponse, error) {
	s := h.service
	m, err := s.myWorkAt(ctx, req.GetCourseId(), req.GetItemId())
	if err != nil {
		return nil, err
	}
	out := &assessmentpb.ListMyReviewsResponse{}
	of, err := readRound(ctx, s.db, req.GetItemId(), m.version.AssignmentID, "")
	if err != nil || of == nil {
		return out, err
	}
	list, err := readReviews(ctx, s.db, `item_id = $1 AND assignment_id = $2 AND reviewer_id = $3 AND state IN ('allotted', 'begun', 'done') ORDER BY id LIMIT 200`,
		req.GetItemId(), m.version.AssignmentID, auth.From(ctx).Account)
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		one, err := r.message(m.version.Settings, of)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, one)
	}
	return out, nil
}

// GetMyReview implements [assessmentpb.MyPeerReviewServiceServer].
func (h *myPeerServer) GetMyReview(ctx context.Context, req *assessmentpb.GetMyReviewRequest) (*assessmentpb.MyReview, error) {
	return h.service.myReview(ctx, req.GetCourseId(), req.GetReviewId())
}

// myReview returns a review of the caller's with the work.
func (s *Service) myReview(ctx context.Context, courseID, reviewID string) (*assessmentpb.MyReview, error) {
	r, err := readReview(ctx, s.db, mineToWrite, reviewID, courseID, auth.From(ctx).Account)
	if err != nil {
		return nil, err
	}
	of, err := readRound(ctx, s.db, r.ItemID, r.AssignmentID, "")
	if err != nil {
		return nil, err
	}
	w, err := workOfCourse(ctx, s.db, courseID, r.SubmissionID, "")
	if err != nil {
		return nil, err
	}
	as, err := s.settingsNow(ctx, s.db, w)
	if err != nil {
		return nil, err
	}
	out, err := r.message(as.Settings, of)
	if err != nil {
		return nil, err
	}
	number := r.Number
	if number == 0 {
		number = w.Number
	}
	all, err := handedIn(ctx, s.db, []string{w.ID})
	if err != nil {
		return nil, err
	}
	for _, v := range all[w.ID] {
		if v.Number == number {
			return out, s.fillReview(ctx, as, w, v, out)
		}
	}
	return nil, ErrPeerReviewNotFound // taken back meanwhile
}

// fillReview adds what is reviewed, and by what.
func (s *Service) fillReview(ctx context.Context, as *assignmentVersion, w *work, v handed, out *assessmentpb.MyReview) error {
	hidden := as.Settings.GetPeerReview().GetAnonymous() || as.Settings.GetAnonymous()
	shown, err := s.showVersion(ctx, w, v, 0, shownTo{account: auth.From(ctx).Account, anonymous: hidden})
	if err != nil {
		return err
	}
	rubric, err := rubricFor(ctx, s.db, rubricTarget{id: as.AssignmentID, purpose: purposePeers})
	if err != nil {
		return err
	}
	out.Instructions, out.Work, out.TextHtml, out.Files, out.Rubric = as.Settings.GetInstructions(), shown.content, shown.html, shown.files, shownRubric(rubric)
	out.MaxPoints = trimmed(v.MaxPoints)
	if hidden {
		return nil
	}
	members, err := membersOfVersion(ctx, s.db, w.ID, v.Number)
	if err != nil {
		return err
	}
	names, err := namesOf(ctx, s.db, members)
	if err != nil {
		return err
	}
	for _, account := range members {
		out.Authors = append(out.Authors, &assessmentpb.Participant{AccountId: account, Name: names[account]})
	}
	return nil
}

// lockReview returns a review of the caller's, locked, while it can be written.
func (s *Service) lockReview(ctx context.Context, tx *pg.Tx, courseID, reviewID string) (*review, error) {
	who := auth.From(ctx).Account
	r, err := readReview(ctx, tx, mineToWrite, reviewID, courseID, who)
	if err != nil {
		return nil, err
	}
	// Nobody ends reviewing or takes the review away while it is written.
	of, err := readRound(ctx, tx, r.ItemID, r.AssignmentID, "FOR SHARE")
	if err != nil {
		return nil, err
	}
	if r, err = readReview(ctx, tx, mineToWrite+` FOR UPDATE`, reviewID, courseID, who); err != nil {
		return nil, err
	}
	switch {
	case r.State == reviewDone:
		return nil, ErrPeerReviewDone
	case of.over(s.time()):
		return nil, ErrPeersOver
	}
	return r, rpc.Match(ctx, strconv.FormatInt(r.Revision, 10))
}

// workReviewed returns the version that a locked review is of: the one that was handed in
// last, as soon as it is begun.
func workReviewed(ctx context.Context, q pg.Querier, r *review) (*work, handed, error) {
	w, err := workOfCourse(ctx, q, r.CourseID, r.SubmissionID, "")
	if err != nil {
		return nil, handed{}, err
	}
	if r.Number == 0 {
		r.Number = w.Number
	}
	rows, err := q.Query(ctx, `SELECT `+handedColumns+` FROM submission_version v WHERE v.submission_id = $1 AND v.number = $2`, w.ID, r.Number)
	if err != nil {
		return nil, handed{}, fmt.Errorf("version of review: %w", err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[handed])
	if pg.NoRows(err) {
		return nil, v, ErrPeerReviewNotFound
	}
	return w, v, err
}

// reviewFault is the error of a review that can't be.
func reviewFault(path, hint string, args ...any) error {
	return &fault.Error{
		Kind: fault.Invalid, Code: "peer_review.invalid", Message: "The review has something that can't be.",
		Fields: []fault.Field{{Path: path, Code: "peer_review.invalid", Hint: fmt.Sprintf(hint, args...)}},
	}
}

// checkReview refuses what a review of a version can't say.
func checkReview(ctx context.Context, q pg.Querier, c *assessmentpb.PeerReviewContent, v handed) error {
	if c.GetPoints() != "" {
		if n, err := exact.Parse(c.GetPoints()); err != nil || n.Cmp(pointsIn(v.MaxPoints)) > 0 {
			return reviewFault("content.points", "Send at most %s.", trimmed(v.MaxPoints))
		}
	}
	if c.GetPoints() != "" && c.GetRubric() != nil {
		return reviewFault("content.points", "Send points or a rubric, not both.")
	}
	if len(c.GetComments()) == 0 {
		return nil
	}
	var text []byte
	if err := q.QueryRow(ctx, `SELECT content FROM submission_version WHERE submission_id = $1 AND number = $2`, v.SubmissionID, v.Number).Scan(&text); err != nil {
		return fmt.Errorf("content of version: %w", err)
	}
	content, err := contentOf(text)
	if err != nil {
		return err
	}
	return checkComments(c.GetComments(), content)
}

// SaveMyReview implements [assessmentpb.MyPeerReviewServiceServer].
func (h *myPeerServer) SaveMyReview(ctx context.Context, req *assessmentpb.SaveMyReviewRequest) (*assessmentpb.MyReview, error) {
	s := h.service
	if _, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.MyReview, error) {
		tx.Exempt("a draft of one's own")
		r, err := s.lockReview(ctx, tx, req.GetCourseId(), req.GetReviewId())
		if err != nil {
			return nil, err
		}
		_, v, err := workReviewed(ctx, tx, r)
		if err != nil {
			return nil, err
		}
		if err := checkReview(ctx, tx, req.GetContent(), v); err != nil {
			return nil, err
		}
		return &assessmentpb.MyReview{}, s.storeReview(ctx, tx, r, req.GetContent(), reviewBegun, nil)
	}); err != nil {
		return nil, err
	}
	return s.myReview(ctx, req.GetCourseId(), req.GetReviewId())
}

// storeReview stores what a locked review says.
func (s *Service) storeReview(ctx context.Context, tx *pg.Tx, r *review, c *assessmentpb.PeerReviewContent, state string, points *exact.Number) error {
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
	if err != nil {
		return err
	}
	now := s.time()
	var given *string
	if points != nil {
		given = new(points.String())
	}
	if _, err := tx.Exec(ctx, `
		UPDATE peer_review SET state = $2, number = $3, content = $4, points = $5, saved_at = $6, submitted_at = CASE WHEN $2 = 'done' THEN $6::timestamptz END, revision = revision + 1
		WHERE id = $1`, r.ID, state, r.Number, text, given, now); err != nil {
		return fmt.Errorf("store review: %w", err)
	}
	return nil
}

// SubmitMyReview implements [assessmentpb.MyPeerReviewServiceServer].
func (h *myPeerServer) SubmitMyReview(ctx context.Context, req *assessmentpb.SubmitMyReviewRequest) (*assessmentpb.MyReview, error) {
	s := h.service
	if _, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.MyReview, error) {
		r, err := s.lockReview(ctx, tx, req.GetCourseId(), req.GetReviewId())
		if err != nil {
			return nil, err
		}
		w, v, err := workReviewed(ctx, tx, r)
		if err != nil {
			return nil, err
		}
		content := req.GetContent()
		if content == nil {
			if content, err = r.content(); err != nil {
				return nil, err
			}
		}
		if err := checkReview(ctx, tx, content, v); err != nil {
			return nil, err
		}
		points, err := s.reviewPoints(ctx, tx, w, v, content)
		if err != nil {
			return nil, err
		}
		if err := s.storeReview(ctx, tx, r, content, reviewDone, points); err != nil {
			return nil, err
		}
		// Without the submission, and without who reviews: who reads it may not know.
		return &assessmentpb.MyReview{}, audit.Record(ctx, tx, audit.Entry{
			Action: "peer_review.submitted", Object: r.AssignmentID, Course: r.CourseID, After: map[string]any{"item": r.ItemID},
		})
	}); err != nil {
		return nil, err
	}
	return s.myReview(ctx, req.GetCourseId(), req.GetReviewId())
}

// reviewPoints returns the points that a review gives of those of a version, nil where it
// gives none; it refuses one that lacks what reviews have to have.
func (s *Service) reviewPoints(ctx context.Context, tx *pg.Tx, w *work, v handed, c *assessmentpb.PeerReviewContent) (*exact.Number, error) {
	as, err := s.settingsNow(ctx, tx, w)
	if err != nil {
		return nil, err
	}
	to := rubricTarget{id: as.AssignmentID, purpose: purposePeers}
	rubric, err := rubricFor(ctx, tx, to)
	if err != nil {
		return nil, err
	}
	switch {
	case c.GetRubric() != nil:
		fraction, err := chosenIn(ctx, tx, to, c.GetRubric())
		if err != nil {
			return nil, err
		}
		n := fraction.Mul(pointsIn(v.MaxPoints))
		return &n, nil
	case rubric != nil:
		return nil, reviewFault("content.rubric", "Choose from the rubric %q.", rubric.GetTitle())
	case c.GetPoints() != "":
		n := pointsIn(c.GetPoints())
		return &n, nil
	case peersWeigh(as.Settings):
		return nil, reviewFault("content.points", "Give points: they are a part of the mark.")
	case c.GetComment() == "" && len(c.GetComments()) == 0:
		return nil, reviewFault("content.comment", "Say something.")
	}
	return nil, nil //nolint:nilnil // it gives none
}

// ListReviewsOfMine implements [assessmentpb.MyPeerReviewServiceServer].
func (h *myPeerServer) ListReviewsOfMine(ctx context.Context, req *assessmentpb.ListReviewsOfMineRequest) (*assessmentpb.ListReviewsOfMineResponse, error) {
	s, who := h.service, auth.From(ctx).Account
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
	list, err := readReviews(ctx, s.db, `submission_id = $1 AND state = 'done' AND NOT excluded ORDER BY md5(id) LIMIT 100`, m.work.ID)
	if err != nil {
		return nil, err
	}
	out.Items, err = s.receivedReviews(ctx, m, list)
	return out, err
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
		if m.mine(v) && v.WithdrawnAt == nil {
			most[v.Number] = trimmed(v.MaxPoints)
		}
	}
	var out []*assessmentpb.ReceivedReview
	var chosen []*assessmentpb.RubricMarks
	var people []string
	for _, r := range list {
		of, mine := most[r.Number]
		if !mine {
			continue
		}
		c, err := r.content()
		if err != nil {
			return nil, err
		}
		one := &assessmentpb.ReceivedReview{Id: r.ID, Number: r.Number, Comment: c.GetComment(), CommentHtml: s.markdown.Render(c.GetComment()), Comments: c.GetComments(), Points: orNothing(r.Points)}
		if one.GetPoints() != "" {
			one.PointsOf = of
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
