package media

import (
	"context"
	"errors"
	"io"
	"path"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// What files are for. Those that are handed in or given back are in the same table as
// those of a course's library, so that all are scanned, stored, swept and sent in the
// same way; everything that is of the library asks for it by this.
const (
	purposeLibrary    = "library"
	purposeSubmission = "submission"
	purposeFeedback   = "feedback"
)

const (
	// plainType is what is told of what a browser might run: it is downloaded as bytes.
	plainType = "application/octet-stream"
	// unkeptFor is how long a file stays that nothing names: longer than an attempt at a
	// quiz may take.
	unkeptFor = 35 * 24 * time.Hour
	// maxUnkept is how many of those somebody has in a course at most.
	maxUnkept = 200
	// programFor is how long a program has an address that asks nobody.
	programFor = time.Hour
)

// Errors of files that are handed in.
var (
	ErrKept      = fault.New(fault.Conflict, "media.kept", "A draft or something that was handed in has this file.")
	ErrTooManyOf = fault.New(fault.Conflict, "media.too_many", "You have uploaded %d files that are in no draft. Delete some of them.", maxUnkept)
	errNotReady  = fault.New(fault.Conflict, "media.not_ready", "The file is being scanned.")
)

// submissionFileServer answers about files that are handed in.
type submissionFileServer struct {
	mediapb.UnimplementedSubmissionFileServiceServer

	media *Service
}

func orLibrary(purpose string) string {
	if purpose == "" {
		return purposeLibrary
	}
	return purpose
}

// kind returns what a file is processed as. Of what is handed in only pictures and PDF
// documents are shown in place; all else is downloaded as it is.
func (f *file) kind() string {
	kind := kindOf(f.ContentType)
	if f.Purpose == purposeLibrary || f.Purpose == "" || kind == kindImage || f.ContentType == "application/pdf" {
		return kind
	}
	return kindFile
}

// noPreview reports whether what was handed in is not going to be shown in place: it is
// sent as it is then, and waits for nothing.
func noPreview(t *task, err error) bool {
	if err == nil {
		return false
	}
	_, bad := errors.AsType[problemError](err)
	_, noTool := errors.AsType[*missingError](err)
	return bad || noTool || t.Tries >= mostTries
}

// showable reports whether bytes of a file may be sent: of what was handed in also while
// its preview is made, unless it may not have been scanned.
func (s *Service) showable(f file) bool {
	if f.State == stateReady {
		return true
	}
	return f.Purpose != purposeLibrary && (f.State == stateProcessing || f.State == stateWaiting && s.scanner == nil)
}

// submissionsOf names the room that somebody has in a course for what they hand in.
func submissionsOf(course, account string) string { return course + "/" + account }

// settleFile changes what those take who pay for a file.
func (s *Service) settleFile(ctx context.Context, tx *pg.Tx, f file, by room) error {
	if f.Purpose == purposeSubmission {
		if err := settle(ctx, tx, submissionsOf(f.CourseID, f.UploadedBy), "account in this course", s.limits.SubmissionQuota, 0, by); err != nil || by.Used <= 0 || f.Kept {
			return err
		}
		// Whoever uploads another one waits for the row that is locked now.
		var n int
		err := tx.QueryRow(ctx, `SELECT count(*) FROM media WHERE course_id = $1 AND uploaded_by = $2 AND purpose = 'submission' AND purpose <> 'library' AND NOT kept`, f.CourseID, f.UploadedBy).Scan(&n)
		if err == nil && n >= maxUnkept {
			err = ErrTooManyOf
		}
		return err
	}
	pays := f.UploadedBy
	if f.ObjectID != f.ID { // a copy counts against no account
		pays = ""
	}
	return s.settle(ctx, tx, f.CourseID, pays, by)
}

// roomFor returns how many bytes an upload may have, and the error for one that has
// more. It reserves nothing.
func (s *Service) roomFor(ctx context.Context, in incoming) (int64, error) {
	if in.purpose != purposeSubmission {
		return s.roomLeft(ctx, in.course, in.account)
	}
	most, tooLarge := s.maxSize, errTooLarge(s.maxSize)
	if s.limits.SubmissionQuota == 0 {
		return most, tooLarge
	}
	now, err := s.roomOf(ctx, submissionsOf(in.course, in.account))
	if err != nil {
		return 0, err
	}
	if left := max(s.limits.SubmissionQuota-now.Used, 0); left < most {
		most, tooLarge = left, errQuota("account in this course", left)
	}
	return most, tooLarge
}

// neutralName is what a file is called where its name is not to be told.
func neutralName(f file) string {
	ext := strings.ToLower(path.Ext(f.Filename))
	for _, r := range strings.TrimPrefix(ext, ".") {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return "file"
		}
	}
	if len(ext) < 2 || len(ext) > 11 {
		return "file"
	}
	return "file" + ext
}

// handedIn describes files that were handed in, or given back, to a viewer. What can't be
// shown yet has no address.
func (s *Service) handedIn(ctx context.Context, files []file, v viewer) ([]*mediapb.Media, error) {
	if len(files) == 0 {
		return nil, nil
	}
	found, err := s.made(ctx, files, "%/_%.m3u8")
	if err != nil {
		return nil, err
	}
	out := make([]*mediapb.Media, len(found))
	for i, f := range found {
		at := s.until(v, 0)
		if v.open {
			at.expires = s.now().Add(programFor).Unix()
		}
		m := s.present(f, at, nil)
		if s.showable(f.file) {
			_, picture := f.largest()
			if !v.anonymous || !picture { // of a picture what a camera notes may say whose it is
				m.Url = s.partPath(f.file.ID, at, originalPart)
			}
		}
		if v.anonymous {
			m.Filename = neutralName(f.file)
		}
		out[i] = m
	}
	return out, nil
}

// mine is the viewer who has handed something in.
func mine(ctx context.Context, course string) viewer {
	return viewer{account: auth.From(ctx).Account, course: course, takes: true}
}

// takeIn takes a file in and describes it to its uploader.
func (s *Service) takeIn(ctx context.Context, in incoming, content io.Reader, v viewer) (*mediapb.Media, error) {
	m, err := s.upload(ctx, in, content)
	if err != nil {
		return nil, err
	}
	f, err := s.byID(ctx, m.GetId())
	if errors.Is(err, ErrNotFound) { // sent again after it was deleted
		return m, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := s.handedIn(ctx, []file{f}, v)
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// UploadSubmissionFile implements mediapb.SubmissionFileServiceServer.
func (r *submissionFileServer) UploadSubmissionFile(stream grpc.ClientStreamingServer[mediapb.UploadSubmissionFileRequest, mediapb.Media]) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return ErrEmpty
	}
	if err != nil {
		return err
	}
	ctx := stream.Context()
	m, err := r.media.takeIn(ctx, incoming{
		course: first.GetCourseId(), account: auth.From(ctx).Account, name: first.GetFilename(), purpose: purposeSubmission,
		request: func(sum []byte) idempotentRequest {
			return &mediapb.UploadSubmissionFileRequest{CourseId: first.GetCourseId(), Filename: cleanName(first.GetFilename()), Chunk: sum}
		},
	}, newChunks(stream, first), mine(ctx, first.GetCourseId()))
	if err != nil {
		return err
	}
	return stream.SendAndClose(m)
}

// UploadFeedbackFile implements mediapb.SubmissionFileServiceServer.
func (r *submissionFileServer) UploadFeedbackFile(stream grpc.ClientStreamingServer[mediapb.UploadFeedbackFileRequest, mediapb.Media]) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return ErrEmpty
	}
	if err != nil {
		return err
	}
	ctx := stream.Context()
	account := auth.From(ctx).Account
	m, err := r.media.takeIn(ctx, incoming{
		course: first.GetCourseId(), account: account, name: first.GetFilename(), purpose: purposeFeedback,
		request: func(sum []byte) idempotentRequest {
			return &mediapb.UploadFeedbackFileRequest{CourseId: first.GetCourseId(), Filename: cleanName(first.GetFilename()), Chunk: sum}
		},
	}, newChunks(stream, first), viewer{account: account, course: first.GetCourseId(), reads: true})
	if err != nil {
		return err
	}
	return stream.SendAndClose(m)
}

// ImportFeedbackFile implements mediapb.SubmissionFileServiceServer.
func (r *submissionFileServer) ImportFeedbackFile(stream grpc.ClientStreamingServer[mediapb.ImportFeedbackFileRequest, mediapb.Media]) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return ErrEmpty
	}
	if err != nil {
		return err
	}
	m, err := r.media.upload(stream.Context(), incoming{
		course: first.GetCourseId(), account: first.GetAccountId(), name: first.GetFilename(), purpose: purposeFeedback,
		request: func(sum []byte) idempotentRequest {
			return &mediapb.ImportFeedbackFileRequest{CourseId: first.GetCourseId(), AccountId: first.GetAccountId(), Filename: cleanName(first.GetFilename()), Chunk: sum}
		},
	}, newChunks(stream, first))
	if err != nil {
		return err
	}
	return stream.SendAndClose(m)
}

// ListSubmissionFiles implements mediapb.SubmissionFileServiceServer.
func (r *submissionFileServer) ListSubmissionFiles(ctx context.Context, req *mediapb.ListSubmissionFilesRequest) (*mediapb.ListSubmissionFilesResponse, error) {
	s, v := r.media, mine(ctx, req.GetCourseId())
	at, last, err := page.After(req.GetCursor())
	if err != nil {
		return nil, err
	}
	size := page.Size(req.GetPageSize())
	found, err := s.many(ctx, `
		SELECT `+columns+` FROM media
		WHERE course_id = $1 AND uploaded_by = $2 AND purpose = 'submission' AND purpose <> 'library' AND (created_at, id) < ($3, $4)
		ORDER BY created_at DESC, id DESC LIMIT $5`, v.course, v.account, at, last, size+1)
	if err != nil {
		return nil, err
	}
	res := &mediapb.ListSubmissionFilesResponse{Quota: s.limits.SubmissionQuota}
	if len(found) > size {
		found = found[:size]
		res.NextCursor = page.TimeCursor(found[size-1].CreatedAt, found[size-1].ID)
	}
	now, err := s.roomOf(ctx, submissionsOf(v.course, v.account))
	if err != nil {
		return nil, err
	}
	res.Used = now.Used
	res.Items, err = s.handedIn(ctx, found, v)
	return res, err
}

// GetSubmissionFile implements mediapb.SubmissionFileServiceServer.
func (r *submissionFileServer) GetSubmissionFile(ctx context.Context, req *mediapb.GetSubmissionFileRequest) (*mediapb.Media, error) {
	v := mine(ctx, req.GetCourseId())
	f, err := r.media.one(ctx, `SELECT `+columns+` FROM media WHERE id = $1 AND course_id = $2 AND uploaded_by = $3 AND purpose = 'submission'`, req.GetMediaId(), v.course, v.account)
	if err != nil {
		return nil, err
	}
	list, err := r.media.handedIn(ctx, []file{f}, v)
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// DeleteSubmissionFile implements mediapb.SubmissionFileServiceServer.
func (r *submissionFileServer) DeleteSubmissionFile(ctx context.Context, req *mediapb.DeleteSubmissionFileRequest) (*emptypb.Empty, error) {
	s, gone := r.media, ""
	out, err := idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		gone = ""
		f, version, err := lockFile(ctx, tx, req.GetCourseId(), req.GetMediaId())
		switch {
		case err != nil:
			return nil, err
		case f.Purpose != purposeSubmission || f.UploadedBy != auth.From(ctx).Account:
			return nil, ErrNotFound
		case f.Kept:
			return nil, ErrKept
		}
		if gone, err = s.purge(ctx, tx, f, version); err != nil {
			return nil, err
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{Action: "media.purged", Object: f.ID, Course: f.CourseID, Before: map[string]any{"size": f.Size, "sha256": f.SHA256}})
	})
	if err == nil && gone != "" {
		s.discardLater(ctx, gone)
	}
	return out, err
}

// KeepSubmissionFiles implements mediapb.SubmissionFileServiceServer.
func (r *submissionFileServer) KeepSubmissionFiles(ctx context.Context, req *mediapb.KeepSubmissionFilesRequest) (*mediapb.SubmissionFiles, error) {
	out := &mediapb.SubmissionFiles{}
	if req.GetLookOnly() {
		files, err := r.media.many(ctx, `SELECT `+columns+` FROM media WHERE id = ANY ($1) AND course_id = $2 AND purpose = $3 AND uploaded_by = ANY ($4)`,
			req.GetMediaIds(), req.GetCourseId(), req.GetPurpose(), req.GetAccountIds())
		for _, f := range files {
			out.Items = append(out.Items, facts(f))
		}
		return out, err
	}
	err := r.media.db.InTx(ctx, func(tx *pg.Tx) error {
		tx.Exempt("what names the files records it")
		rows, err := tx.Query(ctx, `
			UPDATE media SET kept = true WHERE id IN (
				SELECT id FROM media WHERE id = ANY ($1) AND course_id = $2 AND purpose = $3 AND uploaded_by = ANY ($4) ORDER BY id FOR NO KEY UPDATE)
			RETURNING `+columns, req.GetMediaIds(), req.GetCourseId(), req.GetPurpose(), req.GetAccountIds())
		if err != nil {
			return err
		}
		files, err := pgx.CollectRows(rows, pgx.RowToStructByName[file])
		if err != nil {
			return err
		}
		out.Items = nil
		for _, f := range files {
			out.Items = append(out.Items, facts(f))
		}
		return nil
	})
	return out, err
}

// DropSubmissionFiles implements mediapb.SubmissionFileServiceServer.
func (r *submissionFileServer) DropSubmissionFiles(ctx context.Context, req *mediapb.DropSubmissionFilesRequest) (*emptypb.Empty, error) {
	_, err := r.media.purgeAll(ctx, func(f file) bool { return f.Purpose != purposeLibrary },
		`SELECT id, course_id FROM media WHERE id = ANY ($1) AND course_id = $2 AND purpose <> 'library' ORDER BY id`, req.GetMediaIds(), req.GetCourseId())
	return &emptypb.Empty{}, err
}

// purgeUnkept purges what was uploaded long ago and nothing names.
func (s *Service) purgeUnkept(ctx context.Context) (int, error) {
	before := s.utc().Add(-unkeptFor)
	return s.purgeAll(ctx, func(f file) bool { return !f.Kept && f.Purpose != purposeLibrary && !f.CreatedAt.After(before) },
		`SELECT id, course_id FROM media WHERE NOT kept AND created_at <= $1 ORDER BY created_at LIMIT $2`, before, sweepBatch)
}

// ShowSubmissionFiles implements mediapb.SubmissionFileServiceServer.
func (r *submissionFileServer) ShowSubmissionFiles(ctx context.Context, req *mediapb.ShowSubmissionFilesRequest) (*mediapb.SubmissionFiles, error) {
	if len(req.GetMediaIds()) == 0 {
		return &mediapb.SubmissionFiles{}, nil
	}
	found, err := r.media.many(ctx, `SELECT `+columns+` FROM media WHERE id = ANY ($1) AND course_id = $2 AND purpose <> 'library'`, req.GetMediaIds(), req.GetCourseId())
	if err != nil {
		return nil, err
	}
	v := viewer{account: req.GetAccountId(), course: req.GetCourseId(), reads: req.GetStaff(), takes: !req.GetStaff(), anonymous: req.GetAnonymous()}
	if req.GetAccountId() == "" {
		v.reads, v.takes, v.open = false, false, true
	}
	items, err := r.media.handedIn(ctx, found, v)
	return &mediapb.SubmissionFiles{Items: items}, err
}

// ReadSubmissionFile implements mediapb.SubmissionFileServiceServer.
func (r *submissionFileServer) ReadSubmissionFile(req *mediapb.ReadSubmissionFileRequest, stream grpc.ServerStreamingServer[mediapb.DownloadMediaResponse]) error {
	s := r.media
	f, err := s.one(stream.Context(), `SELECT `+columns+` FROM media WHERE id = $1 AND course_id = $2 AND purpose <> 'library'`, req.GetMediaId(), req.GetCourseId())
	switch {
	case err != nil:
		return err
	case f.State == stateRefused:
		return ErrNotFound
	case !s.showable(f):
		return errNotReady
	}
	if err := stream.Send(&mediapb.DownloadMediaResponse{Media: facts(f)}); err != nil {
		return err
	}
	return s.sendObject(stream.Context(), f.ObjectID, 0, 0, f.Size, func(chunk []byte) error {
		return stream.Send(&mediapb.DownloadMediaResponse{Chunk: chunk})
	})
}
