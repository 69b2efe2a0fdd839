package amqp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/rabbitmq/amqp091-go"

	"github.com/stoa-lms/stoa/internal/bus"
)

// headerHappenedAt exists because AMQP's own timestamp has whole seconds.
const headerHappenedAt = "happened_at"

// Publish implements [bus.Broker]: it returns nil when the server confirmed
// each event, which it does once a majority of each queue's replicas has it on
// disk.
func (b *Broker) Publish(ctx context.Context, events []bus.Event) error {
	if _, version := b.topology.get(); version == 0 {
		return errors.New("amqp: publish before anything was declared")
	}
	s, err := b.publishing.open(ctx)
	if err != nil {
		return err
	}
	return s.within(ctx, func() error {
		ch, err := s.take()
		if err != nil {
			return fmt.Errorf("amqp: channel: %w", err)
		}
		if err := publish(ch, events); err != nil {
			// Somebody may have removed an exchange; confirms may be under way.
			s.declared.Store(0)
			return fmt.Errorf("amqp: publish: %w", errors.Join(err, ch.Close()))
		}
		return s.giveBack(ch)
	})
}

func publish(ch *confirming, events []bus.Event) error {
	confirms := make([]*amqp091.DeferredConfirmation, 0, len(events))
	for _, ev := range events {
		confirm, err := ch.PublishWithDeferredConfirm(exchange, ev.Name, false, false, encode(ev))
		if err != nil {
			return err
		}
		confirms = append(confirms, confirm)
	}
	for i, confirm := range confirms {
		if confirm.Wait() {
			continue
		}
		select {
		case err, ok := <-ch.closed:
			if ok {
				return err
			}
		default:
		}
		return fmt.Errorf("event %s was not confirmed", events[i].ID)
	}
	return nil
}

func encode(ev bus.Event) amqp091.Publishing {
	headers := amqp091.Table{headerHappenedAt: ev.HappenedAt.UTC().Format(time.RFC3339Nano)}
	for k, v := range ev.Headers {
		headers[k] = v
	}
	return amqp091.Publishing{
		Headers:      headers,
		ContentType:  "application/protobuf",
		DeliveryMode: amqp091.Persistent,
		Timestamp:    ev.HappenedAt,
		MessageId:    ev.ID.String(),
		Type:         ev.Name, // the routing key does not survive the dead-letter exchange
		Body:         ev.Payload,
	}
}

func decode(d amqp091.Delivery) (bus.Event, error) {
	id, err := uuid.Parse(d.MessageId)
	if err != nil {
		return bus.Event{}, fmt.Errorf("message id: %w", err)
	}
	ev := bus.Event{ID: id, Name: d.Type, Payload: d.Body, Headers: map[string]string{}, HappenedAt: d.Timestamp}
	for k, v := range d.Headers {
		text, ok := v.(string)
		switch {
		case !ok || strings.HasPrefix(k, "x-"): // the server's own, about dead letters
		case k == headerHappenedAt:
			if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
				ev.HappenedAt = at
			}
		default:
			ev.Headers[k] = text
		}
	}
	return ev, nil
}
