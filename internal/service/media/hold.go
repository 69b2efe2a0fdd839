package media

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// ErrHeld is told of a file that is not to be gone.
var ErrHeld = fault.New(fault.Conflict, "media.held", "A question or an assignment has this file. It can be deleted, but not for good.")

// HoldMedia implements mediapb.LibraryServiceServer. Who purges a file waits for it, and
// finds that it is held; who is behind that finds no file.
func (r *server) HoldMedia(ctx context.Context, req *mediapb.HoldMediaRequest) (*mediapb.HoldMediaResponse, error) {
	out := &mediapb.HoldMediaResponse{}
	err := r.media.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("what names the files records it")
		rows, err := tx.Query(ctx, `
			UPDATE media SET held = true WHERE id IN (
				SELECT id FROM media WHERE id = ANY ($1) AND course_id = $2 AND purpose = 'library' AND (deleted_at IS NULL OR held) ORDER BY id FOR NO KEY UPDATE)
			RETURNING `+columns, req.GetMediaIds(), req.GetCourseId())
		if err != nil {
			return err
		}
		files, err := pgx.CollectRows(rows, pgx.RowToStructByName[file])
		if err != nil {
			return err
		}
		out.Items = nil
		for _, f := range files {
			out.Items = append(out.Items, facts(f))
		}
		return nil
	})
	return out, err
}

// ShowMedia implements mediapb.MediaServiceServer.
func (r *server) ShowMedia(ctx context.Context, req *mediapb.ShowMediaRequest) (*mediapb.BatchGetMediaResponse, error) {
	const most = 200
	var courses, ids []string
	for _, c := range req.GetFiles() {
		for _, mediaID := range c.GetMediaIds() {
			courses, ids = append(courses, c.GetCourseId()), append(ids, mediaID)
		}
	}
	if len(ids) > most {
		return nil, fault.InvalidField("files", "field.too_many", "At most 200 files are asked for at once.")
	}
	if len(ids) == 0 {
		return &mediapb.BatchGetMediaResponse{}, nil
	}
	found, err := r.media.many(ctx, `
		SELECT `+columns+` FROM media
		WHERE (id, course_id) IN (SELECT * FROM unnest($1::text[], $2::text[])) AND purpose = 'library'`, ids, courses)
	if err != nil {
		return nil, err
	}
	v := viewer{account: req.GetAccountId(), course: req.GetCourseId(), item: req.GetItemId(), lent: true}
	switch req.GetPermission() {
	case "assessment.take":
		v.takes = true
	case "submission.read":
		v.reads = true
	case "question.read":
		v.banks = true
	}
	if end := req.GetNotAfter(); end != nil {
		v.latest = end.GetSeconds()
	}
	items, err := r.media.presentAll(ctx, found, v, len(found) <= mostWithPages, false)
	if err != nil {
		return nil, err
	}
	return &mediapb.BatchGetMediaResponse{Items: items}, nil
}
