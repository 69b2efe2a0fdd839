package bus

import "context"

// Broker carries events from the outboxes to the services that hear them. The
// conformance tests of this package are run against each implementation.
//
// All methods may be called at the same time by many goroutines. None of them
// waits longer than its context lasts, whatever the broker's server does.
type Broker interface {
	// Declare says which events each service hears, by full name. It adds to
	// what was declared before, and saying the same again changes nothing.
	//
	// What is published before a service that hears it was declared is lost for
	// that service, even if it runs. So every process declares all services of
	// the installation, those that run elsewhere too, before it calls [Run].
	//
	// The broker remembers what was declared though its server is away and
	// Declare returns an error; it then declares it by itself before it
	// publishes anything, over every new connection.
	Declare(ctx context.Context, hears map[string][]string) error

	// Publish returns nil when every service that was declared to hear an event
	// has durably taken it, or the broker's server has for it, whether the
	// service is there or not. The events reach a service in the order given,
	// those of calls that follow one another in the order of the calls.
	//
	// After an error any of the events may have been taken all the same, so
	// publishing again delivers some of them twice. It returns an error while
	// nothing was declared.
	Publish(ctx context.Context, events []Event) error

	// Subscribe calls deliver for each event that the named service is declared
	// to hear, eventNames being declared by the call, one at a time, and returns
	// nil after ctx has ended and the last call of deliver has returned. It
	// returns early only when it can't go on; an outage is no reason.
	//
	// When deliver returns nil the event was durably taken and is not delivered
	// again, unless the broker could not be told. When it returns an error the
	// event is delivered again later, before or after others. Subscribers of
	// the same name share its events, each event going to one of them.
	Subscribe(ctx context.Context, name string, eventNames []string, deliver func(context.Context, Event) error) error

	// Ping returns nil when the broker would take events now.
	Ping(ctx context.Context) error

	// Close lets go of the broker. Every other call fails or returns after it.
	Close() error
}
