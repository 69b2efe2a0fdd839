package edge

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/grades/gradespb"
)

// maxGradeImport bounds a file of grades in bytes, as grades does.
const maxGradeImport = 32 << 20

// sheetType is the type of a workbook.
const sheetType = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

// exportGrades sends a gradebook as a file.
func (e *Edge) exportGrades(w http.ResponseWriter, r *http.Request) {
	req := &gradespb.ExportGradesRequest{CourseId: r.PathValue("course_id")}
	for name, values := range r.URL.Query() {
		switch name {
		case "format":
			req.Format = values[0]
		case "state":
			req.State = values[0]
		case "item_ids":
			req.ItemIds = values
			continue
		case "section_ids":
			req.SectionIds = values
			continue
		default:
			writeProblem(w, r, e.Log, fault.InvalidField(name, "field.unknown", "The parameters are format, item_ids, section_ids and state."))
			return
		}
		if len(values) > 1 {
			writeProblem(w, r, e.Log, fault.InvalidField(name, "field.repeated", "Send it once."))
			return
		}
	}
	stream, err := e.gradeFiles.ExportGrades(r.Context(), req)
	e.sendGrades(w, r, stream, err)
}

// exportMyGrades sends one's own grades as a file.
func (e *Edge) exportMyGrades(w http.ResponseWriter, r *http.Request) {
	for name := range r.URL.Query() {
		writeProblem(w, r, e.Log, fault.InvalidField(name, "field.unknown", "There are no parameters."))
		return
	}
	stream, err := e.gradeFiles.ExportMyGrades(r.Context(), &gradespb.ExportMyGradesRequest{CourseId: r.PathValue("course_id")})
	e.sendGrades(w, r, stream, err)
}

// sendGrades sends a file of grades.
func (e *Edge) sendGrades(w http.ResponseWriter, r *http.Request, stream grpc.ServerStreamingClient[gradespb.ExportGradesResponse], err error) {
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	e.sendFile(w, r, func() (filePart, error) {
		msg, err := stream.Recv()
		return filePart{msg.GetContentType(), msg.GetFilename(), msg.GetChunk()}, err
	})
}

// filePart is a part of a file that is sent; the first one says what the file is.
type filePart struct {
	contentType, filename string
	chunk                 []byte
}

// sendFile sends a file part by part. What breaks off in the middle ends the connection,
// so that nobody takes a part for the whole.
func (e *Edge) sendFile(w http.ResponseWriter, r *http.Request, next func() (filePart, error)) {
	part, err := next()
	if err != nil {
		writeProblem(w, r, e.Log, fault.FromStatus(err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", part.contentType)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": part.filename}))
	h.Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	for ; err == nil; part, err = next() {
		// Servers of tests have no deadlines to move; all others do.
		_ = control.SetWriteDeadline(time.Now().Add(stall))
		if _, err := w.Write(part.chunk); err != nil {
			return // the receiver is gone
		}
	}
	if !errors.Is(err, io.EOF) {
		e.Log.WarnContext(r.Context(), "export broken off", "path", r.URL.Path, "error", err.Error())
		panic(http.ErrAbortHandler)
	}
}

// importGrades takes the body of a request as a file of grades.
func (e *Edge) importGrades(w http.ResponseWriter, r *http.Request) {
	format := map[string]string{"text/csv": "csv", sheetType: "xlsx"}
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || format[t] == "" {
		writeStatus(w, r, http.StatusUnsupportedMediaType, fault.New(fault.Invalid, "request.content_type", "Send the file as text/csv or %s.", sheetType))
		return
	}
	got, err := e.importedGrades(w, r, format[t])
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	e.writeCreated(w, r, got)
}

func (e *Edge) importedGrades(w http.ResponseWriter, r *http.Request, format string) (*gradespb.GradeImport, error) {
	if err := checkHeaders(r); err != nil {
		return nil, err
	}
	for name := range r.URL.Query() {
		return nil, fault.InvalidField(name, "field.unknown", "There are no parameters.")
	}
	tooLarge := fault.New(fault.TooLarge, "import.too_large", "A file has at most %d MiB.", maxGradeImport>>20)
	if r.ContentLength > maxGradeImport {
		return nil, tooLarge
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		ctx = rpc.WithIdempotencyKey(ctx, key)
	}
	stream, err := e.gradeFiles.UploadGradeImport(ctx)
	if err != nil {
		return nil, err
	}
	msg := &gradespb.UploadGradeImportRequest{CourseId: r.PathValue("course_id"), Format: format}
	err = sendBody(w, r, maxGradeImport, tooLarge, func(chunk []byte) bool {
		msg.Chunk = chunk
		taken := stream.Send(msg) == nil
		msg = &gradespb.UploadGradeImportRequest{}
		return taken
	})
	if err != nil {
		return nil, err
	}
	got, err := stream.CloseAndRecv()
	return got, fault.FromStatus(err)
}
