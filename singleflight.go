package nearcache

import (
	"context"
	"sync"
	"sync/atomic"
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
	patience time.Duration // with a load, where an old value may stand in; 0: endless
	shards   [64]flightShard[V]
	running  sync.WaitGroup // flights, also those that everybody has left
}

// flightShard keeps calls and group in step: both change under mu only, so a
// call is in the map exactly while the group would let others join it.
type flightShard[V any] struct {
	mu     sync.Mutex
	group  singleflight.Group
	calls  map[string]*flight[V]
	aloft  map[*flight[V]]struct{} // those in calls, and those set aside
	closed bool
}

type flight[V any] struct {
	ticket  tiered.Ticket
	bound   time.Duration // of its first reader, for whom L1 is asked
	waiters int           // guarded by the shard's mu
	stays   bool          // goes on without waiters; guarded by the shard's mu
	ctx     context.Context
	cancel  context.CancelFunc

	// An old value that may be answered while the load goes on: to those who join
	// later if it was expired softly, to all once the load is overdue.
	standIn atomic.Pointer[offer[V]]
	overdue chan struct{}
	alarm   *time.Timer
}

type offer[V any] struct {
	value V
	soft  bool
}

// call is one caller's wish.
type call[V any] struct {
	key    string
	ticket tiered.Ticket
	bound  time.Duration                                   // of staleness that it accepts
	load   func(context.Context, func(V, bool)) (V, error) // is given a function that offers a stand-in
	good   func(V) bool                                    // whether a stand-in will do
	joined func()                                          // told that another's flight was joined; or nil
	alone  bool                                            // join nobody
}

// do returns what load returns, from a flight that is under way if the ticket
// it began with is still current for a reader that accepts bound of staleness,
// else from a new one that begins with c.ticket; or a stand-in. It also tells whether
// another caller's flight was joined.
func (f *flights[V]) do(ctx context.Context, c call[V]) (v V, joined bool, err error) {
	if f.loading(ctx, c.key) {
		return v, false, ErrReentrant
	}
	s := f.shard(c.ticket)
	fl, landed, joined := f.board(ctx, s, c)
	if fl == nil {
		return v, false, ErrClosed
	}
	if joined && c.joined != nil {
		c.joined()
	}
	if o := fl.standIn.Load(); joined && o != nil && o.soft && c.good(o.value) {
		s.leave(c.key, fl, true)
		return o.value, true, nil
	}
	overdue := fl.overdue
	for {
		select {
		case r := <-landed:
			if r.Err != nil {
				return v, joined, r.Err
			}
			return r.Val.(V), joined, nil
		case <-overdue:
			if o := fl.standIn.Load(); c.good(o.value) {
				s.leave(c.key, fl, true)
				return o.value, joined, nil
			}
			overdue = nil
		case <-ctx.Done():
			s.leave(c.key, fl, false)
			return v, joined, context.Cause(ctx)
		}
	}
}

// start begins a flight that nobody waits for, unless there is one.
func (f *flights[V]) start(ctx context.Context, c call[V]) (started bool) {
	s := f.shard(c.ticket)
	fl, _, joined := f.board(ctx, s, c)
	if fl != nil {
		s.leave(c.key, fl, true)
	}
	return fl != nil && !joined
}

func (f *flights[V]) shard(t tiered.Ticket) *flightShard[V] {
	return &f.shards[t.Hash%uint64(len(f.shards))]
}

// board joins the key's flight or starts one. One that is not current is set
// aside: who joined it before gets its value, nobody joins it any more. One whose
// first reader accepts more staleness may answer from L1 what is too old here.
func (f *flights[V]) board(ctx context.Context, s *flightShard[V], c call[V]) (fl *flight[V], landed <-chan singleflight.Result, joined bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, false
	}
	fl = s.calls[c.key]
	joined = fl != nil && !c.alone && (fl.bound <= c.bound && fl.ticket.Current(c.bound) || guard.Removed(guard.JoinCurrent))
	if !joined {
		if fl != nil {
			s.group.Forget(c.key)
		}
		fl = &flight[V]{ticket: c.ticket, bound: c.bound, overdue: make(chan struct{})}
		fl.ctx, fl.cancel = context.WithCancel(
			context.WithValue(context.WithoutCancel(ctx), loadingKey{}, &loading{flights: f, key: c.key, caller: ctx}))
		s.enter(c.key, fl)
		f.running.Add(1)
	}
	fl.waiters++
	return fl, s.group.DoChan(c.key, func() (any, error) {
		defer f.running.Done()
		defer s.land(c.key, fl)
		return c.load(fl.ctx, func(v V, soft bool) { f.offer(s, fl, v, soft) })
	}), joined
}

// offer tells all passengers of a value that may stand in for the one that is being
// loaded.
func (f *flights[V]) offer(s *flightShard[V], fl *flight[V], v V, soft bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fl.standIn.Store(&offer[V]{v, soft})
	if f.patience > 0 && fl.alarm == nil {
		fl.alarm = time.AfterFunc(f.patience, func() { close(fl.overdue) })
	}
}

// under reports whether a load of key is under way that others may join.
func (f *flights[V]) under(t tiered.Ticket, key string) bool {
	s := f.shard(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[key] != nil
}

func (s *flightShard[V]) enter(key string, fl *flight[V]) {
	if s.calls == nil {
		s.calls = make(map[string]*flight[V])
		s.aloft = make(map[*flight[V]]struct{})
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
func (s *flightShard[V]) land(key string, fl *flight[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeTo(key, fl)
	delete(s.aloft, fl)
	fl.cancel()
	if fl.alarm != nil {
		fl.alarm.Stop()
	}
}

// leave takes one caller off. A flight that nobody waits for is cancelled, unless
// one of those who left wants it to go on; and closed first, so that no later
// caller joins a load that is being cancelled.
func (s *flightShard[V]) leave(key string, fl *flight[V], stays bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fl.stays = fl.stays || stays
	if fl.waiters--; fl.waiters == 0 && !fl.stays {
		s.closeTo(key, fl)
		fl.cancel()
	}
}

func (s *flightShard[V]) closeTo(key string, fl *flight[V]) {
	if s.calls[key] == fl {
		delete(s.calls, key)
		s.group.Forget(key)
	}
}

// loading marks a loader's context with the key that it loads, or the keys.
type loading struct {
	flights any
	key     string
	keys    map[string]struct{}
	caller  context.Context
}

func (l *loading) loads(key string) bool {
	_, ok := l.keys[key]
	return ok || l.key == key
}

type loadingKey struct{}

// loading reports whether ctx descends from a load of key in these flights.
func (f *flights[V]) loading(ctx context.Context, key string) bool {
	for {
		l, ok := ctx.Value(loadingKey{}).(*loading)
		if !ok {
			return false
		}
		if l.flights == any(f) && l.loads(key) {
			return true
		}
		ctx = l.caller
	}
}
