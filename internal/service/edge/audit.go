package edge

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/audit/auditpb"
)

// exportAudit sends the audit log, a line of JSON for each entry. What fails after
// the first line can only break the connection off: the receiver goes on behind
// the last sequence it has.
func (e *Edge) exportAudit(w http.ResponseWriter, r *http.Request) {
	req, err := exportRequest(r)
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	stream, err := e.audit.ExportEntries(r.Context(), req)
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	e.writeLines(w, r, func() ([]proto.Message, error) {
		res, err := stream.Recv()
		return messages(res.GetEntries()), err
	})
}

func messages[M proto.Message](list []M) []proto.Message {
	out := make([]proto.Message, len(list))
	for i, m := range list {
		out[i] = m
	}
	return out
}

// writeLines answers with a line of JSON for each message, until next has no more.
func (e *Edge) writeLines(w http.ResponseWriter, r *http.Request, next func() ([]proto.Message, error)) {
	control := http.NewResponseController(w)
	for first := true; ; first = false {
		list, err := next()
		switch {
		case err != nil && !errors.Is(err, io.EOF) && first:
			writeProblem(w, r, e.Log, fault.FromStatus(err))
			return
		case err != nil && !errors.Is(err, io.EOF):
			e.Log.WarnContext(r.Context(), "export broken off", "path", r.URL.Path, "error", err.Error())
			panic(http.ErrAbortHandler)
		}
		if first {
			w.Header().Set("Content-Type", "application/x-ndjson")
			w.Header().Set("Cache-Control", "no-store")
		}
		if err != nil {
			return
		}
		// Servers of tests have no deadlines to move; all others do.
		_ = control.SetWriteDeadline(time.Now().Add(stall))
		for _, m := range list {
			line, err := codec{}.Marshal(m)
			if err != nil {
				panic(err)
			}
			if _, err := w.Write(append(line, '\n')); err != nil {
				return // the receiver is gone
			}
		}
		_ = control.Flush()
	}
}

func exportRequest(r *http.Request) (*auditpb.ExportEntriesRequest, error) {
	query := r.URL.Query()
	for name := range query {
		if name != "after" {
			return nil, fault.InvalidField(name, "field.unknown", "The parameter is after.")
		}
	}
	if !query.Has("after") {
		return &auditpb.ExportEntriesRequest{}, nil
	}
	after, err := strconv.ParseInt(query.Get("after"), 10, 64)
	if err != nil || after < 0 || len(query["after"]) > 1 {
		return nil, fault.InvalidField("after", "field.type", "Send the sequence of the last entry that you have.")
	}
	return &auditpb.ExportEntriesRequest{After: after}, nil
}
