package telemetry

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

// ExportTraces has spans sent to an OTLP collector until the returned function
// is called, which sends what is left. An address without a path is that of the
// collector, which takes traces at /v1/traces; an empty one makes no spans.
func ExportTraces(ctx context.Context, address, version string) (flush func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	provider := trace.NewTracerProvider(
		trace.WithBatcher(exporter),
		trace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "stoa"), attribute.String("service.version", version))),
	)
	otel.SetTracerProvider(provider)
	exporting.Store(true)
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = provider.Shutdown(ctx) // a collector that is away loses its spans
	}, nil
}
