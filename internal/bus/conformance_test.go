package bus_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
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
	deaf := l.member(l.sender, bus.On(func(ctx context.Context, tx *pg.Tx, _ *wrapperspb.Int64Value) error {
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

func failsThenSucceeds(l *lab) {
	var attempts atomic.Int32
	one := l.member(l.one, l.on(func(ctx context.Context, tx *pg.Tx, value string) error {
		if err := apply(ctx, tx, value); err != nil {
			return err
		}
		if attempts.Add(1) <= 4 {
			return errTest
		}
		return nil
	}))
	l.start(l.broker, l.member(l.sender), one)
	l.publish(l.sender, "a")
	l.wantApplied(l.one, "a")
	l.wantIdle(one)
	if n := attempts.Load(); n != 5 {
		l.Errorf("%d attempts, want 5", n)
	}
}

func leavesNothing(l *lab) {
	again := make(chan bool)
	one := l.member(l.one, l.on(func(ctx context.Context, tx *pg.Tx, value string) error {
		if !receiveOr(ctx, again) {
			return apply(ctx, tx, value)
		}
		if err := apply(ctx, tx, value); err != nil {
			return err
		}
		if err := l.send(ctx, tx, "out of a transaction that is undone"); err != nil {
			return err
		}
		return errTest
	}))
	l.start(l.broker, l.member(l.sender), one)
	l.publish(l.sender, "a")
	again <- true
	l.eventually("the event is kept", func() bool { return l.count(l.one, `SELECT count(*) FROM inbox_failed`) == 1 })
	own := `SELECT count(*) FROM inbox WHERE event_id IN (SELECT event_id FROM inbox_failed)`
	for what, sql := range map[string]string{"applied": `SELECT count(*) FROM applied`, "inbox": own, "outbox": `SELECT count(*) FROM outbox`} {
		if n := l.count(l.one, sql); n != 0 {
			l.Errorf("%d rows of %s left by a transaction that failed", n, what)
		}
	}
	again <- false
	l.wantApplied(l.one, "a")
	l.wantIdle(one)
}

func poison(l *lab) {
	var cured atomic.Bool
	one := l.member(l.one, l.on(func(ctx context.Context, tx *pg.Tx, value string) error {
		if strings.HasPrefix(value, "poison") && !cured.Load() {
			return errTest
		}
		return apply(ctx, tx, value)
	}))
	l.start(l.broker, l.member(l.sender), one)
	l.publish(l.sender, "poison 1", "a", "poison 2", "b")
	l.wantApplied(l.one, "a", "b")
	l.eventually("the poison is parked", func() bool { return len(l.parked(l.one)) == 2 })
	l.wantIdle(one)
	parked := l.parked(l.one)
	for _, p := range parked {
		if p.Attempts != bus.MaxAttempts || !strings.Contains(p.LastError, errTest.Error()) || p.Name != "google.protobuf.StringValue" || p.HappenedAt.IsZero() || p.FailedAt.IsZero() {
			l.Errorf("parked %+v", p)
		}
	}
	if next, err := bus.Parked(l.Context(), l.one, 10, parked[0].ID); err != nil || len(next) != 1 || next[0].ID != parked[1].ID {
		l.Errorf("parked after the first: %v, %v", next, err)
	}
	l.eventually("the gauge tells", func() bool { return metric(l, "stoa_bus_parked", one.Name) == 2 })
	if n := metric(l, "stoa_bus_failed_total", one.Name); n != 2*bus.MaxAttempts {
		l.Errorf("%v failures counted", n)
	}

	if n, err := bus.Discard(l.Context(), l.one, parked[1].ID, uuid.New()); n != 1 || err != nil {
		l.Errorf("Discard: %d, %v", n, err)
	}
	l.publish(l.sender, "c")
	l.wantApplied(l.one, "a", "b", "c")
	cured.Store(true)
	if n, err := bus.Replay(l.Context(), l.one, uuid.New()); n != 0 || err != nil {
		l.Errorf("Replay of an unknown one: %d, %v", n, err)
	}
	if n, err := bus.Replay(l.Context(), l.one); n != 1 || err != nil {
		l.Errorf("Replay: %d, %v", n, err)
	}
	l.wantApplied(l.one, "a", "b", "c", "poison 1")
	// What was discarded or replayed counts as handled.
	for _, p := range parked {
		l.hand(l.broker, p.Event)
	}
	l.publish(l.sender, "d")
	l.wantApplied(l.one, "a", "b", "c", "poison 1", "d")
	l.wantIdle(one)
}

func dead(l *lab) {
	if l.transport.keeps {
		return // is made by the server; see the tests of package amqp
	}
	one := l.member(l.one, l.on(func(ctx context.Context, tx *pg.Tx, value string) error {
		if value == "poison" {
			return errTest
		}
		return apply(ctx, tx, value)
	}))
	l.start(l.broker, one)
	bystander, poison := l.event("bystander"), l.event("poison")
	bystander.Dead, poison.Dead = true, true
	l.hand(l.broker, poison, bystander)
	l.wantApplied(l.one, "bystander")
	l.eventually("the poison is parked", func() bool { return len(l.parked(l.one)) == 1 })
	if n := metric(l, "stoa_bus_failed_total", one.Name); n != 3 { // twice dead, once handled
		l.Errorf("%v failures", n)
	}
}

func panics(l *lab) {
	var attempts atomic.Int32
	one := l.member(l.one, l.on(func(ctx context.Context, tx *pg.Tx, value string) error {
		if err := apply(ctx, tx, value); err != nil {
			return err
		}
		if attempts.Add(1) == 1 {
			panic("with \x00 and \xff")
		}
		return nil
	}))
	l.start(l.broker, l.member(l.sender), one)
	l.publish(l.sender, "a")
	l.wantApplied(l.one, "a")
	if !strings.Contains(l.log.String(), "conformance_test.go") {
		l.Error("the log does not say where it panicked")
	}
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

func stops(l *lab) {
	inHand, release := make(chan string), make(chan bool)
	one := l.member(l.one, l.on(func(ctx context.Context, tx *pg.Tx, value string) error {
		inHand <- value
		receiveOr(ctx, release)
		return apply(ctx, tx, value)
	}))
	stop := l.start(l.broker, l.member(l.sender), one)
	l.publish(l.sender, "a", "b")
	receive(l, "an event is in hand", inHand)
	stopped := make(chan bool)
	go func() {
		stop()
		close(stopped)
	}()
	select {
	case <-stopped:
		l.Error("stopped with an event in hand")
	case release <- true:
	}
	for waiting := true; waiting; {
		select {
		case <-inHand: // the rest of the batch, which is in hand as well
			release <- true
		case <-stopped:
			waiting = false
		case <-time.After(patience):
			l.Fatal("does not stop")
		}
	}
	if got := l.applied(l.one); len(got) == 0 || got[0] != "a" {
		l.Errorf("handled %q, want the event in hand", got)
	}
}

func databaseAway(l *lab) {
	inHand, release := make(chan bool, 10), make(chan bool)
	var attempts atomic.Int32
	one := l.member(l.one, l.on(func(ctx context.Context, tx *pg.Tx, value string) error {
		if value == "b" && attempts.Add(1) == 1 {
			inHand <- true
			receiveOr(ctx, release)
		}
		return apply(ctx, tx, value)
	}))
	sender := l.member(l.sender)
	l.start(l.broker, sender, one)
	l.publish(l.sender, "a", "b", "c")
	receive(l, "an event is in hand", inHand)
	restore := l.cutDatabase()
	release <- true
	l.eventually("the outage is told", func() bool { return strings.Contains(l.log.String(), "the database of "+one.Name+" does not work") })
	restore()
	l.wantApplied(l.one, "a", "b", "c")
	l.eventually("the sender's database answers", func() bool {
		return l.sender.InTx(l.Context(), func(tx *pg.Tx) error { return l.send(l.Context(), tx, "d") }) == nil
	})
	l.wantApplied(l.one, "a", "b", "c", "d")
	l.wantIdle(sender, one)
	if n := metric(l, "stoa_bus_failed_total", one.Name); n != 0 {
		l.Errorf("%v attempts counted as failed", n)
	}
	l.eventually("the end is told", func() bool { return strings.Contains(l.log.String(), "the database of "+one.Name+" works again") })
	if n := strings.Count(l.log.String(), "the database of "+one.Name+" does not work"); n != 1 {
		l.Errorf("the outage was told %d times", n)
	}
}

func brokerRefuses(l *lab) {
	var refusing atomic.Bool
	refusing.Store(true)
	tries := make(chan int, 1000)
	b := &interposed{Broker: l.broker, publish: func(ctx context.Context, events []bus.Event) error {
		if refusing.Load() {
			tries <- len(events)
			return errTest
		}
		return l.broker.Publish(ctx, events)
	}}
	sender := l.member(l.sender)
	l.start(b, sender, l.member(l.one, l.on(apply)))
	var want []string
	for i := range 600 {
		want = append(want, fmt.Sprint(i))
	}
	l.publish(l.sender, want...)
	var sizes []int
	for range 4 {
		sizes = append(sizes, receive(l, "a try", tries))
	}
	if slices.Max(sizes) > 500 || sizes[3] >= sizes[0] {
		l.Errorf("batches of %d", sizes)
	}
	refusing.Store(false)
	l.wantApplied(l.one, want...)
	l.wantIdle(sender)
	if n := strings.Count(l.log.String(), "the broker does not work"); n != 1 {
		l.Errorf("the outage was told %d times", n)
	}
	if n := metric(l, "stoa_bus_relayed_total", sender.Name); n != 600 {
		l.Errorf("%v events counted as relayed", n)
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

// event returns an event as a relay would have it.
func (l *lab) event(value string) bus.Event {
	payload, err := proto.Marshal(wrapperspb.String(l.mark + value))
	if err != nil {
		l.Fatal(err)
	}
	return bus.Event{ID: uuid.Must(uuid.NewV7()), Name: "google.protobuf.StringValue", Payload: payload, HappenedAt: time.Now()}
}

// hand gives events to the broker, as soon as Run has declared who hears them.
func (l *lab) hand(b bus.Broker, events ...bus.Event) {
	l.Helper()
	var once sync.Once
	l.eventually("the broker takes events", func() bool {
		err := b.Publish(l.Context(), events)
		if err != nil {
			once.Do(func() { l.Logf("Publish: %v", err) })
		}
		return err == nil
	})
}

// receiveOr returns a value of the channel, false when ctx ends first.
func receiveOr(ctx context.Context, from <-chan bool) bool {
	select {
	case v := <-from:
		return v
	case <-ctx.Done():
		return false
	}
}

// metric returns the value of a member's metric.
func metric(l *lab, name, member string) float64 {
	l.Helper()
	families, err := telemetry.Registry.Gather()
	if err != nil {
		l.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == member {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return 0
}
