package media

import (
	"context"
	"errors"
	"time"

	"github.com/stoa-lms/stoa/internal/blob"
	"github.com/stoa-lms/stoa/internal/fault"
)

// strayAfter is how old an upload of the bucket is that no upload of ours names,
// because a process died between the two: older than any that is being begun.
const strayAfter = 48 * time.Hour

// sweepTransfers ends uploads that have expired, deletes what ended ones have
// left in the bucket, forgets those that ended a day ago, and deletes files whose
// time in the bin is over. It returns how many.
func (s *Service) sweepTransfers(ctx context.Context) (int, error) {
	var failed []error
	sum := 0
	for _, step := range []func(context.Context) (int, error){s.expire, s.cleanEnded, s.forgetEnded, s.abortStray, s.purgeBin, s.purgeUnkept} {
		n, err := step(ctx)
		sum += n
		failed = append(failed, err)
	}
	return sum, errors.Join(failed...)
}

func (s *Service) expire(ctx context.Context) (int, error) {
	old, err := s.manyTransfers(ctx, `
		SELECT `+transferColumns+` FROM transfer WHERE state = 'open' AND expires_at <= $1 ORDER BY expires_at LIMIT $2`, s.utc(), sweepBatch)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, t := range old {
		held, h, err := s.hold(ctx, "", "", t.ID, transferOpen)
		if fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) {
			continue // somebody writes to it, or gives it up
		}
		if err != nil {
			return n, err
		}
		if !s.utc().Before(h.ExpiresAt) {
			err = h.fail(held, transferAborted, nil)
			n++
		}
		h.letGo(ctx)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (s *Service) cleanEnded(ctx context.Context) (int, error) {
	ended, err := s.manyTransfers(ctx, `
		SELECT `+transferColumns+` FROM transfer WHERE NOT cleaned AND state IN ('done', 'failed', 'aborted') ORDER BY expires_at LIMIT $1`, sweepBatch)
	if err != nil {
		return 0, err
	}
	for i, t := range ended {
		if err := s.clean(ctx, t); err != nil {
			return i, err
		}
	}
	return len(ended), nil
}

func (s *Service) forgetEnded(ctx context.Context) (int, error) {
	tag, err := s.db.Exec(ctx, `
		DELETE FROM transfer WHERE id IN (
			SELECT id FROM transfer WHERE cleaned AND state IN ('done', 'failed') AND expires_at <= $1 ORDER BY expires_at LIMIT $2)`, s.utc(), sweepBatch)
	return int(tag.RowsAffected()), err
}

func (s *Service) abortStray(ctx context.Context) (int, error) {
	found, err := s.bucket.Multiparts(ctx, object(""), s.utc().Add(-strayAfter))
	if err != nil || len(found) == 0 {
		return 0, err
	}
	names := make([]string, len(found))
	for i, m := range found {
		names[i] = m.Upload
	}
	ours, err := s.manyTransfers(ctx, `SELECT `+transferColumns+` FROM transfer WHERE bucket_upload = ANY ($1)`, names)
	if err != nil {
		return 0, err
	}
	known := map[string]bool{}
	for _, t := range ours {
		known[t.BucketUpload] = true
	}
	n := 0
	for _, m := range found {
		if known[m.Upload] {
			continue
		}
		if err := s.bucket.AbortMultipart(ctx, m.Key, m.Upload); err != nil && !errors.Is(err, blob.ErrNotFound) {
			return n, err
		}
		n++
	}
	return n, nil
}
