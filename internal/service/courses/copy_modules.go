package courses

import (
	"context"
	"time"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// copyModules copies modules of a course into another, or into itself.
func (s *Service) copyModules(ctx context.Context, req *coursespb.CopyModulesRequest) (*coursespb.CopyModulesResponse, error) {
	courseID, from := req.GetCourseId(), req.GetFromCourseId()
	if from != courseID {
		if err := s.may(ctx, auth.From(ctx).Account, from, "course.edit"); err != nil {
			return nil, err
		}
	}
	snap, err := readSnapshot(ctx, s.db, from, 0)
	if err != nil {
		return nil, err
	}
	parts := snap.only(req.GetModuleIds())
	if parts == nil {
		return nil, ErrModuleNotFound
	}
	media, err := snap.mediaOf(ctx, s.db, parts, false)
	if err != nil {
		return nil, err
	}
	withActivities := from == courseID
	if !withActivities {
		if withActivities, err = s.mayCopyActivities(ctx, from, "copy"); err != nil {
			return nil, err
		}
	}
	zone, err := time.LoadLocation(snap.TimeZone)
	if err != nil {
		zone = time.UTC
	}
	write := func(copies map[string]string, claimID string) (*coursespb.CopyModulesResponse, error) {
		return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.CopyModulesResponse, error) {
			var notes findings
			r := refs{items: newIDs(parts), media: copies, date: shift(int(req.GetShiftDays()), zone), left: notes.warn}
			if from == courseID { // what stays can be named from what is copied
				for _, p := range snap.parts {
					if r.items[p.ID] == "" {
						r.items[p.ID] = p.ID
					}
				}
				r.cohorts = true
			}
			activities := &activityCopies{from: from, to: courseID}
			if withActivities {
				r.activity = activities.called
			}
			if claimID != "" {
				if err := s.keepClaim(ctx, tx, claimID); err != nil {
					return nil, err
				}
			}
			res, err := s.insertModules(ctx, tx, req, parts, r, &notes)
			if err != nil {
				return nil, err
			}
			return res, activities.tell(ctx, tx)
		})
	}
	if from == courseID || len(media) == 0 {
		own := make(map[string]string, len(media))
		for _, mediaID := range media {
			own[mediaID] = mediaID
		}
		return write(own, "")
	}
	c, err := s.claim(ctx, "copy_modules", courseID, from)
	if err != nil {
		return nil, err
	}
	copies, err := s.copyInto(ctx, &c, from, media)
	if err != nil {
		s.abandon(ctx, c.ID)
		return nil, copyFailed(err)
	}
	res, err := write(copies, c.ID)
	if err != nil {
		s.abandon(ctx, c.ID)
	}
	return res, err
}

// insertModules adds copies of modules and of what is in them to a draft.
func (s *Service) insertModules(ctx context.Context, tx *pg.Tx, req *coursespb.CopyModulesRequest, parts []part, r refs, notes *findings) (*coursespb.CopyModulesResponse, error) {
	courseID := req.GetCourseId()
	if err := lockCourse(ctx, tx, courseID); err != nil {
		return nil, err
	}
	if err := roomFor(ctx, tx, courseID, len(parts)-leaves(parts), leaves(parts)); err != nil {
		return nil, err
	}
	at := MaxModules + MaxLessons
	if req.Position != nil {
		at = int(req.GetPosition())
	}
	positions, err := positionsAt(ctx, tx, courseID, at, len(req.GetModuleIds()))
	if err != nil {
		return nil, err
	}
	if err := s.copyParts(ctx, tx, courseID, parts, r, func(n int) int64 { return positions[n] }); err != nil {
		return nil, err
	}
	if err := checkReleases(ctx, tx, courseID); err != nil {
		return nil, err
	}
	res := &coursespb.CopyModulesResponse{Lessons: int32(leaves(parts)), Notes: notes.list, LeftOut: int32(notes.warnings)} //nolint:gosec // at most MaxLessons
	for _, moduleID := range req.GetModuleIds() {
		res.ModuleIds = append(res.ModuleIds, r.items[moduleID])
	}
	return res, s.touch(ctx, tx, courseID, audit.Entry{
		Action: "modules.copied", Object: courseID,
		After: map[string]any{"from": req.GetFromCourseId(), "modules": req.GetModuleIds(), "items": len(parts), "left_out": notes.warnings},
	})
}

// roomFor refuses to add more modules and others than a draft may have. Where that
// is to stay so the course is locked.
func roomFor(ctx context.Context, db pg.Querier, courseID string, modules, rest int) error {
	var has, hasRest int
	if err := db.QueryRow(ctx, `SELECT count(*) FILTER (WHERE kind = 'module'), count(*) FILTER (WHERE kind <> 'module') FROM item WHERE course_id = $1`, courseID).
		Scan(&has, &hasRest); err != nil {
		return err
	}
	switch {
	case has+modules > MaxModules:
		return ErrTooManyModules
	case hasRest+rest > MaxLessons:
		return ErrTooManyLessons
	default:
		return nil
	}
}

// positionsAt returns the positions of so many items that are to stand together at
// the top of a draft, after n that are there, which get new positions. The course is
// locked.
func positionsAt(ctx context.Context, tx *pg.Tx, courseID string, n, count int) ([]int64, error) {
	var there int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM item WHERE course_id = $1 AND parent_id = ''`, courseID).Scan(&there); err != nil {
		return nil, err
	}
	n = min(n, there)
	if _, err := tx.Exec(ctx, `
		UPDATE item SET position = (s.place + CASE WHEN s.place > $2 THEN $3 ELSE 0 END) * $4
		FROM (
			SELECT id, row_number() OVER (ORDER BY position, id) AS place
			FROM item WHERE course_id = $1 AND parent_id = '') s
		WHERE item.id = s.id`, courseID, n, count, gap); err != nil {
		return nil, err
	}
	out := make([]int64, count)
	for i := range out {
		out[i] = int64(n+i+1) * gap
	}
	return out, nil
}
