package edge

import (
	"context"
	"mime"
	"net/http"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// maxImport bounds a file of people in bytes, as access does.
const maxImport = 256 << 20

// importPeople takes the body of a request as a file of people.
func (e *Edge) importPeople(w http.ResponseWriter, r *http.Request) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "text/csv" {
		writeStatus(w, r, http.StatusUnsupportedMediaType, fault.New(fault.Invalid, "request.content_type", "Send the file as text/csv."))
		return
	}
	got, err := e.imported(w, r)
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	e.writeCreated(w, r, got)
}

func (e *Edge) imported(w http.ResponseWriter, r *http.Request) (*accesspb.Import, error) {
	if err := checkHeaders(r); err != nil {
		return nil, err
	}
	msg, err := importRequest(r)
	if err != nil {
		return nil, err
	}
	tooLarge := fault.New(fault.TooLarge, "import.too_large", "A file has at most %d MiB.", maxImport>>20)
	if r.ContentLength > maxImport {
		return nil, tooLarge
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		ctx = rpc.WithIdempotencyKey(ctx, key)
	}
	stream, err := e.imports.UploadImport(ctx)
	if err != nil {
		return nil, err
	}
	err = sendBody(w, r, maxImport, tooLarge, func(chunk []byte) bool {
		msg.Chunk = chunk
		taken := stream.Send(msg) == nil
		msg = &accesspb.UploadImportRequest{}
		return taken
	})
	if err != nil {
		return nil, err
	}
	got, err := stream.CloseAndRecv()
	return got, fault.FromStatus(err)
}

// importRequest is the first message of an upload, without a chunk.
func importRequest(r *http.Request) (*accesspb.UploadImportRequest, error) {
	msg := &accesspb.UploadImportRequest{CourseId: r.PathValue("course_id")}
	for name, values := range r.URL.Query() {
		if len(values) > 1 {
			return nil, fault.InvalidField(name, "field.repeated", "Send it once.")
		}
		var err error
		switch name {
		case "dry_run":
			msg.DryRun, err = strconv.ParseBool(values[0])
		case "invite":
			msg.Invite, err = strconv.ParseBool(values[0])
		case "locale":
			msg.Locale = values[0]
		default:
			return nil, fault.InvalidField(name, "field.unknown", "The parameters are dry_run, invite and locale.")
		}
		if err != nil {
			return nil, fault.InvalidField(name, "field.type", "Send true or false.")
		}
	}
	return msg, nil
}

// importReport sends what became of the rows of an import, a line of JSON for
// each. After a broken connection the receiver goes on behind the last line it has.
func (e *Edge) importReport(w http.ResponseWriter, r *http.Request) {
	req, err := reportRequest(r)
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	stream, err := e.imports.ExportImportReport(r.Context(), req)
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	e.writeLines(w, r, func() ([]proto.Message, error) {
		res, err := stream.Recv()
		return messages(res.GetRows()), err
	})
}

func reportRequest(r *http.Request) (*accesspb.ExportImportReportRequest, error) {
	req := &accesspb.ExportImportReportRequest{CourseId: r.PathValue("course_id"), ImportId: r.PathValue("import_id")}
	for name, values := range r.URL.Query() {
		if len(values) > 1 {
			return nil, fault.InvalidField(name, "field.repeated", "Send it once.")
		}
		switch name {
		case "after":
			after, err := strconv.ParseInt(values[0], 10, 32)
			if err != nil {
				return nil, fault.InvalidField(name, "field.type", "Send the number of the last line that you have.")
			}
			req.After = int32(after)
		case "outcome":
			req.Outcome = values[0]
		default:
			return nil, fault.InvalidField(name, "field.unknown", "The parameters are after and outcome.")
		}
	}
	return req, nil
}
