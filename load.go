package nearcache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nearcache/nearcache/tiered"
	"golang.org/x/sync/semaphore"
)

// Item is what a [Config.LoadItem] loader is told of its key, and what it may say of
// the value that it returns. It is the loader's own for the time of its call.
type Item[V any] struct {
	// Old is the newest value that is known, if HasOld: one that is to be refreshed,
	// or whose life is over. It was not invalidated. A loader that finds it current
	// returns [ErrNotModified], and it lives on without being moved.
	Old    V
	HasOld bool

	// Validator is by which the source tells whether Old is current, an ETag or a
	// time, as the loader said when it loaded it. What it is on return is kept with
	// the new value. Default empty; at most 1024 bytes, longer ones are not kept.
	Validator string

	// TTL is how long the value is to live. It is the call's on entry. Negative fields
	// keep the value out of that tier, so TTL{L1: -1, L2: -1} keeps it nowhere.
	TTL TTL

	// Tags are those that the value is to name, as with [WithTags], whose tags they are
	// on entry.
	Tags []string
}

// loads runs the application's loader and keeps its misbehaviour from the
// flight that called it.
type loads struct {
	timeout time.Duration
	places  *semaphore.Weighted // nil: as many as there are
	running sync.WaitGroup      // loaders, also those that nobody waits for any more
}

// turn is a flight's place among the loads that may run at once.
type turn struct {
	places *semaphore.Weighted
	held   bool
}

var errNoPlace = errors.New("as many loads run as may")

// take takes the place, or reports why it could not.
func (t *turn) take(ctx context.Context, wait bool) error {
	switch {
	case t.places == nil || t.held:
		return nil
	case wait:
		if err := t.places.Acquire(ctx, 1); err != nil {
			return context.Cause(ctx)
		}
	case !t.places.TryAcquire(1):
		return errNoPlace
	}
	t.held = true
	return nil
}

func (t *turn) giveBack() {
	if t.held {
		t.held = false
		t.places.Release(1)
	}
}

// load runs the loader of one key under the turn, which lasts until the loader
// returns.
func (c *Cache[V]) load(ctx context.Context, t *turn, key string, old tiered.Old[V], s settings) (tiered.Loaded[V], error) {
	if c.cfg.Load == nil && c.cfg.LoadItem == nil {
		values, err := c.loadMany(ctx, t, []string{key})
		return pick(values, err, key, s)
	}
	held := *t // the loader may outlast the flight
	t.held = false
	ctx, op := c.cfg.Hooks.begin(ctx, opLoad, key, nil, 1)
	loaded, err := run(ctx, &c.loads, held, func(ctx context.Context) (tiered.Loaded[V], error) {
		if c.cfg.Load != nil {
			v, err := c.cfg.Load(ctx, key)
			return tiered.Loaded[V]{Value: v, TTL: tiered.TTL(s.ttl), Tags: s.tags}, err
		}
		item := Item[V]{Old: old.Value, HasOld: old.Has, Validator: old.Validator, TTL: s.ttl, Tags: s.tags}
		if old.Has && c.cfg.Clone != nil {
			item.Old = c.cfg.Clone(old.Value)
		}
		v, err := c.cfg.LoadItem(ctx, key, &item)
		ttl := item.TTL.or(s.ttl)
		if bad := errors.Join(ttl.validate(c.cfg.Redis != nil), checkTags(item.Tags)); err == nil && bad != nil {
			err = fmt.Errorf("nearcache: the loader set what an Item cannot have: %w", bad)
		}
		return tiered.Loaded[V]{Value: v, Validator: item.Validator, TTL: tiered.TTL(ttl), Tags: item.Tags}, err
	})
	op.end(Info{Source: FromLoader}, err)
	return loaded, err
}

// run returns the loader's outcome, or the end of its time. The loader has a
// goroutine of its own: a Goexit on the flight's would strand every waiter, and
// a loader that ignores its context would hold them.
func run[T any](ctx context.Context, l *loads, t turn, load func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.timeout, ErrLoadTimeout)
	defer cancel()
	type outcome struct {
		value T
		err   error
	}
	out := make(chan outcome, 1)
	l.running.Go(func() {
		o := outcome{err: ErrGoexit} // stays if load neither returns nor panics
		defer func() {
			if p := recover(); p != nil {
				o.err = &PanicError{Value: p, Stack: debug.Stack()}
			}
			t.giveBack()
			out <- o
		}()
		o.value, o.err = load(ctx)
	})
	select {
	case o := <-out:
		return o.value, o.err
	case <-ctx.Done():
		var zero T
		return zero, context.Cause(ctx)
	}
}
