package edge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// calendarPath is where calendars are, each at a secret name.
const calendarPath = "/v1/calendar/"

// exportNotes sends all notes of the caller as one Markdown file. What fails after
// the first piece can only break the connection off.
func (e *Edge) exportNotes(w http.ResponseWriter, r *http.Request) {
	for name := range r.URL.Query() {
		writeProblem(w, r, e.Log, fault.InvalidField(name, "field.unknown", "There are no parameters."))
		return
	}
	stream, err := e.notes.ExportNotes(r.Context(), &learningpb.ExportNotesRequest{})
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	msg, err := stream.Recv()
	if err != nil && !errors.Is(err, io.EOF) {
		writeProblem(w, r, e.Log, fault.FromStatus(err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/markdown; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="notes.md"`)
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

// readCalendar sends a calendar to whoever has its secret address.
func (e *Edge) readCalendar(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutSuffix(r.PathValue("file"), ".ics")
	if !ok || token == "" || len(token) > 100 {
		e.notFound(w, r)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), e.Timeout)
	defer cancel()
	var res *learningpb.ReadCalendarFeedResponse
	stream, err := e.calendar.ReadCalendarFeed(ctx, &learningpb.ReadCalendarFeedRequest{Token: token})
	if err == nil {
		res, err = stream.Recv()
	}
	if err != nil {
		writeProblem(w, r, e.Log, fault.FromStatus(err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/calendar; charset=utf-8")
	h.Set("Content-Disposition", `inline; filename="stoa.ics"`)
	h.Set("ETag", `"`+res.GetEtag()+`"`)
	h.Set("Cache-Control", "private, max-age=300")
	// The address is a secret.
	h.Set("Referrer-Policy", "no-referrer")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(res.GetContent()))
}
