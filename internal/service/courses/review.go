package courses

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// States of a review.
const (
	reviewSubmitted  = "submitted"
	reviewApproved   = "approved"
	reviewReturned   = "returned"
	reviewSuperseded = "superseded"
)

// approved reports whether moderators have approved exactly this state of the
// draft.
func (c course) approved() bool {
	return c.ReviewState == reviewApproved && c.ReviewChanges == c.Changes
}

// reviewState is the state as staff see it.
func (c course) reviewState() string {
	if (c.ReviewState == reviewSubmitted || c.ReviewState == reviewApproved) && c.ReviewChanges != c.Changes {
		return "changed"
	}
	return c.ReviewState
}

// remark is what a moderator says of a part of a course, as it is stored.
type remark struct {
	ItemID string `json:"item_id,omitempty"`
	Text   string `json:"text"`
}

// review is what was submitted and what became of it.
type review struct {
	ID           string
	CourseID     string
	Title        string // of the draft, now
	Changes      int64  // of the draft, now
	DraftChanges int64  // of what was submitted
	State        string
	Message      string
	SubmittedBy  string
	SubmittedAt  time.Time
	Comment      string
	Remarks      []remark
	ReviewerID   string
	ReviewedAt   *time.Time
}

func (r review) message() *coursespb.Review {
	out := &coursespb.Review{
		Id: r.ID, CourseId: r.CourseID, CourseTitle: r.Title, DraftEtag: etag(r.DraftChanges), ChangedSince: r.Changes != r.DraftChanges,
		State: r.State, Message: r.Message, SubmittedBy: r.SubmittedBy, SubmittedAt: timestamppb.New(r.SubmittedAt),
		Comment: r.Comment, ReviewerId: r.ReviewerID, ReviewedAt: optional(r.ReviewedAt),
	}
	for _, m := range r.Remarks {
		out.Remarks = append(out.Remarks, &coursespb.Remark{ItemId: m.ItemID, Text: m.Text})
	}
	return out
}

const reviewOf = `
	SELECT r.id, r.course_id, c.title, d.changes, r.draft_changes, r.state, r.message, r.submitted_by, r.submitted_at, r.comment, r.remarks, r.reviewer_id, r.reviewed_at
	FROM review r JOIN course c ON c.id = r.course_id JOIN draft d ON d.course_id = c.id `

// lastReview returns the newest review of a course; false when it has none.
func lastReview(ctx context.Context, tx *pg.Tx, courseID string) (review, bool, error) {
	rows, err := tx.Query(ctx, reviewOf+`WHERE r.course_id = $1 ORDER BY r.submitted_at DESC, r.id DESC LIMIT 1`, courseID)
	if err != nil {
		return review{}, false, err
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[review])
	if pg.NoRows(err) {
		return review{}, false, nil
	}
	return r, err == nil, err
}

func (s *Service) submitForReview(ctx context.Context, req *coursespb.SubmitForReviewRequest) (*coursespb.Review, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Review, error) {
		c, err := lockDraft(ctx, tx, req.GetCourseId(), false)
		if err != nil {
			return nil, err
		}
		if want := req.GetDraftEtag(); want != "" && want != etag(c.Changes) {
			return nil, staleDraft(c)
		}
		if c.ArchivedAt != nil {
			return nil, ErrArchived
		}
		var empty bool
		if err := tx.QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM item WHERE course_id = $1 AND kind <> 'module')`, c.ID).Scan(&empty); err != nil {
			return nil, err
		}
		if empty {
			return nil, ErrNoLessons
		}
		last, ok, err := lastReview(ctx, tx, c.ID)
		if err != nil {
			return nil, err
		}
		if ok && last.DraftChanges == c.Changes && (last.State == reviewSubmitted || c.approved()) {
			return last.message(), nil
		}
		if ok && last.State == reviewSubmitted {
			if _, err := tx.Exec(ctx, `UPDATE review SET state = $2 WHERE id = $1`, last.ID, reviewSuperseded); err != nil {
				return nil, err
			}
		}
		r := review{
			ID: id.New("review"), CourseID: c.ID, Title: c.Title, Changes: c.Changes, DraftChanges: c.Changes, State: reviewSubmitted,
			Message: strings.TrimSpace(req.GetMessage()), SubmittedBy: auth.From(ctx).Account, SubmittedAt: s.now(),
		}
		if ok && !r.SubmittedAt.After(last.SubmittedAt) {
			r.SubmittedAt = last.SubmittedAt.Add(time.Microsecond) // the newest, whatever clocks say
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO review (id, course_id, draft_changes, state, message, submitted_by, submitted_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			r.ID, r.CourseID, r.DraftChanges, r.State, r.Message, r.SubmittedBy, r.SubmittedAt); err != nil {
			return nil, err
		}
		if err := setReview(ctx, tx, c.ID, reviewSubmitted, r.DraftChanges, c.ReviewPassed); err != nil {
			return nil, err
		}
		return r.message(), audit.Record(ctx, tx, audit.Entry{
			Action: "course.submitted", Object: r.ID, Course: c.ID, After: map[string]any{"draft_etag": etag(r.DraftChanges)},
		})
	})
}

// setReview notes at the course what its newest review says.
func setReview(ctx context.Context, tx *pg.Tx, courseID, state string, changes int64, passed bool) error {
	_, err := tx.Exec(ctx, `UPDATE course SET review_state = $2, review_changes = $3, review_passed = $4, revision = revision + 1 WHERE id = $1`,
		courseID, state, changes, passed)
	return err
}

// decision is what moderators say.
type decision struct {
	courseID string
	state    string
	etag     string // of what they looked at, "" for what is submitted
	comment  string
	remarks  []remark
}

// decide approves or returns what was submitted.
func (s *Service) decide(ctx context.Context, req proto.Message, d decision) (*coursespb.Review, error) {
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.Review, error) {
		c, err := lockDraft(ctx, tx, d.courseID, false)
		if err != nil {
			return nil, err
		}
		r, ok, err := lastReview(ctx, tx, c.ID)
		if err != nil {
			return nil, err
		}
		// An approval that was used is no longer to be taken back: the course is taken
		// out instead.
		open := ok && (r.State == reviewSubmitted || d.state == reviewReturned && r.State == reviewApproved && !c.Published)
		if !open {
			return nil, ErrReviewNotFound
		}
		if d.etag != "" && d.etag != etag(r.DraftChanges) {
			return nil, &fault.Error{
				Kind: fault.Precondition, Code: "etag.stale", Etag: etag(r.DraftChanges), Message: "Another state of the draft is submitted.",
				Fields: []fault.Field{{Path: "draft_etag", Code: "etag.stale", Hint: `What is submitted is "` + etag(r.DraftChanges) + `". Look at it again.`}},
			}
		}
		now := s.now()
		was := r.State
		r.State, r.Comment, r.Remarks, r.ReviewerID, r.ReviewedAt = d.state, d.comment, d.remarks, auth.From(ctx).Account, &now
		if r.Remarks == nil {
			r.Remarks = []remark{}
		}
		if _, err := tx.Exec(ctx, `UPDATE review SET state = $2, comment = $3, remarks = $4, reviewer_id = $5, reviewed_at = $6 WHERE id = $1`,
			r.ID, r.State, r.Comment, r.Remarks, r.ReviewerID, now); err != nil {
			return nil, err
		}
		// What is returned before it is in the marketplace needs another approval.
		if err := setReview(ctx, tx, c.ID, r.State, r.DraftChanges, c.ReviewPassed && (d.state == reviewApproved || c.Published)); err != nil {
			return nil, err
		}
		before, after := map[string]any{"state": was}, map[string]any{"draft_etag": etag(r.DraftChanges), "remarks": len(r.Remarks)}
		entry := audit.Entry{Action: "course.approved", Object: r.ID, Course: c.ID, Person: r.SubmittedBy, Reason: r.Comment, Before: before, After: after}
		if d.state == reviewReturned {
			entry = audit.Entry{Action: "course.returned", Object: r.ID, Course: c.ID, Person: r.SubmittedBy, Reason: r.Comment, Before: before, After: after}
		}
		if err := audit.Record(ctx, tx, entry); err != nil {
			return nil, err
		}
		return r.message(), bus.Publish(ctx, tx, &coursespb.CourseReviewed{
			ReviewId: r.ID, CourseId: c.ID, Title: c.Title, State: r.State, OwnerId: c.OwnerID, SubmittedBy: r.SubmittedBy,
			Comment: r.Comment, RemarkCount: int32(len(r.Remarks)), ReviewedAt: timestamppb.New(now), //nolint:gosec // at most 100
		})
	})
}

// listReviews returns a page of what waits, submitted first first, and the cursor
// of the next.
func (s *Service) listReviews(ctx context.Context, size int, cursor string) ([]review, string, error) {
	after, afterID := time.Time{}, ""
	if cursor != "" {
		var err error
		if after, afterID, err = page.After(cursor); err != nil {
			return nil, "", err
		}
	}
	rows, err := s.db.Query(ctx, reviewOf+`
		WHERE r.state = 'submitted' AND (r.submitted_at, r.id) > ($1, $2) ORDER BY r.submitted_at, r.id LIMIT $3`, after, afterID, size+1)
	return pageOfReviews(rows, err, size)
}

// listCourseReviews returns a page of the reviews of a course, newest first.
func (s *Service) listCourseReviews(ctx context.Context, courseID string, size int, cursor string) ([]review, string, error) {
	before, beforeID, err := page.After(cursor)
	if err != nil {
		return nil, "", err
	}
	rows, err := s.db.Query(ctx, reviewOf+`
		WHERE r.course_id = $1 AND (r.submitted_at, r.id) < ($2, $3) ORDER BY r.submitted_at DESC, r.id DESC LIMIT $4`,
		courseID, before, beforeID, size+1)
	return pageOfReviews(rows, err, size)
}

func pageOfReviews(rows pgx.Rows, err error, size int) ([]review, string, error) {
	if err != nil {
		return nil, "", err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[review])
	if err != nil || len(found) <= size {
		return found, "", err
	}
	last := found[size-1]
	return found[:size], page.TimeCursor(last.SubmittedAt, last.ID), nil
}
