// Package bus carries events between services: into the sender's outbox in the
// sender's transaction, through a [Broker], and once into the transaction of
// each service that hears it.
//
//	sender's transaction → outbox → relay → broker → receiver → inbox + what the handler writes
//	                                                     └→ inbox_failed → retrier → the same
//
// What is promised:
//
//   - An event is sent if and only if the transaction it was published in
//     commits, and is in nobody's hands but the database's or the broker's
//     until every service that hears it has it in its own database.
//   - What a handler writes through its transaction happens once for an event,
//     though the event may be delivered more often, for 14 days after the first.
//   - A handler that fails or panics is run again after 100 ms, then twice as
//     long each time up to a minute; after 12 attempts the event is parked,
//     counted and logged, until somebody calls [Replay] or [Discard]. The
//     events behind it go on meanwhile, and overtake it.
//   - A service handles one event at a time, all its processes together, in the
//     order in which the sender's outbox got them; retries run beside. Events of
//     one aggregate are in the outbox in the order they happened when the row
//     of the aggregate was locked before publishing. So a receiver may rely on
//     the order of events of one aggregate as long as none of them has failed,
//     and on the order between aggregates or senders never.
//   - While the database or the broker is away nothing is lost, counted as an
//     attempt or given up.
package bus

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/pg"
)

// Event is something that happened, as it travels.
type Event struct {
	ID         uuid.UUID
	Name       string // full name of the message
	Payload    []byte // the message
	Headers    map[string]string
	HappenedAt time.Time

	// Dead is set by a broker that gave up delivering the event, because the
	// process ended each time it was handled. It gets one more attempt, apart
	// from the others, and is parked when that fails too.
	Dead bool
}

// Handler is what a service does on one kind of event.
type Handler struct {
	name   string
	copies bool
	handle func(ctx context.Context, tx *pg.Tx, payload []byte) error
}

// On makes a handler of a function. The type of its parameter names the event.
//
// The function writes through tx and acts on nothing else: it is run again
// when it returns an error, and what it wrote is then undone. A service may
// have several handlers for one event; they succeed or fail together.
func On[M any, E interface {
	*M
	proto.Message
}](handle func(ctx context.Context, tx *pg.Tx, event E) error) Handler {
	return Handler{
		name: string(E(new(M)).ProtoReflect().Descriptor().FullName()),
		handle: func(ctx context.Context, tx *pg.Tx, payload []byte) error {
			event := E(new(M))
			if err := proto.Unmarshal(payload, event); err != nil {
				return fmt.Errorf("payload: %w", err)
			}
			return handle(ctx, tx, event)
		},
	}
}

// Copy makes a handler of a function that does no more than keep what another
// service has told, which the audit log has from that service already. What
// other handlers change they record.
func Copy[M any, E interface {
	*M
	proto.Message
}](handle func(ctx context.Context, tx *pg.Tx, event E) error) Handler {
	h := On(handle)
	h.copies = true
	return h
}

// EventName returns the full name of the event that the handler hears.
func (h Handler) EventName() string { return h.name }

// run is handle with a panic made an error.
func (h Handler) run(ctx context.Context, tx *pg.Tx, payload []byte) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	if h.copies {
		tx.Exempt("a copy of what another service has recorded")
	}
	return h.handle(ctx, tx, payload)
}

// EventInfo is what a handler may want to know of the event beside its content.
type EventInfo struct {
	ID         uuid.UUID
	HappenedAt time.Time // when the sender's transaction began
}

type infoKey struct{}

// Info returns the id and the time of the event that is handled in ctx, the
// zero value outside of a handler.
func Info(ctx context.Context) EventInfo {
	info, _ := ctx.Value(infoKey{}).(EventInfo)
	return info
}

// Member is a service that sends or hears events.
type Member struct {
	Name     string // the service's name, under which a broker keeps what it has yet to hear
	DB       *pg.DB // its schema; at least three connections, for the relay, the receiver and the retrier
	Handlers []Handler
}

// hears returns the names of the events that the member has handlers for.
func (m Member) hears() []string {
	names := make([]string, 0, len(m.Handlers))
	for _, h := range m.Handlers {
		names = append(names, h.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Topology returns the names of the events that each member hears, for
// [Broker.Declare]. It looks at nothing but names and handlers, so members of
// services that run elsewhere may be given without a database.
func Topology(members ...Member) map[string][]string {
	hears := make(map[string][]string, len(members))
	for _, m := range members {
		hears[m.Name] = m.hears()
	}
	return hears
}
