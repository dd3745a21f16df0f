package nearcache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
	"unicode"

	"github.com/nearcache/nearcache/codec"
	"github.com/nearcache/nearcache/l2"
	"github.com/redis/go-redis/v9"
)

// Config describes a cache. Zero fields stand for their defaults, and where it
// makes sense negative ones for "off". Config{} is an L1-only cache without a
// loader.
type Config[V any] struct {
	// Name is the namespace: instances with the same Name and Redis are one cache.
	// It begins the name of every key in Redis. Required with Redis; at most 128
	// bytes, without braces, spaces and control characters.
	Name string

	// Redis is the client of the shared tier; the cache does not close it. Default
	// nil: L1 only, with the same methods. Redis 7.0 or Valkey 7.2 or later. A cluster
	// client must read from masters: replicas lag behind what is announced.
	Redis redis.UniversalClient

	// TTL is how long entries live in each tier.
	TTL TTL

	// Load returns the value of key from the source, or [ErrNotFound]. It runs with
	// the values but not the cancellation of its caller's context, for at most
	// LoadTimeout, and is cancelled when nobody waits for it any more. Default
	// nil: a miss is [ErrMiss].
	Load func(ctx context.Context, key string) (V, error)

	// LoadItem is a Load that is shown the old value, and may set the life of the new
	// one. Default nil. Only one of the two can be set.
	LoadItem func(ctx context.Context, key string, item *Item[V]) (V, error)

	// LoadMany returns the values of keys for [Cache.GetMany], without those that the
	// source does not have; with an error, those that it has all the same. It runs
	// as Load does. Default nil: GetMany loads each key with Load or LoadItem. A Get
	// uses it if there is neither.
	LoadMany func(ctx context.Context, keys []string) (map[string]V, error)

	// Codec encodes values for Redis. Default [codec.Msgpack].
	Codec codec.Codec[V]

	// Compressor makes encoded values of at least 1 KiB smaller for Redis; those that
	// do not shrink are stored as they are. Default nil: none are compressed. All
	// instances should agree: what one cannot decompress it loads anew.
	Compressor codec.Compressor

	// Seal encrypts and authenticates values in Redis, after the Compressor, and binds
	// each to its key: see [codec.NewSeal]. Default nil: whoever can write to Redis
	// decides what a Get returns. All instances should agree: what one cannot open, and
	// what is not sealed although it should be, it loads anew.
	Seal *codec.Seal

	// Clone copies a value before a Get returns it. Default nil: callers share
	// the value that L1 holds, and must not change it.
	Clone func(V) V

	// DetectMutation finds values that somebody changed although L1 shares them: they
	// are hashed when they enter L1, compared every second and at Close, logged with
	// their keys, once each, and counted in [Stats]. Exported fields count, or all of a
	// struct that has none; values of more than 100,000 nodes are not watched. It is
	// meant for tests and development: it costs nothing at a hit, but each fill and
	// each second the reading of values by reflection. Default false.
	DetectMutation bool

	// MaxBytes bounds the memory of L1 within about 5 %: keys, values as estimated by
	// reflection, 260 bytes an entry, and 9 to 15 % of it all for bookkeeping. Fixed
	// buffers of a megabyte come on top. Default 64 MiB; at least 64 KiB.
	MaxBytes int64

	// MaxKeyBytes bounds keys. Default 1024; at most 65,536.
	MaxKeyBytes int

	// MaxValueBytes bounds encoded values before they are compressed. Set refuses larger ones; loaded
	// ones are returned and kept in L1 only. Default 1 MiB; at most 512 MiB.
	MaxValueBytes int

	// MaxStaleness bounds how long after an acknowledged change any instance may
	// still begin to serve the value of before, whatever fails. When all is well it
	// is a network hop. Heartbeats are sent four times within it. Default 2 s; at
	// least 20 ms. It cannot be switched off.
	MaxStaleness time.Duration

	// LoadTimeout bounds a load, and how long other instances wait for it before
	// they load themselves. Default 5 s; at least 1 ms.
	LoadTimeout time.Duration

	// LoadSoftTimeout is how long readers wait for a load where an old value may stand
	// in: one whose life is over, for as long as TTL.StaleIfError says, or one that
	// was expired. The load goes on and fills both tiers. Default 0: as long as the
	// load takes; else at least 1 ms and below LoadTimeout.
	LoadSoftTimeout time.Duration

	// MaxConcurrentLoads bounds the loads that this instance runs at once. Callers
	// wait for their turn until their contexts end; LoadTimeout begins after that.
	// Default 0: no bound.
	MaxConcurrentLoads int

	// ErrorBackoff is how long a key is left alone after its load failed: readers get
	// the value that stands in, else the same error again. Old values in Redis are
	// left alone by the whole fleet. Default 250 ms; at least 1 ms; negative: off.
	ErrorBackoff time.Duration

	// RefreshAhead has popular values loaded again shortly before their lives end,
	// while readers still get the old ones: the earlier the longer loads take and the
	// more often the key is read (XFetch, whose beta this is). One instance of a
	// fleet does it. A refresh has the context values of the reader that caused it.
	// Default 1; at most 10; negative: off.
	RefreshAhead float64

	// RedisTimeout bounds each operation on Redis: how long a read waits before it
	// turns to the loader, and a write before it fails. Default 100 ms; at least
	// 1 ms.
	RedisTimeout time.Duration

	// RecoveryWindow is how long after they were made invalidations are repeated
	// when Redis has lost data, and how long after such a loss older values are
	// examined. It should exceed the lag of a replica. Default 60 s; at least 1 s.
	RecoveryWindow time.Duration

	// Strict refuses all values from before Redis lost data, so that the bound holds
	// straight through a failover, at the price of a cold L2. Default false: only
	// values that this instance knows to be overtaken are refused.
	Strict bool

	// Shards spreads the namespace over that many independent sequences. All
	// instances must agree: the number is recorded in Redis, and [New] fails when
	// another one is. Default 64 with a cluster client, which spreads them over the
	// masters, else 1; 1 to 1024.
	Shards int

	// Tracking has Redis tell this instance of every write to the namespace's values, so
	// that a DEL or SET by a client that announces nothing, an expiry or an eviction
	// also takes a value from L1: usually within a network hop, and when the connection
	// for it is lost without a word, within MaxStaleness, as long as Redis answers. It
	// costs each instance one read of 82 bytes for every write of a value by anyone,
	// and is no substitute for Invalidate: what is being loaded meanwhile may be kept.
	// Needs a *redis.Client, of Sentinel too, or a *redis.ClusterClient, and a server
	// that has CLIENT TRACKING. Default false.
	Tracking bool

	// TTLJitter is the part of each life that is taken away at random, so that
	// what was stored at once does not expire at once. Default 0.1; below 1;
	// negative: off.
	TTLJitter float64

	// Logger receives what operators should know, a kind of event at most every ten
	// seconds; and at debug level one of 1,024 lookups. Default slog.Default().
	Logger *slog.Logger

	// Hooks are told what happens. Default none.
	Hooks Hooks
}

// TTL is the life of an entry in each tier, at least 1 ms. In a Config zero means
// the default, in [WithTTL] the cache's own; negative keeps entries out.
type TTL struct {
	L1       time.Duration // in this process; default 1 m, at most L2's
	L2       time.Duration // in Redis; default 1 h, or L1's if that is longer
	Negative time.Duration // of "not found", in both; default 10 s

	// StaleIfError is how long after its life a value may stand in for a load that
	// fails or is overdue, unless it was invalidated. Default 0: not at all.
	StaleIfError time.Duration

	// Idle ends the life of a value that nobody asks for, between that and an eighth
	// more after the last read; L1 and L2 bound it all the same. Default 0: lives
	// are as long as they are.
	Idle time.Duration
}

func (t TTL) or(d TTL) TTL {
	return TTL{L1: or(t.L1, d.L1), L2: or(t.L2, d.L2), Negative: or(t.Negative, d.Negative),
		StaleIfError: or(t.StaleIfError, d.StaleIfError), Idle: or(t.Idle, d.Idle)}
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// withDefaults returns the configuration with every default filled in.
func (c Config[V]) withDefaults() Config[V] {
	// A life of L2 that was given limits L1's default, not the other way round.
	l1 := time.Minute
	if c.TTL.L2 > 0 {
		l1 = min(l1, c.TTL.L2)
	}
	c.TTL = c.TTL.or(TTL{L1: l1, L2: max(time.Hour, c.TTL.L1), Negative: 10 * time.Second})
	c.MaxBytes = or(c.MaxBytes, 64<<20)
	c.MaxKeyBytes = or(c.MaxKeyBytes, 1024)
	c.MaxValueBytes = or(c.MaxValueBytes, 1<<20)
	c.MaxStaleness = or(c.MaxStaleness, 2*time.Second)
	c.LoadTimeout = or(c.LoadTimeout, 5*time.Second)
	c.ErrorBackoff = max(or(c.ErrorBackoff, 250*time.Millisecond), 0)
	c.RefreshAhead = max(or(c.RefreshAhead, 1), 0)
	c.RedisTimeout = or(c.RedisTimeout, 100*time.Millisecond)
	c.RecoveryWindow = or(c.RecoveryWindow, time.Minute)
	c.Shards = or(c.Shards, defaultShards(c.Redis))
	c.TTLJitter = max(or(c.TTLJitter, 0.1), 0)
	if c.Codec == nil {
		c.Codec = codec.Msgpack[V]()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// clusterShards gives each of a dozen masters a few shards, so that one more takes its
// part; every heartbeat, tag and clear costs a script a shard.
const clusterShards = 64

func defaultShards(client redis.UniversalClient) int {
	if _, ok := client.(*redis.ClusterClient); ok {
		return clusterShards
	}
	return 1
}

// loads reports whether there is a loader.
func (c *Config[V]) loads() bool { return c.Load != nil || c.LoadItem != nil || c.LoadMany != nil }

// validate reports all mistakes of a configuration with its defaults, one a
// line.
func (c Config[V]) validate() error {
	errs := []error{
		c.validateName(),
		c.validateRedis(),
		within("MaxBytes", c.MaxBytes, 64<<10, 1<<50),
		within("MaxKeyBytes", c.MaxKeyBytes, 1, 1<<16),
		within("MaxValueBytes", c.MaxValueBytes, 1, 512<<20),
		within("MaxStaleness", c.MaxStaleness, 20*time.Millisecond, time.Hour),
		within("LoadTimeout", c.LoadTimeout, time.Millisecond, time.Hour),
		within("RedisTimeout", c.RedisTimeout, time.Millisecond, time.Minute),
		within("RecoveryWindow", c.RecoveryWindow, time.Second, 24*time.Hour),
		within("Shards", c.Shards, 1, l2.MaxShards),
		within("MaxConcurrentLoads", c.MaxConcurrentLoads, 0, 1<<20),
		c.TTL.validate(c.Redis != nil),
	}
	if c.Tracking && c.Redis == nil {
		errs = append(errs, errors.New("a cache without Redis has nothing to track: set Redis, or leave Tracking off"))
	}
	if c.Load != nil && c.LoadItem != nil {
		errs = append(errs, errors.New("both Load and LoadItem are set, must be one of them"))
	}
	if c.LoadSoftTimeout != 0 {
		errs = append(errs, within("LoadSoftTimeout", c.LoadSoftTimeout, time.Millisecond, c.LoadTimeout-1))
	}
	if c.ErrorBackoff != 0 {
		errs = append(errs, within("ErrorBackoff", c.ErrorBackoff, time.Millisecond, time.Hour))
	}
	if !(c.RefreshAhead <= 10) {
		errs = append(errs, fmt.Errorf("RefreshAhead is %v, must be at most 10", c.RefreshAhead))
	}
	if !(c.TTLJitter < 1) {
		errs = append(errs, fmt.Errorf("TTLJitter is %v, must be below 1", c.TTLJitter))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("nearcache: configuration: %w", err)
	}
	return nil
}

// validateRedis refuses a client whose reads may go to replicas. A record that one
// replica answers says nothing about a value that another does.
func (c Config[V]) validateRedis() error {
	cluster, ok := c.Redis.(*redis.ClusterClient)
	if ok && cluster.Options().ReadOnly {
		return errors.New("the Redis client is one of a cluster with ReadOnly, RouteByLatency or RouteRandomly, " +
			"which reads from replicas: give the cache one that reads from masters")
	}
	return nil
}

func (c Config[V]) validateName() error {
	if c.Redis == nil {
		return nil
	}
	if n := len(c.Name); n < 1 || n > 128 {
		return fmt.Errorf("a Name of %d bytes, must be 1 to 128 with Redis", n)
	}
	for _, r := range c.Name {
		if r == '{' || r == '}' || unicode.IsSpace(r) || unicode.IsControl(r) {
			return fmt.Errorf("the Name %q must not contain %q", c.Name, r)
		}
	}
	return nil
}

// validate checks lives with their defaults. Redis counts them in milliseconds.
func (t TTL) validate(redis bool) error {
	errs := []error{life("TTL.L1", t.L1), life("TTL.L2", t.L2), life("TTL.Negative", t.Negative),
		life("TTL.StaleIfError", or(t.StaleIfError, -1)), life("TTL.Idle", or(t.Idle, -1))}
	if redis && t.L2 > 0 && t.L1 > t.L2 {
		errs = append(errs, fmt.Errorf("TTL.L1 is %v, must not exceed TTL.L2, which is %v", t.L1, t.L2))
	}
	return errors.Join(errs...)
}

const maxLife = 10 * 365 * 24 * time.Hour

func life(field string, d time.Duration) error {
	if d < 0 {
		return nil
	}
	return within(field, d, time.Millisecond, maxLife)
}

func within[T int | int64 | time.Duration](field string, v, low, high T) error {
	if v < low || v > high {
		return fmt.Errorf("%s is %v, must be %v to %v", field, v, low, high)
	}
	return nil
}
