package courses

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// mediaClaim notes what media was asked to make for something that is not there
// yet. It is written before media is asked, and done in the transaction in which
// the thing comes to be. One that is not done in time is abandoned, and what media
// has made for it is deleted: no process that dies leaves files that nobody has.
type mediaClaim struct {
	ID           string
	CourseID     string
	FromCourseID string
	Batches      [][]string
	State        string
}

const (
	// claimFor is how long a copy may take; keepClaims how long the key of one that
	// is done is remembered: shorter than its answer is, so that whoever finds a
	// claim done finds the answer as well.
	claimFor   = time.Hour
	keepClaims = idempotency.Retention / 2
	// copyBatch is how many files media copies in one call.
	copyBatch = 1000
)

const claimColumns = `id, course_id, from_course_id, batches, state`

// claim notes what the caller's request is about to make in a course, a new one
// when courseID is empty. The same request under the same key gets the claim that
// it had before, with the course that was meant then.
func (s *Service) claim(ctx context.Context, method, courseID, fromCourseID string) (c mediaClaim, err error) {
	claimID := id.New("claim")
	key := claimID
	if given := rpc.IdempotencyKey(ctx); given != "" {
		key = method + "/" + given
	}
	fresh := courseID
	if fresh == "" {
		fresh, fromCourseID = id.New("course"), "" // all that it has goes with it
	}
	err = s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("what a copy is about to need; the copy is recorded")
		if _, err := tx.Exec(ctx, `
			INSERT INTO media_claim (id, caller, key, course_id, from_course_id, due_at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT ON CONSTRAINT media_claim_key DO NOTHING`, claimID, auth.From(ctx).Account, key, fresh, fromCourseID, s.now().Add(claimFor)); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT `+claimColumns+` FROM media_claim WHERE caller = $1 AND key = $2`, auth.From(ctx).Account, key)
		if err != nil {
			return err
		}
		c, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[mediaClaim])
		return err
	})
	if err != nil {
		return c, err
	}
	if c.State == "abandoned" {
		return c, errUndone
	}
	return c, nil
}

// errUndone is told while what an earlier try has left is being deleted.
var errUndone = fault.New(fault.Unavailable, "course_copy.undone", "An earlier try is being undone. Try again in a minute.")

// copyInto has media give the claim's course copies of files of another, and
// returns their ids by those of the files. For one that is done nothing is to be
// made any more.
func (s *Service) copyInto(ctx context.Context, c *mediaClaim, from string, mediaIDs []string) (map[string]string, error) {
	if c.State == "done" {
		return nil, nil
	}
	asked := map[string]bool{}
	for _, batch := range c.Batches {
		for _, mediaID := range batch {
			asked[mediaID] = true
		}
	}
	missing := slices.DeleteFunc(slices.Clone(mediaIDs), func(mediaID string) bool { return asked[mediaID] })
	batches := c.Batches
	for batch := range slices.Chunk(missing, copyBatch) {
		batches = append(batches, batch)
	}
	if len(missing) > 0 {
		if err := s.noteBatches(ctx, *c, batches); err != nil {
			return nil, err
		}
		c.Batches = batches
	}
	out := make(map[string]string, len(mediaIDs))
	for _, batch := range batches {
		res, err := s.copyBatch(ctx, *c, from, batch)
		if err != nil {
			return nil, err
		}
		for _, one := range res.GetItems() {
			out[one.GetFromMediaId()] = one.GetMediaId()
		}
	}
	return out, nil
}

func (s *Service) noteBatches(ctx context.Context, c mediaClaim, batches [][]string) error {
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("what a copy is about to need; the copy is recorded")
		tag, err := tx.Exec(ctx, `UPDATE media_claim SET batches = $2, due_at = greatest(due_at, $3) WHERE id = $1 AND state = 'open'`,
			c.ID, batches, s.now().Add(claimFor))
		if err == nil && tag.RowsAffected() == 0 {
			err = errUndone
		}
		return err
	})
}

// copyBatch copies some files, once however often it is called.
func (s *Service) copyBatch(ctx context.Context, c mediaClaim, from string, batch []string) (*mediapb.CopyMediaResponse, error) {
	sum := sha256.Sum256([]byte(strings.Join(batch, "\n")))
	ctx = rpc.WithIdempotencyKey(ctx, c.ID+"/"+hex.EncodeToString(sum[:16]))
	return s.library.CopyMedia(ctx, &mediapb.CopyMediaRequest{FromCourseId: from, ToCourseId: c.CourseID, MediaIds: batch})
}

// keepClaim says in the transaction in which the thing comes to be that what media
// has made for it is needed.
func (s *Service) keepClaim(ctx context.Context, tx *pg.Tx, claimID string) error {
	tag, err := tx.Exec(ctx, `UPDATE media_claim SET state = 'done', due_at = $2 WHERE id = $1 AND state = 'open'`, claimID, s.now().Add(keepClaims))
	if err == nil && tag.RowsAffected() == 0 {
		err = errUndone
	}
	return err
}

// abandon deletes what media has made for something that does not come to be. What
// can't be deleted now is left to the sweep.
func (s *Service) abandon(ctx context.Context, claimID string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	var c mediaClaim
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("what a copy has left; nothing came of it")
		rows, err := tx.Query(ctx, `
			UPDATE media_claim SET state = 'abandoned', due_at = $2 WHERE id = $1 AND state = 'open' RETURNING `+claimColumns, claimID, s.now())
		if err != nil {
			return err
		}
		c, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[mediaClaim])
		return err
	})
	if pg.NoRows(err) {
		return // done, or abandoned by another
	}
	if err == nil {
		err = s.undo(ctx, c)
	}
	if err != nil {
		s.log.WarnContext(ctx, "courses: files of what did not come to be are left to the sweep", "claim", claimID, "error", err.Error())
	}
}

// undo deletes what media has made for a claim that is abandoned, and the claim.
func (s *Service) undo(ctx context.Context, c mediaClaim) error {
	if c.FromCourseID == "" {
		if err := s.deleteMedia(ctx, c.CourseID, nil); err != nil {
			return err
		}
	}
	for _, batch := range c.Batches {
		if c.FromCourseID == "" {
			break
		}
		// Asked again media tells which copies it has made. Had it made none, it
		// makes them, or there is nothing to copy any more.
		res, err := s.copyBatch(ctx, c, c.FromCourseID, batch)
		if fault.Is(err, fault.NotFound) || fault.Is(err, fault.TooLarge) {
			continue
		}
		if err != nil {
			return err
		}
		ids := make([]string, len(res.GetItems()))
		for i, one := range res.GetItems() {
			ids[i] = one.GetMediaId()
		}
		if err := s.deleteMedia(ctx, c.CourseID, ids); err != nil {
			return err
		}
	}
	return s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("what a copy has left is gone")
		_, err := tx.Exec(ctx, `DELETE FROM media_claim WHERE id = $1 AND state = 'abandoned'`, c.ID)
		return err
	})
}

// deleteMedia deletes files of a course, all of them when none is named.
func (s *Service) deleteMedia(ctx context.Context, courseID string, mediaIDs []string) error {
	for {
		res, err := s.library.DeleteCourseMedia(ctx, &mediapb.DeleteCourseMediaRequest{CourseId: courseID, MediaIds: mediaIDs})
		if err != nil || !res.GetLeft() {
			return err
		}
		if res.GetDeleted() == 0 {
			return fmt.Errorf("courses: files of %s can't be deleted", courseID)
		}
	}
}

// sweepClaims forgets claims that are done and undoes those that did not come to
// their end.
func (s *Service) sweepClaims(ctx context.Context) error {
	var due []mediaClaim
	err := s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("what copies have left")
		if _, err := tx.Exec(ctx, `DELETE FROM media_claim WHERE state = 'done' AND due_at <= $1`, s.now()); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `
			UPDATE media_claim SET state = 'abandoned', due_at = $2
			WHERE id IN (SELECT id FROM media_claim WHERE due_at <= $1 AND state <> 'done' ORDER BY due_at LIMIT 100 FOR UPDATE SKIP LOCKED)
			RETURNING `+claimColumns, s.now(), s.now().Add(time.Minute))
		if err != nil {
			return err
		}
		due, err = pgx.CollectRows(rows, pgx.RowToStructByName[mediaClaim])
		return err
	})
	for _, c := range due {
		err = errors.Join(err, s.undo(ctx, c))
	}
	return err
}
