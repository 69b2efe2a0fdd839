package amqp_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rabbitmq/amqp091-go"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/bus/amqp"
)

const patience = 2 * time.Minute

func rabbitURL(tb testing.TB) string {
	tb.Helper()
	u := os.Getenv("STOA_TEST_AMQP")
	if u == "" {
		tb.Fatal("STOA_TEST_AMQP is not set: run `make test`, or `go run ./cmd/testservers -- go test ./internal/bus/...` for a part")
	}
	return u
}

// rig is a broker with one service that hears events of a name of the test's own.
type rig struct {
	*testing.T
	broker  *amqp.Broker
	service string
	event   string // its name
	hears   map[string][]string
	server  *amqp091.Channel // past the broker
	log     *buffer
	logger  *slog.Logger
}

func newRig(t *testing.T, url string) *rig {
	t.Helper()
	mark := strings.ToLower(rand.Text())
	r := &rig{T: t, service: "amqp_" + mark, event: "test." + mark + ".Happened", log: &buffer{}}
	r.hears = map[string][]string{r.service: {r.event}}
	r.logger = slog.New(slog.NewTextHandler(r.log, nil))
	r.broker = amqp.Open(url, r.logger)
	conn, err := amqp091.Dial(rabbitURL(t))
	if err != nil {
		t.Fatal(err)
	}
	if r.server, err = conn.Channel(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.broker.Close()
		for _, queue := range []string{r.queue(), r.queue() + ".dead"} {
			if _, err := r.server.QueueDelete(queue, false, false, false); err != nil {
				t.Errorf("delete queue: %v", err)
			}
		}
		_ = conn.Close()
		if t.Failed() {
			t.Logf("log:\n%s", r.log)
		}
	})
	return r
}

func (r *rig) queue() string { return "stoa." + r.service }

func (r *rig) newEvent(text string) bus.Event {
	return bus.Event{
		ID: uuid.Must(uuid.NewV7()), Name: r.event, Payload: []byte(text),
		Headers: map[string]string{"request_id": "req-" + text}, HappenedAt: time.Now().Round(time.Microsecond).UTC(),
	}
}

func (r *rig) publish(events ...bus.Event) error {
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	return r.broker.Publish(ctx, events)
}

func (r *rig) mustPublish(events ...bus.Event) {
	r.Helper()
	if err := r.publish(events...); err != nil {
		r.Fatalf("Publish: %v", err)
	}
}

func (r *rig) mustDeclare() {
	r.Helper()
	if err := r.broker.Declare(r.Context(), r.hears); err != nil {
		r.Fatalf("Declare: %v", err)
	}
}

// subscribe returns what is delivered, until the test ends.
func (r *rig) subscribe() <-chan bus.Event {
	got := make(chan bus.Event, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- r.broker.Subscribe(ctx, r.service, r.hears[r.service], func(_ context.Context, ev bus.Event) error {
			got <- ev
			return nil
		})
	}()
	r.Cleanup(func() {
		cancel()
		if err := receive(r, "the subscription ends", ended); err != nil {
			r.Errorf("Subscribe: %v", err)
		}
	})
	return got
}

func (r *rig) want(got <-chan bus.Event, want ...bus.Event) {
	r.Helper()
	for _, w := range want {
		g := receive(r, "an event", got)
		if g.ID != w.ID || g.Name != w.Name || !bytes.Equal(g.Payload, w.Payload) || !g.HappenedAt.Equal(w.HappenedAt) ||
			!maps.Equal(g.Headers, w.Headers) || g.Dead != w.Dead {
			r.Fatalf("got %+v, want %+v", g, w)
		}
	}
}

func receive[T any](tb testing.TB, what string, from <-chan T) T {
	tb.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		tb.Fatalf("not in time: %s", what)
		panic("unreachable")
	}
}

func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	deadline := time.After(patience)
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-deadline:
			tb.Fatalf("not in time: %s", what)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	r := newRig(t, rabbitURL(t))
	r.mustDeclare()
	a, b := r.newEvent("a"), r.newEvent("b")
	b.Payload = bytes.Repeat([]byte{0, 1}, 200<<10) // several frames
	r.mustPublish(a, b)
	r.want(r.subscribe(), a, b)
}

// A delivery that fails is made again, and holds up nothing but itself.
func TestDeliverFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, rabbitURL(t))
	r.mustDeclare()
	ctx, cancel := context.WithCancel(t.Context())
	got, ended := make(chan bus.Event, 100), make(chan error, 1)
	failures := 3
	go func() {
		ended <- r.broker.Subscribe(ctx, r.service, r.hears[r.service], func(_ context.Context, ev bus.Event) error {
			if failures > 0 {
				failures--
				return errors.New("not today")
			}
			got <- ev
			return nil
		})
	}()
	a, b := r.newEvent("a"), r.newEvent("b")
	r.mustPublish(a, b)
	r.want(got, a, b)
	cancel()
	if err := receive(t, "the subscription ends", ended); err != nil {
		t.Error(err)
	}
	if n := strings.Count(r.log.String(), "consuming failed"); n == 0 || n > 3 {
		t.Errorf("told %d times", n)
	}
}

// A message whose consumer vanishes each time ends in the dead queue, and is
// delivered from there, marked.
func TestDeadMessages(t *testing.T) {
	t.Parallel()
	r := newRig(t, rabbitURL(t))
	r.mustDeclare()
	poison := r.newEvent("poison")
	r.mustPublish(poison)
	deliveries, err := r.server.Consume(r.queue(), "crashing", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	times := 0
	eventually(t, "the message is dead", func() bool {
		select {
		case d := <-deliveries:
			times++
			if err := d.Nack(false, true); err != nil {
				t.Fatal(err)
			}
		default:
		}
		q, err := r.server.QueueDeclarePassive(r.queue()+".dead", true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		return q.Messages == 1
	})
	if err := r.server.Cancel("crashing", false); err != nil {
		t.Fatal(err)
	}
	if times < 20 || times > 22 {
		t.Errorf("delivered %d times before it was dead, want about 20", times)
	}
	got := r.subscribe()
	poison.Dead = true
	r.want(got, poison)
	next := r.newEvent("next")
	r.mustPublish(next)
	r.want(got, next)
	eventually(t, "the dead queue is empty", func() bool {
		q, err := r.server.QueueDeclarePassive(r.queue()+".dead", true, false, false, false, nil)
		return err == nil && q.Messages == 0
	})
}

func TestNoEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t, rabbitURL(t))
	r.mustDeclare()
	err := r.server.PublishWithContext(t.Context(), "stoa.events", r.event, false, false, amqp091.Publishing{Body: []byte("hello")})
	if err != nil {
		t.Fatal(err)
	}
	a := r.newEvent("a")
	r.mustPublish(a)
	r.want(r.subscribe(), a)
	// The two were sent over connections of their own, so that either may come first.
	eventually(t, "it is said that a message is dropped", func() bool {
		return strings.Contains(r.log.String(), "a message that is no event is dropped")
	})
}

// Somebody removes what was declared, under connections that stay.
func TestQueueRemoved(t *testing.T) {
	t.Parallel()
	r := newRig(t, rabbitURL(t))
	r.mustDeclare()
	got := r.subscribe()
	a, b := r.newEvent("a"), r.newEvent("b")
	r.mustPublish(a)
	r.want(got, a)
	if _, err := r.server.QueueDelete(r.queue(), false, false, false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is a consumer again", func() bool {
		conn, err := amqp091.Dial(rabbitURL(t))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		q, err := ch.QueueDeclarePassive(r.queue(), true, false, false, false, nil)
		return err == nil && q.Consumers == 1
	})
	r.mustPublish(b)
	r.want(got, b)
}

// What is declared while the server is away is declared before anything is
// published, also by the other of two processes, and after each outage.
func TestDeclaredLater(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.set(refuse)
	r := newRig(t, p.url)
	a, b := r.newEvent("a"), r.newEvent("b")
	if r.publish(a) == nil {
		t.Error("published before anything was declared")
	}
	if r.broker.Declare(t.Context(), r.hears) == nil || r.publish(a) == nil || r.broker.Ping(t.Context()) == nil {
		t.Error("works without a server")
	}
	p.set(pass)
	eventually(t, "it publishes", func() bool { return r.publish(a) == nil })
	if _, err := r.server.QueueDelete(r.queue(), false, false, false); err != nil {
		t.Fatal(err)
	}
	p.set(refuse)
	p.set(pass)
	eventually(t, "it publishes again", func() bool { return r.publish(b) == nil })
	r.want(r.subscribe(), b)
}

// A server, or a network, that takes everything and answers nothing.
func TestServerHangs(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	r := newRig(t, p.url)
	r.mustDeclare()
	got := r.subscribe()
	a, b := r.newEvent("a"), r.newEvent("b")
	r.mustPublish(a)
	r.want(got, a)
	p.set(stall)
	for name, call := range map[string]func(context.Context) error{
		"Publish": func(ctx context.Context) error { return r.broker.Publish(ctx, []bus.Event{b}) },
		"Ping":    r.broker.Ping,
		"Declare": func(ctx context.Context) error {
			return r.broker.Declare(ctx, map[string][]string{r.service: {r.event, r.event + "2"}})
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		begun := time.Now()
		err := call(ctx)
		cancel()
		if took := time.Since(begun); err == nil || took > 3*time.Second {
			t.Errorf("%s: %v after %v", name, err, took)
		}
	}
	p.set(refuse) // what hung is gone
	p.set(pass)
	eventually(t, "it publishes again", func() bool { return r.publish(b) == nil })
	for {
		if ev := receive(t, "the event", got); ev.ID == b.ID {
			break // a may come again: its acknowledgement is lost
		}
	}
}

// Many use one broker, over connections that break all the time.
func TestTogether(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	r := newRig(t, p.url)
	r.mustDeclare()
	got := r.subscribe()
	var publishers sync.WaitGroup
	for i := range 4 {
		publishers.Go(func() {
			for j := range 20 {
				ev := r.newEvent(fmt.Sprintf("%d.%d", i, j))
				eventually(t, "it publishes", func() bool { return r.publish(ev) == nil })
			}
		})
	}
	for range 5 {
		eventually(t, "it works", func() bool { return r.broker.Ping(t.Context()) == nil })
		p.set(refuse)
		p.set(pass)
	}
	publishers.Wait()
	seen := map[string]bool{}
	for len(seen) < 80 {
		seen[string(receive(t, "an event", got).Payload)] = true
	}
}
