package nearcache

import (
	"context"
	"sync"

	"github.com/nearcache/nearcache/tiered"
)

// batch is the loads of one GetMany, which ask [Config.LoadMany] once. It is called
// when every key has come to a decision: to be loaded here, or not to be, because
// another load of it was joined, Redis had it after all, or another instance holds
// its lease. Keys that have to be loaded after that, because that instance died, are
// loaded by themselves.
type batch[V any] struct {
	cache    *Cache[V]
	ctx      context.Context
	cancel   context.CancelFunc
	turn     turn
	settings settings

	mu        sync.Mutex
	undecided map[string]struct{}
	keys      []string // to be loaded
	waiting   int      // for them

	done   chan struct{} // closed when values and err are there
	values map[string]V
	err    error
}

func (c *Cache[V]) newBatch(ctx context.Context, keys []string, s settings) *batch[V] {
	b := &batch[V]{
		cache: c, settings: s, turn: turn{places: c.loads.places},
		undecided: make(map[string]struct{}, len(keys)), done: make(chan struct{}),
	}
	for _, key := range keys {
		b.undecided[key] = struct{}{}
	}
	loading := &loading{flights: &c.flights, keys: make(map[string]struct{}, len(keys)), caller: ctx}
	for _, key := range keys {
		loading.keys[key] = struct{}{}
	}
	b.ctx, b.cancel = context.WithCancel(context.WithValue(context.WithoutCancel(ctx), loadingKey{}, loading))
	return b
}

// pass takes a key out that is not to be loaded now.
func (b *batch[V]) pass(key string) { b.decide(key, false) }

// decide notes what becomes of a key, and reports false if that comes too late.
func (b *batch[V]) decide(key string, load bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.undecided[key]; !ok {
		return false
	}
	delete(b.undecided, key)
	if load {
		b.keys = append(b.keys, key)
		b.waiting++
	}
	if len(b.undecided) == 0 && b.waiting > 0 {
		b.cache.loads.running.Go(b.run)
	}
	return true
}

// run asks the loader.
func (b *batch[V]) run() {
	defer b.cancel()
	defer close(b.done)
	if b.err = b.turn.take(b.ctx, true); b.err != nil {
		return
	}
	b.values, b.err = b.cache.loadMany(b.ctx, &b.turn, b.keys)
}

// fetch is the flight of one of the keys.
func (b *batch[V]) fetch(ctx context.Context, q tiered.Query[V]) (tiered.Answer[V], error) {
	defer b.pass(q.Key)
	q.Waits = func() { b.pass(q.Key) }
	q.Load = func(ctx context.Context, key string, _ tiered.Old[V]) (tiered.Loaded[V], error) {
		return b.load(ctx, key)
	}
	return b.cache.tiers.Fetch(ctx, q)
}

// load is the loader of one of the keys.
func (b *batch[V]) load(ctx context.Context, key string) (loaded tiered.Loaded[V], err error) {
	if !b.decide(key, true) {
		turn := turn{places: b.cache.loads.places}
		if err := turn.take(ctx, true); err != nil {
			return loaded, err
		}
		defer turn.giveBack()
		return b.cache.load(ctx, &turn, key, tiered.Old[V]{}, b.settings)
	}
	select {
	case <-b.done:
		return pick(b.values, b.err, key, b.settings)
	case <-ctx.Done():
		b.leave()
		return loaded, context.Cause(ctx)
	}
}

// leave cancels the load when nobody waits for any of its keys.
func (b *batch[V]) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting--; b.waiting == 0 && len(b.undecided) == 0 {
		b.cancel()
	}
}

// pick takes one key's outcome from that of all.
func pick[V any](values map[string]V, err error, key string, s settings) (tiered.Loaded[V], error) {
	loaded := tiered.Loaded[V]{TTL: tiered.TTL(s.ttl), Tags: s.tags}
	v, ok := values[key]
	switch {
	case ok:
		loaded.Value = v
		return loaded, nil
	case err != nil:
		return loaded, err
	}
	return loaded, ErrNotFound
}

// loadMany runs the bulk loader.
func (c *Cache[V]) loadMany(ctx context.Context, t *turn, keys []string) (map[string]V, error) {
	held := *t
	t.held = false
	ctx, op := c.cfg.Hooks.begin(ctx, opLoad, "", keys, len(keys))
	values, err := run(ctx, &c.loads, held, func(ctx context.Context) (map[string]V, error) { return c.cfg.LoadMany(ctx, keys) })
	op.end(Info{Source: FromLoader}, err)
	return values, err
}
