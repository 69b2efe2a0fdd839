package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// desk keeps what it is told, as assessment does.
type desk struct {
	known bool
	held  map[string]bool
	calls int
	most  int // of what was told at once
	err   error
}

func (d *desk) NoteConnections(_ context.Context, req *assessmentpb.NoteConnectionsRequest, _ ...grpc.CallOption) (*assessmentpb.NoteConnectionsResponse, error) {
	d.calls++
	d.most = max(d.most, len(req.GetOpened()), len(req.GetClosed()))
	switch {
	case d.err != nil:
		return nil, d.err
	case req.GetEnds():
		d.known, d.held = false, nil
		return &assessmentpb.NoteConnectionsResponse{}, nil
	case req.GetAnew():
		d.known, d.held = true, map[string]bool{}
	case !d.known:
		return &assessmentpb.NoteConnectionsResponse{Unknown: true}, nil
	}
	for _, id := range req.GetOpened() {
		d.held[id] = true
	}
	for _, id := range req.GetClosed() {
		delete(d.held, id)
	}
	return &assessmentpb.NoteConnectionsResponse{}, nil
}

// What is told is what there is, after each fault too, and costs no more than it has to.
func TestPresence(t *testing.T) {
	t.Parallel()
	d, open := &desk{}, map[string]struct{}{}
	p := newPresence(d, func() map[string]struct{} { return maps.Clone(open) }, slog.New(slog.DiscardHandler))
	now := time.Now()
	step := func(what string, after time.Duration, calls int, idle bool) {
		t.Helper()
		now = now.Add(after)
		before := d.calls
		if got := p.tell(t.Context(), now); got != idle || d.calls-before != calls {
			t.Errorf("%s: idle %t after %d calls, want %t after %d", what, got, d.calls-before, idle, calls)
		}
		if d.err == nil && d.known {
			if diff := cmp.Diff(slices.Sorted(maps.Keys(open)), slices.Sorted(maps.Keys(d.held))); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
	}
	step("nobody", time.Second, 0, true)
	open["a"], open["b"] = struct{}{}, struct{}{}
	step("two come", time.Second, 1, false)
	step("nothing changes", time.Second, 0, false)
	step("a beat", presenceBeat, 1, false)
	delete(open, "a")
	open["c"] = struct{}{}
	step("one goes, one comes", time.Second, 1, false)
	d.known = false // it was given up
	step("a beat that nobody knows", presenceBeat, 2, false)
	d.err = errors.New("away")
	delete(open, "b")
	step("assessment is away", time.Second, 1, false)
	d.err = nil
	step("it is back", time.Second, 1, false)
	for i := range 2_500 {
		open[fmt.Sprintf("crowd%d", i)] = struct{}{}
	}
	step("a crowd", time.Second, 3, false)
	clear(open)
	step("all go", time.Second, 3, true)
	if d.most > presenceBatch {
		t.Errorf("%d were told at once", d.most)
	}
	open["a"] = struct{}{}
	step("one comes", time.Second, 1, false)
	p.end()
	p.end()
	if d.held != nil {
		t.Errorf("held after the end: %v", d.held)
	}
}
