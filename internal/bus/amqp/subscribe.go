package amqp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rabbitmq/amqp091-go"

	"github.com/stoa-lms/stoa/internal/bus"
)

const (
	prefetch      = 64
	slowSetUp     = 10 * time.Second
	tearDownLimit = 3 * time.Second
	minPause      = 50 * time.Millisecond
	maxPause      = 2 * time.Second
)

// Subscribe implements [bus.Broker]. It takes the service's dead messages too.
func (b *Broker) Subscribe(ctx context.Context, name string, eventNames []string, deliver func(context.Context, bus.Event) error) error {
	b.topology.add(map[string][]string{name: eventNames})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-b.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	// One at a time, from whichever queue.
	var turn sync.Mutex
	one := func(ctx context.Context, ev bus.Event) error {
		turn.Lock()
		defer turn.Unlock()
		return deliver(ctx, ev)
	}
	var queues sync.WaitGroup
	queues.Go(func() { b.consume(ctx, queueOf(name), one) })
	queues.Go(func() {
		b.consume(ctx, deadQueueOf(name), func(ctx context.Context, ev bus.Event) error {
			ev.Dead = true
			return one(ctx, ev)
		})
	})
	queues.Wait()
	select {
	case <-b.closed:
		return errClosed
	default:
		return nil
	}
}

// consume delivers the messages of a queue until ctx ends, over one channel
// after the other. It tells the log once when that begins to fail for another
// reason than the connection.
func (b *Broker) consume(ctx context.Context, queue string, deliver func(context.Context, bus.Event) error) {
	pause, told := minPause, false
	works := func() { pause, told = minPause, false }
	for ctx.Err() == nil {
		err := b.session(ctx, queue, deliver, works)
		if ctx.Err() != nil {
			return
		}
		if !told && !errors.Is(err, errLost) {
			b.log.WarnContext(ctx, "amqp: consuming failed, trying again until it works", "queue", queue, "error", err.Error())
			told = true
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, maxPause)
	}
}

// session consumes over one channel until it breaks, a message could not be
// delivered, or ctx ends.
func (b *Broker) session(ctx context.Context, queue string, deliver func(context.Context, bus.Event) error, works func()) error {
	s, err := b.consuming.open(ctx)
	if err != nil {
		return err
	}
	err = b.pump(ctx, s, queue, deliver, works)
	switch {
	case s.conn.IsClosed():
		return errLost
	case err != nil:
		s.declared.Store(0) // somebody may have removed the queue
	}
	return err
}

// pump delivers the messages of one channel. When it ends, what was prefetched
// goes back to the queue, in its order; the message in hand is acknowledged
// before.
//
// It waits for a queue that does not answer, such as one without a leader, for
// as long as the connection lasts: to break that would not help the queue and
// would hurt those who consume others over it.
func (b *Broker) pump(ctx context.Context, s *session, queue string, deliver func(context.Context, bus.Event) error, works func()) error {
	slow := time.AfterFunc(slowSetUp, func() {
		b.log.WarnContext(ctx, "amqp: the queue does not answer, waiting for it", "queue", queue)
	})
	defer slow.Stop()
	var ch *amqp091.Channel
	err := await(ctx, func() (err error) {
		ch, err = s.conn.Channel()
		return err
	})
	if err != nil {
		return fmt.Errorf("amqp: channel: %w", err)
	}
	defer func() {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), tearDownLimit)
		defer cancel()
		_ = await(limited, ch.Close)
	}()
	var deliveries <-chan amqp091.Delivery
	err = await(ctx, func() (err error) {
		if err = ch.Qos(prefetch, 0, false); err != nil {
			return err
		}
		deliveries, err = ch.Consume(queue, "", false, false, false, false, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("amqp: consume %s: %w", queue, err)
	}
	slow.Stop()
	works()
	for ctx.Err() == nil {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return errors.New("amqp: the channel was closed")
			}
			if err := b.handOver(ctx, d, deliver); err != nil {
				return err
			}
		case <-ctx.Done():
		}
	}
	return nil
}

func (b *Broker) handOver(ctx context.Context, d amqp091.Delivery, deliver func(context.Context, bus.Event) error) error {
	ev, err := decode(d)
	if err != nil {
		// Not from a relay: no later version could read it either.
		b.log.ErrorContext(ctx, "amqp: a message that is no event is dropped", "exchange", d.Exchange, "type", d.Type, "bytes", len(d.Body), "error", err.Error())
	} else if err := deliver(ctx, ev); err != nil {
		return err
	}
	return d.Ack(false)
}
