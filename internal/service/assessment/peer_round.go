package assessment

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// Errors of reviews by students.
var (
	ErrPeersNotUsed       = fault.New(fault.Conflict, "peer_review.not_used", "Students do not review each other's work here.")
	ErrPeersNotBegun      = fault.New(fault.Conflict, "peer_review.not_begun", "Reviewing has not begun here.")
	ErrPeersOpen          = fault.New(fault.Conflict, "peer_review.open", "Reviewing has begun here already.")
	ErrPeersOver          = fault.New(fault.Conflict, "peer_review.over", "Reviewing is over here.")
	ErrPeerReviewNotFound = fault.New(fault.NotFound, "peer_review.not_found", "There is no such review.")
	ErrPeerReviewStarted  = fault.New(fault.Conflict, "peer_review.started", "This review was begun: it stays with who writes it.")
	ErrPeerReviewDone     = fault.New(fault.Conflict, "peer_review.done", "This review was submitted and can't be changed.")
	ErrPeerReviewNotDone  = fault.New(fault.Conflict, "peer_review.not_done", "This review was not submitted.")
	ErrPeerUnsuitable     = fault.New(fault.Conflict, "peer_review.unsuitable", "Who reviews has handed in, and reviews nothing of their own, and nothing twice.")
)

// States of reviews.
const (
	reviewAllotted = "allotted"
	reviewBegun    = "begun"
	reviewDone     = "done"
	reviewLost     = "lost"
)

// peerServer answers the staff about reviews by students.
type peerServer struct {
	assessmentpb.UnimplementedPeerReviewServiceServer

	service *Service
}

// round is that students review each other's work at an item.
type round struct {
	CourseID     string
	ItemID       string
	AssignmentID string
	Reviews      int32
	Seed         int64
	Revision     int64
	OpenedAt     time.Time
	BeginBy      *time.Time
	ClosesAt     time.Time
	ClosedAt     *time.Time
	ReleasedAt   *time.Time
	MarkedTo     string
	MarkedAt     *time.Time
	EditedBy     string
	EditedAt     time.Time
}

const roundColumns = `course_id, item_id, assignment_id, reviews, seed, revision, opened_at, begin_by, closes_at, closed_at, released_at, marked_to, marked_at, edited_by, edited_at`

// readRound returns how reviewing stands at an item, nil where it has not begun; lock is
// "" or how its row is locked.
func readRound(ctx context.Context, q pg.Querier, itemID, assignmentID, lock string) (*round, error) {
	return oneRound(ctx, q, `item_id = $1 AND assignment_id = $2 `+lock, itemID, assignmentID)
}

func oneRound(ctx context.Context, q pg.Querier, where string, args ...any) (*round, error) {
	rows, err := q.Query(ctx, `SELECT `+roundColumns+` FROM peer_round WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read round: %w", err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[round])
	if pg.NoRows(err) {
		return nil, nil //nolint:nilnil // it has not begun
	}
	if err != nil {
		return nil, fmt.Errorf("read round: %w", err)
	}
	return r, nil
}

// over reports whether nothing can be submitted any more.
func (r *round) over(now time.Time) bool { return r.ClosedAt != nil || now.After(r.ClosesAt) }

// state is what the audit log says of it.
func (r *round) state() any {
	return map[string]any{"item": r.ItemID, "revision": r.Revision, "closes_at": r.ClosesAt, "begin_by": r.BeginBy, "released": r.ReleasedAt != nil, "over": r.ClosedAt != nil}
}

// message tells how it stands.
func (s *Service) roundMessage(ctx context.Context, r *round) (*assessmentpb.PeerRound, error) {
	out := &assessmentpb.PeerRound{
		ItemId: r.ItemID, AssignmentId: r.AssignmentID, State: "open", OpenedAt: timestamppb.New(r.OpenedAt), BeginBy: stampOf(r.BeginBy), ClosesAt: timestamppb.New(r.ClosesAt),
		ReleasedAt: stampOf(r.ReleasedAt), Marked: r.MarkedAt != nil, Reviews: r.Reviews, Etag: strconv.FormatInt(r.Revision, 10),
	}
	if r.ClosedAt != nil {
		out.State = "over"
	}
	err := s.db.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE state = 'allotted'), count(*) FILTER (WHERE state = 'begun'), count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state = 'lost')
		FROM peer_review WHERE item_id = $1 AND assignment_id = $2`, r.ItemID, r.AssignmentID).Scan(&out.Allotted, &out.Begun, &out.Done, &out.Lost)
	if err != nil {
		return nil, fmt.Errorf("count reviews: %w", err)
	}
	return out, nil
}

// peersAt returns the assignment at an item in which students review each other's work.
func (s *Service) peersAt(ctx context.Context, q pg.Querier, courseID, itemID string) (*assignmentVersion, error) {
	v, err := s.assignmentAt(ctx, q, courseID, itemID)
	if err == nil && v.Settings.GetPeerReview() == nil {
		err = ErrPeersNotUsed
	}
	return v, err
}

// openRound has reviewing begin of locked work: of all that was handed in until now, as
// who hands in at the same time is before this, or behind it and joins.
func (s *Service) openRound(ctx context.Context, tx *pg.Tx, v *assignmentVersion, itemID string) error {
	if _, err := tx.Exec(ctx, `SELECT FROM assignment WHERE id = $1 FOR UPDATE`, v.AssignmentID); err != nil {
		return fmt.Errorf("lock assignment: %w", err)
	}
	var drawn [8]byte
	if _, err := rand.Read(drawn[:]); err != nil {
		return err
	}
	p, now := v.Settings.GetPeerReview(), s.time()
	r := &round{
		CourseID: v.CourseID, ItemID: itemID, AssignmentID: v.AssignmentID, Reviews: p.GetReviews(), Seed: int64(binary.LittleEndian.Uint64(drawn[:])), Revision: 1, //nolint:gosec // any number is as good
		OpenedAt: now, ClosesAt: now.Add(time.Duration(p.GetSeconds()) * time.Second), EditedBy: auth.From(ctx).Account, EditedAt: now,
	}
	if p.GetBeginSeconds() > 0 {
		r.BeginBy = new(now.Add(time.Duration(p.GetBeginSeconds()) * time.Second))
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO peer_round (course_id, item_id, assignment_id, reviews, seed, opened_at, begin_by, closes_at, edited_by, edited_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $6)
		ON CONFLICT ON CONSTRAINT peer_round_pkey DO NOTHING`, r.CourseID, r.ItemID, r.AssignmentID, r.Reviews, r.Seed, r.OpenedAt, r.BeginBy, r.ClosesAt, r.EditedBy)
	if err != nil {
		return fmt.Errorf("insert round: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrPeersOpen
	}
	a, err := allocationOf(ctx, tx, r)
	if err != nil {
		return err
	}
	a.allocate(int(r.Reviews))
	if err := s.storeAllocation(ctx, tx, r, a); err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{Action: "peer_review.begun", Object: r.AssignmentID, Course: r.CourseID, After: r.state()})
}

// storedAllocation is an allocation as it was read.
type storedAllocation struct {
	*allocation

	before map[[2]string]bool // reviewer and submission -> lost
}

// allocationOf returns who reviews what in a locked round.
func allocationOf(ctx context.Context, tx *pg.Tx, r *round) (*storedAllocation, error) {
	rows, err := tx.Query(ctx, `
		SELECT s.id, m.account_id, coalesce(e.live, true)
		FROM submission s JOIN submission_member m ON m.submission_id = s.id AND m.number = s.number
			LEFT JOIN enrollment e ON e.course_id = s.course_id AND e.account_id = m.account_id
		WHERE s.item_id = $1 AND s.assignment_id = $2 AND s.course_id = $3 AND s.number > 0 ORDER BY s.id, m.account_id`, r.ItemID, r.AssignmentID, r.CourseID)
	if err != nil {
		return nil, fmt.Errorf("what is reviewed: %w", err)
	}
	var works []*reviewable
	var submission, account, state, reviewID string
	var live bool
	taking := map[string]bool{}
	if _, err := pgx.ForEachRow(rows, []any{&submission, &account, &live}, func() error {
		if len(works) == 0 || works[len(works)-1].id != submission {
			works = append(works, &reviewable{id: submission})
		}
		w := works[len(works)-1]
		w.authors = append(w.authors, account)
		if live {
			w.reviewers = append(w.reviewers, account)
			taking[account] = true
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("what is reviewed: %w", err)
	}
	if rows, err = tx.Query(ctx, `
		SELECT id, submission_id, reviewer_id, state FROM peer_review WHERE item_id = $1 AND assignment_id = $2 AND state <> 'freed'`, r.ItemID, r.AssignmentID); err != nil {
		return nil, fmt.Errorf("who reviews: %w", err)
	}
	var pairs []*pair
	out := &storedAllocation{before: map[[2]string]bool{}}
	if _, err := pgx.ForEachRow(rows, []any{&reviewID, &submission, &account, &state}, func() error {
		// What is begun by who takes the course no more comes to no end.
		p := &pair{id: reviewID, reviewer: account, submission: submission, fixed: state == reviewDone || state == reviewBegun && taking[account], lost: state == reviewLost}
		p.begun = state == reviewDone || state == reviewBegun
		pairs = append(pairs, p)
		out.before[[2]string{account, submission}] = p.lost
		return nil
	}); err != nil {
		return nil, fmt.Errorf("who reviews: %w", err)
	}
	out.allocation = newAllocation(r.Seed, works, pairs)
	return out, nil
}

// storeAllocation stores what has changed of who reviews what in a locked round.
func (s *Service) storeAllocation(ctx context.Context, tx *pg.Tx, r *round, a *storedAllocation) error {
	var ids, submissions, reviewers, lost, taken, gone []string
	for _, p := range a.pairs {
		key := [2]string{p.reviewer, p.submission}
		wasLost, there := a.before[key]
		switch {
		case !there:
			ids, submissions, reviewers = append(ids, id.New("peerreview")), append(submissions, p.submission), append(reviewers, p.reviewer)
		case p.lost && !wasLost:
			lost = append(lost, p.id)
			if p.taken {
				taken = append(taken, p.id)
			}
		}
	}
	for key := range a.before {
		if !a.known[key] {
			gone = append(gone, key[0]+" "+key[1])
		}
	}
	slices.Sort(gone)
	now := s.time()
	batch := &pgx.Batch{}
	batch.Queue(`DELETE FROM peer_review WHERE item_id = $1 AND assignment_id = $2 AND state = 'allotted' AND reviewer_id || ' ' || submission_id = ANY ($3)`, r.ItemID, r.AssignmentID, gone)
	batch.Queue(`UPDATE peer_review SET state = 'lost', taken = id = ANY ($2), revision = revision + 1 WHERE id = ANY ($1) AND state IN ('allotted', 'begun')`, lost, append([]string{}, taken...))
	batch.Queue(`
		INSERT INTO peer_review AS r (id, course_id, item_id, assignment_id, submission_id, reviewer_id, allotted_at)
		SELECT n.id, $1, $2, $3, n.submission_id, n.reviewer_id, $4 FROM unnest($5::text[], $6::text[], $7::text[]) AS n (id, submission_id, reviewer_id)
		ON CONFLICT ON CONSTRAINT peer_review_one DO UPDATE
		SET state = CASE WHEN r.content IS NULL THEN 'allotted' ELSE 'begun' END, revision = r.revision + 1 WHERE r.state IN ('freed', 'lost')`,
		r.CourseID, r.ItemID, r.AssignmentID, now, ids, submissions, reviewers)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("store reviews: %w", err)
	}
	return nil
}

// peersMoved follows what was handed in or taken back, whose row is locked, while
// students review each other's work: it is reviewed from now on, or no more.
func (s *Service) peersMoved(ctx context.Context, tx *pg.Tx, v *assignmentVersion, w *work) error {
	if v.Settings.GetPeerReview() == nil {
		return nil
	}
	r, err := readRound(ctx, tx, w.ItemID, w.AssignmentID, "FOR UPDATE")
	if err != nil || r == nil || r.over(s.time()) {
		return err
	}
	if w.Number == 0 {
		if _, err := tx.Exec(ctx, `DELETE FROM peer_review WHERE submission_id = $1 AND state = 'allotted'`, w.ID); err != nil {
			return fmt.Errorf("free reviewers: %w", err)
		}
		if _, err := tx.Exec(ctx, `UPDATE peer_review SET state = 'freed', revision = revision + 1 WHERE submission_id = $1 AND state = 'begun'`, w.ID); err != nil {
			return fmt.Errorf("free reviewers: %w", err)
		}
		return nil
	}
	// A draft of a review of what was taken back goes on with what is there now.
	if _, err := tx.Exec(ctx, `
		UPDATE peer_review r SET state = 'begun', number = $2, revision = revision + 1 WHERE submission_id = $1 AND (state = 'freed' OR state = 'begun' AND EXISTS (
			SELECT FROM submission_version v WHERE v.submission_id = r.submission_id AND v.number = r.number AND v.withdrawn_at IS NOT NULL))`, w.ID, w.Number); err != nil {
		return fmt.Errorf("go on with reviews: %w", err)
	}
	a, err := allocationOf(ctx, tx, r)
	if err != nil {
		return err
	}
	work, n := a.byID[w.ID], min(int(r.Reviews), len(a.works)-1)
	joined := len(a.on[w.ID]) > 0
	for _, author := range work.authors {
		joined = joined || len(a.by[author]) > 0
	}
	if joined {
		for len(a.on[w.ID]) < n && a.hand(work) {
		}
	} else {
		a.join(work, int(r.Reviews))
	}
	return s.storeAllocation(ctx, tx, r, a)
}

// GetPeerRound implements [assessmentpb.PeerReviewServiceServer].
func (h *peerServer) GetPeerRound(ctx context.Context, req *assessmentpb.GetPeerRoundRequest) (*assessmentpb.PeerRound, error) {
	s := h.service
	v, err := s.peersAt(ctx, s.db, req.GetCourseId(), req.GetItemId())
	if err != nil {
		return nil, err
	}
	r, err := readRound(ctx, s.db, req.GetItemId(), v.AssignmentID, "")
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, ErrPeersNotBegun
	}
	return s.roundMessage(ctx, r)
}

// BeginPeerReview implements [assessmentpb.PeerReviewServiceServer].
func (h *peerServer) BeginPeerReview(ctx context.Context, req *assessmentpb.BeginPeerReviewRequest) (*assessmentpb.PeerRound, error) {
	s := h.service
	if _, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.PeerRound, error) {
		v, err := s.peersAt(ctx, tx, req.GetCourseId(), req.GetItemId())
		if err != nil {
			return nil, err
		}
		return &assessmentpb.PeerRound{}, s.openRound(ctx, tx, v, req.GetItemId())
	}); err != nil {
		return nil, err
	}
	return h.GetPeerRound(ctx, &assessmentpb.GetPeerRoundRequest{CourseId: req.GetCourseId(), ItemId: req.GetItemId()})
}

// lockRound returns the round at an item, locked, while it is not over.
func (s *Service) lockRound(ctx context.Context, tx *pg.Tx, courseID, itemID string) (*round, error) {
	v, err := s.peersAt(ctx, tx, courseID, itemID)
	if err != nil {
		return nil, err
	}
	r, err := readRound(ctx, tx, itemID, v.AssignmentID, "FOR UPDATE")
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		return nil, ErrPeersNotBegun
	case r.ClosedAt != nil:
		return nil, ErrPeersOver
	}
	return r, nil
}

// UpdatePeerRound implements [assessmentpb.PeerReviewServiceServer].
func (h *peerServer) UpdatePeerRound(ctx context.Context, req *assessmentpb.UpdatePeerRoundRequest) (*assessmentpb.PeerRound, error) {
	s := h.service
	if _, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.PeerRound, error) {
		r, err := s.lockRound(ctx, tx, req.GetCourseId(), req.GetItemId())
		if err != nil {
			return nil, err
		}
		now := s.time()
		if err := heldTo(ctx, strconv.FormatInt(r.Revision, 10), r.EditedBy, &r.EditedAt, now); err != nil {
			return nil, err
		}
		before := r.state()
		if at := momentOf(req.GetClosesAt()); at != nil {
			r.ClosesAt = *at
		}
		if at := momentOf(req.GetBeginBy()); at != nil {
			r.BeginBy = at
		}
		if req.GetNoBeginBy() {
			r.BeginBy = nil
		}
		if req.GetRelease() && r.ReleasedAt == nil {
			r.ReleasedAt = &now
		}
		if err := r.check(req, now); err != nil {
			return nil, err
		}
		r.Revision++
		if _, err := tx.Exec(ctx, `
			UPDATE peer_round SET begin_by = $3, closes_at = $4, released_at = $5, revision = $6, edited_by = $7, edited_at = $8 WHERE item_id = $1 AND assignment_id = $2`,
			r.ItemID, r.AssignmentID, r.BeginBy, r.ClosesAt, r.ReleasedAt, r.Revision, auth.From(ctx).Account, now); err != nil {
			return nil, fmt.Errorf("update round: %w", err)
		}
		return &assessmentpb.PeerRound{}, audit.Record(ctx, tx, audit.Entry{Action: "peer_review.updated", Object: r.AssignmentID, Course: r.CourseID, Before: before, After: r.state()})
	}); err != nil {
		return nil, err
	}
	return h.GetPeerRound(ctx, &assessmentpb.GetPeerRoundRequest{CourseId: req.GetCourseId(), ItemId: req.GetItemId()})
}

// check refuses times that can't be.
func (r *round) check(req *assessmentpb.UpdatePeerRoundRequest, now time.Time) error {
	var fields []fault.Field
	bad := func(path, hint string) {
		fields = append(fields, fault.Field{Path: path, Code: "peer_review.invalid", Hint: hint})
	}
	latest := now.AddDate(5, 0, 0)
	if req.GetClosesAt() != nil && (!r.ClosesAt.After(now) || r.ClosesAt.After(latest)) {
		bad("closes_at", "Send a moment that is to come, within five years.")
	}
	if req.GetBeginBy() != nil && !r.BeginBy.After(now) {
		bad("begin_by", "Send a moment that is to come.")
	}
	if r.BeginBy != nil && !r.BeginBy.Before(r.ClosesAt) {
		bad("begin_by", "Send a moment before closes_at.")
	}
	if len(fields) == 0 {
		return nil
	}
	return &fault.Error{Kind: fault.Invalid, Code: "peer_review.invalid", Message: "Reviewing can't be at these times.", Fields: fields}
}

// endRound ends reviewing in a locked round.
func (s *Service) endRound(ctx context.Context, tx *pg.Tx, r *round) error {
	now := s.time()
	if _, err := tx.Exec(ctx, `
		UPDATE peer_round SET closed_at = $3, closes_at = least(closes_at, $3), revision = revision + 1, edited_by = $4, edited_at = $3 WHERE item_id = $1 AND assignment_id = $2`,
		r.ItemID, r.AssignmentID, now, auth.From(ctx).Account); err != nil {
		return fmt.Errorf("end round: %w", err)
	}
	tx.AfterCommit(s.wakeFiles)
	before := r.state()
	r.ClosedAt = &now
	return audit.Record(ctx, tx, audit.Entry{Action: "peer_review.ended", Object: r.AssignmentID, Course: r.CourseID, Before: before, After: r.state()})
}

// EndPeerReview implements [assessmentpb.PeerReviewServiceServer].
func (h *peerServer) EndPeerReview(ctx context.Context, req *assessmentpb.EndPeerReviewRequest) (*assessmentpb.PeerRound, error) {
	s := h.service
	if _, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.PeerRound, error) {
		r, err := s.lockRound(ctx, tx, req.GetCourseId(), req.GetItemId())
		if err != nil {
			return nil, err
		}
		return &assessmentpb.PeerRound{}, s.endRound(ctx, tx, r)
	}); err != nil {
		return nil, err
	}
	return h.GetPeerRound(ctx, &assessmentpb.GetPeerRoundRequest{CourseId: req.GetCourseId(), ItemId: req.GetItemId()})
}
