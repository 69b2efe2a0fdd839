package story_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// start starts an installation for a test.
type start func(testing.TB) *installation

// inBoth tells a story in one process and in a process per service.
func inBoth(t *testing.T, one, apart start, story func(*testing.T, *installation)) {
	t.Helper()
	for name, begin := range map[string]start{"one process": one, "process per service": apart} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			story(t, begin(t))
		})
	}
}

// Stories that break nothing, change nothing for others and look at no more than
// their own people and courses share two installations, as people do.
var (
	shared      = share(oneProcess)
	sharedApart = share(distributed)
)

// share returns a start that starts once, when it is first needed; what it has
// started ends after all tests.
func share(begin start) start {
	once := sync.OnceValue(func() (in *installation) {
		done := make(chan struct{})
		go func() { // which is all that ends when it fails
			defer close(done)
			in = begin(&all)
		}()
		<-done
		return in
	})
	return func(t testing.TB) *installation {
		t.Helper()
		started := once()
		if started == nil {
			t.Fatal("the installation that tests share has not started")
		}
		in := *started
		in.t = t
		t.Cleanup(func() { in.tell(t) })
		return &in
	}
}

// all stands for the tests together: what is cleaned up for it is cleaned up
// after the last of them.
var all lasting

type lasting struct {
	testing.TB // none: what is called is below

	failed atomic.Bool
	mu     sync.Mutex
	ends   []func()
}

func (*lasting) Helper()                  {}
func (*lasting) Context() context.Context { return context.Background() }
func (l *lasting) Failed() bool           { return l.failed.Load() }

func (*lasting) Log(args ...any) { fmt.Fprintln(os.Stderr, args...) }

func (l *lasting) Error(args ...any) {
	l.failed.Store(true)
	l.Log(args...)
}

func (l *lasting) Errorf(format string, args ...any) { l.Error(fmt.Sprintf(format, args...)) }

func (l *lasting) Fatal(args ...any) {
	l.Error(args...)
	runtime.Goexit()
}

func (l *lasting) Fatalf(format string, args ...any) { l.Fatal(fmt.Sprintf(format, args...)) }

func (l *lasting) Cleanup(end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends = append(l.ends, end)
}

// end cleans up, the newest first.
func (l *lasting) end() {
	for _, end := range slices.Backward(l.ends) {
		end()
	}
}
