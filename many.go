package nearcache

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nearcache/nearcache/tiered"
)

// GetMany returns the values of keys, from L1, for what that lacks from Redis in one
// round trip (more than 768 in parts, at the same time), and for the rest from [Config.LoadMany], which is asked once and only for
// what nobody is loading already; without it, from a load of each.
//
// Keys that have no value are missing in the map: there is neither [ErrMiss] nor
// [ErrNotFound]. Keys that could not be had are missing too, and named in the error,
// which wraps what [Cache.Get] would have returned. Values are shared, as those of
// Get. [WithInfo] is told the farthest tier that was needed, and whether any value is
// stale.
func (c *Cache[V]) GetMany(ctx context.Context, keys []string, opts ...Option) (_ map[string]V, err error) {
	s, info := c.settings(opts)
	for _, key := range keys {
		if err := c.usable(key); err != nil {
			return nil, fmt.Errorf("key %.64q: %w", key, err)
		}
	}
	if err := c.complete(&s, opts); err != nil {
		return nil, err
	}
	m := &many[V]{cache: c, settings: s, values: make(map[string]V, len(keys))}
	if rest := m.lookup(ctx, keys); len(rest) > 0 {
		ctx, op := c.cfg.Hooks.begin(ctx, opGetMany, "", rest, len(rest))
		defer func() { op.end(m.info, err) }()
		q := tiered.Query[V]{Bound: s.bound, TTL: tiered.TTL(s.ttl), Loaderless: !c.cfg.loads()}
		rest = c.tiers.FetchMany(ctx, rest, q, m.add)
		if len(rest) > 0 {
			m.fetch(ctx, rest)
		}
	}
	if info != nil {
		*info = m.info
	}
	err = m.failures()
	return m.values, err
}

// SetMany writes values through to Redis and this instance's L1 as [Cache.Set] does,
// up to 512 of a shard in one round trip and one announcement. Errors are those of
// Set; after a *[TierError] some of the values may have been written.
func (c *Cache[V]) SetMany(ctx context.Context, values map[string]V, opts ...Option) error {
	s, _ := c.settings(opts)
	if err := c.complete(&s, opts); err != nil {
		return err
	}
	c.writers.RLock()
	defer c.writers.RUnlock()
	for key := range values {
		if err := c.usable(key); err != nil {
			return fmt.Errorf("key %.64q: %w", key, err)
		}
	}
	if c.cfg.Clone != nil {
		cloned := make(map[string]V, len(values))
		for key, v := range values {
			cloned[key] = c.cfg.Clone(v)
		}
		values = cloned
	}
	return c.change(ctx, opSet, nil, len(values), func() error { return c.tiers.Set(ctx, values, tiered.TTL(s.ttl), s.tags) })
}

// many is one GetMany.
type many[V any] struct {
	cache    *Cache[V]
	settings settings

	mu     sync.Mutex
	values map[string]V
	info   Info
	failed map[string][]string // keys by their error's text
	errs   map[string]error    // by its text
}

// lookup answers what L1 has, and returns the other keys, each once.
func (m *many[V]) lookup(ctx context.Context, keys []string) (rest []string) {
	c := m.cache
	var seen map[string]struct{}
	for i, key := range keys {
		if _, ok := m.values[key]; ok {
			continue
		}
		if m.settings.bound > 0 {
			if e, saw := c.tiers.Lookup(key, m.settings.bound); c.attend(ctx, key, e, saw, m.settings, nil) {
				m.add(key, tiered.AnswerOf(e))
				continue
			}
		}
		if seen == nil {
			seen = make(map[string]struct{}, len(keys)-i)
			rest = make([]string, 0, len(keys)-i)
		}
		if _, ok := seen[key]; !ok {
			seen[key] = struct{}{}
			rest = append(rest, key)
		}
	}
	return rest
}

// add notes an answer.
func (m *many[V]) add(key string, a tiered.Answer[V]) {
	var info Info
	v, err := m.cache.answer(a, m.settings.bound, &info)
	m.note(key, v, info, err)
}

func (m *many[V]) note(key string, v V, info Info, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.info.Source = max(m.info.Source, info.Source)
	m.info.Stale = m.info.Stale || info.Stale
	switch {
	case err == nil:
		m.values[key] = v
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrMiss):
	default:
		text := err.Error()
		if m.failed == nil {
			m.failed, m.errs = make(map[string][]string), make(map[string]error)
		}
		m.failed[text], m.errs[text] = append(m.failed[text], key), err
	}
}

// failures returns all errors, each once: a database that is down fails a thousand
// keys for one reason.
func (m *many[V]) failures() error {
	var errs []error
	for text, err := range m.errs {
		keys := m.failed[text]
		if len(keys) == 1 {
			errs = append(errs, fmt.Errorf("key %.64q: %w", keys[0], err))
		} else {
			errs = append(errs, fmt.Errorf("%d keys, %.64q one of them: %w", len(keys), keys[0], err))
		}
	}
	return errors.Join(errs...)
}

// fetch reads keys as Get does beyond L1, all at once.
func (m *many[V]) fetch(ctx context.Context, keys []string) {
	c := m.cache
	var b *batch[V]
	if c.cfg.LoadMany != nil {
		b = c.newBatch(ctx, keys, m.settings)
	}
	var reading sync.WaitGroup
	for _, key := range keys {
		reading.Go(func() {
			a, err := c.fly(ctx, key, &m.settings, b, false)
			if b != nil {
				b.pass(key) // if it never got as far as to decide
			}
			if err != nil {
				var zero V
				m.note(key, zero, Info{}, err)
				return
			}
			m.add(key, *a)
		})
	}
	reading.Wait()
}
