package bus_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/pg"
)

// What the conformance tests ask for when something fails.

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
	if !strings.Contains(l.log.String(), "failure_test.go") {
		l.Error("the log does not say where it panicked")
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
	// Not for each try. It may be told twice: one finds it away while a connection
	// of another still lives and answers.
	if n := strings.Count(l.log.String(), "the database of "+one.Name+" does not work"); n > 2 {
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
