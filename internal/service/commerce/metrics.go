package commerce

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/stoa-lms/stoa/internal/telemetry"
)

// The metrics of the payment provider. The gauge tells what is in the database, so that
// every process tells the same.
var (
	eventsTaken   = counter("stoa_payment_events_taken_total", "Events that the payment provider sent, by what became of that: taken, duplicate or refused.")
	eventsEnded   = counter("stoa_payment_events_total", "Events of the payment provider, by outcome: done, ignored, failed (and tried again) or parked.")
	providerCalls = counter("stoa_payment_calls_total", "Requests to the payment provider, by outcome: done, refused or failed.")
	eventsParked  = promauto.With(telemetry.Registry).NewGauge(prometheus.GaugeOpts{
		Name: "stoa_payment_events_parked",
		Help: "Events of the payment provider that failed too often and wait for somebody to replay them.",
	})
	eventSeconds = promauto.With(telemetry.Registry).NewHistogram(prometheus.HistogramOpts{
		Name:    "stoa_payment_event_seconds",
		Help:    "Time from an event of the payment provider to the end of its handling.",
		Buckets: []float64{.025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600, 3600},
	})
)

func counter(name, help string) *prometheus.CounterVec {
	return promauto.With(telemetry.Registry).NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"outcome"})
}
