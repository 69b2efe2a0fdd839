package edge

import (
	"net/http"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// statementTypes are the formats of statements.
var statementTypes = map[string]string{"": "text/csv; charset=utf-8", "csv": "text/csv; charset=utf-8", "pdf": "application/pdf"}

// sendStatement sends a statement that open begins, asked for by the parameters that to
// takes by their names.
func sendStatement[T interface{ GetChunk() []byte }](e *Edge, w http.ResponseWriter, r *http.Request, to map[string]*string, hint string, open func() (func() (T, error), error)) {
	for name, values := range r.URL.Query() {
		switch field := to[name]; {
		case len(values) > 1:
			writeProblem(w, r, e.Log, fault.InvalidField(name, "field.repeated", "Send it once."))
			return
		case field == nil:
			writeProblem(w, r, e.Log, fault.InvalidField(name, "field.unknown", hint))
			return
		default:
			*field = values[0]
		}
	}
	receive, err := open()
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	format := *to["format"]
	name := "statement.csv"
	if format == "pdf" {
		name = "statement.pdf"
	}
	e.sendFile(w, r, func() (filePart, error) {
		msg, err := receive()
		return filePart{statementTypes[format], name, msg.GetChunk()}, err
	})
}

const (
	hintFormat = "The parameter is format."
	hintPeriod = "The parameters are since, until and format."
)

// exportMyStatement sends the caller's statement of a time.
func (e *Edge) exportMyStatement(w http.ResponseWriter, r *http.Request) {
	req := &commercepb.ExportMyStatementRequest{}
	sendStatement(e, w, r, map[string]*string{"since": &req.Since, "until": &req.Until, "format": &req.Format}, hintPeriod,
		func() (func() (*commercepb.ExportMyStatementResponse, error), error) {
			return receive(e.statements.ExportMyStatement(r.Context(), req))
		})
}

// exportMyPayoutStatement sends the statement of one of the caller's payouts.
func (e *Edge) exportMyPayoutStatement(w http.ResponseWriter, r *http.Request) {
	req := &commercepb.ExportMyPayoutStatementRequest{PayoutId: r.PathValue("payout_id")}
	sendStatement(e, w, r, map[string]*string{"format": &req.Format}, hintFormat,
		func() (func() (*commercepb.ExportMyPayoutStatementResponse, error), error) {
			return receive(e.statements.ExportMyPayoutStatement(r.Context(), req))
		})
}

// exportPayoutStatement sends the statement of a payout.
func (e *Edge) exportPayoutStatement(w http.ResponseWriter, r *http.Request) {
	req := &commercepb.ExportPayoutStatementRequest{PayoutId: r.PathValue("payout_id")}
	sendStatement(e, w, r, map[string]*string{"format": &req.Format}, hintFormat,
		func() (func() (*commercepb.ExportPayoutStatementResponse, error), error) {
			return receive(e.statements.ExportPayoutStatement(r.Context(), req))
		})
}

// exportTeacherStatement sends a teacher's statement of a time.
func (e *Edge) exportTeacherStatement(w http.ResponseWriter, r *http.Request) {
	req := &commercepb.ExportTeacherStatementRequest{TeacherId: r.PathValue("teacher_id")}
	sendStatement(e, w, r, map[string]*string{"since": &req.Since, "until": &req.Until, "format": &req.Format}, hintPeriod,
		func() (func() (*commercepb.ExportTeacherStatementResponse, error), error) {
			return receive(e.statements.ExportTeacherStatement(r.Context(), req))
		})
}
