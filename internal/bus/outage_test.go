package bus_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/bus/amqp"
	"github.com/stoa-lms/stoa/internal/testserver"
)

// A RabbitMQ that crashes while events are under way: none is lost, none is
// handled twice or out of order, and all go on by themselves.
func TestRabbitMQCrashes(t *testing.T) {
	t.Parallel()
	server, err := testserver.StartRabbitMQ(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	own := transport{name: "own", open: func(_ testing.TB, log *slog.Logger) func() bus.Broker {
		return func() bus.Broker { return amqp.Open(server.URL, log) }
	}}
	l := newLab(t, own)
	sender, one := l.member(l.sender), l.member(l.one, l.on(apply))
	l.start(l.broker, sender, one)
	var want []string
	publish := func(n int) {
		for range n {
			want = append(want, fmt.Sprint(len(want)))
			l.publish(l.sender, want[len(want)-1])
		}
	}
	// Past the time in which a crash harms a new queue; see package amqp.
	for begun := time.Now(); time.Since(begun) < 3*time.Second; {
		publish(20)
		l.wantApplied(l.one, want...)
	}
	publish(200) // some of them are under way when it ends
	server.Kill()
	publish(50)
	l.eventually("the outage is told", func() bool { return strings.Contains(l.log.String(), "the broker does not work") })
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(50)
	l.wantApplied(l.one, want...)
	l.wantIdle(sender, one)
	if n := strings.Count(l.log.String(), "level=WARN"); n > 2 { // the relay's and the receiver's
		t.Errorf("%d warnings of one outage", n)
	}
}
