package edge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// Headers by which a lock-down browser shows that it made a request. docs/exams.md says
// how they are made.
const (
	headerConfigKey = "X-Safeexambrowser-Configkeyhash"
	headerRequest   = "X-Safeexambrowser-Requesthash"
	headerLockdown  = "Stoa-Lockdown"
	headerPage      = "Stoa-Page"
)

// maxProof bounds each of them.
const maxProof = 2000

// prove has calls carry what a request brings to show which browser made it, and what of
// the request that is about. Assessment, which has the keys, judges it.
func (e *Edge) prove(ctx context.Context, w http.ResponseWriter, r *http.Request) (context.Context, error) {
	p := rpc.Proof{ConfigKeyHash: r.Header.Get(headerConfigKey), RequestHash: r.Header.Get(headerRequest), Signature: r.Header.Get(headerLockdown)}
	if p.ConfigKeyHash == "" && p.RequestHash == "" && p.Signature == "" {
		return ctx, nil
	}
	base := strings.TrimSuffix(e.PublicURL, "/")
	page, _, _ := strings.Cut(r.Header.Get(headerPage), "#")
	for _, v := range []string{p.ConfigKeyHash, p.RequestHash, p.Signature, page, r.RequestURI} {
		if len(v) > maxProof {
			return ctx, nil // it proves nothing
		}
	}
	p.Method, p.URL, p.At = r.Method, base+r.URL.RequestURI(), time.Now().UTC()
	if strings.HasPrefix(page, base+"/") {
		p.Page = page
	}
	if p.Signature != "" && r.ContentLength != 0 && r.Body != nil {
		// What is signed is the body as it came.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(e.Timeout))
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			return ctx, fault.New(fault.TooLarge, "request.too_large", "A request has at most %d bytes.", maxBody)
		}
		sum := sha256.Sum256(text)
		p.Body = hex.EncodeToString(sum[:])
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	}
	return rpc.WithProof(ctx, p), nil
}

// maxProctorReport bounds a report of a proctoring service.
const maxProctorReport = 256 << 10

// takeProctorReport takes the report of a proctoring service, whose signature is of the
// bytes as they come.
func (e *Edge) takeProctorReport(w http.ResponseWriter, r *http.Request) {
	if err := e.proctorReport(w, r); err != nil {
		writeProblem(w, r, e.Log, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (e *Edge) proctorReport(w http.ResponseWriter, r *http.Request) error {
	for name := range r.URL.Query() {
		return fault.InvalidField(name, "field.unknown", "There are no parameters.")
	}
	at, err := strconv.ParseInt(r.Header.Get("Stoa-Timestamp"), 10, 64)
	if err != nil {
		return fault.InvalidField("Stoa-Timestamp", "header.invalid", "Send the time in seconds since 1970.")
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(e.Timeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxProctorReport))
	if err != nil {
		return fault.New(fault.TooLarge, "request.too_large", "A report has at most %d bytes.", maxProctorReport)
	}
	ctx, cancel := context.WithTimeout(r.Context(), e.Timeout)
	defer cancel()
	_, err = e.exams.TakeProctorReport(ctx, &assessmentpb.TakeProctorReportRequest{
		AttemptId: r.PathValue("attempt_id"), Timestamp: at, Signature: r.Header.Get("Stoa-Signature"), Body: body,
	})
	return fault.FromStatus(err)
}
