package edge

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/telemetry"
)

// problem is an error as RFC 9457 tells it, with our members: code is stable
// and dotted, fields say what is wrong where, field and hint repeat the first of
// them, current_etag is what a stale one has become, request_id finds the
// request in the log.
type problem struct {
	Type   string         `json:"type"`
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Detail string         `json:"detail"`
	Code   string         `json:"code"`
	Field  string         `json:"field,omitempty"`
	Hint   string         `json:"hint,omitempty"`
	Fields []problemField `json:"fields,omitempty"`
	// CurrentEtag is the version that a conditional write would have to name.
	CurrentEtag string `json:"current_etag,omitempty"`
	RequestID   string `json:"request_id"`
}

type problemField struct {
	Field string `json:"field"`
	Code  string `json:"code"`
	Hint  string `json:"hint"`
}

// writeProblem tells err. What is not a *fault.Error is logged here, and told
// as an internal error.
func writeProblem(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	err = fault.FromStatus(err)
	var e *fault.Error
	switch {
	case errors.As(err, &e):
	case errors.Is(err, context.DeadlineExceeded):
		e = fault.New(fault.Unavailable, "deadline", "The request took too long. Try again.")
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		return // nobody is there to be told
	default:
		log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", pathOf(r), "error", err.Error())
		e = fault.New(fault.Internal, "internal", "Something went wrong on our side.")
	}
	writeStatus(w, r, e.Kind.HTTPStatus(), e)
}

// writeStatus tells e with a status of its own.
func writeStatus(w http.ResponseWriter, r *http.Request, status int, e *fault.Error) {
	p := problem{
		Type: "about:blank", Title: e.Kind.Title(), Status: status, Detail: e.Message, Code: e.Code, CurrentEtag: e.Etag,
		RequestID: telemetry.RequestID(r.Context()),
	}
	for _, f := range e.Fields {
		p.Fields = append(p.Fields, problemField{Field: f.Path, Code: f.Code, Hint: f.Hint})
	}
	if len(p.Fields) > 0 {
		p.Field, p.Hint = p.Fields[0].Field, p.Fields[0].Hint
	}
	text, err := json.Marshal(p)
	if err != nil { // no value of problem fails
		text = []byte(`{"status":500,"code":"internal"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Del("ETag")
	if e.Kind == fault.Unauthenticated {
		h.Set("WWW-Authenticate", `Bearer realm="stoa"`)
	}
	if e.Retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.Retry.Seconds()))))
	}
	w.WriteHeader(status)
	_, _ = w.Write(text) // the caller is gone when this fails
}
