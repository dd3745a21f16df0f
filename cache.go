package nearcache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache/codec"
	"github.com/nearcache/nearcache/l1"
	"github.com/nearcache/nearcache/tiered"
	"golang.org/x/sync/semaphore"
)

// Cache is one instance of a two-tier cache. It is safe for concurrent use.
type Cache[V any] struct {
	cfg     Config[V]
	tiers   *tiered.Tiers[V]
	flights flights[tiered.Answer[V]]
	loads   loads

	staleServed, refreshes atomic.Uint64

	closed  atomic.Bool
	closing sync.Mutex   // held by the Close that works, so that others wait for it
	writers sync.RWMutex // read-held by Set and Invalidate, so that Close can wait
}

// New returns a cache of cfg, which it copies. It reports every mistake in cfg
// at once. With Redis it says hello for up to twice [Config.RedisTimeout]; that
// Redis cannot be reached is no error. It is one if the namespace lives in Redis
// with another number of shards, or if it refuses what [Config.Tracking] needs. Whoever calls New calls [Cache.Close].
func New[V any](cfg Config[V]) (*Cache[V], error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	tiers, err := tiered.Open(tiered.Config[V]{
		Name: cfg.Name, Redis: cfg.Redis, Codec: cfg.Codec, Compressor: cfg.Compressor, Seal: cfg.Seal, Shards: cfg.Shards,
		MaxBytes: cfg.MaxBytes, MaxValueBytes: cfg.MaxValueBytes,
		MaxStaleness: cfg.MaxStaleness, LoadTimeout: cfg.LoadTimeout, RedisTimeout: cfg.RedisTimeout,
		RecoveryWindow: cfg.RecoveryWindow, Strict: cfg.Strict, Jitter: cfg.TTLJitter, Logger: cfg.Logger,
		ErrorBackoff: cfg.ErrorBackoff, RefreshAhead: cfg.RefreshAhead, DetectMutation: cfg.DetectMutation,
		Tracking: cfg.Tracking,
		Event:    cfg.Hooks.event(), Announced: cfg.Hooks.announced(), Sampled: cfg.Hooks.sampled(cfg.Name, cfg.Logger),
	})
	if err != nil {
		return nil, fmt.Errorf("nearcache: %w", err)
	}
	c := &Cache[V]{cfg: cfg, tiers: tiers}
	c.loads.timeout = cfg.LoadTimeout
	c.flights.patience = cfg.LoadSoftTimeout
	if cfg.MaxConcurrentLoads > 0 {
		c.loads.places = semaphore.NewWeighted(int64(cfg.MaxConcurrentLoads))
	}
	return c, nil
}

// Get returns the value of key from L1, else from Redis, else from the loader.
// However many callers ask at once, one of them loads. The value is shared: do
// not change it, unless [Config.Clone] is set.
//
// A failing Redis never fails a Get. Errors are [ErrMiss] (no loader),
// [ErrNotFound], whatever the loader returned, [ErrLoadTimeout], *[PanicError],
// [ErrGoexit], [ErrReentrant], the end of ctx, [ErrClosed], and for keys that are
// empty or too long [ErrKey].
func (c *Cache[V]) Get(ctx context.Context, key string, opts ...Option) (V, error) {
	bound := c.cfg.MaxStaleness
	if len(opts) > 0 {
		bound = c.boundOf(opts)
	}
	var e *l1.Entry[V]
	saw := l1.Miss
	if bound > 0 {
		e, saw = c.tiers.Lookup(key, bound)
		// What most reads are is answered without a look at anything else.
		if saw == l1.Plain && len(opts) == 0 && c.cfg.Clone == nil {
			return e.Value, nil
		}
	}
	return c.get(ctx, key, e, saw, opts)
}

// get goes on from what L1 has shown.
func (c *Cache[V]) get(ctx context.Context, key string, e *l1.Entry[V], saw l1.Sight, opts []Option) (V, error) {
	s, info := c.settings(opts)
	if c.attend(ctx, key, e, saw, s, opts) {
		return c.answer(tiered.AnswerOf(e), s.bound, info)
	}
	var zero V
	if err := c.usable(key); err != nil {
		return zero, err
	}
	if err := c.complete(&s, opts); err != nil {
		return zero, err
	}
	ctx, op := c.cfg.Hooks.begin(ctx, opGet, key, nil, 1)
	a, err := c.read(ctx, key, &s)
	if err != nil {
		op.end(Info{}, err)
		return zero, err
	}
	v, err := c.answer(*a, s.bound, info)
	op.end(Info{Source: Source(a.Source), Stale: a.Stale}, err)
	return v, err
}

// complete checks what a call asks for that is more than a hit.
func (c *Cache[V]) complete(s *settings, opts []Option) error {
	if err := s.ttl.validate(c.cfg.Redis != nil); err != nil {
		return fmt.Errorf("nearcache: WithTTL: %w", err)
	}
	s.tags = tagsOf(opts)
	return checkTags(s.tags)
}

// read reads key beyond L1: a look into L2, and then a load.
func (c *Cache[V]) read(ctx context.Context, key string, s *settings) (*tiered.Answer[V], error) {
	if c.cfg.Redis == nil && !c.cfg.loads() {
		return nil, ErrMiss
	}
	return c.fly(ctx, key, s, nil, c.cfg.Redis != nil)
}

// fly reads key, for itself or together with others. It looks into L2 first if that is
// still to be done. b is the batch that loads, if there is one.
func (c *Cache[V]) fly(ctx context.Context, key string, s *settings, b *batch[V], look bool) (*tiered.Answer[V], error) {
	a, joined, err := c.board(ctx, key, s, b, look, false)
	if err == nil && joined && !a.Shared(s.bound) {
		// Invalidated, perhaps before we joined, or not proven any more.
		a, _, err = c.board(ctx, key, s, b, look, true)
	}
	if err != nil && c.closed.Load() {
		err = ErrClosed
	}
	return a, err
}

// board reads key on one flight. What it makes for that stays on the stack until there
// is something to load, since a value that Redis has is not worth more; and it is
// little, since a crowd that waits has as many stacks.
func (c *Cache[V]) board(ctx context.Context, key string, s *settings, b *batch[V], look, alone bool) (*tiered.Answer[V], bool, error) {
	at := seat{key, c.tiers.Ticket(key), s.bound, alone}
	if look {
		at.ticket = at.ticket.Look(s.bound)
	}
	call := call[tiered.Answer[V]]{
		good: func(a *tiered.Answer[V]) bool { return a.Good(s.bound) },
		load: func() (tiered.Ticket, load[tiered.Answer[V]]) { return c.loadOf(key, *s, b, look) },
	}
	if look {
		call.leads = c.cfg.loads()
		call.look = func(ctx context.Context) (a tiered.Answer[V], over bool, err error) {
			q := c.query(key, *s, at.ticket)
			a, found := c.tiers.Look(ctx, q)
			s.blind = found == tiered.Unavailable
			return a, found == tiered.Value || q.Loaderless && found != tiered.Abandoned, missing(found)
		}
	}
	if b != nil {
		call.joined = func() { b.pass(key) }
	}
	return c.flights.do(ctx, at, call)
}

// loadOf returns what a flight of key does that departs now.
func (c *Cache[V]) loadOf(key string, s settings, b *batch[V], look bool) (tiered.Ticket, load[tiered.Answer[V]]) {
	q := c.query(key, s, c.tiers.Ticket(key))
	return q.Ticket, func(ctx context.Context, offer func(tiered.Answer[V], bool)) (tiered.Answer[V], error) {
		q := q
		q.Offer = offer
		switch {
		case b != nil:
			return b.fetch(ctx, q)
		case look && q.Loaderless: // who looked has left
			a, found := c.tiers.Look(ctx, q)
			return a, missing(found)
		}
		return c.fetch(ctx, q, s)
	}
}

func missing(found tiered.Found) error {
	if found == tiered.Value {
		return nil
	}
	return ErrMiss
}

// attend sees to what is due in L1, and reports whether what it has is an answer. Only
// then are tags taken from opts, if s does not have them.
func (c *Cache[V]) attend(ctx context.Context, key string, e *l1.Entry[V], saw l1.Sight, s settings, opts []Option) bool {
	if saw == l1.Due {
		if ahead, ok := c.tiers.Attend(e); ok {
			if s.tags == nil {
				s.tags = tagsOf(opts)
			}
			c.refresh(ctx, key, s, ahead)
		}
	}
	return saw == l1.Plain || saw == l1.Hit || saw == l1.Due
}

func (c *Cache[V]) query(key string, s settings, ticket tiered.Ticket) tiered.Query[V] {
	return tiered.Query[V]{Key: key, Bound: s.bound, Ticket: ticket, TTL: tiered.TTL(s.ttl),
		Refresh: s.refresh, Ahead: s.ahead, Blind: s.blind, Loaderless: !c.cfg.loads()}
}

// fetch is the flight of one key.
func (c *Cache[V]) fetch(ctx context.Context, q tiered.Query[V], s settings) (tiered.Answer[V], error) {
	turn := turn{places: c.loads.places}
	defer turn.giveBack()
	q.Turn = turn.take
	if c.cfg.loads() { // a refresh may find no loader
		q.Load = func(ctx context.Context, key string, old tiered.Old[V]) (tiered.Loaded[V], error) {
			return c.load(ctx, &turn, key, old, s)
		}
	}
	return c.tiers.Fetch(ctx, q)
}

// refresh replaces or prolongs an entry that is still good, behind its reader's back.
func (c *Cache[V]) refresh(ctx context.Context, key string, s settings, ahead time.Duration) {
	if c.usable(key) != nil || checkTags(s.tags) != nil {
		return
	}
	s.refresh, s.ahead = true, ahead
	if c.flights.start(ctx, seat{key: key, ticket: c.tiers.Ticket(key), bound: s.bound}, call[tiered.Answer[V]]{
		load: func() (tiered.Ticket, load[tiered.Answer[V]]) { return c.loadOf(key, s, nil, false) },
	}) {
		c.refreshes.Add(1)
	}
}

func (c *Cache[V]) answer(a tiered.Answer[V], bound time.Duration, info *Info) (V, error) {
	if !a.Good(bound) { // it was invalidated, or is not proven, since it was found
		var zero V
		return zero, a.Failed
	}
	if a.Stale {
		c.staleServed.Add(1)
	}
	if info != nil {
		*info = Info{Source: Source(a.Source), Stale: a.Stale}
	}
	if a.Err != nil {
		return a.Value, a.Err
	}
	if c.cfg.Clone != nil {
		return c.cfg.Clone(a.Value), nil
	}
	return a.Value, nil
}

// Set writes value through to Redis and this instance's L1, and takes the old
// one from all others. Call it after the change is visible to loaders. Of two
// Sets of one key that race, the one that reaches Redis later wins everywhere;
// where the source's order matters, call [Cache.Invalidate] instead.
//
// An error means that the value was not written and that the old one is gone from
// this instance; it goes from the others as soon as Redis can be reached. Errors
// are *[TierError], [ErrClosed], and before anything has happened [ErrKey],
// [ErrValue] and those of the codec.
func (c *Cache[V]) Set(ctx context.Context, key string, value V, opts ...Option) error {
	return c.SetMany(ctx, map[string]V{key: value}, opts...)
}

// Invalidate takes the values of keys from every tier and instance. Call it
// after the change is visible to loaders. When it returns nil, this instance
// serves nothing older any more, and no other one later than
// [Config.MaxStaleness] from then.
//
// Up to 512 keys of a shard go in one round trip and one announcement. On a
// *[TierError] the change has taken effect on this instance, and is sent again
// until it lands. Other errors are [ErrClosed] and [ErrKey]; nothing has happened
// then.
func (c *Cache[V]) Invalidate(ctx context.Context, keys ...string) error {
	c.writers.RLock()
	defer c.writers.RUnlock()
	for _, key := range keys {
		if err := c.usable(key); err != nil {
			return err
		}
	}
	return c.change(ctx, opInvalidate, keys, len(keys), func() error { return c.tiers.Invalidate(ctx, keys) })
}

// Expire ends the lives of the values of keys on every instance, as Invalidate
// does, but lets them stand in: one reader loads, and until it has, others may be
// given the old value, as they are when the load fails or is overdue. That holds
// for as long as the value would have lived, and TTL.StaleIfError beyond. Errors
// are those of Invalidate; after a *[TierError] the old value is gone for good.
func (c *Cache[V]) Expire(ctx context.Context, keys ...string) error {
	c.writers.RLock()
	defer c.writers.RUnlock()
	for _, key := range keys {
		if err := c.usable(key); err != nil {
			return err
		}
	}
	return c.change(ctx, opExpire, keys, len(keys), func() error { return c.tiers.Expire(ctx, keys) })
}

// InvalidateTags takes away all values that name any of tags, on every instance and in
// Redis, as Invalidate does with keys. Its cost depends on the number of tags and
// [Config.Shards], not on that of the values. Errors are those of Invalidate.
func (c *Cache[V]) InvalidateTags(ctx context.Context, tags ...string) error {
	c.writers.RLock()
	defer c.writers.RUnlock()
	if c.closed.Load() {
		return ErrClosed
	}
	if err := checkTags(tags); err != nil {
		return err
	}
	return c.change(ctx, opTags, tags, len(tags), func() error { return c.tiers.InvalidateTags(ctx, tags) })
}

// Clear takes all values of the namespace away, on every instance and in Redis, as
// Invalidate does with keys. It deletes nothing: what is in Redis expires, or is
// replaced when it is asked for. Errors are those of Invalidate.
func (c *Cache[V]) Clear(ctx context.Context) error {
	c.writers.RLock()
	defer c.writers.RUnlock()
	if c.closed.Load() {
		return ErrClosed
	}
	return c.change(ctx, opClear, nil, 0, func() error { return c.tiers.Clear(ctx) })
}

// change makes a change that has been checked, under the eyes of the hooks.
func (c *Cache[V]) change(ctx context.Context, kind string, names []string, n int, make func() error) error {
	_, op := c.cfg.Hooks.begin(ctx, kind, "", names, n)
	err := tierError(kind, make())
	op.end(Info{}, err)
	return err
}

// Close ends what the cache started and waits for it: loads are cancelled, and a
// loader that ignores that holds Close up. It closes nothing that it was given.
// It may be called more than once and beside any other method; later calls of
// those return [ErrClosed]. It returns a *[TierError] if invalidations are left
// that never reached Redis.
func (c *Cache[V]) Close() error {
	c.closing.Lock()
	defer c.closing.Unlock()
	if c.closed.Swap(true) {
		return nil
	}
	c.flights.close()
	c.loads.running.Wait()
	c.writers.Lock() // the writers inside have left, later ones find it closed
	defer c.writers.Unlock()
	return tierError("close", c.tiers.Close())
}

// usable reports why nothing can be done with key.
func (c *Cache[V]) usable(key string) error {
	if c.closed.Load() {
		return ErrClosed
	}
	if n := len(key); n == 0 || n > c.cfg.MaxKeyBytes {
		return fmt.Errorf("%w: %d bytes, must be 1 to %d (MaxKeyBytes)", ErrKey, n, c.cfg.MaxKeyBytes)
	}
	return nil
}

// checkTags reports why values cannot name tags.
func checkTags(tags []string) error {
	if n := len(tags); n > codec.MaxTags {
		return fmt.Errorf("%w: %d tags, must be %d at most", ErrKey, n, codec.MaxTags)
	}
	for _, tag := range tags {
		if n := len(tag); n == 0 || n > codec.MaxTag {
			return fmt.Errorf("%w: a tag of %d bytes, must be 1 to %d", ErrKey, n, codec.MaxTag)
		}
	}
	return nil
}

func tierError(op string, err error) error {
	if err == nil {
		return nil
	}
	if size, ok := errors.AsType[*tiered.SizeError](err); ok {
		return fmt.Errorf("%w: %w", ErrValue, size)
	}
	if codec, ok := errors.AsType[*tiered.CodecError](err); ok {
		return fmt.Errorf("nearcache: %w", codec)
	}
	return &TierError{Tier: "L2", Op: op, Err: err}
}
