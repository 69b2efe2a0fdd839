package bus_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/telemetry"
)

// TestConformance is what a broker, and the bus over it, has to keep to.
func TestConformance(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		run  func(l *lab)
	}{
		{"every hearing service gets it", everyHearer},
		{"published twice is handled once", publishedTwice},
		{"sender crashes between publish and commit", crashedRelay},
		{"receiver comes later", laterReceiver},
		{"order of one publisher", order},
		{"two processes share the work", twoProcesses},
		{"fails and then succeeds", failsThenSucceeds},
		{"failure leaves nothing behind", leavesNothing},
		{"poison is parked and others go on", poison},
		{"dead gets one more attempt", dead},
		{"handler panics", panics},
		{"handler publishes and hears itself", chain},
		{"unheard events are taken", unheard},
		{"context of the handler", handlerContext},
		{"stops after what is in hand", stops},
		{"database is away", databaseAway},
		{"broker refuses for a while", brokerRefuses},
		{"publish before declare", undeclared},
		{"closed broker", closed},
	}
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			for _, test := range tests {
				t.Run(test.name, func(t *testing.T) {
					t.Parallel()
					test.run(newLab(t, tr))
				})
			}
		})
	}
}

func everyHearer(l *lab) {
	one, two := l.member(l.one, l.on(apply)), l.member(l.two, l.on(apply))
	deaf := l.member(l.sender, bus.Copy(func(ctx context.Context, tx *pg.Tx, _ *wrapperspb.Int64Value) error {
		return apply(ctx, tx, "heard another event")
	}))
	l.start(l.broker, one, two, deaf)
	l.publish(l.sender, "a", "b")
	l.wantApplied(l.one, "a", "b")
	l.wantApplied(l.two, "a", "b")
	l.wantApplied(l.sender)
	l.wantIdle(one, two, deaf)
}

func publishedTwice(l *lab) {
	one := l.member(l.one, l.on(apply))
	l.start(l.broker, one)
	a, b := l.event("a"), l.event("b")
	l.hand(l.broker, a, a)
	l.hand(l.broker, a, b)
	l.wantApplied(l.one, "a", "b")
}

func crashedRelay(l *lab) {
	one := l.member(l.one, l.on(apply))
	var crashes atomic.Int32
	crashing := &interposed{Broker: l.broker, publish: func(ctx context.Context, events []bus.Event) error {
		if err := l.broker.Publish(ctx, events); err != nil {
			return err
		}
		if crashes.Add(1) <= 2 {
			return errTest // as if the process had ended here
		}
		return nil
	}}
	l.start(crashing, l.member(l.sender), one)
	l.publish(l.sender, "a", "b")
	l.wantIdle(bus.Member{DB: l.sender})
	l.publish(l.sender, "c")
	l.wantApplied(l.one, "a", "b", "c")
	if n := crashes.Load(); n < 3 {
		l.Errorf("%d publishes, want the first two to crash", n)
	}
}

func laterReceiver(l *lab) {
	sender, one := l.member(l.sender), l.member(l.one, l.on(apply))
	if err := l.broker.Declare(l.Context(), bus.Topology(sender, one)); err != nil {
		l.Fatal(err)
	}
	stop := l.start(l.broker, sender)
	l.publish(l.sender, "a", "b")
	if l.transport.keeps {
		l.wantIdle(sender)
		stop()
	}
	l.publish(l.sender, "c")
	l.start(l.another(), sender, one)
	l.wantApplied(l.one, "a", "b", "c")
}

func order(l *lab) {
	l.start(l.broker, l.member(l.sender), l.member(l.one, l.on(apply)))
	var want []string
	for i := range 30 {
		var values []string
		for j := range 20 {
			values = append(values, fmt.Sprintf("%d.%d", i, j))
		}
		l.publish(l.sender, values...)
		want = append(want, values...)
	}
	l.wantApplied(l.one, want...)
}

func twoProcesses(l *lab) {
	sender, one := l.member(l.sender), l.member(l.one, l.on(apply))
	stop := l.start(l.broker, sender, one)
	l.start(l.another(), sender, one)
	var want []string
	for i := range 40 {
		want = append(want, fmt.Sprint(i))
		l.publish(l.sender, want[i])
		if i == 20 {
			stop()
		}
	}
	// A process that ends while it handles leaves that event to the other, so
	// that order is kept all the same.
	l.wantApplied(l.one, want...)
}

func chain(l *lab) {
	// Every value is passed on three times round, from the sender to itself
	// and to one, from one to two and back.
	pass := func(ctx context.Context, tx *pg.Tx, value string) error {
		if err := apply(ctx, tx, value); err != nil {
			return err
		}
		if len(value) == 4 {
			return nil
		}
		return l.send(ctx, tx, value+"x")
	}
	sender, one, two := l.member(l.sender, l.on(pass)), l.member(l.one, l.on(pass)), l.member(l.two, l.on(pass))
	l.start(l.broker, sender, one, two)
	l.publish(l.sender, "a")
	// Each of three hears 1 + 3 + 9 + 27.
	for _, db := range []*pg.DB{l.sender, l.one, l.two} {
		l.eventually("all are handled", func() bool { return len(l.applied(db)) >= 40 })
	}
	l.wantIdle(sender, one, two)
	for _, db := range []*pg.DB{l.sender, l.one, l.two} {
		if n := len(l.applied(db)); n != 40 {
			l.Errorf("%s has handled %d values, want 40", db.Schema(), n)
		}
	}
}

func unheard(l *lab) {
	one := l.member(l.one, l.on(apply))
	// As an earlier version of the service would have had it.
	if err := l.broker.Declare(l.Context(), map[string][]string{one.Name: {"google.protobuf.BoolValue"}}); err != nil {
		l.Fatal(err)
	}
	l.start(l.broker, l.member(l.sender), one)
	err := l.sender.InTx(l.Context(), func(tx *pg.Tx) error {
		return bus.Publish(l.Context(), tx, wrapperspb.Bool(true), wrapperspb.String(l.mark+"a"))
	})
	if err != nil {
		l.Fatal(err)
	}
	l.wantApplied(l.one, "a")
	l.wantIdle(one)
}

func handlerContext(l *lab) {
	type seen struct {
		info               bus.EventInfo
		request, tracedFor string
	}
	got := make(chan seen, 1)
	one := l.member(l.one, l.on(func(ctx context.Context, _ *pg.Tx, _ string) error {
		got <- seen{bus.Info(ctx), telemetry.RequestID(ctx), telemetry.Traceparent(ctx)}
		return nil
	}))
	l.start(l.broker, l.member(l.sender), one)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	ctx := telemetry.WithRequestID(l.Context(), "req-1")
	ctx = telemetry.WithTraceparent(ctx, "00-"+trace+"-00f067aa0ba902b7-01")
	begun := time.Now()
	if err := l.sender.InTx(ctx, func(tx *pg.Tx) error { return l.send(ctx, tx, "a") }); err != nil {
		l.Fatal(err)
	}
	s := receive(l, "the event is handled", got)
	if s.info.ID.Version() != 7 || s.info.HappenedAt.Before(begun.Add(-time.Minute)) || s.info.HappenedAt.After(time.Now().Add(time.Minute)) {
		l.Errorf("Info %+v", s.info)
	}
	if s.request != "req-1" || !strings.Contains(s.tracedFor, trace) {
		l.Errorf("request id %q, trace %q", s.request, s.tracedFor)
	}
	ev := l.event("b")
	ev.HappenedAt = time.Date(2026, 2, 3, 4, 5, 6, 789012000, time.UTC)
	l.hand(l.broker, ev)
	want := bus.EventInfo{ID: ev.ID, HappenedAt: ev.HappenedAt}
	if s := receive(l, "the event is handled", got); s.info != want || s.request != "" || strings.Contains(s.tracedFor, trace) {
		l.Errorf("got %+v, want %+v", s, want)
	}
	if got := bus.Info(l.Context()); got != (bus.EventInfo{}) {
		l.Errorf("Info outside of a handler: %+v", got)
	}
}

func undeclared(l *lab) {
	if err := l.broker.Publish(l.Context(), []bus.Event{l.event("a")}); err == nil {
		l.Error("published though nobody knows who hears it")
	}
}

func closed(l *lab) {
	b, one := l.another(), l.member(l.one, l.on(apply))
	ended := make(chan error, 1)
	if err := b.Declare(l.Context(), bus.Topology(one)); err != nil {
		l.Fatal(err)
	}
	if err := b.Ping(l.Context()); err != nil {
		l.Errorf("Ping: %v", err)
	}
	go func() {
		ended <- b.Subscribe(context.Background(), one.Name, []string{"google.protobuf.StringValue"}, func(context.Context, bus.Event) error { return nil })
	}()
	if err := b.Close(); err != nil {
		l.Errorf("Close: %v", err)
	}
	if err := b.Close(); err != nil {
		l.Errorf("Close again: %v", err)
	}
	if receive(l, "the subscription ends", ended) == nil {
		l.Error("Subscribe returned nil on a closed broker")
	}
	if b.Ping(l.Context()) == nil || b.Publish(l.Context(), []bus.Event{l.event("a")}) == nil {
		l.Error("a closed broker takes events")
	}
}
