package media

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// CreateUpload implements mediapb.UploadServiceServer.
func (r *server) CreateUpload(ctx context.Context, req *mediapb.CreateUploadRequest) (*mediapb.Upload, error) {
	t, err := r.media.begin(req.GetCourseId(), auth.From(ctx).Account, req.GetFilename(), req.GetLength(), req.GetDeferLength(), req.GetSha256())
	if err != nil {
		return nil, err
	}
	t.Metadata = req.GetMetadata()
	return idempotency.Do(ctx, r.media.db, req, func(tx *pg.Tx) (*mediapb.Upload, error) {
		return toUpload(t), r.media.insertTransfer(ctx, tx, t)
	})
}

// AppendUpload implements mediapb.UploadServiceServer.
func (r *server) AppendUpload(stream grpc.ClientStreamingServer[mediapb.AppendUploadRequest, mediapb.Upload]) error {
	req, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return ErrUploadNotFound
	}
	if err != nil {
		return err
	}
	t, err := r.media.appendTo(stream.Context(), auth.From(stream.Context()).Account, req, newChunks(stream, req))
	if err != nil {
		return err
	}
	return stream.SendAndClose(toUpload(t))
}

// GetUpload implements mediapb.UploadServiceServer.
func (r *server) GetUpload(ctx context.Context, req *mediapb.GetUploadRequest) (*mediapb.Upload, error) {
	t, err := r.media.transferOf(ctx, req.GetCourseId(), auth.From(ctx).Account, req.GetUploadId())
	if err != nil {
		return nil, err
	}
	if t.State == transferOpen && !r.media.utc().Before(t.ExpiresAt) {
		return nil, ErrUploadNotFound // the sweep is about to come
	}
	return toUpload(t), nil
}

// DeleteUpload implements mediapb.UploadServiceServer.
func (r *server) DeleteUpload(ctx context.Context, req *mediapb.DeleteUploadRequest) (*emptypb.Empty, error) {
	return r.abort(ctx, req.GetCourseId(), req.GetUploadId(), false)
}

// abort gives a transfer of the caller up.
func (r *server) abort(ctx context.Context, course, transferID string, direct bool) (*emptypb.Empty, error) {
	account := auth.From(ctx).Account
	if t, err := r.media.transferOf(ctx, course, account, transferID); err != nil || t.Direct != direct {
		return nil, errors.Join(err, ErrUploadNotFound)
	}
	held, h, err := r.media.hold(ctx, course, account, transferID, transferOpen)
	if err != nil {
		return nil, err
	}
	defer h.letGo(ctx)
	return &emptypb.Empty{}, h.fail(held, transferAborted, nil)
}

// ListMyUploads implements mediapb.UploadServiceServer.
func (r *server) ListMyUploads(ctx context.Context, req *mediapb.ListMyUploadsRequest) (*mediapb.ListMyUploadsResponse, error) {
	found, next, err := r.media.transfersOf(ctx, auth.From(ctx).Account, page.Size(req.GetPageSize()), req.GetCursor())
	if err != nil {
		return nil, err
	}
	res := &mediapb.ListMyUploadsResponse{NextCursor: next}
	for _, t := range found {
		res.Items = append(res.Items, toUpload(t))
	}
	return res, nil
}

func toUpload(t transfer) *mediapb.Upload {
	u := &mediapb.Upload{
		Id: t.ID, CourseId: t.CourseID, Filename: t.Filename, Offset: t.Stored, State: t.State, Problem: t.Problem,
		CreatedAt: timestamppb.New(t.CreatedAt), ExpiresAt: timestamppb.New(t.ExpiresAt), Metadata: t.Metadata, Sha256: t.SHA256,
	}
	if t.Length != nil {
		u.Length = *t.Length
	}
	if t.State == transferDone {
		u.MediaId = t.MediaID
	}
	if t.Direct {
		u.PartSize = t.PartSize
	}
	return u
}
