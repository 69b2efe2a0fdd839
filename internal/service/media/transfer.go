package media

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/blob"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
)

// States of a transfer.
const (
	transferOpen      = "open"
	transferFinishing = "finishing" // all its bytes are stored
	transferDone      = "done"
	transferFailed    = "failed"
	transferAborted   = "aborted"
)

// Errors of transfers.
var (
	ErrUploadNotFound  = fault.New(fault.NotFound, "upload.not_found", "There is no such upload.")
	ErrUploadGone      = fault.New(fault.Conflict, "upload.gone", "This upload has ended.")
	ErrUploadLocked    = &fault.Error{Kind: fault.Conflict, Code: "upload.locked", Message: "Somebody is writing to this upload.", Retry: time.Second}
	ErrUploadOffset    = fault.New(fault.Conflict, "upload.offset", "The upload goes on elsewhere: ask for its offset.")
	ErrUploadLength    = fault.New(fault.Conflict, "upload.length", "That is not as long as was said before.")
	ErrUploadTooLong   = fault.New(fault.TooLarge, "upload.too_long", "There are more bytes than were said to come.")
	ErrChunkChecksum   = fault.New(fault.Invalid, "upload.checksum_mismatch", "The bytes have another checksum. None of them were taken.")
	ErrChecksum        = fault.New(fault.Invalid, "media.checksum_mismatch", "The file has another SHA-256 than was declared. Nothing was stored.")
	errChunkAlgorithms = fault.New(fault.Invalid, "upload.checksum_algorithm", "The checksums are md5, sha1 and sha256.")
)

// transfer is an upload that comes in pieces.
type transfer struct {
	ID           string
	CourseID     string
	AccountID    string
	Filename     string
	Length       *int64 // nil while it is not known
	SHA256       string `db:"sha256"`
	Metadata     string
	Direct       bool // its bytes go to the bucket and not through us
	MediaID      string
	PartSize     int64
	BucketUpload string // empty before the first part
	Stored       int64
	Tail         int64
	TailEpoch    int32
	Epoch        int32
	HashState    []byte
	Reserved     int64
	State        string
	Problem      string
	CreatedAt    time.Time
	ExpiresAt    time.Time
}

const transferColumns = `id, course_id, account_id, filename, length, sha256, metadata, direct, media_id, part_size, bucket_upload,
	stored, tail, tail_epoch, epoch, hash_state, reserved, state, problem, created_at, expires_at`

// tails is where the ends of a transfer are that are no part yet.
func tails(transferID string) string { return "upload/" + transferID + "/" }

func (t *transfer) tailKey(epoch int32) string { return fmt.Sprintf("%s%d", tails(t.ID), epoch) }

// partSize is how long the parts of a transfer are: so that there are at most
// half as many as a bucket takes, because numbers of lost ones are not used again.
func partSize(length int64) int64 {
	const least, step = 8 << 20, 1 << 20
	size := (length/(blob.MaxParts/2) + step - 1) / step * step
	return max(size, least)
}

// begin makes a transfer of what a caller has asked for. Nothing is stored.
func (s *Service) begin(course, account, filename string, length int64, deferred bool, sum string) (transfer, error) {
	t := transfer{
		ID: id.New("upload"), CourseID: course, AccountID: account, Filename: cleanName(filename), SHA256: strings.ToLower(sum),
		MediaID: id.New("media"), State: transferOpen, CreatedAt: s.utc(), Reserved: length,
	}
	t.ExpiresAt = t.CreatedAt.Add(s.lifetime)
	switch {
	case deferred && length != 0:
		return t, fault.InvalidField("length", "upload.length_twice", "Leave it out when it is deferred.")
	case deferred:
		t.PartSize = partSize(s.maxSize)
		return t, nil
	case length == 0:
		return t, ErrEmpty
	case length > s.maxSize:
		return t, errTooLarge(s.maxSize)
	}
	t.Length, t.PartSize = &length, partSize(length)
	return t, nil
}

// insertTransfer inserts a transfer and takes the room that it needs.
func (s *Service) insertTransfer(ctx context.Context, tx *pg.Tx, t transfer) error {
	tx.Exempt("an upload is recorded when it becomes a file")
	if err := s.settle(ctx, tx, t.CourseID, t.AccountID, room{Reserved: t.Reserved, Unfinished: 1}); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO transfer (id, course_id, account_id, filename, length, sha256, metadata, direct, media_id, part_size, reserved, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		t.ID, t.CourseID, t.AccountID, t.Filename, t.Length, t.SHA256, t.Metadata, t.Direct, t.MediaID, t.PartSize, t.Reserved, t.CreatedAt, t.ExpiresAt)
	return err
}

// transferOf returns a transfer of an account to a course, unless it was given up.
func (s *Service) transferOf(ctx context.Context, course, account, transferID string) (transfer, error) {
	return s.oneTransfer(ctx, `SELECT `+transferColumns+` FROM transfer WHERE id = $1 AND course_id = $2 AND account_id = $3 AND state <> 'aborted'`,
		transferID, course, account)
}

func (s *Service) oneTransfer(ctx context.Context, sql string, args ...any) (transfer, error) {
	rows, err := s.db.Query(ctx, sql, args...)
	if err != nil {
		return transfer{}, err
	}
	t, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[transfer])
	if pg.NoRows(err) {
		return transfer{}, ErrUploadNotFound
	}
	return t, err
}

func (s *Service) manyTransfers(ctx context.Context, sql string, args ...any) ([]transfer, error) {
	rows, err := s.db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[transfer])
}

// transfersOf returns a page of an account's unfinished transfers, and the cursor
// of the next.
func (s *Service) transfersOf(ctx context.Context, account string, size int, cursor string) ([]transfer, string, error) {
	at, after, err := page.After(cursor)
	if err != nil {
		return nil, "", err
	}
	found, err := s.manyTransfers(ctx, `
		SELECT `+transferColumns+` FROM transfer
		WHERE account_id = $1 AND state IN ('open', 'finishing') AND (created_at, id) < ($2, $3)
		ORDER BY created_at DESC, id DESC LIMIT $4`, account, at, after, size+1)
	if err != nil || len(found) <= size {
		return found, "", err
	}
	last := found[size-1]
	return found[:size], page.TimeCursor(last.CreatedAt, last.ID), nil
}

// lease is how long a writer alone may change a transfer after it was last heard
// of: one whose process has died is waited for so long.
const lease = 15 * time.Second

// held is a transfer that nobody else changes as long as its context lasts.
type held struct {
	transfer

	token string
	s     *Service
	stop  func()
}

// hold takes a transfer that is in the given state for its account, or for
// nobody in particular when account is empty. The context that is returned ends
// when another has taken it, which happens to a process that stood still. The
// caller lets it go.
func (s *Service) hold(ctx context.Context, course, account, transferID, state string) (context.Context, *held, error) {
	h := &held{s: s, token: rand.Text()}
	var err error
	h.transfer, err = s.oneTransfer(ctx, `
		UPDATE transfer SET writer = $2, writer_until = clock_timestamp() + $3, epoch = epoch + 1
		WHERE id = $1 AND state = $4 AND (writer IS NULL OR writer_until < clock_timestamp()) AND ($5 = '' OR account_id = $5 AND course_id = $6)
		RETURNING `+transferColumns, transferID, h.token, lease, state, account, course)
	if fault.CodeOf(err) == ErrUploadNotFound.Code {
		return ctx, nil, s.whyNot(ctx, course, account, transferID, state)
	}
	if err != nil {
		return ctx, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.keep(ctx, cancel)
	}()
	h.stop = func() {
		cancel(nil)
		<-done
	}
	return ctx, h, nil
}

// whyNot says why a transfer can't be held.
func (s *Service) whyNot(ctx context.Context, course, account, transferID, state string) error {
	t, err := s.transferOf(ctx, course, account, transferID)
	switch {
	case err != nil:
		return err
	case t.State == state, t.State == transferFinishing:
		return ErrUploadLocked
	default:
		return ErrUploadGone
	}
}

// keep renews the lease until ctx ends, and ends it when the lease is lost.
func (h *held) keep(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		tag, err := h.s.db.Exec(ctx, `UPDATE transfer SET writer_until = clock_timestamp() + $3 WHERE id = $1 AND writer = $2`, h.ID, h.token, lease)
		if err == nil && tag.RowsAffected() == 0 {
			cancel(ErrUploadLocked)
			return
		}
	}
}

// letGo ends the lease.
func (h *held) letGo(ctx context.Context) {
	h.stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	// What fails here ends by itself a little later.
	_, _ = h.s.db.Exec(ctx, `UPDATE transfer SET writer = NULL, writer_until = NULL WHERE id = $1 AND writer = $2`, h.ID, h.token)
}

// end gives back what a transfer has reserved, in a state that it does not leave.
// It reports whether the lease still was ours.
func (h *held) end(ctx context.Context, tx *pg.Tx, state, problem string, used int64) error {
	tag, err := tx.Exec(ctx, `
		UPDATE transfer SET state = $3, problem = $4, reserved = 0, writer = NULL, writer_until = NULL, expires_at = $5
		WHERE id = $1 AND writer = $2`, h.ID, h.token, state, problem, h.s.utc().Add(abandonedAfter))
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return ErrUploadLocked
	}
	return h.s.settle(ctx, tx, h.CourseID, h.AccountID, room{Used: used, Reserved: -h.Reserved, Unfinished: -1})
}

// fail ends a transfer of which nothing is to become.
func (h *held) fail(ctx context.Context, state string, why *fault.Error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	problem := ""
	if why != nil {
		problem = why.Code
	}
	err := h.s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("an upload is recorded when it becomes a file")
		return h.end(ctx, tx, state, problem, 0)
	})
	if err != nil {
		return err
	}
	h.State = state
	h.s.cleanLater(ctx, h.transfer)
	return nil
}

// cleanLater cleans now, and leaves it to the sweep when that fails.
func (s *Service) cleanLater(ctx context.Context, t transfer) {
	if err := s.clean(ctx, t); err != nil {
		s.log.WarnContext(ctx, "media: what is left of an upload is left to the sweep", "upload", t.ID, "error", err.Error())
	}
}

// clean deletes what a transfer that has ended has in the bucket, but for the
// file that it became.
func (s *Service) clean(ctx context.Context, t transfer) error {
	if t.BucketUpload != "" {
		if err := s.bucket.AbortMultipart(ctx, object(t.MediaID), t.BucketUpload); err != nil {
			return err
		}
	}
	if err := s.bucket.DeletePrefix(ctx, tails(t.ID)); err != nil {
		return err
	}
	if t.State != transferDone {
		if err := s.bucket.Delete(ctx, object(t.MediaID)); err != nil {
			return err
		}
	}
	if t.State == transferAborted {
		_, err := s.db.Exec(ctx, `DELETE FROM transfer WHERE id = $1`, t.ID)
		return err
	}
	_, err := s.db.Exec(ctx, `UPDATE transfer SET cleaned = true WHERE id = $1`, t.ID)
	return err
}
