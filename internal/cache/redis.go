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
var patience = 100 * time.Millisecond

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

// fail keeps a count and the time until which the next attempt waits, in
// microseconds of Redis' own clock.
var fail = rueidis.NewLuaScript(`
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local free, first, most, forget = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local n = redis.call('HINCRBY', KEYS[1], 'n', 1)
local wait = 0
if n >= free then wait = math.min(first * 2 ^ math.min(n - free, 20), most) end
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + wait))
redis.call('PEXPIRE', KEYS[1], math.ceil((wait + forget) / 1000) + 1)
return n`)

var waits = rueidis.NewLuaScript(`
local t = redis.call('TIME')
return math.max(tonumber(redis.call('HGET', KEYS[1], 'until') or 0) - (t[1] * 1000000 + t[2]), 0)`)

// Redis is a [Store] that all processes share. While Redis is away each
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

// ask puts a question to Redis, or to this process alone while Redis is
// away.
func ask[T any](ctx context.Context, r *Redis, redis func(context.Context, rueidis.Client) (T, error), alone func() (T, error)) (T, error) {
	var none T
	if time.Now().UnixNano() < r.until.Load() {
		return alone()
	}
	answer, err := func() (T, error) {
		client, err := r.connected()
		if err != nil {
			return none, err
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return redis(ctx, client)
	}()
	if err == nil {
		return answer, nil
	}
	if ctx.Err() != nil {
		return none, ctx.Err()
	}
	r.until.Store(time.Now().Add(rest).UnixNano())
	r.log.WarnContext(ctx, "Redis does not answer, rate limits are counted in this process alone", "error", err.Error())
	return alone()
}

// Allow implements [Limiter].
func (r *Redis) Allow(ctx context.Context, key string, limit Limit) (time.Duration, error) {
	return ask(ctx, r, func(ctx context.Context, client rueidis.Client) (time.Duration, error) {
		wait, err := gcra.Exec(ctx, client, []string{"stoa:rate:" + key}, []string{
			micros(limit.Every), micros(limit.tolerance()),
		}).AsInt64()
		return time.Duration(wait) * time.Microsecond, err
	}, func() (time.Duration, error) { return r.alone.Allow(ctx, key, limit) })
}

func micros(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }

// Wait implements [Attempts].
func (r *Redis) Wait(ctx context.Context, key string) (time.Duration, error) {
	return ask(ctx, r, func(ctx context.Context, client rueidis.Client) (time.Duration, error) {
		wait, err := waits.Exec(ctx, client, []string{failKey(key)}, nil).AsInt64()
		return time.Duration(wait) * time.Microsecond, err
	}, func() (time.Duration, error) { return r.alone.Wait(ctx, key) })
}

// Fail implements [Attempts].
func (r *Redis) Fail(ctx context.Context, key string, p Patience) (int64, error) {
	return ask(ctx, r, func(ctx context.Context, client rueidis.Client) (int64, error) {
		return fail.Exec(ctx, client, []string{failKey(key)}, []string{
			strconv.Itoa(p.Free), micros(p.First), micros(p.Most), micros(p.Forget),
		}).AsInt64()
	}, func() (int64, error) { return r.alone.Fail(ctx, key, p) })
}

// Clear implements [Attempts].
func (r *Redis) Clear(ctx context.Context, key string) error {
	_, err := ask(ctx, r, func(ctx context.Context, client rueidis.Client) (struct{}, error) {
		return struct{}{}, client.Do(ctx, client.B().Del().Key(failKey(key)).Build()).Error()
	}, func() (struct{}, error) { return struct{}{}, r.alone.Clear(ctx, key) })
	return err
}

func failKey(key string) string { return "stoa:fail:" + key }

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
