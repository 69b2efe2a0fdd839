package bus_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/rabbitmq/amqp091-go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/bus/amqp"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/telemetry"
)

// patience is how long a test waits for what should happen at once.
const patience = 2 * time.Minute

// table gives each schema what the handlers of the tests write to.
var table = fstest.MapFS{"0001_applied.sql": {Data: []byte(`-- +goose Up
CREATE TABLE applied (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, value text NOT NULL);
`)}}

// A transport is what the conformance tests are run on. Its open returns a
// broker as one more process would.
type transport struct {
	name string
	open func(tb testing.TB, log *slog.Logger) func() bus.Broker
	// keeps is whether events wait in the broker for those who are not there.
	keeps bool
}

var transports = []transport{
	{name: "direct", open: func(testing.TB, *slog.Logger) func() bus.Broker {
		d := bus.NewDirect()
		return func() bus.Broker { return d }
	}},
	{name: "amqp", keeps: true, open: func(tb testing.TB, log *slog.Logger) func() bus.Broker {
		url := rabbitURL(tb)
		return func() bus.Broker { return amqp.Open(url, log) }
	}},
}

func rabbitURL(tb testing.TB) string {
	tb.Helper()
	u := os.Getenv("STOA_TEST_AMQP")
	if u == "" {
		tb.Fatal("STOA_TEST_AMQP is not set: run `make test`, or `go run ./cmd/testservers -- go test ./internal/bus/...` for a part")
	}
	return u
}

// lab is an installation of three services for one test. All labs share a
// RabbitMQ, so that each hears the events of the others too: its own values
// begin with its mark, and its members have names of their own.
type lab struct {
	testing.TB
	transport transport
	mark      string
	url       string
	one, two  *pg.DB
	sender    *pg.DB
	broker    bus.Broker
	another   func() bus.Broker // the same broker, of another process
	log       *buffer
	logger    *slog.Logger
}

func newLab(tb testing.TB, tr transport) *lab {
	tb.Helper()
	l := &lab{TB: tb, transport: tr, mark: strings.ToLower(rand.Text()) + ":", log: &buffer{}}
	l.logger = slog.New(slog.NewTextHandler(l.log, nil))
	l.url = pgtest.New(tb, pg.Schema{Name: "bus_sender", Migrations: table}, pg.Schema{Name: "bus_one", Migrations: table}, pg.Schema{Name: "bus_two", Migrations: table})
	l.sender = pgtest.OpenURL(tb, l.url, "bus_sender")
	l.one = pgtest.OpenURL(tb, l.url, "bus_one")
	l.two = pgtest.OpenURL(tb, l.url, "bus_two")
	open := tr.open(tb, l.logger)
	l.another = func() bus.Broker {
		b := open()
		tb.Cleanup(func() { _ = b.Close() })
		return b
	}
	l.broker = l.another()
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("log:\n%s", l.log)
		}
	})
	return l
}

// member returns a member of the lab with a name that no other has.
func (l *lab) member(db *pg.DB, handlers ...bus.Handler) bus.Member {
	m := bus.Member{Name: db.Schema() + "_" + strings.ToLower(rand.Text()), DB: db, Handlers: handlers}
	if l.transport.name == "amqp" && len(handlers) > 0 {
		l.Cleanup(func() {
			err := onRabbit(func(ch *amqp091.Channel) error {
				return ch.QueueUnbind("stoa."+m.Name, handlers[0].EventName(), "stoa.events", nil)
			})
			if err != nil {
				l.Errorf("unbind: %v", err)
			}
			leftMu.Lock()
			defer leftMu.Unlock()
			left = append(left, "stoa."+m.Name, "stoa."+m.Name+".dead")
		})
	}
	return m
}

// left are the queues of tests that have ended. They are deleted after the last
// test: RabbitMQ 3.10 closes channels, or forgets to confirm, when a queue is
// deleted while another test's events are published to it.
var (
	leftMu sync.Mutex
	left   []string
)

func TestMain(m *testing.M) {
	code := m.Run()
	err := onRabbit(func(ch *amqp091.Channel) (err error) {
		for _, queue := range left {
			_, deleted := ch.QueueDelete(queue, false, false, false)
			err = errors.Join(err, deleted)
		}
		return err
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "delete queues:", err)
	}
	os.Exit(code)
}

func onRabbit(do func(ch *amqp091.Channel) error) error {
	conn, err := amqp091.Dial(os.Getenv("STOA_TEST_AMQP"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	return do(ch)
}

// start runs members until the test ends or the returned function is called.
func (l *lab) start(broker bus.Broker, members ...bus.Member) (stop func()) {
	l.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- bus.Run(ctx, broker, l.logger, members...) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				l.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			l.Errorf("Run did not stop")
		}
	})
	l.Cleanup(stop)
	return stop
}

// publish sends values in one transaction.
func (l *lab) publish(db *pg.DB, values ...string) {
	l.Helper()
	err := db.InTx(l.Context(), func(tx *pg.Tx) error { return l.send(l.Context(), tx, values...) })
	if err != nil {
		l.Fatalf("publish: %v", err)
	}
}

func (l *lab) send(ctx context.Context, tx *pg.Tx, values ...string) error {
	for _, v := range values {
		if err := bus.Publish(ctx, tx, wrapperspb.String(l.mark+v)); err != nil {
			return err
		}
	}
	return nil
}

// on returns a handler of the lab's own values.
func (l *lab) on(handle func(ctx context.Context, tx *pg.Tx, value string) error) bus.Handler {
	return bus.Copy(func(ctx context.Context, tx *pg.Tx, event *wrapperspb.StringValue) error {
		value, own := strings.CutPrefix(event.GetValue(), l.mark)
		if !own {
			return nil
		}
		return handle(ctx, tx, value)
	})
}

// apply writes down that a value was handled.
func apply(ctx context.Context, tx *pg.Tx, value string) error {
	_, err := tx.Exec(ctx, `INSERT INTO applied (value) VALUES ($1)`, value)
	return err
}

// applied returns the values that were handled, in their order.
func (l *lab) applied(db *pg.DB) []string {
	l.Helper()
	var values []string
	// Connections from before an outage fail once each.
	l.eventually("the database answers", func() bool {
		rows, err := db.Query(l.Context(), `SELECT value FROM applied ORDER BY position`)
		if err == nil {
			values, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		if err != nil && !pg.Away(err) {
			l.Fatalf("applied: %v", err)
		}
		return err == nil
	})
	return values
}

// wantApplied waits until exactly these values were handled in this order.
func (l *lab) wantApplied(db *pg.DB, want ...string) {
	l.Helper()
	l.eventually(fmt.Sprintf("%s has handled %d values", db.Schema(), len(want)), func() bool {
		return len(l.applied(db)) >= len(want)
	})
	if got := l.applied(db); !slices.Equal(got, want) {
		l.Fatalf("%s has handled %q, want %q", db.Schema(), got, want)
	}
}

// count returns the number that a statement selects.
func (l *lab) count(db *pg.DB, sql string) (n int) {
	l.Helper()
	if err := db.QueryRow(l.Context(), sql).Scan(&n); err != nil {
		l.Fatalf("count: %v", err)
	}
	return n
}

func (l *lab) wantIdle(members ...bus.Member) {
	l.Helper()
	l.eventually("the members are idle", func() bool {
		idle, err := bus.Idle(l.Context(), members...)
		if err != nil {
			l.Fatalf("Idle: %v", err)
		}
		return idle
	})
}

func (l *lab) parked(db *pg.DB) []bus.ParkedEvent {
	l.Helper()
	events, err := bus.Parked(l.Context(), db, 100, [16]byte{})
	if err != nil {
		l.Fatalf("Parked: %v", err)
	}
	return events
}

// eventually waits until true holds.
func (l *lab) eventually(what string, holds func() bool) {
	l.Helper()
	deadline := time.After(patience)
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-deadline:
			l.Fatalf("not in time: %s", what)
		}
	}
}

// receive waits for a value of a channel.
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

// cutDatabase ends all connections of the lab's database and allows no new
// ones until the returned function is called.
func (l *lab) cutDatabase() (restore func()) {
	l.Helper()
	u, err := url.Parse(l.url)
	if err != nil {
		l.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	admin, err := pgx.Connect(l.Context(), os.Getenv("STOA_TEST_POSTGRES"))
	if err != nil {
		l.Fatal(err)
	}
	exec := func(sql string) {
		if _, err := admin.Exec(context.Background(), sql); err != nil {
			l.Errorf("%s: %v", sql, err)
		}
	}
	exec("ALTER DATABASE " + name + " ALLOW_CONNECTIONS false")
	exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + name + "'")
	restore = sync.OnceFunc(func() {
		exec("ALTER DATABASE " + name + " ALLOW_CONNECTIONS true")
		_ = admin.Close(context.Background())
	})
	l.Cleanup(restore)
	return restore
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

var errTest = errors.New("not today")

// buffer is a log that many may write to.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// interposed is a broker whose Publish a test changes.
type interposed struct {
	bus.Broker
	publish func(ctx context.Context, events []bus.Event) error
}

func (b *interposed) Publish(ctx context.Context, events []bus.Event) error {
	return b.publish(ctx, events)
}
