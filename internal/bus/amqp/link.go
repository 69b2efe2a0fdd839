package amqp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

const (
	connectTimeout = 5 * time.Second
	declareTimeout = 30 * time.Second       // a broker that comes back is asked by all at once
	reconnectAfter = 200 * time.Millisecond // between attempts, of all who want the connection
)

// errLost says that there is no connection. The link has told the log.
var errLost = errors.New("amqp: no connection")

// link is a connection that is made when it is first needed, and again when it
// broke. Whoever gets it may rely on the topology being declared.
type link struct {
	url, name string
	topology  *topology
	log       *slog.Logger

	turn     chan struct{} // held by who connects or declares; guards what follows
	current  *session
	failure  error // of the last attempt
	failedAt time.Time
	closed   bool
}

func newLink(url, name string, t *topology, log *slog.Logger) *link {
	return &link{url: url, name: name, topology: t, log: log, turn: make(chan struct{}, 1)}
}

// open returns the connection. After a failed attempt the next is made a
// moment later; who comes in between gets the error of the last.
func (l *link) open(ctx context.Context) (*session, error) {
	if err := l.enter(ctx); err != nil {
		return nil, err
	}
	defer l.leave()
	if l.closed {
		return nil, errClosed
	}
	if l.current == nil || l.current.conn.IsClosed() {
		if err := l.connect(ctx); err != nil {
			return nil, err
		}
	}
	s := l.current
	if hears, version := l.topology.get(); s.declared.Load() != version {
		ctx, cancel := context.WithTimeout(ctx, declareTimeout)
		defer cancel()
		if err := s.within(ctx, func() error { return declare(s.conn, hears) }); err != nil {
			return nil, fmt.Errorf("amqp: declare: %w", err)
		}
		s.declared.Store(version)
	}
	return s, nil
}

func (l *link) connect(ctx context.Context) error {
	if l.failure != nil && time.Since(l.failedAt) < reconnectAfter {
		return l.failure
	}
	s, err := dial(ctx, l.url, l.name)
	if err != nil {
		first := l.failure == nil
		l.failure, l.failedAt = fmt.Errorf("%w: %w", errLost, err), time.Now()
		if first {
			l.log.WarnContext(ctx, "amqp: no connection, trying again until there is", "connection", l.name, "error", err.Error())
		}
		return l.failure
	}
	if l.failure != nil || l.current != nil {
		l.log.InfoContext(ctx, "amqp: connected again", "connection", l.name)
	}
	l.current, l.failure = s, nil
	return nil
}

func (l *link) enter(ctx context.Context) error {
	select {
	case l.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *link) leave() { <-l.turn }

func (l *link) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	if err := l.enter(ctx); err != nil {
		return err
	}
	defer l.leave()
	l.closed = true
	if l.current == nil || l.current.conn.IsClosed() {
		return nil
	}
	return l.current.within(ctx, l.current.conn.Close)
}
