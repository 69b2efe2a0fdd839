package amqp

import (
	"maps"
	"slices"
	"sync"

	"github.com/rabbitmq/amqp091-go"
)

const (
	exchange      = "stoa.events" // topic; routing key is the event's name
	deadExchange  = "stoa.dead"   // direct; routing key is the service's name
	deliveryLimit = 20
)

func queueOf(name string) string     { return "stoa." + name }
func deadQueueOf(name string) string { return "stoa." + name + ".dead" }

// topology is who hears what, as far as this process was told.
type topology struct {
	mu      sync.Mutex
	hears   map[string][]string
	version int64 // 0 before anything was declared
}

// add reports whether it was told anything new by increasing the version.
func (t *topology) add(hears map[string][]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := maps.Clone(t.hears)
	if next == nil {
		next = map[string][]string{}
		t.version++
	}
	for name, events := range hears {
		known, ok := next[name]
		merged := slices.Concat(known, events)
		slices.Sort(merged)
		merged = slices.Compact(merged)
		if !ok || len(merged) != len(known) {
			next[name] = merged
			t.version++
		}
	}
	t.hears = next
}

// get returns a map that nobody writes to.
func (t *topology) get() (map[string][]string, int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.hears, t.version
}

// declare makes the exchanges, and the queues and bindings of each service.
// Doing it again changes nothing.
func declare(conn *amqp091.Connection, hears map[string][]string) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	defer func() { _ = ch.Close() }()
	if err := ch.ExchangeDeclare(exchange, "topic", true, false, false, false, nil); err != nil {
		return err
	}
	if err := ch.ExchangeDeclare(deadExchange, "direct", true, false, false, false, nil); err != nil {
		return err
	}
	for name, events := range hears {
		if len(events) == 0 {
			continue
		}
		dead := amqp091.Table{amqp091.QueueTypeArg: amqp091.QueueTypeQuorum}
		if _, err := ch.QueueDeclare(deadQueueOf(name), true, false, false, false, dead); err != nil {
			return err
		}
		if err := ch.QueueBind(deadQueueOf(name), name, deadExchange, false, nil); err != nil {
			return err
		}
		live := amqp091.Table{
			amqp091.QueueTypeArg: amqp091.QueueTypeQuorum,
			// Of several processes of a service one consumes, in order; another
			// takes over when it ends.
			amqp091.SingleActiveConsumerArg: true,
			// How often a message may come back because its consumer vanished.
			"x-delivery-limit":          deliveryLimit,
			"x-dead-letter-exchange":    deadExchange,
			"x-dead-letter-routing-key": name,
			// Kept until the dead queue has it; wants this overflow behaviour.
			"x-dead-letter-strategy": "at-least-once",
			amqp091.QueueOverflowArg: amqp091.QueueOverflowRejectPublish,
		}
		if _, err := ch.QueueDeclare(queueOf(name), true, false, false, false, live); err != nil {
			return err
		}
		for _, event := range events {
			if err := ch.QueueBind(queueOf(name), event, exchange, false, nil); err != nil {
				return err
			}
		}
	}
	return nil
}
