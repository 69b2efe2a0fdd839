package cache

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// patience with Redis: a request does not wait longer for its rate limit.
const patience = 100 * time.Millisecond

// rest is how long Redis is left alone after it failed.
const rest = time.Second

// gcra keeps the theoretical arrival time in microseconds of Redis' own clock.
var gcra = rueidis.NewLuaScript(`
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local every, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2])
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local wait = tat - tolerance - now
if wait > 0 then return wait end
redis.call('SET', KEYS[1], string.format('%.0f', tat + every), 'PX', math.ceil((tat + every - now) / 1000) + 1)
return 0`)

// Redis is a [Limiter] that all processes share. While Redis is away each
// process counts for itself, so that limits get looser and nothing stops.
type Redis struct {
	option rueidis.ClientOption
	alone  *Memory
	log    *slog.Logger
	until  atomic.Int64 // Unix nanoseconds until which Redis is left alone

	mu     sync.Mutex
	client rueidis.Client // nil until Redis has answered once
}

// OpenRedis returns a limiter in the server of a redis:// URL. It connects at
// first use, so it succeeds while the server is away.
func OpenRedis(url string, log *slog.Logger) (*Redis, error) {
	opt, err := rueidis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("cache: Redis URL: %w", err)
	}
	opt.DisableCache = true // nothing is read often enough to be tracked
	opt.ConnWriteTimeout = patience
	opt.Dialer.Timeout = patience
	opt.ForceSingleClient = true
	alone, err := NewMemory()
	if err != nil {
		return nil, err
	}
	return &Redis{option: opt, alone: alone, log: log}, nil
}

// connected returns the client; once there, it reconnects by itself.
func (r *Redis) connected() (rueidis.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client == nil {
		c, err := rueidis.NewClient(r.option)
		if err != nil {
			return nil, fmt.Errorf("cache: Redis does not answer: %w", err)
		}
		r.client = c
	}
	return r.client, nil
}

// Allow implements [Limiter].
func (r *Redis) Allow(ctx context.Context, key string, limit Limit) (time.Duration, error) {
	if time.Now().UnixNano() < r.until.Load() {
		return r.alone.Allow(ctx, key, limit)
	}
	wait, err := r.count(ctx, key, limit)
	if err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		r.until.Store(time.Now().Add(rest).UnixNano())
		r.log.WarnContext(ctx, "Redis does not answer, rate limits are counted in this process alone", "error", err.Error())
		return r.alone.Allow(ctx, key, limit)
	}
	return wait, nil
}

func (r *Redis) count(ctx context.Context, key string, limit Limit) (time.Duration, error) {
	client, err := r.connected()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	wait, err := gcra.Exec(ctx, client, []string{"stoa:rate:" + key}, []string{
		strconv.FormatInt(limit.Every.Microseconds(), 10),
		strconv.FormatInt(limit.tolerance().Microseconds(), 10),
	}).AsInt64()
	return time.Duration(wait) * time.Microsecond, err
}

// Ping implements [Limiter].
func (r *Redis) Ping(ctx context.Context) error {
	client, err := r.connected()
	if err != nil {
		return err
	}
	if err := client.Do(ctx, client.B().Ping().Build()).Error(); err != nil {
		return fmt.Errorf("cache: Redis does not answer: %w", err)
	}
	return nil
}

// Close implements [Limiter].
func (r *Redis) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != nil {
		r.client.Close()
	}
}
