package media

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// incoming is a file that comes as a whole.
type incoming struct {
	course, account, name string
	sha256                string // that was declared; empty for none
	purpose               string // of the library when empty
	// request returns the request as one message, with the hash in place of the
	// bytes.
	request func(sum []byte) idempotentRequest
}

type idempotentRequest = proto.Message

// upload takes a file in. The bytes go straight to the bucket; the row is
// inserted when they are there. In between an upload row names the object, so
// that whatever happens it is either a file or swept.
func (s *Service) upload(ctx context.Context, in incoming, content io.Reader) (*mediapb.Media, error) {
	name := cleanName(in.name)
	counted := &counter{r: content, hash: sha256.New()}
	counted.max, counted.tooLarge = s.roomFor(ctx, in)
	if counted.tooLarge != nil && !fault.Is(counted.tooLarge, fault.TooLarge) {
		return nil, counted.tooLarge
	}
	buffered := bufio.NewReaderSize(counted, sniffLen)
	head, err := buffered.Peek(sniffLen)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(head) == 0 {
		return nil, ErrEmpty
	}
	contentType, err := sniff(head, name)
	if in.purpose != "" && errors.Is(err, ErrTypeRefused) {
		contentType, err = plainType, nil // it is only ever downloaded
	}
	if err != nil {
		return nil, err
	}
	mediaID := id.New("media")
	if _, err := s.db.Exec(ctx, `INSERT INTO upload (id, started_at) VALUES ($1, $2)`, mediaID, s.utc()); err != nil {
		return nil, fmt.Errorf("media: begin upload: %w", err)
	}
	if err := s.bucket.Put(ctx, object(mediaID), buffered, contentType); err != nil {
		return nil, errors.Join(err, s.discard(ctx, mediaID))
	}
	if in.sha256 != "" && in.sha256 != hex.EncodeToString(counted.hash.Sum(nil)) {
		return nil, errors.Join(ErrChecksum, s.discard(ctx, mediaID))
	}
	f := file{
		ID: mediaID, ObjectID: mediaID, CourseID: in.course, Filename: name, ContentType: contentType, Size: counted.size,
		SHA256: hex.EncodeToString(counted.hash.Sum(nil)), UploadedBy: in.account, CreatedAt: s.utc(), Purpose: orLibrary(in.purpose), Kept: in.purpose == "",
	}
	m, err := idempotency.Do(ctx, s.db, in.request(counted.hash.Sum(nil)), func(tx *pg.Tx) (*mediapb.Media, error) {
		tag, err := tx.Exec(ctx, `DELETE FROM upload WHERE id = $1 AND NOT abandoned`, f.ID)
		if err != nil {
			return nil, err
		}
		if tag.RowsAffected() == 0 {
			return nil, errSwept
		}
		if err := s.settleFile(ctx, tx, f, room{Used: f.Size}); err != nil {
			return nil, err
		}
		if err := s.becomes(ctx, tx, &f); err != nil {
			return nil, err
		}
		if f.Purpose != purposeLibrary {
			return facts(f), nil
		}
		return s.describe(f, in.account), nil
	})
	if err != nil {
		return nil, errors.Join(err, s.discard(ctx, mediaID))
	}
	if m.GetId() != mediaID { // a repetition: the first upload counts
		if err := s.discard(ctx, mediaID); err != nil {
			s.log.WarnContext(ctx, "media: an upload that was sent again is left to the sweep", "media", mediaID, "error", err.Error())
		}
		if in.purpose == "" {
			s.addOriginal(m, in.account)
		}
	}
	return m, nil
}

var errSwept = fault.New(fault.Unavailable, "media.upload_slow", "The upload took longer than a day. Try again.")

// counter counts and hashes what is read and stops it at the limit.
type counter struct {
	r        io.Reader
	hash     hash.Hash
	size     int64
	max      int64
	tooLarge error
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.size += int64(n); c.size > c.max {
		return 0, c.tooLarge
	}
	c.hash.Write(p[:n])
	return n, err
}

// abandonedAfter is how old an upload is that has surely not come to its end.
const abandonedAfter = 24 * time.Hour

// sweepBatch bounds what one [Service.Sweep] does.
const sweepBatch = 1000

// Sweep deletes the objects of uploads that began more than a day ago and are
// neither files nor avatars, those of avatars that were replaced and of files that
// are gone, and does the same for uploads that come in pieces. It returns how many.
func (s *Service) Sweep(ctx context.Context) (int, error) {
	if err := s.sweepVariants(ctx); err != nil {
		return 0, err
	}
	rows, err := s.db.Query(ctx, `SELECT id FROM upload WHERE abandoned OR started_at < $1 ORDER BY started_at LIMIT $2`,
		s.utc().Add(-abandonedAfter), sweepBatch)
	if err != nil {
		return 0, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, err
	}
	for i, mediaID := range ids {
		if err := s.discard(ctx, mediaID); err != nil {
			return i, err
		}
	}
	n, err := s.sweepTransfers(ctx)
	return len(ids) + n, err
}

// discard deletes the object of an upload unless it has become a file. It is
// done to its end though the caller has gone.
func (s *Service) discard(ctx context.Context, mediaID string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	// Waits for a transaction that makes it a file, and lets none begin.
	tag, err := s.db.Exec(ctx, `UPDATE upload SET abandoned = true WHERE id = $1`, mediaID)
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	if err := s.bucket.Delete(ctx, object(mediaID)); err != nil {
		return err
	}
	_, err = s.db.Exec(ctx, `DELETE FROM upload WHERE id = $1`, mediaID)
	return err
}
