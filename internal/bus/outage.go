package bus

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	minPause = 50 * time.Millisecond // after the first failure of an outage
	maxPause = 2 * time.Second       // at most, so that recovery is noticed soon

	grace = 5 * time.Second // how long work in hand may go on after the process was told to stop
)

// outage tells the log that something does not answer, and that it answers
// again: once each, however many workers notice.
type outage struct {
	log  *slog.Logger
	what string

	mu      sync.Mutex
	noticed map[string]bool // by worker
	since   time.Time
}

func (o *outage) began(ctx context.Context, worker string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.noticed) == 0 {
		o.noticed, o.since = map[string]bool{}, time.Now()
		o.log.WarnContext(ctx, "bus: "+o.what+" does not work, trying again until it does", "worker", worker, "error", err.Error())
	}
	o.noticed[worker] = true
}

func (o *outage) ended(ctx context.Context, worker string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.noticed[worker] {
		return
	}
	delete(o.noticed, worker)
	if len(o.noticed) == 0 {
		o.log.InfoContext(ctx, "bus: "+o.what+" works again", "after", time.Since(o.since).Round(time.Millisecond).String())
	}
}

// insist calls do until it returns nil. It returns an error only when ctx has
// ended before.
func (o *outage) insist(ctx context.Context, worker string, do func(context.Context) error) error {
	var pause pause
	for {
		err := do(ctx)
		if err == nil {
			o.ended(ctx, worker)
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		o.began(ctx, worker, err)
		if !pause.wait(ctx) {
			return errors.Join(ctx.Err(), err)
		}
	}
}

// pause is the time between two tries, twice as long after each.
type pause struct{ last time.Duration }

func (p *pause) reset() { p.last = 0 }

// wait reports false when ctx ended before the time was over.
func (p *pause) wait(ctx context.Context) bool {
	p.last = min(max(2*p.last, minPause), maxPause)
	return sleep(ctx, p.last/2+rand.N(p.last/2)) //nolint:gosec // spreads load, guards nothing
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// linger returns a context for work that is finished although ctx ends: it
// lasts for limit, and no longer than the grace after ctx.
func linger(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return out, func() {
		stop()
		cancel()
	}
}

// away reports whether err says that no connection to the database could be had.
func away(err error) bool {
	_, ok := errors.AsType[*pgconn.ConnectError](err)
	return ok
}

// broken reports whether err looks like that of a connection which broke. It
// may have been one to something else than the database.
func broken(err error) bool {
	if pgconn.SafeToRetry(err) {
		return true
	}
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		// Connection exceptions, out of resources, and an operator's
		// intervention other than a statement's time limit.
		return strings.HasPrefix(pe.Code, "08") || strings.HasPrefix(pe.Code, "53") ||
			strings.HasPrefix(pe.Code, "57") && pe.Code != "57014"
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}
