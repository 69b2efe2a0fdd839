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

func limiters(t *testing.T) map[string]cache.Limiter {
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
	return map[string]cache.Limiter{"memory": memory, "redis": redis}
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
		deadline := time.Now().Add(5 * time.Second)
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
	if err := l.Ping(t.Context()); err == nil {
		t.Fatal("Ping succeeded without a server")
	}
}
