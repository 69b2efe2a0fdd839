package bus_test

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/pg"
)

// BenchmarkRelay sends events through an outbox, the relay and the broker, which
// has them durably in the queue of one service that is not there.
func BenchmarkRelay(b *testing.B) {
	const batch = 5000
	for _, tr := range transports {
		if !tr.keeps {
			continue
		}
		b.Run(tr.name, func(b *testing.B) {
			l := newLab(b, tr)
			sender, one := l.member(l.sender), l.member(l.one, l.on(apply))
			if err := l.broker.Declare(b.Context(), bus.Topology(sender, one)); err != nil {
				b.Fatal(err)
			}
			l.start(l.broker, sender)
			events := make([]proto.Message, batch)
			for i := range events {
				events[i] = wrapperspb.String(fmt.Sprintf("%s%0200d", l.mark, i))
			}
			for b.Loop() {
				if err := l.sender.InTx(b.Context(), func(tx *pg.Tx) error { return bus.Publish(b.Context(), tx, events...) }); err != nil {
					b.Fatal(err)
				}
				l.wantIdle(sender)
			}
			b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkDelivery sends events all the way into the receiver's database.
func BenchmarkDelivery(b *testing.B) {
	const batch = 1000
	for _, tr := range transports {
		b.Run(tr.name, func(b *testing.B) {
			l := newLab(b, tr)
			sender, one := l.member(l.sender), l.member(l.one, l.on(apply))
			l.start(l.broker, sender, one)
			values := make([]string, batch)
			for i := range values {
				values[i] = fmt.Sprint(i)
			}
			total := 0
			for b.Loop() {
				l.publish(l.sender, values...)
				total += batch
				l.eventually("all are handled", func() bool { return l.count(l.one, `SELECT count(*) FROM applied`) == total })
			}
			b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
