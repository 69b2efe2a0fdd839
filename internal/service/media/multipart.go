package media

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/blob"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// partLifetime is how long the address of a part works.
const partLifetime = time.Hour

// finishedWithin is how many bytes a direct upload has at most that is looked at
// within the call that completes it.
const finishedWithin = 64 << 20

var errPart = fault.New(fault.Invalid, "upload.part", "A part is not as it has to be.")

func badPart(i int, hint string, args ...any) error {
	return &fault.Error{
		Kind: errPart.Kind, Code: errPart.Code, Message: errPart.Message,
		Fields: []fault.Field{{Path: fmt.Sprintf("parts[%d]", i), Code: errPart.Code, Hint: fmt.Sprintf(hint, args...)}},
	}
}

// CreateMultipartUpload implements mediapb.MultipartServiceServer.
func (r *server) CreateMultipartUpload(ctx context.Context, req *mediapb.CreateMultipartUploadRequest) (*mediapb.Upload, error) {
	t, err := r.media.begin(req.GetCourseId(), auth.From(ctx).Account, req.GetFilename(), req.GetLength(), false, req.GetSha256())
	if err != nil {
		return nil, err
	}
	t.Direct = true
	return idempotency.Do(ctx, r.media.db, req, func(tx *pg.Tx) (*mediapb.Upload, error) {
		return toUpload(t), r.media.insertTransfer(ctx, tx, t)
	})
}

// SignParts implements mediapb.MultipartServiceServer.
func (r *server) SignParts(ctx context.Context, req *mediapb.SignPartsRequest) (*mediapb.SignPartsResponse, error) {
	t, err := r.media.directOf(ctx, req.GetCourseId(), auth.From(ctx).Account, req.GetUploadId())
	if err != nil {
		return nil, err
	}
	if t.State != transferOpen || !r.media.utc().Before(t.ExpiresAt) {
		return nil, ErrUploadGone
	}
	for i, p := range req.GetParts() {
		if want := t.sizeOf(p.GetNumber()); p.GetSize() != want {
			return nil, badPart(i, "Part %d has %d bytes; there are %d parts.", p.GetNumber(), want, t.partCount())
		}
	}
	if t.BucketUpload == "" {
		if t, err = r.media.beginDirect(ctx, t); err != nil {
			return nil, err
		}
	}
	// Asking for addresses is a sign of life.
	if _, err := r.media.db.Exec(ctx, `UPDATE transfer SET expires_at = $2 WHERE id = $1 AND state = 'open'`, t.ID, r.media.utc().Add(r.media.lifetime)); err != nil {
		return nil, err
	}
	res := &mediapb.SignPartsResponse{}
	for _, p := range req.GetParts() {
		signed, err := r.media.signPart(ctx, t, p)
		if err != nil {
			return nil, err
		}
		res.Parts = append(res.Parts, signed)
	}
	return res, nil
}

// directOf is [Service.transferOf] for direct uploads only.
func (s *Service) directOf(ctx context.Context, course, account, transferID string) (transfer, error) {
	t, err := s.transferOf(ctx, course, account, transferID)
	if err == nil && !t.Direct {
		err = ErrUploadNotFound
	}
	return t, err
}

// beginDirect begins a direct upload in the bucket. Of several calls at once the
// first counts.
func (s *Service) beginDirect(ctx context.Context, t transfer) (transfer, error) {
	upload, err := s.bucket.CreateMultipart(ctx, object(t.MediaID), "application/octet-stream", true)
	if err != nil {
		return t, err
	}
	tag, err := s.db.Exec(ctx, `UPDATE transfer SET bucket_upload = $2 WHERE id = $1 AND state = 'open' AND bucket_upload = ''`, t.ID, upload)
	if err == nil && tag.RowsAffected() == 1 {
		t.BucketUpload = upload
		return t, nil
	}
	if err = errors.Join(err, s.bucket.AbortMultipart(context.WithoutCancel(ctx), object(t.MediaID), upload)); err != nil {
		return t, err
	}
	if t, err = s.directOf(ctx, t.CourseID, t.AccountID, t.ID); err == nil && t.BucketUpload == "" {
		err = ErrUploadGone
	}
	return t, err
}

func (t *transfer) partCount() int64 { return (*t.Length + t.PartSize - 1) / t.PartSize }

// sizeOf returns how long a part of a direct upload has to be, 0 for one that
// there is not.
func (t *transfer) sizeOf(number int32) int64 {
	return max(min(*t.Length-int64(number-1)*t.PartSize, t.PartSize), 0)
}

func (s *Service) signPart(ctx context.Context, t transfer, p *mediapb.PartToSign) (*mediapb.SignedPart, error) {
	end := s.utc().Add(partLifetime)
	out := &mediapb.SignedPart{Number: p.GetNumber(), Method: "PUT", ExpiresAt: timestamppb.New(end)}
	sum := strings.ToLower(p.GetSha256())
	signed, err := s.bucket.SignPart(ctx, object(t.MediaID), t.BucketUpload, blob.Part{Number: p.GetNumber(), Size: p.GetSize(), SHA256: sum}, partLifetime)
	if errors.Is(err, blob.ErrNoAddresses) {
		q := url.Values{}
		q.Set("expires", strconv.FormatInt(end.Unix(), 10))
		q.Set("size", strconv.FormatInt(p.GetSize(), 10))
		q.Set("sha256", sum)
		q.Set("signature", s.partSignature(t.ID, p.GetNumber(), p.GetSize(), sum, end.Unix()))
		out.Url = fmt.Sprintf("/v1/uploads/%s/parts/%d?%s", t.ID, p.GetNumber(), q.Encode())
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	out.Url = signed.URL
	for name, values := range signed.Headers {
		out.Headers = append(out.Headers, &mediapb.SignedHeader{Name: name, Value: strings.Join(values, ",")})
	}
	slices.SortFunc(out.GetHeaders(), func(a, b *mediapb.SignedHeader) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return out, nil
}

func (s *Service) partSignature(transferID string, number int32, size int64, sum string, expires int64) string {
	h := hmac.New(sha256.New, s.key[:])
	_, _ = fmt.Fprintf(h, "stoa part v1\n%s\n%d\n%d\n%s\n%d", transferID, number, size, sum, expires)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// PutPart implements mediapb.MultipartServiceServer.
func (r *server) PutPart(stream grpc.ClientStreamingServer[mediapb.PutPartRequest, mediapb.PutPartResponse]) error {
	req, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return ErrUploadNotFound
	}
	if err != nil {
		return err
	}
	etag, err := r.media.putPart(stream.Context(), req, newChunks(stream, req))
	if err != nil {
		return err
	}
	return stream.SendAndClose(&mediapb.PutPartResponse{Etag: etag})
}

func (s *Service) putPart(ctx context.Context, req *mediapb.PutPartRequest, in io.Reader) (string, error) {
	want := s.partSignature(req.GetUploadId(), req.GetNumber(), req.GetSize(), req.GetSha256(), req.GetExpires())
	if !hmac.Equal([]byte(req.GetSignature()), []byte(want)) {
		return "", ErrUploadNotFound
	}
	if !s.now().Before(time.Unix(req.GetExpires(), 0)) {
		return "", ErrLinkExpired
	}
	t, err := s.oneTransfer(ctx, `SELECT `+transferColumns+` FROM transfer WHERE id = $1`, req.GetUploadId())
	if err != nil {
		return "", err
	}
	if t.State != transferOpen {
		return "", ErrUploadGone
	}
	body := &exactly{r: in, left: req.GetSize(), hash: sha256.New(), sum: req.GetSha256()}
	part, err := s.bucket.PutPart(ctx, object(t.MediaID), t.BucketUpload, req.GetNumber(), body, req.GetSize())
	if body.bad {
		return "", badPart(0, "Send exactly the bytes that were signed.")
	}
	if errors.Is(err, blob.ErrNotFound) {
		return "", ErrUploadGone
	}
	return part.ETag, err
}

// exactly reads bytes of a size and a hash, and does not hand out the last of
// others.
type exactly struct {
	r    io.Reader
	left int64
	hash hash.Hash
	sum  string
	bad  bool
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.hash.Write(p[:n])
	e.left -= int64(n)
	if err == nil && e.left == 0 {
		_, err = io.ReadFull(e.r, make([]byte, 1))
		if errors.Is(err, io.EOF) && hex.EncodeToString(e.hash.Sum(nil)) == e.sum {
			return n, nil
		}
		e.bad = err == nil || errors.Is(err, io.EOF)
	} else if errors.Is(err, io.EOF) {
		e.bad = true
	}
	if e.bad {
		return 0, errPart
	}
	return n, err
}

// Seek is what a folder does not ask for.
func (e *exactly) Seek(int64, int) (int64, error) { return 0, errors.ErrUnsupported }

// CompleteMultipartUpload implements mediapb.MultipartServiceServer.
func (r *server) CompleteMultipartUpload(ctx context.Context, req *mediapb.CompleteMultipartUploadRequest) (*mediapb.Upload, error) {
	s, account := r.media, auth.From(ctx).Account
	t, err := s.directOf(ctx, req.GetCourseId(), account, req.GetUploadId())
	if err != nil {
		return nil, err
	}
	if t.State != transferOpen {
		return toUpload(t), t.failure()
	}
	held, h, err := s.hold(ctx, t.CourseID, account, t.ID, transferOpen)
	if err != nil {
		return nil, err
	}
	defer h.letGo(ctx)
	if err := h.complete(held, req.GetParts()); err != nil {
		return nil, err
	}
	if h.Stored > finishedWithin {
		select {
		case s.toFinish <- struct{}{}:
		default: // somebody is about to look anyway
		}
		return toUpload(h.transfer), nil
	}
	err = h.finish(held)
	if fault.Is(err, fault.Unavailable) || errors.Is(err, context.DeadlineExceeded) {
		err = nil // it is finished later
	}
	return toUpload(h.transfer), err
}

// failure is the error that a transfer has failed with, nil for others.
func (t *transfer) failure() error {
	for _, e := range []*fault.Error{ErrChecksum, ErrTypeRefused, errPart} {
		if t.State == transferFailed && t.Problem == e.Code {
			return e
		}
	}
	return nil
}

// complete takes note of the parts that a direct upload has, as the bucket says.
func (h *held) complete(ctx context.Context, named []*mediapb.SentPart) error {
	var stored []blob.Part
	if h.BucketUpload != "" {
		var err error
		if stored, err = h.s.bucket.ListParts(ctx, object(h.MediaID), h.BucketUpload); err != nil {
			return err
		}
	}
	there := map[int32]blob.Part{}
	for _, p := range stored {
		there[p.Number] = p
	}
	parts, total := make([]blob.Part, len(named)), int64(0)
	for i, n := range named {
		p, ok := there[n.GetNumber()]
		switch {
		case n.GetNumber() != int32(i+1):
			return badPart(i, "Name all parts, from 1 on and in order.")
		case !ok || p.ETag != strings.Trim(n.GetEtag(), `"`):
			return badPart(i, "Part %d with this ETag is not in the bucket: send it again.", n.GetNumber())
		case p.Size != h.sizeOf(p.Number):
			return badPart(i, "Part %d has %d bytes in place of %d.", p.Number, p.Size, h.sizeOf(p.Number))
		}
		parts[i] = p
		total += p.Size
	}
	if total != *h.Length {
		return ErrUploadLength
	}
	err := h.s.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("an upload is recorded when it becomes a file")
		if err := h.change(ctx, tx, `stored = $3, state = $4`, total, transferFinishing); err != nil {
			return err
		}
		return insertParts(ctx, tx, h.ID, parts)
	})
	if err == nil {
		h.Stored, h.State = total, transferFinishing
	}
	return err
}

// AbortMultipartUpload implements mediapb.MultipartServiceServer.
func (r *server) AbortMultipartUpload(ctx context.Context, req *mediapb.AbortMultipartUploadRequest) (*emptypb.Empty, error) {
	return r.abort(ctx, req.GetCourseId(), req.GetUploadId(), true)
}
