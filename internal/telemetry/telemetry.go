// Package telemetry gives a process its log, its metrics and its traces, with
// one request id from the edge to the last worker.
package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

type requestIDKey struct{}

// WithRequestID returns a context that carries the id of the request that
// caused what is done in it.
func WithRequestID(ctx context.Context, rid string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, rid)
}

// RequestID returns the id of the request that caused what is done in ctx, ""
// when nothing did.
func RequestID(ctx context.Context) string {
	rid, _ := ctx.Value(requestIDKey{}).(string)
	return rid
}

// NewLogger returns a logger that adds the request id and the trace id of the
// context to each line. format is "text" or "json".
func NewLogger(w io.Writer, format string, level slog.Level) (*slog.Logger, error) {
	opts := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(handler{slog.NewTextHandler(w, opts)}), nil
	case "json":
		return slog.New(handler{slog.NewJSONHandler(w, opts)}), nil
	default:
		return nil, fmt.Errorf("log format %q: text and json are known", format)
	}
}

type handler struct{ slog.Handler }

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	if rid := RequestID(ctx); rid != "" {
		r.AddAttrs(slog.String("request_id", rid))
	}
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		r.AddAttrs(slog.String("trace_id", sc.TraceID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs)}
}
func (h handler) WithGroup(name string) slog.Handler { return handler{h.Handler.WithGroup(name)} }

var propagator = propagation.TraceContext{}

// Traceparent returns the W3C trace context of ctx for a header, "" outside a
// trace.
func Traceparent(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ""
	}
	c := propagation.MapCarrier{}
	propagator.Inject(ctx, c)
	return c.Get("traceparent")
}

// WithTraceparent returns a context that continues the trace of a header.
func WithTraceparent(ctx context.Context, header string) context.Context {
	return propagator.Extract(ctx, propagation.MapCarrier{"traceparent": header})
}

// exporting is set once somebody is there to take spans.
var exporting atomic.Bool

// Span is one timed step of a trace.
type Span struct{ span trace.Span }

// StartSpan begins a span; without a configured exporter it costs next to
// nothing.
func StartSpan(ctx context.Context, name string) (context.Context, Span) {
	if !exporting.Load() {
		return ctx, Span{}
	}
	ctx, s := otel.Tracer("stoa").Start(ctx, name)
	return ctx, Span{s}
}

// End ends the span, marked failed when err is not nil.
func (s Span) End(err error) {
	if s.span == nil {
		return
	}
	if err != nil {
		s.span.SetStatus(codes.Error, err.Error())
	}
	s.span.End()
}

// Registry holds the process's metrics.
var Registry = newRegistry()

func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

var rpcSeconds = promauto.With(Registry).NewHistogramVec(prometheus.HistogramOpts{
	Name:    "stoa_rpc_seconds",
	Help:    "Time to answer a call, by method and by the code it ended with.",
	Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
}, []string{"method", "code"})

// ObserveRPC counts one answered call.
func ObserveRPC(method, code string, took time.Duration) {
	rpcSeconds.WithLabelValues(method, code).Observe(took.Seconds())
}

var httpSeconds = promauto.With(Registry).NewHistogramVec(prometheus.HistogramOpts{
	Name:    "stoa_http_seconds",
	Help:    "Time to answer a request at the edge, by method and status.",
	Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
}, []string{"method", "status"})

// ObserveHTTP counts one answered request. Methods that are not of HTTP count
// as "other", so that a caller can't grow the metrics.
func ObserveHTTP(method string, status int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		method = "other"
	}
	httpSeconds.WithLabelValues(method, strconv.Itoa(status)).Observe(took.Seconds())
}

// MetricsHandler serves the metrics in Prometheus' format.
func MetricsHandler() http.Handler {
	return promhttp.HandlerFor(Registry, promhttp.HandlerOpts{})
}
