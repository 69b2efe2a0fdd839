package amqp

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rabbitmq/amqp091-go"
)

const (
	heartbeat    = 5 * time.Second // a peer silent for three of them is gone
	idleChannels = 16
)

// session is one connection's life.
type session struct {
	conn     *amqp091.Connection
	socket   net.Conn
	declared atomic.Int64 // version of the topology; 0 has it declared before the next use

	mu   sync.Mutex
	idle []*confirming
}

// confirming is a channel in confirm mode.
type confirming struct {
	*amqp091.Channel

	closed chan *amqp091.Error // why the server closed it
}

func dial(ctx context.Context, url, name string) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	s := &session{}
	inTime := func() bool { return true }
	properties := amqp091.NewConnectionProperties()
	properties.SetClientConnectionName(name)
	conn, err := amqp091.DialConfig(url, amqp091.Config{
		Heartbeat:  heartbeat,
		Properties: properties,
		Dial: func(network, addr string) (net.Conn, error) {
			socket, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			s.socket = socket
			inTime = context.AfterFunc(ctx, func() { _ = socket.Close() })
			deadline, _ := ctx.Deadline() // of the handshake; the library clears it
			return socket, socket.SetDeadline(deadline)
		},
	})
	if !inTime() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if s.socket != nil {
			_ = s.socket.Close()
		}
		return nil, err
	}
	s.conn = conn
	return s, nil
}

// within runs fn, whose calls of the library know no time limit, and breaks
// the connection when ctx ends before fn does.
func (s *session) within(ctx context.Context, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.socket.Close() })
	err := fn()
	if !stop() && err != nil {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

// await returns what fn returns, or an error when ctx ends before. fn then goes
// on alone, until the connection ends at the latest.
func await(ctx context.Context, fn func() error) error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take returns a channel for one user, who gives it back unless something went
// wrong on it.
func (s *session) take() (*confirming, error) {
	s.mu.Lock()
	if n := len(s.idle); n > 0 {
		ch := s.idle[n-1]
		s.idle = s.idle[:n-1]
		s.mu.Unlock()
		return ch, nil
	}
	s.mu.Unlock()
	ch, err := s.conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Confirm(false); err != nil {
		return nil, errors.Join(err, ch.Close())
	}
	return &confirming{Channel: ch, closed: ch.NotifyClose(make(chan *amqp091.Error, 1))}, nil
}

func (s *session) giveBack(ch *confirming) error {
	s.mu.Lock()
	if len(s.idle) < idleChannels {
		s.idle = append(s.idle, ch)
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	return ch.Close()
}
