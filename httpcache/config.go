package httpcache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/redis/go-redis/v9"
)

// Config describes a cache. Zero fields stand for their defaults.
type Config struct {
	// Name, Redis, MaxBytes, MaxStaleness, Logger and Hooks are those of [nearcache.Config].
	// Config{} is a cache in this process only.
	Name         string
	Redis        redis.UniversalClient
	MaxBytes     int64
	MaxStaleness time.Duration
	Logger       *slog.Logger
	Hooks        nearcache.Hooks

	// MaxBodyBytes bounds the bodies that are stored. A longer one passes through
	// from its first byte beyond the bound. Default 1 MiB; at least 1, at most
	// 256 MiB.
	MaxBodyBytes int

	// Timeout is how long a handler may take until its response is complete or
	// begins to pass through. Then its context ends and its callers get 504, or a
	// stale response where stale-if-error lets one stand in. It is also how long other
	// instances wait for one that has died while it ran a handler. Default 30 s; at
	// least 1 ms, at most 1 h.
	Timeout time.Duration

	// KeepStale is how long beyond its freshness a response with a validator is kept
	// to be revalidated. Default 1 h; negative: not at all.
	KeepStale time.Duration

	// ETags says which entity tags are made for responses that have none. Default
	// [StrongETags].
	ETags ETags

	// CacheStatus is the name under which each response tells in a Cache-Status field
	// (RFC 9211) how it came about; a token. Default empty: it does not.
	CacheStatus string

	// IgnoreRequests ignores the Cache-Control and Pragma fields of requests (RFC
	// 9111, 5.2.1 and 5.4), so that clients cannot make the handler run. Default
	// false: they are obeyed.
	IgnoreRequests bool
}

// ETags is a kind of entity tags (RFC 9110, 8.8.3), made of the body's SHA-256.
type ETags uint8

const (
	StrongETags ETags = iota // for bodies that reach clients as they are
	WeakETags                // for those that something outside encodes, a compressor say
	NoETags                  // makes none
)

// Cache keeps HTTP responses. It is safe for concurrent use.
type Cache struct {
	cfg   Config
	store *nearcache.Cache[*entry]

	settling   sync.Map       // see loading.vary
	probing    sync.Map       // keys that are being asked for in loads that are likely to bring nothing for others
	refreshing sync.Map       // keys of stale responses that are being replaced
	background sync.WaitGroup // who replaces them
	ending     context.Context
	end        context.CancelFunc
	closing    sync.RWMutex // guards background against a Close that waits for it
}

// New returns a cache of cfg. It reports every mistake in cfg at once, as
// [nearcache.New] does. Whoever calls New calls [Cache.Close].
func New(cfg Config) (*Cache, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := &Cache{cfg: cfg}
	store, err := nearcache.New(nearcache.Config[*entry]{
		Name: cfg.Name, Redis: cfg.Redis, MaxBytes: cfg.MaxBytes, MaxStaleness: cfg.MaxStaleness, Logger: cfg.Logger, Hooks: cfg.Hooks,
		MaxKeyBytes: maxKey, MaxValueBytes: cfg.MaxBodyBytes + 64<<10, LoadTimeout: cfg.Timeout,
		Codec:    entryCodec{},
		LoadItem: c.load,
		// A hit must hold on to nothing of its request, see exchange, so stale
		// responses are replaced here. And an error is an answer to one request.
		RefreshAhead: -1,
		ErrorBackoff: -1,
		TTLJitter:    -1, // lives are the origin's word
	})
	if err != nil {
		return nil, fmt.Errorf("httpcache: %w", err)
	}
	c.store = store
	c.ending, c.end = context.WithCancel(context.Background())
	return c, nil
}

// Close ends what the cache started and waits for it, as [nearcache.Cache.Close]
// does. Handlers go on to answer, uncached.
func (c *Cache) Close() error {
	c.end()
	c.closing.Lock() // nothing starts in the background any more
	defer c.closing.Unlock()
	err := c.store.Close()
	c.background.Wait()
	return err
}

func (c Config) withDefaults() Config {
	if c.MaxBodyBytes == 0 {
		c.MaxBodyBytes = 1 << 20
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.KeepStale == 0 {
		c.KeepStale = time.Hour
	}
	c.KeepStale = max(c.KeepStale, 0)
	return c
}

func (c Config) validate() error {
	var errs []error
	if c.MaxBodyBytes < 1 || c.MaxBodyBytes > 256<<20 {
		errs = append(errs, fmt.Errorf("MaxBodyBytes is %d, must be 1 to %d", c.MaxBodyBytes, 256<<20))
	}
	if c.Timeout < time.Millisecond || c.Timeout > time.Hour {
		errs = append(errs, fmt.Errorf("a Timeout of %v, must be 1ms to 1h", c.Timeout))
	}
	if c.KeepStale > maxLife {
		errs = append(errs, fmt.Errorf("KeepStale is %v, must be at most %v", c.KeepStale, maxLife))
	}
	if c.ETags > NoETags {
		errs = append(errs, fmt.Errorf("ETags is %d, must be StrongETags, WeakETags or NoETags", c.ETags))
	}
	if c.CacheStatus != "" && !isToken(c.CacheStatus) {
		errs = append(errs, fmt.Errorf("CacheStatus is %q, must be a token such as %q", c.CacheStatus, "web-1"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("httpcache: configuration: %w", err)
	}
	return nil
}
