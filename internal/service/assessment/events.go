package assessment

import (
	"context"
	"time"

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
		opens, dues              []*time.Time
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
		opens = append(opens, momentOf(it.GetSchedule().GetAvailableFrom().GetAt()))
		dues = append(dues, momentOf(it.GetSchedule().GetDue().GetAt()))
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO placement (course_id, item_id, ref, kind, title, schedule, opens_at, due_at, sequence, present)
		SELECT $1, i.item_id, i.ref, i.kind, i.title, i.schedule, i.opens_at, i.due_at, $2, true
		FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::timestamptz[], $9::timestamptz[]) AS i (item_id, ref, kind, title, schedule, opens_at, due_at)
		ON CONFLICT ON CONSTRAINT placement_pkey DO UPDATE
		SET ref = EXCLUDED.ref, kind = EXCLUDED.kind, title = EXCLUDED.title, schedule = EXCLUDED.schedule, opens_at = EXCLUDED.opens_at, due_at = EXCLUDED.due_at,
			sequence = EXCLUDED.sequence, present = true
		WHERE placement.sequence < EXCLUDED.sequence`,
		e.GetCourseId(), e.GetSequence(), ids, refs, kinds, titles, schedules, opens, dues); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE placement SET present = false, sequence = $2 WHERE course_id = $1 AND sequence < $2`, e.GetCourseId(), e.GetSequence()); err != nil {
		return err
	}
	// What was made ahead for a quiz that its item does not show any more.
	return dropPrepared(ctx, tx, `NOT preview AND quiz_id IN (SELECT id FROM quiz WHERE course_id = $1) AND EXISTS (
		SELECT FROM placement p WHERE p.course_id = $1 AND p.item_id = attempt.item_id AND p.ref <> attempt.quiz_id)`, e.GetCourseId())
}
