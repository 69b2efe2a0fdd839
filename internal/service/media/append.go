package media

import (
	"bytes"
	"context"
	"crypto/md5"  //nolint:gosec // a checksum of the protocol against mistakes, not against anybody
	"crypto/sha1" //nolint:gosec // the same
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/stoa-lms/stoa/internal/blob"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// appendTo appends what in brings to a transfer of the account, and makes a file
// of it with the last byte.
func (s *Service) appendTo(ctx context.Context, account string, req *mediapb.AppendUploadRequest, in io.Reader) (transfer, error) {
	sum, err := checksum(req.GetChecksumAlgorithm())
	if err != nil {
		return transfer{}, err
	}
	held, h, err := s.hold(ctx, req.GetCourseId(), account, req.GetUploadId(), transferOpen)
	if err != nil {
		return transfer{}, err
	}
	defer h.letGo(ctx)
	if h.Direct {
		return transfer{}, ErrUploadNotFound
	}
	if !s.utc().Before(h.ExpiresAt) {
		return transfer{}, ErrUploadGone
	}
	if err := h.goesOn(held, req); err != nil {
		return transfer{}, err
	}
	w := &writer{held: h, sum: sum, want: req.GetChecksum(), limit: s.maxSize - h.Stored, next: h.Stored}
	if h.Length != nil {
		w.limit = *h.Length - h.Stored
	}
	if err := w.take(held, in); err != nil {
		if e, ok := errors.AsType[*fault.Error](err); ok && e.Code == ErrTypeRefused.Code {
			return transfer{}, errors.Join(err, h.fail(ctx, transferFailed, e))
		}
		if lost := context.Cause(held); lost != nil && ctx.Err() == nil {
			err = lost
		}
		return transfer{}, err
	}
	if h.State == transferFinishing {
		// What was taken is to be a file though the caller has gone.
		err = h.finish(context.WithoutCancel(held))
	}
	return h.transfer, err
}

// goesOn holds a request to where the transfer is, and takes note of its length.
func (h *held) goesOn(ctx context.Context, req *mediapb.AppendUploadRequest) error {
	length := req.GetLength()
	switch {
	case req.GetOffset() != h.Stored:
		return ErrUploadOffset
	case length > 0 && (h.Length != nil && length != *h.Length || length < h.Stored):
		return ErrUploadLength
	case length > h.s.maxSize:
		return errTooLarge(h.s.maxSize)
	}
	if h.Length == nil && length > 0 {
		more := max(length-h.Reserved, 0)
		err := h.s.db.InTx(ctx, func(tx *pg.Tx) error {
			tx.Exempt("an upload is recorded when it becomes a file")
			err := h.change(ctx, tx, `length = $3, reserved = reserved + $4`, length, more)
			if err != nil {
				return err
			}
			return h.s.settle(ctx, tx, h.CourseID, h.AccountID, room{Reserved: more})
		})
		if err != nil {
			return err
		}
		h.Length, h.Reserved = &length, h.Reserved+more
	}
	if h.Length != nil && h.Stored+req.GetAnnounced() > *h.Length {
		return ErrUploadTooLong
	}
	return nil
}

// change updates the row while the lease is ours. Its parameters are from $3 on.
func (h *held) change(ctx context.Context, tx *pg.Tx, set string, args ...any) error {
	tag, err := tx.Exec(ctx, `UPDATE transfer SET `+set+` WHERE id = $1 AND writer = $2`, append([]any{h.ID, h.token}, args...)...)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrUploadLocked
	}
	return err
}

// checksum returns what computes a checksum of the protocol; nil for none.
func checksum(algorithm string) (hash.Hash, error) {
	switch algorithm {
	case "":
		return nil, nil //nolint:nilnil // none is asked for
	case "md5":
		return md5.New(), nil //nolint:gosec // see above
	case "sha1":
		return sha1.New(), nil //nolint:gosec // see above
	case "sha256":
		return sha256.New(), nil
	default:
		return nil, errChunkAlgorithms
	}
}

// writer takes the bytes of one call.
type writer struct {
	*held

	sum   hash.Hash // of the bytes of the call; nil when nobody wants to know
	want  []byte
	limit int64 // how many bytes may come
	whole hash.Hash
	buf   []byte
	next  int64 // stored, with what this call has taken
	parts []blob.Part
}

// flushFor is how long storing may take of what had come before a caller went.
const flushFor = time.Minute

// take stores what comes part by part, each of which is there for good once it
// is committed, and what is left as the tail. With a checksum nothing is committed
// before it was compared.
func (w *writer) take(ctx context.Context, in io.Reader) error {
	if err := w.resume(ctx); err != nil {
		return err
	}
	for {
		came, err := w.fill(in)
		if err != nil && !errors.Is(err, io.EOF) && context.Cause(ctx) != nil && !errors.Is(context.Cause(ctx), context.Canceled) {
			return err // not ours any more
		}
		gone := err != nil && !errors.Is(err, io.EOF)
		if _, told := errors.AsType[*fault.Error](err); told { // it has brought too much, of which nothing is taken
			return err
		}
		at := ctx
		if gone {
			if w.sum != nil {
				return err
			}
			var cancel context.CancelFunc
			at, cancel = context.WithTimeout(context.WithoutCancel(ctx), flushFor)
			defer cancel()
		}
		last := err != nil
		if last && w.sum != nil && !bytes.Equal(w.sum.Sum(nil), w.want) {
			return ErrChunkChecksum
		}
		if came || last {
			if failed := w.store(at, last); failed != nil {
				return failed
			}
			if gone {
				return err
			}
		}
		if last {
			return nil
		}
	}
}

// resume reads what is no part yet, and goes on with the hash.
func (w *writer) resume(ctx context.Context) error {
	w.whole = sha256.New()
	if len(w.HashState) > 0 {
		state, ok := w.whole.(encoding.BinaryUnmarshaler)
		if !ok {
			return errors.New("media: SHA-256 can't be resumed")
		}
		if err := state.UnmarshalBinary(w.HashState); err != nil {
			return fmt.Errorf("media: resume SHA-256 of %s: %w", w.ID, err)
		}
	}
	if w.Tail == 0 {
		return nil
	}
	r, err := w.s.bucket.Open(ctx, w.tailKey(w.TailEpoch), 0, w.Tail+1)
	if err != nil {
		return err
	}
	tail, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	if int64(len(tail)) != w.Tail {
		return fmt.Errorf("media: the tail of %s is not as long as it was: %d bytes", w.ID, len(tail))
	}
	w.buf = tail
	return nil
}

// fill reads until the buffer holds a part or nothing comes any more. It grows as
// bytes come: who sends slowly holds little.
func (w *writer) fill(in io.Reader) (came bool, err error) {
	for int64(len(w.buf)) < w.PartSize {
		if len(w.buf) == cap(w.buf) {
			grown := make([]byte, len(w.buf), min(max(int64(2*cap(w.buf)), chunkSize), w.PartSize))
			copy(grown, w.buf)
			w.buf = grown
		}
		free := w.buf[len(w.buf):min(int64(cap(w.buf)), w.PartSize)]
		var n int
		n, err = in.Read(free)
		if n > 0 {
			came = true
			if w.limit -= int64(n); w.limit < 0 {
				return came, w.beyond()
			}
			w.buf = w.buf[:len(w.buf)+n]
			w.whole.Write(free[:n])
			if w.sum != nil {
				w.sum.Write(free[:n])
			}
			w.next += int64(n)
		}
		if err != nil {
			return came, err
		}
	}
	return came, nil
}

func (w *writer) beyond() error {
	if w.Length == nil {
		return errTooLarge(w.s.maxSize)
	}
	return ErrUploadTooLong
}

// store stores the buffer: as a part when it is long enough for one or the last
// there is, otherwise as the tail.
func (w *writer) store(ctx context.Context, last bool) error {
	all := w.Length != nil && w.next == *w.Length
	if w.Stored == 0 && len(w.parts) == 0 && (len(w.buf) >= sniffLen || all) {
		if _, err := sniff(w.buf, w.Filename); err != nil {
			return err
		}
	}
	if int64(len(w.buf)) == w.PartSize || all && len(w.buf) > 0 {
		if err := w.storePart(ctx); err != nil {
			return err
		}
	}
	if w.sum != nil && !last {
		return nil
	}
	tail := int64(len(w.buf))
	if tail > 0 && (w.next != w.Stored || len(w.parts) > 0) {
		if err := w.s.bucket.Put(ctx, w.tailKey(w.Epoch), bytes.NewReader(w.buf), "application/octet-stream"); err != nil {
			return err
		}
	}
	if w.next == w.Stored && !all {
		return nil // nothing has come
	}
	return w.commit(ctx, tail, all)
}

// storePart stores the buffer as the next part, whose number it takes before.
func (w *writer) storePart(ctx context.Context) error {
	upload, err := w.multipart(ctx)
	if err != nil {
		return err
	}
	var number int32
	err = w.s.db.QueryRow(ctx, `UPDATE transfer SET next_part = next_part + 1 WHERE id = $1 AND writer = $2 RETURNING next_part - 1`, w.ID, w.token).
		Scan(&number)
	if pg.NoRows(err) {
		return ErrUploadLocked
	}
	if err != nil {
		return err
	}
	part, err := w.s.bucket.PutPart(ctx, object(w.MediaID), upload, number, bytes.NewReader(w.buf), int64(len(w.buf)))
	if err != nil {
		return err
	}
	w.parts, w.buf = append(w.parts, part), w.buf[:0]
	return nil
}

// multipart returns the name that the bucket has for the transfer, which begins
// there with its first part.
func (h *held) multipart(ctx context.Context) (string, error) {
	if h.BucketUpload != "" {
		return h.BucketUpload, nil
	}
	upload, err := h.s.bucket.CreateMultipart(ctx, object(h.MediaID), "application/octet-stream", false)
	if err != nil {
		return "", err
	}
	tag, err := h.s.db.Exec(ctx, `UPDATE transfer SET bucket_upload = $3 WHERE id = $1 AND writer = $2`, h.ID, h.token, upload)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrUploadLocked
	}
	if err != nil {
		return "", errors.Join(err, h.s.bucket.AbortMultipart(context.WithoutCancel(ctx), object(h.MediaID), upload))
	}
	h.BucketUpload = upload
	return upload, nil
}

// commit makes what is stored count.
func (w *writer) commit(ctx context.Context, tail int64, all bool) error {
	state := transferOpen
	if all {
		state = transferFinishing
	}
	sum, ok := w.whole.(encoding.BinaryMarshaler)
	if !ok {
		return errors.New("media: SHA-256 can't be resumed")
	}
	hashed, err := sum.MarshalBinary()
	if err != nil {
		return err
	}
	more := max(w.next-w.Reserved, 0) // where the length is not known
	expires := w.s.utc().Add(w.s.lifetime)
	err = w.s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("an upload is recorded when it becomes a file")
		err := w.change(ctx, tx, `stored = $3, tail = $4, tail_epoch = $5, hash_state = $6, state = $7, reserved = reserved + $8, expires_at = $9`,
			w.next, tail, w.Epoch, hashed, state, more, expires)
		if err != nil {
			return err
		}
		if err := insertParts(ctx, tx, w.ID, w.parts); err != nil {
			return err
		}
		if more == 0 {
			return nil
		}
		return w.s.settle(ctx, tx, w.CourseID, w.AccountID, room{Reserved: more})
	})
	if err != nil {
		return err
	}
	before := w.transfer
	w.Stored, w.Tail, w.TailEpoch, w.HashState, w.State, w.ExpiresAt = w.next, tail, w.Epoch, hashed, state, expires
	w.Reserved += more
	w.parts = nil
	if before.Tail > 0 && before.TailEpoch != w.Epoch {
		if err := w.s.bucket.Delete(ctx, before.tailKey(before.TailEpoch)); err != nil {
			w.s.log.WarnContext(ctx, "media: an old tail is left until the upload ends", "upload", w.ID, "error", err.Error())
		}
	}
	return nil
}

// insertParts remembers parts, all in one statement.
func insertParts(ctx context.Context, tx *pg.Tx, transferID string, parts []blob.Part) error {
	if len(parts) == 0 {
		return nil
	}
	var (
		numbers     []int32
		etags, sums []string
		sizes       []int64
	)
	for _, p := range parts {
		numbers, etags, sizes, sums = append(numbers, p.Number), append(etags, p.ETag), append(sizes, p.Size), append(sums, p.SHA256)
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO transfer_part (transfer_id, number, etag, size, sha256)
		SELECT $1, number, etag, size, sha256 FROM unnest($2::int[], $3::text[], $4::bigint[], $5::text[]) AS p (number, etag, size, sha256)`,
		transferID, numbers, etags, sizes, sums)
	return err
}
