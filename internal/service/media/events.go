package media

import (
	"context"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// coursePublished lets everybody fetch the course's cover and watch its
// promotional video, and no longer those before.
func (s *Service) coursePublished(ctx context.Context, tx *pg.Tx, event *coursespb.CoursePublished) error {
	return setCover(ctx, tx, event.GetCourseId(), event.GetSequence(), event.GetCoverMediaId(), event.GetPromoVideoMediaId())
}

// courseUnpublished takes both back: only those of a published course are
// public.
func (s *Service) courseUnpublished(ctx context.Context, tx *pg.Tx, event *coursespb.CourseUnpublished) error {
	return setCover(ctx, tx, event.GetCourseId(), event.GetSequence(), "", "")
}

// setCover does nothing when something newer was heard before. An id that is
// not of a file of the course makes no file public.
func setCover(ctx context.Context, tx *pg.Tx, course string, sequence int64, cover, promo string) error {
	tag, err := tx.Exec(ctx, `
		INSERT INTO course_cover AS c (course_id, sequence, media_id, promo_id) VALUES ($1, $2, nullif($3, ''), nullif($4, ''))
		ON CONFLICT ON CONSTRAINT course_cover_pkey
		DO UPDATE SET sequence = excluded.sequence, media_id = excluded.media_id, promo_id = excluded.promo_id WHERE c.sequence < excluded.sequence`,
		course, sequence, cover, promo)
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE media SET public = (id = $2) WHERE course_id = $1 AND purpose = 'library' AND public <> (id = $2)`, course, cover)
	return err
}
