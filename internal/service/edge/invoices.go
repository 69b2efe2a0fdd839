package edge

import (
	"bytes"
	"context"
	"mime"
	"net/http"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// downloadInvoice sends an invoice as PDF.
func (e *Edge) downloadInvoice(w http.ResponseWriter, r *http.Request) {
	for name := range r.URL.Query() {
		writeProblem(w, r, e.Log, fault.InvalidField(name, "field.unknown", "There are no parameters."))
		return
	}
	if err := checkHeaders(r); err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), e.Timeout)
	defer cancel()
	file, err := e.invoices.DownloadInvoice(ctx, &commercepb.DownloadInvoiceRequest{InvoiceId: r.PathValue("invoice_id")})
	if err != nil {
		writeProblem(w, r, e.Log, fault.FromStatus(err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/pdf")
	h.Set("ETag", `"`+file.GetEtag()+`"`)
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cache-Control", kept)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": file.GetFilename()}))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file.GetContent()))
}

// exportTaxReport sends a tax report as CSV.
func (e *Edge) exportTaxReport(w http.ResponseWriter, r *http.Request) {
	req := &commercepb.ExportTaxReportRequest{}
	for name, values := range r.URL.Query() {
		switch {
		case len(values) > 1:
			writeProblem(w, r, e.Log, fault.InvalidField(name, "field.repeated", "Send it once."))
			return
		case name == "since":
			req.Since = values[0]
		case name == "until":
			req.Until = values[0]
		default:
			writeProblem(w, r, e.Log, fault.InvalidField(name, "field.unknown", "The parameters are since and until."))
			return
		}
	}
	stream, err := e.invoices.ExportTaxReport(r.Context(), req)
	if err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	e.sendFile(w, r, func() (filePart, error) {
		msg, err := stream.Recv()
		return filePart{"text/csv; charset=utf-8", "tax-report.csv", msg.GetChunk()}, err
	})
}
