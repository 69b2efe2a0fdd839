package assessment

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// noteAnswerFiles notes the files that answers of attempts name which are submitted, so
// that media keeps them.
func (s *Service) noteAnswerFiles(ctx context.Context, tx *pg.Tx, list []*attempt, results map[string]*result) error {
	var attempts, files []string
	for _, a := range list {
		for _, q := range results[a.ID].questions {
			if q.done == nil || a.Preview {
				continue
			}
			for _, mediaID := range answerFiles(q.done.answer) {
				attempts, files = append(attempts, a.ID), append(files, mediaID)
			}
		}
	}
	if len(files) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO answer_file (attempt_id, media_id) SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) ORDER BY 1, 2
		ON CONFLICT ON CONSTRAINT answer_file_pkey DO NOTHING`, attempts, files); err != nil {
		return fmt.Errorf("files of answers: %w", err)
	}
	tx.AfterCommit(s.wakeFiles)
	return nil
}

// tellAnswerFiles has media keep files that answers name. Those that their students have
// not uploaded are kept by nothing, and shown to nobody.
func (s *Service) tellAnswerFiles(ctx context.Context) (bool, error) {
	rows, err := s.db.Query(ctx, `
		SELECT a.id, a.course_id, a.account_id, f.media_id FROM (SELECT attempt_id, media_id FROM answer_file WHERE NOT told ORDER BY attempt_id, media_id LIMIT $1) AS f
		JOIN attempt a ON a.id = f.attempt_id ORDER BY a.id`, fileBatch)
	if err != nil {
		return false, fmt.Errorf("files of answers to keep: %w", err)
	}
	type untold struct{ AttemptID, CourseID, AccountID, MediaID string }
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[untold])
	if err != nil || len(list) == 0 {
		return false, err
	}
	groups := map[untold][]string{}
	for _, f := range list {
		key := untold{f.AttemptID, f.CourseID, f.AccountID, ""}
		groups[key] = append(groups[key], f.MediaID)
	}
	for key, ids := range groups {
		if _, err := s.files.KeepSubmissionFiles(ctx, &mediapb.KeepSubmissionFilesRequest{
			CourseId: key.CourseID, AccountIds: []string{key.AccountID}, MediaIds: ids, Purpose: "submission",
		}); err != nil {
			return false, err
		}
		if err := s.db.InTx(ctx, func(tx *pg.Tx) error {
			tx.Exempt("a mark of the worker for itself")
			_, err := tx.Exec(ctx, `UPDATE answer_file SET told = true WHERE attempt_id = $1 AND media_id = ANY ($2)`, key.AttemptID, ids)
			return err
		}); err != nil {
			return false, fmt.Errorf("files of answers that are kept: %w", err)
		}
	}
	return len(list) == fileBatch, nil
}

// uploadedBy returns those of some files that somebody has uploaded to hand them in:
// nobody sees others' files by naming them.
func (s *Service) uploadedBy(ctx context.Context, courseID, accountID string, ids []string) ([]string, error) {
	res, err := s.files.KeepSubmissionFiles(ctx, &mediapb.KeepSubmissionFilesRequest{
		CourseId: courseID, AccountIds: []string{accountID}, MediaIds: ids, Purpose: "submission", LookOnly: true,
	})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, m := range res.GetItems() {
		out = append(out, m.GetId())
	}
	return out, nil
}
