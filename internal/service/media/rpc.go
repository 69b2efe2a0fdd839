package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/blob"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// server answers the RPCs of the contract.
type server struct {
	mediapb.UnimplementedMediaServiceServer
	mediapb.UnimplementedAvatarServiceServer
	mediapb.UnimplementedUploadServiceServer
	mediapb.UnimplementedMultipartServiceServer
	mediapb.UnimplementedLibraryServiceServer
	mediapb.UnimplementedProcessingServiceServer

	media *Service
}

// UploadMedia takes a file in.
func (r *server) UploadMedia(stream grpc.ClientStreamingServer[mediapb.UploadMediaRequest, mediapb.Media]) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return ErrEmpty
	}
	if err != nil {
		return err
	}
	m, err := r.media.upload(stream.Context(), incoming{
		course: first.GetCourseId(), account: auth.From(stream.Context()).Account, name: first.GetFilename(),
		request: func(sum []byte) idempotentRequest {
			return &mediapb.UploadMediaRequest{CourseId: first.GetCourseId(), Filename: cleanName(first.GetFilename()), Chunk: sum}
		},
	}, newChunks(stream, first))
	if err != nil {
		return err
	}
	return stream.SendAndClose(m)
}

// chunks reads the bytes of an upload.
type chunks struct {
	next func() ([]byte, error)
	rest []byte
}

// newChunks reads first, and then the messages of a stream.
func newChunks[Req, Res any, P interface {
	*Req
	GetChunk() []byte
}](stream grpc.ClientStreamingServer[Req, Res], first P) *chunks {
	return &chunks{rest: first.GetChunk(), next: func() ([]byte, error) {
		req, err := stream.Recv()
		if err != nil {
			// A caller who has gone is not a fault of ours.
			if gone := stream.Context().Err(); gone != nil {
				return nil, gone
			}
			return nil, err
		}
		return P(req).GetChunk(), nil
	}}
}

func (c *chunks) Read(p []byte) (n int, err error) {
	for len(c.rest) == 0 {
		if c.rest, err = c.next(); err != nil {
			return 0, err
		}
	}
	n = copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// RetryMedia has a file processed again.
func (r *server) RetryMedia(ctx context.Context, req *mediapb.RetryMediaRequest) (*mediapb.Media, error) {
	return idempotency.Do(ctx, r.media.db, req, func(tx *pg.Tx) (*mediapb.Media, error) {
		return r.media.retry(ctx, tx, req.GetCourseId(), req.GetMediaId())
	})
}

// GetMedia returns what is known of a file.
func (r *server) GetMedia(ctx context.Context, req *mediapb.GetMediaRequest) (*mediapb.Media, error) {
	f, err := r.media.ofCourse(ctx, req.GetCourseId(), req.GetMediaId())
	if err != nil {
		return nil, err
	}
	items, err := r.media.forStaff(ctx, []file{f}, true)
	if err != nil {
		return nil, err
	}
	return items[0], nil
}

// ListMedia lists the files of a course.
func (r *server) ListMedia(ctx context.Context, req *mediapb.ListMediaRequest) (*mediapb.ListMediaResponse, error) {
	found, next, err := r.media.list(ctx, req)
	if err != nil {
		return nil, err
	}
	items, err := r.media.forStaff(ctx, found, false)
	return &mediapb.ListMediaResponse{Items: items, NextCursor: next}, err
}

// forStaff describes files of a course to who works on it: with their originals.
func (s *Service) forStaff(ctx context.Context, found []file, all bool) ([]*mediapb.Media, error) {
	if len(found) == 0 {
		return nil, nil
	}
	account := auth.From(ctx).Account
	items, err := s.presentAll(ctx, found, viewer{account: account, course: found[0].CourseID, staff: true}, all, all)
	for _, m := range items {
		if m.GetState() == stateReady {
			s.addOriginal(m, account)
		}
	}
	return items, err
}

// Bounds of an answer: what it says of a file with pages may be long.
const (
	mostWithPages = 20
	mostWithWords = 5
)

// BatchGetMedia returns files of one course.
func (r *server) BatchGetMedia(ctx context.Context, req *mediapb.BatchGetMediaRequest) (*mediapb.BatchGetMediaResponse, error) {
	if req.GetWords() && len(req.GetMediaIds()) > mostWithWords {
		return nil, fault.InvalidField("media_ids", "field.too_many", fmt.Sprintf("With the text of pages, at most %d files are asked for.", mostWithWords))
	}
	found, err := r.media.batch(ctx, req.GetCourseId(), req.GetMediaIds())
	if err != nil {
		return nil, err
	}
	who := req.GetViewer()
	v := viewer{account: who.GetAccountId(), course: req.GetCourseId(), item: who.GetItemId(), open: who.GetOpen() || who == nil}
	if who.GetLanding() {
		v = viewer{course: req.GetCourseId(), landing: true}
	}
	items, err := r.media.presentAll(ctx, found, v, len(found) <= mostWithPages, req.GetWords())
	if err != nil {
		return nil, err
	}
	return &mediapb.BatchGetMediaResponse{Items: items}, nil
}

// chunkSize is how many bytes one message of a download carries.
const chunkSize = 256 << 10

// DownloadMedia sends the bytes of a public file.
func (r *server) DownloadMedia(req *mediapb.DownloadMediaRequest, stream grpc.ServerStreamingServer[mediapb.DownloadMediaResponse]) error {
	ctx := stream.Context()
	f, err := r.media.byID(ctx, req.GetMediaId())
	if err != nil {
		return err
	}
	if !f.Public {
		return ErrNotFound
	}
	if f.State != stateReady {
		return ErrNotFound
	}
	stored := f.objectOf()
	if kindOf(f.ContentType) == kindImage {
		shown, err := r.media.shown(ctx, f.ID)
		if err != nil {
			return err
		}
		v, ok := shown.largest()
		if !ok {
			return ErrNotFound
		}
		stored, f.ContentType, f.Size, f.SHA256 = v.Stored, v.ContentType, v.Size, v.SHA256
	}
	head := &mediapb.DownloadMediaResponse{Media: facts(f)}
	if err := stream.Send(head); err != nil || req.GetDescribeOnly() || req.GetOffset() >= f.Size {
		return err
	}
	return r.media.sendObject(ctx, stored, req.GetOffset(), req.GetLength(), f.Size, func(chunk []byte) error {
		return stream.Send(&mediapb.DownloadMediaResponse{Chunk: chunk})
	})
}

// lost makes of an object that is not there an error that is not told as the
// caller's mistake.
func lost(stored string, err error) error {
	if errors.Is(err, blob.ErrNotFound) {
		return fmt.Errorf("media: %s has lost its object: %s", stored, err.Error())
	}
	return err
}

// sendObject sends bytes of an object of a size from offset on, all to the end
// when length is zero.
func (s *Service) sendObject(ctx context.Context, stored string, offset, length, size int64, send func([]byte) error) error {
	if length == 0 {
		length = -1
	}
	content, err := s.bucket.Open(ctx, object(stored), offset, length)
	if err != nil {
		return lost(stored, err)
	}
	defer func() { _ = content.Close() }()
	left := size - offset
	if length > 0 {
		left = min(left, length)
	}
	buf := make([]byte, min(chunkSize, left))
	for {
		n, err := io.ReadFull(content, buf)
		if n > 0 {
			if err := send(buf[:n]); err != nil {
				return err
			}
			left -= int64(n)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			if left != 0 {
				return fmt.Errorf("media: the object of %s is not as long as it was: %d bytes differ", stored, left)
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// facts is a file without an address.
func facts(f file) *mediapb.Media {
	m := &mediapb.Media{
		Id: f.ID, CourseId: f.CourseID, Filename: f.Filename, ContentType: f.ContentType,
		Size: f.Size, Sha256: f.SHA256, State: f.State, Problem: f.Problem, Percent: int32(f.Percent), CreatedAt: timestamppb.New(f.CreatedAt),
		Kind: kindOf(f.ContentType),
	}
	if f.DeletedAt != nil {
		m.DeletedAt = f.DeletedAt.UTC().Format(time.RFC3339)
	}
	return m
}

// describe is a file with an address of its original for an account of its course's
// staff, once it is ready.
func (s *Service) describe(f file, account string) *mediapb.Media {
	m := facts(f)
	if f.State == stateReady {
		s.addOriginal(m, account)
	}
	return m
}

// addOriginal adds to what is told of a file an address of it as it was uploaded, for
// an account of its course's staff.
func (s *Service) addOriginal(m *mediapb.Media, account string) {
	v := s.until(viewer{account: account, course: m.GetCourseId(), staff: true}, time.Duration(m.GetDurationMs())*time.Millisecond)
	m.Url, m.UrlExpiresAt = s.partPath(m.GetId(), v, originalPart), timestamppb.New(time.Unix(v.expires, 0))
}
