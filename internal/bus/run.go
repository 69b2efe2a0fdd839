package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// Names of the workers of a member, for the log.
const (
	relayWorker   = "relay"
	receiveWorker = "receiver"
	retryWorker   = "retrier"
	sweepWorker   = "sweeper"
)

// Run carries the events of the members, from their outboxes and to their
// handlers, until ctx ends and what was in hand is finished, for which batches
// and then handlers have five seconds each. It waits for a database or a broker
// that is away, and says so in the log. It returns an error at once when the
// members make no sense, and never otherwise.
//
// Several processes may run the same members. See [Broker.Declare] for what is
// to be done before when an installation has more services than these.
func Run(ctx context.Context, broker Broker, log *slog.Logger, members ...Member) error {
	seen := map[string]bool{}
	for _, m := range members {
		switch {
		case m.Name == "" || m.DB == nil:
			return errors.New("bus: a member has no name or no database")
		case seen[m.Name]:
			return fmt.Errorf("bus: member %s is given twice", m.Name)
		}
		seen[m.Name] = true
	}
	// Before any relay, so that nothing is published to a member that is about
	// to subscribe. The broker remembers it when this fails.
	if err := declare(ctx, broker, members); err != nil && ctx.Err() == nil {
		log.WarnContext(ctx, "bus: the broker could not be told who hears what yet", "error", err.Error())
	}

	server := &outage{log: log, what: "the broker"}
	// Receivers stop after the others: a broker in the process can't take the
	// last batch of a relay without them.
	receiving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var senders, receivers sync.WaitGroup
	for _, m := range members {
		database := &outage{log: log, what: "the database of " + m.Name}
		r := newReceiver(m, log, database)
		out := &relay{Member: m, broker: broker, database: database, server: server}
		receivers.Go(func() { r.run(receiving, broker, server) })
		senders.Go(func() { out.run(ctx) })
		senders.Go(func() { r.retry(ctx) })
		senders.Go(func() { r.housekeep(ctx) })
	}
	<-ctx.Done()
	senders.Wait()
	stop()
	receivers.Wait()
	return nil
}

func declare(ctx context.Context, broker Broker, members []Member) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	return broker.Declare(ctx, Topology(members...))
}

// Idle reports whether the members have nothing left to send or to try again;
// what is parked does not count. Events that a broker's server holds are not
// seen; a broker within the process holds none.
func Idle(ctx context.Context, members ...Member) (bool, error) {
	// An event may go from a member not yet looked at to one that was: look twice.
	for range 2 {
		for _, m := range members {
			var busy bool
			err := m.DB.QueryRow(ctx, `
				SELECT EXISTS (SELECT FROM outbox) OR EXISTS (SELECT FROM inbox_failed WHERE next_at IS NOT NULL)`).Scan(&busy)
			if err != nil {
				return false, fmt.Errorf("bus: look at %s: %w", m.Name, err)
			}
			if busy {
				return false, nil
			}
		}
	}
	return true, nil
}
