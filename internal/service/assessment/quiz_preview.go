package assessment

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// previewFor is how long a preview is kept.
const previewFor = 24 * time.Hour

// Errors of previews.
var (
	ErrPreviewNotFound     = fault.New(fault.NotFound, "preview.not_found", "You have no preview of this quiz.")
	ErrPreviewNotPublished = fault.New(fault.Conflict, "preview.not_published", "Nothing of this quiz is published. Try its draft.")
)

// previewServer answers about quizzes as staff try them.
type previewServer struct {
	assessmentpb.UnimplementedPreviewServiceServer

	service *Service
}

// StartPreview implements assessmentpb.PreviewServiceServer.
func (h *previewServer) StartPreview(ctx context.Context, req *assessmentpb.StartPreviewRequest) (*assessmentpb.Attempt, error) {
	s, account := h.service, auth.From(ctx).Account
	done, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*assessmentpb.Attempt, error) {
		tx.Exempt("a preview counts nowhere")
		z, err := readQuiz(ctx, tx, req.GetCourseId(), req.GetQuizId(), "FOR SHARE")
		if err != nil {
			return nil, err
		}
		version, err := s.previewed(ctx, tx, z, req.GetPublished())
		if err != nil {
			return nil, err
		}
		// Two that begin at once: the second throws away what the first has begun.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('assessment.preview'), hashtext($1))`, account); err != nil {
			return nil, fmt.Errorf("lock previews: %w", err)
		}
		if _, err := discardPreviews(ctx, tx, s.time(), `account_id = $2`, account); err != nil {
			return nil, err
		}
		attemptID, err := s.beginPreview(ctx, tx, version, account)
		return &assessmentpb.Attempt{Id: attemptID}, err
	})
	if err != nil {
		return nil, err
	}
	a, err := readAttempt(ctx, s.db, done.GetId())
	if err == nil {
		err = a.owned(account)
	}
	if err != nil {
		return nil, err
	}
	return bounded(s.view(ctx, s.db, a, 0))
}

// previewed returns what of a quiz is tried: the version that is published, or its draft,
// which is kept as it is now.
func (s *Service) previewed(ctx context.Context, tx *pg.Tx, z quiz, published bool) (*quizVersion, error) {
	if published {
		if z.Version == 0 {
			return nil, ErrPreviewNotPublished
		}
		return s.quizVersion(ctx, tx, z.ID, z.Version)
	}
	d, err := s.fixedDraft(ctx, tx, z)
	if err != nil {
		return nil, err
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(d.settings)
	if err != nil {
		return nil, err
	}
	var number int32
	if err := tx.QueryRow(ctx, `INSERT INTO quiz_preview (quiz_id, title, settings) VALUES ($1, $2, $3) RETURNING version`, z.ID, z.Title, text).Scan(&number); err != nil {
		return nil, fmt.Errorf("keep draft: %w", err)
	}
	return newQuizVersion(z.CourseID, z.ID, number, z.Title, d.settings), nil
}

// beginPreview makes an attempt and begins it.
func (s *Service) beginPreview(ctx context.Context, tx *pg.Tx, version *quizVersion, account string) (string, error) {
	var number int32
	if err := tx.QueryRow(ctx, `SELECT coalesce(max(number), 0) + 1 FROM attempt WHERE quiz_id = $1 AND item_id = '' AND account_id = $2 AND preview`,
		version.QuizID, account).Scan(&number); err != nil {
		return "", fmt.Errorf("number of preview: %w", err)
	}
	made := newPreparedBatch(version, "", s.time())
	made.preview = true
	st := &standing{accountID: account, enrolled: true, state: "open", timePercent: 100}
	made.time(st)
	made.add(st, number, nil)
	if err := made.store(ctx, tx); err != nil {
		return "", err
	}
	_, err := s.begin(ctx, tx, made.ids[0], examEntry{})
	return made.ids[0], err
}

// GetPreview implements assessmentpb.PreviewServiceServer.
func (h *previewServer) GetPreview(ctx context.Context, req *assessmentpb.GetPreviewRequest) (*assessmentpb.Attempt, error) {
	s := h.service
	list, err := s.listAttempts(ctx, `
		SELECT `+attemptColumns+` FROM attempt WHERE course_id = $1 AND quiz_id = $2 AND account_id = $3 AND preview AND discarded_at IS NULL`,
		req.GetCourseId(), req.GetQuizId(), auth.From(ctx).Account)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrPreviewNotFound
	}
	out := s.summary(list[0], true)
	out.Reviewable = !list[0].running()
	return out, nil
}

// DiscardPreview implements assessmentpb.PreviewServiceServer.
func (h *previewServer) DiscardPreview(ctx context.Context, req *assessmentpb.DiscardPreviewRequest) (*emptypb.Empty, error) {
	s := h.service
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		tx.Exempt("a preview counts nowhere")
		n, err := discardPreviews(ctx, tx, s.time(), `course_id = $2 AND quiz_id = $3 AND account_id = $4`, req.GetCourseId(), req.GetQuizId(), auth.From(ctx).Account)
		if err == nil && n == 0 {
			err = ErrPreviewNotFound
		}
		return &emptypb.Empty{}, err
	})
}

// discardPreviews throws previews away, and the drafts that were kept for them, and
// returns how many. Their logs stay, as all logs do, and are seen by nobody.
func discardPreviews(ctx context.Context, tx *pg.Tx, now time.Time, where string, args ...any) (int, error) {
	rows, err := tx.Query(ctx, `
		UPDATE attempt SET discarded_at = $1, revision = revision + 1, state = CASE WHEN state IN ('prepared', 'in_progress') THEN 'abandoned' ELSE state END,
			started_at = coalesce(started_at, $1)
		WHERE id IN (SELECT id FROM attempt WHERE preview AND discarded_at IS NULL AND `+where+` ORDER BY id FOR UPDATE)
		RETURNING quiz_id, quiz_version`, append([]any{now}, args...)...)
	if err != nil {
		return 0, fmt.Errorf("discard previews: %w", err)
	}
	type of struct {
		QuizID  string
		Version int32
	}
	gone, err := pgx.CollectRows(rows, pgx.RowToStructByPos[of])
	if err != nil {
		return 0, fmt.Errorf("discard previews: %w", err)
	}
	for _, one := range gone {
		if _, err := tx.Exec(ctx, `DELETE FROM quiz_preview WHERE quiz_id = $1 AND version = $2`, one.QuizID, one.Version); err != nil {
			return 0, fmt.Errorf("discard previews: %w", err)
		}
	}
	return len(gone), nil
}

// dropOldPreviews throws away previews that began long ago, and reports whether there
// may be more.
func (s *Service) dropOldPreviews(ctx context.Context) (bool, error) {
	const most = 100
	n := 0
	err := s.db.InTx(ctx, func(tx *pg.Tx) (err error) {
		tx.Exempt("a preview counts nowhere")
		n, err = discardPreviews(ctx, tx, s.time(), `id IN (
			SELECT id FROM attempt WHERE preview AND discarded_at IS NULL AND prepared_at <= $2 ORDER BY prepared_at LIMIT $3)`, s.time().Add(-previewFor), most)
		return err
	})
	return n == most, err
}
