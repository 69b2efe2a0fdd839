package courses

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// may refuses who has no permission on a course that the rule of the call does not
// name, or with "" on the platform.
func (s *Service) may(ctx context.Context, accountID, courseID, permission string) error {
	res, err := s.access.ResolvePermissions(ctx, &accesspb.ResolvePermissionsRequest{
		Subjects: []*accesspb.ResolvePermissionsRequest_Subject{{AccountId: accountID, CourseId: courseID}},
	})
	if err != nil {
		return err
	}
	has := res.GetAnswers()[0].GetPermissions()
	switch {
	case slices.Contains(has, permission):
		if !auth.From(ctx).MayUse(permission) {
			return auth.ErrScope
		}
		return nil
	case courseID != "" && !slices.Contains(has, auth.View):
		return auth.ErrHidden
	default:
		return auth.ErrForbidden
	}
}

// duplicate says what to make of a course.
type duplicate struct {
	method   string // of the request, for its key
	source   string // "copy" or "template"
	courseID string
	version  int32
	title    string
	days     int32
	newStart string
	leaveOut []string
}

// duplicateCourse makes a copy of a course for who also may make courses.
func (s *Service) duplicateCourse(ctx context.Context, req *coursespb.DuplicateCourseRequest) (*coursespb.CourseCopy, error) {
	if err := s.may(ctx, auth.From(ctx).Account, "", "course.create"); err != nil {
		return nil, err
	}
	return s.duplicate(ctx, req, duplicate{
		method: "duplicate", source: "copy", courseID: req.GetCourseId(), version: req.GetVersion(), title: req.GetTitle(),
		days: req.GetShiftDays(), newStart: req.GetNewStart(), leaveOut: req.GetLeaveOut(),
	})
}

// duplicate makes a course of another, for the caller.
func (s *Service) duplicate(ctx context.Context, req proto.Message, d duplicate) (*coursespb.CourseCopy, error) {
	snap, err := readSnapshot(ctx, s.db, d.courseID, d.version)
	if err != nil {
		return nil, err
	}
	days, zone, err := s.daysToShift(ctx, snap, d)
	if err != nil {
		return nil, err
	}
	media, err := snap.mediaOf(ctx, s.db, snap.parts, true)
	if err != nil {
		return nil, err
	}
	withActivities, err := s.mayCopyActivities(ctx, d.courseID, d.source)
	if err != nil {
		return nil, err
	}
	c, err := s.claim(ctx, d.method, "", "")
	if err != nil {
		return nil, err
	}
	owner := auth.From(ctx).Account
	out, err := func() (*coursespb.CourseCopy, error) {
		copies, err := s.copyInto(ctx, &c, snap.courseID, media)
		if err != nil {
			return nil, copyFailed(err)
		}
		// As of a course that is made anew: before it is there, and not once more when
		// it may be another's by now.
		if c.State != "done" {
			if _, err := s.access.AssignCourseRole(ctx, &accesspb.AssignCourseRoleRequest{CourseId: c.CourseID, AccountId: owner, Role: "owner"}); err != nil {
				return nil, err
			}
		}
		return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*coursespb.CourseCopy, error) {
			var notes findings
			r := refs{
				items: newIDs(snap.parts), media: copies, date: shift(days, zone),
				noDates: slices.Contains(d.leaveOut, "dates"), noRules: slices.Contains(d.leaveOut, "release"),
				left: func(id, field, code, hint string) { notes.warn(id, field, code, hint) },
			}
			activities := &activityCopies{from: snap.courseID, to: c.CourseID}
			if withActivities {
				r.activity = activities.called
			}
			out, err := s.insertDuplicate(ctx, tx, c, snap, d, r, days, &notes)
			if err != nil {
				return nil, err
			}
			return out, activities.tell(ctx, tx)
		})
	}()
	if err != nil {
		s.abandon(ctx, c.ID)
		return nil, err
	}
	return out, nil
}

// insertDuplicate adds the copy of a course whose files are there.
func (s *Service) insertDuplicate(ctx context.Context, tx *pg.Tx, c mediaClaim, snap snapshot, d duplicate, r refs, days int, notes *findings) (*coursespb.CourseCopy, error) {
	l := r.landing(snap.Landing, snap.courseID)
	if title := strings.TrimSpace(d.title); title != "" {
		l.Title = title
	}
	if slices.Contains(d.leaveOut, "grading") {
		l.Grading.M = nil
	}
	owner := auth.From(ctx).Account
	if err := s.insertCourse(ctx, tx, c.CourseID, owner, l); err != nil {
		return nil, err
	}
	if err := insertOrigin(ctx, tx, c.CourseID, c.CourseID, d.source, snap.courseID); err != nil {
		return nil, err
	}
	if err := s.copyParts(ctx, tx, c.CourseID, snap.parts, r, func(n int) int64 { return int64(n+1) * gap }); err != nil {
		return nil, err
	}
	if err := checkReleases(ctx, tx, c.CourseID); err != nil {
		return nil, err
	}
	if err := s.keepClaim(ctx, tx, c.ID); err != nil {
		return nil, err
	}
	made, err := readCourse(ctx, tx, draftOf+`WHERE c.id = $1`, c.CourseID)
	if err != nil {
		return nil, err
	}
	return &coursespb.CourseCopy{Course: draftCourse(made), ShiftedDays: int32(days), Notes: notes.list, LeftOut: int32(notes.warnings)}, //nolint:gosec // as the request bounds it
		audit.Record(ctx, tx, audit.Entry{
			Action: "course.duplicated", Object: c.CourseID, Course: c.CourseID,
			After: map[string]any{"from": snap.courseID, "version": d.version, "source": d.source, "shifted_days": days, "items": len(snap.parts), "left_out": notes.warnings},
		})
}

// daysToShift returns by how many days the dates of a copy are moved, and in which
// zone.
func (s *Service) daysToShift(ctx context.Context, snap snapshot, d duplicate) (int, *time.Location, error) {
	zone, err := time.LoadLocation(snap.TimeZone)
	if err != nil {
		zone = time.UTC // a zone that there is no more
	}
	if d.newStart == "" {
		return int(d.days), zone, nil
	}
	if d.days != 0 {
		return 0, nil, fault.InvalidField("shift_days", "field.conflict", "Send it or new_start.")
	}
	to, err := time.Parse(time.DateOnly, d.newStart)
	if err != nil {
		return 0, nil, fault.InvalidField("new_start", "time.invalid", "A day looks like 2027-03-01.")
	}
	said, err := readSettings(ctx, s.db, snap.parts)
	if err != nil {
		return 0, nil, err
	}
	first := snap.earliest(said)
	if first.IsZero() {
		return 0, nil, ErrNoDates
	}
	year, month, day := first.In(zone).Date()
	days := math.Round(to.Sub(time.Date(year, month, day, 0, 0, 0, 0, time.UTC)).Hours() / 24)
	const most = 36_500
	if math.Abs(days) > most {
		return 0, nil, fault.InvalidField("new_start", "time.invalid", "It is more than a hundred years away.")
	}
	return int(days), zone, nil
}

// copyFailed tells a file that is gone as what it is to who copies a course.
func copyFailed(err error) error {
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.Conflict, "media.not_found", "A file that is shown is gone. Export of the course names it; take it out first.")
	}
	return err
}
