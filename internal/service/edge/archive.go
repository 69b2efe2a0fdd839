package edge

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
)

// exportCourse sends a course as an archive. What breaks off in the middle ends
// the connection, so that nobody takes a part for the whole.
func (e *Edge) exportCourse(w http.ResponseWriter, r *http.Request) {
	req := &coursespb.ExportCourseRequest{CourseId: r.PathValue("course_id")}
	for name, values := range r.URL.Query() {
		version, err := strconv.ParseInt(values[0], 10, 32)
		switch {
		case name != "version":
			writeProblem(w, r, e.Log, fault.InvalidField(name, "field.unknown", "The parameter is version."))
			return
		case len(values) > 1:
			writeProblem(w, r, e.Log, fault.InvalidField(name, "field.repeated", "Send it once."))
			return
		case err != nil:
			writeProblem(w, r, e.Log, fault.InvalidField(name, "field.type", "Send the number of a version."))
			return
		}
		req.Version = int32(version)
	}
	stream, err := e.archives.ExportCourse(r.Context(), req)
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
	control := http.NewResponseController(w)
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			e.Log.WarnContext(r.Context(), "export broken off", "path", r.URL.Path, "error", err.Error())
			panic(http.ErrAbortHandler)
		}
		// Servers of tests have no deadlines to move; all others do.
		_ = control.SetWriteDeadline(time.Now().Add(stall))
		if _, err := w.Write(res.GetChunk()); err != nil {
			return // the receiver is gone
		}
	}
}

// importStream takes an archive piece by piece.
type importStream interface {
	CloseAndRecv() (*coursespb.CourseImport, error)
}

// importCourse takes the body of a request as an archive that becomes a course.
func (e *Edge) importCourse(w http.ResponseWriter, r *http.Request) {
	e.takeArchive(w, r, func(ctx context.Context, dryRun bool) (importStream, func([]byte) error, error) {
		stream, err := e.archives.ImportCourse(ctx)
		req := &coursespb.ImportCourseRequest{DryRun: dryRun}
		return stream, func(chunk []byte) error {
			req.Chunk = chunk
			err := stream.Send(req)
			req = &coursespb.ImportCourseRequest{}
			return err
		}, err
	})
}

// importModules takes the body of a request as an archive whose modules are put
// into a course.
func (e *Edge) importModules(w http.ResponseWriter, r *http.Request) {
	e.takeArchive(w, r, func(ctx context.Context, dryRun bool) (importStream, func([]byte) error, error) {
		stream, err := e.archives.ImportModules(ctx)
		req := &coursespb.ImportModulesRequest{CourseId: r.PathValue("course_id"), DryRun: dryRun}
		return stream, func(chunk []byte) error {
			req.Chunk = chunk
			err := stream.Send(req)
			req = &coursespb.ImportModulesRequest{}
			return err
		}, err
	})
}

func (e *Edge) takeArchive(w http.ResponseWriter, r *http.Request, open func(ctx context.Context, dryRun bool) (importStream, func([]byte) error, error)) {
	got, err := e.takenArchive(w, r, open)
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	e.writeCreated(w, r, got)
}

func (e *Edge) takenArchive(w http.ResponseWriter, r *http.Request, open func(ctx context.Context, dryRun bool) (importStream, func([]byte) error, error)) (*coursespb.CourseImport, error) {
	if err := checkHeaders(r); err != nil {
		return nil, err
	}
	dryRun := false
	for name, values := range r.URL.Query() {
		if name != "dry_run" {
			return nil, fault.InvalidField(name, "field.unknown", "The parameter is dry_run.")
		}
		var err error
		if dryRun, err = strconv.ParseBool(values[0]); err != nil || len(values) > 1 {
			return nil, fault.InvalidField(name, "field.type", "Send true or false, once.")
		}
	}
	tooLarge := fault.New(fault.TooLarge, "course_import.too_large", "An archive has at most %d bytes.", e.MaxArchive)
	if r.ContentLength > e.MaxArchive {
		return nil, tooLarge
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		ctx = rpc.WithIdempotencyKey(ctx, key)
	}
	stream, send, err := open(ctx, dryRun)
	if err != nil {
		return nil, err
	}
	if err := sendBody(w, r, e.MaxArchive, tooLarge, func(chunk []byte) bool { return send(chunk) == nil }); err != nil {
		return nil, err
	}
	got, err := stream.CloseAndRecv()
	return got, fault.FromStatus(err)
}
