package edge

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// exportStatistics sends the statistics of a quiz as a file. What breaks off in the middle
// ends the connection, so that nobody takes a part for the whole.
func (e *Edge) exportStatistics(w http.ResponseWriter, r *http.Request) {
	req := &assessmentpb.ExportQuizStatisticsRequest{CourseId: r.PathValue("course_id"), ItemId: r.PathValue("item_id")}
	for name, values := range r.URL.Query() {
		switch {
		case len(values) > 1:
			writeProblem(w, r, e.Log, fault.InvalidField(name, "field.repeated", "Send it once."))
			return
		case name == "quiz_id":
			req.QuizId = values[0]
		case name == "attempts":
			req.Attempts = values[0]
		default:
			writeProblem(w, r, e.Log, fault.InvalidField(name, "field.unknown", "The parameters are quiz_id and attempts."))
			return
		}
	}
	stream, err := e.statistics.ExportQuizStatistics(r.Context(), req)
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	msg, err := stream.Recv()
	if err != nil {
		writeProblem(w, r, e.Log, fault.FromStatus(err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", msg.GetContentType())
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": msg.GetFilename()}))
	h.Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	for ; err == nil; msg, err = stream.Recv() {
		// Servers of tests have no deadlines to move; all others do.
		_ = control.SetWriteDeadline(time.Now().Add(stall))
		if _, err := w.Write(msg.GetChunk()); err != nil {
			return // the receiver is gone
		}
	}
	if !errors.Is(err, io.EOF) {
		e.Log.WarnContext(r.Context(), "export broken off", "path", r.URL.Path, "error", err.Error())
		panic(http.ErrAbortHandler)
	}
}
