package assessment

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// coursePublished keeps where quizzes and assignments stand. What a later publication
// leaves out stays known as not present, for those who are bound to an earlier one.
func (s *Service) coursePublished(ctx context.Context, tx *pg.Tx, e *coursespb.CoursePublished) error {
	var (
		ids, refs, kinds, titles []string
		schedules                [][]byte
	)
	for _, it := range e.GetItems() {
		if it.GetKind() != "quiz" && it.GetKind() != "assignment" {
			continue
		}
		var schedule []byte
		if it.GetSchedule() != nil {
			var err error
			if schedule, err = proto.Marshal(it.GetSchedule()); err != nil {
				return err
			}
		}
		ids, refs, kinds = append(ids, it.GetId()), append(refs, it.GetActivityRef()), append(kinds, it.GetKind())
		titles, schedules = append(titles, it.GetTitle()), append(schedules, schedule)
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO placement (course_id, item_id, ref, kind, title, schedule, sequence, present)
		SELECT $1, i.item_id, i.ref, i.kind, i.title, i.schedule, $2, true
		FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[]) AS i (item_id, ref, kind, title, schedule)
		ON CONFLICT ON CONSTRAINT placement_pkey DO UPDATE
		SET ref = EXCLUDED.ref, kind = EXCLUDED.kind, title = EXCLUDED.title, schedule = EXCLUDED.schedule, sequence = EXCLUDED.sequence, present = true
		WHERE placement.sequence < EXCLUDED.sequence`,
		e.GetCourseId(), e.GetSequence(), ids, refs, kinds, titles, schedules); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `UPDATE placement SET present = false, sequence = $2 WHERE course_id = $1 AND sequence < $2`, e.GetCourseId(), e.GetSequence())
	return err
}
