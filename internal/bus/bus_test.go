package bus_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/pg"
)

func TestPublish(t *testing.T) {
	t.Parallel()
	l := newLab(t, transports[0])
	count := `SELECT count(*) FROM outbox`
	tests := []struct {
		name   string
		events []proto.Message
		after  error // what the transaction does then
		want   int   // rows
		fails  bool
	}{
		{name: "none"},
		{name: "three", events: []proto.Message{wrapperspb.String("a"), wrapperspb.Int64(1), wrapperspb.String("a")}, want: 3},
		{name: "rolled back", events: []proto.Message{wrapperspb.String("a")}, after: errTest, fails: true},
		{name: "too large", events: []proto.Message{wrapperspb.String("a"), wrapperspb.String(strings.Repeat("a", bus.MaxEvent))}, fails: true},
		{name: "not a message", events: []proto.Message{wrapperspb.String("\xff")}, fails: true},
	}
	for _, test := range tests {
		before := l.count(l.sender, count)
		err := l.sender.InTx(t.Context(), func(tx *pg.Tx) error {
			if err := bus.Publish(t.Context(), tx, test.events...); err != nil {
				return err
			}
			return test.after
		})
		if (err != nil) != test.fails {
			t.Errorf("%s: error %v", test.name, err)
		}
		if n := l.count(l.sender, count) - before; n != test.want {
			t.Errorf("%s: %d rows, want %d", test.name, n, test.want)
		}
		select {
		case <-l.sender.Signalled():
			if test.want == 0 {
				t.Errorf("%s: the relay is woken for nothing", test.name)
			}
		default:
			if test.want > 0 {
				t.Errorf("%s: the relay is not woken", test.name)
			}
		}
	}
	// Positions follow the order given, whatever it is.
	values := make([]proto.Message, 300)
	for i := range values {
		values[i] = wrapperspb.Int64(int64(len(values) - i))
	}
	if err := l.sender.InTx(t.Context(), func(tx *pg.Tx) error { return bus.Publish(t.Context(), tx, values...) }); err != nil {
		t.Fatal(err)
	}
	disorder := l.count(l.sender, `
		SELECT count(*) FROM (SELECT event_id < lag(event_id) OVER (ORDER BY position) AS back FROM outbox) AS o WHERE back`)
	if disorder > 0 {
		t.Errorf("%d events before one that was published earlier", disorder)
	}
}

func TestIdle(t *testing.T) {
	t.Parallel()
	l := newLab(t, transports[0])
	sender := bus.Member{Name: "sender", DB: l.sender}
	idle := func() bool {
		got, err := bus.Idle(t.Context(), sender)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	insert := `INSERT INTO inbox_failed (event_id, name, payload, happened_at, attempts, next_at, last_error)
		VALUES (gen_random_uuid(), 'x', '', now(), 1, `
	if !idle() {
		t.Error("an empty schema is not idle")
	}
	mustExec(l, l.sender, insert+`NULL, 'parked')`)
	if !idle() {
		t.Error("not idle with a parked event")
	}
	mustExec(l, l.sender, insert+`now() + interval '1 hour', 'waits')`)
	if idle() {
		t.Error("idle with an event that is tried again later")
	}
	mustExec(l, l.sender, `DELETE FROM inbox_failed`)
	l.publish(l.sender, "a")
	if idle() {
		t.Error("idle with an event in the outbox")
	}
}

// The process ended, at some time in the past, while it handled these.
func TestLeftByACrash(t *testing.T) {
	t.Parallel()
	l := newLab(t, transports[0])
	one := l.member(l.one, l.on(apply))
	for value, attempts := range map[string]int{"tried before": bus.MaxAttempts - 1, "tried too often": bus.MaxAttempts} {
		ev := l.event(value)
		mustExec(l, l.one, `INSERT INTO inbox_failed (event_id, name, payload, happened_at, attempts, next_at, last_error)
			VALUES ($1, $2, $3, now(), $4, now(), 'crashed')`, ev.ID, ev.Name, ev.Payload, attempts)
	}
	l.start(l.broker, one)
	l.wantApplied(l.one, "tried before")
	l.wantIdle(one)
	if n := len(l.parked(l.one)); n != 1 {
		t.Errorf("%d parked, want the one tried too often", n)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	l := newLab(t, transports[0])
	mustExec(l, l.one, `INSERT INTO inbox (event_id, handled_at)
		SELECT gen_random_uuid(), now() - make_interval(days => n % 28) FROM generate_series(0, 2799) AS n`)
	l.start(l.broker, l.member(l.one))
	l.eventually("old rows are forgotten", func() bool {
		return l.count(l.one, `SELECT count(*) FROM inbox WHERE handled_at < now() - interval '14 days'`) == 0
	})
	if n := l.count(l.one, `SELECT count(*) FROM inbox`); n != 1400 {
		t.Errorf("%d rows left, want 1400", n)
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	l := newLab(t, transports[0])
	one := bus.Member{Name: "one", DB: l.one}
	for name, members := range map[string][]bus.Member{
		"no name":     {{DB: l.one}},
		"no database": {{Name: "one"}},
		"twice":       {one, one},
	} {
		if bus.Run(t.Context(), l.broker, slog.New(slog.DiscardHandler), members...) == nil {
			t.Errorf("%s: Run does not refuse", name)
		}
	}
}

func TestTopology(t *testing.T) {
	t.Parallel()
	text := bus.On(func(context.Context, *pg.Tx, *wrapperspb.StringValue) error { return nil })
	number := bus.On(func(context.Context, *pg.Tx, *wrapperspb.Int64Value) error { return nil })
	got := bus.Topology(bus.Member{Name: "a", Handlers: []bus.Handler{text, number, text}}, bus.Member{Name: "b"})
	if len(got) != 2 || len(got["b"]) != 0 || strings.Join(got["a"], " ") != "google.protobuf.Int64Value google.protobuf.StringValue" {
		t.Errorf("Topology %v", got)
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for attempts, want := range map[int]time.Duration{
		1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 8: 12800 * time.Millisecond, 11: time.Minute, 100: time.Minute,
	} {
		for range 100 {
			if got := bus.Backoff(attempts); got < want*3/4 || got > want*5/4 {
				t.Errorf("%v after %d attempts, want about %v", got, attempts, want)
			}
		}
	}
}

func mustExec(l *lab, db *pg.DB, sql string, args ...any) {
	l.Helper()
	if _, err := db.Exec(l.Context(), sql, args...); err != nil {
		l.Fatal(err)
	}
}
