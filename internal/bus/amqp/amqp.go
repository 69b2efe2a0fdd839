// Package amqp carries events over RabbitMQ. It is a [bus.Broker].
//
// There is one topic exchange, stoa.events. Each service that hears events has
// a quorum queue stoa.<service>, bound to the exchange by each event's name, and
// a quorum queue stoa.<service>.dead for messages that came back 20 times
// because the process ended while it held them; the service itself takes
// those and tries them once more, apart from others (see [bus.Event.Dead]).
//
// A message published while a service's queue is not there is lost for that
// service. So each process declares the queues of all services, not only of
// those it runs, and publishes over no connection on which it has not done so.
//
// A server that is killed, not stopped, within a second or two after a queue was
// first made may forget where that queue's data is (seen with RabbitMQ 3.10).
// The queue then never answers, and events to its service wait in the senders'
// outboxes, until somebody deletes it; it is then made again.
//
// An event no longer heard stays bound, and is parked; the queues of a service
// that is gone for good stay and fill. Both are removed by hand.
package amqp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/stoa-lms/stoa/internal/bus"
)

var errClosed = errors.New("amqp: the broker is closed")

// Broker is a RabbitMQ server or cluster.
type Broker struct {
	log      *slog.Logger
	topology *topology
	closed   chan struct{}
	close    func() // closes closed, once

	// Two connections: a server short of memory stops reading from those that
	// publish, and acknowledgements must get through.
	publishing, consuming *link
}

var _ bus.Broker = (*Broker)(nil)

// Open returns the broker at an amqp or amqps URL. It connects at first use, so
// it succeeds while the server is away.
func Open(url string, log *slog.Logger) *Broker {
	t := &topology{}
	closed := make(chan struct{})
	return &Broker{
		log:      log,
		topology: t,
		closed:   closed,
		close:    sync.OnceFunc(func() { close(closed) }),
		// Whoever publishes gets the errors of the connection and tells them.
		publishing: newLink(url, "stoa publishing", t, slog.New(slog.DiscardHandler)),
		consuming:  newLink(url, "stoa consuming", t, log),
	}
}

// Declare implements [bus.Broker]. The server keeps what was declared.
func (b *Broker) Declare(ctx context.Context, hears map[string][]string) error {
	b.topology.add(hears)
	_, err := b.publishing.open(ctx)
	return err
}

// Ping implements [bus.Broker].
func (b *Broker) Ping(ctx context.Context) error {
	s, err := b.publishing.open(ctx)
	if err != nil {
		return err
	}
	// Who stops asking must not break the connection.
	err = await(ctx, func() error {
		ch, err := s.conn.Channel()
		if err != nil {
			return err
		}
		return ch.Close()
	})
	if err != nil {
		return fmt.Errorf("amqp: ping: %w", err)
	}
	return nil
}

// Close implements [bus.Broker].
func (b *Broker) Close() error {
	b.close()
	return errors.Join(b.publishing.close(), b.consuming.close())
}
