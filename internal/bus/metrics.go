package bus

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/stoa-lms/stoa/internal/telemetry"
)

// The metrics, each by member. The gauges tell what is in the database, so
// that every process of a service tells the same.
var (
	relayed = counter("stoa_bus_relayed_total", "Events that the broker took from the outbox.")
	handled = counter("stoa_bus_handled_total", "Events that were handled.")
	failed  = counter("stoa_bus_failed_total", "Attempts to handle an event that failed.")
	parked  = gauge("stoa_bus_parked", "Events that failed too often and wait for somebody to replay or discard them.")
	waiting = gauge("stoa_bus_outbox_oldest_seconds", "Age of the oldest event in the outbox, 0 when it is empty.")

	delivery = promauto.With(telemetry.Registry).NewHistogramVec(prometheus.HistogramOpts{
		Name:    "stoa_bus_delivery_seconds",
		Help:    "Time from an event to the end of its handling.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60, 600},
	}, []string{"member"})
)

func counter(name, help string) *prometheus.CounterVec {
	return promauto.With(telemetry.Registry).NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"member"})
}

func gauge(name, help string) *prometheus.GaugeVec {
	return promauto.With(telemetry.Registry).NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"member"})
}
