package cache_test

import (
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
)

func limiters(t *testing.T) map[string]cache.Store {
	t.Helper()
	addr := os.Getenv("STOA_TEST_REDIS")
	if addr == "" {
		t.Fatal("STOA_TEST_REDIS is not set: run `make test`, or `go run ./cmd/testservers -- go test ./...` for a part")
	}
	memory, err := cache.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	redis, err := cache.OpenRedis("redis://"+addr, rpctest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.Close)
	return map[string]cache.Store{"memory": memory, "redis": redis}
}

func TestBurstThenWait(t *testing.T) {
	t.Parallel()
	for name, l := range limiters(t) {
		key := uuid.NewString()
		limit := cache.Limit{Burst: 5, Every: time.Hour}
		for i := range 5 {
			if wait, err := l.Allow(t.Context(), key, limit); err != nil || wait != 0 {
				t.Fatalf("%s: call %d: wait %v, %v", name, i, wait, err)
			}
		}
		for range 3 { // a refused call costs nothing, so the wait does not grow
			wait, err := l.Allow(t.Context(), key, limit)
			if err != nil || wait < 59*time.Minute || wait > time.Hour {
				t.Fatalf("%s: wait %v, %v; want about an hour", name, wait, err)
			}
		}
		if wait, err := l.Allow(t.Context(), key+"x", limit); err != nil || wait != 0 {
			t.Fatalf("%s: another key waits %v, %v", name, wait, err)
		}
	}
}

func TestConcurrentCallsPassBurstTimes(t *testing.T) {
	t.Parallel()
	for name, l := range limiters(t) {
		key := uuid.NewString()
		var passed atomic.Int32
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if wait, err := l.Allow(t.Context(), key, cache.Limit{Burst: 10, Every: time.Hour}); err == nil && wait == 0 {
					passed.Add(1)
				}
			})
		}
		wg.Wait()
		if got := passed.Load(); got != 10 {
			t.Errorf("%s: %d of 50 passed, want 10", name, got)
		}
	}
}

func TestRefills(t *testing.T) {
	t.Parallel()
	for name, l := range limiters(t) {
		key := uuid.NewString()
		limit := cache.Limit{Burst: 1, Every: 20 * time.Millisecond}
		if wait, err := l.Allow(t.Context(), key, limit); err != nil || wait != 0 {
			t.Fatalf("%s: first: %v, %v", name, wait, err)
		}
		deadline := time.Now().Add(time.Minute)
		for {
			wait, err := l.Allow(t.Context(), key, limit)
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("%s: never refilled: %v, %v", name, wait, err)
			}
			if wait == 0 {
				break
			}
			<-time.After(wait)
		}
	}
}

func TestRedisAwayCountsAlone(t *testing.T) {
	t.Parallel()
	l, err := cache.OpenRedis("redis://127.0.0.1:1", rpctest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	limit := cache.Limit{Burst: 1, Every: time.Hour}
	if wait, err := l.Allow(t.Context(), "k", limit); err != nil || wait != 0 {
		t.Fatalf("first: %v, %v", wait, err)
	}
	if wait, err := l.Allow(t.Context(), "k", limit); err != nil || wait == 0 {
		t.Fatalf("second: %v, %v; want a wait", wait, err)
	}
	p := cache.Patience{Free: 1, First: time.Hour, Most: time.Hour, Forget: time.Hour}
	if n, err := l.Fail(t.Context(), "k", p); err != nil || n != 1 {
		t.Fatalf("failure %d, %v", n, err)
	}
	if wait, err := l.Wait(t.Context(), "k"); err != nil || wait == 0 {
		t.Fatalf("waits %v, %v; want an hour", wait, err)
	}
	if err := l.Clear(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if err := l.Ping(t.Context()); err == nil {
		t.Fatal("Ping succeeded without a server")
	}
}

func TestAttempts(t *testing.T) {
	t.Parallel()
	p := cache.Patience{Free: 3, First: time.Minute, Most: 5 * time.Minute, Forget: time.Hour}
	for name, a := range limiters(t) {
		key := uuid.NewString()
		wait := func() time.Duration {
			t.Helper()
			d, err := a.Wait(t.Context(), key)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return d
		}
		if got := wait(); got != 0 {
			t.Errorf("%s: waits %v before any failure", name, got)
		}
		for i, want := range []time.Duration{0, 0, time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
			n, err := a.Fail(t.Context(), key, p)
			if err != nil || n != int64(i+1) {
				t.Fatalf("%s: failure %d is counted as %d, %v", name, i+1, n, err)
			}
			if got := wait(); got > want || got < want-10*time.Second {
				t.Errorf("%s: after %d failures waits %v, want %v", name, n, got, want)
			}
		}
		if got, err := a.Wait(t.Context(), key+"x"); err != nil || got != 0 {
			t.Errorf("%s: another key waits %v, %v", name, got, err)
		}
		if err := a.Clear(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if got := wait(); got != 0 {
			t.Errorf("%s: waits %v after all was forgotten", name, got)
		}
		for range 100 { // a count that overflows would let the wait be none
			if _, err := a.Fail(t.Context(), key, p); err != nil {
				t.Fatal(err)
			}
		}
		if got := wait(); got < 4*time.Minute {
			t.Errorf("%s: after 100 failures waits %v", name, got)
		}
	}
}

func TestAttemptsAreForgotten(t *testing.T) {
	t.Parallel()
	p := cache.Patience{Free: 2, First: time.Millisecond, Most: time.Millisecond, Forget: 20 * time.Millisecond}
	for name, a := range limiters(t) {
		key := uuid.NewString()
		deadline := time.Now().Add(time.Minute)
		for {
			n, err := a.Fail(t.Context(), key, p)
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("%s: never forgotten: %v", name, err)
			}
			<-time.After(25 * time.Millisecond)
			if again, err := a.Fail(t.Context(), key, p); err != nil {
				t.Fatal(err)
			} else if n == 1 && again == 1 {
				break
			}
			if err := a.Clear(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestConcurrentFailuresAreAllCounted(t *testing.T) {
	t.Parallel()
	for name, a := range limiters(t) {
		key := uuid.NewString()
		var most atomic.Int64
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				n, err := a.Fail(t.Context(), key, cache.Patience{Free: 5, First: time.Second, Most: time.Minute, Forget: time.Hour})
				if err != nil {
					t.Error(err)
				}
				for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
				}
			})
		}
		wg.Wait()
		if got := most.Load(); got != 50 {
			t.Errorf("%s: %d failures counted, want 50", name, got)
		}
	}
}
