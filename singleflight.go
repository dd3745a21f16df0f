package nearcache

import (
	"context"
	"sync"
	"time"

	"github.com/nearcache/nearcache/internal/guard"
	"github.com/nearcache/nearcache/tiered"
	"golang.org/x/sync/singleflight"
)

// flights coalesces the loads of one key: one flight, many passengers. To
// golang.org/x/sync/singleflight it adds what that lacks: each caller leaves at
// its own deadline, the load outlives its first caller and ends with its last,
// and nobody joins a load that an invalidation has overtaken. That neither panic
// nor Goexit of a loader leaves a waiter behind is load.go's part. The zero value
// is ready.
type flights[V any] struct {
	shards  [64]flightShard
	running sync.WaitGroup // flights, also those that everybody has left
}

// flightShard keeps calls and group in step: both change under mu only, so a
// call is in the map exactly while the group would let others join it.
type flightShard struct {
	mu     sync.Mutex
	group  singleflight.Group
	calls  map[string]*flight
	aloft  map[*flight]struct{} // those in calls, and those set aside
	closed bool
}

type flight struct {
	ticket  tiered.Ticket
	waiters int // guarded by the shard's mu
	ctx     context.Context
	cancel  context.CancelFunc
}

// do returns what load returns, from a flight that is under way if the ticket
// it began with is still current for a reader that accepts bound of staleness,
// else from a new one that begins with t.
func (f *flights[V]) do(ctx context.Context, key string, t tiered.Ticket, bound time.Duration,
	load func(context.Context) (V, error)) (V, error) {
	var zero V
	if f.loading(ctx, key) {
		return zero, ErrReentrant
	}
	s := &f.shards[t.Hash%uint64(len(f.shards))]
	fl, landed := f.board(ctx, s, key, t, bound, load)
	if fl == nil {
		return zero, ErrClosed
	}
	select {
	case r := <-landed:
		if r.Err != nil {
			return zero, r.Err
		}
		return r.Val.(V), nil
	case <-ctx.Done():
		s.leave(key, fl)
		return zero, context.Cause(ctx)
	}
}

// board joins the key's flight or starts one. One that is not current is set
// aside: who joined it before gets its value, nobody joins it any more.
func (f *flights[V]) board(ctx context.Context, s *flightShard, key string, t tiered.Ticket, bound time.Duration,
	load func(context.Context) (V, error)) (*flight, <-chan singleflight.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil
	}
	fl := s.calls[key]
	if fl == nil || !fl.ticket.Current(bound) && !guard.Removed(guard.JoinCurrent) {
		if fl != nil {
			s.group.Forget(key)
		}
		fl = &flight{ticket: t}
		fl.ctx, fl.cancel = context.WithCancel(
			context.WithValue(context.WithoutCancel(ctx), loadingKey{}, &loading{f, key, ctx}))
		s.enter(key, fl)
		f.running.Add(1)
	}
	fl.waiters++
	return fl, s.group.DoChan(key, func() (any, error) {
		defer f.running.Done()
		defer s.land(key, fl)
		return load(fl.ctx)
	})
}

func (s *flightShard) enter(key string, fl *flight) {
	if s.calls == nil {
		s.calls = make(map[string]*flight)
		s.aloft = make(map[*flight]struct{})
	}
	s.calls[key] = fl
	s.aloft[fl] = struct{}{}
}

// close cancels all flights, lets none begin any more, and waits.
func (f *flights[V]) close() {
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.Lock()
		s.closed = true
		for fl := range s.aloft {
			fl.cancel()
		}
		s.mu.Unlock()
	}
	f.running.Wait()
}

// land closes the flight to others before its outcome is handed out. Left to
// the group, a caller could join between the loader's return and the group's
// own clean-up, and be given a value from before its ticket.
func (s *flightShard) land(key string, fl *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeTo(key, fl)
	delete(s.aloft, fl)
	fl.cancel()
}

// leave takes one caller off. A flight that nobody waits for is cancelled, and
// closed first, so that no later caller joins a load that is being cancelled.
func (s *flightShard) leave(key string, fl *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fl.waiters--; fl.waiters == 0 {
		s.closeTo(key, fl)
		fl.cancel()
	}
}

func (s *flightShard) closeTo(key string, fl *flight) {
	if s.calls[key] == fl {
		delete(s.calls, key)
		s.group.Forget(key)
	}
}

// loading marks a loader's context with the key that it loads.
type loading struct {
	flights any
	key     string
	caller  context.Context
}

type loadingKey struct{}

// loading reports whether ctx descends from a load of key in these flights.
func (f *flights[V]) loading(ctx context.Context, key string) bool {
	for {
		l, ok := ctx.Value(loadingKey{}).(*loading)
		if !ok {
			return false
		}
		if l.flights == any(f) && l.key == key {
			return true
		}
		ctx = l.caller
	}
}
