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
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// maxQuestionFile bounds a file of questions in bytes.
const maxQuestionFile = 64 << 20

// exportQuestions sends questions as a file. What breaks off in the middle ends the
// connection, so that nobody takes a part for the whole.
func (e *Edge) exportQuestions(w http.ResponseWriter, r *http.Request) {
	req := &assessmentpb.ExportQuestionsRequest{CourseId: r.PathValue("course_id")}
	for name, values := range r.URL.Query() {
		switch {
		case name == "question_ids":
			req.QuestionIds = values
		case len(values) > 1:
			writeProblem(w, r, e.Log, fault.InvalidField(name, "field.repeated", "Send it once."))
			return
		case name == "format":
			req.Format = values[0]
		case name == "category_id":
			req.CategoryId = values[0]
		default:
			writeProblem(w, r, e.Log, fault.InvalidField(name, "field.unknown", "The parameters are format, category_id and question_ids."))
			return
		}
	}
	stream, err := e.exchange.ExportQuestions(r.Context(), req)
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
	h.Set("Content-Type", first.GetContentType())
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

// importQuestions takes the body of a request as a file of questions.
func (e *Edge) importQuestions(w http.ResponseWriter, r *http.Request) {
	got, err := e.takenQuestions(w, r)
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	e.writeCreated(w, r, got)
}

func (e *Edge) takenQuestions(w http.ResponseWriter, r *http.Request) (*assessmentpb.QuestionExchangeReport, error) {
	if err := checkHeaders(r); err != nil {
		return nil, err
	}
	req := &assessmentpb.ImportQuestionsRequest{CourseId: r.PathValue("course_id")}
	for name, values := range r.URL.Query() {
		if len(values) > 1 {
			return nil, fault.InvalidField(name, "field.repeated", "Send it once.")
		}
		switch name {
		case "format":
			req.Format = values[0]
		case "category_id":
			req.CategoryId = values[0]
		case "dry_run":
			var err error
			if req.DryRun, err = strconv.ParseBool(values[0]); err != nil {
				return nil, fault.InvalidField(name, "field.type", "Send true or false.")
			}
		default:
			return nil, fault.InvalidField(name, "field.unknown", "The parameters are format, category_id and dry_run.")
		}
	}
	tooLarge := fault.New(fault.TooLarge, "exchange.too_large", "A file of questions has at most %d bytes.", maxQuestionFile)
	if r.ContentLength > maxQuestionFile {
		return nil, tooLarge
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		ctx = rpc.WithIdempotencyKey(ctx, key)
	}
	stream, err := e.exchange.ImportQuestions(ctx)
	if err != nil {
		return nil, err
	}
	if err := sendBody(w, r, maxQuestionFile, tooLarge, func(chunk []byte) bool {
		req.Chunk = chunk
		err := stream.Send(req)
		req = &assessmentpb.ImportQuestionsRequest{}
		return err == nil
	}); err != nil {
		return nil, err
	}
	got, err := stream.CloseAndRecv()
	return got, fault.FromStatus(err)
}
