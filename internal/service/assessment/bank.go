package assessment

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// Bounds of a bank.
const (
	maxQuestions  = 200_000 // of a bank
	maxVersions   = 5_000   // of a question
	maxCategories = 2_000   // of a bank
	maxDepth      = 10      // of categories
	maxTags       = 20      // of a question
	maxShares     = 100     // of a bank, and of banks with a course
)

// Errors of the bank.
var (
	ErrQuestionNotFound = fault.New(fault.NotFound, "question.not_found", "The course has no such question.")
	ErrQuestionUsed     = fault.New(fault.Conflict, "question.used", "A quiz asks this question. Take it out of the quiz, and publish that, first.")
	ErrQuestionsFull    = fault.New(fault.Conflict, "question.too_many", "A bank has at most %d questions.", maxQuestions)
	ErrVersionsFull     = fault.New(fault.Conflict, "question.too_many_versions", "A question has at most %d versions. Copy it.", maxVersions)
	ErrCategoryNotFound = fault.New(fault.NotFound, "category.not_found", "The bank has no such category.")
	ErrCategoryExists   = fault.New(fault.Conflict, "category.exists", "There is a category of this name in the same place.")
	ErrCategoriesFull   = fault.New(fault.Conflict, "category.too_many", "A bank has at most %d categories.", maxCategories)
	ErrCategoryDrawn    = fault.New(fault.Conflict, "category.drawn_from", "A quiz draws from this category. Change the quiz first.")
	ErrNotShared        = fault.New(fault.NotFound, "bank.not_shared", "This bank is not shared with the course.")
	ErrSharesFull       = fault.New(fault.Conflict, "bank.too_many_shares", "A bank is shared with at most %d courses, and a course has at most so many.", maxShares)
)

// bankServer answers about the bank.
type bankServer struct {
	assessmentpb.UnimplementedBankServiceServer

	service *Service
}

// may refuses what the caller must not do on another course than the call is about.
func (s *Service) may(ctx context.Context, courseID, permission string) error {
	res, err := s.access.ResolvePermissions(ctx, &accesspb.ResolvePermissionsRequest{
		Subjects: []*accesspb.ResolvePermissionsRequest_Subject{{AccountId: auth.From(ctx).Account, CourseId: courseID}},
	})
	if err != nil {
		return err
	}
	has := res.GetAnswers()[0].GetPermissions()
	switch {
	case slices.Contains(has, permission) && auth.From(ctx).MayUse(permission):
		return nil
	case slices.Contains(has, permission):
		return auth.ErrScope
	case !slices.Contains(has, auth.View):
		return auth.ErrHidden
	default:
		return auth.ErrForbidden
	}
}

// lockBank has those who change the shape of a bank (its categories, how many
// questions it has, with whom it is shared) take turns.
func lockBank(ctx context.Context, tx *pg.Tx, courseID string) error {
	_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('assessment.bank'), hashtext($1))`, courseID)
	return err
}

// banks returns the courses whose questions a course may use, its own first.
func banks(ctx context.Context, q pg.Querier, courseID string) ([]string, error) {
	rows, err := q.Query(ctx, `SELECT course_id FROM bank_share WHERE with_course_id = $1 ORDER BY shared_at, course_id`, courseID)
	if err != nil {
		return nil, err
	}
	shared, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return append([]string{courseID}, shared...), err
}

// usesBank refuses a bank that is neither the course's own nor shared with it.
func usesBank(ctx context.Context, q pg.Querier, courseID, bankID string) error {
	if bankID == courseID {
		return nil
	}
	var shared bool
	if err := q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM bank_share WHERE course_id = $1 AND with_course_id = $2)`, bankID, courseID).Scan(&shared); err != nil {
		return err
	}
	if !shared {
		return ErrNotShared
	}
	return nil
}

// ShareBank implements assessmentpb.BankServiceServer.
func (r *bankServer) ShareBank(ctx context.Context, req *assessmentpb.ShareBankRequest) (*assessmentpb.BankShare, error) {
	s, with := r.service, req.GetWithCourseId()
	if with == req.GetCourseId() {
		return nil, fault.InvalidField("with_course_id", "bank.itself", "A course uses its own bank anyway.")
	}
	if err := s.may(ctx, with, "question.edit"); err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.BankShare, error) {
		// In one order, so that two who share with each other do not wait for each other.
		for _, courseID := range []string{min(req.GetCourseId(), with), max(req.GetCourseId(), with)} {
			if err := lockBank(ctx, tx, courseID); err != nil {
				return nil, err
			}
		}
		var shares, uses int
		if err := tx.QueryRow(ctx, `
			SELECT count(*) FILTER (WHERE course_id = $1), count(*) FILTER (WHERE with_course_id = $2)
			FROM bank_share WHERE (course_id = $1 OR with_course_id = $2) AND NOT (course_id = $1 AND with_course_id = $2)`,
			req.GetCourseId(), with).Scan(&shares, &uses); err != nil {
			return nil, err
		}
		if shares >= maxShares || uses >= maxShares {
			return nil, ErrSharesFull
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO bank_share (course_id, with_course_id, shared_by, shared_at) VALUES ($1, $2, $3, $4)
			ON CONFLICT ON CONSTRAINT bank_share_pkey DO NOTHING`, req.GetCourseId(), with, auth.From(ctx).Account, s.time())
		if err != nil {
			return nil, err
		}
		share, err := readShares(ctx, tx, `WHERE course_id = $1 AND with_course_id = $2`, req.GetCourseId(), with)
		if err != nil {
			return nil, err
		}
		if tag.RowsAffected() == 0 {
			tx.Exempt("the bank was shared before")
			return share[0], nil
		}
		return share[0], audit.Record(ctx, tx, audit.Entry{Action: "question_bank.shared", Object: with, Course: req.GetCourseId()})
	})
}

// UnshareBank implements assessmentpb.BankServiceServer.
func (r *bankServer) UnshareBank(ctx context.Context, req *assessmentpb.UnshareBankRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, r.service.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		tag, err := tx.Exec(ctx, `DELETE FROM bank_share WHERE course_id = $1 AND with_course_id = $2`, req.GetCourseId(), req.GetWithCourseId())
		if err != nil {
			return nil, err
		}
		if tag.RowsAffected() == 0 {
			return nil, ErrNotShared
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{Action: "question_bank.unshared", Object: req.GetWithCourseId(), Course: req.GetCourseId()})
	})
}

// ListBankShares implements assessmentpb.BankServiceServer.
func (r *bankServer) ListBankShares(ctx context.Context, req *assessmentpb.ListBankSharesRequest) (*assessmentpb.ListBankSharesResponse, error) {
	items, err := readShares(ctx, r.service.db, `
		WHERE course_id = $1 OR with_course_id = $1 ORDER BY course_id <> $1, shared_at, course_id, with_course_id LIMIT $2`, req.GetCourseId(), 2*maxShares)
	return &assessmentpb.ListBankSharesResponse{Items: items}, err
}

func readShares(ctx context.Context, q pg.Querier, where string, args ...any) ([]*assessmentpb.BankShare, error) {
	rows, err := q.Query(ctx, `SELECT course_id, with_course_id, shared_by, shared_at FROM bank_share `+where, args...)
	if err != nil {
		return nil, err
	}
	shares, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*assessmentpb.BankShare, error) {
		var (
			share assessmentpb.BankShare
			at    time.Time
		)
		err := row.Scan(&share.CourseId, &share.WithCourseId, &share.SharedBy, &at)
		share.SharedAt = timestamppb.New(at)
		return &share, err
	})
	if err != nil {
		return nil, fmt.Errorf("shares: %w", err)
	}
	return shares, nil
}
