package media

import (
	"context"
	"fmt"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// Limits bounds what courses and accounts may store; 0 is no bound.
type Limits struct {
	// CourseQuota and AccountQuota are bytes: of all files of a course, and of
	// all that an account has uploaded.
	CourseQuota, AccountQuota int64
	// SubmissionQuota is bytes: of all files that an account has handed in, in one course.
	SubmissionQuota int64
	// CourseUploads and AccountUploads are how many uploads may be unfinished.
	CourseUploads, AccountUploads int
}

// ErrTooMany is told who has begun enough uploads.
var ErrTooMany = fault.New(fault.Exhausted, "upload.too_many", "There are enough unfinished uploads. Finish one, or give it up.")

// errQuota is told where there is no room left.
func errQuota(whose string, left int64) error {
	return &fault.Error{
		Kind: fault.TooLarge, Code: "media.quota_exceeded", Message: fmt.Sprintf("The files of the %s take all the room that there is.", whose),
		Fields: []fault.Field{{Path: "length", Code: "media.quota_exceeded", Hint: fmt.Sprintf("At most %d bytes: so much room the %s has left.", left, whose)}},
	}
}

// room is how much is taken, or by how much that changes.
type room struct {
	Used, Reserved int64
	Unfinished     int
}

// settle changes what a course and an account take, and holds both to their
// quotas when it grows. Their rows are locked, the account's first, until tx ends:
// whatever is changed at the same time waits. No account is none that pays.
func (s *Service) settle(ctx context.Context, tx *pg.Tx, course, account string, by room) error {
	if account != "" {
		if err := settle(ctx, tx, account, "account", s.limits.AccountQuota, s.limits.AccountUploads, by); err != nil {
			return err
		}
	}
	return settle(ctx, tx, course, "course", s.limits.CourseQuota, s.limits.CourseUploads, by)
}

func settle(ctx context.Context, tx *pg.Tx, id, whose string, quota int64, uploads int, by room) error {
	var now room
	// What was uploaded by a process of an older version was not counted: less
	// than nothing is nothing.
	err := tx.QueryRow(ctx, `
		INSERT INTO usage AS u (id, used, reserved, unfinished) VALUES ($1, greatest($2, 0), greatest($3, 0), greatest($4, 0))
		ON CONFLICT ON CONSTRAINT usage_pkey DO UPDATE SET
			used = greatest(u.used + $2, 0), reserved = greatest(u.reserved + $3, 0), unfinished = greatest(u.unfinished + $4, 0)
		RETURNING used, reserved, unfinished`, id, by.Used, by.Reserved, by.Unfinished).Scan(&now.Used, &now.Reserved, &now.Unfinished)
	switch grows := by.Used + by.Reserved; {
	case err != nil:
		return err
	case by.Unfinished > 0 && uploads > 0 && now.Unfinished > uploads:
		return ErrTooMany
	case grows > 0 && quota > 0 && now.Used+now.Reserved > quota:
		return errQuota(whose, max(quota-(now.Used+now.Reserved-grows), 0))
	}
	return nil
}

// roomLeft returns how many bytes an upload may have, and the error for one that
// has more. It reserves nothing.
func (s *Service) roomLeft(ctx context.Context, course, account string) (int64, error) {
	most, tooLarge := s.maxSize, errTooLarge(s.maxSize)
	for _, q := range []struct {
		id, whose string
		quota     int64
	}{{account, "account", s.limits.AccountQuota}, {course, "course", s.limits.CourseQuota}} {
		if q.id == "" || q.quota == 0 {
			continue
		}
		now, err := s.roomOf(ctx, q.id)
		if err != nil {
			return 0, err
		}
		if left := max(q.quota-now.Used-now.Reserved, 0); left < most {
			most, tooLarge = left, errQuota(q.whose, left)
		}
	}
	return most, tooLarge
}

func errTooLarge(most int64) error {
	return fault.New(fault.TooLarge, "media.too_large", "A file has at most %d MiB.", max(most>>20, 1))
}

func (s *Service) roomOf(ctx context.Context, id string) (room, error) {
	var now room
	err := s.db.QueryRow(ctx, `SELECT used, reserved, unfinished FROM usage WHERE id = $1`, id).Scan(&now.Used, &now.Reserved, &now.Unfinished)
	if pg.NoRows(err) {
		err = nil
	}
	return now, err
}

// GetMediaUsage implements mediapb.LibraryServiceServer.
func (r *server) GetMediaUsage(ctx context.Context, req *mediapb.GetMediaUsageRequest) (*mediapb.MediaUsage, error) {
	now, err := r.media.roomOf(ctx, req.GetCourseId())
	if err != nil {
		return nil, err
	}
	u := &mediapb.MediaUsage{
		CourseId: req.GetCourseId(), Used: now.Used, Reserved: now.Reserved, Unfinished: int32(now.Unfinished), Quota: r.media.limits.CourseQuota, //nolint:gosec // not so many
	}
	if u.GetQuota() > 0 {
		u.Left = max(u.GetQuota()-now.Used-now.Reserved, 0)
	}
	return u, nil
}
