package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestLoggerAddsTheRequest(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, err := NewLogger(&out, "json", slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	ctx := WithTraceparent(WithRequestID(t.Context(), "request-1"), traceparent)
	for name, l := range map[string]*slog.Logger{"plain": log, "with": log.With("service", "courses")} {
		out.Reset()
		l.InfoContext(ctx, "hello", "n", 1)
		var line map[string]any
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line["msg"] != "hello" || line["request_id"] != "request-1" || line["trace_id"] != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("%s: %s", name, out.String())
		}
	}
	out.Reset()
	log.InfoContext(t.Context(), "hello")
	if text := out.String(); strings.Contains(text, "request_id") || strings.Contains(text, "trace_id") {
		t.Errorf("outside of a request: %s", text)
	}
	out.Reset()
	log.DebugContext(ctx, "hello")
	if out.Len() > 0 {
		t.Errorf("below the level: %s", out.String())
	}
	out.Reset()
	text, err := NewLogger(&out, "text", slog.LevelDebug)
	if err != nil {
		t.Fatal(err)
	}
	text.WithGroup("g").DebugContext(ctx, "hello")
	if !strings.Contains(out.String(), "request_id=request-1") {
		t.Errorf("text: %s", out.String())
	}
}

func TestLoggerRefusesOtherFormats(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"", "JSON", "xml", "logfmt"} {
		if l, err := NewLogger(io.Discard, format, slog.LevelInfo); err == nil || l != nil || !strings.Contains(err.Error(), "json") {
			t.Errorf("%q: %v", format, err)
		}
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	if got := RequestID(t.Context()); got != "" {
		t.Errorf("nothing was asked and %q is the request", got)
	}
	if got := RequestID(WithRequestID(WithRequestID(t.Context(), "a"), "b")); got != "b" {
		t.Errorf("%q", got)
	}
}

func TestTraceparent(t *testing.T) {
	t.Parallel()
	if got := Traceparent(WithTraceparent(t.Context(), traceparent)); got != traceparent {
		t.Errorf("%q became %q", traceparent, got)
	}
	// Not sampled stays not sampled.
	unsampled := strings.TrimSuffix(traceparent, "01") + "00"
	if got := Traceparent(WithTraceparent(t.Context(), unsampled)); got != unsampled {
		t.Errorf("%q became %q", unsampled, got)
	}
	if got := Traceparent(t.Context()); got != "" {
		t.Errorf("outside of a trace: %q", got)
	}
	for _, bad := range []string{
		"", "nonsense", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
		traceparent[:len(traceparent)-1], strings.ToUpper(traceparent), "ff" + traceparent[2:], strings.Repeat("0", 10_000), traceparent + "\r\nx: y",
	} {
		if got := Traceparent(WithTraceparent(t.Context(), bad)); got != "" {
			t.Errorf("%q became %q", bad, got)
		}
	}
}

// series returns how many series the edge's metric has with the given labels,
// and how many observations are in them.
func series(t *testing.T, labels map[string]string) (n int, count uint64) {
	t.Helper()
	families, err := Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "stoa_http_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			if matches(m, labels) {
				n++
				count += m.GetHistogram().GetSampleCount()
			}
		}
	}
	return n, count
}

func matches(m *dto.Metric, labels map[string]string) bool {
	have := map[string]string{}
	for _, l := range m.GetLabel() {
		have[l.GetName()] = l.GetValue()
	}
	for name, value := range labels {
		if have[name] != value {
			return false
		}
	}
	return true
}

func TestCallersCanNotGrowTheMetrics(t *testing.T) {
	t.Parallel()
	// The status 299 is nobody else's in this test binary.
	all, other := map[string]string{"status": "299"}, map[string]string{"status": "299", "method": "other"}
	_, allBefore := series(t, all)
	_, otherBefore := series(t, other)
	for i := range 500 {
		ObserveHTTP("X-"+strconv.Itoa(i), 299, time.Millisecond)
		ObserveHTTP("get", 299, time.Millisecond)
	}
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions} {
		ObserveHTTP(method, 299, time.Millisecond)
	}
	if n, count := series(t, all); n != 8 || count-allBefore != 1007 {
		t.Errorf("%d series with %d observations, want 8 with 1007", n, count-allBefore)
	}
	if n, count := series(t, other); n != 1 || count-otherBefore != 1000 {
		t.Errorf("other: %d series with %d observations, want 1 with 1000", n, count-otherBefore)
	}
}

func TestMetricsAreServed(t *testing.T) {
	t.Parallel()
	ObserveRPC("/stoa.test/Call", "ok", 3*time.Millisecond)
	rec := httptest.NewRecorder()
	MetricsHandler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	body := rec.Body.String()
	for _, want := range []string{`stoa_rpc_seconds_count{code="ok",method="/stoa.test/Call"} `, "go_goroutines", "process_cpu_seconds_total"} {
		if rec.Code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%d, and no %s", rec.Code, want)
		}
	}
}

// collector is an OTLP collector that keeps what it is sent.
type collector struct {
	*httptest.Server
	mu    sync.Mutex
	paths []string
	spans map[string]string // name → trace id
	notes map[string]string // name → text of its status
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{spans: map[string]string{}, notes: map[string]string{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var req tracepb.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(body, &req) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.paths = append(c.paths, r.Method+" "+r.URL.Path)
		for _, rs := range req.GetResourceSpans() {
			for _, ss := range rs.GetScopeSpans() {
				for _, s := range ss.GetSpans() {
					c.spans[s.GetName()] = trace.TraceID(s.GetTraceId()).String()
					c.notes[s.GetName()] = s.GetStatus().GetMessage()
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

// The exporter belongs to the process, so this test runs before those that are
// parallel and leaves everything as it was.
func TestSpans(t *testing.T) {
	off := func() {
		exporting.Store(false)
		otel.SetTracerProvider(noop.NewTracerProvider())
	}
	t.Cleanup(off)

	// Off: no spans, no cost.
	ctx := WithTraceparent(t.Context(), traceparent)
	flush, err := ExportTraces(ctx, "", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	flush()
	failed := errors.New("failed")
	if n := testing.AllocsPerRun(100, func() {
		ctx, span := StartSpan(ctx, "off")
		span.End(failed)
		if ctx == nil {
			t.Error("no context")
		}
	}); n != 0 {
		t.Errorf("a span that nobody takes makes %v allocations", n)
	}

	for _, path := range []string{"", "/", "/v1/traces", "/tenant/v1/traces"} {
		c := newCollector(t)
		flush, err := ExportTraces(ctx, c.URL+path, "1.2.3")
		if err != nil {
			t.Fatal(err)
		}
		outer, span := StartSpan(ctx, "outer")
		_, inner := StartSpan(outer, "inner")
		if got := Traceparent(outer); got == traceparent || !strings.HasPrefix(got, traceparent[:35]) {
			t.Errorf("inside of a span the context is %q", got)
		}
		inner.End(failed)
		span.End(nil)
		flush()
		off()
		want := "POST /v1/traces"
		if path == "/tenant/v1/traces" {
			want = "POST " + path
		}
		c.mu.Lock()
		if len(c.paths) != 1 || c.paths[0] != want {
			t.Errorf("%q: the collector got %q, want one %s", path, c.paths, want)
		}
		for _, name := range []string{"outer", "inner"} {
			if c.spans[name] != "0af7651916cd43dd8448eb211c80319c" {
				t.Errorf("%q: span %s is of the trace %q", path, name, c.spans[name])
			}
		}
		if c.notes["inner"] != "failed" || c.notes["outer"] != "" {
			t.Errorf("%q: failures %q", path, c.notes)
		}
		c.mu.Unlock()
	}
}

// A collector that is away costs the spans and no more than that. Not parallel,
// as TestSpans.
func TestCollectorIsAway(t *testing.T) {
	t.Cleanup(func() {
		exporting.Store(false)
		otel.SetTracerProvider(noop.NewTracerProvider())
	})
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	flush, err := ExportTraces(context.WithoutCancel(t.Context()), gone.URL, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	_, span := StartSpan(t.Context(), "lost")
	span.End(nil)
	begun := time.Now()
	flush()
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the end of the process waited %v for a collector that is away", took)
	}
	if _, err := ExportTraces(t.Context(), "http://[::1", "1.2.3"); err == nil {
		t.Error("an address that is none was accepted")
	}
}
