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
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// server answers the RPCs of the contract.
type server struct {
	mediapb.UnimplementedMediaServiceServer
	mediapb.UnimplementedAvatarServiceServer
	mediapb.UnimplementedUploadServiceServer
	mediapb.UnimplementedMultipartServiceServer
	mediapb.UnimplementedLibraryServiceServer

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

// GetMedia returns what is known of a file.
func (r *server) GetMedia(ctx context.Context, req *mediapb.GetMediaRequest) (*mediapb.Media, error) {
	f, err := r.media.ofCourse(ctx, req.GetCourseId(), req.GetMediaId())
	if err != nil {
		return nil, err
	}
	return r.media.describe(f), nil
}

// ListMedia lists the files of a course.
func (r *server) ListMedia(ctx context.Context, req *mediapb.ListMediaRequest) (*mediapb.ListMediaResponse, error) {
	found, next, err := r.media.list(ctx, req)
	if err != nil {
		return nil, err
	}
	return &mediapb.ListMediaResponse{Items: r.media.describeAll(found), NextCursor: next}, nil
}

// BatchGetMedia returns files of one course.
func (r *server) BatchGetMedia(ctx context.Context, req *mediapb.BatchGetMediaRequest) (*mediapb.BatchGetMediaResponse, error) {
	found, err := r.media.batch(ctx, req.GetCourseId(), req.GetMediaIds())
	if err != nil {
		return nil, err
	}
	return &mediapb.BatchGetMediaResponse{Items: r.media.describeAll(found)}, nil
}

// chunkSize is how many bytes one message of a download carries.
const chunkSize = 256 << 10

// DownloadMedia sends the bytes of a file.
func (r *server) DownloadMedia(req *mediapb.DownloadMediaRequest, stream grpc.ServerStreamingServer[mediapb.DownloadMediaResponse]) error {
	ctx := stream.Context()
	f, err := r.media.byID(ctx, req.GetMediaId())
	if err != nil {
		return err
	}
	if !f.Public {
		if err := r.media.verify(f.ID, req.GetExpires(), req.GetSignature()); err != nil {
			return err
		}
	}
	// Without an address: one that expires must not be good for the next.
	head := &mediapb.DownloadMediaResponse{Media: facts(f)}
	if req.GetDescribeOnly() || req.GetOffset() >= f.Size {
		return stream.Send(head)
	}
	length := req.GetLength()
	if length == 0 {
		length = -1
	}
	if err := stream.Send(head); err != nil {
		return err
	}
	return r.media.send(ctx, f, req.GetOffset(), length, func(chunk []byte) error {
		return stream.Send(&mediapb.DownloadMediaResponse{Chunk: chunk})
	})
}

// send hands out the bytes of a file, length of them, or all to the end when it
// is negative.
func (s *Service) send(ctx context.Context, f file, offset, length int64, send func(chunk []byte) error) error {
	content, err := s.bucket.Open(ctx, object(f.ObjectID), offset, length)
	if errors.Is(err, blob.ErrNotFound) {
		// Not the caller's mistake, so it is not told as one.
		return fmt.Errorf("media: %s has lost its object: %s", f.ID, err.Error())
	}
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	left := f.Size - offset
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
				return fmt.Errorf("media: the object of %s is not as long as it was: %d bytes differ", f.ID, left)
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
	}
	if f.DeletedAt != nil {
		m.DeletedAt = f.DeletedAt.UTC().Format(time.RFC3339)
	}
	return m
}

// describe is a file with an address to fetch it.
func (s *Service) describe(f file) *mediapb.Media {
	m := facts(f)
	m.Url, m.UrlExpiresAt = s.address(f.ID)
	return m
}

func (s *Service) address(mediaID string) (string, *timestamppb.Timestamp) {
	url, end := s.link(mediaID)
	return url, timestamppb.New(end)
}

func (s *Service) describeAll(found []file) []*mediapb.Media {
	items := make([]*mediapb.Media, len(found))
	for i, f := range found {
		items[i] = s.describe(f)
	}
	return items
}
