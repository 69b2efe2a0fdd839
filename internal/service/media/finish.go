package media

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/blob"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
)

// finish makes a file of a transfer whose bytes are all stored, or fails it for
// good. It may be done again after any crash: an object that is there already is
// taken as the one that the parts have made.
func (h *held) finish(ctx context.Context) error {
	f, err := h.assemble(ctx)
	if e, ok := errors.AsType[*fault.Error](err); ok && (e.Code == ErrChecksum.Code || e.Code == ErrTypeRefused.Code || e.Code == errPart.Code) {
		return errors.Join(err, h.fail(ctx, transferFailed, e))
	}
	if err != nil {
		return err
	}
	// Also where nobody waits any more, it is done for who has begun it.
	ctx = auth.With(ctx, auth.Principal{Account: h.AccountID, Session: auth.From(ctx).Session, Token: auth.From(ctx).Token, Service: auth.From(ctx).Service})
	err = h.s.db.InTx(ctx, func(tx *pg.Tx) error {
		if err := h.end(ctx, tx, transferDone, "", f.Size); err != nil {
			return err
		}
		return h.s.becomes(ctx, tx, &f)
	})
	if err != nil {
		return err
	}
	h.State = transferDone
	h.s.cleanLater(ctx, h.transfer)
	return nil
}

// becomes makes a file of bytes that are in the bucket.
func (s *Service) becomes(ctx context.Context, tx *pg.Tx, f *file) error {
	if err := s.stored(ctx, tx, f); err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{
		Action: "media.uploaded", Object: f.ID, Course: f.CourseID, After: map[string]any{"size": f.Size, "sha256": f.SHA256},
	})
}

// assemble puts the object together and looks at what it is.
func (h *held) assemble(ctx context.Context) (file, error) {
	f := file{ID: h.MediaID, ObjectID: h.MediaID, CourseID: h.CourseID, Filename: h.Filename, Size: h.Stored, UploadedBy: h.AccountID, CreatedAt: h.s.utc()}
	rows, err := h.s.db.Query(ctx, `SELECT number, etag, size, sha256 FROM transfer_part WHERE transfer_id = $1 ORDER BY number`, h.ID)
	if err != nil {
		return f, err
	}
	parts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[blob.Part])
	if err != nil {
		return f, err
	}
	if err := h.s.bucket.CompleteMultipart(ctx, object(h.MediaID), h.BucketUpload, parts); errors.Is(err, blob.ErrBadPart) {
		return f, fmt.Errorf("%w: %w", errPart, err)
	} else if err != nil && !errors.Is(err, blob.ErrNotFound) {
		return f, err
	}
	info, err := h.s.bucket.Stat(ctx, object(h.MediaID))
	if err != nil || info.Size != f.Size {
		return f, errors.Join(err, fmt.Errorf("media: the object of %s has %d bytes in place of %d", h.ID, info.Size, f.Size))
	}
	if f.ContentType, err = h.s.look(ctx, f); err != nil {
		return f, err
	}
	if f.SHA256, err = h.hashed(ctx); err == nil && h.SHA256 != "" && h.SHA256 != f.SHA256 {
		err = ErrChecksum
	}
	return f, err
}

// look sniffs the type of an object.
func (s *Service) look(ctx context.Context, f file) (string, error) {
	r, err := s.bucket.Open(ctx, object(f.ObjectID), 0, sniffLen)
	if err != nil {
		return "", err
	}
	head, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return "", err
	}
	return sniff(head, f.Filename)
}

// hashed returns the SHA-256 of all bytes: as it was computed while they came
// through us, or of the object where they did not.
func (h *held) hashed(ctx context.Context) (string, error) {
	sum := sha256.New()
	if !h.Direct {
		state, ok := sum.(encoding.BinaryUnmarshaler)
		if !ok {
			return "", errors.New("media: SHA-256 can't be resumed")
		}
		if err := state.UnmarshalBinary(h.HashState); err != nil {
			return "", fmt.Errorf("media: resume SHA-256 of %s: %w", h.ID, err)
		}
		return hex.EncodeToString(sum.Sum(nil)), nil
	}
	r, err := h.s.bucket.Open(ctx, object(h.MediaID), 0, -1)
	if err != nil {
		return "", err
	}
	n, err := io.Copy(sum, r)
	if err = errors.Join(err, r.Close()); err == nil && n != h.Stored {
		err = fmt.Errorf("media: the object of %s has %d bytes in place of %d", h.ID, n, h.Stored)
	}
	return hex.EncodeToString(sum.Sum(nil)), err
}

// finishEvery is how often uploads are looked for whose process has died, or
// whose bucket did not answer, before they became files.
const finishEvery = 5 * time.Second

// runFinish finishes what others do not until ctx ends.
func (s *Service) runFinish(ctx context.Context) {
	tick := time.NewTicker(finishEvery)
	defer tick.Stop()
	for {
		if err := s.Finish(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "media: finishing uploads failed, trying again later", "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.toFinish:
		}
	}
}

// finishBatch bounds what one [Service.Finish] does.
const finishBatch = 100

// Finish makes files of the uploads whose bytes are all there and on which nobody
// works. One that can't be finished now keeps none of the others.
func (s *Service) Finish(ctx context.Context) error {
	waiting, err := s.manyTransfers(ctx, `
		SELECT `+transferColumns+` FROM transfer WHERE state = 'finishing' AND (writer IS NULL OR writer_until < clock_timestamp())
		ORDER BY created_at LIMIT $1`, finishBatch)
	if err != nil {
		return err
	}
	var failed []error
	for _, t := range waiting {
		held, h, err := s.hold(ctx, "", "", t.ID, transferFinishing)
		if fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) {
			continue // somebody else was quicker
		}
		if err != nil {
			return err
		}
		err = h.finish(held)
		h.letGo(ctx)
		if err != nil && fault.CodeOf(err) != ErrChecksum.Code && fault.CodeOf(err) != ErrTypeRefused.Code {
			failed = append(failed, fmt.Errorf("%s: %w", t.ID, err))
		}
	}
	return errors.Join(failed...)
}
