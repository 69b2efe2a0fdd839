package commerce_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A history is what happens by chance to the orders of one buyer: a number of steps, each
// with a chance of its own, so that it is the same with others left out. Many are told in
// one shop, whose teachers and courses they share, now a step of one and now of another;
// in the end everything is looked at once, for all of them. So there are thousands for
// what it costs to look.
//
// What fails is told again, first the histories alone that seem to be guilty, then with
// fewer of their steps, and printed with STOA_TEST_SEED for telling it once more: the
// seed, and behind a slash the numbers of the histories, as in 42/7,9.

// stage is a shop in which histories are told.
type stage interface {
	// history begins one.
	history(n int) teller
	// end has everything arrive that is on its way.
	end()
	// wrong says what is not as it has to be, and whose history that is of; of nobody's
	// in particular is -1.
	wrong() []wrong
}

// teller tells a history step by step.
type teller interface {
	// step has something happen, and says what.
	step(chance *rand.Rand) string
	// over is called when it has no step left.
	over()
}

type wrong struct {
	history int
	what    string
}

// script is which steps of a history are told.
type script struct {
	history int
	steps   []int
}

// histories is what is told: those from 0, or some that are named.
type histories struct {
	seed    uint64
	many    int
	only    []int
	shop    int                         // how many share one
	steps   func(chance *rand.Rand) int // how many steps one has
	open    func(tb testing.TB, seed uint64, chance *rand.Rand) stage
	abreast int // how many are told at a time
}

// fromEnvironment sets how many are told, or which.
func (h *histories) fromEnvironment(t *testing.T) {
	t.Helper()
	if text := os.Getenv("STOA_TEST_HISTORIES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("STOA_TEST_HISTORIES is %q", text)
		}
		h.many = n
	} else if testing.Short() {
		h.many = max(h.many/20, 1)
	}
	h.seed = rand.Uint64() //nolint:gosec // chance, not secrecy
	text, only, _ := strings.Cut(os.Getenv("STOA_TEST_SEED"), "/")
	if text != "" {
		var err error
		if h.seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("STOA_TEST_SEED: %v", err)
		}
	}
	for n := range strings.SplitSeq(only, ",") {
		if only == "" {
			break
		}
		one, err := strconv.Atoi(n)
		if err != nil || one < 0 {
			t.Fatalf("STOA_TEST_SEED: %q", only)
		}
		h.only = append(h.only, one)
	}
}

// script returns all of a history.
func (h *histories) script(n int) script {
	s := script{history: n}
	for i := range h.steps(h.chance(n, 1<<20)) {
		s.steps = append(s.steps, i)
	}
	return s
}

// chance is that of a step of a history.
func (h *histories) chance(history, step int) *rand.Rand {
	return rand.New(rand.NewPCG(h.seed+uint64(history), uint64(step))) //nolint:gosec // chance, not secrecy
}

// tell tells all of them, some shops at once, and fails with what is wrong.
func (h *histories) tell(t *testing.T) {
	t.Helper()
	h.fromEnvironment(t)
	var shops [][]script
	if len(h.only) > 0 {
		h.many = 0
		shops = [][]script{nil}
		for _, n := range h.only {
			shops[0] = append(shops[0], h.script(n))
		}
	}
	shopsLeft := make(chan []script)
	var telling sync.WaitGroup
	for range 2 {
		telling.Go(func() {
			for scripts := range shopsLeft {
				if t.Failed() {
					continue
				}
				if bad := h.attempt(t, scripts); bad != nil {
					bad = h.smaller(t, bad)
					t.Errorf("STOA_TEST_SEED=%d/%s\n%s\n%s", h.seed, bad.numbers(), strings.Join(bad.problems, "\n"), strings.Join(bad.log, "\n"))
				}
			}
		})
	}
	for _, scripts := range shops {
		shopsLeft <- scripts
	}
	for from := 0; from < h.many; from += h.shop {
		var scripts []script
		for n := from; n < min(from+h.shop, h.many); n++ {
			scripts = append(scripts, h.script(n))
		}
		shopsLeft <- scripts
	}
	close(shopsLeft)
	telling.Wait()
}

// failure is scripts that did not end well.
type failure struct {
	scripts  []script
	guilty   []int
	problems []string
	log      []string
}

func (f *failure) numbers() string {
	var out []string
	for _, s := range f.scripts {
		out = append(out, strconv.Itoa(s.history))
	}
	return strings.Join(out, ",")
}

// attempt tells scripts in a shop of their own; nil is that all was well.
func (h *histories) attempt(t *testing.T, scripts []script) *failure {
	t.Helper()
	tb := newTrial(t)
	defer tb.finish()
	f := &failure{scripts: scripts}
	current := -1
	tb.guarded(func() {
		// All that are told in one shop agree on what it is.
		seed := h.seed + uint64(scripts[0].history/h.shop)<<32 //nolint:gosec // not below zero
		chance := rand.New(rand.NewPCG(seed, 1<<40))           //nolint:gosec // chance, not secrecy
		on := h.open(tb, seed, chance)
		type told struct {
			script
			teller
		}
		var open []told
		next := scripts
		for {
			for len(open) < h.abreast && len(next) > 0 {
				open = append(open, told{script: next[0]})
				next = next[1:]
			}
			if len(open) == 0 {
				break
			}
			at := chance.IntN(len(open))
			one := &open[at]
			current = one.history
			if one.teller == nil {
				one.teller = on.history(one.history)
			}
			if len(one.steps) == 0 {
				one.over()
				open = slices.Delete(open, at, at+1)
				continue
			}
			step := one.steps[0]
			one.steps = one.steps[1:]
			f.log = append(f.log, "")
			line := &f.log[len(f.log)-1]
			*line = fmt.Sprintf("%d.%d: broken off", one.history, step)
			*line = fmt.Sprintf("%d.%d: %s", one.history, step, one.step(h.chance(one.history, step)))
		}
		current = -1
		on.end()
		for _, w := range on.wrong() {
			tb.Errorf("history %d: %s", w.history, w.what)
			f.guilty = append(f.guilty, w.history)
		}
	})
	if f.problems = tb.problems; len(f.problems) == 0 {
		return nil
	}
	f.problems = append(f.problems, tb.logged...)
	if current >= 0 {
		f.guilty = append(f.guilty, current)
	}
	return f
}

// smaller looks for less that does not end well either: the guilty ones alone, half of
// all, and then without one step after the other.
func (h *histories) smaller(t *testing.T, f *failure) *failure {
	t.Helper()
	t.Logf("STOA_TEST_SEED=%d: of %d histories from %d on: %s", h.seed, len(f.scripts), f.scripts[0].history, f.problems[0])
	until := time.Now().Add(2 * time.Minute)
	try := func(scripts []script) bool {
		if len(scripts) == 0 || time.Now().After(until) {
			return false
		}
		bad := h.attempt(t, scripts)
		if bad != nil {
			f = bad
		}
		return bad != nil
	}
	slices.Sort(f.guilty)
	guilty := slices.DeleteFunc(slices.Compact(f.guilty), func(n int) bool { return n < 0 })
	of := func(list []int) (out []script) {
		for _, s := range f.scripts {
			if slices.Contains(list, s.history) {
				out = append(out, s)
			}
		}
		return out
	}
	for _, n := range guilty[:min(len(guilty), 5)] {
		if try(of([]int{n})) {
			break
		}
	}
	if len(f.scripts) > 1 {
		try(of(guilty))
	}
	for part := len(f.scripts) / 2; part > 0 && len(f.scripts) > 1; part /= 2 {
		for from := 0; from < len(f.scripts) && len(f.scripts) > 1; {
			if !try(slices.Delete(slices.Clone(f.scripts), from, min(from+part, len(f.scripts)))) {
				from += part
			}
		}
	}
	if len(f.scripts) > 3 {
		return f
	}
	for i := range f.scripts {
		for at := 1; at < len(f.scripts[i].steps); {
			less := slices.Clone(f.scripts)
			less[i].steps = slices.Delete(slices.Clone(less[i].steps), at, at+1)
			if !try(less) {
				at++
			}
		}
	}
	return f
}

// trial is a test of which the end is not that of the test: what goes wrong is kept, and
// what is cleaned up is so when it ends.
type trial struct {
	testing.TB
	ctx      context.Context //nolint:containedctx // it is the test's
	cancel   context.CancelFunc
	mu       sync.Mutex
	problems []string
	logged   []string
	cleanups []func()
}

// errorLog keeps what the service logs as an error: an answer that something went wrong
// does not say what.
type errorLog trial

// Write implements [io.Writer].
func (l *errorLog) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("level=ERROR")) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.logged = append(l.logged, strings.TrimSpace(string(line)))
	}
	return len(line), nil
}

// brokenOff is what a trial panics with.
type brokenOff struct{}

func newTrial(t testing.TB) *trial {
	tb := &trial{TB: t}
	tb.ctx, tb.cancel = context.WithCancel(context.Background())
	return tb
}

// guarded calls fn until it ends or is broken off.
func (t *trial) guarded(fn func()) {
	defer func() {
		if v := recover(); v != nil {
			if _, ok := v.(brokenOff); !ok {
				panic(v)
			}
		}
	}()
	fn()
}

func (t *trial) finish() {
	t.cancel()
	for _, fn := range slices.Backward(t.cleanups) {
		fn()
	}
}

func (t *trial) keep(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.problems = append(t.problems, text)
}

func (t *trial) Context() context.Context          { return t.ctx }
func (t *trial) Cleanup(fn func())                 { t.cleanups = append(t.cleanups, fn) }
func (t *trial) Output() io.Writer                 { return (*errorLog)(t) }
func (t *trial) Log(...any)                        {}
func (t *trial) Logf(string, ...any)               {}
func (t *trial) Error(args ...any)                 { t.keep(fmt.Sprint(args...)) }
func (t *trial) Errorf(format string, args ...any) { t.keep(fmt.Sprintf(format, args...)) }
func (t *trial) Fatal(args ...any)                 { t.Error(args...); panic(brokenOff{}) }
func (t *trial) Fatalf(format string, args ...any) { t.Errorf(format, args...); panic(brokenOff{}) }
func (t *trial) FailNow()                          { panic(brokenOff{}) }
func (t *trial) Fail()                             { t.keep("it failed") }
func (t *trial) Failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.problems) > 0
}
