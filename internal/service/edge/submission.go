package edge

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// uploadSubmissionFile takes the body of a request as a file that is going to be handed
// in.
func (e *Edge) uploadSubmissionFile(w http.ResponseWriter, r *http.Request) {
	e.takeFile(w, r, func(ctx context.Context) (fileStream, func(name string, chunk []byte) error, error) {
		stream, err := e.submissionFiles.UploadSubmissionFile(ctx)
		return stream, func(name string, chunk []byte) error {
			return stream.Send(&mediapb.UploadSubmissionFileRequest{CourseId: r.PathValue("course_id"), Filename: name, Chunk: chunk})
		}, err
	})
}

// uploadFeedbackFile takes the body of a request as a file that is given back with a
// mark.
func (e *Edge) uploadFeedbackFile(w http.ResponseWriter, r *http.Request) {
	e.takeFile(w, r, func(ctx context.Context) (fileStream, func(name string, chunk []byte) error, error) {
		stream, err := e.submissionFiles.UploadFeedbackFile(ctx)
		return stream, func(name string, chunk []byte) error {
			return stream.Send(&mediapb.UploadFeedbackFileRequest{CourseId: r.PathValue("course_id"), Filename: name, Chunk: chunk})
		}, err
	})
}

// downloadSubmissions sends what was handed in at an item as an archive. What breaks off
// in the middle ends the connection, so that nobody takes a part for the whole.
func (e *Edge) downloadSubmissions(w http.ResponseWriter, r *http.Request) {
	req := &assessmentpb.DownloadSubmissionsRequest{CourseId: r.PathValue("course_id"), ItemId: r.PathValue("item_id")}
	if err := readArchiveQuery(r.URL.RawQuery, req); err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	stream, err := e.submissions.DownloadSubmissions(r.Context(), req)
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	first, err := stream.Recv()
	if err != nil {
		writeProblem(w, r, e.Log, fault.FromStatus(err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": first.GetFilename()}))
	h.Set("Cache-Control", "no-store")
	if first.GetNextCursor() != "" {
		h.Set("Stoa-Next-Cursor", first.GetNextCursor())
	}
	control := http.NewResponseController(w)
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			e.Log.WarnContext(r.Context(), "archive broken off", "path", r.URL.Path, "error", err.Error())
			panic(http.ErrAbortHandler)
		}
		// Servers of tests have no deadlines to move; all others do.
		_ = control.SetWriteDeadline(time.Now().Add(stall))
		if _, err := w.Write(res.GetChunk()); err != nil {
			return // the receiver is gone
		}
	}
}

func readArchiveQuery(raw string, req *assessmentpb.DownloadSubmissionsRequest) error {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return fault.InvalidField("query", "field.type", "Send a query as application/x-www-form-urlencoded.")
	}
	for name, values := range query {
		switch {
		case name != "cursor" && name != "page_size":
			return fault.InvalidField(name, "field.unknown", "The parameters are cursor and page_size.")
		case len(values) > 1:
			return fault.InvalidField(name, "field.repeated", "Send it once.")
		case name == "cursor":
			req.Cursor = values[0]
		default:
			n, err := strconv.ParseInt(values[0], 10, 32)
			if err != nil {
				return fault.InvalidField(name, "field.type", "Send a number.")
			}
			req.PageSize = int32(n)
		}
	}
	return nil
}

// uploadFeedbackArchive takes the body of a request as an archive of feedback.
func (e *Edge) uploadFeedbackArchive(w http.ResponseWriter, r *http.Request) {
	got, err := e.takenFeedback(w, r)
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	e.writeMessage(w, r, http.StatusOK, got)
}

func (e *Edge) takenFeedback(w http.ResponseWriter, r *http.Request) (*assessmentpb.FeedbackArchive, error) {
	if err := checkHeaders(r); err != nil {
		return nil, err
	}
	req := &assessmentpb.UploadFeedbackArchiveRequest{CourseId: r.PathValue("course_id"), ItemId: r.PathValue("item_id")}
	for name, values := range r.URL.Query() {
		if name != "dry_run" {
			return nil, fault.InvalidField(name, "field.unknown", "The parameter is dry_run.")
		}
		var err error
		if req.DryRun, err = strconv.ParseBool(values[0]); err != nil || len(values) > 1 {
			return nil, fault.InvalidField(name, "field.type", "Send true or false, once.")
		}
	}
	tooLarge := fault.New(fault.TooLarge, "feedback_archive.too_large", "An archive of feedback has at most %d bytes.", e.MaxUpload)
	if r.ContentLength > e.MaxUpload {
		return nil, tooLarge
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		ctx = rpc.WithIdempotencyKey(ctx, key)
	}
	stream, err := e.submissions.UploadFeedbackArchive(ctx)
	if err != nil {
		return nil, err
	}
	if err := sendBody(w, r, e.MaxUpload, tooLarge, func(chunk []byte) bool {
		req.Chunk = chunk
		taken := stream.Send(req) == nil
		req = &assessmentpb.UploadFeedbackArchiveRequest{}
		return taken
	}); err != nil {
		return nil, err
	}
	got, err := stream.CloseAndRecv()
	return got, fault.FromStatus(err)
}
