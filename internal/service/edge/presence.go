package edge

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

const (
	// presenceEvery is how often it is said which streams were opened and closed.
	presenceEvery = time.Second
	// presenceBeat is how often it is said that this process is there, where nothing else
	// is: assessment believes it for three times as long.
	presenceBeat = 10 * time.Second
	// presenceBatch is how many attempts are told at once.
	presenceBatch = 1000
)

// noter is told who is connected.
type noter interface {
	NoteConnections(ctx context.Context, req *assessmentpb.NoteConnectionsRequest, opts ...grpc.CallOption) (*assessmentpb.NoteConnectionsResponse, error)
}

// presence tells assessment which attempts this process holds streams for, for those who
// watch an exam: what has changed, once a second for all of them together, and every ten
// seconds that it is there still. What it has told counts no longer than that, so that a
// process which is killed leaves nobody connected.
type presence struct {
	noter noter
	open  func() map[string]struct{} // the attempts that there are streams for
	log   *slog.Logger

	mu      sync.Mutex
	running bool
	ended   bool

	telling sync.Mutex // held by who tells
	process string
	known   bool                // whether assessment knows the process
	told    map[string]struct{} // what it was told of
	at      time.Time           // when
}

func newPresence(n noter, open func() map[string]struct{}, log *slog.Logger) *presence {
	return &presence{noter: n, open: open, log: log, process: rand.Text(), told: map[string]struct{}{}}
}

// start has it tell while there are streams.
func (p *presence) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running && !p.ended {
		p.running = true
		go p.run()
	}
}

func (p *presence) run() {
	tick := time.NewTicker(presenceEvery)
	defer tick.Stop()
	for range tick.C {
		p.telling.Lock()
		idle := p.tell(context.Background(), time.Now())
		p.telling.Unlock()
		p.mu.Lock()
		if idle && len(p.open()) == 0 || p.ended {
			p.running = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
}

// tell says what has changed, and that the process is there where that is due. It
// reports whether nothing is left to be said: neither that somebody came nor that they
// went. What could not be said is said the next time.
func (p *presence) tell(ctx context.Context, now time.Time) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		req := &assessmentpb.NoteConnectionsRequest{ProcessId: p.process, Anew: !p.known}
		if req.GetAnew() {
			p.told = map[string]struct{}{}
		}
		open := p.open()
		for id := range open {
			if _, ok := p.told[id]; !ok && len(req.GetOpened()) < presenceBatch {
				req.Opened = append(req.Opened, id)
			}
		}
		for id := range p.told {
			if _, ok := open[id]; !ok && len(req.GetClosed()) < presenceBatch {
				req.Closed = append(req.Closed, id)
			}
		}
		changes := len(req.GetOpened()) + len(req.GetClosed())
		if changes == 0 && (len(open) == 0 || p.known && now.Sub(p.at) < presenceBeat) {
			return len(open) == 0
		}
		res, err := p.noter.NoteConnections(ctx, req)
		if err != nil {
			// It may have been noted or not: then all is said anew.
			p.known = false
			p.log.DebugContext(ctx, "who is connected could not be told yet", "error", err.Error())
			return false
		}
		if res.GetUnknown() {
			p.known = false
			continue
		}
		p.known, p.at = true, now
		for _, id := range req.GetOpened() {
			p.told[id] = struct{}{}
		}
		for _, id := range req.GetClosed() {
			delete(p.told, id)
		}
		if changes == 0 {
			return false
		}
	}
}

// end says that the process ends.
func (p *presence) end() {
	p.mu.Lock()
	was := p.ended
	p.ended = true
	p.mu.Unlock()
	p.telling.Lock()
	defer p.telling.Unlock()
	if was || !p.known {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if _, err := p.noter.NoteConnections(ctx, &assessmentpb.NoteConnectionsRequest{ProcessId: p.process, Ends: true}); err != nil {
		p.log.DebugContext(ctx, "that the process ends could not be told", "error", err.Error())
	}
	p.known = false
}
