package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

var errClosed = errors.New("bus: the broker is closed")

// Direct is a [Broker] for services that all run in one process. It holds no
// events itself: Publish returns when the receivers have them in their
// databases, and waits for one that was declared and has not subscribed yet.
// So a service that is slow at handling holds up those whose events it hears.
type Direct struct {
	closed chan struct{}

	mu      sync.Mutex
	hearers map[string]*hearer
}

// hearer is a service that hears events.
type hearer struct {
	name     string
	events   []string
	handover chan handover
}

// handover is an event on its way to whoever takes it first.
type handover struct {
	event Event
	taken chan error
}

var _ Broker = (*Direct)(nil)

// NewDirect returns a broker that nobody subscribes to yet.
func NewDirect() *Direct {
	return &Direct{closed: make(chan struct{}), hearers: map[string]*hearer{}}
}

// Declare implements [Broker]. Only services that run in this process may be
// declared: Publish would wait for others for ever.
func (d *Direct) Declare(_ context.Context, hears map[string][]string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, events := range hears {
		h := d.hearers[name]
		if h == nil {
			h = &hearer{name: name, handover: make(chan handover)}
			d.hearers[name] = h
		}
		for _, event := range events {
			if !slices.Contains(h.events, event) {
				h.events = append(h.events, event)
			}
		}
	}
	return d.Ping(context.Background())
}

// Publish implements [Broker]. The services take their events side by side.
func (d *Direct) Publish(ctx context.Context, events []Event) error {
	todo, err := d.share(events)
	if err != nil {
		return err
	}
	errs := make(chan error, len(todo))
	for h, events := range todo {
		go func() { errs <- d.hand(ctx, h, events) }()
	}
	err = nil
	for range todo {
		err = errors.Join(err, <-errs)
	}
	return err
}

// share returns who hears what of the events.
func (d *Direct) share(events []Event) (map[*hearer][]Event, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.hearers) == 0 {
		return nil, errors.New("bus: nothing was declared")
	}
	todo := map[*hearer][]Event{}
	for _, h := range d.hearers {
		for _, ev := range events {
			if slices.Contains(h.events, ev.Name) {
				todo[h] = append(todo[h], ev)
			}
		}
	}
	return todo, nil
}

// hand gives a service its events, each after it has taken the one before.
func (d *Direct) hand(ctx context.Context, h *hearer, events []Event) error {
	for _, ev := range events {
		give := handover{event: ev, taken: make(chan error, 1)}
		select {
		case h.handover <- give:
		case <-d.closed:
			return errClosed
		case <-ctx.Done():
			return fmt.Errorf("bus: %s does not take events: %w", h.name, ctx.Err())
		}
		select {
		case err := <-give.taken:
			if err != nil {
				return fmt.Errorf("bus: %s did not take %s: %w", h.name, ev.ID, err)
			}
		case <-ctx.Done():
			return fmt.Errorf("bus: %s has not yet taken %s: %w", h.name, ev.ID, ctx.Err())
		}
	}
	return nil
}

// Subscribe implements [Broker].
func (d *Direct) Subscribe(ctx context.Context, name string, eventNames []string, deliver func(context.Context, Event) error) error {
	if err := d.Declare(ctx, map[string][]string{name: eventNames}); err != nil {
		return err
	}
	d.mu.Lock()
	h := d.hearers[name]
	d.mu.Unlock()
	for {
		select {
		case give := <-h.handover:
			give.taken <- deliver(ctx, give.event)
		case <-d.closed:
			return errClosed
		case <-ctx.Done():
			return nil
		}
	}
}

// Ping implements [Broker].
func (d *Direct) Ping(context.Context) error {
	select {
	case <-d.closed:
		return errClosed
	default:
		return nil
	}
}

// Close implements [Broker].
func (d *Direct) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Ping(context.Background()) == nil {
		close(d.closed)
	}
	return nil
}
